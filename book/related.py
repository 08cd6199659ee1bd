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
# # Related results, in one notation
#
# Builds on {doc}`rate`, {doc}`least-squares`, {doc}`invariance`, {doc}`noise`, {doc}`depth` and {doc}`minibatch`.
#
# Batch normalization (BN) has been explained as a step size that tunes itself, as a smoother loss, as noise, as a
# decay of $\gamma$, as a length split from a direction. Are these rivals? In one notation they are neighbours: most
# follow in a few lines from {prf:ref}`thm-rate` or {prf:ref}`thm-depth`, and some inequalities turn out to be
# equalities. We derive each in our own way, check it on PyTorch's layers, and say what it has to do with the *rate*.
# The distinction that matters most comes first: BN tunes a step and a rate, and they are not the same thing.
#
# Of some of these works we have read the text, of others only the abstract, of some only what others report; the
# table at the end says which. Every formula and proof below is ours. A work that is named for a formula had it first,
# perhaps in another form.

# %% tags=["parameters"]
seed = 4  # of generated data, weights and batches
steps = 300  # of gradient descent in each run
learning_rate = 0.1  # eta, of plain gradient descent
weight_decay = 0.1  # a, on the raw weights of the hidden layer
step_sizes = [0.01, 0.1, 1.0, 10.0, 100.0]  # eta, for the auto-tuned step

# %% tags=["hide-input"]
from fractions import Fraction
from itertools import repeat

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize
from torch.nn.utils.parametrizations import weight_norm

from bnlib import models, theory, training
from bnlib.moments import Moments
from companion.figures import COLORS, Picture
from companion.page import check, finding, sentence
from companion.records import CLOSED_FORM, Source
from companion.studies.identities import walk

torch.manual_seed(seed)
rng = np.random.default_rng(seed)

# %% [markdown]
# One small network serves the first sections: ten correlated inputs, 16 hidden units with BN, three classes that
# overlap. All of it is `torch.nn` in float64, with $\varepsilon = 10^{-30}$, that is, none.

# %% tags=["hide-input"]
rows, inputs, hidden, classes = 512, 10, 16, 3
mixing = rng.standard_normal((inputs, inputs)) / np.sqrt(inputs)
x = torch.from_numpy(rng.standard_normal((rows, inputs)) @ mixing + 0.5)
scores = torch.from_numpy(3 * rng.standard_normal((inputs, classes)))
labels = torch.multinomial((x @ scores).softmax(dim=1), 1)[:, 0]
source = Source(
    title="generated data",
    train_size=rows,
    seeds=[seed],
    conditions={"network": f"{inputs}-{hidden}-{classes}", "steps": steps},
)


def fresh_network(length=1.0):
    """The same directions for every run; raw weights `length` times as long."""
    network = models.network((inputs, hidden, classes), eps=1e-30, seed=seed, dtype=torch.float64)
    network[0].weight.data *= length
    return network


def descend(step_of, decay=0.0, length=1.0, batch=64, only_hidden=False):
    """Plain SGD: raw weights of the hidden layer at every step, their gradients, the network."""
    network = fresh_network(length)
    w, *rest = network.parameters()
    draws = np.random.default_rng(seed)
    chosen = (draws.choice(rows, batch, replace=False) for _ in range(steps))
    weights, gradients = [], []

    def observe(step, _):
        weights.append(w.detach().clone())
        if step:
            gradients.append(w.grad.clone())

    groups = [{"params": [w], "weight_decay": decay}]
    if not only_hidden:
        groups.append({"params": rest, "lr": learning_rate})
    batches = ((x[kept], labels[kept]) for kept in chosen)
    training.fit(network, batches, cross_entropy, step_of, parameters=groups, observe=observe)
    return torch.stack(weights), torch.stack(gradients), network


def full_batch(step, length=1.0):
    return descend(step, length=length, batch=rows, only_hidden=True)


