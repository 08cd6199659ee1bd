"""Claims from statement to verdict, out of notebooks that are made here."""

import dataclasses
import re

import jsonschema
import pytest

from companion import records
from companion.build import claims as claims_module
from companion.build.claims import IncompleteClaims, as_text, collect, listed, recorded, verdict
from companion.page import check
from companion.records import Figure, Rows, as_json

CLAIMS = """\
noise:
  title: Noise
  paper: P3
  proven: true
  tests: [tests/library/test_data.py]
  statement: >
    It falls
    with the noise.
regret:
  title: What is lost
  paper: P4
  chapter: noise-sweep
  statement: Little.
"""


@pytest.fixture(autouse=True)
def two_claims(tmp_path, monkeypatch):
    for name in ("theorems/test_noise.py", "library/test_data.py"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "claims.yml").write_text(CLAIMS)
    monkeypatch.setattr(claims_module, "BOOK", tmp_path)
    monkeypatch.setattr(claims_module, "ROOT", tmp_path)
    return tmp_path


def notebook(*kept):
    """As papermill leaves one: each record in an output, and some that are no records."""
    outputs = [{"data": {records.MIME: as_json(one), "text/html": ["<p>", type(one).__name__]}} for one in kept]
    outputs += [{"output_type": "stream", "text": "rate"}, {"data": {"text/plain": "1"}}]
    return {"cells": [{"cell_type": "markdown", "source": ""}, {"cell_type": "code", "outputs": outputs}]}


def trend(role=None, samples=(1.0, 1.1, 1.2), claim="regret"):
    return check(claim, "a trend", list(samples), 0.5, kind="empirical", relation="above", role=role)


def proof(**changes):
    return dataclasses.replace(check("noise", "the path", 1.0, 1.0), **changes)


def test_claims_are_found_by_their_word():
    noise, regret = listed()
    assert (noise.name, noise.proof, noise.chapter, noise.proven) == ("noise", "thm-noise", "noise", True)
    assert noise.statement == "It falls with the noise."
    assert noise.tests == ["tests/theorems/test_noise.py", "tests/library/test_data.py"]
    assert (regret.proof, regret.chapter, regret.tests) == (None, "noise-sweep", [])


def test_records_are_read_from_notebooks_by_kind():
    book = {"noise": notebook(proof(), Rows("runs.csv", "a row each", "a\n1\n")), "noise-sweep": notebook(trend())}
    assert [(name, record.claim, html) for name, record, html in recorded(book, "check")] == [
        ("noise", "noise", "<p>Check"),
        ("noise-sweep", "regret", "<p>Check"),
    ]
    assert [record.file for _, record, _ in recorded(book, "rows")] == ["runs.csv"]
    assert list(recorded(book, "finding")) == []


def test_claims_get_the_checks_of_all_chapters_and_say_where_they_are():
    shown = Figure("noise-path", "What to see", "a curve falls from 1 at 0 to 0.5 at 2.", "closed form, no data")
    book = {"noise": notebook(proof(), shown), "noise-sweep": notebook(trend(), trend("assumption", claim="noise"))}
    noise, regret = collect(book, "quick")
    assert [(row["chapter"], row["profile"], row["role"]) for row in noise["checks"]] == [
        ("noise", "quick", "theorem"),
        ("noise-sweep", "quick", "assumption"),
    ]
    assert noise["figures"] == ["noise.html#noise-path"]
    assert noise["verdict"] == "proven, checked"
    assert (regret["proof"], regret["verdict"]) == (None, "borne out")
    jsonschema.validate([noise, regret], records.claims_schema())
    assert as_text([noise, regret]) == as_text(collect(book, "quick"))


ROWS = {
    name: [{"role": role, "verdict": verdict}]
    for name, role, verdict in [
        ("theorem holds", "theorem", "holds"),
        ("theorem on data", "theorem", "borne out"),
        ("theorem open", "theorem", "undecided"),
        ("broken assumption", "assumption", "not borne out"),
        ("explored", "exploratory", "not borne out"),
        ("headline", "headline", "undecided"),
        ("explored well", "exploratory", "borne out"),
    ]
}


@pytest.mark.parametrize(
    "proven, names, said",
    [
        (True, ["theorem holds"], "proven, checked"),
        (True, ["theorem holds", "broken assumption", "explored", "headline"], "proven, checked"),
        (True, ["theorem holds", "theorem on data"], "proven, checked; on data: borne out"),
        (True, ["theorem on data", "theorem open"], "proven, checked; on data: 1 borne out, 1 undecided"),
        (False, ["explored well"], "borne out"),
        (False, ["explored well", "explored well"], "borne out"),
        (False, ["explored well", "headline", "explored"], "1 borne out, 1 undecided, 1 not borne out"),
    ],
)
def test_a_theorem_is_judged_by_its_theorem_rows_alone(proven, names, said):
    rows = [row for name in names for row in ROWS[name]]
    assert verdict(proven, rows) == said
    assert verdict(proven, rows[::-1]) == said


@pytest.mark.parametrize(
    "book, message",
    [
        ({"noise": [proof()]}, "no chapter records a check of regret"),
        ({"noise": [proof(), trend(), proof(claim="other")]}, "claims.yml does not list: other"),
    ],
)
def test_a_claim_without_evidence_and_evidence_without_a_claim_are_refused(book, message):
    with pytest.raises(IncompleteClaims, match=message):
        collect({name: notebook(*kept) for name, kept in book.items()}, "quick")


def test_a_test_that_is_not_there_is_named(two_claims):
    (two_claims / "tests" / "theorems" / "test_noise.py").unlink()
    with pytest.raises(IncompleteClaims, match=re.escape("noise names tests that are not there: tests/theorems/")):
        collect({"noise": notebook(proof(), trend())}, "quick")


def test_a_record_of_another_form_is_refused():
    book = notebook(proof(), trend())
    book["cells"][1]["outputs"][0]["data"][records.MIME]["role"] = "proof"
    with pytest.raises(jsonschema.ValidationError, match="'proof' is not one of"):
        collect({"noise": book}, "quick")


def test_functions_are_those_whose_docstrings_cite_the_theorem(two_claims):
    (two_claims / "bnlib").mkdir()
    (two_claims / "bnlib" / "one.py").write_text(
        'def cites():\n    """By theorem noise."""\n\ndef other():\n    """By theorem noises."""\n'
    )
    assert listed()[0].functions() == ["bnlib.one.cites"]
