"""Theorem minibatch: any smooth loss, to leading order in one over the batch size.

The expected loss of a batch is expanded here without the formulas: a batch weighs the rows by w = 1/n + d, its loss is a
function of the weights, and the mean of its second-order part over batches is what the formulas must give. Fractions,
truncated power series, and torch's own layer on batches of repeated rows do that, each in its own way.
"""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from counting import drawn, each
from elliptical import MOMENT, Canonical
from hypothesis import strategies as st
from instances import SEEDS, Rational, derivative, same
from torch import nn

from bnlib.theory import minibatch_gamma_shift, minibatch_loss_shift, minibatch_worth, minibatch_worth_canonical

ROWS, DEGREE = 6, 4
POWERS = [(a, b) for a in range(DEGREE + 1) for b in range(DEGREE + 1 - a)]


class Series:
    """a + b h + c h^2 over the rationals, higher powers dropped."""

    def __init__(self, *coefficients):
        self.c = [*coefficients, 0, 0, 0][:3]

    @staticmethod
    def of(number):
        return number if isinstance(number, Series) else Series(number)

    def __add__(self, other):
        return Series(*[a + b for a, b in zip(self.c, Series.of(other).c)])

    def __mul__(self, other):
        (a, b, c), (x, y, z) = self.c, Series.of(other).c
        return Series(a * x, a * y + b * x, a * z + b * y + c * x)

    def __sub__(self, other):
        return self + Series.of(other) * -1

    def __pow__(self, power):
        return math.prod([self] * power, start=Series(Fraction(1)))

    __radd__, __rmul__ = __add__, __mul__

    def inverse_root(self):
        """Of a series that starts with 1: u with u^2 self = 1, coefficient by coefficient."""
        one, b, c = self.c
        assert one == 1
        first = -b / 2
        return Series(one, first, -(c + 2 * first * b + first**2) / 2)


def standardized(source):
    """Rational numbers of mean 0 and mean square 1, not symmetric."""
    while True:
        values = [source.random.randint(-6, 6) for _ in range(ROWS - 1)]
        values.append(-sum(values))
        square = Fraction(sum(value**2 for value in values), ROWS)
        over, under = math.isqrt(square.numerator), math.isqrt(square.denominator)
        if square and over**2 == square.numerator and under**2 == square.denominator and sum(v**3 for v in values):
            return np.array([Fraction(value * under, over) for value in values])


class Rows:
    """A population of six rows and two units; the loss of each row is a polynomial of its own, which stands for targets."""

    def __init__(self, seed):
        source = Rational(seed)
        self.z = np.column_stack([standardized(source) for _ in range(2)])
        self.gamma, self.beta = source.vector(2), source.vector(2)
        self.losses = [{power: source.number() for power in POWERS} for _ in range(ROWS)]

    def derivative(self, i, order, gamma=None):
        """Of row i's loss at its own outputs; `order` says how often by each of the two."""
        y = self.z[i] * (self.gamma if gamma is None else gamma) + self.beta
        total = Fraction(0)
        for (a, b), coefficient in self.losses[i].items():
            if a >= order[0] and b >= order[1]:
                factor = math.perm(a, order[0]) * math.perm(b, order[1])
                total = coefficient * factor * math.prod([y[0]] * (a - order[0]) + [y[1]] * (b - order[1])) + total
        return total

    def all_derivatives(self, times, gamma=None):
        """All of `times`-th order, with an axis a derivative behind the rows."""
        found = np.empty((ROWS,) + (2,) * times, dtype=object)
        for place in itertools.product(range(2), repeat=times):
            order = place.count(0), place.count(1)
            for i in range(ROWS):
                found[(i, *place)] = self.derivative(i, order, gamma)
        return found

    def expanded(self):
        """n times the second-order part of the loss of weights 1/n + h (e_i - 1/n), averaged over the rows i.

        Weights of batches have mean 1/n and as covariance that of e_i, i a row drawn at random, over M: so this is M
        times the mean second-order part over batches.
        """
        total = Fraction(0)
        for i in range(ROWS):
            weights = [Series(Fraction(1, ROWS), Fraction(int(i == j)) - Fraction(1, ROWS)) for j in range(ROWS)]
            outputs = []
            for j in range(2):
                z = self.z[:, j]
                mean = sum((w * value for w, value in zip(weights, z)), start=Series(Fraction(0)))
                square = sum((w * value**2 for w, value in zip(weights, z)), start=Series(Fraction(0)))
                scale = (square - mean * mean).inverse_root()
                outputs.append([(value - mean) * scale * self.gamma[j] + self.beta[j] for value in map(Series, z)])
            for row, w in enumerate(weights):
                for (a, b), coefficient in self.losses[row].items():
                    total += (w * coefficient * outputs[0][row] ** a * outputs[1][row] ** b).c[2]
        return total / ROWS


