"""How this copy of the book was built: versions, profile, data, seeds, commit, time a chapter."""

import platform
import subprocess
from importlib.metadata import version

import nbformat

from publish import ROOT

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "jupyter-book", "jupytext", "papermill")


def as_page(profile, notebooks):
    """The text that is put after the introduction of ``book/built.md``.

    Parameters
    ----------
    profile : str
    notebooks : dict of str to Path
        Chapter name to executed notebook.
    """
    lines = [
        f"- profile: `{profile}`",
        f"- commit: `{_commit()}`",
        f"- Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "",
        "| chapter | seconds | parameters |",
        "| --- | ---: | --- |",
    ]
    for name, path in notebooks.items():
        record = nbformat.read(path, as_version=4).metadata["bnlib"]
        parameters = ", ".join(f"`{key} = {value!r}`" for key, value in record["parameters"].items()) or "none"
        lines.append(f"| `{name}` | {record['seconds']:.0f} | {parameters} |")
    return "\n".join(lines) + "\n"


def _commit():
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (" with uncommitted changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "not built from a git checkout"
