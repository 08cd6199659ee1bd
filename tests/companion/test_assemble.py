"""The sources of the site: the text of now with the outputs of the last run, and what is made of both."""

import json
import re
import time

import nbformat
import pytest

from companion import BOOK, records
from companion.build import BuildFailed, assemble, pages
from companion.build.assemble import AssemblyFailed, download_of, figure, filled, merged, page_of
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
SHOWN = Figure("noise-path", "What to see", "a curve falls from 1 at 0 to 0.5 at 2.", "closed form, no data")


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
    page = json.loads(page_of(chapter, executed))
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


def test_the_figure_of_the_front_page_is_found_by_its_anchor(executed):
    assert figure("noise-path", {"noise": executed}) == "<b>shown</b>"
    with pytest.raises(AssemblyFailed, match="no chapter shows a figure named 'main-result'"):
        figure("main-result", {"noise": executed})


def test_sources_that_have_not_changed_are_not_touched(tmp_path):
    sync(tmp_path, {"a.md": b"one", "book/b.md": b"two", "book/c.md": b"three"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    time.sleep(0.01)
    sync(tmp_path, {"a.md": b"one", "book/b.md": b"other"})
    assert (tmp_path / "a.md").stat().st_mtime_ns == before[tmp_path / "a.md"]
    assert (tmp_path / "book" / "b.md").read_bytes() == b"other"
    assert not (tmp_path / "book" / "c.md").exists()


def test_the_moving_figures_become_one_script():
    bundle = assemble._bundled(assemble.BOOK / "moving" / "start.js").decode()
    assert "import " not in re.sub(r'".*?"|//.*', "", bundle).split("function")[0]
    assert "effectiveWeights" in bundle


CHECK = {
    "claim": "noise",
    "statement": "rate at noise_std 3, MNIST",
    "kind": "empirical",
    "relation": "above",
    "measured": -1.0664,
    "predicted": 0.0,
    "difference": 0.1,
    "tolerance": 1e-12,
    "low": -1.5,
    "high": -0.25,
    "interval_method": "t",
    "repetitions": 3,
    "verdict": "not borne out",
    "chapter": "noise",
    "anchor": "check-1",
}
OTHER = CHECK | {"statement": "rate at noise_std 1, MNIST", "anchor": "check-2"}
TITLES = {"noise": "Noise: *signal*", "depth": "Depth"}
WHICH = (BOOK / "which-weight-decay.md").read_text()


def fill(text, *checks):
    return filled("book/which.md", text, [{"checks": list(checks)}], TITLES)


def test_a_placeholder_becomes_number_interval_verdict_and_link():
    text = "Decades: {measured}`noise: rate at noise_std\n  3`; see {doc}`noise`."
    assert fill(text, CHECK, OTHER) == (
        "Decades: <strong>−1.066</strong>, claimed above 0; 95\u00a0% interval −1.5 to −0.25 (3 seeds): "
        r'<a href="noise.html#check-1">not borne out, in “Noise: \*signal\*”</a>; see {doc}`noise`.'
    )


def test_three_dots_stand_for_what_a_profile_changes():
    for level in (3, 5):
        there = CHECK | {"statement": f"rate at noise_std {level}, MNIST"}
        assert "check-1" in fill("{measured}`noise: rate at noise_std ..., MNIST`", there)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "numeric", "low": None, "measured": None}, "difference 1.0e−01 (at most 1e−12): "),
        ({"kind": "exact", "low": None, "measured": None}, "exactly equal: "),
        (
            {"kind": "numeric", "low": None, "relation": "equal"},
            "</strong>, predicted 0; difference 1.0e−01 (",
        ),
        ({"low": None, "interval_method": None, "repetitions": 1}, "claimed above 0; one seed, no interval: "),
        ({"low": None, "interval_method": "all seeds give one value"}, "; all seeds give one value (3 seeds): "),
    ],
)
def test_every_kind_of_check_says_how_sure_it_is(changes, said):
    assert said in fill("{measured}`noise: rate`", CHECK | changes)


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("noise: no such thing", "fits 0 checks and has to fit one; those of 'noise' are:\n- rate at noise_std 3"),
        ("noise: rate at noise_std", "fits 2 checks and has to fit one; they are:\n- rate at noise_std 3"),
        ("noise: at noise_std 3", "fits 0 checks"),  # the beginning counts, not the middle
        ("noise", "fits 2 checks"),
        ("depht: rate", "fits 0 checks and has to fit one; the chapters are: noise, depth"),
    ],
)
def test_a_placeholder_that_fits_no_check_or_several_fails_the_build(placeholder, message):
    with pytest.raises(AssemblyFailed, match=re.escape(f"book/which.md: {{measured}}`{placeholder}` {message}")):
        fill(f"Yes: {{measured}}`{placeholder}`.", CHECK, OTHER)


