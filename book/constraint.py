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
# # Batch normalization is a constrained problem
#
# Builds on {doc}`batch-norm`.
# After it you can draw the set on which BN keeps the effective weights, and prove that it is one.
#
# {doc}`batch-norm` ended with an ellipse that nobody had drawn.
# Here is what it means: training a unit with batch normalization (BN) is training the same unit without it,
# under one equality constraint. The constraint fixes the variance of the unit's output.
#
# Nothing is approximated. Every raw weight vector is a point of the constraint set, every point is reached,
# and good raw weights are good constrained weights.

# %% tags=["parameters"]
seed = 1  # of the generated data
rows = 200  # of data
gamma = 1.0  # BN's scale: the standard deviation of the output

# %% tags=["hide-input"]
from fractions import Fraction
from itertools import pairwise
from math import isqrt

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import binary_cross_entropy_with_logits

from bnlib import models, training
from bnlib.moments import Moments
from bnlib.theory import effective_weights, least_squares
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding, sentence
from companion.records import CLOSED_FORM, Source

rng = np.random.default_rng(seed)
source = Source(title="generated data", train_size=rows, seeds=[seed])

# %% [markdown]
# ## In plain words
#
# BN divides the pre-activation by its standard deviation and multiplies it by $\gamma$.
# So whatever the weights, the output has variance $\gamma^2$.
# In terms of the effective weights $v$ that variance is $v'\Sigma v$. Hence $v'\Sigma v = \gamma^2$: an ellipse in two
# dimensions, an ellipsoid in more.
# Its axes are the principal directions of the data. It is *thin* where the data vary *much*.
#
# A small problem to look at: two correlated inputs and a target that depends on both.

# %%
x = rng.standard_normal((rows, 2)) @ [[1.3, 0.5], [0.0, 0.6]]
t = x @ [0.7, 1.2] + 0.5 * rng.standard_normal(rows)

moments = Moments.from_data(x, t)  # mu, Sigma, c, sigma_t^2
cov = moments.cov
free = np.linalg.solve(cov, moments.cross)  # least squares, no BN
fit = least_squares(moments, gamma)  # least squares with BN
free_std = np.sqrt(free @ cov @ free)
sentence(f"Standard deviation of the output: with BN {gamma:g}, without {free_std:.3f}.")

# %% [markdown]
# Two ways to see the same problem. On the left the loss of the BN unit, as a function of its raw weights:
# a fan, constant along every ray from the origin. On the right the loss of the unit without BN,
# as a function of the effective weights: a bowl. BN may only walk on the ellipse.

# %% tags=["hide-input"]
s, U = moments.spectrum
inverse_root = U / np.sqrt(s) @ U.T  # Sigma^(-1/2)


def on_ellipse(angle):
    return gamma * inverse_root @ [np.cos(angle), np.sin(angle)]


def squared_loss(v):
    """The bias is tied, and beta is its best value, the mean of t."""
    quadratic = np.einsum("...i,ij,...j", v, cov, v)
    return (moments.target_var - 2 * v @ moments.cross + quadratic) / 2


angles = np.linspace(0, 2 * np.pi, 400)
ellipse = np.transpose(on_ellipse(angles))
reach = 1.25 * max(np.abs(ellipse).max(), np.abs(free).max())
grid = np.linspace(-reach, reach, 240)  # an even number: w = 0 is not among them
points = np.stack(np.meshgrid(grid, grid), axis=-1)
losses = squared_loss(points)
as_raw = squared_loss(effective_weights(points.reshape(-1, 2), gamma, cov)).reshape(losses.shape)

