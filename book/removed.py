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
# Builds on {doc}`constraint` and {doc}`stationarity`.
# After it you can take BN out of a trained network and say which penalty keeps it in place.
#
# If batch normalization (BN) is a constraint with a rate, two things must be found in networks
# trained on real digits. Their folded weights lie on the ellipsoids that the data draw. And BN can
# be thrown away: a network without it that pays the rates that BN had set stays where BN had put
# it, while one that pays half, twice or nothing leaves.
#
# We look at every unit of a deep network first. Then we remove BN from a read-out, where the theory
# promises the same weights, and from a network with a hidden layer, where it promises only rest.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
seeds = [0, 1, 2]  # of weights, batches, choice of digits and noise
hidden = [100, 100, 100]  # units in the hidden layers of the deep network
epochs = 1  # passes over all training digits, deep network
batch_rows = 3000  # training digits in the one large batch that is looked at
digits_used = 1000  # training digits of the read-out
components = 40  # principal components that the read-out sees
noise_std = 2.0  # of the noise on each component, drawn once a seed
gamma = 1.0  # fixed scale of every normalized unit that BN is removed from
gammas = [0.5, 1.0, 2.0, 3.0, 6.0]  # the same, where it is varied
units = 16  # in the hidden layer of the small network
steps = 500  # of gradient descent after BN is gone, small network
read_out_decay = 0.01  # plain weight decay on its read-out

# %% tags=["hide-input"]
from functools import partial
from itertools import pairwise, repeat

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import data, experiments, models, theory, training
from companion.figures import COLORS, Picture
from companion.page import check, finding, sentence, table
from companion.records import Source
from companion.studies.identities import walk
from companion.studies.twins import at_rest, distance, penalty, refit

digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1

# %% [markdown]
# ## Every unit of every layer is on its ellipsoid
#
# A network with three normalized hidden layers is trained in the usual way, with batches of 128,
# learned $\gamma$ and torch's own $\varepsilon$. Then it sees many digits in one batch. For every
# unit we take the variance that torch's `BatchNorm1d` puts out, $v'\Sigma v$, and what the
# constraint ({prf:ref}`thm-constraint`) says it is: $\gamma^2 q/(q + \varepsilon)$ with
# $q = w'\Sigma w$, from the weights and the covariance $\Sigma$ of what enters the layer.
#
# The constraint also boxes the length of the effective weights: per unit of output variance,
# $|v|^2$ lies between $1/s_{\max}$ and $1/s_{\min}$, the extreme variances of what enters the
# layer. (In directions in which nothing varies the function does not see the weights, and they are
# left out.) Where in the box do trained units sit?


# %% tags=["hide-input"]
def units_seen(run, batch_rows):
    """A value a unit, layer by layer: on one large batch, and folded for use, on test digits."""
    batch = torch.from_numpy(run.inputs[:batch_rows].astype(np.float64))
    found = {name: [] for name in ("output", "constraint", "squared_norm", "box", "in_use")}
    for layer in walk(run.model, batch, torch.from_numpy(run.labels[:batch_rows])):
        cov = np.cov(layer.inputs, rowvar=False, bias=True)  # Sigma, (inputs, inputs)
        q = np.einsum("ki,ij,kj->k", layer.w, cov, layer.w)
        s, U = np.linalg.eigh(cov)
        visible = s > len(s) * np.finfo(float).eps * s[-1]  # where the data vary
        v = theory.effective_weights(layer.w, layer.gamma, cov, layer.eps) @ U[:, visible]
        found["output"].append(layer.output_var)
        found["constraint"].append(layer.gamma**2 * q / (q + layer.eps))
        found["squared_norm"].append((v**2).sum(axis=1) / found["constraint"][-1])
        found["box"].append(1 / s[visible][[-1, 0]])
    signal = torch.from_numpy(run.held_out["test"][0].astype(np.float64))
    with torch.no_grad():
        for module, following in pairwise(run.model.double().eval()):
            if isinstance(following, nn.BatchNorm1d):
                variance = models.fold(module, following)(signal).numpy().var(axis=0)
                found["in_use"].append(np.mean(variance / following.weight.numpy() ** 2))
            signal = module(signal)
    return found


