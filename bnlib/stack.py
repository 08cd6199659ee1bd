"""Many small networks trained as one: what they share is computed once.

Networks that see the same batch differ in nothing but their parameters. Their first layers, by far the largest,
make one matrix product, their deeper layers batched products, and each kind of normalization acts on a slice. The
parameters of the given models become views of the stack's arrays: the models are trained in place and can be looked
at after any step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bnlib.models import NORMALIZATIONS


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
        If there is no model, or their widths differ.

    Examples
    --------
    >>> from bnlib.models import network
    >>> models = [network((5, 4, 3), kind) for kind in ("batch", "none")]
    >>> losses = Stack(models, [0.0, 1e-3], momentum=0.9).step(torch.randn(16, 5), torch.arange(16) % 3, 0.1)
    >>> losses.shape
    torch.Size([2])
    """

    def __init__(self, models: Sequence[nn.Sequential], weight_decays: Sequence[float], momentum: float) -> None:
        networks = [blocks_of(model) for model in models]
        widths = {tuple(linear.out_features for linear, _ in blocks) for blocks in networks}
        if len(widths) != 1:
            raise ValueError(f"models have the widths {sorted(widths)}; all must be alike, and at least one given")
        kinds = [tuple(_settings(*block) for block in blocks) for blocks in networks]
        self._order = sorted(range(len(models)), key=lambda index: kinds[index])
        networks = [networks[index] for index in self._order]
        decays = torch.tensor([weight_decays[index] for index in self._order], dtype=torch.float64)
        sizes = [kinds.count(kind) for kind in sorted(set(kinds))]
        self._layers = [_Layer(blocks, sizes) for blocks in zip(*networks)]
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
                self._others.append(parameter.requires_grad_())
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
        """
        networks, units, inputs = self._first.shape
        z = torch.mm(self._first.view(-1, inputs), x.t()).view(networks, units, len(x)).requires_grad_()
        # weight normalization divides by the length of a row, which enters as a variable of its own
        lengths = {part: length.requires_grad_() for part, length in self._layers[0].lengths().items()}
        losses = self._losses(z, lengths, targets)
        z_grad, *gradients = torch.autograd.grad(losses.sum(), [z, *self._others, *lengths.values()])
        with torch.no_grad():
            # the gradient of a row's length is along the row
            pulls = {
                row: pull
                for (part, length), gradient in zip(lengths.items(), gradients[len(self._others) :])
                for row, pull in enumerate(gradient / length, start=part.rows.start)
            }
            self._update_first(x, z_grad, pulls, learning_rate)
            self._update_others(gradients[: len(self._others)], learning_rate)
            if self._counters:
                torch._foreach_add_(self._counters, 1)
        given = torch.empty_like(losses)
        given[self._order] = losses.detach()
        return given

    def _update_first(
        self,
        x: torch.Tensor,
        z_grad: torch.Tensor,
        pulls: dict[int, torch.Tensor],
        learning_rate: float,
    ) -> None:
        # a network after the other, so that weights and velocity stay in the processor's cache; the gradient is added
        # where the momentum is kept and never exists by itself
        for row, (weight, velocity, decay) in enumerate(zip(self._first, self._first_velocities, self._first_decays)):
            velocity.addmm_(z_grad[row], x, beta=self._momentum)
            if row in pulls:
                velocity.addcmul_(weight, pulls[row])
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

    def _losses(self, z: torch.Tensor, lengths: "Lengths", targets: torch.Tensor) -> torch.Tensor:
        z = self._layers[0].finish(z, lengths)
        for layer in self._layers[1:]:
            z = layer.finish(torch.bmm(layer.weight, z.relu_()), layer.lengths())
        return functional.cross_entropy(z, targets.expand(len(z), -1), reduction="none").mean(dim=1)


class _Layer:
    """One layer of all networks: the stacked weights, and a part for each kind of normalization."""

    def __init__(self, blocks: Sequence["Block"], sizes: Sequence[int]) -> None:
        self.weight = _stacked([_raw_weight(linear) for linear, _ in blocks])  # (networks, out, in)
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self.parts = [
            _Part(blocks[start : start + size], slice(start, start + size)) for start, size in zip(starts, sizes)
        ]
        self._sizes = sizes

    def parameters(self, with_weight: bool) -> Iterator[tuple[torch.Tensor, slice, torch.Tensor | None]]:
        """(stacked parameter, its rows among the networks, None or which of those are learned)."""
        if with_weight:
            yield self.weight, slice(None), None
        for part in self.parts:
            for name, parameter in part.parameters.items():
                yield parameter, part.rows, part.learned if name == "gamma" else None

    def lengths(self) -> "Lengths":
        """Norms of the rows that weight normalization divides by, (rows, out, 1) for each part that has it."""
        return {part: self.weight[part.rows].norm(dim=2, keepdim=True) for part in self.parts if part.kind == "weight"}

    def finish(self, z: torch.Tensor, lengths: "Lengths") -> torch.Tensor:
        """From the product z (networks, out, batch) to what goes into the activation."""
        if len(self.parts) == 1:
            return self.parts[0].finish(z, lengths)
        return torch.cat([part.finish(piece, lengths) for part, piece in zip(self.parts, z.split(self._sizes))])


class _Part:
    """What one layer of the networks of one kind has beside its weights."""

    def __init__(self, blocks: Sequence["Block"], rows: slice) -> None:
        linears, norms = zip(*blocks)
        self.kind, self.rows = _kind(linears[0], norms[0]), rows
        self.learned: torch.Tensor | None = None
        self.parameters: dict[str, torch.Tensor] = {}
        if linears[0].bias is not None:
            self.parameters["bias"] = _stacked([linear.bias for linear in linears])  # (rows, out)
        if self.kind == "weight":
            self.parameters["scale"] = _stacked([linear.parametrizations.weight.original0 for linear in linears])
        if self.kind in ("batch", "layer"):
            self.parameters["gamma"] = _stacked([norm.weight for norm in norms])
            self.parameters["beta"] = _stacked([norm.bias for norm in norms])
            self._eps = norms[0].eps
        if self.kind == "batch":
            learned = torch.tensor([[norm.weight.requires_grad] for norm in norms])
            self.learned = None if learned.all() else learned.to(self.parameters["gamma"])
            self._statistics_momentum = norms[0].momentum
            self._running = []
            for name in ("running_mean", "running_var"):
                stacked = torch.stack([getattr(norm, name) for norm in norms])
                for norm, row in zip(norms, stacked):
                    setattr(norm, name, row)
                self._running.append(stacked.view(-1))

    def finish(self, z: torch.Tensor, lengths: "Lengths") -> torch.Tensor:
        if self.kind == "batch":
            flat = functional.batch_norm(
                z.reshape(1, -1, z.shape[2]),
                self._running[0],
                self._running[1],
                self.parameters["gamma"].view(-1),
                self.parameters["beta"].view(-1),
                training=True,
                momentum=self._statistics_momentum,
                eps=self._eps,
            )
            return flat.view_as(z)
        bias = self.parameters["bias"].unsqueeze(2)
        if self.kind == "weight":
            return z * (self.parameters["scale"] / lengths[self]) + bias
        z = z + bias
        if self.kind == "layer":
            normalized = functional.layer_norm(z.transpose(1, 2), z.shape[1:2], eps=self._eps).transpose(1, 2)
            z = normalized * self.parameters["gamma"].unsqueeze(2) + self.parameters["beta"].unsqueeze(2)
        return z


Block = tuple[Any, Any]  # a linear layer, and the module that normalizes its output or None
Lengths = dict[_Part, torch.Tensor]


def blocks_of(model: nn.Sequential) -> list["Block"]:
    """The layers of a network as pairs: the `Linear` and the module that normalizes its output, or None."""
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