def test_control_a_statement_that_was_reworded_fails_the_build():
    text = "{measured}`noise: rate at noise_std 3`"
    assert fill(text, CHECK) != text
    with pytest.raises(BuildFailed, match="fits 0 checks"):
        fill(text, CHECK | {"statement": "the rate at noise_std 3, MNIST"})


def test_pages_of_the_book_are_filled_before_sphinx_reads_them(chapter, executed, tmp_path, monkeypatch):
    executed["cells"][-1]["outputs"].append(output(Figure("main-result", "", "", "")))
    for name in ("claims", "built", "which"):
        (tmp_path / f"{name}.md").write_text("# A page\n\n{measured}`noise: rate at noise_std 3`\n")
    monkeypatch.setattr(assemble, "BOOK", tmp_path)
    monkeypatch.setattr(assemble, "_vendored", dict)
    monkeypatch.setattr(pages, "claims_page", lambda *_: "")
    monkeypatch.setattr(pages, "colophon", lambda *_: "")
    files = assemble.sources([chapter], {"noise": executed}, [{"checks": [CHECK, OTHER]}], "quick")
    for name in ("claims", "built", "which"):
        assert b'<a href="noise.html#check-1">not borne out, in ' in files[f"book/{name}.md"]


def test_the_page_on_weight_decay_has_a_link_for_every_number():
    wanted = [" ".join(key.split()).partition(": ") for key in assemble.PLACEHOLDER.findall(WHICH)]
    titles = {one.name: one.title for one in chapters()}
    assert len(wanted) == len(set(wanted)) > 20
    checks = [
        CHECK | {"chapter": chapter, "statement": beginning.replace("...", "any"), "anchor": f"check-{number}"}
        for number, (chapter, _, beginning) in enumerate(wanted)
    ]
    page = filled("page", WHICH, [{"checks": checks}], titles)
    assert "{measured}" not in page
    links = re.findall(r'<strong>[^<]+</strong>[^<]*: <a href="([\w-]+)\.html#(check-\d+)">', page)
    assert links == [(check["chapter"], check["anchor"]) for check in checks]
    assert page.count('<a href="') == len(links)


def test_every_question_on_weight_decay_has_an_address_an_answer_a_reason_and_a_number_or_none():
    questions = re.split(r"^(?=\(which-)", WHICH, flags=re.MULTILINE)[1:]
    labels = [question[1 : question.index(")=")] for question in questions]
    assert len(set(labels)) == len(labels) == len(re.findall(r"^## .+\?$", WHICH, flags=re.MULTILINE)) > 12
    assert set(re.findall(r"\(#(.+?)\)", WHICH)) <= set(labels)
    for question in questions:
        assert re.match(r"\(.+\)=\n## .+\?\n\n\*\*[^*]+\*\*", question)
        why, measured = question.index("\nWhy\n: "), question.index("\nMeasured here\n: ")
        assert why < measured
        assert "{measured}" in question[measured:] or re.search(
            "Not measured in this book|nothing to measure", question
        )
