"""Sweeps: every arm under every condition with every seed, as a table that grows and is never computed twice."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnlib import source
from bnlib.objects import function, items, path_of, table
from bnlib.runs import Conditions, Look, Run, run_group
from bnlib.runs import code as _code
from bnlib.training import Arm, Schedule
from bnlib.validation import wholes

__all__ = ["Conditions", "Look", "Run", "by_seed", "run_group", "sweep"]


def sweep(
    arms: Sequence[Arm],
    conditions: Sequence[Conditions],
    schedule: Schedule | Sequence[Schedule],
    seeds: Sequence[int],
    *,
    look: Look | None = None,
    look_steps: int | Sequence[int] | None = None,
    executor: Executor | None = None,
    store: str | Path | None = None,
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Train every arm under every condition with every seed, and look at each network once, or as often as wanted.

    Parameters
    ----------
    arms : sequence of bnlib.training.Arm
        Trained together where schedule, conditions and seed are the same. Where a schedule has channels: of
        normalization "batch" or "none", without fixed gamma, and trained one by one.
    conditions : sequence of Conditions
    schedule : bnlib.training.Schedule or sequence of them
        With several, each trains everything: one sweep keeps all processes busy where a sweep a schedule would not.
    seeds : sequence of int
    look : callable, optional
        ``look(run)`` of a `Run` gives a dict that joins the row: numbers, strings, arrays and lists of them, by names
        of its own. It may be written in a notebook, and reads nothing but its arguments, modules, and functions
        written there: other values are given by ``functools.partial(look, name=value)``.
    look_steps : int or sequence of int, optional
        Without it `look` is called once, on the trained network. With it, it is called after each of these numbers of
        steps, from 0 to ``schedule.steps(rows)``, and each of its values becomes a list, one entry a look; ``look_steps``
        is a column. One number asks for about so many looks on a logarithmic scale, the start and the trained network
        among them.
    executor : concurrent.futures.Executor, optional
        Who runs the groups; default: a pool of one process a core, ``LOKY_MAX_CPU_COUNT`` of them at most. Each group
        computes on one thread. A Dask cluster is ``Client(…).get_executor()``.
    store : path, optional
        Folder where finished rows are kept and looked for, one file a row; default: ``BNLIB_STORE``, else none.
    root : path, optional
        As for `bnlib.data.load`.

    Returns
    -------
    pandas.DataFrame
        One row a schedule, condition, seed and arm, in that order: the fields of all four; ``code``, which
        identifies library and versions; accuracy and loss on ``train`` (of full sets 10,000 rows), ``validation``
        and ``test``; ``signal_share``, the mean over the units of the first layer of the signal's share in the
        variance (theorem noise), NaN for convolutions; for batch normalization, the first layer's ``rate`` and
        ``l2_rate`` (`bnlib.meter.Report.by_layer`), ``l2_rate_error``, the standard error of that reading,
        ``learned_gamma``, the root mean square of gamma, and ``gamma_below_0``, the share of units with a negative
        one; and what `look` gives.

    Raises
    ------
    ValueError
        If there is no arm, condition, schedule or seed, or one is given twice; if an arm does not go with channels; if
        `look` reads what no key can hold, or gives what is not plain or a name that the row has already; if
        `look_steps` is not within the training; if an argument is no such thing at all.
    TypeError
        If `look` is no function that another process finds, or gives no dict.
    ImportError
        If no `executor` is given and loky, of the extra ``sweeps``, is not installed.

    Notes
    -----
    A row is the same to the last bit whoever runs it, in whatever order, interrupted or not. Rows that join a sweep
    later are trained without the arms already there: they agree with those of a sweep made at once to rounding.
    A kept row is used again for the same arm, conditions, schedule, seed, code of the library, code and arguments of
    `look`, and `look_steps`.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> arms, few = [Arm("batch"), Arm("none", weight_decay=1e-3)], [Conditions(train_size=256)]
    >>> with ThreadPoolExecutor(1) as here:
    ...     runs = sweep(arms, few, Schedule(hidden=(8,), epochs=1), seeds=[0], executor=here)
    >>> runs[["normalization", "weight_decay", "train_size", "seed"]].values.tolist()
    [['batch', 0.0, 256, 0], ['none', 0.001, 256, 0]]
    """
    schedules = [schedule] if isinstance(schedule, Schedule) else schedule
    given: dict[str, Any] = {"arms": arms, "conditions": conditions, "schedule": schedules, "seeds": seeds}
    kinds = {"arms": Arm, "conditions": Conditions, "schedule": Schedule, "seeds": object}
    for name, values in given.items():
        if hasattr(values, "__len__") and not isinstance(values, str) and not len(values):
            raise ValueError(f"{name} is empty; a sweep needs at least one")
        given[name] = values = items(name, values, kinds[name], kinds[name].__name__)
        if len(set(values)) < len(values):
            raise ValueError(f"{name} holds one twice; each must be different")
    arms, conditions, schedules = given["arms"], given["conditions"], given["schedule"]
    seeds = wholes("seeds", given["seeds"], 0)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise ValueError(f"executor = {executor!r} has no submit(); it must be a concurrent.futures.Executor")
    if look is not None:
        function("look", look)
    store = None if store is None else path_of("store", store)
    for arm in arms if any(one.channels for one in schedules) else ():
        if arm.normalization not in ("batch", "none") or arm.gamma is not None:
            raise ValueError(
                f"{arm} does not go with channels; its normalization must be 'batch' or 'none', gamma None"
            )
    if look is None and look_steps is not None:
        raise ValueError(f"look_steps = {look_steps} without look; give both, or look alone")
    if isinstance(look_steps, np.integer):
        look_steps = int(look_steps)
    if look_steps is not None and not isinstance(look_steps, int):
        look_steps = tuple(sorted(set(wholes("look_steps", look_steps, least=None))))
    looked = None if look is None else [source.function_digest(look), look_steps]
    kept = _Store(store or os.environ.get("BNLIB_STORE"))
    wanted = [
        (one, condition, int(seed), arm)
        for one in schedules
        for condition in conditions
        for seed in seeds
        for arm in arms
    ]
    keys = {cell: _key(*cell, looked) for cell in wanted}
    rows = {cell: row for cell in wanted if (row := kept.get(keys[cell])) is not None}
    groups: dict[tuple[Schedule, Conditions, int], list[Arm]] = {}
    for one, condition, seed, arm in wanted:
        if (one, condition, seed, arm) not in rows:
            groups.setdefault((one, condition, seed), []).append(arm)
    pool: Any = executor or _own_pool()
    with _bar(total=len(wanted), initial=len(rows)) as advance:
        futures = {
            pool.submit(run_group, group_arms, condition, seed, one, root, look, look_steps): (one, condition, seed)
            for (one, condition, seed), group_arms in groups.items()
        }

        def keep(future: Future) -> None:
            group = futures[future]
            for arm, row in zip(groups[group], future.result()):
                rows[*group, arm] = row
                kept.put(keys[*group, arm], row)
            advance(len(groups[group]))

        try:
            for future in as_completed(futures):
                keep(future)
        except BaseException:
            for future in futures:
                if not future.cancel() and future.done() and future.exception() is None:
                    keep(future)
            if executor is None:
                pool.shutdown(kill_workers=True)
            raise
    return pd.DataFrame([rows[cell] for cell in wanted])


