"""The meter: what rate does batch normalization set, now, in your network?

Theorem rate holds at every step, for every loss and every batch, and theorem depth at every depth: the rate of a
unit is lambda = -(dJ/dgamma) / gamma, and its L2-equivalent is
alpha = -(dJ/dgamma) (q + eps) / (gamma norm(w)^2) with q the variance of its pre-activation. One backward
pass in training mode gives both; no covariance matrix is needed. The units of a convolution are its channels, its
inputs are patches: q is a variance over images and positions, w the flattened kernel.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError

from bnlib.layers import layer_channels, output_of
from bnlib.objects import extra, function
from bnlib.recorder import Call, consumers, recording
from bnlib.report import Report, WeightedMean
from bnlib.validation import positive

NOT_RUN = "did not run"
NOT_ALWAYS_RUN = "did not run in every batch"
OWN_CODE = "normalizes by code of its own"
OTHER_CHANNELS = "normalizes other channels than its own"
FROZEN = "in evaluation mode"
REPEATED = "used more than once"
UNREACHED = "no gradient reaches it"
NOT_FINITE = "its numbers are not finite"
GAMMA_0 = "gamma is 0"
WEIGHT_0 = "w is 0"
ONE_BATCH = "one batch has no scatter"

# so that a layer is not called sure because its first batches happened to agree
BATCHES_AT_LEAST = 10

Loss = Callable[[Any, Any], torch.Tensor]


def measure(
    model: nn.Module,
    batches: Iterable[Any],
    loss_fn: Loss | None = None,
    *,
    forward: Loss | None = None,
    batches_at_most: int | None = None,
    relative_error: float | None = None,
    progress: bool = False,
) -> Report:
    """Measure the rate that batch normalization sets in every channel that is normalized.

    Every channel of every layer of batch normalization in `model` is a row of the report, in the model's order. A
    channel has a ``rate`` where it is normalized by its batch, and an ``l2_rate`` where what is normalized is the
    very output of a linear map: ``linear``, ``conv1d`` to ``conv3d`` and their transposes, grouped or not. Otherwise
    it is NaN, and ``reason`` says why. Rates are those of the loss as given: a penalty on gamma in it, which does not
    act through the normalized values, does not count. Two things cannot be seen: a normalization that neither calls
    ``batch_norm`` nor is a `torch.nn` layer of its kind, and a second use of w that computes with it first.

    Parameters
    ----------
    model : torch.nn.Module
        Any network with batch normalization. Its parameters, gradients, buffers, modes, hooks and the random state
        are left as found. In evaluation mode as a whole it is measured as it trains; a layer that is in
        evaluation mode within a model that is in training mode is frozen, and has no rate.
    batches : iterable
        Of (inputs, targets); or of dicts or tuples of arguments, where the model returns its loss; or of anything,
        with `forward`. Rates are averaged over them, weighted by the rows that reach a layer: use the batch size of
        training, since a rate depends on it (theorem minibatch), and many, since it is a small mean of scattered
        gradients. Tensors are moved to the device of the model, but not for `forward`.
    loss_fn : callable, optional
        ``loss_fn(model(inputs), targets)``, a scalar averaged over the batch. Without it and without `forward`,
        the model returns its loss: as a scalar, as ``output.loss`` or as ``output["loss"]``.
    forward : callable, optional
        ``forward(model, batch)`` gives the scalar loss, for whatever does not fit this.
    batches_at_most : int, optional
        Stop after so many.
    relative_error : float, optional
        Stop as soon as the standard error of each layer's rate is at most this share of it, but not before 10
        batches. Where batches run out first, the report says which layers are not that sure.
    progress : bool
        Show a progress bar (tqdm, the extra ``sweeps``).

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If the model has no batch normalization or hides it, there is no batch, a batch leaves a channel one value,
        the loss is no finite scalar, a layer computes in half precision, or a checkpoint hides gradients.

    Examples
    --------
    >>> from bnlib.models import network
    >>> inputs, targets = torch.randn(4, 64, 5), torch.randint(3, (4, 64))
    >>> report = measure(network((5, 4, 3)), zip(inputs, targets), nn.functional.cross_entropy)
    >>> report.to_frame().shape
    (4, 11)
    """
    if loss_fn is not None and forward is not None:
        raise ValueError("loss_fn and forward are both given; forward(model, batch) already gives the loss")
    for name, given in (("loss_fn", loss_fn), ("forward", forward)):
        if given is not None:
            function(name, given)
    if not isinstance(batches, Iterable):
        raise ValueError(f"batches is a {type(batches).__name__}; it must give batches, one after another")
    if batches_at_most is not None:
        batches_at_most = int(positive("batches_at_most", batches_at_most, whole=True))
    if relative_error is not None:
        positive("relative_error", relative_error)
    channels = layer_channels(model)
    loss_of = forward or _loss_of(model, loss_fn)
    means: dict[str, WeightedMean] = {}
    reasons: dict[str, str] = {}
    linears: dict[str, str] = {}
    unlinked: dict[str, str] = {}
    number = 0
    with as_it_trains(model):
        for batch in _shown(islice(batches, batches_at_most), batches, batches_at_most, progress):
            number += 1
            for name, reading in _read(model, batch, loss_of, number).items():
                if channels.setdefault(name, reading.channels) != reading.channels:
                    reasons.setdefault(name, OTHER_CHANNELS)
                elif reading.reason:
                    reasons.setdefault(name, reading.reason)
                else:
                    means.setdefault(name, WeightedMean()).add(reading.values, reading.rows)
                    linears.setdefault(name, reading.linear)
                    unlinked[name] = unlinked.get(name) or reading.unlinked
            if not channels:
                raise ValueError(
                    f"model ({type(model).__name__}) has no batch normalization; there is nothing to measure"
                )
            if relative_error is not None and number >= BATCHES_AT_LEAST:
                complete = [mean for name, mean in means.items() if name not in reasons and mean.count == number]
                if all(_sure(mean, relative_error) for mean in complete):
                    break
    if not number:
        raise ValueError("batches is empty; give at least one")
    for name in channels:
        if name not in means:
            reasons.setdefault(name, NOT_RUN)
        elif means[name].count < number:
            reasons.setdefault(name, NOT_ALWAYS_RUN)
    parts = [
        _layer(name, count, means.get(name), reasons.get(name, ""), linears.get(name, ""), unlinked.get(name, ""))
        for name, count in channels.items()
    ]
    columns: dict[str, Any] = {}
    for key in parts[0][0]:
        together = [part[key] for part, _ in parts]
        columns[key] = sum(together, ()) if isinstance(together[0], tuple) else np.concatenate(together)
    layers = pd.DataFrame([row for _, row in parts])
    return Report(**columns, layers=layers, batches=number, relative_error=relative_error)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one batch says of one layer: values, the rows of `ROWS`, or a reason why there are none."""

    channels: int
    reason: str = ""
    values: Any = None
    rows: int = 0
    linear: str = ""
    unlinked: str = ""


