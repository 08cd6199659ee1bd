"""Every trained parameter is in one group, and what is printed of it is that of the optimizer."""

import pytest
import torch
from counting import drawn
from hypothesis import strategies as st
from metered import batch, cross_entropy
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from bnlib.decay import ParameterGroups, parameter_groups
from bnlib.folding import linked_layers
from bnlib.meter import measure
from bnlib.models import convolutional, network

DOUBLE = torch.float64


def grouped(model, batches=None, **options):
    """Group of each parameter's name, with a report if there are batches."""
    report = None if batches is None else measure(model, batches, cross_entropy)
    groups = parameter_groups(model, 5e-4, report=report, **options)
    return dict(zip(groups.to_frame().parameter, groups.to_frame().group)), groups


# Which parameter is in which group


class Everything(nn.Module):
    """A layer of every kind that there is a group for."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = weight_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = spectral_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)
        self.conv4, self.frozen = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.before_relu, self.after_relu = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.bypassing, self.bypassed = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.standardized, self.bn5 = Standardized(4, 4, 1), nn.BatchNorm2d(4)
        self.padding, self.bn6 = Padding(4, 4, 3), nn.BatchNorm2d(4)
        self.kernel, self.scale = nn.Parameter(torch.randn(4, 4, 1, 1)), nn.Parameter(torch.ones(4))
        self.layer_norm, self.group_norm = nn.LayerNorm(4), nn.GroupNorm(2, 4)
        self.embedding, self.temperature = nn.Embedding(3, 4), nn.Parameter(torch.tensor(1.0))
        self.head, self.direction = nn.Linear(4, 3), weight_norm(nn.Linear(4, 3))
        self.frozen.eval()

    def forward(self, x):
        x = torch.tanh(self.bn1(self.conv1(x)))
        x = torch.tanh(self.bn2(self.conv2(x)))
        x = torch.tanh(self.bn3(self.conv3(x)))
        x = torch.tanh(self.frozen(self.conv4(x)))
        x = self.after_relu(torch.relu(self.before_relu(x)))
        z = self.bypassing(x)
        x = self.bn5(self.standardized(torch.tanh(self.bypassed(z) + z)))
        x = self.group_norm(self.bn6(self.padding(x)))
        x = nn.functional.batch_norm(nn.functional.conv2d(x, self.kernel), None, None, self.scale, None, True)
        x = self.layer_norm(x.mean(dim=(2, 3))) + self.embedding.weight.sum(dim=0)
        x = nn.functional.batch_norm(x, None, None, training=True)
        return self.temperature * self.head(x) + self.direction(x)


class Standardized(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)


class Padding(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(nn.functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 5, 5, generator=generator), torch.randint(3, (8,), generator=generator)


def test_every_kind_is_told_with_a_report():
    model = Everything()
    kinds, groups = grouped(model, [images()])
    found = {group["name"]: groups.parameters[group["name"]] for group in groups}
    batch_norms = ("bn1", "bn2", "bn3", "after_relu", "bypassed", "bn5", "bn6")
    assert found == {
        "weights before BN": ["kernel", "conv1.weight", "conv2.parametrizations.weight.original0", "padding.weight"],
        "weights": [
            *("conv4.weight", "before_relu.weight", "bypassing.weight", "embedding.weight", "head.weight"),
            "direction.parametrizations.weight.original0",
        ],
        "weight-norm directions": [f"{name}.parametrizations.weight.original1" for name in ("conv2", "direction")],
        "parametrized weights": ["conv3.parametrizations.weight.original", "standardized.weight"],
        "gamma": ["scale", *(f"{name}.weight" for name in batch_norms)],
        "beta": [f"{name}.bias" for name in batch_norms],
        "gamma and beta of frozen BN": ["frozen.weight", "frozen.bias"],
        "biases before BN": ["conv1.bias", "conv2.bias", "conv3.bias"],
        "other norms": [f"{name}.{key}" for name in ("layer_norm", "group_norm") for key in ("weight", "bias")],
        "biases and scales": [
            *("temperature", "conv4.bias", "before_relu.bias", "bypassing.bias", "standardized.bias", "padding.bias"),
            *("head.bias", "direction.bias"),
        ],
    }
    assert kinds["kernel"] == "weights before BN"


def test_without_a_report_nothing_is_claimed_of_weights_and_biases():
    model = Everything()
    with_report, told = grouped(model, [images()], gamma_decay=0.1, bias_decay=0.2)
    without, untold = grouped(model, gamma_decay=0.1, bias_decay=0.2)
    assert not {"weights before BN", "biases before BN"} & set(without.values())
    for name in ("gamma", "beta", "gamma and beta of frozen BN", "other norms"):
        known = {parameter for parameter, group in with_report.items() if group == name} - {
            "scale"
        }  # in functional code
        assert {parameter for parameter, group in without.items() if group == name} == known
    decays = [frame.set_index("parameter").weight_decay.drop("scale") for frame in (told.to_frame(), untold.to_frame())]
    assert decays[0].sort_index().equals(decays[1].sort_index())
    assert "Which of these have BN behind them is not known: pass report=bnlib.measure(" in untold.effect("weights")
    assert "is not known" in untold.effect("biases and scales")
    assert "is not known" not in str(told)


def test_frozen_shared_and_evaluated():
    model = network((5, 4, 4, 3))
    model[3].weight = model[0].weight = nn.Parameter(torch.randn(4, 4))  # shared, each use before BN
    model[6].bias.requires_grad_(False)
    model.add_module("again", model[1])
    kinds, groups = grouped(model)
    assert groups.frozen == ["6.bias"]
    assert groups.tied == {"0.weight": ["3.weight"], "1.weight": ["again.weight"], "1.bias": ["again.bias"]}
    assert set(kinds) == {"0.weight", "1.weight", "1.bias", "4.weight", "4.bias", "6.weight"}
    assert "Left out, since frozen (requires_grad=False): 6.bias" in str(groups)
    assert "Shared, in a group once: 0.weight is also 3.weight;" in str(groups)
    kinds, _ = grouped(network((5, 4, 3)).eval(), [batch()])  # as a whole: it is measured, and decayed, as it trains
    assert kinds["1.weight"] == "gamma"


def test_what_was_frozen_when_measured_is_in_the_group_of_frozen_layers():
    model = network((5, 4, 4, 3))
    model[1].eval()
    report = measure(model, [batch()], cross_entropy)
    groups = parameter_groups(model.eval(), 0.1, report=report)
    assert groups.parameters["gamma and beta of frozen BN"] == ["1.weight", "1.bias"]
    assert groups.parameters["gamma"] == ["4.weight"]


def test_weight_that_has_batch_norm_behind_one_use_only_is_decayed_as_a_weight():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm, self.outer = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 5)
            self.outer.weight = self.inner.weight

        def forward(self, x):
            return self.outer(self.norm(self.inner(x)))

    model = Tied()
    kinds, _ = grouped(model, [batch(inputs=5)])
    assert kinds["inner.weight"] == "weights"


def test_weight_that_is_also_an_embedding_is_decayed_as_a_weight():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm, self.embedding = nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Embedding(3, 5)
            self.embedding.weight = self.linear.weight

        def forward(self, x):
            return self.norm(self.linear(x))  # the embedding is for another pass

    model = Tied()
    assert linked_layers(measure(model, [batch()], cross_entropy)) == {"norm": "linear"}
    kinds, groups = grouped(model, [batch()])
    assert kinds["linear.weight"] == "weights"
    assert groups.tied == {"linear.weight": ["embedding.weight"]}


SOME = [
    lambda: network((5, 4, 3)),
    lambda: network((5, 4, 4, 3), normalize_output=True),
    lambda: network((5, 4, 3), "weight"),
    lambda: network((5, 4, 3), "layer"),
    lambda: convolutional((2, 3), side=8),
    Everything,
]


@drawn(st.sampled_from(SOME), st.integers(0, 2**32 - 1), st.sampled_from(["sgd", "adam", "adamw", None]))
def test_property_every_trained_parameter_is_in_one_group(make, frozen, optimizer):
    model = make()
    parameters = list(model.parameters())
    for place, parameter in enumerate(parameters):
        parameter.requires_grad_(place == 0 or not frozen >> (place % 32) & 1)
    groups = parameter_groups(model, 1e-3, gamma_decay=1e-2, bias_decay=1e-4, optimizer=optimizer)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in parameters if parameter.requires_grad)
    assert len(groups.frozen) == sum(not parameter.requires_grad for parameter in parameters)
    assert len({group["name"] for group in groups}) == len(groups)
    trained = torch.optim.SGD(groups, lr=0.1, weight_decay=7.0)
    assert 7.0 not in [group["weight_decay"] for group in trained.param_groups]
    assert all(group["name"] in str(groups) for group in groups)


# What is printed


@pytest.mark.parametrize(
    ("optimizer", "name", "words"),
    [
        ("sgd", "weights before BN", "A step size, not a penalty: .* lr / |w|^2 (theorem depth"),
        ("adam", "weights before BN", "so it also turns w"),
        (torch.optim.AdamW, "weights before BN", "about lr / |w| (theorem depth"),
        (
            "sgd",
            "gamma",
            "A rate: at rest lambda = 0.25 in every channel, .* homogeneous activation, decay sets no rate",
        ),
        (torch.optim.Adam, "gamma", "A rate: at rest lambda = 0.25 .* nearly so on mini-batches"),
        ("adamw", "gamma", "No rate: at rest lambda = eps 0.25 / (1 - 0.25 |gamma|) .* above 4 it stops there"),
        (
            None,
            "gamma",
            "Under SGD, .* a rate: at rest lambda = 0.25 .* Under AdamW none: .* unless |gamma| ends at 4.",
        ),
        ("sgd", "biases before BN", "No effect on any output in training"),
        (torch.optim.SGD, "weights", "A penalty: 0.0005 / 2 times their squared length .* it is a step size, too"),
        ("adamw", "weights", "No penalty on the loss: at rest decay keeps every entry within 2000 of zero"),
        ("sgd", "other norms", "decay is a step size for the layer as a whole, not unit by unit"),
        ("sgd", "gamma and beta of frozen BN", "With fixed statistics BN sets no rate"),
    ],
)
def test_the_account_is_that_of_the_optimizer(optimizer, name, words):
    model = Everything()
    _, groups = grouped(model, [images()], gamma_decay=0.25, bias_decay=0.1, optimizer=optimizer)
    place = 0
    for part in words.split(" .* "):
        assert part in groups.effect(name)[place:], groups.effect(name)
        place = groups.effect(name).index(part, place) + len(part)
    assert groups.effect(name)[:40] in " ".join(str(groups).split())
    assert ("another BN" in groups.effect("gamma")) is (groups.optimizer != "adamw")


def test_no_decay_is_said_too():
    _, groups = grouped(network((5, 4, 3)), [batch()])
    assert groups.effect("gamma").startswith("Not decayed: a learned gamma goes to where the rate lambda is 0")
    assert groups.effect("beta") == "Not decayed."
    groups[0]["weight_decay"] = 0.0  # a group's own, changed by hand, is what is printed
    assert "weights before BN: weight_decay 0, 1 tensor of 20 numbers\n    Not decayed" in repr(groups)
    assert isinstance(groups, ParameterGroups)
    with pytest.raises(ValueError, match="name = 'gama' is unknown; it must be one of 'weights before BN', 'weights'"):
        groups.effect("gama")


# What is refused

MODEL = network((5, 4, 3))
OTHER = measure(network((5, 6, 3)), [batch()], cross_entropy)
FIXED = network((5, 4, 3)).requires_grad_(False)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("resnet18", 0.1), {}, "model is a str; it must be a torch.nn.Module"),
        ((MODEL, -0.1), {}, "weight_decay = -0.1 is negative; it must be at least 0"),
        ((MODEL, 0.1), {"gamma_decay": -1}, "gamma_decay = -1 is negative; it must be at least 0"),
        ((MODEL, 0.1), {"bias_decay": float("nan")}, "bias_decay has 1 non-finite value"),
        ((MODEL, [0.1, 0.2]), {}, r"weight_decay = \[0.1, 0.2\] is not right; it must be one number"),
        (
            (MODEL, 0.1),
            {"optimizer": "lamb"},
            "optimizer = 'lamb' is unknown; it must be one of adam, adamw, sgd, AdamW",
        ),
        ((MODEL, 0.1), {"optimizer": torch.optim.Adagrad}, "optimizer = Adagrad is unknown"),
        ((MODEL, 0.1), {"optimizer": 3}, "optimizer = 3 is unknown"),
        ((MODEL, 0.1), {"report": OTHER}, "report has 6 channels of layer '1', model has 4"),
        ((MODEL, 0.1), {"report": OTHER.to_frame()}, "report is a DataFrame; it must be what bnlib.measure returns"),
        ((FIXED, 0.1), {}, r"model \(Sequential\) has nothing to train; a parameter must require a gradient"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        parameter_groups(*arguments, **options)
