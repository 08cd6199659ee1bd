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
# Batch normalization (BN) has been explained many times: as a step size that tunes itself, as a smoother loss, as
# noise, as a decay of $\gamma$, as a length split from a direction. These explanations look like rivals. Written in
# one notation they are neighbours: most follow in a few lines from {prf:ref}`thm-rate` or {prf:ref}`thm-depth`, and
# some turn out to be equalities where inequalities were known. We derive each in our own way, check it on PyTorch's
# layers, and say what it has to do with the *rate* and what not. The most important distinction comes first: BN tunes
# two things, a step and a rate, and they are not the same thing.
#
# A word on sources. Of some of these works we have read the text, of others only the abstract, of some only what
# others report. The table at the end says which. Every formula and proof below is ours; where a work is named for a
# formula, it had it first, perhaps in another form.

# %% tags=["parameters"]
seed = 4  # of generated data, weights and batches
steps = 300  # of gradient descent in each run
learning_rate = 0.1  # eta, of plain gradient descent
weight_decay = 0.1  # a, on the raw weights of the hidden layer
step_sizes = [0.01, 0.1, 1.0, 10.0, 100.0]  # eta, for the auto-tuned step

# %%
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils.parametrizations import weight_norm

from bnlib import models, theory
from companion import figures, page, statistics
from bnlib.theory import Moments

torch.manual_seed(seed)
rng = np.random.default_rng(seed)

# %% [markdown]
# One small network serves the first sections: ten correlated inputs, 16 hidden units with BN, three classes that
# overlap. All of it is `torch.nn` in float64, with $\varepsilon = 10^{-30}$, that is, none.

# %%
rows, inputs, hidden, classes = 512, 10, 16, 3
mixing = rng.standard_normal((inputs, inputs)) / np.sqrt(inputs)
x = torch.from_numpy(rng.standard_normal((rows, inputs)) @ mixing + 0.5)
scores = torch.from_numpy(3 * rng.standard_normal((inputs, classes)))
labels = torch.multinomial((x @ scores).softmax(dim=1), 1)[:, 0]


def fresh_network(length=1.0):
    """The same directions for every run; raw weights `length` times as long."""
    network = models.network((inputs, hidden, classes), eps=1e-30, seed=seed)
    network = network.double()
    network[0].weight.data *= length
    return network


# %% [markdown]
# ## Four facts about a length that nobody sees
#
# The loss does not see $\lvert w\rvert$: $J(\tau w) = J(w)$ for $\tau > 0$. {prf:ref}`thm-depth` drew two
# conclusions: $\nabla_w J$ is orthogonal to $w$, and $\nabla_w J(w) = \nabla_w J(u)/\lvert w\rvert$ with
# $u = w/\lvert w\rvert$. Four known results about training are bookkeeping with these two lines.
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
# **(i)** is {cite:t}`vanlaarhoven2017`'s point; **(ii)** is behind the auto-tuned step of {cite:t}`arora2018`, whose
# abstract goes on to rates of convergence; **(iii)** is the plain case of {cite:t}`li2019`, whose equivalence
# includes momentum; and **(iv)** is about {cite:t}`wan2020`'s angular update. They prove under assumptions that the
# length settles, and that the angle then tends to about $\sqrt{2\eta a}$. The averaged form needs only that the
# length stays bounded.
#
# Check all four.

# %%
network = fresh_network()


def decayed_loss(length, decay):
    weights = length * network[0].weight
    z = network[1](x @ weights.T)
    loss = cross_entropy(network[2:](z), labels)
    return (loss + decay / 2 * weights.square().sum()).item()


page.check(
    "depth",
    "loss of a BN network plus weight decay: at raw weights 3 w with decay "
    "a against w with decay 9 a",
    measured=decayed_loss(3.0, weight_decay),
    predicted=decayed_loss(1.0, 9 * weight_decay),
    tolerance=1e-13,
)


