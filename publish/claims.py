"""The claims page and ``claims.json``: every claim from statement to verdict, as the chapters recorded it."""

import ast
import html
import json
import re

import nbformat
import yaml

from publish import BOOK, ROOT

MIME = "application/vnd.bnlib.claim+json"
KINDS = ("exact", "numeric", "empirical")
TEST_KINDS = ("exact", "torch", "property", "control")
COLUMNS = ("what was compared", "kind", "where", "predicted", "measured", "interval or difference", "verdict")
HEAD = "<thead><tr>" + "".join(f"<th>{column}</th>" for column in COLUMNS) + "</tr></thead>"


class IncompleteClaims(RuntimeError):
    """A claim without evidence, evidence without a claim, or a test that is not there."""


def collect(notebooks):
    """Merge ``book/claims.yml`` with the records in the executed `notebooks`.

    Parameters
    ----------
    notebooks : dict of str to Path
        Chapter name to executed notebook.

    Returns
    -------
    list of dict
        One entry a claim: ``id paper statement proof tests checks verdict``.

    Raises
    ------
    IncompleteClaims
    """
    claims = yaml.safe_load((BOOK / "claims.yml").read_text())
    records = [record for name, path in notebooks.items() for record in _records(name, path)]
    known = {claim["id"] for claim in claims}
    strays = sorted({record["claim"] for record in records} - known)
    if strays:
        raise IncompleteClaims(f"chapters record claims that book/claims.yml does not list: {', '.join(strays)}")
    for claim in claims:
        claim["checks"] = [record for record in records if record["claim"] == claim["id"]]
        if not claim["checks"]:
            raise IncompleteClaims(f"no chapter records a check of {claim['id']}")
        missing = [test for test in claim["tests"] if not (ROOT / test).is_file()]
        if missing:
            raise IncompleteClaims(f"{claim['id']} names tests that are not there: {', '.join(missing)}")
        claim["verdict"] = _verdict(claim)
    return claims


def as_json(claims):
    """The claims for programs: the text of ``claims.json``."""
    return json.dumps(claims, indent=1, sort_keys=True, allow_nan=False) + "\n"


def as_page(claims, repository_url=""):
    """The claims for readers: the text of ``claims.md``, put after the introduction written in the book."""
    lines = [
        "| claim | of the paper | proof | exact | numeric | empirical | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        counts = [sum(check["kind"] == kind for check in claim["checks"]) or "—" for kind in KINDS]
        lines.append(
            f"| [{claim['id']}](#claim-{claim['id'].lower()}) | {claim['paper']} | {_proof(claim)} "
            f"| {counts[0]} | {counts[1]} | {counts[2]} | {claim['verdict']} |"
        )
    for claim in claims:
        tests = "; ".join(f"{_link(test, repository_url)} ({_kinds_of_tests(test)})" for test in claim["tests"])
        lines += [
            f"\n(claim-{claim['id'].lower()})=\n## {claim['id']}: {claim['title']}\n",
            f"{claim['statement'].strip()}\n",
            f"Proof: {_proof(claim)}. Tests: {tests}. Verdict: **{claim['verdict']}**.\n",
            f'<div class="claim-scroll" tabindex="0"><table class="claims">{HEAD}<tbody>',
            *(_row(check) for check in claim["checks"]),
            "</tbody></table></div>\n",
        ]
    return "\n".join(lines) + "\n"


def _records(name, path):
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if MIME in data:
                anchor = re.search(r'id="([^"]+)"', data["text/html"]).group(1)
                yield data[MIME] | {"chapter": name, "cell": number, "anchor": anchor}


def _proof(claim):
    return f"{{prf:ref}}`{claim['proof']}`" if "proof" in claim else "none, empirical"


def _verdict(claim):
    parts = ["proven, checked"] if "proof" in claim else []
    found = [check["verdict"] for check in claim["checks"] if check["kind"] == "empirical"]
    if found:
        counted = [
            f"{found.count(verdict)} {verdict}"
            for verdict in ("borne out", "undecided", "not borne out")
            if verdict in found
        ]
        parts.append(found[0] if len(set(found)) == 1 else ", ".join(counted))
    return "; on data: ".join(parts) if len(parts) == 2 else parts[0]


def _row(check):
    sign = {"equal": "", "above": "&gt; ", "below": "&lt; "}[check["relation"]]
    measured = predicted = "array"
    if check["measured"] is not None:
        measured, predicted = f"{check['measured']:.4g}", f"{sign}{check['predicted']:.4g}"
    if check["low"] is not None:
        precision = f"{check['low']:.4g} to {check['high']:.4g} ({check['repetitions']} seeds)"
    elif check["kind"] == "empirical":
        precision = "one seed, no interval"
    elif check["kind"] == "exact":
        precision = "equal"
    else:
        precision = f"{check['difference']:.1e} (at most {check['tolerance']:.0e})"
    where = f'<a href="{check["chapter"]}.html#{check["anchor"]}">chapter {int(check["chapter"][:2])}, cell {check["cell"]}</a>'
    cells = (html.escape(check["statement"]), check["kind"], where, predicted, measured, precision, check["verdict"])
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _kinds_of_tests(path):
    """How many test functions of each kind a file has, by their names."""
    names = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    counts = {kind: sum(name.startswith(f"test_{kind}_") for name in names) for kind in TEST_KINDS}
    if not any(counts.values()):
        return f"{sum(name.startswith('test_') for name in names)} tests"
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _link(test, repository_url):
    return f"[`{test}`]({repository_url}/blob/main/{test})" if repository_url else f"`{test}`"
