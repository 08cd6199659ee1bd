"""The twin without batch normalization is the same function; what cannot be removed stays and is named."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from instances import same
from metered import assert_as_found, batch, cross_entropy, snapshot
from torch import nn
from torch.nn.utils import prune
from twinned import DOUBLE, KINDS, pair, randomize, removed

from bnlib.meter import measure
from bnlib.models import network
from bnlib.removal import remove_batch_norm

# The twin is the same function


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_twin_is_the_model_in_evaluation(kind, affine):
    model, x, labels = pair(kind)
    if not affine:
        model[1] = type(model[1])(model[1].num_features, affine=False).double()
        randomize(model[1], torch.Generator().manual_seed(3))
    report = measure(model, [(x, labels)], cross_entropy)
    before = snapshot(model)
    twin, penalty = removed(model, report)
    assert_as_found(model, before)
    assert isinstance(twin[1], nn.Identity)
    assert twin[0].weight.requires_grad
    assert twin[0].bias.requires_grad is affine
    same(twin(x).detach(), model.eval()(x).detach(), rtol=1e-14)
    assert penalty.kept == {}
    assert type(twin[0]) is nn.utils.parametrize.type_before_parametrizations(model[0])


class Fused(nn.BatchNorm2d):
    """As timm's: normalizes, drops and activates."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Dropout2d(0.3), nn.ReLU6()

    def forward(self, x):
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return self.act(self.drop(x))


class Rectified(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class Shifted(nn.BatchNorm2d):
    """Its scale is 1 + weight."""

    def forward(self, x):
        scale = 1 + self.weight
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, scale, self.bias, self.training)


class Same(nn.Conv2d):
    """Pads by itself; its weight is its weight."""

    def forward(self, x):
        return self._conv_forward(nn.functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Standardized(nn.Conv2d):
    """Its weight is standardized at each pass: a folded one would be, again."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)


class Residual(nn.Module):
    """Layers that can be removed, and one of each kind that cannot."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Same(3, 4, 3), Fused(4))
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.pre = nn.BatchNorm2d(4)
        self.conv3, self.rectified = nn.Conv2d(4, 4, 1), Rectified(4)
        self.conv4, self.shifted = nn.Conv2d(4, 4, 1), Shifted(4)
        self.conv5, self.after_standardized = Standardized(4, 4, 3), nn.BatchNorm2d(4)
        self.conv6, self.frozen = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.conv7, self.bypassed = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.conv8, self.hooked = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.conv9, self.forgetful = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
        self.conv10, self.conv11, self.tied = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.conv11.weight = self.conv10.weight
        self.conv12, self.pruned = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        prune.l1_unstructured(self.conv12, "weight", 0.3)
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)
        self.hooked.register_forward_hook(lambda module, inputs, output: output + 1)
        self.again = self.bn1  # one module by two names
        self.frozen.eval()

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.bn2(self.conv2(torch.relu(self.again(self.conv1(x))))))
        for conv, norm in (
            *((self.conv3, self.rectified), (self.conv4, self.shifted), (self.conv5, self.after_standardized)),
            *((self.conv6, self.frozen), (self.conv8, self.hooked), (self.conv9, self.forgetful)),
            *((self.conv11, self.tied), (self.conv12, self.pruned)),
        ):
            x = norm(conv(torch.tanh(x)))
        z = self.conv7(torch.tanh(self.pre(x)))
        x = nn.functional.batch_norm(self.bypassed(z) + z, None, None, self.scale, None, True)
        return self.head(nn.functional.batch_norm(x.mean(dim=(2, 3)), None, None, training=True))


def test_torch_network_with_all_that_stays():
    model = Residual().double()
    x, labels = torch.randn(8, 3, 9, 9, dtype=DOUBLE), torch.randint(3, (8,))
    for _ in range(3):
        model(torch.randn(8, 3, 9, 9, dtype=DOUBLE))
    twin, penalty = removed(model, measure(model, [(x, labels)] * 2, cross_entropy))
    assert [layer.layer for layer in penalty.layers] == ["stem.1", "bn1", "bn2"]
    assert {name: why.split(",")[0] for name, why in penalty.kept.items()} == {
        "pre": "not after a linear map",
        "rectified": "it",
        "shifted": "it",
        "after_standardized": "it",
        "frozen": "in evaluation mode",
        "bypassed": "its input is used elsewhere too",
        "hooked": "it has hooks",
        "forgetful": "it keeps no running statistics",
        "tied": "the map before it shares its weight",
        "pruned": "the map before it computes its weight anew at each pass",
        "scale": "it is no module of its own",
        "batch_norm": "it is no module of its own",
    }
    assert "Still there:\n  pre: not after a linear map" in str(penalty)
    assert type(twin.stem[1]) is nn.Sequential
    assert [type(module) for module in twin.stem[1]] == [nn.Dropout2d, nn.ReLU6]
    assert type(twin.again) is type(twin.bn1) is type(twin.bn2) is nn.Identity
    assert [layer.module for layer in penalty.layers] == [twin.stem[0], twin.conv1, twin.conv2]
    same(twin(x).detach(), model.eval()(x).detach(), rtol=1e-13)


