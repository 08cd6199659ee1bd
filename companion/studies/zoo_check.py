"""One network of somebody else: is what the meter says of each channel true?

One batch goes through it twice, in float64. Once it is read by `bnlib.meter.measure`. Once, apart from it, the loss is
differentiated as in any training step, and each layer's gamma and its gradient give the rate -(dJ/dgamma)/gamma (theorem
rate). Hooks count how often a layer ran, which says whether a reason for NaN is true. Where the meter names the linear
map before a layer, the gradient of its weight must obey the gauge (theorem depth): it would not if something else, too,
used what the map puts out.
"""

import time
import warnings
from collections import Counter
from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib import data, meter

PACKAGES = ("torchvision", "timm")
SIDES = (64, 96, 128, 160, 224)  # of the images, tried in this order
ROWS = 4
TOLERANCE = 1e-10
NO_BATCH_NORM = "has no batch normalization"
LEFT = ("rates", "l2_rates", "gauge")  # what is compared


def rate_of(gamma, gradient):
    """-(dJ/dgamma)/gamma (theorem rate).

    Examples
    --------
    >>> rate_of(np.array([2.0]), np.array([-1.0]))
    array([0.5])
    """
    return -gradient / gamma


@lru_cache
def modules(package):
    """The networks of a package, each with the module that holds it.

    Parameters
    ----------
    package : {"torchvision", "timm"}

    Returns
    -------
    dict of str to str

    Raises
    ------
    ImportError
        If it is not installed.

    Examples
    --------
    >>> modules("torchvision")["resnet18"]
    'resnet'
    """
    data.import_torchvision()  # before timm, which imports it too
    if package == "torchvision":
        from torchvision import models

        names = models.list_models(module=models)
        return {name: models.get_model_builder(name).__module__.split(".")[-1] for name in names}
    timm = _timm()
    return {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}


def _timm():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what tqdm misses in a notebook
            import timm
    except ModuleNotFoundError as error:
        raise ImportError("timm is not installed; the zoo needs it: pip install -r requirements.txt") from error
    return timm


