"""One trial: call a function with one faulty argument, and say whether what came is right."""

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

ERRORS = (ValueError, TypeError, OSError, ImportError)  # that a caller may get; which, the docstring says
SHOWN = re.compile(
    r"\d|'|=|\(|dtype|twice|column|whatever the factor|shape|empty|None|nan|inf|\bno\b|is an? |holds|without|lacks|never"
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a call gave: a result, flattened, or an error; and what it did that it should not."""

    leaves: tuple[Any, ...] = ()
    error: Exception | None = None
    warned: str = ""
    mutated: str = ""


class Broken(AssertionError):
    """The library did something with bad input that it must not do."""


def attempt(
    called: Callable[..., Any], given: Mapping[str, Any], changes: tuple[str, ...] = (), warns: bool = False
) -> Outcome:
    """Call and look; `changes` are arguments that are changed in place, as documented."""
    before = {name: snapshot(value) for name, value in given.items() if name not in changes}
    positional, named = _bound(called, given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found, error = tuple(leaves(called(*positional, **named))), None
        except Exception as raised:  # noqa: BLE001 - whatever comes is what is looked at
            found, error = (), raised
    caught = [one for one in caught if not (warns and one.category is UserWarning)]
    mutated = [name for name, old in before.items() if not alike(old, snapshot(given[name]))]
    return Outcome(
        found, error, f"{caught[0].category.__name__}: {caught[0].message}" if caught else "", ", ".join(mutated)
    )


def _bound(called: Callable[..., Any], given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments: ``*paths`` is given as a tuple."""
    positional: list[Any] = []
    named = dict(given)
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL and name in named:
            positional += list(named.pop(name))
        elif parameter.kind is parameter.POSITIONAL_ONLY and name in named:
            positional.append(named.pop(name))
    return positional, named


def check_refused(outcome: Outcome, argument: str, documentation: str, says: tuple[str, ...] = ()) -> None:
    """A named error: of a class that the docstring has, naming the argument and showing what it is."""
    error = outcome.error
    if error is None:
        raise Broken(f"gave {_short(outcome.leaves)}; it must refuse")
    if not isinstance(error, ERRORS):
        raise Broken(f"raised {type(error).__name__}: {_first_line(error)}; it must be a named error")
    named = [cls.__name__ for cls in type(error).__mro__ if cls.__name__ in documentation]
    if not named:
        raise Broken(f"raised {type(error).__name__}, which its docstring does not have: {_first_line(error)}")
    message = str(error)
    if not any(re.search(rf"(?<!\w){re.escape(word)}", message) for word in (argument, *says)):
        raise Broken(f"the message does not name {argument}: {_first_line(error)}")
    if not SHOWN.search(message):
        raise Broken(f"the message shows no value: {_first_line(error)}")


def check_quiet(outcome: Outcome) -> None:
    if outcome.warned:
        raise Broken(f"warned: {outcome.warned}")
    if outcome.mutated:
        raise Broken(f"changed its argument {outcome.mutated}")


def check_finite(outcome: Outcome) -> None:
    for leaf in outcome.leaves:
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc" and not np.isfinite(leaf).all():
            raise Broken(f"gave {_short(leaf)}, which is not finite and for which no reason is documented")


def check_same(outcome: Outcome, right: Outcome, rtol: float, powers: Any = 0, exponent: int = 0) -> None:
    """The same as `right`, times 2^(exponent power): one power, or one for each leaf, where None is not compared."""
    if (outcome.error is None) != (right.error is None):
        got, wanted = (_first_line(one.error) if one.error else _short(one.leaves) for one in (outcome, right))
        raise Broken(f"gave {got}; the same numbers in float64 give {wanted}")
    if len(outcome.leaves) != len(right.leaves):
        raise Broken(f"gave {len(outcome.leaves)} values, not {len(right.leaves)}")
    each = powers if isinstance(powers, tuple) else (powers,) * len(right.leaves)
    for found, wanted, power in zip(outcome.leaves, right.leaves, each, strict=True):
        if power is None:
            continue
        if not isinstance(wanted, np.ndarray):
            if isinstance(found, np.ndarray) or found != wanted:
                raise Broken(f"gave {found!r}, not {wanted!r}")
            continue
        if not isinstance(found, np.ndarray):
            raise Broken(f"gave {found!r}, not {_short(wanted)}")
        wanted = np.ldexp(wanted, int(exponent * power)) if exponent * power else wanted
        if np.isinf(wanted).any() and not np.isinf(found).any():
            continue  # the scaled result is no float; the function found more digits than the check
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=rtol, atol=rtol * size, equal_nan=True):
            raise Broken(f"gave {_short(found)}, not {_short(wanted)}")


def leaves(found: Any) -> Iterator[Any]:
    """Arrays of float64 and words in a result."""
    if isinstance(found, (np.ndarray, np.generic)):
        yield np.asarray(found).astype(np.float64) if np.asarray(found).dtype.kind in "fiub" else str(found)
    elif isinstance(found, torch.nn.parameter.UninitializedTensorMixin):
        yield "not built"
    elif isinstance(found, torch.Tensor):
        yield found.detach().double().numpy().copy()
    elif isinstance(found, (bool, int, float)):
        yield np.array(float(found)) if isinstance(found, float) or abs(found) < 1e308 else str(found)
    elif isinstance(found, nn.Module):
        yield from leaves(dict(found.state_dict()))
    elif isinstance(found, pd.DataFrame):
        for name in found:
            column = found[name].to_numpy()
            yield column.astype(np.float64) if column.dtype.kind in "fiub" else column.tolist()
    elif dataclasses.is_dataclass(found) and not isinstance(found, type):
        for field in dataclasses.fields(found):
            yield from leaves(getattr(found, field.name))
    elif isinstance(found, Mapping):
        for value in found.values():
            yield from leaves(value)
    elif isinstance(found, (tuple, list)) or inspect.isgenerator(found) or type(found).__name__ in ("islice", "map"):
        for value in found:
            yield from leaves(value)
    elif found is not None:
        yield str(found) if isinstance(found, (str, bytes)) else type(found).__name__


def snapshot(value: Any) -> Any:
    """What must not change, in a form that `alike` compares."""
    if isinstance(value, torch.nn.parameter.UninitializedTensorMixin):
        return None
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if isinstance(value, nn.Module):
        return [snapshot(dict(value.state_dict())), [module.training for module in value.modules()]]
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return value.copy()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [snapshot(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if type(value) is dict:
        return {key: snapshot(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return [snapshot(one) for one in value]
    return None


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and _equal(_numbers(one), _numbers(other))
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and _equal(one, other)
    if isinstance(one, (pd.DataFrame, pd.Series)):
        return one.equals(other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return (tensor if tensor.is_complex() else tensor.double()).numpy()


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def _short(found: Any) -> str:
    text = " ".join(repr(found).split())
    return text if len(text) < 160 else text[:157] + "…"


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:200]
