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
# # Where the noise is
#
# Builds on {doc}`noise`, {doc}`digits` and {doc}`noise-sweep`.
# After it you know whether BN finds the noisy half of an image, and what that gains.
#
# So far noise fell on all pixels alike. Now only the left half of each image is noisy, and the
# right half is clean. A network that knew this would lean on the right half. Weight decay cannot
# know: it charges all weights the same. Batch normalization (BN) divides by a standard deviation
# that the noise is part of. What it sees is the covariance of the digits plus that of the noise, and
# the latter says where the noise is.
#
# But training on noisy images feels the noise too, with or without BN. This chapter takes the two
# apart, first where there is a closed form, then in a network.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k"
seeds = [0, 1, 2]  # repetitions behind every interval
noise_std = 2.0  # on the left half, in standard deviations of the pixels
digit = 3  # the read-out says: is it this digit?
components = 32  # principal components of each half that the read-out sees
gamma = 0.5  # fixed scale of the read-out, in standard deviations of the target
train_size = 50000  # images that the networks with a hidden layer are trained on
epochs = 1  # passes over them

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq

from bnlib import data, meter, models, theory, training
from bnlib.experiments import Conditions, sweep
from bnlib.moments import Moments
from bnlib.search import best_decays
from companion import statistics
from companion.figures import Picture
from companion.page import check, finding, offer, sentence, table
from companion.records import Source, name_of

torch.set_num_threads(1)
digits = data.load(dataset)
inputs = training.standardize(digits)["train"]
on_left = Conditions(dataset, train_size, noise_std=noise_std, noisy_side="left")
noisy_pixels = on_left.pixel_noise_std > 0  # (784,)

# %% [markdown]
# ## A read-out: the noise is paid for in the noisy half only
#
# The task is the one of {doc}`digits`: is the digit a certain one? To let training come to rest,
# the read-out sees the leading principal components, but of each half by itself. So each input
# belongs to one half, and white noise on the left pixels is white noise on the left inputs.

# %% tags=["hide-input"]
pixels = Moments.from_data(inputs, digits.train.labels)
noisy = np.arange(2 * components) < components  # which inputs are of the noisy half
basis = np.zeros((784, 2 * components))  # orthonormal columns, the left half's first
for half, columns in ((noisy_pixels, noisy), (~noisy_pixels, ~noisy)):
    directions = np.linalg.eigh(pixels.cov[np.ix_(half, half)])[1][:, ::-1]
    basis[np.ix_(half, columns)] = directions[:, :components]
x = (inputs - pixels.mean) @ basis
target = (digits.train.labels == digit).astype(np.float64)
target = (target - target.mean()) / target.std()
known = {"components": 2 * components, "digit": digit, "gamma": gamma}
noise = {"noise_std": noise_std, "noisy_side": "left"}
source = Source(dataset, len(x), conditions=known | noise)

# %% [markdown]
# Five ways to weight the inputs, each with a formula:
#
# - least squares on clean digits, $\Sigma^{-1}c$;
# - the same with ridge, $(\Sigma + \alpha I)^{-1}c$, with the $\alpha$ that does best on *noisy*
#   digits: what white shrinkage can do without having seen any noise;
# - least squares on noisy digits, $(\Sigma + N)^{-1}c$: training on noise is itself a penalty
#   {cite:p}`bishop1995`;
# - BN on noisy digits, {prf:ref}`thm-noise`;
# - weight normalization on noisy digits, $\lVert v\rVert$ fixed at the length of BN's weights,
#   $(\Sigma + N + \nu I)^{-1}c$.
#
# ## Check it yourself
#
# Where do the ways put their weights? Change `N`: put the noise on all inputs, or on those of the
# clean half, and look at the shares again.

# %%
N = noise_std**2 * np.diag(noisy.astype(float))  # its covariance: nothing on the clean half
clean = Moments.from_data(x, target)
with_noise = clean.with_noise(noise_cov=N)
fit = theory.least_squares(with_noise, gamma)


def ridge(moments, alpha):
    return np.linalg.solve(moments.cov + alpha * np.eye(len(noisy)), moments.cross)


def share(v):
    """Of the squared weights, on the noisy half."""
    return np.square(v[noisy]).sum() / np.square(v).sum()


for way, v in {"clean": ridge(clean, 0), "noisy": ridge(with_noise, 0), "BN": fit.weights}.items():
    print(f"{way:>6}: {share(v):.1%} of |v|^2 on the left, length {np.linalg.norm(v):.3f}")


