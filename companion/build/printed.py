"""The whole book on paper: its pages as one, which Chromium prints with its outline."""

import re
import tempfile
from pathlib import Path

import yaml

from companion import ROOT
from companion.build import assets, viewing

PATIENCE = 300_000  # milliseconds for a page of some 25 MB
FOOT = """<div style="font: 8px sans-serif; width: 100%; text-align: center; color: #555">
<span class="pageNumber"></span></div>"""
# what only one of forty pages may say, and what paper has no use for
STYLE = """<style>
@page { size: A4; margin: 18mm 17mm 20mm }
html { font-size: 12px }
body { background: #fff }
.whole { max-width: none; padding: 0 }
.whole > section { break-after: page }
.whole h1 { font-size: 2rem }
.whole h2 { font-size: 1.5rem }
.whole figure, .whole .math, .whole tr, .whole :is(h1, h2, h3, h4) { break-inside: avoid }
.whole :is(h1, h2, h3, h4) { break-after: avoid; margin-top: 0; padding-top: 1em }
.whole .sd-row > * { flex: 0 0 100%; width: 100% }
.whole .headerlink, .whole .copybtn { display: none }
</style>"""


def pages():
    """Names of the pages in the order of the book, the front page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])]


def joined(texts):
    """One page made of many: addresses inside the book lead to places on it.

    Parameters
    ----------
    texts : dict of str to str
        HTML of the pages in order, by name: ``book/noise``.

    Returns
    -------
    str
        Its addresses are relative to the folder ``book``.
    """
    names = {name.rpartition("/")[2]: f"p{number}" for number, name in enumerate(texts)}
    first = next(iter(texts.values()))
    head = first[: first.index("<body")].replace("</head>", f"{STYLE}</head>")
    head = head.replace(assets.POLICY.format(assets.policy()), "")  # it is no page of the site, and takes files of it
    articles = {names[name.rpartition("/")[2]]: text for name, text in texts.items()}
    listed = "".join(f'<li><a href="#{own}">{_title(text)}</a></li>' for own, text in articles.items())
    made = [_article(text, own, names) for own, text in articles.items()]
    made.insert(1, f"<section><h1>Contents</h1><ul>{listed}</ul></section>")
    return f'{head}<body><main class="whole bd-article">{"".join(made)}</main></body></html>'


def _title(text):
    """What the window of a page is called, its number in front."""
    return re.search(r"<title>(.*?)(?: &#8212; .*)?</title>", text, flags=re.DOTALL)[1]


def _article(text, own, names):
    """The text of a page, every id and every reference to one with the page's own prefix."""
    found = re.search(r"<article\b[^>]*>(.*?)</article>", text, flags=re.DOTALL)[1]
    found = re.sub(r"<script\b.*?</script>", "", found, flags=re.DOTALL)
    found = re.sub(r'(<[^>]*?\bid=)"?([^"\s>]+)"?', rf'\1"{own}-\2"', found)
    found = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", found)
    found = re.sub(r'(\b(?:for|aria-labelledby|aria-describedby|aria-controls)=)"([^"]+)"', rf'\1"{own}-\2"', found)

    def lead(match):
        page, anchor = match[2], match[3]
        if page and page not in names:
            return match[0]
        target = names[page] if page else own
        return f'{match[1]}"#{target}-{anchor}"' if anchor else f'{match[1]}"#{target}"'

    found = re.sub(r'(\bhref=)"(?:([\w-]+)\.html)?(?:#([^"]*))?"', lead, found)
    return f'<section id="{own}">{found}</section>'


def pdf(site, target):
    """Print the book of a built site.

    Parameters
    ----------
    site, target : Path

    Returns
    -------
    Path or None
        None where there is no Chromium, which is said.
    """
    if not viewing.CHROMIUM:
        print("no Chromium on this machine: the book was not printed", flush=True)
        return None
    whole = joined({name: (site / f"{name}.html").read_text() for name in pages()})
    whole = whole.replace('"../', f'"{site.absolute().as_uri()}/')  # styles, pictures
    with tempfile.TemporaryDirectory() as folder, viewing.browser() as browser:
        one = Path(folder) / "whole.html"
        one.write_text(whole)
        page = browser.new_page()
        page.goto(one.as_uri(), timeout=PATIENCE)
        page.emulate_media(media="print", color_scheme="light")
        page.pdf(path=target, outline=True, tagged=True, prefer_css_page_size=True, print_background=True,
                 display_header_footer=True, header_template="<span></span>", footer_template=FOOT)  # fmt: skip
    return target
