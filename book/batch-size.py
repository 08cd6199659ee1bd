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
# # Batch size, from 4 to 512
#
# Builds on {doc}`minibatch`, {doc}`rate` and {doc}`depth`.
#
# Batch normalization (BN) divides by what a batch says of its standard deviation. For one unit,
# least squares and Gaussian data, {prf:ref}`thm-minibatch` leaves no freedom: batches of $M$ are
# worth a weight decay of $1/a_M - 1$ on $\gamma$. Does that decay keep falling like $1/M$ on real
# digits, up to batches of 512, where it is a tenth of a per cent?
#
# And what is left of it in a network with a hidden layer and cross-entropy, for which nothing is
# proven? If it were as strong there as for one unit, the choice of a batch size would be the choice
# of a regularizer.

# %% tags=["parameters"]
dataset = "mnist-5k"  # or "mnist", "fashion-mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
batch_sizes = [4, 8, 16, 32, 64, 128, 256, 512]  # M
components = 10  # principal components that the single units see
rows_drawn = 400_000  # rows of digits a batch size and seed, for the single units
train_size = 1536  # images to train networks on: small batches are many steps
epochs = 6  # passes over them, the same for every batch size
step_factors = [0.003, 0.01, 0.03]  # learning rates tried, in units of sqrt(M)
imitated = [4, 16]  # batch sizes M that large batches and a decay on gamma should imitate

# %% tags=["hide-input"]
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import stats

from bnlib import meter, models, theory, training
from bnlib.experiments import Conditions, by_seed, sweep
from bnlib.moments import Moments
from companion.figures import Picture
from companion.page import check, finding, offer, sentence, table
from companion.records import Source
from companion.statistics import as_text
from companion.studies.read_out import read_out

torch.set_num_threads(1)
sizes = np.array(batch_sizes)
small, large = batch_sizes[0], batch_sizes[-1]
digits = read_out(dataset, digit=0, components=components)
condition = Conditions(dataset=dataset, train_size=train_size)
arm = training.Arm("batch")


def over_sizes(panel, shown=sizes, **properties):
    panel.set(xscale="log", xlabel="batch size M", **properties)
    panel.ax.set_xticks(shown, map(str, shown), fontsize=9)
    panel.ax.minorticks_off()


# %% [markdown]
# ## One unit: down to a tenth of a per cent
#
# The single units of {doc}`minibatch`: ten linear read-outs of a few principal components, one for
# each digit against the rest, at their least-squares direction. With pre-activation $z$ and batches
# of $M$, the expected loss is lowest at $\gamma_M = \mathbb E\langle t\hat z\rangle$, and what the
# batches are worth is the rate that the population sees there, $R\sigma_t/\gamma_M - 1$.
#
# At $M = 512$ that is so close to zero that plain averages over batches drown it. So we average
# what is left of $\langle t\hat z\rangle$ after two averages with known means are taken off:
# $\langle tz\rangle$, with mean $R\sigma_t$ for a standardized $z$, and
# $\frac12 R\sigma_t(\langle z^2\rangle - 1)$, with mean zero.

# %% tags=["hide-input"]
features = digits.inputs["train"]
targets = stats.zscore(np.eye(10)[digits.labels["train"]])
fit = Moments.from_data(features, targets)
outputs = stats.zscore(features @ np.linalg.solve(fit.cov, fit.cross))  # (images, 10)
best = np.mean(targets * outputs, axis=0)  # R sigma_t of each class
kurtosis = stats.kurtosis(outputs, axis=0)


