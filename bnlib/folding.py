"""Which linear map is before which layer of batch normalization, by a report, and the layer folded into it."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from bnlib.layers import check_module, layer_channels
from bnlib.meter import GAMMA_0, NOT_FINITE, ONE_BATCH, WEIGHT_0
from bnlib.objects import of_class
from bnlib.recorder import rows_of_units
from bnlib.report import Report

# reasons that leave open nothing about the linear map before a layer
_LINKED = {"", GAMMA_0, WEIGHT_0, NOT_FINITE, ONE_BATCH}
_TORCHS_OWN = {
    kind.forward
    for kind in (
        *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        *(nn.BatchNorm1d, nn.SyncBatchNorm),  # BatchNorm2d and BatchNorm3d share the first's
    )
}


def is_torchs_own(module: nn.Module) -> bool:
    """Whether a linear map, convolution or batch normalization computes what torch's own class does.

    Raises
    ------
    ValueError
        If `module` is none.

    Examples
    --------
    >>> class Rectified(nn.BatchNorm2d):
    ...     def forward(self, x):
    ...         return super().forward(x).relu()
    >>> is_torchs_own(nn.BatchNorm2d(3)), is_torchs_own(Rectified(3))
    (True, False)
    """
    check_module(module, "module")
    return "forward" not in vars(module) and type(module).forward in _TORCHS_OWN


def linked_layers(report: Report) -> dict[str, str]:
    """The layers of batch normalization that see nothing but the output of one linear map, which nothing else sees.

    Parameters
    ----------
    report : Report

    Returns
    -------
    dict of str to str
        Name of the layer to name of the linear map.

    Raises
    ------
    ValueError
        If `report` is none.

    Examples
    --------
    >>> from bnlib.meter import measure
    >>> model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.BatchNorm1d(4))
    >>> batch = torch.randn(32, 5), torch.randint(4, (32,))
    >>> linked_layers(measure(model, [batch], nn.functional.cross_entropy))
    {'1': '0'}
    """
    of_class("report", report, Report)
    linked = {layer: linear for layer, linear in zip(report.layer, report.linear) if linear}
    for layer, reason in zip(report.layer, report.reason):
        if not _LINKED.issuperset(reason.split("; ")):
            linked.pop(layer, None)
    return linked


def check_report(model: nn.Module, report: Report) -> None:
    """Refuse a report that cannot be of `model`: its layers have other names or numbers of channels.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from bnlib.meter import measure
    >>> from bnlib.models import network
    >>> batch = torch.randn(32, 5), torch.randint(3, (32,))
    >>> report = measure(network((5, 4, 3)), [batch], nn.functional.cross_entropy)
    >>> check_report(network((5, 6, 3)), report)
    Traceback (most recent call last):
    ValueError: report has 4 channels of layer '1', model has 6; it must be measured on this model
    """
    if not isinstance(report, Report):
        raise ValueError(f"report is a {type(report).__name__}; it must be what bnlib.measure returns")
    reported, channels = Counter(report.layer), layer_channels(model)
    for layer, count in channels.items():
        if reported[layer] != count:
            raise ValueError(
                f"report has {reported[layer]} channels of layer {layer!r}, model has {count}; "
                "it must be measured on this model"
            )
    modules = {name for name, _ in model.named_modules(remove_duplicate=False)}
    tensors = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    known = {name for name, _ in tensors}
    for name in reported:
        home, _, called = name.rpartition(".")  # of functional code that owns nothing: where it is called
        if name not in channels and name not in known and not (home in modules and called.startswith("batch_norm")):
            raise ValueError(f"report has a layer {name!r}, model has none; it must be measured on this model")
    for name in report.linear:
        if name not in modules | known:
            raise ValueError(f"report has a linear map {name!r}, model has none; it must be measured on this model")


def unit_weights(module: nn.Module) -> torch.Tensor:
    """The weights of each unit of a linear map or convolution, one row a unit, in the order of its kernel.

    Raises
    ------
    ValueError
        If `module` is no such map.

    Examples
    --------
    >>> unit_weights(nn.ConvTranspose2d(4, 6, 3, groups=2)).shape
    torch.Size([6, 18])
    """
    check_module(module, "module")
    if not isinstance(getattr(module, "weight", None), torch.Tensor):
        raise ValueError(f"module ({type(module).__name__}) has no weight; it must be a linear map or a convolution")
    groups = module.groups if isinstance(module, _ConvTransposeNd) else None
    return rows_of_units(module.get_parameter("weight"), groups)


def fold_layer(model: nn.Module, layer: str, linear: str) -> str:
    """Fold a layer of batch normalization into the map before it, in place; where it cannot be, change nothing.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    layer, linear : str
        As `linked_layers` has them.

    Returns
    -------
    str
        Why it cannot be; empty where it is done.

    Raises
    ------
    ValueError
        If `model` is no module, or `layer` no batch normalization of it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).eval()
    >>> fold_layer(model, "1", "0"), model[1]
    ('', Identity())
    """
    check_module(model)
    modules: dict[str, Any] = dict(model.named_modules())
    if not isinstance(modules.get(layer), _BatchNorm):
        raise ValueError(
            f"layer = {layer!r} is no batch normalization of model; it has {sorted(layer_channels(model))}"
        )
    norm, owner = modules[layer], modules.get(linear)
    if not isinstance(owner, (nn.Linear, _ConvNd)):
        return "the map before it is no Linear or convolution"
    if norm.running_mean is None or norm.running_var is None:
        return "it keeps no running statistics"
    if norm._forward_hooks or norm._forward_pre_hooks:
        return "it has hooks"
    before = _plain(owner)
    if before._parameters.get("weight") is None:
        return "the map before it computes its weight anew at each pass"
    if not parametrize.is_parametrized(owner, "weight"):
        holders = [module for module in modules.values() if any(p is owner.weight for p in module._parameters.values())]
        if len(holders) > 1:
            return "the map before it shares its weight"
    fused = copy.deepcopy(before)
    fused.weight, fused.bias = _fused(before, norm)
    own = is_torchs_own(norm)
    rest: nn.Module = nn.Identity() if own else nn.Sequential(*norm.children())
    if not (own and is_torchs_own(before)) and not _same(nn.Sequential(owner, norm), nn.Sequential(fused, rest)):
        return "it, or the map before it, does more than torch's own class, and not by submodules one after another"
    for old, new in ((norm, rest), (owner, fused)):
        for home in modules.values():
            for key, child in home._modules.items():
                if child is old:
                    home._modules[key] = new
    return ""


def _plain(owner: Any) -> Any:
    """A copy without parametrizations. Torch's own removal acts on a class, which copies share."""
    plain = copy.deepcopy(owner)
    if parametrize.is_parametrized(owner):
        plain.__class__ = parametrize.type_before_parametrizations(owner)
        del plain._modules["parametrizations"]
        for name, steps in owner.parametrizations.items():
            learned = any(original.requires_grad for original in steps.parameters())
            plain._parameters[name] = nn.Parameter(getattr(owner, name).detach().clone(), learned)
    return plain


