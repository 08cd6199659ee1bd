"""The comparison of untuned batch normalization with a search, as pages show it: pictures, tables, checks, findings."""

import numpy as np
import pandas as pd

from companion import figures, page, statistics
from companion.studies.comparison import (
    BEST,
    BN,
    BN_FIXED,
    CLAIMS,
    DECAYS,
    LAYER,
    NONE,
    UNTUNED,
    WEIGHT,
    answer,
    statements,
)

COLORS = {
    BN: figures.COLORS["batch"],
    BN_FIXED: "#56B4E9",
    WEIGHT: figures.COLORS["signal"],
    LAYER: figures.COLORS["noise"],
    NONE: figures.COLORS["none"],
    BEST: figures.COLORS["l2"],
}
MARKERS = dict(zip(COLORS, "os^vDs"))
NOISE = "noise_std (pixels' standard deviations)"
MEANS = "means with 95 % intervals over seeds"
UNITS = {"accuracy": "points of accuracy", "loss": "test loss"}

# what the rows of a claim found, in words with their numbers
FINDINGS = {
    "tracks-search": {
        "borne out": "On {data}, as noise grows, the rate that BN sets moves with the best weight_decay of a search: "
        "rank correlation {interval:.2f} over {levels} noise levels.",
        "not borne out": "On {data}, as noise grows, the rate that BN sets moves against the best weight_decay of a "
        "search: rank correlation {interval:.2f} over {levels} noise levels.",
        "undecided": "On {data}, {repetitions} seeds cannot say whether, as noise grows, the rate that BN sets moves "
        "with the best weight_decay of a search: rank correlation {interval:.2f} over {levels} "
        "noise levels.",
    },
    "right-size": {
        "borne out": "The two rates lie {interval:.2f} decades apart on average, less than the "
        "half decade of the search's grid.",
        "not borne out": "The two rates lie {interval:.2f} decades apart on average, more than "
        "the half decade of the search's grid.",
        "undecided": "The two rates lie {interval:.2f} decades apart on average; whether that "
        "is less than the half decade of the search's grid, {repetitions} seeds cannot say.",
    },
    "beats-nothing": {
        "borne out": "Untuned BN is more accurate than the network without normalization and decay at all {count} "
        "noise levels, by {least:.1f} to {most:.1f} points.",
        "not borne out": "Untuned BN is less accurate than the network without normalization and decay at all {count} "
        "noise levels; the differences run from {least:+.1f} to {most:+.1f} points.",
        "mixed": "Untuned BN is more accurate than the network without normalization and decay at {held} of "
        "{count} noise levels and less accurate at {lost}, the others being undecided; the differences run from "
        "{least:+.1f} to {most:+.1f} points.",
    },
    "moved-decay": {
        "borne out": "The regret of untuned BN against the best weight_decay is {kept:.2f} points of accuracy, less "
        "than the {moved:.2f} of a weight_decay that was tuned at another noise level; the difference is "
        "{interval:.2f}.",
        "not borne out": "The regret of untuned BN against the best weight_decay is {kept:.2f} points of accuracy, "
        "more than the {moved:.2f} of a weight_decay that was tuned at another noise level; the difference is "
        "{interval:.2f}.",
        "undecided": "The regret of untuned BN against the best weight_decay is {kept:.2f} points of accuracy, that "
        "of a weight_decay that was tuned at another noise level {moved:.2f}; the difference of "
        "{interval:.2f} is one that {repetitions} seeds cannot tell from none.",
    },
}


def ask(found, *claims):
    """Record the statements of some claims, with a finding for each that has one in `FINDINGS`.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    *claims : str
        Default: all of `CLAIMS`.
    """
    claims = claims or CLAIMS
    checks = [page.check(**row) for row in statements(found) if row["claim"] in claims]
    numbers = {
        "data": found.data_name,
        "levels": len(found.levels),
        "kept": found.regret(BN).to_numpy().mean(),
        "moved": found.moved_regret().mean(),
    }
    for claim, patterns in FINDINGS.items():
        asked = [one for one in checks if one.claim == claim]
        lost = sum(one.verdict == "not borne out" for one in asked)
        # of two rows on the same thing the first speaks; each noise level is a thing of its own
        speaking = asked if claim == "beats-nothing" else asked[:1]
        if speaking:
            page.finding(patterns, *speaking, lost=lost, **numbers)


def summary(found):
    """Say how many networks were trained, how many diverged, and where the searches ended."""
    best = found.best_decay.to_numpy()
    page.sentence(
        f"{len(found.runs)} networks were trained; {found.runs.test_loss.isna().sum()} diverged. Of {best.size} "
        f"searches {(best == 0).sum()} found no decay best, and {np.isin(best, (DECAYS[0], DECAYS[-1])).sum()} ended "
        "at an end of the grid."
    )


