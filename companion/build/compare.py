"""Which claims have another verdict in one build than in another: two files ``claims.json`` held against each other."""

import json

from companion import records

NONE = "not there"


def changes(old, new):
    """Claims whose verdict is another one, with the checks of which that is true.

    Parameters
    ----------
    old, new : list of dict
        Contents of two files ``claims.json``.

    Returns
    -------
    list of (str, str, str, list of (str, str, str))
        Name, old and new verdict of each claim that appeared, vanished or changed, in the order of `new`; then the
        statement, old and new verdict of each of its checks. A claim is among them, too, where only a check changed.

    Examples
    --------
    >>> old = [{"name": "noise", "verdict": "borne out", "checks": []}]
    >>> changes(old, [{"name": "noise", "verdict": "undecided", "checks": []}])
    [('noise', 'borne out', 'undecided', [])]
    >>> changes(old, old)
    []
    """
    before, after = ({claim["name"]: claim for claim in claims} for claims in (old, new))
    found = []
    for name in [*after, *(name for name in before if name not in after)]:
        pair = before.get(name), after.get(name)
        verdicts = tuple(claim["verdict"] if claim else NONE for claim in pair)
        checks = [
            (statement, *two)
            for statement, *two in _paired(*(_verdicts(claim) for claim in pair))
            if None not in pair and two[0] != two[1]
        ]
        if verdicts[0] != verdicts[1] or checks:
            found.append((name, *verdicts, checks))
    return found


def _verdicts(claim):
    return {(one["chapter"], one["statement"]): one["verdict"] for one in claim["checks"]} if claim else {}


def _paired(before, after):
    for key in [*after, *(key for key in before if key not in after)]:
        chapter, statement = key
        yield f"{chapter}: {statement}", before.get(key, NONE), after.get(key, NONE)


def said(found):
    """The changes in lines of text.

    Examples
    --------
    >>> print(said([("noise", "borne out", "undecided", [("noise: slope", "borne out", "undecided")])]))
    noise: borne out -> undecided
      noise: slope: borne out -> undecided
    >>> said([])
    'no claim has another verdict'
    """
    lines = []
    for name, old, new, checks in found:
        lines.append(f"{name}: {old} -> {new}" if old != new else f"{name}: {old}, as before, but")
        lines += [f"  {statement}: {before} -> {after}" for statement, before, after in checks]
    return "\n".join(lines) or "no claim has another verdict"


def read(path):
    """A file ``claims.json``, checked against its schema.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UsageError
        If it is not there, no JSON, or not valid.
    """
    from companion.build.chapters import UsageError

    try:
        content = json.loads(path.read_text())
        records.validate(content, records.claims_schema())
    except (OSError, ValueError) as error:  # the validator's error is a ValueError
        raise UsageError(f"{path} is no claims.json of a built site: {error}") from None
    return content
