"""A build folder for the commands that these tests run."""

import pytest
from commands import Command


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)
