"""Faults by kind of argument: what is done to a good value, and what must come of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch

REFUSED, SAME, FINITE, SAME_OR_REFUSED = "refused", "same", "finite", "same or refused"
EXPONENT = 498  # 2^498 is 8e149


@dataclass(frozen=True)
class Fault:
    """A faulty value, what must come of it, and for `SAME` the plain value that must give the same."""

    name: str
    wanted: str
    value: Any
    plain: Any = None


class Kind:
    """How an argument can be wrong."""

    def __init__(self, optional: bool = False) -> None:
        self.optional = optional

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        yield from ()

    def nothing(self) -> Iterator[Fault]:
        yield Fault("None", FINITE if self.optional else REFUSED, None)


class Array(Kind):
    """Real numbers in an array. Along the axes in `bound` its length is that of others, so that another is refused.

    Where `bound` is None the number of dimensions is free, too; `more` says what comes of another number otherwise.
    """

    def __init__(
        self, bound: Sequence[int] | None = (0, 1, 2, 3), optional: bool = False, bad: Any = (), more: str = REFUSED
    ) -> None:
        super().__init__(optional)
        self.bound, self.bad, self.more = bound, bad, more

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        good = np.asarray(good, dtype=np.float64)
        yield from self.nothing()
        yield from not_numbers(good)
        yield from _not_finite(good, rng)
        yield from self._shapes(good)
        yield from _dtypes(good)
        yield from _layouts(good)
        yield from _values(good, rng)
        for value in self.bad:
            yield Fault(
                f"value {value!r}", REFUSED, np.where(np.arange(good.size).reshape(good.shape) == 0, value, good)
            )

    def _shapes(self, good: np.ndarray) -> Iterator[Fault]:
        for axis in range(good.ndim):
            short = good.take(range(good.shape[axis] - 1), axis=axis)
            wanted = REFUSED if self.bound is not None and axis in self.bound else FINITE
            yield Fault(f"shape {short.shape}", wanted, short)
            yield Fault(f"one along axis {axis}", wanted if good.shape[axis] > 1 else FINITE, good.take([0], axis=axis))
            yield Fault(f"empty along axis {axis}", wanted, good.take([], axis=axis))
        more = self.more if self.bound is not None and good.ndim else FINITE
        yield Fault("one dimension more", more, good[np.newaxis])
        yield Fault("five dimensions more", REFUSED, good.reshape((1,) * 5 + good.shape))
        if good.ndim:
            yield Fault("one number", more, float(good.flat[0]))
            yield Fault("an empty list", REFUSED if self.bound is not None else FINITE, [])


class Covariance(Array):
    """Of two dimensions, symmetric; where `definite` is checked an indefinite one is refused."""

    def __init__(self, definite: bool = False, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.definite = definite

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        for fault in super().faults(good, rng):
            # other numbers are seldom symmetric, or definite
            changed = fault.name in ("whole numbers", "bool", "one entry 1e150")
            yield Fault(fault.name, FINITE, fault.value) if changed else fault
        good, d = np.asarray(good, dtype=np.float64), len(good)
        skew = good.copy()
        skew[0, -1] += 0.5 * np.abs(good).max()
        yield Fault("not symmetric", REFUSED, skew)
        s, U = np.linalg.eigh(good)
        s = np.append(-s[-1], s[1:])
        indefinite = (U * s) @ U.T
        yield Fault("indefinite", REFUSED if self.definite else FINITE, (indefinite + indefinite.T) / 2)
        v = rng.standard_normal(d)
        yield Fault("singular", FINITE, np.outer(v, v))


class Number(Kind):
    """One real number; `bad` are out of its range, `whole` ones have no fraction."""

    def __init__(
        self, bad: Sequence[Any] = (), whole: bool = False, optional: bool = False, skip: tuple[str, ...] = ()
    ):
        super().__init__(optional)
        self.bad, self.whole, self.skip = bad, whole, skip

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        good = 1.0 if good is None else good
        yield from self.nothing()
        for name, value in {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}.items():
            yield Fault(name, REFUSED, value)
        words = {"a string": str(good), "a word": "one", "complex": complex(good, 0.5), "a dict": {}, "a function": len}
        words |= {"an object": object(), "an empty list": [], "two numbers": [good, good], "bytes": b"1"}
        for name, value in words.items():
            if name not in self.skip:
                yield Fault(name, REFUSED, value)
        for value in self.bad:
            yield Fault(f"value {value!r}", REFUSED, value)
        if self.whole:
            yield Fault("a fraction", REFUSED, good + 0.5)
            small = np.int8 if good < 2**7 else np.int16
            for kind in (small, np.int64, np.uint8 if good < 2**8 else np.uint16):
                yield Fault(kind.__name__, SAME_OR_REFUSED, kind(good), int(good))
        else:
            for kind in (np.float16, np.float32, np.longdouble):
                yield Fault(kind.__name__, SAME_OR_REFUSED, kind(good), float(kind(good)))
            yield Fault("a decimal", SAME_OR_REFUSED, Decimal(repr(float(good))), good)
        yield Fault("float64", SAME, np.float64(good), good)
        yield Fault("a fraction of integers", SAME_OR_REFUSED, Fraction(good), good)
        yield Fault("an array without dimensions", SAME_OR_REFUSED, np.array(good), good)
        yield Fault("a tensor", SAME_OR_REFUSED, torch.tensor(good, dtype=None if self.whole else torch.float64), good)
        yield Fault(
            "a tensor with a gradient",
            SAME_OR_REFUSED,
            torch.tensor(float(good), dtype=torch.float64, requires_grad=True),
            good,
        )
        yield Fault("a bool", SAME_OR_REFUSED, True, 1)
        if not self.whole:  # a count may be work, without end
            yield Fault("an integer beyond floats", REFUSED, 10**400)
        if not self.whole:
            for value in (0.0, -good, good * 2.0**EXPONENT, good * 2.0**-EXPONENT, 5e-324, 1.7e308):
                yield Fault(f"the number {value:.3g}", FINITE, value)


class Choice(Kind):
    """One of some words."""

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        yield from self.nothing()
        values = {"unknown": "bach", "empty": "", "a number": 3, "a list": [good], "a dict": {}, "bytes": b"batch"}
        values |= {"NaN": np.nan, "an array": np.array(["a", "b"]), "a blank more": f"{good} "}
        for name, value in values.items():
            yield Fault(name, REFUSED, value)


class Flag(Kind):
    """True or false."""

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        yield Fault("numpy's", SAME, np.bool_(good), good)
        yield Fault("a number", SAME_OR_REFUSED, int(good), good)


class Listed(Kind):
    """Values that are listed one by one, each as (name, what must come, value or function of the good one)."""

    def __init__(self, *cases: tuple[str, str, Any], optional: bool = False, literal: bool = False) -> None:
        super().__init__(optional)
        self.cases, self.literal = cases, literal  # one that only the library writes: None is no case

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        yield from () if self.literal else self.nothing()
        for name, wanted, value in self.cases:
            made = value(good) if isinstance(value, Made) else value
            yield Fault(name, wanted, made, good)


@dataclass(frozen=True)
class Made:
    """Marks a function that makes a faulty value of a good one, since functions can be values."""

    make: Callable[[Any], Any]

    def __call__(self, good: Any) -> Any:
        return self.make(good)


def not_numbers(good: np.ndarray) -> Iterator[Fault]:
    values = {
        "strings": good.astype(str).tolist(),
        "an array of strings": good.astype(str),
        "a word": "one",
        "bytes": b"1",
        "a dict": {},
        "an object": object(),
        "a function": len,
        "objects that are None": np.full(good.shape, None),
        "ragged": [[1.0], [1.0, 2.0]],
        "complex": good + 0.5j,
        "complex objects": (good + 0.5j).astype(object),
        "a complex tensor": torch.from_numpy(np.array(good + 0.5j)),
        "dates": np.full(good.shape, np.datetime64("2026-01-01")),
        "spans of time": np.full(good.shape, np.timedelta64(1, "s")),
        "a set": {1.0},
    }
    if good.size:
        values["masked"] = np.ma.masked_array(good, mask=np.arange(good.size).reshape(good.shape) == 0)
    for name, value in values.items():
        yield Fault(name, REFUSED, value)


def _not_finite(good: np.ndarray, rng: np.random.Generator) -> Iterator[Fault]:
    for name, bad in {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}.items():
        value = good.copy()
        value.flat[rng.integers(good.size)] = bad
        yield Fault(name, REFUSED, value)
        yield Fault(f"{name} in a tensor", REFUSED, torch.from_numpy(value.copy()))
        yield Fault(f"{name} in float16", REFUSED, value.astype(np.float16))
        yield Fault(f"{name} everywhere", REFUSED, np.full(good.shape, bad))


def _dtypes(good: np.ndarray) -> Iterator[Fault]:
    for kind in (np.float32, np.float16, np.longdouble, ">f8"):
        value = good.astype(kind)
        yield Fault(str(np.dtype(kind)), SAME, value, value.astype(np.float64))
    whole = np.rint(good)
    yield Fault("whole numbers", SAME, whole.astype(np.int64), whole)
    yield Fault("bool", SAME, good > 0, (good > 0).astype(np.float64))
    yield Fault("objects that are numbers", SAME, good.astype(object), good)
    yield Fault("a tensor of float64", SAME, torch.from_numpy(good.copy()), good)
    yield Fault("a tensor of float32", SAME, torch.from_numpy(good.astype(np.float32)), good.astype(np.float32) * 1.0)
    half = torch.from_numpy(good.copy()).bfloat16()
    yield Fault("a tensor of bfloat16", SAME, half, half.double().numpy())
    yield Fault("a tensor with a gradient", SAME, torch.from_numpy(good.copy()).requires_grad_(), good)
    if good.ndim == 1:
        yield Fault("a series", SAME, pd.Series(good), good)
    if good.ndim == 2:
        yield Fault("a frame", SAME, pd.DataFrame(good), good)


def _layouts(good: np.ndarray) -> Iterator[Fault]:
    yield Fault("a list", SAME, good.tolist(), good)
    read_only = good.copy()
    read_only.flags.writeable = False
    yield Fault("read-only", SAME, read_only, good)
    if good.ndim:
        yield Fault("a tuple", SAME, tuple(good.tolist()), good)
        yield Fault("every other entry", SAME, np.repeat(good, 2, axis=-1)[..., ::2], good)
        yield Fault("backwards", SAME, np.ascontiguousarray(good[::-1])[::-1], good)
        strided = torch.from_numpy(np.repeat(good, 2, axis=-1).copy())[..., ::2]
        yield Fault("a strided tensor", SAME, strided, good)
    if good.ndim > 1:
        yield Fault("columns first", SAME, np.asfortranarray(good), good)


def _values(good: np.ndarray, rng: np.random.Generator) -> Iterator[Fault]:
    one_huge = good.copy()
    one_huge.flat[rng.integers(good.size)] = 1e150
    values = {
        "zeros": np.zeros_like(good),
        "ones": np.ones_like(good),
        "negated": -good,
        "times 1e150": good * 2.0**EXPONENT,
        "times 1e-150": good * 2.0**-EXPONENT,
        "one entry 1e150": one_huge,
        "smallest floats": np.where(good > 0, 5e-324, -5e-324),
        "largest floats": np.where(good > 0, 1.7e308, -1.7e308),
    }
    for name, value in values.items():
        yield Fault(name, FINITE, value)
