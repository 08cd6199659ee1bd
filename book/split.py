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
# # Signal and noise at any layer
#
# Builds on {doc}`noise`.
# After it you can measure the share of signal in any unit of any network.
#
# Noisy inputs split the variance of a first-layer unit in two: what the image puts there and what
# the noise does. Formulas for both need the covariance of the noise, and an additive noise to begin
# with. Behind a ReLU, or under random erasing, there is no such formula.
#
# This chapter measures the split instead, with one trick: show the network the *same image twice*,
# corrupted afresh. What the two answers share is signal; what they do not share is noise. That works
# for every unit, every layer and every corruption, and it needs no more than two forward passes.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k": see bnlib.data.load
seeds = [0, 1, 2]  # of initial weights, batches and noise
noise_std = 2.0  # of the Gaussian noise, in standard deviations of the pixels
hidden = [64, 64, 64]  # units in each hidden layer
epochs = 1  # passes over the training digits
looked_at = 2000  # test digits, at most
erased_side = 14  # side of the erased square, in pixels of 28
copies = 20  # of each image, where two copies are checked against many

# %% tags=["hide-input"]
import itertools
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import nn

from bnlib import data, experiments, theory, training
from companion.figures import Picture
from companion.page import check, finding, sentence
from companion.records import Source
from companion.statistics import as_text

torch.set_num_threads(1)

# %% [markdown]
# ## The same images, twice
#
# We train a network with batch normalization (BN) on noisy digits. Then we ask one unit of its first
# hidden layer for its value on every test digit, twice.


# %%
def values(network, images):
    """What every Linear puts out in evaluation mode, a layer an entry."""
    outputs, signal = [], torch.from_numpy(images.astype(np.float32))
    with torch.no_grad():
        for layer in network:
            signal = layer(signal)
            if isinstance(layer, nn.Linear):
                outputs.append(signal.double().numpy())
    return outputs


def twice(network, images, corrupt, rng):
    """Signal and noise of every unit, a layer an entry."""
    first, second = (values(network, corrupt(images, rng)) for _ in range(2))
    return [theory.signal_and_noise(*pair) for pair in zip(first, second)]


# %% tags=["hide-input"]
digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1
schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
(trained,) = training.train(
    [training.Arm("batch")],
    inputs["train"],
    digits.train.labels,
    schedule,
    seeds[0],
    noise_std,
)


def source(seeds, **conditions):
    network = {"network": "-".join(map(str, [784, *hidden, 10])), "epochs": epochs}
    return Source(dataset, len(inputs["train"]), seeds, network | conditions)


rng = np.random.default_rng(seeds[0])
some = inputs["test"][:400]
unit = int(values(trained, some)[0].std(axis=0).argmax())
picture = Picture(1, 3, width=7.4, height=3.2, sharex=True, sharey=True)
for panel, std in zip(picture, (0.5, 2.0, 6.0)):
    noisy = (data.corrupt(some, rng, noise_std=std) for _ in range(2))
    first, second = (values(trained, images)[0][:, unit] for images in noisy)
    signal, noise = theory.signal_and_noise(first, second)
    share = signal / (signal + noise)
    panel.dots(first, second, color="batch", markersize=1.8, alpha=0.6, words=False)
    panel.ax.axline((0, 0), slope=1, color="#8A8A8A", linewidth=0.8)
    panel.set(title=f"noise {std:g}: {share:.0%} signal", xlabel="first copy", aspect="equal")
    panel.note(f"a cloud along the diagonal, correlation {np.corrcoef(first, second)[0, 1]:.2f}")
picture[0].set(ylabel="second copy")
picture.show(
    says="What two noisy copies of an input agree on is the signal."
    " One unit, each dot a test digit. Little noise: both copies agree. Much noise: the first says"
    " little about the second. Their covariance is the signal.",
    source=source(seeds[:1], trained_on_noise=noise_std),
    name="split-two-copies",
)

