"""What batches of a finite size are worth."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta as beta_function
from scipy.special import expit

from bnlib.objects import function
from bnlib.theory.arguments import scale
from bnlib.validation import finite_array, number


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
    excess_kurtosis = number("excess_kurtosis", excess_kurtosis)
    if not excess_kurtosis >= -2:
        raise ValueError(f"excess_kurtosis = {excess_kurtosis} belongs to no distribution; it must be at least -2")
    return (excess_kurtosis + 6) / (8 * finite_array("batch_size", batch_size, ndim=(0, 1)))


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
    z = finite_array("outputs", outputs, ndim=(1, 2), squared=True)
    t = finite_array("targets", targets, ndim=(1, 2), squared=True)
    if z.shape != t.shape or not len(z):
        raise ValueError(f"targets has shape {t.shape} and outputs {z.shape}; both must have the same, with rows")
    z, t = _standardized(z), t - t.mean(axis=0)
    covariance = (t * z).mean(axis=0)
    if (np.abs(covariance) <= np.finfo(float).eps * t.std(axis=0)).any():
        raise ValueError("targets has a column uncorrelated with its output: gamma ends at 0 with batches of any size")
    third = (t * z**3).mean(axis=0) / covariance
    return third / 2 - 3 / 8 * ((z**4).mean(axis=0) - 1)


def minibatch_worth_canonical(
    gamma: float,
    beta: float = 0.0,
    curvature: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> float:
    """What batches are worth as a decay on gamma, times M: losses A(y) - t y, Gaussian data (theorem minibatch).

    Parameters
    ----------
    gamma : float
        Scale of the unit, of either sign.
    beta : float
        Its shift.
    curvature : callable, optional
        A'' on an array of outputs y; it should be smooth, and vary over distances in y not much below 1. Default: that
        of logistic regression, p (1 - p).

    Returns
    -------
    float
        E[A''(y) (1/2 + z^2 - z^4/4)] over y = beta + gamma z, z standard Gaussian, for a target with mean A'(y) given z.
        0.75 for a curvature of 1, least squares.

    Raises
    ------
    ValueError
        If `gamma` is 0 or above 10,000 in size, `beta` is no finite number, or `curvature` gives other than a finite
        number an output.

    Examples
    --------
    >>> round(minibatch_worth_canonical(0.5), 4), round(minibatch_worth_canonical(4.0), 4)
    (0.1871, 0.0579)
    >>> round(minibatch_worth_canonical(2.0, beta=1.0, curvature=np.ones_like), 6)
    0.75
    """
    size = abs(float(scale(gamma, ())))
    if size > 1e4:
        raise ValueError(f"gamma = {gamma:g} makes outputs too wide to average over; it must be at most 10000 in size")
    beta = number("beta", beta)
    if curvature is not None:
        function("curvature", curvature)
    # the trapezoidal rule, with an error like exp(-2 pi D / h) where A'' has its poles D gamma off the real line
    step = min(0.25, 0.4 / size)
    z = step * np.arange(-np.ceil(12 / step), np.ceil(12 / step) + 1)
    y = beta + size * z  # the law of z is even, and so is what stands beside A''
    found = finite_array("curvature(y)", expit(y) * expit(-y) if curvature is None else curvature(y), ndim=1)
    if found.shape != z.shape:
        raise ValueError(f"curvature(y) has shape {found.shape}; it must be that of y, {z.shape}")
    weights = step * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(weights @ (found * (0.5 + z**2 - z**4 / 4)))


def minibatch_loss_shift(outputs: ArrayLike, gamma: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """M times what batches of M add to the expected loss: any loss above one layer, leading order (theorem minibatch).

    Parameters
    ----------
    outputs : array_like, shape (n,) or (n, k)
        Pre-activations, a column for each of k units, of any mean and length.
    gamma : float or array_like, shape (k,)
        Scales of the units.
    first : array_like, shape of `outputs`
        Derivatives of each row's loss in the normalized outputs y = gamma z + beta, at the population's statistics.
    second : array_like, shape (n,) or (n, k, k)
        Second derivatives there, symmetric.

    Returns
    -------
    float
        Phi = E[sum_j gamma_j g_j b_j + sum_jl gamma_j gamma_l H_jl C_jl / 2], the rows being the population.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, a scale is 0, or an output does not vary.

    Examples
    --------
    Least squares: gamma E[t z] c_B, with the worth c_B of `minibatch_worth`.

    >>> z, t = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    >>> minibatch_loss_shift(z, 0.5, 0.5 * z - t, np.ones(4)), 0.5 * 0.5 * float(minibatch_worth(z, t))
    (0.125, 0.125)
    """
    z, g, H, gammas = _row_losses(outputs, gamma, first, second)
    covariance, third, fourth = _scatters(z)
    # C is not built row by row: H has as many entries as memory should hold
    along = np.einsum("njl,nl->jl", H, z)
    both = np.einsum("njl,nj,nl->jl", H, z, z)
    bent = H.sum(axis=0) * covariance + along * third + both * (fourth - 1) / 4
    return float(((g * _own_share(z)).sum(axis=0) @ gammas + gammas @ bent @ gammas / 2) / len(z))


def minibatch_gamma_shift(
    outputs: ArrayLike, gamma: ArrayLike, first: ArrayLike, second: ArrayLike, third: ArrayLike
) -> NDArray[np.float64]:
    """The derivative of `minibatch_loss_shift` in gamma, at fixed shifts and weights (theorem minibatch).

    Parameters
    ----------
    outputs, gamma, first, second
        As for `minibatch_loss_shift`.
    third : array_like, shape (n,) or (n, k, k, k)
        Third derivatives of each row's loss, symmetric.

    Returns
    -------
    float or ndarray, shape (k,)
        d Phi / d gamma_j. Where gamma_j is at rest in batches of M, the population's rate is this over M gamma_j.

    Raises
    ------
    ValueError
        As for `minibatch_loss_shift`.

    Examples
    --------
    >>> z, t = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    >>> minibatch_gamma_shift(z, 0.5, 0.5 * z - t, np.ones(4), np.zeros(4))
    array(0.25)
    """
    z, g, H, gammas = _row_losses(outputs, gamma, first, second)
    k, own = z.shape[1], _own_share(z)
    T = finite_array("third", third, ndim=(1, 4))
    if T.shape != (z.shape + (k, k) if np.ndim(outputs) == 2 else z.shape[:1]):
        raise ValueError(f"third has shape {T.shape}; it must have the rows of outputs, and three units for each")
    T = T.reshape(len(z), k, k, k)
    covariance, mixed, fourth = _scatters(z)
    C = covariance + (z[:, None, :] * mixed + z[:, :, None] * mixed.T) / 2
    C += z[:, :, None] * z[:, None, :] * (fourth - 1) / 4
    shift = g * own + z * np.einsum("njl,nl->nj", H, gammas * own) + np.einsum("njl,njl,l->nj", H, C, gammas)
    shift += z * np.einsum("njil,nil,i,l->nj", T, C, gammas, gammas) / 2
    return shift.mean(axis=0).reshape(np.shape(outputs)[1:])


def _row_losses(
    outputs: ArrayLike, gamma: ArrayLike, first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standardized outputs, first and second derivatives and scales, of shapes (n, k), (n, k), (n, k, k) and (k,)."""
    z = finite_array("outputs", outputs, ndim=(1, 2), squared=True)
    g = finite_array("first", first, ndim=(1, 2))
    if not z.size:
        raise ValueError(f"outputs has shape {z.shape}; it must have rows and units")
    if g.shape != z.shape:
        raise ValueError(f"first has shape {g.shape}; it must be that of outputs, {z.shape}")
    H, right = finite_array("second", second, ndim=(1, 3)), z.shape + z.shape[1:]
    if H.shape != right:
        raise ValueError(f"second has shape {H.shape}; beside outputs of shape {z.shape} it must be {right}")
    gammas = scale(gamma, z.shape[1:])
    z = _standardized(z).reshape(len(z), -1)
    k = z.shape[1]
    return z, g.reshape(z.shape), H.reshape(len(z), k, k), np.broadcast_to(gammas, k)