def own_share(z):
    kurtosis_less_1, third = (z**4).sum(axis=0) / ROWS - 1, (z**3).sum(axis=0) / ROWS
    return -(z**3) / 2 + Fraction(3, 8) * kurtosis_less_1 * z + third / 2


def scatter(z):
    covariance, third, fourth = z.T @ z / ROWS, z.T @ z**2 / ROWS, (z**2).T @ z**2 / ROWS
    rows = [
        covariance
        + (np.outer(np.ones(2, int), row) * third + np.outer(row, np.ones(2, int)) * third.T) / 2
        # E z_j z_l^2 stands at [j, l]: with z_l, then transposed with z_j
        + np.outer(row, row) * (fourth - 1) / 4
        for row in z
    ]
    return np.array(rows)


def loss_shift(case, own=own_share, spread=scatter, gamma=None):
    gamma = case.gamma if gamma is None else gamma
    g, H = case.all_derivatives(1, gamma), case.all_derivatives(2, gamma)
    b, C = own(case.z), spread(case.z)
    total = Fraction(0)
    for i in range(ROWS):
        for j in range(2):
            total = total + gamma[j] * g[i, j] * b[i, j]
            for k in range(2):
                total = total + gamma[j] * gamma[k] * H[i, j, k] * C[i, j, k] / 2
    return total / ROWS


def floats(*arrays):
    return [np.asarray(array).astype(float) for array in arrays]


def library_shift(case):
    arrays = floats(case.z, case.gamma, case.all_derivatives(1), case.all_derivatives(2))
    return minibatch_loss_shift(3.0 * arrays[0] - 2.0, *arrays[1:])


def size(case):
    """Of the terms that may cancel."""
    gamma, g, H = floats(case.gamma, case.all_derivatives(1), case.all_derivatives(2))
    first = np.abs(gamma * g * own_share(case.z).astype(float)).sum()
    return (first + np.abs(H * np.outer(gamma, gamma) * scatter(case.z).astype(float)).sum()) / ROWS


def assert_shift(candidate, seed):
    case = Rows(seed)
    same(candidate(case), case.expanded(), rtol=1e-13, scale=size(case))


@pytest.mark.parametrize("candidate", [loss_shift, library_shift], ids=["fractions", "bnlib"])
def test_exact_shift_of_the_expected_loss(candidate):
    for seed in each(SEEDS):
        assert_shift(candidate, seed)


def test_exact_weights_of_batches_scatter_like_one_row_over_the_batch_size():
    """Over all batches with and without replacement: 1/M and (n - M)/(M (n - 1)) times the covariance of one row's."""
    one = [[Fraction(int(i == j)) / 4 - Fraction(1, 16) for j in range(4)] for i in range(4)]

    def covariance(batches, M):
        weights = np.array([[Fraction(batch.count(i), M) - Fraction(1, 4) for i in range(4)] for batch in batches])
        return weights.T @ weights / len(weights)

    for M in each(range(1, 5), "M ="):
        drawn_again = [*itertools.product(range(4), repeat=M)]
        subsets = [*itertools.combinations(range(4), M)]
        same(covariance(drawn_again, M), np.array(one) / M)
        same(covariance(subsets, M), np.array(one) * Fraction(4 - M, 3 * M))
    for seed in each(SEEDS):  # and a row's own share is that of one among M
        source = Rational(seed)
        M, u, v = 2 + seed % 3, source.vector(3), source.vector(3)
        u, v = u - u.sum() / 3, v - v.sum() / 3
        batches = [(0, *others) for others in itertools.product(range(3), repeat=M - 1)]
        means = np.array([[sum(one[i] for i in batch) / M for one in (u, v)] for batch in batches])
        same(means.sum(axis=0) / len(means), np.array([u[0], v[0]]) / M)
        expected = Fraction(M - 1, M**2) * (u @ v) / 3 + u[0] * v[0] / M**2
        same((means[:, 0] * means[:, 1]).sum() / len(means), expected)


