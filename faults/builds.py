"""Builds under fault: what lies in ``_build/html`` afterwards, and what the next build makes of the rest."""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from companion.build import checksums
from faults import stand_ins
from faults.table import Try, impossible, row_of, without_places
from faults.tiny import Book

FAMILY = "builds"
SIGNALS = {signal.SIGINT: "Ctrl-C (SIGINT)", signal.SIGTERM: "SIGTERM", signal.SIGKILL: "kill -9"}
SEED = 13
NOBODY = 65534
WHOLE = 4  # whole builds that get each signal
ONE, OTHER = "2.0 * count, 4.0", "1.0 * count + 2.0, 4.0"  # two texts of a cell: two states of the book


class States:
    """A tiny book, its two states, and the site of each, built from nothing.

    Parameters
    ----------
    root : Path
    build : callable
        Takes a book and builds it.
    """

    def __init__(self, root, build):
        self.book, self._build, self.now = Book.make(root), build, 0
        build(self.book)
        self.sums = [checksums.sums(self.book.site)]
        self.to(1)
        other = Book(root, Path(root) / "from-nothing")
        build(other)
        self.sums.append(checksums.sums(other.site))
        shutil.rmtree(other.build)
        self.to(0)
        assert self.sums[0] != self.sums[1]

    def to(self, state):
        """Edit the chapter, so that the next build is of this state."""
        if state != self.now:
            self.book.edit("one", *((ONE, OTHER) if state else (OTHER, ONE)))
            self.now = state

    def shown(self):
        """Which state the site shows: 0 or 1, or None where it is neither, or not whole."""
        if not checksums.are_right(self.book.site):
            return None
        found = checksums.sums(self.book.site)
        return self.sums.index(found) if found in self.sums else None

    def judged(self, old, said=""):
        """What came of a build that something happened to: looked at now, then after another one."""
        first = self.shown()
        came = "no whole site" if first is None else "old site" if first == old else "new site"
        try:
            self._build(self.book)
            after = self.shown()
            came += ", next build right" if after == self.now else ", NEXT BUILD WRONG"
        except Exception as error:  # noqa: BLE001
            after, came = None, f"{came}, NEXT BUILD FAILED"
            said = said or str(error)
        return Try(came, first is None or after != self.now, said)


def built(book):
    """Build with kernels, papermill and Sphinx."""
    status, said = book.run()
    if status:
        raise RuntimeError(said)


def here(book):
    """Build in a process of its own, in which `faults.stand_ins` are at work."""
    _, said = stand_ins.apart(lambda: stand_ins.build(book))
    if said:
        raise RuntimeError(said)


# whole builds


def interrupted(states, number, tries, rng):
    """Signals at random moments of whole builds: by turns to the command alone and to all that it started."""
    book, found = states.book, []
    states.to(1 - states.now)
    started = time.monotonic()
    built(book)
    took = time.monotonic() - started
    for turn in range(tries):
        old = states.now
        states.to(1 - old)
        process = book.start()
        time.sleep(rng.uniform(0.02, 1.0) * took)
        (os.killpg if turn % 2 else os.kill)(process.pid, number)
        said, _ = process.communicate()
        left = left_over(book)
        one = states.judged(old, last_words(said, book) if number != signal.SIGKILL and process.returncode else "")
        found.append(Try(f"{one.came}, {left} PROCESSES LEFT", True, one.said) if left else one)
    return row_of(FAMILY, f"{SIGNALS[number]} at a random moment of a whole build", found)


def left_over(book, patience=10):
    """How many processes of a build are still there after a while."""
    mark, deadline = f"BNLIB_BUILD={book.build}\0".encode(), time.monotonic() + patience
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    found.append(path.parent.name)
        if not found or time.monotonic() > deadline:
            return len(found)
        time.sleep(0.2)


def last_words(said, book):
    """What a command said at its end: from its error on, else its last line."""
    said = re.sub(r".*\r", "", said).strip()
    ends = re.search(r"^(error|interrupted): .*", said, flags=re.MULTILINE | re.DOTALL)
    words = ends[0] if ends else (said.splitlines() or [""])[-1]
    return without_places(words, book.root, book.build)


def refused(states, fault, change, wanted, undo=None):
    """A book that cannot be built: the message, the site of before, and that it builds when it is mended.

    Parameters
    ----------
    states : States
    fault : str
    change : callable
        Takes the book and makes it unbuildable.
    wanted : str
        Regular expression that the message has to fit.
    undo : callable, optional
        Default: the chapters are written back.
    """
    book, old = states.book, states.now
    texts = {path: path.read_bytes() for path in (book.root / "book").glob("*.*")}
    change(book)
    status, said = book.run()
    words = last_words(said, book)
    if undo:
        undo(book)
    for path, text in texts.items():
        path.write_bytes(text)
    one = states.judged(old, words)
    left = left_over(book)
    if status == 0 or not re.search(wanted, words, flags=re.DOTALL) or left:
        one = Try(f"{one.came}; status {status}, {left} processes left, OTHER WORDS", True, words)
    return row_of(FAMILY, fault, [one])


