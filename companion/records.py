"""What a chapter records: the one schema that pages, results and build share.

A chapter leaves its records in the outputs of its notebook, beside what a reader sees. The build reads these and
nothing else: the claims page, ``claims.json``, "In short" and the files under ``results/`` are made of them.
"""

import functools
import html
import json
import math
import re
import types
import typing
from dataclasses import asdict, dataclass, field, fields

import fastjsonschema

MIME = "application/vnd.bnlib.record+json"
SCHEMA_FILE = "claims.schema.json"

Kind = typing.Literal["exact", "numeric", "empirical"]
Relation = typing.Literal["equal", "above", "below"]
Role = typing.Literal["theorem", "assumption", "headline", "exploratory"]
Verdict = typing.Literal["holds", "fails", "borne out", "not borne out", "undecided"]
ScaleName = typing.Literal["plain", "log", "correlation", "share", "points", "angle"]
# what a quantity lies between; `companion.statistics.SCALES` says how an interval is kept there
RANGES = {
    "plain": (-math.inf, math.inf),
    "log": (0.0, math.inf),  # rates, sizes, ratios
    "correlation": (-1.0, 1.0),
    "share": (0.0, 1.0),
    "points": (-100.0, 100.0),  # differences of two shares in percentage points
    "angle": (0.0, 90.0),  # degrees between two directions up to sign
}


@dataclass(frozen=True)
class Source:
    """Where numbers come from: the same words under a figure and the same fields in a record.

    Parameters
    ----------
    dataset : str, optional
        The name that `bnlib.data.load` takes; None for closed forms and generated data.
    train_size : int, optional
        Rows that were trained on, or that the moments are of.
    seeds : sequence of int
        Behind every interval.
    conditions : dict of str to number, str, bool, None or a list of such
        What else has to be known to make the numbers again: widths, epochs, noise.
    title : str, optional
        The data set in words; by default what `bnlib.data.TITLES` calls it, or "closed form, no data".

    Examples
    --------
    >>> str(Source("mnist-5k", 3000, (0, 1), {"network": "784-100-10", "epochs": 8}))
    'MNIST, 5,000-digit subset (3,000 rows), network 784-100-10, epochs 8, seeds 0, 1'
    >>> str(Source(seeds=[2], title="generated data", train_size=50))
    'generated data (50 rows), seed 2'
    """

    dataset: str | None = None
    train_size: int | None = None
    seeds: tuple[int, ...] = ()
    conditions: dict = field(default_factory=dict)
    title: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        plain = (str, int, float, bool, type(None))
        for name, value in self.conditions.items():
            parts = value if isinstance(value, (list, tuple)) else [value]
            if not all(isinstance(part, plain) for part in parts):
                raise ValueError(f"conditions has {name} = {value!r}; it must be a plain number, text or list of them")

    def __str__(self):
        from bnlib.data import TITLES

        named = self.title or (TITLES[self.dataset] if self.dataset else "closed form, no data")
        words = [named + (f" ({self.train_size:,} rows)" if self.train_size else "")]
        for name, value in self.conditions.items():
            parts = value if isinstance(value, (list, tuple)) else [value]
            said = ", ".join(_said(part) for part in parts)
            words.append(f"{name.replace('_', ' ')} {said}")
        if self.seeds:
            words.append(f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}")
        return ", ".join(words)

    def of_images(self):
        """The same, for a figure that shows images of the data set: with their licence.

        Examples
        --------
        >>> Source("fashion-mnist").of_images()
        'Fashion-MNIST, 70,000 images; its images: MIT, Zalando SE'
        """
        from bnlib.data import LICENSES

        return f"{self}; its images: {LICENSES[self.dataset]}"


def name_of(dataset):
    """What statements call a data set, however much of it is used.

    Examples
    --------
    >>> [name_of(dataset) for dataset in ("mnist-5k", "mnist", "fashion-mnist")]
    ['MNIST', 'MNIST', 'Fashion-MNIST']
    """
    from bnlib.data import TITLES

    return TITLES[dataset].split(",")[0]


def _said(value):
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if type(value) is int else str(value)


CLOSED_FORM = Source()


