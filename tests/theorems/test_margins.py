"""Theorem margins: where a unit with batch normalization fits its rows without error, its margins are uniform."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each, seen
from hypothesis import strategies as st
from instances import SEEDS, Rational, settle_directions
from torch import nn

from bnlib.theory import uniform_margins

LOSSES = {
    "logistic": nn.functional.softplus,
    "exponential": torch.exp,
    "squared softplus": lambda z: nn.functional.softplus(z) ** 2,
}


def exact_rows(seed):
    """Outputs and labels of both classes, rational."""
    source = Rational(seed)
    count = 4 + source.d
    labels = [1 if i == 0 or (i > 1 and source.random.random() < 0.5) else -1 for i in range(count)]
    return [source.number() for _ in range(count)], labels


def variance(values):
    mean = sum(values, start=Fraction(0)) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def test_exact_no_margin_is_above_the_bound():
    for seed in each(SEEDS):
        outputs, labels = exact_rows(seed)
        least = min(t * y for t, y in zip(labels, outputs))
        target_var = variance([Fraction(t) for t in labels])
        if least > 0:
            assert least**2 * target_var <= variance(outputs)
        # shifted and turned so that the classes lie right, the bound is at work in every instance
        ups = [y for y, t in zip(outputs, labels) if t > 0]
        downs = [y for y, t in zip(outputs, labels) if t < 0]
        apart = [t * (abs(y) + 1) for y, t in zip(outputs, labels)]
        assert min(abs(y) for y in apart) ** 2 * target_var <= variance(apart)
        # equality where outputs are constant within each class, and opposite
        level = Fraction(len(ups) + 1, len(downs) + 2)
        assert level**2 * target_var == variance([t * level for t in labels])
        seen["equal"] += 1


def test_exact_class_means_lose_no_more_and_vary_no_more():
    for seed in each(SEEDS):
        outputs, labels = exact_rows(seed)
        means = {}
        for t in (1, -1):
            own = [y for y, label in zip(outputs, labels) if label == t]
            means[t] = sum(own, start=Fraction(0)) / len(own)
        averaged = [means[t] for t in labels]
        assert variance(averaged) <= variance(outputs)
        convex = [lambda m: (1 - m) ** 2, lambda m: max(Fraction(0), 1 - m), lambda m: m**4 - m]
        for loss in convex:
            before, after = (sum(loss(t * y) for t, y in zip(labels, rows)) for rows in (outputs, averaged))
            assert after <= before
        seen["equal"] += 1


def at_rest(loss, gamma, rows=9, positives=3, inputs=14, seed=0):
    """Outputs and labels of torch's layer at rest, on rows that it can interpolate."""
    torch.manual_seed(seed)
    x = torch.randn(rows, inputs, dtype=torch.float64)
    labels = torch.where(torch.arange(rows) < positives, 1.0, -1.0).double()
    norm = nn.BatchNorm1d(1, eps=1e-30).double()
    norm.weight.data.fill_(gamma)
    # from the class means, on the right side: the loss is not convex on the ellipsoid
    w = nn.Parameter((labels @ x)[None].clone())
    left = settle_directions(
        w, [norm.bias], lambda: LOSSES[loss](-labels * norm(x @ w.t())[:, 0]).mean(), tolerance=1e-11
    )
    assert left < 1e-9
    return norm(x @ w.t())[:, 0].detach().numpy(), labels.numpy(), norm, w, x


@pytest.mark.parametrize("gamma", (0.5, 1.0, 2.0))
@pytest.mark.parametrize("positives", (3, 6))
def test_torch_logistic_margins_shift_and_rate(gamma, positives):
    outputs, labels, norm, w, x = at_rest("logistic", gamma, positives=positives)
    found = uniform_margins(positives / 9, gamma)
    margins = labels * outputs
    assert np.allclose(margins[labels > 0], found.positive, atol=1e-7)
    assert np.allclose(margins[labels < 0], found.negative, atol=1e-7)
    assert np.isclose(norm.bias.item(), found.beta, atol=1e-7)
    loss = nn.functional.softplus(-torch.from_numpy(labels) * norm(x @ w.t())[:, 0]).mean()
    (slope,) = torch.autograd.grad(loss, norm.weight)
    assert np.isclose(-slope.item() / gamma, found.rate, rtol=1e-6)


