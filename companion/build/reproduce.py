"""The same commit built twice, in other folders and with another number of processes: what differs?"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from companion import ROOT
from companion.build import BuildFailed, checksums

# a blank and an umlaut in the path of one, and as many chapters side by side as it says
BUILDS = {"one": 1, "zwei B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher": 2}


class NotTheSame(BuildFailed):
    """Two builds of one commit have different files."""


def reproduce(profile):
    """Build what is committed twice from nothing, and compare the sites byte by byte.

    Parameters
    ----------
    profile : str

    Returns
    -------
    int
        How many files were compared.

    Raises
    ------
    NotTheSame
        It names the files that differ.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        one, other = (_built(Path(folder) / name, profile, jobs) for name, jobs in BUILDS.items())
        if names := checksums.differing(one, other):
            raise NotTheSame(f"{len(names)} files of two builds differ:\n" + "\n".join(names))
        return len(checksums.sums(one))


def _built(root, profile, jobs):
    subprocess.run(["git", "clone", "--quiet", ROOT, root], check=True)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    environment = {name: value for name, value in os.environ.items() if name != "BNLIB_BUILD"} | {
        "PYTHONPATH": str(root)
    }
    command = [sys.executable, "-m", "companion", "book", "--profile", profile, "--jobs", str(jobs)]
    print(f"{root}: {jobs} at a time", flush=True)
    subprocess.run(command, cwd=root, env=environment, check=True)
    return root / "_build" / "html"
