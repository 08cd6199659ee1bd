"""`python -m bnlib`: what it prints is what `bnlib.measure` finds; what fails says so in a line and by its status."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import bnlib
from bnlib import __main__ as command
from bnlib import data, training
from bnlib.models import network

ROOT = Path(bnlib.__file__).parent.parent
NETS = """\
import os, signal, time, torch
from torch import nn
from bnlib.models import convolutional, network

def build():
    return network((784, 6, 10))

def convolution():
    return convolutional((4,))

def image():
    return nn.Sequential(nn.Conv2d(1, 3, 5, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 10))

def colours():
    return nn.Sequential(nn.Conv2d(3, 3, 5, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 10))

class Network(nn.Sequential):
    def __init__(self):
        super().__init__(*network((784, 5, 10)))

def wide():
    return network((784, 6, 10), dtype=torch.float64)

def bare():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

def narrow():
    return network((784, 6, 3))

def other():
    return network((5, 4, 10))

def broken():
    return {}["x"]

def nothing():
    return None

def frozen():
    model = build()
    model[1].eval()
    return model

def halves(outputs, labels):
    return (outputs.square().sum(dim=1) / 2).mean()

def waits():
    print("waiting", flush=True)
    time.sleep(600)

number = 3
ready = build()
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Status, stdout and stderr of the command, in a folder with nets.py."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "late.py").write_text("import no_such_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("nets", "late"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(*arguments):
        status = command.main(arguments)
        return status, *capsys.readouterr()

    return call


def python(*arguments, **keywords):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | keywords
    # whoever runs the tests in the background of a shell hands on that interrupts are ignored
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, *arguments], env=environment, preexec_fn=heard, **keywords)  # noqa: PLW1509, a signal alone is set


def test_it_prints_what_measure_reports_of_the_same_network_and_batches(run):
    status, printed, errors = run("nets:build", "--batches", "3", "--batch-size", "64", "--seed", "5")
    digits = data.load("mnist-5k")
    torch.manual_seed(5)
    model = network((784, 6, 10))
    batches = training.batches(training.standardize(digits)["train"], digits.train.labels, 64, 1, [5, 1])
    report = bnlib.measure(model, batches, nn.functional.cross_entropy, batches_at_most=3)
    head, _, rest = printed.partition("\n\n")
    assert (status, errors) == (0, "")
    assert head == "nets:build on MNIST, 5,000-digit subset: inputs (64, 784), cross_entropy, seed 5"
    assert rest == f"{report}\n"


def test_batches_go_on_through_further_epochs(run):
    status, printed, _ = run("nets:build", "--batches", "5", "--batch-size", "1000")
    assert status == 0
    assert "from 5 batches" in printed


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        ("build", (4, 784)),
        ("convolution", (4, 784)),
        ("Network", (4, 784)),
        ("ready", (4, 784)),
        ("wide", (4, 784)),
        ("image", (4, 1, 28, 28)),
        ("colours", (4, 3, 28, 28)),
    ],
)
def test_the_shape_is_the_one_that_the_network_takes(run, factory, shape):
    status, printed, errors = run(f"nets:{factory}", "--batches", "2", "--batch-size", "4")
    assert (status, errors) == (0, "")
    assert f"inputs {shape}" in printed


def test_rows_of_the_file_are_those_of_the_report(run, tmp_path):
    status, printed, _ = run("nets:build", "--batches", "2", "--csv", "channels.csv", "--noise-std", "0.5")
    frame = pd.read_csv(tmp_path / "channels.csv", keep_default_na=False, na_values={"rate": [""]})
    assert status == 0
    assert list(frame) == list(bnlib.report.COLUMNS)
    assert len(frame) == 6
    assert np.isfinite(frame.rate).all()
    assert "noise 0.5" in printed
    assert printed.endswith("6 channels are in channels.csv\n")


def test_noise_seed_and_loss_matter_and_a_run_repeats(run):
    plain = ("nets:build", "--batches", "2")
    printed = [
        run(*plain, *more)[1].partition("\n\n")[2]
        for more in ((), (), ("--noise-std", "1"), ("--seed", "1"), ("--loss", "nets:halves"))
    ]
    assert printed[0] == printed[1]
    assert len(set(printed)) == 4


def test_weights_are_loaded(run):
    trained = network((784, 6, 10))
    trained[1].weight.data.fill_(0.25)
    torch.save(trained.state_dict(), "trained.pt")
    status, *_ = run("nets:build", "--batches", "2", "--weights", "trained.pt", "--csv", "channels.csv")
    assert status == 0
    assert (pd.read_csv("channels.csv").gamma == 0.25).all()


def test_it_stops_as_soon_as_it_is_sure(run):
    status, printed, _ = run("nets:build", "--batches", "20", "--relative-error", "9")
    assert status == 0
    assert "from 10 batches" in printed