# %% [markdown]
# ## Four facts about a length that nobody sees
#
# The loss does not see $\lvert w\rvert$: $J(\tau w) = J(w)$ for $\tau > 0$. {prf:ref}`thm-depth` drew two
# conclusions: $\nabla_w J$ is orthogonal to $w$, and $\nabla_w J(w) = \nabla_w J(u)/\lvert w\rvert$ with
# $u = w/\lvert w\rvert$. Four known results are bookkeeping with these two lines.
#
# ::::{prf:corollary} Plain gradient descent on a scale-invariant loss
# :label: cor-ray
#
# Let $\varepsilon = 0$, $\eta > 0$, $a \ge 0$, $p = 1 - \eta a > 0$, and $w_{k+1} = p\, w_k - \eta\,\nabla J_k(w_k)$:
# steps of size $\eta$ with weight decay $a$ on $w$. The loss $J_k$ may differ from step to step, as with mini-batches
# and with other parameters that train too. Write $u_k = w_k/\lvert w_k\rvert$, $g_k = \nabla J_k(u_k)$ and
# $G_k = \lvert w_k\rvert^2/\eta$.
#
# **(i)** *Decay on $w$ is not a penalty on the function.* $D_a(w) = J(w) + \tfrac a2\lvert w\rvert^2$ satisfies
# $D_a(\tau w) = D_{a\tau^2}(w)$, and $\inf_w D_a = \inf_w J$ for every $a$.
#
# **(ii)** *The step tunes itself.* $\eta$ leaves the equations:
#
# $$
# \frac{w_{k+1}}{\lvert w_k\rvert} = p\, u_k - \frac{g_k}{G_k},
# \qquad
# G_{k+1} = p^2 G_k + \frac{\lvert g_k\rvert^2}{G_k} .
# $$
#
# For $a = 0$ the effective step $1/G_K = \eta/\lvert w_K\rvert^2$ is at most
# $\bigl(G_0^2 + 2\sum_{k<K} \lvert g_k\rvert^2\bigr)^{-1/2}$, however large $\eta$ is.
#
# **(iii)** *Decay on $w$ is a growing step.* Training without decay, with the steps $\eta_k = \eta\, p^{-(2k+1)}$
# for $w$ and all else as before, gives the same directions $u_k$, hence the same network at every step.
#
# **(iv)** *Decay on $w$ sets the speed of turning.* Every step turns $w$ by an angle $\varphi_k$ with
#
# $$
# \cos\varphi_k = p\,\frac{\lvert w_k\rvert}{\lvert w_{k+1}\rvert},
# \qquad\text{so}\qquad
# \Bigl(\prod_{k<K} \cos\varphi_k\Bigr)^{1/K} = p\,\Bigl(\frac{\lvert w_0\rvert}{\lvert w_K\rvert}\Bigr)^{1/K} .
# $$
#
# A step that leaves the length as it is turns $w$ by $\arccos(1 - \eta a) = \sqrt{2\eta a}\,(1 + O(\eta a))$. If the
# lengths stay between positive bounds, the geometric mean of the cosines tends to $1 - \eta a$, whatever the data,
# the losses and the network.
# ::::
#
# :::{dropdown} Proof
# **(i)** $D_a(\tau w) = J(\tau w) + \tfrac a2\tau^2\lvert w\rvert^2$, and $J(\tau w) = J(w)$. For $\tau \to 0$ this
# tends to $J(w)$, so $\inf D_a \le J(w)$ for every $w$; and $D_a \ge J$.
#
# **(ii)** $\nabla J_k(w_k) = g_k/\lvert w_k\rvert$. Divide the step by $\lvert w_k\rvert$:
# $p u_k - \eta g_k/\lvert w_k\rvert^2 = p u_k - g_k/G_k$. As $g_k$ is orthogonal to $u_k$,
# $\lvert w_{k+1}\rvert^2 = p^2\lvert w_k\rvert^2 + \eta^2\lvert g_k\rvert^2/\lvert w_k\rvert^2$; divide by $\eta$.
# For $p = 1$ square the recursion:
# $G_{k+1}^2 = G_k^2 + 2\lvert g_k\rvert^2 + \lvert g_k\rvert^4/G_k^2 \ge G_k^2 + 2\lvert g_k\rvert^2$, and add up.
#
# **(iii)** Let $y_k = p^{-k} w_k$. Then
# $y_{k+1} = p^{-(k+1)}\bigl(p\,w_k - \eta\nabla J_k(w_k)\bigr) = y_k - \eta\,p^{-(k+1)}\,\nabla J_k(w_k)$. Since
# $w_k = p^k y_k$, $\nabla J_k(w_k) = p^{-k}\nabla J_k(y_k)$. So $y$ trains without decay at the steps
# $\eta\,p^{-(2k+1)}$, and $y_k$ has the direction of $w_k$. The network computes the same, so all other parameters
# receive the same gradients, and the losses $J_k$ of the two runs are the same.
#
# **(iv)** $w_k'w_{k+1} = p\lvert w_k\rvert^2$ by orthogonality. Divide by $\lvert w_k\rvert\lvert w_{k+1}\rvert$. In
# the product over $k$ the lengths cancel but for the first and the last. If these stay between positive bounds, their
# ratio to the power $1/K$ tends to 1. Finally $1 - \cos\varphi = \varphi^2/2 + O(\varphi^4)$. $\square$
# :::
#
# **(i)** is {cite:t}`vanlaarhoven2017`'s point. **(ii)** is behind the auto-tuned step of {cite:t}`arora2018`, whose
# abstract goes on to rates of convergence. **(iii)** is the plain case of {cite:t}`li2019`, whose equivalence includes
# momentum. **(iv)** is about {cite:t}`wan2020`'s angular update: they prove under assumptions that the length settles
# and that the angle then tends to about $\sqrt{2\eta a}$. The averaged form needs only that the length stays bounded.
#
# ## Check it in five lines
#
# A step a hundred times as large, from raw weights ten times as long: $\lvert w\rvert^2/\eta$ is the same, and so
# must be every direction at every step. Try other factors.

# %%
weights, _, _ = full_batch(step_sizes[1])
other, _, _ = full_batch(100 * step_sizes[1], length=10.0)
farthest = (normalize(other, dim=-1) - normalize(weights, dim=-1)).abs().max()
print(f"largest difference of an entry of a direction, all steps, all units: {farthest:.0e}")

# %% tags=["hide-input"]
check(
    "depth",
    "directions of all raw weights at every step: a hundred times the step "
    "at ten times the length against the run itself",
    measured=normalize(other, dim=-1).numpy(),
    predicted=normalize(weights, dim=-1).numpy(),
    tolerance=1e-11,
    source=source,
)
network = fresh_network()


def decayed_loss(length, decay):
    scaled = length * network[0].weight
    loss = cross_entropy(network[1:](x @ scaled.T), labels)
    return (loss + decay / 2 * scaled.square().sum()).item()


check(
    "depth",
    "loss of a BN network plus weight decay: at raw weights 3 w with decay "
    "a against w with decay 9 a",
    measured=decayed_loss(3.0, weight_decay),
    predicted=decayed_loss(1.0, 9 * weight_decay),
    tolerance=1e-13,
    source=source,
)

# %% [markdown]
# ## The step tunes itself, and that is not the rate
#
# Several step sizes, and the bound of **(ii)** for every unit after every step.

