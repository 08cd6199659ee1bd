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
# # How much data, and how good
#
# Builds on {doc}`least-squares`, {doc}`digits` and {doc}`noise-sweep`.
# After it you know how BN's rate moves with the amount and the quality of the data, beside the best `weight_decay`.
#
# Two things decide how much regularization a network needs: how many images it is trained on, and
# how many of their labels are wrong. A person who tunes `weight_decay` finds another value each
# time. Batch normalization (BN) sets its rate from the data. Does it move the same way?
#
# We vary both, read BN's rate and search for the best decay under each condition. A closed form
# says what to expect, and it is not all good news.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k"
seeds = [0, 1, 2]  # repetitions behind every interval
train_sizes = [500, 5000, 50000]  # images to train on, at least 128
label_noises = [0.0, 0.2, 0.4]  # share of the training labels that are wrong
steps = 400  # of each training, about: a whole number of epochs
digit = 3  # the read-out says: is it this digit?
components = 64  # principal components that the read-out sees
gamma = 0.5  # fixed scale of the read-out, in standard deviations of the target

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bnlib import theory, training
from bnlib.experiments import Conditions, sweep
from bnlib.moments import Moments
from bnlib.search import best_decays, smooth_best_decays
from companion.figures import Picture
from companion.page import check, finding, offer, sentence
from companion.records import Source, name_of
from companion.studies import amounts
from companion.studies.read_out import read_out

cell = list(amounts.CONDITIONS)
conditions = [
    Conditions(dataset, train_size=size, label_noise=share)
    for size in train_sizes
    for share in label_noises
]
on = name_of(dataset)
drawn = {"train_sizes": train_sizes, "label_noises": label_noises}


def table_of(frame, column, share):
    """A row a seed, a column an amount of data, for one share of wrong labels."""
    here = frame[frame.label_noise == share]
    return here.pivot(index="seed", columns="train_size", values=column)


def over_sizes(panel, **properties):
    panel.set(xscale="log", **properties)
    panel.ax.set_xticks(train_sizes, [f"{size:,}" for size in train_sizes], rotation=30)
    panel.ax.minorticks_off()


# %% [markdown]
# Each seed draws its own images, and which labels are wrong. Validation and test labels are right:
# the question is what works on true digits.
#
# ## What the closed form leads one to expect
#
# For least squares and a fixed scale, {prf:ref}`thm-least-squares` says
# $1 + \lambda = R\,\sigma_t/\gamma$, where $R^2$ is the share of the *training* target that a
# linear fit explains. Two things move it:
#
# - Fewer images: the fit explains more of what it has seen, by overfitting. $R$ grows, and BN's
#   rate with it. That is the right way.
# - More wrong labels: less can be explained. $R$ falls, and BN's rate with it. A person would think
#   of more regularization, not less.
#
# The read-out of {doc}`digits`, is it a certain digit, needs no training: BN's rate and the best
# ridge penalty come from the moments of each sample. The best is the one with the lowest squared
# error on the validation digits.

# %%
digits = read_out(dataset, digit, components)
is_digit = digits.labels["train"] == digit
alphas = np.append(0.0, np.geomspace(1e-3, 1e2, 101))


def closed_form(condition, seed):
    rows, labels = condition.training_rows(digits.labels["train"], seed)
    target = ((labels == digit) - is_digit.mean()) / is_digit.std()
    moments = Moments.from_data(digits.inputs["train"][rows], target)
    s, U = moments.spectrum
    ridge = U @ ((U.T @ moments.cross)[:, None] / (s[:, None] + alphas))  # (components, alphas)
    answers = target.mean() + (digits.inputs["validation"] - moments.mean) @ ridge
    errors = np.square(answers - digits.target["validation"][:, None]).mean(axis=0)
    fit = theory.least_squares(moments, gamma)
    return {"rate": fit.rate, "bn": fit.l2_rate, "best": alphas[errors.argmin()]}


# %% [markdown]
# Check it yourself: what BN sets, as $\lambda$ and as the equivalent ridge penalty, and the best
# one, for right labels and for many wrong ones.

