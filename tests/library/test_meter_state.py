"""The meter leaves everything as it was found, to the bit: `metered.COMPARED` is the list of what is compared."""

import contextlib
import random

import numpy as np
import pytest
import torch
from metered import COMPARED, assert_as_found, batch, cross_entropy, snapshot
from torch import nn

from bnlib.meter import measure
from bnlib.models import network


def mixed():
    """Modes of either kind, gradients, statistics that are not the initial ones, hooks, a frozen parameter."""
    model = network((5, 6, 4, 3), normalize_output=True)
    model.append(nn.Dropout(0.5))
    cross_entropy(model(batch()[0]), batch()[1]).backward()
    model[1].bias.grad = None
    model.eval()
    model[4].train()
    model[0].weight.requires_grad_(False)
    model[2].register_forward_hook(lambda *_: None)
    model[2].register_forward_pre_hook(lambda *_: None)
    model[3].register_full_backward_hook(lambda *_: None)
    model[3].weight.register_hook(lambda gradient: gradient)
    return model


def evaluated():
    return mixed().eval()


def compiled():
    torch._dynamo.reset()
    model = torch.compile(trained(), backend="eager")
    model(batch()[0])
    return model


def trained():
    model = network((5, 6, 4, 3))
    cross_entropy(model(batch()[0]), batch()[1]).backward()
    return model


class WritesWhatItHolds(nn.Module):
    """As momentum contrast and data-dependent initialization: parameters and buffers are written as it runs."""

    def __init__(self):
        super().__init__()
        self.model, self.slow = trained(), network((5, 6, 4, 3))
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("queue", torch.zeros(2))
        self.register_buffer("late", None)

    def forward(self, x):
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.model.parameters()):
                slow.data = 0.9 * slow.data + 0.1 * fast.data
            self.scale.data.fill_(2.0)
        self.queue.add_(1)
        self.late = torch.ones(1)
        self.register_buffer("later", torch.ones(1))
        return self.model(x) * self.scale + self.slow(x).detach()


class StepsInside(nn.Module):
    """A backward pass within the forward pass, which adds to gradients; and a mode of training that freezes."""

    def __init__(self):
        super().__init__()
        self.model = trained()

    def train(self, mode=True):
        self.model[0].weight.requires_grad_(not mode)
        return super().train(mode)

    def forward(self, x):
        self.model(x).sum().backward()
        return self.model(x) + random.random() + np.random.rand() + torch.rand(1)


MODELS = {
    "mixed modes, gradients, hooks": mixed,
    "in evaluation mode": evaluated,
    "compiled": compiled,
    "DataParallel": lambda: nn.DataParallel(mixed()),
    "under autocast": trained,
    "writes parameters and buffers": WritesWhatItHolds,
    "backward pass inside, random numbers": lambda: StepsInside().eval(),
    "under no_grad": trained,
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), nn.BatchNorm1d(4), nn.Linear(4, 3)
    ),
}
AROUND = {"under autocast": lambda: torch.autocast("cpu", torch.bfloat16), "under no_grad": torch.no_grad}


def random_batches(count):
    for _ in range(count):
        yield torch.randn(16, 5), torch.randint(3, (16,))
        random.random()
        np.random.rand()


def raises_half_way():
    calls = []

    def loss(output, labels):
        calls.append(output)
        if len(calls) == 2:
            raise KeyError("half-way")
        return cross_entropy(output, labels)

    return loss


@pytest.mark.parametrize("ends", ["measured", "the loss raises", "a batch of one row", "the batches raise"])
@pytest.mark.parametrize("kind", MODELS)
def test_everything_is_left_as_found(kind, ends):
    model = MODELS[kind]()
    batches = random_batches(3)
    if ends == "a batch of one row":
        batches = [batch(), batch(rows=1)]
    elif ends == "the batches raise":
        batches = (each if position < 2 else {}["half-way"] for position, each in enumerate([batch()] * 3))
    with AROUND.get(kind, contextlib.nullcontext)():
        before = snapshot(model)
        with contextlib.nullcontext() if ends == "measured" else pytest.raises((KeyError, ValueError)):
            report = measure(model, batches, raises_half_way() if ends == "the loss raises" else cross_entropy)
            assert report.batches == 3
        assert_as_found(model, before)


