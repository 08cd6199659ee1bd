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
# After it you know how far the worth of a batch size carries over to digits and to networks.
#
# Batch normalization (BN) divides by what a batch says of its standard deviation. For one unit,
# least squares and Gaussian data, {prf:ref}`thm-minibatch` leaves no freedom: batches of $M$ are
# worth a weight decay of $1/a_M - 1$ on $\gamma$. Does that decay keep falling like $1/M$ on real
# digits, up to batches of 512, where it is a tenth of a per cent?
#
# And what is left of it in a network with a hidden layer and cross-entropy? If it were as strong
# there as for one unit, the choice of a batch size would be the choice of a regularizer. For smooth
# networks above one layer of BN there is a formula, and it says that it need not even be a decay.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
seeds = [0, 1, 2]  # repetitions behind every interval
batch_sizes = [4, 8, 16, 32, 64, 128, 256, 512]  # M of the single units
components = 10  # principal components that the single units see
rows_drawn = 160_000  # rows of digits a batch size and seed, for the single units
trained_sizes = [8, 32, 128]  # batch sizes M that networks are trained with
train_size = 1536  # images to train networks on, drawn anew with every seed
epochs = 4  # passes over them, the same for every batch size
step_factors = [0.003, 0.01, 0.03]  # learning rates tried, in units of sqrt(M)
imitated = [
    4,
    16,
]  # batch sizes M that the largest trained ones and a decay on gamma should imitate
imitation_steps = 400  # the same for all of them
imitation_learning_rate = 0.4  # at the first step, without momentum
smooth_sizes = [4, 16, 32, 64, 128, 256]  # batch sizes M that smooth losses are measured with
smooth_batches = 1500  # batches of each size and seed
smooth_steps = 60  # of training the smooth networks

# %% tags=["hide-input"]
from functools import partial
from itertools import islice

