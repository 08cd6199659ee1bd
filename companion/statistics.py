"""Intervals over seeds, and verdicts from them."""

import typing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from bnlib.objects import choice
from bnlib.validation import finite_array, nonnegative
from companion.records import RANGES, Kind, Relation, ScaleName

KINDS = typing.get_args(Kind)
RELATIONS = typing.get_args(Relation)
SCALE_NAMES = typing.get_args(ScaleName)


@dataclass(frozen=True)
class Scale:
    """On which Student's t interval is taken, so that its ends stay where the quantity can be.

    Parameters
    ----------
    method : str
        What it is called where the interval is.
    there, back : callable
        From the quantity to the scale, and from the scale to the quantity.
    """

    method: str
    there: Callable
    back: Callable


# A perfect correlation over a few points, or a share of all, has no finite place on its scale. It says no more than that
# the quantity is near the end of its range, and is drawn in by as much as these numbers say.
NEAR_1, NEAR_0 = 0.975, 5e-4


def _fisher(r):
    return np.arctanh(np.clip(r, -NEAR_1, NEAR_1))


def _logit(p):
    return special.logit(np.clip(p, NEAR_0, 1 - NEAR_0))


SCALES = {
    "plain": Scale("t", np.asarray, np.asarray),
    "log": Scale("t of logarithms", np.log, np.exp),
    "correlation": Scale("t of Fisher's z", _fisher, np.tanh),
    "share": Scale("t of logits", _logit, special.expit),
    "points": Scale(
        "t of Fisher's z of points / 100", lambda d: _fisher(np.divide(d, 100)), lambda z: 100 * np.tanh(z)
    ),
    "angle": Scale("t of logits of degrees / 90", lambda a: _logit(np.divide(a, 90)), lambda y: 90 * special.expit(y)),
}
ONE_VALUE = "all seeds give one value"
AT_THE_END = "all seeds are at the end of the range"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; the fields are those of `companion.records.Check`."""

    measured: float | None
    predicted: float | None
    difference: float
    low: float | None
    high: float | None
    interval_method: str | None
    scale: str
    p_value: float | None
    repetitions: int
    verdict: str


def interval(samples, level=0.95, scale="plain"):
    """Student's t interval of the mean.

    Parameters
    ----------
    samples : array_like, shape (n,)
        Independent repetitions: one number a seed.
    level : float
        Coverage.
    scale : {"plain", "log", "correlation", "share", "points", "angle"}
        On which mean and interval are taken: logarithms for rates, sizes and ratios, which are positive and vary by
        factors; Fisher's z for correlations, and for differences of shares in percentage points; logits for shares, and
        for angles from 0 to 90 degrees. Only what has no bounds is plain.

    Returns
    -------
    mean, low, high : float
        The ends are NaN where samples do not scatter: there is one, all are the same, or all are so near the end of the
        range that their places on the scale are.

    Raises
    ------
    ValueError
        If there are no samples, one is not finite, or one is beyond the scale.

    Examples
    --------
    >>> mean, low, high = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    >>> [round(value, 3) for value in interval([0.9, 0.95, 1.0], scale="correlation")]
    [0.95, 0.737, 0.991]
    """
    samples, on = _checked("samples", samples, scale)
    if np.ptp(samples) == 0:
        return float(samples[0]), np.nan, np.nan
    placed = on.there(samples)
    mean = placed.mean()
    half = stats.t.ppf((1 + level) / 2, len(samples) - 1) * placed.std(ddof=1) / np.sqrt(len(samples))
    middle, low, high = (float(on.back(place)) for place in (mean, mean - half, mean + half))
    if low < middle < high:
        return middle, low, high
    return float(samples.mean()), np.nan, np.nan  # rounding, or all were drawn in from the end of the range


def intervals(samples, scale="plain"):
    """Mean and ends of the interval of each column.

    Parameters
    ----------
    samples : array_like, shape (seeds, p)
    scale : str
        As for `interval`.

    Returns
    -------
    ndarray, shape (3, p)
        Rows are mean, low and high.

    Examples
    --------
    >>> intervals([[1.0, 1.0], [3.0, 1.0]])[0]
    array([2., 1.])
    """
    return np.transpose([interval(column, scale=scale) for column in np.asarray(samples, dtype=np.float64).T])


def as_text(samples, form="{:.3f}", scale="plain"):
    """Mean and 95 % interval in words, for tables and captions.

    Parameters
    ----------
    samples : array_like, shape (n,)
        One number a seed.
    form : str
        Format of each number.
    scale : str
        As for `interval`.

    Returns
    -------
    str
        Where samples do not scatter, the number alone.

    Examples
    --------
    >>> as_text([1.0, 2.0, 3.0])
    '2.000 [-0.484, 4.484]'
    >>> as_text([1.0, 1.0, 1.0])
    '1.000 (all 3 seeds)'
    """
    mean, low, high = interval(samples, scale=scale)
    if np.isnan(low):
        where = " at the end of the range" if np.ptp(samples) else ""
        return form.format(mean) + (f" (all {len(samples)} seeds{where})" if len(samples) > 1 else "")
    return f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]"


def compare(measured, predicted, kind="numeric", relation="equal", tolerance=0.0, scale="plain"):
    """Hold what was measured against what was predicted.

    Parameters
    ----------
    measured : float, array_like or Fraction
        For ``kind="empirical"`` one number a seed, shape (n,).
    predicted : float, array_like or Fraction
    kind : {"exact", "numeric", "empirical"}
        "exact": equal without tolerance. "numeric": the relative difference is at most `tolerance`.
        "empirical": the 95 % interval of the mean lies where the claim says; if it lies wholly
        elsewhere the verdict is "not borne out", if it straddles the boundary "undecided". Where
        samples do not scatter (see `interval`) the mean itself decides; one seed decides nothing.
    relation : {"equal", "above", "below"}
        For empirical claims; "equal" means within `tolerance` (relative) of `predicted`.
    tolerance : float
        At least 0.
    scale : str
        Of empirical claims, as for `interval`.

    Returns
    -------
    Comparison
        ``p_value`` is that of the one-sided t test of an empirical claim with the relation "above" or "below".

    Raises
    ------
    ValueError
        If `kind` or `relation` is unknown, or the shapes do not fit.

    Examples
    --------
    >>> compare([0.4, 0.5, 0.6], 0.3, kind="empirical", relation="above").verdict
    'undecided'
    """
    choice("kind", kind, KINDS)
    choice("relation", relation, RELATIONS)
    nonnegative("tolerance", tolerance)
    if kind != "empirical" and relation != "equal":
        raise ValueError(f"relation = {relation!r} is for empirical claims; a {kind} claim is 'equal'")
    low = high = method = p_value = None
    repetitions = 1
    if kind == "empirical":
        samples, on = _checked("measured", measured, scale)
        repetitions = len(samples)
        value, low, high = interval(samples, scale=scale)
        target = float(predicted)
        difference = _relative(value, target)
        if np.isfinite(low):
            verdict, method = _verdict(low, high, target, relation, tolerance), on.method
            if relation != "equal":
                side = {"above": "greater", "below": "less"}[relation]
                p_value = float(stats.ttest_1samp(on.there(samples), on.there(target), alternative=side).pvalue)
        else:
            low = high = None
            method = (ONE_VALUE if np.ptp(samples) == 0 else AT_THE_END) if repetitions > 1 else None
            verdict = _verdict(value, value, target, relation, tolerance) if repetitions > 1 else "undecided"
    else:
        value, target = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        if value.shape != target.shape:
            raise ValueError(f"measured has shape {value.shape}; it must be that of predicted, {target.shape}")
        # as objects, so that fractions are compared as fractions
        equal = bool(np.all(np.asarray(measured, dtype=object) == np.asarray(predicted, dtype=object)))
        difference = 0.0 if equal else _relative(value, target)
        verdict = "holds" if (equal if kind == "exact" else difference <= tolerance) else "fails"
    scalar = np.ndim(value) == 0
    return Comparison(
        measured=float(value) if scalar else None,
        predicted=float(target) if scalar else None,
        difference=float(difference),
        low=low,
        high=high,
        interval_method=method,
        scale=scale,
        p_value=p_value,
        repetitions=repetitions,
        verdict=verdict,
    )


def _checked(name, samples, scale):
    on, (low, high) = SCALES[choice("scale", scale, SCALE_NAMES)], RANGES[scale]
    samples = finite_array(name, samples, ndim=1)
    if not len(samples):
        raise ValueError(f"{name} is empty; an interval needs at least one")
    if samples.min() < low or samples.max() > high or (scale == "log" and samples.min() == 0):
        least, most = (f"{value:g}" for value in (samples.min(), samples.max()))
        raise ValueError(
            f"{name} holds {least} to {most}; on the scale {scale!r} they must be "
            + ("above 0" if scale == "log" else f"from {low:g} to {high:g}")
        )
    return samples, on


def _relative(value, target):
    scale = np.linalg.norm(target)
    return np.linalg.norm(value - np.asarray(target)) / (scale if scale > 0 else 1.0)


def _verdict(low, high, target, relation, tolerance):
    margin = tolerance * (abs(target) or 1.0)
    bottom, top = {
        "equal": (target - margin, target + margin),
        "above": (target, np.inf),
        "below": (-np.inf, target),
    }[relation]
    if bottom < low and high < top:
        return "borne out"
    if high < bottom or low > top:
        return "not borne out"
    return "undecided"
