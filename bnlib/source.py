"""Which code made a result: one name for files with all that they import, and for a function with all that it reads.

What is computed once is kept, and used again as long as the code behind it is the same. Comments, docstrings and
layout are not code: a sentence more in a docstring computes nothing again.
"""

import ast
import dis
import functools
import hashlib
import json
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent  # where bnlib and, in a clone, companion lie
PACKAGES = ("bnlib", "companion")
BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)  # where an import statement can be


def digest(
    *paths: str | Path, packages: Sequence[str] = PACKAGES, versions: Sequence[str] = (), root: str | Path = ROOT
) -> str:
    """Identify code: files, and the modules of our own packages that they import, directly or through others.

    Parameters
    ----------
    *paths : path
        Python files.
    packages : sequence of str
        Whose modules are followed; all other imports are somebody else's.
    versions : sequence of str
        What else the result depends on: ``"python"``, or names of installed distributions.
    root : path
        The folder in which the packages are.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SyntaxError
        If a file is not Python.
    ValueError
        If a path is none, or a folder, or `packages` is no sequence.

    Notes
    -----
    Importing a module runs the package's ``__init__``, which counts too. What stands under ``if TYPE_CHECKING`` is not
    run and does not count; but where a package is lazy, that block says where its names come from: ``from bnlib import
    measure`` counts as an import of ``bnlib.meter``, a bare ``import bnlib`` as one of all that its front door gives.

    Examples
    --------
    >>> digest(ROOT / "bnlib" / "stack.py") == digest(ROOT / "bnlib" / "stack.py", versions=["python"])
    False
    """
    root = _path("root", root).resolve()
    names = {}
    for path in closure(*paths, packages=packages, root=root):
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        names[inside] = _module(path, _stamp(path)).digest
    python = ".".join(map(str, sys.version_info[:2]))
    installed = {name: python if name == "python" else version(name) for name in versions}
    return _hash([names, installed])


def closure(*paths: str | Path, packages: Sequence[str] = PACKAGES, root: str | Path = ROOT) -> list[Path]:
    """The files themselves and the modules of `packages` that they import, directly or through others.

    Parameters
    ----------
    *paths, packages, root
        As for `digest`.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    FileNotFoundError, SyntaxError, ValueError
        As for `digest`.

    Examples
    --------
    >>> [path.stem for path in closure(ROOT / "bnlib" / "moments.py")]
    ['__init__', 'moments', 'validation']
    """
    if isinstance(packages, str) or not hasattr(packages, "__iter__"):
        raise ValueError(f"packages = {packages!r} is not right; it must be a sequence of names")
    root = _path("root", root).resolve()
    waiting = [_path("paths", path).resolve() for path in paths]
    for path in waiting:
        if path.is_dir():
            raise ValueError(f"paths has {str(path)!r}, a folder; it must be a Python file")
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        for name, attribute in _module(path, _stamp(path)).imports:
            for module in _files(_absolute(name, path, root), attribute, packages, root):
                if module not in found:
                    found.add(module)
                    waiting.append(module)
    return sorted(found)


def function_digest(function: Callable[..., Any]) -> str:
    """Identify a function by its code and by all that it reads beside its arguments.

    Parameters
    ----------
    function : callable
        A function, or a `functools.partial` of one. One that lives in a module counts by the module's `digest` and
        its name. One of a notebook or script counts by its compiled code, and so do the functions there that it calls.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ValueError
        If it reads a global or an enclosing variable that is neither a module nor importable nor such a function,
        since nobody sees when its value changes; or if an argument that `functools.partial` gives is not plain.
    TypeError
        If it is no function.

    Examples
    --------
    >>> from bnlib.training import half_squared_error
    >>> function_digest(half_squared_error) == function_digest(functools.partial(half_squared_error, target=0))
    False
    """
    return _hash(_function(function, function, seen=[]))


