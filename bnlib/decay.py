"""What weight decay acts on in a network with batch normalization, and what it does there: groups for torch.optim.

The same ``weight_decay`` is a step size on the weights before batch normalization (theorem depth), a rate on gamma,
nothing at all on a bias before it, and a penalty on the other weights; and it depends on the optimizer which of these it is.
"""

import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import is_parametrized

from bnlib.folding import check_report, is_torchs_own, linked_layers
from bnlib.layers import check_module
from bnlib.meter import FROZEN
from bnlib.objects import choice
from bnlib.report import Report
from bnlib.validation import nonnegative, number

# groups, in the order in which they are given and printed
BEFORE = "weights before BN"
WEIGHTS = "weights"
DIRECTIONS = "weight-norm directions"
COMPUTED = "parametrized weights"
GAMMA = "gamma"
BETA = "beta"
FIXED_STATISTICS = "gamma and beta of frozen BN"
BIAS_BEFORE = "biases before BN"
NORMS = "other norms"
VECTORS = "biases and scales"
GROUPS = (BEFORE, WEIGHTS, DIRECTIONS, COMPUTED, GAMMA, BETA, FIXED_STATISTICS, BIAS_BEFORE, NORMS, VECTORS)

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}  # AdamW is an Adam too
_TITLES = {
    "sgd": "SGD, with or without momentum",
    "adam": "Adam, whose decay is coupled",
    "adamw": "AdamW",
    "any": "SGD, Adam (coupled) and AdamW; say optimizer= for yours alone",
}

# what decay does, by group and optimizer; {decay} is the group's, {box} its inverse
_PENALTY = {
    "sgd": "A penalty: {decay} / 2 times their squared length is added to the loss.",
    "adam": "At rest a penalty: {decay} / 2 times their squared length is added to the loss.",
    "adamw": "No penalty on the loss: at rest decay keeps every entry within {box} of zero; on scattered gradients it "
    "pulls about as a penalty of {decay} times their root mean square would.",
    "any": "Under SGD, and at rest under Adam, a penalty: {decay} / 2 times their squared length is added to the loss. "
    "Under AdamW a box: every entry at rest is within {box} of zero.",
}
_SEEN_BY_NORMS = (
    " But where only a norm sees the scale of what they compute (BN after a ReLU or a sum, BN that did not run for the "
    "report, a LayerNorm or GroupNorm), it is a step size, too."
)
_LAYER_WISE = " On the weights before them decay is a step size for the layer as a whole, not unit by unit."
_DECAYED = {
    BEFORE: {
        "sgd": "A step size, not a penalty: BN takes the length of w away, so shorter weights are the same network with "
        "the same rates, up to BN's eps, and a larger effective step, lr / |w|^2 (theorem depth, parts 2 and 3).",
        "adam": "A step size, not a penalty: BN takes the length of w away, and shorter weights make a larger effective "
        "step, about lr / |w| (theorem depth, part 2). Adam divides decay entry by entry, so it also turns w.",
        "adamw": "A step size, not a penalty: BN takes the length of w away, so shorter weights are the same network "
        "with the same rates, up to BN's eps, and a larger effective step, about lr / |w| (theorem depth, part 2).",
        "any": "A step size, not a penalty: BN takes the length of w away, and shorter weights make a larger effective "
        "step: lr / |w|^2 under SGD, about lr / |w| under Adam and AdamW (theorem depth, parts 2 and 3).",
    },
    WEIGHTS: _PENALTY,
    DIRECTIONS: dict.fromkeys(_TITLES, "A step size: w = g u / |u| does not see the length of u, with BN or without."),
    COMPUTED: dict.fromkeys(_TITLES, "Weights are computed from these. Decay acts on these, on w only through them."),
    GAMMA: {
        "sgd": "A rate: at rest lambda = {decay} in every channel, whatever the data (theorem stationarity, part 4).",
        "adam": "A rate: at rest lambda = {decay} in every channel, whatever the data, and nearly so on mini-batches "
        "(theorem stationarity, part 4).",
        "adamw": "No rate: at rest lambda = eps {decay} / (1 - {decay} |gamma|) with the optimizer's eps, which is as "
        "good as 0 at its default. Only where the loss wants |gamma| above {box} it stops there. On scattered "
        "gradients data and batch size set the rate, not you. For a rate of a add a / 2 times gamma^2 to the loss, or "
        "give gamma an SGD of its own.",
        "any": "Under SGD, and nearly so under Adam, a rate: at rest lambda = {decay} in every channel, whatever the data "
        "(theorem stationarity, part 4). Under AdamW none: at rest lambda = eps {decay} / (1 - {decay} |gamma|) with "
        "the optimizer's eps, as good as 0 at its default, unless |gamma| ends at {box}.",
    },
    BETA: {key: text + " It sets no rate." for key, text in _PENALTY.items()},
    FIXED_STATISTICS: {
        key: text + " With fixed statistics BN sets no rate: it is a scale and a shift."
        for key, text in _PENALTY.items()
    },
    BIAS_BEFORE: dict.fromkeys(
        _TITLES,
        "No effect on any output in training: BN subtracts them again, so their gradient is 0 and decay only shrinks "
        "them. bias=False does without.",
    ),
    NORMS: {key: text + _LAYER_WISE for key, text in _PENALTY.items()},
    VECTORS: _PENALTY,
}
_NOT_DECAYED = {
    BEFORE: "Not decayed: where |w| grows in training, the effective step fades.",
    GAMMA: "Not decayed: a learned gamma goes to where the rate lambda is 0 on average over the batches trained on; "
    "what is left is what small batches are worth (theorem minibatch).",
    BIAS_BEFORE: "Not decayed, and without effect in training: BN subtracts them again. bias=False does without.",
    NORMS: "Not decayed." + _LAYER_WISE,
}
_SEEN_SCALE = (
    " This is where gamma does not end at 0, for layers whose scale is seen. Where only another BN layer sees it, through ReLU or another positively "
    "homogeneous activation, decay sets no rate: gamma and beta shrink unseen (theorem depth, part 5). Such a layer's "
    "sum of gamma dJ/dgamma + beta dJ/dbeta is 0."
)
_UNKNOWN = (
    "Which of these have BN behind them is not known: pass report=bnlib.measure(model, batches, loss_fn). Before BN: {} "
    "Elsewhere: {}"
)