picture = Picture(1, 2, height=3.7)
fan, bowl = picture
thin = {"colors": COLORS["none"], "linewidths": 0.8}
fan.ax.contour(grid, grid, as_raw, levels=9, **thin)
fan.line(*np.outer(fit.weights, [0.04, 4]), color="batch", words=False)
fan.dots(0, 0, color=INK, markersize=4, words=False)
levels = np.quantile(losses, np.linspace(0.02, 1, 12) ** 1.5)
bowl.ax.contour(grid, grid, losses, levels=levels, **thin)
bowl.line(*ellipse.T, color="batch", words=False)
bowl.line(*np.outer(fit.weights, [0, 4]), color="batch", style=":", linewidth=1.2, words=False)
bowl.dots(*fit.weights, color="batch", markersize=9, words=False)
bowl.dots(*free, color="l2", marker="s", markersize=8, words=False)
near = {"textcoords": "offset points"}
bowl.ax.annotate("without BN", free, xytext=(7, -4), va="top", **near)
bowl.ax.annotate("with BN", fit.weights, xytext=(-9, 5), ha="right", **near)
fan.set(title="J(w): raw weights", xlabel="w₁", ylabel="w₂")
bowl.set(title="L(v): effective weights", xlabel="v₁", ylabel="v₂")
for panel in picture:
    panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
fan.note("contour lines of the loss are rays from the origin, and the valley is one whole ray")
bowl.note(
    f"elliptic contours of the loss without BN and the ellipse v'Σv = {gamma**2:g}, with the "
    f"minimizer with BN on it, at ({fit.weights[0]:.2f}, {fit.weights[1]:.2f}), and the minimizer "
    f"without BN at ({free[0]:.2f}, {free[1]:.2f})"
)
picture.show(
    says="BN takes the best point of an ellipse, which is a whole ray of raw weights."
    " Left: with BN the loss is constant on rays; the whole blue ray is optimal. Right: the "
    "same loss over effective weights. BN stays on the blue ellipse and takes its best point; the "
    "whole ray of raw weights (dotted) is that point.",
    source=source,
    name="fan-and-bowl",
)

