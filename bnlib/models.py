"""Networks with a named normalization, built from torch's own layers: what is measured is what users have."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from bnlib.objects import choice, of_class
from bnlib.validation import number, whole, wholes

NORMALIZATIONS = ("batch", "layer", "weight", "none")


def network(
    widths: Sequence[int],
    normalization: str = "batch",
    normalize_output: bool = False,
    gamma: float | None = None,
    eps: float = 1e-5,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """A multilayer perceptron: Linear, normalization, ReLU, …, Linear.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden units, outputs: ``(784, 100, 10)``. Two numbers make a linear read-out.
    normalization : {"batch", "layer", "weight", "none"}
        What follows each hidden `Linear`: `BatchNorm1d`, `LayerNorm`, nothing; or torch's own
        ``weight_norm`` of it, rows w = g u/norm(u) with g learned and equal to the initial norm(u).
    normalize_output : bool
        Whether the last `Linear` is normalized too.
    gamma : float, optional
        Fixed scale of every `BatchNorm1d`; without it gamma starts at 1 and is learned.
    eps : float
        Of `BatchNorm1d` and `LayerNorm`, positive: torch refuses 0 in training; 1e-30 is as good as none in float64.
    seed : int
        Of the initial weights: networks that share widths and seed share them, whatever their
        normalization.
    dtype : torch.dtype
        Of parameters and statistics; the initial weights are those of float32.

    Returns
    -------
    torch.nn.Sequential
        In training mode.

    Raises
    ------
    ValueError
        If `normalization` is unknown, there are fewer than two widths, a width or `eps` is not
        positive, `gamma` is 0, or one of them, `seed` or `dtype` is no such thing at all.

    Examples
    --------
    >>> network((784, 100, 10))
    Sequential(
      (0): Linear(in_features=784, out_features=100, bias=False)
      (1): BatchNorm1d(100, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
      (2): ReLU()
      (3): Linear(in_features=100, out_features=10, bias=True)
    )
    """
    choice("normalization", normalization, NORMALIZATIONS)
    widths = wholes("widths", widths, least=None)
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths = {widths} is no network; give at least inputs and outputs, each at least 1")
    eps, seed = _checked_eps(eps), whole("seed", seed)
    if gamma is not None and (gamma := number("gamma", gamma)) == 0:
        raise ValueError("gamma = 0 switches the units off; it must be nonzero")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype = {dtype!r} is not right; it must be a torch.dtype of floats")
    if gamma is not None and torch.tensor(gamma, dtype=dtype).item() in (0, np.inf, -np.inf):
        raise ValueError(f"gamma = {gamma:g} is no number of {dtype}; choose one nearer to 1")
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for depth, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            is_output = depth == len(widths) - 1
            linear = nn.Linear(inputs, outputs)
            kind = "none" if is_output and not normalize_output else normalization
            if kind == "batch":
                linear.register_parameter("bias", None)  # batch normalization subtracts it again
            layers.append(weight_norm(linear.to(dtype)) if kind == "weight" else linear)
            if kind == "batch":
                layers.append(_batch_norm(outputs, gamma, eps, dtype))
            elif kind == "layer":
                layers.append(nn.LayerNorm(outputs, eps=eps))
            if not is_output:
                layers.append(nn.ReLU())
    return nn.Sequential(*layers).to(dtype)


def unit(
    inputs: int, gamma: float | None = None, beta: float | None = None, seed: int = 0, eps: float = 1e-30
) -> nn.Sequential:
    """One linear unit with batch normalization, in float64: what the closed forms are about.

    Parameters
    ----------
    inputs : int
    gamma, beta : float, optional
        Fixed where given; without it gamma is learned from 1, beta from 0.
    seed : int
        Of the initial weights.
    eps : float
        Of `BatchNorm1d`, positive; the default is as good as none.

    Returns
    -------
    torch.nn.Sequential
        `Linear` and `BatchNorm1d`, in training mode; the output has the shape (n, 1).

    Raises
    ------
    ValueError
        If `inputs` or `eps` is not positive, `gamma` is 0, or `beta` or `seed` is no such number.

    Examples
    --------
    >>> x = torch.randn(100, 3, dtype=torch.float64)
    >>> output = unit(3, gamma=0.5, beta=2.0)(x)
    >>> round(output.mean().item(), 6), round(output.std(correction=0).item(), 6)
    (2.0, 0.5)
    """
    inputs = whole("inputs", inputs, least=1)
    beta = None if beta is None else number("beta", beta)
    model = network((inputs, 1), normalize_output=True, gamma=gamma, eps=eps, seed=seed, dtype=torch.float64)
    if beta is not None:
        bias = model.get_parameter("1.bias")
        bias.data.fill_(beta)
        bias.requires_grad_(False)
    return model


def convolutional(
    channels: Sequence[int],
    normalization: str = "batch",
    classes: int = 10,
    eps: float = 1e-5,
    seed: int = 0,
    side: int = 28,
) -> nn.Sequential:
    """A small convolutional network for square images, given as rows of pixels.

    Conv2d of 3 by 3, normalization, ReLU and max-pooling that halves the sides, as often as there are `channels`;
    then Linear.

    Parameters
    ----------
    channels : sequence of int
        Of each `Conv2d`, as many as the sides can be halved: one to four for 28 pixels.
    normalization : {"batch", "none"}
        What follows each `Conv2d`: `BatchNorm2d` or nothing.
    classes : int
        Outputs.
    eps : float
        Of `BatchNorm2d`, positive.
    seed : int
        Of the initial weights: networks that share channels, classes and seed share them, whatever their
        normalization.
    side : int
        Pixels of a side.

    Returns
    -------
    torch.nn.Sequential
        In training mode.

    Raises
    ------
    ValueError
        If `normalization` is unknown, there are no or too many channels, or a number is not positive.

    Examples
    --------
    >>> convolutional((8, 16))(torch.zeros(2, 784)).shape
    torch.Size([2, 10])
    """
    choice("normalization", normalization, ("batch", "none"))
    channels, side = wholes("channels", channels, least=None), whole("side", side, least=None)
    classes, seed = whole("classes", classes, least=None), whole("seed", seed)
    if side < 2:
        raise ValueError(f"side = {side} cannot be halved; it must be at least 2")
    left = side >> len(channels)
    if not channels or min(channels) < 1 or left < 1:
        raise ValueError(
            f"channels = {channels} is no network; give 1 to {side.bit_length() - 1} numbers, each at least 1"
        )
    if classes < 1:
        raise ValueError(f"classes = {classes} leaves no output; it must be at least 1")
    eps = _checked_eps(eps)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for inputs, outputs in pairwise((1, *channels)):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers.append(conv)
            if normalization == "batch":
                conv.register_parameter("bias", None)  # batch normalization subtracts it again
                layers.append(nn.BatchNorm2d(outputs, eps=eps))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * left**2, classes)]
    return nn.Sequential(*layers)


def _checked_eps(eps: float) -> float:
    eps = number("eps", eps)
    if not eps > 0:
        raise ValueError(f"eps = {eps} is refused by torch in training; use 1e-30 for none")
    return eps


def _batch_norm(units: int, gamma: float | None, eps: float, dtype: torch.dtype) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(units, eps=eps, dtype=dtype)  # at once: a gamma rounded to float32 stays rounded
    if gamma is not None:
        layer.weight.data.fill_(gamma)
        layer.weight.requires_grad_(False)
    return layer


def fold(linear: nn.Linear, batch_norm: nn.BatchNorm1d) -> nn.Linear:
    """The linear layer that computes, in evaluation mode, what `linear` and `batch_norm` compute together.

    Its rows are the effective weights v = gamma w / sqrt(running_var + eps), its bias
    beta + gamma (bias - running_mean) / sqrt(running_var + eps).

    Parameters
    ----------
    linear : torch.nn.Linear
    batch_norm : torch.nn.BatchNorm1d
        With running statistics.

    Returns
    -------
    torch.nn.Linear
        A new layer of the same dtype; the two given are left alone.

    Raises
    ------
    ValueError
        If `linear` or `batch_norm` is another layer, the number of units differs, or `batch_norm` keeps no running
        statistics.

    Examples
    --------
    >>> layers = network((2, 3), normalize_output=True).eval()
    >>> x = torch.ones(1, 2)
    >>> torch.allclose(fold(layers[0], layers[1])(x), layers(x))
    True
    """
    of_class("linear", linear, nn.Linear)
    of_class("batch_norm", batch_norm, nn.BatchNorm1d)
    if linear.out_features != batch_norm.num_features:
        raise ValueError(
            f"batch_norm has {batch_norm.num_features} units; after linear it must have {linear.out_features}"
        )
    if batch_norm.running_mean is None or batch_norm.running_var is None:
        raise ValueError("batch_norm keeps no running statistics; folding needs track_running_stats=True")
    with torch.no_grad():
        scale = (batch_norm.running_var + batch_norm.eps).rsqrt()
        bias = -batch_norm.running_mean * scale
        if linear.bias is not None:
            bias = bias + linear.bias * scale
        if batch_norm.affine:
            scale = scale * batch_norm.weight
            bias = bias * batch_norm.weight + batch_norm.bias
        folded = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype)
        folded.weight.copy_(linear.weight * scale[:, None])
        folded.bias.copy_(bias)
    return folded
