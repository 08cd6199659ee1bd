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
# # Least squares in closed form
#
# Builds on {doc}`constraint` and {doc}`rate`.
# After it you can compute the rate of a least-squares unit from the data alone, and say when BN stretches.
#
# How large is the rate that batch normalization (BN) sets? In general one has to measure it. For squared loss it can
# be written down: it is how much the inputs explain of the target, divided by BN's scale $\gamma$, less one.
#
# So this is the place where one sees what the sign of the rate depends on, when BN shrinks the weights and when it
# inflates them, and what it costs. The closed forms for noise, real digits and small batches are built on this one.

# %% tags=["parameters"]
seed = 2  # of generated data and weights
gamma = 1.2  # BN's scale in the five lines, in units of the target
rows = 300  # of data

# %% tags=["hide-input"]
from fractions import Fraction
from itertools import repeat

import numpy as np
import torch

from bnlib import meter, models, theory, training
from bnlib.moments import Moments
from bnlib.training import half_squared_error
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding
from companion.records import Source

rng = np.random.default_rng(seed)
source = Source(title="generated data", train_size=rows, seeds=[seed])

# %% [markdown]
# ## In plain words
#
# Least squares without BN finds weights whose output has a certain standard deviation: that part of the target's that
# the inputs explain. BN prescribes the standard deviation $\gamma$ instead. For a linear unit the best it can do is to
# keep the direction and to change the length. If $\gamma$ is the smaller of the two, the weights shrink, and that
# needs a positive penalty. If it is the larger one, they grow, and the penalty is negative.
#
# ## The theorem
#
# Let $c = \operatorname{Cov}(x, t)$,
# $\sigma_t^2 = \operatorname{Var} t$, and $R^2$ the share of the target's variance that a linear fit explains,
# $R \ge 0$. $\Sigma^+$ is the pseudo-inverse: inputs may be constant or collinear.
#
# ::::{prf:theorem} Least squares under batch normalization
# :label: thm-least-squares
#
# Let $L(v) = \tfrac12 \operatorname E (t - b - v'x)^2$ with the tied bias and $\beta = \operatorname E t$, its best
# value; $\varepsilon = 0$, $\gamma > 0$ (for $\gamma < 0$ write $\lvert\gamma\rvert$), and
# $R^2 = c'\Sigma^+c/\sigma_t^2$.
#
# **(i)** At *every* $v$ on the ellipsoid,
# $\;1 + \lambda(v) = c'v/\gamma^2 = \operatorname{corr}(v'x, t)\; \sigma_t/\gamma$.
#
# **(ii)** The minimum of $J$, the rate there, and, if $R > 0$, the minimizer are
#
# $$
# \min J = \tfrac12 \bigl( \sigma_t^2 - 2\gamma R\sigma_t + \gamma^2 \bigr),
# \qquad
# 1 + \lambda = \frac{R\sigma_t}{\gamma},
# \qquad
# v = \frac{\gamma}{R\sigma_t}\, \Sigma^+ c = \frac{1}{1 + \lambda}\, \Sigma^+c .
# $$
#
# If $R > 0$ the minimizer is unique up to the null space of $\Sigma$, and the only other stationary point, $-v$, is
# the maximizer.
#
# **(iii)** $\lambda > 0$ (BN shrinks) if $\gamma < R\sigma_t$; $\lambda < 0$ (BN **inflates**) if $\gamma > R\sigma_t$;
# $\lambda = 0$ if $\gamma = R\sigma_t$, the standard deviation of the least squares fit without BN.
#
# **(iv)** If $R = 0$, no input is correlated with the target, $\lambda = -1$ everywhere, and all points of the
# ellipsoid are equally good.
# ::::
#
# :::{dropdown} Proof
# *First, $c$ lies in the range of $\Sigma$:* if $\Sigma u = 0$ then $u'x$ is constant, so
# $u'c = \operatorname{Cov}(u'x, t) = 0$; and the range of a symmetric matrix is all that is orthogonal to its null
# space. With $b = \operatorname E t - v'\mu$,
#
# $$
# L(v) = \tfrac12 \operatorname{Var}(t - v'x) = \tfrac12 \bigl( \sigma_t^2 - 2 c'v + v'\Sigma v \bigr),
# \qquad \nabla_v L = \Sigma v - c .
# $$
#
# For another $\beta$ the constant $\tfrac12(\operatorname E t - \beta)^2$ is added; no $v$ can lower it.
#
# **(i)** By {prf:ref}`thm-rate`, $\lambda = -v'(\Sigma v - c)/\gamma^2 = (c'v - \gamma^2)/\gamma^2$, as
# $v'\Sigma v = \gamma^2$. Moreover $c'v = \operatorname{Cov}(v'x, t)$ and $v'x$ has standard deviation $\gamma$.
#
# **(ii)** On the ellipsoid $L = \tfrac12(\sigma_t^2 - 2c'v + \gamma^2)$: maximize $c'v$. As $c$ is in the range of
# $\Sigma$, $c = \Sigma^{1/2}\Sigma^{+1/2}c$, and Cauchy and Schwarz give
#
# $$
# c'v = (\Sigma^{+1/2}c)'(\Sigma^{1/2}v) \;\le\; \lVert \Sigma^{+1/2} c\rVert\, \lVert\Sigma^{1/2} v\rVert =
# R\sigma_t\, \gamma ,
# $$
#
# with equality, if $R > 0$, exactly if $\Sigma^{1/2} v = \frac{\gamma}{R\sigma_t}\, \Sigma^{+1/2}c$, that is, if
# $v = \frac{\gamma}{R\sigma_t}\Sigma^+c$ up to the null space of $\Sigma$. Insert into $L$ and into (i). Stationary
# on the ellipsoid means $\Sigma v - c + \lambda\Sigma v = 0$, so $(1+\lambda)\Sigma v = c \neq 0$ and $v$ is a
# multiple of $\Sigma^+c$ up to the null space; two of them have $v'\Sigma v = \gamma^2$. At $-v$, $c'v$ is smallest.
#
# **(iii)** Read off from $1 + \lambda = R\sigma_t/\gamma$; $\Sigma^+c$ has output variance
# $c'\Sigma^+c = R^2\sigma_t^2$.
#
# **(iv)** $R = 0$ means $\Sigma^{+1/2}c = 0$, so $c = 0$ and $L = \tfrac12(\sigma_t^2 + \gamma^2)$ on all of the
# ellipsoid; $\lambda = -1$ by (i).
# $\square$
# :::
#
# So $1 + \lambda$ is the factor by which BN divides the fit: at $\lambda = 1$ the weights are half those of least
# squares without BN, at $\lambda = 0$ they are the same.
#
# Walk on the ellipse yourself, for least squares with two inputs. Away from BN's minimizer the two arrows do not
# cancel, and the rate is that of {prf:ref}`thm-rate`. At it they do, and the rate is $R\sigma_t/\gamma - 1$.
#
# <div class="moving" id="moving-ellipse" data-figure="ellipse">
# <p class="moving-still">On the web pages of this book this figure moves. At a point v of the ellipse stand two
# arrows, downhill −∇L and the penalty −λΣv. They cancel only on the line through the
# origin and the minimizer without BN. On the nearer side, with γ below Rσ<sub>t</sub>, the penalty points
# inwards: λ is positive, and BN shrinks. With γ above Rσ<sub>t</sub> it points outwards: λ is negative, and BN
# inflates.</p>
# </div>
#
# ## Check it in five lines
#
# The closed form against a library's solver for ordinary least squares:

