"""What must run again: after any sequence of edits every chapter shows what a build from nothing shows, and no chapter ran in vain."""

import ast
import builtins
import functools
import tempfile
import types
from pathlib import Path

import nbformat
import papermill
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnlib import data
from companion.build import chapters as chapters_module
from companion.build import execute as execute_module
from companion.build.chapters import Chapter, chapters
from companion.build.execute import execute, executed_path, is_current

PACKAGES = ("bnlib", "companion")
CHAPTER = """\
# %% [markdown]
# # Chapter
#
# prose-0

# %% tags=["parameters"]
count = 1
dataset = "{dataset}"

# %%
{imports}

own = 0  # comment-0
print(own, count, {shown}, installed(), available(dataset))
"""
FILES = {
    "book/one.py": CHAPTER.format(
        dataset="fashion-mnist",
        imports="from bnlib import a\nfrom companion import page",
        shown="a.value(), page.VALUE",
    ),
    "book/two.py": CHAPTER.format(dataset="mnist-5k", imports="import bnlib.b", shown="bnlib.b.VALUE"),
    "book/three.py": CHAPTER.format(
        dataset="mnist-5k", imports="def late():\n    from bnlib.deep.c import VALUE\n    return VALUE", shown="late()"
    ),
    "book/profiles.yml": "quick: {one: {count: 0}}\n",
    "bnlib/__init__.py": "",
    "bnlib/a.py": "from bnlib.b import VALUE as B\nVALUE = 0\n\ndef value():\n    return VALUE, B\n",
    "bnlib/b.py": '"""docstring-0"""\nVALUE = 0\n',
    "bnlib/deep/__init__.py": "VALUE = 0\n",
    "bnlib/deep/c.py": "VALUE = 0\n",
    "bnlib/unused.py": "VALUE = 0\n",
    "companion/__init__.py": "",
    "companion/page.py": "from bnlib import b\nVALUE = 0, b.VALUE\n",
    "companion/build/__init__.py": "",
    "companion/build/execute.py": "VALUE = 0\n",
    "requirements.txt": "numpy==0\n",
    "_toc.yml": "root: book/index\nparts:\n  - chapters:\n      - file: book/one\n      - file: book/two\n      - file: book/three\n",
}
# what an edit changes: a file, and what stands before the number that becomes another one
EDITS = {
    "code": ("book/one.py", "own = "),
    "code of another": ("book/three.py", "own = "),
    "prose": ("book/one.py", "prose-"),
    "comment": ("book/two.py", "comment-"),
    "default": ("book/two.py", "count = "),
    "library": ("bnlib/a.py", "VALUE = "),
    "library, behind": ("bnlib/b.py", "VALUE = "),
    "library, imported late": ("bnlib/deep/c.py", "VALUE = "),
    "library, a package": ("bnlib/deep/__init__.py", "VALUE = "),
    "library, not imported": ("bnlib/unused.py", "VALUE = "),
    "docstring": ("bnlib/b.py", "docstring-"),
    "companion": ("companion/page.py", "VALUE = "),
    "executor": ("companion/build/execute.py", "VALUE = "),
    "parameters": ("book/profiles.yml", "count: "),
    "pins": ("requirements.txt", "numpy=="),
}
DATA = "data"  # appear and vanish


class World:
    """A checkout in a folder, edited and built; its chapters are run here, with its own packages."""

    def __init__(self, root):
        self.root = Path(root)
        for name, text in FILES.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.last = {}

    def edit(self, kind, number):
        if kind == DATA:
            folder = self.root / "data" / data.RAW["fashion-mnist"]
            folder.mkdir(parents=True, exist_ok=True)
            for place, file in enumerate(data.FILES["fashion-mnist"]):
                (folder / file).unlink(missing_ok=True)
                if number == 1 or number == 2 and place:  # all, or all but one
                    (folder / file).touch()
            return
        name, before = EDITS[kind]
        text = (self.root / name).read_text()
        head, tail = text.split(before, 1)
        (self.root / name).write_text(f"{head}{before}{number}{tail[1:]}")

    def build(self):
        """Run what is not current, as a new process would; return the names of what ran."""
        chapters_module.source._module.cache_clear()
        ran = set()
        for chapter in chapters():
            parameters, target = chapter.parameters("quick"), executed_path(chapter, "quick")
            if not is_current(chapter, parameters, target):
                execute(chapter, parameters, target)
                ran.add(chapter.name)
        return ran

    def shown(self, chapter):
        notebook = nbformat.read(executed_path(chapter, "quick"), 4)
        return [output.text for cell in notebook.cells for output in cell.get("outputs", [])]

    def run(self, cells, parameters):
        """What the cells print, and all that they saw on the way: (printed, code of each file that was run)."""
        seen, printed, loaded = {}, [], {}
        space = {"__builtins__": {**vars(builtins), "print": lambda *words: printed.append(" ".join(map(str, words)))}}
        space["installed"] = lambda: (self.root / "requirements.txt").read_text()
        space["available"] = data.is_available

        def load(name):
            if name not in loaded:
                place = self.root.joinpath(*name.split("."))
                path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                tree = ast.parse(path.read_text())
                if ast.get_docstring(tree) is not None:
                    tree.body = tree.body[1:]
                seen[name] = ast.unparse(tree)
                module = loaded[name] = types.ModuleType(name)
                vars(module)["__builtins__"] = space["__builtins__"]
                exec(compile(tree, name, "exec"), vars(module))  # noqa: S102
                parent, _, own = name.rpartition(".")
                if parent:
                    setattr(load(parent), own, module)
            return loaded[name]

        def own_import(name, names=None, local=None, wanted=(), level=0):
            if name.split(".")[0] not in PACKAGES:
                return __import__(name, names, local, wanted, level)
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                load(".".join(parts[:depth]))
            for one in wanted or ():
                if not hasattr(loaded[name], one):
                    load(f"{name}.{one}")
            return loaded[name] if wanted else loaded[parts[0]]

        space["__builtins__"]["__import__"] = own_import
        for cell in cells:
            exec(cell, space)  # noqa: S102
            if "count = " in cell and "dataset = " in cell:
                space |= parameters
        return printed, seen

    def from_nothing(self, chapter):
        """What a build from nothing shows of a chapter, and what it saw: an oracle that knows no fingerprint."""
        chapter = Chapter(chapter.path)
        cells = [ast.unparse(ast.parse(cell.source)) for cell in chapter.notebook.cells if cell.cell_type == "code"]
        parameters = chapter.parameters("quick")
        printed, seen = self.run(cells, parameters)
        executor = (self.root / "companion" / "build" / "execute.py").read_text()
        pins = (self.root / "requirements.txt").read_text()
        return printed, repr((cells, parameters, seen, executor, pins, printed))

    def judge(self, ran):
        """Names of chapters that show something else than from nothing, and of those that ran in vain or not at all."""
        wrong, vain = set(), set()
        for chapter in chapters():
            printed, seen = self.from_nothing(chapter)
            if self.shown(chapter) != printed:
                wrong.add(chapter.name)
            if (chapter.name in ran) != (self.last.get(chapter.name) != seen):
                vain.add(chapter.name)
            self.last[chapter.name] = seen
        return wrong, vain


