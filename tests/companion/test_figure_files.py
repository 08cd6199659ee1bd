"""Figures on pages: numbered in the order of the book, with files of their own and the command that makes them."""

import re

import pytest

from companion import BOOK as PAGES
from companion import ROOT, records
from companion.build import figures
from companion.records import Figure

CURVE = '<div><svg viewBox="0 0 1 1"><path stroke="currentColor"/></svg></div>'


def executed(*anchors, csv="x,y\n0,1\n"):
    cells = []
    for anchor in anchors:
        record = Figure(anchor, "What <to> see.", "a curve falls from 1 at 0 to 0.5 at 2.", "MNIST", csv, "aGk=")
        markup = f'<figure id="{anchor}">{records.caption_html(record)}{CURVE}{records.notes_html(record)}</figure>'
        data = {records.MIME: records.as_json(record), "text/html": markup}
        cells.append({"cell_type": "code", "outputs": [{"data": data}]})
    return {"cells": cells}


BOOK = {"noise": executed("noise-path", "noise-rings"), "rate": executed("rate-bowl", csv="")}


def shown(anchor):
    for chapter, record, markup in figures.recorded(BOOK, "figure"):
        if record.anchor == anchor:
            number = figures.numbers(BOOK)[anchor]
            return figures.captioned(markup, record, number, chapter, "paper")


def test_figures_are_numbered_through_the_book():
    assert figures.numbers(BOOK) == {"noise-path": 1, "noise-rings": 2, "rate-bowl": 3}


def test_a_caption_has_number_words_files_and_command():
    caption = shown("noise-rings")
    assert caption.count("<figcaption>") == caption.count("</figcaption>") == 1
    assert (
        '<figcaption><a class="figure-number" href="noise.html#noise-rings">Figure 2.</a> What &lt;to&gt; see.'
        in caption
    )
    assert [f"noise-rings.{kind}" in caption for kind in ("svg", "png", "csv")] == [True] * 3
    assert "<code>python -m companion figure noise-rings --profile paper</code>" in caption
    assert "rate-bowl.csv" not in shown("rate-bowl")  # drawn by hand: there are no numbers


def test_every_link_has_its_file():
    files = figures.files(BOOK)
    for anchor in ("noise-path", "noise-rings", "rate-bowl"):
        for kind in ("svg", "png", "csv"):
            name = f"{figures.FOLDER}/{anchor}.{kind}"
            assert (name in files) == (f'href="../{name}"' in shown(anchor)), name
    svg = files["results/figures/noise-path.svg"].decode()
    assert svg.startswith("<?xml") and svg.endswith("</svg>\n") and "currentColor" not in svg
    assert files["results/figures/noise-path.png"] == b"hi"


def test_the_list_of_figures_has_all_of_them_by_chapter():
    text = figures.listed(BOOK, {"noise": "Noise", "rate": "The rate"})
    assert text.index("**Noise**") < text.index("Figure 2") < text.index("**The rate**") < text.index("Figure 3")


@pytest.mark.parametrize("name", ["no-such-figure", "batch"])
def test_a_figure_that_no_chapter_shows_is_refused(name):
    with pytest.raises(figures.NoSuchFigure, match=f"figure '{name}' is in "):
        figures.chapter_of(name)


@pytest.mark.parametrize("path", [ROOT / "README.md", PAGES / "teach.md"], ids=lambda path: path.name)
def test_a_figure_that_a_text_names_is_there(path):
    named = re.findall(r"companion figure ([\w-]+)", path.read_text())
    assert named
    for name in named:
        figures.chapter_of(name)
