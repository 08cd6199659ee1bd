"""Averages over data sets of n Gaussian rows (theorem half-tuned): at the true length, and under the prescription."""

from dataclasses import dataclass
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, same

from bnlib import theory

FIRST = {5: 49, 6: 37, 8: 34, 10: 36, 20: 53, 64: 140, 128: 268}  # rows from which the guarantee holds


def guaranteed(n, d):
    return n >= d + 3 and Fraction(d * (n - 1), (n - d - 1) * (n - d - 2)) <= Fraction(2 * (d - 2), n - d + 1)


def test_exact_rows_that_the_guarantee_asks_for():
    for d, first in each(FIRST.items(), "inputs, rows"):
        same(Fraction(min(n for n in range(d + 3, 400) if guaranteed(n, d))), Fraction(first))
        for n in range(first, first + 200):
            same(Fraction(guaranteed(n, d)), Fraction(1))
    for n in each(range(8, 3000), "rows"):
        same(Fraction(any(guaranteed(n, d) for d in range(1, 5))), Fraction(0))


def test_exact_shape_that_the_guarantee_needs():
    """1 - 1/(1 + rate) = r U/W, r nondecreasing in W/U and below d(n - 1)/((n - d - 1)(n - d - 2))."""
    for seed in each(SEEDS):
        source = Rational(seed)
        d = source.d
        n, most = d + 3 + seed, None
        for ratio in sorted({source.positive() for _ in range(12)}):  # W/U
            share = ratio / (1 + ratio)  # R^2
            signal = (n - 1) * share - d
            rate = d * (n - 1) * (1 - share) / ((n - d - 2) * signal) if signal > 0 else None
            r = (1 if rate is None else 1 - 1 / (1 + rate)) * ratio
            found = 1 / (1 + theory.recommended_rate(float(ratio / (1 + ratio)), n, d))
            same(found, 1 - r / ratio, rtol=1e-12, scale=1.0)
            assert most is None or r >= most
            assert r < Fraction(d * (n - 1), (n - d - 1) * (n - d - 2))
            most = r


sizes = st.tuples(st.integers(1, 100), st.integers(3, 5000))


@drawn(st.floats(0.01, 0.99), sizes)
def test_property_less_than_half_at_the_true_length(r_squared, size):
    """E log(1 + lambda) < log(1 + delta)/2 < log(1 + needed)/2, delta the need at the same inputs."""
    d, n = size[0], sum(size)
    delta = d * (1 - r_squared) / ((n - 1) * r_squared)
    needed = theory.needed_rate(r_squared, n, d)
    assert theory.true_length_rate(r_squared, n, d) < np.sqrt(1 + delta) - 1 < np.sqrt(1 + needed) - 1


def mean_over_shapes(r_squared, n, what):
    """Mean over a negative binomial N: n kappa^2/s^2 has the law of chi-square with d + 2N degrees of freedom."""
    missing, order = 1 - mpmath.mpf(r_squared), mpmath.mpf(n - 1) / 2
    middle, spread = order * r_squared / missing, mpmath.sqrt(order * r_squared) / missing
    weight, total = missing**order, mpmath.mpf(0)
    for k in range(int(middle + 40 * spread + 300)):
        total += weight * what(k)
        weight *= r_squared * (order + k) / (k + 1)
    return total


@pytest.mark.parametrize("r_squared, n, d", [(0.5, 12, 5), (0.05, 150, 64), (0.9, 60, 2), (0.3, 200, 190), (0.5, 4, 1)])
def test_property_laws_at_the_true_length_are_sums_over_a_negative_binomial(r_squared, n, d):
    with mpmath.workdps(30):
        log = mean_over_shapes(r_squared, n, lambda k: mpmath.digamma(mpmath.mpf(d) / 2 + k))
        log = (log + mpmath.log(2 * (1 - mpmath.mpf(r_squared)) / (n * mpmath.mpf(r_squared)))) / 2
        same(theory.true_length_rate(r_squared, n, d), float(mpmath.expm1(log)), rtol=1e-12, scale=1.0)