@pytest.fixture(scope="module")
def world():
    """Gives new worlds, each with a build folder of its own; the build's modules work in the last one."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(data, "DEBIAN", "")
        patch.setenv("XDG_CACHE_HOME", folder)
        digest, count = chapters_module.source.digest, iter(range(10**6))

        def new():
            made = World(Path(folder) / str(next(count)))
            patch.setenv("BNLIB_DATA", str(made.root / "data"))
            patch.setattr(chapters_module, "ROOT", made.root)
            patch.setattr(chapters_module, "BOOK", made.root / "book")
            patch.setattr(chapters_module, "__file__", str(made.root / "companion" / "build" / "chapters.py"))
            patch.setattr(chapters_module.source, "digest", functools.partial(digest, root=made.root))
            patch.setattr(execute_module, "BUILD", made.root / "_build")

            def executed(notebook, output, parameters, **_):
                cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
                printed, _ = made.run([cell.source for cell in cells], parameters)
                cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in printed]
                Path(output).write_text(nbformat.writes(notebook))
                return notebook

            patch.setattr(papermill, "execute_notebook", executed)
            return made

        yield new


edits = st.tuples(st.sampled_from([*EDITS, DATA]), st.integers(0, 2), st.booleans())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(edits, min_size=1, max_size=6))
def test_property_after_any_edits_the_book_is_that_of_a_build_from_nothing(world, sequence):
    here = world()
    ran = here.build()
    assert ran == {"one", "two", "three"}
    assert here.judge(ran) == (set(), set())
    for kind, number, built in sequence:
        here.edit(kind, number)
        if built:
            assert here.judge(here.build()) == (set(), set())
    assert here.judge(here.build()) == (set(), set())
    assert here.build() == set()


def caught(here):
    """Kinds of edits after which the book is not that of a build from nothing."""
    here.judge(here.build())
    found = set()
    for kind in [*EDITS, DATA]:
        here.edit(kind, 1)
        if here.judge(here.build())[0]:
            found.add(kind)
    return found


NOTHING = "the same whatever happens"
CONTROLS = {
    "code": ({"code", "code of another", "default"}, {"code", "digest of the chapter"}),
    "library": ({"library", "library, behind", "companion"}, {"modules"}),
    "parameters": ({"parameters"}, {"parameters"}),
    "pins": ({"pins"}, {"pins"}),
    "data": ({DATA}, {"data"}),
}


@pytest.mark.parametrize("forgotten", CONTROLS)
def test_control_a_fingerprint_that_forgets_one_input_is_caught(world, monkeypatch, forgotten):
    wanted, parts = CONTROLS[forgotten]
    here = world()
    fingerprint, digest = Chapter.fingerprint, chapters_module.source.digest
    if "code" in parts:
        monkeypatch.setattr(Chapter, "code", [], raising=False)
        monkeypatch.setattr(Chapter, "defaults", {"count": 1, "dataset": "mnist-5k"}, raising=False)
        monkeypatch.setattr(chapters_module.source, "digest", lambda path, *more: digest(*more))
    if "modules" in parts:
        monkeypatch.setattr(chapters_module.source, "digest", functools.partial(digest, packages=()))
    if "parameters" in parts:
        monkeypatch.setattr(Chapter, "fingerprint", lambda chapter, parameters: fingerprint(chapter, {}))
    if "pins" in parts:
        pins = here.root / "elsewhere"
        pins.mkdir()
        (pins / "requirements.txt").write_text(NOTHING)
        (pins / "_toc.yml").write_text(FILES["_toc.yml"])
        monkeypatch.setattr(chapters_module, "ROOT", pins)
    if "data" in parts:
        monkeypatch.setattr(chapters_module, "data", types.SimpleNamespace(is_available=lambda name: True))
    assert caught(here) >= wanted


def test_control_nothing_is_caught_where_nothing_is_forgotten(world):
    assert caught(world()) == set()
