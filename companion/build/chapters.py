"""What a chapter is: a py:percent file with a parameters cell, run under a profile."""

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import yaml

from bnlib import data, source
from companion import BOOK, ROOT

SETTINGS = ("seconds", "limit")  # in book/profiles.yml, beside the profiles
CODE_FOLDED = {"hide-input", "remove-input", "hide-cell"}


class UsageError(ValueError):
    """The caller asked for something that does not exist; the message lists what does."""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book, ``book/<name>.py``."""

    path: Path

    @property
    def name(self):
        return self.path.stem

    @cached_property
    def notebook(self):
        import jupytext  # takes half a second, which a build that has nothing to do need not spend

        return jupytext.read(self.path, fmt="py:percent")

    @cached_property
    def code(self):
        """The cells that are run, as (what stands behind ``# %%``, text): everything else is prose."""
        pieces = re.split(r"^# %%(.*)$", self.path.read_text(), flags=re.MULTILINE)
        return [
            (head.strip(), body.strip()) for head, body in zip(pieces[1::2], pieces[2::2]) if "[markdown]" not in head
        ]

    @cached_property
    def defaults(self):
        """The parameters and their values as written in the chapter."""
        cells = [body for head, body in self.code if '"parameters"' in head]
        if not cells:
            return {}
        return {
            target.id: ast.literal_eval(statement.value)
            for statement in ast.parse(cells[0]).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
        }

    @cached_property
    def title(self):
        return re.search(r"^# # (.+)$", self.path.read_text(), flags=re.MULTILINE)[1]

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
        """Changes when anything does that the outputs depend on: code, modules behind it, parameters, versions.

        Prose is no part of it. Whether a data set is there counts for the chapters that have a parameter `dataset`:
        one that ran without the files, and said so, runs again when they appear.
        """
        digest = hashlib.sha256()
        code = [(tags, ast.unparse(ast.parse(body))) for tags, body in self.code]  # comments are prose too
        digest.update(json.dumps([code, parameters], sort_keys=True).encode())
        digest.update(source.digest(self.path, Path(__file__).with_name("execute.py")).encode())
        digest.update((ROOT / "requirements.txt").read_bytes())
        if "dataset" in self.defaults:
            digest.update(repr(data.is_available((self.defaults | parameters)["dataset"])).encode())
        return digest.hexdigest()


def chapters():
    """All chapters, in the order of the book: the files of ``_toc.yml`` that are notebooks."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [Path(entry["file"]).name for part in toc["parts"] for entry in part["chapters"]]
    return [Chapter(BOOK / f"{name}.py") for name in listed if (BOOK / f"{name}.py").is_file()]


def find(name):
    """The chapter whose name is, or is the only one to start with, `name`."""
    wanted = Path(name).stem
    found = [chapter for chapter in chapters() if chapter.name == wanted]
    found = found or [chapter for chapter in chapters() if chapter.name.startswith(wanted)]
    if len(found) != 1:
        listed = ", ".join(chapter.name for chapter in chapters())
        raise UsageError(f"chapter {name!r} is {'unknown' if not found else 'ambiguous'}; the chapters are: {listed}")
    return found[0]


def budgets():
    """Chapter to the seconds that it may take in the profile `quick`, from ``book/profiles.yml``."""
    return _parsed((BOOK / "profiles.yml").read_text()).get("seconds", {})


def limit(profile):
    """After how many seconds a chapter is stopped under `profile`, from ``book/profiles.yml``; None: never."""
    return _parsed((BOOK / "profiles.yml").read_text()).get("limit", {}).get(profile)


def profiles():
    """Profile to chapter to parameters, from ``book/profiles.yml``; every name in it is checked."""
    table = {
        name: settings
        for name, settings in _parsed((BOOK / "profiles.yml").read_text()).items()
        if name not in SETTINGS
    }
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


@lru_cache(maxsize=4)
def _parsed(text):
    return yaml.safe_load(text)
