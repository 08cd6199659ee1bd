"""The map: one drawing from every claim over its proof, tests and figures to its verdict, each of them a link.

It is written once and laid out twice: `book.css` moves its parts where a page is narrow, and folds it there.
"""

import html
import re
from dataclasses import dataclass, replace
from itertools import groupby

from companion.build.claims import VERDICTS

PROVEN = "proven, checked"
# by verdict: the class that gives its colour, and a sign for those who do not see it
STATES = {PROVEN: ("yes", "✓"), "borne out": ("yes", "✓"), "undecided": ("open", "○"), "not borne out": ("no", "✗")}
COLUMNS = {"claim": 0, "proof": 154, "tests": 204, "figures": 297, "verdict": 444}  # left edges, in pixels
PHONE, DESK = 288, 672  # pixels: what a page of 320 has room for, and the narrowest that is not folded
HIGH, STEP, GAP = 24, 28, 8  # pixels: a part, from line to line, between parts
EXPLAINED = (
    "Under <em>tests</em> stands how many a file has, under <em>figures</em> their numbers. "
    "✓ proven or borne out, ○ undecided, ✗ not borne out; a theorem's second line is what data said beside its proof."
)


@dataclass(frozen=True)
class Part:
    """A shape with its words, and where it stands in its group on a desk; on a phone parts follow each other."""

    body: str
    width: float
    x: float
    y: float
    kind: str = ""

    def drawn(self, wide, phone_x, phone_y):
        """Its SVG, in a group that begins at the height `wide`."""
        return (
            f'<g class="map-part {self.kind}" transform="translate({self.x:g} {self.y + wide:g})" '
            f'style="--phone:translate({phone_x:g}px,{phone_y:g}px)">{self.body}</g>'
        )


def drawing(claims, numbers, counts, repository_url=""):
    """The map, as HTML.

    Parameters
    ----------
    claims : list of dict
        From `companion.build.claims.collect`.
    numbers : dict of str to int
        From the anchor of a figure to its number.
    counts : dict of str to int
        From the path of a file of tests to how many it has.
    repository_url : str
        Where these files can be read; without it they are no links.
    """
    drawn = [f'<text class="map-desk" x="{x + 4}" y="14">{name}</text>' for name, x in COLUMNS.items()]
    wide, phone = STEP, 0
    # the claims of a chapter may rest on the same
    for _, rows in groupby(claims, key=lambda claim: (claim["chapter"], claim["tests"], claim["figures"])):
        lines, height = _group(list(rows), numbers, counts, repository_url)
        for line in lines:
            x = 0
            for part in line:
                if x and x + part.width > PHONE:
                    x, phone = 0, phone + STEP
                drawn.append(part.drawn(wide, x, phone))
                x += part.width + 4 if part.width else 0
            phone += STEP
        wide, phone = wide + height + GAP, phone + 2 * GAP
    label = f"{len(claims)} claims, each with its proof, tests, figures and verdict"
    return (
        f'<div class="map-frame"><details class="map-fold"><summary>The map: {label}</summary>\n'
        f'<svg class="map" role="group" aria-label="Map of {label}" height="{wide}" style="--phone:{phone}px">\n'
        + "\n".join(drawn)
        + f"\n</svg>\n<p>{EXPLAINED}</p></details></div>"
    )


