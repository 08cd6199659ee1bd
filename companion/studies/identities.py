"""Layers with batch normalization walked by hand: what autograd finds there, and what the theorems make of it.

Nothing here uses `bnlib.meter`: it is a second way to the same numbers.
"""

import copy
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Layer:
    """One linear or convolutional layer before batch normalization, with all that its theorems speak of.

    There are k units, d inputs and n rows: the batch, in a convolution all patches of it.

    Parameters
    ----------
    name : str
        Place of the linear layer in the network, as `bnlib.meter` has it.
    eps : float
    inputs : ndarray, shape (n, d)
        What enters.
    w : ndarray, shape (k, d)
        Weights; kernels are flattened.
    gamma, beta : ndarray, shape (k,)
    q : ndarray, shape (k,)
        w'Sigma w, the variance of what the linear layer puts out.
    output_var : ndarray, shape (k,)
        Variance of what batch normalization puts out.
    v : ndarray, shape (k, d)
        Effective weights, gamma w / sqrt(q + eps).
    normal : ndarray, shape (k, d)
        Sigma v.
    grad_w, grad_gamma, grad_beta : ndarray
        Gradients of the loss J, by autograd in the network as it is; also of parameters that are frozen.
    grad_z, grad_y : ndarray, shape (n, k)
        Gradients of J at the input and at the output of batch normalization.
    grad_v : ndarray, shape (k, d)
        Gradient of L, the loss of the network in which batch normalization is folded into this layer: its output
        is beta + v'(h - mean h), all other layers are as they were.
    """

    name: str
    eps: float
    inputs: np.ndarray = field(repr=False)
    w: np.ndarray = field(repr=False)
    gamma: np.ndarray = field(repr=False)
    beta: np.ndarray = field(repr=False)
    q: np.ndarray = field(repr=False)
    output_var: np.ndarray = field(repr=False)
    v: np.ndarray = field(repr=False)
    normal: np.ndarray = field(repr=False)
    grad_w: np.ndarray = field(repr=False)
    grad_gamma: np.ndarray = field(repr=False)
    grad_beta: np.ndarray = field(repr=False)
    grad_z: np.ndarray = field(repr=False)
    grad_y: np.ndarray = field(repr=False)
    grad_v: np.ndarray = field(repr=False)

    @property
    def rate(self):
        """-v'grad_v L / gamma^2, (k,): the rate from the folded network (theorem rate)."""
        return -(self.v * self.grad_v).sum(axis=1) / self.gamma**2

    @property
    def rate_by_gamma(self):
        """-(dJ/dgamma) / gamma, (k,): the same rate from the network with batch normalization (theorem rate)."""
        return -self.grad_gamma / self.gamma

    @property
    def rest(self):
        """grad_v L + lambda Sigma v, (k, d): loss and penalty of the folded network; zero at rest (theorem rate)."""
        return self.grad_v + self.rate[:, None] * self.normal

    @property
    def rebuilt_grad_w(self):
        """gamma (grad_v L + lambda Sigma v) / sqrt(q + eps), (k, d), which is `grad_w` (theorem rate)."""
        return (self.gamma / np.sqrt(self.q + self.eps))[:, None] * self.rest

    @property
    def radial(self):
        """w'grad_w J, (k,)."""
        return (self.w * self.grad_w).sum(axis=1)

    @property
    def gauge(self):
        """eps gamma (dJ/dgamma) / (q + eps), (k,), which is `radial` (theorem depth, part 2)."""
        return self.eps / (self.q + self.eps) * self.gamma * self.grad_gamma

    @property
    def left(self):
        """Length of `rest` in units of that of `grad_v`, (k,)."""
        return np.linalg.norm(self.rest, axis=1) / np.linalg.norm(self.grad_v, axis=1)

    @property
    def angle(self):
        """Between Sigma v and v, in degrees, (k,)."""
        lengths = np.linalg.norm(self.v, axis=1) * np.linalg.norm(self.normal, axis=1)
        return np.rad2deg(np.arccos(np.clip((self.v * self.normal).sum(axis=1) / lengths, -1, 1)))


