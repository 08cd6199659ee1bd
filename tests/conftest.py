"""Where the book built for the tests lives, and the browser that looks at it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def publish_command(tmp_path_factory):
    """Run ``python -m publish …`` with a build folder of the tests' own."""
    build = tmp_path_factory.mktemp("build")

    def run(*arguments, **environment):
        environment = os.environ | {"BNLIB_BUILD": str(build), "OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            [sys.executable, "-m", "publish", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    run.build = build
    return run


@pytest.fixture(scope="session")
def smoke_book(publish_command):
    """The whole book in the smoke profile: every chapter executed, the site built."""
    done = publish_command("book", "--profile", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return publish_command.build
