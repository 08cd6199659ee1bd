"""Theorem rate: every gradient of a batch-normalized unit is that of the folded unit plus an auto-tuned penalty."""

import itertools

import numpy as np
import pytest
import torch
from convolutions import conv_net
from counting import drawn, each
from hypothesis import strategies as st
from instances import LOSSES, SEEDS, Rational, correlated, derivative, gammas, moments_of, net, root, same

from bnlib.meter import measure
from bnlib.report import COLUMNS
from bnlib.theory import effective_weights, l2_equivalent_rate, rate


class ExactUnit:
    """One unit on a rational batch with a quartic, non-convex loss; all derivatives exact, by dual numbers."""

    def __init__(self, seed):
        source = Rational(seed)
        rows = 3 + source.d
        self.X, self.t = source.matrix(rows), source.vector(rows)
        self.coefficients = source.vector(4)
        self.w, self.gamma, self.beta = source.vector(), source.nonzero(), source.number()
        self.mean, self.cov, _, _ = moments_of(self.X, self.t)
        self.q = self.w @ self.cov @ self.w
        self.eps = source.eps_for(self.q)
        self.s = root(self.q + self.eps)
        self.v = self.gamma * self.w / self.s
        self.grad_w = derivative(lambda w: self.normalized_loss(w, self.gamma), self.w)
        self.grad_gamma = derivative(lambda gamma: self.normalized_loss(self.w, gamma), self.gamma)
        self.grad_v = derivative(self.folded_loss, self.v)

    def loss(self, output):
        return sum(a * (output - self.t) ** power for power, a in enumerate(self.coefficients, start=1)).sum() / len(
            self.t
        )

    def normalized_loss(self, w, gamma):
        z = self.X @ w
        centred = z - z.sum() / len(z)
        return self.loss(centred * gamma / root((centred**2).sum() / len(z) + self.eps) + self.beta)

    def folded_loss(self, v):
        return self.loss((self.X - self.mean) @ v + self.beta)


UNITS = {seed: ExactUnit(seed) for seed in SEEDS}


def exact_rate(v, grad_v, gamma):
    return -(v @ grad_v) / gamma**2


def exact_l2_rate(v, grad_v):
    return -(v @ grad_v) / (v @ v)


def assert_gradient(candidate, unit):
    """grad_w J = (gamma/s) [grad_v L + lambda Sigma v], lambda = -(1/gamma) dJ/dgamma."""
    multiplier = candidate(unit.v, unit.grad_v, unit.gamma)
    same(multiplier, -unit.grad_gamma / unit.gamma)
    same(multiplier * (unit.cov @ unit.v), unit.s / unit.gamma * unit.grad_w - unit.grad_v)


def assert_l2(candidate, unit):
    """alpha |v|^2 = -v'grad_v L, and alpha = -(dJ/dgamma)(q + eps) / (gamma |w|^2)."""
    same(candidate(unit.v, unit.grad_v), -unit.grad_gamma * (unit.q + unit.eps) / (unit.gamma * (unit.w @ unit.w)))


@pytest.mark.parametrize("candidate", [exact_rate, rate], ids=["fractions", "bnlib"])
def test_exact_gradient_carries_the_penalty(candidate):
    for unit in each(UNITS):
        assert_gradient(candidate, unit)


@pytest.mark.parametrize("candidate", [exact_l2_rate, l2_equivalent_rate], ids=["fractions", "bnlib"])
def test_exact_l2_equivalent(candidate):
    for unit in each(UNITS):
        assert_l2(candidate, unit)


def test_exact_projections_agree():
    """alpha v and lambda Sigma v (eps = 0: v'Sigma v = gamma^2) have the same component along v."""
    for unit in each(UNITS):
        multiplier, alpha = exact_rate(unit.v, unit.grad_v, unit.gamma), exact_l2_rate(unit.v, unit.grad_v)
        same(alpha * (unit.v @ unit.v), multiplier * unit.gamma**2)
        same(unit.v @ unit.cov @ unit.v + unit.eps * unit.gamma**2 / unit.s**2, unit.gamma**2)


