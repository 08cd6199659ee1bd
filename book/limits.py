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
# # Where it stops
#
# Builds on {doc}`rate`, {doc}`stationarity`, {doc}`depth`, {doc}`minibatch` and {doc}`digits`.
# After it you know six conclusions that the theorems do not allow.
#
# The theorems of this book are exact, and so it is easy to take from them more than they say. What
# do they not say? Here are six limits, one at a time, with a number or a picture to each: how far
# a real network is from a stationary point, how many rates are negative, what regularizes when the
# rate is zero, what an L2-equivalent rate leaves out, how far "auto-tuned" is from "optimal", and
# what nobody has proved. Each ends with a word of advice for a network of your own.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k": see bnlib.data.load
seeds = [0, 1, 2]  # of initial weights and batches
hidden = [64, 64]  # units in each hidden layer
epochs = 1  # passes over the training digits
components = 64  # principal components of the digits, for the read-outs
rows = 5000  # training images that the read-outs draw from, at most
digit = 3  # the read-outs say: is it this digit?
few = 150  # training digits of the read-out that is short of data
read_out_steps = 700  # of gradient descent
draws = 20  # of batches, for the read-out that is short of data
subsets = 12  # random subsets of the digits, for the closed forms

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import bnlib
from bnlib import data, meter, models, theory, training
from bnlib.moments import Moments
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding, sentence, table
from companion.records import Source, name_of
from companion.studies.identities import walk
from companion.studies.read_out import read_out

on = name_of(dataset)
digits = read_out(dataset, digit, components, rows)
some = slice(0, 3000)  # training digits that are looked at
x = torch.from_numpy(training.standardize(digits.dataset)["train"])
y = torch.from_numpy(digits.dataset.train.labels)

# %% [markdown]
# The first limits are measured on one kind of network: digits in, two hidden layers with batch
# normalization (BN), cross-entropy, SGD with momentum on mini-batches of 128 and a step that falls
# to zero. It is trained with $\gamma$ learned, as usual, and with $\gamma = 1$ held fixed. Along
# the way we stop, put the training digits through as one batch, and look at every unit.

# %% tags=["hide-input"]
batches_an_epoch = len(x) // 128
total_steps = epochs * batches_an_epoch
looks = np.unique(np.geomspace(1, total_steps + 1, 8).round().astype(int)) - 1


def look(network):
    """For every BN layer: rate, share of the gradient left, angle and strength of each unit."""
    return [
        {
            "rate": layer.rate,
            "left": layer.left,
            "angle": layer.angle,
            "rho": (layer.v * layer.normal).sum(axis=1) / np.square(layer.v).sum(axis=1),
        }
        for layer in walk(network, x[some], y[some])
    ]


def train(seed, gamma=None):
    network, history = models.network((784, *hidden, 10), gamma=gamma, seed=seed), []
    training.fit(
        network,
        training.batches(x, y, 128, epochs, [seed]),
        cross_entropy,
        lambda step: 0.1 * (1 - step / total_steps),
        momentum=0.9,
        observe=lambda step, model: history.append(look(model)) if step in looks else None,
    )
    return network, history


learned = [train(seed) for seed in seeds]
fixed = [train(seed, gamma=1.0) for seed in seeds]
widths = "-".join(map(str, (784, *hidden, 10)))
where = Source(dataset, len(x), seeds, {"network": widths, "epochs": epochs, "batch_size": 128})


def collect(runs, layer, what):
    """Shape (seeds, looks, units)."""
    return np.array([[each[layer][what] for each in history] for _, history in runs])


# %% [markdown]
# ## Training does not come to rest
#
# {prf:ref}`thm-stationarity` speaks of stationary points. There $\nabla_v L + \lambda\Sigma v = 0$:
# the whole plain gradient is balanced by BN's penalty. At any other point something is left. We
# measure it as a share, $\lvert\nabla_v L + \lambda\Sigma v\rvert / \lvert\nabla_v L\rvert$, between
# 0, at rest, and about 1, where the penalty balances nothing.
#
# For contrast, a problem that does head for rest: one unit, fixed $\gamma$, principal components
# for inputs, one batch, as in {doc}`digits`.

# %% tags=["hide-input"]
shown = np.unique(np.geomspace(1, read_out_steps, 60).round().astype(int)) - 1


