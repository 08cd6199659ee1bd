"""The meter from a shell: ``python -m bnlib module:factory --data mnist --batches 100``."""

import argparse
import importlib
import importlib.util
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES = {"image": (1, 28, 28), "flat": (784,), "rgb": (3, 28, 28)}  # of one input, in the order they are tried
LOSSES = ("cross_entropy", "nll_loss", "multi_margin_loss")  # of torch.nn.functional, that take outputs and classes
DATA = ("mnist-5k", "mnist", "fashion-mnist")  # bnlib.data.NAMES, without the import of NumPy and pandas for --help

DESCRIPTION = """\
Measure the rate that batch normalization sets in every layer of a network, in units of weight_decay, with errors.

NETWORK names a function without arguments that returns a torch.nn.Module, or such a module: nets:build is `build`
of nets.py in the current folder, torchvision.models:resnet18 is what is installed."""
EPILOG = """\
examples:
  python -m bnlib nets:build --weights trained.pt
  python -m bnlib nets:build --data mnist --batches 400 --relative-error 0.1 --csv channels.csv
  python -m bnlib torchvision.models:resnet18 --batches 5

exit status: 0 measured; 1 it failed, and a line on stderr says why; 2 wrong usage; 130 interrupted.
For other data, or a model that takes or returns anything else, call bnlib.measure in Python."""


