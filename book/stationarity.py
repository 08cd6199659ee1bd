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
# # Where training comes to rest
#
# {doc}`Every step <rate>` of a network with batch normalization (BN) carries a
# penalty whose rate $\lambda$ the data set. What is left of it when training has
# converged? At a stationary point the rate stops being a
# property of a step: it becomes the Lagrange multiplier of the constraint, with a
# price tag attached. We see that BN can then be *removed*: a network without BN
# that pays the same rate has the same weights, on real digits to many decimals.
# We also see when nothing is left: a scale $\gamma$ that is learned freely drives
# the rate to zero, weight decay on $\gamma$ pins it, and BN's small constant
# $\varepsilon$ turns the constraint into an inequality.

# %% tags=["parameters"]
seed = 0  # of the synthetic points and of all initial weights
dataset = "mnist-5k"  # data set of the real read-out
digits_used = 1000  # training digits, of those in the data set
components = 15  # principal components of the digits used as inputs
gamma_digits = 1.0  # fixed scale of every logit
decays = [0.0, 0.03, 0.1]  # weight decay on gamma
steps = 800  # of gradient descent, for the picture of training
eps_large = 0.5  # BN's eps where it is meant to be seen, in units of variance

# %%
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import brentq
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import data, theory, training
from companion import figures, page, statistics

torch.manual_seed(seed)
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## Two gradients become parallel
#
# Take 400 points in the plane with two classes, and the logistic loss of a linear
# unit. Weights $v$ that BN can reach lie on an ellipse
# ({prf:ref}`thm-constraint`): those whose output has variance $\gamma^2$.
# Training walks along the ellipse to its lowest point. There the way down, $-\nabla L$,
# points straight out of the ellipse or straight into it, along its normal
# $\Sigma v$. The ratio of the two arrows is $\lambda$.

# %%
rng = np.random.default_rng(seed)
points = rng.standard_normal((400, 2)) @ [[1.3, 0.9], [0.0, 0.7]]
labels = rng.random(400) < 1 / (1 + np.exp(-points @ [0.9, -1.2]))
centred = points - points.mean(axis=0)
cov = centred.T @ centred / len(points)  # Sigma, (2, 2)


def logistic_loss(v):  # bias tied: the output has mean 0 over the data
    margin = np.where(labels, 1, -1) * (centred @ v)
    return np.logaddexp(0, -margin).mean()


def logistic_gradient(v):
    probability = 1 / (1 + np.exp(-centred @ v))
    return centred.T @ (probability - labels) / len(labels)


def best_on_ellipse(gamma):
    half = np.linalg.inv(np.linalg.cholesky(cov)).T  # half' Sigma half = I
    around = lambda angle: gamma * half @ [np.cos(angle), np.sin(angle)]
    angles = np.linspace(0, 2 * np.pi, 61)
    start = min(angles, key=lambda angle: logistic_loss(around(angle)))
    slope = lambda angle: (
        around(angle + np.pi / 2) @ logistic_gradient(around(angle))
    )
    lowest = brentq(slope, start - 0.1, start + 0.1, xtol=1e-15)
    return around(lowest), np.array([around(angle) for angle in angles])

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.9, sharex=True, sharey=True)
grid = np.linspace(-3.1, 3.1, 90)
surface = np.array([[logistic_loss(np.array([a, b])) for a in grid] for b in grid])
shown = []
for ax, gamma in zip(axes, (0.7, 1.7)):
    v, ellipse = best_on_ellipse(gamma)
    gradient, normal = logistic_gradient(v), cov @ v
    shown.append(float(theory.rate(v, gradient, gamma)))
    ax.contour(grid, grid, surface, levels=14, colors=figures.COLORS["none"], linewidths=0.7)
    ax.plot(*ellipse.T, color=figures.COLORS["batch"])
    side = np.sign(shown[-1])
    for vector, key, length, name in (
        (side * normal, "signal", 1.3, "Σv" if side > 0 else "−Σv"),
        (-gradient, "l2", 0.8, "−∇L"),
    ):
        tip = v + length * vector / np.linalg.norm(vector)
        ax.annotate("", tip, v, arrowprops={"arrowstyle": "->", "color": figures.COLORS[key], "lw": 2.2})
        ax.annotate(name, tip, xytext=(7, -4), textcoords="offset points", color=figures.COLORS[key])
    ax.plot(*v, "o", color=figures.COLORS["batch"], markersize=7)
    ax.set_title(f"γ = {gamma}:  λ = {shown[-1]:.2f}".replace("-", "−"))
    ax.set_xlim(-3.1, 3.1)
    ax.set_ylim(-3.1, 3.1)
    ax.set_xlabel("weight 1")
    ax.set_aspect("equal")
