"""The meter while a network trains: rates at chosen steps, at next to no cost."""

import csv
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from bnlib.layers import layer_channels
from bnlib.objects import path_of
from bnlib.passes import UNKNOWN, Passes
from bnlib.validation import positive

COLUMNS = ("step", "layer", "rate", "l2_rate")
COMPILED = (
    "model is compiled in place, or runs inside what is compiled; give RateLogger what torch.compile(model) returns"
)


class RateLogger:
    """Log the rate of every layer of batch normalization while a network trains.

    At every chosen step the rates are those that `bnlib.measure` finds on the batch of that step: they are read from
    the backward pass that training runs, none is added. Where the gradients of several batches add up to a step, so do
    the rates; divide the *loss* by the number of batches, as the step itself needs it. Training is the same to the bit
    with the logger as without. Clipping after the backward pass does not matter.

    Parameters
    ----------
    model : torch.nn.Module
        What training calls: its submodules must run inside ``model(…)``. Of a compiled model, what `torch.compile`
        returned; it runs uncompiled at the chosen steps, and rounds as it does then.
    every : int
        Read the steps 0, every, 2 every …: steps of the optimizer, not batches.
    path : str or path, optional
        Of a CSV file with the columns of `to_frame`, to which each reading is appended as it is made. A file with this
        header that is there already is continued.
    scaler : torch.amp.GradScaler, optional
        The one that scales the loss, if one does.

    Attributes
    ----------
    step : int
        Calls of the optimizer's ``step`` so far. Set it where a training is resumed.

    Raises
    ------
    ValueError
        If `every` is no whole number above 0, `scaler` is none, `path` has another header, or the model is compiled
        in place or hides its batch normalization, or `path` is no path of a file; in a pass, where `bnlib.measure` raises it: in half precision, say.
    FileNotFoundError
        If `path` is in a folder that is not there.
    RuntimeError
        At a chosen step, if the gradient that it uses is not the one that was read, but for clipping: the loss is
        scaled and `scaler` is not given, gradients are left from before, a backward pass comes from elsewhere than
        ``model(…)``, or the optimizer evaluates the loss several times or steps inside the backward pass.

    Notes
    -----
    The rate is that of theorem rate. A layer has NaN where `bnlib.measure` has it on one of the batches of the step,
    which says why: in evaluation mode, used more than once, not reached by a gradient, not run. ``l2_rate`` has it also
    where what is normalized does not show in what the model returns. A frozen gamma has a rate if training sends a
    gradient to what it scales. Of several processes each sees its own batches.

    Examples
    --------
    >>> from bnlib.models import network
    >>> model = network((5, 4, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with RateLogger(model, every=2) as logger:
    ...     for inputs, targets in zip(torch.randn(4, 64, 5), torch.randint(3, (4, 64))):
    ...         optimizer.zero_grad()
    ...         nn.functional.cross_entropy(model(inputs), targets).backward()
    ...         optimizer.step()
    >>> logger.to_frame()[["step", "layer"]].values.tolist()
    [[0, '1'], [2, '1']]
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 100,
        path: str | os.PathLike[str] | None = None,
        scaler: Any = None,
    ) -> None:
        self._every = int(positive("every", every, whole=True))
        if scaler is not None and not callable(getattr(scaler, "get_scale", None)):
            raise ValueError(f"scaler = {scaler!r} has no get_scale(); it must be the torch.amp.GradScaler of the loss")
        layer_channels(model)
        if model._compiled_call_impl is not None:
            raise ValueError(COMPILED)
        self.step = 0
        self._model, self._scaler = model, scaler
        self._path = None if path is None else _continued(path)
        self._readings: list[tuple[int, str, float, float]] = []
        self._passes: Passes | None = None  # of a chosen step
        self._passed = self._counted = False
        self._own = {id(parameter) for parameter in model.parameters()}
        self._handles = [
            model.register_forward_pre_hook(_Hook(self._before_forward)),
            model.register_forward_hook(_Hook(self._after_forward), always_call=True),
            register_optimizer_step_pre_hook(_Hook(self._before_step)),
            register_optimizer_step_post_hook(_Hook(self._after_step)),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        unseen = kind is None and self._handles and self._passed and not self._counted
        self.close()
        if unseen:
            warnings.warn(
                "RateLogger saw passes of model, but no step of an optimizer of torch.optim that holds its parameters; "
                "nothing was logged",
                stacklevel=2,
            )

    def close(self) -> None:
        """Take all hooks away. What was read stays."""
        while self._handles:
            self._handles.pop().remove()
        if self._passes is not None:
            self._passes.close()
            self._passes = None

    def to_frame(self) -> pd.DataFrame:
        """What was read: a row for each layer and step, columns ``step layer rate l2_rate``.

        ``rate`` is the mean over the channels of the layer, ``l2_rate`` the one ``weight_decay`` for the layer with the
        same pull along its effective weights, both as in `bnlib.Report.by_layer`.

        Returns
        -------
        pandas.DataFrame
        """
        return pd.DataFrame(self._readings, columns=list(COLUMNS))

    def _before_forward(self, module: nn.Module, _: Any) -> None:
        if module is not self._model or not torch.is_grad_enabled():
            return
        self._passed = True
        if self._passes is None:
            if self.step % self._every:
                return
            if any(_is_compiled(frame) for frame in _callers()):
                raise RuntimeError(COMPILED)
            self._own = {id(parameter) for parameter in module.parameters()}
            self._passes = Passes(module, self._scaler)
        if module.training:
            self._passes.begin(module)

    def _after_forward(self, module: nn.Module, _: Any, output: Any) -> None:
        if module is self._model and self._passes is not None:
            self._passes.end(output)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._holds(optimizer) and not _has_closure(args, kwargs):
            self._stepped(optimizer)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # the passes of a closure run inside the step, which leaves their gradients
        if self._holds(optimizer) and _has_closure(args, kwargs):
            self._stepped(optimizer)

    def _holds(self, optimizer: torch.optim.Optimizer) -> bool:
        return any(id(parameter) in self._own for group in optimizer.param_groups for parameter in group["params"])

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        several = isinstance(optimizer, torch.optim.LBFGS)
        if several:
            raise RuntimeError(UNKNOWN + "LBFGS evaluates the loss several times, at other parameters each time")
        if torch._C._current_graph_task_id() != -1:
            raise RuntimeError(UNKNOWN + "the optimizer steps inside the backward pass; step after it")
        if not self._passed:  # another optimizer has taken this step
            if not self._counted and any(parameter.grad is not None for parameter in self._model.parameters()):
                raise RuntimeError(UNKNOWN + "model was not called; give RateLogger the module that training calls")
            return
        passes, step = self._passes, self.step
        if passes is not None and _skipped(optimizer):
            return
        self._passed, self._counted, self._passes = False, True, None
        self.step += 1
        if passes is not None:
            passes.close()
            for frame in filter(_is_scaler, _callers()):
                scaler = frame.f_locals["self"]
                if scaler.is_enabled() and scaler is not self._scaler:
                    raise RuntimeError("a torch.amp.GradScaler scales the loss, and rates with it; pass it as scaler=")
            self._record([(step, *row) for row in passes.rates(optimizer)])

    def _record(self, rows: list[tuple[int, str, float, float]]) -> None:
        self._readings += rows
        if self._path is not None:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)


class _Hook:
    """A hook that is not compiled, does nothing in a copy of its model, and lets that be copied and saved."""

    def __init__(self, call: Any = None) -> None:
        self._call = call

    @torch.compiler.disable
    def __call__(self, *args: Any) -> None:
        if self._call is not None:
            self._call(*args)

    def __reduce__(self) -> tuple[type["_Hook"], tuple[()]]:
        return _Hook, ()


def _has_closure(args: Any, kwargs: Any) -> bool:
    return kwargs.get("closure", args[1] if len(args) > 1 else None) is not None


def _skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Fused optimizers leave a step out by themselves where `torch.amp.GradScaler` found infinity."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _callers() -> Iterator[Any]:
    frame: Any = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_compiled(frame: Any) -> bool:
    return frame.f_code.co_name == "compile_wrapper" and frame.f_globals.get("__name__") == "torch._dynamo.eval_frame"


def _is_scaler(frame: Any) -> bool:
    return frame.f_code.co_name == "step" and frame.f_globals.get("__name__") == "torch.amp.grad_scaler"


def _continued(given: str | os.PathLike[str]) -> Path:
    """Begin a CSV file, unless it is there."""
    path = path_of("path", given)
    if path.is_dir():
        raise ValueError(f"path = {str(path)!r} is a folder; it must be a file in one")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"path = {str(path)!r} is in no folder that exists; make {path.absolute().parent}")
    header = ",".join(COLUMNS)
    if path.exists() and path.stat().st_size:
        with path.open(encoding="utf-8") as file:
            first = file.readline().rstrip("\n")
        if first != header:
            raise ValueError(
                f"path = {str(path)!r} begins with {first!r}; it must begin with {header!r}, or be a new file"
            )
    else:
        path.write_text(header + "\n", encoding="utf-8")
    return path
