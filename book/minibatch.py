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
# # Mini-batches: batch size is a decay on gamma
#
# Builds on {doc}`rate`, {doc}`least-squares` and {doc}`stationarity`.
# After it you can turn a batch size into a decay on $\gamma$, and back.
#
# Batch normalization (BN) divides by the standard deviation of the *batch*. Until now that was as
# good as the population's. It is not: in a small batch it is a random number, and on average it is
# too small. Does that alone regularize, and how much?
#
# For least squares on Gaussian data there is an exact law. Training with batches of $M$ is training
# with the whole population and a weight decay on $\gamma$ that depends on $M$ and on nothing else.
# It is the rate that a freely learned $\gamma$ keeps, after {doc}`stationarity` seemed to leave it
# none.

# %% tags=["parameters"]
seed = 0  # of data, batches and initial weights
dataset = "mnist"  # data set of the real read-out; or "mnist-5k": see bnlib.data.load
batch_sizes = [4, 8, 16, 32]  # M
repetitions = 64  # independent units trained side by side on Gaussian data
digit_repetitions = 16  # independent sequences of batches of digits
components = 10  # principal components of the digits used as inputs
digits_used = 10_000  # training images that the read-out draws from, at most
steps = 2000  # of stochastic gradient descent

# %% tags=["hide-input"]
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from bnlib import theory, training
from bnlib.moments import Moments
from companion.figures import COLORS, Picture
from companion.page import check, finding, sentence
from companion.records import Source, name_of
from companion.studies.read_out import read_out

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(seed)
on = name_of(dataset)
sizes = np.array(batch_sizes)
many = np.arange(3, 200)  # batch sizes of the curves


def generated(**conditions):
    return Source(title="generated data", seeds=[seed], conditions=conditions)


# %% [markdown]
# ## A small batch looks narrower than it is
#
# Draw $M$ numbers from a standard normal distribution and take their standard deviation, as BN
# does: squares about the batch's own mean, divided by $M$. Do it many times.

# %% tags=["hide-input"]
picture = Picture()
(panel,) = picture
spread = np.linspace(0, 2, 400)
for M, key in ((4, "noise"), (16, "signal"), (64, "batch")):
    drawn = rng.standard_normal((20_000, M)).std(axis=1)
    mean = float(theory.minibatch_factor(M))
    density = stats.chi.pdf(spread * np.sqrt(M), M - 1) * np.sqrt(M)
    panel.ax.hist(drawn, bins=80, range=(0, 2), density=True, color=COLORS[key], alpha=0.3)
    panel.line(spread, density, f"M = {M}, mean {mean:.3f}", key)
    top = np.interp(mean, spread, density)
    panel.line([mean, mean], [0, top], color=key, style="--", words=False, linewidth=1.3)
panel.set(xlabel="standard deviation of a batch, population's = 1", ylabel="density")
panel.set(xlim=(0, 2), legend=True)
panel.note("histograms of simulated batches fill the curves")
picture.show(
    says="The standard deviation of a batch scatters, and its mean (dashed) lies below the"
    " population's. BN divides by it all the same.",
    source=generated(batches=20_000),
    name="minibatch-spread",
)

