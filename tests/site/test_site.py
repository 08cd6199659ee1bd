"""The site, built from the chapters in the smoke profile: its files, and every page in a browser."""

import csv
import html
import json
import re

import jsonschema
import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

from companion import BOOK, ROOT, records
from companion.build.chapters import chapters
from companion.build.claims import listed

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]


def page_of(site, name):
    return (site / f"{name}.html").read_text()


def test_every_chapter_ran_to_its_end(smoke_book):
    for chapter in chapters():
        notebook = nbformat.read(smoke_book / "executed" / "smoke" / f"{chapter.name}.ipynb", 4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), chapter.name
        assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_source_and_executed_notebook_can_be_downloaded(site):
    for chapter in chapters():
        page = page_of(site, f"book/{chapter.name}")
        for suffix in (".py", ".ipynb"):
            assert f'_sources/book/{chapter.name}{suffix}"' in page
        assert (site / "_sources" / "book" / f"{chapter.name}.py").read_text() == chapter.path.read_text()
        notebook = nbformat.read(site / "_sources" / "book" / f"{chapter.name}.ipynb", 4)
        assert "clone of the repository" in notebook.cells[0].source
        assert records.MIME not in nbformat.writes(notebook)


def test_every_claim_has_its_rows_and_its_anchors_and_no_failed_proof(site):
    claims = json.loads((site / "claims.json").read_text())
    jsonschema.validate(claims, json.loads((site / records.SCHEMA_FILE).read_text()))
    assert [claim["name"] for claim in claims] == [claim.name for claim in listed()]
    page, anchors = page_of(site, "book/claims"), []
    for claim in claims:
        assert not claim["proof"] or claim["verdict"].startswith("proven, checked"), claim["name"]
        for check in claim["checks"]:
            assert check["verdict"] != "fails"
            assert f'href="{check["chapter"]}.html#{check["anchor"]}"' in page
            assert f'id="{check["anchor"]}"' in page_of(site, f"book/{check['chapter']}")
            known = check["train_size"] or check["conditions"].get("train_sizes")
            assert known or check["dataset"] is None, check["statement"]
            if check["kind"] == "empirical":
                assert check["seeds"], check["statement"]
            anchors.append(check["anchor"])
        for figure in claim["figures"]:
            name, anchor = figure.split(".html#")
            assert f'id="{anchor}"' in page_of(site, f"book/{name}")
    assert len(set(anchors)) == len(anchors), "two checks share a statement"


def test_every_figure_has_words_a_caption_a_source_and_an_anchor_of_its_own(site):
    anchors = []
    for name in PAGES:
        page = page_of(site, name)
        for figure in re.findall(r'<figure class="plot".*?</figure>', page, flags=re.DOTALL):
            assert re.search(r"<small>Source: \S", figure), name
            assert re.search(r"<figcaption>\S", figure), name
            if "<svg" in figure:
                assert re.search(r'<svg role="img" aria-label="[^"]{40,}"', figure), name
                if name != TOC["root"]:  # which shows a chapter's figure once more
                    anchors.append(re.match(r'<figure class="plot" id="([^"]+)"', figure)[1])
        article = page[page.index("<article") : page.index("</article>")]
        assert not re.search(r"<img(?![^>]*alt=\"[^\"]+\")", article), name
    assert len(set(anchors)) == len(anchors)


def test_every_file_that_a_page_offers_is_there_and_is_a_table(site):
    offered = {name: re.findall(r'href="\.\./results/([^"]+)"', page_of(site, name)) for name in PAGES}
    files = [html.unescape(file) for found in offered.values() for file in found]
    assert files
    files = [file for file in files if not file.startswith("figures/")]  # tests/site/test_offered_figures.py
    assert sorted(files) == sorted(path.name for path in (site / "results").iterdir() if path.is_file())
    for file in files:
        with (site / "results" / file).open() as rows:
            head, *body = csv.reader(rows)
        assert body and all(len(row) == len(head) for row in body), file


def test_what_was_found_stands_at_the_head_of_its_chapter_and_records_stay_out(smoke_book, site):
    for chapter in chapters():
        page = page_of(site, f"book/{chapter.name}")
        assert records.MIME not in page
        assert re.search(r"<em>\d+ minutes? to read\.</em>", page), chapter.name
        notebook = json.loads((smoke_book / "executed" / "smoke" / f"{chapter.name}.ipynb").read_text())
        outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        found = [output["data"][records.MIME] for output in outputs if records.MIME in output.get("data", {})]
        if any(record["type"] == "finding" for record in found):
            assert "in-short" in page, chapter.name


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_fits_a_phone_and_is_accessible_in_light_and_dark(browser_page, name):
    """One visit: as wide as a phone first, then as a desk, then at night."""
    page, others, errors = browser_page(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (others, errors) == ([], [])
    page.set_viewport_size({"width": 320, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 1280, "height": 900})
    for mode in ("light", "dark"):
        page.evaluate("mode => Object.assign(document.documentElement.dataset, {mode, theme: mode})", mode)
        page.wait_for_timeout(300)  # colours may fade
        found = [
            (violation["id"], violation["nodes"][0]["html"][:200])
            for violation in Axe().run(page).response["violations"]
        ]
        assert found == [], mode


def test_control_a_page_that_is_neither_is_noticed(browser_page):
    page, others, errors = browser_page(PAGES[0], width=390)
    page.evaluate(
        """() => {
          document.querySelector("article").innerHTML +=
            '<p style="color: #bbb; background: #ccc">faint</p><p style="width: 500px">wide</p>';
          console.error("wrong");
        }"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") > 390
    assert "color-contrast" in [violation["id"] for violation in Axe().run(page).response["violations"]]
    assert others == []
    assert [error for error in errors if error.startswith("wrong ")]


def test_search_finds_a_theorem(browser_page):
    page, _, errors = browser_page("search")
    page.goto(page.url + "?q=ellipsoid")
    page.wait_for_selector("#search-results li")
    assert "constrained" in page.inner_text("#search-results").lower()
    assert errors == []


def test_search_works_from_files_and_says_nothing(site, browser):
    page, said = browser.new_context().new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / "search.html").as_uri() + "?q=ellipsoid")
    page.wait_for_selector("#search-results li")
    page.wait_for_timeout(500)
    assert "constrained" in page.inner_text("#search-results").lower()
    assert said == []
    page.context.close()


def test_the_book_has_a_page_for_every_file_of_its_own(site):
    written = {path.stem for path in BOOK.iterdir() if path.suffix in (".py", ".md")}
    assert {path.stem for path in (site / "book").glob("*.html")} == written


def test_equations_have_numbers_and_anchors(site):
    page = (site / "book" / "noise.html").read_text()
    numbers = re.findall(r'<span class=eqno>\((6\.\d+)\)<a class="headerlink" href="#(equation-noise-\d+)"', page)
    assert len(numbers) > 5 and [number for number, _ in numbers] == [f"6.{n}" for n in range(1, len(numbers) + 1)]
    assert all(f'id="{anchor}"' in page for _, anchor in numbers)
