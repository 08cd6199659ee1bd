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
# # Measure your network
#
# Builds on nothing but a network of yours, in PyTorch, with batch normalization (BN).
# After it you can measure a network of yours in three lines and read the report.
#
# BN regularizes, and nobody sets how much. This page reads it off: which layers are pulled in, which
# are pushed out, how hard in units of `weight_decay`, and how sure that is. The network here is a
# ResNet-18, trained on this page. The same three lines work on yours.
#
# Two numbers are read for every channel. The **rate** $\lambda = -\frac1\gamma\,\partial J/\partial\gamma$
# is what BN adds to the gradient of the effective weights $v = \gamma w/\sqrt{q + \varepsilon}$, those
# that remain when BN is folded away: at every step the gradient is the one without BN plus
# $\lambda\Sigma v$ ({doc}`rate` proves it). **In units of weight decay** the same pull is the
# `weight_decay` that would pull as hard along $v$ in the network without BN. Above zero the effective
# weights are shrunk, below zero they are stretched.

# %% tags=["parameters"]
seed = 0  # of weights and batches
dataset = "mnist-5k"  # or "mnist", "fashion-mnist"
train_size = 1536  # images that are trained on
blocks = [2, 2, 2, 2]  # residual blocks a stage: of ResNet-18
batch_size = 64  # of training, and so of measuring
epochs = 2  # of a training of it
learning_rate = 0.05  # at the first step; it falls linearly to 0
weight_decay = 5e-4  # on the weights
decay_on_gamma = 0.1  # in the second of two trainings; 0 in the first
batches_at_most = 30  # that a measurement reads
relative_error = 0.25  # that it stops at
small_epochs = 9  # of the small network further down
few = 4  # rows of small batches
log_every = 24  # steps between two readings in training

# %% tags=["hide-input"]
import copy
from collections import OrderedDict

import matplotlib
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import bnlib
from bnlib import data, training
from companion.figures import Panel, Picture
from companion.page import check, finding, offer, sentence, table
from companion.records import Source

matplotlib.use("agg")  # what is drawn reaches the page through Picture, with its words
data.import_torchvision()  # also where it was built for another torch
from torchvision.models.resnet import BasicBlock, ResNet

loaded = data.load(dataset)
pixels = training.standardize(loaded)
inputs = torch.from_numpy(pixels["train"][:train_size]).view(-1, 1, 28, 28)
labels = torch.from_numpy(loaded.train.labels[:train_size])
name = f"ResNet-{2 * sum(blocks) + 2}"


def drawn(size, times, stream):
    """Batches of the training images."""
    return training.batches(inputs, labels, size, times, [seed, stream])


def source(**conditions):
    return Source(dataset, len(labels), [seed], conditions)


# %% [markdown]
# ## Three lines
#
# In a clone of the repository, once (`plot` brings Matplotlib, for the picture; the rest needs
# NumPy, SciPy, pandas and the PyTorch that you have):
#
# ```sh
# pip install '.[plot]'
# ```
#
# The network is torchvision's, with a first layer for one channel, trained by stochastic gradient
# descent as anyone would. It was trained twice from the same weights on the same batches: with weight
# decay on its weights, and then with a decay on BN's $\gamma$ too. That one is strong, since this
# training is short.


