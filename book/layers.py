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
# After it you know how large rates are, layer by layer, and how far to trust their sizes.
#
# Batch normalization (BN) gives every unit of every layer a rate of its own, exactly and at every
# step: that is {prf:ref}`thm-depth`. It does not say how large these rates are, whether they grow
# with depth, or what becomes of them as a network learns. {doc}`depth` had a first look.
#
# Here are a network with three hidden layers, on clean and on noisy digits, and a small convolutional
# one, watched from the first step to the last. At every look the identities are checked again, on
# the very network that is being trained.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
train_size = (
    3000  # images that the network with hidden layers is trained on, drawn anew with every seed
)
hidden = [100, 100, 100]  # units of its hidden layers
epochs = 8  # passes over the images
noise_stds = [0.0, 1.0]  # of the Gaussian noise on them, in standard deviations of the pixels
channels = [8, 16]  # of the convolutional network
conv_images = 1024  # images that it is trained on
conv_epochs = 3  # passes over them: a step costs ten times as much
conv_batch_size = 64  # half of that of the other network, for the same reason
conv_learning_rate = 0.02  # smaller, since its read-out sees many large features
conv_noise_stds = [0.0]  # as above
looks = 5  # at each training, on a logarithmic scale
looked_at = 150  # batches that the last look measures; of the convolutional network 60

# %% tags=["hide-input"]
from functools import partial

import numpy as np
import pandas as pd
from torch.nn.functional import cross_entropy

from bnlib import experiments, meter, training
from companion.figures import Picture
from companion.page import check, finding, sentence, table
from companion.records import Source
from companion.statistics import as_text
from companion.studies import identities

# %% [markdown]
# ## One look
#
# Each training is looked at on fixed batches, noise included, that are the same at every look. The
# meter reads the rates of all units, and from the scatter over batches the standard error of each: a
# rate is a small mean of scattered gradients. Rates fall while scatter stays, so later looks read more
# batches. One batch more, in float64, is for the identities: torch's own gradients on one side, what
# {prf:ref}`thm-depth` makes of them on the other.
#
# Signs and sizes are kept apart, since between BN layers the units of a layer cancel. The size of a
# layer is the root of the mean square of its rates, and squares of a scattered reading are too large,
# the more so the noisier the input. So from each square the square of its standard error is taken off:
# that leaves the mean square of the rates, on average. Where chance is so large that nothing would be
# left, the size stands at what chance alone leaves in such a mean: an upper bound.


# %%
def look(run, looked_at):
    """Rates of each layer, and both sides of the identities."""
    last = run.schedule.steps(len(run.inputs))
    fixed = list(run.batches(max(3, int(looked_at * max(0.2, run.step / last)))))
    report = meter.measure(run.model, fixed, cross_entropy)
    units = report.to_frame()
    units["square"] = units.rate**2 - units.rate_error**2
    units["pull"] = units.rate * units.gamma**2
    layers = [layer for _, layer in units.groupby("layer", sort=False)]
    return {
        "mean_rate": [layer.rate.mean() for layer in layers],
        "mean_square": [layer.square.mean() for layer in layers],
        "chance": [(layer.rate_error**2).mean() * (2 / len(layer)) ** 0.5 for layer in layers],
        "negative": [(layer.rate < 0).mean() for layer in layers],
        "survives": [abs(layer.pull.sum()) / layer.pull.abs().sum() for layer in layers],
        "layer_l2_rate": report.by_layer().l2_rate.to_numpy(),
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
kinds = {
    "three hidden layers": (
        training.Schedule(hidden=tuple(hidden), epochs=epochs),
        train_size,
        noise_stds,
        looked_at,
    ),
    "convolutional": (
        training.Schedule(
            channels=tuple(channels),
            epochs=conv_epochs,
            batch_size=conv_batch_size,
            learning_rate=conv_learning_rate,
        ),
        conv_images,
        conv_noise_stds,
        2 * looked_at // 5,
    ),
}
runs = {
    kind: experiments.sweep(
        [training.Arm("batch")],
        [experiments.Conditions(dataset, size, noise_std=noise_std) for noise_std in levels],
        schedule,
        seeds,
        look=partial(look, looked_at=count),
        look_steps=looks,
    )
    for kind, (schedule, size, levels, count) in kinds.items()
}
names = {
    "three hidden layers": [f"hidden {i + 1}" for i in range(len(hidden))],
    "convolutional": [f"conv {i + 1}" for i in range(len(channels))],
}
cells = [(kind, noise_std) for kind, (_, _, levels, _) in kinds.items() for noise_std in levels]


def source(kind, noise_std=None):
    schedule, size, levels, _ = kinds[kind]
    inner = schedule.channels or schedule.hidden
    shape = {"channels" if schedule.channels else "hidden": list(inner), "epochs": schedule.epochs}
    shape |= {"batch_size": schedule.batch_size, "learning_rate": schedule.learning_rate}
    shape["noise_std"] = levels if noise_std is None else noise_std
    return Source(dataset, size, seeds, shape)


def through(kind, noise_std, what):
    """`what` of each layer at each look, (seeds, looks, layers)."""
    return np.array(runs[kind][runs[kind].noise_std == noise_std][what].tolist())


def sizes_of(kind, noise_std):
    """Root mean square of the rates, or what chance alone leaves where that is more."""
    squares, chance = (through(kind, noise_std, what) for what in ("mean_square", "chance"))
    return np.sqrt(np.maximum(squares, chance))


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
    " from the first step to the last, what is left of them is at most {worst:.0e}.",
    *held,
    looks=looks,
)

