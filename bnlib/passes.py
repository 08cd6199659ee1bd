"""What the passes between two steps of an optimizer gave: the rates of the step, from gradients that it computes anyway.

An alias stands in for each gamma, with the same values: the gradient of the alias is read on its way to gamma, before
it is added to others, clipped or unscaled. Some entries of each parameter's gradient are kept beside it, so that a loss
that was scaled, or a gradient that comes from elsewhere, is told from what the step uses.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bnlib.layers import layer_channels
from bnlib.meter import ROWS, as_array, values_of
from bnlib.recorder import ARGUMENTS, Call, Recorder, consumers, recording

# so many without a step of an optimizer are no accumulation: the step is not seen
PASSES_AT_MOST = 1000
# of a gradient, to tell by which factor all of it was changed
ENTRIES = 64
# outside it is no clipping, but a loss that was scaled
FACTORS = (1e-4, 1e3)
UNKNOWN = "RateLogger cannot tell what the gradient of this step is of: "


@dataclasses.dataclass(eq=False)
class _Pass:
    """The calls of one pass, and which of them have no linear map to speak of."""

    calls: list[Call] = dataclasses.field(default_factory=list)
    unlinked: list[bool] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False)
class _Reached:
    """A backward pass, known by its task, reached the alias in a call."""

    task: int
    run: _Pass
    index: int
    grad: torch.Tensor
    scale: float


@dataclasses.dataclass(eq=False)
class _Added:
    """A backward pass added to the gradient of a parameter: some entries of it before and after."""

    task: int
    parameter: torch.Tensor
    before: torch.Tensor | None
    after: torch.Tensor | None


class Passes:
    """Watches the passes of a model until the optimizer steps.

    Parameters
    ----------
    model : torch.nn.Module
    scaler : torch.amp.GradScaler, optional
        Which scales the loss.
    """

    def __init__(self, model: nn.Module, scaler: Any = None) -> None:
        self._layers = list(layer_channels(model))
        self._scaler, self._scaled = scaler, (-1, 1.0)
        self._events: list[_Reached | _Added] = []
        self._before: dict[int, torch.Tensor | None] = {}
        self._open: tuple[ExitStack, Recorder, _Pass] | None = None
        self._input = _Input()
        self._count = 0
        self._handles = []
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_leaf:
                self._handles.append(parameter.register_hook(partial(self._before_added, parameter)))
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._added))

    def close(self) -> None:
        """Take all hooks away."""
        while self._handles:
            self._handles.pop().remove()
        if self._open is not None:
            self._open[0].close()
            self._open = None

    def begin(self, model: nn.Module) -> None:
        """Watch a pass, from within the first hook before it.

        Raises
        ------
        RuntimeError
            If one is under way, or there were more than can be one step's.
        """
        if self._open is not None:
            self.close()
            raise RuntimeError(
                "a pass of model begins inside another: it calls itself, or was interrupted; open a new RateLogger"
            )
        if self._count == PASSES_AT_MOST:
            raise RuntimeError(
                f"model ran {PASSES_AT_MOST} times without a step of an optimizer of torch.optim that holds its "
                "parameters; RateLogger counts those"
            )
        self._count += 1
        with ExitStack() as stack:
            recorder = stack.enter_context(recording(model, self._alias))
            recorder.enter(model, ())  # has begun already, but will be left
            stack.enter_context(self._input)
            self._open = (stack.pop_all(), recorder, _Pass())

    def end(self, output: Any) -> None:
        """End it, from within the last hook after it, or after what it raised."""
        if self._open is None:
            return
        (stack, recorder, run), self._open = self._open, None
        stack.close()
        uses = consumers(cast(torch.Tensor, _Root(output)))
        for call in recorder.calls:
            outside = call.input_node is not None and not uses[call.input_node]  # in nothing that the model returns
            run.unlinked.append(outside or bool(recorder.unlinked(call, uses)))
            # neither the graph nor a gamma that the step will change
            gamma = None if call.frozen else call.gamma.detach().clone()
            run.calls.append(dataclasses.replace(call, gamma=gamma, input_node=None))

    def _alias(self, gamma: torch.Tensor, _: str) -> torch.Tensor:
        assert self._open is not None
        _, recorder, run = self._open
        if not torch.is_grad_enabled():
            return gamma
        if gamma.requires_grad:
            alias = gamma.view_as(gamma)
        elif self._input.requires_grad:
            alias = gamma.detach().requires_grad_()
        else:  # training sends no gradient here, and what requires none must not begin to
            return gamma
        alias.register_hook(partial(self._reached, run, len(recorder.calls)))
        return alias

    def _reached(self, run: _Pass, index: int, grad: torch.Tensor) -> None:
        task = torch._C._current_graph_task_id()
        if self._scaler is not None and self._scaled[0] != task:
            self._scaled = (task, float(self._scaler.get_scale()))
        self._events.append(_Reached(task, run, index, grad.detach().clone(), self._scaled[1]))

    def _before_added(self, parameter: torch.Tensor, _: torch.Tensor) -> None:
        self._before[id(parameter)] = _some(parameter.grad)

    def _added(self, parameter: torch.Tensor) -> None:
        before = self._before.pop(id(parameter), None)
        self._events.append(_Added(torch._C._current_graph_task_id(), parameter, before, _some(parameter.grad)))

    def rates(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, float, float]]:
        """What the passes say of the step that `optimizer` takes with their gradients.

        Returns
        -------
        list of tuple
            The name, rate and L2-equivalent rate of each layer.

        Raises
        ------
        RuntimeError
            If the step uses other gradients than these, but for clipping.
        """
        events, foreign = _since_zeroed(self._events)
        added = [event for event in events if isinstance(event, _Added)]
        reached = [event for event in events if isinstance(event, _Reached)]
        tasks = {event.task for event in added}
        if reached:
            _refuse_elsewhere(tasks, {event.task for event in reached}, foreign)
            _refuse_scaled(added, reached[-1].scale, self._scaler is not None, len(tasks), optimizer)
        # what torch.autograd.grad was asked for besides is in no gradient of the step
        return list(_by_layer(self._layers, [event for event in reached if event.task in tasks]))


class _Input(TorchFunctionMode):
    """Knows whether training sends a gradient to what is normalized."""

    requires_grad = False

    @torch.compiler.disable  # nor is the recorder below it compiled, where all of the training is
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "training" in ARGUMENTS.get(function, ()):
            given = dict(zip(ARGUMENTS[function], args)) | kwargs
            self.requires_grad = given["input"].requires_grad
            # a checkpoint runs this again in the backward pass, and must find as many tensors: none for a weight
            if given.get("weight") is None and torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
                with torch._C.DisableTorchFunction():
                    return function(*args, **kwargs)
        return function(*args, **kwargs)


class _Root:
    """A node above all tensors in what a model returns, for `consumers`."""

    def __init__(self, output: Any) -> None:
        self.grad_fn = self
        self.next_functions = [(tensor.grad_fn, 0) for tensor in _tensors(output)]


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        yield found
    elif dataclasses.is_dataclass(found) and not isinstance(found, type):
        for field in dataclasses.fields(found):
            yield from _tensors(getattr(found, field.name))
    elif isinstance(found, (Mapping, tuple, list)):
        for part in found.values() if isinstance(found, Mapping) else found:
            yield from _tensors(part)


def _some(grad: torch.Tensor | None) -> torch.Tensor | None:
    if grad is None or grad.layout != torch.strided:
        return None
    grad = torch.view_as_real(grad) if grad.is_complex() else grad
    while grad.ndim > 1 and len(grad):
        grad = grad[0]
    return grad.detach().reshape(-1)[:ENTRIES].clone()


def _since_zeroed(events: list[_Reached | _Added]) -> tuple[list[_Reached | _Added], set[int]]:
    """What has happened since gradients were last set to zero, and the tasks that found others there."""
    kept: list[_Reached | _Added] = []
    foreign: set[int] = set()
    last: dict[int, torch.Tensor | None] = {}
    for event in events:
        if isinstance(event, _Added):
            left = last.get(id(event.parameter))
            found = event.before is not None and bool(event.before.any())
            if left is None and found:
                foreign.add(event.task)
            elif left is not None and (event.before is None or (bool(left.any()) and not found)):
                kept, foreign = [other for other in kept if other.task == event.task], foreign & {event.task}
                last = {id(other.parameter): other.after for other in kept if isinstance(other, _Added)}
            last[id(event.parameter)] = event.after
        kept.append(event)
    return kept, foreign


def _refuse_elsewhere(added: set[int], reached: set[int], foreign: set[int]) -> None:
    if not added & reached:
        raise RuntimeError(UNKNOWN + "no backward() added to the gradients of the parameters")
    if foreign:
        raise RuntimeError(
            UNKNOWN
            + "gradients were there before its first pass; set them to zero after each step, and open RateLogger "
            "between steps"
        )
    if added - reached:
        raise RuntimeError(
            UNKNOWN
            + "a backward pass added to it that reached no batch normalization in model(…); add what that is of, "
            "a penalty perhaps, to the loss (and checkpoint with use_reentrant=False)"
        )


def _refuse_scaled(
    added: list[_Added], scale: float, has_scaler: bool, passes: int, optimizer: torch.optim.Optimizer
) -> None:
    """Compare the gradients that the step uses with what the backward passes left."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    last = {id(event.parameter): event for event in added if id(event.parameter) in held}
    pairs = [(event.after, _some(event.parameter.grad)) for event in last.values()]
    known = [(as_array(left), as_array(used)) for left, used in pairs if left is not None and used is not None]
    if not known:
        raise RuntimeError(UNKNOWN + "what its backward passes left was gone")
    left, used = (np.concatenate(part) for part in zip(*known))
    told = np.isfinite(left) & np.isfinite(used) & (left != 0)
    if not told.any():
        return
    unscaling = getattr(optimizer, "grad_scale", None)  # which fused optimizers do while they step
    left, used = left[told], used[told] * (scale if unscaling is None else scale / float(unscaling))
    factor = float(np.linalg.norm(used) / np.linalg.norm(left))
    in_range = FACTORS[0] < factor < FACTORS[1]
    power = 2.0 ** np.round(np.log2(factor)) if in_range else 1.0
    # exact where a power of two is the factor, which clipping does not hit
    halved = power != 1 and (np.abs(used - power * left) <= scale * np.finfo(np.float32).tiny).all()
    averaged = passes > 1 and np.allclose(used * passes, left, rtol=2.0**-23, atol=0)
    if in_range and not halved and not averaged:
        return
    if has_scaler:
        raise RuntimeError(
            f"scaler has the scale {scale:g}, but the step uses {factor / scale:.3g} times what the backward pass left: "
            "the loss was not scaled by it, or the gradients were divided by hand; divide the loss"
        )
    raise RuntimeError(
        f"the step uses {factor:.3g} times what the backward pass left, and rates would be wrong by that factor; if the "
        "loss is scaled, pass scaler=, the torch.amp.GradScaler that does it, and divide the loss, not the gradients"
    )


