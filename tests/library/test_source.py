"""What identifies code: files with all that they import, and functions with all that they read."""

import functools
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from bnlib import source
from bnlib.source import ROOT, closure, digest, function_digest, plain
from bnlib.training import Arm

FILES = {
    "own/__init__.py": '"""Lazy."""\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n'
    "    from own.deep import answer\n    from own import wide\n",
    "own/deep.py": "from own import base\n\ndef answer():\n    return base.one()\n",
    "own/base.py": "def one():\n    return 1\n",
    "own/wide.py": "import json\n",
    "own/part/__init__.py": "",
    "own/part/near.py": "def f():\n    from ..base import one\n    return one()\n",
    "own/part/typed.py": "import typing\n\nif typing.TYPE_CHECKING:\n    from own import wide\nelse:\n    from . import near\n",
    "chapter.py": "import json\nfrom own.deep import answer\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(tree, text):
    """The files that a file with this text brings along, the front door of their package left out."""
    (tree / "asked.py").write_text(text)
    found = {path.relative_to(tree).as_posix() for path in closure(tree / "asked.py", packages=["own"], root=tree)}
    return found - {"asked.py", "own/__init__.py"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import json\nimport numpy.linalg\n", set()),
        ("from own import base", {"own/base.py"}),
        ("import own.base as b", {"own/base.py"}),
        ("from own.deep import answer", {"own/deep.py", "own/base.py"}),
        ("def f():\n    try:\n        import own.wide\n    finally:\n        pass\n", {"own/wide.py"}),
        ("from own.part import near", {"own/part/__init__.py", "own/part/near.py", "own/base.py"}),
        (
            "import own.part.typed",
            {"own/part/__init__.py", "own/part/typed.py", "own/part/near.py", "own/base.py"},
        ),
        # the front door is lazy: what is asked of it counts, by where it comes from
        ("from own import answer", {"own/deep.py", "own/base.py"}),
        ("import own", {"own/deep.py", "own/base.py", "own/wide.py"}),
        ("from own import *", {"own/deep.py", "own/base.py", "own/wide.py"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from own import base\n", set()),
    ],
)
def test_imports_are_followed(tree, text, found):
    assert names(tree, text) == found


def of(tree):
    return digest(tree / "chapter.py", packages=["own"], root=tree)


@pytest.mark.parametrize(
    ("file", "before", "after", "counts"),
    [
        ("chapter.py", "import json", "# %% [markdown]\n# prose\nimport json  # why", False),
        ("own/base.py", "def one():\n", 'def one():\n    """One."""\n', False),
        ("own/base.py", "def one():\n", "\n\ndef one(\n):\n", False),
        ("own/__init__.py", "Lazy", "Lazier", False),
        ("own/wide.py", "json", "os", False),  # not imported
        ("own/base.py", "return 1", "return 2", True),
        ("own/deep.py", "answer", "reply", True),
        ("chapter.py", "import json", "import os", True),
        ("chapter.py", "import json", "import json\n'a string, where no docstring is'", True),
    ],
)
def test_code_counts_and_prose_does_not(tree, file, before, after, counts):
    first, path = of(tree), tree / file
    path.write_text(path.read_text().replace(before, after))
    assert (of(tree) != first) == counts


def test_a_digest_is_that_of_the_place_in_the_package_not_of_the_disk(tree, tmp_path_factory):
    moved = tmp_path_factory.mktemp("elsewhere") / "clone"
    tree.rename(moved)
    second = of(moved)
    moved.rename(tree)
    assert of(tree) == second


def test_versions_count_where_asked():
    plainly, torchs = (digest(ROOT / "bnlib" / "stack.py", versions=names) for names in ((), ("torch",)))
    assert plainly != torchs
    assert plainly == digest(str(ROOT / "bnlib" / "stack.py"))


def test_a_row_stands_on_all_that_computes_it():
    modules = {path.stem for path in closure(ROOT / "bnlib" / "runs.py")}
    assert modules >= {"runs", "training", "stack", "models", "meter", "moments", "data", "validation", "source"}
    assert "theory" not in modules


# functions: those of a script are made here, as a notebook makes them


def script(text):
    """Functions as a notebook defines them, in a namespace called ``__main__``."""
    space = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(text), "notebook", "exec"), space)  # noqa: S102
    return space