# %%
def descend(step_of, decay=0.0, length=1.0, batch=64, only_hidden=False):
    """Plain SGD; raw weights of the hidden layer and their gradients."""
    network = fresh_network(length)
    w, *rest = network.parameters()
    batches = np.random.default_rng(seed)
    weights, gradients = [w.detach().clone()], []
    groups = [{"params": [w], "weight_decay": decay}]
    if not only_hidden:
        groups.append({"params": rest})
    optimizer = torch.optim.SGD(groups, lr=learning_rate)
    for k in range(steps):
        chosen = batches.choice(rows, batch, replace=False)
        optimizer.param_groups[0]["lr"] = step_of(k)
        optimizer.zero_grad()
        cross_entropy(network(x[chosen]), labels[chosen]).backward()
        gradients.append(w.grad.clone())
        optimizer.step()
        weights.append(w.detach().clone())
    return torch.stack(weights), torch.stack(gradients), network


def full_batch(step, length=1.0):
    return descend(lambda k: step, length=length, batch=rows, only_hidden=True)


runs = {step: full_batch(step) for step in step_sizes}
some = step_sizes[1]
other, _, _ = full_batch(100 * some, length=10.0)
page.check(
    "depth",
    "directions of all raw weights at every step: a hundred times the step "
    "at ten times the length against the run itself",
    measured=nn.functional.normalize(other, dim=-1).numpy(),
    predicted=nn.functional.normalize(runs[some][0], dim=-1).numpy(),
    tolerance=1e-11,
)

# %%
effective, bounds = {}, {}
for step, (weights, gradients, _) in runs.items():
    squares = weights.square().sum(dim=-1)  # |w|^2, (steps + 1, units)
    spherical = gradients.square().sum(dim=-1) * squares[:-1]  # |g_k|^2
    first = (squares[:1] / step).square()  # G_0^2
    effective[step] = (step / squares).numpy()
    bounds[step] = (first + 2 * spherical.cumsum(dim=0)).rsqrt().numpy()
page.check(
    "depth",
    "effective step of every unit after every step, without decay, is at "
    "most its bound, at all step sizes",
    measured=all(
        bool((effective[step][1:] <= bounds[step] * (1 + 1e-12)).all())
        for step in step_sizes
    ),
    predicted=True,
    kind="exact",
)

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
for step, key in zip(step_sizes, ("none", "batch", "signal", "noise", "l2")):
    curve = np.exp(np.log(effective[step]).mean(axis=1))
    ax.loglog(1 + np.arange(steps + 1), curve, color=figures.COLORS[key], label=f"η = {step:g}")
ax.set(xlabel="gradient step, counted from 1", ylabel="effective step η / |w|²")
ax.legend(ncols=2)
start = [effective[step][0].mean() for step in step_sizes]
end = [np.exp(np.log(effective[step][-1]).mean()) for step in step_sizes]
figures.show(
    fig,
    alt="The effective step through training for five step sizes. At the start the largest is "
    f"{start[-1] / start[0]:.0f} times "
    f"the smallest; at the end the five lie between {min(end):.2g} and {max(end):.2g}.",
    caption=f"Five step sizes, {start[-1] / start[0]:,.0f} to 1 at the start. What the direction feels is cut down "
    "within a step where it is too "
    "large, and left alone where it is small. The largest steps overshoot, and then crawl.",
    source=f"generated data, {rows} rows in one batch, {hidden} units, geometric mean over units, seed {seed}",
)

# %% [markdown]
# This is one of BN's two auto-tunings, and it is **not** that of this book. It tunes the *step*, through the length
# of the raw weights $w$, and leaves the set of minima alone. The rate $\lambda$ lives on the effective weights $v$;
# it does not see $\lvert w\rvert$ at all, and it changes where the loss is smallest.
#
# Now weight decay, its growing step, and the angle.

