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
# Builds on {doc}`depth` and {doc}`minibatch`.
#
# Batch normalization (BN) gives every unit of every layer a rate of its own, exactly and at every
# step: that is {prf:ref}`thm-depth`. It does not say how large these rates are, whether they grow
# with depth, or what becomes of them as a network learns. {doc}`depth` had a first look.
#
# Here are a network with three hidden layers and a small convolutional one, on clean and on noisy
# digits, watched from the first step to the last. At every look the identities are checked again, on
# the very network that is being trained.

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

# %% tags=["hide-input"]
from functools import partial

import numpy as np
import pandas as pd
from torch.nn.functional import cross_entropy

from bnlib import data, experiments, meter, training
from companion.figures import Picture
from companion.page import check, finding, table
from companion.records import Source
from companion.statistics import as_text
from companion.studies import identities

# %% [markdown]
# ## One look
#
# Each training is looked at on one fixed set of batches, noise included, that is the same at every
# look. The meter reads the rates of all units twice, from halves that share no batch: a rate is a
# small mean of scattered gradients, and what the two readings do not agree on is chance. One batch
# more, in float64, is for the identities: torch's own gradients on one side, what
# {prf:ref}`thm-depth` makes of them on the other.
#
# Signs and sizes are kept apart, since between BN layers the units of a layer cancel. The mean square
# of a layer's rates is taken as the mean of the *products* of the two readings, from which chance
# drops out: squares of a scattered reading would be too large, the more so the noisier the input. Where
# two readings do not agree at all, a size of $10^{-6}$ stands for it: less than can be told from zero
# here.


# %%
def look(run, count):
    """Rates of each layer from two readings, and both sides of the identities."""
    fixed = list(run.batches(count))
    halves = [meter.measure(run.model, fixed[half::2], cross_entropy) for half in (0, 1)]
    first, second = (half.rate for half in halves)
    units = halves[0].to_frame().assign(rate=(first + second) / 2, product=first * second)
    units["pull"] = units.rate * units.gamma**2
    layers = [layer for _, layer in units.groupby("layer", sort=False)]
    return {
        "mean_rate": [layer.rate.mean() for layer in layers],
        "mean_square": [layer["product"].mean() for layer in layers],
        "negative": [(layer.rate < 0).mean() for layer in layers],
        "survives": [abs(layer.pull.sum()) / layer.pull.abs().sum() for layer in layers],
        "layer_l2_rate": np.mean([half.by_layer().l2_rate for half in halves], axis=0),
    } | both_sides(run.model.double(), *fixed[0])


# %% tags=["hide-input"]
def both_sides(model, x, target):
    """Both sides of parts 2 and 5 of the theorem, in units of what cancels, and of the meter."""
    layers = identities.walk(model, x.double(), target)
    lengths = [
        np.linalg.norm(layer.w, axis=1) * np.linalg.norm(layer.grad_w, axis=1) for layer in layers
    ]
    lengths = np.maximum(np.concatenate(lengths), 1e-300)
    own, carried, sizes = identities.balance(layers)
    return {
        "gauge_found": np.concatenate([layer.radial for layer in layers]) / lengths,
        "gauge_expected": np.concatenate([layer.gauge for layer in layers]) / lengths,
        "balance_found": own / np.maximum(sizes, 1e-300),
        "balance_expected": carried / np.maximum(sizes, 1e-300),
        "meter_found": meter.measure(model, [(x.double(), target)], cross_entropy).rate,
        "meter_expected": np.concatenate([layer.rate_by_gamma for layer in layers]),
    }


# %% tags=["hide-input", "remove-stderr"]
rows = len(data.load(dataset).train.labels)
kinds = {
    "three hidden layers": (
        training.Schedule(hidden=tuple(hidden), epochs=epochs),
        rows,
        looked_at,
    ),
    "convolutional": (
        training.Schedule(
            channels=tuple(channels), epochs=conv_epochs, learning_rate=conv_learning_rate
        ),
        min(conv_images, rows),
        looked_at // 5,
    ),
}
runs = {
    kind: experiments.sweep(
        [training.Arm("batch")],
        [
            experiments.Conditions(dataset, None if size == rows else size, noise_std=noise_std)
            for noise_std in noise_stds
        ],
        schedule,
        seeds,
        look=partial(look, count=count),
        look_steps=looks,
    )
    for kind, (schedule, size, count) in kinds.items()
}
names = {
    "three hidden layers": [f"hidden {i + 1}" for i in range(len(hidden))],
    "convolutional": [f"conv {i + 1}" for i in range(len(channels))],
}


