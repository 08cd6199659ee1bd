"""From chapters to a site: what runs again and when, what a mistake says, and that a failure leaves no trace in the site."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from publish import chapters as chapters_module
from publish import execute as execute_module
from publish.chapters import Chapter, UsageError, bnlib_modules, chapters, find, profiles
from publish.execute import ChapterFailed, execute, execute_all, executed_path, is_current

ROOT = Path(__file__).resolve().parent.parent
TINY = """\
# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
count = 2  # of things

# %%
from bnlib import validation

# %%
print(count)
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A book of two tiny chapters with a build folder of its own."""
    book = tmp_path / "book"
    book.mkdir()
    (book / "01_one.py").write_text(TINY)
    (book / "02_two.py").write_text(TINY.replace("from bnlib import validation", "import math"))
    (book / "profiles.yml").write_text("smoke: {01_one: {count: 5}}\nquick: {}\n")
    monkeypatch.setattr(chapters_module, "BOOK", book)
    monkeypatch.setattr(execute_module, "BUILD", tmp_path / "build")
    return book


def printed(path):
    return [output.text for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]


def test_chapters_run_once_and_again_only_when_they_change(tiny):
    assert set(execute_all(chapters(), "quick")) == {"01_one", "02_two"}
    assert execute_all(chapters(), "quick") == {}
    (tiny / "02_two.py").write_text((tiny / "02_two.py").read_text() + "\n# %%\n7\n")
    assert set(execute_all(chapters(), "quick")) == {"02_two"}


def test_a_chapter_depends_on_the_modules_it_imports_and_on_no_other(tiny, tmp_path, monkeypatch):
    copy = tmp_path / "root"
    (copy / "bnlib").mkdir(parents=True)
    for path in [*(ROOT / "bnlib").glob("*.py"), ROOT / "requirements.txt"]:
        target = copy / path.relative_to(ROOT)
        target.write_text(path.read_text())
    monkeypatch.setattr(chapters_module, "ROOT", copy)
    before = {chapter.name: chapter.fingerprint({}) for chapter in chapters()}
    module = copy / "bnlib" / "validation.py"
    module.write_text(module.read_text() + "\n")
    after = {chapter.name: chapter.fingerprint({}) for chapter in chapters()}
    assert before["01_one"] != after["01_one"]
    assert before["02_two"] == after["02_two"]
    (copy / "requirements.txt").write_text("other==1\n")
    assert after["02_two"] != chapters()[1].fingerprint({})


def test_a_chapter_that_ran_without_its_data_runs_again_when_they_appear(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("BNLIB_DATA", str(tmp_path))
    (tiny / "02_two.py").write_text(TINY.replace("count = 2", 'dataset = "fashion-mnist"').replace("(count)", "(1)"))
    execute_all(chapters(), "quick")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    for name in names:
        assert execute_all(chapters(), "quick") == {}  # not all of them yet
        (raw / f"{name}-ubyte.gz").touch()
    assert set(execute_all(chapters(), "quick")) == {"02_two"}
    assert execute_all(chapters(), "quick") == {}


def test_dependencies_are_followed_through_modules():
    names = {path.stem for path in bnlib_modules(ROOT / "book" / "05_mnist.py")}
    assert {"theory", "moments", "validation", "training", "display"} <= names
    theory = {path.stem for path in bnlib_modules(ROOT / "bnlib" / "theory.py")}
    assert theory == {"moments", "validation"}


def test_parameters_change_the_run_and_are_kept(tiny):
    target = executed_path(find("01"), "smoke")
    execute_all(chapters(), "smoke")
    assert printed(target) == ["5\n"]
    assert nbformat.read(target, 4).metadata["bnlib"]["parameters"] == {"count": 5}
    assert not is_current(find("01"), {"count": 6}, target)


def test_two_runs_give_the_same_notebook(tiny, tmp_path):
    texts = []
    for name in ("a", "b"):
        execute(find("01"), {}, tmp_path / f"{name}.ipynb")
        notebook = nbformat.read(tmp_path / f"{name}.ipynb", 4)
        del notebook.metadata["bnlib"]["seconds"]
        texts.append(nbformat.writes(notebook))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("raise KeyError('gamma')", "KeyError: 'gamma'"),
        ("import sys\nsys.stderr.write('careful')", "wrote to stderr:\ncareful"),
    ],
)
def test_a_failing_cell_names_chapter_cell_and_reason_and_is_kept(tiny, tmp_path, broken, message):
    execute_all(chapters(), "quick")
    good = executed_path(find("02"), "quick").read_bytes()
    (tiny / "02_two.py").write_text(TINY + f"\n# %%\n{broken}\n")
    with pytest.raises(ChapterFailed, match="02_two.py, cell 4") as failure:
        execute_all(chapters(), "quick")
    assert message in str(failure.value)
    assert (tmp_path / "build" / "failed" / "02_two.ipynb").is_file()
    assert executed_path(find("02"), "quick").read_bytes() == good
    assert not list((tmp_path / "build" / "executed" / "quick").glob(".*"))


def test_unknown_names_are_errors_that_list_the_right_ones(tiny):
    with pytest.raises(UsageError, match=r"01_one has no parameter 'cuont'; it has: count"):
        find("01").check({"cuont": 1})
    with pytest.raises(UsageError, match=r"profile 'smok' is unknown; the profiles are: smoke, quick"):
        find("01").parameters("smok")
    with pytest.raises(UsageError, match=r"chapter '07' is unknown; the chapters are: 01_one, 02_two"):
        find("07")
    (tiny / "profiles.yml").write_text("smoke: {01_one: {cuont: 5}}\n")
    with pytest.raises(UsageError, match="01_one has no parameter 'cuont'"):
        profiles()
    (tiny / "profiles.yml").write_text("smoke: {01_oen: {count: 5}}\n")
    with pytest.raises(UsageError, match="profile 'smoke' names the chapter '01_oen'"):
        profiles()


def test_the_profiles_of_the_book_name_its_chapters_and_parameters():
    assert list(profiles()) == ["smoke", "quick", "paper"]
    assert [chapter.name for chapter in chapters()] == sorted(chapter.name for chapter in chapters())


def test_every_chapter_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    assert [name for name in listed if name.startswith(("book/0", "book/1"))] == [f"book/{c.name}" for c in chapters()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chapter", "01", "-p", "sede", "1"], "has no parameter 'sede'"),
        (["book", "--profile", "papre"], "profile 'papre' is unknown; the profiles are: smoke, quick, paper"),
        (["chapter", "99"], "chapter '99' is unknown"),
    ],
)
def test_the_command_line_says_what_is_wrong(publish_command, arguments, message):
    done = publish_command(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_chapter_runs_as_a_plain_script():
    done = subprocess.run(
        [sys.executable, "book/01_what_bn_computes.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "holds | T1" in done.stdout


def test_a_parameter_given_to_papermill_reaches_the_chapter(publish_command):
    name, value = "seed", 3
    assert name in find("01").defaults
    done = publish_command("chapter", "01", "-p", name, str(value))
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(publish_command.build / "chapters" / "01_what_bn_computes.ipynb", 4)
    assert notebook.metadata["bnlib"]["parameters"][name] == value
    assert any(f"{name} = {value}" in cell.source for cell in notebook.cells)


def test_a_chapter_without_parameters_has_none(tmp_path):
    path = tmp_path / "03_none.py"
    path.write_text("# %% [markdown]\n# # None\n")
    assert Chapter(path).defaults == {}