def test_what_has_no_rate_is_reported_with_its_reason(run):
    status, printed, _ = run("nets:frozen", "--batches", "2")
    assert status == 0
    assert "in evaluation mode" in printed


def test_an_installed_module_will_do(run):
    status, printed, errors = run("torchvision.models:resnet18", "--batches", "2", "--batch-size", "4")
    assert (status, errors) == (0, "")
    assert "4,800 of 4,800 channels of 20 layers have a rate" in printed
    assert "inputs (4, 3, 28, 28)" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nets:bare"], "model (Sequential) has no batch normalization; there is nothing to measure"),
        (["nets:absent"], "module 'nets' has no 'absent'; it has: convolutional, network, build"),
        (["absent:build"], "there is no module 'absent' in"),
        (["late:build"], "ModuleNotFoundError: No module named 'no_such_module' (late.py, line 1)"),
        (["nets:number"], "nets:number is 3 of type int; it must be a torch.nn.Module"),
        (["nets:nothing"], "nets:nothing() gave None of type NoneType; it must give a torch.nn.Module"),
        (["nets:broken"], "KeyError: 'x' (nets.py, line "),
        (
            ["nets:narrow"],
            "nets:narrow puts out (128, 3) for inputs (128, 784); cross_entropy needs (rows, at least 10",
        ),
        (["nets:other"], "nets:other does not take images of mnist-5k as\n  (128, 1, 28, 28): RuntimeError: mat1 and"),
        (["nets:image", "--shape", "flat"], "nets:image does not take images of mnist-5k as\n  (128, 784): Runtime"),
        (["nets:build", "--batch-size", "4000"], "batch_size = 4000 exceeds the 3000 rows of inputs"),
        (["nets:build", "--csv", "absent/channels.csv"], "--csv absent/channels.csv: there is no folder"),
        (["nets:build", "--weights", "absent.pt"], "--weights absent.pt: there is no such file"),
        (["nets:build", "--weights", "nets.py"], "--weights nets.py: UnpicklingError: "),
        (["nets:build", "--loss", "nets:absent"], "module 'nets' has no 'absent'"),
    ],
)
def test_what_fails_is_said_in_words_with_status_1(run, arguments, message):
    status, printed, errors = run(*arguments)
    assert (status, printed) == (1, "")
    assert errors.startswith(f"error: {message}")
    assert "Traceback" not in errors


def test_missing_data_are_named_with_the_way_to_get_them(run, monkeypatch, tmp_path):
    monkeypatch.setenv("BNLIB_DATA", str(tmp_path))
    monkeypatch.delenv("BNLIB_MNIST", raising=False)
    status, printed, errors = run("nets:build", "--data", "mnist")
    assert (status, printed) == (1, "")
    assert errors.startswith("error: ")
    assert "make data" in errors


def test_a_traceback_is_shown_to_whoever_asks(run):
    with pytest.raises(KeyError):
        run("nets:broken", "--traceback")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: NETWORK"),
        (["nets"], "argument NETWORK: 'nets' is no module:factory, such as nets:build"),
        (["nets:build", "--data", "cifar"], "argument --data: invalid choice: 'cifar'"),
        (["nets:build", "--batches", "0"], "argument --batches: '0' must be a whole number, at least 1"),
        (["nets:build", "--batch-size", "1"], "argument --batch-size: '1' must be a whole number, at least 2"),
        (["nets:build", "--noise-std", "-1"], "argument --noise-std: '-1' must be a number at least 0"),
        (["nets:build", "--relative-error", "nan"], "argument --relative-error: 'nan' must be a number above 0"),
        (["nets:build", "--loss", "hinge"], "argument --loss: 'hinge' is none of cross_entropy, "),
    ],
)
def test_wrong_usage_ends_with_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_help_imports_neither_torch_nor_numpy_and_names_every_option():
    code = "import sys, bnlib.__main__ as c\ntry: c.main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    process = python("-c", code)
    printed, errors = process.communicate()
    assert process.returncode == 0
    assert not {"torch", "numpy"} & set(errors.split())
    for word in ("NETWORK", "--data", "--shape", "--batches", "--loss", "--relative-error", "exit status"):
        assert word in printed


def test_the_data_sets_and_losses_offered_are_those_there_are():
    assert command.DATA == data.NAMES
    assert all(callable(getattr(nn.functional, name)) for name in command.LOSSES)


def test_an_interrupt_ends_it_with_status_130(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    process = python("-m", "bnlib", "nets:waits", cwd=tmp_path)
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_a_reader_that_has_read_enough_is_no_error(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    read, write = os.pipe()
    process = python("-m", "bnlib", "nets:build", "--batches", "2", cwd=tmp_path, stdout=write)
    os.close(write)
    with contextlib.closing(os.fdopen(read)):
        pass
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