# %% [markdown]
# Why does that matter? BN scales each batch to have variance one *exactly*. Whatever the batch's
# true spread, the output has the same size. So if a batch happens to be narrow, its output is blown
# up, and does not match the target's spread any more. To be right on average the unit bets on less:
# it learns a smaller $\gamma$.
#
# ## The theorem
#
# :::{prf:theorem} Batch size is a decay on gamma
# :label: thm-minibatch
# Least squares with one BN unit, $\varepsilon = 0$. Batches are $M \ge 2$ independent draws of
# $(x, t)$ with finite second moments. Let $z = w^\top x$ have variance $\sigma_z^2 > 0$ and no
# atoms (so not a finite set of rows, which repeats them), $r = \operatorname{corr}(z, t)$, and let $s_B$ be the batch's biased standard deviation of
# $z$. Assume
#
# **(A)** $\mathbb E[t \mid z]$ is a linear function of $z$.
#
# 1. *(Expected loss.)* With $A = \mathbb E s_B/\sigma_z$ and
#    $C = \tfrac12(\sigma_t^2 + (\mathbb E t - \beta)^2)$,
#
#    $$\mathbb E J_B = C - \gamma A\, r\sigma_t + \tfrac12\gamma^2, \qquad J = C - \gamma\, r\sigma_t + \tfrac12\gamma^2$$
#
#    for the batch and for the population. So, at every $w$,
#
#    $$\mathbb E J_B - C = A\,\Big[J - C + \tfrac12\Big(\tfrac1A - 1\Big)\gamma^2\Big] .$$
#
# 2. *(Gaussian data: exact.)* If $(x, t)$ is jointly Gaussian, (A) holds for every $w$, and $A$ is
#    the same for all:
#
#    $$a_M = \sqrt{\tfrac2M}\,\frac{\Gamma(M/2)}{\Gamma((M-1)/2)} = 1 - \frac{3}{4M} + O(M^{-2}) .$$
#
#    In $(w, \gamma)$ mini-batch BN has then the same objective, up to the factor $a_M$, as
#    population BN with weight decay $1/a_M - 1$ on $\gamma$. If $R > 0$ its minimizers have
#    $r = R$ and, up to the mirror image $(r, \gamma) \to (-r, -\gamma)$, which is the same function,
#
#    $$\gamma = a_M R\,\sigma_t, \qquad \lambda = \frac{1}{a_M} - 1 \quad\text{(the rate on the population).}$$
#
# 3. *(Any distribution: leading order.)* If $z$ has a finite sixth moment and excess kurtosis
#    $\rho$,
#
#    $$\frac1A - 1 = \frac{\rho + 2}{8M} + \frac{1}{2M} + O(M^{-3/2}), \qquad A = 1 - \frac{\rho + 6}{8M} + \cdots$$
#
# :::
#
# :::{dropdown} Proof
# Write $\langle\cdot\rangle$ for the mean over the batch and $\hat z = (z - \langle z\rangle)/s_B$.
# As $z$ has no atoms, $s_B > 0$ almost surely.
#
# **1.** $\langle\hat z\rangle = 0$ and $\langle\hat z^2\rangle = 1$ in every batch, so
#
# $$J_B = \tfrac12\langle(t - \beta - \gamma\hat z)^2\rangle = \tfrac12\langle(t - \beta)^2\rangle - \gamma\,\langle t\,\hat z\rangle + \tfrac12\gamma^2 .$$
#
# The first term has expectation $C$. For the second, (A) means
# $t = \mathbb E t + (r\sigma_t/\sigma_z)(z - \mathbb E z) + e$ with $\mathbb E[e \mid z] = 0$: a
# linear conditional expectation has the slope of the least-squares line.
# $\langle z\hat z\rangle = s_B$ and constants drop out, so
# $\langle t\hat z\rangle = (r\sigma_t/\sigma_z)\, s_B + \langle e\,\hat z\rangle$. The draws are
# independent, so given all $z$ of the batch each $e$ has mean 0, while $\hat z$ is a function of
# them, with $|\hat z| \le \sqrt M$: $\mathbb E\langle e\,\hat z\rangle = 0$. Hence
# $\mathbb E\langle t\,\hat z\rangle = r\sigma_t A$. The population's $J$ is the same calculation
# with $\mathbb E$ for $\langle\cdot\rangle$. The last line: $A$ times the bracket is
# $-\gamma A r\sigma_t + \frac A2\gamma^2 + \frac12(1 - A)\gamma^2$.
#
# **2.** $(z, t)$ is jointly Gaussian, so (A) holds. $M s_B^2/\sigma_z^2$ has the $\chi^2$
# distribution with $k = M - 1$ degrees of freedom, whose root has mean
#
# $$\int_0^\infty y^{1/2}\,\frac{y^{k/2 - 1} e^{-y/2}}{2^{k/2}\,\Gamma(k/2)}\,\mathrm dy = \frac{2^{(k+1)/2}\,\Gamma((k+1)/2)}{2^{k/2}\,\Gamma(k/2)} = \sqrt2\,\frac{\Gamma(M/2)}{\Gamma((M-1)/2)} .$$
#
# Divide by $\sqrt M$. With $\Gamma(y + \frac12)/\Gamma(y) = \sqrt y\,(1 - \frac1{8y} + O(y^{-2}))$
# at $y = \frac{M-1}2$,
# $a_M = \sqrt{1 - \frac1M}\,(1 - \frac1{4M} + O(M^{-2})) = 1 - \frac3{4M} + O(M^{-2})$. For
# $\gamma > 0$ the objective $-\gamma a_M r\sigma_t + \frac12\gamma^2$ falls in $r$, whose maximum
# is $R$, and is then least at $\gamma = a_M R\sigma_t$. There
# $\lambda = -\frac1\gamma\frac{\partial J}{\partial\gamma} = \frac{R\sigma_t}{\gamma} - 1$
# ({prf:ref}`thm-rate`).
#
# **3.** Let $\sigma_z = 1$, $\mathbb E z = 0$ and
# $\delta = s_B^2 - 1 = \langle z^2 - 1\rangle - \langle z\rangle^2$. Then
# $\mathbb E\delta = -\frac1M$, and as $\frac M{M-1}s_B^2$ has variance
# $\frac{2}{M-1} + \frac\rho M$,
#
# $$\mathbb E\delta^2 = \Big(\frac{M-1}{M}\Big)^2\Big(\frac{2}{M-1} + \frac\rho M\Big) + \frac1{M^2} = \frac{\rho + 2}{M} + O(M^{-2}) .$$
#
# For $y = \sqrt{1 + \delta} \ge 0$ one has, by multiplying out,
#
# $$y = 1 + \frac\delta2 - \frac{\delta^2}8 + \delta^3\,\frac{y + 3}{8(y + 1)^3}, \qquad 0 < \frac{y + 3}{8(y + 1)^3} \le \frac38 .$$
#
# $\mathbb E|\delta|^3 = O(M^{-3/2})$: means of $M$ independent variables of mean 0 with finite
# third absolute moments, here $z^2 - 1$, have third absolute moments of that order
# (Marcinkiewicz–Zygmund), and $\mathbb E\langle z\rangle^6 = O(M^{-3})$. So
# $A = \mathbb E y = 1 - \frac1{2M} - \frac{\rho + 2}{8M} + O(M^{-3/2})$, and $\frac1A - 1$ follows.
# $\square$
# :::
#
# The two parts of the leading term have two causes: $1/(2M)$, because the batch's variance is taken
# about the batch's own mean; $(\rho + 2)/(8M)$, because it scatters and the root is concave. Heavy
# tails make it scatter more. {cite:t}`luo2018` have described the regularization of BN by a "gamma
# decay" before.
#
# ## Check it in five lines
#
# First $a_M$ by quadrature. Then the rate that {prf:ref}`thm-least-squares` gives for
# $\gamma = a_M R\sigma_t$. Change the moments: the table stays the same.

