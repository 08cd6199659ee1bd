"""Numbers of this build in written pages: what a placeholder becomes, and when it fails the build."""

import re

import pytest

from companion import BOOK, records
from companion.build import BuildFailed
from companion.build.chapters import chapters
from companion.build.placeholders import NothingFits, Recorded
from companion.records import Figure, as_json

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


def fill(text, *checks, notebooks=None):
    return Recorded([{"checks": list(checks)}], TITLES, notebooks or {}, "quick").filled("book/which.md", text)


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
    with pytest.raises(NothingFits, match=re.escape(f"book/which.md: {{measured}}`{placeholder}` {message}")):
        fill(f"Yes: {{measured}}`{placeholder}`.", CHECK, OTHER)


def test_control_a_statement_that_was_reworded_fails_the_build():
    text = "{measured}`noise: rate at noise_std 3`"
    assert fill(text, CHECK) != text
    with pytest.raises(BuildFailed, match="fits 0 checks"):
        fill(text, CHECK | {"statement": "the rate at noise_std 3, MNIST"})


def notebook(*shown):
    outputs = [{"data": {records.MIME: as_json(record), "text/html": [html]}} for record, html in shown]
    return {"cells": [{"cell_type": "code", "outputs": outputs}]}


def test_a_value_is_a_link_with_its_interval():
    assert fill("{value}`noise: rate at noise_std 3`", CHECK) == (
        '<a href="noise.html#check-1">−1.07 [−1.50, −0.25]</a>'
    )
    assert fill("{verdict}`noise: rate at noise_std 3`", CHECK, OTHER) == "**not borne out**"
    assert fill("{value}`noise: rate`", CHECK | {"low": None}) == '<a href="noise.html#check-1">−1.07</a>'


def test_a_figure_is_found_by_its_anchor():
    shown = {"noise": notebook((Figure("path", "What to see", "a curve falls.", "no data", "", ""), "<b>curve</b>"))}
    assert fill("{figure}`path`", notebooks=shown) == "```{raw} html\n<b>curve</b>\n```"
    with pytest.raises(NothingFits, match="fits 0 figures"):
        fill("{figure}`main-result`", notebooks=shown)


@pytest.mark.parametrize(("seeds", "said"), [([0, 1], "is a pilot"), ([100, 109], "Nobody had looked at these seeds")])
def test_a_page_says_which_profile_speaks_and_whether_its_seeds_are_new(seeds, said):
    headline = {"role": "headline", "profile": "paper", "dataset": "mnist", "train_size": 50000, "seeds": seeds}
    text = fill("{speaks}``", CHECK | headline)
    assert said in text
    assert f"`paper` (mnist, 50,000 images, seeds {seeds[0]} to {seeds[1]})" in text


def test_the_page_on_weight_decay_has_a_link_for_every_number():
    wanted = [" ".join(key.split()).partition(": ") for key in re.findall(r"\{measured\}`([^`]*)`", WHICH)]
    titles = {one.name: one.title for one in chapters()}
    assert len(wanted) == len(set(wanted)) > 20
    checks = [
        CHECK | {"chapter": chapter, "statement": beginning.replace("...", "any"), "anchor": f"check-{number}"}
        for number, (chapter, _, beginning) in enumerate(wanted)
    ]
    page = Recorded([{"checks": checks}], titles, {}, "quick").filled("page", WHICH)
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