# %% [markdown]
# ## The theorem
#
# Fix everything in the network but one unit's raw weights $w$.
# $J(w)$ is the loss of the network with BN. $L(v)$ is the loss of the network in which that unit is replaced by the
# plain linear unit $v'x + b$ with the tied bias $b = \beta - v'\mu$. The loss may be any function of the unit's outputs
# on the data. Mean $\mu$ and covariance $\Sigma \neq 0$ are those of the same data: a batch, or the population.
# Of $\gamma$ we ask only that it be nonzero: its sign is absorbed by $w$.
#
# ::::{prf:theorem} Batch normalization is a constrained problem
# :label: thm-constraint
#
# Let $v(w) = \gamma\, w / \sqrt{w'\Sigma w + \varepsilon}$.
#
# **(i)** $J(w) = L(v(w))$.
#
# **(ii)** Let $\varepsilon = 0$. Then $w \mapsto v$ maps $\{w : w'\Sigma w > 0\}$ onto the ellipsoid
#
# $$
# E = \{\, v : v'\Sigma v = \gamma^2 \,\},
# $$
#
# and two raw weights have the same $v$ exactly if they lie on one ray from the origin. Hence
# $\inf_w J(w) = \inf_{v \in E} L(v)$, and one is attained if the other is.
#
# **(iii)** Let $\varepsilon = 0$. Then $w$ is a local minimizer of $J$ if and only if $v(w)$ is a local minimizer of
# $L$ on $E$. Minimizers of $J$ come in whole rays, so none is strict.
#
# **(iv)** Let $\varepsilon = 0$ and $\Sigma$ be positive definite, with extreme eigenvalues $s_{\min}$ and $s_{\max}$.
# Then the data box the length of $v$, with both ends attained:
#
# $$
# \frac{\gamma^2}{s_{\max}} \;\le\; \lVert v \rVert^2 \;\le\; \frac{\gamma^2}{s_{\min}} .
# $$
#
# **(v)** Let $\varepsilon > 0$. Then $w \mapsto v$ is a one-to-one map of $\mathbb R^d$ onto the *open* set
# $\{v : v'\Sigma v < \gamma^2\}$, continuous in both directions. Hence $\inf_w J(w)$ is the infimum of $L$ over that
# set, and $w$ is a local minimizer of $J$ if and only if $v(w)$ is an (unconstrained) local minimizer of $L$.
# If $L$ is convex and none of its global minimizers lies in the open set, $J$ has no minimizer at all.
#
# **(vi)** If $\Sigma$ is singular, $L$ does not change along its null space, and $E$ is a cylinder along it.
# (i) to (iii) and (v) hold as they stand; (iv) holds for the component of $v$ in the range of $\Sigma$, with
# $s_{\min}$ the smallest *positive* eigenvalue.
# ::::
#
# :::{dropdown} Proof
# Write $q = w'\Sigma w$ and $s = \sqrt{q + \varepsilon}$.
#
# **(i)** The pre-activation $z = w'x$ has mean $w'\mu$ and variance $q$. So BN's output is
# $\gamma (w'x - w'\mu)/s + \beta = v'x + (\beta - v'\mu)$: on every row it is the output of the plain unit. The loss
# depends on $w$ through these outputs only.
#
# **(ii)** *Into $E$:* $v'\Sigma v = \gamma^2\, w'\Sigma w / q = \gamma^2$.
# *Onto:* for $v \in E$ take $w = v/\gamma$. Then $w'\Sigma w = 1$, and $v(w) = \gamma\, (v/\gamma) / 1 = v$.
# *Rays:* for $a > 0$ the factor $a$ cancels in $v(aw)$. Conversely, if $v(w) = v(\tilde w)$, then
# $\tilde w = (\tilde s/s)\, w$, a positive multiple.
# By (i) the set of values of $J$ is the set of values of $L$ on $E$. So infima agree, and one is attained if the
# other is.
#
# **(iii)** The map is continuous where $q > 0$. Let $v = v(w)$ be a local minimizer of $L$ on $E$. There is a
# neighbourhood $V$ of $v$ in which $L \ge L(v)$ on $E$. All $\tilde w$ near $w$ have $v(\tilde w) \in V \cap E$, so
# $J(\tilde w) = L(v(\tilde w)) \ge L(v) = J(w)$.
#
# Conversely, let $w$ be a local minimizer of $J$. Every $\tilde v \in E$ is the image of
# $\tilde w = (s/\gamma)\, \tilde v$, because $\tilde w'\Sigma \tilde w = s^2$. And $\tilde w$ is near $w$ if
# $\tilde v$ is near $v$: since $w = (s/\gamma)\, v$, we have
# $\lVert \tilde w - w \rVert = (s/\lvert\gamma\rvert) \lVert \tilde v - v \rVert$. So for $\tilde v$ near $v$,
# $L(\tilde v) = J(\tilde w) \ge J(w) = L(v)$. By (ii) $J$ is constant on the ray through $w$.
#
# **(iv)** $s_{\min} \lVert v \rVert^2 \le v'\Sigma v \le s_{\max} \lVert v \rVert^2$, and $v'\Sigma v = \gamma^2$.
# The ends are attained at the eigenvectors of $s_{\max}$ and $s_{\min}$, scaled to lie on $E$.
#
# **(v)** Now $v'\Sigma v = \gamma^2 q/(q + \varepsilon) < \gamma^2$ for every $w$, and the map is continuous.
# From $v = \gamma w/s$ follows $w = (s/\gamma)\, v$, hence $q = s^2\, v'\Sigma v/\gamma^2$ and
# $s^2 = q + \varepsilon = s^2\, v'\Sigma v/\gamma^2 + \varepsilon$. Solve for $s$:
#
# $$
# s^2 = \frac{\varepsilon\, \gamma^2}{\gamma^2 - v'\Sigma v},
# \qquad
# w = \frac{s}{\gamma}\, v .
# $$
#
# So $w$ is determined by $v$. Conversely, for any $v$ with $v'\Sigma v < \gamma^2$ this $w$ satisfies
# $w'\Sigma w + \varepsilon = s^2 v'\Sigma v/\gamma^2 + \varepsilon
# = \varepsilon\, v'\Sigma v/(\gamma^2 - v'\Sigma v) + \varepsilon = s^2$, so $v(w) = \gamma w/s =
# v$. The inverse is continuous. A homeomorphism carries neighbourhoods to neighbourhoods, so local minimizers
# correspond, and in an open set a local
# minimizer is an unconstrained one. If $L$ is convex, a local minimizer is a global one; so where no global minimizer
# of $L$ lies in the open set, $J$ has not even a local minimizer.
#
# **(vi)** Let $\Sigma u = 0$. Then $\operatorname{Var}(u'x) = u'\Sigma u = 0$, so $u'(x - \mu) = 0$ on every row
# (almost surely). The plain unit computes $v'(x - \mu) + \beta$, which does not change when $u$ is added to $v$;
# neither does $v'\Sigma v$. Nothing in (i) to (iii) and (v) used that $\Sigma$ is invertible. For (iv), split $v$
# into its parts in range and null space of $\Sigma$; only the first enters $v'\Sigma v$, and on the range the
# eigenvalues are the positive ones. $\square$
# :::
#
# ## Check it in five lines
#
# A thousand random raw weights. All effective weights lie on the ellipse, and their lengths stay in the box.

