"""Theorem depth: the rate at any depth, and the gauge of the raw weights."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from convolutions import conv_net
from counting import drawn, each
from hypothesis import strategies as st
from instances import LOSSES, SEEDS, Dual, Rational, correlated, derivative, net, root, same
from torch import nn

from bnlib.meter import measure
from bnlib.theory import rate, weight_decay_rate
from bnlib.training import settle


def relu(z):
    return np.array([[x if Dual.of(x).value > 0 else x * 0 for x in row] for row in z])


def centred(h):
    return h - h.sum(axis=0) / len(h)


class ExactNetwork:
    """Linear, BN, ReLU, Linear, BN, quartic loss, on a rational batch; every eps makes its root rational."""

    def __init__(self, seed):
        source = Rational(seed)
        rows = 4 + source.d
        self.X, self.t = source.matrix(rows), source.vector(rows)
        self.d, self.hidden = source.d, 2
        self.w = [source.matrix(self.hidden), np.array([source.vector(self.hidden)])]
        self.gamma = [source.vector(self.hidden), source.vector(1)]
        self.beta = [source.vector(self.hidden), source.vector(1)]
        self.eps, h = [], self.X
        for layer in range(2):
            variances = (centred(h @ self.w[layer].T) ** 2).sum(axis=0) / rows
            self.eps.append(np.array([source.eps_for(q) for q in variances]))
            h = relu(self.batch_norm(layer, h, self.w[layer], self.gamma[layer]))

    def batch_norm(self, layer, h, w, gamma):
        z = centred(h @ w.T)
        s = np.array([root(q) for q in (z**2).sum(axis=0) / len(z) + self.eps[layer]])
        return z * gamma / s + self.beta[layer]

    def features(self, layer):
        return relu(self.batch_norm(0, self.X, self.w[0], self.gamma[0])) if layer else self.X

    def after(self, layer, output):
        """The loss as a function of what leaves the normalization at `layer`."""
        if layer == 0:
            output = self.batch_norm(1, relu(output), self.w[1], self.gamma[1])
        error = output[:, 0] - self.t
        return (error**2 / 2 + error**4 / 40).sum() / len(error)

    def unit(self, layer, k):
        """Everything theorem rate speaks of, for unit k of `layer`; derivatives by dual numbers."""
        h, w, gamma = self.features(layer), self.w[layer], self.gamma[layer]
        cov = centred(h).T @ centred(h) / len(h)
        q = w[k] @ cov @ w[k]
        s = root(q + self.eps[layer][k])

        def of_w(row):
            return self.after(layer, self.batch_norm(layer, h, replaced(w, k, row), gamma))

        def of_gamma(scale):
            return self.after(layer, self.batch_norm(layer, h, w, replaced(gamma, k, scale)))

        def of_v(v):
            output = self.batch_norm(layer, h, w, gamma).copy()
            output[:, k] = centred(h) @ v + self.beta[layer][k]
            return self.after(layer, output)

        v = gamma[k] * w[k] / s
        return {
            "w": w[k], "gamma": gamma[k], "cov": cov, "q": q, "s": s, "eps": self.eps[layer][k], "v": v,
            "grad_w": derivative(of_w, w[k]), "grad_gamma": derivative(of_gamma, gamma[k]), "grad_v": derivative(of_v, v),
        }  # fmt: skip


def replaced(array, k, value):
    array = np.array(array, dtype=object)
    array[k] = value
    return array


NETWORKS = {seed: ExactNetwork(seed) for seed in SEEDS}
UNITS = {
    f"{seed}, layer {layer}, unit {k}": network.unit(layer, k)
    for seed, network in NETWORKS.items()
    for layer, k in ((0, 0), (0, 1), (1, 0))
}
ALIVE = {name: unit for name, unit in UNITS.items() if unit["grad_gamma"] != 0 and unit["w"].any()}


def exact_rate(v, grad_v, gamma):
    return -(v @ grad_v) / gamma**2


def assert_depth(candidate, unit):
    multiplier = candidate(unit["v"], unit["grad_v"], unit["gamma"])
    same(multiplier, -unit["grad_gamma"] / unit["gamma"])
    same(multiplier * (unit["cov"] @ unit["v"]), unit["s"] / unit["gamma"] * unit["grad_w"] - unit["grad_v"])


@pytest.mark.parametrize("candidate", [exact_rate, rate], ids=["fractions", "bnlib"])
def test_exact_rate_in_every_layer_of_a_deep_network(candidate):
    assert len(ALIVE) > 100
    for unit in each(ALIVE):
        assert_depth(candidate, unit)


def test_exact_gauge():
    """w'grad_w J = (eps / (q + eps)) gamma dJ/dgamma."""
    for unit in each(UNITS):
        expected = unit["eps"] / unit["s"] ** 2 * unit["gamma"] * unit["grad_gamma"]
        same(unit["w"] @ unit["grad_w"], expected)


