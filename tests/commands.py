"""Run this repository's commands as a user would, with a build folder that is the tests' own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "BNLIB_SMOKE_BOOK"  # where all workers look for the book
PATIENCE = 15 * 60  # seconds


class Command:
    """``python …`` in the repository or a copy of it, its build folder elsewhere."""

    def __init__(self, build, root=ROOT):
        self.build, self.root = build, root

    def start(self, *arguments, **keywords):
        """The process, under way."""
        own = {"BNLIB_BUILD": str(self.build), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)}
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | keywords
        return subprocess.Popen([sys.executable, *arguments], cwd=self.root, env=os.environ | own, **keywords)

    def __call__(self, *arguments):
        """What came of it."""
        process = self.start(*arguments)
        output, error = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, error)


class SmokeBook:
    """The whole book in the smoke profile, built once, in the background, while workers run all that needs no book."""

    def __init__(self):
        self.folder, self.process = Path(tempfile.mkdtemp(prefix="bnlib-smoke-book-")), None
        os.environ[FOLDER] = str(self.folder)  # the workers inherit it

    def start(self):
        """Start the build unless it has been started; a file says when it has ended, and how."""
        if self.process is None:
            command = Command(self.folder / "build")
            with (self.folder / "log").open("w") as log:
                arguments = "-m", "companion", "book", "--profile", "smoke"
                self.process = command.start(*arguments, stdout=log, stderr=log, start_new_session=True)
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        status = self.process.wait()
        with contextlib.suppress(FileNotFoundError):  # the session may have ended before the book
            (self.folder / "ended").write_text(f"{status}\n")

    def stop(self):
        """End a build that nobody waits for, and remove what there is."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def smoke_book():
    """The build folder of the smoke book, when it is there."""
    folder, deadline = Path(os.environ[FOLDER]), time.monotonic() + PATIENCE
    ended = folder / "ended"
    while not (ended.is_file() and ended.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"no book after {PATIENCE} s:\n{(folder / 'log').read_text()}"
        time.sleep(0.2)
    assert int(ended.read_text()) == 0, (folder / "log").read_text()
    return folder / "build"
