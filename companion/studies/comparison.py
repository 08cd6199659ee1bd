"""Untuned batch normalization against a search over `weight_decay`: what is trained, what is asked, what came out.

The statements are fixed before the networks are trained, and are the same for every data set. How the answers are
shown is in `companion.studies.comparison_page`.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from bnlib import data, experiments, search
from bnlib.training import Arm, Schedule
from companion import statistics
from companion.records import Source

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
WITHIN = 0.5  # decades: one step of the grid
CLAIMS = (
    "rises-with-noise",
    "right-size",
    "beats-nothing",
    "regret",
    "tracks-search",
    "moved-decay",
    "looks-at-data",
    "hears-signal",
)
HEADLINES = ("right-size", "tracks-search", "moved-decay")  # the first row of each: what `answer` is made of


def name_of(dataset):
    """What statements call a data set, however much of it is used.

    Examples
    --------
    >>> [name_of(dataset) for dataset in ("mnist-5k", "mnist", "fashion-mnist")]
    ['MNIST', 'MNIST', 'Fashion-MNIST']
    """
    return data.TITLES[dataset].split(",")[0]


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
        The `weight_decay` of lowest validation loss; 0 where none was best.
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

    def moved_regret(self, what="accuracy"):
        """Mean over all pairs of different levels of what a moved `weight_decay` loses, one number a seed.

        Parameters
        ----------
        what : {"accuracy", "loss"}

        Returns
        -------
        ndarray, shape (seeds,)
        """
        different = ~np.eye(len(self.levels), dtype=bool)
        return self.moved[what][:, different].mean(axis=1)


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


def compare(runs, source):
    """Read the comparison from the table of a sweep over `arms`, noise levels and seeds.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep`. A network that diverged counts as one that guesses.
    source : companion.records.Source
        Where `runs` come from.

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
    ways[BEST] = search.best_decays(runs)
    best_decay = experiments.by_seed(ways[BEST], "weight_decay")
    searched = runs[runs.normalization == "none"].set_index(["seed", "weight_decay", "noise_std"])
    moved = {}
    for what, sign in (("accuracy", -1), ("loss", 1)):
        outcome = searched[f"test_{what}"]
        moved[what] = sign * np.array(
            [
                [
                    [outcome[seed, decay, used] - outcome[seed, chosen[used], used] for used in best_decay]
                    for decay in chosen
                ]
                for seed, chosen in best_decay.iterrows()
            ]
        )
    return Comparison(
        accuracy={name: experiments.by_seed(rows, "test_accuracy") for name, rows in ways.items()},
        loss={name: experiments.by_seed(rows, "test_loss") for name, rows in ways.items()},
        signal_share={name: experiments.by_seed(rows, "signal_share") for name, rows in ways.items()},
        rates={name: experiments.by_seed(ways[name], "l2_rate") for name in (BN, BN_FIXED)},
        reading_errors={name: experiments.by_seed(ways[name], "l2_rate_error") for name in (BN, BN_FIXED)},
        best_decay=best_decay,
        moved=moved,
        runs=given,
        source=source,
    )


def rank_correlation(first, second):
    """Spearman's rank correlation over the columns, for each row.

    Parameters
    ----------
    first, second : pandas.DataFrame
        A row a seed, a column a noise level.

    Returns
    -------
    ndarray, shape (seeds,)
        0 where one of the two is the same at every level: what does not move is not tracked.

    Examples
    --------
    >>> rank_correlation(pd.DataFrame([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]), pd.DataFrame([[1, 3, 9], [5, 5, 5]])).tolist()
    [1.0, 0.0]
    """
    pairs = zip(first.to_numpy(), second.to_numpy())
    return np.array([stats.spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else 0.0 for a, b in pairs])


def statements(found):
    """What the comparison is asked, as arguments of `companion.page.check`.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    list of dict
        In the order of `CLAIMS`. All are empirical; the first row of each of `HEADLINES` has the role "headline".
    """
    low, high = found.levels[0], found.levels[-1]
    best = found.on_log_axis(found.best_decay)
    rows = {claim: [] for claim in CLAIMS}

    def state(claim, statement, measured, relation, predicted=0.0, source=found.source):
        is_headline = claim in HEADLINES and not rows[claim]
        rows[claim].append(
            {
                "claim": claim,
                "statement": f"{statement}, {found.data_name}",
                "measured": np.asarray(measured),
                "predicted": predicted,
                "kind": "empirical",
                "relation": relation,
                "role": "headline" if is_headline else "exploratory",
                "source": source,
            }
        )

    for name, rate in found.rates.items():
        rate = found.on_log_axis(rate)
        decades = np.log10(rate)
        state(
            "rises-with-noise",
            f"{name}: log10 of its L2-equivalent rate at noise_std {high:g} over that at noise_std {low:g}",
            decades[high] - decades[low],
            "above",
        )
        state(
            "right-size",
            f"{name}: mean over noise levels of |log10(its L2-equivalent rate / best weight_decay)|",
            (decades - np.log10(best)).abs().mean(axis=1),
            "below",
            WITHIN,
        )
        state(
            "tracks-search",
            f"{name}: rank correlation, over noise levels, of its L2-equivalent rate and the best weight_decay",
            rank_correlation(rate, best),
            "above",
        )
    for level in found.levels:
        state(
            "beats-nothing",
            f"{BN}: test accuracy in points above that of no normalization and no decay, noise_std {level:g}",
            found.accuracy[BN][level] - found.accuracy[NONE][level],
            "above",
            source=found.source_at(level),
        )
    state(
        "regret",
        f"{BN}: regret against the best weight_decay in points of test accuracy, mean over noise levels",
        found.regret(BN).mean(axis=1),
        "below",
        1.0,
    )
    for what, unit in (("accuracy", "points of test accuracy"), ("loss", "test loss")):
        state(
            "moved-decay",
            f"{BN}: mean regret in {unit} minus that of a weight_decay tuned at one noise level and used at another",
            found.regret(BN, what).mean(axis=1) - found.moved_regret(what),
            "below",
        )
    for name in (WEIGHT, LAYER):
        state(
            "looks-at-data",
            f"{BN}: regret in points of test accuracy minus that of {name}, mean over noise levels",
            (found.regret(BN) - found.regret(name)).mean(axis=1),
            "below",
        )
    state(
        "hears-signal",
        f"{BN}: share of signal in points above that of no normalization and no decay, noise_std {high:g}",
        found.signal_share[BN][high] - found.signal_share[NONE][high],
        "above",
        source=found.source_at(high),
    )
    return [row for claim in CLAIMS for row in rows[claim]]


def answer(found):
    """One sentence: does the rate that batch normalization sets track the best one that a search finds?

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    str
        Made of verdicts alone, those of the headlines.
    """
    asked = ("measured", "predicted", "kind", "relation")
    verdicts = {
        row["claim"]: statistics.compare(**{name: row[name] for name in asked}).verdict
        for row in statements(found)
        if row["role"] == "headline"
    }
    direction = {
        "borne out": "moves with the best rate that a search finds",
        "not borne out": "moves against the best rate that a search finds",
        "undecided": "cannot be shown, with these seeds, to move with the best rate that a search finds",
    }
    size = {
        "borne out": "lies within half a decade of it on average",
        "not borne out": "lies more than half a decade from it on average",
        "undecided": "lies about half a decade from it, these seeds cannot say on which side",
    }
    use = {
        "borne out": "costs less accuracy than",
        "not borne out": "costs more accuracy than",
        "undecided": "cannot be told, with these seeds, from",
    }
    return (
        f"On {found.data_name}, as noise grows, the rate that BN sets by itself {direction[verdicts['tracks-search']]}; "
        f"it {size[verdicts['right-size']]}; and leaving BN untuned {use[verdicts['moved-decay']]} "
        "using a weight_decay that was tuned at another noise level."
    )


def _is_arm(runs, arm):
    """Which rows of a sweep belong to `arm`."""
    gamma = runs.gamma.isna() if arm.gamma is None else runs.gamma == arm.gamma
    return (runs.normalization == arm.normalization) & (runs.weight_decay == arm.weight_decay) & gamma
