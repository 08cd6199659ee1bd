"""What stands below the figures of the built book: files that are there, and a command that finds its chapter."""

import csv
import re
from xml.etree import ElementTree

from companion.build.chapters import chapters
from companion.build.figures import FOLDER, chapter_of

COMMAND = re.compile(r"python -m companion figure ([\w-]+) --profile smoke")


def shown(site):
    """From chapter to its page and the anchors of the figures on it."""
    found = {}
    for chapter in chapters():
        page = (site / "book" / f"{chapter.name}.html").read_text()
        found[chapter.name] = page, re.findall(r'<figure class="plot" id="([^"]+)"', page)
    return found


def test_figures_are_numbered_in_reading_order_and_each_has_its_command(site):
    numbers = []
    for name, (page, anchors) in shown(site).items():
        assert COMMAND.findall(page) == anchors
        assert {chapter_of(anchor) for anchor in anchors} <= {name}
        numbers += map(int, re.findall(r'class="figure-number" href="[^"]+">Figure (\d+)\.', page))
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 60


def test_the_files_are_there_and_are_what_they_are_called(site):
    tables = 0
    for page, anchors in shown(site).values():
        for anchor in anchors:
            file = site / FOLDER / anchor
            assert ElementTree.parse(file.with_suffix(".svg")).getroot().tag.endswith("svg"), anchor
            assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG"), anchor
            assert file.with_suffix(".csv").is_file() == (f"{anchor}.csv" in page), anchor
            if file.with_suffix(".csv").is_file():
                head, *rows = csv.reader(file.with_suffix(".csv").read_text().splitlines())
                assert rows and all(len(row) == len(head) for row in rows), anchor
                tables += 1
    assert tables >= 50


def test_a_verdict_leads_to_its_claim(site):
    claims = (site / "book" / "claims.html").read_text()
    for name, (page, _) in shown(site).items():
        for claim in re.findall(r'href="claims\.html#claim-([\w-]+)"', page):
            assert f'id="claim-{claim}"' in claims, (name, claim)


def test_terms_lead_to_the_glossary(site):
    glossary = (site / "book" / "glossary.html").read_text()
    linked = 0
    for name, (page, _) in shown(site).items():
        for term in re.findall(r'href="glossary\.html#(term-[^"]+)"', page):
            assert f'id="{term}"' in glossary, (name, term)
            linked += 1
    assert linked >= 60