def paths_of_unit(
    X, t, look, gamma=None, batch=None, noise=0.0, rate=0.1, kind="batch", start=1.0, seed=0
):
    """One unit by gradient descent: what `look` finds in it at the steps `shown`."""
    settings = {"gamma": gamma, "eps": 1e-30, "seed": 0, "dtype": torch.float64}
    network = models.network((components, 1), kind, normalize_output=True, **settings)
    if kind == "none":  # at start = 1 the function that BN starts with
        w = network[0].weight.data
        w *= start / (torch.from_numpy(X) @ w.T).std(correction=0)
        network[0].bias.data = -w @ torch.from_numpy(X.mean(axis=0))
    rng, found = np.random.default_rng(seed), []

    def batches():
        for _ in range(read_out_steps):
            rows = rng.permutation(len(X))[:batch] if batch else slice(None)
            seen = data.corrupt(X[rows], rng, noise) if noise else X[rows]
            yield torch.from_numpy(seen), torch.from_numpy(t[rows])

    training.fit(
        network,
        batches(),
        training.half_squared_error,
        lambda step: rate * (1 - step / read_out_steps),
        momentum=0.9,
        observe=lambda step, model: found.append(look(model)) if step in shown else None,
    )
    return found


def share_left(network):
    v = theory.effective_weights(network[0].weight.detach().numpy()[0], 0.5, digits.moments.cov)
    plain = digits.moments.cov @ v - digits.moments.cross
    balanced = plain + theory.rate(v, plain, 0.5) * digits.moments.cov @ v
    return np.linalg.norm(balanced) / np.linalg.norm(plain)


X, t = digits.inputs["train"], digits.target["train"]
resting = paths_of_unit(X, t, share_left, gamma=0.5, rate=0.3)

picture = Picture(height=3.4)
for runs, layer, color, name in (
    (fixed, 0, "batch", "hidden 1, γ fixed"),
    (learned, 0, "signal", "hidden 1, γ learned"),
    (fixed, 1, "l2", "hidden 2, γ fixed"),
    (learned, 1, "noise", "hidden 2, γ learned"),
):
    medians = np.median(collect(runs, layer, "left"), axis=2)
    picture[0].band(looks + 1, medians, name, color, scale="log")
picture[0].line(shown + 1, resting, "one unit, full batch", "none", "--")
picture[0].set(
    xscale="log",
    yscale="log",
    xlabel="gradient step, counted from 1",
    ylabel="share of the gradient left",
    legend={"fontsize": 9, "loc": "lower left"},
)
at_end = np.median(collect(fixed, 0, "left")[:, -1], axis=1)
picture.show(
    says="When training ends, the penalty balances little of a network's gradient."
    " Share of the gradient that the penalty does not balance, medians over units. When training"
    f" ends it is {at_end.mean():.0%} in the first layer of a network on mini-batches with γ fixed, and"
    f" {resting[-1]:.1%} in one unit on a full batch, which does head for rest.",
    source=where,
    name="limits-gradient-left",
)
not_at_rest = check(
    "stationarity",
    f"network on {on} after training, gamma fixed, first hidden layer: length of the gradient that"
    " the penalty leaves unbalanced, over that of the gradient, is above 0.1",
    measured=at_end,
    predicted=0.1,
    kind="empirical",
    relation="above",
    role="assumption",
    scale="log",
    source=where,
)
share = "{interval:.0%} of the gradient of a typical first-layer unit"
finding(
    {
        "borne out": f"A network on mini-batches does not come to rest: when training ends, {share}"
        " is not balanced by BN's penalty.",
        "not borne out": f"A network on mini-batches comes near rest: when training ends, {share} is"
        " not balanced by BN's penalty.",
        "undecided": f"Whether a network on mini-batches comes near rest these {{repetitions}} seeds"
        f" cannot say: when training ends, {share} is not balanced by BN's penalty.",
    },
    not_at_rest,
)
medians = {
    name: [np.median(np.abs(collect(runs, 0, "rate")[:, at])) for at in (0, -1)]
    for name, runs in (("fixed", fixed), ("learned", learned))
}
sentence(
    "Median |λ| in the first hidden layer: "
    + "; ".join(
        f"with γ {name} {start:.1e} at the start, {end:.1e} at the end"
        for name, (start, end) in medians.items()
    )
    + "."
)

# %% [markdown]
# A learned $\gamma$ would have $\lambda = 0$ at rest. But a small rate is no sign of rest: where a
# network fits its digits the whole gradient is small, and with $\gamma$ fixed rates get small too.
# What holds all the way is {prf:ref}`thm-rate`.
#
# **For your network:** quote the rate as what BN adds *to this step*. Call it a multiplier only if
# you have checked that the gradient is balanced.
#
# ## Negative rates do not regularize
#
# Where $\lambda < 0$ BN pushes the unit out instead of holding it in. How often is that? Five lines
# count, in any network:

# %%
network, _ = learned[0]
report = bnlib.measure(network, [(x[some], y[some])], cross_entropy)
for name, units in report.to_frame().groupby("linear"):
    print(f"layer {name}: {(units.rate < 0).mean():.0%} of {len(units)} rates are negative")

# %% [markdown]
# And over training, with all seeds:

