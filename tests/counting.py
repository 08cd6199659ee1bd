"""How much the theorems' tests looked at, counted while they run; and which instance a failing loop had reached.

A test's file names its theorem, the first word of its name the kind of check: exact, torch, property or control.
"""

import functools
import re
from collections import Counter
from collections.abc import Mapping

from hypothesis import given, settings

LEAST = 50  # instances that make an identity of small degree a proof in practice
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)
COLUMNS = {
    "exact": "exact instances",
    "approximate": "bnlib on such",
    "torch": "torch configurations",
    "examples": "Hypothesis examples",
    "control": "negative controls",
}
seen = Counter()
left = []  # where loops were left, the inner loop's instance first


def each(instances, what="seed"):
    """Go through instances, or the values of a dictionary of named ones; a failure says at which: "seed 17".

    An instance counts if something was compared on it: exactly, or in floating point only.
    """
    left.clear()
    named = instances.items() if isinstance(instances, Mapping) else ((instance, instance) for instance in instances)
    for name, instance in named:
        equal, close = seen["equal"], seen["close"]
        try:
            yield instance
        except GeneratorExit:  # a failure on its way out of the loop lets go of it
            left.append(f"{what} {name}")
            raise
        if seen["equal"] > equal:
            seen["exact"] += 1
        elif seen["close"] > close:
            seen["approximate"] += 1


def drawn(*strategies):
    """Run a test on what Hypothesis draws, and count its examples."""

    def decorate(test):
        @functools.wraps(test)
        def example(*arguments, **keywords):
            test(*arguments, **keywords)
            seen["examples"] += 1

        return PROPERTY(given(*strategies)(example))

    return decorate


def kind_of(item):
    """Theorem and kind of check of a test; nothing for the tests of no theorem."""
    match = re.search(r"theorems/test_(\w+)\.py::test_(exact|torch|property|control)_", item.nodeid)
    return match and (match[1].replace("_", "-"), match[2])


def counted(item):
    """Run around a test: count what it looks at, and refuse an identity that was checked on too little."""
    seen.clear()
    left.clear()
    try:
        result = yield
    except Exception as failure:
        if left:
            failure.add_note("The loop was at " + ", within ".join(left))
        raise
    if kind_of(item):
        theorem, kind = kind_of(item)
        if kind in ("torch", "control"):
            seen[kind] += 1
        instances = seen["exact"] + seen["approximate"]
        assert kind != "exact" or instances >= LEAST, f"checked on {instances} instances, not on {LEAST}"
        item.user_properties.append(("theorem", (theorem, {name: seen[name] for name in COLUMNS if seen[name]})))
    return result


def summary(reports):
    """A line a theorem and a sum, from the reports of the tests that passed."""
    totals = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == "theorem":
                totals.setdefault(value[0], Counter()).update(value[1])
    if totals:
        lines = sorted(totals.items()) + [("all", sum(totals.values(), Counter()))]
        yield f"{'':15}" + "  ".join(COLUMNS.values())
        for name, counts in lines:
            yield f"{name:15}" + "  ".join(f"{counts[column]:{len(title)}}" for column, title in COLUMNS.items())