def gamma_shift(case):
    arrays = floats(case.z, case.gamma, *(case.all_derivatives(times) for times in (1, 2, 3)))
    return minibatch_gamma_shift(-5.0 * arrays[0] + 1.0, -arrays[1], *arrays[2:])


def assert_gamma_shift(candidate, seed):
    """Against the exact derivative of the shift, by dual numbers."""
    case = Rows(seed)
    slopes = derivative(lambda gamma: loss_shift(case, gamma=gamma), case.gamma)
    z, g, T = floats(case.z, case.gamma, case.all_derivatives(3))
    scale = size(case) * (1 + 1 / np.abs(g).min()) + np.abs(z).max() * np.abs(T).max() * (g**2).sum()
    same(candidate(case), slopes.astype(float), rtol=1e-12, scale=scale)


def test_exact_derivative_in_gamma():
    """With outputs and gamma mirrored, which is the same network: the derivative changes its sign."""
    for seed in each(SEEDS):
        assert_gamma_shift(lambda case: -gamma_shift(case), seed)


# Canonical losses: A of degree 4, a Gaussian pre-activation, the target's mean that of the model


def mean_of(case, order, beta, gamma, polynomial):
    """E A^(order)(beta + gamma z) p(z), p by its coefficients."""
    return sum(
        (case.mean(order, beta, gamma, times=power) * value for power, value in enumerate(polynomial)),
        start=Fraction(0),
    )


OWN, SCATTER = [0, Fraction(3, 4), 0, Fraction(-1, 2)], [1, 0, Fraction(1, 2)]  # of a Gaussian z: b and C
WORTH = [Fraction(1, 2), 0, 1, 0, Fraction(-1, 4)]
PADDED = [*MOMENT, 0, 105, 0, 945]  # up to A' z^3 and A'' z^4


class Wide(Canonical):
    """With the moments that the expansion asks for."""

    def mean(self, order, beta, gamma, times=0):
        total = Fraction(0)
        for power, value in enumerate(self.derivative(order)):
            for k in range(power + 1):
                factor = math.comb(power, k) * PADDED[k + times]
                total = math.prod([beta] * (power - k) + [gamma] * k, start=Fraction(1)) * value * factor + total
        return total


def canonical_shift(case, gamma, own=OWN, spread=SCATTER):
    held = mean_of(case, 1, case.beta, case.gamma, own)  # of the target, whose mean is A' at the case's own gamma
    moving = mean_of(case, 1, case.beta, gamma, own)
    return gamma * (moving - held) + gamma * gamma * mean_of(case, 2, case.beta, gamma, spread) / 2


def assert_canonical(candidate, seed, own=OWN):
    case = Wide(seed)
    slope = derivative(lambda gamma: canonical_shift(case, gamma, own), case.gamma)
    same(candidate(case), slope / case.gamma, rtol=1e-12)


def library_worth(case):
    a, b, c = (float(value) for value in case.derivative(2))
    return minibatch_worth_canonical(-float(case.gamma), float(case.beta), lambda y: a + b * y + c * y**2)


@pytest.mark.parametrize(
    "candidate",
    [lambda case: mean_of(case, 2, case.beta, case.gamma, WORTH), library_worth],
    ids=["fractions", "bnlib"],
)
def test_exact_worth_for_canonical_losses(candidate):
    for seed in each(SEEDS):
        assert_canonical(candidate, seed)


def test_exact_worth_of_a_constant_curvature():
    """Three quarters, as for least squares on Gaussian data; and 15/8 from z^4 alone."""
    assert sum(value * PADDED[power] for power, value in enumerate(WORTH)) == Fraction(3, 4)
    for seed in each(SEEDS):
        source = Rational(seed)
        gamma, beta, height = float(source.nonzero()), float(source.number()), source.positive()
        found = minibatch_worth_canonical(gamma, beta, lambda y, height=float(height): np.full_like(y, height))
        same(found, Fraction(3, 4) * height, rtol=1e-14)


