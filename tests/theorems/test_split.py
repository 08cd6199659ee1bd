"""Theorem split: two corrupted copies of the same inputs split the variance of a unit into signal and noise."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, net, same

from bnlib.moments import Moments
from bnlib.theory import noise_path, signal_and_noise


class CorruptedUnit:
    """z = f(x + B xi), x uniform on a few rational points and xi on {-1, 1}^d: Cov of the noise is B B', all exact."""

    def __init__(self, seed, linear=False):
        source = Rational(seed)
        source.d = 1 + seed % 3
        self.B, self.v = source.matrix(), source.vector()
        self.points = source.matrix(rows=3)
        signs = [np.array(xi) for xi in itertools.product((-1, 1), repeat=source.d)]
        self.bias = source.number()
        self.table = np.array([[self.unit(x + self.B @ xi, linear) for xi in signs] for x in self.points])  # (x, xi)

    def unit(self, x, linear):
        z = self.v @ x + self.bias
        return z if linear else max(z, Fraction(0)) + z**2 / 7

    def copies(self):
        """Every pair of copies, once: the first and second columns are independent given x."""
        first = np.concatenate([np.repeat(row, len(row)) for row in self.table])
        second = np.concatenate([np.tile(row, len(row)) for row in self.table])
        return first, second

    def law_of_total_variance(self):
        """Var E[z|x] and E Var[z|x] by their definitions."""
        given_x = self.table.sum(axis=1) / self.table.shape[1]
        signal = ((given_x - given_x.sum() / len(given_x)) ** 2).sum() / len(given_x)
        noise = ((self.table - given_x[:, None]) ** 2).sum() / self.table.size
        return signal, noise


def exact_split(first, second):
    n = len(first)
    first, second = first - first.sum() / n, second - second.sum() / n
    signal = (first @ second) / n
    return signal, (first @ first + second @ second) / (2 * n) - signal


def assert_split(candidate, unit):
    signal, noise = candidate(*unit.copies())
    same(signal, unit.law_of_total_variance()[0])
    same(noise, unit.law_of_total_variance()[1])


@pytest.mark.parametrize("candidate", [exact_split, signal_and_noise], ids=["fractions", "bnlib"])
def test_exact_two_copies_give_the_law_of_total_variance(candidate):
    for seed in each(SEEDS):
        assert_split(candidate, CorruptedUnit(seed))


def test_exact_additive_noise_at_the_first_layer_is_that_of_theorem_noise():
    """signal = v'Sigma v, noise = v'N v."""
    for seed in each(SEEDS):
        unit = CorruptedUnit(seed, linear=True)
        centred = unit.points - unit.points.sum(axis=0) / len(unit.points)
        cov = centred.T @ centred / len(centred)
        signal, noise = exact_split(*unit.copies())
        same(signal, unit.v @ cov @ unit.v)
        same(noise, unit.v @ unit.B @ unit.B.T @ unit.v)


def deep_network(seed):
    """A random network in evaluation mode, with running statistics that are not the initial ones, and rows for it."""
    case = net(seed, depth=1 + seed % 4)
    case.layers(case.inputs)
    return case.layers.eval(), case.inputs.numpy()[:12]


@pytest.mark.parametrize("seed", range(20))
def test_torch_deep_network_on_every_pair_of_copies(seed):
    """Behind any number of layers, with noise that takes few values: all pairs of copies, no sampling."""
    layers, x = deep_network(seed)
    signs = np.array(list(itertools.product((-1, 1), repeat=min(3, x.shape[1]))))
    B = np.random.default_rng(seed).standard_normal((x.shape[1], signs.shape[1]))
    corrupted = x[:, None] + signs @ B.T  # (12, draws, d)
    with torch.no_grad():
        z = layers(torch.from_numpy(corrupted.reshape(-1, x.shape[1]))).numpy().reshape(len(x), len(signs), -1)
    first = np.repeat(z, len(signs), axis=1).reshape(-1, z.shape[2])
    second = np.tile(z, (1, len(signs), 1)).reshape(-1, z.shape[2])
    signal, noise = signal_and_noise(first, second)
    same(signal, z.mean(axis=1).var(axis=0), rtol=1e-12)
    same(noise, z.var(axis=1).mean(axis=0), rtol=1e-12)