# %% tags=["hide-input"]
def noisy_loss(v):
    return (1 - 2 * with_noise.cross @ v + v @ with_noise.cov @ v) / 2


best_alpha = min(np.geomspace(1e-3, 1e3, 200), key=lambda alpha: noisy_loss(ridge(clean, alpha)))
# the length falls as nu grows, from infinity at minus the smallest eigenvalue
length = np.linalg.norm(fit.weights)
smallest = np.linalg.eigvalsh(with_noise.cov)[0]
nu = brentq(lambda nu: np.linalg.norm(ridge(with_noise, nu)) - length, 1e-9 - smallest, 1e6)
ways = {
    "least squares, clean": ridge(clean, 0.0),
    "ridge, clean, best α": ridge(clean, best_alpha),
    "least squares, noisy": ridge(with_noise, 0.0),
    "BN, noisy": fit.weights,
    "weight norm., noisy": ridge(with_noise, nu),
}
variances = {way: v @ with_noise.cov @ v for way, v in ways.items()}
table(
    pd.DataFrame(
        {
            "|v|² on the noisy half": f"{share(v):.1%}",
            "noise in the output's variance": f"{v @ N @ v / variances[way]:.1%}",
            # when the output is scaled as well as can be
            "R² on noisy digits": f"{(with_noise.cross @ v) ** 2 / variances[way]:.4f}",
            "length |v|": f"{np.linalg.norm(v):.3f}",
        }
        for way, v in ways.items()
    ).set_axis(list(ways)),
    f"Five ways in closed form. Best ridge: α = {best_alpha:.2g}. Multiplier of weight"
    f" normalization: ν = {nu:.2g}. BN: λ = {fit.rate:.3f}; on clean digits it would be"
    f" {theory.least_squares(clean, gamma).rate:.3f}.",
    source,
)

# %% [markdown]
# Least squares on noisy digits and BN have the same shares. That is the first thing to say
# plainly: for one unit and squared loss, BN turns the weights *no further* than the noisy loss
# does alone. It changes their length. White shrinkage cannot tell the halves apart. Its best
# $\alpha$ explains less of the target than the fit that saw the noise, and so does weight
# normalization, whose multiplier $\nu$ is white too.

# %% tags=["hide-input"]
picture = Picture(1, 4, height=2.0)
shown = ["least squares, clean", "ridge, clean, best α", "BN, noisy", "weight norm., noisy"]
for panel, way in zip(picture, shown):
    panel.image(basis @ ways[way], way)
    panel.ax.axvline(13.5, color="#8A8A8A", linewidth=1)
    panel.ax.title.set_fontsize(9)
    panel.note(f"{share(ways[way]):.0%} of the squared weights on the noisy left half")
picture.show(
    says="Trained on noise, BN leaves the pixels where the noise is."
    " Weights of the read-out as images; left of the line is noise. With BN, trained on noise,"
    f" {share(fit.weights):.0%} of the squared weights are there, in the clean fit"
    f" {share(ways['least squares, clean']):.0%}. Each image has its own colour scale.",
    source=source,
    name="weights-by-half",
)

# %% [markdown]
# ## What BN adds: one rate for the signal, one more for the noise
#
# {prf:ref}`thm-noise` (iii) says what the weights pay on top of the clean loss: $\lambda\Sigma v$
# for signal, $(1 + \lambda)Nv$ for noise. Of the $1 + \lambda$, the 1 is the noisy loss and is
# there without BN; the $\lambda$ is BN's. So take the gradient of the clean loss, add
# $\lambda\Sigma v$, and look at what is left: nothing on the clean half, $(1 + \lambda)\sigma^2 v$
# on the noisy one.
#
# We hold that against torch. The noise is drawn, then adjusted so that in this sample it has
# exactly the covariance $N$ and no correlation with digits or target; a real `BatchNorm1d` is
# trained on it to rest.

# %% tags=["hide-input"]
explained = np.column_stack([np.ones(len(x)), x, target])
drawn = np.random.default_rng(seeds[0]).standard_normal((len(x), components))
drawn -= explained @ np.linalg.lstsq(explained, drawn)[0]
corrupted = x.copy()
corrupted[:, noisy] += np.linalg.qr(drawn)[0] * np.sqrt(len(x)) * noise_std
batch, answer = torch.from_numpy(corrupted), torch.from_numpy(target)