axes[0].set_ylabel("weight 2")
figures.show(
    fig,
    alt=f"Two ellipses on the contours of a logistic loss. On the small one the way down and the ellipse's "
    f"normal point the same way, rate {shown[0]:.2f}; on the large one opposite ways, rate {shown[1]:.2f}.",
    caption="Contours: the loss without BN. Ellipse: what BN can reach. At its lowest point the way down "
    "(orange) lies along the ellipse's normal (green). Left, γ is small: the loss pulls outward, BN holds the "
    "weights in, λ is positive. Right, γ is large: the loss pulls inward, BN holds the weights out, λ is negative.",
    source=f"400 Gaussian points, logistic loss, seed {seed}",
)

# %% [markdown]
# ## The theorem
#
# As before $L(v)$ is the loss of the network without BN with its bias tied,
# $b = \beta - v^\top\mu$; a learned $\beta$ is simply one more variable of $L$, on
# which no penalty acts. Where $\Sigma$ is singular, $L$ does not see the directions
# in which the data do not vary, and "unique" means: up to those.
#
# :::{prf:theorem} Stationary points, multiplier, shadow price
# :label: thm-stationarity
# Let $L$ be continuously differentiable, $\gamma > 0$, and let $\lambda = -v^\top\nabla L(v)/\gamma^2$.
#
# 1. *(Multiplier.)* Let $\varepsilon = 0$ and $q > 0$. Then $\nabla_w J = 0$ if and only if
#    $\nabla L(v) + \lambda\,\Sigma v = 0$, and no other number than $\lambda$ solves
#    this equation.
# 2. *(Shadow price.)* Let $\varepsilon = 0$. The least value $m(\gamma) = \min_w J(w, \gamma)$ has
#    one-sided derivatives. The right one is the smallest, the left one the largest
#    value of $-\gamma\lambda$ over the minimizers at $\gamma$. Where these share one $\lambda$,
#
#    $$\frac{\mathrm d m}{\mathrm d\gamma} = -\gamma\,\lambda .$$
#
#    (For a learned $\beta$: if the minimizing $\beta$ stay bounded near $\gamma$.)
# 3. *(Remove BN, keep the rate, get the same network.)* Let $\varepsilon = 0$, let $w$ (and
#    $\beta$, if learned) be stationary, $L$ convex and $\lambda \ge 0$. Then $v$ is a global minimizer of the
#    problem without BN
#
#    $$L(v) + \tfrac{\lambda}{2}\, v^\top\Sigma v ,$$
#
#    the only one if $\lambda > 0$ and $\Sigma$ is invertible; and $w$ is a global minimizer of $J$.
# 4. *(Learned $\gamma$.)* For any $\varepsilon \ge 0$: where $\partial J/\partial\gamma = 0$, $\lambda = 0$.
#    With weight decay $a$ on $\gamma$, where $\partial J/\partial\gamma + a\gamma = 0$, $\lambda = a$.
# 5. *($\varepsilon > 0$, $\gamma$ fixed: an inequality.)* With $\beta$ held fixed,
#    $\inf_w J = \min\{L(v) : v^\top\Sigma v \le \gamma^2\}$.
#    At every minimizer of the right-hand side
#
#    $$\lambda \ge 0, \qquad \lambda\,(\gamma^2 - v^\top\Sigma v) = 0, \qquad \nabla L(v) + \lambda\,\Sigma v = 0 .$$
#
#    Every finite stationary $w$ has $\lambda = 0$; a positive $\lambda$ is
#    approached as $q \to \infty$, never attained. For least squares
#    $\lambda = \max(0,\, R\sigma_t/\gamma - 1)$.
# :::
#
# :::{dropdown} Proof
# Throughout, {prf:ref}`thm-rate` gives
# $\nabla_w J = (\gamma/s)\,[\nabla L(v) + \lambda\Sigma v]$ and
# $\gamma\,\partial J/\partial\gamma = v^\top\nabla L(v) = -\gamma^2\lambda$, for every $\varepsilon \ge 0$.
#
# **1.** The factor $\gamma/s$ is positive, so $\nabla_w J = 0$ exactly when the bracket is zero. If
# $\nabla L + \lambda'\Sigma v = 0$ for some $\lambda'$, multiply by $v^\top$:
# $v^\top\nabla L + \lambda'\gamma^2 = 0$, as $v^\top\Sigma v = \gamma^2$. So $\lambda' = \lambda$.
#
# **2.** Write $v = \gamma u$ with $u$ on the fixed ellipsoid $E_1 = \{u^\top\Sigma u = 1\}$. By
# {prf:ref}`thm-constraint`
# $m(\gamma) = \min_{u \in E_1} f(u, \gamma)$ with $f(u,\gamma) = L(\gamma u)$: the constraint no longer moves.
# $E_1$, taken in the range of $\Sigma$, is compact ($L$ does not see the rest), and
# $\partial_\gamma f = u^\top\nabla L(\gamma u) = v^\top\nabla L(v)/\gamma = -\gamma\lambda$ is continuous in
# $(u, \gamma)$.
# Let $h > 0$.
# *From above:* for each minimizer $u$ at $\gamma$, $m(\gamma + h) - m(\gamma) \le f(u, \gamma + h) - f(u, \gamma)$.
# Divide by $h$
# and let $h \to 0$: the upper right derivative is at most the least $\partial_\gamma f(u,\gamma)$ among them.
# *From below:* let $u_h$ be a minimizer at $\gamma + h$. Then
# $m(\gamma + h) - m(\gamma) \ge f(u_h, \gamma + h) - f(u_h, \gamma) = h\,\partial_\gamma f(u_h, \gamma + \theta h)$
# for a $\theta \in (0,1)$.
# Choose $h \to 0$ along which the quotient tends to its lower limit and, by compactness, $u_h \to u_0$. Continuity
# makes
# $u_0$ a minimizer at $\gamma$, and the lower limit is at least $\partial_\gamma f(u_0, \gamma)$. So the right
# derivative exists and is the
# least of them. For $h < 0$ both inequalities are divided by a negative number, and the largest takes its place.
# With a bounded
# learned $\beta$, run the argument with $(u, \beta)$ in place of $u$.
#
# **3.** $(v,\beta) \mapsto L + \frac{\lambda}{2}v^\top\Sigma v$ is a sum of convex functions, as $\lambda \ge 0$
# and $\Sigma$ is positive
# semidefinite. Its gradient in $v$ is zero by part 1; in $\beta$ it is that of $J$, zero too. A stationary point of
# a convex function is a global
# minimizer. With $\lambda > 0$ and $\Sigma$ invertible the function is strictly convex in $v$. Finally, on the
# ellipsoid the penalty is the constant
# $\lambda\gamma^2/2$, so no point of it has a smaller $L$: $w$ minimizes $J$.
#
# **4.** $\lambda = -(1/\gamma)\,\partial J/\partial\gamma$. The two cases put $0$ and $-a\gamma$ for
# $\partial J/\partial\gamma$.
#
# **5.** By {prf:ref}`thm-constraint` the $v$ that BN reaches are, up to what $L$ does not see, the open ellipsoid
# $v^\top\Sigma v = \gamma^2 q/(q + \varepsilon) < \gamma^2$; $L$ is continuous, so the infimum over it is the
# minimum over its closure
# $K$, which is compact. Let $v$ be a minimizer in $K$. $K$ is convex and contains $0$, so
# $\phi(\tau) = L((1 - \tau) v)$ has its
# minimum on $[0,1]$ at $\tau = 0$. Hence $\phi'(0) = -v^\top\nabla L(v) \ge 0$: that is $\lambda \ge 0$. If
# $v^\top\Sigma v < \gamma^2$, then $v$ is an interior
# point, $\nabla L = 0$ and $\lambda = 0$. If $v^\top\Sigma v = \gamma^2$, then $v$ also minimizes $L$ on the
# ellipsoid and part 1
# gives the equation. At a finite stationary $w$ multiply $\nabla L + \lambda\Sigma v = 0$ by $v^\top$:
# $\lambda\,(v^\top\Sigma v - \gamma^2) = -\lambda\gamma^2\varepsilon/(q + \varepsilon) = 0$, so $\lambda = 0$.
# Least squares: the
# unconstrained fit has output variance $R^2\sigma_t^2$. If that is at most $\gamma^2$ it lies in $K$, and
# $\lambda = 0$; every other minimizer in $K$ is it again, up to
# the null space. If it exceeds $\gamma^2$, $\nabla L$ vanishes nowhere in $K$, so the minimizer is on the
# ellipsoid, and {prf:ref}`thm-least-squares` gives
# $\lambda = R\sigma_t/\gamma - 1$. $\square$
# :::
#
# Several BN units feeding one loss, the logits of a softmax for instance, change
# nothing: the identity holds unit by unit, and part 3 for their joint problem with
# the sum of their penalties, if every $\lambda$ is at least 0.
#
# **Check it in five lines.** Change $\gamma$, or the loss.