@pytest.mark.parametrize("gamma, beta", [(0.01, 3.0), (0.5, 0.0), (1.0, 0.5), (2.0, -1.0), (4.0, 0.0), (50.0, 20.0)])
def test_property_logistic_worth_by_quadrature(gamma, beta):
    def integrand(z):
        p = 1 / (1 + mpmath.exp(-beta - gamma * z))
        return p * (1 - p) * (0.5 + z**2 - z**4 / 4) * mpmath.npdf(z)

    bend = -beta / gamma
    places = sorted({-13, 13, *(max(-13, min(13, bend + far / gamma)) for far in (-40, -8, 0, 8, 40))})
    exact = mpmath.quad(integrand, places)
    same(minibatch_worth_canonical(gamma, beta), float(exact), rtol=1e-12)


def test_property_wide_logistic_unit_sees_only_its_middle():
    """p(1-p) is then a spike of area 1/gamma at z = 0, where the bracket is 1/2; the next order is 1/gamma^3."""
    for gamma in (100.0, 1000.0, 1e4):
        leading = 1 / (2 * gamma * math.sqrt(2 * math.pi))
        found = minibatch_worth_canonical(gamma)
        # int p(1-p) y^2 dy = pi^2/3; (1/2 + z^2) e^(-z^2/2) = 1/2 + 3 z^2/4 + ...
        same(found, leading * (1 + 1.5 * math.pi**2 / 3 / gamma**2), rtol=1e-4 / gamma)


# torch


def smooth_head(rng, units):
    """What stands above the layer: a network with GELU and cross-entropy, in float64."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    read_out = nn.Linear(units, 3).double()
    for parameter in read_out.parameters():
        nn.init.normal_(parameter, generator=generator)
    return nn.Sequential(nn.GELU(), read_out)


class Smooth:
    """Eight rows through torch's BatchNorm1d, GELU, a read-out and cross-entropy."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.units = 1 + seed % 3
        self.z = torch.from_numpy(rng.standard_normal((8, self.units)) @ rng.uniform(-1, 1, (self.units, self.units)))
        self.labels = torch.from_numpy(rng.integers(0, 3, 8))
        self.head = smooth_head(rng, self.units)
        self.norm = nn.BatchNorm1d(self.units, eps=1e-30).double()
        self.norm.weight.data = torch.from_numpy(rng.choice([-1, 1], self.units) * rng.uniform(0.3, 1.5, self.units))
        self.norm.bias.data = torch.from_numpy(rng.standard_normal(self.units))

    def of_copies(self, copies):
        """Loss of a batch with so many copies of each row, and its derivative in gamma."""
        rows = torch.repeat_interleave(torch.arange(8), torch.tensor(copies))
        loss = nn.functional.cross_entropy(self.head(self.norm(self.z[rows])), self.labels[rows])
        (slope,) = torch.autograd.grad(loss, self.norm.weight)
        return np.array([loss.item(), *slope.tolist()])

    def expanded(self):
        """The mean over rows of the second-order part along e_i - 1/n, by polynomials through batches of copies."""
        found, copies = [], 120
        for i in range(8):
            more = np.arange(-9, 10, 3)
            values = [self.of_copies([copies + int(extra) * (i == j) for j in range(8)]) for extra in more]
            steps = more / (8 * copies + more)
            found.append(np.linalg.solve(np.vander(steps / 0.01, increasing=True), np.array(values))[2] / 0.01**2)
        return np.mean(found, axis=0)

    def derivatives(self):
        """Of each row's loss in its normalized outputs: first, second and third."""
        gamma, beta = self.norm.weight.detach(), self.norm.bias.detach()
        z = (self.z - self.z.mean(dim=0)) / self.z.std(dim=0, correction=0)

        def loss(y, label):
            return nn.functional.cross_entropy(self.head(y), label)

        ones = [torch.func.grad(loss)]
        for _ in range(2):
            ones.append(torch.func.jacrev(ones[-1]))
        return [torch.func.vmap(one)(gamma * z + beta, self.labels).detach().numpy() for one in ones]