# %%
w = rng.standard_normal((1000, 2))
q = np.einsum("ni,ij,nj->n", w, cov, w)
v = gamma * w / np.sqrt(q)[:, None]
on_it = check(
    "constraint",
    "v'Sigma v of a thousand random raw weights against gamma squared",
    measured=np.einsum("ni,ij,nj->n", v, cov, v),
    predicted=np.full(1000, gamma**2),
    tolerance=1e-13,
    source=source,
)

# %% tags=["hide-input"]
lengths = np.linalg.norm(v, axis=1)
ends = np.sort(abs(gamma) / np.sqrt(s))
box = check(
    "constraint",
    "length of v for w along each eigenvector of Sigma against the ends of the box, gamma over "
    "root s_i",
    measured=np.linalg.norm(effective_weights(U.T, gamma, cov), axis=1),
    predicted=abs(gamma) / np.sqrt(s),
    tolerance=1e-13,
    source=source,
)
finding(
    "Whatever the raw weights, the effective weights lie on the ellipsoid v'Σv = γ²: a thousand "
    "random ones do, to within {difference:.0e}.",
    on_it,
)
finding(
    "The data decide how long the effective weights are: here between {short:.3f} and {long:.3f}, "
    "and random raw weights have {shortest:.3f} to {longest:.3f}.",
    box,
    short=ends[0],
    long=ends[-1],
    shortest=lengths.min(),
    longest=lengths.max(),
)

# %% [markdown]
# In exact arithmetic there is nothing to round. Choose $\Sigma$ and $w$ so that the roots are rational.


# %% tags=["hide-input"]
def root(number):
    """The square root of a fraction that has a rational one."""
    found = Fraction(isqrt(number.numerator), isqrt(number.denominator))
    assert found**2 == number
    return found


def fold(w, gamma, Sigma, eps):
    return gamma * w / root(w @ Sigma @ w + eps)


Sigma = np.array([[Fraction(4), Fraction(2)], [Fraction(2), Fraction(2)]])
w_exact = np.array([Fraction(-1, 2), Fraction(4)])  # w'Sigma w = 25
scale = Fraction(7, 3)
v_exact = fold(w_exact, scale, Sigma, eps=0)
check(
    "constraint",
    "v'Sigma v against gamma squared in exact arithmetic, eps = 0",
    measured=v_exact @ Sigma @ v_exact,
    predicted=scale**2,
    kind="exact",
)

