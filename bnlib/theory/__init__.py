"""The closed forms: what batch normalization does to a linear unit, from the data's moments alone.

One unit normalizes the pre-activation w'x and scales it by gamma; folded, it is a linear unit with
effective weights v = gamma w / sqrt(w'Sigma w + eps). A theorem has one word, here and
in the book: "theorem rate".
Everything here is NumPy in float64; gamma may be of either sign, since w absorbs it, but not zero.
"""

from bnlib.moments import Moments
from bnlib.theory.cross_entropy import (
    LogisticFit,
    LogisticNoisePath,
    logistic_fit,
    logistic_gamma,
    logistic_noise_path,
)
from bnlib.theory.fits import LeastSquaresFit, least_squares
from bnlib.theory.half_tuned import (
    leave_one_out_scale,
    recommended_batch_size,
    recommended_gamma,
    recommended_gamma_decay,
    recommended_rate,
)
from bnlib.theory.margins import UniformMargins, uniform_margins
from bnlib.theory.minibatch import (
    minibatch_decay,
    minibatch_factor,
    minibatch_gamma_shift,
    minibatch_loss_shift,
    minibatch_worth,
    minibatch_worth_canonical,
)
from bnlib.theory.momentum import mean_turn, turn_balance
from bnlib.theory.noise import NoisePath, noise_path, signal_and_noise
from bnlib.theory.rates import effective_weights, l2_equivalent_rate, rate, weight_decay_rate
from bnlib.theory.true_length import needed_rate, true_length_excess, true_length_rate

__all__ = [
    "LeastSquaresFit",
    "LogisticFit",
    "LogisticNoisePath",
    "Moments",
    "NoisePath",
    "UniformMargins",
    "effective_weights",
    "l2_equivalent_rate",
    "least_squares",
    "leave_one_out_scale",
    "logistic_fit",
    "logistic_gamma",
    "logistic_noise_path",
    "mean_turn",
    "minibatch_decay",
    "minibatch_factor",
    "minibatch_gamma_shift",
    "minibatch_loss_shift",
    "minibatch_worth",
    "minibatch_worth_canonical",
    "needed_rate",
    "noise_path",
    "rate",
    "recommended_batch_size",
    "recommended_gamma",
    "recommended_gamma_decay",
    "recommended_rate",
    "signal_and_noise",
    "true_length_excess",
    "true_length_rate",
    "turn_balance",
    "uniform_margins",
    "weight_decay_rate",
]
