"""Minimizing any loss of any model: stochastic gradient descent as anyone would write it, and L-BFGS to rest."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from bnlib.layers import check_module, check_tensor, output_of
from bnlib.objects import function, items
from bnlib.validation import level, whole


def fit(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    learning_rate: float | Callable[[int], float],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    parameters: Iterable[Any] | None = None,
    observe: Callable[[int, nn.Module], object] | None = None,
) -> nn.Module:
    """Stochastic gradient descent, as plain as ``torch.optim.SGD`` has it: a step a batch.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place; put into training mode, and left in it.
    batches : iterable of (inputs, targets)
        ``itertools.repeat((inputs, targets), steps)`` makes it gradient descent on all the data.
    loss_fn : callable
        ``loss_fn(model(inputs), targets)``, a scalar; it may look at the model too, to add a penalty.
    learning_rate : float or callable
        One number, or ``learning_rate(step)``, steps from 0.
    momentum, weight_decay : float
    parameters : iterable of torch.nn.Parameter or of dict, optional
        What is learned; default: all that requires a gradient. A dict is a group of torch's, such as
        ``{"params": [gamma], "weight_decay": 0.1}``; one with an ``lr`` keeps it at every step.
    observe : callable, optional
        ``observe(step, model)``, called before every step and after the last one. Gradients are those of the step
        before, None at step 0; the model must not be changed.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ValueError
        If there is no batch, or the model has nothing to learn; if `loss_fn` does not give a scalar that depends on it,
        or an argument is no such thing at all. A loss that is not finite is not refused: the parameters show it.

    Examples
    --------
    >>> from itertools import repeat
    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> line = fit(nn.Linear(1, 1), repeat((x, 3 * x + 1), 200), half_squared_error, learning_rate=0.5)
    >>> round(line.weight.item(), 4), round(line.bias.item(), 4)
    (3.0, 1.0)
    """
    check_module(model)
    function("loss_fn", loss_fn)
    if observe is not None:
        function("observe", observe)
    if not callable(learning_rate):
        learning_rate = level("learning_rate", learning_rate)
    momentum, weight_decay = level("momentum", momentum), level("weight_decay", weight_decay)
    if parameters is not None:
        parameters = items("parameters", parameters, (torch.Tensor, dict), "torch.nn.Parameter, or groups of them")
    learned = list(model.parameters() if parameters is None else parameters)
    learned = [entry for entry in learned if isinstance(entry, dict) or entry.requires_grad]
    if not learned:
        raise ValueError(f"model ({type(model).__name__}) has nothing to learn; a parameter must require a gradient")
    fixed = ["lr" in entry for entry in learned if isinstance(entry, dict)] or [False]
    optimizer = torch.optim.SGD(learned, 0.0, momentum, weight_decay=weight_decay)
    model.train()
    step = -1
    for step, (x, target) in enumerate(map(pair, iterated(batches))):
        if observe is not None:
            observe(step, model)
        rate = level("learning_rate", learning_rate(step)) if callable(learning_rate) else learning_rate
        for group, keeps in zip(optimizer.param_groups, fixed):
            if not keeps:
                group["lr"] = rate
        optimizer.zero_grad()
        _scalar("loss_fn", loss_fn(output_of(model, x), target)).backward()
        optimizer.step()
    if step < 0:
        raise ValueError("batches is empty; give at least one (inputs, targets)")
    if observe is not None:
        observe(step + 1, model)
    return model


def half_squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Half the squared error, summed over the outputs, averaged over the batch: the loss of theorem least-squares.

    Parameters
    ----------
    output : torch.Tensor, shape (n,) or (n, k)
    target : torch.Tensor, shape of `output`
        For one output (n, 1) also (n,).

    Returns
    -------
    torch.Tensor, a scalar
        NaN or infinite where an entry is.

    Raises
    ------
    ValueError
        If shapes differ: torch would spread one over the other. If one is no tensor of real numbers, or has no rows.

    Examples
    --------
    >>> float(half_squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 0.0])))
    2.5
    """
    check_tensor("output", output)
    check_tensor("target", target)
    if not output.numel() or not output.ndim:
        raise ValueError(f"output has shape {tuple(output.shape)}; it must have rows")
    if not output.is_floating_point():
        raise ValueError(f"output is of dtype {output.dtype}; it must hold floats")
    if target.shape != output.shape:
        if target.shape != output.shape[:1] or output.shape[1:] != (1,):
            raise ValueError(
                f"target has shape {tuple(target.shape)}; it must be that of output, {tuple(output.shape)}"
            )
        target = target[:, None]
    return (output - target).square().reshape(len(output), -1).sum(dim=1).mean() / 2


def settle(parameters: Sequence[torch.Tensor], objective: Callable[[], torch.Tensor], iterations: int = 100) -> float:
    """Minimize to rest: L-BFGS until nothing is left of the gradient but rounding.

    Parameters
    ----------
    parameters : sequence of torch.nn.Parameter
        Changed in place; float64 where rest is to mean rest.
    objective : callable
        ``objective()``, the scalar to minimize.
    iterations : int
        Of the first pass.

    Returns
    -------
    float
        The largest entry, in size, of the gradient that is left.

    Raises
    ------
    ValueError
        If parameters are no tensors, or none requires a gradient, or `objective` gives no scalar that depends on one;
        if `iterations` is no whole number above 0.

    Examples
    --------
    >>> w = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    >>> settle([w], lambda: (w - 1).square().sum()) < 1e-12
    True
    """
    parameters = items("parameters", parameters, torch.Tensor, "torch.nn.Parameter")
    iterations = whole("iterations", iterations, 1)
    function("objective", objective)
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(f"parameters has {len(parameters)} that require no gradient; what is minimized over must")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = _scalar("objective", objective())
        loss.backward()
        return loss

    # the line search stops where losses differ by rounding only; the second pass compares none
    for line_search, steps in (("strong_wolfe", iterations), (None, 300)):
        optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=steps,
            history_size=50,
            tolerance_grad=1e-12,
            tolerance_change=0.0,
            line_search_fn=line_search,
        )
        optimizer.step(closure)
    closure()
    left = [float(parameter.grad.abs().max()) for parameter in parameters if parameter.grad is not None]
    if not left:
        raise ValueError(
            f"objective depends on none of the {len(parameters)} parameters; there is nothing to minimize over"
        )
    return max(left)


def iterated(batches: Any) -> Iterable[Any]:
    """`batches`, or a ValueError where it gives none, one after another."""
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise ValueError(f"batches is a {type(batches).__name__}; it must give (inputs, targets), one after another")
    return batches


def pair(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch, or a ValueError where it is no pair."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        found = type(batch).__name__ + (f" of {len(batch)}" if isinstance(batch, (tuple, list)) else "")
        raise ValueError(f"batches holds a {found}; each must be (inputs, targets)")
    return batch[0], batch[1]


def _scalar(name: str, loss: Any) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ValueError(f"{name} gives no scalar but {found}; it must give a tensor of one number")
    if not loss.requires_grad:
        raise ValueError(f"{name} gives a number without a gradient; it must be computed from what is learned")
    return loss
