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
# After it you know how BN's own rate compares with the best `weight_decay` of a search, as noise grows.
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
from scipy import stats

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
# around it, and has a standard error, which the table shows.

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
# ## One unit that can be solved
#
# Why less than fully? For this network no theorem says. One least-squares unit can be solved, and is
# a warning against guessing: how BN's rate answers noise there depends on how $\gamma$ is set, on
# whether the noise is drawn once or anew at every step, and on $\Sigma$. No case is the network's
# case: there $\gamma$ is learned, the loss is cross-entropy, there are two layers and few epochs.
#
# $x' = x + n$, noise of variance $\sigma^2$ on every input, all Gaussian, $\Sigma = sI$,
# $\tau = s + \sigma^2$. $R^2(\sigma) = R^2s/\tau$ is what a linear fit explains of the target at
# that noise. $\alpha^*$ is the multiplier of $\frac12\lVert v\rVert^2$ that is best for $n$ rows
# without BN, tested at the same noise; $\alpha$ is BN's L2-equivalent rate.
#
# 1. *Noise drawn once a row.* Averaged over the direction of $c$,
#    $\alpha^* = \frac dn\,\tau\,\frac{1 - R^2(\sigma)}{R^2(\sigma)}$ for every sample of inputs. BN
#    with learned $\gamma$ and a decay on it, or with batches of one size, has
#    $\alpha = \lambda\tau$ at one $\lambda$: the slope of $\log\alpha$ on $\log\alpha^*$ is
#    $\frac{1 - R^2(\sigma)}{2 - R^2(\sigma)}$, **below one half**. With $\gamma$ fixed it is below
#    one quarter where $\lambda > 0$, and negative once $\lambda < 1$.
# 2. *Fresh noise at every step*, as in this chapter. The noise is a penalty by itself, and what is
#    best beside it is, up to $O(n^{-2})$,
#    $\alpha^* = \frac\tau n\big[b + (d+1)\,\omega(3\omega - 2) - \omega\big]$, $\omega = \sigma^2/\tau$,
#    $b = d(1 - R^2)/R^2$. It first *falls* if $b < 2d + 3$, and is negative in between if
#    $12(d+1)b < (2d+3)^2$. BN's slope on it is then negative first, above one half later: there is
#    no "half".
# 3. $\Sigma$ *not isotropic:* no bound in either case. With noise drawn once, to leading order in
#    $1/n$, $\alpha^* = \frac{\sigma_t^2 - f_1}n\,\frac{\operatorname{tr}(\Sigma + \sigma^2I)^{-1}}{f_3}$,
#    $f_k = c^\top(\Sigma + \sigma^2I)^{-k}c$: as noise grows it may fall before it rises, while BN's
#    $\alpha = \lambda f_1/f_2$ rises at one $\lambda$.
#
# :::{dropdown} Proof
# **1.** Let the noisy rows' sample covariance have the eigenvalues $l_i$. In its eigenbasis the excess
# risk of ridge is $\tau\sum_i\big[\alpha^2 v_i^2 + \frac{s_e^2}n l_i\big]/(l_i + \alpha)^2$, with
# $v' = c/\tau$, $s_e^2 = (1 - R^2(\sigma))\sigma_t^2$ and, over directions, $\mathbb Ev_i^2 = |v'|^2/d$.
# Each summand has the derivative $2l_i\big(\alpha|v'|^2/d - s_e^2/n\big)/(l_i + \alpha)^3$: all vanish
# at $\alpha = ds_e^2/(n|v'|^2)$, and $|v'|^2 = R^2(\sigma)\sigma_t^2/\tau$. As
# $1/R^2(\sigma) = \tau/(R^2s)$, $\mathrm d\log\alpha^*/\mathrm d\log\tau = 1 + 1/(1 - R^2(\sigma))$.
# BN: $\alpha = \lambda v'^\top\tau v'/|v'|^2$. With $\gamma$ fixed $1 + \lambda = \kappa/\gamma$ falls
# like $\tau^{-1/2}$, so $\mathrm d\log\alpha/\mathrm d\log\tau = 1 - \frac12(1 + \frac1\lambda)$.
#
# **2.** Let $\hat S$ be the clean rows' sample covariance, $\Delta = \hat S - sI$, $g = X'e/n$ with
# the clean residuals, $v^*$ the clean fit of the population, $v' = (1 - \omega)v^*$, $u = \omega v^*$.
# Averaged over the noise the fit is $(\hat S + \sigma^2 + \alpha)^{-1}(\hat Sv^* + g)$, and it differs
# from $v'$ by $(\hat S + \sigma^2 + \alpha)^{-1}(\Delta u + g - \alpha v')$, as $su = \sigma^2v'$. Of
# its mean square the terms in $\alpha^2$ and $\alpha/n$ are
#
# $$
# \frac{\alpha^2|v'|^2}{\tau^2} - \frac{2\alpha}{\tau^3}\,\mathbb E\big(|\Delta u|^2 + |g|^2\big)
# - \frac{2\alpha}{\tau^2}\,\mathbb Eu'\Delta v' + \frac{4\alpha}{\tau^3}\,\mathbb Eu'\Delta^2v' .
# $$
#
# With $\mathbb E\Delta = -sI/n$, $\mathbb E\Delta^2 = (d+1)s^2I/n$ and
# $\mathbb E|g|^2 = d\,s(1 - R^2)\sigma_t^2/n$ to leading order, and $|v^*|^2 = R^2\sigma_t^2/s$, its
# minimum is the formula. At $\sigma = 0$ its derivative in $\sigma^2$ is $(b - 2d - 3)/n$; in $\omega$
# the bracket is a quadratic whose discriminant is $(2d+3)^2 - 12(d+1)b$.
#
# **3.** As in 1., ridge differs from $v'$ by $(\hat S + \alpha)^{-1}(g - \alpha v')$, now with the noisy
# rows' $\hat S$ and residual variance $\sigma_t^2 - f_1$. In the norm of $S = \Sigma + \sigma^2I$ the
# terms in $\alpha^2$ and $\alpha/n$ of its mean square are $\alpha^2v'^\top S^{-1}v' = \alpha^2f_3$ and
# $-2\alpha\,\frac{\sigma_t^2 - f_1}n\operatorname{tr}S^{-1}$. $\square$
# :::