@pytest.mark.parametrize("n", [4, 5, 50, 1000])
def test_property_without_noise_only_the_spread_of_the_rows_is_left(n):
    near = 1 - 1e-12
    for d in {1, n - 3}:
        for law in (theory.true_length_rate, theory.true_length_excess):
            same(law(1.0, n, d), law(near, n, d), rtol=1e-9, scale=1.0)
        assert theory.needed_rate(1.0, n, d) == 0


@pytest.mark.parametrize("d, r_squared", [(5, 0.5), (5, 2 / 3), (5, 0.9), (64, 0.5), (20, 0.3)])
def test_property_limits_of_many_rows(d, r_squared):
    """Share (1 - 2/(d(1 - R^2)))/2; excess over that of least squares 1 - (1 - R^2/(2(1 - R^2)))/d; both up to O(1/n)."""
    shares, ratios = [], []
    for n in (10**5, 2 * 10**5):
        needed = theory.needed_rate(r_squared, n, d)
        shares.append(np.log1p(theory.true_length_rate(r_squared, n, d)) / np.log1p(needed))
        ratios.append(theory.true_length_excess(r_squared, n, d) / (r_squared * needed))
    same(2 * shares[1] - shares[0], (1 - 2 / (d * (1 - r_squared))) / 2, rtol=1e-5, scale=1.0)
    same(2 * ratios[1] - ratios[0], 1 - (1 - r_squared / (2 * (1 - r_squared))) / d, rtol=1e-5, scale=1.0)


@pytest.mark.parametrize("phi, r_squared", [(0.2, 0.5), (0.5, 0.9), (0.8, 0.3)])
def test_property_limits_of_many_rows_and_inputs(phi, r_squared):
    n = 10**6
    delta = phi * (1 - r_squared) / r_squared
    share = np.log1p(theory.true_length_rate(r_squared, n, int(phi * n))) / np.log1p(delta / (1 - phi))
    same(share, np.log1p(delta) / (2 * np.log1p(delta / (1 - phi))), rtol=1e-4, scale=1.0)
    assert share < 0.5
    excess = theory.true_length_excess(r_squared, n, int(phi * n))
    assert excess < r_squared * theory.needed_rate(r_squared, n, int(phi * n))  # at every R^2


# simulations: Sigma = I, sigma_t = 1, the signal R along the first input


@dataclass(frozen=True, eq=False)
class DataSets:
    """What matters of many data sets: explained and residual sums of squares, and the fit's part along the signal.

    `squared` is |fit|^2, or its mean given the other three: a multiple a of the fit has the excess risk
    a^2 squared - 2 a R along + R^2 either way, where a depends on `explained` and `left` alone.
    """

    r_squared: float
    explained: np.ndarray
    left: np.ndarray
    along: np.ndarray
    squared: np.ndarray

    def excess(self, factor):
        signal = np.sqrt(self.r_squared)
        return factor**2 * self.squared - 2 * factor * signal * self.along + self.r_squared

    def rate(self, n):
        """1 + lambda at the true length."""
        return np.sqrt(self.explained / n / self.r_squared)

    def prescribed(self, n, d):
        return 1 / (1 + theory.recommended_rate(self.explained / (self.explained + self.left), n, d))


def drawn_as_rows(n, d, r_squared, sets, seed=0):
    """Every row of every data set."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(0, sets, 5000):
        X = rng.standard_normal((5000, n, d))
        t = np.sqrt(r_squared) * X[..., 0] + np.sqrt(1 - r_squared) * rng.standard_normal((5000, n))
        X -= X.mean(axis=1, keepdims=True)
        t -= t.mean(axis=1, keepdims=True)
        v = np.linalg.solve(X.transpose(0, 2, 1) @ X, X.transpose(0, 2, 1) @ t[..., None])
        explained = np.square(X @ v).sum(axis=(1, 2))
        parts.append([explained, np.square(t).sum(axis=1) - explained, v[:, 0, 0], np.square(v).sum(axis=(1, 2))])
    return DataSets(r_squared, *np.concatenate(parts, axis=1))


def drawn_as_sums(n, d, r_squared, sets, seed=0):
    """Four random numbers a data set: the book's proof of the law at the true length has them."""
    rng = np.random.default_rng(seed)
    signal, missing = np.sqrt(r_squared), 1 - r_squared
    alone = rng.chisquare(n - d, sets)  # of the first input, what the others do not explain
    others = rng.chisquare(d - 1, sets)  # of the target, what the others explain
    along = signal + np.sqrt(missing / alone) * rng.standard_normal(sets)
    rest = ((d - 1) * missing * along**2 + (1 - signal * along) ** 2 * others) / (n - d - 1)
    left = missing * rng.chisquare(n - d - 1, sets)
    return DataSets(r_squared, others + alone * along**2, left, along, along**2 + rest)