# %% [markdown]
# ## The theorem
#
# :::{prf:theorem} Two copies split the variance of any unit
# :label: thm-split
# Let $z_1, z_2$ be the values of a unit of a fixed network on two corrupted copies of the same random
# input $x$: given $x$ they are independent and have the same law, that of $z$, with
# $\mathbb E z^2 < \infty$. Then
#
# 1. *(The split.)* $\operatorname{Var} z = \text{signal} + \text{noise}$ with
#
#    $$\text{signal} = \operatorname{Var} \mathbb E[z \mid x] = \operatorname{Cov}(z_1, z_2), \qquad
#    \text{noise} = \mathbb E \operatorname{Var}[z \mid x] = \tfrac12\, \mathbb E (z_1 - z_2)^2 .$$
#
#    If $\operatorname{Var} z > 0$, the share of signal is the correlation of $z_1$ and $z_2$.
# 2. *(First layer, additive noise.)* If $z = v^\top(x + n) + b$ with $n$ independent of $x$, of mean
#    $0$ and covariance $N$, then $\text{signal} = v^\top\Sigma v$ and $\text{noise} = v^\top N v$: the
#    budget of {prf:ref}`thm-noise`.
# 3. *(Noise explains no target.)* For every target $t$ of positive variance that is independent of the
#    corruption given $x$, $\operatorname{corr}(z, t)^2 \le \text{share of signal}$.
# 4. *(The estimate.)* From $n$ independent inputs, with $1/n$ in all averages, the estimates of signal
#    and noise have expectation $(1 - 1/n)$ times the truth, and tend to it as $n \to \infty$.
# :::
#
# :::{dropdown} Proof
# **1.** Given $x$, $z_1$ and $z_2$ are independent with the same mean $g(x) = \mathbb E[z \mid x]$, so
# $\mathbb E[z_1 z_2] = \mathbb E\big[\mathbb E[z_1 \mid x]\,\mathbb E[z_2 \mid x]\big] = \mathbb E\, g(x)^2$;
# all of this is finite, since $\mathbb E |z_1 z_2| \le \mathbb E z^2$. As
# $\mathbb E z_1 = \mathbb E z_2 = \mathbb E\, g(x)$,
#
# $$\operatorname{Cov}(z_1, z_2) = \mathbb E\, g(x)^2 - (\mathbb E\, g(x))^2 = \operatorname{Var} g(x) .$$
#
# The law of total variance is
#
# $$\operatorname{Var} z = \mathbb E z^2 - \mathbb E\, g(x)^2 + \mathbb E\, g(x)^2 - (\mathbb E z)^2
# = \mathbb E \operatorname{Var}[z \mid x] + \operatorname{Var} g(x) .$$
#
# And $\tfrac12\mathbb E(z_1 - z_2)^2 = \mathbb E z^2 - \mathbb E z_1 z_2 = \mathbb E z^2 - \mathbb E\, g(x)^2
# = \mathbb E\operatorname{Var}[z \mid x]$. Both copies have variance $\operatorname{Var} z$, so their
# correlation is $\text{signal} / \operatorname{Var} z$.
#
# **2.** $\mathbb E[z \mid x] = v^\top x + b$ has variance $v^\top\Sigma v$;
# $\operatorname{Var}[z \mid x] = \operatorname{Var} v^\top n = v^\top N v$ for every $x$.
#
# **3.** Given $x$, $z$ and $t$ are independent, so as in part 1
# $\operatorname{Cov}(z, t) = \operatorname{Cov}(g(x), \mathbb E[t \mid x])$, whose square is at most
# $\operatorname{Var} g(x) \operatorname{Var}\mathbb E[t \mid x] \le \text{signal} \cdot \operatorname{Var} t$ by
# Cauchy–Schwarz and part 1's decomposition of $\operatorname{Var} t$. Divide by
# $\operatorname{Var} z \operatorname{Var} t$.
#
# **4.** The sample covariance of $n$ independent pairs with $1/n$ has expectation
# $(1 - 1/n)\operatorname{Cov}(z_1, z_2)$. The estimate of the variance, the mean of the two copies',
# has expectation $(1 - 1/n)\operatorname{Var} z$; the noise is their difference. Both are continuous
# functions of averages of $z_1, z_2, z_1^2, z_2^2, z_1 z_2$, which converge by the law of large
# numbers. $\square$
# :::
#
# Nothing was assumed about what lies between input and unit. "A fixed network" matters: in training
# mode a unit also sees the rest of the batch, so the network is put into evaluation mode here.
# Scaling a unit changes neither share, so BN's own $\gamma$ does not enter the shares.
#
# ## Check it in five lines
#
# Three inputs, four corruptions, a ReLU: few enough to list every pair of copies, in fractions. The
# two numbers are equal. Change the inputs, the corruptions or the unit.


# %%
def unit(x, shift):  # not additive, not linear
    return max(Fraction(0), x * shift + x - shift / 3)


def mean(numbers):
    return sum(numbers) / len(numbers)


