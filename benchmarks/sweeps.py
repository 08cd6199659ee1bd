"""Training many networks at once against the loop that everyone writes, and against the machine's matrix products."""

import time

import loky
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import product_rate
from bnlib import data, models, training

LEVELS = (0.0, 1.0, 2.0, 3.0)
ARMS = [training.Arm("batch"), *(training.Arm("none", weight_decay=decay) for decay in (1e-4, 1e-3, 3e-3, 1e-2, 3e-2))]
SCHEDULE = training.Schedule(hidden=(100,), epochs=12, batch_size=128)
CORES = 2
# forward and gradient of the weights in the first layer, those and the gradient of the input in the second
WORK = 2 * 128 * (2 * 784 * 100 + 3 * 100 * 10)


def together(noise_std, seed):
    """Train all arms at one noise level; steps of a network, and seconds without the start of the process."""
    torch.set_num_threads(1)
    digits = data.load("mnist-5k")
    inputs = training.standardize(digits)["train"]
    started = time.perf_counter()
    training.train(ARMS, inputs, digits.train.labels, SCHEDULE, seed, noise_std)
    return SCHEDULE.steps(len(inputs)) * len(ARMS), time.perf_counter() - started


def usual(noise_std, arms, threads):
    """The same with nn.Module, DataLoader and SGD, a network after the other."""
    torch.set_num_threads(threads)
    digits = data.load("mnist-5k")
    inputs = training.standardize(digits)["train"]
    rows = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(digits.train.labels))
    loader = DataLoader(rows, batch_size=SCHEDULE.batch_size, shuffle=True, drop_last=True)
    steps, started = 0, time.perf_counter()
    for arm in arms:
        model = models.network((784, *SCHEDULE.hidden, 10), arm.normalization)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=arm.weight_decay)
        for _ in range(2):
            for x, target in loader:
                if noise_std:
                    x = x + noise_std * torch.randn_like(x)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), target).backward()
                optimizer.step()
                steps += 1
    return steps, time.perf_counter() - started


def in_pool(pool, function, jobs):
    """Steps a second of all processes together: each counts while it computes."""
    done = [future.result() for future in [pool.submit(function, *job) for job in jobs]]
    return CORES * sum(steps for steps, _ in done) / sum(seconds for _, seconds in done)


def measure():
    """The comparisons as in `benchmarks.closed_forms`, times being those of a network-step on both cores."""
    with loky.ProcessPoolExecutor(CORES) as pool:
        list(pool.map(product_rate, [0.1] * CORES))  # both started, torch imported
        products = sum(pool.map(product_rate, [3.0] * CORES))
        ours = in_pool(pool, together, [(std, seed) for seed in range(2) for std in LEVELS])
        processes = in_pool(pool, usual, [(std, ARMS, 1) for std in LEVELS])
    with loky.ProcessPoolExecutor(1) as pool:
        loops = {}
        for threads in (1, 2):
            done = [pool.submit(usual, std, ARMS, threads).result() for std in LEVELS]
            loops[threads] = sum(steps for steps, _ in done) / sum(seconds for _, seconds in done)
    threads = max(loops, key=loops.get)
    name = f"sweep, {len(LEVELS)} noise levels, BN and {len(ARMS) - 1} rates, a network-step"
    rows = [
        (name, 1 / ours, f"usual loop, {threads} thread(s), the better of 1 and 2", 1 / loops[threads], "faster", 4),
        (name, 1 / ours, f"usual loop in {CORES} processes", 1 / processes, "faster", None),
        (name, 1 / ours, "its useful work at the rate of matrix products", WORK / products, "at most", 2),
    ]
    return rows, products
