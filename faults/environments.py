"""Environments under which a book is built and the library used: ``python -m faults.environments`` prints what came of each.

In each, a book of one chapter is built from an export without git, and the README's three lines measure a network. The site
has to be the one that the plain environment gives, byte by byte.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from companion.build import checksums
from faults.table import Try, impossible, printed, row_of, without_places
from faults.tiny import PROFILE, TOC, Book

FAMILY = "environment"
PATIENCE = 600  # seconds for one command
NOBODY = 65534
MEMORY = 4 * 2**30
KEEP = ("PATH", "HOME", "LANG", "TMPDIR")  # of this machine's environment; nothing else comes along
LIBRARY = """
import bnlib, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
inputs = torch.randn(20, 128, 20)
batches = list(zip(inputs, inputs[..., :3].argmax(dim=2)))
assert "16 of 16 channels of 1 layer have a rate" in str(bnlib.measure(model, batches, nn.functional.cross_entropy))
"""


@dataclasses.dataclass(frozen=True)
class Environment:
    """How one environment differs from the plain one.

    Parameters
    ----------
    fault : str
        In the words of the table.
    before : tuple of str
        What stands before the command.
    variables : dict of str to (str or None)
        Set, or taken away.
    folder : str
        Of the book.
    nobody : bool
        Whether another user runs it, who owns nothing but the book and may do nothing that root may.
    memory : int or None
        Bytes that all its processes together may take.
    """

    fault: str
    before: tuple = ()
    variables: dict = dataclasses.field(default_factory=dict)
    folder: str = "book"
    nobody: bool = False
    memory: int | None = None

    def missing(self):
        """Why it cannot be tried here; "" where it can."""
        programs = {word for word in self.before if word in ("unshare", "taskset")} | (
            {"setpriv"} if self.nobody else set()
        )
        absent = sorted(program for program in programs if not shutil.which(program))
        if absent:
            return f"no {absent[0]} on this machine"
        if (self.nobody or "unshare" in self.before) and os.geteuid() != 0:
            return "only root can set it up"
        if "unshare" in self.before and subprocess.run([*self.before[:2], "true"], check=False).returncode:
            return "this machine allows no namespaces"
        return ""


PLAIN = Environment("nothing unusual")
# a home that root cannot write to either: an empty file system that is mounted to be read
READ_ONLY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none "$HOME" && exec "$@"', "sh")
# nothing answers but this machine itself
OFFLINE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
OPENED = """closed=$1 kept=$2; shift 2
mount --bind "$kept" /mnt && mount -t tmpfs -o mode=755 none "$closed" && mkdir -p "$kept" && mount --bind /mnt "$kept" \\
  && exec "$@\""""
