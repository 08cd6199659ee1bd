"""Least squares under batch normalization."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.moments import Moments
from bnlib.theory.arguments import given_moments, positive_explained, scale
from bnlib.validation import nonnegative, number, within_floats


@dataclass(frozen=True, eq=False)
class LeastSquaresFit:
    """What batch normalization with fixed gamma does to least squares (theorem least-squares).

    Parameters
    ----------
    weights : ndarray, shape (d,) or (d, k)
        Effective weights v of the minimizer.
    rate : float or ndarray, shape (k,)
        lambda: the fit minimizes L(v) + (lambda/2) v'Sigma v without batch normalization.
    l2_rate : float or ndarray, shape (k,)
        alpha = lambda v'Sigma v / norm(v)^2, in units of ``weight_decay``, on the loss of these moments: that of
        noisy inputs, where the moments are.
    loss : float or ndarray, shape (k,)
        (1/2) E (t - b - v'x)^2 at the minimizer.
    """

    weights: NDArray[np.float64]
    rate: NDArray[np.float64]
    l2_rate: NDArray[np.float64]
    loss: NDArray[np.float64]


def least_squares(moments: Moments, gamma: ArrayLike, eps: float = 0.0) -> LeastSquaresFit:
    """Minimize (1/2) E (t - b - v'x)^2 under batch normalization's constraint (theorem stationarity, theorem least-squares).

    Parameters
    ----------
    moments : Moments
        Of inputs and target(s). A singular covariance is normal input.
    gamma : float or array_like, shape (k,)
        Fixed scale, nonzero; one for each target where there are several.
    eps : float
        0: the constraint is v'Sigma v = gamma^2 and 1 + lambda = R sigma_t / abs(gamma).
        Positive: it is v'Sigma v < gamma^2 and lambda = max(0, R sigma_t / abs(gamma) - 1), whatever
        the size of eps. Where that is R sigma_t / abs(gamma) - 1, the fit is the limit of ever longer
        raw weights: no raw weights attain it.

    Returns
    -------
    LeastSquaresFit

    Raises
    ------
    ValueError
        If `gamma` is 0, `eps` negative, or the target is uncorrelated with every input, so that
        every direction is as good as any other.

    Examples
    --------
    >>> moments = Moments([0.0, 0.0], np.diag([4.0, 1.0]), [2.0, 0.5], 2.0)
    >>> fit = least_squares(moments, gamma=0.5)
    >>> round(float(fit.rate), 6), round(float(fit.loss), 6)
    (1.236068, 0.565983)
    """
    gamma = np.abs(scale(gamma, given_moments(moments).target_var.shape))
    s, U = moments.spectrum
    explained = positive_explained(moments)
    shrinkage = np.sqrt(explained) / gamma  # 1 + lambda
    if nonnegative("eps", number("eps", eps, power=2), power=2) > 0:
        shrinkage = np.maximum(1.0, shrinkage)
    along = U.T @ moments.cross
    with within_floats(cov=moments.cov, cross=moments.cross, gamma=gamma):
        inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
        weights = U @ (inverse * along.T).T / shrinkage
        output_variance = explained / shrinkage**2
        multiplier = shrinkage - 1
        return LeastSquaresFit(
            weights=weights,
            rate=multiplier,
            l2_rate=multiplier * (output_variance / np.square(weights).sum(axis=0)),
            loss=(moments.target_var - 2 * explained / shrinkage + output_variance) / 2,
        )
