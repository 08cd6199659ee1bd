"""The closed forms: what batch normalization does to a linear unit, from the data's moments alone.

One unit normalizes the pre-activation w'x and scales it by gamma; folded, it is a linear unit with
effective weights v = gamma w / sqrt(w'Sigma w + eps). A theorem has one word, here and
in the book: "theorem rate".
Everything here is NumPy in float64; gamma may be of either sign, since w absorbs it, but not zero.
"""

from bnlib.moments import Moments
from bnlib.theory.fits import LeastSquaresFit, least_squares
from bnlib.theory.minibatch import minibatch_decay, minibatch_factor
from bnlib.theory.noise import NoisePath, noise_path, signal_and_noise
from bnlib.theory.rates import effective_weights, l2_equivalent_rate, rate, weight_decay_rate

__all__ = [
    "LeastSquaresFit",
    "Moments",
    "NoisePath",
    "effective_weights",
    "l2_equivalent_rate",
    "least_squares",
    "minibatch_decay",
    "minibatch_factor",
    "noise_path",
    "rate",
    "signal_and_noise",
    "weight_decay_rate",
]
