"""The meter: what rate does batch normalization set, now, in your network?

Theorem rate holds at every step, for every loss and every batch, and theorem depth at every depth: the rate of a
unit is lambda = -(dJ/dgamma) / gamma, and its L2-equivalent is
alpha = -(dJ/dgamma) (q + eps) / (gamma norm(w)^2) with q the variance of its pre-activation. One backward
pass in training mode gives both; no covariance matrix is needed. The units of a convolution are its channels, its
inputs are patches: q is a variance over images and positions, w the flattened kernel.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from bnlib.validation import extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("layer", "channel", "gamma", "weight_norm", "batch_var", "rate", "l2_rate")
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, eq=False)
class Report:
    """What `measure` found, one entry a channel in every array.

    Parameters
    ----------
    layer : tuple of str
        Qualified name of the linear or convolutional layer that feeds the normalization.
    channel : ndarray of int
        Unit within the layer.
    gamma, weight_norm, batch_var : ndarray
        gamma; the norm of w; q, the biased variance of the pre-activation over a batch, and over all
        positions in a convolution.
    rate : ndarray
        lambda, the multiplier of (1/2) v'Sigma v. NaN where gamma is 0.
    l2_rate : ndarray
        alpha, in units of ``weight_decay``. NaN where gamma or w is 0.
    effective_norm : ndarray
        The norm of v = gamma w / sqrt(q + eps).
    """

    layer: tuple[str, ...]
    channel: np.ndarray
    gamma: np.ndarray
    weight_norm: np.ndarray
    batch_var: np.ndarray
    rate: np.ndarray
    l2_rate: np.ndarray
    effective_norm: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """One row a channel, columns ``layer channel gamma weight_norm batch_var rate l2_rate``.

        Returns
        -------
        pandas.DataFrame
        """
        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS})

    def by_layer(self) -> pd.DataFrame:
        """One row a layer, columns ``layer channels rate l2_rate``.

        ``rate`` is the mean over channels. ``l2_rate`` is the one ``weight_decay`` for the whole
        layer with the same total pull along the effective weights: the sum of lambda gamma^2 over
        the sum of norm(v)^2. Channels without a rate are left out.

        Returns
        -------
        pandas.DataFrame
        """
        frame = self.to_frame().assign(pull=self.rate * self.gamma**2, norm_squared=self.effective_norm**2)
        layers = frame.dropna().groupby("layer", sort=False)
        totals = layers[["pull", "norm_squared"]].sum()
        return pd.DataFrame(
            {"channels": layers.size(), "rate": layers.rate.mean(), "l2_rate": totals.pull / totals.norm_squared}
        ).reset_index()

    def plot(self) -> "Figure":
        """Draw the layers by depth and the ``l2_rate`` of each: filled triangles up shrink, open ones down stretch.

        Returns
        -------
        matplotlib.figure.Figure
            With one pair of axes, in whatever style is set.

        Raises
        ------
        ImportError
            If matplotlib, the extra ``plot``, is not installed.
        """
        pyplot = extra("matplotlib.pyplot", "plot")
        layers = self.by_layer()
        depths = np.arange(1, len(layers) + 1)
        figure, axes = pyplot.subplots(layout="constrained")
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.vlines(depths, 0, layers.l2_rate, color="gray", linewidth=0.8)
        shrinks = (layers.l2_rate >= 0).to_numpy()
        for chosen, marker, fill, label in (
            (shrinks, "^", "full", "shrinks the effective weights"),
            (~shrinks, "v", "none", "stretches them"),
        ):
            if chosen.any():
                axes.plot(
                    depths[chosen],
                    layers.l2_rate[chosen],
                    marker,
                    markersize=8,
                    fillstyle=fill,
                    label=label,
                    color="C0",
                )
        axes.set_xticks(depths, layers.layer)
        axes.set(xlabel="layer, by depth", ylabel="rate in units of weight_decay")
        axes.ticklabel_format(axis="y", scilimits=(-2, 3))
        axes.legend()
        return figure


def measure(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    loss_fn: Callable[[Any, Any], torch.Tensor],
) -> Report:
    """Measure the rate that batch normalization sets, in every linear or convolutional layer before one.

    The layers are `Linear` or `Conv1d` before `BatchNorm1d`, and `Conv2d` before `BatchNorm2d`.

    Parameters
    ----------
    model : torch.nn.Module
        Any network; a pair counts where the very output of the first is what the normalization gets.
        Its parameters, gradients, running statistics, modes and the random state are left as found.
    batches : iterable of (inputs, targets)
        The rates are averaged over the batches, weighted by their lengths: use the batch size of
        training, since the rate depends on it (theorem minibatch), and many batches, since a rate is a small mean of
        scattered gradients. Two halves of them, measured apart, tell how much is chance.
    loss_fn : callable
        ``loss_fn(model(inputs), targets)``, a scalar averaged over the batch.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If there is no batch, a batch has fewer than 2 rows, the model has no such pair of layers, or
        a pair does not run exactly once a forward pass.

    Examples
    --------
    >>> from bnlib.models import network
    >>> inputs, targets = torch.randn(64, 5), torch.randint(3, (64,))
    >>> report = measure(network((5, 4, 3)), [(inputs, targets)], nn.functional.cross_entropy)
    >>> report.to_frame().shape
    (4, 7)
    """
    totals: dict[str, np.ndarray] = {}
    rows = 0
    with _left_as_found(model):
        model.train()
        for inputs, targets in batches:
            if len(inputs) < 2:
                raise ValueError(f"batches holds a batch of {len(inputs)} row(s); a batch variance needs at least 2")
            found = _measure_batch(model, inputs, targets, loss_fn)
            if totals and found.keys() != totals.keys():
                raise ValueError(
                    f"model measured {', '.join(found)} in one batch and {', '.join(totals)} before; "
                    "every batch must go through the same layers"
                )
            for name, measured in found.items():
                total = totals.setdefault(name, np.zeros((6, measured.shape[1])))
                total += len(inputs) * measured
            rows += len(inputs)
    if not rows:
        raise ValueError("batches is empty; give at least one (inputs, targets)")
    columns = np.concatenate([total / rows for total in totals.values()], axis=1)
    gamma, weight_norm, batch_var, rate, l2_rate, effective_norm = columns
    return Report(
        layer=tuple(name for name, total in totals.items() for _ in range(total.shape[1])),
        channel=np.concatenate([np.arange(total.shape[1]) for total in totals.values()]),
        gamma=gamma,
        weight_norm=weight_norm,
        batch_var=batch_var,
        rate=rate,
        l2_rate=l2_rate,
        effective_norm=effective_norm,
    )


def _measure_batch(
    model: nn.Module, inputs: Any, targets: Any, loss_fn: Callable[[Any, Any], torch.Tensor]
) -> dict[str, np.ndarray]:
    """For each pair of layers an array (6, channels): gamma, |w|, q, lambda, alpha, |v|."""
    pairs: dict[str, tuple[Any, ...]] = {}
    with _recording_pairs(model, pairs):
        loss = loss_fn(model(inputs), targets)
    if not pairs:
        raise ValueError(
            f"model ({type(model).__name__}) has no Linear or convolution whose output goes straight into a "
            "BatchNorm1d or BatchNorm2d; there is nothing to measure"
        )
    output_grads = torch.autograd.grad(loss, [output for _, _, _, output in pairs.values()])
    measured = {}
    for (name, (linear, batch_norm, z, _)), grad in zip(pairs.items(), output_grads):
        with torch.no_grad():
            z, grad, w = _as_rows(z), _as_rows(grad), linear.weight.double().flatten(1)
            gamma = torch.ones_like(z[0]) if batch_norm.weight is None else batch_norm.weight.double()
            q = z.var(dim=0, unbiased=False)
            variance = q + batch_norm.eps
            normalized = (z - z.mean(dim=0)) * variance.rsqrt()
            gamma_grad = (grad * normalized).sum(dim=0)  # dJ/dgamma, also where gamma is frozen
            rate = torch.where(gamma == 0, torch.nan, -gamma_grad / gamma)
            norm_squared = w.square().sum(dim=1)
            l2_rate = torch.where(norm_squared == 0, torch.nan, rate * variance / norm_squared)
            weight_norm = norm_squared.sqrt()
            effective_norm = gamma.abs() * weight_norm * variance.rsqrt()
            row = torch.stack([gamma, weight_norm, q, rate, l2_rate, effective_norm])
        measured[name] = row.cpu().numpy()
    return measured


def _as_rows(values: torch.Tensor) -> torch.Tensor:
    """(batch, channels, positions ...) as float64 rows (batch times positions, channels)."""
    return values.double().movedim(1, -1).flatten(0, -2)


@contextmanager
def _recording_pairs(model: nn.Module, pairs: dict[str, tuple[Any, ...]]) -> Iterator[None]:
    """Fill `pairs` with name: (linear, batch_norm, pre-activation, output) during a forward pass."""
    # (tensor, its version, name, linear): tensors are kept alive, so that identity means identity, and
    # the version tells whether an in-place activation has been there since
    made_by: list[tuple[Any, ...]] = []
    handles = []

    def after_linear(name: str) -> Callable[..., None]:
        def hook(linear: nn.Module, _: Any, output: torch.Tensor) -> None:
            made_by.append((output, output._version, name, linear))

        return hook

    def after_batch_norm(
        batch_norm: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: torch.Tensor
    ) -> torch.Tensor | None:
        normalized = arguments[0] if arguments else keywords["input"]
        for tensor, version, name, linear in made_by:
            if tensor is normalized and tensor._version == version:
                if name in pairs:
                    raise ValueError(
                        f"model runs layer {name!r} more than once a forward pass; its rate is not one number"
                    )
                if tensor.ndim != linear.weight.ndim:
                    right = ", ".join(["batch", "channels", *["positions"] * (linear.weight.ndim - 2)])
                    raise ValueError(
                        f"model normalizes {name!r} with output of shape {tuple(tensor.shape)}; it must be ({right})"
                    )
                if not output.requires_grad:  # every layer up to here is frozen
                    output = output.detach().requires_grad_()
                pairs[name] = linear, batch_norm, tensor, output
                return output.clone()  # an in-place activation must not overwrite what was recorded
        return None

    for name, module in model.named_modules():
        if isinstance(module, LINEAR):
            handles.append(module.register_forward_hook(after_linear(name)))
        elif isinstance(module, BATCH_NORM):
            handles.append(module.register_forward_hook(after_batch_norm, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _left_as_found(model: nn.Module) -> Iterator[None]:
    """Restore modes, buffers and the random state; gradients are never touched."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
