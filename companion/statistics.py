"""Intervals over seeds, and verdicts from them."""

import typing
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bnlib.validation import choice, finite_array, nonnegative
from companion.records import Kind, Relation

KINDS = typing.get_args(Kind)
RELATIONS = typing.get_args(Relation)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; the fields are those of `companion.records.Check`."""

    measured: float | None
    predicted: float | None
    difference: float
    low: float | None
    high: float | None
    interval_method: str | None
    repetitions: int
    verdict: str


def interval(samples, level=0.95):
    """Student's t interval of the mean.

    Parameters
    ----------
    samples : array_like, shape (n,)
        Independent repetitions: one number a seed.
    level : float
        Coverage.

    Returns
    -------
    mean, low, high : float
        With one sample the interval is the whole line.

    Raises
    ------
    ValueError
        If there are no samples, or one is not finite.

    Examples
    --------
    >>> mean, low, high = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    samples = finite_array("samples", samples, ndim=1)
    if not len(samples):
        raise ValueError("samples is empty; an interval needs at least one")
    mean = samples.mean()
    if len(samples) == 1:
        return float(mean), -np.inf, np.inf
    half = stats.t.ppf((1 + level) / 2, len(samples) - 1) * samples.std(ddof=1) / np.sqrt(len(samples))
    return float(mean), float(mean - half), float(mean + half)


def intervals(samples, geometric=False):
    """Mean and ends of the interval of each column.

    Parameters
    ----------
    samples : array_like, shape (seeds, p)
    geometric : bool
        Whether they are those of the logarithms: for rates, which are positive and vary by factors.

    Returns
    -------
    ndarray, shape (3, p)
        Rows are mean, low and high.

    Examples
    --------
    >>> intervals([[1.0, 1.0], [3.0, 1.0]])[0]
    array([2., 1.])
    """
    samples = np.asarray(samples, dtype=np.float64)
    found = np.transpose([interval(column) for column in (np.log(samples) if geometric else samples).T])
    return np.exp(found) if geometric else found


def as_text(samples, form="{:.3f}", geometric=False):
    """Mean and 95 % interval in words, for tables and captions.

    Parameters
    ----------
    samples : array_like, shape (n,)
        One number a seed.
    form : str
        Format of each number.
    geometric : bool
        Whether mean and interval are those of the logarithms: for rates, which are positive and vary by factors.

    Returns
    -------
    str
        With one sample, the number alone.

    Raises
    ------
    ValueError
        If `geometric` is asked for and a sample is not positive.

    Examples
    --------
    >>> as_text([1.0, 2.0, 3.0])
    '2.000 [-0.484, 4.484]'
    """
    samples = finite_array("samples", samples, ndim=1)
    if geometric and (samples <= 0).any():
        raise ValueError(f"samples holds {samples.min():g}; a geometric mean takes positive numbers")
    found = interval(np.log(samples) if geometric else samples)
    mean, low, high = (form.format(np.exp(value) if geometric else value) for value in found)
    return mean if len(samples) == 1 else f"{mean} [{low}, {high}]"


def compare(measured, predicted, kind="numeric", relation="equal", tolerance=0.0):
    """Hold what was measured against what was predicted.

    Parameters
    ----------
    measured : float, array_like or Fraction
        For ``kind="empirical"`` one number a seed, shape (n,).
    predicted : float, array_like or Fraction
    kind : {"exact", "numeric", "empirical"}
        "exact": equal without tolerance. "numeric": the relative difference is at most `tolerance`.
        "empirical": the 95 % interval of the mean lies where the claim says; if it lies wholly
        elsewhere the verdict is "not borne out", if it straddles the boundary "undecided".
    relation : {"equal", "above", "below"}
        For empirical claims; "equal" means within `tolerance` (relative) of `predicted`.
    tolerance : float
        At least 0.

    Returns
    -------
    Comparison

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
    low = high = method = None
    repetitions = 1
    if kind == "empirical":
        samples = finite_array("measured", measured, ndim=1)
        repetitions = len(samples)
        value, low, high = interval(samples)
        target = float(predicted)
        difference = _relative(value, target)
        verdict = _verdict(low, high, target, relation, tolerance)
        low, high, method = (low, high, "t") if repetitions > 1 else (None, None, None)
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
        repetitions=repetitions,
        verdict=verdict,
    )


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
