"""Recipes of moments and of the checks."""

from input_faults import (
    FINITE,
    REFUSED,
    Array,
    Choice,
    Covariance,
    Flag,
    Listed,
)
from input_recipe import Recipe, Scaling
from input_recipes_theory import COUNT, LEVEL, NAME, SPREAD, cov, data, moments, of_x

RECIPES = {
    "moments.Moments": Recipe(
        lambda rng: {
            "mean": rng.standard_normal(3),
            "cov": cov(rng),
            "cross": 0.1 * rng.standard_normal(3),
            "target_var": 1.0,
        },
        {"mean": Array(), "cov": Covariance(), "cross": Array(bound=(0,)), "target_var": Array(bad=(-1.0,))},
        scalings=(Scaling({"mean": 1, "cov": 2, "cross": 1}, (1, 2, 1, 0)),),
        says={"mean": ("cov", "cross"), "cross": ("target_var",)},
    ),
    "moments.Moments.from_data": Recipe(
        lambda rng: dict(zip(("X", "t"), data(rng))) | {"chunk_rows": 5},
        {"X": Array(bound=(0,)), "t": Array(bound=(0,)), "chunk_rows": COUNT},
        scalings=(Scaling({"X": 1}, (1, 2, 1, 0)), Scaling({"t": 1}, (0, 0, 1, 2))),
        says={"t": ("X", "cross", "target_var"), "X": ("t ", "cov", "cross")},
    ),
    "moments.Moments.with_noise": Recipe(
        lambda rng: {"self": moments(rng), "noise_std": 0.5},
        {"noise_std": LEVEL},
        scalings=(Scaling({"self": 1, "noise_std": 1}, (1, 2, 1, 0), scale=of_x),),
        exempt={"self": "is one of Moments, whose fields are checked", "noise_cov": "see the next recipe"},
    ),
    "moments.Moments.with_noise ": Recipe(
        lambda rng: {"self": moments(rng), "noise_cov": cov(rng)},
        {"noise_cov": Covariance(definite=True)},
        exempt={"self": "is one of Moments, whose fields are checked", "noise_std": "see the recipe before"},
    ),
    "moments.semidefinite_spectrum": Recipe(
        lambda rng: {"name": "matrix", "matrix": cov(rng)},
        {"matrix": Covariance(definite=True)},
        scalings=(Scaling({"matrix": 2}, (2, 0)),),
        exempt=NAME,
    ),
    "validation.finite_array": Recipe(
        lambda rng: {"name": "value", "value": rng.standard_normal((3, 2)), "ndim": (1, 2)},
        {
            "value": Array(bound=None),
            "ndim": Listed(("another number", REFUSED, 3), ("none", REFUSED, ()), literal=True),
        },
        scalings=(Scaling({"value": 1}, 1),),
        exempt=NAME,
        says={"ndim": ("value",)},
    ),
    "validation.covariance": Recipe(
        lambda rng: {"name": "value", "value": cov(rng), "dimension": 3},
        {"value": Covariance(), "dimension": Listed(("another", REFUSED, 4), optional=True)},
        scalings=(Scaling({"value": 1}, 1),),
        exempt=NAME,
        says={"dimension": ("value",)},
    ),
    "validation.nonnegative": Recipe(
        lambda rng: {"name": "value", "value": rng.exponential(size=3)},
        {"value": SPREAD},
        (Scaling({"value": 1}, 1),),
        NAME,
    ),
    "validation.nonzero": Recipe(
        lambda rng: {"name": "value", "value": rng.standard_normal(3)},
        {"value": Array(bound=None, bad=(0.0,))},
        (Scaling({"value": 1}, 1),),
        NAME,
    ),
    "validation.positive": Recipe(
        lambda rng: {"name": "value", "value": rng.integers(1, 99), "whole": True},
        {"value": COUNT, "whole": Flag()},
        exempt=NAME,
    ),
    "validation.choice": Recipe(
        lambda rng: {"name": "value", "value": "batch", "allowed": ("batch", "none")},
        {
            "value": Choice(),
            "allowed": Listed(
                ("others", REFUSED, ("layer",)), ("none", REFUSED, ()), ("a dict", FINITE, {"batch": 1}), literal=True
            ),
        },
        exempt=NAME,
        says={"allowed": ("value",)},
    ),
    "validation.extra": Recipe(
        lambda rng: {"module": "json", "name": "plot"},
        {
            "module": Listed(
                ("no such module", REFUSED, "no_such_module"),
                ("of no package", REFUSED, "no_such.module"),
                literal=True,
            )
        },
        exempt={"name": "is only printed"},
        says={"module": ("no_such",)},
    ),
}