def exact_decay_rate(decay, norm_squared, q, gamma, eps):
    return decay * norm_squared * (q + eps) / (eps * gamma**2)


def bnlib_decay_rate(decay, norm_squared, q, gamma, eps):
    return weight_decay_rate(float(decay), np.sqrt(float(norm_squared)), float(q), float(gamma), float(eps))


def assert_decay(candidate, unit):
    """w'(grad_w J + a w) = 0 holds for one a; the rate it names is -(1/gamma) dJ/dgamma. -J where a would be negative."""
    norm_squared = unit["w"] @ unit["w"]
    decay, multiplier = -(unit["w"] @ unit["grad_w"]) / norm_squared, -unit["grad_gamma"] / unit["gamma"]
    if decay < 0:
        decay, multiplier = -decay, -multiplier
    same(candidate(decay, norm_squared, unit["q"], unit["gamma"], unit["eps"]), multiplier)


@pytest.mark.parametrize("candidate", [exact_decay_rate, bnlib_decay_rate], ids=["fractions", "bnlib"])
def test_exact_weight_decay_rate(candidate):
    for unit in each(ALIVE):
        assert_decay(candidate, unit)


def test_exact_scale_of_a_layer_is_unseen_after_the_next():
    """sum_j gamma_j dJ/dgamma_j + beta_j dJ/dbeta_j = 0 where the next BN has eps = 0; an even loss needs no root there."""
    for network in each(NETWORKS):

        def loss(parameters, network=network):
            k = network.hidden
            normalized = network.batch_norm(0, network.X, network.w[0], Rational(0).vector(k) * 0 + 1) - network.beta[0]
            z = centred(relu(normalized * parameters[:k] + parameters[k:]) @ network.w[1].T)[:, 0]
            variance = (z**2).sum()
            pairs = z[:-1] * z[1:]
            return Fraction(1) * 0 if Dual.of(variance).value == 0 else (pairs * network.t[1:]).sum() / variance

        parameters = np.concatenate([network.gamma[0], network.beta[0]])
        same(parameters @ derivative(loss, parameters), Fraction(0))


