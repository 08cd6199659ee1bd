"""Files that are known by their MD5: read within bounds, and put in their place whole or not at all."""

import contextlib
import gzip
import hashlib
import http.client
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two processes that fetch at once both fetch, and neither breaks anything
    fcntl = None  # type: ignore[assignment]

AGAIN = "delete it and run `make data`"


def unpacked(path: Path, most: int, what_to_do: str = AGAIN) -> bytes:
    """What a file holds, unpacked where its name ends in ``.gz``.

    Parameters
    ----------
    path : Path
    most : int
        Bytes that it may have, unpacked; no more are read.
    what_to_do : str
        For the message.

    Raises
    ------
    ValueError
        If it is damaged or larger.
    PermissionError
        If it may not be read.

    Examples
    --------
    >>> len(unpacked(Path(__file__), 100_000)) > 1000
    True
    >>> unpacked(Path(__file__), 10)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ...originals.py is not the original: unpacked, it has more than 10 bytes; delete it and run `make data`
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(most + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; {what_to_do}") from error
    except PermissionError as error:
        raise PermissionError(f"{path} may not be read; change its permissions, or {what_to_do}") from error
    if len(content) > most:
        raise ValueError(f"{path} is not the original: unpacked, it has more than {most:,} bytes; {what_to_do}")
    return content


def checked(path: Path, most: int, md5: str) -> bytes:
    """What a file holds, if that is the original.

    Parameters
    ----------
    path, most
        As for `unpacked`.
    md5 : str
        Of the content, unpacked.

    Raises
    ------
    ValueError, PermissionError
        As for `unpacked`; and if the MD5 differs.
    """
    content = unpacked(path, most)
    if (found := hashlib.md5(content).hexdigest()) != md5:
        raise ValueError(f"{path} is not the original: its MD5, unpacked, is {found}, the original's is {md5}; {AGAIN}")
    return content


def fetch(folder: Path, inside: str, bring: Callable[[Path], object], is_whole: Callable[[Path], bool]) -> None:
    """Fill a folder with files from elsewhere: all of them or none, whoever is killed when.

    Parameters
    ----------
    folder : Path
        One process at a time fills it; the others wait.
    inside : str
        Path of the files in it.
    bring : callable
        Fetches them into the folder that it gets, under the same path.
    is_whole : callable
        Whether the folder that it gets has them, undamaged; where it has, nothing is fetched.

    Raises
    ------
    OSError
        If something cannot be written.
    RuntimeError
        If they cannot be fetched, or what came is not whole.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if is_whole(folder / inside):
                return
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as name:
                came = Path(name) / inside
                bring(Path(name))
                if not is_whole(came):
                    raise RuntimeError("what came is not the original")
                (folder / inside).mkdir(parents=True, exist_ok=True)
                for path in sorted(came.iterdir()):
                    path.replace(folder / inside / path.name)
    except (OSError, RuntimeError, EOFError, zlib.error, http.client.HTTPException) as error:
        number = getattr(error, "errno", None)
        if number is None or isinstance(error, ConnectionError):
            raise RuntimeError(
                f"the files of {folder / inside} could not be fetched: {error}; nothing has changed there: try again, "
                "or copy them there"
            ) from error
        raise OSError(
            number,
            f"{os.strerror(number)}: nothing was left there; make room, or set BNLIB_DATA to a folder that you may write",
            str(getattr(error, "filename", None) or folder),
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others out of `folder`, and remove what one that was killed left there."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in folder.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)
