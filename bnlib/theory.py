"""The closed forms: what batch normalization does to a linear unit, from the data's moments alone.

One unit normalizes the pre-activation w'x and scales it by gamma; folded, it is a linear unit with
effective weights v = gamma w / sqrt(w'Sigma w + eps). A theorem has one word, here and
in the book: "theorem rate".
Everything here is NumPy in float64; gamma may be of either sign, since w absorbs it, but not zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta

from bnlib.moments import Moments
from bnlib.validation import covariance, finite_array, nonnegative, nonzero

__all__ = [
    "LeastSquaresFit",
    "Moments",
    "NoisePath",
    "effective_weights",
    "l2_equivalent_rate",
    "least_squares",
    "minibatch_decay",
    "minibatch_factor",
    "noise_path",
    "rate",
    "signal_and_noise",
    "weight_decay_rate",
]


def effective_weights(w: ArrayLike, gamma: ArrayLike, cov: ArrayLike, eps: float = 0.0) -> NDArray[np.float64]:
    """Fold batch normalization away: v = gamma w / sqrt(w'Sigma w + eps) (theorem constraint).

    Parameters
    ----------
    w : array_like, shape (d,) or (k, d)
        Raw weights, a row for each of k units.
    gamma : float or array_like, shape (k,)
        Scale, nonzero.
    cov : array_like, shape (d, d)
        Sigma, the covariance of the unit's input.
    eps : float
        What batch normalization adds to the variance before the root.

    Returns
    -------
    ndarray, shape of `w`
        Effective weights. With ``eps = 0`` they satisfy v'Sigma v = gamma^2.

    Raises
    ------
    ValueError
        If a value is not finite, `gamma` is 0, `eps` negative, `cov` not symmetric, or
        w'Sigma w + eps is 0 or no more than rounding of its terms, so that there is nothing to divide by.

    Examples
    --------
    >>> effective_weights([3.0, 4.0], gamma=2.0, cov=np.eye(2))
    array([1.2, 1.6])
    """
    w = finite_array("w", w, ndim=(1, 2))
    gamma = _scale(gamma, w.shape[:-1])
    cov = covariance("cov", cov, dimension=w.shape[-1])
    variance = np.einsum("...i,ij,...j->...", w, cov, w) + nonnegative("eps", eps)
    rounding = len(cov) * np.finfo(float).eps * np.einsum("...i,ij,...j->...", np.abs(w), np.abs(cov), np.abs(w))
    if (variance <= rounding).any():
        raise ValueError(
            f"w'Sigma w + eps = {variance[variance <= rounding].min():g} is not above rounding; "
            "the pre-activation must vary over the data, or eps be positive"
        )
    return (gamma / np.sqrt(variance))[..., np.newaxis] * w


def rate(v: ArrayLike, grad_v: ArrayLike, gamma: ArrayLike) -> NDArray[np.float64]:
    """The rate batch normalization sets: lambda = -v'grad_v L / gamma^2 (theorem rate).

    Parameters
    ----------
    v : array_like, shape (d,) or (k, d)
        Effective weights.
    grad_v : array_like, shape of `v`
        Gradient of the loss of the folded network, its bias tied to the weights by
        b = beta - v'mu.
    gamma : float or array_like, shape (k,)
        Scale, nonzero.

    Returns
    -------
    float or ndarray, shape (k,)
        Multiplier of (1/2) v'Sigma v that the gradient of the BN network carries. Negative when
        the unit would rather be larger than gamma lets it. The same in all units of the inputs
        (theorem invariance).

    Raises
    ------
    ValueError
        If a value is not finite, shapes differ, or `gamma` is 0.

    Examples
    --------
    >>> float(rate([1.0, 0.0], [-0.5, 0.3], gamma=1.0))
    0.5
    """
    v, grad_v = _paired(v, grad_v)
    return -np.einsum("...i,...i->...", v, grad_v) / _scale(gamma, v.shape[:-1]) ** 2


def l2_equivalent_rate(v: ArrayLike, grad_v: ArrayLike) -> NDArray[np.float64]:
    """The same pull in units of ``weight_decay``: alpha = -v'grad_v L / norm(v)^2 (theorem rate).

    Parameters
    ----------
    v : array_like, shape (d,) or (k, d)
        Effective weights, nonzero.
    grad_v : array_like, shape of `v`
        Gradient of the loss of the folded network.

    Returns
    -------
    float or ndarray, shape (k,)
        The rate alpha at which grad_v L + alpha v has no component along v, in units of
        ``weight_decay`` in ``torch.optim.SGD``. Inputs times a give it times a^2 (theorem invariance).

    Raises
    ------
    ValueError
        If a value is not finite, shapes differ, or a row of `v` is zero.

    Examples
    --------
    >>> float(l2_equivalent_rate([2.0, 0.0], [-0.5, 0.3]))
    0.25
    """
    v, grad_v = _paired(v, grad_v)
    norm_squared = np.einsum("...i,...i->...", v, v)
    if (norm_squared == 0).any():
        raise ValueError("v = 0 has no direction to be shrunk along; its rows must be nonzero")
    return -np.einsum("...i,...i->...", v, grad_v) / norm_squared


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
        alpha = lambda v'Sigma v / norm(v)^2, in units of ``weight_decay``.
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
    gamma = np.abs(_scale(gamma, moments.target_var.shape))
    s, U = moments.spectrum
    explained = _positive_explained(moments)
    shrinkage = np.sqrt(explained) / gamma  # 1 + lambda
    if nonnegative("eps", eps) > 0:
        shrinkage = np.maximum(1.0, shrinkage)
    along = U.T @ moments.cross
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    weights = U @ (inverse * along.T).T / shrinkage
    output_variance = explained / shrinkage**2
    multiplier = shrinkage - 1
    return LeastSquaresFit(
        weights=weights,
        rate=multiplier,
        l2_rate=multiplier * output_variance / np.square(weights).sum(axis=0),
        loss=(moments.target_var - 2 * explained / shrinkage + output_variance) / 2,
    )


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
        alpha = lambda rho + (1 + lambda) noise_std^2 with rho = v'Sigma v / norm(v)^2: what the noise and
        the constraint together put on top of the *clean* loss, in units of ``weight_decay``.
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
    """
    if moments.cross.ndim != 1:
        raise ValueError(f"moments has cross of shape {moments.cross.shape}; a path takes one target, shape (d,)")
    gamma = np.abs(_scale(gamma, ()))
    noise_stds = nonnegative("noise_stds", finite_array("noise_stds", noise_stds, ndim=1))
    s, U = moments.spectrum
    along = U.T @ moments.cross  # (d,)
    noisy = s + noise_stds[:, np.newaxis] ** 2  # (S, d)
    inverse = np.divide(1.0, noisy, out=np.zeros_like(noisy), where=noisy > 0)
    _positive_explained(moments)
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
        l2_rate=multiplier * signal / norm_squared + shrinkage * noise_var,
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
    first, second = finite_array("first", first, ndim=(1, 2)), finite_array("second", second, ndim=(1, 2))
    if first.shape != second.shape or not len(first):
        raise ValueError(
            f"second has shape {second.shape}; it must be that of first, {first.shape}, with at least one row"
        )
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    signal = (first * second).mean(axis=0)
    return signal, ((first**2).mean(axis=0) + (second**2).mean(axis=0)) / 2 - signal


def weight_decay_rate(
    weight_decay: ArrayLike, weight_norm: ArrayLike, batch_var: ArrayLike, gamma: ArrayLike, eps: float
) -> NDArray[np.float64]:
    """The rate at a stationary point under weight decay on the raw weights (theorem depth).

    Parameters
    ----------
    weight_decay : float or ndarray
        Decay a on w.
    weight_norm : float or ndarray
        Norm of w.
    batch_var : float or ndarray
        q = w'Sigma w.
    gamma : float or ndarray
        Scale, nonzero.
    eps : float
        Positive: with eps = 0 no stationary point exists, since the loss does not see the norm of w.

    Returns
    -------
    float or ndarray
        lambda = a norm(w)^2 (q + eps) / (eps gamma^2).

    Raises
    ------
    ValueError
        If `eps` is not positive, `gamma` is 0, or another argument is negative.

    Examples
    --------
    >>> float(weight_decay_rate(1e-4, weight_norm=1.0, batch_var=0.99, gamma=1.0, eps=0.01))
    0.01
    """
    if not eps > 0:
        raise ValueError(f"eps = {eps} leaves no stationary point under weight decay; it must be positive")
    q = nonnegative("batch_var", batch_var)
    pull = nonnegative("weight_decay", weight_decay) * nonnegative("weight_norm", weight_norm) ** 2
    return pull * (q + eps) / (eps * nonzero("gamma", gamma) ** 2)


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


def _log_minibatch_factor(batch_size: ArrayLike) -> NDArray[np.float64]:
    """log a_M, which decay needs to full precision: 1/a_M - 1 cancels, and so do Gamma functions of large arguments."""
    M = finite_array("batch_size", batch_size, ndim=(0, 1))
    if (M < 2).any():
        raise ValueError(f"batch_size = {M.min():g} has no variance; it must be at least 2")
    # a_M = sqrt(2 pi/M) / B((M-1)/2, 1/2); from 64 on by Stirling's series about M - 3/2, whose odd terms vanish
    y = 1 / (2 * M - 3)
    series = np.log1p(-1.5 / M) / 2 + y**2 / 4 - 5 * y**4 / 8 + 61 * y**6 / 12 - 1385 * y**8 / 16
    return np.where(M < 64, np.log(np.sqrt(2 * np.pi / M) / beta((M - 1) / 2, 0.5)), series)


def _paired(v: ArrayLike, grad_v: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    v, grad_v = finite_array("v", v, ndim=(1, 2)), finite_array("grad_v", grad_v, ndim=(1, 2))
    if v.shape != grad_v.shape:
        raise ValueError(f"grad_v has shape {grad_v.shape}; it must be that of v, {v.shape}")
    return v, grad_v


def _scale(gamma: ArrayLike, units: tuple[int, ...]) -> NDArray[np.float64]:
    """gamma as an array: one number, or one for each unit, where `units` is the shape () or (k,)."""
    gamma = nonzero("gamma", gamma)
    if gamma.shape not in ((), units):
        raise ValueError(
            f"gamma has shape {gamma.shape}; it must be one number" + (f" or have shape {units}" if units else "")
        )
    return gamma


def _positive_explained(moments: Moments) -> NDArray[np.float64]:
    """R^2 sigma_t^2, after checking that it is positive for every target."""
    explained = moments.r_squared * moments.target_var
    if (explained <= 0).any():
        raise ValueError(
            "R sigma_t = 0: the target is uncorrelated with every input, so all directions are equally good; "
            "cross must have a nonzero part where cov is nonzero"
        )
    return explained
