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
# # The rate that batch normalization sets
#
# A constraint pulls. {doc}`The last chapter <constraint>` showed that batch normalization (BN) keeps the
# effective weights on an ellipsoid; here we measure how hard it has to pull to do so.
# The answer is one number a unit, the **rate** $\lambda$: the gradient of a network with BN is the gradient of
# the same network without BN plus $\lambda$ times a penalty gradient, exactly, at every step of every training.
# Nobody chose $\lambda$. The data did, and you can read it off your own network.
# It can be negative: then BN does not regularize but inflates. You will see when.

# %% tags=["parameters"]
seed = 2  # of generated data and weights
gamma = 1.2  # BN's scale in the pictures, in units of the target

# %%
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from bnlib import meter, models, theory
from companion import figures, page, statistics
from bnlib.theory import Moments

rng = np.random.default_rng(seed)

# %% [markdown]
# ## In plain words
#
# BN loses the length of $w$, so no gradient of a BN network can point along $w$: it is perpendicular to the ray.
# The plain gradient of the unit without BN knows nothing of that. So BN must have added something that cancels the part
# along the ray. What it adds points along $\Sigma v$, the normal of the ellipsoid.
# And $\lambda\Sigma v$ is the gradient of $\tfrac\lambda2 v'\Sigma v$: a penalty, with a rate.