# %%
M = np.array([2, 3, 4, 8, 32, 256])
mean_chi = [stats.chi(m - 1).expect(lambda s: s) for m in M]  # an integral, by quadrature

moments = Moments([0.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], [1.0, 0.2], 1.5)
gammas = theory.minibatch_factor(M) * np.sqrt(moments.r_squared * moments.target_var)
rates = [float(theory.least_squares(moments, gamma).rate) for gamma in gammas]

pd.DataFrame({"M": M, "a_M by quadrature": mean_chi / np.sqrt(M), "rate": rates}).round(4)

# %% tags=["hide-input"]
law = [
    check(
        "minibatch",
        "Mean standard deviation of a Gaussian batch: closed form a_M against quadrature",
        theory.minibatch_factor(M),
        mean_chi / np.sqrt(M),
        tolerance=1e-8,
    ),
    check(
        "minibatch",
        "Least squares: the population rate at gamma = a_M R sigma_t against the weight decay"
        " 1/a_M - 1",
        rates,
        theory.minibatch_decay(M),
        tolerance=1e-12,
    ),
]
finding(
    "For least squares on Gaussian data, batches of M act as a weight decay on γ alone:"
    " {four:.0%} for batches of 4, {thirty_two:.1%} for batches of 32, 3/(4M) to leading order.",
    *law,
    four=float(theory.minibatch_decay(4)),
    thirty_two=float(theory.minibatch_decay(32)),
)

