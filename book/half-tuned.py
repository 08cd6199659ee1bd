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
# # Half tuned: what n rows ask for, and how to set it
#
# Builds on {doc}`least-squares`, {doc}`stationarity` and {doc}`minibatch`.
# After it you can compute, from $n$, $d$ and $R^2$, the rate that the rows ask for and the $\gamma$ that sets it.
#
# Least squares on few rows fits noise, and its weights come out too long. A rate $\lambda$ shortens
# them. Batch normalization (BN) sets one. How much of what the rows ask for does it set, and which
# $\gamma$ would have set it all?
#
# For one unit there is an answer that needs no search. It comes with a prescription: two numbers of
# the fit, its $R^2$ and its number of rows, give the $\gamma$, or the weight decay on a learned
# $\gamma$, that makes the whole correction.
#
# The chapter is about *one* least-squares unit, $n$ rows, one noise level. How BN's rate in a network
# *follows* the noise is another question, and {doc}`noise-sweep` measures it. Neither answer is the
# reason of the other.

# %% tags=["parameters"]
seed = 0  # of generated data
dataset = "mnist"  # data set of the digits; or "mnist-5k": see bnlib.data.load
digits = [3, 5, 7]  # each against the rest
components = 64  # principal components of the digits used as inputs
sizes = [100, 200, 400, 800, 1600, 3200]  # rows that are fitted
draws = 12  # random subsets of rows
batch_sizes = [4, 8, 16, 64]  # M
batch_draws = 6  # subsets on which units are trained on batches
sets = 400  # generated data sets a seed, ten seeds

# %% tags=["hide-input"]
from fractions import Fraction

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from bnlib import theory
from bnlib.moments import Moments
from companion.figures import INK, Picture
from companion.page import check, finding, offer, sentence, table
from companion.records import Source
from companion.statistics import as_text
from companion.studies import shrinkage
from companion.studies.read_out import read_out
from companion.studies.shrinkage import Rows

seeds = list(range(seed, seed + 10))


def generated(**conditions):
    return Source(title="generated Gaussian data", seeds=seeds, conditions=conditions)


# %% [markdown]
# ## In plain words
#
# A fit to $n$ rows is the truth plus an error. The error is as good as at right angles to the truth,
# so it makes the weights *longer*: their squared length is, on average, that of the truth times
# $1 + \delta$, where $\delta$ compares error with truth. Two repairs come to mind.
#
# *Give the fit the true length back.* That multiplies it by about $1/\sqrt{1 + \delta}$. It is what
# BN does with $\gamma$ at the true length of the signal.
#
# *Come as near to the truth as a multiple of the fit can.* That is a projection. It multiplies by
# $1/(1 + \delta)$ or less: the error has to shrink as well, not only the length.
#
# In logarithms the first is half of the second, or less. So a unit that is told the true length of
# the signal makes less than half of the correction, on average over data sets. Nobody knows that
# length, and a unit that *learns* its scale on full batches makes no correction at all.

# %% tags=["hide-input"]
shown = {"r_squared": 0.5, "rows": 150, "inputs": 64}
needed, made = theory.needed_rate(**shown), theory.true_length_rate(**shown)
factors = np.linspace(0.3, 1.1, 200)
curve = factors**2 * needed + (1 - factors) ** 2
picture = Picture(height=3.2)
(panel,) = picture
panel.line(factors, curve, "any multiple of the fit", "none")
marks = {
    "least squares; BN, γ learned": (1.0, needed, "l2"),
    "BN, true length": (
        1 / (1 + made),
        theory.true_length_excess(**shown) / shown["r_squared"],
        "batch",
    ),
    "what is needed": (1 / (1 + needed), needed / (1 + needed), "theory"),
}
for name, (factor, excess, color) in marks.items():
    panel.dots([factor], [excess], name, color, markersize=9)
panel.set(xlabel="the fit is multiplied by 1/(1 + λ)", title="excess risk, truth's variance = 1")
panel.set(legend=True)
picture.show(
    says="BN at the true length goes part of the way to the best scale."
    " What a multiple of the least-squares fit loses on new rows against the truth, on average"
    f" over data sets of {shown['rows']} rows with {shown['inputs']} inputs.",
    source=Source(conditions=shown),
    name="half-tuned-parabola",
)

