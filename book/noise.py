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
# # Noisy inputs: signal against noise
#
# Builds on {doc}`constraint` and {doc}`least-squares`.
# After it you can say what noise does to each direction of the weights, and to the rate.
#
# Every input is partly noise. Batch normalization (BN) cannot tell noise from signal: it fixes the
# variance of a unit's output, whatever that variance is made of. So signal and noise compete for one
# budget. What does the rate $\lambda$ say about how the competition stands?
#
# For least squares we can follow it in closed form, from no noise to nothing but noise. The rate
# falls as the noise grows, the weights turn away from directions that drown, and BN holds on to
# weights that plain training on noise would give up.

# %% tags=["parameters"]
seed = 3  # of generated samples
gamma = 0.6  # BN's scale, in units of the target's standard deviation
input_vars = [4.0, 1.0, 0.2, 0.04]  # s_i, positive: variance a direction
explained = [0.3, 0.25, 0.2, 0.15]  # R_i^2, share each explains
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]  # of ordinary noise draws

# %% tags=["hide-input"]
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from bnlib import data, meter, models, theory, training
from bnlib.moments import Moments
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding, sentence
from companion.records import Source

s, R_squared = np.array(input_vars), np.array(explained)
moments = Moments(0 * s, np.diag(s), np.sqrt(R_squared * s), 1.0)
noise_stds = np.geomspace(0.02, 30, 300)
path = theory.noise_path(moments, gamma, noise_stds)
four = Source(conditions={"gamma": gamma, "input_variances": input_vars, "explained": explained})

# %% [markdown]
# ## In plain words
#
# Add to the inputs $x$ noise $n$ that has nothing to do with inputs and target, of mean 0 and
# covariance $N$. The covariance of the inputs becomes $\Sigma + N$. Their covariance with the target
# stays $c$: noise explains nothing. The constraint becomes $v'(\Sigma + N)v = \gamma^2$. The ellipse
# shrinks, most where it was longest: in the directions in which the data vary little. There the
# noise weighs most.

# %% tags=["hide-input"]
tilt = np.radians(12)
rotation = np.array([[-np.sin(tilt), np.cos(tilt)], [np.cos(tilt), np.sin(tilt)]])
flat_cov = rotation @ np.diag([1.6, 0.12]) @ rotation.T
flat = Moments([0, 0], flat_cov, rotation @ [0.75, 0.24], 1.0)
turns = np.linspace(0, 2 * np.pi, 300)
levels = np.geomspace(0.01, 30, 200)
without = [np.linalg.solve(flat.cov + level**2 * np.eye(2), flat.cross) for level in levels]
picture = Picture(height=3.1)
(panel,) = picture
for level, width in zip((0.0, 0.3, 0.8, 2.0), (2.2, 1.8, 1.4, 1.0)):
    noisy = flat.with_noise(noise_std=level)
    roots, U = np.linalg.eigh(noisy.cov)
    ellipse = gamma * (U / np.sqrt(roots)) @ [np.cos(turns), np.sin(turns)]
    panel.line(*ellipse, color="batch", words=False, linewidth=width, alpha=0.75)
    v = theory.least_squares(noisy, gamma).weights
    panel.dots(*v, color="batch", words=False, markersize=7)
    leftmost = ellipse[:, ellipse[0].argmin()]
    panel.ax.annotate(f"σ = {level:g}", leftmost, (4, -4), textcoords="offset points", fontsize=9)
    panel.note(
        f"at σ = {level:g} an ellipse with half axes {gamma / np.sqrt(roots[0]):.2f} and"
        f" {gamma / np.sqrt(roots[1]):.2f}, BN's minimizer on it at ({v[0]:.2f}, {v[1]:.2f})"
    )
panel.line(
    *theory.noise_path(flat, gamma, levels).weights.T,
    color="batch",
    style=":",
    words=False,
    linewidth=1,
)
panel.line(*np.transpose(without), color="none", style="--", words=False, linewidth=1.6)
panel.note(f"without BN the fit runs from ({without[0][0]:.2f}, {without[0][1]:.2f}) to the origin")
panel.ax.annotate("without BN", without[0], xytext=(-14, 2), textcoords="offset points", ha="right")
panel.dots(0, 0, color=INK, marker="+", words=False)
panel.set(aspect="equal", xlabel="v₁", ylabel="v₂")
picture.show(
    says="As the noise grows, the ellipse shrinks and becomes round, and BN's minimizer (dots) turns"
    " away from the direction in which the data vary little. Without BN (dashed) the fit turns"
    " alike, and collapses into the origin.",
    source=Source(conditions={"gamma": gamma, "inputs": 2}),
    name="noise-ellipses",
)