# %% tags=["hide-input"]
cov = np.array([[1.1, 0.35], [0.35, 0.6]])
v = theory.effective_weights([1.0, -0.12], gamma, cov)
pull = cov @ (np.array([1.5, 2.2]) - v)  # -grad L, least squares
multiplier = theory.rate(v, -pull, gamma)
total = pull - multiplier * cov @ v
step = 0.8
s, U = np.linalg.eigh(cov)
circle = np.stack(
    [
        np.cos(np.linspace(0, 2 * np.pi, 400)),
        np.sin(np.linspace(0, 2 * np.pi, 400)),
    ]
)
ellipse = gamma * (U / np.sqrt(s)) @ circle
moved = v + step * total
fig, ax = figures.figure(height=4.2)
ax.plot(*ellipse, color=figures.COLORS["batch"])
ax.plot(*np.outer(v, [0, 1.9]), ":", color=figures.INK, linewidth=1)
ax.plot(*np.outer(moved, [0, 1]), ":", color=figures.INK, linewidth=1)
arrows = (
    (pull, "none", "−grad L: without BN", (6, 0), "left"),
    (-multiplier * cov @ v, "l2", "−λΣv: what BN adds", (2, -15), "center"),
    (total, "signal", "sum: with BN", (-4, 7), "center"),
)
for arrow, color, label, offset, side in arrows:
    tip = v + step * arrow
    ax.annotate(
        "",
        tip,
        v,
        arrowprops={
            "arrowstyle": "-|>",
            "color": figures.COLORS[color],
            "linewidth": 2.4,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    ax.annotate(label, tip, xytext=offset, textcoords="offset points", ha=side)
landed = theory.effective_weights(moved, gamma, cov)
ax.plot(*v, "o", color=figures.COLORS["batch"], markersize=8)
ax.plot(
    *landed,
    "o",
    markerfacecolor="none",
    markeredgecolor=figures.COLORS["batch"],
    markersize=9,
    markeredgewidth=2,
)
ax.annotate("v", v, xytext=(5, -15), textcoords="offset points")
ax.annotate(
    "next v", landed, xytext=(-10, 8), textcoords="offset points", ha="right"
)
ax.plot(0, 0, "+", color=figures.INK)
ax.set(
    aspect="equal",
    xlabel="v₁",
    ylabel="v₂",
    xlim=(-1.45, 3.3),
    ylim=(-1.0, 1.9),
)
figures.show(
    fig,
    alt="At a point v on the ellipse three arrows: the plain downhill direction, the pull that BN adds, "
    "normal to the "
    "ellipse, and their sum, perpendicular to the ray through v. Scaled back to the ellipse, it gives the next v.",
    caption=f"BN adds −λΣv, here with λ = {multiplier:.2f}, to the plain downhill step. The sum is "
    "perpendicular to the "
    "ray through v (dotted), and scaling back to the ellipse gives the next effective weights.",
    source="closed form, no data",
)

# %% [markdown]
# ## The theorem
#
# As before, $J(w, \gamma)$ is the loss with BN and $L(v)$ the loss of the folded network, its bias tied by
# $b = \beta - v'\mu$. All other parameters are whatever they are at this step. $\mu$ and $\Sigma$ are those of the
# batch, in training mode.
#
# ::::{prf:theorem} Every BN gradient carries a penalty, at a rate that the data set
# :label: thm-rate
#
# Let $L$ be differentiable at $v = \gamma w/s$, $s = \sqrt{w'\Sigma w + \varepsilon} > 0$, $\varepsilon \ge 0$,
# $\gamma \ne 0$.
#
# **(i)** With $\nabla_v L$ the gradient of the folded network,
#
# $$
# \nabla_w J \;=\; \frac{\gamma}{s}\,\bigl[\, \nabla_v L + \lambda\, \Sigma v \,\bigr],
# \qquad
# \lambda \;=\; -\frac{v'\nabla_v L}{\gamma^2} \;=\; -\frac1\gamma\, \frac{\partial J}{\partial \gamma} .
# $$
#
# The bracket is the gradient of $L(v) + \tfrac\lambda2\, v'\Sigma v$ at fixed $\lambda$. If $\varepsilon = 0$,
# $\lambda$ is the one number that makes it perpendicular to $v$.
#
# **(ii)** In the eigenbasis of $\Sigma$, direction $i$ is regularized at the rate $\lambda s_i$:
# $u_i'[\nabla_v L + \lambda\Sigma v] = u_i'\nabla_v L + \lambda s_i\, u_i'v$.
#
# **(iii)** Let $v \ne 0$. The one number $\alpha$ that makes $\nabla_v L + \alpha v$ perpendicular to $v$, the
# **L2-equivalent rate**, is
#
# $$
# \alpha \;=\; -\frac{v'\nabla_v L}{\lVert v\rVert^2} \;=\; \lambda\, \frac{\gamma^2}{\lVert v\rVert^2}
# \;=\; -\frac{\partial J}{\partial\gamma}\,\frac{q + \varepsilon}{\gamma\, \lVert w\rVert^2} .
# $$
#
# It has the sign of $\lambda$, and
# $\lvert\lambda\rvert\, (s_{\min} + \varepsilon/\lVert w\rVert^2) \le \lvert\alpha\rvert \le
# \lvert\lambda\rvert\, (s_{\max} + \varepsilon/\lVert w\rVert^2)$.
#
# **(iv)** Let $\varepsilon = 0$. A gradient step $w^+ = w - \eta\, \nabla_w J$ moves the effective weights to
#
# $$
# v^+ = \lvert\gamma\rvert\, \frac{u}{\sqrt{u'\Sigma u}},
# \qquad
# u = v - \frac{\eta\gamma^2}{s^2}\, \bigl[\nabla_v L + \lambda\Sigma v\bigr]
# $$
#
# (where $u'\Sigma u > 0$): a step of the *penalized* network without BN, scaled back to the ellipsoid.
# ::::
#
# :::{dropdown} Proof
# **(i)** Differentiate $v = \gamma w/s$ in a direction $\delta$. Since $s^2 = w'\Sigma w + \varepsilon$,
# the change of $s$ is $w'\Sigma\delta/s$, so
#
# $$
# \mathrm dv = \frac\gamma s\, \delta - \frac{\gamma\, (w'\Sigma \delta)}{s^3}\, w .
# $$
#
# By {prf:ref}`thm-constraint` (i), $J(w, \gamma) = L(v)$. The chain rule gives
# $\mathrm dJ = \nabla_v L'\, \mathrm dv = \frac\gamma s
# \bigl[ \nabla_v L'\delta - \frac{w'\nabla_v L}{s^2}\, w'\Sigma\delta \bigr]$
# for every $\delta$, that is
#
# $$
# \nabla_w J = \frac\gamma s \Bigl[ \nabla_v L - \frac{w'\nabla_v L}{s^2}\, \Sigma w \Bigr] .
# $$
#
# Insert $w = (s/\gamma) v$ in both places:
# $\frac{w'\nabla_v L}{s^2} \Sigma w = \frac{v'\nabla_v L}{\gamma^2}\, \Sigma v
# = -\lambda\Sigma v$. For fixed $w$, $\partial v/\partial\gamma = w/s = v/\gamma$, so
# $\partial J/\partial\gamma = v'\nabla_v L/\gamma = -\gamma\lambda$. No step used $\varepsilon = 0$ or the sign of
# $\gamma$. The gradient of $\tfrac\lambda2 v'\Sigma v$ is $\lambda\Sigma v$. If $\varepsilon = 0$,
# $v'\Sigma v = \gamma^2 \ne 0$, and $v'[\nabla_v L + \lambda\Sigma v] = v'\nabla_v L + \lambda\gamma^2$ vanishes for
# this $\lambda$ only.
#
# **(ii)** $u_i'\Sigma v = s_i\, u_i'v$.
#
# **(iii)** $v'[\nabla_v L + \alpha v] = 0$ has the one solution $\alpha = -v'\nabla_v L/\lVert v\rVert^2$, which is
# $\lambda\gamma^2/\lVert v\rVert^2$ by the definition of $\lambda$. Since
# $\lVert v\rVert^2 = \gamma^2\lVert w\rVert^2/s^2$ and $s^2 = q + \varepsilon$, this is
# $\lambda\, (q + \varepsilon)/\lVert w\rVert^2$; insert $\lambda = -(1/\gamma)\,\partial J/\partial\gamma$. Finally
# $s_{\min} \le q/\lVert w\rVert^2 \le s_{\max}$.
#
# **(iv)** By (i), $w^+ = \frac s\gamma v - \frac{\eta\gamma}{s} [\nabla_v L + \lambda\Sigma v] = \frac s\gamma\, u$. So
# $v^+ = \gamma w^+/\sqrt{w^+{}'\Sigma w^+}
# = \gamma\, \frac{s}{\gamma}\, u \big/ \bigl(\frac{s}{\lvert\gamma\rvert} \sqrt{u'\Sigma u}\bigr)
# = \lvert\gamma\rvert\, u/\sqrt{u'\Sigma u}$.
# $\square$
# :::
#
# Two rates for one pull. $\lambda$ belongs to the penalty that BN really adds, $\tfrac\lambda2 v'\Sigma v$. It is the
# same in any units of the inputs. $\alpha$ translates its strength along $v$ into the units of `weight_decay` in
# `torch.optim.SGD`, so that it can be compared with what one would have set by hand.
#
# ## Check it in five lines
#
# Write the BN unit and the folded unit as two formulas, and let autograd differentiate both.

# %%
mixing = [[2, 1, 0], [0, 1, 1], [0, 0, 0.5]]
x = torch.from_numpy(rng.standard_normal((50, 3)) @ mixing)
t = torch.tanh(x @ torch.tensor([1.0, -2.0, 1.0]).double()) + 0.3
centred = x - x.mean(0)
Sigma = centred.T @ centred / len(x)
eps = 0.1

w = torch.tensor([0.5, 1.0, -2.0]).double().requires_grad_()
s_w = (w @ Sigma @ w + eps).sqrt()
v = (gamma * w / s_w).detach().requires_grad_()

(grad_w,) = torch.autograd.grad(mse_loss(gamma * centred @ w / s_w, t), w)
(grad_v,) = torch.autograd.grad(mse_loss(centred @ v, t), v)
rate = -(v @ grad_v) / gamma**2
penalized = gamma / s_w * (grad_v + rate * Sigma @ v)
page.check(
    "rate",
    "autograd's gradient of a BN unit written out, eps = 0.1, against "
    "gradient of the folded unit plus penalty",
    measured=grad_w.numpy(),
    predicted=penalized.detach().numpy(),
    tolerance=1e-13,
)

# %% [markdown]
# ## PyTorch's own layers, inside a network
#
# Now a real network: `Linear`, `BatchNorm1d`, `ReLU`, `Linear`, with PyTorch's default $\varepsilon$ and scales of
# either sign. For every hidden unit we compare the gradient that PyTorch computes with the theorem, under two losses.

# %%
network = models.network((6, 8, 3), seed=seed).double()
linear, batch_norm, *rest = network
scales = torch.tensor([1.5, -0.7, 0.2, 1.0, -2.0, 0.5, 3.0, 0.9]).double()
batch_norm.weight.data = scales
spread = [3, 2, 1, 1, 0.5, 0.1]
inputs = torch.from_numpy(rng.standard_normal((40, 6)) * spread + 1)
numbers = torch.from_numpy(rng.standard_normal((40, 3)))
classes = torch.from_numpy(rng.integers(0, 3, 40))
losses = {
    "squared loss": (mse_loss, numbers),
    "cross-entropy": (cross_entropy, classes),
}
batch_cov = np.cov(inputs.numpy(), rowvar=False, bias=True)


def gradients(loss_fn, target):
    """With BN, in w and gamma; without BN, in v. Also v."""
    loss = loss_fn(network(inputs), target)
    parameters = [linear.weight, batch_norm.weight]
    grad_w, grad_gamma = torch.autograd.grad(loss, parameters)
    folded = theory.effective_weights(
        linear.weight.detach(), scales, batch_cov, batch_norm.eps
    )
    v = torch.from_numpy(folded).requires_grad_()
    hidden = (inputs - inputs.mean(0)) @ v.T + batch_norm.bias.detach()
    loss = loss_fn(nn.Sequential(*rest)(hidden), target)
    (grad_v,) = torch.autograd.grad(loss, v)
    return grad_w.numpy(), grad_gamma.numpy(), grad_v.numpy(), folded


for name, (loss_fn, target) in losses.items():
    grad_w, grad_gamma, grad_v, v = gradients(loss_fn, target)
    rates = theory.rate(v, grad_v, scales)
    raw = linear.weight.detach().numpy()
    q = np.einsum("ki,ij,kj->k", raw, batch_cov, raw)
    factor = scales.numpy() / np.sqrt(q + batch_norm.eps)  # gamma/s
    penalty = rates[:, None] * v @ batch_cov  # lambda Sigma v
    page.check(
        "rate",
        f"gradient of Linear before BatchNorm1d in a network, {name}, "
        "against (gamma/s)(grad L + lambda Sigma v)",
        measured=grad_w,
        predicted=factor[:, None] * (grad_v + penalty),
        tolerance=1e-12,
    )

# %% [markdown]
# The second form of $\lambda$ needs no covariance and no folding: $-\frac1\gamma\,\partial J/\partial\gamma$, and
# that derivative is what every optimizer computes anyway. This is how `bnlib.meter.measure` reads the rates of *your*
# network.

# %%
report = meter.measure(network, [(inputs, classes)], cross_entropy)
page.check(
    "rate",
    "rates from bnlib.meter against -v'grad L / gamma^2 of the folded network",
    measured=report.rate,
    predicted=rates,
    tolerance=1e-12,
)
page.check(
    "rate",
    "rates from bnlib.meter against autograd's -(dJ/dgamma)/gamma",
    measured=report.rate,
    predicted=-grad_gamma / scales.numpy(),
    tolerance=1e-12,
)
page.check(
    "rate",
    "L2-equivalent rates from bnlib.meter against -v'grad L / |v|^2 of the "
    "folded network",
    measured=report.l2_rate,
    predicted=theory.l2_equivalent_rate(v, grad_v),
    tolerance=1e-12,
)
print(report.to_frame().round(4).to_string(index=False))
print(f"{np.sum(report.rate < 0)} of {len(report.rate)} rates are negative")

# %% [markdown]
# Nobody set these rates, and in an untrained network they may have either sign. What is certain, by part (iii), is the
# factor between the two rates of a unit. The data box it:

# %%
ratio = report.l2_rate / report.rate
s_min, *_, s_max = np.linalg.eigvalsh(batch_cov)
from_eps = batch_norm.eps / report.weight_norm**2
print(
    "alpha / lambda:",
    ratio.round(2),
    f"eigenvalues {s_min:.3g} to {s_max:.3g}",
)
page.check(
    "rate",
    "number of units whose alpha / lambda lies between the extreme eigenvalues "
    "of Sigma, each plus eps/|w|^2",
    measured=int(
        np.sum((s_min + from_eps <= ratio) & (ratio <= s_max + from_eps))
    ),
    predicted=len(ratio),
    kind="exact",
)

# %% [markdown]
# Part (iv), the step itself. One `torch.optim.SGD` step through BN lands where a penalized step without BN lands,
# after scaling back.

# %%


def bn_unit(dimension, gamma, seed, beta=0.0):
    """One linear unit with BN at fixed gamma, in float64."""
    unit = models.network(
        (dimension, 1), normalize_output=True, eps=1e-30, seed=seed
    ).double()
    nn.init.constant_(unit[1].weight, gamma)  # in float64
    nn.init.constant_(unit[1].bias, beta)
    return unit


unit = bn_unit(6, gamma, seed)
target = inputs[:, :1].sin()
optimizer = torch.optim.SGD([unit[0].weight], lr=0.5)
before = unit[0].weight.detach().numpy().copy()
mse_loss(unit(inputs), target).backward()
optimizer.step()

folded = theory.effective_weights(before, gamma, batch_cov)
v = torch.from_numpy(folded).requires_grad_()
loss = mse_loss((inputs - inputs.mean(0)) @ v.T, target)
grad_v = torch.autograd.grad(loss, v)[0].numpy()
rate = theory.rate(folded, grad_v, [gamma])
step = 0.5 * gamma**2 / np.einsum("ki,ij,kj", before, batch_cov, before)
u = folded - step * (grad_v + rate * folded @ batch_cov)
after = unit[0].weight.detach()
page.check(
    "rate",
    "effective weights after one SGD step through BatchNorm1d against a "
    "penalized step without it, rescaled",
    measured=theory.effective_weights(after, gamma, batch_cov),
    predicted=theory.effective_weights(u, gamma, batch_cov),
    tolerance=1e-12,
)

# %% [markdown]
# ## Least squares: the rate in closed form
#
# For squared loss everything can be written down. Let $c = \operatorname{Cov}(x, t)$,
# $\sigma_t^2 = \operatorname{Var} t$, and $R^2$ the share of the target's variance that a linear fit explains,
# $R \ge 0$. $\Sigma^+$ is the pseudo-inverse: inputs may be constant or collinear.
#
# ::::{prf:theorem} Least squares under batch normalization
# :label: thm-least-squares
#
# Let $L(v) = \tfrac12 \operatorname E (t - b - v'x)^2$ with the tied bias and $\beta = \operatorname E t$, its best
# value; $\varepsilon = 0$, $\gamma > 0$ (for $\gamma < 0$ write $\lvert\gamma\rvert$), and
# $R^2 = c'\Sigma^+c/\sigma_t^2$.
#
# **(i)** At *every* $v$ on the ellipsoid,
# $\;1 + \lambda(v) = c'v/\gamma^2 = \operatorname{corr}(v'x, t)\; \sigma_t/\gamma$.
#
# **(ii)** The minimum of $J$, the rate there, and, if $R > 0$, the minimizer are
#
# $$
# \min J = \tfrac12 \bigl( \sigma_t^2 - 2\gamma R\sigma_t + \gamma^2 \bigr),
# \qquad
# 1 + \lambda = \frac{R\sigma_t}{\gamma},
# \qquad
# v = \frac{\gamma}{R\sigma_t}\, \Sigma^+ c = \frac{1}{1 + \lambda}\, \Sigma^+c .
# $$
#
# If $R > 0$ the minimizer is unique up to the null space of $\Sigma$, and the only other stationary point, $-v$, is
# the maximizer.
#
# **(iii)** $\lambda > 0$ (BN shrinks) if $\gamma < R\sigma_t$; $\lambda < 0$ (BN **inflates**) if $\gamma > R\sigma_t$;
# $\lambda = 0$ if $\gamma = R\sigma_t$, the standard deviation of the least squares fit without BN.
#
# **(iv)** If $R = 0$, no input is correlated with the target, $\lambda = -1$ everywhere, and all points of the
# ellipsoid are equally good.
# ::::
#
# :::{dropdown} Proof
# *First, $c$ lies in the range of $\Sigma$:* if $\Sigma u = 0$ then $u'x$ is constant, so
# $u'c = \operatorname{Cov}(u'x, t) = 0$; and the range of a symmetric matrix is all that is orthogonal to its null
# space. With $b = \operatorname E t - v'\mu$,
#
# $$
# L(v) = \tfrac12 \operatorname{Var}(t - v'x) = \tfrac12 \bigl( \sigma_t^2 - 2 c'v + v'\Sigma v \bigr),
# \qquad \nabla_v L = \Sigma v - c .
# $$
#
# For another $\beta$ the constant $\tfrac12(\operatorname E t - \beta)^2$ is added; no $v$ can lower it.
#
# **(i)** By {prf:ref}`thm-rate`, $\lambda = -v'(\Sigma v - c)/\gamma^2 = (c'v - \gamma^2)/\gamma^2$, as
# $v'\Sigma v = \gamma^2$. Moreover $c'v = \operatorname{Cov}(v'x, t)$ and $v'x$ has standard deviation $\gamma$.
#
# **(ii)** On the ellipsoid $L = \tfrac12(\sigma_t^2 - 2c'v + \gamma^2)$: maximize $c'v$. As $c$ is in the range of
# $\Sigma$, $c = \Sigma^{1/2}\Sigma^{+1/2}c$, and Cauchy and Schwarz give
#
# $$
# c'v = (\Sigma^{+1/2}c)'(\Sigma^{1/2}v) \;\le\; \lVert \Sigma^{+1/2} c\rVert\, \lVert\Sigma^{1/2} v\rVert =
# R\sigma_t\, \gamma ,
# $$
#
# with equality, if $R > 0$, exactly if $\Sigma^{1/2} v = \frac{\gamma}{R\sigma_t}\, \Sigma^{+1/2}c$, that is, if
# $v = \frac{\gamma}{R\sigma_t}\Sigma^+c$ up to the null space of $\Sigma$. Insert into $L$ and into (i). Stationary
# on the ellipsoid means $\Sigma v - c + \lambda\Sigma v = 0$, so $(1+\lambda)\Sigma v = c \neq 0$ and $v$ is a
# multiple of $\Sigma^+c$ up to the null space; two of them have $v'\Sigma v = \gamma^2$. At $-v$, $c'v$ is smallest.
#
# **(iii)** Read off from $1 + \lambda = R\sigma_t/\gamma$; $\Sigma^+c$ has output variance
# $c'\Sigma^+c = R^2\sigma_t^2$.
#
# **(iv)** $R = 0$ means $\Sigma^{+1/2}c = 0$, so $c = 0$ and $L = \tfrac12(\sigma_t^2 + \gamma^2)$ on all of the
# ellipsoid; $\lambda = -1$ by (i).
# $\square$
# :::
#
# So $1 + \lambda$ is the factor by which BN divides the fit: at $\lambda = 1$ the weights are half those of least
# squares without BN, at $\lambda = 0$ they are the same.
#
# Walk on the ellipse yourself, for least squares with two inputs. Away from BN's minimizer the two arrows do not
# cancel, and the rate is that of {prf:ref}`thm-rate`. At it they do, and the rate is $R\sigma_t/\gamma - 1$.
#
# <div class="moving" id="moving-ellipse" data-figure="ellipse">
# <p class="moving-still">On the web pages of this book this figure moves. At a point v of the ellipse stand the arrows
# of the first picture of this chapter, downhill −∇L and the penalty −λΣv. They cancel only on the line through the
# origin and the minimizer without BN. On the nearer side, with γ below Rσ<sub>t</sub>, the penalty points
# inwards: λ is positive, and BN shrinks. With γ above Rσ<sub>t</sub> it points outwards: λ is negative, and BN
# inflates.</p>
# </div>
#
# Check it in five lines. The closed form against a library's solver for ordinary least squares:

# %%
rows, dimension = 300, 6
mixing = np.triu(rng.uniform(0.2, 1, (dimension, dimension)))
X = rng.standard_normal((rows, dimension)) @ mixing
y = X @ rng.standard_normal(dimension) + 2 * rng.standard_normal(rows)
moments = Moments.from_data(X, y)
ols = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
fitted_std = np.std(X @ ols)  # R sigma_t
fit = theory.least_squares(moments, gamma)
page.check(
    "least-squares",
    "bnlib's BN weights against gamma/(R sigma_t) times lstsq's ordinary "
    "least squares weights",
    measured=fit.weights,
    predicted=gamma / fitted_std * ols,
    tolerance=1e-12,
)

# %% [markdown]
# In PyTorch: train raw weights through `BatchNorm1d` from a random start, and read the rate with the meter.


# %%
def half_squared_loss(output, target):
    return mse_loss(output, target) / 2


def train_unit(X, y, gamma, steps=200):
    """Fit one BN unit with L-BFGS; return it and the data as tensors."""
    unit = bn_unit(X.shape[1], gamma, seed, beta=y.mean())
    data = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    optimizer = torch.optim.LBFGS(
        [unit[0].weight],
        max_iter=steps,
        tolerance_grad=1e-14,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = half_squared_loss(unit(data[0]), data[1])
        loss.backward()
        return loss

    optimizer.step(closure)
    return unit, data


def read(unit, data):
    return meter.measure(unit, [data], half_squared_loss)


gammas = fitted_std * np.array([0.35, 0.5, 0.7, 1.0, 1.4, 2.0])
measured = []
for each in gammas:
    unit, data = train_unit(X, y, each)
    measured.append(read(unit, data).rate[0])
    loss = half_squared_loss(unit(data[0]), data[1]).item()
page.check(
    "least-squares",
    "1 + rate of units trained through BatchNorm1d at six values of gamma "
    "against R sigma_t / gamma",
    measured=1 + np.array(measured),
    predicted=fitted_std / gammas,
    tolerance=1e-11,
)
page.check(
    "least-squares",
    "loss of the unit trained through BatchNorm1d against (sigma_t^2 - 2 "
    "gamma R sigma_t + gamma^2)/2",
    measured=loss,
    predicted=(np.var(y) - 2 * each * fitted_std + each**2) / 2,
    tolerance=1e-12,
)

# %% tags=["hide-input"]
line = np.linspace(0.25, 2.4, 300) * fitted_std
fig, (left, right) = figures.figure(1, 2, height=3.4)
curve = fitted_std / line - 1
left.axhline(0, color=figures.INK, linewidth=0.8)
left.fill_between(
    line,
    curve,
    0,
    where=curve >= 0,
    color=figures.COLORS["signal"],
    alpha=0.18,
    linewidth=0,
)
left.fill_between(
    line,
    curve,
    0,
    where=curve <= 0,
    color=figures.COLORS["l2"],
    alpha=0.22,
    linewidth=0,
)
left.plot(line, curve, color=figures.COLORS["theory"])
left.plot(gammas, measured, "o", color=figures.COLORS["batch"], markersize=7)
left.axhline(-1, color=figures.INK, linewidth=0.8, linestyle=":")
left.text(0.75 * fitted_std, 1.0, "λ > 0: BN shrinks")
left.text(1.16 * fitted_std, 0.1, "λ < 0: BN inflates")
left.set(xlabel="γ", ylabel="rate λ", title="the rate")
right.plot(
    line,
    (np.var(y) - 2 * line * fitted_std + line**2) / 2,
    color=figures.COLORS["theory"],
    label="closed form",
)
right.axhline(
    np.var(y - X @ ols) / 2,
    color=figures.COLORS["none"],
    linewidth=1.5,
    linestyle="--",
    label="without BN",
)
right.set(xlabel="γ", title="smallest loss", ylim=(0, None))
for ax in (left, right):
    ax.set_xticks(
        [0.5 * fitted_std, fitted_std, 2 * fitted_std],
        ["½ Rσ_t", "Rσ_t", "2 Rσ_t"],
    )
right.legend(loc="upper left")
figures.show(
    fig,
    alt=f"Left: the rate falls with gamma, is zero at gamma = R sigma_t = {fitted_std:.2f}, negative "
    "beyond, and tends to "
    "-1; six trained units lie on the curve. Right: the smallest loss is a parabola in gamma with its minimum there.",
    caption="Left: the rate against γ, closed form (line) and PyTorch units trained through BatchNorm1d (dots). "
    "To the right of Rσ_t the rate is negative: BN inflates. Right: what it costs in training loss. Only "
    "at Rσ_t does BN "
    "cost nothing.",
    source=f"generated data, {rows} rows, seed {seed}",
)

# %% [markdown]
# A negative rate is not regularization. It pushes the weights out: the unit is *made* to vary by $\gamma$, and if the
# inputs explain less of the target than that, the rest of the variance is of no use.
#
# Part (i) says what the rate is *during* training: a correlation. A random start may be correlated with the target
# either way, so $\lambda$ starts somewhere about $-1$. As the unit learns, the rate climbs to its final value, and
# never above. With twenty inputs a random start is far from the goal:

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.2)
wide = rng.standard_normal((rows, 20)) * rng.uniform(0.5, 1.5, 20)
wide_t = wide @ rng.standard_normal(20) + 2 * rng.standard_normal(rows)
wide_moments = Moments.from_data(wide, wide_t)
wide_std = np.sqrt(wide_moments.r_squared * wide_moments.target_var)
data = torch.from_numpy(wide), torch.from_numpy(wide_t)[:, None]
ends = {"l2": 0.5, "batch": 1.0, "noise": 2.0}
for color, share in ends.items():
    scale = share * wide_std
    unit = bn_unit(20, scale, seed, beta=wide_t.mean())
    optimizer = torch.optim.SGD([unit[0].weight], lr=0.004 / scale)
    path = []
    for _ in range(100):
        path.append(read(unit, data).rate[0])
        optimizer.zero_grad()
        half_squared_loss(unit(data[0]), data[1]).backward()
        optimizer.step()
    ax.plot(path, color=figures.COLORS[color])
    ax.axhline(
        1 / share - 1,
        color=figures.COLORS["theory"],
        linewidth=1.2,
        linestyle="--",
    )
    ax.annotate(
        f"γ = {share:g} Rσ_t",
        (99, path[-1]),
        xytext=(0, -6),
        textcoords="offset points",
        ha="right",
        va="top",
    )
ax.set(xlabel="gradient step", ylabel="rate λ", ylim=(None, 1.15))
figures.show(
    fig,
    alt="The rate over 100 gradient steps for three values of gamma, rising from its value at a random start towards "
    "the closed form: 1 for half of R sigma_t, 0 for R sigma_t, -0.5 for twice of it.",
    caption="The rate along training, read at every step. It is the correlation between output and "
    "target, in units of "
    "γ/σ_t, less one: it rises to the closed form (dashed) and stays below it.",
    source=f"generated data, {rows} rows, seed {seed}; initial weights, seed {seed}",
)

# %% [markdown]
# Exactly, too. Two inputs, $\Sigma$ and $c$ such that $R\sigma_t$ is rational; and the gradient of
# $J = \tfrac12\bigl(\sigma_t^2 - 2\gamma\, c'w/s + \gamma^2 q/s^2\bigr)$ by the quotient rule, with $\varepsilon > 0$.

# %%
Sigma = np.array([[Fraction(4), Fraction(2)], [Fraction(2), Fraction(2)]])
c = np.array([Fraction(6), Fraction(7)])
scale, target_var = Fraction(3), Fraction(40)
inverse = np.array([[1, -1], [-1, 2]]) * Fraction(1, 2)
explained = c @ inverse @ c  # R^2 sigma_t^2 = 25
v_exact = scale / 5 * inverse @ c
loss_exact = (target_var - 2 * c @ v_exact + v_exact @ Sigma @ v_exact) / 2
best = (target_var - 2 * scale * 5 + scale**2) / 2
page.check(
    "least-squares",
    "in exact arithmetic: explained variance, constraint, rate, stationarity "
    "and loss of the closed form",
    measured=[
        explained,
        v_exact @ Sigma @ v_exact,
        c @ v_exact / scale**2,
        *(Sigma @ v_exact * Fraction(5, 3)),
        loss_exact,
    ],
    predicted=[25, scale**2, Fraction(5, 3), *c, best],
    kind="exact",
)

# %%
w, eps = np.array([Fraction(-1, 2), Fraction(4)]), Fraction(144)
q = w @ Sigma @ w  # 25
s_w = Fraction(13)  # the root of q + eps
linear_term = c / s_w - (c @ w) * Sigma @ w / s_w**3
square_term = Sigma @ w / s_w**2 - q * Sigma @ w / s_w**4
quotient_rule = -scale * linear_term + scale**2 * square_term
v = scale * w / s_w
grad_v = Sigma @ v - c
rate = -(v @ grad_v) / scale**2
page.check(
    "rate",
    "least squares gradient by the quotient rule against (gamma/s)(grad L + "
    "lambda Sigma v), eps > 0, exact arithmetic",
    measured=list(quotient_rule),
    predicted=list(scale / s_w * (grad_v + rate * Sigma @ v)),
    kind="exact",
)

# %% [markdown]
# ## Auto-tuned: what the rate does not depend on
#
# Measure the inputs in millimetres instead of metres. A hand-tuned weight decay is now wrong by a factor of a million.
# BN does not notice.
#
# ::::{prf:theorem} Invariance
# :label: thm-invariance
#
# Let the inputs be changed to $y = Ax + h$, $A$ invertible; the target stays.
#
# **(i)** The BN unit with raw weights $A^{-\prime} w$ on $y$ computes what the one with $w$ computes on $x$, for any
# $\varepsilon \ge 0$. Its effective weights are $A^{-\prime}v$, and its loss and its rate $\lambda$ are the same.
# So minima, the predictions at minimizers, and $\lambda$ there do not depend on $A$ and $h$.
#
# **(ii)** If $y = ax$, $a \ne 0$, the L2-equivalent rate becomes $a^2\alpha$. So does any rate of an L2 penalty that
# is to give the same predictions without BN, the best hand-tuned one included.
#
# **(iii)** The control: **weight normalization** {cite:p}`salimans2016`, $v = \gamma w/\lVert w\rVert$, is the same
# constraint with $\Sigma$ replaced by $I$, and has the rate $-v'\nabla_v L/\gamma^2 = \alpha$. On $y = ax$ with scale
# $\gamma$ it computes what it computes on $x$ with scale $\lvert a\rvert\gamma$. It is not invariant.
# ::::
#
# :::{dropdown} Proof
# Write $A^{-\prime}$ for $(A')^{-1}$. The new moments are $\mu_y = A\mu + h$ and $\Sigma_y = A\Sigma A'$.
#
# **(i)** Put $w_y = A^{-\prime}w$. Then $w_y'(y - \mu_y) = w'A^{-1}A(x - \mu) = w'(x - \mu)$ on every row, and
# $w_y'\Sigma_y w_y = w'\Sigma w$. So $s$, the normalized pre-activation and the output are the same, and
# $v_y = \gamma w_y/s = A^{-\prime}v$. As $A$ is invertible, every $w_y$ arises so: $J_y(A^{-\prime}w) = J(w)$, and
# minima and minimizers correspond. The loss as a function of $\gamma$ is the same too, so
# $\lambda = -(1/\gamma)\, \partial J/\partial\gamma$ is.
#
# **(ii)** $v_y = v/a$, so $\alpha_y = \lambda\gamma^2/\lVert v_y\rVert^2 = a^2\alpha$. Without BN the unit with $v/a$
# on $ax$ computes what $v$ computes on $x$, and
# $L_y(v/a) + \tfrac{\alpha_y}{2} \lVert v/a\rVert^2 = L(v) + \tfrac{\alpha_y}{2a^2} \lVert v\rVert^2$. So rate
# $\alpha_y$ on $ax$ gives the predictions of rate $\alpha_y/a^2$ on $x$, and what is best there is best here.
#
# **(iii)** The proofs of {prf:ref}`thm-constraint` and {prf:ref}`thm-rate` hold for any positive definite matrix in
# place of $\Sigma$ in $v = \gamma w/s$ (with the same tied bias); take $I$. There $\gamma^2 = \lVert v\rVert^2$, so
# its rate is $\alpha$. It reaches the outputs $v'(y - \mu_y) + \beta = (av)'(x - \mu) + \beta$ with
# $\lVert v \rVert = \lvert\gamma\rvert$, that is $\lVert av\rVert = \lvert a\gamma\rvert$. Not invariant: with one
# input the output's standard deviation is $\lvert a\gamma\rvert\,\sqrt\Sigma$. $\square$
# :::
#
# Check it with the meter: the same unit before and after a random affine change of its inputs.

# %%
A = rng.standard_normal((dimension, dimension)) + 2 * np.eye(dimension)
changed = X @ A.T + rng.standard_normal(dimension)
plain, plain_data = train_unit(X, y, gamma)
other, other_data = train_unit(changed, y, gamma)
page.check(
    "invariance",
    "rate of a unit trained through BatchNorm1d on Ax + h against that of "
    "one trained on x",
    measured=read(other, other_data).rate,
    predicted=read(plain, plain_data).rate,
    tolerance=1e-11,
)
page.check(
    "invariance",
    "predictions of a unit trained through BatchNorm1d on Ax + h against "
    "those of one trained on x",
    measured=other(other_data[0]).detach().numpy(),
    predicted=plain(plain_data[0]).detach().numpy(),
    tolerance=1e-6,  # at a flat minimum weights keep half the digits
)

# %%
ten, ten_data = train_unit(10 * X, y, gamma)
page.check(
    "invariance",
    "L2-equivalent rate of a unit trained on 10 x against 100 times that of "
    "one trained on x",
    measured=read(ten, ten_data).l2_rate,
    predicted=100 * read(plain, plain_data).l2_rate,
    tolerance=1e-6,
)

# %% [markdown]
# Exactly, off any minimum, with $\varepsilon > 0$: the rate of the rational unit above under a rational $A$.

# %%
A_exact = np.array([[2, 1], [5, 3]])
A_inverse = np.array([[3, -1], [-5, 2]])
cov_y, cross_y = A_exact @ Sigma @ A_exact.T, A_exact @ c
w_y = A_inverse.T @ w
v_y = scale * w_y / s_w
rate_y = -v_y @ (cov_y @ v_y - cross_y) / scale**2
page.check(
    "invariance",
    "in exact arithmetic: variance, effective weights and rate of a BN unit "
    "after x is changed to Ax",
    measured=[w_y @ cov_y @ w_y, *(A_exact.T @ v_y), rate_y],
    predicted=[q, *v, rate],
    kind="exact",
)

# %% [markdown]
# ## What auto-tuning saves
#
# A regression with few rows and many inputs, so that regularization matters. Every method is tuned once, on held-out
# rows, at scale $a = 1$. Then the inputs are multiplied by $a$ and nothing is retuned.


# %%
def ridge(moments, rate):
    penalized = moments.cov + rate * np.eye(len(moments.mean))
    return np.linalg.solve(penalized, moments.cross)


def weight_normalized(moments, norm):
    """Least squares on the sphere |v| = norm: ridge, at its multiplier."""

    def excess(rate):
        return np.linalg.norm(ridge(moments, rate)) - norm

    low = -moments.spectrum[0][0] * (1 - 1e-9)
    high = np.linalg.norm(moments.cross) / norm
    return ridge(moments, brentq(excess, low, high, rtol=1e-14))


few, many = 60, 4000
mixing = np.triu(rng.uniform(-1, 1, (25, 25)))
mixing += np.diag(rng.uniform(0.3, 1.5, 25))
truth = 0.3 * rng.standard_normal(25)
rows_x = rng.standard_normal((few + many, 25)) @ mixing
rows_t = rows_x @ truth + 4 * rng.standard_normal(few + many)


def at_scale(a):
    """Moments of the few rows; the error of weights on held-out ones."""
    train, held_out = a * rows_x[:few], a * rows_x[few:]

    def error(v):
        outputs = rows_t[:few].mean() + (held_out - train.mean(0)) @ v
        return np.mean((rows_t[few:] - outputs) ** 2) / np.var(rows_t[few:])

    return Moments.from_data(train, rows_t[:few]), error


methods = {
    "BN": lambda moments, knob: theory.least_squares(moments, knob).weights,
    "L2": ridge,
    "weight norm": weight_normalized,
}


def tune(name, a):
    moments, error = at_scale(a)
    found = minimize_scalar(
        lambda exponent: error(methods[name](moments, 10**exponent)),
        bounds=(-2, 2.5),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return 10**found.x


tuned = {name: tune(name, 1.0) for name in methods}
moments_1, error_1 = at_scale(1.0)
for name, knob in tuned.items():
    share = error_1(methods[name](moments_1, knob))
    print(f"{name}: held-out error {share:.3f} of the target's variance")

# %% tags=["hide-input"]
factors = np.geomspace(1 / 8, 8, 31)
retuned = np.geomspace(1 / 4, 4, 5)
errors = {name: [] for name in methods}
bn_rates = []
for a in factors:
    moments_a, error = at_scale(a)
    for name, knob in tuned.items():
        errors[name].append(error(methods[name](moments_a, knob)))
    bn_rates.append(theory.least_squares(moments_a, tuned["BN"]).l2_rate)
best_by_hand = [tune("L2", a) for a in retuned]
fig, (left, right) = figures.figure(1, 2, height=3.4)
left.loglog(
    factors,
    np.divide(bn_rates, bn_rates[15]),
    color=figures.COLORS["batch"],
    label="BN's α",
)
left.loglog(
    retuned,
    np.divide(best_by_hand, best_by_hand[2]),
    "s",
    color=figures.COLORS["l2"],
    label="best L2 rate, retuned",
)
left.set(xlabel="inputs multiplied by a", title="rate, relative to a = 1")
for (name, values), color in zip(errors.items(), ("batch", "l2", "none")):
    right.semilogx(factors, values, color=figures.COLORS[color], label=name)
right.set(
    xlabel="inputs multiplied by a",
    title="held-out error, not retuned",
    ylim=(0.9 * min(errors["L2"]), 1.35),
)
for ax in (left, right):
    ax.set_xticks([1 / 8, 1, 8], ["1/8", "1", "8"])
    ax.minorticks_off()
    ax.legend()
figures.show(
    fig,
    alt="Left: on log axes BN's L2-equivalent rate and the best hand-tuned L2 rate rise alike, with the "
    "square of the "
    "input scale. Right: held-out error against input scale; BN is flat at "
    f"{errors['BN'][15]:.2f}, L2 and weight normalization, tuned at scale 1, are good there and worse on "
    "either side.",
    caption="Left: multiply the inputs by a, and BN's rate follows by itself the a² that a best L2 rate "
    "must be retuned to. "
    "Right: without retuning, BN's error stays; L2 and weight normalization, the control, lose what "
    "tuning had gained. "
    f"At a = 1, where all are tuned, BN's error is {errors['BN'][15]:.2f} and L2's {errors['L2'][15]:.2f}. Weight "
    "normalization has L2's there: for least squares the two, tuned, are one fit.",
    source=f"generated data, {few} training and {many} held-out rows, seed {seed}",
)

# %%
moments_5, _ = at_scale(5.0)
page.check(
    "invariance",
    "best L2 rate on 5 x, retuned by search on held-out rows, against 25 "
    "times the best one on x",
    measured=tune("L2", 5.0),
    predicted=25 * tuned["L2"],
    tolerance=1e-4,  # the search is for a flat minimum
)
page.check(
    "invariance",
    "weight normalization on 5 x with scale gamma against weight "
    "normalization on x with scale 5 gamma, outputs",
    measured=5 * weight_normalized(moments_5, tuned["weight norm"]),
    predicted=weight_normalized(moments_1, 5 * tuned["weight norm"]),
    tolerance=1e-9,
)

# %% [markdown]
# ## What it means for a network
#
# Your optimizer already computes the rate: it is $-\frac1\gamma\, \partial J/\partial\gamma$, unit by unit, at every
# step. If it is positive, BN is acting as a Tikhonov penalty that measures weights by the variance of their output:
# directions of large variance are held harder, by the factor $s_i$. If it is negative, BN is pushing the unit to be
# louder than its loss wants. If $\gamma$ is learned and settles, $\partial J/\partial\gamma = 0$ and the rate is zero
# ({doc}`stationarity <stationarity>`).
#
# Auto-tuned means: what the rate does to predictions does not depend on the units of the inputs. It does not mean
# optimal. $\gamma$ is still a choice, and on clean data the least squares fit with BN is only a scaled copy of the
# one without. That changes as soon as the inputs are noisy, and {doc}`the next chapter <noise>` is about that.
#
# ## What we learned
#
# - BN's gradient is the BN-free gradient plus $\lambda\Sigma v$, exactly, at every step, for every loss and any
#   $\varepsilon$: {prf:ref}`thm-rate`.
# - One SGD step with BN is one step of the penalized network without BN, scaled back to the ellipsoid.
# - For least squares $1 + \lambda = R\sigma_t/\gamma$: {prf:ref}`thm-least-squares`. Negative rates occur, whenever
#   $\gamma > R\sigma_t$.
# - The rate is the same in all units and under all invertible linear changes of the inputs; weight decay must be
#   retuned, and weight normalization is not invariant either: {prf:ref}`thm-invariance`.
#
# ## Where it stops
#
# - $\lambda$ is defined by the current step. Only at a stationary point is it the rate of a problem that one could
#   have posed without BN; {doc}`stationarity <stationarity>` makes that precise.
# - Invariance is about minima. The path of gradient descent does depend on $A$, unless $A$ is orthogonal.
# - A penalty on $v'\Sigma v$ alone cannot change the direction of a least squares fit. For other losses it does.