# %% tags=["hide-input"]
negative = {
    name: np.stack(
        [(collect(runs, layer, "rate") < 0).mean(axis=2) for layer in range(len(hidden))], axis=-1
    )
    for name, runs in (("learned", learned), ("fixed", fixed))
}  # (seeds, looks, layers)
counts = pd.DataFrame(
    {
        f"γ {name}, {when}": shares[:, at].mean(axis=0)
        for name, shares in negative.items()
        for when, at in (("start", 0), ("end", -1))
    },
    index=[f"hidden {k + 1}" for k in range(len(hidden))],
)
table(counts.map("{:.0%}".format), "Share of units with a negative rate, mean over seeds.", where)

picture = Picture(1, 2, width=7.4, height=3.4)
left, right = picture
for layer, color in zip(range(len(hidden)), ("batch", "l2", "signal", "noise")):
    of_layer = negative["learned"][:, :, layer]
    left.band(looks + 1, of_layer, f"hidden {layer + 1}", color, scale="share")
    for at, style, when in ((0, ":", "start"), (-1, "-", "end")):
        rates = np.sort(collect(learned, layer, "rate")[0, at])
        rates /= np.abs(rates).mean()
        right.line(np.linspace(0, 1, len(rates)), rates, color=color, style=style, words=False)
        right.note(f"hidden {layer + 1}, {when}, from {rates[0]:.1f} to {rates[-1]:.1f}")
left.ax.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
left.set(
    xscale="log",
    ylim=(0, 1),
    xlabel="gradient step, counted from 1",
    title="share of units with λ < 0",
    legend=True,
)
right.ax.plot([], [], ":", color=INK, label="start")
right.ax.plot([], [], "-", color=INK, label="end")
right.ax.axhline(0, color=INK, linewidth=0.8)
right.set(xlabel="units, sorted", title="λ, in units of the mean |λ|", legend=True)
picture.show(
    says="With γ learned, rates of a layer that feeds another BN layer end on both sides of zero."
    " On the right one network. The first hidden layer feeds another BN layer, so its"
    f" rates balance around zero; when training ends {negative['learned'][:, -1, 0].mean():.0%} of"
    f" them are negative. The last one is free to be held in:"
    f" {negative['learned'][:, -1, -1].mean():.0%}.",
    source=where,
    name="limits-negative",
)

# %% [markdown]
# The first layer has no choice: behind it stands another BN layer, and {prf:ref}`thm-depth` makes
# its rates, weighted by $\gamma^2$, add up to what its shifts $\beta$ leave. A layer's mean rate near
# zero can hide strong rates of both signs.
#
# **For your network:** look at the sign unit by unit, `bnlib.measure(…).to_frame()`, before you
# speak of regularization at all.
#
# ## When the rate is zero, what regularizes?
#
# With a learned $\gamma$ and no decay the rate ends at zero ({prf:ref}`thm-stationarity`). Then BN
# adds no penalty to the loss that it was trained on. Three things remain, and none of them is the
# rate: small batches shift $\gamma$ ({prf:ref}`thm-minibatch`); noise on the inputs is charged at
# rate 1 ({prf:ref}`thm-noise`); and the *path* is another one, because BN's steps live on an
# ellipsoid. A read-out that is short of data shows all three. Its $\gamma$ is learned in every arm.
# (Without BN the step has to be ten times smaller, or the read-out diverges: BN tunes the
# {doc}`step <related>`, too.)

# %%
arms = {
    "no BN": {"kind": "none", "rate": 0.01},
    "no BN, from 0": {"kind": "none", "rate": 0.01, "start": 0.0},
    "BN, one batch": {},
    "BN, batches of 32": {"batch": 32, "rate": 0.01},
    "BN, input noise 1": {"noise": 1.0},
}

# %% tags=["hide-input"]
rows_few = np.random.default_rng(0).permutation(len(X))[:few]
X_few, t_few = X[rows_few], t[rows_few]
short = Moments.from_data(X_few, t_few)
few_source = Source(
    dataset, few, [0], {"components": components, "digit": digit, "steps": read_out_steps}
)


def error_on_test(mean, target_mean, noise_std=0.0):
    """The mean squared error on the test digits as a function of weights, their bias tied."""
    inputs, wanted = digits.inputs["test"] - mean, digits.target["test"] - target_mean
    second = inputs.T @ inputs / len(inputs) + noise_std**2 * np.eye(components)
    both, power = inputs.T @ wanted / len(inputs), np.mean(wanted**2)
    return lambda v: power - 2 * both @ v + v @ second @ v, both, second


test_error, *_ = error_on_test(short.mean, t_few.mean())