TORCH_CASES = list(itertools.product((net, conv_net), range(6), (1e-30, 1e-5, 1e-2), LOSSES))


def assert_measured(candidate, case):
    """`candidate(case)`: (lambda, alpha) of all units, against autograd and against the folded network."""
    expected, sizes = [[], []], [[], []]
    for position in case.pairs:
        folded = case.folded(position)
        _, grad_gamma, _ = case.gradients(position)
        s_squared = folded["variance"] + case.layers[position + 1].eps
        multiplier = -grad_gamma / folded["gamma"]
        alpha = multiplier * s_squared / (folded["w"] ** 2).sum(axis=1)
        size, l2_size = folded["pull"] / folded["gamma"] ** 2, folded["pull"] / (folded["v"] ** 2).sum(axis=1)
        same(rate(folded["v"], folded["grad_v"], folded["gamma"]), multiplier, scale=size)
        same(l2_equivalent_rate(folded["v"], folded["grad_v"]), alpha, scale=l2_size)
        for kept, each_unit in zip((*expected, *sizes), (multiplier, alpha, size, l2_size)):
            kept.append(each_unit)
    for found, exact, size in zip(candidate(case), expected, sizes):
        same(found, np.concatenate(exact), scale=np.concatenate(size))


def measured(case):
    report = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    return report.rate, report.l2_rate


@pytest.mark.parametrize("build, seed, eps, loss", TORCH_CASES)
def test_torch_meter_against_autograd_and_folding(build, seed, eps, loss):
    assert_measured(measured, build(seed, eps, loss))


@pytest.mark.parametrize("build, seed, eps, loss", TORCH_CASES)
def test_torch_gradient_carries_the_penalty(build, seed, eps, loss):
    case = build(seed, eps, loss)
    for position in case.pairs:
        folded = case.folded(position)
        grad_w, _, _ = case.gradients(position)
        multiplier = rate(folded["v"], folded["grad_v"], folded["gamma"])
        ratio = (folded["gamma"] / np.sqrt(folded["variance"] + eps))[:, None]
        penalized = folded["grad_v"] + multiplier[:, None] * folded["v"] @ folded["cov"]
        same(ratio * penalized, grad_w, scale=np.abs(ratio * folded["grad_v"]).max(axis=1, keepdims=True))
        same(effective_weights(folded["w"], folded["gamma"], folded["cov"], eps), folded["v"], rtol=1e-12)


class Layer:
    """A BatchNorm1d unit on a batch, its gradients when `back` is passed back for dJ/dy, and what the theorem says."""

    def __init__(self, seed, eps=1e-5):
        rng = np.random.default_rng(seed)
        self.rng, self.rows = rng, torch.from_numpy(correlated(rng, int(rng.integers(12, 40)), 1 + seed % 5))
        self.w = torch.from_numpy(rng.standard_normal(self.rows.shape[1])).requires_grad_()
        self.norm = torch.nn.BatchNorm1d(1, eps=eps).double()
        self.norm.weight.data.fill_(float(rng.choice([-1, 1]) * rng.uniform(0.3, 2.0)))
        self.norm.bias.data.fill_(rng.standard_normal())

    def outputs(self, rows=None, w=None):
        return self.norm(((self.rows if rows is None else rows) @ (self.w if w is None else w))[:, None])[:, 0]

    def predicted(self, back, rows=None):
        """(gamma/s)(g + lambda Sigma v) and lambda, from what is passed back."""
        rows = (self.rows if rows is None else rows).numpy()
        centred = rows - rows.mean(axis=0)
        cov, w, gamma = centred.T @ centred / len(rows), self.w.detach().numpy(), self.norm.weight.item()
        v, g = effective_weights(w, gamma, cov, self.norm.eps), centred.T @ back
        multiplier = rate(v, g, gamma)
        return gamma / np.sqrt(w @ cov @ w + self.norm.eps) * (g + multiplier * cov @ v), multiplier


