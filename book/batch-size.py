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
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
batch_sizes = [4, 8, 16, 32, 64, 128, 256, 512]  # M of the single units
components = 10  # principal components that the single units see
rows_drawn = 200_000  # rows of digits a batch size and seed, for the single units
trained_sizes = [8, 32, 128]  # batch sizes M that networks are trained with
train_size = 1536  # images to train networks on, drawn anew with every seed
epochs = 5  # passes over them, the same for every batch size
step_factors = [0.003, 0.01, 0.03]  # learning rates tried, in units of sqrt(M)
imitated = [
    4,
    16,
]  # batch sizes M that the largest trained ones and a decay on gamma should imitate
imitation_steps = 400  # the same for all of them
imitation_learning_rate = 0.4  # at the first step, without momentum

# %% tags=["hide-input"]
from functools import partial
from itertools import islice

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from bnlib import meter, models, theory, training
from bnlib.experiments import Conditions, by_seed, sweep
from bnlib.moments import Moments
from companion.figures import Picture
from companion.page import check, finding, offer, sentence, table
from companion.records import Source, name_of
from companion.statistics import as_text
from companion.studies.read_out import read_out

torch.set_num_threads(1)
sizes = np.array(batch_sizes)
smallest, widest = batch_sizes[0], batch_sizes[-1]
small, large = trained_sizes[0], trained_sizes[-1]
on = name_of(dataset)
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
#
# Two lines to hold it against. One is the law for Gaussian data. The other needs no assumption on
# the data, but holds to leading order in $1/M$ only: the worth is $c_B/M$, where $c_B$ follows from
# the third and fourth moments of $z$ and $t$ (`theory.minibatch_worth`). For Gaussian data
# $c_B = \frac34$.

# %% tags=["hide-input"]
features = digits.inputs["train"]
targets = stats.zscore(np.eye(10)[digits.labels["train"]])
fit = Moments.from_data(features, targets)
outputs = stats.zscore(features @ np.linalg.solve(fit.cov, fit.cross))  # (images, 10)
best = np.mean(targets * outputs, axis=0)  # R sigma_t of each class


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
own_moments = theory.minibatch_worth(outputs, targets).mean() / sizes
units = Source(dataset, len(outputs), seeds, {"components": components, "rows_drawn": rows_drawn})

