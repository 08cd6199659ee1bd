"""Try all faults, print the table and keep it for the site: ``make faults``; ``python -m faults data`` does a part."""

import importlib
import sys
import tempfile
from pathlib import Path

from companion import ROOT
from faults import builds, fetches, files
from faults import environments as surroundings
from faults.table import KEPT, Row, kept, merged, printed, without_places, write

FEW = 5  # functions: a fault of fewer has no row of its own


def stepped():
    """Builds in which `faults.stand_ins` are at work."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        Path(name).chmod(0o755)  # another user looks into it
        yield from builds.quick_rows(Path(name))


def whole():
    """Builds with kernels and Sphinx."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        yield from builds.whole_rows(Path(name))


def inputs():
    """Bad input to every public function: rows that the tests of it count."""
    sys.path.insert(0, str(ROOT / "tests" / "faults"))
    rows = importlib.import_module("input_summary").summary()
    few = [row for row in rows if row["functions"] < FEW]
    for row in rows:
        if row not in few:
            yield _input(f"{row['fault']} ({row['functions']} functions)", [row])
    yield _input(f"{len(few)} other faults, each of less than {FEW} functions", few)


def _input(fault, rows):
    tries, refused, right, broken = (
        sum(row[name] for row in rows) for name in ("tries", "refused", "result", "broken")
    )
    return Row(
        family="input",
        fault=fault,
        tries=tries,
        result=f"refused by name: {refused}; right: {right}",
        lost=broken,
        message=without_places(rows[0]["message"]),
    )


def environments():
    """The tiny book in other places, for other users, with less."""
    yield from (Row(**row) for row in surroundings.rows())


PARTS = {
    "stepped": stepped,
    "data": files.rows,
    "fetches": fetches.rows,
    "inputs": inputs,
    "whole": whole,
    "environments": environments,
}


def main(chosen):
    """Run parts of the table; a row that is done is kept at once, in the place of the one before.

    Parameters
    ----------
    chosen : list of str
        Keys of `PARTS`.

    Returns
    -------
    int
        In how many tries something was lost.
    """
    if unknown := sorted(set(chosen) - PARTS.keys()):
        sys.exit(f"error: {', '.join(unknown)} is no part; the parts are: {', '.join(PARTS)}")
    lost = 0
    for part in chosen or PARTS:
        for row in PARTS[part]():
            print(printed(row), flush=True)
            lost += row.lost or 0
            write(merged(kept() if KEPT.is_file() else [], [row]))
    print(f"lost in {lost} tries; kept in {KEPT}")
    return lost


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
