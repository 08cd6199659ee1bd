"""What chapters promise and say: no sentence that points at results instead of saying them, and one form for all."""

import re

import pytest

from companion import BOOK
from companion.build import pages
from companion.build.chapters import chapters

POINTS = re.compile(r"\b(rows?|verdicts?|matrix|numbers?) (above|below) (say|says|show|shows|tell|tells)\b")
EMPTY = ("counts as 0", "short way round", "whichever way it came out", "without answers", "hold the search against")
TEXTS = sorted([*BOOK.glob("*.py"), *BOOK.glob("*.md")])


def prose(path):
    text = re.sub(r"\n(# )?", " ", path.read_text())
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_sentence_points_at_results_instead_of_saying_them(path):
    assert not POINTS.search(prose(path)), POINTS.search(prose(path))
    assert [words for words in EMPTY if words in prose(path)] == []


def test_control_such_a_sentence_is_found():
    assert POINTS.search("as noise grows, the rows above say what came out")
    assert POINTS.search("the verdicts above say whether")


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.name)
def test_a_chapter_says_what_it_builds_on_what_one_knows_after_it_and_ends_with_exercises(chapter):
    cells = [cell.source for cell in chapter.notebook.cells if cell.cell_type == "markdown"]
    assert re.match(r"# .+\n\nBuilds on .+?\.\nAfter it you (can|know) .+?\.\n\n", cells[0], flags=re.DOTALL)
    text = "\n\n".join(cells)
    wanted = ("What it means for your network", "What we learned", "Where it stops", "Exercises")
    places = [text.find(f"## {heading}") for heading in wanted]
    assert -1 not in places and places == sorted(places)
    assert {"Derive", "Run"} <= set(re.findall(r"^\*\*\d\. (\w+)\.\*\*", text, flags=re.MULTILINE))


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.name)
def test_a_chapter_shows_at_most_60_lines_of_code(chapter):
    assert pages.visible_lines(chapter.notebook) <= 60