# %% [markdown]
# ## The theorem
#
# ::::{prf:theorem} Noisy inputs: signal against noise
# :label: thm-noise
#
# Let a BN unit be fed $x + n$, with $n$ independent of $(x, t)$, $\operatorname E n = 0$, $\operatorname{Cov} n = N$;
# $\varepsilon = 0$, $\gamma > 0$. Moments are those of the population. $L$ is the loss without BN on *clean* inputs,
# its bias tied.
#
# **(i)** *Budget.* For every loss and all raw weights, signal and noise share the output's variance:
#
# $$
# \underbrace{v'\Sigma v}_{\text{signal}} + \underbrace{v'N v}_{\text{noise}} \;=\; \gamma^2 .
# $$
#
# **(ii)** *Rate.* For least squares with $c \ne 0$ the minimizer (unique up to the null space of $\Sigma + N$) and
# its rate are
#
# $$
# 1 + \lambda = \frac\kappa\gamma, \qquad \kappa^2 = c'(\Sigma + N)^+ c, \qquad
# v = \frac\gamma\kappa\, (\Sigma + N)^+ c .
# $$
#
# **(iii)** *Two rates.* That $v$ is a global minimizer, without BN and without noise, of
#
# $$
# L(v) \;+\; \frac{\lambda}{2}\, v'\Sigma v \;+\; \frac{1 + \lambda}{2}\, v'Nv .
# $$
# ::::
#
# :::{dropdown} Proof
# Since $n$ is uncorrelated with $x$, $\operatorname{Cov}(x + n) = \Sigma + N$. Since it is uncorrelated with $t$,
# $\operatorname{Cov}(x + n, t) = c$. The means of $x + n$ and $t$ are those of $x$ and $t$.
#
# **(i)** {prf:ref}`thm-constraint` (ii) with $\Sigma + N$ in place of $\Sigma$. The two parts are the variances of
# $v'x$ and $v'n$, which are uncorrelated.
#
# **(ii)** {prf:ref}`thm-least-squares` with $\Sigma + N$ in place of $\Sigma$. Its $R\sigma_t$ is now
# $\kappa = \sqrt{c'(\Sigma+N)^+c}$. It is positive: $c$ is in the range of $\Sigma$, and that is contained in the
# range of $\Sigma + N$, for if $(\Sigma + N)u = 0$, then $u'\Sigma u + u'Nu = 0$; neither is negative, so
# $u'\Sigma u = 0$ and $\Sigma u = 0$. On its range $(\Sigma + N)^+$ is positive definite.
#
# **(iii)** With squared loss the noisy loss is
# $\tfrac12 \operatorname{Var}(t - v'x - v'n) = L(v) + \tfrac12 v'Nv$. Stationarity on the ellipsoid, from (ii), reads
# $\nabla_v L + Nv + \lambda(\Sigma + N)v = 0$, that is
#
# $$
# \nabla_v L + \lambda\, \Sigma v + (1 + \lambda)\, N v = 0 .
# $$
#
# This is the gradient of the sum in (iii), at fixed $\lambda$. The sum is a quadratic with second derivative
# $\Sigma + \lambda\Sigma + (1+\lambda)N = (1 + \lambda)(\Sigma + N)$, positive semidefinite because
# $1 + \lambda = \kappa/\gamma > 0$. So a point where the gradient vanishes is a global minimizer.
# $\square$
# :::
#
# Read (iii) slowly. Training on noise is a penalty $\tfrac12 v'Nv$: for squared loss the noise is charged at the rate 1
# {cite:p}`bishop1995`.
# BN adds its own $\lambda$ to both. So signal is charged at $\lambda$, noise at $1 + \lambda$: **always exactly one
# more.**
# Even where $\lambda$ is negative it stays above $-1$, so the noise always has to pay.
#
# ## Check it in five lines
#
# Change the noise `N`, or $\gamma$.

# %%
N = np.array([[1.0, 0.5], [0.5, 1.0]])  # correlated noise
fit = theory.least_squares(flat.with_noise(noise_cov=N), gamma)
v, rate = fit.weights, fit.rate
print("signal + noise:", v @ flat.cov @ v + v @ N @ v, "against", gamma**2)
print("gradient:", flat.cov @ v - flat.cross + rate * flat.cov @ v + (1 + rate) * N @ v)

# %% [markdown]
# The same in fractions, so that nothing is rounded.

# %% tags=["hide-input"]
F = Fraction
N = np.array([[F(1), F(1, 2)], [F(1, 2), F(1)]])
Sigma = np.array([[F(3), F(3, 2)], [F(3, 2), F(1)]])
c, scale = np.array([F(6), F(7)]), F(3)
inverse = np.array([[F(1, 2), F(-1, 2)], [F(-1, 2), F(1)]])  # of Sigma + N
kappa = F(5)
v = scale / kappa * inverse @ c
rate = kappa / scale - 1
check(
    "noise",
    "in exact arithmetic: kappa, budget, and the gradient of clean loss plus "
    "signal and noise penalties, correlated noise",
    measured=[
        c @ inverse @ c,
        v @ Sigma @ v + v @ N @ v,
        *(Sigma @ v - c + rate * Sigma @ v + (1 + rate) * N @ v),
    ],
    predicted=[kappa**2, scale**2, 0, 0],
    kind="exact",
)

