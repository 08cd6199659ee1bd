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
# # Layer by layer, through training
#
# Batch normalization (BN) gives every unit of every layer a rate of its own, exactly and at every
# step: that is {prf:ref}`thm-depth`. It does not say how large these rates are, whether they grow
# with depth, or what becomes of them as a network learns. {doc}`The chapter on depth <depth>` had
# a first look. Here are a network with three hidden layers and a small convolutional one, on clean
# and on noisy digits, watched from the first step to the last. At every look the identities are
# checked again, on the very network that is being trained.

# %% tags=["parameters"]
dataset = "mnist-5k"  # or "mnist", "fashion-mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
hidden = [100, 100, 100]  # units of the hidden layers
channels = [8, 16]  # of the convolutional network
epochs = 8  # of the network with hidden layers
conv_images = 2048  # images that the convolutional network is trained on
conv_epochs = 3  # passes over them: a step costs ten times as much
conv_learning_rate = 0.02  # smaller, since its read-out sees many large features
noise_stds = [0.0, 1.0]  # of the Gaussian noise, in standard deviations of the pixels
looks = 7  # at each training, on a logarithmic scale
looked_at = 30  # batches of 128 that every look measures, half and half; a fifth for convolutions

# %%
import copy
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from bnlib import data, meter, models, training
from companion import figures, page, statistics

torch.set_num_threads(1)
digits = data.load(dataset)
inputs = training.standardize(digits)["train"]
labels = digits.train.labels
cross_entropy = nn.functional.cross_entropy

# %% [markdown]
# Each training is looked at on one fixed set of batches, noise included, that is the same at every
# look. The meter reads the rates of all units twice, from halves that share no batch: a rate is a
# small mean of scattered gradients, and what the two readings do not agree on is chance. One batch
# more, in float64, is for the identities: torch's own gradients on one side, what
# {prf:ref}`thm-depth` makes of them on the other.


# %% tags=["hide-input"]
def identities(model, x, target):
    """Both sides of parts 2 and 5 of the theorem and of the meter, from autograd; in one row."""
    model = copy.deepcopy(model).double().train()
    pairs = [
        (index, layer, norm)
        for index, (layer, norm) in enumerate(pairwise(model))
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    ]
    cross_entropy(model(x), target).backward()
    radial, gauge, scale, balance = [], [], [], []
    for index, layer, norm in pairs:
        with torch.no_grad():
            z = layer(model[:index](x)).movedim(1, -1).flatten(0, -2)  # (rows, units)
            q = z.var(dim=0, unbiased=False)
            w, grad = layer.weight.flatten(1), layer.weight.grad.flatten(1)
            pull, shift = norm.weight * norm.weight.grad, norm.bias * norm.bias.grad
            radial.append((w * grad).sum(dim=1).numpy())
            gauge.append((norm.eps / (q + norm.eps) * pull).numpy())
            scale.append((w.norm(dim=1) * grad.norm(dim=1)).clamp(min=1e-300).numpy())
            size = max(float(pull.abs().sum() + shift.abs().sum()), 1e-300)
            balance.append((float((pull + shift).sum()), size))
    rates = [(-norm.weight.grad / norm.weight).detach().numpy() for _, _, norm in pairs]
    report = meter.measure(model, [(x, target)], cross_entropy)
    cosine = np.concatenate(radial) / np.concatenate(scale)
    by_gauge = np.concatenate(gauge) / np.concatenate(scale)
    own, sizes = np.transpose(balance[:-1])
    carried = np.array([terms.sum() for terms in gauge[1:]])
    return {
        "gauge": (cosine, by_gauge),
        "balance": (own / sizes, carried / sizes),
        "meter": (report.rate, np.concatenate(rates)),
    }


def watched(model, images, targets, schedule, seed, noise_std, number):
    """Train; return the steps looked at, two reports for each, and both sides of the identities."""
    steps = schedule.steps(len(images))
    at = np.unique(np.geomspace(1, steps + 1, looks).round().astype(int)) - 1
    drawn = training.batches(images, targets, schedule.batch_size, number, [seed, 3], noise_std)
    fixed = [batch for batch, _ in zip(drawn, range(number))]
    reports, sides = [], []

    def observe(step, model):
        if step in at:
            reports.append([meter.measure(model, fixed[half::2], cross_entropy) for half in (0, 1)])
            sides.append(identities(model, fixed[0][0].double(), fixed[0][1]))

    training.train_alone(model, images, targets, schedule, seed, noise_std=noise_std, observe=observe)
    return at, reports, sides


