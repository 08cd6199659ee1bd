"""One name for a thing: the word of a theorem finds its label, its tests, its functions and its claim."""

import re
import subprocess

import pytest
import yaml

from companion import BOOK, ROOT
from companion.build.claims import listed

WORDS = [
    "constraint",
    "rate",
    "stationarity",
    "least-squares",
    "invariance",
    "noise",
    "cross-entropy",
    "split",
    "depth",
    "minibatch",
    "momentum",
    "margins",
    "half-tuned",
]
CLAIMS = {claim.name: claim for claim in listed()}
CHAPTERS = {path.stem: path.read_text() for path in BOOK.glob("*.py")}
LABELS = [(label, name) for name, text in CHAPTERS.items() for label in re.findall(r":label: (thm-[\w-]+)", text)]
# names that stood for the same things before they had words; written so that this file does not hold them
OLD_NAMES = re.compile(r"\bT[1-9][ew]?\b|\bP4[a-j]\b")
TEXTS = {".py", ".md", ".yml", ".toml", ".js", ".bib", ".css", ""}


def tracked():
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("word", WORDS)
def test_the_word_of_a_theorem_finds_all_that_belongs_to_it(word):
    claim = CLAIMS[word]
    assert claim.proven
    assert [name for label, name in LABELS if label == f"thm-{word}"] == [claim.chapter]
    assert claim.tests[0] == f"tests/theorems/test_{word.replace('-', '_')}.py"
    assert all((ROOT / test).is_file() for test in claim.tests)
    assert claim.functions(), f"no docstring of bnlib cites theorem {word}"
    first = (ROOT / claim.tests[0]).read_text().splitlines()[0]
    assert first.startswith(f'"""Theorem {word}: ')


def test_there_is_no_theorem_without_a_claim():
    assert sorted(label for label, _ in LABELS) == sorted(f"thm-{word}" for word in WORDS)
    assert [claim.name for claim in CLAIMS.values() if claim.proven] == WORDS


def test_docstrings_cite_theorems_that_exist():
    for path in (ROOT / "bnlib").rglob("*.py"):
        cited = re.findall(r"[(,]\s*theorem ([\w-]+)", path.read_text())
        assert set(cited) <= set(WORDS), path.name


def test_references_in_the_book_are_to_theorems_that_exist():
    for path in [*BOOK.glob("*.py"), *BOOK.glob("*.md"), BOOK / "claims.yml"]:
        assert set(re.findall(r"`thm-([\w-]+)`", path.read_text())) <= set(WORDS), path.name


def test_every_claim_names_a_chapter_that_is_there():
    assert {claim.chapter for claim in CLAIMS.values()} <= set(CHAPTERS)
    recorded = {
        name: set(re.findall(r'\bcheck\(\s*"([\w-]+)"', text)) | set(re.findall(r'\bclaim="([\w-]+)"', text))
        for name, text in CHAPTERS.items()
    }
    for name, claims in recorded.items():
        assert claims <= set(CLAIMS), name


def test_chapters_carry_no_number_and_are_those_of_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    notebooks = [name.removeprefix("book/") for name in files if (ROOT / f"{name}.py").is_file()]
    assert sorted(notebooks) == sorted(CHAPTERS)
    assert not [name for name in CHAPTERS if re.search(r"\d|_", name)]
    assert all((ROOT / f"{name}.py").is_file() or (ROOT / f"{name}.md").is_file() for name in files)


def test_no_file_knows_the_names_of_before():
    wrong = {}
    for path in tracked():
        if path.suffix in TEXTS and path.name != "package-lock.json":
            lines = [line for line in path.read_text().splitlines() if OLD_NAMES.search(line)]
            if lines:
                wrong[path.relative_to(ROOT).as_posix()] = lines[0]
    assert wrong == {}


def test_control_the_names_of_before_would_be_found():
    assert all(OLD_NAMES.search(f"see {letter}{number}.") for letter, number in (("T", "1"), ("T", "3e"), ("P4", "a")))
    assert not any(OLD_NAMES.search(text) for text in ("T.T", "X.T @ X", "P4", "BT1", "thm-rate"))