# %% [markdown]
# ## How large, and of which sign
#
# The size of a layer is the root mean square of its units' rates. At the start, where every $\beta$
# is zero, the balance forces the rates of most layers to cancel: some units are held in, others are
# pushed out.

# %% tags=["hide-input"]
where = f"{source('three hidden layers')}; {source('convolutional')}"
shades = ("l2", "signal", "noise")  # of all layers with BN but the last
picture = Picture(len(cells), 2, height=2.5 * len(cells))
for place, (kind, noise_std) in enumerate(cells):
    left, right = picture[2 * place], picture[2 * place + 1]
    at = np.array(runs[kind].look_steps.iloc[0]) + 1
    both = sizes_of(kind, noise_std), through(kind, noise_std, "negative")
    for panel, values, scale in zip((left, right), both, ("log", "share")):
        for layer, name in enumerate(names[kind]):
            color = "batch" if name == names[kind][-1] else shades[layer % len(shades)]
            panel.band(at, values[:, :, layer], name, color, marker="", scale=scale)
        panel.set(xscale="log")
    among = np.concatenate([sizes_of(*cell).ravel() for cell in cells if cell[0] == kind])
    left.ax.minorticks_off()
    left.set(
        ylim=(among.min() / 3, among.max() * 2),
        yscale="log",
        title=f"{kind}, noise {noise_std:g}",
        ylabel="size of λ",
        legend={"fontsize": 9},
    )
    right.set(ylim=(-0.02, 1.02), ylabel="share with λ < 0")
    right.ax.axhline(0.5, color="#8A8A8A", linewidth=1)
for panel in picture.panels[-2:]:
    panel.set(xlabel="step, counted from 1")
picture.show(
    says="Through training the rates of a layer get smaller."
    " Rates by layer from the first step to the last; blue is the last layer with BN. Left: sizes,"
    " both axes logarithmic, means geometric. Right: how many units BN pushes out instead of holding"
    " in.",
    source=where,
    name="layers-rates",
)

# %% [markdown]
# The numbers at the last look, with the L2-equivalent rate of the whole layer: the one
# `weight_decay` with the same total pull along the effective weights. It can be negative, and
# where the interval holds zero it has no sign to speak of.

# %% tags=["hide-input"]
entries, chance_of, readings = {}, 0, 0
for kind, noise_std in cells:
    squares, chance = (through(kind, noise_std, what)[:, -1] for what in ("mean_square", "chance"))
    chance_of, readings = chance_of + (squares < chance).sum(), readings + squares.size
    columns = {
        "mean λ": (through(kind, noise_std, "mean_rate"), "{:+.1e}", "plain"),
        "size of λ": (sizes_of(kind, noise_std), "{:.1e}", "log"),
        "α of the layer": (through(kind, noise_std, "layer_l2_rate"), "{:+.1e}", "plain"),
        "λ < 0": (through(kind, noise_std, "negative"), "{:.0%}", "share"),
    }
    for layer, name in enumerate(names[kind]):
        entries[f"{name}, noise {noise_std:g}"] = {
            column: as_text(values[:, -1, layer], form, scale)
            for column, (values, form, scale) in columns.items()
        }
