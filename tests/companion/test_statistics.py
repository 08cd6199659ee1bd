"""Intervals and the verdicts that are made of them."""

from fractions import Fraction

import numpy as np
import pytest
from counting import drawn
from hypothesis import strategies as st
from scipy import special, stats

from companion.records import RANGES
from companion.statistics import AT_THE_END, ONE_VALUE, SCALES, as_text, compare, interval, intervals


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


@pytest.mark.parametrize("samples", [[3.0], [2.0, 2.0], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("scale", ["plain", "log"])
def test_samples_that_do_not_scatter_have_no_interval(samples, scale):
    mean, low, high = interval(samples, scale=scale)
    assert mean == samples[0]
    assert np.isnan([low, high]).all()


# where nothing bounds a quantity, the tests do
DRAWN = RANGES | {"plain": (-5, 5), "log": (1e-9, 1e3)}


@drawn(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from(list(DRAWN)), st.booleans())
def test_property_no_interval_leaves_the_range_of_its_quantity_or_has_no_width(seed, n, scale, at_an_end):
    lowest, highest = DRAWN[scale]
    rng = np.random.default_rng(seed)
    samples = rng.uniform(lowest, highest, n) if scale != "log" else 10 ** rng.uniform(-9, 3, n)
    if at_an_end:
        samples[0] = highest
    mean, low, high = interval(samples, scale=scale)
    assert np.isnan(low) == np.isnan(high)
    if np.isfinite(low):
        assert low < mean < high
        assert RANGES[scale][0] <= low <= high <= RANGES[scale][1]


@pytest.mark.parametrize("scale", [scale for scale in RANGES if scale != "plain"])
def test_control_the_plain_interval_of_a_bounded_quantity_leaves_its_range(scale):
    samples = {"log": [1e-5, 9e-5], "correlation": [0.6, 1.0, 0.9], "share": [0.5, 1.0], "points": [40, 90]}
    samples = samples.get(scale, [70, 89])
    (bottom, top), (_, low, high), (_, *kept) = RANGES[scale], interval(samples), interval(samples, scale=scale)
    assert low < bottom or high > top
    assert bottom <= kept[0] < kept[1] <= top


@pytest.mark.parametrize("scale", ["plain", "log"])
def test_samples_that_differ_by_less_than_rounding_shows_have_no_interval(scale):
    mean, low, high = interval([1.0] * 400 + [1.0 + 2**-52], scale=scale)
    assert mean == 1.0
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    "scale, samples", [("correlation", [0.98, 1.0, 0.99]), ("share", [0.9999, 1.0]), ("angle", [0.0, 0.01])]
)
def test_samples_at_the_end_of_the_range_have_a_mean_and_no_interval(scale, samples):
    """Their places on the scale are one, and nobody is told that the samples are, or that the mean is that place."""
    mean, low, high = interval(samples, scale=scale)
    assert mean == np.mean(samples)
    assert np.isnan([low, high]).all()
    found = compare(samples, 0.5, kind="empirical", relation="above", scale=scale)
    assert (found.low, found.high, found.interval_method) == (None, None, AT_THE_END)
    assert as_text(samples, scale=scale).endswith(f"(all {len(samples)} seeds at the end of the range)")


@pytest.mark.parametrize(
    ("scale", "there", "back"),
    [
        ("log", np.log, np.exp),
        ("correlation", np.arctanh, np.tanh),
        ("share", special.logit, special.expit),
        ("points", lambda d: np.arctanh(d / 100), lambda z: 100 * np.tanh(z)),
        ("angle", lambda a: special.logit(a / 90), lambda y: 90 * special.expit(y)),
    ],
)
def test_an_interval_on_a_scale_is_the_plain_one_there(scale, there, back):
    samples = np.array([0.2, 0.5, 0.7])
    assert interval(samples, scale=scale) == pytest.approx(back(interval(there(samples))), rel=1e-14)


def test_small_differences_in_points_are_judged_as_plain_ones_are():
    assert interval([0.5, 1.0, 0.2], scale="points") == pytest.approx(interval([0.5, 1.0, 0.2]), rel=1e-3)


def test_a_comparison_says_on_which_scale_it_was_made():
    assert compare(1.0, 1.0).scale == "plain"
    assert [compare([0.2, 0.3], 0.1, kind="empirical", scale=scale).scale for scale in SCALES] == list(RANGES)


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
    found = compare(measured, predicted, kind=kind, tolerance=tolerance)
    assert found.verdict == verdict
    assert found.difference == pytest.approx(difference, rel=1e-2, abs=1e-12, nan_ok=True)
    assert found.low is found.high is found.interval_method is None
    assert found.repetitions == 1


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
        ([5.0, 5.0], 1.0, "above", 0, "borne out"),
        ([5.0, 5.0], 6.0, "above", 0, "not borne out"),
        ([5.0], 1.0, "above", 0, "undecided"),
        ([-5.0], 1.0, "above", 0, "undecided"),
    ],
)
def test_verdict_of_empirical_claims(samples, predicted, relation, tolerance, verdict):
    found = compare(samples, predicted, kind="empirical", relation=relation, tolerance=tolerance)
    assert found.verdict == verdict
    assert found.repetitions == len(samples)
    if np.ptp(samples):
        assert (found.measured, found.low, found.high) == interval(samples)
        assert found.interval_method == "t"
        if relation == "equal":
            assert found.p_value is None
        elif verdict == "borne out":  # a two-sided interval of 95 % that lies wholly on one side
            assert found.p_value < 0.025
        else:
            assert found.p_value > 0.025
    elif len(samples) > 1:
        assert (found.low, found.high, found.interval_method) == (None, None, ONE_VALUE)
    else:
        assert found.low is found.high is found.interval_method is None


