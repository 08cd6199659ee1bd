# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What batch normalization computes
#
# A layer of batch normalization (BN) shifts and scales each unit so that, over a batch, its output has a prescribed
# mean and a prescribed spread {cite:p}`ioffe2015`.
# That is all it computes, and it fits into five lines.
# Yet those five lines take something away from the weights in front of them: their length.
# This chapter runs the five lines beside PyTorch's own layer, in training and in evaluation.
# Then it folds BN away and looks at what is left, the **effective weights**.
# Everything that follows in this book is a statement about them.

# %% tags=["parameters"]
seed = 0  # of the generated inputs
batch_size = 64  # rows in a batch
gamma = 2.0  # BN's scale: the standard deviation of the output
beta = -1.0  # BN's shift: the mean of the output
eps = 1e-5  # added to the variance, squared units of the pre-activation

# %%
import numpy as np
import torch
from torch import nn

from bnlib import models
from companion import figures, page, statistics
from bnlib.theory import effective_weights

# %% [markdown]
# ## Five lines
#
# A unit with raw weights $w$ sees inputs $x$ and forms the pre-activation $z = w'x$.
# (A prime transposes; {doc}`notation` lists all symbols.)
# Over a batch of $M$ rows $z$ has a mean and a variance. BN subtracts the one, divides by the root of the other,
# and puts $\gamma$ and $\beta$ in their place:
#
# $$
# \mathrm{BN}(z) \;=\; \gamma\,\frac{z - \bar z}{\sqrt{\operatorname{Var} z + \varepsilon}} + \beta,
# $$
# $$
# \bar z = \frac1M \sum_{m=1}^M z_m, \qquad \operatorname{Var} z = \frac1M \sum_{m=1}^M (z_m - \bar z)^2 .
# $$
#
# The variance is the *biased* one, with $1/M$.
# The small $\varepsilon$ guards against a division by zero. It will matter more than it seems.

# %%
rng = np.random.default_rng(seed)
mixing = np.array([[1.6, 0.0], [0.9, 0.5]])
x = rng.standard_normal((batch_size, 2)) @ mixing.T + [3.0, -1.0]
w = np.array([1.0, 2.0])


def batch_norm(z):
    mean = z.mean()
    variance = z.var()  # 1/M
    normalized = (z - mean) / np.sqrt(variance + eps)
    return gamma * normalized + beta


y = batch_norm(x @ w)
print(f"before: mean {np.mean(x @ w):.3f}, std {np.std(x @ w):.3f}")
print(f"after:  mean {y.mean():.3f}, std {y.std():.3f}")

# %% [markdown]
# PyTorch's layer computes the same numbers, to the last bits of float64.


# %%
def torch_layer(momentum=0.1):
    layer = nn.BatchNorm1d(1, eps=eps, momentum=momentum)
    layer.double()
    nn.init.constant_(layer.weight, gamma)
    nn.init.constant_(layer.bias, beta)
    return layer


z = torch.from_numpy(x @ w)[:, None]
page.check(
    "constraint",
    "five lines of NumPy against BatchNorm1d in training mode",
    measured=torch_layer()(z).detach().numpy()[:, 0],
    predicted=y,
    tolerance=1e-14,
)

# %% [markdown]
# Now stretch the weights. Before BN, tripling $w$ triples the spread.
# After BN there is nothing left to see: the two clouds are the same.

# %% tags=["hide-input"]
many = rng.standard_normal((4000, 2)) @ mixing.T + [3.0, -1.0]
fig, (before, after) = figures.figure(1, 2, height=2.9)
for factor, color, style in ((1, "batch", "stepfilled"), (3, "l2", "step")):
    look = {
        "histtype": style,
        "color": figures.COLORS[color],
        "density": True,
    }
    look |= {"alpha": 0.45} if style == "stepfilled" else {"linewidth": 2}
    name = "w" if factor == 1 else f"{factor}w"
    before.hist(many @ (factor * w), bins=60, label=name, **look)
    after.hist(batch_norm(many @ (factor * w)), bins=60, label=name, **look)
before.set(title="before BN", xlabel="pre-activation z", yticks=[])
after.set(title="after BN", xlabel="output of the unit", yticks=[])
for ax in (before, after):
    ax.spines.left.set_visible(False)
before.legend(title="weights")
after.axvline(beta, color=figures.INK, linewidth=1, linestyle=":")
after.text(beta, after.get_ylim()[1] * 1.01, " mean β, std |γ|", fontsize=9)
figures.show(
    fig,
    alt=f"Two histograms before normalization, one three times as wide as the other; after it the two coincide, "
    f"with mean {beta:g} and standard deviation {abs(gamma):g}.",
    caption="Tripling the raw weights changes the pre-activations, and nothing after BN.",
    source=f"generated Gaussian inputs, seed {seed}",
)

