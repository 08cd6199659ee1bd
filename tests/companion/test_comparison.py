"""The comparison, on a table made by hand whose answers are known."""

import re

import numpy as np
import pandas as pd
import pytest

from companion import page
from companion.build.claims import listed
from companion.records import Source
from companion.studies import comparison, comparison_page, questions
from companion.studies.comparison import BEST, BN, BN_FIXED, DECAYS, NONE, WEIGHT
from companion.studies.questions import CLAIMS, HEADLINES

LEVELS = (0.0, 1.0, 2.0)
BEST_AT = {0.0: 1e-3, 1.0: 1e-2, 2.0: 1e-1}


def made_by_hand(rate=lambda level, arm: np.sqrt(1e-2 * BEST_AT[level]), seeds=(0, 1)):
    """Every decay loses a point and 0.1 of loss for each half decade from the best; untuned arms lose what `lost` says."""
    lost = {"batch": 0.5, "weight": 1.0, "layer": 2.0}
    rows = []
    for seed in seeds:
        for level in LEVELS:
            for arm in comparison.arms():
                away = lost.get(arm.normalization, 6.0)
                if arm.weight_decay:
                    away = abs(DECAYS.index(arm.weight_decay) - DECAYS.index(BEST_AT[level]))
                row = {"seed": seed, "noise_std": level, "normalization": arm.normalization, "gamma": arm.gamma}
                row |= {"weight_decay": arm.weight_decay, "test_accuracy": (90 - away) / 100, "test_loss": 0.1 * away}
                row |= {
                    "validation_loss": 0.1 * away,
                    "validation_accuracy": (90 - away) / 100,
                    "signal_share": 0.5 + 0.1 * (arm.normalization == "batch"),
                }
                rows.append(
                    row
                    | {"l2_rate": rate(level, arm) if arm.normalization == "batch" else np.nan, "l2_rate_error": 0.1}
                )
    return pd.DataFrame(rows).astype({"gamma": float})


def compared(runs, dataset="mnist-5k"):
    return comparison.compare(runs, Source(dataset, 3000, [0, 1], {"noise_std": list(LEVELS)}))


def verdicts(found):
    return {row["statement"]: page.check(**row).verdict for row in questions.statements(found)}


def test_the_best_decay_and_the_regret_against_it():
    found = compared(made_by_hand())
    assert found.levels == list(LEVELS)
    for level in LEVELS:
        assert np.allclose(found.best_decay[level], BEST_AT[level], rtol=0.1)
        assert np.allclose(found.on_grid[level], BEST_AT[level], rtol=1e-9)
    assert np.allclose(found.regret(BN), 0.5)
    assert np.allclose(found.regret(WEIGHT, "loss"), 0.1)
    assert np.allclose(found.regret(NONE), 6.0)
    assert np.allclose(found.regret(BEST), 0.0)


def test_what_a_moved_rate_loses():
    found = compared(made_by_hand())
    lost = [[0, 2, 4], [2, 0, 2], [4, 2, 0]]  # half decades between the best of two levels
    assert np.allclose(found.moved["accuracy"], [lost, lost])
    assert np.allclose(found.moved["loss"], np.multiply(0.1, [lost, lost]))
    assert np.allclose(found.moved_regret(), 16 / 6)


def test_rows_and_columns_of_a_move_are_not_exchanged():
    runs = made_by_hand()
    late = (runs.noise_std == 2.0) & (runs.weight_decay == BEST_AT[0.0])
    runs.loc[late, "test_accuracy"] = 0.5
    moved = compared(runs).moved["accuracy"]
    assert np.allclose(moved[:, 0, 2], 40)  # tuned at the first level, used at the last
    assert np.allclose(moved[:, 2, 0], 4)


def test_every_statement_that_is_true_of_the_table_is_borne_out():
    assert set(verdicts(compared(made_by_hand())).values()) == {"borne out"}


def test_a_rate_that_falls_where_the_best_one_rises_is_not():
    against = compared(made_by_hand(lambda level, arm: 1e-3 / BEST_AT[level] / 30))
    found = {statement: verdict for statement, verdict in verdicts(against).items() if "L2-equivalent" in statement}
    assert {verdict for statement, verdict in found.items() if "slope" not in statement} == {"not borne out"}
    assert {verdict for statement, verdict in found.items() if "slope" in statement} == {"borne out"}
    said = questions.answer(against)
    assert "falls; it ranks the noise levels against the best rate" in said
    assert "(slope -1.00 (all 2 seeds) in logarithms)" in said


@pytest.mark.parametrize("power", [-0.5, 0.25, 1.0, 1.5])
@pytest.mark.parametrize("middle", ["mean", "median"])
def test_the_slope_is_the_power_by_which_one_rate_follows_the_other(power, middle):
    found = compared(made_by_hand(lambda level, arm: 3e-3 * (100 * BEST_AT[level]) ** power))
    rates = found.rates[BN]
    assert np.allclose(questions.slopes(rates, found.best_decay, middle), power, atol=1e-9)
    assert np.allclose(questions.slopes(100 * rates, found.best_decay, middle), power, atol=1e-9)


