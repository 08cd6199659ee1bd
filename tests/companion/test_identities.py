"""Layers walked by hand: two independent ways to each number, in linear and convolutional networks."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlib import meter, models
from companion.studies import identities


@pytest.fixture(params=["linear", "convolutional", "strided"])
def walked(request):
    torch.manual_seed(0)
    model, x = {
        "linear": lambda: (models.network((6, 9, 8, 3), eps=0.1), torch.randn(30, 6)),
        "convolutional": lambda: (models.convolutional((3, 4), classes=3, eps=0.1, side=6), torch.randn(30, 36)),
        "strided": lambda: (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4, eps=0.1), nn.Flatten(), nn.Linear(36, 3)
            ),
            torch.randn(30, 2, 6, 6),
        ),
    }[request.param]()
    for module in model:
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    batch = x.double(), torch.arange(30) % 3
    return model, batch, identities.walk(model, *batch)


def test_gradients_rates_and_gauge_agree(walked):
    model, batch, layers = walked
    report = meter.measure(model.double(), [batch], nn.functional.cross_entropy)
    assert np.allclose(np.concatenate([layer.rate for layer in layers]), report.rate, rtol=1e-10, atol=1e-14)
    for layer in layers:
        assert layer.grad_w == pytest.approx(layer.rebuilt_grad_w, rel=1e-10, abs=1e-15)
        assert layer.rate_by_gamma == pytest.approx(layer.rate, rel=1e-9)
        assert layer.radial == pytest.approx(layer.gauge, rel=1e-9)
        assert layer.output_var == pytest.approx(layer.gamma**2 * layer.q / (layer.q + layer.eps), rel=1e-12)
        assert layer.q == pytest.approx(np.var(layer.inputs @ layer.w.T, axis=0), rel=1e-12)
        assert layer.grad_beta == pytest.approx(layer.grad_y.sum(axis=0), rel=1e-10, abs=1e-16)


def test_the_scale_of_a_layer_before_another_is_balanced(walked):
    own, carried, sizes = identities.balance(walked[2])
    assert own == pytest.approx(carried, rel=1e-9)
    assert (np.abs(own) < sizes).all()


def test_the_network_stays_as_it_was():
    model = models.network((6, 9, 3), gamma=0.5).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (layer,) = identities.walk(model, torch.randn(30, 6), torch.arange(30) % 3)
    assert layer.grad_gamma.dtype == np.float32
    assert not model.training
    assert not model[1].weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_left_and_the_angle():
    x = torch.randn(30, 6, dtype=torch.float64)
    (layer,) = identities.walk(models.network((6, 9, 3)), x, torch.arange(30) % 3)
    cov = np.cov(layer.inputs.T, ddof=0)
    assert layer.normal == pytest.approx(layer.v @ cov, rel=1e-10)
    cosine = np.cos(np.deg2rad(layer.angle))
    lengths = np.linalg.norm(layer.v, axis=1) * np.linalg.norm(layer.normal, axis=1)
    assert cosine == pytest.approx((layer.v * layer.normal).sum(axis=1) / lengths, rel=1e-10)
    gamma_free = (
        layer.grad_v - (layer.v * layer.grad_v).sum(axis=1, keepdims=True) / layer.gamma[:, None] ** 2 * layer.normal
    )
    assert layer.left == pytest.approx(
        np.linalg.norm(gamma_free, axis=1) / np.linalg.norm(layer.grad_v, axis=1), rel=1e-4
    )


def test_refused():
    with pytest.raises(ValueError, match="no Linear or Conv2d"):
        identities.walk(models.network((6, 9, 3), "layer"), torch.zeros(4, 6), torch.zeros(4, dtype=torch.long))
    grouped = nn.Sequential(nn.Conv2d(2, 4, 1, groups=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(ValueError, match="one group"):
        identities.walk(grouped, torch.randn(8, 2, 2, 2), torch.arange(8) % 3)