def bare(package, model):
    """A network as its package builds it, with random weights; nothing is downloaded.

    Parameters
    ----------
    package, model : str
        As in `modules`.

    Returns
    -------
    torch.nn.Module
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what they deprecate in themselves
        if package == "timm":
            return _timm().create_model(model)
        return data.import_torchvision().models.get_model(model, weights=None)


def build(name, seed=0):
    """A network with random weights and random gammas, in training mode and float64.

    Parameters
    ----------
    name : str
        ``torchvision/…`` or ``timm/…``.
    seed : int

    Returns
    -------
    torch.nn.Module
        gamma is drawn from 0.5 to 1.5 in size, a fifth of them negative: where all are 1, as networks start, a wrong
        power of gamma would not show. The last gamma of each layer is 0, as all are where residual branches start off.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> build("torchvision/resnet18").bn1.weight.dtype
    torch.float64
    """
    package, _, model = name.partition("/")
    known = modules(package) if package in PACKAGES else {}
    if model not in known:
        raise ValueError(f"network = {name!r} is unknown; it must be a name of torchvision/… or timm/…")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = bare(package, model).double().train()
        for layer in batch_norms(network).values():
            if layer.weight is not None:
                size, negative = 0.5 + torch.rand_like(layer.weight), torch.rand_like(layer.weight) < 0.2
                layer.weight.data.copy_(torch.where(negative, -size, size))
                layer.weight.data[3:][-1:] = 0  # a gate of few channels stays open
    return network


def batch_norms(network):
    """The layers of batch normalization, by name, in the network's order.

    Examples
    --------
    >>> batch_norms(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    {'1': BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)}
    """
    return {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}


def examine(name, formula=rate_of, seed=0):
    """Hold each channel of a network against autograd.

    Parameters
    ----------
    name : str
        As for `build`.
    formula : callable
        ``formula(gamma, gradient)``, what a rate ought to be.
    seed : int
        Of weights, images and whatever the network draws.

    Returns
    -------
    dict
        ``side`` of the images; ``layers``, ``channels``; ``rated``, channels with a rate, ``linked``, those in units of
        ``weight_decay`` too, ``zero``, those with a rate of exactly 0; ``reasons``, channels by reason for a NaN;
        ``rates``, ``l2_rates``, the largest difference within a layer, relative to the largest in that layer; ``gauge``,
        what is left of it, relative to the largest of its terms there; ``wrong``, a list of what is; ``problem``, why the
        network cannot be run.

    Examples
    --------
    >>> row = examine("torchvision/resnet18")
    >>> row["channels"], row["rated"], row["wrong"], row["reasons"]
    (4800, 4780, [], {'gamma is 0': 20})
    """
    started = time.monotonic()
    row = {"network": name, "side": 0, "problem": "", "wrong": [], "reasons": {}}
    row |= dict.fromkeys(("layers", "channels", "rated", "linked", "zero"), 0) | dict.fromkeys(LEFT, 0.0)
    with torch.random.fork_rng(devices=[]):
        try:
            network = build(name, seed)
            batch, row["side"] = _fitting_batch(name, network, seed)
        except Exception as error:  # noqa: BLE001, whatever keeps a network of somebody else from running is named
            row["problem"] = f"{type(error).__name__}: {error}"
        else:
            _hold_against_autograd(row, network, batch, formula, seed)
    return row | {"seconds": round(time.monotonic() - started, 2)}


def _hold_against_autograd(row, network, batch, formula, seed):
    layers = batch_norms(network)
    torch.manual_seed(seed)
    try:
        report = meter.measure(network, [batch], loss_of)
    except Exception as error:  # noqa: BLE001, the network runs, so whatever the meter says else is wrong
        if layers or NO_BATCH_NORM not in str(error):
            row["wrong"] = [f"refused: {type(error).__name__}: {error}"]
        return
    frame = report.to_frame()
    row["layers"], row["channels"] = len(layers), len(frame)
    if not layers:
        row["wrong"] = [
            f"rates of {len(frame):,} channels, such as those of {frame.layer[0]}, of no batch normalization"
        ]
        return
    if list(zip(frame.layer, frame.channel)) != [
        (k, c) for k, layer in layers.items() for c in range(layer.num_features)
    ]:
        row["wrong"] = ["the rows are not the channels of all layers in their order"]
        return
    rated, linked = frame.rate.notna(), frame.l2_rate.notna()
    row["rated"], row["linked"], row["zero"] = int(rated.sum()), int(linked.sum()), int((frame.rate == 0).sum())
    row["reasons"] = dict(Counter(word for reason in frame.reason[~linked] for word in _words(reason)))
    trained = _trained(network, layers, batch, seed)
    named = dict(network.named_modules())
    for name, part in frame.groupby("layer", sort=False):
        for what, found in _layer(part, layers[name], trained[name], named.get(part.linear.iloc[0]), formula):
            if what == "wrong":
                row["wrong"].append(f"{name}: {found}")
            else:
                row[what] = max(row[what], found)
    row["wrong"] += [f"{what} differ by {row[what]:.1e}" for what in LEFT if not row[what] <= TOLERANCE]


def _layer(part, layer, trained, linear, formula):
    """What is found of one layer: pairs of what it is and how large, or what is wrong."""
    everywhere = np.ones(len(part), dtype=bool)
    gamma, gradient = _array(layer.weight), _array(None if layer.weight is None else layer.weight.grad)
    runs, inputs = trained
    if gamma is None:
        yield "wrong", "there is no gamma to differentiate"
        return
    truly = {
        meter.NOT_RUN: everywhere & (runs == 0),
        meter.REPEATED: everywhere & (runs > 1),
        meter.UNREACHED: everywhere & (runs == 1 and gradient is None),
        meter.GAMMA_0: (gamma == 0) & (runs == 1 and gradient is not None),
    }
    words = part.reason.map(_words)
    for reason, true in truly.items():
        said = words.map(lambda found, reason=reason: reason in found).to_numpy()
        if (said != true).any():
            yield "wrong", f"{reason!r} is said of {said.sum()} channels and true of {true.sum()}"
    rate, l2_rate = part.rate.to_numpy(), part.l2_rate.to_numpy()
    rated, linked = np.isfinite(rate), np.isfinite(l2_rate)
    if (rated == np.logical_or.reduce(list(truly.values()))).any():
        yield "wrong", f"{rated.sum()} of {len(rate)} channels have a rate, and not those without a reason"
        return
    if not rated.any():
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = formula(gamma, gradient)
    yield "rates", _apart(rate[rated], expected[rated])
    if (~linked & ~words.map(bool)).any():
        yield "wrong", "an l2_rate is NaN without a reason"
    if not linked.any():
        return
    w, grad_w = _rows_of_units(linear)
    if w is None or len(w) != len(part):
        yield "wrong", f"{part.linear.iloc[0]!r} has no weight with a row a channel"
        return
    q = inputs.transpose(0, 1).flatten(1).numpy().var(axis=1) + layer.eps
    square, pull = (w**2).sum(axis=1), gamma * gradient
    yield "l2_rates", _apart(l2_rate[linked], (expected * q / square)[linked])
    radial, turned = (w * grad_w).sum(axis=1), layer.eps / q * pull
    # a channel's own terms may cancel to far less than what they are rounded by: the layer's largest is the measure
    scale = _largest((np.sqrt(square * (grad_w**2).sum(axis=1)) + np.abs(pull))[linked])
    yield "gauge", _largest((radial - turned)[linked]) / scale if scale else 0.0


def _trained(network, layers, batch, seed):
    """One training step's gradients, in the network itself; of each layer how often it ran, and its last input."""
    seen = {name: (0, None) for name in layers}

    def keep(name):
        def hook(_, given):
            seen[name] = seen[name][0] + 1, given[0].detach()

        return hook

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    torch.manual_seed(seed)
    loss_of(network(batch[0]), batch[1]).backward()
    for hook in hooks:
        hook.remove()
    return seen


