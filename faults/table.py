"""Rows of the table of faults: made of what happened in every try, printed, kept as JSON, read again."""

import dataclasses
import json
import re
import tempfile

from companion import BOOK, ROOT

KEPT = BOOK / "faults.json"  # what the page of the site shows
FAMILIES = ("builds", "data", "input", "environment", "mutants")  # in this order
WIDTH = 330  # characters of a message on a terminal


@dataclasses.dataclass(frozen=True)
class Row:
    """A fault and what came of it.

    Parameters
    ----------
    family : str
        "builds", "data", …
    fault : str
    tries : int
    result : str
        What happened, counted.
    lost : int or None
        In how many tries something was lost, wrong or left behind without a word; None where nothing could be tried.
    message : str
        What the first try said that said something, without names of this machine.
    """

    family: str
    fault: str
    tries: int
    result: str
    lost: int | None
    message: str


@dataclasses.dataclass(frozen=True)
class Try:
    """One try.

    Parameters
    ----------
    came : str
        What happened, in a few words that are counted.
    lost : bool
        Whether something was lost or wrong.
    said : str
    """

    came: str
    lost: bool
    said: str = ""


def row_of(family, fault, tries):
    """The row of a fault.

    Parameters
    ----------
    family, fault : str
    tries : list of Try

    Examples
    --------
    >>> row_of("data", "cut", [Try("refused", False, "cut short"), Try("refused", False), Try("wrong numbers", True)])
    Row(family='data', fault='cut', tries=3, result='refused: 2; wrong numbers: 1', lost=1, message='cut short')
    """
    counts = {came: sum(one.came == came for one in tries) for came in sorted({one.came for one in tries})}
    said = next((one.said for one in tries if one.said), "")
    result = "; ".join(f"{came}: {count}" for came, count in counts.items())
    return Row(family, fault, len(tries), result, sum(one.lost for one in tries), said)


def impossible(family, fault, why):
    """The row of a fault that could not be tried here: no success."""
    return Row(family, fault, 0, f"not tried here: {why}", None, "")


def without_places(text, *folders):
    """A message without what belongs to this machine or this run: folders, process ids, MD5 sums of wrong files.

    Examples
    --------
    >>> without_places("/tmp/x/book/one.py: process 123", "/tmp/x")
    '…/book/one.py: process …'
    """
    for folder in sorted(map(str, (*folders, ROOT, tempfile.gettempdir())), key=len, reverse=True):
        text = text.replace(folder, "…")
    text = re.sub(r"\b(?:[0-9a-f]{32}|0x[0-9a-f]+)\b|(?<=\.fetch-)\w+|(?<=ipykernel_)\d+/\d+", "…", text)
    return re.sub(r"process \d+", "process …", " ".join(text.split()))


def merged(rows, newer):
    """Rows in the order of the families, newer ones in the place of those of the same fault.

    Parameters
    ----------
    rows, newer : list of Row

    Examples
    --------
    >>> [row.tries for row in merged([Row("data", "cut", 3, "", 0, "")], [Row("data", "cut", 4, "", 0, "")])]
    [4]
    """
    found = {(row.family, row.fault): row for row in [*rows, *newer]}
    return sorted(found.values(), key=lambda row: (FAMILIES + (row.family,)).index(row.family))


def write(rows, path=KEPT):
    """Keep rows for the site."""
    path.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")


def kept(path=KEPT):
    """The rows of the last run that was kept."""
    return [Row(**row) for row in json.loads(path.read_text())]


def printed(row):
    """A row as lines for a terminal."""
    head = (
        f"{row.family} | {row.fault} | {row.tries} tries | {row.result} | lost {'—' if row.lost is None else row.lost}"
    )
    return head + (f"\n    {row.message[:WIDTH]}" if row.message else "")
