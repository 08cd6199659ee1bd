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
# Batch normalization (BN) divides by what a batch says of its standard deviation. For one unit,
# least squares and Gaussian data, {prf:ref}`thm-minibatch` leaves no freedom: batches of $M$ are
# worth a weight decay of $1/a_M - 1$ on $\gamma$. {doc}`The chapter on mini-batches <minibatch>`
# proved that, and had torch learn it with batches of 4 to 32. Two questions were left. Does the
# decay keep falling like $1/M$ on real digits, up to batches of 512, where it is a tenth of a per
# cent? And what is left of it in a network with a hidden layer and cross-entropy, for which
# nothing is proven?

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

# %%
import numpy as np
import pandas as pd
import torch
from scipy import stats
from tqdm import tqdm

from bnlib import data, experiments, meter, models, theory, training
from companion import figures, page, statistics

torch.set_num_threads(1)
sizes = np.array(batch_sizes)
small, large = batch_sizes[0], batch_sizes[-1]
digits = data.load(dataset)
cross_entropy = torch.nn.functional.cross_entropy

# %% [markdown]
# ## One unit: down to a tenth of a per cent
#
# The single units of the {doc}`earlier chapter <minibatch>`: ten linear read-outs of ten
# principal components, one for each digit against the rest, at their least-squares direction. With
# pre-activation $z$ and batches of $M$, the expected loss is lowest at
# $\gamma_M = \mathbb E\langle t\hat z\rangle$, and what the batches are worth is the rate that the
# population sees there, $R\sigma_t/\gamma_M - 1$.
#
# At $M = 512$ that is so close to zero that plain averages over batches drown it. So we average
# what is left of $\langle t\hat z\rangle$ after two averages with known means are taken off:
# $\langle tz\rangle$, with mean $R\sigma_t$ for a standardized $z$, and
# $\frac12 R\sigma_t(\langle z^2\rangle - 1)$, with mean zero.

# %% tags=["hide-input"]
images = digits.train.images.astype(np.float64)
images -= images.mean(axis=0)
_, directions = np.linalg.eigh(images.T @ images)
features = images @ directions[:, -components:]
targets = np.eye(10)[digits.train.labels]
targets = (targets - targets.mean(axis=0)) / targets.std(axis=0)
fit = theory.Moments.from_data(features, targets)
outputs = (features - fit.mean) @ np.linalg.solve(fit.cov, fit.cross)
outputs /= outputs.std(axis=0)  # (images, 10), variance 1
best = np.mean(targets * outputs, axis=0)  # R sigma_t of each class
kurtosis = stats.kurtosis(outputs, axis=0)


