"""Recipes of what only the library calls: bad input is refused by any error."""

from collections import Counter

import numpy as np
import torch
from input_faults import REFUSED, Flag, Listed
from input_recipe import Recipe
from input_recipes_runs import INSIDE, WRONG, a_pass, a_step
from input_recipes_torch import NOT_OBJECTS, Module, a_call, net
from torch import nn

from bnlib import recorder, report
from bnlib.passes import Passes

RECIPES = {
    "layers.check_tensor": Recipe(
        lambda rng: {"name": "value", "value": torch.ones(3)},
        {"value": Listed(*NOT_OBJECTS, ("complex", REFUSED, torch.ones(3) * 1j))},
        exempt={"name": "is only printed"},
    ),
    "layers.output_of": Recipe(
        lambda rng: {"model": nn.Linear(3, 2), "inputs": torch.ones(4, 3)},
        {
            "inputs": Listed(
                ("of another width", REFUSED, torch.ones(4, 5)),
                ("of another dtype", REFUSED, torch.ones(4, 3, dtype=torch.float64)),
                literal=True,
            )
        },
        exempt={"model": "is checked by who calls it"},
    ),
    "descent.iterated": Recipe(
        lambda rng: {"batches": [1]}, {"batches": Listed(("a number", REFUSED, 3), ("a function", REFUSED, len))}
    ),
    "descent.pair": Recipe(
        lambda rng: {"batch": (1, 2)},
        {"batch": Listed(("a number", REFUSED, 3), ("of three", REFUSED, (1, 2, 3)), ("a word", REFUSED, "ab"))},
    ),
    "report.WeightedMean.add": Recipe(
        lambda rng: {"self": report.WeightedMean(), "values": np.ones(3), "weight": 2},
        {"values": Listed(("a word", REFUSED, "word"))},
        inside=INSIDE,
        exempt={"self": INSIDE, "weight": INSIDE},
    ),
    "meter.values_of": Recipe(
        lambda rng: {"call": a_call(), "grad": torch.ones(3), "unlinked": False},
        {"call": WRONG, "grad": WRONG, "unlinked": Flag()},
        inside=INSIDE,
        infinite="rows",
    ),
    "meter.as_array": Recipe(lambda rng: {"tensor": torch.ones(3)}, {"tensor": WRONG}, inside=INSIDE),
    "meter.as_it_trains": Recipe(
        lambda rng: {"model": net(rng)},
        {"model": WRONG},
        inside=INSIDE,
        result=lambda context: context.__enter__() or context.__exit__(None, None, None),
    ),
    "recorder.recording": Recipe(
        lambda rng: {"model": net(rng), "stand_in": lambda gamma, _: gamma},
        {"model": WRONG},
        inside=INSIDE,
        exempt={"stand_in": INSIDE},
        result=lambda context: context.__enter__() and context.__exit__(None, None, None),
    ),
    "recorder.Recorder": Recipe(
        lambda rng: {"model": net(rng), "stand_in": len}, {"model": WRONG}, inside=INSIDE, exempt={"stand_in": INSIDE}
    ),
    "recorder.Recorder.unlinked": Recipe(
        lambda rng: {"self": recorder.Recorder(net(rng), len), "call": a_call(), "uses": Counter()},
        {"call": WRONG},
        inside=INSIDE,
        exempt={"self": INSIDE, "uses": INSIDE},
    ),
    "recorder.Recorder.enter": Recipe(
        lambda rng: {"self": recorder.Recorder(net(rng), len), "module": nn.ReLU(), "_": ()},
        {},
        inside=INSIDE,
        exempt={"self": INSIDE, "module": "comes from a hook of torch", "_": INSIDE},
    ),
    "recorder.Recorder.leave": Recipe(
        lambda rng: {"self": recorder.Recorder(net(rng), len), "module": nn.ReLU()},
        {},
        inside=INSIDE,
        exempt={"self": INSIDE, "module": "comes from a hook of torch", "_": INSIDE},
    ),
    "recorder.rows_of_units": Recipe(
        lambda rng: {"weight": torch.zeros(4, 3, 2, 2), "transposed_groups": 2},
        {"weight": WRONG},
        inside=INSIDE,
        exempt={"transposed_groups": INSIDE},
    ),
    "recorder.consumers": Recipe(
        lambda rng: {"loss": torch.ones(2, requires_grad=True).sum()}, {"loss": WRONG}, inside=INSIDE
    ),
    "passes.Passes": Recipe(
        lambda rng: {"model": net(rng), "scaler": None},
        {"model": Module()},
        inside=INSIDE,
        exempt={"scaler": "see logger.RateLogger"},
        result=lambda passes: passes.close(),
    ),
    "passes.Passes.begin": Recipe(
        a_pass,
        {},
        inside=INSIDE,
        exempt={
            "self": INSIDE,
            "model": "comes from a hook of torch; a second one at once is refused, see test_logger_refusals.py",
        },
        runs=False,
    ),
    "passes.Passes.end": Recipe(
        lambda rng: {"self": Passes(net(rng)), "output": None},
        {},
        inside=INSIDE,
        exempt={"self": INSIDE, "output": "is whatever the model gives"},
    ),
    "passes.Passes.rates": Recipe(
        a_step,
        {},
        inside=INSIDE,
        exempt={"self": INSIDE, "optimizer": "comes from a hook of torch"},
        infinite="rate",
    ),
}