table(pd.DataFrame(entries).T, "At the last step: means with 95 % intervals over seeds.", where)
sentence(
    f"In {chance_of} of these {readings} readings, the size is no more than what chance leaves."
)

# %% [markdown]
# ## Through training
#
# Are the rates smaller at the end than at the start? With a freely learned $\gamma$ they must be
# zero at rest; nothing says how near training comes.


# %% tags=["hide-input"]
def ask(kind, noise_std, statement, measured, relation, predicted=1.0, scale="log"):
    return check(
        "depth",
        f"{kind}, {statement}",
        measured=measured,
        predicted=predicted,
        kind="empirical",
        relation=relation,
        scale=scale,
        source=source(kind, noise_std),
    )


places = {"first": 0, "last": -1}
size = {cell: sizes_of(*cell) for cell in cells}
falls = [
    ask(
        kind,
        noise_std,
        f"{place} layer with BN, noise_std {noise_std:g}: size of rates at the last step over that at"
        " the first",
        size[kind, noise_std][:, -1, layer] / size[kind, noise_std][:, 0, layer],
        "below",
    )
    for kind, noise_std in cells
    for place, layer in places.items()
]
said = " at the last step it is {least:.2f} to {most:.2f} times what it was at the first."
finding(
    {
        "borne out": "The size of a layer's rates falls through training, in all {count} combinations of"
        " network, layer and noise:" + said,
        "not borne out": "The size of a layer's rates falls in none of {count} combinations of network,"
        " layer and noise:" + said,
        "mixed": "The size of a layer's rates falls in {held} of {count} combinations of network, layer"
        " and noise:" + said,
    },
    *falls,
)

# %% [markdown]
# ## With depth, and with noise
#
# Do deeper layers have larger rates, in size? And does noise on the input leave larger rates
# behind, in the first layer, which sees it directly, and in the last, which does not?

# %% tags=["hide-input"]
deeper = [
    ask(
        kind,
        noise_std,
        f"noise_std {noise_std:g}, last step: size of rates in the last layer with BN over that in the"
        " first",
        size[kind, noise_std][:, -1, -1] / size[kind, noise_std][:, -1, 0],
        "above",
    )
    for kind, noise_std in cells
]
noisier = [
    ask(
        kind,
        levels,
        f"{place} layer with BN, last step: size of rates with noise_std {levels[-1]:g} over that with"
        f" {levels[0]:g}",
        size[kind, levels[-1]][:, -1, layer] / size[kind, levels[0]][:, -1, layer],
        "above",
    )
    for kind, (_, _, levels, _) in kinds.items()
    if len(levels) > 1
    for place, layer in places.items()
]
lost = sum(
    (through(*cell, "mean_square")[:, -1, layer] < through(*cell, "chance")[:, -1, layer]).sum()
    for cell, layer in [(cell, -1) for cell in cells]
    + [
        ((kind, kinds[kind][2][-1]), at)
        for kind in kinds
        if len(kinds[kind][2]) > 1
        for at in (0, -1)
    ]
)
for asked, question, of in (
    (deeper, "larger in the last layer with BN than in the first", "networks and noise levels"),
    (noisier, "larger with noise than without", "layers"),
):
    ratios = f"the ratio is {'{least:.1f} to {most:.1f}'}."
    finding(
        {
            "borne out": f"At the last step rates are {question}, in all {{count}} {of}: {ratios}",
            "not borne out": f"At the last step rates are {question} in none of {{count}} {of}: {ratios}",
            "mixed": f"At the last step rates are {question} in {{held}} of {{count}} {of}: {ratios}",
        },
        *asked,
    )
sentence(
    f"Where the larger side of a ratio is no more than what chance leaves, the ratio is an upper bound: that"
    f" is so in {lost} of the readings that it is made of."
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
        "share",
    )
    for kind, noise_std in cells
]
said = " {least:.0%} to {most:.0%} of them have a negative rate."
finding(
    {
        "borne out": "In the last layer with BN, which is free of the balance, most units are held in at"
        " the last step, in all {count} networks and noise levels:" + said,
        "not borne out": "In the last layer with BN, which is free of the balance, it is not most units"
        " that are held in at the last step:" + said,
        "mixed": "In the last layer with BN, which is free of the balance, most units are held in at the"
        " last step in {held} of {count} networks and noise levels:" + said,
    },
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
        step: as_text(through(kind, noise_std, "survives")[:, at, layer], "{:.2f}", "share")
        for step, at in (("first step", 0), ("last step", -1))
    }
    for kind, noise_std in cells
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
# - Read rates with their standard errors, as `bnlib.measure` gives them. Late in training, and in the
#   first layers, chance can be nearly everything that a few batches show.
# - Look at the last layer with BN first: its scale is seen, and no balance makes its rates cancel.
# - In a layer that another BN layer follows, a mean of zero is no sign of a fault. It is the balance.
#
# ## What we learned

