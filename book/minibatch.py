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
# Batch normalization (BN) divides by the standard deviation of the *batch*. Until now that was as
# good as the population's. It is not: in a small batch it is a random number, and on average it is too
# small. This alone regularizes. For least squares on Gaussian data we find the exact law:
# training with batches of $M$ is training with the whole population and a weight decay on $\gamma$ that
# depends on $M$ and on nothing else. It is the rate that a freely learned $\gamma$ keeps, after
# {doc}`stationarity <stationarity>` seemed to leave it none.

# %% tags=["parameters"]
seed = 0  # of data, batches and initial weights
dataset = "mnist-5k"  # data set of the real read-out
batch_sizes = [4, 8, 16, 32]  # M
repetitions = 64  # independent units trained side by side on Gaussian data
digit_repetitions = 5  # independent sequences of batches of digits
components = 10  # principal components of the digits used as inputs
steps = 2000  # of stochastic gradient descent

# %%
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from scipy import integrate, stats
from torch import nn

from bnlib import data, theory
from companion import figures, page, statistics

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(seed)

# %% [markdown]
# ## A small batch looks narrower than it is
#
# Draw $M$ numbers from a standard normal distribution and take their standard deviation, as BN does:
# squares about the batch's own mean, divided by $M$. Do it many times.

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.2)
spread = np.linspace(0, 2, 400)
for M, key in ((4, "noise"), (16, "signal"), (64, "batch")):
    draws = rng.standard_normal((20_000, M)).std(axis=1)
    factor = float(theory.minibatch_factor(M))
    density = stats.chi.pdf(spread * np.sqrt(M), M - 1) * np.sqrt(M)
    ax.hist(draws, bins=80, range=(0, 2), density=True, color=figures.COLORS[key], alpha=0.3)
    ax.plot(spread, density, color=figures.COLORS[key], label=f"M = {M}, mean {factor:.3f}")
    ax.plot([factor] * 2, [0, np.interp(factor, spread, density)], color=figures.COLORS[key], ls="--", lw=1.3)
ax.legend()
ax.set_xlim(0, 2)
ax.set_xlabel("standard deviation of a batch, population's = 1")
ax.set_ylabel("density")
figures.show(
    fig,
    alt="Histograms of a batch's standard deviation for batches of 4, 16 and 64: the smaller the batch, the wider and the further left; the mean is "
    + ", ".join(f"{float(theory.minibatch_factor(M)):.3f} for {M}" for M in (4, 16, 64))
    + ".",
    caption="The standard deviation of a batch scatters, and its mean (dashed) lies below the population's. BN divides by it all the same.",
    source=f"20,000 batches of Gaussian numbers a size, seed {seed}; curves closed form",
)