@pytest.mark.parametrize("eps", [1e-30, 1e-2])
@pytest.mark.parametrize("seed", range(10))
def test_torch_any_vector_passed_back(seed, eps):
    """The identity is BN's own: no loss has to have that gradient."""
    layer = Layer(seed, eps)
    y = layer.outputs()
    back = torch.from_numpy(layer.rng.standard_normal(len(y)))
    grad_w, grad_gamma = torch.autograd.grad(y, [layer.w, layer.norm.weight], back)
    expected, multiplier = layer.predicted(back.numpy())
    scale = layer.norm.weight.abs().item() * back.abs().sum().item() / layer.w.detach().norm().item()
    same(grad_w.numpy(), expected, scale=scale)
    same(-grad_gamma.item() / layer.norm.weight.item(), multiplier, scale=back.abs().sum().item())


@pytest.mark.parametrize("seed", range(10))
def test_torch_entries_exactly_on_kinks(seed):
    """Behind a ReLU some entries are 0 to the last bit; whatever autograd takes for the slope there is passed back."""
    layer = Layer(seed)
    y = layer.outputs()
    kinks = y.detach().clone()
    kinks[3:] = y.detach().median()
    outer = torch.from_numpy(layer.rng.standard_normal(len(y)))
    hidden = torch.nn.functional.leaky_relu(y - kinks, 0.3)
    assert (hidden[:3] == 0).all() and (hidden > 0).any()
    loss = (outer * hidden).sum() + hidden.square().sum()
    grad_w, back = torch.autograd.grad(loss, [layer.w, y])
    same(grad_w.numpy(), layer.predicted(back.numpy())[0], scale=1 + grad_w.abs().max().item())


@pytest.mark.parametrize("seed", range(10))
def test_torch_weight_used_twice(seed):
    """Uses add up, each with its own batch, scale and rate."""
    layer, other = Layer(seed), Layer(seed)
    other.norm.weight.data.mul_(-0.4)
    other.w = layer.w
    rows = torch.tanh(layer.rows) + 0.3 * layer.rows**2
    uses = [layer.outputs(), other.outputs(rows)]
    backs = [torch.from_numpy(layer.rng.standard_normal(len(rows))) for _ in uses]
    (grad_w,) = torch.autograd.grad(uses, layer.w, backs)
    expected = layer.predicted(backs[0].numpy())[0] + other.predicted(backs[1].numpy(), rows)[0]
    same(grad_w.numpy(), expected, scale=1 + np.abs(expected).max())


@pytest.mark.parametrize("seed", range(10))
def test_torch_evaluation_mode_has_no_penalty(seed):
    layer = Layer(seed)
    layer.norm.running_var.fill_(1.7)
    layer.norm.eval()
    y = layer.outputs()
    back = torch.from_numpy(layer.rng.standard_normal(len(y)))
    grad_w, grad_gamma = torch.autograd.grad(y, [layer.w, layer.norm.weight], back)
    gamma = layer.norm.weight.item()
    same(grad_w.numpy(), gamma / np.sqrt(1.7 + 1e-5) * (layer.rows.T @ back).numpy())
    same((layer.w.detach() @ grad_w).item(), gamma * grad_gamma.item(), scale=back.abs().sum().item())


def test_torch_report_columns():
    case = net(0, eps=1e-2)
    frame = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn).to_frame()
    folded = [case.folded(position) for position in case.pairs]
    assert tuple(frame.columns) == COLUMNS
    same(frame["gamma"].to_numpy(), np.concatenate([each["gamma"] for each in folded]), rtol=1e-15)
    same(frame["batch_var"].to_numpy(), np.concatenate([each["variance"] for each in folded]), rtol=1e-12)
    same(
        frame["weight_norm"].to_numpy(),
        np.concatenate([np.linalg.norm(each["w"], axis=1) for each in folded]),
        rtol=1e-14,
    )
    assert list(frame["linear"]) == [str(p) for p, each in zip(case.pairs, folded) for _ in each["w"]]
    assert list(frame["channel"]) == [k for each in folded for k in range(len(each["w"]))]


