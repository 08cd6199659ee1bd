"""Run this repository's commands as a user would, with a build folder that is the tests' own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Command:
    """``python …`` in the repository, its build folder elsewhere."""

    def __init__(self, build):
        self.build = build

    def start(self, *arguments):
        """The process, under way."""
        environment = os.environ | {"BNLIB_BUILD": str(self.build), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def __call__(self, *arguments):
        """What came of it."""
        process = self.start(*arguments)
        output, error = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, error)