# %%
unit = models.unit(2 * components, gamma)
learned = [parameter for parameter in unit.parameters() if parameter.requires_grad]
loss_fn = training.half_squared_error
training.settle(learned, lambda: loss_fn(unit(batch), answer), iterations=400)
rate = meter.measure(unit, [(batch, answer)], loss_fn).rate[0]
v = theory.effective_weights(unit[0].weight.detach()[0], gamma, with_noise.cov)
clean_gradient = clean.cov @ v - clean.cross

# %% tags=["hide-input"]
_, share_check, *_ = [
    check(
        "noise",
        f"BatchNorm1d trained to rest with noise on the left half: {statement}",
        measured,
        predicted,
        tolerance=1e-6,
        source=source,
    )
    for statement, measured, predicted in (
        ("rate by the meter against kappa/gamma - 1, N not white", rate, fit.rate),
        ("share of |v|^2 there against the closed form", share(v), share(fit.weights)),
        (
            "share of |v|^2 there against least squares on noisy inputs without BN",
            share(v),
            share(ways["least squares, noisy"]),
        ),
        (
            "clean gradient plus lambda Sigma v against -(1 + lambda) N v, 0 on the clean half",
            clean_gradient + rate * clean.cov @ v,
            -(1 + rate) * N @ v,
        ),
    )
]
finding(
    "With noise on the left half of the image, a read-out with BN that is trained to rest has"
    " {measured:.1%} of its squared weights there, as least squares has on noisy inputs without BN;"
    " on clean digits it is {clean:.1%}.",
    share_check,
    clean=share(ways["least squares, clean"]),
)

# %% [markdown]
# So the penalty knows where the noise is. Who taught it? Here, the noisy loss alone. BN multiplies
# what the loss charges for noise by $1 + \lambda$, and charges signal $\lambda$, so that for one
# unit the balance between the halves stays. It also needs rest, and a network is rarely at rest.
#
# ## A network
#
# Now 100 hidden units, cross-entropy, mini-batches, and the pixels themselves. The arms are BN, no
# regularization, `weight_decay` from a grid, and two controls: weight normalization divides by
# $\lVert w\rVert$ and sees no data; layer normalization divides by a deviation over the units of
# *one image*, noise included. Each arm is trained twice, on clean digits and on digits with a
# noisy left half, from the same initial weights and in the same batches. Where `weight_decay` is
# tuned, it is by validation loss.

# %% tags=["remove-stderr"]
decays = (1e-3, 3e-3, 1e-2, 3e-2)
untuned = [training.Arm(kind) for kind in ("batch", "none", "weight", "layer")]
searched = [training.Arm("none", weight_decay=decay) for decay in decays]


def squared_weights(run):
    """Effective weights of the first layer: squared length a pixel."""
    linear, normalization = run.model[:2]
    with_bn = run.arm.normalization == "batch"
    first = models.fold(linear, normalization) if with_bn else linear
    return {"squares": first.weight.detach().double().square().sum(dim=0).tolist()}


schedule = training.Schedule(epochs=epochs)
conditions = [Conditions(dataset, train_size), on_left]
runs = sweep(untuned + searched, conditions, schedule, seeds, look=squared_weights)

# %% tags=["hide-input"]
squares = np.array(runs.pop("squares").tolist())  # (runs, 784)
loud = squares * pixels.cov.diagonal()
runs["share"] = squares[:, noisy_pixels].sum(axis=1) / squares.sum(axis=1)
runs["weighted"] = loud[:, noisy_pixels].sum(axis=1) / loud.sum(axis=1)
runs["noise_part"] = 1 - runs.signal_share
runs["run"] = runs.index
offer(runs.drop(columns="run"), "noisy_half_sweep.csv", "a trained network a row")
no_decay = runs[runs.weight_decay == 0]
kinds = {"BN": "batch", "none": "none", "weight norm.": "weight", "layer norm.": "layer"}
arms = {arm: no_decay[no_decay.normalization == kind] for arm, kind in kinds.items()}
arms["best decay"] = best_decays(runs)


def rows_of(arm, level):
    return arms[arm][arms[arm].noise_std == level].set_index("seed").loc[seeds]


def per_seed(column, level, arm):
    return rows_of(arm, level)[column].to_numpy()


