"""Theorem cross-entropy: cross-entropy under batch normalization in closed form, for elliptical inputs."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each
from elliptical import Canonical, Rings
from hypothesis import strategies as st
from instances import SEEDS, Dual, Rational, correlated, gammas, problems, same, settle_directions, solve
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from bnlib.moments import Moments
from bnlib.theory import (
    effective_weights,
    least_squares,
    logistic_fit,
    logistic_gamma,
    logistic_noise_path,
    noise_path,
)

# Exact: canonical losses A(y) - t y with a polynomial A, Gaussian inputs, everything rational


class ExactFit:
    """The theorem's formulas for such a loss; `change` breaks one of them."""

    def __init__(self, canonical, change=None):
        gamma = canonical.gamma
        self.weights = gamma / canonical.kappa * solve(canonical.cov, canonical.cross)
        self.curvature = canonical.mean(2, canonical.beta, gamma)
        if change:
            change(self, canonical)
        self.rate = canonical.kappa / gamma - self.curvature

    def __iter__(self):
        return iter((self.weights, self.curvature, self.rate))


def assert_theorem(candidate, canonical):
    """On the ellipsoid, at rest with that rate, and (abar + lambda) Sigma v = c; better than any other point there."""
    v, curvature, multiplier = candidate(canonical)
    gamma, cov, cross = canonical.gamma, canonical.cov, canonical.cross
    same(v @ cov @ v, gamma**2)
    same((curvature + multiplier) * (cov @ v), cross)
    same(canonical.gradient(v) + multiplier * (cov @ v), 0 * cross)
    # the same rate from the loss as a function of gamma alone, at fixed raw weights: -(1/gamma) dJ/dgamma
    loss = canonical.mean(0, canonical.beta, Dual(gamma, 1)) - Dual(gamma, 1) * (cross @ v / gamma)
    same(multiplier, -loss.slope / gamma)


def test_exact_canonical_loss_at_rest():
    for seed in each(SEEDS):
        assert_theorem(ExactFit, Canonical(seed))


def test_exact_cauchy_schwarz_step():
    """On the ellipsoid J(u) - J(v) = (kappa/gamma)/2 (u - v)'Sigma(u - v): the loss is a constant less c'u there."""
    for seed in each(SEEDS):
        canonical, source = Canonical(seed), Rational(seed + 1000)
        v = ExactFit(canonical).weights
        source.d = len(v)
        w = source.vector()
        u = v - 2 * (v @ canonical.cov @ w) / (w @ canonical.cov @ w) * w  # reflected in the Sigma inner product
        same(u @ canonical.cov @ u, canonical.gamma**2)
        lift = canonical.kappa / canonical.gamma
        gap = lift / 2 * ((u - v) @ canonical.cov @ (u - v))
        same(canonical.loss(u) - canonical.loss(v), gap)
        assert gap >= 0


def test_exact_stein_step():
    """abar is the mean of A'' and also E[A'(beta + gamma z) z] / gamma, at any beta and gamma."""
    for seed in each(SEEDS):
        canonical = Canonical(seed)
        by_parts = canonical.mean(1, canonical.beta, canonical.gamma, times=1) / canonical.gamma
        same(by_parts, canonical.mean(2, canonical.beta, canonical.gamma))


def test_exact_least_squares_is_the_case_of_curvature_one():
    """A = y^2/2: abar = 1, and the theorem is theorem least-squares."""
    for seed in each(SEEDS):
        canonical = Canonical(seed)
        canonical.coefficients = [0, 0, Fraction(1, 2)]
        v, curvature, multiplier = ExactFit(canonical)
        same(curvature, Fraction(1))
        fit = least_squares(canonical.case.moments, canonical.gamma)
        same(fit.rate, multiplier)
        same(fit.weights, v)


def test_exact_the_sign_of_the_rate():
    """gamma abar(gamma) grows with gamma at the best beta, so the rate is positive exactly below the free length."""
    for seed in each(SEEDS):
        canonical = Canonical(seed)
        gamma, beta = canonical.gamma, canonical.beta
        # along the best beta, E A'(beta + gamma z) fixed: d beta / d gamma = - E A'' z / E A''
        curvature, mixed = canonical.mean(2, beta, gamma), canonical.mean(2, beta, gamma, times=1)
        slope = canonical.mean(2, beta, gamma, times=2) - mixed**2 / curvature
        moved = Dual(beta, -mixed / curvature)
        same(canonical.mean(1, moved, Dual(gamma, 1)).slope, Fraction(0))
        same(canonical.mean(1, moved, Dual(gamma, 1), times=1).slope, slope)
        assert slope > 0


