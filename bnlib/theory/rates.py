"""The rate of a unit from its weights: off rest, at rest under weight decay, and in two units."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.theory.arguments import one_shape, paired, scale
from bnlib.validation import covariance, finite_array, nonnegative, nonzero, number, within_floats


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
    w = finite_array("w", w, ndim=(1, 2), squared=True)
    gamma = scale(gamma, w.shape[:-1])
    cov = covariance("cov", cov, dimension=w.shape[-1])
    added = nonnegative("eps", number("eps", eps, power=2), power=2)
    with within_floats(w=w, cov=cov):
        variance = ((w @ cov) * w).sum(axis=-1) + added
        rounding = len(cov) * np.finfo(float).eps * ((np.abs(w) @ np.abs(cov)) * np.abs(w)).sum(axis=-1)
    if (variance <= rounding).any():
        raise ValueError(
            f"w'Sigma w + eps = {variance[variance <= rounding].min():g} is not above rounding; "
            "the pre-activation must vary over the data, or eps be positive"
        )
    with within_floats(w=w, gamma=gamma, cov=cov):
        return np.divide(gamma, np.sqrt(variance))[..., np.newaxis] * w


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
    v, grad_v = paired(v, grad_v)
    gamma = scale(gamma, v.shape[:-1])
    with within_floats(v=v, grad_v=grad_v, gamma=gamma):
        return -(v * grad_v).sum(axis=-1) / gamma**2


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
    v, grad_v = paired(v, grad_v)
    norm_squared = np.square(v).sum(axis=-1)
    if (norm_squared == 0).any():
        raise ValueError("v = 0 has no direction to be shrunk along; its rows must be nonzero")
    with within_floats(v=v, grad_v=grad_v):
        return -(v * grad_v).sum(axis=-1) / norm_squared


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
        If `eps` is not positive, `gamma` is 0, another argument is negative, or shapes do not go together.

    Examples
    --------
    >>> float(weight_decay_rate(1e-4, weight_norm=1.0, batch_var=0.99, gamma=1.0, eps=0.01))
    0.01
    """
    eps = number("eps", eps, power=2)
    if not eps > 0:
        raise ValueError(f"eps = {eps} leaves no stationary point under weight decay; it must be positive")
    q, gamma = nonnegative("batch_var", batch_var, power=2), nonzero("gamma", gamma)
    decay, length = nonnegative("weight_decay", weight_decay), nonnegative("weight_norm", weight_norm)
    one_shape(weight_decay=decay, weight_norm=length, batch_var=q, gamma=gamma)
    with within_floats(weight_decay=decay, weight_norm=length, batch_var=q, gamma=gamma, eps=eps):
        return decay * (length / gamma) ** 2 * (q / eps + 1)
