"""Theorem half-tuned: n rows ask for a rate; at the true length less than half of it is set; the rows say how to set it all."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, correlated, ellipsoid, problems, same, settle_directions, solve
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from torch import nn

from bnlib import theory
from bnlib.moments import Moments


class Sample:
    """Rational rows, their least-squares fit, and what it leaves."""

    def __init__(self, seed):
        source = Rational(seed)
        source.d = self.d = 1 + seed % 3
        self.n = self.d + 3 + seed % 4
        self.X, self.t = source.matrix(self.n), source.vector(self.n)
        self.noise, self.v = source.positive(), source.vector()
        self.centred, self.target = self.X - self.X.sum(axis=0) / self.n, self.t - self.t.sum() / self.n
        self.scatter = self.centred.T @ self.centred
        self.hat = np.transpose([solve(self.scatter, row) for row in self.centred])  # weights = hat @ t
        self.residuals = self.target - self.centred @ (self.hat @ self.t)
        self.W = self.target @ self.target - self.residuals @ self.residuals
        self.U = self.residuals @ self.residuals
        self.leverage = np.array([Fraction(1, self.n) + self.centred[i] @ self.hat[:, i] for i in range(self.n)])

    @property
    def r_squared(self):
        return self.W / (self.W + self.U)

    @property
    def floats(self):
        return self.X.astype(float), self.t.astype(float)

    def left_out(self, leverage):
        """Relative to the mean of the other rows: the target of each row, and the others' prediction of it."""
        target = self.target * Fraction(self.n, self.n - 1)
        return target, target - self.residuals / (1 - leverage)

    def scale(self, leverage):
        target, predicted = self.left_out(leverage)
        return (target @ predicted) / (predicted @ predicted)


CASES = {seed: Sample(seed) for seed in SEEDS}


def noisy(case):
    """The fit for every pattern of signs of the noise: rows again at the same inputs."""
    for signs in itertools.product([-1, 1], repeat=case.n):
        yield case.hat @ (case.centred @ case.v + case.noise * np.array(signs))


def assert_squared_length(candidate, case):
    """n E kappa^2, over all signs of the noise."""
    lengths = [weights @ case.scatter @ weights for weights in noisy(case)]
    same(sum(lengths) / len(lengths), candidate(case))


def squared_length(case):
    return case.v @ case.scatter @ case.v + case.d * case.noise**2


def test_exact_mean_squared_length_of_the_fit():
    for case in each(CASES):
        assert_squared_length(squared_length, case)


def test_exact_best_scale_at_the_same_inputs_is_one_over_one_plus_delta():
    """E |a fit - v|^2 in the rows' own metric, a quadratic in a; and the mean error of the fit, s^2 tr of the inverse."""
    for case in each(CASES):
        fits = list(noisy(case))
        projected = sum(v @ case.scatter @ case.v for v in fits) / len(fits)
        delta = case.d * case.noise**2 / (case.v @ case.scatter @ case.v)
        same(projected / (squared_length(case)), 1 / (1 + delta))
        error = sum((v - case.v) @ (v - case.v) for v in fits) / len(fits)
        same(
            error, case.noise**2 * sum(solve(case.scatter, unit)[i] for i, unit in enumerate(np.eye(case.d, dtype=int)))
        )


def defined(r_squared, n, d):
    """The rate by its definition, R^2 adjusted; None where it is infinite."""
    adjusted = 1 - (1 - r_squared) * Fraction(n - 1, n - d - 1)
    return d * (1 - adjusted) / ((n - d - 2) * adjusted) if adjusted > 0 else None


def assert_rate(candidate, case):
    rate = defined(case.r_squared, case.n, case.d)
    found = candidate(float(case.r_squared), case.n, case.d)
    if rate is None:
        assert np.isinf(found)
    else:
        same(found, rate, rtol=1e-12, scale=float(rate) / min(1.0, abs(float((case.n - 1) * case.r_squared - case.d))))


def test_exact_recommended_rate():
    for case in each({seed: Sample(seed) for seed in range(200)}):
        assert_rate(theory.recommended_rate, case)


