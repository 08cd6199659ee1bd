"""Rates of several networks that are read at once are those that the meter reads one by one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.meter import measure
from bnlib.models import network
from bnlib.reading import read
from bnlib.training import Arm, Schedule, batches, train

ARMS = [Arm("batch"), Arm("batch", gamma=0.5), Arm("batch", weight_decay=1e-2), Arm("none")]


def trained(hidden=(12,), dtype=torch.float64, epochs=3, learning_rate=0.1):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((640, 20), dtype=np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64) + (inputs[:, 1] * inputs[:, 2] > 0)
    schedule = Schedule(hidden=hidden, epochs=epochs, batch_size=32, learning_rate=learning_rate)
    models = train(ARMS, inputs, labels, schedule, seed=1, noise_std=0.5, dtype=dtype)
    return models, lambda epochs=10: batches(inputs.astype(float), labels, 32, epochs, [1, 3], 0.5)


def read_by_meter(model, drawn, at_most, relative_error):
    """What `read` is to find: rate, error, L2-equivalent rate, error; gamma; batches."""
    drawn = ((x.to(model[0].weight.dtype), targets) for x, targets in drawn)
    report = measure(model, drawn, nn.functional.cross_entropy, batches_at_most=at_most, relative_error=relative_error)
    first = report.by_layer().iloc[0]
    values = [first.rate, first.rate_error, first.l2_rate, first.l2_rate_error]
    return values, report.gamma[np.equal(report.layer, first.layer)], report.batches


@pytest.mark.parametrize(
    ("hidden", "dtype", "tolerance"),
    [((12,), torch.float32, 1e-6), ((12,), torch.float64, 1e-12), ((12, 8), torch.float64, 1e-12)],
)
@pytest.mark.parametrize(("at_most", "relative_error"), [(200, 1e-9), (200, 0.2), (12, 0.2), (3, 0.2)])
def test_rates_are_those_of_the_meter(hidden, dtype, tolerance, at_most, relative_error):
    models, drawn = trained(hidden, dtype)
    found = read(models[:3], drawn(), at_most, relative_error)
    for model, reading in zip(models, found):
        values, gamma, number = read_by_meter(model, drawn(), at_most, relative_error)
        ours = [reading.rate, reading.rate_error, reading.l2_rate, reading.l2_rate_error]
        # what is rounded is the rate of a batch: as large as the scatter, of which the mean may be a small part
        sizes = np.abs(values) + np.sqrt(number) * np.repeat(values[1::2], 2)
        assert (np.abs(np.subtract(ours, values)) <= tolerance * sizes).all()
        assert (reading.gamma == gamma).all() and reading.batches == number
    if (at_most, relative_error) == (200, 0.2):
        assert len({reading.batches for reading in found}) > 1, "all were sure at once; the test saw nobody leave"


def test_a_unit_without_gamma_or_weight_does_not_count():
    """As in the meter: gamma 0 has no rate, and a unit of weights 0 none in units of weight decay."""
    models, drawn = trained()
    with torch.no_grad():
        models[0][1].weight[3] = 0
        models[1][0].weight[2] = 0
    for model, reading in zip(models, read(models[:2], drawn(), 20, 1e-9)):
        values = read_by_meter(model, drawn(), 20, 1e-9)[0]
        ours = [reading.rate, reading.rate_error, reading.l2_rate, reading.l2_rate_error]
        assert ours == pytest.approx(values, rel=1e-9)


def test_reading_leaves_the_networks_as_they_are():
    models, drawn = trained()
    before = copy.deepcopy(models[:3])
    read(models[:3], drawn(), 12, 0.05)
    for model, old in zip(models, before):
        assert model.training == old.training and model[1].num_batches_tracked == old[1].num_batches_tracked
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), old.state_dict().values()))
        assert all(parameter.grad is None for parameter in model.parameters())
    assert [model[1].weight.requires_grad for model in models[:3]] == [True, False, True]


def test_a_network_that_diverged_has_no_rate_and_does_not_hold_the_others_up():
    models, drawn = trained()
    with torch.no_grad():
        models[0][3].weight[0, 0] = torch.nan
    lost, found = read(models[:2], drawn(), 200, 0.2)
    assert np.isnan([lost.rate, lost.rate_error, lost.l2_rate, lost.l2_rate_error]).all() and lost.batches == 10
    assert found.l2_rate_error <= 0.2 * abs(found.l2_rate)


def test_what_cannot_be_read_is_named():
    models, drawn = trained()
    with pytest.raises(ValueError, match="all must be alike, and at least one given"):
        read(models, drawn(), 10, 0.05)
    with pytest.raises(ValueError, match="models is empty; it must hold torch.nn.Sequential, and at least one"):
        read([], drawn(), 10, 0.05)
    with pytest.raises(ValueError, match="without batch normalization in their first layer"):
        read(models[3:], drawn(), 10, 0.05)
    with pytest.raises(ValueError, match="batches is empty"):
        read(models[:1], [], 10, 0.05)
    with pytest.raises(ValueError, match="all must be alike"):
        read([network((5, 4, 3), eps=eps) for eps in (1e-5, 1e-3)], [], 10, 0.05)
