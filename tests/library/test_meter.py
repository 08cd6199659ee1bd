"""The meter's contract: a row a channel in the model's order, means over batches, and refusals in one sentence."""

import collections
import copy
import math

import numpy as np
import pytest
import torch
from instances import net, same
from metered import assert_as_found, batch, cross_entropy, images, snapshot
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnlib
from bnlib.meter import measure
from bnlib.models import convolutional, network
from bnlib.recorder import NOT_LINEAR
from bnlib.report import COLUMNS

NUMBERS = ("gamma", "weight_norm", "batch_var", "rate", "rate_error", "l2_rate", "l2_rate_error")


def two():
    return [batch(), batch(seed=1)]


def test_front_door_has_the_meter():
    assert bnlib.measure is measure
    assert isinstance(measure(network((5, 4, 3)), two(), cross_entropy), bnlib.Report)


def test_frame_has_one_row_a_channel():
    report = measure(network((5, 6, 4, 3), normalize_output=True), two(), cross_entropy)
    frame = report.to_frame()
    assert tuple(frame.columns) == COLUMNS == ("layer", "linear", "channel", *NUMBERS, "reason")
    assert frame.groupby("layer", sort=False).size().to_dict() == {"1": 6, "4": 4, "7": 3}
    assert frame.groupby("layer").linear.unique().map(list).to_dict() == {"1": ["0"], "4": ["3"], "7": ["6"]}
    assert frame.groupby("layer", sort=False).channel.apply(list).tolist() == [list(range(n)) for n in (6, 4, 3)]
    assert frame.notna().all(axis=None)
    assert all(isinstance(getattr(report, name), np.ndarray) for name in NUMBERS)
    assert all(getattr(report, name).dtype == np.float64 for name in NUMBERS)


class Nested(nn.Module):
    """Pairs inside submodules, run in another order than they are registered; one layer is never run."""

    def __init__(self):
        super().__init__()
        self.tail = nn.ModuleDict({"norm": nn.BatchNorm1d(3), "linear": nn.Linear(4, 3)})
        self.head = nn.Sequential(nn.Sequential(nn.Linear(5, 4)), nn.BatchNorm1d(4))
        self.middle, self.unused = nn.Linear(4, 4), nn.BatchNorm2d(2)
        self.after_activation = nn.BatchNorm1d(4)
        self.first = nn.BatchNorm1d(5)

    def forward(self, x):
        h = torch.tanh(self.head(self.first(x)))
        h = self.after_activation(torch.relu(self.middle(h)))
        return self.tail["norm"](self.tail["linear"](h))


def test_every_layer_is_there_in_the_order_of_the_model():
    report = measure(Nested(), two(), cross_entropy)
    layers = report.by_layer().set_index("layer")
    assert layers.linear.to_dict() == {
        "tail.norm": "tail.linear",
        "head.1": "head.0.0",
        "unused": "",
        "after_activation": "",
        "first": "",
    }
    assert list(layers.index) == list(dict.fromkeys(report.layer))
    assert layers.channels.tolist() == [3, 4, 2, 4, 5]
    assert layers.measured.tolist() == [3, 4, 0, 4, 5]
    assert layers.reason["unused"] == "did not run"
    assert layers.reason["first"] == NOT_LINEAR


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
    assert with_affine.layer == without.layer
    for name in ("gamma", "weight_norm", "batch_var", "rate", "l2_rate", "effective_norm"):
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
    assert report.reason == free.reason
    same(report.rate, free.rate, rtol=1e-14)
    same(report.l2_rate, free.l2_rate, rtol=1e-14)


def test_rate_of_float32_model_is_that_of_float64():
    single = network((5, 8, 3), seed=3)
    double = copy.deepcopy(single).double()
    inputs, labels = batch()
    report, exact = (
        measure(model, [(x, labels)], cross_entropy) for model, x in ((single, inputs), (double, inputs.double()))
    )
    same(report.rate, exact.rate, rtol=1e-5)
    same(report.l2_rate, exact.l2_rate, rtol=1e-5)


def test_variance_far_below_eps_keeps_its_digits():
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, eps=1e-2)).double()
    model[0].weight.data *= 1e-6
    x, t = batch()
    expected = model[0](x.double()).var(dim=0, unbiased=False).detach().numpy()
    np.testing.assert_allclose(measure(model, [(x.double(), t)], cross_entropy).batch_var, expected, rtol=1e-10)


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(input=self.linear(input=x))