def with_cell(code):
    """A chapter that has one cell more."""
    return lambda book: book.write("two", book.chapter("two").read_text() + f"\n# %%\n{code}\n")


def hanging(book):
    with_cell("time.sleep(10_000)")(book)
    profiles = book.root / "book" / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("limit: {tiny: 30}", "limit: {tiny: 12}"))


REFUSED = {
    "a chapter that hangs": (hanging, r"two\.py, cell \d+: still running after 12 s.*profiles\.yml"),
    "a kernel killed, as for memory": (
        with_cell("import os\nos.kill(os.getpid(), 9)"),
        r"two\.py, cell \d+: Kernel died.*memory",
    ),
    "a process of the build killed, as for memory": (
        with_cell("import os\nos.kill(os.getppid(), 9)"),
        r"killed.*memory.*not run: .*two",
    ),
    "a warning of a cell": (
        with_cell("import warnings\nwarnings.warn('careful')"),
        r"two\.py, cell \d+ wrote to stderr",
    ),
    "wrong TeX on a page": (
        lambda book: book.edit("two", "# $2 \\cdot 2 = 4$.", "# $\\frac{1$."),
        r"book/two: KaTeX parse error",
    ),
}


def two_at_once(states):
    """Two builds started together in one folder: one builds, the other says so, or waits and finds nothing to do."""
    book, old = states.book, states.now
    states.to(1 - old)
    processes = [book.start() for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    failed = [one for process, one in zip(processes, said) if process.returncode]
    words = last_words(failed[0], book) if failed else ""
    one = states.judged(old, words)
    if len(failed) > 1 or (failed and "another build is running in this folder" not in words):
        one = Try(f"{one.came}; {len(failed)} FAILED", True, words)
    return row_of(FAMILY, "two builds at once in one folder", [one])


# disks


@contextlib.contextmanager
def small_disk(place, size):
    """A file system of its own in memory; the function that it gives changes it: its size, or whether it is read-only."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True, capture_output=True)

    def changed(options):
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True, capture_output=True)

    try:
        yield changed
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def full_disks(root, room):
    """Builds on a disk that is full after so many bytes more, and on one that is read-only."""
    place = Path(root) / "disk"
    place.mkdir(parents=True)
    try:
        with small_disk(place, "1g") as changed:
            states = States(place / "book", built)
            found = []
            for free in room:
                used = shutil.disk_usage(place).used
                old = states.now
                states.to(1 - old)
                changed(f"size={used + free}")
                status, said = states.book.run()
                changed("size=1g")
                words = last_words(said, states.book) if status else ""
                one = states.judged(old, words)
                if status and not re.search(r"[Nn]o space left|disk full", words):
                    one = Try(f"{one.came}; OTHER WORDS", True, words)
                found.append(one)
            yield row_of(FAMILY, "a disk that is full after some bytes more", found)
            old = states.now
            states.to(1 - old)
            changed("ro")
            status, said = states.book.run()
            changed("rw")
            words = last_words(said, states.book)
            one = states.judged(old, words)
            if not status or "Read-only file system" not in words:
                one = Try(f"{one.came}; OTHER WORDS", True, words)
            yield row_of(FAMILY, "a disk that is read-only", [one])
    except (subprocess.CalledProcessError, FileNotFoundError, PermissionError) as error:
        why = getattr(error, "stderr", None) or str(error)
        why = why.decode() if isinstance(why, bytes) else why
        yield impossible(FAMILY, "a disk that is full or read-only", f"no file system could be mounted ({why.strip()})")


# builds with stand-ins


def not_allowed(states):
    """A tree that may be read and not written, for one who is not root."""
    book, old = states.book, states.now
    states.to(1 - old)
    paths = [book.root, *book.root.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222 | 0o444 | (0o111 if path.is_dir() else 0))
    user = NOBODY if os.getuid() == 0 else None
    _, said = stand_ins.apart(lambda: stand_ins.build(book), user=user)
    for path, mode in modes.items():
        path.chmod(mode)
    words = without_places(said, book.root)
    one = states.judged(old, words)
    if not re.search(r"cannot write .*Permission denied.*BNLIB_BUILD", words):
        one = Try(f"{one.came}; OTHER WORDS", True, words)
    return row_of(FAMILY, "a tree that may not be written, as a user who is not root*", [one])


def at_steps(states, number, every):
    """A signal before and after calls that change the disk: all of them, or every so manyth."""
    book, found = states.book, []
    states.to(1 - states.now)
    moments, _ = stand_ins.apart(lambda: stand_ins.build(book), step=-1)
    for step in range(0, moments, every):
        old = states.now
        states.to(1 - old)
        stand_ins.apart(lambda: stand_ins.build(book), step, number)
        found.append(states.judged(old))
    return row_of(FAMILY, f"{SIGNALS[number]} before and after calls that change the disk*", found)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def without(path, pattern, into=""):
    """Change the text of a file, where it has to fit."""
    text, count = re.subn(pattern, into, path.read_text(), count=1)
    assert count, f"{path} has no {pattern}"
    path.write_text(text)


def notebook(book):
    return book.build / "executed" / "tiny" / "one.ipynb"


KEPT = {
    "an executed notebook cut": [
        lambda book, share=share: cut(notebook(book), share) for share in (0, 0.3, 0.9, 0.9999)
    ],
    "an executed notebook that is another file": [
        lambda book, text=text: notebook(book).write_text(text) for text in ("[]", "null", '{"metadata": {"bnlib": 1}}')
    ]
    + [lambda book: notebook(book).write_bytes(b"\xff\xfe")],
    "a record without a field": [lambda book: without(notebook(book), r'"statement": "[^"]*",')],
    "a number of a record changed": [lambda book: without(notebook(book), r'"measured": 4.0', '"measured": 5.0')],
    "recorded rows emptied": [lambda book: without(notebook(book), r'"csv": "[^"]+"', '"csv": ""')],
    "a file of rows in the site emptied": [lambda book: cut(book.site / "results" / "one.csv", 0)],
    "a page of the site cut": [lambda book: cut(book.site / "book" / "one.html", 0.5)],
    "a page of the site gone": [lambda book: (book.site / "book" / "one.html").unlink()],
    "the site gone": [lambda book: shutil.rmtree(book.site)],
    "the list of checksums cut": [lambda book: cut(book.site / "SHA256SUMS", 0.5)],
    "what the build remembers of the site cut": [
        lambda book, share=share: cut(book.build / "site.json", share) for share in (0, 0.5)
    ],
    "what the build remembers of the pages cut": [lambda book: cut(book.build / "sphinx" / "frame", 0.5)],
    "a source of the pages cut": [lambda book: cut(book.build / "sphinx" / "source" / "book" / "one.md", 0.5)],
    "left by a killed build: lock, half a site, half a notebook": [
        lambda book: [
            (book.build / "lock").write_text("1"),
            (book.build / "next-1").mkdir(exist_ok=True),
            (notebook(book).with_name(".one.ipynb.1.ipynb")).write_text("{"),
            (book.build / ".site.json.1").write_text("["),
        ]
    ],
    "killed between the two renames of a system without exchange": [
        lambda book: book.site.rename(book.site.with_name("html.old"))
    ],
}


def kept_files(states, fault):
    """Something that a build keeps is damaged before the next one, of the same book and of another."""
    found = []
    for damage, edit in itertools.product(KEPT[fault], (False, True)):
        if edit:
            states.to(1 - states.now)
        damage(states.book)
        before = states.now
        try:
            here(states.book)
            right = states.shown() == before
            found.append(Try("next build right" if right else "NEXT BUILD WRONG", not right))
        except RuntimeError as error:
            found.append(Try("NEXT BUILD FAILED", True, without_places(str(error), states.book.root)))
        if found[-1].lost:
            shutil.rmtree(states.book.build)
            here(states.book)
    return row_of(FAMILY, f"{fault}*", found)


def quick_rows(root, kills=2, interrupts=8):
    """Those with stand-ins: a kill at every moment or every so manyth, an interrupt at every so manyth."""
    stand_ins.build(Book.make(root / "warm"))  # what is imported here, no child has to import again
    states = States(root / "quick", here)
    yield at_steps(states, signal.SIGKILL, kills)
    yield at_steps(states, signal.SIGINT, interrupts)
    yield at_steps(states, signal.SIGTERM, interrupts)
    yield not_allowed(states)
    for fault in KEPT:
        yield kept_files(states, fault)


def whole_rows(root):
    """Those with kernels and Sphinx, the quickest first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in the background ignore it
    rng, states = random.Random(SEED), States(root / "whole", built)
    for fault, (change, wanted) in REFUSED.items():
        yield refused(states, fault, change, wanted)
    yield two_at_once(states)
    yield from full_disks(root, (20_000, 300_000, 3_000_000))
    for number in SIGNALS:
        yield interrupted(states, number, WHOLE, rng)
