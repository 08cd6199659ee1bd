"""Ways to shrink a least-squares read-out, each fitted to the same rows and tried on the same others."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from sklearn.linear_model import BayesianRidge, RidgeCV

from bnlib import theory
from bnlib.moments import Moments

# from the best that one scale can do, over what BN does, to methods that turn the fit too
LEAST_SQUARES = "least squares; BN, γ learned"
TRUE_LENGTH = "BN, true length"
PRESCRIBED = "BN, prescribed γ"
LEFT_OUT = "scale, leave-one-out"
BEST_SCALE = "best scale (saw the test)"
RIDGE_CV = "RidgeCV, leave-one-out"
BAYESIAN = "BayesianRidge, evidence"
RIDGE_HELD_OUT = "ridge, best on validation"
SCALES = (LEAST_SQUARES, TRUE_LENGTH, PRESCRIBED, LEFT_OUT, BEST_SCALE)
WAYS = (*SCALES, RIDGE_CV, BAYESIAN, RIDGE_HELD_OUT)
DECAYS = np.geomspace(1e-5, 10, 31)  # of ridge, in units of the inputs' mean variance


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs and targets.

    Parameters
    ----------
    inputs : ndarray, shape (n, d)
    targets : ndarray, shape (n, k)
    """

    inputs: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)

    def __post_init__(self):
        if self.targets.ndim != 2 or len(self.targets) != len(self.inputs):
            raise ValueError(
                f"targets has shape {self.targets.shape}; with inputs of shape {self.inputs.shape} it must be "
                f"({len(self.inputs)}, k)"
            )

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, rows):
        return Rows(self.inputs[rows], self.targets[rows])


def true_length(rows):
    """R sigma_t of each target, R^2 adjusted for the inputs: as near as rows that stand for the population come to it.

    Parameters
    ----------
    rows : Rows

    Returns
    -------
    ndarray, shape (k,)

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((4000, 3))
    >>> bool(abs(true_length(Rows(x, 2 * x[:, :1])) - 2) < 0.1)
    True
    """
    moments = Moments.from_data(rows.inputs, rows.targets)
    n, d = rows.inputs.shape
    adjusted = 1 - (1 - moments.r_squared) * (n - 1) / (n - d - 1)
    return np.sqrt(np.maximum(0.0, adjusted) * moments.target_var)


def shrink(rows, held_out, test, length):
    """Fit every way to `rows` and try it on `test`.

    Parameters
    ----------
    rows, held_out, test : Rows
        `held_out` is for the ridge that is best there, and for no other way.
    length : ndarray, shape (k,)
        gamma of the unit that is told the true length.

    Returns
    -------
    pandas.DataFrame
        A row for each of k targets and way: ``target`` (its number), ``way``, ``error`` (mean squared, on the test),
        ``rate`` (lambda, where the fit is a multiple of least squares; infinite where it is the mean).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((1200, 20))
    >>> all_rows = Rows(x, x[:, :1] + rng.standard_normal((1200, 1)))
    >>> found = shrink(all_rows[:40], all_rows[40:200], all_rows[200:], np.ones(1)).set_index("way")
    >>> bool(found.error[PRESCRIBED] < found.error[TRUE_LENGTH] < found.error[LEAST_SQUARES])
    True
    """
    moments = Moments.from_data(rows.inputs, rows.targets)
    target_mean = rows.targets.mean(axis=0)
    kappa = np.sqrt(np.minimum(1.0, moments.r_squared) * moments.target_var)
    fit = theory.least_squares(moments, kappa).weights
    fitted = (test.inputs - moments.mean) @ fit  # (m, k)
    left = test.targets - target_mean
    projected, squared = (left * fitted).mean(axis=0), np.square(fitted).mean(axis=0)
    factors = {
        LEAST_SQUARES: np.ones_like(kappa),
        TRUE_LENGTH: length / kappa,  # theorem least-squares: v = (gamma/kappa) times the fit
        PRESCRIBED: theory.recommended_gamma(moments, len(rows)) / kappa,
        LEFT_OUT: theory.leave_one_out_scale(rows.inputs, rows.targets),
        BEST_SCALE: np.maximum(0.0, projected / squared),
    }
    errors = {
        way: np.square(left).mean(axis=0) - 2 * factor * projected + factor**2 * squared
        for way, factor in factors.items()
    }
    errors |= _ridges(rows, held_out, test, moments)
    with np.errstate(divide="ignore"):
        rates = {way: 1 / factor - 1 for way, factor in factors.items()}
    return pd.concat(
        pd.DataFrame({"target": range(len(kappa)), "way": way, "error": errors[way], "rate": rates.get(way, np.nan)})
        for way in WAYS
    )