# %% [markdown]
# ## Training and evaluation are two different functions
#
# In training mode BN uses the batch's own mean and variance, so a row's output depends on its companions.
# In evaluation mode it uses two stored numbers, the **running statistics**, and every row is on its own.
# After each training batch they move a little towards the batch's statistics:
#
# $$
# \begin{aligned}
# \texttt{running\_mean} &\leftarrow 0.9\; \texttt{running\_mean} + 0.1\; \bar z \\
# \texttt{running\_var} &\leftarrow 0.9\; \texttt{running\_var} + 0.1\; \tfrac{M}{M-1} \operatorname{Var} z
# \end{aligned}
# $$
#
# at PyTorch's default `momentum=0.1`. Look at the factor: what is *stored* is the unbiased variance,
# what *divides* in training is the biased one.
# At large batches nobody notices. At $M = 4$ the two differ by a third.

# %%
layer = torch_layer(momentum=1.0)  # keep the last batch's statistics only
layer(z)
page.check(
    "constraint",
    "running_var after one batch at momentum 1 against M/(M-1) times the "
    "batch variance that divides",
    measured=layer.running_var.item(),
    predicted=batch_size / (batch_size - 1) * np.var(x @ w),
    tolerance=1e-14,
)

# %% tags=["hide-input"]
steps, unit_variance = 60, w @ mixing @ mixing.T @ w
fig, (left, right) = figures.figure(1, 2, height=2.9)
for size, color in ((4, "l2"), (64, "batch")):
    layer, path = torch_layer(), []
    for _ in range(steps):
        batch = rng.standard_normal((size, 2)) @ mixing.T + [3.0, -1.0]
        layer(torch.from_numpy(batch @ w)[:, None])
        path.append((layer.running_mean.item(), layer.running_var.item()))
    for ax, values in zip((left, right), np.transpose(path)):
        ax.plot(
            range(1, steps + 1),
            values,
            color=figures.COLORS[color],
            label=f"batches of {size}",
        )
for ax, true, title in (
    (left, w @ [3.0, -1.0], "running_mean"),
    (right, unit_variance, "running_var"),
):
    ax.axhline(true, color=figures.INK, linewidth=1, linestyle=":")
    ax.set(title=title, xlabel="training step", ylim=(0, None))
right.legend(loc="lower right")
figures.show(
    fig,
    alt=f"Running mean and running variance rise from 0 and 1 to the population's values, "
    f"{w @ [3.0, -1.0]:.2f} and {unit_variance:.2f}, within some 40 steps; with batches of 4 they keep fluctuating.",
    caption="Running statistics forget their start within a few dozen steps and then fluctuate around the "
    "population's values (dotted), the more the smaller the batch.",
    source=f"generated Gaussian inputs, seed {seed}",
)

# %% [markdown]
# ## Folding: what is left when BN is taken away
#
# With the statistics held fixed, BN is an affine map, and an affine map after a linear one is a linear one.
# Write $\mu$ and $\Sigma$ for the mean and covariance of the inputs. Then $\bar z = w'\mu$,
# $\operatorname{Var} z = w'\Sigma w = q$, and with $s = \sqrt{q + \varepsilon}$
#
# $$
# \gamma\,\frac{w'x - w'\mu}{s} + \beta \;=\; v'x + b,
# \qquad
# v = \frac{\gamma}{s}\, w,
# \qquad
# b = \beta - v'\mu .
# $$
#
# The vector $v$ is the unit's **effective weights**: what a network without BN would need to compute the same.
# The paper speaks of a constraint "on non-BN weights" {cite:p}`annamalai2022`; we read that as a constraint on $v$.
# The bias is **tied** to $v$: it always centres the unit at $\beta$.
# A bias inside the linear layer would be subtracted again, so there is none.
#
# In training mode $\mu$ and $\Sigma$ are those of the batch.

# %%
centred = x - x.mean(axis=0)
cov = centred.T @ centred / batch_size  # Sigma, shape (2, 2)
v = effective_weights(w, gamma, cov, eps)
page.check(
    "constraint",
    "BatchNorm1d in training mode against v'x + beta - v'mu with the batch's "
    "mean and covariance",
    measured=torch_layer()(z).detach().numpy()[:, 0],
    predicted=x @ v + (beta - v @ x.mean(axis=0)),
    tolerance=1e-13,
)

