"""Checksums of a site: what two builds do not share is named, whatever it is."""

import pytest

from companion.build import checksums, reproduce

PAGE = '<html><body><ul><li>noise</li><li>rate</li></ul><p id="check-1">2026</p></body></html>'
MUTATIONS = {
    "a date": lambda page: page.replace("2026", "2027"),
    "a random id": lambda page: page.replace("check-1", "check-2"),
    "another order": lambda page: page.replace("<li>noise</li><li>rate</li>", "<li>rate</li><li>noise</li>"),
}


def site(folder, page=PAGE):
    (folder / "book").mkdir(parents=True)
    (folder / "book" / "noise.html").write_text(page)
    (folder / "claims.json").write_text("[]")
    (folder / checksums.FILE).write_text(checksums.listed(folder))
    return folder


def test_the_same_files_are_the_same(tmp_path):
    assert checksums.differing(site(tmp_path / "a"), site(tmp_path / "b")) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_control_one_change_is_named(tmp_path, name):
    other = site(tmp_path / "b", MUTATIONS[name](PAGE))
    assert checksums.differing(site(tmp_path / "a"), other) == ["book/noise.html"]


def test_control_a_file_more_or_less_is_named(tmp_path):
    one, other = site(tmp_path / "a"), site(tmp_path / "b")
    (other / "stray.html").write_text("")
    (other / "claims.json").unlink()
    assert checksums.differing(one, other) == ["claims.json", "stray.html"]


def test_two_builds_that_differ_fail_and_say_where(tmp_path, monkeypatch):
    pages = iter((PAGE, MUTATIONS["a date"](PAGE)))
    monkeypatch.setattr(reproduce, "_built", lambda root, profile, jobs: site(tmp_path / root.name, next(pages)))
    with pytest.raises(reproduce.NotTheSame, match="1 files of two builds differ:\\nbook/noise.html"):
        reproduce.reproduce("smoke")