# %% tags=["hide-input"]
effective, bounds = {}, {}
for step in step_sizes:
    weights, gradients, _ = full_batch(step)
    squares = weights.square().sum(dim=-1)  # |w|^2, (steps + 1, units)
    spherical = gradients.square().sum(dim=-1) * squares[:-1]  # |g_k|^2
    first = (squares[:1] / step).square()  # G_0^2
    effective[step] = (step / squares).numpy()
    bounds[step] = (first + 2 * spherical.cumsum(dim=0)).rsqrt().numpy()
bounded = check(
    "depth",
    "effective step of every unit after every step, without decay, is at "
    "most its bound, at all step sizes",
    measured=all(
        bool((effective[step][1:] <= bounds[step] * (1 + 1e-12)).all()) for step in step_sizes
    ),
    predicted=True,
    kind="exact",
    source=source,
)

picture = Picture(height=3.4)
typical = {step: np.exp(np.log(values).mean(axis=1)) for step, values in effective.items()}
for (step, curve), color in zip(typical.items(), ("none", "batch", "signal", "noise", "l2")):
    picture[0].line(1 + np.arange(steps + 1), curve, f"η = {step:g}", color)
picture[0].set(
    xscale="log",
    yscale="log",
    xlabel="gradient step, counted from 1",
    ylabel="effective step η / |w|²",
    legend={"ncols": 2},
)
at_start, at_end = ([curve[at] for curve in typical.values()] for at in (0, -1))
picture.show(
    says="What the direction feels is cut down within a step where it is too large, and left alone"
    " where it is small. The largest steps overshoot, and then crawl. (Geometric mean over units.)",
    source=source,
    name="related-effective-step",
)
of_steps = {"large": max(at_end), "first": max(at_start)}
finding(
    "The step tunes itself: of {tried} step sizes, {apart:,.0f} to 1, none leaves a mean effective step"
    " above {large:.2g} after {taken} steps, where the largest began at {first:.0f}; every unit kept its"
    " bound.",
    bounded,
    tried=len(step_sizes),
    apart=max(at_start) / min(at_start),
    taken=steps,
    **of_steps,
)

# %% [markdown]
# This is one of BN's two auto-tunings, and **not** that of this book. It tunes the *step*, through the length of the
# raw weights $w$, and leaves the set of minima alone. The rate $\lambda$ lives on the effective weights $v$: it does
# not see $\lvert w\rvert$ at all, and it changes where the loss is smallest.
#
# ## Weight decay in front of BN is a speed control
#
# Now mini-batches, weight decay, its growing step **(iii)** and the angle **(iv)**.

# %% tags=["hide-input"]
p = 1 - learning_rate * weight_decay


def decaying(length=1.0):
    return descend(learning_rate, decay=weight_decay, length=length)


def cosines(weights):  # (steps, units)
    return torch.cosine_similarity(weights[1:], weights[:-1], dim=-1)


decayed, _, with_decay = decaying()
_, _, with_growth = descend(lambda k: learning_rate * p ** -(2 * k + 1))
same = check(
    "depth",
    "outputs after SGD on mini-batches: weight decay on the raw weights "
    "against no decay and an exponentially growing step",
    measured=with_decay(x).detach().numpy(),
    predicted=with_growth(x).detach().numpy(),
    tolerance=1e-11,
    source=source,
)
lengths = decayed.norm(dim=-1)
check(
    "depth",
    "cosine of every turn of every unit under SGD with weight decay a "
    "against (1 - eta a) |w| / |w next|",
    measured=cosines(decayed).numpy(),
    predicted=(p * lengths[:-1] / lengths[1:]).numpy(),
    tolerance=1e-12,
    source=source,
)
finding(
    "Weight decay in front of BN is a growing step: {taken} steps with decay, and as many without it"
    " while the step grew {grown:.0f}-fold, end in the same network, to {difference:.0e}.",
    same,
    taken=steps,
    grown=p ** (-2 * (steps - 1)),  # the last step over the first
)

picture = Picture(1, 2, width=7.4, height=3.4)
left, right = picture
average = 25
for length, color in zip((0.3, 1.0, 3.0), ("signal", "batch", "l2")):
    path = decayed if length == 1 else decaying(length)[0]
    name = f"start × {length:g}"
    left.line(np.arange(steps + 1), path.square().sum(dim=-1).mean(dim=1), name, color)
    angles = torch.rad2deg(cosines(path).clamp(max=1).arccos()).mean(dim=1).numpy()
    smooth = np.convolve(angles, np.ones(average) / average, mode="valid")
    right.line(np.arange(len(smooth)) + average / 2, smooth, name, color)
