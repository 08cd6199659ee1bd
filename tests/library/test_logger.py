"""The logger reads what the meter measures on the batch of a step, and changes nothing of the training."""

import contextlib
import copy
import io

import numpy as np
import pandas as pd
import pytest
import torch
from logged import Net, batches, cross_entropy, same_as_measured, train
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnlib
from bnlib.logger import COLUMNS, RateLogger
from bnlib.meter import measure
from bnlib.models import convolutional, network


class Exponential(nn.Module):
    def forward(self, weight):
        return weight.exp()


class Autocast(nn.Module):
    """Float32 outside, bfloat16 inside."""

    def __init__(self):
        super().__init__()
        self.inner = Net().float()

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(x).float()


def parametrized():
    model = Net()
    nn.utils.parametrize.register_parametrization(model.norm, "weight", Exponential())
    nn.utils.parametrizations.weight_norm(model.linear)
    return model


MODELS = {
    "plain": lambda: Net(),
    "convolutional": lambda: convolutional((2, 3)).double(),
    "gamma frozen": lambda: Net(frozen=True),
    "no gamma": lambda: Net(affine=False),
    "autocast": Autocast,
    "parametrized": parametrized,
    "no running statistics": lambda: Net(track_running_stats=False),
    "checkpointed": lambda: Net(checkpointed=True),
    "checkpointed and frozen": lambda: Net(checkpointed=True, frozen=True),
}


@pytest.mark.parametrize("kind", MODELS)
def test_reading_is_what_measure_finds(kind):
    train(MODELS[kind](), inputs=784 if kind == "convolutional" else 5)


@pytest.mark.parametrize("micro_batches", [2, 3])
def test_accumulated_batches_are_measured_together(micro_batches):
    """Of different lengths too, as long as the loss has the weights that the meter has."""
    train(Net(), micro_batches=micro_batches)
    train(Net(), micro_batches=micro_batches, rows=(8, 24, 40))


@pytest.mark.parametrize("every, steps", [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (4, [0, 4]), (9, [0])])
def test_every_counts_steps_of_the_optimizer(every, steps):
    frame = train(Net(), every=every, steps=5, micro_batches=2).to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["step"].tolist() == [step for step in steps for _ in range(2)]
    assert frame["layer"].tolist() == ["norm", "last.1"] * len(steps)


def clip_norm(optimizer, model):
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()


def clip_value(optimizer, model):
    nn.utils.clip_grad_value_(model.parameters(), 1e-3)
    optimizer.step()


@pytest.mark.parametrize("step", [clip_norm, clip_value])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_clipping_does_not_matter(step, micro_batches):
    train(Net(), micro_batches=micro_batches, step=step)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("scale, micro_batches", [(65536.0, 1), (65536.0, 2), (4.0, 1), (3.0, 3)])
def test_scaled_loss_with_its_scaler(fused, clipped, scale, micro_batches):
    model = Net().float()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)  # another scale at each step

    def step(optimizer, model):
        if clipped:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()

    backward = lambda loss: scaler.scale(loss).backward()
    options = {"step": step, "backward": backward, "scaler": scaler, "micro_batches": micro_batches}
    logger = train(model, optimizer, rtol=1e-4, **options)
    assert np.isfinite(logger.to_frame()[["rate", "l2_rate"]]).all(axis=None)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("set_to_none", [False, True])
def test_step_that_the_scaler_skips_is_read_when_it_is_taken(fused, set_to_none, tmp_path):
    model = Net().float()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    huge = [torch.tensor(1e38), torch.tensor(1e38), torch.tensor(1.0), torch.tensor(1.0)]
    with RateLogger(model, every=2, path=tmp_path / "rates.csv", scaler=scaler) as logger:
        for factor, (inputs, labels) in zip(huge, batches(4, dtype=torch.float32)):
            optimizer.zero_grad(set_to_none)
            before = copy.deepcopy(model)
            scaler.scale(factor * cross_entropy(model(inputs), labels)).backward()
            scaler.step(optimizer)
            scaler.update()
            if factor > 1:
                assert logger.to_frame().empty
            elif logger.step == 1:
                same_as_measured(logger, 0, before, [(inputs, labels)], rtol=1e-4)
    assert logger.step == 2
    assert np.isfinite(pd.read_csv(tmp_path / "rates.csv")[["rate", "l2_rate"]]).all(axis=None)


