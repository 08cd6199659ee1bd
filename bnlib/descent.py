"""Minimizing any loss of any model: stochastic gradient descent as anyone would write it, and L-BFGS to rest."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn


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
        If there is no batch, or the model has nothing to learn.

    Examples
    --------
    >>> from itertools import repeat
    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> line = fit(nn.Linear(1, 1), repeat((x, 3 * x + 1), 200), half_squared_error, learning_rate=0.5)
    >>> round(line.weight.item(), 4), round(line.bias.item(), 4)
    (3.0, 1.0)
    """
    learned = list(model.parameters() if parameters is None else parameters)
    learned = [entry for entry in learned if isinstance(entry, dict) or entry.requires_grad]
    if not learned:
        raise ValueError(f"model ({type(model).__name__}) has nothing to learn; a parameter must require a gradient")
    fixed = ["lr" in entry for entry in learned if isinstance(entry, dict)] or [False]
    optimizer = torch.optim.SGD(learned, 0.0, momentum, weight_decay=weight_decay)
    model.train()
    step = -1
    for step, (x, target) in enumerate(batches):
        if observe is not None:
            observe(step, model)
        rate = learning_rate(step) if callable(learning_rate) else learning_rate
        for group, keeps in zip(optimizer.param_groups, fixed):
            if not keeps:
                group["lr"] = rate
        optimizer.zero_grad()
        loss_fn(model(x), target).backward()
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

    Raises
    ------
    ValueError
        If shapes differ: torch would spread one over the other.

    Examples
    --------
    >>> float(half_squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 0.0])))
    2.5
    """
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

    Examples
    --------
    >>> w = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    >>> settle([w], lambda: (w - 1).square().sum()) < 1e-12
    True
    """

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective()
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
    return max(float(parameter.grad.abs().max()) for parameter in parameters if parameter.grad is not None)
