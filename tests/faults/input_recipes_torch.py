"""Recipes of what is built on torch: models, training, the meter, decay and removal."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from input_faults import FINITE, REFUSED, SAME, Array, Choice, Fault, Flag, Kind, Listed, Made, Number
from input_recipe import Recipe
from input_recipes_theory import COUNT, LEVEL
from torch import nn
from torch.nn import functional

from bnlib import decay, meter, models, recorder
from bnlib.training import Arm, Schedule

SEED = Number(bad=(-1, 1.5), whole=True)
EPS = Number(bad=(0.0, -1.0))
SIZES = [
    ("a number", REFUSED, 3),
    ("empty", REFUSED, ()),
    ("a zero", REFUSED, Made(lambda good: (0, *good[1:]))),
    ("a negative number", REFUSED, Made(lambda good: (*good[:-1], -2))),
    ("a fraction", REFUSED, Made(lambda good: (*good[:-1], 2.5))),
    ("NaN", REFUSED, Made(lambda good: (*good[:-1], np.nan))),
    ("words", REFUSED, Made(lambda good: ("two", *good[1:]))),
    ("a word", REFUSED, "two"),
    ("nested", REFUSED, Made(lambda good: (good,))),
    ("a list", SAME, Made(list)),
    ("an array", SAME, Made(np.array)),
    ("small integers", SAME, Made(lambda good: tuple(map(np.int8, good)))),
]
NOT_OBJECTS = [
    ("a word", REFUSED, "word"),
    ("a number", REFUSED, 3.0),
    ("a dict", REFUSED, {}),
    ("an array", REFUSED, np.ones(3)),
]
DTYPE = Listed(
    ("a word", REFUSED, "float32"), ("NumPy's", REFUSED, np.float32), ("Python's", REFUSED, float), ("of integers", REFUSED, torch.int64),
    ("complex", REFUSED, torch.complex64), ("float64", FINITE, torch.float64),
)  # fmt: skip
CALLS = Listed(*NOT_OBJECTS, ("a module's class", FINITE, len), optional=True)


class Module(Kind):
    """A torch.nn.Module; `normalized` where it must have batch normalization, `trains` where it must have parameters."""

    def __init__(self, *cases: tuple[str, str, Any]) -> None:
        super().__init__()
        self.cases = cases

    def faults(self, good: Any, rng: np.random.Generator) -> Iterator[Fault]:
        yield from self.nothing()
        values = {
            "a word": "resnet18",
            "the class": nn.Linear,
            "a dict": {},
            "a number": 3,
            "a list": [good],
            "a function": len,
        }
        values |= {"a tensor": torch.zeros(3), "its state": dict(good.state_dict())}
        for name, value in values.items():
            yield Fault(name, REFUSED, value)
        for name, wanted, make in self.cases:
            yield Fault(name, wanted, make(copy.deepcopy(good)))


class Tensor(Kind):
    """A torch.Tensor of floats, or of integers where `whole`; NumPy's arrays are refused unless `numpy`."""

    def __init__(self, nan: str = REFUSED, more: str = REFUSED, whole: bool = False) -> None:
        super().__init__()
        self.nan, self.more, self.whole = nan, more, whole

    def faults(self, good: torch.Tensor, rng: np.random.Generator) -> Iterator[Fault]:
        yield from self.nothing()
        values: dict[str, Any] = {
            "a word": "tensor",
            "a list": good.tolist(),
            "an array": good.numpy(),
            "a number": 3.0,
        }
        values |= {"a dict": {}, "complex": good * 1j, "empty": good[:0]}
        if good.ndim:
            values |= {"a row less": good[:-1], "three dimensions more": good[None, None, None]}
        for name, value in values.items():
            yield Fault(name, self.more if name in ("a row less", "three dimensions more") else REFUSED, value)
        yield Fault("strided", SAME, good.repeat_interleave(2, dim=0)[::2], good)
        if not self.whole:
            yield Fault("NaN", self.nan, torch.full_like(good, torch.nan))
            yield Fault("infinity", self.nan, torch.full_like(good, torch.inf))
            yield Fault("of integers", FINITE, good.long())
            yield Fault("with a gradient", SAME, good.clone().requires_grad_(), good)
        else:
            yield Fault("negative", REFUSED, good - 10)
            yield Fault("beyond the classes", REFUSED, good + 10)
            yield Fault("of floats", REFUSED, good.double() + 0.5)


