"""Imports point one way: bnlib knows no page, a page knows no build, a chapter knows neither the build nor a neighbour."""

import ast
import sys

import pytest

from companion import BOOK, ROOT

OURS = ("bnlib", "companion", "book", "tests", "benchmarks", "faults")
CHAPTERS_MAY = {f"companion.{name}" for name in ("page", "figures", "records", "statistics", "studies")}


def imported(path):
    """Full names of what a file imports, at any depth: for ``from a import b`` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: an import relative to itself"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(*folders):
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert found
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def ours(path):
    return {name for name in imported(path) if name.split(".")[0] in OURS}


@pytest.mark.parametrize(
    "name, path", files(ROOT / "bnlib").items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_library_imports_nothing_else_of_ours(name, path):
    assert {found for found in ours(path) if found.split(".")[0] != "bnlib"} == set()


PAGES = {
    name: path
    for name, path in files(ROOT / "companion").items()
    if not name.startswith("companion/build/") and name != "companion/__main__.py"
}


@pytest.mark.parametrize("name", PAGES)
def test_what_makes_a_page_imports_nothing_of_the_build(name):
    found = ours(PAGES[name])
    assert {one for one in found if one.split(".")[0] not in ("bnlib", "companion")} == set()
    assert {one for one in found if one.startswith("companion.build")} == set()


@pytest.mark.parametrize("name", files(ROOT / "companion" / "build"))
def test_the_build_reads_records_and_makes_no_figure(name):
    found = ours(ROOT / name)
    assert {one for one in found if one.split(".")[0] not in ("bnlib", "companion")} == set()
    for page in ("page", "figures", "statistics", "studies"):
        assert {one for one in found if one.startswith(f"companion.{page}")} == set()
    assert {one for one in found if one.startswith("bnlib.")} <= {"bnlib.data", "bnlib.source"}


@pytest.mark.parametrize("name", files(BOOK))
def test_a_chapter_imports_the_library_and_what_makes_a_page(name):
    found = imported(ROOT / name)
    inside = {one for one in found if one.split(".")[0] in OURS and one.split(".")[0] != "bnlib"} - {"companion"}
    assert {one for one in inside if ".".join(one.split(".")[:2]) not in CHAPTERS_MAY} == set()
    neighbours = {path.stem for path in BOOK.glob("*.py")} - set(sys.stdlib_module_names)
    assert {one.split(".")[0] for one in found} & neighbours == set()


def test_control_an_import_within_a_function_is_seen(tmp_path):
    path = tmp_path / "one.py"
    path.write_text("def late():\n    from companion.build import site\n    import companion.page\n")
    assert imported(path) == {"companion.build", "companion.build.site", "companion.page"}
