"""Theorem constraint: batch normalization maps raw weights onto an ellipsoid that the data set, and folding loses nothing."""

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, gammas, moments_of, net, problems, root, same, solve
from torch import nn

from bnlib.models import fold
from bnlib.theory import effective_weights


def exact_case(seed, with_eps):
    """Sigma = A A' and w with sqrt(w'Sigma w + eps) rational."""
    source = Rational(seed)
    A = source.invertible()
    if with_eps:
        w = source.vector()
        eps = source.eps_for(w @ A @ A.T @ w)
    else:
        w, eps = solve(A.T, source.of_rational_norm()), 0
    return w, source.nonzero(), A @ A.T, eps


def assert_on_ellipsoid(candidate, case):
    """v'Sigma v = gamma^2 q / (q + eps): gamma^2 itself where eps = 0, below it elsewhere."""
    w, gamma, cov, eps = case
    q = w @ cov @ w
    v = candidate(w, gamma, cov, eps)
    same(v, gamma * w / root(q + eps))
    same(v @ cov @ v, gamma**2 * q / (q + eps))
    if eps:
        assert v @ cov @ v < gamma**2


def exact_effective_weights(w, gamma, cov, eps):
    return gamma * w / root(w @ cov @ w + eps)


@pytest.mark.parametrize("with_eps", [False, True], ids=["eps=0", "eps>0"])
@pytest.mark.parametrize("candidate", [exact_effective_weights, effective_weights], ids=["fractions", "bnlib"])
def test_exact_image_is_the_ellipsoid(candidate, with_eps):
    for seed in each(SEEDS):
        assert_on_ellipsoid(candidate, exact_case(seed, with_eps))


def test_exact_constant_on_rays_and_onto():
    for seed in each(SEEDS):
        source = Rational(seed)
        w, gamma, cov, _ = exact_case(seed, with_eps=False)
        gamma = abs(gamma)
        v = exact_effective_weights(w, gamma, cov, 0)
        same(exact_effective_weights(source.positive() * w, gamma, cov, 0), v)
        same(exact_effective_weights(-w, gamma, cov, 0), -v)
        same(exact_effective_weights(w, -gamma, cov, 0), -v)
        same(exact_effective_weights(v, gamma, cov, 0), v)  # so every v of the ellipsoid is reached, by w = v


def test_exact_eps_reaches_every_point_inside():
    """v with v'Sigma v < gamma^2 is the image of t v for one t: t^2 (gamma^2 - v'Sigma v) = eps."""
    for seed in each(SEEDS):
        source = Rational(seed)
        w, gamma, cov, _ = exact_case(seed, with_eps=True)
        gamma, stretch = abs(gamma), source.positive()
        v = w * (gamma / (1 + root(source.eps_for(w @ cov @ w) + w @ cov @ w)))
        eps = stretch**2 * (gamma**2 - v @ cov @ v)
        same(exact_effective_weights(stretch * v, gamma, cov, eps), v)


def test_exact_network_output_is_that_of_the_folded_one():
    """gamma (w'x - mean) / s + beta = v'x + b with b = beta - v'mu, row by row."""
    for seed in each(SEEDS):
        source = Rational(seed)
        X = source.matrix(rows=4 + source.d)
        w, gamma, beta = source.vector(), source.nonzero(), source.number()
        mean, cov, _, _ = moments_of(X, X[:, 0])
        eps = source.eps_for(w @ cov @ w)
        z = X @ w
        centred = z - z.sum() / len(z)
        normalized = centred / root(centred @ centred / len(z) + eps)
        v = exact_effective_weights(w, gamma, cov, eps)
        same(gamma * normalized + beta, X @ v + beta - v @ mean)


@pytest.mark.parametrize("eps", [1e-30, 1e-5, 1e-2])
@pytest.mark.parametrize("seed", range(10))
def test_torch_batch_is_folded_exactly(seed, eps):
    case = net(seed, eps=eps)
    for position in case.pairs:
        linear, norm = case.layers[position], case.layers[position + 1]
        h = case.features(position).numpy()
        cov = np.cov(h.T, bias=True).reshape(h.shape[1], -1)
        v = effective_weights(linear.weight.detach().numpy(), norm.weight.detach().numpy(), cov, eps)
        folded = h @ v.T + norm.bias.detach().numpy() - v @ h.mean(axis=0)
        same(case.layers[: position + 2](case.inputs).detach().numpy(), folded, rtol=1e-12)