# %% [markdown]
# ## White noise: the whole path
#
# Let the noise be the same in all directions, $N = \sigma^2 I$. Then each principal direction of the data has its own
# signal-to-noise ratio, and everything is written in terms of these.
#
# ::::{prf:corollary} White noise
# :label: cor-white-noise
#
# Let $N = \sigma^2 I$, $\sigma > 0$, $\mathrm{SNR}_i = s_i/\sigma^2$, and
# $W_i = \mathrm{SNR}_i/(1 + \mathrm{SNR}_i) = s_i/(s_i + \sigma^2)$, the **Wiener factor**. For least squares, in
# addition to {prf:ref}`thm-noise`:
#
# **(iv)** $\displaystyle 1 + \lambda = \frac{\sigma_t}{\gamma} \sqrt{\sum_i R_i^2\, W_i}\,$, and
# $\displaystyle u_i'v = \frac\gamma\kappa\; W_i\; u_i'\Sigma^+c$: the clean fit without BN, times a gain that all
# directions share, times the direction's Wiener factor.
#
# **(v)** $\lambda$ strictly decreases in $\sigma$:
#
# $$
# \frac{\mathrm d\lambda}{\mathrm d\sigma^2} = -\frac{c'(\Sigma + \sigma^2 I)^{-2} c}{2\gamma\kappa} < 0,
# \qquad
# \frac{\mathrm d \ln(1 + \lambda)}{\mathrm d \ln\sigma} = -\frac{\sigma^2 \lVert v\rVert^2}{\gamma^2} .
# $$
#
# On double logarithmic axes the slope of $1 + \lambda$ *is* the noise's share of the budget, with a minus sign.
#
# **(vi)** As $\sigma \to 0$, $v$ and $\lambda$ tend to the clean ones of {prf:ref}`thm-least-squares`. As
# $\sigma \to \infty$, $\lambda \to -1$ and $\sigma v \to \gamma\, c/\lVert c\rVert$, while the fit without BN,
# $(\Sigma + \sigma^2I)^{-1}c$, shrinks like $c/\sigma^2$.
#
# **(vii)** *Two L2-equivalent rates.* Let $\tau = \gamma^2/\lVert v\rVert^2$, the variance of the output a unit of
# squared length. On the loss that training sees, the one on noisy inputs, the rate is $\alpha = \lambda\tau$
# ({prf:ref}`thm-rate`). On the clean loss it is larger:
#
# $$
# \alpha_{\text{clean}} \;=\; -\frac{v'\nabla_v L}{\lVert v\rVert^2} \;=\; \alpha + \sigma^2 .
# $$
#
# This holds at every $v$ on the ellipsoid, at rest or not; for any $N$ the difference is
# $v'Nv/\lVert v\rVert^2$.
#
# **(viii)** *Which of the two rises with the noise.* At the minimizers of {prf:ref}`thm-noise` (ii), with $\gamma$
# fixed, let $\theta = \mathrm d\tau/\mathrm d\sigma^2$. Then $\theta \ge 1$, with equality exactly if $c$ lies in one
# eigenspace of $\Sigma$, and
#
# $$
# \frac{\mathrm d\alpha}{\mathrm d\sigma^2} = \lambda\bigl(\theta - \tfrac12\bigr) - \tfrac12,
# \qquad
# \frac{\mathrm d\alpha_{\text{clean}}}{\mathrm d\sigma^2} = \lambda\bigl(\theta - \tfrac12\bigr) + \tfrac12 .
# $$
#
# So $\alpha$ rises exactly where $\lambda > 1/(2\theta - 1)$: wherever $\lambda > 1$, and nowhere where
# $\lambda \le 0$. $\alpha_{\text{clean}}$ rises exactly where $\lambda > -1/(2\theta - 1)$: wherever
# $\lambda \ge 0$. As $\sigma \to \infty$, $\alpha/\sigma^2 \to -1$ and
# $\alpha_{\text{clean}}/\sigma \to \lVert c\rVert/\gamma$.
#
# **(ix)** *The control.* With weight normalization, $\lVert v\rVert = \gamma$ in place of BN, white noise changes no
# minimizer. It only lowers the multiplier, by $\sigma^2$.
# ::::
#
# :::{dropdown} Proof
# In the eigenbasis of $\Sigma$, $(\Sigma + \sigma^2I)^{-1}$ is diagonal with entries $1/(s_i + \sigma^2)$. Where
# $s_i = 0$, $u_i'c = 0$ (first step of the proof of {prf:ref}`thm-least-squares`), $W_i = 0$, and $R_i = 0$ by
# convention.
#
# **(iv)** $\kappa^2 = \sum_i (u_i'c)^2/(s_i + \sigma^2) = \sum_i \sigma_t^2 R_i^2\, s_i/(s_i + \sigma^2)$, as
# $(u_i'c)^2 = \sigma_t^2 R_i^2 s_i$. And $u_i'v = \frac\gamma\kappa\, \frac{u_i'c}{s_i + \sigma^2}
# = \frac\gamma\kappa\, W_i\, \frac{u_i'c}{s_i}$.
#
# **(v)** From $\kappa^2 = \sum_i (u_i'c)^2/(s_i + \sigma^2)$,
# $2\kappa\, \mathrm d\kappa/\mathrm d\sigma^2 = -\sum_i (u_i'c)^2/(s_i + \sigma^2)^2
# = -c'(\Sigma + \sigma^2I)^{-2}c < 0$, and
# $\lambda = \kappa/\gamma - 1$. Since $v = (\gamma/\kappa)(\Sigma + \sigma^2I)^{-1}c$, that sum is
# $\kappa^2\lVert v\rVert^2/\gamma^2$. So
# $\mathrm d\ln(1+\lambda)/\mathrm d\ln\sigma = 2\sigma^2\, \mathrm d\ln\kappa/\mathrm d\sigma^2
# = -\sigma^2\lVert v\rVert^2/\gamma^2$, and $\sigma^2\lVert v\rVert^2 = v'Nv$.
#
# **(vi)** As $\sigma \to 0$, $(\Sigma + \sigma^2I)^{-1}c \to \Sigma^+c$, since $c$ has no part in the null space of
# $\Sigma$. As $\sigma \to \infty$, $\sigma^2(\Sigma + \sigma^2I)^{-1} \to I$. So the fit without BN times $\sigma^2$
# tends to $c$; and $\sigma^2\kappa^2 \to \lVert c\rVert^2$, whence $\kappa \to 0$ and $\lambda \to -1$; and
# $\sigma v = \frac{\gamma}{\sigma\kappa}\, \sigma^2(\Sigma + \sigma^2I)^{-1}c \to \gamma c/\lVert c\rVert$.
#
# **(vii)** The noisy loss is $L(v) + \tfrac12 v'Nv$, so its gradient is $\nabla_v L + Nv$. Multiply by
# $-v'/\lVert v\rVert^2$: the rate on the noisy loss is that on the clean one less $v'Nv/\lVert v\rVert^2$.
#
# **(viii)** Write $f_k = c'(\Sigma + \sigma^2I)^{-k}c$. Then $\kappa^2 = f_1$ and
# $\lVert v\rVert^2 = \gamma^2 f_2/f_1$, so $\tau = f_1/f_2$. As $\mathrm df_k/\mathrm d\sigma^2 = -k f_{k+1}$,
# $\theta = (-f_2^2 + 2f_1f_3)/f_2^2 = 2f_1f_3/f_2^2 - 1$. With $B = (\Sigma + \sigma^2I)^{-1/2}$, Cauchy and Schwarz
# give $f_2^2 = \bigl((Bc)'(B^3c)\bigr)^2 \le \lVert Bc\rVert^2\lVert B^3c\rVert^2 = f_1f_3$; with equality exactly
# if $B^3c$ is a multiple of $Bc$, that is, if $c$ is an eigenvector of $B^2$, so of $\Sigma$. By (v)
# $\mathrm d\lambda/\mathrm d\sigma^2 = -f_2/(2\gamma\kappa) = -(1 + \lambda)/(2\tau)$. The product rule for
# $\lambda\tau$ gives $-(1 + \lambda)/2 + \lambda\theta$, and $\sigma^2$ adds 1. Since $2\theta - 1 \ge 1$, the
# signs follow. For large $\sigma$, $\tau/\sigma^2 = \sigma^2f_1/(\sigma^4f_2) \to 1$ and $\lambda \to -1$. And
# $\alpha_{\text{clean}} = (1 + \lambda)\tau - (\tau - \sigma^2)$, where
# $\tau - \sigma^2 = v'\Sigma v/\lVert v\rVert^2 \le s_{\max}$ and
# $(1 + \lambda)\tau/\sigma = (\sigma\kappa/\gamma)\,\tau/\sigma^2 \to \lVert c\rVert/\gamma$ by (vi).
#
# **(ix)** The noisy loss is $L(v) + \tfrac12\sigma^2\lVert v\rVert^2 = L(v) + \tfrac12\sigma^2\gamma^2$ on the
# sphere: a constant is added. Its multiplier is
# $-v'(\nabla_v L + \sigma^2 v)/\gamma^2 = -v'\nabla_v L/\gamma^2 - \sigma^2$. $\square$
# :::
#
# One eigendecomposition serves all noise levels: a point of the path costs as much as a sum over the
# directions. Check it against a fresh linear solve at every level.

