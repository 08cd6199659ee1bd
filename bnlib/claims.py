"""Measured against predicted, with an interval and a verdict.

A chapter calls `check` where it shows a thing. What is proven must hold, or the chapter fails; what is
empirical is reported as it came out.
"""

import html
import zlib
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from bnlib.display import show
from bnlib.validation import choice, finite_array, nonnegative

KINDS = ("exact", "numeric", "empirical")
RELATIONS = ("equal", "above", "below")


class ClaimFailed(AssertionError):
    """A proven claim did not hold: the proof, the code or the check is wrong."""


@dataclass(frozen=True)
class Check:
    """One comparison, as recorded.

    Parameters
    ----------
    claim : str
        Theorem the comparison belongs to: ``"T2"``.
    statement : str
        What was compared with what, in words.
    kind : {"exact", "numeric", "empirical"}
    relation : {"equal", "above", "below"}
        How `measured` should stand to `predicted`.
    measured, predicted : float or None
        None for arrays, of which `difference` says enough.
    difference : float
        The distance of measured and predicted, relative to predicted where that is not 0; norms for arrays.
    tolerance : float
    low, high : float or None
        95 % interval of the mean of `measured`, where there are repetitions.
    repetitions : int
    verdict : str
        "holds", "fails"; for empirical claims "borne out", "not borne out", "undecided".
    """

    claim: str
    statement: str
    kind: str
    relation: str
    measured: float | None
    predicted: float | None
    difference: float
    tolerance: float
    low: float | None
    high: float | None
    repetitions: int
    verdict: str

    def __str__(self):
        parts = [f"{self.claim}: {self.statement}"]
        sign = {"equal": "=", "above": ">", "below": "<"}[self.relation]
        if self.measured is not None:
            interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
            parts.append(f"measured {self.measured:.6g}{interval}, predicted {sign} {self.predicted:.6g}")
        if self.relation == "equal":
            parts.append(f"difference {self.difference:.2g}, tolerance {self.tolerance:.2g}")
        return f"{self.verdict} | " + " | ".join(parts)


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


def check(claim, statement, measured, predicted, kind="numeric", relation="equal", tolerance=0.0):
    """Compare, record, show; raise if a proven claim does not hold.

    Parameters
    ----------
    claim, statement : str
        See `Check`.
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

    Raises
    ------
    ClaimFailed
        If an exact or numeric claim does not hold.
    ValueError
        If `kind` or `relation` is unknown, or the shapes do not fit.

    Examples
    --------
    >>> check("T9", "a_4, by hand", measured=0.79788, predicted=0.797885, tolerance=1e-4)
    holds | T9: a_4, by hand | measured 0.79788, predicted = 0.797885 | difference 6.3e-06, tolerance 0.0001
    """
    record = compare(claim, statement, measured, predicted, kind, relation, tolerance)
    show(_as_html(record), str(record), claim=asdict(record))
    if record.verdict == "fails":
        raise ClaimFailed(str(record))


def compare(claim, statement, measured, predicted, kind="numeric", relation="equal", tolerance=0.0):
    """The `Check` that `check` shows, for the same arguments; nothing is shown and no failed claim raises.

    Examples
    --------
    >>> compare("T1", "half", [0.4, 0.5, 0.6], 0.3, kind="empirical", relation="above").verdict
    'undecided'
    """
    choice("kind", kind, KINDS)
    choice("relation", relation, RELATIONS)
    nonnegative("tolerance", tolerance)
    if kind != "empirical" and relation != "equal":
        raise ValueError(f"relation = {relation!r} is for empirical claims; a {kind} claim is 'equal'")
    low = high = None
    repetitions = 1
    if kind == "empirical":
        samples = finite_array("measured", measured, ndim=1)
        repetitions = len(samples)
        value, low, high = interval(samples)
        target = float(predicted)
        difference = _relative(value, target)
        verdict = _empirical_verdict(low, high, target, relation, tolerance)
        low, high = (low, high) if repetitions > 1 else (None, None)
    else:
        value, target = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        if value.shape != target.shape:
            raise ValueError(f"measured has shape {value.shape}; it must be that of predicted, {target.shape}")
        # as objects, so that fractions are compared as fractions
        equal = bool(np.all(np.asarray(measured, dtype=object) == np.asarray(predicted, dtype=object)))
        difference = 0.0 if equal else _relative(value, target)
        verdict = "holds" if (equal if kind == "exact" else difference <= tolerance) else "fails"
    scalar = np.ndim(value) == 0
    return Check(
        claim=claim,
        statement=statement,
        kind=kind,
        relation=relation,
        measured=float(value) if scalar else None,
        predicted=float(target) if scalar else None,
        difference=float(difference),
        tolerance=float(tolerance),
        low=low,
        high=high,
        repetitions=repetitions,
        verdict=verdict,
    )


def _relative(value, target):
    scale = np.linalg.norm(target)
    return np.linalg.norm(value - np.asarray(target)) / (scale if scale > 0 else 1.0)


def _empirical_verdict(low, high, target, relation, tolerance):
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


def _as_html(record):
    state = {"holds": "yes", "borne out": "yes", "fails": "no", "not borne out": "no"}.get(record.verdict, "open")
    _, *rest = str(record).split(" | ")
    details = " · ".join(html.escape(part) for part in rest[1:])
    anchor = f"check-{zlib.crc32(f'{record.claim} {record.statement}'.encode()):08x}"
    return (
        f'<div class="claim claim-{state}" id="{anchor}"><strong>{record.verdict}</strong> '
        f"{html.escape(rest[0])}<br><small>{record.kind} · {details}</small></div>"
    )
