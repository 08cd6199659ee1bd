"""The site for everyone: by keyboard, without scripts, on every screen, without motion, on paper."""

import pytest

# one with theorem, proofs, figures, a moving figure and rows; one with the map and the longest tables
CHAPTER, LIST = "noise", "claims"
# what the keyboard has to reach there, among all else
STOPS = {
    CHAPTER: (
        "#pst-skip-link a",
        "#pst-primary-sidebar nav a",
        "details.claim summary",
        "details.sd-dropdown summary",
        ".moving-slider input",
        ".prev-next-area a",
    ),
    LIST: (".map a[href='noise.html#thm-noise']", ".map a[href='#claim-regret']", "table.table a"),
}
TABBABLE = """() => [...document.querySelectorAll("a[href], button, input, select, summary, textarea, [tabindex]")].filter(
  (one) => one.tabIndex >= 0 && !one.disabled
    && one.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }),
)"""
# of the element that has the keyboard: whether it is marked, and whether it can be seen
MARKED = """() => {
  const one = document.activeElement, style = getComputedStyle(one), line = one.getClientRects()[0];
  const [x, y] = [line.left + line.width / 2, line.top + Math.min(line.height / 2, 12)];
  const at = document.elementFromPoint(x, y);
  const drawn = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 1;
  return [drawn || style.boxShadow !== "none", Boolean(at) && (one.contains(at) || at.contains(one))];
}"""

# of an element's words against all grounds below them, as a browser lays one colour over the other
CONTRAST = """(one) => {
  const canvas = document.createElement("canvas").getContext("2d"), grounds = [];
  for (let at = one; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
  const luminance = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255).map(
      (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4),
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const ground = grounds.map(luminance).at(-1), words = luminance(getComputedStyle(one).color);
  return Math.max(ground, words) / Math.min(ground, words);
}"""


