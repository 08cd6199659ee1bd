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
# # On real digits
#
# Builds on {doc}`rate`, {doc}`least-squares`, {doc}`invariance` and {doc}`noise`.
# After it you know how far the closed forms hold for a real layer on real images.
#
# So far the data were ours to choose. Now they are handwritten digits, MNIST {cite:p}`lecun1998`.
# Does a real `BatchNorm1d`, trained by gradient descent, end where the closed form of
# {prf:ref}`thm-least-squares` says? Does its rate fall along the curve of {prf:ref}`thm-noise` when
# we drown the digits in noise? And do the identities of batch normalization (BN) hold in a network
# that is still learning?
#
# Each answer must be yes, or a proof is wrong. Whether the rate is a *good* one is another
# question, an open one: {doc}`noise-sweep` asks it.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist": see bnlib.data.load
seeds = [0, 1, 2]  # repetitions behind every interval
digit = 3  # the read-out says: is it this digit?
components = 64  # principal components that the read-out sees
gamma = 0.5  # fixed scale, in standard deviations of the target
read_out_steps = 3500  # gradient steps on clean digits
noisy_steps = 250  # gradient steps at each noise level
rows = 3000  # training images that the read-out sees, at most

# %% tags=["hide-input"]
from itertools import islice, repeat

import numpy as np
import torch

from bnlib import meter, models, theory, training
from bnlib.moments import Moments
from companion.figures import Picture
from companion.page import check, finding, sentence
from companion.records import Source, name_of
from companion.studies.read_out import read_out

torch.set_num_threads(1)
on = name_of(dataset)

# %% [markdown]
# ## A read-out with a closed form
#
# The task: from the pixels, say whether the digit is a certain one. The target is standardized, so
# that $\sigma_t = 1$. Pixels are shifted and scaled by two numbers, so that noise can be given in
# units of the pixels' standard deviation.
#
# The read-out sees the leading principal components of the images instead of the pixels. That costs
# little and buys much. The directions in which pixels hardly vary would need millions of gradient
# steps; and an orthonormal change of coordinates leaves white noise white. The chapter chooses
# nothing and scores nothing, so it needs the training part of the data alone.

# %%
digits = read_out(dataset, digit, components, rows)
predicted = theory.least_squares(digits.moments, gamma)
print(f"R = {np.sqrt(digits.moments.r_squared):.4f}, gamma = {gamma}")
print(f"predicted rate R / gamma - 1 = {predicted.rate:.4f}")

# %% tags=["hide-input"]
variances = digits.pixels.spectrum[0][::-1]
kept = variances[:components]
sentence(
    f"{components} components keep {kept.sum() / variances.sum():.1%} of the pixels' variance. Their"
    f" condition number is {kept[0] / kept[-1]:.0f}; among all pixels, {np.sum(variances == 0)}"
    " directions do not vary at all."
)

# %% [markdown]
# The moments say what the rate will be before a single gradient step is taken.
#
# ## Check it in five lines
#
# Here is the network: torch's `Linear` and `BatchNorm1d`, and gradient descent with momentum. The
# meter reads the rate off one backward pass, from $-(1/\gamma)\,\partial J/\partial\gamma$. It knows
# nothing of $\Sigma$ or $R$.

# %%
x, t = torch.from_numpy(digits.inputs["train"]), torch.from_numpy(digits.target["train"])
loss_fn = training.half_squared_error

unit = models.unit(components, gamma, seed=0)
training.fit(unit, repeat((x, t), read_out_steps), loss_fn, learning_rate=0.3, momentum=0.9)
report = meter.measure(unit, [(x, t)], loss_fn)
weights = theory.effective_weights(unit[0].weight.detach()[0], gamma, digits.moments.cov)
report.to_frame()[["gamma", "weight_norm", "batch_var", "rate", "l2_rate"]]