def folded(network):
    """Test error, and rate on the few clean digits, of the unit as it is."""
    linear = network[0].weight.detach().numpy()[0].copy()
    if len(network) == 1:
        return test_error(linear), np.nan
    gamma = network[1].weight.item()
    v = theory.effective_weights(linear, gamma, short.cov)
    return test_error(v), float(theory.rate(v, short.cov @ v - short.cross, gamma))


paths = {
    name: np.transpose(paths_of_unit(X_few, t_few, folded, **options))
    for name, options in arms.items()
}
least = np.linalg.solve(short.cov, short.cross)
wiener = np.linalg.solve(short.cov + np.eye(components), short.cross)
outcomes = {
    name: {
        "test error, best on the way": f"{errors.min():.3f}",
        "test error, at the end": f"{errors[-1]:.3f}",
        "λ at the end": "" if "no BN" in name else f"{rates[-1]:+.3f}".replace("-", "−"),
    }
    for name, (errors, rates) in paths.items()
}
table(pd.DataFrame(outcomes).T, f"Read-outs of {few} digits, γ learned.", few_source)

picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
colors = ("none", "none", "batch", "l2", "noise")
for (name, (errors, rates)), color in zip(paths.items(), colors):
    style = ":" if "from 0" in name else "-"
    left.line(1 + shown, errors, name, color, style, linewidth=1.6)
    if "no BN" not in name:
        right.line(1 + shown, rates, name, color, linewidth=1.6)
for weights, name in ((least, "least squares"), (wiener, "with the penalty ½|v|²")):
    left.level(test_error(weights))
    left.note(f"{name} would be at {test_error(weights):.2f}, dashed")
right.ax.axhline(0, color=INK, linewidth=0.8)
label = "gradient step, counted from 1"
left.set(
    xscale="log",
    xlabel=label,
    title="test error, share of the variance",
    ylim=(0.5, 1.6),
    legend={"fontsize": 9, "loc": "upper right"},
)
right.set(xscale="log", xlabel=label, title="rate λ on the clean digits", ylim=(-1.05, 1.05))
# least test error on the way, test error at the end, rate at the end
path_ends = {name: (errors.min(), errors[-1], rates[-1]) for name, (errors, rates) in paths.items()}
_, one_batch_error, one_batch_rate = path_ends["BN, one batch"]
picture.show(
    says="With a learned γ BN overfits one clean batch, and noise on the inputs prevents it."
    " Dashed: where plain least squares ends, overfitted (above), and with the penalty ½|v|², which"
    " input noise is (below). On one clean batch BN's rate ends at"
    f" {one_batch_rate:.0e} and its test error, {one_batch_error:.2f}, heads for the upper line; with"
    f" noise it ends at {path_ends['BN, input noise 1'][1]:.2f}. The path on small batches is a noisy"
    " one.",
    source=few_source,
    name="limits-learned-gamma",
)

# %% [markdown]
# A single run on small batches says little. Here are many, with a step as small as without BN:

# %% tags=["hide-input"]
left_by_batches = [
    paths_of_unit(X_few, t_few, folded, seed=seed, **arms["BN, batches of 32"])[-1][1]
    for seed in range(draws)
]
by_batches = check(
    "minibatch",
    f"read-out of few images of {on} after training on batches of 32, gamma learned: the rate on all"
    " its clean training images is above 0",
    measured=left_by_batches,
    predicted=0.0,
    kind="empirical",
    relation="above",
    source=Source(dataset, few, range(draws), few_source.conditions | {"batch_size": 32}),
)
rate = "a rate of {interval:.3f}"
after = (
    "on its clean digits (the law for Gaussian data: {law:.3f}), where one batch leaves {one:.0e}"
)
finding(
    {
        "borne out": f"With γ learned the rate goes, but not all of it: training a read-out on batches"
        f" of 32 leaves {rate} {after}.",
        "not borne out": f"With γ learned the rate goes below zero: training a read-out on batches of"
        f" 32 leaves {rate} {after}.",
        "undecided": f"With γ learned the rate goes: training a read-out on batches of 32 leaves {rate}"
        f" {after}, and these {{repetitions}} seeds cannot tell it from zero.",
    },
    by_batches,
    one=abs(one_batch_rate),
    law=float(theory.minibatch_decay(32)),
)

# %% [markdown]
# And the paths? BN's $\gamma$ takes a random start away in all directions at once. Without BN it stays
# in those directions in which digits hardly vary, where no early stopping reaches it.

# %% tags=["hide-input"]
lowest, at_last, _ = zip(*(path_ends[name] for name in ("BN, one batch", "no BN", "no BN, from 0")))
sentence(
    f"Least test error on the way: {lowest[0]:.2f} with BN on one batch, {lowest[1]:.2f} without BN,"
    f" {lowest[2]:.2f} without BN from a start at zero. At the end all three are between"
    f" {min(at_last):.2f} and {max(at_last):.2f}."
)

