"""First and second moments of data: all that the closed forms ask of a data set."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.validation import LARGEST, SMALLEST, covariance, finite_array, nonnegative, number, positive, real_array


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of inputs x and targets t, with the 1/n normalization that batch normalization uses.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        mu = E x.
    cov : ndarray, shape (d, d)
        Sigma = Cov x, symmetric and positive semidefinite. Singular is normal input; an eigenvalue not
        above d * machine epsilon of the largest counts as 0, so inputs of very different size want one unit.
    cross : ndarray, shape (d,) or (d, k)
        c = Cov(x, t), a column for each of k targets.
    target_var : float or ndarray, shape (k,)
        sigma_t^2 = Var t.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite or out of range (`bnlib.validation.finite_array`), or `cov` is not
        symmetric. What takes an eigendecomposition to see (`cov` is indefinite, no random variables can have these
        moments) is said where one is first needed.

    Notes
    -----
    All arrays are float64 and read-only. Units: those of the data.

    Examples
    --------
    >>> moments = Moments(mean=[0.0, 0.0], cov=[[2.0, 0.0], [0.0, 1.0]], cross=[1.0, 0.5], target_var=1.0)
    >>> float(moments.r_squared)
    0.75
    """

    mean: NDArray[np.float64]
    cov: NDArray[np.float64]
    cross: NDArray[np.float64]
    target_var: NDArray[np.float64]

    def __post_init__(self) -> None:
        mean = finite_array("mean", self.mean, ndim=1, power=2)
        d = mean.shape[0]
        cov = covariance("cov", self.cov, dimension=d)
        cross = finite_array("cross", self.cross, ndim=(1, 2), squared=True)
        if cross.shape[0] != d:
            raise ValueError(f"cross has shape {cross.shape}; its first dimension must be {d}")
        target_var = nonnegative("target_var", self.target_var, power=2)
        if target_var.shape != cross.shape[1:]:
            raise ValueError(
                f"target_var has shape {target_var.shape}; with cross of shape {cross.shape} "
                f"it must have shape {cross.shape[1:]}"
            )
        for name, array in {"mean": mean, "cov": cov, "cross": cross, "target_var": target_var}.items():
            array = array.copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_data(cls, X: ArrayLike, t: ArrayLike, chunk_rows: int = 4096) -> "Moments":
        """Compute the moments in one pass over chunks of rows.

        Parameters
        ----------
        X : ndarray, shape (n, d)
            Inputs, any real dtype; only a chunk at a time is converted to float64.
        t : ndarray, shape (n,) or (n, k)
            Targets.
        chunk_rows : int
            Rows a chunk: the memory used is about ``3 * chunk_rows * d`` float64 numbers.

        Returns
        -------
        Moments

        Raises
        ------
        ValueError
            If `X` and `t` differ in length, are empty, or hold NaN or infinity, or no real numbers; if `chunk_rows` is no
            whole number above 0, or numbers are out of range as for `bnlib.validation.finite_array`.

        Notes
        -----
        Rows are taken relative to the first one, so that large means lose no digits and a constant input
        has variance 0, not a rounding of it. Chunks are centred on their own mean and merged by the
        pairwise update of Chan, Golub and LeVeque (1983), so that rows sorted by class lose none either.

        Examples
        --------
        >>> moments = Moments.from_data([[0.0], [2.0]], [1.0, 3.0])
        >>> moments.mean, moments.cov, moments.cross
        (array([1.]), array([[1.]]), array([1.]))
        """
        X, t = real_array("X", X), real_array("t", t)
        chunk_rows = positive("chunk_rows", chunk_rows, whole=True)
        if X.ndim != 2:
            raise ValueError(f"X has shape {X.shape}; it must be (n, d)")
        if t.ndim not in (1, 2) or len(t) != len(X):
            raise ValueError(
                f"t has shape {t.shape}; with X of shape {X.shape} it must be ({len(X)},) or ({len(X)}, k)"
            )
        if len(X) == 0:
            raise ValueError("X has no rows; moments need at least one")
        d, targets = X.shape[1], t.reshape(len(t), -1)
        seen, largest = 0, np.zeros(2)
        origin, target_origin = X[0].astype(np.float64), targets[0].astype(np.float64)
        mean, target_mean = np.zeros(d), np.zeros(targets.shape[1])  # relative to the origins
        cov, cross, target_var = np.zeros((d, d)), np.zeros((d, targets.shape[1])), np.zeros(targets.shape[1])
        for start in range(0, len(X), chunk_rows):
            x = X[start : start + chunk_rows].astype(np.float64)  # (m, d)
            y = targets[start : start + chunk_rows].astype(np.float64)  # (m, k)
            largest = np.maximum(largest, [np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0)])  # keeps NaN
            if not (largest <= LARGEST).all():
                _refuse(X, t)
            m = len(x)
            x -= origin
            y -= target_origin
            chunk_mean, chunk_target_mean = x.mean(axis=0), y.mean(axis=0)
            x -= chunk_mean
            y -= chunk_target_mean
            step, target_step = chunk_mean - mean, chunk_target_mean - target_mean
            weight = seen * m / (seen + m)
            cov += x.T @ x
            cross += x.T @ y
            target_var += np.einsum("mk,mk->k", y, y)
            if seen:
                cov += weight * np.outer(step, step)
                cross += weight * np.outer(step, target_step)
                target_var += weight * target_step**2
            mean += step * (m / (seen + m))
            target_mean += target_step * (m / (seen + m))
            seen += m
        if ((largest > 0) & (largest < SMALLEST)).any():
            _refuse(X, t)
        if t.ndim == 1:
            cross, target_var = cross[:, 0], target_var[0]
        return cls(mean=origin + mean, cov=cov / seen, cross=cross / seen, target_var=target_var / seen)

    def with_noise(self, noise_std: float | None = None, noise_cov: ArrayLike | None = None) -> "Moments":
        """Moments of x + n, where n is independent of (x, t), of mean 0 and covariance N (theorem noise).

        Parameters
        ----------
        noise_std : float, optional
            N = noise_std^2 I. In units of x.
        noise_cov : ndarray, shape (d, d), optional
            N itself, symmetric and positive semidefinite.

        Returns
        -------
        Moments
            With Sigma + N in place of Sigma; everything else unchanged.

        Raises
        ------
        ValueError
            Unless exactly one of the two is given; if `noise_std` is negative, or `noise_cov`
            is not a covariance matrix of the right size.

        Examples
        --------
        >>> Moments([0.0], [[1.0]], [0.5], 1.0).with_noise(noise_std=2.0).cov
        array([[5.]])
        """
        if (noise_std is None) == (noise_cov is None):
            raise ValueError(f"noise_std = {noise_std} and noise_cov = {noise_cov}; give exactly one of the two")
        d = len(self.mean)
        if noise_cov is not None:
            noise = covariance("noise_cov", noise_cov, dimension=d)
            semidefinite_spectrum("noise_cov", noise)
        if noise_std is not None:
            noise = nonnegative("noise_std", number("noise_std", noise_std)) ** 2 * np.eye(d)
        return Moments(self.mean, self.cov + noise, self.cross, self.target_var)

    @cached_property
    def spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The eigenvalues s_i as an array (d,), ascending, numerically zero ones set to 0, and the eigenvectors
        u_i as columns of an array (d, d).
        """
        s, U = semidefinite_spectrum("cov", self.cov)
        null = U[:, s == 0].T @ self.cross
        scale = np.sqrt(s.max(initial=0.0)) * np.sqrt(self.target_var)
        if (np.abs(null) > np.sqrt(np.finfo(float).eps) * scale).any():
            raise ValueError(
                f"cross has a part of size {np.abs(null).max():.3g} along directions in which cov is zero; "
                "an input that does not vary cannot covary with the target"
            )
        return s, U

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """What direction i explains of the target, R_i^2 = (u_i'c)^2 / (s_i sigma_t^2), as an array (d,) or (d, k)."""
        s, U = self.spectrum
        along = U.T @ self.cross
        s = s.reshape(-1, *[1] * (along.ndim - 1))
        # one factor after the other, since squares of large units are no float64
        slopes = np.divide(along, s, out=np.zeros_like(along), where=s > 0)
        return np.divide(slopes * along, self.target_var, out=np.zeros_like(along), where=self.target_var > 0)

    @property
    def r_squared(self) -> NDArray[np.float64]:
        """The share of the target's variance that a linear fit explains, R^2 = c'Sigma^+ c / sigma_t^2."""
        r_squared = self.shares.sum(axis=0)
        if (r_squared > 1 + 1e-6).any():
            raise ValueError(
                f"cross, cov and target_var give R^2 = {r_squared.max():.6g}; no data explain more than all, R^2 must be at most 1"
            )
        return r_squared


def _refuse(X: NDArray[Any], t: NDArray[Any]) -> None:
    """Say which value is not finite or out of range, at its place among all rows."""
    finite_array("X", X, ndim=2, squared=True)
    finite_array("t", t, ndim=(1, 2), squared=True)


def semidefinite_spectrum(name: str, matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigendecomposition of a covariance matrix, with its numerical null space made exact.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    matrix : ndarray, shape (d, d)
        A symmetric matrix.

    Returns
    -------
    s : ndarray, shape (d,)
        Eigenvalues, ascending; those not above ``d * machine epsilon * s_max`` are set to 0.
    U : ndarray, shape (d, d)
        Eigenvectors as columns.

    Raises
    ------
    ValueError
        If `matrix` is no symmetric matrix of finite numbers, or an eigenvalue is negative beyond rounding.

    Examples
    --------
    >>> s, U = semidefinite_spectrum("cov", np.diag([4.0, 0.0]))
    >>> s
    array([0., 4.])
    """
    s, U = np.linalg.eigh(covariance(name, matrix))
    largest = np.abs(s).max(initial=0.0)
    if s.size and s[0] < -1e-10 * largest:
        raise ValueError(f"{name} has the eigenvalue {s[0]:.3g}; a covariance matrix has none below 0")
    return np.where(s > len(s) * np.finfo(float).eps * largest, s, 0.0), U