# %% [markdown]
# ## The theorem
#
# Here $n$ counts rows. Rows are independent, $t = b_0 + v^{*\prime}x + e$ with
# $\mathbb E[e\,|\,x] = 0$ and $\operatorname{Var}(e\,|\,x) = s_e^2 = (1 - R^2)\sigma_t^2$,
# $0 < R^2 < 1$, $\Sigma$ invertible, $n > d$ and the $n$ centred rows of rank $d$. $\hat v$ is the
# least-squares fit to them and $\kappa$ the standard deviation of its outputs on them; it is what
# full-batch BN with learned $\gamma$ finds ({prf:ref}`thm-stationarity`). With fixed $\gamma$ BN has
# $v = (\gamma/\kappa)\hat v$ and $1 + \lambda = \kappa/\gamma$ ({prf:ref}`thm-least-squares`). *True
# length* means $\gamma = R\sigma_t$, *excess risk* $\mathbb E(v - v^*)'\Sigma(v - v^*)$. What the
# intercept adds to it is the same factor and summand for all ({ref}`below <half-tuned-stops>`).
#
# :::{prf:theorem} At the true length less than half of the correction
# :label: thm-half-tuned
#
# Let $\delta = \dfrac{d(1 - R^2)}{(n - 1)R^2}$, and for Gaussian $x$ and $n \ge d + 3$ let
# $\lambda^* = \dfrac{d(1 - R^2)}{(n - d - 2)R^2}$.
#
# **(i)** *What BN does.* At the true length, for rows of any law,
# $\mathbb E(1 + \lambda)^2 = \frac{n-1}n(1 + \delta)$.
#
# **(ii)** *What is needed.* Among all $a\hat v$ with a factor $a$ that does not look at the data,
# the excess risk is least at $1/a = 1 + \lambda^*$ ($x$ Gaussian). There it is
# $R^2\sigma_t^2\,\lambda^*/(1 + \lambda^*)$; that of least squares is $R^2\sigma_t^2\,\lambda^*$. For
# new targets at the *same* inputs, of any law, it is least at $1/a = 1 + \delta$.
#
# **(iii)** *Less than half.* At the true length, for rows of any law,
#
# $$
# \mathbb E\log(1 + \lambda) \;<\; \tfrac12\log(1 + \delta) \;<\; \tfrac12\log(1 + \lambda^*) :
# $$
#
# less than half of the need at the same inputs, and for Gaussian $x$ of the need at new ones.
#
# **(iv)** *The wrong way.* For jointly Gaussian rows, $d$ fixed, $n \to \infty$, the share
# $\mathbb E\log(1 + \lambda)/\log(1 + \lambda^*)$ tends to
# $\frac12\big(1 - \frac2{d(1 - R^2)}\big)$. If $d(1 - R^2) < 2$ BN stretches what should shrink, on
# average.
#
# **(v)** *What it costs.* For $n \ge d + 3$ jointly Gaussian rows the excess risk at the true length
# is exactly
#
# $$
# R^2\sigma_t^2\Big[\,1 - 2\sqrt{\tfrac{nR^2}{2\pi}}\int_0^\infty\!
# \frac{e^{-(d+1)\tau/2}\,\varphi^{(n-d-3)/2}}{\sqrt{1 - e^{-\tau}}}\,\mathrm d\tau
# + \tfrac n2\int_0^\infty\! e^{-d\tau/2}\varphi^{(n-d-5)/2}
# \Big(R^2e^{-\tau} + \tfrac{1 - R^2}{n-d-2}\big(1 + (d-1)\varphi\big)\Big)\mathrm d\tau\Big]
# $$
#
# with $\varphi = 1 - R^2 + R^2e^{-\tau}$. Over that of least squares it tends, $d$ fixed,
# $n \to \infty$, to $1 - \frac1d\big(1 - \frac{R^2}{2(1 - R^2)}\big)$: many rows lose by BN if
# $R^2 > \frac23$.
#
# **(vi)** *Prescription.* With $\hat R^2$ of the fit on its rows and
# $R_{\mathrm{adj}}^2 = 1 - (1 - \hat R^2)\frac{n-1}{n-d-1}$ let
#
# $$
# \hat\lambda = \frac{d(1 - R_{\mathrm{adj}}^2)}{(n - d - 2)R_{\mathrm{adj}}^2}
# \qquad (R_{\mathrm{adj}}^2 \le 0\colon \text{predict the mean}).
# $$
#
# At rest, with all rows in one batch, BN with $\gamma = \kappa/(1 + \hat\lambda)$ and BN with learned
# $\gamma$ and the weight decay $\hat\lambda$ on it have the rate $\hat\lambda$. With $n - d - 1$ for $n - d - 2$ the factor
# $1/(1 + \hat\lambda)$ is that of leave-one-out, each leverage replaced by the mean $(d + 1)/n$.
#
# **(vii)** *Guarantee.* For jointly Gaussian rows, $d \ge 5$ and
# $\frac{d(n-1)}{(n-d-1)(n-d-2)} \le \frac{2(d-2)}{n-d+1}$ the prescription has a smaller expected
# excess risk than least squares, whatever $v^*$, $\Sigma$ and $s_e$.
# :::
#
# :::{dropdown} Proof of (i) to (iv): what is made, and what is needed
# $X$ has the $n$ centred rows, $S = X'X$, $P$ projects on the range of $X$, $e$ collects the errors.
# Then $X\hat v = Pt = Xv^* + Pe$.
#
# **(i)** $n\kappa^2 = |Xv^* + Pe|^2$. Given $X$ the mixed term has mean 0 and $|Pe|^2$ has mean
# $d\,s_e^2$. As $\mathbb E S = (n-1)\Sigma$,
# $n\,\mathbb E\kappa^2 = (n-1)R^2\sigma_t^2 + d\,s_e^2 = (n-1)R^2\sigma_t^2(1 + \delta)$. Divide by
# $n\gamma^2 = nR^2\sigma_t^2$.
#
# **(ii)** $\hat v = v^* + S^{-1}X'e$ is unbiased given $X$, with covariance $s_e^2S^{-1}$. So
# $a\hat v$ has excess risk $a^2V + (1-a)^2R^2\sigma_t^2$ with
# $V = s_e^2\,\mathbb E\operatorname{tr}(\Sigma S^{-1})$, least at
# $1/a = 1 + V/(R^2\sigma_t^2)$, where it is $V/(1 + V/(R^2\sigma_t^2))$. For Gaussian $x$ and
# $\Sigma = I$ (replace $x$ by $\Sigma^{-1/2}x$), $1/(S^{-1})_{jj}$ is the squared distance of column
# $j$ of $X$ from the span of the others, $\chi^2$ with $(n-1) - (d-1) = n - d$ degrees of freedom.
# Hence $\mathbb E(S^{-1})_{jj} = 1/(n-d-2)$ and $V = d\,s_e^2/(n-d-2)$. At the same inputs the risk
# is $\mathbb E(v - v^*)'S(v - v^*)$ up to a factor, $V$ becomes $d\,s_e^2$, $R^2\sigma_t^2$ becomes
# $\mathbb E\,v^{*\prime}Sv^* = (n-1)R^2\sigma_t^2$.
#
# **(iii)** The logarithm is concave:
# $\mathbb E\log(1 + \lambda) = \frac12\mathbb E\log(1 + \lambda)^2 \le \frac12\log\big(\frac{n-1}n(1 + \delta)\big) < \frac12\log(1 + \delta)$,
# and $\delta < \lambda^*$ because $n - d - 2 < n - 1$.
#
# **(iv)** Let $\sigma_t = 1$ and $V = (1 + \lambda)^2 = |Xv^* + Pe|^2/(nR^2)$. Here
# $|Xv^*|^2/R^2$ is $\chi^2_{n-1}$, and given $X$ the mixed term $2v^{*\prime}X'e$ is Gaussian with
# variance $4s_e^2|Xv^*|^2$. So
# $\mathbb EV = 1 + \frac1n\big(\frac{d(1-R^2)}{R^2} - 1\big)$,
# $\operatorname{Var}V = \frac1n\big(2 + \frac{4(1 - R^2)}{R^2}\big) + O(n^{-2})$ and
# $\mathbb E|V - 1|^3 = O(n^{-3/2})$. Expand the logarithm where $V > \frac12$; the rest has a
# probability that is exponentially small in $n$, and $\mathbb E\log^2V$ is bounded by a multiple of
# $1 + \log^2n$, as $nR^2V$ is at least the square of $|Xv^*|$ plus a Gaussian number of variance
# $s_e^2$. Hence
#
# $$
# \mathbb E\log V = \frac1n\Big[\frac{d(1 - R^2)}{R^2} - 1 - 1 - \frac{2(1 - R^2)}{R^2}\Big] + O(n^{-3/2})
# = \frac{d(1 - R^2) - 2}{nR^2} + O(n^{-3/2}) .
# $$
#
# $\mathbb E\log(1 + \lambda)$ is half of that, and
# $\log(1 + \lambda^*) = \frac{d(1 - R^2)}{nR^2} + O(n^{-2})$. $\square$
# :::
#
# :::{dropdown} Proof of (v): the cost at the true length
# Let $\Sigma = I$, $\sigma_t = 1$, $s = s_e$, and turn the inputs so that $v^*$ has the length $R$
# along the first. In the $n - 1$ dimensions of centred columns let $x_1$ be the first, $Q$ the
# projection on the span of the $d - 1$ others, $X_2$. Set $A = |(I - Q)x_1|^2$, $B = |Qt|^2$, and let
# $g$ be the component of $e/s$ along $(I - Q)x_1$. They are independent, $\chi^2_{n-d}$,
# $\chi^2_{d-1}$ and standard normal. Least squares gives
#
# $$
# \hat v_1 = R + \frac{sg}{\sqrt A}, \qquad
# n\kappa^2 = |Pt|^2 = B + A\hat v_1^2, \qquad
# \hat v_2 = (X_2'X_2)^{-1}X_2'(t - \hat v_1x_1) .
# $$
#
# Given $A$, $g$, each coordinate of $Q(t - \hat v_1x_1)$ has with that of $Qt$ the covariance
# $1 - R\hat v_1$, and given the latter the variance
# $1 - 2R\hat v_1 + \hat v_1^2 - (1 - R\hat v_1)^2 = s^2\hat v_1^2$. Turning the basis of the span
# changes no law and $\mathbb E\operatorname{tr}(X_2'X_2)^{-1} = \frac{d-1}{n-d-1}$, so
#
# $$
# \mathbb E\big[|\hat v_2|^2\,\big|\,A, B, g\big] = \frac{(d-1)s^2\hat v_1^2 + (1 - R\hat v_1)^2B}{n - d - 1} .
# $$
#
# With $\gamma = R$ the excess risk is
# $R^2\big[1 - 2\sqrt n\,\mathbb E\frac{\hat v_1}{\sqrt F} + n\,\mathbb E\frac{|\hat v|^2}F\big]$,
# $F = n\kappa^2$. Write $F^{-1/2} = \pi^{-1/2}\int_0^\infty u^{-1/2}e^{-uF}\mathrm du$ and
# $F^{-1} = \int_0^\infty e^{-uF}\mathrm du$. With $y = 2u$, integrating over $g$, $A$ and $B$ in turn,
#
# $$
# \mathbb Ee^{-uF} = (1+y)^{-\frac{n-1}2}(1 + s^2y)^{\frac{n-d-1}2} =: f, \qquad
# \mathbb E\hat v_1e^{-uF} = \frac{Rf}{1 + s^2y}, \qquad
# \mathbb E\hat v_1^2e^{-uF} = \frac{R^2 + \frac{s^2(1+y)}{n-d-2}}{(1 + s^2y)^2}\,f,
# $$
#
# and a factor $B$ beside them gives $\frac{d-1}{1+y}$. Now substitute $1 + y = e^\tau$, so that
# $1 + s^2y = e^\tau\varphi$. With $m = \frac{d-1}{n-d-1}$, $k = n - d - 2$ and $E = e^{-\tau}$,
#
# $$
# \frac{\mathbb E|\hat v|^2e^{-uF}}f = \frac E{\varphi^2}\Big[(1 + ms^2)\Big(R^2E + \frac{s^2}k\Big) + m(\varphi - R^2E)^2 + \frac{mR^2s^2E}k\Big]
# = \frac E{\varphi^2}\Big[R^2E + \frac{s^2}k\big(1 + (d-1)\varphi\big)\Big],
# $$
#
# because $\varphi - R^2E = s^2$ and $m(k + 1) = d - 1$. As
# $f = e^{-d\tau/2}\varphi^{(n-d-1)/2}$, the two integrals follow.
#
# *Many rows.* $\sqrt n(A/n - 1) \to \sqrt2\,z$ with $z$ standard normal, $B$ stays bounded, so
# $\sqrt n\big(R\hat v_1\sqrt n/\sqrt F - R\big) = \sqrt n\,R\big((A + B/\hat v_1^2)^{-1/2}\sqrt n - 1\big) \to -Rz/\sqrt2$:
# the noise of $\hat v_1$ cancels. The other coordinates are those of least squares, and $n$ times
# their excess tends to $(d-1)s^2$. Moments converge too: where $A < n/2$ or $\hat v_1 < R/2$, which
# has a probability that is exponentially small, $|v|^2 \le nR^2\operatorname{tr}S^{-1}$, whose square
# has a bounded mean. So $n$ times the excess tends to $\frac{R^2}2 + (d-1)s^2$, for least squares to
# $d\,s^2$. $\square$
# :::
#
# :::{dropdown} Proof of (vi): the prescription is a leave-one-out
# The rates are {prf:ref}`thm-least-squares` and {prf:ref}`thm-stationarity` on the $n$ rows. For the
# rest let $h_i$ be $\frac1n$ plus the $i$-th diagonal entry of $P$, $e_i$ the residual, $\bar t$ the
# mean. The fit to the other rows predicts $p_i = t_i - e_i/(1 - h_i)$, and their mean is
# $m_i = t_i - \frac n{n-1}(t_i - \bar t)$: both are the textbook update of least squares when a row
# is taken away. The error of $m_i + a(p_i - m_i)$, summed in squares, is least at
# $a = \sum(t_i - m_i)(p_i - m_i)/\sum(p_i - m_i)^2$. Let $F$ and $U$ be the explained and the residual
# sum of squares, so that $\sum(t_i - \bar t)^2 = F + U$ and $\sum(t_i - \bar t)e_i = \sum e_i^2 = U$.
# With $h_i = \frac{d+1}n$ and $u = U/(n-d-1)$ numerator and denominator are, up to one factor,
#
# $$
# F + U - (n-1)u = F - du, \qquad
# F + U - 2(n-1)u + \frac{(n-1)^2}{n-d-1}u = F + \frac{d^2}{n-d-1}u .
# $$
#
# So $\frac1a - 1 = \frac{du\,(n-1)/(n-d-1)}{F - du}$. On the other side
# $1 - R_{\mathrm{adj}}^2 = \frac{(n-1)u}{F + U}$ and $R_{\mathrm{adj}}^2 = \frac{F - du}{F + U}$.
# $\square$
# :::
#
# :::{dropdown} Proof of (vii): the guarantee
# Let $\Sigma = I$ and write $s$ for $s_e$. The prescription is $(1 - \psi)\hat v$ with
# $\psi = rU/F$: from (vi)
# $r = \frac{d(n-1)}{(n-d-1)(n-d-2)}\Big/\Big(1 + \frac{d(d+1)\,U}{(n-d-1)(n-d-2)\,F}\Big)$ where
# $R_{\mathrm{adj}}^2 > 0$ and $r = F/U$ where not. That is nondecreasing in $F/U$, and below
# $\bar r = \frac{d(n-1)}{(n-d-1)(n-d-2)}$. Given $X$, $\hat v$ is Gaussian with mean $v^*$ and
# covariance $s^2S^{-1}$, and $U/s^2$ is independent of it, $\chi^2$ with $n - d - 1$ degrees of
# freedom.
#
# *The difference of the risks* is
# $\mathbb E\big[\psi^2|\hat v|^2 - 2\psi\,\hat v'(\hat v - v^*)\big]$. Integration by parts (Stein),
# $\mathbb E(\hat v - v^*)'\psi\hat v = s^2\,\mathbb E\operatorname{tr}S^{-1}\nabla(\psi\hat v)$, and
# $\nabla F = 2S\hat v$ give
#
# $$
# \mathbb E\big[\psi^2|\hat v|^2 - 2s^2\psi\operatorname{tr}S^{-1} - 4s^2\tfrac{\partial\psi}{\partial F}|\hat v|^2\big],
# \qquad \tfrac{\partial\psi}{\partial F} \ge -\frac{rU}{F^2} .
# $$
#
# For $\chi^2$ the same by parts gives
# $\mathbb E\,r^2U^2 \le s^2(n-d+1)\,\mathbb E\,r^2U \le s^2(n-d+1)\,\bar r\,\mathbb E\,rU$ at every
# $\hat v$, as $r$ does not rise with $U$.
#
# *Lemma.* For every nondecreasing $r(F) \ge 0$,
# $\mathbb E\,r\operatorname{tr}(S^{-1})/F \ge d\,\mathbb E\,r|\hat v|^2/F^2$. With it the difference
# is at most
# $s^2\,\mathbb E\frac{rU|\hat v|^2}{F^2}\big[(n-d+1)\bar r + 4 - 2d\big] \le 0$ by the condition; it
# is below 0 because $r < \bar r$.
#
# *Proof of the lemma.* $S = O\operatorname{diag}(l)O'$ with $O$ uniform over rotations and independent
# of $l$. In that basis $m = S^{1/2}\hat v$ has $m_i = \sqrt{l_i}\,h_i + f_i$ with $h = O'v^*$ uniform
# on a sphere, $f$ white of variance $s^2$; $F = \sum m_i^2$, $|\hat v|^2 = \sum m_i^2/l_i$, and
#
# $$
# F\operatorname{tr}S^{-1} - d\,|\hat v|^2 = \sum_{i<j}\Big(\frac1{l_j} - \frac1{l_i}\Big)(m_i^2 - m_j^2) .
# $$
#
# So it is enough that $\mathbb E[(m_i^2 - m_j^2)\,r(F)/F^2] \ge 0$ whenever $l_i \ge l_j$. Fix
# everything but $h_i, h_j, f_i, f_j$; then $(h_i, h_j)$ is uniform on a circle. Let $\mu$ be the mean
# of $(m_i, m_j)$ given $h$, $\mu_i = A\cos\theta$, $\mu_j = B\sin\theta$, $A \ge B > 0$,
# $D^2 = |\mu|^2$, $C$ the sum of the other $m^2$. Note that $\mu_i^2 - \mu_j^2$ rises with $D^2$.
#
# *Step 1: $r = 1$ is the worst case.* By the angle of $(m_i, m_j)$, the part of the expectation at
# radius $\varrho = |(m_i, m_j)|$ is a positive multiple of
# $N(\varrho) = \mathbb E_\theta\big[I_2(\varrho D/s^2)\,e^{-D^2/2s^2}(\mu_i^2 - \mu_j^2)/D^2\big]$, $I_2$
# the modified Bessel function. For $\varrho_1 > \varrho$ the ratio
# $I_2(\varrho_1D/s^2)/I_2(\varrho D/s^2)$ rises with $D$, as $I_2$ has a power series with positive
# coefficients. So once $N(\varrho) \ge 0$ it stays so: if the ratio has the value $\omega$ where
# $\mu_i^2 = \mu_j^2$, then $N(\varrho_1) \ge \omega N(\varrho)$. $N$ changes sign once at most, from
# $-$ to $+$. As $F = \varrho^2 + C$ and $r$ is nondecreasing,
# $\mathbb E[(m_i^2 - m_j^2)r/F^2]$ is at least $r$ at the change of sign times the same with $r = 1$.
#
# *Step 2: $r = 1$.* $F^{-2} = \int_0^\infty ue^{-uF}\mathrm du$. Integrating over $f$ with
# $u' = u/(1 + 2us^2)$ leaves
#
# $$
# \int_0^{1/2s^2} u'e^{-uC}H(u')\,\mathrm du', \qquad
# H(u') = \mathbb E_\theta\big[(\mu_i^2 - \mu_j^2)e^{-u'D^2}\big] .
# $$
#
# By the argument of step 1 $H$ changes sign once at most, now from $+$ to $-$, and $e^{-uC}$ falls; so
# it is at least a nonnegative multiple of
# $\int_0^\infty u'H\,\mathrm du' = \mathbb E_\theta\big[(\mu_i^2 - \mu_j^2)/D^4\big]$. That is 0, as
# $(\mu_i^2 - \mu_j^2)/D^4$ is the derivative of $\sin\theta\cos\theta/D^2$. $\square$
# :::
#
# That a multiple of least squares may beat it on average over designs, and lose given one, is known:
# {cite:t}`dicker2012` studies the one, {cite:t}`huber2012` the other. The lemma carries Stein's
# argument for fixed inputs over to new ones.
#
# ## Check it in five lines
#
# What is needed, what BN makes of it at the true length, and which share that is in logarithms.
# Change $R^2$, rows and inputs; look for a share above one half, and for one below 0.