# %%
p = 1 - learning_rate * weight_decay
decayed, _, first = descend(lambda k: learning_rate, decay=weight_decay)
growing, _, second = descend(lambda k: learning_rate * p ** -(2 * k + 1))
print(f"the step grew by {p ** (-2 * steps):.3g}")
page.check(
    "depth",
    "outputs after SGD on mini-batches: weight decay on the raw weights "
    "against no decay and an exponentially growing step",
    measured=first(x).detach().numpy(),
    predicted=second(x).detach().numpy(),
    tolerance=1e-11,
)


# %%
def cosines(weights):  # (steps, units)
    return torch.cosine_similarity(weights[1:], weights[:-1], dim=-1)


lengths = decayed.norm(dim=-1)
page.check(
    "depth",
    "cosine of every turn of every unit under SGD with weight decay a "
    "against (1 - eta a) |w| / |w next|",
    measured=cosines(decayed).numpy(),
    predicted=(p * lengths[:-1] / lengths[1:]).numpy(),
    tolerance=1e-12,
)

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.4)
average = 25
for length, key in zip((0.3, 1.0, 3.0), ("signal", "batch", "l2")):
    path = decayed
    if length != 1:
        path, _, _ = descend(lambda k: learning_rate, decay=weight_decay, length=length)
    left.semilogy(path.square().sum(dim=-1).mean(dim=1), color=figures.COLORS[key], label=f"start × {length:g}")
    angles = torch.rad2deg(cosines(path).clamp(max=1).arccos()).mean(dim=1).numpy()
    smooth = np.convolve(angles, np.ones(average) / average, mode="valid")
    right.semilogy(np.arange(len(smooth)) + average / 2, smooth, color=figures.COLORS[key])
    spread = f"{smooth[-1]:.1f}"
turn = np.degrees(np.arccos(p))
right.axhline(turn, color=figures.COLORS["theory"], linestyle="--")
right.text(0, turn * 1.15, "arccos(1 − ηa)")
right.set_ylim(top=turn * 2)
left.set(xlabel="step", title="|w|², mean over units")
right.set(xlabel="step", title="turn a step, degrees")
left.legend()
figures.show(
    fig,
    alt="Left: the squared length of the raw weights from three starts; all approach one level. Right: the angle a "
    "step from the same starts "
    f"approaches the dashed line at {turn:.1f} degrees; at the end it is near {spread}.",
    caption="With weight decay and mini-batches the length forgets its start (left), and the angle of a step settles "
    "where only η and a "
    "put it (right, dashed).",
    source=f"generated data, batches of 64, η = {learning_rate:g}, a = {weight_decay:g}, running mean over {average} "
    f"steps, seed {seed}",
)

# %% [markdown]
# Weight decay in front of BN is a speed control. None of this is a rate on the function; that needs $\varepsilon > 0$
# and rest ({prf:ref}`thm-depth`). {cite:t}`hoffer2018` describe normalization and weight decay as tools that decouple
# the norm of the weights from the objective; a larger effective learning rate is the first of the mechanisms of
# weight decay that {cite:t}`zhang2018` tell apart.
#
# ## Length and direction
#
# {cite:t}`kohler2018` read BN as a change of coordinates: $v = \gamma\, w/\sqrt{w'\Sigma w}$ has a direction, from
# $w$, and a length, $\gamma$, measured in the norm of $\Sigma$. That is {prf:ref}`thm-constraint`. They ask how fast
# a learned $\gamma$ and $w$ get to the minimum; we ask what a given $\gamma$ costs. For least squares the two
# questions meet in one formula.
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
# length that it has, less one. Exactly:

# %%
F = Fraction
Sigma = np.array([[F(4), F(2)], [F(2), F(2)]])
c, target_var, scale = np.array([F(6), F(7)]), F(40), F(3)
w = np.array([F(-1, 2), F(4)])  # w'Sigma w = 25
asked = c @ w / 5
v = scale * w / 5
loss = (target_var - 2 * c @ v + v @ Sigma @ v) / 2
page.check(
    "rate",
    "least squares in fractions, off any minimum: loss and 1 + rate from "
    "the length that the direction asks for",
    measured=[(target_var - asked**2 + (scale - asked) ** 2) / 2,
              asked / scale],
    predicted=[loss, 1 - v @ (Sigma @ v - c) / scale**2],
    kind="exact",
)