def loss_of(output, target):
    """Cross-entropy, summed over all that a network puts out: some have heads that serve training only.

    Examples
    --------
    >>> heads = torch.zeros(2, 10), torch.zeros(2, 5, 10)
    >>> round(loss_of(heads, torch.tensor([0, 1])).item() / float(np.log(10)), 6)
    2.0
    """
    found = output.values() if isinstance(output, dict) else [output] if isinstance(output, torch.Tensor) else output
    heads = [head for head in found if isinstance(head, torch.Tensor) and head.is_floating_point()]
    heads = [head.flatten(1, -2).mean(1) if head.ndim > 2 else head for head in heads]
    return sum(nn.functional.cross_entropy(head, target) for head in heads)


def _apart(found, expected):
    """The largest difference, relative to the largest that was expected; 0 if both are 0 throughout."""
    difference, scale = _largest(found - expected), _largest(expected)
    return difference / scale if np.isfinite(scale) and scale else np.inf if difference else 0.0


def _largest(values):
    """The largest size; infinite where there is a NaN, which `max` may pass over."""
    return float(np.abs(values).max(initial=0.0)) if np.isfinite(values).all() else np.inf


def _words(reason):
    return [word for word in reason.split("; ") if word not in ("", meter.ONE_BATCH)]


def _array(tensor):
    return None if tensor is None else tensor.detach().numpy()


def _rows_of_units(module):
    """Weight of a linear map and its gradient, a row a unit; None where there is no such map."""
    if not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) or module._parameters.get("weight") is None:
        return None, None
    pair = module.weight.detach(), module.weight.grad
    if getattr(module, "transposed", False):  # (inputs, units of a group, …)
        pair = (tensor.unflatten(0, (module.groups, -1)).movedim(2, 1).flatten(0, 1) for tensor in pair)
    return tuple(tensor.flatten(1).numpy() for tensor in pair)


def _fitting_batch(name, network, seed):
    """A batch with the smallest images that go through the network, and their side."""
    *smaller, own = _sides(name, network)
    for side in (*smaller, own):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(ROWS, 3, side, side, generator=generator, dtype=torch.float64)
        target = torch.randint(10, (ROWS,), generator=generator)
        try:
            with torch.no_grad():
                network(images)
        except (
            Exception
        ):  # in many ways networks say that images are too small; the last one is what they were made for
            if side == own:
                raise
        else:
            return (images, target), side
    raise AssertionError("there is always one to try")


def _sides(name, network):
    package, _, model = name.partition("/")
    if package == "timm":
        own, fixed = network.default_cfg["input_size"][-1], network.default_cfg.get("fixed_input_size", False)
    else:
        weights = data.import_torchvision().models.get_model_weights(model)
        own, fixed = next(iter(weights)).transforms.keywords["crop_size"], False
    return (own,) if fixed else (*(side for side in SIDES if side < own), own)
