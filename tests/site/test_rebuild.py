"""A second build in a copy of the repository: the same files, nothing executed, and only what has changed written."""

import shutil

import pytest
from commands import Command

from companion import ROOT

NEEDED = ("bnlib", "companion", "book", "tests", "_toc.yml", "_config.yml", "requirements.txt")
NEEDED += ("package.json", "package-lock.json", "CITATION.cff")
# the copy is no git checkout, and says so there; the words of the search index are those of the pages
ABOUT_THE_COMMIT = {"book/built.html", "_sources/book/built.md", "searchindex.js", "SHA256SUMS"}


@pytest.fixture(scope="module")
def copy(smoke_book, tmp_path_factory):
    """The repository and its executed chapters, to change at will; its site is built from nothing."""
    root = tmp_path_factory.mktemp("copy")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            )
        else:
            shutil.copy2(ROOT / name, root / name)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    shutil.copytree(smoke_book / "executed", root / "_build" / "executed")
    book = Command(root / "_build", root)
    done = book("-m", "companion", "book", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert "executed 0 of" in done.stdout
    return book


def build(copy):
    return copy("-m", "companion", "book", "--profile", "smoke")


def files(site):
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def changed(before, after):
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_two_builds_from_nothing_give_the_same_files(copy, site):
    assert changed(files(site), files(copy.build / "html")) - ABOUT_THE_COMMIT == set()


def test_where_nothing_has_changed_nothing_is_done(copy):
    log, page = copy.build / "sphinx" / "sphinx.log", copy.build / "html" / "book" / "noise.html"
    before = [path.stat().st_mtime_ns for path in (log, page)]
    done = build(copy)
    assert done.returncode == 0, done.stderr
    assert "executed 0 of" in done.stdout
    assert [path.stat().st_mtime_ns for path in (log, page)] == before


def test_a_change_of_prose_executes_nothing_and_changes_its_page(copy):
    before = files(copy.build / "html")
    chapter = copy.root / "book" / "noise.py"
    text = chapter.read_text()
    assert "\n# ## " in text
    chapter.write_text(text.replace("\n# ## ", "\n# A paragraph more, about wombats.\n#\n# ## ", 1))
    done = build(copy)
    assert done.returncode == 0, done.stderr
    assert "executed 0 of" in done.stdout
    after = files(copy.build / "html")
    assert b"about wombats" in after["book/noise.html"]
    other = {name for name in changed(before, after) if "noise" not in name}
    assert other <= ABOUT_THE_COMMIT


def test_a_site_that_cannot_be_built_leaves_the_one_before(copy):
    before = files(copy.build / "html")
    chapter = copy.root / "book" / "noise.py"
    text = chapter.read_text()
    chapter.write_text(text.replace("about wombats", "$\\frac{1$", 1))
    done = build(copy)
    chapter.write_text(text)
    assert done.returncode == 1
    assert "error" in done.stderr.lower()
    assert changed(before, files(copy.build / "html")) == set()
    assert not list(copy.build.glob("next-*"))
