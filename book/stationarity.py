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
# Builds on {doc}`constraint`, {doc}`rate` and {doc}`least-squares`.
# After it you can say what is left of the rate at rest, and what a decay on $\gamma$ makes of it.
#
# Every step of a network with batch normalization (BN) carries a penalty whose rate $\lambda$ the
# data set. What is left of it when training has converged?
#
# At a stationary point the rate stops being a property of a step: it becomes the Lagrange multiplier
# of the constraint, with a price tag attached. Then BN can be *removed*: a network without BN that
# pays the same rate has the same weights. Sometimes nothing is left. A scale $\gamma$ that is learned
# freely drives the rate to zero, weight decay on $\gamma$ pins it, and BN's small constant
# $\varepsilon$ turns the constraint into an inequality.

# %% tags=["parameters"]
seed = 0  # of the synthetic points and of all initial weights
dataset = "mnist"  # data set of the real read-out; or "mnist-5k": see bnlib.data.load
digits_used = 3000  # training images that it sees
components = 15  # principal components of the digits used as inputs
gamma_digits = 1.0  # fixed scale of every logit
decays = [0.0, 0.03, 0.1]  # weight decay on gamma
steps = 500  # of gradient descent, for the picture of training
eps_large = 0.5  # BN's eps where it is meant to be seen, in units of variance

# %% tags=["hide-input"]
from fractions import Fraction
from itertools import repeat

import numpy as np
import torch
from scipy.optimize import brentq
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from bnlib import meter, models, theory, training
from bnlib.moments import Moments
from companion.figures import COLORS, Picture
from companion.page import check, finding, sentence
from companion.records import Source, name_of
from companion.studies import twins
from companion.studies.read_out import read_out

on = name_of(dataset)
rng = np.random.default_rng(seed)
points = rng.standard_normal((400, 2)) @ [[1.3, 0.9], [0.0, 0.7]]
labels = rng.random(400) < 1 / (1 + np.exp(-points @ [0.9, -1.2]))
centred = points - points.mean(axis=0)
cov = centred.T @ centred / len(points)  # Sigma, (2, 2)
moments = Moments.from_data(points, labels.astype(float))
kappa = float(np.sqrt(moments.r_squared * moments.target_var))  # R sigma_t
plane = {"title": "Gaussian points in the plane", "train_size": len(points), "seeds": [seed]}
logistic = Source(**plane, conditions={"loss": "logistic"})

# %% [markdown]
# ## Two gradients become parallel
#
# Take 400 points in the plane with two classes, and the logistic loss of a linear unit. Weights $v$
# that BN can reach lie on an ellipse ({prf:ref}`thm-constraint`): those whose output has variance
# $\gamma^2$. Training walks along the ellipse to its lowest point. There the way down, $-\nabla L$,
# points straight out of the ellipse or straight into it, along its normal $\Sigma v$. The ratio of
# the two arrows is $\lambda$.


# %%
def logistic_gradient(v):  # bias tied: the output has mean 0 over the data
    probability = 1 / (1 + np.exp(-centred @ v))
    return centred.T @ (probability - labels) / len(labels)


# %% tags=["hide-input"]
def logistic_loss(v):
    margin = np.where(labels, 1, -1) * (centred @ v)
    return np.logaddexp(0, -margin).mean()


def best_on_ellipse(gamma):
    """The lowest point of the ellipse, and points all along it."""
    half = np.linalg.inv(np.linalg.cholesky(cov)).T  # half' Sigma half = I

    def around(angle):
        return gamma * half @ [np.cos(angle), np.sin(angle)]

    def slope(angle):
        return around(angle + np.pi / 2) @ logistic_gradient(around(angle))

    angles = np.linspace(0, 2 * np.pi, 61)
    start = min(angles, key=lambda angle: logistic_loss(around(angle)))
    lowest = brentq(slope, start - 0.1, start + 0.1, xtol=1e-15)
    return around(lowest), np.array([around(angle) for angle in angles])


