"""A seeded, deterministic trainer for paired experiments: many networks at once, on one thread.

Arms trained together share their seed: the same initial weights, the same batches and the same noise, so that
they differ in nothing but what the arm says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from bnlib.descent import fit, half_squared_error, settle
from bnlib.layers import check_module, output_of
from bnlib.models import NORMALIZATIONS, network
from bnlib.objects import choice, function, items, of_class
from bnlib.stack import Stack
from bnlib.validation import finite_array, nonnegative, number, real_array, whole, wholes

if TYPE_CHECKING:
    from bnlib.data import Dataset

__all__ = [
    "Arm",
    "Schedule",
    "batches",
    "evaluate",
    "fit",
    "half_squared_error",
    "settle",
    "standardize",
    "train",
    "train_alone",
]


@dataclass(frozen=True)
class Arm:
    """One way of regularizing a network.

    Parameters
    ----------
    normalization : {"batch", "layer", "weight", "none"}
        As for `bnlib.models.network`.
    weight_decay : float
        Of ``torch.optim.SGD``, on every parameter that is learned.
    gamma : float, optional
        Fixed scale of batch normalization; learned without it.

    Raises
    ------
    ValueError
        If `normalization` is unknown, `weight_decay` negative or `gamma` 0, or one is no number.

    Examples
    --------
    >>> Arm("none", weight_decay=1e-3)
    Arm(normalization='none', weight_decay=0.001, gamma=None)
    """

    normalization: str = "batch"
    weight_decay: float = 0.0
    gamma: float | None = None

    def __post_init__(self) -> None:
        choice("normalization", self.normalization, NORMALIZATIONS)
        gamma = None if self.gamma is None else number("gamma", self.gamma)
        if gamma == 0:
            raise ValueError("gamma = 0 switches the units off; it must be nonzero")
        weight_decay = float(nonnegative("weight_decay", number("weight_decay", self.weight_decay)))
        _plainly(self, gamma=gamma, weight_decay=weight_decay)


@dataclass(frozen=True)
class Schedule:
    """What all arms of an experiment have in common.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    epochs, batch_size : int
        A last, smaller batch is dropped, so that every batch has the same size (theorem minibatch).
    learning_rate : float
        At the first step; it falls linearly to 0 at the last.
    momentum : float
        Of ``torch.optim.SGD``.
    channels : tuple of int
        Where given, the network is `bnlib.models.convolutional` of these, and `hidden` is of no concern.

    Raises
    ------
    ValueError
        If a width, `epochs` or `batch_size` is no whole number above 0, `learning_rate` not above 0, or `momentum` not
        from 0 to below 1.

    Examples
    --------
    >>> Schedule(epochs=2).batch_size
    128
    """

    hidden: tuple[int, ...] = (100,)
    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _plainly(self, **{name: wholes(name, getattr(self, name)) for name in ("hidden", "channels")})
        for name in ("epochs", "batch_size"):
            if whole(name, getattr(self, name), least=None) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} trains nothing; it must be at least 1")
        if not 0 <= number("momentum", self.momentum) < 1:
            raise ValueError(f"momentum = {self.momentum} must be from 0 to below 1")
        if not number("learning_rate", self.learning_rate) > 0:
            raise ValueError(f"learning_rate = {self.learning_rate} is not positive; it must be above 0")
        _plainly(self, **{name: number(name, getattr(self, name)) for name in ("learning_rate", "momentum")})
        _plainly(self, **{name: int(getattr(self, name)) for name in ("epochs", "batch_size")})

    def steps(self, rows: int) -> int:
        """Steps of a training on that many rows; a ValueError where that is no whole number."""
        return self.epochs * (whole("rows", rows) // self.batch_size)


def batches(
    inputs: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    batch_size: int,
    epochs: int,
    stream: Sequence[int],
    noise_std: ArrayLike = 0.0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of a training: rows in a new order in every epoch, and fresh Gaussian noise on every input.

    Parameters
    ----------
    inputs : ndarray or torch.Tensor, shape (n, d)
    labels : ndarray or torch.Tensor of int64, shape (n,)
    batch_size, epochs : int
        A last, smaller batch is dropped.
    stream : sequence of int
        Seeds the order and the noise, each by itself: neither depends on `noise_std`.
    noise_std : float or array_like, shape (d,)
        Standard deviation of the noise, in units of the inputs; 0 draws none.

    Yields
    ------
    x : torch.Tensor, shape (batch_size, d), dtype of `inputs`; float32 where noise is added to whole numbers
    target : torch.Tensor, shape (batch_size,)

    Raises
    ------
    ValueError
        If there are fewer rows than a batch has, or another number of labels; if `inputs` are no finite real numbers, a
        noise level is negative or not of the shape of a row, or an argument is no such thing at all.

    Examples
    --------
    >>> [x.shape for x, _ in batches(np.zeros((5, 3)), np.zeros(5, int), batch_size=2, epochs=1, stream=[0])]
    [torch.Size([2, 3]), torch.Size([2, 3])]
    """
    inputs, labels = _tensor("inputs", inputs), _tensor("labels", labels)
    batch_size, epochs, stream = (
        whole("batch_size", batch_size, 1),
        whole("epochs", epochs, 1),
        wholes("stream", stream, 0),
    )
    if inputs.ndim < 1 or labels.ndim < 1 or len(labels) != len(inputs):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}; inputs of shape {tuple(inputs.shape)} need one a row"
        )
    if len(inputs) < batch_size:
        raise ValueError(f"batch_size = {batch_size} exceeds the {len(inputs)} rows of inputs")
    add_noise = _noise(noise_std, stream, inputs)
    order = np.random.default_rng(stream)
    for _ in range(epochs):
        rows = torch.from_numpy(order.permutation(len(inputs)))
        for chosen in rows[: len(rows) // batch_size * batch_size].view(-1, batch_size):
            yield add_noise(inputs.index_select(0, chosen)), labels[chosen]


def train(
    arms: Sequence[Arm],
    inputs: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    noise_std: ArrayLike = 0.0,
    observe: Callable[[int, list[nn.Sequential]], object] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[nn.Sequential]:
    """Train a network for every arm, as one `bnlib.stack.Stack`, on the same batches and noise.

    Parameters
    ----------
    arms : sequence of Arm
    inputs : ndarray, shape (n, d)
        Standardized as the caller likes.
    labels : ndarray, shape (n,), dtype int64
        Classes from 0.
    schedule : Schedule
    seed : int
        Of initial weights, batches and noise.
    noise_std : float or array_like, shape (d,)
        Standard deviation of fresh Gaussian noise on every input, in units of the inputs.
    observe : callable, optional
        ``observe(step, models)``, called before every step and after the last one. It may look at the models, which
        are in training mode and at that moment of training; it must not change them.
    device : str or torch.device
        Where to compute. Batches and noise are the same everywhere.
    dtype : torch.dtype
        Of parameters and activations; the draws are those of float32.

    Returns
    -------
    list of torch.nn.Sequential
        In the order of `arms`, in evaluation mode, on the CPU. An arm's network does not depend on the arms beside
        it but for rounding: a matrix product may add in another order where it has other rows beside it.

    Raises
    ------
    ValueError
        If there are fewer rows than a batch has, or `schedule` has channels: those networks are for `train_alone`. If
        `inputs` are no finite real numbers, `labels` no whole numbers from 0, or an argument is no such thing at all.
        A training whose numbers diverge is not refused: its networks show it.

    Examples
    --------
    >>> inputs = np.random.default_rng(0).standard_normal((64, 5), dtype=np.float32)
    >>> labels = (inputs[:, 0] > 0).astype(np.int64)
    >>> models = train([Arm("batch"), Arm("none")], inputs, labels, Schedule(epochs=1, batch_size=32), seed=0)
    >>> len(models)
    2
    """
    if of_class("schedule", schedule, Schedule).channels:
        raise ValueError(f"schedule has channels = {schedule.channels}; a convolutional network is for train_alone")
    arms, seed = items("arms", arms, Arm, "bnlib.training.Arm"), whole("seed", seed)
    device = _device(device)
    if observe is not None:
        function("observe", observe)
    inputs, labels = _rows_and_classes(inputs, labels, ndim=2)
    widths = (inputs.shape[1], *schedule.hidden, int(labels.max()) + 1)
    models = [network(widths, arm.normalization, gamma=arm.gamma, seed=seed, dtype=dtype).to(device) for arm in arms]
    stack = Stack(models, [arm.weight_decay for arm in arms], schedule.momentum)
    steps = schedule.steps(len(inputs))
    x = inputs.to(torch.float32)
    drawn = batches(x, labels, schedule.batch_size, schedule.epochs, [seed, 1], noise_std)
    for step, (x, target) in enumerate(drawn):
        if observe is not None:
            observe(step, models)
        stack.step(x.to(device, dtype), target.to(device), schedule.learning_rate * (1 - step / steps))
    if observe is not None:
        observe(steps, models)
    return [model.cpu().eval() for model in models]


def train_alone(
    model: nn.Module,
    inputs: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    weight_decay: float = 0.0,
    noise_std: ArrayLike = 0.0,
    observe: Callable[[int, nn.Module], object] | None = None,
) -> nn.Module:
    """Train one network of any kind with the loop that anyone would write, on the batches and noise of `train`.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    inputs : ndarray, shape (n, ...)
    labels : ndarray, shape (n,), dtype int64
    schedule : Schedule
        Its `hidden` and `channels` are of no concern here.
    seed : int
        Of batches and noise.
    weight_decay : float
    noise_std, observe
        As for `train`; ``observe(step, model)``.

    Returns
    -------
    torch.nn.Module
        `model`, in evaluation mode.

    Raises
    ------
    ValueError
        As for `train`, and if the model has fewer outputs than there are classes, or nothing to learn. Numbers that
        diverge are not refused.

    Examples
    --------
    >>> inputs, labels = np.zeros((64, 5), np.float32), np.arange(64) % 2
    >>> train_alone(nn.Linear(5, 2), inputs, labels, Schedule(batch_size=32), seed=0)
    Linear(in_features=5, out_features=2, bias=True)
    """
    check_module(model)
    of_class("schedule", schedule, Schedule)
    seed, inputs, labels = whole("seed", seed), *_rows_and_classes(inputs, labels)
    like = next(model.parameters(), torch.empty(0))
    steps = schedule.steps(len(inputs))
    x = inputs.to(torch.float32)
    drawn = batches(x, labels, schedule.batch_size, schedule.epochs, [seed, 1], noise_std)
    fit(
        model,
        ((x.to(like), target.to(like.device)) for x, target in drawn),
        _cross_entropy,
        lambda step: schedule.learning_rate * (1 - step / steps),
        schedule.momentum,
        weight_decay,
        observe=observe,
    )
    return model.eval()


def evaluate(
    models: Sequence[nn.Module],
    inputs: np.ndarray,
    labels: np.ndarray,
    noise_std: ArrayLike,
    seed: int,
    chunk_rows: int = 1000,
) -> list[tuple[float, float]]:
    """Accuracy and mean cross-entropy on inputs corrupted as in training.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        Put into evaluation mode.
    inputs, labels : ndarray
    noise_std : float or array_like, shape (d,)
    seed : int
        Of the noise: the same for every model.
    chunk_rows : int
        Rows that go through the models at a time, which bounds the memory needed.

    Returns
    -------
    list of (accuracy, loss)
        The loss of a network that diverged is NaN.

    Raises
    ------
    ValueError
        If `inputs` are no finite real numbers, `labels` no whole numbers from 0 for which there are outputs, or an
        argument is no such thing at all.

    Examples
    --------
    >>> outputs = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> [(accuracy, loss)] = evaluate([nn.Identity()], outputs, np.array([0, 0]), noise_std=0.0, seed=0)
    >>> accuracy, round(loss, 4)
    (0.5, 1.1269)
    """
    models = items("models", models, nn.Module, "torch.nn.Module")
    seed, chunk_rows = whole("seed", seed), whole("chunk_rows", chunk_rows, 1)
    x, target = _rows_and_classes(inputs, labels)
    like = next(models[0].parameters(), x)
    if like.is_floating_point():
        x = x.to(like.dtype)
    x = _noise(noise_std, [seed, 2], x)(x.clone())
    for model in models:
        model.eval()
    with torch.no_grad():
        outputs = _together(models)
        chunks = zip(*(output_of(outputs, rows) for rows in x.split(chunk_rows)))
        found = []
        for logits in map(torch.cat, chunks):
            accuracy = (logits.argmax(dim=1) == target).double().mean()
            found.append((float(accuracy), float(_cross_entropy(logits, target))))
    return found


def _together(models: Sequence[nn.Module]) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """A function that gives the output of every model, by one product where all begin with a linear layer."""
    firsts: list[Any] = [model[0] if isinstance(model, nn.Sequential) else model for model in models]
    alike = {isinstance(first, nn.Linear) and first.weight.dtype for first in firsts}
    if len(alike) > 1 or False in alike:
        return lambda x: [model(x) for model in models]
    weight = torch.cat([first.weight for first in firsts])
    biases = [first.weight.new_zeros(len(first.weight)) if first.bias is None else first.bias for first in firsts]
    bias, widths = torch.cat(biases), [len(bias) for bias in biases]
    rests = [model[1:] if isinstance(model, nn.Sequential) else nn.Identity() for model in models]

    def outputs(x: torch.Tensor) -> list[torch.Tensor]:
        return [rest(z) for rest, z in zip(rests, nn.functional.linear(x, weight, bias).split(widths, dim=1))]

    return outputs


def standardize(dataset: "Dataset") -> dict[str, np.ndarray]:
    """Images of the three splits, shifted and scaled by two scalars of the training split.

    Parameters
    ----------
    dataset : bnlib.data.Dataset

    Returns
    -------
    dict of str to ndarray, shape (n, 784), dtype float32
        Keys ``train``, ``validation``, ``test``; the pixels of ``train`` have mean 0 and standard deviation 1.

    Raises
    ------
    ValueError
        If `dataset` is none, or its images are no finite real numbers, or do not vary.

    Examples
    --------
    >>> from bnlib import data
    >>> pixels = standardize(data.load("mnist-5k"))["train"]
    >>> pixels.shape, float(pixels.std().round(3))
    ((3000, 784), 1.0)
    """
    if not hasattr(dataset, "train"):
        raise ValueError(f"dataset is a {type(dataset).__name__}; it must be a bnlib.data.Dataset")
    images = real_array("dataset.train.images", dataset.train.images)
    if not images.size or not np.isfinite(images).all():
        raise ValueError(f"dataset.train.images, of shape {images.shape}, is empty or has values that are not finite")
    mean = images.mean(dtype=np.float64)
    # in pieces: a copy of all images in float64 takes ten times as long to get as to fill
    squares = sum(float(np.square(piece - mean).sum()) for piece in _pieces(images))
    std = np.sqrt(squares / images.size)
    if not std > 0:
        raise ValueError(f"dataset.train.images has the standard deviation {std:g}; it must vary")
    found = {}
    for part in ("train", "validation", "test"):
        images = getattr(dataset, part).images
        found[part] = np.empty(images.shape, dtype=np.float32)
        for piece, standardized in zip(_pieces(images), _pieces(found[part])):
            standardized[...] = (piece - mean) / std
    return found


def _pieces(images: np.ndarray) -> list[np.ndarray]:
    return [images[start : start + 100] for start in range(0, len(images), 100)]


def _plainly(owner: Any, **values: Any) -> None:
    """Set fields of a frozen object to Python's own numbers, which a key of a row can hold."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)


def _tensor(name: str, value: Any) -> torch.Tensor:
    """A tensor of finite real numbers: the one given, or one on the memory of the array where torch can read it."""
    if not isinstance(value, torch.Tensor):
        array = real_array(name, value)
        if array.dtype.newbyteorder("=") != array.dtype or array.dtype == np.longdouble:
            array = array.astype(np.float64)
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()  # torch would warn of the one, and refuse the other
        value = torch.from_numpy(array)
    if value.is_complex():
        raise ValueError(f"{name} is of dtype {value.dtype}; it must hold real numbers")
    if not torch.isfinite(value).all():
        first = tuple(torch.nonzero(~torch.isfinite(value))[0].tolist())
        raise ValueError(f"{name} has a value that is not finite at index {first}; every value must be finite")
    return value


def _rows_and_classes(inputs: Any, labels: Any, ndim: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels as tensors, after checking that each row has a class from 0."""
    x, target = _tensor("inputs", inputs), _tensor("labels", labels)
    if not x.ndim or not x.numel() or (ndim is not None and x.ndim != ndim):
        raise ValueError(
            f"inputs has shape {tuple(x.shape)}; it must have rows" + (f", and {ndim} dimensions" if ndim else "")
        )
    if target.shape != x.shape[:1]:
        raise ValueError(
            f"labels has shape {tuple(target.shape)}; with inputs of shape {tuple(x.shape)} it must be ({len(x)},)"
        )
    classes = target.to(torch.int64)
    if (classes != target).any() or classes.min() < 0:
        raise ValueError(
            f"labels has the value {target.min().item():g} or a fraction; it must hold whole numbers from 0"
        )
    return x, classes


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if logits.ndim < 2 or target.max() >= logits.shape[1]:
        raise ValueError(
            f"labels has the class {int(target.max())}; model gives outputs of shape {tuple(logits.shape)}, which do not "
            "have it"
        )
    return nn.functional.cross_entropy(logits, target)


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device = {device!r} is unknown to torch; give 'cpu', or 'cuda' where there is one"
        ) from error


def _noise(noise_std: ArrayLike, stream: Sequence[int], inputs: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that adds noise to a batch in place, from a generator of its own."""
    levels = nonnegative("noise_std", finite_array("noise_std", noise_std, ndim=(0, 1)))
    if levels.shape not in ((), inputs.shape[-1:]):
        raise ValueError(
            f"noise_std has shape {levels.shape}; it must be one number, or one for each of {inputs.shape[-1:]}"
        )
    if not levels.any():
        return lambda x: x
    if levels.max() > torch.finfo(torch.float32).max:
        raise ValueError(f"noise_std = {levels.max():g} is beyond torch.float32; it must be smaller")
    std = torch.from_numpy(levels.copy())
    # torch draws twice as fast as NumPy; the second word, since the first seeds the order
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(stream).generate_state(2, np.uint64)[1] >> 1))

    def add(x: torch.Tensor) -> torch.Tensor:
        x = x if x.is_floating_point() else x.to(torch.float32)
        noise = torch.empty(x.shape, dtype=torch.float32).normal_(generator=generator)
        return x.add_(noise.mul_(std) if std.ndim else noise, alpha=1 if std.ndim else float(std))

    return add
