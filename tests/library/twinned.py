"""What the tests of the removal share: layers of every kind, and what enters them."""

import copy

import pytest
import torch
from torch import nn

from bnlib.folding import unit_weights
from bnlib.removal import remove_batch_norm

DOUBLE = torch.float64
KINDS = {
    "linear": (lambda: nn.Linear(5, 4), nn.BatchNorm1d, (5,)),
    "linear without bias": (lambda: nn.Linear(5, 4, bias=False), nn.BatchNorm1d, (5,)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, stride=2), nn.BatchNorm1d, (3, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), padding=1, bias=False), nn.BatchNorm2d, (3, 6, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 2, dilation=2), nn.BatchNorm3d, (2, 4, 4, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d, (4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.BatchNorm2d, (3, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d, (3, 3, 4)),
    "transposed, grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), nn.BatchNorm1d, (4, 5)),
    "synchronized": (lambda: nn.Conv2d(3, 4, 3), nn.SyncBatchNorm, (3, 5, 5)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d, (3, 5, 5)),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), nn.BatchNorm1d, (5,)),
}


def randomize(norm, generator):
    """Scales of both signs, shifts, and running statistics that are not the initial ones."""
    shape = norm.running_mean.shape
    norm.running_mean.copy_(torch.randn(shape, generator=generator))
    norm.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
    if norm.affine:
        signs = torch.arange(norm.num_features) % 2 * 2 - 1
        norm.weight.data.copy_((torch.rand(shape, generator=generator) + 0.5) * signs)
        norm.bias.data.copy_(torch.randn(shape, generator=generator))


def pair(kind, eps=0.1, seed=0):
    """A layer of a kind with batch normalization, a head that has none, and a batch."""
    make, norm, shape = KINDS[kind]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linear = make()
        units = linear(torch.zeros(2, *shape)).shape[1]
        model = nn.Sequential(linear, norm(units, eps=eps), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
        x = torch.randn(24, *shape, generator=generator, dtype=DOUBLE) + 0.3
        model.eval()(x)
    randomize(model[1], generator)
    return model.train(), x, torch.randint(3, (24,), generator=generator)


def set_to_batch(norm, z):
    """Running statistics that are those of a batch, with the biased variance that it is normalized by."""
    dims = [dim for dim in range(z.ndim) if dim != 1]
    norm.running_mean.copy_(z.detach().mean(dims))
    norm.running_var.copy_(z.detach().var(dims, correction=0))


def removed(*arguments):
    """Where the conditions do not hold, and that is not the subject."""
    with pytest.warns(UserWarning, match="theorem stationarity does not promise"):
        return remove_batch_norm(*arguments)


def entering(linear, x):
    """What enters each unit, (groups, fan_in, rows): the map itself with units that see one entry each."""
    groups, fan_in = getattr(linear, "groups", 1), unit_weights(linear).shape[1]
    eye = torch.eye(fan_in, dtype=DOUBLE).repeat(groups, 1).unflatten(1, (-1, *linear.weight.shape[2:]))
    probe = copy.copy(linear)
    probe._parameters = {"weight": None, "bias": None}
    if isinstance(linear, nn.Linear):
        eye = eye.flatten(1)
    else:
        probe.out_channels = groups * fan_in
        if linear.transposed:
            eye = eye.unflatten(0, (groups, fan_in)).movedim(1, 2).flatten(0, 1)
    probe.weight = nn.Parameter(eye)
    return probe(x).detach().movedim(1, 0).flatten(1).unflatten(0, (groups, fan_in))


def covariance_and_mean(linear, x):
    rows = entering(linear, x)
    return torch.stack([torch.cov(group, correction=0) for group in rows]), rows.mean(dim=2)
