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
# # BN removed, its rates kept
#
# If batch normalization (BN) is a constraint with a rate ({prf:ref}`thm-constraint`,
# {prf:ref}`thm-stationarity`), then two things must be found in networks trained on real digits.
# Their folded weights lie on the ellipsoids that the data draw. And BN can be thrown away: a
# network without it that pays the rates that BN had set stays where BN had put it, while one that
# pays half, twice or nothing leaves. We look at every unit of a deep network first. Then we
# remove BN from a read-out, where the theory promises the same weights, and from a network with a
# hidden layer, where it promises only rest.

# %% tags=["parameters"]
dataset = "mnist-5k"  # data set
seeds = [0, 1, 2]  # of weights, batches, choice of digits and noise
hidden = [100, 100, 100]  # units in the hidden layers of the deep network
epochs = 5  # passes over the training digits, deep network
batch_rows = 3000  # training digits in the one large batch that is looked at
digits_used = 1000  # training digits of the read-out
components = 40  # principal components that the read-out sees
noise_std = 2.0  # of the noise on each component, drawn once a seed
gamma = 1.0  # fixed scale of every normalized unit that BN is removed from
gammas = [0.5, 1.0, 2.0, 3.0, 4.0, 6.0]  # the same, where it is varied
units = 16  # in the hidden layer of the small network
steps = 1000  # of gradient descent after BN is gone, small network
read_out_decay = 0.01  # plain weight decay on its read-out

# %%
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import data, meter, models, theory, training
from companion import figures, page, statistics

digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1
seeds_shown = f"seeds {', '.join(map(str, seeds))}"

# %% [markdown]
# ## Every unit of every layer is on its ellipsoid
#
# A network with three normalized hidden layers is trained in the usual way, with batches of 128,
# learned $\gamma$ and torch's own $\varepsilon$. Then it sees many digits in one batch. For every
# unit we take the variance that torch's `BatchNorm1d` puts out, $v'\Sigma v$, and what the
# constraint says it is: $\gamma^2 q/(q + \varepsilon)$ with $q = w'\Sigma w$, from the weights
# and the covariance $\Sigma$ of what enters the layer.


# %% tags=["hide-input"]
def visit_units(model, images):
    """For each normalized layer: what enters it, the Linear, the BN, what leaves."""
    signals = [torch.from_numpy(images.astype(np.float64))]
    with torch.no_grad():
        for module in model:
            signals.append(module(signals[-1]))
    return [
        (signals[i], model[i], model[i + 1], signals[i + 2])
        for i in range(len(model) - 1)
        if isinstance(model[i + 1], nn.BatchNorm1d)
    ]


schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
deep = {
    seed: training.train([training.Arm("batch")], inputs["train"], digits.train.labels, schedule, seed)[0].double()
    for seed in seeds
}
layers = range(1, len(hidden) + 1)
output, constraint, squared_norm, box = ({n: [] for n in layers} for _ in range(4))
for seed in seeds:
    training_mode = deepcopy(deep[seed]).train()
    seen = visit_units(training_mode, inputs["train"][:batch_rows])
    for n, (below, linear, bn, leaving) in zip(layers, seen):
        cov = torch.cov(below.T, correction=0).numpy()  # Sigma, (inputs, inputs)
        w, g = (p.detach().numpy() for p in (linear.weight, bn.weight))
        q = np.einsum("ki,ij,kj->k", w, cov, w)
        s, U = np.linalg.eigh(cov)
        visible = s > len(s) * np.finfo(float).eps * s[-1]  # where the data vary
        v = theory.effective_weights(w, g, cov, bn.eps) @ U[:, visible]
        output[n].append(leaving.numpy().var(axis=0))
        constraint[n].append(g**2 * q / (q + bn.eps))
        squared_norm[n].append((v**2).sum(axis=1) / constraint[n][-1])
        box[n].append(1 / s[visible][[-1, 0]])

# %%
for n in layers:
    page.check(
        "constraint",
        f"Three hidden layers trained on digits, layer {n}, every unit: variance that BatchNorm1d"
        " puts out against gamma^2 q / (q + eps)",
        measured=np.array(output[n]),
        predicted=np.array(constraint[n]),
        tolerance=1e-12,
    )

