"""What chapters call: a check with its verdict, a finding with its numbers, and the records beside what is shown."""

import dataclasses
import html

import numpy as np
import pandas as pd
import pytest

from bnlib import data
from companion import BOOK, page, records
from companion.page import ClaimFailed, check, finding, offer, outcome_of, sentence, table
from companion.records import Check, Source

NEAR_TWO = [1.9, 2.0, 2.1]  # mean 2, 95 % interval [1.752, 2.248]
DATA = Source("mnist-5k", 3000, (0, 1, 2), {"noise": 1.0})


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would get: a list of bundles."""
    import IPython
    import IPython.display

    bundles = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_a_check_carries_its_source_and_an_anchor_of_its_own():
    first = check("noise", "by the path", 1.0, 1.0, source=DATA)
    second = check("noise", "by the solver", 1.0, 1.0, source=DATA)
    assert (first.dataset, first.train_size, first.seeds) == ("mnist-5k", 3000, [0, 1, 2])
    assert first.conditions == {"noise": 1.0}
    assert first.anchor != second.anchor
    assert check("noise", "by the path", 2.0, 2.0).anchor == first.anchor  # it stays where the numbers change


@pytest.mark.parametrize(
    "given, kind, role",
    [
        (None, "exact", "theorem"),
        (None, "numeric", "theorem"),
        (None, "empirical", "exploratory"),
        ("assumption", "empirical", "assumption"),
        ("headline", "empirical", "headline"),
        ("assumption", "numeric", "assumption"),
    ],
)
def test_a_check_has_a_role(given, kind, role):
    predicted = 1.0 if kind == "empirical" else [1.0, 1.0]
    assert check("noise", "a thing", [1.0, 1.0], predicted, kind, tolerance=0.1, role=given).role == role


def test_an_unknown_role_is_refused():
    with pytest.raises(
        ValueError, match="role = 'proof' is unknown; .*'theorem', 'assumption', 'headline', 'exploratory'"
    ):
        check("noise", "a thing", 1.0, 1.0, role="proof")


def test_a_proven_claim_that_fails_raises_after_it_was_shown(shown):
    with pytest.raises(ClaimFailed, match=r"fails \| rate: wrong"):
        check("rate", "wrong", 1.0, 2.0)
    assert [bundle[records.MIME]["verdict"] for bundle in shown] == ["fails"]
    check("rises-with-noise", "a trend", NEAR_TWO, 9.0, kind="empirical", relation="above")  # an empirical one does not


def test_a_terminal_gets_one_line(capsys):
    check("least-squares", "the loss", 2.0, 2.0 + 1e-9, tolerance=1e-6)
    line = "holds | least-squares: the loss | measured 2, predicted = 2 | difference 5e-10, tolerance 1e-06"
    assert capsys.readouterr().out == f"{line}\n"
    check("regret", "a trend", NEAR_TWO, 1.0, kind="empirical", relation="above")
    assert capsys.readouterr().out == "borne out | regret: a trend | measured 2 [1.752, 2.248], predicted > 1\n"


def test_a_notebook_gets_html_and_the_record(shown):
    record = check("rate", "a < b & c", 1.0, 1.0)
    for samples in ([0.0, 0.1], [5.0]):
        check("regret", "trend", samples, 9.0, kind="empirical", relation="above")
    assert shown[0][records.MIME] == records.as_json(record)
    assert shown[0]["text/plain"] == str(record)
    assert html.escape("a < b & c") in shown[0]["text/html"]
    assert f'id="{record.anchor}"' in shown[0]["text/html"]
    assert '<a href="claims.html#claim-rate">' in shown[0]["text/html"]
    assert "</strong> regret: trend <span>0.05 [" in shown[1]["text/html"]  # its number before the row is opened
    states = [bundle["text/html"].split('"')[1] for bundle in shown]
    assert states == ["claim claim-yes", "claim claim-no", "claim claim-open"]
    assert [bundle[records.MIME]["verdict"] for bundle in shown[1:]] == ["not borne out", "undecided"]


def test_arrays_numpy_numbers_and_one_seed_can_be_recorded():
    for record in (
        check("rate", "arrays", np.ones(3), np.ones(3), tolerance=1e-9),
        check("rate", "numpy", np.float32(1.0), np.int64(1), tolerance=np.float64(0.1)),
        check("regret", "one seed", [1.0], np.float64(0.0), kind="empirical", relation="above"),
    ):
        assert isinstance(record, Check)
        assert records.from_json(records.as_json(record)) == record


def test_a_check_says_on_which_scale_it_was_measured_and_keeps_to_it(shown):
    shares = [0.98, 0.999]
    kept = check("split", "share", shares, 0.5, kind="empirical", relation="above", scale="share")
    assert (kept.scale, kept.interval_method) == ("share", "t of logits")
    assert 0 < kept.low < kept.measured < kept.high < 1
    assert shown[-1][records.MIME]["scale"] == "share"
    plain = check("split", "share, plain", shares, 0.5, kind="empirical", relation="above")
    assert plain.high > 1  # so that what is refused below is what a plain interval would be
    with pytest.raises(ValueError, match="on the scale 'share' it must lie from 0 to 1"):
        dataclasses.replace(plain, scale="share")
    with pytest.raises(ValueError, match="measured holds 0.98 to 1.2; on the scale 'share' they must be from 0 to 1"):
        check("split", "no share", [0.98, 1.2], 0.5, kind="empirical", relation="above", scale="share")


# Findings


def trend(samples, predicted=1.0):
    return check("regret", f"a trend at {predicted}", samples, predicted, kind="empirical", relation="above")


def said(capsys, pattern, *checks, **numbers):
    """What `finding` prints."""
    capsys.readouterr()
    finding(pattern, *checks, **numbers)
    return capsys.readouterr().out.rstrip("\n")


def test_a_finding_takes_its_numbers_from_its_check(shown):
    one = trend(NEAR_TWO)
    finding("It loses {interval:.2f} points over {repetitions} seeds.", one)
    record = shown[-1][records.MIME]
    assert (record["type"], record["checks"]) == ("finding", [one.anchor])
    assert record["text"] == "It loses 2.00 [1.75, 2.25] points over 3 seeds."


def test_a_finding_without_an_interval_says_why(capsys):
    same, alone = trend([2.0, 2.0, 2.0]), trend([2.0])
    assert said(capsys, "{interval:.1f} points", same) == "2.0 (all 3 seeds) points"
    assert said(capsys, "{interval:.1f} points", alone) == "2.0 points"
    ends = check("split", "share", [1.0, 0.9999], 0.5, kind="empirical", relation="above", scale="share")
    assert said(capsys, "{interval:.3f}", ends) == "1.000 (all 2 seeds at the end of the range)"


def test_a_finding_sums_several_checks_up(capsys):
    many = [trend(NEAR_TWO), trend([4.0, 4.1, 4.2], 2.0), trend([0.1, 0.2, 0.3], 3.0)]
    text = said(capsys, "{held} of {count}: from {least:.1f} to {most:.1f}, {worst:.2f}, {extra}.", *many, extra=7)
    assert text == "2 of 3: from 0.2 to 4.1, 1.05, 7."
    with pytest.raises(ValueError, match="field 'measured'; the fields are: count"):
        finding("All of them lose {measured}.", *many)


def test_a_finding_says_what_came_out(capsys):
    patterns = {"borne out": "Up by {measured:.0f}.", "not borne out": "Down: {measured:.0f}."}
    patterns["undecided"] = "{measured:.0f} decides nothing."
    assert said(capsys, patterns, trend(NEAR_TWO)) == "Up by 2."
    assert said(capsys, patterns, trend(NEAR_TWO, 9.0)) == "Down: 2."
    assert said(capsys, patterns, trend([2.0])) == "2 decides nothing."
    assert outcome_of([trend(NEAR_TWO), trend(NEAR_TWO, 9.0)]) == "mixed"
    assert outcome_of([trend([2.0]), trend([2.0])]) == "mixed"
    with pytest.raises(ValueError, match="does not say {held}"):
        finding({"mixed": "From {least:.0f} on."}, trend(NEAR_TWO), trend(NEAR_TWO, 9.0))
    assert outcome_of([check("rate", "a", 1.0, 1.0), trend(NEAR_TWO)]) == "borne out"
    with pytest.raises(ValueError, match="no sentence for the outcome 'not borne out'; it has: borne out"):
        finding({"borne out": "Up by {measured}."}, trend(NEAR_TWO, 9.0))


@pytest.mark.parametrize(
    "pattern",
    ["The rows above say.", {"borne out": "Up by {measured}.", "not borne out": "It does not."}, "100 {{measured}}"],
)
def test_a_finding_without_a_number_is_refused(pattern):
    with pytest.raises(ValueError, match="has no number; a finding says how much, so it needs a field"):
        finding(pattern, trend(NEAR_TWO))


def test_a_finding_rests_on_checks():
    with pytest.raises(ValueError, match="checks is empty; a finding rests on at least one"):
        finding("It is {number}.", number=3)
    with pytest.raises(ValueError, match="field 'colour'"):
        finding("It is {colour}.", trend(NEAR_TWO))


# Tables, files, sentences


def test_a_table_and_a_file_are_shown_and_recorded(shown, tmp_path):
    frame = pd.DataFrame({"rate": [0.123456789, 2.0], "what": ["<a>", "b"]})
    table(frame, "Rates & more", DATA)
    offer(frame, "rates.csv", "one unit a row")
    shown_table, rows = (bundle[records.MIME] for bundle in shown)
    assert shown_table == {"type": "table", "caption": "Rates & more", "source": str(DATA)}
    assert "&lt;a&gt;" in shown[0]["text/html"] and "Rates &amp; more" in shown[0]["text/html"]
    assert rows["file"] == "rates.csv"
    (tmp_path / "rates.csv").write_text(rows["csv"])
    assert pd.read_csv(tmp_path / "rates.csv")["rate"].tolist() == [0.123457, 2.0]
    assert 'href="../results/rates.csv"' in shown[1]["text/html"]


def test_a_sentence_is_text_and_leaves_no_record(shown):
    sentence("1 < 2")
    assert "1 &lt; 2" in shown[0]["text/html"]
    assert records.MIME not in shown[0]
    assert page.emit("<b>1</b>", "1") is None


# Images of a data set have a licence

OF_WEIGHTS = {"where-the-noise-is": 1}  # what else chapters draw with imshow


def test_a_figure_that_shows_images_of_the_data_names_their_licence():
    shown = {}
    for path in BOOK.glob("*.py"):
        drawn = path.read_text().count(".imshow(") - OF_WEIGHTS.get(path.stem, 0)
        if drawn:
            shown[path.stem] = (drawn, path.read_text().count(".of_images()"))
    assert shown == {"split": (1, 1)}


def test_every_data_set_has_a_licence():
    assert set(data.LICENSES) == set(data.NAMES)
    said = DATA.of_images()
    assert said == f"{DATA}; its images: CC BY-SA 3.0, Yann LeCun, Corinna Cortes and Christopher Burges"


@pytest.mark.parametrize(("rows", "folded"), [(5, False), (6, True)])
def test_a_long_table_is_folded_behind_its_caption(shown, rows, folded):
    table(pd.DataFrame({"rate": ["0.5"] * rows}), "Rates.", "closed form, no data")
    markup = shown[0]["text/html"]
    assert ("<details><summary>Table: 6 rows</summary>" in markup) == folded
    assert markup.startswith('<figure class="plot"><figcaption>Rates.</figcaption>')
    assert markup.endswith('<p class="figure-notes"><small>Source: closed form, no data.</small></p></figure>')
