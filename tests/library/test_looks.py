"""A look at the networks of a sweep joins the rows, and a row is kept for one look alone."""

import functools
import json
import os
import subprocess
import sys
from concurrent.futures import Executor, Future

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bnlib import meter, runs, training
from bnlib.experiments import Conditions, Run, run_group, sweep
from bnlib.models import convolutional
from bnlib.training import Arm, Schedule

ARMS = [Arm("batch"), Arm("none", weight_decay=1e-2)]
CONDITIONS = [Conditions(train_size=96, noise_std=1.0, input_scale=2.0)]
SCHEDULE = Schedule(hidden=(6,), epochs=2, batch_size=32)  # 6 steps
CONVOLUTIONAL = Schedule(channels=(2, 3), epochs=2, batch_size=32)


class Inline(Executor):
    """Runs a call at once, in this process, and counts."""

    def __init__(self):
        self.calls = 0

    def submit(self, function, *arguments):
        self.calls += 1
        future = Future()
        future.set_result(function(*arguments))
        return future


def swept(look=None, arms=ARMS, schedule=SCHEDULE, **given):
    given = {"executor": Inline()} | given
    return sweep(arms, CONDITIONS, schedule, (1,), look=look, **given)


def norm(run, power=2):
    """The length of the first layer's weights."""
    return {"norm": run.model[0].weight.detach().double().norm() ** power, "rows": np.arange(2), "seen": run.step}


@pytest.fixture(scope="module")
def plain_rows():
    return swept()


def test_a_look_adds_columns_and_changes_none(plain_rows):
    rows = swept(norm)
    pd.testing.assert_frame_equal(rows[plain_rows.columns], plain_rows, check_exact=True)
    assert list(rows.columns[len(plain_rows.columns) :]) == ["norm", "rows", "seen"]
    assert rows.rows.tolist() == [[0, 1], [0, 1]] and rows.seen.tolist() == [6, 6]


def everything(run):
    """What a run says of itself, checked against how it was trained."""
    assert isinstance(run, Run) and run.arm in ARMS and run.conditions == CONDITIONS[0] and run.seed == 1
    assert run.schedule == SCHEDULE and run.noise_std == 2.0
    assert run.inputs.shape == (96, 784) and run.inputs.dtype == np.float32 and run.labels.shape == (96,)
    assert {part: len(labels) for part, (_, labels) in run.held_out.items()} == {"validation": 1000, "test": 1000}
    first, second = (list(run.batches(7)) for _ in range(2))
    assert len(first) == 7 and first[0][0].shape == (32, 784)
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(first, second))
    assert not torch.equal(first[0][0], next(run.batches(1, stream=5))[0])
    (x, _) = next(run.batches(1, batch_size=90))
    assert len(x) == 90
    return {"mode": run.model.training, "drawn": torch.rand(1).item(), "pixels": float(run.cov.trace() / 784)}


def test_a_run_is_what_the_network_was_trained_on():
    rows = swept(everything, look_steps=[0, 3, 6])
    assert rows["mode"].tolist() == [[True, True, False]] * 2  # evaluation mode once trained
    assert rows.look_steps.tolist() == [[0, 3, 6]] * 2
    assert len({value for values in rows.drawn for value in values}) == 1, "torch's own generator is seeded"
    inputs = training.standardize(runs.data.load("mnist-5k"))["train"]
    assert rows.pixels[0][0] == pytest.approx(4 * np.var(inputs, axis=0).mean(), rel=1e-5)


def test_looks_in_training_are_those_of_the_networks_then(plain_rows):
    rows = swept(norm, look_steps=[6, 0, 2, 2])
    pd.testing.assert_frame_equal(rows[plain_rows.columns], plain_rows, check_exact=True)
    prepared = runs._prepared("mnist-5k", None)
    used, labels = CONDITIONS[0].training_rows(prepared.labels["train"], 1)
    expected = {}

    def observe(step, models):
        expected[step] = [model[0].weight.detach().double().norm().item() ** 2 for model in models]

    training.train(ARMS, prepared.inputs["train"][used] * np.float32(2), labels, SCHEDULE, 1, 2.0, observe)
    for place, found in enumerate(rows.norm):
        assert found == pytest.approx([expected[step][place] for step in (0, 2, 6)], rel=1e-5)
    assert rows.seen.tolist() == [[0, 2, 6]] * 2


@pytest.mark.parametrize(("count", "steps"), [(2, [0, 6]), (3, [0, 2, 6]), (100, [0, 1, 2, 3, 4, 5, 6])])
def test_a_number_of_looks_is_spread_over_the_logarithm_of_the_step(count, steps):
    assert swept(norm, look_steps=count).look_steps.tolist() == [steps] * 2
    assert swept(norm, arms=ARMS[:1], look_steps=np.int64(count)).look_steps.tolist() == [steps]


def meddle(run):
    run.model(torch.zeros(4, 784) + run.step)  # in training mode: the running statistics move
    run.model[0].weight.data.zero_()
    run.model.train()
    return {}


def test_a_look_cannot_change_the_network(plain_rows):
    rows = swept(meddle, look_steps=5)
    pd.testing.assert_frame_equal(rows[plain_rows.columns], plain_rows, check_exact=True)


def other(run, power=2):
    return norm(run, power)