def test_exact_leave_one_out_with_mean_leverage():
    """With (d + 1)/n for every leverage it is the rate with n - d - 1 for n - d - 2."""
    for case in each(CASES):
        n, d = case.n, case.d
        adjusted = 1 - (1 - case.r_squared) * Fraction(n - 1, n - d - 1)
        a = case.scale(np.full(n, Fraction(d + 1, n)))
        same(1 / a - 1, d * (1 - adjusted) / ((n - d - 1) * adjusted))
        rate = defined(case.r_squared, n, d)
        same(Fraction(a <= 0), Fraction(rate is None))
        assert a <= 0 or (1 / a - 1) * (n - d - 1) == rate * (n - d - 2)


def test_exact_generalized_cross_validation_asks_for_less():
    """Of 11'/n + aP: its minimum has d s^2/(W - d s^2), the need at the same inputs."""
    for case in each(CASES):
        spread = case.U / (case.n - case.d - 1)
        a = 1 - case.d * spread / case.W

        def score(a, case=case):
            return ((1 - a) ** 2 * case.W + case.U) / (case.n - 1 - case.d * a) ** 2

        same((score(a + Fraction(1, 1000)) - score(a) > 0) * Fraction(1), Fraction(1))
        same((score(a - Fraction(1, 1000)) - score(a) > 0) * Fraction(1), Fraction(1))
        same(-2 * (1 - a) * case.W * (case.n - 1 - case.d * a), -2 * case.d * ((1 - a) ** 2 * case.W + case.U))
        left_out = case.scale(np.full(case.n, Fraction(case.d + 1, case.n)))
        same(1 / a - 1, (1 / left_out - 1) * Fraction(case.n - case.d - 1, case.n - 1))


def assert_left_out(candidate, case):
    """Every row predicted by a fit to the others, in fractions."""
    targets, predictions = [], []
    for i in range(case.n):
        rest = [k for k in range(case.n) if k != i]
        mean, target_mean = case.X[rest].sum(axis=0) / len(rest), case.t[rest].sum() / len(rest)
        X, t = case.X[rest] - mean, case.t[rest] - target_mean
        predictions.append(solve(X.T @ X, X.T @ t) @ (case.X[i] - mean))
        targets.append(case.t[i] - target_mean)
    targets, predictions = np.array(targets), np.array(predictions)
    same(candidate(case), max(Fraction(0), (targets @ predictions) / (predictions @ predictions)), rtol=1e-8, scale=1.0)


@pytest.mark.parametrize(
    "candidate",
    [lambda case: max(Fraction(0), case.scale(case.leverage)), lambda case: theory.leave_one_out_scale(*case.floats)],
    ids=["fractions", "bnlib"],
)
def test_exact_leave_one_out_by_leaving_each_row_out(candidate):
    for case in each(CASES):
        assert_left_out(candidate, case)


def assert_gamma(gamma, decay, case, n):
    """The unit at this gamma, and the unit with this decay, pay the rate that the rows ask for."""
    rate = defined((case.explained_std**2) / case.target_var, n, len(case.cross))
    if rate is None:
        assert gamma(case.moments, n) == 0 and np.isinf(decay(case.moments, n))
        return
    same(decay(case.moments, n), rate, rtol=1e-8)
    same(gamma(case.moments, n), case.explained_std / (1 + rate), rtol=1e-8)
    same(theory.least_squares(case.moments, gamma(case.moments, n)).rate, rate, rtol=1e-6, scale=1.0 + float(rate))


def test_exact_gamma_and_decay():
    for seed in each(SEEDS):
        case = ellipsoid(seed)
        assert_gamma(theory.recommended_gamma, theory.recommended_gamma_decay, case, len(case.cross) + 3 + seed)
        assert_gamma(theory.recommended_gamma, theory.recommended_gamma_decay, case, 400)