def plain(name: str, value: Any) -> Any:
    """A value as JSON has it: NumPy's and torch's numbers and arrays become Python's numbers and lists.

    Parameters
    ----------
    name : str
        What it is, for the message.
    value
        A number, string, None, array, or a list, tuple or dict of such.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> plain("rates", {"mean": np.float32(0.5), "all": (np.arange(2), None)})
    {'mean': 0.5, 'all': [[0, 1], None]}
    """
    if value is None or isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic):
        return value
    if hasattr(value, "detach") and hasattr(value, "tolist"):  # a tensor, without importing torch
        return value.detach().tolist()
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(name, value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(name, entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(name, entry) for key, entry in value.items()}
    raise ValueError(
        f"{name} is of the type {type(value).__name__}; it must be a number, a string, None, an array, or a list or "
        "dict of these"
    )


# files


def _path(name: str, value: str | Path) -> Path:
    # here, since a digest of this file alone must not hang on the checks
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ValueError(f"{name} = {value!r} is not right; it must be a path")
    return Path(value)


class _Module:
    """What counts of a file: its code without docstrings, and its imports as (module, name or None)."""

    def __init__(self, path: Path):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        self.imports = list(_imports(tree.body, typing_only=False))
        self.for_types = list(_imports(tree.body, typing_only=True))
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        self.digest = _hash(ast.dump(tree))


@functools.cache
def _module(path: Path, stamp: tuple[int, int]) -> _Module:
    return _Module(path)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _imports(body: Iterable[ast.AST], typing_only: bool) -> Iterator[tuple[str, str | None]]:
    """Import statements at any depth; those under ``if TYPE_CHECKING`` apart from the others."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            yield from _imports(node.body, False) if typing_only else _imports(node.orelse, False)
        elif isinstance(node, ast.Import) and not typing_only:
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not typing_only:
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)
        else:
            inside = (child for child in ast.iter_child_nodes(node) if isinstance(child, BLOCKS))
            yield from _imports(inside, typing_only)


def _absolute(name: str, path: Path, root: Path) -> str:
    """A module's full name where the import in `path` has leading dots."""
    level = len(name) - len(name.lstrip("."))
    if not level or not path.is_relative_to(root):
        return name
    package = path.relative_to(root).parts[:-level]
    return ".".join([*package, *name[level:].split(".")]).rstrip(".")


def _files(name: str, attribute: str | None, packages: Sequence[str], root: Path) -> Iterator[Path]:
    """The files that ``import name`` or ``from name import attribute`` runs, ``__init__`` of its packages included."""
    parts = name.split(".")
    if parts[0] not in packages:
        return
    for depth in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:depth])
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.is_file():
                yield path
    front = root.joinpath(*parts, "__init__.py")
    if not front.is_file():
        return
    if attribute not in (None, "*") and any(
        path.is_file() for path in (front.with_name(f"{attribute}.py"), front.with_name(str(attribute)) / "__init__.py")
    ):
        yield from _files(f"{name}.{attribute}", None, packages, root)
    elif attribute is not None or len(parts) == 1:
        for source, given in _module(front, _stamp(front)).for_types:
            origin = _absolute(source, front, root)
            if attribute in (None, "*", given) and (origin, given) != (name, attribute):
                yield from _files(origin, given, packages, root)


# functions


def _function(function: Any, asked: Any, seen: list[Any]) -> Any:
    """What identifies a function, as JSON has it; `asked` is the one that messages name."""
    if isinstance(function, functools.partial):
        arguments = {f"argument {place}": value for place, value in enumerate(function.args)} | function.keywords
        given = {name: _argument(name, value, asked, seen) for name, value in arguments.items()}
        return ["partial", _function(function.func, asked, seen), given]
    if _is_importable(function):
        return _importable(function)
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{function!r} is no function; give a function, or functools.partial of one")
    if function in seen:
        return ["again", seen.index(function)]
    seen.append(function)
    code = function.__code__
    enclosed = {
        name: _read(name, cell.cell_contents, "enclosing variable", asked, seen)
        for name, cell in zip(code.co_freevars, function.__closure__ or ())
    }
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    defaults = [_argument("a default value", value, asked, seen) for value in defaults]
    module = sys.modules.get(function.__module__)
    if function.__module__ != "__main__" and getattr(module, "__file__", None):
        around: Any = _file_digest(module)  # a function within a function: its globals are part of the file
    else:
        around = {
            name: _read(name, function.__globals__[name], "global", asked, seen)
            for name in sorted(_looked_up(code, "LOAD_GLOBAL", "LOAD_NAME"))
            if name in function.__globals__
        }
        ours = {name.split(".")[0] for name in _looked_up(code, "IMPORT_NAME")} & set(PACKAGES)
        around |= {f"import {name}": digest(*_parts(ROOT / name)) for name in sorted(ours)}
    return [function.__qualname__, _code(code), enclosed, defaults, around]


