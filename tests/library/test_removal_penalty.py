"""At rest the penalty holds the twin where batch normalization had put it, and what is not promised is said."""

import copy

import numpy as np
import pytest
import torch
from instances import same
from metered import batch, cross_entropy
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from twinned import DOUBLE, KINDS, covariance_and_mean, pair, removed, set_to_batch

from bnlib.folding import unit_weights
from bnlib.meter import measure
from bnlib.models import network, unit
from bnlib.removal import remove_batch_norm
from bnlib.training import half_squared_error, settle

# What the twin pays


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("norm")])
def test_torch_gradient_with_batch_norm_is_that_of_twin_and_penalty_at_every_point(kind):
    """Theorem rate, anywhere: grad_w J = (gamma / s) (grad_v L + lambda Sigma v), the bias of L being tied to v."""
    model, x, labels = pair(kind)
    linear, norm = model[:2]
    cov, mean = covariance_and_mean(linear, x)
    report = measure(model, [(x, labels)], cross_entropy)
    cross_entropy(model(x), labels).backward()
    grad_w = units_of(linear, linear.weight.grad)
    set_to_batch(norm, linear(x))
    twin, penalty = removed(model, report, {"0": cov if getattr(linear, "groups", 1) > 1 else cov[0]})
    (cross_entropy(twin(x), labels) + penalty()).backward()
    means = mean.repeat_interleave(len(grad_w) // len(mean), dim=0)
    grad_v = units_of(twin[0], twin[0].weight.grad) - twin[0].bias.grad[:, None] * means
    ratio = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    same(grad_w, ratio[:, None] * grad_v, rtol=1e-12)
    # v'Sigma v is the variance of what the twin computes
    v, output = unit_weights(twin[0]).detach().unflatten(0, (len(cov), -1)), twin[0](x).detach()
    same(((v @ cov) * v).sum(dim=2).flatten(), output.movedim(1, 0).flatten(1).var(dim=1, correction=0), rtol=1e-12)


def units_of(linear, tensor):
    copied = copy.copy(linear)
    copied._parameters = {"weight": nn.Parameter(tensor.clone()), "bias": None}
    return unit_weights(copied).detach()


def at_rest(loss, outputs=1, gamma=0.5, seed=0, rows=60):
    """A normalized read-out at rest with gamma fixed and beta learned, the statistics of its batch, and the batch."""
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(rows, 4, generator=generator, dtype=DOUBLE) @ torch.randn(4, 4, generator=generator, dtype=DOUBLE)
        + 0.5
    )
    score = x @ torch.randn(4, outputs, generator=generator, dtype=DOUBLE)
    score += torch.randn(rows, outputs, generator=generator, dtype=DOUBLE)
    if loss is cross_entropy:
        target = score.argmax(dim=1)
    else:
        target = score if loss is half_squared_error else (score > 0).double()
    model = network((4, outputs), normalize_output=True, gamma=gamma, eps=1e-30, seed=seed, dtype=DOUBLE)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert settle(learned, lambda: loss(model(x), target)) < 1e-9
    set_to_batch(model[1], model[0](x))
    return model, x, target, torch.cov(x.T, correction=0)


