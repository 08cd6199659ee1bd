"""Theorem minibatch: batch size is a decay on gamma."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, same
from scipy.stats import chi
from torch import nn

from bnlib.theory import minibatch_decay, minibatch_factor, minibatch_worth


def exact_factor_squared(M):
    """a_M^2 = rational * pi^+-1, by double factorials: the rational part, and the power of pi."""
    if M % 2 == 0:  # Gamma(n) / Gamma(n - 1/2) = (n-1)! 2^(2n-2) (n-1)! / ((2n-2)! sqrt(pi))
        n = M // 2
        return Fraction(2, M) * Fraction(math.factorial(n - 1) ** 2 * 4 ** (n - 1), math.factorial(2 * n - 2)) ** 2, -1
    n = (M - 1) // 2  # Gamma(n + 1/2) / Gamma(n) = (2n)! sqrt(pi) / (4^n n! (n-1)!)
    return Fraction(2, M) * Fraction(math.factorial(2 * n), 4**n * math.factorial(n) * math.factorial(n - 1)) ** 2, 1


def assert_factor(candidate, M):
    rational, power = exact_factor_squared(M)
    with mpmath.workdps(40):
        exact = mpmath.sqrt(mpmath.mpf(rational.numerator) / rational.denominator * mpmath.pi**power)
        same(candidate(M), float(exact), rtol=1e-15)


def test_exact_factor_of_every_batch_size():
    for M in each(range(2, 130), "M ="):
        assert_factor(minibatch_factor, M)


def test_exact_product_of_neighbours():
    """a_M a_(M+1) = (M - 1) / sqrt(M (M + 1)): squares are rational and pi cancels."""
    for M in each(range(2, 130), "M ="):
        (first, power), (second, other) = exact_factor_squared(M), exact_factor_squared(M + 1)
        assert power + other == 0
        same(first * second, Fraction((M - 1) ** 2, M * (M + 1)))


def test_exact_decay_undoes_the_factor():
    """Population BN with decay a on gamma: gamma (1 + a) = R sigma_t; with a = 1/a_M - 1 it is a_M R sigma_t."""
    for M in each(range(2, 130), "M ="):
        same((1 + minibatch_decay(M)) * minibatch_factor(M), 1.0, rtol=1e-15)
    assert minibatch_decay([4, 32]).round(5).tolist() == [0.25331, 0.02423]


def test_property_decay_of_large_batches():
    """Where 1/a_M - 1 would keep few digits of the factor's."""
    for M in (64, 1000, 10**6, 10**9):
        with mpmath.workdps(50):
            factor = mpmath.sqrt(mpmath.mpf(2) / M) * mpmath.gammaprod([mpmath.mpf(M) / 2], [mpmath.mpf(M - 1) / 2])
            exact = float(1 / factor - 1)
        same(minibatch_decay(M), exact, rtol=1e-15)


class Finite:
    """Batches of M from a few rational numbers, drawn with replacement: every batch is listed."""

    def __init__(self, seed, M):
        source = Rational(seed)
        source.d = 1
        values = source.vector(3)
        values = values - values.sum() / 3
        self.variance = (values**2).sum() / 3
        self.kurtosis = (values**4).sum() / 3
        batches = np.array(list(itertools.product(values, repeat=M)))
        means = batches.sum(axis=1) / M
        self.batch_vars = ((batches - means[:, None]) ** 2).sum(axis=1) / M
        self.M = M


def assert_variance_of_variance(candidate, case):
    """E s^2 = (M - 1)/M sigma^2 and Var s^2, the two moments that the leading term is made of."""
    n = len(case.batch_vars)
    mean = case.batch_vars.sum() / n
    same(mean, Fraction(case.M - 1, case.M) * case.variance)
    same((case.batch_vars**2).sum() / n - mean**2, candidate(case.M, case.variance, case.kurtosis))


def variance_of_variance(M, variance, fourth):
    return Fraction((M - 1) ** 2, M**3) * fourth - Fraction((M - 1) * (M - 3), M**3) * variance**2


def test_exact_moments_of_the_batch_variance():
    for seed in each(SEEDS):
        case = Finite(seed, M=2 + seed % 4)
        if case.variance:
            assert_variance_of_variance(variance_of_variance, case)