def key(text, name="look"):
    return function_digest(script(text)[name])


LOOK = """
    import numpy as np
    from bnlib import meter
    from torch.nn.functional import cross_entropy

    def inner(x):
        return np.abs(x) + 1

    def look(run, count=2):
        return {"value": inner(run) * len([meter.measure, cross_entropy])}
"""


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("def look(run, count=2):", 'def look(run, count=2):\n        """What it does."""', False),
        ("    def inner(x):\n", "    # why\n\n    def inner(x):\n", False),
        ("+ 1", "+ 2", True),  # in a function that it calls
        ("np.abs", "np.exp", True),
        ("count=2", "count=3", True),
        ("meter.measure", "meter.Report", True),
        ('"value"', '"worth"', True),
        ("from bnlib import meter", "from bnlib import training as meter", True),
    ],
)
def test_a_notebooks_function_counts_with_what_it_calls(before, after, counts):
    assert before in LOOK
    assert (key(LOOK) != key(LOOK.replace(before, after))) == counts


def test_functions_that_call_each_other_end():
    text = """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)
    """
    assert key(text, "even") != key(text, "odd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noise_std = 2.0\ndef look(run): return noise_std", r"look reads the global 'noise_std' \(float\).*partial"),
        ("class Thing: pass\ndef look(run): return Thing()", r"look reads the global 'Thing' \(type\)"),
        ("rows = [1]\ndef f(x): return rows\ndef look(run): return f(run)", r"look reads the global 'rows' \(list\)"),
        (
            "def make(k):\n    def look(run): return k\n    return look\nlook = make(3)",
            r"enclosing variable 'k' \(int\)",
        ),
        ("seen = []\nlook = seen.append", "is no function"),
        ("look = 3", "is no function"),
    ],
    ids=["number", "class", "through another", "enclosed", "method", "no function"],
)
def test_what_no_key_can_hold_is_refused(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        key(text)


def look(run, size=1, other=None):
    return {"size": size}


def test_a_function_of_a_module_counts_by_its_file_and_name():
    assert function_digest(look) != function_digest(of)
    assert function_digest(lambda run: 1) != function_digest(lambda run: 2)


def test_arguments_by_partial_count():
    keys = [
        function_digest(functools.partial(look, **given))
        for given in (
            {"size": 1}, {"size": 2}, {"size": (1, 2)}, {"size": np.arange(3)}, {"other": 1}, {"size": Arm()},
            {"size": Arm(gamma=1.0)}, {"size": look}, {"size": torch.nn.functional.relu}, {"size": np.exp},
        )
    ]  # fmt: skip
    assert len({*keys, function_digest(look)}) == len(keys) + 1
    same = functools.partial(functools.partial(look), size=np.float64(1)), functools.partial(look, size=1.0)
    assert function_digest(same[0]) == function_digest(same[1])
    assert function_digest(functools.partial(look, size=[1, 2])) == keys[2]
    with pytest.raises(ValueError, match="size is of the type object; it must be a number"):
        function_digest(functools.partial(look, size=object()))


def test_the_digest_of_a_function_is_the_same_in_every_process():
    text = "from bnlib.source import function_digest\ndef look(run): return run in {'a', 'b', 'c'}\n"
    command = [sys.executable, "-c", text + "print(function_digest(look))"]
    found = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1


def test_plain_values_survive_json():
    given = {
        "a": np.float32(0.5), "b": np.arange(4).reshape(2, 2), "c": (1, "x", None, True), "d": torch.ones(2), "e": [np.int64(3)],
    }  # fmt: skip
    found = {name: plain(name, value) for name, value in given.items()}
    assert found == {"a": 0.5, "b": [[0, 1], [2, 3]], "c": [1, "x", None, True], "d": [1.0, 1.0], "e": [3]}
    assert json.loads(json.dumps(found)) == found
    assert [type(value) for value in found["c"]] == [int, str, type(None), bool]
    for value in ({1}, b"x", {1: 2}, [object()]):
        with pytest.raises(ValueError, match="reading is of the type"):
            plain("reading", value)


def test_own_packages_are_those_of_the_repository():
    assert (source.ROOT / source.PACKAGES[0] / "source.py").is_file()