# %% tags=["hide-input"]
clean = digits.source([0], gamma=gamma, steps=read_out_steps)
rate_check = check(
    "least-squares",
    f"rate of a BatchNorm1d read-out trained on {on}, by the meter, against R sigma_t / gamma - 1",
    measured=report.rate[0],
    predicted=predicted.rate,
    tolerance=1e-6,
    source=clean,
)
check(
    "least-squares",
    f"effective weights of a BatchNorm1d read-out trained on {on} against the closed form",
    measured=weights,
    predicted=predicted.weights,
    tolerance=1e-6,
    source=clean,
)
finding(
    "A BatchNorm1d read-out that gradient descent trains on digits ends where the closed form says:"
    " its rate is {measured:.4f}, computed beforehand {predicted:.4f}.",
    rate_check,
)

# %% [markdown]
# Mapped back to pixels, the weights are pictures. Red speaks for the digit, blue against it. The two
# on the left were found in ways that share no line of code. The one on the right is what least
# squares would do without BN: the same picture, larger by the factor $1 + \lambda$. On clean data,
# with one unit, that is all the constraint does. Noise will change that.

# %% tags=["hide-input"]
picture = Picture(1, 3, height=2.6)
picture[0].image(digits.basis @ predicted.weights, "closed form")
picture[1].image(digits.basis @ weights, "trained")
picture[2].image(digits.basis @ predicted.weights * (1 + predicted.rate), "without BN")
difference = np.linalg.norm(weights - predicted.weights) / np.linalg.norm(predicted.weights)
picture.show(
    says="Trained by gradient descent, BN has the weights of its closed form."
    " Effective weights as images: BN's closed form, BN trained by gradient descent (relative"
    f" difference {difference:.0e}), and least squares without BN. The three show the same pattern;"
    " each image has its own colour scale.",
    source=clean,
    name="digits-weights",
)

# %% [markdown]
# ## Noise: the predicted path and the measured points
#
# Now every input gets Gaussian noise, fresh at every step. The curve below comes from the moments
# of the *clean* digits, by one eigendecomposition. The points are networks that never saw a clean
# digit.

# %%
noise_stds = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0])
at_points = theory.noise_path(digits.moments, gamma, noise_stds)


def noisy_batches(noise_std, seed):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(x.shape, generator=generator).mul_(noise_std) + x, t


def falling(step):  # lets the noise of the last steps average out
    return 0.3 * (1 - step / noisy_steps)


def trained_on_noise(noise_std, seed):
    unit, batches = models.unit(components, gamma, seed=seed), noisy_batches(noise_std, seed)
    training.fit(unit, islice(batches, noisy_steps), loss_fn, falling, momentum=0.9)
    rate = meter.measure(unit, islice(batches, 20), loss_fn).rate[0]
    noisy_cov = digits.moments.with_noise(noise_std=noise_std).cov
    return rate, theory.effective_weights(unit[0].weight.detach()[0], gamma, noisy_cov)


runs = [[trained_on_noise(noise_std, seed) for noise_std in noise_stds] for seed in seeds]
measured_rate = np.array([[rate for rate, _ in levels] for levels in runs])
noisy_weights = np.array([[v for _, v in levels] for levels in runs])  # (seeds, levels, components)

# %% tags=["hide-input"]
noisy = digits.source(seeds, gamma=gamma, steps=noisy_steps)
path = theory.noise_path(digits.moments, gamma, np.linspace(0, 3, 61))
signal = np.einsum("sli,ij,slj->sl", noisy_weights, digits.moments.cov, noisy_weights) / gamma**2
label = "noise_std (pixels' standard deviations)"
picture = Picture(1, 2)
left, right = picture
left.line(path.noise_stds, path.rate, "closed form", "theory")
left.points(noise_stds, measured_rate, "trained BN", "batch")
left.set(xlabel=label, title="rate λ that BN sets", legend=True)
right.line(path.noise_stds, path.signal_share, "signal, closed form", "signal")
right.line(path.noise_stds, path.noise_share, "noise, closed form", "noise")
right.points(noise_stds, signal, "signal, trained", "signal", scale="share")
right.set(xlabel=label, title="share of the budget γ²", ylim=(0, 1.03), legend=True)
gap = np.abs(measured_rate.mean(axis=0) - at_points.rate).max()
picture.show(
    says="Networks trained on noisy digits follow the curve that clean ones predict."
    " Predicted from clean moments (curves) and measured in trained networks (points). The mean"
    f" rates lie at most {gap:.3f} off the curve.",
    source=noisy,
    name="digits-noise",
)

