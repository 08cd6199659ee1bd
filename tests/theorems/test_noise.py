"""Theorem noise: noisy inputs, signal against noise."""

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import (
    SEEDS,
    Dual,
    Rational,
    correlated,
    derivative,
    gammas,
    identity,
    problem,
    problems,
    same,
    solve,
)
from noisy import NoisyCase
from sklearn.linear_model import Ridge

from bnlib.data import corrupt
from bnlib.moments import Moments
from bnlib.theory import least_squares, noise_path


class ExactFit:
    """The theorem's formulas; `total` and `change` are for what breaks them."""

    def __init__(self, case, noise, total=None, change=None):
        total = case.cov + noise if total is None else total
        self.direction = solve(total, case.cross)
        self.kappa_squared = case.cross @ self.direction
        self.rate = 1 / case.h - 1
        self.gamma_squared = case.h**2 * self.kappa_squared
        self.weights = case.h * self.direction
        if change:
            change(self)


def white(case):
    return case.white


def colored(case):
    return case.noise_cov


def bnlib_with_noise(case, noise):
    """`Moments.with_noise`, then theorem least-squares on what it returns."""
    fit = ExactFit(case, noise)
    found = least_squares(case.moments.with_noise(noise_cov=noise), np.sqrt(float(fit.gamma_squared)))
    fit.rate, fit.weights = found.rate, found.weights
    return fit


def bnlib_path(case, noise):
    fit = ExactFit(case, noise)
    found = noise_path(case.moments, np.sqrt(float(fit.gamma_squared)), [np.sqrt(float(noise[0, 0]))])
    fit.rate, fit.weights = found.rate[0], found.weights[0]
    return fit


def assert_theorem(candidate, case, noise):
    """Stationarity of the noisy problem, (i) the budget, (iii) the two rates on the clean loss, (vii) alpha."""
    fit = candidate(case, noise)
    v, multiplier, total = fit.weights, fit.rate, case.cov + noise
    same((1 + multiplier) * v, solve(total, case.cross))
    signal, spent = v @ case.cov @ v, v @ noise @ v
    same(signal + spent, case.h**2 * (case.cross @ solve(total, case.cross)))
    # gradient of clean loss + (lambda/2) v'Sigma v + ((1 + lambda)/2) v'N v vanishes: its two sides
    same((1 + multiplier) * (case.cov @ v) + (1 + multiplier) * (noise @ v), case.cross)
    same(v @ case.cross - signal, multiplier * signal + (1 + multiplier) * spent)
    assert v @ case.cross > 0


@pytest.mark.parametrize("noise", [white, colored])
def test_exact_noisy_closed_form(noise):
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        assert_theorem(ExactFit, case, noise(case))
        assert_theorem(bnlib_with_noise, case, noise(case))


def test_exact_noise_path():
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        assert_theorem(bnlib_path, case, case.white)


def test_exact_two_rates_as_an_identity():
    """(iii) for every v, not at the minimum alone: noisy loss + its penalty = clean loss + two penalties + const."""
    for seed in each(SEEDS):
        case, source = NoisyCase(seed), Rational(seed + 500)
        source.d = len(case.cross)
        v, multiplier, noise = source.vector(), source.number(), case.noise_cov
        noisy_loss = case.clean_loss(v) + v @ noise @ v / 2
        signal, spent = v @ case.cov @ v, v @ noise @ v
        same(
            noisy_loss + multiplier / 2 * (signal + spent),
            case.clean_loss(v) + multiplier / 2 * signal + (1 + multiplier) / 2 * spent,
        )


def test_exact_derivative_in_the_noise_variance():
    """(v) by dual numbers: 2 (1 + lambda) lambda' gamma^2 = d kappa^2 / d sigma^2 = -c'(Sigma + sigma^2 I)^-2 c."""
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        fit = ExactFit(case, case.white)
        slope = derivative(case.kappa_squared, case.noise_var)
        same(slope, -(fit.direction @ fit.direction))
        gamma_kappa = case.h * fit.kappa_squared
        exact = slope / (2 * (1 + fit.rate) * fit.gamma_squared)
        same(exact, -(fit.direction @ fit.direction) / (2 * gamma_kappa))
        assert exact < 0
        gamma, step = np.sqrt(float(fit.gamma_squared)), 1e-4 * float(case.noise_var)
        stds = np.sqrt([float(case.noise_var) - step, float(case.noise_var) + step])
        low, high = noise_path(case.moments, gamma, stds).rate
        same((high - low) / (2 * step), exact, rtol=1e-6)