def test_a_headline_says_in_how_many_ways_to_read_the_runs_it_stands():
    """A rate that follows with learned gamma and stays with fixed gamma stands in half of them."""
    found = compared(made_by_hand(lambda level, arm: 1e-2 if arm.gamma else BEST_AT[level] ** 0.5))
    assert questions.stands(found, "tracks-search") == (4, 8)
    assert questions.stands(found, "rises-with-noise") == (1, 2)
    assert questions.stands(compared(made_by_hand()), "slope") == (16, 16)
    assert all(set(questions.BEARS_ON[claim]) <= set(questions.OPTIONS) for claim in HEADLINES)


def test_what_a_search_looks_at_and_how_changes_what_it_finds():
    runs = made_by_hand()
    searched = (runs.normalization == "none") & (runs.weight_decay > 0)
    place = np.log10(runs.weight_decay[searched])
    runs.loc[searched, "validation_loss"] = (place + 2.2) ** 2
    runs.loc[searched, "validation_accuracy"] = 0.9 - (place + 1.2) ** 2 / 100
    source = Source("mnist-5k", 3000, [0, 1], {"noise_std": list(LEVELS)})
    decays = {
        (chosen_by, smooth): np.log10(comparison.compare(runs, source, chosen_by, smooth).best_decay).to_numpy()
        for chosen_by in questions.OPTIONS["chosen_by"]
        for smooth in (True, False)
    }
    assert np.allclose(decays["validation_loss", True], -2.2)
    assert np.allclose(decays["validation_accuracy", True], -1.2)
    assert np.allclose(decays["validation_loss", False], -2.0)
    assert np.allclose(decays["validation_accuracy", False], -1.0)


def test_negative_rates_and_networks_that_diverged_crash_nothing():
    runs = made_by_hand(lambda level, arm: -1e-2 if level < 2 else 1e-2)
    runs.loc[runs.weight_decay == 1.0, ["validation_loss", "test_loss"]] = np.nan
    found = compared(runs)
    assert (found.rates[BN_FIXED][0.0] == -1e-2).all()
    assert (found.on_log_axis(found.rates[BN])[0.0] == found.floor).all()
    assert np.isfinite(found.moved["loss"]).all()
    comparison_page.ask(found)
    comparison_page.main_picture(found, "main-result")
    assert comparison_page.rates_table(found).loc[f"rate of {BN}", "noise 0"].startswith("-1.0e-02")


def test_the_claims_are_those_of_the_chapter():
    rows = questions.statements(compared(made_by_hand()))
    assert list(dict.fromkeys(row["claim"] for row in rows)) == list(CLAIMS)
    assert {claim.name for claim in listed() if claim.chapter == "noise-sweep"} == set(CLAIMS)


def test_one_row_of_each_headline_is_one():
    rows = questions.statements(compared(made_by_hand()))
    headlines = [row for row in rows if row.get("role") == "headline"]
    assert sorted(row["claim"] for row in headlines) == sorted(HEADLINES)
    assert all(BN in row["statement"] for row in headlines)


def test_rows_of_one_level_name_that_level():
    rows = questions.statements(compared(made_by_hand()))
    levels = [row["source"].conditions["noise_std"] for row in rows if row["claim"] == "beats-nothing"]
    assert levels == list(LEVELS)
    assert all(row["source"].conditions["noise_std"] == list(LEVELS) for row in rows if row["claim"] == "regret")


@pytest.mark.parametrize(
    "claim, accuracies, words",
    [
        ("beats-nothing", (83, 83, 83), "BN is less accurate than the network .* at all 3 noise levels"),
        ("beats-nothing", (85, 85, 83), "BN is more accurate .* at 2 of 3 noise levels and less accurate at 1,"),
        ("moved-decay", (81, 81, 81), r"untuned BN .* is 9\.00 points of accuracy, more than the 2\.67 of a"),
    ],
)
def test_a_finding_says_what_came_out(claim, accuracies, words, capsys):
    runs = made_by_hand()
    untuned = (runs.normalization == "batch") & runs.gamma.isna()
    runs.loc[untuned, "test_accuracy"] = runs.noise_std.map(dict(zip(LEVELS, accuracies))) / 100
    comparison_page.ask(compared(runs), claim)
    assert re.search(words, capsys.readouterr().out.splitlines()[-1])


def test_statements_differ_from_each_other_and_between_data_sets():
    both = [compared(made_by_hand(), dataset) for dataset in ("mnist-5k", "fashion-mnist")]
    texts = [row["statement"] for found in both for row in questions.statements(found)]
    assert len(set(texts)) == len(texts)


def test_one_level_is_no_comparison():
    runs = made_by_hand()
    with pytest.raises(ValueError, match="runs has 1 noise level"):
        compared(runs[runs.noise_std == 0])
