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
# # Scale: what must be retuned, and what need not
#
# Builds on {doc}`invariance` and {doc}`least-squares`.
# After it you know what a change of units costs without BN.
#
# Pixels can run from 0 to 1 or from 0 to 255; the pictures are the same. A network with batch
# normalization (BN) does not notice ({prf:ref}`thm-invariance`). A hand-tuned `weight_decay` does,
# and so does the learning rate. How does the best rate move, and what does it cost to keep the old
# one?
#
# We multiply real digits by $a$ and search anew at each scale. A linear read-out shows the law of
# the theorem, $a^2$, to many decimals. A network with a hidden layer shows another exponent, and
# we see why.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k"
seeds = [0, 1, 2]  # of weights, batches, noise, and of the choice of digits
scales = [0.25, 1.0, 4.0]  # factors a on the inputs, noise included; 1 among them
read_out_rows = 2000  # training digits of the exact read-out
train_size = 2000  # training digits of the networks
noise_std = 1.0  # of Gaussian noise on the pixels, in their standard deviations
hidden = 50  # units in the hidden layer
epochs = 6  # passes over the training digits, network; the read-out has twice as many
gamma = 0.2  # fixed scale of the exact BN read-out

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from bnlib import data, theory, training
from bnlib.experiments import Conditions, by_seed, sweep
from bnlib.moments import Moments
from bnlib.search import best_decays, smooth_best_decays
from companion.figures import Picture
from companion.page import check, finding, offer, sentence
from companion.records import Source
from companion.statistics import as_text

digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1


def noisy_digits(seed):
    """Training and validation digits of a read-out, noise included, and their one-hot classes."""
    rng = np.random.default_rng([seed, 12])
    rows = rng.permutation(len(inputs["train"]))[:read_out_rows]
    x, held_out = (
        data.corrupt(images.astype(np.float64), rng, noise_std=noise_std)
        for images in (inputs["train"][rows], inputs["validation"][:2000])
    )
    classes = np.eye(10)
    return x, classes[digits.train.labels[rows]], held_out, classes[digits.validation.labels[:2000]]


# %% [markdown]
# ## Check it in five lines
#
# Ten linear outputs with BN are fitted to the ten classes of noisy digits by least squares. Their
# rate, in units of `weight_decay`, follows the square of the scale; the outputs do not move at
# all. Try any other scale, or a negative one.

# %%
x, t, held_out, _ = noisy_digits(seed=0)
for a in (1, 2, 10):
    moments = Moments.from_data(a * x, t)
    fit = theory.least_squares(moments, np.full(10, gamma))
    output = (a * held_out - moments.mean) @ fit.weights
    rate = fit.l2_rate.mean()
    print(
        f"a = {a:2}: rate {rate:9.5f}, over a² {rate / a**2:.5f}, first output {output[0, 0]:.5f}"
    )

# %% [markdown]
# ## A read-out, exactly
#
# The same read-out without BN has a penalty $\frac\alpha2|v|^2$ instead. One eigendecomposition of
# $\Sigma$ gives the fit at every $\alpha$. The rate is chosen on the validation digits: first on a
# grid of quarter decades, then by a line search around the best of it. Every scale is solved by
# itself.

# %% tags=["hide-input"]
grid = np.arange(-4, 4.01, 0.25)  # log10 of the rate


def solved(seed, a):
    """Validation error along the grid, log10 of the best rate; BN's rates and outputs."""
    x, t, held_out, held_out_t = noisy_digits(seed)
    moments = Moments.from_data(a * x, t)
    s, U = moments.spectrum
    centred = a * held_out - moments.mean
    seen, along = centred @ U, U.T @ moments.cross

    def error(log_rate):
        outputs = t.mean(axis=0) + seen @ (along / (s + 10**log_rate)[:, None])
        return float(np.mean((outputs - held_out_t) ** 2) / np.var(held_out_t))

    curve = [error(log_rate) for log_rate in grid]
    around = grid[np.argmin(curve)] + np.array([-0.25, 0.25])
    found = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-9})
    fit = theory.least_squares(moments, np.full(10, gamma))
    return curve, found.x, fit.l2_rate, centred @ fit.weights


cells = [(seed, a) for seed in seeds for a in scales]
found = [dict(zip(cells, column)) for column in zip(*(solved(*cell) for cell in cells))]
curves, best, bn_rates, bn_outputs = found