# of the values of a layer; the last column is the layer's own
ROWS = ("gamma", "weight_norm", "batch_var", "rate", "l2_rate", "effective_norm")


def _read(model: nn.Module, batch: Any, loss_of: Loss, number: int) -> dict[str, _Reading]:
    def leaf(gamma: torch.Tensor, _: str) -> torch.Tensor:
        return gamma.detach().clone().requires_grad_()

    with recording(model, leaf) as recorder:
        loss = loss_of(model, batch)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ValueError(
                f"the loss of batch {number} is no scalar but {found}; it must be one number, a mean over the batch: "
                "where the model gives more, forward=lambda model, batch: … can add it up"
            )
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of batch {number} is {loss.item()}; it must be finite")
        uses = consumers(loss)
        if any(node.name() == "CheckpointFunctionBackward" for node in uses):
            raise ValueError(
                "model checkpoints with use_reentrant=True, which hides its gradients; "
                "measure with torch.utils.checkpoint.checkpoint(…, use_reentrant=False)"
            )
        calls = [(call, recorder.unlinked(call, uses)) for call in recorder.calls]
        live = [call for call, _ in calls if not call.frozen]
        with recorder.backward():
            grads = dict(zip(live, _grads(loss, [call.gamma for call in live])))
    readings = {name: _Reading(channels, OWN_CODE) for name, channels in recorder.entered.items()}
    seen = set()
    for call, unlinked in calls:
        grad = grads.get(call)
        if call.layer in seen:
            reading = _Reading(call.channels, REPEATED)
        elif call.frozen or grad is None:
            reading = _Reading(call.channels, FROZEN if call.frozen else UNREACHED)
        else:
            reading = _Reading(
                call.channels, "", values_of(call, grad, bool(unlinked)), call.rows, call.linear, unlinked
            )
        readings[call.layer] = reading
        seen.add(call.layer)
    return readings