# %% [markdown]
# ## PyTorch obeys it
#
# First the constraint itself: the variance of what `Linear` and `BatchNorm1d` put out.


# %% tags=["hide-input"]
def bn_unit(weights, eps=1e-30, gamma=gamma, beta=0.0):
    """`Linear` and `BatchNorm1d` with these raw weights, gamma and beta fixed."""
    unit = models.unit(len(weights), gamma, beta, eps=eps)
    unit[0].weight.data = torch.as_tensor(weights)[None, :].double()
    return unit


# %%
inputs = torch.from_numpy(x)
outputs = [bn_unit(each)(inputs).detach() for each in w[:100]]
check(
    "constraint",
    "output variance of Linear and BatchNorm1d at a hundred random weights against gamma squared",
    measured=np.array([output.var(unbiased=False) for output in outputs]),
    predicted=np.full(100, gamma**2),
    tolerance=1e-13,
    source=source,
)

# %% [markdown]
# Now the minimum, with a loss that has no closed form: logistic regression on the sign of the target.
# On one side PyTorch trains raw weights through its BN layer.
# On the other a line search walks around the ellipse with plain NumPy and no BN at all. They find the same loss.

# %%
labels = torch.from_numpy((t > 0).astype(float))[:, None]
unit = bn_unit([0.3, -0.8])
training.settle([unit[0].weight], lambda: binary_cross_entropy_with_logits(unit(inputs), labels))


def logistic_loss(v):  # the folded unit, beta = 0
    outputs = (x - moments.mean) @ v
    return np.mean(np.logaddexp(0, outputs) - labels[:, 0].numpy() * outputs)


# %% tags=["hide-input"]
walks = [
    minimize_scalar(
        lambda angle: logistic_loss(on_ellipse(angle)),
        bounds=pair,
        method="bounded",
        options={"xatol": 1e-12},
    )
    for pair in pairwise(np.linspace(0, 2 * np.pi, 9))
]
best = min(walks, key=lambda walk: walk.fun)
same_minimum = check(
    "constraint",
    "logistic loss: minimum over raw weights with BatchNorm1d against minimum over the ellipse "
    "without it",
    measured=binary_cross_entropy_with_logits(unit(inputs), labels).item(),
    predicted=best.fun,
    tolerance=1e-12,
    source=source,
)
check(
    "constraint",
    "logistic loss: effective weights trained through BatchNorm1d against the best point of the "
    "ellipse",
    measured=effective_weights(unit[0].weight.detach().numpy()[0], gamma, cov),
    predicted=on_ellipse(best.x),
    tolerance=1e-6,  # the line search resolves angles to half the digits
    source=source,
)
finding(
    "Training raw weights through BN is training without it on the ellipse: for logistic "
    "regression both find the loss {measured:.6f}.",
    same_minimum,
)

# %% [markdown]
# ## What $\varepsilon$ does: the ellipse becomes its inside
#
# Every BN layer in use has an $\varepsilon > 0$. By (v) that turns the equality into an inequality.
# Short raw weights now give short effective weights; long ones come close to the ellipse and never reach it.

# %% tags=["hide-input"]
raw = rng.standard_normal((600, 2))
picture = Picture(1, 3, height=2.9, sharey=True)
for panel, eps in zip(picture, (0.0, 0.1, 1.0)):
    inside = effective_weights(raw, gamma, cov, eps)
    share = np.einsum("ni,ij,nj->n", inside, cov, inside) / gamma**2
    dots = {"markersize": 2.6, "alpha": 0.6, "markeredgewidth": 0}
    panel.dots(*inside.T, color="batch", words=False, **dots)
    panel.line(*ellipse.T, color=INK, linewidth=0.8, words=False)
    panel.note(f"600 effective weights, v'Σv between {share.min():.2f} and {share.max():.2f} of γ²")
    panel.set(title=f"ε = {eps:g}", aspect="equal", xlabel="v₁")
