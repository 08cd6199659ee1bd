"""What a chapter says: checks, findings, tables and files, each shown to the reader and recorded for the build."""

import html
import string
import typing
import zlib

from bnlib.objects import choice
from companion import records, statistics
from companion.records import CLOSED_FORM, Check, Finding, Role, Rows, Table

ROLES = typing.get_args(Role)
ROWS_IN_VIEW = 5  # of a table: what more rows say belongs into a picture, and stands behind it


class ClaimFailed(AssertionError):
    """A proven claim did not hold: the proof, the code or the check is wrong."""


def emit(markup, text, record=None):
    """Show `markup` where a notebook runs this, else print `text`; keep `record` beside it.

    Examples
    --------
    >>> emit("<b>rate</b>", "rate")
    rate
    """
    plain = None if record is None else records.as_json(record)  # validated wherever the chapter runs
    from IPython import get_ipython

    if get_ipython() is None:
        print(text)
        return
    from IPython.display import display

    bundle = {"text/html": markup, "text/plain": text}
    display(bundle if plain is None else bundle | {records.MIME: plain}, raw=True)


def check(
    claim,
    statement,
    measured,
    predicted,
    kind="numeric",
    relation="equal",
    tolerance=0.0,
    role=None,
    source=CLOSED_FORM,
    scale="plain",
    stands_in=None,
):
    """Compare, record, show; raise if a proven claim does not hold.

    Parameters
    ----------
    claim, statement : str
        See `companion.records.Check`.
    measured, predicted, kind, relation, tolerance, scale
        See `companion.statistics.compare`.
    role : {"theorem", "assumption", "headline", "exploratory"}, optional
        Default: "theorem" for exact and numeric checks, "exploratory" for empirical ones.
    source : companion.records.Source
        Where the numbers come from.
    stands_in : (int, int), optional
        Of a headline: see `companion.records.Check`.

    Returns
    -------
    Check

    Raises
    ------
    ClaimFailed
        If an exact or numeric check does not hold.
    ValueError
        If an argument is unknown or the shapes do not fit.

    Examples
    --------
    >>> _ = check("minibatch", "a_4, by hand", measured=0.79788, predicted=0.797885, tolerance=1e-4)
    holds | minibatch: a_4, by hand | measured 0.79788, predicted = 0.797885 | difference 6.3e-06, tolerance 0.0001
    """
    role = choice("role", role or ("exploratory" if kind == "empirical" else "theorem"), ROLES)
    found = statistics.compare(measured, predicted, kind, relation, tolerance, scale)
    record = Check(
        claim=claim,
        role=role,
        statement=statement,
        kind=kind,
        relation=relation,
        tolerance=float(tolerance),
        dataset=source.dataset,
        train_size=source.train_size,
        conditions=dict(source.conditions),
        seeds=list(source.seeds),
        stands_in=None if stands_in is None else list(stands_in),
        anchor=f"check-{zlib.crc32(f'{claim} {statement}'.encode()):08x}",
        **vars(found),
    )
    emit(_as_html(record), str(record), record)
    if record.verdict == "fails":
        raise ClaimFailed(str(record))
    return record


def finding(pattern, *checks, **numbers):
    """Compose a sentence of the chapter's "In short" from the numbers and verdicts of its checks.

    Parameters
    ----------
    pattern : str or dict of str to str
        With fields as in `str.format`. One check gives its own numbers: ``{measured}``, ``{interval}`` (the
        same with its interval: "0.42 [0.20, 0.64]"), ``{predicted}``, ``{difference}``, ``{repetitions}``. All of them together give ``{count}``, ``{held}`` (how
        many hold or are borne out), ``{least}`` and ``{most}`` (of what was measured) and ``{worst}`` (the largest
        difference); what they have in common, as ``{tolerance}`` and ``{repetitions}``, has its name. A dictionary has
        a pattern for each outcome: "borne out" (or it holds), "not borne out", and for one check "undecided", for
        several "mixed", which says ``{held}`` of how many.
    *checks : Check
        At least one.
    **numbers : float
        Further numbers that the chapter computed.

    Raises
    ------
    ValueError
        If there is no check, a pattern has no number, a field is unknown, or the outcome has no pattern.

    Examples
    --------
    >>> one = check("rate", "three", 3.0, 3.0)
    holds | rate: three | measured 3, predicted = 3 | difference 0, tolerance 0
    >>> finding("The rate is {measured:.1f}, off by {difference:.0e}.", one)
    The rate is 3.0, off by 0e+00.
    """
    if not checks:
        raise ValueError("checks is empty; a finding rests on at least one")
    patterns = pattern if isinstance(pattern, dict) else {None: pattern}
    for one in patterns.values():
        if not [name for _, name, _, _ in string.Formatter().parse(one) if name]:
            raise ValueError(f"pattern {one!r} has no number; a finding says how much, so it needs a field")
    if "{held" not in patterns.get("mixed", "{held"):
        raise ValueError(f"pattern {patterns['mixed']!r} does not say {{held}}: for mixed outcomes it has to")
    outcome = outcome_of(checks) if isinstance(pattern, dict) else None
    if outcome not in patterns:
        raise ValueError(f"pattern has no sentence for the outcome {outcome!r}; it has: {', '.join(patterns)}")
    known = _numbers_of(checks) | numbers
    try:
        text = patterns[outcome].format(**known)
    except (KeyError, IndexError) as error:
        raise ValueError(f"pattern has the field {error}; the fields are: {', '.join(known)}") from None
    emit(f"<blockquote><p>{html.escape(text)}</p></blockquote>", text, Finding(text, [one.anchor for one in checks]))


