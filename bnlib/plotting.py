"""One style for every figure: colour-blind safe, legible on light and dark, with words for those who cannot see it."""

import html
import io
import re
import zlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bnlib.claims import interval
from bnlib.display import show as show_anywhere

# Okabe and Ito's palette without its yellow and black, which vanish on white and on dark
COLORS = {
    "batch": "#0072B2",
    "none": "#8A8A8A",
    "l2": "#D55E00",
    "signal": "#009E73",
    "noise": "#CC79A7",
    "theory": "#E69F00",
}
# a colour no figure uses, replaced by the page's own text colour in `show`
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

# whatever is drawn into a figure of ours later, legends and texts too, has to take the style
matplotlib.rcParams.update(STYLE)


def figure(rows=1, columns=1, width=7.0, height=3.2, **keywords):
    """A figure in the book's style, and its axes.

    Parameters
    ----------
    rows, columns : int
        Of axes.
    width, height : float
        Inches, of the whole figure.
    **keywords
        For ``Figure.subplots``.

    Returns
    -------
    fig : matplotlib.figure.Figure
    axes : Axes or ndarray of Axes

    Examples
    --------
    >>> fig, ax = figure()
    >>> len(fig.axes)
    1
    """
    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **keywords)


def band(ax, x, samples, label, color, marker="o", geometric=False):
    """Mean over seeds with its 95 % interval as a band.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (p,)
    samples : array_like, shape (seeds, p)
    label, color, marker : str
    geometric : bool
        Whether mean and interval are those of the logarithms: for rates, which are positive and
        vary by factors.
    """
    mean, low, high = _intervals(np.log(samples) if geometric else samples)
    if geometric:
        mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    ax.plot(x, mean, marker=marker, markersize=5, label=label, color=color)
    if np.isfinite(low).all():
        ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)


def points(ax, x, samples, label, color, marker="o", geometric=False):
    """Mean over seeds as points with 95 % intervals as bars.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (p,)
    samples : array_like, shape (seeds, p)
    label, color, marker : str
    geometric : bool
        As for `band`.
    """
    ends = _intervals(np.log(samples) if geometric else samples)
    mean, low, high = np.exp(ends) if geometric else ends
    bars = [np.where(np.isfinite(high), side, 0.0) for side in (mean - low, high - mean)]
    ax.errorbar(x, mean, yerr=bars, fmt=marker, markersize=5, capsize=3, label=label, color=color)


def weight_images(axes, images, titles, side=28):
    """Weights as images, each on its own symmetric scale: blue below 0, red above.

    Parameters
    ----------
    axes : sequence of Axes
    images : sequence of ndarray, shape (side * side,)
    titles : sequence of str
    side : int
    """
    for ax, image, title in zip(axes, images, titles):
        limit = np.abs(image).max() or 1.0
        ax.imshow(np.reshape(image, (side, side)), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_title(title)
        ax.set_axis_off()


def show(fig, alt, caption, source, name=None):
    """Show a figure with its caption, data source and words for those who cannot see it.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    alt : str
        What the picture shows, for screen readers: numbers included where they matter.
    caption : str
        What to see in it.
    source : str
        Data set, size and seeds, or "closed form, no data".
    name : str, optional
        An anchor for links to the figure.
    """
    anchor = f' id="{name}"' if name else ""
    show_anywhere(
        f'<figure class="plot"{anchor}><div class="plot-scroll" tabindex="0">{_svg(fig, alt)}</div>'
        f"<figcaption>{html.escape(caption)} <small>Source: {html.escape(source)}.</small></figcaption></figure>",
        f"[figure] {caption} Source: {source}.",
    )


def table(frame, caption, source):
    """Show a table with its caption and data source.

    Parameters
    ----------
    frame : pandas.DataFrame
        Shown as it is, index included: format the numbers first.
    caption, source : str
        As for `show`.
    """
    body = frame.to_html(border=0, classes="claims", justify="left")
    show_anywhere(
        f'<figure class="plot"><div class="claim-scroll" tabindex="0">{body}</div>'
        f"<figcaption>{html.escape(caption)} <small>Source: {html.escape(source)}.</small></figcaption></figure>",
        f"{frame.to_string()}\n[table] {caption} Source: {source}.",
    )


def _intervals(samples):
    """Mean and ends of the interval for each column of `samples` (seeds, p), as three arrays (p,)."""
    return np.transpose([interval(column) for column in np.asarray(samples).T])


def _svg(fig, alt):
    """The figure as one SVG element that takes the page's text colour and shares no id with another."""
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = f"f{zlib.crc32(svg.encode()):x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