picture[0].set(ylabel="v₂")
picture.show(
    says="With ε > 0 the ellipse becomes its inside."
    " The same 600 raw weights under three values of ε. The ellipse is reached only with ε = "
    "0; otherwise the inside is filled, and only infinitely long weights would reach the edge.",
    source=source,
    name="epsilon-fills-the-ellipse",
)

# %% [markdown]
# Exactly: the folded point lies inside, and the proof's inverse leads back to the very same raw weights.

# %% tags=["hide-input"]
eps_exact = Fraction(144)  # 25 + 144 = 13 squared
inside = fold(w_exact, scale, Sigma, eps_exact)
s_exact = root(eps_exact * scale**2 / (scale**2 - inside @ Sigma @ inside))
check(
    "constraint",
    "eps > 0: raw weights recovered from their effective weights in exact arithmetic",
    measured=list(s_exact / scale * inside),
    predicted=list(w_exact),
    kind="exact",
)

# %% [markdown]
# This has a consequence that is easy to overlook.
# If the free minimizer lies *inside*, BN with $\varepsilon$ finds it, and the constraint is not felt at all.
# If a convex loss has no minimizer inside, BN has none either: the raw weights must grow for ever. The loss comes
# closer and closer to what the ellipse allows and does not reach it.

# %% tags=["hide-input"]
stretched = (1, 10, 100, 1000)
excesses = [
    squared_loss(effective_weights(factor * fit.weights, gamma, cov, eps=0.1)) - fit.loss
    for factor in stretched
]
sentence(
    "With eps = 0.1 and raw weights times "
    + ", ".join(map(str, stretched))
    + " the loss exceeds the best of the ellipse by "
    + ", ".join(f"{excess:.1e}" for excess in excesses)
    + "."
)

wide = 2 * free_std  # of gamma: now the free minimizer is inside
w_wide = np.sqrt(0.1 / (wide**2 - free_std**2)) * free  # the proof's inverse, eps = 0.1
unit = bn_unit(w_wide, eps=0.1, gamma=wide, beta=t.mean())
not_felt = check(
    "stationarity",
    "eps > 0 and gamma large: loss of Linear and BatchNorm1d against the least squares loss "
    "without BN",
    measured=training.half_squared_error(unit(inputs), torch.from_numpy(t)).item(),
    predicted=(moments.target_var - moments.cross @ free) / 2,
    tolerance=1e-13,
    source=source,
)
finding(
    "With ε > 0 the ellipse becomes its inside: if γ is large enough the constraint is not felt, "
    "and the unit with BN reaches the loss without it, {measured:.4f}.",
    not_felt,
)

# %% [markdown]
# ## When an input hardly varies
#
# The ellipse is long in the directions in which the data hardly vary. In the limit of a constant input it opens up
# into a strip: BN does not limit that weight any more. It does no harm on the data at hand, where a constant input is
# subtracted with the mean. MNIST's border pixels are such inputs.

# %% tags=["hide-input"]
picture = Picture(height=2.6)
panel = picture[0]
near = {"textcoords": "offset points"}
for std, width in ((1.0, 1.2), (0.4, 1.6), (0.15, 2.0)):
    panel.line(np.cos(angles) / std, np.sin(angles), color="batch", linewidth=width, words=False)
    panel.ax.annotate(f"std {std:g}", (1 / std, 0), xytext=(4, 0), va="center", **near)
    panel.note(f"for a first input of standard deviation {std:g} its weight may be {1 / std:.3g}")
for side in (-1, 1):
    panel.level(side)
