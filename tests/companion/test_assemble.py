"""The sources of the site: the text of now with the outputs of the last run, and what is made of both."""

import json
import re
import time

import nbformat
import pytest

from companion import records
from companion.build import assemble, pages
from companion.build.assemble import download_of, merged, page_of
from companion.build.chapters import Chapter, chapters
from companion.build.site import sync
from companion.records import Figure, Finding, Table, as_json

TEXT = """\
# %% [markdown]
# # Noise
#
# What it does.

# %% tags=["parameters"]
count = 2

# %%
print(count)

# %% tags=["hide-input"]
table = 1
"""
SHOWN = Figure("noise-path", "What to see", "a curve falls from 1 at 0 to 0.5 at 2.", "closed form, no data", "", "")


def output(record, html="<b>shown</b>"):
    data = {records.MIME: as_json(record), "text/html": [html], "text/plain": ["shown"]}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def code(*outputs, tags=(), source=""):
    cell = {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}, "outputs": list(outputs)}
    return cell | {"execution_count": 7, "id": "x"}


@pytest.fixture
def chapter(tmp_path):
    path = tmp_path / "noise.py"
    path.write_text(TEXT)
    return Chapter(path)


@pytest.fixture
def executed():
    stream = {"output_type": "stream", "name": "stdout", "text": "5\n"}
    return {
        "cells": [
            {"cell_type": "markdown", "source": "# Noise\n\nWhat it did.", "metadata": {}},
            code(tags=["parameters"]),
            code(tags=["injected-parameters"], source="# this run's profile sets\ncount = 5\n"),
            code(stream, output(Finding("The rate is 1.50 * $x$.", ["check-1"]))),
            code(output(SHOWN), output(Table("Numbers", "generated data"))),
        ],
        "metadata": {"bnlib": {"seconds": 3.0}, "kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_a_page_has_the_text_of_now_and_the_outputs_of_the_last_run(chapter, executed):
    notebook = merged(chapter, executed)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code", "code"]
    assert "What it does." in notebook.cells[0].source
    assert notebook.cells[2].source == "# this run's profile sets\ncount = 5\n"
    assert notebook.cells[3].source == "print(count)"
    assert notebook.cells[3].outputs[0].text == "5\n"
    assert "bnlib" not in notebook.metadata  # seconds differ from run to run
    executed["metadata"]["bnlib"]["seconds"] = 4.0
    assert merged(chapter, executed) == notebook


def test_a_paragraph_more_keeps_every_output_at_its_cell(chapter, executed):
    chapter.path.write_text(TEXT.replace("# %%\nprint", "# %% [markdown]\n# A paragraph more.\n\n# %%\nprint"))
    notebook = merged(Chapter(chapter.path), executed)
    assert [cell.outputs[0].text for cell in notebook.cells if cell.source == "print(count)"] == ["5\n"]
    assert len(notebook.cells[-1].outputs) == 2


def test_a_page_says_in_short_what_was_found_and_shows_no_record(chapter, executed):
    page = json.loads(page_of(chapter, executed, {SHOWN.anchor: 7}, "quick"))
    head = "".join(page["cells"][0]["source"])
    assert head.startswith("# Noise\n")
    assert re.search(r"\*\d+ minutes? to read\.\*", head)
    assert r"The rate is 1.50 \* \$x\$." in head  # words, not markup
    assert head.index("in-short") < head.index("What it does.")
    assert records.MIME not in json.dumps(page)
    outputs = [one for cell in page["cells"] for one in cell.get("outputs", [])]
    assert [one["output_type"] for one in outputs] == ["stream", "display_data", "display_data"]


def test_a_download_says_where_it_runs(chapter, executed):
    notebook = nbformat.reads(download_of(chapter, executed), 4)
    assert "clone" in notebook.cells[0].source
    assert records.MIME not in nbformat.writes(notebook)
    assert any(cell.source == "print(count)" for cell in notebook.cells)


def test_lines_and_minutes_are_those_that_a_reader_sees(chapter):
    assert pages.visible_lines(chapter.notebook) == 2
    folded = ":::{dropdown} Proof\n" + "word " * 2200 + "\n:::\n"
    chapter.path.write_text(TEXT.replace("# What it does.", f"# {folded}".replace("\n", "\n# ")))
    assert pages.minutes(Chapter(chapter.path).notebook) == 1
    chapter.path.write_text(TEXT.replace("What it does.", "word " * 2200))
    assert pages.minutes(Chapter(chapter.path).notebook) == 10


def test_every_chapter_has_an_exercise_to_derive_and_one_to_run_and_the_list_has_them():
    text = pages.exercises(chapters())
    for chapter in chapters():
        _, _, own = text.partition(f"{{doc}}`{chapter.name}` (")
        lines = own.split("\n\n")[1].splitlines()
        assert [line.split(".*")[0] for line in lines] == ["- *Derive", "- *Run"], chapter.name
        assert all(len(line) > 60 for line in lines)


def test_sources_that_have_not_changed_are_not_touched(tmp_path):
    sync(tmp_path, {"a.md": b"one", "book/b.md": b"two", "book/c.md": b"three"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    time.sleep(0.01)
    sync(tmp_path, {"a.md": b"one", "book/b.md": b"other"})
    assert (tmp_path / "a.md").stat().st_mtime_ns == before[tmp_path / "a.md"]
    assert (tmp_path / "book" / "b.md").read_bytes() == b"other"
    assert not (tmp_path / "book" / "c.md").exists()


def test_the_moving_figures_become_one_script():
    bundle = assemble._vendored()["_vendor/moving.js"].decode()
    assert not re.search(r"^(import|export)\b", bundle, flags=re.MULTILINE)
    assert "dataset.figure" in bundle


def test_pages_of_the_book_are_filled_before_sphinx_reads_them(chapter, executed, tmp_path, monkeypatch):
    there = {"chapter": "noise", "statement": "rate at noise_std 3", "anchor": "check-1"}
    check = there | {"measured": 2.0, "low": None}
    for name in ("bibliography", "claims", "built", "findings", "teach", "which"):
        (tmp_path / f"{name}.md").write_text("# A page\n\n{value}`noise: rate at noise_std 3`\n")
    monkeypatch.setattr(assemble, "BOOK", tmp_path)
    monkeypatch.setattr(assemble, "_vendored", dict)
    monkeypatch.setattr(pages, "claims_page", lambda *_: "")
    monkeypatch.setattr(pages, "colophon", lambda *_: "")
    files = assemble.sources([chapter], {"noise": executed}, [{"checks": [check]}], "quick")
    for name in ("bibliography", "claims", "built", "findings", "teach", "which"):
        assert b'<a href="noise.html#check-1">2.00</a>' in files[f"book/{name}.md"]
    assert r"- The rate is 1.50 \* \$x\$." in files["book/findings.md"].decode()
