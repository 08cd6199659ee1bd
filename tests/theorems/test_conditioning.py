"""Ill-conditioned, singular and badly scaled data against exact arithmetic; a table of it is printed by
`PYTHONPATH=tests python tests/theorems/test_conditioning.py`.

Every bound is a backward error times a condition number. Sums over n rows leave n epsilon of a covariance and an
eigendecomposition is exact for a matrix within d epsilon of it, so that what is solved with it moves by (n + d) epsilon
kappa, kappa the ratio of the largest to the smallest eigenvalue that is not zero. A sum of d products moves by d epsilon
times the sum of their sizes.
"""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hard_cases import DIGITS, EPSILON, Case, cases, exact, high, relative
from instances import identity, solve

from bnlib.moments import Moments
from bnlib.theory import (
    effective_weights,
    l2_equivalent_rate,
    least_squares,
    minibatch_decay,
    minibatch_factor,
    noise_path,
    rate,
    signal_and_noise,
    weight_decay_rate,
)

GAMMA, NOISE_LEVELS = -0.75, (0.0, 1e-3, 1.0, 1e3)


def from_data(case):
    """Means in units of the largest value, covariances in units of the ranges: 0 exactly where a column is constant."""
    found, bound = case.moments, case.n * EPSILON
    for i in range(case.d):
        yield relative(found.mean[i], case.mean[i], scale=np.abs(case.X[:, i]).max()), bound
    joint = np.block([[found.cov, found.cross[:, None]], [found.cross[None], np.atleast_2d(found.target_var)]])
    reference = np.block([[case.cov, case.cross[:, None]], [case.cross[None], np.array([[case.target_var]])]])
    ranges = np.append(np.ptp(case.X, axis=0), np.ptp(case.t))
    for a, b, unit in zip(joint.ravel(), reference.ravel(), np.outer(ranges, ranges).ravel(), strict=True):
        yield relative(a, b, scale=unit), bound


def fits(case, eps):
    """Both sides of R sigma_t: gamma below it and above it."""
    for ratio in (0.25, 4.0):
        gamma = ratio * max(float(mpmath.sqrt(high(case.explained))), 1e-3)
        fit, bound = least_squares(case.moments, gamma, eps), case.bound()
        root = mpmath.sqrt(high(case.explained))
        shrinkage = root / mpmath.mpf(gamma)
        if eps:
            shrinkage = max(mpmath.mpf(1), shrinkage)
        weights = np.array([high(x) / shrinkage for x in case.solution])
        size, variance = weights @ weights, high(case.explained) / shrinkage**2
        target = high(case.target_var)
        loss = (target - 2 * high(case.explained) / shrinkage + variance) / 2
        yield relative(fit.weights, weights), bound
        yield relative(fit.rate, shrinkage - 1, scale=shrinkage), bound
        yield relative(fit.l2_rate, (shrinkage - 1) * variance / size, scale=shrinkage * variance / size), 3 * bound
        yield relative(fit.loss, loss, scale=target + variance), bound


def path(case):
    """Noise from none to a thousand times the largest direction's deviation."""
    stds = np.array(NOISE_LEVELS) * float(mpmath.sqrt(max(case.s[-1], 0)))
    found = noise_path(case.moments, GAMMA, stds)
    for i, std in enumerate(stds):
        noise = Fraction(float(std)) ** 2
        y = solve(case.cov + noise * identity(case.d), case.cross) if noise else case.solution
        squared = case.cross @ y
        kappa, bound = mpmath.sqrt(high(squared)), case.bound(high(noise))
        v = np.array([high(x) for x in y]) * abs(GAMMA) / kappa
        signal = high(y @ case.cov @ y if noise else squared) / high(squared)
        spent, size = high(noise * (y @ y)) / high(squared), v @ v
        rho = signal * mpmath.mpf(GAMMA) ** 2 / size
        lift = kappa / abs(GAMMA)
        yield relative(found.weights[i], v), bound
        yield relative(found.rate[i], lift - 1, scale=lift + 1), bound
        yield relative(found.signal_share[i], signal, scale=1), 2 * bound
        yield relative(found.noise_share[i], spent, scale=1), 2 * bound
        tau = mpmath.mpf(GAMMA) ** 2 / size
        yield relative(found.l2_rate[i], (lift - 1) * tau, scale=(lift + 1) * tau), 3 * bound
        clean = (lift - 1) * rho + lift * high(noise)
        yield relative(found.clean_l2_rate[i], clean, scale=(lift + 1) * rho + lift * high(noise)), 3 * bound
        if noise:
            wiener = [max(s, 0) / (max(s, 0) + high(noise)) for s in case.s]
            yield relative(found.wiener[i], wiener, scale=1), bound


