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
# Builds on nothing but matrices and variances.
# After it you can write BN down and say what it takes from the weights before it.
#
# A layer of batch normalization (BN) shifts and scales each unit so that, over a batch, its output has a prescribed
# mean and a prescribed spread {cite:p}`ioffe2015`. That is all it computes, and it fits into five lines.
# Yet those five lines take something away from the weights in front of them: their length.
#
# What is left when BN is folded away? The **effective weights**. Everything that follows in this book is a statement
# about them.

# %% tags=["parameters"]
seed = 0  # of the generated inputs
batch_size = 64  # rows in a batch
gamma = 2.0  # BN's scale: the standard deviation of the output
beta = -1.0  # BN's shift: the mean of the output
eps = 1e-5  # added to the variance, squared units of the pre-activation

# %% tags=["hide-input"]
import numpy as np
import torch
from torch import nn

from bnlib import models
from bnlib.theory import effective_weights
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding, sentence
from companion.records import Source

source = Source(title="generated Gaussian inputs", train_size=batch_size, seeds=[seed])

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
sentence(
    f"Before: mean {np.mean(x @ w):.3f}, standard deviation {np.std(x @ w):.3f}. "
    f"After: mean {y.mean():.3f}, standard deviation {y.std():.3f}."
)

# %% [markdown]
# ## Check it yourself
#
# PyTorch's layer computes the same numbers, to the last bits of float64.


# %%
def torch_layer(momentum=0.1):
    layer = nn.BatchNorm1d(1, eps=eps, momentum=momentum).double()
    nn.init.constant_(layer.weight, gamma)
    nn.init.constant_(layer.bias, beta)
    return layer


z = torch.from_numpy(x @ w)[:, None]
five_lines = check(
    "constraint",
    "five lines of NumPy against BatchNorm1d in training mode",
    measured=torch_layer()(z).detach().numpy()[:, 0],
    predicted=y,
    tolerance=1e-14,
    source=source,
)

# %% tags=["hide-input"]
finding(
    "Five lines of NumPy are all of batch normalization: PyTorch's layer gives the same to within "
    "{difference:.0e}.",
    five_lines,
)

# %% [markdown]
# Now stretch the weights. Before BN, tripling $w$ triples the spread.
# After BN there is nothing left to see: the two clouds are the same.

# %% tags=["hide-input"]
many = rng.standard_normal((4000, 2)) @ mixing.T + [3.0, -1.0]
picture = Picture(1, 2, height=2.9)
before, after = picture
spreads = []
for factor, look in (
    (1, {"histtype": "stepfilled", "color": COLORS["batch"], "alpha": 0.45}),
    (3, {"histtype": "step", "color": COLORS["l2"], "linewidth": 2}),
):
    look |= {"label": "w" if factor == 1 else f"{factor}w", "density": True, "bins": 60}
    before.ax.hist(many @ (factor * w), **look)
    after.ax.hist(batch_norm(many @ (factor * w)), **look)
    spreads.append(np.std(many @ (factor * w)))
before.set(title="before BN", xlabel="pre-activation z", yticks=[], legend={"title": "weights"})
after.set(title="after BN", xlabel="output of the unit", yticks=[])
before.note(
    f"histograms for w and 3w with standard deviations {spreads[0]:.2f} and {spreads[1]:.2f}"
)
after.note(f"the two histograms coincide, with mean {beta:g} and standard deviation {abs(gamma):g}")
for panel in picture:
    panel.ax.spines.left.set_visible(False)