# %% tags=["hide-input", "remove-stderr"]
schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
deep = experiments.sweep(
    [training.Arm("batch")],
    [experiments.Conditions(dataset)],
    schedule,
    seeds,
    look=partial(units_seen, batch_rows=batch_rows),
)
layers = range(1, len(hidden) + 1)
output, constraint, squared_norm, box = (
    {n: np.array([row[n - 1] for row in deep[name]]) for n in layers}
    for name in ("output", "constraint", "squared_norm", "box")
)
rows_seen = min(batch_rows, len(inputs["train"]))
network = "-".join(map(str, (784, *hidden, 10)))
deep_source = Source(
    dataset,
    len(inputs["train"]),
    seeds,
    {"network": network, "epochs": epochs, "digits_looked_at": rows_seen},
)

# %% tags=["hide-input"]
for n in layers:
    check(
        "constraint",
        f"Three hidden layers trained on digits, layer {n}, every unit: variance that BatchNorm1d"
        " puts out against gamma^2 q / (q + eps)",
        measured=output[n],
        predicted=constraint[n],
        tolerance=1e-12,
        source=deep_source,
    )
inside = [
    (low * (1 - 1e-9) <= norms) & (norms <= high * (1 + 1e-9))
    for n in layers
    for norms, (low, high) in zip(squared_norm[n], box[n])
]
check(
    "constraint",
    "Three hidden layers trained on digits, every unit: share with |v|^2 in the box that the"
    " covariance of its inputs sets",
    float(np.mean(inside)),
    1.0,
    kind="exact",
    source=deep_source,
)

# %% tags=["hide-input"]
picture = Picture(1, 2, height=3.4)
left, right = picture
medians = {n: float(np.median(squared_norm[n][0]) / box[n][0][0]) for n in layers}
for n, color in zip(layers, ("batch", "signal", "noise", "l2", "none")):
    left.dots(constraint[n][0], output[n][0], f"layer {n}", color, markersize=3, words=False)
    across = n + np.linspace(-0.25, 0.25, len(squared_norm[n][0]))
    right.dots(across, squared_norm[n][0], color=color, markersize=2, words=False)
    right.ax.hlines(box[n][0], n - 0.35, n + 0.35, color=COLORS["theory"])
    low, high = box[n][0]
    right.note(
        f"layer {n}, between bars at {low:.2g} and {high:.2g}, median {medians[n] * low:.2g}"
    )
ends = (min(c[0].min() for c in constraint.values()), max(c[0].max() for c in constraint.values()))
left.ax.axline((1, 1), slope=1, color=COLORS["theory"], lw=1, zorder=0)
left.note(f"the dots of all units, from {ends[0]:.2g} to {ends[1]:.2g}, are on the diagonal")
left.set(xlabel="γ² q / (q + ε)", ylabel="variance of the unit's output", legend=True)
right.set(
    yscale="log",
    xticks=list(layers),
    xlabel="layer",
    ylabel="|v|² for an output variance of 1",
)
picture.show(
    says="Every unit of a trained network is on its ellipsoid, in a box that leaves much room. Left: the"
    " variances of outputs are those that the theorem says. Right: squared lengths of the"
    " effective weights in the box from 1/s_max to 1/s_min (orange bars). The box is wide: the median"
    f" unit is {', '.join(f'{median:.0f}' for median in medians.values())} times as long, squared, as"
    " the shortest vector with its output variance, layer by layer.",
    source=Source(dataset, rows_seen, seeds[:1], {"network": network, "epochs": epochs}),
    name="removed-ellipsoids",
)

# %% [markdown]
# That held for the batch at hand, and it held exactly. A network in use normalizes with running
# averages, which lag behind training, and its digits are new: $\Sigma$ of the test set is not
# $\Sigma$ of training. So fold BN away as one does for use. How far off the ellipsoids are the
# units on test digits?

