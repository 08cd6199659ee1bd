"""The twin of a network without batch normalization, and the penalty that keeps the rates that it had set.

Theorem stationarity: at rest the gradient of the loss without batch normalization is -lambda Sigma v in every channel.
So a network whose batch normalization is folded into its weights stays where it is if it goes on paying
(1/2) lambda v'Sigma v.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.folding import check_report, fold_layer, is_torchs_own, linked_layers, unit_weights
from bnlib.layers import layer_channels
from bnlib.report import Report, listed
from bnlib.validation import covariance, real_array

# how far |v| of the twin may be from the one that was measured without a word: running statistics lag
STATISTICS_APART = 0.1
_NONE = object()  # where no covariance is given


@dataclass(eq=False)
class LayerPenalty:
    """What one layer of the twin pays.

    Parameters
    ----------
    layer, linear : str
        Names of the batch normalization that is gone and of the map that it is folded into.
    module : torch.nn.Module
        That map, in the twin.
    rates : torch.Tensor, shape (channels,)
        lambda, or alpha where there is no covariance; 0 where left out.
    covariance : torch.Tensor, shape (groups, fan_in, fan_in), or None
        Sigma.
    left_out : dict of str to int
        Channels without a rate, by reason.
    """

    layer: str
    linear: str
    module: nn.Module
    rates: torch.Tensor
    covariance: torch.Tensor | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    def __call__(self) -> torch.Tensor:
        """The sum over channels of (1/2) lambda v'Sigma v, or of (1/2) alpha norm(v)^2, at the twin's present weights.

        Returns
        -------
        torch.Tensor, a scalar
        """
        v = unit_weights(self.module)
        with torch.autocast(v.device.type, enabled=False):
            v = v.to(torch.promote_types(v.dtype, torch.float32))
            self.rates = self.rates.to(v)  # kept: the twin has moved, and stays there
            if self.covariance is None:
                return (self.rates * v.square().sum(dim=1)).sum() / 2
            self.covariance = self.covariance.to(v)
            v = v.unflatten(0, (len(self.covariance), -1))
            return (self.rates * ((v @ self.covariance) * v).sum(dim=2).flatten()).sum() / 2


@dataclass(eq=False)
class Penalty:
    """What the twin pays, layer by layer: ``loss_fn(twin(x), t) + penalty()``. Print it.

    Parameters
    ----------
    layers : list of LayerPenalty
    kept : dict of str to str
        Layers whose batch normalization is still in the twin, and why.
    conditions : list of str
        Where the conditions of theorem stationarity do not hold, as far as it can be seen.
    """

    layers: list[LayerPenalty]
    kept: dict[str, str]
    conditions: list[str]

    def __call__(self) -> torch.Tensor:
        """The scalar to add to the loss, with a gradient in the twin's weights.

        Returns
        -------
        torch.Tensor, a scalar
        """
        first, *others = (layer() for layer in self.layers)
        return sum((part.to(first) for part in others), first)

    def by_layer(self) -> pd.DataFrame:
        """One row a layer that pays, columns ``layer linear penalty channels paying lowest highest left_out``.

        Returns
        -------
        pandas.DataFrame
        """
        rows = []
        for term in self.layers:
            channels, missing = len(term.rates), sum(term.left_out.values())
            rates = term.rates[term.rates != 0].cpu().double()
            rows.append(
                {
                    "layer": term.layer,
                    "linear": term.linear,
                    "penalty": "L2-equivalent" if term.covariance is None else "v'Sigma v",
                    "channels": channels,
                    "paying": channels - missing,
                    "lowest": float(rates.min()) if len(rates) else np.nan,
                    "highest": float(rates.max()) if len(rates) else np.nan,
                    "left_out": "; ".join(f"{count}: {reason}" for reason, count in term.left_out.items()),
                }
            )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        table = self.by_layer()
        table["rates"] = [f"{low:+.2e} to {high:+.2e}" for low, high in zip(table.pop("lowest"), table.pop("highest"))]
        exact = int((table.penalty != "L2-equivalent").sum())
        said = (
            f"{len(table)} of {len(table) + len(self.kept)} layers of batch normalization are removed; {exact} pay "
            f"(1/2) lambda v'Sigma v, {len(table) - exact} the L2-equivalent (1/2) alpha |v|^2, summed over channels."
        )
        lines = [
            said,
            "",
            table[["layer", "linear", "penalty", "paying", "channels", "rates", "left_out"]].to_string(index=False),
        ]
        if self.kept:
            lines += ["", "Still there:", *(f"  {name or 'the model'}: {reason}" for name, reason in self.kept.items())]
        if self.conditions:
            lines += ["", *(f"Mind: {condition}" for condition in self.conditions)]
        return "\n".join(lines)

    __repr__ = __str__


def remove_batch_norm(
    model: nn.Module, report: Report, covariances: Mapping[str, ArrayLike | torch.Tensor] | None = None
) -> tuple[nn.Module, Penalty]:
    """Fold batch normalization into the weights, and give the penalty that keeps the rates of the report.

    The twin computes what `model` computes in evaluation mode. Where the report knows the linear map before a layer,
    that map gets the effective weights, and ``torch.nn.Identity`` takes the layer's place; of a subclass that does more
    than normalize (a fused activation) the rest takes it, if it is what its submodules do one after another. Other
    layers stay, and are named.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is.
    report : Report
        What `bnlib.measure` returned for `model` as it is now.
    covariances : mapping of str to array_like, shape (fan_in, fan_in) or (groups, fan_in, fan_in), optional
        By name of the linear map (the report's ``linear``), Sigma of what enters it over a batch: for a convolution of
        its patches, flattened like its kernel, zeros of the padding included.

    Returns
    -------
    twin : torch.nn.Module
        A copy in evaluation mode.
    penalty : Penalty
        ``penalty()`` is the sum over channels of (1/2) lambda v'Sigma v where a covariance is given, else of
        (1/2) alpha norm(v)^2, v being the twin's weights. Channels without a rate are left out.

    Warns
    -----
    UserWarning
        Once, with every condition of theorem stationarity that does not hold as far as it can be seen.

    Raises
    ------
    ValueError
        If `model` is no module, the report is of another model or of other scales, no layer can be removed, or a
        covariance is for no layer that is or has another shape.

    Notes
    -----
    What is promised (theorem stationarity): if the model is at rest, with a beta that is learned and gamma fixed or
    learned, then the gradient of loss and penalty in v is zero. If the loss is convex in v and no rate is negative, v is
    the minimum. Without a covariance only the pull along v is balanced: the gradient of loss and L2-equivalent is
    orthogonal to each channel's v.

    Two variances: rates hold for batch statistics, with the biased variance q of a batch. The twin has the running
    statistics, whose variance is unbiased and lags. For batches of n rows the twin's v is shorter by
    sqrt(q + eps) / sqrt(q n/(n-1) + eps) even where nothing lags. For an exact comparison set ``running_mean`` and
    ``running_var`` to the batch's own before the removal.

    What uses the output of a linear map without the loss seeing it, a returned feature map for instance, does not show
    in a report, and gets another value.

    Examples
    --------
    >>> from bnlib.meter import measure
    >>> from bnlib.models import unit
    >>> from bnlib.training import settle
    >>> x = torch.randn(64, 5, dtype=torch.float64)
    >>> t, model, loss_fn = x[:, :1], unit(5, gamma=0.5), nn.functional.mse_loss
    >>> at_rest = settle([model[0].weight, model[1].bias], lambda: loss_fn(model(x), t))
    >>> model[1].momentum = None  # an average over all batches since the reset: over this one
    >>> model[1].reset_running_stats()
    >>> report = measure(model, [(x, t)], loss_fn)
    >>> _ = model(x)
    >>> twin, penalty = remove_batch_norm(model, report, {"0": torch.cov(x.T, correction=0)})
    >>> twin
    Sequential(
      (0): Linear(in_features=5, out_features=1, bias=True)
      (1): Identity()
    )
    >>> torch.allclose(twin(x), model.eval()(x))
    True
    >>> loss = loss_fn(twin(x), t) + penalty()

    The covariance of the patches of a ``Conv2d``:

    >>> images, conv = torch.randn(8, 3, 10, 10), nn.Conv2d(3, 4, 3, padding=1)
    >>> patches = nn.functional.unfold(images, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    >>> torch.cov(patches.movedim(1, 0).flatten(1), correction=0).shape
    torch.Size([27, 27])
    """
    check_report(model, report)
    _check_scales(model, report)
    twin = _copied(model).eval()
    linked = linked_layers(report)
    modules = layer_channels(model)
    folded: dict[str, str] = {}
    kept: dict[str, str] = {}
    for layer in dict.fromkeys(report.layer):
        why = "it is no module of its own" if layer not in modules else _why_unlinked(report, layer)
        if layer in modules and layer in linked:
            why = fold_layer(twin, layer, linked[layer])
        if why:
            kept[layer] = why
        else:
            folded[layer] = linked[layer]
    if not folded:
        listed = "; ".join(f"{name or 'the model itself'}: {why}" for name, why in kept.items())
        raise ValueError(f"model has no batch normalization that can be folded into a linear map: {listed}")
    if covariances is not None and not isinstance(covariances, Mapping):
        raise ValueError(f"covariances is a {type(covariances).__name__}; it must map names of linear maps to matrices")
    given = dict(covariances or {})
    for name in given:
        if name not in folded.values():
            raise ValueError(
                f"covariances has {name!r}, which is no linear map that is folded; those are "
                f"{', '.join(map(repr, folded.values()))}"
            )
    frame = report.to_frame().assign(effective_norm=report.effective_norm)
    terms = [
        _layer_penalty(layer, linear, twin.get_submodule(linear), frame[frame.layer == layer], given.get(linear, _NONE))
        for layer, linear in folded.items()
    ]
    conditions = list(_conditions(model, frame[frame.layer.isin(folded)], terms, kept))
    if conditions:
        warnings.warn(
            "theorem stationarity does not promise the same network without batch normalization here:\n- "
            + "\n- ".join(conditions),
            UserWarning,
            stacklevel=2,
        )
    return twin, Penalty(terms, kept, conditions)


def _copied(model: nn.Module) -> nn.Module:
    # a tensor with a history, such as a pruned weight, cannot be copied; the module computes it anew
    computed = [tensor for module in model.modules() for tensor in vars(module).values() if _has_history(tensor)]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in computed})


def _has_history(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.grad_fn is not None


def _check_scales(model: nn.Module, report: Report) -> None:
    gammas: dict[str, list[float]] = {}
    for layer, gamma in zip(report.layer, report.gamma):
        gammas.setdefault(layer, []).append(gamma)
    for layer in linked_layers(report):
        module = dict(model.named_modules()).get(layer)
        if isinstance(module, _BatchNorm) and is_torchs_own(module):
            now = (
                np.ones(module.num_features) if module.weight is None else module.weight.detach().cpu().double().numpy()
            )
            if not np.allclose(now, gammas[layer], rtol=1e-5, atol=0):
                raise ValueError(
                    f"report has other scales gamma of layer {layer!r} than model: it is of another model, or of this "
                    "one before more training; measure again"
                )


def _why_unlinked(report: Report, layer: str) -> str:
    reasons = (why for name, why in zip(report.layer, report.reason) if name == layer)
    return next(filter(None, reasons), "the map before it is no module")


def _layer_penalty(layer: str, linear: str, module: Any, rows: pd.DataFrame, given: Any) -> LayerPenalty:
    weight = module.get_parameter("weight")
    sigma = None if given is _NONE else _covariance(linear, module, given)
    rates = (rows.l2_rate if sigma is None else rows.rate).to_numpy()
    left_out = rows.reason[np.isnan(rates)].value_counts().to_dict()
    dtype = torch.promote_types(weight.dtype, torch.float32)
    paid = torch.from_numpy(np.nan_to_num(rates)).to(weight.device, dtype)
    return LayerPenalty(
        layer, linear, module, paid, None if sigma is None else sigma.to(weight.device, dtype), left_out
    )


def _covariance(linear: str, module: Any, given: Any) -> torch.Tensor:
    name = f"covariances[{linear!r}]"
    array = real_array(name, given)
    groups, fan_in = getattr(module, "groups", 1), unit_weights(module).shape[1]
    if array.shape != (groups, fan_in, fan_in) and not (groups == 1 and array.shape == (fan_in, fan_in)):
        right = (fan_in, fan_in) if groups == 1 else (groups, fan_in, fan_in)
        raise ValueError(f"{name} has shape {array.shape}; it must be {right}")
    blocks = array.reshape(groups, fan_in, fan_in)
    mirrored = (blocks + blocks.swapaxes(1, 2)) / 2
    if blocks.dtype == np.float32 and np.abs(blocks - mirrored).max() <= 1e-5 * np.abs(blocks).max():
        blocks = mirrored  # a product of matrices in float32 is symmetric up to its rounding only
    return torch.from_numpy(np.stack([covariance(name, block) for block in blocks]))


def _conditions(model: nn.Module, rows: pd.DataFrame, terms: list[LayerPenalty], kept: dict[str, str]) -> Iterator[str]:
    """What theorem stationarity asks for and does not get."""
    modules = dict(model.named_modules())
    pairs = {name for term in terms for name in (term.layer, term.linear)}
    beside = [
        name
        for name, module in modules.items()
        if name not in pairs
        and ".parametrizations." not in name
        and not any(module.children())
        and not isinstance(module, (nn.Identity, nn.Flatten, nn.Unflatten))
    ]
    untied = [term.layer for term in terms if not term.module.get_parameter("bias").requires_grad]
    bare = [term.layer for term in terms if term.covariance is None]
    length = np.concatenate([unit_weights(term.module).detach().cpu().double().norm(dim=1).numpy() for term in terms])
    apart = rows[np.abs(length / rows.effective_norm.where(rows.effective_norm > 0) - 1) > STATISTICS_APART]
    negative, unsure = rows[rows.rate < 0], rows[rows.rate_error > rows.rate.abs()]
    measured = int(rows.rate.notna().sum())
    if kept:
        yield f"batch normalization is still in the twin: {listed(f'{name} ({why})' for name, why in kept.items())}"
    if len(negative):
        yield (
            f"{len(negative)} of {measured} rates are negative ({listed(negative.layer)}): there the penalty stretches, "
            "and loss and penalty together may have no minimum"
        )
    if len(unsure):
        yield (
            f"{len(unsure)} of {measured} rates are smaller than their standard error ({listed(unsure.layer)}): "
            "measure on more batches"
        )
    if len(terms) > 1:
        yield f"{len(terms)} layers pay: a point of rest is kept, not a minimum, and Sigma of each moves with those below"
    elif beside:
        yield (
            f"the loss need not be convex in v, since the model is more than the layer ({listed(beside)}): a point of "
            "rest is kept, not a minimum"
        )
    if untied:
        yield f"beta is not learned ({listed(untied)}): the twin's bias stays, where the theorem ties it to v"
    if bare:
        yield (
            f"no covariance is given ({listed(bare)}): the L2-equivalent balances the loss along v only, so even a point "
            "of rest moves"
        )
    if len(apart):
        yield (
            f"|v| is more than {STATISTICS_APART:.0%} off what was measured in {len(apart)} channels "
            f"({listed(apart.layer)}): the running statistics are not those of the batches"
        )
