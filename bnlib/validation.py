"""One way to say what is wrong with an argument: its name, its value, what would be right."""

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# squares of larger numbers, or of nothing but smaller ones, are no float64 of full precision
LARGEST, SMALLEST = 1e151, 1e-151
FLOATS = float(np.finfo(np.float64).max)


def real_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an array of real numbers, in its own dtype, without reading them.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        What the caller passed: numbers, or an array of them of NumPy, pandas or torch.

    Returns
    -------
    ndarray
        Of bool, integers or floats. Not a copy where none is needed.

    Raises
    ------
    ValueError
        If `value` is something else, such as words, complex numbers or rows of several lengths, or has masked entries.

    Examples
    --------
    >>> real_array("w", [1, 2.5])
    array([1. , 2.5])
    >>> real_array("w", 1j)
    Traceback (most recent call last):
    ValueError: w is of type complex and holds complex128; it must hold real numbers
    """
    given = f"{name} is of type {type(value).__name__}"
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ValueError(f"{name} has {int(np.ma.getmaskarray(value).sum())} masked value(s); fill or leave them out")
    found: Any = value
    if hasattr(found, "detach") and hasattr(found, "cpu"):  # a tensor, without importing torch
        found = found.detach().cpu()
    try:
        array = np.asarray(found.float() if "bfloat16" in str(getattr(found, "dtype", "")) else found)
        if array.dtype.kind == "O" and all(_is_real(entry) for entry in array.flat):
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{given}, which is no array of real numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{given} and holds {array.dtype}; it must hold real numbers")
    return array


def _is_real(value: object) -> bool:
    return isinstance(value, (numbers.Real, Decimal, np.bool_))


def finite_array(
    name: str, value: ArrayLike, ndim: int | tuple[int, ...], power: int = 1, squared: bool = False
) -> NDArray[np.float64]:
    """Return `value` as a float64 array after checking its dimensions and that it is finite.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        What the caller passed.
    ndim : int or tuple of int
        The numbers of dimensions that are right.
    power : int
        Of the data's unit in `value`: 2 for a variance, whose range is that of squares.
    squared : bool
        Whether digits are lost where squares are too small for float64.

    Returns
    -------
    ndarray, dtype float64

    Raises
    ------
    ValueError
        If `value` holds no real numbers or has another number of dimensions, or holds NaN or infinity; if its largest
        entry is above 1e151 in size (1e302 for the power 2), or `squared` and it is below 1e-151 (1e-302), but not 0.

    Examples
    --------
    >>> finite_array("w", [1, 2], ndim=1)
    array([1., 2.])
    >>> finite_array("w", [1, float("nan")], ndim=1)
    Traceback (most recent call last):
    ValueError: w has 1 non-finite value(s), the first at index (1,); every value must be finite
    """
    array = real_array(name, value)
    with np.errstate(over="ignore"):  # of a longer float: it is infinite then
        array = array.astype(np.float64, copy=False)
    allowed = np.atleast_1d(np.asarray(ndim, dtype=int)).tolist()
    if array.ndim not in allowed:
        right = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} has shape {array.shape}; it must have {right} dimension(s)")
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} has {int(bad.sum())} non-finite value(s), the first at index {first}; every value must be finite"
        )
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST**power or (squared and 0 < largest < SMALLEST**power):
        raise ValueError(
            f"{name} has {largest:.3g} as its largest value in size; its products leave the range of float64: "
            f"choose units in which it is from {SMALLEST**power:g} to {LARGEST**power:g}"
        )
    return array


def number(name: str, value: ArrayLike, power: int = 1) -> float:
    """Return `value` as a float after checking that it is one finite real number; `power` as for `finite_array`.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> number("momentum", [0.9, 0.5])
    Traceback (most recent call last):
    ValueError: momentum has shape (2,); it must have 0 dimension(s)
    """
    return float(finite_array(name, value, ndim=0, power=power))


@contextmanager
def within_floats(**arguments: Any) -> Iterator[None]:
    """Refuse numbers whose products leave the range of float64, instead of going on with infinity or NaN.

    Parameters
    ----------
    **arguments
        What enters, by name, for the message.

    Raises
    ------
    ValueError
        If a computation in the context overflows, divides by zero, or has no result.

    Examples
    --------
    >>> with within_floats(gamma=1e-200):
    ...     1 / np.float64(1e-200) ** 2
    Traceback (most recent call last):
    ValueError: gamma up to 1e-200 give numbers beyond the range of float64 (divide by zero encountered in scalar divide); choose other units
    """
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except FloatingPointError as error:
        sizes = [
            f"{name} up to {np.abs(value).max(initial=0.0):.3g}"
            for name, value in arguments.items()
            if value is not None
        ]
        raise ValueError(
            f"{', '.join(sizes)} give numbers beyond the range of float64 ({error}); choose other units"
        ) from error


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
        If `value` is not square, not of the right size, not finite or not symmetric, or out of range as for `finite_array`.

    Examples
    --------
    >>> covariance("cov", [[1.0, 0.5], [0.0, 1.0]])
    Traceback (most recent call last):
    ValueError: cov is not symmetric: entries differ from their mirror images by up to 0.5; pass (cov + cov.T) / 2 if that is what is meant
    """
    matrix = finite_array(name, value, ndim=2, power=2, squared=True)
    d = matrix.shape[0] if dimension is None else dimension
    if matrix.shape != (d, d):
        raise ValueError(f"{name} has shape {matrix.shape}; it must be ({d}, {d})")
    gap = np.abs(matrix - matrix.T).max(initial=0.0)
    if gap > 1e-10 * np.abs(matrix).max(initial=0.0):
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror images by up to {gap:.3g}; "
            f"pass ({name} + {name}.T) / 2 if that is what is meant"
        )
    return matrix / 2 + matrix.T / 2


