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
# Pixels can run from 0 to 1 or from 0 to 255; the pictures are the same. A network with batch
# normalization (BN) does not notice ({prf:ref}`thm-invariance`). A hand-tuned `weight_decay`
# does, and so does the learning rate. We multiply real digits by $a$ and search anew at each
# scale. A linear read-out shows the law of the theorem, $a^2$, to many decimals. A network with a
# hidden layer shows another exponent, and we see why. Then we count what it costs to keep a rate
# that was tuned at $a = 1$.

# %% tags=["parameters"]
dataset = "mnist-5k"  # data set
seeds = [0, 1, 2]  # of weights, batches, noise, and of the choice of digits
scales = [0.25, 1.0, 4.0]  # factors a on the inputs, noise included; 1 among them
read_out_rows = 2000  # training digits of the exact read-out
train_size = 2000  # training digits of the networks
noise_std = 1.0  # of Gaussian noise on the pixels, in their standard deviations
hidden = 50  # units in the hidden layer
epochs = 4  # passes over the training digits, network; the read-out has three times as many
gamma = 0.2  # fixed scale of the exact BN read-out

# %%
import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from bnlib import data, experiments, theory, training
from companion import figures, page, statistics

digits = data.load(dataset)
inputs = training.standardize(digits)  # pixels of mean 0 and variance 1
seeds_shown = f"seeds {', '.join(map(str, seeds))}"

# %% [markdown]
# ## A read-out, exactly
#
# Ten linear outputs are fitted to the ten classes of noisy digits by least squares with a penalty
# $\frac\alpha2|v|^2$. One eigendecomposition of $\Sigma$ gives the fit at every $\alpha$. The
# rate is chosen on the validation digits: first on a grid of quarter decades, then by a line
# search around the best of it. Every scale is solved by itself.


# %% tags=["hide-input"]
def read_out(seed, a):
    """Moments of some digits times a, and the validation error of any fit."""
    rng = np.random.default_rng([seed, 12])
    rows = rng.permutation(len(inputs["train"]))[:read_out_rows]
    x, held_out = (
        a * data.corrupt(images.astype(np.float64), rng, noise_std=noise_std)
        for images in (inputs["train"][rows], inputs["validation"][:2000])
    )
    t, held_out_t = (np.eye(10)[labels] for labels in (digits.train.labels[rows], digits.validation.labels[:2000]))
    moments = theory.Moments.from_data(x, t)
    s, U = moments.spectrum
    seen, along = (held_out - moments.mean) @ U, U.T @ moments.cross

    def error(log_rate):
        outputs = t.mean(axis=0) + seen @ (along / (s + 10**log_rate)[:, None])
        return float(np.mean((outputs - held_out_t) ** 2) / np.var(held_out_t))

    return moments, held_out, error


grid = np.arange(-4, 4.01, 0.25)  # log10 of the rate
curves, best, bn_rates, bn_outputs = {}, {}, {}, {}
for seed in seeds:
    for a in scales:
        moments, held_out, error = read_out(seed, a)
        curves[seed, a] = [error(log_rate) for log_rate in grid]
        coarse = grid[np.argmin(curves[seed, a])]
        around = (coarse - 0.25, coarse + 0.25)
        best[seed, a] = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-9}).x
        fit = theory.least_squares(moments, np.full(10, gamma))
        bn_rates[seed, a] = fit.l2_rate
        bn_outputs[seed, a] = (held_out - moments.mean) @ fit.weights


def slope(log_rates):
    """Of log10 of a rate against log10 a."""
    return float(np.polyfit(np.log10(scales), log_rates, 1)[0])


tuned_slopes = [slope([best[seed, a] for a in scales]) for seed in seeds]

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, height=3.4)
for a, shade in zip(scales, np.linspace(0.35, 1, len(scales))):
    left.plot(10**grid, curves[seeds[0], a], color=figures.COLORS["l2"], alpha=shade, label=f"a = {a:g}")
    left.plot(10 ** best[seeds[0], a], min(curves[seeds[0], a]), "o", color=figures.COLORS["l2"], alpha=shade)
