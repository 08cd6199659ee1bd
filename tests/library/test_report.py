"""What a report says: coverage first, a line a layer with its error, one sentence in plain words; a table, a picture."""

import re

import numpy as np
import pytest
import torch
from metered import batch, cross_entropy, images, scattered
from torch import nn

from bnlib.meter import measure
from bnlib.models import network


class Various(nn.Module):
    """A layer that is measured, one after another normalization, one with dead channels, one frozen, one unused."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.again, self.frozen, self.unused = nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval(), nn.BatchNorm2d(1200)
        self.last, self.head, self.read_out = nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        scattered(self).double()
        nn.init.zeros_(self.head.weight[:2].detach())

    def forward(self, x):
        h = torch.relu(self.again(self.norm(self.stem(x))))
        return self.read_out(torch.tanh(self.head(self.last(self.frozen(h).flatten(1)))))


@pytest.fixture(scope="module")
def report():
    return measure(Various(), [images(seed=seed) for seed in range(6)], cross_entropy)


def test_coverage_counts_channels_and_names_layers(report):
    assert report.coverage().splitlines() == [
        "11 of 1,217 channels of 5 layers have a rate, 7 of them in units of weight_decay, from 6 batches.",
        "NaN, did not run: 1,200 channels (unused).",
        "NaN, not after a linear map: 4 channels (again).",
        "NaN, in evaluation mode: 4 channels (frozen).",
        "NaN, gamma is 0: 2 channels (head).",
    ]


def test_coverage_is_right_for_one(report):
    model = nn.Sequential(nn.Linear(5, 1), nn.BatchNorm1d(1))
    said = measure(model, [batch(classes=1)], cross_entropy).coverage().splitlines()
    assert said[0] == "1 of 1 channels of 1 layer have a rate, 1 of them in units of weight_decay, from 1 batch."
    assert said[1] == "NaN, one batch has no scatter: 1 channel (1)."


def test_coverage_lists_few_layers_and_counts_the_rest():
    model = nn.Sequential(*network((5, 4, 3)), *(nn.BatchNorm1d(3).eval() for _ in range(6)))
    said = measure(model, [batch(), batch(seed=1)], cross_entropy).coverage()
    assert "NaN, in evaluation mode: 18 channels (4, 5, 6, 7 and 2 more)." in said


def test_layers_say_what_their_channels_say(report):
    frame, layers = report.to_frame(), report.by_layer()
    assert list(layers.columns) == (
        ["layer", "linear", "channels", "measured", "rate", "rate_error", "l2_rate", "l2_rate_error", "reason"]
    )
    assert layers.layer.tolist() == list(dict.fromkeys(report.layer))
    assert layers.linear.tolist() == ["stem", "", "", "", "last"]
    for row, (_, channels) in zip(layers.itertuples(), frame.groupby("layer", sort=False)):
        assert row.channels == len(channels)
        assert row.measured == channels.rate.notna().sum()
        if row.measured:
            assert row.rate == pytest.approx(channels.rate.mean(), rel=1e-12)
        else:
            assert np.isnan([row.rate, row.rate_error, row.l2_rate, row.l2_rate_error]).all()
    assert layers.reason.tolist() == ["", "not after a linear map", "in evaluation mode", "did not run", "gamma is 0"]


def test_layer_rate_in_units_of_weight_decay_is_the_same_total_pull():
    """One batch: sum of lambda gamma^2 over the sum of norm(v)^2."""
    alone = measure(Various(), [images()], cross_entropy)
    for row in alone.by_layer().itertuples():
        rows = [position for position, layer in enumerate(alone.layer) if layer == row.layer]
        pull, size = (alone.rate * alone.gamma**2)[rows], (alone.effective_norm**2)[rows]
        counted = np.isfinite(alone.l2_rate[rows])
        if counted.any():
            assert row.l2_rate == pytest.approx(pull[counted].sum() / size[counted].sum(), rel=1e-12)
            weighted = (alone.l2_rate[rows] * size)[counted].sum() / size[counted].sum()
            assert row.l2_rate == pytest.approx(weighted, rel=1e-12)
    np.testing.assert_allclose(
        alone.effective_norm,
        np.abs(alone.gamma) * alone.weight_norm / np.sqrt(alone.batch_var + 1e-5),
        rtol=1e-12,
    )


def test_what_is_returned_can_be_changed_without_harm(report):
    for table in (report.by_layer(), report.to_frame()):
        table["rate"] = 0.0
    assert (report.by_layer().rate != 0).all()
    assert (report.to_frame().rate != 0).all()


def test_printed_report_is_coverage_table_and_a_sentence(report):
    coverage, table, sentence = str(report).split("\n\n")
    assert repr(report) == str(report)
    assert coverage.split() == report.coverage().split()  # wrapped
    assert sentence.split() == report.summary().split()
    assert max(map(len, str(report).splitlines())) <= 76
    header, *rows = table.splitlines()
    assert header.split() == ["layer", "channels", "rate", "as", "weight_decay"]
    assert len(rows) == 5
    number = r"[+-]\d\.\d\de[+-]\d\d ± \de[+-]\d\d"
    assert re.fullmatch(rf"\s*norm\s+4\s+{number}\s+{number}", rows[0])
    assert re.fullmatch(rf"\s*again\s+4\s+{number}\s*", rows[1])
    assert re.fullmatch(r"\s*unused\s+0 of 1,200\s*", rows[3])
    assert re.fullmatch(rf"\s*head\s+3 of 5\s+{number}\s+{number}", rows[4])


def test_numbers_of_the_table_are_those_of_the_layers(report):
    row = report.by_layer().iloc[0]
    found = [float(number) for number in re.findall(r"[+-]\d\.\d\de[+-]\d\d", str(report).split("\n\n")[1])[:2]]
    assert found == [pytest.approx(row.rate, rel=0.005), pytest.approx(row.l2_rate, rel=0.005)]


def layers_with(report, values, errors):
    """The report as if its first and last layer had these numbers."""
    layers = report.by_layer()
    layers.loc[[0, 4], "l2_rate"], layers.loc[[0, 4], "l2_rate_error"] = values, errors
    layers.loc[[1], "rate"] = np.nan
    return type(report)(**{**vars(report), "layers": layers})


NONE_SHRUNK = (
    "Batch normalization shrinks the effective weights of 0 layers, as weight_decay would, stretches those of "
)
SENTENCES = {
    "sure": (
        ([0.3, -0.02], [0.1, 0.001]),
        NONE_SHRUNK.replace("0 layers", "1 layer") + "1. The strongest is norm: +0.3 ± 0.1.",
    ),
    "not all": (
        ([0.1, -0.02], [0.1, 0.001]),
        NONE_SHRUNK + "1, and 1 cannot be told from zero. The strongest is head: -0.02 ± 0.001.",
    ),
    "one batch": (([0.1, 0.2], [np.nan, np.nan]), NONE_SHRUNK + "0, and 2 cannot be told from zero."),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_sentence_counts_layers_by_what_can_be_told(report, kind):
    numbers, expected = SENTENCES[kind]
    assert layers_with(report, *numbers).summary() == expected


def test_sentence_without_any_rate():
    model = network((5, 4, 3))
    nn.init.zeros_(model[1].weight)
    said = measure(model, [batch(), batch(seed=1)], cross_entropy)
    assert said.summary() == "No layer has a rate."
    assert "0 of 4" in str(said)


def test_unsure_is_empty_where_nothing_was_asked(report):
    assert report.relative_error is None
    assert not len(report.unsure)
    asked = type(report)(**{**vars(report), "relative_error": 1e-9})
    assert asked.unsure.layer.tolist() == ["norm", "again", "head"]
    sure = type(report)(**{**vars(report), "relative_error": 1e9})
    assert not len(sure.unsure)


def test_notebook_shows_the_table():
    model = nn.Sequential(nn.Linear(5, 4), nn.ModuleDict({"<b>": nn.BatchNorm1d(4)})["<b>"])
    shown = nn.Module()
    shown.add_module("a<b", nn.BatchNorm1d(4))
    shown.linear, shown.forward = model[0], lambda x: shown.get_submodule("a<b")(shown.linear(x))
    page = measure(shown, [batch(), batch(seed=1)], cross_entropy)._repr_html_()
    assert page.count("<tr") == 2
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert page.startswith("<p>4 of 4 channels of 1 layer have a rate")


def test_picture_shows_each_layer_with_its_error(report):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    settings = dict(pyplot.rcParams)
    figure = report.plot()
    (axes,) = figure.axes
    layers = report.by_layer().dropna(subset="l2_rate")
    assert [label.get_text() for label in axes.get_xticklabels()] == layers.layer.tolist()
    drawn = {}
    for container in axes.containers:
        points, _, (bars,) = container
        marker, fill = points.get_marker(), points.get_fillstyle()
        for x, y, bar in zip(*points.get_data(), bars.get_segments()):
            drawn[int(x)] = (y, bar[:, 1], marker, fill)
    assert len(drawn) == 2
    for depth, row in enumerate(layers.itertuples(), start=1):
        y, ends, marker, fill = drawn[depth]
        assert y == row.l2_rate
        np.testing.assert_allclose(ends, [y - 2 * row.l2_rate_error, y + 2 * row.l2_rate_error], rtol=1e-12)
        assert (marker, fill) == (("^", "full") if y >= 0 else ("v", "none"))
    assert axes.get_ylabel() == "rate in units of weight_decay"
    assert axes.get_legend() is not None
    assert dict(pyplot.rcParams) == settings
    figure.canvas.draw()
    pyplot.close(figure)


def test_picture_of_nothing_and_of_one_batch():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    model = network((5, 4, 3))
    figure = measure(model, [batch()], cross_entropy).plot()
    assert len(figure.axes[0].containers) == 1
    pyplot.close(figure)
    nn.init.zeros_(model[1].weight)
    figure = measure(model, [batch()], cross_entropy).plot()
    assert not figure.axes[0].containers
    pyplot.close(figure)