def main_picture(found, name):
    """Show accuracy on the left, rates on the right, against noise, and the answer.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    name : str
        The figure's anchor.
    """
    picture = figures.Picture(1, 2, height=3.6)
    left, right = picture
    for way in (BN, BEST, WEIGHT, NONE):
        left.band(found.levels, found.accuracy[way], way, COLORS[way], MARKERS[way])
    left.set(xlabel=NOISE, title="test accuracy, percent", legend={"fontsize": 8, "loc": "lower left"})
    for way, rates in found.rates.items():
        rates = found.on_log_axis(rates)
        right.band(found.levels, rates, f"set by {way}", COLORS[way], MARKERS[way], scale="log")
    best = found.on_log_axis(found.best_decay)
    right.points(found.levels, best, "best weight_decay found", COLORS[BEST], MARKERS[BEST], scale="log")
    right.set(xlabel=NOISE, title="rate, units of weight_decay", yscale="log")
    low, high = right.ax.get_ylim()  # room for the legend
    right.set(ylim=(low / 4, high), legend={"fontsize": 8, "loc": "lower left"})
    picture.show(
        says=f"{found.data_name} in noise. Left: untuned BN against no regularization, weight normalization and the "
        "best weight_decay of a search. Right: the L2-equivalent rate that BN set by itself, and the best "
        f"weight_decay; geometric means. {answer(found)}",
        source=found.source,
        name=name,
    )


def regret_picture(found, name):
    """Show what the untuned networks lose against the best `weight_decay`.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    name : str
        The figure's anchor.
    """
    picture = figures.Picture(1, 2, height=3.6)
    for panel, (what, unit) in zip(picture, UNITS.items()):
        for way in UNTUNED:
            panel.band(found.levels, found.regret(way, what), way, COLORS[way], MARKERS[way])
        panel.level(0, color=COLORS[BEST], style="-")
        panel.set(xlabel=NOISE, title=f"regret, {unit}")
    low, high = picture[0].ax.get_ylim()  # room for the legend
    picture[0].set(ylim=(low, high + (high - low) / 2), legend={"fontsize": 8, "loc": "upper left"})
    means = "; ".join(f"{way} {statistics.as_text(found.regret(way).mean(axis=1), '{:.2f}')}" for way in UNTUNED)
    picture.show(
        says="What each untuned network loses against the best weight_decay (the line at 0); below the line it does "
        f"better. Mean over noise levels in points of accuracy: {means}.",
        source=found.source,
        name=name,
    )


def show_rates(found):
    """Show the rates as a table."""
    negative = "; ".join(
        f"of {way} {(rates < 0).to_numpy().sum()} of {rates.size} are negative"
        f" and {(rates < found.floor).to_numpy().sum()} below {found.floor:.0e}"
        for way, rates in found.rates.items()
    )
    page.table(
        rates_table(found),
        f"Rates in units of weight_decay: geometric {MEANS} (arithmetic where a rate is negative); {negative}. "
        "Last row: every value that was best for some seed.",
        found.source,
    )


def show_accuracy(found):
    """Show accuracy and loss on the test set as tables."""
    page.table(table(found, found.accuracy), f"Test accuracy, percent: {MEANS}.", found.source)
    page.table(table(found, found.loss, "{:.3f}"), f"Test loss: {MEANS}.", found.source)


def show_moves(found):
    """Show what a `weight_decay` loses that was tuned at one noise level and is used at another."""
    for what, unit in UNITS.items():
        lost = pd.DataFrame(
            found.moved[what].mean(axis=0),
            index=[f"tuned at noise {level:g}" for level in found.levels],
            columns=[f"used at {level:g}" for level in found.levels],
        )
        for way in (BN, WEIGHT):
            lost.loc[way] = found.regret(way, what).mean().to_numpy()
        moved, kept = found.moved_regret(what), found.regret(BN, what).mean(axis=1)
        page.table(
            lost.map("{:+.3f}".format),
            f"Regret in {unit}, mean over seeds. Mean over all moves from one level to another: "
            f"{statistics.as_text(moved)}; untuned BN, mean over levels: {statistics.as_text(kept)}.",
            found.source,
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
            statistics.as_text(rates[level], "{:.1e}", scale="log" if (rates[level] > 0).all() else "plain")
            for level in found.levels
        ]
        errors = found.reading_errors[name]
        rows[f"standard error of a reading, {name}"] = [f"{errors[level].mean():.1e}" for level in found.levels]
    best = found.on_log_axis(found.best_decay)
    rows["best weight_decay"] = [statistics.as_text(best[level], "{:.1e}", scale="log") for level in found.levels]
    rows["best for some seed"] = [
        ", ".join(f"{decay:g}" for decay in sorted(set(found.best_decay[level]))) for level in found.levels
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"noise {level:g}" for level in found.levels])