# torch: batches that are elliptical to rounding


def fit_of(rings, gamma):
    return logistic_fit(rings.moments, gamma, rings.t.mean(), rings.component)


def assert_at_rest(candidate, rings, gamma):
    """torch's own gradients at the fit: none in w and beta, -gamma lambda in gamma; its loss; alpha by autograd."""
    fit = candidate(rings, gamma)
    norm = rings.unit(gamma, fit.beta)
    w = torch.from_numpy(3.0 * np.sign(gamma) * fit.weights).requires_grad_()
    loss = rings.loss(norm, w)
    grad_w, grad_gamma, grad_beta = torch.autograd.grad(loss, [w, norm.weight, norm.bias])
    size = rings.moments.target_var**0.5
    same(grad_w.numpy() * w.norm().item() / size, np.zeros(2), 1e-10, scale=1.0)
    same(grad_beta.item(), 0.0, 1e-12, scale=1.0)
    same(-grad_gamma.item() / gamma, fit.rate, 1e-10, scale=abs(fit.rate) + fit.curvature)
    same(loss.item(), fit.loss, 1e-11)
    v = torch.from_numpy(fit.weights).requires_grad_()
    folded = cross_entropy((rings.inputs - rings.inputs.mean(dim=0)) @ v + fit.beta, rings.target)
    (grad_v,) = torch.autograd.grad(folded, v)
    squared = fit.weights @ fit.weights
    alpha = -(fit.weights @ grad_v.numpy()) / squared
    same(alpha, fit.l2_rate, 1e-10, scale=(abs(fit.rate) + fit.curvature) * gamma**2 / squared)
    same(effective_weights(w.detach().numpy(), gamma, rings.moments.cov), fit.weights)


@pytest.mark.parametrize("gamma", [0.3, 1.0, -2.0, 4.0])
@pytest.mark.parametrize("seed", range(10))
def test_torch_unit_is_at_rest_at_the_closed_form(seed, gamma):
    assert_at_rest(fit_of, Rings(seed), gamma)


@pytest.mark.parametrize("gamma", [0.5, -1.5])
@pytest.mark.parametrize("seed", range(6))
def test_torch_unit_trained_to_rest_ends_at_the_closed_form(seed, gamma):
    rings = Rings(seed)
    fit, norm = fit_of(rings, gamma), rings.unit(gamma, 0.0)
    rng = np.random.default_rng(seed)
    start = np.sign(gamma) * np.linalg.solve(rings.moments.cov, rings.moments.cross)
    w = torch.from_numpy(start / np.linalg.norm(start) + 0.5 * rng.uniform(-1, 1, 2)).requires_grad_()
    assert settle_directions(w, [norm.bias], lambda: rings.loss(norm, w), 1e-10) < 1e-10
    same(effective_weights(w.detach().numpy(), gamma, rings.moments.cov), fit.weights, 1e-6)
    same(norm.bias.item(), fit.beta, 1e-8, scale=1.0)
    same(rings.loss(norm, w).item(), fit.loss, 1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_torch_unit_on_the_noise_path(seed):
    """The batch is that of noisy inputs; what the path is told are the clean moments."""
    rings = Rings(seed)
    std = 0.7 * np.sqrt(rings.moments.spectrum[0][0])
    clean = Moments(
        rings.moments.mean, rings.moments.cov - std**2 * np.eye(2), rings.moments.cross, rings.moments.target_var
    )
    path = logistic_noise_path(clean, 1.3, rings.t.mean(), [std], rings.component)

    def candidate(rings, gamma):
        found = fit_of(rings, gamma)
        same(path.loss[0], found.loss)
        same(path.beta, found.beta)
        found.__dict__.update(
            weights=path.weights[0], rate=path.rate[0], l2_rate=path.l2_rate[0], curvature=path.curvature
        )
        return found

    assert_at_rest(candidate, rings, 1.3)


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(6))
def test_torch_learned_gamma_at_rest(seed, decay):
    """dJ/dgamma + decay gamma = 0 at the scale that `logistic_gamma` says."""
    rings = Rings(seed)
    gamma = logistic_gamma(rings.moments, rings.t.mean(), decay, rings.component)
    fit = fit_of(rings, gamma)
    norm = rings.unit(gamma, fit.beta)
    loss = rings.loss(norm, torch.from_numpy(fit.weights))
    (grad_gamma,) = torch.autograd.grad(loss, [norm.weight])
    same(grad_gamma.item() + decay * gamma, 0.0, 1e-10, scale=gamma)
    same(fit.rate, decay, 1e-9, scale=1.0)


