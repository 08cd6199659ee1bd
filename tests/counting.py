"""How much the theorems' tests looked at: counted while they run, kept with their reports, added up at the end."""

import functools
import re
from collections import Counter

LEAST = 50  # instances that make an identity of small degree a proof in practice
COLUMNS = {
    "exact": "exact instances",
    "approximate": "bnlib on such",
    "torch": "torch configurations",
    "examples": "Hypothesis examples",
    "control": "negative controls",
}
seen = Counter()


def each(instances):
    """Go through `instances` and count those on which something was compared: exactly, or in floating point only."""
    for instance in instances:
        equal, close = seen["equal"], seen["close"]
        yield instance
        if seen["equal"] > equal:
            seen["exact"] += 1
        elif seen["close"] > close:
            seen["approximate"] += 1


def kind_of(item):
    """Theorem and kind of check of a test, by its name; nothing for the tests of no theorem."""
    match = re.search(r"/?test_(t\d)_\w+\.py::test_(exact|torch|property|control)_", item.nodeid)
    return match and (match[1].upper(), match[2])


def counted(item):
    """Run around a test: count what it looks at, and refuse an identity that was checked on too little."""
    theorem, kind = kind_of(item)
    seen.clear()
    drawn = getattr(item.obj, "hypothesis", None)
    if drawn:
        inner = drawn.inner_test

        @functools.wraps(inner)
        def example(*arguments, **keywords):
            inner(*arguments, **keywords)
            seen["examples"] += 1

        drawn.inner_test = example
    try:
        result = yield
    finally:
        if drawn:
            drawn.inner_test = inner
    if kind in ("torch", "control"):
        seen[kind] += 1
    instances = seen["exact"] + seen["approximate"]
    assert kind != "exact" or instances >= LEAST, f"checked on {instances} instances, not on {LEAST}"
    item.user_properties.append((theorem, {column: seen[column] for column in COLUMNS if seen[column]}))
    return result


def summary(reports):
    """A line a theorem and a sum, from the reports of the tests that passed."""
    totals = {}
    for report in reports:
        for name, counts in report.user_properties:
            if re.fullmatch(r"T\d", name):
                totals.setdefault(name, Counter()).update(counts)
    if totals:
        lines = sorted(totals.items()) + [("all", sum(totals.values(), Counter()))]
        yield "     " + "  ".join(COLUMNS.values())
        for name, counts in lines:
            yield f"{name:5}" + "  ".join(f"{counts[column]:{len(title)}}" for column, title in COLUMNS.items())
