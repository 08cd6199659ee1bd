"""Recipes of moments and of the checks."""

import numpy as np
import pandas as pd
from input_faults import (
    FINITE,
    REFUSED,
    SAME,
    Array,
    Choice,
    Covariance,
    Flag,
    Listed,
    Number,
    not_numbers,
)
from input_recipe import Recipe, Scaling
from input_recipes_theory import COUNT, LEVEL, NAME, SPREAD, cov, data, moments, of_x

POWER = {"power": "is written in the library", "squared": "is written in the library"}
NOT_LISTS = [("a word", REFUSED, "word"), ("a number", REFUSED, 3), ("a dict", REFUSED, {}), ("words", REFUSED, ["a"])]

RECIPES = {
    "validation.real_array": Recipe(
        # not what is not finite, nor its shape: that is for finite_array
        lambda rng: {"name": "value", "value": rng.standard_normal(3)},
        {"value": Listed(*[(fault.name, fault.wanted, fault.value) for fault in not_numbers(np.arange(3.0))])},
        exempt=NAME,
    ),
    "validation.number": Recipe(
        lambda rng: {"name": "value", "value": rng.standard_normal()},
        {"value": Number()},
        (Scaling({"value": 1}, 1),),
        NAME | POWER,
    ),
    "validation.level": Recipe(
        lambda rng: {"name": "value", "value": rng.uniform(0.1, 1)},
        {"value": Number(bad=(-0.5, 1e39))},
        (Scaling({"value": 1}, 1),),
        NAME,
    ),
    "validation.whole": Recipe(
        lambda rng: {"name": "value", "value": int(rng.integers(1, 99)), "least": 1},
        {"value": COUNT},
        exempt=NAME | {"least": "is written in the library"},
    ),
    "validation.wholes": Recipe(
        lambda rng: {"name": "values", "values": (1, 2), "least": 1},
        {
            "values": Listed(
                *NOT_LISTS,
                ("NaN", REFUSED, [np.nan]),
                ("a fraction", REFUSED, [0.5]),
                ("a zero", REFUSED, [0]),
                ("a list", SAME, [1, 2]),
            )
        },
        exempt=NAME | {"least": "is written in the library"},
    ),
    "objects.function": Recipe(
        lambda rng: {"name": "value", "value": len},
        {"value": Listed(*NOT_LISTS)},
        exempt=NAME,
        result=lambda found: found.__name__,
    ),
    "objects.items": Recipe(
        lambda rng: {"name": "values", "values": [1, 2], "kind": int, "what": "numbers"},
        {"values": Listed(*NOT_LISTS, ("empty", REFUSED, []), ("a tuple", SAME, (1, 2)))},
        exempt=NAME | {"kind": "is written in the library", "what": "is only printed"},
    ),
    "objects.of_class": Recipe(
        lambda rng: {"name": "value", "value": 5, "kind": int},
        {"value": Listed(("a word", REFUSED, "word"), ("the class", REFUSED, int))},
        exempt=NAME | {"kind": "is written in the library"},
    ),
    "objects.table": Recipe(
        lambda rng: {"name": "value", "value": pd.DataFrame({"a": [1]}), "columns": ("a",)},
        {
            "value": Listed(
                *NOT_LISTS,
                ("without rows", REFUSED, pd.DataFrame({"a": []})),
                ("other columns", REFUSED, pd.DataFrame({"b": [1]})),
            ),
            "columns": Listed(("a number", REFUSED, (3,)), literal=True),
        },
        exempt=NAME,
        says={"columns": ("value",)},
    ),
    "objects.path_of": Recipe(
        lambda rng: {"name": "value", "value": "a"},
        {
            "value": Listed(
                ("a number", REFUSED, 3),
                ("a list", REFUSED, []),
                ("empty", REFUSED, ""),
                ("with a null", REFUSED, "a\0b"),
                ("bytes", REFUSED, b"a"),
            )
        },
        exempt=NAME,
    ),
    "validation.within_floats": Recipe(
        lambda rng: {"arguments": 1.0},
        {},
        exempt={"arguments": "are only printed; the closed forms refuse through it"},
        runs=False,
    ),
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
        exempt=NAME | POWER,
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
        NAME | POWER,
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
    "objects.choice": Recipe(
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
    "objects.extra": Recipe(
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
