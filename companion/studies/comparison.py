"""Untuned batch normalization against a search over `weight_decay`: what is trained, and what is read from it.

What is asked of it is in `companion.studies.questions`, how the answers are shown in `companion.studies.comparison_page`.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bnlib import data, experiments, search
from bnlib.training import Arm, Schedule
from companion.records import Source, name_of

DECAYS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # half decades
BN, BN_FIXED = "BN, untuned", "BN, gamma fixed at 1"
WEIGHT, LAYER, NONE = "weight normalization", "layer normalization", "no normalization, no decay"
BEST = "no normalization, best weight_decay"
UNTUNED = {
    BN: Arm("batch"),
    BN_FIXED: Arm("batch", gamma=1.0),
    WEIGHT: Arm("weight"),
    LAYER: Arm("layer"),
    NONE: Arm("none"),
}


def arms():
    """The arms of the comparison: five that nobody tunes, and the grid that a search goes through.

    Returns
    -------
    list of bnlib.training.Arm

    Examples
    --------
    >>> len(arms())
    14
    """
    return [*UNTUNED.values(), *(Arm("none", weight_decay=decay) for decay in DECAYS)]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` reads from the table of a sweep. Every table has a row a seed and a column a noise level.

    Parameters
    ----------
    accuracy, loss : dict of str to pandas.DataFrame
        On the test set, for each way of regularizing: accuracy in percent, mean cross-entropy.
    signal_share : dict of str to pandas.DataFrame
        Mean share of signal in the variance of the first layer's units, in percent.
    rates : dict of str to pandas.DataFrame
        L2-equivalent rates that batch normalization sets, as measured: a rate can be negative.
    reading_errors : dict of str to pandas.DataFrame
        Standard errors of these readings: how much of a rate is chance of the batches that it was read from.
    best_decay : pandas.DataFrame
        The `weight_decay` of lowest validation loss: the minimum of a smooth fit (`bnlib.search.smooth_best_decays`), or
        the best of the grid, 0 where none was best.
    best_error : pandas.DataFrame
        Standard error of log10 of it; NaN where it is the end of the grid, or no fit was made.
    on_grid : pandas.DataFrame
        The best of the grid: what accuracy, loss and regret of the search are those of.
    moved : dict of str to ndarray, shape (seeds, levels, levels)
        Keys ``accuracy`` and ``loss``: what is lost at the level of the last axis with the `weight_decay` that was
        best at the level of the axis before, against the best one there.
    runs : pandas.DataFrame
        The sweep, a row a trained network.
    source : companion.records.Source
    """

    accuracy: dict
    loss: dict
    signal_share: dict
    rates: dict
    reading_errors: dict
    best_decay: pd.DataFrame
    best_error: pd.DataFrame
    on_grid: pd.DataFrame
    moved: dict
    runs: pd.DataFrame
    source: Source

    @property
    def data_name(self):
        """What statements call the data set."""
        return name_of(self.source.dataset)

    @property
    def levels(self):
        """The noise levels, from the lowest."""
        return list(self.best_decay.columns)

    def source_at(self, level):
        """Where the numbers of one noise level come from."""
        return replace(self.source, conditions=self.source.conditions | {"noise_std": float(level)})

    @property
    def floor(self):
        """Half a decade below the grid, where a log axis has the rates that are 0, negative or too small for it."""
        return min(DECAYS) / np.sqrt(10)

    def on_log_axis(self, rates):
        """`rates` with everything below `floor`, negative rates too, put there."""
        return rates.clip(lower=self.floor)

    def regret(self, name, what="accuracy"):
        """What `name` loses against the best `weight_decay`: positive where it does worse.

        Parameters
        ----------
        name : str
            A key of `accuracy`.
        what : {"accuracy", "loss"}
            Points of accuracy, or test loss.

        Returns
        -------
        pandas.DataFrame
        """
        if what == "accuracy":
            return self.accuracy[BEST] - self.accuracy[name]
        return self.loss[name] - self.loss[BEST]

    def moved_regret(self, what="accuracy", middle="mean"):
        """What a moved `weight_decay` loses over all pairs of different levels, one number a seed.

        Parameters
        ----------
        what : {"accuracy", "loss"}
        middle : {"mean", "median"}

        Returns
        -------
        ndarray, shape (seeds,)
        """
        different = ~np.eye(len(self.levels), dtype=bool)
        return {"mean": np.mean, "median": np.median}[middle](self.moved[what][:, different], axis=1)


