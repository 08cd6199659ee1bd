"""The rates of many small networks, read at once: what `bnlib.meter` reads one network at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bnlib.descent import iterated, pair
from bnlib.layers import check_tensor
from bnlib.meter import BATCHES_AT_LEAST
from bnlib.objects import items
from bnlib.report import WeightedMean
from bnlib.stack import blocks_of
from bnlib.validation import positive


@dataclass(frozen=True, eq=False)
class Reading:
    """What `read` finds in the first layer of a network, as in a row of `bnlib.meter.Report.by_layer`.

    Parameters
    ----------
    rate, rate_error : float
        Mean over the units, and its standard error; NaN where the network's numbers are not finite.
    l2_rate, l2_rate_error : float
        The same in units of ``weight_decay``.
    gamma : ndarray, shape (units,)
    batches : int
        How many it was read from.
    """

    rate: float
    rate_error: float
    l2_rate: float
    l2_rate_error: float
    gamma: NDArray[np.float64]
    batches: int


def read(
    models: Sequence[nn.Sequential],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    batches_at_most: int,
    relative_error: float,
) -> list[Reading]:
    """Read the rates of batch normalization in several networks: for each what `bnlib.measure` says of it.

    All networks see the same batches, each until it is sure of its rates; the others go on without it.

    Parameters
    ----------
    models : sequence of torch.nn.Sequential
        From `bnlib.models.network`, of normalization "batch", alike in widths, eps and dtype. Left as they are.
    batches : iterable of (inputs, targets)
        As in training; the loss is the mean cross-entropy.
    batches_at_most : int
    relative_error : float
        As for `bnlib.measure`.

    Returns
    -------
    list of Reading
        In the order of `models`; NaN where the network's numbers are not finite.

    Raises
    ------
    ValueError
        If there is no model or no batch, the models are not alike, or a batch is none for them; if another argument is no
        such thing at all.

    Notes
    -----
    Theorem rate gives the rate of a unit, -(dJ/dgamma) / gamma, and with theorem depth at every depth; its
    L2-equivalent needs the variance of what is normalized and the weights before it. So nothing is differentiated but
    with respect to gamma.

    Examples
    --------
    >>> from bnlib.models import network
    >>> models = [network((5, 4, 3), gamma=gamma) for gamma in (0.25, 0.5)]
    >>> inputs, targets = torch.randn(20, 64, 5), torch.randint(3, (20, 64))
    >>> [reading.gamma[0].item() for reading in read(models, zip(inputs, targets), 20, relative_error=0.05)]
    [0.25, 0.5]
    """
    batches_at_most = positive("batches_at_most", batches_at_most, whole=True)
    relative_error = positive("relative_error", relative_error)
    models = items("models", models, nn.Sequential, "torch.nn.Sequential")
    together, left = _Together(models), list(range(len(models)))
    means = [WeightedMean() for _ in models]
    for number, (x, targets) in enumerate(map(pair, islice(iterated(batches), batches_at_most)), start=1):
        together.check(x, targets)
        for index, rates in zip(left, together.rates(x, targets)):
            means[index].add(rates, len(x))
        if number < BATCHES_AT_LEAST:
            continue
        unsure = [index for index in left if not _sure(means[index], relative_error)]
        if not unsure:
            break
        if unsure != left:
            left, together = unsure, _Together([models[index] for index in unsure])
    if not means[0].count:
        raise ValueError("batches is empty; give at least one")
    return [_reading(model, mean) for model, mean in zip(models, means)]


class _Together:
    """Networks whose first layers make one product, and whose deeper layers make batched ones.

    Activations have the shape (networks, units, batch), as in `bnlib.stack.Stack`.
    """

    def __init__(self, models: Sequence[nn.Sequential]) -> None:
        networks = [blocks_of(model) for model in models]
        found = {tuple((tuple(linear.weight.shape), _eps(norm)) for linear, norm in blocks) for blocks in networks}
        if len(found) != 1:
            raise ValueError(f"models have the shapes and eps {found}; all must be alike, and at least one given")
        if _eps(networks[0][0][1]) is None:
            raise ValueError("models are without batch normalization in their first layer; there is nothing to read")
        self._layers = [_Layer(*zip(*blocks)) for blocks in zip(*networks)]

    def check(self, x: torch.Tensor, targets: torch.Tensor) -> None:
        check_tensor("batches: inputs", x)
        check_tensor("batches: targets", targets)
        inputs, classes = self._layers[0].weight.shape[2], self._layers[-1].weight.shape[1]
        if x.ndim != 2 or x.shape[1] != inputs or len(x) < 2 or targets.shape != x.shape[:1]:
            raise ValueError(
                f"batches holds inputs of shape {tuple(x.shape)} and targets of {tuple(targets.shape)}; they must be "
                f"(rows, {inputs}) and (rows,), with at least 2 rows"
            )
        if targets.dtype != torch.int64 or not 0 <= int(targets.min()) <= int(targets.max()) < classes:
            raise ValueError(f"batches holds targets that are not of int64, from 0 to {classes - 1}")

    def rates(self, x: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
        """Rate and L2-equivalent rate of every normalized layer on one batch, shape (networks, layers, 2)."""
        first, *others = self._layers
        networks, units, inputs = first.weight.shape
        with torch.enable_grad():
            z = first.finish(torch.mm(first.weight.view(-1, inputs), x.to(first.weight).t()).view(networks, units, -1))
            for layer in others:
                z = layer.finish(torch.bmm(layer.weight, z.relu()))
            losses = functional.cross_entropy(z, targets.expand(networks, -1), reduction="none").mean(dim=1)
            normalized = [layer for layer in self._layers if layer.gamma is not None]
            gradients = torch.autograd.grad(losses.sum(), [layer.gamma for layer in normalized])
        return np.stack([layer.rates(gradient) for layer, gradient in zip(normalized, gradients)], axis=1)


class _Layer:
    """One layer of all networks."""

    def __init__(self, linears: Sequence[Any], norms: Sequence[Any]) -> None:
        self.weight = torch.stack([linear.weight.detach() for linear in linears])
        self.gamma: Any = None
        self._bias = None if linears[0].bias is None else torch.stack([linear.bias.detach() for linear in linears])
        if _eps(norms[0]) is not None:
            # a copy, since a fixed gamma has a rate too
            self.gamma = torch.cat([norm.weight.detach() for norm in norms]).requires_grad_()
            self._beta = torch.cat([norm.bias.detach() for norm in norms])
            self._eps = norms[0].eps
            self._weight_norm = self.weight.double().norm(dim=2).numpy()

    def finish(self, z: torch.Tensor) -> torch.Tensor:
        """From the product z to what goes into the activation."""
        if self._bias is not None:
            z = z + self._bias.unsqueeze(2)
        if self.gamma is None:
            return z
        flat, _, self._scale = torch.native_batch_norm(
            z.reshape(1, -1, z.shape[2]), self.gamma, self._beta, None, None, True, 0.0, self._eps
        )
        return flat.view_as(z)

    def rates(self, gradient: torch.Tensor) -> NDArray[np.float64]:
        """The layer's rates of one batch from dJ/dgamma, shape (networks, 2); units without a rate do not count."""
        shape = self.weight.shape[:2]
        gamma, gradient, scale = (
            tensor.detach().double().numpy().reshape(shape) for tensor in (self.gamma, gradient, self._scale)
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rate = -gradient / gamma
            size = (gamma * self._weight_norm * scale) ** 2  # of the effective weights
            has_rate = np.isfinite(rate)
            mean = np.where(has_rate, rate, 0).sum(axis=1) / has_rate.sum(axis=1)
            counted = np.isfinite(rate / (self._weight_norm * scale) ** 2)
            pull = np.where(counted, rate * gamma**2, 0).sum(axis=1)
            found = np.column_stack([mean, pull / np.where(counted, size, 0).sum(axis=1)])
        return np.where(np.isfinite(found), found, np.nan)


def _eps(norm: Any) -> float | None:
    return norm.eps if isinstance(norm, nn.BatchNorm1d) else None


def _sure(mean: WeightedMean, relative_error: float) -> bool:
    """Whether every layer's rate is known well enough, in units of weight decay where it has one there."""
    value, error = mean.mean, mean.error
    column = np.isfinite(value[:, 1]).astype(int)[:, None]
    value, error = (np.take_along_axis(array, column, axis=1) for array in (value, error))
    return bool(np.all(~np.isfinite(value) | (error <= relative_error * np.abs(value))))


def _reading(model: nn.Sequential, mean: WeightedMean) -> Reading:
    (rate, l2_rate), (rate_error, l2_rate_error) = mean.mean[0].tolist(), mean.error[0].tolist()
    gamma = blocks_of(model)[0][1].weight.detach().double().numpy()
    return Reading(rate, rate_error, l2_rate, l2_rate_error, gamma, mean.count)