def _read(name: str, value: Any, what: str, asked: Any, seen: list[Any]) -> Any:
    """What identifies a variable that a function finds outside of itself."""
    if isinstance(value, types.ModuleType):
        return [value.__name__, _file_digest(value)]
    if isinstance(value, (types.FunctionType, functools.partial)) or _is_importable(value):
        return _function(value, asked, seen)
    called = getattr(asked, "__name__", None) or getattr(getattr(asked, "func", None), "__name__", "function")
    raise ValueError(
        f"{called} reads the {what} {name!r} ({type(value).__name__}), whose value would be part of no key; "
        f"make it an argument and pass functools.partial({called}, {name}=…)"
    )


def _argument(name: str, value: Any, asked: Any, seen: list[Any]) -> Any:
    """What identifies the value of an argument: plain, a function, or a dataclass of plain values."""
    if isinstance(value, (types.FunctionType, functools.partial)) or _is_importable(value):
        return _function(value, asked, seen)
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, plain(name, asdict(value))]
    return plain(name, value)


def _is_importable(value: Any) -> bool:
    """Whether another process finds this very function or class by its module and name."""
    if isinstance(value, types.BuiltinFunctionType):  # of a module or class; a method of an object is not alone
        return value.__self__ is None or isinstance(value.__self__, (types.ModuleType, type))
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
    if not callable(value) or not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _importable(value: Any) -> list[str]:
    module = getattr(value, "__module__", None) or ""
    return [module, getattr(value, "__qualname__", value.__name__), _file_digest(sys.modules.get(module))]


def _file_digest(module: types.ModuleType | None) -> str:
    """Of a module that is not installed, and so has no version: ours, or one beside a notebook."""
    file = getattr(module, "__file__", None)
    if module is None or file is None or not file.endswith(".py"):
        return ""
    path = Path(file).resolve()
    if module.__name__.split(".")[0] in PACKAGES:
        return digest(*(_parts(path.parent) if path.name == "__init__.py" else [path]))
    installed = any(path.is_relative_to(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix))
    return "" if installed else digest(path)


def _parts(package: Path) -> list[Path]:
    """All modules of a package: whoever has the package may reach any of them."""
    return sorted(package.rglob("*.py"))


def _looked_up(code: types.CodeType, *instructions: str) -> set[str]:
    """Names that these instructions look up, in compiled code and the code within it."""
    names = {found.argval for found in dis.get_instructions(code) if found.opname in instructions}
    return names.union(
        *(_looked_up(value, *instructions) for value in code.co_consts if isinstance(value, types.CodeType))
    )


def _code(code: types.CodeType) -> list[Any]:
    """Compiled code without line numbers and docstring."""
    constants = [_code(value) if isinstance(value, types.CodeType) else _constant(value) for value in code.co_consts]
    if _has_docstring(code):
        constants[0] = repr(None)
    names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
    return [code.co_code.hex(), constants, *names, code.co_argcount, code.co_kwonlyargcount]


def _has_docstring(code: types.CodeType) -> bool:
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & 0x4000000)
    is_function = code.co_flags & 0x3 == 0x3 and not code.co_name.startswith("<")
    return is_function and isinstance(next(iter(code.co_consts), None), str)


def _constant(value: Any) -> str:
    """The order of a set's elements is chance."""
    return f"frozenset({sorted(map(repr, value))})" if isinstance(value, frozenset) else repr(value)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