# Properties

shares = st.floats(0.02, 0.98)


def of_target(case, share, strength=0.8):
    """A case's moments for a target of this mean, explained up to a share of what a Gaussian class can be."""
    most = stats.norm.pdf(stats.norm.ppf(share))
    factor = strength * most / case.explained_std
    return Moments(case.moments.mean, case.moments.cov, factor * case.moments.cross, share * (1 - share))


@drawn(problems(), st.floats(0.05, 8.0), shares)
def test_property_fit_against_adaptive_quadrature(case, gamma, share):
    moments = of_target(case, share)
    fit = logistic_fit(moments, gamma, share)
    kappa = np.sqrt(moments.r_squared * moments.target_var)

    def mean(function):
        at = [-fit.beta / gamma] if abs(fit.beta / gamma) < 12 else None
        return quad(
            lambda z: stats.norm.pdf(z) * function(fit.beta + gamma * z), -12, 12, points=at, epsabs=1e-13, limit=200
        )[0]

    same(mean(expit), share, 1e-10, scale=1.0)
    same(fit.curvature, mean(lambda y: expit(y) * expit(-y)), 1e-9)
    same(fit.loss, mean(lambda y: np.logaddexp(0, y)) - fit.beta * share - gamma * kappa, 1e-10, scale=1 + gamma)
    same(fit.rate, kappa / gamma - fit.curvature, 1e-9, scale=kappa / gamma)


@drawn(problems(), gammas, shares)
def test_property_rate_is_the_price_of_gamma(case, gamma, share):
    """lambda = -(1/gamma) d(min J)/d gamma, by central differences of the loss."""
    moments, step = of_target(case, share), 1e-5 * abs(gamma)
    low, high = (logistic_fit(moments, abs(gamma) + d, share).loss for d in (-step, step))
    found = -(high - low) / (2 * step) / abs(gamma)
    fit = logistic_fit(moments, gamma, share)
    same(found, fit.rate, 1e-5, scale=(fit.curvature + abs(fit.rate)) * (1 + 1 / abs(gamma)))


@drawn(problems("well", "single", "singular"), gammas, shares, st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=4))
def test_property_path_is_the_fit_at_each_level(case, gamma, share, levels):
    moments, stds = of_target(case, share), np.sqrt(case.s.max()) * np.sort(levels)
    path = logistic_noise_path(moments, gamma, share, stds)
    for i, std in enumerate(stds):
        fit = logistic_fit(moments.with_noise(noise_std=std), gamma, share)
        same(path.rate[i], fit.rate, 1e-8, scale=fit.curvature + abs(fit.rate))
        same(path.l2_rate[i], fit.l2_rate, 1e-8, scale=(fit.curvature + abs(fit.rate)) * abs(fit.l2_rate / fit.rate))
        same(path.weights[i], fit.weights, 1e-8)
        same(path.loss[i], fit.loss, 1e-9, scale=1 + abs(gamma))
        same((path.beta, path.curvature), (fit.beta, fit.curvature), 1e-9)
    squares = noise_path(moments, gamma, stds)
    same(path.weights, squares.weights)
    same(path.rate + path.curvature, 1 + squares.rate, 1e-12)
    same(path.noise_share, squares.noise_share)
    same(path.signal_share, squares.signal_share)
    same(path.wiener, squares.wiener)
    assert (path.noise_stds == stds).all()
    assert (np.diff(path.rate) <= 0).all()


@drawn(problems("well", "single"), shares, st.floats(0.1, 0.95), st.floats(0.0, 1.0))
def test_property_learned_gamma_ends_at_its_decay(case, share, strength, decay):
    """And the rate is positive exactly below the free length."""
    moments = of_target(case, share, strength)
    free = logistic_gamma(moments, share)
    same(logistic_fit(moments, free, share).rate, 0.0, 1e-9, scale=1.0)
    assert logistic_fit(moments, 0.99 * free, share).rate > 0 > logistic_fit(moments, 1.01 * free, share).rate
    decayed = logistic_gamma(moments, share, decay)
    same(logistic_fit(moments, decayed, share).rate, decay, 1e-9, scale=1 + decay)
    assert decayed <= free


