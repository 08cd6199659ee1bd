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
# Builds on {doc}`rate`, {doc}`noise` and {doc}`split`.
#
# Batch normalization (BN) sets a rate that nobody chose. A person who trains the same network
# without BN would try a grid of `weight_decay` and keep the best. Does the rate that BN sets
# itself track the best rate that a search would find?
#
# We drown handwritten digits {cite:p}`lecun1998` in more and more noise, train the same network in
# fourteen ways at each level, and look. No theorem promises an answer. {prf:ref}`thm-rate` says
# that the rate exists and is what the meter reads; {prf:ref}`thm-noise` says how it answers to
# noise for one unit and squared loss. Whether it is a *good* rate is for the data to say.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist": see bnlib.data.load
seeds = [0, 1, 2]  # repetitions behind every interval
noise_stds = [0.0, 0.5, 1.0, 2.0, 3.0]  # in pixels' standard deviations
hidden = [100]  # units of the hidden layers
epochs = 2  # of every training

# %% tags=["hide-input"]
import numpy as np

from bnlib import data, training
from bnlib.moments import Moments
from companion import page, statistics
from companion.figures import Picture
from companion.records import Source
from companion.studies import comparison, questions
from companion.studies import comparison_page as shown

# %% [markdown]
# ## The arms
#
# Five networks that nobody tunes: BN with learned $\gamma$, BN with $\gamma$ fixed at 1, weight
# normalization, layer normalization, and none of them. And one that is tuned: no normalization,
# with `weight_decay` from a grid of half decades.
#
# Weight normalization {cite:p}`salimans2016` is the control. It is the same constraint with
# $\Sigma$ replaced by the identity ({prf:ref}`thm-invariance`): if what BN does were due to *a*
# constraint, it would do as well.
#
# Arms with the same seed share initial weights, batches and noise, so that differences between
# arms are differences within a pair. The noise is drawn anew at every step, and the images of
# validation and test are as noisy as those of training. For each noise level and seed the search
# picks the `weight_decay` of lowest *validation* loss. All that follows is measured on the test
# set, which chooses nothing.

# %% tags=["remove-stderr"]
found = comparison.run(dataset, seeds, noise_stds, hidden, epochs)

# %% tags=["hide-input"]
shown.summary(found)
page.offer(found.runs, "noise_sweep.csv", "a trained network a row")

# %% [markdown]
# ## The main result
#
# Left: how accurate each way of regularizing is as the noise grows. Right: the rate that BN set by
# itself, as the meter reads it in units of `weight_decay`, beside the one that the search found.

# %% tags=["hide-input"]
shown.main_picture(found, "main-result")

# %% [markdown]
# BN's rate may have either sign: a negative one inflates the weights
# ({prf:ref}`thm-least-squares`). A log axis cannot show it, so the table counts the signs;
# whatever is below the grid is drawn, and counted, half a decade below it.

# %% tags=["hide-input"]
shown.show_rates(found)

# %% [markdown]
# ## Check it yourself
#
# One noise level and one seed, by hand. A row of `found.runs` is a trained network, and the search
# is a sort. Take another level or seed, or sort by `test_accuracy` instead.

# %%
runs = found.runs
cell = runs[(runs.noise_std == noise_stds[-1]) & (runs.seed == seeds[0])]
searched = cell[cell.normalization == "none"].sort_values("validation_loss")
with_bn = cell[(cell.normalization == "batch") & cell.gamma.isna()].iloc[0]
print(f"BN set {with_bn.l2_rate:.4f}, and classifies {with_bn.test_accuracy:.1%} right")
searched[["weight_decay", "validation_loss", "test_accuracy"]].head(4)

# %% [markdown]
# ## Does the rate move with the best one?
#
# Rate against rate. On the straight line BN would set exactly what a search finds; parallel to it,
# BN would follow, but always too high or too low; level, it would not follow at all. The best
# decay here is not a cell of the grid: it is the minimum of a cubic through the validation losses
# around it, and has a standard error, which the table above shows.

# %% tags=["hide-input"]
shown.slope_picture(found, "rate-against-rate")

# %% [markdown]
# Four questions. Does more noise give a higher rate? Do the ranks agree, level by level? Does the
# rate move as far as the best one, in logarithms? Is the size right, to half a decade on average?
# First, how far off the rate is, with its sign.