def test_list_of_what_is_compared_is_whole():
    assert len(COMPARED) == len(snapshot(nn.Linear(1, 1))) == 22


def spoil(model):
    """One change for each thing that is compared, where a change can be made and undone."""
    norm, linear = model[1], model[0]
    yield "parameters, byte for byte", lambda: norm.weight.data.add_(1)
    yield "what requires a gradient", lambda: norm.weight.requires_grad_(False)
    yield "parameters, by identity", lambda: setattr(norm, "weight", nn.Parameter(norm.weight.detach().clone()))
    yield "gradients, byte for byte", lambda: linear.weight.grad.add_(1)
    yield "gradients, by identity", lambda: setattr(linear.weight, "grad", linear.weight.grad.clone())
    yield "hooks of parameters", lambda: linear.weight.register_hook(lambda gradient: gradient)
    yield "buffers, byte for byte", lambda: norm.num_batches_tracked.add_(1)
    yield "buffers, by identity", lambda: setattr(norm, "running_var", norm.running_var.clone())
    yield "what the modules hold, in order", lambda: norm.register_buffer("other", None)
    yield "state dict", lambda: norm.register_buffer("another", torch.ones(1))
    yield "modes", norm.eval
    yield "hooks of modules", lambda: norm.register_forward_hook(lambda *_: None)
    yield "random state of torch", lambda: torch.rand(1)
    yield "random state of NumPy", np.random.rand
    yield "random state of Python", random.random


def test_control_each_change_is_noticed():
    model = trained()
    for what, change in spoil(model):
        before = snapshot(model)
        change()
        with pytest.raises(AssertionError, match=f"^{what}"):
            assert_as_found(model, {what: before[what]})


def test_control_global_states_are_noticed():
    model = trained()
    before = snapshot(model)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    with pytest.raises(AssertionError, match="hooks of all modules"):
        assert_as_found(model, before)
    handle.remove()
    assert_as_found(model, before)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(AssertionError, match="autocast"):
        assert_as_found(model, before)
    with torch.no_grad(), pytest.raises(AssertionError, match="gradient mode"):
        assert_as_found(model, before)
    with torch.device("cpu"), pytest.raises(AssertionError, match="modes of functions"):
        assert_as_found(model, before)
    with torch.compiler.set_stance("force_eager"), pytest.raises(AssertionError, match="stance of the compiler"):
        assert_as_found(model, snapshot(model) | {"stance of the compiler": "another"})


def test_gradients_that_wait_can_still_be_computed():
    """What was computed before is not spoiled: no tensor that a graph holds is written."""
    model = trained()
    loss = cross_entropy(model(batch()[0]), batch()[1])
    expected = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    measure(model, [batch(seed=1), batch(seed=2)], cross_entropy)
    again = torch.autograd.grad(loss, list(model.parameters()))
    assert all(torch.equal(first, second) for first, second in zip(expected, again))


def test_measuring_twice_is_the_same_and_works_without_grad():
    model = mixed()
    model[-1].p = 0.0
    batches = [batch()]
    first = measure(model, batches, cross_entropy)
    repeated = [measure(model, batches, cross_entropy)]
    with torch.no_grad():
        repeated.append(measure(model, batches, cross_entropy))
    with torch.inference_mode():
        repeated.append(measure(model, batches, cross_entropy))
    assert np.isfinite(first.rate).sum() == 4
    for again in repeated:
        np.testing.assert_array_equal(again.rate, first.rate)
        np.testing.assert_array_equal(again.l2_rate, first.l2_rate)


def test_inputs_that_require_grad_keep_none():
    inputs, labels = batch()
    inputs.requires_grad_()
    measure(network((5, 4, 3)), [(inputs, labels)], cross_entropy)
    assert inputs.grad is None


def test_dropout_draws_what_it_would_have_drawn():
    """The batches that are measured advance nothing: training goes on with the numbers that were next."""
    model = nn.Sequential(*network((5, 6, 3)), nn.Dropout(0.5))
    torch.manual_seed(3)
    expected = model(batch()[0])
    torch.manual_seed(3)
    measure(model, random_batches(4), cross_entropy)
    assert torch.equal(model(batch()[0]), expected)
