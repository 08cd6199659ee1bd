"""The map of the claims: every part is a link that says where it leads, and nothing covers anything, wide or narrow."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from companion import ROOT
from companion.build.claims import VERDICTS, listed
from companion.build.map import PHONE, PROVEN, drawing

STYLE = (ROOT / "companion" / "static" / "book.css").read_text()
DESK = int(re.search(r"@container \(width >= (\d+)px\)", STYLE)[1])  # pixels: from there on it is laid out for a desk


def claim(name="noise", proof=True, verdict=PROVEN, figures=2, tests=1, chapter=None):
    chapter = chapter or name
    return {
        "name": name,
        "title": f"What {name} <does>",
        "chapter": chapter,
        "proof": f"thm-{name}" if proof else None,
        "verdict": verdict,
        "tests": [f"tests/test_{chapter}_{number}.py" for number in range(tests)],
        "figures": [f"{chapter}.html#{chapter}-{number}" for number in range(figures)],
    }


def drawn(claims, repository_url=""):
    anchors = list(dict.fromkeys(figure.split("#")[1] for one in claims for figure in one["figures"]))
    counts = {test: 10 + number for number, test in enumerate(test for one in claims for test in one["tests"])}
    text = drawing(claims, {anchor: number for number, anchor in enumerate(anchors, start=70)}, counts, repository_url)
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", text, flags=re.DOTALL)[0])


def frames(svg, narrow):
    """Left, top, width, height of every part with words that a layout shows."""
    for part in svg.findall("g"):
        kind = part.get("class")
        if "map-desk" in kind or ("map-phone" in kind and not narrow):
            continue
        place = part.get("style") if narrow else part.get("transform")
        x, y = map(float, re.findall(r"-?[\d.]+", place.partition("(")[2]))
        rect = part.find(".//rect")
        yield x, y, float(rect.get("width")) if rect is not None else 30, 24


def hold(first, second):
    """Whether one covers a part of the other."""
    return all(first[i] < second[i] + second[i + 2] and second[i] < first[i] + first[i + 2] for i in (0, 1))


# every claim of the book, each with more to say than in any build so far
FULL = [
    claim(
        one.name,
        one.proven,
        f"{PROVEN}; on data: 12 borne out, 11 undecided" if one.proven else "1 undecided, 1 not borne out",
        figures=6,
        tests=len(one.tests),
        chapter=one.chapter,
    )
    for one in listed()
]


@pytest.mark.parametrize("narrow, width", [(False, DESK), (True, PHONE)])
def test_no_part_covers_another_or_leaves_its_layout(narrow, width):
    found = list(frames(drawn(FULL), narrow))
    assert len(found) > 5 * len(listed())
    assert not [pair for pair in combinations(found, 2) if hold(*pair)]
    assert max(x + wide for x, _, wide, _ in found) <= width
    svg = drawn(FULL)
    height = float(svg.get("style").split(":")[1].removesuffix("px") if narrow else svg.get("height"))
    assert height - 40 <= max(y + high for _, y, _, high in found) <= height


def test_control_two_parts_in_one_place_are_noticed():
    assert hold((0, 0, 24, 24), (20, 10, 24, 24))
    assert not hold((0, 0, 24, 24), (24, 0, 24, 24))


@pytest.mark.parametrize("repository_url", ["", "https://example.org/book"])
def test_every_part_is_a_link_that_says_where_it_leads(repository_url):
    svg = drawn([claim(tests=2, figures=3, verdict=f"{PROVEN}; on data: 3 borne out, 4 undecided")], repository_url)
    links = {one.get("href"): one.get("aria-label") for one in svg.iter("a")}
    figures = {f"noise.html#noise-{number}": f"figure {70 + number}" for number in range(3)}
    tests = {
        f"tests/test_noise_{number}.py": f"{10 + number} tests in tests/test_noise_{number}.py" for number in (0, 1)
    }
    assert figures.items() <= links.items()
    assert links["noise.html#thm-noise"] == "proof of noise"
    assert "#claim-noise" in links
    for test, name in tests.items():
        assert links.get(f"{repository_url}/blob/main/{test}") == (name if repository_url else None)
    assert set(tests.values()) <= {one.get("aria-label") for one in svg.iter() if one.get("aria-label")}
    for one in svg.iter("a"):
        words = one.find("text").text
        assert words.lstrip("✓○✗ ") in one.get("aria-label")  # who says what they see finds it


def test_what_is_empirical_leads_to_its_runs_and_claims_of_a_chapter_share_what_they_rest_on():
    pair = [claim(name, False, "undecided", chapter="sweep") for name in ("slope", "regret")]
    addresses = [one.get("href") for one in drawn(pair).iter("a")]
    assert addresses.count("sweep.html") == addresses.count("sweep.html#sweep-0") == 1
    assert addresses.count("#claim-slope") == addresses.count("#claim-regret") == 2
    apart = [claim("slope", False, "undecided"), claim("regret", False, "undecided")]
    assert len(list(drawn(apart).iter("a"))) == len(addresses) + 3


@pytest.mark.parametrize("verdict, sign", list(zip(VERDICTS, "✓○✗")))
def test_a_verdict_has_a_colour_and_a_sign(verdict, sign):
    svg = drawn([claim(proof=False, verdict=verdict)])
    [chip] = [part for part in svg.findall("g") if part.findtext(".//text") == f"{sign} {verdict}"]
    kinds = {drawn([claim(proof=False, verdict=one)]).findall("g")[2].get("class") for one in VERDICTS}
    assert chip.get("class") in kinds and len(kinds) == 3


def test_control_a_figure_without_a_number_stops_the_build():
    with pytest.raises(KeyError, match="noise-0"):
        drawing([claim()], {}, {"tests/test_noise_0.py": 3})