# %% tags=["hide-input"]
in_use = [
    check(
        "constraint",
        f"Three hidden layers trained on digits, folded for use, layer {n}: mean over units of"
        " v'Sigma v / gamma^2 on test digits",
        [row[n - 1] for row in deep.in_use],
        1.0,
        kind="empirical",
        tolerance=0.1,
        role="assumption",
        scale="log",
        source=deep_source,
    )
    for n in layers
]
finding(
    {
        "borne out": "In a trained network every unit is on the ellipsoid of its batch, exactly; in"
        " use, on test digits, only about: there its output variance is on average {least:.1%} to"
        " {most:.1%} of γ², layer by layer.",
        "not borne out": "In a trained network every unit is on the ellipsoid of its batch, exactly;"
        " in use, on test digits, it is off by more than {tolerance:.0%} in every layer: its output"
        " variance is on average {least:.1%} to {most:.1%} of γ².",
        "mixed": "In a trained network every unit is on the ellipsoid of its batch, exactly; in"
        " use, on test digits, its output variance is within {tolerance:.0%} of γ², interval included, in"
        " {held} of {count} layers, and on average {least:.1%} to {most:.1%} of it.",
    },
    *in_use,
)

# %% [markdown]
# ## A read-out: the same weights without BN
#
# Now BN is removed. The read-out sees principal components of digits under noise, and its ten
# logits are normalized with a fixed $\gamma$ (a learned one would end at rate 0). It is trained
# until nothing but rounding is left of the gradient; then its ten rates are read. Softmax
# regression without BN starts from zero weights and minimizes
#
# $$L(v, b) + \sum_k \tfrac{f\lambda_k}{2}\, v_k'\Sigma v_k$$
#
# with $f = 1$, BN's own rates, and with half, twice and none of them. {prf:ref}`thm-stationarity`
# promises BN's weights for $f = 1$ and for no other $f$. Every seed draws its own digits and noise.


# %% tags=["hide-input"]
def draw(seed, rows, directions, std):
    """Principal components of some digits with noise, and the labels."""
    rng = np.random.default_rng([seed, 11])
    chosen = rng.permutation(len(inputs["train"]))[:rows]
    x = inputs["train"][chosen].astype(np.float64)
    x -= x.mean(axis=0)
    _, axes_of_variation = np.linalg.eigh(x.T @ x)
    x = x @ axes_of_variation[:, : -directions - 1 : -1]
    x = torch.from_numpy(data.corrupt(x, rng, noise_std=std))
    return x, torch.from_numpy(digits.train.labels[chosen])


def read_out_at_rest(seed, gamma):
    x, labels = draw(seed, digits_used, components, noise_std)
    settings = {"eps": 1e-30, "seed": seed, "dtype": torch.float64}
    model = models.network((components, 10), normalize_output=True, gamma=gamma, **settings)
    return at_rest(model, x, labels)


# %%
factors = {"same": 1.0, "half": 0.5, "twice": 2.0, "none": 0.0}  # of BN's rates, to be paid
read_outs = {seed: read_out_at_rest(seed, gamma) for seed in seeds}
refits = {
    (name, seed): refit(found, factor * found.rates)
    for seed, found in read_outs.items()
    for name, factor in factors.items()
}
gaps = {
    name: np.array([distance(refits[name, seed][0], read_outs[seed].weights) for seed in seeds])
    for name in factors
}
for name, gap in gaps.items():
    print(f"rates paid: {name:6s} distance from BN's weights: {np.exp(np.log(gap).mean()):.1e}")

# %% tags=["hide-input"]
used = {"components": components, "noise_std": noise_std, "gamma": gamma}
read_out_source = Source(dataset, min(digits_used, len(inputs["train"])), seeds, used)
left_over = {name: max(refits[name, seed][2] for seed in seeds) for name in factors}
left_over["BN"] = max(found.left for found in read_outs.values())
picture = Picture(1, 2, height=3.4)
left, right = picture
first = read_outs[seeds[0]].weights.numpy().ravel()
for place, name, color in zip(
    range(4), ("none", "half", "twice", "same"), ("none", "signal", "noise", "batch")
):
    bare = refits[name, seeds[0]][0].numpy().ravel()
    left.dots(first, bare, name, color, markersize=2.5, words=False)
    left.note(
        f"with the rates paid «{name}» the slope through the dots is {bare @ first / (first @ first):.3g}"
    )
    right.dots(gaps[name], np.full(len(seeds), place), color=color, words=False)
    middle = np.exp(np.log(gaps[name]).mean())
    at_dot = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
    right.ax.annotate(f"{middle:.2g}", (middle, place), **at_dot)
    right.note(f"{name} {middle:.2g}")
