"""What the meter found: a table of channels, a table of layers, their errors, in words and as a picture."""

import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bnlib.objects import extra
from bnlib.validation import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "layer",
    "linear",
    "channel",
    "gamma",
    "weight_norm",
    "batch_var",
    "rate",
    "rate_error",
    "l2_rate",
    "l2_rate_error",
    "reason",
)
WIDTH = 76  # of what is printed: more does not fit a page
# errors that a mean must be away from zero for its sign to be told
SURE = 2.0


class WeightedMean:
    """A mean over batches, weighted by their rows, and its standard error.

    The error of a weighted mean is Cochran's: n/(n-1) times the sum of squared weighted deviations. Sums are of what
    is above the first value, so that a small scatter about a large mean keeps its digits.

    Examples
    --------
    >>> mean = WeightedMean()
    >>> for value, rows in ((2.0, 1), (4.0, 1), (3.0, 2)):
    ...     mean.add(np.array(value), rows)
    >>> mean.count, float(mean.mean), round(float(mean.error), 3)
    (3, 3.0, 0.433)
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: Any = 0.0
        self._sums: Any = 0.0

    def add(self, values: np.ndarray, weight: float) -> None:
        if not self.count:
            self._first = values
        above = values - self._first
        w, ones = weight, np.ones_like(above)
        with np.errstate(over="ignore"):
            self._sums = self._sums + np.stack([w * ones, w * above, w * w * ones, w * w * above, (w * above) ** 2])
        self.count += 1

    @property
    def mean(self) -> np.ndarray:
        return self._first + self._sums[1] / self._sums[0]

    @property
    def error(self) -> np.ndarray:
        total, first, squares, crossed, second = self._sums
        if self.count < 2:
            return np.full_like(total, np.nan)
        above = first / total
        with np.errstate(over="ignore", invalid="ignore"):
            scatter = np.maximum(second - 2 * above * crossed + above**2 * squares, 0)
        return np.sqrt(self.count / (self.count - 1) * scatter) / total


@dataclass(frozen=True, eq=False)
class Report:
    """What `bnlib.measure` found, one entry a channel in every array, every channel of the model in its order.

    Parameters
    ----------
    layer : tuple of str
        Name of the layer that normalizes.
    linear : tuple of str
        Name of the linear map or convolution before it; empty where its output is not what is normalized.
    channel : ndarray of int
        Unit within the layer.
    gamma, weight_norm, batch_var : ndarray
        gamma; the norm of w; q, the biased variance of the pre-activation over a batch, and over all
        positions in a convolution.
    rate : ndarray
        lambda, the multiplier of (1/2) v'Sigma v: its mean over batches.
    rate_error : ndarray
        Its standard error, from the scatter over batches.
    l2_rate, l2_rate_error : ndarray
        alpha, in units of ``weight_decay``, and its standard error.
    reason : tuple of str
        Why a value is NaN; empty where none is.
    effective_norm : ndarray
        The norm of v = gamma w / sqrt(q + eps).
    layers : pandas.DataFrame
        What `by_layer` returns.
    batches : int
        Batches read.
    relative_error : float, optional
        What was asked for.
    """

    layer: tuple[str, ...]
    linear: tuple[str, ...]
    channel: np.ndarray
    gamma: np.ndarray
    weight_norm: np.ndarray
    batch_var: np.ndarray
    rate: np.ndarray
    rate_error: np.ndarray
    l2_rate: np.ndarray
    l2_rate_error: np.ndarray
    reason: tuple[str, ...]
    effective_norm: np.ndarray
    layers: pd.DataFrame
    batches: int
    relative_error: float | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row a channel, columns ``layer linear channel gamma weight_norm batch_var rate rate_error l2_rate
        l2_rate_error reason``.

        Returns
        -------
        pandas.DataFrame
        """
        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS})

    def by_layer(self) -> pd.DataFrame:
        """One row a layer, columns ``layer linear channels measured rate rate_error l2_rate l2_rate_error reason``.

        ``measured`` of the ``channels`` have a rate; ``rate`` is its mean over them. ``l2_rate`` is the one
        ``weight_decay`` for the whole layer with the same total pull along the effective weights: the sum of
        lambda gamma^2 over the sum of norm(v)^2. The errors are those of the layer's numbers, channels of a batch
        being scattered together. ``reason`` has those of the channels, the most frequent first.

        Returns
        -------
        pandas.DataFrame
        """
        return self.layers.copy()

    @property
    def unsure(self) -> pd.DataFrame:
        """The layers of `by_layer` whose rate is not as sure as ``relative_error`` asked, or none if it did not ask."""
        value, error = _headline(self.layers)
        asked = np.inf if self.relative_error is None else self.relative_error
        return self.layers[value.notna() & ~(error <= asked * value.abs())] if np.isfinite(asked) else self.layers[:0]

    def coverage(self) -> str:
        """How much of the model has a rate, and why the rest has none, in one sentence a reason.

        Returns
        -------
        str
        """
        layers = self.layers
        measured = int(np.isfinite(self.rate).sum())
        linked = int(np.isfinite(self.l2_rate).sum())
        said = (
            f"{measured:,} of {len(self.rate):,} channels of {_count(len(layers), 'layer', 'layers')} have a rate, "
            f"{linked:,} of them in units of weight_decay, from {_count(self.batches, 'batch', 'batches')}."
        )
        lines = [said]
        missing = Counter[str]()
        where: dict[str, list[str]] = {}
        for layer, reason in zip(self.layer, self.reason):
            for one in filter(None, reason.split("; ")):
                missing[one] += 1
                where.setdefault(one, []).append(layer)
        for one, count in missing.most_common():
            lines.append(f"NaN, {one}: {_count(count, 'channel', 'channels')} ({listed(where[one])}).")
        silent = np.flatnonzero(self.rate == 0)
        if len(silent):
            lines.append(
                f"At exactly 0, since constant or without a gradient: {_count(len(silent), 'channel', 'channels')} "
                f"({listed(self.layer[position] for position in silent)})."
            )
        return "\n".join(lines)

    def summary(self) -> str:
        """What the rates of the layers say, in one sentence.

        Returns
        -------
        str
        """
        value, error = _headline(self.layers)
        with_rate = value.notna()
        if not with_rate.any():
            return "No layer has a rate."
        away = with_rate & (value.abs() > SURE * error)
        shrunk, stretched = int((away & (value > 0)).sum()), int((away & (value < 0)).sum())
        said = (
            f"Batch normalization shrinks the effective weights of {_count(shrunk, 'layer', 'layers')}, as "
            f"weight_decay would, stretches those of {stretched}"
        )
        unclear = int(with_rate.sum()) - shrunk - stretched
        said += f", and {unclear} cannot be told from zero." if unclear else "."
        decays = self.layers.l2_rate[away]
        if decays.notna().any():
            strongest = decays.abs().idxmax()
            row = self.layers.loc[strongest]
            said += f" The strongest is {row.layer}: {row.l2_rate:+.2g} ± {row.l2_rate_error:.1g}."
        if len(self.unsure):
            said += (
                f" Not as sure as asked (relative error {self.relative_error:g}): {listed(self.unsure.layer)}; "
                "give more batches."
            )
        return said

    def __str__(self) -> str:
        frame = self.layers
        table = pd.DataFrame(
            {
                "layer": frame.layer,
                "channels": [
                    f"{measured:,}" if measured == channels else f"{measured:,} of {channels:,}"
                    for measured, channels in zip(frame.measured, frame.channels)
                ],
                "rate": _with_errors(frame.rate, frame.rate_error),
                "as weight_decay": _with_errors(frame.l2_rate, frame.l2_rate_error),
            }
        )
        lines = [*self.coverage().splitlines(), self.summary()]
        *coverage, summary = (textwrap.fill(line, WIDTH, break_long_words=False) for line in lines)
        return "\n\n".join(["\n".join(coverage), table.to_string(index=False), summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        said = "".join(f"<p>{escape(line)}</p>" for line in (*self.coverage().splitlines(), self.summary()))
        return said + self.layers.to_html(index=False, float_format=lambda value: f"{value:.2g}", border=0)

    def plot(self) -> "Figure":
        """Draw the layers in the model's order with the ``l2_rate`` of each and two standard errors.

        Filled triangles up shrink the effective weights, open ones down stretch them; layers without a rate in units
        of ``weight_decay`` are left out.

        Returns
        -------
        matplotlib.figure.Figure
            With one pair of axes, in whatever style is set.

        Raises
        ------
        ImportError
            If matplotlib, the extra ``plot``, is not installed.
        """
        pyplot = extra("matplotlib.pyplot", "plot")
        layers = self.layers[self.layers.l2_rate.notna()]
        figure, axes = pyplot.subplots(layout="constrained", figsize=(max(4.0, 0.32 * len(layers) + 1.5), 3.6))
        depths = np.arange(1, len(layers) + 1)
        rates, errors = layers.l2_rate.to_numpy(), layers.l2_rate_error.to_numpy()
        axes.axhline(0, color="gray", linewidth=0.8)
        for chosen, marker, fill, label in (
            (rates >= 0, "^", "full", "shrinks the effective weights"),
            (rates < 0, "v", "none", "stretches them"),
        ):
            if chosen.any():
                axes.errorbar(
                    depths[chosen],
                    rates[chosen],
                    yerr=np.nan_to_num(SURE * errors[chosen]),
                    fmt=marker,
                    fillstyle=fill,
                    markersize=7,
                    linewidth=1,
                    color="C0",
                    label=label,
                )
        axes.set_xticks(depths, layers.layer, rotation=90 if len(layers) > 6 else 0)
        axes.set(xlabel="layer", ylabel="rate in units of weight_decay")
        axes.ticklabel_format(axis="y", scilimits=(-2, 3))
        if len(layers):
            axes.legend()
        return figure


def _headline(layers: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The number that speaks for a layer, and its error: in units of weight decay where there is one."""
    linked = layers.l2_rate.notna()
    return layers.l2_rate.where(linked, layers.rate), layers.l2_rate_error.where(linked, layers.rate_error)


def _with_errors(values: pd.Series, errors: pd.Series) -> list[str]:
    return [
        "" if np.isnan(value) else f"{value:+.2e}" + ("" if np.isnan(error) else f" ± {error:.0e}")
        for value, error in zip(values, errors)
    ]


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def listed(names: Iterable[str], at_most: int = 4) -> str:
    """Names for a sentence, each once.

    Raises
    ------
    ValueError
        If they are no strings, or `at_most` is no whole number above 0.

    Examples
    --------
    >>> listed("abbcde")
    'a, b, c, d and 1 more'
    """
    at_most = whole("at_most", at_most, 1)
    found: list[Any] = list(names) if hasattr(names, "__iter__") else [names]
    if any(not isinstance(name, str) for name in found):
        raise ValueError(f"names = {found!r} is not right; it must hold strings")
    different = list(dict.fromkeys(found))
    more = f" and {len(different) - at_most} more" if len(different) > at_most else ""
    return ", ".join(different[:at_most]) + more