# %% [markdown]
# Assumption (A) is what the proof turns on:
# $\mathbb E\langle t\hat z\rangle = (r\sigma_t/\sigma_z)\,\mathbb E s_B$. With batches of two and a
# short list of values every batch can be written down in fractions. The noise $e$ may depend on
# $z$, as long as its mean does not. If $\mathbb E[t \mid z]$ is bent, the two sides differ.


# %% tags=["hide-input"]
def both_sides(regression):
    """E<t z_hat> and (r sigma_t / sigma_z) E s_B over all batches of two, in fractions."""
    values = [Fraction(z) for z in (-1, 0, 3)]
    draws = [(z, regression(z) + sign * (1 + z**2)) for z in values for sign in (-1, 1)]

    def mean(numbers):
        return sum(numbers) / len(numbers)

    centre = mean([z for z, _ in draws])
    variance = mean([(z - centre) ** 2 for z, _ in draws])
    slope = mean([t * (z - centre) for z, t in draws]) / variance
    batches = list(product(draws, repeat=2))
    # the standard deviation of two values is half their distance; each lies one of it from the mean
    products = [(t1 - t2) * ((z1 > z2) - (z1 < z2)) / 2 for (z1, t1), (z2, t2) in batches]
    return mean(products), slope * mean([abs(z1 - z2) / 2 for (z1, _), (z2, _) in batches])


check(
    "minibatch",
    "All batches of two, noise that depends on z, E[t|z] linear: both sides of the key identity in"
    " fractions",
    *both_sides(lambda z: 2 + Fraction(5, 7) * z),
    kind="exact",
)
bent = both_sides(lambda z: z**2)
check(
    "minibatch",
    "All batches of two, E[t|z] bent: the two sides of the key identity differ, so the assumption"
    " is needed",
    bent[0] == bent[1],
    False,
    kind="exact",
    role="assumption",
)

# %% [markdown]
# ## Decay against batch size
#
# The points are averages over batches of Gaussian, uniform and Laplace numbers. Lighter or heavier
# tails move the line as the excess kurtosis $\rho$ says.