# %% [markdown]
# And in the network? For least squares {prf:ref}`thm-minibatch` predicts the rate that batches of 128
# leave on the whole data. Cross-entropy is not least squares:

# %% tags=["hide-input"]
batches = list(zip(x.split(128), y.split(128)))[: min(batches_an_epoch, 100)]
last_rates = pd.DataFrame(
    {
        f"seed {seed}": {
            name: meter.measure(network, given, cross_entropy).by_layer()["rate"].iloc[-1]
            for name, given in (
                ("on batches of 128", batches),
                ("on the whole", [(x[some], y[some])]),
            )
        }
        for seed, (network, _) in zip(seeds, learned)
    }
).T
law = float(theory.minibatch_decay(128))
shown_rates = last_rates.map("{:+.1e}".format)
shown_rates.loc["the law for least squares"] = ["", f"{law:+.1e}"]
table(
    shown_rates.replace("-", "−", regex=True),
    "Mean λ of the last hidden layer after training, γ learned.",
    where,
)
sentence(
    f"The law for least squares, {law:.1e}, is {law / last_rates['on the whole'].mean():.1f} times the"
    " mean rate on the whole."
)

# %% [markdown]
# Nothing says that the law should hold here: the network is not at rest, and a rate is in units of
# the loss, which is nearly flat where the training digits are fitted.
#
# **For your network:** with learned $\gamma$ and no decay do not credit the rate with what
# generalizes. If you want one, put weight decay on $\gamma$; it is a rate by
# {prf:ref}`thm-stationarity`.
#
# ## An L2-equivalent rate is equivalent along one direction
#
# $\alpha$ is the weight decay whose pull has the same component *along* $v$. BN's pull does not
# point along $v$; it points along $\Sigma v$. On real data these are different directions.

# %% tags=["hide-input"]
angles = {layer: collect(learned, layer, "angle") for layer in range(len(hidden))}
picture = Picture(1, 2, width=7.4, height=3.4)
left, right = picture
for layer, color in zip(angles, ("batch", "l2", "signal", "noise")):
    common = {"bins": np.arange(0, 91, 3), "color": COLORS[color]}
    ends, starts = angles[layer][:, -1].ravel(), angles[layer][:, 0].ravel()
    left.ax.hist(ends, alpha=0.6, label=f"hidden {layer + 1}, end", **common)
    left.ax.hist(starts, histtype="step", linestyle=":", linewidth=1.6, **common)
    left.note(
        f"hidden {layer + 1}, median {np.median(starts):.0f} at the start and"
        f" {np.median(ends):.0f} at the end"
    )
left.ax.plot([], [], ":", color=INK, label="start")
left.set(
    xlabel="angle between Σv and v, degrees",
    title="units",
    xlim=(0, 90),
    legend={"fontsize": 9},
)
variances = digits.pixels.spectrum[0][::-1]
relative = variances[variances > 0] / np.median(collect(learned, 0, "rho")[:, -1])
stronger = int((relative > 1).sum())
right.line(1 + np.arange(len(relative)), relative, "BN: λ sᵢ / α", "batch")
right.level(1, "weight decay", "l2", "-")
right.set(
    xscale="log",
    yscale="log",
    xlabel="principal direction of the digits",
    title="rate by direction",
    ylim=(1e-6, None),
    legend={"loc": "lower left"},
)
picture.show(
    says="What BN adds and what weight decay adds point in different directions."
    " Left: the angle between them. Right: for a"
    f" typical unit of the first layer BN holds {stronger} directions harder than α says, the"
    f" strongest {relative[0]:.0f} times, and {(np.asarray(relative) < 0.01).sum()} less than a hundredth as hard.",
    source=where,
    name="limits-angle",
)
apart = check(
    "rate",
    f"network on {on} after training, first hidden layer: median angle between BN's penalty Sigma v"
    " and weight decay's v, degrees, is above 45",
    measured=np.median(angles[0][:, -1], axis=1),
    predicted=45.0,
    kind="empirical",
    relation="above",
    scale="angle",
    source=where,
)
angle = "{interval:.0f} degrees"
finding(
    {
        "borne out": "BN's penalty and weight decay pull in different directions: in a typical"
        f" first-layer unit the two are {angle} apart.",
        "not borne out": "BN's penalty and weight decay pull less than half a right angle apart: in a"
        f" typical first-layer unit {angle}.",
        "undecided": "BN's penalty and weight decay pull about half a right angle apart: in a typical"
        f" first-layer unit {angle}.",
    },
    apart,
)

