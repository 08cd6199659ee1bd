"""What came of all faults, as a table."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from input_public import arguments
from input_recipe import Trial, every_trial
from input_recipes import CALLABLES, RECIPES, RECORDS, try_record


def trials(seed: int = 0, names: Collection[str] = tuple(RECIPES)) -> Iterator[Trial]:
    """Every fault of every argument of these public functions, once."""
    for name, recipe in RECIPES.items():
        if name not in names:
            continue
        yield from every_trial(name.strip(), CALLABLES[name.strip()], recipe, seed)
    for name in RECORDS:
        for field in arguments(CALLABLES[name]):
            yield try_record(name, field, object())


def covered() -> tuple[int, int]:
    """Public functions, constructors and methods with a recipe or in the list of records, and all of them."""
    known = {name.strip() for name in RECIPES} | set(RECORDS)
    return len(known & set(CALLABLES)), len(CALLABLES)


def summary(seed: int = 0, names: Collection[str] = tuple(RECIPES)) -> list[dict[str, Any]]:
    """A row a fault, the most tried first, and at the top one for all: ``fault functions tries result refused broken message``.

    ``result`` counts calls whose result is right (the same as for plain float64, or scaled as the units, or finite),
    ``refused`` those with an error that names the argument, ``broken`` the others; ``message`` is an example.
    """
    found: dict[str, list[Trial]] = {}
    for trial in trials(seed, names):
        found.setdefault(_kind(trial.fault), []).append(trial)
    rows = [_row(fault, each) for fault, each in sorted(found.items(), key=lambda item: -len(item[1]))]
    reached, public = covered()
    every = [trial for each in found.values() for trial in each]
    return [_row(f"all, on {reached} of {public} public functions", every), *rows]


def _kind(fault: str) -> str:
    """Faults that differ in a number or a name only are one row."""
    for start, kind in {
        "units of": "other units",
        "shape (": "a row or column less",
        "value ": "out of its range",
    }.items():
        if fault.startswith(start):
            return kind
    return "a large, small or negative number" if fault.startswith("the number") else fault


def _row(fault: str, each: list[Trial]) -> dict[str, Any]:
    outcomes = Counter(trial.outcome for trial in each)
    bad = [trial.message for trial in each if trial.outcome == "broken"]
    said = bad or [trial.message for trial in each if trial.message]
    return {
        "fault": fault,
        "functions": len({trial.function for trial in each}),
        "tries": len(each),
        "result": outcomes["result"],
        "refused": outcomes["refused"],
        "broken": outcomes["broken"],
        "message": said[0] if said else "",
    }