# %% [markdown]
# Why does that matter? BN scales each batch to have variance one *exactly*. Whatever the batch's true spread, the
# output has the same size. So if a batch happens to be narrow, its output is blown up, and does not match the
# target's spread any more. To be right on average the unit bets on less: it learns a smaller $\gamma$.
#
# ## The theorem
#
# :::{prf:theorem} Batch size is a decay on gamma
# :label: thm-minibatch
# Least squares with one BN unit, $\varepsilon = 0$. Batches are $M \ge 2$ independent draws of $(x, t)$ with finite
# second moments. Let $z = w^\top x$
# have variance $\sigma_z^2 > 0$ and no atoms, $r = \operatorname{corr}(z, t)$, and let $s_B$ be the batch's biased
# standard deviation of $z$. Assume
#
# **(A)** $\mathbb E[t \mid z]$ is a linear function of $z$.
#
# 1. *(Expected loss.)* With $A = \mathbb E s_B/\sigma_z$ and $C = \tfrac12(\sigma_t^2 + (\mathbb E t - \beta)^2)$,
#
#    $$\mathbb E J_B = C - \gamma A\, r\sigma_t + \tfrac12\gamma^2, \qquad J = C - \gamma\, r\sigma_t + \tfrac12\gamma^2$$
#
#    for the batch and for the population. So, at every $w$,
#
#    $$\mathbb E J_B - C = A\,\Big[J - C + \tfrac12\Big(\tfrac1A - 1\Big)\gamma^2\Big] .$$
#
# 2. *(Gaussian data: exact.)* If $(x, t)$ is jointly Gaussian, (A) holds for every $w$, and $A$ is the same for all:
#
#    $$a_M = \sqrt{\tfrac2M}\,\frac{\Gamma(M/2)}{\Gamma((M-1)/2)} = 1 - \frac{3}{4M} + O(M^{-2}) .$$
#
#    In $(w, \gamma)$ mini-batch BN has then the same objective, up to the factor $a_M$, as population BN with
#    weight decay $1/a_M - 1$ on $\gamma$. If $R > 0$ its minimizers have $r = R$,
#
#    $$\gamma = a_M R\,\sigma_t, \qquad \lambda = \frac{1}{a_M} - 1 \quad\text{(the rate on the population).}$$
#
# 3. *(Any distribution: leading order.)* If $z$ has a finite sixth moment and excess kurtosis $\rho$,
#
#    $$\frac1A - 1 = \frac{\rho + 2}{8M} + \frac{1}{2M} + O(M^{-3/2}), \qquad A = 1 - \frac{\rho + 6}{8M} + \cdots$$
#
# :::
#
# :::{dropdown} Proof
# Write $\langle\cdot\rangle$ for the mean over the batch and $\hat z = (z - \langle z\rangle)/s_B$. As $z$ has no
# atoms, $s_B > 0$ almost surely.
#
# **1.** $\langle\hat z\rangle = 0$ and $\langle\hat z^2\rangle = 1$ in every batch, so
#
# $$J_B = \tfrac12\langle(t - \beta - \gamma\hat z)^2\rangle = \tfrac12\langle(t - \beta)^2\rangle - \gamma\,\langle t\,\hat z\rangle + \tfrac12\gamma^2 .$$
#
# The first term has expectation $C$. For the second, (A) means
# $t = \mathbb E t + (r\sigma_t/\sigma_z)(z - \mathbb E z) + e$ with $\mathbb E[e \mid z] = 0$: a linear conditional
# expectation has the
# slope of the least-squares line. $\langle z\hat z\rangle = s_B$ and constants drop out, so
# $\langle t\hat z\rangle = (r\sigma_t/\sigma_z)\, s_B + \langle e\,\hat z\rangle$. The draws are
# independent, so given all $z$ of the batch each $e$ has mean 0, while $\hat z$ is a function of them, with
# $|\hat z| \le \sqrt M$: $\mathbb E\langle e\,\hat z\rangle = 0$.
# Hence $\mathbb E\langle t\,\hat z\rangle = r\sigma_t A$. The population's $J$ is the same calculation with
# $\mathbb E$ for $\langle\cdot\rangle$. The last line: $A$ times the bracket is
# $-\gamma A r\sigma_t + \frac A2\gamma^2 + \frac12(1 - A)\gamma^2$.
#
# **2.** $(z, t)$ is jointly Gaussian, so (A) holds. $M s_B^2/\sigma_z^2$ has the $\chi^2$ distribution with
# $k = M - 1$ degrees of freedom, whose root has mean
#
# $$\int_0^\infty y^{1/2}\,\frac{y^{k/2 - 1} e^{-y/2}}{2^{k/2}\,\Gamma(k/2)}\,\mathrm dy = \frac{2^{(k+1)/2}\,\Gamma((k+1)/2)}{2^{k/2}\,\Gamma(k/2)} = \sqrt2\,\frac{\Gamma(M/2)}{\Gamma((M-1)/2)} .$$
#
# Divide by $\sqrt M$. With $\Gamma(y + \frac12)/\Gamma(y) = \sqrt y\,(1 - \frac1{8y} + O(y^{-2}))$ at
# $y = \frac{M-1}2$,
# $a_M = \sqrt{1 - \frac1M}\,(1 - \frac1{4M} + O(M^{-2})) = 1 - \frac3{4M} + O(M^{-2})$. For $\gamma > 0$ the
# objective $-\gamma a_M r\sigma_t + \frac12\gamma^2$ falls in $r$, whose maximum is $R$, and is then least at
# $\gamma = a_M R\sigma_t$. There $\lambda = -\frac1\gamma\frac{\partial J}{\partial\gamma} = \frac{R\sigma_t}{\gamma} - 1$ ({prf:ref}`thm-rate`).
#
# **3.** Let $\sigma_z = 1$, $\mathbb E z = 0$ and
# $\delta = s_B^2 - 1 = \langle z^2 - 1\rangle - \langle z\rangle^2$. Then $\mathbb E\delta = -\frac1M$, and as
# $\frac M{M-1}s_B^2$ has variance $\frac{2}{M-1} + \frac\rho M$,
#
# $$\mathbb E\delta^2 = \Big(\frac{M-1}{M}\Big)^2\Big(\frac{2}{M-1} + \frac\rho M\Big) + \frac1{M^2} = \frac{\rho + 2}{M} + O(M^{-2}) .$$
#
# For $y = \sqrt{1 + \delta} \ge 0$ one has, by multiplying out,
#
# $$y = 1 + \frac\delta2 - \frac{\delta^2}8 + \delta^3\,\frac{y + 3}{8(y + 1)^3}, \qquad 0 < \frac{y + 3}{8(y + 1)^3} \le \frac38 .$$
#
# $\mathbb E|\delta|^3 = O(M^{-3/2})$: means of $M$ independent variables of mean 0 with finite third absolute
# moments, here $z^2 - 1$, have third absolute moments of
# that order (Marcinkiewicz–Zygmund), and $\mathbb E\langle z\rangle^6 = O(M^{-3})$. So
# $A = \mathbb E y = 1 - \frac1{2M} - \frac{\rho + 2}{8M} + O(M^{-3/2})$, and $\frac1A - 1$ follows. $\square$
# :::
#
# The two parts of the leading term have two causes: $1/(2M)$, because the batch's variance is taken about the
# batch's own mean;
# $(\rho + 2)/(8M)$, because it scatters and the root is concave. Heavy tails make it scatter
# more. {cite:t}`luo2018` have described the regularization of BN by a "gamma decay" before.
#
# **Check it in five lines.** First the integral for $a_M$ by quadrature, and the rate that
# {prf:ref}`thm-least-squares` gives for $\gamma = a_M R\sigma_t$. Change the data.

