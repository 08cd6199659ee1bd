"""What enters batch normalization, and the linear map before it, seen where they are computed.

`recording` watches the *functions* ``batch_norm``, ``linear``, ``conv1d`` … while a model runs, not the classes of its
modules: what a subclass fuses into its forward, a weight that is computed anew at each pass, functional code, autocast
and a compiled model come out right without being known here.
"""

import sys
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

ATEN = torch.ops.aten  # what an exported model calls
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
TRANSPOSED += (ATEN.conv_transpose1d.default, ATEN.conv_transpose2d.input, ATEN.conv_transpose3d.input)
LINEAR = (F.linear, F.conv1d, F.conv2d, F.conv3d, *TRANSPOSED)
LINEAR += (ATEN.linear.default, ATEN.conv1d.default, ATEN.conv2d.default, ATEN.conv3d.default)
LINEAR += (ATEN.conv1d.padding, ATEN.conv2d.padding, ATEN.conv3d.padding)
TORCH_BATCH_NORM = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
TORCH_BATCH_NORM += ("cudnn_enabled",)
ARGUMENTS = {
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    torch.batch_norm: TORCH_BATCH_NORM,
    ATEN.batch_norm.default: TORCH_BATCH_NORM,
} | dict.fromkeys(LINEAR, ("input", "weight"))
# where a weight may meet data too, unseen by the functions above
PRODUCTS = {
    *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, torch.tensordot, F.embedding, F.bilinear),
    *(torch.Tensor.matmul, torch.Tensor.__rmatmul__, torch.Tensor.mm, torch.Tensor.bmm, torch.Tensor.addmm),
}
DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]  # where a tensor is written to and no version says so

