"""What pages weigh and say at a first visit, as ``python -m benchmarks.site --record`` measured it, in tables."""

import json

from companion import BOOK
from companion.build import BuildFailed

RECORD = BOOK / "site-measured.json"
KINDS = ("document", "stylesheet", "script", "font", "image")
COLUMNS = (
    "page",
    "kB",
    *KINDS,
    "requests",
    "elsewhere",
    "console",
    "shift",
    "first paint, ms",
    "axe light",
    "axe dark",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}"


class NotMeasured(BuildFailed):
    """A page shows what pages weigh, and there is no record of it."""


def line(row):
    """A page as a row of the table.

    Parameters
    ----------
    row : dict
        From `benchmarks.site.measured`.

    Examples
    --------
    >>> kinds = dict.fromkeys(KINDS, 1000)
    >>> found = {"page": "book/rate", "bytes": 5000, "requests": 5, "elsewhere": 0, "console": 0, "shift": 0.0, "paint": 310}
    >>> line(found | kinds | {"light": {}, "dark": {"color-contrast": 2}})
    '| book/rate | 5 | 1 | 1 | 1 | 1 | 1 | 5 | 0 | 0 | 0.000 | 310 | 0 | color-contrast 2 |'
    """
    sizes = [f"{row[kind] / 1000:.0f}" for kind in ("bytes", *KINDS)]
    counts = [f"{row[name]}" for name in ("requests", "elsewhere", "console")]
    axe = [", ".join(f"{rule} {count}" for rule, count in row[mode].items()) or "0" for mode in ("light", "dark")]
    seen = [f"{row['shift']:.3f}", f"{row['paint']:.0f}"]
    return f"| {' | '.join([row['page'], *sizes, *counts, *seen, *axe])} |"


def recorded():
    """What was measured last.

    Raises
    ------
    NotMeasured
    """
    if not RECORD.is_file():
        raise NotMeasured(f"{RECORD.name} is not there; make it from a built site: python -m benchmarks.site --record")
    return json.loads(RECORD.read_text())


def pair(record):
    """Two chapters here and as a default Jupyter Book of the same executed notebooks.

    Parameters
    ----------
    record : dict
        From `recorded`.
    """
    rows = record["pair"]
    half = len(rows) // 2
    named = [row | {"page": f"here: {_linked(row['page'])}"} for row in rows[:half]]
    named += [row | {"page": f"default: {row['page']}"} for row in rows[half:]]
    return _table(named)


def every(record):
    """All pages, folded."""
    rows = [row | {"page": _linked(row["page"])} for row in record["pages"]]
    return f":::{{dropdown}} All {len(rows)} pages\n{_table(rows)}\n:::"


def _linked(page):
    """A page's name as a link to it: whoever has no mouse scrolls a wide table from link to link."""
    name = page.removeprefix("book/")
    return name if name == page else f"{{doc}}`{name} <{name}>`"


def _table(rows):
    return "\n".join([HEAD, *map(line, rows)])
