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
# Two things decide how much regularization a network needs: how many images it is trained on, and
# how many of their labels are wrong. A person who tunes `weight_decay` finds another value each
# time. Batch normalization (BN) sets its rate from the data, so one may hope that its rate moves
# the same way.
#
# This chapter varies both, reads BN's rate and searches for the best decay under each condition.
# It starts with a closed form that says what to expect, and it is not all good news.

# %% tags=["parameters"]
dataset = "mnist-5k"  # or "mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
train_sizes = [300, 1000, 3000]  # images to train on, at least 128
label_noises = [0.0, 0.2, 0.4]  # share of the training labels that are wrong
steps = 150  # of each training, about: a whole number of epochs
digit = 3  # the read-out says: is it this digit?
components = 64  # principal components that the read-out sees
gamma = 0.5  # fixed scale of the read-out, in standard deviations of the target

# %%
import itertools

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bnlib import data, theory, training
from companion import figures, page, statistics
from bnlib.experiments import Conditions, best_decays, sweep

digits = data.load(dataset)
conditions = [
    Conditions(dataset, train_size=size, label_noise=share)
    for size in train_sizes
    for share in label_noises
]
drawn = f"{digits.title}, {train_sizes[0]:,} to {train_sizes[-1]:,} of {len(digits.train):,}"
drawn += f" training images, seeds {', '.join(map(str, seeds))}"

# %% [markdown]
# Each seed draws its own images, and which labels are wrong. Validation and test labels are right:
# the question is what works on true digits.
#
# ## What the closed form leads one to expect
#
# For least squares and a fixed scale, {prf:ref}`thm-least-squares` says
# $1 + \lambda = R\,\sigma_t/\gamma$, where $R^2$ is the share of the *training* target that a linear
# fit explains. Two things move it:
#
# - Fewer images: the fit explains more of what it has seen, by overfitting. $R$ grows, and BN's rate
#   with it. That is the right way.
# - More wrong labels: less can be explained. $R$ falls, and BN's rate with it. A person would think of
#   more regularization, not less.
#
# The read-out of {doc}`digits`, is it a certain digit, needs no training: BN's rate and the best
# ridge penalty come from the moments of each sample. The best is the one with the lowest squared error
# on the validation digits.

# %% tags=["hide-input"]
inputs = training.standardize(digits)
pixels = theory.Moments.from_data(inputs["train"], digits.train.labels)
leading = pixels.spectrum[1][:, ::-1][:, :components]
seen = {part: (inputs[part] - pixels.mean) @ leading for part in ("train", "validation")}
is_digit = digits.train.labels == digit
truth = ((digits.validation.labels == digit) - is_digit.mean()) / is_digit.std()
alphas = np.append(0.0, np.geomspace(1e-3, 1e2, 101))


def read_out(condition, seed):
    rows, labels = condition.training_rows(digits.train.labels, seed)
    target = ((labels == digit) - is_digit.mean()) / is_digit.std()
    moments = theory.Moments.from_data(seen["train"][rows], target)
    s, U = moments.spectrum
    ridge = U @ ((U.T @ moments.cross)[:, None] / (s[:, None] + alphas))  # (components, alphas)
    answers = target.mean() + (seen["validation"] - moments.mean) @ ridge
    best = np.square(answers - truth[:, None]).mean(axis=0).argmin()
    fit = theory.least_squares(moments, gamma)
    return {
        "train_size": condition.train_size,
        "label_noise": condition.label_noise,
        "seed": seed,
        "R": np.sqrt(moments.r_squared),
        "rate": fit.rate,
        "bn": fit.l2_rate,
        "best": alphas[best],
    }


closed = pd.DataFrame([read_out(condition, seed) for condition in conditions for seed in seeds])

# %% tags=["hide-input"]
cell = ["train_size", "label_noise"]


def titled(size, share):
    return f"{size:,} images, {share:.0%} wrong"


