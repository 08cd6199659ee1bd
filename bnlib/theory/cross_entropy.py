"""Cross-entropy of two classes under batch normalization, where the inputs are Gaussian or otherwise elliptical."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtr

from bnlib.moments import Moments
from bnlib.theory.arguments import given_moments, positive_explained, scale
from bnlib.theory.fits import least_squares
from bnlib.theory.noise import noise_path
from bnlib.validation import finite_array, nonnegative, number

Component = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """What batch normalization with fixed gamma does to the cross-entropy of two classes (theorem cross-entropy).

    Parameters
    ----------
    weights : ndarray, shape (d,)
        Effective weights v of the minimizer, (abs(gamma) / kappa) Sigma^+ c.
    beta : float
        The best shift: the mean of the probabilities is that of the target.
    curvature : float
        abar, the mean of p (1 - p) over the outputs' probabilities p, for Gaussian inputs; otherwise what takes its
        place. Least squares has 1 here.
    rate : float
        lambda = kappa / abs(gamma) - abar.
    l2_rate : float
        alpha = lambda gamma^2 / norm(v)^2, in units of ``weight_decay``, on the loss of these moments.
    loss : float
        The mean cross-entropy at the minimizer, in nats.
    """

    weights: NDArray[np.float64]
    beta: float
    curvature: float
    rate: float
    l2_rate: float
    loss: float


def logistic_fit(moments: Moments, gamma: float, target_mean: float, component: Component | None = None) -> LogisticFit:
    """Minimize the mean of log(1 + e^y) - t y under batch normalization, y = beta + v'(x - mu) (theorem cross-entropy).

    Parameters
    ----------
    moments : Moments
        Of inputs and one target from 0 to 1: a class, or its probability. A singular covariance is normal input.
    gamma : float
        Fixed scale, nonzero.
    target_mean : float
        Mean of the target, the share of the class: between 0 and 1, without the ends.
    component : (nodes, weights), each array_like of shape (m,), optional
        The law of a standardized component of elliptical inputs, v'(x - mu) over its standard deviation, which is the
        same for all v: weights add up to 1, the mean of the nodes is 0 and their variance 1. Default: Gaussian.

    Returns
    -------
    LogisticFit
        Exact if the inputs are elliptical. Otherwise it is what inputs with these moments would give that are.

    Raises
    ------
    ValueError
        If `moments` has several targets or a variance that no target from 0 to 1 with this mean has; if `gamma` is 0,
        `target_mean` not between 0 and 1, `component` no standardized law; or the target is uncorrelated with every
        input.

    Examples
    --------
    >>> moments = Moments([0.0, 0.0], np.diag([4.0, 1.0]), [0.4, 0.1], 0.25)
    >>> fit = logistic_fit(moments, gamma=1.0, target_mean=0.5)
    >>> round(fit.rate, 4), round(fit.curvature, 4), round(fit.loss, 4)
    (0.017, 0.2066, 0.5825)
    """
    kappa = _explained_std(moments, target_mean)
    gamma = float(np.abs(scale(gamma, ())))
    beta, loss, curvature = _resting(gamma, number("target_mean", target_mean), _law(component))
    weights = least_squares(moments, gamma).weights  # the same ones: only the rate knows the loss
    multiplier = kappa / gamma - curvature
    return LogisticFit(
        weights=weights,
        beta=beta,
        curvature=curvature,
        rate=multiplier,
        l2_rate=multiplier * gamma**2 / float(weights @ weights),
        loss=loss - gamma * kappa,
    )


@dataclass(frozen=True, eq=False)
class LogisticNoisePath:
    """Cross-entropy of two classes under batch normalization as the noise grows (theorem cross-entropy), N = noise_std^2 I.

    Parameters
    ----------
    noise_stds : ndarray, shape (S,)
        Standard deviation of the noise on every input.
    beta, curvature : float
        As in `LogisticFit`; the same at every noise level.
    rate : ndarray, shape (S,)
        lambda(sigma) = kappa / abs(gamma) - abar, decreasing.
    weights : ndarray, shape (S, d)
        Effective weights (abs(gamma) / kappa) (Sigma + N)^{-1} c: those of least squares.
    signal_share, noise_share : ndarray, shape (S,)
        v'Sigma v / gamma^2 and v'N v / gamma^2; they add to 1.
    l2_rate : ndarray, shape (S,)
        alpha = lambda gamma^2 / norm(v)^2, in units of ``weight_decay``, on the loss that training sees, that of noisy
        inputs.
    wiener : ndarray, shape (S, d)
        SNR_i / (1 + SNR_i), as in `NoisePath`.
    loss : ndarray, shape (S,)
        The mean cross-entropy on noisy inputs, in nats.
    """

    noise_stds: NDArray[np.float64]
    beta: float
    curvature: float
    rate: NDArray[np.float64]
    weights: NDArray[np.float64]
    signal_share: NDArray[np.float64]
    noise_share: NDArray[np.float64]
    l2_rate: NDArray[np.float64]
    wiener: NDArray[np.float64]
    loss: NDArray[np.float64]


def logistic_noise_path(
    moments: Moments,
    gamma: float,
    target_mean: float,
    noise_stds: ArrayLike,
    component: Component | None = None,
) -> LogisticNoisePath:
    """The whole path in the noise level from one eigendecomposition of the clean covariance (theorem cross-entropy).

    Parameters
    ----------
    moments : Moments
        Of the clean data, one target from 0 to 1.
    gamma, target_mean
        As for `logistic_fit`.
    noise_stds : array_like, shape (S,)
        Noise levels, in units of the inputs; 0 is allowed.
    component : (nodes, weights), optional
        As for `logistic_fit`, of the noisy inputs, and one law at every noise level. Default: Gaussian.

    Returns
    -------
    LogisticNoisePath

    Raises
    ------
    ValueError
        As for `logistic_fit`, and if a noise level is negative.

    Examples
    --------
    >>> moments = Moments([0.0], [[1.0]], [0.3], 0.25)
    >>> path = logistic_noise_path(moments, gamma=1.0, target_mean=0.5, noise_stds=[0.0, 1.0])
    >>> path.rate.round(4), path.signal_share
    (array([0.0934, 0.0055]), array([1. , 0.5]))
    """
    _explained_std(moments, target_mean)
    path = noise_path(moments, gamma, noise_stds)
    gamma = float(np.abs(scale(gamma, ())))
    beta, loss, curvature = _resting(gamma, number("target_mean", target_mean), _law(component))
    lift = 1 + path.rate  # kappa/gamma
    multiplier = lift - curvature
    return LogisticNoisePath(
        noise_stds=path.noise_stds,
        beta=beta,
        curvature=curvature,
        rate=multiplier,
        weights=path.weights,
        signal_share=path.signal_share,
        noise_share=path.noise_share,
        l2_rate=multiplier * gamma**2 / np.square(path.weights).sum(axis=1),
        wiener=path.wiener,
        loss=loss - gamma**2 * lift,
    )


def logistic_gamma(
    moments: Moments, target_mean: float, gamma_decay: float = 0.0, component: Component | None = None
) -> float:
    """Where a learned scale comes to rest: the root of kappa / gamma - abar(gamma) = decay (theorem cross-entropy).

    Parameters
    ----------
    moments : Moments
        Of inputs and one target from 0 to 1.
    target_mean, component
        As for `logistic_fit`.
    gamma_decay : float
        Weight decay on gamma, at least 0. Without it this is the length of the free fit.

    Returns
    -------
    float
        The positive one of the two roots; infinite if no finite scale is at rest, because the inputs separate
        the classes, or would if they were elliptical.

    Raises
    ------
    ValueError
        As for `logistic_fit`, and if `gamma_decay` is negative.

    Examples
    --------
    >>> moments = Moments([0.0], [[1.0]], [0.3], 0.25)
    >>> gamma = logistic_gamma(moments, target_mean=0.5, gamma_decay=0.05)
    >>> round(gamma, 4), round(logistic_fit(moments, gamma, target_mean=0.5).rate, 4)
    (1.2407, 0.05)
    """
    kappa = _explained_std(moments, target_mean)
    decay = float(nonnegative("gamma_decay", number("gamma_decay", gamma_decay)))
    mean, law = number("target_mean", target_mean), _law(component)

    def excess(gamma: float) -> float:
        """What loss and decay ask of the covariance, less kappa; it grows with gamma."""
        return gamma * (_resting(gamma, mean, law)[2] + decay) - kappa

    low = kappa / (0.25 + decay) * (1 - 1e-12)  # no curvature is above 1/4, but for rounding
    high = 2 * low
    while excess(high) < 0:
        low, high = high, 2 * high
        if high > 1e8:
            return np.inf
    return float(brentq(excess, low, high, xtol=1e-14 * low, rtol=4 * np.finfo(float).eps))


def _explained_std(moments: Moments, target_mean: float) -> float:
    """kappa, after checking that the target can be a class or its probability."""
    if given_moments(moments).cross.ndim != 1:
        raise ValueError(
            f"moments has cross of shape {moments.cross.shape}; a logistic unit takes one target, shape (d,)"
        )
    mean = number("target_mean", target_mean)
    if not 0 < mean < 1:
        raise ValueError(f"target_mean = {mean:g} is no share of a class; it must be between 0 and 1")
    if moments.target_var > mean * (1 - mean) * (1 + 1e-9):
        raise ValueError(
            f"moments has target_var = {moments.target_var:g}; a target from 0 to 1 with target_mean = {mean:g} has at "
            f"most {mean * (1 - mean):g}"
        )
    return float(np.sqrt(positive_explained(moments)))


def _law(component: Component | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if component is None:
        return None
    if not isinstance(component, (tuple, list)) or len(component) != 2:
        raise ValueError(f"component = {component!r} is no law; it must be a pair of nodes and weights")
    nodes, weights = (finite_array(f"component[{i}]", part, ndim=1) for i, part in enumerate(component))
    if nodes.shape != weights.shape or nonnegative("component[1]", weights).sum() == 0:
        raise ValueError(f"component has {nodes.size} nodes and {weights.size} weights; it must have a weight a node")
    found = [weights.sum(), weights @ nodes, weights @ nodes**2]
    if not np.allclose(found, [1, 0, 1], rtol=0, atol=1e-6):
        total, mean, square = found
        raise ValueError(
            f"component has weights that add up to {total:.6g}, mean {mean:.6g} and mean square {square:.6g}; "
            "a standardized law has 1, 0 and 1"
        )
    return nodes, weights


def _resting(
    gamma: float, target_mean: float, law: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> tuple[float, float, float]:
    """The best shift for outputs of deviation gamma, the loss there less that of the covariance, and the curvature."""

    def expectations(beta: float) -> tuple[float, float, float]:
        return _over_normal(beta, gamma) if law is None else _over_nodes(beta, gamma, *law)

    reach = 1 + gamma
    while not expectations(-reach)[1] < target_mean < expectations(reach)[1]:
        reach *= 2
    beta = float(
        brentq(
            lambda beta: expectations(beta)[1] - target_mean,
            -reach,
            reach,
            xtol=1e-15 * reach,
            rtol=4 * np.finfo(float).eps,
        )
    )
    loss, _, curvature = expectations(beta)
    return beta, loss - beta * target_mean, curvature


def _over_nodes(
    beta: float, gamma: float, nodes: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Means of log(1 + e^y), of its slope, and of slope times node over gamma, for y = beta + gamma node."""
    y = beta + gamma * nodes
    probability = expit(y)
    return (
        float(weights @ np.logaddexp(0, y)),
        float(weights @ probability),
        float(weights @ (probability * nodes)) / gamma,
    )


def _over_normal(beta: float, gamma: float) -> tuple[float, float, float]:
    """The same for a Gaussian component, where the last is the mean of the second derivative, to rounding.

    The trapezoidal rule errs by exp(-2 pi D / h), D the distance of the integrand's poles from the real line: pi/gamma
    for a function of the component, pi for one of a logistic variable L, since log(1 + e^y) is the mean of max(y - L, 0).
    """
    if gamma < 64:
        step = min(0.25, 0.4 / gamma)
        z = step * np.arange(-np.ceil(12 / step), np.ceil(12 / step) + 1)
        weights = step * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        y = beta + gamma * z
        found = np.logaddexp(0, y), expit(y), expit(y) * expit(-y)
    else:
        L = 0.4 * np.arange(-150, 151)
        weights = 0.4 * expit(L) * expit(-L)
        z = (beta - L) / gamma
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        found = (beta - L) * ndtr(z) + gamma * density, ndtr(z), density / gamma
    loss, mean, curvature = (float(weights @ values) for values in found)
    return loss, mean, curvature
