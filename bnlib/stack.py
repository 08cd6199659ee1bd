"""Many small networks trained as one: what they share is computed once.

Networks that see the same batch differ in nothing but their parameters. Their first layers, by far the largest,
make one matrix product, their deeper layers batched products, and each kind of normalization acts on a slice. The
parameters of the given models become views of the stack's arrays: the models are trained in place and can be looked
at after any step.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bnlib.layers import check_module, check_tensor
from bnlib.models import NORMALIZATIONS
from bnlib.objects import items
from bnlib.validation import finite_array, level, nonnegative


class Stack:
    """Networks of the same widths, trained together by the rule of ``torch.optim.SGD``.

    Activations have the shape (networks, units, batch): networks of a kind lie next to each other, and so does the
    batch of a unit, which batch normalization averages over.

    Parameters
    ----------
    models : sequence of torch.nn.Sequential
        From `bnlib.models.network`, alike in widths and dtype, on one device. Trained in place.
    weight_decays : sequence of float
        For each model, on every parameter that is learned.
    momentum : float

    Raises
    ------
    ValueError
        If there is no model, one is none of `bnlib.models.network`, or their widths differ; if there is not one decay,
        of at least 0, for each, or `momentum` is negative.

    Examples
    --------
    >>> from bnlib.models import network
    >>> models = [network((5, 4, 3), kind) for kind in ("batch", "none")]
    >>> losses = Stack(models, [0.0, 1e-3], momentum=0.9).step(torch.randn(16, 5), torch.arange(16) % 3, 0.1)
    >>> losses.shape
    torch.Size([2])
    """

    def __init__(self, models: Sequence[nn.Sequential], weight_decays: Sequence[float], momentum: float) -> None:
        models = items("models", models, nn.Sequential, "torch.nn.Sequential")
        weight_decays = nonnegative("weight_decays", finite_array("weight_decays", weight_decays, ndim=1)).tolist()
        if len(weight_decays) != len(models):
            raise ValueError(
                f"weight_decays has {len(weight_decays)} numbers; it must have one for each of {len(models)} models"
            )
        momentum = level("momentum", momentum)
        networks = [blocks_of(model) for model in models]
        widths = {tuple(linear.out_features for linear, _ in blocks) for blocks in networks}
        if len(widths) != 1:
            raise ValueError(f"models have the widths {sorted(widths)}; all must be alike, and at least one given")
        kinds = [tuple(_settings(*block) for block in blocks) for blocks in networks]
        self._order = sorted(range(len(models)), key=lambda index: kinds[index])
        networks = [networks[index] for index in self._order]
        decays = torch.tensor([weight_decays[index] for index in self._order], dtype=torch.float64)
        self._layers = [_Layer(blocks) for blocks in zip(*networks)]
        self._momentum = momentum

        # the weights of the first layer are by themselves: nearly all the memory and all the work is there
        self._first = self._layers[0].weight  # (networks, units, inputs)
        self._first_velocities = [torch.zeros_like(weight) for weight in self._first]
        self._first_decays = decays.tolist()
        self._others: list[Any] = []
        self._others_decays: list[Any] = []
        self._learned: list[torch.Tensor | None] = []
        for depth, layer in enumerate(self._layers):
            for parameter, rows, learned in layer.parameters(with_weight=depth > 0):
                self._others.append(parameter)
                self._others_decays.append(decays[rows].to(parameter).view(-1, *[1] * (parameter.ndim - 1)))
                self._learned.append(learned)
        self._others_velocities: list[Any] = [torch.zeros_like(parameter) for parameter in self._others]
        norms = [norm for blocks in networks for _, norm in blocks if isinstance(norm, nn.BatchNorm1d)]
        self._counters: list[Any] = [norm.num_batches_tracked for norm in norms]

    def step(self, x: torch.Tensor, targets: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """Take one step of every network on one batch.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, inputs)
        targets : torch.Tensor of int64, shape (batch,)
        learning_rate : float

        Returns
        -------
        torch.Tensor, shape (networks,)
            Mean cross-entropy of each before the step, in the order of `models`.

        Raises
        ------
        ValueError
            If there is one row, and a model with batch normalization; if `x` is no float tensor with these inputs, or
            `targets` holds no class of the networks for each row. Numbers that are not finite are not refused: the
            losses show them.

        Notes
        -----
        Gradients are written out, since autograd would copy activations that are needed once.
        """
        networks, units, inputs = self._first.shape
        self._check(x, targets, inputs)
        learning_rate = level("learning_rate", learning_rate)
        with torch.no_grad():
            z = torch.mm(self._first.view(-1, inputs), x.t()).view(networks, units, len(x))
            entered, activations = [z], []
            for layer, following in pairwise(self._layers):
                activations.append(layer.forward(entered[-1]).relu_())
                entered.append(torch.bmm(following.weight, activations[-1]))
            log_shares = functional.log_softmax(self._layers[-1].forward(entered[-1]), dim=1)
            chosen = targets.expand(networks, 1, -1)
            losses = -log_shares.gather(1, chosen).mean(dim=(1, 2))

            # backwards, by the chain rule: `grad` is that of the losses with respect to what left a layer, then what
            # entered it, in one array
            grad = log_shares.exp_().scatter_add_(1, chosen, -torch.ones_like(log_shares[:, :1])).div_(len(x))
            gradients: list[Any] = []
            for depth in range(len(self._layers) - 1, 0, -1):
                layer, h = self._layers[depth], activations[depth - 1]
                found, pulls = layer.backward(grad, entered[depth])
                weight_grad = torch.bmm(grad, h.transpose(1, 2))
                for rows, pull in pulls:
                    weight_grad[rows] += layer.weight[rows] * pull
                gradients = [weight_grad, *found, *gradients]
                grad = torch.bmm(layer.weight.transpose(1, 2), grad)
                torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)
            found, pulls = self._layers[0].backward(grad, z)
            self._update_first(x, grad, pulls, learning_rate)
            self._update_others([*found, *gradients], learning_rate)
            if self._counters:
                torch._foreach_add_(self._counters, 1)
        given = torch.empty_like(losses)
        given[self._order] = losses
        return given

    def _check(self, x: torch.Tensor, targets: torch.Tensor, inputs: int) -> None:
        check_tensor("x", x)
        check_tensor("targets", targets)
        if x.dtype != self._first.dtype or x.ndim != 2 or x.shape[1] != inputs or not len(x):
            raise ValueError(
                f"x is of {x.dtype} and shape {tuple(x.shape)}; it must be of {self._first.dtype} and (rows, {inputs})"
            )
        classes = self._layers[-1].weight.shape[1]
        if targets.dtype != torch.int64 or targets.shape != x.shape[:1]:
            raise ValueError(
                f"targets is of {targets.dtype} and shape {tuple(targets.shape)}; it must be int64, ({len(x)},)"
            )
        low, high = map(int, targets.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(f"targets goes from {low} to {high}; the networks have classes 0 to {classes - 1}")

    def _update_first(self, x: torch.Tensor, z_grad: torch.Tensor, pulls: "Pulls", learning_rate: float) -> None:
        pulled = {row: pull for rows, pulls_of_rows in pulls for row, pull in enumerate(pulls_of_rows, rows.start)}
        # a network after the other, so that weights and velocity stay in the processor's cache; the gradient is added
        # where the momentum is kept and never exists by itself
        for row, (weight, velocity, decay) in enumerate(zip(self._first, self._first_velocities, self._first_decays)):
            velocity.addmm_(z_grad[row], x, beta=self._momentum)
            if row in pulled:
                velocity.add_(weight * pulled[row])
            if decay:
                velocity.add_(weight, alpha=decay)
            weight.add_(velocity, alpha=-learning_rate)

    def _update_others(self, gradients: list[Any], learning_rate: float) -> None:
        # torch's own loops over lists: the arrays are small, and so many that calling it takes longer than they do
        gradients = list(torch._foreach_addcmul(gradients, self._others, self._others_decays))
        for gradient, learned in zip(gradients, self._learned):
            if learned is not None:
                gradient.mul_(learned)
        torch._foreach_mul_(self._others_velocities, self._momentum)
        torch._foreach_add_(self._others_velocities, gradients)
        torch._foreach_add_(self._others, self._others_velocities, alpha=-learning_rate)


class _Layer:
    """One layer of all networks: the stacked weights, and a part for each kind of normalization."""

    def __init__(self, blocks: Sequence["Block"]) -> None:
        self.weight = _stacked([_raw_weight(linear) for linear, _ in blocks])  # (networks, out, in)
        self.parts = []
        for _, alike in groupby(range(len(blocks)), key=lambda index: _settings(*blocks[index])):
            first, *others = alike
            rows = slice(first, first + 1 + len(others))
            self.parts.append(_Part(blocks[rows], rows))

    def parameters(self, with_weight: bool) -> Iterator[tuple[torch.Tensor, slice, torch.Tensor | None]]:
        """(stacked parameter, its rows among the networks, None or which of those are learned)."""
        if with_weight:
            yield self.weight, slice(None), None
        for part in self.parts:
            for name, parameter in part.parameters.items():
                yield parameter, part.rows, part.learned if name == "gamma" else None

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """From the product z (networks, out, batch) to what goes into the activation."""
        left = torch.empty_like(z)
        for part in self.parts:
            part.forward(z[part.rows], self.weight[part.rows], left[part.rows])
        return left

    def backward(self, grad: torch.Tensor, z: torch.Tensor) -> tuple[list[torch.Tensor], "Pulls"]:
        """Turn the gradient with respect to what left `forward` into that with respect to z, in place.

        Returns the gradients of `parameters` but the weight; and, where rows of weights have a length by which z is
        divided, by how much of themselves that adds to their gradient.
        """
        found = [part.backward(grad[part.rows], z[part.rows]) for part in self.parts]
        gradients = [gradient for part in found for gradient in part]
        return gradients, [(part.rows, part.pull) for part in self.parts if part.pull is not None]


class _Part:
    """What one layer of the networks of one kind has beside its weights."""

    def __init__(self, blocks: Sequence["Block"], rows: slice) -> None:
        linears, norms = zip(*blocks)
        self.kind, self.rows = _kind(linears[0], norms[0]), rows
        self.learned: torch.Tensor | None = None
        self.pull: torch.Tensor | None = None
        self._over: int | None = None
        self._saved: tuple[torch.Tensor, ...] = ()
        self.parameters: dict[str, torch.Tensor] = {}
        if linears[0].bias is not None:
            self.parameters["bias"] = _stacked([linear.bias for linear in linears])  # (rows, out)
        if self.kind == "weight":
            self.parameters["scale"] = _stacked([linear.parametrizations.weight.original0 for linear in linears])
        if self.kind in ("batch", "layer"):
            self.parameters["gamma"] = _stacked([norm.weight for norm in norms])
            self.parameters["beta"] = _stacked([norm.bias for norm in norms])
            self._eps = norms[0].eps
            self._over = 2 if self.kind == "batch" else 1  # what is averaged: the batch, or the units
        if self.kind == "batch":
            learned = torch.tensor([[norm.weight.requires_grad] for norm in norms])
            self.learned = None if learned.all() else learned.to(self.parameters["gamma"])
            self._statistics_momentum = norms[0].momentum
            self._running: list[Any] = []
            for name in ("running_mean", "running_var"):
                stacked = torch.stack([getattr(norm, name) for norm in norms])
                for norm, row in zip(norms, stacked):
                    setattr(norm, name, row)
                self._running.append(stacked.unsqueeze(2))

    def forward(self, z: torch.Tensor, weight: torch.Tensor, left: torch.Tensor) -> None:
        """Write what leaves the layer to `left`, both (rows, out, batch)."""
        own = {name: parameter.unsqueeze(2) for name, parameter in self.parameters.items() if parameter.ndim == 2}
        if self._over is not None:
            n = z.shape[2]
            if self.kind == "batch" and n < 2:
                raise ValueError(f"x has {n} row; batch normalization needs at least 2")
            if "bias" in own:
                z = z + own["bias"]
            mean = z.mean(dim=self._over, keepdim=True)
            deviation = z - mean
            variance = deviation.square().mean(dim=self._over, keepdim=True)
            scale = (variance + self._eps).rsqrt_()
            normalized = deviation.mul_(scale)
            self._saved = (normalized, scale)
            torch.mul(normalized, own["gamma"], out=left).add_(own["beta"])
            if self.kind == "batch":
                torch._foreach_lerp_(self._running, [mean, variance * (n / (n - 1))], self._statistics_momentum)
        elif self.kind == "weight":
            length = weight.norm(dim=2, keepdim=True)
            self._saved = (length,)
            torch.mul(z, self.parameters["scale"] / length, out=left).add_(own["bias"])
        else:
            torch.add(z, own["bias"], out=left)

    def backward(self, grad: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
        """As for a layer; the gradients of `parameters`, in their order."""
        if self.kind == "weight":
            (length,), scale = self._saved, self.parameters["scale"]
            scale_grad = (grad * z).sum(dim=2, keepdim=True) / length
            self.pull = -scale_grad * scale / length.square()
            bias_grad = grad.sum(dim=2)
            grad.mul_(scale / length)
            return [bias_grad, scale_grad]
        bias_grad = grad.sum(dim=2)
        if self.kind == "none":
            return [bias_grad]
        normalized, scale = self._saved
        gamma_grad = (grad * normalized).sum(dim=2)
        grad.mul_(self.parameters["gamma"].unsqueeze(2))
        along = (grad * normalized).mean(dim=self._over, keepdim=True)
        grad.sub_(grad.mean(dim=self._over, keepdim=True)).sub_(normalized.mul_(along)).mul_(scale)
        found = [gamma_grad, bias_grad]
        return [grad.sum(dim=2), *found] if "bias" in self.parameters else found


Block = tuple[Any, Any]  # a linear layer, and the module that normalizes its output or None
Pulls = list[tuple[slice, torch.Tensor]]


def blocks_of(model: nn.Sequential) -> list["Block"]:
    """The layers of a network as pairs: the `Linear` and the module that normalizes its output, or None.

    Raises
    ------
    ValueError
        If `model` is not one of `bnlib.models.network`: it has other layers.
    """
    check_module(model)
    known = (nn.Linear, nn.BatchNorm1d, nn.LayerNorm, nn.ReLU)
    if not isinstance(model, nn.Sequential) or not len(model) or not all(isinstance(module, known) for module in model):
        raise ValueError(
            f"model is a {type(model).__name__} of other layers than bnlib.models.network has; give one of its"
        )
    modules = [module for module in model if not isinstance(module, nn.ReLU)]
    following = [*modules[1:], None]
    return [
        (linear, norm if isinstance(norm, (nn.BatchNorm1d, nn.LayerNorm)) else None)
        for linear, norm in zip(modules, following)
        if isinstance(linear, nn.Linear)
    ]


def _kind(linear: Any, norm: Any) -> str:
    if isinstance(norm, nn.BatchNorm1d):
        return "batch"
    if isinstance(norm, nn.LayerNorm):
        return "layer"
    return "weight" if hasattr(linear, "parametrizations") else "none"


def _settings(linear: Any, norm: Any) -> tuple[int, float, float]:
    """What networks must have in common, layer by layer, to share a part; sortable."""
    return NORMALIZATIONS.index(_kind(linear, norm)), getattr(norm, "eps", 0.0), getattr(norm, "momentum", 0.0)


def _raw_weight(linear: Any) -> torch.Tensor:
    return linear.parametrizations.weight.original1 if _kind(linear, None) == "weight" else linear.weight


def _stacked(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The parameters as one array with a row for each, of which they become views."""
    stacked = torch.stack([parameter.detach() for parameter in parameters])
    for parameter, row in zip(parameters, stacked):
        parameter.data = row
    return stacked