# %% [markdown]
# Level by level: is the measured $1 + \lambda$ the predicted one to within two percent, interval
# included?

# %% tags=["hide-input"]
levels = [
    check(
        "noise",
        f"1 + rate of BN trained on noisy {on} against the closed form, noise_std {noise_std:g}",
        measured=1 + measured_rate[:, level],
        predicted=1 + at_points.rate[level],
        kind="empirical",
        tolerance=0.02,
        role="theorem",
        scale="log",
        source=digits.source(seeds, gamma=gamma, steps=noisy_steps, noise_std=float(noise_std)),
    )
    for level, noise_std in enumerate(noise_stds)
]
ends = {
    "low": noise_stds[0],
    "high": noise_stds[-1],
    "first": measured_rate[:, 0].mean(),
    "last": measured_rate[:, -1].mean(),
}
goes = " From noise {low:g} to {high:g} the rate goes from {first:.2f} to {last:.2f}."
finding(
    {
        "borne out": "Trained on noisy digits only, it follows the curve that the clean ones predict:"
        " 1 + λ is within {tolerance:.0%} at all {count} noise levels, {worst:.1%} off at worst."
        + goes,
        "not borne out": "Trained on noisy digits only, it leaves the curve that the clean ones predict:"
        " 1 + λ is more than {tolerance:.0%} off at all {count} noise levels, {worst:.1%} at worst."
        + goes,
        "mixed": "Trained on noisy digits only, it follows the curve that the clean ones predict,"
        " with 1 + λ and its interval within {tolerance:.0%}, at {held} of {count} noise levels; the"
        " worst mean is {worst:.1%} off." + goes,
    },
    *levels,
    **ends,
)

# %% [markdown]
# What does the noise do to the weights? It does not just shrink them. Each principal direction is
# damped by its own Wiener factor $\mathrm{SNR}_i/(1+\mathrm{SNR}_i)$. Fine detail, where the signal
# is weak, goes first, and the picture becomes smooth.

# %% tags=["hide-input"]
picture = Picture(2, 3, height=4.6)
both = {"closed form": at_points.weights, "trained": noisy_weights[0]}
for row, (way, found) in enumerate(both.items()):
    for column, level in enumerate((0, 2, 5)):
        picture[3 * row + column].image(
            digits.basis @ found[level], f"{way}, noise {noise_stds[level]:g}"
        )
picture.show(
    says="As the noise grows, fine structure disappears and a smooth outline remains."
    " Effective weights, noise from left to right: closed form (top) and trained networks (bottom). From"
    " left to right fine structure disappears and a smooth outline remains. The rows look alike.",
    source=digits.source(seeds[:1], gamma=gamma, steps=noisy_steps),
    name="digits-weights-noise",
)

# %% [markdown]
# ## The identities, in the middle of training
#
# {prf:ref}`thm-constraint`, {prf:ref}`thm-rate` and {prf:ref}`thm-invariance` ask for no minimum and
# no closed form. So take a network with a hidden layer, stop its training after one epoch, and hold
# them against one batch of digits. First the constraint, in every hidden unit.

