"""Texts that are made, not written: the claims page, a chapter's head, how the book was built."""

import ast
import html
import platform
import re
import subprocess
from collections import Counter
from importlib.metadata import version

from companion import ROOT
from companion.build.chapters import CODE_FOLDED
from companion.build.claims import holm, recorded
from companion.build.map import drawing

KINDS = ("exact", "numeric", "empirical")
TEST_KINDS = ("exact", "torch", "property", "control")
COLUMNS = ("what was compared", "verdict", "measured", "predicted", "interval or difference", "role", "kind", "where")
HEAD = "<thead><tr>" + "".join(f"<th>{column}</th>" for column in COLUMNS) + "</tr></thead>"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "jupyter-book", "jupytext", "papermill")
ONE_SIDED = 0.025  # of a 95 % interval that lies wholly on one side
MINUS = "\N{MINUS SIGN}"
# since then no headline's statement, relation or margin has changed: tests/companion/test_headlines.py holds it
HEADLINES_FIXED = "2c64772594811487f4f45396ff676e761951418e"
LOOKED_AT = frozenset(range(5))  # seeds of the runs that were seen before
WORDS_A_MINUTE = 220
LINES_A_MINUTE = 20


def claims_page(claims, titles, numbers, repository_url=""):
    """What is put where ``book/claims.md`` has its mark: the map, the headlines, then every claim with its rows folded.

    Parameters
    ----------
    claims : list of dict
        From `companion.build.claims.collect`.
    titles : dict of str to str
        Chapter name to title.
    numbers : dict of str to int
        From the anchor of a figure to its number.
    repository_url : str
    """
    counts = {test: len(_tests_of(test)) for claim in claims for test in claim["tests"]}
    lines = [
        f"```{{raw}} html\n{drawing(claims, numbers, counts, repository_url)}\n```\n",
        *_headlines(claims),
        "| claim | verdict | of the paper | proof | exact | numeric | empirical |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        counts = [sum(check["kind"] == kind for check in claim["checks"]) or "—" for kind in KINDS]
        lines.append(
            f"| [{claim['name']}](#claim-{claim['name']}) | {claim['verdict']} | {claim['paper']} | {_proof(claim)} "
            f"| {counts[0]} | {counts[1]} | {counts[2]} |"
        )
    for claim in claims:
        lines += [
            f"\n(claim-{claim['name']})=\n## {claim['name']}: {claim['title']}\n",
            f"{claim['statement'].strip()}\n",
            f"{_evidence(claim, repository_url)} Verdict: **{claim['verdict']}**.\n",
            f":::{{dropdown}} {len(claim['checks'])} rows",
            f'<div class="claim-scroll" tabindex="0"><table class="claims">{HEAD}<tbody>',
            *(_row(check, titles) for check in claim["checks"]),
            "</tbody></table></div>",
            ":::\n",
        ]
    return "\n".join(lines) + "\n"


def _headlines(claims):
    """The statements fixed before the runs, in words and numbers, and which of them stand together."""
    rows = [(claim, check) for claim in claims for check in claim["checks"] if check["role"] == "headline"]
    if not rows:
        return []
    by_data = {}
    for claim, check in rows:
        by_data.setdefault(check["dataset"], []).append((claim, check))
    lines = [
        "## The headlines\n",
        "| headline | alone | beside the others | measured | in how many readings | data |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for found in by_data.values():
        # a statement without a test, since all seeds agree or there is one, keeps its verdict
        tested = [check["p_value"] for _, check in found if check["p_value"] is not None]
        stands = iter(holm(tested, ONE_SIDED))
        for claim, check in found:
            together = check["verdict"]
            if check["p_value"] is not None and not next(stands) and together == "borne out":
                together = "undecided"
            readings = "{} of {}".format(*check["stands_in"]) if check["stands_in"] else "—"
            lines.append(
                f"| [{claim['title']}](#claim-{claim['name']}) | {check['verdict']} | {together} | {_measured(check)} "
                f"| {readings} | {_data(check)} |"
            )
    lines.append(
        f"\n{speaks(claims)} The statements, what they compare and on which side of which number a verdict lies have not "
        f"changed since commit `{HEADLINES_FIXED}`. *Alone* is the verdict of the 95 % interval; *beside the others* is "
        "Holm's: if all headlines of a data set were false, the chance that one of them is called borne out is at most "
        "2.5 %, as it is for one statement alone. A *reading* is one way to read the same runs: the search judged by validation loss or "
        "accuracy, its best decay smooth or from the grid, gamma learned or fixed, mean or median; counted are those in "
        "which the verdict is the same.\n\n## All claims\n"
    )
    return lines


def speaks(claims):
    """Which profile, data and seeds the headlines have, and whether anybody had seen these seeds before.

    Parameters
    ----------
    claims : list of dict
        From `companion.build.claims.collect`.
    """
    rows = [check for claim in claims for check in claim["checks"] if check["role"] == "headline"]
    if not rows:
        return "No headline was asked in this build."
    profiles = " and ".join(sorted({f"`{check['profile']}`" for check in rows}))
    data = "; ".join(dict.fromkeys(_data(check) for check in rows))
    pilots = any(LOOKED_AT & set(check["seeds"]) for check in rows)
    kind = (
        "These seeds were looked at before the headlines were fixed: what they say is a pilot, and the profile `paper` "
        "asks again, with seeds that nobody had looked at."
        if pilots
        else "Nobody had looked at these seeds when the headlines were fixed."
    )
    return f"The profile that speaks here is {profiles} ({data}). {kind}"


def findings(chapters, notebooks):
    """What is put after the introduction of ``book/findings.md``: every chapter's "In short".

    Parameters
    ----------
    chapters : list of companion.build.chapters.Chapter
    notebooks : dict of str to dict
        Executed notebooks by chapter name.
    """
    lines = []
    for chapter in chapters:
        if said := _said(chapter.name, notebooks):
            lines += [f"## {{doc}}`{chapter.name}`", "", *(f"- {text}" for text in said), ""]
    return "\n".join(lines)


def exercises(chapters):
    """What is put where ``book/teach.md`` has its mark: every exercise of the book, its solution one click away.

    Parameters
    ----------
    chapters : list of companion.build.chapters.Chapter
    """
    lines = []
    for chapter in chapters:
        text = "\n".join(cell.source for cell in chapter.notebook.cells if cell.cell_type == "markdown")
        asked = re.findall(r"^\*\*\d\. (Derive|Run)\.\*\* (.+?)\n\n", text, flags=re.MULTILINE | re.DOTALL)
        lines += [f'{{doc}}`{chapter.name}` (<a href="{chapter.name}.html#exercises">solutions</a>)', ""]
        lines += [f"- *{kind}.* {' '.join(words.split())}" for kind, words in asked] + [""]
    return "\n".join(lines)


def _said(name, notebooks):
    return [plain(record.text) for _, record, _ in recorded({name: notebooks[name]}, "finding")]


def _data(check):
    seeds = check["seeds"]
    size = f", {check['train_size']:,} images" if check["train_size"] else ""
    return f"{plain(str(check['dataset']))}{size}, seeds {min(seeds)} to {max(seeds)}"


def _measured(check):
    sign = {"above": ">", "below": "<", "equal": "="}[check["relation"]]
    return f"{value(check)}, claimed {sign} {check['predicted']:g}"


def head(chapter, notebooks):
    """What is put under a chapter's title: the minutes it takes, and "In short".

    Parameters
    ----------
    chapter : companion.build.chapters.Chapter
    notebooks : dict of str to dict
        Executed notebooks by chapter name.
    """
    said = _said(chapter.name, notebooks)
    lines = [f"*{minutes(chapter.notebook)} minutes to read.*"]
    if said:
        lines += ["", ":::{admonition} In short", ":class: in-short", *(f"- {text}" for text in said), ":::"]
    return "\n".join(lines)


def minutes(notebook):
    """Minutes that a chapter takes to read, proofs and folded code left closed."""
    words, code = 0, visible_lines(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            open_text = re.sub(r"^(:{3,})\{dropdown\}.*?^\1$", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            words += len(re.sub(r"\$\$.*?\$\$", "formula " * 8, open_text, flags=re.DOTALL).split())
    return max(1, round(words / WORDS_A_MINUTE + code / LINES_A_MINUTE))


def visible_lines(notebook):
    """Lines of code that a reader sees without unfolding anything; blank lines and comments do not count."""
    return sum(
        bool(line.strip()) and not line.strip().startswith("#")
        for cell in notebook.cells
        if cell.cell_type == "code" and not CODE_FOLDED & set(cell.metadata.get("tags", []))
        for line in cell.source.splitlines()
    )


def value(check):
    """A check's number inside a sentence of Markdown, with its interval, as a link to where it was made.

    Parameters
    ----------
    check : dict
        Of ``claims.json``.

    Examples
    --------
    >>> value({"measured": 0.333, "low": 0.2, "high": 0.41, "chapter": "noise", "anchor": "check-1"})
    '<a href="noise.html#check-1">0.33 [0.20, 0.41]</a>'
    """
    number = f"{check['measured']:.2f}"
    if check["low"] is not None:
        number += f" [{check['low']:.2f}, {check['high']:.2f}]"
    return f'<a href="{check["chapter"]}.html#{check["anchor"]}">{number.replace("-", MINUS)}</a>'


def measurement(check, title):
    """A check inside a sentence of Markdown: number, prediction, precision, and a link to where it was made.

    Parameters
    ----------
    check : dict
        Of ``claims.json``.
    title : str
        Of its chapter.

    Examples
    --------
    >>> found = {"kind": "exact", "measured": 2.0, "predicted": 2.0, "relation": "equal", "low": None}
    >>> measurement(found | {"verdict": "holds", "chapter": "noise", "anchor": "check-1"}, "Noise")
    '<strong>2</strong>, predicted 2; exactly equal: <a href="noise.html#check-1">holds, in “Noise”</a>'
    """
    precision = _precision(check)
    if check["low"] is not None:
        precision = f"95\u00a0% interval {precision}"
    elif check["kind"] != "empirical":
        precision = f"exactly {precision}" if check["kind"] == "exact" else f"difference {precision}"
    claimed = {"equal": "predicted", "above": "claimed above", "below": "claimed below"}[check["relation"]]
    if check["measured"] is not None:
        precision = f"<strong>{check['measured']:.4g}</strong>, {claimed} {check['predicted']:.4g}; {precision}"
    number = precision.replace("-", MINUS)  # a line may break at a hyphen
    return f'{number}: <a href="{check["chapter"]}.html#{check["anchor"]}">{check["verdict"]}, in “{plain(title)}”</a>'


def colophon(profile, notebooks):
    """What is put after the introduction of ``book/built.md``."""
    lines = [
        f"- profile: `{profile}`",
        f"- commit: `{commit()}`",
        f"- Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "",
        "| chapter | parameters |",
        "| --- | --- |",
    ]
    for name, notebook in notebooks.items():
        parameters = notebook["metadata"]["bnlib"]["parameters"].items()
        lines.append(f"| `{name}` | {', '.join(code(f'{key} = {value!r}') for key, value in parameters) or 'none'} |")
    return "\n".join(lines) + "\n"


def faults(rows):
    """Faults and what came of them, as a table whose messages are folded.

    Parameters
    ----------
    rows : list of dict
        Of ``book/faults.json``.

    Examples
    --------
    >>> row = {"fault": "a file cut", "tries": 7, "result": "refused: 7", "lost": 0, "message": "it is damaged"}
    >>> print(faults([row]).splitlines()[0])
    | fault | tries | what came of it | lost |
    """
    lines = ["| fault | tries | what came of it | lost |", "| --- | ---: | --- | ---: |"]
    for row in rows:
        lost = "—" if row["lost"] is None else row["lost"]
        lines.append(f"| {_cell(row['fault'])} | {row['tries']} | {_cell(row['result'])} | {lost} |")
    total = sum(row["tries"] for row in rows)
    lost = sum(row["lost"] or 0 for row in rows)
    lines += [f"\n{total:,} tries, {lost} with a loss.\n", ":::{dropdown} What it says"]
    lines += [f"- {_cell(row['fault'])}: {_cell(row['message'])}" for row in rows if row["message"]]
    return "\n".join([*lines, ":::\n"])


def _cell(text):
    return plain(text).replace("|", "\\|")


def commit():
    """The commit of this checkout, and whether something has changed since."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (" with uncommitted changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "not built from a git checkout"


def _evidence(claim, repository_url):
    """What a claim rests on: a theorem on its proof, beside tests; what is empirical on its runs alone."""
    tests = "; ".join(f"{_link(test, repository_url)} ({_kinds_of_tests(test)})" for test in claim["tests"])
    if claim["proof"]:
        return f"Proof: {_proof(claim)}. Tests: {tests}."
    computed = f" How numbers come from runs is tested on a table made by hand: {tests}." if tests else ""
    return f"Evidence: the runs in the rows below; no proof.{computed}"


def _proof(claim):
    return f"{{prf:ref}}`{claim['proof']}`" if claim["proof"] else "none, empirical"


def _row(check, titles):
    sign = {"equal": "", "above": "&gt; ", "below": "&lt; "}[check["relation"]]
    measured = predicted = "array"
    if check["measured"] is not None:
        measured, predicted = f"{check['measured']:.4g}", f"{sign}{check['predicted']:.4g}"
    where = f'<a href="{check["chapter"]}.html#{check["anchor"]}">{html.escape(titles[check["chapter"]])}</a>'
    found = (check["verdict"], measured, predicted, _precision(check))
    cells = (html.escape(check["statement"]), *found, check["role"], check["kind"], where)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _precision(check):
    if check["low"] is not None:
        return f"{check['low']:.4g} to {check['high']:.4g} ({check['repetitions']} seeds)"
    if check["kind"] == "empirical":
        seeds, why = check["repetitions"], check["interval_method"]
        return f"{why} ({seeds} seeds)" if why else "one seed, no interval"
    return "equal" if check["kind"] == "exact" else f"{check['difference']:.1e} (at most {check['tolerance']:.0e})"


def plain(text):
    """Words, not markup: a star or a dollar in them is one, and a bar ends no cell of a table."""
    return re.sub(r"([\\`*_$<>\[\]{}|])", r"\\\1", text)


def code(text):
    """Text as code in a cell of a table: more backticks around it than are in it.

    Examples
    --------
    >>> code("gamma = 0.7"), code("a|b`c")
    ('`gamma = 0.7`', '``a\\\\|b`c``')
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return "`" * (longest + 1) + room + text.replace("|", "\\|") + room + "`" * (longest + 1)


def _tests_of(path):
    """The names of the test functions of a file."""
    names = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


def _kinds_of_tests(path):
    """How many test functions of each kind a file has, by their names."""
    tests = _tests_of(path)
    counts = Counter(name.split("_")[1] for name in tests if name.split("_")[1] in TEST_KINDS)
    return ", ".join(f"{counts[kind]} {kind}" for kind in TEST_KINDS if counts[kind]) or f"{len(tests)} tests"


def _link(test, repository_url):
    return f"[`{test}`]({repository_url}/blob/main/{test})" if repository_url else f"`{test}`"