# %% [markdown]
# The constraint also boxes the length of the effective weights: per unit of output variance,
# $|v|^2$ lies between $1/s_{\max}$ and $1/s_{\min}$, the extreme variances of what enters the
# layer (in directions in which nothing varies the function does not see the weights, and they are
# left out). Where in the box do trained units sit?

# %%
inside = [
    (low * (1 - 1e-9) <= norms) & (norms <= high * (1 + 1e-9))
    for n in layers
    for norms, (low, high) in zip(squared_norm[n], box[n])
]
page.check(
    "constraint",
    "Three hidden layers trained on digits, every unit: share with |v|^2 in the box that the"
    " covariance of its inputs sets",
    float(np.mean(inside)),
    1.0,
    kind="exact",
)

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, height=3.4)
for n, key in zip(layers, ("batch", "signal", "noise", "l2", "none")):
    left.plot(
        constraint[n][0],
        output[n][0],
        "o",
        markersize=3,
        color=figures.COLORS[key],
        label=f"layer {n}",
    )
    across = n + np.linspace(-0.25, 0.25, len(squared_norm[n][0]))
    right.plot(across, squared_norm[n][0], "o", markersize=2, color=figures.COLORS[key])
    right.hlines(box[n][0], n - 0.35, n + 0.35, color=figures.COLORS["theory"])
left.axline((1, 1), slope=1, color=figures.COLORS["theory"], lw=1, zorder=0)
left.set(xlabel="γ² q / (q + ε)", ylabel="variance of the unit's output")
left.legend()
right.set(yscale="log", xticks=list(layers), xlabel="layer", ylabel="|v|² for an output variance of 1")
medians = {n: float(np.median(squared_norm[n][0])) for n in layers}
figures.show(
    fig,
    alt="Left: for every unit the output's variance against the constraint, all dots on the diagonal. Right: squared"
    " length of the effective weights by layer, between two bars; median over lower bar "
    + ", ".join(f"{medians[n] / box[n][0][0]:.0f}" for n in layers)
    + ".",
    caption="Left: every unit of a trained network is on its ellipsoid. Right: squared lengths of the effective weights"
    " in the box 1/s_max to 1/s_min (orange bars). The box is wide; the median unit is "
    + ", ".join(f"{medians[n] / box[n][0][0]:.0f}" for n in layers)
    + " times as long, squared, as the shortest vector with its output variance.",
    source=f"{digits.title}, {min(batch_rows, len(inputs['train'])):,} training digits in one batch, seed {seeds[0]}",
)

# %% [markdown]
# That held for the batch at hand, and it held exactly. A network in use normalizes with running
# averages, and its digits are new: $\Sigma$ of the test set is not $\Sigma$ of training. So fold
# BN away as one does for use, and ask how far off the ellipsoids the units are on test digits.

# %%
in_use = {n: [] for n in layers}
for seed in seeds:
    for n, (below, linear, bn, _) in zip(layers, visit_units(deep[seed].eval(), inputs["test"])):
        folded = models.fold(linear, bn)(below).detach().numpy()
        in_use[n].append(float(np.mean(folded.var(axis=0) / bn.weight.detach().numpy() ** 2)))
for n in layers:
    page.check(
        "constraint",
        f"Three hidden layers trained on digits, folded for use, layer {n}: mean over units of"
        " v'Sigma v / gamma^2 on test digits",
        in_use[n],
        1.0,
        kind="empirical",
        tolerance=0.1,
    )

# %% [markdown]
# Running averages lag behind training and the test digits differ from the training digits, so
# this ratio need not be 1; the rows above say how near it is, layer by layer.
#
# ## A read-out: the same weights without BN
#
# Now BN is removed. The read-out sees principal components of digits under noise, and its ten
# logits are normalized with a fixed $\gamma$ (a learned one would end at rate 0). It is trained
# until nothing but rounding is left of the gradient; then its ten rates are read. Softmax
# regression without BN starts from zero weights and minimizes
#
# $$L(v, b) + \sum_k \tfrac{f\lambda_k}{2}\, v_k'\Sigma v_k$$
#
# with $f = 1$, BN's own rates, and with half, twice and none of them. Every seed draws its own
# digits and noise.


