"""What the logger's tests share: a network, a training with a logger, and the meter's numbers to hold it against."""

import copy

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils.checkpoint import checkpoint

from bnlib.logger import RateLogger
from bnlib.meter import measure

cross_entropy = nn.functional.cross_entropy


def batches(number, dtype=torch.float64, inputs=5, rows=(32,)):
    generator = torch.Generator().manual_seed(number)
    lengths = [rows[position % len(rows)] for position in range(number)]
    return [
        (torch.randn(n, inputs, dtype=dtype, generator=generator), torch.randint(3, (n,), generator=generator))
        for n in lengths
    ]


class Net(nn.Module):
    """Two layers with batch normalization in float64; what is said of one is said of the first."""

    def __init__(self, frozen=False, checkpointed=False, **options):
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6, **options)
        self.last = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))
        self.checkpointed = checkpointed
        self.norm.requires_grad_(not frozen)
        self.double()

    def first(self, x):
        return torch.tanh(self.norm(self.linear(x)))

    def forward(self, x):
        return self.last(checkpoint(self.first, x, use_reentrant=False) if self.checkpointed else self.first(x))


def same_as_measured(logger, step, model, read, rtol=1e-10):
    """One number a layer, those of the meter on a copy of the model before the step."""
    frame, layers = logger.to_frame(), measure(model, read, cross_entropy).by_layer()
    frame = frame[frame["step"] == step]
    assert frame["layer"].tolist() == layers["layer"].tolist()
    for column in ("rate", "l2_rate"):
        scale = np.abs(layers[column]).max()  # means over channels cancel
        np.testing.assert_allclose(frame[column], layers[column], rtol=rtol, atol=rtol * scale)
        assert np.isfinite(layers[column]).all()


def train(
    model,
    optimizer=None,
    *,
    every=2,
    steps=4,
    micro_batches=1,
    rows=(32,),
    inputs=5,
    step=lambda optimizer, model: optimizer.step(),
    backward=torch.Tensor.backward,
    zero=None,
    scaler=None,
    rtol=1e-10,
):
    """Train with a logger, each reading compared with the meter; the logger, closed."""
    dtype = next(model.parameters()).dtype
    data = batches(steps * micro_batches, dtype, inputs, rows)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1, 0.9)
    with RateLogger(model, every=every, scaler=scaler) as logger:
        for number in range(steps):
            (zero or optimizer.zero_grad)()
            before = copy.deepcopy(model)
            read = data[number * micro_batches : (number + 1) * micro_batches]
            total = sum(len(labels) for _, labels in read)
            for x, labels in read:
                backward(cross_entropy(model(x), labels) * (len(labels) / total))
            step(optimizer, model)
            if number % every == 0:
                same_as_measured(logger, number, before, read, rtol)
    return logger


def assert_nothing_left(model):
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any(parameter._backward_hooks for parameter in model.parameters())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    assert not _global_optimizer_pre_hooks
    assert not _global_optimizer_post_hooks
    assert not nn.modules.module._global_forward_hooks
    assert torch._C._len_torch_function_stack() == 0
