"""How little a page asks for, that it does not jump, that it keeps its content security policy, and that the checksums are those of the files."""

import re
import subprocess

import pytest
import yaml

from companion import ROOT
from companion.build import assets, checksums, markup

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"]), "search", "404"]
LIMIT, WITH_MOVING_FIGURE = 600_000, 1_500_000  # bytes, nothing compressed
REQUESTS = 10
SHIFT = """new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (!entry.hadRecentInput) window.shift = (window.shift || 0) + entry.value;
})).observe({type: "layout-shift", buffered: true})"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_and_asks_for_little(browser, address, name):
    context = browser.new_context()
    page, asked = context.new_page(), []
    page.on("response", lambda response: asked.append(response))
    page.add_init_script(SHIFT)
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert page.evaluate("window.shift ?? 0") <= 0.01
    moving = page.locator(".moving[data-figure]")
    if moving.count():
        moving.first.scroll_into_view_if_needed()
        page.wait_for_selector(".moving-board svg")
    assert len(asked) <= REQUESTS
    limit = WITH_MOVING_FIGURE if moving.count() else LIMIT
    assert sum(len(one.body()) for one in asked if one.ok) <= limit
    assert len([one for one in asked if one.request.resource_type == "stylesheet"]) == 1
    assert context.cookies() == []
    context.close()


def test_icons_are_drawings_and_no_handler_is_inside_a_page(site):
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r'<(i|span) class="[^"]*\bfa[srb]?[ -]|\bonclick=|fontawesome', text), path


def test_a_page_works_under_its_content_security_policy(browser, site, address, tmp_path):
    said = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', (site / "book/index.html").read_text())
    assert said[1] == assets.policy() and "unsafe" not in said[1].split("script-src")[1].split(";")[0]
    page, messages = browser.new_context().new_page(), []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(f"{address}/book/index.html", wait_until="networkidle")
    page.locator(".moving[data-figure]").first.scroll_into_view_if_needed()
    page.wait_for_selector(".moving-board svg")
    assert messages == []
    assert page.evaluate("document.documentElement.dataset.theme") in ("light", "dark")
    page.context.close()


def test_control_a_script_that_the_policy_does_not_know_is_stopped(browser, site, tmp_path):
    text = (site / "404.html").read_text()
    (tmp_path / "odd.html").write_text(text.replace("</body>", "<script>document.title = 'odd'</script></body>"))
    page, messages = browser.new_context().new_page(), []
    page.on("console", lambda message: messages.append(message.text))
    page.goto((tmp_path / "odd.html").as_uri())
    assert page.title() != "odd"
    assert any("Content Security Policy" in one for one in messages)
    page.context.close()


def test_every_page_has_the_policy(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert [path for path in pages if path.read_text().count(assets.POLICY.format(assets.policy())) != 1] == []


def test_no_page_is_there_that_nobody_asked_for(site):
    found = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {name for name in found if not name.startswith("book/")} == {"index.html", "search.html", "404.html"}


def test_the_checksums_are_those_of_the_files(site):
    done = subprocess.run(["sha256sum", "--check", "--quiet", checksums.FILE], cwd=site, check=False)
    assert done.returncode == 0
    assert checksums.differing(site, site) == []


def test_mathematics_and_code_are_said_in_few_bytes(site):
    page = (site / "book" / "noise.html").read_text()
    spans = re.findall(r"<span [^>]*>", page)
    assert len(spans) > 1000
    assert not [one for one in spans if re.fullmatch(r'<span class="[\w-]+">', one)]
    assert "<annotation" not in page and "<span class=n>" not in page
    for svg in re.findall(r'<svg role="img".*?</svg>', page, flags=re.DOTALL):
        assert not re.search(r"\d\.\d{3}|<g>|<!--|font-family", re.sub(r'aria-label="[^"]*"', "", svg))
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert set(re.findall(r' id="([^"]*)"', svg)) == used


def test_control_a_rule_for_nothing_and_an_unknown_handler_are_noticed():
    assert assets.purged(".gone { top: 0 }", {"there"}) == ""
    with pytest.raises(Exception, match="handler"):
        markup.mended('<button onclick="alert()">', "")


def test_no_icon_is_a_letter_of_a_font_that_is_not_there(browser, address):
    page = browser.new_context().new_page()
    page.goto(f"{address}/book/noise.html")
    shown = "one => getComputedStyle(one, '::after').content"
    assert page.locator(".admonition > .admonition-title").first.evaluate(shown) in ("none", "normal")
    page.context.close()


def test_a_printed_chapter_has_its_proofs_open_and_no_folded_code(browser, address):
    page = browser.new_context().new_page()
    page.goto(f"{address}/book/noise.html")
    proof, code = page.locator("details.sd-dropdown p").first, page.locator("details.hide").first
    assert not proof.is_visible() and code.is_visible()
    page.emulate_media(media="print")
    assert proof.is_visible() and proof.bounding_box()["height"] > 10
    assert not code.is_visible()
    page.context.close()


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("ResNet", "Measure your network"),
        ("install", "Measure your network"),
        ("weight decay", "Which weight decay?"),
        ("AdamW", "Which weight decay?"),
        ("Wiener", "Noisy inputs: signal against noise"),
    ],
)
def test_a_search_finds_first_the_page_that_answers(browser, address, words, first):
    page = browser.new_context().new_page()
    page.goto(f"{address}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results li")
    page.locator("#search-results", has_text=re.compile("finished|found")).wait_for()
    assert page.locator("#search-results li a").first.text_content().endswith(first)
    page.context.close()