columns = {
    "on clean digits": ("share", 0.0),
    "on noise": ("share", noise_std),
    "weighted, clean": ("weighted", 0.0),
    "weighted, noise": ("weighted", noise_std),
    "noise in the output": ("noise_part", noise_std),
    "test accuracy": ("test_accuracy", noise_std),
}
known = {"network": "784-100-10", "epochs": epochs}
network = Source(dataset, train_size, seeds, known | noise)
chosen = sorted(set(per_seed("weight_decay", noise_std, "best decay")))
table(
    pd.DataFrame(
        {
            title: [statistics.as_text(per_seed(column, level, arm), scale="share") for arm in arms]
            for title, (column, level) in columns.items()
        },
        index=list(arms),
    ),
    "First two columns: share of the first layer's squared effective weights on the left half,"
    " trained on clean digits and on digits with noise there. Weighted: each square times its"
    " pixel's variance on clean digits. The last two columns: on noise. Best decay there:"
    f" {', '.join(f'{decay:g}' for decay in chosen)}. Means with 95 % intervals over seeds.",
    network,
)

# %% [markdown]
# The two views differ in what they see. Weighted by the pixels' variance, a weight counts by the
# signal it lets in; unweighted, weights at the border count too, where there is nothing but noise.
#
# The picture: root mean square weights by pixel, over the units. Where a pixel never changes and
# no noise falls on it, a weight stays what it was at the start, unless decay removes it.

# %% tags=["hide-input"]
picture = Picture(2, 5, height=3.3)
on_clean = {arm: per_seed("share", 0.0, arm) for arm in arms}
on_noise = {arm: per_seed("share", noise_std, arm) for arm in arms}
from_to = [f"{arm} {on_clean[arm].mean():.2f} to {on_noise[arm].mean():.2f}" for arm in arms]
both = [(level, arm) for level in (0.0, noise_std) for arm in arms]
for panel, (level, arm) in zip(picture, both):
    trained = "on noise" if level else "on clean"
    size = np.sqrt(squares[rows_of(arm, level).run].mean(axis=0)).reshape(28, 28)
    panel.ax.imshow(size, cmap="viridis", vmin=0, interpolation="nearest")
    panel.ax.axvline(13.5, color="white", linewidth=0.8)
    panel.ax.set(xticks=[], yticks=[])
    panel.ax.set_title("" if level else arm, loc="center", fontsize=10)
    panel.ax.set_ylabel(f"trained {trained}" if arm == "BN" else "")
    left = (on_noise if level else on_clean)[arm].mean()
    panel.note(f"{arm}, trained {trained}: {left:.2f} of the squared weights on the left")
picture.show(
    says="Training on noise moves weights between the halves of the image."
    " Root mean square effective weights by pixel, bright is large, each on its own scale."
    f" Share on the left half, clean to noisy: {', '.join(from_to)}.",
    source=network,
    name="where-the-noise-is",
)

# %% [markdown]
# The closed form lets one expect that weights leave the noisy half with or without BN: the noisy
# loss drives them out. Do they, and do they with BN more than without?

# %% tags=["hide-input"]
moved = {arm: on_noise[arm] - on_clean[arm] for arm in arms}
weighted = {
    arm: per_seed("weighted", noise_std, arm) - per_seed("weighted", 0.0, arm) for arm in arms
}
picture = Picture(height=3.0)
(panel,) = picture
for name, changes, color, aside in (
    ("each weight alike", moved, "batch", -0.1),
    ("weighted by the pixels' variance", weighted, "signal", 0.1),
):
    samples = 100 * np.transpose([changes[arm] for arm in arms])  # (seeds, arms)
    panel.points(np.arange(len(arms)) + aside, samples, name, color, scale="points", words=False)
    told = ", ".join(f"{arm} {value:+.1f}" for arm, value in zip(arms, samples.mean(axis=0)))
    panel.note(f"{name}: {told}")
panel.level(0, color="none", style="-")
panel.set(title="change of the share on the noisy half, points", legend={"fontsize": 9})
panel.ax.set_xticks(range(len(arms)), list(arms))
picture.show(
    says="Below zero, weights leave the noise."
    " By how much the share of squared weights on the noisy half differs between training on noise"
    " and training on clean digits.",
    source=network,
    name="weights-leave",
)

# %% tags=["hide-input"]
on = name_of(dataset)