# %% tags=["hide-input"]
turns = np.linspace(-np.pi, np.pi, 400)
cov, cross = Sigma.astype(float), c.astype(float)
around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
wanted = around @ cross / np.sqrt(np.einsum("ni,ij,nj->n", around, cov, around))
fig, ax = figures.figure(height=3.2)
degrees = np.degrees(turns)
level = float(scale)
ax.plot(degrees, wanted, color=figures.COLORS["theory"])
ax.axhline(level, color=figures.COLORS["batch"])
ax.fill_between(degrees, wanted, level, where=wanted >= level, color=figures.COLORS["signal"], alpha=0.25, linewidth=0)
ax.fill_between(degrees, wanted, level, where=wanted <= level, color=figures.COLORS["l2"], alpha=0.2, linewidth=0)
ax.text(-175, level + 0.25, "γ: what it has")
ax.text(degrees[wanted.argmax()], wanted.max() + 0.3, "γ*: what it asks for", ha="center")
ax.text(degrees[wanted.argmax()], (wanted.max() + level) / 2, "λ > 0", ha="center", va="center")
ax.text(-60, -0.5, "λ < 0", ha="center")
ax.set(xlabel="direction of w, degrees", ylabel="standard deviation of the output",
       ylim=(None, wanted.max() * 1.25), xticks=[-180, -90, 0, 90, 180])
figures.show(
    fig,
    alt=f"The length that a direction asks for, against the direction: a wave between {wanted.min():.1f} and "
    f"{wanted.max():.1f}; a horizontal line at "
    f"gamma = {level:g}. Where the wave is above the line the rate is positive, elsewhere negative.",
    caption="For each direction of w: the length it asks for and the length it is given. The rate is positive only "
    "near good directions, "
    "where γ is too short. A random direction is too long.",
    source="closed form, two inputs, no data",
)

# %% [markdown]
# {cite:t}`cai2018` study gradient descent with BN on just this problem, ordinary least squares. According to their
# abstract it converges for arbitrary learning rates of the weights, which fits {prf:ref}`cor-ray` (ii): the effective
# step is bounded whatever $\eta$ is.
#
# ## Smoothing, as an equality
#
# {cite:t}`santurkar2018` bound the gradient at BN's input, the pre-activations $z$, by the gradient at its output
# $y$: theorem 4.1 there. (Copies of the theorem that we have seen differ in one factor.) In our notation it is an
# equality, with $\varepsilon$ or without, and the terms that are subtracted are old acquaintances.
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
# cancels. Check it on PyTorch, without $\varepsilon$ and with a large one.


# %%
def gradients_at(network, inputs, targets):
    """Gradients in z, y, gamma, beta; z itself: first BN layer."""
    z = network[0](inputs)
    y = network[1](z)
    loss = cross_entropy(network[2:](y), targets)
    gamma, beta = network[1].weight, network[1].bias
    return *torch.autograd.grad(loss, [z, y, gamma, beta]), z


def smoothed(network, inputs, targets):
    """Both sides of the equality, one number a unit."""
    eps, gamma = network[1].eps, network[1].weight
    gz, gy, g_gamma, g_beta, z = gradients_at(network, inputs, targets)
    q, m = z.var(dim=0, unbiased=False), len(z)
    bracket = gy.square().sum(dim=0) - g_beta.square() / m
    bracket -= (1 + eps / (q + eps)) * g_gamma.square() / m
    right = gamma.square() / (q + eps) * bracket
    return gz.square().sum(dim=0).numpy(), right.detach().numpy()