def run(dataset, seeds, noise_stds, hidden, epochs, train_size=None):
    """Train every arm at every noise level with every seed, and compare.

    Parameters
    ----------
    dataset : str
        As for `bnlib.data.load`.
    seeds : sequence of int
    noise_stds : sequence of float
        Noise levels, in the pixels' standard deviations.
    hidden : sequence of int
        Widths of the hidden layers.
    epochs : int
    train_size : int, optional
        Training images; default: all.

    Returns
    -------
    Comparison
    """
    images = data.load(dataset).train.images
    schedule = Schedule(hidden=tuple(hidden), epochs=epochs)
    conditions = [experiments.Conditions(dataset, train_size, noise_std=noise_std) for noise_std in noise_stds]
    runs = experiments.sweep(arms(), conditions, schedule, seeds)
    network = "-".join(map(str, (images.shape[1], *hidden, 10)))
    known = {"network": network, "epochs": epochs, "noise_std": list(noise_stds)}
    return compare(runs, Source(dataset, train_size or len(images), seeds, known))


def compare(runs, source, chosen_by="validation_loss", smooth=True):
    """Read the comparison from the table of a sweep over `arms`, noise levels and seeds.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep`. A network that diverged counts as one that guesses.
    source : companion.records.Source
        Where `runs` come from.
    chosen_by : {"validation_loss", "validation_accuracy"}
        What a search looks at.
    smooth : bool
        Whether its best decay is the minimum of a fit, or a cell of the grid.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If there are fewer than two noise levels.
    """
    if runs.noise_std.nunique() < 2:
        raise ValueError(f"runs has {runs.noise_std.nunique()} noise level(s); a comparison needs at least 2")
    given = runs
    runs = runs.assign(test_accuracy=100 * runs.test_accuracy, signal_share=100 * runs.signal_share)
    runs["test_loss"] = runs.test_loss.fillna(np.log(10))
    ways = {name: runs[_is_arm(runs, arm)] for name, arm in UNTUNED.items()}
    ways[BEST] = search.best_decays(runs, of=chosen_by)
    on_grid = experiments.by_seed(ways[BEST], "weight_decay")
    fitted = search.smooth_best_decays(runs, of=chosen_by)
    best_error = experiments.by_seed(fitted, "log10_error")
    best_decay = experiments.by_seed(fitted, "weight_decay") if smooth else on_grid
    searched = runs[runs.normalization == "none"].set_index(["seed", "weight_decay", "noise_std"])
    moved = {}
    for what, sign in (("accuracy", -1), ("loss", 1)):
        outcome = searched[f"test_{what}"]
        moved[what] = sign * np.array(
            [
                [
                    [outcome[seed, decay, used] - outcome[seed, chosen[used], used] for used in on_grid]
                    for decay in chosen
                ]
                for seed, chosen in on_grid.iterrows()
            ]
        )
    return Comparison(
        accuracy={name: experiments.by_seed(rows, "test_accuracy") for name, rows in ways.items()},
        loss={name: experiments.by_seed(rows, "test_loss") for name, rows in ways.items()},
        signal_share={name: experiments.by_seed(rows, "signal_share") for name, rows in ways.items()},
        rates={name: experiments.by_seed(ways[name], "l2_rate") for name in (BN, BN_FIXED)},
        reading_errors={name: experiments.by_seed(ways[name], "l2_rate_error") for name in (BN, BN_FIXED)},
        best_decay=best_decay,
        best_error=best_error if smooth else best_error * np.nan,
        on_grid=on_grid,
        moved=moved,
        runs=given,
        source=source,
    )


def _is_arm(runs, arm):
    """Which rows of a sweep belong to `arm`."""
    gamma = runs.gamma.isna() if arm.gamma is None else runs.gamma == arm.gamma
    return (runs.normalization == arm.normalization) & (runs.weight_decay == arm.weight_decay) & gamma
