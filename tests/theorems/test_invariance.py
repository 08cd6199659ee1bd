"""Theorem invariance: what the rate depends on and what it does not."""

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import LOSSES, SEEDS, Rational, derivative, moments_of, net, problems, root, same, solve
from sklearn.linear_model import Ridge
from torch import nn

from bnlib.meter import measure
from bnlib.moments import Moments
from bnlib.theory import effective_weights, l2_equivalent_rate, least_squares, rate


def loss_of(output, t):
    error = output - t
    return (error**2 + error**4 / 5).sum() / len(t)


class ExactState:
    """Everything theorem invariance speaks of for one unit on a rational batch, at a rational w."""

    def __init__(self, X, t, w, gamma, beta, eps):
        mean, self.cov, _, _ = moments_of(X, t)
        self.w, self.gamma = w, gamma
        self.v = gamma * w / root(w @ self.cov @ w + eps)
        self.grad_v = derivative(lambda v: loss_of((X - mean) @ v + beta, t), self.v)
        self.output = (X - mean) @ self.v + beta
        self.rate = -(self.v @ self.grad_v) / gamma**2
        self.l2_rate = -(self.v @ self.grad_v) / (self.v @ self.v)


class TransformedCase:
    """One unit on X and on A X + b, its raw weights moved along: w becomes A^-T w."""

    def __init__(self, seed):
        source = Rational(seed)
        rows = 4 + source.d
        self.X, self.t, w = source.matrix(rows), source.vector(rows), source.vector()
        self.A, self.b, self.scale = source.invertible(), source.vector(), source.nonzero()
        gamma, beta = source.nonzero(), source.number()
        _, cov, _, _ = moments_of(self.X, self.t)
        eps = source.eps_for(w @ cov @ w)
        self.before = ExactState(self.X, self.t, w, gamma, beta, eps)
        self.after = ExactState(self.X @ self.A.T + self.b, self.t, solve(self.A.T, w), gamma, beta, eps)
        self.rescaled = ExactState(self.scale * self.X, self.t, w / self.scale, gamma, beta, eps)


CASES = {seed: TransformedCase(seed) for seed in SEEDS}


def assert_invariant(candidate, case):
    """`candidate(state)` does not see x -> A x + b."""
    same(candidate(case.after), candidate(case.before))


def assert_scales(candidate, case, power=2):
    """`candidate(state)` takes a factor a^power under x -> a x."""
    same(candidate(case.rescaled), case.scale**power * candidate(case.before))


@pytest.mark.parametrize(
    "candidate",
    [lambda state: state.rate, lambda state: rate(state.v, state.grad_v, state.gamma), lambda state: state.output],
    ids=["fractions", "bnlib", "predictions"],
)
def test_exact_rate_and_predictions_are_affine_invariant(candidate):
    for case in each(CASES):
        assert_invariant(candidate, case)
        assert_scales(candidate, case, power=0)


@pytest.mark.parametrize(
    "candidate",
    [lambda state: state.l2_rate, lambda state: l2_equivalent_rate(state.v, state.grad_v)],
    ids=["fractions", "bnlib"],
)
def test_exact_l2_rate_takes_the_square_of_the_scale(candidate):
    for case in each(CASES):
        assert_scales(candidate, case)


def test_exact_best_hand_tuned_rate_scales_alike():
    """The ridge fit at rate a^2 alpha on a x predicts what the one at alpha on x does: v becomes v / a."""
    for seed in each(SEEDS):
        source = Rational(seed)
        A = source.invertible()
        cov, cross, alpha, a = A @ A.T, source.vector(), source.positive(), source.nonzero()
        eye = np.diag([1] * source.d)
        same(solve(a**2 * cov + a**2 * alpha * eye, a * cross), solve(cov + alpha * eye, cross) / a)