# %%
noisy_covs = moments.cov + noise_stds[:, None, None] ** 2 * np.eye(len(s))
solved = np.linalg.solve(noisy_covs, moments.cross[:, None])[..., 0]  # (levels, directions)
kappas = np.sqrt(solved @ moments.cross)
wiener = s / (s + noise_stds[:, None] ** 2)

# %% tags=["hide-input"]
check(
    "noise",
    "weights of the path in the noise level from one eigendecomposition "
    "against a linear solve at each of 300 levels",
    measured=path.weights,
    predicted=gamma / kappas[:, None] * solved,
    tolerance=1e-13,
    source=four,
)
rates_check = check(
    "noise",
    "1 + rate from linear solves against sigma_t/gamma times the root of the "
    "sum of R_i^2 SNR_i/(1 + SNR_i)",
    measured=kappas / gamma,
    predicted=np.sqrt(wiener @ R_squared) / gamma,
    tolerance=1e-13,
    source=four,
)
finding(
    "In the example of this chapter the rate falls from {first:.2f} on nearly clean inputs to"
    " {last:.2f} where noise is nearly all there is, as the closed form says at all {levels} noise"
    " levels, to {difference:.0e}.",
    rates_check,
    first=path.rate[0],
    last=path.rate[-1],
    levels=len(noise_stds),
)

# %% [markdown]
# ## The rate falls as the noise takes over
#
# On the left the rate. On the right how the budget $\gamma^2$ is spent.

# %% tags=["hide-input"]
crossing = np.interp(0, -path.rate, noise_stds)
picture = Picture(1, 2, height=3.4)
left, right = picture
for level, style in ((0, "-"), (-1, ":")):
    left.ax.axhline(level, color=INK, linewidth=0.8, linestyle=style)
for color, where in (("signal", path.rate >= 0), ("l2", path.rate <= 0)):
    left.ax.fill_between(
        noise_stds, path.rate, where=where, color=COLORS[color], alpha=0.2, linewidth=0
    )
left.line(noise_stds, path.rate, color="theory")
left.ax.text(0.025, 0.25, "BN shrinks")
left.ax.text(3.0, -0.2, "BN inflates")
left.set(xlabel="noise_std σ", title="rate λ", xscale="log", ylim=(-1.08, None))
right.ax.stackplot(
    noise_stds,
    path.signal_share,
    path.noise_share,
    colors=[COLORS["signal"], COLORS["noise"]],
    alpha=0.8,
    linewidth=0,
)
right.note(
    f"two areas that add up to 1; the noise's grows from {path.noise_share[0]:.2f} at"
    f" {noise_stds[0]:g} to {path.noise_share[-1]:.2f} at {noise_stds[-1]:g}"
)
right.ax.text(0.03, 0.45, "signal: v'Σv")
right.ax.text(25, 0.7, "noise: v'Nv", ha="right")
right.set(
    xlabel="noise_std σ",
    title="share of the output's variance",
    xscale="log",
    xlim=(noise_stds[0], noise_stds[-1]),
    ylim=(0, 1),
)
picture.show(
    says=f"The rate reports the ratio of signal to noise: {path.rate[0]:.2f} where the inputs are"
    f" clean, 0 at σ = {crossing:.2f}, near −1 where noise has taken the budget.",
    source=four,
    name="noise-rate",
)

# %% [markdown]
# Why should the rate fall when there is more noise? Because noise already regularizes. What BN adds
# on top is what it takes to hold the output at $\gamma$; once the noise alone pulls the weights in
# far enough, nothing is left to add, and beyond that BN pushes against it.
#
# The two panels are one. By (v) the slope on the left, on logarithmic axes, is the share on the
# right. Differentiate by a complex step, which has no rounding to speak of:


# %%
def log_rate(noise_std):  # log(1 + rate)
    noisy_cov = moments.cov + noise_std**2 * np.eye(len(s))
    kappa_squared = moments.cross @ np.linalg.solve(noisy_cov, moments.cross)
    return np.log(np.sqrt(kappa_squared) / gamma)


step = 1e-30
slopes = [log_rate(std * (1 + 1j * step)).imag / step for std in noise_stds]