left.set(xscale="log", xlabel="α, rate tuned by hand", ylabel="validation error / variance", ylim=(None, 1))
left.legend()
found = np.array([[best[seed, a] for a in scales] for seed in seeds])
set_by_bn = np.array([[bn_rates[seed, a].mean() for a in scales] for seed in seeds])
figures.band(right, scales, 10**found, "best by hand", figures.COLORS["l2"], marker="s", geometric=True)
if (set_by_bn > 0).all():  # a γ that is too large makes it negative
    figures.band(right, scales, set_by_bn, "set by BN", figures.COLORS["batch"], geometric=True)
middle = 10 ** found.mean(axis=0)[scales.index(1.0)]
right.plot(scales, middle * np.square(scales), "--", color=figures.COLORS["theory"], label="slope 2", lw=1)
right.set(xscale="log", yscale="log", xlabel="a, factor on the inputs", ylabel="α", xticks=scales)
right.set_xticklabels([f"{a:g}" for a in scales])
right.minorticks_off()
right.legend()
figures.show(
    fig,
    alt="Left: validation error against the rate, one U-shaped curve for each scale, all of the same shape, shifted. Right:"
    f" best rate against scale, slope {np.mean(tuned_slopes):.4f}, and BN's L2-equivalent rate, parallel to it.",
    caption="A ridge read-out of digits. Left: multiplying the inputs by a shifts the whole curve by a². Right: so does"
    " the best rate move, and so does the L2-equivalent rate that BN sets, which nobody had to search for. The lines"
    f" are parallel, not equal: how far they are apart depends on γ = {gamma:g}.",
    source=f"{digits.title}, {len(moments.mean)} pixels with noise {noise_std:g}, {read_out_rows:,} training digits, {seeds_shown}",
)

