"""Pictures that know what they drew: one style, and words for those who cannot see it, made of the numbers drawn."""

import base64
import csv
import html
import io
import re
import zlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.gridspec import GridSpec

from companion import page, records
from companion.labels import ends_of_curves
from companion.records import Figure
from companion.statistics import intervals

# Okabe and Ito's palette without its yellow and black, which vanish on white and on dark
COLORS = {
    "batch": "#0072B2",
    "none": "#8A8A8A",
    "l2": "#D55E00",
    "signal": "#009E73",
    "noise": "#CC79A7",
    "theory": "#E69F00",
}
DOTS_AT_MOST = 120  # seeds along a curve: more hide each other, and the interval says it better
NARROW = 4.2  # inches of a figure on a phone, where one panel stands below the other
COLUMNS = ("panel", "curve", "seed", "x", "y", "low", "high")  # of the numbers behind a figure
# a colour no figure uses, replaced by the page's own text colour in `Picture.show`
INK = "#010203"

STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": matplotlib.cycler(color=list(COLORS.values())),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "svg.fonttype": "none",
    "svg.hashsalt": "bnlib",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

# a chapter's process draws nothing but pages: whatever is drawn later, legends and texts too, has to take the style
matplotlib.rcParams.update(STYLE)


class Picture:
    """A figure of the book: panels that remember what was drawn in them.

    Parameters
    ----------
    rows, columns : int
        Of panels.
    width, height : float
        Inches, of the whole figure.
    **keywords
        For ``matplotlib.figure.Figure.subplots``.

    Examples
    --------
    >>> picture = Picture(height=3)
    >>> picture[0].line([0, 1, 2], [1.0, 0.5, 0.25], "closed form")
    >>> picture[0].set(xlabel="noise_std", title="rate λ")
    >>> picture.words()
    'rate λ against noise_std: closed form falls from 1 at 0 to 0.25 at 2.'
    """

    def __init__(self, rows=1, columns=1, width=7.0, height=3.2, **keywords):
        self.figure = MatplotlibFigure(figsize=(width, height))
        self._axes = self.figure.subplots(rows, columns, squeeze=False, **keywords)
        self.panels = [Panel(ax) for ax in self._axes.ravel()]

    def __getitem__(self, index):
        return self.panels[index]

    def __iter__(self):
        return iter(self.panels)

    def words(self):
        """What the figure shows, panel by panel: the text alternative."""
        return " ".join(text for panel in self.panels if (text := panel.words()))

    def numbers(self):
        """What was drawn, as the text of a CSV file with `COLUMNS`; empty where nothing was but by hand.

        A row without a seed is a mean over seeds with its interval, or a curve that has none.
        """
        rows = [
            (panel.name(f"panel {place}"), *row) for place, panel in enumerate(self.panels, 1) for row in panel.rows
        ]
        if not rows:
            return ""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(map(_cell, row) for row in rows)])
        return text.getvalue()

    def show(self, says, source, name):
        """Show the figure with a caption, its source and its text alternative; record all three.

        Parameters
        ----------
        says : str
            What to see in it. How intervals are drawn is added where they are.
        source : companion.records.Source or str
        name : str
            The anchor for links to the figure, unique in the book.
        """
        drawn = sorted({mark for panel in self.panels for mark in panel.marks})
        reading = ""
        if drawn:
            intervals_are = f" {' and '.join(drawn).capitalize()}: 95 % intervals of the mean over seeds"
            reading = intervals_are + ("; dots: seeds." if any(panel.seeds for panel in self.panels) else ".")
        alt = self.words()
        if len(alt) < 40:
            raise ValueError(
                f"the words for figure {name!r} are {alt!r}: too few; use note() for what helpers did not draw"
            )
        if re.match(r"(Left|Right|Top|Bottom|Dashed|Dotted)\b", says):
            raise ValueError(f"says is {says!r}; its first sentence stands above the figure and says what it shows")
        self._label()
        wide, png, narrow = _svg(self.figure, alt), _png(self.figure), ""
        if self._can_stack():
            self._stack()
            self._label()
            narrow = f'<div class="plot-narrow">{_svg(self.figure, alt)}</div>'
        record = Figure(name, says + reading, alt, str(source), self.numbers(), base64.b64encode(png).decode())
        page.emit(
            f'<figure class="plot" id="{name}">{records.caption_html(record)}'
            f'<div class="plot-scroll" tabindex="0">{wide}</div>{narrow}{records.notes_html(record)}</figure>',
            f"[figure {name}] {record.caption} Source: {record.source}.",
            record,
        )

    def _label(self):
        """Labels at the ends of curves where they fit; the layout before them says where the ends are."""
        self.figure.draw_without_rendering()
        for panel in self.panels:
            panel.label_ends()

    def _can_stack(self):
        drawn_by_helpers = set(self.figure.axes) == set(self._axes.ravel())  # no colour bars, no twins
        return self._axes.shape[1] > 1 and drawn_by_helpers and not any(panel.is_image for panel in self.panels)

    def _stack(self):
        """One panel below the other, for narrow screens."""
        height = self.figure.get_figheight() / len(self._axes)
        self.figure.set_size_inches(NARROW, max(height, 2.4) * len(self.panels))
        grid = GridSpec(len(self.panels), 1, figure=self.figure)
        for place, ((row, column), ax) in enumerate(np.ndenumerate(self._axes)):
            ax.set_subplotspec(grid[place])
            ax.tick_params(labelbottom=True, labelleft=True)
            ax.set(
                xlabel=ax.get_xlabel() or self._axes[-1, column].get_xlabel(),
                ylabel=ax.get_ylabel() or self._axes[row, 0].get_ylabel(),
            )