# %% tags=["hide-input"]
check(
    "noise",
    "slope of log(1 + rate) in log noise_std, by complex step, against minus "
    "the noise's share of the output variance",
    measured=np.array(slopes),
    predicted=-path.noise_share,
    tolerance=1e-12,
    source=four,
)
inner = noise_stds[150] ** 2
M = np.linalg.inv(moments.cov + inner * np.eye(len(s)))
kappa = np.sqrt(moments.cross @ M @ moments.cross)
check(
    "noise",
    "derivative of the rate in the noise variance, by complex step, against "
    "-c'(Sigma + N)^-2 c / (2 gamma kappa)",
    measured=np.exp(log_rate(np.sqrt(inner))) * slopes[150] / (2 * inner),
    predicted=-moments.cross @ M @ M @ moments.cross / (2 * gamma * kappa),
    tolerance=1e-12,
    source=four,
)

# %% [markdown]
# ## Who is turned down: Wiener factors
#
# A direction of the data drowns when the noise's variance reaches its own: then its factor is one
# half. Weak directions drown first. BN's gain goes the other way: what the drowned directions leave
# of the budget goes to all that are still above water.

# %% tags=["hide-input"]
picture = Picture(1, 2, height=3.4)
left, right = picture
relative = path.weights / (moments.cross / s)  # to the clean fit without BN
for i, color in zip(range(len(s)), ("batch", "signal", "theory", "l2") * len(s)):
    left.line(noise_stds, wiener[:, i], f"s = {s[i]:g}", color)
    left.dots(np.sqrt(s[i]), 0.5, color=color, words=False)
    right.line(noise_stds, relative[:, i], f"s = {s[i]:g}", color)
gain = 1 / (1 + path.rate)  # gamma/kappa
right.line(noise_stds[gain < 3], gain[gain < 3], "gain γ/κ", INK, ":", linewidth=1)
right.ax.text(noise_stds[gain < 1.4][-1], 1.45, "gain γ/κ ", ha="right")
left.set(
    xlabel="noise_std σ",
    title="Wiener factor",
    xscale="log",
    legend={"title": "variance", "loc": "lower left"},
)
right.set(
    xlabel="noise_std σ",
    title="BN's weight ÷ clean weight without BN",
    xscale="log",
    ylim=(0, 1.7),
)
picture.show(
    says="Weak directions drown first, and BN gives their share to the strong ones."
    " Left: each direction drowns where σ² reaches its variance (dots). Right: the weights are"
    " gain times Wiener factor. While weak directions drown, BN gives their share to the strong"
    f" ones: the strongest first grows to {relative[:, 0].max():.2f}.",
    source=four,
    name="noise-wiener",
)

# %% [markdown]
# Both pictures in one, for six directions. Each bar is as wide as its $R_i^2$ and filled up to its Wiener factor. So the
# blue area is $\sum_i R_i^2 W_i = (1 + \lambda)^2\gamma^2/\sigma_t^2$: the rate is how much blue the noise has left.
#
# <div class="moving" id="moving-noise" data-figure="noise">
# <p class="moving-still">On the web pages of this book this figure moves. As the noise grows, the bars of directions in
# which the data vary little drain first; the rate falls with the area that is left, from Rσ<sub>t</sub>/γ − 1 to −1. If
# strong directions carry the target, little happens until the noise is as large as they are. If weak ones do, the rate
# falls early, and most of the budget soon is noise.</p>
# </div>
# %% [markdown]
# ## Holding on: with BN and without
#
# Without BN, noise shrinks the fit like $1/\sigma^2$. With BN only like $1/\sigma$, because the
# output must keep its variance. That is not always wanted: at high noise what is kept is mostly
# noise.

# %% tags=["hide-input"]
picture = Picture(1, 2, height=3.4)
left, right = picture
tail = noise_stds > 4
free = path.weights * (1 + path.rate)[:, None]
left.line(noise_stds, np.linalg.norm(path.weights, axis=1), "BN", "batch")
left.line(noise_stds, np.linalg.norm(free, axis=1), "without BN", "none")
for limit in (gamma / noise_stds, np.linalg.norm(moments.cross) / noise_stds**2):
    left.line(noise_stds[tail], limit[tail], color=INK, style=":", words=False, linewidth=1.3)
left.ax.text(9, 0.16, "γ/σ")
left.ax.text(7.0, 0.007, "|c|/σ²", ha="right")
left.set(
    xlabel="noise_std σ",
    title="length of the weights",
    xscale="log",
    yscale="log",
    legend={"loc": "lower left"},
)
right.ax.axhline(0, color=INK, linewidth=0.8)
right.line(noise_stds, 1 + path.rate, "on noise, 1 + λ", "noise")
right.line(noise_stds, path.rate, "on signal, λ", "signal")
right.level(1, "without BN, on noise", "none")
right.ax.text(0.025, 1 + path.rate[0] + 0.06, "on noise: 1 + λ")
right.ax.text(0.025, path.rate[0] + 0.06, "on signal: λ")
right.ax.text(30, 1.05, "without BN", ha="right")
right.set(
    xlabel="noise_std σ", title="two rates", xscale="log", ylim=(-1.1, 1.25 * (1 + path.rate[0]))
)
picture.show(
    says="BN charges signal λ and noise 1 + λ."
    " Left: BN keeps longer weights under strong noise. Right: signal is charged λ and noise"
    " 1 + λ, always one more. At low noise BN charges noise more than plain training on noise does"
    " (dashed), at high noise less.",
    source=four,
    name="noise-two-rates",
)

# %% tags=["hide-input"]
far = theory.noise_path(moments, gamma, [1e5])
check(
    "noise",
    "noise_std times BN's weights at noise_std = 100,000 against gamma c / |c|",
    measured=1e5 * far.weights[0],
    predicted=gamma * moments.cross / np.linalg.norm(moments.cross),
    tolerance=1e-8,  # the next term is of order s / noise_std^2
    source=four,
)

