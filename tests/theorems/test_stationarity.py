"""Theorem stationarity: at a stationary point the rate is the Lagrange multiplier and the price of output variance."""

import functools
import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import (
    LOSSES,
    SEEDS,
    Rational,
    correlated,
    derivative,
    ellipsoid,
    gammas,
    net,
    problems,
    root,
    same,
    settle_directions,
    solve,
)

from bnlib.theory import effective_weights, least_squares, rate
from bnlib.training import settle


class StationaryCase:
    """A quadratic loss 1/2 v'H v - c'v whose stationary point on the ellipsoid is known: c = (H + lambda Sigma) v."""

    def __init__(self, seed):
        source = Rational(seed)
        A, B = source.invertible(), source.matrix()
        self.cov, self.hessian = A @ A.T, B @ B.T
        y = source.of_rational_norm()
        self.gamma, self.v = root(y @ y), solve(A.T, y)
        self.multiplier = source.number()
        self.linear = self.hessian @ self.v + self.multiplier * (self.cov @ self.v)
        self.w = source.positive() * self.v
        self.grad_v = self.hessian @ self.v - self.linear

    def loss(self, v):
        return (v @ self.hessian @ v) / 2 - self.linear @ v

    def normalized_loss(self, w, gamma):
        return self.loss(w * gamma / root(w @ self.cov @ w))

    def price(self):
        """Derivative in gamma of the loss at the stationary point that moves with gamma, from the bordered system."""
        d = len(self.v)
        bordered = np.zeros((d + 1, d + 1), dtype=object)
        bordered[:d, :d] = self.hessian + self.multiplier * self.cov
        bordered[:d, d] = bordered[d, :d] = self.cov @ self.v
        velocity = solve(bordered, np.array([0] * d + [self.gamma]))[:d]
        return self.grad_v @ velocity


CASES = {seed: StationaryCase(seed) for seed in SEEDS}


def exact_rate(v, grad_v, gamma):
    return -(v @ grad_v) / gamma**2


def assert_multiplier(candidate, case):
    multiplier = candidate(case.v, case.grad_v, case.gamma)
    same(multiplier, case.multiplier)
    same(multiplier * (case.cov @ case.v), -case.grad_v)
    same(case.gamma * multiplier, -case.price())


@pytest.mark.parametrize("candidate", [exact_rate, rate], ids=["fractions", "bnlib"])
def test_exact_multiplier_and_shadow_price(candidate):
    for case in each(CASES):
        assert_multiplier(candidate, case)


def test_exact_stationary_on_the_ellipsoid_is_stationary_for_the_raw_weights():
    for case in each(CASES):
        gradient = derivative(lambda w, case=case: case.normalized_loss(w, case.gamma), case.w)
        same(gradient, 0 * gradient)
        same(
            derivative(lambda gamma, case=case: case.normalized_loss(case.w, gamma), case.gamma),
            -case.gamma * case.multiplier,
        )


def test_exact_convex_and_nonnegative_rate_is_a_global_minimum_without_normalization():
    """Penalized loss at u less that at v is 1/2 (u - v)'(H + lambda Sigma)(u - v), for every u."""
    checked = 0
    for seed in each(SEEDS):
        case = CASES[seed]
        source = Rational(seed + 300)
        source.d = len(case.v)
        move = source.vector()
        penalized = [case.loss(u) + case.multiplier / 2 * (u @ case.cov @ u) for u in (case.v + move, case.v)]
        same(penalized[0] - penalized[1], move @ (case.hessian + case.multiplier * case.cov) @ move / 2)
        if case.multiplier >= 0:
            checked += 1
            assert penalized[0] >= penalized[1]
    assert checked > 20


def test_exact_decay_on_gamma_is_the_rate():
    """Least squares: min J + (a/2) gamma^2 is least at gamma = R sigma_t / (1 + a), where lambda = a; a = 0: learned gamma."""
    for seed in each(SEEDS):
        case, source = ellipsoid(seed), Rational(seed)
        for a in (0, source.positive()):
            best = case.explained_std / (1 + a)

            def total(gamma, case=case, a=a):
                return (case.target_var - gamma * case.explained_std * 2 + gamma**2 * (1 + a)) / 2

            same(derivative(total, best), Fraction(0))
            same(least_squares(case.moments, best).rate + 1, a + 1)
            price = derivative(
                lambda gamma, case=case: (case.target_var - gamma * case.explained_std * 2 + gamma**2) / 2, best
            )
            same(price, -best * a)


def adamw_step(gamma, gradient, decay, eps):
    """Of gamma over the learning rate, where averages of constant gradients have settled: m = g, v = g^2."""
    return -gradient / (abs(gradient) + eps) - decay * gamma