def outcome_of(checks):
    """What checks say together: "borne out", "not borne out", and else "undecided" for one, "mixed" for several.

    Examples
    --------
    >>> outcome_of([])
    'mixed'
    """
    verdicts = {{"holds": "borne out", "fails": "not borne out"}.get(one.verdict, one.verdict) for one in checks}
    if len(checks) == 1 or verdicts in ({"borne out"}, {"not borne out"}):
        return verdicts.pop()
    return "mixed"


def table(frame, caption, source):
    """Show a table with its caption and data source; a long one is folded behind its caption.

    Parameters
    ----------
    frame : pandas.DataFrame
        Shown as it is, index included: format the numbers first.
    caption : str
    source : companion.records.Source or str
    """
    record = Table(caption, str(source))
    body = frame.to_html(border=0, classes="claims", justify="left")
    shown = f'<div class="claim-scroll" tabindex="0">{body}</div>'
    if len(frame) > ROWS_IN_VIEW:
        shown = f"<details><summary>Table: {len(frame)} rows</summary>{shown}</details>"
    emit(
        f'<figure class="plot">{records.caption_html(record)}{shown}{records.notes_html(record)}</figure>',
        f"{frame.to_string()}\n[table] {record.caption} Source: {record.source}.",
        record,
    )


def offer(frame, file, words):
    """Offer a table as a CSV file of the site, for programs and for whoever wants to look closer.

    Parameters
    ----------
    frame : pandas.DataFrame
        Numbers keep six significant digits; the index is left out.
    file : str
        Its name; it will be ``results/<name>`` in the site.
    words : str
        What a row is.

    Examples
    --------
    >>> import pandas
    >>> offer(pandas.DataFrame({"rate": [0.5]}), "rates.csv", "one unit a row")
    [results/rates.csv] 1 rows, one unit a row
    """
    record = Rows(file, words, frame.to_csv(index=False, float_format="%.6g"))
    name, what = html.escape(file), f"{len(frame)} rows, {html.escape(words)}"
    emit(
        f'<p class="download"><a download href="../results/{name}">{name}</a>: {what}.</p>',
        f"[results/{file}] {len(frame)} rows, {words}",
        record,
    )


def sentence(text):
    """Show computed words as a paragraph of the page, not as a line of output.

    Examples
    --------
    >>> sentence("It does.")
    It does.
    """
    emit(f"<blockquote><p>{html.escape(text)}</p></blockquote>", text)


def _numbers_of(checks):
    measured = [one.measured for one in checks if one.measured is not None]
    known = {"count": len(checks), "held": sum(one.verdict in ("holds", "borne out") for one in checks)}
    known["worst"] = max(one.difference for one in checks)
    if measured:
        known |= {"least": min(measured), "most": max(measured)}
    for name in ("tolerance", "repetitions", "predicted"):
        values = {getattr(one, name) for one in checks}
        if len(values) == 1 and None not in values:
            known[name] = values.pop()
    if len(checks) == 1:
        known["difference"] = checks[0].difference
        if measured:
            known |= {"measured": measured[0], "interval": _Interval(checks[0])}
    return known


class _Interval:
    """A number with its interval, each in the format asked for."""

    def __init__(self, one):
        self._one = one

    def __format__(self, form):
        measured, low, high = (
            "" if value is None else format(value, form)
            for value in (self._one.measured, self._one.low, self._one.high)
        )
        if low:
            return f"{measured} [{low}, {high}]"
        why = self._one.interval_method
        where = " at the end of the range" if why == statistics.AT_THE_END else ""
        return f"{measured} (all {self._one.repetitions} seeds{where})" if why else measured


def _as_html(record):
    state = {"holds": "yes", "borne out": "yes", "fails": "no", "not borne out": "no"}.get(record.verdict, "open")
    _, said, *details = str(record).split(" | ")
    details = " · ".join(html.escape(part) for part in (record.kind, *details))
    number = "" if record.measured is None else f" <span>{html.escape(f'{_Interval(record):.3g}')}</span>"
    # the anchor is inside, so that a link to it opens the row
    return (
        f'<details class="claim claim-{state}"><summary><strong class="verdict">{record.verdict}</strong> '
        f'{html.escape(said)}{number}</summary><small id="{record.anchor}">{details} · '
        f'<a href="claims.html#claim-{record.claim}">all rows of this claim</a></small></details>'
    )
