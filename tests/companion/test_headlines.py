"""Headlines were fixed before the runs that confirm them: what they say, compare and hold against has not changed since."""

import ast
import subprocess

import pytest

from companion import ROOT
from companion.build.pages import HEADLINES_FIXED

PLACES = {"companion/studies/questions.py": "the comparison", "book/data.py": "the amount of data"}


def at_that_commit(path):
    shown = subprocess.run(
        ["git", "-C", ROOT, "show", f"{HEADLINES_FIXED}:{path}"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, f"{shown.stderr}\nthe test needs the history: git fetch --unshallow"
    return shown.stdout


def text_of(source, name):
    """What the first function or assignment called `name` says, without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return [ast.dump(statement) for statement in node.body[1:]]
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return [ast.dump(node.value)]
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("name", ("HEADLINES", "words", "headline", "rank_correlation", "slopes"))
def test_the_comparison_asks_what_it_asked(name):
    path = "companion/studies/questions.py"
    assert text_of((ROOT / path).read_text(), name) == text_of(at_that_commit(path), name)


def test_the_amount_of_data_is_asked_as_it_was():
    then = at_that_commit("book/data.py")
    now = (ROOT / "book" / "data.py").read_text() + (ROOT / "companion" / "studies" / "amounts.py").read_text()
    statement = (
        'f"784-100-10 on {on}, amount of data: rank correlation of BN\'s L2-equivalent rate with the"\n'
        '    " best weight_decay, mean over shares of wrong labels"'
    )
    for text in (then, now):
        assert statement in text
    asked = text_of((ROOT / "companion" / "studies" / "amounts.py").read_text(), "headline")
    assert "'predicted'), Constant(value='kind'), Constant(value='relation')" in asked[0]
    assert "Constant(value=0.0), Constant(value='empirical'), Constant(value='below')" in asked[0]
    assert 'predicted=0.0,\n    kind="empirical",\n    relation="below",\n    role="headline"' in then
