"""From chapters to executed notebooks: what runs again and when, what a mistake says, and that a failure leaves no trace."""

import functools
import re
import shutil

import nbformat
import pytest

import companion.__main__
from bnlib import data, source
from companion import ROOT
from companion.build import chapters as chapters_module
from companion.build import execute as execute_module
from companion.build.chapters import Chapter, UsageError, budgets, chapters, find, profiles
from companion.build.execute import ChapterFailed, execute, execute_all, executed_path, is_current, record_of

TINY = """\
# %% [markdown]
# # A tiny chapter
#
# Of few words.

# %% tags=["parameters"]
count = 2  # of things

# %%
from bnlib import validation

# %% [markdown]
# More words.

# %%
print(count)
"""
TOC = """\
root: book/index
parts:
  - chapters:
      - file: book/one
      - file: book/two
      - file: book/claims
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A book of two tiny chapters with a build folder of its own."""
    book = tmp_path / "book"
    book.mkdir()
    (book / "one.py").write_text(TINY)
    (book / "two.py").write_text(TINY.replace("from bnlib import validation", "import math"))
    (book / "claims.md").write_text("# Claims\n")
    (book / "profiles.yml").write_text("smoke: {one: {count: 5}}\nquick: {}\n")
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "requirements.txt").write_text("numpy==1\n")
    monkeypatch.setattr(chapters_module, "BOOK", book)
    monkeypatch.setattr(chapters_module, "ROOT", tmp_path)
    monkeypatch.setattr(execute_module, "BUILD", tmp_path / "build")
    return book


