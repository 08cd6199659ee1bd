"""A book of three small chapters in a folder of its own, to be harmed at will: its build takes seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from companion import ROOT

PROFILE = "tiny"
LIMIT = 30  # seconds that a chapter may take
NEEDED = ("bnlib", "companion", "_config.yml", "requirements.txt", "package.json", "package-lock.json", "CITATION.cff")
SILENT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")

CHAPTER = """\
# %% [markdown]
# # Chapter {name}
#
# Of few words.

# %% tags=["parameters"]
count = 2

# %%
import time

import pandas

from bnlib import validation
from companion.page import check, finding, offer

time.sleep({seconds})

# %%
found = check("tiny", "twice {name}", 2.0 * count, 4.0)
finding("Twice {name} is {{measured:.0f}}.", found)
offer(pandas.DataFrame({{"count": [count], "twice": [2 * count]}}), "{name}.csv", "one number a row")

# %% [markdown]
# $2 \\cdot 2 = 4$.
"""
PAGES = {
    "index.md": "# A tiny book\n\n{value}`one: twice one` is twice one.\n",
    "bibliography.md": "# Bibliography\n",
    "claims.md": "# Claims\n",
    "built.md": "# How it was built\n",
    "findings.md": "# What was found\n",
    "glossary.md": "# Glossary\n\n:::{glossary}\ntwice\n  Two times.\n:::\n",
    "teach.md": "# For those who teach\n",
    "claims.yml": "tiny: {title: Tiny, statement: Twice is twice., paper: none, chapter: one}\n",
    "references.bib": "",
    "profiles.yml": f"limit: {{{PROFILE}: {LIMIT}}}\n{PROFILE}: {{}}\n",
}
NAMES = ("one", "two", "three")
TOC = "format: jb-book\nroot: book/index\nparts:\n  - chapters:\n" + "".join(
    f"      - file: book/{name}\n" for name in (*NAMES, "findings", "glossary", "teach", "claims", "built")
)


class Book:
    """The tree of a tiny book, and its commands.

    Parameters
    ----------
    root : Path
        A folder that does not exist; `make` fills it.
    build : Path, optional
        Where it is built; default: ``_build`` in the tree.
    """

    def __init__(self, root, build=None):
        self.root, self.build = Path(root), Path(build or Path(root) / "_build")

    @classmethod
    def make(cls, root):
        """The sources of a book, of this checkout's packages."""
        book = cls(root)
        for name in NEEDED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, book.root / name, ignore=SILENT)
            else:
                shutil.copy2(ROOT / name, book.root / name)
        (book.root / "node_modules").symlink_to(ROOT / "node_modules")
        (book.root / "_toc.yml").write_text(TOC)
        shutil.copytree(ROOT / "book" / "moving", book.root / "book" / "moving")
        for name, text in PAGES.items():
            (book.root / "book" / name).write_text(text)
        for name in NAMES:
            book.write(name, CHAPTER.format(name=name, seconds=0.2))
        return book

    @property
    def site(self):
        return self.build / "html"

    def chapter(self, name):
        return self.root / "book" / f"{name}.py"

    def write(self, name, text):
        self.chapter(name).write_text(text)

    def edit(self, name, old, new):
        """Change a chapter; `old` has to be there."""
        text = self.chapter(name).read_text()
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        self.write(name, text.replace(old, new))

    def start(self, *arguments, **keywords):
        """``python -m companion book`` under way, in a session of its own."""
        own = {"BNLIB_BUILD": str(self.build), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)}
        command = [sys.executable, "-m", "companion", *(arguments or ("book", "--profile", PROFILE, "--jobs", "2"))]
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | keywords
        return subprocess.Popen(command, cwd=self.root, env=os.environ | own, start_new_session=True, **keywords)

    def run(self, *arguments, **keywords):
        """The status with which the command ended, and what it said."""
        process = self.start(*arguments, **keywords)
        said, _ = process.communicate()
        return process.returncode, said