# %% tags=["hide-input"]
def draw(seed, rows, directions, std):
    """Principal components of some digits with noise, the labels, Sigma."""
    rng = np.random.default_rng([seed, 11])
    chosen = rng.permutation(len(inputs["train"]))[:rows]
    x = inputs["train"][chosen].astype(np.float64)
    x -= x.mean(axis=0)
    _, axes_of_variation = np.linalg.eigh(x.T @ x)
    x = x @ axes_of_variation[:, : -directions - 1 : -1]
    x = torch.from_numpy(data.corrupt(x, rng, noise_std=std))
    return x, torch.from_numpy(digits.train.labels[chosen]), torch.cov(x.T, correction=0)


def with_bn(x, labels, sigma, gamma, seed):
    """Rates and effective weights at rest, and what is left of the gradient."""
    model = models.network(
        (x.shape[1], 10),
        normalize_output=True,
        gamma=gamma,
        eps=1e-30,
        seed=seed,
        dtype=torch.float64,
    )
    left = training.settle([model[0].weight, model[1].bias], lambda: cross_entropy(model(x), labels))
    rates = meter.measure(model, [(x, labels)], cross_entropy).rate
    weights = model[0].weight.detach()
    return torch.from_numpy(rates), theory.effective_weights(weights, gamma, sigma), left