def below_zero(statement, difference):
    """Of a difference of shares."""
    return check(
        "noise",
        f"{statement}, in points",
        100 * difference,
        0.0,
        kind="empirical",
        relation="below",
        scale="points",
        source=network,
    )


words = {
    "BN": "BN",
    "none": "no regularization",
    "best decay": "the best weight_decay",
    "weight norm.": "weight normalization",
}
with_bn, alone, with_decay = [
    below_zero(
        f"share of the first layer's squared weights on the noisy half of {on}, {words[arm]}: trained on"
        " noise minus trained on clean digits",
        moved[arm],
    )
    for arm in ("BN", "none", "best decay")
]
for arm in ("none", "best decay", "weight norm."):
    below_zero(
        f"share of the first layer's squared weights on the noisy half of {on}, trained on noise: BN"
        f" minus {words[arm]}",
        on_noise["BN"] - on_noise[arm],
    )
changes = (
    "the share of its first layer's squared weights there changes by {interval:+.1f} points, without"
    " regularization by {none:+.1f}, with the best weight_decay by {decay:+.1f}."
)
finding(
    {
        "borne out": f"A network with BN leaves the noisy half: {changes}",
        "not borne out": f"A network with BN moves towards the noisy half: {changes}",
        "undecided": "Whether a network with BN leaves the noisy half, {repetitions} seeds cannot"
        f" say: {changes}",
    },
    with_bn,
    none=alone.measured,
    decay=with_decay.measured,
)
regret = check(
    "regret",
    f"regret of untuned BN against the best weight_decay, in points of test accuracy, {on}, noise on the"
    " left half",
    100
    * (
        per_seed("test_accuracy", noise_std, "best decay")
        - per_seed("test_accuracy", noise_std, "BN")
    ),
    1.0,
    kind="empirical",
    relation="below",
    scale="points",
    source=network,
)
loses = "Untuned BN loses {interval:.2f} points of test accuracy against the best weight_decay"
finding(
    {
        "borne out": f"{loses}, less than the one that is allowed for.",
        "not borne out": f"{loses}, more than the one that is allowed for.",
        "undecided": f"{loses}; whether that is less than one, {{repetitions}} seeds cannot say.",
    },
    regret,
)

# %% [markdown]
# Where weights do not leave the noisy half without regularization, the noisy loss alone was not
# enough in this training. There is a place to look for the reason: pixels that are the same in all
# images. On the noisy half they carry noise and nothing else. At rest their weights would be 0.
# But each noisy batch also pushes them at random, and weights that nothing bounds keep what they
# collect. So compare them with the weights of such pixels on the clean half.

# %% tags=["hide-input"]
constant = np.ptp(inputs, axis=0) == 0
ratio = {}
for arm in ("BN", "none", "best decay", "weight norm.", "layer norm."):
    of_pixels = squares[rows_of(arm, noise_std).run]
    noise_alone = of_pixels[:, constant & noisy_pixels].mean(axis=1)
    ratio[arm] = noise_alone / of_pixels[:, constant & ~noisy_pixels].mean(axis=1)
table(
    pd.DataFrame(
        [[statistics.as_text(found, "{:.2f}", scale="log") for found in ratio.values()]],
        index=["noisy half over clean half"],
        columns=list(ratio),
    ),
    "Mean squared weight of pixels that are the same in all images. Geometric means with 95 %"
    " intervals over seeds.",
    network,
)
of_noise, *_ = [
    check(
        "noise",
        "mean squared weight of pixels that carry noise alone over that of constant clean pixels,"
        f" {on}: {words.get(arm, 'layer normalization')} over no regularization",
        ratio[arm] / ratio["none"],
        1.0,
        kind="empirical",
        relation="below",
        scale="log",
        source=network,
    )
    for arm in ratio
    if arm != "none"
]
kept = {arm: np.exp(np.log(found).mean()) for arm, found in ratio.items()}
grown = (
    " on pixels that are the same in all images, squared weights are {bn:.1f} times as large where"
    " noise falls as where it does not, without regularization {none:.1f} times; the ratio of the two"
    " is {interval:.2f}."
)
finding(
    {
        "borne out": "BN keeps weights that carry nothing but noise smaller than no regularization does:"
        + grown,
        "not borne out": "BN lets weights that carry nothing but noise grow larger than no regularization does:"
        + grown,
        "undecided": "Whether BN keeps weights that carry nothing but noise smaller than no regularization"
        " does, {repetitions} seeds cannot say:" + grown,
    },
    of_noise,
    bn=kept["BN"],
    none=kept["none"],
)

