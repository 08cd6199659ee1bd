"""Bad input to every public function of bnlib: the documented result, or an error that names the argument; no warning, no change.

``BNLIB_FAULT_EXAMPLES=1000`` tries that many examples a function, with other seeds at every run.
"""

import os
import warnings

import input_recipe
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from input_faults import Array, Number
from input_public import arguments
from input_recipe import Recipe, Scaling, every_trial, faults_of, try_fault, try_scaling
from input_recipes import CALLABLES, RECIPES, RECORDS, try_record, without_kind, without_recipe
from input_summary import covered, summary

EXAMPLES = int(os.environ.get("BNLIB_FAULT_EXAMPLES", "12"))
THOROUGH = EXAMPLES >= 1000
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not THOROUGH,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def broken(trials):
    return [f"{one.function}({one.argument}: {one.fault}): {one.message}" for one in trials if one.outcome == "broken"]


def test_every_public_function_is_tried():
    assert without_recipe(CALLABLES) == []
    assert {name.strip() for name in RECIPES} | set(RECORDS) == set(CALLABLES), "a recipe is of what is no longer there"
    assert covered() == (len(CALLABLES), len(CALLABLES))


def test_control_a_new_function_is_missed():
    def new(x):
        return x

    (said,) = without_recipe(CALLABLES | {"theory.new": new})
    assert "bnlib.theory.new is tried with no bad input" in said
    assert "RECIPES['theory.new']" in said


@pytest.mark.parametrize("name", sorted({name.strip() for name in RECIPES}))
def test_every_argument_has_a_kind_or_a_reason(name):
    assert without_kind(name) == []


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.infinite])
def test_numbers_that_are_not_finite_are_documented(name):
    assert RECIPES[name].infinite in input_recipe.documentation(CALLABLES[name.strip()])


@pytest.mark.parametrize("name", RECIPES)
def test_every_fault_once(name):
    trials = list(every_trial(name.strip(), CALLABLES[name.strip()], RECIPES[name], thorough=THOROUGH))
    assert broken(trials) == []


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.kinds])
@PROFILE
@given(st.data())
def test_property_any_fault(name, data):
    recipe, called = RECIPES[name], CALLABLES[name.strip()]
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    what = data.draw(
        st.sampled_from([*recipe.kinds, *range(len(recipe.scalings))]), label="argument or change of units"
    )
    if isinstance(what, int):
        exponent = data.draw(st.integers(-recipe.scalings[what].reach, recipe.scalings[what].reach), label="exponent")
        trial = try_scaling(name, called, recipe, what, exponent, seed)
    else:
        faults = faults_of(recipe, what, seed, THOROUGH)
        trial = try_fault(name, called, recipe, what, data.draw(st.sampled_from(faults), label="fault"), seed)
    assert broken([trial]) == []


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_keeps_what_it_is_given(name):
    for field in arguments(CALLABLES[name]):
        for value in (None, np.nan, "word", [], object(), np.arange(3)):
            assert try_record(name, field, value).outcome == "result", field


# controls: functions that do what no function may do


def swallows(x):
    """Mean without NaN; a ValueError for x that is no array."""
    x = np.asarray(x, dtype=np.float64)
    return np.nanmean(np.atleast_1d(x))


def warns(x):
    """Sum; a ValueError for bad x."""
    x = np.asarray(x)
    warnings.warn("take care", RuntimeWarning, stacklevel=1)
    return float(np.sum(x))


def mutates(x):
    """Sum; a ValueError for bad x."""
    x = np.asarray(x)
    x *= 2
    return float(np.sum(x))


def mumbles(x):
    """Sum; a ValueError for bad input."""
    raise ValueError("something is wrong with 1 value")


def crashes(x):
    """Sum; a ValueError for bad x."""
    return x["no"]


def undocumented(x):
    """Sum of x."""
    raise ValueError("x = 1 is bad")


def rounds(x):
    """Sum; a ValueError for bad x."""
    with np.errstate(over="ignore"):
        return float(np.sum(np.asarray(x, dtype=np.float32).astype(np.float64) ** 2))


TOY = Recipe(
    lambda rng: {"x": rng.uniform(1, 2, 4)}, {"x": Array(bound=None)}, scalings=(Scaling({"x": 1}, 2, reach=200),)
)


@pytest.mark.parametrize(
    "toy, fault, said",
    [
        (swallows, "NaN", "it must refuse"),
        (swallows, "masked", "it must refuse"),
        (swallows, "strings", "it must refuse"),
        (warns, "a list", "warned: RuntimeWarning: take care"),
        (mutates, "every other entry", "changed its argument x"),
        (mumbles, "NaN", "does not name x"),
        (crashes, "NaN", "IndexError"),
        (undocumented, "NaN", "which its docstring does not have"),
        (rounds, "units of x times 2^200", "scaled: "),
        (rounds, "NaN", "it must refuse"),
    ],
)
def test_control_what_no_function_may_do_is_noticed(toy, fault, said):
    found = [one for one in every_trial("toy", toy, TOY) if one.fault == fault]
    assert found and all(one.outcome == "broken" and said in one.message for one in found), found


def test_control_a_wrong_power_is_noticed():
    recipe = Recipe(TOY.good, TOY.kinds, scalings=(Scaling({"x": 1}, 1),))
    assert broken([try_scaling("toy", lambda x: float(np.sum(x**2)), recipe, 0, 7, 0)])


def test_control_out_of_range_is_noticed():
    recipe = Recipe(lambda rng: {"n": 3}, {"n": Number(bad=(0,), whole=True)})
    found = {one.fault: one for one in every_trial("toy", lambda n: 1.0, recipe)}
    assert found["value 0"].outcome == found["a fraction"].outcome == "broken"


def test_the_table_adds_up():
    total, *rows = summary(names=("theory.rate", "theory.least_squares", "moments.Moments", "training.Arm"))
    assert total["tries"] == sum(row["tries"] for row in rows) == total["result"] + total["refused"]
    assert total["broken"] == 0
    assert {row["fault"] for row in rows} > {"NaN", "masked", "complex", "read-only", "other units", "singular"}