def slope(log_rates):
    """Of log10 of a rate against log10 a."""
    return float(np.polyfit(np.log10(scales), log_rates, 1)[0])


def over_scales(panel, **properties):
    """Scales on a logarithmic axis, with a tick at each."""
    panel.set(xscale="log", xlabel="a, factor on the inputs", xticks=scales, **properties)
    panel.ax.set_xticklabels([f"{a:g}" for a in scales])
    panel.ax.minorticks_off()


known = {"noise_std": noise_std, "input_scale": scales}
exact = Source(dataset, read_out_rows, seeds, {"network": "784-10", "gamma": gamma} | known)
by_hand = 10 ** np.array([[best[seed, a] for a in scales] for seed in seeds])
set_by_bn = np.array([[bn_rates[seed, a].mean() for a in scales] for seed in seeds])
picture = Picture(1, 2, height=3.4)
left, right = picture
for a, shade in zip(scales, np.linspace(0.35, 1, len(scales))):
    curve = curves[seeds[0], a]
    left.line(10**grid, curve, f"a = {a:g}", "l2", alpha=shade)
    left.dots(10 ** best[seeds[0], a], min(curve), None, "l2", words=False, alpha=shade)
left.set(xscale="log", xlabel="α, rate tuned by hand", ylabel="validation error / variance")
left.set(ylim=(None, 1), legend=True)
right.band(scales, by_hand, "best by hand", "l2", marker="s", scale="log")
if (set_by_bn > 0).all():  # a γ that is too large makes it negative
    right.band(scales, set_by_bn, "set by BN", "batch", scale="log")
middle = np.exp(np.log(by_hand[:, scales.index(1.0)]).mean())
right.line(scales, middle * np.square(scales), "slope 2", "theory", "--", words=False, lw=1)
over_scales(right, yscale="log", ylabel="α", legend=True)
picture.show(
    says="Inputs times a ask for a rate times a², and BN's own follows by itself."
    " A ridge read-out of digits. Left: multiplying the inputs by a shifts the whole curve by"
    " a². Right: so does the best rate move, and so does the L2-equivalent rate that BN sets, which"
    " nobody had to search for. The lines are parallel, not equal: how far they are apart depends"
    f" on γ = {gamma:g}.",
    source=exact,
    name="scale-read-out",
)

# %% tags=["hide-input"]
tuned_slopes = [slope(np.log10(rates)) for rates in by_hand]
tuned_check = check(
    "invariance",
    "Ridge read-out of digits, every seed: slope of the log of the best rate against the log of the"
    " input scale",
    measured=np.array(tuned_slopes),
    predicted=np.full(len(seeds), 2.0),
    tolerance=1e-5,
    source=exact,
)
bn_check = check(
    "invariance",
    "BN read-out of digits in closed form, ten outputs, every seed and scale: L2-equivalent rate"
    " over the square of the scale against the rate at scale 1",
    measured=np.array([bn_rates[seed, a] / a**2 for seed, a in cells]),
    predicted=np.array([bn_rates[seed, 1.0] for seed, _ in cells]),
    tolerance=1e-12,
    source=exact,
)
check(
    "invariance",
    "BN read-out of digits in closed form, every seed and scale: outputs on validation digits"
    " against those at scale 1",
    measured=np.array([bn_outputs[cell] for cell in cells]),
    predicted=np.array([bn_outputs[seed, 1.0] for seed, _ in cells]),
    tolerance=1e-12,
    source=exact,
)
finding(
    "For a linear read-out the best rate of a search moves as the input scale to the power"
    " {power:.4f}, and the rate that BN sets as its square, to {worst:.0e}.",
    tuned_check,
    bn_check,
    power=np.mean(tuned_slopes),
)

# %% [markdown]
# ## With a hidden layer the exponent is another
#
# The theorem speaks of the weights that meet the inputs. `weight_decay` as it is used acts on
# *all* weights, and with ReLU the layers can share the work: $a$ in the first layer can be undone
# in any layer above. Let a ReLU network without biases have $L$ layers of weights. Dividing every
# one of them by $a^{1/L}$ undoes the factor on the inputs:
#
# $$f(ax;\, a^{-1/L}W_1, \dots, a^{-1/L}W_L) = f(x;\, W_1, \dots, W_L), \qquad
# \tfrac{\alpha}{2}\sum_l \lVert a^{-1/L}W_l\rVert^2 = \tfrac{1}{2}\, a^{-2/L}\alpha \sum_l \lVert
# W_l\rVert^2 .$$
#
# So rate $a^{2/L}\alpha$ on $ax$ has the minima that $\alpha$ has on $x$, with the same
# predictions. The best rate moves as $a^{2/L}$: as $a^2$ for a read-out, as $a$ for one hidden
# layer. The same substitution in a gradient step says that the learning rate has to move as
# $a^{-2/L}$. Biases do not take part, and training from a given start that stops after some epochs
# does not end at a minimum: for networks as they are trained the exponent is a question to the
# data.


