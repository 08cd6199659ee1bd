"""What the comparison is asked: the statements, fixed before the networks are trained and the same for every data set."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from companion import statistics
from companion.studies.comparison import BN, BN_FIXED, LAYER, NONE, WEIGHT, compare

WITHIN = 0.5  # decades: one step of the grid
CLAIMS = (
    "rises-with-noise",
    "right-size",
    "tracks-search",
    "slope",
    "beats-nothing",
    "regret",
    "moved-decay",
    "looks-at-data",
    "hears-signal",
)
# the first row of each is a headline; a sixth is asked of other runs, in the chapter on data
HEADLINES = ("rises-with-noise", "tracks-search", "slope", "moved-decay", "looks-at-data")


@dataclass(frozen=True)
class Choice:
    """One way of several to read the same runs.

    Parameters
    ----------
    chosen_by : str
        What a search looks at: "validation_loss" or "validation_accuracy".
    smooth : bool
        Whether the best decay is the minimum of a fit, or a cell of the grid.
    way : str
        Batch normalization with learned or with fixed gamma.
    middle : str
        "mean" or "median" over noise levels; of a slope, least squares or Theil and Sen's.
    """

    chosen_by: str = "validation_loss"
    smooth: bool = True
    way: str = BN
    middle: str = "mean"


OPTIONS = {
    "chosen_by": ("validation_loss", "validation_accuracy"),
    "smooth": (True, False),
    "way": (BN, BN_FIXED),
    "middle": ("mean", "median"),
}
# which of them a headline depends on
BEARS_ON = {
    "rises-with-noise": ("way",),
    "tracks-search": ("chosen_by", "smooth", "way"),
    "slope": ("chosen_by", "smooth", "way", "middle"),
    "moved-decay": ("chosen_by", "way", "middle"),
    "looks-at-data": ("way", "middle"),
}


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
    found = [stats.spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else 0.0 for a, b in pairs]
    return np.clip(found, -1, 1)  # rounding


def slopes(rates, best, middle="mean"):
    """How far one rate follows another: the slope of its logarithm on that of the other, for each row.

    Parameters
    ----------
    rates, best : pandas.DataFrame
        Positive; a row a seed, a column a noise level.
    middle : {"mean", "median"}
        Least squares, or Theil and Sen's median of slopes.

    Returns
    -------
    ndarray, shape (seeds,)
        1: it follows fully; 0: it stays. 0 too where `best` is the same at every level.

    Examples
    --------
    >>> slopes(pd.DataFrame([[1.0, 10.0, 100.0]]), pd.DataFrame([[1.0, 100.0, 10000.0]])).round(9).tolist()
    [0.5]
    """
    fit = stats.linregress if middle == "mean" else lambda x, y: stats.theilslopes(y, x)
    logs = zip(np.log10(best.to_numpy()), np.log10(rates.to_numpy()))
    return np.array([fit(x, y)[0] if np.ptp(x) else 0.0 for x, y in logs])


def headline(found, claim, way=BN, middle="mean"):
    """What a headline measures, one number a seed: arguments of `companion.statistics.compare`.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    claim : str
        One of `HEADLINES`.
    way, middle : str
        See `Choice`.

    Returns
    -------
    dict
    """
    low, high = found.levels[0], found.levels[-1]
    rate, best = found.on_log_axis(found.rates[way]), found.on_log_axis(found.best_decay)
    over_levels = {"mean": pd.DataFrame.mean, "median": pd.DataFrame.median}[middle]
    measured, relation, predicted, scale = {
        "rises-with-noise": lambda: (np.log10(rate[high] / rate[low]), "above", 0.0, "plain"),
        "tracks-search": lambda: (rank_correlation(rate, best), "above", 0.0, "correlation"),
        "slope": lambda: (slopes(rate, best, middle), "below", 1.0, "plain"),
        "moved-decay": lambda: (
            over_levels(found.regret(way), axis=1) - found.moved_regret(middle=middle),
            "below",
            0.0,
            "plain",
        ),
        "looks-at-data": lambda: (over_levels(found.regret(way) - found.regret(WEIGHT), axis=1), "below", 0.0, "plain"),
    }[claim]()
    return {
        "measured": np.asarray(measured),
        "relation": relation,
        "predicted": predicted,
        "scale": scale,
        "kind": "empirical",
    }


def stands(found, claim):
    """In how many of the choices that bear on a headline its verdict is the same.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    claim : str
        One of `HEADLINES`.

    Returns
    -------
    same, of : int
    """
    options = [OPTIONS[name] if name in BEARS_ON[claim] else OPTIONS[name][:1] for name in OPTIONS]
    verdicts = []
    for chosen_by, smooth in itertools.product(*options[:2]):
        read = compare(found.runs, found.source, chosen_by, smooth)
        verdicts += [
            statistics.compare(**headline(read, claim, way, middle)).verdict
            for way, middle in itertools.product(*options[2:])
        ]
    return verdicts.count(verdicts[0]), len(verdicts)


def statements(found):
    """What the comparison is asked, as arguments of `companion.page.check`.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison

    Returns
    -------
    list of dict
        In the order of `CLAIMS`. All are empirical; the first row of each of `HEADLINES` has the role "headline".
    """
    low, high = found.levels[0], found.levels[-1]
    best = found.on_log_axis(found.best_decay)
    rows = {claim: [] for claim in CLAIMS}
    words = {
        "rises-with-noise": f"log10 of its L2-equivalent rate at noise_std {high:g} over that at noise_std {low:g}",
        "tracks-search": "rank correlation, over noise levels, of its L2-equivalent rate and the best weight_decay",
        "slope": "slope, over noise levels, of log10 of its L2-equivalent rate on log10 of the best weight_decay",
        "moved-decay": "mean regret in points of test accuracy minus that of a weight_decay tuned at one noise level and "
        "used at another",
        "looks-at-data": f"regret in points of test accuracy minus that of {WEIGHT}, mean over noise levels",
    }

    def state(claim, statement, measured, relation, predicted=0.0, source=found.source, **more):
        rows[claim].append(
            {
                "claim": claim,
                "statement": f"{statement}, {found.data_name}",
                "measured": np.asarray(measured),
                "predicted": predicted,
                "kind": "empirical",
                "relation": relation,
                "source": source,
            }
            | more
        )

    for claim in HEADLINES:
        state(claim, f"{BN}: {words[claim]}", role="headline", stands_in=stands(found, claim), **headline(found, claim))
    for claim in ("rises-with-noise", "tracks-search", "slope"):
        state(claim, f"{BN_FIXED}: {words[claim]}", **headline(found, claim, BN_FIXED))
    # chosen after looking: on the log axis of the headline one rate of about 0 outweighs nine others
    state(
        "rises-with-noise",
        f"{BN}: its L2-equivalent rate at noise_std {high:g} minus that at noise_std {low:g}, in thousandths",
        1e3 * (found.rates[BN][high] - found.rates[BN][low]),
        "above",
    )
    for name, rate in found.rates.items():
        state(
            "right-size",
            f"{name}: mean over noise levels of |log10(its L2-equivalent rate / best weight_decay)|",
            np.log10(found.on_log_axis(rate) / best).abs().mean(axis=1),
            "below",
            WITHIN,
            scale="log",
        )
    for level in found.levels:
        state(
            "beats-nothing",
            f"{BN}: test accuracy in points above that of no normalization and no decay, noise_std {level:g}",
            found.accuracy[BN][level] - found.accuracy[NONE][level],
            "above",
            scale="points",
            source=found.source_at(level),
        )
    state(
        "regret",
        f"{BN}: regret against the best weight_decay in points of test accuracy, mean over noise levels",
        found.regret(BN).mean(axis=1),
        "below",
        1.0,
        scale="points",
    )
    state(
        "moved-decay",
        f"{BN}: mean regret in test loss minus that of a weight_decay tuned at one noise level and used at another",
        found.regret(BN, "loss").mean(axis=1) - found.moved_regret("loss"),
        "below",
    )
    state(
        "looks-at-data",
        f"{BN}: regret in points of test accuracy minus that of {LAYER}, mean over noise levels",
        (found.regret(BN) - found.regret(LAYER)).mean(axis=1),
        "below",
        scale="points",
    )
    state(
        "hears-signal",
        f"{BN}: share of signal in points above that of no normalization and no decay, noise_std {high:g}",
        found.signal_share[BN][high] - found.signal_share[NONE][high],
        "above",
        scale="points",
        source=found.source_at(high),
    )
    return [row for claim in CLAIMS for row in rows[claim]]


def answer(found):
    """One sentence: does the rate that batch normalization sets follow the best one that a search finds?

    Parameters
    ----------
    found : companion.studies.comparison.Comparison

    Returns
    -------
    str
        Made of the verdicts of the headlines, and of two of their numbers.
    """
    outcomes = {claim: statistics.compare(**headline(found, claim)) for claim in HEADLINES}
    verdicts = {claim: outcome.verdict for claim, outcome in outcomes.items()}
    rises = {
        "borne out": "rises",
        "not borne out": "falls",
        "undecided": "cannot be shown, with these seeds, to rise",
    }
    ranks = {
        "borne out": "ranks the noise levels as the best rate of a search does",
        "not borne out": "ranks the noise levels against the best rate of a search",
        "undecided": "cannot be shown, with these seeds, to rank the noise levels as the best rate of a search does",
    }
    slope = {
        "borne out": "moves less than that rate",
        "not borne out": "moves more than that rate",
        "undecided": "moves about as much as that rate, these seeds cannot say which of them more",
    }
    use = {
        "borne out": "costs less accuracy than",
        "not borne out": "costs more accuracy than",
        "undecided": "cannot be told, with these seeds, from",
    }
    control = {
        "borne out": "and less than weight normalization",
        "not borne out": "and more than weight normalization, which does not look at the data",
        "undecided": "and cannot be told from weight normalization, which does not look at the data",
    }
    return (
        f"On {found.data_name}, as noise grows, the rate that BN sets by itself {rises[verdicts['rises-with-noise']]}; it "
        f"{ranks[verdicts['tracks-search']]}; it {slope[verdicts['slope']]} (slope "
        f"{statistics.as_text(headline(found, 'slope')['measured'], '{:.2f}')} in logarithms); and leaving BN untuned "
        f"{use[verdicts['moved-decay']]} using a weight_decay that was tuned at another noise level, "
        f"{control[verdicts['looks-at-data']]}."
    )