NOT_LINEAR = "not after a linear map"
OTHER_UNITS = "its channels are not the units of the linear map"
SHARED_WEIGHT = "its linear map is used more than once"
BYPASSED = "its input is used elsewhere too"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``batch_norm`` in a forward pass.

    `layer` is the module that normalizes, in functional code the parameter that is gamma; `linear` the same for the
    linear map whose very output is normalized, empty where there is none.
    """

    layer: str
    channels: int
    linear: str = ""
    frozen: bool = False  # by running statistics; what follows is None then
    rows: int = 0  # the length of the batch dimension
    gamma: Any = None  # what stood in for the weight, so that its gradient is the one of this call alone
    batch_var: Any = None  # q, the biased variance of the input
    eps: float = 0.0
    weight_norm: Any = None  # of the weight as it was used: standardized, parametrized, cast
    unlinked: str = ""  # why there is no weight_norm
    weight_key: Hashable = None  # of w in the recorder's weight_uses
    input_node: Any = None  # of the graph, which made the input
    input_key: int = 0  # in `Recorder.input_uses`, where it is in no graph


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
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Using `torch.compile.* global hooks")
        stack.callback(register_module_forward_pre_hook(recorder.enter).remove)
        stack.callback(register_module_forward_hook(recorder.leave, always_call=True).remove)
        stack.enter_context(recorder)
        yield recorder


class Recorder(TorchFunctionMode):
    """The mode that `recording` opens.

    Its attribute ``calls`` is the list of what it saw; ``weight_uses`` says how often data met a weight, ``input_uses``
    how often an input was used that is in no graph, since all behind it is frozen; ``entered`` holds the modules that ran
    and normalize batches, by ``batch_norm`` or not, with their number of channels.
    """

    def __init__(self, model: nn.Module, stand_in: Callable[[torch.Tensor, str], torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.entered: dict[str, int] = {}
        self.weight_uses: Counter[Hashable] = Counter()
        self.input_uses: Counter[int] = Counter()
        self._stand_in = stand_in
        self._in_backward = False
        self._running: list[nn.Module] = []
        self._names = {module: name for name, module in model.named_modules()}
        # who owns a tensor that a function gets; a weight that is computed has no owner
        self._owners: dict[int, tuple[nn.Module, str]] = {}
        self._owned_memory: set[int] = set()
        for module, name in self._names.items():
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._owners.setdefault(id(tensor), (module, f"{name}.{key}".lstrip(".")))
                    self._owned_memory.add(_memory(tensor))
        self._outputs: dict[int, _Output] = {}
        self._weights: list[torch.Tensor] = []  # kept, so that no other gets the memory of one
        self._keys: dict[int, Hashable] = {}
        self._unowned: Counter[str] = Counter()

    def unlinked(self, call: Call, uses: Counter[Any]) -> str:
        """Why `call` has no linear map of its own before it, when the pass is over; `uses` of the nodes of its graph."""
        if call.frozen or call.unlinked:
            return call.unlinked
        if self.weight_uses[call.weight_key] > 1:
            return SHARED_WEIGHT
        return BYPASSED if uses[call.input_node] > 1 or self.input_uses[call.input_key] > 1 else ""

    @contextmanager
    def backward(self) -> Iterator[None]:
        """While open, a module that runs, since it was checkpointed, computes as it did when it was recorded."""
        self._in_backward = True
        try:
            yield
        finally:
            self._in_backward = False

    def enter(self, module: nn.Module, _: Any) -> None:
        if self._in_backward and not self._running:
            self.__enter__()  # the backward pass has no modes
        self._running.append(module)
        if isinstance(module, _BatchNorm) and module in self._names:
            self.entered[self._names[module]] = module.num_features

    def leave(self, module: nn.Module, *_: Any) -> None:
        if self._running and self._running[-1] is module:  # not where a hook before ours has raised
            self._running.pop()
            if self._in_backward and not self._running:
                self.__exit__(None, None, None)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = dict(zip(ARGUMENTS.get(function, range(len(args))), args)) | kwargs
        if function in ARGUMENTS and function not in LINEAR:
            output = self._batch_norm(function, given)
        else:
            output = function(*args, **kwargs)
        if function in LINEAR:
            self._after_linear(function, given["weight"], output)
        elif function in PRODUCTS:
            self._after_product(given.values())
        elif function == DATA:
            self._outputs.pop(id(args[0]), None)
        if self.input_uses:
            self._count_uses(function, given.values(), output)
        return output

    def _after_linear(self, function: Any, weight: torch.Tensor, output: torch.Tensor) -> None:
        owner, name = self._owner([weight], nn.Linear, _ConvNd)
        memory = _memory(weight)
        # what a layer computes anew each time is one weight
        computed = memory not in self._owned_memory and isinstance(owner, (nn.Linear, _ConvNd))
        key = self._keys.setdefault(memory, name if computed else memory)
        self.weight_uses[key] += 1
        self._weights.append(weight)
        number = self.weight_uses.total()
        made = weakref.ref(output), _version(output)
        self._outputs[id(output)] = _Output(*made, name, weight, function in TRANSPOSED, key, number)
        if not output.requires_grad:
            self.input_uses[number] = 0

    def _after_product(self, given: Iterable[Any]) -> None:
        met = [_memory(tensor) for tensor in _tensors(given)]
        if not self._owned_memory.issuperset(met):  # where a weight meets itself it is a penalty
            self.weight_uses.update(self._owned_memory.intersection(met))

    def _count_uses(self, function: Any, given: Iterable[Any], output: Any) -> None:
        """What the graph says of other inputs, for those that are in none."""
        made = list(_tensors([output]))
        if torch.is_grad_enabled() and function is not torch.Tensor.detach and made and made[0].is_floating_point():
            for tensor in _tensors(given):
                source = self._source(tensor)
                if source.number in self.input_uses and tensor is not made[0]:
                    self.input_uses[source.number] += 1

    def _batch_norm(self, function: Any, given: dict[Any, Any]) -> torch.Tensor:
        z, weight = given["input"], given.get("weight")
        layer = self._layer(z, [weight, given.get("running_mean"), given.get("bias")])
        if layer is None:
            return function(**given)
        if not given.get("training", False):
            self.calls.append(Call(layer, z.shape[1], frozen=True))
            return function(**given)
        gamma = z.new_ones(z.shape[1], dtype=torch.promote_types(z.dtype, torch.float32)) if weight is None else weight
        _check(layer, z, gamma)
        given["weight"] = gamma = self._stand_in(gamma, layer)
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            batch_var = _batch_var(z.to(torch.promote_types(z.dtype, torch.float32)))
            source = self._source(z)
            weight_norm, unlinked = _weight_norm(source, z)
        self.calls.append(
            Call(
                layer=layer,
                channels=z.shape[1],
                linear=source.linear,
                rows=len(z),
                gamma=gamma,
                batch_var=batch_var,
                eps=given.get("eps", 1e-5),
                weight_norm=weight_norm,
                unlinked=unlinked,
                weight_key=source.weight_key,
                input_node=z.grad_fn,
                input_key=source.number,
            )
        )
        return function(**given)

    def _source(self, tensor: torch.Tensor) -> "_Output":
        made = self._outputs.get(id(tensor), _NOWHERE)
        return made if made.tensor() is tensor and made.version == _version(tensor) else _NOWHERE

    def _layer(self, z: torch.Tensor, tensors: list[torch.Tensor | None]) -> str | None:
        """The name of what normalizes, or None where that is no part of the model, or normalizes no batch."""
        owner, name = self._owner(tensors, _BatchNorm)
        if isinstance(owner, _BatchNorm) or any(id(tensor) in self._owners for tensor in tensors):
            return name
        # a module of another model; a weight or a single input that is standardized by the same function
        foreign = self._running and (owner is None or isinstance(self._running[-1], _BatchNorm))
        if foreign or len(z) == 1:
            return None
        name = f"{name}.batch_norm".lstrip(".")
        self._unowned[name] += 1
        return name if self._unowned[name] == 1 else f"{name}_{self._unowned[name]}"

    def _owner(self, tensors: list[torch.Tensor | None], *kinds: type[nn.Module]) -> tuple[nn.Module | None, str]:
        """The module of one of `kinds` that runs or owns one of `tensors`, and its name; else the first tensor's."""
        owned = [self._owners[id(tensor)] for tensor in tensors if id(tensor) in self._owners]
        running = next((module for module in reversed(self._running) if module in self._names), None)
        for module in (running, *(owner for owner, _ in owned)):
            if isinstance(module, kinds):
                return module, self._names[module]
        return owned[0] if owned else (running, self._names.get(running, ""))