# %%
cases = pd.DataFrame({"R²": [0.5, 0.1, 0.5, 0.9], "rows": [150, 150, 2000, 2000]})
cases["inputs"] = [64, 64, 5, 5]
cases["needed"] = [theory.needed_rate(*case) for case in cases.values.tolist()]
cases["made"] = [theory.true_length_rate(*case) for case in cases.iloc[:, :3].values.tolist()]
cases["share"] = np.log1p(cases.made) / np.log1p(cases.needed)
cases.round(4)


# %% [markdown]
# The last row goes the wrong way: $d(1 - R^2) = \tfrac12$ is below 2. The same with rows that are
# drawn, fitted and measured, in another case:


# %% tags=["hide-input"]
def fits(rows, inputs, r_squared, count, rng):
    """Least squares on many data sets: kappa over R sigma_t, R^2 of the rows, and the weights; Sigma = I, sigma_t = 1."""
    X = rng.standard_normal((count, rows, inputs))
    t = np.sqrt(r_squared) * X[..., 0] + np.sqrt(1 - r_squared) * rng.standard_normal((count, rows))
    X -= X.mean(axis=1, keepdims=True)
    t -= t.mean(axis=1, keepdims=True)
    turned = X.transpose(0, 2, 1)
    v = np.linalg.solve(turned @ X, turned @ t[..., None])
    explained = np.square(X @ v).sum(axis=(1, 2))
    share = explained / np.square(t).sum(axis=1)
    return np.sqrt(explained / rows / r_squared), share, v[..., 0]