def test_layers_called_by_keyword_are_found():
    report = measure(Keyword(), two(), cross_entropy)
    assert set(zip(report.layer, report.linear, report.reason)) == {("norm", "linear", "")}


def test_a_loss_may_be_one_number_in_any_shape():
    expected = measure(network((5, 4, 3)), two(), cross_entropy)
    shaped = measure(network((5, 4, 3)), two(), lambda output, labels: cross_entropy(output, labels).reshape(1, 1))
    assert (shaped.rate == expected.rate).all()


Sample = collections.namedtuple("Sample", "inputs targets")


def test_a_pair_may_be_a_list_or_have_names():
    for batches in ([Sample(*pair) for pair in two()], [list(pair) for pair in two()]):
        assert (measure(network((5, 4, 3)), batches, cross_entropy).rate_error > 0).all()


def test_a_dead_channel_has_the_rate_zero_and_is_named():
    model = network((5, 4, 3))
    model[3].weight.data[:, 2] = 0.0  # nobody looks at it
    report = measure(model, two(), cross_entropy)
    assert report.rate[2] == report.l2_rate[2] == 0
    assert not np.signbit(report.rate[2])
    assert "At exactly 0, since constant or without a gradient: 1 channel (1)." in report.coverage()


class Checkpointed(nn.Module):
    """A normalization before, so that its gradient needs the checkpoint; or none that it could reach."""

    def __init__(self, before):
        super().__init__()
        self.before = network((5, 5)) if not before else nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))
        self.body, self.last = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(checkpoint(self.body, self.before(x), use_reentrant=True))


def spread():
    model = nn.DataParallel(network((5, 4, 3)))
    model.device_ids = [0, 1]
    return model


def half(dtype):
    return network((5, 4, 3)).to(dtype), [(x.to(dtype), t) for x, t in two()]


def traced():
    return torch.jit.trace(network((5, 4, 3)), (batch()[0],))