def over_seeds(frame, column, form="{:.2f}"):
    return [statistics.as_text(group, form) for _, group in frame.groupby(cell)[column]]


names = [titled(*key) for key, _ in closed.groupby(cell)]
page.table(
    pd.DataFrame(
        {
            "R": over_seeds(closed, "R"),
            "BN's rate λ": over_seeds(closed, "rate"),
            "L2-equivalent α": over_seeds(closed, "bn"),
            "best α found": over_seeds(closed, "best"),
        },
        index=names,
    ),
    f"Read-out in closed form, γ = {gamma:g}: rate of BN, and the ridge penalty of lowest validation"
    " error. Means with 95 % intervals.",
    f"{drawn}; {components} components",
)

# %% [markdown]
# First $\lambda$ itself: is it larger for few images, and for right labels?

# %%
ends = closed.pivot(index="seed", columns=cell, values="rate")
few_minus_many = ends[train_sizes[0]] - ends[train_sizes[-1]]  # a column a share of wrong labels
right_minus_wrong = ends.xs(label_noises[0], axis=1, level=1) - ends.xs(
    label_noises[-1], axis=1, level=1
)
for words, difference in (
    ("fewest images minus most, mean over shares of wrong labels", few_minus_many),
    ("right labels minus most wrong, mean over amounts of data", right_minus_wrong),
):
    page.check(
        "least-squares",
        f"MNIST read-out in closed form, lambda: {words}",
        measured=difference.mean(axis=1).to_numpy(),
        predicted=0.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# And the best penalty? It need not grow with wrong labels. They pull all answers towards the average
# already, which on true digits costs squared error, and a penalty would pull further.
#
# To say how well two rates move together we count pairs of conditions. A pair counts $+1$ where both
# rates move the same way, $-1$ where they move against each other, 0 where one of them stays. The mean
# is the agreement, from $-1$ to $1$. It needs no logarithm: rates may be negative.


# %% tags=["hide-input"]
def agreement(frame, along):
    """One number a seed: over pairs of conditions that differ in `along` alone."""
    (other,) = set(cell) - {along}
    found = []
    for seed in seeds:
        signs = []
        for _, group in frame[frame.seed == seed].groupby(other):
            for first, second in itertools.combinations(group.sort_values(along).index, 2):
                moves = group.loc[second, ["bn", "best"]] - group.loc[first, ["bn", "best"]]
                signs.append(np.sign(moves["bn"]) * np.sign(moves["best"]))
        found.append(np.mean(signs))
    return np.array(found)


for claim, along, words in (
    ("data-amount", "train_size", "amount of data"),
    ("label-noise", "label_noise", "share of wrong labels"),
):
    page.check(
        claim,
        f"MNIST read-out in closed form, {words}: agreement of BN's L2-equivalent rate with the best ridge penalty",
        measured=agreement(closed, along),
        predicted=0.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# ## A network
#
# Now 100 hidden units and cross-entropy, $\gamma$ learned. All trainings have about the same number of
# steps, so small sets are seen more often. The arms are those of {doc}`noise-sweep`: BN without decay,
# nothing, and `weight_decay` from a grid of half decades.

# %%
decays = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]
arms = [training.Arm("batch"), training.Arm("none")]
arms += [training.Arm("none", weight_decay=decay) for decay in decays]


def schedule(size):
    return training.Schedule(epochs=max(1, round(steps / (size // 128))), batch_size=128)


for size in train_sizes:
    print(
        f"{size:>6,} images: {schedule(size).epochs:>4} epochs, {schedule(size).steps(size):,} steps"
    )

# %% tags=["remove-stderr"]
runs = pd.concat(
    [
        sweep(arms, [c for c in conditions if c.train_size == size], schedule(size), seeds)
        for size in train_sizes
    ],
    ignore_index=True,
)

# %%
index = [*cell, "seed"]
with_bn = runs[runs.normalization == "batch"].set_index(index)
best = best_decays(runs, cell).set_index(index)
nothing = runs[(runs.normalization == "none") & (runs.weight_decay == 0)].set_index(index)
both = with_bn[["l2_rate", "rate", "train_loss"]].rename(columns={"l2_rate": "bn"})
both = both.assign(best=best.weight_decay).reset_index()
positive = both.bn > 0
print(f"BN's L2-equivalent rate is positive in {positive.sum()} of {len(both)} networks")
print(f"largest decay of the grid is the best in {(both.best == decays[-1]).sum()} of {len(both)}")
print(f"no decay is the best in {(both.best == 0).sum()} of {len(both)}")
page.offer(runs, "data_sweep.csv", "a trained network a row")

# %% tags=["hide-input"]
where = f"{drawn}; 784-100-10, about {steps:,} steps"


def decays_found(group):
    return ", ".join(f"{decay:g}" for decay in sorted(set(group)))


page.table(
    pd.DataFrame(
        {
            "BN": over_seeds(with_bn, "test_accuracy", "{:.3f}"),
            "best decay": over_seeds(best, "test_accuracy", "{:.3f}"),
            "none": over_seeds(nothing, "test_accuracy", "{:.3f}"),
            "loss in training, BN": over_seeds(with_bn, "train_loss", "{:.3f}"),
            "BN's rate α": over_seeds(with_bn, "l2_rate", "{:.1e}"),
            "best decay found": [decays_found(group) for _, group in both.groupby(cell).best],
        },
        index=names,
    ),
    "Test accuracy, and both rates. Means with 95 % intervals; best decay: all values that were best for some seed.",
    where,
)

# %% tags=["hide-input"]
fig, axes = figures.figure(1, len(label_noises), height=3.2, sharey=True)
lowest = decays[0] / 3  # where "no decay" is drawn
told = []
for ax, share in zip(axes, label_noises):
    here = both[both.label_noise == share]
    rates = here.pivot(index="seed", columns="train_size", values="bn")
    found = here.pivot(index="seed", columns="train_size", values="best").clip(lower=lowest)
    shown = [size for size in train_sizes if (rates[size] > 0).all()]
    if shown:
        figures.band(
            ax, shown, rates[shown], "set by BN", figures.COLORS["batch"], geometric=True
        )
    figures.band(
        ax, train_sizes, found, "best decay", figures.COLORS["l2"], marker="s", geometric=True
    )
    ax.set(xscale="log", yscale="log", xlabel="training images", title=f"{share:.0%} wrong")
    ax.set_xticks(train_sizes, [f"{size:,}" for size in train_sizes], rotation=30)
    ax.minorticks_off()
    ends = [rates.mean().iloc[0], rates.mean().iloc[-1]]
    searched = np.exp(np.log(found).mean()).iloc[[0, -1]]
    told.append(
        f"with {share:.0%} wrong labels BN's rate goes from {ends[0]:.1e} to {ends[1]:.1e},"
        f" the best decay from {searched.iloc[0]:.1e} to {searched.iloc[1]:.1e}"
    )
axes[0].set_ylabel("rate, units of weight_decay")
axes[0].legend(fontsize=9)
figures.show(
    fig,
    alt=f"Rates against training images, {train_sizes[0]:,} to {train_sizes[-1]:,}: "
    + "; ".join(told)
    + ".",
    caption="The rate that BN set by itself and the best weight_decay of a search, for each share of"
    f" wrong labels. No decay is drawn at {lowest:.1e}; conditions in which BN's rate was not positive"
    " for all seeds are left out. Bands: 95 % intervals.",
    source=where,
    name="rate-and-data",
)

# %% [markdown]
# Do they move together? For each seed, the agreement over pairs; and Spearman's rank correlation over
# all conditions at once.


# %%
def spearman(first, second):
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    lengths = np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1])
    return ranks[0] @ ranks[1] / lengths if lengths else 0.0


def slopes(column):
    """Per seed, of log10 of a rate against log10 of the number of images, labels right."""
    clean = both[both.label_noise == label_noises[0]]
    table = clean.pivot(index="seed", columns="train_size", values=column)
    return np.polyfit(np.log10(train_sizes), np.log10(table).T, 1)[0]


by_seed = [group for _, group in both.groupby("seed")]
print("rank correlation of the two rates over all conditions:",
      statistics.as_text([spearman(group.bn, group.best) for group in by_seed], "{:+.2f}"))  # fmt: skip
right_labels = both[both.label_noise == label_noises[0]]
for column, words in (("bn", "BN's rate"), ("best", "best decay")):
    if (right_labels[column] > 0).all():
        print(
            f"slope in log-log, labels right, {words}: {statistics.as_text(slopes(column), '{:+.2f}')}"
        )
    else:
        print(f"no slope for {words}: not positive everywhere")

# %%
for claim, along, words in (
    ("data-amount", "train_size", "amount of data"),
    ("label-noise", "label_noise", "share of wrong labels"),
):
    page.check(
        claim,
        f"784-100-10 on MNIST, {words}: agreement of BN's L2-equivalent rate with the best weight_decay",
        measured=agreement(both, along),
        predicted=0.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# Where a verdict is "not borne out", the rates move against each other. For the amount of data that is
# not what the closed form says; but there $\gamma$ was fixed. Here it is learned, and then {prf:ref}`thm-stationarity` says
# that $\lambda$ is 0 at rest. The fewer the images, the sooner a network fits them all and has nothing
# left to learn. Its rate would fade where regularization is needed most. If that is the reason, the
# rate should follow the loss that is left in training, whatever the condition.

# %%
page.check(
    "stationarity",
    "784-100-10 on MNIST with learned gamma, over amounts of data and wrong labels: rank correlation of"
    " lambda with the loss left in training",
    measured=[spearman(group.rate, group.train_loss) for group in by_seed],
    predicted=0.0,
    kind="empirical",
    relation="above",
)

# %% [markdown]
# What does it cost? The regret is the accuracy that untuned BN loses against the best decay, and the
# gain what it wins against no regularization, both averaged over all conditions.

# %%
regret = (best.test_accuracy - with_bn.test_accuracy).groupby("seed").mean()
gain = (with_bn.test_accuracy - nothing.test_accuracy).groupby("seed").mean()
for claim, statement, measured, predicted, relation in (
    ("regret", "regret of untuned BN against the best weight_decay", regret, 0.01, "below"),
    ("beats-nothing", "test accuracy of untuned BN minus that without regularization", gain, 0.0, "above"),
):
    page.check(
        claim,
        f"{statement}, MNIST, mean over amounts of data and shares of wrong labels",
        measured=measured.to_numpy(),
        predicted=predicted,
        kind="empirical",
        relation=relation,
    )

# %% [markdown]
# ## What we learned
#
# - With a fixed scale the formula ties BN's rate to $R$: overfitting raises it, wrong labels lower it. The
#   two rows for {prf:ref}`thm-least-squares` say how clear that is from sample to sample.
# - With a learned scale the rate fades at rest, and rest comes first where images are few. The row for
#   {prf:ref}`thm-stationarity` says whether the rate followed the loss left in training. That loss
#   does not know how much of a fit is overfitting.
# - The verdicts above say whether it moves with the best decay. "Set by the data" is not "set as the data
#   would need it".
#
# ## Where it stops
#
# - The best decay is that of lowest validation loss. Accuracy alone would often choose a larger one
#   where labels are wrong.
# - The number of steps is about the same for all sizes, so each image of a large set is seen a few times
#   only. That is early stopping, a regularization of its own, and can make the best decay small.
# - BN's rate is read at the end. Earlier in training it is another.
# - Agreement counts directions, not sizes, and takes few values. Where all seeds give the same one,
#   its interval has no width.
# - Wrong labels are uniform over the other classes. Mistakes that people make are not.
# - Weight decay acts on all layers and BN's rate on the hidden one.
