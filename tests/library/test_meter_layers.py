"""Every kind of layer against autograd on the folded layer, in float64; a table of the worst difference by kind is
printed by `PYTHONPATH=tests:tests/library python tests/library/test_meter_layers.py`.

Nothing of the meter is used to fold. Which entries of a weight a channel is made of is what autograd says; q is the
variance of what the layer's own input gives; v = gamma w / sqrt(q + eps). The normalized output is then replaced by
v x + b with b = beta - v (mean of x), and L differentiated: the rate is -v'grad_v L / gamma^2, its L2-equivalent
-v'grad_v L / norm(v)^2.
"""

import functools

import numpy as np
import pytest
import torch
from metered import cross_entropy, scattered
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.checkpoint import checkpoint

from bnlib.meter import measure

TOLERANCE = 1e-10
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
TRANSPOSES = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Network(nn.Module):
    """Something below, a linear map, batch normalization, something above."""

    frozen = ()  # parts that do not train

    def __init__(self, linear, norm, dimensions=0, residual=False):
        super().__init__()
        below = nn.Linear(3, 4) if not dimensions else CONVOLUTIONS[dimensions](3, 4, 1)
        self.below = nn.Sequential(below, nn.Tanh())
        self.linear, self.norm = linear, norm
        self.above = nn.Sequential(nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
        self.residual = residual

    def normalized(self, h):
        return self.norm(self.linear(h))

    def read_out(self, h, normalized):
        return self.above(normalized + h if self.residual else normalized)

    def forward(self, x):
        h = self.below(x)
        return self.read_out(h, self.normalized(h))

    # what the reference needs, and the meter does not call

    def weight(self):
        return self.linear.weight

    def apply_weight(self, h, weight):
        """The linear map without its bias, with another weight."""
        linear = self.linear
        if isinstance(linear, nn.Linear):
            return h @ weight.T
        if isinstance(linear, tuple(TRANSPOSED.values())):
            options = (linear.stride, linear.padding, linear.output_padding, linear.groups, linear.dilation)
            return TRANSPOSES[h.ndim - 2](h, weight, None, *options)
        return linear._conv_forward(h, weight, None)

    def scales(self):
        norm = self.norm
        if norm.weight is None:
            return torch.ones(norm.num_features).double(), torch.zeros(norm.num_features).double()
        return norm.weight.detach(), norm.bias.detach()


class Standardized(nn.Conv2d):
    """Weight standardization."""

    def standardized(self):
        centred = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-3).sqrt()

    def forward(self, x):
        return F.conv2d(x, self.standardized(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class StandardizedNetwork(Network):
    def weight(self):
        return self.linear.standardized()


class Functional(Network):
    """No module: parameters of its own, in the functions."""

    def __init__(self, function=F.batch_norm):
        super().__init__(None, None, dimensions=2)
        self.w, self.gamma = nn.Parameter(torch.randn(8, 4, 3, 3)), nn.Parameter(torch.ones(8))
        self.beta, self.function = nn.Parameter(torch.zeros(8)), function
        nn.init.uniform_(self.gamma, -2.0, -0.3)

    def normalized(self, h):
        z = F.conv2d(input=h, weight=self.w, padding=1)
        if self.function is F.batch_norm:
            return F.batch_norm(z, None, None, weight=self.gamma, bias=self.beta, training=True, eps=1e-2)
        return torch.batch_norm(z, self.gamma, self.beta, None, None, True, 0.1, 1e-2, False)

    def weight(self):
        return self.w

    def apply_weight(self, h, weight):
        return F.conv2d(h, weight, padding=1)

    def scales(self):
        return self.gamma.detach(), self.beta.detach()


class Checkpointed(Network):
    def normalized(self, h):
        return checkpoint(super().normalized, h, use_reentrant=False)


class ModulesCheckpointed(Network):
    def normalized(self, h):
        return checkpoint(nn.Sequential(self.linear, self.norm), h, use_reentrant=False)


class CalledDirectly(Network):
    def normalized(self, h):
        return self.norm.forward(self.linear.forward(h))


class Positive(nn.Module):
    """A parametrization of gamma."""

    def forward(self, raw):
        return F.softplus(raw)


def convolved(dimensions=2, transposed=False, norm=None, network=Network, residual=False, **options):
    kinds = TRANSPOSED if transposed else CONVOLUTIONS
    linear = kinds[dimensions](4, 8, **{"kernel_size": 3} | options)
    return network(linear, NORMS[dimensions](8, **{"eps": 1e-2} | (norm or {})), dimensions, residual)


def plain(norm=None, network=Network, **options):
    return network(nn.Linear(4, 8, **options), nn.BatchNorm1d(8, **{"eps": 1e-2} | (norm or {})))


def sequence():
    return Network(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), 1)


def lazily_built(network=Network):
    return network(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), 2)