def test_exact_leading_term():
    """1/E s - 1 from those two moments, to first order in 1/M: (rho + 2)/8 + 1/2."""
    u, rho = sympy.symbols("u rho")  # u = 1/M
    mean = 1 - u
    spread = (1 - u) ** 2 * u * (rho + 3) - (1 - u) * (1 - 3 * u) * u
    expected_std = sympy.sqrt(mean) * (1 - spread / (8 * mean**2))
    leading = sympy.series(1 / expected_std - 1, u, 0, 2).removeO()
    assert sympy.simplify(leading - ((rho + 2) / 8 + sympy.Rational(1, 2)) * u) == 0
    for seed in each(SEEDS):
        source = Rational(seed)
        M, kurtosis = 2 + seed, source.positive() - 2
        same(minibatch_decay(M, float(kurtosis)), (kurtosis + 2) / (8 * M) + Fraction(1, 2 * M), rtol=1e-14)


def test_exact_expected_loss_of_pairs():
    """M = 2, where s = |z1 - z2| / 2 is rational: E J = const - gamma slope E s + gamma^2 / 2 over every pair of rows."""
    for seed in each(SEEDS):
        source = Rational(seed)
        source.d = 1
        values, slope, beta, gamma = sorted({*source.vector(4)}), source.nonzero(), source.number(), source.nonzero()
        noise = source.positive()
        rows = [(z, slope * z + e) for z in values for e in (-noise, noise)]  # E[t|z] is linear in z
        losses, spreads, constants = [], [], []
        for (z1, t1), (z2, t2) in itertools.product(rows, repeat=2):
            if z1 != z2:
                sign = 1 if z1 > z2 else -1
                losses.append(((t1 - beta - gamma * sign) ** 2 + (t2 - beta + gamma * sign) ** 2) / 4)
                spreads.append(abs(z1 - z2) / 2)
                constants.append(((t1 - beta) ** 2 + (t2 - beta) ** 2) / 4)
        n = len(losses)
        same(sum(losses) / n, sum(constants) / n - gamma * slope * sum(spreads) / n + gamma**2 / 2)