# %%
shares = [0.0, 0.4]
samples = [Conditions(dataset, train_size=train_sizes[0], label_noise=share) for share in shares]
pd.DataFrame([closed_form(sample, seed=0) for sample in samples], index=shares).astype(float)

# %% [markdown]
# And now all conditions, with every seed.


# %% tags=["hide-input"]
closed = pd.DataFrame(
    {"train_size": condition.train_size, "label_noise": condition.label_noise, "seed": seed}
    | closed_form(condition, seed)
    for condition in conditions
    for seed in seeds
)
moments_source = Source(dataset, None, seeds, drawn | {"components": components, "gamma": gamma})

picture = Picture(2, len(label_noises), height=4.6, sharex=True, sharey="row")
for column, share in enumerate(label_noises):
    top, bottom = picture[column], picture[len(label_noises) + column]
    top.band(train_sizes, table_of(closed, "rate", share), "λ", "batch")
    over_sizes(top, title=f"{share:.0%} wrong")
    bottom.band(train_sizes, table_of(closed, "bn", share), "set by BN", "batch")
    bottom.band(train_sizes, table_of(closed, "best", share), "best ridge penalty", "l2", "s")
    over_sizes(bottom, xlabel=f"images, {share:.0%} wrong")
picture[0].set(ylabel="rate λ")
picture[len(label_noises)].set(ylabel="as ridge penalty", legend={"fontsize": 9})
picture.show(
    says="Where BN follows the data, its curve runs along that of the best penalty."
    " Read-out in closed form, a column a share of wrong labels. Top: BN's rate. Bottom: the"
    " same in units of a ridge penalty, and the penalty of lowest validation error.",
    source=moments_source,
    name="data-closed-form",
)

# %% [markdown]
# First $\lambda$ itself: is it larger for few images, and for right labels?

# %% tags=["hide-input"]
ends = closed.pivot(index="seed", columns=cell, values="rate")
few_minus_many = ends[train_sizes[0]] - ends[train_sizes[-1]]  # a column a share of wrong labels
by_share = ends.swaplevel(axis=1)
right_minus_wrong = by_share[label_noises[0]] - by_share[label_noises[-1]]
by_amount, by_labels = [
    check(
        "least-squares",
        f"{on} read-out in closed form, lambda: {words}",
        measured=difference.mean(axis=1).to_numpy(),
        predicted=0.0,
        kind="empirical",
        relation="above",
        source=moments_source,
    )
    for words, difference in (
        ("fewest images minus most, mean over shares of wrong labels", few_minus_many),
        ("right labels minus most wrong, mean over amounts of data", right_minus_wrong),
    )
]

# %% tags=["hide-input"]
finding(
    "A linear read-out with a fixed γ: BN's rate λ with the fewest images less that with the most is"
    " {images:+.2f}, with right labels less that with the most wrong {labels:+.2f}; the first is {first},"
    " the second {second}.",
    by_amount,
    by_labels,
    images=by_amount.measured,
    labels=by_labels.measured,
    first=by_amount.verdict,
    second=by_labels.verdict,
)

# %% [markdown]
# And the best penalty? It need not grow with wrong labels. They pull all answers towards the
# average already, which on true digits costs squared error, and a penalty would pull further.
#
# Do the two move together? The rank correlation over one condition says so, averaged over the other.

# %% tags=["hide-input"]
varied = (("train_size", "amount of data"), ("label_noise", "share of wrong labels"))
for along, words in varied:
    check(
        "least-squares",
        f"{on} read-out in closed form, {words}: rank correlation of BN's L2-equivalent rate with the"
        " best ridge penalty, mean over the other condition",
        measured=amounts.together(closed, along),
        predicted=0.0,
        kind="empirical",
        relation="above",
        role="exploratory",
        scale="correlation",
        source=moments_source,
    )

# %% [markdown]
# ## A network
#
# Now 100 hidden units and cross-entropy, $\gamma$ learned. All trainings have about the same number
# of steps, so small sets are seen more often. The arms are those of {doc}`noise-sweep`: BN without
# decay, nothing, and `weight_decay` from a grid of half decades.

# %% tags=["remove-stderr"]
decays = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]
arms = [training.Arm("batch"), training.Arm("none")]
arms += [training.Arm("none", weight_decay=decay) for decay in decays]