@drawn(problems(), gammas, shares)
def test_property_the_classes_may_be_swapped(case, gamma, share):
    moments = of_target(case, share)
    other = Moments(moments.mean, moments.cov, -moments.cross, moments.target_var)
    fit, swapped = logistic_fit(moments, gamma, share), logistic_fit(other, gamma, 1 - share)
    same(swapped.weights, -fit.weights)
    same(swapped.beta, -fit.beta, 1e-11, scale=1 + abs(fit.beta))
    same((swapped.rate, swapped.loss), (fit.rate, fit.loss), 1e-11, scale=1 + abs(fit.rate) + abs(gamma))


@drawn(problems("well", "single"), shares)
def test_property_limits(case, share):
    """A small output sees p (1 - p) of the share, a large one a step: gamma abar tends to the density at its quantile."""
    moments, variance = of_target(case, share), share * (1 - share)
    small, large = logistic_fit(moments, 1e-4, share), logistic_fit(moments, 1e5, share)
    same(small.curvature, variance, 1e-7)
    same(small.beta, np.log(share / (1 - share)), 1e-6, scale=1.0)
    same(1e5 * large.curvature, stats.norm.pdf(stats.norm.ppf(share)), 1e-8)
    same(large.beta / 1e5, stats.norm.ppf(share), 1e-8, scale=1.0)


@pytest.mark.parametrize("gamma", [63.9, 64.0, 300.0])
def test_property_large_outputs(gamma):
    """Where the logit is far wider than the sigmoid, against adaptive quadrature about its step."""
    fit = logistic_fit(Moments([0.0], [[1.0]], [0.1], 0.16), gamma, 0.2)
    steps = (np.array([-30.0, -5.0, 0.0, 5.0, 30.0]) - fit.beta) / gamma

    def mean(function):
        parts = [-12.0, *steps, 12.0]
        return sum(
            quad(lambda z: stats.norm.pdf(z) * function(fit.beta + gamma * z), low, high, epsabs=1e-14)[0]
            for low, high in itertools.pairwise(parts)
        )

    same(mean(expit), 0.2, 1e-11)
    same(fit.curvature, mean(lambda y: expit(y) * expit(-y)), 1e-11)
    same(fit.loss, mean(lambda y: np.logaddexp(0, y)) - 0.2 * fit.beta - 0.1 * gamma, 1e-11, scale=gamma)


def test_property_what_separates_has_no_finite_scale():
    for share in (0.1, 0.5, 0.8):
        most = stats.norm.pdf(stats.norm.ppf(share))
        moments = [Moments([0.0], [[1.0]], [factor * most], share * (1 - share)) for factor in (0.999, 1.0, 1.001)]
        found = [logistic_gamma(one, share) for one in moments]
        assert 10 < found[0] < 100
        assert found[1] > 1e6 and found[2] == np.inf
        assert logistic_gamma(moments[2], share, 0.01) < 10


def test_property_a_gaussian_component_given_as_nodes():
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    moments = Moments([0.0, 0.0], np.diag([4.0, 1.0]), [0.4, 0.1], 0.25)
    for gamma in (0.3, 1.0, 2.0):
        plain, given = (logistic_fit(moments, gamma, 0.5, law) for law in (None, (nodes, weights)))
        same((given.rate, given.curvature, given.loss), (plain.rate, plain.curvature, plain.loss), 1e-9, scale=1.0)


def test_property_any_target_on_gaussian_rows():
    """(i) asks nothing of the target: one that is no function of a single index, 200,000 rows, a unit trained to rest."""
    rng = np.random.default_rng(0)
    X = correlated(rng, 200_000, 3)
    z = X - X.mean(axis=0)
    t = (rng.random(len(X)) < expit(z[:, 0] + 0.5 * z[:, 1] ** 2 - 1 + 0.7 * z[:, 1] * z[:, 2])).astype(float)
    moments, inputs, target = Moments.from_data(X, t), torch.from_numpy(X), torch.from_numpy(t)
    for gamma in (0.5, 3.0):
        fit = logistic_fit(moments, gamma, t.mean())
        norm = torch.nn.BatchNorm1d(1, eps=1e-30).double()
        norm.weight.data.fill_(gamma)
        w = torch.from_numpy(moments.cross + 0.1 * rng.standard_normal(3)).requires_grad_()

        def loss(norm=norm, w=w):
            return cross_entropy(norm((inputs @ w)[:, None])[:, 0], target)

        settle_directions(w, [norm.bias], loss, 1e-9)
        v = effective_weights(w.detach().numpy(), gamma, moments.cov)
        assert v @ moments.cov @ fit.weights / gamma**2 > 1 - 1e-4
        (grad_gamma,) = torch.autograd.grad(loss(), [norm.weight])
        assert abs(-grad_gamma.item() / gamma - fit.rate) < 0.01 * fit.curvature


