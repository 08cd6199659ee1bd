"""Momentum and weight decay on weights whose length the loss does not see: how far a step turns them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.theory.arguments import one_shape
from bnlib.validation import finite_array, nonnegative, number, within_floats


def mean_turn(
    learning_rate: ArrayLike, weight_decay: ArrayLike, momentum: ArrayLike = 0.0, decoupled: bool = False
) -> NDArray[np.float64]:
    """Where mean squared steps over mean squared lengths go under weight decay (theorem momentum).

    Parameters
    ----------
    learning_rate, weight_decay : float or ndarray
        Constant over training, at least 0.
    momentum : float or ndarray
        mu of ``torch.optim.SGD``, or beta_1 of the decoupled rule; from 0 to below 1.
    decoupled : bool
        Whether the decay shrinks the weights by 1 - learning_rate * weight_decay beside the step, as AdamW has it,
        instead of joining the gradient. The step is then what moves the weights beside their shrinking; and it is a mean of
        gradients, over one number for all weights. AdamW divides each weight by a number of its own, and is near
        this only.

    Returns
    -------
    float or ndarray
        The limit of sum of norm(step)^2 over sum of norm(w)^2; its square root is about the angle in radians.

    Raises
    ------
    ValueError
        If a value is out of its range, shapes do not go together, or a decoupled decay takes all at once.

    Examples
    --------
    >>> float(mean_turn(0.1, 5e-4, momentum=0.9).round(10))
    5.26316e-05
    """
    mu = finite_array("momentum", momentum, ndim=(0, 1))
    if (mu < 0).any() or (mu >= 1).any():
        raise ValueError(f"momentum = {momentum} must be from 0 to below 1")
    step, decay = nonnegative("learning_rate", learning_rate), nonnegative("weight_decay", weight_decay)
    one_shape(learning_rate=step, weight_decay=decay, momentum=mu)
    with within_floats(learning_rate=step, weight_decay=decay):
        product = step * decay
    if not decoupled:
        return 2 * product / (1 + mu)
    if (product >= 1).any():
        raise ValueError(f"learning_rate * weight_decay = {np.max(product):g} leaves nothing of w; it must be below 1")
    kept = 1 - product
    return product * (1 + kept) * (1 - mu * kept) / (1 + mu * kept)


def turn_balance(
    path: ArrayLike, learning_rate: float, weight_decay: float, momentum: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides of the balance of steps, lengths and decay along a training (theorem momentum).

    Parameters
    ----------
    path : array_like, shape (steps + 1, n) or (steps + 1, units, n)
        The weights before the first step, and after each: of a unit, of units, or of a layer in one row.
    learning_rate, weight_decay, momentum : float
        Of ``torch.optim.SGD`` without dampening, constant.

    Returns
    -------
    steps, lengths : float or ndarray, shape (units,)
        (1 + mu) sum norm(d_k)^2 - mu norm(d_last)^2, and what lengths and decay say that it is. Equal for weights whose length
        the loss does not see, whatever it is otherwise.

    Raises
    ------
    ValueError
        If a value is out of its range, or `path` has no step.

    Examples
    --------
    >>> steps, lengths = turn_balance([[1.0, 0.0], [1.0, 0.5]], learning_rate=0.5, weight_decay=0.0)
    >>> float(steps), float(lengths)
    (0.25, 0.25)
    """
    path = finite_array("path", path, ndim=(2, 3), squared=True)
    if len(path) < 2:
        raise ValueError(f"path has {len(path)} row(s); it must have at least 2, before a step and after it")
    mu = number("momentum", momentum)
    if not 0 <= mu < 1:
        raise ValueError(f"momentum = {momentum} must be from 0 to below 1")
    step = nonnegative("learning_rate", number("learning_rate", learning_rate))
    decay = nonnegative("weight_decay", number("weight_decay", weight_decay))
    with within_floats(learning_rate=step, weight_decay=decay):
        decayed = step * decay
    squares = np.square(path).sum(axis=-1)
    steps = np.square(np.diff(path, axis=0)).sum(axis=-1)
    before = squares[-2] if len(steps) > 1 else squares[0]
    grown = (squares[-1] - squares[0]) - mu * (before - squares[0])
    with within_floats(path=path, learning_rate=step, weight_decay=decay):
        return (1 + mu) * steps.sum(axis=0) - mu * steps[-1], grown + 2 * decayed * squares[:-1].sum(axis=0)
