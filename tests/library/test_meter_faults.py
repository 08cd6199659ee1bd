"""What the meter once got wrong without a word, case by case: against autograd's own -(dJ/dgamma)/gamma, or a reason."""

import collections
import copy
import types

import numpy as np
import pytest
import torch
from metered import assert_as_found, batch, by_channel, cross_entropy, images, rates_by_autograd, scattered, snapshot
from torch import nn
from torch.nn import functional as F

from bnlib.meter import FROZEN, ONE_BATCH, measure
from bnlib.recorder import NOT_LINEAR


def agree(report, model, batches, layers=None, rtol=1e-11):
    """Every channel that autograd gives a rate has that rate, as the mean over batches of one length."""
    by_batch = [rates_by_autograd(model, lambda twin, x=x, t=t: cross_entropy(twin(x), t)) for x, t in batches]
    assert list(dict.fromkeys(report.layer)) == list(by_batch[0])
    for name in layers or by_batch[0]:
        expected = np.mean([rates[name] for rates in by_batch], axis=0)
        np.testing.assert_allclose(by_channel(report, name), expected, rtol=rtol)


class BatchNormAct(nn.BatchNorm2d):
    """As timm's ``BatchNormAct2d``: normalization, drop and activation in one module, by the function."""

    def __init__(self, channels, act_layer=nn.ReLU):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act_layer(inplace=True)

    def forward(self, x):
        self._check_input_dim(x)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
        training = self.training or self.running_mean is None
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=training,
            momentum=factor,
            eps=self.eps,
        )
        return self.act(self.drop(x))


def fused(act_layer=nn.ReLU):
    torch.manual_seed(0)
    return scattered(
        nn.Sequential(
            *(
                nn.Conv2d(3, 6, 3, bias=False),
                BatchNormAct(6, act_layer),
                nn.Conv2d(6, 4, 2),
                BatchNormAct(4, act_layer),
            ),
            *(nn.Flatten(), nn.Linear(36, 3)),
        )
    ).double()


@pytest.mark.parametrize("act_layer", [nn.ReLU, nn.SiLU, nn.Hardswish], ids=lambda layer: layer.__name__)
def test_fused_activation(act_layer):
    model, batches = fused(act_layer), [images(), images(seed=1)]
    report = measure(model, batches, cross_entropy)
    agree(report, model, batches)
    assert report.linear == ("0",) * 6 + ("2",) * 4
    assert set(report.reason) == {""}


def test_fused_activation_is_that_of_separate_modules():
    model = fused()
    apart = nn.Sequential(*(part for module in model for part in split(module)))
    reports = [measure(each, [images(), images(seed=1)], cross_entropy) for each in (model, apart)]
    for column in ("gamma", "weight_norm", "batch_var", "rate", "rate_error", "l2_rate", "l2_rate_error"):
        assert (getattr(reports[0], column) == getattr(reports[1], column)).all(), column


def split(module):
    if not isinstance(module, BatchNormAct):
        return [module]
    norm = nn.BatchNorm2d(module.num_features).double()
    norm.load_state_dict(module.state_dict())
    return [norm, module.act]


def test_control_gradient_behind_the_fused_activation_is_another():
    """What was done before: the sum of y dJ/dy over the module's output, which has passed the activation."""
    model, (x, labels) = fused(nn.SiLU), images()
    kept = {}
    model[1].register_forward_hook(lambda module, _, output: kept.update(output=output))
    loss = cross_entropy(model(x), labels)
    (slope,) = torch.autograd.grad(loss, kept["output"])
    gamma, beta = model[1].weight, model[1].bias
    old = -((kept["output"] - beta[:, None, None]) * slope).sum(dim=(0, 2, 3)) / gamma**2
    expected = rates_by_autograd(model, lambda twin: cross_entropy(twin(x), labels))["1"]
    assert (np.abs(old.detach().numpy() / expected - 1) > 0.01).all()


def test_transposed_convolution_beside_a_convolution():
    torch.manual_seed(0)
    branches = nn.ModuleDict(
        {
            "down": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3)),
            "up": nn.Sequential(
                nn.ConvTranspose2d(3, 5, 2, stride=2), nn.BatchNorm2d(5), nn.Flatten(), nn.LazyLinear(3)
            ),
        }
    )

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.branches = branches

        def forward(self, x):
            return sum(branch(x) for branch in self.branches.values())

    model, batches = Both().double(), [images(), images(seed=1)]
    model(images()[0])
    report = measure(scattered(model), batches, cross_entropy)
    agree(report, model, batches)
    assert report.linear == ("branches.down.0",) * 4 + ("branches.up.0",) * 5
    assert np.isfinite(report.l2_rate).all()