import numpy as np
import pandas as pd
import torch
from scipy import stats
from scipy.special import expit
from torch import nn
from torch.nn.functional import cross_entropy, gelu

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
    says="What a batch is worth as a decay falls as one over its size."
    " Ten single units, least squares. Three lines of nearly one slope, −1: on digits the decay"
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
    says="If small batches regularized, the two losses would come together with them."
    " Loss in training and on the test set, and accuracy, against the size of the batches that"
    " the network was trained with.",
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
    says=f"Batches of {smallest} are worth {mean[0] / one[0]:.1%} to a network of what they are to one unit."
    f" The same networks, trained with batches of {large} and measured in smaller ones: by how"
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
# ## Why it is another size: any smooth loss
#
# Whatever stands above the layer, a batch's mean and standard deviation are wrong by something of
# order $1/\sqrt M$. On average two things are left, of order $1/M$: outputs scatter, and a bent
# loss feels that; and each row sits in the batch that normalizes it, and pulls its statistics along.
#
# :::{prf:corollary} Batches under any smooth loss
# :label: cor-any-loss
# One layer of BN with $k$ units, $\varepsilon = 0$, and nothing above it that joins rows. Batches are
# $M$ independent draws of a row: its pre-activations $z_1, \dots, z_k$, each standardized by the
# population, with moments of all orders; and its loss $\ell$, a function of $y_j = \gamma_jz_j + \beta_j$
# with continuous third derivatives, all at most $K$ in size. At $y$ it has the first and second
# derivatives $g_j$ and $H_{jl}$, with $\mathbb E|\ell|$, $\mathbb E g_j^2$ and $\mathbb E H_{jl}^2$ finite.
# Let $\rho_j$ be the excess kurtosis of $z_j$, and
#
# $$b_j = -\tfrac12z_j^3 + \tfrac38(\rho_j + 2)z_j + \tfrac12\mathbb E z_j^3, \qquad \Phi = \mathbb E\Big[\sum_j\gamma_jg_jb_j + \tfrac12\sum_{j,l}\gamma_j\gamma_lH_{jl}C_{jl}\Big],$$
#
# $$C_{jl} = \mathbb E[z_jz_l] + \tfrac12z_l\,\mathbb E[z_jz_l^2] + \tfrac12z_j\,\mathbb E[z_lz_j^2] + \tfrac14z_jz_l\,(\mathbb E[z_j^2z_l^2] - 1) .$$
#
# 1. *(Loss.)* $\mathbb E J_B = J + \Phi/M + O(M^{-3/2})$.
# 2. *(Gradient.)* If fourth derivatives are continuous and bounded by $K$, too,
#    $\mathbb E\,\partial_{\gamma_j}J_B = \partial_{\gamma_j}J + \partial_{\gamma_j}\Phi/M + O(M^{-3/2})$. So where
#    $\gamma_j \ne 0$ is at rest in batches, $\mathbb E\,\partial_{\gamma_j}J_B = 0$, the population's rate is
#    $\lambda_j = \partial_{\gamma_j}\Phi/(M\gamma_j) + O(M^{-3/2})$.
# 3. *(Canonical losses.)* For one unit, $z$ Gaussian, and $\ell = A(y) - ty$ with
#    $\mathbb E[t \mid z] = A'(y)$,
#
#    $$\frac{\partial_\gamma\Phi}{\gamma} = \mathbb E\big[A''(y)\,(\tfrac12 + z^2 - \tfrac14z^4)\big] .$$
#
# The $O$ hold with one constant for all parameters for which $K$, $|\gamma_j|$, $1/|\gamma_j|$ and the moments
# used are bounded.
# :::
#
# :::{dropdown} Proof
# Let $m_j = \langle z_j\rangle$, $D_j = \langle z_j^2\rangle - 1$, $x_j = D_j - m_j^2$, and
# $\hat z_j = (z_j - m_j)/\sqrt{1 + x_j}$, 0 where that is $0/0$. So
# $|\hat z_j| \le \sqrt M$. Write $\delta_j = \hat z_j - z_j$ and
# $\lVert\cdot\rVert_p$ for $(\mathbb E|\cdot|^p)^{1/p}$.
#
# **How far a row is moved.** $m_j$ and $D_j$ are means of $M$ independent variables of mean 0, so
# $\lVert m_j\rVert_p$ and $\lVert D_j\rVert_p$ are $O(M^{-1/2})$ for every $p$
# (Marcinkiewicz–Zygmund). For $x \ge -\frac12$ Taylor's formula gives
# $(1 + x)^{-1/2} = 1 - \frac x2 + \frac{3x^2}8 + O(|x|^3)$. Multiply by $z_j - m_j$ and sort by the
# number of factors $m_j$, $D_j$:
#
# $$\delta_j = \Big[-m_j - \tfrac12z_jD_j\Big] + \Big[\tfrac12z_jm_j^2 + \tfrac12m_jD_j + \tfrac38z_jD_j^2\Big] + r_j .$$
#
# This defines $r_j$. Where $x_j \ge -\frac12$ it is a sum of terms with three such factors or more,
# beside powers of $z_j$: by Hölder's inequality its $p$-norm there is $O(M^{-3/2})$. Elsewhere
# $|r_j|$ is at most $\sqrt M$ plus a polynomial in $|z_j|$, $|m_j|$, $|D_j|$, and that has the probability
# $\mathbb P(|x_j| > \frac12) \le 2^q\,\mathbb E|x_j|^q = O(M^{-q/2})$ for every $q$. So
# $\lVert r_j\rVert_p = O(M^{-3/2})$ for every $p$.
#
# **Its mean.** Condition on one row of the batch, $z$ with its loss. The other $M - 1$ are
# independent of it, so
#
# $$\mathbb E[m_j \mid \text{row}] = \frac{z_j}M, \qquad \mathbb E[D_j \mid \text{row}] = \frac{z_j^2 - 1}M,$$
#
# and for two of these means, $\langle u\rangle$ and $\langle v\rangle$,
#
# $$\mathbb E\big[\langle u\rangle\langle v\rangle \mid \text{row}\big] = \frac{M-1}{M^2}\mathbb E[uv] + \frac{uv}{M^2} = \frac{\mathbb E[uv]}M + O(M^{-2}) ,$$
#
# the last in every $p$-norm. With $\mathbb E D_j^2 = (\rho_j + 2)/M$ and $\mathbb E[m_jD_j] = \mathbb E z_j^3/M$,
#
# $$M\,\mathbb E[\delta_j \mid \text{row}] = -z_j - \tfrac12z_j(z_j^2 - 1) + \tfrac12z_j + \tfrac12\mathbb E z_j^3 + \tfrac38(\rho_j + 2)z_j + O(M^{-1/2}) ,$$
#
# which is $b_j + O(M^{-1/2})$. In $\delta_j\delta_l$ only the product of the first brackets counts,
# $(m_j + \frac12z_jD_j)(m_l + \frac12z_lD_l)$, the rest being of third order. So
# $M\,\mathbb E[\delta_j\delta_l \mid \text{row}] = C_{jl} + O(M^{-1/2})$: the four products of means give
# its four terms.
#
# **1.** All rows of a batch are alike, so $\mathbb E J_B = \mathbb E\,\ell(\hat y)$ for one of them. Taylor's
# formula, on the whole line from $y$ to $\hat y$:
#
# $$\ell(\hat y) = \ell + \sum_j\gamma_jg_j\delta_j + \tfrac12\sum_{j,l}\gamma_j\gamma_lH_{jl}\,\delta_j\delta_l + \varrho, \qquad |\varrho| \le \tfrac K6\Big(\sum_j|\gamma_j\delta_j|\Big)^3,$$
#
# and $\mathbb E|\varrho| = O(M^{-3/2})$. $g_j$ and $H_{jl}$ belong to the row: take the expectation given the
# row first. By Cauchy–Schwarz the errors of its two means count for no more than
# $\lVert g_j\rVert_2$ and $\lVert H_{jl}\rVert_2$ times $O(M^{-3/2})$.
#
# **2.** $\partial_{\gamma_j}J_B = \langle g_j(\hat y)\,\hat z_j\rangle$. With $T_{jil}$ the third derivatives,
# bounded, Taylor's formula for $g_j$ in the same way gives for a row
#
# $$g_jz_j + g_j\delta_j + z_j\sum_l\gamma_lH_{jl}\delta_l + \sum_l\gamma_lH_{jl}\,\delta_j\delta_l + \tfrac12z_j\sum_{i,l}\gamma_i\gamma_lT_{jil}\,\delta_i\delta_l$$
#
# and terms with three $\delta$, whose mean is $O(M^{-3/2})$ by Hölder. The first has mean
# $\partial_{\gamma_j}J$. In the others put $b/M$ for $\delta$ and $C/M$ for $\delta\delta$. That is
# $\partial_{\gamma_j}\Phi/M$ term by term: $b$ and $C$ do not depend on $\gamma$, and
# $\partial_{\gamma_j}$ of $g_l$ and $H_{il}$ is $H_{jl}z_j$ and $T_{jil}z_j$. The rate is $\lambda_j = -\partial_{\gamma_j}J/\gamma_j$
# ({prf:ref}`thm-rate`).
#
# **3.** Now $b = \frac34z - \frac12z^3$ and $C = 1 + \frac12z^2$. As
# $\mathbb E[g \mid z] = A'(y) - \mathbb E[t \mid z] = 0$,
#
# $$\frac{\partial_\gamma\Phi}\gamma = \mathbb E\big[A''(y)(zb + C)\big] + \frac\gamma2\,\mathbb E\big[A'''(y)\,zC\big] .$$
#
# $\gamma A'''(y)$ is the derivative of $A''(y)$ in $z$, and for Gaussian $z$
# $\mathbb E[f'(z)h(z)] = \mathbb E[f(z)(z\,h(z) - h'(z))]$, by parts. With $h = zC = z + \frac12z^3$ this is
# $\frac12z^4 - \frac12z^2 - 1$, and
# $\frac34z^2 - \frac12z^4 + 1 + \frac12z^2 + \frac14z^4 - \frac14z^2 - \frac12 = \frac12 + z^2 - \frac14z^4$. $\square$
# :::
#
# Least squares has $H = 1$, and $\Phi$ is then $\gamma\,\mathbb E[tz]\,c_B$, with the $c_B$ of the single units.
# If batches were noise of mean 0, there would be $C$ alone, and on Gaussian data they would be worth
# $\frac32$ over $M$. It is $\frac34$: the row's own share in its batch, most of $b$, takes half of it back.
#
# By part 3 a worth is in units of the loss's curvature $A''$, which is 1 for least squares
# and $p(1-p) \le \frac14$ for logistic regression. Beside it stands a factor that is negative where $|z| > 2.1$.
# So nothing keeps the worth of a batch positive.
#
# Below, batches of one logistic unit on Gaussian data, through torch's layer; and networks like those
# above, with the smooth GELU in place of the ReLU. They are measured at the same parameters in batches
# of each size and on all their images, of which the batches are independent draws. Taken off
# are terms of first order in $m$ and $D$, whose mean is zero.