def _fused(linear: Any, norm: Any) -> tuple[nn.Parameter, nn.Parameter]:
    mean = norm.running_mean
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias
    bias = torch.zeros_like(mean) if linear.bias is None else linear.bias
    with torch.no_grad():
        if isinstance(linear, nn.Linear):
            v, b = fuse_linear_bn_weights(linear.weight, bias, mean, norm.running_var, norm.eps, gamma, beta)
        else:
            transposed = isinstance(linear, _ConvTransposeNd)
            groups = linear.groups if transposed else 1  # torch folds a transposed convolution of one group only
            parts = [
                fuse_conv_bn_weights(w, b, center, var, norm.eps, scale, shift, transposed)
                for w, b, center, var, scale, shift in zip(
                    linear.weight.chunk(groups),
                    *(tensor.chunk(groups) for tensor in (bias, mean, norm.running_var, gamma, beta)),
                )
            ]
            v, b = (torch.cat(tensors) for tensors in zip(*parts))
    # the twin's bias is what beta was: learned where beta was
    learned = norm.bias is not None and norm.bias.requires_grad
    return nn.Parameter(v, linear.weight.requires_grad), nn.Parameter(b, learned)


def _same(one: nn.Sequential, other: nn.Sequential) -> bool:
    """Whether two pairs of modules compute the same, tried on random inputs."""
    one, other = copy.deepcopy(one).eval(), copy.deepcopy(other).eval()
    linear: Any = one[0]
    if isinstance(linear, nn.Linear):
        shape = (16, linear.in_features)
    else:
        sides = (dilation * (kernel - 1) + 2 for dilation, kernel in zip(linear.dilation, linear.kernel_size))
        shape = (16, linear.in_channels, *sides)
    weight = linear.weight
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(weight)
    with torch.no_grad():
        try:
            found, wanted = other(x), one(x)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, AssertionError):  # a stranger's
            return False
    tolerance = 100 * torch.finfo(weight.dtype).eps
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=tolerance, atol=tolerance)