turn = np.degrees(np.arccos(p))
settled = float(torch.rad2deg(cosines(decayed).clamp(max=1).arccos())[-steps // 4 :].mean())
right.level(turn)
right.note(f"the dashed level is arccos(1 − ηa) = {turn:.1f}")
right.ax.text(12, turn * 1.15, "arccos(1 − ηa)")
left.set(yscale="log", xlabel="step", title="|w|², mean over units", legend=True)
right.set(yscale="log", xlabel="step", title="turn a step, degrees")
right.ax.set_ylim(top=turn * 2)
picture.show(
    says="With weight decay the length forgets its start (left), and the angle of a step settles"
    f" where only η and a put it (right, dashed: {turn:.1f} degrees; from start × 1 the last"
    f" quarter of the steps has {settled:.1f}). Running means over {average} steps.",
    source=Source(
        title="generated data",
        train_size=rows,
        seeds=[seed],
        conditions={"batch_size": 64, "η": learning_rate, "a": weight_decay},
    ),
    name="related-turning",
)

# %% [markdown]
# None of this is a rate on the function; that needs $\varepsilon > 0$ and rest ({prf:ref}`thm-depth`).
# {cite:t}`hoffer2018` describe normalization and weight decay as tools that decouple the norm of the weights from the
# objective; a larger effective learning rate is the first of the mechanisms of weight decay that {cite:t}`zhang2018`
# tell apart.
#
# ## Length and direction
#
# {cite:t}`kohler2018` read BN as a change of coordinates: $v = \gamma\, w/\sqrt{w'\Sigma w}$ has a direction, from
# $w$, and a length, $\gamma$, in the norm of $\Sigma$. That is {prf:ref}`thm-constraint`. They ask how fast a learned
# $\gamma$ and $w$ get to the minimum; we ask what a given $\gamma$ costs. For least squares the two meet in one
# formula.
#
# ::::{prf:corollary} The length that a direction asks for
# :label: cor-length
#
# For least squares, $\varepsilon = 0$, $\beta = \operatorname E t$ and every $w$ with $q > 0$, let
# $\gamma^*(w) = c'w/\sqrt q$. Then
#
# $$
# J(w, \gamma) = \tfrac12\bigl(\sigma_t^2 - \gamma^*(w)^2\bigr) + \tfrac12\bigl(\gamma - \gamma^*(w)\bigr)^2,
# \qquad
# 1 + \lambda = \frac{\gamma^*(w)}{\gamma} .
# $$
#
# With the best length, what is left to the direction is the Rayleigh quotient $\gamma^*(w)^2 = (c'w)^2/w'\Sigma w$,
# at most $R^2\sigma_t^2$.
# ::::
#
# :::{dropdown} Proof
# $J = \tfrac12(\sigma_t^2 - 2c'v + v'\Sigma v)$ with $c'v = \gamma\,\gamma^*$ and $v'\Sigma v = \gamma^2$; complete
# the square. {prf:ref}`thm-rate`: $\lambda = -\frac1\gamma\,\partial J/\partial\gamma = -(\gamma - \gamma^*)/\gamma$.
# The bound is Cauchy–Schwarz, as for {prf:ref}`thm-least-squares`. $\square$
# :::
#
# So the rate is, at *every* point of training and not only at the end, the length that the direction asks for over the
# length that it has, less one. Exactly, in fractions:

# %%
Sigma, c = np.array([[4, 2], [2, 2]]) * Fraction(1), np.array([6, 7]) * Fraction(1)
target_var, scale = Fraction(40), Fraction(3)  # sigma_t^2, gamma
w = np.array([Fraction(-1, 2), Fraction(4)])  # w'Sigma w = 25
asked, v = c @ w / 5, scale * w / 5
print(f"asked for {asked}, has {scale}: rate {asked / scale - 1}")

# %% tags=["hide-input"]
check(
    "rate",
    "least squares in fractions, off any minimum: loss and 1 + rate from "
    "the length that the direction asks for",
    measured=[(target_var - asked**2 + (scale - asked) ** 2) / 2, asked / scale],
    predicted=[
        (target_var - 2 * c @ v + v @ Sigma @ v) / 2,
        1 - v @ (Sigma @ v - c) / scale**2,
    ],
    kind="exact",
)

turns = np.linspace(-np.pi, np.pi, 400)
cov, cross = Sigma.astype(float), c.astype(float)
around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
wanted = around @ cross / np.sqrt(np.einsum("ni,ij,nj->n", around, cov, around))
picture = Picture()
panel, ax = picture[0], picture[0].ax
degrees, level = np.degrees(turns), float(scale)
panel.line(degrees, wanted, "γ*, what the direction asks for", "theory")
panel.level(level, "γ, what it has", "batch", "-")
for kept, color in ((wanted >= level, "signal"), (wanted <= level, "l2")):
    ax.fill_between(
        degrees, wanted, level, where=kept, color=COLORS[color], alpha=0.25, linewidth=0
    )
best = degrees[wanted.argmax()]
ax.text(-175, level + 0.25, "γ: what it has")
ax.text(best, wanted.max() + 0.3, "γ*: what it asks for", ha="center")
ax.text(best, (wanted.max() + level) / 2, "λ > 0", ha="center", va="center")
ax.text(-60, -0.5, "λ < 0", ha="center")
panel.note(
    f"the rate is positive where γ* is above γ, in {np.mean(wanted > level):.0%} of all directions"
)
panel.set(
    xlabel="direction of w, degrees",
    ylabel="standard deviation of the output",
    ylim=(None, wanted.max() * 1.25),
    xticks=[-180, -90, 0, 90, 180],
)
picture.show(
    says="For each direction of w: the length it asks for and the length it is given. The rate is"
    " positive only near good directions, where γ is too short. A random direction is too long.",
    source=CLOSED_FORM,
    name="related-length-asked",
)

# %% [markdown]
# {cite:t}`cai2018` study gradient descent with BN on this very problem. According to their abstract it converges for
# arbitrary learning rates of the weights, which fits {prf:ref}`cor-ray` (ii): the effective step is bounded whatever
# $\eta$ is.
#
# ## Smoothing, as an equality
#
# {cite:t}`santurkar2018` bound the gradient at BN's input, the pre-activations $z$, by the gradient at its output
# $y$: theorem 4.1 there. (Copies of the theorem that we have seen differ in one factor.) In our notation it is an
# equality, and the terms that are subtracted are old acquaintances.
#
# ::::{prf:corollary} The gradient that BN passes on, exactly
# :label: cor-smoothing
#
# Let $z$ be the pre-activations of one unit over a batch of $M$, $\hat z = (z - \bar z)/s$,
# $y = \gamma\hat z + \beta$, and $h = \partial J/\partial y$, a vector of $M$ numbers. For every $\varepsilon \ge 0$
# with $s > 0$
#
# $$
# \begin{aligned}
# \Bigl\lvert\frac{\partial J}{\partial z}\Bigr\rvert^2
# &= \frac{\gamma^2}{s^2} \Bigl( \lvert h\rvert^2 - \frac1M \langle 1, h\rangle^2
# - \frac1M \Bigl(1 + \frac{\varepsilon}{q + \varepsilon}\Bigr) \langle h, \hat z\rangle^2 \Bigr) \\
# &= \frac{\gamma^2}{s^2} \Bigl( \lvert h\rvert^2 - \frac1M \Bigl(\frac{\partial J}{\partial\beta}\Bigr)^2
# - \frac1M \Bigl(1 + \frac{\varepsilon}{q + \varepsilon}\Bigr) (\gamma\lambda)^2 \Bigr) .
# \end{aligned}
# $$
# ::::
#
# :::{dropdown} Proof
# Let $P$ subtract the mean. $q = \lvert Pz\rvert^2/M$, so
# $\mathrm ds = \langle Pz, \mathrm dz\rangle/(Ms) = \langle\hat z, \mathrm dz\rangle/M$. With $\hat z = Pz/s$,
#
# $$
# \mathrm d\hat z = \frac1s\, P\,\mathrm dz - \frac{Pz}{s^2}\,\mathrm ds
# = \frac1s \Bigl[ P - \frac1M\,\hat z\hat z' \Bigr]\, \mathrm dz .
# $$
#
# The bracket is symmetric, so
# $\partial J/\partial z = \frac\gamma s \bigl[ Ph - \frac1M \langle\hat z, h\rangle\,\hat z \bigr]$. Square it, with
# $\lvert Ph\rvert^2 = \lvert h\rvert^2 - \frac1M\langle 1, h\rangle^2$, $P\hat z = \hat z$ and
# $\lvert\hat z\rvert^2 = Mq/(q + \varepsilon)$:
#
# $$
# \lvert Ph\rvert^2 - \frac2M \langle\hat z, h\rangle^2
# + \frac1{M^2}\,\frac{Mq}{q + \varepsilon}\,\langle\hat z, h\rangle^2
# = \lvert Ph\rvert^2 - \frac1M \Bigl(2 - \frac{q}{q + \varepsilon}\Bigr) \langle\hat z, h\rangle^2 ,
# $$
#
# and $2 - q/(q + \varepsilon) = 1 + \varepsilon/(q + \varepsilon)$. Finally
# $\langle 1, h\rangle = \partial J/\partial\beta$, and
# $\langle\hat z, h\rangle = \partial J/\partial\gamma = -\gamma\lambda$ by {prf:ref}`thm-rate`. $\square$
# :::
#
# So the last term *is* the rate: what BN takes off the gradient is its constant part and the part that its penalty
# cancels. It can be large only while rates are, that is, while $\gamma$ is kept from the length that the unit asks for.
# How much is it? The network trains on one batch, and we split $\lvert h\rvert^2$ into its three parts.


# %% tags=["hide-input"]
def smoothed(layer):
    """Both sides of the equality, one number a unit."""
    m, share = len(layer.inputs), layer.eps / (layer.q + layer.eps)
    taken = layer.grad_beta**2 + (1 + share) * layer.grad_gamma**2
    left_over = np.square(layer.grad_y).sum(axis=0) - taken / m
    return np.square(layer.grad_z).sum(axis=0), layer.gamma**2 / (layer.q + layer.eps) * left_over


def taken_off(_, network):
    (layer,) = walk(network, x, labels)
    taken = [np.square(layer.grad_beta).sum(), np.square(layer.grad_gamma).sum()]
    parts.append(np.array(taken) / len(x) / np.square(layer.grad_y).sum())


equalities = []
for eps, name in ((1e-30, "no eps"), (0.5, "eps = 0.5")):
    network = fresh_network()
    network[1].eps = eps
    nn.init.uniform_(network[1].weight, -2, 2)
    behind, predicted = smoothed(*walk(network, x, labels))
    equalities.append(
        check(
            "rate",
            "squared gradient at the input of BatchNorm1d, every hidden unit, against "
            f"the equality with the rate in it, {name}",
            measured=behind,
            predicted=predicted,
            tolerance=1e-12,
            source=source,
        )
    )

parts = []
batches = repeat((x, labels), steps)
training.fit(fresh_network(), batches, cross_entropy, 0.5, momentum=0.9, observe=taken_off)
parts = np.array(parts)[:steps]
finding(
    "That BN smooths the gradient is an equality with the rate in it, to {worst:.0e} in torch: it takes"
    " {first:.0%} off the squared gradient at the first step, and {last:.3%} after {taken} steps, as"
    " γ and β settle.",
    *equalities,
    first=parts[0].sum(),
    last=parts[-1].sum(),
    taken=steps - 1,
)

picture = Picture()
at = 1 + np.arange(steps)
picture[0].line(at, parts[:, 0], "by the mean: (∂J/∂β)²/M", "signal")
picture[0].line(at, parts[:, 1], "by the rate: (γλ)²/M", "batch")
picture[0].set(
    xscale="log",
    yscale="log",
    xlabel="gradient step, counted from 1",
    ylabel="share taken off |∂J/∂y|²",
    legend=True,
)
picture.show(
    says="What is taken off, as a share of the squared gradient at BN's output, all units together."
    " It fades as β and a learned γ come to rest; then only the factor γ²/s² is left.",
    source=source,
    name="related-smoothing",
)

# %% [markdown]
# ## Noise on the inputs is a penalty
#
# Training on noisy inputs is a Tikhonov penalty {cite:p}`bishop1995`. For a loss $\ell(v'x + b)$ of one linear unit,
# Gaussian noise with $\tau = v'Nv$, and $\ell$ four times differentiable with $\ell''''$ bounded:
#
# $$
# \operatorname E \ell(v'(x + n) + b)
# = \operatorname E \ell(v'x + b) + \tfrac12 \operatorname E[\ell''(v'x + b)]\; v'Nv + O(\tau^2) .
# $$
#
# Expand to fourth order; odd moments of $v'n$ vanish, its second is $\tau$ and its fourth $3\tau^2$. The next term is
# $\tfrac18 \operatorname E[\ell'''']\,\tau^2$. For squared loss $\ell'' = 1$ and $\ell'''' = 0$: the equality is exact.

# %% tags=["hide-input"]
nodes, weights = np.polynomial.hermite_e.hermegauss(80)
weights = weights / weights.sum()
outputs = 2 * rng.standard_normal(400)
signs = np.where(rng.random(400) < 1 / (1 + np.exp(-outputs)), 1.0, -1.0)
chance = 1 / (1 + np.exp(-signs * outputs))
curvature = np.mean(chance * (1 - chance))  # E l''
fourth = np.mean(chance * (1 - chance) * (1 - 6 * chance * (1 - chance)))
generated = Source(title="generated outputs", train_size=400, seeds=[seed])


def logistic_penalty(tau):
    """What Gaussian noise of variance tau in the output adds to the loss."""
    noisy = outputs[:, None] + np.sqrt(tau) * nodes
    margins = signs[:, None] * noisy
    expected = np.logaddexp(0, -margins) @ weights
    return np.mean(expected - np.logaddexp(0, -signs * outputs))


tau = 1e-3
check(
    "noise",
    "logistic loss under Gaussian noise, by quadrature: what is beyond the "
    "Tikhonov penalty against E l'''' tau^2 / 8",
    measured=(logistic_penalty(tau) - curvature * tau / 2) / tau**2,
    predicted=fourth / 8,
    tolerance=5e-3,  # the next term is of order tau, rounding 1e-10
    role="exploratory",  # of a loss of which the theorem does not speak
    source=generated,
)

# %% [markdown]
# What does BN add? Without it a unit can dodge the penalty by shrinking. With it the unit cannot: by
# {prf:ref}`thm-noise` signal and noise share the budget, $v'Nv = \gamma^2 - v'\Sigma v$. On the ellipsoid a penalty
# on noise is a *reward for signal*, at the same rate. For squared loss both quadratic terms merge into a constant,
# and only the correlation with the target is left: $L(v) + \tfrac12 v'Nv = \tfrac12(\sigma_t^2 + \gamma^2) - c'v$.

# %% tags=["hide-input"]
spread = np.array([2.0, 1.0, 0.5])
moments = Moments([0, 0, 0], np.diag(spread), 0.4 * spread, 1.0)
gamma, noise_cov = 0.7, 0.3 * np.eye(3) + 0.2
random_w = rng.standard_normal((100, 3))
v = theory.effective_weights(random_w, gamma, moments.cov + noise_cov)
variance = np.einsum("ni,ij,nj->n", v, moments.cov, v)
noise_penalty = np.einsum("ni,ij,nj->n", v, noise_cov, v) / 2
clean_loss = (moments.target_var - 2 * v @ moments.cross + variance) / 2
check(
    "noise",
    "clean squared loss plus noise penalty on BN's noisy ellipsoid, a "
    "hundred random directions, against a constant minus c'v",
    measured=clean_loss + noise_penalty,
    predicted=(moments.target_var + gamma**2) / 2 - v @ moments.cross,
    tolerance=1e-13,
)

picture = Picture(1, 2, width=7.4, height=3.3)
left, right = picture
taus = np.geomspace(1e-2, 30, 60)
left.line(taus, taus / 2, "squared: exact", "none")
left.line(taus, [logistic_penalty(each) for each in taus], "logistic", "noise")
left.line(taus, curvature * taus / 2, "logistic, second order", "theory", "--")
left.set(
    xscale="log",
    yscale="log",
    xlabel="noise in the output, v'Nv",
    title="what noise adds to the loss",
    legend={"fontsize": 9},
)
stds = np.geomspace(0.05, 20, 80)
path = theory.noise_path(moments, gamma, stds)
alone = path.weights * (1 + path.rate)[:, None]
right.line(stds, path.noise_share * gamma**2, "with BN", "batch")
right.line(stds, stds**2 * np.square(alone).sum(axis=1), "without BN", "none")
right.level(gamma**2, color="theory", style=":")
right.note(f"the dotted level is γ² = {gamma**2:.2f}")
right.ax.text(0.05, gamma**2 * 1.03, "γ²")
right.set(
    xscale="log",
    ylim=(0, gamma**2 * 1.2),
    xlabel="noise_std σ",
    title="noise left in the best unit's output",
    legend={"loc": "center left", "fontsize": 9},
)
picture.show(
    says="Left: the penalty is exactly linear in v'Nv for squared loss, to second order for others."
    " Right: without BN the weights shrink until the noise is gone; with BN the output must keep its"
    " variance, and noise fills it.",
    source=f"left: {generated}; right: closed form",
    name="related-noise-penalty",
)

# %% [markdown]
# ## Weight normalization: the same constraint without the data
#
# {cite:t}`salimans2016` write $v = \gamma\, w/\lvert w\rvert$. It is {prf:ref}`thm-rate` with $\Sigma = I$: the same
# proof gives $\nabla_w J = \frac{\gamma}{\lvert w\rvert}\,[\nabla_v L + \alpha v]$,
# $\alpha = -v'\nabla_v L/\gamma^2$, now a plain L2 rate. PyTorch has it as a parametrization. (There the bias is a
# parameter of its own; for the gradient in $w$ that changes nothing.)

# %%
unit = weight_norm(nn.Linear(inputs, 1).double())
target = (x @ scores)[:, :1].tanh()
mse_loss(unit(x), target).backward()
length = unit.parametrizations.weight.original0.detach()
raw = unit.parametrizations.weight.original1
v, bias = unit.weight.detach().requires_grad_(), unit.bias.detach()
(grad_v,) = torch.autograd.grad(mse_loss(x @ v.T + bias, target), v)
alpha = -(v * grad_v).sum() / length**2
predicted = (length / raw.norm() * (grad_v + alpha * v)).detach().numpy()

# %% [markdown]
# On inputs that are centred and whitened, $\mu = 0$ and $\Sigma = I$, and the two are one.

# %% tags=["hide-input"]
one_unit = Source(title="generated data", train_size=rows, seeds=[seed])
check(
    "invariance",
    "gradient of PyTorch's weight_norm against (gamma/|w|)(grad L + alpha v)",
    measured=raw.grad.numpy(),
    predicted=predicted,
    tolerance=1e-12,
    source=one_unit,
)
centred = x - x.mean(dim=0)
factor = torch.linalg.cholesky(centred.T @ centred / rows)
white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
batch_norm = nn.BatchNorm1d(1, eps=1e-30).double()
batch_norm.weight.data[:] = length[0]
batch_norm.bias.data[:] = unit.bias.detach()
check(
    "invariance",
    "BatchNorm1d on whitened inputs against weight_norm on them, the same raw weights, outputs",
    measured=batch_norm(white @ raw.detach().T).detach().numpy(),
    predicted=unit(white).detach().numpy(),
    tolerance=1e-12,
    source=one_unit,
)

# %% [markdown]
# So everything about BN that weight normalization lacks is due to $\Sigma$: invariance under changes of the inputs
# ({prf:ref}`thm-invariance`), and the answer to noise ({prf:ref}`thm-noise`).
#
# ## Batches: a decay of γ, an objective of their own
#
# {cite:t}`luo2018` decompose BN into normalization by population statistics and an explicit "gamma decay".
# {prf:ref}`thm-minibatch` is a statement of this kind: for least squares on Gaussian data it is exact, with decay
# $1/a_M - 1$. We could not compare the formulas, so we do not quote theirs. What such a decomposition promises can be
# tested without any batch: minimize the *population* loss with that decay on $\gamma$, by a general-purpose
# optimizer, and look at $\gamma$.

# %% tags=["hide-input"]
cov, cross = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.2])
population = Moments([0.0, 0.0], cov, cross, 1.5)
explained = np.sqrt(population.r_squared * population.target_var)
sizes, found = [3, 4, 8, 32], []
for batch_size in sizes:
    decay = theory.minibatch_decay(batch_size)

    def objective(free, decay=decay):  # direction of w, gamma
        w = np.array([np.cos(free[0]), np.sin(free[0])])
        fitted = free[1] * cross @ w / np.sqrt(w @ cov @ w)
        return -fitted + (1 + decay) * free[1] ** 2 / 2

    options = {"xatol": 1e-12, "fatol": 1e-16}
    found.append(minimize(objective, [1.0, 1.0], method="Nelder-Mead", options=options).x[1])
