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
# # Noise: the rate that BN sets and the rate that a search finds
#
# Batch normalization (BN) sets a rate that nobody chose. A person who trains
# the same network without BN would try a grid of `weight_decay` and keep the best.
# Does the rate that BN sets itself track the best rate that a search would find?
#
# We drown handwritten digits {cite:p}`lecun1998` in more and more noise, train
# the same network in fourteen ways at each level, and look. No theorem promises
# an answer. {prf:ref}`thm-rate` says that the rate exists and is what the meter reads;
# {prf:ref}`thm-noise` says how it answers to noise for one unit and squared loss.
# Whether it is a *good* rate is for the data to say.

# %% tags=["parameters"]
dataset = "mnist-5k"  # or "mnist", "fashion-mnist": see bnlib.data.load
seeds = [0, 1, 2]  # repetitions behind every interval
noise_stds = [0.0, 0.5, 1.0, 2.0, 3.0]  # in pixels' standard deviations
hidden = [100]  # units of the hidden layers
epochs = 8  # of every training

# %%
import numpy as np
import pandas as pd

from bnlib import data, theory, training
from companion import figures, page, statistics
from companion.studies import comparison
from bnlib.experiments import Conditions, sweep

# %% [markdown]
# ## The arms
#
# Five networks that nobody tunes: BN with learned $\gamma$, BN with $\gamma$
# fixed at 1, weight normalization, layer normalization, and none of them. And
# one that is tuned: no normalization, with `weight_decay` from a grid of half
# decades.
#
# Weight normalization {cite:p}`salimans2016` is the control. It is the same
# constraint with $\Sigma$ replaced by the identity ({prf:ref}`thm-invariance`): if what BN
# does were due to *a* constraint, it would do as well.

# %%
arms = comparison.arms()
schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
conditions = [Conditions(dataset, noise_std=noise_std) for noise_std in noise_stds]
print(schedule)
print("untuned:", "; ".join(comparison.UNTUNED))
print("grid of weight_decay: 0,", ", ".join(f"{decay:g}" for decay in comparison.DECAYS))

# %% [markdown]
# Arms with the same seed share initial weights, batches and noise, so that
# differences between arms are differences within a pair. The noise is drawn
# anew at every step, and the images of validation and test are as noisy as
# those of training.

# %% tags=["remove-stderr"]
runs = sweep(arms, conditions, schedule, seeds)

# %% [markdown]
# Each row of `runs` is a trained network. `compare` picks, for each noise level
# and seed, the `weight_decay` of lowest *validation* loss. All that follows is
# measured on the test set, which chooses nothing.

# %%
digits = data.load(dataset)
found = comparison.compare(runs)
widths = "-".join(map(str, (digits.train.images.shape[1], *hidden, 10)))
source = (
    f"{digits.title} ({len(digits.train):,} for training), {widths}, {epochs} epochs, "
    f"seeds {', '.join(map(str, seeds))}"
)
best = found.best_decay
ends = np.isin(best, (comparison.DECAYS[0], comparison.DECAYS[-1])).sum()
print(f"{len(runs)} networks; {runs.test_loss.isna().sum()} diverged")
print(f"of {best.size} searches, {(best == 0).to_numpy().sum()} found no decay best,")
print(f"and {ends} ended at an end of the grid")
page.offer(runs, "noise_sweep.csv", "a trained network a row")

# %% [markdown]
# ## The main result
#
# Left: how accurate each way of regularizing is as the noise grows. Right: the
# rate that BN set by itself, as the meter reads it in units of
# `weight_decay`, beside the one that the search found.

# %% tags=["hide-input"]
fig, alt = comparison.figure(found)
statements = comparison.statements(found, "MNIST")
figures.show(
    fig,
    alt=alt,
    caption="Noisy digits. Left: untuned BN against no regularization, weight normalization "
    "and the best weight_decay of a search. Right: the L2-equivalent rate that BN set by "
    "itself, and the best weight_decay. Means (of logarithms for rates) with 95 % intervals. "
    + comparison.answer(statements, "MNIST"),
    source=source,
    name="main-result",
)

