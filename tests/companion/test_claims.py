"""Claims from statement to verdict, out of notebooks that are made here."""

import dataclasses
import re

import jsonschema
import pytest
from fastjsonschema import JsonSchemaValueException

from companion import ROOT, records
from companion.build import claims as claims_module
from companion.build import pages
from companion.build.claims import IncompleteClaims, as_text, collect, holm, listed, recorded, verdict
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
    shown = Figure(
        "noise-path", "What to see", "a curve falls from 1 at 0 to 0.5 at 2.", "closed form, no data", "", ""
    )
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


def test_holm_is_that_of_the_textbook():
    """Four tests at 5 %: 0.01 against 0.0125, 0.005 before it; 0.03 fails against 0.025, and with it all larger ones."""
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == [True, False, False, True]
    assert holm([0.2]).tolist() == [False]
    assert holm([0.01, 0.012]).tolist() == [True, True]


def headlines(*p_values, stands_in=(7, 8)):
    """The rows of the claims page's first table, for empirical headlines with these p-values."""
    rows = [
        {
            "name": f"claim-{i}", "title": "It rises", "paper": "P4", "proof": None, "tests": [], "verdict": "borne out",
            "statement": "It rises.", "figures": [], "chapter": "noise-sweep",
            "checks": [
                {
                    "role": "headline", "dataset": "mnist", "seeds": [100, 109], "train_size": 50_000, "measured": 0.5,
                    "low": 0.4, "high": 0.6, "relation": "above", "predicted": 0.0, "p_value": p_value,
                    "verdict": "borne out" if p_value < 0.025 else "undecided", "stands_in": stands_in, "profile": "paper",
                    "kind": "empirical", "statement": "it rises", "chapter": "noise-sweep", "anchor": "check-1",
                    "repetitions": 10, "difference": 0.1, "tolerance": 0.0, "interval_method": "t",
                }
            ],
        }
        for i, p_value in enumerate(p_values)
    ]  # fmt: skip
    page = pages.claims_page(rows, {"noise-sweep": "Noise"}, {})
    return [line.split(" | ") for line in page.splitlines() if line.startswith("| [It rises]")]


def test_headlines_are_judged_alone_and_beside_each_other():
    found = headlines(0.001, 0.02, 0.3)
    assert [row[1] for row in found] == ["borne out", "borne out", "undecided"]
    assert [row[2] for row in found] == ["borne out", "undecided", "undecided"]
    number = '<a href="noise-sweep.html#check-1">0.50 [0.40, 0.60]</a>, claimed > 0'
    assert found[0][3:] == [number, "7 of 8", "mnist, 50,000 images, seeds 100 to 109 |"]
    assert [row[2] for row in headlines(0.001, 0.012)] == ["borne out", "borne out"]
    assert headlines(0.001, stands_in=None)[0][4] == "—"  # where nobody has read the runs in another way


def test_what_is_empirical_rests_on_its_runs_and_names_no_test_of_machinery_as_evidence(two_claims):
    yml = CLAIMS.replace("  chapter: noise-sweep", "  chapter: noise-sweep\n  tests: [tests/library/test_data.py]")
    book = {"noise": notebook(proof()), "noise-sweep": notebook(trend())}
    titles = {"noise": "Noise", "noise-sweep": "Sweep"}
    for text, said in (
        (CLAIMS, "Evidence: the runs in the rows below; no proof. Verdict: **borne out**."),
        (
            yml,
            "no proof. How numbers come from runs is tested on a table made by hand: `tests/library/test_data.py` (",
        ),
    ):
        (two_claims / "claims.yml").write_text(text)
        page = pages.claims_page(collect(book, "quick"), titles, {})
        theorem, empirical = page[page.index("(claim-noise)") :].split("(claim-regret)")
        assert said in empirical and "Proof:" not in empirical
        assert "Proof: {prf:ref}`thm-noise`. Tests: `tests/theorems/test_noise.py` (" in theorem


@pytest.mark.parametrize("claim", [claim for claim in listed() if not claim.proven], ids=lambda claim: claim.name)
def test_the_tests_of_an_empirical_claim_compute_its_numbers(claim):
    """Each file named holds the module that makes the claim's rows against runs made by hand."""
    assert claim.tests
    for test in claim.tests:
        text = (ROOT / test).read_text()
        assert "made_by_hand" in text
        assert re.search(r"from companion\.studies import .*\b(questions|amounts)\b", text)


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
    with pytest.raises(JsonSchemaValueException, match="role must be one of"):
        collect({"noise": book}, "quick")


def test_functions_are_those_whose_docstrings_cite_the_theorem(two_claims):
    (two_claims / "bnlib").mkdir()
    (two_claims / "bnlib" / "one.py").write_text(
        'def cites():\n    """By theorem noise."""\n\ndef other():\n    """By theorem noises."""\n'
    )
    assert listed()[0].functions() == ["bnlib.one.cites"]
