"""What every test runs in: the count of what the theorems were checked on, and a book that is built beside the tests."""

import counting
import pytest
from commands import SmokeBook
from xdist.scheduler import LoadScopeScheduling

SITE = "tests/site/"
# files whose fixtures are dear: one worker goes through them, in order
TOGETHER = ("test_experiments.py", "test_looks.py", "test_rebuild.py")
BOOK = pytest.StashKey[SmokeBook]()


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.stash[BOOK] = SmokeBook()


def pytest_unconfigure(config):
    if BOOK in config.stash:
        config.stash[BOOK].stop()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.nodeid.startswith(SITE))  # last: they wait for the book


def pytest_collection_finish(session):
    """Without workers."""
    if BOOK in session.config.stash and any(item.nodeid.startswith(SITE) for item in session.items):
        session.config.stash[BOOK].start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids):
    """In the process that hands the tests out: a worker has collected."""
    if any(name.startswith(SITE) for name in ids):
        node.config.stash[BOOK].start()


class ByTestOrFile(LoadScopeScheduling):
    """Hands out tests one by one, and some files whole: the mark ``xdist_group`` is lost between pytest 9.2 and xdist 3.8."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        return file if file.endswith(TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # the site's tests stay last
    return ByTestOrFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from counting.counted(item))


def pytest_terminal_summary(terminalreporter):
    lines = list(counting.summary(terminalreporter.getreports("passed")))
    if lines:
        terminalreporter.section("what the theorems were checked on")
        for line in lines:
            terminalreporter.line(line)
