"""The build in one process, in a tenth of a second: cells are run here, and a few lines stand in for Sphinx.

Everything that reads, decides, writes, swaps and forgets is the build's own. Only three things are not: the kernel, whose
cells `exec` runs; Sphinx, in whose place each source becomes a page; and what makes pages light.
"""

import contextlib
import io
import json
import os
import signal
import sys
import types
from pathlib import Path
from unittest import mock

import nbformat
import papermill

from companion import page
from companion.build import BuildFailed, chapters, checksums, claims, execute, finish, folder, site
from companion.build.execute import executed_path, is_current
from faults.tiny import PROFILE

# calls of C that change what is on the disk
CHANGES = {"open", "write", "flush", "truncate", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "sendfile"}
NO_PROCESS = 2**30


def build(book):
    """Build a tiny book here.

    Parameters
    ----------
    book : faults.tiny.Book
    """
    try:
        with stand_ins(book), folder.alone(book.build, patience=0):
            for chapter in chapters.chapters():
                target = executed_path(chapter, PROFILE)
                if not is_current(chapter, chapter.parameters(PROFILE), target):
                    execute.execute(chapter, chapter.parameters(PROFILE), target)
            site.build(PROFILE, book.site)
    except OSError as error:
        raise BuildFailed(folder.not_written(error) or str(error)) from error  # as the command line says it


@contextlib.contextmanager
def stand_ins(book):
    """The modules of the build, for the book in another folder."""
    with contextlib.ExitStack() as stack:
        places = {"BOOK": book.root / "book", "ROOT": book.root, "BUILD": book.build, "WORK": book.build / "sphinx"}
        for module in (chapters, claims, execute, site):
            here = {name: path for name, path in places.items() if hasattr(module, name)}
            stack.enter_context(mock.patch.multiple(module, **here))
        stack.enter_context(mock.patch.object(papermill, "execute_notebook", run))
        stack.enter_context(mock.patch("companion.build.assemble.sources", sources))
        stack.enter_context(mock.patch.object(site, "subprocess", mock.Mock(Popen=Pages)))
        stack.enter_context(mock.patch.object(site.pages, "commit", lambda: "none"))
        stack.enter_context(mock.patch.object(finish, "finish", summed))
        yield


def run(notebook, output, parameters, **_):
    """Run the cells of a notebook here; what they show is in its outputs, as a kernel leaves it."""
    shown, space = [], {"__name__": "__main__"}

    def emit(markup, text, record=None):
        kept = {} if record is None else {page.records.MIME: page.records.as_json(record)}
        shown.append({"text/html": markup, "text/plain": text} | kept)

    with mock.patch.object(page, "emit", emit):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source, space)  # noqa: S102
                cell.outputs = [nbformat.v4.new_output("display_data", data=data) for data in shown]
                shown.clear()
    Path(output).write_text(nbformat.writes(notebook))
    return notebook


def sources(book, notebooks, *_):
    """One source a chapter: what it says now, and what it showed."""
    texts = {name: [cell.get("outputs") for cell in notebook["cells"]] for name, notebook in notebooks.items()}
    return {f"book/{one.name}.md": f"{one.path.read_text()}\n{texts[one.name]}".encode() for one in book} | {
        "index.md": b"# A tiny book\n"
    }


class Pages:
    """In the place of Sphinx: each source is a page."""

    pid = NO_PROCESS

    def __init__(self, command, cwd, **_):
        html = Path(command[-2]) / "_build" / "html"
        for path in sorted(Path(cwd).rglob("*.md")):
            made = html / path.relative_to(cwd).with_suffix(".html")
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(path.read_bytes())
        (html / "_sources" / "book").mkdir(parents=True, exist_ok=True)
        self.stdin = mock.Mock()

    def wait(self):
        return 0


def summed(place, address=""):
    (place / checksums.FILE).write_text(checksums.listed(place))


def changes_the_disk(frame, function):
    """Whether a call of C, seen by a profiler, may change what is on the disk."""
    if getattr(function, "__name__", "") not in CHANGES or frame.f_locals.get("mode") in ("r", "rb"):
        return False
    return isinstance(getattr(function, "__self__", None), (types.ModuleType, io.TextIOWrapper, io.BufferedWriter))


def apart(action, step=None, number=signal.SIGKILL, user=None):
    """Run `action` in a process of its own, which may get a signal before or after a call that changes the disk.

    Parameters
    ----------
    action : callable
    step : int, optional
        The how manyth such moment; -1: none, they are counted; default: none, and nothing is counted.
    number : signal.Signals
        SIGKILL; or SIGINT, SIGTERM, on which Python unwinds as the command line does.
    user : int, optional
        Who runs it.

    Returns
    -------
    moments : int or None
        How many there were, where they are counted; None where the process was killed.
    said : str
        The error that ended it; empty if none did.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        seen, said = 0, ""

        def watch(frame, event, function):
            nonlocal seen
            if event in ("c_call", "c_return") and changes_the_disk(frame, function):
                seen += 1
                if seen - 1 == step:
                    os.kill(os.getpid(), number)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        try:
            if step is not None:
                sys.setprofile(watch)
            action()
        except BaseException as error:  # noqa: BLE001
            said = str(error) or type(error).__name__
        sys.setprofile(None)
        os.write(writing, json.dumps([seen, said]).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return tuple(json.loads(text)) if text else (None, "")
