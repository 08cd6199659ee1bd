"""Theorem noise (vii) and (viii): two L2-equivalent rates, on noisy inputs and on clean ones, and which of them rises."""

from fractions import Fraction

import numpy as np
import pytest
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Dual, Rational, gammas, identity, problems, same, solve
from noisy import NoisyCase

from bnlib.moments import Moments
from bnlib.theory import least_squares, noise_path

noise_levels = st.floats(1e-3, 1e3)


def test_exact_two_l2_rates_at_every_v():
    """(vii) at rest or not: on the clean loss alpha is larger by v'Nv/|v|^2, whatever v and N."""
    for seed in each(SEEDS):
        case, source = NoisyCase(seed), Rational(seed + 500)
        source.d = len(case.cross)
        v = source.vector()
        of_noisy, of_clean = ((case.cross - cov @ v) @ v / (v @ v) for cov in (case.cov + case.noise_cov, case.cov))
        same(of_clean, of_noisy + v @ case.noise_cov @ v / (v @ v))


class Slopes:
    """(ix) by dual numbers: the two L2-equivalent rates at rest and how they change with the noise variance."""

    def __init__(self, case):
        at = case.noise_var
        self.f = [None, *(self.moment(case, power).value for power in (1, 2, 3))]
        f_1, f_2 = (self.moment(case, power, Dual(at, 1)) for power in (1, 2))
        # kappa/gamma = 1/h at this noise, and its logarithm changes by half of what that of kappa^2 changes by
        self.lift = Dual(1 / case.h, f_1.slope / (2 * f_1.value) / case.h)
        self.tau = f_1 / f_2
        self.alpha = (self.lift - 1) * self.tau
        self.clean = self.alpha + Dual(at, 1)

    @staticmethod
    def moment(case, power, noise_var=None):
        """f_k = c'(Sigma + sigma^2 I)^-k c."""
        total = case.cov + identity(len(case.cross)) * (Dual(case.noise_var) if noise_var is None else noise_var)
        y = case.cross
        for _ in range(power):
            y = solve(total, y)
        return Dual.of(case.cross @ y)

    @property
    def theta(self):
        return 2 * self.f[1] * self.f[3] / self.f[2] ** 2 - 1


def assert_which_rate_rises(threshold):
    """alpha rises exactly where lambda > threshold(theta), alpha_clean where lambda > -threshold(theta)."""
    signs = set()
    for seed in each(range(4 * len(SEEDS))):
        found = Slopes(NoisyCase(seed))
        multiplier, rises = found.lift.value - 1, (found.alpha.slope > 0, found.clean.slope > 0)
        same(Fraction(rises[0]), Fraction(multiplier > threshold(found.theta)))
        same(Fraction(rises[1]), Fraction(multiplier > -threshold(found.theta)))
        signs.add(rises)
    assert signs == {(True, True), (False, True), (False, False)}


def test_exact_slopes_of_the_two_l2_rates():
    """(ix): d tau = theta >= 1, d alpha = (kappa/gamma)(theta - 1/2) - theta, d alpha_clean = that + 1."""
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        found = Slopes(case)
        theta, lift = found.theta, found.lift.value
        same(found.tau.slope, theta)
        assert theta >= 1
        assert theta > 1 or len(case.cross) == 1
        same(found.alpha.slope, lift * (theta - Fraction(1, 2)) - theta)
        same(found.clean.slope, lift * (theta - Fraction(1, 2)) - (theta - 1))
        gamma, step = case.h * np.sqrt(float(found.f[1])), 1e-4 * float(case.noise_var)
        path = noise_path(case.moments, gamma, np.sqrt(float(case.noise_var) + np.array([-step, step])))
        for rates, dual in ((path.l2_rate, found.alpha), (path.clean_l2_rate, found.clean)):
            scale = float(lift * theta + theta + abs(dual.value) / case.noise_var)
            same((rates[1] - rates[0]) / (2 * step), dual.slope, rtol=1e-6, scale=scale)


def test_exact_which_l2_rate_rises_with_the_noise():
    assert_which_rate_rises(lambda theta: 1 / (2 * theta - 1))


@drawn(problems(), gammas, noise_levels)
def test_property_l2_rate_is_that_of_least_squares_on_noisy_moments(case, gamma, sigma):
    std = sigma * np.sqrt(case.s.max())
    path, fit = noise_path(case.moments, gamma, [std]), least_squares(case.moments.with_noise(noise_std=std), gamma)
    tau = gamma**2 / (fit.weights @ fit.weights)
    same(path.l2_rate[0], fit.l2_rate, 1e-8, scale=(2 + path.rate[0]) * tau)
    assert np.sign(path.l2_rate[0]) == np.sign(path.rate[0])


@drawn(problems("well", "single"), st.floats(0.2, 5.0), st.floats(0.05, 5.0))
def test_property_which_l2_rate_rises_with_the_noise(case, ratio, sigma):
    """(ix) on the path itself, at noise levels a little apart: alpha rises above the threshold, clean above its negative."""
    std = sigma * np.sqrt(case.s.max())
    powers = [(case.along**2 / (case.s + std**2) ** power).sum() for power in (1, 2, 3)]
    threshold = 1 / (4 * powers[0] * powers[2] / powers[1] ** 2 - 3)
    path = noise_path(case.moments, ratio * np.sqrt(powers[0]), std * np.array([1.0, 1 + 1e-4]))
    multiplier = 1 / ratio - 1
    for rates, at in ((path.l2_rate, threshold), (path.clean_l2_rate, -threshold)):
        if abs(multiplier - at) > 0.01:
            assert (rates[1] > rates[0]) == (multiplier > at)


@pytest.mark.parametrize(
    "threshold",
    [lambda theta: 0, lambda theta: 1, lambda theta: 1 / theta, lambda theta: -1 / (2 * theta - 1)],
    ids=["zero", "one", "theta for 2 theta - 1", "sign"],
)
def test_control_another_threshold_for_rising_is_caught(threshold):
    with pytest.raises(AssertionError):
        assert_which_rate_rises(threshold)


def test_control_the_two_l2_rates_can_differ_in_sign():
    """One under the name of the other is noticed: at this noise one is negative and the other positive."""
    moments = Moments([0.0], [[1.0]], [0.8], 1.0)
    path = noise_path(moments, 0.6, [2.0])
    assert path.l2_rate[0] < 0 < path.clean_l2_rate[0]
    same(path.clean_l2_rate[0] - path.l2_rate[0], 4.0)
    with pytest.raises(AssertionError):
        same(path.clean_l2_rate[0], least_squares(moments.with_noise(noise_std=2.0), 0.6).l2_rate)