def schedule(size):
    return training.Schedule(epochs=max(1, round(steps / (size // 128))), batch_size=128)


runs = pd.concat(
    [
        sweep(arms, [c for c in conditions if c.train_size == size], schedule(size), seeds)
        for size in train_sizes
    ],
    ignore_index=True,
)

# %% tags=["hide-input"]
index = [*cell, "seed"]
with_bn = runs[runs.normalization == "batch"].set_index(index)
best = best_decays(runs, cell).set_index(index)
nothing = runs[(runs.normalization == "none") & (runs.weight_decay == 0)].set_index(index)
both = amounts.rates(runs)
fitted = smooth_best_decays(runs, cell)
offer(runs, "data_sweep.csv", "a trained network a row")
taken = ", ".join(f"{schedule(size).steps(size)} for {size:,} images" for size in train_sizes)
sentence(
    f"Steps: {taken}. BN's L2-equivalent rate is positive in {(both.bn > 0).sum()} of {len(both)}"
    f" networks. In {fitted.at_end.sum()} of the searches the best decay lies at an end of the grid;"
    " the others know log10 of it to a standard error of"
    f" {np.nanmedian(fitted.log10_error):.2f}, the median."
)
where = Source(dataset, None, seeds, drawn | {"network": "784-100-10", "steps": steps})

# %% tags=["hide-input"]
picture = Picture(1, len(label_noises), height=2.8, sharey=True)
for panel, share in zip(picture, label_noises):
    for name, frame, color, marker in (
        ("BN", with_bn, "batch", "o"),
        ("best decay", best, "l2", "s"),
        ("none", nothing, "none", "^"),
    ):
        accuracy = table_of(frame.reset_index(), "test_accuracy", share)
        panel.band(train_sizes, accuracy, name, color, marker, scale="share")
    over_sizes(panel, xlabel="images", title=f"{share:.0%} of labels wrong")
picture[0].set(ylabel="test accuracy", legend={"fontsize": 9})
picture.show(
    says="What BN loses to a search is what lies between its curve and that of the best decay."
    " A column a share of wrong labels: test accuracy of untuned BN, of the best decay of a"
    " search and of neither.",
    source=where,
    name="accuracy-and-data",
)

# %% [markdown]
# And the two rates. Do they move the same way as the images become more?

# %% tags=["hide-input"]
picture = Picture(1, len(label_noises), height=3.2, sharey=True)
lowest = decays[0] / 3  # where "no decay" is drawn
for panel, share in zip(picture, label_noises):
    rates = table_of(both, "bn", share)
    searched = table_of(both, "best", share).clip(lower=lowest)
    if shown := [size for size in train_sizes if (rates[size] > 0).all()]:
        panel.points(shown, rates[shown], "set by BN", "batch", scale="log")
    panel.points(train_sizes, searched, "best weight_decay", "l2", "s", scale="log")
    over_sizes(panel, yscale="log", xlabel="images", title=f"{share:.0%} of labels wrong")
picture[0].set(ylabel="rate, units of weight_decay", legend={"fontsize": 9})
picture.show(
    says="BN follows the data where its rate runs along the best weight_decay."
    f" {on}: the rate that BN set by itself and the best weight_decay of a search, against the"
    f" number of training images. No decay is drawn at {lowest:.1e}; conditions in which BN's rate"
    " was not positive for all seeds are left out.",
    source=where,
    name="rate-and-data",
)

# %% [markdown]
# Do they move together? With the amount of data, at each share of wrong labels, and with the share
# of wrong labels, at each amount of data: the rank correlation of the two rates, averaged.

# %% tags=["hide-input"]
amount = check(
    "data-amount",
    f"784-100-10 on {on}, amount of data: rank correlation of BN's L2-equivalent rate with the"
    " best weight_decay, mean over shares of wrong labels",
    role="headline",
    stands_in=amounts.stands(runs),
    source=where,
    **amounts.headline(both),
)
labels_get_worse = check(
    "label-noise",
    f"784-100-10 on {on}, share of wrong labels: rank correlation of BN's L2-equivalent rate with"
    " the best weight_decay, mean over amounts of data",
    measured=amounts.together(both, "label_noise"),
    predicted=0.0,
    kind="empirical",
    relation="above",
    scale="correlation",
    source=where,
)
said = " the best weight_decay: rank correlation {interval:+.2f}."
few, many = (
    both[(both.train_size == size) & (both.label_noise == 0)]
    for size in (train_sizes[0], train_sizes[-1])
)
ends_of = {
    "fewest": train_sizes[0],
    "most": train_sizes[-1],
    "bn_few": few.bn.mean(),
    "bn_many": many.bn.mean(),
    "best_few": 10 ** np.log10(few.best).mean(),
    "best_many": 10 ** np.log10(many.best).mean(),
}
sizes = (
    " From {fewest:,} to {most:,} images with right labels the best decay goes from {best_few:.1e} to"
    " {best_many:.1e}, BN's rate from {bn_few:.1e} to {bn_many:.1e}."
)
finding(
    {
        "borne out": "As the amount of data changes, BN's rate moves against" + said + sizes,
        "not borne out": "As the amount of data changes, BN's rate moves with" + said + sizes,
        "undecided": "As the amount of data changes, these seeds cannot say whether BN's rate moves"
        " with or against" + said + sizes,
    },
    amount,
    **ends_of,
)
finding(
    {
        "borne out": "As labels get noisier, BN's rate moves with" + said,
        "not borne out": "As labels get noisier, BN's rate moves against" + said,
        "undecided": "As labels get noisier, these seeds cannot say whether BN's rate moves with or"
        " against" + said,
    },
    labels_get_worse,
)

# %% [markdown]
# The closed form had a fixed $\gamma$. Here it is learned, and then {prf:ref}`thm-stationarity` says
# that $\lambda$ is 0 at rest. The fewer the images, the sooner a network fits them all and has
# nothing left to learn: its rate would fade where regularization is needed most. If that is what
# happens, the rate should follow the loss that is left in training, whatever the condition.

# %% tags=["hide-input"]
picture = Picture(height=3.0)
(panel,) = picture
for share, color in zip(label_noises, ("batch", "signal", "noise")):
    here = both[both.label_noise == share].sort_values("train_loss")
    panel.dots(here.train_loss, here.rate, f"{share:.0%} wrong", color)
panel.level(0, color="none", style="-")
panel.set(xlabel="loss left in training", ylabel="rate λ", xscale="log", legend={"fontsize": 9})
picture.show(
    says="The rate follows the loss that is left in training."
    " Every network with BN is a point: its rate at the end of training, and the loss that is"
    " left.",
    source=where,
    name="data-rate-and-loss",
)
fades = check(
    "stationarity",
    f"784-100-10 on {on} with learned gamma, over amounts of data and wrong labels: rank"
    " correlation of lambda with the loss left in training",
    measured=[
        spearmanr(group.rate, group.train_loss).statistic for _, group in both.groupby("seed")
    ],
    predicted=0.0,
    kind="empirical",
    relation="above",
    scale="correlation",
    source=where,
)
said = " (rank correlation {interval:+.2f})."
finding(
    {
        "borne out": "A learned scale lets the rate fade as training comes to rest: the rate"
        " follows the loss that is left in training" + said,
        "not borne out": "The rate does not follow the loss that is left in training" + said,
        "undecided": "Whether the rate follows the loss that is left in training, these seeds leave"
        " open" + said,
    },
    fades,
)

# %% [markdown]
# ## What it costs
#
# The regret is the accuracy that untuned BN loses against the best decay, and the gain what it wins
# against no regularization, both averaged over all conditions.

# %% tags=["hide-input"]
regret, gain = (
    check(
        claim,
        f"{statement}, {on}, mean over amounts of data and shares of wrong labels",
        measured=100 * difference.groupby("seed").mean().to_numpy(),
        predicted=predicted,
        kind="empirical",
        relation=relation,
        scale="points",
        source=where,
    )
    for claim, statement, difference, predicted, relation in (
        (
            "regret",
            "regret of untuned BN against the best weight_decay in points of test accuracy",
            best.test_accuracy - with_bn.test_accuracy,
            1.0,
            "below",
        ),
        (
            "beats-nothing",
            "test accuracy of untuned BN in points above that without regularization",
            with_bn.test_accuracy - nothing.test_accuracy,
            0.0,
            "above",
        ),
    )
)
said = (
    " {interval:.1f} points of accuracy against the best weight_decay, on average"
    " over all conditions. Beside no regularization the difference is {gain:+.1f}."
)
finding(
    {
        "borne out": "Untuned BN loses less than one point:" + said,
        "not borne out": "Untuned BN loses more than one point:" + said,
        "undecided": "Whether untuned BN loses less than one point, these seeds leave open:" + said,
    },
    regret,
    gain=gain.measured,
)

# %% [markdown]
# ## What it means for your network
#
# - Do not take BN for a substitute of weight decay where images are few or labels wrong. Search the
#   decay there, as you would without BN.
# - A rate near zero at the end of training does not say that little regularization was needed. It
#   may only say that nothing is left to learn.
# - If BN's rate is to grow with overfitting, as that of a linear read-out does, $\gamma$ has to be
#   fixed: {doc}`least-squares` says which rate a fixed $\gamma$ gives.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"From {train_sizes[0]:,} to {train_sizes[-1]:,} images with right labels the best decay went from"
    f" {ends_of['best_few']:.1e} to {ends_of['best_many']:.1e}, and BN's rate from"
    f" {ends_of['bn_few']:.1e} to {ends_of['bn_many']:.1e}. Rank correlation of the two over amounts of"
    f" data: {amount.measured:+.2f}, over shares of wrong labels: {labels_get_worse.measured:+.2f}."
    f" Untuned BN lost {regret.measured:.1f} points of accuracy against the best decay."
)

# %% [markdown]
# - With a fixed scale the formula ties BN's rate to $R$: what makes $R$ grow, such as fitting few rows,
#   raises it, and what makes $R$ fall, such as labels that no input explains, lowers it.
# - With a learned scale the rate fades at rest, and rest comes first where images are few. The loss
#   that is left in training does not know how much of a fit is overfitting.
# - "Set by the data" is not "set as the data would need it".
#
# ## Where it stops
#
# - The best decay is that of lowest validation loss. Accuracy alone would often choose a larger one
#   where labels are wrong.
# - The number of steps is about the same for all sizes, so each image of a large set is seen a few
#   times only. That is early stopping, a regularization of its own, and can make the best decay
#   small.
# - BN's rate is read at the end. Earlier in training it is another.
# - A rank correlation over few conditions counts directions, not sizes, and takes few values.
# - Wrong labels are uniform over the other classes. Mistakes that people make are not.
# - Weight decay acts on all layers and BN's rate on the hidden one.
#
# ## Exercises
#
# **1. Derive.** In least squares, let wrong labels add noise to the target that no input explains:
# $t' = t + e$, with $e$ independent of $(x, t)$, of mean 0 and variance $\tau^2$, and $\gamma$
# fixed. What happens to BN's rate? And if the target is standardized again? Compare with the ridge
# penalty that the noise calls for.
#
# :::{dropdown} Solution
# $c = \operatorname{Cov}(x, t)$ does not change, and $R\sigma_t = \sqrt{c^\top\Sigma^+c}$ depends
# on nothing else. So on the population $\lambda$ stays what it was. Standardized again, the target
# is divided by $\sqrt{1 + \tau^2/\sigma_t^2}$, and so is $1 + \lambda$: the rate falls. A sample of
# $n$ rows also explains noise by chance: that adds to $c^\top\Sigma^+c$ about $d\,\tau^2/n$, $d$
# the number of inputs, and raises the rate where $n$ is not large beside $d$. A ridge penalty that
# is to hold down the same error grows in proportion to $\tau^2/n$. So BN hears the noise only where
# it is overfitted, and then through a square root. Labels that are replaced by others do both: they
# add noise, and they shrink $c$.
# :::
#
# **2. Run.** Set `steps = 600`. What should happen to BN's rate where images are few? And to its rank
# correlation with the best decay?
#
# :::{dropdown} Solution
# More steps leave less loss where images are few, so BN's rate should fade further there, while the
# best decay is still the one that overfitting calls for. So the rank correlation should stay where it
# is or fall, and the regret of untuned BN should grow.
# :::