def gamma_parametrized():
    network = convolved()
    register_parametrization(network.norm, "weight", Positive())
    return network


def weight_normed(kind=parametrizations.weight_norm, **options):
    network = convolved(**options)
    kind(network.linear)
    return network


def frozen(*parts, network=Network):
    network = convolved(network=network)
    network.frozen = parts
    return network


KINDS = {
    "Linear": plain,
    "Linear, no bias": lambda: plain(bias=False),
    **{f"Conv{d}d": functools.partial(convolved, d) for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": functools.partial(convolved, d, True) for d in (1, 2, 3)},
    "grouped": lambda: convolved(groups=2),
    "grouped, transposed": lambda: convolved(transposed=True, groups=2, bias=False),
    "depthwise": lambda: convolved(groups=4),
    "depthwise, transposed": lambda: convolved(transposed=True, groups=4),
    "strided": lambda: convolved(stride=2, padding=1),
    "strided, transposed": lambda: convolved(transposed=True, stride=2, padding=1, output_padding=1),
    "dilated": lambda: convolved(dilation=2, padding=2),
    "dilated, transposed": lambda: convolved(transposed=True, dilation=2),
    "padded": lambda: convolved(padding=1),
    "padded, same": lambda: convolved(padding="same"),
    "padded, circular": lambda: convolved(padding=1, padding_mode="circular"),
    "not square": lambda: convolved(kernel_size=(1, 3), stride=(2, 1), padding=(0, 1)),
    "one pixel": lambda: convolved(kernel_size=1),
    "BatchNorm1d of rows": plain,
    "BatchNorm1d of sequences": sequence,
    "BatchNorm2d": convolved,
    "BatchNorm3d": lambda: convolved(3),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(convolved()),
    "affine False": lambda: convolved(norm={"affine": False}),
    "no running statistics": lambda: convolved(norm={"track_running_stats": False}),
    "cumulative average": lambda: convolved(norm={"momentum": None}),
    "eps 1e-30": lambda: convolved(norm={"eps": 1e-30}),
    "eps 10": lambda: convolved(norm={"eps": 10.0}),
    "residual": lambda: Network(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), 2, residual=True),
    "called by .forward": lambda: convolved(network=CalledDirectly),
    "checkpointed": lambda: convolved(network=Checkpointed),
    "checkpointed, affine False": lambda: convolved(norm={"affine": False}, network=ModulesCheckpointed),
    "weight_norm": weight_normed,
    "weight_norm, transposed": lambda: weight_normed(
        functools.partial(parametrizations.weight_norm, dim=1), transposed=True
    ),
    "orthogonal": lambda: weight_normed(parametrizations.orthogonal, kernel_size=1),
    "weight standardization": lambda: StandardizedNetwork(Standardized(4, 8, 3), nn.BatchNorm2d(8), 2),
    "functional": Functional,
    "functional, torch.batch_norm": lambda: Functional(torch.batch_norm),
    "lazily built": lazily_built,
    "gamma parametrized": gamma_parametrized,
    "gamma frozen": lambda: frozen("norm"),
    "gamma frozen, checkpointed": lambda: frozen("norm", network=ModulesCheckpointed),
    "all but the read-out frozen": lambda: frozen("below", "linear", "norm"),
    "everything frozen": lambda: frozen("below", "linear", "norm", "above"),
    "all checkpointed is frozen": lambda: frozen("linear", "norm", network=ModulesCheckpointed),
}


# what the meter is given instead of the network itself; the folded layer is the network's
WRAPPED = {
    "DataParallel": lambda network, x: nn.DataParallel(network),
    "compiled, eager": lambda network, x: compiled(network, x, "eager"),
    "compiled, aot_eager": lambda network, x: compiled(network, x, "aot_eager"),
    "channels-last": lambda network, x: network.to(memory_format=torch.channels_last),
    "exported": lambda network, x: torch.export.export(network, (x,)).module(),
    "traced by torch.fx": lambda network, x: torch.fx.symbolic_trace(network),
}


def compiled(network, x, backend):
    torch._dynamo.reset()
    network = torch.compile(network, backend=backend)
    network(x)
    return network


def built(kind):
    """The network in float64, a batch, and what the meter gets."""
    torch.manual_seed(0)
    network = KINDS[kind]() if kind in KINDS else convolved()
    shape = {nn.BatchNorm1d: (3, 9), nn.BatchNorm3d: (3, 5, 5, 5)}.get(type(network.norm), (3, 6, 7))
    if isinstance(network.linear, nn.Linear):
        shape = (3,)
    x, labels = torch.randn(12, *shape, dtype=torch.float64), torch.randint(3, (12,))
    network.double()
    network(x)  # builds what is lazy
    for part in network.frozen:
        getattr(network, part).requires_grad_(False)
    if kind != "gamma parametrized":
        scattered(network)
    return network, x, labels, WRAPPED[kind](network, x) if kind in WRAPPED else network