# %% tags=["hide-input"]
page.check(
    "invariance",
    "Ridge read-out of digits, every seed: slope of the log of the best rate against the log of the input scale",
    measured=np.array(tuned_slopes),
    predicted=np.full(len(seeds), 2.0),
    tolerance=1e-5,
)
page.check(
    "invariance",
    "BN read-out of digits in closed form, ten outputs, every seed and scale: L2-equivalent rate over the square of the scale against"
    " the rate at scale 1",
    measured=np.array([bn_rates[seed, a] / a**2 for seed in seeds for a in scales]),
    predicted=np.array([bn_rates[seed, 1.0] for seed in seeds for a in scales]),
    tolerance=1e-12,
)
page.check(
    "invariance",
    "BN read-out of digits in closed form, every seed and scale: outputs on validation digits against those at scale 1",
    measured=np.array([bn_outputs[seed, a] for seed in seeds for a in scales]),
    predicted=np.array([bn_outputs[seed, 1.0] for seed in seeds for a in scales]),
    tolerance=1e-12,
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
# $a^{-2/L}$. Biases do not take part, and training from a given start that stops after some
# epochs does not end at a minimum: for networks as they are trained the exponent is a question to
# the data.


# %% tags=["hide-input"]
def bias_free(a):
    """A ReLU network with two layers of weights, each divided by the root of a."""
    torch.manual_seed(seeds[0])
    layers = nn.Linear(784, 32, bias=False), nn.ReLU(), nn.Linear(32, 10, bias=False)
    for layer in (layers[0], layers[2]):
        layer.weight.data /= np.sqrt(a)
    return nn.Sequential(*layers)


def outputs_after_training(a):
    model = training.train_alone(
        bias_free(a),
        a * inputs["train"][:1000],
        digits.train.labels[:1000],
        training.Schedule(epochs=3, learning_rate=0.1 / a),
        seeds[0],
        weight_decay=0.01 * a,
    )
    return model(torch.from_numpy(a * inputs["test"])).detach().numpy()


page.check(
    "invariance",
    "ReLU network without biases, two layers: start over root a, rate times a, learning rate over a. Outputs after SGD with"
    " momentum on a x, a = 3, against a = 1",
    outputs_after_training(np.float32(3)),
    outputs_after_training(np.float32(1)),
    tolerance=1e-5,  # float32, over some twenty steps
)

# %% [markdown]
# So with the start scaled too, not only the minima but every step is the same. Below the start is
# torch's own at every scale, as it is in practice: at large $a$ the first weights are too large,
# and a decay has more of them to undo.

# %% [markdown]
# ## A search at every scale
#
# Two BN-free models are trained on noisy digits: a softmax read-out ($L = 1$) and a network with
# a hidden layer ($L = 2$). At each scale and for each seed the search has a grid of
# `weight_decay` in half decades *and* three learning rates, a factor of 3 apart, around a middle
# that moves with the scale as above. Without that the BN-free models would not have a fair
# chance: at a large scale they diverge, at a small one they hardly learn. The lowest validation
# loss decides; runs that diverged are dropped. The read-out is trained for longer, so that
# stopping early does not do the work of the decay. The BN network has no decay and one learning
# rate, the same at all scales.

# %%
conditions = {a: experiments.Conditions(dataset, train_size, noise_std=noise_std, input_scale=a) for a in scales}
decays = [0.0, *(10.0 ** np.arange(-4, 0.51, 0.5)).tolist()]
free = [training.Arm("none", weight_decay=decay) for decay in decays]
# number of layers L: hidden layers, middle learning rate at a = 1, epochs
models_searched = {1: ((), 0.03, 3 * epochs), 2: ((hidden,), 0.1, epochs)}


def schedule(layers, learning_rate, epochs):
    return training.Schedule(layers, epochs, learning_rate=learning_rate)


# %% tags=["remove-stderr"]
with_bn = experiments.sweep(
    [training.Arm("batch")], list(conditions.values()), schedule((hidden,), 0.1, epochs), seeds
)
searched = {
    L: pd.concat(
        experiments.sweep(
            free, [conditions[a]], schedule(layers, middle * third * a ** (-2 / L), passes), seeds
        ).assign(third=third)
        for a in scales
        for third in (1 / 3, 1.0, 3.0)
    ).reset_index(drop=True)
    for L, (layers, middle, passes) in models_searched.items()
}
page.offer(pd.concat([with_bn, *searched.values()]), "scale_sweeps.csv", "a trained network a row")

# %% [markdown]
# For each seed and scale: the best run, and the best decay between the grid's points, where the
# parabola through the best and its two neighbours is lowest.


# %% tags=["hide-input"]
def at_scale(rows, values):
    return experiments.by_seed(rows, values, "input_scale")[scales]


def between(rows, run):
    """log10 of the decay where the validation loss is lowest, learning rate kept."""
    same = rows[(rows.seed == run.seed) & (rows.input_scale == run.input_scale) & (rows.third == run.third)]
    losses = same[same.weight_decay > 0].set_index("weight_decay").validation_loss.sort_index().to_numpy()
    at = np.flatnonzero(np.isclose(decays[1:], run.weight_decay))
    if not len(at) or at[0] in (0, len(losses) - 1):
        return np.log10(max(run.weight_decay, decays[1]))  # at an edge of the grid, or no decay at all
    low, middle, high = losses[at[0] - 1 : at[0] + 2]
    curvature = low - 2 * middle + high
    shift = 0.5 * (low - high) / curvature if np.isfinite(curvature) and curvature > 0 else 0.0
    return np.log10(run.weight_decay) + 0.5 * shift


tuned = {L: experiments.best_decays(rows, ["input_scale"]) for L, rows in searched.items()}
best_decay = {
    L: at_scale(chosen.assign(log_decay=[between(searched[L], run) for run in chosen.itertuples()]), "log_decay")
    for L, chosen in tuned.items()
}
slopes = {L: [slope(row) for row in table.to_numpy()] for L, table in best_decay.items()}
bn_alpha = at_scale(with_bn, "l2_rate")
for L, chosen in tuned.items():
    edge = (chosen.weight_decay <= decays[1]) | (chosen.weight_decay >= decays[-1])
    print(
        f"L = {L}: best decay at an edge of the grid in {int(edge.sum())} of {len(chosen)} searches,"
        f" best learning rate the middle one in {int((chosen.third == 1).sum())};"
        f" {int(searched[L].validation_loss.isna().sum())} of {len(searched[L])} runs diverged to no number"
    )

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.6)
for L, key, name in ((1, "noise", "read-out, L = 1"), (2, "l2", "one hidden layer, L = 2")):
    figures.band(
        ax, scales, 10 ** best_decay[L], f"best weight_decay: {name}", figures.COLORS[key], "s", geometric=True
    )
    middle = 10 ** best_decay[L][1.0].mean()
    ax.plot(scales, middle * np.power(scales, 2 / L), "--", color=figures.COLORS["theory"], lw=1)
