"""What a search over `weight_decay` finds in the table of a sweep: a cell of its grid, or the minimum between cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bnlib.objects import choice, table

SIGNS = {"validation_loss": 1, "validation_accuracy": -1}  # what is lowest at the best decay
FITTED = 2  # decays on each side of the grid's best that the smooth minimum is fitted to


def best_decays(
    runs: pd.DataFrame, conditions: Sequence[str] = ("noise_std",), of: str = "validation_loss"
) -> pd.DataFrame:
    """What a search finds on its grid: for each condition and seed the best row without normalization.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep`.
    conditions : sequence of str
        The columns that tell conditions apart.
    of : {"validation_loss", "validation_accuracy"}
        What is to be lowest, or highest.

    Returns
    -------
    pandas.DataFrame
        Those rows. A training that diverged, so that its loss is not a number, is never the best.

    Raises
    ------
    ValueError
        If `of` is unknown, or `runs` no table with rows and these columns.

    Examples
    --------
    >>> runs = pd.DataFrame({"seed": 0, "noise_std": 1.0, "normalization": "none", "weight_decay": [0.01, 0.1]})
    >>> best_decays(runs.assign(validation_loss=[0.4, 0.3])).weight_decay.tolist()
    [0.1]
    """
    sign = SIGNS[choice("of", of, SIGNS)]
    _check(runs, conditions, of, "validation_loss")
    searched = runs[runs.normalization == "none"].dropna(subset="validation_loss")
    values = sign * searched[of]
    return searched.loc[values.groupby([searched[name] for name in ("seed", *conditions)]).idxmin()]


def smooth_best_decays(
    runs: pd.DataFrame, conditions: Sequence[str] = ("noise_std",), of: str = "validation_loss"
) -> pd.DataFrame:
    """What a search finds, not as a cell of its grid: the minimum of a cubic through log decay against loss.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `bnlib.experiments.sweep`.
    conditions : sequence of str
        The columns that tell conditions apart.
    of : {"validation_loss", "validation_accuracy"}
        What is to be lowest, or highest.

    Returns
    -------
    pandas.DataFrame
        One row a condition and seed, with the columns `conditions`, ``seed`` and

        - ``weight_decay``: the smooth minimum, or the grid's best where it is at an end of the grid;
        - ``grid_decay``: the grid's best among positive decays;
        - ``log10_error``: the standard error of log10 of the minimum, from how far the losses of all seeds of the
          condition lie from their cubics; NaN at an end;
        - ``at_end``: whether the best of the grid is its smallest or largest decay, or the cubic has no minimum next
          to it: then the search says on which side the best decay lies, and not where.

    Raises
    ------
    ValueError
        If `of` is unknown, `runs` no table with rows and these columns, or a search has fewer than five decays above 0.

    Examples
    --------
    >>> decays = np.geomspace(1e-4, 1e-1, 7)
    >>> loss = (np.log10(decays) + 2.2) ** 2
    >>> runs = pd.DataFrame({"seed": 0, "noise_std": 1.0, "normalization": "none", "weight_decay": decays})
    >>> float(smooth_best_decays(runs.assign(validation_loss=loss)).weight_decay.iloc[0].round(5))
    0.00631
    """
    sign = SIGNS[choice("of", of, SIGNS)]
    _check(runs, conditions, of, "weight_decay")
    searched = runs[(runs.normalization == "none") & (runs.weight_decay > 0)]
    rows, fits = [], []
    for key, search in searched.groupby([*conditions, "seed"]):
        cell: dict[str, Any] = dict(zip((*conditions, "seed"), key))
        search = search.sort_values("weight_decay").dropna(subset=of)
        if len(search) < 2 * FITTED + 1:
            raise ValueError(
                f"runs has {len(search)} decays above 0 in the search at {cell}; "
                f"a smooth minimum needs at least {2 * FITTED + 1}"
            )
        x = np.log10(search.weight_decay.to_numpy(dtype=np.float64))
        y = sign * search[of].to_numpy(dtype=np.float64)
        best = int(y.argmin())
        first = min(max(best - FITTED, 0), len(x) - 2 * FITTED - 1)
        window = slice(first, first + 2 * FITTED + 1)
        fit = np.polynomial.Polynomial.fit(x[window], y[window], 3)
        minimum = None if best in (0, len(x) - 1) else _minimum(fit, x[best - 1], x[best + 1])
        rows.append(
            {
                **cell,
                "weight_decay": 10 ** (x[best] if minimum is None else minimum),
                "grid_decay": 10 ** x[best],
                "at_end": minimum is None,
            }
        )
        fits.append((fit, x[window], y[window], minimum))
    found = pd.DataFrame(rows)
    squares = pd.Series([float(np.square(y - fit(x)).sum()) for fit, x, y, _ in fits])
    variances = squares.groupby([found[name] for name in conditions]).transform("mean")  # one residual degree each
    found["log10_error"] = [
        np.nan if minimum is None else _error(fit, x, minimum, variance)
        for (fit, x, _, minimum), variance in zip(fits, variances)
    ]
    return found


def _check(runs: pd.DataFrame, conditions: Sequence[str], *columns: str) -> None:
    if isinstance(conditions, str) or not hasattr(conditions, "__iter__"):
        raise ValueError(f"conditions = {conditions!r} is not right; it must be a sequence of columns of runs")
    table("runs", runs, ("seed", "normalization", *conditions, *columns))


def _minimum(fit: np.polynomial.Polynomial, low: float, high: float) -> float | None:
    """Where the cubic `fit` has its minimum, if it has one between `low` and `high`."""
    _, c, half_b, third_a = map(float, fit.coef)
    a, b = 3 * third_a, 2 * half_b
    discriminant = b * b - 4 * a * c
    # the root at which the second derivative is positive, written so that the cubic may be a parabola
    if discriminant <= 0 or b + np.sqrt(discriminant) <= 0:
        return None
    offset, scale = fit.mapparms()
    found = (-2 * c / (b + np.sqrt(discriminant)) - offset) / scale
    return float(found) if low <= found <= high else None


def _error(fit: np.polynomial.Polynomial, x: np.ndarray, minimum: float, variance: float) -> float:
    """Standard error of the minimum: what moves the slope there, over the curvature."""
    scale = fit.mapparms()[1]
    powers = np.arange(fit.degree() + 1)
    place, at = fit.mapparms()[0] + scale * np.atleast_1d(x), fit.mapparms()[0] + scale * minimum
    design = place[:, None] ** powers
    slope = scale * powers * at ** np.maximum(powers - 1, 0)
    spread = slope @ np.linalg.solve(design.T @ design, slope)
    return float(np.sqrt(variance * spread) / fit.deriv(2)(minimum))