def test_control_subclass_folded_without_what_it_fuses_is_another_function():
    model, _, _ = pair("conv2d")
    model[1] = Fused(4).double()
    x, labels = torch.randn(24, 3, 6, 5, dtype=DOUBLE), torch.randint(3, (24,))
    twin, _ = removed(model, measure(model, [(x, labels)], cross_entropy))
    same(twin(x).detach(), model.eval()(x).detach(), rtol=1e-14)
    twin[1] = nn.Identity()
    with pytest.raises(AssertionError, match="differ by"):
        same(twin(x).detach(), model(x).detach(), rtol=1e-2)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_torch_wrapped_models_have_twins(wrap):
    model, x, labels = pair("linear")
    wrapped = wrap(model)
    twin, _ = removed(wrapped, measure(wrapped, [(x, labels)], cross_entropy))
    same(twin(x).detach(), model.eval()(x).detach(), rtol=1e-14)


# What is refused

X, LABELS = batch()
MODEL = network((5, 4, 3))
REPORT = measure(MODEL, [(X, LABELS)], cross_entropy)
GROUPED, GROUPED_X, GROUPED_LABELS = pair("grouped")
GROUPED_REPORT = measure(GROUPED, [(GROUPED_X, GROUPED_LABELS)], cross_entropy)
DEEPER = measure(network((5, 4, 4, 3)), [(X, LABELS)], cross_entropy)
RESCALED = copy.deepcopy(MODEL)
RESCALED[1].weight.data *= 1.01
ACTIVATED = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 3))
ACTIVATED_REPORT = measure(ACTIVATED, [(X, LABELS)], cross_entropy)
NAMED = {
    name: nn.Sequential(OrderedDict({name: nn.Linear(5, 3), "norm": nn.BatchNorm1d(3)})) for name in ("linear", "other")
}
NAMED_REPORT = measure(NAMED["linear"], [(X, LABELS)], cross_entropy)
SKEWED = np.eye(5) + np.eye(5, k=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet18", REPORT), "model is a str; it must be a torch.nn.Module"),
        ((MODEL, {"rate": 1}), "report is a dict; it must be what bnlib.measure returns"),
        ((network((5, 4, 4, 3)), REPORT), "report has 0 channels of layer '4', model has 4"),
        ((network((5, 4, 3), "none"), REPORT), "report has a layer '1', model has none"),
        ((MODEL, DEEPER), "report has a layer '4', model has none; it must be measured on this model"),
        (
            (NAMED["other"], NAMED_REPORT),
            "report has a linear map 'linear', model has none; it must be measured on this",
        ),
        ((network((5, 6, 3)), REPORT), "report has 4 channels of layer '1', model has 6"),
        ((RESCALED, REPORT), "report has other scales gamma of layer '1' than model: .* measure again"),
        ((ACTIVATED, ACTIVATED_REPORT), "no batch normalization that can be folded .*: 2: not after a linear map"),
        (
            (MODEL, REPORT, {"1": np.eye(5)}),
            "covariances has '1', which is no linear map that is folded; those are '0'",
        ),
        ((MODEL, REPORT, {"0": np.eye(4)}), r"covariances\['0'\] has shape \(4, 4\); it must be \(5, 5\)"),
        ((MODEL, REPORT, {"0": SKEWED}), r"covariances\['0'\] is not symmetric"),
        ((MODEL, REPORT, {"0": np.full((5, 5), np.nan)}), r"covariances\['0'\] has 25 non-finite"),
        (
            (GROUPED, GROUPED_REPORT, {"0": torch.eye(18)}),
            r"covariances\['0'\] has shape \(18, 18\); it must be \(2, 18, 18\)",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        remove_batch_norm(*arguments)


def test_float32_covariance_may_be_asymmetric_by_rounding():
    sigma = torch.cov(torch.randn(5, 100, generator=torch.Generator().manual_seed(0)), correction=0)
    sigma[0, 1] *= 1 + 1e-6
    _, penalty = removed(MODEL, REPORT, {"0": sigma})
    assert torch.isfinite(penalty())
