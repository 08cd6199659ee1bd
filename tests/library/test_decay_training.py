"""What decay does where `bnlib.parameter_groups` puts it: trained to rest, and step by step, as it is printed."""

import copy

import numpy as np
import pytest
import torch
from instances import same
from metered import batch, cross_entropy
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bnlib.decay import parameter_groups
from bnlib.meter import measure
from bnlib.models import network, unit

DOUBLE = torch.float64


def logistic():
    """A unit with batch normalization on 200 points, whose best gamma is neither 0 nor infinite."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator, dtype=DOUBLE) + 0.2
    probability = torch.sigmoid(1.2 * x[:, :1] - 0.8 * x[:, 1:2])
    return unit(3), x, (torch.rand(200, 1, generator=generator, dtype=DOUBLE) < probability).double()


def rest(make, decay, steps=2500, falls=True, **options):
    """Train on all points, the learning rate falling, and give what is left: gamma, lambda, and dJ/dbeta."""
    model, x, target = logistic()
    groups = parameter_groups(model, 0.0, gamma_decay=decay, optimizer=make)
    optimizer = make(groups, **options)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / steps)) if falls else None
    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(model(x), target).backward()
        optimizer.step()
        if falling:
            falling.step()
    rate = measure(model, [(x, target)], binary_cross_entropy_with_logits).rate[0]
    return model[1].weight.item(), rate, model[1].bias.grad.item()


# with the usual 0.999 it remembers first, large gradients for thousands of steps
ADAMW = {"lr": 0.05, "betas": (0.9, 0.99)}


@pytest.mark.parametrize("decay", [0.05, 0.3])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (torch.optim.SGD, {"lr": 2.0}),
        (torch.optim.SGD, {"lr": 0.5, "momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {"lr": 0.02}),
    ],
    ids=["SGD", "SGD with momentum", "Adam"],
)
def test_torch_decay_on_gamma_is_a_rate_under_sgd_and_coupled_adam(make, options, decay):
    gamma, rate, left = rest(make, decay, falls=make is torch.optim.Adam, **options)
    assert abs(left) < 1e-6
    assert gamma > 0.1
    same([rate], [decay], rtol=1e-4)


@pytest.mark.parametrize("decay", [0.05, 0.3])
def test_torch_decay_on_gamma_under_adamw_is_none_but_by_its_eps(decay):
    gamma, rate, left = rest(torch.optim.AdamW, decay, **ADAMW, eps=0.1)
    assert abs(left) < 1e-6
    same([rate], [0.1 * decay / (1 - decay * abs(gamma))], rtol=1e-4)
    assert rate < 0.5 * decay


def test_torch_adamw_stops_gamma_at_the_inverse_of_its_decay():
    free, rate, _ = rest(torch.optim.AdamW, 0.0, **ADAMW)
    assert rate == pytest.approx(0, abs=1e-5)
    gamma, rate, _ = rest(torch.optim.AdamW, 0.5 / free, **ADAMW)
    assert gamma == pytest.approx(free, rel=1e-3)  # its box, twice as large, does nothing
    assert rate == pytest.approx(0, abs=1e-5)
    gamma, rate, _ = rest(torch.optim.AdamW, 2 / free, **ADAMW)
    assert gamma == pytest.approx(free / 2, rel=1e-3)
    assert rate > 0.05


def test_control_adamw_does_not_end_at_its_decay():
    _, rate, _ = rest(torch.optim.AdamW, 0.3, **ADAMW, eps=0.1)
    with pytest.raises(AssertionError, match="differ by"):
        same([rate], [0.3], rtol=0.5)


def deep(seed=0):
    """A network in float64 whose eps is as good as none, and the parts of a step of it."""
    model = network((5, 6, 4, 3), eps=1e-30, seed=seed, dtype=DOUBLE)
    x, labels = batch(seed=seed)
    return model, x.double(), labels


def state(model, x, labels):
    report = measure(model, [(x, labels)], cross_entropy)
    return model.train()(x).detach(), report.rate, report.l2_rate, report.effective_norm


@pytest.mark.parametrize("decay", [0.1, 3.0])
def test_torch_decay_before_batch_norm_changes_no_output_and_no_rate(decay):
    """A step with decay on w is the step without it on a shorter w: the same function, a larger effective step."""
    model, x, labels = deep()
    groups = parameter_groups(model, decay, report=measure(model, [(x, labels)], cross_entropy))
    (before,) = (group for group in groups if group["name"] == "weights before BN")
    outputs, *rates = state(model, x, labels)
    optimizer = torch.optim.SGD([before], lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    lengths = [parameter.norm().item() for parameter in before["params"]]
    optimizer.step()  # of decay alone
    same([parameter.norm().item() for parameter in before["params"]], (1 - 0.1 * decay) * np.array(lengths), rtol=1e-13)
    after, *rates_after = state(model, x, labels)
    same(after, outputs, rtol=1e-12)
    for found, expected in zip(rates_after, rates):
        same(found, expected, rtol=1e-10)


def test_torch_decay_before_batch_norm_raises_the_effective_step():
    """Theorem depth, part 3: the direction moves by lr / |w|^2 times the gradient on the sphere."""
    model, x, labels = deep()
    cross_entropy(model(x), labels).backward()
    w, grad = model[0].weight.detach(), model[0].weight.grad.clone()
    shrunk = copy.deepcopy(model)
    shrunk[0].weight.data *= 0.5
    shrunk.zero_grad()
    cross_entropy(shrunk(x), labels).backward()
    same(shrunk[0].weight.grad, 2 * grad, rtol=1e-12)  # and w is half as long: four times the step
    same((w * grad).sum(dim=1), torch.zeros(6), rtol=1e-14, scale=1.0)


def test_control_decay_on_other_weights_changes_outputs():
    model, x, labels = deep()
    groups = parameter_groups(model, 3.0, report=measure(model, [(x, labels)], cross_entropy))
    (others,) = (group for group in groups if group["name"] == "weights")
    outputs, *_ = state(model, x, labels)
    others["params"][0].data *= 0.7
    with pytest.raises(AssertionError, match="differ by"):
        same(state(model, x, labels)[0], outputs, rtol=1e-3)


def test_control_before_frozen_batch_norm_the_length_is_seen():
    """In evaluation mode decay on w is a penalty; such weights are not among those before BN."""
    model, x, labels = deep()
    model[4].eval()
    frame = parameter_groups(model, 0.1, report=measure(model, [(x, labels)], cross_entropy)).to_frame()
    kinds = dict(zip(frame.parameter, frame.group))
    assert kinds["0.weight"] == "weights before BN"
    assert kinds["3.weight"] == "weights"
    outputs = model(x).detach()
    model[3].weight.data *= 0.7
    with pytest.raises(AssertionError, match="differ by"):
        same(model(x).detach(), outputs, rtol=1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_torch_decay_on_biases_before_batch_norm_has_no_effect(decay):
    """Two trainings that differ in it end with the same outputs; without decay and bias, too."""
    trained = {}
    for bias_decay in (0.0, decay, None):
        model, x, labels = deep(seed=1)
        if bias_decay is not None:
            for place in (0, 3):
                model[place].bias = nn.Parameter(torch.linspace(-1, 1, model[place].out_features, dtype=DOUBLE))
        report = measure(model, [(x, labels)], cross_entropy)
        groups = parameter_groups(model, 0.0, report=report, bias_decay=bias_decay or 0.0)
        for group in groups:  # on these biases alone
            group["weight_decay"] *= group["name"] == "biases before BN"
        optimizer = torch.optim.SGD(groups, lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            cross_entropy(model(x), labels).backward()
            optimizer.step()
        if bias_decay is not None:
            expected = torch.linspace(-1, 1, 6) * (1 - 0.1 * bias_decay) ** 20
            same(model[0].bias.detach(), expected, rtol=1e-6)
        trained[bias_decay] = model(x).detach()
    same(trained[decay], trained[0.0], rtol=1e-12)
    same(trained[None], trained[0.0], rtol=1e-12)


def test_torch_decay_on_gamma_before_another_batch_norm_finds_no_rate():
    """Theorem depth, part 5: gamma^2 lambda and beta dJ/dbeta balance, so all rates cannot be the decay."""
    model, x, labels = deep()
    optimizer = torch.optim.SGD(parameter_groups(model, 0.0, gamma_decay=0.1), lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    cross_entropy(model(x), labels).backward()
    hidden, seen = (
        float((norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).detach().sum())
        for norm in (model[1], model[4])
    )
    assert abs(hidden) < 1e-14
    assert abs(seen) > 1e-3