# %% tags=["hide-input"]
pixels = training.standardize(digits.dataset)["train"][:rows].astype(np.float64)
labels = digits.labels["train"]
schedule = training.Schedule(epochs=1)
(halfway,) = training.train([training.Arm("batch")], pixels, labels, schedule, seed=seeds[0])
linear, batch_norm, *rest = halfway.double().train()
batch, classes = torch.from_numpy(pixels[:128]), torch.from_numpy(labels[:128])
cross_entropy = torch.nn.functional.cross_entropy
half_trained = Source(
    dataset, len(labels), seeds[:1], {"network": "784-100-10", "epochs": 1, "batch_size": 128}
)

raw = linear.weight.detach().numpy()  # (units, pixels)
scale = batch_norm.weight.detach().numpy()
cov = np.cov(pixels[:128], rowvar=False, bias=True)
q = np.einsum("ki,ij,kj->k", raw, cov, raw)
v = theory.effective_weights(raw, scale, cov, batch_norm.eps)
constraint = check(
    "constraint",
    f"a network half trained on {on}, every hidden unit: v'Sigma v against gamma^2 q / (q + eps)",
    measured=np.einsum("ki,ij,kj->k", v, cov, v),
    predicted=scale**2 * q / (q + batch_norm.eps),
    tolerance=1e-12,
    source=half_trained,
)

# %% [markdown]
# Now BN is folded away and the loss differentiated with respect to the effective weights. The
# gradient that torch computes *with* BN must be the one without, plus $\lambda\Sigma v$.

# %%
(grad_w,) = torch.autograd.grad(cross_entropy(halfway(batch), classes), linear.weight)

folded = torch.from_numpy(v).requires_grad_()
hidden = (batch - batch.mean(dim=0)) @ folded.T + batch_norm.bias.detach()
without_bn = cross_entropy(torch.nn.Sequential(*rest)(hidden), classes)
grad_v = torch.autograd.grad(without_bn, folded)[0].numpy()

rates = theory.rate(v, grad_v, scale)
factor = (scale / np.sqrt(q + batch_norm.eps))[:, None]  # gamma / s
identity = factor * (grad_v + rates[:, None] * v @ cov)

# %% tags=["hide-input"]
rate = check(
    "rate",
    f"a network half trained on {on}: gradient through BatchNorm1d against"
    " (gamma/s)(grad L + lambda Sigma v)",
    measured=grad_w.numpy(),
    predicted=identity,
    tolerance=1e-10,
    source=half_trained,
)
by_meter = check(
    "rate",
    f"a network half trained on {on}: rates from the meter against -v'grad L / gamma^2",
    measured=meter.measure(halfway, [(batch, classes)], cross_entropy).rate,
    predicted=rates,
    tolerance=1e-10,
    source=half_trained,
)
finding(
    "In a network that is half trained, each of {units} hidden units obeys the constraint and the"
    " identity of the rate, to {worst:.0e}; {positive:.0%} of the rates are positive.",
    constraint,
    rate,
    by_meter,
    units=len(rates),
    positive=np.mean(rates > 0),
)

# %% [markdown]
# And the invariance: mix and stretch the digits' components by any invertible matrix, and the rate
# of the read-out stays what it was.

# %% tags=["hide-input"]
inputs, target = digits.inputs["train"], digits.target["train"]
mixing = np.random.default_rng(0).standard_normal((components, components))
mixed = Moments.from_data(inputs @ mixing, target)
closed_form = digits.source(gamma=gamma)
check(
    "invariance",
    f"rate of the {on} read-out after a random invertible change of its inputs against the rate"
    " before",
    measured=theory.least_squares(mixed, gamma).rate,
    predicted=predicted.rate,
    tolerance=1e-9,
    source=closed_form,
)
stretched = Moments.from_data(4 * inputs, target)
check(
    "invariance",
    f"L2-equivalent rate of the {on} read-out with inputs times 4 against 16 times the rate before",
    measured=theory.least_squares(stretched, gamma).l2_rate,
    predicted=16 * predicted.l2_rate,
    tolerance=1e-10,
    source=closed_form,
)