def by_seed(rows: pd.DataFrame, values: str, condition: str = "noise_std") -> pd.DataFrame:
    """A column of a sweep as a table with a row for each seed and a column for each value of `condition`.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one arm, or from `bnlib.search`.
    values, condition : str

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        If `rows` is no table with these columns and ``seed``, has no rows, or has one seed and condition twice.

    Examples
    --------
    >>> rows = pd.DataFrame({"seed": [0, 0, 1, 1], "noise_std": [0.0, 1.0] * 2, "rate": [0.5, 0.2, 0.6, 0.1]})
    >>> by_seed(rows, "rate").loc[1].tolist()
    [0.6, 0.1]
    """
    table("rows", rows, ("seed", values, condition))
    if rows.duplicated(["seed", condition]).any():
        raise ValueError(f"rows has a seed and {condition} twice; give the rows of one arm")
    return rows.pivot(index="seed", columns=condition, values=values)


def _own_pool() -> Executor:
    try:
        import loky
    except ModuleNotFoundError as error:
        raise ImportError(
            "loky is not installed: sweeps need the extra: pip install '.[sweeps]' in a clone; or give an executor"
        ) from error
    # a pool that outlives the call: the next sweep finds its processes warm and their data loaded
    return loky.get_reusable_executor(loky.cpu_count(), timeout=60)


@contextmanager
def _bar(total: int, initial: int) -> Iterator[Callable[[int], object]]:
    """A progress bar where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda networks: None
    else:
        with tqdm(total=total, initial=initial, desc="sweep", unit="network") as bar:
            yield bar.update


class _Store:
    """Finished rows, one small file each: written whole or not at all, whoever is killed when."""

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = Path(folder) if folder else None

    def get(self, key: str) -> dict[str, Any] | None:
        if self._folder is None:
            return None
        try:
            row = json.loads((self._folder / f"{key}.json").read_text())
        except (FileNotFoundError, ValueError):  # none, or one that was cut: it is computed
            return None
        return row if row and isinstance(row, dict) else None

    def put(self, key: str, row: dict[str, Any]) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{key}.{os.getpid()}"
        try:
            partial.write_text(json.dumps(row, indent=1) + "\n")
            partial.replace(self._folder / f"{key}.json")
        finally:
            partial.unlink(missing_ok=True)  # a full disk


def _key(schedule: Schedule, condition: Conditions, seed: int, arm: Arm, looked: Any = None) -> str:
    """Identifies a row by all that it depends on: configuration, code, look and data.

    Data sets are fixed by their names: their archives are checked by MD5, or part of a pinned wheel.
    """
    configuration = [asdict(condition), seed, asdict(arm), asdict(schedule), _code(), looked]
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:32]