clean = [Fraction(-1), Fraction(1, 2), Fraction(3)]
shifts = [Fraction(-2), Fraction(0), Fraction(1), Fraction(5, 2)]
first, second = zip(*[(unit(x, a), unit(x, b)) for x in clean for a in shifts for b in shifts])
covariance = mean([a * b for a, b in zip(first, second)]) - mean(first) * mean(second)
given = [mean([unit(x, a) for a in shifts]) for x in clean]  # E[z | x]
signal = mean([g**2 for g in given]) - mean(given) ** 2
print(f"covariance of two copies {covariance}, variance of E[z | x] {signal}")

# %% tags=["hide-input"]
noise = mean([mean([unit(x, a) ** 2 for a in shifts]) - g**2 for x, g in zip(clean, given)])
in_fractions = [
    check(
        "split",
        "A ReLU under a multiplicative corruption, every pair listed: "
        "covariance of two copies against Var E[z|x]",
        covariance,
        signal,
        kind="exact",
    ),
    check(
        "split",
        "A ReLU under a multiplicative corruption, every pair listed: half "
        "the mean square of the difference against E Var[z|x]",
        mean([(a - b) ** 2 for a, b in zip(first, second)]) / 2,
        noise,
        kind="exact",
    ),
]

# %% [markdown]
# The same in torch: a network with two BN layers in evaluation mode, and a corruption that drops
# inputs. Five inputs can be dropped in 32 ways; again every pair of copies is listed, and only
# rounding is left.

# %% tags=["hide-input"]
torch.manual_seed(0)
deep = nn.Sequential(
    nn.Linear(5, 8),
    nn.BatchNorm1d(8),
    nn.ReLU(),
    nn.Linear(8, 6),
    nn.BatchNorm1d(6),
    nn.ReLU(),
    nn.Linear(6, 4),
).double()
x = torch.randn(30, 5, dtype=torch.float64)
deep(x)  # gives the running statistics something to hold
masks = torch.tensor(list(itertools.product((0.0, 2.0), repeat=5)), dtype=torch.float64)  # p = 1/2
with torch.no_grad():
    z = deep.eval()((x[:, None] * masks).reshape(-1, 5)).reshape(30, 32, 4).numpy()
first, second = (
    np.broadcast_to(z[index], (30, 32, 32, 4)).reshape(-1, 4)
    for index in (np.s_[:, :, None], np.s_[:, None, :])
)
signal, noise = theory.signal_and_noise(first, second)
under_dropout = [
    check(
        "split",
        "Torch, third layer, dropout on the inputs, every pair of masks: "
        "covariance of two copies against Var E[z|x]",
        signal,
        z.mean(axis=1).var(axis=0),
        tolerance=1e-12,
    ),
    check(
        "split",
        "Torch, third layer, dropout on the inputs, every pair of masks: "
        "the rest of the variance against E Var[z|x]",
        noise,
        z.var(axis=1).mean(axis=0),
        tolerance=1e-12,
    ),
]
finding(
    "Two corrupted copies of the same inputs split the variance of any unit into signal and noise:"
    " exactly in fractions ({signal:.4g} and {noise:.4g} for one ReLU), and to {worst:.0e} in the"
    " third layer of a network under dropout.",
    *in_fractions,
    *under_dropout,
    signal=in_fractions[0].measured,
    noise=in_fractions[1].measured,
)

# %% [markdown]
# ## First layer: what two copies find is what the formula says
#
# For each seed there is now a second network, trained on the clean digits. Both see the *same noisy*
# test digits, twice. On these the first layer knows both answers: $v^\top\Sigma v$ and $v^\top N v$
# from the weights, and the split from two noisy copies. Each dot is a unit.


# %% tags=["hide-input", "remove-stderr"]
def erase(images, rng, side, background):
    """Images with a square at a random place set to the background."""
    places, corners = np.arange(28), rng.integers(0, 28 - side + 1, size=(len(images), 2, 1))
    rows, columns = np.moveaxis((places >= corners) & (places < corners + side), 1, 0)
    inside = (rows[:, :, None] & columns[:, None, :]).reshape(len(images), -1)
    return np.where(inside, np.float32(background), images)