# %% tags=["hide-input"]
best = found.on_log_axis(found.best_decay)
for way, rates in found.rates.items():
    factors = found.on_log_axis(rates) / best
    page.sentence(
        f"{way}, rate over best weight_decay: "
        + ", ".join(
            f"{statistics.as_text(factors[level], '{:.2f}', scale='log')} at noise {level:g}"
            for level in found.levels
        )
        + "."
    )

# %% tags=["hide-input"]
shown.ask(found, "rises-with-noise", "tracks-search", "slope", "right-size")
# %% [markdown]
# ## What it is worth
#
# Accuracy and loss on the test set. At each level: does untuned BN beat the network without
# normalization and decay?

# %% tags=["hide-input"]
shown.show_accuracy(found)

# %% tags=["hide-input"]
shown.ask(found, "beats-nothing")
# %% [markdown]
# The *regret* is what is lost against the best `weight_decay` of the same seed and level. Below
# zero, the search lost to not tuning at all.

# %% tags=["hide-input"]
shown.regret_picture(found, "regret")

# %% [markdown]
# Does untuned BN lose less than one point? Does it lose less than weight normalization, the
# constraint that does not look at the data, and less than layer normalization?

# %% tags=["hide-input"]
shown.ask(found, "regret", "looks-at-data")
# %% [markdown]
# ## The price of moving a tuned rate
#
# The best `weight_decay` is a high bar: it was tuned at the very noise level where it is used.
# Data change. What if the rate was tuned at one level (row) and is used at another (column)? On
# the diagonal nothing is lost; the last rows are those of BN and of weight normalization, which
# were tuned nowhere.

# %% tags=["hide-input"]
shown.show_moves(found)

# %% tags=["hide-input"]
shown.ask(found, "moved-decay")
# %% [markdown]
# ## What the first layer listens to
#
# The variance of a unit is signal plus noise ({prf:ref}`thm-split`). The share of signal says
# whether a unit looks where digits differ or where only the noise does. A decay that is large
# enough shrinks the directions that carry noise alone. Does BN? We compare it, at the highest
# level, with the network that nothing regularizes.

# %% tags=["hide-input"]
picture = Picture(height=3.4)
for way, shares in found.signal_share.items():
    picture[0].band(found.levels, shares, way, shown.COLORS[way], shown.MARKERS[way])
picture[0].set(
    xlabel=shown.NOISE,
    title="share of signal in the first layer, percent",
    legend={"fontsize": 8},
)
top = found.levels[-1]
at_top = "; ".join(
    f"{way} {statistics.as_text(shares[top], '{:.1f}')}"
    for way, shares in found.signal_share.items()
)
picture.show(
    says="Mean share of signal over the units of the first layer."
    f" At noise {top:g}, in percent: {at_top}.",
    source=found.source,
    name="signal-share",
)

# %% tags=["hide-input"]
shown.ask(found, "hears-signal")
# %% [markdown]
# ## Two rates that are not quite the same thing
#
# `weight_decay` acts on all weights, those that read the hidden layer too; the rate that the meter
# reads is BN's pull on the first layer alone. And one number cannot hold the shape of the pull:
# decay pulls every direction alike, BN pulls the principal direction $i$ at the rate
# $\lambda\,(s_i + \sigma^2)$ ({prf:ref}`thm-rate`, {prf:ref}`thm-noise`). The L2-equivalent rate
# has the same total, not the same shape.

