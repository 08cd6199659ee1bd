"""One group of a sweep: what the data are like, the networks trained on them, and the rows that tell of them."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from bnlib import data, meter, models, moments, reading, source, training
from bnlib.data import SIDE
from bnlib.objects import choice, function, items, of_class
from bnlib.training import Arm, Schedule
from bnlib.validation import finite_array, nonnegative, number, whole

# of training batches, from which batch normalization's rate is read: a small mean of widely scattered gradients, read
# until its standard error is this share of it, but no further than so many batches
RATE_ERROR, RATE_BATCHES, RATE_BATCHES_CONVOLUTIONAL = 0.05, 500, 100
RATES = ("rate", "l2_rate", "l2_rate_error", "learned_gamma", "gamma_below_0")  # columns of a network that has one
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

    def __post_init__(self) -> None:
        choice("dataset", self.dataset, data.NAMES)
        choice("noisy_side", self.noisy_side, ("both", "left"))
        train_size = None if self.train_size is None else whole("train_size", self.train_size, 1)
        plain = {name: number(name, getattr(self, name)) for name in ("label_noise", "noise_std", "input_scale")}
        nonnegative("noise_std", self.noise_std)
        if not 0 <= plain["label_noise"] <= 1:
            raise ValueError(f"label_noise = {self.label_noise} is no share; it must be from 0 to 1")
        if not plain["input_scale"] > 0:
            raise ValueError(f"input_scale = {self.input_scale} is not positive; it must be above 0")
        for name, value in {"train_size": train_size, **plain}.items():  # Python's own numbers, which a key can hold
            object.__setattr__(self, name, value)

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
            If `train_size` exceeds the split, `labels` are no whole numbers from 0, or of one class where some of them
            are to be replaced by another.
        """
        seed, given = whole("seed", seed), finite_array("labels", labels, ndim=1)
        if (given != np.rint(given)).any() or given.min(initial=0) < 0:
            raise ValueError(f"labels has the value {given.min():g} or a fraction; it must hold whole numbers from 0")
        labels = given.astype(np.int64)
        size = len(labels) if self.train_size is None else self.train_size
        if not 0 < size <= len(labels):
            raise ValueError(f"train_size = {size} does not fit the training split; it must be from 1 to {len(labels)}")
        rng = np.random.default_rng([seed, 4])
        rows = np.arange(len(labels)) if self.train_size is None else np.sort(rng.permutation(len(labels))[:size])
        given = labels[rows]
        wrong = rng.permutation(size)[: round(self.label_noise * size)]
        classes = labels.max() + 1
        if len(wrong) and classes < 2:
            raise ValueError(f"labels has {classes} class, and label_noise = {self.label_noise} asks for another")
        given[wrong] = (given[wrong] + rng.integers(1, classes, len(wrong))) % classes
        return rows, given