for eps, name in ((1e-30, "no eps"), (0.5, "eps = 0.5")):
    network = fresh_network()
    network[1].eps = eps
    nn.init.uniform_(network[1].weight, -2, 2)
    behind, predicted = smoothed(network, x, labels)
    page.check(
        "rate",
        "squared gradient at the input of BatchNorm1d, every hidden unit, against "
        f"the equality with the rate in it, {name}",
        measured=behind,
        predicted=predicted,
        tolerance=1e-12,
    )

# %% [markdown]
# How much is taken off? Below the network trains on one batch, and we split $\lvert h\rvert^2$ into its three parts.

# %%
network = fresh_network()
optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
parts = []
for _ in range(steps):
    _, gy, g_gamma, g_beta, z = gradients_at(network, x, labels)
    total = gy.square().sum()
    taken = torch.stack([g_beta.square().sum(), g_gamma.square().sum()])
    parts.append((taken / len(z) / total).tolist())
    optimizer.zero_grad()
    cross_entropy(network(x), labels).backward()
    optimizer.step()
parts = np.array(parts)

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.2)
at = 1 + np.arange(steps)
ax.loglog(at, parts[:, 0], color=figures.COLORS["signal"], label="by the mean: (∂J/∂β)²/M")
ax.loglog(at, parts[:, 1], color=figures.COLORS["batch"], label="by the rate: (γλ)²/M")
ax.set(xlabel="gradient step, counted from 1", ylabel="share taken off |∂J/∂y|²")
ax.legend()
figures.show(
    fig,
    alt=f"The shares that the two terms take off the squared gradient: at the first step {parts[0, 0]:.2g} and "
    f"{parts[0, 1]:.2g}, "
    f"at the last {parts[-1, 0]:.1g} and {parts[-1, 1]:.1g}.",
    caption="What is taken off, as a share of the squared gradient at BN's output, all units together: "
    f"{parts[0].sum():.0%} at the first step. It fades as "
    "β and a learned γ come to rest; then only the factor γ²/s² is left.",
    source=f"generated data, {rows} rows in one batch, seed {seed}",
)

# %% [markdown]
# The equality says when this smoothing can be large: when the rates are, that is, when $\gamma$ is held away from the
# length that the unit asks for. A learned $\gamma$ at rest has $\lambda = 0$ and nothing is taken off.
#
# ## Noise on the inputs is a penalty
#
# Training on noisy inputs is a Tikhonov penalty {cite:p}`bishop1995`: to second order in general, exactly for a
# linear unit and squared loss. In our notation, for a loss $\ell(v'x + b)$ of one linear unit, Gaussian noise with
# $\tau = v'Nv$, and $\ell$ four times differentiable with $\ell''''$ bounded:
#
# $$
# \operatorname E \ell(v'(x + n) + b)
# = \operatorname E \ell(v'x + b) + \tfrac12 \operatorname E[\ell''(v'x + b)]\; v'Nv + O(\tau^2) .
# $$
#
# Expand to fourth order; odd moments of $v'n$ vanish, its second is $\tau$ and its fourth $3\tau^2$. The next term is
# $\tfrac18 \operatorname E[\ell'''']\,\tau^2$. For $\ell = \tfrac12(t - \cdot)^2$, $\ell'' = 1$ and $\ell'''' = 0$,
# and the equality is exact.

# %%
nodes, weights = np.polynomial.hermite_e.hermegauss(80)
weights = weights / weights.sum()
outputs = 2 * rng.standard_normal(400)
signs = np.where(rng.random(400) < 1 / (1 + np.exp(-outputs)), 1.0, -1.0)
chance = 1 / (1 + np.exp(-signs * outputs))
curvature = np.mean(chance * (1 - chance))  # E l''
fourth = np.mean(chance * (1 - chance) * (1 - 6 * chance * (1 - chance)))


def logistic_penalty(tau):
    """What Gaussian noise of variance tau in the output adds to the loss."""
    noisy = outputs[:, None] + np.sqrt(tau) * nodes
    margins = signs[:, None] * noisy
    expected = np.logaddexp(0, -margins) @ weights
    return np.mean(expected - np.logaddexp(0, -signs * outputs))