# %% [markdown]
# BN's rate may have either sign: a negative one inflates the weights
# ({prf:ref}`thm-least-squares`). A log axis cannot show it, so signs come
# first; whatever is below the grid is drawn, and counted, half a decade below it.

# %%
for name, rates in found.rates.items():
    print(
        f"{name}: {(rates < 0).to_numpy().sum()} of {rates.size} rates negative, "
        f"{(rates < found.floor).to_numpy().sum()} below {found.floor:.0e}"
    )

# %% tags=["hide-input"]
page.table(
    comparison.rates_table(found),
    "Rates in units of weight_decay: geometric means with 95 % intervals over seeds "
    "(arithmetic where a rate is negative). Last row: every value that was best for some seed.",
    source,
)

# %% [markdown]
# ## Does the rate move with the best one?
#
# Rate against rate: each point is a noise level. On the diagonal, BN would set
# exactly what a search finds; parallel to it, BN would follow, but always too high or too low.

# %% tags=["hide-input"]
searched = found.on_log_axis(best)
fig, ax = figures.figure(width=5.6, height=4.2)
for name, rates in found.rates.items():
    x, y = (
        np.exp([statistics.interval(np.log(table[level])) for level in found.levels]).T
        for table in (searched, found.on_log_axis(rates))
    )
    xerr, yerr = (np.nan_to_num(np.abs(ends[1:] - ends[0]), posinf=0) for ends in (x, y))
    look = {"fmt": comparison.MARKERS[name], "color": comparison.COLORS[name], "capsize": 3}
    ax.errorbar(x[0], y[0], xerr=xerr, yerr=yerr, label=name, **look)
    for level, *at in zip(found.levels, x[0], y[0]):
        ax.annotate(f"{level:g}", at, xytext=(6, 0), textcoords="offset points", fontsize=9)
ax.axline((x[0][0], x[0][0]), (2 * x[0][0], 2 * x[0][0]), color=figures.COLORS["theory"], label="equal")
ax.set(xscale="log", yscale="log", xlabel="best weight_decay found", ylabel="rate that BN set")
ax.legend(fontsize=9)
correlations = {
    name: comparison.rank_correlation(found.on_log_axis(rates), searched) for name, rates in found.rates.items()
}
in_words = "; ".join(f"{name} {statistics.as_text(values, '{:.2f}')}" for name, values in correlations.items())
figures.show(
    fig,
    alt="The rate that BN set against the best weight_decay, both on log axes, a point a noise level, with the "
    f"diagonal. Rank correlation over levels: {in_words}.",
    caption="Rate against rate, with the noise level beside each point and 95 % intervals over seeds. "
    f"Rank correlation over noise levels: {in_words}.",
    source=source,
)

# %% [markdown]
# Three statements about the rate, each for learned and for fixed $\gamma$. P4a:
# more noise, a higher rate. P4e: the ranks agree, level by level (a best decay
# that is the same everywhere counts as 0). P4b: the size is right, to half a
# decade on average. First, how far off it is, with its sign.

# %%
for name, rates in found.rates.items():
    decades = np.log10(found.on_log_axis(rates) / searched)
    in_words = ", ".join(f"{level:g}: {statistics.as_text(decades[level], '{:+.2f}')}" for level in found.levels)
    print(f"{name}, log10(rate / best weight_decay) at noise {in_words}")

# %%
for statement in statements:
    if statement["claim"] in ("rises-with-noise", "right-size", "tracks-search"):
        page.check(**statement)

# %% [markdown]
# ## What it is worth
#
# Accuracy and loss on the test set. P4c asks of every level whether untuned BN beats the
# network without normalization and decay.

# %% tags=["hide-input"]
for what, table, form in (
    ("accuracy, percent", found.accuracy, "{:.2f}"),
    ("loss", found.loss, "{:.3f}"),
):
    page.table(
        comparison.table(found, table, form),
        f"Test {what}: means with 95 % intervals over seeds.",
        source,
    )

# %%
for statement in statements:
    if statement["claim"] == "beats-nothing":
        page.check(**statement)

