"""Verdicts, intervals and records."""

import dataclasses
import html
import json
from fractions import Fraction

import numpy as np
import pytest
from counting import drawn
from hypothesis import strategies as st
from scipy import stats

from bnlib.claims import Check, ClaimFailed, check, compare, interval


@drawn(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(seed, n, level):
    samples = np.random.default_rng(seed).standard_normal(n) * 3 + 1
    mean, low, high = interval(samples, level)
    expected = stats.ttest_1samp(samples, 0).confidence_interval(level)
    assert mean == pytest.approx(samples.mean(), rel=1e-14)
    assert low == pytest.approx(expected.low, rel=1e-10, abs=1e-12)
    assert high == pytest.approx(expected.high, rel=1e-10, abs=1e-12)


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low < 2 < high for _, low, high in (interval(rng.normal(2, 5, 6)) for _ in range(4000))]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_interval_of_one_sample_is_the_whole_line():
    assert interval([3.0]) == (3.0, -np.inf, np.inf)
    assert interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "measured, predicted, kind, tolerance, verdict, difference",
    [
        (Fraction(1, 3), Fraction(2, 6), "exact", 0, "holds", 0),
        (0.1 + 0.2, 0.3, "exact", 1.0, "fails", 1.85e-16),
        (Fraction(1, 10), 0.1, "exact", 0, "fails", 0),
        ([Fraction(1, 3), 2], [Fraction(1, 3), 2], "exact", 0, "holds", 0),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0]), "exact", 0, "holds", 0),
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), "exact", 0, "fails", 0.5 / np.hypot(1, 2.5)),
        (1.1, 1.0, "numeric", 0.11, "holds", 0.1),
        (1.1, 1.0, "numeric", 0.09, "fails", 0.1),
        (0.9, 1.0, "numeric", 0.09, "fails", 0.1),
        (-2.0, -4.0, "numeric", 0.5, "holds", 0.5),
        (1e-9, 0.0, "numeric", 1e-8, "holds", 1e-9),
        ([3.0, 4.5], [3.0, 4.0], "numeric", 0.1, "holds", 0.1),
        ([3.0, 4.5], [3.0, 4.0], "numeric", 0.099, "fails", 0.1),
        (float("nan"), 1.0, "numeric", 1.0, "fails", float("nan")),
        (2.0, 2.0, "numeric", 0.0, "holds", 0),
    ],
)
def test_verdict_of_proven_claims(measured, predicted, kind, tolerance, verdict, difference):
    record = compare("T1", "a thing", measured, predicted, kind=kind, tolerance=tolerance)
    assert record.verdict == verdict
    assert record.difference == pytest.approx(difference, rel=1e-2, abs=1e-12, nan_ok=True)
    assert record.low is record.high is None
    assert record.repetitions == 1
    if verdict == "fails":
        with pytest.raises(ClaimFailed, match="fails \\| T1: a thing"):
            check("T1", "a thing", measured, predicted, kind=kind, tolerance=tolerance)
    else:
        check("T1", "a thing", measured, predicted, kind=kind, tolerance=tolerance)


NEAR_TWO = [1.9, 2.0, 2.1]  # mean 2, 95 % interval [1.752, 2.248]


@pytest.mark.parametrize(
    "samples, predicted, relation, tolerance, verdict",
    [
        (NEAR_TWO, 1.7, "above", 0, "borne out"),
        (NEAR_TWO, 2.3, "above", 0, "not borne out"),
        (NEAR_TWO, 2.2, "above", 0, "undecided"),
        (NEAR_TWO, 1.8, "above", 0, "undecided"),
        (NEAR_TWO, 2.3, "below", 0, "borne out"),
        (NEAR_TWO, 1.7, "below", 0, "not borne out"),
        (NEAR_TWO, 1.8, "below", 0, "undecided"),
        (NEAR_TWO, 2.0, "equal", 0.15, "borne out"),
        (NEAR_TWO, 2.0, "equal", 0.12, "undecided"),
        (NEAR_TWO, 3.0, "equal", 0.1, "not borne out"),
        (NEAR_TWO, 1.0, "equal", 0.1, "not borne out"),
        (NEAR_TWO, 2.0, "equal", 0, "undecided"),
        ([-1.9, -2.0, -2.1], -2.0, "equal", 0.15, "borne out"),
        ([-0.1, 0.0, 0.1], 0.0, "equal", 0.3, "borne out"),
        ([5.0], 1.0, "above", 0, "undecided"),
        ([-5.0], 1.0, "above", 0, "undecided"),
    ],
)
def test_verdict_of_empirical_claims(samples, predicted, relation, tolerance, verdict):
    arguments = {"kind": "empirical", "relation": relation, "tolerance": tolerance}
    check("P4", "a trend", samples, predicted, **arguments)  # an empirical claim never raises
    record = compare("P4", "a trend", samples, predicted, **arguments)
    assert record.verdict == verdict
    assert record.repetitions == len(samples)
    if len(samples) > 1:
        assert (record.measured, record.low, record.high) == interval(samples)
    else:
        assert record.low is record.high is None


def test_records_are_json_and_frozen():
    records = [
        compare("T1", "fractions", Fraction(1, 3), Fraction(1, 3), kind="exact"),
        compare("T2", "arrays", np.ones(3), np.ones(3), tolerance=1e-9),
        compare("T3", "numpy scalars", np.float32(1.0), np.int64(1), tolerance=np.float64(0.1)),
        compare("P4", "seeds", np.array([1.0, 2.0, 4.0]), np.float64(0.0), kind="empirical", relation="above"),
        compare("P4", "one seed", [1.0], 0.0, kind="empirical", relation="above"),
    ]
    for record in records:
        fields = json.loads(json.dumps(dataclasses.asdict(record), allow_nan=False))
        assert Check(**fields) == record
    assert records[1].measured is records[1].predicted is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        records[0].verdict = "holds"


def test_a_terminal_gets_one_line(capsys):
    check("T4", "the loss", 2.0, 2.0 + 1e-9, tolerance=1e-6)
    line = "holds | T4: the loss | measured 2, predicted = 2 | difference 5e-10, tolerance 1e-06"
    assert capsys.readouterr().out == f"{line}\n"
    check("P4", "a trend", NEAR_TWO, 1.0, kind="empirical", relation="above")
    assert capsys.readouterr().out == "borne out | P4: a trend | measured 2 [1.752, 2.248], predicted > 1\n"


def test_a_notebook_gets_html_and_the_record(monkeypatch):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: shown.append((bundle, raw)))
    check("T2", "a < b & c", 1.0, 1.0)
    for samples in ([0.0, 0.1], [5.0]):
        check("P4", "trend", samples, 9.0, kind="empirical", relation="above")
    with pytest.raises(ClaimFailed):
        check("T2", "wrong", 1.0, 2.0)
    record = compare("T2", "a < b & c", 1.0, 1.0)
    bundles = [bundle for bundle, raw in shown if raw]
    assert bundles[0]["application/vnd.bnlib.claim+json"] == dataclasses.asdict(record)
    assert bundles[0]["text/plain"] == str(record)
    assert html.escape("a < b & c") in bundles[0]["text/html"]
    states = [bundle["text/html"].split('"')[1] for bundle in bundles]
    assert states == ["claim claim-yes", "claim claim-no", "claim claim-open", "claim claim-no"]
    assert [bundle["application/vnd.bnlib.claim+json"]["verdict"] for bundle in bundles[1:]] == [
        "not borne out",
        "undecided",
        "fails",
    ]
