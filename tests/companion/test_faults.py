"""A part of the table of faults, tried anew: nothing is lost, and the page of the site says what came of it here."""

import os
import shutil

import pytest

from companion.build import checksums
from faults import builds, fetches, files, sets, stand_ins, table
from faults.tiny import Book

KEPT = {(row.family, row.fault): row for row in table.kept()}


def words_of(result):
    """What happened, without how often."""
    return {part.rpartition(": ")[0] for part in result.split("; ")}


def agrees(row):
    """Whether a row lost nothing and says what the page says; fewer tries may see less of it."""
    shown = KEPT[row.family, row.fault]
    return row.lost == 0 and row.tries > 0 and shown.lost == 0 and words_of(row.result) <= words_of(shown.result)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    root = tmp_path_factory.mktemp("faults")
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)  # another user looks into it
    stand_ins.build(Book.make(root / "warm"))
    return builds.States(root / "book", builds.here)


@pytest.mark.parametrize("number", builds.SIGNALS, ids=lambda number: number.name)
def test_a_signal_leaves_the_old_site_or_the_new_one(states, number):
    row = builds.at_steps(states, number, 50)
    assert row.lost == 0 and row.tries >= 2, row


@pytest.mark.parametrize("fault", builds.KEPT)
def test_what_a_build_keeps_may_be_damaged(states, fault):
    row = builds.kept_files(states, fault)
    assert agrees(row), row


def test_a_tree_that_may_not_be_written_is_named(states):
    row = builds.not_allowed(states)
    assert agrees(row), row


def test_damaged_files_are_refused_by_name():
    with sets.originals():
        found = [*files.flipped(files.PACKED, pack=True), files.folders()]
        found += [files.replaced(fault, contents) for fault, contents in files.REPLACED.items()]
    assert all(agrees(row) for row in found), found


def test_files_come_whole_or_not_at_all():
    with sets.originals((fetches.NAME,)), fetches.Server().running() as server:
        fault = "a server that sends another file"
        found = [fetches.failing(server, fault, *fetches.FAILING[fault]), fetches.at_once(server, 1), fetches.killed(4)]
    found += [fetches.installed(fault) for fault in fetches.NPM]
    assert all(agrees(row) for row in found), found


def test_the_page_has_no_loss_and_enough_tries():
    assert [row for row in KEPT.values() if row.lost] == []
    signals = [row.tries for row in KEPT.values() if any(name in row.fault for name in builds.SIGNALS.values())]
    assert sum(signals) >= 50


# controls


def test_control_half_a_site_is_seen(states):
    old = states.now
    with (states.book.site / "index.html").open("a") as page:
        page.write("more")
    assert states.shown() is None
    assert states.judged(old).lost


def test_control_a_site_of_neither_state_is_seen(states):
    builds.here(states.book)
    (states.book.site / "stray.html").write_text("whole, and another site")
    (states.book.site / checksums.FILE).write_text(checksums.listed(states.book.site))
    assert checksums.are_right(states.book.site)
    assert states.shown() is None
    builds.here(states.book)


def test_control_a_swap_in_two_steps_is_caught(states, monkeypatch):
    """As it was: away with the old site, then the new one in its place; here the process ends between the two."""
    old = states.now
    states.to(1 - old)
    monkeypatch.setattr(stand_ins.site, "swap", lambda new, site: (shutil.rmtree(site), os._exit(1)))
    assert stand_ins.apart(lambda: stand_ins.build(states.book)) == (None, "")
    monkeypatch.undo()
    one = states.judged(old)
    assert one.lost and one.came == "no whole site, next build right"


def test_control_a_notebook_that_is_not_sealed_is_caught(states, monkeypatch):
    monkeypatch.setattr(stand_ins.execute, "sealed", lambda text: text)
    shutil.rmtree(states.book.build)
    builds.here(states.book)
    row = builds.kept_files(states, "a number of a record changed")
    monkeypatch.undo()
    shutil.rmtree(states.book.build)
    builds.here(states.book)
    assert row.lost


def test_control_wrong_words_and_wrong_numbers_are_losses(tmp_path):
    said = [files.verdict("no", False, tmp_path, tmp_path), files.verdict("", False, tmp_path, tmp_path)]
    said.append(fetches.Try("refused", True))
    assert all(one.lost for one in said)
    with sets.originals():
        folder = sets.put("mnist", tmp_path, pack=False)
        assert files.judged("mnist", tmp_path, folder) == table.Try("read right", False)
        digits = files.data.load("mnist", tmp_path)
        digits.train.images[3, 5] += 1 / 255
        assert not sets.is_right("mnist", digits)


def test_rows_that_could_not_be_tried_are_no_success():
    row = table.impossible("data", "a file cut", "nobody may write")
    assert (row.tries, row.lost) == (0, None)
    assert not agrees(row)