def test_a_row_is_kept_for_one_look_alone(tmp_path):
    def computed(*arguments, **given):
        executor = Inline()
        rows = swept(*arguments, executor=executor, store=tmp_path, **given)
        return rows, executor.calls

    first, calls = computed(norm)
    assert calls == 1
    again, calls = computed(norm)
    assert calls == 0
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    for look in (None, other, functools.partial(norm, power=3), functools.partial(norm, power=2)):
        assert computed(look)[1] == 1
        assert computed(look)[1] == 0
    for steps in (3, [0, 6], [0, 5]):
        assert computed(norm, look_steps=steps)[1] == 1
        assert computed(norm, look_steps=tuple(steps) if isinstance(steps, list) else steps)[1] == 0
    assert all(json.loads(path.read_text())["code"] for path in tmp_path.glob("*.json"))


SCRIPT = """
import functools, sys
import numpy as np
from bnlib import meter
from bnlib.experiments import Conditions, sweep
from bnlib.training import Arm, Schedule

size = 3.0

def inner(run):
    return np.float64(run.step)

def look(run, scale):
    import os
    report = meter.measure(run.model, run.batches(2), lambda x, t: x.square().mean())
    return {"step": inner(run) * scale, "process": os.getpid(), "units": len(report.gamma)}

def careless(run):
    return {"size": size}

conditions = [Conditions(train_size=96, noise_std=std) for std in (0.0, 1.0, 2.0, 3.0)]
arguments = [Arm("batch")], conditions, Schedule(hidden=(6,), epochs=10, batch_size=32), (0, 1)
try:
    sweep(*arguments, look=careless)
except ValueError as error:
    print(error, file=sys.stderr)
import loky
with loky.ProcessPoolExecutor(2) as pool:
    rows = sweep(*arguments, look=functools.partial(look, scale=np.float32(2)), executor=pool)
import os
assert os.getpid() not in set(rows.process)
print(rows.step.tolist(), rows.units.tolist())
"""


def test_a_look_of_a_notebook_travels_to_other_processes(tmp_path):
    environment = os.environ | {"BNLIB_STORE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second time from the store
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "careless reads the global 'size' (float)" in done.stderr
        assert done.stdout == f"{[60.0] * 8} {[6] * 8}\n"
        assert len(list(tmp_path.glob("*.json"))) == 8


@pytest.mark.parametrize(
    ("look", "given", "message"),
    [
        (lambda run: {"seed": 1}, {}, "look gives seed, which the row has already"),
        (lambda run: {"model": run.model}, {}, "'model' of look is of the type Sequential; it must be a number"),
        (lambda run: [1], {}, "look gave list; it must give a dict"),
        (lambda run: {f"at {run.step}": 1}, {"look_steps": 3}, "look gave other names at another step"),
        (norm, {"look_steps": [0, 7]}, r"look_steps = \[0, 7\]; there must be at least one, each from 0 to 6"),
        (norm, {"look_steps": []}, "there must be at least one"),
        (norm, {"look_steps": 1}, "look_steps = 1; give at least 2"),
        (None, {"look_steps": 3}, "look_steps = 3 without look"),
    ],
)
def test_what_is_wrong_with_a_look_is_named(look, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        swept(look, **given)


# Convolutions


def conv_look(run):
    rates = meter.measure(run.model, run.batches(2), nn.functional.cross_entropy).by_layer()
    return {"layers": rates.layer.tolist(), "first": run.model[1].weight.detach().flatten()[:3]}


@pytest.fixture(scope="module")
def convolutions():
    return swept(conv_look, [Arm("batch"), Arm("batch", weight_decay=1e-2)], CONVOLUTIONAL, look_steps=3)


def test_a_convolutional_network_is_trained_alone(convolutions):
    prepared = runs._prepared("mnist-5k", None)
    used, labels = CONDITIONS[0].training_rows(prepared.labels["train"], 1)
    inputs = prepared.inputs["train"][used] * np.float32(2)
    for place, decay in enumerate((0.0, 1e-2)):
        model = convolutional((2, 3), seed=1)
        training.train_alone(model, inputs, labels, CONVOLUTIONAL, 1, decay, 2.0)
        row = convolutions.iloc[place]
        assert row["first"][-1] == model[1].weight.detach().flatten()[:3].tolist()
        ((accuracy, loss),) = training.evaluate(
            [model], prepared.inputs["test"] * np.float32(2), prepared.labels["test"], 2.0, 1
        )
        assert row.test_loss == pytest.approx(loss, rel=1e-5) and row.test_accuracy == pytest.approx(accuracy, abs=1e-9)
    assert convolutions.channels.tolist() == ["2-3"] * 2 and convolutions.hidden.tolist() == [""] * 2
    assert convolutions.layers.tolist() == [[["2", "6"]] * 3] * 2
    assert convolutions.signal_share.isna().all() and convolutions.rate.notna().all()
    assert convolutions["first"][0][0] != convolutions["first"][0][-1]


def test_without_normalization_there_is_no_rate():
    (row,) = run_group([Arm("none")], CONDITIONS[0], 1, CONVOLUTIONAL)
    assert np.isnan(row["rate"]) and row["channels"] == "2-3"


@pytest.mark.parametrize("arm", [Arm("layer"), Arm("weight"), Arm("batch", gamma=1.0)])
def test_arms_that_do_not_go_with_channels_are_refused(arm):
    with pytest.raises(ValueError, match="does not go with channels"):
        swept(None, [arm], CONVOLUTIONAL)


def test_train_sends_convolutions_elsewhere():
    with pytest.raises(ValueError, match=r"channels = \(2, 3\); a convolutional network is for train_alone"):
        training.train(ARMS, np.zeros((64, 784)), np.arange(64) % 2, CONVOLUTIONAL, 0)