# %%
gamma = 0.7
v, _ = best_on_ellipse(gamma)
gradient = logistic_gradient(v)
multiplier = theory.rate(v, gradient, gamma)
page.check(
    "stationarity",
    "At the lowest point of the ellipse, logistic loss in NumPy: minus "
    "the gradient against rate times Sigma v",
    -gradient,
    multiplier * cov @ v,
    tolerance=1e-10,
)

# %% [markdown]
# Least squares allows a check without rounding: all numbers below are fractions.
# $m(\gamma)$ is a parabola there, so a difference quotient is its derivative, exactly.

# %%
S = [[Fraction(4), Fraction(2)], [Fraction(2), Fraction(2)]]  # Sigma
c, target_var, scale = [Fraction(6), Fraction(7)], Fraction(40), Fraction(2)
det = S[0][0] * S[1][1] - S[0][1] ** 2
fit = [
    (S[1][1] * c[0] - S[0][1] * c[1]) / det,
    (S[0][0] * c[1] - S[1][0] * c[0]) / det,
]
kappa = Fraction(5)  # R sigma_t
assert kappa**2 == c[0] * fit[0] + c[1] * fit[1]
v = [scale / kappa * entry for entry in fit]  # on the ellipse
Sv = [S[0][0] * v[0] + S[0][1] * v[1], S[1][0] * v[0] + S[1][1] * v[1]]
gradient = [Sv[i] - c[i] for i in (0, 1)]
lam = -(v[0] * gradient[0] + v[1] * gradient[1]) / scale**2
least = lambda g: (target_var - 2 * g * kappa + g**2) / 2
slope = (least(scale + 1) - least(scale - 1)) / 2
residual = sum(abs(gradient[i] + lam * Sv[i]) for i in (0, 1))
page.check(
    "stationarity",
    "Least squares in fractions: gradient plus rate times Sigma v is zero",
    residual,
    Fraction(0),
    kind="exact",
)
page.check(
    "stationarity",
    "Least squares in fractions: the slope of the least loss in gamma "
    "is minus gamma times the rate",
    slope,
    -scale * lam,
    kind="exact",
)

