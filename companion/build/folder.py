"""The build folder: one build at a time, and the new site in the place of the old one in one step."""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import time

from companion import BUILD
from companion.build import BuildFailed

PATIENCE = 10  # seconds: what a killed build started is gone by then
NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
AT_CWD, EXCHANGE = -100, 2  # of Linux's renameat2


class Occupied(BuildFailed):
    """Another build is running in this folder."""


@contextlib.contextmanager
def alone(folder=BUILD, patience=PATIENCE):
    """Keep every other build out of `folder`; the lock goes with its processes, however they end.

    Parameters
    ----------
    folder : Path
    patience : float
        Seconds to wait for another one.

    Raises
    ------
    Occupied
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                # processes that run chapters share it: it is free when the last of them has ended
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise Occupied(
                        f"another build is running in this folder, {folder}: process {file.read().strip() or 'unknown'}; "
                        "wait until it ends, or set BNLIB_BUILD to another folder"
                    ) from None
                time.sleep(0.1)
        with contextlib.suppress(OSError):  # a full disk: who holds the lock is for a message alone
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def not_written(error):
    """What to tell of an error of the system: what could not be written and what to do; None of any other error.

    Parameters
    ----------
    error : OSError

    Examples
    --------
    >>> print(not_written(PermissionError(errno.EACCES, "Permission denied", "/book")))
    cannot write /book: Permission denied; the site is as it was. Make room, or set BNLIB_BUILD to a folder that you may write
    >>> not_written(FileNotFoundError(errno.ENOENT, "No such file", "/book")) is None
    True
    """
    if isinstance(error, shutil.Error):  # of a copied folder: (from, to, why) of each file
        _, path, why = error.args[0][0]
        number = next((one for one in NOT_WRITTEN if os.strerror(one) in why), None)
        error = OSError(number, os.strerror(number), path) if number else error
    if error.errno not in NOT_WRITTEN:
        return None
    return (
        f"cannot write {error.filename or BUILD}: {error.strerror}; the site is as it was. "
        "Make room, or set BNLIB_BUILD to a folder that you may write"
    )


def write(path, text):
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def swap(new, site):
    """Put the folder `new` in the place of `site`; at every moment `site` is the old one or the new one, whole.

    Where the system cannot exchange two folders, there is a moment without a site, and `recover` ends it.
    """
    old = _old(site)
    site.parent.mkdir(parents=True, exist_ok=True)
    if not site.exists():
        new.rename(site)
    elif _exchanged(new, site):
        shutil.rmtree(new)
    else:
        shutil.rmtree(old, ignore_errors=True)
        site.rename(old)
        new.rename(site)
    shutil.rmtree(old, ignore_errors=True)


def recover(site):
    """Put the old site back where a build was killed before the new one was in its place."""
    if not site.exists() and _old(site).is_dir():
        _old(site).rename(site)


def _old(site):
    return site.with_name(f"{site.name}.old")


def _exchanged(one, other):
    """Exchange two paths in one step, and say whether this system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(AT_CWD, os.fsencode(one), AT_CWD, os.fsencode(other), EXCHANGE) == 0