# %%
moments = theory.Moments(
    [0.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], [1.0, 0.2], 1.5
)
M = np.array([2, 3, 4, 8, 32, 256])
by_quadrature = [
    integrate.quad(lambda s, m: s * stats.chi.pdf(s, m - 1), 0, np.inf, args=(m,))[0]
    / np.sqrt(m)
    for m in M
]
page.check(
    "minibatch",
    "Mean standard deviation of a Gaussian batch: closed form a_M "
    "against quadrature",
    theory.minibatch_factor(M),
    by_quadrature,
    tolerance=1e-8,
)
gammas = theory.minibatch_factor(M) * np.sqrt(
    moments.r_squared * moments.target_var
)
population_rates = [
    float(theory.least_squares(moments, gamma).rate) for gamma in gammas
]
page.check(
    "minibatch",
    "Least squares: the population rate at gamma = a_M R sigma_t "
    "against the weight decay 1/a_M - 1",
    population_rates,
    theory.minibatch_decay(M),
    tolerance=1e-12,
)

# %% [markdown]
# Assumption (A) is what the proof turns on:
# $\mathbb E\langle t\hat z\rangle = (r\sigma_t/\sigma_z)\,\mathbb E s_B$. With batches of two
# and a short list of values every batch can be written down in fractions. The noise $e$ may depend on $z$, as long
# as its mean does
# not. If $\mathbb E[t \mid z]$ is bent, the two sides differ.

# %%
def both_sides(
    regression, values=(Fraction(-1), Fraction(0), Fraction(3)), noise=(-1, 1)
):
    """E<t z_hat> and (r sigma_t / sigma_z) E s_B over all batches of two."""
    draws = [
        (z, regression(z) + sign * (1 + z**2))
        for z in values
        for sign in noise
    ]
    mean = lambda numbers: sum(numbers) / len(numbers)
    mean_z = mean([z for z, _ in draws])
    slope = mean([t * (z - mean_z) for z, t in draws]) / mean(
        [(z - mean_z) ** 2 for z, _ in draws]
    )
    batches = list(product(draws, repeat=2))
    width = [
        abs(z1 - z2) / 2 for (z1, _), (z2, _) in batches
    ]  # s_B of two values
    product_of = [
        (t1 - t2) * ((z1 > z2) - (z1 < z2)) / 2
        for (z1, t1), (z2, t2) in batches
    ]
    return mean(product_of), slope * mean(width)