# %% tags=["hide-input"]
def train(model, decay, epochs):
    """The model, trained with weight decay on its weights and `decay` on gamma."""
    steps = epochs * (len(labels) // batch_size)
    return training.fit(
        model,
        drawn(batch_size, epochs, 1),
        cross_entropy,
        lambda step: learning_rate * (1 - step / steps),
        momentum=0.9,
        parameters=bnlib.parameter_groups(model, weight_decay, gamma_decay=decay),
    )


def resnet():
    torch.manual_seed(seed)
    model = ResNet(BasicBlock, blocks, num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


model, decayed = (train(resnet(), decay, epochs) for decay in (0.0, decay_on_gamma))
steps = epochs * (len(labels) // batch_size)
sentence(
    f"In these {steps} steps a decay of {decay_on_gamma:g} on γ does about what {weight_decay:g} would do in"
    f" {steps * decay_on_gamma / weight_decay:,.0f}, at the same learning rates."
)

# %% [markdown]
# After `import bnlib`, give it the model, batches as in training, and the loss. `relative_error` lets it
# read until every layer is that sure, `batches_at_most` ends it. The model is left as it was, to the bit.

# %% tags=["hide-input"]
batches = list(drawn(batch_size, 1 + batches_at_most * batch_size // len(labels), 2))
options = {"batches_at_most": batches_at_most, "relative_error": relative_error}

# %%
report = bnlib.measure(model, batches, cross_entropy, **options)
print(report)

# %% [markdown]
# Read it from the top. First what was covered: every channel of every BN layer is in the report, and
# where a number is missing it says why. Then a line a layer in the model's order, with a standard
# error from the scatter over batches. Then the words. `report.to_frame()` has the channels,
# `report.by_layer()` the table as numbers, and a notebook that ends a cell in `report` shows it as a
# table.

# %%
figure = report.plot()

# %% tags=["hide-input"]
picture = Picture()
picture.figure, picture.panels = figure, [Panel(figure.axes[0])]
figure.set_size_inches(7, 4.4)
for text in figure.axes[0].get_xticklabels():
    text.set_fontsize(8)
rows = report.by_layer()
extremes = rows.loc[[rows.l2_rate.idxmin(), rows.l2_rate.idxmax()]]
picture[0].note(
    f"{len(rows)} layers, from {extremes.l2_rate.iloc[0]:+.1e} in {extremes.layer.iloc[0]} to"
    f" {extremes.l2_rate.iloc[1]:+.1e} in {extremes.layer.iloc[1]}, most of them near zero"
)
training_of = {"network": name, "epochs": epochs, "batch_size": batch_size}
picture.show(
    says="report.plot() draws every layer's rate by depth."
    f" Here are the layers of a {name} by depth, each with its rate in units of"
    " weight_decay and two standard errors on either side.",
    source=source(**training_of, batches=report.batches),
    name="measure-report",
)

# %% [markdown]
# Three things that whoever trains this network learns from it:

# %% tags=["hide-input"]
told = rows.l2_rate.abs() > 2 * rows.l2_rate_error
told_channels = np.abs(report.l2_rate) > 2 * report.l2_rate_error
strongest = rows.l2_rate[told].abs().max() if told.any() else 0.0
sentence(
    f"In the layers whose rate can be told from zero, BN pulls at most as hard as a weight_decay of"
    f" {strongest:.0e} would on the effective weights; the optimizer's own, {weight_decay:g}, acts on the"
    " raw ones, where it is a step size and no pull."
)
sentence(
    f"{told.sum()} of {len(rows)} layers can be told from zero by {report.batches} batches, and"
    f" {len(report.unsure)} are not as sure as asked: without their errors these numbers would have passed"
    " for measurements, sign included."
)
sentence(
    f"Of the single channels {told_channels.mean():.0%} can be told from zero: read layers first, and"
    " channels with many more batches."
)

# %% [markdown]
# ## Check it yourself
#
# One batch in float64, with torch's own gradients:

# %%
x, target = batches[0]


def by_autograd(network):
    twin = copy.deepcopy(network).double()
    cross_entropy(twin(x.double()), target).backward()
    layers = [one for one in twin.modules() if isinstance(one, nn.BatchNorm2d)]
    return twin, torch.cat([-one.weight.grad / one.weight for one in layers])


# %% tags=["hide-input"]
held, apart = [], []
for network, decay in ((model, 0.0), (decayed, decay_on_gamma)):
    twin, expected = by_autograd(network)
    expected = expected.detach().numpy()
    held.append(
        check(
            "rate",
            f"{name}, decay {decay:g} on gamma: rates of all channels on one batch in float64, from"
            " bnlib.measure against autograd's -(dJ/dgamma) / gamma",
            measured=bnlib.measure(twin, [(x.double(), target)], cross_entropy).rate,
            predicted=expected,
            tolerance=1e-12,
            source=source(**training_of),
        )
    )
    read = bnlib.measure(network, [(x, target)], cross_entropy).rate
    apart.append(np.linalg.norm(read - expected) / np.linalg.norm(expected))
sentence(
    f"As trained, in float32, the same reading is off by {apart[0]:.0e} and {apart[1]:.0e} of its size:"
    " rounding, and ReLUs that rounding puts on their other side."
)
finding(
    "One line of code reads the rate of all {channels:,} channels in the {layers} BN layers of a {name}, and"
    " agrees with autograd in float64 to within {tolerance:.0e}; in float32 a reading is off by {apart:.0e}"
    " of its size.",
    *held,
    channels=len(report.rate),
    layers=len(rows),
    name=name,
    apart=max(apart),
)

# %% [markdown]
# ## With and without decay on gamma
#
# At rest, under stochastic gradient descent, the rate *is* the decay on $\gamma$
# ({prf:ref}`thm-stationarity`, part 4). Is this network at rest? Measure the other one on the same
# batches, and compare the channels.

# %%
report_decayed = bnlib.measure(decayed, batches, cross_entropy, **options)
print(report_decayed.summary())

# %% tags=["hide-input"]
arms = {"no decay on γ": report, f"decay {decay_on_gamma:g} on γ": report_decayed}
grouped = {arm: one.to_frame().groupby("layer", sort=False) for arm, one in arms.items()}
positive = pd.DataFrame(
    {arm: one.rate.agg(lambda rate: (rate > 0).mean()) for arm, one in grouped.items()}
)
mean_rate = pd.DataFrame({arm: one.rate.mean() for arm, one in grouped.items()})
mean_gamma = pd.DataFrame({arm: one.gamma.mean() for arm, one in grouped.items()})
last_stage = positive.index.str.startswith(f"layer{len(blocks)}.")
inside = positive.index.str.contains(r"^layer.*bn1$")  # in a block, before another BN
free = last_stage & ~inside
picture = Picture(height=4.2)
(panel,) = picture
depths = np.arange(1, len(positive) + 1)
for arm, color, marker in zip(arms, ("batch", "l2"), ("o", "D")):
    panel.dots(depths, positive[arm], arm, color, marker=marker, markersize=5)
panel.ax.axhline(0.5, color="#8A8A8A", linewidth=1)
for depth in depths[free]:
    panel.ax.axvspan(depth - 0.5, depth + 0.5, color="#8A8A8A", alpha=0.15, linewidth=0)
panel.note("shaded are the layers " + ", ".join(positive.index[free]))
panel.set(ylim=(0, 1), ylabel="channels with λ > 0", xlabel="layer", legend=True)
panel.ax.set_xticks(depths, positive.index, rotation=90, fontsize=8)
picture.show(
    says="A decay on γ holds channels in where no other BN follows."
    " How many channels of each layer BN holds in (rate above zero) after the same training with and"
    " without decay on γ. Shaded: the layers whose output reaches the read-out along the skip"
    " connections without passing another BN.",
    source=source(
        **training_of, decay_on_gamma=[0.0, decay_on_gamma], batches=report_decayed.batches
    ),
    name="measure-decay-on-gamma",
)
shown = pd.concat(
    [
        mean_rate[last_stage].map("{:+.1e}".format).add_prefix("mean λ, "),
        positive[last_stage].map("{:.0%}".format).add_prefix("λ > 0, "),
        mean_gamma[last_stage].map("{:.3f}".format).add_prefix("mean γ, "),
    ],
    axis=1,
)
table(
    shown.rename_axis(None),
    "The layers of the last stage: means over channels, from one training each.",
    source(**training_of),
)
offer(
    pd.concat(
        [
            one.to_frame().assign(decay_on_gamma=decay)
            for one, decay in ((report, 0.0), (report_decayed, decay_on_gamma))
        ]
    ),
    "measured_resnet.csv",
    "a channel a row, from both trainings",
)

# %% tags=["hide-input"]
shares = {arm: (positive[arm][free].mean(), positive[arm][~free].mean()) for arm in arms}
(free_before, rest_before), (free_after, rest_after) = shares.values()
gamma_after = mean_gamma.iloc[:, 1]
reached = mean_rate.iloc[:, 1].abs().max() / decay_on_gamma
finding(
    "With a decay of {decay:g} on gamma {free_after:.0%} of the channels in the {count_free} layers whose"
    " output reaches the read-out without another BN have a positive rate, {free_before:.0%} without it; in the"
    " other layers {rest_after:.0%} and {rest_before:.0%} (one training each).",
    *held,
    decay=decay_on_gamma,
    count_free=int(free.sum()),
    free_after=free_after,
    free_before=free_before,
    rest_after=rest_after,
    rest_before=rest_before,
)
finding(
    "That training ends far from rest, where every rate would be the decay: the largest mean rate of a"
    " layer is {reached:.1%} of it, and gamma went from 1 to {gamma:.2f}, in all layers alike (between"
    " {lowest:.3f} and {highest:.3f}).",
    held[1],
    reached=reached,
    gamma=gamma_after.mean(),
    lowest=gamma_after.min(),
    highest=gamma_after.max(),
)

# %% [markdown]
# So a decay on $\gamma$ does two things. It shrinks every $\gamma$ by about the same factor, which the
# next BN undoes wherever there is one: nothing sees the scale of such a layer. Where no BN follows, the
# loss feels the smaller $\gamma$ and pushes back. That push is the rate.
#
# ## Between BN layers channels cancel
#
# A mean of about zero is no sign of a fault. Where a ReLU and another BN follow, making all channels
# larger changes nothing, so that what some channels gain the others lose: the sum of
# $\gamma^2\lambda$ over the channels is that of $\beta\,\partial J/\partial\beta$ and else nothing but
# $\varepsilon$ ({prf:ref}`thm-depth`, part 5). In a ResNet these are the layers `bn1` inside the blocks.
# How much of the sum of sizes is left in the sum:

# %%
units = report.to_frame().assign(pull=report.rate * report.gamma**2)
pull = units.groupby("layer", sort=False).pull
survives = pull.sum().abs() / pull.agg(lambda one: one.abs().sum())

# %% tags=["hide-input"]
sentence(
    f"In the {inside.sum()} layers bn1 inside the blocks at most {survives[inside].max():.1%} is left, in the"
    f" others up to {survives[~inside].max():.0%}."
)
one = bnlib.measure(twin, [(x.double(), target)], cross_entropy)
frame = one.to_frame().assign(gradient=-one.rate * one.gamma**2)
left = []
for key in positive.index[inside]:
    first, second = (frame[frame.layer == one] for one in (key, key[:-1] + "2"))
    layer = twin.get_submodule(key)
    of_beta = float(layer.bias.detach() @ layer.bias.grad)
    carried = (layer.eps / (second.batch_var + layer.eps) * second.gradient).sum()
    left.append((first.gradient.sum() + of_beta - carried) / first.gradient.abs().sum())
balance = check(
    "depth",
    f"{name}, layers bn1 inside the blocks, one batch in float64: gamma dJ/dgamma + beta dJ/dbeta of a"
    " layer minus the gauge terms of the next, in units of the sum of sizes",
    measured=np.array(left),
    predicted=np.zeros(len(left)),
    tolerance=1e-10,
    source=source(**training_of, decay_on_gamma=decay_on_gamma),
)
finding(
    "In the {layers} layers that a ReLU and another BN follow, channels cancel: at most {inside:.1%} of the"
    " sum of sizes is left in the sum, while {pushed:.0%} of the channels have a negative rate.",
    balance,
    layers=len(left),
    inside=survives[inside].max(),
    pushed=1 - positive.iloc[:, 0][inside].mean(),
)

# %% [markdown]
# ## Planted mistakes
#
# Here is a small network, trained in the same way, in which six things are not as they should be or
# not as they seem. Which would you find by reading?


# %% tags=["hide-input"]
def small():
    torch.manual_seed(seed)
    parts = {
        "sound": [nn.Conv2d(1, 16, 5, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU()],
        "twice": [
            nn.Conv2d(16, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ],
        "before": [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)],
        "frozen": [nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()],
        "dead": [nn.Linear(256, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()],
        "zero": [nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()],
        "out": [nn.Linear(32, 10)],
    }
    return nn.Sequential(OrderedDict((key, nn.Sequential(*part)) for key, part in parts.items()))


# %%
sound = train(small(), 0.0, small_epochs)
planted = copy.deepcopy(sound)
planted.frozen[0].eval()
with torch.no_grad():
    planted.dead[1].bias[0] = -10
    planted.dead[0].weight[1] = 0
    planted.zero[1].weight[0] = 0

found = bnlib.measure(planted, batches, cross_entropy)
print(found)

# %% tags=["hide-input"]
columns = ["layer", "channel", "gamma", "weight_norm", "batch_var", "rate", "l2_rate", "reason"]
of = found.to_frame()[columns]
picked = of[(of.layer.isin(["dead.1", "zero.1"])) & (of.channel < 3)]
print(picked.to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# - **BN directly before BN** (`twice`): the first has a rate of nothing, in every channel. The second
#   divides by what the first multiplied with: only $\varepsilon$ is left (Exercise 1). The second is not
#   after a linear map, so its rate has no `weight_decay` to be compared with.
# - **BN before the convolution** (`before`, the order of pre-activation networks): it has a rate, since
#   that needs nothing but BN. It has none in units of `weight_decay`, for the same reason.
# - **Frozen BN** (`frozen`): in evaluation mode inside a network that trains. It divides by constants,
#   so there is no rate: NaN, and the reason. (A network that is in evaluation mode as a whole is
#   measured as it trains.)
# - **A dead ReLU** (`dead`, channel 0) and **a constant pre-activation** (channel 1): the rate is exactly
#   zero, in all batches, with a standard error of zero. The report lists such channels by themselves,
#   since a rate that is merely small is hardly ever exactly zero. (A constant made by a bias may leave
#   rounding instead; look for a `batch_var` of zero.)
# - **A gamma of zero** (`zero`, channel 0), as some recipes start the last BN of a residual block: the rate
#   divides by $\gamma$, so there is none: NaN, and the reason.
#
# The last mistake is made by whoever measures: **batches of another size** than in training. Here is the sound network, before anything was planted in it, on the same images in batches
# of both sizes.

# %%
last = {}
for size in (few, batch_size):
    other = bnlib.measure(sound, drawn(size, 1, 3), cross_entropy)
    last[size] = other.by_layer().iloc[-1]
print(pd.DataFrame(last).T[["layer", "rate", "rate_error"]].to_string())

# %% tags=["hide-input"]
one = bnlib.measure(copy.deepcopy(sound).double(), [(x.double(), target)], cross_entropy)
one = one.to_frame().assign(gradient=-one.rate * one.gamma**2)
first, second = (one[one.layer == layer] for layer in ("twice.1", "twice.2"))
carried = sound.twice[2].eps / (second.batch_var + sound.twice[2].eps) * second.gradient
between = check(
    "depth",
    "BN directly before BN, every channel, one batch in float64: gamma dJ/dgamma of the first minus"
    " eps/(q + eps) times that of the second, in units of the sum of the second's sizes",
    measured=(first.gradient.to_numpy() - carried.to_numpy()) / second.gradient.abs().sum(),
    predicted=np.zeros(len(first)),
    tolerance=1e-10,
    source=source(epochs=small_epochs, batch_size=batch_size),
)
finding(
    "Planted mistakes show: BN directly before BN has a rate of {twice:.0e} where the next has {after:.0e}"
    " (mean sizes), {nan} channels without a rate and {silent} without a gradient say why, and the last"
    " layer measured on batches of {few} has {small_batches:+.1e} instead of {as_trained:+.1e}.",
    between,
    twice=of[of.layer == "twice.1"].rate.abs().mean(),
    after=of[of.layer == "twice.2"].rate.abs().mean(),
    nan=int(of.rate.isna().sum()),
    silent=int((of.rate == 0).sum()),
    few=few,
    small_batches=last[few].rate,
    as_trained=last[batch_size].rate,
)

# %% [markdown]
# A batch looks narrower than the data it is drawn from, the more so the smaller it is, and BN divides by
# what it sees: so in small batches the output is too large for this $\gamma$, and the rate falls
# ({prf:ref}`thm-minibatch`). A rate that was read at another batch size is the rate of another training.

# %% [markdown]
# ## While it trains
#
# `RateLogger` reads the same from the gradients that training computes anyway, at every so many steps
# of the optimizer, without a pass more. One reading is one batch, so it scatters; what moves through
# training shows all the same. With `path="rates.csv"` each reading is written as it is made.

# %%
watched = small()
with bnlib.RateLogger(watched, every=log_every) as logger:
    train(watched, 0.0, small_epochs)
log = logger.to_frame()
through = log.pivot(index="step", columns="layer", values="rate")
print(through[log.layer.unique()].to_string(float_format="{:.0e}".format))

# %% tags=["hide-input"]
at_start = bnlib.measure(small(), [next(drawn(batch_size, 1, 1))], cross_entropy).by_layer()
logged = check(
    "rate",
    "RateLogger at step 0 of training the small network against bnlib.measure on that step's batch,"
    " every layer",
    measured=log[log.step == 0].rate.to_numpy(),
    predicted=at_start.rate.to_numpy(),
    tolerance=1e-5,
    source=source(epochs=small_epochs, batch_size=batch_size),
)

# %% [markdown]
# Give it what training calls, and open it around the training, whoever runs the loop. With Lightning,
# where `training_step` calls `self.model`:
#
# ```python
# trainer = lightning.Trainer(max_epochs=10)
# with bnlib.RateLogger(module.model, every=100, path="rates.csv"):
#     trainer.fit(module, loader)
# ```
#
# With the Trainer of Hugging Face:
#
# ```python
# trainer = transformers.Trainer(model, arguments, train_dataset=dataset)
# with bnlib.RateLogger(model, every=100, path="rates.csv"):
#     trainer.train()
# ```
#
# Clipping does not matter, accumulated batches count as one step. Where half precision scales the loss,
# add `scaler=trainer.precision_plugin.scaler` (Lightning) or `scaler=trainer.accelerator.scaler`
# (Hugging Face): without it the logger refuses, since all rates would be too large by the scale.
#
# ## What decays what
#
# `weight_decay` does not mean the same everywhere in a network with BN. `parameter_groups` sorts the
# parameters and says what decay does in each group, under the optimizer that you name. The groups go
# into the optimizer as they are; both trainings above had theirs from here. {doc}`which-weight-decay`
# has the reasons and the numbers.

# %%
groups = bnlib.parameter_groups(
    model, weight_decay=5e-4, gamma_decay=0.0, report=report, optimizer="sgd"
)
print(groups)

# %% [markdown]
# ## Without BN
#
# A network can be had without its BN and go on as if it had it: folded into the weights, with a
# penalty that keeps the rates that were measured. What could not be folded stays, and is named; and
# where the conditions are not met under which the two networks are the same ({prf:ref}`thm-stationarity`,
# part 3), it says so. {doc}`removed` does it to networks at rest.

# %% tags=["remove-stderr"]
whole = bnlib.measure(sound, batches, cross_entropy)
twin, penalty = bnlib.remove_batch_norm(sound, whole)
print(penalty)

# %% tags=["hide-input"]
with torch.no_grad():
    check(
        "constraint",
        "the small network with BN folded away by bnlib.remove_batch_norm against itself in evaluation"
        " mode, in float32",
        measured=twin(x).numpy(),
        predicted=copy.deepcopy(sound).eval()(x).numpy(),
        tolerance=1e-5,
        source=source(epochs=small_epochs, batch_size=batch_size),
    )

# %% [markdown]
# ## From a shell
#
# For a first look no script is needed. If a file `nets.py` has the function `small` from above, then
#
# ```sh
# python -m bnlib nets:small --data mnist --batches 100
# ```
#
# prints the report of what it returns, with weights as they are initialized or, with `--weights`, as
# they were saved; `--csv` writes the channels to a file, `--help` has the rest. On this page, which
# has the name `__main__`:

# %% tags=["hide-input"]
from bnlib.__main__ import main

status = main(
    ["__main__:small", "--data", dataset, "--batches", "20", "--batch-size", str(batch_size)]
)

# %% [markdown]
# ## What it means for your network
#
# - Measure on batches of the size and kind that you train on, augmentation included, and ask for an
#   error that you can live with. What is within two errors of zero has no sign.
# - Read a rate as a property of the moment. Large and positive means: the loss would have longer
#   effective weights, and BN does not let it. A channel near zero has found its $\gamma$, or has no
#   part in the loss.
# - Between BN layers look at channels, or at nothing. Layer means say something where the output is
#   read without another BN.
# - A decay on $\gamma$ is felt by the layers whose scale somebody sees. Elsewhere it shrinks numbers.
# - Reasons first: a layer that you thought was trained and is `in evaluation mode`, or a channel at
#   exactly zero, is worth more than any rate.
#
# ## What we learned

# %% tags=["hide-input"]
before, after = (mean_rate[arm][free] for arm in arms)
of_channels = report.rate[np.isin(report.layer, positive.index[inside])]
sentence(
    f"All {len(report.rate):,} channels of a {name} were read, and {told.sum()} of {len(rows)} layers had"
    f" a rate that {report.batches} batches can tell from zero: a number without its error says little"
    " here."
)
sentence(
    f"With a decay of {decay_on_gamma:g} on γ the layers that no BN follows had mean rates of"
    f" {after.min():+.0e} to {after.max():+.0e}, without it {before.min():+.0e} to {before.max():+.0e}."
    " Both are far from where they would rest."
)
sentence(
    f"Between BN layers the means were at most {mean_rate.iloc[:, 0][inside].abs().max():.0e} in size,"
    f" where single channels had {np.sqrt((of_channels**2).mean()):.0e} (root mean square)."
)
sentence(
    f"The last layer of the small network had {last[few].rate:+.1e} ± {last[few].rate_error:.0e} on"
    f" batches of {few}, and {last[batch_size].rate:+.1e} ± {last[batch_size].rate_error:.0e} on those of"
    f" {batch_size} that it was trained on."
)

# %% [markdown]
# ## Where it stops
#
# - One network and one seed, trained for a few epochs. What decay on $\gamma$ did is what it did here,
#   and there is no verdict on it; {doc}`which-weight-decay` has those.
# - Neither network is at rest. What $\gamma$ would end at, the rate of a moment does not say.
# - Errors come from the scatter over batches of one set of images. They know nothing of other images.
#   And of twenty layers with a rate of zero, one is two errors away by chance.
# - A rate in units of `weight_decay` has the same pull along $v$, not the same effect: BN pulls in
#   the directions in which the data vary ({doc}`constraint`).
# - The identities are proven for the batch at hand in training mode. What the network does in
#   evaluation mode, with running statistics, is another function ({doc}`batch-norm`).
#
# ## Exercises
#
# **1. Derive.** BN directly before BN: let $\gamma_1, \beta_1, q_1$ belong to the first and
# $\gamma_2, q_2$ to the second, with the same $\varepsilon$. Which rate does the first have, given
# that of the second?
#
# :::{dropdown} Solution
# The output of the first is $\gamma_1\hat z + \beta_1$, so the second sees $q_2 = \gamma_1^2\,
# q_1/(q_1 + \varepsilon)$, and what it makes of $\hat z$ is scaled by
# $g = \gamma_2\gamma_1/\sqrt{q_2 + \varepsilon}$. The loss depends on $\gamma_1$ and $\gamma_2$
# through $g$ alone. With $\gamma_1\,\partial g/\partial\gamma_1 = g\,(1 - q_2/(q_2 +
# \varepsilon))$ and $\gamma_2\,\partial g/\partial\gamma_2 = g$,
#
# $$\gamma_1\frac{\partial J}{\partial\gamma_1} = \frac{\varepsilon}{q_2 +
# \varepsilon}\,\gamma_2\frac{\partial J}{\partial\gamma_2},
# \qquad \gamma_1^2\lambda_1 = \frac{\varepsilon}{q_2 + \varepsilon}\,\gamma_2^2\lambda_2 .$$
#
# It is the gauge of {prf:ref}`thm-depth`, part 2, for a weight that is one number. With $\varepsilon = 0$
# the first has no rate at all, whatever its $\gamma$: remove it.
# :::
#
# **2. Run.** Set `batches_at_most = 120`, four times as many. How much surer are the rates, and can more
# layers be told from zero?
#
# :::{dropdown} Solution
# (On the small set of digits, with the parameters above.) Errors are half as large, as they should be for
# four times as many batches, and 12 of 20 layers can be told from zero instead of 7. The seven keep their
# signs. The largest number of the short reading was that of `bn1`, $-7\cdot10^{-5}$ or so with an error
# as large; it becomes $7\cdot10^{-6}$. The layers `bn1` inside the blocks stay near zero: more batches only
# show how near.
# :::
