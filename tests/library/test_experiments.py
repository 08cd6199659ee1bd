"""A sweep gives the same bits whoever runs it, loses no finished row, and computes only what is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import loky
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bnlib import experiments
from bnlib.data import load
from bnlib.experiments import Conditions, run_group, sweep
from bnlib.meter import measure
from bnlib.training import Arm, Schedule, batches, evaluate, standardize, train

ARMS = [Arm("batch"), Arm("batch", gamma=1.0), Arm("none", weight_decay=1e-2), Arm("weight"), Arm("layer")]
CONDITIONS = [Conditions(train_size=160, noise_std=std, label_noise=0.1) for std in (0.0, 1.0)]
SCHEDULE = Schedule(hidden=(8,), epochs=2, batch_size=32)
SEEDS = (0, 1)


class Inline(Executor):
    """Runs a call at once, in this process; dies before the call number `dies_at`."""

    def __init__(self, dies_at=None):
        self.calls, self._dies_at = [], dies_at

    def submit(self, function, *arguments):
        future = Future()
        if len(self.calls) == self._dies_at:
            future.set_exception(KeyboardInterrupt())
        else:
            self.calls.append(arguments)
            future.set_result(function(*arguments))
        return future


@pytest.fixture(scope="module")
def frame():
    return sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=Inline())


def assert_same_bits(first, second):
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_several_schedules_make_the_rows_of_a_sweep_each(frame):
    longer = Schedule(hidden=(8,), epochs=3, batch_size=16)
    apart = [frame, sweep(ARMS, CONDITIONS, longer, SEEDS, executor=Inline())]
    together = sweep(ARMS, CONDITIONS, [SCHEDULE, longer], SEEDS, executor=Inline())
    assert_same_bits(together, pd.concat(apart, ignore_index=True))


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_do_not_depend_on_the_number_of_processes(frame, processes):
    with loky.ProcessPoolExecutor(processes) as pool:
        assert_same_bits(sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=pool), frame)


def test_rows_do_not_depend_on_the_machines(frame):
    import distributed

    # workers that are threads of one process would share torch's number of threads
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        assert_same_bits(sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=client.get_executor()), frame)


def test_an_interrupted_sweep_goes_on_where_it_stopped(frame, tmp_path):
    dies_at = int(np.random.default_rng().integers(1, 4))
    with pytest.raises(KeyboardInterrupt):
        sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=Inline(dies_at), store=tmp_path)
    assert len(list(tmp_path.iterdir())) == dies_at * len(ARMS)
    rest = Inline()
    assert_same_bits(sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=rest, store=tmp_path), frame)
    assert len(rest.calls) == 4 - dies_at
    nothing = Inline()
    assert_same_bits(sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=nothing, store=tmp_path), frame)
    assert nothing.calls == []


def test_an_enlarged_sweep_trains_only_the_new_arms(frame, tmp_path):
    sweep(ARMS[:3], CONDITIONS, SCHEDULE, SEEDS, executor=Inline(), store=tmp_path)
    rest = Inline()
    grown = sweep(ARMS, CONDITIONS, SCHEDULE, SEEDS, executor=rest, store=tmp_path)
    assert [arguments[0] for arguments in rest.calls] == [ARMS[3:]] * 4
    pd.testing.assert_frame_equal(grown, frame, rtol=1e-4)  # other arms beside it: float32 rounding


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": Schedule(hidden=(8,), epochs=2, batch_size=32, learning_rate=0.05)},
        {"seeds": (0, 2)},
        {"conditions": [CONDITIONS[0], Conditions(train_size=160, noise_std=1.0, label_noise=0.2)]},
        {"code": "other code"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_kept_row_is_used_for_the_same_configuration_code_and_data_alone(tmp_path, monkeypatch, change):
    sweep(ARMS[:1], CONDITIONS, SCHEDULE, SEEDS, executor=Inline(), store=tmp_path)
    if "code" in change:
        monkeypatch.setattr(experiments, "_code", lambda: change["code"])
    arguments = {"conditions": CONDITIONS, "schedule": SCHEDULE, "seeds": SEEDS} | change
    arguments.pop("code", None)
    rest = Inline()
    sweep(ARMS[:1], executor=rest, store=tmp_path, **arguments)
    assert len(rest.calls) == {"seeds": 2, "conditions": 2}.get(next(iter(change)), 4)


KILLS = int(os.environ.get("BNLIB_KILLS", "2"))
GROUPS = 6 * KILLS  # pairs of two rows each, some ten a second
LONG = (
    [Arm("layer"), Arm("none", weight_decay=1e-2)],
    [Conditions(train_size=160, noise_std=std / 10) for std in range(GROUPS)],
    Schedule(hidden=(8,), epochs=40, batch_size=32),
    SEEDS,
)
SCRIPT = "from bnlib.experiments import sweep; from test_experiments import LONG; sweep(*LONG)"


def test_kill_9_loses_no_finished_row(tmp_path):
    """BNLIB_KILLS sets how often; what is there afterwards is whole, and the sweep ends as if nothing had happened."""
    store, rng, seen = tmp_path / "store", np.random.default_rng(), {}
    command = [sys.executable, "-c", SCRIPT]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"BNLIB_STORE": str(store), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline, before = time.monotonic() + 120, len(seen)
        while len(finished(store)) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        rows = finished(store)
        assert len(rows) > len(seen) or process.returncode == 0, "the sweep did not get on"
        assert {name: rows.get(name) for name in seen} == seen
        seen = rows
    assert 0 < len(seen) < 4 * GROUPS, "killed too late to be in the middle"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = finished(store)
    assert len(rows) == 4 * GROUPS
    assert {name: rows[name] for name in seen} == seen
    sweep(*LONG, executor=Inline(), store=tmp_path / "uninterrupted")
    assert finished(tmp_path / "uninterrupted") == rows


def finished(store):
    """Name and text of every finished row; a file that is not whole fails here."""
    texts = {path.name: path.read_text() for path in store.glob("*.json")}
    assert all({"test_loss", "code"} <= json.loads(text).keys() for text in texts.values())
    return texts


def test_a_row_is_train_evaluate_and_measure(frame):
    digits, inputs = load("mnist-5k"), standardize(load("mnist-5k"))
    condition, seed = CONDITIONS[1], 1
    used, labels = condition.training_rows(digits.train.labels, seed)
    trained = train(ARMS, inputs["train"][used], labels, SCHEDULE, seed, noise_std=1.0)
    rows = frame[(frame.noise_std == 1.0) & (frame.seed == seed)]
    assert list(rows.normalization) == [arm.normalization for arm in ARMS]
    for part in ("validation", "test"):
        found = evaluate(trained, inputs[part], getattr(digits, part).labels, 1.0, seed)
        assert list(zip(rows[f"{part}_accuracy"], rows[f"{part}_loss"])) == found
    found = evaluate(trained, inputs["train"][used], labels, 1.0, seed)
    assert list(zip(rows.train_accuracy, rows.train_loss)) == found
    drawn = batches(inputs["train"][used], labels, 32, 100, [seed, 3], 1.0)
    report = measure(trained[0], drawn, nn.functional.cross_entropy, batches_at_most=500, relative_error=0.05)
    read = report.by_layer().iloc[0]
    for name in ("rate", "l2_rate", "l2_rate_error"):
        assert rows.iloc[0][name] == pytest.approx(read[name], rel=1e-6)  # all networks at once: float32 rounding
    assert report.batches == 500 or read.l2_rate_error <= 0.05 * abs(read.l2_rate)
    assert rows.iloc[0]["gamma_below_0"] == (report.gamma < 0).mean()
    gamma = trained[0][1].weight.detach().double()
    assert rows.iloc[0]["learned_gamma"] == pytest.approx(float(gamma.square().mean().sqrt()), rel=1e-12)
    assert rows.iloc[1]["learned_gamma"] == 1
    assert rows["rate"].notna().tolist() == rows["l2_rate"].notna().tolist() == [True, True, False, False, False]
    weight = trained[2][0].weight.detach().double().numpy()
    signal = np.var(inputs["train"].astype(np.float64) @ weight.T, axis=0)
    shares = signal / (signal + np.square(weight).sum(axis=1))
    assert rows.iloc[2]["signal_share"] == pytest.approx(shares.mean(), rel=1e-9)
    assert (frame[frame.noise_std == 0].signal_share == 1).all()


def test_a_row_holds_what_it_takes_to_repeat_it(frame):
    row = frame.iloc[7]
    hidden = tuple(int(width) for width in row.hidden.split("-"))
    schedule = Schedule(hidden, *(row[name].item() for name in ("epochs", "batch_size", "learning_rate", "momentum")))
    condition = Conditions(
        row.dataset, int(row.train_size), row.label_noise, row.noise_std, row.noisy_side, row.input_scale
    )
    arm = Arm(row.normalization, row.weight_decay, None if np.isnan(row.gamma) else row.gamma)
    (again,) = run_group([arm], condition, int(row.seed), schedule)
    assert again["code"] == row.code
    assert again["test_loss"] == pytest.approx(row.test_loss, rel=1e-4)


def test_scaled_inputs_are_scaled_with_their_noise():
    """BN without eps does not see the scale; so the noise has to be scaled too."""
    arms, schedule = [Arm("batch")], Schedule(hidden=(8,), epochs=60, batch_size=32)  # running statistics take time
    losses = [
        run_group(arms, Conditions(train_size=160, noise_std=1.0, input_scale=scale), 0, schedule)[0]["test_loss"]
        for scale in (1.0, 4.0)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_conditions_draw_rows_and_mistakes_anew_with_every_seed():
    labels = load("mnist-5k").train.labels
    condition = Conditions(train_size=1000, label_noise=0.4)
    rows, given = condition.training_rows(labels, seed=0)
    assert len(np.unique(rows)) == 1000
    assert np.mean(given != labels[rows]) == 0.4
    assert given.min() == 0 and given.max() == 9
    again, same = condition.training_rows(labels, seed=0)
    assert (again == rows).all() and (same == given).all()
    assert (condition.training_rows(labels, seed=1)[0] != rows).any()
    everything, clean = Conditions().training_rows(labels, seed=0)
    assert (everything == np.arange(3000)).all() and (clean == labels).all()
    # one level of mistakes more keeps the rows: conditions stay paired
    assert (Conditions(train_size=1000).training_rows(labels, seed=0)[0] == rows).all()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda: sweep([], CONDITIONS, SCHEDULE, SEEDS), "arms is empty; a sweep needs at least one"),
        (lambda: sweep(ARMS, CONDITIONS, [], SEEDS), "schedule is empty; a sweep needs at least one"),
        (lambda: sweep(ARMS[:1] * 2, CONDITIONS, SCHEDULE, SEEDS), "arms holds one twice"),
        (lambda: Conditions(label_noise=1.5), "label_noise = 1.5 is no share; it must be from 0 to 1"),
        (lambda: Conditions(input_scale=0), "input_scale = 0 is not positive"),
        (lambda: Conditions(noise_std=-1.0), "noise_std = -1 is negative"),
        (lambda: Conditions(noisy_side="right"), "noisy_side = 'right' is unknown"),
        (lambda: Conditions("mnits"), "dataset = 'mnits' is unknown"),
        (lambda: Conditions(train_size=4000).training_rows(np.zeros(3000, int), 0), "it must be from 1 to 3000"),
    ],
)
def test_what_is_wrong_is_named(fault, message):
    with pytest.raises(ValueError, match=message):
        fault()


def test_threads_are_left_as_found():
    before = torch.get_num_threads()
    run_group(ARMS[:1], CONDITIONS[0], 0, SCHEDULE)
    assert torch.get_num_threads() == before