def assert_torch(candidate, seed):
    case = Smooth(seed)
    expanded = case.expanded()
    gamma, derivatives = case.norm.weight.detach().numpy(), case.derivatives()
    loss, slopes = candidate(case.z.numpy(), gamma, *derivatives)
    same([loss, *slopes], expanded, rtol=1e-6, scale=np.abs(expanded).max() + 0.1)


def by_library(z, gamma, g, H, T):
    return minibatch_loss_shift(z, gamma, g, H), minibatch_gamma_shift(z, gamma, g, H, T)


@pytest.mark.parametrize("seed", range(12))
def test_torch_batches_of_repeated_rows(seed):
    assert_torch(by_library, seed)


def assert_simulated(candidate, gamma, beta):
    """torch's layer on Gaussian batches, a channel each; targets at their mean, p(y): the gradient of gamma times M."""
    generator = torch.Generator().manual_seed(3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    spread = weights / weights.sum() / (4 * np.cosh((beta + gamma * nodes) / 2) ** 2)
    scaled, errors = [], []
    for M in (64, 128):
        z = torch.randn(M, 16_000, dtype=torch.float64, generator=generator)
        norm = nn.BatchNorm1d(16_000, eps=1e-30).double()
        norm.weight.data.fill_(gamma)
        norm.bias.data.fill_(beta)
        target = torch.sigmoid(gamma * z + beta)
        loss = nn.functional.binary_cross_entropy_with_logits(norm(z), target, reduction="none").mean(dim=0).sum()
        (slope,) = torch.autograd.grad(loss, norm.weight)
        # the part of first order in the batch's mean and mean square has mean zero, and most of the scatter
        first = (spread @ nodes) * z.mean(dim=0) + (spread @ nodes**2) * (z.square().mean(dim=0) - 1) / 2
        samples = M * (slope / gamma + first).numpy()
        scaled.append(samples.mean())
        errors.append(samples.std() / math.sqrt(len(samples)))
    limit, error = 2 * scaled[1] - scaled[0], math.hypot(2 * errors[1], errors[0])
    assert error < 0.05 * candidate(gamma, beta)
    assert abs(limit - candidate(gamma, beta)) < 4 * error


LOGISTIC = [(0.5, 0.0), (1.0, 0.5), (2.0, -1.0)]


@pytest.mark.parametrize("gamma, beta", LOGISTIC)
def test_torch_logistic_batches_are_worth_that(gamma, beta):
    assert_simulated(minibatch_worth_canonical, gamma, beta)


# Properties


def instance(seed, rows=7, units=2):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, units)) * rng.uniform(0.1, 10, units) + rng.uniform(-3, 3, units)
    H = rng.standard_normal((rows, units, units))
    T = rng.standard_normal((rows, units, units, units))
    T = sum(np.transpose(T, (0, *(1 + np.array(order)))) for order in itertools.permutations(range(3)))
    gamma = rng.choice([-1, 1], units) * rng.uniform(0.2, 3, units)
    return z, gamma, rng.standard_normal((rows, units)), H + H.transpose(0, 2, 1), T


@drawn(st.integers(0, 2**32 - 1), st.floats(0.1, 5.0), st.floats(-2.0, 2.0))
def test_property_least_squares_is_the_worth(seed, gamma, beta):
    """Phi = gamma E[t z] c_B, for any target and law; its derivative over gamma at the best gamma is c_B."""
    rng = np.random.default_rng(seed)
    outputs, t = rng.standard_normal((2, 9))
    t = t + 3 * outputs
    z = (outputs - outputs.mean()) / outputs.std()
    covariance, worth = np.mean((t - t.mean()) * z), float(minibatch_worth(outputs, t))
    scale = 20 * (gamma + 1) ** 2 * (1 + np.abs(t).max())
    found = minibatch_loss_shift(outputs, gamma, gamma * z + beta - t, np.ones(9))
    same(found, gamma * covariance * worth, rtol=1e-12, scale=scale)
    best = covariance * z + t.mean() - t
    shift = minibatch_gamma_shift(outputs, covariance, best, np.ones(9), np.zeros(9))
    same(shift / covariance, worth, rtol=1e-11, scale=scale * (1 + 1 / abs(covariance)))
    assert shift.shape == ()


