"""Checks of arguments that are no numbers: functions, classes, sequences, tables, paths and names."""

import importlib
import os
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any


def function(name: str, value: Any) -> Any:
    """Return `value` after checking that it can be called.

    Raises
    ------
    ValueError
        If it cannot.

    Examples
    --------
    >>> function("loss_fn", "mse")
    Traceback (most recent call last):
    ValueError: loss_fn = 'mse' is not right; it must be a function
    """
    if not callable(value):
        raise ValueError(f"{name} = {value!r} is not right; it must be a function")
    return value


def items(name: str, values: Any, kind: type | tuple[type, ...], what: str) -> list[Any]:
    """Return `values` as a list after checking that it holds objects of one class, and at least one.

    Raises
    ------
    ValueError
        If it does not.

    Examples
    --------
    >>> items("seeds", ["one"], int, "numbers")
    Traceback (most recent call last):
    ValueError: seeds[0] is a str; it must hold numbers
    """
    one = kind is not object and isinstance(values, kind)  # a network and a tensor give their parts, one after another
    if one or isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} is a {type(values).__name__}; it must be a sequence of {what}")
    found = list(values)
    if not found:
        raise ValueError(f"{name} is empty; it must hold {what}, and at least one")
    for place, value in enumerate(found):
        if not isinstance(value, kind):
            raise ValueError(f"{name}[{place}] is a {type(value).__name__}; it must hold {what}")
    return found


def of_class(name: str, value: Any, kind: type) -> Any:
    """Return `value` after checking its class.

    Raises
    ------
    ValueError
        If it is of another.

    Examples
    --------
    >>> of_class("schedule", 5, int)
    5
    >>> of_class("schedule", "short", int)
    Traceback (most recent call last):
    ValueError: schedule is a str; it must be of class int
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be of class {kind.__name__}")
    return value


def table(name: str, value: Any, columns: Collection[Any]) -> Any:
    """Return `value` after checking that it is a pandas.DataFrame with rows and these columns.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> table("rows", [1, 2], ("seed",))
    Traceback (most recent call last):
    ValueError: rows is a list; it must be a pandas.DataFrame
    """
    if not hasattr(value, "groupby") or not hasattr(value, "columns"):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be a pandas.DataFrame")
    missing = [column for column in columns if not isinstance(column, str) or column not in value.columns]
    if missing:
        raise ValueError(f"{name} has no column {missing[0]!r}; it has {', '.join(map(str, value.columns)) or 'none'}")
    if not len(value):
        raise ValueError(f"{name} has no rows; it must have at least one")
    return value


def path_of(name: str, value: Any) -> Path:
    """Return `value` as a path after checking that it can be one.

    Raises
    ------
    ValueError
        If it cannot.

    Examples
    --------
    >>> path_of("root", 3)
    Traceback (most recent call last):
    ValueError: root = 3 is not right; it must be a path
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise ValueError(f"{name} = {value!r} is not right; it must be a path")
    return Path(value)


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
    if not isinstance(value, str) or value not in allowed:
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