# %% tags=["hide-input", "remove-stderr"]
kinds = {
    "three hidden layers": (
        lambda seed: models.network((784, *hidden, 10), seed=seed),
        slice(None),
        training.Schedule(epochs=epochs),
        looked_at,
    ),
    "convolutional": (
        lambda seed: models.convolutional(channels, seed=seed),
        slice(conv_images),
        training.Schedule(epochs=conv_epochs, learning_rate=conv_learning_rate),
        looked_at // 5,
    ),
}
histories = {}
for seed in tqdm(seeds, desc="trainings", unit="seed"):
    for kind, (make, part, schedule, number) in kinds.items():
        for noise_std in noise_stds:
            histories[kind, noise_std, seed] = watched(
                make(seed), inputs[part], labels[part], schedule, seed, noise_std, number
            )

# %% [markdown]
# ## The identities, at every look
#
# The gauge:
# $w^\top\nabla_w J = \frac{\varepsilon}{q + \varepsilon}\gamma\,\partial J/\partial\gamma$, unit
# by unit; for a convolution $w$ is a flattened kernel and $q$ a variance over images and
# positions. The balance: in a layer that feeds another BN layer through a ReLU, and here also
# through max-pooling, which scales with its input too,
# $\sum_j\gamma_j\,\partial J/\partial\gamma_j + \beta_j\,\partial J/\partial\beta_j$ is the sum of
# the next layer's gauge terms. And the meter's rates are $-(1/\gamma)\,\partial J/\partial\gamma$.
#
# With $\varepsilon = 10^{-5}$ the first two say that numbers all but cancel. So they are compared
# in units of what cancels: of $\lvert w\rvert\,\lvert\nabla_w J\rvert$, and of the sum of the
# sizes of a layer's terms.

# %%
statements = {
    "gauge": "w'grad_w J minus the gauge term, in units of |w||grad_w J|, every unit",
    "balance": "gamma dJ/dgamma + beta dJ/dbeta of a layer minus the gauge terms of the next,"
    " in units of the sum of sizes",
    "meter": "rates from bnlib.meter against autograd's -(dJ/dgamma) / gamma",
}
for kind in kinds:
    for name, words in statements.items():
        both = [side[name] for key, (_, _, sides) in histories.items() if key[0] == kind for side in sides]
        found, expected = (np.concatenate(values) for values in zip(*both))
        relative = name == "meter"
        if not relative:
            print(f"{kind}, {name}: typical size {np.median(np.abs(expected)):.0e} in these units")
        page.check(
            "depth",
            f"{kind}, all layers, looks, noise levels and seeds: {words}",
            measured=found if relative else found - expected,
            predicted=expected if relative else np.zeros_like(expected),
            tolerance=1e-10,
        )

# %% [markdown]
# ## How large, and of which sign
#
# Most layers feed another BN layer. At the start, where every $\beta$ is zero, the balance forces
# their rates to cancel: some units are held in, others are pushed out. So look at signs and sizes
# apart. The size of a layer is the root mean square of its units' rates. As the mean of squares we
# take that of the *products* of the two readings, from which chance drops out: squares of a
# scattered reading would be too large, the more so the noisier the input.


# %% tags=["hide-input"]
def both_readings(first, second):
    """The frame of a report, its rates averaged over both readings, and the products of the two."""
    frame, other = first.to_frame(), second.to_frame()
    return frame.assign(rate=(frame.rate + other.rate) / 2, product=frame.rate * other.rate)


def through(kind, noise_std, what):
    """`what` of each layer at each look, (seeds, looks, layers)."""
    return np.array(
        [
            [
                [what(units) for _, units in both_readings(*reports).groupby("layer", sort=False)]
                for reports in histories[kind, noise_std, seed][1]
            ]
            for seed in seeds
        ]
    )


def size(units):
    """Root mean square of the rates; where the two readings do not agree at all, `nothing`."""
    return max(units["product"].mean(), nothing**2) ** 0.5