def unit_decay(M, seed):
    """R sigma_t / gamma_M - 1, mean of the ten classes."""
    rng = np.random.default_rng([seed, M])
    rows = rng.integers(len(outputs), size=(rows_drawn // M, M))
    z, t = outputs[rows], targets[rows]  # (batches, M, 10)
    mean = z.mean(axis=1)
    squares = np.square(z).mean(axis=1)
    product = (t * z).mean(axis=1)
    normalized = (product - t.mean(axis=1) * mean) / np.sqrt(squares - mean**2)
    left = normalized - product + best * (squares - 1) / 2
    gamma = best + left.mean(axis=0)
    return float(np.mean(best / gamma - 1))


unit_decays = np.array([[unit_decay(M, seed) for M in sizes] for seed in seeds])
gaussian = theory.minibatch_decay(sizes)
tails = np.mean([theory.minibatch_decay(sizes, excess_kurtosis=k) for k in kurtosis], axis=0)

# %% tags=["hide-input"]
source = f"{digits.title}, {len(outputs):,} training digits, {components} components, seeds {seeds}"
fig, ax = figures.figure(height=3.4)
ax.plot(sizes, gaussian, color=figures.COLORS["theory"], label="$1/a_M - 1$: Gaussian data, proven")
ax.plot(sizes, tails, "--", color=figures.COLORS["none"], label="leading order, the digits' kurtosis")
figures.band(ax, sizes, np.abs(unit_decays), "digits, no assumption", figures.COLORS["batch"])
ax.set(xscale="log", yscale="log", xlabel="batch size M", ylabel="worth as a decay on γ")
ax.set_xticks(sizes, map(str, sizes))
ax.legend(fontsize=9)
first, last = unit_decays[:, 0].mean(), unit_decays[:, -1].mean()
figures.show(
    fig,
    alt=f"What batches are worth as a decay on gamma falls along straight lines in a log-log plot: on digits from"
    f" {first:.3f} at batches of {small} to {last:.5f} at {large}; for Gaussian data from {gaussian[0]:.3f} to"
    f" {gaussian[-1]:.5f}.",
    caption="Ten single units, least squares. Three lines of nearly one slope, −1: on digits the decay is another"
    f" one than for Gaussian data, by a factor of {first / gaussian[0]:.2f} at batches of {small} and"
    f" {last / gaussian[-1]:.2f} at {large}. Band: 95 % interval.",
    source=source,
)

# %%
slopes = [np.polyfit(np.log(sizes), np.log(np.abs(row)), 1)[0] for row in unit_decays]
page.check(
    "minibatch",
    "single units on digits: slope of log decay against log batch size, against that of 1/a_M - 1 on the same sizes",
    measured=slopes,
    predicted=np.polyfit(np.log(sizes), np.log(gaussian), 1)[0],
    kind="empirical",
    tolerance=0.05,
)
page.check(
    "minibatch",
    f"single units on digits, batches of {large}: worth as a decay on gamma, over 1/a_M - 1",
    measured=unit_decays[:, -1] / gaussian[-1],
    predicted=1.0,
    kind="empirical",
    tolerance=0.1,
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
# the last as $1/M$. Nor is the learning rate: the best one depends on $M$, and each batch size
# gets the one of lowest validation loss, from a small grid that grows as $\sqrt M$, tried with the
# first seed.

# %% tags=["remove-stderr"]
condition = experiments.Conditions(dataset=dataset, train_size=train_size)


def schedule_of(M, factor):
    return training.Schedule(epochs=epochs, batch_size=M, learning_rate=factor * M**0.5)


tried = pd.concat(
    [
        experiments.sweep(
            [training.Arm("batch")], [condition], schedule_of(M, factor), seeds[:1]
        ).assign(factor=factor)
        for M in batch_sizes
        for factor in step_factors
    ]
)
losses = tried.pivot(index="batch_size", columns="factor", values="validation_loss")
chosen = losses.idxmin(axis=1)
print(losses.round(3).to_string())

# %% [markdown]
# With that learning rate, all seeds. Each trained network is measured twice: in batches of the
# size it was trained with, and in batches of the largest size, on the same images. Training sees
# the first; the population, and with it the network in evaluation mode, is nearly the second.

# %%
inputs = training.standardize(digits)
labels = {part: getattr(digits, part).labels for part in inputs}


def images_of(seed):
    rows, given = condition.training_rows(labels["train"], seed)
    return inputs["train"][rows], given


def looked_at(model, M, seed):
    """One row of results for a trained network."""
    x, y = images_of(seed)
    row = {"batch_size": M, "seed": seed}
    for part, pair in {"train": (x, y), "test": (inputs["test"], labels["test"])}.items():
        ((row[f"{part}_accuracy"], row[f"{part}_loss"]),) = training.evaluate([model], *pair, 0.0, seed)
    for name, size in {"own": M, "population": large}.items():
        drawn = training.batches(x, y, size, 1, [seed, 3])
        report = meter.measure(model, drawn, cross_entropy)
        row[f"{name}_rate"] = report.by_layer()["rate"][0]
        row[f"{name}_l2_rate"] = report.by_layer()["l2_rate"][0]
    row["learned_gamma"] = np.sqrt(np.mean(report.gamma**2))
    return row


# %% tags=["remove-stderr"]
rows = []
for M in tqdm(batch_sizes, desc="networks", unit="size"):
    for seed in seeds:
        (model,) = training.train([training.Arm("batch")], *images_of(seed), schedule_of(M, chosen[M]), seed)
        rows.append(looked_at(model, M, seed))
runs = pd.DataFrame(rows)
found = {name: experiments.by_seed(runs, name, "batch_size") for name in runs.columns[2:]}

# %% tags=["hide-input"]
where = f"{digits.title}, 784-100-10, {train_size:,} images, {epochs} passes, seeds {seeds}"
columns = {
    "learned γ": ("learned_gamma", "{:.3f}"),
    "λ, own batches": ("own_rate", "{:+.1e}"),
    f"λ, batches of {large}": ("population_rate", "{:+.1e}"),
    f"α, batches of {large}": ("population_l2_rate", "{:+.1e}"),
    "train accuracy": ("train_accuracy", "{:.3f}"),
    "test accuracy": ("test_accuracy", "{:.3f}"),
}
summary = pd.DataFrame(
    {title: [statistics.as_text(found[name][M], form) for M in batch_sizes] for title, (name, form) in columns.items()},
    index=pd.Index(batch_sizes, name="M"),
)
summary.insert(0, "steps", [schedule_of(M, 1.0).steps(train_size) for M in batch_sizes])
summary.insert(1, "step size", [f"{chosen[M] * M**0.5:.2g}" for M in batch_sizes])
page.table(summary, "Means with 95 % intervals over seeds; rates are means over the hidden units.", where)

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, height=3.4)
relative = found["learned_gamma"].div(found["learned_gamma"][large], axis=0)
law = theory.minibatch_factor(sizes) / theory.minibatch_factor(large)
left.plot(sizes, law, color=figures.COLORS["theory"], label="$a_M$")
figures.band(left, sizes, relative, "network", figures.COLORS["batch"])
left.set(title=f"learned γ over that at {large}", xlabel="batch size M", xscale="log")
left.legend(fontsize=9)
figures.band(right, sizes, found["own_rate"], "own batches", figures.COLORS["batch"])
figures.band(right, sizes, found["population_rate"], f"batches of {large}", figures.COLORS["l2"], marker="s")
right.axhline(0, color=figures.COLORS["none"], linewidth=1)
right.set(title="rate λ, mean over units", xlabel="batch size M", xscale="log")
right.legend(fontsize=9)
for ax in (left, right):
    ax.set_xticks(sizes, map(str, sizes), fontsize=9)
    ax.minorticks_off()
ends = {name: [found[name][M].mean() for M in (small, large)] for name in ("own_rate", "population_rate")}
figures.show(
    fig,
    alt=f"Left: learned gamma over its value at batches of {large}: {relative[small].mean():.2f} at batches of {small},"
    f" where a_M says {law[0]:.2f}. Right: the mean rate in the network's own batches is {ends['own_rate'][0]:.1e} at"
    f" {small} and {ends['own_rate'][1]:.1e} at {large}; in batches of {large} it is {ends['population_rate'][0]:.1e}"
    f" and {ends['population_rate'][1]:.1e}.",
    caption="A network trained with batches of M. Left: learned γ (root mean square over units) and what the law for one"
    " unit and least squares would make of it. Right: its rate, in its own batches and in large ones. Bands: 95 % interval.",
    source=where,
)

# %% [markdown]
# What {prf:ref}`thm-minibatch` says of one unit, held against the network. A learned $\gamma$
# should grow with $M$. And in the network's own small batches the rate should be lower than in
# large ones: by the theorem it is zero in the first and $1/a_M - 1$ in the second once $\gamma$
# has come to rest.

# %%
rank = lambda table: [stats.spearmanr(sizes, row).statistic for row in table.to_numpy()]
page.check(
    "minibatch",
    "network: rank correlation of batch size and learned gamma",
    measured=rank(found["learned_gamma"]),
    predicted=0.0,
    kind="empirical",
    relation="above",
)
for M in (small, batch_sizes[2]):
    page.check(
        "minibatch",
        f"network trained with batches of {M}: mean rate in batches of {large} minus in its own",
        measured=found["population_rate"][M] - found["own_rate"][M],
        predicted=0.0,
        kind="empirical",
        relation="above",
    )

# %% [markdown]
# The second comparison can come out either way. In least squares a batch's scatter only asks for a
# smaller $\gamma$. With cross-entropy on images that are nearly fitted it also turns clear answers
# into unclear ones, and a larger $\gamma$ mends that.
#
# Two things spoil the first comparison, whichever way it came out. $\gamma$ starts at 1, and how
# far it gets is also a matter of the number of steps and of their size. And behind a ReLU the
# read-out can undo any change of $\gamma$: multiply $\gamma$ and $\beta$ of a unit by a factor,
# divide its read-out weights by it, and the function is the same. So the size of a learned
# $\gamma$ is partly bookkeeping here, which it was not for one unit.

# %% [markdown]
# ## One network, measured with batches of every size
#
# Between trained networks everything differs: steps, learning rates, weights. To see what the
# batch alone does, take the networks that were trained with the largest batches, change nothing,
# and measure their rates in batches of every size. If batches of $M$ act like a decay $d$ on
# $\gamma$, then $\partial J/\partial\gamma$ is larger in them by $d\gamma$, so $\gamma^2\lambda$
# is lower by $d\gamma^2$. Summed over the units, that gives
#
# $$d = \frac{\sum_j\gamma_j^2\,(\lambda_j^{\text{large}} - \lambda_j^{M})}{\sum_j\gamma_j^2} .$$

# %% tags=["remove-stderr"]
measured = []
for seed in tqdm(seeds, desc="one network", unit="seed"):
    x, y = images_of(seed)
    (model,) = training.train([training.Arm("batch")], x, y, schedule_of(large, chosen[large]), seed)
    pulls = []
    for M in batch_sizes:
        report = meter.measure(model, training.batches(x, y, M, 4, [seed, 3]), cross_entropy)
        pulls.append(np.sum(report.gamma**2 * report.rate) / np.sum(report.gamma**2))
    measured.append(pulls[-1] - np.array(pulls[:-1]))
measured = np.array(measured)  # (seeds, sizes but the largest)

# %% tags=["hide-input"]
smaller = sizes[:-1]
one = gaussian[:-1] - gaussian[-1]
mean = measured.mean(axis=0)
fig, ax = figures.figure(height=3.2)
ax.plot(smaller, one, color=figures.COLORS["theory"], label="one unit, least squares, Gaussian data")
figures.band(ax, smaller, measured, "hidden units, cross-entropy", figures.COLORS["batch"])
ax.set(xscale="log", xlabel="batch size M of the measurement", ylabel="worth as a decay on γ")
ax.set_yscale("log" if (mean > 0).all() else "symlog", **({} if (mean > 0).all() else {"linthresh": 1e-5}))
ax.set_xticks(smaller, map(str, smaller))
ax.minorticks_off()
ax.legend(fontsize=9)
figures.show(
    fig,
    alt="What measuring the same network in smaller batches is worth as a decay on gamma: "
    + ", ".join(f"{value:.1e} at {M}" for M, value in zip(smaller, mean))
    + f". For one unit and least squares it is {one[0]:.2f} at {small}.",
    caption=f"The same networks, trained with batches of {large} and measured in smaller ones: by how much their rates"
    f" fall, as a decay on γ, beside the law for one unit. At batches of {small} the network's is {mean[0] / one[0]:.1%}"
    " of it. Band: 95 % interval.",
    source=where,
)

# %% tags=["hide-input"]
page.check(
    "minibatch",
    f"one network measured in all batch sizes: batches of {small} instead of {large}, worth as a decay on gamma",
    measured=measured[:, 0],
    predicted=0.0,
    kind="empirical",
    relation="above",
)
page.check(
    "minibatch",
    f"one network measured in all batch sizes: batches of {small} instead of {large}, worth over that for one unit",
    measured=measured[:, 0] / one[0],
    predicted=1.0,
    kind="empirical",
    relation="below",
)
page.check(
    "minibatch",
    f"one network measured in all batch sizes: worth of batches of {batch_sizes[2]} over that of {small}, against one unit's",
    measured=measured[:, 2] / measured[:, 0],
    predicted=one[2] / one[0],
    kind="empirical",
    tolerance=0.2,
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


# %% tags=["hide-input"]
def with_decay_on_gamma(decay, seed):
    """Train with the largest batches and a weight decay on gamma alone."""
    x, y = images_of(seed)
    schedule = schedule_of(large, chosen[large])
    model = models.network((784, *schedule.hidden, 10), seed=seed)
    gamma = model[1].weight
    others = [parameter for parameter in model.parameters() if parameter is not gamma]
    groups = [{"params": [gamma], "weight_decay": decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, schedule.learning_rate, schedule.momentum)
    steps = schedule.steps(len(x))
    for step, (images, target) in enumerate(training.batches(x, y, large, epochs, [seed, 1])):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * (1 - step / steps)
        optimizer.zero_grad()
        cross_entropy(model(images), target).backward()
        optimizer.step()
    return looked_at(model.eval(), large, seed)


entries = [(f"batches of {large}", runs[runs.batch_size == large])]
for M in imitated:
    entries.append((f"batches of {M}", runs[runs.batch_size == M]))
    own = measured[:, batch_sizes.index(M)].clip(min=0)
    for name, decays in (
        ("1/a_M − 1", [float(theory.minibatch_decay(M))] * len(seeds)),
        ("as measured", own),
    ):
        frame = pd.DataFrame([with_decay_on_gamma(decay, seed) for decay, seed in zip(decays, seeds)])
        entries.append((f"batches of {large}, decay for {M} {name}", frame))

# %% tags=["hide-input"]
page.table(
    pd.DataFrame(
        {
            name: {
                "learned γ": statistics.as_text(frame.learned_gamma),
                "train loss": statistics.as_text(frame.train_loss),
                "test loss": statistics.as_text(frame.test_loss),
                "test accuracy": statistics.as_text(frame.test_accuracy),
            }
            for name, frame in entries
        }
    ).T,
    "Small batches, and large ones with a decay on γ that should be worth the same. Means with 95 % intervals over seeds.",
    where,
)

# %%
ends = {name: frame.learned_gamma.to_numpy() for name, frame in entries}
for M in imitated:
    page.check(
        "minibatch",
        f"network: learned gamma with batches of {M}, over that with batches of {large} and decay 1/a_M - 1 on gamma",
        measured=ends[f"batches of {M}"] / ends[f"batches of {large}, decay for {M} 1/a_M − 1"],
        predicted=1.0,
        kind="empirical",
        tolerance=0.05,
    )

# %% [markdown]
# How to read it: where such a row is not borne out, the two trainings ended in different places.
# The theorem's decay may be of the wrong size for a hidden unit; but with so unequal numbers of
# steps they may differ for reasons that have nothing to do with BN, too. The losses say more than
# $\gamma$ about whether two networks are alike.
#
# ## What it is worth on the test set
#
# Regularization shows as a smaller distance between training and test. Here it is, for the
# smallest and the largest batches.

# %%
distance = found["test_loss"] - found["train_loss"]
for M in (small, 32, large):
    if M in batch_sizes:
        print(
            f"M = {M}: test loss minus training loss {statistics.as_text(distance[M])},"
            f" test accuracy {statistics.as_text(found['test_accuracy'][M])}"
        )
page.check(
    "minibatch",
    f"network: test loss minus training loss with batches of {small}, minus the same with batches of {large}",
    measured=distance[small] - distance[large],
    predicted=0.0,
    kind="empirical",
    relation="below",
)

# %% [markdown]
# ## What we learned
#
# - For single units on real digits the worth of a batch falls as one over its size, over two
#   decades. The factor is the digits' own; $a_M$ gives its order.
# - In a network the mechanism can be seen without training anything: measure one network in
#   smaller batches and read how its rates change. As a decay on $\gamma$ that has its own size,
#   set by how much the loss cares for a hidden unit.
# - What a trained network makes of it is an empirical matter, and the rows above say what came
#   out. Its $\gamma$ has a partner, the read-out, that can undo what is done to it.
#
# ## Where it stops
#
# - Equal passes are unequal steps. A large batch may still be far from rest where a small one is
#   not, and then $\gamma$ says more about time than about batches.
# - Small batches make gradients noisy with or without BN, and that regularizes too. No row here
#   tells the two apart, but for the section that measures one network in all batch sizes.
# - With cross-entropy on separable digits a freely learned scale never comes to rest: its rate
#   creeps towards zero.
# - The learning rate was searched on three values a size and with one seed.