def excess(v, r_squared):
    return np.square(v - np.sqrt(r_squared) * np.eye(v.shape[1])[0]).sum(axis=1)


n, d, R2 = 60, 24, 0.5
needed = theory.needed_rate(R2, n, d)
delta = d * (1 - R2) / ((n - 1) * R2)
drawn = []
for one in seeds:
    stretch, share, v = fits(n, d, R2, sets, np.random.default_rng(one))
    shrunk = v / (1 + theory.recommended_rate(share, n, d))[:, None]
    drawn.append(
        {
            "square": np.mean(stretch**2),
            "share": np.mean(np.log(stretch)) / np.log1p(needed),
            "free": excess(v, R2).mean(),
            "told": excess(v / stretch[:, None], R2).mean(),
            "best": excess(v / (1 + needed), R2).mean(),
            "prescribed": excess(shrunk, R2).mean(),
        }
    )
drawn = pd.DataFrame(drawn)
at = generated(rows=n, inputs=d, r_squared=R2, data_sets_a_seed=sets)
check(
    "half-tuned",
    "Generated rows: mean of (1 + lambda)^2 at the true length against (n - 1)(1 + delta)/n",
    drawn.square,
    (n - 1) / n * (1 + delta),
    kind="empirical",
    tolerance=0.02,
    source=at,
)
check(
    "half-tuned",
    "Generated rows: excess risk of least squares against R^2 sigma_t^2 lambda*",
    drawn.free,
    R2 * needed,
    kind="empirical",
    tolerance=0.05,
    source=at,
)
check(
    "half-tuned",
    "Generated rows: excess risk of BN at the true length against the integrals",
    drawn.told,
    theory.true_length_excess(R2, n, d),
    kind="empirical",
    tolerance=0.05,
    source=at,
)
half = check(
    "half-tuned",
    "Generated rows: BN's share of the correction at the true length, in logarithms, is below half",
    drawn.share,
    0.5,
    kind="empirical",
    relation="below",
    source=at,
)
exactly = np.log1p(theory.true_length_rate(R2, n, d)) / np.log1p(needed)
finding(
    {
        "borne out": "Told the true length of the signal, a least-squares unit makes {interval:.2f} of"
        " the correction that {n} Gaussian rows ask for, in logarithms, with {d} inputs and R² = {R2};"
        " the theorem's bound is one half, its exact value here {exactly:.2f}.",
        "not borne out": "Told the true length of the signal, a least-squares unit makes {interval:.2f}"
        " of the correction that {n} Gaussian rows ask for: not below one half.",
        "undecided": "Told the true length of the signal, a least-squares unit makes {interval:.2f} of"
        " the correction that {n} Gaussian rows ask for; whether that is below one half these data"
        " sets do not decide.",
    },
    half,
    n=n,
    d=d,
    R2=R2,
    exactly=exactly,
)

# %% [markdown]
# ## Where it is less than half, and where it is the wrong way
#
# The share is near one half when inputs are many, rows far more and the signal is weak. Few inputs,
# or a strong signal, pull it down; below 0 BN stretches. Then the length of the fit scatters more
# from data set to data set than it is too long on average, and BN follows the scatter: it gives every
# fit the same length. More rows do not mend it: both corrections fade alike.
#
# A correction is not a risk. Where BN stretches on average it may still be better than least squares,
# since it stretches the fits that came out short. The right panel shows which of the two wins.

# %% tags=["hide-input"]
lines = {
    (64, 0.1): ("batch", "64 inputs, R² = 0.1"),
    (64, 0.5): ("signal", "64 inputs, R² = 0.5"),
    (64, 0.9): ("theory", "64 inputs, R² = 0.9"),
    (5, 0.5): ("noise", "5 inputs, R² = 0.5"),
    (5, 0.9): ("l2", "5 inputs, R² = 0.9"),
}


def of_rows(inputs, r_squared, rows):
    """Share of the correction, and excess over that of least squares, at the true length."""
    needed = theory.needed_rate(r_squared, rows, inputs)
    share = np.log1p(theory.true_length_rate(r_squared, rows, inputs)) / np.log1p(needed)
    return share, theory.true_length_excess(r_squared, rows, inputs) / (r_squared * needed)


def simulated_share(inputs, r_squared, rows, rng, count=200_000):
    """The squared length of the fit is that of the signal's outputs plus noise: two random numbers a data set."""
    signal = np.sqrt(r_squared * rng.chisquare(rows - 1, count))
    along = signal + np.sqrt(1 - r_squared) * rng.standard_normal(count)
    squared = along**2 + (1 - r_squared) * rng.chisquare(inputs - 1, count)
    logs = np.log(squared / (rows * r_squared)) / 2
    return logs.mean() / np.log1p(theory.needed_rate(r_squared, rows, inputs))


picture = Picture(1, 2, width=7.4, height=3.7)
left, right = picture
rng = np.random.default_rng(seed)
for (inputs, r_squared), (color, name) in lines.items():
    rows = np.unique(np.geomspace(inputs + 3, 5000, 60).astype(int))
    shares, ratios = np.transpose([of_rows(inputs, r_squared, n) for n in rows])
    left.line(rows, shares, name, color)
    right.line(rows, ratios, name, color)
    few = rows[rows < 600][8::8]
    left.dots(few, [simulated_share(inputs, r_squared, n, rng) for n in few], color=color)
    limit = (1 - 2 / (inputs * (1 - r_squared))) / 2
    left.line([1500, 5000], [limit, limit], color=color, style=":", words=False)
    limit = 1 - (1 - r_squared / (2 * (1 - r_squared))) / inputs
    right.line([1500, 5000], [limit, limit], color=color, style=":", words=False)
