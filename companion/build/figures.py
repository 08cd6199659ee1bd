"""Figures of the book: their numbers, their files, and how each is made again."""

import base64
import html
import re

from companion import BOOK, records
from companion.build import BuildFailed
from companion.build.claims import recorded

FOLDER = "results/figures"  # of the site


class NoSuchFigure(BuildFailed):
    """No chapter, or more than one, has a figure of that name."""


def numbers(notebooks):
    """From the anchor of each figure to its number, in the order of the book.

    Parameters
    ----------
    notebooks : dict of str to dict
        Executed notebooks by chapter name, in that order.
    """
    return {record.anchor: number for number, (_, record, _) in enumerate(recorded(notebooks, "figure"), start=1)}


def captioned(markup, record, number, chapter, profile):
    """A figure as a page shows it: numbered, with its files, and with the command that makes it again.

    Parameters
    ----------
    markup : str
        What the chapter showed.
    record : companion.records.Figure
    number : int
    chapter, profile : str

    Returns
    -------
    str
    """
    of_profile = "" if profile == "quick" else f" --profile {profile}"
    above, below = records.caption_html(record), records.notes_html(record)
    link = f'<a class="figure-number" href="{chapter}.html#{record.anchor}">Figure {number}.</a>'
    made = (
        f'<small class="figure-files">{_links(record)} · made again by '
        f"<code>python -m companion figure {html.escape(record.anchor)}{of_profile}</code></small></p>"
    )
    return markup.replace(above, above.replace(">", f">{link} ", 1)).replace(below, below.removesuffix("</p>") + made)


def files(notebooks):
    """The files that are offered below the figures.

    Parameters
    ----------
    notebooks : dict of str to dict

    Returns
    -------
    dict of str to bytes
        By path in the site.
    """
    found = {}
    for _, record, markup in recorded(notebooks, "figure"):
        found[f"{FOLDER}/{record.anchor}.svg"] = standalone(markup).encode()
        found[f"{FOLDER}/{record.anchor}.png"] = base64.b64decode(record.png)
        if record.csv:
            found[f"{FOLDER}/{record.anchor}.csv"] = record.csv.encode()
    return found


def standalone(markup):
    """The first SVG of a figure as a file of its own: in black, where a page gives its own colour."""
    svg = markup[markup.index("<svg") : markup.index("</svg>")] + "</svg>\n"
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace("currentColor", "#111111")


def listed(notebooks, titles):
    """A list of all figures for those who teach: what each shows, whose images it has, and its files.

    Parameters
    ----------
    notebooks : dict of str to dict
    titles : dict of str to str
        Chapter name to title.

    Returns
    -------
    str
        Markdown with HTML.
    """
    lines, last = [], None
    number = numbers(notebooks)
    for chapter, record, _ in recorded(notebooks, "figure"):
        if chapter != last:
            lines += ["", f"**{titles[chapter]}**", ""]
            last = chapter
        words = html.escape(record.caption)
        lines.append(
            f'- <a href="{chapter}.html#{record.anchor}">Figure {number[record.anchor]}</a>: {words} '
            f"<small>Source: {html.escape(record.source)}. {_links(record)}</small>"
        )
    return "\n".join(lines) + "\n"


def _links(record):
    """To the files of a figure; one that was drawn by hand has no numbers."""
    kinds = ("svg", "png", "csv") if record.csv else ("svg", "png")
    return " · ".join(f'<a download href="../{FOLDER}/{record.anchor}.{kind}">{kind.upper()}</a>' for kind in kinds)


def chapter_of(name):
    """The name of the chapter that shows a figure.

    Parameters
    ----------
    name : str
        The figure's anchor.

    Raises
    ------
    NoSuchFigure

    Examples
    --------
    >>> chapter_of("noise-rate")
    'noise'
    """
    shows = re.compile(rf'(?:\bname=|_picture\(\w+, )"{re.escape(name)}"')
    having = [path.stem for path in sorted(BOOK.glob("*.py")) if shows.search(path.read_text())]
    if len(having) != 1:
        raise NoSuchFigure(f"figure {name!r} is in {len(having)} chapters; the name stands under each figure")
    return having[0]