# %% [markdown]
# ## What a unit of output variance is worth
#
# Part 2 gives $\lambda$ a price: allow the output a little more standard deviation,
# and the least loss falls by $\gamma\lambda$ times that. Below, torch's own
# `BatchNorm1d` is trained on the points above to stationarity at many values of
# $\gamma$. The short lines are not fitted: their slope is $-\gamma\lambda$, read from a single gradient.


# %%
def read_out(inputs, units, gamma, eps=1e-30):  # torch refuses eps = 0
    network = nn.Sequential(
        nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units, eps=eps)
    )
    network[1].weight.data.fill_(gamma)
    return network


def rates(network, loss):  # lambda = -(dJ/dgamma) / gamma, a number a unit
    gamma = network[1].weight
    return (-torch.autograd.grad(loss, gamma)[0] / gamma).detach()


x, t = torch.from_numpy(points), torch.from_numpy(labels).double()


def trained(gamma):
    torch.manual_seed(seed)
    network = read_out(2, 1, gamma)
    network[0].weight.data = torch.tensor([[0.9, -1.2]])
    network[1].bias.requires_grad_(False)
    objective = lambda: nn.functional.binary_cross_entropy_with_logits(
        network(x)[:, 0], t
    )
    left = training.settle([network[0].weight], objective)
    loss = objective()
    return float(loss.detach()), float(rates(network, loss)[0]), left


