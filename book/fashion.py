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
# Builds on {doc}`noise-sweep`.
# After it you know which findings on digits hold for clothes.
#
# A result on one data set may be a result about that data set. So here is {doc}`noise-sweep`
# again, on photographs of clothes {cite:p}`xiao2017` instead of handwritten digits. Does what
# holds for digits hold for clothes?
#
# Nothing was adjusted to the clothes: the networks, the grid of `weight_decay`, the number of images,
# the noise levels and the statements are the same, word for word. The code that trains, asks and draws
# is the same too, and it was written for digits. Only the default build goes through the clothes once
# where it goes through the digits twice, to save minutes; the profile `paper` treats both alike.

# %% tags=["parameters"]
dataset = "fashion-mnist"  # see bnlib.data.load
train_size = None  # training images; None: all
seeds = [0, 1, 2]  # repetitions behind every interval
noise_stds = [0.0, 0.5, 1.0, 2.0, 3.0]  # in pixels' standard deviations
hidden = [100]  # units of the hidden layers
epochs = 2  # of every training

# %% tags=["hide-input"]
import numpy as np

from bnlib import data
from companion import page
from companion.studies import comparison, questions
from companion.studies import comparison_page as shown

# %% [markdown]
# ## The same pictures, tables and statements
#
# Left in the first picture: accuracy as the noise grows. Right: the rate that batch normalization
# (BN) set by itself, beside the one that a search found. Then the numbers behind it, the regret,
# that is what is lost against the best `weight_decay` of the same seed and level, and the
# statements. They stand beside those on digits on {doc}`claims`.

# %% tags=["remove-stderr"]
if data.is_available(dataset):
    found = comparison.run(dataset, seeds, noise_stds, hidden, epochs, train_size)
    shown.summary(found)
    page.offer(found.runs, "fashion_sweep.csv", "a trained network a row")
    shown.main_picture(found, "fashion-result")
    shown.show_rates(found)
    shown.show_accuracy(found)
    shown.regret_picture(found, "fashion-regret")
    shown.show_moves(found)
    shown.ask(found)
else:
    page.sentence(
        f"This page shows no result: the files of {dataset} are missing. They are in no Python"
        " package; `make data` fetches them (30 MB), or BNLIB_DATA names a folder that has"
        " FashionMNIST/raw. Then `make book` runs this chapter again."
    )

# %% [markdown]
# ## What it means for your network
#
# Your data are a third data set. What was borne out on both is a fair guess for them; what differs
# between digits and clothes has to be measured: `comparison.run` and `ask` above take any data set
# that `bnlib.data.load` knows.
#
# ## What we learned

# %% tags=["hide-input"]
if data.is_available(dataset):
    page.sentence(questions.answer(found))
    ends = found.levels[0], found.levels[-1]
    best = found.on_log_axis(found.best_decay)
    ratio = np.log10(found.on_log_axis(found.rates[comparison.BN]) / best).mean()
    accuracy = {
        way: " and ".join(f"{found.accuracy[way][level].mean():.2f}" for level in ends)
        for way in (comparison.BN, comparison.BEST, comparison.WEIGHT, comparison.NONE)
    }
    page.sentence(
        f"BN's rate was {10 ** ratio[ends[0]]:.2f} of the best weight_decay at noise {ends[0]:g} and"
        f" {10 ** ratio[ends[1]]:.2f} of it at noise {ends[1]:g}. Test accuracy in percent at these two: "
        + "; ".join(f"{way} {numbers}" for way, numbers in accuracy.items())
        + "."
    )

# %% [markdown]
# - Where a verdict is the same as on digits, it is less likely to be an accident of digits. Where
#   it differs, the statement depends on the data, and two data sets are too few to say how.
# - What was asked could not be chosen to suit the clothes: it was written, and its code run, on
#   digits alone.
#
# ## Where it stops
#
# - Fashion-MNIST was made to look like MNIST: small, grey, centred, ten balanced classes. It is a
#   second data set, not a second world.
# - Everything under "Where it stops" in {doc}`noise-sweep` holds here too.
#
# ## Exercises
#
# **1. Derive.** A statement that is false is borne out by chance with a probability of at most 2.5
# %: the 95 % interval then lies wholly on the wrong side. Twenty false statements are asked of two
# data sets, independently. How many do you expect to be borne out on one of them at least, how
# many on both?
#
# :::{dropdown} Solution
# On one at least: $20\,(1 - 0.975^2) = 0.99$, about one statement. On both: $20 \cdot 0.025^2 =
# 0.0125$, one in eighty such books. So a verdict that is the same on both is worth much more than
# either. A narrower interval on the same data would not do as well: intervals over seeds do not
# speak of other data.
# :::
#
# **2. Run.** Set `train_size = 1000`. Which of the trained networks stay the same? Which way
# should the best `weight_decay` move?
#
# :::{dropdown} Solution
# None stays: the start is the same, and the 1,000 images are among all, but the batches are
# others and there are fewer of them. As a rule fewer images call for more regularization. But the
# number of epochs is fixed, so that fewer images also mean fewer steps, in which a decay has less
# time to act. {doc}`data` keeps the number of steps fixed, to separate the two.
# :::
