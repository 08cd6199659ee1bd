"""Ways in which a network can hide what the identity needs: each gives the right number, or a reason, never a wrong one."""

import copy

import numpy as np
import pytest
import torch
from metered import batch, by_channel, cross_entropy, images, rates_by_autograd, scattered
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from bnlib.meter import NOT_ALWAYS_RUN, REPEATED, measure
from bnlib.recorder import BYPASSED, NOT_LINEAR, SHARED_WEIGHT, recording

BATCHES = [(x.double(), t) for x, t in (batch(), batch(seed=1))]


class Pair(nn.Module):
    """Two linear maps, each with its normalization, and a read-out: `run` says how."""

    def __init__(self, run=None):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.m, self.n = nn.Linear(5, 5), nn.Linear(5, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.read_out = nn.Linear(5, 3)
        self.run = run or (lambda net, x: net.n(net.b(torch.tanh(net.m(net.a(x))))))
        scattered(self).double()

    def forward(self, x):
        return self.read_out(torch.tanh(self.run(self, x)))


def measured(model, **options):
    options = options or {"loss_fn": cross_entropy}
    return measure(model, BATCHES, **options)


def assert_alike(report, expected):
    for column in ("rate", "rate_error", "l2_rate", "l2_rate_error", "weight_norm", "batch_var"):
        np.testing.assert_allclose(getattr(report, column), getattr(expected, column), rtol=1e-12)


def expected():
    return measured(Pair())


def test_scale_that_two_layers_share_is_measured_for_each():
    """Each has the gradient of its own use, which add up to what autograd has of both."""
    model = Pair()
    model.n.weight = model.m.weight
    report = measured(model)
    assert list(dict.fromkeys(zip(report.layer, report.linear))) == [("m", "a"), ("n", "b")]
    apart = copy.deepcopy(model)
    apart.n.weight = nn.Parameter(apart.m.weight.detach().clone())
    assert_alike(report, measured(apart))
    both = [rates_by_autograd(model, lambda twin, x=x, t=t: cross_entropy(twin(x), t))["m"] for x, t in BATCHES]
    np.testing.assert_allclose(by_channel(report, "m") + by_channel(report, "n"), np.mean(both, axis=0), rtol=1e-11)


TIED = {
    "transposed": lambda h, w: F.linear(h, w.t()),
    "by keyword": lambda h, w: F.linear(input=h, weight=w),
    "@": lambda h, w: h @ w,
    "matmul": lambda h, w: h.matmul(w.T),
    "mm": torch.mm,
    "einsum": lambda h, w: torch.einsum("nk,kd->nd", h, w),
    "einsum of a list": lambda h, w: torch.einsum("nk,kd->nd", [h, w]),
    "part of it": lambda h, w: F.linear(h, w[:3]).sum(dim=1, keepdim=True) + h,
    "convolution": lambda h, w: F.conv1d(h[:, :, None], w[:, :, None])[:, :, 0],
    "embedding": lambda h, w: h + F.embedding(torch.zeros(len(h), dtype=torch.int64), w),
}


@pytest.mark.parametrize("how", TIED)
@pytest.mark.parametrize("trains", [True, False], ids=["trains", "is frozen"])
def test_weight_that_is_used_elsewhere(how, trains):
    model = Pair(lambda net, x: TIED[how](net.m(net.a(x)), net.a.weight))
    model.a.requires_grad_(trains)
    report = measured(model)
    assert set(by_channel(report, "m", "reason")) == {SHARED_WEIGHT}
    assert np.isfinite(by_channel(report, "m")).all()
    assert np.isnan(by_channel(report, "m", "l2_rate")).all()


def test_weight_that_two_modules_share():
    model = Pair()
    model.b.weight = model.a.weight
    assert set(measured(model).reason) == {SHARED_WEIGHT}


@pytest.mark.parametrize("trains", [True, False], ids=["trains", "is frozen"])
def test_layer_whose_weight_is_computed_at_each_use(trains):
    """Another tensor each time, the same parameters."""
    model = Pair(lambda net, x: net.n(net.a(torch.tanh(net.m(net.a(x))))))
    parametrizations.weight_norm(model.a).requires_grad_(trains)
    assert set(measured(model).reason) == {SHARED_WEIGHT}


def test_computed_weights_of_many_layers_are_not_taken_for_one():
    """Freed memory is given out again: layers are told apart by what lives, not by where it lay."""
    torch.manual_seed(0)
    layers = [part for _ in range(12) for part in (parametrizations.weight_norm(nn.Linear(5, 5)), nn.BatchNorm1d(5))]
    model = nn.Sequential(*layers, nn.Linear(5, 3)).double().requires_grad_(False)
    assert set(measured(model).reason) == {""}


def test_weights_are_not_told_apart_by_memory_that_is_given_out_again():
    """Computed for one use and in no graph, a weight would be gone, and the next might lie where it lay."""
    x = torch.randn(2, 3)
    with recording(nn.Identity(), lambda gamma, _: gamma) as recorder:
        for w in torch.randn(3000, 3, 3):
            x = F.linear(x, w / 2)
    assert list(recorder.weight_uses.values()) == [1] * 3000


HARMLESS = {
    "detached": lambda net, z: net.m(z) + z.detach(),
    "the same tensor": lambda net, z: net.m(z.contiguous()),
    "looked at": lambda net, z: net.m(z) * z.shape[1] + (z.argmax(dim=1, keepdim=True) if z.dim() > 1 else 0),
    "without gradients": lambda net, z: net.m(z) + torch.no_grad()(torch.tanh)(z),
}


@pytest.mark.parametrize("trains", [True, False], ids=["trains", "is frozen"])
@pytest.mark.parametrize("how", HARMLESS)
def test_use_without_a_gradient_is_no_path(how, trains):
    model = Pair(lambda net, x: HARMLESS[how](net, net.a(x)))
    model.a.requires_grad_(trains)
    assert set(by_channel(measured(model), "m", "reason")) == {""}


def penalized(model, each, weight=1e3):
    x, t = each
    w = model.a.weight
    orthogonal = (w @ w.t() - torch.eye(5)).square().sum()
    return cross_entropy(model(x), t) + weight * (orthogonal + sum(p.square().sum() for p in model.parameters()))


def test_penalty_in_the_loss_is_no_path():
    """On gamma it does not act through what is normalized; on w it is what the rate is compared with."""
    report = measured(Pair(), forward=penalized)
    assert set(report.reason) == {""}
    assert_alike(report, expected())


def test_control_penalty_on_gamma_has_a_gradient():
    model, (x, t) = Pair(), BATCHES[0]
    with_penalty = rates_by_autograd(model, lambda twin: penalized(twin, (x, t), 1.0))["m"]
    assert (np.abs(with_penalty / rates_by_autograd(model, lambda twin: cross_entropy(twin(x), t))["m"] - 1) > 1).all()


def test_another_model_in_the_loss_is_not_reported():
    """A teacher that normalizes by its batches too."""
    teacher = Pair()
    model = Pair()
    report = measured(model, forward=lambda model, each: (model(each[0]) - teacher(each[0]).detach()).square().sum())
    assert list(dict.fromkeys(report.layer)) == ["m", "n"]
    hidden = Pair(lambda net, x: net.n(net.b(torch.tanh(net.m(net.a(x)) + teacher(x).sum()))))
    report = measured(hidden)
    assert list(dict.fromkeys(report.layer)) == ["m", "n"]
    assert np.isfinite(report.l2_rate).all()


def test_functional_normalizations_without_parameters_are_told_apart():
    def run(net, x):
        h = F.batch_norm(net.a(x), None, None, training=True)
        return F.batch_norm(torch.tanh(h), None, None, training=True) + F.batch_norm(
            net.b(x), None, None, training=True
        )

    report = measured(Pair(run))
    names = {"m": "", "n": "", "batch_norm": "a", "batch_norm_2": "", "batch_norm_3": "b"}
    assert dict(zip(report.layer, report.linear)) == names
    assert np.isfinite(by_channel(report, "batch_norm", "l2_rate")).all()
    assert set(by_channel(report, "batch_norm_2", "reason")) == {NOT_LINEAR}


class StandardizedByBatchNorm(nn.Conv2d):
    """As timm's ``StdConv2d``: the function that normalizes batches, applied to the weight."""

    def forward(self, x):
        w = F.batch_norm(
            self.weight.reshape(1, len(self.weight), -1), None, None, training=True, momentum=0.0, eps=1e-6
        )
        return F.conv2d(x, w.reshape_as(self.weight), self.bias)


def test_weight_that_is_standardized_by_batch_norm_is_no_layer():
    torch.manual_seed(0)
    conv, norm = StandardizedByBatchNorm(3, 4, 3), nn.BatchNorm2d(4)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    report = measure(model, [images(), images(seed=1)], cross_entropy)
    assert set(zip(report.layer, report.linear)) == {("1", "0")}
    np.testing.assert_allclose(report.weight_norm, np.sqrt(27), rtol=1e-3)  # standardized
    assert np.isfinite(report.l2_rate).all()


@pytest.mark.parametrize("loss_of", ["functional_call", "deep copy of the parameters"])
def test_parameters_that_come_from_elsewhere(loss_of):
    def forward(model, each):
        values = {name: value * 1 for name, value in model.named_parameters()}
        if loss_of != "functional_call":
            values = {name: value.detach().clone() for name, value in values.items()}
        return cross_entropy(torch.func.functional_call(model, values, (each[0],)), each[1])

    assert_alike(measured(Pair(), forward=forward), expected())


def test_tied_parameters_that_come_from_elsewhere():
    def forward(model, each):
        values = {name: value * 1 for name, value in model.named_parameters()}
        values["b.weight"] = values["a.weight"]
        return cross_entropy(torch.func.functional_call(model, values, (each[0],)), each[1])

    assert set(measured(Pair(), forward=forward).reason) == {SHARED_WEIGHT}


def test_weights_that_are_buffers():
    model = Pair(lambda net, x: net.n(F.linear(torch.tanh(net.m(F.linear(x, net.first))), net.second, net.bias)))
    for name, tensor in {"first": model.a.weight, "second": model.b.weight, "bias": model.b.bias}.items():
        model.register_buffer(name, tensor.detach().clone())
    report = measured(model)
    assert dict(zip(report.layer, report.linear)) == {"m": "first", "n": "second"}
    assert_alike(report, expected())


def test_gradient_penalty_is_a_path_that_is_seen():
    """The loss depends on the input of the normalization beyond its output."""

    def forward(model, each):
        x = each[0].clone().requires_grad_()
        output = model(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        return cross_entropy(output, each[1]) + slope.square().mean()

    report = measured(Pair(), forward=forward)
    assert set(report.reason) == {BYPASSED}
    rates = [rates_by_autograd(Pair(), lambda twin, each=each: forward(twin, each)) for each in BATCHES]
    for name in ("m", "n"):
        np.testing.assert_allclose(
            by_channel(report, name), np.mean([each[name] for each in rates], axis=0), rtol=1e-10
        )


HOOKS = {
    "of the linear map, scales": (lambda net: net.a.register_forward_hook(lambda _, __, z: 2 * z), NOT_LINEAR),
    "of the linear map, the same": (lambda net: net.a.register_forward_hook(lambda _, __, z: z), ""),
    "before normalization": (lambda net: net.m.register_forward_pre_hook(lambda _, z: (2 * z[0],)), NOT_LINEAR),
    "after normalization": (lambda net: net.m.register_forward_hook(lambda _, __, y: 2 * y), ""),
    "writes the output": (lambda net: net.a.register_forward_hook(lambda _, __, z: z.mul_(2)), NOT_LINEAR),
    "writes a view of it": (lambda net: net.a.register_forward_hook(lambda _, __, z: scaled(z[:, 0], z)), NOT_LINEAR),
    "writes past autograd": (lambda net: net.a.register_forward_hook(lambda _, __, z: scaled(z.data, z)), NOT_LINEAR),
}


def scaled(part, whole):
    with torch.no_grad():
        part.mul_(2)
    return whole


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_the_user(hook):
    add, reason = HOOKS[hook]
    model = Pair()
    add(model)
    report = measured(model)
    assert set(by_channel(report, "m", "reason")) == {reason}
    rates = [rates_by_autograd(model, lambda twin, x=x, t=t: cross_entropy(twin(x), t))["m"] for x, t in BATCHES]
    np.testing.assert_allclose(by_channel(report, "m"), np.mean(rates, axis=0), rtol=1e-10)


def test_output_that_is_overwritten_after_normalization_is_torch_s_error():
    def run(net, x):
        z = net.a(x)
        y = net.m(z)
        z.zero_()
        return y

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        measured(Pair(run))


def test_stochastic_depth_has_no_mean_over_the_batches_that_went_through():
    torch.manual_seed(1)
    model = Pair(lambda net, x: net.m(net.a(x)) + (net.n(net.b(x)) if torch.rand(()) < 0.5 else 0))
    report = measure(model, BATCHES * 5, cross_entropy)
    assert set(by_channel(report, "n", "reason")) == {NOT_ALWAYS_RUN}
    assert np.isfinite(by_channel(report, "m", "l2_rate")).all()


def test_parts_of_the_model_without_gradients():
    """Frozen features under no_grad or inference_mode, with a normalization that trains behind them."""
    for context in (torch.no_grad, torch.inference_mode):

        def run(net, x, context=context):
            with context():
                h = net.a(x)
            return net.n(net.b(h.clone()))

        report = measured(Pair(run))
        assert np.isfinite(by_channel(report, "n", "l2_rate")).all()


def test_large_mean_keeps_the_digits_that_batch_norm_keeps():
    model = Pair()
    model.a.bias.data += 1e6
    report = measured(model)
    rates = [rates_by_autograd(model, lambda twin, x=x, t=t: cross_entropy(twin(x), t)) for x, t in BATCHES]
    for name in ("m", "n"):
        np.testing.assert_allclose(
            by_channel(report, name), np.mean([each[name] for each in rates], axis=0), rtol=1e-12
        )
    np.testing.assert_allclose(
        by_channel(report, "m", "batch_var"), by_channel(expected(), "m", "batch_var"), rtol=1e-8
    )


@pytest.mark.parametrize("gamma", ["trains", "is frozen", "is missing"])
def test_checkpoint_around_functions(gamma):
    """No module runs again, and nothing can stand in for a gamma that is not there."""

    def normalized(net, x):
        weight = None if gamma == "is missing" else net.m.weight
        return F.batch_norm(F.linear(x, net.a.weight), None, None, weight, None, True)

    checkpointed, plain = Pair(lambda net, x: checkpoint(normalized, net, x, use_reentrant=False)), Pair(normalized)
    for model in (checkpointed, plain):
        model.m.requires_grad_(gamma != "is frozen")
    if gamma == "is missing":
        with pytest.raises(ValueError, match="model checkpoints what is not computed again as it was, such as"):
            measured(checkpointed)
    else:
        assert_alike(measured(checkpointed), measured(plain))


def test_normalization_of_two_views_by_one_layer_is_refused_by_its_reason():
    """As contrastive learning: two augmented copies through one network."""
    report = measured(Pair(), forward=lambda model, each: (model(each[0]) - model(each[0] + 1)).square().mean())
    assert set(report.reason) == {REPEATED}
