"""Standard errors of the meter: they hold what they promise on real digits, and tell it when to stop."""

import functools

import numpy as np
import pytest
import torch
from instances import same
from metered import batch, by_channel, cross_entropy
from scipy import stats
from torch import nn

from bnlib import data
from bnlib.meter import BATCHES_AT_LEAST, GAMMA_0, NOT_ALWAYS_RUN, NOT_RUN, measure
from bnlib.models import network
from bnlib.report import WeightedMean

REPETITIONS, BATCHES, ROWS = 200, 8, 32


@functools.cache
def digits():
    """Real ones, of 7 by 7 pixels."""
    train = data.load("mnist-5k").train
    images = torch.from_numpy(train.images).reshape(-1, 1, data.SIDE, data.SIDE)
    return nn.functional.avg_pool2d(images, 4).flatten(1), torch.from_numpy(train.labels)


def draw(generator, rows=ROWS):
    images, labels = digits()
    chosen = torch.randint(len(images), (rows,), generator=generator)
    return images[chosen], labels[chosen]


@functools.cache
def repetitions():
    """By layer, what that many independent measurements of one network say; trained a little, so that rates differ."""
    generator = torch.Generator().manual_seed(0)
    model = network((49, 8, 8, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(100):
        inputs, labels = draw(generator)
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    reports = [measure(model, [draw(generator) for _ in range(BATCHES)], cross_entropy) for _ in range(REPETITIONS)]
    return reports, [report.by_layer() for report in reports]


def coverage(values, errors, times):
    """How often an interval of that many errors holds the mean of all other repetitions, which is the long run."""
    others = (values.sum(axis=0) - values) / (len(values) - 1)
    return (np.abs(values - others) <= times * errors).mean(axis=0)


QUANTILE = stats.t.ppf(0.975, BATCHES - 1)


@pytest.mark.parametrize("column", ["rate", "l2_rate"])
def test_interval_of_each_layer_holds_the_long_run_rate(column):
    _, layers = repetitions()
    values, errors = (np.array([table[name] for table in layers]) for name in (column, f"{column}_error"))
    held = coverage(values, errors, QUANTILE)
    assert ((held >= 0.90) & (held <= 0.99)).all(), held
    ratio = np.sqrt((errors**2).mean(axis=0)) / values.std(axis=0, ddof=1)
    assert ((ratio > 0.85) & (ratio < 1.15)).all(), ratio


@pytest.mark.parametrize("column", ["rate", "l2_rate"])
def test_interval_of_the_channels_holds_the_long_run_rate(column):
    reports, _ = repetitions()
    values, errors = (np.array([getattr(report, name) for report in reports]) for name in (column, f"{column}_error"))
    held = coverage(values, errors, QUANTILE)
    assert 0.93 <= held.mean() <= 0.97, held
    assert ((held >= 0.85) & (held <= 1.0)).all(), held


def test_control_other_errors_miss_the_long_run_rate():
    """Half of the error, a deviation in place of an error of the mean, channels taken for independent."""
    reports, layers = repetitions()
    values, errors = (np.array([table[name] for table in layers]) for name in ("rate", "rate_error"))
    assert (coverage(values, errors / 2, QUANTILE) < 0.90).all()
    assert (coverage(values, errors * np.sqrt(BATCHES), QUANTILE) > 0.99).all()
    independent = np.array([[independent_channels(report, name) for name in ("1", "4")] for report in reports])
    away = np.sqrt((independent**2).mean(axis=0)) / values.std(axis=0, ddof=1)
    assert (np.abs(away - 1) > 0.15).any(), away


def independent_channels(report, layer):
    errors = by_channel(report, layer, "rate_error")
    return np.sqrt((errors**2).sum()) / len(errors)


def test_channels_that_are_one_have_the_error_of_one():
    """Four copies of a unit: a layer is as unsure as one of them, and not half as unsure."""
    model = network((5, 4, 3)).double()
    with torch.no_grad():
        model[0].weight[1:] = model[0].weight[:1].clone()
        model[3].weight[:, 1:] = model[3].weight[:, :1].clone()
    report = measure(model, [(x.double(), t) for x, t in map(batch_of_seed, range(6))], cross_entropy)
    (row,) = report.by_layer().itertuples()
    same(report.rate_error, np.full(4, row.rate_error), rtol=1e-9)
    same(report.l2_rate_error, np.full(4, row.l2_rate_error), rtol=1e-9)
    assert row.rate_error > 1.9 * independent_channels(report, "1")


def batch_of_seed(seed, rows=32):
    return batch(rows, seed=seed)


def lengths(*rows):
    return [(x.double(), t) for x, t in (batch(length, seed=seed) for seed, length in enumerate(rows))]


def by_formula(values, weights):
    """Mean, and n/(n-1) times the sum of squared weighted deviations, in that many words."""
    values, weights = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)[:, None]
    mean = (weights * values).sum(axis=0) / weights.sum()
    squared = sum((weight * (value - mean)) ** 2 for value, weight in zip(values, weights))
    return mean, np.sqrt(len(values) / (len(values) - 1) * squared) / weights.sum()


@pytest.mark.parametrize("rows", [(8, 24, 2), (16,) * 5, (2, 2, 2, 64)], ids=str)
def test_mean_and_error_are_weighted_by_rows(rows):
    model, batches = network((5, 4, 6, 3)).double(), lengths(*rows)
    alone = [measure(model, [each], cross_entropy) for each in batches]
    together = measure(model, iter(batches), cross_entropy)
    for name in ("gamma", "weight_norm", "batch_var", "rate", "l2_rate", "effective_norm"):
        mean, error = by_formula([getattr(report, name) for report in alone], rows)
        same(getattr(together, name), mean, rtol=1e-12)
        if name in ("rate", "l2_rate"):
            same(getattr(together, f"{name}_error"), error, rtol=1e-11)
            by_layer = [report.by_layer()[name] for report in alone]
            mean, error = by_formula(by_layer, rows)
            same(together.by_layer()[name], mean, rtol=1e-12)
            same(together.by_layer()[f"{name}_error"], error, rtol=1e-11)


def test_equal_batches_have_the_textbook_error():
    model, batches = network((5, 4, 3)).double(), lengths(16, 16, 16, 16)
    rates = np.array([measure(model, [each], cross_entropy).rate for each in batches])
    report = measure(model, batches, cross_entropy)
    same(report.rate_error, rates.std(axis=0, ddof=1) / 2, rtol=1e-11)


def test_the_same_batch_again_has_no_error_and_the_same_rate():
    model, batches = network((5, 4, 3)), lengths(16) * 3
    report = measure(model.double(), batches, cross_entropy)
    assert not np.any([report.rate_error, report.l2_rate_error])
    assert (report.rate == measure(model, batches[:1], cross_entropy).rate).all()


def test_small_scatter_about_a_large_mean_keeps_its_digits():
    mean = WeightedMean()
    for value in (1e9, 1e9 + 1, 1e9 + 2):
        mean.add(np.array([value]), 1)
    same(mean.mean, [1e9 + 1], rtol=1e-15)
    same(mean.error, [np.sqrt(1 / 3)], rtol=1e-9)


def counted(batches, drawn):
    for each in batches:
        drawn.append(each)
        yield each


@pytest.mark.parametrize("at_most", [1, 3, 7, None])
def test_no_batch_is_drawn_that_is_not_needed(at_most):
    drawn = []
    source = counted(lengths(*[8] * 5), drawn)
    report = measure(network((5, 4, 3)).double(), source, cross_entropy, batches_at_most=at_most)
    assert report.batches == len(drawn) == min(at_most or 5, 5)
    assert len(list(source)) == 5 - report.batches  # the next is the user's


def endless(generator):
    while True:
        yield draw(generator)


def test_stops_when_each_layer_is_as_sure_as_asked():
    model, drawn = network((49, 6, 10)), []
    source = counted(endless(torch.Generator().manual_seed(1)), drawn)
    report = measure(model, source, cross_entropy, relative_error=0.1)
    layers = report.by_layer()
    assert BATCHES_AT_LEAST <= report.batches == len(drawn)
    assert (layers.l2_rate_error <= 0.1 * layers.l2_rate.abs()).all()
    assert not len(report.unsure)
    assert "Not as sure" not in str(report)
    before = measure(model, drawn[:-1], cross_entropy, relative_error=0.1)
    if report.batches > BATCHES_AT_LEAST:  # not sooner, and not later
        assert len(before.unsure)


def test_is_never_sure_after_a_few_batches_that_agree():
    drawn = []
    measure(network((5, 4, 3)), counted([batch()] * 50, drawn), cross_entropy, relative_error=0.5)
    assert len(drawn) == BATCHES_AT_LEAST


def test_says_what_is_not_as_sure_as_asked():
    model = network((49, 6, 6, 10))
    generator = torch.Generator().manual_seed(2)
    report = measure(model, [draw(generator) for _ in range(12)], cross_entropy, relative_error=1e-6)
    assert report.batches == 12
    assert report.unsure.layer.tolist() == ["1", "4"]
    assert "Not as sure as asked (relative error 1e-06): 1, 4; give more batches." in report.summary()
    limited = measure(model, endless(generator), cross_entropy, relative_error=1e-6, batches_at_most=11)
    assert limited.batches == 11
    assert len(limited.unsure) == 2


class WithAnother(nn.Module):
    """A network beside a normalization that has no rate: its scale is 0, it does not run, or only the first time."""

    def __init__(self, missing):
        super().__init__()
        self.model, self.other = network((49, 6, 10)), nn.BatchNorm1d(49)
        self.runs = {GAMMA_0: 100, NOT_RUN: 0, NOT_ALWAYS_RUN: 1}[missing]
        nn.init.constant_(self.other.weight, 0.0 if missing == GAMMA_0 else 1.0)

    def forward(self, x):
        self.runs -= 1
        return self.model(x + self.other(x) if self.runs >= 0 else x)


@pytest.mark.parametrize("missing", [GAMMA_0, NOT_RUN, NOT_ALWAYS_RUN])
def test_layers_without_a_rate_are_not_waited_for(missing):
    drawn = []
    report = measure(WithAnother(missing), counted([draw_first()] * 40, drawn), cross_entropy, relative_error=3.0)
    assert all(missing in reason for reason in by_channel(report, "other", "reason"))
    assert len(drawn) == BATCHES_AT_LEAST


def draw_first():
    return draw(torch.Generator().manual_seed(3))


def test_progress_is_shown_and_draws_no_more(capsys):
    drawn = []
    measure(network((5, 4, 3)), counted([batch()] * 5, drawn), cross_entropy, batches_at_most=2, progress=True)
    assert len(drawn) == 2
    assert "measure: 100%" in capsys.readouterr().err
