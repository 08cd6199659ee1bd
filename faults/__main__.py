"""Try all faults, print the table and keep it for the site: ``make faults``; ``python -m faults data`` does a part."""

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from faults import builds, fetches, files
from faults.table import KEPT, kept, merged, printed, write


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
    sys.path.insert(0, "tests")
    if importlib.util.find_spec("faults_summary"):
        yield from importlib.import_module("faults_summary").summary()


PARTS = {"stepped": stepped, "data": files.rows, "fetches": fetches.rows, "inputs": inputs, "whole": whole}


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