searched = check(
    "minibatch",
    "gamma that minimizes the population loss with decay 1/a_M - 1, by "
    "search, against a_M R sigma_t, four batch sizes",
    measured=np.array(found),
    predicted=theory.minibatch_factor(sizes) * explained,
    tolerance=1e-7,  # a search for a minimum finds half the digits
)
finding(
    "For least squares on Gaussian data a mini-batch is a decay of γ: the population loss with that"
    " decay has the γ of batches of {small} to {large} rows, to {difference:.0e}.",
    searched,
    small=sizes[0],
    large=sizes[-1],
)

# %% [markdown]
# Two works look at what the batch does to the problem itself. {cite:t}`lian2018` write down the objective that BN
# with mini-batches has, find it to be a different one from the usual, and propose a refinement by compositional
# optimization. Here that is the gap between $\operatorname E J_B$ and $J$, which {prf:ref}`thm-minibatch` computes in
# one case. {cite:t}`teye2018` take the randomness of batch statistics as approximate inference in a Bayesian model and
# draw uncertainty estimates from it; this book has nothing to add to that.
#
# ## The map
#
# | work | what it says, as far as read | here | how this book differs |
# | --- | --- | --- | --- |
# | {cite:t}`ioffe2015` (text) | the layer; the scale of the weights cancels | {doc}`batch-norm`, {prf:ref}`thm-depth` | asks for the rate |
# | {cite:t}`vanlaarhoven2017` (abstract, second hand) | weight decay before BN has no regularizing effect of its own; it sets the effective step | {prf:ref}`cor-ray` (i), {prf:ref}`thm-depth` | adds what it does at rest, through $\varepsilon$ |
# | {cite:t}`arora2018` (abstract, second hand) | gradient descent with BN reaches a stationary point without a tuned step | {prf:ref}`cor-ray` (ii) | tunes a rate, not a step |
# | {cite:t}`li2019` (abstract, second hand) | decay is equivalent to an exponentially growing step, momentum included | {prf:ref}`cor-ray` (iii) | plain steps only |
# | {cite:t}`wan2020` (text) | length and angle of a step settle, under assumptions | {prf:ref}`cor-ray` (iv) | exact on average, no speed of settling |
# | {cite:t}`hoffer2018`, {cite:t}`zhang2018` (abstracts) | norm and objective are decoupled; decay raises the effective step | {prf:ref}`cor-ray` (i), (iv) | nothing on other norms and optimizers |
# | {cite:t}`kohler2018` (abstract, second hand) | length and direction split; convergence rates | {prf:ref}`thm-constraint`, {prf:ref}`cor-length` | says what a fixed length costs, not how fast one gets there |
# | {cite:t}`cai2018` (abstract) | gradient descent with BN on least squares converges at any step | {prf:ref}`thm-least-squares`, {prf:ref}`cor-ray` (ii) | the end of the path, not the path |
# | {cite:t}`santurkar2018` (text) | BN makes gradients smaller and smoother | {prf:ref}`cor-smoothing` | an equality for the gradient, the rate in it; nothing on curvature |
# | {cite:t}`bishop1995` (abstract, second hand) | training on noise is Tikhonov, to second order | {prf:ref}`thm-noise` | BN fixes signal plus noise |
# | {cite:t}`salimans2016` (text) | length and direction, without the data | {prf:ref}`thm-invariance` | the control |
# | {cite:t}`luo2018` (abstract) | BN is population normalization and gamma decay | {prf:ref}`thm-minibatch` | exact for Gaussian least squares |
# | {cite:t}`lian2018`, {cite:t}`teye2018` (abstracts) | mini-batches change the objective; they are approximate inference | {prf:ref}`thm-minibatch` | one case in closed form |
# | {cite:t}`annamalai2022` (abstract) | BN as a constraint that tunes the regularization rate by data, and by signal against noise | {prf:ref}`thm-constraint`, {prf:ref}`thm-rate`, {prf:ref}`thm-noise` | proofs of our own |
#
# ## What it means for your network
#
# - Weight decay on weights in front of BN penalizes nothing. With plain SGD it sets how far a step turns: tune the
#   product of step and decay; a step turns by about $\sqrt{2\eta a}$ radians.
# - A first step that is too large does not diverge; it makes $\lvert w\rvert$ long, and all later steps small. If
#   training crawls, look at $\lvert w\rvert$.
# - If you want a penalty on the function, put it where BN leaves room: on $\gamma$, or as noise on the inputs.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"After {steps} steps no step size had left a mean effective step above {of_steps['large']:.2g},"
    f" though the largest began at {of_steps['first']:.0f}. With η = {learning_rate:g} and decay"
    f" {weight_decay:g} a step turned the weights by {settled:.1f} degrees on average over the last"
    f" quarter of training; η and decay alone say {turn:.1f}. BN took {parts[0].sum():.0%} off the"
    f" squared gradient at the first step, {parts[0, 1] / parts[0].sum():.0%} of it by the rate, and"
    f" {parts[-1].sum():.3%} at the last. A mini-batch of {sizes[0]} rows was a decay of"
    f" {float(theory.minibatch_decay(sizes[0])):.0%} on γ, one of {sizes[-1]} rows of"
    f" {float(theory.minibatch_decay(sizes[-1])):.1%}."
)