def without_bn(x, labels, sigma, rates):
    v = torch.zeros(10, x.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    penalty = lambda: (rates * ((v @ sigma) * v).sum(dim=1)).sum() / 2
    loss = lambda: cross_entropy(x @ v.T + b, labels) + penalty()
    left = training.settle([v, b], loss, iterations=400)
    return v.detach().numpy(), left


def distance(found, reference):
    with np.errstate(over="ignore", invalid="ignore"):  # a search can run off
        return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


factors = {"same": 1.0, "half": 0.5, "twice": 2.0, "none": 0.0}
read_outs, refits, left_over = {}, {}, {name: [] for name in ("BN", *factors)}
for seed in seeds:
    x, labels, sigma = draw(seed, digits_used, components, noise_std)
    rates, v, left = with_bn(x, labels, sigma, gamma, seed)
    read_outs[seed] = rates.numpy(), v
    left_over["BN"].append(left)
    for name, factor in factors.items():
        refits[name, seed], left = without_bn(x, labels, sigma, factor * rates)
        left_over[name].append(left)
gaps = {name: np.array([distance(refits[name, seed], read_outs[seed][1]) for seed in seeds]) for name in factors}

# %% tags=["hide-input"]
fig, (left_ax, right_ax) = figures.figure(1, 2, height=3.4)
for name, key in (("none", "none"), ("half", "signal"), ("twice", "noise"), ("same", "batch")):
    v = read_outs[seeds[0]][1]
    left_ax.plot(
        v.ravel(),
        refits[name, seeds[0]].ravel(),
        "o",
        markersize=2.5,
        color=figures.COLORS[key],
        label=name,
    )
    right_ax.plot(gaps[name], [name] * len(seeds), "o", color=figures.COLORS[key])
    middle = np.exp(np.log(gaps[name]).mean())
    right_ax.annotate(f"{middle:.1g}", (middle, name), xytext=(0, 8), textcoords="offset points", ha="center")
limit = 1.6 * np.abs(v).max()
left_ax.set(xlabel="weights v, with BN", ylabel="weights, without BN", ylim=(-limit, limit))
left_ax.legend(title="rates paid", markerscale=2)
right_ax.set(xscale="log", xlim=(1e-10, 1e3), xlabel="distance from BN's weights, relative")
right_ax.margins(y=0.2)
figures.show(
    fig,
    alt="Left: weights without BN against weights with BN; at BN's own rates all dots are on the diagonal, at other"
    " rates they are not. Right: relative distances, "
    + ", ".join(f"{name} {np.exp(np.log(gaps[name]).mean()):.1g}" for name in factors)
    + ".",
    caption=f"{10 * components} weights of ten logits without BN. At BN's own rates they are BN's weights; at half,"
    " twice or none of them they are not (some dots of «none» lie outside the frame). Dots on the right: single"
    " seeds. Largest gradient entry left: "
    + ", ".join(f"{name} {max(values):.0e}" for name, values in left_over.items())
    + ".",
    source=f"{digits.title}, {len(labels):,} training digits, {components} components, noise {noise_std:g}, {seeds_shown}",
)

# %% tags=["hide-input"]
page.check(
    "stationarity",
    "Softmax on noisy digits: smallest of the ten rates of BN at rest",
    [float(rates.min()) for rates, _ in read_outs.values()],
    0.0,
    kind="empirical",
    relation="above",
)
page.check(
    "stationarity",
    "Softmax on noisy digits, every seed: weights without BN at BN's rates against the effective weights with BN",
    np.array([refits["same", seed] for seed in seeds]),
    np.array([v for _, v in read_outs.values()]),
    tolerance=2e-7,
)
for name in ("half", "twice", "none"):  # one per cent would be too far for rounding
    page.check(
        "stationarity",
        f"Softmax on noisy digits, BN removed, penalty paid: {name}. log10 of the relative distance from BN's weights",
        np.log10(gaps[name]),
        -2.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# ### Where a rate is negative
#
# The promise needs $\lambda_k \ge 0$ for every class. A small $\gamma$ keeps all logits smaller
# than they would be, and all rates are positive. As $\gamma$ grows, some class has more output
# than it wants, and its rate turns negative. Then the problem without BN is no longer convex. It
# is worse: along the weights of that class the loss grows in proportion to the length and the
# reward with its square, so there is *no* minimum. BN's weights are still a point of rest. A
# search from zero may end there or run off.

# %%
x, labels, sigma = draw(seeds[0], digits_used, components, noise_std)
rows = {}
for scale in gammas:
    rates, v, _ = with_bn(x, labels, sigma, scale, seeds[0])
    refit, _ = without_bn(x, labels, sigma, rates)
    gap = distance(refit, v)
    kept = bool((rates >= 0).all())
    rows[f"γ = {scale:g}"] = {
        "positive rates": f"{int((rates > 0).sum())} of 10",
        "largest": f"{float(rates.max()):.1e}",
        "smallest": f"{float(rates.min()):.1e}".replace("-", "−", 1) if not kept else f"{float(rates.min()):.1e}",
        "problem without BN": "convex" if kept else "no minimum",
        "search from zero ends": f"{gap:.0e} away" if gap < 1e3 else "nowhere: it ran off",
    }
page.table(
    pd.DataFrame(rows).T,
    "Rates of ten classes as γ grows, and where a search without BN that pays them ends, as the relative distance from BN's"
    " weights.",
    f"{digits.title}, {len(labels):,} training digits, {components} components, noise {noise_std:g}, seed {seeds[0]}",
)

# %% [markdown]
# So the same network comes back where all rates are positive, to the accuracy of the search. A
# negative rate is not regularization, and keeping it without BN is asking for trouble.
#
# ## A network: it stays where BN had put it
#
# A hidden layer makes the loss non-convex. What remains of the promise is rest: at BN's resting
# point the loss without BN plus the penalties has gradient zero. The hidden layer is normalized
# with fixed $\gamma$; the read-out has a plain weight decay, which is part of the loss
# with and without BN and keeps the logits finite. The activation is tanh: with ReLU, minima like
# to sit on a kink, where there is no gradient to vanish.


# %% tags=["hide-input"]
def at_rest(seed):
    """The small network with BN at rest, and the same with BN folded away."""
    x, labels, sigma = draw(seed, 300, 20, 1.0)
    network = models.network((20, units, 10), gamma=gamma, eps=1e-30, seed=seed, dtype=torch.float64)
    network[2] = nn.Tanh()
    learned = [p for p in network.parameters() if p.requires_grad]
    left = training.settle(learned, lambda: read_out_decayed(network, x, labels), iterations=2000)
    rates = torch.from_numpy(meter.measure(network, [(x, labels)], cross_entropy).rate)
    v = torch.from_numpy(theory.effective_weights(network[0].weight.detach(), gamma, sigma))
    bare = nn.Sequential(nn.Linear(20, units).double(), nn.Tanh(), deepcopy(network[3]))
    bare[0].weight.data = v
    bare[0].bias.data = network[1].bias.detach() - v @ x.mean(dim=0)
    return x, labels, sigma, rates, bare, left


def read_out_decayed(network, x, labels):
    return cross_entropy(network(x), labels) + read_out_decay / 2 * network[-1].weight.square().sum()


def penalized(bare, x, labels, sigma, rates):
    v = bare[0].weight
    return read_out_decayed(bare, x, labels) + (rates * ((v @ sigma) * v).sum(dim=1)).sum() / 2


resting = {seed: at_rest(seed) for seed in seeds}
pull, push = [], []
for x, labels, sigma, rates, bare, left in resting.values():
    (gradient,) = torch.autograd.grad(read_out_decayed(bare, x, labels), bare[0].weight)
    pull.append(-gradient.numpy())
    push.append((rates[:, None] * (bare[0].weight @ sigma)).detach().numpy())
print("gradient entries left with BN:", *(f"{left:.0e}" for *_, left in resting.values()))
page.check(
    "stationarity",
    "Network with a hidden layer at rest, BN folded away: minus the gradient of the loss against"
    " rate times Sigma v, every hidden unit",
    np.array(pull),
    np.array(push),
    tolerance=1e-6,
)

# %% [markdown]
# Now gradient descent goes on from there without BN, with all of the penalty, half of it, or
# none. The distance of the hidden weights from where BN had put them is measured as it goes.


# %%
def drift(seed, factor, marks):
    x, labels, sigma, rates, bare, _ = resting[seed]
    bare = deepcopy(bare)
    start, path = bare[0].weight.detach().numpy().copy(), []
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.05)
    for step in range(1, marks[-1] + 1):
        optimizer.zero_grad()
        penalized(bare, x, labels, sigma, factor * rates).backward()
        optimizer.step()
        if step in marks:
            path.append(distance(bare[0].weight.detach().numpy(), start))
    return path


marks = sorted({int(mark) for mark in np.geomspace(1, steps, 25)})
kept = {"all": 1.0, "half": 0.5, "none": 0.0}
drifts = {name: np.array([drift(seed, factor, marks) for seed in seeds]) for name, factor in kept.items()}

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
for name, key in (("none", "none"), ("half", "signal"), ("all", "batch")):
    figures.band(ax, marks, drifts[name], f"{name} of the penalty", figures.COLORS[key], geometric=True)
ax.set(xscale="log", yscale="log", xlabel="steps without BN", ylabel="distance from BN's weights")
ax.legend()
ends = {name: np.exp(np.log(drifts[name][:, -1]).mean()) for name in kept}
figures.show(
    fig,
    alt="Relative distance of the hidden weights from where BN had put them against steps of gradient descent without BN."
    " At the last step: " + ", ".join(f"{name} of the penalty {ends[name]:.1g}" for name in kept) + ".",
    caption="After BN is folded away the network stays if it pays what BN had charged, and leaves if it pays half or"
    " nothing. Bands: 95 % interval over seeds, of the logarithm.",
    source=f"{digits.title}, 300 training digits, 20 components with noise 1, {units} hidden units, {seeds_shown}",
)

# %%
for name in ("half", "none"):
    page.check(
        "stationarity",
        f"Network with a hidden layer, gradient descent after BN is removed: log10 of the distance"
        f" at {name} of the penalty over that at all of it",
        np.log10(drifts[name][:, -1] / drifts["all"][:, -1]),
        2.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# The curve at all of the penalty starts at the rounding that was left of the gradient. Rest is
# not stability: if the point were a saddle of the problem without BN, that curve would in the end
# grow, exponentially.
#
# ## What we learned
#
# - In a trained network every normalized unit is on the ellipsoid that the batch draws, exactly;
#   in use, on test digits and with running averages, only about.
# - The length of the effective weights is in the box that $\Sigma$ sets. The box alone says
#   little: it is wide.
# - A normalized softmax read-out *is* Tikhonov-regularized softmax regression. With the rates
#   kept BN can go; with other rates the weights are others.
# - In a network BN can go as well, and nothing moves while the rates are paid.
#
# ## Where it stops
#
# - All of the second half is about points of rest, with fixed $\gamma$, one batch and
#   $\varepsilon$ as good as 0. A learned $\gamma$ ends at rate 0, and usual training ends before
#   rest.
# - The rates had to be known before BN was removed. That they come from the data is the point;
#   but they were found by training with BN, not guessed beforehand.
# - With a negative rate the problem without BN has no minimum.
# - In the network only the hidden layer was freed of BN. If a layer above is normalized as well,
#   its $\Sigma$ moves with the weights below ({prf:ref}`thm-depth`).