left.level(0.5, "half")
left.ax.axhline(0, color=INK, linewidth=0.8)
right.ax.axhline(1, color=INK, linewidth=0.8)
left.set(xscale="log", xlabel="rows n", title="BN's share of the correction", ylim=(-1.8, 0.65))
left.set(legend={"fontsize": 8, "loc": "center right", "bbox_to_anchor": (1.0, 0.42)})
right.set(xscale="log", xlabel="rows n", title="excess risk over that of least squares")
right.set(ylim=(0, 2))
picture.show(
    says="Told the true length, BN never makes half of the correction and may go the wrong way."
    " Left: below 0 BN stretches what should shrink. Lines are exact, dots simulated,"
    " dotted ends the limits for many rows. Right: above 1 BN at the true length is worse than least"
    " squares.",
    source=generated(data_sets_a_point=200_000),
    name="half-tuned-share",
)

# %% tags=["hide-input"]
strong = [
    simulated_share(5, 0.9, 200, np.random.default_rng(one)) for one in seeds
]  # d (1 - R^2) = 1/2
wrong = check(
    "half-tuned",
    "Generated data sets with 5 inputs, R^2 = 0.9, 200 rows: BN's share of the correction at the true"
    " length is below 0",
    strong,
    0.0,
    kind="empirical",
    relation="below",
    source=generated(rows=200, inputs=5, r_squared=0.9, data_sets_a_seed=200_000),
)
finding(
    {
        "borne out": "With few inputs and a strong signal it goes the wrong way: for 5 inputs,"
        " R² = 0.9 and 200 rows the share is {interval:.2f}, so BN stretches on average; the law for"
        " many rows says {law:.1f}.",
        "not borne out": "With 5 inputs, R² = 0.9 and 200 rows the share is {interval:.2f}: not the"
        " wrong way.",
        "undecided": "With 5 inputs, R² = 0.9 and 200 rows the share is {interval:.2f}; its sign is"
        " not decided.",
    },
    wrong,
    law=(1 - 2 / 0.5) / 2,
)

# %% [markdown]
# Drag the number of rows, inputs and $R^2$, and watch three things: how much BN corrects at the true
# length, how much is needed, and what both leave of the risk.
#
# <div class="moving" id="moving-half_tuned" data-figure="half_tuned">
# <p class="moving-still">On the web pages of this book this figure moves. Told the true length, a
# least-squares unit shrinks the fit by about the square root of 1 + δ; the best single scale shrinks
# it by 1 + λ*, which is more than its square. With few inputs and a strong signal BN stretches
# instead. With many rows all of them come to the same.</p>
# </div>
#
# ## The prescription
#
# $\hat\lambda$ needs two numbers of the fit. `theory.recommended_gamma` and
# `theory.recommended_gamma_decay` take them from the moments of the rows. Torch's own layers make of
# it what the theorem says: one `BatchNorm1d` unit, all rows in one batch, SGD with the decay
# $\hat\lambda$ on $\gamma$ and on nothing else.

# %% tags=["hide-input"]
rng = np.random.default_rng(seed)
rows, inputs = 60, 6
X = rng.standard_normal((rows, inputs))
t = X @ rng.normal(0, 0.4, inputs) + rng.standard_normal(rows)
moments = Moments.from_data(X, t)
kappa = float(np.sqrt(moments.r_squared * moments.target_var))


def trained(optimizer, rates, **keywords):
    """|gamma| after training on all rows as one batch, decay on gamma alone."""
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, 1, bias=False, dtype=torch.float64)
    norm = nn.BatchNorm1d(1, eps=1e-30, dtype=torch.float64)
    free = {"params": [*linear.parameters(), norm.bias], "weight_decay": 0.0}
    x, target = torch.from_numpy(X), torch.from_numpy(t)
    on_gamma = {"params": [norm.weight], "weight_decay": decay}
    for rate in rates:
        steps = optimizer([free, on_gamma], lr=rate, **keywords)
        for _ in range(600):
            steps.zero_grad()
            ((norm(linear(x))[:, 0] - target).square().mean() / 2).backward()
            steps.step()
    return abs(norm.weight.item())


# %%
decay = float(theory.recommended_gamma_decay(moments, rows))
gamma = float(theory.recommended_gamma(moments, rows))
by_sgd = trained(torch.optim.SGD, [0.1], momentum=0.9)
by_adamw = trained(torch.optim.AdamW, [1e-2, 1e-3])  # its steps do not shrink by themselves

# %% tags=["hide-input"]
alone = Source(title="generated Gaussian data", train_size=rows, seeds=[seed])
set_by_sgd = check(
    "half-tuned",
    "Torch's BatchNorm1d, SGD with the decay lambda_hat on gamma: gamma against kappa/(1 + lambda_hat)",
    by_sgd,
    gamma,
    tolerance=1e-10,
    source=alone,
)
check(
    "half-tuned",
    "Torch's BatchNorm1d, AdamW with the same weight_decay: gamma is where no decay leaves it, at kappa",
    by_adamw,
    kappa,
    tolerance=1e-3,
    role="assumption",
    source=alone,
)
finding(
    "The decay that {rows} rows ask for, {decay:.3f} on γ, makes torch's own layer shrink by just"
    " that under SGD: γ ends at {gamma:.4f} instead of {kappa:.4f}. Under AdamW the same weight_decay"
    " does nothing: {adamw:.4f}.",
    set_by_sgd,
    rows=rows,
    decay=decay,
    gamma=by_sgd,
    kappa=kappa,
    adamw=by_adamw,
)


# %% [markdown]
# Decay on $\gamma$ is a rate under SGD, with or without momentum, and under Adam with its coupled
# `weight_decay`. Under AdamW it is not: write $\frac a2\gamma^2$ into the loss there, or give
# $\gamma$ an SGD of its own.
#
# Leave-one-out with mean leverages is $n - d - 1$ for $n - d - 2$, as (vi) says; in fractions, on
# rows whose own leverages differ:


# %% tags=["hide-input"]
def in_fractions():
    """1/a - 1 with mean leverages, and the formula with n - d - 1, for a line through five points."""
    x = np.array([*map(Fraction, (0, 1, 2, 4, 9))])
    y = np.array([*map(Fraction, (1, 0, 3, 5, 11))])
    n, d = len(x), 1
    xc, yc = x - x.sum() / n, y - y.sum() / n
    left = yc - xc * (xc @ yc) / (xc @ xc)
    target = yc * Fraction(n, n - 1)
    predicted = target - left * Fraction(n, n - d - 1)
    adjusted = 1 - (left @ left) / (yc @ yc) * Fraction(n - 1, n - d - 1)
    scale = (target @ predicted) / (predicted @ predicted)
    return 1 / scale - 1, d * (1 - adjusted) / ((n - d - 1) * adjusted)


check(
    "half-tuned",
    "Five points in fractions: leave-one-out of the scale with mean leverages against the formula with"
    " n - d - 1",
    *in_fractions(),
    kind="exact",
)

# %% [markdown]
# **The guarantee, and its ends.** It needs enough rows, and five inputs at least. It speaks of the
# average over designs. *Given* a bad design {cite:p}`huber2012`
# the prescription can lose however many rows there are: if the signal lies in a direction in which
# the rows hardly vary, the length of the fit says little about its error, and a scale that looks at
# the length shrinks what was right.


# %% tags=["hide-input"]
def guaranteed(n, d):
    return d * (n - 1) * (n - d + 1) <= 2 * (d - 2) * (n - d - 1) * (n - d - 2)


enough = {d: next(n for n in range(d + 3, 9999) if guaranteed(n, d)) for d in (5, 10, 64, 128)}
listed = ", ".join(f"{n} rows for {d} inputs" for d, n in enough.items())
sentence(f"The guarantee holds from {listed} on.")


def gain(rows, inputs, r_squared, rng):
    """Excess risk of the prescription less that of least squares, over the latter."""
    _, share, v = fits(rows, inputs, r_squared, sets, rng)
    shrunk = v / (1 + theory.recommended_rate(share, rows, inputs))[:, None]
    free = excess(v, r_squared)
    return (excess(shrunk, r_squared) - free).mean() / free.mean()