def as_number(value, form="{:.2f}"):  # with a proper minus, and none before a zero
    return form.format(np.round(value, 2) + 0.0).replace("-", "−")


picture = Picture(1, 2, width=7.4, height=4.3, sharex=True, sharey=True)
grid = np.linspace(-3.1, 3.1, 90)
surface = [[logistic_loss(np.array([a, b])) for a in grid] for b in grid]
for panel, gamma in zip(picture, (0.7, 1.7)):
    v, ellipse = best_on_ellipse(gamma)
    down, normal = -logistic_gradient(v), cov @ v
    rate = float(theory.rate(v, -down, gamma))
    panel.ax.contour(grid, grid, surface, levels=14, colors=COLORS["none"], linewidths=0.7)
    panel.line(*ellipse.T, color="batch", words=False)
    side = np.sign(rate)
    for vector, color, length, name in (
        (side * normal, "signal", 1.3, "Σv" if side > 0 else "−Σv"),
        (down, "l2", 0.8, "−∇L"),
    ):
        tip = v + length * vector / np.linalg.norm(vector)
        arrow = {"arrowstyle": "->", "color": COLORS[color], "lw": 2.2}
        panel.ax.annotate("", tip, v, arrowprops=arrow)
        panel.ax.annotate(
            name,
            tip,
            (7 * side, -4),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            color=COLORS[color],
        )
    panel.dots(*v, color="batch", words=False, markersize=7)
    panel.note(
        f"an ellipse on the contours of a loss; at its lowest point, ({v[0]:.2f}, {v[1]:.2f}), the"
        f" way down and the outward normal point {'the same way' if side > 0 else 'opposite ways'}"
    )
    panel.set(title=f"γ = {gamma}:  λ = {as_number(rate)}", xlabel="weight 1", aspect="equal")
    panel.set(xlim=(-3.1, 3.1), ylim=(-3.1, 3.1))
