"""Sweeps: every arm under every condition with every seed, as a table that grows and is never computed twice."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from bnlib import data, meter, models, moments, source, training
from bnlib.data import SIDE
from bnlib.training import Arm, Schedule
from bnlib.validation import choice, nonnegative

# of training batches, from which batch normalization's rate is read: a small mean of widely scattered gradients. How far
# the blocks differ tells how much of the reading is chance
RATE_BLOCKS, RATE_BLOCK, RATE_BLOCK_CONVOLUTIONAL = 5, 100, 20
PARTS = {"train": 10_000, "validation": None, "test": None}  # how many rows are looked at; None: all
CONVOLUTIONAL_ROWS = 1000  # that are evaluated at a time


@dataclass(frozen=True)
class Conditions:
    """What the data of an experiment are like.

    Parameters
    ----------
    dataset : str
        As for `bnlib.data.load`.
    train_size : int, optional
        Images to train on, drawn anew with every seed; default: the whole training split.
    label_noise : float
        Share of the training labels, from 0 to 1, that are replaced by another class.
    noise_std : float
        Standard deviation of fresh Gaussian noise on the inputs, in training and evaluation, in units of
        the pixels' standard deviation.
    noisy_side : {"both", "left"}
        Which half of the image the noise is on.
    input_scale : float
        Factor on the inputs, noise included.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> Conditions(noise_std=0.5, noisy_side="left").pixel_noise_std.reshape(28, 28)[0, 12:16]
    array([0.5, 0.5, 0. , 0. ])
    """

    dataset: str = "mnist-5k"
    train_size: int | None = None
    label_noise: float = 0.0
    noise_std: float = 0.0
    noisy_side: str = "both"
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        choice("dataset", self.dataset, data.NAMES)
        choice("noisy_side", self.noisy_side, ("both", "left"))
        nonnegative("noise_std", self.noise_std)
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise = {self.label_noise} is no share; it must be from 0 to 1")
        if not self.input_scale > 0:
            raise ValueError(f"input_scale = {self.input_scale} is not positive; it must be above 0")

    @property
    def pixel_noise_std(self) -> float | NDArray[np.float64]:
        """Standard deviation of the noise on every pixel before scaling, a number or an array (784,)."""
        if self.noisy_side == "both":
            return self.noise_std
        return np.tile(np.where(np.arange(SIDE) < SIDE // 2, self.noise_std, 0.0), SIDE)

    def training_rows(self, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of the training split are used, and their labels, mistakes included.

        Parameters
        ----------
        labels : ndarray, shape (n,)
            Of the training split.
        seed : int

        Returns
        -------
        rows, labels : ndarray of int64, shape (train_size,)

        Raises
        ------
        ValueError
            If `train_size` exceeds the split.
        """
        size = len(labels) if self.train_size is None else self.train_size
        if not 0 < size <= len(labels):
            raise ValueError(f"train_size = {size} does not fit the training split; it must be from 1 to {len(labels)}")
        rng = np.random.default_rng([seed, 4])
        rows = np.arange(len(labels)) if self.train_size is None else np.sort(rng.permutation(len(labels))[:size])
        given = labels[rows]
        wrong = rng.permutation(size)[: round(self.label_noise * size)]
        classes = labels.max() + 1
        given[wrong] = (given[wrong] + rng.integers(1, classes, len(wrong))) % classes
        return rows, given