# %% [markdown]
# **For your network:** use $\alpha$ to compare *sizes* with a `weight_decay` that you would have
# set. Do not replace BN by that weight decay and expect the same network.
#
# ## Auto-tuned is not optimal
#
# Back to least squares, where everything is in closed form. The read-out sees $n$ training digits
# and noise of standard deviation $\sigma$ on its inputs; the noise is averaged exactly. With fixed
# $\gamma$ BN sets $1 + \lambda = \kappa/\gamma$. Along the same penalty, which rate would have been
# best on the *test* digits? With $f$ the output of the fit without BN, it is
# $1 + \lambda^* = \operatorname E[f^2]/\operatorname E[f t]$ over the test digits and their noise, and
# the $\gamma$ that would have set it is $\gamma^* = \kappa/(1 + \lambda^*)$. So BN is as far from the
# best as $\gamma$ is from $\gamma^*$. Does one $\gamma$ serve, as data and noise change? (Whatever is
# called "best" below has seen the test digits: it is a bound, not a method.)

# %% tags=["hide-input"]
identity = np.eye(components)


def fits(n, noise_std, seed):
    """Fit on n digits: kappa, gamma*, and test errors of the families."""
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    sample = Moments.from_data(X[rows], t[rows])
    noisy = sample.with_noise(noise_std=noise_std)
    free = np.linalg.solve(noisy.cov, noisy.cross)
    kappa = np.sqrt(noisy.cross @ free)
    error, both, second = error_on_test(sample.mean, t[rows].mean(), noise_std)
    best_scale = both @ free / (free @ second @ free)  # 1/(1 + lambda*)

    ridge = min(
        error(np.linalg.solve(noisy.cov + decay * identity, noisy.cross))
        for decay in np.geomspace(1e-2, 300, 30)
    )
    return {
        "kappa": kappa,
        "gamma_best": kappa * best_scale,
        "error": lambda gamma: error(gamma / kappa * free),
        "free": error(free),
        "ridge": ridge,
    }


sizes = [100, 140, 200, 400, 800, 1600, 3000]
noise_stds = [0.0, 0.5, 1.0, 2.0, 4.0, 6.0]
by_size = [[fits(n, 0.0, seed) for n in sizes] for seed in range(subsets)]
by_noise = [fits(sizes[-1], std, 0) for std in noise_stds]
tuned = by_noise[0]["gamma_best"]


def table_of(cells, what):
    return np.array([[what(cell) for cell in row] for row in cells])


picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
rates_by = {}
for panel, cells, at in ((left, by_size, sizes), (right, [by_noise], noise_stds)):
    rate_set = table_of(cells, lambda cell: cell["kappa"] / tuned - 1)
    rate_best = table_of(cells, lambda cell: cell["kappa"] / cell["gamma_best"] - 1)
    rates_by[panel] = rate_set, rate_best
    panel.band(at, rate_set, "set by BN, γ fixed", "batch")
    panel.band(at, rate_best, "best on the test digits", "l2", marker="s")
    panel.ax.axhline(0, color=INK, linewidth=0.8)
left.set(xscale="log", xlabel="training digits, no noise", title="rate λ", legend={"fontsize": 9})
right.set(xlabel=f"noise_std σ, {sizes[-1]:,} training digits", title="rate λ")
closed = Source(dataset, None, range(subsets), {"components": components, "digit": digit})
few_set, few_best = (rates[:, 0].mean() for rates in rates_by[left])
noisy_set, noisy_best = (rates[0, -1] for rates in rates_by[right])
picture.show(
    says="A γ that was best for many clean digits is not for few or noisy ones."
    f" One γ = {tuned:.2f}, the best for {sizes[-1]:,} clean digits, then kept. Left: with"
    f" {sizes[0]} digits BN sets {few_set:.2f} and {few_best:.2f} is best. Right, one subset: at noise"
    f" {noise_stds[-1]:g} BN sets {noisy_set:.2f} and {noisy_best:.2f} is best. Below zero BN inflates.",
    source=closed,
    name="limits-one-gamma",
)

# %% [markdown]
# Noise is a penalty of its own, and once it is strong little needs to be added: the best rate is near
# 0, which is where a *learned* $\gamma$ goes. A fixed $\gamma$ insists on its variance and fills it
# with noise.

# %% tags=["hide-input"]
picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
scales = np.linspace(0.05, 1.1, 60)
for k, color in zip((1, 2, len(sizes) - 1), ("noise", "signal", "batch")):
    curve = np.mean([[row[k]["error"](g) for g in scales] for row in by_size], axis=0)
    left.line(scales, curve, f"{sizes[k]:,} digits", color)
    left.dots(scales[curve.argmin()], curve.min(), color=color, words=False)