def printed(path):
    return [output.text for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_chapters_are_the_notebooks_of_the_table_of_contents_in_its_order(tiny):
    assert [chapter.name for chapter in chapters()] == ["one", "two"]
    replace(
        tiny.parent / "_toc.yml",
        "      - file: book/one\n      - file: book/two",
        "      - file: book/two\n      - file: book/one",
    )
    assert [chapter.name for chapter in chapters()] == ["two", "one"]
    assert find("one").title == "A tiny chapter"
    assert find("tw") == find("two")


def test_chapters_run_once_and_again_only_when_their_code_changes(tiny):
    assert set(execute_all(chapters(), "quick")) == {"one", "two"}
    assert execute_all(chapters(), "quick") == {}
    replace(tiny / "two.py", "Of few words.", "Of other words.")
    assert execute_all(chapters(), "quick") == {}
    (tiny / "two.py").write_text((tiny / "two.py").read_text() + "\n# %%\n7\n")
    assert set(execute_all(chapters(), "quick")) == {"two"}


@pytest.mark.parametrize(
    "old, new, same",
    [
        ("Of few words.", "Of few words, and a comma.", True),
        ("# More words.", "# More words.\n#\n# $$x$$", True),
        ("# # A tiny chapter", "# # Another title", True),
        ("# # A tiny chapter", "# # A tiny chapter\n\n# %% [markdown]\n# A paragraph more.", True),
        ("print(count)", "print(count + 1)", False),
        ("count = 2", "count = 3", False),
        ("# %%\nprint(count)", "# %%\nprint(0)\n\n# %%\nprint(count)", False),
        ('tags=["parameters"]', 'tags=["parameters", "hide-input"]', False),
        ("from bnlib import validation", "from bnlib import theory", False),
    ],
)
def test_prose_is_no_part_of_what_a_chapter_computes_and_code_is(tiny, old, new, same):
    before = find("one").fingerprint({})
    replace(tiny / "one.py", old, new)
    assert (find("one").fingerprint({}) == before) is same


def test_a_chapter_depends_on_the_modules_it_imports_and_on_no_other(tiny, tmp_path, monkeypatch):
    copy = tmp_path / "packages"
    for package in ("bnlib", "companion"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(chapters_module.source, "digest", functools.partial(source.digest, root=copy))
    module = copy / "bnlib" / "validation.py"
    fingerprints = []
    for change in ("", "\n# a comment\n", "\nchanged = 1\n"):
        module.write_text(module.read_text() + change)
        fingerprints.append({chapter.name: chapter.fingerprint({}) for chapter in chapters()})
    before, commented, changed = fingerprints
    assert before == commented
    assert before["one"] != changed["one"]
    assert before["two"] == changed["two"]
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    assert changed["two"] != find("two").fingerprint({})


def test_a_chapter_that_ran_without_its_data_runs_again_when_they_appear(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("BNLIB_DATA", str(tmp_path))
    monkeypatch.setattr(data, "DEBIAN", "")  # whether this machine has the package or not
    (tiny / "two.py").write_text(TINY.replace("count = 2", 'dataset = "fashion-mnist"').replace("(count)", "(1)"))
    assert "two" in execute_all(chapters(), "quick")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]:
        assert execute_all(chapters(), "quick") == {}  # not all of them yet
        (raw / f"{name}-ubyte.gz").touch()
    assert set(execute_all(chapters(), "quick")) == {"two"}
    assert execute_all(chapters(), "quick") == {}


def test_parameters_change_the_run_and_are_kept(tiny):
    target = executed_path(find("one"), "smoke")
    execute_all([find("one")], "smoke")
    assert printed(target) == ["5\n"]
    assert record_of(target)["parameters"] == {"count": 5}
    assert is_current(find("one"), {"count": 5}, target)
    assert not is_current(find("one"), {"count": 6}, target)
    assert record_of(tiny / "nothing.ipynb") == {}


def test_two_runs_give_the_same_notebook(tiny, tmp_path):
    texts = []
    for name in ("a", "b"):
        execute(find("one"), {}, tmp_path / f"{name}.ipynb")
        notebook = nbformat.read(tmp_path / f"{name}.ipynb", 4)
        del notebook.metadata["bnlib"]["seconds"], notebook.metadata["bnlib"]["sha256"]  # which covers the seconds
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
    target = executed_path(find("two"), "quick")
    execute(find("two"), {}, target)
    good = target.read_bytes()
    (tiny / "two.py").write_text(TINY + f"\n# %%\n{broken}\n")
    with pytest.raises(ChapterFailed, match="two.py, cell 5") as failure:
        execute(find("two"), {}, target)
    assert message in str(failure.value)
    assert (tmp_path / "build" / "failed" / "two.ipynb").is_file()
    assert target.read_bytes() == good
    assert not list(target.parent.glob(".*"))


def test_unknown_names_are_errors_that_list_the_right_ones(tiny):
    with pytest.raises(UsageError, match=r"one has no parameter 'cuont'; it has: count"):
        find("one").check({"cuont": 1})
    with pytest.raises(UsageError, match=r"profile 'smok' is unknown; the profiles are: smoke, quick"):
        find("one").parameters("smok")
    with pytest.raises(UsageError, match=r"chapter 'three' is unknown; the chapters are: one, two"):
        find("three")
    (tiny / "profiles.yml").write_text("smoke: {one: {cuont: 5}}\n")
    with pytest.raises(UsageError, match="one has no parameter 'cuont'"):
        profiles()
    (tiny / "profiles.yml").write_text("smoke: {oen: {count: 5}}\n")
    with pytest.raises(UsageError, match="profile 'smoke' names the chapter 'oen'"):
        profiles()


def test_a_chapter_over_its_budget_is_named_while_the_book_is_made(tiny, capfd):
    (tiny / "profiles.yml").write_text("seconds: {one: 0, two: 600}\nquick: {}\nsmoke: {}\n")
    execute_all(chapters(), "quick", budget=budgets())
    said = capfd.readouterr()
    assert re.search(r"one: \d+ s, where 0 are meant", said.out + said.err)
    assert re.search(r"two: \d+ s\n", said.out + said.err)


def test_a_chapter_without_parameters_has_none(tmp_path):
    path = tmp_path / "none.py"
    path.write_text("# %% [markdown]\n# # None\n")
    assert Chapter(path).defaults == {}


# The book itself


def test_the_profiles_of_the_book_name_its_chapters_and_parameters():
    assert list(profiles()) == ["smoke", "quick", "paper"]


def test_every_chapter_has_a_budget_and_all_together_take_five_minutes_on_two_cores():
    assert set(budgets()) == {chapter.name for chapter in chapters()}
    assert sum(budgets().values()) <= 2 * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chapter", "batch-norm", "-p", "sede", "1"], "has no parameter 'sede'"),
        (["book", "--profile", "papre"], "profile 'papre' is unknown; the profiles are: smoke, quick, paper"),
        (["chapter", "99"], "chapter '99' is unknown"),
        (["claim", "nosie"], "claim 'nosie' is unknown; the claims are: constraint, "),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, message):
    with pytest.raises(SystemExit) as end:
        companion.__main__.main(arguments)
    assert end.value.code.startswith("error: ")
    assert message in end.value.code


def test_the_command_line_says_what_is_known_of_a_claim(capsys):
    with pytest.raises(SystemExit):
        companion.__main__.main(["claim", "noise"])
    said = capsys.readouterr().out
    for line in ("noise: Noisy inputs", "verdict ", "book/noise.py, proven there as thm-noise"):
        assert line in said
    assert "function   bnlib.theory.noise_path" in said
    assert "test       tests/theorems/test_noise.py" in said
    with pytest.raises(SystemExit):
        companion.__main__.main(["claim"])
    assert {"noise", "regret"} <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}


def test_a_chapter_runs_as_a_plain_script_and_takes_parameters_from_papermill(command):
    """Side by side: most of the time is imports."""
    script = command.start("book/batch-norm.py")
    assert "seed" in find("batch-norm").defaults
    done = command("-m", "companion", "chapter", "batch-norm", "-p", "seed", "3")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(command.build / "chapters" / "batch-norm.ipynb", 4)
    assert notebook.metadata["bnlib"]["parameters"]["seed"] == 3
    assert any("seed = 3" in cell.source for cell in notebook.cells)
    output, error = script.communicate()
    assert script.returncode == 0, error
    assert "holds | constraint" in output