# %% tags=["hide-input"]
distributions = {
    "uniform": (lambda size: rng.uniform(-np.sqrt(3), np.sqrt(3), size), -1.2, "signal"),
    "Gaussian": (rng.standard_normal, 0.0, "batch"),
    "Laplace": (lambda size: rng.laplace(0, np.sqrt(0.5), size), 3.0, "noise"),
}
simulated_sizes = np.array([4, 8, 16, 32, 64, 128])
picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
for name, (draw, kurtosis, key) in distributions.items():
    means = [draw((2_000_000 // M, M)).std(axis=1).mean() for M in simulated_sizes]
    leading = theory.minibatch_decay(many, excess_kurtosis=kurtosis)
    left.line(many, leading, color=key, style="--", words=False, linewidth=1.2)
    left.dots(simulated_sizes, 1 / np.array(means) - 1, f"{name}, ρ = {kurtosis:g}", key)
left.line(many, theory.minibatch_decay(many), "exact, Gaussian", "batch")
left.line([], [], "leading order", "none", style="--", words=False, linewidth=1.2)
left.set(xlabel="batch size M", title="decay on γ, 1/A − 1", xscale="log", yscale="log")
left.set(legend={"fontsize": 9})
right.line(many, theory.minibatch_factor(many), "Gaussian data", "batch")
right.set(xlabel="batch size M", title="$a_M$, mean of $s_B/\\sigma_z$", xscale="log")
shrunk = ", ".join(f"{float(theory.minibatch_factor(M)):.3f} at {M}" for M in (4, 32, 128))
picture.show(
    says="Batches act as a decay on γ, and small ones shrink it more."
    " Left: what batches of M are worth; dots are simulated, dashed lines the leading order."
    f" Right: the factor by which a learned γ is shrunk, {shrunk}.",
    source=generated(draws_a_point=2_000_000),
    name="minibatch-decay",
)

# %% [markdown]
# Where a learned $\gamma$ ends is the bottom of a valley, $-\gamma A r\sigma_t + \tfrac12\gamma^2$:
# part 1 without its constant. Small batches move the valley, not its shape.
#
# <div class="moving" id="moving-batches" data-figure="batches">
# <p class="moving-still">On the web pages of this book this figure moves. The smaller the batch,
# the larger the decay 1/a<sub>M</sub> − 1 on γ, and the further the lowest point of the expected
# loss, a<sub>M</sub>Rσ<sub>t</sub>, lies to the left of the population's, Rσ<sub>t</sub>. Heavy
# tails raise the leading order (ρ + 6)/(8M) of the decay, light tails lower it; for Gaussian data,
# ρ = 0, it is close to the exact decay from a few dozen rows on.</p>
# </div>
#
# ## What torch learns
#
# Independent units, each with its own Gaussian data, start from short random weights and
# $\gamma = 1$. They learn $w$, $\gamma$ and $\beta$ by plain stochastic gradient descent on fresh
# batches. Nothing tells them of $a_M$. All units train at once, with one `BatchNorm1d` behind them: no
# unit touches another.


# %%
class Units(nn.Module):
    """Linear units side by side, each with inputs of its own."""

    def __init__(self, units, inputs):
        super().__init__()
        # short: the direction moves fast at first
        self.weight = nn.Parameter(0.3 * torch.randn(units, inputs))

    def forward(self, x):  # (M, units, inputs)
        return (x * self.weight).sum(dim=2)


def learned_gamma(batches, units, inputs):
    """|gamma| of every unit, averaged over the last quarter of training."""
    torch.manual_seed(seed)
    model = nn.Sequential(Units(units, inputs), nn.BatchNorm1d(units, eps=1e-30))
    late = []

    def observe(step, model):
        if step > 3 * steps // 4:
            late.append(model[1].weight.detach().abs().numpy())

    def falling(step):
        return 0.3 * (1 - step / steps)

    training.fit(model, batches, training.half_squared_error, falling, observe=observe)
    return np.mean(late, axis=0)


mixing = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 0.6]])
slopes, residual_std = torch.tensor([0.5, -0.4, 0.6]), 0.7
best = float((mixing @ slopes).norm())  # R sigma_t


def gaussian_batches(M):
    for _ in range(steps):
        x = torch.randn(M, repetitions, 3) @ mixing
        t = x @ slopes + residual_std * torch.randn(M, repetitions)
        yield x, t


learned = [learned_gamma(gaussian_batches(M), repetitions, 3) / best for M in batch_sizes]

# %% tags=["hide-input"]
followed = [
    check(
        "minibatch",
        f"Torch, Gaussian data, batches of {M}: learned gamma against a_M R sigma_t",
        samples,
        float(theory.minibatch_factor(M)),
        kind="empirical",
        tolerance=0.02,
        role="theorem",
        scale="log",
        source=generated(units=repetitions, steps=steps, batch_size=M),
    )
    for M, samples in zip(batch_sizes, learned)
]
ends = {"first": batch_sizes[0], "last": batch_sizes[-1]}
ends |= {"at_first": followed[0].measured, "at_last": followed[-1].measured}
finding(
    {
        "borne out": "Torch learns just that without being told: γ ends at {at_first:.3f} of the"
        " population's best with batches of {first}, at {at_last:.3f} with batches of {last},"
        " within {tolerance:.0%} of the law at all {count} sizes.",
        "not borne out": "Torch learned something else: γ ended at {at_first:.3f} of the"
        " population's best with batches of {first}, at {at_last:.3f} with batches of {last}, more"
        " than {tolerance:.0%} off the law at all {count} sizes.",
        "mixed": "Torch's γ ended at {at_first:.3f} of the population's best with batches of"
        " {first}, at {at_last:.3f} with batches of {last}; within {tolerance:.0%} of the law, interval"
        " included, at {held} of {count} sizes.",
    },
    *followed,
    **ends,
)