@dataclass(frozen=True, eq=False)
class Run:
    """What a `look` of `sweep` gets: a network, where it is in its training, and what it was trained on.

    Parameters
    ----------
    model : torch.nn.Sequential
        A copy, to do with as one likes: in training mode before the last step, in evaluation mode once trained.
    arm, conditions, schedule, seed
        As in the sweep.
    step : int
        Steps taken; `schedule.steps(len(inputs))` in the trained network.
    inputs : ndarray, shape (n, 784), dtype float32
        What the network is trained on, standardized and scaled, without noise.
    labels : ndarray, shape (n,), dtype int64
        Mistakes included.
    cov : ndarray, shape (784, 784)
        Covariance of the whole training split without noise, in units of `inputs`.
    noise_std : float or ndarray, shape (784,)
        Standard deviation of the noise, in units of `inputs`.
    held_out : dict of str to tuple
        ``validation`` and ``test``, each (inputs, labels), without noise.
    """

    model: nn.Sequential
    arm: Arm
    conditions: Conditions
    schedule: Schedule
    seed: int
    step: int
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    cov: NDArray[np.float64]
    noise_std: float | NDArray[np.float64]
    held_out: dict[str, tuple[np.ndarray, np.ndarray]]

    def batches(
        self, count: int, stream: int = 3, batch_size: int | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches as in training, in another order and with fresh noise; the same at every look.

        Parameters
        ----------
        count : int
            How many; as many passes over the rows as that takes.
        stream : int
            Numbers of different streams give different draws. 1 is what training itself draws, 2 the noise of the
            evaluation, 3 what the row's own ``rate`` is read from.
        batch_size : int, optional
            Default: that of the schedule.

        Returns
        -------
        iterator of (inputs, labels)
            `count` pairs of tensors, shapes (batch_size, 784) and (batch_size,).

        Raises
        ------
        ValueError
            When it is read, if there are fewer rows than a batch has.
        """
        size = self.schedule.batch_size if batch_size is None else batch_size
        passes = -(-count // max(1, len(self.inputs) // size))
        drawn = training.batches(self.inputs, self.labels, size, passes, [self.seed, stream], self.noise_std)
        return islice(drawn, count)


Look = Callable[[Run], dict[str, Any]]


def sweep(
    arms: Sequence[Arm],
    conditions: Sequence[Conditions],
    schedule: Schedule,
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
        Trained together where conditions and seed are the same. Where the schedule has channels: of normalization
        "batch" or "none", without fixed gamma, and trained one by one.
    conditions : sequence of Conditions
    schedule : bnlib.training.Schedule
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
        Who runs the groups; default: a pool of one process a core. Each group computes on one thread. A Dask
        cluster is ``Client(…).get_executor()``.
    store : path, optional
        Folder where finished rows are kept and looked for, one file a row; default: ``BNLIB_STORE``, else none.
    root : path, optional
        As for `bnlib.data.load`.

    Returns
    -------
    pandas.DataFrame
        One row a condition, seed and arm, in that order: the fields of all three and of the schedule; ``code``,
        which identifies library and versions; accuracy and loss on ``train`` (of full sets 10,000 rows),
        ``validation`` and ``test``; ``signal_share``, the mean over the units of the first layer of the signal's
        share in the variance (theorem noise), NaN for convolutions; for batch normalization, the first layer's
        ``rate`` and ``l2_rate`` (`bnlib.meter.Report.by_layer`), ``l2_rate_error``, the standard error of that
        reading, and ``learned_gamma``, the root mean square of gamma; and what `look` gives.

    Raises
    ------
    ValueError
        If there is no arm, condition or seed, or one is given twice; if an arm does not go with channels; if `look`
        reads what no key can hold, or gives what is not plain or a name that the row has already; if `look_steps`
        is not within the training.
    ImportError
        If no `executor` is given and loky, of the extra ``sweeps``, is not installed.

    Notes
    -----
    A row is the same to the last bit whoever runs it, in whatever order, interrupted or not. Rows that join a sweep
    later are trained without the arms already there: they agree with those of a sweep made at once to rounding.
    A kept row is used again for the same arm, conditions, schedule, seed, code of the library, code and arguments of
    `look`, and `look_steps`.
    """
    for name, values in {"arms": arms, "conditions": conditions, "seeds": seeds}.items():
        if not len(values):
            raise ValueError(f"{name} is empty; a sweep needs at least one")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} holds one twice; each must be different")
    for arm in arms if schedule.channels else ():
        if arm.normalization not in ("batch", "none") or arm.gamma is not None:
            raise ValueError(
                f"{arm} does not go with channels; its normalization must be 'batch' or 'none', gamma None"
            )
    if look is None and look_steps is not None:
        raise ValueError(f"look_steps = {look_steps} without look; give both, or look alone")
    if look_steps is not None and not isinstance(look_steps, int):
        look_steps = tuple(sorted({int(step) for step in look_steps}))
    looked = None if look is None else [source.function_digest(look), look_steps]
    kept = _Store(store or os.environ.get("BNLIB_STORE"))
    wanted = [(condition, int(seed), arm) for condition in conditions for seed in seeds for arm in arms]
    keys = {cell: _key(*cell, schedule, looked) for cell in wanted}
    rows = {cell: row for cell in wanted if (row := kept.get(keys[cell])) is not None}
    groups: dict[tuple[Conditions, int], list[Arm]] = {}
    for condition, seed, arm in wanted:
        if (condition, seed, arm) not in rows:
            groups.setdefault((condition, seed), []).append(arm)
    pool = executor or _own_pool()
    with _bar(total=len(wanted), initial=len(rows)) as advance:
        futures = {
            pool.submit(run_group, group_arms, *group, schedule, root, look, look_steps): group
            for group, group_arms in groups.items()
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


def best_decays(runs: pd.DataFrame, conditions: Sequence[str] = ("noise_std",)) -> pd.DataFrame:
    """What a search finds: for each condition and seed the row without normalization of lowest validation loss.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `sweep`.
    conditions : sequence of str
        The columns that tell conditions apart.

    Returns
    -------
    pandas.DataFrame
        Those rows. A training that diverged, so that its loss is not a number, is never the best.
    """
    searched = runs[runs.normalization == "none"].dropna(subset="validation_loss")
    return searched.loc[searched.groupby(["seed", *conditions]).validation_loss.idxmin()]


def by_seed(rows: pd.DataFrame, values: str, condition: str = "noise_std") -> pd.DataFrame:
    """A column of a sweep as a table with a row for each seed and a column for each value of `condition`.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one arm, or from `best_decays`.
    values, condition : str

    Returns
    -------
    pandas.DataFrame
    """
    return rows.pivot(index="seed", columns=condition, values=values)


def run_group(
    arms: Sequence[Arm],
    condition: Conditions,
    seed: int,
    schedule: Schedule,
    root: str | Path | None = None,
    look: Look | None = None,
    look_steps: int | Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `sweep` for arms that share conditions and seed, computed on one thread.

    Parameters
    ----------
    arms : sequence of bnlib.training.Arm
    condition : Conditions
    seed : int
    schedule : bnlib.training.Schedule
    root, look, look_steps
        As for `sweep`.

    Returns
    -------
    list of dict
        Plain numbers, strings and lists, in the order of `arms`.
    """
    with _one_thread():
        prepared = _prepared(condition.dataset, root)
        scale = np.float32(condition.input_scale)
        used, labels = condition.training_rows(prepared.labels["train"], seed)
        inputs = prepared.inputs["train"][used] * scale
        noise_std = condition.pixel_noise_std * condition.input_scale
        held_out = {part: (prepared.inputs[part] * scale, prepared.labels[part]) for part in ("validation", "test")}
        looks = None
        if look is not None:
            cov = prepared.cov * condition.input_scale**2
            shown = Run(None, None, condition, schedule, seed, 0, inputs, labels, cov, noise_std, held_out)
            looks = _Looks(look, look_steps, shown, arms)
        trained = _trained(arms, inputs, labels, schedule, seed, noise_std, looks)
        shared = asdict(condition) | {"seed": seed} | asdict(schedule) | {"code": _code()}
        shared |= {name: "-".join(map(str, getattr(schedule, name))) for name in ("hidden", "channels")}
        shared |= {"hidden": ""} if schedule.channels else {}
        rows = [asdict(arm) | shared for arm in arms]
        for part, limit in PARTS.items():
            seen = (inputs, labels) if part == "train" else held_out[part]
            chunk_rows = CONVOLUTIONAL_ROWS if schedule.channels else None
            found = training.evaluate(trained, *(array[:limit] for array in seen), noise_std, seed, chunk_rows)
            for row, (accuracy, loss) in zip(rows, found):
                row |= {f"{part}_accuracy": accuracy, f"{part}_loss": loss}
        for row, arm, model in zip(rows, arms, trained):
            row |= {"signal_share": _signal_share(model, prepared.cov, condition.pixel_noise_std)}
            row |= dict.fromkeys(("rate", "l2_rate", "l2_rate_error", "learned_gamma"), np.nan)
            if arm.normalization == "batch":
                row |= _reading(model, inputs, labels, schedule, seed, noise_std)
        if looks is not None:
            rows = [_joined(row, found) for row, found in zip(rows, looks.found())]
    return rows


def _trained(arms, inputs, labels, schedule, seed, noise_std, looks):
    """A trained network for each arm, looked at while it is trained where that is wanted."""
    observe = None if looks is None else looks.observe
    if not schedule.channels:
        trained = training.train(arms, inputs, labels, schedule, seed, noise_std, observe)
    else:
        trained = []
        for place, arm in enumerate(arms):
            model = models.convolutional(
                schedule.channels, arm.normalization, classes=int(labels.max()) + 1, seed=seed, side=SIDE
            )
            watch = None if observe is None else lambda step, model, place=place: observe(step, [model], place)
            trained.append(
                training.train_alone(model, inputs, labels, schedule, seed, arm.weight_decay, noise_std, watch)
            )
    if looks is not None:
        looks.trained(trained)
    return trained


class _Looks:
    """What a look finds in the networks of a group, at the steps wanted."""

    def __init__(self, look, look_steps, shown, arms):
        self._look, self._shown, self._arms = look, shown, arms
        self._last = shown.schedule.steps(len(shown.inputs))
        self._is_one = look_steps is None
        self._steps = _steps_of(look_steps, self._last)
        self._found = [[] for _ in arms]

    def observe(self, step, networks, first=0):
        if step in self._steps and step < self._last:
            self._take(step, networks, first)

    def trained(self, networks):
        if self._last in self._steps:
            self._take(self._last, networks, 0)

    def found(self):
        """For each arm the dict that joins its row."""
        if self._is_one:
            return [looks[0] for looks in self._found]
        for looks in self._found:
            if any(look.keys() != looks[0].keys() for look in looks):
                raise ValueError("look gave other names at another step; it must give the same at every look")
        return [
            {"look_steps": self._steps} | {name: [look[name] for look in looks] for name in looks[0]}
            for looks in self._found
        ]

    def _take(self, step, networks, first):
        for place, network in enumerate(networks, start=first):
            run = replace(self._shown, model=copy.deepcopy(network), arm=self._arms[place], step=step)
            # whoever draws from torch's own generator in a look draws the same in every process
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                given = self._look(run)
            if not isinstance(given, dict):
                raise TypeError(f"look gave {type(given).__name__}; it must give a dict")
            self._found[place].append({name: source.plain(f"{name!r} of look", given[name]) for name in given})


def _steps_of(look_steps, last):
    """The numbers of steps after which a training of `last` steps is looked at."""
    if look_steps is None:
        return [last]
    if isinstance(look_steps, int):
        if look_steps < 2:
            raise ValueError(
                f"look_steps = {look_steps}; give at least 2, for the start and the end, or a list of steps"
            )
        return (np.unique(np.geomspace(1, last + 1, look_steps).round().astype(int)) - 1).tolist()
    if not look_steps or min(look_steps) < 0 or max(look_steps) > last:
        raise ValueError(f"look_steps = {list(look_steps)}; there must be at least one, each from 0 to {last}")
    return list(look_steps)


def _joined(row, found):
    if twice := row.keys() & found.keys():
        raise ValueError(f"look gives {', '.join(sorted(twice))}, which the row has already; give it another name")
    return row | found


def _reading(model, inputs, labels, schedule, seed, noise_std):
    """What the meter says of the first layer, on batches as in training and noise that training has not seen."""
    block = RATE_BLOCK_CONVOLUTIONAL if schedule.channels else RATE_BLOCK
    passes = -(-RATE_BLOCKS * block // (len(inputs) // schedule.batch_size))
    drawn = training.batches(inputs, labels, schedule.batch_size, passes, [seed, 3], noise_std)
    reports = [meter.measure(model, islice(drawn, block), nn.functional.cross_entropy) for _ in range(RATE_BLOCKS)]
    blocks = pd.DataFrame([report.by_layer().iloc[0] for report in reports])
    gammas = reports[0].gamma[np.equal(reports[0].layer, blocks.layer.iloc[0])]
    return {
        "rate": float(blocks.rate.mean()),
        "l2_rate": float(blocks.l2_rate.mean()),
        "l2_rate_error": float(blocks.l2_rate.sem()),
        "learned_gamma": float(np.sqrt(np.mean(gammas**2))),
    }


@dataclass(frozen=True)
class _Prepared:
    inputs: dict
    labels: dict
    cov: np.ndarray


@lru_cache(maxsize=2)
def _prepared(dataset, root):
    """A data set as training takes it: once a process, not once a group."""
    loaded = data.load(dataset, root)
    inputs = training.standardize(loaded)
    labels = {part: getattr(loaded, part).labels for part in inputs}
    cov = moments.Moments.from_data(inputs["train"], labels["train"]).cov
    return _Prepared(inputs, labels, cov)


def _signal_share(model, cov, noise_std):
    """Mean over the units of the first layer of w'Sigma w / (w'Sigma w + w'N w)."""
    if not isinstance(model[0], nn.Linear):
        return np.nan
    weight = model[0].weight.detach().double().numpy()
    signal = np.einsum("ki,ki->k", weight @ cov, weight)
    noise = np.square(weight * noise_std).sum(axis=1)
    return float(np.mean(signal / (signal + noise)))


def _own_pool() -> Executor:
    try:
        import loky
    except ModuleNotFoundError as error:
        raise ImportError(
            "loky is not installed: sweeps need the extra: pip install '.[sweeps]' in a clone; or give an executor"
        ) from error
    # a pool that outlives the call: the next sweep finds its processes warm and their data loaded
    return loky.get_reusable_executor(os.cpu_count() or 1, timeout=60)


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


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Store:
    """Finished rows, one small file each: written whole or not at all, whoever is killed when."""

    def __init__(self, folder):
        self._folder = Path(folder) if folder else None

    def get(self, key):
        if self._folder is None:
            return None
        try:
            return json.loads((self._folder / f"{key}.json").read_text())
        except FileNotFoundError:
            return None

    def put(self, key, row):
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{key}.{os.getpid()}"
        partial.write_text(json.dumps(row, indent=1) + "\n")
        partial.replace(self._folder / f"{key}.json")


def _key(condition, seed, arm, schedule, looked=None):
    """Identifies a row by all that it depends on: configuration, code, look and data.

    Data sets are fixed by their names: their archives are checked by MD5, or part of a pinned wheel.
    """
    configuration = [asdict(condition), seed, asdict(arm), asdict(schedule), _code(), looked]
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _code():
    """Identifies the modules that compute a row and the versions of what they stand on."""
    return source.digest(__file__, packages=("bnlib",), versions=("python", "torch", "numpy"))