LOSSES = {
    "least squares": (half_squared_error, 1),
    "logistic": (binary_cross_entropy_with_logits, 1),
    "softmax": (cross_entropy, 3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_torch_penalized_twin_is_at_rest_where_the_model_is(name):
    loss, outputs = LOSSES[name]
    model, x, target, cov = at_rest(loss, outputs)
    report = measure(model, [(x, target)], loss)
    assert (report.rate > 0).all()
    twin, penalty = remove_batch_norm(model, report, {"0": cov})  # every condition holds: no warning
    assert penalty.conditions == []
    (loss(twin(x), target) + penalty()).backward()
    for parameter in twin.parameters():
        same(parameter.grad, torch.zeros_like(parameter), rtol=1e-9, scale=1.0)
    expected = (torch.from_numpy(report.rate) * (model[1].weight ** 2)).sum() / 2  # v'Sigma v is gamma^2
    same(penalty().detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_torch_twin_trained_from_zero_is_the_same_network(name):
    loss, outputs = LOSSES[name]
    model, x, target, cov = at_rest(loss, outputs, seed=1)
    twin, penalty = remove_batch_norm(model, measure(model, [(x, target)], loss), {"0": cov})
    kept = twin[0].weight.detach().clone()
    for parameter in twin.parameters():
        parameter.data.zero_()
    settle(list(twin.parameters()), lambda: loss(twin(x), target) + penalty(), iterations=400)
    same(twin[0].weight.detach(), kept, rtol=1e-7)


def test_torch_l2_equivalent_balances_along_v_only():
    model, x, target, _ = at_rest(cross_entropy, 3)
    report = measure(model, [(x, target)], cross_entropy)
    with pytest.warns(
        UserWarning, match="no covariance is given .1.: the L2-equivalent balances the loss along v only"
    ):
        twin, penalty = remove_batch_norm(model, report)
    (cross_entropy(twin(x), target) + penalty()).backward()
    v, grad = twin[0].weight.detach(), twin[0].weight.grad
    same((v * grad).sum(dim=1), torch.zeros(3), rtol=1e-10, scale=1.0)
    assert grad.abs().max() > 1e-3
    same(penalty().detach(), (torch.from_numpy(report.l2_rate) * v.square().sum(dim=1)).sum() / 2, rtol=1e-12)
    assert penalty.by_layer().penalty.tolist() == ["L2-equivalent"]
    assert "0 pay (1/2) lambda v'Sigma v, 1 the L2-equivalent" in str(penalty)


def test_torch_learned_gamma_under_decay_keeps_the_decay():
    _, x, target, cov = at_rest(half_squared_error)
    model, decay = unit(4), 0.2
    learned = list(model.parameters())

    def objective():
        return half_squared_error(model(x), target) + decay / 2 * model[1].weight.square().sum()

    assert settle(learned, objective) < 1e-9
    set_to_batch(model[1], model[0](x))
    report = measure(model, [(x, target)], half_squared_error)
    same(report.rate, [decay], rtol=1e-8)
    twin, penalty = remove_batch_norm(model, report, {"0": cov})
    (half_squared_error(twin(x), target) + penalty()).backward()
    same(twin[0].weight.grad, torch.zeros(1, 4), rtol=1e-8, scale=1.0)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_control_other_rates_do_not_hold_the_twin(factor):
    model, x, target, cov = at_rest(half_squared_error)
    twin, penalty = remove_batch_norm(model, measure(model, [(x, target)], half_squared_error), {"0": cov})
    (half_squared_error(twin(x), target) + factor * penalty()).backward()
    assert twin[0].weight.grad.abs().max() > 1e-2


def test_control_running_variance_as_torch_keeps_it_makes_v_shorter():
    model, x, target, cov = at_rest(half_squared_error)
    report = measure(model, [(x, target)], half_squared_error)
    exact, _ = remove_batch_norm(model, report, {"0": cov})
    model[1].momentum = None
    model[1].reset_running_stats()
    model(x)
    twin, penalty = remove_batch_norm(model, report, {"0": cov})
    same(twin[0].weight.detach(), np.sqrt(59 / 60) * exact[0].weight.detach().numpy(), rtol=1e-12)
    (half_squared_error(twin(x), target) + penalty()).backward()
    assert twin[0].weight.grad.abs().max() > 1e-3


def test_penalty_follows_the_twin_where_it_goes():
    model, x, target, cov = at_rest(half_squared_error)
    twin, penalty = remove_batch_norm(model, measure(model, [(x, target)], half_squared_error), {"0": cov})
    paid = penalty().item()
    twin[0].weight.data *= 2
    assert penalty().item() == pytest.approx(4 * paid, rel=1e-14)
    twin.float()
    assert penalty().dtype == torch.float32
    assert penalty().item() == pytest.approx(4 * paid, rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert penalty().item() == pytest.approx(4 * paid, rel=1e-6)


def test_channels_without_a_rate_are_left_out_and_counted():
    model, x, labels = pair("linear")
    model[1].weight.data[2] = 0.0
    model[0].weight.data[1] = 0.0
    cov, _ = covariance_and_mean(model[0], x)
    report = measure(model, [(x, labels)] * 2, cross_entropy)
    _, penalty = removed(model, report)
    assert penalty.by_layer().loc[0, ["channels", "paying", "left_out"]].tolist() == [4, 2, "1: w is 0; 1: gamma is 0"]
    assert penalty.layers[0].rates[[1, 2]].tolist() == [0, 0]
    _, penalty = removed(model, report, {"0": cov[0]})  # lambda needs no w
    assert penalty.by_layer().loc[0, ["channels", "paying", "left_out"]].tolist() == [4, 3, "1: gamma is 0"]
    assert torch.isfinite(penalty())


# What is said


def said(*arguments):
    with pytest.warns(UserWarning) as caught:
        remove_batch_norm(*arguments)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return str(caught[0].message)


def test_conditions_are_said_where_they_fail():
    model, x, target, cov = at_rest(half_squared_error, gamma=20.0)  # more than there is to explain
    report = measure(model, [(x, target)], half_squared_error)
    text = said(model, report, {"0": cov})
    assert "1 of 1 rates are negative (1)" in text
    assert text.count("\n- ") == 1

    model[1].bias.requires_grad_(False)
    model[1].running_var *= 2
    text = said(model, report, {"0": cov})
    assert "beta is not learned (1)" in text
    assert "|v| is more than 10% off what was measured in 1 channels (1)" in text

    deep = network((5, 6, 4, 3)).double()
    batches = [(x.double(), labels) for x, labels in (batch(), batch(seed=1), batch(seed=2))]
    report = measure(deep, batches, cross_entropy)
    text = said(deep, report)
    assert "2 layers pay: a point of rest is kept, not a minimum" in text
    unsure = int((report.rate_error > np.abs(report.rate)).sum())
    assert 0 < unsure < 10
    assert f"{unsure} of 10 rates are smaller than their standard error" in text
    assert "no covariance is given (1, 4)" in text
    assert "need not be convex" in said(*[(m := network((5, 6, 3))), measure(m, [batch()], cross_entropy)])


def test_printed_it_says_layer_by_layer_what_is_paid():
    model = network((5, 6, 4, 3)).double()
    x, labels = batch()
    report = measure(model, [(x.double(), labels)], cross_entropy)
    _, penalty = removed(model, report, {"0": torch.cov(x.double().T, correction=0)})
    frame = penalty.by_layer()
    assert frame.penalty.tolist() == ["v'Sigma v", "L2-equivalent"]
    assert frame.linear.tolist() == ["0", "3"]
    assert frame.paying.tolist() == [6, 4]
    assert frame.lowest[0] == report.rate[:6].min()
    assert frame.highest[1] == report.l2_rate[6:].max()
    assert "2 of 2 layers of batch normalization are removed; 1 pay (1/2) lambda v'Sigma v, 1 the" in str(penalty)
    assert "Mind: 2 layers pay" in repr(penalty)