nothing = 1e-6  # far below every rate that can be told from zero here


def share_negative(units):
    return (units.rate < 0).mean()


def names_of(kind):
    return (
        [f"hidden {i + 1}" for i in range(len(hidden))]
        if kind == "three hidden layers"
        else [f"conv {i + 1}" for i in range(len(channels))]
    )


# %% tags=["hide-input"]
where = (
    f"{digits.title}: {len(inputs):,} images for {'-'.join(map(str, [784, *hidden, 10]))},"
    f" {min(conv_images, len(inputs)):,} for the convolutional network with {' and '.join(map(str, channels))} channels;"
    f" batches of 128, seeds {seeds}"
)
colors = [figures.COLORS[name] for name in ("batch", "l2", "signal", "noise", "theory")]
fig, axes = figures.figure(2, 2, height=5.6, sharex="row")
words = []
for row, kind in zip(axes, kinds):
    at = histories[kind, noise_stds[0], seeds[0]][0] + 1
    for noise_std, style in zip(noise_stds, ("-", "--")):
        for ax, what in zip(row, (size, share_negative)):
            for values, name, color in zip(np.moveaxis(through(kind, noise_std, what), 2, 0), names_of(kind), colors):
                label = name if style == "-" else None
                figures.band(ax, at, values, label, color, marker="", geometric=what is size)
                ax.lines[-1].set_linestyle(style)
        sizes = through(kind, noise_std, size).mean(axis=0)
        words.append(f"{kind}, noise {noise_std:g}, at the last look " + ", ".join(f"{v:.1e}" for v in sizes[-1]))
    row[0].set(xscale="log", yscale="log", title=f"{kind}: size of λ")
    row[1].set(ylim=(0, 1), title="share of units with λ < 0")
    row[1].axhline(0.5, color=figures.COLORS["none"], linewidth=1)
    row[0].legend(fontsize=9)
for ax in axes[-1]:
    ax.set_xlabel("step, counted from 1")
figures.show(
    fig,
    alt="Four panels, rates by layer against training step. Size of the rates, first to last layer with BN: "
    + "; ".join(words)
    + ". Beside it the share of units with a negative rate.",
    caption=f"Rates by layer from the first step to the last, both axes of the left panels logarithmic, means geometric. Solid: clean digits;"
    f" dashed: noise_std {noise_stds[-1]:g}. Right: how many units BN pushes out instead of holding in. Bands: 95 % interval.",
    source=where,
)

# %% [markdown]
# The numbers at the last look, with the L2-equivalent rate of the whole layer: the one
# `weight_decay` with the same total pull along the effective weights. It can be negative, and
# where the interval holds zero it has no sign to speak of.


# %%
def last(kind, noise_std, what):
    return through(kind, noise_std, what)[:, -1]  # (seeds, layers)


def last_l2_rate(kind, noise_std):
    last_readings = [histories[kind, noise_std, seed][1][-1] for seed in seeds]
    return np.array([np.mean([one.by_layer()["l2_rate"] for one in both], axis=0) for both in last_readings])


def decades(above, below):
    return np.log10(above / below)


# %% tags=["hide-input"]
entries = {}
for kind in kinds:
    for noise_std in noise_stds:
        for layer, name in enumerate(names_of(kind)):
            entries[f"{name}, noise {noise_std:g}"] = {
                "mean λ": statistics.as_text(last(kind, noise_std, lambda units: units.rate.mean())[:, layer], "{:+.1e}"),
                "size of λ": statistics.as_text(last(kind, noise_std, size)[:, layer], "{:.1e}"),
                "α of the layer": statistics.as_text(last_l2_rate(kind, noise_std)[:, layer], "{:+.1e}"),
                "λ < 0": statistics.as_text(last(kind, noise_std, share_negative)[:, layer], "{:.0%}"),
            }
page.table(pd.DataFrame(entries).T, "At the last step: means with 95 % intervals over seeds.", where)

# %% [markdown]
# ## Through training
#
# On clean digits: are the rates of the first layer smaller at the end than at the start? With a
# freely learned $\gamma$ they must be zero at rest; nothing says how near training comes.