bn_positive = bool((bn_alpha > 0).all(axis=None))
if bn_positive:
    figures.band(ax, scales, bn_alpha, "α set by BN, one hidden layer", figures.COLORS["batch"], geometric=True)
else:
    print("BN's rate is not positive in every run, so it cannot be drawn on this axis")
ax.set(
    xscale="log", yscale="log", xlabel="a, factor on the inputs", ylabel="rate, units of weight_decay", xticks=scales
)
ax.set_xticklabels([f"{a:g}" for a in scales])
ax.minorticks_off()
ax.legend(fontsize=9)
source = f"{digits.title}, {train_size:,} training digits, noise {noise_std:g}, {hidden} hidden units, {epochs} epochs, {seeds_shown}"
figures.show(
    fig,
    alt="Best weight decay against the input scale, log-log. Slopes: "
    + ", ".join(f"L = {L} {statistics.as_text(slopes[L], '{:.2f}')}" for L in slopes)
    + f"; dashed lines have slopes 2 and 1. BN's rate runs from {bn_alpha[scales[0]].mean():.1e} to"
    f" {bn_alpha[scales[-1]].mean():.1e}.",
    caption="What a search finds at each scale without BN, and the rate that BN sets. Slopes of the searches: "
    + ", ".join(f"{statistics.as_text(slopes[L], '{:.2f}')} for L = {L}" for L in slopes)
    + ". Dashed: slope 2/L. Bands: 95 % interval over seeds, of the logarithm.",
    source=source,
)

# %% tags=["hide-input"]
for L, name in ((1, "softmax read-out"), (2, "one hidden layer")):
    page.check(
        "invariance",
        f"Trained on noisy digits without BN, {name}: slope of the log of the best weight_decay against the log of"
        f" the input scale, against 2/{L}",
        slopes[L],
        2 / L,
        kind="empirical",
        tolerance=0.2,
    )
page.check(
    "invariance",
    "Trained on noisy digits without BN, one hidden layer: slope of the log of the best weight_decay against the"
    " log of the input scale, against the 2 of a single layer",
    slopes[2],
    2.0,
    kind="empirical",
    tolerance=0.2,
)
if bn_positive:
    page.check(
        "invariance",
        "Trained on noisy digits with BN: slope of the log of the first layer's L2-equivalent rate against the log of"
        " the input scale",
        [slope(np.log10(row)) for row in bn_alpha.to_numpy()],
        2.0,
        kind="empirical",
        tolerance=0.01,
    )

# %% [markdown]
# The first two rows hold the search against $2/L$, the third holds the network against $a^2$.
# Where a slope is above $2/L$, the start is the first suspect. BN's own rate acts on the first
# layer alone, so its exponent is 2 whatever lies above.
#
# ## What it costs not to retune
#
# Now the `weight_decay` that was best at $a = 1$ is used at the other scales. The learning rate
# is still chosen anew at each of them, so that only the rate is to blame. The BN network is used
# as it is.

# %%
kept_decay = tuned[2][tuned[2].input_scale == 1].set_index("seed").weight_decay
not_retuned = experiments.best_decays(
    searched[2][searched[2].weight_decay == searched[2].seed.map(kept_decay)], ["input_scale"]
)
accuracy = {
    "BN, nothing retuned": at_scale(with_bn, "test_accuracy"),
    "no BN, all retuned": at_scale(tuned[2], "test_accuracy"),
    "no BN, decay of a = 1": at_scale(not_retuned, "test_accuracy"),
}

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.2)
bn_accuracy = accuracy["BN, nothing retuned"]
for (name, table), key, marker in zip(accuracy.items(), ("batch", "l2", "none"), "os^"):
    figures.band(ax, scales, table.sub(bn_accuracy[1.0], axis=0), name, figures.COLORS[key], marker)
