"""What comes from data, parameters or chapters is text on every page, whatever it is: a data set titled <script>, too."""

from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest
from sphinx.application import Sphinx

from bnlib import data
from companion import figures, page, records
from companion.build import assemble, pages
from companion.build import figures as build_figures
from companion.build.chapters import Chapter
from companion.build.placeholders import Recorded
from companion.records import Source

# as an element, at the end of an attribute, of a span of code, of a table's cell; as a link that runs
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "`<script>alert(1)</script>`",
    "|</td><script>alert(1)</script>|",
    "[x](javascript:alert(1))",
    "</code></pre><iframe src=//x>",
)
TEXT = """\
# %% [markdown]
# # Noise

# %% tags=["parameters"]
title = "digits"

# %%
print(title)
"""
PAGES = ("claims", "built", "findings", "listed", "words", "noise")


class Found(HTMLParser):
    """Elements and attributes that run something, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.runs, self.text, self._inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        for name, value in attributes:
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                self.runs.append((tag, name, value))
        if tag in ("iframe", "object", "embed") or (tag == "img" and ("src", "x") in attributes):
            self.runs.append((tag, attributes))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside == "script" and "alert(1)" in text:
            self.runs.append(("script", text))
        self.text.append(text)


def runs(text):
    return Found(text).runs


@pytest.fixture
def shown(monkeypatch):
    """What a chapter shows, and its records, in the order in which it does."""
    kept = []
    monkeypatch.setattr(page, "emit", lambda markup, text, record=None: kept.append((markup, record)))
    return kept


def speak(hostile):
    """Everything that a chapter can show, with text from elsewhere wherever it takes one."""
    source = Source("mnist", 10, (0, 1), {"note": hostile, hostile: 1, "several": [hostile]}, title=hostile)
    checked = page.check("noise", hostile, [0.1, 0.2, 0.3], 0.0, "empirical", "above", source=source, role="headline")
    page.finding(f"{hostile.replace('{', '').replace('}', '')} {{measured:.2f}}", checked)
    page.table(pd.DataFrame({hostile: [hostile]}, index=[hostile]), hostile, source)
    page.offer(pd.DataFrame({hostile: [hostile]}), hostile, hostile)
    page.sentence(hostile)
    picture = figures.Picture()
    picture[0].line([0, 1, 2], [1.0, 0.5, 0.25], hostile)
    picture[0].set(xlabel=hostile, ylabel=hostile, title=hostile, legend=True)
    picture.show(hostile, source, "noise-path")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_chapter_shows_is_text(shown, hostile):
    speak(hostile)
    assert len(shown) == 6
    for markup, _ in shown:
        assert runs(markup) == []
        assert "alert(1)" in markup or "iframe" in markup  # it is there, as text


@pytest.fixture
def executed(shown, tmp_path):
    """A chapter, and its executed notebook in which everything hostile was said and given as a parameter."""
    for hostile in HOSTILE:
        speak(hostile)
    outputs = [
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"text/html": markup, "text/plain": "shown"}
            | ({records.MIME: records.as_json(record)} if record else {}),
        }
        for markup, record in shown
    ]
    said = {"output_type": "stream", "name": "stdout", "text": "\n".join(HOSTILE)}
    outputs.append(said)
    given = "# this run's profile sets\n" + "\n".join(f"title = {hostile!r}" for hostile in HOSTILE)
    cells = [
        nbformat.v4.new_code_cell('title = "digits"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(given, metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("print(title)", outputs=outputs),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    parameters = {f"title{number}": hostile for number, hostile in enumerate(HOSTILE)}
    notebook.metadata["bnlib"] = {"parameters": parameters | {"listed": list(HOSTILE)}}
    path = tmp_path / "noise.py"
    path.write_text(TEXT)
    return Chapter(path), notebook


def claim(notebook):
    """The claim that the notebook's checks belong to, its data set called as hostile as can be."""
    checks = [
        vars(record) | {"profile": "quick", "chapter": "noise", "dataset": HOSTILE[number], "anchor": f"check-{number}"}
        for number, (_, record, _) in enumerate(pages.recorded({"noise": notebook}, "check"))
    ]
    texts = {"title": "Noise", "statement": "Noise.", "paper": "noise", "chapter": "noise", "verdict": "undecided"}
    return texts | {"name": "noise", "proof": None, "tests": [], "figures": [], "checks": checks}


@pytest.fixture
def built(executed, tmp_path):
    """A site of Sphinx in which a made page and a chapter's page have all of it."""
    chapter, notebook = executed
    notebooks, claims = {"noise": notebook}, [claim(notebook)]
    source = tmp_path / "source"
    source.mkdir()
    numbers = dict.fromkeys(build_figures.numbers(notebooks), 1)
    known = Recorded(claims, {"noise": "Noise"}, notebooks, "quick")
    words = " ".join(f"{{{kind}}}`noise: {HOSTILE[0]}`" for kind in ("value", "verdict", "measured"))
    made = {
        "index.md": "# Book\n\n```{toctree}\nclaims\nbuilt\nfindings\nlisted\nwords\nnoise\n```\n",
        "claims.md": f"# Claims\n\n{pages.claims_page(claims, {'noise': 'Noise'}, numbers)}",
        "built.md": f"# Built\n\n{pages.colophon('quick', notebooks)}",
        "findings.md": f"# Findings\n\n{pages.findings([chapter], notebooks)}",
        "listed.md": f"# Figures\n\n{build_figures.listed(notebooks, {'noise': 'Noise'})}",
        "words.md": f"# Words\n\n{known.filled('words', words + ' {speaks}``')}",
        "noise.ipynb": assemble.page_of(chapter, notebook, numbers, "quick"),
    }
    for name, text in made.items():
        (source / name).write_text(text)
    extensions = ["myst_nb", "sphinx_design", "sphinx_proof"]
    settings = {"extensions": extensions, "nb_execution_mode": "off", "nb_merge_streams": True, "project": "Book"}
    settings["myst_enable_extensions"] = ["colon_fence", "dollarmath", "deflist"]
    html = tmp_path / "html"
    Sphinx(
        str(source), None, str(html), str(tmp_path / "doctrees"), "html", settings, status=None, warning=None
    ).build()
    return html


def test_every_page_of_the_site_says_it_and_runs_none_of_it(built):
    found = {name: Found((built / f"{name}.html").read_text()) for name in PAGES}
    assert {name: one.runs for name, one in found.items() if one.runs} == {}
    assert [name for name, one in found.items() if "alert(1)" not in "".join(one.text)] == []


@pytest.mark.parametrize(
    "markup",
    [
        "<p><script>alert(1)</script></p>",
        '<a title=""><img src=x onerror=alert(1)></a>',
        "<p onmouseover='alert(1)'>",
        '<a href="javascript:alert(1)">x</a>',
        "<iframe src=//x></iframe>",
    ],
)
def test_control_what_runs_is_noticed(markup):
    assert runs(markup)
    assert runs(markup.replace("<", "&lt;")) == []


def test_the_title_of_a_data_set_is_text(monkeypatch, shown):
    monkeypatch.setitem(data.TITLES, "mnist", HOSTILE[0])
    page.table(pd.DataFrame({"a": [1]}), "rows", Source("mnist"))
    [(markup, record)] = shown
    assert HOSTILE[0] in record.source and runs(markup) == []