# %% [markdown]
# In evaluation mode the running statistics take their place. `bnlib.models.fold` returns the folded layer.
# This is how networks are deployed: after folding, BN costs nothing.

# %%
linear = nn.Linear(2, 1, bias=False).double()
linear.weight.data = torch.from_numpy(w)[None, :]
layer = torch_layer()
inputs = torch.from_numpy(x)
for _ in range(20):
    layer(linear(inputs))  # training mode: the running statistics move
layer.eval()
page.check(
    "constraint",
    "a Linear and BatchNorm1d in evaluation mode against the one folded "
    "Linear",
    measured=models.fold(linear, layer)(inputs).detach().numpy(),
    predicted=layer(linear(inputs)).detach().numpy(),
    tolerance=1e-14,
)

# %% [markdown]
# ## Many raw weights, one effective weight
#
# Multiply $w$ by any $a > 0$: numerator and denominator of $v = \gamma w / \sqrt{w'\Sigma w + \varepsilon}$ grow alike.
# Without $\varepsilon$ the whole ray through $w$ has one and the same $v$. So the length of $w$ means nothing.
# The data, and not the weights, decide how long $v$ is.
#
# PyTorch refuses $\varepsilon = 0$ in training. In float64 `eps=1e-30` is as good as none, and the book uses it so.

# %%
no_eps = nn.BatchNorm1d(1, eps=1e-30, affine=False).double()
short, long = no_eps(z), no_eps(1000 * z)
page.check(
    "constraint",
    "output of BatchNorm1d with eps = 1e-30 for weights 1000 w against w",
    measured=long.numpy(),
    predicted=short.numpy(),
    tolerance=1e-14,
)

# %% [markdown]
# What do all these $v$ look like? Draw four hundred raw weights at random, without any pattern,
# and mark where each lands.

# %% tags=["hide-input"]
raw = rng.standard_normal((400, 2)) * 1.5
effective = effective_weights(raw, gamma, cov)
rays = effective_weights([[1.0, 2.0], [2.0, 0.4], [-0.7, 2.0]], gamma, cov)
fig, (left, right) = figures.figure(1, 2, height=3.6)
left.scatter(*raw.T, s=9, color=figures.COLORS["none"], linewidths=0)
right.scatter(*effective.T, s=9, color=figures.COLORS["batch"], linewidths=0)
for direction, color in zip(rays, ("l2", "signal", "theory")):
    along = (
        np.linspace(0.3, 1, 5)[:, None]
        * direction
        / np.abs(direction).max()
        * 4.2
    )
    left.plot(
        *along.T, "o-", color=figures.COLORS[color], markersize=5, linewidth=1
    )
    right.plot(*direction, "o", color=figures.COLORS[color], markersize=9)
left.set(title="raw weights w", xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
reach = 1.15 * np.abs(effective).max()
right.set(
    title="effective weights v",
    xlim=(-reach, reach),
    ylim=(-reach, reach),
    aspect="equal",
)
figures.show(
    fig,
    alt="Left, a shapeless cloud of 400 raw weights and three rays with five points each. Right, the effective "
    "weights of the cloud all lie on one ellipse, and the five points of each ray fall on a single point of it.",
    caption="Left: raw weights, a shapeless cloud and three rays. Right: their effective weights. Each ray becomes a "
    "point, and the cloud becomes an ellipse.",
    source=f"generated Gaussian inputs, seed {seed}; no training",
)

# %% [markdown]
# A curve has appeared that nobody put there. Nothing was trained, and the weights were random.
# The ellipse is BN's doing, and its shape is the data's. {doc}`The next chapter <constraint>` says which
# ellipse it is and what it means to train on it.
#
# ## What we learned
#
# - BN replaces a unit's mean by $\beta$ and its standard deviation by $\lvert\gamma\rvert$, up to $\varepsilon$.
# - Training divides by the biased batch variance; evaluation by the root of a running average of the unbiased one.
# - Folded, a unit with BN is a linear unit with effective weights $v = \gamma w/s$ and the tied bias $\beta - v'\mu$.
# - The length of $w$ is lost. What remains of $w$ is its direction; the length of $v$ comes from the data.
#
# ## Where it stops
#
# - Training and evaluation agree only as far as the running statistics agree with the batch's.
#   For small batches they do not, and {doc}`mini-batches <minibatch>` have a chapter of their own.
# - Most theorems take one unit and fix everything else. {doc}`Depth <depth>` shows that nothing is lost by that.
# - The first chapters treat `BatchNorm1d` after `Linear`. The algebra of a convolution is the same with patches as
#   inputs: {doc}`depth <depth>` checks it, and {doc}`layers <layers>` measures it.
