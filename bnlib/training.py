"""A plain, seeded, deterministic trainer for paired experiments.

Arms trained together share their seed: the same initial weights, the same batches and the same noise
draws (scaled by each arm's `noise_std`), so that they differ in nothing but what the arm says.
"""

import os
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from loky import ProcessPoolExecutor
from torch import nn
from tqdm import tqdm

from bnlib.meter import measure
from bnlib.models import NORMALIZATIONS, network
from bnlib.validation import choice, nonnegative


@dataclass(frozen=True)
class Arm:
    """One way of regularizing a network.

    Parameters
    ----------
    normalization : {"batch", "none"}
        As for `bnlib.models.network`.
    weight_decay : float
        Of ``torch.optim.SGD``, on every parameter.
    noise_std : float
        Standard deviation of fresh Gaussian noise on every input, in training and in evaluation.
    gamma : float, optional
        Fixed scale of batch normalization; learned without it.

    Examples
    --------
    >>> Arm("none", weight_decay=1e-3)
    Arm(normalization='none', weight_decay=0.001, noise_std=0.0, gamma=None)
    """

    normalization: str = "batch"
    weight_decay: float = 0.0
    noise_std: float = 0.0
    gamma: float | None = None

    def __post_init__(self):
        choice("normalization", self.normalization, NORMALIZATIONS)
        nonnegative("weight_decay", self.weight_decay)
        nonnegative("noise_std", self.noise_std)


@dataclass(frozen=True)
class Schedule:
    """What all arms of an experiment have in common.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    epochs, batch_size : int
        A last, smaller batch is dropped, so that every batch has the same size (T9).
    learning_rate : float
        At the first step; it falls linearly to 0 at the last.
    momentum : float
        Of ``torch.optim.SGD``.

    Examples
    --------
    >>> Schedule(epochs=2).batch_size
    128
    """

    hidden: tuple = (100,)
    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} trains nothing; it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate = {self.learning_rate} is not positive; it must be above 0")


def train(arms, inputs, labels, schedule, seed):
    """Train a network for every arm, side by side on the same batches and noise draws.

    Parameters
    ----------
    arms : sequence of Arm
    inputs : ndarray, shape (n, d), dtype float32
        Standardized as the caller likes; `Arm.noise_std` is in their units.
    labels : ndarray, shape (n,), dtype int64
        Classes from 0.
    schedule : Schedule
    seed : int
        Of initial weights, batches and noise.

    Returns
    -------
    list of torch.nn.Sequential
        In the order of `arms`, in evaluation mode.

    Raises
    ------
    ValueError
        If there are fewer rows than a batch has.

    Examples
    --------
    >>> inputs = np.random.default_rng(0).standard_normal((64, 5), dtype=np.float32)
    >>> labels = (inputs[:, 0] > 0).astype(np.int64)
    >>> models = train([Arm("batch"), Arm("none")], inputs, labels, Schedule(epochs=1, batch_size=32), seed=0)
    >>> len(models)
    2
    """
    inputs, labels = np.asarray(inputs, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    if len(inputs) < schedule.batch_size:
        raise ValueError(f"batch_size = {schedule.batch_size} exceeds the {len(inputs)} rows of inputs")
    rng = np.random.default_rng([seed, 1])
    widths = (inputs.shape[1], *schedule.hidden, int(labels.max()) + 1)
    models = [network(widths, arm.normalization, gamma=arm.gamma, seed=seed) for arm in arms]
    optimizers = [
        torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=arm.weight_decay,
        )
        for arm, model in zip(arms, models)
    ]
    batches = len(inputs) // schedule.batch_size
    steps, step = schedule.epochs * batches, 0
    for _ in range(schedule.epochs):
        order = rng.permutation(len(inputs))
        for rows in order[: batches * schedule.batch_size].reshape(batches, -1):
            x = torch.from_numpy(inputs[rows])
            target = torch.from_numpy(labels[rows])
            noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
            for arm, model, optimizer in zip(arms, models, optimizers):
                optimizer.param_groups[0]["lr"] = schedule.learning_rate * (1 - step / steps)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x + arm.noise_std * noise), target).backward()
                optimizer.step()
            step += 1
    return [model.eval() for model in models]


def settle(parameters, objective, iterations=100):
    """Minimize to rest: L-BFGS until nothing is left of the gradient but rounding.

    Parameters
    ----------
    parameters : sequence of torch.nn.Parameter
        Changed in place; float64 where rest is to mean rest.
    objective : callable
        ``objective()``, the scalar to minimize.
    iterations : int
        Of the first pass.

    Returns
    -------
    float
        The largest entry, in size, of the gradient that is left.

    Examples
    --------
    >>> w = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    >>> settle([w], lambda: (w - 1).square().sum()) < 1e-12
    True
    """

    def closure():
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    # the line search stops where losses differ by rounding only; the second pass compares none
    for line_search, steps in (("strong_wolfe", iterations), (None, 300)):
        optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=steps,
            history_size=50,
            tolerance_grad=1e-12,
            tolerance_change=0.0,
            line_search_fn=line_search,
        )
        optimizer.step(closure)
    closure()
    return max(float(parameter.grad.abs().max()) for parameter in parameters)