class ParameterGroups(list[dict[str, Any]]):
    """Groups for torch.optim, each a dict of ``params``, ``weight_decay`` and ``name``; printed, what decay does in each.

    Parameters
    ----------
    groups : iterable of dict
    parameters : dict of str to list of str
        Names of the parameters in each group.
    frozen : list of str
        Parameters left out, since they require no gradient.
    tied : dict of str to list of str
        Other names of parameters that are in a group under their first.
    optimizer : {"sgd", "adam", "adamw", "any"}
        Whose decay is printed.
    reported : bool
        Whether a report said which linear maps have batch normalization behind them.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        parameters: dict[str, list[str]],
        frozen: list[str],
        tied: dict[str, list[str]],
        optimizer: str,
        reported: bool,
    ) -> None:
        super().__init__(groups)
        self.parameters, self.frozen, self.tied = parameters, frozen, tied
        self.optimizer, self.reported = optimizer, reported

    def to_frame(self) -> pd.DataFrame:
        """One row a parameter that is trained, columns ``parameter group weight_decay numbers``.

        Returns
        -------
        pandas.DataFrame
        """
        rows = [
            (name, group["name"], group["weight_decay"], tensor.numel())
            for group in self
            for name, tensor in zip(self.parameters[group["name"]], group["params"])
        ]
        return pd.DataFrame(rows, columns=["parameter", "group", "weight_decay", "numbers"])

    def effect(self, name: str) -> str:
        """What the decay of a group does, or that there is none.

        Parameters
        ----------
        name : str
            Of the group.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If there is no such group.
        """
        decays = {group["name"]: group["weight_decay"] for group in self}
        decay = decays[choice("name", name, decays)]
        if not self.reported and name in (WEIGHTS, VECTORS):
            behind = BEFORE if name == WEIGHTS else BIAS_BEFORE
            return _UNKNOWN.format(self._says(behind, decay), self._says(name, decay))
        return self._says(name, decay)

    def _says(self, name: str, decay: float) -> str:
        if not decay:
            return _NOT_DECAYED.get(name, "Not decayed.")
        said = _DECAYED[name][self.optimizer].format(decay=f"{decay:g}", box=f"{1 / decay:g}")
        return said + {WEIGHTS: _SEEN_BY_NORMS, GAMMA: _SEEN_SCALE * (self.optimizer != "adamw")}.get(name, "")

    def __str__(self) -> str:
        lines = [f"Weight decay under {_TITLES[self.optimizer]}"]
        for group in self:
            name, tensors = group["name"], len(group["params"])
            numbers = sum(tensor.numel() for tensor in group["params"])
            lines += [
                "",
                f"{name}: weight_decay {group['weight_decay']:g}, {_count(tensors, numbers)}",
                _wrapped(self.effect(name), indent="    "),
            ]
        if self.frozen:
            lines += ["", _wrapped(f"Left out, since frozen (requires_grad=False): {', '.join(self.frozen)}")]
        if self.tied:
            shared = "; ".join(f"{first} is also {', '.join(others)}" for first, others in self.tied.items())
            lines += ["", _wrapped(f"Shared, in a group once: {shared}")]
        return "\n".join(lines)

    __repr__ = __str__


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    report: Report | None = None,
    gamma_decay: float = 0.0,
    bias_decay: float = 0.0,
    optimizer: str | type[torch.optim.Optimizer] | None = None,
) -> ParameterGroups:
    """Group what is trained by what weight decay does to it, for torch.optim.

    Gamma and beta are known by the class of their module, but which weights and biases have batch normalization behind
    them shows only when the model runs: a report tells, one of a single batch is enough. Without one the printed
    account says of them what holds in either case. The decays are the same with it and without.

    Parameters
    ----------
    model : torch.nn.Module
    weight_decay : float
        Of weights, and of whatever else has two dimensions or more.
    report : Report, optional
        What `bnlib.measure` returned for `model`.
    gamma_decay : float
        Of the scales of batch normalization. Under SGD and coupled Adam it is the rate at rest (theorem stationarity).
    bias_decay : float
        Of shifts, biases, and of whatever else has one dimension or none.
    optimizer : {"sgd", "adam", "adamw"} or the class from torch.optim, optional
        Changes the printed account, not the groups. Without it the account is for all three.

    Returns
    -------
    ParameterGroups
        Every parameter that requires a gradient once, in groups that hold one kind each. Print it.

    Raises
    ------
    ValueError
        If `model` is no module or has nothing to train, a decay is negative, the optimizer is another, or the report
        is of another model.

    Notes
    -----
    Not decaying gamma is a choice of default, not a law: decay on gamma is the one that sets a rate. Decay on the
    weights before batch normalization is kept since without it the effective step fades (theorem depth).

    Examples
    --------
    >>> from bnlib.meter import measure
    >>> from bnlib.models import network
    >>> model, batch = network((5, 4, 3)), (torch.randn(32, 5), torch.randint(3, (32,)))
    >>> report = measure(model, [batch], nn.functional.cross_entropy)
    >>> groups = parameter_groups(model, 5e-4, gamma_decay=0.01, report=report, optimizer="adamw")
    >>> groups.to_frame()
      parameter              group  weight_decay  numbers
    0  0.weight  weights before BN        0.0005       20
    1  3.weight            weights        0.0005       12
    2  1.weight              gamma        0.0100        4
    3    1.bias               beta        0.0000        4
    4    3.bias  biases and scales        0.0000        3
    >>> print(groups.effect("gamma")[:55])
    No rate: at rest lambda = eps 0.01 / (1 - 0.01 |gamma|)
    >>> trained = torch.optim.AdamW(groups, lr=1e-3)
    """
    check_module(model)
    decays = {"weight_decay": weight_decay, "gamma_decay": gamma_decay, "bias_decay": bias_decay}
    for name, value in decays.items():
        if nonnegative(name, value).ndim:
            raise ValueError(f"{name} = {value!r} is not right; it must be one number")
        decays[name] = float(number(name, value))
    chosen = _optimizer(optimizer)
    if report is not None:
        check_report(model, report)
    kinds = _kinds(model, report)
    names: dict[torch.Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    found: dict[str, list[tuple[str, torch.Tensor]]] = {group: [] for group in GROUPS}
    frozen = []
    for parameter, (name, *others) in names.items():
        if parameter.requires_grad:
            # a claim about batch normalization must hold for every use
            kind = max((kinds[each] for each in (name, *others)), key=_LEAST_CLAIM.index)
            found[kind].append((name, parameter))
        else:
            frozen.append(name)
    groups = {group: members for group, members in found.items() if members}
    if not groups:
        raise ValueError(f"model ({type(model).__name__}) has nothing to train; a parameter must require a gradient")
    return ParameterGroups(
        (
            {"params": [tensor for _, tensor in members], "weight_decay": _decay_of(group, decays), "name": group}
            for group, members in groups.items()
        ),
        parameters={group: [name for name, _ in members] for group, members in groups.items()},
        frozen=frozen,
        tied={name: others for name, *others in names.values() if others},
        optimizer=chosen,
        reported=report is not None,
    )


# of two kinds that one tensor is, the later is taken
_LEAST_CLAIM = (BEFORE, BIAS_BEFORE, DIRECTIONS, GAMMA, BETA, FIXED_STATISTICS, NORMS, VECTORS, WEIGHTS, COMPUTED)


def _decay_of(group: str, decays: dict[str, float]) -> float:
    if group == GAMMA:
        return decays["gamma_decay"]
    return decays["weight_decay" if group in (BEFORE, WEIGHTS, DIRECTIONS, COMPUTED) else "bias_decay"]


def _optimizer(optimizer: str | type[torch.optim.Optimizer] | None) -> str:
    if optimizer is None:
        return "any"
    if isinstance(optimizer, type):
        for name, kind in OPTIMIZERS.items():
            if issubclass(optimizer, kind):
                return name
    right = [*sorted(OPTIMIZERS), *(kind.__name__ for kind in OPTIMIZERS.values())]
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        shown = optimizer.__name__ if isinstance(optimizer, type) else repr(optimizer)
        raise ValueError(f"optimizer = {shown} is unknown; it must be one of {', '.join(right)}")
    return optimizer


def _kinds(model: nn.Module, report: Report | None) -> dict[str, str]:
    """The group of every name of a parameter."""
    modules = dict(model.named_modules(remove_duplicate=False))
    before = set() if report is None else set(linked_layers(report).values())
    scales = set() if report is None else set(report.layer)  # in functional code the parameter's own name
    frozen = {
        name
        for name, module in modules.items()
        if isinstance(module, _BatchNorm) and (model.training and not module.training)
    }
    if report is not None:
        frozen |= {layer for layer, reason in zip(report.layer, report.reason) if reason == FROZEN}
    norms = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
    kinds = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        path, _, key = name.partition(".parametrizations.")
        if key:  # of the tensor that is computed: its module and its name there
            home, (key, _, original) = path, key.partition(".")
        else:
            (home, _, key), original = name.rpartition("."), ""
        module = modules[home]
        linear = isinstance(module, (nn.Linear, _ConvNd))
        if original:
            kinds[name] = COMPUTED
            steps = module.parametrizations[key] if is_parametrized(module, key) else []
            if linear and key == "weight" and len(steps) == 1 and isinstance(steps[0], _WeightNorm):
                length = BEFORE if home in before else WEIGHTS
                kinds[name] = length if original == "original0" else DIRECTIONS
        elif isinstance(module, _BatchNorm):
            kinds[name] = FIXED_STATISTICS if home in frozen else GAMMA if key == "weight" else BETA
        elif name in scales:
            kinds[name] = GAMMA
        elif name in before or (home in before and key == "weight"):
            plain = name in before or _used_as_is(module, home, report)
            kinds[name] = BEFORE if plain else COMPUTED
        elif home in before and linear and key == "bias" and is_torchs_own(module):
            kinds[name] = BIAS_BEFORE
        elif isinstance(module, norms):
            kinds[name] = NORMS
        else:
            kinds[name] = WEIGHTS if parameter.ndim > 1 else VECTORS
    return kinds


def _used_as_is(module: nn.Module, name: str, report: Report | None) -> bool:
    """Whether the weight that the report saw is the parameter, and not something that a subclass makes of it."""
    assert report is not None
    own = float(module.get_parameter("weight").detach().double().square().sum())
    seen = sum(norm**2 for norm, linear in zip(report.weight_norm, report.linear) if linear == name)
    return is_torchs_own(module) or abs(seen - own) <= 1e-3 * own


def _count(tensors: int, numbers: int) -> str:
    return f"{tensors} tensor{'s' * (tensors != 1)} of {numbers:,} number{'s' * (numbers != 1)}"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False)