# %%
mixing = np.triu(rng.uniform(0.2, 1, (6, 6)))
X = rng.standard_normal((rows, 6)) @ mixing
y = X @ rng.standard_normal(6) + 2 * rng.standard_normal(rows)

ols = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
fitted_std = np.std(X @ ols)  # R sigma_t
check(
    "least-squares",
    "bnlib's BN weights against gamma/(R sigma_t) times lstsq's ordinary least squares weights",
    measured=theory.least_squares(Moments.from_data(X, y), gamma).weights,
    predicted=gamma / fitted_std * ols,
    tolerance=1e-12,
    source=source,
)

# %% [markdown]
# ## Trained through PyTorch's layer
#
# Train raw weights through `BatchNorm1d` from a random start, at six values of $\gamma$, and read the rate with the
# meter.

# %%
inputs, target = torch.from_numpy(X), torch.from_numpy(y)
gammas = fitted_std * np.array([0.35, 0.5, 0.7, 1.0, 1.4, 2.0])


def trained_unit(gamma):
    unit = models.unit(6, gamma, beta=y.mean(), seed=seed)
    training.settle([unit[0].weight], lambda: half_squared_error(unit(inputs), target))
    return unit


units = [trained_unit(each) for each in gammas]
reports = [meter.measure(unit, [(inputs, target)], half_squared_error) for unit in units]
measured = np.array([report.rate[0] for report in reports])