scales = np.linspace(0.2, 2.6, 25)
curve = np.array([trained(gamma) for gamma in scales])

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
ax.plot(scales, curve[:, 0], color=figures.COLORS["batch"], label="least loss, min J")
for i in (1, 7, 13, 20):
    along = np.array([-0.16, 0.16])
    ax.plot(scales[i] + along, curve[i, 0] - scales[i] * curve[i, 1] * along, color=figures.COLORS["theory"], lw=3)
    ax.annotate(
        f"λ = {curve[i, 1].round(2) + 0.0:.2f}".replace("-", "−"),
        (scales[i], curve[i, 0]),
        xytext=(0, 14) if i > 3 else (8, 8),
        textcoords="offset points",
        ha="left" if i < 4 else "right" if i > 10 else "center",
    )
free = scales[np.abs(curve[:, 1]).argmin()]
ax.plot([], [], color=figures.COLORS["theory"], lw=3, label="slope −γλ from one gradient")
ax.set_ylim(top=curve[:, 0].max() + 0.05)
ax.set_xlabel("γ, standard deviation of the output")
ax.set_ylabel("loss")
ax.legend(loc="upper center")
figures.show(
    fig,
    alt=f"The least loss falls as gamma grows to about {free:.1f} and rises after; short lines with slope minus gamma lambda are tangent to it.",
    caption=f"The rate is the slope of the least loss. It is zero where the curve is lowest, near γ = {free:.1f}: that is where a learned γ goes.",
    source=f"400 Gaussian points, logistic loss, torch BatchNorm1d in float64, seed {seed}; largest gradient left {curve[:, 2].max():.0e}",
)

# %%
h = 1e-4
slope = (trained(1.0 + h)[0] - trained(1.0 - h)[0]) / (2 * h)
page.check(
    "stationarity",
    "Torch, logistic loss: central difference of the least loss in "
    "gamma against minus gamma times the rate",
    slope,
    -1.0 * trained(1.0)[1],
    tolerance=1e-7,
)

# %% [markdown]
# ## Remove BN, keep the rate, get the same network
#
# Now real digits, ten classes, cross-entropy. The read-out sees the first principal
# components of the images and normalizes its ten logits with a fixed $\gamma$. We
# train it to stationarity and note the ten rates. Then we throw BN away. A plain
# softmax regression starts from zero weights and pays $\tfrac12\lambda_k v_k^\top\Sigma v_k$ for every logit.
# As a contrast it also pays half of that, twice that, and nothing.

# %%
digits = data.load(dataset)
images = digits.train.images[:digits_used].astype(np.float64)
images -= images.mean(axis=0)
_, axes_of_variation = np.linalg.eigh(images.T @ images / len(images))
features = torch.from_numpy(
    images @ axes_of_variation[:, : -components - 1 : -1]
)
classes = torch.from_numpy(digits.train.labels[:digits_used])
sigma = torch.cov(features.T, correction=0)

