"""The README's example prints what the README shows."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_prints_what_is_shown():
    code, shown = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README.read_text(), flags=re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed, expected = done.stdout.split(), shown.split()
    assert len(printed) == len(expected)
    for found, wanted in zip(printed, expected):
        assert found == wanted or abs(float(found) / float(wanted) - 1) < 1e-3  # float32 on another processor