def estimate(samples):
    return samples.mean(), samples.std() / np.sqrt(len(samples))


def assert_mean(samples, law, precision):
    """Within four standard errors, which are at most this share of the law."""
    mean, error = estimate(samples)
    assert error <= precision * abs(law), error / abs(law)
    assert abs(mean - law) < 4 * error, (mean, error, law)


@pytest.mark.parametrize("n, d, r_squared", [(30, 6, 0.5), (12, 5, 0.8), (60, 20, 0.2), (40, 2, 0.9)])
def test_property_simulated_rows_obey_the_laws(n, d, r_squared):
    """(a) to (d): squared length, need, mean logarithm, excess risks; and the four numbers stand for the rows."""
    sets = drawn_as_rows(n, d, r_squared, 20_000)
    needed = theory.needed_rate(r_squared, n, d)
    delta = d * (1 - r_squared) / ((n - 1) * r_squared)
    assert_mean(sets.rate(n) ** 2, (n - 1) / n * (1 + delta), 0.01)
    assert_mean(np.log(sets.rate(n) / (1 + theory.true_length_rate(r_squared, n, d))) + 1, 1.0, 0.01)
    assert_mean(sets.excess(1.0), r_squared * needed, 0.02)
    assert_mean(sets.excess(1 / (1 + needed)), r_squared * needed / (1 + needed), 0.02)
    assert_mean(sets.excess(1 / sets.rate(n)), theory.true_length_excess(r_squared, n, d), 0.02)
    sums = drawn_as_sums(n, d, r_squared, 200_000)
    for factor in (lambda one: 1.0, lambda one: 1 / one.rate(n), lambda one: one.prescribed(n, d)):
        (mean, error), (other, smaller) = (estimate(one.excess(factor(one))) for one in (sets, sums))
        assert abs(mean - other) < 4 * np.hypot(error, smaller)


def test_property_the_best_fixed_scale_is_where_the_law_says():
    """The bottom of the simulated parabola in the scale, to its standard error."""
    n, d, r_squared = 30, 6, 0.5
    sets = drawn_as_rows(n, d, r_squared, 20_000)
    best = 1 / (1 + theory.needed_rate(r_squared, n, d))

    def slope(factor):
        """Half the derivative of the excess risk."""
        return estimate(factor * sets.squared - np.sqrt(r_squared) * sets.along)

    mean, error = slope(best)
    assert error < 0.005
    assert abs(mean) < 4 * error
    assert slope(0.95 * best)[0] < -4 * error and slope(1.05 * best)[0] > 4 * error


def gain(n, d, r_squared, sets=400_000):
    """Excess risk of the prescription less that of least squares, over the latter: mean and standard error."""
    drawn_sets = drawn_as_sums(n, d, r_squared, sets)
    difference = drawn_sets.excess(drawn_sets.prescribed(n, d)) - drawn_sets.excess(1.0)
    mean, error = estimate(difference)
    return np.array([mean, error]) / (r_squared * theory.needed_rate(r_squared, n, d))