def _check(layer: str, z: torch.Tensor, gamma: torch.Tensor) -> None:
    if z.numel() == z.shape[1]:
        raise ValueError(
            f"batches holds a batch that leaves layer {layer!r} one value a channel (shape {tuple(z.shape)}); "
            "a batch variance needs at least 2"
        )
    half = torch.float16 if torch.float16 in (z.dtype, gamma.dtype) else gamma.dtype
    if half in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"model computes {layer!r} in {str(half).removeprefix('torch.')}: the small gradients that a rate is made "
            "of are lost in it; measure in float32 or float64, or under autocast to bfloat16"
        )


class _Output(NamedTuple):
    """Of a linear map: the reference says whether it is that tensor still, the version whether it was overwritten."""

    tensor: Callable[[], torch.Tensor | None]
    version: int = 0
    linear: str = ""
    weight: Any = None
    transposed: bool = False
    weight_key: Hashable = None
    number: int = 0


_NOWHERE = _Output(lambda: None)


def _batch_var(z: torch.Tensor) -> torch.Tensor:
    """The biased variance of each channel: torch's own ``var`` over these dimensions takes ten times as long."""
    dims = [dim for dim in range(z.ndim) if dim != 1]
    return (z - z.mean(dim=dims, keepdim=True)).square_().mean(dim=dims)


def rows_of_units(weight: torch.Tensor, transposed_groups: int | None = None) -> torch.Tensor:
    """The weight of a linear map or convolution with one row a unit.

    Parameters
    ----------
    weight : torch.Tensor, shape (units, ...)
        Of a transposed convolution (inputs, units of a group, ...).
    transposed_groups : int, optional
        Groups of a transposed convolution; None for anything else.

    Returns
    -------
    torch.Tensor, shape (units, fan_in)

    Examples
    --------
    >>> rows_of_units(torch.zeros(4, 3, 2, 2), transposed_groups=2).shape
    torch.Size([6, 8])
    """
    if transposed_groups is not None:
        weight = weight.unflatten(0, (transposed_groups, -1)).movedim(2, 1).flatten(0, 1)
    return weight.flatten(1)


def _weight_norm(source: _Output, z: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """The norm of w of each channel of `z`, or why there is none."""
    if source is _NOWHERE:
        return None, NOT_LINEAR
    w = source.weight.detach()
    if z.ndim != w.ndim:  # no batch dimension, or one more: the second is not the one of the units
        return None, OTHER_UNITS
    w = rows_of_units(w, z.shape[1] // w.shape[1] if source.transposed else None)
    return torch.linalg.vector_norm(w.to(torch.promote_types(w.dtype, torch.float32)), dim=1), ""


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _tensors(given: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in given:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _memory(tensor: torch.Tensor) -> int:
    """Where it begins: the same for a weight and its transpose."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # inside a transform of torch.func it has none
        return id(tensor)


def consumers(loss: torch.Tensor) -> Counter[Any]:
    """How often the output of each node of the graph behind `loss` is used on the way to it.

    Examples
    --------
    >>> y = 2 * torch.ones(2, requires_grad=True)
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
