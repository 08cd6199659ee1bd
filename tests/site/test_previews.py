"""Previews: on hover and on focus, from files and without a request; Escape sends them away; none for fingers."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from companion import BOOK
from companion.build import previews

BOX = "#preview"
# fonts, the icon and the script of a moving figure come when what is scrolled into view needs them
FETCHED = ("document", "fetch", "image", "stylesheet", "xhr")
# kind, page, the link, words that its preview has
CASES = {
    "theorem of this page": ("noise", "article a[href='#thm-noise']:not(.headerlink)", "Let a BN unit be fed"),
    "theorem of another page": ("cross-entropy", "article a[href='rate.html#thm-rate']", "At every step"),
    "corollary of another page": ("cross-entropy", "article a[href='noise.html#cor-white-noise']", "Wiener"),
    "figure of another page": ("claims", "article a[href='noise.html#noise-ellipses']", "the ellipse shrinks"),
    "citation": ("cross-entropy", "article a[href^='bibliography.html#']", "Brillinger. A generalized linear model"),
    "term": ("rate", "article a[href='glossary.html#term-ellipsoid']", "whatever the raw weights"),
    "check of another page": ("index", "article a[href^='noise-sweep.html#check-']", "rises-with-noise"),
}


@pytest.fixture
def from_file(browser, site):
    """Open a page from its file: (page, what it asked for afterwards and said)."""
    contexts = []

    def opened(name, **keywords):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **keywords)
        contexts.append(context)
        page, noticed = context.new_page(), []
        page.goto((site / "book" / f"{name}.html").as_uri())
        page.on("request", lambda request: noticed.append(request.url) if request.resource_type in FETCHED else None)
        page.on("console", lambda message: noticed.append(message.text))
        page.on("pageerror", lambda error: noticed.append(str(error)))
        return page, noticed

    yield opened
    for context in contexts:
        context.close()


def seen(page, selector):
    """The first such link, where it can be seen: what is folded around it is opened."""
    link = page.locator(selector).first
    link.evaluate("one => { for (let at = one; (at = at.parentElement?.closest('details')); ) at.open = true; }")
    link.scroll_into_view_if_needed()
    return link


def focus(page, link):
    """As the keyboard does."""
    page.keyboard.press("Shift")
    link.evaluate("one => one.focus({ focusVisible: true })")


@pytest.mark.parametrize("kind", CASES)
def test_a_preview_comes_with_the_pointer_and_with_the_keyboard_and_asks_for_nothing(from_file, kind):
    name, selector, words = CASES[kind]
    page, noticed = from_file(name)
    link, box = seen(page, selector), page.locator(BOX)
    assert not box.is_visible()
    link.hover()
    box.wait_for(state="visible")
    assert words in box.inner_text()
    assert link.get_attribute("aria-describedby") == "preview"
    page.mouse.move(2, 2)
    box.wait_for(state="hidden")
    focus(page, link)
    assert box.is_visible() and words in box.inner_text()
    place, own = box.bounding_box(), link.bounding_box()
    assert 0 <= place["x"] and place["x"] + place["width"] <= 1280
    assert 0 <= place["y"] and place["y"] + place["height"] <= 900
    assert place["y"] >= own["y"] + 10 or place["y"] + place["height"] <= own["y"] + own["height"] - 10  # beside it
    link.evaluate("one => one.blur()")
    assert not box.is_visible() and not page.locator("[aria-describedby=preview]").count()
    assert noticed == []


def test_escape_sends_a_preview_away_and_it_stays_away_until_the_pointer_is_back(from_file):
    page, _ = from_file("cross-entropy")
    link, box = seen(page, CASES["theorem of another page"][1]), page.locator(BOX)
    link.hover()
    box.wait_for(state="visible")
    page.keyboard.press("Escape")
    assert not box.is_visible()
    link.hover(position={"x": 12, "y": 8})
    page.wait_for_timeout(400)
    assert not box.is_visible()
    page.mouse.move(2, 2)
    link.hover()
    box.wait_for(state="visible")
    page.keyboard.press("Escape")
    focus(page, link)
    assert box.is_visible()
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert link.evaluate("one => one === document.activeElement")  # the keyboard stays where it was


def test_the_pointer_can_go_to_a_preview_and_its_words_can_be_marked(from_file):
    page, _ = from_file("cross-entropy")
    link, box = seen(page, CASES["theorem of another page"][1]), page.locator(BOX)
    link.hover()
    box.wait_for(state="visible")
    place = box.bounding_box()
    page.mouse.move(place["x"] + 60, place["y"] + place["height"] / 2, steps=8)
    page.wait_for_timeout(600)
    assert box.is_visible()
    page.mouse.dblclick(place["x"] + 60, place["y"] + 16)
    assert page.evaluate("getSelection().toString()").strip()
    assert box.is_visible()
    page.mouse.move(2, 2)
    box.wait_for(state="hidden")


def test_a_preview_has_nothing_that_takes_the_keyboard_and_no_name_twice(from_file):
    for kind in ("theorem of this page", "figure of another page"):
        name, selector, _ = CASES[kind]
        page, _ = from_file(name)
        names = "[...document.querySelectorAll('[id]')].map(({ id }) => id).filter((id) => id !== 'preview').length"
        before = page.evaluate(names)
        focus(page, seen(page, selector))
        assert page.locator(BOX).is_visible()
        assert page.evaluate(names) == before
        assert page.locator(f"{BOX} :is(a[href], button, input, summary, [tabindex])").count() == 0


def test_an_equation_and_a_row_of_the_page_itself_have_previews(from_file):
    """No chapter refers to one by its number so far: here links are made."""
    page, _ = from_file("noise")
    page.evaluate(
        """() => {
          document.querySelector("article div.math").id = "equation-one";
          const row = document.querySelector("details.claim small[id]").id;
          document.querySelector("article p").innerHTML =
            `<a class="to-equation" href="#equation-one">(1)</a> <a class="to-row" href="noise.html#${row}">row</a>`;
        }"""
    )
    page.locator(".to-equation").hover()
    page.locator(f"{BOX} .katex").wait_for()
    page.mouse.move(2, 2)
    page.locator(BOX).wait_for(state="hidden")
    page.locator(".to-row").hover()
    page.locator(f"{BOX} .verdict").wait_for()
    assert page.locator(f"{BOX} small").is_visible()  # what the row has folded


def test_control_a_link_to_a_section_has_no_preview(from_file):
    page, _ = from_file("noise")
    page.evaluate(
        "document.querySelector('article p').innerHTML = '<a class=\"to-section\" href=\"#exercises\">there</a>'"
    )
    link = page.locator(".to-section")
    link.hover()
    page.wait_for_timeout(500)
    focus(page, link)
    assert not page.locator(BOX).is_visible()


def test_fingers_and_pages_without_scripts_have_links_that_work(from_file):
    for keywords in ({"has_touch": True, "is_mobile": True}, {"java_script_enabled": False}):
        page, _ = from_file("cross-entropy", **keywords)
        assert page.locator(BOX).count() == 0
        seen(page, CASES["theorem of another page"][1]).click()
        page.wait_for_url("**/rate.html#thm-rate")


def test_who_wants_no_motion_sees_none(from_file):
    moves = f"getComputedStyle(document.querySelector('{BOX}')).animationName"
    for wish, name in (("reduce", "none"), ("no-preference", "preview")):
        page, _ = from_file("cross-entropy", reduced_motion=wish)
        focus(page, seen(page, CASES["term"][1].replace("ellipsoid", "rate")))
        assert page.locator(BOX).is_visible()
        assert page.evaluate(moves) == name


def test_a_page_with_a_preview_is_accessible(from_file):
    page, _ = from_file("invariance", reduced_motion="reduce")
    for place, mode in (("", "light"), ("constraint.html", "dark")):
        page.evaluate("mode => Object.assign(document.documentElement.dataset, {mode, theme: mode})", mode)
        focus(page, seen(page, f"article a[href^='{place}#thm-']:not(.headerlink)"))
        assert page.locator(BOX).is_visible()
        page.wait_for_timeout(300)  # colours may fade
        assert [one["id"] for one in Axe().run(page, BOX).response["violations"]] == []
    page.locator(f"{BOX} p").first.evaluate("one => (one.style.color = '#555')")
    assert "color-contrast" in [one["id"] for one in Axe().run(page, BOX).response["violations"]]


def templates(page):
    return re.findall(r'<template data-of="([^"]+)">(.*?)</template>', page, flags=re.DOTALL)


def test_every_theorem_citation_and_term_of_another_page_has_one_template_and_few_bytes(site):
    kinds = r'href="((?:[\w-]+\.html#(?:thm|cor|term)-|bibliography\.html#)[^"]+)"'
    for path in sorted((site / "book").glob("*.html")):
        page = path.read_text()
        article = re.sub(
            r"<template.*?</template>", "", page[page.find("<article") : page.find("</article>")], flags=re.DOTALL
        )
        linked = {one for one in re.findall(kinds, article) if not one.startswith(path.name)}
        made = templates(page)
        assert linked <= {address for address, _ in made}, path.name
        assert len({address for address, _ in made}) == len(made)
        assert sum(len(words.encode()) for _, words in made) < 25_000, path.name
        for address, words in made:
            assert re.sub(r"<[^>]*>", "", words).strip(), address
            assert not re.search(r"<a\b|<span| id=|\$|<script|<svg", words), address
            assert f'href="{address}"' in article


def test_every_reference_of_the_bibliography_is_a_link(site):
    page = (site / "book" / "bibliography.html").read_text()
    entries = re.findall(r'<div class="citation".*?</div>', page, flags=re.DOTALL)
    assert len(entries) == (BOOK / "references.bib").read_text().count("\n  title = ")
    places = r'href="https?://(?:doi\.org/10\.|arxiv\.org/abs/\d|yann\.lecun\.com/exdb/mnist)'
    assert [entry for entry in entries if not re.search(places, entry)] == []


def test_control_a_place_that_is_not_there_has_no_preview():
    page = '<div class="proof theorem admonition" id="thm-a"><p>One</p><section><p>It is.</p></section></div>'
    pages = {"book/a.html": page}
    assert previews.preview(pages, "book/a.html", "thm-a") == ("theorem", "<p><strong>One</strong></p><p>It is.</p>")
    assert previews.preview(pages, "book/a.html", "thm-b") == ("", "")
    assert previews.preview(pages, "book/c.html", "thm-a") == ("", "")
    linked = '<article><a href="a.html#thm-a" title="One">1</a> <a href="a.html#thm-b">2</a></article>'
    found = previews.added({**pages, "book/b.html": linked})["book/b.html"]
    assert [address for address, _ in templates(found)] == ["a.html#thm-a"]
    assert "title" not in found  # a browser would show it beside the preview
