"""Batch normalization as an auto-tuned regularizer: closed forms, models and a meter.

What most need is at the front door; everything is imported when it is first used, so that ``import bnlib`` costs
nothing and changes nothing.

===========================  ================================================================
``measure``, ``Report``      the rate that batch normalization sets, in your network
``RateLogger``               the same while it trains, from gradients that are there anyway
``parameter_groups``         what weight decay acts on, and what it does there
``remove_batch_norm``        the network without, and the penalty that keeps its rates
``Moments``                  the statistics of data that the closed forms need
``least_squares``            batch normalization with fixed gamma on least squares
``noise_path``               the same as the noise on the inputs grows
``effective_weights``        batch normalization folded away
``rate``                     the rate from effective weights and their gradient
``l2_equivalent_rate``       the same in units of ``weight_decay``
``signal_and_noise``         the variance of any unit, split by two noisy copies
``weight_decay_rate``        the rate under weight decay on the raw weights
``minibatch_factor``         a batch's standard deviation over the population's
``minibatch_decay``          what batches are worth as a weight decay on gamma
``sweep``                    many networks, conditions and seeds, as a table
``Arm``, ``Conditions``      what a sweep trains, and on what data
``Schedule``                 for how long, and how
===========================  ================================================================

The modules behind it, each importing only those before it:

=================  ==========================================================
``validation``     what every public function says about bad numbers
``objects``        and about functions, classes, sequences, tables, paths and names
``source``         which code made a result
``moments``        the statistics of data that the closed forms need (NumPy)
``theory``         the closed forms themselves (NumPy, float64)
``originals``      files known by their MD5, put in their place whole or not at all
``data``           MNIST and its kin, fixed splits, additive noise
``models``         networks with a named normalization, from torch's layers
``layers``         which layers of a model normalize batches
``recorder``       what enters batch normalization, and the linear map before it
``report``         what the meter found: tables, errors, words, a picture
``meter``          the rate that batch normalization sets, in your network
``passes``         what the passes of one optimizer step say, while it trains
``logger``         the rates of a training, step by step
``folding``        which linear map is before a layer, and the layer folded into it
``decay``          parameter groups: what decays what
``removal``        the twin without batch normalization
``stack``          many small networks trained as one
``descent``        gradient descent on any loss of any model, and to rest
``training``       a seeded, deterministic trainer for paired experiments
``reading``        the rates of many small networks, read at once
``runs``           one group of a sweep, and what a look at a network gets
``experiments``    sweeps over arms, conditions and seeds, as a table
``search``         the best weight decay in such a table, with its error
=================  ==========================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlib import (
        data,
        decay,
        descent,
        experiments,
        folding,
        layers,
        logger,
        meter,
        models,
        moments,
        objects,
        originals,
        passes,
        reading,
        recorder,
        removal,
        report,
        runs,
        search,
        source,
        stack,
        theory,
        training,
        validation,
    )
    from bnlib.decay import parameter_groups
    from bnlib.experiments import sweep
    from bnlib.logger import RateLogger
    from bnlib.meter import measure
    from bnlib.moments import Moments
    from bnlib.removal import remove_batch_norm
    from bnlib.report import Report
    from bnlib.runs import Conditions
    from bnlib.theory import (
        effective_weights,
        l2_equivalent_rate,
        least_squares,
        minibatch_decay,
        minibatch_factor,
        noise_path,
        rate,
        signal_and_noise,
        weight_decay_rate,
    )
    from bnlib.training import Arm, Schedule

__version__ = "0.1.0"

__all__ = [
    "Arm",
    "Conditions",
    "Moments",
    "RateLogger",
    "Report",
    "Schedule",
    "data",
    "decay",
    "descent",
    "effective_weights",
    "experiments",
    "folding",
    "l2_equivalent_rate",
    "layers",
    "least_squares",
    "logger",
    "measure",
    "meter",
    "minibatch_decay",
    "minibatch_factor",
    "models",
    "moments",
    "noise_path",
    "objects",
    "originals",
    "parameter_groups",
    "passes",
    "rate",
    "reading",
    "recorder",
    "removal",
    "remove_batch_norm",
    "report",
    "runs",
    "search",
    "signal_and_noise",
    "source",
    "stack",
    "sweep",
    "theory",
    "training",
    "validation",
    "weight_decay_rate",
]

_HOMES = {
    "Arm": "training",
    "Conditions": "runs",
    "Moments": "moments",
    "RateLogger": "logger",
    "Report": "report",
    "Schedule": "training",
    "effective_weights": "theory",
    "l2_equivalent_rate": "theory",
    "least_squares": "theory",
    "measure": "meter",
    "minibatch_decay": "theory",
    "minibatch_factor": "theory",
    "noise_path": "theory",
    "parameter_groups": "decay",
    "rate": "theory",
    "remove_batch_norm": "removal",
    "signal_and_noise": "theory",
    "sweep": "experiments",
    "weight_decay_rate": "theory",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bnlib' has no attribute {name!r}")
    module = importlib.import_module(f"bnlib.{_HOMES.get(name, name)}")
    found = getattr(module, name) if name in _HOMES else module
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