ax.set(xscale="log", xlabel="a, factor on the inputs", ylabel="accuracy minus BN's at a = 1", xticks=scales)
ax.set_xticklabels([f"{a:g}" for a in scales])
ax.minorticks_off()
ax.legend(fontsize=9)
figures.show(
    fig,
    alt="Test accuracy against the input scale, less that of BN at scale 1. Accuracies: "
    + "; ".join(f"{name}: " + ", ".join(f"{table[a].mean():.3f}" for a in scales) for name, table in accuracy.items())
    + ".",
    caption="Test accuracy of a network with one hidden layer as its inputs are scaled, less the accuracy of BN at scale 1"
    f" with the same seed ({statistics.as_text(bn_accuracy[1.0])}). Without BN the learning rate is chosen anew at every scale"
    " in both arms. Bands: 95 % interval over seeds.",
    source=source,
)

# %% tags=["hide-input"]
away = [a for a in scales if a != 1]
bn_loss = at_scale(with_bn, "test_loss")
change = bn_accuracy[away].sub(bn_accuracy[1.0], axis=0).abs().max(axis=None)
print(f"BN: largest change of the test accuracy over all scales and seeds: {change:.1e}")
page.check(
    "invariance",
    "Trained on noisy digits with BN: largest relative change of the test loss as the inputs are scaled",
    bn_loss[away].div(bn_loss[1.0], axis=0).sub(1).abs().max(axis=1).to_numpy(),
    0.01,
    kind="empirical",
    relation="below",
)
lost = (accuracy["no BN, all retuned"] - accuracy["no BN, decay of a = 1"])[away]
for a in away:
    print(f"a = {a:g}: accuracy lost without BN if the decay is not retuned {statistics.as_text(lost[a], '{:+.4f}')}")
page.check(
    "invariance",
    "Trained on noisy digits without BN, one hidden layer: test accuracy lost by keeping the weight_decay of scale 1,"
    " mean over the other scales",
    lost.mean(axis=1).to_numpy(),
    0.0,
    kind="empirical",
    relation="above",
)
ahead = bn_accuracy - accuracy["no BN, all retuned"]
print("BN minus no BN, all retuned, mean over scales:", statistics.as_text(ahead.mean(axis=1), "{:+.4f}"))

# %% [markdown]
# BN's training is the same but for $\varepsilon$: it is compared with the variance $q$, which
# grows as $a^2$. (Powers of 2 change no digit of a number. Other factors would add rounding.) In
# evaluation there is one thing more: the running averages start at mean 0 and variance 1 whatever
# the scale, and need some dozens of batches to forget it.
#
# The row on the accuracy lost says whether a wrong rate alone cost accuracy here; it can be
# undecided, since the valley around the best rate is flat. The last line is another question:
# that BN needs no retuning does not make it better than what a search finds.
#
# ## What we learned
#
# - Scaling the inputs leaves a BN network as it was, and multiplies its L2-equivalent rate by
#   $a^2$.
# - For a read-out without BN the best rate moves by the same $a^2$, exactly at the optimum.
# - With decay on all $L$ layers of a ReLU network it is $a^{2/L}$ instead. The learning rate has
#   to move too, as $a^{-2/L}$; and where the start does not move, the exponent found by training
#   can be another.
#
# ## Where it stops
#
# - $a^{2/L}$ is proven for networks without biases, at minima. What training finds after a few
#   epochs is the empirical part.
# - The learning rates that were searched move with the scale by that law; a wider search could
#   find others.
# - The search resolves half decades, with a parabola between them; validation losses of
#   neighbours differ little.
# - Scale is one number. The invariance of {prf:ref}`thm-invariance` covers every invertible
#   change of the inputs, but the start of training and the path of SGD do depend on it.