def source(kind, noise_std=noise_stds):
    schedule, size, _ = kinds[kind]
    inner = schedule.channels or schedule.hidden
    shape = {"channels" if schedule.channels else "hidden": list(inner), "epochs": schedule.epochs}
    return Source(dataset, size, seeds, shape | {"noise_std": noise_std})


def through(kind, noise_std, what):
    """`what` of each layer at each look, (seeds, looks, layers)."""
    return np.array(runs[kind][runs[kind].noise_std == noise_std][what].tolist())


def sizes_of(kind, noise_std):
    """Root mean square of the rates."""
    return np.sqrt(np.maximum(through(kind, noise_std, "mean_square"), NOTHING**2))


NOTHING = 1e-6  # stands for a size where two readings do not agree at all

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

# %% tags=["hide-input"]
statements = {
    "gauge": "w'grad_w J minus the gauge term, in units of |w||grad_w J|, every unit",
    "balance": "gamma dJ/dgamma + beta dJ/dbeta of a layer minus the gauge terms of the next,"
    " in units of the sum of sizes",
    "meter": "rates from bnlib.meter against autograd's -(dJ/dgamma) / gamma",
}
held = []
for kind in kinds:
    for name, words in statements.items():
        found, expected = (
            np.concatenate([np.ravel(looks) for looks in runs[kind][f"{name}_{side}"]])
            for side in ("found", "expected")
        )
        if name != "meter":
            typical = np.median(np.abs(expected))
            print(f"{kind}, {name}: typical size {typical:.0e} in these units")
            found, expected = found - expected, np.zeros_like(expected)
        held.append(
            check(
                "depth",
                f"{kind}, all layers, looks, noise levels and seeds: {words}",
                measured=found,
                predicted=expected,
                tolerance=1e-10,
                source=source(kind),
            )
        )
finding(
    "The identities hold while networks learn: in linear and in convolutional layers, at {looks} looks"
    " from the first step to the last, on clean and on noisy digits, what is left of them is at most"
    " {worst:.0e}.",
    *held,
    looks=through("three hidden layers", noise_stds[0], "negative").shape[1],
)

# %% [markdown]
# ## How large, and of which sign
#
# The size of a layer is the root mean square of its units' rates. At the start, where every $\beta$
# is zero, the balance forces the rates of most layers to cancel: some units are held in, others are
# pushed out.

# %% tags=["hide-input"]
where = (
    f"{source('three hidden layers')}; {source('convolutional')}; batches of 128,"
    f" learning rate 0.1 and {conv_learning_rate:g}"
)
picture = Picture(2, 2, height=5.6, sharex="row")
for panels, kind in zip((picture.panels[:2], picture.panels[2:]), kinds):
    at = np.array(runs[kind].look_steps.iloc[0]) + 1
    for noise_std, style in zip(noise_stds, ("-", "--")):
        both = sizes_of(kind, noise_std), through(kind, noise_std, "negative")
        for panel, values, scale in zip(panels, both, ("log", "share")):
            for layer, color in zip(range(values.shape[2]), ("batch", "l2", "signal", "noise")):
                panel.band(
                    at,
                    values[:, :, layer],
                    f"{names[kind][layer]}, noise {noise_std:g}",
                    color,
                    marker="",
                    style=style,
                    scale=scale,
                )
    legend = {"handles": panels[0].ax.lines[: len(names[kind])], "labels": names[kind]}
    panels[0].set(xscale="log", yscale="log", title=f"{kind}: size of λ")
    panels[0].set(legend=legend | {"fontsize": 9})
    panels[0].ax.set_ylim(NOTHING, 0.3)
    panels[1].set(ylim=(0, 1), title="share of units with λ < 0")
    panels[1].ax.axhline(0.5, color="#8A8A8A", linewidth=1)
for panel in picture.panels[2:]:
    panel.set(xlabel="step, counted from 1")
picture.show(
    says="Rates by layer from the first step to the last; solid on clean digits, dashed with noise_std"
    f" {noise_stds[-1]:g}. Left: sizes, both axes logarithmic, means geometric. Right: how many units"
    " BN pushes out instead of holding in.",
    source=where,
    name="layers-rates",
)

# %% [markdown]
# The numbers at the last look, with the L2-equivalent rate of the whole layer: the one
# `weight_decay` with the same total pull along the effective weights. It can be negative, and
# where the interval holds zero it has no sign to speak of.