# %% [markdown]
# ## Digits break the assumption
#
# A class label is not a linear function of anything, so real digits do not obey (A). Each of ten
# units learns to tell one class from the rest, from a few principal components scaled to variance
# one. Beside $a_M$ we compute, without any assumption, the $\gamma$ that is best on average: the
# mean of $\langle t\hat z\rangle$ over many batches at the least-squares direction.

# %%
digits = read_out(dataset, digit=0, components=components, rows=digits_used)
# smallest variance first
features = (digits.inputs["train"] / digits.inputs["train"].std(axis=0))[:, ::-1].copy()
targets = np.eye(10)[digits.labels["train"]]
fit = Moments.from_data(features, targets)
best_digits = np.sqrt(fit.r_squared * fit.target_var)  # R sigma_t of each class
outputs = features @ np.linalg.solve(fit.cov, fit.cross)


def best_on_average(M, batches=4000):
    rows = rng.integers(len(features), size=(batches, M))
    z, t = outputs[rows], targets[rows]
    return (t * (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)).mean((0, 1))


# %% tags=["hide-input"]
def digit_batches(M):
    """Every repetition draws its own rows; its ten units, one a class, share them."""
    x, t = torch.from_numpy(features), torch.from_numpy(targets)
    for _ in range(steps):
        rows = torch.randint(len(x), (M, digit_repetitions))
        seen = x[rows][:, :, None].expand(-1, -1, 10, -1)
        yield seen.reshape(M, -1, components), t[rows].reshape(M, -1)


units = 10 * digit_repetitions
by_class = [
    learned_gamma(digit_batches(M), units, components).reshape(-1, 10) / best_digits
    for M in batch_sizes
]
learned_digits = [samples.mean(axis=1) for samples in by_class]
no_assumption = [float((best_on_average(M) / best_digits).mean()) for M in batch_sizes]


def digits_source(**conditions):
    known = {"components": components, "repetitions": digit_repetitions, "steps": steps}
    return Source(dataset, len(features), [seed], known | conditions)


picture = Picture(1, 2, width=7.4, height=3.5, sharey=True)
left, right = picture
for panel in picture:
    panel.line(many, theory.minibatch_factor(many), "law for Gaussian data", "theory")
left.points(sizes, np.transpose(learned), "learned by torch", "batch", scale="log")
left.set(title="Gaussian data", ylabel="learned γ over $R\\sigma_t$")
right.points(sizes, np.transpose(learned_digits), "learned by torch", "batch", scale="log")
right.dots(sizes, no_assumption, "best γ, no assumption", "signal", "_", ms=16, mew=2)
right.set(title="digits, one class against the rest")
for panel in picture:
    panel.set(xscale="log", xlabel="batch size M", legend={"loc": "lower right"})
    panel.ax.set_xticks(sizes, map(str, sizes))
    panel.ax.minorticks_off()
picture.show(
    says="On Gaussian data a learned γ follows the law for batches; digits shrink it more."
    " Left: on Gaussian data the learned γ follows the law. Right: on digits it is shrunk more,"
    " to about where the average without assumption lies; that one is taken at the least-squares"
    f" direction, and with batches of {sizes[0]} the two are {learned_digits[0].mean():.3f} and"
    f" {no_assumption[0]:.3f}. Repetitions stand for seeds.",
    source=f"left: {generated(units=repetitions, steps=steps)}; right: {digits_source()}",
    name="minibatch-learned",
)
kurtosis = stats.kurtosis(outputs, axis=0)
sentence(
    "The excess kurtosis of the ten pre-activations goes from"
    f" {kurtosis.min():.2f} to {kurtosis.max():.2f}; a Gaussian's is 0."
)