tau = 1e-3
page.check(
    "noise",
    "logistic loss under Gaussian noise, by quadrature: what is beyond the "
    "Tikhonov penalty against E l'''' tau^2 / 8",
    measured=(logistic_penalty(tau) - curvature * tau / 2) / tau**2,
    predicted=fourth / 8,
    tolerance=5e-3,  # the next term is of order tau, rounding 1e-10
)

# %% [markdown]
# What does BN add to that? Without BN a unit can dodge the penalty by shrinking. With BN it cannot: by
# {prf:ref}`thm-noise` signal and noise share the budget, $v'Nv = \gamma^2 - v'\Sigma v$. On the ellipsoid a penalty
# on noise is a *reward for signal*, at the same rate. For squared loss both quadratic terms merge into a constant,
# and only the correlation with the target is left: $L(v) + \tfrac12 v'Nv = \tfrac12(\sigma_t^2 + \gamma^2) - c'v$.

# %%
spread = np.array([2.0, 1.0, 0.5])
moments = Moments([0, 0, 0], np.diag(spread), 0.4 * spread, 1.0)
gamma, noise_cov = 0.7, 0.3 * np.eye(3) + 0.2
random_w = rng.standard_normal((100, 3))
v = theory.effective_weights(random_w, gamma, moments.cov + noise_cov)
variance = np.einsum("ni,ij,nj->n", v, moments.cov, v)
noise_penalty = np.einsum("ni,ij,nj->n", v, noise_cov, v) / 2
clean_loss = (moments.target_var - 2 * v @ moments.cross + variance) / 2
page.check(
    "noise",
    "clean squared loss plus noise penalty on BN's noisy ellipsoid, a "
    "hundred random directions, against a constant minus c'v",
    measured=clean_loss + noise_penalty,
    predicted=(moments.target_var + gamma**2) / 2 - v @ moments.cross,
    tolerance=1e-13,
)

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.3)
taus = np.geomspace(1e-2, 30, 60)
left.loglog(taus, taus / 2, color=figures.COLORS["none"], label="squared: exact")
left.loglog(taus, [logistic_penalty(each) for each in taus], color=figures.COLORS["noise"], label="logistic")
left.loglog(taus, curvature * taus / 2, "--", color=figures.COLORS["theory"], label="logistic, second order")
left.set(xlabel="noise in the output, v'Nv", title="what noise adds to the loss")
left.legend(fontsize=9)
stds = np.geomspace(0.05, 20, 80)
path = theory.noise_path(moments, gamma, stds)
alone = path.weights * (1 + path.rate)[:, None]
right.semilogx(stds, path.noise_share * gamma**2, color=figures.COLORS["batch"], label="with BN")
right.semilogx(stds, stds**2 * np.square(alone).sum(axis=1), color=figures.COLORS["none"], label="without BN")
right.axhline(gamma**2, color=figures.INK, linewidth=1, linestyle=":")
right.text(0.05, gamma**2 * 1.03, "γ²")
right.set_ylim(top=gamma**2 * 1.2)
right.set(xlabel="noise_std σ", title="noise left in the best unit's output")
right.legend(loc="center left", fontsize=9)
figures.show(
    fig,
    alt="Left: what noise adds to the loss, against the variance of the noise in the output, on log axes: a line for "
    "squared loss; for logistic "
    "loss a curve that follows its second-order line and then bends below it. Right: the noise left in the least "
    "squares unit's output: without "
    "BN it rises and falls back to zero, with BN it rises to gamma squared.",
    caption="Left: the penalty is exactly linear in v'Nv for squared loss, to second order for others. Right: "
    "without BN the weights shrink until "
    "the noise is gone; with BN the output must keep its variance, and noise fills it.",
    source=f"left: 400 generated outputs, seed {seed}; right: closed form, γ = {gamma:g}",
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
v = unit.weight.detach().requires_grad_()
bias = unit.bias.detach()
grad_v, = torch.autograd.grad(mse_loss(x @ v.T + bias, target), v)
alpha = -(v * grad_v).sum() / length**2
page.check(
    "invariance",
    "gradient of PyTorch's weight_norm against (gamma/|w|)(grad L + alpha v)",
    measured=raw.grad.numpy(),
    predicted=(length / raw.norm() * (grad_v + alpha * v)).detach().numpy(),
    tolerance=1e-12,
)

# %% [markdown]
# On inputs that are centred and whitened, $\mu = 0$ and $\Sigma = I$, and the two are one.

# %%
centred = x - x.mean(dim=0)
factor = torch.linalg.cholesky(centred.T @ centred / rows)
white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
batch_norm = nn.BatchNorm1d(1, eps=1e-30).double()
batch_norm.weight.data[:] = length[0]
batch_norm.bias.data[:] = unit.bias.detach()
page.check(
    "invariance",
    "BatchNorm1d on whitened inputs against weight_norm on them, the same "
    "raw weights, outputs",
    measured=batch_norm(white @ raw.detach().T).detach().numpy(),
    predicted=unit(white).detach().numpy(),
    tolerance=1e-12,
)

# %% [markdown]
# So everything about BN that weight normalization lacks is due to $\Sigma$: invariance under changes of the inputs
# ({prf:ref}`thm-invariance`), and the answer to noise ({prf:ref}`thm-noise`).
#
# ## Gamma decay
#
# {cite:t}`luo2018` decompose BN into normalization by population statistics and an explicit "gamma decay".
# {prf:ref}`thm-minibatch` is a statement of this kind: for least squares on Gaussian data it is exact, with decay
# $1/a_M - 1$. We could not compare the formulas, so we do not quote theirs. What the decomposition promises can be
# tested without any batch: minimize the *population* loss with that decay on $\gamma$, by a general-purpose
# optimizer, and look at $\gamma$.

# %%
cov, cross = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.2])
population = Moments([0.0, 0.0], cov, cross, 1.5)
explained = np.sqrt(population.r_squared * population.target_var)
sizes, found = [3, 4, 8, 32], []
for M in sizes:
    decay = theory.minibatch_decay(M)

    def objective(free, decay=decay):  # direction of w, gamma
        w = np.array([np.cos(free[0]), np.sin(free[0])])
        fitted = free[1] * cross @ w / np.sqrt(w @ cov @ w)
        return -fitted + (1 + decay) * free[1] ** 2 / 2

    best = minimize(objective, [1.0, 1.0], method="Nelder-Mead",
                    options={"xatol": 1e-12, "fatol": 1e-16})
    found.append(best.x[1])
page.check(
    "minibatch",
    "gamma that minimizes the population loss with decay 1/a_M - 1, by "
    "search, against a_M R sigma_t, four batch sizes",
    measured=np.array(found),
    predicted=theory.minibatch_factor(sizes) * explained,
    tolerance=1e-7,  # a search for a minimum finds half the digits
)

# %% [markdown]
# ## Batches as the objective
#
# Two works look at what the batch does to the problem itself. {cite:t}`lian2018` write down the objective that BN
# with mini-batches has, find it to be a different one from the usual, and propose a refinement by compositional
# optimization. In this book that is the gap between $\operatorname E J_B$ and $J$, which {prf:ref}`thm-minibatch`
# computes in one case. {cite:t}`teye2018` take the randomness of batch statistics as approximate inference in a
# Bayesian model and draw uncertainty estimates from it; this book has nothing to add to that.
#
# ## The map
#
# | work | what it says, as far as read | here | how this book differs |
# | --- | --- | --- | --- |
# | {cite:t}`ioffe2015` (text) | the layer; the scale of the weights cancels | {doc}`chapter 1 <batch-norm>`, {prf:ref}`thm-depth` | asks for the rate |
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
# ## What we learned
#
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
