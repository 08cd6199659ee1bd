"""Moments against independent implementations."""

import numpy as np
import pytest
from counting import drawn, each
from hypothesis import strategies as st
from instances import SEEDS, Rational, correlated, moments_of, problem, problems, same

from bnlib.moments import Moments, semidefinite_spectrum


def reference(X, t):
    """numpy's covariance of inputs and targets together, with 1/n."""
    d = X.shape[1]
    joint = np.cov(np.column_stack([X, t]).T, bias=True)
    cross, target = joint[:d, d:], np.diag(joint)[d:]
    return X.mean(axis=0), joint[:d, :d], *((cross[:, 0], target[0]) if np.ndim(t) == 1 else (cross, target))


def assert_moments(moments, expected, rtol):
    for name, value in zip(("mean", "cov", "cross", "target_var"), expected):
        same(getattr(moments, name), value, rtol)


def test_exact_from_rational_rows():
    for seed in each(SEEDS):
        source = Rational(seed)
        X, t = source.matrix(rows=6), source.vector(6)
        assert_moments(
            Moments.from_data(X.astype(float), t.astype(float), chunk_rows=1 + seed % 7), moments_of(X, t), 1e-13
        )


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 10_000])
@pytest.mark.parametrize("targets", [None, 1, 3])
def test_against_numpy_cov(targets, chunk_rows):
    rng = np.random.default_rng(0)
    X = correlated(rng, 100, 4)
    t = rng.standard_normal(100 if targets is None else (100, targets)) + X[:, :1].reshape(
        -1, *[1] * (targets is not None)
    )
    assert_moments(Moments.from_data(X, t, chunk_rows), reference(X, t), rtol=1e-13)


def test_rows_sorted_by_class_with_large_means():
    """Chunks that differ wildly in their means: the merging term carries nearly all the variance."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(10), 50)
    X = 1e6 + 1e3 * labels[:, None] + rng.standard_normal((500, 3))
    moments = Moments.from_data(X, labels, chunk_rows=50)
    assert_moments(moments, reference(X, labels), rtol=1e-12)
    shifted = Moments.from_data(X - 1e6, labels, chunk_rows=500)
    same(moments.cov, shifted.cov, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_any_real_dtype(dtype):
    X = np.random.default_rng(2).integers(0, 255, (40, 3)).astype(dtype)
    t = X[:, 0].astype(np.int64) - X[:, 1]
    assert_moments(
        Moments.from_data(X, t, chunk_rows=9), reference(X.astype(np.float64), t.astype(np.float64)), rtol=1e-13
    )


def test_one_row_constant_columns_and_lists():
    moments = Moments.from_data([[1.0, 2.0]], [3.0])
    assert (moments.cov == 0).all()
    assert moments.mean.tolist() == [1.0, 2.0]
    X = np.column_stack([np.full(30, 0.1), np.arange(30.0), np.full(30, -5e8)])
    moments = Moments.from_data(X, np.arange(30.0) ** 2, chunk_rows=4)
    s, U = moments.spectrum
    assert (s[:2] == 0).all()
    same(np.abs(U[:, 2]), [0.0, 1.0, 0.0], rtol=1e-7)
    same(moments.r_squared, np.corrcoef(np.arange(30.0), np.arange(30.0) ** 2)[0, 1] ** 2, rtol=1e-12)


def test_inputs_are_not_written_to_and_results_are_read_only():
    X, t = np.arange(12.0).reshape(4, 3) ** 2, np.arange(4.0)
    X.flags.writeable = t.flags.writeable = False
    moments = Moments.from_data(X, t)
    for array in (moments.mean, moments.cov, moments.cross, moments.target_var):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    mean = np.zeros(2)
    kept = Moments(mean, np.eye(2), [0.1, 0.2], 1.0)
    mean[:] = 7
    assert (kept.mean == 0).all()


@pytest.mark.parametrize("n, d", [(200, 5), (6, 15)], ids=["d < n", "d > n"])
def test_r_squared_is_that_of_least_squares(n, d):
    rng = np.random.default_rng(3)
    X, t = correlated(rng, n, d), rng.standard_normal((n, 2))
    centred, target = X - X.mean(axis=0), t - t.mean(axis=0)
    residual = target - centred @ np.linalg.lstsq(centred, target)[0]
    expected = 1 - residual.var(axis=0) / target.var(axis=0)
    same(Moments.from_data(X, t).r_squared, expected, rtol=1e-9)


@drawn(problems())
def test_property_spectrum_and_shares(case):
    s, U = case.moments.spectrum
    same(s, np.sort(case.s), rtol=1e-13)
    assert (s == 0).sum() == (case.s == 0).sum()
    same((U * s) @ U.T, case.moments.cov, rtol=1e-13)
    order = np.argsort(case.s)
    explained = np.divide(case.along**2, case.s, out=np.zeros_like(case.s), where=case.s > 0)[order]
    same(np.cumsum(case.moments.shares), np.cumsum(explained) / case.moments.target_var, case.tolerance)
    same(case.moments.r_squared, case.explained_std**2 / case.moments.target_var, case.tolerance)


@drawn(problems(), st.floats(0.0, 1e3), st.integers(0, 2**32 - 1))
def test_property_noise_adds_to_the_covariance_alone(case, noise_std, seed):
    d = len(case.s)
    noisy = case.moments.with_noise(noise_std=noise_std)
    same(noisy.cov, case.moments.cov + noise_std**2 * np.eye(d), rtol=1e-15)
    root = np.random.default_rng(seed).standard_normal((d, d))
    colored = case.moments.with_noise(noise_cov=root @ root.T)
    same(colored.cov, case.moments.cov + root @ root.T, rtol=1e-15)
    for moments in (noisy, colored):
        for name in ("mean", "cross", "target_var"):
            assert (getattr(moments, name) == getattr(case.moments, name)).all()


@drawn(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 50))
def test_property_chunks_do_not_matter(seed, n, chunk_rows):
    rng = np.random.default_rng(seed)
    X, t = correlated(rng, n, 3), rng.standard_normal((n, 2))
    whole, chunked = Moments.from_data(X, t, chunk_rows=n), Moments.from_data(X, t, chunk_rows)
    scale = np.abs(np.column_stack([X, t])).max() ** 2
    for name in ("mean", "cov", "cross", "target_var"):
        assert np.abs(getattr(chunked, name) - getattr(whole, name)).max() < 1e-13 * scale


def test_spectrum_is_computed_once():
    moments = problem(0).moments
    assert moments.spectrum[0] is moments.spectrum[0]
    assert moments.shares is moments.shares


def test_semidefinite_spectrum_of_nothing_and_of_zeros():
    assert semidefinite_spectrum("cov", np.zeros((0, 0)))[0].size == 0
    assert Moments([], np.zeros((0, 0)), [], 1.0).r_squared == 0
    at_the_threshold = 2 * np.finfo(float).eps
    assert semidefinite_spectrum("cov", np.diag([at_the_threshold, 1.0]))[0].tolist() == [0.0, 1.0]
    assert semidefinite_spectrum("cov", np.diag([1.1 * at_the_threshold, 1.0]))[0][0] > 0
    s, U = semidefinite_spectrum("cov", np.zeros((3, 3)))
    assert (s == 0).all()
    same(U @ U.T, np.eye(3))