@pytest.mark.parametrize("zeroed", ["before", "between"])
def test_closure_runs_inside_the_step(zeroed):
    """Lightning sets gradients to zero between the forward and the backward pass."""
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    before = []
    with RateLogger(model, every=2) as logger:
        for inputs, labels in batches(3):

            def closure(inputs=inputs, labels=labels):
                if zeroed == "before":
                    optimizer.zero_grad()
                loss = cross_entropy(model(inputs), labels)
                if zeroed == "between":
                    optimizer.zero_grad()
                loss.backward()
                return loss

            before.append(copy.deepcopy(model))
            optimizer.step(closure)
    for step in (0, 2):
        same_as_measured(logger, step, before[step], batches(3)[step : step + 1])


def test_closure_runs_the_last_of_several_batches():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    read, before = batches(2), copy.deepcopy(model)

    def backward(inputs, labels):
        loss = cross_entropy(model(inputs), labels) / 2
        loss.backward()
        return loss

    with RateLogger(model) as logger:
        backward(*read[0])
        optimizer.step(lambda: backward(*read[1]))
    same_as_measured(logger, 0, before, read)


def test_gradients_that_are_set_to_zero_do_not_count():
    """A pass for something else, sharpness-aware minimization: the step uses what came after zero_grad."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (first, second), moved = batches(2), None
    with RateLogger(model) as logger:
        cross_entropy(model(first[0]), first[1]).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * parameter.grad
        optimizer.zero_grad()
        moved = copy.deepcopy(model)
        cross_entropy(model(second[0]), second[1]).backward()
        optimizer.step()
    same_as_measured(logger, 0, moved, [second])


def test_passes_without_a_backward_pass_do_not_count():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (inputs, labels), other = batches(2)
    before = copy.deepcopy(model)
    with RateLogger(model) as logger:
        model(other[0])
        with torch.no_grad():
            model(other[0])
        model.eval()
        model(other[0])
        model.train()
        loss = cross_entropy(model(inputs), labels)
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        (loss / 4).backward(retain_graph=True)
        (loss * 3 / 4).backward()
        optimizer.step()
    same_as_measured(logger, 0, before, [(inputs, labels)])


def test_model_may_be_measured_meanwhile():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (inputs, labels), other = batches(2)
    before = copy.deepcopy(model)
    expected = measure(before, [other], cross_entropy).to_frame()
    with RateLogger(model, every=1) as logger:
        loss = cross_entropy(model(inputs), labels)
        pd.testing.assert_frame_equal(measure(model, [other], cross_entropy).to_frame(), expected, rtol=1e-12)
        loss.backward()
        optimizer.step()
    same_as_measured(logger, 0, before, [(inputs, labels)])


@pytest.mark.parametrize("order", [1, -1])
def test_two_optimizers_of_one_model_take_one_step(order):
    """As where gamma has SGD and the weights have AdamW."""
    model = Net()
    gammas = [model.norm.weight, model.last[1].weight]
    others = [parameter for parameter in model.parameters() if not any(parameter is gamma for gamma in gammas)]
    optimizers = [torch.optim.AdamW(others, 0.01), torch.optim.SGD(gammas, 0.1, weight_decay=0.1)][::order]
    elsewhere = torch.optim.SGD(Net().parameters(), 0.1)

    def step(optimizer, model):
        elsewhere.step()
        for each in optimizers:
            each.step()

    logger = train(model, optimizers[0], step=step, zero=lambda: [each.zero_grad() for each in optimizers])
    assert logger.step == 4


def test_penalty_in_the_loss_is_not_in_the_rate():
    """As `measure` has it: lambda gamma is what the loss behind batch normalization gives."""
    model = Net()
    train(model, backward=lambda loss: (loss + 0.1 * model.norm.weight.square().sum()).backward())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_model_that_is_checkpointed_as_a_whole(use_reentrant):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    before = copy.deepcopy(model)
    with RateLogger(model) as logger:
        output = checkpoint(model, inputs.clone().requires_grad_(), use_reentrant=use_reentrant)
        cross_entropy(output, labels).backward()
        optimizer.step()
    same_as_measured(logger, 0, before, [(inputs, labels)])


# torch's own, where it traces from the middle of a network on
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("part", ["all", "a part"])
def test_compiled_model(part):
    """At the steps between it runs compiled: what was compiled before is used again."""
    model = Net()
    frames = []

    def backend(graph, _):
        frames.append(graph)
        return graph.forward

    if part == "all":
        called = torch.compile(model, backend=backend)
    else:
        model.last, called = torch.compile(model.last, backend=backend), model
    logger = train(called, every=3, steps=5)
    assert logger.to_frame()["step"].unique().tolist() == [0, 3]
    assert 1 <= len(frames) <= 2


@pytest.mark.parametrize("wrapper", [nn.DataParallel, lambda model: nn.Sequential(nn.Identity(), model)])
def test_module_that_training_calls_may_be_a_wrapper_or_inside_one(wrapper):
    inner = Net()
    outer = wrapper(inner)
    train(outer)
    before = copy.deepcopy(inner)
    optimizer = torch.optim.SGD(outer.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    with RateLogger(inner) as logger:
        outer.zero_grad()
        cross_entropy(outer(inputs), labels).backward()
        optimizer.step()
    same_as_measured(logger, 0, before, [(inputs, labels)])


# What it leaves alone


def trained(every, optimizer_class=torch.optim.SGD, **options):
    torch.manual_seed(0)
    model = nn.Sequential(network((5, 8, 8, 3)), nn.Dropout(0.2))
    optimizer = optimizer_class(model.parameters(), **options)
    context = RateLogger(model, every=every) if every else contextlib.nullcontext()
    with context as logger:
        for number, (inputs, labels) in enumerate(batches(12, dtype=torch.float32)):
            (cross_entropy(model(inputs), labels) / 2).backward()
            if number % 2:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad(set_to_none=number % 4 == 1)
    state = [value for entry in optimizer.state.values() for value in entry.values() if isinstance(value, torch.Tensor)]
    return [*model.state_dict().values(), *state, torch.get_rng_state()], model, logger


@pytest.mark.parametrize(
    "optimizer_class, options",
    [(torch.optim.SGD, {"lr": 0.3, "momentum": 0.9, "weight_decay": 1e-3}), (torch.optim.AdamW, {"lr": 0.01})],
)
@pytest.mark.parametrize("every", [1, 2])
def test_training_is_the_same_to_the_bit(every, optimizer_class, options):
    without, _, _ = trained(0, optimizer_class, **options)
    with_logger, model, logger = trained(every, optimizer_class, **options)
    assert len(logger.to_frame()) == 2 * len(range(0, 6, every))
    assert len(without) == len(with_logger)
    assert all(torch.equal(one, other) for one, other in zip(without, with_logger))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_control_a_training_that_differs_is_seen():
    without, _, _ = trained(0, lr=0.3)
    other, _, _ = trained(0, lr=0.3 + 1e-6)
    assert not all(torch.equal(one, another) for one, another in zip(without, other))


def test_copies_and_saved_models_do_not_log(tmp_path):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = batches(1)[0]
    with RateLogger(model, every=1) as logger:
        average = torch.optim.swa_utils.AveragedModel(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for copied in (average, copy.deepcopy(model), torch.load(file, weights_only=False)):
            cross_entropy(copied(inputs), labels).backward()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        average.update_parameters(model)
    assert len(logger.to_frame()) == 2


# The file


def test_file_is_written_at_each_reading_and_continued(tmp_path):
    path = tmp_path / "rates.csv"
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    frames = []
    for resumed in (0, 4):
        with RateLogger(model, every=2, path=str(path)) as logger:
            logger.step = resumed
            for inputs, labels in batches(4):
                optimizer.zero_grad()
                cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                written = pd.read_csv(path)
                pd.testing.assert_frame_equal(written, pd.concat([*frames, logger.to_frame()], ignore_index=True))
        frames.append(logger.to_frame())
    assert path.read_text().count("step,layer,rate,l2_rate\n") == 1
    assert written["step"].unique().tolist() == [0, 2, 4, 6]


def test_other_file_is_refused_and_left(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("epoch,loss\n1,2\n")
    model = Net()
    with pytest.raises(
        ValueError, match=r"path = .*other.csv' begins with 'epoch,loss'; it must begin with 'step,layer,"
    ):
        RateLogger(model, path=path)
    assert path.read_text() == "epoch,loss\n1,2\n"
    assert not model._forward_hooks
    with pytest.raises(FileNotFoundError):
        RateLogger(model, path=tmp_path / "no folder" / "rates.csv")


def test_front_door():
    assert bnlib.RateLogger is RateLogger
