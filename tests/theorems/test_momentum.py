"""Theorem momentum: under weight decay the mean turn of a step is fixed by learning rate, decay and momentum."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, same
from scipy.linalg import solve_discrete_lyapunov
from torch import nn

from bnlib.models import network
from bnlib.theory import mean_turn, turn_balance

MOMENTA = (0.0, 0.5, 0.9)


def exact_path(seed, steps=4):
    """SGD on one unit with BN, least squares at its best gamma: J = -(c'w)^2 / (2 w'Sw), which has rational gradients."""
    source = Rational(seed)
    root, c, w = source.matrix(source.d), source.vector(source.d), source.vector(source.d)
    cov = root @ root.T + np.array([[Fraction(int(i == j)) for j in range(source.d)] for i in range(source.d)])
    rate, decay, mu = Fraction(1, 3 + seed % 5), Fraction(1 + seed % 3, 7), Fraction(seed % 4, 5)
    path, buffer = [w], 0 * w
    for _ in range(steps):
        q, signal = w @ cov @ w, c @ w
        gradient = -(signal / q) * (c - (signal / q) * (cov @ w))
        buffer = mu * buffer + gradient + decay * w
        w = w - rate * buffer
        path.append(w)
    return path, rate, decay, mu


def balance(path, rate, decay, mu):
    """Both sides in fractions, by their definition."""
    squares = [w @ w for w in path]
    steps = [(b - a) @ (b - a) for a, b in pairwise(path)]
    left = (1 + mu) * sum(steps) - mu * steps[-1]
    return left, squares[-1] - squares[0] - mu * (squares[-2] - squares[0]) + 2 * rate * decay * sum(squares[:-1])


def test_exact_balance_of_steps_and_lengths():
    for seed in each(SEEDS):
        path, rate, decay, mu = exact_path(seed)
        left, right = balance(path, rate, decay, mu)
        same(left, right)
        steps, lengths = turn_balance([[float(x) for x in w] for w in path], float(rate), float(decay), float(mu))
        assert np.isclose(steps, float(left), rtol=1e-9) and np.isclose(lengths, float(right), rtol=1e-9)


def test_exact_each_step_by_itself():
    for seed in each(SEEDS):
        path, rate, decay, mu = exact_path(seed)
        squares = [w @ w for w in path]
        for k in range(1, len(path) - 1):
            now, last = path[k + 1] - path[k], path[k] - path[k - 1]
            grown = squares[k + 1] - squares[k] - mu * (squares[k] - squares[k - 1])
            same(now @ now + mu * (last @ last), grown + 2 * rate * decay * squares[k])


def trained(normalization, mu, steps=60, clip=None, optimizer=None, eps=1e-30, nesterov=False):
    """Weights along a training: a row a unit behind BN, one row for the layer behind LN."""
    torch.manual_seed(3)
    model = network((5, 7, 6, 3), normalization, eps=eps, seed=1, dtype=torch.float64)
    hidden = [layer for layer in model[:-1] if isinstance(layer, nn.Linear)]
    for layer in hidden:
        if layer.bias is not None:  # before LN it would be a column of W
            layer.bias = None
    known = {id(layer.weight) for layer in hidden}
    others = [p for p in model.parameters() if id(p) not in known]
    if optimizer is None:
        optimizer = torch.optim.SGD(
            [{"params": [layer.weight for layer in hidden], "weight_decay": 0.05}, {"params": others}],
            0.2,
            mu,
            nesterov=nesterov,
        )
    else:
        optimizer = optimizer([layer.weight for layer in hidden])
    x, target = torch.randn(40, 5, dtype=torch.float64), torch.randint(3, (40,))
    paths = [[layer.weight.detach().clone()] for layer in hidden]
    for step in range(steps):
        batch = torch.arange(8) + 8 * (step % 5)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), target[batch]).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        for path, layer in zip(paths, hidden):
            path.append(layer.weight.detach().clone())
    shaped = [torch.stack(path) for path in paths]
    return [(path if normalization == "batch" else path.flatten(1)).numpy() for path in shaped]


def off(path, mu):
    steps, lengths = turn_balance(path, 0.2, 0.05, mu)
    return float(np.max(np.abs(steps / lengths - 1)))


@pytest.mark.parametrize("mu", MOMENTA)
@pytest.mark.parametrize("clip", (None, 0.05))
@pytest.mark.parametrize("normalization", ("batch", "layer"))
def test_torch_balance_in_networks(normalization, mu, clip):
    for path in trained(normalization, mu, clip=clip):
        assert off(path, mu) < 1e-10


@drawn(st.integers(0, 10**6), st.sampled_from(MOMENTA), st.floats(0.01, 1.0), st.floats(0.0, 1.0))
def test_property_any_force_across_the_weights(seed, mu, learning_rate, weight_decay):
    rng = np.random.default_rng(seed)
    w, buffer = rng.normal(size=4), np.zeros(4)
    path = [w]
    for _ in range(30):
        force = rng.normal(size=4) * rng.lognormal()
        force -= (force @ w) / (w @ w) * w
        buffer = mu * buffer + force + weight_decay * w
        w = w - learning_rate * buffer
        path.append(w)
    steps, lengths = turn_balance(path, learning_rate, weight_decay, mu)
    assert np.isclose(steps, lengths, rtol=1e-9)


def turned(mu, decoupled, steps=12000, learning_rate=0.1, weight_decay=0.05, nesterov=False):
    """Sum of squared steps over sum of squared lengths, under random forces across the weights."""
    rng = np.random.default_rng(7)
    w, buffer, steps_sum, lengths = rng.normal(size=50), np.zeros(50), 0.0, 0.0
    for step in range(steps):
        force = rng.normal(size=50)
        force -= (force @ w) / (w @ w) * w
        if decoupled:
            buffer = mu * buffer + (1 - mu) * force
            moved = learning_rate * buffer
            new = (1 - learning_rate * weight_decay) * w - moved
        else:
            force = force + weight_decay * w
            buffer = mu * buffer + force
            moved = learning_rate * (force + mu * buffer if nesterov else buffer)
            new = w - moved
        if step >= 1000:
            steps_sum, lengths = steps_sum + moved @ moved, lengths + w @ w
        w = new
    return steps_sum / lengths


@pytest.mark.parametrize("decoupled", (False, True))
@pytest.mark.parametrize("mu", MOMENTA)
def test_property_the_ratio_comes_to_the_law(mu, decoupled):
    assert np.isclose(turned(mu, decoupled), mean_turn(0.1, 0.05, mu, decoupled), rtol=0.02)


@pytest.mark.parametrize("mu", (0.5, 0.9))
def test_control_the_other_rules_law_is_seen(mu):
    assert not np.isclose(turned(mu, False), mean_turn(0.1, 0.05, mu, True), rtol=0.1)
    assert not np.isclose(turned(mu, False), 2 * 0.1 * 0.05 / (1 - mu), rtol=0.1)


def test_control_nesterov_has_another_law():
    assert turned(0.9, False, nesterov=True) > 1.2 * mean_turn(0.1, 0.05, 0.9)
    assert max(off(path, 0.9) for path in trained("batch", 0.9, nesterov=True)) > 1e-3


def test_control_adamw_divides_each_weight_by_itself():
    paths = trained("batch", 0.0, optimizer=lambda p: torch.optim.AdamW(p, 0.2, weight_decay=0.05))
    assert max(off(path, 0.0) for path in paths) > 1e-3


def test_control_a_unit_behind_layer_normalization_has_no_balance_of_its_own():
    (path, *_) = trained("layer", 0.9)
    assert off(path.reshape(len(path), 7, 5), 0.9) > 1e-3


def test_control_eps_lets_the_loss_see_the_length():
    assert max(off(path, 0.9) for path in trained("batch", 0.9, eps=0.5)) > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0.1, 1.0), "momentum = 1.0 must be from 0 to below 1"),
        ((-0.1, 0.1), "learning_rate"),
        ((2.0, 0.5, 0.0, True), "learning_rate \\* weight_decay = 1 leaves nothing of w"),
    ],
)
def test_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        mean_turn(*arguments)


def test_a_path_has_a_step():
    with pytest.raises(ValueError, match="path has 1 row"):
        turn_balance([[1.0, 2.0]], 0.1, 0.1)


def stationary_turn(learning_rate, decay, mu, decoupled):
    """Mean square of a step over that of w, from the covariance of (w, momentum) that no step changes; gradients are white."""
    if decoupled:
        buffer, drive = np.array([0.0, mu]), 1 - mu
        w = np.array([1 - learning_rate * decay, 0.0]) - learning_rate * buffer
    else:
        buffer, drive = np.array([decay, mu]), 1.0
        w = np.array([1.0, 0.0]) - learning_rate * buffer
    kick = np.array([-learning_rate * drive, drive])
    P = solve_discrete_lyapunov(np.array([w, buffer]), np.outer(kick, kick))
    return learning_rate**2 * P[1, 1] / P[0, 0]


@drawn(st.floats(0.01, 1.0), st.floats(0.01, 0.9), st.floats(0.0, 0.95), st.booleans())
def test_property_turn_at_rest_from_second_moments(learning_rate, decay, mu, decoupled):
    found = mean_turn(learning_rate, decay, mu, decoupled)
    same(found, stationary_turn(learning_rate, decay, mu, decoupled), rtol=1e-9)


def test_control_second_moments_tell_the_rules_apart():
    assert not np.isclose(mean_turn(0.5, 0.5, 0.9, True), stationary_turn(0.5, 0.5, 0.9, False), rtol=0.1)


def test_without_arguments_it_is_plain_descent():
    same(mean_turn(0.5, 0.5), mean_turn(0.5, 0.5, 0.0, False))
    path = [[1.0, 0.0], [1.0, 0.5], [0.5, 1.0]]
    for found, wanted in zip(turn_balance(path, 0.5, 0.1), turn_balance(path, 0.5, 0.1, 0.0)):
        same(found, wanted)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_exact_balance_of_short_paths(steps):
    for seed in each(SEEDS):
        path, rate, decay, mu = exact_path(seed, steps)
        found = turn_balance([[float(x) for x in w] for w in path], float(rate), float(decay), float(mu))
        same(found[0], found[1], rtol=1e-11, scale=1 + float(max(w @ w for w in path)))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mean_turn(0.1, 0.1, np.nan), "^momentum has 1 non-finite"),
        (lambda: mean_turn(0.1, 0.1, np.zeros((1, 1))), r"^momentum has shape \(1, 1\)"),
        (lambda: mean_turn(-0.1, 0.1), "^learning_rate "),
        (lambda: mean_turn(0.1, -0.1), "^weight_decay "),
        (lambda: turn_balance([[1.0, np.nan], [1.0, 1.0]], 0.1, 0.1), "^path has 1 non-finite"),
        (lambda: turn_balance([[1.0], [1.0]], -0.1, 0.1), "^learning_rate "),
        (lambda: turn_balance([[1.0], [1.0]], 0.1, -0.1), "^weight_decay "),
        (lambda: turn_balance([[1.0], [1.0]], 0.1, 0.1, -0.5), "^momentum "),
    ],
)
def test_messages_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
