"""The book built for the tests, a server for its pages, and one browser a worker that looks at them."""

import os

import commands
import pytest

from companion.build import viewing


@pytest.fixture(scope="session")
def smoke_book():
    """The build folder of the whole book in the smoke profile: every chapter executed, the site built."""
    return commands.smoke_book()


@pytest.fixture(scope="session")
def site(smoke_book):
    return smoke_book / "html"


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served on this machine."""
    with viewing.served(site) as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    if not viewing.CHROMIUM:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine; .ci/run installs it")
        pytest.skip("no Chromium on this machine: the site was not looked at in a browser")
    with viewing.browser() as started:
        yield started


@pytest.fixture(scope="session")
def visit(browser, address):
    """Open a page of the site: (page, what it asked others for, its errors). Whoever opens it closes its context."""

    def opened(name, width=1280, javascript=True):
        # a first visitor: nothing is stored
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript)
        page, others, errors = context.new_page(), [], []
        page.on(
            "request",
            lambda request: others.append(request.url) if not request.url.startswith((address, "data:")) else None,
        )
        page.on(
            "console",
            lambda message: errors.append(f"{message.text} {message.location['url']}"),
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/{name}.html", wait_until="networkidle")
        figure = page.locator(".moving[data-figure]")
        if javascript and figure.count():  # it is loaded when a reader comes near it
            figure.first.scroll_into_view_if_needed()
            page.wait_for_selector(".moving-on")
            page.wait_for_load_state("networkidle")
        return page, others, errors

    return opened


@pytest.fixture
def browser_page(visit):
    """As `visit`, for one test: what was opened is closed after it."""
    contexts = []

    def opened(*arguments, **keywords):
        found = visit(*arguments, **keywords)
        contexts.append(found[0].context)
        return found

    yield opened
    for context in contexts:
        context.close()