# %% [markdown]
# - BN tunes two things. The *step*, through $\lvert w\rvert$, which the function does not see; and the *rate*,
#   through the constraint on $v$. Weight decay in front of BN acts on the first.
# - Under plain steps with decay $a$ and bounded lengths, the mean turn of a step is set by $\eta a$ alone.
# - For least squares $1 + \lambda$ is the length that a direction asks for over the length that it has, at every step.
# - The known smoothing bound is an equality, and the rate is in what it subtracts.
# - Noise is a Tikhonov penalty. BN turns it into a reward for signal, because the sum of the two is fixed.
#
# ## Where it stops
#
# - Works are described as far as read. Where only an abstract was at hand, a paper may contain, and state better,
#   what is derived here.
# - The four facts are about plain gradient descent. Momentum breaks the orthogonality step by step; some of the works
#   named treat it.
# - The equality for the gradient is about one layer and one step. It says nothing about curvature, nor how fast
#   anything trains.
# - Normalizations other than batch and weight normalization, and the literature since, are not covered.
#
# ## Exercises
#
# **1. Derive.** Let $\lvert g_k\rvert = g > 0$ at every step in {prf:ref}`cor-ray` (ii), with decay. Where does $G_k$ settle?
# From which starts, and how far does a step then turn?
#
# :::{dropdown} Solution
# Write $G = rG_*$ with $G_* = g/\sqrt{1 - p^2}$. Then $r$ becomes $f(r) = p^2 r + (1 - p^2)/r$, and $f(1) = 1$. Let
# $p^2 \ge \tfrac12$, as always in practice. From above, $0 \le f(r) - 1 = (r - 1)\bigl(p^2 - (1 - p^2)/r\bigr) \le
# p^2 (r - 1)$ for $r \ge 1$: it falls to 1 by at least the factor $p^2$ a step. From below,
# $f(r) - r = (1 - p^2)(1/r - r) > 0$: it rises to 1, or passes it once and then falls. So $G_k$ settles at $G_*$ from
# every start. The effective step is then $1/G_* = \sqrt{1 - p^2}/g \approx \sqrt{2\eta a}/g$; $\lvert w\rvert$ no
# longer changes, and $\cos\varphi = p$ by (iv).
# :::
#
# **2. Run.** Set `weight_decay = 0.02`. Where will the dashed line of the right-hand picture be, and are 300 steps enough to
# get there? Run it, then choose `steps`.
#
# :::{dropdown} Solution
# $\arccos(1 - 0.1 \cdot 0.02) = 3.6$ degrees, instead of 8.1. Away from its level $\lvert w\rvert^2$ falls by the
# factor $p^2 \approx 1 - 2\eta a$ a step, here $1 - 0.004$. From three times the length, nine times the square, that
# takes about $\ln 9/0.004 \approx 550$ steps: 300 are not enough, 1500 are plenty.
# :::