def gain_on_a_bad_design(rng, rows=53, inputs=20):
    """Given the inputs: the signal, six standard errors of its weight, lies along one that hardly varies."""
    X = rng.standard_normal((rows, inputs))
    X[:, 0] *= 0.01
    X -= X.mean(axis=0)
    truth = np.eye(inputs)[0] * 6 / np.linalg.norm(X[:, 0])
    t = X @ truth + rng.standard_normal((sets, rows))
    t -= t.mean(axis=1, keepdims=True)
    v = t @ np.linalg.solve(X.T @ X, X.T).T
    share = np.square(v @ X.T).sum(axis=1) / np.square(t).sum(axis=1)
    shrunk = v / (1 + theory.recommended_rate(share, rows, inputs))[:, None]
    free, after = (np.square(one - truth).sum(axis=1).mean() for one in (v, shrunk))
    return after / free - 1


wins = check(
    "half-tuned",
    "Generated rows, 20 inputs, 53 rows, R^2 = 0.5: excess risk of the prescription over that of least"
    " squares, less 1, is below 0",
    [gain(53, 20, 0.5, np.random.default_rng(one)) for one in seeds],
    0.0,
    kind="empirical",
    relation="below",
    source=generated(rows=53, inputs=20, r_squared=0.5, data_sets_a_seed=sets),
)
few = check(
    "half-tuned",
    "Generated rows, 3 inputs, 30 rows, R^2 = 0.5, where nothing is guaranteed: the same is above 0",
    [gain(30, 3, 0.5, np.random.default_rng(one)) for one in seeds],
    0.0,
    kind="empirical",
    relation="above",
    role="assumption",
    source=generated(rows=30, inputs=3, r_squared=0.5, data_sets_a_seed=sets),
)
bad = check(
    "half-tuned",
    "One bad design, 20 inputs, 53 rows, the signal along an input that hardly varies: the same is"
    " above 0",
    [gain_on_a_bad_design(np.random.default_rng(one)) for one in seeds],
    0.0,
    kind="empirical",
    relation="above",
    role="assumption",
    source=generated(rows=53, inputs=20, data_sets_a_seed=sets),
)
won_and_lost = (
    " its excess risk over that of least squares is {wins:+.0%} with 20 inputs and 53 rows, {few:+.1%}"
    " with 3 inputs and 30 rows, where nothing is guaranteed, and {bad:+.0%} on a design whose signal"
    " lies where the rows hardly vary."
)
finding(
    {
        "borne out": "The prescription wins where it is guaranteed and can lose elsewhere:"
        + won_and_lost,
        "not borne out": "Where the prescription wins and loses is not as expected:" + won_and_lost,
        "mixed": "That the prescription wins where it is guaranteed and loses in two cases where it is"
        " not is borne out in {held} of {count}:" + won_and_lost,
    },
    wins,
    few,
    bad,
    wins=wins.measured,
    few=few.measured,
    bad=bad.measured,
)

# %% [markdown]
# ## Digits, and other ways to shrink
#
# Labels are not Gaussian and rows are short: does any of this survive? Each digit against the rest,
# principal components in, standardized label out. We draw $n$ of the training and validation images,
# fit every way to them, and try it on the test images; then again with other images. *True length*
# is $R\sigma_t$ of all training and validation images, $R^2$ adjusted.
#
# Beside BN stand scikit-learn's `RidgeCV`, whose decay leaves one row out at a time, `BayesianRidge`,
# whose decay maximizes the evidence, and ridge with the decay that is best on validation images that
# the others do not get. The best scale has seen the test: it bounds what any scale can do.

# %% tags=["hide-input"]
loaded = read_out(dataset, None, components)
both = ("train", "validation")
pool = Rows(
    np.concatenate([loaded.inputs[part] for part in both]),
    np.concatenate([loaded.target[part] for part in both])[:, digits],
)
test = Rows(loaded.inputs["test"], loaded.target["test"][:, digits])


def compared(pool, test, sizes, held_out, length, draws):
    """Every way on every subset: `test` None takes what is left of the pool."""
    found = []
    for n in sizes:
        for draw in range(draws):
            order = np.random.default_rng([draw, n]).permutation(len(pool))
            fitted, chosen, left = np.split(order, [n, min(n + held_out, len(pool))])
            one = shrinkage.shrink(
                pool[fitted], pool[chosen], pool[left] if test is None else test, length
            )
            found.append(one.assign(rows=n, draw=draw))
    return pd.concat(found, ignore_index=True)


length = shrinkage.true_length(pool)
on_digits = compared(pool, test, sizes, 2000, length, draws)
on_digits["target"] = np.array(digits)[on_digits.target]
of_digits = Source(
    dataset,
    None,
    range(draws),
    {"components": components, "digits": digits, "train_sizes": sizes},
)


def samples(found, way, rows, target=None, what="error"):
    """One number a draw."""
    kept = found[(found.way == way) & (found.rows == rows)]
    if target is not None:
        kept = kept[kept.target == target]
    return kept.groupby("draw")[what].mean().to_numpy()


# %% tags=["hide-input"]
drawn_ways = {
    shrinkage.LEAST_SQUARES: ("none", "o"),
    shrinkage.TRUE_LENGTH: ("batch", "o"),
    shrinkage.PRESCRIBED: ("theory", "o"),
    shrinkage.BEST_SCALE: ("signal", "_"),
    shrinkage.RIDGE_CV: ("l2", "s"),
    shrinkage.BAYESIAN: ("noise", "s"),
}
picture = Picture(1, len(digits), width=2.9 * len(digits), height=3.9)
for panel, digit in zip(picture, digits):
    for way, (color, marker) in drawn_ways.items():
        errors = np.transpose([samples(on_digits, way, n, digit) for n in sizes])
        panel.band(sizes, errors, way, color, marker=marker, scale="log")
    panel.set(xscale="log", yscale="log", xlabel="rows n", title=f"{digit} against the rest")
    panel.ax.set_yticks([0.5, 1, 2], ["0.5", "1", "2"])
    panel.ax.yaxis.set_minor_formatter("")
    panel.ax.xaxis.set_minor_formatter("")
picture[0].set(ylabel="test error, variance = 1")
picture[-1].set(legend={"fontsize": 8})
picture.show(
    says="The prescription takes most of what one scale can give; ridge, which turns the fit, gives more."
    " Test error against the number of rows. Gray, blue, yellow: least squares, BN told the true"
    " length, BN with the prescription; green: the best that any scale can do. Ridge, red and pink, can"
    " turn the fit.",
    source=of_digits,
    name="half-tuned-digits",
)

# %% tags=["hide-input"]
digit = digits[0]
columns = {
    f"{n:,} rows": {way: as_text(samples(on_digits, way, n, digit)) for way in shrinkage.WAYS}
    for n in sizes
}
table(
    pd.DataFrame(columns),
    f"Test error, {digit} against the rest: mean over {draws} subsets and its 95 % interval.",
    of_digits,
)
offer(
    on_digits[["target", "rows", "draw", "way", "error", "rate"]],
    "half-tuned-digits.csv",
    "digit, number of rows, subset and way a row: test error, and the rate where the fit is a multiple"
    " of least squares",
)

# %% [markdown]
# Subsets share images, and the more so the larger they are: the intervals are about subsets of these
# images, not about new ones.
#
# What is BN's part of the correction that would have been best on the test images?

# %% tags=["hide-input"]
corrections = {
    way: np.array(
        [[np.log1p(samples(on_digits, way, n, digit, "rate")) for digit in digits] for n in sizes]
    )
    for way in (shrinkage.TRUE_LENGTH, shrinkage.PRESCRIBED, shrinkage.BEST_SCALE)
}  # (sizes, digits, draws)
R_squared = length**2 / pool.targets.var(axis=0)
at_work = {}
for k, n in enumerate(sizes):
    told, best = (
        corrections[way][k].mean(axis=0) for way in (shrinkage.TRUE_LENGTH, shrinkage.BEST_SCALE)
    )
    laws = [of_rows(components, r, n)[0] for r in R_squared]
    needs = [np.log1p(theory.needed_rate(r, n, components)) for r in R_squared]
    seen_at_all = best.mean() > 2 * best.std(ddof=1) / np.sqrt(draws)
    at_work[f"{n:,} rows"] = {
        "made by BN, true length": as_text(told),
        "best on the test": as_text(best),
        "needed, Gaussian law": f"{np.mean(needs):.3f}",
        "BN's share of the best": f"{told.mean() / best.mean():.2f}" if seen_at_all else "–",
        "share, Gaussian law": f"{np.mean(laws):.2f}",
        "BN shrinks in": f"{np.mean(corrections[shrinkage.TRUE_LENGTH][k] > 0):.0%}",
    }