# %% tags=["hide-input"]
def outputs_after_training(a):
    """Of a ReLU network with two layers of weights, each divided by the root of a."""
    torch.manual_seed(seeds[0])
    layers = nn.Linear(784, 32, bias=False), nn.ReLU(), nn.Linear(32, 10, bias=False)
    for layer in (layers[0], layers[2]):
        layer.weight.data /= np.sqrt(a)
    model = training.train_alone(
        nn.Sequential(*layers),
        a * inputs["train"][:1000],
        digits.train.labels[:1000],
        training.Schedule(epochs=3, learning_rate=0.1 / a),
        seeds[0],
        weight_decay=0.01 * a,
    )
    return model(torch.from_numpy(a * inputs["test"])).detach().numpy()


check(
    "invariance",
    "ReLU network without biases, two layers: start over root a, rate times a, learning rate over"
    " a. Outputs after SGD with momentum on a x, a = 3, against a = 1",
    outputs_after_training(np.float32(3)),
    outputs_after_training(np.float32(1)),
    tolerance=1e-5,  # float32, over some twenty steps
    source=Source(dataset, 1000, seeds[:1], {"network": "784-32-10 without biases", "epochs": 3}),
)

# %% [markdown]
# So with the start scaled too, not only the minima but every step is the same. Below the start is
# torch's own at every scale, as it is in practice: at large $a$ the first weights are too large,
# and a decay has more of them to undo.
#
# ## A search at every scale
#
# Two BN-free models are trained on noisy digits: a softmax read-out ($L = 1$) and a network with a
# hidden layer ($L = 2$). At each scale and for each seed the search has a grid of `weight_decay` in
# half decades; the lowest validation loss decides. The learning rate moves with the scale as above:
# without that the BN-free models would not have a fair chance, since at a large scale they diverge and
# at a small one hardly learn. The read-out is trained for longer. The BN network has no decay, and the
# same learning rate at all scales.
#
# Stopping early does the work of a decay, too, and how much of it depends on how far training got. So
# there is a second read-out, trained with a tenth of the learning rate, that stops far from its
# minimum.

# %% tags=["remove-stderr"]
decays = [0.0, *(10.0 ** np.arange(-4, 1.01, 0.5)).tolist()]
without_bn = [training.Arm("none", weight_decay=decay) for decay in decays]
# number of layers L: hidden layers, epochs, learning rate at a = 1
models = {
    "softmax read-out": (1, (), 2 * epochs, 0.1),
    "softmax read-out, stopped early": (1, (), 2 * epochs, 0.01),
    "one hidden layer": (2, (hidden,), epochs, 0.1),
}


def at(a):
    return Conditions(dataset, train_size, noise_std=noise_std, input_scale=a)


def schedules(a):
    return [
        training.Schedule(layers, passes, learning_rate=rate * a ** (-2 / L))
        for L, layers, passes, rate in models.values()
    ]


searched = pd.concat(
    [sweep(without_bn, [at(a)], schedules(a), seeds) for a in scales], ignore_index=True
)
runs_each = len(seeds) * len(without_bn)  # of a model at one scale
searched["model"] = np.tile(np.repeat(list(models), runs_each), len(scales))
schedule = training.Schedule((hidden,), epochs)
with_bn = sweep([training.Arm("batch")], [at(a) for a in scales], schedule, seeds)

# %% [markdown]
# For each seed and scale: the best run, and the best decay between the grid's points, where a cubic
# through the validation losses around the best is lowest.

# %% tags=["hide-input"]
offer(pd.concat([with_bn, searched]), "scale_sweeps.csv", "a trained network a row")


def at_scale(rows, values):
    return by_seed(rows, values, "input_scale")[scales]


