"""A unit that is told the true length of the signal: what it does on average over data sets of n Gaussian rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from bnlib.theory.arguments import rows_and_inputs
from bnlib.theory.minibatch import minibatch_factor
from bnlib.validation import finite_array, positive

# Nodes and weights on (0, inf) by the substitution exp(pi/2 sinh h): for integrands that decay like exponentials and
# may start like a root the sum over even steps converges to rounding.
_STEP = 1 / 20
_GRID = np.arange(-100, 101) * _STEP
_NODES = np.exp(np.pi / 2 * np.sinh(_GRID))
_WEIGHTS = _NODES * (np.pi / 2) * np.cosh(_GRID) * _STEP


def needed_rate(r_squared: float, rows: int, inputs: int) -> float:
    """The rate that makes the best of the least-squares fit to n Gaussian rows (theorem half-tuned).

    Parameters
    ----------
    r_squared : float
        R^2 of the population, above 0 and at most 1. For an estimate from rows see `recommended_rate`.
    rows, inputs : int
        n and d, with n >= d + 3.

    Returns
    -------
    float
        lambda* = d (1 - R^2) / ((n - d - 2) R^2). Among all multiples of the fit that do not look at the data
        1/(1 + lambda*) has the least excess risk, R^2 sigma_t^2 lambda*/(1 + lambda*); that of the fit itself is
        R^2 sigma_t^2 lambda*.

    Raises
    ------
    ValueError
        If `r_squared` is not above 0 and at most 1, or there are fewer than d + 3 rows.

    Examples
    --------
    >>> round(needed_rate(0.5, rows=150, inputs=64), 4)
    0.7619
    """
    n, d, r_squared = _checked(r_squared, rows, inputs)
    return d * (1 - r_squared) / ((n - d - 2) * r_squared)


def true_length_rate(r_squared: float, rows: int, inputs: int) -> float:
    """The rate of batch normalization at the true length, on average over data sets (theorem half-tuned).

    Parameters
    ----------
    r_squared, rows, inputs
        As for `needed_rate`.

    Returns
    -------
    float
        exp(E log(1 + lambda)) - 1 at gamma = R sigma_t, for n Gaussian rows. Its logarithm over that of
        1 + `needed_rate` is the share of the correction that is made; below 0 it is the wrong way.

    Raises
    ------
    ValueError
        As for `needed_rate`.

    Examples
    --------
    >>> made, needed = true_length_rate(0.5, 150, 64), needed_rate(0.5, 150, 64)
    >>> round(made, 4), round(float(np.log1p(made) / np.log1p(needed)), 4)
    (0.1849, 0.2995)
    """
    n, d, r_squared = _checked(r_squared, rows, inputs)
    freedom, missing = (n - 1) / 2, 1 - r_squared
    mean = r_squared + missing * d / (n - 1)  # of n kappa^2/(n - 1), sigma_t = 1
    squared_std = np.exp(digamma(freedom)) * 2 / n * mean / r_squared  # as if n kappa^2 were a multiple of chi-square

    def difference(tau: NDArray[np.float64]) -> NDArray[np.float64]:
        fall = np.expm1(-tau)
        alike = np.expm1(-freedom * (tau + np.log1p((1 - mean) * fall)))
        exact = np.expm1(-d / 2 * tau + (n - d - 1) / 2 * np.log1p(r_squared * fall))
        return (exact - alike) / fall

    # E log W - E log V is the integral of (E exp(-uV) - E exp(-uW))/u, here with 1 + 2u = exp(tau)
    correction = _integral(difference, 1 / (freedom * mean)) if missing else 0.0
    return float(np.sqrt(squared_std) * np.exp(correction / 2) - 1)


def true_length_excess(r_squared: float, rows: int, inputs: int) -> float:
    """The excess risk of batch normalization at the true length, exactly, for n Gaussian rows (theorem half-tuned).

    Parameters
    ----------
    r_squared, rows, inputs
        As for `needed_rate`.

    Returns
    -------
    float
        E (v - v*)'Sigma(v - v*) / sigma_t^2 at gamma = R sigma_t: what the fit loses on new rows against the
        population's, in units of the target's variance, the intercept aside.

    Raises
    ------
    ValueError
        As for `needed_rate`.

    Notes
    -----
    A difference of terms of size R^2: its absolute error is about 1e-15.

    Examples
    --------
    >>> least_squares = 0.5 * needed_rate(0.5, rows=150, inputs=64)
    >>> round(true_length_excess(0.5, rows=150, inputs=64) / least_squares, 4)
    0.7427
    """
    n, d, r_squared = _checked(r_squared, rows, inputs)
    missing, spare = 1 - r_squared, n - d - 2
    if missing == 0:  # the fit has the right direction, and kappa/gamma is the standard deviation of n Gaussian rows
        return float(n / (n - 3) - 2 * np.sqrt(n / (n - 1)) / minibatch_factor(n - 1) + 1)

    def powers(tau: NDArray[np.float64], first: float, second: float) -> NDArray[np.float64]:
        return np.exp(-first * tau + second * np.log1p(r_squared * np.expm1(-tau)))

    def length(tau: NDArray[np.float64]) -> NDArray[np.float64]:
        mixture = missing + r_squared * np.exp(-tau)
        weight = powers(tau, d / 2, (n - d - 5) / 2)
        return weight * (r_squared * np.exp(-tau) + missing / spare * (1 + (d - 1) * mixture)) / 2

    def along(tau: NDArray[np.float64]) -> NDArray[np.float64]:
        return powers(tau, (d + 1) / 2, (n - d - 3) / 2) / np.sqrt(-np.expm1(-tau))

    scale = 1 / (d / 2 + r_squared * n / 2)
    squared = n * _integral(length, scale)
    projected = np.sqrt(r_squared * n / (2 * np.pi)) * _integral(along, scale)
    return float(r_squared * (squared - 2 * projected + 1))


def _integral(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], scale: float) -> float:
    """Integral from 0 to infinity of a function that decays on this scale."""
    return float(scale * (_WEIGHTS * function(scale * _NODES)).sum())


def _checked(r_squared: float, rows: int, inputs: int) -> tuple[int, int, float]:
    n, d = rows_and_inputs(rows, inputs)
    r_squared = float(finite_array("r_squared", positive("r_squared", r_squared), ndim=0, squared=True))
    if r_squared > 1:
        raise ValueError(f"r_squared = {r_squared:g} explains more than all; it must be at most 1")
    return n, d, r_squared