normalized = read_out(components, 10, gamma_digits)
bn_loss = lambda: cross_entropy(normalized(features), classes)
bn_left = training.settle([normalized[0].weight, normalized[1].bias], bn_loss)
rate_bn = rates(normalized, bn_loss())
w = normalized[0].weight.detach()
v_bn = torch.from_numpy(theory.effective_weights(w, gamma_digits, sigma))
print("rates of the ten logits:", rate_bn.numpy().round(3))


def without_bn(penalty_rates):
    v = torch.zeros(10, components, requires_grad=True)
    b = torch.zeros(10, requires_grad=True)
    penalty = lambda: (penalty_rates * ((v @ sigma) * v).sum(dim=1)).sum() / 2
    left = training.settle(
        [v, b], lambda: cross_entropy(features @ v.T + b, classes) + penalty()
    )
    return v.detach(), b.detach(), left


factors = (1.0, 0.5, 2.0, 0.0)
refits = {factor: without_bn(factor * rate_bn) for factor in factors}
with torch.no_grad():
    chance_bn = normalized(features).softmax(dim=1)
    chance = {
        factor: (features @ v.T + b).softmax(dim=1)
        for factor, (v, b, _) in refits.items()
    }
gap = {
    factor: float((chance[factor] - chance_bn).abs().max())
    for factor in factors
}

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.5)
look = {1.0: ("batch", "same rate"), 0.5: ("signal", "half"), 2.0: ("noise", "twice"), 0.0: ("none", "none")}
for factor in (0.0, 0.5, 2.0, 1.0):
    key, name = look[factor]
    axes[0].plot(v_bn.ravel(), refits[factor][0].ravel(), "o", markersize=3, color=figures.COLORS[key], label=name)
    axes[1].barh(name, gap[factor], left=0, color=figures.COLORS[key])
    axes[1].annotate(
        f"{gap[factor]:.1g}", (gap[factor], name), xytext=(4, 0), textcoords="offset points", va="center"
    )
axes[0].axline((0, 0), slope=1, color=figures.COLORS["batch"], lw=0.8)
axes[0].set_ylim(-1.5, 1.5)
axes[0].set_xlabel("weights v, with BN")
axes[0].set_ylabel("weights, without BN")
axes[0].legend(title="rate paid", markerscale=2)
axes[1].set_xscale("log")
axes[1].set_xlim(1e-16, 1e3)
axes[1].set_xticks([1e-15, 1e-10, 1e-5, 1])
axes[1].set_xlabel("largest difference of a probability")
figures.show(
    fig,
    alt="Weights without BN against weights with BN: at the same rate all points lie on the diagonal, at other rates they do not. "
    + "Largest difference of a class probability: "
    + ", ".join(f"{look[f][1]} {gap[f]:.1g}" for f in factors)
    + ".",
    caption=f"{10 * components} weights of ten logits. Only the rate that BN itself had set brings back the network that BN had found "
    "(without any rate some weights lie beyond the frame). "
    f"Gradient entries left: {bn_left:.0e} with BN, at most {max(refit[2] for refit in refits.values()):.0e} without.",
    source=f"{digits.title}, {len(classes):,} training digits, {components} principal components, seed {seed}",
)

# %%
page.check(
    "stationarity",
    "All ten rates of BN's softmax on digits are positive, as the "
    "removal of BN asks",
    bool((rate_bn > 0).all()),
    True,
    kind="exact",
)
page.check(
    "stationarity",
    "Softmax on MNIST digits: weights without BN at BN's rates against "
    "the effective weights with BN",
    refits[1.0][0].numpy(),
    v_bn.numpy(),
    tolerance=1e-8,
)

# %% [markdown]
# This is the plainest answer to "what does BN do to this network": it *is*
# softmax regression with ten Tikhonov rates that nobody chose. The rates differ from class to
# class; the data set them.
#
# ## A learned γ keeps nothing, unless it is decayed
#
# Usually $\gamma$ is learned. Part 4 says what follows: the rate ends at the weight decay on
# $\gamma$, to the last digit, whatever the data and the loss. Below, gradient
# descent trains weights, $\gamma$ and $\beta$ of the same read-out. Each thin line is a logit.