def look(run, noise_std, side, copies, count):
    """Signal and noise on test digits: noisy ones, and some with a square erased."""
    test = run.held_out["test"][0][:count]
    add_noise = partial(data.corrupt, noise_std=noise_std)
    remove = partial(erase, side=side, background=float(run.inputs.min()))
    noisy, erased = (
        twice(run.model, test, corrupt, np.random.default_rng([run.seed, 7]))
        for corrupt in (add_noise, remove)
    )
    rng = np.random.default_rng([run.seed, 8])
    many = zip(*(values(run.model, remove(test, rng)) for _ in range(copies)))
    weights = run.model[0].weight.detach().double().numpy()  # (units, pixels)
    cov = np.cov(test.astype(np.float64).T, ddof=0)
    return {
        "from_copies": noisy[0],
        "from_weights": (
            ((weights @ cov) * weights).sum(axis=1),
            noise_std**2 * (weights**2).sum(axis=1),
        ),
        "shares": [np.mean(signal / (signal + noise)) for signal, noise in noisy],
        "erased_shares": [signal / (signal + noise) for signal, noise in erased],
        "erased_noise": [noise.sum() for _, noise in erased],
        # E Var[z | x], summed over units, a layer an entry
        "many_noise": [np.var(layer, axis=0, ddof=1).mean(axis=0).sum() for layer in many],
    }


runs = experiments.sweep(
    [training.Arm("batch")],
    [experiments.Conditions(dataset, noise_std=std) for std in (noise_std, 0.0)],
    schedule,
    seeds,
    look=partial(look, noise_std=noise_std, side=erased_side, copies=copies, count=looked_at),
)
on_noise, on_clean = (runs[runs.noise_std == std] for std in (noise_std, 0.0))
measured, predicted = (
    np.array(on_noise[of].tolist())  # (seeds, signal and noise, units)
    for of in ("from_copies", "from_weights")
)

# %% tags=["hide-input"]
on_noisy = source(seeds, trained_on_noise=noise_std, test_noise=noise_std)
picture = Picture(width=5.6, height=3.8)
(panel,) = picture
for part, name in enumerate(("signal", "noise")):
    panel.dots(
        predicted[:, part].ravel(), measured[:, part].ravel(), name, name, markersize=4, words=False
    )
    off = np.abs(np.log(measured[:, part] / predicted[:, part])).max()
    panel.note(
        f"{name} of {measured[:, part].size} units between {predicted[:, part].min():.2g} and"
        f" {predicted[:, part].max():.2g}, at most {np.expm1(off):.0%} off the diagonal"
    )
panel.ax.axline((20, 20), (30, 30), color="#E69F00", linewidth=1)
panel.set(xlabel="from the weights: v'Σv and v'Nv", ylabel="from two noisy copies")
panel.set(xscale="log", yscale="log", legend=True)
panel.set(xticks=(5, 10, 20, 50), yticks=(5, 10, 20, 50))
panel.set(xticklabels=(5, 10, 20, 50), yticklabels=(5, 10, 20, 50))
panel.ax.tick_params(which="minor", labelbottom=False, labelleft=False)
picture.show(
    says="Two forward passes find, unit by unit, what the covariance matrices say: all dots lie on the"
    " diagonal.",
    source=on_noisy,
    name="split-first-layer",
)
first_layer = [
    check(
        "split",
        f"First layer on noisy test digits: {name} from two copies over "
        f"{name} from the weights, summed over units",
        measured[:, part].sum(axis=1) / predicted[:, part].sum(axis=1),
        1.0,
        kind="empirical",
        tolerance=0.03,
        role="theorem",
        scale="log",
        source=on_noisy,
    )
    for part, name in enumerate(("signal", "noise"))
]

# %% [markdown]
# ## Deeper layers, and what training on noise does
#
# Behind the first ReLU only the measurement is left. The share of signal of each unit is averaged
# over a layer.