page.check(
    "minibatch",
    "All batches of two, noise that depends on z, E[t|z] linear: both "
    "sides of the key identity in fractions",
    *both_sides(lambda z: 2 + Fraction(5, 7) * z),
    kind="exact",
)
bent = both_sides(lambda z: z**2)
page.check(
    "minibatch",
    "All batches of two, E[t|z] bent: the two sides of the key identity "
    "differ, so the assumption is needed",
    bent[0] == bent[1],
    False,
    kind="exact",
)

# %% [markdown]
# ## Decay against batch size
#
# On the left the decay of theorem and leading order. The points are
# averages over batches of Gaussian, uniform and Laplace numbers: lighter or heavier tails move the line as $\rho$
# says.

# %%
draws = {
    "uniform": (
        lambda size: rng.uniform(-np.sqrt(3), np.sqrt(3), size),
        -1.2,
        "signal",
    ),
    "Gaussian": (rng.standard_normal, 0.0, "batch"),
    "Laplace": (
        lambda size: rng.laplace(0, np.sqrt(0.5), size),
        3.0,
        "noise",
    ),
}
sizes = np.array([4, 8, 16, 32, 64, 128])
simulated = {
    name: [
        1 / draw((2_000_000 // M, M)).std(axis=1).mean() - 1 for M in sizes
    ]
    for name, (draw, _, _) in draws.items()
}

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.5)
many = np.arange(3, 200)
for name, (_, kurtosis, key) in draws.items():
    axes[0].plot(
        many, theory.minibatch_decay(many, excess_kurtosis=kurtosis), color=figures.COLORS[key], lw=1.2, ls="--"
    )
    axes[0].plot(sizes, simulated[name], "o", color=figures.COLORS[key], label=f"{name}, ρ = {kurtosis:g}")
axes[0].plot(many, theory.minibatch_decay(many), color=figures.COLORS["batch"], label="exact, Gaussian")
axes[0].plot([], [], color=figures.COLORS["none"], lw=1.2, ls="--", label="leading order")
axes[0].set_xscale("log")
axes[0].set_yscale("log")
axes[0].set_ylabel("decay on γ, 1/A − 1")
axes[0].legend(fontsize=9)
axes[1].plot(many, theory.minibatch_factor(many), color=figures.COLORS["batch"])
for M in (4, 32, 128):
    factor = float(theory.minibatch_factor(M))
    axes[1].plot(M, factor, "o", color=figures.COLORS["theory"])
    axes[1].annotate(
        f"M = {M}: {factor:.4f}",
        (M, factor),
        xytext=(-6, -14),
        textcoords="offset points",
        ha="left" if M == 4 else "right" if M > 64 else "center",
    )
axes[1].set_xscale("log")
axes[1].set_ylabel("a_M, mean of s_B / σ")
for ax in axes:
    ax.set_xlabel("batch size M")
figures.show(
    fig,
    alt="Left: the decay on gamma falls like one over the batch size, for Gaussian data from "
    f"{float(theory.minibatch_decay(4)):.4f} at 4 to {float(theory.minibatch_decay(32)):.5f} at 32; heavier tails lie higher. Right: a_M rises to one.",
    caption="Left: a batch of M is worth a decay of about 3/(4M); dots are simulated, dashed lines the leading order. Right: the factor by which a learned γ is shrunk.",
    source=f"2,000,000 draws a point, seed {seed}; lines closed form",
)

# %% [markdown]
# Where a learned $\gamma$ ends is the bottom of a valley: $-\gamma A r\sigma_t + \tfrac12\gamma^2$, part 1 without
# its constant. Small
# batches move the valley, not its shape.
#
# <div class="moving" id="moving-batches" data-figure="batches">
# <p class="moving-still">On the web pages of this book this figure moves. The smaller the batch, the larger the decay
# 1/a<sub>M</sub> − 1 on γ, and the further the lowest point of the expected loss, a<sub>M</sub>Rσ<sub>t</sub>, lies
# to the
# left of the population's, Rσ<sub>t</sub>. Heavy tails raise the leading order (ρ + 6)/(8M) of the decay, light tails
# lower it; for Gaussian data, ρ = 0, it is close to the exact decay from a few dozen rows on.</p>
# </div>

# %% [markdown]
# So batches of 32 amount to a weight decay of a few per cent on $\gamma$. That is far more than the usual
# $10^{-4}$, and it is there without being asked for.
#
# ## What torch learns
#
# Independent units, each with its own Gaussian data, start from short random weights and $\gamma = 1$. They
# learn $w$, $\gamma$ and $\beta$ by plain stochastic gradient descent on fresh batches, through one
# `BatchNorm1d`: every channel of it is one repetition. Nothing tells them of $a_M$.

# %%
def learned_gamma(draw_batch, units, inputs, steps, learning_rate=0.3):
    """|gamma| of every unit, averaged over the last quarter of training."""
    torch.manual_seed(seed)
    w = (
        0.3 * torch.randn(units, inputs)
    ).requires_grad_()  # short: the direction moves fast at first
    bn = nn.BatchNorm1d(units, eps=1e-30)
    optimizer = torch.optim.SGD([w, *bn.parameters()], lr=learning_rate)
    total, counted = torch.zeros(units), 0
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        x, t = draw_batch()  # (M, units, inputs), (M, units)
        z = torch.einsum("mud,ud->mu", x, w)
        loss = (t - bn(z)).square().sum(
            dim=1
        ).mean() / 2  # units do not touch each other
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 3 * steps // 4:
            total += bn.weight.detach().abs()
            counted += 1
    return (total / counted).numpy()


mixing = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 0.6]])
slopes, residual_std = torch.tensor([0.5, -0.4, 0.6]), 0.7
best = float((mixing @ slopes).norm())  # R sigma_t