@drawn(st.integers(0, 2**32 - 1), st.floats(0.01, 100.0), st.floats(-10.0, 10.0))
def test_property_units_can_be_moved_mirrored_and_exchanged(seed, factor, shift):
    z, gamma, g, H, T = instance(seed)
    loss, slopes = minibatch_loss_shift(z, gamma, g, H), minibatch_gamma_shift(z, gamma, g, H, T)
    scale = 100 * (1 + np.abs(gamma).max()) ** 3
    same(minibatch_loss_shift(factor * z + shift, gamma, g, H), loss, rtol=1e-9, scale=scale)
    mirror = np.array([-1.0, 1.0])
    same(minibatch_loss_shift(mirror * z, mirror * gamma, g, H), loss, rtol=1e-11, scale=scale)
    same(minibatch_gamma_shift(mirror * z, mirror * gamma, g, H, T), mirror * slopes, rtol=1e-11, scale=scale)
    turned = z[:, ::-1], gamma[::-1], g[:, ::-1], H[:, ::-1, ::-1], T[:, ::-1, ::-1, ::-1]
    same(minibatch_loss_shift(*turned[:4]), loss, rtol=1e-11, scale=scale)
    same(minibatch_gamma_shift(*turned), slopes[::-1], rtol=1e-11, scale=scale)
    same(
        minibatch_loss_shift(z, 1.5, g, H),
        minibatch_loss_shift(z, np.array([1.5, 1.5]), g, H),
        rtol=1e-12,
        scale=scale,
    )