# %% tags=["hide-input"]
shares = [np.array(rows.shares.tolist()) for rows in (on_noise, on_clean)]  # (seeds, layers)
names = [f"hidden {i + 1}" for i in range(len(hidden))] + ["logits"]
both_arms = source(seeds, trained_on_noise=[noise_std, 0.0], test_noise=noise_std)
picture = Picture()
picture[0].band(names, shares[0], "trained on noisy digits", "batch", scale="share")
picture[0].band(names, shares[1], "trained on clean digits", "none", marker="s", scale="share")
picture[0].set(ylim=(0, 1), ylabel="share of signal", legend={"loc": "lower right"})
gain = 100 * (shares[0] - shares[1])  # points
rise = 100 * (shares[0][:, -2] - shares[0][:, 0])
picture.show(
    says="Training on noise pays behind the first layer, in the share of signal."
    " Noisy test digits, mean share of signal of the units of a layer. The network that met the"
    f" noise in training differs by {gain[:, 0].mean():+.1f} points in the first hidden layer and by"
    f" {gain[:, -2].mean():+.1f} in the last.",
    source=both_arms,
    name="split-by-layer",
)
first_gain, last_gain, rises = (
    check(
        "split",
        f"Share of signal on noisy test digits in points, {statement}",
        samples,
        0.0,
        kind="empirical",
        relation="above",
        scale="points",
        source=both_arms,
    )
    for statement, samples in (
        ("first hidden layer: trained on noise minus trained on clean digits", gain[:, 0]),
        ("last hidden layer: trained on noise minus trained on clean digits", gain[:, -2]),
        ("trained on noise: last minus first hidden layer", rise),
    )
)
by_layer = (
    "in the share of signal on noisy digits: {interval:+.1f} points in the last hidden layer, {first}"
    " in the first."
)
in_first = as_text(gain[:, 0], "{:+.1f}", scale="points")
finding(
    {
        "borne out": f"Training on noise pays behind the first layer, {by_layer}",
        "not borne out": f"Training on noise costs behind the first layer, {by_layer}",
        "undecided": f"These {{repetitions}} seeds cannot say what training on noise changes {by_layer}",
    },
    last_gain,
    first=in_first,
)

# %% [markdown]
# BN fixes the variance a unit may have, and noise uses up a part of it. One would expect the first
# layer to turn away from noisy directions at once.

# %% tags=["hide-input"]
sentence(
    f"In a training this short its share of signal changed by {in_first} points; in the last hidden"
    f" layer the gain was {last_gain.measured:+.1f} points, {last_gain.measured - first_gain.measured:+.1f} of them"
    " behind the first layer."
)

# %% [markdown]
# Within the first layer units differ. Of all units of one network, these four have the largest share
# of signal, and these four the smallest.

# %% tags=["hide-input"]
signal, noise = np.array(on_noise.from_copies.iloc[0])
share = signal / (signal + noise)
order = np.argsort(-share)
picture = Picture(2, 4, width=6.4, height=3.7)
for panel, chosen in zip(picture, [*order[:4], *order[-4:]]):
    panel.image(trained[0].weight.detach().numpy()[chosen], f"{share[chosen]:.0%}")
picture.show(
    says="Units that hear the digit and units that hear the noise look alike: speckled."
    " Weights of single units, with their shares of signal. Top: the units that hear most of the"
    " digit. Bottom: those that hear most of the noise. All are speckled, at the border too, where no"
    " digit ever taught them anything.",
    source=source(seeds[:1], trained_on_noise=noise_std, test_noise=noise_std),
    name="split-weights",
)

# %% [markdown]
# ## Another corruption: a square is erased
#
# Random erasing sets a square of pixels at a random place to the background. It is not additive, not
# independent of the image, and it has no $N$. The measurement does not mind. To be sure of it, many
# copies of every image give mean and variance given the image directly.

# %% tags=["hide-input"]
erasing = source(seeds, trained_on_noise=0.0, erased_side=erased_side, copies=copies)
picture = Picture(1, 2, width=7.4, height=3.3, width_ratios=(1, 1.5))
left, right = picture
digit, background = inputs["test"][:1], float(inputs["train"].min())
shown = [digit] + [erase(digit, np.random.default_rng(n), erased_side, background) for n in (1, 4)]
bordered = [np.pad(image.reshape(28, 28), 1, constant_values=1.0) for image in shown]
left.ax.imshow(np.hstack(bordered), cmap="gray_r", interpolation="nearest")
left.ax.set_axis_off()
left.set(title="a digit and two copies")
left.note("a digit as it is, and with a square erased at two places")
jitter = np.random.default_rng(0)
averages = [np.mean(layer) for layer in on_clean.erased_shares.iloc[0]]
for place, layer in enumerate(on_clean.erased_shares.iloc[0]):
    at = place + jitter.uniform(-0.22, 0.22, len(layer))
    right.dots(at, layer, color="batch", markersize=3, alpha=0.8, words=False)
    right.line(
        [place - 0.32, place + 0.32], [averages[place]] * 2, words=False, color="theory", lw=3
    )