# %% tags=["hide-input"]
trained = check(
    "least-squares",
    "1 + rate of units trained through BatchNorm1d at six values of gamma against R sigma_t / "
    "gamma",
    measured=1 + measured,
    predicted=fitted_std / gammas,
    tolerance=1e-11,
    source=source,
)
loudest = check(
    "least-squares",
    "loss of the unit trained through BatchNorm1d against (sigma_t^2 - 2 gamma R sigma_t + "
    "gamma^2)/2",
    measured=half_squared_error(units[-1](inputs), target).item(),
    predicted=(np.var(y) - 2 * gammas[-1] * fitted_std + gammas[-1] ** 2) / 2,
    tolerance=1e-12,
    source=source,
)
free_loss = np.var(y - X @ ols) / 2
finding(
    "For least squares the rate is Rσ_t/γ − 1: six units trained through BatchNorm1d have it to "
    "within {difference:.0e}.",
    trained,
)
finding(
    "BN costs nothing only at γ = Rσ_t, here {fitted_std:.2f}. At twice that the rate is "
    "{rate:.2f}: BN inflates the weights, and the smallest training loss is {measured:.2f} "
    "instead of {free:.2f}.",
    loudest,
    fitted_std=fitted_std,
    rate=measured[-1],
    free=free_loss,
)

# %% tags=["hide-input"]
line = np.linspace(0.25, 2.4, 300) * fitted_std
curve = fitted_std / line - 1
picture = Picture(1, 2, height=3.4)
left, right = picture
left.level(0, color=INK, style="-")
left.level(-1, color=INK, style=":")
for part, color in ((curve >= 0, "signal"), (curve <= 0, "l2")):
    left.ax.fill_between(line, curve, 0, where=part, color=COLORS[color], alpha=0.2, linewidth=0)
left.line(line, curve, "the closed form", "theory")
left.dots(gammas, measured, "the rate of six trained units", "batch", markersize=7)
left.ax.text(0.75 * fitted_std, 1.0, "λ > 0: BN shrinks")
left.ax.text(1.16 * fitted_std, 0.1, "λ < 0: BN inflates")
left.set(xlabel="γ", ylabel="rate λ", title="the rate")
smallest = (np.var(y) - 2 * line * fitted_std + line**2) / 2
right.line(line, smallest, "closed form", "theory")
right.level(free_loss, "without BN", color="none")
right.set(xlabel="γ", title="smallest loss", ylim=(0, None), legend={"loc": "upper left"})
for panel in picture:
    panel.ax.set_xticks(fitted_std * np.array([0.5, 1, 2]), ["½ Rσ_t", "Rσ_t", "2 Rσ_t"])
    panel.note(f"Rσ_t is {fitted_std:.2f}")
