"""One way to say what is wrong with an argument: its name, its value, what would be right."""

import importlib
import types
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray


def finite_array(name: str, value: ArrayLike, ndim: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return `value` as a float64 array after checking its dimensions and that it is finite.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        What the caller passed.
    ndim : int or tuple of int
        The numbers of dimensions that are right.

    Returns
    -------
    ndarray, dtype float64

    Raises
    ------
    ValueError
        If `value` has another number of dimensions, or holds NaN or infinity.

    Examples
    --------
    >>> finite_array("w", [1, 2], ndim=1)
    array([1., 2.])
    >>> finite_array("w", [1, float("nan")], ndim=1)
    Traceback (most recent call last):
    ValueError: w has 1 non-finite value(s), the first at index (1,); every value must be finite
    """
    array = np.asarray(value, dtype=np.float64)
    allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim)
    if array.ndim not in allowed:
        right = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} has shape {array.shape}; it must have {right} dimension(s)")
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} has {int(bad.sum())} non-finite value(s), the first at index {first}; every value must be finite"
        )
    return array


def covariance(name: str, value: ArrayLike, dimension: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a symmetric float64 matrix after checking shape and symmetry.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like, shape (d, d)
        What the caller passed.
    dimension : int, optional
        The right d, where the caller knows it.

    Returns
    -------
    ndarray, shape (d, d), dtype float64

    Raises
    ------
    ValueError
        If `value` is not square, not of the right size, not finite or not symmetric.

    Examples
    --------
    >>> covariance("cov", [[1.0, 0.5], [0.0, 1.0]])
    Traceback (most recent call last):
    ValueError: cov is not symmetric: entries differ from their mirror images by up to 0.5; pass (cov + cov.T) / 2 if that is what is meant
    """
    matrix = finite_array(name, value, ndim=2)
    d = matrix.shape[0] if dimension is None else dimension
    if matrix.shape != (d, d):
        raise ValueError(f"{name} has shape {matrix.shape}; it must be ({d}, {d})")
    gap = np.abs(matrix - matrix.T).max(initial=0.0)
    if gap > 1e-10 * np.abs(matrix).max(initial=0.0):
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror images by up to {gap:.3g}; "
            f"pass ({name} + {name}.T) / 2 if that is what is meant"
        )
    return (matrix + matrix.T) / 2


def nonnegative(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return `value` as a float64 array (0-d for a scalar) after checking that none is negative.

    Raises
    ------
    ValueError
        If a value is negative or not finite.

    Examples
    --------
    >>> nonnegative("noise_std", -0.5)
    Traceback (most recent call last):
    ValueError: noise_std = -0.5 is negative; it must be at least 0
    """
    array = finite_array(name, value, ndim=(0, 1, 2))
    if array.size and array.min() < 0:
        raise ValueError(f"{name} = {array.min():g} is negative; it must be at least 0")
    return array


def positive(name: str, value: float, whole: bool = False) -> float:
    """Return `value` after checking that it is a finite number above 0, and whole if need be.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> positive("batches_at_most", 0, whole=True)
    Traceback (most recent call last):
    ValueError: batches_at_most = 0 is not right; it must be a whole number above 0
    """
    right = isinstance(value, (int, float, np.integer, np.floating)) and np.isfinite(value) and value > 0
    if not right or (whole and value != int(value)):
        raise ValueError(f"{name} = {value!r} is not right; it must be a {'whole ' * whole}number above 0")
    return value


def nonzero(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return `value` as a float64 array (0-d for a scalar) after checking that none is zero.

    Raises
    ------
    ValueError
        If a value is zero or not finite.

    Examples
    --------
    >>> nonzero("gamma", 0)
    Traceback (most recent call last):
    ValueError: gamma = 0 switches the unit off; it must be nonzero
    """
    array = finite_array(name, value, ndim=(0, 1))
    if (array == 0).any():
        raise ValueError(f"{name} = 0 switches the unit off; it must be nonzero")
    return array


def choice(name: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` after checking that it is one of `allowed`.

    Raises
    ------
    ValueError
        If it is not; the message lists what is.

    Examples
    --------
    >>> choice("normalization", "bach", ("batch", "none"))
    Traceback (most recent call last):
    ValueError: normalization = 'bach' is unknown; it must be one of 'batch', 'none'
    """
    if value not in allowed:
        listed = ", ".join(repr(option) for option in allowed)
        raise ValueError(f"{name} = {value!r} is unknown; it must be one of {listed}")
    return value


def extra(module: str, name: str) -> types.ModuleType:
    """Import a module that is not a hard dependency, where it is first needed.

    Parameters
    ----------
    module : str
    name : str
        The extra that brings it.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to get it.

    Examples
    --------
    >>> extra("no_such_module", "plot")
    Traceback (most recent call last):
    ImportError: no_such_module is not installed; it comes with the extra 'plot': pip install '.[plot]' in a clone
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = module.split(".")[0]
        raise ImportError(
            f"{missing} is not installed; it comes with the extra {name!r}: pip install '.[{name}]' in a clone"
        ) from error
