"""What a page of the built site weighs and says at a first visit: ``python -m benchmarks.site [folder] [page ...]``."""

import collections
import contextlib
import functools
import http.server
import sys
import threading
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from companion.build.site import SITE

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SHIFT = """new PerformanceObserver(list => list.getEntries().forEach(entry => {
  if (!entry.hadRecentInput) window.shift = (window.shift || 0) + entry.value;
})).observe({type: "layout-shift", buffered: true})"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
FAST_4G = {"offline": False, "latency": 60, "downloadThroughput": 9e6 / 8, "uploadThroughput": 1.5e6 / 8}


@contextlib.contextmanager
def served(folder):
    """The address at which `folder` is served, with nothing compressed."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


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
        Bytes by kind (uncompressed), requests, console messages, layout shift, milliseconds to the first paint with
        content on a 4G line (9 Mbit/s, 60 ms), and axe's violations in light and dark.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(SHIFT)
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", FAST_4G)
    kinds, said, asked = collections.Counter(), [], []
    page.on("response", lambda response: asked.append(response))
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    for response in asked:
        kinds[response.request.resource_type] += len(response.body()) if response.ok else 0
    found = {"bytes": sum(kinds.values()), **kinds, "requests": len(asked), "console": len(said), "said": said}
    found |= {"shift": page.evaluate("window.shift ?? 0"), "paint": page.evaluate(PAINT)}
    found["cookies"] = len(context.cookies())
    for mode in ("light", "dark"):
        page.evaluate("mode => Object.assign(document.documentElement.dataset, {mode, theme: mode})", mode)
        page.wait_for_timeout(300)  # colours may fade
        violations = Axe().run(page).response["violations"]
        found[mode] = {one["id"]: len(one["nodes"]) for one in violations}
    context.close()
    return found


def main(arguments):
    folder = Path(arguments[0]) if arguments else SITE
    names = arguments[1:] or sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    kinds = ("document", "stylesheet", "script", "font", "image")
    print("| page | kB | " + " | ".join(kinds) + " | requests | console | shift | first paint, ms | axe light | dark |")
    print("| --- |" + " ---: |" * (len(kinds) + 7))
    with served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name in names:
            one = measured(browser, address, name)
            cells = [one["bytes"], *(one.get(kind, 0) for kind in kinds)]
            row = [f"{size / 1000:.0f}" for size in cells] + [f"{one['requests']}", f"{one['console']}"]
            row += [f"{one['shift']:.3f}", f"{one['paint']:.0f}"]
            row += [
                ", ".join(f"{rule} {count}" for rule, count in one[mode].items()) or "0" for mode in ("light", "dark")
            ]
            print(f"| {name} | " + " | ".join(row) + " |", flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
