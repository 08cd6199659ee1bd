"""What a search finds: a cell of its grid, or the minimum between cells with its error."""

import numpy as np
import pandas as pd
import pytest
from counting import drawn
from hypothesis import strategies as st

from bnlib.experiments import by_seed
from bnlib.search import best_decays, smooth_best_decays

GRID = np.geomspace(1e-4, 1.0, 9)


def searches(loss, seeds=(0,), levels=(0.0,), column="validation_loss"):
    """The rows of a search with ``loss(log10 decay, seed, level)``."""
    return pd.DataFrame(
        {
            "normalization": "none",
            "seed": seed,
            "noise_std": level,
            "weight_decay": decay,
            column: loss(np.log10(decay), seed, level),
        }
        for seed in seeds
        for level in levels
        for decay in GRID
    )


def test_the_best_of_a_grid():
    runs = pd.DataFrame(
        {
            "normalization": ["batch", "none", "none", "none", "none"],
            "seed": [0, 0, 0, 0, 0],
            "noise_std": [0.0, 0.0, 0.0, 1.0, 1.0],
            "weight_decay": [0.0, 0.1, 0.2, 0.1, 0.2],
            "validation_loss": [0.01, 0.5, 0.4, 0.3, np.nan],
        }
    )
    best = best_decays(runs)
    assert list(zip(best.noise_std, best.weight_decay)) == [(0.0, 0.2), (1.0, 0.1)]
    table = by_seed(best, "weight_decay")
    assert table.loc[0, 0.0] == 0.2 and table.loc[0, 1.0] == 0.1


@drawn(st.floats(-3.4, -0.6), st.floats(0.05, 5.0), st.floats(-0.3, 0.3))
def test_property_the_minimum_of_a_cubic_is_found(lowest, curvature, skew):
    def loss(x, *_):
        return curvature * (x - lowest) ** 2 * (1 + skew * (x - lowest) / 3) + 7

    found = smooth_best_decays(searches(loss)).iloc[0]
    assert not found.at_end
    assert np.log10(found.weight_decay) == pytest.approx(lowest, abs=1e-6)
    assert found.log10_error < 1e-4
    assert abs(np.log10(found.grid_decay) - lowest) <= 0.5


@pytest.mark.parametrize(("lowest", "end"), [(-5.0, 1e-4), (2.0, 1.0)])
def test_a_best_decay_beyond_the_grid_is_said_to_be_at_its_end(lowest, end):
    found = smooth_best_decays(searches(lambda x, *_: (x - lowest) ** 2)).iloc[0]
    assert found.at_end
    assert found.weight_decay == pytest.approx(end)
    assert np.isnan(found.log10_error)


def test_a_decay_of_0_and_a_training_that_diverged_take_no_part():
    runs = searches(lambda x, *_: (x + 2.2) ** 2 + (np.nan if x > -0.1 else 0))
    none = runs.iloc[:1].assign(weight_decay=0.0, validation_loss=-1.0)
    found = smooth_best_decays(pd.concat([none, runs])).iloc[0]
    assert np.log10(found.weight_decay) == pytest.approx(-2.2, abs=1e-6)


def test_accuracy_is_to_be_highest():
    found = smooth_best_decays(
        searches(lambda x, *_: 0.9 - (x + 1.7) ** 2 / 50, column="validation_accuracy"), of="validation_accuracy"
    )
    assert np.log10(found.weight_decay.iloc[0]) == pytest.approx(-1.7, abs=1e-6)


def test_the_error_is_how_far_the_minimum_scatters():
    """Losses with independent noise, of a size that differs by level: the error is right at each."""
    rng = np.random.default_rng(0)
    sizes = {0.0: 0.002, 1.0: 0.006}
    runs = searches(
        lambda x, seed, level: 0.1 * (x + 2.1) ** 2 + sizes[level] * rng.standard_normal(), range(400), tuple(sizes)
    )
    found = smooth_best_decays(runs)
    for level in sizes:
        here = found[found.noise_std == level]
        scatter = np.log10(here.weight_decay).std()
        assert here.log10_error.median() == pytest.approx(scatter, rel=0.25)


def test_control_the_best_of_the_grid_is_not_the_minimum():
    found = smooth_best_decays(searches(lambda x, *_: (x + 2.2) ** 2)).iloc[0]
    assert abs(np.log10(found.grid_decay) + 2.2) > 0.1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda runs: smooth_best_decays(runs, of="test_loss"), "of = 'test_loss' is unknown"),
        (
            lambda runs: smooth_best_decays(runs[:4]),
            r"4 decays above 0 in the search at \{'noise_std': 0.0, 'seed': 0\}",
        ),
    ],
)
def test_what_is_wrong_is_named(fault, message):
    with pytest.raises(ValueError, match=message):
        fault(searches(lambda x, *_: x**2))