# %% [markdown]
# ## What it means for your network
#
# - You can read the rates of your own network at any step, converged or not:
#   `bnlib.measure(model, batches, loss_fn)` costs one backward pass and needs no covariance.
# - Some of the rates may be negative in the middle of training. That is no error: such a unit is
#   being held *out* to its scale, not in.
# - A linear layer with BN on top of frozen features, trained with squared loss, has a rate that you
#   can compute before training, for every noise level at once: `theory.noise_path`.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"On {len(t):,} images gradient descent brought a BatchNorm1d to the rate {report.rate[0]:.4f}; the"
    f" closed form has {predicted.rate:.4f}, and all {components} weights to {difference:.0e} of their"
    f" length. From noise {noise_stds[0]:g} to {noise_stds[-1]:g} the trained rate went from"
    f" {ends['first']:.2f} to {ends['last']:.2f} and the share of signal from"
    f" {signal[:, 0].mean():.1%} to {signal[:, -1].mean():.1%}; the clean images say"
    f" {at_points.rate[0]:.2f} to {at_points.rate[-1]:.2f}, and {at_points.signal_share[0]:.1%} to"
    f" {at_points.signal_share[-1]:.1%}. In a half-trained network all {len(rates)} hidden units obeyed"
    f" the identities, {np.sum(rates < 0)} of them at a negative rate."
)

# %% [markdown]
# - Where there is a closed form, a real `BatchNorm1d` trained by gradient descent ends on it: the
#   rate and every weight.
# - Noise takes fine detail from the weights, direction by direction, and how much of it goes can be
#   computed from clean images.
# - The identities ask for no minimum: a network that is still learning obeys them in each hidden
#   unit.
# - None of this says that the rate is the one that you would have searched for. {doc}`noise-sweep`
#   holds it against a search, and {doc}`claims` lists what came out beside the proofs.
#
# ## Where it stops
#
# - The read-out sees principal components. On raw pixels gradient descent does not reach the minimum
#   in any reasonable time, with or without BN: the identities of {prf:ref}`thm-rate` still hold at
#   every step, the closed form describes a point that training never gets to.
# - The read-out is linear and its loss quadratic. Behind a hidden layer no closed form is left; what
#   is left is measured in {doc}`noise-sweep`.
# - The read-out sees as many of the training images as `rows` says. The closed form is that of the
#   same images: more of them cost time and add nothing.
# - Intervals are over seeds, that is over initial weights, batches and noise, not over data sets.
#
# ## Exercises
#
# **1. Derive.** The read-out sees some of the principal components. Show that a further component
# never lowers the rate, and say by how much it raises it. Why does that need *principal* components?
#
# :::{dropdown} Solution
# Principal components are uncorrelated, so $\Sigma$ is diagonal and
# $R^2\sigma_t^2 = c'\Sigma^{-1}c = \sum_i c_i^2/s_i$, a sum with one term a component, none
# negative. With $c_i^2/s_i = \sigma_t^2R_i^2$, {prf:ref}`thm-least-squares` gives
# $(1 + \lambda)^2 = (\sigma_t/\gamma)^2 \sum_i R_i^2$ over the components that are seen. A further
# one adds $(\sigma_t/\gamma)^2R_i^2$ to the square. Correlated inputs explain partly the same, and
# then the shares do not add up; a further input still never lowers $R$, but what it adds depends on
# those already there.
# :::
#
# **2. Run.** Set `gamma = 0.8`. Which sign will the rate have? Does training still end on the closed
# form? At which $\gamma$ would the rate be zero?
#
# :::{dropdown} Solution
# The prediction $R/\gamma - 1$ is negative as soon as $\gamma$ exceeds $R$, the first number that
# this chapter prints, and zero where they are equal. {prf:ref}`thm-least-squares` asks for no sign:
# the checks hold as before. BN now stretches the weights beyond those of least squares, and a
# learned $\gamma$ would shrink to $R$.
# :::
