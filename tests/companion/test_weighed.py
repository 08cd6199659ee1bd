"""What pages weigh, as it was measured and kept: the tables, and what they have to say."""

import json
import re

import pytest

from companion.build import printed, weighed
from companion.build.placeholders import NothingFits, Recorded

ROW = {"page": "book/rate", "bytes": 646_400, **dict.fromkeys(weighed.KINDS, 100_000), "requests": 6, "elsewhere": 0}
ROW |= {"console": 0, "said": [], "cookies": 0, "shift": 0.0012, "paint": 950, "light": {}, "dark": {}}
DEFAULT = ROW | {"page": "rate", "bytes": 3_778_000, "console": 5, "light": {"region": 1}}
FOUND = {"commit": "0" * 40, "pages": [ROW, ROW | {"page": "search"}], "pair": [ROW, DEFAULT]}


def filled(text):
    return Recorded([], {}, {}, "quick").filled("book/built.md", text)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    path = tmp_path / "site-measured.json"
    path.write_text(json.dumps(FOUND))
    monkeypatch.setattr(weighed, "RECORD", path)
    return path


def test_a_page_shows_the_pair_and_every_page(kept):
    pair, every = filled("{weighed}`pair`"), filled("{weighed}`every`")
    assert (
        "| here: {doc}`rate <rate>` | 646 | " in pair
        and "| default: rate | 3778 | " in pair
        and "| region 1 | 0 |" in pair
    )
    assert every.startswith(":::{dropdown} All 2 pages\n") and "| search | 646 | " in every
    rows = [line for line in pair.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_a_table_that_is_none_and_a_record_that_is_not_there_are_refused(kept):
    with pytest.raises(NothingFits, match="is no table; they are: pair, every"):
        filled("{weighed}`all`")
    kept.unlink()
    with pytest.raises(
        weighed.NotMeasured, match="site-measured.json is not there; .* python -m benchmarks.site --record"
    ):
        filled("{weighed}`pair`")


def wrong(record):
    """What a record must not say of this site; empty where all is well."""
    pages = {row["page"] for row in record["pages"]}
    wanted = {*printed.pages(), "search", "404"}
    found = [
        f"{name} was not measured, or is no page; run python -m benchmarks.site --record" for name in pages ^ wanted
    ]
    for row in record["pages"] + record["pair"][: len(record["pair"]) // 2]:
        quiet = not (row["elsewhere"] or row["console"] or row["cookies"] or row["light"] or row["dark"])
        if not (quiet and row["requests"] <= 10 and row["shift"] <= 0.01):
            found.append(f"{row['page']} is not quiet, or jumps: {row}")
    return found


def test_the_record_is_of_this_book_and_says_that_it_is_quiet():
    record = weighed.recorded()
    assert wrong(record) == []
    here, default = record["pair"][:2], record["pair"][2:]
    assert [row["page"].removeprefix("book/") for row in here] == [row["page"] for row in default]
    assert all(row["bytes"] < other["bytes"] for row, other in zip(here, default, strict=True))
    assert re.fullmatch("[0-9a-f]{40}", record["commit"])


@pytest.mark.parametrize(
    "change",
    [{"console": 1}, {"elsewhere": 1}, {"cookies": 1}, {"requests": 11}, {"shift": 0.02}, {"light": {"region": 1}}],
)
def test_control_a_page_that_is_not_quiet_is_noticed(change):
    rows = [ROW | {"page": name} for name in (*printed.pages(), "search", "404")]
    assert wrong({"pages": rows, "pair": [ROW, DEFAULT]}) == []
    assert len(wrong({"pages": [rows[0] | change, *rows[1:]], "pair": [ROW, DEFAULT]})) == 1
    assert len(wrong({"pages": rows[1:], "pair": [ROW, DEFAULT]})) == 1