def test_exact_needed_rate_is_the_bottom_of_a_parabola():
    """a^2 (error of the fit) + (1 - a)^2, in units of R^2 sigma_t^2, where the fit's error is d s^2/(n - d - 2)."""
    for seed in each(SEEDS):
        source = Rational(seed)
        d, r_squared = source.d, source.positive() / 10
        n = d + 3 + seed
        error = d * (1 - r_squared) / ((n - d - 2) * r_squared)
        found = Fraction(theory.needed_rate(float(r_squared), n, d)).limit_denominator(10**7)
        same(found, error)
        a = 1 / (1 + found)
        same(a * error - (1 - a), Fraction(0))
        same(a**2 * error + (1 - a) ** 2, found / (1 + found))


def test_exact_batches_without_replacement():
    """c_B (n - M)/(M (n - 1)) is the rate; fresh batches are the limit of many rows."""
    for seed in each(SEEDS):
        source = Rational(seed)
        rate, worth, n = source.positive(), source.positive(), 5 + seed
        M = n / (1 + (n - 1) * rate / worth)
        same(worth * (n - M) / (M * (n - 1)), rate)
        same(theory.recommended_batch_size(float(rate), n, float(worth)), M, rtol=1e-13)
        same(theory.recommended_batch_size(float(rate), worth=float(worth)), worth / rate, rtol=1e-13)
    assert theory.recommended_batch_size(0.0) == np.inf and theory.recommended_batch_size(0.0, rows=50) == 50
    explains_all = Moments([0.0], [[1.0]], [1.0 + 1e-9], 1.0)  # but for rounding
    assert theory.recommended_gamma_decay(explains_all, 9) == 0 and theory.recommended_gamma(explains_all, 9) == 1
    assert theory.recommended_batch_size([0.0, 0.1]).tolist() == [np.inf, 7.5]
    assert isinstance(theory.recommended_batch_size(0.1), float)


# torch's own layers


class TorchUnit:
    """A unit on all its rows as one batch, trained by torch's optimizer on raw weights, gamma and beta."""

    def __init__(self, seed, rows=60, inputs=4):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((rows, inputs))
        # in whitened coordinates gradient descent is quick; the unit does not see the difference (theorem invariance)
        X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(rows)
        t = X @ rng.standard_normal(inputs) * 0.5 + 1.5 * rng.standard_normal(rows) + 2.0
        self.rows, self.moments = rows, Moments.from_data(X, t)
        self.kappa = float(np.sqrt(self.moments.r_squared * self.moments.target_var))
        self.inputs, self.target = torch.from_numpy(X), torch.from_numpy(t)
        torch.manual_seed(seed)
        self.linear = nn.Linear(inputs, 1, bias=False, dtype=torch.float64)
        self.norm = nn.BatchNorm1d(1, eps=1e-30, dtype=torch.float64)

    def loss(self):
        return (self.norm(self.linear(self.inputs))[:, 0] - self.target).square().mean() / 2

    def train(self, optimizer, decay, steps=1500, **keywords):
        free = [*self.linear.parameters(), self.norm.bias]
        groups = [{"params": free, "weight_decay": 0.0}, {"params": [self.norm.weight], "weight_decay": decay}]
        optimizer = optimizer(groups, **keywords)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()
        return abs(self.norm.weight.item())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_torch_decay_on_gamma_makes_the_whole_correction(seed, momentum):
    unit = TorchUnit(seed)
    decay = float(theory.recommended_gamma_decay(unit.moments, unit.rows))
    found = unit.train(torch.optim.SGD, decay, lr=0.5 * (1 - momentum), momentum=momentum)
    same(found, unit.kappa / (1 + decay), rtol=1e-12)
    same(found, theory.recommended_gamma(unit.moments, unit.rows), rtol=1e-12)
    output = unit.norm(unit.linear(unit.inputs))[:, 0].detach().numpy()
    free = unit.inputs.numpy() @ unit.moments.cross  # Sigma = I
    same(output - output.mean(), (free - free.mean()) / (1 + decay), rtol=1e-7)