# %% tags=["hide-input"]
digits = data.load(dataset)
pixels = training.standardize(digits)["train"].astype(np.float64)
spectrum = Moments.from_data(pixels, digits.train.labels).spectrum[0][::-1]
picture = Picture(height=3.2)
(panel,) = picture
ratios, shades = [], ("batch", "signal", "noise")
for level, color in zip((found.levels[0], found.levels[len(found.levels) // 2], top), shades):
    pull = spectrum + level**2
    ratios.append(f"{pull[0] / np.median(pull):.3g} at noise {level:g}")
    panel.line(np.arange(1, len(pull) + 1), pull / pull.mean(), f"BN, noise {level:g}", color)
panel.level(1, "weight_decay", color=shown.COLORS[comparison.BEST], style="-")
panel.set(
    xlabel="principal direction",
    yscale="log",
    ylim=(1e-4, None),
    title="pull, over its mean",
    legend={"fontsize": 9},
)
picture.show(
    says="The shape of the pull: BN's follows the variances of the inputs, which noise makes alike."
    f" First direction over the median one: {', '.join(ratios)}.",
    source=Source(dataset, len(pixels), conditions={"network": "none"}),
    name="shape-of-the-pull",
)

# %% [markdown]
# On clean images BN pulls hardest where images vary most, and hardly at all where they do not
# vary. The more white noise there is, the flatter the pull: in deep noise BN's penalty has nearly
# the shape of decay.
#
# ## What it means for your network
#
# - BN's rate is a fair place to *start* a search: train once with BN, read the L2-equivalent rate
#   with `bnlib.measure(model, batches, loss_fn).by_layer()`, and centre a grid of `weight_decay`
#   on it. Unlike a number that you remember, it knows the scale of your inputs ({doc}`scale`). It
#   is no substitute for the search: the pictures above show how far apart the two can lie.
# - Do not count on the rate to grow because your data got noisier. No theorem promises it.
# - A `weight_decay` that was tuned on other data has a price too. Compare that price, and not the
#   regret against a search that you would not make, with what it costs to leave BN untuned.
#
# ## What we learned

# %% tags=["hide-input"]
page.sentence(questions.answer(found))

# %% [markdown]
# That is the answer, put together from verdicts and from nothing else. Behind it stand these
# numbers.

# %% tags=["hide-input"]
top, bottom = found.levels[-1], found.levels[0]
accuracy = {
    way: [f"{found.accuracy[way][level].mean():.2f}" for level in (bottom, top)]
    for way in (comparison.BN, comparison.BEST, comparison.WEIGHT, comparison.NONE)
}
ratio = found.on_log_axis(found.rates[comparison.BN]) / best
page.sentence(
    f"BN's rate is {10 ** np.log10(ratio[bottom]).mean():.2f} of the best weight_decay at noise"
    f" {bottom:g} and {10 ** np.log10(ratio[top]).mean():.2f} of it at noise {top:g}. Test accuracy"
    " in percent at these two: "
    + "; ".join(f"{way} {low} and {high}" for way, (low, high) in accuracy.items())
    + "."
)

# %% [markdown]
# So "tuned by the data" has two halves: whether the rate moves the right way, and whether it moves
# far enough. The slope tells them apart. No theorem of this book says what it should be in a
# network.
#
# {doc}`fashion` asks all of this again, untouched, of other images. {doc}`claims` has every
# verdict.
#
# ## Where it stops
#
# - Accuracy has more sources than the rate: normalization also changes how fast a network learns,
#   and all arms share one learning rate. A small regret does not show that the *rate* was right.
# - Training ends after a fixed number of epochs, not at rest. With learned $\gamma$ the rate would
#   fall to zero at rest ({prf:ref}`thm-stationarity`): what is measured is the rate of a network
#   on its way.
# - The rank correlation is over a handful of noise levels, all of them one kind of change of the
#   data.
# - The best `weight_decay` comes from one validation split; intervals are over seeds, not over
#   data sets.
# - The answer is one for this amount of data. With fewer images it can be another: {doc}`data`.
#
# ## Exercises
#
# **1. Derive.** One seed gives one rank correlation over five noise levels. If the two rates had
# nothing to do with each other, so that every order of the five is equally likely, how often would
# it be 0.9 or more? What does that say about a single training run at each level?
#
# :::{dropdown} Solution
# Without ties the rank correlation is $1 - 6\sum_i d_i^2/(n(n^2 - 1))$, with $d_i$ the difference
# of the ranks; for $n = 5$ it is $1 - \sum_i d_i^2/20$. It is at least 0.9 if $\sum_i d_i^2 \le
# 2$: for the one order that agrees everywhere, and for the four that exchange two neighbours. That
# is 5 of $5! = 120$ orders, or 4 %. So one seed that shows 0.9 is no more than weak evidence, and
# a value below it is none. That is why the interval here is over seeds.
# :::
#
# **2. Run.** Set `noise_stds = [0.0, 3.0]`. Before you run: which values can the rank correlation
# of one seed take now? Which of the statements above keep their numbers, digit by digit?
#
# :::{dropdown} Solution
# With two levels there are two orders, so it is 1 or −1, or 0 where the search found the same
# decay twice. Its interval over three seeds is then so wide that hardly anything can be borne out.
# Networks of one level know nothing of the other levels: what is asked of the lowest and of the
# highest level, "rises with noise", "beats nothing" there and "hears signal", keeps all its
# numbers. Means over noise levels change.
# :::