# %%
def learned_gamma(decay):
    torch.manual_seed(seed)
    network = read_out(components, 10, gamma_digits)
    optimizer = torch.optim.SGD(
        [
            {"params": [network[0].weight], "lr": 1.0},
            {"params": [network[1].weight], "weight_decay": decay},
            {"params": [network[1].bias]},
        ],
        lr=0.5,
        momentum=0.9,
    )
    path = []
    for _ in range(steps):
        loss = cross_entropy(network(features), classes)
        optimizer.zero_grad()
        loss.backward()
        path.append(-network[1].weight.grad / network[1].weight.detach())
        optimizer.step()
    return torch.stack(path).numpy(), network


paths = {decay: learned_gamma(decay) for decay in decays}

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
for (decay, (path, _)), key in zip(paths.items(), ("none", "batch", "signal", "noise")):
    ax.plot(np.arange(1, steps + 1), path, color=figures.COLORS[key], lw=0.8)
    ax.axhline(decay, color=figures.COLORS["theory"], lw=1.5, ls="--")
    ax.annotate(
        f"decay {decay:g}",
        (steps, decay),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=figures.COLORS[key],
    )
ax.set_xscale("log")
ax.set_ylim(-0.06, 1.6 * max(decays))
ax.set_xlabel("gradient steps")
ax.set_ylabel("rate λ")
figures.show(
    fig,
    alt="Rates of ten logits during training: for each weight decay on gamma they gather on a dashed line at that decay; without decay at zero.",
    caption="Wherever a unit starts, its rate ends at the weight decay on γ (dashed). Without decay it ends at zero: "
    "BN has then no rate left to give, on the batch it is trained with.",
    source=f"{digits.title}, {len(classes):,} training digits in one batch, seed {seed}",
)

# %%
decay = decays[-1]
_, network = paths[decay]
decayed = lambda: (
    cross_entropy(network(features), classes)
    + decay / 2 * network[1].weight.square().sum()
)
left = training.settle(list(network.parameters()), decayed)
found = rates(network, cross_entropy(network(features), classes)).numpy()
print(f"largest gradient entry left: {left:.0e}")
page.check(
    "stationarity",
    "Softmax on MNIST digits, learned gamma with weight decay: the ten "
    "rates against the decay",
    found,
    np.full(10, decay),
    tolerance=1e-8,
)

# %% [markdown]
# So weight decay on $\gamma$, which many recipes switch off, is a rate in its own
# right, and the only one that is the same for every unit. It acts on $v^\top\Sigma v$, not on $|v|^2$.
# In PyTorch you have it without asking: `weight_decay` acts on all parameters that an optimizer gets, $\gamma$ and
# $\beta$ included, unless they are put into a group of their own.
#
# ## With ε > 0 the constraint is an inequality
#
# BN divides by $\sqrt{q + \varepsilon}$, not by $\sqrt q$. By making $w$ small a unit can fall short of
# $\gamma$; it can never exceed it. Part 5: if the loss asks for a smaller output than
# $\gamma$, a finite $w$ grants it and $\lambda = 0$. If it asks for a larger one, $w$ grows without
# end and $\lambda$ rises to its positive limit. Nothing ends at a negative rate. We
# make $\varepsilon$ large to see it.

# %%
moments = theory.Moments.from_data(points, labels.astype(float))
kappa = float(np.sqrt(moments.r_squared * moments.target_var))  # R sigma_t
ratios = np.array([0.4, 0.6, 0.8, 0.95, 1.2, 1.6, 2.0, 2.4])


def least_squares_unit(gamma, eps):
    network = read_out(2, 1, gamma, eps)
    network[0].weight.data = torch.tensor([[0.3, -0.3]])
    objective = lambda: (t - network(x)[:, 0]).square().mean() / 2
    left = training.settle([network[0].weight, network[1].bias], objective)
    w = network[0].weight.detach()
    return float(rates(network, objective())[0]), float(w.norm()), left