def gaussian_batches(M):
    def draw():
        x = torch.randn(M, repetitions, 3) @ mixing
        return x, x @ slopes + residual_std * torch.randn(M, repetitions)

    return draw


learned = np.array(
    [
        learned_gamma(gaussian_batches(M), repetitions, 3, steps) / best
        for M in batch_sizes
    ]
)

# %% [markdown]
# Real digits do not obey (A): a class label is not a linear function of anything. Each of ten units learns to tell
# one class from the rest, from a few principal components scaled to variance one. Beside $a_M$ we also compute,
# without any
# assumption, the $\gamma$ that is best on average: the mean of $\langle t\hat z\rangle$ over many batches at the
# least-squares direction.

# %%
digits = data.load(dataset)
images = digits.train.images.astype(np.float64)
images -= images.mean(axis=0)
variances, directions = np.linalg.eigh(images.T @ images / len(images))
features = (
    images @ directions[:, -components:] / np.sqrt(variances[-components:])
)
targets = np.eye(10)[digits.train.labels]
fit = theory.Moments.from_data(features, targets)
best_digits = np.sqrt(
    fit.r_squared * fit.target_var
)  # R sigma_t, a class an entry
outputs = features @ np.linalg.solve(fit.cov, fit.cross)
kurtosis = stats.kurtosis(outputs, axis=0)
print("excess kurtosis of the ten pre-activations:", kurtosis.round(2))
features_torch, targets_torch = (
    torch.from_numpy(features),
    torch.from_numpy(targets),
)


def digit_batches(M):
    def draw():
        rows = torch.randint(len(features), (M, digit_repetitions))
        x = features_torch[rows][:, :, None].expand(-1, -1, 10, -1)
        return x.reshape(M, -1, components), targets_torch[rows].reshape(
            M, -1
        )

    return draw


def best_gamma(M, batches=4000):
    rows = rng.integers(len(features), size=(batches, M))
    z, t = outputs[rows], targets[rows]
    centred = z - z.mean(axis=1, keepdims=True)
    return ((t * centred).mean(axis=1) / z.std(axis=1)).mean(axis=0)


learned_digits = []
for M in batch_sizes:
    gammas = learned_gamma(
        digit_batches(M), 10 * digit_repetitions, components, steps
    ).reshape(digit_repetitions, 10)
    learned_digits.append((gammas / best_digits).mean(axis=1))
learned_digits = np.array(learned_digits)  # (batch sizes, repetitions)
no_assumption = [
    float((best_gamma(M) / best_digits).mean()) for M in batch_sizes
]

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.5, sharey=True)
for ax, samples, title in (
    (axes[0], learned, "Gaussian data"),
    (axes[1], learned_digits, "digits, one class against the rest"),
):
    ax.plot(many, theory.minibatch_factor(many), color=figures.COLORS["theory"], label="a_M, no fit")
    figures.band(ax, batch_sizes, samples.T, "learned by torch", figures.COLORS["batch"])
    ax.set_title(title)
    ax.set_xscale("log")
    ax.set_xlabel("batch size M")
