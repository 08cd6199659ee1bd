"""Noise on the inputs: the fit as it grows, and what it makes of the variance of a unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.moments import Moments
from bnlib.theory.arguments import given_moments, positive_explained, scale
from bnlib.validation import finite_array, nonnegative, within_floats


@dataclass(frozen=True, eq=False)
class NoisePath:
    """Least squares under batch normalization as the input noise grows (theorem noise), N = noise_std^2 I.

    Parameters
    ----------
    noise_stds : ndarray, shape (S,)
        Standard deviation of the noise on every input.
    rate : ndarray, shape (S,)
        lambda(sigma) = kappa / abs(gamma) - 1, decreasing.
    weights : ndarray, shape (S, d)
        Effective weights (abs(gamma) / kappa) (Sigma + N)^{-1} c.
    signal_share, noise_share : ndarray, shape (S,)
        v'Sigma v / gamma^2 and v'N v / gamma^2; they add to 1.
    l2_rate : ndarray, shape (S,)
        alpha = lambda gamma^2 / norm(v)^2, in units of ``weight_decay``, on the loss that training sees, that of
        noisy inputs: what `least_squares` gives for ``moments.with_noise(...)``, and the meter for noisy batches.
        To be held against the best ``weight_decay`` on the same noise. It has the sign of lambda.
    clean_l2_rate : ndarray, shape (S,)
        alpha + noise_std^2: what the noise and the constraint together put on top of the *clean* loss.
    wiener : ndarray, shape (S, d)
        SNR_i / (1 + SNR_i) with SNR_i = s_i / noise_std^2, directions in the order of
        ``moments.spectrum`` (ascending s_i).
    """

    noise_stds: NDArray[np.float64]
    rate: NDArray[np.float64]
    weights: NDArray[np.float64]
    signal_share: NDArray[np.float64]
    noise_share: NDArray[np.float64]
    l2_rate: NDArray[np.float64]
    clean_l2_rate: NDArray[np.float64]
    wiener: NDArray[np.float64]


def noise_path(moments: Moments, gamma: float, noise_stds: ArrayLike) -> NoisePath:
    """The whole path in the noise level from one eigendecomposition of the clean covariance (theorem noise).

    Parameters
    ----------
    moments : Moments
        Of the clean data, one target.
    gamma : float
        Fixed scale, nonzero.
    noise_stds : array_like, shape (S,)
        Noise levels, in units of the inputs; 0 is allowed.

    Returns
    -------
    NoisePath

    Raises
    ------
    ValueError
        If `moments` has several targets, `gamma` is 0, a noise level is negative, or the target is
        uncorrelated with every input.

    Examples
    --------
    >>> moments = Moments([0.0], [[1.0]], [0.8], 1.0)
    >>> path = noise_path(moments, gamma=0.4, noise_stds=[0.0, 1.0])
    >>> path.rate.round(4), path.signal_share
    (array([1.    , 0.4142]), array([1. , 0.5]))
    >>> path.l2_rate.round(4), path.clean_l2_rate.round(4)
    (array([1.    , 0.8284]), array([1.    , 1.8284]))
    """
    if given_moments(moments).cross.ndim != 1:
        raise ValueError(f"moments has cross of shape {moments.cross.shape}; a path takes one target, shape (d,)")
    gamma = np.abs(scale(gamma, ()))
    noise_stds = nonnegative("noise_stds", finite_array("noise_stds", noise_stds, ndim=1))
    s, U = moments.spectrum
    along = U.T @ moments.cross  # (d,)
    positive_explained(moments)
    with within_floats(cov=moments.cov, cross=moments.cross, gamma=gamma, noise_stds=noise_stds):
        noisy = s + noise_stds[:, np.newaxis] ** 2  # (S, d)
        inverse = np.divide(1.0, noisy, out=np.zeros_like(noisy), where=noisy > 0)
        kappa = np.sqrt(inverse @ along**2)  # (S,)
        coordinates = inverse * along * (gamma / kappa)[:, np.newaxis]  # (S, d)
        signal = np.square(coordinates) @ s
        norm_squared = np.square(coordinates).sum(axis=1)
        noise_var = noise_stds**2
        shrinkage = kappa / gamma  # 1 + lambda, of which lambda keeps few digits where it is small
        multiplier = shrinkage - 1
        return NoisePath(
            noise_stds=noise_stds,
            rate=multiplier,
            weights=coordinates @ U.T,
            signal_share=signal / gamma**2,
            noise_share=noise_var * norm_squared / gamma**2,
            l2_rate=multiplier * (gamma**2 / norm_squared),
            # in this form two large terms do not cancel where the rate is near -1
            clean_l2_rate=multiplier * signal / norm_squared + shrinkage * noise_var,
            wiener=s * inverse,
        )


def signal_and_noise(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split the variance of a unit into signal and noise from two corrupted copies of its inputs (theorem split).

    Parameters
    ----------
    first, second : array_like, shape (n,) or (n, k)
        Pre-activations of k units on two copies of the same n inputs, corrupted independently by
        the same law.

    Returns
    -------
    signal, noise : float or ndarray, shape (k,)
        Cov(z1, z2) = Var E[z|x], and Var z - signal = E Var[z|x], with 1/n normalization; the
        variance is the mean of the two copies'. The estimate of the signal can be slightly negative.

    Raises
    ------
    ValueError
        If shapes differ, there are no rows, or a value is not finite.

    Examples
    --------
    >>> signal, noise = signal_and_noise([1.0, -1.0], [3.0, -3.0])
    >>> float(signal), float(noise)
    (3.0, 2.0)
    """
    first, second = (
        finite_array(name, value, ndim=(1, 2), squared=True) for name, value in (("first", first), ("second", second))
    )
    if first.shape != second.shape or not len(first):
        raise ValueError(
            f"second has shape {second.shape}; it must be that of first, {first.shape}, with at least one row"
        )
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    signal = (first * second).mean(axis=0)
    return signal, ((first**2).mean(axis=0) + (second**2).mean(axis=0)) / 2 - signal
