"""Where the gradient that a step uses is not the one that was read the logger stops."""

import copy
import warnings

import numpy as np
import pytest
import torch
from logged import Net, assert_nothing_left, batches, cross_entropy, same_as_measured, train
from torch import nn
from torch.utils.checkpoint import checkpoint

from bnlib import logger as logger_module
from bnlib import passes
from bnlib.logger import RateLogger
from bnlib.models import network


def stopped(message, model=None, optimizer=None, **options):
    model = model or Net()
    with pytest.raises(RuntimeError, match=message):
        train(model, optimizer, **options)
    assert_nothing_left(model)


# A loss that is scaled, and gradients that are divided


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("scale", [65536.0, 4.0, 3.0])
@pytest.mark.parametrize("clipped", [False, True])
def test_scaler_that_is_not_given(fused, scale, clipped):
    model = Net().float()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)

    def step(optimizer, model):
        if clipped:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)

    backward = lambda loss: scaler.scale(loss).backward()
    stopped(
        "a torch.amp.GradScaler scales the loss.*pass it as scaler=", model, optimizer, step=step, backward=backward
    )


@pytest.mark.parametrize("scale", [65536.0, 1024.0, 2.0, 0.5, 1e5])
def test_loss_that_is_scaled_by_hand(scale):
    def step(optimizer, model):
        for parameter in model.parameters():
            parameter.grad /= scale
        optimizer.step()

    stopped(
        "times what the backward pass left.*pass scaler=", step=step, backward=lambda loss: (loss * scale).backward()
    )


@pytest.mark.parametrize("micro_batches", [2, 3])
def test_gradients_that_are_averaged_by_hand(micro_batches):
    def step(optimizer, model):
        for parameter in model.parameters():
            parameter.grad /= micro_batches
        optimizer.step()

    stopped("divide the loss, not the gradients", micro_batches=micro_batches, step=step)


def test_scaler_that_is_given_but_not_used():
    scaler = torch.amp.GradScaler("cpu")
    stopped("scaler has the scale 65536.*the loss was not scaled by it", scaler=scaler)
    other = torch.amp.GradScaler("cpu", init_scale=8.0)
    step = lambda optimizer, model: other.step(optimizer)
    stopped("pass it as scaler=", Net(), scaler=scaler, step=step, backward=lambda loss: other.scale(loss).backward())
    train(Net(), scaler=torch.amp.GradScaler("cpu", enabled=False))


def test_control_unchecked_a_scaled_loss_gives_rates_65536_times_too_large(monkeypatch):
    monkeypatch.setattr(passes, "_refuse_scaled", lambda *_: None)
    monkeypatch.setattr(logger_module, "_is_scaler", lambda frame: False)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu")
    before, (inputs, labels) = copy.deepcopy(model), batches(1)[0]
    with RateLogger(model) as logger:
        scaler.scale(cross_entropy(model(inputs), labels)).backward()
        scaler.step(optimizer)
    with pytest.raises(AssertionError):
        same_as_measured(logger, 0, before, [(inputs, labels)])
    logger._readings = [(step, layer, rate / 65536, l2 / 65536) for step, layer, rate, l2 in logger._readings]
    same_as_measured(logger, 0, before, [(inputs, labels)])


def test_control_other_batches_are_seen():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before, (one, other) = copy.deepcopy(model), batches(2)
    with RateLogger(model) as logger:
        for inputs, labels in (one, other):
            (cross_entropy(model(inputs), labels) / 2).backward()
        optimizer.step()
    same_as_measured(logger, 0, before, [one, other])
    for wrong in ([one], [one, one]):
        with pytest.raises(AssertionError):
            same_as_measured(logger, 0, before, wrong)


def test_control_gradient_at_the_step_is_not_that_of_the_loss():
    """What an optimizer's hook would read without the alias: clipped, and with the penalty."""
    model = Net()
    found = []

    def step(optimizer, model):
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        found.append(-(model.norm.weight.grad / model.norm.weight).mean().item())
        optimizer.step()

    logger = train(model, step=step, every=1)
    rates = logger.to_frame().query("layer == 'norm'")["rate"]
    assert not np.isclose(found, rates, rtol=0.1).any()


# Gradients from elsewhere


def test_gradients_that_are_never_set_to_zero():
    stopped("gradients were there before its first pass", zero=lambda: None)


def test_gradients_from_before_the_logger_was_opened():
    model = Net()
    inputs, labels = batches(1)[0]
    cross_entropy(model(inputs), labels).backward()
    stopped("gradients were there before", model, zero=lambda: None)


def without_root(model, inputs):
    return model.last(model.first(inputs))


def test_pass_that_does_not_run_through_the_model():
    model = Net()
    inputs, labels = batches(1)[0]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(RuntimeError, match=r"no batch normalization in model\(…\)"), RateLogger(model):
        cross_entropy(model(inputs), labels).backward()
        cross_entropy(without_root(model, inputs), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="model was not called"), RateLogger(model):
        cross_entropy(without_root(model, inputs), labels).backward()
        optimizer.step()
    assert_nothing_left(model)


