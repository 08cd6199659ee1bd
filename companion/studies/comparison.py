"""Untuned batch normalization against a search over `weight_decay`: a sweep's tables, statements and figure.

The statements are fixed before the networks are trained, and are the same for every data set.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from bnlib import experiments
from bnlib.training import Arm
from companion import figures, statistics

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
COLORS = {
    BN: figures.COLORS["batch"],
    BN_FIXED: "#56B4E9",
    WEIGHT: "#009E73",
    LAYER: "#CC79A7",
    NONE: figures.COLORS["none"],
    BEST: figures.COLORS["l2"],
}
MARKERS = dict(zip(COLORS, "os^vDs"))
WITHIN = 0.5  # decades: one step of the grid


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
    """

    accuracy: dict
    loss: dict
    signal_share: dict
    rates: dict
    reading_errors: dict
    best_decay: pd.DataFrame
    moved: dict

    @property
    def levels(self):
        """The noise levels, from the lowest."""
        return list(self.best_decay.columns)

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


def compare(runs):
    """Read the comparison from the table of a sweep over `arms`, noise levels and seeds.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep`. A network that diverged counts as one that guesses.

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
    runs = runs.assign(test_accuracy=100 * runs.test_accuracy, signal_share=100 * runs.signal_share)
    runs["test_loss"] = runs.test_loss.fillna(np.log(10))
    ways = {name: runs[_is_arm(runs, arm)] for name, arm in UNTUNED.items()}
    ways[BEST] = experiments.best_decays(runs)
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


def statements(found, data_name):
    """What the comparison is asked, as arguments of `companion.page.check`.

    Parameters
    ----------
    found : Comparison
    data_name : str
        For the text: "MNIST".

    Returns
    -------
    list of dict
        In the order of the claims' names. All are empirical.
    """
    low, high = found.levels[0], found.levels[-1]
    best = found.on_log_axis(found.best_decay)
    rows = []

    def state(claim, statement, measured, relation, predicted=0.0):
        statement = f"{statement}, {data_name}"
        rows.append({"claim": claim, "statement": statement, "measured": np.asarray(measured), "kind": "empirical"})
        rows[-1] |= {"predicted": predicted, "relation": relation}

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
        gain = found.accuracy[BN][level] - found.accuracy[NONE][level]
        state(
            "beats-nothing",
            f"{BN}: test accuracy in points above that of no normalization and no decay, noise_std {level:g}",
            gain,
            "above",
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
    )
    return sorted(rows, key=lambda row: row["claim"])


def answer(rows, data_name):
    """One sentence: does the rate that batch normalization sets track the best one that a search finds?

    Parameters
    ----------
    rows : list of dict
        From `statements`; the first row of right-size, tracks-search and moved-decay speaks.
    data_name : str

    Returns
    -------
    str
        Made of verdicts alone.
    """
    verdicts = {}
    for row in rows:
        asked = {name: row[name] for name in ("measured", "predicted", "kind", "relation")}
        verdicts.setdefault(row["claim"], statistics.compare(**asked).verdict)
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
        f"On {data_name}, as noise grows, the rate that BN sets by itself {direction[verdicts['tracks-search']]}; "
        f"it {size[verdicts['right-size']]}; and leaving BN untuned {use[verdicts['moved-decay']]} "
        "using a weight_decay that was tuned at another noise level."
    )


def table(found, of, form="{:.2f}"):
    """Means with 95 % intervals as text: a row each way of regularizing, a column a noise level.

    Parameters
    ----------
    found : Comparison
    of : dict of str to pandas.DataFrame
        As in `Comparison`.
    form : str
        Format of each number.

    Returns
    -------
    pandas.DataFrame
    """
    return pd.DataFrame(
        {
            f"noise {level:g}": [statistics.as_text(samples[level], form) for samples in of.values()]
            for level in found.levels
        },
        index=list(of),
    )


def rates_table(found):
    """Rates as text: what batch normalization sets, and what the search finds.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    pandas.DataFrame
        Geometric means with 95 % intervals; where a rate is not positive, arithmetic ones.
    """
    rows = {}
    for name, rates in found.rates.items():
        rows[f"rate of {name}"] = [
            statistics.as_text(rates[level], "{:.1e}", geometric=bool((rates[level] > 0).all())) for level in found.levels
        ]
        errors = found.reading_errors[name]
        rows[f"standard error of a reading, {name}"] = [f"{errors[level].mean():.1e}" for level in found.levels]
    best = found.on_log_axis(found.best_decay)
    rows["best weight_decay"] = [statistics.as_text(best[level], "{:.1e}", geometric=True) for level in found.levels]
    rows["best for some seed"] = [
        ", ".join(f"{decay:g}" for decay in sorted(set(found.best_decay[level]))) for level in found.levels
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"noise {level:g}" for level in found.levels])


def figure(found):
    """The picture of the comparison: accuracy on the left, rates on the right, against noise.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    fig : matplotlib.figure.Figure
    alt : str
        What it shows, in numbers.
    """
    low, high = found.levels[0], found.levels[-1]
    fig, (left, right) = figures.figure(1, 2, height=3.6)
    for name in (BN, BEST, WEIGHT, NONE):
        figures.band(left, found.levels, found.accuracy[name], name, COLORS[name], MARKERS[name])
    left.set(xlabel="noise_std (pixels' standard deviations)", title="test accuracy, percent")
    left.legend(fontsize=8, loc="lower left")
    best = found.on_log_axis(found.best_decay)
    for name, rates in found.rates.items():
        label = f"set by {name}"
        rates = found.on_log_axis(rates)
        figures.band(right, found.levels, rates, label, COLORS[name], MARKERS[name], geometric=True)
    figures.points(right, found.levels, best, "best weight_decay found", COLORS[BEST], MARKERS[BEST], geometric=True)
    right.set(xlabel="noise_std (pixels' standard deviations)", yscale="log", title="rate, units of weight_decay")
    right.set_ylim(bottom=right.get_ylim()[0] / 4)  # room for the legend
    right.legend(fontsize=8, loc="lower left")
    typical = {name: np.exp(np.log(found.on_log_axis(rates)).mean()) for name, rates in found.rates.items()}
    searched = np.exp(np.log(best).mean())
    alt = (
        f"Left: test accuracy against noise. At noise {high:g}, untuned BN reaches {found.accuracy[BN][high].mean():.1f}"
        f" percent, the best weight_decay {found.accuracy[BEST][high].mean():.1f}, weight normalization"
        f" {found.accuracy[WEIGHT][high].mean():.1f}, no regularization {found.accuracy[NONE][high].mean():.1f}."
        f" Right: from noise {low:g} to {high:g} the rate that BN sets goes from {typical[BN][low]:.1e} to"
        f" {typical[BN][high]:.1e}, with gamma fixed from {typical[BN_FIXED][low]:.1e} to {typical[BN_FIXED][high]:.1e},"
        f" the best weight_decay from {searched[low]:.1e} to {searched[high]:.1e}."
    )
    return fig, alt


def _is_arm(runs, arm):
    """Which rows of a sweep belong to `arm`."""
    gamma = runs.gamma.isna() if arm.gamma is None else runs.gamma == arm.gamma
    return (runs.normalization == arm.normalization) & (runs.weight_decay == arm.weight_decay) & gamma