picture[0].set(ylabel="weight 2")
picture.show(
    says="At rest the loss pulls along the ellipse's normal, and BN holds against it."
    " Contours: the loss without BN. Ellipse: what BN can reach. At its lowest point the way down"
    " (orange) lies along the ellipse's normal (green). Left, γ is small: the loss pulls outward, BN"
    " holds the weights in, λ is positive. Right, γ is large: the loss pulls inward, BN holds the"
    " weights out, λ is negative.",
    source=logistic,
    name="stationarity-parallel",
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
#    With weight decay $a$ on $\gamma$, where $\partial J/\partial\gamma + a\gamma = 0$ and $\gamma \ne 0$, $\lambda = a$.
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
# ## Check it in five lines
#
# Change $\gamma$.

# %%
gamma = 0.7
v, _ = best_on_ellipse(gamma)
gradient = logistic_gradient(v)
rate = theory.rate(v, gradient, gamma)
print("minus gradient:", -gradient, "  rate times normal:", rate * cov @ v)

# %% tags=["hide-input"]
check(
    "stationarity",
    "At the lowest point of the ellipse, logistic loss in NumPy: minus "
    "the gradient against rate times Sigma v",
    -gradient,
    rate * cov @ v,
    tolerance=1e-10,
    source=logistic,
)

# %% [markdown]
# Least squares allows a check without rounding, in fractions. $m(\gamma)$ is a parabola there, so a
# difference quotient is its derivative, exactly.

# %% tags=["hide-input"]
F = Fraction
S = np.array([[F(4), F(2)], [F(2), F(2)]])  # Sigma
S_inverse = np.array([[F(1, 2), F(-1, 2)], [F(-1, 2), F(1)]])
c, target_var, scale = np.array([F(6), F(7)]), F(40), F(2)
reach = F(5)  # R sigma_t
assert reach**2 == c @ S_inverse @ c
v = scale / reach * S_inverse @ c  # on the ellipse
gradient = S @ v - c
rate = -v @ gradient / scale**2


def least(gamma):
    return (target_var - 2 * gamma * reach + gamma**2) / 2


check(
    "stationarity",
    "Least squares in fractions: gradient plus rate times Sigma v is zero",
    sum(abs(gradient + rate * S @ v)),
    F(0),
    kind="exact",
)
check(
    "stationarity",
    "Least squares in fractions: the slope of the least loss in gamma "
    "is minus gamma times the rate",
    (least(scale + 1) - least(scale - 1)) / 2,
    -scale * rate,
    kind="exact",
)

# %% [markdown]
# ## What a unit of output variance is worth
#
# Part 2 gives $\lambda$ a price: allow the output a little more standard deviation, and the least
# loss falls by $\gamma\lambda$ times that. Below, torch's own `BatchNorm1d` is trained on the points
# above to stationarity at many values of $\gamma$. The short lines are not fitted: their slope is
# $-\gamma\lambda$, read from a single gradient.

# %%
x, t = torch.from_numpy(points), torch.from_numpy(labels)[:, None].double()


def least_loss(gamma):  # and the rate there, and the gradient left
    unit = models.unit(2, gamma, beta=0.0)
    unit[0].weight.data = torch.tensor([[0.9, -1.2]], dtype=torch.float64)

    def loss():
        return binary_cross_entropy_with_logits(unit(x), t)

    left = training.settle([unit[0].weight], loss)
    rate = meter.measure(unit, [(x, t)], binary_cross_entropy_with_logits).rate[0]
    return loss().item(), rate, left


# %% tags=["hide-input"]
scales = np.linspace(0.2, 2.6, 25)
curve = np.array([least_loss(gamma) for gamma in scales])
picture = Picture(height=3.4)
(panel,) = picture
panel.line(scales, curve[:, 0], "least loss, min J", "batch")
along = np.array([-0.16, 0.16])
for i, offset, side in (
    (1, (8, 8), "left"),
    (7, (0, 14), "center"),
    (13, (0, 14), "right"),
    (20, (0, 14), "right"),
):
    tangent = curve[i, 0] - scales[i] * curve[i, 1] * along
    panel.line(scales[i] + along, tangent, color="theory", words=False, linewidth=3)
    panel.ax.annotate(
        f"λ = {as_number(curve[i, 1])}",
        (scales[i], curve[i, 0]),
        offset,
        textcoords="offset points",
        ha=side,
    )
    panel.note(f"the tangent at {scales[i]:.1f} belongs to λ = {as_number(curve[i, 1])}")
panel.line([], [], "slope −γλ from one gradient", "theory", words=False, linewidth=3)
panel.set(
    xlabel="γ, standard deviation of the output",
    ylabel="loss",
    ylim=(None, curve[:, 0].max() + 0.05),
    legend={"loc": "upper center"},
)
free = scales[np.abs(curve[:, 1]).argmin()]
picture.show(
    says="The rate is the slope of the least loss. It is zero where the curve is lowest, near"
    f" γ = {free:.1f}: that is where a learned γ goes. Largest gradient entry left:"
    f" {curve[:, 2].max():.0e}.",
    source=logistic,
    name="stationarity-price",
)

# %% tags=["hide-input"]
h = 1e-4
price = check(
    "stationarity",
    "Torch, logistic loss: central difference of the least loss in "
    "gamma against minus gamma times the rate",
    (least_loss(1.0 + h)[0] - least_loss(1.0 - h)[0]) / (2 * h),
    -1.0 * least_loss(1.0)[1],
    tolerance=1e-7,
    source=logistic,
)
finding(
    "At rest the rate is a price. In a logistic unit at γ = 1, minus γλ is {predicted:.6f}, and the"
    " least loss changes with γ at the rate {measured:.6f}.",
    price,
)

# %% [markdown]
# ## Remove BN, keep the rate, get the same network
#
# Now real digits, ten classes, cross-entropy. The read-out sees the first principal components of the
# images and normalizes its ten logits with a fixed $\gamma$. We train it to stationarity and note the
# ten rates. Then we throw BN away. A plain softmax regression starts from zero weights and pays
# $\tfrac12\lambda_k v_k^\top\Sigma v_k$ for every logit. As a contrast it also pays half of that,
# twice that, and nothing.

# %% tags=["hide-input"]
digits = read_out(dataset, None, components, rows=digits_used)
gray = digits.dataset.train.images.std(dtype=np.float64)  # back to pixels from 0 to 1
features = torch.from_numpy(digits.inputs["train"] * gray)
batch = features, torch.from_numpy(digits.labels["train"])

# %%
ten = {"widths": (components, 10), "normalize_output": True, "eps": 1e-30, "seed": seed}
logits = models.network(**ten, gamma=gamma_digits, dtype=torch.float64)
rest = twins.at_rest(logits, *batch)
names = {0.0: "none", 0.5: "half", 2.0: "twice", 1.0: "same rate"}
refits = {factor: twins.refit(rest, factor * rest.rates) for factor in names}

# %% tags=["hide-input"]
sentence(
    f"The rates that BN has set lie between {rest.rates.min():.3f} and {rest.rates.max():.3f}."
)
with torch.no_grad():
    chance_bn = rest.model(features).softmax(dim=1)
    gap = {
        factor: float(((features @ v.T + b).softmax(dim=1) - chance_bn).abs().max())
        for factor, (v, b, _) in refits.items()
    }
fixed = digits.source([seed], gamma=gamma_digits)
picture = Picture(1, 2, width=7.4, height=3.5)
left, right = picture
for (factor, name), color in zip(names.items(), ("none", "signal", "noise", "batch")):
    found, size = refits[factor][0], twins.distance(refits[factor][0], rest.weights)
    left.dots(rest.weights.ravel(), found.ravel(), name, color, words=False, markersize=3)
    left.note(f"{name}: the weights differ by {size:.1g} of their length")
    right.ax.barh(name, gap[factor], color=COLORS[color])
    right.ax.annotate(
        f"{gap[factor]:.1g}", (gap[factor], name), (4, 0), textcoords="offset points", va="center"
    )
    right.note(f"{name}: {gap[factor]:.1g}")
frame = 2.8 * float(rest.weights.abs().max())
left.ax.axline((0, 0), slope=1, color=COLORS["batch"], linewidth=0.8)
left.set(
    xlabel="weights v, with BN",
    ylabel="weights, without BN",
    ylim=(-frame, frame),
    legend={"title": "rate paid", "markerscale": 2},
)
right.set(
    xlabel="largest difference of a probability",
    xscale="log",
    xlim=(1e-16, 1e3),
    xticks=[1e-15, 1e-10, 1e-5, 1],
)
picture.show(
    says="Only the rate that BN itself had set brings back its network."
    f" {rest.weights.numel()} weights of ten logits. Without any rate"
    " some weights lie beyond the frame."
    f" Gradient entries left: {rest.left:.0e} with BN, at most"
    f" {max(left for _, _, left in refits.values()):.0e} without.",
    source=fixed,
    name="stationarity-removed",
)

# %% tags=["hide-input"]
check(
    "stationarity",
    f"All ten rates of BN's softmax on {on} are positive, as the removal of BN asks",
    bool((rest.rates > 0).all()),
    True,
    kind="exact",
    role="exploratory",  # what part 3 asks for, not what it says
    source=fixed,
)
same = check(
    "stationarity",
    f"Softmax on {on}: weights without BN at BN's rates against the effective weights with BN",
    refits[1.0][0].numpy(),
    rest.weights.numpy(),
    tolerance=1e-8,
    source=fixed,
)
finding(
    "BN can be removed: a softmax regression on digits that pays BN's ten rates, {low:.3f} to"
    " {high:.3f}, ends at BN's weights, to {difference:.0e}; at half the rates a class probability"
    " differs by up to {half:.2f}.",
    same,
    half=gap[0.5],
    low=float(rest.rates.min()),
    high=float(rest.rates.max()),
)

# %% [markdown]
# This is the plainest answer to "what does BN do to this network": it *is* softmax regression with
# ten Tikhonov rates. $\gamma$ was chosen, and given it the data set them, class by class.
#
# ## A learned γ keeps nothing, unless it is decayed
#
# Usually $\gamma$ is learned. Part 4 says what follows: the rate ends at the weight decay on
# $\gamma$, to the last digit, whatever the data and the loss. Below, gradient descent trains weights,
# $\gamma$ and $\beta$ of the same read-out. Each thin line is a logit.


# %%
looks = np.unique(np.geomspace(1, steps, 100).round().astype(int))


def learned_gamma(decay):
    network, path = models.network(**ten, dtype=torch.float64), []
    linear, batch_norm = network
    training.fit(
        network,
        repeat(batch, steps),
        cross_entropy,
        learning_rate=0.5,
        momentum=0.9,
        parameters=[
            {"params": [linear.weight], "lr": 1.0},
            {"params": [batch_norm.weight], "weight_decay": decay},
            {"params": [batch_norm.bias]},
        ],
        observe=lambda step, model: step in looks and path.append(rates_of(model)),
    )
    return np.array(path), network


def rates_of(model):
    return meter.measure(model, [batch], cross_entropy).rate


paths = {decay: learned_gamma(decay) for decay in decays}

# %% tags=["hide-input"]
picture = Picture(height=3.4)
(panel,) = picture
for (decay, (path, _)), color in zip(paths.items(), ("none", "batch", "signal", "noise")):
    panel.line(looks, path, color=color, words=False, linewidth=0.8)
    panel.level(decay)
    panel.ax.annotate(
        f"decay {decay:g}",
        (steps, decay),
        (4, 0),
        textcoords="offset points",
        va="center",
        color=COLORS[color],
    )
    panel.note(
        f"with weight decay {decay:g} the ten rates lie between {path[0].min():.2g} and"
        f" {path[0].max():.2g} at first, between {path[-1].min():.2g} and {path[-1].max():.2g} at last"
    )
panel.set(xlabel="gradient steps", ylabel="rate λ", xscale="log", xlim=(1, steps))
panel.set(ylim=(-0.06, 1.6 * max(decays)))
learned = digits.source([seed], steps=steps)
picture.show(
    says="Wherever a unit starts, its rate ends at the weight decay on γ (dashed); without decay, at"
    " zero, on the batch that it is trained with.",
    source=learned,
    name="stationarity-learned",
)

# %% tags=["hide-input"]
decay = decays[-1]
_, network = paths[decay]


def decayed():
    loss = cross_entropy(network(features), batch[1])
    return loss + decay / 2 * network[1].weight.square().sum()


left = training.settle(list(network.parameters()), decayed)
print(f"largest gradient entry left: {left:.0e}")
pinned = check(
    "stationarity",
    f"Softmax on {on}, learned gamma with weight decay: the ten rates against the decay",
    rates_of(network),
    np.full(10, decay),
    tolerance=1e-8,
    source=digits.source([seed], gamma_decay=decay),
)
finding(
    "A learned γ hands its rate to the optimizer: with weight decay {decay:g} on γ all ten logits end"
    " at the rate {decay:g}, to {difference:.0e}.",
    pinned,
    decay=decay,
)

# %% [markdown]
# ## With ε > 0 the constraint is an inequality
#
# BN divides by $\sqrt{q + \varepsilon}$, not by $\sqrt q$. By making $w$ small a unit can fall short
# of $\gamma$; it can never exceed it. Part 5: if the loss asks for a smaller output than $\gamma$, a
# finite $w$ grants it and $\lambda = 0$. If it asks for a larger one, $w$ grows without end and
# $\lambda$ rises to its positive limit. No finite stationary $w$ has a negative rate: by the gauge of
# {prf:ref}`thm-depth`, under gradient flow $\mathrm d|w|^2/\mathrm dt = 2\varepsilon\gamma^2\lambda/(q + \varepsilon)$, so a negative rate
# shortens $w$ until it is gone. We make $\varepsilon$ large to see it.

# %%
loss_fn = training.half_squared_error


def with_eps(gamma):  # the rate and the length of w where the optimizer stops
    unit = models.unit(2, gamma, eps=eps_large)
    unit[0].weight.data = torch.tensor([[0.3, -0.3]], dtype=torch.float64)
    training.settle([unit[0].weight, unit[1].bias], lambda: loss_fn(unit(x), t))
    return meter.measure(unit, [(x, t)], loss_fn).rate[0], unit[0].weight.detach().norm().item()


ratios = np.array([0.4, 0.6, 0.8, 0.95, 1.2, 1.6, 2.0, 2.4])
settled = np.array([with_eps(ratio * kappa) for ratio in ratios])

# %% tags=["hide-input"]
squares = Source(**plane, conditions={"loss": "least squares", "eps": eps_large})
fine = np.linspace(0.36, 2.5, 200)
closed = {
    eps: [float(theory.least_squares(moments, ratio * kappa, eps=eps).rate) for ratio in fine]
    for eps in (0.0, eps_large)
}
picture = Picture(1, 2, width=7.4, height=3.3)
left, right = picture
left.line(fine, closed[0.0], "ε = 0", "none", "--")
left.line(fine, closed[eps_large], "ε > 0, closed form", "theory")
left.dots(ratios, settled[:, 0], f"torch, ε = {eps_large}", "batch")
left.set(xlabel="γ / (R σ_t)", ylabel="rate λ", legend=True)
right.dots(ratios, settled[:, 1], "torch", "batch")
right.ax.axvline(1, color=COLORS["none"], linestyle="--")
right.set(xlabel="γ / (R σ_t)", ylabel="|w| when the optimizer stops", yscale="log")
picture.show(
    says="With ε > 0 no rate ends below zero, and a positive one has no rest."
    " Left: the rate. Right: the cost. Where the rate is positive"
    " the raw weights run off, because the ellipsoid's surface is reached by no finite w; the"
    " optimizer stops on the way.",
    source=squares,
    name="stationarity-eps",
)

# %% tags=["hide-input"]
inequality = check(
    "stationarity",
    "Torch with eps > 0, least squares: the rate where the optimizer "
    "stops against max(0, R sigma_t / gamma - 1)",
    settled[:, 0],
    np.maximum(0, 1 / ratios - 1),
    tolerance=1e-3,
    source=squares,
)
finding(
    "With ε > 0 no rate stays negative: least squares in torch stops at max(0, Rσ_t/γ − 1), to"
    " {difference:.0e}, at {values} values of γ.",
    inequality,
    values=len(ratios),
)

# %% [markdown]
# With torch's default $\varepsilon = 10^{-5}$ both effects are slow: seen along $|w|$, the loss is
# almost flat ({doc}`depth` says how flat). Over a usual training run the constraint acts as an
# equality, and a negative rate can last.
#
# ## What it means for your network
#
# - Weight decay on $\gamma$, which many recipes switch off, is a rate in its own right, and the only
#   one that is the same for every unit. It acts on $v^\top\Sigma v$, not on $|v|^2$.
# - In PyTorch you have it without asking: `weight_decay` acts on all parameters that an optimizer
#   gets, $\gamma$ and $\beta$ included, unless they are put into a group of their own.
# - If you exclude $\gamma$ from decay, expect the rates of units that have converged to be near zero
#   on the data they are trained on.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"In a logistic unit at γ = 1 the least loss changed with γ at the rate {price.measured:.5f}, and"
    f" one gradient said {price.predicted:.5f}. Ten logits on {digits_used:,} images of {on} had rates"
    f" from {rest.rates.min():.3f} to {rest.rates.max():.3f}; softmax regression that paid them had the"
    f" same weights to {same.difference:.0e}, and one that paid half or twice had other probabilities,"
    f" by up to {gap[0.5]:.2f} and {gap[2.0]:.2f}. With weight decay {decay:g} on a learned γ all ten"
    f" rates ended there, to {pinned.difference:.0e}."
)