@pytest.mark.parametrize("r_squared", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("d", [5, 6, 10, 20, 64])
def test_property_the_prescription_beats_least_squares_where_it_is_guaranteed(d, r_squared):
    mean, error = gain(FIRST[d], d, r_squared)
    assert error < 0.01
    assert mean < -4 * error


@pytest.mark.parametrize("n, d, r_squared", [(30, 3, 0.5), (12, 5, 0.9), (30, 2, 0.5)])
def test_control_without_the_condition_it_can_lose(n, d, r_squared):
    assert not guaranteed(n, d)
    mean, error = gain(n, d, r_squared)
    assert mean > 4 * error


def test_control_on_a_bad_design_it_loses_whatever_the_number_of_rows_says():
    """Given the inputs: the signal lies where they hardly vary, so that the length of the fit says nothing of its error."""
    n, d, sets = 53, 20, 20_000
    assert guaranteed(n, d)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    X[:, 0] *= 0.01
    X -= X.mean(axis=0)
    hat = np.linalg.solve(X.T @ X, X.T)
    signal = np.zeros(d)
    signal[0] = 6 / np.linalg.norm(X[:, 0])  # six standard deviations of the noise
    t = X @ signal + rng.standard_normal((sets, n))
    t -= t.mean(axis=1, keepdims=True)
    v = t @ hat.T
    explained = np.square(v @ X.T).sum(axis=1)
    factor = 1 / (1 + theory.recommended_rate(explained / np.square(t).sum(axis=1), n, d))
    free, shrunk = (np.square(one - signal).sum(axis=1) for one in (v, factor[:, None] * v))
    mean, error = estimate(shrunk - free)
    assert mean > 4 * error
    assert mean > 0.5 * free.mean()


BROKEN_LAWS = {
    "the need at the same inputs": lambda r, n, d: d * (1 - r) / ((n - 1) * r),
    "n - d - 1": lambda r, n, d: d * (1 - r) / ((n - d - 1) * r),
    "n - d": lambda r, n, d: d * (1 - r) / ((n - d) * r),
    "the intercept counted": lambda r, n, d: (d + 1) * (1 - r) / ((n - d - 2) * r),
}


@pytest.mark.parametrize("name", BROKEN_LAWS)
def test_control_simulation_tells_broken_needs_apart(name):
    n, d, r_squared = 12, 5, 0.8
    with pytest.raises(AssertionError):
        assert_mean(
            drawn_as_rows(n, d, r_squared, 20_000).excess(1.0), r_squared * BROKEN_LAWS[name](r_squared, n, d), 0.1
        )


def test_control_the_bound_is_not_the_mean():
    """The root of the mean square, and half of the need, are above the mean logarithm by more than its error."""
    n, d, r_squared = 30, 6, 0.5
    logs = np.log(drawn_as_rows(n, d, r_squared, 20_000).rate(n))
    delta = d * (1 - r_squared) / ((n - 1) * r_squared)
    for broken in (
        np.log1p(delta) / 2,
        np.log((n - 1) / n * (1 + delta)) / 2,
        np.log1p(theory.needed_rate(r_squared, n, d)) / 2,
    ):
        with pytest.raises(AssertionError):
            assert_mean(logs, broken, 0.1)


def test_property_heavy_tails_move_the_limit_by_their_kurtosis():
    """Independent t inputs with 10 degrees of freedom along v*: excess kurtosis 1, where Gaussian rows have 0."""
    rng, n, d, r_squared, groups, of_group = np.random.default_rng(0), 1000, 5, 0.8, 24, 200
    truth = np.eye(d)[0] * np.sqrt(r_squared)
    ratios = []
    for _ in range(groups):
        x = rng.standard_t(10, (of_group, n, d)) / np.sqrt(10 / 8)
        t = x @ truth + np.sqrt(1 - r_squared) * rng.standard_normal((of_group, n))
        x, t = x - x.mean(axis=1, keepdims=True), t - t.mean(axis=1, keepdims=True)
        cov, cross = x.transpose(0, 2, 1) @ x / n, np.einsum("gni,gn->gi", x, t) / n
        fit = np.linalg.solve(cov, cross[..., None])[..., 0]
        length = np.sqrt(np.einsum("gi,gi->g", cross, fit))
        told = fit * (np.sqrt(r_squared) / length)[:, None]
        ratios.append(np.square(told - truth).sum() / np.square(fit - truth).sum())
    mean, error = np.mean(ratios), np.std(ratios, ddof=1) / np.sqrt(groups)

    def limit(excess_kurtosis):
        return 1 - (1 - (excess_kurtosis + 2) * r_squared / (4 * (1 - r_squared))) / d

    assert error < 0.02
    assert abs(mean - limit(1.0)) < 4 * error
    assert abs(mean - limit(0.0)) > 8 * error  # the Gaussian law is none here