@drawn(st.integers(0, 2**32 - 1), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_property_what_no_batch_changes(seed, slope, bend):
    """The mean and the mean square of a normalized output are the same in every batch: linear and square losses stay."""
    z, gamma, *_ = instance(seed)
    standard = (z - z.mean(axis=0)) / z.std(axis=0)
    g = slope + bend * (gamma * standard + 0.7)
    H = np.broadcast_to(bend * np.eye(2), (len(z), 2, 2))
    scale = 100 * (1 + np.abs(gamma).max()) ** 2
    same(minibatch_loss_shift(z, gamma, g, H), 0.0, rtol=1e-12, scale=scale)
    none = np.zeros((len(z), 2, 2, 2))
    same(minibatch_gamma_shift(z, gamma, g, H, none), np.zeros(2), rtol=1e-12, scale=scale)


@drawn(st.floats(-0.99, 0.99))
def test_property_correlation_of_a_gaussian_batch(correlation):
    """The loss y_1 y_2 is gamma_1 gamma_2 times the batch's correlation: its bias is -r (1 - r^2)/(2 M), as is known."""
    line = math.sqrt(3) * np.array([-1.0, 0, 0, 0, 0, 1])  # moments of a Gaussian up to the fifth
    u, v = (grid.ravel() for grid in np.meshgrid(line, line))
    z = np.column_stack([u, correlation * u + math.sqrt(1 - correlation**2) * v])
    gamma = np.array([0.5, -2.0])
    y, H = z * gamma, np.broadcast_to(np.array([[0.0, 1.0], [1.0, 0.0]]), (36, 2, 2))
    found = minibatch_loss_shift(z, gamma, y[:, ::-1], H)
    same(found, gamma.prod() * -correlation * (1 - correlation**2) / 2, rtol=1e-13, scale=10.0)


# Controls


def with_scatter(change):
    return lambda case: loss_shift(case, spread=lambda z: scatter(z) + change(z))


BROKEN = {
    "scatter alone, as for noise of mean 0": lambda case: loss_shift(case, own=lambda z: 0 * z),
    "no scatter": lambda case: loss_shift(case, spread=lambda z: 0 * scatter(z)),
    "own share without its cube": lambda case: loss_shift(case, own=lambda z: own_share(z) + z**3 / 2),
    "own share without the third moment": lambda case: loss_shift(
        case, own=lambda z: own_share(z) - (z**3).sum(axis=0) / ROWS / 2
    ),
    "own share, excess for kurtosis": lambda case: loss_shift(
        case, own=lambda z: own_share(z) + Fraction(9, 8) * z - Fraction(3, 4) * z
    ),
    "covariances of units dropped": lambda case: loss_shift(
        case, spread=lambda z: scatter(z) * np.array([[1, 0], [0, 1]])
    ),
    "mixed third moments dropped": with_scatter(
        lambda z: (
            np.array([-(np.outer([1, 1], r) * (z.T @ z**2) + np.outer(r, [1, 1]) * ((z**2).T @ z)) for r in z]) / 12
        )
    ),
    "mixed third moments exchanged": with_scatter(
        lambda z: (
            np.array([np.outer([1, 1], r) * ((z**2).T @ z - z.T @ z**2) for r in z]) / 12
            + np.array([np.outer(r, [1, 1]) * (z.T @ z**2 - (z**2).T @ z) for r in z]) / 12
        )
    ),
    "fourth moments not less 1": with_scatter(lambda z: np.array([np.outer(r, r) for r in z]) / 4),
    "inverted": lambda case: -loss_shift(case),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_shifts_are_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_shift(BROKEN[name], seed)


BROKEN_WORTHS = {
    "noise of mean 0: twice": [1, 0, 1, 0, 0],
    "no fourth power": [Fraction(1, 2), 0, 1],
    "three quarters of the mean curvature": [Fraction(3, 4)],
    "least squares' own terms": [0, 0, Fraction(3, 4), 0, 0],
}


@pytest.mark.parametrize("name", BROKEN_WORTHS)
def test_control_broken_canonical_worths_are_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_canonical(lambda case: mean_of(case, 2, case.beta, case.gamma, BROKEN_WORTHS[name]), seed)


def test_control_scatter_alone_is_worth_twice():
    """Without the own share constant curvature gives 3/2, and the worth of the theorem does not come out."""
    for _ in each(SEEDS):
        scattered = sum(value * PADDED[power] for power, value in enumerate(SCATTER))
        same(scattered, Fraction(3, 2))
    with pytest.raises(AssertionError):
        assert_canonical(lambda case: mean_of(case, 2, case.beta, case.gamma, WORTH), 0, own=[0])


BROKEN_SLOPES = {
    "half": lambda case: -gamma_shift(case) / 2,
    "not mirrored": gamma_shift,
    "third derivatives left out": lambda case: minibatch_gamma_shift(
        *floats(case.z, case.gamma, case.all_derivatives(1), case.all_derivatives(2)), np.zeros((ROWS, 2, 2, 2))
    ),
}


@pytest.mark.parametrize("name", BROKEN_SLOPES)
def test_control_broken_derivatives_are_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_gamma_shift(BROKEN_SLOPES[name], seed)


@pytest.mark.parametrize(
    "broken",
    [
        lambda z, gamma, g, H, T: by_library(z, gamma, 0 * g, H, T),
        lambda z, gamma, g, H, T: by_library(z, gamma, g, 2 * H, T),
        lambda z, gamma, g, H, T: by_library(z, gamma, g, H, 0 * T),
    ],
    ids=["no first derivatives", "second derivatives doubled", "no third derivatives"],
)
def test_control_torch_tells_broken_derivatives_apart(broken):
    with pytest.raises(AssertionError):
        assert_torch(broken, 1)


def test_control_sampling_tells_the_worth_from_twice_as_much():
    with pytest.raises(AssertionError):
        assert_simulated(lambda gamma, beta: 2 * minibatch_worth_canonical(gamma, beta), 2.0, -1.0)


ROW = np.array([-1.0, 0.0, 2.0])
PAIR = np.column_stack([ROW, ROW[::-1] ** 2])
SQUARE, CUBE = np.zeros((3, 2, 2)), np.zeros((3, 2, 2, 2))
REFUSED = {
    "no rows": (
        lambda: minibatch_loss_shift([], 1.0, [], []),
        r"^outputs has shape \(0,\); it must have rows and units$",
    ),
    "no units": (
        lambda: minibatch_loss_shift(np.zeros((3, 0)), 1.0, np.zeros((3, 0)), np.zeros((3, 0, 0))),
        "must have rows and units",
    ),
    "cube of outputs": (lambda: minibatch_loss_shift(SQUARE, 1.0, ROW, ROW), r"^outputs has shape .* 1 or 2 dim"),
    "cube of first": (lambda: minibatch_loss_shift(ROW, 1.0, SQUARE, ROW), r"^first has shape .* 1 or 2 dim"),
    "first": (
        lambda: minibatch_loss_shift(PAIR, 1.0, ROW, SQUARE),
        r"^first has shape \(3,\); it must be that of outputs, \(3, 2\)$",
    ),
    "second": (
        lambda: minibatch_loss_shift(PAIR, 1.0, PAIR, ROW),
        r"^second has shape \(3,\); beside outputs of shape \(3, 2\) it must be \(3, 2, 2\)$",
    ),
    "second of two dimensions": (lambda: minibatch_loss_shift(ROW, 1.0, ROW, PAIR), "^second has shape .* 1 or 3 dim"),
    "second for one unit": (
        lambda: minibatch_loss_shift(ROW, 1.0, ROW, np.zeros((3, 1, 1))),
        r"second has shape \(3, 1, 1\); beside outputs of shape \(3,\) it must be \(3,\)",
    ),
    "NaN in first": (lambda: minibatch_loss_shift(ROW, 1.0, [0, math.nan, 0], ROW), "^first has 1 non-finite"),
    "NaN in second": (lambda: minibatch_loss_shift(ROW, 1.0, ROW, [0, math.nan, 0]), "^second has 1 non-finite"),
    "gammas": (
        lambda: minibatch_loss_shift(PAIR, [1.0] * 3, PAIR, SQUARE),
        r"^gamma has shape \(3,\); .* shape \(2,\)",
    ),
    "gamma 0": (lambda: minibatch_loss_shift(PAIR, [1.0, 0.0], PAIR, SQUARE), "^gamma = 0 switches the unit off"),
    "constant": (
        lambda: minibatch_loss_shift(0 * PAIR + 0.1, 1.0, PAIR, SQUARE),
        "^outputs has a column that does not vary; there is nothing to normalize$",
    ),
    "third": (
        lambda: minibatch_gamma_shift(PAIR, 1.0, PAIR, SQUARE, CUBE[:2]),
        r"^third has shape \(2, 2, 2, 2\); it must have the rows of outputs, and three units for each$",
    ),
    "third for one unit": (
        lambda: minibatch_gamma_shift(ROW, 1.0, ROW, ROW, np.zeros((3, 1, 1, 1))),
        r"^third has shape \(3, 1, 1, 1\)",
    ),
    "third of two dimensions": (
        lambda: minibatch_gamma_shift(PAIR, 1.0, PAIR, SQUARE, PAIR),
        "^third has shape .* 1 or 4 dim",
    ),
    "NaN in third": (
        lambda: minibatch_gamma_shift(ROW, 1.0, ROW, ROW, [0, math.nan, 0]),
        "^third has 1 non-finite",
    ),
    "canonical, gamma 0": (lambda: minibatch_worth_canonical(0.0), "^gamma = 0 switches the unit off"),
    "canonical, gammas": (
        lambda: minibatch_worth_canonical([1.0, 2.0]),
        r"^gamma has shape \(2,\); it must be one number",
    ),
    "canonical, wide": (
        lambda: minibatch_worth_canonical(-20000.0),
        "^gamma = -20000 makes outputs too wide to average over; it must be at most 10000 in size$",
    ),
    "canonical, beta": (lambda: minibatch_worth_canonical(1.0, math.inf), "^beta has 1 non-finite"),
    "canonical, betas": (lambda: minibatch_worth_canonical(1.0, [1.0]), r"^beta has shape \(1,\)"),
    "canonical, NaN": (
        lambda: minibatch_worth_canonical(1.0, 0.0, lambda y: y * math.nan),
        r"^curvature\(y\) has 97 non-finite",
    ),
    "canonical, a number": (
        lambda: minibatch_worth_canonical(1.0, 0.0, lambda y: y[:3]),
        r"^curvature\(y\) has shape \(3,\); it must be that of y, \(97,\)$",
    ),
    "canonical, one number": (
        lambda: minibatch_worth_canonical(1.0, 0.0, lambda y: 1.0),
        r"^curvature\(y\) has shape \(\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