settled = np.array(
    [least_squares_unit(ratio * kappa, eps_large) for ratio in ratios]
)

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.3)
fine = np.linspace(0.36, 2.5, 200)
equality = [float(theory.least_squares(moments, ratio * kappa).rate) for ratio in fine]
inequality = [float(theory.least_squares(moments, ratio * kappa, eps=eps_large).rate) for ratio in fine]
axes[0].plot(fine, equality, color=figures.COLORS["none"], ls="--", label="ε = 0")
axes[0].plot(fine, inequality, color=figures.COLORS["theory"], label="ε > 0, closed form")
axes[0].plot(ratios, settled[:, 0], "o", color=figures.COLORS["batch"], label=f"torch, ε = {eps_large}")
axes[0].set_xlabel("γ / (R σ_t)")
axes[0].set_ylabel("rate λ")
axes[0].legend()
axes[1].plot(ratios, settled[:, 1], "o", color=figures.COLORS["batch"])
axes[1].axvline(1, color=figures.COLORS["none"], ls="--")
axes[1].set_yscale("log")
axes[1].set_xlabel("γ / (R σ_t)")
axes[1].set_ylabel("|w| when the optimizer stops")
figures.show(
    fig,
    alt="Left: with eps above zero the rate falls to zero at gamma equal to R sigma_t and stays there; torch's points lie on the curve; with eps zero it "
    f"becomes negative. Right: the raw weights' norm, up to {settled[:, 1].max():.0e} left of that point and below {settled[4:, 1].max():.1f} right of it.",
    caption="Left: with ε > 0 the rate cannot end below zero. Right: the cost. Where the rate is positive the raw weights run off, "
    "because the ellipsoid's surface is reached by no finite w; the optimizer stops on the way.",
    source=f"400 Gaussian points, least squares, torch BatchNorm1d in float64, seed {seed}",
)

# %%
predicted = np.maximum(0, 1 / ratios - 1)
page.check(
    "stationarity",
    "Torch with eps > 0, least squares: the rate where the optimizer "
    "stops against max(0, R sigma_t / gamma - 1)",
    settled[:, 0],
    predicted,
    tolerance=1e-3,
)

# %% [markdown]
# With torch's default $\varepsilon = 10^{-5}$ both effects are slow: seen along $|w|$, the
# loss is almost flat ({doc}`Depth <depth>` says how flat). Over a usual training run the constraint acts as an
# equality, and a negative rate can last.
#
# ## What we learned
#
# - At a stationary point the rate is the Lagrange multiplier of BN's constraint: the
#   gradient and the ellipsoid's normal are parallel, and $\lambda$ is their ratio.
# - It is a price: $\mathrm d(\min J)/\mathrm d\gamma = -\gamma\lambda$.
# - If the loss is convex and no rate is negative, BN can be removed. The network without it that pays
#   the same rates has the same weights, and no other rate will do.
# - A learned $\gamma$ ends at $\lambda = 0$; weight decay $a$ on $\gamma$ ends at $\lambda = a$, for every unit and
# every data set.
# - With $\varepsilon > 0$ the constraint is an inequality and no negative rate is final.
#
# ## Where it stops
#
# - All equalities are those of a stationary point. In mid-training the rate is still that of
#   {prf:ref}`thm-rate`, but $v$ solves no penalized problem yet.
# - $\lambda = 0$ for a learned $\gamma$ is measured on the batch that is trained on. With
#   {doc}`mini-batches <minibatch>` it leaves a positive rate on the population.
# - A negative $\lambda$ is not regularization, and part 3 is silent there. It is silent, too, on losses that are not
#   convex in $v$, such as those of a hidden layer: parts 1, 2 and 4 still hold.
# - Decay on $\gamma$ needs a layer whose scale the network sees: in front of another BN layer it finds no rest
#   ({doc}`Depth <depth>`).
# - With $\varepsilon > 0$ and decay on a learned $\gamma$ alone there is no finite stationary point: $w$ grows for
# ever while $\gamma$
#   shrinks to its limit. $\lambda = a$ holds whenever $\gamma$ itself is at rest.