def deep_net(seed, eps, loss):
    return net(seed, eps, loss, depth=2 + seed % 4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("eps", [1e-30, 1e-5, 1e-2])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("build", [deep_net, conv_net])
def test_torch_depth_and_gauge(build, seed, eps, loss):
    """In convolutions Sigma is the covariance of the patches, over images and positions."""
    case = build(seed, eps, loss)
    for position in case.pairs:
        folded = case.folded(position)
        grad_w, grad_gamma, _ = case.gradients(position)
        multiplier = rate(folded["v"], folded["grad_v"], folded["gamma"])
        same(multiplier, -grad_gamma / folded["gamma"], scale=folded["pull"] / folded["gamma"] ** 2)
        ratio = (folded["gamma"] / np.sqrt(folded["variance"] + eps))[:, None]
        penalized = folded["grad_v"] + multiplier[:, None] * folded["v"] @ folded["cov"]
        same(ratio * penalized, grad_w, scale=np.abs(ratio * folded["grad_v"]).max(axis=1, keepdims=True))
        expected = eps / (folded["variance"] + eps) * folded["gamma"] * grad_gamma
        same((folded["w"] * grad_w).sum(axis=1), expected, rtol=1e-12, scale=folded["pull"])


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
@pytest.mark.parametrize("seed", range(4))
def test_torch_scale_of_a_layer_is_unseen_after_the_next(seed, activation):
    case = net(seed, eps=1e-30, depth=3, activation=activation)
    for position in case.pairs[:-1]:
        norm = case.layers[position + 1]
        _, grad_gamma, grad_beta = case.gradients(position)
        terms = np.concatenate([norm.weight.detach().numpy() * grad_gamma, norm.bias.detach().numpy() * grad_beta])
        assert abs(terms.sum()) < 1e-12 * np.abs(terms).sum()
        assert abs((norm.weight.detach().numpy() * grad_gamma).sum()) > 1e-6 * np.abs(terms).sum()  # not term by term
        before = case.layers(case.inputs).detach().numpy()
        norm.weight.data *= 3.7
        norm.bias.data *= 3.7
        same(case.layers(case.inputs).detach().numpy(), before, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_torch_plain_descent_grows_the_weights_and_shrinks_the_step(seed):
    """|w|^2 grows by (step |grad|)^2, and a step on c w is a step / c^2 on w."""
    step, factor = 0.3, 4.0
    case = net(seed, eps=1e-30)
    position = case.pairs[0]
    grad = case.gradients(position)[0]
    w = case.layers[position].weight.detach().numpy()
    after = w - step * grad
    same((after**2).sum(axis=1), (w**2).sum(axis=1) + step**2 * (grad**2).sum(axis=1), rtol=1e-12)
    scaled = copy.deepcopy(case)
    scaled.layers[position].weight.data *= factor
    scaled_after = factor * w - step * factor**2 * scaled.gradients(position)[0]
    same(scaled_after / factor, after, rtol=1e-10)


def test_torch_weight_decay_at_stationarity():
    """J + (a/2)|w|^2 trained to stationarity: the meter reads a |w|^2 (q + eps) / (eps gamma^2)."""
    rng = np.random.default_rng(0)
    decay, eps = 1e-2, 0.5
    X = torch.from_numpy(correlated(rng, 60, 3))
    t = X @ torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64) + torch.from_numpy(rng.standard_normal(60))
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.BatchNorm1d(1, eps=eps)).double()
    model[1].weight.requires_grad_(False).fill_(0.8)
    model[0].weight.data.fill_(0.3)

    def loss_fn(output, target):
        return (output[:, 0] - target).square().mean() / 2

    def decayed():
        return loss_fn(model(X), t) + decay / 2 * model[0].weight.square().sum()

    assert settle([model[0].weight, model[1].bias], decayed) < 1e-11
    report = measure(model, [(X, t)], loss_fn)
    same(weight_decay_rate(decay, report.weight_norm, report.batch_var, report.gamma, eps), report.rate, rtol=1e-9)
    assert report.rate > 0.1


@drawn(st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-5, 1e-2, 1.0]), st.floats(1e-3, 1e3))
def test_property_meter_does_not_see_the_weights_scale(seed, eps, factor):
    """(w, eps) and (c w, c^2 eps) are the same unit: same rate, alpha too, since it is one of v."""
    case = net(seed, eps=eps, depth=2)
    before = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    for position in case.pairs:
        case.layers[position].weight.data *= factor
        case.layers[position].bias.data *= factor
        case.layers[position + 1].eps = factor**2 * eps
    after = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    same(after.rate, before.rate)
    same(after.l2_rate, before.l2_rate)
    same(after.weight_norm, factor * before.weight_norm, rtol=1e-12)


@drawn(st.floats(1e-8, 1.0), st.floats(1e-3, 1e3), st.floats(0, 1e3), st.floats(0.05, 20.0), st.floats(1e-12, 1.0))
def test_property_weight_decay_rate(decay, norm, q, gamma, eps):
    found = weight_decay_rate(decay, norm, q, gamma, eps)
    same(weight_decay_rate(2 * decay, norm, q, -gamma, eps), 2 * found, rtol=1e-12)
    same(weight_decay_rate(decay, norm, q, 3 * gamma, eps), found / 9, rtol=1e-12)
    same(weight_decay_rate(decay, 2 * norm, 4 * q, gamma, 4 * eps), 4 * found, rtol=1e-12)
    assert found >= decay * norm**2 / gamma**2 * (1 - 1e-12)
    assert weight_decay_rate(decay, norm, q, gamma, eps / 2) >= found