def raw_weights(case):
    """One vector that the data see well, and one along the direction that they see least."""
    rng = np.random.default_rng(1)
    U = np.linalg.eigh(np.array(case.cov, dtype=float))[1]
    return rng.standard_normal(case.d), U[:, -len(case.varying) or 0]


def weights_of(case, eps):
    """w'Sigma w may cancel: what it loses is |w|'|Sigma||w| over it."""
    for w in raw_weights(case):
        v = effective_weights(w, GAMMA, case.moments.cov, eps)
        w = exact(w)
        variance = w @ case.cov @ w + Fraction(eps)
        root, terms = mpmath.sqrt(high(variance)), abs(w) @ abs(case.cov) @ abs(w)
        bound = (case.n + case.d) * EPSILON * (1 + float(terms / variance))
        yield relative(v, [mpmath.mpf(GAMMA) * high(x) / root for x in w]), bound


def gradient_at(case):
    """The weights of the fit and the gradient of the loss there: v'grad is what is left of two larger numbers."""
    v = np.array([float(x) for x in case.solution]) * 0.75
    return v, case.moments.cov @ v - case.moments.cross


def products(candidate, case, divide):
    v, grad = gradient_at(case)
    found = candidate(v, grad)
    v, grad = exact(v), exact(grad)
    inner, terms = v @ grad, abs(v) @ abs(grad)
    reference = -inner / divide(v)
    yield relative(found, reference, scale=high(terms / divide(v))), (case.d + 2) * EPSILON


def rate_of(case):
    yield from products(lambda v, grad: rate(v, grad, GAMMA), case, lambda v: Fraction(GAMMA) ** 2)


def l2_rate_of(case):
    yield from products(l2_equivalent_rate, case, lambda v: v @ v)


CASES = cases()
FUNCTIONS = {
    "from_data": from_data,
    "least squares, eps = 0": lambda case: fits(case, 0.0),
    "least squares, eps > 0": lambda case: fits(case, 1e-5),
    "noise path": path,
    "effective weights, eps = 0": lambda case: weights_of(case, 0.0),
    "effective weights, eps > 0": lambda case: weights_of(case, 1e-5),
    "rate": rate_of,
    "L2-equivalent rate": l2_rate_of,
}


def measured(name, function):
    """Pairs of an error and its bound."""
    with mpmath.workdps(DIGITS):
        return list(FUNCTIONS[function](CASES[name]))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_within_the_condition_number_or_refused(name, function):
    if message := CASES[name].raises.get(function):
        with pytest.raises(ValueError) as refused:
            measured(name, function)
        assert str(refused.value) == message
    else:
        for error, bound in measured(name, function):
            assert error <= bound < 1


SINGULAR = [name for name, case in CASES.items() if len(case.varying) + len(case.constant) < case.d]


@pytest.mark.parametrize("name", SINGULAR)
def test_weights_that_see_nothing_are_refused(name):
    """w within the null space: w'Sigma w is rounding, and what would be divided by its root is noise."""
    cov = CASES[name].moments.cov
    for w in np.linalg.eigh(np.array(CASES[name].cov, dtype=float))[1].T[: -len(CASES[name].varying) or None]:
        with pytest.raises(ValueError, match="is not above rounding; the pre-activation must vary over the data"):
            effective_weights(w, GAMMA, cov)
    assert len(SINGULAR) > 3


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 / 3, -7e-6])
@pytest.mark.parametrize("n", [2, 3, 5, 11, 30])
def test_constant_columns_have_no_variance(n, value):
    """Nothing of a constant's rounding is left to be explained or to explain."""
    t = np.arange(n) ** 2 / 7
    dead = Moments.from_data(np.full((n, 2), value), t, chunk_rows=4)
    assert not dead.cov.any()
    assert not dead.cross.any()
    assert dead.mean.tolist() == [value, value]
    still = Moments.from_data(t[:, None], np.full(n, value), chunk_rows=4)
    assert not still.cross.any()
    assert still.target_var == 0
    for moments in (dead, still):
        with pytest.raises(ValueError, match="R sigma_t = 0"):
            least_squares(moments, 1.0)