def _group(claims, numbers, counts, repository_url):
    """The lines of claims that rest on the same, as a phone has them, and how high they are on a desk."""
    lines, y = [], 0
    for claim in claims:
        verdicts = said(claim)
        state = STATES[verdicts[0][1]][0] if claim["proof"] or len(verdicts) == 1 else "open"
        way = f'<path d="M0 {HIGH / 2:g}H{COLUMNS["verdict"]}"/>'
        name, address = claim["name"], f"#claim-{claim['name']}"
        line = [
            Part(way, 0, 0, y, f"map-desk map-{state}"),
            _pill(name, f"{name}: {claim['title']}", address, COLUMNS["claim"], y, "map-word"),
        ]
        x, before = COLUMNS["verdict"], None
        for words, verdict in verdicts:
            state, sign = STATES[verdict]
            pill = _pill(f"{sign} {words}", f"{words}: {name}", address, x, y, f"map-{state}")
            # what data said beside a proof stands below it, and so does what has no room
            if before == PROVEN or (before and x + pill.width > DESK):
                x, y = COLUMNS["verdict"], y + STEP
                pill = replace(pill, x=x, y=y)
            line.append(pill)
            x, before = x + pill.width + 4, verdict
        lines.append(line)
        y += STEP
    middle = (y - STEP) / 2 if len(claims) > 1 else 0
    shared = _rests_on(claims[0], middle, numbers, counts, repository_url)
    return [*lines, shared], max(y, *(part.y + STEP for part in shared))


def _rests_on(claim, y, numbers, counts, repository_url):
    """Proof or runs, tests and figures at the height `y`: in the middle of a frame, if several claims share them."""
    chapter = claim["chapter"]
    line = []
    if y:
        width = COLUMNS["verdict"] - COLUMNS["proof"]
        frame = f'<rect width="{width}" height="{2 * y + HIGH:g}" rx="4"/>'
        line.append(Part(frame, 0, COLUMNS["proof"] - 4, 0, "map-desk"))
    if claim["proof"]:
        line.append(
            _pill("proof", f"proof of {claim['name']}", f"{chapter}.html#{claim['proof']}", COLUMNS["proof"], y)
        )
    else:
        line.append(_pill("runs", f"runs of the chapter {chapter}", f"{chapter}.html", COLUMNS["proof"], y))
    line.append(Part('<text y="16">tests</text>', 30, 0, 0, "map-phone"))
    x = COLUMNS["tests"]
    for path in claim["tests"]:
        address = f"{repository_url}/blob/main/{path}" if repository_url else ""
        line.append(_pill(str(counts[path]), f"{counts[path]} tests in {path}", address, x, y))
        x += line[-1].width + 4
    line.append(Part('<text y="16">figures</text>', 42, 0, 0, "map-phone"))
    figures = claim["figures"]
    rows = [figures] if len(figures) <= 5 else [figures[: len(figures) // 2], figures[len(figures) // 2 :]]
    y = max(0, y - (len(rows) - 1) * STEP / 2)
    for row in rows:
        x = COLUMNS["figures"]
        for address in row:
            number = numbers[address.partition("#")[2]]
            line.append(_pill(str(number), f"figure {number}", address, x, y))
            x += line[-1].width + 4
        y += STEP
    return line


def _pill(words, name, address, x, y, kind=""):
    """Words in a frame: a link if there is an address; `name` says what they are, and contains them."""
    letter, edges = (8.4, 16) if kind == "map-word" else (6.6, 12)  # pixels: names of claims are bold
    width = max(HIGH, round(letter * len(words) + edges))
    shape = f'<rect width="{width}" height="{HIGH}" rx="{HIGH / 2:g}"/><text x="{width / 2:g}" y="16">{words}</text>'
    name = html.escape(name)
    if address:
        body = f'<a href="{address}" aria-label="{name}">{shape}</a>'
    else:
        body = f'<g role="img" aria-label="{name}"><title>{name}</title>{shape}</g>'
    return Part(body, width, x, y, kind)


def said(claim):
    """The verdicts of a claim, one by one: (words, verdict).

    Examples
    --------
    >>> said({"proof": "thm-noise", "verdict": "proven, checked; on data: 3 borne out, 4 undecided"})
    [('proven, checked', 'proven, checked'), ('3 borne out', 'borne out'), ('4 undecided', 'undecided')]
    >>> said({"proof": None, "verdict": "not borne out"})
    [('not borne out', 'not borne out')]
    """
    one = "|".join(sorted(VERDICTS, key=len, reverse=True))  # "not borne out" before "borne out"
    found = [(words, verdict) for words, verdict in re.findall(rf"((?:\d+ )?({one}))", claim["verdict"])]
    return [(PROVEN, PROVEN), *found] if claim["proof"] else found