def test_pass_of_replicas():
    """As `torch.nn.DataParallel` makes of a model on several devices, each with batch statistics of its own."""
    model = Net()
    inputs, labels = batches(1)[0]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(RuntimeError, match="model was not called"), RateLogger(model):
        replica = model._replicate_for_data_parallel()
        replica.linear, replica.norm, replica.last = model.linear, model.norm, model.last
        cross_entropy(replica(inputs), labels).backward()
        optimizer.step()


def test_penalty_in_a_backward_pass_of_its_own():
    model = Net()

    def backward(loss):
        loss.backward()
        model.norm.weight.square().sum().backward()

    stopped("a penalty perhaps, to the loss", model, backward=backward)


def test_checkpoint_that_hides_its_gradients():
    model = Net()
    first = model.first
    model.first = lambda x: checkpoint(first, x.requires_grad_(), use_reentrant=True)
    stopped("use_reentrant=False", model)


def test_gradients_without_backward():
    model = Net()

    def backward(loss):
        for parameter, grad in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            parameter.grad = grad

    stopped(r"no backward\(\) added to the gradients", model, backward=backward)


def test_gradients_that_are_gone_at_the_step():
    def step(optimizer, model):
        optimizer.zero_grad()
        optimizer.step()

    stopped("what its backward passes left was gone", step=step)


# Steps


def test_optimizer_that_evaluates_the_loss_several_times():
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters())
    inputs, labels = batches(1)[0]

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="LBFGS evaluates the loss several times"), RateLogger(model):
        optimizer.step(closure)


def test_gamma_that_changes_between_the_passes_of_a_step():
    model = Net()

    def backward(loss):
        loss.backward()
        model.norm.weight.data *= 1.1

    stopped("gamma of 'norm' changed between its passes", model, micro_batches=2, backward=backward)


def test_optimizer_that_steps_inside_the_backward_pass():
    model = Net()
    optimizers = {parameter: torch.optim.SGD([parameter], 0.1) for parameter in model.parameters()}
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda parameter: optimizers[parameter].step())
        for parameter in model.parameters()
    ]
    inputs, labels = batches(1)[0]
    with pytest.raises(RuntimeError, match="steps inside the backward pass"), RateLogger(model):
        cross_entropy(model(inputs), labels).backward()
    for handle in handles:
        handle.remove()
    assert_nothing_left(model)


def test_training_without_an_optimizer(monkeypatch):
    model = Net()
    inputs, labels = batches(1)[0]
    unseen = "no step of an optimizer of torch.optim that holds its parameters"
    with pytest.warns(UserWarning, match=unseen), RateLogger(model):
        cross_entropy(model(inputs), labels).backward()
    monkeypatch.setattr(passes, "PASSES_AT_MOST", 3)
    with pytest.raises(RuntimeError, match="model ran 3 times without a step"), RateLogger(model):
        for _ in range(4):
            model(inputs)
    with warnings.catch_warnings(), RateLogger(model):
        warnings.simplefilter("error")


@pytest.mark.parametrize("how", ["in place before", "in place after", "outside", "with its step"])
def test_model_that_runs_inside_what_is_compiled(how):
    model = Net()
    inputs, labels = batches(1)[0]
    message = "give RateLogger what torch.compile.model. returns"
    if how == "in place before":
        model.compile(backend="eager")
        with pytest.raises(ValueError, match=message):
            RateLogger(model)
        return
    with pytest.raises(RuntimeError, match=message), RateLogger(model):
        if how == "in place after":
            model.compile(backend="eager")
            model(inputs)
        elif how == "outside":
            torch.compile(model, backend="eager")(inputs)
        else:
            torch.compile(lambda: cross_entropy(model(inputs), labels), backend="eager")()
    assert_nothing_left(model)


# Arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"every": 0}, "every = 0 is not right; it must be a whole number above 0"),
        ({"every": 1.5}, "every = 1.5 is not right"),
        ({"scaler": 65536.0}, r"scaler = 65536.0 has no get_scale\(\); it must be the torch.amp.GradScaler"),
        ({"model": "resnet18"}, "model is a str; it must be a torch.nn.Module"),
        ({"model": nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3))}, "model has not built '0'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RateLogger(**{"model": Net()} | arguments)
    assert_nothing_left(Net())


def test_model_without_batch_normalization():
    model = network((5, 4, 3), "none").double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    with pytest.raises(ValueError, match="model has no batch normalization"), RateLogger(model):
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def test_half_precision():
    """As `measure` has it: the small gradients that a rate is made of would be lost."""
    model = Net().float()
    refused = pytest.raises(ValueError, match="model computes 'norm' in float16")
    with refused, RateLogger(model), torch.autocast("cpu", torch.float16):
        model(batches(1, torch.float32)[0][0])
    assert_nothing_left(model)