def _ridges(rows, held_out, test, moments):
    """Mean squared errors of the ways that turn the fit."""
    s, U = moments.spectrum
    decays = DECAYS * s.mean()
    along = U.T @ moments.cross  # (d, k)
    path = along[:, :, None] / (s[:, None, None] + decays)  # (d, k, decays)
    target_mean = rows.targets.mean(axis=0)

    def error(part, coefficients):
        predicted = np.tensordot((part.inputs - moments.mean) @ U, coefficients, 1)
        left = part.targets - target_mean
        return np.square(left.reshape(left.shape + (1,) * (predicted.ndim - 2)) - predicted).mean(axis=0)

    chosen = error(held_out, path).argmin(axis=1)
    best = np.take_along_axis(path, chosen[None, :, None], axis=2)[..., 0]
    # scikit-learn's penalty is on the sum over rows
    ridge = RidgeCV(alphas=len(rows) * decays, alpha_per_target=True).fit(rows.inputs, rows.targets)
    evidence = [BayesianRidge().fit(rows.inputs, target).predict(test.inputs) for target in rows.targets.T]
    return {
        # of a single target scikit-learn drops the column
        RIDGE_CV: np.square(test.targets - ridge.predict(test.inputs).reshape(test.targets.shape)).mean(axis=0),
        BAYESIAN: np.square(test.targets - np.transpose(evidence)).mean(axis=0),
        RIDGE_HELD_OUT: error(test, best),
    }


def learned_on_batches(rows, batch_size, batches, rng):
    """The unit with gamma learned on batches drawn from the rows without replacement, at rest.

    Parameters
    ----------
    rows : Rows
        With one target.
    batch_size : int
        M.
    batches : int
        How many stand for all of them.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray, shape (d,)
        Effective weights on the statistics of all rows: ``held``, the direction that of the full batch; ``trained``,
        the direction where the mean loss over batches is least, gamma learned along with it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 3))
    >>> found = learned_on_batches(Rows(x, x[:, :1] + rng.standard_normal((60, 1))), 8, 500, rng)
    >>> sorted(found), found["held"].shape
    (['held', 'trained'], (3,))
    """
    n, d = rows.inputs.shape
    centred = rows.inputs - rows.inputs.mean(axis=0)
    U, s, V = np.linalg.svd(centred, full_matrices=False)
    white = U * np.sqrt(n)  # of the rows: BN does not see the difference (theorem invariance), the optimizer does
    target = rows.targets[:, 0] - rows.targets[:, 0].mean()
    chosen = np.argsort(rng.random((batches, n)), axis=1)[:, :batch_size]
    x, t = white[chosen].reshape(-1, d), target[chosen]
    t = t - t.mean(axis=1, keepdims=True)

    def shortfall(w):
        """Minus the mean of <t z_hat> over batches, and its gradient in w."""
        z = (x @ w).reshape(batches, batch_size)
        z -= z.mean(axis=1, keepdims=True)
        std = z.std(axis=1, keepdims=True)
        explained = (t * z).mean(axis=1, keepdims=True) / std
        pull = t / std - explained * z / std**2
        return -explained.mean(), -(pull.ravel() @ x) / pull.size

    free = white.T @ target / n
    found = minimize(shortfall, free, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 1e-7})
    back = V.T / (s / np.sqrt(n))
    gammas = {"held": (free, -shortfall(free)[0]), "trained": (found.x, -found.fun)}
    return {name: gamma * (back @ w) / np.linalg.norm(w) for name, (w, gamma) in gammas.items()}