def evaluate(model, inputs, labels, noise_std, seed):
    """Accuracy and mean cross-entropy on inputs corrupted as in training.

    Parameters
    ----------
    model : torch.nn.Module
    inputs, labels : ndarray
    noise_std : float
    seed : int
        Of the noise: the same for every arm.

    Returns
    -------
    accuracy, loss : float
    """
    rng = np.random.default_rng([seed, 2])
    x = torch.from_numpy(inputs + np.float32(noise_std) * rng.standard_normal(inputs.shape, dtype=np.float32))
    target = torch.from_numpy(labels)
    with torch.no_grad():
        logits = model.eval()(x)
        accuracy = (logits.argmax(dim=1) == target).double().mean()
        return float(accuracy), float(nn.functional.cross_entropy(logits, target))


def sweep(arms, dataset, schedule, seeds, noise_stds, processes=None):
    """Train every arm at every noise level with every seed, processes side by side.

    Inputs are standardized by the training split's overall mean and standard deviation, two scalars, so
    that `noise_stds` are in units of the pixels' standard deviation.

    Parameters
    ----------
    arms : sequence of Arm
        Their `noise_std` is replaced by each of `noise_stds`.
    dataset : bnlib.data.Dataset
    schedule : Schedule
    seeds : sequence of int
    noise_stds : sequence of float
    processes : int, optional
        One thread each; default: the number of cores. Results do not depend on it.

    Returns
    -------
    pandas.DataFrame
        One row an arm, noise level and seed: the arm's fields, ``seed``, accuracy and loss on
        ``train``, ``validation`` and ``test``, and, for batch normalization, the measured ``rate`` and
        ``l2_rate`` of the first layer (`bnlib.meter.Report.by_layer`) on the training split.
    """
    for name, values in {"arms": arms, "seeds": seeds, "noise_stds": noise_stds}.items():
        if not len(values):
            raise ValueError(f"{name} is empty; a sweep needs at least one")
    groups = [([replace(arm, noise_std=float(std)) for arm in arms], seed) for std in noise_stds for seed in seeds]
    processes = min(processes or os.cpu_count() or 1, len(groups))
    with ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(dataset, schedule)) as pool:
        futures = [pool.submit(_train_group, *group) for group in groups]
        rows = [row for future in tqdm(futures, desc="sweep", unit="group") for row in future.result()]
    return pd.DataFrame(rows)


def standardize(dataset):
    """Images of the three splits, shifted and scaled by two scalars of the training split.

    Parameters
    ----------
    dataset : bnlib.data.Dataset

    Returns
    -------
    dict of str to ndarray, shape (n, 784), dtype float32
        Keys ``train``, ``validation``, ``test``; the pixels of ``train`` have mean 0 and standard deviation 1.
    """
    mean = dataset.train.images.mean(dtype=np.float64)
    std = dataset.train.images.std(dtype=np.float64)
    parts = ("train", "validation", "test")
    return {part: ((getattr(dataset, part).images - mean) / std).astype(np.float32) for part in parts}


# what every group of a sweep shares: sent to a worker process once, not with every group
_shared = {}


def _start_worker(dataset, schedule):
    torch.set_num_threads(1)
    _shared.update(dataset=dataset, schedule=schedule, inputs=standardize(dataset))


def _train_group(arms, seed):
    dataset, schedule, inputs = _shared["dataset"], _shared["schedule"], _shared["inputs"]
    models = train(arms, inputs["train"], dataset.train.labels, schedule, seed)
    rows = []
    for arm, model in zip(arms, models):
        row = asdict(arm) | {"seed": seed}
        for part in inputs:
            accuracy, loss = evaluate(model, inputs[part], getattr(dataset, part).labels, arm.noise_std, seed)
            row |= {f"{part}_accuracy": accuracy, f"{part}_loss": loss}
        if arm.normalization == "batch":
            batches = _batches(inputs["train"], dataset.train.labels, schedule, arm, seed)
            first = measure(model, batches, nn.functional.cross_entropy).by_layer().iloc[0]
            row |= {"rate": first.rate, "l2_rate": first.l2_rate}
        rows.append(row)
    return rows


def _batches(inputs, labels, schedule, arm, seed):
    """One epoch as in training, on noise that training has not seen."""
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(inputs))
    batches = len(inputs) // schedule.batch_size
    for rows in order[: batches * schedule.batch_size].reshape(batches, -1):
        noise = rng.standard_normal((len(rows), inputs.shape[1]), dtype=np.float32)
        yield torch.from_numpy(inputs[rows] + np.float32(arm.noise_std) * noise), torch.from_numpy(labels[rows])
