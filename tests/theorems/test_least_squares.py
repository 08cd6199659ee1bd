"""Theorem least-squares: least squares under batch normalization in closed form."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each
from instances import (
    SEEDS,
    Rational,
    correlated,
    ellipsoid,
    gammas,
    moments_of,
    problem,
    problems,
    same,
    settle_directions,
    solve,
)
from scipy.optimize import NonlinearConstraint, minimize
from sklearn.linear_model import LinearRegression

from bnlib.moments import Moments
from bnlib.theory import effective_weights, least_squares, rate

CASES = {seed: ellipsoid(seed) for seed in SEEDS}


class ExactFit:
    """The theorem's formulas, in rational arithmetic; `change` breaks one of them."""

    def __init__(self, case, change=None):
        gamma, explained_std = case.gamma, case.explained_std
        self.rate = explained_std / gamma - 1
        self.weights = gamma / explained_std * solve(case.cov, case.cross)
        self.loss = (case.target_var - 2 * gamma * explained_std + gamma**2) / 2
        if change:
            change(self, case)
        self.l2_rate = self.rate * gamma**2 / (self.weights @ self.weights)


def bnlib_fit(case):
    return least_squares(case.moments, case.gamma)


def assert_stationary(candidate, case):
    """On the ellipsoid, with grad L + lambda Sigma v = 0, and the loss that the definition gives."""
    fit = candidate(case)
    output = solve(case.cov, case.cross)  # Sigma v is compared as v, so that nothing cancels
    same((1 + fit.rate) * fit.weights, output)
    same(fit.weights @ case.cov @ fit.weights, case.gamma**2)
    same(fit.loss, case.loss(fit.weights))
    same(fit.l2_rate, (case.cross @ fit.weights - fit.weights @ case.cov @ fit.weights) / (fit.weights @ fit.weights))
    assert fit.weights @ case.cross > 0  # the minimum, not the maximum at -v


@pytest.mark.parametrize("candidate", [ExactFit, bnlib_fit], ids=["fractions", "bnlib"])
def test_exact_closed_form_is_stationary(candidate):
    for case in each(CASES):
        assert_stationary(candidate, case)


def test_exact_nothing_else_on_the_ellipsoid_is_better():
    """Cauchy-Schwarz in the Sigma inner product, as an identity: L(u) - min J = (1 + lambda)/2 (u - v)'Sigma(u - v)."""
    for seed in each(SEEDS):
        case, source = CASES[seed], Rational(seed + 1000)
        fit = ExactFit(case)
        source.d = len(case.cross)
        w = source.vector()
        A = np.array([source.number() for _ in range(source.d)])
        u_squared = w @ case.cov @ w
        # any u with u'Sigma u = gamma^2: reflect v in the Sigma inner product
        u = fit.weights - 2 * (fit.weights @ case.cov @ w) / u_squared * w
        same(u @ case.cov @ u, case.gamma**2)
        gap = (1 + fit.rate) / 2 * ((u - fit.weights) @ case.cov @ (u - fit.weights))
        same(case.loss(u) - fit.loss, gap)
        assert gap >= 0
        # on the whole space the penalized problem has the same minimizer, where 1 + lambda > 0
        other = fit.weights + A
        penalized = [case.loss(x) + fit.rate / 2 * (x @ case.cov @ x) for x in (other, fit.weights)]
        same(penalized[0] - penalized[1], (1 + fit.rate) / 2 * (A @ case.cov @ A))


def test_exact_sign_of_the_rate():
    for case in each(CASES):
        shrinks = Fraction(case.gamma < case.explained_std)
        same(Fraction(ExactFit(case).rate > 0), shrinks)
        same(Fraction(bool(bnlib_fit(case).rate > 0)), shrinks)


def test_exact_eps_turns_the_constraint_into_an_inequality():
    """lambda = max(0, R sigma_t / gamma - 1), whatever the size of eps; inside, the fit is that of least squares."""
    for case in each(CASES):
        fit = least_squares(case.moments, case.gamma, eps=0.5)
        same(fit.rate, max(0, case.explained_std / case.gamma - 1))
        same(fit.weights, solve(case.cov, case.cross) / max(1, case.explained_std / case.gamma))
        same(fit.loss, case.loss(fit.weights))
        same(least_squares(case.moments, case.gamma, eps=1e-12).weights, fit.weights)


def test_exact_from_rational_data():
    """From rows of numbers to R^2 sigma_t^2 (1 + lambda)^-2 = gamma^2, squares compared."""
    for seed in each(SEEDS):
        source = Rational(seed)
        rows = 4 + source.d
        X, t, gamma = source.matrix(rows), source.vector(rows), source.nonzero()
        _, cov, cross, target_var = moments_of(X, t)
        moments = Moments.from_data(X.astype(float), t.astype(float), chunk_rows=3)
        explained = cross @ solve(cov, cross)
        same(moments.r_squared, explained / target_var, rtol=1e-9)
        same((1 + least_squares(moments, gamma).rate) ** 2, explained / gamma**2, rtol=1e-9)