ENVIRONMENTS = (
    Environment("a path with blanks and umlauts", folder="zwei B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher & mehr"),
    Environment("a user that is not root", nobody=True),
    Environment("HOME unset", variables={"HOME": None}),
    Environment("HOME read-only", before=READ_ONLY),
    Environment("no git, neither program nor folder", variables={"PATH": "only-what-is-needed"}),
    Environment("LANG=C", variables={"LANG": "C", "LC_ALL": "C"}),
    Environment(
        "an ASCII locale, Python's UTF-8 mode off",
        variables={"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    Environment("TZ=Asia/Kathmandu", variables={"TZ": "Asia/Kathmandu"}),
    Environment("one core", before=("taskset", "--cpu-list", "0")),
    Environment("4 GB of memory", memory=MEMORY),
    Environment("offline, once installed", before=OFFLINE),
)


class Failed(Exception):
    """A command ended with another status than 0, or was ended."""


def run(environment, book, arguments):
    """Run Python in an environment.

    Returns
    -------
    int
        The most memory that its processes took together, in bytes.

    Raises
    ------
    Failed
        With what it said.
    """
    variables = {name: os.environ[name] for name in KEEP if name in os.environ}
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(book.root), "HOME": str(book.root.parent / "home")}
    changed = variables | environment.variables
    if environment.variables.get("PATH"):
        changed["PATH"] = str(_without_git(book.root.parent / "bin"))
    command = [*environment.before, *(_as_nobody() if environment.nobody else ()), sys.executable, *arguments]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=book.root,
            env={name: value for name, value in changed.items() if value is not None},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        most, ended = _watched(process, environment.memory)
        said.seek(0)
        text = said.read()
    if ended or process.returncode:
        raise Failed(ended or text)
    return most


def _as_nobody():
    """What stands before a command of a user without rights, who reaches Python wherever it is installed."""
    prefix = Path(sys.base_prefix)
    closed = next((str(folder) for folder in reversed(prefix.parents) if not folder.stat().st_mode & 0o001), None)
    rights = [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]
    if closed is None:
        return rights
    # Python is in root's own folder: what is mounted there is seen by this command alone
    return ["unshare", "--mount", "sh", "-c", OPENED, "sh", closed, str(prefix), *rights]


def _watched(process, memory):
    """Wait for a process; the most that it and its children took, and why it was ended, if it was."""
    most, deadline, why = 0, time.monotonic() + PATIENCE, ""
    while process.poll() is None:
        taken = 0
        with contextlib.suppress(psutil.Error):
            for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    taken += one.memory_full_info().pss  # what several share counts once
        most = max(most, taken)
        if memory and taken > memory:
            why = f"took {taken / 2**30:.1f} GB"
        elif time.monotonic() > deadline:
            why = f"not done after {PATIENCE} s"
        if why:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        time.sleep(0.2)
    return most, why


def _without_git(folder):
    """A folder of programs that has what a shell needs, and no git."""
    folder.mkdir(exist_ok=True)
    for program in ("sh", "env", "uname"):
        link = folder / program
        if not link.exists():
            link.symlink_to(shutil.which(program))
    return folder


def tried(environment, folder, wanted=None):
    """Build and measure in one environment.

    Parameters
    ----------
    environment : Environment
    folder : Path
        Empty.
    wanted : dict of str to str, optional
        Checksums of the site that the plain environment gave.

    Returns
    -------
    found : Try
    sums : dict of str to str
        Checksums of its site.
    """
    book = Book.make(folder / environment.folder)
    # one chapter is enough here
    (book.root / "_toc.yml").write_text(
        "".join(line for line in TOC.splitlines(True) if "two" not in line and "three" not in line)
    )
    (folder / "home").mkdir()
    if environment.nobody:
        folder.chmod(0o755)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    try:
        most = max(
            run(environment, book, ["-m", "companion", "book", "--profile", PROFILE, "--jobs", "1"]),
            run(environment, book, ["-c", LIBRARY]),
        )
    except Failed as error:
        return Try("failed", True, without_places(_last(str(error)), folder)), {}
    sums = checksums.sums(book.site)
    if wanted is not None and sums != wanted:
        names = sorted(name for name in sums.keys() | wanted.keys() if sums.get(name) != wanted.get(name))
        return Try("another site", True, f"{len(names)} files differ: {', '.join(names[:5])}"), sums
    memory = f", at most {most / 2**30:.1f} GB" if environment.memory else ""
    return Try(f"book built, the same site byte by byte, network measured{memory}", False), sums


def _last(text):
    """The last lines of an error."""
    return " ".join(text.strip().splitlines()[-3:])


def rows(environments=ENVIRONMENTS):
    """What came of every environment.

    Parameters
    ----------
    environments : sequence of Environment

    Returns
    -------
    list of dict
        With the fields of `faults.table.Row`.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="environments-") as name:
        plain, wanted = tried(PLAIN, _made(Path(name) / "plain"))
        if plain.lost:
            raise RuntimeError(f"no book in the plain environment, so that nothing can be compared: {plain.said}")
        Path(name).chmod(0o755)
        for number, environment in enumerate(environments):
            why = environment.missing()
            if why:
                row = impossible(FAMILY, environment.fault, why)
            else:
                one, _ = tried(environment, _made(Path(name) / str(number)), wanted)
                row = row_of(FAMILY, environment.fault, [one])
            print(printed(row), flush=True)
            found.append(dataclasses.asdict(row))
    return found


def _made(folder):
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(
        any(row["lost"] for row in rows([one for one in ENVIRONMENTS if not sys.argv[1:] or sys.argv[1] in one.fault]))
    )
