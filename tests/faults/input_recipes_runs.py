"""Recipes of data, sweeps, searches and keys; of what only the library calls; and the records that it fills."""

import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from input_faults import FINITE, REFUSED, SAME, Array, Choice, Covariance, Listed, Made, Number
from input_recipe import Recipe
from input_recipes_theory import COUNT, LEVEL, cov
from input_recipes_torch import ARMS, FEW, LABELS, NOT_OBJECTS, SCHEDULE, SEED, net

from bnlib import data, runs
from bnlib.experiments import Conditions
from bnlib.passes import Passes
from bnlib.training import Arm

HERE = Path(__file__)
ONE = ThreadPoolExecutor(1)
PATHS = [
    ("a number", REFUSED, 3),
    ("a list", REFUSED, ["a"]),
    ("an object", REFUSED, object()),
    ("with a null", REFUSED, "a\0b"),
    ("nowhere", REFUSED, "/nowhere/at/all"),
]
ROOT = Listed(*PATHS, ("a file", REFUSED, HERE), optional=True)
CONDITION = Conditions(train_size=64, noise_std=0.5)
FIELD = Number(bad=(-1.0, 1.5))
LOOK = Listed(
    *NOT_OBJECTS,
    ("gives None", REFUSED, lambda run: None),
    ("gives an object", REFUSED, lambda run: {"it": object()}),
    optional=True,
)
STEPS = [
    ("a word", REFUSED, "all"),
    ("one", REFUSED, 1),
    ("negative", REFUSED, [-1]),
    ("beyond the end", REFUSED, [10**6]),
    ("a fraction", REFUSED, 2.5),
]
FRAME = [
    ("a word", REFUSED, "runs"),
    ("a number", REFUSED, 3.0),
    ("a list", REFUSED, [1, 2]),
    ("without rows", REFUSED, Made(lambda good: good[:0])),
    ("without columns", REFUSED, Made(lambda good: good[[]])),
    ("without the seeds", REFUSED, Made(lambda good: good.drop(columns="seed"))),
    ("sorted otherwise", FINITE, Made(lambda good: good[::-1])),
]


def look(run: Any) -> dict[str, Any]:
    return {"steps": run.step}


def searched(rng: np.random.Generator) -> pd.DataFrame:
    decays = np.tile(np.geomspace(1e-4, 1e-1, 7), 2)
    loss = (np.log10(decays) + 2.2) ** 2 + 0.01 * rng.standard_normal(14)
    return pd.DataFrame(
        {
            "seed": np.repeat([0, 1], 7),
            "noise_std": 1.0,
            "normalization": "none",
            "weight_decay": decays,
            "validation_loss": loss,
        }
    )


def a_run() -> Any:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 4)).astype(np.float32)
    labels = np.arange(16) % 2
    return runs.Run(net(rng), Arm(), CONDITION, FEW, 0, 2, x, labels, np.eye(4), 0.5, {})


def a_pass(rng: np.random.Generator) -> dict[str, Any]:
    model = net(rng)
    return {"self": Passes(model), "model": model}


def a_step(rng: np.random.Generator) -> dict[str, Any]:
    model = net(rng)
    return {"self": Passes(model), "optimizer": torch.optim.SGD(model.parameters(), 0.1)}


def dataset(rng: np.random.Generator) -> Any:
    parts = [data.Split(rng.uniform(size=(6, 9)).astype(np.float32), np.arange(6) % 2) for _ in range(3)]
    return data.Dataset("mnist-5k", "title", "source", *parts)


def of_split(change: Any) -> Made:
    def make(good: Any) -> Any:
        part = data.Split(change(good.train.images), good.train.labels)
        return data.Dataset(good.name, good.title, good.source, part, good.validation, good.test)

    return Made(make)