def test_arrays_have_a_difference_and_no_number():
    found = compare(np.ones(3), np.ones(3), tolerance=1e-9)
    assert found.measured is found.predicted is None
    assert found.difference == 0


def test_intervals_are_those_of_the_columns_and_geometric_ones_those_of_the_logarithms():
    samples = np.array([[1.0, 2.0], [3.0, 8.0], [2.0, 4.0]])
    assert np.allclose(intervals(samples).T, [interval(column) for column in samples.T])
    assert np.allclose(np.log(intervals(samples, scale="log")).T, [interval(np.log(column)) for column in samples.T])
    assert as_text([2.0, 8.0, 4.0], "{:.2f}", scale="log").startswith("4.00 [")
    assert as_text([2.0]) == "2.000"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: interval([]), "samples is empty; an interval needs at least one"),
        (lambda: interval([1.0, float("nan")]), "samples has 1 non-finite"),
        (lambda: as_text([1.0, -2.0], scale="log"), "samples holds -2 to 1; on the scale 'log' they must be above 0"),
        (lambda: interval([0.0, 1.0], scale="log"), "on the scale 'log' they must be above 0"),
        (
            lambda: interval([0.2, 1.1], scale="share"),
            "holds 0.2 to 1.1; on the scale 'share' they must be from 0 to 1",
        ),
        (lambda: interval([0.2], scale="size"), "scale = 'size' is unknown; .*'points', 'angle'"),
        (lambda: compare(1, 1, kind="proven"), "kind = 'proven' is unknown; .* 'exact', 'numeric', 'empirical'"),
        (lambda: compare(1, 1, relation="near"), "relation = 'near' is unknown; .* 'equal', 'above', 'below'"),
        (lambda: compare(1, 1, relation="above"), "relation = 'above' is for empirical claims; a numeric"),
        (lambda: compare([1.0, 2.0], 1.0), r"measured has shape \(2,\); it must be that of predicted, \(\)"),
        (lambda: compare(np.ones(3), np.ones(2)), r"measured has shape \(3,\); it must be that of predicted, \(2,\)"),
        (lambda: compare(1.0, 1.0, kind="empirical"), r"measured has shape \(\); it must have 1"),
        (lambda: compare(1.0, 1.0, tolerance=-1.0), "tolerance = -1 is negative"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