# %% [markdown]
# ## In the units of weight decay
#
# Which weight decay does BN stand for, then? Two answers are right, and they can differ in sign.
# Against the loss that training sees, that of noisy inputs, it is $\alpha = \lambda\tau$. This is what
# the meter reads off noisy batches, and what to hold against the best `weight_decay` of a network
# that trains on the *same* noise. Against the clean loss it is
# $\alpha_{\text{clean}} = \alpha + \sigma^2$: training on noise without BN is weight decay $\sigma^2$ there,
# and BN adds its own $\alpha$ to it.

# %%
seen = theory.least_squares(moments.with_noise(noise_std=2.0), gamma).l2_rate
two = theory.noise_path(moments, gamma, [2.0])
print(
    f"at σ = 2: α = {two.l2_rate[0]:.3f} = {seen:.3f}, on the clean loss {two.clean_l2_rate[0]:.3f}"
)

# %% tags=["hide-input"]
v, noise_vars = path.weights, noise_stds**2
size = np.square(v).sum(axis=1)
for words, measured, curvature in (
    ("the noisy loss", path.l2_rate, s + noise_vars[:, None]),
    ("the clean loss", path.clean_l2_rate, s),
):
    check(
        "noise",
        f"L2-equivalent rate on {words} along the path against -v'grad L / |v|^2 of that loss",
        measured=measured,
        predicted=theory.l2_equivalent_rate(v, v * curvature - moments.cross),
        tolerance=1e-9,  # the two terms nearly cancel where the noise is small
        source=four,
    )
powers = [((R_squared * s) / (s + noise_vars[:, None]) ** k).sum(axis=1) for k in (1, 2, 3)]
theta = 2 * powers[0] * powers[2] / powers[1] ** 2 - 1
turning = 1 / (2 * theta - 1)  # the rate above which α rises


def l2_rate(noise_var):  # of complex noise too
    along = [((R_squared * s) / (s + noise_var) ** k).sum() for k in (1, 2)]
    return (np.sqrt(along[0]) / gamma - 1) * along[0] / along[1]


rising = np.array([l2_rate(variance + 1j * step).imag / step for variance in noise_vars])
slope_check = check(
    "noise",
    "derivative of the L2-equivalent rate in the noise variance, by complex step, against lambda"
    " (theta - 1/2) - 1/2",
    measured=rising,
    predicted=path.rate * (theta - 0.5) - 0.5,
    tolerance=1e-11,
    source=four,
)
signs = {
    "the L2-equivalent rate rises": (rising > 0, path.rate > turning),
    "the one on the clean loss rises": (rising + 1 > 0, path.rate > -turning),
}
for what, (measured, predicted) in signs.items():
    check(
        "noise",
        f"whether {what} with the noise, at each of 300 levels, by complex step, against whether"
        " the rate is above its threshold",
        measured=measured.astype(int),
        predicted=predicted.astype(int),
        kind="exact",
        source=four,
    )
peak = path.l2_rate.argmax()
finding(
    "In units of weight decay BN has two rates. On noisy inputs α grows from {first:.2f} to {top:.2f}"
    " at σ = {at:.2f}, then falls, to {two:.2f} at σ = 2; on the clean loss it is larger by σ² and"
    " {clean:.2f} there. Where α turns, λ has come down to its threshold: the slopes follow the"
    " theorem to {difference:.0e}.",
    slope_check,
    first=path.l2_rate[0],
    top=path.l2_rate[peak],
    at=noise_stds[peak],
    two=two.l2_rate[0],
    clean=two.clean_l2_rate[0],
)

# %% tags=["hide-input"]
near = noise_stds < 2.2
picture = Picture(1, 2, height=3.4)
left, right = picture
left.ax.axhline(0, color=INK, linewidth=0.8)
left.line(noise_stds[near], path.l2_rate[near], "α, on noisy inputs", "batch")
left.line(noise_stds[near], path.clean_l2_rate[near], "on the clean loss", "signal")
left.line(noise_stds[near], noise_vars[near], "without BN, σ²", "none", "--")
left.set(
    xlabel="noise_std σ",
    title="in units of weight decay",
    xscale="log",
    ylim=(-1.7, 2.6),
    legend={"loc": "lower left"},
)
right.line(noise_stds[near], path.rate[near], "λ", "theory")
right.line(noise_stds[near], turning[near], "α rises above", "batch", ":")
right.line(noise_stds[near], -turning[near], "on the clean loss, above", "signal", ":")
right.dots(noise_stds[peak], path.rate[peak], "where α turns", "batch")
right.set(xlabel="noise_std σ", title="rate and thresholds", xscale="log", legend=True)
picture.show(
    says="In units of weight decay the rate first rises with the noise, then falls through zero."
    " Left: the two L2-equivalent rates. α first rises with the noise, then falls through zero;"
    " on the clean loss the rate exceeds plain training on noise (dashed) as long as λ is positive."
    " Right: α rises while λ is above its threshold (dotted), 1/(2θ − 1).",
    source=four,
    name="noise-l2-rates",
)

# %% [markdown]
# So "more noise, more weight decay" is no law of BN. With $\gamma$ fixed, $\lambda$ always falls, and
# $\alpha$ rises only as long as $\lambda$ is large enough. The criterion of one rate does not fit the
# other, nor does the sign of $\lambda$ decide:

# %% tags=["hide-input"]
falls = np.sum((path.rate > 0) & (rising <= 0))
rises = np.sum((path.rate < 0) & (rising + 1 > 0))
sentence(
    f"Of {len(noise_stds)} noise levels, λ is positive and α falls all the same at {falls}; λ is"
    f" negative and α on the clean loss rises all the same at {rises}."
)

# %% [markdown]
# ## PyTorch's own layer
#
# A sample has moments of its own, and noise drawn at random is a little correlated with everything.
# So that this does not blur the comparison, we build a sample whose moments are *exactly* those of
# the theorem: whatever of the noise is correlated with inputs and target is projected out, and the
# rest is whitened.