def _standardized(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns with mean 0 and variance 1."""
    largest = np.abs(z).max(axis=0)
    z = z - z.mean(axis=0)
    std = z.std(axis=0)
    if (std <= np.finfo(float).eps * largest).any():
        raise ValueError("outputs has a column that does not vary; there is nothing to normalize")
    return z / std


def _own_share(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """b, M times the mean displacement of a row's normalized outputs over the batches that it is in."""
    return -(z**3) / 2 + 3 / 8 * ((z**4).mean(axis=0) - 1) * z + (z**3).mean(axis=0) / 2


def _scatters(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """E z_j z_l, E z_j z_l^2 and E z_j^2 z_l^2, which make C."""
    n, squares = len(z), z**2
    return z.T @ z / n, z.T @ squares / n, squares.T @ squares / n


def _log_minibatch_factor(batch_size: ArrayLike) -> NDArray[np.float64]:
    """log a_M, which decay needs to full precision: 1/a_M - 1 cancels, and so do Gamma functions of large arguments."""
    M = finite_array("batch_size", batch_size, ndim=(0, 1))
    if (M < 2).any():
        raise ValueError(f"batch_size = {M.min():g} has no variance; it must be at least 2")
    # a_M = sqrt(2 pi/M) / B((M-1)/2, 1/2); from 64 on by Stirling's series about M - 3/2, whose odd terms vanish
    y = 1 / (2 * M - 3)
    series = np.log1p(-1.5 / M) / 2 + y**2 / 4 - 5 * y**4 / 8 + 61 * y**6 / 12 - 1385 * y**8 / 16
    return np.where(M < 64, np.log(np.sqrt(2 * np.pi / M) / beta_function((M - 1) / 2, 0.5)), series)