# %% tags=["hide-input"]
inner = {  # of layers that feed another one with BN, at the last step
    what: np.concatenate([through(*cell, what)[:, -1, :-1].mean(axis=0) for cell in cells])
    for what in ("negative", "survives")
}
ends = [one.measured for one in falls]
sentence(
    f"The size of a layer's rates at the last step is {min(ends):.2f} to {max(ends):.2f} times that at"
    f" the first. In the last layer with BN it is {min(one.measured for one in deeper):.1f} to"
    f" {max(one.measured for one in deeper):.1f} times that of the first"
    + (
        f", and with noise {min(one.measured for one in noisier):.1f} to"
        f" {max(one.measured for one in noisier):.1f} times that without"
        if noisier
        else ""
    )
    + f". In layers that feed another one with BN, {inner['negative'].min():.0%} to"
    f" {inner['negative'].max():.0%} of the units are pushed out, and {inner['survives'].min():.1%} to"
    f" {inner['survives'].max():.1%} of their sizes survive as a mean. In the last layer"
    f" {min(one.measured for one in signs):.0%} to {max(one.measured for one in signs):.0%} of the units"
    " are pushed out."
)

# %% [markdown]
# - The identities of {prf:ref}`thm-depth` hold in networks that are being trained, linear and
#   convolutional, at every look and in every layer with BN, max-pooling between them or not.
# - In a layer that feeds another one with BN the balance lets units cancel. Signs and sizes have to be
#   read apart.
# - A rate is a small mean of scattered gradients, and a size that is read from plain squares is mostly
#   chance where rates are small. The standard error that comes with a rate takes chance off.
#
# ## Where it stops
#
# - Rates belong to a moment of training, a learning rate and a batch size. The last step here is no
#   point of rest.
# - With a freely learned $\gamma$ every rate is on its way to zero. What noise leaves behind at the
#   last step is also what training has not yet finished.
# - $\lambda$ of a hidden unit is in units of its $\gamma$, which the layers above can undo: between
#   layers and networks compare signs and orders of magnitude, not digits.
# - Where a size is lost in chance, an upper bound stands for it. A share of negative rates is drawn
#   towards one half by chance.
# - Two small networks on digits of 28 by 28 pixels. Nothing here speaks of residual connections or of
#   Adam.
#
# ## Exercises
#
# **1. Derive.** The reading of a rate is $\lambda + e$, with an error of mean zero and variance
# $\tau^2$, and $\tau$ is known. A layer has $n$ units, all with $\lambda = \tau/10$ in size. By which
# factor is its size too large if it is read from plain squares? What is left after $\tau^2$ is taken
# off, and how large is its scatter for Gaussian errors? What helps: more units or more batches?
#
# :::{dropdown} Solution
# $\mathbb E(\lambda + e)^2 = \lambda^2 + \tau^2 = 101\,\lambda^2$: the root is ten times too large, and
# it would look like a rate that grows with noise, as $\tau$ does. Without $\tau^2$ it is $\lambda^2$ on
# average. Its variance over units is $(2\tau^4 + 4\tau^2\lambda^2)/n$, so its standard deviation about
# $\tau^2\sqrt{2/n} = 141\,\lambda^2/\sqrt n$: a hundred units leave fourteen times what is looked for.
# Units help as $1/\sqrt n$. Batches help as one over their number, since $\tau^2$ falls so.
# :::
#
# **2. Run.** Set `looked_at = 30`, a fifth of the batches. Which answers stay, and which open up?
#
# :::{dropdown} Solution
# In 7 of 24 readings the size is then lost in chance, and an upper bound stands for it. That sizes
# fall through training stays, but for one layer of the convolutional network; so do the signs where
# noise is, and that noise leaves larger rates in the first layer. What opens up are comparisons of two
# sizes at the last step: noise in the last layer, the last layer against the first on noisy digits.
# :::