def walk(model, inputs, targets, loss_fn=functional.cross_entropy):
    """Go through a network in training mode and look at each layer that batch normalization follows.

    Parameters
    ----------
    model : torch.nn.Sequential
        Layers one after the other; of interest are `Linear` before `BatchNorm1d` and `Conv2d` before `BatchNorm2d`.
        It is copied, and left as it is.
    inputs : torch.Tensor, shape (batch, ...)
        One batch. Everything is computed in its dtype; for identities take float64.
    targets : torch.Tensor
    loss_fn : callable
        ``loss_fn(model(inputs), targets)``, a scalar.

    Returns
    -------
    list of Layer
        In the order of the network.

    Raises
    ------
    ValueError
        If no layer is followed by batch normalization, or a convolution has groups.

    Examples
    --------
    >>> from bnlib.models import network
    >>> x = torch.randn(20, 4, dtype=torch.float64)
    >>> first, second = walk(network((4, 6, 5, 3), eps=0.1), x, torch.arange(20) % 3)
    >>> second.name, second.v.shape
    ('3', (5, 6))
    >>> np.allclose(second.grad_w, second.rebuilt_grad_w), np.allclose(second.radial, second.gauge)
    (True, True)
    """
    model = copy.deepcopy(model).to(inputs.dtype).train().requires_grad_()
    signals = [inputs]
    for module in model:
        signals.append(module(signals[-1]))
    places = [place for place, pair in enumerate(pairwise(model)) if _is_pair(*pair)]
    if not places:
        raise ValueError("model has no Linear or Conv2d that batch normalization follows")
    asked = [
        [model[place].weight, model[place + 1].weight, model[place + 1].bias, signals[place + 1], signals[place + 2]]
        for place in places
    ]
    found = iter(torch.autograd.grad(loss_fn(signals[-1], targets), [tensor for group in asked for tensor in group]))
    return [_layer(model, place, signals, targets, loss_fn, [next(found) for _ in range(5)]) for place in places]


def balance(layers):
    """Both sides of the balance of BN, ReLU, BN, for every layer but the last (theorem depth, part 5).

    Parameters
    ----------
    layers : sequence of Layer
        From `walk`; between one and the next there is nothing that does not scale with its input.

    Returns
    -------
    own : ndarray, shape (layers - 1,)
        The sum over a layer's units of gamma dJ/dgamma + beta dJ/dbeta.
    carried : ndarray, shape (layers - 1,)
        The sum of the next layer's gauge terms, which is `own`.
    sizes : ndarray, shape (layers - 1,)
        The sum of the sizes of what adds up to `own`.

    Examples
    --------
    >>> from bnlib.models import network
    >>> x = torch.randn(20, 4, dtype=torch.float64)
    >>> own, carried, sizes = balance(walk(network((4, 6, 5, 3), eps=0.1), x, torch.arange(20) % 3))
    >>> np.allclose(own, carried)
    True
    """
    terms = [(layer.gamma * layer.grad_gamma, layer.beta * layer.grad_beta) for layer in layers[:-1]]
    own = [float((scale + shift).sum()) for scale, shift in terms]
    sizes = [float(np.abs(scale).sum() + np.abs(shift).sum()) for scale, shift in terms]
    return np.array(own), np.array([layer.gauge.sum() for layer in layers[1:]]), np.array(sizes)


def _is_pair(layer, norm):
    return isinstance(layer, (nn.Linear, nn.Conv2d)) and isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))


def _layer(model, place, signals, targets, loss_fn, gradients):
    layer, norm = model[place], model[place + 1]
    h, z, y = (signal.detach() for signal in signals[place : place + 3])
    grad_w, grad_gamma, grad_beta, grad_z, grad_y = gradients
    gamma, beta, w = norm.weight.detach(), norm.bias.detach(), layer.weight.detach().flatten(1)
    rows = _rows_entering(layer, h)
    centred = rows - rows.mean(dim=0)
    q = _as_rows(z).var(dim=0, correction=0)
    v = (gamma / (q + norm.eps).sqrt())[:, None] * w
    normal = (centred @ v.T).T @ centred / len(rows)
    v.requires_grad_()
    output = centred @ v.T + beta  # the bias moves with v, as batch normalization makes it
    output = output.view(len(z), *z.shape[2:], -1).movedim(-1, 1)
    (grad_v,) = torch.autograd.grad(loss_fn(model[place + 2 :](output), targets), v)
    tensors = {
        "inputs": rows, "w": w, "gamma": gamma, "beta": beta, "q": q,
        "output_var": _as_rows(y).var(dim=0, correction=0), "v": v.detach(), "normal": normal,
        "grad_w": grad_w.flatten(1), "grad_gamma": grad_gamma, "grad_beta": grad_beta,
        "grad_z": _as_rows(grad_z), "grad_y": _as_rows(grad_y), "grad_v": grad_v,
    }  # fmt: skip
    return Layer(name=str(place), eps=norm.eps, **{name: tensor.numpy() for name, tensor in tensors.items()})


def _rows_entering(layer, h):
    """What a layer multiplies with its weights, (rows, d): the batch, or the patches of a convolution."""
    if isinstance(layer, nn.Linear):
        return h
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(f"model has {layer}; its patches are known for one group, zeros and a number as padding")
    patches = functional.unfold(h, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return patches.movedim(1, -1).flatten(0, 1)


def _as_rows(values):
    """(batch, units, positions ...) as (rows, units)."""
    return values.detach().movedim(1, -1).flatten(0, -2)