left.ax.axvline(tuned, color=INK, linewidth=1, linestyle=":")
left.set(xlabel="γ", title="test error, share of the variance", legend={"fontsize": 9})
families = {
    "no regularization": (lambda cell: cell["free"], "none", "o"),
    "BN, γ fixed": (lambda cell: cell["error"](tuned), "batch", "o"),
    "BN, best γ": (lambda cell: cell["error"](cell["gamma_best"]), "signal", "o"),
    "weight decay, best": (lambda cell: cell["ridge"], "l2", "s"),
}
errors = {name: table_of(by_size, what) for name, (what, _, _) in families.items()}
for name, (_, color, marker) in families.items():
    right.band(sizes, errors[name], name, color, marker=marker, scale="log")
right.set(
    xscale="log",
    xlabel="training digits",
    title="test error",
    ylim=(0.45, 1.6),
    legend={"fontsize": 9},
)
picture.show(
    says="BN rescales a fit to few digits and cannot turn it, as weight decay does."
    " Left: the best γ (dots) for three amounts of data; dotted: the one that is kept. Right: what"
    " each way makes of few digits. Without noise BN's penalty rescales the fit but cannot turn it, as"
    " weight decay does.",
    source=closed,
    name="limits-test-error",
)
table(
    pd.DataFrame({name: values.mean(axis=0) for name, values in errors.items()}, index=sizes)
    .rename_axis("digits")
    .round(3),
    "Test error, share of the variance, mean over subsets, by training digits.",
    closed,
)

# %% [markdown]
# With plenty of data all agree, because nothing needs to be regularized. Where data are shortest, is
# BN at a fixed $\gamma$ worse than the best weight decay?

# %% tags=["hide-input"]
at_few = {name: values[:, 0] for name, values in errors.items()}
price = check(
    "least-squares",
    f"read-out of {sizes[0]} images of {on} in closed form: test error with BN at one gamma over that"
    " with the weight decay that is best on the test images, is above 1",
    measured=at_few["BN, γ fixed"] / at_few["weight decay, best"],
    predicted=1.0,
    kind="empirical",
    relation="above",
    scale="log",
    source=Source(dataset, sizes[0], range(subsets), closed.conditions),
)
of_few = (
    " With {few} digits its test error is {interval:.2f} times that of the best weight decay; no"
    " regularization has {free:.2f} times that."
)
finding(
    {
        "borne out": "Auto-tuned is not optimal: one γ that suits many digits does not suit few."
        + of_few,
        "not borne out": "One γ that suits many digits does better on few than a search." + of_few,
        "undecided": "Whether one γ that suits many digits suits few, {repetitions} subsets cannot say."
        + of_few,
    },
    price,
    few=sizes[0],
    free=float(np.exp(np.log(at_few["no regularization"] / at_few["weight decay, best"]).mean())),
)

# %% [markdown]
# {doc}`noise-sweep` asks the same of a network, with verdicts of its own.
#
# **For your network:** auto-tuned spares you the units of the inputs, not the choice. If data are
# short, still search: over weight decay, or over $\gamma$ and its decay.
#
# ## What is not proved
#
# {prf:ref}`thm-rate` is about the gradient, so it holds whatever the optimizer does with it. The
# bookkeeping of lengths and turns ({prf:ref}`thm-depth`, part 3) is about the *step*, and needs plain
# gradient descent: there a step is orthogonal to $w$. Is it, elsewhere?

# %%
optimizers = {
    "plain SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum 0.9": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}


def cosines(network, optimizer, inputs, labels):
    """Mean |cosine| of step and w; the loop is by hand because the optimizer is the subject."""
    w, along = network[0].weight, []
    for _ in range(20):
        optimizer.zero_grad()
        cross_entropy(network(inputs), labels).backward()
        before = w.detach().clone()
        optimizer.step()
        along.append(torch.cosine_similarity(w.detach() - before, before, dim=1).abs())
    return float(torch.stack(along).mean())


# %% tags=["hide-input"]
inputs, labels = x[:256].double(), y[:256]
network_256 = Source(dataset, len(inputs), [0], {"network": "784-32-10", "steps": 20})
rates_found, along_w = [], {}
for name, make in optimizers.items():
    network = models.network((784, 32, 10), eps=1e-30, seed=0, dtype=torch.float64)
    along_w[name] = cosines(network, make(network.parameters()), inputs, labels)
    rates_found.append(
        check(
            "rate",
            f"digits, 20 steps of {name}: rates from bnlib.meter against those of the folded network",
            measured=meter.measure(network, [(inputs, labels)], cross_entropy).rate,
            predicted=walk(network, inputs, labels)[0].rate,
            tolerance=1e-11,
            source=network_256,
        )
    )
finding(
    "The rate holds under plain SGD, momentum and Adam alike, to {worst:.0e}; that a step is orthogonal"
    " to w does not: its |cosine| with w is {plain:.0e} under plain SGD, {momentum:.2f} with momentum and"
    " {adam:.2f} under Adam.",
    *rates_found,
    **dict(zip(("plain", "momentum", "adam"), along_w.values())),
)