@pytest.fixture
def opened(browser, site):
    """A page as its file, and nothing stored."""
    contexts = []

    def opened(name, width=1280, **keywords):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **keywords))
        page = contexts[-1].new_page()
        page.goto((site / "book" / f"{name}.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def walk(page, limit):
    """Press Tab until the page is left: what was reached, and what was reached without being marked or seen."""
    reached, faults = [], []
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            return reached, faults
        reached.append(page.evaluate("document.activeElement.dataset.stop"))
        if page.evaluate(MARKED) != [True, True]:
            page.wait_for_timeout(400)  # colours fade in, the link to the content slides in
            if page.evaluate(MARKED) != [True, True]:
                faults.append(page.evaluate("document.activeElement.outerHTML.slice(0, 120)"))
    raise AssertionError(f"after {limit} times Tab the keyboard is still in the page: {reached[-5:]}")


def number_stops(page):
    """Give every element that should be reached a number, in the order of the page; how many there are."""
    return page.evaluate(f"() => ({TABBABLE})().map((one, number) => (one.dataset.stop = number)).length")


@pytest.mark.parametrize("name", [CHAPTER, LIST])
def test_the_keyboard_reaches_everything_in_order_sees_where_it_is_and_leaves(opened, name):
    page = opened(name)
    if name == CHAPTER:
        page.locator(".moving[data-figure]").first.scroll_into_view_if_needed()
        page.wait_for_selector(".moving-on")
        page.evaluate("scrollTo(0, 0)")
    count = number_stops(page)
    reached, faults = walk(page, count + 20)
    assert faults == []
    assert reached == [str(number) for number in range(count)]
    for selector in STOPS[name]:
        assert page.locator(f":is({selector})[data-stop]").count(), selector


def test_control_a_missing_mark_an_unreached_button_and_a_trap_are_noticed(opened):
    page = opened("glossary")
    count = number_stops(page)
    page.evaluate(
        """() => {
          const [first, second] = document.querySelectorAll("article a[data-stop]");
          first.style.cssText = "outline: none !important; box-shadow: none !important";
          second.tabIndex = -1;
        }"""
    )
    reached, faults = walk(page, count + 20)
    assert len(faults) == 1 and faults[0].startswith("<a")
    assert len(reached) == count - 1
    page.evaluate(
        "document.querySelector('article a[data-stop]').addEventListener('keydown', (event) => event.preventDefault())"
    )
    with pytest.raises(AssertionError, match="still in the page"):
        walk(page, count + 20)


def test_the_keyboard_opens_proofs_rows_downloads_and_the_way_to_the_content(opened):
    page = opened(CHAPTER)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
    for selector in ("details.sd-dropdown", "details.claim"):
        summary = page.locator(f"{selector} > summary").first
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator(selector).first.evaluate("one => one.open")
    page.locator(".dropdown-download-buttons > summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.href").endswith("_sources/book/noise.ipynb")


def test_without_scripts_text_formulas_figures_proofs_navigation_and_downloads_are_there(opened):
    for width in (1280, 390):
        page = opened(CHAPTER, width, java_script_enabled=False)
        shown = {
            "formulas": ".katex-html", "figures": "figure.plot svg:visible", "what a moving figure shows": ".moving-still",
            "navigation": "#pst-primary-sidebar nav a[href='split.html']", "neighbours": ".prev-next-area a",
            "notebook": "a[href$='_sources/book/noise.ipynb']", "source": "a[href$='_sources/book/noise.py']",
            "files of a figure": "a[href$='noise-rate.svg']",
        }  # fmt: skip
        page.locator(".dropdown-download-buttons > summary").click()
        for what, selector in shown.items():
            assert page.locator(selector).first.is_visible(), (what, width)
        for idle in (".sidebar-toggle", "[data-does]", ".search-button", ".theme-switch-button"):
            assert not page.locator(f"{idle}:visible").count(), idle
        proof = page.locator("details.sd-dropdown").first
        assert not proof.locator("p").first.is_visible()
        proof.locator("summary").click()
        assert proof.locator("p").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#pst-primary-sidebar nav a[href='split.html']").click()
        page.wait_for_url("**/split.html")


@pytest.mark.parametrize("name", [CHAPTER, LIST, "noise-sweep", "api"])
def test_no_screen_has_to_be_moved_sideways(opened, name):
    page = opened(name)
    for width in (320, 390, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width, folded", [(320, True), (390, True), (768, False), (1280, False)])
def test_the_map_fits_and_is_folded_where_it_is_too_tall(opened, width, folded):
    page = opened(LIST, width)
    drawing, summary = page.locator("svg.map"), page.locator(".map-fold > summary")
    assert (summary.is_visible(), drawing.is_visible()) == (folded, not folded)
    if folded:
        summary.click()
    edge = drawing.bounding_box()
    bottom, right = edge["y"] + edge["height"], edge["x"] + edge["width"]
    parts = "all => all.map((one) => one.getBoundingClientRect()).map(({ right, bottom }) => [right + scrollX, bottom + scrollY])"
    for x, y in drawing.locator("a").evaluate_all(parts):
        assert x <= right + 1 and y <= bottom
    drawing.locator("a[href='noise.html#thm-noise']").click()
    page.wait_for_url("**/noise.html#thm-noise")


def test_who_wants_no_motion_sees_none(opened):
    moving = "document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 0).length"
    page = opened(CHAPTER, reduced_motion="reduce")
    page.keyboard.press("Tab")
    page.locator("#pst-primary-sidebar nav a").nth(3).hover()
    page.locator("details.claim summary").first.click()
    page.locator("article a[href^='glossary.html']").first.focus()
    assert page.evaluate(moving) == 0
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.evaluate("document.querySelector('article p').animate([{ opacity: 0 }, { opacity: 1 }], 1000)")
    assert page.evaluate(moving) == 1  # a motion would have been seen


def test_a_link_under_the_pointer_keeps_its_contrast(opened):
    for mode in ("light", "dark"):
        page = opened(CHAPTER, color_scheme=mode)
        for selector in ("article > section > p a", ".proof.admonition p a"):
            link = page.locator(selector).first
            link.hover()
            page.wait_for_timeout(300)  # colours fade
            assert link.evaluate(CONTRAST) >= 4.5, (mode, selector)
    link.evaluate("one => (one.style.color = '#555')")
    assert link.evaluate(CONTRAST) < 4.5


def test_on_paper_all_is_open_but_code_and_nothing_is_there_that_paper_cannot_do(opened):
    page = opened(CHAPTER)
    page.emulate_media(media="print")
    for selector in ("details.sd-dropdown p", "details.claim small"):
        assert page.locator(selector).first.is_visible(), selector
    for selector in ("details.hide", ".figure-files", "#pst-primary-sidebar", ".bd-header-article", "#preview"):
        assert not page.locator(selector).first.is_visible(), selector
    page = opened(LIST, 390)
    page.emulate_media(media="print")
    assert page.locator("svg.map").is_visible() and page.locator("table.claims td").first.is_visible()
