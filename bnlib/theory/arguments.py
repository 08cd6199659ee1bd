"""What the closed forms ask of gamma, of weights with their gradients, of moments, and of numbers of rows."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.moments import Moments
from bnlib.objects import of_class
from bnlib.validation import finite_array, nonzero, positive


def given_moments(moments: Moments) -> Moments:
    """`moments`, after checking that it is an object of `Moments`."""
    return of_class("moments", moments, Moments)


def paired(v: ArrayLike, grad_v: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and gradient as arrays of one shape, (d,) or (k, d)."""
    v, grad_v = finite_array("v", v, ndim=(1, 2), squared=True), finite_array("grad_v", grad_v, ndim=(1, 2), power=2)
    if v.shape != grad_v.shape:
        raise ValueError(f"grad_v has shape {grad_v.shape}; it must be that of v, {v.shape}")
    return v, grad_v


def one_shape(**arguments: NDArray[np.float64]) -> None:
    """Refuse arrays that cannot be spread to one shape."""
    shapes = {name: array.shape for name, array in arguments.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"the shapes of {told} do not go together; give numbers, or arrays of one shape") from None


def scale(gamma: ArrayLike, units: tuple[int, ...]) -> NDArray[np.float64]:
    """gamma as an array: one number, or one for each unit, where `units` is the shape () or (k,)."""
    gamma = nonzero("gamma", finite_array("gamma", gamma, ndim=(0, 1), squared=True))
    if gamma.shape not in ((), units):
        raise ValueError(
            f"gamma has shape {gamma.shape}; it must be one number" + (f" or have shape {units}" if units else "")
        )
    return gamma


def positive_explained(moments: Moments) -> NDArray[np.float64]:
    """R^2 sigma_t^2, after checking that it is positive for every target."""
    explained = moments.r_squared * moments.target_var
    if (explained <= 0).any():
        raise ValueError(
            "R sigma_t = 0: the target is uncorrelated with every input, so all directions are equally good; "
            "cross must have a nonzero part where cov is nonzero"
        )
    return explained


def rows_and_inputs(rows: int, inputs: int) -> tuple[int, int]:
    """n and d, after checking that the mean error of least squares is finite."""
    n, d = int(positive("rows", rows, whole=True)), int(positive("inputs", inputs, whole=True))
    if n < d + 3:
        raise ValueError(f"rows = {n} are too few for {d} inputs; they must be at least inputs + 3 = {d + 3}")
    return n, d
