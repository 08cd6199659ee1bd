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
# # The rate that batch normalization sets
#
# Builds on {doc}`constraint`.
# After it you can read BN's rate off any network, at any step, with one division.
#
# Batch normalization (BN) keeps the effective weights on an ellipsoid. How hard does it have to pull to do so?
# The answer is one number a unit, the **rate** $\lambda$: up to a factor, the gradient of a network with BN is the
# gradient of the same network without BN plus $\lambda$ times a penalty gradient, exactly, at every step of every
# training.
#
# Given the scale $\gamma$, which you choose or your network learns, the data and the loss set $\lambda$, and you can
# read it off your own network. It can be negative: then BN does not regularize but inflates.

# %% tags=["parameters"]
seed = 2  # of generated data and weights
gamma = 1.2  # BN's scale in the pictures, in units of the target

# %% tags=["hide-input"]
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from bnlib import meter, models, theory, training
from companion.figures import COLORS, INK, Picture
from companion.page import check, finding, sentence, table
from companion.records import CLOSED_FORM, Source

rng = np.random.default_rng(seed)

# %% [markdown]
# ## In plain words
#
# BN loses the length of $w$, so no gradient of a BN network can point along $w$: it is perpendicular to the ray.
# The plain gradient of the unit without BN knows nothing of that. So BN must have added something that cancels the part
# along the ray. What it adds points along $\Sigma v$, the normal of the ellipsoid.
# And $\lambda\Sigma v$ is the gradient of $\tfrac\lambda2 v'\Sigma v$: a penalty, with a rate.

# %% tags=["hide-input"]
cov = np.array([[1.1, 0.35], [0.35, 0.6]])
v = theory.effective_weights([1.0, -0.12], gamma, cov)
pull = cov @ (np.array([1.5, 2.2]) - v)  # -grad L, least squares
multiplier = theory.rate(v, -pull, gamma)
total = pull - multiplier * cov @ v
moved = v + 0.8 * total
landed = theory.effective_weights(moved, gamma, cov)
s, U = np.linalg.eigh(cov)
angles = np.linspace(0, 2 * np.pi, 400)