limit = 1.6 * np.abs(first).max()
left.set(
    xlabel="weights v, with BN",
    ylabel="weights, without BN",
    ylim=(-limit, limit),
    legend={
        "title": "rates paid",
        "markerscale": 2,
        "ncols": 4,
        "fontsize": 9,
        "loc": "lower left",
        "bbox_to_anchor": (-0.05, 1),
        "columnspacing": 1,
        "handletextpad": 0.2,
    },
)
right.set(
    xscale="log",
    xlim=(1e-10, 1e3),
    xlabel="distance from BN's weights, relative",
    yticks=range(4),
    yticklabels=("none", "half", "twice", "same"),
)
right.ax.margins(y=0.2)
picture.show(
    says="Without BN, weights that pay BN's own rates are BN's weights."
    f" {10 * components} weights of ten logits without BN, one seed, and their distance from BN's"
    " weights, a dot a seed. At half, twice or none of these rates"
    " they are not (some dots of «none» lie outside the frame). Largest gradient entry left: "
    + ", ".join(f"{name} {entry:.0e}" for name, entry in left_over.items())
    + ".",
    source=read_out_source,
    name="removed-read-out",
)

# %% tags=["hide-input"]
check(
    "stationarity",
    "Softmax on noisy digits: smallest of the ten rates of BN at rest",
    [float(found.rates.min()) for found in read_outs.values()],
    0.0,
    kind="empirical",
    relation="above",
    source=read_out_source,
)
check(
    "stationarity",
    "Softmax on noisy digits, every seed: weights without BN at BN's rates against the effective"
    " weights with BN",
    np.array([refits["same", seed][0].numpy() for seed in seeds]),
    np.array([found.weights.numpy() for found in read_outs.values()]),
    tolerance=2e-7,
    source=read_out_source,
)
others = [  # one per cent would be too far for rounding
    check(
        "stationarity",
        f"Softmax on noisy digits, BN removed, penalty paid: {name}. Distance from BN's weights, as a"
        " share of their length",
        gaps[name],
        0.01,
        kind="empirical",
        relation="above",
        scale="log",
        source=read_out_source,
    )
    for name in ("half", "twice", "none")
]
same = "Softmax regression without BN that pays BN's own rates has BN's weights, to {same:.0e};"
finding(
    {
        "borne out": same + " with half, twice or none of them the weights end at {half:.2g},"
        " {twice:.2g} and {none:.2g} times their length from there.",
        "not borne out": same + " but so it has, to a hundredth, with half, twice or none of them:"
        " {half:.2g}, {twice:.2g} and {none:.2g} times their length from there.",
        "mixed": same + " that other rates lead elsewhere shows in {held} of {count} cases: with"
        " half, twice or none of them the weights end at {half:.2g}, {twice:.2g} and {none:.2g} times"
        " their length from there.",
    },
    *others,
    **{name: np.exp(np.log(gap).mean()) for name, gap in gaps.items()},
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

# %% tags=["hide-input"]
cases, all_positive = {}, {}
for scale in gammas:
    found = read_out_at_rest(seeds[0], scale)
    rates = found.rates
    gap = distance(refit(found, rates)[0], found.weights)
    kept = all_positive[scale] = bool((rates >= 0).all())
    cases[f"γ = {scale:g}"] = {
        "positive rates": f"{int((rates > 0).sum())} of 10",
        "largest": f"{float(rates.max()):.1e}",
        "smallest": ("" if kept else "−") + f"{abs(float(rates.min())):.1e}",
        "problem without BN": "convex" if kept else "no minimum",
        "search from zero ends": f"{gap:.0e} away" if gap < 1e3 else "nowhere: it ran off",
    }
table(
    pd.DataFrame(cases).T,
    "Rates of ten classes as γ grows, and where a search without BN that pays them ends, as the"
    " relative distance from BN's weights.",
    Source(
        dataset,
        read_out_source.train_size,
        seeds[:1],
        {"components": components, "noise_std": noise_std},
    ),
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
def network_at_rest(seed):
    """The small network with BN, settled."""
    x, labels = draw(seed, 300, 20, 1.0)
    settings = {"gamma": gamma, "eps": 1e-30, "seed": seed, "dtype": torch.float64}
    model = models.network((20, units, 10), **settings)
    model[2] = nn.Tanh()
    return at_rest(model, x, labels, lambda model: read_out_decayed(model, model(x), labels), 2000)


def read_out_decayed(model, output, labels):
    decayed = read_out_decay / 2 * model[-1].weight.square().sum()
    return cross_entropy(output, labels) + decayed


network_source = Source(
    dataset,
    300,
    seeds,
    {"components": 20, "noise_std": 1.0, "hidden_units": units, "steps": steps},
)
resting = {seed: network_at_rest(seed) for seed in seeds}
pull, push = [], []
for found in resting.values():
    bare = found.folded()
    loss = read_out_decayed(bare, bare(found.inputs), found.labels)
    (gradient,) = torch.autograd.grad(loss, bare[0].weight)
    pull.append(-gradient.numpy())
    push.append((found.rates[:, None] * (found.weights @ found.cov)).numpy())
print("gradient entries left with BN:", *(f"{found.left:.0e}" for found in resting.values()))
check(
    "stationarity",
    "Network with a hidden layer at rest, BN folded away: minus the gradient of the loss against"
    " rate times Sigma v, every hidden unit",
    np.array(pull),
    np.array(push),
    tolerance=1e-6,
    source=network_source,
)

# %% [markdown]
# Now gradient descent goes on from there without BN, with all of the penalty, half of it, or
# none. The distance of the hidden weights from where BN had put them is measured as it goes.

# %%
marks = sorted({int(mark) for mark in np.geomspace(1, steps, 12)})


def drift(found, factor):
    """Distance from BN's weights at the marks, as gradient descent goes on without BN."""
    bare, path = found.folded(), []

    def loss(output, labels):
        paid = penalty(bare[0].weight, factor * found.rates, found.cov)
        return read_out_decayed(bare, output, labels) + paid

    def observe(step, _):
        if step in marks:
            path.append(distance(bare[0].weight.detach(), found.weights))

    everything = repeat((found.inputs, found.labels), steps)
    training.fit(bare, everything, loss, learning_rate=0.05, observe=observe)
    return path


kept = {"all": 1.0, "half": 0.5, "none": 0.0}
drifts = {
    name: np.array([drift(found, factor) for found in resting.values()])
    for name, factor in kept.items()
}

# %% tags=["hide-input"]
picture = Picture(height=3.4)
for name, color in (("none", "none"), ("half", "signal"), ("all", "batch")):
    picture[0].band(marks, drifts[name], f"{name} of the penalty", color, scale="log")
picture[0].set(
    xscale="log",
    yscale="log",
    xlabel="steps without BN",
    ylabel="distance from BN's weights",
    legend=True,
)
picture.show(
    says="After BN is folded away the network stays if it pays what BN had charged, and leaves if it"
    " pays half or nothing. (Means and intervals are those of the logarithm.)",
    source=network_source,
    name="removed-drift",
)

# %% tags=["hide-input"]
left_behind = [
    check(
        "stationarity",
        f"Network with a hidden layer, gradient descent after BN is removed: distance at {name} of the"
        " penalty over that at all of it",
        drifts[name][:, -1] / drifts["all"][:, -1],
        100.0,
        kind="empirical",
        relation="above",
        scale="log",
        source=network_source,
    )
    for name in ("half", "none")
]
moved = "A hidden layer freed of BN that pays its rates has moved by {all:.0e} of its length after"
moved += " {taken} steps, one that pays half by {half:.2g}, one that pays nothing by {none:.2g}"
finding(
    {
        "borne out": moved + ".",
        "not borne out": moved + ": paying makes less than a hundredfold difference.",
        "mixed": moved + "; {held} of {count} comparisons show a hundredfold difference beyond"
        " doubt.",
    },
    *left_behind,
    taken=steps,
    **{name: np.exp(np.log(path[:, -1]).mean()) for name, path in drifts.items()},
)

# %% [markdown]
# The curve at all of the penalty starts at the rounding that was left of the gradient. Rest is
# not stability: if the point were a saddle of the problem without BN, that curve would in the end
# grow, exponentially.
#
# ## What it means for your network
#
# - A folded network in use is near its ellipsoids, not on them: compare $v'\Sigma v$ with
#   $\gamma^2$ on new data before you rely on the constraint there.
# - You can take BN out of a network that is at rest, if you go on paying
#   $\tfrac{\lambda_k}{2} v_k'\Sigma v_k$ with the rates that `bnlib.measure` reads, and no rate is
#   negative. If you fold it and go on training without paying, the weights leave at once.
# - A read-out with BN and fixed $\gamma$ is Tikhonov regression. Whoever wants it can have it
#   without BN, and with rates of their own choice.
#
# ## What we learned

# %% tags=["hide-input"]
typical = {name: np.exp(np.log(gap).mean()) for name, gap in gaps.items()}
drifted = {name: np.exp(np.log(path[:, -1]).mean()) for name, path in drifts.items()}
sentence(
    f"In use, on test digits, the output variance of units is {min(one.measured for one in in_use):.1%} to"
    f" {max(one.measured for one in in_use):.1%} of γ², layer by layer. A softmax read-out without BN that"
    f" pays BN's rates has BN's weights to {typical['same']:.0e} of their length; with half, twice or none"
    f" of them it ends {typical['half']:.2f}, {typical['twice']:.2f} and {typical['none']:.1f} lengths away."
    f" In a network with a hidden layer, {steps} steps without BN move the weights by"
    f" {drifted['all']:.0e} of their length if all rates are paid, by {drifted['half']:.2f} if half of them"
    f" are, and by {drifted['none']:.2f} if none is. "
    + " ".join(
        f"At γ = {scale:g} the ten rates of the read-out are all positive."
        if kept
        else f"At γ = {scale:g} some are negative."
        for scale, kept in (
            (max((s for s, kept in all_positive.items() if kept), default=None), True),
            (min((s for s, kept in all_positive.items() if not kept), default=None), False),
        )
        if scale is not None
    )
)

# %% [markdown]
# - In a trained network every normalized unit is on the ellipsoid that the batch draws, exactly;
#   in use, with running averages, only about.
# - The length of the effective weights is in the box that $\Sigma$ sets. The box alone says
#   little: it is wide.
# - A normalized softmax read-out *is* Tikhonov-regularized softmax regression. With the rates
#   kept BN can go; with other rates the weights are others.
# - In a network at rest BN can go as well, while the rates are paid.
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
#
# ## Exercises
#
# **1. Derive.** For least squares, one unit: how far from BN's weights does the unit without BN end that
# pays $f\lambda$? Why does nothing of the data but $\lambda$ enter?
#
# :::{dropdown} Solution
# At rest with BN $(1 + \lambda)\Sigma v = c$ ({prf:ref}`thm-least-squares`), and the unit that pays
# $f\lambda$ has $(1 + f\lambda)\Sigma v_f = c$. So, where the data vary,
# $v_f = \frac{1 + \lambda}{1 + f\lambda}\, v$, and its relative distance from $v$ is
# $\frac{\lvert 1 - f\rvert\,\lambda}{1 + f\lambda}$ for $\lambda \ge 0$, $f \ge 0$. The penalty $v'\Sigma v$ has
# the shape of the loss itself, so it changes the length of the solution and not its direction. For
# a softmax the shapes differ, and the weights turn as well.
# :::
#
# **2. Run.** In the table some class turns negative between two values of $\gamma$. Set `gammas` to close
# in on the $\gamma$ where it happens. What is $\lambda$ of that class there, and what would a learned
# $\gamma_k$, one for each class, do?
#
# :::{dropdown} Solution
# It passes through 0: the rate is $-(\partial J/\partial\gamma_k)/\gamma_k$, so at that $\gamma$ the loss
# does not mind the scale of this class, to first order. A learned $\gamma_k$ goes to where its own
# rate is 0, class by class ({prf:ref}`thm-stationarity`), which is why this chapter holds $\gamma$
# fixed: with $\lambda_k = 0$ there is nothing to keep.
# :::
