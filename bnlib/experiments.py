"""Sweeps: every arm under every condition with every seed, as a table that grows and is never computed twice."""

import hashlib
import inspect
import json
import os
import sys
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import loky
import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from bnlib import data, meter, models, moments, stack, training
from bnlib.data import SIDE
from bnlib.validation import choice, nonnegative

# of training batches, from which batch normalization's rate is read: a small mean of widely scattered gradients. How far
# the blocks differ tells how much of the reading is chance
RATE_BLOCKS, RATE_BLOCK = 5, 100
PARTS = {"train": 10_000, "validation": None, "test": None}  # how many rows are looked at; None: all


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

    def __post_init__(self):
        choice("dataset", self.dataset, data.NAMES)
        choice("noisy_side", self.noisy_side, ("both", "left"))
        nonnegative("noise_std", self.noise_std)
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise = {self.label_noise} is no share; it must be from 0 to 1")
        if not self.input_scale > 0:
            raise ValueError(f"input_scale = {self.input_scale} is not positive; it must be above 0")

    @property
    def pixel_noise_std(self):
        """Standard deviation of the noise on every pixel before scaling, a number or an array (784,)."""
        if self.noisy_side == "both":
            return self.noise_std
        return np.tile(np.where(np.arange(SIDE) < SIDE // 2, self.noise_std, 0.0), SIDE)

    def training_rows(self, labels, seed):
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


def sweep(arms, conditions, schedule, seeds, executor=None, store=None, root=None):
    """Train every arm under every condition with every seed, and look at each network once.

    Parameters
    ----------
    arms : sequence of bnlib.training.Arm
        Trained together where conditions and seed are the same.
    conditions : sequence of Conditions
    schedule : bnlib.training.Schedule
    seeds : sequence of int
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
        share in the variance (T6); and, for batch normalization, the first layer's ``rate`` and ``l2_rate``
        (`bnlib.meter.Report.by_layer`), ``l2_rate_error``, the standard error of that reading, and
        ``learned_gamma``, the root mean square of gamma.

    Raises
    ------
    ValueError
        If there is no arm, condition or seed, or one is given twice.

    Notes
    -----
    A row is the same to the last bit whoever runs it, in whatever order, interrupted or not. Rows that join a sweep
    later are trained without the arms already there: they agree with those of a sweep made at once to rounding.
    """
    for name, values in {"arms": arms, "conditions": conditions, "seeds": seeds}.items():
        if not len(values):
            raise ValueError(f"{name} is empty; a sweep needs at least one")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} holds one twice; each must be different")
    kept = _Store(store or os.environ.get("BNLIB_STORE"))
    wanted = [(condition, int(seed), arm) for condition in conditions for seed in seeds for arm in arms]
    keys = {cell: _key(*cell, schedule) for cell in wanted}
    rows = {cell: row for cell in wanted if (row := kept.get(keys[cell])) is not None}
    groups = {}
    for condition, seed, arm in wanted:
        if (condition, seed, arm) not in rows:
            groups.setdefault((condition, seed), []).append(arm)
    # a pool that outlives the call: the next sweep finds its processes warm and their data loaded
    pool = loky.get_reusable_executor(os.cpu_count() or 1, timeout=60) if executor is None else executor
    with tqdm(total=len(wanted), initial=len(rows), desc="sweep", unit="network") as bar:
        futures = {
            pool.submit(run_group, group_arms, *group, schedule, root): group for group, group_arms in groups.items()
        }

        def keep(future):
            group = futures[future]
            for arm, row in zip(groups[group], future.result()):
                rows[*group, arm] = row
                kept.put(keys[*group, arm], row)
            bar.update(len(groups[group]))

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


def best_decays(runs, conditions=("noise_std",)):
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


def by_seed(rows, values, condition="noise_std"):
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


def run_group(arms, condition, seed, schedule, root=None):
    """The rows of `sweep` for arms that share conditions and seed, computed on one thread.

    Parameters
    ----------
    arms : sequence of bnlib.training.Arm
    condition : Conditions
    seed : int
    schedule : bnlib.training.Schedule
    root : path, optional

    Returns
    -------
    list of dict
        Plain numbers and strings, in the order of `arms`.
    """
    with _one_thread():
        prepared = _prepared(condition.dataset, root)
        scale = np.float32(condition.input_scale)
        used, labels = condition.training_rows(prepared.labels["train"], seed)
        inputs = prepared.inputs["train"][used] * scale
        noise_std = condition.pixel_noise_std * condition.input_scale
        trained = training.train(arms, inputs, labels, schedule, seed, noise_std)
        shared = asdict(condition) | {"seed": seed} | asdict(schedule)
        shared |= {"hidden": "-".join(map(str, schedule.hidden)), "code": _code()}
        rows = [asdict(arm) | shared for arm in arms]
        for part, limit in PARTS.items():
            seen = (inputs, labels) if part == "train" else (prepared.inputs[part] * scale, prepared.labels[part])
            found = training.evaluate(trained, *(array[:limit] for array in seen), noise_std, seed)
            for row, (accuracy, loss) in zip(rows, found):
                row |= {f"{part}_accuracy": accuracy, f"{part}_loss": loss}
        for row, arm, model in zip(rows, arms, trained):
            row |= {"signal_share": _signal_share(model, prepared.cov, condition.pixel_noise_std)}
            row |= dict.fromkeys(("rate", "l2_rate", "l2_rate_error", "learned_gamma"), np.nan)
            if arm.normalization == "batch":
                row |= _reading(model, inputs, labels, schedule, seed, noise_std)
    return rows


def _reading(model, inputs, labels, schedule, seed, noise_std):
    """What the meter says of the first layer, on batches as in training and noise that training has not seen."""
    passes = -(-RATE_BLOCKS * RATE_BLOCK // (len(inputs) // schedule.batch_size))
    drawn = training.batches(inputs, labels, schedule.batch_size, passes, [seed, 3], noise_std)
    reports = [meter.measure(model, islice(drawn, RATE_BLOCK), nn.functional.cross_entropy) for _ in range(RATE_BLOCKS)]
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
    weight = model[0].weight.detach().double().numpy()
    signal = np.einsum("ki,ki->k", weight @ cov, weight)
    noise = np.square(weight * noise_std).sum(axis=1)
    return float(np.mean(signal / (signal + noise)))


@contextmanager
def _one_thread():
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


def _key(condition, seed, arm, schedule):
    """Identifies a row by all that it depends on: configuration, code and data.

    Data sets are fixed by their names: their archives are checked by MD5, or part of a pinned wheel.
    """
    configuration = [asdict(condition), seed, asdict(arm), asdict(schedule), _code()]
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _code():
    """Identifies the modules that compute a row and the versions of what they stand on."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {torch.__version__} {np.__version__}".encode())
    for module in (data, meter, models, moments, stack, training, sys.modules[__name__]):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:12]