@pytest.mark.parametrize("eps", [1e-30, 1e-2])
def test_torch_report_by_layer(eps):
    """One weight decay for a whole layer: the pull along all its effective weights over their squared norm."""
    case = net(0, eps=eps)
    report = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    folded = [case.folded(position) for position in case.pairs]
    same(report.effective_norm, np.concatenate([np.linalg.norm(each["v"], axis=1) for each in folded]), rtol=1e-12)
    layers = report.by_layer()
    assert list(layers["linear"]) == [str(position) for position in case.pairs]
    assert list(layers["channels"]) == list(layers["measured"]) == [len(each["v"]) for each in folded]
    same(layers["rate"].to_numpy(), [rate(each["v"], each["grad_v"], each["gamma"]).mean() for each in folded])
    same(
        layers["l2_rate"].to_numpy(), [-(each["v"] * each["grad_v"]).sum() / (each["v"] ** 2).sum() for each in folded]
    )


@drawn(st.integers(0, 2**32 - 1), st.integers(1, 6), gammas, st.floats(-3, 8))
def test_property_l2_rate_lies_between_the_directions_rates(seed, d, gamma, exponent):
    """eps = 0: alpha / lambda = v'Sigma v / |v|^2, a Rayleigh quotient, however ill-conditioned Sigma is."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    s = np.geomspace(10.0 ** -max(exponent, 0), 1.0, d)
    v = effective_weights(rng.standard_normal(d), gamma, (Q * s) @ Q.T)
    grad_v = rng.standard_normal(d)
    multiplier, alpha = rate(v, grad_v, gamma), l2_equivalent_rate(v, grad_v)
    assert np.sign(alpha) == np.sign(multiplier)
    assert s.min() * (1 - 1e-6) <= alpha / multiplier <= s.max() * (1 + 1e-6)


@drawn(st.integers(0, 2**32 - 1), st.integers(1, 6), gammas, st.floats(0.1, 10))
def test_property_signs_scales_and_rows(seed, d, gamma, factor):
    rng = np.random.default_rng(seed)
    v, grad_v = rng.standard_normal((2, 3, d))
    multipliers = rate(v, grad_v, gamma)
    same(rate(v, grad_v, -gamma), multipliers, rtol=1e-14)
    same(rate(v, factor * grad_v, gamma), factor * multipliers, rtol=1e-12)
    same(rate(v, grad_v, factor * gamma), multipliers / factor**2, rtol=1e-12)
    same(
        rate(v, grad_v, [gamma, 1.0, -2.0]),
        [rate(v[0], grad_v[0], gamma), rate(v[1], grad_v[1], 1), rate(v[2], grad_v[2], 2)],
        1e-12,
    )
    same(l2_equivalent_rate(factor * v, grad_v), l2_equivalent_rate(v, grad_v) / factor, rtol=1e-12)
    along = v - grad_v * ((v * grad_v).sum(axis=1) / (grad_v**2).sum(axis=1))[:, None]
    assert np.abs(rate(along, grad_v, 1.0)).max() < 1e-12  # only the part of the gradient along v counts


BROKEN = {
    "sign flipped": lambda v, g, gamma: (v @ g) / gamma**2,
    "square on gamma dropped": lambda v, g, gamma: -(v @ g) / gamma,
    "gamma inverted": lambda v, g, gamma: -(v @ g) * gamma**2,
    "factor two": lambda v, g, gamma: -2 * (v @ g) / gamma**2,
    "|v|^2 for gamma^2": lambda v, g, gamma: -(v @ g) / (v @ v),
    "gradient's norm for its part along v": lambda v, g, gamma: (g @ g) / gamma**2,
}
BROKEN_L2 = {
    "sign flipped": lambda v, g: (v @ g) / (v @ v),
    "square dropped": lambda v, g: -(v @ g) / np.sqrt(float(v @ v)),
    "gradient's norm": lambda v, g: -(v @ g) / (g @ g),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_rate_is_caught(name):
    with pytest.raises(AssertionError):
        for unit in UNITS.values():
            assert_gradient(BROKEN[name], unit)


@pytest.mark.parametrize("name", BROKEN_L2)
def test_control_broken_l2_rate_is_caught(name):
    with pytest.raises(AssertionError):
        for unit in UNITS.values():
            assert_l2(BROKEN_L2[name], unit)


def _meter_by_hand(case, divisor=lambda variance, eps, rows: variance + eps, power=1, sign=-1.0):
    rates, l2_rates = [], []
    for position in case.pairs:
        folded = case.folded(position)
        _, grad_gamma, _ = case.gradients(position)
        multiplier = sign * grad_gamma / folded["gamma"] ** power
        rates.append(multiplier)
        s_squared = divisor(folded["variance"], case.layers[position + 1].eps, len(case.labels))
        l2_rates.append(multiplier * s_squared / (folded["w"] ** 2).sum(axis=1))
    return np.concatenate(rates), np.concatenate(l2_rates)


BROKEN_METERS = {
    "eps dropped": {"divisor": lambda variance, eps, rows: variance},
    "unbiased variance": {"divisor": lambda variance, eps, rows: variance * rows / (rows - 1) + eps},
    "gamma squared": {"power": 2},
    "gamma inverted": {"power": -1},
    "sign flipped": {"sign": 1.0},
}


def test_torch_meter_by_hand():
    assert_measured(_meter_by_hand, net(1, eps=1e-2))


@pytest.mark.parametrize("name", BROKEN_METERS)
def test_control_broken_meter_is_caught(name):
    with pytest.raises(AssertionError):
        assert_measured(lambda case: _meter_by_hand(case, **BROKEN_METERS[name]), net(1, eps=1e-2))


def test_control_penalty_must_be_weighted_by_the_covariance():
    """Plain weight decay alpha v in place of lambda Sigma v is no gradient of the batch-normalized unit."""
    unit = UNITS[4]
    with pytest.raises(AssertionError):
        same(unit.gamma / unit.s * (unit.grad_v + exact_l2_rate(unit.v, unit.grad_v) * unit.v), unit.grad_w)


def test_control_a_way_around_normalization_is_caught():
    """z also bypasses BN: the rate is still read off gamma, the gradient is no longer that of the theorem."""
    layer = Layer(3)
    y = layer.outputs()
    back = torch.from_numpy(layer.rng.standard_normal(len(y)))
    both = y + layer.rows @ layer.w
    grad_w, grad_gamma = torch.autograd.grad(both, [layer.w, layer.norm.weight], back)
    expected, multiplier = layer.predicted(back.numpy())
    same(-grad_gamma.item() / layer.norm.weight.item(), multiplier, scale=back.abs().sum().item())
    with pytest.raises(AssertionError):
        same(grad_w.numpy(), expected)


def test_control_training_mode_is_not_evaluation_mode():
    """w'grad_w J is 0 for eps = 0 while it trains, and not gamma dJ/dgamma."""
    layer = Layer(4, eps=1e-30)
    y = layer.outputs()
    grad_w, grad_gamma = torch.autograd.grad(y.square().sum() + y.sum(), [layer.w, layer.norm.weight])
    same((layer.w.detach() @ grad_w).item(), 0.0, scale=1.0)
    with pytest.raises(AssertionError):
        same((layer.w.detach() @ grad_w).item(), layer.norm.weight.item() * grad_gamma.item())


def test_control_bias_must_move_with_the_weights():
    """The gradient of L at fixed bias is another one unless the inputs are centred."""
    rng = np.random.default_rng(0)
    case = net(2)
    case.inputs.copy_(torch.from_numpy(correlated(rng, *case.inputs.shape) + 5.0))
    folded = case.folded(0)
    h, norm = case.features(0), case.layers[1]
    v = torch.from_numpy(folded["v"]).requires_grad_()
    bias = norm.bias.detach() - v.detach() @ h.mean(dim=0)
    (grad,) = torch.autograd.grad(case.loss_fn(case.layers[2:](h @ v.T + bias), case.labels), v)
    with pytest.raises(AssertionError):
        same(rate(folded["v"], grad.numpy(), folded["gamma"]), rate(folded["v"], folded["grad_v"], folded["gamma"]))