panel.ax.annotate("std 0: a strip", (7.6, 1), xytext=(0, -5), va="top", ha="right", **near)
panel.note("for standard deviation 0 the ellipse has become the strip between two parallel lines")
panel.set(
    xlim=(-7.8, 7.8),
    ylim=(-1.35, 1.35),
    xlabel="v₁ / |γ|, weight of the input that hardly varies",
    ylabel="v₂ / |γ|, other weight",
)
picture.show(
    says="The less an input varies, the longer its weight may become. A constant input is not "
    "limited at all.",
    source=CLOSED_FORM,
    name="ellipse-becomes-a-strip",
)
tall = torch.from_numpy(np.column_stack([x, np.full(rows, 0.5)]))  # a constant third input
check(
    "constraint",
    "output of Linear and BatchNorm1d with weight 100 on a constant input against weight 0",
    measured=bn_unit([0.3, -0.8, 100.0])(tall).detach().numpy(),
    predicted=bn_unit([0.3, -0.8, 0.0])(tall).detach().numpy(),
    tolerance=1e-12,
    source=source,
)

# %% [markdown]
# ## What it means for your network
#
# - A unit with BN is a plain linear unit that may move on its own ellipsoid only.
#   With $\gamma$ fixed the price is one degree of freedom a unit. A learned $\gamma$ gives it back: then all effective
#   weights can be reached again, and the constraint has become a matter of how one gets there.
# - The ellipsoid depends on the data through $\Sigma$ alone. Weight decay draws a ball that knows nothing of the data;
#   BN draws its set in the shape of the data.
# - Constraints have multipliers, and a multiplier of a quadratic
#   constraint is a regularization rate: {doc}`rate` computes it.
#
# ## What we learned
#
# - BN with fixed $\gamma$ is the constraint $v'\Sigma v = \gamma^2$ on the effective weights:
#   {prf:ref}`thm-constraint`.
# - The correspondence is complete: infima, minimizers and local minimizers, for any loss.
# - The data box the length of $v$: between $\lvert\gamma\rvert/\sqrt{s_{\max}}$ and
#   $\lvert\gamma\rvert/\sqrt{s_{\min}}$.
# - $\varepsilon > 0$ turns the ellipse into its inside, and minimizers on the edge into raw weights that grow for ever.
#
# ## Where it stops
#
# - The constraint holds for the data that $\Sigma$ was taken from. In evaluation the running statistics stand in for
#   it, and on new data $v'\Sigma v$ is only near $\gamma^2$.
# - Mini-batches have a different ellipsoid at every step. The theorem holds for each; what the average does is the
#   subject of {doc}`mini-batches <minibatch>`.
# - Minimizers correspond; paths do not. Gradient descent on $w$ and on $v$ take different ways, and
#   {doc}`rate` says which.
#
# ## Exercises
#
# **1. Derive.** The inputs are changed to $y = Ax + h$ with an invertible $A$. What is the new ellipsoid, and which of
# its points computes what $v$ computed before?
#
# :::{dropdown} Solution
# The covariance of $y$ is $A\Sigma A'$; the shift $h$ drops out. So the new ellipsoid is
# $\{\tilde v : \tilde v'A\Sigma A'\tilde v = \gamma^2\}$. Put $\tilde v = (A')^{-1}v$. Then
# $\tilde v'(y - \mu_y) = v'A^{-1}A(x - \mu) = v'(x - \mu)$ on every row, and
# $\tilde v'A\Sigma A'\tilde v = v'\Sigma v$. So $v \mapsto (A')^{-1}v$ maps the old ellipsoid onto the new one and keeps every output. {doc}`invariance` draws the
# conclusions.
# :::
#
# **2. Run.** Set `gamma = 2.0`, more than the standard deviation of the free output. Where does the minimizer with BN
# lie now? And why are the four numbers in the sentence on $\varepsilon$ negative?
#
# :::{dropdown} Solution
# On the same ray from the origin, but beyond the free minimizer: the ellipse is larger now and has the free minimizer
# in its inside. BN's weights are $2/1.433$ times the free ones, so BN inflates. With $\varepsilon = 0.1$ the raw weights
# on this ray give effective weights a little inside the ellipse. That is nearer to the free minimizer, so the loss is
# below the best of the ellipse. Shorter raw weights would reach the free minimizer itself.
# :::