picture = Picture(height=3.4)
(panel,) = picture
panel.line(sizes, gaussian, "$1/a_M - 1$: Gaussian data, proven", "theory")
panel.line(sizes, own_moments, "$c_B/M$: the digits' own moments", "none", style="--")
panel.band(sizes, unit_decays, "digits, no assumption", "batch", scale="log")
over_sizes(panel, yscale="log", ylabel="worth as a decay on γ", legend={"fontsize": 9})
factors = unit_decays.mean(axis=0) / gaussian
picture.show(
    says="Ten single units, least squares. Three lines of nearly one slope, −1: on digits the decay"
    f" is another one than for Gaussian data, by a factor of {factors[0]:.2f} at batches of"
    f" {smallest} and {factors[-1]:.2f} at {widest}.",
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
over_gaussian, over_own = (
    check(
        "minibatch",
        f"single units on digits, batches of {widest}: worth as a decay on gamma, over {words}",
        measured=unit_decays[:, -1] / law[-1],
        predicted=1.0,
        kind="empirical",
        tolerance=0.1,
        role="assumption",
        scale="log",
        source=units,
    )
    for words, law in (
        ("1/a_M - 1", gaussian),
        ("the leading order of any distribution", own_moments),
    )
)
said = (
    " its slope in log-log is {interval:.2f}, that of the law for Gaussian data {predicted:.2f}. At"
    " batches of {widest} its size is {factor:.2f} times that law, and {own:.2f} times what the"
    " moments of the digits lead one to expect."
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
    factor=over_gaussian.measured,
    own=over_own.measured,
    widest=widest,
)

# %% [markdown]
# The slope is a matter of counting; the factor is a matter of moments. $1/a_M - 1$ has the factor of
# Gaussian data, and a label is far from that.
#
# ## A network, at an equal number of passes
#
# Now 784-100-10, BN in the hidden layer, cross-entropy. For every batch size the network sees the
# same images equally often. So the number of steps is *not* equal: it falls from the first size to
# the last as $1/M$. Nor is the learning rate: the best one depends on $M$, and each batch size gets
# the one of lowest validation loss, from a small grid that grows as $\sqrt M$, tried with the first
# seed.


# %% tags=["hide-input", "remove-stderr"]
def schedule_of(M, factor):
    return training.Schedule(epochs=epochs, batch_size=M, learning_rate=factor * M**0.5)


schedules = [schedule_of(M, factor) for M in trained_sizes for factor in step_factors]
tried = sweep([arm], [condition], schedules, seeds[:1])
tried["factor"] = step_factors * len(trained_sizes)
losses = tried.pivot(index="batch_size", columns="factor", values="validation_loss")
chosen = losses.idxmin(axis=1)

# %% tags=["hide-input"]
tries = losses.map("{:.3f}".format).rename(columns=lambda factor: f"{factor:g} √M")
tries.insert(0, "steps", [schedule_of(M, 1.0).steps(train_size) for M in trained_sizes])
tries["taken"] = [f"{chosen[M] * M**0.5:.2g}" for M in trained_sizes]
network = {"network": "784-100-10", "epochs": epochs}
first_seed = Source(dataset, train_size, seeds[:1], network)
table(
    tries.rename_axis(index="M", columns=None),
    "Validation loss for each learning rate that was tried, and the one taken.",
    first_seed,
)

# %% [markdown]
# With that learning rate, all seeds. Each trained network is looked at in batches of the size that
# it was trained with and in batches of the largest size, on the same images. Training sees the
# first; the population, and with it the network in evaluation mode, is nearly the second. The
# networks that were trained with the largest batches are measured in batches of all sizes. A layer's
# rate is here the mean of its units' $\lambda$, weighted with $\gamma^2$.


# %% tags=["remove-stderr"]
def rates_by_size(run, sizes, large):
    """The layer's rate in batches of each size, from two passes over the images."""
    own = run.schedule.batch_size
    found = []
    for M in [*(sizes if own == large else [own]), large]:
        batches = run.batches(2 * (len(run.inputs) // M), batch_size=M)
        report = meter.measure(run.model, batches, cross_entropy)
        found.append(np.average(report.rate, weights=report.gamma**2))
    return {"rate_in": found}


smaller = [M for M in batch_sizes if M < large]
look = partial(rates_by_size, sizes=smaller, large=large)
runs = sweep(
    [arm], [condition], [schedule_of(M, chosen[M]) for M in trained_sizes], seeds, look=look
)

# %% [markdown]
# ### What it is worth on the test set
#
# Regularization shows as a smaller distance between training and test.

# %% tags=["hide-input"]
offer(runs.drop(columns="rate_in"), "batch_size_sweep.csv", "a trained network a row")
trained = Source(dataset, train_size, seeds, network)
names = ("learned_gamma", "gamma_below_0", "train_loss", "test_loss", "test_accuracy")
found = {name: by_seed(runs, name, "batch_size") for name in names}

picture = Picture(1, 2)
left, right = picture
left.band(trained_sizes, found["train_loss"], "training", "batch", scale="log")
left.band(trained_sizes, found["test_loss"], "test", "l2", marker="s", scale="log")
over_sizes(left, trained_sizes, title="loss", ylim=(0, None), legend={"fontsize": 9})
right.band(trained_sizes, found["test_accuracy"], "test", "l2", marker="s", scale="share")
over_sizes(right, trained_sizes, title="test accuracy")
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
# ### Rates, in own and in large batches
#
# Once $\gamma$ is at rest in batches of $M$, its rate in them is zero, and in large ones it is what
# the batches are worth: $1/a_M - 1$ for one unit. So in a network's own small batches the rate should
# be the lower one. It can come out either way. In least squares a batch's scatter only asks for a
# smaller $\gamma$. With cross-entropy on images that are nearly fitted it also turns clear answers
# into unclear ones, and a larger $\gamma$ mends that.

# %% tags=["hide-input"]
rate_in = {M: np.array(runs[runs.batch_size == M].rate_in.to_list()) for M in trained_sizes}
for M in trained_sizes[:-1]:
    check(
        "minibatch",
        f"network trained with batches of {M}: rate of the layer in batches of {large} minus in its own",
        measured=rate_in[M][:, 1] - rate_in[M][:, 0],
        predicted=0.0,
        kind="empirical",
        relation="above",
        source=trained,
    )
table(
    pd.DataFrame(
        {
            M: {
                "rate in own batches": as_text(rate_in[M][:, -1 if M == large else 0], "{:+.1e}"),
                f"rate in batches of {large}": as_text(rate_in[M][:, -1], "{:+.1e}"),
                "γ, root mean square": as_text(found["learned_gamma"][M], "{:.2f}", "log"),
                "γ < 0": f"{found['gamma_below_0'][M].mean():.0%}",
            }
            for M in trained_sizes
        }
    ).T.rename_axis("trained with batches of"),
    "Rates and scales of the trained networks: means with 95 % intervals over seeds.",
    trained,
)

# %% [markdown]
# Between these networks everything differs: steps, learning rates, weights. And behind a ReLU the
# read-out can undo any change of $\gamma$: multiply $\gamma$ and $\beta$ of a unit by a factor,
# divide its read-out weights by it, and the function is the same. So the size of a learned $\gamma$
# is partly bookkeeping here, which it was not for one unit.
#
# ## One network, measured with batches of every size
#
# To see what the batch alone does, take the networks that were trained with the largest batches,
# change nothing, and measure their rates in batches of every size. If batches of $M$ act like a decay
# $d$ on $\gamma$, then $\partial J/\partial\gamma$ is larger in them by $d\gamma$, so
# $\gamma^2\lambda$ is lower by $d\gamma^2$. Summed over the units, that gives
#
# $$d = \frac{\sum_j\gamma_j^2\,(\lambda_j^{\text{large}} - \lambda_j^{M})}{\sum_j\gamma_j^2} .$$

# %% tags=["hide-input"]
rates = rate_in[large]  # (seeds, sizes)
worth = rates[:, -1:] - rates[:, :-1]  # d, for sizes but the largest
one = theory.minibatch_decay(np.array(smaller)) - theory.minibatch_decay(large)
mean = worth.mean(axis=0)
picture = Picture()
(panel,) = picture
panel.line(smaller, one, "one unit, least squares, Gaussian data", "theory")
panel.points(smaller, worth, "hidden units, cross-entropy", "batch")
over_sizes(panel, smaller, ylabel="worth as a decay on γ")
panel.ax.set_yscale("symlog", linthresh=1e-4)
panel.level(0, color="none", style="-")
panel.ax.legend(fontsize=9)
picture.show(
    says=f"The same networks, trained with batches of {large} and measured in smaller ones: by how"
    " much their rates fall, as a decay on γ, beside the law for one unit. At batches of"
    f" {smallest} the network's is {mean[0] / one[0]:.1%} of it. The axis is linear around zero, below"
    " one in ten thousand.",
    source=trained,
    name="batch-size-one-network",
)

# %% tags=["hide-input"]
measured_in_all = "one network measured in all batch sizes:"
check(
    "minibatch",
    f"{measured_in_all} batches of {smallest} instead of {large}, worth as a decay on gamma",
    measured=worth[:, 0],
    predicted=0.0,
    kind="empirical",
    relation="above",
    source=trained,
)
share = check(
    "minibatch",
    f"{measured_in_all} batches of {smallest} instead of {large}, worth over that for one unit",
    measured=worth[:, 0] / one[0],
    predicted=1.0,
    kind="empirical",
    relation="below",
    source=trained,
)
said = " {interval:.2%} of what they are for one unit and least squares."
finding(
    {
        "borne out": "In a network with cross-entropy it is less: batches of {smallest} are"
        " worth" + said,
        "not borne out": "In a network with cross-entropy it is no less: batches of {smallest} are"
        " worth" + said,
        "undecided": "In a network with cross-entropy these seeds cannot say whether it is less:"
        " batches of {smallest} are worth" + said,
    },
    share,
    smallest=smallest,
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
# That can be tried: train with the largest batches, decay $\gamma$ and nothing else by what batches of
# $M$ are worth for one unit, and see whether $\gamma$ ends where batches of $M$ leave it.
#
# The theorem speaks of steps, not of passes. So here all networks make the same number of steps, of
# the same size. And they make them without momentum: with it, a decay that is strong for the step
# size swings $\gamma$ through zero instead of letting it sink to rest. Whether $\gamma$ has come to rest
# can be read: there, the rate of a layer is the decay on its $\gamma$ ({prf:ref}`thm-stationarity`).


# %% tags=["remove-stderr"]
def with_decay_on_gamma(M, decay, inputs, labels, seed, steps, learning_rate):
    """A network trained with batches of M and a weight decay on gamma alone, without momentum."""
    model = models.network((784, 100, 10), seed=seed)
    gamma, others = model[1].weight, [model[0].weight, model[1].bias, *model[3].parameters()]
    passes = 1 + steps * M // len(inputs)
    return training.fit(
        model,
        islice(training.batches(inputs, labels, M, passes, [seed, 1]), steps),
        cross_entropy,
        lambda step: learning_rate * (1 - step / steps),
        parameters=[{"params": [gamma], "weight_decay": decay}, {"params": others}],
    )


# %% tags=["hide-input", "remove-stderr"]
finer_steps = f"batches of {imitated[0]}, twice as many steps half as large"
wanted = {f"batches of {large}": (large, 0.0, 1)}
for M in imitated:
    wanted[f"batches of {M}"] = (M, 0.0, 1)
    of_one_unit = float(theory.minibatch_decay(M) - theory.minibatch_decay(large))
    wanted[f"batches of {large}, decay for {M}"] = (large, of_one_unit, 1)
wanted[finer_steps] = (imitated[0], 0.0, 2)


def row_of(seed, M, decay, finer):
    rows, labels = condition.training_rows(digits.labels["train"], seed)
    images = inputs["train"][rows]
    steps, learning_rate = imitation_steps * finer, imitation_learning_rate / finer
    model = with_decay_on_gamma(M, decay, images, labels, seed, steps, learning_rate)
    passes = training.batches(images, labels, large, 2, [seed, 3])
    report = meter.measure(model, passes, cross_entropy)
    held_out = inputs["test"], digits.labels["test"]
    ((_, train_loss),) = training.evaluate([model.eval()], images, labels, 0.0, seed)
    ((test_accuracy, test_loss),) = training.evaluate([model], *held_out, 0.0, seed)
    return {
        "gamma": float(np.sqrt(np.mean(report.gamma**2))),
        "negative": float(np.mean(report.gamma < 0)),
        "rate": float(np.average(report.rate, weights=report.gamma**2)),
        "decay": decay,
        "train_loss": train_loss,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }


inputs = training.standardize(digits.dataset)
entries = {
    name: pd.DataFrame([row_of(seed, *how) for seed in seeds]) for name, how in wanted.items()
}
imitation = Source(
    dataset,
    train_size,
    seeds,
    {"network": "784-100-10", "steps": imitation_steps, "learning_rate": imitation_learning_rate}
    | {"momentum": 0},
)
columns = {
    "γ, root mean square": ("gamma", "{:.2f}", "log"),
    f"rate in batches of {large}": ("rate", "{:+.4f}", "plain"),
    "training loss": ("train_loss", "{:.3f}", "log"),
    "test loss": ("test_loss", "{:.3f}", "log"),
    "test accuracy": ("test_accuracy", "{:.3f}", "share"),
}
table(
    pd.DataFrame(
        {
            name: {"decay on γ": f"{frame.decay[0]:.4f}"}
            | {
                words: as_text(frame[name], form, scale)
                for words, (name, form, scale) in columns.items()
            }
            | {"γ < 0": f"{frame.negative.mean():.0%}"}
            for name, frame in entries.items()
        }
    ).T,
    "Small batches, and large ones with the decay on γ that they should be worth, after equally many"
    " equal steps. Means with 95 % intervals over seeds.",
    imitation,
)

# %% tags=["hide-input"]
gammas = {name: frame.gamma.to_numpy() for name, frame in entries.items()}
law = {M: float(theory.minibatch_factor(M) / theory.minibatch_factor(large)) for M in imitated}
lowered = [
    check(
        "minibatch",
        f"network, equal steps: learned gamma with batches of {M} over that with batches of {large};"
        f" one unit: {law[M]:.2f}",
        measured=gammas[f"batches of {M}"] / gammas[f"batches of {large}"],
        predicted=1.0,
        kind="empirical",
        relation="below",
        scale="log",
        source=imitation,
    )
    for M in imitated
]
finer = check(
    "minibatch",
    f"network, batches of {imitated[0]}: learned gamma after twice as many steps half as large, over"
    " that with the steps of the others",
    measured=gammas[finer_steps] / gammas[f"batches of {imitated[0]}"],
    predicted=1.0,
    kind="empirical",
    relation="above",
    scale="log",
    source=imitation,
)
imitations = [
    check(
        "minibatch",
        f"network, equal steps: learned gamma with batches of {M}, over that with batches of {large}"
        " and decay 1/a_M - 1/a_large on gamma",
        measured=gammas[f"batches of {M}"] / gammas[f"batches of {large}, decay for {M}"],
        predicted=1.0,
        kind="empirical",
        tolerance=0.05,
        scale="log",
        source=imitation,
    )
    for M in imitated
]
rest = [
    (entries[name].rate / entries[name].decay).mean()
    for name in (f"batches of {large}, decay for {M}" for M in imitated)
]
turned = max(frame.negative.max() for frame in entries.values())
sentence(
    "With decay, the rate is "
    + " and ".join(f"{ratio:.2f}" for ratio in rest)
    + " of the decay on γ at the end, 1 at rest. The largest share of negative γ in any of these"
    f" networks is {turned:.0%}."
)
said = (
    " with batches of {sizes} it is {least:.1f} to {most:.1f} times as large as with batches of"
    " {large} and that decay. Small batches alone leave it at {ratios} of what batches of {large}"
    " leave; for one unit that would be {laws}."
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
    ratios=" and ".join(f"{one.measured:.2f}" for one in lowered),
    laws=" and ".join(f"{law[M]:.2f}" for M in imitated),
)

# %% [markdown]
# Where the two trainings end in different places, the theorem's decay is of the wrong size for a
# hidden unit. And where small batches alone leave a smaller $\gamma$ than large ones, that need not
# be the theorem's doing, however near the ratio comes to that of one unit: small batches scatter the
# gradient, too, and large steps turn that into something of its own. What the theorem says does not
# depend on the size of a step. So the last row makes the steps of the smallest batches half as large,
# and twice as many: if $\gamma$ moves, it was the steps.

# %% tags=["hide-input"]
said = (
    " goes from {coarse:.2f} to {fine:.2f} when steps are half as large and twice as many, where batches"
    " of {large} leave it at {other:.2f}."
)
finding(
    {
        "borne out": "The smaller γ of small batches is, at least in part, the work of the step size:"
        " with batches of {M} it" + said,
        "not borne out": "The smaller γ of small batches is not the work of the step size: with"
        " batches of {M} it" + said,
        "undecided": "Whether the smaller γ of small batches is the work of the step size, these seeds"
        " leave open: with batches of {M} it" + said,
    },
    finer,
    M=imitated[0],
    large=large,
    coarse=gammas[f"batches of {imitated[0]}"].mean(),
    fine=gammas[finer_steps].mean(),
    other=gammas[f"batches of {large}"].mean(),
)

# %% [markdown]
# ## What it means for your network
#
# - Do not count on BN's batches as a regularizer of the size that the law for one unit gives. In
#   the networks here, the number of steps and their size also move $\gamma$: see what is said above of
#   each.
# - If you change the batch size, search the learning rate again.
# - To see what batch size does to *your* network, train nothing: measure the trained one with
#   `bnlib.measure` in batches of two sizes, and compare the rates.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"For single units on {on} the worth of a batch falls as its size to the power"
    f" {slope.measured:.2f}, over {np.log10(large / small):.1f} decades. Its factor is the digits' own: {over_gaussian.measured:.2f}"
    f" times that of Gaussian data, {over_own.measured:.2f} times what their moments say. In a network"
    f" with cross-entropy batches of {smallest} are worth {share.measured:.2%} of what they are for one"
    f" unit. The decay of one unit takes γ to "
    + " and ".join(f"{gammas[f'batches of {large}, decay for {M}'].mean():.2f}" for M in imitated)
    + ", where batches of "
    + " and ".join(map(str, imitated))
    + " leave it at "
    + " and ".join(f"{gammas[f'batches of {M}'].mean():.2f}" for M in imitated)
    + f"; with steps half as large, batches of {imitated[0]} leave it at {gammas[finer_steps].mean():.2f}."
    f" Test loss minus training loss is {distance[small].mean():.3f} with batches of {small} and"
    f" {distance[large].mean():.3f} with batches of {large}."
)

# %% [markdown]
# - For one unit and least squares {prf:ref}`thm-minibatch` says how the worth of a batch falls with its
#   size. What data add is a factor, and their third and fourth moments give it.
# - In a network the mechanism can be seen without training anything, by measuring one network in
#   batches of two sizes. It is in units of the loss's curvature, which is small for a hidden unit of a
#   network that fits its images.
# - How far a learned $\gamma$ gets in a network is also a matter of the number of steps and of their
#   size; and it has a partner, the read-out, that can undo what is done to it.
#
# ## Where it stops
#
# - Equal passes are unequal steps. A large batch may still be far from rest where a small one is
#   not, and then $\gamma$ and the gap say more about time than about batches.
# - Small batches make gradients noisy with or without BN, and that regularizes too. Nothing here
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
# **2. Run.** Divide `imitation_learning_rate` by 4 and multiply `imitation_steps` by 4. Which $\gamma$
# move, and which stay? What would all of them do if batches were worth the decay of one unit?
#
# :::{dropdown} Solution
# Those with the decay of one unit stay, at 0.15 and 0.28: they were at rest, where the size of a step
# does not matter. That of batches of 16 rises to that of large batches, about 1.13, and that of batches
# of 4 from 0.8 to above 1. If batches were worth that decay, these two would fall to where it took the
# large batches, and stay there for any size of step.
# :::