def unit_decay(M, seed):
    """R sigma_t / gamma_M - 1, mean of the ten classes."""
    rng = np.random.default_rng([seed, M])
    rows = rng.integers(len(outputs), size=(rows_drawn // M, M))
    z, t = outputs[rows], targets[rows]  # (batches, M, 10)
    mean, squares, product = z.mean(axis=1), np.square(z).mean(axis=1), (t * z).mean(axis=1)
    normalized = (product - t.mean(axis=1) * mean) / np.sqrt(squares - mean**2)
    left = normalized - product + best * (squares - 1) / 2
    return float(np.mean(best / (best + left.mean(axis=0)) - 1))


unit_decays = np.array([[unit_decay(M, seed) for M in sizes] for seed in seeds])
gaussian = theory.minibatch_decay(sizes)
tails = np.mean([theory.minibatch_decay(sizes, excess_kurtosis=k) for k in kurtosis], axis=0)
units = Source(dataset, len(outputs), seeds, {"components": components, "rows_drawn": rows_drawn})

picture = Picture(height=3.4)
(panel,) = picture
panel.line(sizes, gaussian, "$1/a_M - 1$: Gaussian data, proven", "theory")
panel.line(sizes, tails, "leading order, the digits' kurtosis", "none", style="--")
panel.band(sizes, np.abs(unit_decays), "digits, no assumption", "batch")
over_sizes(panel, yscale="log", ylabel="worth as a decay on γ", legend={"fontsize": 9})
factors = unit_decays.mean(axis=0) / gaussian
picture.show(
    says="Ten single units, least squares. Three lines of nearly one slope, −1: on digits the decay"
    f" is another one than for Gaussian data, by a factor of {factors[0]:.2f} at batches of {small}"
    f" and {factors[-1]:.2f} at {large}.",
    source=units,
    name="batch-size-units",
)

# %% tags=["hide-input"]
slopes = [np.polyfit(np.log(sizes), np.log(np.abs(row)), 1)[0] for row in unit_decays]
slope = check(
    "minibatch",
    "single units on digits: slope of log decay against log batch size, against that of 1/a_M - 1"
    " on the same sizes",
    measured=slopes,
    predicted=np.polyfit(np.log(sizes), np.log(gaussian), 1)[0],
    kind="empirical",
    tolerance=0.05,
    role="assumption",
    source=units,
)
check(
    "minibatch",
    f"single units on digits, batches of {large}: worth as a decay on gamma, over 1/a_M - 1",
    measured=unit_decays[:, -1] / gaussian[-1],
    predicted=1.0,
    kind="empirical",
    tolerance=0.1,
    role="assumption",
    source=units,
)
said = (
    " its slope in log-log is {interval:.2f}, that of the law for Gaussian"
    " data {predicted:.2f}. Its size is another: {factor:.1f} times the law at batches of {large}."
)
finding(
    {
        "borne out": "For single units on digits, what a batch is worth as a decay on γ falls as"
        " one over its size:" + said,
        "not borne out": "For single units on digits, what a batch is worth as a decay on γ does"
        " not fall as the law says:" + said,
        "undecided": "For single units on digits, these seeds leave open whether the worth of a"
        " batch falls as the law says:" + said,
    },
    slope,
    factor=factors[-1],
    large=large,
)

# %% [markdown]
# The slope is a matter of counting; the factor is not. The dashed line holds where
# $\mathbb E[t \mid z]$ is linear. For a label it is not, and its distance from the band is what
# that costs.
#
# ## A network, at an equal number of passes
#
# Now 784-100-10, BN in the hidden layer, cross-entropy. For every batch size the network sees the
# same images equally often. So the number of steps is *not* equal: it falls from the first size to
# the last as $1/M$. Nor is the learning rate: the best one depends on $M$, and each batch size gets
# the one of lowest validation loss, from a small grid that grows as $\sqrt M$, tried with the first
# seed.


# %% tags=["remove-stderr"]
def schedule_of(M, factor):
    return training.Schedule(epochs=epochs, batch_size=M, learning_rate=factor * M**0.5)


tried = pd.concat(
    sweep([arm], [condition], schedule_of(M, factor), seeds[:1]).assign(factor=factor)
    for M in batch_sizes
    for factor in step_factors
)
losses = tried.pivot(index="batch_size", columns="factor", values="validation_loss")
chosen = losses.idxmin(axis=1)

# %% tags=["hide-input"]
tries = losses.map("{:.3f}".format).rename(columns=lambda factor: f"{factor:g} √M")
tries.insert(0, "steps", [schedule_of(M, 1.0).steps(train_size) for M in sizes])
tries["taken"] = [f"{chosen[M] * M**0.5:.2g}" for M in sizes]
network = {"network": "784-100-10", "epochs": epochs}
first_seed = Source(dataset, train_size, seeds[:1], network)
table(
    tries.rename_axis(index="M", columns=None),
    "Validation loss for each learning rate that was tried, and the one taken.",
    first_seed,
)

# %% [markdown]
# With that learning rate, all seeds. Each trained network is looked at twice: in batches of the
# size it was trained with, and in batches of the largest size, on the same images. Training sees
# the first; the population, and with it the network in evaluation mode, is nearly the second.


# %% tags=["remove-stderr"]
def mean_rates(run, large):
    found = {}
    for name, size in {"own_rate": run.schedule.batch_size, "population_rate": large}.items():
        batches = run.batches(len(run.inputs) // size, batch_size=size)
        report = meter.measure(run.model, batches, torch.nn.functional.cross_entropy)
        found[name] = report.rate.mean()
    return found


look = partial(mean_rates, large=large)
runs = pd.concat(
    sweep([arm], [condition], schedule_of(M, chosen[M]), seeds, look=look) for M in batch_sizes
)

# %% tags=["hide-input"]
offer(runs, "batch_size_sweep.csv", "a trained network a row")
trained = Source(dataset, train_size, seeds, network)
names = ("learned_gamma", "own_rate", "population_rate", "train_loss", "test_loss", "test_accuracy")
found = {name: by_seed(runs, name, "batch_size") for name in names}
relative = found["learned_gamma"].div(found["learned_gamma"][large], axis=0)
law = theory.minibatch_factor(sizes) / theory.minibatch_factor(large)

picture = Picture(1, 2, height=3.4)
left, right = picture
left.line(sizes, law, "law for one unit", "theory")
left.band(sizes, relative, "network", "batch")
over_sizes(left, title=f"learned γ over that at {large}", legend={"fontsize": 9})
right.band(sizes, found["own_rate"], "own batches", "batch")
right.band(sizes, found["population_rate"], f"batches of {large}", "l2", marker="s")
right.level(0, color="none", style="-")
over_sizes(right, title="rate λ, mean over units", legend={"fontsize": 9})
picture.show(
    says="A network trained with batches of M. Left: learned γ (root mean square over units) and"
    f" what the law for one unit and least squares would make of it; at batches of {small} the"
    f" network's is {relative[small].mean():.2f}, the law's {law[0]:.2f}. Right: its rate, in its"
    " own batches and in large ones.",
    source=trained,
    name="batch-size-networks",
)

# %% [markdown]
# By {prf:ref}`thm-minibatch` a learned $\gamma$ should grow with $M$. And in the network's own
# small batches the rate should be lower than in large ones: it is zero in the first and $1/a_M - 1$
# in the second once $\gamma$ has come to rest.

# %% tags=["hide-input"]
check(
    "minibatch",
    "network: rank correlation of batch size and learned gamma",
    measured=[stats.spearmanr(sizes, row).statistic for row in found["learned_gamma"].to_numpy()],
    predicted=0.0,
    kind="empirical",
    relation="above",
    source=trained,
)
for M in (small, batch_sizes[2]):
    check(
        "minibatch",
        f"network trained with batches of {M}: mean rate in batches of {large} minus in its own",
        measured=found["population_rate"][M] - found["own_rate"][M],
        predicted=0.0,
        kind="empirical",
        relation="above",
        source=trained,
    )

# %% [markdown]
# The second comparison can come out either way. In least squares a batch's scatter only asks for a
# smaller $\gamma$. With cross-entropy on images that are nearly fitted it also turns clear answers
# into unclear ones, and a larger $\gamma$ mends that.
#
# Two things spoil the first. $\gamma$ starts at 1, and how far it gets is also a matter of the
# number of steps and of their size. And behind a ReLU the read-out can undo any change of $\gamma$:
# multiply $\gamma$ and $\beta$ of a unit by a factor, divide its read-out weights by it, and the
# function is the same. So the size of a learned $\gamma$ is partly bookkeeping here, which it was
# not for one unit.
#
# ## One network, measured with batches of every size
#
# Between trained networks everything differs: steps, learning rates, weights. To see what the batch
# alone does, take the networks that were trained with the largest batches, change nothing, and
# measure their rates in batches of every size. If batches of $M$ act like a decay $d$ on $\gamma$,
# then $\partial J/\partial\gamma$ is larger in them by $d\gamma$, so $\gamma^2\lambda$ is lower by
# $d\gamma^2$. Summed over the units, that gives
#
# $$d = \frac{\sum_j\gamma_j^2\,(\lambda_j^{\text{large}} - \lambda_j^{M})}{\sum_j\gamma_j^2} .$$


# %% tags=["remove-stderr"]
def rates_by_size(run, sizes):
    found = []
    for M in sizes:
        batches = run.batches(4 * (len(run.inputs) // M), batch_size=M)
        report = meter.measure(run.model, batches, torch.nn.functional.cross_entropy)
        found.append(np.average(report.rate, weights=report.gamma**2))
    return {"rates_by_size": found}


look = partial(rates_by_size, sizes=batch_sizes)
one_network = sweep([arm], [condition], schedule_of(large, chosen[large]), seeds, look=look)
rates = np.array(one_network.rates_by_size.to_list())  # (seeds, sizes)
worth = rates[:, -1:] - rates[:, :-1]  # d, for sizes but the largest

# %% tags=["hide-input"]
smaller = sizes[:-1]
one = gaussian[:-1] - gaussian[-1]
mean = worth.mean(axis=0)
picture = Picture()
(panel,) = picture
panel.line(smaller, one, "one unit, least squares, Gaussian data", "theory")
panel.points(smaller, worth, "hidden units, cross-entropy", "batch")
over_sizes(panel, smaller, ylabel="worth as a decay on γ")
scale = {"value": "log"} if (mean > 0).all() else {"value": "symlog", "linthresh": 1e-5}
panel.ax.set_yscale(**scale)
panel.ax.legend(fontsize=9)
picture.show(
    says=f"The same networks, trained with batches of {large} and measured in smaller ones: by how"
    " much their rates fall, as a decay on γ, beside the law for one unit. At batches of"
    f" {small} the network's is {mean[0] / one[0]:.1%} of it. A bar down to the axis reaches zero.",
    source=trained,
    name="batch-size-one-network",
)

# %% tags=["hide-input"]
measured_in_all = "one network measured in all batch sizes:"
check(
    "minibatch",
    f"{measured_in_all} batches of {small} instead of {large}, worth as a decay on gamma",
    measured=worth[:, 0],
    predicted=0.0,
    kind="empirical",
    relation="above",
    source=trained,
)
share = check(
    "minibatch",
    f"{measured_in_all} batches of {small} instead of {large}, worth over that for one unit",
    measured=worth[:, 0] / one[0],
    predicted=1.0,
    kind="empirical",
    relation="below",
    source=trained,
)
check(
    "minibatch",
    f"{measured_in_all} worth of batches of {batch_sizes[2]} over that of {small}, against one"
    " unit's",
    measured=worth[:, 2] / worth[:, 0],
    predicted=one[2] / one[0],
    kind="empirical",
    tolerance=0.2,
    source=trained,
)
said = " {interval:.1%} of what they are for one unit and least squares."
finding(
    {
        "borne out": "In a network with cross-entropy it is far less: batches of {small} are worth"
        + said,
        "not borne out": "In a network with cross-entropy it is no less: batches of {small} are"
        " worth" + said,
        "undecided": "In a network with cross-entropy these seeds cannot say whether it is less:"
        " batches of {small} are worth" + said,
    },
    share,
    small=small,
)

# %% [markdown]
# Why should it be another size? In the least squares of one unit the loss has curvature 1 in the
# unit's output, and the decay $1/a_M - 1$ is in units of that curvature. What a hidden unit does
# changes the cross-entropy of a trained network far less, and with it shrinks everything that a
# batch's wrong standard deviation can do.
#
# ## Is it a decay on gamma?
#
# The theorem's other reading: batches of $M$ are large batches plus a weight decay on $\gamma$.
# That can be tried: train with the largest batches, decay $\gamma$ and nothing else, and see
# whether $\gamma$ ends where batches of $M$ leave it. Two decays: the $1/a_M - 1$ of one unit, and
# the one just measured.

# %%
inputs = training.standardize(digits.dataset)
schedule = schedule_of(large, chosen[large])


def with_decay_on_gamma(decay, images, labels, seed):
    """A network trained with the largest batches and a weight decay on gamma alone."""
    model = models.network((784, *schedule.hidden, 10), seed=seed)
    gamma, others = model[1].weight, [model[0].weight, model[1].bias, *model[3].parameters()]
    training.fit(
        model,
        training.batches(images, labels, large, epochs, [seed, 1]),
        torch.nn.functional.cross_entropy,
        lambda step: schedule.learning_rate * (1 - step / schedule.steps(len(images))),
        schedule.momentum,
        parameters=[{"params": [gamma], "weight_decay": decay}, {"params": others}],
    )
    return model


# %% tags=["hide-input"]
def row_of(decay, seed):
    rows, labels = condition.training_rows(digits.labels["train"], seed)
    images = inputs["train"][rows]
    model = with_decay_on_gamma(decay, images, labels, seed)
    ((_, train_loss),) = training.evaluate([model], images, labels, 0.0, seed)
    held_out = inputs["test"], digits.labels["test"]
    ((test_accuracy, test_loss),) = training.evaluate([model], *held_out, 0.0, seed)
    return {
        "learned_gamma": model[1].weight.square().mean().sqrt().item(),
        "train_loss": train_loss,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "negative": (model[1].weight < 0).double().mean().item(),
    }


entries = {f"batches of {large}": runs[runs.batch_size == large]}
for M in imitated:
    entries[f"batches of {M}"] = runs[runs.batch_size == M]
    of_one_unit = [float(theory.minibatch_decay(M))] * len(seeds)
    as_measured = worth[:, batch_sizes.index(M)].clip(min=0)
    for name, decays in (("1/a_M − 1", of_one_unit), ("as measured", as_measured)):
        rows = [row_of(decay, seed) for decay, seed in zip(decays, seeds)]
        entries[f"batches of {large}, decay for {M} {name}"] = pd.DataFrame(rows)
columns = ("learned_gamma", "train_loss", "test_loss", "test_accuracy")
table(
    pd.DataFrame(
        {
            name: {column.replace("_", " "): as_text(frame[column]) for column in columns}
            for name, frame in entries.items()
        }
    ).T,
    "Small batches, and large ones with a decay on γ that should be worth the same; γ as"
    " root mean square over units. Means with 95 % intervals over seeds.",
    trained,
)

# %% tags=["hide-input"]
turned = {
    name: frame.negative.mean() for name, frame in entries.items() if "negative" in frame.columns
}
worst = max(turned, key=turned.get)
sentence(
    f"In the networks with {worst}, {turned[worst]:.0%} of the γ are negative at the end; in the"
    " others with a decay, no more."
)
gammas = {name: frame.learned_gamma.to_numpy() for name, frame in entries.items()}
imitations = [
    check(
        "minibatch",
        f"network: learned gamma with batches of {M}, over that with batches of {large} and decay"
        " 1/a_M - 1 on gamma",
        measured=gammas[f"batches of {M}"] / gammas[f"batches of {large}, decay for {M} 1/a_M − 1"],
        predicted=1.0,
        kind="empirical",
        tolerance=0.05,
        source=trained,
    )
    for M in imitated
]
said = (
    " with batches of {sizes} it is {least:.1f} to {most:.1f} times as large as with batches of"
    " {large} and that decay."
)
finding(
    {
        "borne out": "Large batches with the decay of one unit on γ leave γ where small batches do:"
        + said,
        "not borne out": "Large batches with the decay of one unit on γ do not leave γ where small"
        " batches do:" + said,
        "mixed": "Large batches with the decay of one unit on γ leave γ where small batches do in"
        " {held} of {count} cases:" + said,
    },
    *imitations,
    sizes=" and ".join(map(str, imitated)),
    large=large,
)

# %% [markdown]
# Where such a row is not borne out, the two trainings ended in different places. The theorem's
# decay may be of the wrong size for a hidden unit; but with so unequal numbers of steps they may
# differ for reasons that have nothing to do with BN, too. The losses say more than $\gamma$ about
# whether two networks are alike. And a decay that is strong for this step size and momentum does
# not let $\gamma$ sink to a rest, but swings it through zero; then the function of the unit is
# turned around.
#
# ## What it is worth on the test set
#
# Regularization shows as a smaller distance between training and test.

# %% tags=["hide-input"]
picture = Picture(1, 2)
left, right = picture
left.band(sizes, found["train_loss"], "training", "batch")
left.band(sizes, found["test_loss"], "test", "l2", marker="s")
over_sizes(left, title="loss", legend={"fontsize": 9})
right.band(sizes, found["test_accuracy"], "test", "l2", marker="s")
over_sizes(right, title="test accuracy")
picture.show(
    says="Loss in training and on the test set, and accuracy, against the size of the batches that"
    " the network was trained with. Regularization would bring the two losses together.",
    source=trained,
    name="batch-size-test",
)
distance = found["test_loss"] - found["train_loss"]
gap = check(
    "minibatch",
    f"network: test loss minus training loss with batches of {small}, minus the same with batches"
    f" of {large}",
    measured=distance[small] - distance[large],
    predicted=0.0,
    kind="empirical",
    relation="below",
    source=trained,
)
said = (
    " test loss minus training loss is {at_small:.3f} with batches of {small} and {at_large:.3f}"
    " with batches of {large}, a difference of {interval:+.3f}."
)
finding(
    {
        "borne out": "At an equal number of passes small batches have the smaller gap that"
        " regularization would give:" + said,
        "not borne out": "At an equal number of passes small batches do not have the smaller gap"
        " that regularization would give:" + said,
        "undecided": "Whether small batches have the smaller gap that regularization would give,"
        " these seeds cannot say:" + said,
    },
    gap,
    small=small,
    large=large,
    at_small=distance[small].mean(),
    at_large=distance[large].mean(),
)

# %% [markdown]
# ## What it means for your network
#
# - Do not count on BN's batches as a regularizer of the size that the law for one unit gives. In
#   the networks here, what a batch's wrong standard deviation does to $\gamma$ is small beside what
#   the number of steps and their size do.
# - If you change the batch size, search the learning rate again. That is where the difference lies.
# - To see what batch size does to *your* network, train nothing: measure the trained one with
#   `bnlib.measure` in batches of two sizes, and compare the rates.
#
# ## What we learned
#
# - For single units on real digits the worth of a batch falls as one over its size, over two
#   decades. The factor is the digits' own; $a_M$ gives its order.
# - In a network the mechanism can be seen without training anything: measured in smaller batches,
#   one network's rates fall. As a decay on $\gamma$ that is a small part of what the law for one
#   unit says, because the loss cares less for a hidden unit.
# - Trained networks do not show the law. On top of large batches the decay of one unit takes far
#   more of $\gamma$ than small batches do, and the decay just measured hardly any. How far $\gamma$
#   gets is a matter of the number of steps and of their size; and it has a partner, the read-out,
#   that can undo what is done to it.
#
# ## Where it stops
#
# - Equal passes are unequal steps. A large batch may still be far from rest where a small one is
#   not, and then $\gamma$ says more about time than about batches.
# - Small batches make gradients noisy with or without BN, and that regularizes too. No row here
#   tells the two apart, but for the section that measures one network in all batch sizes.
# - With cross-entropy on separable digits a freely learned scale never comes to rest: its rate
#   creeps towards zero.
# - The learning rate was searched on a few values a size and with one seed.
#
# ## Exercises
#
# **1. Derive.** Multiply $\gamma$ and $\beta$ of one hidden unit by $c > 0$ and divide its weights
# in the read-out by $c$. The function stays the same. What happens to the unit's $\lambda$, to
# $\gamma^2\lambda$, and to the $d$ of a network in which all units are treated so?
#
# :::{dropdown} Solution
# The loss depends on $\gamma$, $\beta$ and the read-out weight $a$ only through $a\gamma$ and
# $a\beta$, since a ReLU passes a positive factor on. So $\gamma\,\partial J/\partial\gamma$, taken
# at corresponding points, is the same, and so is
# $\gamma^2\lambda = -\gamma\,\partial J/\partial\gamma$. The rate itself is divided by $c^2$, and
# $d$, which has $\sum_j\gamma_j^2$ for its denominator, is divided by $c^2$ too. So $d$ is a decay
# for *these* values of $\gamma$, and its size is worth something only beside them.
# :::
#
# **2. Run.** Set `imitated = [64, 256]`. Is $\gamma$ with these batches nearer to that of the
# largest batches with decay? Does that speak for the law?
#
# :::{dropdown} Solution
# At 256 the two agree to within a few per cent, at 64 they do not. It does not speak for the law.
# So weak a decay takes little from $\gamma$, and any weak decay would leave a ratio near one. The
# smaller batches, with more steps, *raise* $\gamma$ above that of the largest batches alone; the
# decay lowers it. The table shows both: the differences have opposite signs.
# :::
