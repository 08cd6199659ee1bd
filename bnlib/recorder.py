"""What enters batch normalization, and the linear map before it, seen where they are computed.

`recording` watches the *functions* ``batch_norm``, ``linear``, ``conv1d`` … while a model runs, not the classes of its
modules: what a subclass fuses into its forward, a weight that is computed anew at each pass, functional code, autocast
and a compiled model come out right without being known here.
"""

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
LINEAR = (F.linear, F.conv1d, F.conv2d, F.conv3d, *TRANSPOSED)
ARGUMENTS = {
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    torch.batch_norm: (
        *("input", "weight", "bias", "running_mean", "running_var"),
        *("training", "momentum", "eps", "cudnn_enabled"),
    ),
} | dict.fromkeys(LINEAR, ("input", "weight"))

NOT_LINEAR = "not after a linear map"
OTHER_UNITS = "its channels are not the units of the linear map"
SHARED_WEIGHT = "its linear map is used more than once"
BYPASSED = "its input is used elsewhere too"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``batch_norm`` in a forward pass.

    Parameters
    ----------
    layer : str
        The module that owns gamma or the running statistics, or that made the call; in functional code the parameter
        that is gamma.
    channels : int
    linear : str
        The same for the linear map whose very output is normalized; empty where there is none.
    frozen : bool
        Whether running statistics were used. What follows is None then.
    rows : int
        Length of the batch dimension.
    gamma : torch.Tensor, shape (channels,)
        What stood in for the weight, so that its gradient is the one of this call alone.
    batch_var : torch.Tensor, shape (channels,)
        q, the biased variance of the input.
    eps : float
    weight_norm : torch.Tensor, shape (channels,), or None
        The norm of w, of the weight as it was used: standardized, parametrized, cast.
    unlinked : str
        Why there is no ``weight_norm``; empty where there is one.
    weight_key : int
        Tells the weights of a pass apart.
    input_node : node of the graph, or None
        Which made the input.
    """

    layer: str
    channels: int
    linear: str = ""
    frozen: bool = False
    rows: int = 0
    gamma: Any = None
    batch_var: Any = None
    eps: float = 0.0
    weight_norm: Any = None
    unlinked: str = ""
    weight_key: int = 0
    input_node: Any = None


def layer_channels(model: nn.Module) -> dict[str, int]:
    """Name and number of channels of each module of `model` that normalizes batches, in the model's order.

    Raises
    ------
    ValueError
        If what such a module does cannot be seen: scripted, spread over devices or processes, or not built yet.

    Examples
    --------
    >>> layer_channels(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    {'1': 2}
    """
    found = {}
    for name, module in model.named_modules():
        scripted = isinstance(module, torch.jit.ScriptModule)
        if scripted:
            raise ValueError(f"model holds {name or 'itself'!r} as TorchScript; give the module that was scripted")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise ValueError(
                f"model is spread over {len(module.device_ids)} devices, each with its own batch statistics; "
                "give model.module and batches of the length that one device gets"
            )
        if any(is_lazy(tensor) for tensor in module.parameters(recurse=False)):
            raise ValueError(
                f"model has not built {name!r} ({type(module).__name__}) yet; run one batch through it first"
            )
        if isinstance(module, _BatchNorm):
            if isinstance(module, nn.SyncBatchNorm) and _process_group_size() > 1:
                raise ValueError(
                    f"model synchronizes {name!r} over {_process_group_size()} processes, whose batches this one "
                    "does not see; measure in one process, on batches of the length of all of theirs"
                )
            found[name] = module.num_features
    return found


def _process_group_size() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@contextmanager
def recording(model: nn.Module, stand_in: Callable[[torch.Tensor, str], torch.Tensor]) -> Iterator["Recorder"]:
    """Record the calls of ``batch_norm`` while the context is open.

    Parameters
    ----------
    model : torch.nn.Module
    stand_in : callable
        ``stand_in(gamma, layer)`` gives the tensor that is used in place of gamma, with the same values.

    Yields
    ------
    Recorder
    """
    recorder = Recorder(model, stand_in)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # what was compiled before has no functions to see
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(register_module_forward_pre_hook(recorder.enter).remove)
        stack.callback(register_module_forward_hook(recorder.leave, always_call=True).remove)
        stack.enter_context(recorder)
        yield recorder


class Recorder(TorchFunctionMode):
    """The mode that `recording` opens; `calls` holds what it saw."""

    def __init__(self, model: nn.Module, stand_in: Callable[[torch.Tensor, str], torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.weight_uses: Counter[int] = Counter()
        self._stand_in = stand_in
        self._running: list[nn.Module] = []
        self._names = {module: name for name, module in model.named_modules()}
        # who owns a tensor that a function gets; a weight that is computed has no owner
        self._owners: dict[int, tuple[nn.Module, str]] = {}
        for module, name in self._names.items():
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._owners.setdefault(id(tensor), (module, f"{name}.{key}".lstrip(".")))
        # by id: the reference says whether it is the same tensor still, the version whether it was overwritten
        self._outputs: dict[int, tuple[weakref.ref[torch.Tensor], int, str, torch.Tensor, bool]] = {}

    def enter(self, module: nn.Module, _: Any) -> None:
        self._running.append(module)

    def leave(self, module: nn.Module, *_: Any) -> None:
        self._running.pop()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ARGUMENTS.get(function)
        if names is None:
            return function(*args, **(kwargs or {}))
        given = dict(zip(names, args)) | (kwargs or {})
        if function in LINEAR:
            output = function(*args, **(kwargs or {}))
            self._after_linear(function, given["weight"], output)
            return output
        return self._batch_norm(function, given)

    def _after_linear(self, function: Any, weight: torch.Tensor, output: torch.Tensor) -> None:
        name = self._name([weight], nn.Linear, _ConvNd)
        transposed = function in TRANSPOSED
        self.weight_uses[id(weight)] += 1
        self._outputs[id(output)] = (weakref.ref(output), output._version, name, weight, transposed)

    def _batch_norm(self, function: Any, given: dict[str, Any]) -> torch.Tensor:
        z, weight = given["input"], given.get("weight")
        layer = self._name([weight, given.get("running_mean"), given.get("bias")], _BatchNorm)
        if not given.get("training", False):
            self.calls.append(Call(layer, z.shape[1], frozen=True))
            return function(**given)
        if z.numel() == z.shape[1]:
            raise ValueError(
                f"batches holds a batch that leaves layer {layer!r} one value a channel (shape {tuple(z.shape)}); "
                "a batch variance needs at least 2"
            )
        gamma = z.new_ones(z.shape[1], dtype=torch.promote_types(z.dtype, torch.float32)) if weight is None else weight
        for tensor in (z, gamma):
            if tensor.dtype == torch.float16 or (tensor is gamma and tensor.dtype == torch.bfloat16):
                raise ValueError(
                    f"model computes {layer!r} in {str(tensor.dtype).removeprefix('torch.')}: the small gradients that a "
                    "rate is made of are lost in it; measure in float32 or float64, or under autocast to bfloat16"
                )
        given["weight"] = gamma = self._stand_in(gamma, layer)
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            dims = [dim for dim in range(z.ndim) if dim != 1]
            batch_var = z.to(torch.promote_types(z.dtype, torch.float32)).var(dim=dims, correction=0)
            linear, weight_norm, unlinked, weight_key = self._linear_before(z)
        self.calls.append(
            Call(
                layer=layer,
                channels=z.shape[1],
                linear=linear,
                rows=len(z),
                gamma=gamma,
                batch_var=batch_var,
                eps=given.get("eps", 1e-5),
                weight_norm=weight_norm,
                unlinked=unlinked,
                weight_key=weight_key,
                input_node=z.grad_fn,
            )
        )
        return function(**given)

    def _linear_before(self, z: torch.Tensor) -> tuple[str, torch.Tensor | None, str, int]:
        output, version, name, weight, transposed = self._outputs.get(id(z), (None, 0, "", None, False))
        if output is None or output() is not z or z._version != version or weight is None:
            return "", None, NOT_LINEAR, 0
        if z.ndim != weight.ndim:  # no batch dimension, or one more: the second is not the one of the units
            return name, None, OTHER_UNITS, 0
        w = weight.detach()
        if transposed:  # (inputs, units of a group, kernel …)
            groups = z.shape[1] // w.shape[1]
            w = w.unflatten(0, (groups, -1)).movedim(2, 1).flatten(0, 1)
        return (
            name,
            torch.linalg.vector_norm(w.flatten(1).to(torch.promote_types(w.dtype, torch.float32)), dim=1),
            "",
            id(weight),
        )

    def _name(self, tensors: list[torch.Tensor | None], *kinds: type[nn.Module]) -> str:
        """The module of one of `kinds` that owns one of `tensors` or is running; else the first tensor's own name."""
        owned = [self._owners[id(tensor)] for tensor in tensors if id(tensor) in self._owners]
        running = self._running[-1] if self._running else None
        for module in (*(owner for owner, _ in owned), running):
            if isinstance(module, kinds) and module in self._names:
                return self._names[module]
        if owned:
            return owned[0][1]
        return self._names.get(running, "") if running is not None else ""


def consumers(loss: torch.Tensor) -> Counter[Any]:
    """How often the output of each node of the graph behind `loss` is used on the way to it.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> y = 2 * x
    >>> consumers((y * y + y).sum())[y.grad_fn]
    3
    """
    counts: Counter[Any] = Counter()
    open_nodes, seen = [loss.grad_fn], {loss.grad_fn}
    while open_nodes:
        node = open_nodes.pop()
        for used, _ in node.next_functions if node is not None else ():
            if used is not None:
                counts[used] += 1
                if used not in seen:
                    seen.add(used)
                    open_nodes.append(used)
    return counts