# %% [markdown]
# The *regret* is what is lost against the best `weight_decay` of the same seed and
# level. Below zero, the search lost to not tuning at all.

# %% tags=["hide-input"]
untuned = list(comparison.UNTUNED)
fig, axes = figures.figure(1, 2, height=3.6)
for ax, what, title in zip(axes, ("accuracy", "loss"), ("regret, points of accuracy", "regret, test loss")):
    for name in untuned:
        figures.band(
            ax,
            found.levels,
            found.regret(name, what),
            name,
            comparison.COLORS[name],
            comparison.MARKERS[name],
        )
    ax.axhline(0, color=comparison.COLORS[comparison.BEST], lw=1)
    ax.set(xlabel="noise_std (pixels' standard deviations)", title=title)
axes[0].legend(fontsize=8)
mean_regret = {name: statistics.as_text(found.regret(name).mean(axis=1)) for name in untuned}
in_words = "; ".join(f"{name} {text}" for name, text in mean_regret.items())
figures.show(
    fig,
    alt=f"Regret against noise for the five arms that nobody tunes. Mean over levels in points: {in_words}.",
    caption="What each untuned network loses against the best weight_decay (the line at 0); below it, it does better. "
    f"Mean over noise levels in points of accuracy: {in_words}.",
    source=source,
)

# %% [markdown]
# P4d: untuned BN loses less than one point against the best tuned. P4g: it loses
# less than weight normalization, the constraint that does not look at the data, and less than layer
# normalization.

# %%
for statement in statements:
    if statement["claim"] in ("regret", "looks-at-data"):
        page.check(**statement)

# %% [markdown]
# ## The price of moving a tuned rate
#
# "The best tuned" is a high bar: it was tuned at the very noise level where it is
# used. Data change. What if the rate was tuned at one level (row) and is used at another (column)? On
# the diagonal nothing is lost; the last rows are those of BN and of weight normalization, which were
# tuned nowhere.

# %% tags=["hide-input"]
for what, unit in (("accuracy", "points of accuracy"), ("loss", "test loss")):
    matrix = found.moved[what].mean(axis=0)
    matrix = pd.DataFrame(
        matrix,
        index=[f"tuned at noise {level:g}" for level in found.levels],
        columns=[f"used at {level:g}" for level in found.levels],
    )
    for name in (comparison.BN, comparison.WEIGHT):
        matrix.loc[name] = found.regret(name, what).mean().to_numpy()
    moved, kept = (
        statistics.as_text(regret) for regret in (found.moved_regret(what), found.regret(comparison.BN, what).mean(axis=1))
    )
    page.table(
        matrix.map("{:+.3f}".format),
        f"Regret in {unit}, mean over seeds. Mean over all moves from one level to another: {moved}; "
        f"untuned BN, mean over levels: {kept}.",
        source,
    )

# %%
for statement in statements:
    if statement["claim"] == "moved-decay":
        page.check(**statement)

# %% [markdown]
# ## What the first layer listens to
#
# The variance of a unit is signal plus noise ({prf:ref}`thm-split`). The share of signal
# says whether a unit looks where digits differ or where only the noise does. A decay that is large
# enough shrinks the directions that carry noise alone. Does BN? P4h compares it, at the
# highest level, with the network that nothing regularizes.

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
for name, shares in found.signal_share.items():
    figures.band(ax, found.levels, shares, name, comparison.COLORS[name], comparison.MARKERS[name])
ax.set(
    xlabel="noise_std (pixels' standard deviations)",
    title="share of signal in the first layer, percent",
)
ax.legend(fontsize=8)
top = found.levels[-1]
in_words = "; ".join(f"{name} {statistics.as_text(table[top], '{:.1f}')}" for name, table in found.signal_share.items())
figures.show(
    fig,
    alt=f"Share of signal against noise for all arms. At noise {top:g}, in percent: {in_words}.",
    caption="Mean share of signal over the units of the first layer, with 95 % intervals over seeds. "
    f"At noise {top:g}, in percent: {in_words}.",
    source=source,
)

# %%
for statement in statements:
    if statement["claim"] == "hears-signal":
        page.check(**statement)