REFUSED = {
    "no normalization": (
        lambda: (network((5, 4, 3), "none"), two(), cross_entropy),
        r"model \(Sequential\) has no batch normalization; there is nothing to measure",
    ),
    "a convolution without": (
        lambda: (convolutional((2,), "none"), [batch(inputs=784)], cross_entropy),
        "has no batch normalization",
    ),
    "no module": (lambda: (torch.tanh, two(), cross_entropy), r"model is a builtin.*; it must be a torch.nn.Module"),
    "no batch": (lambda: (network((5, 4, 3)), [], cross_entropy), "batches is empty; give at least one"),
    "no batch left": (lambda: (network((5, 4, 3)), iter([]), cross_entropy), "batches is empty"),
    "one row": (
        lambda: (network((5, 4, 3)), [batch(), batch(rows=1)], cross_entropy),
        r"batches holds a batch that leaves layer '1' one value a channel \(shape \(1, 4\)\); .* at least 2",
    ),
    "one pixel": (
        lambda: (
            nn.Sequential(nn.Conv2d(3, 2, 6), nn.BatchNorm2d(2), nn.Flatten()).double(),
            [images(rows=1)],
            cross_entropy,
        ),
        r"one value a channel \(shape \(1, 2, 1, 1\)\)",
    ),
    "a loss for each row": (
        lambda: (network((5, 4, 3)), two(), lambda *pair: cross_entropy(*pair, reduction="none")),
        r"the loss of batch 1 is no scalar but shape \(32,\); it must be one number, a mean over the batch",
    ),
    "a dict of losses": (
        lambda: (network((5, 4, 3)), two(), lambda *pair: {"first": cross_entropy(*pair)}),
        r"is no scalar but dict; .*: where the model gives more, forward=lambda model, batch: … can add it up",
    ),
    "a number for a loss": (
        lambda: (network((5, 4, 3)), two(), lambda *pair: cross_entropy(*pair).item()),
        "is no scalar but float",
    ),
    "NaN": (
        lambda: (network((5, 4, 3)), two(), lambda output, _: output.sum() * math.nan),
        "the loss of batch 1 is nan; it must be finite",
    ),
    "infinite": (
        lambda: (network((5, 4, 3)), two(), lambda output, _: output.sum() / 0),
        "the loss of batch 1 is -?inf; it must be finite",
    ),
    "half precision": (
        lambda: (*half(torch.float16), cross_entropy),
        "model computes '1' in float16: the small gradients .* measure in float32 or float64, or under autocast to bf",
    ),
    "bfloat16": (lambda: (*half(torch.bfloat16), cross_entropy), "model computes '1' in bfloat16"),
    "traced": (lambda: (traced(), two(), cross_entropy), "model is TorchScript; give the module that was"),
    "traced in part": (
        lambda: (nn.Sequential(traced()), two(), cross_entropy),
        "model holds '0' as TorchScript; give the module that was",
    ),
    "several devices": (
        lambda: (spread(), two(), cross_entropy),
        "model is spread over 2 devices, each with its own batch statistics; give model.module and batches of the len",
    ),
    "not built": (
        lambda: (nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3)), two(), cross_entropy),
        r"model has not built '0' \(LazyLinear\) yet; run one batch through it first",
    ),
    "statistics not built": (
        lambda: (nn.Sequential(nn.Linear(5, 3), nn.LazyBatchNorm1d(affine=False)), two(), cross_entropy),
        r"model has not built '1' \(LazyBatchNorm1d\) yet",
    ),
    "reentrant checkpoint": (
        lambda: (Checkpointed(before=True), two(), cross_entropy),
        r"model checkpoints with use_reentrant=True, which hides its gradients; measure with .*use_reentrant=False\)",
    ),
    "reentrant checkpoint of all": (
        lambda: (Checkpointed(before=False), two(), cross_entropy),
        "model checkpoints with use_reentrant=True",
    ),
    "a dict for loss_fn": (
        lambda: (network((5, 4, 3)), [{"x": batch()[0]}], cross_entropy),
        r"batches holds a dict; loss_fn needs \(inputs, targets\): for anything else give forward=lambda model, batch: …",
    ),
    "three parts for loss_fn": (
        lambda: (network((5, 4, 3)), [(*batch(), 1)], cross_entropy),
        r"batches holds a tuple of 3; loss_fn needs \(inputs, targets\)",
    ),
    "a tensor without loss_fn": (
        lambda: (network((5, 4, 3)), [batch()[0]], None),
        "batches holds a Tensor; without loss_fn it must be a dict or a tuple of arguments",
    ),
    "no loss in what the model returns": (
        lambda: (network((5, 4, 3)), [(batch()[0],)], None),
        r"the loss of batch 1 is no scalar but shape \(32, 3\)",
    ),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_is_refused(name):
    make, message = REFUSED[name]
    model, batches, loss_fn = make()
    comparable = isinstance(model, nn.Module) and "built" not in name and "traced" not in name
    before = snapshot(model) if comparable else {}
    with pytest.raises(ValueError, match=message):
        measure(model, batches, loss_fn)
    if comparable:
        assert_as_found(model, before)


def test_float16_autocast_is_refused():
    model = network((5, 4, 3))
    with torch.autocast("cpu", torch.float16), pytest.raises(ValueError, match="model computes '1' in float16"):
        measure(model, two(), cross_entropy)


def test_process_group_is_refused(monkeypatch):
    model = nn.SyncBatchNorm.convert_sync_batchnorm(network((5, 4, 3)))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match="model synchronizes '1' over 4 processes, .* batches of the length of all of"):
        measure(model, two(), cross_entropy)
    measure(network((5, 4, 3)), two(), cross_entropy)  # each process has its own batches: nothing to refuse


@pytest.mark.parametrize(
    "options, message",
    [
        ({"forward": lambda model, _: 0}, "loss_fn and forward are both given; forward.* already gives the loss"),
        ({"batches_at_most": 0}, "batches_at_most = 0 is not right; it must be a whole number above 0"),
        ({"batches_at_most": 1.5}, "batches_at_most = 1.5"),
        ({"relative_error": 0}, "relative_error = 0 is not right; it must be a number above 0"),
        ({"relative_error": math.nan}, "relative_error = nan"),
    ],
)
def test_wrong_options_are_refused_before_a_batch_is_drawn(options, message):
    batches = iter(two())
    with pytest.raises(ValueError, match=message):
        measure(network((5, 4, 3)), batches, cross_entropy, **options)
    assert len(list(batches)) == 2


def test_what_the_loss_raises_comes_through():
    with pytest.raises(ZeroDivisionError):
        measure(network((5, 4, 3)), two(), lambda *_: 1 / 0)
