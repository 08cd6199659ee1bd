"""Time a call, and a matrix product to hold it against."""

import time

import torch


def fastest(call, repeats=5):
    """Seconds of the fastest of some repetitions, after one to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def product_rate(seconds=2.0, size=1024):
    """Floating-point operations a second of float32 matrix products on this thread."""
    a, b, c = (torch.randn(size, size) for _ in range(3))
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        torch.mm(a, b, out=c)
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - started)