# %% tags=["hide-input"]
averaged = []
for index in (1, -1):
    M, samples = batch_sizes[index], learned_digits[index]
    at = digits_source(batch_size=M)
    check(
        "minibatch",
        f"Torch on {on}, batches of {M}: learned gamma over R sigma_t, mean of ten classes,"
        " is below 1",
        samples,
        1.0,
        kind="empirical",
        relation="below",
        role="assumption",
        scale="log",
        source=at,
    )
    check(
        "minibatch",
        f"Torch on {on}, batches of {M}: learned gamma over R sigma_t against a_M of Gaussian data",
        samples,
        float(theory.minibatch_factor(M)),
        kind="empirical",
        tolerance=0.02,
        role="assumption",
        scale="log",
        source=at,
    )
    averaged.append(
        check(
            "minibatch",
            f"Torch on {on}, batches of {M}: learned gamma over R sigma_t against the best"
            " gamma without assumption",
            samples,
            no_assumption[index],
            kind="empirical",
            tolerance=0.02,
            role="assumption",
            scale="log",
            source=at,
        )
    )
of_digits = (
    " With batches of {M}, γ ends at {learned:.3f} of the population's best; the law for Gaussian"
    " data says {gaussian:.3f}, the average without assumption {average:.3f}."
)
finding(
    {
        "borne out": "Digits break the law's assumption, and their γ is where an average over"
        " batches that needs none puts it, within {tolerance:.0%} with batches of {M} and {last}."
        + of_digits,
        "not borne out": "Digits break the law's assumption, and their γ is not where an average"
        " over batches that needs none puts it." + of_digits,
        "mixed": "Digits break the law's assumption; that their γ is where an average over batches"
        " that needs none puts it, within {tolerance:.0%}, is borne out in {held} of {count} cases."
        + of_digits,
    },
    *averaged,
    M=batch_sizes[1],
    last=batch_sizes[-1],
    learned=averaged[0].measured,
    gaussian=float(theory.minibatch_factor(batch_sizes[1])),
    average=no_assumption[1],
)

# %% [markdown]
# ## What it means for your network
#
# - Batch size is a regularizer with BN, in the linear case a strong one. At batches of 32 it is
#   worth a decay of a few per cent on $\gamma$; the usual `weight_decay` is $10^{-4}$. If you
#   change the batch size, you change it.
# - $M$ is the number of rows that share one mean and one standard deviation. On several devices
#   that is the batch of *one* device, unless you use `SyncBatchNorm`.
# - The effect sits in the gap between training and evaluation. While it trains, such a network
#   shows no rate: at rest $\partial J_B/\partial\gamma$ is zero on average over batches, and so is
#   the mean of the rates that a meter reads off them. In evaluation mode the statistics are the
#   population's, and $\gamma$ is too small for them: the outputs are those of a network without BN
#   that pays the rate $1/a_M - 1$ ({prf:ref}`thm-stationarity`).
# - Do not carry the number over to a deep network with cross-entropy: {doc}`batch-size` measures
#   how far it goes there.
#
# ## What we learned

# %% tags=["hide-input"]
first, second, last = batch_sizes[0], batch_sizes[1], batch_sizes[-1]
by_law = {M: float(theory.minibatch_factor(M)) for M in (first, second, last)}
sentence(
    f"On Gaussian data the γ that torch learned was {followed[0].measured:.3f} of the population's best"
    f" with batches of {first} and {followed[-1].measured:.3f} with batches of {last}; the law says"
    f" {by_law[first]:.3f} and {by_law[last]:.3f}, a decay on γ of"
    f" {float(theory.minibatch_decay(first)):.1%} and {float(theory.minibatch_decay(last)):.1%}. On"
    f" {on}, which breaks the assumption, it was {averaged[0].measured:.3f} with batches of {second}"
    f" and {averaged[-1].measured:.3f} with batches of {last}, where the law has {by_law[second]:.3f}"
    f" and {by_law[last]:.3f}, and an average over batches that assumes nothing"
    f" {averaged[0].predicted:.3f} and {averaged[-1].predicted:.3f}."
)

