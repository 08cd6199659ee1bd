"""Amounts of data, on a table made by hand: two rates that move against each other, or together."""

import numpy as np
import pandas as pd
import pytest

from companion import statistics
from companion.studies import amounts

SIZES, SHARES = (10, 100, 1000), (0.0, 0.4)
DECAYS = np.geomspace(1e-4, 1e-1, 7)


def made_by_hand(bn, seeds=(0, 1, 2)):
    """The best decay is 10 times smaller with 10 times the images, by loss and accuracy; `bn(size, seed)` is BN's rate."""
    rows = []
    for seed in seeds:
        for size in SIZES:
            for share in SHARES:
                row = {"train_size": size, "label_noise": share, "seed": seed, "rate": 0.1, "train_loss": 0.2}
                rows.append(row | {"normalization": "batch", "weight_decay": 0.0, "l2_rate": bn(size, seed)})
                for decay in DECAYS:
                    away = abs(np.log10(decay * size) - np.log10(0.5))
                    row |= {"validation_loss": away**2, "validation_accuracy": 1 - away**2 / 10}
                    rows.append(row | {"normalization": "none", "weight_decay": decay, "l2_rate": np.nan})
    return pd.DataFrame(rows)


def test_the_smooth_best_decay_stands_beside_the_rate():
    both = amounts.rates(made_by_hand(lambda size, seed: float(size)))
    assert len(both) == 18
    assert np.allclose(both.best * both.train_size, 0.5, rtol=1e-6)
    assert np.array_equal(both.bn, both.train_size)
    on_grid = amounts.rates(made_by_hand(lambda size, seed: float(size)), smooth=False)
    assert set(on_grid.best) <= set(DECAYS)


@pytest.mark.parametrize("along", amounts.CONDITIONS)
@pytest.mark.parametrize("middle", ("mean", "median"))
@pytest.mark.parametrize("sign", (1, -1))
def test_rates_that_move_together_or_against_each_other_along_each_condition(along, middle, sign):
    runs = made_by_hand(lambda size, seed: float(size))
    both = amounts.rates(runs)
    (other,) = set(amounts.CONDITIONS) - {along}
    both["best"] = 1.0 + both[along] + 1e6 * both[other]  # what the other condition does is not asked
    both["bn"] = sign * both[along] - 1e6 * both[other]
    assert np.allclose(amounts.together(both, along, middle), [sign] * 3)


@pytest.mark.parametrize("sign", (1, -1))
def test_the_headline_is_that_they_move_against_each_other(sign):
    both = amounts.rates(made_by_hand(lambda size, seed: float(size) ** -sign))
    assert np.array_equal(amounts.together(both, "train_size"), [sign] * 3)
    assert statistics.compare(**amounts.headline(both)).verdict == ("borne out" if sign < 0 else "not borne out")


def test_a_reading_that_gives_another_verdict_counts_against_the_headline():
    against = made_by_hand(lambda size, seed: float(size))
    assert amounts.stands(against) == (8, 8)
    # by accuracy, more images ask for more decay: half of the readings turn
    searched = against.normalization == "none"
    away = np.log10(against.weight_decay[searched] / against.train_size[searched]) + 4.7
    against.loc[searched, "validation_accuracy"] = 1 - away**2 / 100
    assert amounts.stands(against) == (4, 8)
