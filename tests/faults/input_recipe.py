"""A recipe: a good call, the kind of each argument, and what a change of units does to the result."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import input_trial
import numpy as np
from input_faults import FINITE, REFUSED, SAME, SAME_OR_REFUSED, Fault, Kind
from input_trial import Broken, Outcome, attempt

SCALED = "scaled"


@dataclass(frozen=True)
class Scaling:
    """Arguments times 2^(k power) give a result times 2^(k power): `result` is one power, or one for each leaf.

    `reach` is the largest k that is tried: at it the library may refuse, and may not give a wrong number.
    """

    powers: Mapping[str, int]
    result: Any
    reach: int = 498
    scale: Callable[[Any, int], Any] = lambda value, exponent: np.ldexp(np.asarray(value, dtype=np.float64), exponent)

    @property
    def name(self) -> str:
        return "units of " + ", ".join(f"{name}^{power}" if power != 1 else name for name, power in self.powers.items())


@dataclass(frozen=True)
class Recipe:
    """How a function is tried.

    `good` makes the arguments of a call that works, by name, from a random generator; `kinds` says what each is.
    An argument of no kind has a reason in `exempt`. `says` are words that may stand for an argument in a message,
    `infinite` is the phrase of the docstring that allows numbers that are not finite, `changes` names what the function
    changes in place, `warns` allows a documented UserWarning, `result` maps what a call gives to what is compared.
    """

    good: Callable[[np.random.Generator], dict[str, Any]]
    kinds: Mapping[str, Kind]
    scalings: tuple[Scaling, ...] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    infinite: str = ""
    changes: tuple[str, ...] = ()
    warns: bool = False
    rtol: float = 1e-9
    half: float = 0.0  # the tolerance where the result is in half precision as the input is
    result: Callable[[Any], Any] | None = None
    runs: bool = True  # whether the good call is made: not where it would fetch from the net
    other: tuple[str, ...] = ()  # faults for which another right result is documented
    slow: bool = False  # each call trains: only what is refused at once is tried, unless there is time
    inside: str = ""  # why only the library calls it: then bad input is refused by any error


@dataclass(frozen=True)
class Trial:
    """What came of one: `outcome` is "result" or "refused", or "broken" with what is wrong as the message."""

    function: str
    argument: str
    fault: str
    outcome: str
    message: str = ""


def faults_of(recipe: Recipe, argument: str, seed: int, thorough: bool = True) -> list[Fault]:
    rng = np.random.default_rng(seed)
    faults = list(recipe.kinds[argument].faults(recipe.good(rng)[argument], rng))
    quick = recipe.slow and not thorough
    return sorted(faults, key=lambda fault: fault.wanted != REFUSED)[
        : sum(f.wanted == REFUSED for f in faults) if quick else None
    ]


def documentation(called: Callable[..., Any]) -> str:
    """Docstring of a function; of a constructor that of its class, of a method its own and that of its class."""
    return f"{inspect.getdoc(called)} {inspect.getdoc(getattr(called, '__init__', None)) if inspect.isclass(called) else ''}"


def try_fault(name: str, called: Callable[..., Any], recipe: Recipe, argument: str, fault: Fault, seed: int) -> Trial:
    """One fault of one argument; raises nothing."""

    def run(value: Any) -> Outcome:
        given = recipe.good(np.random.default_rng(seed)) | {argument: value}
        return _attempt(called, recipe, given)

    outcome = run(fault.value)
    return _judged(name, called, recipe, argument, fault, outcome, lambda: run(fault.plain))


def _attempt(called: Callable[..., Any], recipe: Recipe, given: dict[str, Any]) -> Outcome:
    def then(*args: Any, **kwargs: Any) -> Any:
        found = called(*args, **kwargs)
        return found if recipe.result is None else recipe.result(found)

    then.__signature__ = inspect.signature(called)  # type: ignore[attr-defined]
    return attempt(then, given, recipe.changes, recipe.warns)


def _judged(
    name: str,
    called: Callable[..., Any],
    recipe: Recipe,
    argument: str,
    fault: Fault,
    outcome: Outcome,
    plain: Callable[[], Outcome],
) -> Trial:
    text = documentation(called)
    try:
        input_trial.check_quiet(outcome)
        if outcome.error is not None and not recipe.inside:
            input_trial.check_refused(outcome, argument, text, recipe.says.get(argument, ()))
        if fault.wanted == REFUSED and outcome.error is None:
            input_trial.check_refused(outcome, argument, text)
        if (fault.wanted == SAME and fault.name not in recipe.other) or (
            fault.wanted == SAME_OR_REFUSED and outcome.error is None
        ):
            half = recipe.half and fault.name.endswith("float16")
            input_trial.check_same(outcome, plain(), recipe.half if half else recipe.rtol)
        if not recipe.infinite:
            input_trial.check_finite(outcome)
    except Broken as broken:
        return Trial(name, argument, fault.name, "broken", f"{fault.wanted}: {broken}")
    if outcome.error is not None:
        return Trial(name, argument, fault.name, "refused", str(outcome.error).splitlines()[0])
    return Trial(name, argument, fault.name, "result")


def try_scaling(name: str, called: Callable[..., Any], recipe: Recipe, place: int, exponent: int, seed: int) -> Trial:
    """One change of units; raises nothing."""
    scaling = recipe.scalings[place]
    good = recipe.good(np.random.default_rng(seed))
    scaled = recipe.good(np.random.default_rng(seed))
    arguments = ", ".join(scaling.powers)
    fault = f"{scaling.name} times 2^{exponent}"
    try:
        for argument, power in scaling.powers.items():
            scaled[argument] = scaling.scale(scaled[argument], exponent * power)
    except ValueError as error:  # a constructor on the way has refused it
        return Trial(name, arguments, fault, "refused", str(error).splitlines()[0])
    outcome = _attempt(called, recipe, scaled)
    try:
        input_trial.check_quiet(outcome)
        if outcome.error is not None:
            argument, *others = scaling.powers
            says = (*others, *(word for one in scaling.powers for word in recipe.says.get(one, ())))
            input_trial.check_refused(outcome, argument, documentation(called), says)
            return Trial(name, arguments, fault, "refused", str(outcome.error).splitlines()[0])
        right = _attempt(called, recipe, good)
        input_trial.check_same(outcome, right, recipe.rtol, scaling.result, exponent)
        if not recipe.infinite:
            input_trial.check_finite(outcome)
    except Broken as broken:
        return Trial(name, arguments, fault, "broken", f"{SCALED}: {broken}")
    return Trial(name, arguments, fault, "result")


def every_trial(
    name: str, called: Callable[..., Any], recipe: Recipe, seed: int = 0, thorough: bool = False
) -> Iterator[Trial]:
    """Each fault of each argument once, and each change of units at both ends."""
    if recipe.runs:
        yield try_good(name, called, recipe, seed)
    for argument in recipe.kinds:
        for fault in faults_of(recipe, argument, seed, thorough):
            yield try_fault(name, called, recipe, argument, fault, seed)
    for place, scaling in enumerate(recipe.scalings):
        for exponent in (-scaling.reach, scaling.reach):
            yield try_scaling(name, called, recipe, place, exponent, seed)


def try_good(name: str, called: Callable[..., Any], recipe: Recipe, seed: int) -> Trial:
    """Without a fault it must work, or no refusal says anything."""
    outcome = _attempt(called, recipe, recipe.good(np.random.default_rng(seed)))
    try:
        input_trial.check_quiet(outcome)
        if outcome.error is not None:
            raise Broken(f"{type(outcome.error).__name__}: {outcome.error}")
        if not recipe.infinite:
            input_trial.check_finite(outcome)
    except Broken as broken:
        return Trial(name, "", "none", "broken", f"good input: {broken}")
    return Trial(name, "", "none", "result")


__all__ = ["FINITE", "REFUSED", "SAME", "SAME_OR_REFUSED", "SCALED", "Recipe", "Scaling", "Trial", "every_trial"]