# %% [markdown]
# - A batch's standard deviation is on average too small, by the factor $a_M$ for Gaussian data.
# - For least squares on Gaussian data mini-batch BN *is* population BN with weight decay
#   $1/a_M - 1$ on $\gamma$, about $3/(4M)$.
# - A freely learned $\gamma$ ends at $a_M R\sigma_t$, and there the population's rate is that
#   decay. Whoever sets the batch size sets it.
# - For other distributions the leading term is $(\rho + 2)/(8M) + 1/(2M)$, as long as
#   $\mathbb E[t \mid z]$ is linear in $z$. For digits it is not.
#
# ## Where it stops
#
# - Least squares only. For other smooth losses {prf:ref}`cor-any-loss` has the leading order, and its sign is
#   free.
# - Labels are not linear in a pre-activation. On digits $a_M$ is a guide; what holds without
#   assumption needs the data.
# - The start, step size, number of steps and of repetitions were settled after looking at results.
#   From longer initial weights, or with smaller steps, $\gamma$ on digits was still far below its
#   limit when training ended, and with fewer repetitions or steps the interval at the smallest
#   batch was too wide to decide. The agreement is about where training ends, not how soon.
# - Where $A$ depends on $w$, mini-batches also shift the direction of $w$ a little: towards
#   pre-activations with light tails.
# - The law is about the expected loss. With $M = 2$ a normalized batch is always $\pm\gamma$: no
#   single batch has a gradient in $w$, so stochastic descent cannot follow the expectation. At
#   $M = 3$ the mean of the gradients is right and their variance infinite; it is finite from $M = 4$ on.
# - $(\gamma, w)$ with $\gamma = 0$ and $r = 0$ is stationary too, and no minimum.
# - torch stores the *unbiased* variance in `running_var`, so evaluation sees the population's on
#   average, as assumed here. One that stored the batch's biased variance would enlarge the outputs
#   by about $1/(2M)$.
#
# ## Exercises
#
# **1. Derive.** Suppose BN divided by the *unbiased* standard deviation of the batch, with $M - 1$
# in place of $M$. What would batches of $M$ be worth as a decay on $\gamma$? Which of the two
# causes in the leading term is gone?
#
# :::{dropdown} Solution
# With $c^2 = (M - 1)/M$ every normalized batch is $c\hat z$, with mean square $c^2$, and part 1
# becomes $\mathbb E J_B = C - \gamma cA\,r\sigma_t + \tfrac12 c^2\gamma^2$. It is least at
# $\gamma = (A/c)\,R\sigma_t$, and in evaluation mode, where the statistics are the population's,
# $\lambda = R\sigma_t/\gamma - 1 = c/A - 1$. As $c = 1 - \frac1{2M} + O(M^{-2})$, the leading term
# is $(\rho + 6)/(8M) - 1/(2M) = (\rho + 2)/(8M)$: what is left is the scatter.
# :::
#
# **2. Run.** Set `batch_sizes = [2, 3, 4, 8]`. At which sizes will torch's $\gamma$ on Gaussian
# data follow $a_M$, and where does it end at the one where it does not?
#
# :::{dropdown} Solution
# From four on. At three it stays a few per cent short: such batches are so noisy that the direction
# has not settled after 2,000 steps; with 10,000 it comes nearer. At two the normalized values are
# $\pm1$ whatever $w$ is, so $w$ gets no gradient and keeps the direction it started with. Only
# $\gamma$ learns: it ends at $a_2\,|r|\sigma_t$ with the correlation $r$ of a random direction, on
# average far below $a_2 R\sigma_t$, where $a_2 = 1/\sqrt\pi$.
# :::