class Dense(nn.Module):
    """As DenseNet: batch normalization before the convolution, of everything so far."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (4, 6, 8))
        self.convs = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1) for width in (4, 6, 8))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))

    def forward(self, x):
        features = self.stem(x)
        for norm, conv in zip(self.norms, self.convs):
            new = conv(F.relu(norm(features)))
            features = torch.cat([features, new], dim=1)
        return self.last(new)


def test_normalization_before_the_convolution_has_every_channel():
    torch.manual_seed(0)
    model, batches = scattered(Dense()).double(), [images(), images(seed=1)]
    report = measure(model, batches, cross_entropy)
    agree(report, model, batches)
    assert len(report.rate) == 18
    assert np.isfinite(report.rate_error).all()
    assert np.isnan([*report.l2_rate[4:], *report.l2_rate_error[4:], *report.weight_norm[4:]]).all()
    assert report.reason[4:] == (NOT_LINEAR,) * 14
    assert "NaN, not after a linear map: 14 channels (norms.1, norms.2)." in report.coverage()
    # the first sees the very output of the stem, which is concatenated too
    assert report.reason[:4] == ("its input is used elsewhere too",) * 4


def test_frozen_normalization_is_not_measured_and_stays():
    torch.manual_seed(0)
    model = fused()
    model(images()[0])
    model[1].eval()
    before = snapshot(model)
    report = measure(model, [images(), images(seed=1)], cross_entropy)
    assert_as_found(model, before)
    assert report.reason == (FROZEN,) * 6 + ("",) * 4
    for column in ("gamma", "weight_norm", "batch_var", "rate", "rate_error", "l2_rate", "l2_rate_error"):
        assert np.isnan(by_channel(report, "1", column)).all()
        assert np.isfinite(by_channel(report, "3", column)).all()
    agree(report, model, [images(), images(seed=1)], layers=["3"])


class NormsStayFrozen(nn.Sequential):
    """As object detectors: training mode leaves batch normalization in evaluation mode."""

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def test_frozen_by_the_mode_of_training_of_a_model_in_evaluation_mode():
    model = NormsStayFrozen(*fused()).eval()
    before = snapshot(model)
    report = measure(model, [images(), images(seed=1)], cross_entropy)
    assert_as_found(model, before)
    assert set(report.reason) == {FROZEN}


def test_evaluation_mode_as_a_whole_is_measured_as_it_trains():
    model, batches = fused(), [images(), images(seed=1)]
    expected = measure(model, batches, cross_entropy)
    model.eval()
    before = snapshot(model)
    assert (measure(model, batches, cross_entropy).rate == expected.rate).all()
    assert_as_found(model, before)
    assert not any(module.training for module in model.modules())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of the compiler itself
@pytest.mark.parametrize("how", ["eager", "aot_eager", "in place", "a part of it", "never run"])
def test_compiled_model(how):
    torch._dynamo.reset()
    model, batches = fused(), [images(), images(seed=1)]
    expected = measure(copy.deepcopy(model), batches, cross_entropy)
    compiled = model
    if how == "in place":
        model.compile(backend="eager")
    elif how == "a part of it":
        model[2].compile(backend="eager")
        model[3].compile(backend="eager")
    else:
        compiled = torch.compile(model, backend="aot_eager" if how == "aot_eager" else "eager")
    if how != "never run":
        compiled(batches[0][0])
    before = snapshot(compiled)
    report = measure(compiled, batches, cross_entropy)
    assert_as_found(compiled, before)
    prefix = "_orig_mod." if compiled is not model else ""
    assert report.layer == tuple(prefix + name for name in expected.layer)
    for column in ("rate", "rate_error", "l2_rate", "l2_rate_error"):
        assert (getattr(report, column) == getattr(expected, column)).all()
    if how != "never run":
        with torch._dynamo.config.patch(error_on_recompile=True):  # what was compiled is still good
            compiled(batches[0][0])


def test_synchronized_in_one_process_and_three_dimensional():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.Tanh(), nn.Flatten(), nn.Linear(32, 5), nn.BatchNorm1d(5)
    )
    model = nn.Sequential(scattered(model), nn.Linear(5, 3)).double()
    batches = [(torch.randn(8, 1, 3, 3, 3, dtype=torch.float64), torch.randint(3, (8,))) for _ in range(2)]
    report = measure(model, batches, cross_entropy)
    agree(report, model, batches)
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert all(isinstance(synchronized.get_submodule(name), nn.SyncBatchNorm) for name in ("0.1", "0.5"))
    again = measure(synchronized, batches, cross_entropy)
    assert (again.rate == report.rate).all()
    assert (again.l2_rate == report.l2_rate).all()
    assert np.isfinite(again.l2_rate).all()


ModelOutput = collections.namedtuple("ModelOutput", "loss logits")


class GivesItsLoss(nn.Module):
    """As a model of transformers: named arguments in, the loss out with the rest."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.model, self.how = scattered(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))), how

    def forward(self, inputs, labels=None):
        logits = self.model(inputs)
        loss = cross_entropy(logits, labels)
        return {
            "attribute": ModelOutput(loss, logits),
            "item": {"loss": loss, "logits": logits},
            "ordered dict with both": collections.OrderedDict(loss=loss, logits=logits),
            "scalar": loss,
        }[self.how]