def test_exact_path_quantities():
    """(iv), (vii): shares, L2-equivalent rate and, where Sigma is diagonal, the Wiener factors."""
    for seed in each(SEEDS):
        case, source = NoisyCase(seed), Rational(seed)
        fit = ExactFit(case, case.white)
        path = noise_path(case.moments, -np.sqrt(float(fit.gamma_squared)), np.sqrt([float(case.noise_var)]))
        v, size = fit.weights, fit.weights @ fit.weights
        signal = v @ case.cov @ v
        same(path.signal_share[0], signal / fit.gamma_squared)
        same(path.noise_share[0], case.noise_var * size / fit.gamma_squared)
        # written as gradients along v, formulas of their own; on the scale of their terms
        pull, spent = case.cross @ v, case.noise_var * size
        same(path.l2_rate[0], (pull - signal - spent) / size, scale=float((pull + signal + spent) / size))
        same(path.clean_l2_rate[0], (pull - signal) / size, scale=float((pull + signal) / size))

        s = np.array(sorted(source.positive() + i for i in range(source.d)))
        cross = source.vector()
        diagonal = Moments([0.0] * source.d, np.diag(s), cross, sum(cross**2 / s) + 1)
        path = noise_path(diagonal, 2.0, np.sqrt([float(case.noise_var)]))
        snr = s / case.noise_var
        same(path.wiener[0], snr / (1 + snr))
        kappa_squared = sum(cross**2 / s * snr / (1 + snr))
        same((1 + path.rate[0]) ** 2 * 4, kappa_squared)
        same(path.weights[0] * (1 + path.rate[0]), cross / s * snr / (1 + snr))


def test_exact_limits():
    """(vi) as polynomials of 1/sigma^2: at sigma^2 = 1/h, kappa^2/h -> |c|^2 with slope -c'Sigma c."""
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        eye = identity(len(case.cross))
        # kappa^2 sigma^2 = c'(Sigma/sigma^2 + I)^-1 c, a smooth function of 1/sigma^2 at 0
        scaled = case.cross @ solve(case.cov * Dual(0, 1) + eye, case.cross)
        same(scaled.value, case.cross @ case.cross)
        same(scaled.slope, -(case.cross @ case.cov @ case.cross))


@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(10))
def test_torch_unit_on_noisy_rows(seed, sigma):
    """A BatchNorm1d unit at the path's weights, on rows whose noise is orthogonal to the data: stationary, rate and all."""
    rng = np.random.default_rng(seed)
    n, d, gamma = int(rng.integers(30, 80)), 1 + seed % 5, float(rng.choice([-1, 1]) * rng.uniform(0.3, 2.0))
    raw = np.column_stack([np.ones(n), rng.standard_normal((n, 2 * d + 1))])
    basis = np.linalg.qr(raw)[0][:, 1:] * np.sqrt(n)  # centred, uncorrelated, variance 1
    X = basis[:, :d] @ rng.uniform(-1, 1, (d, d)) + rng.standard_normal(d)
    t = X @ rng.standard_normal(d) + basis[:, -1]
    path = noise_path(Moments.from_data(X, t), gamma, [sigma])
    inputs = torch.from_numpy(X + sigma * basis[:, d : 2 * d])
    norm = torch.nn.BatchNorm1d(1, eps=1e-30).double()
    norm.weight.data.fill_(gamma)
    norm.bias.data.fill_(t.mean())
    w = torch.from_numpy(3.0 * np.sign(gamma) * path.weights[0]).requires_grad_()
    loss = (norm((inputs @ w)[:, None])[:, 0] - torch.from_numpy(t)).square().mean() / 2
    grad_w, grad_gamma = torch.autograd.grad(loss, [w, norm.weight])
    assert grad_w.norm() < 1e-12 * t.var() / w.norm()
    same(-grad_gamma.item() / gamma, path.rate[0])
    # without BN: autograd's gradient at the effective weights, of the loss on noisy rows and of that on clean ones
    for rows, found in ((inputs, path.l2_rate[0]), (torch.from_numpy(X), path.clean_l2_rate[0])):
        v = torch.from_numpy(path.weights[0]).requires_grad_()
        output = (rows - rows.mean(dim=0)) @ v
        loss = (output - torch.from_numpy(t - t.mean())).square().mean() / 2
        (grad_v,) = torch.autograd.grad(loss, v)
        size = path.weights[0] @ path.weights[0]
        scale = (abs(path.rate[0]) + 2) * gamma**2 / size
        same(-(v @ grad_v).item() / size, found, scale=scale)