def test_torch_running_variance_is_unbiased():
    """Training divides by the biased variance, evaluation by the unbiased one: sqrt((M - 1)/M) between the two."""
    rng = np.random.default_rng(0)
    linear, norm = nn.Linear(3, 2, bias=False).double(), nn.BatchNorm1d(2, eps=1e-30, momentum=1.0).double()
    x = torch.from_numpy(rng.standard_normal((8, 3)))
    norm(linear(x))
    cov = np.cov(x.numpy().T, bias=True)
    v = effective_weights(linear.weight.detach().numpy(), norm.weight.detach().numpy(), cov)
    same(fold(linear, norm).weight.detach().numpy(), v * np.sqrt(7 / 8), rtol=1e-13)


@drawn(problems("well", "single", "ill"), gammas, st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_property_constraint_rays_and_box(case, gamma, seed, scale):
    w = np.random.default_rng(seed).standard_normal(len(case.s))
    cov = case.moments.cov
    v = effective_weights(w, gamma, cov)
    same(v @ cov @ v, gamma**2)
    same(effective_weights(scale * w, gamma, cov), v)
    same(effective_weights(-w, -gamma, cov), v)
    slack = 1 + case.tolerance
    assert gamma**2 / case.s.max() <= v @ v * slack
    assert v @ v <= gamma**2 / case.s.min() * slack


@drawn(problems(), gammas, st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3))
def test_property_eps_keeps_inside_and_fills_the_ellipsoid(case, gamma, seed, eps):
    w, cov = np.random.default_rng(seed).standard_normal(len(case.s)), case.moments.cov
    scaled = [effective_weights(scale * w, gamma, cov, eps) for scale in (0.1, 1.0, 10.0)]
    sizes = [v @ cov @ v for v in scaled]
    assert sizes[0] < sizes[1] < sizes[2] < gamma**2
    far = effective_weights(1e8 * np.sqrt(eps / (w @ cov @ w)) * w, gamma, cov, eps)
    same(far @ cov @ far, gamma**2)
    at_zero = effective_weights(0 * w, gamma, cov, eps)
    assert (at_zero == 0).all()


@drawn(problems("singular"), gammas, st.integers(0, 2**32 - 1))
def test_property_singular_covariance(case, gamma, seed):
    """Directions that do not vary are carried along unseen; w wholly within them has nothing to divide by."""
    rng = np.random.default_rng(seed)
    w, null = rng.standard_normal(len(case.s)), case.U[:, case.s == 0]
    cov = case.moments.cov
    v = effective_weights(w, gamma, cov)
    same(v @ cov @ v, gamma**2)
    moved = effective_weights(w + null @ rng.standard_normal(null.shape[1]), gamma, cov)
    same(cov @ moved, cov @ v)


BROKEN = {
    "eps dropped": lambda w, gamma, cov, eps: gamma * w / np.sqrt(float(w @ cov @ w)),
    "eps outside the root": lambda w, gamma, cov, eps: gamma * w / (np.sqrt(float(w @ cov @ w)) + float(eps)),
    "root dropped": lambda w, gamma, cov, eps: gamma * w / (w @ cov @ w + eps),
    "gamma inverted": lambda w, gamma, cov, eps: w / gamma / root(w @ cov @ w + eps),
    "gamma squared": lambda w, gamma, cov, eps: gamma**2 * w / root(w @ cov @ w + eps),
    "gamma's sign dropped": lambda w, gamma, cov, eps: abs(gamma) * w / root(w @ cov @ w + eps),
    "identity for Sigma": lambda w, gamma, cov, eps: gamma * w / np.sqrt(float(w @ w + eps)),
    "unbiased variance": lambda w, gamma, cov, eps: gamma * w / np.sqrt(float(w @ cov @ w * 20 / 19 + eps)),
    "sign flipped": lambda w, gamma, cov, eps: -gamma * w / root(w @ cov @ w + eps),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_folding_is_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_on_ellipsoid(BROKEN[name], exact_case(seed, with_eps=True))
