"""What n rows ask of the scale of a least-squares unit, and which gamma, or which decay on gamma, answers it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.moments import Moments
from bnlib.theory.arguments import given_moments, rows_and_inputs
from bnlib.validation import finite_array, nonnegative, positive, within_floats


def recommended_rate(r_squared: ArrayLike, rows: int, inputs: int) -> NDArray[np.float64]:
    """The rate that n rows ask for, estimated from the rows themselves (theorem half-tuned).

    Parameters
    ----------
    r_squared : float or array_like, shape (k,)
        R^2 of the least-squares fit on the rows it was fitted to, not adjusted: explained over all variance.
    rows : int
        n, at least ``inputs + 3``.
    inputs : int
        d: the rank of the inputs' covariance, without the intercept.

    Returns
    -------
    float or ndarray, shape (k,)
        lambda = d (1 - R_adj^2) / ((n - d - 2) R_adj^2), where R_adj^2 = 1 - (1 - R^2)(n - 1)/(n - d - 1). Infinite
        where R_adj^2 <= 0: predict the mean.

    Raises
    ------
    ValueError
        If `r_squared` is not between 0 and 1, or there are too few rows: with fewer than d + 3 the mean error of least
        squares is infinite.

    Notes
    -----
    1/(1 + lambda) is the factor that shrinks the least-squares fit of Gaussian rows best, R_adj^2 standing in for the
    population's. For one unit, least squares and new rows of the same kind. One scale cannot turn the fit: where inputs
    are strongly correlated, ridge does more.

    Examples
    --------
    >>> round(float(recommended_rate(0.7, rows=34, inputs=11)), 6)
    0.428571
    >>> float(recommended_rate(0.2, rows=34, inputs=11))
    inf
    """
    n, d = rows_and_inputs(rows, inputs)
    r_squared = _share(r_squared)
    signal = (n - 1) * r_squared - d  # noise alone explains d/(n - 1) of the rows
    needed = d * (n - 1) / (n - d - 2) * (1 - r_squared)
    return np.divide(needed, signal, out=np.full_like(needed, np.inf), where=signal > 0)[()]


def recommended_gamma(moments: Moments, rows: int) -> NDArray[np.float64]:
    """The gamma at which batch normalization makes the whole correction that n rows ask for (theorem half-tuned).

    Parameters
    ----------
    moments : Moments
        Of the n rows themselves.
    rows : int
        n, at least the rank of ``moments.cov`` plus 3.

    Returns
    -------
    float or ndarray, shape (k,)
        kappa/(1 + lambda): the length of the least-squares fit, shrunk by what `recommended_rate` says. 0 where that
        is infinite. Hold gamma there; the minimizer over the raw weights then has the rate lambda.

    Raises
    ------
    ValueError
        If there are too few rows.

    Examples
    --------
    >>> moments = Moments(np.zeros(11), np.eye(11), np.append(np.sqrt(0.7), np.zeros(10)), 1.0)
    >>> round(float(recommended_gamma(moments, rows=34)), 6)
    0.585662
    """
    kappa = np.sqrt(_fitted_share(moments) * moments.target_var)
    return kappa / (1 + recommended_gamma_decay(moments, rows))


def recommended_gamma_decay(moments: Moments, rows: int) -> NDArray[np.float64]:
    """The weight decay on a learned gamma that makes the correction that n rows ask for (theorem half-tuned).

    Parameters
    ----------
    moments : Moments
        Of the n rows themselves.
    rows : int
        n, at least the rank of ``moments.cov`` plus 3.

    Returns
    -------
    float or ndarray, shape (k,)
        lambda of `recommended_rate`: the a of (a/2) gamma^2 beside the mean half squared error. Infinite where the
        rows say no more than their mean.

    Raises
    ------
    ValueError
        If there are too few rows.

    Notes
    -----
    Decay is a rate at rest, on full batches, under SGD (with or without momentum) and Adam with its coupled
    ``weight_decay`` (theorem stationarity). AdamW's is none: there put (a/2) gamma^2 into the loss.

    Examples
    --------
    >>> moments = Moments(np.zeros(11), np.eye(11), np.append(np.sqrt(0.7), np.zeros(10)), 1.0)
    >>> round(float(recommended_gamma_decay(moments, rows=34)), 6)
    0.428571
    """
    return recommended_rate(_fitted_share(moments), rows, int((moments.spectrum[0] > 0).sum()))


def recommended_batch_size(rate: ArrayLike, rows: int | None = None, worth: float = 0.75) -> NDArray[np.float64]:
    """The batch size at which a learned gamma keeps a rate, with the direction held (theorem half-tuned).

    Parameters
    ----------
    rate : float or array_like, shape (k,)
        lambda >= 0.
    rows : int, optional
        n, where batches are drawn from n rows without replacement and `rate` is that on those rows; without it
        batches are fresh draws.
    worth : float
        c_B of `minibatch_worth`: batches of M are worth the decay c_B/M. Default: Gaussian rows.

    Returns
    -------
    float or ndarray, shape (k,)
        M = n/(1 + (n - 1) rate/worth), or worth/rate: not rounded, and below 2 where no batch does it.

    Raises
    ------
    ValueError
        If `rate` is negative or infinite, or `worth` is not positive: then batches do not shrink.

    Notes
    -----
    Of leading order in 1/M: for Gaussian rows the exact law is a_n/a_M - 1 = rate (theorem minibatch), 8.4 for 7.4
    below. Both hold with the direction of w held where the full batch put it. Where w is trained on such batches too
    it leaves that place by O(1/M), and that can cost all that gamma gains: prefer `recommended_gamma_decay`.

    Examples
    --------
    >>> round(float(recommended_batch_size(0.1, rows=400)), 2)
    7.38
    """
    worth = positive("worth", worth)
    rate = nonnegative("rate", finite_array("rate", rate, ndim=(0, 1)))
    with within_floats(rate=rate, worth=worth):
        per_worth = rate / worth
    if rows is None:
        return np.divide(1.0, per_worth, out=np.full_like(per_worth, np.inf), where=per_worth > 0)[()]
    n = positive("rows", rows, whole=True)
    return n / (1 + (n - 1) * per_worth)


def leave_one_out_scale(X: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    """The factor that shrinks the least-squares fit best when each row is predicted from the others (theorem half-tuned).

    Parameters
    ----------
    X : array_like, shape (n, d)
        Inputs. Collinear inputs are normal.
    t : array_like, shape (n,) or (n, k)
        Targets.

    Returns
    -------
    float or ndarray, shape (k,)
        a = 1/(1 + lambda), not below 0: of all predictions mean + a (fit - mean), each made without the row that it
        is for, those with this a have the least squared error. Exact, for rows of any distribution, in one
        decomposition.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, a row alone decides a weight (it has leverage 1), so that the others
        say nothing of it, or every left-out prediction is the mean of the others, so that all factors are equally good.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 10))
    >>> t = X[:, 0] + rng.standard_normal(40)
    >>> a = leave_one_out_scale(X, t)
    >>> recommended = 1 / (1 + recommended_gamma_decay(Moments.from_data(X, t), 40))
    >>> round(float(a), 3), round(float(recommended), 3)
    (0.781, 0.797)
    """
    X, t = finite_array("X", X, ndim=2, squared=True), finite_array("t", t, ndim=(1, 2), squared=True)
    n = len(X)
    if len(t) != n or n < 3:
        raise ValueError(f"t has shape {t.shape} and X {X.shape}; both must have the same number of rows, at least 3")
    inputs, targets = X - X.mean(axis=0), (t - t.mean(axis=0)).reshape(n, -1)
    U, s, _ = np.linalg.svd(inputs, full_matrices=False)
    U = U[:, s > max(X.shape) * np.finfo(float).eps * s.max(initial=0.0)]
    left = 1 - 1 / n - np.square(U).sum(axis=1)
    if left.min() < 1e-10:
        raise ValueError(
            f"X has leverage 1 in row {left.argmin()}: a weight rests on that row alone, and the others say nothing of it; "
            "leave out the input or the row"
        )
    residuals = targets - U @ (U.T @ targets)
    # both relative to the mean of the other rows: the row's target, and the others' prediction of it
    target = targets * (n / (n - 1))
    predicted = target - residuals / left[:, None]
    squared = np.square(predicted).sum(axis=0)
    eps = np.finfo(float).eps
    constant = np.abs(targets).max(axis=0) <= 4 * eps * np.abs(t).max(axis=0)
    if (constant | (squared <= (n * eps) ** 2 * np.square(target).sum(axis=0))).any():
        raise ValueError("t is predicted by the mean of the other rows, whatever the factor; it must vary with X")
    factor = np.maximum(0.0, (target * predicted).sum(axis=0) / squared)
    return factor.reshape(t.shape[1:])[()]


def _fitted_share(moments: Moments) -> NDArray[np.float64]:
    """R^2 of the rows, without what rounding adds beyond 1."""
    return np.minimum(1.0, given_moments(moments).r_squared)


def _share(r_squared: ArrayLike) -> NDArray[np.float64]:
    r_squared = nonnegative("r_squared", finite_array("r_squared", r_squared, ndim=(0, 1)))
    if r_squared.size and r_squared.max() > 1:
        raise ValueError(f"r_squared = {r_squared.max():g} explains more than all; it must be at most 1")
    return r_squared