# %%
def exactly_white(rows, columns, *known):
    """Mean 0, covariance I, no sample covariance with the `known` columns."""
    known = np.column_stack([np.ones(rows), *known])
    noise = rng.standard_normal((rows, columns))
    noise -= known @ np.linalg.lstsq(known, noise, rcond=None)[0]
    factor = np.linalg.cholesky(noise.T @ noise / rows)
    return np.linalg.solve(factor, noise.T).T


rng, rows = np.random.default_rng(seed), 100
white = exactly_white(rows, len(s))
x = white * np.sqrt(s)  # covariance diag(s)
rest = exactly_white(rows, 1, x)[:, 0]
t = white @ np.sqrt(R_squared) + np.sqrt(1 - R_squared.sum()) * rest
n = exactly_white(rows, len(s), x, t)

# %% [markdown]
# Feed it to `Linear` and `BatchNorm1d`, with the closed form's weights stretched by an arbitrary
# factor, for BN does not see it. If the theorem is right, PyTorch's gradient vanishes there, and the
# meter reads the predicted rate.

# %%
unit, loss_fn = models.unit(len(s), gamma), training.half_squared_error
expected = theory.noise_path(moments, gamma, noise_stds[::30])
slopes, rates, signals, l2_rates = [], [], [], []
for noise_std, weights in zip(expected.noise_stds, expected.weights):
    unit[0].weight.data = 7 * torch.from_numpy(weights)[None, :]
    batch = torch.from_numpy(x + noise_std * n), torch.from_numpy(t)
    loss = loss_fn(unit(batch[0]), batch[1])
    slopes.append(torch.autograd.grad(loss, unit[0].weight)[0].norm().item())
    report = meter.measure(unit, [batch], loss_fn)
    rates.append(report.rate[0])
    l2_rates.append(report.l2_rate[0])
    signals.append(np.var(x @ (7 * weights)) / report.batch_var[0])

# %% tags=["hide-input"]
generated = {"source": Source(None, rows, [seed], {"gamma": gamma}, "generated data")}
read = check(
    "noise",
    "rate read by bnlib.meter from BatchNorm1d fed an exactly white noisy "
    "sample against the closed form, ten noise levels",
    measured=1 + np.array(rates),
    predicted=1 + expected.rate,
    tolerance=1e-12,
    **generated,
)
check(
    "noise",
    "L2-equivalent rate read by bnlib.meter off noisy rows against the closed form on noisy inputs, ten"
    " noise levels",
    measured=np.array(l2_rates),
    predicted=expected.l2_rate,
    tolerance=1e-11,
    **generated,
)
check(
    "noise",
    "gradient norm that PyTorch finds at the closed form's weights against zero, ten noise levels",
    measured=max(slopes),
    predicted=0.0,
    tolerance=1e-13,
    **generated,
)
check(
    "noise",
    "signal's share of the pre-activation's variance in the exactly white "
    "sample against the closed form, ten noise levels",
    measured=np.array(signals),
    predicted=expected.signal_share,
    tolerance=1e-12,
    **generated,
)
finding(
    "Fed the closed form's weights, PyTorch's BatchNorm1d has the predicted 1 + λ to {difference:.0e}"
    " at {levels} noise levels.",
    read,
    levels=len(rates),
)

# %% [markdown]
# Ordinary noise is not exactly white in a sample. It does not have to be: with a few thousand rows
# the rate is close. Independent draws, one a seed, at $\sigma = 1$:

# %% tags=["hide-input"]
drawn = []
for each in seeds:
    rng = np.random.default_rng(each)
    white = rng.standard_normal((4000, len(s)))
    inputs = white * np.sqrt(s)
    unexplained = np.sqrt(1 - R_squared.sum()) * rng.standard_normal(4000)
    targets = white @ np.sqrt(R_squared) + unexplained
    noisy = data.corrupt(inputs, rng, noise_std=1.0)
    drawn.append(1 + theory.least_squares(Moments.from_data(noisy, targets), gamma).rate)
ordinary = check(
    "noise",
    "1 + rate of BN least squares on 4,000 rows with ordinary Gaussian "
    "noise, noise_std = 1, against the population's",
    measured=drawn,
    predicted=1 + theory.noise_path(moments, gamma, [1.0]).rate[0],
    kind="empirical",
    tolerance=0.02,
    role="theorem",
    source=Source(None, 4000, seeds, {"gamma": gamma, "noise_std": 1.0}, "generated data"),
)
numbers = "1 + λ is {interval:.3f}, the population's {predicted:.3f}."
finding(
    {
        "borne out": f"A few thousand rows with ordinary noise suffice: {numbers}",
        "not borne out": f"A few thousand rows with ordinary noise do not suffice: {numbers}",
        "undecided": "Whether a few thousand rows with ordinary noise suffice, to two percent,"
        f" {{repetitions}} draws cannot say: {numbers}",
    },
    ordinary,
)

# %% [markdown]
# ## The control: weight normalization is blind to white noise
#
# Weight normalization has the constraint $\lVert v\rVert = \gamma$: the ball in place of the
# ellipsoid. On a sphere white noise costs every direction the same, so it changes nothing. Two
# inputs, and a walk around the circle, on clean inputs and on noisy ones:


# %% tags=["hide-input"]
def best_on_circle(noise_var):
    noisy_cov = flat.cov + noise_var * np.eye(2)

    def on_circle(angle):
        return gamma * np.array([np.cos(angle), np.sin(angle)])

    def loss(angle):
        v = on_circle(angle)
        return v @ noisy_cov @ v / 2 - flat.cross @ v

    coarse = np.linspace(0, 2 * np.pi, 721)
    near = coarse[np.argmin([loss(angle) for angle in coarse])]
    bounds, options = (near - 0.01, near + 0.01), {"xatol": 1e-12}
    return on_circle(minimize_scalar(loss, bounds=bounds, method="bounded", options=options).x)