table(
    pd.DataFrame(at_work),
    f"The correction log(1 + λ) on digits: mean over {len(digits)} digits and {draws} subsets, 95 %"
    " interval. No share where the best correction is not told from 0.",
    of_digits,
)

# %% tags=["hide-input"]
first = sizes[0]


def difference(one, other, found=on_digits, rows=first):
    return samples(found, one, rows) - samples(found, other, rows)


at_first = Source(dataset, first, range(draws), {"components": components, "digits": digits})
below_half = check(
    "half-tuned",
    f"Digits, {first} rows: BN's share of the correction that is best on the test, in logarithms, is"
    " below half",
    corrections[shrinkage.TRUE_LENGTH][0].mean(axis=0)
    / corrections[shrinkage.BEST_SCALE][0].mean(),
    0.5,
    kind="empirical",
    relation="below",
    source=at_first,
)
better = check(
    "half-tuned",
    f"Digits, {first} rows: test error of the prescription less that of BN at the true length is"
    " below 0",
    difference(shrinkage.PRESCRIBED, shrinkage.TRUE_LENGTH),
    0.0,
    kind="empirical",
    relation="below",
    source=at_first,
)
turned = check(
    "half-tuned",
    f"Digits, {first} rows: test error of RidgeCV less that of the best scale, which saw the test, is"
    " below 0",
    difference(shrinkage.RIDGE_CV, shrinkage.BEST_SCALE),
    0.0,
    kind="empirical",
    relation="below",
    role="assumption",
    source=at_first,
)
errors = {way: samples(on_digits, way, first).mean() for way in shrinkage.WAYS}
finding(
    {
        "borne out": "On digits, {rows} rows, BN at the true length makes {interval:.2f} of the"
        " correction that is best on the test; the law for Gaussian rows says {law:.2f}.",
        "not borne out": "On digits, {rows} rows, BN at the true length makes {interval:.2f} of the"
        " correction that is best on the test, not less than half.",
        "undecided": "On digits, {rows} rows, BN at the true length makes {interval:.2f} of the"
        " correction that is best on the test; whether that is below half is not decided.",
    },
    below_half,
    rows=first,
    law=np.mean([of_rows(components, r, first)[0] for r in R_squared]),
)
scales = (
    " test error {free:.3f} by least squares, {told:.3f} by BN at the true length, {prescribed:.3f} by"
    " the prescription, {best:.3f} by the best scale, which saw the test."
)
finding(
    {
        "borne out": "The prescription gets {got:.0%} of what one scale can get from {rows} digits:"
        + scales,
        "not borne out": "The prescription is no better than the true length on {rows} digits:"
        + scales,
        "undecided": "Whether the prescription is better than the true length on {rows} digits is not"
        " decided:" + scales,
    },
    better,
    rows=first,
    free=errors[shrinkage.LEAST_SQUARES],
    told=errors[shrinkage.TRUE_LENGTH],
    prescribed=errors[shrinkage.PRESCRIBED],
    best=errors[shrinkage.BEST_SCALE],
    got=(errors[shrinkage.LEAST_SQUARES] - errors[shrinkage.PRESCRIBED])
    / (errors[shrinkage.LEAST_SQUARES] - errors[shrinkage.BEST_SCALE]),
)
ridges = " {ridge:.3f} by RidgeCV and {bayes:.3f} by BayesianRidge, against {best:.3f} by the best scale there is."
finding(
    {
        "borne out": "One scale cannot turn the fit, and ridge can: on {rows} digits the test error is"
        + ridges,
        "not borne out": "Ridge is no better than the best scale on {rows} digits: the test error is"
        + ridges,
        "undecided": "Whether ridge is better than the best scale on {rows} digits is not decided: the"
        " test error is" + ridges,
    },
    turned,
    rows=first,
    ridge=errors[shrinkage.RIDGE_CV],
    bayes=errors[shrinkage.BAYESIAN],
    best=errors[shrinkage.BEST_SCALE],
)
last = {way: samples(on_digits, way, sizes[-1]).mean() for way in shrinkage.WAYS}
sentence(
    f"At {sizes[-1]:,} rows all ways lie between {min(last.values()):.4f} and {max(last.values()):.4f}."
)

# %% [markdown]
# The components with small variance are where least squares fails, and one scale shrinks those as
# much as the others. That is the prescription's limit: use it where what you can set is a scale.
#
# ## Patients
#
# Inputs that are no image: ten measurements of 442 patients, and how their diabetes went on
# (scikit-learn's `load_diabetes`). Of each random order the first $n$ are fitted, the next 100 are
# for the ridge that wants validation, the rest is the test.

# %% tags=["hide-input"]
measured, progress = load_diabetes(return_X_y=True)
progress = (progress - progress.mean()) / progress.std()
patients = Rows(measured, progress[:, None])
patient_sizes = [20, 30, 50, 100, 200]
on_patients = compared(patients, None, patient_sizes, 100, shrinkage.true_length(patients), draws)
of_patients = Source(
    title="diabetes of 442 patients (scikit-learn)", seeds=range(draws), conditions={"inputs": 10}
)
table(
    pd.DataFrame(
        {
            f"{n} rows": {way: as_text(samples(on_patients, way, n)) for way in shrinkage.WAYS}
            for n in patient_sizes
        }
    ),
    f"Test error on patients, variance = 1: mean over {draws} subsets and its 95 % interval.",
    of_patients,
)
check(
    "half-tuned",
    "Patients, 30 rows: test error of the prescription less that of least squares is below 0",
    difference(shrinkage.PRESCRIBED, shrinkage.LEAST_SQUARES, on_patients, 30),
    0.0,
    kind="empirical",
    relation="below",
    source=of_patients,
)
patients_told = check(
    "half-tuned",
    "Patients, 30 rows: test error of the prescription less that of BN at the true length is below 0",
    difference(shrinkage.PRESCRIBED, shrinkage.TRUE_LENGTH, on_patients, 30),
    0.0,
    kind="empirical",
    relation="below",
    source=of_patients,
)
few_patients = {way: samples(on_patients, way, 30).mean() for way in shrinkage.WAYS}
of_ten = (
    " least squares {free:.2f}, BN at the true length {told:.2f}, the prescription {prescribed:.2f},"
    " BayesianRidge {bayes:.2f}."
)
finding(
    {
        "borne out": "Thirty patients say the same, difference to the true length {interval:.3f}:"
        + of_ten,
        "not borne out": "Thirty patients say otherwise, difference to the true length {interval:.3f}:"
        + of_ten,
        "undecided": "On thirty patients the prescription and the true length are not told apart,"
        " difference {interval:.3f}:" + of_ten,
    },
    patients_told,
    free=few_patients[shrinkage.LEAST_SQUARES],
    told=few_patients[shrinkage.TRUE_LENGTH],
    prescribed=few_patients[shrinkage.PRESCRIBED],
    bayes=few_patients[shrinkage.BAYESIAN],
)

# %% [markdown]
# ## As a batch size?
#
# Batches of $M$ act as a decay on $\gamma$ ({prf:ref}`thm-minibatch`), so $\hat\lambda$ can be had as
# a batch size: $M = n/(1 + (n-1)\hat\lambda/c_B)$, where $c_B$ is what batches are worth for these
# rows (`theory.minibatch_worth`, `theory.recommended_batch_size`). That is right as long as the
# *direction* of $w$ is held where the full batch put it. If $w$ is trained on the batches too, it
# leaves that place by $O(1/M)$.

# %% tags=["hide-input"]
some, target = 400, Rows(pool.inputs, pool.targets[:, :1])
seen = Rows(test.inputs, test.targets[:, :1])
by_batch = []


def tested(v, rows):
    """Test error of these weights, their bias that of the rows."""
    left = seen.targets[:, 0] - rows.targets.mean() - (seen.inputs - rows.inputs.mean(axis=0)) @ v
    return np.mean(left**2)


