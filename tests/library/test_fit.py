"""The plain training loop, one unit, half the squared error."""

from itertools import repeat

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.models import NORMALIZATIONS, convolutional, network, unit
from bnlib.training import evaluate, fit, half_squared_error


def data(rows=60, inputs=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64)
    return x, x[:, :1] + 0.3 * torch.randn(rows, 1, generator=generator, dtype=torch.float64)


def test_fit_is_torchs_sgd_step_by_step():
    x, t = data()
    ours, theirs = (unit(4, seed=1) for _ in range(2))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    path = []
    fit(
        ours,
        repeat((x, t), 5),
        half_squared_error,
        lambda step: 0.1 / (step + 1),
        momentum=0.9,
        weight_decay=1e-2,
        observe=lambda step, model: path.append((step, model[0].weight.detach().clone(), model[0].weight.grad)),
    )
    for step in range(5):
        assert path[step][0] == step
        assert torch.equal(path[step][1], theirs[0].weight.detach())
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        half_squared_error(theirs(x), t).backward()
        optimizer.step()
    assert torch.equal(path[5][1], theirs[0].weight.detach()) and len(path) == 6
    assert path[0][2] is None and path[1][2] is not None
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    assert ours.training


def test_fit_learns_what_it_is_told_to():
    x, t = data()
    model = unit(4)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit(model, repeat((x, t), 3), half_squared_error, 0.1, parameters=[model[0].weight])
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"0.weight"}


def test_groups_keep_a_learning_rate_and_a_decay_of_their_own():
    x, t = data()
    ours, theirs = (unit(4, seed=1) for _ in range(2))

    def groups(model, **first):
        weight, *others = model.parameters()
        return [{"params": [weight], **first}, {"params": others, "weight_decay": 0.3}]

    fit(
        ours,
        repeat((x, t), 4),
        half_squared_error,
        lambda step: 0.2 - 0.01 * step,
        0.5,
        parameters=groups(ours, lr=0.7),
    )
    optimizer = torch.optim.SGD(groups(theirs, lr=0.7), lr=0.0, momentum=0.5)
    for step in range(4):
        optimizer.param_groups[1]["lr"] = 0.2 - 0.01 * step
        optimizer.zero_grad()
        half_squared_error(theirs(x), t).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_fit_says_what_is_missing():
    with pytest.raises(ValueError, match="batches is empty"):
        fit(unit(2), [], half_squared_error, 0.1)
    frozen = unit(2).requires_grad_(False)
    with pytest.raises(ValueError, match="has nothing to learn"):
        fit(frozen, [data(inputs=2)], half_squared_error, 0.1)


def test_half_squared_error():
    output, target = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert half_squared_error(output, target).item() == (1 + 4 + 9) / 4  # outputs add, rows average
    assert half_squared_error(output[:, 1], target[:, 1]).item() == (4 + 9) / 4
    assert half_squared_error(output[:, 1:], target[:, 1]).item() == (4 + 9) / 4
    x, t = data()
    assert half_squared_error(x[:, :1], t) == (x[:, :1] - t).square().mean() / 2  # to the last bit
    for wrong in (torch.zeros(2, 3), torch.zeros(2), torch.zeros(1, 2)):
        with pytest.raises(ValueError, match=r"target has shape .*; it must be that of output, \(2, 2\)"):
            half_squared_error(output, wrong)
    with pytest.raises(ValueError, match=r"\(2,\); it must be that of output, \(3, 1\)"):
        half_squared_error(torch.zeros(3, 1), torch.zeros(2))


@pytest.mark.parametrize("gamma", [None, -0.4])
@pytest.mark.parametrize("beta", [None, 0.0, 1.7])
def test_a_unit_is_fixed_where_a_value_is_given(gamma, beta):
    model = unit(3, gamma=gamma, beta=beta, seed=4)
    linear, norm = model
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters()) and linear.bias is None
    assert norm.weight.item() == (1.0 if gamma is None else gamma) and norm.weight.requires_grad == (gamma is None)
    assert norm.bias.item() == (beta or 0.0) and norm.bias.requires_grad == (beta is None)
    assert norm.eps == 1e-30 and model.training
    assert torch.equal(linear.weight, network((3, 1), seed=4, dtype=torch.float64)[0].weight)
    assert unit(3, eps=0.1)[1].eps == 0.1


def test_images_of_another_side():
    model = convolutional((2, 3), side=8)
    assert model(torch.zeros(2, 64)).shape == (2, 10)
    assert model[-1].in_features == 3 * 2**2
    with pytest.raises(ValueError, match=r"give 1 to 3 numbers"):
        convolutional((1,) * 4, side=8)
    with pytest.raises(ValueError, match="side = 1 cannot be halved"):
        convolutional((1,), side=1)


def test_evaluation_together_and_in_chunks_is_evaluation():
    """Networks that begin with a linear layer share one product; what else is there makes no difference but rounding."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((70, 6), dtype=np.float32), rng.integers(3, size=70)
    models = [network((6, width, 3), kind, seed=1) for width, kind in enumerate(NORMALIZATIONS, start=5)]
    torch.manual_seed(2)  # the bare layer is drawn from torch's own generator, where another test may have left it at 0
    models += [nn.Linear(6, 3), network((6, 3))]
    apart = [evaluate([model], inputs, labels, 0.5, 9, 70)[0] for model in models]
    assert len(set(apart)) == len(models)
    for others in ([], [nn.Sequential(nn.Tanh(), nn.Linear(6, 3))]):
        together = evaluate([*models, *others], inputs, labels, 0.5, 9, 16)[: len(models)]
        assert together == [pytest.approx(found, rel=1e-6) for found in apart]