def exact_log_factor(M):
    return (
        mpmath.log(2 / mpmath.mpf(M)) / 2
        + mpmath.loggamma(mpmath.mpf(M) / 2)
        - mpmath.loggamma((M - 1) / mpmath.mpf(2))
    )


def batch_factor(M):
    yield relative(minibatch_factor(M), mpmath.exp(exact_log_factor(M))), 4 * EPSILON


def batch_decay(M):
    """Below 64 a logarithm of a number near 1; from there on a series of terms of one size."""
    decay = mpmath.expm1(-exact_log_factor(M))
    yield relative(minibatch_decay(M), decay), 4 * EPSILON / (float(decay) if M < 64 else 1)


def split(offset):
    """Copies far from zero: their own mean is known to n epsilon of it, and enters squared."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 12)) + offset
    found = signal_and_noise(first, second)
    n = len(first)
    a, b = (exact(copy) - exact(copy).sum() / n for copy in (first, second))
    total = (a @ a + b @ b) / (2 * n)
    bound = n * EPSILON * (1 + n * EPSILON * (abs(offset) + 1) ** 2)
    yield relative(found[0], a @ b / n, scale=high(total)), bound
    yield relative(found[1], total - a @ b / n, scale=high(total)), bound


def decay_rate(eps):
    norm, q, gamma = 1e3, 1e6, -1e-3
    expected = (
        Fraction(0.1) * Fraction(norm) ** 2 * (Fraction(q) + Fraction(eps)) / (Fraction(eps) * Fraction(gamma) ** 2)
    )
    yield relative(weight_decay_rate(0.1, norm, q, gamma, eps), expected), 8 * EPSILON


EXTREMES = {
    "minibatch_factor, batch_size": (batch_factor, (2, 3, 7, 63, 64, 65, 1000, 10**6, 10**12)),
    "minibatch_decay, batch_size": (batch_decay, (2, 3, 7, 63, 64, 65, 1000, 10**6, 10**12)),
    "signal_and_noise, mean over deviation": (split, (0.0, 1e3, 1e6, -1e7)),
    "weight_decay_rate, eps": (decay_rate, (1e-30, 1e-12, 1e-5, 1.0, 1e6)),
}


@pytest.mark.parametrize("name, value", [(name, value) for name, (_, values) in EXTREMES.items() for value in values])
def test_extremes(name, value):
    with mpmath.workdps(DIGITS):
        for error, bound in EXTREMES[name][0](value):
            assert error <= bound < 1


def textbook(case):
    """E xx' - E x E x': what centring is for."""
    X, t, n = case.X, case.t, case.n
    mean, target = X.mean(axis=0), t.mean()
    return Moments(mean, X.T @ X / n - np.outer(mean, mean), X.T @ t / n - mean * target, (t**2).mean() - target**2)


def single_precision(case):
    m = Moments.from_data(case.X, case.t)
    return Moments(m.mean, m.cov.astype(np.float32), m.cross.astype(np.float32), m.target_var)


def unbiased(case):
    m, scale = Moments.from_data(case.X, case.t), case.n / (case.n - 1)
    return Moments(m.mean, scale * m.cov, scale * m.cross, scale * m.target_var)


BROKEN = {
    "textbook variance": (textbook, "means a million deviations", "from_data"),
    "unbiased variance": (unbiased, "well-conditioned", "from_data"),
    "single precision": (single_precision, "condition number 1e8", "from_data"),
    "single precision, solved with": (single_precision, "condition number 1e8", "effective weights, eps = 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_moments_exceed_the_bound(name, monkeypatch):
    change, case, function = BROKEN[name]
    monkeypatch.setattr(Case, "moments", property(change))
    assert any(error > bound for error, bound in measured(case, function))


def table():
    """Rows of cells: the largest error and the bound it must keep, or the error that is documented."""
    for name, case in CASES.items():
        yield f"{name} (kappa {case.condition:.1e}, {case.n} x {case.d})"
        for function in FUNCTIONS:
            if message := case.raises.get(function):
                yield f"    {function:28} ValueError: {message}"
            else:
                error, bound = max(measured(name, function))
                yield f"    {function:28} {error:.1e}  (bound {bound:.1e})"
    for name, (function, values) in EXTREMES.items():
        yield name
        for value in values:
            with mpmath.workdps(DIGITS):
                error, bound = max(function(value))
            yield f"    {value:<28g} {error:.1e}  (bound {bound:.1e})"


if __name__ == "__main__":
    print(*table(), sep="\n")
