"""Layers without a rate are NaN, and whatever happens in a pass, nothing stays behind."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from logged import Net, assert_nothing_left, batches, cross_entropy, train
from torch import nn
from torch.overrides import TorchFunctionMode

from bnlib.logger import RateLogger
from bnlib.meter import measure


class Often(nn.Module):
    """A layer that is used twice, one that is used in every other pass, one that no gradient reaches, one in order."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.twice, self.often, self.cut, self.good = (nn.BatchNorm1d(5) for _ in range(4))
        self.last = nn.Linear(5, 3)
        self.count = 0
        self.double()

    def forward(self, x):
        self.count += 1
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        x = self.often(x) if self.count % 2 else x
        return self.last(self.good(x + self.cut(x).detach()))


def rates(model, micro_batches=1, backward=lambda loss, number: loss.backward()):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with RateLogger(model) as logger:
        for number, (inputs, labels) in enumerate(batches(micro_batches)):
            backward(cross_entropy(model(inputs), labels), number)
        optimizer.step()
    return logger.to_frame().set_index("layer")["rate"]


def test_layers_without_a_rate():
    assert rates(Often()).isna().to_dict() == {"twice": True, "often": False, "cut": True, "good": False}
    assert rates(Often(), 2).isna().to_dict() == {"twice": True, "often": True, "cut": True, "good": False}


@pytest.mark.parametrize("mode", ["a layer", "all layers", "whole model"])
def test_evaluation_mode(mode):
    model = Net()
    for module in {"a layer": [model.norm], "all layers": [model.norm, model.last[1]], "whole model": [model]}[mode]:
        module.eval()
    assert rates(model).isna().tolist() == [True, mode != "a layer"]


def test_gradient_that_is_not_finite():
    model = Net()
    model.last[3].weight.data[:] = torch.inf
    assert rates(model).isna().all()


def test_nothing_that_was_frozen_begins_to_require_gradients():
    """Before the first trainable layer outputs stay free of the graph: user code may read or overwrite them."""
    model = Net(frozen=True)
    model.linear.requires_grad_(False)
    flags = []
    model.norm.register_forward_hook(lambda module, args, output: flags.append(output.requires_grad))
    assert rates(model).isna().tolist() == [True, False]
    assert flags == [False]


def test_checkpointed_layer_without_gamma():
    """Its checkpoint finds as many tensors again as it left: no gamma was put in."""
    assert rates(Net(affine=False, checkpointed=True)).isna().tolist() == [True, False]


class Unusual(nn.Module):
    """A skip that is taken before batch normalization, a shared map, and outputs of several kinds."""

    def __init__(self, pack):
        super().__init__()
        torch.manual_seed(1)
        self.linear, self.skipped, self.shared = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.twice, self.first, self.last = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        self.pack = pack
        self.double()

    def forward(self, x):
        x = torch.tanh(self.first(x))
        z = self.linear(x)
        h = torch.tanh(self.skipped(z)) + z
        return self.pack(self.last(torch.tanh(self.twice(torch.tanh(self.shared(self.twice(h)))))))


@pytest.mark.parametrize(
    "pack, unpack",
    [
        (lambda y: y, lambda out: out),
        (lambda y: {"parts": [y, None]}, lambda out: out["parts"][0]),
        (lambda y: (1, y), lambda out: out[1]),
    ],
)
def test_l2_rate_is_nan_where_that_of_measure_is(pack, unpack):
    model = Unusual(pack)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    before = copy.deepcopy(model)
    with RateLogger(model) as logger:
        cross_entropy(unpack(model(inputs)), labels).backward()
        optimizer.step()
    report = measure(before, [(inputs, labels)], lambda output, labels: cross_entropy(unpack(output), labels))
    assert report.by_layer()["l2_rate"].isna().all()
    np.testing.assert_allclose(logger.to_frame()["rate"], report.by_layer()["rate"], rtol=1e-10)
    assert logger.to_frame()["l2_rate"].isna().all()


# What is left behind


class Failing(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.inner, self.error = Net(), error

    def forward(self, x):
        self.inner(x)
        if self.error is not None:
            raise self.error
        return self.inner.last(self.inner.first(x))


def test_forward_that_raises_leaves_nothing_open():
    model = Failing(RuntimeError("mine"))
    inputs, labels = batches(1)[0]
    with pytest.raises(RuntimeError, match="mine"), RateLogger(model):
        model(inputs)
    assert_nothing_left(model)
    logger = RateLogger(model)
    with pytest.raises(RuntimeError, match="mine"):
        model(inputs)
    assert torch._C._len_torch_function_stack() == 0
    model.error = None
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    logger.close()
    logger.close()
    assert logger.to_frame()["layer"].tolist() == ["inner.norm", "inner.last.1"]
    assert_nothing_left(model)


@pytest.mark.parametrize("closed", [True, False])
def test_interrupted_forward(closed):
    model = Failing(KeyboardInterrupt())
    inputs, _ = batches(1)[0]
    logger = RateLogger(model)
    with pytest.raises(KeyboardInterrupt):
        model(inputs)
    if not closed:
        with pytest.raises(RuntimeError, match="calls itself, or was interrupted"):
            model(inputs)
    logger.close()
    assert_nothing_left(model)


class Counting(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_modes_of_the_user_stay():
    with Counting():
        train(Net())
        assert torch._C._len_torch_function_stack() == 1
    assert torch._C._len_torch_function_stack() == 0


class Marker:
    pass


def test_graph_is_let_go():
    """Of a pass that ends in no backward pass the logger keeps a few numbers a channel."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    alive = []

    def mark(module, args, output):
        marker = Marker()
        output.grad_fn.metadata["marker"] = marker
        alive.append(weakref.ref(marker))

    model.linear.register_forward_hook(mark)
    with RateLogger(model) as logger:
        output = model(inputs)
        gc.collect()
        assert alive[0]() is not None
        del output
        gc.collect()
        assert alive[0]() is None
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    assert len(logger.to_frame()) == 2