SEARCH = {
    "runs": Listed(
        *FRAME,
        ("without the losses", REFUSED, Made(lambda good: good.drop(columns="validation_loss"))),
        ("without the condition", REFUSED, Made(lambda good: good.drop(columns="noise_std"))),
    ),
    "conditions": Listed(
        ("no column", REFUSED, ("nothing",)), ("a number", REFUSED, 3), ("a list", SAME, ["noise_std"])
    ),
    "of": Choice(),
}
INSIDE = "takes what another module of the library has made"
OF_DATA = "gets its paths from `bnlib.data`; `faults.files` tries its files"
WRONG = Listed(*NOT_OBJECTS[:2])

RECIPES = {
    "data.load": Recipe(
        lambda rng: {"name": "mnist-5k", "root": None}, {"name": Choice()}, exempt={"root": "see the next recipe"}
    ),
    "data.load ": Recipe(
        lambda rng: {"name": "mnist", "root": "/nowhere"},
        {"root": Listed(*ROOT.cases, literal=True)},
        exempt={"name": "see the recipe before"},
        says={"root": ("/nowhere", str(HERE))},
        runs=False,
    ),
    "data.download": Recipe(
        lambda rng: {"name": "mnist", "root": "/nowhere"},
        {"name": Choice(), "root": Listed(*[case for case in PATHS if case[0] != "nowhere"], literal=True)},
        runs=False,
    ),
    "originals.unpacked": Recipe(
        lambda rng: {"path": HERE, "most": 10**6}, {}, exempt=dict.fromkeys(("path", "most", "what_to_do"), OF_DATA)
    ),
    "originals.checked": Recipe(
        lambda rng: {"path": HERE, "most": 10**6, "md5": hashlib.md5(HERE.read_bytes()).hexdigest()},
        {},
        exempt=dict.fromkeys(("path", "most", "md5"), OF_DATA),
    ),
    "originals.fetch": Recipe(
        lambda rng: {},
        {},
        runs=False,
        exempt=dict.fromkeys(("folder", "inside", "bring", "is_whole"), OF_DATA),
    ),
    "data.is_available": Recipe(
        lambda rng: {"name": "mnist", "root": None},
        {
            "name": Choice(),
            "root": Listed(*PATHS[:4], ("nowhere", FINITE, "/nowhere"), ("a file", FINITE, HERE), optional=True),
        },
    ),
    "data.corrupt": Recipe(
        lambda rng: {"inputs": rng.standard_normal((5, 3)), "rng": np.random.default_rng(3), "noise_std": 0.5},
        {
            "inputs": Array(bound=None),
            "rng": Listed(*NOT_OBJECTS, ("the old kind", REFUSED, np.random.RandomState(0))),
            "noise_std": LEVEL,
        },
        exempt={"noise_cov": "see the next recipe"},
        rtol=1e-5,
        half=2e-2,
        other=("float32", "a tensor of bfloat16"),
    ),
    "data.corrupt ": Recipe(
        lambda rng: {"inputs": rng.standard_normal((5, 3)), "rng": np.random.default_rng(3), "noise_cov": cov(rng)},
        {"inputs": Array(bound=(1,), more=FINITE), "noise_cov": Covariance(definite=True)},
        exempt={"rng": "see the recipe before", "noise_std": "see the recipe before"},
        says={"inputs": ("noise_cov",)},
        rtol=1e-5,
        half=2e-2,
        other=("float32", "a tensor of bfloat16"),
    ),
    "training.standardize": Recipe(
        lambda rng: {"dataset": dataset(rng)},
        {
            "dataset": Listed(
                *NOT_OBJECTS,
                ("NaN", REFUSED, of_split(lambda images: images * np.nan)),
                ("empty", REFUSED, of_split(lambda images: images[:0])),
                ("constant", REFUSED, of_split(np.zeros_like)),
                ("complex", REFUSED, of_split(lambda images: images * 1j)),
                ("words", REFUSED, of_split(lambda images: images.astype(str))),
                ("read-only", SAME, of_split(lambda images: _frozen(images))),
            )
        },
        says={"dataset": ("dataset",)},
    ),
    "runs.Conditions": Recipe(
        lambda rng: {
            "dataset": "mnist-5k",
            "train_size": 64,
            "label_noise": 0.1,
            "noise_std": 0.5,
            "noisy_side": "left",
            "input_scale": 2.0,
        },
        {
            "dataset": Choice(),
            "train_size": Number(bad=(0, -1, 2.5), whole=True, optional=True),
            "label_noise": FIELD,
            "noise_std": LEVEL,
            "noisy_side": Choice(),
            "input_scale": Number(bad=(0.0, -1.0)),
        },
    ),
    "runs.Conditions.training_rows": Recipe(
        lambda rng: {"self": Conditions(train_size=8, label_noise=0.5), "labels": np.arange(16) % 2, "seed": 1},
        {
            "labels": Listed(
                *[case for case in LABELS.cases if case[0] != "a row less"],
                ("too few", REFUSED, Made(lambda good: good[:4])),
            ),
            "seed": SEED,
        },
        exempt={"self": "is one of Conditions, whose fields are checked"},
        says={"labels": ("train_size",)},
    ),
    "runs.Run.batches": Recipe(
        lambda rng: {"self": a_run(), "count": 3, "stream": 3, "batch_size": 4},
        {"count": COUNT, "stream": SEED, "batch_size": Number(bad=(0, -1, 2.5, 99), whole=True, optional=True)},
        exempt={"self": "is made by a sweep"},
        result=list,
    ),
    "runs.run_group": Recipe(
        lambda rng: {
            "arms": [Arm("batch")],
            "condition": CONDITION,
            "seed": 1,
            "schedule": FEW,
            "root": None,
            "look": None,
            "look_steps": None,
        },
        {"arms": ARMS, "condition": Listed(*NOT_OBJECTS), "seed": SEED, "schedule": SCHEDULE, "look": LOOK},
        exempt={"root": "see data.load", "look_steps": "see experiments.sweep"},
        says={"schedule": ("batch_size",)},
        result=lambda rows: rows[0]["test_loss"],
        slow=True,
    ),
    "experiments.sweep": Recipe(
        lambda rng: {
            "arms": [Arm("batch")],
            "conditions": [CONDITION],
            "schedule": FEW,
            "seeds": [1],
            "executor": ONE,
            "look": look,
            "look_steps": [0, 1],
            "store": None,
        },
        {
            "arms": ARMS,
            "conditions": Listed(*NOT_OBJECTS, ("empty", REFUSED, []), ("words", REFUSED, ["mnist"])),
            "schedule": SCHEDULE,
            "seeds": Listed(
                *NOT_OBJECTS,
                ("empty", REFUSED, []),
                ("twice", REFUSED, [1, 1]),
                ("negative", REFUSED, [-1]),
                ("a fraction", REFUSED, [0.5]),
                ("NaN", REFUSED, [np.nan]),
                ("words", REFUSED, ["one"]),
                ("a range", SAME, range(1, 2)),
                ("an array", SAME, np.array([1])),
            ),
            "executor": Listed(*NOT_OBJECTS, literal=True),
            "look": Listed(*NOT_OBJECTS, ("a class's method", REFUSED, [].append), literal=True),
            "look_steps": Listed(*STEPS, optional=True),
            "store": Listed(*PATHS[:4], literal=True),
        },
        exempt={"root": "see data.load"},
        says={"schedule": ("batch_size", "look_steps"), "look": ("look", "function"), "store": ("store",)},
        result=lambda rows: rows.test_loss.tolist(),
        slow=True,
    ),
    "experiments.by_seed": Recipe(
        lambda rng: {
            "rows": pd.DataFrame({"seed": [0, 0, 1, 1], "noise_std": [0.0, 1.0] * 2, "rate": rng.uniform(size=4)}),
            "values": "rate",
            "condition": "noise_std",
        },
        {
            "rows": Listed(*FRAME, ("a cell twice", REFUSED, Made(lambda good: pd.concat([good, good])))),
            "values": Choice(),
            "condition": Choice(),
        },
        says={"rows": ("values", "condition"), "values": ("rows",), "condition": ("rows",)},
    ),
    "search.best_decays": Recipe(
        lambda rng: {"runs": searched(rng), "conditions": ("noise_std",), "of": "validation_loss"},
        SEARCH,
        says={"conditions": ("runs",), "of": ("runs",)},
    ),
    "search.smooth_best_decays": Recipe(
        lambda rng: {"runs": searched(rng), "conditions": ("noise_std",), "of": "validation_loss"},
        SEARCH | {"runs": Listed(*SEARCH["runs"].cases, ("few decays", REFUSED, Made(lambda good: good[:3])))},
        says={"conditions": ("runs",), "of": ("runs",)},
        infinite="NaN at an end",
    ),
    **{
        f"source.{name}": Recipe(
            lambda rng: {"paths": (HERE,), "packages": ("bnlib",), "root": HERE.parent.parent.parent},
            {
                "paths": Listed(
                    ("nowhere", REFUSED, ("/nowhere.py",)),
                    ("a folder", REFUSED, (HERE.parent,)),
                    ("a number", REFUSED, (3,)),
                    ("a null", REFUSED, ("a\0b",)),
                    ("a word", SAME, (str(HERE),)),
                    literal=True,
                ),
                "packages": Listed(("a word", REFUSED, "bnlib"), ("a number", REFUSED, 3), ("a list", SAME, ["bnlib"])),
                "root": Listed(("a number", REFUSED, 3), ("a null", REFUSED, "a\0b"), ("nowhere", FINITE, "/nowhere")),
            },
            exempt={"versions": "names distributions; an unknown one is refused by importlib.metadata"},
            says={"paths": ("/nowhere.py", str(HERE.parent))},
        )
        for name in ("digest", "closure")
    },
    "source.function_digest": Recipe(
        lambda rng: {"function": look},
        {
            "function": Listed(
                *NOT_OBJECTS,
                ("of an object", REFUSED, [].append),
                ("with an array of objects", REFUSED, functools.partial(look, run=object())),
            )
        },
        says={"function": ("function", "argument", "look", "run")},
    ),
    "source.plain": Recipe(
        lambda rng: {"name": "value", "value": {"a": [1, 2.5, None, "b"]}},
        {
            "value": Listed(
                ("an object", REFUSED, object()),
                ("complex", REFUSED, 1j),
                ("complex in it", REFUSED, [np.array(1j)]),
                ("a set", REFUSED, {1}),
                ("keys that are numbers", REFUSED, {1: 2}),
                ("bytes", REFUSED, b"a"),
                ("dates", REFUSED, np.datetime64("2026-01-01")),
                ("a tuple", FINITE, (1, 2)),
                ("a tensor", FINITE, torch.ones(2)),
                ("empty", FINITE, {}),
                optional=True,
            )
        },
        exempt={"name": "is only printed"},
    ),
    "report.listed": Recipe(
        lambda rng: {"names": ["a", "b"], "at_most": 4},
        {
            "names": Listed(
                ("numbers", REFUSED, [1, 2]),
                ("a number", REFUSED, 3),
                ("empty", FINITE, []),
                ("a tuple", SAME, ("a", "b")),
            ),
            "at_most": COUNT,
        },
    ),
}


def _frozen(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images.flags.writeable = False
    return images


# records that the library fills: a field is what is given, unchanged and unread
RECORDS = (
    "data.Split", "data.Dataset", "decay.ParameterGroups", "reading.Reading", "recorder.Call", "removal.LayerPenalty", "removal.Penalty",
    "report.Report", "runs.Run", "theory.LeastSquaresFit", "theory.LogisticFit", "theory.LogisticNoisePath", "theory.NoisePath",
    "theory.UniformMargins",
)  # fmt: skip