# %% [markdown]
# ## Two rates that are not quite the same thing
#
# Before the answer, a warning. `weight_decay` acts on all weights, those that read the
# hidden layer too; the rate that the meter reads is BN's pull on the first
# layer alone. And one number cannot hold the shape of the pull: decay pulls every direction alike,
# BN pulls the principal direction $i$ at the rate $\lambda\,(s_i + \sigma^2)$
# ({prf:ref}`thm-rate`, {prf:ref}`thm-noise`). The L2-equivalent rate has the same total, not the same shape.

# %% tags=["hide-input"]
pixels = training.standardize(digits)["train"].astype(np.float64)
spectrum = theory.Moments.from_data(pixels, digits.train.labels).spectrum[0][::-1]
fig, ax = figures.figure(height=3.2)
shades = (figures.COLORS["batch"], figures.COLORS["signal"], figures.COLORS["noise"])
ratios = {}
for noise_std, shade in zip((found.levels[0], found.levels[len(found.levels) // 2], top), shades):
    pull = spectrum + noise_std**2
    ratios[noise_std] = pull[0] / np.median(pull)
    ax.plot(
        np.arange(1, len(pull) + 1),
        pull / pull.mean(),
        label=f"BN, noise {noise_std:g}",
        color=shade,
    )
ax.axhline(1, color=comparison.COLORS[comparison.BEST], label="weight_decay")
ax.set(xlabel="principal direction", yscale="log", ylim=(1e-4, None), title="pull, over its mean")
ax.legend(fontsize=9)
in_words = ", ".join(f"{ratio:.3g} at noise {noise_std:g}" for noise_std, ratio in ratios.items())
figures.show(
    fig,
    alt="BN's pull on each principal direction over its mean, falling from left to right, and that of weight_decay, "
    f"a flat line. The first direction's pull over that of the median direction: {in_words}.",
    caption="The shape of the pull: BN's follows the variances of the inputs, which noise makes alike. "
    f"First direction over the median one: {in_words}.",
    source=f"{digits.title}, covariance of the {len(digits.train):,} training images; no network",
)

# %% [markdown]
# On clean images BN pulls hardest where images vary most, and hardly at all where they do not vary. The
# more white noise there is, the flatter the pull: in deep noise BN's penalty has nearly the shape of decay.
#
# ## The answer
#
# Does the rate that BN sets itself track the best rate a person would find by search? The sentence below
# is put together from the verdicts above and from nothing else.

# %%
page.sentence(comparison.answer(statements, "MNIST"))

# %% [markdown]
# ## What we learned
#
# - BN's rate in a network can be read in units of `weight_decay` and held against a search, level by level.
# - There are three questions, not one: does it move the same way (P4a, P4e), is it of the same
#   size (P4b), and is it worth as much (P4c, P4d, P4f)? The verdicts need not agree.
# - A tuned rate is good where it was tuned. The matrix above says what it costs to move it, and how
#   that compares with never tuning.
# - Where weight normalization does as well as BN, the gain is not due to the data's covariance; P4g says
#   where that is.
# - {doc}`fashion` repeats all of this, untouched, on other images. {doc}`claims` has every verdict.
#
# ## Where it stops
#
# - Accuracy has more sources than the rate: normalization also changes how fast a network learns, and
#   all arms share one learning rate. A small regret does not show that the *rate* was right.
# - Training ends after a fixed number of epochs, not at rest. With learned $\gamma$ the rate would
#   fall to zero at rest ({prf:ref}`thm-stationarity`): what is measured is the rate of a network on its way.
# - The rank correlation is over a handful of noise levels, all of them one kind of change of the data.
#   The grid has half decades: where the best rate moves by less, it seems to stand still.
# - The best `weight_decay` comes from a grid of half decades and one validation split; intervals are
#   over seeds, not over data sets.
# - The answer is one for this amount of data. With few images the best decay hardly moves, and
#   {doc}`data` finds that the two rates can part company: on all of MNIST
#   (`make book PROFILE=paper`) and on the small subset the sentence above need not be the same.
