"""Why a value is NaN: every reason where it applies, and none where nothing is missing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import same
from metered import batch, by_channel, cross_entropy, images, scattered
from torch import nn
from torch.nn import functional as F

from bnlib.meter import (
    FROZEN,
    GAMMA_0,
    NOT_ALWAYS_RUN,
    NOT_FINITE,
    NOT_RUN,
    ONE_BATCH,
    OTHER_CHANNELS,
    OWN_CODE,
    REPEATED,
    UNREACHED,
    WEIGHT_0,
    measure,
)
from bnlib.models import network
from bnlib.recorder import BYPASSED, NOT_LINEAR, OTHER_UNITS, SHARED_WEIGHT
from bnlib.report import COLUMNS

NUMBERS = [name for name in COLUMNS if name not in ("layer", "linear", "channel", "reason")]


class Described(nn.Module):
    """Linear maps ``a``, ``b`` and normalizations ``m``, ``n`` of five channels, run as `describe` says."""

    def __init__(self, describe):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.m, self.n = nn.Linear(5, 5), nn.Linear(5, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.read_out, self.describe, self.calls = nn.Linear(5, 3), describe, 0
        scattered(self)

    def forward(self, x):
        self.calls += 1
        return self.read_out(torch.tanh(self.describe(self, x)))


class Doubled(torch.autograd.Function):
    """A function of the user's own."""

    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, slope):
        return 2 * slope


class ByHand(nn.BatchNorm1d):
    def forward(self, x):
        return (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + self.eps).sqrt() * self.weight + self.bias


class Ghost(nn.BatchNorm1d):
    """Statistics of halves of the batch: twice as many channels, as if."""

    def forward(self, x):
        halves = x.unflatten(0, (-1, 2)).flatten(1)
        return F.batch_norm(halves, None, None, self.weight.repeat(2), self.bias.repeat(2), True).view_as(x)


def with_norm(norm):
    model = Described(lambda net, x: net.n(net.b(torch.tanh(net.m(net.a(x))))))
    model.n = norm
    return model


def after(change, describe=lambda net, x: net.n(net.b(torch.tanh(net.m(net.a(x)))))):
    model = Described(describe)
    change(model)
    return model


def bypass(how):
    def describe(net, x):
        z = net.a(x)
        return net.m(z) + how(net, z)

    return describe


def frozen_bypass(how):
    return after(lambda net: net.a.requires_grad_(False), bypass(how))


BYPASSES = {
    "skip": lambda net, z: z,
    "slice": lambda net, z: z[:, :1],
    "reshaped": lambda net, z: z.reshape(-1, 5, 1).squeeze(2),
    "another layer": lambda net, z: net.b(z),
    "concatenated": lambda net, z: torch.cat([z, z], dim=1)[:, 2:7],
    "another normalization": lambda net, z: net.n(z),
    "split": lambda net, z: torch.cat(torch.split(z, 2, dim=1), dim=1),
}
M, N = "m", "n"
# the reason of each layer, without the one for a single batch
CASES = {
    "gamma is 0": (after(lambda net: net.m.weight.data.zero_()), {M: GAMMA_0, N: ""}),
    "w is 0": (after(lambda net: net.a.weight.data.zero_()), {M: WEIGHT_0, N: ""}),
    "gamma and w are 0": (
        after(lambda net: (net.m.weight.data.zero_(), net.a.weight.data.zero_())),
        {M: f"{GAMMA_0}; {WEIGHT_0}", N: ""},
    ),
    "evaluation mode": (after(lambda net: net.m.eval()), {M: FROZEN, N: ""}),
    "activation before": (Described(lambda net, x: net.m(torch.relu(net.a(x)))), {M: NOT_LINEAR, N: NOT_RUN}),
    "activation in place before": (
        Described(lambda net, x: net.m(F.relu(net.a(x), inplace=True))),
        {M: NOT_LINEAR, N: NOT_RUN},
    ),
    "written to before": (Described(lambda net, x: net.m(net.a(x).mul_(2))), {M: NOT_LINEAR, N: NOT_RUN}),
    "of the inputs": (Described(lambda net, x: net.n(net.a(net.m(x)))), {M: NOT_LINEAR, N: ""}),
    "after another": (Described(lambda net, x: net.n(net.m(net.a(x)))), {M: "", N: NOT_LINEAR}),
    "a view of the output": (Described(lambda net, x: net.m(net.a(x)[:])), {M: NOT_LINEAR, N: NOT_RUN}),
    "other units": (
        Described(lambda net, x: net.m(net.a(x[:, None].expand(-1, 5, -1))).mean(dim=1)),
        {M: OTHER_UNITS, N: NOT_RUN},
    ),
    "layer twice": (
        Described(lambda net, x: net.n(net.a(torch.tanh(net.m(net.a(x)))))),
        {M: SHARED_WEIGHT, N: SHARED_WEIGHT},
    ),
    "layer once without normalization": (
        Described(lambda net, x: net.a(torch.tanh(net.m(net.a(x))))),
        {M: SHARED_WEIGHT, N: NOT_RUN},
    ),
    "normalization twice": (
        Described(lambda net, x: net.m(net.b(torch.tanh(net.m(net.a(x)))))),
        {M: REPEATED, N: NOT_RUN},
    ),
    "no gradient": (Described(lambda net, x: net.m(net.a(x)) + net.n(net.b(x)).detach()), {M: "", N: UNREACHED}),
    "under no_grad": (
        Described(lambda net, x: net.m(net.a(x)) + torch.no_grad()(net.n)(net.b(x))),
        {M: "", N: UNREACHED},
    ),
    "code of its own": (with_norm(ByHand(5)), {M: "", N: OWN_CODE}),
    "halves of a batch": (with_norm(Ghost(5)), {M: "", N: OTHER_CHANNELS}),
    "function of the user's own": (
        Described(bypass(lambda net, z: Doubled.apply(z))),
        {M: BYPASSED, N: NOT_RUN},
    ),
    **{
        f"{kind}{name}": (make(how), {M: BYPASSED, N: BYPASSED if "normalization" in name else NOT_RUN})
        for name, how in BYPASSES.items()
        for kind, make in (("", lambda how: Described(bypass(how))), ("frozen, ", frozen_bypass))
    },
}


