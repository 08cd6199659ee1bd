"""The main sweep of the book: its training against the loop that everyone writes and against the machine's matrix
products, and all of it against its training.

Times are those of the processor, on one thread, and what is compared takes turns: what else the machine does falls on
both. Where MNIST is not there, its 5,000 embedded digits stand in for it, over and over.
"""

import functools
import os
import time
from concurrent.futures import Executor, Future

import loky
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnlib import data, experiments, models, reading, runs, training
from companion.studies.comparison import arms

LEVELS = (0.0, 0.5, 1.0, 2.0, 3.0)
SEEDS = (0, 1, 2)
SCHEDULE = training.Schedule(hidden=(100,), epochs=2)
CORES = 2
BATCH, INPUTS, UNITS, CLASSES = SCHEDULE.batch_size, data.SIDE**2, *SCHEDULE.hidden, 10
STEPS, USUAL_STEPS = 200, 20  # that are timed at a level in a turn
TURNS = 2


def dataset():
    """The digits of the sweep: all of MNIST where it is."""
    try:
        data.load("mnist")
    except FileNotFoundError:
        return "mnist-5k"
    return "mnist"


@functools.cache
def digits(rows):
    loaded = data.load(dataset())
    repeats = -(-rows // len(loaded.train.labels))
    inputs = np.tile(training.standardize(loaded)["train"], (repeats, 1))[:rows]
    return inputs, np.tile(loaded.train.labels, repeats)[:rows]


def together(noise_std):
    """All arms as the library trains them."""
    training.train(arms(), *digits(STEPS * BATCH), training.Schedule(SCHEDULE.hidden, epochs=1), 0, noise_std)


def drawn(noise_std):
    """The batches of `together`, and nothing done with them."""
    for _ in training.batches(*map(torch.from_numpy, digits(STEPS * BATCH)), BATCH, 1, [0, 1], noise_std):
        pass


def products(_):
    """The matrix products of `together`, and nothing else: of both layers, forward, and backward but for the inputs."""
    number = len(arms())
    w, x, z = torch.randn(number * UNITS, INPUTS), torch.randn(BATCH, INPUTS), torch.randn(number * UNITS, BATCH)
    v, a, y = torch.randn(number, CLASSES, UNITS), z.view(number, UNITS, BATCH), torch.randn(number, CLASSES, BATCH)
    for _ in range(STEPS):
        torch.matmul(w, x.t())
        torch.matmul(z, x)
        torch.matmul(v, a)
        torch.matmul(v.transpose(1, 2), y)
        torch.matmul(y, a.transpose(1, 2))


def usual(noise_std):
    """The usual loop: nn.Module, DataLoader and SGD, a network after the other."""
    rows = TensorDataset(*map(torch.from_numpy, digits(USUAL_STEPS * BATCH)))
    loader = DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True)
    for arm in arms():
        model = models.network((INPUTS, UNITS, CLASSES), arm.normalization, gamma=arm.gamma)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learned, 0.1, 0.9, weight_decay=arm.weight_decay)
        for x, target in loader:
            if noise_std:
                x = x + noise_std * torch.randn_like(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()


def lean(noise_std):
    """The same without DataLoader: batches are rows of one tensor."""
    for arm in arms():
        model = models.network((INPUTS, UNITS, CLASSES), arm.normalization, gamma=arm.gamma)
        schedule = training.Schedule(SCHEDULE.hidden, epochs=1)
        training.train_alone(model, *digits(USUAL_STEPS * BATCH), schedule, 0, arm.weight_decay, noise_std)


def in_turns(*calls):
    """Seconds of each call for all levels, of the fastest of some turns at each level, on one thread."""
    torch.set_num_threads(1)
    seconds = dict.fromkeys(calls, 0.0)
    for noise_std in LEVELS:
        turns = {call: [] for call in calls}
        for _ in range(TURNS):
            for call in calls:
                started = time.process_time()
                call(noise_std)
                turns[call].append(time.process_time() - started)
        for call in calls:
            seconds[call] += min(turns[call])
    return seconds


SPENT = {}  # seconds of this process in each of the functions below
PARTS = ((training, "train"), (training, "evaluate"), (reading, "read"), (runs, "_prepared"))


def group(function, *arguments):
    """A group of the sweep, and what its process has spent since it was started: in all, and by part."""

    def timed(module, name):
        call = getattr(module, name)

        def run(*given, **named):
            started = time.process_time()
            found = call(*given, **named)
            SPENT[name] += time.process_time() - started
            return found

        setattr(module, name, run)

    if not SPENT:
        for module, name in PARTS:
            SPENT[name] = 0.0
            timed(module, name)
    rows = function(*arguments)
    return rows, os.getpid(), {"all": time.process_time()} | SPENT


class Timed(Executor):
    """Runs the groups of a sweep in fresh processes, and keeps what each process has spent."""

    def __init__(self, pool):
        self._pool, self._spent = pool, {}

    def submit(self, function, *arguments):
        rows = Future()

        def keep(done):
            if done.exception() is not None:
                rows.set_exception(done.exception())
                return
            found, process, spent = done.result()
            if process not in self._spent or spent["all"] > self._spent[process]["all"]:
                self._spent[process] = spent
            rows.set_result(found)

        self._pool.submit(group, function, *arguments).add_done_callback(keep)
        return rows

    def spent(self):
        parts = ["all", *(name for _, name in PARTS)]
        return {part: sum(spent[part] for spent in self._spent.values()) for part in parts}


def sweep():
    """Seconds of the whole sweep, start of its processes included, and of its parts."""
    conditions = [experiments.Conditions(dataset(), noise_std=noise_std) for noise_std in LEVELS]
    with loky.ProcessPoolExecutor(CORES) as pool:
        timed = Timed(pool)
        started = time.process_time()
        experiments.sweep(arms(), conditions, SCHEDULE, SEEDS, executor=timed)
        return timed.spent() | {"sweep": time.process_time() - started}


def measure():
    """The comparisons of a step of all arms, of the sweep, the rate of products, and what limits each."""
    number = len(arms())
    spent = in_turns(together, drawn, products, usual, lean)
    counts = {usual: USUAL_STEPS, lean: USUAL_STEPS}
    step = {call: spent[call] / len(LEVELS) / counts.get(call, STEPS) for call in spent}
    whole = sweep()
    total, trained = whole["all"] + whole["sweep"], whole["train"]
    work = 2 * BATCH * number * UNITS * (2 * INPUTS + 3 * CLASSES)  # floating-point operations of the products
    name = f"a step of {number} networks, mean over {len(LEVELS)} noise levels"
    steps_of = [
        (name, step[together], "the usual loop, a network at a time", step[usual], "faster", 5),
        (name, step[together], "that loop without DataLoader", step[lean], "faster", None),
        (name, step[together], "its matrix products by torch.matmul", step[products], "share", 0.65),
    ]
    sweeps = [
        (
            f"the main sweep, {len(LEVELS) * len(SEEDS)} groups of {number} networks on {dataset()}",
            total, "its training alone", trained, "at most", 1.3,
        )
    ]  # fmt: skip
    others = step[together] - step[products] - step[drawn]
    rest = total - sum(whole[part] for _, part in PARTS)
    limits_step = (
        f"what limits a step of {1e3 * step[together]:.2f} ms: products {1e3 * step[products]:.2f}, batches and noise "
        f"{1e3 * step[drawn]:.2f}, and {1e3 * others:.2f} for normalization, loss and their gradients, and for weights "
        "and velocities, which are larger than a core's cache and pass through it at every step"
    )
    limits_sweep = (
        f"what limits the sweep of {total:.0f} s: training {trained:.0f}, evaluation {whole['evaluate']:.1f}, readings "
        f"of the rate {whole['read']:.1f}, data in {CORES} processes {whole['_prepared']:.1f}, their start and the rest "
        f"{rest:.1f}"
    )
    return steps_of, sweeps, work / step[products], [limits_step, limits_sweep]