# %% [markdown]
# ## What it means for your network
#
# - If a known part of your inputs is noisy, train on it as it is, noise included. For one unit
#   that alone turns the weights as well as can be; no single `weight_decay` can.
# - In a network that is not trained to rest, something has to bound the weights that only noise
#   reaches. The last table says how far each way does.
# - That weights leave the noise is not a gain in itself: look at the accuracy.
#
# ## What we learned

# %% tags=["hide-input"]
accuracy = {arm: 100 * per_seed("test_accuracy", noise_std, arm).mean() for arm in arms}
ways_told = ", ".join(f"{arm} {100 * moved[arm].mean():+.1f}" for arm in arms)
sentence(
    f"A read-out with BN at rest has {share(fit.weights):.0%} of its squared weights on the noisy half,"
    f" least squares on noisy inputs {share(ways['least squares, noisy']):.0%}, on clean ones"
    f" {share(ways['least squares, clean']):.0%}. In a network the share there changes, from training on"
    f" clean digits to training on noise, by these points: {ways_told}. Weighted by the signal that they"
    f" let in: {', '.join(f'{arm} {100 * change.mean():+.1f}' for arm, change in weighted.items())}. Test accuracy on"
    f" noise in percent: {', '.join(f'{arm} {percent:.1f}' for arm, percent in accuracy.items())}. On"
    " constant pixels noise makes squared weights so many times as large:"
    f" {', '.join(f'{arm} {times:.1f}' for arm, times in kept.items())}."
)

# %% [markdown]
# - With noise on one half, the penalty at BN's solution is $\lambda$ on all signal and $1 +
#   \lambda$ on the noise, and the noise is on that half alone. A trained `BatchNorm1d` does this
#   to many digits.
# - For one unit and squared loss the noisy loss does all of the turning, and BN sets the length.
#   White shrinkage cannot turn the weights as $N$ does.
# - In a network that is not at rest, weights of pixels that carry noise alone collect its pushes, and
#   something has to bound them.
# - To leave the noise is not yet to be accurate.
#
# ## Where it stops
#
# - A large weight on a clean pixel that hardly varies costs next to nothing, yet counts in the
#   share. The weighted columns and the noise's part in the output are the other views.
# - Networks are compared after a fixed number of steps, not at rest.
# - Layer normalization, too, divides by something that contains the noise. Which of the two it is
#   that bounds the weights, the noise in the divisor or the division, is not told apart here.
# - Initial weights on pixels that never change stay in the sum, for all arms but weight decay.
#
# ## Exercises
#
# **1. Derive.** The read-out has two inputs that are uncorrelated, one on each half, both with
# variance 1 and the same covariance $c$ with the target. The left one gets noise of variance
# $\sigma^2$. Which share of the squared weights is on the left for least squares on noisy inputs,
# for BN, and for weight normalization with multiplier $\nu \ge 0$? Why can weight normalization
# not go as far?
#
# :::{dropdown} Solution
# The weights are $c/(1 + \sigma^2)$ and $c$ for least squares, and BN scales both by the same
# $1/(1 + \lambda)$: the share is $1/(1 + (1 + \sigma^2)^2)$ for both. Weight normalization has
# $c/(1 + \sigma^2 + \nu)$ and $c/(1 + \nu)$, with the ratio $1 + \sigma^2/(1 + \nu)$, which falls
# as $\nu$ grows: the share is $1/(1 + (1 + \sigma^2/(1 + \nu))^2)$. What is added to both
# variances alike makes them more alike.
# :::
#
# **2. Run.** Set `gamma = 0.3`. Which numbers of BN in the table of five ways change, and by how
# much? Why does the row of weight normalization change too, and nothing in the network?
#
# :::{dropdown} Solution
# BN's weights are $v = (\gamma/\kappa)\,(\Sigma + N)^{-1}c$ and $1 + \lambda = \kappa/\gamma$,
# where $\kappa$ depends on the data alone. So the length becomes 0.3/0.5 of what it was and $1 +
# \lambda$ becomes 0.5/0.3 of it; shares and $R^2$ do not see a length, and stay. Weight
# normalization is given the length of BN's weights, so that a smaller one asks for a larger $\nu$,
# whiter weights and a larger share on the noisy half. The networks learn their $\gamma$: the
# parameter is that of the read-out.
# :::