picture.show(
    says="The rate falls with γ and is zero at Rσ_t, where BN costs nothing."
    " Left: the rate against γ, closed form (line) and PyTorch units trained through "
    "BatchNorm1d (dots). To the right of Rσ_t the rate is negative: BN inflates. Right: what it "
    "costs in training loss. Only at Rσ_t does BN cost nothing.",
    source=source,
    name="rate-against-gamma",
)

# %% [markdown]
# A negative rate is not regularization. It pushes the weights out: the unit is *made* to vary by $\gamma$, and if the
# inputs explain less of the target than that, the rest of the variance is of no use.
#
# ## During training the rate is a correlation
#
# Part (i) holds at every step: $1 + \lambda$ is the correlation of output and target, in units of $\gamma/\sigma_t$.
# A random start may be correlated with the target
# either way, so $\lambda$ starts somewhere about $-1$. As the unit learns, the rate climbs to its final value, and
# never above. With twenty inputs a random start is far from the goal:

# %% tags=["hide-input"]
wide = rng.standard_normal((rows, 20)) * rng.uniform(0.5, 1.5, 20)
wide_t = wide @ rng.standard_normal(20) + 2 * rng.standard_normal(rows)
wide_moments = Moments.from_data(wide, wide_t)
wide_std = np.sqrt(wide_moments.r_squared * wide_moments.target_var)
batch = torch.from_numpy(wide), torch.from_numpy(wide_t)
rates, correlations, starts, gaps = [], [], [], []


def look(step, model):
    """Keep the rate, and the correlation it is said to be."""
    rates.append(meter.measure(model, [batch], half_squared_error).rate[0])
    output = model(batch[0]).detach().numpy()[:, 0]
    correlations.append(np.corrcoef(output, wide_t)[0, 1] * np.std(wide_t) / scale)


picture = Picture(height=3.2)
for share, color in ((0.5, "l2"), (1.0, "batch"), (2.0, "noise")):
    scale = share * wide_std
    unit = models.unit(20, scale, beta=wide_t.mean(), seed=seed)
    training.fit(unit, repeat(batch, 100), half_squared_error, 0.004 / scale, observe=look)
    path = rates[-101:]
    starts.append(path[0])
    gaps.append(1 / share - 1 - path[-1])
    name = f"γ = {share:g} Rσ_t"
    picture[0].line(range(101), path, name, color)
    picture[0].level(1 / share - 1, f"the closed form for {name}")
    place = {"xytext": (0, -6), "textcoords": "offset points", "ha": "right", "va": "top"}
    picture[0].ax.annotate(name, (100, path[-1]), **place)
picture[0].set(xlabel="gradient step", ylabel="rate λ", ylim=(None, 1.15))
picture.show(
    says="Along training the rate rises to the closed form (dashed) and stays below it.",
    source=source,
    name="rate-along-training",
)
along = check(
    "least-squares",
    "1 + rate at every step of three trainings against the correlation of output and target times "
    "sigma_t / gamma",
    measured=1 + np.array(rates),
    predicted=correlations,
    tolerance=1e-11,
    source=source,
)
finding(
    "During training 1 + λ is the correlation of output and target times σ_t/γ, at each of "
    "{steps} steps to within {difference:.0e}. Three units began at rates from {first:.2f} to "
    "{last:.2f} and ended at most {gap:.3f} below the closed form.",
    along,
    steps=len(rates),
    first=min(starts),
    last=max(starts),
    gap=max(gaps),
)

# %% [markdown]
# ## Exactly
#
# Nothing to round: two inputs, and $\Sigma$ and $c$ such that $R\sigma_t = 5$ is rational.