@pytest.mark.parametrize("M", [2, 4, 32, 128])
def test_property_factor_is_the_mean_of_scipys_chi(M):
    same(minibatch_factor(M), chi(M - 1).mean() / np.sqrt(M), rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_torch_expected_loss_over_every_batch(seed):
    """E J = const - gamma slope E s + gamma^2 / 2, by torch's BatchNorm1d on every batch of a finite law, a channel each."""
    rng = np.random.default_rng(seed)
    M, slope, gamma, beta = 2 + seed % 3, rng.normal(), rng.choice([-1, 1]) * rng.uniform(0.2, 2.0), rng.normal()
    z, noise = rng.standard_normal(3), rng.uniform(0.1, 1.0)
    rows = np.array([(x, slope * x + e) for x in z for e in (-noise, noise)])  # E[t|z] is linear in z
    batches = rows[np.array(list(itertools.product(range(len(rows)), repeat=M))).T]  # (M, batches, 2)
    batches = batches[:, np.ptp(batches[..., 0], axis=0) > 0]  # of one value only, a batch has nothing to normalize
    norm = nn.BatchNorm1d(batches.shape[1], eps=1e-30).double()
    norm.weight.data.fill_(gamma)
    norm.bias.data.fill_(beta)
    inputs, target = torch.from_numpy(batches[..., 0]), torch.from_numpy(batches[..., 1])
    loss = (norm(inputs) - target).square().mean().item() / 2
    constant = ((batches[..., 1] - beta) ** 2).mean() / 2
    same(loss, constant - gamma * slope * batches[..., 0].std(axis=0).mean() + gamma**2 / 2, rtol=1e-12)


def correlation_of_batches(M, batches, correlation=1.0, seed=0):
    """torch's BatchNorm1d on `batches` Gaussian batches of M at once, a channel each: mean of (normalized z) t."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(M, batches, dtype=torch.float64, generator=generator)
    t = correlation * z + math.sqrt(1 - correlation**2) * torch.randn(
        M, batches, dtype=torch.float64, generator=generator
    )
    norm = nn.BatchNorm1d(batches, eps=1e-30, affine=False).double()
    samples = (norm(3.0 * z + 1.0) * t).mean(dim=0)
    return samples.mean().item(), samples.std().item() / math.sqrt(batches)


MONTE_CARLO = [(2, 0.6), (4, 1.0), (8, -0.5), (32, 1.0)]


def assert_monte_carlo(candidate, M, correlation):
    mean, error = correlation_of_batches(M, 200_000 // M * 4, correlation)
    assert error < 5e-3
    assert abs(mean - candidate(M) * correlation) < 4 * error


@pytest.mark.parametrize("M, correlation", MONTE_CARLO)
def test_torch_batches_shrink_the_correlation(M, correlation):
    assert_monte_carlo(minibatch_factor, M, correlation)


@pytest.mark.parametrize("M", [4, 16])
def test_torch_learned_gamma_rests_at_the_shrunken_correlation(M):
    """The gradient of gamma, averaged over batches, vanishes at a_M R sigma_t and not at R sigma_t."""
    generator = torch.Generator().manual_seed(M)
    z = torch.randn(M, 100_000, dtype=torch.float64, generator=generator)
    t = 0.8 * z + 0.6 * torch.randn(M, 100_000, dtype=torch.float64, generator=generator)
    norm = nn.BatchNorm1d(100_000, eps=1e-30).double()

    def gradient(gamma):
        norm.weight.data.fill_(gamma)
        (grad,) = torch.autograd.grad((norm(z) - t).square().mean(dim=0).sum() / 2, norm.weight)
        return grad.mean().item(), grad.std().item() / math.sqrt(len(grad))

    mean, error = gradient(float(minibatch_factor(M)) * 0.8)
    assert abs(mean) < 4 * error
    assert gradient(0.8)[0] > 20 * error
    assert gradient(math.sqrt((M - 1) / M) * 0.8)[0] > 10 * error


@pytest.mark.parametrize("law, kurtosis", [("uniform", -1.2), ("normal", 0.0), ("laplace", 3.0)])
def test_property_leading_term_for_other_distributions(law, kurtosis):
    """M (1/E s - 1) at M = 100 and 200, extrapolated to 1/M = 0; s - s^2/2 carries the mean of s with a tenth of the noise."""
    rng = np.random.default_rng(5)
    std = {"uniform": math.sqrt(1 / 3), "normal": 1.0, "laplace": math.sqrt(2)}[law]
    draw = {
        "uniform": lambda size: rng.uniform(-1, 1, size),
        "normal": rng.standard_normal,
        "laplace": lambda size: rng.laplace(size=size),
    }
    scaled, errors = [], []
    for M in (100, 200):
        s = np.concatenate([draw[law]((10_000, M)).std(axis=1) / std for _ in range(6)])
        samples = s - s**2 / 2
        expected = samples.mean() + (M - 1) / M / 2
        scaled.append(M * (1 / expected - 1))
        errors.append(M * samples.std() / math.sqrt(len(samples)))
    limit, error = 2 * scaled[1] - scaled[0], math.hypot(2 * errors[1], errors[0])
    assert error < 0.03
    assert abs(limit - 1000 * minibatch_decay(1000, kurtosis)) < 4 * error


@drawn(st.integers(2, 5000))
def test_property_bounds_and_monotonicity(M):
    """sqrt(1 - 2/M) < a_M < sqrt(1 - 1/M): below the biased deviation; the decay falls as the batch grows."""
    factor = minibatch_factor(M)
    assert math.sqrt(1 - 2 / M) < factor < math.sqrt(1 - 1 / M)
    assert factor < minibatch_factor(M + 1) < 1
    assert minibatch_decay(M) > minibatch_decay(M + 1) > 0
    exact, leading = minibatch_decay(M), minibatch_decay(M, excess_kurtosis=0.0)
    same(leading, 3 / (4 * M), rtol=1e-15)
    assert 0 < exact - leading < 1.6 / M**2


@drawn(st.lists(st.integers(2, 10_000), min_size=1, max_size=5), st.floats(-2.0, 100.0))
def test_property_arrays_are_elementwise(sizes, kurtosis):
    same(minibatch_factor(sizes), [minibatch_factor(M) for M in sizes], rtol=1e-15)
    same(minibatch_decay(sizes), [minibatch_decay(M) for M in sizes], rtol=1e-15)
    same(minibatch_decay(sizes, kurtosis), [minibatch_decay(M, kurtosis) for M in sizes], rtol=1e-15)
    assert minibatch_decay(np.float32(7), 0.0).dtype == np.float64
    assert minibatch_decay(4, -2.0) == 1 / 8  # two equal masses: only the bias of the variance is left


def c4(M):
    """Mean of the unbiased deviation."""
    return float(minibatch_factor(M)) * math.sqrt(M / (M - 1))


class Outputs:
    """Rational outputs of a unit and a target for each, their standard deviation a whole number of a rational."""

    def __init__(self, seed):
        source = Rational(seed)
        source.d = 1
        self.std, self.mean = source.positive(), source.number()
        self.z = np.array([*map(Fraction, (-3, -1, 1, 6, -2, 0, 2, -2, 0, -1))])  # of mean 0, not symmetric
        self.z = self.z * source.nonzero()
        self.t = np.array([source.number() for _ in self.z])
        self.t[0] += 20  # never uncorrelated with z

    @property
    def moments(self):
        """E z^2, E z^4, E (t - E t) z, E (t - E t) z^3: the last two as the batch sees them."""
        centred = self.t - self.t.sum() / len(self.t)
        return [
            (one * self.z**power).sum() / len(self.z) for one, power in ((1, 2), (1, 4), (centred, 1), (centred, 3))
        ]


def worth(variance, fourth, covariance, third):
    return third / (2 * covariance * variance) - Fraction(3, 8) * (fourth / variance**2 - 1)


def assert_worth(candidate, seed):
    """By the expansion of t times the normalized output in its own row's share of a batch, to first order in 1/M."""
    case = Outputs(seed)
    variance, fourth, covariance, third = case.moments
    kurtosis = fourth / variance**2 - 3
    # z has unit variance below: the mean of t times -z^3/2 + (3/8)(rho + 2) z + skewness/2, over E tz
    expanded = -third / variance / 2 + Fraction(3, 8) * (kurtosis + 2) * covariance
    same(candidate(case), -expanded / covariance, rtol=1e-11, scale=1.0 + abs(float(expanded / covariance)))


@pytest.mark.parametrize(
    "candidate",
    [
        lambda case: worth(*case.moments),
        lambda case: minibatch_worth(case.z.astype(float) + 0.5, case.t.astype(float) - 3.0),
        lambda case: minibatch_worth(-7.0 * case.z.astype(float), case.t.astype(float)),
    ],
    ids=["fractions", "bnlib", "bnlib, other units"],
)
def test_exact_worth_of_batches(candidate):
    for seed in each(SEEDS):
        assert_worth(candidate, seed)


def test_exact_worth_where_the_target_is_linear_in_the_output():
    """(rho + 6)/8, the leading term of the law that assumes it."""
    for seed in each(SEEDS):
        case = Outputs(seed)
        variance, fourth, _, _ = case.moments
        same(worth(variance, fourth, 5 * variance, 5 * fourth), (fourth / variance**2 + 3) / 8)
        found = minibatch_worth(case.z.astype(float), 5 * case.z.astype(float) + 1)
        same(found, 100 * minibatch_decay(100, float(fourth / variance**2) - 3), rtol=1e-12)


def test_property_worth_is_a_column_a_unit():
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((50, 3))
    targets = np.sign(outputs) + rng.standard_normal((50, 3))
    columns = [minibatch_worth(z, t) for z, t in zip(outputs.T, targets.T)]
    same(minibatch_worth(outputs, targets), columns, rtol=1e-12)
    sizes = np.array([1e-20, 1.0, 1e20])
    same(minibatch_worth(sizes * outputs, sizes[::-1] * targets), columns, rtol=1e-12)


LAWS = {  # outputs, target, worth
    "Gaussian, linear": (lambda rng, size: rng.standard_normal(size), lambda z: z, 0.75),
    "Gaussian, sign": (lambda rng, size: rng.standard_normal(size), np.sign, 2 / 2 - 3 / 4),
    "Laplace, sign: batches inflate": (lambda rng, size: rng.laplace(0, math.sqrt(0.5), size), np.sign, 3 / 2 - 15 / 8),
}


def assert_learned_gamma(candidate, name):
    """torch's BatchNorm1d on batches of M and 2M, a channel each: M (E tz/E<t z_hat> - 1), extrapolated to 1/M = 0."""
    draw, target, _ = LAWS[name]
    rng = np.random.default_rng(7)
    scaled, errors = [], []
    for M in (64, 128):
        samples = []
        for _ in range(8):
            z = draw(rng, (M, 10_000))
            t = target(z)
            norm = nn.BatchNorm1d(10_000, eps=1e-30, affine=False).double()
            # the difference has a tenth of the scatter: both see the same rows
            samples.append(((norm(torch.from_numpy(z)).numpy() - z) * t).mean(axis=0))
        samples = np.concatenate(samples)
        expected = {"Gaussian, linear": 1.0, "Gaussian, sign": math.sqrt(2 / math.pi)}.get(name, math.sqrt(0.5))
        scaled.append(M * (expected / (expected + samples.mean()) - 1))
        errors.append(M * samples.std() / math.sqrt(len(samples)) / expected)
    limit, error = 2 * scaled[1] - scaled[0], math.hypot(2 * errors[1], errors[0])
    assert error < 0.1
    assert abs(limit - candidate(name)) < 4 * error


@pytest.mark.parametrize("name", LAWS)
def test_torch_batches_of_any_law_are_worth_that(name):
    draw, target, expected = LAWS[name]
    assert_learned_gamma(lambda name: expected, name)
    z = draw(np.random.default_rng(1), 2_000_000)
    same(minibatch_worth(z, target(z)), expected, rtol=0.1, scale=1.0)


BROKEN = {
    "unbiased deviation": c4,
    "no factor": lambda M: 1.0,
    "root of the biased variance's mean": lambda M: math.sqrt((M - 1) / M),
    "leading term alone": lambda M: 1 - 3 / (4 * M),
    "Gammas of M for M - 1": lambda M: float(minibatch_factor(M + 1)),
    "inverted": lambda M: 1 / float(minibatch_factor(M)),
}
BROKEN_VARIANCES = {
    "biased by a sign": lambda M, variance, fourth: variance_of_variance(M, -variance, fourth) * 2,
    "unbiased variance": lambda M, variance, fourth: (
        variance_of_variance(M, variance, fourth) * Fraction(M, M - 1) ** 2
    ),
    "Gaussian for every law": lambda M, variance, fourth: Fraction(2 * (M - 1), M**2) * variance**2,
    "fourth moment for excess": lambda M, variance, fourth: Fraction((M - 1) ** 2, M**3) * fourth,
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_factor_is_caught(name):
    with pytest.raises(AssertionError):
        for M in range(2, 130):
            assert_factor(BROKEN[name], M)


@pytest.mark.parametrize("name", BROKEN)
def test_control_sampling_tells_the_broken_factors_apart(name):
    with pytest.raises(AssertionError):
        for M, correlation in MONTE_CARLO[:2]:
            assert_monte_carlo(BROKEN[name], M, correlation)


@pytest.mark.parametrize("name", BROKEN_VARIANCES)
def test_control_broken_moments_are_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_variance_of_variance(BROKEN_VARIANCES[name], Finite(seed, M=2 + seed % 4))


BROKEN_WORTHS = {
    "of injected noise alone": lambda v, f, c, t: (f / v**2 + 3) / 4,
    "as if the target were linear": lambda v, f, c, t: (f / v**2 + 3) / 8,
    "no kurtosis": lambda v, f, c, t: t / (2 * c * v) - Fraction(3, 4),
    "excess for kurtosis": lambda v, f, c, t: worth(v, f, c, t) - Fraction(3, 8),
    "inverted": lambda v, f, c, t: -worth(v, f, c, t),
}


@pytest.mark.parametrize("name", BROKEN_WORTHS)
def test_control_broken_worths_are_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            assert_worth(lambda case: BROKEN_WORTHS[name](*case.moments), seed)


def test_control_sampling_tells_the_linear_law_from_the_worth():
    with pytest.raises(AssertionError):
        assert_learned_gamma(lambda name: (3 + 6) / 8, "Laplace, sign: batches inflate")


UNCORRELATED = "^targets has a column uncorrelated with its output: gamma ends at 0 with batches of any size$"
REFUSED = {
    "shapes": (
        lambda: minibatch_worth(np.zeros((4, 2)), np.zeros(4)),
        r"targets has shape \(4,\) and outputs \(4, 2\)",
    ),
    "no rows": (lambda: minibatch_worth([], []), "must have the same, with rows"),
    "constant": (
        lambda: minibatch_worth([0.1] * 3, [1.0, 2.0, 3.0]),
        "^outputs has a column that does not vary; there is nothing to normalize$",
    ),
    "uncorrelated": (lambda: minibatch_worth([-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]), UNCORRELATED),
    "constant target": (
        lambda: minibatch_worth([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0]),
        UNCORRELATED,
    ),
    "NaN": (lambda: minibatch_worth([1.0, math.nan], [1.0, 2.0]), "outputs has 1 non-finite"),
    "NaN in targets": (lambda: minibatch_worth([1.0, 2.0], [1.0, math.nan]), "^targets has 1 non-finite"),
    "cubes": (lambda: minibatch_worth(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))), r"outputs has shape .* 1 or 2 dim"),
    "cubes of targets": (
        lambda: minibatch_worth(np.zeros(2), np.zeros((2, 2, 2))),
        r"^targets has shape .* 1 or 2 dim",
    ),
    "kurtosis": (lambda: minibatch_decay(4, -2.5), "excess_kurtosis = -2.5 belongs to no distribution"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