tuned, best_decay = {}, {}
for name in models:
    rows = searched[searched.model == name]
    tuned[name] = best_decays(rows, ["input_scale"])
    smooth = smooth_best_decays(rows, ["input_scale"])
    best_decay[name] = at_scale(smooth, "weight_decay")
    sentence(
        f"{name}: best decay at an end of the grid in {int(smooth.at_end.sum())} of {len(smooth)}"
        f" searches; the others know log10 of it to a standard error of"
        f" {np.nanmedian(smooth.log10_error):.2f}, the median."
        f" {int(rows.validation_loss.isna().sum())} of {len(rows)} runs diverged to no number."
    )
slopes = {
    name: [slope(np.log10(row)) for row in rates.to_numpy()] for name, rates in best_decay.items()
}
bn_rate = at_scale(with_bn, "l2_rate")


# %% tags=["hide-input"]
def trained_on(network, epochs):
    return Source(dataset, train_size, seeds, {"network": network, "epochs": epochs} | known)


softmax, network = trained_on("784-10", 2 * epochs), trained_on(f"784-{hidden}-10", epochs)
sources = dict(zip(models, (softmax, softmax, network)))
both = trained_on(["784-10", f"784-{hidden}-10"], [2 * epochs, epochs])
bn_positive = bool((bn_rate > 0).all(axis=None))
drawn = {
    f"best weight_decay: {name}, L = {models[name][0]}": (best_decay[name], color, marker)
    for name, color, marker in zip(models, ("noise", "none", "l2"), ("s", "^", "s"))
}
if bn_positive:  # a logarithmic axis cannot show it otherwise
    drawn["α set by BN, one hidden layer"] = (bn_rate, "batch", "o")
picture = Picture(height=3.6)
(panel,) = picture
for label, (rates, color, marker) in drawn.items():
    panel.band(scales, rates, label, color, marker, scale="log")
for name, (L, *_) in models.items():
    through = np.exp(np.log(best_decay[name][1.0]).mean()) * np.power(scales, 2 / L)
    panel.line(scales, through, None, "theory", "--", words=False, lw=1)
over_scales(panel, yscale="log", ylabel="rate, units of weight_decay", legend={"fontsize": 8})
picture.show(
    says="Without BN the best weight_decay grows with the scale of the inputs, and a search has to follow."
    " What a search finds at each scale without BN, and the rate that BN sets. Slopes of the"
    " searches: "
    + ", ".join(f"{as_text(found, '{:.2f}')} for {name}" for name, found in slopes.items())
    + ". Dashed: slope 2/L. Intervals are those of the logarithm.",
    source=both,
    name="scale-search",
)

# %% [markdown]
# Does the best rate move as $a^{2/L}$? Does the network's move as $a^2$? And BN's own rate, which
# acts on the first layer alone, so that its exponent should be 2 whatever lies above?

# %% tags=["hide-input"]
first = "Trained on noisy digits without BN, "
law = {
    name: check(
        "invariance",
        f"{first}{name}: slope of the log of the best weight_decay against the log of the input scale,"
        f" against 2/{L}",
        slopes[name],
        2 / L,
        kind="empirical",
        tolerance=0.2,
        role="assumption" if "early" in name else "exploratory",
        source=sources[name],
    )
    for name, (L, *_) in models.items()
}
check(
    "invariance",
    f"{first}one hidden layer: slope of the log of the best weight_decay against the log of the input"
    " scale, against the 2 of a single layer",
    slopes["one hidden layer"],
    2.0,
    kind="empirical",
    tolerance=0.2,
    role="assumption",
    source=network,
)
set_by = "has not one sign"
if bn_positive:
    by_bn = check(
        "invariance",
        "Trained on noisy digits with BN: slope of the log of the first layer's L2-equivalent rate"
        " against the log of the input scale",
        [slope(np.log10(row)) for row in bn_rate.to_numpy()],
        2.0,
        kind="empirical",
        tolerance=0.01,
        role="theorem",
        source=network,
    )
    set_by = f"moves to the power {by_bn.measured:.3f}"
deep = "Where decay acts on both layers of a network, the best weight_decay grows as the input scale to"
deep += " the power {interval:.2f}"
finding(
    {
        "borne out": f"{deep}: near the 1 of two layers, and not the 2 of one.",
        "not borne out": f"{deep}, which is not the 1 that two layers would have at a minimum.",
        "undecided": f"{deep}; whether that is the 1 that two layers would have at a minimum,"
        " {repetitions} seeds cannot say.",
    },
    law["one hidden layer"],
)
single = "For a trained softmax read-out the power is {interval:.2f}"
stopped = f" one that stops early has {law['softmax read-out, stopped early'].measured:.2f}."
finding(
    {
        "borne out": f"{single}, near the 2 of one layer;{stopped}",
        "not borne out": f"{single}, which is not the 2 of one layer;{stopped}",
        "undecided": f"{single}; whether that is the 2 of one layer, {{repetitions}} seeds cannot"
        f" say;{stopped}",
    },
    law["softmax read-out"],
)

