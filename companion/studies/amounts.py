"""Batch normalization's rate beside the best decay, as the amount of data and the share of wrong labels change."""

import itertools

import numpy as np

from bnlib.search import best_decays, smooth_best_decays
from companion import statistics
from companion.studies.questions import OPTIONS, rank_correlation

CONDITIONS = ("train_size", "label_noise")
# of the ways to read the same runs (companion.studies.questions.Choice), those that these runs have
READINGS = ("chosen_by", "smooth", "middle")


def rates(runs, chosen_by="validation_loss", smooth=True):
    """The rate that batch normalization set beside the best decay of a search.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep` over amounts of data and shares of wrong labels.
    chosen_by, smooth
        As for `companion.studies.comparison.compare`.

    Returns
    -------
    pandas.DataFrame
        A row a condition and seed, with the columns ``train_size``, ``label_noise``, ``seed``, ``rate``, ``bn`` (the
        L2-equivalent rate), ``best`` and ``train_loss`` (of the network with batch normalization).
    """
    index = [*CONDITIONS, "seed"]
    with_bn = runs[runs.normalization == "batch"].set_index(index)
    search = smooth_best_decays if smooth else best_decays
    best = search(runs, CONDITIONS, of=chosen_by).set_index(index).weight_decay
    read = with_bn[["rate", "l2_rate", "train_loss"]].rename(columns={"l2_rate": "bn"})
    return read.assign(best=best).reset_index()


def together(both, along, middle="mean"):
    """Rank correlation of the two rates over one condition, in the middle over the other.

    Parameters
    ----------
    both : pandas.DataFrame
        From `rates`.
    along : str
        One of `CONDITIONS`.
    middle : {"mean", "median"}

    Returns
    -------
    ndarray, shape (seeds,)
    """
    (other,) = set(CONDITIONS) - {along}
    tables = [
        [group.pivot(index="seed", columns=along, values=what) for what in ("bn", "best")]
        for _, group in both.groupby(other)
    ]
    return {"mean": np.mean, "median": np.median}[middle]([rank_correlation(*pair) for pair in tables], axis=0)


def headline(both, middle="mean"):
    """What the headline on the amount of data measures: arguments of `companion.statistics.compare`.

    Parameters
    ----------
    both : pandas.DataFrame
        From `rates`.
    middle : {"mean", "median"}

    Returns
    -------
    dict
    """
    return {
        "measured": together(both, "train_size", middle),
        "predicted": 0.0,
        "kind": "empirical",
        "relation": "below",
        "scale": "correlation",
    }


def stands(runs):
    """In how many ways to read the runs the verdict of the headline is the same.

    Parameters
    ----------
    runs : pandas.DataFrame

    Returns
    -------
    same, of : int
    """
    verdicts = [
        statistics.compare(**headline(rates(runs, chosen_by, smooth), middle)).verdict
        for chosen_by, smooth, middle in itertools.product(*(OPTIONS[name] for name in READINGS))
    ]
    return verdicts.count(verdicts[0]), len(verdicts)