blind = check(
    "noise",
    "weights of least squares under weight normalization with noise of "
    "standard deviation 2 against those without noise",
    measured=best_on_circle(noise_var=4.0),
    predicted=best_on_circle(noise_var=0.0),
    tolerance=1e-6,  # a search for a minimum finds half the digits
)
turned = theory.noise_path(flat, gamma, [1e-6, 2.0]).weights
cosine = turned[0] @ turned[1] / np.linalg.norm(turned, axis=1).prod()
finding(
    "Noise turns BN's weights, in the plane of the first figure by {degrees:.0f} degrees; those of"
    " weight normalization do not move (difference {difference:.0e}).",
    blind,
    degrees=np.degrees(np.arccos(cosine)),
)

# %% [markdown]
# So what BN does under noise, it does *because* its constraint is made of the data.
#
# ## What it means for your network
#
# A unit whose inputs are mostly signal has a rate set by how well it explains its target. Make the
# inputs noisier and $1 + \lambda$ falls, never faster than $1/\sigma$, by exactly the share of its
# output that has become noise. You can read the mixture off a running network without knowing the
# noise: {doc}`split` measures it at any layer and for any corruption.
#
# It is tempting to think that more noise takes over ever more of the budget. In each direction it
# does. For the unit as a whole it need not: when a weak but useful direction drowns, the fit moves
# to a strong one, where the same noise matters less.

# %% tags=["hide-input"]
variances, parts = np.array([1e-4, 100]), np.array([0.9, 0.009])
uneven = Moments([0, 0], np.diag(variances), np.sqrt(variances * parts), 1.0)
share = theory.noise_path(uneven, gamma, [0.03, 1.0, 30.0]).noise_share
sentence(
    "In this example the noise's share at σ = 0.03, 1 and 30 is {:.2f}, {:.2f} and {:.2f}.".format(
        *share
    )
)
check(
    "noise",
    "a noise share that falls and then rises as noise_std grows from 0.03 to "
    "1 to 30, one strong and one weak direction",
    measured=bool(share[0] > share[1] < share[2]),
    predicted=True,
    kind="exact",
    role="exploratory",  # the theorem says nothing of the whole unit's share
)

# %% [markdown]
# ## What we learned
#
# - Under noise BN shares one budget, $\gamma^2$, between signal and noise.
# - The rate is tuned by the signal-to-noise ratios:
#   $1 + \lambda = (\sigma_t/\gamma)\sqrt{\sum_i R_i^2\, \mathrm{SNR}_i/(1 + \mathrm{SNR}_i)}$. The
#   slope of $\ln(1+\lambda)$ in $\ln\sigma$ is minus the noise's share.
# - Signal is charged at $\lambda$, noise at $1 + \lambda$.
# - In units of weight decay BN is worth $\alpha = \lambda\tau$ on the noisy loss and $\alpha + \sigma^2$ on
#   the clean one. With $\gamma$ fixed, $\alpha$ rises with the noise exactly where
#   $\lambda > 1/(2\theta - 1)$.
# - Directions are turned down by Wiener factors, and BN's gain holds the output up: its weights fall
#   like $1/\sigma$, not $1/\sigma^2$. The fit under weight normalization does none of this.
#
# ## Where it stops
#
# - The budget (i) holds for every loss. The closed forms (ii) to (ix) are for squared loss, where
#   noise is a quadratic penalty exactly; for other losses it is so only to first order in the noise's
#   variance {cite:p}`bishop1995`, and $\alpha_{\text{clean}} - \alpha$ is not $\sigma^2$. For the logistic
#   loss on Gaussian inputs {doc}`cross-entropy` has a closed form of its own.
# - $\gamma$ is fixed here. Learned without decay it ends at $\gamma = \kappa$, where $\lambda = 0$:
#   then BN charges noise at rate 1 and signal not at all, like plain training on noise. With decay
#   $a > 0$ on it, $\lambda = a$ at every noise level, and $\alpha = a\tau$ always rises, at the rate
#   $a\theta$. (That decay is a rate under SGD and coupled Adam, not under AdamW: {doc}`stationarity`.)
# - At high noise $\lambda$ is negative and BN inflates. Whether what BN does is near the best that
#   could be done is a question for data: {doc}`noise-sweep` asks it.
# - Noise behind the first layer is not additive and not independent of the signal. The split survives
#   in another form: {doc}`split`.
#
# ## Exercises
#
# **1. Derive.** Let $R\sigma_t > \gamma$. Show that white noise has exactly one level $\sigma_0$ at
# which the rate is 0, and that there BN's fit is ridge regression on clean inputs with weight decay
# $\sigma_0^2$. What happens if $R\sigma_t < \gamma$?
#
# :::{dropdown} Solution
# By (iv) and (vi) $1 + \lambda$ is continuous in $\sigma$ and runs from $R\sigma_t/\gamma > 1$ to 0;
# by (v) it falls strictly. So it is 1 exactly once. There $\kappa = \gamma$, and (ii) reads
# $v = (\Sigma + \sigma_0^2I)^{-1}c$: ridge regression. Or look at (iii): signal is charged nothing,
# noise $\tfrac12\sigma_0^2\lVert v\rVert^2$. If $R\sigma_t < \gamma$, the rate is negative without
# noise already, and falls from there: BN inflates at every noise level.
# :::
#
# **2. Run.** Let weak directions carry the target: set `explained = [0.05, 0.05, 0.1, 0.7]`. The sum
# is the same, so the rate without noise is the same. Where does it cross zero now, and why?
#
# :::{dropdown} Solution
# Near $\sigma = 0.3$ instead of 1.2. Most of what is explained sits in the direction of variance
# 0.04, which drowns at $\sigma = 0.2$. Near $\sigma = 0.4$ the noise has half of the budget already,
# long before the strong directions drown.
# :::