@pytest.mark.parametrize("name", CASES)
def test_reason(name):
    model, expected = CASES[name]
    report = measure(model, [batch(), batch(seed=1)], cross_entropy)
    for layer, reason in expected.items():
        assert set(by_channel(report, layer, "reason")) == {reason}, layer
    assert_reasons_are_whole(report)
    without_rate = {layer for layer, reason in expected.items() if reason.split("; ")[0] in NO_RATE}
    for layer in expected:
        assert np.isnan(by_channel(report, layer)).all() == (layer in without_rate)


NO_RATE = {GAMMA_0, FROZEN, NOT_RUN, REPEATED, UNREACHED, OWN_CODE, OTHER_CHANNELS}


def assert_reasons_are_whole(report):
    """Empty exactly where no number of the row is NaN; none is infinite; the layers say what their channels do."""
    frame = report.to_frame()
    missing = frame[NUMBERS].isna().any(axis=1)
    assert ((frame.reason != "") == missing).all(), frame[(frame.reason != "") != missing]
    assert not np.isinf(frame[NUMBERS].to_numpy()).any()
    words = {word for reason in frame.reason for word in reason.split("; ") if word}
    by_layer = report.by_layer()
    assert {word for reason in by_layer.reason for word in reason.split("; ") if word} == words
    assert all(len(set(reason.split("; "))) == len(reason.split("; ")) for reason in by_layer.reason)
    assert all(word in report.coverage() for word in words)


def test_channels_have_reasons_of_their_own():
    model = network((5, 4, 3))
    model[1].weight.data[2] = 0.0
    model[0].weight.data[1] = 0.0
    report = measure(model, [batch(), batch(seed=1)], cross_entropy)
    assert report.reason == ("", WEIGHT_0, GAMMA_0, "")
    assert np.isnan(report.rate).tolist() == [False, False, True, False]
    assert np.isnan(report.l2_rate).tolist() == [False, True, True, False]
    assert report.gamma[2] == report.effective_norm[2] == report.rate[1] == report.weight_norm[1] == 0
    (row,) = report.by_layer().itertuples()
    assert (row.channels, row.measured) == (4, 3)
    assert row.rate == pytest.approx(np.delete(report.rate, 2).mean(), rel=1e-12)
    pull, size = report.rate * report.gamma**2, report.effective_norm**2
    assert row.l2_rate == pytest.approx(pull[[0, 3]].sum() / size[[0, 3]].sum(), rel=0.05)  # a mean of ratios
    assert set(row.reason.split("; ")) == {WEIGHT_0, GAMMA_0}
    assert_reasons_are_whole(measure(model, [batch()], cross_entropy))


def test_one_batch_has_no_errors_and_says_so():
    report = measure(network((5, 4, 3)), [batch()], cross_entropy)
    assert set(report.reason) == {ONE_BATCH}
    assert np.isnan([report.rate_error, report.l2_rate_error]).all()
    assert np.isfinite([report.rate, report.l2_rate]).all()
    assert_reasons_are_whole(report)


@pytest.mark.parametrize("how", ["not run", "runs twice", "frozen", "not reached", "other width"])
def test_what_holds_in_one_batch_holds_for_the_report(how):
    """Another path in the second batch: no mean is taken over the batches that happened to have the layer."""

    def describe(net, x):
        h = torch.tanh(net.m(net.a(x)))
        if net.calls < 2:
            return net.n(net.b(h))
        if how == "not run":
            return net.b(h)
        if how == "runs twice":
            return net.n(net.n(net.b(h)))
        if how == "frozen":
            return F.batch_norm(net.b(h), net.n.running_mean, net.n.running_var, net.n.weight, net.n.bias)
        if how == "not reached":
            return net.n(net.b(h)).detach() + h
        return F.batch_norm(net.b(h)[:, :3], None, None, net.n.weight[:3], None, True).sum(dim=1, keepdim=True) + h

    report = measure(Described(describe), [batch(seed=seed) for seed in range(3)], cross_entropy)
    reason = {"not run": NOT_ALWAYS_RUN, "runs twice": REPEATED, "frozen": FROZEN, "not reached": UNREACHED}
    expected = reason.get(how, NOT_ALWAYS_RUN)
    assert set(by_channel(report, "n", "reason")) == {expected}
    assert np.isnan(by_channel(report, "n")).all()
    assert np.isfinite(by_channel(report, "m")).all()
    assert_reasons_are_whole(report)


