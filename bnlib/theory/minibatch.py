"""What batches of a finite size are worth."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta

from bnlib.validation import finite_array


def minibatch_factor(batch_size: ArrayLike) -> NDArray[np.float64]:
    """Mean of a batch's biased standard deviation over the population's, Gaussian data (theorem minibatch).

    Parameters
    ----------
    batch_size : int or array_like of int
        M, at least 2.

    Returns
    -------
    float or ndarray
        a_M = sqrt(2/M) Gamma(M/2) / Gamma((M-1)/2), below 1.

    Raises
    ------
    ValueError
        If a batch size is below 2.

    Examples
    --------
    >>> round(float(minibatch_factor(4)), 6)
    0.797885
    """
    return np.exp(_log_minibatch_factor(batch_size))


def minibatch_decay(batch_size: ArrayLike, excess_kurtosis: float | None = None) -> NDArray[np.float64]:
    """The weight decay on gamma that batches of this size amount to (theorem minibatch).

    Parameters
    ----------
    batch_size : int or array_like of int
        M, at least 2.
    excess_kurtosis : float, optional
        Of the pre-activation, rho >= -2. Without it the law is the exact one for Gaussian data,
        1/a_M - 1; with it the leading term (rho + 2)/(8 M) + 1/(2 M), for any distribution in which
        the mean of the target given the pre-activation is linear in it.

    Returns
    -------
    float or ndarray

    Raises
    ------
    ValueError
        If a batch size is below 2, or `excess_kurtosis` below -2, which no distribution has.

    Examples
    --------
    >>> round(float(minibatch_decay(4)), 4), float(minibatch_decay(32, excess_kurtosis=0.0))
    (0.2533, 0.0234375)
    """
    exact = np.expm1(-_log_minibatch_factor(batch_size))
    if excess_kurtosis is None:
        return exact
    if not excess_kurtosis >= -2:
        raise ValueError(f"excess_kurtosis = {excess_kurtosis} belongs to no distribution; it must be at least -2")
    return (excess_kurtosis + 6) / (8 * np.asarray(batch_size, dtype=np.float64))


def minibatch_worth(outputs: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """What batches are worth as a decay on gamma, times M: for least squares and any distribution (theorem minibatch).

    Parameters
    ----------
    outputs : array_like, shape (n,) or (n, k)
        Pre-activations, a column for each of k units: ``X @ w``, of any length and sign.
    targets : array_like, shape of `outputs`
        A target for each.

    Returns
    -------
    float or ndarray, shape (k,)
        c_B = tau/2 - 3 (rho + 2)/8 with tau = E[(t - E t) z^3] / E[t z], z the standardized output and rho its
        excess kurtosis. To leading order in 1/M batches of M act as the decay c_B/M on a learned gamma, at this
        direction. 0.75 for Gaussian data; negative where batches inflate.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, an output does not vary, or a target is uncorrelated with it.

    Notes
    -----
    Fourth moments: a few heavy rows decide. With (rho + 6)/8 it agrees where the mean of the target given the
    output is linear in it.

    Examples
    --------
    >>> outputs = np.array([-3.0, -1.0, 1.0, 3.0])
    >>> [round(float(minibatch_worth(outputs, t)), 3) for t in (2 * outputs + 1, np.sign(outputs))]
    [0.58, 0.46]
    """
    z, t = finite_array("outputs", outputs, ndim=(1, 2)), finite_array("targets", targets, ndim=(1, 2))
    if z.shape != t.shape or not len(z):
        raise ValueError(f"targets has shape {t.shape} and outputs {z.shape}; both must have the same, with rows")
    largest = np.abs(z).max(axis=0)
    z, t = z - z.mean(axis=0), t - t.mean(axis=0)
    std = z.std(axis=0)
    if (std <= np.finfo(float).eps * largest).any():
        raise ValueError("outputs has a column that does not vary; there is nothing to normalize")
    z = z / std
    covariance = (t * z).mean(axis=0)
    if (np.abs(covariance) <= np.finfo(float).eps * t.std(axis=0)).any():
        raise ValueError("targets has a column uncorrelated with its output: gamma ends at 0 with batches of any size")
    third = (t * z**3).mean(axis=0) / covariance
    return third / 2 - 3 / 8 * ((z**4).mean(axis=0) - 1)


def _log_minibatch_factor(batch_size: ArrayLike) -> NDArray[np.float64]:
    """log a_M, which decay needs to full precision: 1/a_M - 1 cancels, and so do Gamma functions of large arguments."""
    M = finite_array("batch_size", batch_size, ndim=(0, 1))
    if (M < 2).any():
        raise ValueError(f"batch_size = {M.min():g} has no variance; it must be at least 2")
    # a_M = sqrt(2 pi/M) / B((M-1)/2, 1/2); from 64 on by Stirling's series about M - 3/2, whose odd terms vanish
    y = 1 / (2 * M - 3)
    series = np.log1p(-1.5 / M) / 2 + y**2 / 4 - 5 * y**4 / 8 + 61 * y**6 / 12 - 1385 * y**8 / 16
    return np.where(M < 64, np.log(np.sqrt(2 * np.pi / M) / beta((M - 1) / 2, 0.5)), series)
