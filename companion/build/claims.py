"""Every claim from statement to verdict: ``book/claims.yml`` merged with what the chapters recorded."""

import ast
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import yaml

from companion import BOOK, ROOT, records
from companion.build import BuildFailed

VERDICTS = ("borne out", "undecided", "not borne out")


class IncompleteClaims(BuildFailed):
    """A claim without evidence, evidence without a claim, or a test that is not there."""


@dataclass(frozen=True)
class Claim:
    """One entry of ``book/claims.yml``; the word finds everything else.

    Parameters
    ----------
    name : str
        The word: of the claim, of its label ``thm-…``, of its test file, and of its chapter or section.
    title, statement : str
    paper : str
        The claim of the paper's abstract that it belongs to.
    chapter : str
        Where it is proven, or for an empirical claim asked.
    proven : bool
        Whether it is a theorem of the book.
    more_tests : tuple of str
        Files beside the theorem's own.
    """

    name: str
    title: str
    statement: str
    paper: str
    chapter: str
    proven: bool
    more_tests: tuple

    @property
    def proof(self):
        """The label of the theorem, or None."""
        return f"thm-{self.name}" if self.proven else None

    @cached_property
    def tests(self):
        """Files of tests: the theorem's own first."""
        own = [f"tests/theorems/test_{self.name.replace('-', '_')}.py"] if self.proven else []
        return [*own, *self.more_tests]

    def functions(self):
        """Names of the functions and classes of bnlib whose docstrings cite the theorem."""
        cited = re.compile(rf"\btheorem {re.escape(self.name)}\b")
        found = []
        for path in sorted((ROOT / "bnlib").rglob("*.py")):
            module = path.relative_to(ROOT / "bnlib").with_suffix("").parts[0]  # a package gives what its modules make
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and cited.search(ast.get_docstring(node) or ""):
                    found.append(f"bnlib.{module}.{node.name}")
        return found


def listed():
    """The claims of the book, in its order."""
    entries = yaml.safe_load((BOOK / "claims.yml").read_text())
    return [
        Claim(
            name=name,
            title=entry["title"],
            statement=" ".join(entry["statement"].split()),
            paper=entry["paper"],
            chapter=entry.get("chapter", name),
            proven=entry.get("proven", False),
            more_tests=tuple(entry.get("tests", ())),
        )
        for name, entry in entries.items()
    ]


def recorded(notebooks, kind):
    """Records of a kind in executed notebooks.

    Parameters
    ----------
    notebooks : dict of str to dict
        Chapter name to executed notebook, as read by ``json``.
    kind : str
        A key of `companion.records.TYPES`.

    Yields
    ------
    chapter : str
    record : one of `companion.records.TYPES`
    html : str
        What the reader sees of it.
    """
    for name, notebook in notebooks.items():
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {}).get(records.MIME)
                if data is not None and data["type"] == kind:
                    yield name, records.from_json(data), "".join(output["data"]["text/html"])


def collect(notebooks, profile):
    """The content of ``claims.json``: every claim with its checks and its verdict, valid by the schema.

    Parameters
    ----------
    notebooks : dict of str to dict
        As for `recorded`.
    profile : str

    Returns
    -------
    list of dict

    Raises
    ------
    IncompleteClaims
    """
    checks = [
        asdict(record) | {"profile": profile, "chapter": chapter} for chapter, record, _ in recorded(notebooks, "check")
    ]
    claims = listed()
    strays = sorted({check["claim"] for check in checks} - {claim.name for claim in claims})
    if strays:
        raise IncompleteClaims(f"chapters record claims that book/claims.yml does not list: {', '.join(strays)}")
    shown = [(chapter, record.anchor) for chapter, record, _ in recorded(notebooks, "figure")]
    found = []
    for claim in claims:
        own = [check for check in checks if check["claim"] == claim.name]
        if not own:
            raise IncompleteClaims(f"no chapter records a check of {claim.name}")
        missing = [test for test in claim.tests if not (ROOT / test).is_file()]
        if missing:
            raise IncompleteClaims(f"{claim.name} names tests that are not there: {', '.join(missing)}")
        found.append(
            {
                "name": claim.name,
                "title": claim.title,
                "paper": claim.paper,
                "statement": claim.statement,
                "chapter": claim.chapter,
                "proof": claim.proof,
                "tests": claim.tests,
                "figures": [f"{chapter}.html#{anchor}" for chapter, anchor in shown if chapter == claim.chapter],
                "verdict": verdict(claim.proven, own),
                "checks": own,
            }
        )
    records.validate(found, records.claims_schema())
    return found


def verdict(proven, checks):
    """One claim's verdict: a theorem's from its rows with the role "theorem", an empirical claim's from all.

    Examples
    --------
    >>> rows = [{"role": "theorem", "verdict": "holds"}, {"role": "exploratory", "verdict": "not borne out"}]
    >>> verdict(True, rows)
    'proven, checked'
    """
    if proven:
        found = [check["verdict"] for check in checks if check["role"] == "theorem" and check["verdict"] != "holds"]
        parts = ["proven, checked"]
    else:
        found, parts = [check["verdict"] for check in checks], []
    if found:
        counted = [f"{found.count(one)} {one}" for one in VERDICTS if one in found]
        parts.append(found[0] if len(set(found)) == 1 else ", ".join(counted))
    return "; on data: ".join(parts)


def as_text(content):
    """The text of ``claims.json`` or of its schema."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def holm(p_values, level=0.05):
    """Which of several statements stand together, at most `level` of such sets having a false one among them.

    Parameters
    ----------
    p_values : array_like, shape (n,)
    level : float

    Returns
    -------
    ndarray of bool, shape (n,)

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> holm([0.001, 0.04, 0.03]).tolist()
    [True, False, False]
    >>> holm([]).tolist()
    []
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    passed = p_values[order] * np.arange(len(p_values), 0, -1) <= level
    stands = np.zeros(len(p_values), dtype=bool)
    stands[order] = np.logical_and.accumulate(passed)
    return stands