# %% tags=["hide-input"]
Sigma = np.array([[Fraction(4), Fraction(2)], [Fraction(2), Fraction(2)]])
c = np.array([Fraction(6), Fraction(7)])
scale, target_var = Fraction(3), Fraction(40)
inverse = np.array([[1, -1], [-1, 2]]) * Fraction(1, 2)
v = scale / 5 * inverse @ c
check(
    "least-squares",
    "in exact arithmetic: explained variance, constraint, rate, stationarity and loss of the "
    "closed form",
    measured=[
        c @ inverse @ c,  # R^2 sigma_t^2
        v @ Sigma @ v,
        c @ v / scale**2,
        *(Sigma @ v * Fraction(5, 3)),
        (target_var - 2 * c @ v + v @ Sigma @ v) / 2,
    ],
    predicted=[25, scale**2, Fraction(5, 3), *c, (target_var - 2 * scale * 5 + scale**2) / 2],
    kind="exact",
)

# %% [markdown]
# ## What it means for your network
#
# - On clean data and squared loss, BN at fixed $\gamma$ is a scaled copy of the fit without it. Any gain must come
#   from the scale.
# - A $\gamma$ that is too large is not harmless: the rate is then negative, and BN adds variance of no use.
# - The rate looks at the data at hand. With almost as many inputs as rows, $R$ is almost 1 whatever the inputs are
#   worth, and the rate says so little about new data (exercise 2).
# - As soon as the inputs are noisy, BN turns the weights too: {doc}`noise`.
#
# ## What we learned
#
# - For least squares $1 + \lambda = R\sigma_t/\gamma$, and the minimizer is $1/(1 + \lambda)$ times the least squares
#   fit: {prf:ref}`thm-least-squares`.
# - BN shrinks if $\gamma < R\sigma_t$ and inflates if $\gamma > R\sigma_t$. At $\gamma = R\sigma_t$ it changes nothing.
# - During training the rate is a correlation: it starts about $-1$ and rises to its final value.
#
# ## Where it stops
#
# - A penalty on $v'\Sigma v$ alone cannot change the direction of a least squares fit. For other losses it can, but it
#   need not: for cross-entropy on inputs of Gaussian shape the direction is this one at every $\gamma$
#   ({doc}`cross-entropy`).
# - The rate at the minimum is for a fixed $\gamma$. A learned one settles at $R\sigma_t$, or at $-R\sigma_t$ with the raw
#   weights turned around, which is the same function; there the rate is zero. Weight decay on $\gamma$ holds it at the
#   decay, with optimizers that add the decay to the gradient: {doc}`stationarity`.
# - The moments are those of one batch that is always the same. {doc}`minibatch` takes a new one at every step.
#
# ## Exercises
#
# **1. Derive.** What does BN cost? Show that the smallest loss with BN exceeds the one without it by
# $\tfrac12\gamma^2\lambda^2$, and that it changes with $\gamma$ at the rate $-\gamma\lambda$.
#
# :::{dropdown} Solution
# Without BN the smallest loss is $\tfrac12\sigma_t^2(1 - R^2)$. The difference is
#
# $$
# \tfrac12\bigl(\sigma_t^2 - 2\gamma R\sigma_t + \gamma^2\bigr) - \tfrac12\sigma_t^2(1 - R^2)
# = \tfrac12 (R\sigma_t - \gamma)^2 = \tfrac12\gamma^2\lambda^2 ,
# $$
#
# as $R\sigma_t - \gamma = \gamma\lambda$. Its derivative in $\gamma$ is $-(R\sigma_t - \gamma) = -\gamma\lambda$.
# This is a price: what one unit of $\gamma$ is worth. {doc}`stationarity` has it for every loss.
# :::
#
# **2. Run.** Set `rows = 7`: six inputs and hardly more rows. Before you run: what is $R$, and what is the rate at
# $\gamma = \sigma_t$?
#
# :::{dropdown} Solution
# Six weights and the shift fit seven rows without any error. So $R = 1$, $R\sigma_t = \sigma_t$, and the rate at
# $\gamma = \sigma_t$ is zero: the loss without BN, dashed on the right of the figure, is zero, and BN with
# $\gamma = \sigma_t$ changes nothing. Most of what has been fitted is noise. The rate cannot know that, as it sees
# these seven rows only.
# :::
