"""What every test runs in: the count of what the theorems were checked on, and the name of a failing loop's instance."""

import counting
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from counting.counted(item))


def pytest_terminal_summary(terminalreporter):
    lines = list(counting.summary(terminalreporter.getreports("passed")))
    if lines:
        terminalreporter.section("what the theorems were checked on")
        for line in lines:
            terminalreporter.line(line)
