"""Which layers of a model normalize batches, and whether what they do can be seen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy


def check_module(model: nn.Module, name: str = "model") -> None:
    """Refuse what is no module.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_module("resnet18")
    Traceback (most recent call last):
    ValueError: model is a str; it must be a torch.nn.Module
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} is a {type(model).__name__}; it must be a torch.nn.Module")


def output_of(model: Callable[[Any], Any], inputs: Any) -> Any:
    """What `model` gives for `inputs` of a batch; where torch finds that it does not take them, in words.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> output_of(nn.Linear(3, 2), torch.zeros(4, 5))
    Traceback (most recent call last):
    ValueError: batches holds inputs of shape (4, 5), which model (Linear) does not take: mat1 and mat2 shapes cannot be multiplied (4x5 and 3x2)
    """
    try:
        return model(inputs)
    except RuntimeError as error:
        if not any(word in str(error) for word in ("shape", "size", "dtype")) or not isinstance(inputs, torch.Tensor):
            raise
        found = (
            f"batches holds inputs of shape {tuple(inputs.shape)}, which model ({type(model).__name__}) does not take"
        )
        raise ValueError(f"{found}: {str(error).splitlines()[0]}") from error


def check_tensor(name: str, value: torch.Tensor) -> None:
    """Refuse what is no tensor of real numbers.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_tensor("output", [1.0])
    Traceback (most recent call last):
    ValueError: output is a list; it must be a torch.Tensor
    """
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be a torch.Tensor")
    if value.is_complex():
        raise ValueError(f"{name} is of dtype {value.dtype}; it must hold real numbers")


def layer_channels(model: nn.Module) -> dict[str, int]:
    """Name and number of channels of each module of `model` that normalizes batches, in the model's order.

    Raises
    ------
    ValueError
        If `model` is none, or hides what it does: scripted, spread over devices or processes, or not built yet.

    Examples
    --------
    >>> layer_channels(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    {'1': 2}
    """
    check_module(model)
    distributed = torch.distributed
    processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    found = {}
    for name, module in model.named_modules():
        scripted = isinstance(module, torch.jit.ScriptModule)
        if scripted:
            found_as = f"holds {name!r} as" if name else "is"
            raise ValueError(f"model {found_as} TorchScript; give the module that was scripted or traced")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise ValueError(
                f"model is spread over {len(module.device_ids)} devices, each with its own batch statistics; "
                "give model.module and batches of the length that one device gets"
            )
        if any(map(is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False)))):
            raise ValueError(
                f"model has not built {name!r} ({type(module).__name__}) yet; run one batch through it first"
            )
        if isinstance(module, nn.SyncBatchNorm) and processes > 1:
            raise ValueError(
                f"model synchronizes {name!r} over {processes} processes, whose batches this one does not see; "
                "measure in one process, on batches of the length of all of theirs"
            )
        if isinstance(module, _BatchNorm):
            found[name] = module.num_features
    return found