@dataclass(frozen=True)
class Check:
    """One comparison of something measured with something predicted.

    Parameters
    ----------
    claim : str
        The word of the claim in ``book/claims.yml``.
    role : {"theorem", "assumption", "headline", "exploratory"}
        What the comparison is for: part of a theorem's check; what happens where an assumption of a theorem is broken;
        one of the few statements fixed before the runs; or a look around.
    statement : str
        What was compared with what, in words.
    kind : {"exact", "numeric", "empirical"}
    relation : {"equal", "above", "below"}
        What `measured` should be to `predicted`.
    measured, predicted : float, optional
        None where arrays were compared.
    difference : float
        Relative to the predicted, in the Euclidean norm.
    tolerance : float
    low, high : float, optional
        Ends of the 95 % interval of the mean over seeds.
    interval_method : str, optional
        "t" is Student's, of the values or of what `companion.statistics.SCALES` makes of them.
    scale : {"plain", "log", "correlation", "share", "points", "angle"}
        What kind of quantity was measured: `RANGES` says what it lies between.
    p_value : float, optional
        Of the one-sided test of an empirical check with the relation "above" or "below".
    repetitions : int
    stands_in : list of int, optional
        Of a headline: in how many of how many ways to read the same runs its verdict is the same.
    verdict : str
        "holds" or "fails" where there is no sampling; "borne out", "not borne out" or "undecided" where there is.
    dataset, train_size, conditions, seeds
        See `Source`.
    anchor : str
        Of the check on its page.

    Raises
    ------
    ValueError
        If the interval has one end, no width, an end beyond the range of `scale`, or does not hold what was measured.
    """

    claim: str
    role: Role
    statement: str
    kind: Kind
    relation: Relation
    measured: float | None
    predicted: float | None
    difference: float
    tolerance: float
    low: float | None
    high: float | None
    interval_method: str | None
    scale: ScaleName
    p_value: float | None
    repetitions: int
    stands_in: list[int] | None
    verdict: Verdict
    dataset: str | None
    train_size: int | None
    conditions: dict
    seeds: list[int]
    anchor: str

    def __post_init__(self):
        if self.low is None and self.high is None:
            return
        said = f"the interval of {self.statement!r} is [{self.low}, {self.high}]"
        if self.low is None or self.high is None:
            raise ValueError(f"{said}; it must have two ends or none")
        if not self.low < self.high:
            raise ValueError(f"{said}; it must have a width: where seeds agree there is no interval")
        bottom, top = RANGES.get(self.scale, RANGES["plain"])  # an unknown scale is for the schema to refuse
        if self.low < bottom or self.high > top:
            raise ValueError(f"{said}; on the scale {self.scale!r} it must lie from {bottom:g} to {top:g}")
        if self.measured is None or not self.low <= self.measured <= self.high:
            raise ValueError(f"{said}; it must hold what was measured, {self.measured}")

    def _ipython_display_(self):
        """Nothing: `companion.page.check` has shown it, and a cell that ends in it need not echo it."""

    def __str__(self):
        parts = [f"{self.claim}: {self.statement}"]
        if self.measured is not None:
            sign = {"equal": "=", "above": ">", "below": "<"}[self.relation]
            interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
            if self.low is None and self.interval_method:
                interval = f" ({self.interval_method})"
            parts.append(f"measured {self.measured:.6g}{interval}, predicted {sign} {self.predicted:.6g}")
        if self.stands_in:
            same, of = self.stands_in
            parts.append(f"the same verdict in {same} of {of} ways to read the runs")
        if self.relation == "equal":
            parts.append(f"difference {self.difference:.2g}, tolerance {self.tolerance:.2g}")
        return f"{self.verdict} | " + " | ".join(parts)


@dataclass(frozen=True)
class Figure:
    """A figure: its anchor, what to see in it, what it shows for those who cannot see it, and its source.

    `csv` has the numbers that were drawn, `png` the picture in base64.
    """

    anchor: str
    caption: str
    alt: str
    source: str
    csv: str
    png: str


@dataclass(frozen=True)
class Table:
    """A table: what its numbers are, and their source."""

    caption: str
    source: str


@dataclass(frozen=True)
class Rows:
    """Rows that can be downloaded: a CSV file of the site, under ``results/``."""

    file: str
    words: str
    csv: str


@dataclass(frozen=True)
class Finding:
    """A sentence of "In short", and the anchors of the checks whose numbers are in it."""

    text: str
    checks: list[str]


TYPES = {"check": Check, "figure": Figure, "table": Table, "rows": Rows, "finding": Finding}