# %% tags=["hide-input"]
# one input variance s = 1; d inputs, n rows
d, n, R2, alone = 10, 6400, 0.5, np.geomspace(1, 40, 200)  # tau
explained_share = R2 / alone
once = d / n * alone * (1 - explained_share) / explained_share
omega, need = 1 - 1 / alone, d * (1 - R2) / R2
fresh = alone / n * (need + (d + 1) * omega * (3 * omega - 2) - omega)
learned = (
    0.01 * alone
)  # a decay of 0.01 on gamma: where the curves lie; their slope does not depend on it
kappa_of = np.sqrt(explained_share)
rate_fixed = kappa_of / (0.4 * kappa_of[0]) - 1


def best_ridge(variances, level, guess, drawn_once, rows, samples=6_000):
    """The best ridge by its mean error over samples of inputs, by a search; all else is averaged exactly."""
    noisy = variances + level
    cross = np.eye(len(variances))[0] * np.sqrt(R2 * variances[0])
    wanted = cross / noisy
    seen, fit = (noisy, wanted) if drawn_once else (variances, cross / variances)
    drawn = stats.wishart.rvs(
        rows - 1, np.diag(seen / rows), size=samples, random_state=np.random.default_rng(0)
    )
    s, axes = np.linalg.eigh(drawn)
    norm = np.einsum("rji,j,rjk->rik", axes, noisy, axes)
    rotated, aim = fit @ axes, wanted @ axes
    grid, errors = guess * np.linspace(0.4, 1.6, 9), []
    for alpha in grid:
        shrunk = 1 / (s + alpha + (0 if drawn_once else level))
        off = shrunk * s * rotated - aim
        variance = (1 - cross @ fit) / rows * s * shrunk**2
        errors.append(
            np.einsum("ri,rij,rj->", off, norm, off) + np.einsum("ri,rii->", variance, norm)
        )
    k = int(np.clip(np.argmin(errors), 1, len(grid) - 2))
    bend, slope, _ = np.polyfit(grid[k - 1 : k + 2], errors[k - 1 : k + 2], 2)
    return -slope / (2 * bend)