def assert_adamw_rests(seed, law):
    """Any gamma short of the free one, of either sign: the eps that the law asks for leaves it exactly where it is."""
    case, source = ellipsoid(seed), Rational(seed)
    gamma = case.explained_std / (1 + source.positive())
    decay = 1 / (gamma * (1 + source.positive()))  # inside the box: decay gamma < 1
    multiplier = case.explained_std / gamma - 1
    eps = multiplier / law(gamma, decay)  # the law is eps times that
    for sign in (1, -1):
        gradient = sign * (gamma - case.explained_std)
        same(adamw_step(sign * gamma, gradient, decay, eps), Fraction(0))
    same(least_squares(case.moments, gamma).rate, eps * law(gamma, decay), rtol=1e-12)
    # and no other gamma between 0 and the free one, below 1/decay, is at rest: the step falls through 0 there
    for factor in (Fraction(9, 10), Fraction(11, 10)):
        moved = gamma * factor
        if moved < case.explained_std:
            assert (adamw_step(moved, moved - case.explained_std, decay, eps) > 0) == (factor < 1)


def test_exact_adamw_at_rest():
    """lambda = eps a / (1 - a |gamma|) where its decoupled decay a is on gamma."""
    for seed in each(SEEDS):
        assert_adamw_rests(seed, lambda gamma, decay: decay / (1 - decay * gamma))


@pytest.mark.parametrize(
    "law",
    [lambda gamma, decay: decay, lambda gamma, decay: decay / (1 + decay * gamma), lambda gamma, decay: gamma],
    ids=["without the box", "sign of the box", "scale for decay"],
)
def test_control_broken_adamw_laws_are_caught(law):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_adamw_rests(seed, law)


# with a gradient everywhere, since stationarity is spoken of
SMOOTH = {
    "squared": LOSSES["squared"],
    "cross-entropy": LOSSES["cross-entropy"],
    "squared hinge": functools.partial(torch.nn.functional.multi_margin_loss, p=2),
}
# of a gradient; where the curvature jumps, nothing is seen below the root of epsilon in a loss
AT_REST = {"squared": 1e-9, "cross-entropy": 1e-9, "squared hinge": 1e-8}
FLATTEST = 1e-3  # the least curvature here: what is left of a gradient, over it, is left of the weights


class Readout:
    """A linear read-out with batch normalization behind frozen random layers, on overlapping classes, trained to rest."""

    def __init__(self, seed, loss="cross-entropy", gamma=None, decay=0.0, eps=1e-30):
        rng = np.random.default_rng(seed)
        frozen = net(seed, depth=1 + seed % 3, activation=torch.nn.Tanh)
        inputs = torch.from_numpy(correlated(rng, int(rng.integers(60, 120)), frozen.inputs.shape[1]))
        self.features = frozen.layers[: 3 * (seed % 3)](inputs).detach()
        X = self.features.numpy()
        d = X.shape[1]
        self.labels = torch.from_numpy(
            (X @ rng.standard_normal((d, 3)) + 3 * X.std() * rng.gumbel(size=(len(X), 3))).argmax(axis=1)
        )
        self.loss_fn, self.rest, self.decay = SMOOTH[loss], AT_REST[loss], decay
        self.cov = np.cov(X.T, bias=True).reshape(d, d)
        self.w = torch.from_numpy(rng.standard_normal((3, d))).requires_grad_()
        self.norm = torch.nn.BatchNorm1d(3, eps=eps).double()
        if gamma is not None:
            self.norm.weight.requires_grad_(False).copy_(torch.as_tensor(gamma))
        others = [p for p in self.norm.parameters() if p.requires_grad]
        assert settle_directions(self.w, others, self.objective, self.rest) < self.rest
        self.minimum = self.objective().item()
        self.gamma = self.norm.weight.detach().numpy()
        self.v = effective_weights(self.w.detach().numpy(), self.gamma, self.cov, eps)
        self.grad_v = self.folded_gradient()
        self.rates = rate(self.v, self.grad_v, self.gamma)

    def objective(self):
        loss = self.loss_fn(self.norm(self.features @ self.w.T), self.labels)
        return loss + self.decay / 2 * self.norm.weight.square().sum()

    def folded_loss(self, v, b):
        return self.loss_fn((self.features - self.features.mean(dim=0)) @ v.T + b, self.labels)

    def folded_gradient(self):
        v = torch.from_numpy(self.v).requires_grad_()
        return torch.autograd.grad(self.folded_loss(v, self.norm.bias.detach()), v)[0].numpy()

    def without_normalization(self, rates):
        """The minimizer of the BN-free loss plus (lambda/2) v'Sigma v, started elsewhere."""
        v = torch.zeros_like(self.w, requires_grad=True)
        b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        cov, rates = torch.from_numpy(self.cov), torch.from_numpy(rates)

        def penalized():
            return self.folded_loss(v, b) + (rates / 2 * torch.einsum("ki,ij,kj->k", v, cov, v)).sum()

        assert settle([v, b], penalized) < self.rest
        return v.detach().numpy(), (b - b.mean()).detach().numpy()