axes[1].plot(
    batch_sizes,
    no_assumption,
    "_",
    markersize=16,
    markeredgewidth=2,
    color=figures.COLORS["signal"],
    label="best γ, no assumption",
)
axes[0].set_ylabel("γ / (R σ_t)")
axes[0].legend(loc="lower right")
axes[1].legend(loc="lower right")
figures.show(
    fig,
    alt="Learned gamma over R sigma_t against batch size. Gaussian data: "
    + ", ".join(f"{m:.3f} at {M}" for M, m in zip(batch_sizes, learned.mean(axis=1)))
    + ". Digits: "
    + ", ".join(f"{m:.3f} at {M}" for M, m in zip(batch_sizes, learned_digits.mean(axis=1)))
    + ".",
    caption="Left: on Gaussian data the learned γ follows a_M. Right: on digits it is shrunk, too, but not by a_M exactly: labels break the assumption. "
    "Bands: 95 % interval over repetitions.",
    source=f"left: {repetitions} units a size, fresh batches; right: {digits.title}, {len(features):,} training digits, {components} components, "
    f"{digit_repetitions} sequences of batches; seed {seed}",
)

# %%
for M, samples in zip(batch_sizes, learned):
    page.check(
        "minibatch",
        f"Torch, Gaussian data, batches of {M}: learned gamma against "
        "a_M R sigma_t",
        samples,
        float(theory.minibatch_factor(M)),
        kind="empirical",
        tolerance=0.02,
    )

# %%
for index in (1, -1):
    M, samples = batch_sizes[index], learned_digits[index]
    page.check(
        "minibatch",
        f"Torch on MNIST digits, batches of {M}: learned gamma over R "
        "sigma_t, mean of ten classes, is below 1",
        samples,
        1.0,
        kind="empirical",
        relation="below",
    )
    page.check(
        "minibatch",
        f"Torch on MNIST digits, batches of {M}: learned gamma over R "
        "sigma_t against a_M of Gaussian data",
        samples,
        float(theory.minibatch_factor(M)),
        kind="empirical",
        tolerance=0.02,
    )
    page.check(
        "minibatch",
        f"Torch on MNIST digits, batches of {M}: learned gamma over R "
        "sigma_t against the best gamma without assumption",
        samples,
        no_assumption[index],
        kind="empirical",
        tolerance=0.02,
    )

# %% [markdown]
# ## What it means
#
# While it trains, such a network shows no rate: averaged over batches, $\partial J_B/\partial\gamma$ is zero at
# rest, and so is
# the mean of the rates that a meter reads off the batches. Put into evaluation mode it uses population statistics,
# and its
# $\gamma$ is too small for them: its outputs are those of a network without BN that pays the rate
# $1/a_M - 1$ ({prf:ref}`thm-stationarity`). The regularization of small batches sits in the gap between training and
# evaluation.
#
# ## What we learned
#
# - A batch's standard deviation is on average too small, by the factor $a_M$ for Gaussian data.
# - For least squares on Gaussian data mini-batch BN *is* population BN with weight decay $1/a_M - 1$ on $\gamma$:
# about $3/(4M)$.
# - A freely learned $\gamma$ ends at $a_M R\sigma_t$, and the population rate at that decay. The user sets it by
# the batch size.
# - For other distributions the leading term is $(\rho + 2)/(8M) + 1/(2M)$, as long as $\mathbb E[t \mid z]$ is
# linear in $z$.
#
# ## Where it stops
#
# - Least squares only. For cross-entropy the effect is there, but no such law is proven here.
# - Labels are not linear in a pre-activation. On digits $a_M$ is a guide; what holds without assumption needs the
# data.
# - The start, step size, number of steps and of repetitions were settled after looking at results. From longer
# initial weights, or with
#   smaller steps, $\gamma$ on digits was still far below its limit when training ended, and with fewer repetitions
#   or steps the
#   interval at the smallest batch was too wide to decide. The agreement is about where training ends, not how soon.
# - Where $A$ depends on $w$, mini-batches also shift the direction of $w$ a little: towards pre-activations with
# light tails.
# - The law is about the expected loss. With $M = 2$ a normalized batch is always $\pm\gamma$: no single batch has a
# gradient in $w$,
#   so stochastic descent cannot follow the expectation. From $M = 3$ on it can.
# - torch stores the *unbiased* variance in `running_var`, so evaluation sees the population's on average, as
# assumed here. One that stored the batch's biased
#   variance would enlarge the outputs by about $1/(2M)$.