# %% [markdown]
# - At a stationary point the rate is the Lagrange multiplier of BN's constraint: the gradient and the
#   ellipsoid's normal are parallel, and $\lambda$ is their ratio.
# - It is a price: $\mathrm d(\min J)/\mathrm d\gamma = -\gamma\lambda$.
# - If the loss is convex and no rate is negative, BN can be removed. The network without it that pays
#   the same rates has the same weights, and no other rate will do.
# - A learned $\gamma$ ends at $\lambda = 0$; weight decay $a$ on $\gamma$ ends at $\lambda = a$, for
#   every unit and every data set, under SGD and under Adam whose decay joins the gradient. AdamW
#   divides the gradient by its own size: at rest $\lambda = \epsilon_A a/(1 - a|\gamma|)$ for $|\gamma| < 1/a$, with $\epsilon_A$ its
#   small constant, so hardly anything. There, put $\frac a2\gamma^2$ into the loss.
# - With $\varepsilon > 0$ the constraint is an inequality and no finite stationary $w$ has a negative rate.
#
# ## Where it stops
#
# - All equalities are those of a stationary point. In mid-training the rate is still that of
#   {prf:ref}`thm-rate`, but $v$ solves no penalized problem yet.
# - $\lambda = 0$ for a learned $\gamma$ is measured on the batch that is trained on. With
#   {doc}`mini-batches <minibatch>` it leaves a positive rate on the population.
# - A negative $\lambda$ is not regularization, and part 3 is silent there. It is silent, too, on
#   losses that are not convex in $v$, such as those of a hidden layer: parts 1, 2 and 4 still hold.
# - Decay on $\gamma$ needs a layer whose scale the network sees: in front of another BN layer it finds
#   no rest ({doc}`depth`).
# - With $\varepsilon > 0$ and decay on a learned $\gamma$ alone there is no finite stationary point:
#   $w$ grows for ever while $\gamma$ shrinks to its limit. $\lambda = a$ holds whenever $\gamma$ itself
#   is at rest.
#
# ## Exercises
#
# **1. Derive.** Ten logits, $\varepsilon = 0$, a convex loss $L(v_1, \dots, v_{10})$, weight decay
# $a > 0$ on every learned $\gamma_k$, and no decay on anything else. Which problem without BN does this
# network solve at rest? With a fixed $\gamma$ the data set the rates. What do they set now?
#
# :::{dropdown} Solution
# Part 4, unit by unit: every $\lambda_k = a$. Part 1: $\nabla_{v_k} L + a\,\Sigma v_k = 0$ for all $k$.
# That is the gradient of $L + \tfrac a2\sum_k v_k^\top\Sigma v_k$, a convex function, so the $v_k$ are
# a global minimizer of it: Tikhonov regularization in the metric $\Sigma$, with one rate that was
# chosen by hand. What the data set are the scales, $\gamma_k^2 = v_k^\top\Sigma v_k$.
# :::
#
# **2. Run.** Set `gamma_digits = 3.0`, three times as large a scale for the logits. The chapter stops at
# a check. At which, and what has happened to the ten logits?
#
# :::{dropdown} Solution
# At the one that asks for ten positive rates. All rates have come close to zero, and those of the five
# and the eight are negative: for these classes BN's scale is larger than the loss wants, and BN holds
# the weights out. Part 3 promises nothing then. A learned $\gamma_k$ would end where its rate is zero,
# below 3 for these two digits and above it for the other eight.
# :::
