"""The trainer is deterministic, paired, and the plain loop it looks like."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.data import Dataset, Split
from bnlib.meter import measure
from bnlib.models import network
from bnlib.training import Arm, Schedule, evaluate, standardize, sweep, train

ARMS = [
    Arm("batch"),
    Arm("none", weight_decay=1e-2),
    Arm("batch", noise_std=0.7, gamma=0.5),
    Arm("none", noise_std=0.7),
    Arm("batch", weight_decay=1e-3, noise_std=0.2),
]
SCHEDULE = Schedule(hidden=(7, 5), epochs=2, batch_size=16, learning_rate=0.2, momentum=0.8)


def rows(n=70, d=6, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d), dtype=np.float32)
    return inputs, (inputs[:, 0] + 0.5 * inputs[:, 1] > 0).astype(np.int64) + (inputs[:, 2] > 1)


def assert_equal_models(first, second):
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def plain_loop(arm, inputs, labels, schedule, seed):
    """nn.Module and torch.optim.SGD, one arm, as anyone would write it."""
    rng = np.random.default_rng([seed, 1])
    model = network(
        (inputs.shape[1], *schedule.hidden, labels.max() + 1), arm.normalization, gamma=arm.gamma, seed=seed
    )
    optimizer = torch.optim.SGD(
        filter(lambda parameter: parameter.requires_grad, model.parameters()),
        lr=schedule.learning_rate, momentum=schedule.momentum, weight_decay=arm.weight_decay,
    )  # fmt: skip
    per_epoch = len(inputs) // schedule.batch_size
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (schedule.epochs * per_epoch))
    for _ in range(schedule.epochs):
        order = rng.permutation(len(inputs))
        for batch in range(per_epoch):
            chosen = order[batch * schedule.batch_size : (batch + 1) * schedule.batch_size]
            x = torch.tensor(inputs[chosen])
            x = x + arm.noise_std * torch.tensor(rng.standard_normal(x.shape, dtype=np.float32))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), torch.tensor(labels[chosen]))
            loss.backward()
            optimizer.step()
            scheduler.step()
    return model


def test_same_seed_same_bits():
    first, second = (train(ARMS, *rows(), SCHEDULE, seed=3) for _ in range(2))
    for pair in zip(first, second):
        assert_equal_models(*pair)
    other = train(ARMS[:1], *rows(), SCHEDULE, seed=4)[0]
    assert not torch.equal(other[0].weight, first[0][0].weight)


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_an_arm_alone_is_the_arm_among_others(arm):
    torch.manual_seed(1234)  # the global state is no part of it
    (alone,) = train([arm], *rows(), SCHEDULE, seed=3)
    assert_equal_models(alone, train(ARMS, *rows(), SCHEDULE, seed=3)[ARMS.index(arm)])


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_an_arm_is_the_plain_loop(arm):
    (model,) = train([arm], *rows(), SCHEDULE, seed=5)
    assert_equal_models(model, plain_loop(arm, *rows(), SCHEDULE, seed=5))
    assert not model.training


def test_arms_are_paired():
    """At noise_std = 0 and no decay an arm differs from its copy in nothing; the others do differ."""
    twins = train(
        [Arm("batch"), Arm("batch"), Arm("batch", noise_std=1.0), Arm("batch", weight_decay=0.1)], *rows(), SCHEDULE, 0
    )
    assert_equal_models(twins[0], twins[1])
    assert not torch.equal(twins[0][0].weight, twins[2][0].weight)
    assert not torch.equal(twins[0][0].weight, twins[3][0].weight)


def test_fixed_gamma_stays_and_decay_spares_it():
    model, free = train([Arm(gamma=0.5, weight_decay=0.1), Arm()], *rows(), SCHEDULE, seed=0)
    assert (model[1].weight == 0.5).all()
    assert (free[1].weight != 1).any()


def test_training_learns():
    inputs, labels = rows(400)
    (model,) = train([Arm()], inputs, labels, Schedule(hidden=(20,), epochs=10, batch_size=20), seed=0)
    accuracy, loss = evaluate(model, inputs, labels, 0.0, 0)
    assert accuracy > 0.9
    assert loss < 0.25


def test_evaluate_by_hand():
    inputs, labels = rows()
    model = network((6, 5, 3), seed=1)
    noise = np.random.default_rng([9, 2]).standard_normal(inputs.shape, dtype=np.float32)
    logits = model.eval()(torch.from_numpy(inputs + np.float32(0.3) * noise)).detach().double().numpy()
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(70), labels]).mean()
    model.train()
    accuracy, found = evaluate(model, inputs, labels, 0.3, seed=9)
    assert accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-15)
    assert found == pytest.approx(loss, rel=1e-6)
    assert evaluate(model, inputs, labels, 0.3, seed=9) == (accuracy, found)
    assert evaluate(model, inputs, labels, 0.3, seed=8) != (accuracy, found)


def dataset():
    parts = {
        part: Split(*rows(n, seed=seed))
        for seed, (part, n) in enumerate({"train": 80, "validation": 40, "test": 30}.items())
    }
    return Dataset("tiny", "tiny", "made here", **parts)


def test_standardize_uses_the_training_split_alone():
    parts = standardize(dataset())
    assert list(parts) == ["train", "validation", "test"]
    assert abs(parts["train"].mean(dtype=np.float64)) < 1e-7
    assert parts["train"].std(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    raw = dataset()
    for part in parts:
        assert parts[part].dtype == np.float32
        expected = (getattr(raw, part).images - raw.train.images.mean(dtype=np.float64)) / raw.train.images.std(
            dtype=np.float64
        )
        np.testing.assert_allclose(parts[part], expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def frames():
    arms, schedule = [Arm("batch"), Arm("none", weight_decay=1e-2)], Schedule(hidden=(5,), epochs=2, batch_size=16)
    return [sweep(arms, dataset(), schedule, seeds=(0, 1), noise_stds=(0.0, 0.5), processes=n) for n in (1, 2)]


@pytest.mark.xdist_group("sweep")
def test_sweep_does_not_depend_on_the_number_of_processes(frames):
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.xdist_group("sweep")
def test_sweep_rows(frames):
    frame = frames[0]
    assert len(frame) == 2 * 2 * 2
    assert frame.groupby(["normalization", "noise_std", "seed"]).size().eq(1).all()
    assert {f"{part}_{what}" for part in ("train", "validation", "test") for what in ("accuracy", "loss")} <= {
        *frame.columns
    }
    assert frame["rate"].notna().equals(frame["normalization"] == "batch")
    assert frame["l2_rate"].notna().equals(frame["normalization"] == "batch")


@pytest.mark.xdist_group("sweep")
def test_sweep_row_is_train_evaluate_and_measure(frames):
    inputs, data = standardize(dataset()), dataset()
    arm, schedule = Arm("batch", noise_std=0.5), Schedule(hidden=(5,), epochs=2, batch_size=16)
    (model,) = train([arm], inputs["train"], data.train.labels, schedule, seed=1)
    row = frames[0].query("normalization == 'batch' and noise_std == 0.5 and seed == 1").iloc[0]
    for part in inputs:
        accuracy, loss = evaluate(model, inputs[part], getattr(data, part).labels, 0.5, seed=1)
        assert (row[f"{part}_accuracy"], row[f"{part}_loss"]) == (accuracy, loss)
    rng = np.random.default_rng([1, 3])
    order, batches = rng.permutation(80), []
    for chosen in order.reshape(5, 16):
        noise = rng.standard_normal((16, 6), dtype=np.float32)
        batches.append(
            (
                torch.from_numpy(inputs["train"][chosen] + np.float32(0.5) * noise),
                torch.from_numpy(data.train.labels[chosen]),
            )
        )
    first = measure(model, batches, nn.functional.cross_entropy).by_layer().iloc[0]
    assert (row["rate"], row["l2_rate"]) == (first["rate"], first["l2_rate"])