levels = np.array([0.0, 1.0, 4.0, 15.0])
one = np.ones(d)
guess = np.interp(1 + levels, alone, once), np.interp(1 + levels, alone, fresh)
found_once, found_fresh = (
    np.array([best_ridge(one, *pair, drawn, n) for pair in zip(levels, guesses)])
    for guesses, drawn in zip(guess, (True, False))
)
# the signal in one direction of variance 4, and 19 others without any
several, many, weakest = np.r_[4.0, np.full(19, 0.5)], 20_000, np.geomspace(0.05, 16, 100)
first_of_all = np.array([[4 * R2 / (4 + level) ** k for level in weakest] for k in (1, 2, 3)])
inverse = np.array([(1 / (several + level)).sum() for level in weakest])
unequal = (1 - first_of_all[0]) / many * inverse / first_of_all[2]
at = weakest[[0, 40, 60, 75, 99]]
found_unequal = [
    best_ridge(several, level, np.interp(level, weakest, unequal), True, many, 2000) for level in at
]

# %% tags=["hide-input"]
page.check(
    "slope",
    "one least-squares unit, noise drawn once a row: best ridge multiplier by a search over the closed form",
    measured=found_once / guess[0],
    predicted=np.ones(len(levels)),
    tolerance=0.005,  # samples of inputs are drawn
    role="exploratory",
    source=Source(conditions={"inputs": d, "rows": n, "r_squared": R2}),
)
picture = Picture(2, 2, height=6.2)
first, second, third, fourth = picture
first.line(once, learned, "γ learned, decay on it", "batch")
first.line(once, learned[0] * np.sqrt(once / once[0]), "slope ½", "theory", style=":")
first.dots(found_once, 0.01 * (1 + levels), "α* by a search", "l2")
positive = rate_fixed > 0
second.line(once[positive], (rate_fixed * alone)[positive], "γ fixed", "batch")
third.line(fresh, learned, "γ learned, fresh noise", "batch")
third.line(
    [fresh[-1] / 8, fresh[-1]], [learned[-1] / 8, learned[-1]], "slope 1", "theory", style=":"
)
third.dots(found_fresh, 0.01 * (1 + levels), "α* by a search", "l2")
fourth.line(unequal, 0.01 * first_of_all[0] / first_of_all[1], "γ learned, decay on it", "batch")
fourth.dots(found_unequal, 0.01 * (4 + at), "α* by a search", "l2")
titles = ("noise drawn once", "drawn once, γ fixed", "fresh noise", "drawn once, unequal variances")
for panel, title in zip(picture, titles):
    panel.set(
        xscale="log", yscale="log", xlabel="best ridge α*", title=title, legend={"fontsize": 8}
    )
for axis, ticks in ((fourth.ax.xaxis, [0.03, 0.1, 0.2]), (fourth.ax.yaxis, [0.05, 0.1, 0.2])):
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
first.set(ylabel="BN's α")
third.set(ylabel="BN's α")
picture.show(
    says="Whether BN follows the best ridge depends on where the noise is."
    " One least-squares unit, noise growing along each curve. Inputs of one variance, noise drawn"
    " once: BN follows less than half, in logarithms (top left), or, with γ fixed, hardly, then the wrong"
    " way (top right). Fresh noise: the best ridge first falls, in the end BN follows fully (bottom left)."
    " Unequal variances: no rule holds (bottom right).",
    source=Source(conditions={"inputs": d, "rows": n, "r_squared": R2}),
    name="noise-sweep-one-unit",
)

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
    says="Every network hears less of the digit as the noise grows."
    " Mean share of signal over the units of the first layer."
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
    says="BN pulls along the strong directions, weight decay along all alike."
    " BN's follows the variances of the inputs, which noise makes alike."
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