class TorchUnit:
    """A torch BatchNorm1d unit on a random number of rows and inputs, its raw weights minimized over to rest."""

    def __init__(self, seed, ratio, eps):
        rng = np.random.default_rng(seed)
        d = 1 + seed % 5
        X = correlated(rng, int(rng.integers(20, 80)), d)
        t = X @ rng.standard_normal(d) + rng.standard_normal(len(X))
        self.moments = Moments.from_data(X, t)
        self.gamma = ratio * float(np.sqrt(self.moments.r_squared * self.moments.target_var))
        self.norm = torch.nn.BatchNorm1d(1, eps=eps).double()
        self.norm.weight.data.fill_(self.gamma)
        self.inputs, self.target = torch.from_numpy(X), torch.from_numpy(t)
        # from the half space of the minimum: the other one holds the maximum
        w = torch.from_numpy(np.sign(ratio) * self.moments.cross + 0.1 * rng.standard_normal(d)).requires_grad_()
        assert settle_directions(w, [], lambda: self.loss(w), 1e-11) < 1e-11
        self.v = effective_weights(w.detach().numpy(), self.gamma, self.moments.cov, eps)
        self.minimum = self.loss(w).item()

    def loss(self, w):
        output = self.norm((self.inputs @ w)[:, None])[:, 0]
        return (output + self.target.mean() - self.target).square().mean() / 2


@pytest.mark.parametrize("ratio", [0.3, -0.3, 4.0])
@pytest.mark.parametrize("seed", range(10))
def test_torch_layer_trained_to_stationarity(seed, ratio):
    unit = TorchUnit(seed, ratio, eps=1e-30)
    fit = least_squares(unit.moments, unit.gamma)
    same(unit.v, fit.weights)
    same(unit.minimum, fit.loss, rtol=1e-12)
    same(rate(unit.v, unit.moments.cov @ unit.v - unit.moments.cross, unit.gamma), fit.rate)


