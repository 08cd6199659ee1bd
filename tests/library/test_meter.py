"""The meter leaves a model as it found it, knows what it can measure, and measures convolutions by their patches."""

import copy

import numpy as np
import pytest
import torch
from instances import net, same
from metered import assert_as_found, batch, cross_entropy, snapshot
from torch import nn

from bnlib.meter import COLUMNS, measure
from bnlib.models import convolutional, network


def mixed_model():
    model = network((5, 6, 4, 3), normalize_output=True)
    model.append(nn.Dropout(0.5))
    model(batch()[0])  # running statistics and a counter that are not the initial ones
    model.eval()
    model[4].train()  # a mixture of modes
    return model


def test_model_is_left_exactly_as_found():
    model = mixed_model()
    parameters = {name: id(parameter) for name, parameter in model.named_parameters()}
    before = snapshot(model)
    measure(model, [batch(), batch(seed=1)], cross_entropy)
    assert_as_found(model, before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == parameters
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_existing_gradients_are_kept():
    model = mixed_model()
    cross_entropy(model(batch()[0]), batch()[1]).backward()
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    measure(model, [batch(seed=2)], cross_entropy)
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(model.parameters(), grads))


@pytest.mark.parametrize("failure", ["loss", "empty", "one row"])
def test_model_is_left_as_found_when_something_fails(failure):
    model = mixed_model()
    before = snapshot(model)

    def broken_loss(output, labels):
        raise RuntimeError("loss")

    batches = {"loss": [batch()], "empty": [], "one row": [batch(), batch(rows=1)]}[failure]
    with pytest.raises((RuntimeError, ValueError)):
        measure(model, batches, broken_loss if failure == "loss" else cross_entropy)
    assert_as_found(model, before)


def test_measuring_twice_is_the_same_and_works_without_grad():
    model = mixed_model()
    first = measure(model, [batch()], lambda output, labels: output.square().mean())
    with torch.no_grad():
        second = measure(network((5, 4, 3)), [batch()], cross_entropy)
    assert np.isfinite(second.rate).all()
    model[-1].p = 0.0
    third, fourth = (measure(model, [batch()], cross_entropy) for _ in range(2))
    assert (third.rate == fourth.rate).all()
    assert (third.l2_rate == fourth.l2_rate).all()
    assert first.rate.shape == third.rate.shape


def test_in_place_activation_changes_nothing():
    outside, inside = net(4, activation=nn.ReLU), net(4, activation=nn.ReLU)
    for layer in inside.layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    reports = [measure(case.layers, [(case.inputs, case.labels)], case.loss_fn) for case in (outside, inside)]
    assert (reports[0].rate == reports[1].rate).all()
    assert (reports[0].l2_rate == reports[1].l2_rate).all()


def test_affine_false_is_gamma_one():
    case = net(5, depth=2)
    for position in case.pairs:
        norm = case.layers[position + 1]
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    with_affine = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    for position in case.pairs:
        case.layers[position + 1] = nn.BatchNorm1d(case.layers[position + 1].num_features, affine=False).double()
    without = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    for name in COLUMNS[1:]:
        same(getattr(without, name), getattr(with_affine, name), rtol=1e-13)


@pytest.mark.parametrize("frozen", ["gamma", "everything", "everything but the read-out"])
def test_frozen_parameters_are_measured_all_the_same(frozen):
    case = net(6, depth=2)
    free = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    for name, parameter in case.layers.named_parameters():
        norms = isinstance(case.layers[int(name.split(".")[0])], nn.BatchNorm1d)
        last = name.startswith(f"{len(case.layers) - 1}.")
        parameter.requires_grad_(not (norms if frozen == "gamma" else frozen == "everything" or not last))
    report = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    same(report.rate, free.rate, rtol=1e-14)
    same(report.l2_rate, free.l2_rate, rtol=1e-14)


def test_inputs_that_require_grad_keep_none():
    inputs, labels = batch()
    inputs.requires_grad_()
    measure(network((5, 4, 3)), [(inputs, labels)], cross_entropy)
    assert inputs.grad is None


class Nested(nn.Module):
    """Pairs inside submodules, run in another order than they are registered; the layers between are not pairs."""

    def __init__(self):
        super().__init__()
        self.tail = nn.ModuleDict({"norm": nn.BatchNorm1d(3), "linear": nn.Linear(4, 3)})
        self.head = nn.Sequential(nn.Sequential(nn.Linear(5, 4)), nn.BatchNorm1d(4))
        self.middle = nn.Linear(4, 4)
        self.after_activation = nn.BatchNorm1d(4)
        self.first = nn.BatchNorm1d(5)

    def forward(self, x):
        h = torch.tanh(self.head(self.first(x)))
        h = self.after_activation(torch.relu(self.middle(h)))
        return self.tail["norm"](self.tail["linear"](h))