def test_linear_map_in_some_batches_only():
    def describe(net, x):
        return net.m(net.a(x) if net.calls != 2 else torch.tanh(net.a(x)))

    report = measure(Described(describe), [batch(seed=seed) for seed in range(3)], cross_entropy)
    assert set(by_channel(report, "m", "reason")) == {NOT_LINEAR}
    assert np.isfinite(by_channel(report, "m")).all()
    assert_reasons_are_whole(report)


class Steep(torch.autograd.Function):
    """A finite value whose slope is not."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        return slope * torch.tensor([float("inf"), 1.0, float("nan"), 1.0, 1.0])


def test_gradient_that_is_not_finite():
    model = Described(lambda net, x: Steep.apply(net.m(net.a(x))))
    report = measure(model, [batch(), batch(seed=1)], cross_entropy)
    assert report.reason[:5] == (NOT_FINITE, "", NOT_FINITE, "", "")
    assert np.isfinite(report.by_layer().rate[0])
    assert report.by_layer().measured[0] == 3
    assert_reasons_are_whole(report)
    unlinked = Described(lambda net, x: Steep.apply(net.m(torch.tanh(net.a(x)))))
    report = measure(unlinked, [batch(), batch(seed=1)], cross_entropy)
    assert report.reason[:2] == (f"{NOT_FINITE}; {NOT_LINEAR}", NOT_LINEAR)


@pytest.mark.parametrize("change", ["tiny w", "tiny gamma", "huge w"])
def test_numbers_that_overflow(change):
    model = network((5, 4, 3)).double()
    with torch.no_grad():
        if change == "tiny gamma":
            model[1].weight[1] = 1e-310
            model[3].weight[:, 1] = 1e300
        else:
            model[0].weight[1] = 1e-200 if change == "tiny w" else 1e170
    report = measure(model, [(x.double(), t) for x, t in (batch(), batch(seed=1))], cross_entropy)
    assert_reasons_are_whole(report)
    assert report.reason[0] == ""
    assert report.reason[1] == {"tiny w": WEIGHT_0, "tiny gamma": NOT_FINITE, "huge w": NOT_FINITE}[change]


KINDS = [
    "linear",
    "convolution",
    "normalization",
    "activation",
    "dead channels",
    "zero weights",
    "frozen",
    "skip",
    "twice",
]


def drawn_network(parts, seed):
    torch.manual_seed(seed)
    layers = []
    for part in parts:
        if part == "linear" or part == "zero weights":
            layers += [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)]
        elif part == "convolution":
            layers += [nn.ConvTranspose2d(3, 3, 1), nn.BatchNorm2d(3, affine=bool(seed % 2))]
        elif part == "activation":
            layers += [nn.ReLU(inplace=bool(seed % 3))]
        elif part == "skip":
            layers += [Skip()]
        elif part == "twice":
            layers += [layers[0], layers[1]] if len(layers) > 1 else []
        else:
            layers += [nn.BatchNorm2d(3)]
        if part == "zero weights":
            layers[-2].weight.data[seed % 3] = 0.0
        if part == "dead channels":
            layers[-1].weight.data[: seed % 4] = 0.0
        if part == "frozen":
            layers[-1].eval()
    return nn.Sequential(*layers, nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 3))


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.unused = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(2)

    def forward(self, x):
        z = self.conv(x)
        return self.norm(z) + z


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(KINDS), max_size=5), st.integers(0, 11), st.integers(1, 3))
def test_property_reason_is_empty_exactly_where_no_number_is_missing(parts, seed, count):
    model = drawn_network(parts, seed)
    report = measure(model, [images(seed=each, dtype=torch.float32) for each in range(count)], cross_entropy)
    assert_reasons_are_whole(report)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(report.rate) == sum(norm.num_features for norm in norms)
    if count == 1:
        assert all(report.reason)


def test_a_sure_layer_is_the_same_beside_others_without_a_rate():
    """What cannot be measured does not disturb what can."""
    model = Described(lambda net, x: net.n(net.b(torch.tanh(net.m(net.a(x))))))
    batches = [batch(seed=seed) for seed in range(3)]
    expected = measure(model, batches, cross_entropy)
    model.m.eval()
    model.m.running_mean.copy_(torch.zeros(5))
    report = measure(model, batches, cross_entropy)
    assert np.isnan(by_channel(report, "m")).all()
    assert np.isfinite(by_channel(report, "n")).all()
    model.m.train()
    same(measure(model, batches, cross_entropy).rate, expected.rate, rtol=0)
