"""Every interval of the smoke book, where seeds are fewest and intervals widest: in the range of its quantity, with a width."""

import json
import re

import pytest

from companion.records import RANGES

UNBOUNDED = re.compile(r"\blog10\b|\blogarithms?\b|\bslope\b|\bover that\b|\bover those\b|\bratio\b|\bloss\b|\berror\b")
DIFFERENCE = re.compile(r"\bminus\b|\blost\b|\bregret\b|\babove that\b|\bahead\b|\bgain\b|\bless without\b")


def scale_of(statement):
    """The scale that the words of a statement ask for; None where they say nothing of one."""
    if UNBOUNDED.search(statement):
        return None
    if re.search(r"\bpoints\b", statement):
        return "points"
    if re.search(r"\bcorrelation\b|\bagreement\b", statement):
        return "correlation"
    if re.search(r"\bdegrees\b", statement):
        return None if DIFFERENCE.search(statement) else "angle"
    if DIFFERENCE.search(statement) and re.search(r"\bshare\b|\baccuracy\b|\bregret\b", statement):
        return "difference of shares"
    return "share" if re.search(r"\bshare\b(?! of (?:\w+ length|the correction))|\baccuracy\b", statement) else None


def faults(check):
    """What is wrong with the interval of a row of ``claims.json``, in words."""
    low, high, wanted = check["low"], check["high"], scale_of(check["statement"])
    if (low is None) != (high is None):
        yield "one end"
    if low is None:
        if check["repetitions"] > 1 and not check["interval_method"]:
            yield "no interval, and no reason"
        return
    if not low < high:
        yield "no width"
    if not low <= check["measured"] <= high:
        yield "what was measured is not in it"
    ranges = [check["scale"], wanted] if wanted in RANGES else [check["scale"]]
    bottom, top = max(RANGES[scale][0] for scale in ranges), min(RANGES[scale][1] for scale in ranges)
    if wanted == "difference of shares":
        yield "a difference of shares that is not in points"
    if low < bottom or high > top:
        yield f"beyond {bottom:g} to {top:g}"
    if wanted in ("correlation", "share", "angle") and check["scale"] != wanted:
        yield f"on the scale {check['scale']}, not {wanted}"


def test_every_interval_is_in_its_range_and_has_a_width(site):
    claims = json.loads((site / "claims.json").read_text())
    rows = [check for claim in claims for check in claim["checks"] if check["kind"] == "empirical"]
    assert len(rows) >= 100
    assert sum(check["low"] is not None for check in rows) >= 90
    found = {f"{check['chapter']}: {check['statement']}": list(faults(check)) for check in rows}
    assert {statement: wrong for statement, wrong in found.items() if wrong} == {}


ROW = {"statement": "a size", "scale": "plain", "low": 0.1, "high": 0.3, "measured": 0.2, "repetitions": 3}
ROW |= {"interval_method": "t"}


@pytest.mark.parametrize(
    "changes, wrong",
    [
        ({"statement": "rank correlation", "low": -1.49, "high": 0.54}, "beyond -1 to 1"),
        ({"statement": "rank correlation", "low": -0.49, "high": 0.54}, "on the scale plain, not correlation"),
        ({"statement": "agreement of two rates", "low": -0.4, "high": 1.51}, "beyond -1 to 1"),
        ({"statement": "share of units", "scale": "share", "low": 0.15, "high": 1.011}, "beyond 0 to 1"),
        ({"statement": "share of units, BN minus none"}, "a difference of shares that is not in points"),
        ({"statement": "regret against the best weight_decay"}, "a difference of shares that is not in points"),
        ({"statement": "regret in points", "low": -101.0}, "beyond -100 to 100"),
        ({"statement": "median angle, degrees", "scale": "angle", "high": 91.0}, "beyond 0 to 90"),
        ({"scale": "log", "low": -9.0e-5}, "beyond 0 to inf"),
        ({"low": 0.2, "high": 0.2}, "no width"),
        ({"low": 0.25}, "what was measured is not in it"),
        ({"low": None}, "one end"),
        ({"low": None, "high": None, "interval_method": None}, "no interval, and no reason"),
    ],
)
def test_control_a_wrong_interval_is_found(changes, wrong):
    assert wrong in list(faults(ROW | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"statement": "log10 of a share", "low": -3.0},
        {"statement": "distance as a share of its length", "scale": "log", "high": 3.0},
        {"statement": "share of the correction, which may be past none of it", "low": -1.0},
        {"statement": "angle in degrees, at noise 3 less without noise", "low": -2.0},
        {"statement": "share of signal in points, last minus first", "scale": "points", "high": 12.0},
        {"low": None, "high": None, "interval_method": "all seeds give one value"},
        {"low": None, "high": None, "interval_method": None, "repetitions": 1},
    ],
)
def test_a_right_interval_is_none_of_them(changes):
    assert list(faults(ROW | changes)) == []