def test_property_path_against_sampled_noise():
    """Moments of really corrupted inputs end at the closed form within 4 standard errors of the sample's."""
    rng = np.random.default_rng(0)
    X = correlated(rng, 200_000, 3)
    t = X @ [1.0, -0.5, 0.2] + rng.standard_normal(len(X))
    found = [least_squares(Moments.from_data(corrupt(X, rng, noise_std=1.5), t), 0.5).rate for _ in range(10)]
    predicted = noise_path(Moments.from_data(X, t), 0.5, [1.5]).rate[0]
    error = np.std(found, ddof=1) / np.sqrt(10)
    assert error < 2e-3 * predicted
    assert abs(np.mean(found) - predicted) < 4 * error
    assert abs(np.mean(found) - noise_path(Moments.from_data(X, t), 0.5, [1.4]).rate[0]) > 20 * error


noise_levels = st.floats(1e-3, 1e3)


@drawn(problems(), gammas, noise_levels)
def test_property_path_is_solve_at_each_level(case, gamma, sigma):
    moments, d = case.moments, len(case.s)
    scale = np.sqrt(case.s.max())
    stds = scale * np.array([sigma, 0.0, 1.0])
    path = noise_path(moments, gamma, stds)
    assert (path.noise_stds == stds).all()
    for i, std in enumerate(stds):
        fit = least_squares(moments.with_noise(noise_std=std), gamma)
        same(1 + path.rate[i], 1 + fit.rate, case.tolerance)
        if std:
            y = np.linalg.solve(moments.cov + std**2 * np.eye(d), moments.cross)
            kappa = np.sqrt(moments.cross @ y)
            same(path.weights[i], abs(gamma) / kappa * y, 1e-8)
            same(1 + path.rate[i], kappa / abs(gamma), 1e-8)


@drawn(problems(), gammas, noise_levels)
def test_property_path_from_the_known_spectrum(case, gamma, sigma):
    std = sigma * np.sqrt(case.s.max())
    path = noise_path(case.moments, gamma, [std])
    snr = np.sort(case.s) / std**2
    same(path.wiener[0], snr / (1 + snr), case.tolerance)
    kappa = np.sqrt((case.along**2 / (case.s + std**2)).sum())
    v = case.U @ (case.along / (case.s + std**2)) * abs(gamma) / kappa
    same(1 + path.rate[0], kappa / abs(gamma), 1e-8)  # Sigma + N has condition number up to 1e6 here
    same(path.weights[0], v, 1e-8)
    same(path.signal_share[0] + path.noise_share[0], 1.0, 1e-12)
    same(path.noise_share[0], std**2 * (v @ v) / gamma**2, 1e-8)
    rho = v @ (case.U * case.s) @ case.U.T @ v / (v @ v)
    clean = path.rate[0] * rho + (1 + path.rate[0]) * std**2
    same(path.clean_l2_rate[0], clean, 1e-8, scale=rho + (1 + path.rate[0]) * (std**2 + rho))
    same(path.l2_rate[0], path.rate[0] * (rho + std**2), 1e-8, scale=(2 + path.rate[0]) * (std**2 + rho))


@drawn(problems(), gammas, st.lists(noise_levels, min_size=2, max_size=6, unique=True))
def test_property_the_rate_falls_with_the_noise(case, gamma, levels):
    path = noise_path(case.moments, gamma, np.sqrt(case.s.max()) * np.sort(levels))
    assert (np.diff(path.rate) < 0).all()
    assert (path.rate > -1).all()
    assert (path.noise_share > 0).all()
    assert (path.noise_share < 1).all()


def test_control_the_share_of_signal_need_not_fall_with_the_noise():
    """A weak direction that carries the target drowns first; what is left is strong, and clean."""
    moments = Moments([0.0, 0.0], np.diag([1.0, 1e-6]), [np.sqrt(1e-3), np.sqrt(0.999e-6)], 1.0)
    share = noise_path(moments, 1.0, np.sqrt([1e-9, 1e-3, 1e-1, 1e3])).signal_share
    assert share[0] > share[1] < share[2] > share[3]
    assert share[2] - share[1] > 0.3