def channel_masks(network, h, weight):
    """Which entries of the weight each channel is made of, (channels, *shape of the weight)."""
    weight = weight.clone().requires_grad_()
    z = network.apply_weight(h, weight)
    parts = [torch.autograd.grad(z[:, k].square().sum(), weight, retain_graph=True)[0] for k in range(z.shape[1])]
    return torch.stack(parts) != 0


def by_folding(network, x, labels, correction=0, tied=True):
    """The columns of a report, from the loss as a function of the folded weights."""
    h, w = network.below(x).detach(), network.weight().detach()
    gamma, beta = network.scales()
    masks = channel_masks(network, h, w)
    over = lambda z: [dim for dim in range(z.ndim) if dim != 1]
    along = lambda scale, like: scale.reshape(1, -1, *[1] * (like.ndim - 2))
    z = network.apply_weight(h, w)
    q = (z - z.mean(dim=over(z), keepdim=True)).square().sum(dim=over(z)) / (z.numel() / z.shape[1] - correction)
    eps = 1e-2 if network.norm is None else network.norm.eps
    scale = gamma / (q + eps).sqrt()
    v = (torch.einsum("k,k...->...", scale, masks.double()) * w).requires_grad_()
    vx = network.apply_weight(h, v)
    mean = vx.mean(dim=over(vx), keepdim=True)
    normalized = vx - (mean if tied else mean.detach()) + along(beta, vx)
    (gradient,) = torch.autograd.grad(cross_entropy(network.read_out(h, normalized), labels), v)
    per_channel = lambda entries: torch.einsum("k...,...->k", masks.double(), entries)
    v = v.detach()
    pull, size = -per_channel(v * gradient), per_channel(v.square())
    columns = {"gamma": gamma, "weight_norm": per_channel(w.square()).sqrt(), "batch_var": q}
    columns |= {"rate": pull / gamma**2, "l2_rate": pull / size, "effective_norm": size.sqrt()}
    return {name: column.numpy() for name, column in columns.items()}


def differences(kind, **broken):
    """The worst relative difference over the channels, by column."""
    network, x, labels, measured = built(kind)
    expected = by_folding(network, x, labels, **broken)
    report = measure(measured, [(x, labels)], cross_entropy)
    return {name: np.abs(getattr(report, name) / column - 1).max() for name, column in expected.items()}, report


@pytest.mark.parametrize("kind", [*KINDS, *WRAPPED])
def test_as_folded_by_hand(kind):
    found, report = differences(kind)
    assert all(difference <= TOLERANCE for difference in found.values()), found
    assert len(set(report.layer)) == len(set(report.linear)) == 1
    prefix = {"DataParallel": "module.", "compiled, eager": "_orig_mod.", "compiled, aot_eager": "_orig_mod."}
    name = prefix.get(kind, "")
    names = (f"{name}norm", f"{name}linear")
    if kind.startswith("functional"):
        names = ("gamma", "w")
    if kind == "exported":
        names = ("norm.weight", "linear.weight")
    assert (report.layer[0], report.linear[0]) == names
    assert report.channel.tolist() == list(range(len(report.gamma)))
    assert set(report.reason) == {"one batch has no scatter"}


@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "grouped, transposed", "weight standardization", "functional"])
@pytest.mark.parametrize(
    "broken, columns", [({"correction": 1}, {"batch_var", "l2_rate"}), ({"tied": False}, {"rate"})]
)
def test_control_folded_otherwise(kind, broken, columns):
    """The unbiased variance, or a bias that does not move with v: far from what is measured."""
    found, _ = differences(kind, **broken)
    assert all(found[column] > 1e6 * TOLERANCE for column in columns), found


def test_control_channels_of_a_transposed_kernel_are_not_its_first_dimension(monkeypatch):
    for kind in ("ConvTranspose2d", "grouped, transposed"):
        network, x, labels, _ = built(kind)
        expected = by_folding(network, x, labels)["weight_norm"]
        assert not np.allclose(
            network.weight().detach().flatten(1).norm(dim=1)[: len(expected)], expected[:4], rtol=0.01
        )


def table():
    """A row a kind: the worst relative difference of the rate and of its L2-equivalent over the channels."""
    yield f"{'worst relative difference':36}{'rate':>10}{'l2_rate':>10}{'channels':>10}"
    for kind in (*KINDS, *WRAPPED):
        found, report = differences(kind)
        yield f"{kind:36}{found['rate']:10.1e}{found['l2_rate']:10.1e}{len(report.rate):10}"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