BROKEN = {
    "sign flipped": lambda v, g, gamma: (v @ g) / gamma**2,
    "square on gamma dropped": lambda v, g, gamma: -(v @ g) / gamma,
    "|v|^2 for gamma^2": lambda v, g, gamma: -(v @ g) / (v @ v),
}
BROKEN_DECAY = {
    "q dropped": lambda a, n, q, gamma, eps: a * n * eps / (eps * gamma**2),
    "eps dropped above": lambda a, n, q, gamma, eps: a * n * q / (eps * gamma**2),
    "eps and q swapped": lambda a, n, q, gamma, eps: a * n * (q + eps) / (q * gamma**2),
    "|w| for |w|^2": lambda a, n, q, gamma, eps: a * np.sqrt(float(n)) * (q + eps) / (eps * gamma**2),
    "square on gamma dropped": lambda a, n, q, gamma, eps: a * n * (q + eps) / (eps * abs(gamma)),
    "sign flipped": lambda a, n, q, gamma, eps: -a * n * (q + eps) / (eps * gamma**2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_rate_is_caught(name):
    with pytest.raises(AssertionError):
        for unit in ALIVE.values():
            assert_depth(BROKEN[name], unit)


@pytest.mark.parametrize("name", BROKEN_DECAY)
def test_control_broken_decay_is_caught(name):
    with pytest.raises(AssertionError):
        for unit in ALIVE.values():
            assert_decay(BROKEN_DECAY[name], unit)


def test_control_sigma_is_that_of_the_layers_own_input():
    """The identity for Sigma, as if deeper features were white, breaks the gradient identity."""
    for unit in [NETWORKS[4].unit(1, 0), NETWORKS[9].unit(0, 0)]:
        with pytest.raises(AssertionError):
            assert_depth(exact_rate, unit | {"cov": np.eye(len(unit["w"]), dtype=int) * Fraction(1)})


def test_control_gauge_needs_eps():
    """With eps > 0 the loss does see |w|: w'grad_w J = 0 is false."""
    with pytest.raises(AssertionError):
        for unit in ALIVE.values():
            same(unit["w"] @ unit["grad_w"], Fraction(0))


@pytest.mark.parametrize("seed", range(6))
def test_torch_layer_normalization_has_one_rate_a_row_and_a_gauge_of_the_layer(seed):
    generator = torch.Generator().manual_seed(seed)
    h, W, gains = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((9, 4), (5, 4), (5,)))
    W.requires_grad_(), gains.requires_grad_()
    z = h @ W.t()
    centred_rows = z - z.mean(dim=1, keepdim=True)
    z_hat = centred_rows / centred_rows.square().mean(dim=1, keepdim=True).sqrt()
    y = nn.functional.layer_norm(z, (5,), gains, eps=0.0)
    assert torch.allclose(y, gains * z_hat)
    y.retain_grad()
    LOSSES["cross-entropy"](y, torch.arange(9) % 5).backward()
    z, z_hat, centred_rows, y_grad = z.detach(), z_hat.detach(), centred_rows.detach(), y.grad
    slopes, weights = gains.grad, gains.detach()
    rates = -(z_hat * weights * y_grad).mean(dim=1)
    same(float(rates.sum()), float(-(weights * slopes).sum() / 5))
    pulls = (weights * y_grad) - (weights * y_grad).mean(dim=1, keepdim=True)
    s = centred_rows.square().mean(dim=1, keepdim=True).sqrt()
    same((((pulls / s).t() @ h) + ((rates[:, None] / s**2 * centred_rows).t() @ h)).numpy(), W.grad.numpy())
    along = (W.detach() * W.grad).sum(dim=1)
    assert abs(float(along.sum())) < 1e-12
    # not unit by unit
    assert float(along.abs().max()) > 1e-4