@drawn(problems("well", "single", "ill"), gammas)
def test_property_limits(case, gamma):
    """(vi) no noise: theorem least-squares; much of it: lambda -> -1 and v -> gamma c / (sigma |c|), while without BN v -> c / sigma^2."""
    scale = np.sqrt(case.s.max())
    path = noise_path(case.moments, gamma, scale * np.array([0.0, 1e7]))
    fit = least_squares(case.moments, gamma)
    same(path.weights[0], fit.weights, case.tolerance)
    same(path.rate[0], fit.rate, case.tolerance * (1 + abs(1 / fit.rate)))
    same(path.l2_rate[0], fit.l2_rate, case.tolerance * (10 + abs(10 / fit.rate)))
    same(path.clean_l2_rate[0], fit.l2_rate, case.tolerance * (10 + abs(10 / fit.rate)))
    # alpha ends like -sigma^2, alpha_clean like sigma |c| / gamma; the next terms are 1e-7 of what scales them
    end = np.linalg.norm(case.moments.cross) / abs(gamma)
    same(path.l2_rate[1] / (scale * 1e7) ** 2, -1.0, 2e-7, scale=1 + end / scale)
    same(path.clean_l2_rate[1] / (scale * 1e7), end, 2e-7, scale=scale)
    c, std = case.moments.cross, scale * 1e7
    same(path.weights[1], abs(gamma) * c / (std * np.linalg.norm(c)))
    # 1 + lambda is about 1e-7 here, and lambda = -1 + it keeps nine of its digits
    same(1 + path.rate[1], np.linalg.norm(c) / (std * abs(gamma)), 1e-6)
    same(path.weights[1] * (1 + path.rate[1]), c / std**2, 1e-6)


@pytest.mark.parametrize("n, d", [(80, 6), (8, 12)], ids=["d < n", "d > n"])
def test_property_weights_are_a_multiple_of_ridge(n, d):
    """scikit-learn's Ridge with alpha = n sigma^2 has BN's direction at every noise level, constant columns included."""
    rng = np.random.default_rng(2)
    X, t = correlated(rng, n, d), rng.standard_normal(n)
    X[:, 0] = -3.0
    stds = np.array([0.1, 0.5, 2.0, 10.0])
    path = noise_path(Moments.from_data(X, t), 0.8, stds)
    for std, v, multiplier in zip(stds, path.weights, path.rate):
        ridge = Ridge(alpha=n * std**2, solver="cholesky").fit(X, t).coef_
        same(v * (1 + multiplier), ridge, rtol=1e-9)
        assert abs(v[0]) < 1e-15


def test_property_noise_on_dead_inputs_changes_nothing_but_their_weight():
    case = problem(3, "singular")
    null = case.U[:, case.s == 0]
    noisy = case.moments.with_noise(noise_cov=null @ null.T)
    before, after = least_squares(case.moments, 1.0), least_squares(noisy, 1.0)
    same(after.weights, before.weights, rtol=1e-9)
    same(after.rate, before.rate, rtol=1e-9)


def change_rate(change):
    return lambda case, noise: ExactFit(case, noise, change=lambda fit: setattr(fit, "rate", change(fit.rate, case.h)))


BROKEN = {
    "Sigma for Sigma + N": lambda case, noise: ExactFit(case, noise, total=case.cov),
    "N for Sigma + N": lambda case, noise: ExactFit(case, noise, total=noise),
    "Sigma - N": lambda case, noise: ExactFit(case, noise, total=case.cov - noise),
    "N twice": lambda case, noise: ExactFit(case, noise, total=case.cov + 2 * noise),
    "gamma/kappa upside down": change_rate(lambda multiplier, h: h - 1),
    "sign of lambda flipped": change_rate(lambda multiplier, h: -multiplier),
    "one not subtracted": change_rate(lambda multiplier, h: multiplier + 1),
    "no gain": lambda case, noise: ExactFit(case, noise, change=lambda fit: setattr(fit, "weights", fit.direction)),
    "sign of the weights": lambda case, noise: ExactFit(
        case, noise, change=lambda fit: setattr(fit, "weights", -fit.weights)
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_control_broken_noise_formula_is_caught(name):
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            case = NoisyCase(seed)
            assert_theorem(BROKEN[name], case, case.white)


def test_control_one_rate_for_signal_and_noise_is_caught():
    """(iii) the noise is penalized by 1 + lambda, not by lambda."""
    for seed in each(SEEDS):
        case = NoisyCase(seed)
        fit = ExactFit(case, case.white)
        v = fit.weights
        with pytest.raises(AssertionError):
            same(v @ case.cross - v @ case.cov @ v, fit.rate * (v @ (case.cov + case.white) @ v))