right.note("layer means " + ", ".join(f"{name} {a:.2f}" for name, a in zip(names, averages)))
right.set(ylim=(0, 1), title="share of signal of each unit")
right.ax.set_xticks(range(len(names)), names)
picture.show(
    says="Two copies find noise of any kind, erased pixels among them."
    f" A square of {erased_side} by {erased_side} pixels is erased. Each dot is a unit, each bar the"
    " mean of its layer.",
    source=source(seeds[:1], trained_on_noise=0.0, erased_side=erased_side).of_images(),
    name="split-erased",
)
from_two, from_many = (np.array(on_clean[of].tolist()) for of in ("erased_noise", "many_noise"))
erased = [
    check(
        "split",
        f"Random erasing, {name}: noise from two copies over noise from "
        "many copies of every test digit, summed over units",
        from_two[:, index] / from_many[:, index],
        1.0,
        kind="empirical",
        tolerance=0.1,
        role="theorem",
        scale="log",
        source=erasing,
    )
    for index, name in ((0, "first hidden layer"), (-1, "logits"))
]
finding(
    {
        "borne out": "On digits two forward passes find what they should: signal and noise of the first"
        " layer as its weights have them, and, with a square erased, the noise of {copies} copies; the"
        " ratios are {least:.3f} to {most:.3f}.",
        "not borne out": "On digits two forward passes do not find what they should: the ratios to what"
        " the weights say, and to {copies} copies, are {least:.3f} to {most:.3f}.",
        "mixed": "On digits two forward passes find what they should, against the weights and"
        " against {copies} copies, in {held} of {count} comparisons; the ratios are {least:.3f} to"
        " {most:.3f}.",
    },
    *first_layer,
    *erased,
    copies=copies,
)

# %% [markdown]
# ## What it means for your network
#
# - Put your network into evaluation mode, pass the same inputs through it twice, corrupted afresh,
#   and give the two arrays of a layer's outputs to `bnlib.theory.signal_and_noise`.
# - That works for any augmentation: the noise is what the augmentation does to a unit. A unit whose
#   share of signal is small cannot explain much of any target, whatever its weight above.
# - Take some thousand inputs, and a second pair of copies where the numbers matter: the difference of
#   the two readings is their error.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"In {first_layer[0].repetitions} networks two forward passes found"
    f" {first_layer[0].measured:.3f} of the signal and {first_layer[1].measured:.3f} of the noise that"
    f" the first layer's weights say, and, with a square erased, {erased[-1].measured:.3f} of the noise"
    f" in the logits that {copies} copies show. With noise of {noise_std:g}, training on it changed the"
    f" share of signal by {first_gain.measured:+.1f} points in the first hidden layer and by"
    f" {last_gain.measured:+.1f} in the last; from the first to the last it changed by"
    f" {rises.measured:+.1f} points."
)

# %% [markdown]
# - The variance of any unit is signal plus noise, and two corrupted copies of the same inputs measure
#   both. The share of signal is a plain correlation.
# - At the first layer, with additive noise, this is $v^\top\Sigma v$ against $v^\top N v$: the budget
#   that BN fixes.
# - The share of signal bounds how much of any target a unit can explain.
#
# ## Where it stops
#
# - The split says how a unit's variance is spent, not whether the signal is useful: the image's
#   position is signal too.
# - It belongs to a network in evaluation mode. In training mode batch statistics couple the images,
#   and the rest of the batch acts as one more corruption.
# - How the share changes from layer to layer is an observation on small networks and one data set, not
#   a theorem.
# - The noise level was chosen on a subset of 3,000 digits, among six settings of noise, step size,
#   length of training and weight decay, after seeing what they gave. In all six the last hidden layer
#   gained from training on noise; in the first layer the gain had either sign.
# - Two copies give one number a unit; its error falls like one over the root of the number of images,
#   and units with little noise need more of them.
#
# ## Exercises
#
# **1. Derive.** Show the network $K$ corrupted copies of an image and average the unit over them. What
# share of signal has the average? How many copies does a unit with a share of one tenth need to come
# to nine tenths?
#
# :::{dropdown} Solution
# Given $x$ the average has the mean $g(x)$ of each copy, and a $K$-th of the variance. So its signal is
# the same and its noise $\text{noise}/K$: with $s$ the share of one copy, the share of the average is
# $s/(s + (1 - s)/K)$. For $s = 1/10$ this is $K/(K + 9)$, and nine tenths take $K = 81$.
# :::
#
# **2. Run.** Set `noise_std = 0.5`. What does training on noise change now? Which of the two, signal
# or noise, do two copies measure less well, and why?
#
# :::{dropdown} Solution
# Nearly nothing is left to gain: in every layer of both networks about 0.97 of a unit's variance is
# signal, and training on noise moves that by some thousandths. The noise is measured less well: it is
# a small difference of two large numbers, the variance and the covariance of the copies, and both
# scatter with the test digits.
# :::