# %% tags=["hide-input"]
scales = np.array([0.5, 1.0, 2.0, 4.0])  # gamma of the logistic unit
logistic_size = 128


def logistic_worth(gamma, seed):
    """M times the mean gradient of gamma over gamma, in batches of M; the population's is 0."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(logistic_size, 2 * smooth_batches, generator=generator, dtype=torch.float64)
    normalized = nn.functional.batch_norm(z, None, None, training=True, eps=1e-30).numpy()
    z = z.numpy()
    slopes = np.mean((expit(gamma * normalized) - expit(gamma * z)) * normalized, axis=0) / gamma
    spread = stats.norm.expect(lambda z: expit(gamma * z) * expit(-gamma * z) * z**2)
    return logistic_size * np.mean(slopes + spread * (np.mean(z**2, axis=0) - 1) / 2)


logistic = np.array([[logistic_worth(gamma, seed) for gamma in scales] for seed in seeds])
closed = [theory.minibatch_worth_canonical(gamma) for gamma in scales]


class SmoothNetwork:
    """A trained 784-100-10 with GELU, seen from its layer of BN: standardized z, then what is above."""

    def __init__(self, seed):
        rows, labels = condition.training_rows(digits.labels["train"], seed)
        images, self.labels = inputs["train"][rows], torch.from_numpy(labels)
        model = models.network((784, 100, 10), seed=seed)
        model[2] = nn.GELU()
        passes = 1 + smooth_steps * large // len(images)
        steps = islice(training.batches(images, labels, large, passes, [seed, 4]), smooth_steps)
        fall = lambda step: imitation_learning_rate * (1 - step / smooth_steps)
        linear, norm, _, self.read_out = training.fit(model, steps, cross_entropy, fall)
        model.double().requires_grad_(False)
        z = linear(torch.from_numpy(images).double())
        self.z = (z - z.mean(dim=0)) / z.std(dim=0, correction=0)
        self.gamma, self.beta = norm.weight, norm.bias

    def single(self):
        self.z, self.gamma, self.beta = self.z.float(), self.gamma.float(), self.beta.float()
        self.read_out.float()

    def losses(self, z, labels, factor):
        """Of each row, gamma being multiplied by a factor."""
        scores = self.read_out(gelu(factor * self.gamma * z + self.beta))
        return cross_entropy(scores.movedim(-1, 1), labels, reduction="none")

    def shift(self, factor):
        """Phi, and the means of g and of g z: second derivatives written out, those of autograd."""
        y = (factor * self.gamma * self.z + self.beta).numpy()
        weight, density = self.read_out.weight.numpy(), stats.norm.pdf(y)
        slope, bend = stats.norm.cdf(y) + y * density, density * (2 - y**2)  # of GELU
        p = torch.softmax(self.read_out(gelu(torch.from_numpy(y))), dim=1).numpy()
        back = (p - np.eye(10)[self.labels]) @ weight
        root = np.sqrt(p)[:, :, None] * (weight - (p @ weight)[:, None, :]) * slope[:, None, :]
        second = root.transpose(0, 2, 1) @ root
        second[:, range(100), range(100)] += back * bend
        first, z = back * slope, self.z.numpy()
        phi = theory.minibatch_loss_shift(z, factor * self.gamma.numpy(), first, second)
        return phi, torch.from_numpy(np.array([first.mean(axis=0), (first * z).mean(axis=0)]))


step = 0.05  # of the central difference along gamma


def added(network, seed):
    """M times what batches of M add, and that over Phi: of the loss; of the gradient along gamma."""
    factors = [1 - step, 1.0, 1 + step]
    shifts, controls = zip(*[network.shift(factor) for factor in factors])
    network.single()  # enough from here on, and faster
    alone = [network.losses(network.z, network.labels, factor) for factor in factors]
    found = []
    for M in smooth_sizes:
        rng, sums = np.random.default_rng([seed, M, 5]), np.zeros(3)
        for _ in range(smooth_batches // 50):
            rows = torch.from_numpy(rng.integers(len(network.z), size=(50, M)))
            z = network.z[rows]
            mean, square = z.mean(dim=1, keepdim=True), z.square().mean(dim=1, keepdim=True)
            normalized = (z - mean) / (square - mean**2).sqrt()
            for i, factor in enumerate(factors):
                more = network.losses(normalized, network.labels[rows], factor) - alone[i][rows]
                slopes, spreads = factor * network.gamma * controls[i].float()
                linear = mean @ slopes + (square - 1) @ spreads / 2
                sums[i] += more.mean() + linear.mean()
        found.append(M * sums / (smooth_batches // 50))
    found, shifts = np.array(found), np.array(shifts)
    by_gamma = np.array([-1, 0, 1]) / (2 * step * float(network.gamma @ network.gamma))
    return found[:, 1] / shifts[1], found @ by_gamma / (shifts @ by_gamma), shifts @ by_gamma


inputs = training.standardize(digits.dataset)
results = [added(SmoothNetwork(seed), seed) for seed in seeds]
over_loss, over_gradient, predicted_worth = map(np.array, zip(*results))
smooth = network | {"activation": "GELU", "steps": smooth_steps, "batches": smooth_batches}
del smooth["epochs"]
smooth_source = Source(dataset, train_size, seeds, smooth)
simulated = Source(None, None, seeds, {"batches": 2 * smooth_batches}, "generated data")

some = [0, 1, -1]
few = "{}, {} and {}".format(*[smooth_sizes[i] for i in some])
of_loss, of_gradient = (
    "{:.2f}, {:.2f} and {:.2f}".format(*ratios.mean(axis=0)[some])
    for ratios in (over_loss, over_gradient)
)
picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
fine = np.geomspace(scales[0] / 2, scales[-1] * 1.5, 60)
left.line(fine, [theory.minibatch_worth_canonical(gamma) for gamma in fine], "corollary", "theory")
left.points(scales, logistic, f"torch, M = {logistic_size}", "batch", scale="log")
left.set(title="logistic unit: M × worth", xlabel="γ", xscale="log", ylim=(0, None), legend=True)
left.ax.set_xticks(scales, [f"{gamma:g}" for gamma in scales])
left.ax.minorticks_off()
right.level(1, "leading order")
right.points(smooth_sizes, over_loss, "loss", "batch")
right.level(0, color="none", style="-")
right.points(smooth_sizes, over_gradient, "gradient of γ", "l2", marker="s")
over_sizes(right, smooth_sizes, title="GELU network: over leading order", legend={"fontsize": 9})
picture.show(
    says="Under any smooth loss batches are worth something, and large ones what the corollary says."
    " Left: a logistic unit's batches are worth what the corollary says, and less than the 0.75 of"
    " least squares. Right: what batches add to the loss of a network, and to the gradient of its"
    f" γ, over Φ/M and its derivative. With batches of {few} the loss is {of_loss} times that and the"
    f" gradient {of_gradient} times.",
    source=f"left: {simulated}; right: {smooth_source}",
    name="batch-size-any-loss",
)

# %% tags=["hide-input"]
logistic_checks = [
    check(
        "minibatch",
        f"torch, logistic unit on Gaussian data, gamma = {gamma:g}, batches of {logistic_size}:"
        " gradient of gamma over gamma against E[A''(1/2 + z^2 - z^4/4)]/M",
        measured=M_worth / logistic_size,
        predicted=value / logistic_size,
        kind="empirical",
        tolerance=0.1,
        role="theorem",
        scale="log",
        source=simulated,
    )
    for gamma, M_worth, value in zip(scales, logistic.T, closed)
]
finding(
    {
        "borne out": "For a logistic unit on Gaussian data batches are worth a mean of its curvature:"
        " from {first:.3f}/M at γ = {small} to {last:.3f}/M at γ = {big}, 0.75/M being least"
        " squares; torch agrees within {tolerance:.0%} at all {count}.",
        "not borne out": "For a logistic unit on Gaussian data batches are not worth what the corollary"
        " says, {first:.3f}/M at γ = {small} and {last:.3f}/M at γ = {big}.",
        "mixed": "For a logistic unit on Gaussian data the corollary says {first:.3f}/M at γ ="
        " {small} and {last:.3f}/M at γ = {big}; torch agrees within {tolerance:.0%}, interval included,"
        " at {held} of {count} γ.",
    },
    *logistic_checks,
    first=closed[0],
    last=closed[-1],
    small=scales[0],
    big=scales[-1],
)
at_largest = [
    check(
        "minibatch",
        f"GELU network with cross-entropy, batches of {smooth_sizes[-1]}: {words}",
        measured=ratios[:, -1],
        predicted=1.0,
        kind="empirical",
        tolerance=0.1,
        role="theorem",
        source=smooth_source,
    )
    for words, ratios in (
        ("what they add to the loss, over Phi/M", over_loss),
        ("what they add to the gradient along gamma, over that of Phi/M", over_gradient),
    )
]
said = (
    " batches of {few} add to the loss {of_loss} times Φ/M, and to the gradient of γ {of_gradient} times"
    " its leading order, a decay of {worth:+.4f}/M on γ, where least squares has +0.75/M."
)
smooth_name = "In a smooth network above one layer the formula"
finding(
    {
        "borne out": smooth_name + " holds for batches of {last}:" + said,
        "not borne out": smooth_name + " does not hold yet for batches of {last}:" + said,
        "mixed": smooth_name
        + " holds for batches of {last}, interval included, in {held} of {count}"
        " cases:" + said,
    },
    *at_largest,
    few=few,
    of_loss=of_loss,
    of_gradient=of_gradient,
    last=smooth_sizes[-1],
    worth=predicted_worth.mean(),
)

# %% [markdown]
# The terms of $\partial_\gamma\Phi$ can have both signs. Where they nearly cancel their sum is small, of
# either sign, and the next order in $1/M$ is felt in it up to larger batches than in the loss. At the
# smallest ones, in which the worth was read above, the leading order need not even have its sign.

# %% [markdown]
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
# - For any smooth loss above one layer, {prf:ref}`cor-any-loss` has the leading term. It is in units of
#   the loss's curvature, which is small where a network fits its images, and its sign is free.
# - In a network the mechanism can be seen without training anything, by measuring one network in
#   batches of two sizes.
# - How far a learned $\gamma$ gets in a network is also a matter of the number of steps and of their
#   size; and it has a partner, the read-out, that can undo what is done to it.
#
# ## Where it stops
#
# - {prf:ref}`cor-any-loss` is the leading order in $1/M$, at fixed parameters: the rest may be large at
#   small $M$, and sooner for the gradient than for the loss. A ReLU has a kink, which is
#   outside of it, and with two layers of BN one batch couples the rows twice.
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
