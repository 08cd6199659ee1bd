"""The trainer is deterministic, paired, and step by step what nn.Module and torch.optim.SGD do."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.data import Dataset, Split
from bnlib.models import network
from bnlib.stack import Stack
from bnlib.training import Arm, Schedule, batches, evaluate, standardize, train, train_alone

ARMS = [
    Arm("none"),
    Arm("batch"),
    Arm("none", weight_decay=1e-2),
    Arm("batch", gamma=0.5, weight_decay=1e-2),
    Arm("layer", weight_decay=1e-3),
    Arm("weight"),
    Arm("batch", weight_decay=1e-3),
    Arm("weight", weight_decay=1e-2),
]
SCHEDULE = Schedule(hidden=(7, 5), epochs=2, batch_size=16, learning_rate=0.2, momentum=0.8)


def rows(n=70, d=6, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d), dtype=np.float32)
    return inputs, (inputs[:, 0] + 0.5 * inputs[:, 1] > 0).astype(np.int64) + (inputs[:, 2] > 1)


def difference(first, second):
    """Largest difference of two models, relative to the largest entry of each tensor."""
    assert first.state_dict().keys() == second.state_dict().keys()
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-300))
        for a, b in zip(first.state_dict().values(), second.state_dict().values())
    )


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5), (4, 6, 5)])
def test_every_step_is_that_of_module_and_sgd(hidden):
    """All arms in one stack against one loop each, in float64, after each of 30 steps, running statistics included."""
    widths, generator = (6, *hidden, 3), torch.Generator().manual_seed(0)

    def networks():
        return [network(widths, arm.normalization, gamma=arm.gamma, seed=1, dtype=torch.float64) for arm in ARMS]

    together, apart = networks(), networks()
    stack = Stack(together, [arm.weight_decay for arm in ARMS], momentum=0.8)
    optimizers = [
        torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=1.0, momentum=0.8, weight_decay=arm.weight_decay,
        )
        for arm, model in zip(ARMS, apart)
    ]  # fmt: skip
    for step in range(30):
        learning_rate = 0.2 * (1 - step / 30)
        x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
        target = torch.randint(3, (16,), generator=generator)
        losses = stack.step(x, target, learning_rate)
        for model, optimizer, loss in zip(apart, optimizers, losses):
            optimizer.param_groups[0]["lr"] = learning_rate
            optimizer.zero_grad()
            expected = nn.functional.cross_entropy(model(x), target)
            expected.backward()
            optimizer.step()
            assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        assert max(map(difference, together, apart)) < 1e-11


def test_networks_of_a_kind_may_differ_in_eps_and_in_their_output():
    """Each with its own settings, whoever is beside it."""

    def networks():
        settings = [{}, {"eps": 0.5}, {"normalize_output": True}, {"eps": 0.5, "normalize_output": True}]
        return [
            network((6, 5, 3), kind, seed=1, dtype=torch.float64, **own)
            for own in settings
            for kind in ("batch", "weight", "layer")
        ]

    together, apart = networks(), networks()
    stack = Stack(together, [0.0] * len(together), momentum=0.8)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8) for model in apart]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
        target = torch.randint(3, (16,), generator=generator)
        stack.step(x, target, 0.1)
        for model, optimizer in zip(apart, optimizers):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()
    assert max(map(difference, together, apart)) < 1e-11


def test_control_a_wrong_momentum_or_decay_is_seen():
    for decay, momentum in ((0.0, 0.81), (1e-3, 0.8)):
        models = [network((6, 5, 3), "none", dtype=torch.float64) for _ in range(2)]
        stacks = [Stack(models[:1], [0.0], 0.8), Stack(models[1:], [decay], momentum)]
        x, target = torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 3
        for _ in range(3):
            for stack in stacks:
                stack.step(x, target, 0.1)
        assert difference(*models) > 1e-6


def test_a_stack_says_what_does_not_fit():
    with pytest.raises(ValueError, match="must be alike"):
        Stack([network((6, 5, 3)), network((6, 4, 3))], [0.0, 0.0], 0.9)
    with pytest.raises(ValueError, match="models is empty; .* at least one"):
        Stack([], [], 0.9)
    with pytest.raises(ValueError, match="x has 1 row; batch normalization needs at least 2"):
        Stack([network((6, 5, 3))], [0.0], 0.9).step(torch.randn(1, 6), torch.tensor([0]), 0.1)


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_an_arm_is_the_plain_loop(arm):
    noise_std = np.array([0.0, 0.5, 1.0, 0.0, 0.2, 2.0])
    (model,) = train([arm], *rows(), SCHEDULE, seed=5, noise_std=noise_std, dtype=torch.float64)
    plain = network((6, 7, 5, 3), arm.normalization, gamma=arm.gamma, seed=5, dtype=torch.float64)
    train_alone(plain, *rows(), SCHEDULE, 5, arm.weight_decay, noise_std)
    assert difference(model, plain) < 1e-11
    assert not model.training and not plain.training


def test_the_plain_loop_is_sgd_with_a_falling_rate():
    """Written out once more, with torch's own scheduler and nothing of the library but the draws."""
    inputs, labels = rows()
    model, ours = (network((6, 7, 3), seed=2) for _ in range(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.8, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 8)
    for x, target in batches(inputs, labels, 16, 2, [2, 1], noise_std=0.3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()
        scheduler.step()
    train_alone(ours, inputs, labels, SCHEDULE, 2, weight_decay=1e-3, noise_std=0.3)
    assert difference(ours, model.eval()) < 1e-6


def test_batches_cover_an_epoch_and_share_their_draws():
    inputs, labels = np.arange(70, dtype=np.float32)[:, None] * np.ones(3, np.float32), np.arange(70)
    clean = list(batches(inputs, labels, 16, 2, [3]))
    noisy = list(batches(inputs, labels, 16, 2, [3], noise_std=0.5))
    louder = list(batches(inputs, labels, 16, 2, [3], noise_std=[0.0, 1.0, 1.0]))
    assert len(clean) == 8
    for epoch in (clean[:4], clean[4:]):
        seen = torch.cat([target for _, target in epoch])
        assert len(seen.unique()) == 64
        assert all((x[:, 0] == target).all() for x, target in epoch)
    assert not torch.equal(clean[0][1], clean[4][1])
    for (x, target), (y, same), (z, _) in zip(clean, noisy, louder):
        assert torch.equal(target, same)
        torch.testing.assert_close((z - x)[:, 1:], 2 * (y - x)[:, 1:], rtol=1e-4, atol=2e-5)
        assert torch.equal(z[:, 0], x[:, 0])
    noise = torch.cat([y - x for (x, _), (y, _) in zip(clean, noisy)])
    assert noise.std() == pytest.approx(0.5, rel=0.15)  # 384 numbers: a standard error of 4 %
    assert (inputs[:, 0] == np.arange(70)).all(), "the caller's array was changed"


def test_same_seed_same_bits():
    first, second = (train(ARMS, *rows(), SCHEDULE, seed=3, noise_std=0.7) for _ in range(2))
    assert max(map(difference, first, second)) == 0
    assert difference(train(ARMS[:1], *rows(), SCHEDULE, seed=4)[0], first[0]) > 0.01


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_an_arm_alone_is_the_arm_among_others_to_rounding(arm):
    torch.manual_seed(1234)  # the global state is no part of it
    (alone,) = train([arm], *rows(), SCHEDULE, seed=3)
    assert difference(alone, train(ARMS, *rows(), SCHEDULE, seed=3)[ARMS.index(arm)]) < 1e-4


def test_arms_are_paired():
    """An arm differs from its copy in nothing but rounding; an arm with something else does differ."""
    first, twin, decayed = train([Arm("batch"), Arm("batch"), Arm("batch", weight_decay=0.1)], *rows(), SCHEDULE, 0)
    assert difference(first, twin) < 1e-4
    assert difference(first, decayed) > 0.01


def test_models_can_be_observed_while_they_train():
    seen = []

    def observe(step, models):
        seen.append((step, [model[0].weight.detach().clone() for model in models], models[0].training))

    trained = train([Arm("batch"), Arm("none")], *rows(), SCHEDULE, seed=0, observe=observe)
    assert [step for step, _, _ in seen] == list(range(9))
    assert all(training for _, _, training in seen)
    for start, kind in zip(seen[0][1], ("batch", "none")):
        assert torch.equal(start, network((6, 7, 5, 3), kind, seed=0)[0].weight)
    for end, model in zip(seen[-1][1], trained):
        assert torch.equal(end, model[0].weight)
    assert not torch.equal(seen[3][1][0], seen[4][1][0])


def test_fixed_gamma_stays_and_decay_spares_it():
    model, free = train([Arm(gamma=0.5, weight_decay=0.1), Arm()], *rows(), SCHEDULE, seed=0)
    assert (model[1].weight == 0.5).all()
    assert (free[1].weight != 1).any()
    assert model[1].num_batches_tracked == free[1].num_batches_tracked == 8


def test_training_learns():
    inputs, labels = rows(400)
    models = train([Arm(), Arm("layer")], inputs, labels, Schedule(hidden=(20,), epochs=10, batch_size=20), seed=0)
    for accuracy, loss in evaluate(models, inputs, labels, 0.0, 0):
        assert accuracy > 0.9
        assert loss < 0.25


def test_evaluate_by_hand():
    inputs, labels = rows()
    model = network((6, 5, 3), seed=1)
    clean, noisy = ([evaluate([model], inputs, labels, std, seed=9)[0] for _ in range(2)] for std in (0.0, 0.3))
    logits = model(torch.from_numpy(inputs)).detach().double().numpy()
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(70), labels]).mean()
    assert clean[0] == (
        pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-15),
        pytest.approx(loss, rel=1e-6),
    )
    assert clean[0] == clean[1] and noisy[0] == noisy[1] != clean[0]
    assert evaluate([model], inputs, labels, 0.3, seed=8)[0] != noisy[0]
    assert (inputs == rows()[0]).all(), "the caller's array was changed"


def test_standardize_uses_the_training_split_alone():
    raw = Dataset("tiny", "tiny", "made here", *(Split(*rows(n, seed=n)) for n in (80, 40, 30)))
    parts = standardize(raw)
    assert list(parts) == ["train", "validation", "test"]
    assert abs(parts["train"].mean(dtype=np.float64)) < 1e-7
    assert parts["train"].std(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    mean, std = raw.train.images.mean(dtype=np.float64), raw.train.images.std(dtype=np.float64)
    for part in parts:
        assert parts[part].dtype == np.float32
        np.testing.assert_allclose(parts[part], (getattr(raw, part).images - mean) / std, rtol=1e-5, atol=1e-6)