# %% tags=["hide-input"]
entries = {}
for kind in kinds:
    for noise_std in noise_stds:
        columns = {
            "mean λ": (through(kind, noise_std, "mean_rate"), "{:+.1e}"),
            "size of λ": (sizes_of(kind, noise_std), "{:.1e}"),
            "α of the layer": (through(kind, noise_std, "layer_l2_rate"), "{:+.1e}"),
            "λ < 0": (through(kind, noise_std, "negative"), "{:.0%}"),
        }
        for layer, name in enumerate(names[kind]):
            entries[f"{name}, noise {noise_std:g}"] = {
                column: as_text(values[:, -1, layer], form)
                for column, (values, form) in columns.items()
            }
table(pd.DataFrame(entries).T, "At the last step: means with 95 % intervals over seeds.", where)

# %% [markdown]
# ## Through training
#
# Are the rates smaller at the end than at the start? With a freely learned $\gamma$ they must be
# zero at rest; nothing says how near training comes.


# %% tags=["hide-input"]
def ask(kind, noise_std, statement, measured, relation, predicted=0.0):
    return check(
        "depth",
        f"{kind}, {statement}",
        measured=measured,
        predicted=predicted,
        kind="empirical",
        relation=relation,
        source=source(kind, noise_std),
    )


clean, noisy = noise_stds[0], noise_stds[-1]
places = {"first": 0, "last": -1}
decades = {
    (kind, noise_std): np.log10(sizes_of(kind, noise_std))
    for kind in kinds
    for noise_std in noise_stds
}
falls = [
    ask(
        kind,
        noise_std,
        f"{place} layer with BN, noise_std {noise_std:g}: log10 of the size of rates at the last step"
        " over that at the first",
        sizes[:, -1, layer] - sizes[:, 0, layer],
        "below",
    )
    for (kind, noise_std), sizes in decades.items()
    for place, layer in places.items()
]
finding(
    "From the first step to the last the size of a layer's rates changes by {least:+.1f} to {most:+.1f}"
    " decades, on average over seeds; that it falls is borne out in {held} of {count} combinations of"
    " network, layer and noise.",
    *falls,
)

# %% [markdown]
# ## With depth, and with noise
#
# Do deeper layers have larger rates, in size? And does noise on the input leave larger rates
# behind, in the first layer, which sees it directly, and in the last, which does not?

# %% tags=["hide-input"]
deeper, noisier = [], []
for kind in kinds:
    for noise_std in noise_stds:
        sizes = decades[kind, noise_std][:, -1]
        deeper.append(
            ask(
                kind,
                noise_std,
                f"noise_std {noise_std:g}, last step: log10 of the size of rates in the last layer"
                " with BN over the first",
                sizes[:, -1] - sizes[:, 0],
                "above",
            )
        )
    for place, layer in places.items():
        noisier.append(
            ask(
                kind,
                noise_stds,
                f"{place} layer with BN, last step: log10 of the size of rates with noise_std"
                f" {noisy:g} over that on clean digits",
                decades[kind, noisy][:, -1, layer] - decades[kind, clean][:, -1, layer],
                "above",
            )
        )
with_first = [*deeper, *noisier[::2]]
finding(
    "At the last step, that rates are larger in the last layer than in the first is borne out in"
    " {deeper} of {deeper_count} cases, and that they are larger with noise in {noisier} of"
    " {noisier_count}; the intervals of comparisons with a first layer are typically {width:.1f} decades"
    " wide.",
    *deeper,
    *noisier,
    deeper=sum(one.verdict == "borne out" for one in deeper),
    deeper_count=len(deeper),
    noisier=sum(one.verdict == "borne out" for one in noisier),
    noisier_count=len(noisier),
    width=np.median([one.high - one.low for one in with_first]),
)

# %% [markdown]
# A size can grow because units are held in harder or because they are pushed out harder. Which of
# the two it is, the signs tell. The last layer is free of the balance. If BN regularizes there,
# most of its units have a positive rate.

# %% tags=["hide-input"]
signs = [
    ask(
        kind,
        noise_std,
        f"last layer with BN, noise_std {noise_std:g}, last step: share of units with a negative rate",
        through(kind, noise_std, "negative")[:, -1, -1],
        "below",
        0.5,
    )
    for kind in kinds
    for noise_std in noise_stds
]
finding(
    "In the last layer with BN, which is free of the balance, {least:.0%} to {most:.0%} of the units"
    " have a negative rate at the last step; that most of them are held in is borne out in {held} of"
    " {count} cases.",
    *signs,
)