# %% [markdown]
# A training that stops early has not forgotten its start, and torch's start does not move with the
# scale: multiplied by a large $a$ the first weights are too large, and a decay has more of them to
# undo. Multiplied by a small $a$ they are small, and stopping early leaves the decay little to do. So
# early stopping should make the slope steeper.

# %% tags=["hide-input"]
steeper = check(
    "invariance",
    "Softmax read-out: slope of the log of the best weight_decay against the log of the input scale,"
    " stopped early minus trained on",
    np.subtract(slopes["softmax read-out, stopped early"], slopes["softmax read-out"]),
    0.0,
    kind="empirical",
    relation="above",
    role="exploratory",
    source=softmax,
)

# %% [markdown]
# ## What it costs not to retune
#
# Now the `weight_decay` that was best at $a = 1$ is used at the other scales. The learning rate still
# moves with the scale, so that only the decay is to blame. The BN network is used as it is.

# %% tags=["hide-input"]
tuned_network = tuned["one hidden layer"]
kept_decay = tuned_network[tuned_network.input_scale == 1].set_index("seed").weight_decay
trained = searched[searched.model == "one hidden layer"]
same_decay = trained[trained.weight_decay == trained.seed.map(kept_decay)]
bn_accuracy = 100 * at_scale(with_bn, "test_accuracy")
retuned = 100 * at_scale(tuned_network, "test_accuracy")
kept = 100 * at_scale(same_decay, "test_accuracy")
picture = Picture(height=3.2)
(panel,) = picture
ways = (
    ("BN, nothing retuned", bn_accuracy, "batch", "o", 0.95),
    ("no BN, all retuned", retuned, "l2", "s", 1.0),
    ("no BN, decay of a = 1", kept, "none", "^", 1.05),
)
for label, accuracy, color, marker, aside in ways:
    difference = accuracy.sub(bn_accuracy[1.0], axis=0)
    panel.line(scales, difference.mean(), label, color, alpha=0.4)
    beside = aside * np.array(scales)
    panel.points(beside, difference, None, color, marker, scale="points", words=False)
over_scales(panel, title="test accuracy, in points above BN's at a = 1", legend={"fontsize": 9})
picture.show(
    says="What a curve loses away from scale 1 is the price of not tuning again."
    " Test accuracy of a network with one hidden layer as its inputs are scaled, less the"
    f" accuracy of BN at scale 1 with the same seed, in percent"
    f" {as_text(bn_accuracy[1.0], '{:.1f}')}. Without BN the learning rate moves with the scale in both"
    " arms.",
    source=network,
    name="scale-accuracy",
)

# %% tags=["hide-input"]
away = [a for a in scales if a != 1]
bn_loss = at_scale(with_bn, "test_loss")
lost = (retuned - kept)[away]
unmoved = check(
    "invariance",
    "Trained on noisy digits with BN: largest relative change of the test loss as the inputs are"
    " scaled",
    bn_loss[away].div(bn_loss[1.0], axis=0).sub(1).abs().max(axis=1).to_numpy(),
    0.01,
    kind="empirical",
    relation="below",
    scale="log",
    source=network,
)
price = check(
    "invariance",
    f"{first}one hidden layer: test accuracy lost by keeping the weight_decay of scale 1, in points,"
    " mean over the other scales",
    lost.mean(axis=1).to_numpy(),
    0.0,
    kind="empirical",
    relation="above",
    scale="points",
    source=network,
)
ahead = as_text((bn_accuracy - retuned).mean(axis=1), "{:+.2f}", "points")
sentence(
    "Points of accuracy lost without BN if the decay is not retuned: "
    + ", ".join(f"{as_text(lost[a], '{:+.2f}', 'points')} at a = {a:g}" for a in away)
    + f". BN minus no BN, all retuned, mean over scales: {ahead}."
)
kept_rate = (
    "With BN, scaling the inputs changes the test loss by {change:.2%}; without BN, keeping the"
    " weight_decay of scale 1 costs {interval:.2f} points of test accuracy"
)
finding(
    {
        "borne out": kept_rate + ".",
        "not borne out": kept_rate + ": it even gains.",
        "undecided": kept_rate + ", which {repetitions} seeds cannot tell from nothing.",
    },
    price,
    change=unmoved.measured,
)

