"""All recipes, and which functions have one."""

from collections.abc import Callable
from typing import Any

import input_recipes_checks
import input_recipes_inside
import input_recipes_runs
import input_recipes_theory
import input_recipes_torch
import input_recipes_training
from input_public import arguments, public_callables
from input_recipe import Recipe, Trial

RECIPES: dict[str, Recipe] = {
    **input_recipes_theory.RECIPES,
    **input_recipes_torch.RECIPES,
    **input_recipes_checks.RECIPES,
    **input_recipes_training.RECIPES,
    **input_recipes_runs.RECIPES,
    **input_recipes_inside.RECIPES,
}
RECORDS = input_recipes_runs.RECORDS
CALLABLES = public_callables()
HOW = (
    "add RECIPES[{name!r}] = Recipe(good, kinds) to tests/faults/input_recipes_*.py, with a call that works and the kind of "
    "each argument; a record that only the library fills goes to RECORDS"
)


def without_recipe(public: dict[str, Callable[..., Any]]) -> list[str]:
    """Public functions that nobody tries, each with what to do about it."""
    known = {name.strip() for name in RECIPES} | set(RECORDS)
    return [f"bnlib.{name} is tried with no bad input; {HOW.format(name=name)}" for name in public if name not in known]


def without_kind(name: str) -> list[str]:
    """Arguments of a function that no recipe of it tries or exempts."""
    recipes = [recipe for key, recipe in RECIPES.items() if key.strip() == name]
    known = {argument for recipe in recipes for argument in (*recipe.kinds, *recipe.exempt)}
    return [argument for argument in arguments(CALLABLES[name]) if argument not in known]


def try_record(name: str, field: str, value: Any) -> Trial:
    """A record keeps what it is given, whatever it is: nothing is read, so nothing can be wrong."""
    given = dict.fromkeys(arguments(CALLABLES[name])) | (
        {"groups": []} if "groups" in arguments(CALLABLES[name]) else {}
    )
    if field == "groups":
        return Trial(name, field, "kept", "result")  # it is a list of these
    kept = getattr(CALLABLES[name](**given | {field: value}), field)
    return Trial(name, field, "kept", "result" if kept is value else "broken", f"{kept!r} is not what was given")
