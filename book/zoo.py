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
# # The zoo
#
# Builds on {doc}`measure` and {doc}`depth`.
# After it you know on which published networks the meter was checked, and how exact it is.
#
# An instrument that is right on the networks of those who built it may be wrong on yours, and say
# nothing. Is the meter right on networks that others wrote? torchvision and timm hold hundreds, with
# every habit there is: batch normalization (BN) fused with an activation, before the convolution
# instead of after it, behind shuffled channels, in several heads, with scales that start at zero.
#
# Each network here has random weights and sees one batch of small random images, in float64. The
# meter reads it. Apart from that, the loss is differentiated as in any step of training.

# %% tags=["parameters"]
networks = "sample"  # "all": the smallest network of every family, minutes; or a list of names

# %% tags=["hide-input"]
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from bnlib import measure
from companion.page import check, finding, offer, table
from companion.records import Source
from companion.studies import zoo, zoo_check

# %% [markdown]
# ## One layer by hand
#
# By {prf:ref}`thm-rate` the rate of a channel is $\lambda = -\frac1\gamma\,\partial J/\partial\gamma$.
# PyTorch gives both: the scale $\gamma$ is the layer's `weight`, and after `backward` its `grad` is
# the derivative of the loss. Take any network with BN and any of its layers. Here the scales are
# drawn, since networks start with $\gamma = 1$ throughout, where a wrong power of $\gamma$ would not
# show. The last one of each layer is zero, to see what the meter says of it.

# %%
network, name = zoo_check.build("timm/efficientnet_lite0"), "blocks.2.0.bn1"
torch.manual_seed(0)
batch = torch.randn(4, 3, 64, 64, dtype=torch.float64), torch.arange(4)
report = measure(network, [batch], cross_entropy).to_frame()
cross_entropy(network(batch[0]), batch[1]).backward()
layer = network.get_submodule(name)
by_hand = (-layer.weight.grad / layer.weight).detach().numpy()
shown = report[report.layer == name].assign(by_hand=by_hand).iloc[[0, 1, 2, -1]]
print(
    shown[["gamma", "by_hand", "rate", "l2_rate", "reason"]].to_string(float_format="{:.6g}".format)
)

# %% [markdown]
# A single batch has no scatter, so there is no standard error, and the report says that too.
#
# ## Every layer of every network
#
# The same is done for all layers. What is compared, and what "off" means in the table:
#
# - the rate with $-\frac1\gamma\,\partial J/\partial\gamma$: the largest difference in a layer, over
#   the largest rate in it;
# - the rate in units of `weight_decay` with the same times $(q + \varepsilon)/\lvert w\rvert^2$, where
#   the variance $q$ is taken from what entered the layer, and $w$ from the linear map that the meter
#   named;
# - the gauge of {prf:ref}`thm-depth`, $w^\top\nabla_w J = \frac{\varepsilon}{q + \varepsilon}\gamma\,
#   \partial J/\partial\gamma$: what is left of it, over the largest of its terms in the layer. It
#   fails if the named map is not the one before the layer, or if something else, too, uses what it
#   puts out;
# - every reason for a NaN with what hooks saw: whether the layer ran, and how often, whether a
#   gradient reached it, whether $\gamma$ is zero. A NaN without a true reason counts as wrong, and so
#   does a channel that is missing.
#
# A difference of zero is no wonder: both add up the same numbers in the same order, if the meter is
# right. What could go wrong is *which* numbers.
#
# A network without BN has nothing to measure. The meter has to say so. For some that is not trivial:
# they standardize their *weights* with the very function that normalizes batches.

# %% tags=["hide-input", "remove-stderr"]
found = zoo.examine_all(zoo.networks(networks, progress=True), progress=True)
where = Source(
    title="random images",
    train_size=zoo_check.ROWS,
    seeds=[0],
    conditions={"networks": len(found), "weights": "random"},
)
table(
    zoo.as_table(found),
    "Networks of torchvision and timm: channels with batch normalization, how many of them have a rate,"
    " how far the worst is off, and why the others have none.",
    where,
)
offer(
    found.drop(columns="seconds").assign(reasons=found.reasons.map(zoo.said_of)),
    "zoo.csv",
    "a network a row",
)