# %% [markdown]
# The rate does not care; the orthogonality is gone. {doc}`momentum` has what is left of it on average.
# Beyond that, this book has not shown, and others have in part:
#
# - *Training dynamics at depth.* {prf:ref}`thm-depth` freezes everything but one layer. How the rates
#   of several layers act on each other while all move is measured in {doc}`depth`, not proved
#   {cite:p}`lobacheva2021,kodryan2022`.
# - *Generalization.* A penalty at a rate is not yet a bound on the test error. No theorem here
#   mentions the test set {cite:p}`luo2018`.
# - *Mini-batches beyond least squares.* {prf:ref}`cor-any-loss` has the leading order for smooth losses
#   above one layer. For a ReLU's kink, for two layers of BN and for small batches there is no formula.
# - *Momentum and adaptive optimizers.* Where they converge to, among many minima, and whether BN's
#   rate changes that {cite:p}`kosson2023,cao2023`.
# - *Other normalizations.* Layer normalization normalizes a row over its units. It has no $\Sigma$ of
#   the data in it. The gauge carries over, for the whole layer ({doc}`depth`), and with it
#   {doc}`momentum`; the ellipsoid and what noise and batches do to it do not.
#
# **For your network:** measure. One backward pass gives the rates, whatever optimizer and depth, and
# no theorem has to be believed.
#
# ## What it means for your network
#
# Before you say that BN regularizes, four questions, in this order. Is the gradient balanced? What
# sign has the rate, unit by unit? Is $\gamma$ learned without decay, so that small batches and noise
# do the work? Would a search over weight decay on validation data do better? `bnlib.measure` answers
# the second in one backward pass; the others take a training each.
#
# ## What we learned

# %% tags=["hide-input"]
first, last = (negative["learned"][:, -1, layer].mean() for layer in (0, -1))
sentence(
    f"When training ended, {not_at_rest.measured:.0%} of a first-layer unit's gradient was not balanced"
    f" by the penalty. {first:.0%} of the rates in the first hidden layer and {last:.0%} in the last"
    f" were negative. With γ learned, one batch left a rate of {abs(one_batch_rate):.0e} and batches of"
    f" 32 one of {by_batches.measured:.3f}. BN's pull and that of weight decay were"
    f" {apart.measured:.0f} degrees apart. One γ kept for all set {few_set:.2f} on {sizes[0]} digits,"
    f" where {few_best:.2f} was best, and {noisy_set:.2f} at noise {noise_stds[-1]:g}, where"
    f" {noisy_best:.2f} was."
)

# %% [markdown]
# - Rates describe steps. They describe solutions only where the gradient is balanced.
# - Negative rates do not regularize, and layers that feed another BN layer cannot do without them.
# - A learned $\gamma$ ends without a rate; what is left then are batch size, noise and path.
# - BN's pull points along $\Sigma v$. L2-equivalent means equivalent along $v$.
# - Auto-tuned is not optimal.
#
# ## Where it stops
#
# - So does this chapter. Its numbers are of one data set, small networks, and few seeds.
# - The share of the gradient that is left depends on the coordinates of the inputs, as gradients do.
#   The rate does not.
#
# ## Exercises
#
# **1. Derive.** Show that $1 + \lambda^* = \operatorname E[f^2]/\operatorname E[ft]$ is the best rate along BN's
# penalty, and that it is 0 where the fit $f$ is the conditional mean of $t$. When is it negative?
#
# :::{dropdown} Solution
# With the rate $\lambda$ the output is $sf$ with $s = 1/(1 + \lambda)$ ({prf:ref}`thm-least-squares`), all
# centred. $\operatorname E(t - sf)^2 = \operatorname E t^2 - 2s\operatorname E[ft] + s^2\operatorname E[f^2]$
# is smallest at $s = \operatorname E[ft]/\operatorname E[f^2]$. If $f = \operatorname E[t \mid x]$, then
# $\operatorname E[ft] = \operatorname E[f^2]$ and $\lambda^* = 0$: with all the data there is nothing to
# regularize. It is negative where $\operatorname E[ft] > \operatorname E[f^2]$, where the fit is too short
# on new data, as one that was fitted under more noise than it meets.
# :::
#
# **2. Run.** Set `hidden = [64, 64, 64]`. Before you run it: in which layers will about half of the rates be
# negative at the end?
#
# :::{dropdown} Solution
# In the first and the second. Both feed another BN layer, so by {prf:ref}`thm-depth` their rates,
# weighted by $\gamma^2$, balance but for what the shifts leave. Only the third is free to be held in.
# :::