@pytest.mark.parametrize("how", ["attribute", "item", "ordered dict with both", "scalar"])
@pytest.mark.parametrize("as_dict", [True, False], ids=["dicts", "tuples"])
def test_loss_that_the_model_returns(how, as_dict):
    model, batches = GivesItsLoss(how), [batch(), batch(seed=1)]
    given = [{"inputs": x, "labels": t} for x, t in batches] if as_dict else batches
    report = measure(model, given)
    expected = measure(model.model, batches, cross_entropy)
    assert report.layer == ("model.1",) * 6
    assert (report.rate == expected.rate).all()
    assert (report.l2_rate_error == expected.l2_rate_error).all()


def test_forward_gives_the_loss_of_any_batch():
    model = GivesItsLoss("scalar").model
    given = [types.SimpleNamespace(pixels=x, label=t) for x, t in (batch(), batch(seed=1))]
    report = measure(model, given, forward=lambda model, each: cross_entropy(model(each.pixels), each.label))
    assert (report.rate == measure(model, [batch(), batch(seed=1)], cross_entropy).rate).all()


@pytest.mark.parametrize("affine", [True, False])
def test_bfloat16_autocast(affine):
    """Against autograd under the same autocast, digit for digit; and near what float32 gives, as bfloat16 allows."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=affine), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    )
    scattered(model)
    batches = [images(rows=32, seed=seed, dtype=torch.float32) for seed in range(2)]
    exact = measure(model, batches, cross_entropy)
    with torch.autocast("cpu", torch.bfloat16):
        report = measure(model, batches, cross_entropy)
        assert model[0](batches[0][0]).dtype == torch.bfloat16
        if affine:
            agree(report, model, batches, rtol=1e-6)
    np.testing.assert_allclose(report.batch_var, exact.batch_var, rtol=0.02)
    np.testing.assert_allclose(report.weight_norm, exact.weight_norm, rtol=1e-6)
    np.testing.assert_allclose(report.rate, exact.rate, atol=0.02 * np.abs(exact.rate).max())
    np.testing.assert_allclose(report.l2_rate, exact.l2_rate, atol=0.02 * np.abs(exact.l2_rate).max())


def test_numbers_come_with_their_errors():
    report = measure(fused(), [images(seed=seed) for seed in range(5)], cross_entropy)
    for column in (
        report.rate_error,
        report.l2_rate_error,
        report.by_layer().rate_error,
        report.by_layer().l2_rate_error,
    ):
        assert (column > 0).all()
    alone = measure(fused(), [images()], cross_entropy)
    assert np.isnan([alone.rate_error, alone.l2_rate_error]).all()
    assert set(alone.reason) == {ONE_BATCH}


def test_report_prints_as_a_table():
    said = str(measure(fused(), [images(seed=seed) for seed in range(3)], cross_entropy))
    lines = said.splitlines()
    assert " ".join(lines[:2]) == (
        "10 of 10 channels of 2 layers have a rate, 10 of them in units of weight_decay, from 3 batches."
    )
    (header,) = (line for line in lines if line.split()[:1] == ["layer"])
    assert header.split() == ["layer", "channels", "rate", "as", "weight_decay"]
    rows = [line for line in lines if "±" in line and line.split()[0] in "13"]
    assert len(rows) == 2
    assert all(row.count("±") == 2 for row in rows)
    assert max(map(len, lines)) <= 76
    assert "array" not in said
