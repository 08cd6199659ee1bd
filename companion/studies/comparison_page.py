"""The comparison of untuned batch normalization with a search, as pages show it: pictures, tables, checks, findings."""

import numpy as np
import pandas as pd

from companion import figures, page, statistics
from companion.studies.comparison import BEST, BN, BN_FIXED, LAYER, NONE, UNTUNED, WEIGHT
from companion.studies.questions import CLAIMS, answer, slopes, statements

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
    "rises-with-noise": {
        "borne out": "On {data}, the rate that BN sets is {factor:.1f} times as large at noise {high:g} as at noise {low:g}; "
        "the best weight_decay of a search is {best_factor:.1f} times as large.",
        "not borne out": "On {data}, the rate that BN sets falls with noise: at noise {high:g} it is {factor:.2f} times what "
        "it is at noise {low:g}; the best weight_decay of a search is {best_factor:.1f} times as large.",
        "undecided": "On {data}, whether the rate that BN sets rises with noise, {repetitions} seeds cannot say: at noise "
        "{high:g} it is {factor:.2f} times what it is at noise {low:g}; the best weight_decay of a search is "
        "{best_factor:.1f} times as large.",
    },
    "tracks-search": {
        "borne out": "On {data}, BN's rate ranks {levels} noise levels as the best weight_decay of a search does: rank "
        "correlation {interval:.2f}.",
        "not borne out": "On {data}, BN's rate ranks {levels} noise levels against the best weight_decay of a search: rank "
        "correlation {interval:.2f}.",
        "undecided": "On {data}, {repetitions} seeds cannot say whether BN's rate ranks {levels} noise levels as the best "
        "weight_decay of a search does: rank correlation {interval:.2f}.",
    },
    "slope": {
        "borne out": "It moves less than the best weight_decay: in logarithms its slope on it is {interval:.2f}, where 1 "
        "would be following fully and 0 standing still.",
        "not borne out": "It moves more than the best weight_decay: in logarithms its slope on it is {interval:.2f}, where 1 "
        "would be following fully.",
        "undecided": "In logarithms its slope on the best weight_decay is {interval:.2f}, where 1 would be following fully "
        "and 0 standing still: {repetitions} seeds cannot say whether it moves less.",
    },
    "right-size": {
        "borne out": "The two rates lie {interval:.2f} decades apart on average, less than half a decade.",
        "not borne out": "The two rates lie {interval:.2f} decades apart on average, more than half a decade.",
        "undecided": "The two rates lie {interval:.2f} decades apart on average; whether that is less than half a decade, "
        "{repetitions} seeds cannot say.",
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
    rates, (low, high) = found.on_log_axis(found.rates[BN]), (found.levels[0], found.levels[-1])
    factors = [10 ** np.log10(table[high] / table[low]).mean() for table in (rates, found.best_decay)]
    numbers = {
        "low": low,
        "high": high,
        "factor": factors[0],
        "best_factor": factors[1],
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
    best = found.on_grid.to_numpy()
    page.sentence(
        f"{len(found.runs)} networks were trained; {found.runs.test_loss.isna().sum()} diverged. Of {best.size} "
        f"searches {(best == 0).sum()} found no decay best, and {found.best_error.isna().sum().sum()} ended at an end of the "
        "grid; the others know log10 of the best decay to a standard error of "
        f"{np.nanmedian(found.best_error):.2f}, the median."
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
    ways = (BN, BEST, WEIGHT, NONE)
    for way, shift in zip(ways, np.linspace(-0.2, 0.2, len(ways)) * np.diff(found.levels).min()):
        left.ax.plot(
            np.add(found.levels, shift), found.accuracy[way].mean(), color=COLORS[way], linewidth=0.8, alpha=0.6
        )
        left.points(found.levels, found.accuracy[way], way, COLORS[way], MARKERS[way], shift=shift)
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
        says=f"{answer(found)} {found.data_name} in noise. Left: untuned BN against no regularization, weight normalization and the "
        "best weight_decay of a search. Right: the L2-equivalent rate that BN set by itself, and the best "
        f"weight_decay; geometric means.",
        source=found.source,
        name=name,
    )


def slope_picture(found, name):
    """Show rate against rate, every seed and noise level, with the slope.

    Parameters
    ----------
    found : companion.studies.comparison.Comparison
    name : str
        The figure's anchor.
    """
    picture = figures.Picture(1, 2, height=3.6, sharex=True, sharey=True)
    best = found.on_log_axis(found.best_decay)
    slope_of = {}
    for panel, (way, rates) in zip(picture, found.rates.items()):
        rates = found.on_log_axis(rates)
        for seed in rates.index:
            panel.ax.plot(best.loc[seed], rates.loc[seed], ".-", color=COLORS[way], alpha=0.35, linewidth=0.8)
        middle, set_by_bn = (10 ** np.log10(table).mean() for table in (best, rates))
        panel.line(middle, set_by_bn, "geometric mean of the seeds", COLORS[way], marker=MARKERS[way])
        for level in found.levels:
            panel.ax.annotate(f"{level:g}", (middle[level], set_by_bn[level]), (5, -11), textcoords="offset points")
        panel.ax.axline((middle.iloc[0],) * 2, np.multiply(2, (middle.iloc[0],) * 2), color=COLORS[BEST], lw=1.2)
        slope_of[way] = statistics.as_text(slopes(rates, best), "{:.2f}")
        panel.set(xscale="log", yscale="log", xlabel="best weight_decay of the search", title=way)
    picture[0].set(ylabel="rate that BN set")
    picture.show(
        says="BN follows a search where its dots run along the straight line. Rate against rate: a thin line a seed, a dot a noise level, whose number stands beside the mean. On the "
        "straight line BN would set what a search finds. Slope of the logarithms, 1 where BN follows fully: "
        + "; ".join(f"{way} {text}" for way, text in slope_of.items())
        + ".",
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
    beside = np.linspace(-0.25, 0.25, len(UNTUNED))  # five bands would hide each other
    for panel, (what, unit) in zip(picture, UNITS.items()):
        for way, shift in zip(UNTUNED, beside * np.diff(found.levels).min()):
            lost = found.regret(way, what)
            panel.ax.plot(np.add(found.levels, shift), lost.mean(), color=COLORS[way], linewidth=0.8, alpha=0.6)
            panel.points(found.levels, lost, way, COLORS[way], MARKERS[way], shift=shift)
        panel.level(0, color=COLORS[BEST], style="-")
        panel.set(xlabel=NOISE, title=f"regret, {unit}")
    low, high = picture[0].ax.get_ylim()  # room for the legend
    picture[0].set(ylim=(low, high + (high - low) / 2), legend={"fontsize": 8, "loc": "upper left"})
    means = "; ".join(f"{way} {statistics.as_text(found.regret(way).mean(axis=1), '{:.2f}')}" for way in UNTUNED)
    picture.show(
        says="What each untuned network loses against the best weight_decay is below zero where it does better. "
        f"The line at 0 is that best decay. Mean over noise levels in points of accuracy: {means}.",
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
    shares = (found.reading_errors[BN] / found.rates[BN].abs()).median()
    page.sentence(
        f"How sure is a reading of {BN}? Its standard error is, in the middle of the seeds, "
        + ", ".join(f"{share:.0%} of the rate at noise {level:g}" for level, share in shares.items())
        + ". Part of the scatter over seeds is this."
    )
    page.table(
        rates_table(found),
        f"Rates in units of weight_decay: geometric {MEANS} (arithmetic where a rate is negative); {negative}. "
        "Last rows: the standard error of log10 of the best weight_decay, and every cell of the grid that was best for "
        "some seed.",
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
    rows["standard error of log10 of it"] = [f"{found.best_error[level].mean():.2f}" for level in found.levels]
    rows["best of the grid for some seed"] = [
        ", ".join(f"{decay:g}" for decay in sorted(set(found.on_grid[level]))) for level in found.levels
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"noise {level:g}" for level in found.levels])