# %% tags=["hide-input"]
summed = zoo.totals(found)
assert not summed["wrong"], found[found.wrong.map(len) > 0][["network", "wrong"]].to_string()
nothing = np.zeros(len(found))
rates = check(
    "rate",
    "networks of others: rates from bnlib.meter against autograd's -(dJ/dgamma)/gamma, the largest"
    " difference in a layer over its largest rate",
    measured=found.rates.to_numpy(),
    predicted=nothing,
    tolerance=zoo_check.TOLERANCE,
    source=where,
)
units = check(
    "depth",
    "networks of others: rates in units of weight_decay against the same with the variance of what"
    " entered the layer and the norm of the named weight",
    measured=found.l2_rates.to_numpy(),
    predicted=nothing,
    tolerance=zoo_check.TOLERANCE,
    source=where,
)
gauge = check(
    "depth",
    "networks of others: the gauge at every linear map that the meter names, over its largest term",
    measured=found.gauge.to_numpy(),
    predicted=nothing,
    tolerance=zoo_check.TOLERANCE,
    source=where,
)
finding(
    "In {normalized} networks that others wrote, {rated:,} of {channels:,} channels with batch"
    " normalization have a rate, and it is the one that autograd gives: the largest difference is"
    " {worst:.1g}.",
    rates,
    worst=summed["rates"],
    **{key: summed[key] for key in ("normalized", "rated", "channels")},
)
finding(
    "{linked:,} of these have a rate in units of weight_decay, too; the linear maps that the meter names"
    " before them obey the gauge to {worst:.1g}.",
    units,
    gauge,
    worst=summed["gauge"],
    linked=summed["linked"],
)

# %% [markdown]
# ## What it means for your network
#
# - A network of one of these families is measured right, whatever it is made of. What has no rate
#   says why.
# - If BN comes before the convolution, as in DenseNet, channels have a rate but none in units of
#   `weight_decay`: there is no single weight vector that BN normalizes.
# - If you write layers of your own, do the five lines above on them.
#
# ## What we learned
#
# - The meter looks at the function that normalizes, not at the module that calls it. So it makes no
#   difference whether a layer is torch's own or somebody's subclass with an activation inside.
# - Where no number is right, a reason is given, and it is the true one.
#
# ## Where it stops
#
# - Weights are random, and so are images. The identities do not depend on either, but a defect that
#   shows only in a trained network would be missed.
# - One batch: the mean over batches and its standard error are tested elsewhere.
# - The page runs a sample unless `networks` is "all"; `make zoo` runs the smallest network of every
#   family of both libraries, and so does a job every month. Larger members of a family are assumed to
#   be more of the same.
# - Classification only: no detection, no segmentation, no text.
#
# ## Exercises
#
# **1. Derive.** A layer computes $a = \max(0, y)$ with $y = \gamma\hat z + \beta$ in one module. A
# meter that looks at modules takes $-\frac1{\gamma}\sum_n \hat z_n\,\partial J/\partial a_n$. For
# which rows is the summand wrong, and by how much? When does it not matter?
#
# :::{dropdown} Solution
# By the chain rule $\partial J/\partial\gamma = \sum_n \hat z_n\,\partial J/\partial a_n\,[y_n > 0]$.
# The summand is wrong where $y_n < 0$: it should be zero there. It does not matter if
# $\partial J/\partial a_n$ vanishes wherever the unit is off, and nothing makes it vanish, since what
# follows is free to wish that the unit were on.
# :::
#
# **2. Run.** Give a wrong formula: `zoo_check.examine("timm/resnet10t", lambda gamma, gradient:
# -gradient / gamma**2)["wrong"]`. Then leave out the line in `zoo_check.build` that draws the scales,
# by setting all of them to one in a network of your own. What does the same formula say?
#
# :::{dropdown} Solution
# With scales that are drawn, rates differ by about as much as the scales differ from one. With all at
# one, $\gamma^2 = \gamma$ and nothing differs: the check would have passed a wrong meter.
# :::