@functools.cache
def shrunk(seed, loss):
    """A read-out whose scales are held at half of what the free fit needs, with either sign: its rates are positive."""
    free = Readout(seed, loss)
    # what all classes have in common the loss does not see, and no fit needs
    v = free.v - free.v.mean(axis=0)
    signs = np.random.default_rng(seed).choice([-0.5, 0.5], 3)
    return Readout(seed, loss, gamma=signs * np.sqrt(np.einsum("ki,ij,kj->k", v, free.cov, v)))


READOUTS = list(itertools.product(range(6), SMOOTH))


@pytest.mark.parametrize("seed, loss", READOUTS)
def test_torch_keeps_its_network_when_normalization_is_removed(seed, loss):
    readout, tolerance = shrunk(seed, loss), AT_REST[loss] / FLATTEST
    assert (readout.rates > 0).all()
    same(readout.grad_v, -readout.rates[:, None] * readout.v @ readout.cov, tolerance)
    v, b = readout.without_normalization(readout.rates)
    beta = readout.norm.bias.detach().numpy()
    same(v, readout.v, tolerance)
    same(b, beta - beta.mean(), tolerance)


@pytest.mark.parametrize("seed, loss", READOUTS[:9])
def test_torch_shadow_price(seed, loss):
    """d(min J)/d gamma, all three scales stretched together, by a central difference of two trainings."""
    step, readout = 1e-3, shrunk(seed, loss)
    low, high = (Readout(seed, loss, (1 + shift) * readout.gamma).minimum for shift in (-step, step))
    same((high - low) / (2 * step), -(readout.gamma**2 * readout.rates).sum(), rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seed, loss", READOUTS[:9])
def test_torch_learned_gamma(seed, loss, decay):
    """Learned gamma: lambda = 0 in every unit; with decay a on gamma: lambda = a."""
    readout = Readout(seed, loss, decay=decay)
    assert np.abs(readout.rates - decay).max() < AT_REST[loss] / FLATTEST


@pytest.mark.parametrize("seed, loss", READOUTS[:9])
def test_torch_eps_inequality(seed, loss):
    """eps > 0 and gamma large enough: the free minimizer lies inside the ellipsoid, BN finds it, and lambda = 0."""
    gamma, tolerance = 4 * np.abs(Readout(seed, loss).gamma), AT_REST[loss] / FLATTEST
    readout = Readout(seed, loss, gamma=gamma, eps=0.1)
    assert np.abs(readout.rates).max() < tolerance
    assert (np.einsum("ki,ij,kj->k", readout.v, readout.cov, readout.v) < gamma**2).all()
    free, b = readout.without_normalization(np.zeros(3))
    beta = readout.norm.bias.detach().numpy()
    same(readout.v - readout.v.mean(axis=0), free - free.mean(axis=0), tolerance)
    same(beta - beta.mean(), b, tolerance)


def rested(optimizer, decay, steps=400, **options):
    """gamma and rate of a least squares unit that torch's optimizer trained on one batch, the decay on gamma alone."""
    rng = np.random.default_rng(3)
    X = correlated(rng, 60, 3)
    t = torch.from_numpy(X @ [1.0, -0.5, 0.2] + rng.standard_normal(60))
    X, norm = torch.from_numpy(X), torch.nn.BatchNorm1d(1, eps=1e-30).double()
    w = torch.linalg.lstsq(X - X.mean(dim=0), (t - t.mean())[:, None]).solution[:, 0].requires_grad_()
    groups = [{"params": [norm.weight], "weight_decay": decay}, {"params": [w, norm.bias], "weight_decay": 0.0}]
    running = optimizer(groups, **options)

    def loss():
        return (norm((X @ w)[:, None])[:, 0] - t).square().mean() / 2

    for _ in range(steps):
        running.zero_grad()
        loss().backward()
        running.step()
    (grad,) = torch.autograd.grad(loss(), [norm.weight])
    gamma = norm.weight.item()
    return gamma, -grad.item() / gamma


ADDED = {
    "plain": (torch.optim.SGD, {"lr": 0.2}),
    "momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "dampening": (torch.optim.SGD, {"lr": 0.2, "momentum": 0.9, "dampening": 0.5}),
    "coupled Adam": (torch.optim.Adam, {"lr": 0.05, "eps": 0.1}),
}


@pytest.mark.parametrize("name", ADDED)
def test_torch_optimizers_that_add_the_decay_to_the_gradient(name):
    """At rest dJ/dgamma + decay gamma = 0, so the rate is the decay."""
    optimizer, options = ADDED[name]
    same(rested(optimizer, 0.3, **options)[1], 0.3, 1e-6)


@pytest.mark.parametrize("eps", [0.1, 0.01])
def test_torch_adamw_at_rest(eps):
    """Its step is -g/(|g| + eps) - a gamma, so at rest lambda = eps a / (1 - a |gamma|): eps sets it, not the decay alone."""
    gamma, multiplier = rested(torch.optim.AdamW, 0.3, 1500, lr=0.05, eps=eps, betas=(0.9, 0.9))
    assert 0.3 * abs(gamma) < 1
    same(multiplier, eps * 0.3 / (1 - 0.3 * abs(gamma)), 1e-5)


def test_torch_adamw_holds_gamma_in_a_box():
    """Where a free gamma is above 1/a, |gamma| stops there, whatever the loss asks."""
    free, _ = rested(torch.optim.SGD, 0.0, lr=0.1)
    gamma, multiplier = rested(torch.optim.AdamW, 2.0, lr=0.05, betas=(0.9, 0.9))
    assert abs(free) > 0.5
    same(abs(gamma), 0.5, 1e-4)
    assert multiplier > 0.5


@drawn(problems(), gammas, st.integers(0, 2**32 - 1))
def test_property_penalized_minimum_is_global(case, gamma, seed):
    moments = case.moments
    size = min(abs(gamma), 1.0) * case.explained_std
    fit = least_squares(moments, size)

    def penalized(v):
        return (moments.target_var - 2 * v @ moments.cross + (1 + fit.rate) * v @ moments.cov @ v) / 2

    assert fit.rate >= -case.tolerance
    moves = np.random.default_rng(seed).standard_normal((5, len(case.s))) * np.linalg.norm(fit.weights)
    rounding = 1e-8 * moments.target_var
    assert all(penalized(fit.weights + move) >= penalized(fit.weights) - rounding for move in moves)
    same(rate(fit.weights, moments.cov @ fit.weights - moments.cross, size) + 1, fit.rate + 1, case.tolerance)


@drawn(problems(), st.floats(0.05, 20.0))
def test_property_shadow_price(case, gamma):
    size, step = gamma * case.explained_std, 1e-4 * case.explained_std
    low, high = (least_squares(case.moments, size + shift).loss for shift in (-step, step))
    assert (
        abs((high - low) / (2 * step) + size * least_squares(case.moments, size).rate)
        < 1e-5 * (1 + gamma) * case.explained_std
    )


BROKEN = {
    "sign flipped": lambda v, g, gamma: (v @ g) / gamma**2,
    "square on gamma dropped": lambda v, g, gamma: -(v @ g) / gamma,
    "gamma inverted": lambda v, g, gamma: -(v @ g) * gamma**2,
    "|v|^2 for gamma^2": lambda v, g, gamma: -(v @ g) / (v @ v),
    "one added": lambda v, g, gamma: 1 - (v @ g) / gamma**2,
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_multiplier_is_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_multiplier(BROKEN[name], case)


def test_control_adamw_does_not_make_its_decay_a_rate():
    _, multiplier = rested(torch.optim.AdamW, 0.3, 1500, lr=0.05, eps=0.1, betas=(0.9, 0.9))
    with pytest.raises(AssertionError):
        same(multiplier, 0.3, 0.5)


def test_control_away_from_stationarity_the_gradient_does_not_vanish():
    """The rate exists at every step; grad L + lambda Sigma v = 0 is for stationary points alone."""
    case = CASES[4]
    elsewhere = case.v + np.array([1, 0, 0, 0, 0])
    grad_v = case.hessian @ elsewhere - case.linear
    with pytest.raises(AssertionError):
        same(
            exact_rate(elsewhere, grad_v, root((elsewhere @ case.cov @ elsewhere) ** 2)) * (case.cov @ elsewhere),
            -grad_v,
        )


@pytest.mark.parametrize("factor", [-1.0, 0.9, 1.1])
def test_control_another_rate_gives_another_network(factor):
    readout = shrunk(0, "cross-entropy")
    with pytest.raises(AssertionError):
        same(readout.without_normalization(np.abs(factor) * readout.rates)[0] * np.sign(factor), readout.v, rtol=1e-2)


def test_control_weight_decay_for_the_weighted_penalty_is_caught():
    """alpha v has the right pull along v and not across it."""
    readout = shrunk(0, "cross-entropy")
    alpha = -(readout.v * readout.grad_v).sum(axis=1) / (readout.v**2).sum(axis=1)
    with pytest.raises(AssertionError):
        same(readout.grad_v, -alpha[:, None] * readout.v, rtol=1e-2)