def test_nested_modules_and_only_direct_pairs():
    report = measure(Nested(), [batch()], cross_entropy)
    assert report.layer == ("head.0.0",) * 4 + ("tail.linear",) * 3
    assert report.channel.tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_gamma_zero_is_nan_and_the_others_are_not():
    model = network((5, 4, 3))
    model[1].weight.data[2] = 0.0
    report = measure(model, [batch()], cross_entropy)
    assert np.isnan(report.rate).tolist() == [False, False, True, False]
    assert np.isnan(report.l2_rate).tolist() == [False, False, True, False]
    assert report.gamma[2] == report.effective_norm[2] == 0
    layers = report.by_layer()
    assert layers["channels"].tolist() == [3]
    assert layers["rate"][0] == pytest.approx(np.delete(report.rate, 2).mean(), rel=1e-14)


def test_zero_weights_have_a_rate_and_no_l2_rate():
    model = network((5, 4, 3))
    model[0].weight.data[1] = 0.0
    report = measure(model, [batch()], cross_entropy)
    assert np.isnan(report.l2_rate).tolist() == [False, True, False, False]
    assert report.rate[1] == 0
    assert report.weight_norm[1] == 0
    assert report.batch_var[1] == pytest.approx(0.0, abs=1e-20)


def test_average_over_batches_is_weighted_by_their_lengths():
    model = network((5, 4, 3)).double()
    batches = [(inputs.double(), labels) for inputs, labels in (batch(8), batch(24, seed=1), batch(2, seed=2))]
    alone = [measure(model, [each], cross_entropy) for each in batches]
    together = measure(model, iter(batches), cross_entropy)
    for name in COLUMNS[2:]:
        mean = np.average([getattr(report, name) for report in alone], axis=0, weights=[8, 24, 2])
        same(getattr(together, name), mean, rtol=1e-13)


def test_rate_of_float32_model_is_that_of_float64():
    single = network((5, 8, 3), seed=3)
    double = copy.deepcopy(single).double()
    inputs, labels = batch()
    report, exact = (
        measure(model, [(x, labels)], cross_entropy) for model, x in ((single, inputs), (double, inputs.double()))
    )
    same(report.rate, exact.rate, rtol=1e-5)
    same(report.l2_rate, exact.l2_rate, rtol=1e-5)
    assert report.rate.dtype == np.float64


def test_frame_has_one_row_a_channel():
    frame = measure(network((5, 6, 4, 3), normalize_output=True), [batch()], cross_entropy).to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame.groupby("layer", sort=False).size().to_dict() == {"0": 6, "3": 4, "6": 3}
    assert frame.notna().all(axis=None)


def test_no_running_statistics_and_cumulative_average():
    for options in ({"track_running_stats": False}, {"momentum": None}):
        model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, **options), nn.ReLU(), nn.Linear(4, 3))
        before = snapshot(model)
        assert np.isfinite(measure(model, [batch()], cross_entropy).rate).all()
        assert_as_found(model, before)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        return self.norm(self.linear(self.norm(self.linear(x))))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.linear(x[:, None].expand(-1, 3, -1))).mean(dim=1)


class Across(nn.Module):
    """A convolution of one sequence without a batch dimension: its channels pass for rows."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(5, 32, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.conv(x[:5].T))


@pytest.mark.parametrize(
    "model, batches, message",
    [
        (network((5, 4, 3), "none"), [batch()], r"model \(Sequential\) has no Linear or convolution .* BatchNorm1d"),
        (convolutional((2,), "none"), [batch(inputs=784)], "straight into a BatchNorm1d or BatchNorm2d"),
        (Across(), [batch()], r"'conv' with output of shape \(32, 3\); it must be \(batch, channels, positions\)"),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.BatchNorm1d(4)), [batch()], "nothing to measure"),
        (network((5, 4, 3)), [], r"batches is empty; give at least one \(inputs, targets\)"),
        (network((5, 4, 3)), [batch(rows=1)], r"batches holds a batch of 1 row\(s\); .* at least 2"),
        (Twice(), [batch()], "model runs layer 'linear' more than once"),
        (Sequence(), [batch()], r"'linear' with output of shape \(32, 3, 4\); it must be \(batch, channels\)"),
    ],
    ids=[
        "none",
        "bare convolution",
        "no batch dimension",
        "activation between",
        "no batch",
        "one row",
        "shared layer",
        "three dimensions",
    ],
)
def test_what_cannot_be_measured_is_refused(model, batches, message):
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        measure(model, batches, cross_entropy)
    assert_as_found(model, before)


def test_in_place_activation_before_the_normalization_makes_no_pair():
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU(inplace=True), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(model, [batch()], cross_entropy)


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(input=self.linear(x))


def test_normalization_called_by_keyword_is_found():
    assert measure(Keyword(), [batch()], cross_entropy).layer == ("linear",) * 3


class Alternating(nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)) for _ in range(2))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.branches[self.calls % 2](x)


def test_pair_that_skips_a_batch_is_refused():
    with pytest.raises(ValueError, match="every batch must go through the same layers"):
        measure(Alternating(), [batch(), batch()], cross_entropy)


def test_variance_far_below_eps_keeps_its_digits():
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, eps=1e-2)).double()
    model[0].weight.data *= 1e-6
    x, t = batch()
    expected = model[0](x.double()).var(dim=0, unbiased=False).detach().numpy()
    np.testing.assert_allclose(measure(model, [(x.double(), t)], cross_entropy).batch_var, expected, rtol=1e-10)
