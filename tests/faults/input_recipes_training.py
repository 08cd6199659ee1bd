"""Recipes of what trains networks."""

import numpy as np
import torch
from input_faults import FINITE, REFUSED, SAME, Array, Choice, Listed, Made, Number
from input_recipe import Recipe
from input_recipes_theory import COUNT, LEVEL
from input_recipes_torch import (
    ARMS,
    BATCHES,
    DTYPE,
    FEW,
    FIXED_ROWS,
    KINDS_OF_ROWS,
    LABELS,
    LOSS,
    NOT_OBJECTS,
    OBSERVE,
    SCHEDULE,
    SCHEDULES_SIZES,
    SEED,
    Module,
    Tensor,
    a_minimum,
    batch,
    images,
    net,
)
from torch import nn
from torch.nn import functional

from bnlib import models, stack
from bnlib.training import Arm

RECIPES = {
    "descent.half_squared_error": Recipe(
        lambda rng: {
            "output": torch.from_numpy(rng.standard_normal((5, 2))),
            "target": torch.from_numpy(rng.standard_normal((5, 2))),
        },
        {"output": Tensor(nan=FINITE), "target": Tensor(nan=FINITE)},
        infinite="NaN",
        says={"output": ("target",)},
    ),
    "descent.fit": Recipe(
        lambda rng: {
            "model": net(rng),
            "batches": [batch(rng)] * 2,
            "loss_fn": functional.cross_entropy,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "parameters": None,
            "observe": None,
        },
        {
            "model": Module(("without parameters", REFUSED, lambda _: nn.ReLU())),
            "batches": Listed(*[case for case in BATCHES if case[0] not in ("a row", "other inputs", "NaN")]),
            "loss_fn": Listed(*[case for case in LOSS.cases if case[0] != "gives NaN"]),
            "learning_rate": Number(bad=(-0.5,), skip=("a function",)),
            "momentum": LEVEL,
            "weight_decay": LEVEL,
            "parameters": Listed(*NOT_OBJECTS, ("empty", REFUSED, []), ("words", REFUSED, ["w"]), optional=True),
            "observe": OBSERVE,
        },
        changes=("model",),
        says={"parameters": ("model",)},
        infinite="not finite",
    ),
    "descent.settle": Recipe(
        a_minimum,
        {
            "parameters": Listed(
                *NOT_OBJECTS,
                ("empty", REFUSED, []),
                ("words", REFUSED, ["w"]),
                ("no gradient", REFUSED, [torch.zeros(2)]),
                ("not in the objective", REFUSED, [nn.Parameter(torch.zeros(2))]),
            ),
            "objective": Listed(
                *NOT_OBJECTS,
                ("gives None", REFUSED, lambda: None),
                ("gives a number", REFUSED, lambda: 1.0),
                ("gives no gradient", REFUSED, lambda: torch.zeros(())),
            ),
            "iterations": COUNT,
        },
        changes=("parameters",),
        says={"parameters": ("objective",)},
    ),
    "training.Arm": Recipe(
        lambda rng: {"normalization": "batch", "weight_decay": 0.1, "gamma": 0.5},
        {"normalization": Choice(), "weight_decay": LEVEL, "gamma": Number(bad=(0.0,), optional=True)},
    ),
    "training.Schedule": Recipe(
        lambda rng: {
            "hidden": (3, 2),
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "channels": (2, 3),
        },
        {
            "hidden": SCHEDULES_SIZES,
            "epochs": COUNT,
            "batch_size": COUNT,
            "learning_rate": Number(bad=(0.0, -1.0)),
            "momentum": LEVEL,
            "channels": SCHEDULES_SIZES,
        },
    ),
    "training.Schedule.steps": Recipe(
        lambda rng: {"self": FEW, "rows": int(rng.integers(8, 99))},
        {"rows": Number(bad=(-1, 2.5), whole=True)},
        exempt={"self": "is one of Schedule, whose fields are checked"},
    ),
    "training.batches": Recipe(
        lambda rng: images(rng) | {"batch_size": 8, "epochs": 2, "stream": [1, 2], "noise_std": 0.5},
        {
            "inputs": KINDS_OF_ROWS,
            "labels": Listed(
                *NOT_OBJECTS,
                ("a row less", REFUSED, Made(lambda good: good[:-1])),
                ("words", REFUSED, Made(lambda good: good.astype(str))),
            ),
            "batch_size": COUNT,
            "epochs": COUNT,
            "stream": Listed(
                ("a word", REFUSED, "one"),
                ("negative", REFUSED, [-1]),
                ("a fraction", REFUSED, [0.5]),
                ("empty", FINITE, []),
                ("NaN", REFUSED, [np.nan]),
                ("a tuple", SAME, (1, 2)),
                ("words", REFUSED, ["one"]),
            ),
            "noise_std": Array(bound=None, bad=(-1.0,)),
        },
        result=list,
        says={"labels": ("inputs",), "inputs": ("batch_size", "labels")},
        rtol=1e-5,
        half=2e-2,
    ),
    "training.train": Recipe(
        lambda rng: {
            "arms": [Arm("batch"), Arm("none")],
            **images(rng),
            "schedule": FEW,
            "seed": 1,
            "noise_std": 0.5,
            "observe": None,
            "device": "cpu",
            "dtype": torch.float32,
        },
        {
            "arms": ARMS,
            "inputs": KINDS_OF_ROWS,
            "labels": LABELS,
            "schedule": SCHEDULE,
            "seed": SEED,
            "noise_std": Array(bound=None, bad=(-1.0,)),
            "observe": OBSERVE,
            "device": Listed(
                ("no device", REFUSED, "teapot"), ("a number", REFUSED, 3.5), ("torch's", SAME, torch.device("cpu"))
            ),
            "dtype": DTYPE,
        },
        says={"inputs": ("labels", "batch_size"), "labels": ("inputs",), "schedule": ("batch_size",)},
        infinite="diverge",
        rtol=1e-5,
    ),
    "training.train_alone": Recipe(
        lambda rng: {
            "model": net(rng),
            **images(rng),
            "schedule": FEW,
            "seed": 1,
            "weight_decay": 0.01,
            "noise_std": 0.5,
            "observe": None,
        },
        {
            "model": Module(("without parameters", REFUSED, lambda _: nn.ReLU())),
            "inputs": FIXED_ROWS,
            "labels": LABELS,
            "schedule": SCHEDULE,
            "seed": SEED,
            "weight_decay": LEVEL,
            "noise_std": Array(bound=None, bad=(-1.0,)),
            "observe": OBSERVE,
        },
        changes=("model",),
        says={"inputs": ("labels", "batch_size"), "labels": ("inputs",), "schedule": ("batch_size",)},
        infinite="diverge",
        rtol=1e-5,
    ),
    "training.evaluate": Recipe(
        lambda rng: {
            "models": [net(rng), net(rng, "none")],
            **images(rng),
            "noise_std": 0.5,
            "seed": 1,
            "chunk_rows": 5,
        },
        {
            "models": Listed(*NOT_OBJECTS, ("empty", REFUSED, []), ("words", REFUSED, ["model"])),
            "inputs": FIXED_ROWS,
            "labels": Listed(*LABELS.cases, ("beyond the classes", REFUSED, Made(lambda good: good + 5))),
            "noise_std": Array(bound=None, bad=(-1.0,)),
            "seed": SEED,
            "chunk_rows": COUNT,
        },
        changes=("models",),
        says={"inputs": ("labels",), "labels": ("inputs",)},
        infinite="diverged",
        rtol=1e-5,
    ),
    "stack.Stack": Recipe(
        lambda rng: {"models": [net(rng), net(rng, "none")], "weight_decays": [0.0, 0.1], "momentum": 0.9},
        {
            "models": Listed(
                *NOT_OBJECTS,
                ("empty", REFUSED, []),
                ("words", REFUSED, ["a", "b"]),
                ("others", REFUSED, [nn.ReLU(), nn.ReLU()]),
            ),
            "weight_decays": Array(bad=(-1.0,)),
            "momentum": LEVEL,
        },
        changes=("models",),
    ),
    "stack.Stack.step": Recipe(
        lambda rng: {
            "self": stack.Stack([net(rng)], [0.0], 0.9),
            "x": batch(rng)[0],
            "targets": batch(rng)[1],
            "learning_rate": 0.1,
        },
        {"x": Tensor(nan=FINITE), "targets": Tensor(whole=True), "learning_rate": LEVEL},
        exempt={"self": "is one of Stack, whose networks are checked"},
        says={"x": ("targets",)},
        infinite="not finite",
    ),
    "stack.blocks_of": Recipe(
        lambda rng: {"model": net(rng)}, {"model": Module(("another layer", REFUSED, lambda _: nn.ReLU()))}
    ),
    "reading.read": Recipe(
        lambda rng: {
            "models": [net(rng), net(rng)],
            "batches": [batch(rng)] * 2,
            "batches_at_most": 3,
            "relative_error": 0.1,
        },
        {
            "models": Listed(
                *NOT_OBJECTS,
                ("empty", REFUSED, []),
                ("words", REFUSED, ["a"]),
                ("without", REFUSED, [models.network((4, 2))]),
            ),
            "batches": Listed(*[case for case in BATCHES if case[0] != "NaN"]),
            "batches_at_most": COUNT,
            "relative_error": Number(bad=(0.0, -1.0)),
        },
        infinite="NaN where the network's numbers are not finite",
    ),
}