def as_json(record):
    """A record as plain data with its type, checked against the schema.

    Raises
    ------
    fastjsonschema.JsonSchemaValueException
        If a field has a wrong type or a value that its vocabulary lacks.

    Examples
    --------
    >>> as_json(Table("means", "closed form, no data"))
    {'type': 'table', 'caption': 'means', 'source': 'closed form, no data'}
    """
    name = next(name for name, kind in TYPES.items() if isinstance(record, kind))
    validate(asdict(record), schema_of(type(record)))
    return {"type": name, **asdict(record)}


def caption_html(record):
    """What stands above a figure or table: the one sentence that says what it shows.

    Examples
    --------
    >>> caption_html(Table("Means fall. Left: with noise.", "closed form, no data"))
    '<figcaption>Means fall.</figcaption>'
    """
    return f"<figcaption>{html.escape(_split(record.caption)[0])}</figcaption>"


def notes_html(record):
    """What stands below it: how to read it, and where its numbers come from.

    Examples
    --------
    >>> notes_html(Table("Means fall. Left: with noise.", "closed form, no data"))
    '<p class="figure-notes">Left: with noise. <small>Source: closed form, no data.</small></p>'
    """
    rest, source = (html.escape(text) for text in (_split(record.caption)[1], record.source))
    return f'<p class="figure-notes">{rest}{" " * bool(rest)}<small>Source: {source}.</small></p>'


def _split(caption):
    """The first sentence, and the rest.

    Examples
    --------
    >>> _split("At 2.5 it is more. 3 seeds. Bars: intervals.")
    ('At 2.5 it is more.', '3 seeds. Bars: intervals.')
    """
    first, *rest = re.split(r"(?<=[.!?]) (?=[A-Z0-9«γαλε(])", caption, maxsplit=1)
    return first, *(rest or [""])


def from_json(data):
    """The record that `as_json` made plain; wrong data raise as there.

    Examples
    --------
    >>> from_json({"type": "table", "caption": "means", "source": "closed form, no data"})
    Table(caption='means', source='closed form, no data')
    """
    content = {name: value for name, value in data.items() if name != "type"}
    kind = TYPES[data["type"]]
    validate(content, schema_of(kind))
    return kind(**content)


def validate(content, schema):
    """Check plain data against a schema.

    Raises
    ------
    fastjsonschema.JsonSchemaValueException

    Examples
    --------
    >>> validate({"caption": "means", "source": "closed form, no data"}, schema_of(Table))
    """
    _validator(json.dumps(schema))(content)


@functools.cache
def _validator(schema):
    # jsonschema itself would take a second to import, in every chapter
    return fastjsonschema.compile(json.loads(schema))


def schema_of(kind):
    """The JSON schema of a kind of record, made from its fields.

    Examples
    --------
    >>> schema_of(Table)["required"]
    ['caption', 'source']
    """
    hints = typing.get_type_hints(kind)
    return {
        "type": "object",
        "properties": {one.name: _schema_of_hint(hints[one.name]) for one in fields(kind)},
        "required": [one.name for one in fields(kind)],
        "additionalProperties": False,
    }


def _schema_of_hint(hint):
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    if isinstance(hint, types.UnionType):
        return {"anyOf": [_schema_of_hint(part) for part in typing.get_args(hint)]}
    if typing.get_origin(hint) is list:
        return {"type": "array", "items": _schema_of_hint(*typing.get_args(hint))}
    return {"type": {str: "string", float: "number", int: "integer", dict: "object", types.NoneType: "null"}[hint]}


def claims_schema():
    """The JSON schema of ``claims.json``: a list of claims, each with the checks that chapters recorded.

    Examples
    --------
    >>> claims_schema()["type"]
    'array'
    """
    check = schema_of(Check)
    text = {"type": "string"}
    check["properties"] |= {"profile": text, "chapter": text}
    check["required"] += ["profile", "chapter"]
    properties = dict.fromkeys(("name", "title", "paper", "statement", "chapter", "verdict"), text)
    properties |= {"proof": {"type": ["string", "null"]}, "checks": {"type": "array", "items": check}}
    properties |= {name: {"type": "array", "items": text} for name in ("tests", "figures")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Claims of the companion, from statement to verdict",
        "type": "array",
        "items": {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        },
    }