# %% [markdown]
# ## What the balance leaves of a layer's mean
#
# Between BN layers the rates, weighted with $\gamma^2$, add up to
# $\sum_j\beta_j\,\partial J/\partial\beta_j$ and nothing else. Here is how much of the sum of
# sizes survives as a mean, at the first look and at the last: 1 would mean that all units have one
# sign, 0 that they cancel. (Where rates are lost in chance, so are the sizes that they are held
# against: this share is a lower bound.)

# %% tags=["hide-input"]
entries = {
    f"{name}, noise {noise_std:g}": {
        step: as_text(through(kind, noise_std, "survives")[:, at, layer], "{:.2f}")
        for step, at in (("first step", 0), ("last step", -1))
    }
    for kind in kinds
    for noise_std in noise_stds
    for layer, name in enumerate(names[kind])
}
table(
    pd.DataFrame(entries).T,
    "Size of the γ²-weighted sum of a layer's rates over the sum of their sizes: means with 95 %"
    " intervals over seeds.",
    where,
)

# %% [markdown]
# ## What it means for your network
#
# - Read rates from two disjoint sets of batches and compare. What the two do not agree on is chance;
#   late in training, and in the first layers, that can be nearly everything.
# - Look at the last layer with BN first: its scale is seen, its rates have a sign, and there BN
#   regularizes most units.
# - In a layer that another BN layer follows, a mean of zero is no sign of a fault. It is the balance.
#
# ## What we learned
#
# - The identities of {prf:ref}`thm-depth` hold in networks that are being trained, linear and
#   convolutional, at every look and in every layer with BN, max-pooling between them or not.
# - In a layer that feeds another one with BN the units cancel: about half of them are pushed out, at
#   the first step and at the last, and next to nothing survives as a mean. Signs and sizes have to be
#   read apart.
# - In the last layer, which is free of the balance, most units are held in at the end, on clean and on
#   noisy digits.
# - A rate is a small mean of scattered gradients. Two readings that share no batch tell how much of it
#   is rate and how much is chance. At the last step the rates of the first layers are so small that a
#   reading from this many batches is mostly chance. It leaves open whether sizes rise with depth or
#   with noise; more batches settle most of it (Exercise 2).
#
# ## Where it stops
#
# - Rates belong to a moment of training, a learning rate and a batch size. The last step here is no
#   point of rest.
# - With a freely learned $\gamma$ every rate is on its way to zero. What noise leaves behind at the
#   last step is also what training has not yet finished.
# - $\lambda$ of a hidden unit is in units of its $\gamma$, which the layers above can undo: between
#   layers and networks compare signs and orders of magnitude, not digits.
# - The logarithm of a size that is lost in chance depends on what stands for it. Intervals that span
#   decades say that, and no more.
# - Two small networks on digits of 28 by 28 pixels. Nothing here speaks of residual connections or of
#   Adam.
#
# ## Exercises
#
# **1. Derive.** Two readings of a rate are $\lambda + e_1$ and $\lambda + e_2$, with independent errors
# of mean zero and variance $\tau^2$. Compare the expectation of their product with that of the square
# of their mean. How large is the relative error of the root mean square of a layer whose true rates
# are a tenth of $\tau$, if it is read from squares?
#
# :::{dropdown} Solution
# $\mathbb E(\lambda + e_1)(\lambda + e_2) = \lambda^2$, since all other terms have mean zero. The square
# of the mean has the expectation $\lambda^2 + \tau^2/2$. With $\lambda = \tau/10$ that is
# $\tau^2/100 + \tau^2/2 = 51\,\lambda^2$: the root is $\sqrt{51} \approx 7.1$ times too large, and it
# would look like a rate that grows with noise, as $\tau$ does. The price of the product is that it can
# come out negative.
# :::
#
# **2. Run.** Set `looked_at = 150`, five times as many batches. Which of the open questions close?
#
# :::{dropdown} Solution
# Most. The size of rates falls through training in all eight cases, and by 0.6 to 1.5 decades; the
# changes of three decades were those of the number that stands for a lost size. The last layer has
# larger rates than the first in three of four cases, and noise leaves larger rates behind in three of
# four. Left open in the convolutional network are what noise does to the first layer, and which layer
# has the larger rates on clean digits. (On the small set of digits, with the seeds above.)
# :::