def images(rng: np.random.Generator, n: int = 16, d: int = 4) -> dict[str, Any]:
    return {"inputs": rng.standard_normal((n, d)).astype(np.float32), "labels": rng.permutation(np.arange(n) % 2)}


def batch(rng: np.random.Generator, n: int = 16, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    found = images(rng, n, d)
    return torch.from_numpy(found["inputs"]), torch.from_numpy(found["labels"])


def net(rng: np.random.Generator, kind: str = "batch") -> nn.Sequential:
    return models.network((4, 3, 2), kind, seed=int(rng.integers(9)))


def report_of(model: nn.Module, rng: np.random.Generator) -> Any:
    return meter.measure(model, [batch(rng), batch(rng)], functional.cross_entropy)


def a_minimum(rng: np.random.Generator) -> dict[str, Any]:
    w = nn.Parameter(torch.from_numpy(rng.standard_normal(3)))
    return {"parameters": [w], "objective": lambda: (w - 1).square().sum(), "iterations": 5}


def with_nan(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    return model


def linear_report(rng: np.random.Generator) -> dict[str, Any]:
    model = net(rng)
    return {"model": model, "report": report_of(model, rng)}


def a_call() -> Any:
    made: list[Any] = []
    model = models.network((4, 3, 2))
    with recorder.recording(model, lambda gamma, _: gamma) as seen:
        model(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
        made += seen.calls
    return made[0]


LABELS = Listed(
    *NOT_OBJECTS,
    ("negative", REFUSED, Made(lambda good: good - 1)),
    ("fractions", REFUSED, Made(lambda good: good + 0.5)),
    ("NaN", REFUSED, Made(lambda good: good * np.nan)),
    ("words", REFUSED, Made(lambda good: good.astype(str))),
    ("complex", REFUSED, Made(lambda good: good * 1j)),
    ("a row less", REFUSED, Made(lambda good: good[:-1])),
    ("two dimensions", REFUSED, Made(lambda good: good[:, None])),
    ("empty", REFUSED, Made(lambda good: good[:0])),
    ("a list", SAME, Made(lambda good: good.tolist())),
    ("small integers", SAME, Made(lambda good: good.astype(np.uint8))),
    ("whole floats", SAME, Made(lambda good: good.astype(np.float64))),
    ("bool", SAME, Made(lambda good: good.astype(bool))),
    ("a tensor", SAME, Made(torch.from_numpy)),
    ("one class", FINITE, Made(np.zeros_like)),
)
KINDS_OF_ROWS = Array(bound=(0,))
FIXED_ROWS = Array(bound=(0, 1))
BATCHES = [
    ("empty", REFUSED, []),
    ("no pairs", REFUSED, [torch.zeros(3, 4)]),
    ("a word", REFUSED, "batches"),
    ("a number", REFUSED, 3),
    ("words", REFUSED, ["one"]),
    ("one of three", REFUSED, Made(lambda good: [(*good[0], 1)])),
    ("a row", REFUSED, Made(lambda good: [(good[0][0][:1], good[0][1][:1])])),
    ("other inputs", REFUSED, Made(lambda good: [(good[0][0][:, :2], good[0][1])])),
    ("NaN", REFUSED, Made(lambda good: [(good[0][0] * torch.nan, good[0][1])])),
    ("an iterator", SAME, Made(lambda good: tuple(good))),
]
OBSERVE = Listed(*NOT_OBJECTS, optional=True)
ARMS = Listed(
    *NOT_OBJECTS,
    ("empty", REFUSED, []),
    ("words", REFUSED, ["batch"]),
    ("the class", REFUSED, [Arm]),
    ("a tuple", SAME, Made(tuple)),
)
SCHEDULE = Listed(
    *NOT_OBJECTS, ("the class", REFUSED, Schedule), ("batches too long", REFUSED, Schedule(batch_size=999))
)
FEW = Schedule(hidden=(3,), epochs=1, batch_size=8)
LOSS = Listed(
    *NOT_OBJECTS, ("gives None", REFUSED, lambda *_: None), ("gives a word", REFUSED, lambda *_: "loss"),
    ("gives many numbers", REFUSED, lambda output, *_: output), ("gives NaN", REFUSED, lambda output, *_: output.sum() * torch.nan),
    ("gives a number", REFUSED, lambda *_: 3.0),
)  # fmt: skip
SCHEDULES_SIZES = Listed(
    *[case for case in SIZES if case[0] not in ("empty", "an array", "a list", "small integers")], ("empty", FINITE, ())
)
OTHER_REPORT = Made(lambda good: report_of(models.network((4, 5, 2)), np.random.default_rng(0)))
REPORT = Listed(*NOT_OBJECTS, ("of another model", REFUSED, OTHER_REPORT))

RECIPES = {
    "models.network": Recipe(
        lambda rng: {
            "widths": (4, 3, 2),
            "normalization": "batch",
            "normalize_output": False,
            "gamma": 0.5,
            "eps": 1e-5,
            "seed": int(rng.integers(9)),
            "dtype": torch.float32,
        },
        {
            "widths": Listed(*SIZES, ("one", REFUSED, (4,))),
            "normalization": Choice(),
            "normalize_output": Flag(),
            "gamma": Number(bad=(0.0,), optional=True),
            "eps": EPS,
            "seed": SEED,
            "dtype": DTYPE,
        },
    ),
    "models.unit": Recipe(
        lambda rng: {"inputs": 3, "gamma": 0.5, "beta": 2.0, "seed": int(rng.integers(9)), "eps": 1e-30},
        {
            "inputs": COUNT,
            "gamma": Number(bad=(0.0,), optional=True),
            "beta": Number(optional=True),
            "seed": SEED,
            "eps": EPS,
        },
        says={"inputs": ("widths",)},
    ),
    "models.convolutional": Recipe(
        lambda rng: {"channels": (2, 3), "normalization": "batch", "classes": 2, "eps": 1e-5, "seed": 1, "side": 8},
        {
            "channels": Listed(*SIZES, ("too many", REFUSED, (2,) * 9)),
            "normalization": Choice(),
            "classes": COUNT,
            "eps": EPS,
            "seed": SEED,
            "side": Number(bad=(1, 0, -8, 7.5), whole=True),
        },
    ),
    "models.fold": Recipe(
        lambda rng: dict(zip(("linear", "batch_norm"), models.network((4, 3, 2), seed=int(rng.integers(9))))),
        {
            "linear": Module(
                ("of another width", REFUSED, lambda _: nn.Linear(4, 5)),
                ("a convolution", REFUSED, lambda _: nn.Conv1d(4, 3, 1)),
            ),
            "batch_norm": Module(
                ("without statistics", REFUSED, lambda _: nn.BatchNorm1d(3, track_running_stats=False)),
                ("a layer norm", REFUSED, lambda _: nn.LayerNorm(3)),
            ),
        },
        says={"linear": ("batch_norm",)},
    ),
    "meter.measure": Recipe(
        lambda rng: {
            "model": net(rng),
            "batches": [batch(rng)] * 2,
            "loss_fn": functional.cross_entropy,
            "forward": None,
            "batches_at_most": 3,
            "relative_error": 0.1,
            "progress": False,
        },
        {
            "model": Module(
                ("without batch normalization", REFUSED, lambda _: nn.Linear(4, 2)),
                ("half precision", REFUSED, lambda good: good.half()),
                ("in evaluation mode", FINITE, lambda good: good.eval()),
                ("NaN in the weights", REFUSED, with_nan),
                ("not built", REFUSED, lambda _: nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3))),
            ),
            "batches": Listed(*BATCHES),
            "loss_fn": Listed(*LOSS.cases),
            "batches_at_most": Number(bad=(0, -1, 2.5), whole=True, optional=True),
            "relative_error": Number(bad=(0.0, -1.0), optional=True),
            "progress": Flag(),
        },
        exempt={"forward": "see the next recipe"},
        says={"model": ("loss", "batches"), "batches": ("loss", "model"), "loss_fn": ("loss", "model")},
        infinite="it is NaN, and ``reason`` says why",
    ),
    "meter.measure ": Recipe(
        lambda rng: {
            "model": net(rng),
            "batches": [batch(rng)] * 2,
            "forward": lambda model, pair: functional.cross_entropy(model(pair[0]), pair[1]),
        },
        {
            "forward": Listed(
                *[case for case in LOSS.cases if case[0] not in ("gives many numbers", "gives NaN")],
                ("gives NaN", REFUSED, lambda *_: torch.tensor(torch.nan)),
            )
        },
        exempt={
            name: "see the recipe before"
            for name in ("model", "batches", "loss_fn", "batches_at_most", "relative_error", "progress")
        },
        says={"forward": ("loss", "model")},
        infinite="it is NaN, and ``reason`` says why",
    ),
    "logger.RateLogger": Recipe(
        lambda rng: {"model": net(rng), "every": 2, "path": None, "scaler": None},
        {
            "model": Module(("not built", REFUSED, lambda _: nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3)))),
            "every": COUNT,
            "path": Listed(
                ("a number", REFUSED, 3),
                ("no folder", REFUSED, "/nowhere/rates.csv"),
                ("a folder", REFUSED, "/tmp"),
                ("a word with a null", REFUSED, "a\0b"),
                ("empty", REFUSED, ""),
                ("a list", REFUSED, []),
                optional=True,
            ),
            "scaler": Listed(*NOT_OBJECTS, optional=True),
        },
        result=lambda logger: logger.close(),
        says={"path": ("/nowhere/rates.csv", "/tmp")},
    ),
    "decay.parameter_groups": Recipe(
        lambda rng: (
            linear_report(rng) | {"weight_decay": 0.1, "gamma_decay": 0.01, "bias_decay": 0.0, "optimizer": "sgd"}
        ),
        {
            "model": Module(
                ("without parameters", REFUSED, lambda _: nn.ReLU()), ("another", REFUSED, lambda _: nn.Linear(4, 2))
            ),
            "weight_decay": LEVEL,
            "report": Listed(*REPORT.cases, optional=True),
            "gamma_decay": LEVEL,
            "bias_decay": LEVEL,
            "optimizer": Listed(
                ("unknown", REFUSED, "sdg"),
                ("a number", REFUSED, 3),
                ("a list", REFUSED, []),
                ("a class", REFUSED, int),
                ("torch's", SAME, torch.optim.SGD),
                optional=True,
            ),
        },
        says={"model": ("report",)},
        result=str,
    ),
    "decay.ParameterGroups.effect": Recipe(
        lambda rng: {"self": decay.parameter_groups(net(rng), 0.1), "name": "gamma"},
        {"name": Choice()},
        exempt={"self": "is made by parameter_groups"},
    ),
    "removal.remove_batch_norm": Recipe(
        lambda rng: linear_report(rng) | {"covariances": {"0": np.eye(4)}},
        {
            "model": Module(("another", REFUSED, lambda _: nn.Linear(4, 2))),
            "report": REPORT,
            "covariances": Listed(
                *[case for case in NOT_OBJECTS if case[0] != "a dict"],
                ("of no layer", REFUSED, {"7": np.eye(4)}),
                ("another shape", REFUSED, {"0": np.eye(3)}),
                ("not symmetric", REFUSED, {"0": np.triu(np.ones((4, 4)))}),
                ("NaN", REFUSED, {"0": np.full((4, 4), np.nan)}),
                ("complex", REFUSED, {"0": np.eye(4) * 1j}),
                ("words", REFUSED, {"0": "eye"}),
                ("ragged", REFUSED, {"0": [[1.0], [1.0, 2.0]]}),
                ("None in it", REFUSED, {"0": None}),
                ("a tensor", SAME, {"0": torch.eye(4)}),
                ("lists", SAME, {"0": np.eye(4).tolist()}),
                ("empty", FINITE, {}),
                optional=True,
            ),
        },
        says={"model": ("report",)},
        warns=True,
        result=lambda found: [found[0].state_dict(), found[1]()],
    ),
    "folding.is_torchs_own": Recipe(lambda rng: {"module": nn.Linear(2, 2)}, {"module": Module()}),
    "folding.linked_layers": Recipe(lambda rng: {"report": report_of(net(rng), rng)}, {"report": Listed(*NOT_OBJECTS)}),
    "folding.check_report": Recipe(
        linear_report,
        {"model": Module(("another", REFUSED, lambda _: nn.Linear(4, 2))), "report": REPORT},
        says={"model": ("report",)},
    ),
    "folding.unit_weights": Recipe(
        lambda rng: {"module": nn.Linear(2, 2)}, {"module": Module(("without", REFUSED, lambda _: nn.ReLU()))}
    ),
    "folding.fold_layer": Recipe(
        lambda rng: {"model": net(rng).eval(), "layer": "1", "linear": "0"},
        {
            "model": Module(),
            "layer": Listed(("no layer", REFUSED, "9"), ("a number", REFUSED, 1)),
            "linear": Listed(("no layer", FINITE, "9"), ("a number", FINITE, 1), literal=True),
        },
        changes=("model",),
    ),
    "layers.check_module": Recipe(
        lambda rng: {"model": net(rng)}, {"model": Module()}, exempt={"name": "is only printed"}
    ),
    "layers.layer_channels": Recipe(
        lambda rng: {"model": net(rng)}, {"model": Module(("not built", REFUSED, lambda _: nn.LazyBatchNorm1d()))}
    ),
}