for draw in range(batch_draws):
    rows = target[np.random.default_rng([draw, some]).permutation(len(target))[:some]]
    moments = Moments.from_data(rows.inputs, rows.targets[:, 0])
    kappa = np.sqrt(moments.r_squared * moments.target_var)
    free = theory.least_squares(moments, kappa).weights
    decay = float(theory.recommended_gamma_decay(moments, some))
    worth = float(theory.minibatch_worth(rows.inputs @ free, rows.targets[:, 0]))
    one = {"M": theory.recommended_batch_size(decay, some, worth), "free": tested(free, rows)}
    one["decay"] = tested(free / (1 + decay), rows)
    for M in batch_sizes:
        found = shrinkage.learned_on_batches(rows, M, 64_000 // M, np.random.default_rng(draw))
        one |= {(name, M): tested(v, rows) for name, v in found.items()}
    by_batch.append(one)
by_batch = pd.DataFrame(by_batch)
picture = Picture(height=3.4)
(panel,) = picture
for name, said, color in (("held", "w held", "batch"), ("trained", "w trained", "l2")):
    gained = [by_batch[(name, M)] - by_batch.free for M in batch_sizes]
    panel.band(batch_sizes, np.transpose(gained), said, color)
panel.level(0, "least squares", "none")
panel.level((by_batch.decay - by_batch.free).mean(), "decay on γ", "theory")
panel.set(xscale="log", xlabel="batch size M", title="test error less that of least squares")
panel.ax.set_xticks(batch_sizes, map(str, batch_sizes))
panel.ax.minorticks_off()
panel.set(legend=True)
batch_source = Source(
    dataset, some, range(batch_draws), {"components": components, "digit": digits[0]}
)
picture.show(
    says="A batch size does the work of the decay while the direction is held."
    f" {digits[0]} against the rest, {some} rows, γ learned on batches of M drawn without"
    f" replacement, at rest. The formula asks for M = {by_batch.M.mean():.1f}. Blue: direction held"
    " where the full batch put it. Red: w trained on the batches as well.",
    source=batch_source,
    name="half-tuned-batches",
)

# %% tags=["hide-input"]
nearest = min(batch_sizes, key=lambda M: abs(np.log(M / by_batch.M.mean())))
as_decay = check(
    "half-tuned",
    f"Digits, {some} rows, batches of {nearest}, direction held: test error over that with the decay"
    " lambda_hat on gamma",
    by_batch[("held", nearest)] / by_batch.decay,
    1.0,
    kind="empirical",
    tolerance=0.02,
    source=batch_source,
)
costs = check(
    "half-tuned",
    f"Digits, {some} rows, batches of {nearest}: test error with w trained less that with the direction"
    " held is above 0",
    by_batch[("trained", nearest)] - by_batch[("held", nearest)],
    0.0,
    kind="empirical",
    relation="above",
    role="assumption",
    source=batch_source,
)
said = (
    " on {rows} digits the test error is {free:.3f} by least squares, {decay:.3f} with the decay on γ,"
    " {kept:.3f} with batches of {M} and the direction held, {trained:.3f} with w trained on them too."
)
finding(
    {
        "borne out": "As a batch size the prescription works with the direction held only:" + said,
        "not borne out": "As a batch size the prescription does not do what it should:" + said,
        "mixed": "That the prescription works as a batch size, and with the direction held only, is"
        " borne out in {held} of {count} checks:" + said,
    },
    as_decay,
    costs,
    rows=some,
    M=nearest,
    free=by_batch.free.mean(),
    decay=by_batch.decay.mean(),
    kept=by_batch[("held", nearest)].mean(),
    trained=by_batch[("trained", nearest)].mean(),
)

# %% [markdown]
# ## What it means for your network
#
# - For one linear unit on few rows there is no need to search. Set $\gamma$ by
#   `theory.recommended_gamma`, or learn it with `theory.recommended_gamma_decay` as its weight decay,
#   under SGD or coupled Adam, not AdamW.
# - A learned $\gamma$ without decay, on full batches, regularizes nothing: it is least squares.
# - If you know the length of the signal, do not stop at telling the unit. It makes less than half of
#   the correction, and with few inputs and a strong signal it errs the other way.
# - If you can turn the fit, do: ridge with leave-one-out or evidence costs one decomposition and is
#   better than any scale where inputs differ in variance.
# - Do not set the batch size for this. Mini-batches move the direction as well.
# - Nothing of this is about a network of several layers, or about how its rate follows noise.
#   {doc}`noise-sweep` measures that.
#
# ## What we learned
#
# - At the true length BN makes the factor $1/\sqrt{1 + \delta}$ out of what should be
#   $1/(1 + \lambda^*)$ with $\lambda^* > \delta$: less than half, in logarithms, on average.
# - The share tends to $\frac12(1 - \frac2{d(1-R^2)})$ with many rows: the wrong way if
#   $d(1 - R^2) < 2$.
# - $\hat\lambda = d(1 - R_{\mathrm{adj}}^2)/((n - d - 2)R_{\mathrm{adj}}^2)$ makes all of it, as
#   $\gamma$ or as decay on $\gamma$. It is leave-one-out with mean leverages, and beats least squares
#   on average wherever the guarantee holds.
# - One scale cannot turn the fit; ridge can.

# %% tags=["hide-input"]
told_ways = (
    (shrinkage.LEAST_SQUARES, "by least squares"),
    (shrinkage.TRUE_LENGTH, "with BN at the true length"),
    (shrinkage.PRESCRIBED, "with the prescription"),
    (shrinkage.RIDGE_CV, "by RidgeCV"),
)
sentence(
    f"On digits the test error with {first:,} and with {sizes[-1]:,} rows was "
    + ", ".join(f"{errors[way]:.3f} and {last[way]:.3f} {words}" for way, words in told_ways)
    + "."
)

# %% [markdown]
# (half-tuned-stops)=
# ## Where it stops
#
# - One unit, squared error. A scale changes squared error and calibration; it does not change which
#   of two images one unit ranks higher.
# - "On average over data sets". On a single one BN may make more than half, or all of it. Once rows
#   are more than about $\frac23d^2$ (at $R^2 = \frac12$) the length of the fit scatters more from one
#   data set to the next than $\lambda^*$ is large, and no rule that looks at the length can follow.
# - $n \ge d + 3$. With as many inputs as rows the fit is another one, and so is the theory.
# - The intercept: for Gaussian rows it multiplies the excess risk by $1 + \frac1n$ and adds
#   $s_e^2/n$, for every factor alike.
# - Digits are not Gaussian. The law for them is a guide; leave-one-out of the scale
#   (`theory.leave_one_out_scale`) assumes no law, and is as good as the prescription there, not better.
# - The guarantee averages over designs, and up to four inputs there is none.
# - The sizes, the digits and the number of components were chosen after a first look at digit 3.
#
# ## Exercises
#
# **1. Derive.** Rows are not Gaussian: $v^{*\prime}x$ has the excess kurtosis $\rho$, errors are
# independent of $x$. What becomes of the limit in (v), and from which $R^2$ on do many rows lose by
# BN at the true length?
#
# :::{dropdown} Solution
# In the proof the first coordinate of $v$ is $R$ times the root of $n/(A + B/\hat v_1^2)$: its error is
# that of the rows' variance of $v^{*\prime}x$, $A/n$ up to $O(1/n)$, whose relative variance is
# $(\rho + 2)/n$ in place of $2/n$. So $\frac{R^2}2$ becomes $\frac{(\rho+2)R^2}4$, the limit
# $1 - \frac1d\big(1 - \frac{(\rho+2)R^2}{4(1-R^2)}\big)$, and many rows lose if
# $R^2 > 4/(6 + \rho)$. With $\rho = 0$ that is $\frac23$; heavy tails lower it.
# :::
#
# **2. Run.** Set `components = 10`. Does BN's share on digits go up or down, and is the prescription
# still worth it at 100 rows?
#
# :::{dropdown} Solution
# Down: to about 0.1, where the law for Gaussian rows says one third and the interval reaches below 0.
# With ten inputs there is little to correct, and the length of the fit scatters. The prescription is
# a per cent or two better than least squares there, and a little worse than BN at the true length:
# the one has to estimate from 100 rows what the other was told. Ridge gains no more; directions of
# small variance, where it shines, are left out.
# :::