def _grads(loss: torch.Tensor, gammas: list[torch.Tensor]) -> list[torch.Tensor | None]:
    """With respect to `gammas` and nothing else: no parameter's hook runs, no gradient is accumulated."""
    if not gammas or not loss.requires_grad:
        return [None] * len(gammas)
    try:
        return list(torch.autograd.grad(loss.sum(), gammas, allow_unused=True))
    except CheckpointError as error:
        raise ValueError(
            "model checkpoints what is not computed again as it was, such as a normalization without gamma that is in "
            "no module; measure it without checkpoints"
        ) from error


def values_of(call: Call, grad: torch.Tensor, unlinked: bool) -> np.ndarray:
    """The rows of `ROWS`, channels and the layer: in NumPy, since they are few and float64 is not on every device."""
    gamma, gamma_grad, q = (as_array(tensor) for tensor in (call.gamma, grad, call.batch_var))
    weight_norm = np.full_like(gamma, np.nan) if unlinked else as_array(call.weight_norm)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rate = _finite(-gamma_grad / gamma)
        l2_rate = _finite(rate * (q + call.eps) / weight_norm**2)
        effective_norm = np.abs(gamma) * weight_norm / np.sqrt(q + call.eps)
        counted = np.isfinite(l2_rate)
        pull, size = (rate * gamma**2)[counted].sum(), (effective_norm**2)[counted].sum()
        layer_rate = rate[np.isfinite(rate)].mean() if np.isfinite(rate).any() else np.nan
        layer = [np.nan, np.nan, np.nan, layer_rate, pull / size if size else np.nan, np.nan]
    return _finite(np.column_stack([[gamma, weight_norm, q, rate, l2_rate, effective_norm], layer]))


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _sure(mean: WeightedMean, relative_error: float) -> bool:
    value, error = mean.mean[:, -1], mean.error[:, -1]
    row = ROWS.index("l2_rate" if np.isfinite(value[ROWS.index("l2_rate")]) else "rate")
    return not np.isfinite(value[row]) or error[row] <= relative_error * abs(value[row])


