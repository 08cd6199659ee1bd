"""The site, built from the chapters in the smoke profile, as files and in a browser."""

import json
import re

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

from publish import ROOT
from publish.chapters import chapters

pytestmark = pytest.mark.xdist_group("site")

PAGES = [
    entry["file"] for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"] for entry in part["chapters"]
]
PAGES = ["book/index", *PAGES]
# what the theme and sphinxcontrib-bibtex do, on every page of every site made with them
THEME_RULES = {
    "label-content-name-mismatch",
    "region",
    "aria-required-children",
    "aria-deprecated-role",
    "aria-allowed-role",
}


def test_every_chapter_ran_to_its_end(smoke_book):
    for chapter in chapters():
        notebook = nbformat.read(smoke_book / "executed" / "smoke" / f"{chapter.name}.ipynb", 4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), chapter.name
        assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_a_second_build_executes_nothing_and_gives_the_same_files(smoke_book, publish_command):
    def files():
        site = smoke_book / "html"
        return {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}

    before = files()
    done = publish_command("book", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert "executed 0 of" in done.stdout
    assert {name for name, content in files().items() if before.get(name) != content} == set()
    assert set(before) == set(files())


def test_a_site_that_cannot_be_built_leaves_the_one_before(smoke_book, publish_command, tmp_path):
    before = (smoke_book / "html" / "book" / "index.html").read_bytes()
    notebook = smoke_book / "executed" / "smoke" / f"{chapters()[0].name}.ipynb"
    content = notebook.read_text()
    try:
        notebook.write_text(content.replace("# What batch normalization computes", "# Wrong $\\\\frac{1$", 1))
        done = publish_command("book", "--profile", "smoke")
    finally:
        notebook.write_text(content)
    assert done.returncode == 1
    assert "error" in done.stderr.lower()
    assert (smoke_book / "html" / "book" / "index.html").read_bytes() == before
    assert not list(smoke_book.glob("next-*"))


def test_source_and_executed_notebook_can_be_downloaded(smoke_book):
    for chapter in chapters():
        page = (smoke_book / "html" / "book" / f"{chapter.name}.html").read_text()
        for suffix in (".py", ".ipynb"):
            assert f'_sources/book/{chapter.name}{suffix}"' in page
            assert (smoke_book / "html" / "_sources" / "book" / f"{chapter.name}{suffix}").is_file()


def test_every_claim_has_its_row_its_anchor_and_no_failed_proof(smoke_book):
    claims = json.loads((smoke_book / "html" / "claims.json").read_text())
    listed = [claim["id"] for claim in yaml.safe_load((ROOT / "book" / "claims.yml").read_text())]
    assert [claim["id"] for claim in claims] == listed
    page = (smoke_book / "html" / "book" / "claims.html").read_text()
    anchors = []
    for check in (check for claim in claims for check in claim["checks"]):
        assert check["verdict"] != "fails"
        assert f'href="{check["chapter"]}.html#{check["anchor"]}"' in page
        assert f'id="{check["anchor"]}"' in (smoke_book / "html" / "book" / f"{check['chapter']}.html").read_text()
        anchors.append(check["anchor"])
    assert len(set(anchors)) == len(anchors), "two checks share a statement"


def test_every_figure_has_words_a_caption_and_a_source(smoke_book):
    for name in PAGES:
        page = (smoke_book / "html" / f"{name}.html").read_text()
        for figure in re.findall(r'<figure class="plot".*?</figure>', page, flags=re.DOTALL):
            assert re.search(r"<small>Source: \S", figure), name
            assert re.search(r"<figcaption>\S", figure), name
            if "<svg" in figure:
                assert re.search(r'<svg role="img" aria-label="[^"]{40,}"', figure), name
        article = page[page.index("<article") : page.index("</article>")]
        assert not re.search(r"<img(?![^>]*alt=\"[^\"]+\")", article), name


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nobody_else_has_no_errors_and_fits_a_phone(browser_page, name):
    page, others, errors = browser_page(name, width=390)
    assert others == []
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(browser_page, name, mode):
    page, others, errors = browser_page(name, mode)
    assert (others, errors) == ([], [])
    found = [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical") and violation["id"] not in THEME_RULES
    ]
    assert found == []
    page.context.close()


def test_search_finds_a_theorem(browser_page):
    page, _, errors = browser_page("search")
    page.goto(page.url + "?q=ellipsoid")
    page.wait_for_selector("#search-results li")
    assert "constrained" in page.inner_text("#search-results").lower()
    assert errors == []
    page.context.close()