def test_exact_weight_normalization_is_the_constraint_with_the_identity():
    """v = gamma w / |w|: the same formulas with Sigma replaced by I, and no data in them."""
    for seed in each(SEEDS):
        source = Rational(seed)
        w, gamma = source.of_rational_norm(), source.positive()
        v = gamma * w / root(w @ w)
        same(effective_weights(w, gamma, np.eye(source.d)), v)
        grad_v = source.vector()
        grad_w = gamma * derivative(lambda w, g=grad_v: (w / root((w**2).sum())) @ g, w)
        same(gamma / root(w @ w) * (grad_v - (v @ grad_v) / gamma**2 * v), grad_w)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("eps", [1e-30, 1e-2])
@pytest.mark.parametrize("seed", range(10))
def test_torch_rates_of_the_first_layer_under_an_affine_map(seed, eps, loss):
    rng = np.random.default_rng(seed)
    case = net(seed, eps, loss)
    before = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    output = case.layers(case.inputs).detach()
    d = case.inputs.shape[1]
    A = torch.from_numpy(np.eye(d) + 0.3 * rng.standard_normal((d, d)))
    moved = case.inputs @ A.T + torch.from_numpy(rng.standard_normal(d))
    weight = case.layers[0].weight
    weight.data = weight.data @ torch.linalg.inv(A)
    after = measure(case.layers, [(moved, case.labels)], case.loss_fn)
    same(case.layers(moved).detach().numpy(), output.numpy())
    same(after.rate, before.rate)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("seed", [1, 3, 4])
def test_torch_l2_rate_of_the_first_layer_scales(seed, scale, loss):
    case = net(seed, 1e-30, loss)
    before = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    case.layers[0].weight.data /= scale
    after = measure(case.layers, [(scale * case.inputs, case.labels)], case.loss_fn)
    first = np.array(before.linear) == "0"
    same(after.l2_rate[first], scale**2 * before.l2_rate[first])
    same(after.l2_rate[~first], before.l2_rate[~first])
    same(after.rate, before.rate)


def test_torch_weight_norm_has_the_gradient_of_the_identity():
    case = net(3)
    linear = nn.utils.parametrizations.weight_norm(case.layers[0])
    magnitude, direction = linear.parametrizations.weight.original0, linear.parametrizations.weight.original1
    case.loss().backward()
    w, gamma = direction.detach().numpy(), magnitude.detach().numpy()[:, 0]
    v = effective_weights(w, gamma, np.eye(w.shape[1]))
    same(linear.weight.detach().numpy(), v, rtol=1e-14)
    multiplier = -magnitude.grad.numpy()[:, 0] / gamma
    leaf = torch.from_numpy(v).requires_grad_()
    output = case.layers[1:](nn.functional.linear(case.inputs, leaf, linear.bias.detach()))
    (grad_v,) = torch.autograd.grad(case.loss_fn(output, case.labels), leaf)
    same(rate(v, grad_v.numpy(), gamma), multiplier)
    same(
        (gamma / np.linalg.norm(w, axis=1))[:, None] * (grad_v.numpy() + multiplier[:, None] * v),
        direction.grad.numpy(),
    )


def transformed(moments, A, b):
    cov = A @ moments.cov @ A.T
    return Moments(A @ moments.mean + b, (cov + cov.T) / 2, A @ moments.cross, moments.target_var)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_torch_layer_normalization_is_invariant_under_linear_maps(norm):
    """It normalizes outputs, which the weights keep: W A^-1 on A x puts out what W does on x, gradients in gains included."""
    rng = np.random.default_rng(5)
    x, A = torch.from_numpy(rng.standard_normal((30, 4))), torch.from_numpy(rng.standard_normal((4, 4)) + 2 * np.eye(4))
    W, layer = torch.from_numpy(rng.standard_normal((6, 4))), norm(6, dtype=torch.float64)
    found = []
    for rows, weights in ((x, W), (x @ A.T, W @ torch.linalg.inv(A))):
        output = layer(rows @ weights.T)
        (grad,) = torch.autograd.grad(output.sin().sum(), layer.weight)
        found.append((output.detach().numpy(), grad.numpy()))
    same(found[1][0], found[0][0], rtol=1e-11)
    same(found[1][1], found[0][1], rtol=1e-11)
    with pytest.raises(AssertionError):  # a shift of the inputs is undone by a bias, which there is none of
        same(layer((x + 1.0) @ W.T).detach().numpy(), found[0][0])


