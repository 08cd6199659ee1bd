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
# # Fashion-MNIST: the same questions, untouched
#
# A result on one data set may be a result about that data set. So here is
# {doc}`noise-sweep` again, on photographs of clothes {cite:p}`xiao2017` instead of
# handwritten digits: the same networks, the same grid of `weight_decay`, the same schedule, the
# same noise levels, the same statements, word for word. Nothing was adjusted; the code
# that reads the table of trainings is the same, and it was written for digits.
#
# Batch normalization (BN) learns or keeps its $\gamma$ as it did there, and is tuned nowhere.

# %% tags=["parameters"]
dataset = "fashion-mnist"  # see bnlib.data.load
train_size = 3000  # training images, as many as in the small digits; None: all
seeds = [0, 1, 2]  # repetitions behind every interval
noise_stds = [0.0, 0.5, 1.0, 2.0, 3.0]  # in pixels' standard deviations
hidden = [100]  # units of the hidden layers
epochs = 8  # of every training

# %%
from bnlib import data, training
from companion import figures, page, statistics
from companion.studies import comparison
from companion.page import emit, offer, sentence
from bnlib.experiments import Conditions, sweep

# %% [markdown]
# Fashion-MNIST is in no Python package; its files have to be there. If they are
# not, this page says so, shows no result and records no claim.

# %% tags=["hide-input"]
there = data.is_available(dataset)
if there:
    print(f"the files of {dataset} are there")
else:
    headline = f"This page shows no result: the files of {dataset} are missing."
    advice = (
        "Neither BNLIB_DATA nor the cache holds them. `make data` fetches them (30 MB), or set BNLIB_DATA to a "
        "folder that has FashionMNIST/raw; then `make book` runs this chapter again. What follows are the "
        "questions, without answers."
    )
    show(f'<div class="claim claim-no"><strong>{headline}</strong><br>{advice}</div>', f"{headline} {advice}")

# %% tags=["remove-stderr"]
if there:
    schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
    conditions = [Conditions(dataset, train_size, noise_std=noise_std) for noise_std in noise_stds]
    runs = sweep(comparison.arms(), conditions, schedule, seeds)
    offer(runs, "fashion_sweep.csv", "a trained network a row")

# %% [markdown]
# ## The main result, once more
#
# Left: accuracy as the noise grows. Right: the rate that BN set by itself beside the
# one that a search found.

# %% tags=["hide-input"]
if there:
    found = comparison.compare(runs)
    clothes = data.load(dataset)
    source = (
        f"{clothes.title} ({train_size or len(clothes.train):,} for training), "
        f"{'-'.join(map(str, (clothes.train.images.shape[1], *hidden, 10)))}, {epochs} epochs, "
        f"seeds {', '.join(map(str, seeds))}"
    )
    fig, alt = comparison.figure(found)
    figures.show(
        fig,
        alt=alt,
        caption="Noisy clothes. Left: untuned BN against no regularization, weight normalization and the best "
        "weight_decay of a search. Right: the L2-equivalent rate that BN set by itself, and the best weight_decay. "
        "Means (of logarithms for rates) with 95 % intervals.",
        source=source,
    )

# %% [markdown]
# The numbers behind it. The regret is what is lost against the best
# `weight_decay` of the same seed and level; the last row of the first table has
# every value that was best for some seed.

# %% tags=["hide-input"]
if there:
    for name, rates in found.rates.items():
        print(f"{name}: {(rates < 0).to_numpy().sum()} of {rates.size} rates negative")
    means = "means with 95 % intervals over seeds"
    page.table(comparison.rates_table(found), f"Rates in units of weight_decay: geometric {means}.", source)
    page.table(comparison.table(found, found.accuracy), f"Test accuracy, percent: {means}.", source)
    for what, unit, form in (("accuracy", "points of accuracy", "{:+.2f}"), ("loss", "test loss", "{:+.3f}")):
        regrets = {name: found.regret(name, what) for name in comparison.UNTUNED}
        page.table(
            comparison.table(found, regrets, form),
            f"Regret in {unit}: {means}. A weight_decay tuned at one level and used at another, mean over all such "
            f"moves: {statistics.as_text(found.moved_regret(what), form)}.",
            source,
        )

# %% [markdown]
# ## The same statements
#
# The rows are those of {doc}`noise-sweep`, and stand beside them on {doc}`claims`.

# %%
if there:
    statements = comparison.statements(found, "Fashion-MNIST")
    for statement in statements:
        page.check(**statement)

# %% [markdown]
# Does the rate that BN sets itself track the best rate a person would find by
# search? From the verdicts above and from nothing else:

# %%
sentence(comparison.answer(statements, "Fashion-MNIST") if there else "Not asked: the files are missing.")

# %% [markdown]
# ## What we learned
#
# - Where a verdict is the same as on digits, it is less likely to be an accident of digits. Where it
#   differs, the statement depends on the data, and two data sets are too few to say how.
# - The sentence above can be held against the one that closes {doc}`noise-sweep`: it is made by the
#   same rule.
#
# ## Where it stops
#
# - Fashion-MNIST was made to look like MNIST: small, grey, centred, ten balanced classes. It is a second
#   data set, not a second world.
# - Everything under "Where it stops" in {doc}`noise-sweep` holds here too.