@dataclass(frozen=True, eq=False)
class Run:
    """What a `look` of `bnlib.experiments.sweep` gets: a network, where it is in its training, and what it was trained on.

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
            If a number is no whole one above 0; when it is read, if there are fewer rows than a batch has.
        """
        size = self.schedule.batch_size if batch_size is None else whole("batch_size", batch_size, 1)
        count, stream = whole("count", count, 1), whole("stream", stream)
        passes = -(-count // max(1, len(self.inputs) // size))
        drawn = training.batches(self.inputs, self.labels, size, passes, [self.seed, stream], self.noise_std)
        return islice(drawn, count)


Look = Callable[[Run], dict[str, Any]]


def run_group(
    arms: Sequence[Arm],
    condition: Conditions,
    seed: int,
    schedule: Schedule,
    root: str | Path | None = None,
    look: Look | None = None,
    look_steps: int | Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `bnlib.experiments.sweep` for arms that share conditions and seed, computed on one thread.

    Parameters
    ----------
    arms : sequence of bnlib.training.Arm
    condition : Conditions
    seed : int
    schedule : bnlib.training.Schedule
    root, look, look_steps
        As for `bnlib.experiments.sweep`.

    Returns
    -------
    list of dict
        Plain numbers, strings and lists, in the order of `arms`.

    Raises
    ------
    ValueError
        As for `bnlib.experiments.sweep`.
    TypeError
        If `look` gives no dict.
    """
    items("arms", arms, Arm, "bnlib.training.Arm")
    of_class("condition", condition, Conditions)
    of_class("schedule", schedule, Schedule)
    seed = whole("seed", seed)
    if look is not None:
        function("look", look)
    with _one_thread():
        prepared = _prepared(condition.dataset, root)
        scale = np.float32(condition.input_scale)
        used, labels = condition.training_rows(prepared.labels["train"], seed)
        inputs = prepared.inputs["train"][used]  # a copy
        inputs *= scale
        noise_std = condition.pixel_noise_std * condition.input_scale
        held_out = {part: (prepared.inputs[part] * scale, prepared.labels[part]) for part in ("validation", "test")}
        looks = None
        if look is not None:
            cov = prepared.cov * condition.input_scale**2
            given = {
                "conditions": condition, "schedule": schedule, "seed": seed, "inputs": inputs, "labels": labels,
                "cov": cov, "noise_std": noise_std, "held_out": held_out,
            }  # fmt: skip
            looks = _Looks(look, look_steps, given, arms)
        trained = _trained(arms, inputs, labels, schedule, seed, noise_std, looks)
        shared = asdict(condition) | {"seed": seed} | asdict(schedule) | {"code": code()}
        shared |= {name: "-".join(map(str, getattr(schedule, name))) for name in ("hidden", "channels")}
        shared |= {"hidden": ""} if schedule.channels else {}
        rows = [asdict(arm) | shared for arm in arms]
        for part, limit in PARTS.items():
            part_inputs, part_labels = (inputs, labels) if part == "train" else held_out[part]
            found = training.evaluate(trained, part_inputs[:limit], part_labels[:limit], noise_std, seed)
            for row, (accuracy, loss) in zip(rows, found):
                row |= {f"{part}_accuracy": accuracy, f"{part}_loss": loss}
        for row, model in zip(rows, trained):
            row |= {"signal_share": _signal_share(model, prepared.cov, condition.pixel_noise_std)}
            row |= dict.fromkeys(RATES, np.nan)
        normalized = [place for place, arm in enumerate(arms) if arm.normalization == "batch"]
        if normalized:
            found = _rates([trained[place] for place in normalized], inputs, labels, schedule, seed, noise_std)
            for place, columns in zip(normalized, found):
                rows[place] |= columns
        if looks is not None:
            rows = [_joined(row, found) for row, found in zip(rows, looks.found())]
    return rows


def _trained(
    arms: Sequence[Arm],
    inputs: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    noise_std: ArrayLike,
    looks: "_Looks | None",
) -> list[nn.Sequential]:
    """A trained network for each arm, looked at while it is trained where that is wanted."""
    observe = None if looks is None else looks.observe
    trained: list[Any] = []
    if not schedule.channels:
        trained = training.train(arms, inputs, labels, schedule, seed, noise_std, observe)
    for place, arm in enumerate(arms if schedule.channels else ()):
        model = models.convolutional(
            schedule.channels, arm.normalization, classes=int(labels.max()) + 1, seed=seed, side=SIDE
        )
        watch = None if observe is None else lambda step, model, place=place: observe(step, [model], place)
        trained.append(training.train_alone(model, inputs, labels, schedule, seed, arm.weight_decay, noise_std, watch))
    if looks is not None:
        looks.trained(trained)
    return trained


class _Looks:
    """What a look finds in the networks of a group, at the steps wanted."""

    def __init__(
        self, look: Look, look_steps: int | Sequence[int] | None, given: dict[str, Any], arms: Sequence[Arm]
    ) -> None:
        self._look, self._given, self._arms = look, given, arms
        self._last = given["schedule"].steps(len(given["inputs"]))
        self._is_one = look_steps is None
        self._steps = _steps_of(look_steps, self._last)
        self._found: list[list[dict[str, Any]]] = [[] for _ in arms]

    def observe(self, step: int, networks: Sequence[Any], first: int = 0) -> None:
        if step in self._steps and step < self._last:
            self._take(step, networks, first)

    def trained(self, networks: Sequence[Any]) -> None:
        if self._last in self._steps:
            self._take(self._last, networks, 0)

    def found(self) -> list[dict[str, Any]]:
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

    def _take(self, step: int, networks: Sequence[Any], first: int) -> None:
        for place, network in enumerate(networks, start=first):
            run = Run(model=copy.deepcopy(network), arm=self._arms[place], step=step, **self._given)
            # whoever draws from torch's own generator in a look draws the same in every process
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                seen = self._look(run)
            if not isinstance(seen, dict):
                raise TypeError(f"look gave {type(seen).__name__}; it must give a dict")
            self._found[place].append({name: source.plain(f"{name!r} of look", seen[name]) for name in seen})


def _steps_of(look_steps: int | Sequence[int] | None, last: int) -> list[int]:
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


def _joined(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if twice := row.keys() & found.keys():
        raise ValueError(f"look gives {', '.join(sorted(twice))}, which the row has already; give it another name")
    return row | found


def _rates(
    models: Sequence[nn.Sequential],
    inputs: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    noise_std: ArrayLike,
) -> list[dict[str, float]]:
    """What the meter says of the first layer, on batches as in training and noise that training has not seen."""
    at_most = RATE_BATCHES_CONVOLUTIONAL if schedule.channels else RATE_BATCHES
    passes = -(-at_most // (len(inputs) // schedule.batch_size))

    def drawn() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return training.batches(inputs, labels, schedule.batch_size, passes, [seed, 3], noise_std)

    if not schedule.channels:
        found = reading.read(models, drawn(), at_most, RATE_ERROR)
        return [_columns(one.rate, one.l2_rate, one.l2_rate_error, one.gamma) for one in found]
    columns = []
    for model in models:
        report = meter.measure(
            model, drawn(), nn.functional.cross_entropy, batches_at_most=at_most, relative_error=RATE_ERROR
        )
        first = report.by_layer().iloc[0]
        gamma = report.gamma[np.equal(report.layer, first.layer)]
        columns.append(_columns(first.rate, first.l2_rate, first.l2_rate_error, gamma))
    return columns


def _columns(rate: float, l2_rate: float, l2_rate_error: float, gamma: np.ndarray) -> dict[str, float]:
    values = (rate, l2_rate, l2_rate_error, np.sqrt(np.mean(gamma**2)), np.mean(gamma < 0))
    return dict(zip(RATES, map(float, values)))


@dataclass(frozen=True)
class _Prepared:
    inputs: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    cov: np.ndarray


@lru_cache(maxsize=2)
def _prepared(dataset: str, root: str | Path | None) -> _Prepared:
    """A data set as training takes it: once a process, not once a group."""
    loaded = data.load(dataset, root)
    inputs = training.standardize(loaded)
    labels = {part: getattr(loaded, part).labels for part in inputs}
    cov = moments.Moments.from_data(inputs["train"], labels["train"]).cov
    return _Prepared(inputs, labels, cov)


def _signal_share(model: nn.Sequential, cov: np.ndarray, noise_std: ArrayLike) -> float:
    """Mean over the units of the first layer of w'Sigma w / (w'Sigma w + w'N w)."""
    if not isinstance(model[0], nn.Linear):
        return np.nan
    weight = model[0].weight.detach().double().numpy()
    signal = np.einsum("ki,ki->k", weight @ cov, weight)
    noise = np.square(weight * noise_std).sum(axis=1)
    return float(np.mean(signal / (signal + noise)))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def code() -> str:
    """Identifies the modules that compute a row and the versions of what they stand on."""
    return source.digest(__file__, packages=("bnlib",), versions=("python", "torch", "numpy"))