class Failed(Exception):
    """Something that the user gave does not work; the message says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the command line.

    Returns
    -------
    int
        The exit status: 0, or 1 after an error, or 130 after an interrupt.

    Raises
    ------
    SystemExit
        With status 2, if the usage is wrong; with 0 after ``--help``.
    """
    options = _parser().parse_args(arguments)
    try:
        _run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if options.traceback:
            raise
        print(f"error: {_told(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bnlib",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("network", metavar="NETWORK", type=_place, help="module:factory")
    add(
        "--data",
        choices=DATA,
        default="mnist-5k",
        help="training images (default: %(default)s, which need no download)",
    )
    add(
        "--shape",
        choices=("auto", *SHAPES),
        default="auto",
        help="of an input: image (1, 28, 28), flat (784,), or rgb (3, 28, 28), the grey value three times; auto, the "
        "default, takes the first of these that the network takes. Pixels have mean 0 and standard deviation 1",
    )
    add("--batches", type=_whole(1), default=100, metavar="N", help="how many at most (default: %(default)s)")
    add("--batch-size", type=_whole(2), default=128, metavar="N", help="as in training (default: %(default)s)")
    add(
        "--noise-std",
        type=_number(0, "at least 0", include=True),
        default=0.0,
        metavar="S",
        help="Gaussian noise on the pixels, in units of their standard deviation (default: none)",
    )
    add(
        "--loss",
        type=_loss_name,
        default="cross_entropy",
        metavar="LOSS",
        help=f"{', '.join(LOSSES)}, or module:function of outputs and labels (default: %(default)s)",
    )
    add("--seed", type=_whole(0), default=0, metavar="N", help="of weights, order and noise (default: %(default)s)")
    add(
        "--relative-error",
        type=_number(0, "above 0", include=False),
        metavar="R",
        help="stop as soon as the standard error of every layer is at most this share of its rate",
    )
    add("--weights", type=Path, metavar="FILE", help="a state_dict, as torch.save wrote it, for the network")
    add("--csv", type=Path, metavar="FILE", help="write a row a channel to this file")
    add("--traceback", action="store_true", help="of an error, show where it happened")
    return parser


def _run(options: argparse.Namespace) -> None:
    import torch

    from bnlib import data, layers, meter, training

    if options.csv is not None and not options.csv.absolute().parent.is_dir():
        raise Failed(f"--csv {options.csv}: there is no folder {options.csv.absolute().parent}")
    loaded = data.load(options.data)
    torch.manual_seed(options.seed)
    model = _network(options.network)
    if options.weights is not None:
        _load_weights(model, options.weights)
    layers.layer_channels(model)  # whatever cannot be measured says so before anything runs
    loss = _loss(options.loss)
    inputs, labels = training.standardize(loaded)["train"], loaded.train.labels

    def drawn() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epochs = math.ceil(options.batches / max(1, len(labels) // options.batch_size))
        return training.batches(inputs, labels, options.batch_size, epochs, [options.seed, 1], options.noise_std)

    first, _ = next(drawn())
    shape = _shape(model, first, options, classes=int(labels.max()) + 1)
    report = meter.measure(
        model,
        ((_shaped(x, shape, model), target) for x, target in drawn()),
        loss,
        batches_at_most=options.batches,
        relative_error=options.relative_error,
        progress=sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None,
    )
    noise = f", noise {options.noise_std:g}" if options.noise_std else ""
    given = f"inputs {(options.batch_size, *SHAPES[shape])}{noise}, {options.loss}, seed {options.seed}"
    print(f"{options.network} on {loaded.title}: {given}\n\n{report}")
    if options.csv is not None:
        report.to_frame().to_csv(options.csv, index=False)
        print(f"\n{len(report.rate):,} channels are in {options.csv}")


def _network(place: str) -> "nn.Module":
    from torch import nn

    found = _imported(place)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise Failed(f"{place} is {_kind(found)}; it must be a torch.nn.Module or a function that returns one")
    model = found()
    if not isinstance(model, nn.Module):
        raise Failed(f"{place}() gave {_kind(model)}; it must give a torch.nn.Module")
    return model


def _kind(found: object) -> str:
    return f"{found!r} of type {type(found).__name__}"


def _imported(place: str) -> Any:
    """What ``module:attribute`` names; the current folder comes first, as for ``python -m``."""
    name, _, attribute = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        try:
            module = importlib.import_module(name)
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            from bnlib import data

            data.import_torchvision()
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports something that is not
        raise Failed(f"there is no module {error.name!r} in {os.getcwd()}, and none is installed") from None
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        there = ", ".join(public[:8]) + (" …" if len(public) > 8 else "")
        raise Failed(f"module {name!r} has no {attribute!r}; it has: {there or 'nothing to call'}") from None


def _load_weights(model: "nn.Module", path: Path) -> None:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except FileNotFoundError:
        raise Failed(f"--weights {path}: there is no such file") from None
    except Exception as error:  # pickle, zip, key and shape errors: each says what it is
        raise Failed(f"--weights {path}: {type(error).__name__}: {error}") from error


def _loss(name: str) -> Callable[[Any, Any], "torch.Tensor"]:
    import torch

    return _imported(name) if ":" in name else getattr(torch.nn.functional, name)


def _shape(model: "nn.Module", x: "torch.Tensor", options: argparse.Namespace, classes: int) -> str:
    """The shape that the network takes; it is run once in each until one fits, and left as it was."""
    import torch

    from bnlib.meter import as_it_trains

    refused = []
    for shape in SHAPES if options.shape == "auto" else (options.shape,):
        try:
            with as_it_trains(model), torch.no_grad():
                output = model(_shaped(x, shape, model))
        except Exception as error:  # a network may say in any way that an input does not fit
            if options.traceback and options.shape != "auto":
                raise
            refused.append(f"\n  {(len(x), *SHAPES[shape])}: {_told(error)}")
            continue
        if ":" not in options.loss:
            found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            if not isinstance(found, tuple) or len(found) != 2 or found[1] < classes:
                raise Failed(
                    f"{options.network} puts out {found} for inputs {(len(x), *SHAPES[shape])}; {options.loss} needs "
                    f"(rows, at least {classes} classes): for anything else give --loss module:function"
                )
        return shape
    raise Failed(f"{options.network} does not take images of {options.data} as{''.join(refused)}")


def _shaped(x: "torch.Tensor", shape: str, model: "nn.Module") -> "torch.Tensor":
    import torch

    like = next((tensor for tensor in model.parameters() if tensor.is_floating_point()), torch.empty(0))
    if shape != "flat":
        x = x.view(-1, 1, 28, 28).expand(-1, SHAPES[shape][0], -1, -1)
    return x.to(like.device, like.dtype)


def _told(error: BaseException) -> str:
    """One line for an error: its words where they are ours, else its kind and where in the user's code it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parent
    if isinstance(error, Failed) or (frames and Path(frames[-1].filename).parent == ours):
        return str(error)
    import torch

    skipped = (str(ours), str(Path(torch.__file__).parent), "<frozen", str(Path(importlib.__file__).parent))
    theirs = [frame for frame in frames if not frame.filename.startswith(skipped)]
    where = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{where}"


def _place(text: str) -> str:
    module, colon, attribute = text.partition(":")
    if not (colon and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))):
        raise argparse.ArgumentTypeError(f"{text!r} is no module:factory, such as nets:build")
    return text


def _loss_name(text: str) -> str:
    if text in LOSSES:
        return text
    if ":" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(LOSSES)}, nor module:function")
    return _place(text)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {least}")
        return int(text)

    return parse


def _number(bound: float, words: str, include: bool) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > bound or (include and value == bound))):
            raise argparse.ArgumentTypeError(f"{text!r} must be a number {words}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
