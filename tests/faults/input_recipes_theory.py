"""Recipes of the closed forms, of moments and of the checks."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from input_faults import (
    FINITE,
    REFUSED,
    Array,
    Covariance,
    Fault,
    Flag,
    Kind,
    Listed,
    Number,
)
from input_recipe import Recipe, Scaling

from bnlib.moments import Moments

GAMMA, COUNT = Array(bad=(0.0,)), Number(bad=(0, -1, 2.5), whole=True)
SPREAD = Array(bound=None, bad=(-1.0,))  # numbers at least 0, of any shape that fits
SHARE, LEVEL = Number(bad=(-0.5, 1.5)), Number(bad=(-0.5,))


def data(rng: np.random.Generator, n: int = 12, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n)


def cov(rng: np.random.Generator, d: int = 3) -> np.ndarray:
    return np.cov(rng.standard_normal((d, 3 * d)), bias=True)


def moments(rng: np.random.Generator, n: int = 12, d: int = 3) -> Moments:
    return Moments.from_data(*data(rng, n, d))


def shares(rng: np.random.Generator) -> Moments:
    """Of a target from 0 to 1 with mean 1/2."""
    found = moments(rng)
    return Moments(found.mean, found.cov, found.cross * np.sqrt(0.2 / found.target_var), 0.2)


class GivenMoments(Kind):
    """An object of `Moments`."""

    def faults(self, good: Moments, rng: np.random.Generator) -> Iterator[Fault]:
        yield from self.nothing()
        values = {"a word": "moments", "an array": good.cov, "a dict": {}, "the class": Moments, "a number": 3.0}
        values |= {"the four arrays": (good.mean, good.cov, good.cross, good.target_var)}
        values |= {"a look-alike": SimpleNamespace(**vars(good))}
        for name, value in values.items():
            yield Fault(name, REFUSED, value)
        d = len(good.mean)
        X, t = data(rng, n=30, d=d)
        t = t / (2 * np.abs(t).max())
        indefinite = np.diag(np.append(-1.0, np.ones(d - 1)))
        cases = {
            "indefinite": (REFUSED, Moments(good.mean, indefinite, good.cross, good.target_var)),
            "explain more than all": (REFUSED, Moments(good.mean, good.cov, 10 * good.cross, good.target_var)),
            "an input that does not vary covaries": (REFUSED, _without_first(good)),
            "no covariance with the target": (FINITE, Moments(good.mean, good.cov, 0 * good.cross, good.target_var)),
            "a target that does not vary": (FINITE, Moments(good.mean, good.cov, 0 * good.cross, 0.0)),
            "inputs that do not vary": (FINITE, Moments(good.mean, 0 * good.cov, 0 * good.cross, good.target_var)),
            "no inputs": (FINITE, Moments(np.empty(0), np.empty((0, 0)), np.empty(0), good.target_var)),
            "one row": (FINITE, Moments.from_data(X[:1], t[:1])),
            "fewer rows than inputs": (FINITE, Moments.from_data(X[: d - 1], t[: d - 1])),
            "one class": (FINITE, Moments.from_data(X, np.ones(len(X)))),
            "the same input twice": (FINITE, Moments.from_data(np.column_stack([X, X]), t)),
            "several targets": (FINITE, Moments.from_data(X, np.column_stack([t, -t]))),
        }
        for name, (wanted, value) in cases.items():
            yield Fault(name, wanted, value)
        for exponent in (-480, 480):
            for what in ("x", "t"):
                yield Fault(f"{what} times 2^{exponent}", FINITE, rescaled(good, exponent, what))


def _without_first(good: Moments) -> Moments:
    matrix = good.cov.copy()
    matrix[0], matrix[:, 0] = 0, 0
    return Moments(good.mean, matrix, good.cross + good.cross.max(), good.target_var)


def rescaled(good: Moments, exponent: int, what: str) -> Moments:
    x, t = (exponent, 0) if what == "x" else (0, exponent)
    return Moments(
        np.ldexp(good.mean, x),
        np.ldexp(good.cov, 2 * x),
        np.ldexp(good.cross, x + t),
        np.ldexp(good.target_var, 2 * t),
    )


def of_x(value: Any, exponent: int) -> Any:
    return rescaled(value, exponent, "x") if isinstance(value, Moments) else np.ldexp(value, exponent)


def of_t(value: Any, exponent: int) -> Any:
    return rescaled(value, exponent, "t") if isinstance(value, Moments) else np.ldexp(value, exponent)


MOMENTS = GivenMoments()
COMPONENT = Listed(
    ("a number", REFUSED, 1.0),
    ("a word", REFUSED, "gaussian"),
    ("one array", REFUSED, ([1.0, -1.0],)),
    ("three arrays", REFUSED, ([1.0, -1.0], [0.5, 0.5], [0.5, 0.5])),
    ("not standardized", REFUSED, ([2.0, -2.0], [0.5, 0.5])),
    ("NaN", REFUSED, ([np.nan, -1.0], [0.5, 0.5])),
    ("negative weights", REFUSED, ([1.0, -1.0, 0.0], [1.0, 1.0, -1.0])),
    ("lengths apart", REFUSED, ([1.0, -1.0], [1.0])),
    ("empty", REFUSED, ([], [])),
    ("complex", REFUSED, ([1j, -1j], [0.5, 0.5])),
    ("huge nodes", REFUSED, ([1e150, -1e150], [0.5, 0.5])),
    ("two nodes", FINITE, ([1.0, -1.0], [0.5, 0.5])),
    optional=True,
)
CURVATURE = Listed(
    ("a number", REFUSED, 1.0),
    ("a word", REFUSED, "logistic"),
    ("gives one number", REFUSED, lambda y: 1.0),
    ("gives NaN", REFUSED, lambda y: y * np.nan),
    ("gives complex", REFUSED, lambda y: y * 1j),
    ("gives None", REFUSED, lambda y: None),
    ("gives a list", FINITE, lambda y: np.ones_like(y).tolist()),
    ("gives huge numbers", FINITE, lambda y: np.full_like(y, 1e150)),
    optional=True,
)
NAME = {"name": "is only printed"}
LOGISTIC = {"component": ("component",), "moments": ("cross", "R sigma_t", "cov", "target_mean")}
CROSS = {"moments": ("cross", "R sigma_t", "cov")}
TARGET_MEAN = Number(bad=(0.0, 1.0, -0.5, 1.5))
HALF = lambda rng: {"outputs": rng.standard_normal(12), "gamma": 0.5, "first": rng.standard_normal(12)}

RECIPES = {
    "theory.effective_weights": Recipe(
        lambda rng: {"w": rng.standard_normal(3), "gamma": 0.5, "cov": cov(rng), "eps": 1e-3},
        {"w": Array(more=FINITE), "gamma": GAMMA, "cov": Covariance(), "eps": LEVEL},
        scalings=(
            Scaling({"gamma": 1}, 1),
            Scaling({"w": 1, "eps": 2}, 0),
            Scaling({"cov": 2, "eps": 2}, -1, reach=249),
        ),
        says={"w": ("cov", "gamma"), "cov": ("w'Sigma w",), "eps": ("w'Sigma w",)}
        | {"w": ("w'Sigma w", "cov", "gamma")},
    ),
    "theory.rate": Recipe(
        lambda rng: {
            "v": rng.standard_normal((2, 3)),
            "grad_v": rng.standard_normal((2, 3)),
            "gamma": rng.standard_normal(2),
        },
        {"v": Array(), "grad_v": Array(), "gamma": Array(bound=(0,), bad=(0.0,), more=FINITE)},
        scalings=(
            Scaling({"v": 1}, 1),
            Scaling({"grad_v": 1}, 1),
            Scaling({"gamma": 1}, -2),
            Scaling({"v": 1, "gamma": 1}, -1),
        ),
        says={"v": ("grad_v",)},
    ),
    "theory.l2_equivalent_rate": Recipe(
        lambda rng: {"v": rng.standard_normal((2, 3)), "grad_v": rng.standard_normal((2, 3))},
        {"v": Array(), "grad_v": Array()},
        scalings=(Scaling({"v": 1}, -1), Scaling({"grad_v": 1}, 1)),
        says={"v": ("grad_v",)},
    ),
    "theory.weight_decay_rate": Recipe(
        lambda rng: {
            "weight_decay": 0.1,
            "weight_norm": rng.exponential(size=3) + 0.1,
            "batch_var": 0.5,
            "gamma": 0.5,
            "eps": 0.01,
        },
        {
            "weight_decay": SPREAD,
            "weight_norm": SPREAD,
            "batch_var": SPREAD,
            "gamma": Array(bound=None, bad=(0.0,)),
            "eps": Number(bad=(0.0, -1.0)),
        },
        scalings=(
            Scaling({"weight_decay": 1}, 1),
            Scaling({"weight_norm": 1}, 2),
            Scaling({"gamma": 1}, -2),
            Scaling({"batch_var": 1, "eps": 1}, 0),
            Scaling({"weight_norm": 1, "gamma": 1}, 0),
        ),
        says={name: ("shapes",) for name in ("weight_decay", "weight_norm", "batch_var", "gamma")},
    ),
    "theory.least_squares": Recipe(
        lambda rng: {"moments": moments(rng), "gamma": 0.5, "eps": 0.0},
        {"moments": MOMENTS, "gamma": GAMMA, "eps": LEVEL},
        scalings=(
            Scaling({"moments": 1}, (-1, 0, 2, 0), scale=of_x),
            Scaling({"moments": 1, "gamma": 1}, (1, 0, 0, 2), scale=of_t),
        ),
        says=CROSS | {"moments": ("cross", "R sigma_t", "cov", "gamma")},
        rtol=1e-7,
    ),
    "theory.noise_path": Recipe(
        lambda rng: {"moments": moments(rng), "gamma": 0.5, "noise_stds": np.sort(rng.exponential(size=4))},
        {"moments": MOMENTS, "gamma": GAMMA, "noise_stds": Array(bound=None, bad=(-1.0,))},
        scalings=(
            Scaling({"moments": 1, "noise_stds": 1}, (1, 0, -1, 0, 0, 2, 2, 0), scale=of_x),
            Scaling({"moments": 1, "gamma": 1}, (0, 0, 1, 0, 0, 0, 0, 0), scale=of_t),
        ),
        says=CROSS,
        rtol=1e-7,
    ),
    "theory.logistic_fit": Recipe(
        lambda rng: {"moments": shares(rng), "gamma": 0.5, "target_mean": 0.5, "component": None},
        {"moments": MOMENTS, "gamma": GAMMA, "target_mean": TARGET_MEAN, "component": COMPONENT},
        scalings=(Scaling({"moments": 1}, (-1, 0, 0, 0, 2, 0), scale=of_x),),
        says=LOGISTIC,
        rtol=1e-7,
    ),
    "theory.logistic_noise_path": Recipe(
        lambda rng: {
            "moments": shares(rng),
            "gamma": 0.5,
            "target_mean": 0.5,
            "noise_stds": [0.0, 0.5, 1.0],
            "component": None,
        },
        {
            "moments": MOMENTS,
            "gamma": GAMMA,
            "target_mean": TARGET_MEAN,
            "noise_stds": Array(bound=None, bad=(-1.0,)),
            "component": COMPONENT,
        },
        scalings=(Scaling({"moments": 1, "noise_stds": 1}, (1, 0, 0, 0, -1, 0, 0, 2, 0, 0), scale=of_x),),
        says=LOGISTIC,
        rtol=1e-7,
    ),
    "theory.logistic_gamma": Recipe(
        lambda rng: {"moments": shares(rng), "target_mean": 0.5, "gamma_decay": 0.05, "component": None},
        {"moments": MOMENTS, "target_mean": TARGET_MEAN, "gamma_decay": LEVEL, "component": COMPONENT},
        scalings=(Scaling({"moments": 1}, 0, scale=of_x),),
        says=LOGISTIC,
        infinite="infinite if no finite scale is at rest",
        rtol=1e-6,
    ),
    "theory.recommended_rate": Recipe(
        lambda rng: {"r_squared": rng.uniform(0.5, 0.9, 3), "rows": 34, "inputs": 11},
        {"r_squared": Array(bound=None, bad=(-0.5, 1.5)), "rows": COUNT, "inputs": COUNT},
        says={"inputs": ("rows",)},
        infinite="Infinite",
    ),
    "theory.recommended_gamma": Recipe(
        lambda rng: {"moments": moments(rng), "rows": 12},
        {"moments": MOMENTS, "rows": COUNT},
        scalings=(Scaling({"moments": 1}, 0, scale=of_x), Scaling({"moments": 1}, 1, scale=of_t)),
        says=CROSS | {"moments": ("cross", "cov", "inputs")},
    ),
    "theory.recommended_gamma_decay": Recipe(
        lambda rng: {"moments": moments(rng), "rows": 12},
        {"moments": MOMENTS, "rows": COUNT},
        scalings=(Scaling({"moments": 1}, 0, scale=of_x), Scaling({"moments": 1}, 0, scale=of_t)),
        says=CROSS | {"moments": ("cross", "cov", "inputs")},
        infinite="Infinite",
    ),
    "theory.recommended_batch_size": Recipe(
        lambda rng: {"rate": rng.exponential(size=3), "rows": 400, "worth": 0.75},
        {"rate": SPREAD, "rows": Number(bad=(0, -1, 2.5), whole=True, optional=True), "worth": Number(bad=(0.0, -1.0))},
        scalings=(Scaling({"rate": 1, "worth": 1}, 0),),
        infinite="infinite",
    ),
    "theory.leave_one_out_scale": Recipe(
        lambda rng: dict(zip(("X", "t"), data(rng))),
        {"X": Array(bound=(0,)), "t": Array(bound=(0,))},
        scalings=(Scaling({"X": 1}, 0), Scaling({"t": 1}, 0)),
        says={"X": ("t ",), "t": ("X ",)},
        rtol=1e-7,
    ),
    "theory.signal_and_noise": Recipe(
        lambda rng: {"first": rng.standard_normal((9, 2)), "second": rng.standard_normal((9, 2))},
        {"first": Array(), "second": Array()},
        scalings=(Scaling({"first": 1, "second": 1}, 2),),
        says={"first": ("second",)},
    ),
    "theory.mean_turn": Recipe(
        lambda rng: {
            "learning_rate": 0.1,
            "weight_decay": rng.exponential(size=3),
            "momentum": 0.9,
            "decoupled": False,
        },
        {
            "learning_rate": SPREAD,
            "weight_decay": SPREAD,
            "momentum": Array(bound=None, bad=(1.0, -0.5)),
            "decoupled": Flag(),
        },
        scalings=(Scaling({"learning_rate": 1}, 1), Scaling({"learning_rate": 1, "weight_decay": -1}, 0)),
        says={name: ("shapes",) for name in ("learning_rate", "weight_decay", "momentum")},
    ),
    "theory.turn_balance": Recipe(
        lambda rng: {
            "path": rng.standard_normal((4, 2, 3)),
            "learning_rate": 0.1,
            "weight_decay": 0.01,
            "momentum": 0.9,
        },
        {"path": Array(bound=None), "learning_rate": LEVEL, "weight_decay": LEVEL, "momentum": Number(bad=(-0.5, 1.0))},
        scalings=(Scaling({"path": 1}, 2), Scaling({"learning_rate": 1, "weight_decay": -1}, 0)),
    ),
    "theory.uniform_margins": Recipe(
        lambda rng: {"share": rng.uniform(0.2, 0.8), "gamma": 2.0},
        {"share": Number(bad=(0.0, 1.0, -1.0, 2.0)), "gamma": Number(bad=(0.0, -1.0))},
    ),
    "theory.minibatch_factor": Recipe(
        lambda rng: {"batch_size": rng.integers(2, 300, 4)}, {"batch_size": Array(bound=None, bad=(1.0, 0.0, -2.0))}
    ),
    "theory.minibatch_decay": Recipe(
        lambda rng: {"batch_size": rng.integers(2, 300, 4), "excess_kurtosis": 0.5},
        {"batch_size": Array(bound=None, bad=(1.0, 0.0, -2.0)), "excess_kurtosis": Number(bad=(-3.0,), optional=True)},
    ),
    "theory.minibatch_worth": Recipe(
        lambda rng: dict(zip(("outputs", "targets"), rng.standard_normal((2, 12, 2)))),
        {"outputs": Array(), "targets": Array()},
        scalings=(Scaling({"outputs": 1}, 0), Scaling({"targets": 1}, 0)),
        says={"outputs": ("targets",)},
        rtol=1e-7,
    ),
    "theory.minibatch_worth_canonical": Recipe(
        lambda rng: {"gamma": 0.5, "beta": 0.1, "curvature": None},
        {"gamma": GAMMA, "beta": Number(), "curvature": CURVATURE},
    ),
    "theory.minibatch_loss_shift": Recipe(
        lambda rng: HALF(rng) | {"second": rng.standard_normal(12)},
        {"outputs": Array(), "gamma": GAMMA, "first": Array(), "second": Array()},
        scalings=(
            Scaling({"outputs": 1}, 0),
            Scaling({"first": 1, "second": 1}, 1),
            Scaling({"first": 1, "second": 2, "gamma": -1}, 0),
        ),
        says={"outputs": ("first", "second", "gamma")},
    ),
    "theory.minibatch_gamma_shift": Recipe(
        lambda rng: HALF(rng) | {"second": rng.standard_normal(12), "third": rng.standard_normal(12)},
        {"outputs": Array(), "gamma": GAMMA, "first": Array(), "second": Array(), "third": Array()},
        scalings=(Scaling({"outputs": 1}, 0), Scaling({"first": 1, "second": 1, "third": 1}, 1)),
        says={"outputs": ("first", "second", "gamma")},
    ),
    **{
        f"theory.{name}": Recipe(
            lambda rng: {"r_squared": rng.uniform(0.2, 0.8), "rows": 100, "inputs": 20},
            {"r_squared": Number(bad=(0.0, -0.5, 1.5)), "rows": COUNT, "inputs": COUNT},
            says={"inputs": ("rows",)},
            rtol=1e-8,
        )
        for name in ("needed_rate", "true_length_rate", "true_length_excess")
    },
}