@pytest.mark.parametrize("loss", ("exponential", "squared softplus"))
def test_torch_every_margin_loss_has_the_same_direction(loss):
    outputs, labels, _, w, x = at_rest(loss, 1.0)
    for t in (1, -1):
        assert np.ptp(outputs[labels == t]) < 1e-6
    centred = (x - x.mean(dim=0)).numpy()
    direction = np.linalg.pinv(centred) @ labels
    effective = centred @ w.detach().numpy()[0]
    along = centred @ direction
    assert np.isclose(effective @ along / np.linalg.norm(effective) / np.linalg.norm(along), 1, atol=1e-10)


def test_torch_classes_stand_on_a_simplex():
    torch.manual_seed(1)
    classes, gamma = 4, 1.5
    x = torch.randn(12, 20, dtype=torch.float64)
    labels = torch.arange(12) % classes
    norm = nn.BatchNorm1d(classes, eps=1e-30).double()
    norm.weight.data.fill_(gamma)
    one_hot = nn.functional.one_hot(labels, classes).double()
    w = nn.Parameter((one_hot - one_hot.mean(dim=0)).t() @ x)
    settle_directions(w, [norm.bias], lambda: nn.functional.cross_entropy(norm(x @ w.t()), labels), tolerance=1e-11)
    outputs = norm(x @ w.t()).detach()
    expected = gamma * (classes * one_hot - 1) / np.sqrt(classes - 1)
    assert torch.allclose(outputs - outputs.mean(), expected, atol=1e-6)


@drawn(st.floats(0.02, 0.98), st.floats(0.01, 30.0))
def test_property_rest_in_beta_and_the_spread_that_gamma_sets(share, gamma):
    found = uniform_margins(share, gamma)
    pull = share / (1 + np.exp(found.positive)) - (1 - share) / (1 + np.exp(found.negative))
    assert abs(pull) < 1e-10
    # the outputs have the standard deviation gamma
    assert np.isclose(np.sqrt(share * (1 - share)) * (found.positive + found.negative), gamma)
    assert found.rate > 0
    # the bound, met where the classes are of one size only
    assert min(found.positive, found.negative) <= gamma / (2 * np.sqrt(share * (1 - share))) + 1e-12
    mirrored = uniform_margins(1 - share, gamma)
    assert np.isclose(mirrored.positive, found.negative, atol=1e-9) and np.isclose(mirrored.rate, found.rate)


@drawn(st.floats(0.05, 0.95), st.floats(0.05, 8.0))
def test_property_the_rate_is_the_slope_in_gamma(share, gamma):
    def loss(scale):
        found = uniform_margins(share, scale)
        return share * np.logaddexp(0, -found.positive) + (1 - share) * np.logaddexp(0, -found.negative)

    step = 1e-4 * gamma
    slope = (loss(gamma + step) - loss(gamma - step)) / (2 * step)
    assert np.isclose(-slope / gamma, uniform_margins(share, gamma).rate, rtol=1e-4, atol=1e-12)


def test_property_unequal_classes_differ_by_the_logarithm_of_their_sizes():
    found = uniform_margins(0.397, 60.0)
    assert np.isclose(found.positive - found.negative, np.log(0.397 / 0.603), atol=1e-4)


def test_control_too_few_inputs_leave_margins_that_differ():
    outputs, labels, *_ = at_rest("logistic", 1.0, rows=20, positives=8, inputs=4)
    assert max(np.ptp(outputs[labels == t]) for t in (1, -1)) > 0.1


def test_control_another_scale_has_other_margins():
    outputs, labels, *_ = at_rest("logistic", 1.0)
    assert not np.allclose((labels * outputs)[labels > 0], uniform_margins(3 / 9, 1.01).positive, atol=1e-3)


def test_control_a_shift_of_zero_is_not_at_rest_where_classes_differ():
    assert abs(uniform_margins(0.2, 1.0).beta) > 0.1
    assert abs(uniform_margins(0.2, 1.0).positive - 2.0) > 0.1


@pytest.mark.parametrize(
    ("share", "gamma", "message"),
    [(0.0, 1.0, "share = 0 leaves one class"), (1.2, 1.0, "share = 1.2"), (0.5, 0.0, "gamma = 0 must be positive")],
)
def test_out_of_range(share, gamma, message):
    with pytest.raises(ValueError, match=message):
        uniform_margins(share, gamma)


@pytest.mark.parametrize(
    "share, gamma, message",
    [
        (1.0, 1.0, "^share = 1 leaves one class"),
        (np.nan, 1.0, "^share has 1 non-finite"),
        (0.5, np.inf, "^gamma has 1 non-finite"),
    ],
)
def test_messages_name_the_argument(share, gamma, message):
    with pytest.raises(ValueError, match=message):
        uniform_margins(share, gamma)