# Controls


def changed(change):
    def candidate(rings, gamma):
        fit = fit_of(rings, gamma)
        fit.__dict__.update(change(rings, gamma, fit))
        return fit

    return candidate


def kappa_of(rings):
    return np.sqrt(rings.moments.r_squared * rings.moments.target_var)


BROKEN = {
    "the curvature of least squares": lambda rings, gamma, fit: {"rate": kappa_of(rings) / abs(gamma) - 1},
    "the curvature at the shift": lambda rings, gamma, fit: {
        "rate": kappa_of(rings) / abs(gamma) - expit(fit.beta) * expit(-fit.beta)
    },
    "the curvature of the share": lambda rings, gamma, fit: {
        "rate": kappa_of(rings) / abs(gamma) - rings.t.mean() * (1 - rings.t.mean())
    },
    "a Gaussian component": lambda rings, gamma, fit: vars(logistic_fit(rings.moments, gamma, rings.t.mean())),
    "gamma over kappa": lambda rings, gamma, fit: {"rate": abs(gamma) / kappa_of(rings) - fit.curvature},
    "sign of the rate": lambda rings, gamma, fit: {"rate": -fit.rate},
    "no shift": lambda rings, gamma, fit: {"beta": 0.0},
    "the shift of a small output": lambda rings, gamma, fit: {"beta": np.log(rings.t.mean() / (1 - rings.t.mean()))},
    "the direction c": lambda rings, gamma, fit: {
        "weights": effective_weights(rings.moments.cross, abs(gamma), rings.moments.cov)
    },
    "the direction of more noise": lambda rings, gamma, fit: {
        "weights": effective_weights(
            least_squares(rings.moments.with_noise(noise_std=0.3), 1.0).weights, abs(gamma), rings.moments.cov
        )
    },
    "the other way": lambda rings, gamma, fit: {"weights": -fit.weights},
    "loss without the covariance": lambda rings, gamma, fit: {"loss": fit.loss + abs(gamma) * kappa_of(rings)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_formula_is_caught(name):
    with pytest.raises(AssertionError):
        assert_at_rest(changed(BROKEN[name]), Rings(0), 1.0)


def off_curvature(fit, canonical):
    fit.curvature = fit.curvature + canonical.coefficients[4]


def mean_curvature(fit, canonical):
    fit.curvature = canonical.mean(2, canonical.beta, Fraction(0))


def wrong_direction(fit, canonical):
    fit.weights = canonical.gamma / canonical.kappa * canonical.cross


@pytest.mark.parametrize("change", [off_curvature, mean_curvature, wrong_direction], ids=lambda change: change.__name__)
def test_control_broken_canonical_formula_is_caught(change):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_theorem(lambda canonical: ExactFit(canonical, change), Canonical(seed))


def test_control_inputs_that_are_not_elliptical():
    """Squares of a Gaussian beside a Gaussian: the closed form with these moments is not at rest."""
    rng = np.random.default_rng(0)
    rings = Rings(0)
    raw = rng.standard_normal((3000, 2))
    X = np.column_stack([raw[:, 0], raw[:, 1] ** 2])
    rings.t = (rng.random(3000) < expit(X @ [1.0, 2.0] - 2)).astype(float)
    rings.moments, rings.inputs, rings.target = (
        Moments.from_data(X, rings.t),
        torch.from_numpy(X),
        torch.from_numpy(rings.t),
    )
    rings.component = None
    with pytest.raises(AssertionError):
        assert_at_rest(fit_of, rings, 1.0)


def test_control_the_shift_follows_the_noise_if_the_component_does():
    """Inputs of a t law of 5 degrees of freedom plus Gaussian noise: neither shift nor curvature stays."""
    count = 20_001
    heavy = stats.t(5).ppf((np.arange(count) + 0.5) / count) / np.sqrt(5 / 3)
    normal, weights = np.polynomial.hermite_e.hermegauss(40)
    found = []
    for std in (0.0, 1.0, 3.0):
        nodes = (heavy[:, None] + std * normal).ravel()
        law = np.tile(weights / weights.sum(), count) / count
        nodes /= np.sqrt(law @ nodes**2)
        fit = logistic_fit(Moments([0.0], [[1 + std**2]], [0.2], 0.16), 3.0, 0.2, (nodes, law))
        found.append((fit.beta, fit.curvature))
    assert found[0][0] - found[1][0] > 0.15 and found[1][0] - found[2][0] > 0.05
    assert found[1][1] > 1.03 * found[0][1]
    with pytest.raises(AssertionError):
        same(np.array(found[1:]), np.array([found[0]] * 2), 1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_mean": 1.0}, "target_mean = 1 is no share of a class; it must be between 0 and 1"),
        ({"target_mean": 0.1}, "target_var = 0.25; a target from 0 to 1 with target_mean = 0.1 has at most 0.09"),
        ({"gamma": 0}, "gamma = 0 switches the unit off"),
        ({"gamma": [1.0, 2.0]}, r"gamma has shape \(2,\); it must be one number"),
        ({"component": ([1.0, -1.0], [1.0])}, "component has 2 nodes and 1 weights; it must have a weight a node"),
        ({"component": ([2.0, -2.0], [0.5, 0.5])}, "mean square 4; a standardized law has 1, 0 and 1"),
        ({"component": ([1.0, -1.0], [1.5, -0.5])}, r"component\[1\] = -0.5 is negative"),
        ({"target_mean": 0.0}, "target_mean = 0 is no share of a class"),
        ({"target_mean": [0.5, 0.5]}, "^target_mean has shape"),
        ({"moments": Moments([0.0], [[1.0]], [0.3], 0.26)}, "target_var = 0.26; .* target_mean = 0.5 has at most 0.25"),
        ({"component": ([np.nan, 1.0], [0.5, 0.5])}, r"^component\[0\]"),
        ({"component": ([1.2, -1.2], [0.5, 0.5])}, "mean square 1.44"),
        ({"component": (np.sqrt(1 + 5e-6) * np.array([1, -1]), [0.5, 0.5])}, "a standardized law has 1, 0 and 1"),
    ],
    ids=[
        "share",
        "variance",
        "gamma",
        "gammas",
        "component",
        "not standardized",
        "negative weight",
        "no class",
        "shares",
        "variance beyond a class's",
        "nan",
        "far from standardized",
        "nearly standardized",
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    given = {"moments": Moments([0.0], [[1.0]], [0.3], 0.25), "gamma": 1.0, "target_mean": 0.5} | arguments
    with pytest.raises(ValueError, match=message):
        logistic_fit(**given)


def test_a_component_may_be_standardized_to_rounding():
    nodes = np.sqrt(1 + 5e-7) * np.array([1.0, -1.0])
    fit = logistic_fit(Moments([0.0], [[1.0]], [0.3], 0.25), 1.0, 0.5, (nodes, [0.5, 0.5]))
    assert np.isfinite(fit.rate)


def test_wrong_moments_and_levels_are_named():
    several = Moments([0.0], [[1.0]], [[0.3, 0.1]], [0.25, 0.25])
    alone = Moments([0.0], [[1.0]], [0.0], 0.25)
    good = Moments([0.0], [[1.0]], [0.3], 0.25)
    for call, message in (
        (lambda: logistic_fit(several, 1.0, 0.5), r"cross of shape \(1, 2\); a logistic unit takes one target"),
        (lambda: logistic_noise_path(several, 1.0, 0.5, [0.0]), r"cross of shape \(1, 2\)"),
        (lambda: logistic_fit(alone, 1.0, 0.5), "R sigma_t = 0"),
        (lambda: logistic_noise_path(good, 1.0, 0.5, [-1.0]), "noise_stds = -1 is negative"),
        (lambda: logistic_gamma(good, 0.5, -0.1), "gamma_decay = -0.1 is negative"),
        (lambda: logistic_gamma(good, 0.5, [0.1, 0.2]), "^gamma_decay has shape"),
        (lambda: logistic_gamma(good, 0.5, float("nan")), "^gamma_decay"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
