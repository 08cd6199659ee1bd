"""What a chapter is: a py:percent file with a parameters cell, run under a profile."""

import ast
import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext
import yaml

from bnlib import data
from publish import BOOK, ROOT


class UsageError(ValueError):
    """The caller asked for something that does not exist; the message lists what does."""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book, ``book/NN_name.py``."""

    path: Path

    @property
    def name(self):
        return self.path.stem

    @cached_property
    def notebook(self):
        return jupytext.read(self.path, fmt="py:percent")

    @cached_property
    def defaults(self):
        """The parameters and their values as written in the chapter."""
        cells = [cell for cell in self.notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        if not cells:
            return {}
        return {
            target.id: ast.literal_eval(statement.value)
            for statement in ast.parse(cells[0].source).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
        }

    @property
    def title(self):
        return next(line[2:] for line in self.notebook.cells[0].source.splitlines() if line.startswith("# "))

    def check(self, parameters):
        """Return `parameters` after checking that the chapter has them all."""
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            listed = ", ".join(sorted(self.defaults)) or "none"
            raise UsageError(f"{self.name} has no parameter {', '.join(map(repr, unknown))}; it has: {listed}")
        return parameters

    def parameters(self, profile):
        """What `profile` sets in this chapter; names are checked."""
        return self.check(profiles()[_known_profile(profile)].get(self.name, {}))

    def fingerprint(self, parameters):
        """Changes when anything does that the executed notebook depends on.

        Whether a data set is there counts for the chapters that have a parameter `dataset`: one that ran without the
        files, and said so, runs again when they appear.
        """
        digest = hashlib.sha256()
        for path in (
            self.path,
            *bnlib_modules(self.path),
            ROOT / "requirements.txt",
            Path(__file__).with_name("execute.py"),
        ):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(json.dumps(parameters, sort_keys=True).encode())
        digest.update(repr(sys.version_info[:3]).encode())
        if "dataset" in self.defaults:
            digest.update(repr(data.is_available((self.defaults | parameters)["dataset"])).encode())
        return digest.hexdigest()


def chapters():
    """All chapters, in the order of the book."""
    return [Chapter(path) for path in sorted(BOOK.glob("[0-9][0-9]_*.py"))]


def find(name):
    """The chapter whose name is, or starts with, `name`."""
    found = [chapter for chapter in chapters() if chapter.name.startswith(Path(name).stem)]
    if len(found) != 1:
        listed = ", ".join(chapter.name for chapter in chapters())
        raise UsageError(f"chapter {name!r} is {'unknown' if not found else 'ambiguous'}; the chapters are: {listed}")
    return found[0]


def profiles():
    """Profile to chapter to parameters, from ``book/profiles.yml``; every name in it is checked."""
    table = yaml.safe_load((BOOK / "profiles.yml").read_text())
    names = {chapter.name: chapter for chapter in chapters()}
    for profile, settings in table.items():
        for name, parameters in settings.items():
            if name not in names:
                raise UsageError(
                    f"profile {profile!r} names the chapter {name!r}; the chapters are: {', '.join(names)}"
                )
            names[name].check(parameters)
    return table


def _known_profile(profile):
    table = profiles()
    if profile not in table:
        raise UsageError(f"profile {profile!r} is unknown; the profiles are: {', '.join(table)}")
    return profile


def bnlib_modules(path):
    """The files of bnlib that `path` imports, directly or through others, sorted."""
    found, waiting = set(), [path]
    while waiting:
        for name in _imported(ast.parse(waiting.pop().read_text())):
            module = ROOT / "bnlib" / f"{name}.py"
            if module.is_file() and module not in found:
                found.add(module)
                waiting.append(module)
    return sorted(found)


def _imported(tree):
    """Names of bnlib's modules in the import statements of `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bnlib":
            inside = node.module.split(".")[1:]
            yield from inside[:1] or ["__init__", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("bnlib."))