# %% [markdown]
# BN's training is the same but for $\varepsilon$: it is compared with the variance $q$, which
# grows as $a^2$. (Powers of 2 change no digit of a number. Other factors would add rounding.) In
# evaluation there is one thing more: the running averages start at mean 0 and variance 1 whatever
# the scale, and need some dozens of batches to forget it.
#
# A wrong rate alone need not cost accuracy: the valley around the best rate is flat. And that BN
# needs no retuning does not make it better than what a search finds.
#
# ## What it means for your network
#
# - Changing the units of the inputs of a network whose first layer has BN changes nothing: retune
#   neither its learning rate nor its decay for that.
# - Without BN, a `weight_decay` belongs to the scale of the inputs that it was tuned on. If you
#   have to change the scale by $a$ and cannot search again, multiply the decay by $a^{2/L}$ and
#   the learning rate by $a^{-2/L}$, with $L$ the number of layers that the decay acts on. That is
#   the law at a minimum; take it for a start.
# - To compare the `weight_decay` of two papers, look first at how they scale their inputs.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"Over input scales from {min(scales):g} to {max(scales):g}, the best weight_decay of a trained"
    f" network with one hidden layer moves as the scale to the power"
    f" {law['one hidden layer'].measured:.2f}, that of a softmax read-out to the power"
    f" {law['softmax read-out'].measured:.2f}, and"
    f" {law['softmax read-out, stopped early'].measured:.2f} where it stops early; BN's own rate"
    f" {set_by}. Keeping the decay of scale 1 costs {price.measured:.2f} points of test accuracy"
    f" without BN. With BN the test loss changes by {unmoved.measured:.2%}."
)

# %% [markdown]
# - Scaling the inputs leaves a BN network as it was, and multiplies its L2-equivalent rate by
#   $a^2$.
# - For a read-out without BN the best rate moves by the same $a^2$, exactly at the optimum. How near
#   training comes to that depends on how near it comes to rest.
# - With decay on all $L$ layers of a ReLU network it is $a^{2/L}$ instead. The learning rate has
#   to move too, as $a^{-2/L}$.
#
# ## Where it stops
#
# - $a^{2/L}$ is proven for networks without biases, at minima. What training finds after a few
#   epochs is the empirical part; where the start does not move, the exponent found can be another.
# - The learning rates move with the scale by that law, and were not searched: of two that differ only
#   in speed, the search would take the one that stops early, and count its stopping as decay.
# - The grid has half decades, with a cubic between them; validation losses of neighbours differ
#   little.
# - Scale is one number. The invariance of {prf:ref}`thm-invariance` covers every invertible change
#   of the inputs, but the start of training and the path of SGD do depend on it.
#
# ## Exercises
#
# **1. Derive.** Decay $\alpha$ acts on the first layer alone, as BN's rate does. By which power of
# $a$ does the best $\alpha$ of the network with $L$ layers move now? And by which, if it acts on
# all layers but the first?
#
# :::{dropdown} Solution
# Divide $W_1$ by $a$ and leave the other layers as they are: the outputs stay, and the penalty
# $\frac\alpha2\lVert W_1\rVert^2$ is what it was if $\alpha$ becomes $a^2\alpha$. So the power is
# 2, whatever $L$: that is the theorem. If the first layer is free of decay, the same substitution
# changes no penalty at all: the power is 0. Layers that are all decayed alike share the factor,
# and the power $2/L$ lies between the two.
# :::
#
# **2. Run.** Set `gamma = 0.25`. Which of the two lines in the right half of the first picture
# moves, and by how much at each scale? Does its slope change? What happens at `gamma = 0.4`?
#
# :::{dropdown} Solution
# Only BN's moves. For each output $1 + \lambda = R\,\sigma_t/\gamma$, so the rate is a multiple of
# the mean of $R\,\sigma_t/\gamma - 1$. It falls by the same factor at every scale: a shift on a
# logarithmic axis, the slope stays 2. The rate is zero where $\gamma$ is the mean of
# $R\,\sigma_t$, and negative above. Here $\sigma_t$ is 0.3, the standard deviation of a class that
# one digit in ten belongs to, and $R$ is below 1: so at 0.4 the rate is negative, and the line is
# not drawn.
# :::
