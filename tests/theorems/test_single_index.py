"""Theorem cross-entropy (ii) and (iii): a target that depends on one direction of Gaussian inputs, other losses."""

from fractions import Fraction

import numpy as np
import pytest
from counting import each
from instances import SEEDS, Rational, same
from scipy.optimize import minimize_scalar
from scipy.special import expit


def test_exact_counterexample_beyond_the_free_length():
    """Convex in y but no margin loss: l = t^2 y^2/2 - t y with t = theta'x. Beyond gamma = 1/2 another direction is best."""

    def loss(gamma, r, beta=Fraction(0)):
        """y = gamma (r z + sqrt(1 - r^2) z') + beta; E z^4 = 3, and z, z' are independent."""
        return (gamma**2 * (3 * r**2 + 1 - r**2) + beta**2) / 2 - gamma * r

    for seed in each(SEEDS):
        source = Rational(seed)
        gamma, other, beta = source.positive(), Fraction(source.random.randint(-50, 50), 50), source.number()
        best = min(Fraction(1), 1 / (2 * gamma))
        same(loss(gamma, other) - loss(gamma, best), gamma**2 * (other - best) * (other + best - 1 / gamma))
        assert loss(gamma, other, beta) >= loss(gamma, best)
        assert (loss(gamma, Fraction(1)) > loss(gamma, best)) == (gamma > Fraction(1, 2))
    same(
        loss(Fraction(1, 3), Fraction(1)), min(loss(Fraction(k, 300), Fraction(1)) for k in range(1, 400))
    )  # free length
    same(min(Fraction(1), 1 / (2 * Fraction(4, 5))), Fraction(5, 8))


LABELS = {
    "logistic": lambda logit: expit(logit),
    "a step with errors": lambda logit: np.where(logit > 0.3, 0.9, 0.2),
    "not monotone": lambda logit: expit(3 * np.sin(logit) + logit),
}
MARGIN = {
    "hinge": lambda m: np.maximum(0, 1 - m),
    "squared hinge": lambda m: np.maximum(0, 1 - m) ** 2,
    "exponential": lambda m: np.exp(-m),
    "sigmoid, not convex": lambda m: expit(-m),
}


def loss_of_direction(f, chance, gamma, correlations, beta=0.2):
    """E f(t y) for y of deviation gamma and these correlations with theta'x, standard, by a grid in the plane."""
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    found = []
    for r in correlations:
        y = beta + gamma * (r * z[:, None] + np.sqrt(1 - r**2) * z)
        p = chance(z)[:, None]
        found.append(weights @ (p * f(y) + (1 - p) * f(-y)) @ weights)
    return np.array(found)


@pytest.mark.parametrize("gamma", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("name", MARGIN)
@pytest.mark.parametrize("labels", ["logistic", "a step with errors"])
def test_property_margin_losses_want_the_highest_correlation(labels, name, gamma):
    """(iii): with a chance that rises in theta'x, the loss falls in the correlation, convex or not, at any gamma."""
    if (name, gamma) == ("exponential", 6.0):
        gamma = 3.0  # e^18 is more than the grid resolves
    found = loss_of_direction(MARGIN[name], LABELS[labels], gamma, np.linspace(-0.9, 0.95, 12))
    assert (np.diff(found) < 0).all()


def test_property_convex_losses_below_the_free_length():
    """(ii): no monotone labels needed, if gamma is at most the free length."""
    for name in ("hinge", "squared hinge", "exponential"):

        def free(a, f=MARGIN[name]):
            return loss_of_direction(f, LABELS["not monotone"], a, [1.0])[0]

        length = minimize_scalar(free, bounds=(0.01, 5), method="bounded").x
        for share in (0.3, 0.7, 1.0):
            found = loss_of_direction(MARGIN[name], LABELS["not monotone"], share * length, np.linspace(0, 1, 15))
            assert found.argmin() == 14


def test_control_beyond_the_free_length_a_convex_loss_may_turn():
    """The loss of the counterexample is seen to leave the direction, by the same grid that finds the others to keep it."""
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def best(gamma):
        correlations = np.linspace(0, 1, 201)
        losses = []
        for r in correlations:
            y = gamma * (r * z[:, None] + np.sqrt(1 - r**2) * z)
            losses.append(weights @ (z[:, None] ** 2 * y**2 / 2 - z[:, None] * y) @ weights)
        return correlations[np.argmin(losses)]

    same(best(0.3), 1.0)
    same(best(0.8), 0.625)