after.ax.axvline(beta, color=INK, linewidth=1, linestyle=":")
after.ax.text(beta, after.ax.get_ylim()[1] * 1.01, " mean β, std |γ|", fontsize=9)
picture.show(
    says="Tripling the raw weights changes the pre-activations, and nothing after BN.",
    source=Source(title="generated Gaussian inputs", train_size=len(many), seeds=[seed]),
    name="tripled-weights",
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

# %% tags=["hide-input"]
layer = torch_layer(momentum=1.0)  # keep the last batch's statistics only
layer(z)
check(
    "constraint",
    "running_var after one batch at momentum 1 against M/(M-1) times the batch variance that "
    "divides",
    measured=layer.running_var.item(),
    predicted=batch_size / (batch_size - 1) * np.var(x @ w),
    tolerance=1e-14,
    source=source,
)

steps = np.arange(1, 61)
picture = Picture(1, 2, height=2.9)
for size, color in ((4, "l2"), (64, "batch")):
    layer, path = torch_layer(), []
    for _ in steps:
        batch = rng.standard_normal((size, 2)) @ mixing.T + [3.0, -1.0]
        layer(torch.from_numpy(batch @ w)[:, None])
        path.append((layer.running_mean.item(), layer.running_var.item()))
    for panel, values in zip(picture, np.transpose(path)):
        panel.line(steps, values, f"batches of {size}", color)
for panel, true, title in zip(
    picture, (w @ [3.0, -1.0], w @ mixing @ mixing.T @ w), ("running_mean", "running_var")
):
    panel.ax.axhline(true, color=INK, linewidth=1, linestyle=":")
    panel.note(f"the population's value is {true:.2f}")
    panel.set(title=title, xlabel="training step", ylim=(min(0, panel.ax.get_ylim()[0]), None))
picture[1].ax.legend(loc="lower right")
picture.show(
    says="Running statistics forget their start within a few dozen steps and then fluctuate "
    "around the population's values (dotted), the more the smaller the batch.",
    source=Source(title="generated Gaussian inputs", seeds=[seed]),
    name="running-statistics",
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
in_training = check(
    "constraint",
    "BatchNorm1d in training mode against v'x + beta - v'mu with the batch's mean and covariance",
    measured=torch_layer()(z).detach().numpy()[:, 0],
    predicted=x @ v + (beta - v @ x.mean(axis=0)),
    tolerance=1e-13,
    source=source,
)

# %% [markdown]
# In evaluation mode the running statistics take their place. `bnlib.models.fold` returns the folded layer.
# This is how networks are deployed: after folding, BN costs nothing.

# %% tags=["hide-input"]
linear = nn.Linear(2, 1, bias=False).double()
linear.weight.data = torch.from_numpy(w)[None, :]
layer = torch_layer()
inputs = torch.from_numpy(x)
for _ in range(20):
    layer(linear(inputs))  # training mode: the running statistics move
layer.eval()
in_evaluation = check(
    "constraint",
    "a Linear and BatchNorm1d in evaluation mode against the one folded Linear",
    measured=models.fold(linear, layer)(inputs).detach().numpy(),
    predicted=layer(linear(inputs)).detach().numpy(),
    tolerance=1e-14,
    source=source,
)
finding(
    "A unit with BN is a linear unit with other weights: folded, in training and in evaluation, "
    "it puts out the same to within {worst:.0e}.",
    in_training,
    in_evaluation,
)

# %% [markdown]
# ## Many raw weights, one effective weight
#
# Multiply $w$ by any $a > 0$: numerator and denominator of $v = \gamma w / \sqrt{w'\Sigma w + \varepsilon}$ grow alike.
# Without $\varepsilon$ the whole ray through $w$ has one and the same $v$. So the length of $w$ means nothing.
# The data, and not the weights, decide how long $v$ is.
#
# PyTorch refuses $\varepsilon = 0$ in training. In float64 `eps=1e-30` is as good as none, and the book uses it so.

# %% tags=["hide-input"]
no_eps = nn.BatchNorm1d(1, eps=1e-30, affine=False).double()
stretched = check(
    "constraint",
    "output of BatchNorm1d with eps = 1e-30 for weights 1000 w against w",
    measured=no_eps(1000 * z).numpy(),
    predicted=no_eps(z).numpy(),
    tolerance=1e-14,
    source=source,
)
finding(
    "The length of the weights is lost: made a thousand times as long, they give the same output "
    "to within {difference:.0e}.",
    stretched,
)

# %% [markdown]
# What do all these $v$ look like? Draw four hundred raw weights at random, without any pattern,
# and mark where each lands.

# %% tags=["hide-input"]
raw = rng.standard_normal((400, 2)) * 1.5
effective = effective_weights(raw, gamma, cov)
rays = effective_weights([[1.0, 2.0], [2.0, 0.4], [-0.7, 2.0]], gamma, cov)
picture = Picture(1, 2, height=3.6)
left, right = picture
left.dots(*raw.T, color="none", markersize=2.7, markeredgewidth=0, words=False)
right.dots(*effective.T, color="batch", markersize=2.7, markeredgewidth=0, words=False)
for direction, color in zip(rays, ("l2", "signal", "theory")):
    along = np.linspace(0.3, 1, 5)[:, None] * direction / np.abs(direction).max() * 4.2
    left.line(*along.T, color=color, marker="o", markersize=5, linewidth=1, words=False)
    right.dots(*direction, color=color, markersize=9, words=False)
left.set(title="raw weights w", xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
reach = 1.15 * np.abs(effective).max()
limits = (-reach, reach)
right.set(title="effective weights v", xlim=limits, ylim=limits, aspect="equal")
left.note("a shapeless cloud of 400 raw weights and three rays with five points each")
right.note(
    "the effective weights of the whole cloud lie on one ellipse, and the five points of each ray "
    "fall on a single point of it"
)
picture.show(
    says="Whatever the raw weights, the effective weights lie on one ellipse. "
    "Left: raw weights, a shapeless cloud and three rays. Right: their effective weights. "
    "Each ray becomes a point, and the cloud becomes an ellipse.",
    source=source,
    name="cloud-and-ellipse",
)

# %% [markdown]
# A curve has appeared that nobody put there. Nothing was trained, and the weights were random.
# The ellipse is BN's doing, and its shape is the data's. {doc}`constraint` says which
# ellipse it is and what it means to train on it.
#
# ## What it means for your network
#
# - The norm of the weights in front of a BN layer says nothing about how large the function is. Look at $v$ instead.
# - A bias in front of BN is dead weight: `bias=False` computes the same.
# - A batch in training mode and the same rows in evaluation mode give different outputs, the more so the smaller the
#   batch. Fold only for evaluation.
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
# - Most theorems take one unit and fix everything else. {doc}`Depth <depth>` shows that
#   the rate of each unit loses nothing by that; what is convex for one unit is not for all together.
# - The first chapters treat `BatchNorm1d` after `Linear`. The algebra of a convolution is the same with patches as
#   inputs: {doc}`depth <depth>` checks it, and {doc}`layers <layers>` measures it.
#
# ## Exercises
#
# **1. Derive.** How much of the prescribed spread does $\varepsilon$ take away? Find the standard deviation of BN's
# output, and the $\varepsilon$ at which one per cent is missing.
#
# :::{dropdown} Solution
# The output is $\gamma(z - \bar z)/s + \beta$, and $z$ has variance $q$. So its standard deviation is
# $\lvert\gamma\rvert\sqrt{q/(q + \varepsilon)}$. One per cent is missing if $q/(q + \varepsilon) = 0.99^2$, that is,
# $\varepsilon = (0.99^{-2} - 1)\,q \approx 0.02\,q$. With PyTorch's $\varepsilon = 10^{-5}$ this happens to units
# whose pre-activation has a standard deviation of about 0.02.
# :::
#
# **2. Run.** Set `batch_size = 2`. Before you run: which two numbers does the unit put out, and what do they know of
# the inputs?
#
# :::{dropdown} Solution
# Two numbers lie equally far from their mean, one on either side, and that distance is their (biased) standard
# deviation. So BN puts out $\beta + \gamma$ and $\beta - \gamma$, here 1 and $-3$, up to $\varepsilon$. All that is
# left of the inputs is which of the two pre-activations is larger. The sentence under the five lines says the same:
# after BN the mean is $-1$ and the standard deviation 2.
# :::
