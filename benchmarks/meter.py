"""`measure` and `RateLogger` against the passes that they are made of: ResNet-18 on images of 28 by 28, one thread.

Arms take turns and medians are taken, so that what else the machine does falls on both. Times are those of the
processor, memory is the most that a fresh process held at once above what it held when model and batches were there.
"""

import statistics
import sys
import time
from pathlib import Path

import loky
import torch
from torch import nn

from bnlib import data
from bnlib.logger import RateLogger
from bnlib.meter import measure as measured

ROWS = 128
BATCHES = 3  # that `measure` gets at a time
EVERY = 10  # steps between readings, and of a turn
TURNS = 7
cross_entropy = nn.functional.cross_entropy


def prepared(number):
    """The network with a first layer for one channel, and batches."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = data.import_torchvision().models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model, [(torch.randn(ROWS, 1, 28, 28), torch.randint(10, (ROWS,))) for _ in range(number)]


def plain(model, batches):
    for inputs, targets in batches:
        model.zero_grad()
        cross_entropy(model(inputs), targets).backward()


def meter(model, batches):
    measured(model, batches, cross_entropy)


def training(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    for inputs, targets in batches:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def logged(model, batches, every=EVERY):
    with RateLogger(model, every=every):
        training(model, batches)


def logged_always(model, batches):
    logged(model, batches, every=1)


def medians(number, *arms):
    """Seconds of each arm on `number` batches, the median over turns, after one to warm up."""
    model, batches = prepared(number)
    seconds = {arm: [] for arm in arms}
    for turn in range(TURNS + 1):
        for arm in arms if turn % 2 else arms[::-1]:
            started = time.process_time()
            arm(model, batches)
            if turn:
                seconds[arm].append(time.process_time() - started)
    return [statistics.median(seconds[arm]) for arm in arms]


def held():
    """Bytes that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # what `resource` says there counts the parent too
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory(arm):
    model, batches = prepared(BATCHES)
    before = held()
    arm(model, batches)
    return held() - before


def alone(function, *arguments):
    with loky.ProcessPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def measure():
    """The comparisons of times as in `benchmarks.closed_forms`, a batch each, and those of memory in bytes."""
    meter_time, plain_time = alone(medians, BATCHES, meter, plain)
    logged_time, training_time = alone(medians, EVERY, logged, training)
    held_by = {arm: alone(memory, arm) for arm in (meter, plain, logged_always, training)}
    passes = "plain forward and backward passes"
    logger, without = f"training with RateLogger at every {EVERY}th step, a step", "training without"
    always = "training with RateLogger at every step, memory"
    times = [
        ("measure, ResNet-18, a batch", meter_time / BATCHES, passes, plain_time / BATCHES, "at most", 1.15),
        (logger, logged_time / EVERY, without, training_time / EVERY, "at most", 1.05),
    ]
    return times, [
        ("measure, memory", held_by[meter], passes, held_by[plain], "at most", None),
        (always, held_by[logged_always], without, held_by[training], "at most", None),
    ]