# %%
clean, noisy = noise_stds[0], noise_stds[-1]
for kind in kinds:
    for noise_std in noise_stds:
        sizes = through(kind, noise_std, size)
        for layer, place in ((0, "first"), (-1, "last")):
            page.check(
                "depth",
                f"{kind}, {place} layer with BN, noise_std {noise_std:g}: log10 of the size of rates at the last step"
                " over that at the first",
                measured=decades(sizes[:, -1, layer], sizes[:, 0, layer]),
                predicted=0.0,
                kind="empirical",
                relation="below",
            )

# %% [markdown]
# ## With depth, and with noise
#
# Do deeper layers have larger rates, in size? And does noise on the input leave larger rates
# behind, in the first layer, which sees it directly, and in the last, which does not?

# %% tags=["hide-input"]
for kind in kinds:
    for noise_std in noise_stds:
        sizes = last(kind, noise_std, size)
        page.check(
            "depth",
            f"{kind}, noise_std {noise_std:g}, last step: log10 of the size of rates in the last layer with BN over the first",
            measured=decades(sizes[:, -1], sizes[:, 0]),
            predicted=0.0,
            kind="empirical",
            relation="above",
        )
    for layer, place in ((0, "first"), (-1, "last")):
        page.check(
            "depth",
            f"{kind}, {place} layer with BN, last step: log10 of the size of rates with noise_std {noisy:g} over that on"
            " clean digits",
            measured=decades(last(kind, noisy, size)[:, layer], last(kind, clean, size)[:, layer]),
            predicted=0.0,
            kind="empirical",
            relation="above",
        )

# %% [markdown]
# A size can grow because units are held in harder or because they are pushed out harder. Which of
# the two it is, the signs tell. The last layer is free of the balance. If BN regularizes there,
# most of its units have a positive rate.

# %%
for kind in kinds:
    for noise_std in noise_stds:
        page.check(
            "depth",
            f"{kind}, last layer with BN, noise_std {noise_std:g}, last step: share of units with a negative rate",
            measured=last(kind, noise_std, share_negative)[:, -1],
            predicted=0.5,
            kind="empirical",
            relation="below",
        )

# %% [markdown]
# ## What the balance leaves of a layer's mean
#
# Between BN layers the rates, weighted with $\gamma^2$, add up to
# $\sum_j\beta_j\,\partial J/\partial\beta_j$ and nothing else. Here is how much of the sum of
# sizes survives as a mean, at the first look and at the last: 1 would mean that all units have one
# sign, 0 that they cancel. (Where rates are lost in chance, so are the sizes that they are held
# against: this share is a lower bound.)


# %%
def survives(units):
    pull = units.rate * units.gamma**2
    return abs(pull.sum()) / max(pull.abs().sum(), 1e-300)


for kind in kinds:
    for noise_std in noise_stds:
        shares = through(kind, noise_std, survives)
        for layer, name in enumerate(names_of(kind)):
            first, end = (statistics.as_text(shares[:, look, layer], "{:.2f}") for look in (0, -1))
            print(f"{name}, noise {noise_std:g}: {first} at the first step, {end} at the last")

# %% [markdown]
# ## What we learned
#
# - The identities of {prf:ref}`thm-depth` hold in networks that are being trained, linear and
#   convolutional, at every look and in every layer with BN, max-pooling between them or not.
# - In a layer that feeds another one with BN, the mean rate says next to nothing at first: its
#   units cancel. Signs and sizes have to be read apart.
# - A rate is a small mean of scattered gradients. Two readings that share no batch tell how much of it is
#   rate and how much is chance; from few batches, the more so under noise, it is mostly chance.
# - Whether sizes fall through training, rise with depth or with noise is an empirical matter: the
#   rows above say what came out, for each network by itself.
#
# ## Where it stops
#
# - Rates belong to a moment of training, a learning rate and a batch size. The last step here is
#   no point of rest.
# - With a freely learned $\gamma$ every rate is on its way to zero. What noise leaves behind at
#   the last step is also what training has not yet finished.
# - $\lambda$ of a hidden unit is in units of its $\gamma$, which the layers above can undo:
#   between layers and networks compare signs and orders of magnitude, not digits.
# - Two small networks on digits of 28 by 28 pixels. Nothing here speaks of residual connections or
#   of Adam.