def _by_layer(layers: list[str], reached: list[_Reached]) -> Iterator[tuple[str, float, float]]:
    grads: dict[_Pass, dict[int, list[_Reached]]] = {}
    for event in reached:
        grads.setdefault(event.run, {}).setdefault(event.index, []).append(event)
    rows = [ROWS.index("rate"), ROWS.index("l2_rate")]
    totals: dict[str, Any] = dict.fromkeys(layers, np.zeros(2) if grads else np.full(2, np.nan))
    gammas: dict[str, torch.Tensor] = {}
    for run, found in grads.items():
        uses = Counter(call.layer for call in run.calls)
        for index, call in enumerate(run.calls):
            total = totals.setdefault(call.layer, np.zeros(2))
            if call.frozen or uses[call.layer] > 1 or index not in found:
                totals[call.layer] = total + np.nan
                continue
            if not torch.equal(gammas.setdefault(call.layer, call.gamma), call.gamma):
                raise RuntimeError(UNKNOWN + f"gamma of {call.layer!r} changed between its passes")
            # linear in the gradient: passes whose gradients add up have rates that do
            for event in found[index]:
                total = total + values_of(call, event.grad, run.unlinked[index])[rows, -1] / event.scale
            totals[call.layer] = total
        for name in totals.keys() - uses.keys():
            totals[name] = totals[name] + np.nan
    if not totals:
        raise ValueError("model has no batch normalization; there is nothing to log")
    for name, total in totals.items():
        rate, l2_rate = np.where(np.isfinite(total), total, np.nan)
        yield name, float(rate), float(l2_rate)
