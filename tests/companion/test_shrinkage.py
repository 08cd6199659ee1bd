"""Ways to shrink a read-out: each against what it says it is."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LinearRegression, Ridge

from bnlib import theory
from bnlib.moments import Moments
from companion.studies import shrinkage
from companion.studies.shrinkage import Rows


def rows(seed, n=300, d=8, targets=2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) @ np.diag(np.geomspace(2, 0.2, d)) + 1.0
    t = x @ rng.standard_normal((d, targets)) + 2 * rng.standard_normal((n, targets))
    return Rows(x, t)


def tried(seed=0, fitted=40):
    every = rows(seed)
    parts = every[:fitted], every[fitted:140], every[140:]
    length = shrinkage.true_length(every)
    return parts, length, shrinkage.shrink(*parts, length).set_index(["way", "target"])


def test_scales_are_multiples_of_least_squares():
    (fitted, _, test), length, found = tried()
    free = LinearRegression().fit(fitted.inputs, fitted.targets)
    mean = fitted.targets.mean(axis=0)
    output = free.predict(test.inputs) - mean
    for way in shrinkage.SCALES:
        shrunk = output / (1 + found.rate[way].to_numpy())
        expected = np.square(test.targets - mean - shrunk).mean(axis=0)
        np.testing.assert_allclose(found.error[way], expected, rtol=1e-9)
    assert (found.rate[shrinkage.LEAST_SQUARES] == 0).all()
    kappa = free.predict(fitted.inputs).std(axis=0)
    np.testing.assert_allclose(1 + found.rate[shrinkage.TRUE_LENGTH], kappa / length, rtol=1e-9)
    moments = Moments.from_data(fitted.inputs, fitted.targets)
    np.testing.assert_allclose(
        found.rate[shrinkage.PRESCRIBED], theory.recommended_gamma_decay(moments, len(fitted)), rtol=1e-9
    )


def test_no_scale_is_better_than_the_one_that_saw_the_test():
    for seed in range(5):
        _, _, found = tried(seed)
        for way in shrinkage.SCALES:
            assert (found.error[way] >= found.error[shrinkage.BEST_SCALE] - 1e-12).all()


def test_the_ridge_that_is_best_on_validation_is_scikit_learns():
    (fitted, held_out, test), _, found = tried(1)
    decays = len(fitted) * shrinkage.DECAYS * np.linalg.eigvalsh(np.cov(fitted.inputs.T, bias=True)).mean()
    for target in range(2):
        fits = [Ridge(alpha).fit(fitted.inputs, fitted.targets[:, target]) for alpha in decays]
        errors = [np.square(held_out.targets[:, target] - one.predict(held_out.inputs)).mean() for one in fits]
        best = fits[int(np.argmin(errors))]
        expected = np.square(test.targets[:, target] - best.predict(test.inputs)).mean()
        assert found.error[shrinkage.RIDGE_HELD_OUT, target] == pytest.approx(expected, rel=1e-9)


def test_several_targets_are_each_by_itself():
    (fitted, held_out, test), length, found = tried(2)
    for target in range(2):
        alone = [Rows(one.inputs, one.targets[:, [target]]) for one in (fitted, held_out, test)]
        one = shrinkage.shrink(*alone, length[[target]]).set_index("way")
        for way in shrinkage.WAYS:
            assert one.error[way] == pytest.approx(found.error[way, target], rel=1e-9)


def test_where_the_rows_say_nothing_the_prescription_is_the_mean():
    rng = np.random.default_rng(1)
    every = Rows(rng.standard_normal((600, 20)), rng.standard_normal((600, 1)))
    found = shrinkage.shrink(every[:30], every[30:100], every[100:], np.ones(1)).set_index("way")
    assert found.rate[shrinkage.PRESCRIBED] == np.inf
    mean = every.targets[:30].mean()
    assert found.error[shrinkage.PRESCRIBED] == pytest.approx(np.square(every.targets[100:] - mean).mean())


def test_one_batch_of_all_rows_is_least_squares():
    one = rows(3, n=50, targets=1)
    free = LinearRegression().fit(one.inputs, one.targets[:, 0]).coef_
    for v in shrinkage.learned_on_batches(one, 50, 3, np.random.default_rng(0)).values():
        np.testing.assert_allclose(v, free, rtol=1e-6)


def test_the_direction_on_batches_is_at_rest(monkeypatch):
    """The gradient that the optimizer is given is that of its function; where it ends no direction near is better."""
    seen = {}
    minimize = shrinkage.minimize

    def spy(function, start, **keywords):
        seen["function"], seen["start"] = function, start
        seen["found"] = minimize(function, start, **keywords)
        return seen["found"]

    monkeypatch.setattr(shrinkage, "minimize", spy)
    shrinkage.learned_on_batches(rows(4, n=60, targets=1), 6, 400, np.random.default_rng(0))
    value, slope = (lambda w: seen["function"](w)[0]), (lambda w: seen["function"](w)[1])
    assert check_grad(value, slope, seen["start"]) < 1e-6
    assert seen["found"].fun < value(seen["start"])
    assert np.abs(seen["found"].jac).max() * np.linalg.norm(seen["found"].x) < 1e-4


def test_targets_are_columns():
    with pytest.raises(
        ValueError, match=r"targets has shape \(5,\); with inputs of shape \(5, 2\) it must be \(5, k\)"
    ):
        Rows(np.zeros((5, 2)), np.zeros(5))
