"""Where the book built for the tests lives, the browser that looks at it, and what the theorems' tests looked at."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import counting
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not counting.kind_of(item):
        return (yield)
    return (yield from counting.counted(item))


def pytest_terminal_summary(terminalreporter):
    lines = list(counting.summary(terminalreporter.getreports("passed")))
    if lines:
        terminalreporter.section("what the theorems were checked on")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def publish_command(tmp_path_factory):
    """Run ``python -m publish …`` with a build folder of the tests' own."""
    build = tmp_path_factory.mktemp("build")

    def run(*arguments, **environment):
        environment = os.environ | {"BNLIB_BUILD": str(build), "OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            [sys.executable, "-m", "publish", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    run.build = build
    return run


@pytest.fixture(scope="session")
def smoke_book(publish_command):
    """The whole book in the smoke profile: every chapter executed, the site built."""
    done = publish_command("book", "--profile", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return publish_command.build


@pytest.fixture(scope="session")
def browser_page(smoke_book):
    """Open a page of the site, served on this machine: (page, what it asked others for, its errors)."""
    if not CHROMIUM:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine; .ci/run installs it")
        pytest.skip("no Chromium on this machine: the site was not looked at in a browser")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=smoke_book / "html"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*flags, "--disable-component-update", "--disable-sync"]
        )

        def visit(name, mode="light", width=1280, javascript=True):
            context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript)
            context.add_init_script(f"localStorage.mode = localStorage.theme = '{mode}'")
            page, others, errors = context.new_page(), [], []
            page.on(
                "request",
                lambda request: others.append(request.url) if not request.url.startswith((address, "data:")) else None,
            )
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{address}/{name}.html", wait_until="networkidle")
            return page, others, errors

        yield visit
        browser.close()
    server.shutdown()
    server.server_close()