class Panel:
    """One pair of axes, and the words for what was drawn in it. `ax` is matplotlib's, for what has no helper here."""

    def __init__(self, ax):
        self.ax, self.series, self.notes, self.marks, self.seeds = ax, [], [], set(), False
        self.rows, self.is_image, self._ends, self._legend = [], False, [], {}

    def line(self, x, y, label=None, color=None, style="-", marker="", words=True, **keywords):
        """A curve. Without `words` it has no part in the text alternative."""
        self.ax.plot(x, y, style, marker=marker, label=label, color=_color(color), **keywords)
        self._keep(label, x, y)
        if words:
            self._remember(label, x, y)

    def band(self, x, samples, label=None, color=None, marker="o", style="-", scale="plain", words=True):
        """Mean over seeds with its 95 % interval as a band; `samples` has the shape (seeds, p)."""
        mean, low, high = intervals(samples, scale)
        self.ax.plot(x, mean, style, marker=marker, markersize=5, label=label, color=_color(color))
        if np.isfinite(low).any():
            self.ax.fill_between(x, low, high, color=_color(color), alpha=0.25, linewidth=0)
            self.marks.add("bands")
        self._seeds(x, samples, color)
        self._keep(label, x, mean, low, high, samples)
        if words:
            self._remember(label, x, mean)

    def points(self, x, samples, label=None, color=None, marker="o", scale="plain", words=True, shift=0.0):
        """Mean over seeds as points with 95 % intervals as bars; `samples` has the shape (seeds, p).

        With `shift` they stand beside x, and those of several curves beside each other.
        """
        mean, low, high = intervals(samples, scale)
        bars = np.nan_to_num([mean - low, high - mean])
        if np.isfinite(high).any():
            self.marks.add("bars")
        at = np.add(x, shift) if shift else x
        self._seeds(at, samples, color)
        self._keep(label, x, mean, low, high, samples)
        self.ax.errorbar(at, mean, yerr=bars, fmt=marker, markersize=5, capsize=3, label=label, color=_color(color))
        if words:
            self._remember(label, x, mean)

    def dots(self, x, y, label=None, color=None, marker="o", words=True, **keywords):
        """Unconnected points; the words say where they lie."""
        self.ax.plot(x, y, marker, label=label, color=_color(color), **keywords)
        self._keep(label, x, y)
        if words:
            self._remember(label, x, y, _cloud)

    def level(self, y, label=None, color="theory", style="--"):
        """A horizontal line."""
        self.ax.axhline(y, color=_color(color), linewidth=1.2, linestyle=style, label=label)
        self.rows.append((_plain(label or "a level"), "", "", y, "", ""))
        if label:
            self.notes.append(f"{label} is the level {_number(y)}")

    def image(self, values, title, side=28):
        """Weights as an image on its own symmetric scale: blue below 0, red above."""
        limit = np.abs(values).max() or 1.0
        self.ax.imshow(
            np.reshape(values, (side, side)), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        self.ax.set_title(title)
        self.ax.set_axis_off()
        self.is_image = True
        self._keep(title, np.arange(np.size(values)), values)
        share = np.square(values)[np.asarray(values) > 0].sum() / max(np.square(values).sum(), 1e-300)
        self.notes.append(f"an image of weights, largest {limit:.2g}, {share:.0%} of the squares above 0")

    def note(self, words):
        """Words for what was drawn on `ax` by hand."""
        self.notes.append(words)

    def set(self, legend=False, **properties):
        """``ax.set``; with `legend` true, or its keywords, labels at the ends of curves, or a legend if they do not fit."""
        self.ax.set(**properties)
        if legend:
            self._legend = legend if isinstance(legend, dict) else {}
            self.ax.legend(**self._legend)

    def label_ends(self):
        """Put labels where curves end in the place of the legend, if each has room there; True if they have."""
        while self._ends:
            self._ends.pop().remove()
        legend = self.ax.get_legend()
        if legend is None:
            return False
        legend.set_visible(True)
        places = None if "title" in self._legend else ends_of_curves(self.ax)
        if places is None:
            return False
        legend.set_visible(False)
        size = self._legend.get("fontsize", 9)
        for label, x, y, shift in places:
            self._ends.append(
                self.ax.annotate(
                    label, (x, y), (5, shift), xycoords="axes fraction", textcoords="offset points", va="center",
                    fontsize=size, annotation_clip=False,
                )
            )  # fmt: skip
        return True

    def words(self):
        """What the panel shows, in one sentence."""
        said = [describe(*one) for describe, *one in self.series] + self.notes
        if not said:
            return ""
        title, x, y = (
            _plain(text) for text in (self.ax.get_title(loc="left"), self.ax.get_xlabel(), self.ax.get_ylabel())
        )
        head = " against ".join(part for part in (": ".join(part for part in (title, y) if part), x) if part)
        scales = [name for name, scale in (("x", self.ax.get_xscale()), ("y", self.ax.get_yscale())) if scale == "log"]
        head += f" ({' and '.join(scales)} logarithmic)" if scales else ""
        return (f"{head}: " if head else "") + "; ".join(said) + "."

    def name(self, otherwise):
        """What the panel is called where its numbers are."""
        return _plain(self.ax.get_title(loc="left") or self.ax.get_ylabel()) or otherwise

    def _keep(self, label, x, y, low=None, high=None, samples=()):
        """The numbers of a curve, and those of every seed behind it."""
        curve, x, y = _plain(label or "a curve"), np.ravel(x), np.ravel(y)
        ends = [np.full(len(x), np.nan) if end is None else end for end in (low, high)]
        self.rows += [(curve, "", *row) for row in zip(x, y, *ends)]
        for seed, of_seed in enumerate(samples, 1):
            self.rows += [(curve, seed, at, value, np.nan, np.nan) for at, value in zip(x, np.ravel(of_seed))]

    def _seeds(self, x, samples, color):
        """Every seed as a dot, where there are few enough of them to be told apart."""
        samples = np.asarray(samples, dtype=np.float64)
        if len(samples) > 1 and samples.size <= DOTS_AT_MOST:
            for seed in samples:
                self.ax.plot(x, seed, ".", markersize=3, alpha=0.6, color=_color(color), zorder=3)
            self.seeds = True

    def _remember(self, label, x, y, describe=None):
        self.series.append((describe or _course, label, np.asarray(x).ravel(), np.asarray(y, dtype=np.float64).ravel()))


def _color(color):
    return COLORS.get(color, color)


def _plain(text):
    return re.sub(r"\s+", " ", text.replace("$", "").replace("\\", "")).strip()


def _course(label, x, y):
    """Where a curve goes, in words: its ends, and its turning point where it has one."""
    name = _plain(label or "a curve")
    kept = np.isfinite(y)
    if not kept.any():
        return f"{name} has no finite value"
    x, y = x[kept], y[kept]
    at = _number if np.issubdtype(x.dtype, np.number) else str
    if len(y) == 1:
        return f"{name} is {_number(y[0])} at {at(x[0])}"
    if np.ptp(y) <= 1e-9 * max(np.abs(y).max(), 1e-300):
        return f"{name} stays at {_number(y[0])}"
    ends = f"from {_number(y[0])} at {at(x[0])} to {_number(y[-1])} at {at(x[-1])}"
    steps = np.diff(y)
    if (steps >= 0).all() or (steps <= 0).all():
        return f"{name} {'rises' if y[-1] > y[0] else 'falls'} {ends}"
    turns = {"lowest": int(y.argmin()), "highest": int(y.argmax())}
    inner = [f"{word} {_number(y[i])} at {at(x[i])}" for word, i in turns.items() if 0 < i < len(y) - 1]
    return f"{name} goes {ends}" + (f", {', '.join(inner)}" if inner else "")


def _cloud(label, x, y):
    """Where points lie, in words."""
    if len(y) <= 2 or not np.issubdtype(x.dtype, np.number):
        return _course(label, x, y)
    x_ends, y_ends = ((_number(np.nanmin(values)), _number(np.nanmax(values))) for values in (x, y))
    return f"{_plain(label or 'points')}, {len(y)} points: {y_ends[0]} to {y_ends[1]} for {x_ends[0]} to {x_ends[1]}"


def _number(value):
    """Three significant digits; whole numbers whole."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.3g}"


def _cell(value):
    """A number with six significant digits; nothing where there is none."""
    if isinstance(value, (str, int)):
        return value
    try:
        return "" if np.isnan(value) else f"{value:.6g}"
    except TypeError:
        return str(value)


def _png(figure):
    """The figure as a picture for slides: black on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _svg(figure, alt):
    """The figure as one SVG element that takes the page's text colour and shares no id with another."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = f"f{zlib.crc32(svg.encode()):x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
