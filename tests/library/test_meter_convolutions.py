"""The meter on convolutions by their patches: the units are channels, the rows are what a kernel is applied to."""

import pytest
import torch
from instances import same
from metered import assert_as_found, batch, cross_entropy, snapshot
from torch import nn

from bnlib.meter import measure
from bnlib.models import convolutional

CONVOLUTIONS = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": 1},
    "dilated": {"dilation": 2, "padding": 2},
    "not square": {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1)},
    "one pixel": {"kernel_size": 1},
    "grouped": {"groups": 2, "padding": 1},
    "a channel each": {"groups": 4},
    "no bias": {"bias": False},
}


class Convolutional:
    """A convolution with batch normalization between layers that have none to show, in float64, and a batch for it."""

    def __init__(self, dimensions=2, affine=True, eps=1e-2, **options):
        torch.manual_seed(dimensions)
        conv, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d)}[dimensions]
        self.below = nn.Sequential(conv(3, 4, 1), nn.Tanh())
        self.conv = conv(4, 8, **{"kernel_size": 3} | options)
        self.norm = norm(8, eps=eps, affine=affine)
        self.above = nn.Sequential(nn.Tanh(), conv(8, 2, 1), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
        self.model = nn.Sequential(self.below, self.conv, self.norm, self.above).double()
        self.inputs = torch.randn(12, 3, *[7, 6][:dimensions], dtype=torch.float64)
        self.labels = torch.randint(3, (12,))
        self.model(self.inputs)  # materializes the read-out
        if affine:
            nn.init.uniform_(self.norm.weight, 0.3, 2.0)
            self.norm.weight.data[::3] *= -1
            nn.init.normal_(self.norm.bias)

    def report(self):
        return measure(self.model, [(self.inputs, self.labels)], cross_entropy)

    def patches(self):
        """What the kernel of each channel is applied to, (channels, entries of a kernel, images, positions)."""
        conv, h = self.conv, self.below(self.inputs).detach()
        pair = lambda values: values if len(values) == 2 else (1, *values)
        if h.ndim == 3:
            h = h[:, :, None]  # one row of pixels
        padding = conv.padding if len(conv.padding) == 2 else (0, *conv.padding)
        unfolded = nn.functional.unfold(h, pair(conv.kernel_size), pair(conv.dilation), padding, pair(conv.stride))
        grouped = unfolded.unflatten(1, (conv.groups, -1)).permute(1, 2, 0, 3)
        return grouped.repeat_interleave(conv.out_channels // conv.groups, dim=0)

    def by_hand(self, patches):
        """Columns of a report, from the loss as a function of the folded kernels."""
        w = self.conv.weight.detach().flatten(1)
        gamma = torch.ones(8).double() if self.norm.weight is None else self.norm.weight.detach()
        beta = torch.zeros(8).double() if self.norm.bias is None else self.norm.bias.detach()
        centred = patches - patches.mean(dim=(2, 3), keepdim=True)
        q = torch.einsum("kj,kjnp->knp", w, centred).square().mean(dim=(1, 2))
        v = ((gamma / (q + self.norm.eps).sqrt())[:, None] * w).requires_grad_()
        z = torch.einsum("kj,kjnp->nkp", v, centred) + beta[:, None]
        output = self.above(z.reshape(self.conv(self.below(self.inputs)).shape))
        (grad_v,) = torch.autograd.grad(cross_entropy(output, self.labels), v)
        v = v.detach()
        pull = -(v * grad_v).sum(dim=1)
        columns = {"gamma": gamma, "weight_norm": w.norm(dim=1), "batch_var": q, "effective_norm": v.norm(dim=1)}
        columns |= {"rate": pull / gamma**2, "l2_rate": pull / v.square().sum(dim=1)}
        return {name: column.numpy() for name, column in columns.items()}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_by_hand(options):
    case = Convolutional(**options)
    report, expected = case.report(), case.by_hand(case.patches())
    assert (report.layer, report.linear) == (("2",) * 8, ("1",) * 8)
    assert report.channel.tolist() == list(range(8))
    for name, column in expected.items():
        same(getattr(report, name), column, rtol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"padding": 2, "stride": 2}, {"groups": 4}], ids=["plain", "strided", "groups"]
)
def test_convolution_along_one_dimension_by_hand(options):
    case = Convolutional(dimensions=1, **options)
    report, expected = case.report(), case.by_hand(case.patches())
    for name, column in expected.items():
        same(getattr(report, name), column, rtol=1e-10)


@pytest.mark.parametrize("kind", ["not affine", "frozen gamma", "everything frozen"])
def test_convolution_whose_gamma_is_not_learned(kind):
    case = Convolutional(affine=kind != "not affine")
    for parameter in case.norm.parameters() if kind == "frozen gamma" else case.model.parameters():
        parameter.requires_grad_(kind == "not affine")
    before = snapshot(case.model)
    report = case.report()
    assert_as_found(case.model, before)
    for name, column in case.by_hand(case.patches()).items():
        same(getattr(report, name), column, rtol=1e-10)


@pytest.mark.parametrize("broken", ["first position", "no padding"])
def test_convolution_control_all_patches_count(broken):
    """Patches of one position only, or zeros of the padding taken for pixels like any other: other rates."""
    case = Convolutional(padding=1)
    report, patches = case.report(), case.patches()
    if broken == "first position":
        patches = patches[..., :1].expand_as(patches)
    else:
        patches = torch.where(patches == 0, patches.mean(), patches)
    with pytest.raises(AssertionError):
        same(report.rate, case.by_hand(patches)["rate"], rtol=1e-2)


def test_convolution_in_channels_last_memory_and_before_an_activation_in_place():
    case = Convolutional()
    expected = case.report()
    case.model = case.model.to(memory_format=torch.channels_last)
    same(case.report().rate, expected.rate, rtol=1e-12)
    first, second = convolutional((4, 6), seed=1).double(), convolutional((4, 6), seed=1).double()
    for layer in second:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    inputs, labels = batch(inputs=784)
    reports = [measure(model, [(inputs.double(), labels)], cross_entropy) for model in (first, second)]
    assert reports[0].linear == ("1",) * 4 + ("5",) * 6
    assert (reports[0].rate == reports[1].rate).all()
    assert reports[0].by_layer()["channels"].tolist() == [4, 6]