picture = Picture(height=4.2)
panel = picture[0]
ellipse = gamma * (U / np.sqrt(s)) @ [np.cos(angles), np.sin(angles)]
panel.line(*ellipse, color="batch", words=False)
panel.line(*np.outer(v, [0, 1.9]), color=INK, style=":", linewidth=1, words=False)
panel.line(*np.outer(moved, [0, 1]), color=INK, style=":", linewidth=1, words=False)
for arrow, color, label, offset, side in (
    (pull, "none", "−grad L: without BN", (6, 0), "left"),
    (-multiplier * cov @ v, "l2", "−λΣv: what BN adds", (2, -15), "center"),
    (total, "signal", "sum: with BN", (-4, 7), "center"),
):
    look = {
        "arrowstyle": "-|>",
        "color": COLORS[color],
        "linewidth": 2.4,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    tip = v + 0.8 * arrow
    panel.ax.annotate("", tip, v, arrowprops=look)
    panel.ax.annotate(label, tip, xytext=offset, textcoords="offset points", ha=side)
panel.dots(*v, color="batch", markersize=8, words=False)
panel.dots(*landed, color="batch", markersize=9, words=False, fillstyle="none", markeredgewidth=2)
panel.ax.annotate("v", v, xytext=(5, -15), textcoords="offset points")
panel.ax.annotate("next v", landed, xytext=(-10, 8), textcoords="offset points", ha="right")
panel.dots(0, 0, color=INK, marker="+", words=False)
panel.set(aspect="equal", xlabel="v₁", ylabel="v₂", xlim=(-1.45, 3.3), ylim=(-1.0, 1.9))
panel.note(
    f"at the point v = ({v[0]:.2f}, {v[1]:.2f}) of the ellipse v'Σv = γ² stand three arrows, the "
    "plain downhill direction −grad L, the pull −λΣv that BN adds along the normal of the "
    "ellipse, and their sum, perpendicular to the ray through v; scaled back to the ellipse it "
    f"gives the next v, ({landed[0]:.2f}, {landed[1]:.2f})"
)
picture.show(
    says=f"BN adds −λΣv, here with λ = {multiplier:.2f}, to the plain downhill step. The sum is "
    "perpendicular to the ray through v (dotted), and scaling back to the ellipse gives the next "
    "effective weights.",
    source=CLOSED_FORM,
    name="rate-pull",
)

# %% [markdown]
# ## The theorem
#
# $J(w, \gamma)$ is the loss with BN and $L(v)$ the loss of the folded network, its bias tied by
# $b = \beta - v'\mu$. All other parameters are whatever they are at this step. $\mu$ and $\Sigma$ are those of the
# batch, in training mode.
#
# ::::{prf:theorem} Every BN gradient carries a penalty, at a rate set by the data and the scale
# :label: thm-rate
#
# Let $L$ be differentiable at $v = \gamma w/s$, $s = \sqrt{w'\Sigma w + \varepsilon} > 0$, $\varepsilon \ge 0$,
# $\gamma \ne 0$.
#
# **(i)** With $\nabla_v L$ the gradient of the folded network,
#
# $$
# \nabla_w J \;=\; \frac{\gamma}{s}\,\bigl[\, \nabla_v L + \lambda\, \Sigma v \,\bigr],
# \qquad
# \lambda \;=\; -\frac{v'\nabla_v L}{\gamma^2} \;=\; -\frac1\gamma\, \frac{\partial J}{\partial \gamma} .
# $$
#
# The bracket is the gradient of $L(v) + \tfrac\lambda2\, v'\Sigma v$ at fixed $\lambda$. If $\varepsilon = 0$,
# $\lambda$ is the one number that makes it perpendicular to $v$.
#
# **(ii)** In the eigenbasis of $\Sigma$, direction $i$ is regularized at the rate $\lambda s_i$:
# $u_i'[\nabla_v L + \lambda\Sigma v] = u_i'\nabla_v L + \lambda s_i\, u_i'v$.
#
# **(iii)** Let $v \ne 0$. The one number $\alpha$ that makes $\nabla_v L + \alpha v$ perpendicular to $v$, the
# **L2-equivalent rate**, is
#
# $$
# \alpha \;=\; -\frac{v'\nabla_v L}{\lVert v\rVert^2} \;=\; \lambda\, \frac{\gamma^2}{\lVert v\rVert^2}
# \;=\; -\frac{\partial J}{\partial\gamma}\,\frac{q + \varepsilon}{\gamma\, \lVert w\rVert^2} .
# $$
#
# It has the sign of $\lambda$, and
# $\lvert\lambda\rvert\, (s_{\min} + \varepsilon/\lVert w\rVert^2) \le \lvert\alpha\rvert \le
# \lvert\lambda\rvert\, (s_{\max} + \varepsilon/\lVert w\rVert^2)$.
#
# **(iv)** Let $\varepsilon = 0$. A gradient step $w^+ = w - \eta\, \nabla_w J$ moves the effective weights to
#
# $$
# v^+ = \lvert\gamma\rvert\, \frac{u}{\sqrt{u'\Sigma u}},
# \qquad
# u = v - \frac{\eta\gamma^2}{s^2}\, \bigl[\nabla_v L + \lambda\Sigma v\bigr]
# $$
#
# (where $u'\Sigma u > 0$): a step of the *penalized* network without BN, scaled back to the ellipsoid.
# ::::
#
# :::{dropdown} Proof
# **(i)** Differentiate $v = \gamma w/s$ in a direction $\delta$. Since $s^2 = w'\Sigma w + \varepsilon$,
# the change of $s$ is $w'\Sigma\delta/s$, so
#
# $$
# \mathrm dv = \frac\gamma s\, \delta - \frac{\gamma\, (w'\Sigma \delta)}{s^3}\, w .
# $$
#
# By {prf:ref}`thm-constraint` (i), $J(w, \gamma) = L(v)$. The chain rule gives
# $\mathrm dJ = \nabla_v L'\, \mathrm dv = \frac\gamma s
# \bigl[ \nabla_v L'\delta - \frac{w'\nabla_v L}{s^2}\, w'\Sigma\delta \bigr]$
# for every $\delta$, that is
#
# $$
# \nabla_w J = \frac\gamma s \Bigl[ \nabla_v L - \frac{w'\nabla_v L}{s^2}\, \Sigma w \Bigr] .
# $$
#
# Insert $w = (s/\gamma) v$ in both places:
# $\frac{w'\nabla_v L}{s^2} \Sigma w = \frac{v'\nabla_v L}{\gamma^2}\, \Sigma v
# = -\lambda\Sigma v$. For fixed $w$, $\partial v/\partial\gamma = w/s = v/\gamma$, so
# $\partial J/\partial\gamma = v'\nabla_v L/\gamma = -\gamma\lambda$. No step used $\varepsilon = 0$ or the sign of
# $\gamma$. The gradient of $\tfrac\lambda2 v'\Sigma v$ is $\lambda\Sigma v$. If $\varepsilon = 0$,
# $v'\Sigma v = \gamma^2 \ne 0$, and $v'[\nabla_v L + \lambda\Sigma v] = v'\nabla_v L + \lambda\gamma^2$ vanishes for
# this $\lambda$ only.
#
# **(ii)** $u_i'\Sigma v = s_i\, u_i'v$.
#
# **(iii)** $v'[\nabla_v L + \alpha v] = 0$ has the one solution $\alpha = -v'\nabla_v L/\lVert v\rVert^2$, which is
# $\lambda\gamma^2/\lVert v\rVert^2$ by the definition of $\lambda$. Since
# $\lVert v\rVert^2 = \gamma^2\lVert w\rVert^2/s^2$ and $s^2 = q + \varepsilon$, this is
# $\lambda\, (q + \varepsilon)/\lVert w\rVert^2$; insert $\lambda = -(1/\gamma)\,\partial J/\partial\gamma$. Finally
# $s_{\min} \le q/\lVert w\rVert^2 \le s_{\max}$.
#
# **(iv)** By (i), $w^+ = \frac s\gamma v - \frac{\eta\gamma}{s} [\nabla_v L + \lambda\Sigma v] = \frac s\gamma\, u$. So
# $v^+ = \gamma w^+/\sqrt{w^+{}'\Sigma w^+}
# = \gamma\, \frac{s}{\gamma}\, u \big/ \bigl(\frac{s}{\lvert\gamma\rvert} \sqrt{u'\Sigma u}\bigr)
# = \lvert\gamma\rvert\, u/\sqrt{u'\Sigma u}$.
# $\square$
# :::
#
# What kind of statement is this? Away from rest it is the chain rule: BN's scale $\gamma$ multiplies all of the output,
# so the pull of the loss on $\gamma$ and its pull along $v$ are one number, and $\lambda$ is its name. Nothing has been
# tuned yet. At rest $\lambda$ becomes a multiplier with a meaning of its own: {doc}`stationarity`. The factor $\gamma/s$
# is part of it: it sets the step, and for a negative $\gamma$ it turns both gradients around.
#
# ::::{prf:remark} Kinks, shared weights, evaluation
# :label: rem-rate-regularity
#
# **(a)** *Kinks.* Part (i) is an identity of BN's own derivative. It holds for any vector that is passed back in place
# of $\partial J/\partial y$ on the rows of the batch, so for what autograd returns where a ReLU is exactly at its kink.
# That $L$ is differentiable is needed to call the two sides gradients.
#
# **(b)** *$\varepsilon = 0$.* Then $J$ is defined where the batch variance of every BN unit is positive. It has no
# continuous extension: along every ray to $w = 0$ it is constant, and rays differ. A dead unit and a batch of one row
# are beyond.
#
# **(c)** *A weight that is used several times,* each use going straight into BN:
# $\nabla_w J = \sum_u \frac{\gamma_u}{s_u}\, [\, g_u + \lambda_u \Sigma_u v_u \,]$, with $g_u$ the gradient at use $u$ when
# the uses are untied. The positions of a convolution are one use. If the pre-activation also goes around BN, that way
# adds its own gradient: $\lambda = -\frac1\gamma\, \partial J/\partial\gamma$ stays, part (i) as it stands does not.
#
# **(d)** *Evaluation mode.* Mean and divisor are constants there, so $\nabla_w J = \frac\gamma s \nabla_v L$ without a penalty,
# and $w'\nabla_w J = \gamma\, \partial J/\partial\gamma$, which is not zero.
# ::::
#
# :::{dropdown} Proof
# **(a)** In the proof of (i) the loss enters through $\nabla_v L$ alone, which is a linear function of the vector on
# the rows; so does $\partial J/\partial\gamma$. Replace the loss by the linear function of the outputs that has this
# vector for a gradient. **(b)** $q = w'\Sigma w$ is continuous and $J$ does not see the length of $w$
# ({prf:ref}`thm-constraint`). **(c)** Chain rule over the uses, then (i) for each. **(d)** $v = \gamma w/s$ with $s$
# constant. $\square$
# :::
#
# Two rates for one pull. $\lambda$ belongs to the penalty that BN really adds, $\tfrac\lambda2 v'\Sigma v$. It is the
# same in any units of the inputs. $\alpha$ translates its strength along $v$ into the units of `weight_decay` in
# `torch.optim.SGD`, so that it can be compared with what one would have set by hand.
#
# ## Check it in five lines
#
# Write the BN unit and the folded unit as two formulas, and let autograd differentiate both.

# %%
x = torch.from_numpy(rng.standard_normal((50, 3)) @ [[2, 1, 0], [0, 1, 1], [0, 0, 0.5]])
t = torch.tanh(x @ torch.tensor([1.0, -2.0, 1.0]).double()) + 0.3
centred = x - x.mean(0)
Sigma = centred.T @ centred / len(x)
w = torch.tensor([0.5, 1.0, -2.0]).double().requires_grad_()
s_w = (w @ Sigma @ w + 0.1).sqrt()  # eps = 0.1
v = (gamma * w / s_w).detach().requires_grad_()

(grad_w,) = torch.autograd.grad(mse_loss(gamma * centred @ w / s_w, t), w)
(grad_v,) = torch.autograd.grad(mse_loss(centred @ v, t), v)
rate = -(v @ grad_v) / gamma**2
penalized = gamma / s_w * (grad_v + rate * Sigma @ v)
by_hand = check(
    "rate",
    "autograd's gradient of a BN unit written out, eps = 0.1, against gradient of the folded unit "
    "plus penalty",
    measured=grad_w.numpy(),
    predicted=penalized.detach().numpy(),
    tolerance=1e-13,
    source=Source(title="generated data", train_size=50, seeds=[seed]),
)
sentence(f"The rate of this unit is {rate:.3f}.")

# %% [markdown]
# ## PyTorch's own layers, inside a network
#
# Now a real network: `Linear`, `BatchNorm1d`, `ReLU`, `Linear`, with PyTorch's default $\varepsilon$ and scales of
# either sign. For every hidden unit we compare the gradient that PyTorch computes with the theorem, under two losses.

# %% tags=["hide-input"]
network = models.network((6, 8, 3), seed=seed).double()
linear, batch_norm, *rest = network
scales = np.array([1.5, -0.7, 0.2, 1.0, -2.0, 0.5, 3.0, 0.9])
batch_norm.weight.data = torch.from_numpy(scales)
inputs = torch.from_numpy(rng.standard_normal((40, 6)) * [3, 2, 1, 1, 0.5, 0.1] + 1)
numbers = torch.from_numpy(rng.standard_normal((40, 3)))
classes = torch.from_numpy(rng.integers(0, 3, 40))
batch_cov = np.cov(inputs.numpy(), rowvar=False, bias=True)
source = Source(None, 40, [seed], {"network": "6-8-3"}, title="generated data")


def gradients(loss_fn, target):
    """With BN, in w and gamma; without BN, in v. Also v."""
    loss = loss_fn(network(inputs), target)
    grad_w, grad_gamma = torch.autograd.grad(loss, [linear.weight, batch_norm.weight])
    v = theory.effective_weights(linear.weight.detach(), scales, batch_cov, batch_norm.eps)
    folded = torch.from_numpy(v).requires_grad_()
    hidden = (inputs - inputs.mean(0)) @ folded.T + batch_norm.bias.detach()
    (grad_v,) = torch.autograd.grad(loss_fn(nn.Sequential(*rest)(hidden), target), folded)
    return grad_w.numpy(), grad_gamma.numpy(), grad_v.numpy(), v


# %%
raw = linear.weight.detach().numpy()
q = np.einsum("ki,ij,kj->k", raw, batch_cov, raw)
factor = scales / np.sqrt(q + batch_norm.eps)  # gamma/s
in_network = []
for loss, loss_fn, target in (
    ("squared loss", mse_loss, numbers),
    ("cross-entropy", cross_entropy, classes),
):
    grad_w, grad_gamma, grad_v, v = gradients(loss_fn, target)
    rates = theory.rate(v, grad_v, scales)
    penalty = rates[:, None] * v @ batch_cov  # lambda Sigma v
    in_network += [
        check(
            "rate",
            f"gradient of Linear before BatchNorm1d in a network, {loss}, "
            "against (gamma/s)(grad L + lambda Sigma v)",
            measured=grad_w,
            predicted=factor[:, None] * (grad_v + penalty),
            tolerance=1e-12,
            source=source,
        )
    ]

# %% tags=["hide-input"]
finding(
    "The gradient with BN is the gradient without BN plus λΣv: in {count} comparisons, PyTorch's "
    "own layers among them, the two sides differ by at most {worst:.0e} of their size.",
    by_hand,
    *in_network,
)

# %% [markdown]
# The second form of $\lambda$ needs no covariance and no folding: $-\frac1\gamma\,\partial J/\partial\gamma$, and
# that derivative is what every optimizer computes anyway. This is how `bnlib.meter.measure` reads the rates of *your*
# network.

# %%
report = meter.measure(network, [(inputs, classes)], cross_entropy)

# %% tags=["hide-input"]
table(
    report.to_frame()[["channel", "gamma", "weight_norm", "batch_var", "rate", "l2_rate"]]
    .round(4)
    .set_index("channel"),
    "What the meter reads off the eight hidden units, under cross-entropy.",
    source,
)
read = [
    check("rate", statement, measured=measured, predicted=predicted, tolerance=1e-12, source=source)
    for statement, measured, predicted in (
        (
            "rates from bnlib.meter against -v'grad L / gamma^2 of the folded network",
            report.rate,
            rates,
        ),
        (
            "rates from bnlib.meter against autograd's -(dJ/dgamma)/gamma",
            report.rate,
            -grad_gamma / scales,
        ),
        (
            "L2-equivalent rates from bnlib.meter against -v'grad L / |v|^2 of the folded network",
            report.l2_rate,
            theory.l2_equivalent_rate(v, grad_v),
        ),
    )
]
finding(
    "The rate may be negative: in an untrained network of {units} units it is "
    "so in {negative}, and there BN inflates. The meter reads it, off the gradient in γ alone, to "
    "within {worst:.0e}.",
    *read,
    negative=np.sum(report.rate < 0),
    units=len(report.rate),
)

# %% [markdown]
# What is certain, by part (iii), is the factor between the two rates of a unit. The data box it:

# %% tags=["hide-input"]
ratio = report.l2_rate / report.rate
s_min, *_, s_max = np.linalg.eigvalsh(batch_cov)
from_eps = batch_norm.eps / report.weight_norm**2
check(
    "rate",
    "number of units whose alpha / lambda lies between the extreme eigenvalues "
    "of Sigma, each plus eps/|w|^2",
    measured=int(np.sum((s_min + from_eps <= ratio) & (ratio <= s_max + from_eps))),
    predicted=len(ratio),
    kind="exact",
    source=source,
)
sentence(
    f"alpha / lambda of the units: {ratio.min():.2f} to {ratio.max():.2f}; "
    f"eigenvalues: {s_min:.3g} to {s_max:.3g}."
)

# %% [markdown]
# ## The step itself
#
# Part (iv): one `torch.optim.SGD` step through BN lands where a penalized step without BN lands, after scaling back.

# %%
unit = models.unit(6, gamma, beta=0.0, seed=seed)
target = inputs[:, :1].sin()
before = unit[0].weight.detach().numpy().copy()
training.fit(unit, [(inputs, target)], mse_loss, learning_rate=0.5)
after = unit[0].weight.detach()

# %% tags=["hide-input"]
folded = theory.effective_weights(before, gamma, batch_cov)
v = torch.from_numpy(folded).requires_grad_()
loss = mse_loss((inputs - inputs.mean(0)) @ v.T, target)
grad_v = torch.autograd.grad(loss, v)[0].numpy()
rate = theory.rate(folded, grad_v, [gamma])
step = 0.5 * gamma**2 / np.einsum("ki,ij,kj", before, batch_cov, before)
u = folded - step * (grad_v + rate * folded @ batch_cov)
landing = check(
    "rate",
    "effective weights after one SGD step through BatchNorm1d against a penalized step without "
    "it, rescaled",
    measured=theory.effective_weights(after, gamma, batch_cov),
    predicted=theory.effective_weights(u, abs(gamma), batch_cov),
    tolerance=1e-12,
    source=Source(title="generated data", train_size=40, seeds=[seed]),
)
finding(
    "One SGD step with BN is one step of the penalized network without BN, scaled back to the "
    "ellipsoid: the two land on the same weights to within {difference:.0e}.",
    landing,
)

# %% [markdown]
# ## Any vector, two uses, evaluation
#
# The remark, in PyTorch: numbers drawn at random are passed back in place of a loss's derivative; a weight is used
# on two inputs with a scale for each; and a unit is evaluated with stored statistics.


# %% tags=["hide-input"]
def through(rows, weight, scale):
    """Outputs of a BN unit, eps = 0.1, and its scale as a leaf."""
    scale, z = torch.tensor(scale, dtype=torch.float64, requires_grad=True), rows @ weight
    return scale * (z - z.mean()) / (z.var(correction=0) + 0.1).sqrt(), scale


def penalized_gradient(rows, weight, scale, back):
    """(gamma/s)(g + lambda Sigma v) for the vector `back` on the rows; and lambda."""
    rows = rows - rows.mean(0)
    cov = (rows.T @ rows / len(rows)).numpy()
    w, g = weight.detach().numpy(), (rows.T @ back).numpy()
    v = theory.effective_weights(w, scale, cov, 0.1)
    multiplier = theory.rate(v, g, scale)
    return scale / np.sqrt(w @ cov @ w + 0.1) * (g + multiplier * cov @ v), multiplier


weight = torch.from_numpy(rng.standard_normal(6)).requires_grad_()
views = inputs, torch.tanh(inputs) * torch.from_numpy(rng.uniform(1, 3, 6))
scales_of_uses, kinked = (1.5, -0.7), torch.from_numpy(rng.standard_normal((2, 40)))
outputs = [through(*use) for use in zip(views, (weight, weight), scales_of_uses)]
kinked[:, ::3] = 0.0  # as from a ReLU that is shut, or at its kink
alone = torch.autograd.grad(outputs[0][0], [weight, outputs[0][1]], kinked[0], retain_graph=True)
(both,) = torch.autograd.grad([y for y, _ in outputs], weight, list(kinked))
expected = [
    penalized_gradient(rows, weight, scale, back)
    for rows, scale, back in zip(views, scales_of_uses, kinked)
]
in_evaluation = models.unit(6, seed=seed).eval()
in_evaluation[1].weight.data.fill_(gamma)
value = mse_loss(in_evaluation(inputs), target)
slopes = torch.autograd.grad(value, [in_evaluation[0].weight, in_evaluation[1].weight])
statement = "autograd's gradient of a BN unit, numbers drawn at random passed back, against "
for what, measured, predicted in (
    (statement + "(gamma/s)(g + lambda Sigma v)", alone[0].numpy(), expected[0][0]),
    (statement + "the rate: -(dJ/dgamma)/gamma", -alone[1].item() / 1.5, expected[0][1]),
    (
        "autograd's gradient of a weight that two BN units share against the sum over its uses",
        both.numpy(),
        expected[0][0] + expected[1][0],
    ),
    (
        "evaluation mode: w'grad_w J against gamma dJ/dgamma",
        (slopes[0] * in_evaluation[0].weight).sum().item(),
        gamma * slopes[1].item(),
    ),
):
    check("rate", what, measured, predicted, tolerance=1e-12, source=source)

# %% [markdown]
# ## Exactly
#
# Nothing is left to rounding if all numbers are rational. For least squares with
# $J = \tfrac12\bigl(\sigma_t^2 - 2\gamma\, c'w/s + \gamma^2 q/s^2\bigr)$ the quotient rule gives the gradient without
# any folding. With $\varepsilon = 144$ and $q = 25$ the root $s = 13$ is rational.

# %% tags=["hide-input"]
Sigma = np.array([[Fraction(4), Fraction(2)], [Fraction(2), Fraction(2)]])
c = np.array([Fraction(6), Fraction(7)])
w, scale = np.array([Fraction(-1, 2), Fraction(4)]), Fraction(3)
q, s_w = w @ Sigma @ w, Fraction(13)
linear_term = c / s_w - (c @ w) * Sigma @ w / s_w**3
square_term = Sigma @ w / s_w**2 - q * Sigma @ w / s_w**4
v = scale * w / s_w
grad_v = Sigma @ v - c
rate = -(v @ grad_v) / scale**2
check(
    "rate",
    "least squares gradient by the quotient rule against (gamma/s)(grad L + lambda Sigma v), eps "
    "> 0, exact arithmetic",
    measured=list(-scale * linear_term + scale**2 * square_term),
    predicted=list(scale / s_w * (grad_v + rate * Sigma @ v)),
    kind="exact",
)

# %% [markdown]
# ## What it means for your network
#
# - Your optimizer already computes the rate: it is $-\frac1\gamma\, \partial J/\partial\gamma$, unit by unit, at every
#   step.
# - If it is positive, BN is acting as a Tikhonov penalty that measures weights by the variance of their output:
#   directions of large variance are held harder, by the factor $s_i$.
# - If it is negative, BN is pushing the unit to be louder than its loss wants.
# - If $\gamma$ is learned and settles, $\partial J/\partial\gamma = 0$ and the rate is zero; with weight decay $a$ on
#   $\gamma$ it is $a$, under SGD and coupled Adam, but not under AdamW ({doc}`stationarity <stationarity>`).
# - The rate is one of training mode. In evaluation mode no penalty acts.
#
# ## What we learned
#
# - BN's gradient is $\gamma/s$ times the BN-free gradient, its bias tied, plus $\lambda\Sigma v$: exactly, at every step,
#   for every loss and any $\varepsilon$ ({prf:ref}`thm-rate`).
# - Off rest that is the chain rule, with $\lambda = -\frac1\gamma\, \partial J/\partial\gamma$ by definition; at rest it is
#   more.
# - One SGD step with BN is one step of the penalized network without BN, scaled back to the ellipsoid.
# - The same pull has a second name, $\alpha$, in the units of weight decay. The ratio $\alpha/\lambda$ is an output
#   variance a unit of squared length, so it lies between the extreme eigenvalues of $\Sigma$, but for $\varepsilon$.
# - {doc}`least-squares` computes $\lambda$ in closed form; {doc}`invariance` says what it does not depend on.
#
# ## Where it stops
#
# - $\lambda$ is defined by the current step. Only at a stationary point is it the rate of a problem that one could
#   have posed without BN; {doc}`stationarity <stationarity>` makes that precise.
# - The rate is shared by the rows of a batch, one a unit. Layer and RMS normalization have it the other way: one a
#   row, shared by the units ({doc}`depth`).
# - In mini-batch training each batch has its own $\Sigma$ and its own $\lambda$. The theorem holds for each; what they
#   do together is the subject of {doc}`mini-batches <minibatch>`.
#
# ## Exercises
#
# **1. Derive.** How does the length of $w$ change? Compute $w'\nabla_w J$ from part (i). What does it say for
# $\varepsilon = 0$, and at a point of rest under weight decay $a_w$ on $w$, where $\nabla_w J + a_w w = 0$?
#
# :::{dropdown} Solution
# With $w = (s/\gamma)\,v$ the factors cancel:
# $w'\nabla_w J = v'\nabla_v L + \lambda\, v'\Sigma v = -\lambda\gamma^2 + \lambda\gamma^2\, q/(q + \varepsilon)
# = -\lambda\gamma^2\, \varepsilon/(q + \varepsilon)$.
#
# For $\varepsilon = 0$ it is zero: the gradient is perpendicular to $w$, and by Pythagoras
# $\lVert w - \eta\nabla_w J\rVert^2 = \lVert w\rVert^2 + \eta^2 \lVert\nabla_w J\rVert^2$. Every step makes $w$ longer.
# For $\varepsilon > 0$ a positive rate stretches $w$ besides.
#
# At rest, $w'\nabla_w J = -a_w\lVert w\rVert^2$, so
# $\lambda = a_w \lVert w\rVert^2\, (q + \varepsilon)/(\varepsilon\gamma^2)$: under weight decay the rate of a unit at
# rest is never negative. {doc}`depth` makes use of this.
# :::
#
# **2. Run.** Set `gamma = -1.2`. Which of the checks still hold? Before you run: from the rate that the five lines
# printed for $\gamma = 1.2$, can you tell the one for $-1.2$?
#
# :::{dropdown} Solution
# All of them: the theorem asks only that $\gamma$ be nonzero. For the mean squared error, which has no factor
# $\tfrac12$, $\nabla_v L = 2(\Sigma v - c)$, so
# $\lambda = 2\bigl(\frac{c'w}{\gamma s} - \frac{q}{q + \varepsilon}\bigr)$. The first term changes its sign with
# $\gamma$, the second does not. Hence the two rates add up to $-4q/(q + \varepsilon)$, which for $q$ much larger than
# $\varepsilon$ is almost $-4$.
# :::