def test_torch_coupled_adam_does_too():
    unit = TorchUnit(5)
    decay = float(theory.recommended_gamma_decay(unit.moments, unit.rows))
    for rate in (1e-2, 1e-4, 1e-6):  # Adam's steps do not shrink by themselves
        found = unit.train(torch.optim.Adam, decay, lr=rate)
    same(found, unit.kappa / (1 + decay), rtol=1e-5)


def test_torch_learned_gamma_makes_no_correction():
    unit = TorchUnit(6)
    same(unit.train(torch.optim.SGD, 0.0, lr=0.05, momentum=0.9), unit.kappa, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_torch_gamma_held_at_the_recommended_one_rests_at_the_rate(seed):
    unit = TorchUnit(seed)
    gamma = float(theory.recommended_gamma(unit.moments, unit.rows))
    unit.norm.weight.data.fill_(gamma)
    unit.linear.weight.data = torch.from_numpy(unit.moments.cross.copy())[None]
    left = settle_directions(unit.linear.weight, [unit.norm.bias], unit.loss, 1e-11)
    assert left < 1e-11
    (slope,) = torch.autograd.grad(unit.loss(), unit.norm.weight)
    same(-slope.item() / gamma, theory.recommended_gamma_decay(unit.moments, unit.rows), rtol=1e-10)


@pytest.mark.parametrize("rows, batch_size", [(60, 4), (60, 15), (24, 6)])
def test_torch_batches_without_replacement_shrink_by_the_ratio(rows, batch_size):
    """Gaussian rows, direction held at their fit: learned gamma is kappa a_M/a_n on average, one batch a data set."""
    rng, sets, d = np.random.default_rng(rows + batch_size), 20_000, 5
    X = rng.standard_normal((sets, rows, d))
    t = 0.8 * X[..., 0] + 0.6 * rng.standard_normal((sets, rows))
    X -= X.mean(axis=1, keepdims=True)
    v = np.linalg.solve(X.transpose(0, 2, 1) @ X, (X * t[..., None]).sum(axis=1)[..., None])
    outputs = (X @ v)[..., 0]
    norm = nn.BatchNorm1d(sets, eps=1e-30, affine=False, dtype=torch.float64)
    batch = norm(torch.from_numpy(outputs[:, :batch_size].T.copy())).numpy()  # rows are exchangeable: the first M
    learned = (batch * t[:, :batch_size].T).mean(axis=0) / outputs.std(axis=1)
    error = learned.std() / np.sqrt(sets)
    ratio = theory.minibatch_factor(batch_size) / theory.minibatch_factor(rows)
    assert error < 0.006
    assert abs(learned.mean() - ratio) < 4 * error


# independent peers and properties


@drawn(st.integers(0, 10**6), st.integers(1, 5), st.integers(4, 20), st.integers(1, 3))
def test_property_leave_one_out_is_scikit_learns(seed, d, more, targets):
    rng = np.random.default_rng(seed)
    X = correlated(rng, d + more, d)
    t = X @ rng.standard_normal((d, targets)) + 3 * rng.standard_normal((d + more, targets))
    n = len(X)
    predicted = cross_val_predict(LinearRegression(), X, t, cv=LeaveOneOut())
    mean = (t.sum(axis=0) - t) / (n - 1)
    best = ((t - mean) * (predicted - mean)).sum(axis=0) / np.square(predicted - mean).sum(axis=0)
    found = theory.leave_one_out_scale(X, t)
    same(found, np.maximum(0, best), rtol=1e-7, scale=1.0)
    # neither units nor coordinates matter, nor an input that says the same twice
    turned = np.column_stack([X @ rng.uniform(1, 2, (d, d)) + 3.0, X[:, 0]])
    same(theory.leave_one_out_scale(turned, 7 * t - 2), found, rtol=1e-6, scale=1.0)
    same(theory.leave_one_out_scale(X, t[:, 0]), found[0], rtol=1e-10, scale=1.0)
    # each target by itself, whatever the size of the others, and of the inputs
    sizes = 10.0 ** (-20 * np.arange(targets))
    same(theory.leave_one_out_scale(1e-20 * X, sizes * t), found, rtol=1e-6, scale=1.0)


@drawn(st.floats(0, 1), st.integers(1, 50), st.integers(3, 500))
def test_property_recommended_rate(r_squared, d, more):
    n = d + more
    found = theory.recommended_rate(r_squared, n, d)
    assert found >= 0
    assert np.isinf(found) == ((n - 1) * r_squared <= d)
    assert theory.recommended_rate(1.0, n, d) == 0
    several = theory.recommended_rate([0.0, r_squared, 1.0], n, d)
    assert several[0] >= several[1] >= several[2] and several[1] == found


@drawn(problems(), st.integers(20, 500))
def test_property_singular_inputs_count_by_their_rank(problem, n):
    moments, rank = problem.moments, int((problem.s > 0).sum())
    share = float(min(1.0, moments.r_squared))
    same(
        1 / (1 + theory.recommended_gamma_decay(moments, n)),
        1 / (1 + theory.recommended_rate(share, n, rank)),
        rtol=problem.tolerance,
    )


# negative controls

BROKEN_LENGTHS = {
    "no noise": lambda case: case.v @ case.scatter @ case.v,
    "the intercept counted": lambda case: case.v @ case.scatter @ case.v + (case.d + 1) * case.noise**2,
    "residuals for the fit": lambda case: case.v @ case.scatter @ case.v + (case.n - case.d - 1) * case.noise**2,
}
BROKEN_RATES = {
    "R^2 not adjusted": lambda r, n, d: d * (1 - r) / ((n - d - 2) * r),
    "n - d - 1": lambda r, n, d: theory.recommended_rate(r, n, d) * (n - d - 2) / (n - d - 1),
    "the need at the same inputs": lambda r, n, d: theory.recommended_rate(r, n, d) * (n - d - 2) / (n - 1),
    "the intercept counted": lambda r, n, d: theory.recommended_rate(r, n + 1, d + 1),
    "square root: half": lambda r, n, d: np.sqrt(1 + theory.recommended_rate(r, n, d)) - 1,
}
BROKEN_SCALES = {
    "leverage without the intercept's": lambda case: case.scale(case.leverage - Fraction(1, case.n)),
    "mean leverage": lambda case: case.scale(np.full(case.n, Fraction(case.d + 1, case.n))),
    "nothing left out": lambda case: Fraction(1),
    "residuals as they are": lambda case: case.scale(np.zeros(case.n)),
}


@pytest.mark.parametrize("name", BROKEN_LENGTHS)
def test_control_broken_lengths_are_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_squared_length(BROKEN_LENGTHS[name], case)


@pytest.mark.parametrize("name", BROKEN_RATES)
def test_control_broken_rates_are_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_rate(BROKEN_RATES[name], case)


@pytest.mark.parametrize("name", BROKEN_SCALES)
def test_control_broken_leave_one_out_is_caught(name):
    with pytest.raises(AssertionError):
        for case in CASES.values():
            assert_left_out(BROKEN_SCALES[name], case)


def test_control_adamw_does_not_turn_decay_into_the_rate():
    unit = TorchUnit(5)
    decay = float(theory.recommended_gamma_decay(unit.moments, unit.rows))
    for rate in (1e-2, 1e-4, 1e-6):
        found = unit.train(torch.optim.AdamW, decay, lr=rate)
    same(found, unit.kappa, rtol=1e-4)  # decay does nothing there
    assert abs(found - unit.kappa / (1 + decay)) > 0.05 * unit.kappa


def test_control_gamma_at_the_fits_own_length_corrects_nothing():
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            case = ellipsoid(seed)
            assert_gamma(lambda m, n: np.sqrt(m.r_squared * m.target_var), theory.recommended_gamma_decay, case, 400)


ONE = Moments([0.0, 0.0], np.eye(2), [0.5, 0.5], 1.0)
WIDE = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
BY_THE_MEAN = "^t is predicted by the mean of the other rows, whatever the factor; it must vary with X$"
REFUSED = {
    "rows": (lambda: theory.recommended_rate(0.5, 7, 5), "rows = 7 are too few for 5 inputs; .* = 8$"),
    "rows of moments": (lambda: theory.recommended_gamma(ONE, 4), "rows = 4 are too few for 2 inputs; .* = 5$"),
    "rows, not whole": (lambda: theory.recommended_rate(0.5, 7.5, 2), "rows = 7.5 is not right; .* whole number"),
    "inputs": (lambda: theory.needed_rate(0.5, 7, 0), "inputs = 0 is not right; .* whole number"),
    "R^2 above 1": (lambda: theory.recommended_rate([0.5, 1.1], 20, 5), "^r_squared = 1.1 explains more than all"),
    "R^2 below 0": (lambda: theory.recommended_rate(-0.1, 20, 5), "r_squared = -0.1 is negative"),
    "R^2 of a law above 1": (lambda: theory.true_length_excess(1.1, 20, 5), "r_squared = 1.1 .* at most 1$"),
    "R^2 of a law, 0": (lambda: theory.true_length_rate(0.0, 20, 5), "r_squared = 0.0 is not right; .* above 0"),
    "rate": (lambda: theory.recommended_batch_size(-0.1), "rate = -0.1 is negative"),
    "rate, infinite": (lambda: theory.recommended_batch_size(np.inf), "rate has 1 non-finite"),
    "worth": (lambda: theory.recommended_batch_size(0.1, worth=-0.375), "worth = -0.375 is not right; .* above 0"),
    "rows of batches": (lambda: theory.recommended_batch_size(0.1, rows=0), "rows = 0 is not right"),
    "rows of batches, not whole": (lambda: theory.recommended_batch_size(0.1, rows=7.5), "rows = 7.5 .* whole number"),
    "rate, a matrix": (lambda: theory.recommended_batch_size([[0.1]]), r"rate has shape \(1, 1\); .* 0 or 1 dim"),
    "R^2, a matrix": (lambda: theory.recommended_rate([[0.5]], 20, 5), r"^r_squared has shape \(1, 1\); .* 0 or 1 dim"),
    "t, a cube": (lambda: theory.leave_one_out_scale(WIDE, np.zeros((4, 1, 1))), r"^t has shape .* 1 or 2 dimension"),
    "X, a vector": (
        lambda: theory.leave_one_out_scale(WIDE[:, 0], np.zeros(4)),
        r"^X has shape \(4,\); .* 2 dimension",
    ),
    "two rows": (lambda: theory.leave_one_out_scale([[0.0], [1.0]], [0.0, 1.0]), "same number of rows, at least 3$"),
    "leverage": (
        lambda: theory.leave_one_out_scale(WIDE, np.arange(4.0)),
        "^X has leverage 1 in row 3: a weight rests .*; leave out the input or the row$",
    ),
    "lengths": (lambda: theory.leave_one_out_scale(WIDE, np.arange(3.0)), r"t has shape \(3,\) and X \(4, 2\)"),
    "constant": (lambda: theory.leave_one_out_scale(WIDE[:3, :1], np.full(3, 0.1)), BY_THE_MEAN),
    "constant, large": (lambda: theory.leave_one_out_scale(WIDE[:3, :1], np.full(3, 1e9 + 0.1)), BY_THE_MEAN),
    "constant, small": (lambda: theory.leave_one_out_scale(WIDE[:3, :1], np.full(3, 1e-9 / 3)), BY_THE_MEAN),
    "one constant of two": (
        lambda: theory.leave_one_out_scale(WIDE[:3, :1], [[0.1, 1], [0.1, 2], [0.1, 4]]),
        BY_THE_MEAN,
    ),
    "inputs that do not vary": (lambda: theory.leave_one_out_scale(np.ones((5, 2)), [1, 2, 4, 3, 0]), BY_THE_MEAN),
    "no inputs": (lambda: theory.leave_one_out_scale(np.zeros((4, 0)), [1, 2, 4, 3]), BY_THE_MEAN),
    "t where X is constant": (lambda: theory.leave_one_out_scale([[1], [-1], [0], [0]], [0, 0, 1, -1]), BY_THE_MEAN),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