def _layer(
    name: str, channels: int, mean: WeightedMean | None, reason: str, linear: str, unlinked: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer's part of the columns of a report, and its row by layer."""
    if mean is None or reason:
        values = errors = np.full((len(ROWS), channels + 1), np.nan)
        reasons = [reason] * channels
    else:
        values, errors = _finite(mean.mean), _finite(mean.error)
        gamma, weight_norm, batch_var, rate, l2_rate, _ = values[:, :-1]
        why = {
            GAMMA_0: gamma == 0,
            NOT_FINITE: (gamma != 0) & np.isnan(rate),
            unlinked: np.full(channels, bool(unlinked)),
            WEIGHT_0: weight_norm == 0,
            ONE_BATCH: np.full(channels, mean.count == 1),
        }
        missing = np.isnan([weight_norm, batch_var, l2_rate, *errors[3:5, :-1]]).any(axis=0)
        why[NOT_FINITE] |= missing & ~np.any(list(why.values()), axis=0)
        reasons = ["; ".join(word for word, applies in why.items() if applies[channel]) for channel in range(channels)]
    columns = dict(zip(ROWS, values[:, :-1])) | {
        "layer": (name,) * channels,
        "linear": (linear,) * channels,
        "channel": np.arange(channels),
        "reason": tuple(reasons),
        "rate_error": errors[ROWS.index("rate"), :-1],
        "l2_rate_error": errors[ROWS.index("l2_rate"), :-1],
    }
    row = {
        "layer": name,
        "linear": linear,
        "channels": channels,
        "measured": int(np.isfinite(columns["rate"]).sum()),
    }
    for key in ("rate", "l2_rate"):
        row[key], row[f"{key}_error"] = values[ROWS.index(key), -1], errors[ROWS.index(key), -1]
    words = Counter(word for reason in reasons if reason for word in reason.split("; "))
    return columns, row | {"reason": "; ".join(word for word, _ in words.most_common())}


def _loss_of(model: nn.Module, loss_fn: Loss | None) -> Loss:
    """What one batch loses, where no `forward` is given."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))

    def with_targets(model: nn.Module, batch: Any) -> torch.Tensor:
        assert loss_fn is not None
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            found = f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, (tuple, list)) else "")
            raise ValueError(
                f"batches holds a {found}; loss_fn needs (inputs, targets): for anything else give "
                "forward=lambda model, batch: … instead, which returns the loss"
            )
        inputs, targets = (_moved(part, device) for part in batch)
        return loss_fn(output_of(model, inputs), targets)

    def by_itself(model: nn.Module, batch: Any) -> torch.Tensor:
        fits = isinstance(batch, (tuple, list, Mapping))
        if not fits:
            raise ValueError(
                f"batches holds a {type(batch).__name__}; without loss_fn it must be a dict or a tuple of arguments"
            )
        moved = _moved(batch, device)
        try:
            output = model(**moved) if isinstance(moved, Mapping) else model(*moved)
        except TypeError as error:
            raise ValueError(
                f"model does not take what batches holds ({error}); give loss_fn, where batches are (inputs, targets)"
            ) from error
        if isinstance(output, Mapping) and "loss" in output:
            return output["loss"]
        return getattr(output, "loss", output)

    return by_itself if loss_fn is None else with_targets


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: _moved(value, device) for key, value in batch.items()}
    return type(batch)(_moved(value, device) for value in batch) if type(batch) in (tuple, list) else batch


def _shown(chosen: Iterator[Any], batches: Iterable[Any], at_most: int | None, progress: bool) -> Iterable[Any]:
    if not progress:
        return chosen
    known = [len(batches)] if isinstance(batches, Sized) else []
    total = min([*known, *([] if at_most is None else [at_most])], default=None)
    return extra("tqdm", "sweeps").tqdm(chosen, total=total, desc="measure", unit="batch")


@contextmanager
def as_it_trains(model: nn.Module) -> Iterator[None]:
    """Run a model as it trains, and leave it as it was found.

    In evaluation mode as a whole it is put into training mode. Modes, parameters and buffers (some write them as they
    run), gradients and the random states are restored at the end.

    Examples
    --------
    >>> model = nn.BatchNorm1d(2).eval()
    >>> with as_it_trains(model):
    ...     _ = model(torch.ones(3, 2))
    >>> model.training, model.running_mean
    (False, tensor([0., 0.]))
    """
    modes = [(module, module.training) for module in model.modules()]
    homes: list[dict[str, Any]] = [home for module in model.modules() for home in (module._parameters, module._buffers)]
    held = [dict(home) for home in homes]
    tensors = {tensor: tensor.detach().clone() for home in held for tensor in home.values() if tensor is not None}
    grads = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    devices = {tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        for parameter, *_ in grads:
            parameter.grad = None  # so that a backward pass within the forward pass has none to add to
        if not any(training for _, training in modes):
            model.train()
        with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for module, training in modes:
            module.training = training
        for home, before in zip(homes, held):
            home.clear()
            home.update(before)
        for tensor, before in tensors.items():
            if not torch.equal(tensor, before):
                tensor.data.copy_(before)  # unseen by a graph that waits for its backward pass
        for parameter, grad, requires_grad in grads:
            if parameter.requires_grad != requires_grad:  # the mode of training may set it
                parameter.requires_grad_(requires_grad)
            parameter.grad = grad