def nonnegative(name: str, value: ArrayLike, power: int = 1) -> NDArray[np.float64]:
    """Return `value` as a float64 array (0-d for a scalar) after checking that none is negative.

    Parameters
    ----------
    name : str
    value : array_like
        Of at most two dimensions.
    power : int
        As for `finite_array`.

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
    array = finite_array(name, value, ndim=(0, 1, 2), power=power)
    if array.size and array.min() < 0:
        raise ValueError(f"{name} = {array.min():g} is negative; it must be at least 0")
    return array


def positive(name: str, value: float, whole: bool = False) -> Any:
    """Return `value` as a float after checking that it is a finite number above 0; as an int if it must be whole.

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
    right = isinstance(value, (int, float, np.integer, np.floating)) and 0 < value < np.inf
    right = right and not (isinstance(value, int) and value > FLOATS)
    if not right or (whole and value != int(value)):
        raise ValueError(f"{name} = {value!r} is not right; it must be a {'whole ' * whole}number above 0")
    return int(value) if whole else float(value)


def level(name: str, value: ArrayLike) -> float:
    """Return `value` as a float after checking that it is one number, at least 0, that float32 holds.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> level("weight_decay", 1e40)
    Traceback (most recent call last):
    ValueError: weight_decay = 1e+40 is beyond float32; it must be smaller
    """
    found = float(nonnegative(name, number(name, value)))
    if found > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} = {found:g} is beyond float32; it must be smaller")
    return found


def whole(name: str, value: Any, least: int | None = 0) -> int:
    """Return `value` as an int after checking that it is a whole number, and not below `least`, if that is given.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> whole("seed", -1)
    Traceback (most recent call last):
    ValueError: seed = -1 is not right; it must be a whole number, at least 0
    """
    right = isinstance(value, (int, np.integer)) or (isinstance(value, (float, np.floating)) and value % 1 == 0)
    if not right or (least is not None and value < least):
        told = "" if least is None else f", at least {least}"
        raise ValueError(f"{name} = {value!r} is not right; it must be a whole number{told}")
    return int(value)


def wholes(name: str, values: Any, least: int | None = 1) -> tuple[int, ...]:
    """Return `values` as a tuple of int after checking that it holds nothing but whole numbers, none below `least`.

    Raises
    ------
    ValueError
        If it does not.

    Examples
    --------
    >>> wholes("widths", (784, 0.5))
    Traceback (most recent call last):
    ValueError: widths[1] = 0.5 is not right; it must be a whole number, at least 1
    """
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} = {values!r} is not right; it must be a sequence of whole numbers")
    return tuple(whole(f"{name}[{place}]", value, least) for place, value in enumerate(values))


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
