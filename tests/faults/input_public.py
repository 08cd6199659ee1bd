"""Every public function, constructor and method of bnlib that takes an argument, found by looking."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import bnlib

# methods that Python calls, or that take nothing but the object
OPERATORS = ("__call__",)


def public_modules() -> list[Any]:
    """Those of the front door."""
    homes = (importlib.import_module(f"bnlib.{name}") for name in bnlib.__all__ if name.islower() and _is_module(name))
    return list(homes)


def _is_module(name: str) -> bool:
    return inspect.ismodule(getattr(bnlib, name))


def public_callables() -> dict[str, Callable[..., Any]]:
    """Name, such as ``theory.rate`` or ``moments.Moments.from_data``, to what is called; each once, at its home."""
    found: dict[str, Callable[..., Any]] = {}
    known: set[int] = set()
    for module in sorted(public_modules(), key=lambda module: module.__name__ == "bnlib.theory"):
        names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        for name in names:
            value = getattr(module, name)
            if id(value) in known or not _is_ours(value, module):
                continue
            known.add(id(value))
            short = f"{module.__name__.removeprefix('bnlib.')}.{name}"
            found |= {full: called for full, called in _with_methods(short, value) if arguments(called)}
    return found


def _is_ours(value: Any, module: Any) -> bool:
    """Whether it lives in that module, or below it where the module is a package."""
    home = getattr(value, "__module__", None) or ""
    below = home == module.__name__ or home.startswith(f"{module.__name__}.")
    return below and (inspect.isfunction(value) or inspect.isclass(value))


def _with_methods(name: str, value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield name, value
    if inspect.isclass(value):
        for key, method in vars(value).items():
            if key.startswith("_") and key not in OPERATORS:
                continue
            if isinstance(method, classmethod):
                yield f"{name}.{key}", getattr(value, key)
            elif inspect.isfunction(method) and len(arguments(method)) > 1:
                yield f"{name}.{key}", method


def arguments(called: Callable[..., Any]) -> list[str]:
    """Names of what a caller gives."""
    try:
        return list(inspect.signature(called).parameters)
    except ValueError:  # a class whose constructor is C's
        return []
