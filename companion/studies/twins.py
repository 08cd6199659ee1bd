"""Networks without batch normalization that pay the rates that it had set: what theorem stationarity promises of them.

A network with batch normalization behind its first layer comes to rest on one batch. Its rates are read. Its twin has no
batch normalization: it pays lambda / 2 v'Sigma v for every unit instead.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import meter, theory, training


@dataclass(frozen=True, eq=False)
class Rest:
    """A network with batch normalization at rest.

    Parameters
    ----------
    model : torch.nn.Sequential
        `Linear` without bias, `BatchNorm1d`, and what follows.
    inputs : torch.Tensor, shape (n, d)
    labels : torch.Tensor, shape (n,)
    cov : torch.Tensor, shape (d, d)
        Of the inputs.
    rates : torch.Tensor, shape (units,)
    weights : torch.Tensor, shape (units, d)
        Effective weights of the first layer.
    left : float
        The largest entry, in size, of the gradient that is left.
    """

    model: nn.Sequential
    inputs: torch.Tensor
    labels: torch.Tensor
    cov: torch.Tensor
    rates: torch.Tensor
    weights: torch.Tensor
    left: float

    def folded(self):
        """The same function without batch normalization: its twin before it pays anything.

        Returns
        -------
        torch.nn.Sequential
            Rows of the first `Linear` are the effective weights; what follows is copied.
        """
        linear = nn.Linear(*reversed(self.weights.shape), dtype=self.weights.dtype)
        linear.weight.data = self.weights.clone()
        linear.bias.data = self.model[1].bias.detach() - self.weights @ self.inputs.mean(dim=0)
        return nn.Sequential(linear, *copy.deepcopy(self.model[2:]))


def at_rest(model, inputs, labels, objective=None, iterations=100):
    """Minimize a network with batch normalization on one batch until nothing is left of the gradient but rounding.

    Parameters
    ----------
    model : torch.nn.Sequential
        `Linear` without bias, `BatchNorm1d`, and what follows, in float64. Changed in place.
    inputs : torch.Tensor, shape (n, d), dtype float64
    labels : torch.Tensor, shape (n,), dtype int64
    objective : callable, optional
        ``objective(model)``, the scalar to minimize; default: the cross-entropy.
    iterations : int
        See `bnlib.training.settle`.

    Returns
    -------
    Rest

    Examples
    --------
    >>> from bnlib.models import network
    >>> x = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(20, 3)[:, :2] ** torch.tensor([1, 2])
    >>> labels = torch.arange(20) % 2
    >>> found = at_rest(
    ...     network((2, 2), normalize_output=True, gamma=0.1, eps=1e-30, dtype=torch.float64), x, labels
    ... )
    >>> found.left < 1e-9, torch.allclose(found.folded()(x), found.model(x))
    (True, True)
    """
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wanted = objective or (lambda model: cross_entropy(model(inputs), labels))
    left = training.settle(learned, lambda: wanted(model), iterations)
    cov = torch.cov(inputs.T, correction=0)
    w, gamma = (layer.weight.detach() for layer in model[:2])
    return Rest(
        model=model,
        inputs=inputs,
        labels=labels,
        cov=cov,
        rates=torch.from_numpy(meter.measure(model, [(inputs, labels)], cross_entropy).rate),
        weights=torch.from_numpy(theory.effective_weights(w, gamma, cov, model[1].eps)),
        left=left,
    )


def penalty(weights, rates, cov):
    """What a twin pays: the sum over units of lambda / 2 v'Sigma v.

    Parameters
    ----------
    weights : torch.Tensor, shape (units, d)
    rates : torch.Tensor, shape (units,)
    cov : torch.Tensor, shape (d, d)

    Returns
    -------
    torch.Tensor, a scalar

    Examples
    --------
    >>> float(penalty(torch.tensor([[1.0, 2.0]]), torch.tensor([0.5]), torch.eye(2)))
    1.25
    """
    return (rates * ((weights @ cov) * weights).sum(dim=1)).sum() / 2


def refit(found, rates, iterations=400):
    """Softmax regression from zero weights that pays `rates`: the twin of a normalized read-out, trained by itself.

    Parameters
    ----------
    found : Rest
        Of a read-out: `Linear` and `BatchNorm1d` alone.
    rates : torch.Tensor, shape (units,)
    iterations : int
        See `bnlib.training.settle`.

    Returns
    -------
    weights : torch.Tensor, shape (units, d)
    bias : torch.Tensor, shape (units,)
    left : float
        The largest entry, in size, of the gradient that is left.

    Notes
    -----
    With a negative rate there is no minimum, and the weights may be anything, infinite ones included.

    Examples
    --------
    >>> from bnlib.models import network
    >>> x = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(20, 3)[:, :2] ** torch.tensor([1, 2])
    >>> read_out = network((2, 2), normalize_output=True, gamma=0.1, eps=1e-30, dtype=torch.float64)
    >>> found = at_rest(read_out, x, (x[:, 0] > 0.1).long())
    >>> weights, _, _ = refit(found, found.rates)
    >>> torch.allclose(weights, found.weights)
    True
    """
    v = torch.zeros_like(found.weights, requires_grad=True)
    b = torch.zeros(len(v), dtype=v.dtype, requires_grad=True)

    def loss():
        return cross_entropy(found.inputs @ v.T + b, found.labels) + penalty(v, rates, found.cov)

    left = training.settle([v, b], loss, iterations)
    return v.detach(), b.detach(), left


def distance(found, reference):
    """Distance of weights from others, as a share of the length of those; infinite for a search that ran off.

    Examples
    --------
    >>> distance(np.array([1.0, 1.0]), np.array([1.0, 0.0]))
    1.0
    """
    found, reference = np.asarray(found), np.asarray(reference)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
