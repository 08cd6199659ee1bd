"""The meter on networks of others, a sample of what `make zoo` runs; and a zoo that sees what is wrong."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bnlib import meter
from companion.studies import zoo, zoo_check
from companion.studies.zoo_check import LEFT, TOLERANCE, build, examine

FUSED = "timm/efficientnet_lite0"  # BatchNormAct2d throughout: normalization and activation in one module
SMALL = "timm/test_resnet"


@pytest.mark.parametrize(
    "name",
    [FUSED, SMALL, "timm/test_maxvit", "timm/mixnet_s", "torchvision/shufflenet_v2_x0_5", "torchvision/googlenet"],
)
def test_the_meter_agrees_with_autograd_on_every_channel(name):
    row = examine(name)
    assert (row["problem"], row["wrong"]) == ("", [])
    assert max(row[what] for what in LEFT) <= TOLERANCE
    assert row["rated"] + row["reasons"][meter.GAMMA_0] == row["channels"]
    assert row["zero"] < 0.01 * row["channels"]


def test_a_network_of_fused_layers_is_one():
    kinds = {type(layer) for layer in zoo_check.batch_norms(build(FUSED)).values()}
    assert {kind.__name__ for kind in kinds} == {"BatchNormAct2d"}
    assert kinds.isdisjoint({nn.BatchNorm2d})


@pytest.mark.parametrize("name", ["timm/test_nfnet", "timm/test_vit", "torchvision/squeezenet1_1"])
def test_where_no_batch_is_normalized_the_meter_says_so(name):
    row = examine(name)
    assert (row["problem"], row["wrong"], row["channels"]) == ("", [], 0)


def test_scales_are_drawn_and_the_random_state_stays():
    before = torch.get_rng_state()
    networks = [build(SMALL), build(SMALL), build(SMALL, seed=1)]
    examine(SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    scales = [network.layer1[0].bn1.weight.detach().numpy() for network in networks]
    assert (scales[0] == scales[1]).all()
    assert not (scales[0] == scales[2])[:-1].any()
    assert scales[0][-1] == 0
    assert 0.5 <= np.abs(scales[0][:-1]).min() < np.abs(scales[0]).max() <= 1.5
    assert 0 < (scales[0] < 0).mean() < 0.5


# Broken on purpose, and seen


@pytest.mark.parametrize(
    "formula",
    [
        lambda gamma, gradient: gradient / gamma,
        lambda gamma, gradient: -gradient,
        lambda gamma, gradient: -gradient / gamma**2,
        lambda gamma, gradient: -gradient / np.abs(gamma),
        lambda gamma, gradient: -(1 + 1e-9) * gradient / gamma,
        lambda gamma, gradient: np.roll(-gradient / gamma, 1),
    ],
    ids=["sign", "no gamma", "gamma squared", "size of gamma", "a digit", "the neighbour's"],
)
def test_control_a_wrong_formula_is_seen(formula):
    wrong = examine(SMALL, formula)["wrong"]
    assert any(line.startswith("rates differ by ") for line in wrong)
    assert any(line.startswith("l2_rates differ by ") for line in wrong)


def change(report, layer, **columns):
    """The report with other values in a layer."""
    place = np.array(report.layer) == layer
    changed = {}
    for name, value in columns.items():
        column = np.array(getattr(report, name), dtype=object if isinstance(value, str) else None)
        column[place] = value
        changed[name] = tuple(column) if isinstance(value, str) else column
    return dataclasses.replace(report, **changed)


def without_reasons(report):
    return dataclasses.replace(report, reason=("",) * len(report.reason))


def without_a_layer(report):
    kept = np.array(report.layer) != "bn1"
    columns = {name: np.array(getattr(report, name))[kept] for name in ("channel", "gamma", "weight_norm", "batch_var")}
    columns |= {name: getattr(report, name)[kept] for name in ("rate", "rate_error", "l2_rate", "l2_rate_error")}
    texts = {name: tuple(np.array(getattr(report, name))[kept]) for name in ("layer", "linear", "reason")}
    return dataclasses.replace(report, **columns, **texts)


@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        (without_a_layer, "the rows are not the channels of all layers in their order"),
        (without_reasons, "'gamma is 0' is said of 0 channels and true of 1"),
        (lambda report: change(report, "bn1", rate=np.nan), "0 of 32 channels have a rate, and not those without a"),
        (lambda report: change(report, "bn1", rate=0.5), "32 of 32 channels have a rate, and not those without a"),
        (
            lambda report: change(report, "bn1", reason="did not run"),
            "'did not run' is said of 32 channels and true of 0",
        ),
        (lambda report: change(report, "bn1", reason="used more than once"), "'used more than once' is said of 32"),
        (
            lambda report: change(report, "bn1", reason="no gradient reaches it"),
            "'no gradient reaches it' is said of 32",
        ),
        (lambda report: change(report, "bn1", l2_rate=np.nan), "an l2_rate is NaN without a reason"),
        (lambda report: change(report, "bn1", linear="fc"), "'fc' has no weight with a row a channel"),
        (lambda report: change(report, "bn1", linear="layer1.0.conv1"), "gauge differ by "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_control_a_wrong_report_is_seen(monkeypatch, broken, seen):
    measure = meter.measure
    monkeypatch.setattr(meter, "measure", lambda *arguments: broken(measure(*arguments)))
    assert any(seen in line for line in examine(SMALL)["wrong"])


def test_control_rates_of_nothing_and_errors_of_the_meter_are_seen(monkeypatch):
    report = meter.measure(build(SMALL), [(torch.randn(4, 3, 64, 64).double(), torch.arange(4))], zoo_check.loss_of)
    monkeypatch.setattr(meter, "measure", lambda *_: report)
    assert "channels, such as those of conv1.1, of no batch normalization" in examine("timm/test_nfnet")["wrong"][0]

    def fails(*_):
        raise ValueError("nothing to see")

    monkeypatch.setattr(meter, "measure", fails)
    assert examine(SMALL)["wrong"] == ["refused: ValueError: nothing to see"]
    assert examine("timm/test_nfnet")["wrong"] == ["refused: ValueError: nothing to see"]


def test_a_network_that_does_not_run_is_named_with_its_reason(monkeypatch):
    monkeypatch.setattr(zoo_check, "_sides", lambda *_: (8,))
    row = examine("torchvision/googlenet")
    assert row["problem"].startswith("RuntimeError: ")
    assert "does not run: RuntimeError" in zoo.as_table(pd.DataFrame([row])).iloc[0]["NaN, by reason"]
    assert zoo.totals(pd.DataFrame([row]))["problems"] == 1


def test_the_smallest_image_that_fits_is_taken():
    assert examine("timm/test_vit")["side"] == 160  # fixed
    assert zoo_check._sides("torchvision/inception_v3", None) == (*zoo_check.SIDES, 299)


def test_an_unknown_network_is_an_error():
    with pytest.raises(ValueError, match=r"network = 'timm/resnot' is unknown; it must be a name of"):
        build("timm/resnot")


# Many of them


@pytest.fixture
def few(monkeypatch):
    listed = {
        "torchvision": {"resnet18": "resnet", "resnet34": "resnet", "vgg11": "vgg", "vgg11_bn": "vgg"},
        "timm": {"test_resnet": "resnet", "resnet10t": "resnet", "seresnet18": "resnet", "test_vit": "vit"},
    }
    monkeypatch.setattr(zoo_check, "modules", listed.__getitem__)


def test_the_smallest_of_each_family_is_found(few):
    found = zoo.families().set_index("network")
    assert found.normalized.to_dict() == {
        "torchvision/resnet18": True,
        "torchvision/vgg11": False,
        "torchvision/vgg11_bn": True,
        "timm/test_resnet": True,
        "timm/seresnet18": True,
        "timm/test_vit": False,
    }
    assert found.members.to_dict()["timm/test_resnet"] == 2
    assert found.family["timm/seresnet18"] == "timm resnet, seresnet"


def test_all_are_the_families_and_the_sample_and_the_list_is_kept(few, tmp_path, monkeypatch):
    names = zoo.networks("all", folder=tmp_path)
    monkeypatch.setattr(zoo, "families", pytest.fail)
    assert zoo.networks("all", folder=tmp_path) == names
    assert set(zoo.SAMPLE) < set(names)
    assert len(names) == len(set(names))
    with pytest.raises(ValueError, match="which = 'most' is unknown"):
        zoo.networks("most", folder=tmp_path)


def test_every_network_of_the_sample_exists():
    for name in zoo.SAMPLE:
        package, model = name.split("/")
        assert model in zoo_check.modules(package)


def test_what_was_examined_is_read_again_and_what_is_new_is_examined(tmp_path, monkeypatch):
    names = ["timm/test_resnet", "timm/test_nfnet"]
    first = zoo.examine_all(names[:1], folder=tmp_path)
    asked = []
    monkeypatch.setattr(
        zoo_check, "examine", lambda name: asked.append(name) or first.iloc[0].to_dict() | {"network": name}
    )
    again = zoo.examine_all(names, folder=tmp_path)
    assert asked == names[1:]
    assert again.network.tolist() == names
    assert again.rated[0] == first.rated[0]


def test_sums_and_words():
    row = {"network": "a", "side": 64, "problem": "", "wrong": [], "reasons": {"gamma is 0": 2}, "seconds": 1.0}
    row |= {"layers": 1, "channels": 1000, "rated": 998, "linked": 998, "zero": 0} | dict.fromkeys(LEFT, 1e-15)
    none = row | {"network": "b", "layers": 0, "channels": 0, "rated": 0, "linked": 0, "reasons": {}}
    wrong = row | {"network": "c", "wrong": ["rates differ by 1.0e+00"], "rates": 1.0}
    found = pd.DataFrame([row, none, wrong])
    sums = zoo.totals(found)
    assert (sums["networks"], sums["normalized"], sums["without"], sums["wrong"]) == (3, 2, 1, 1)
    assert (sums["rated"], sums["reasons"], sums["rates"]) == (1996, {"gamma is 0": 4}, 1.0)
    shown = zoo.as_table(found)
    assert shown.loc["a"].tolist() == ["64 × 64", "1,000", "998", "998", "1e-15", "gamma is 0: 2"]
    assert shown.loc["b"].iloc[-1] == "nothing to measure, and the meter says so"
    assert shown.loc["c"].iloc[-1] == "WRONG: rates differ by 1.0e+00"


@pytest.mark.parametrize(("wrong", "status"), [([], 0), (["rates differ by 1.0e+00"], 1)])
def test_the_command_prints_a_table_and_fails_if_anything_is_wrong(tmp_path, monkeypatch, capsys, wrong, status):
    row = examine("timm/test_resnet") | {"wrong": wrong}
    monkeypatch.setattr(zoo_check, "examine", lambda _: row)
    monkeypatch.setattr(zoo.examine_all, "__defaults__", (False, tmp_path))
    assert zoo.main(["timm/test_resnet", "--csv", str(tmp_path / "zoo.csv")]) == status
    printed = capsys.readouterr().out
    assert "timm/test_resnet" in printed
    assert "gamma is 0: " in printed
    assert len(pd.read_csv(tmp_path / "zoo.csv")) == 1