def test_torch_dropout_and_gaussian_noise_by_sampling():
    """Two copies against forty: both estimate the same split, within 4 standard errors."""
    torch.manual_seed(0)
    layers, rows = deep_network(1)
    network = torch.nn.Sequential(*layers[:3], torch.nn.Dropout(0.3), *layers[3:]).eval()
    network[3].train()
    x = torch.randn(1000, rows.shape[1], dtype=torch.float64)

    def copy():
        with torch.no_grad():
            return network(x + 0.5 * torch.randn_like(x))[:, 0].numpy()

    pairs = np.array([signal_and_noise(copy(), copy()) for _ in range(40)])
    z = np.array([copy() for _ in range(40)])
    noise = z.var(axis=0, ddof=1).mean()
    total = z.var()
    error = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    spread = z.var(axis=0, ddof=1).std() / np.sqrt(len(x))
    assert abs(pairs[:, 1].mean() - noise) < 4 * np.hypot(error[1], spread)
    assert abs(pairs[:, 0].mean() - (total - noise)) < 4 * np.hypot(error[0], spread)
    assert error.max() < 0.02 * min(noise, total - noise)


def test_property_linear_unit_follows_the_noise_path():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 3)) * [1.0, 0.5, 2.0]
    t = X @ [1.0, 1.0, -0.3] + rng.standard_normal(len(X))
    path = noise_path(Moments.from_data(X, t), 0.7, [0.8])
    copies = [(X + 0.8 * rng.standard_normal(X.shape)) @ path.weights[0] for _ in range(2)]
    signal, noise = signal_and_noise(*copies)
    products = np.prod([copy - copy.mean() for copy in copies], axis=0)
    error = products.std() / np.sqrt(len(X))
    assert error < 0.01 * signal
    assert abs(signal - path.signal_share[0] * 0.49) < 4 * error
    squares = (copies[0] - copies[1]) ** 2 / 2
    assert abs(noise - path.noise_share[0] * 0.49) < 4 * squares.std() / np.sqrt(len(X))


@drawn(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_property_symmetry_shift_scale_and_columns(seed, n, shift, scale):
    first, second = np.random.default_rng(seed).standard_normal((2, n, 3))
    signal, noise = signal_and_noise(first, second)
    rounding = 1e-12 * (1 + shift**2)
    # noise is half the mean square of the centred difference: never negative; the signal is what is left of the variance
    difference = (first - first.mean(axis=0)) - (second - second.mean(axis=0))
    assert np.abs(noise - (difference**2).mean(axis=0) / 2).max() < 1e-12
    assert np.abs(signal + noise - (first.var(axis=0) + second.var(axis=0)) / 2).max() < 1e-12
    for other in (signal_and_noise(second, first), signal_and_noise(first + shift, second - shift)):
        assert np.abs(np.subtract(other, (signal, noise))).max() < rounding
    assert np.abs(np.array(signal_and_noise(scale * first, scale * second)) / scale**2 - (signal, noise)).max() < 1e-12
    assert np.abs(np.array(signal_and_noise(first[:, 1], second[:, 1])) - (signal[1], noise[1])).max() < 1e-15


@drawn(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_property_limits(seed, n):
    """No corruption: all signal. Mirrored copies: the signal is minus the variance. Constant unit: nothing."""
    z = np.random.default_rng(seed).standard_normal(n)
    signal, noise = signal_and_noise(z, z)
    same(signal, z.var(), rtol=1e-12)
    assert abs(noise) < 1e-14
    signal, noise = signal_and_noise(z, -z)
    same(signal, -z.var(), rtol=1e-12)
    same(noise, 2 * z.var(), rtol=1e-12)
    assert signal_and_noise(np.ones(n), np.ones(n)) == (0.0, 0.0)


BROKEN = {
    "one copy twice": lambda first, second: exact_split(first, first),
    "not centred": lambda first, second: ((first @ second) / len(first), exact_split(first, second)[1]),
    "unbiased normalization": lambda first, second: tuple(
        Fraction(len(first), len(first) - 1) * x for x in exact_split(first, second)
    ),
    "noise without subtracting the signal": lambda first, second: (
        exact_split(first, second)[0],
        sum(exact_split(first, second)),
    ),
    "signal and noise swapped": lambda first, second: exact_split(first, second)[::-1],
    "noise of the difference, not halved": lambda first, second: (
        exact_split(first, second)[0],
        2 * exact_split(first, second)[1],
    ),
    "sign flipped": lambda first, second: exact_split(first, -second),
    "copies of different inputs": lambda first, second: exact_split(first, np.roll(second, len(second) // 3)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_split_is_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_split(BROKEN[name], CorruptedUnit(seed))
