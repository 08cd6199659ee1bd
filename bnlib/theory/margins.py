"""Batch normalization on data that its unit can fit without error: which margins it leaves."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from bnlib.validation import finite_array


@dataclass(frozen=True)
class UniformMargins:
    """What `uniform_margins` returns.

    Parameters
    ----------
    beta : float
        The shift of batch normalization.
    positive, negative : float
        The margin t y of every row with t = 1, and of every row with t = -1.
    rate : float
        Positive at every gamma: a margin loss can always be made smaller by a longer output.
    """

    beta: float
    positive: float
    negative: float
    rate: float


def uniform_margins(share: float, gamma: float) -> UniformMargins:
    """Batch normalization with logistic loss, a fixed scale and a learned shift, on rows that it interpolates (theorem margins).

    Parameters
    ----------
    share : float
        Of the rows with the label 1, between 0 and 1; the others have the label -1.
    gamma : float
        Positive: w gives its sign.

    Returns
    -------
    UniformMargins

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or `gamma` is not positive.

    Notes
    -----
    Up to what no row can see, the weights are those of theorem least-squares, v = (gamma / sigma_t) Sigma^+ c, at every
    gamma and for every margin loss.

    Examples
    --------
    >>> found = uniform_margins(0.5, gamma=2.0)
    >>> found.beta, found.positive, found.negative, round(found.rate, 4)
    (0.0, 2.0, 2.0, 0.0596)
    """
    share, gamma = (
        float(finite_array(name, value, ndim=0, squared=True)) for name, value in (("share", share), ("gamma", gamma))
    )
    if not 0 < share < 1:
        raise ValueError(f"share = {share:g} leaves one class; it must be between 0 and 1")
    if not gamma > 0:
        raise ValueError(f"gamma = {gamma:g} must be positive")
    up, down = gamma * np.sqrt((1 - share) / share), gamma * np.sqrt(share / (1 - share))

    def pull(beta: float) -> float:
        """What the loss gains by a larger shift."""
        return float(share * expit(-(up + beta)) - (1 - share) * expit(-(down - beta)))

    # at -up the first term is share / 2 and more, and at down the second one (1 - share) / 2 and more
    reach = up + down + abs(np.log(share / (1 - share))) + 1
    beta = 0.0 if share == 0.5 else float(brentq(pull, -reach, reach, xtol=1e-14, rtol=1e-14))
    positive, negative = float(up + beta), float(down - beta)
    rate = np.sqrt(share * (1 - share)) / gamma * (expit(-positive) + expit(-negative))
    return UniformMargins(beta, positive, negative, float(rate))