@pytest.mark.parametrize("eps", [1e-2, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_torch_layer_with_eps_rests_inside(seed, eps):
    """gamma above R sigma_t: with eps > 0 the free fit lies inside the ellipsoid, and the rate is 0."""
    unit = TorchUnit(seed, ratio=-2.0, eps=eps)
    fit = least_squares(unit.moments, unit.gamma, eps)
    assert fit.rate == 0
    same(unit.v, fit.weights)
    same(unit.minimum, fit.loss, rtol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize("gamma", [0.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_property_minimizer_is_that_of_scipy_under_the_constraint(seed, gamma, eps):
    """An optimizer that knows the constraint and not the theorem."""
    case = problem(seed, "well")
    moments = case.moments
    gamma = gamma * case.explained_std
    low = gamma**2 if eps == 0 else 0.0
    scale = gamma / np.sqrt(case.s.mean())  # v = scale y keeps the optimizer's numbers near 1
    cov, cross, total = moments.cov, moments.cross, moments.target_var

    def loss(y):
        v = scale * y
        return (total - 2 * v @ cross + v @ cov @ v) / 2 / total

    constraint = NonlinearConstraint(
        lambda y: scale**2 * (y @ cov @ y) / gamma**2,
        low / gamma**2,
        1.0,
        jac=lambda y: 2 * scale**2 * (cov @ y) / gamma**2,
    )
    found = minimize(
        loss,
        0.9 * cross / np.sqrt(cross @ cov @ cross) * gamma / scale,
        jac=lambda y: scale * (cov @ (scale * y) - cross) / total,
        method="SLSQP",
        constraints=[constraint],
        options={"ftol": 1e-16, "maxiter": 500},
    )
    fit = least_squares(moments, gamma, eps)
    same(scale * found.x, fit.weights, rtol=1e-5)
    same(found.fun * total, fit.loss, rtol=1e-7)


@drawn(problems(), gammas)
def test_property_closed_form(case, gamma):
    """Well- and ill-conditioned, singular and 1x1: from the spectrum that the instance was made of."""
    size = gamma * case.explained_std
    fit = least_squares(case.moments, size)
    same(fit.rate + 1, 1 / abs(gamma), case.tolerance)
    expected = np.divide(case.along, case.s, out=np.zeros_like(case.s), where=case.s > 0) * abs(gamma)
    same(fit.weights, case.U @ expected, case.tolerance)
    same(fit.weights @ case.moments.cov @ fit.weights, size**2, case.tolerance)
    same(fit.loss, (case.moments.target_var - 2 * abs(size) * case.explained_std + size**2) / 2, case.tolerance)
    same(fit.l2_rate, fit.rate * size**2 / (expected @ expected), case.tolerance)
    assert fit.loss >= -1e-9 * case.moments.target_var


@drawn(problems(), gammas)
def test_property_rate_falls_as_gamma_grows_and_the_loss_is_least_at_lambda_zero(case, gamma):
    small, large = least_squares(case.moments, gamma), least_squares(case.moments, 1.5 * gamma)
    assert small.rate > large.rate > -1
    same(least_squares(case.moments, -gamma).weights, small.weights, rtol=0)
    best = least_squares(case.moments, case.explained_std)
    assert abs(best.rate) < case.tolerance
    assert best.loss <= small.loss * (1 + 1e-9)
    same(best.loss, (case.moments.target_var - case.explained_std**2) / 2, rtol=1e-6)


def test_property_several_targets_are_several_fits():
    rng = np.random.default_rng(0)
    X = correlated(rng, 200, 4)
    T = X @ rng.standard_normal((4, 3)) + rng.standard_normal((200, 3))
    gamma = np.array([0.5, -1.0, 30.0])
    for eps in (0.0, 1e-5):
        fit = least_squares(Moments.from_data(X, T), gamma, eps)
        for k in range(3):
            alone = least_squares(Moments.from_data(X, T[:, k]), gamma[k], eps)
            for name in ("weights", "rate", "l2_rate", "loss"):
                same(getattr(fit, name)[..., k], getattr(alone, name), rtol=1e-12)
    shared = least_squares(Moments.from_data(X, T), 0.5)
    same(shared.rate[1], least_squares(Moments.from_data(X, T[:, 1]), 0.5).rate, rtol=1e-12)


@pytest.mark.parametrize("n, d", [(100, 5), (6, 20)], ids=["d < n", "d > n"])
def test_property_direction_is_that_of_scikit_learn(n, d):
    """BN's minimizer is the (minimum-norm) least-squares fit, rescaled to the output variance gamma^2."""
    rng = np.random.default_rng(1)
    X, t = rng.standard_normal((n, d)), rng.standard_normal(n)
    X[:, 2] = 7.0
    fit = least_squares(Moments.from_data(X, t), gamma=0.5)
    coefficients = LinearRegression().fit(X, t).coef_
    same(fit.weights, 0.5 * coefficients / (X @ coefficients).std(), rtol=1e-9)
    assert abs(fit.weights[2]) < 1e-15  # the constant column


@pytest.mark.parametrize("seed", range(20))
def test_property_directions_that_do_not_vary_get_nothing_that_memory_held(seed):
    """Where Sigma is zero nothing is divided; an array that was not filled would show the NaN freed just before."""
    moments = problem(seed, "singular").moments
    least_squares(moments, 0.5)  # what is cached is not computed again
    freed = [np.full(len(moments.mean), np.nan) for _ in range(50)]
    del freed
    assert np.isfinite(least_squares(moments, 0.5).weights).all()


def break_rate(change):
    def apply(fit, case):
        fit.rate = change(case.explained_std, case.gamma)

    return apply


def break_weights(change):
    def apply(fit, case):
        fit.weights = change(case, fit.weights)

    return apply


BROKEN = {
    "gamma swapped with 1/gamma": break_rate(lambda r, gamma: r * gamma - 1),
    "ratio upside down": break_rate(lambda r, gamma: gamma / r - 1),
    "square root dropped": break_rate(lambda r, gamma: r**2 / gamma - 1),
    "one not subtracted": break_rate(lambda r, gamma: r / gamma),
    "sign flipped": break_rate(lambda r, gamma: 1 - r / gamma),
    "no gain": break_weights(lambda case, v: solve(case.cov, case.cross)),
    "sign of the weights": break_weights(lambda case, v: -v),
    "Sigma not inverted": break_weights(lambda case, v: case.gamma / case.explained_std * case.cov @ case.cross),
    "loss without gamma squared": lambda fit, case: setattr(fit, "loss", fit.loss - case.gamma**2 / 2),
    "loss with R in place of R squared": lambda fit, case: setattr(
        fit, "loss", case.loss(fit.weights) * case.explained_std
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_closed_form_is_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_stationary(lambda each: ExactFit(each, BROKEN[name]), case)


def test_control_eps_matters_where_gamma_is_large():
    """Without the inequality the fit would inflate: the maximum with 1 is no decoration."""
    inflated = {seed: case for seed, case in CASES.items() if case.gamma > case.explained_std}
    assert inflated
    for case in each(inflated):
        assert (
            least_squares(case.moments, case.gamma).rate < 0 == least_squares(case.moments, case.gamma, eps=1e-5).rate
        )