@drawn(problems("well", "single", "ill"), st.integers(0, 2**32 - 1), st.floats(0.05, 20.0))
def test_property_least_squares_is_affine_invariant(case, seed, gamma):
    rng = np.random.default_rng(seed)
    d = len(case.s)
    A = np.linalg.qr(rng.standard_normal((d, d)))[0] * rng.uniform(0.5, 2.0, d)
    size = gamma * case.explained_std
    before, after = (
        least_squares(case.moments, size),
        least_squares(transformed(case.moments, A, rng.standard_normal(d)), size),
    )
    same(1 + after.rate, 1 + before.rate, case.tolerance)
    same(after.loss, before.loss, case.tolerance * 10)
    same(after.weights, np.linalg.solve(A.T, before.weights), max(case.tolerance * 10, 1e-9))


@drawn(problems(), st.floats(1e-3, 1e3), st.floats(0.05, 20.0))
def test_property_unit_of_measurement(case, scale, gamma):
    d = len(case.s)
    size = gamma * case.explained_std
    before, after = (
        least_squares(case.moments, size),
        least_squares(transformed(case.moments, scale * np.eye(d), 1.0), size),
    )
    same(1 + after.rate, 1 + before.rate, case.tolerance)
    same(after.weights, before.weights / scale, 1e-9 if case.tolerance < 1e-9 else 1e-7)
    # alpha cancels where gamma = R sigma_t: its own size there is (1 + lambda) v'Sigma v / |v|^2
    shift = size**2 / (before.weights @ before.weights)
    same(after.l2_rate + scale**2 * shift, scale**2 * (before.l2_rate + shift), max(case.tolerance, 1e-9))


def test_property_l2_without_normalization_must_be_retuned():
    """The ridge fit at a fixed rate is not equivariant; the batch-normalized one is."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    t = X @ [1.0, -2.0, 0.5] + rng.standard_normal(50)
    predictions = [Ridge(alpha=5.0).fit(a * X, t).predict(a * X) for a in (1.0, 0.1)]
    assert np.abs(predictions[0] - predictions[1]).max() > 0.5
    fits = [a * X @ least_squares(Moments.from_data(a * X, t), 0.5).weights for a in (1.0, 0.1)]
    same(fits[0], fits[1], rtol=1e-12)


BROKEN = {
    "the L2-equivalent rate is not invariant": lambda state: state.l2_rate,
    "nor is the gradient's own size": lambda state: state.grad_v @ state.grad_v,
    "nor weight normalization's v'grad": lambda state: (state.w @ state.grad_v) ** 2 / (state.w @ state.w),
}
BROKEN_SCALES = {
    "lambda takes no factor": lambda state: state.rate,
    "alpha without |v|^2": lambda state: state.l2_rate * (state.v @ state.v),
    "alpha squared": lambda state: state.l2_rate**2,
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_what_is_not_invariant_is_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_invariant(BROKEN[name], case)


@pytest.mark.parametrize("name", BROKEN_SCALES)
def test_control_what_scales_otherwise_is_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_scales(BROKEN_SCALES[name], case)


def test_control_weights_must_move_along():
    """Keeping w while the inputs move is another unit."""
    case = net(1)
    before = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    stretched = case.inputs * torch.linspace(0.5, 2.0, case.inputs.shape[1], dtype=torch.float64)
    after = measure(case.layers, [(stretched, case.labels)], case.loss_fn)
    with pytest.raises(AssertionError):
        same(after.rate, before.rate)
