"""Instances that the theorem tests share: rational ones, ill-conditioned and singular ones, networks of torch's layers."""

import itertools
import math
import numbers
import random
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from counting import seen
from hypothesis import strategies as st
from torch import nn

from bnlib.moments import Moments
from bnlib.training import settle

SEEDS = range(60)  # every exact identity is checked on this many instances


# Comparison


def same(found, exact, rtol=1e-10, scale=None):
    """Fractions must be equal; floats agree within `rtol` of `scale`, where terms cancel, or of the largest entry."""
    found, exact = np.asarray(found), np.asarray(exact)
    assert found.shape == exact.shape, (found.shape, exact.shape)
    if all(isinstance(number, numbers.Rational) for number in found.ravel()):
        assert (found == exact).all(), (found, exact)
        seen["equal"] += 1
        return
    found, exact = found.astype(np.float64), exact.astype(np.float64)
    scale = np.abs(exact).max(initial=0.0) if scale is None else scale
    gap = np.abs(found - exact)
    assert (gap <= rtol * scale).all(), f"differ by {gap.max():.3g} at scale {scale}: {found} and {exact}"
    seen["close"] += 1


# Exact arithmetic


class Dual:
    """a + b h with h^2 = 0 over the rationals: b is the exact derivative of whatever a went through."""

    def __init__(self, value, slope=0):
        self.value, self.slope = Fraction(value), Fraction(slope)

    @staticmethod
    def of(number):
        return number if isinstance(number, Dual) else Dual(number)

    def __add__(self, other):
        other = Dual.of(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __neg__(self):
        return Dual(-self.value, -self.slope)

    def __sub__(self, other):
        return self + -Dual.of(other)

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        other = Dual.of(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __truediv__(self, other):
        other = Dual.of(other)
        ratio = self.value / other.value
        return Dual(ratio, (self.slope - ratio * other.slope) / other.value)

    def __rtruediv__(self, other):
        return Dual.of(other) / self

    def __pow__(self, power):
        return math.prod([self] * (power - 1), start=self)

    def __eq__(self, other):
        return self.value == Dual.of(other).value

    __radd__, __rmul__ = __add__, __mul__


def root(number):
    """The exact square root of a rational square, or of a dual number over one."""
    if isinstance(number, Dual):
        value = root(number.value)
        return Dual(value, number.slope / (2 * value))
    number = Fraction(number)
    value = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
    assert value**2 == number, f"{number} is no square"
    return value


def derivative(function, point):
    """The exact gradient of `function` at a rational scalar or vector."""
    if np.ndim(point) == 0:
        return Dual.of(function(Dual(point, 1))).slope
    slopes = []
    for i in range(len(point)):
        shifted = np.array([Dual(value, int(i == j)) for j, value in enumerate(point)])
        slopes.append(Dual.of(function(shifted)).slope)
    return np.array(slopes)


def identity(d):
    return np.array([[Fraction(int(i == j)) for j in range(d)] for i in range(d)])


def solve(matrix, right):
    """Solve matrix @ x = right by elimination, over rationals or duals."""
    d = len(matrix)
    rows = [list(matrix[i]) + [right[i]] for i in range(d)]
    for i in range(d):
        pivot = next(k for k in range(i, d) if rows[k][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for k in range(d):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i])]
    return np.array([row[-1] for row in rows])


class Rational:
    """A seeded source of small rational numbers, vectors and matrices."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.d = 1 + seed % 5

    def number(self):
        return Fraction(self.random.randint(-9, 9), self.random.randint(1, 6))

    def nonzero(self):
        return Fraction(self.random.choice([-1, 1]) * self.random.randint(1, 9), self.random.randint(1, 6))

    def positive(self):
        return abs(self.nonzero())

    def vector(self, size=None):
        return np.array([self.nonzero() for _ in range(size or self.d)])

    def matrix(self, rows=None):
        return np.array([[self.number() for _ in range(self.d)] for _ in range(rows or self.d)])

    def invertible(self):
        """Unit triangular factors with a positive diagonal between them: never singular."""
        lower, upper = self.matrix() / 4, self.matrix() / 4
        for i in range(self.d):
            lower[i, i] = upper[i, i] = Fraction(1)
            lower[i, i + 1 :] = upper[i + 1 :, i] = Fraction(0)
        return lower @ (self.vector()[:, None] * upper)

    def of_rational_norm(self):
        """A vector whose length is rational: a rational point of the sphere, scaled."""
        u = np.array([self.number() for _ in range(self.d - 1)], dtype=object)
        squared = sum((u**2).tolist(), start=Fraction(0))
        sphere = np.array([*(2 * u / (squared + 1)), (squared - 1) / (squared + 1)])
        if sphere[-1] == 0:
            sphere = np.array([Fraction(0)] * (self.d - 1) + [Fraction(1)])
        return self.positive() * sphere

    def eps_for(self, variance):
        """A positive eps that makes variance + eps a rational square."""
        return (math.isqrt(math.ceil(variance)) + 1 + self.positive()) ** 2 - variance


def moments_of(X, t):
    """Exact mean, covariance, cross-covariance and target variance, with 1/n."""
    n = len(X)
    mean = X.sum(axis=0) / n
    centred, target = X - mean, t - t.sum() / n
    return mean, centred.T @ centred / n, centred.T @ target / n, (target @ target) / n


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """Exact least squares: cov = A A', c = A y with |y| rational, so that R sigma_t = |y| is."""

    cov: np.ndarray
    cross: np.ndarray
    target_var: Fraction
    explained_std: Fraction  # R sigma_t
    gamma: Fraction

    @property
    def moments(self):
        return Moments([0.0] * len(self.cross), self.cov, self.cross, self.target_var)

    def loss(self, v):
        return (self.target_var - 2 * (self.cross @ v) + v @ self.cov @ v) / 2


def ellipsoid(seed):
    source = Rational(seed)
    A, y = source.invertible(), source.of_rational_norm()
    return Ellipsoid(A @ A.T, A @ y, y @ y + source.positive(), root(y @ y), source.positive())


# Floating-point instances


@dataclass(frozen=True, eq=False)
class Problem:
    """Moments with a known spectrum: what they explain is known without inverting anything."""

    moments: Moments
    s: np.ndarray  # eigenvalues
    U: np.ndarray
    along: np.ndarray  # u_i'c
    tolerance: float

    @property
    def explained_std(self):
        return np.sqrt((self.along[self.s > 0] ** 2 / self.s[self.s > 0]).sum())


def problem(seed, kind="well"):
    """`kind`: "well", "ill" (condition number 1e8), "singular" or "single" (one input)."""
    rng = np.random.default_rng(seed)
    d = 1 if kind == "single" else int(rng.integers(2, 7))
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    s = rng.uniform(0.5, 2.0, d) * 10.0 ** rng.integers(-3, 4)
    if kind == "ill":
        s *= np.geomspace(1e-8, 1.0, d)
    if kind == "singular":
        s[: int(rng.integers(1, d))] = 0.0
    along = np.sqrt(s) * rng.uniform(0.2, 1.0, d) * rng.choice([-1, 1], d)
    cov = (U * s) @ U.T
    explained = (along[s > 0] ** 2 / s[s > 0]).sum()
    moments = Moments(rng.standard_normal(d), (cov + cov.T) / 2, U @ along, explained * rng.uniform(1.0, 3.0))
    # storing and decomposing cov moves its smallest eigenvalue by a few d * epsilon * s_max; squared norms of
    # weights, compared before and after a change of units, multiply that by four
    varying = s[s > 0]
    tolerance = max(1e-10, 32 * d * np.finfo(float).eps * varying.max() / varying.min())
    return Problem(moments, s, U, along, tolerance)


def problems(*kinds):
    return st.builds(
        problem, st.integers(0, 2**32 - 1), st.sampled_from(kinds or ("well", "ill", "singular", "single"))
    )


gammas = st.floats(0.05, 20.0) | st.floats(-20.0, -0.05)


def correlated(rng, n, d):
    """Rows with a random mean and a random, well-conditioned covariance."""
    return (
        rng.standard_normal((n, d)) @ rng.uniform(-1, 1, (d, d)) + rng.standard_normal((n, d)) + rng.uniform(-3, 3, d)
    )


# Networks of torch's own layers


def hinge(output, labels):
    return nn.functional.multi_margin_loss(output, labels)


def squared(output, labels):
    return (output - nn.functional.one_hot(labels, output.shape[1])).square().sum(dim=1).mean() / 2


LOSSES = {"squared": squared, "cross-entropy": nn.functional.cross_entropy, "hinge": hinge}


@dataclass(frozen=True, eq=False)
class Net:
    """A stack of linear layers, batch normalization and activations, in float64 and training mode, and a batch for it."""

    layers: nn.Sequential
    inputs: torch.Tensor
    labels: torch.Tensor
    loss_fn: object

    @property
    def pairs(self):
        """Positions of the layers that batch normalization follows."""
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        return [i for i in range(len(self.layers) - 1) if isinstance(self.layers[i + 1], norms)]

    def loss(self):
        return self.loss_fn(self.layers(self.inputs), self.labels)

    def features(self, position):
        """What the layer at `position` gets."""
        return self.layers[:position](self.inputs).detach()

    def rows(self, position):
        """What a unit of that layer gets, a row each time that it is applied."""
        return self.features(position)

    def shaped(self, position, rows):
        """What that layer puts out, from a row for each time that its units are applied."""
        return rows

    def folded(self, position):
        """Effective weights of the batch, and the gradient of the loss of the network folded there.

        `pull` is what v'grad_v is a sum of, in size: in a unit that is nearly switched off it cancels.
        """
        linear, norm = self.layers[position], self.layers[position + 1]
        h = self.rows(position)
        mean = h.mean(dim=0)
        centred = h - mean
        cov = centred.T @ centred / len(h)
        w, gamma, beta = linear.weight.detach().flatten(1), norm.weight.detach(), norm.bias.detach()
        variance = torch.einsum("ki,ij,kj->k", w, cov, w)
        v = (gamma / (variance + norm.eps).sqrt())[:, None] * w
        v.requires_grad_()
        output = self.layers[position + 2 :](self.shaped(position, h @ v.T + beta - v @ mean))
        (grad,) = torch.autograd.grad(self.loss_fn(output, self.labels), v)
        v = v.detach()
        pull = (v * grad).abs().sum(dim=1)
        arrays = {"v": v, "grad_v": grad, "pull": pull, "cov": cov, "variance": variance, "w": w, "gamma": gamma}
        return {name: array.numpy() for name, array in arrays.items()}

    def gradients(self, position):
        """Autograd's own gradients of the network with batch normalization: of w, of gamma, of beta."""
        linear, norm = self.layers[position], self.layers[position + 1]
        grads = torch.autograd.grad(self.loss(), [linear.weight, norm.weight, norm.bias])
        return [grads[0].flatten(1).numpy(), grads[1].numpy(), grads[2].numpy()]


def randomize(layers, rng, generator):
    """Draw every parameter; the scales of normalizations get either sign."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, generator=generator)
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(layer.weight, 0.3, 2.0, generator=generator)
            layer.weight.data *= torch.from_numpy(rng.choice([-1.0, 1.0], len(layer.weight)))


def net(seed, eps=1e-5, loss="cross-entropy", depth=None, activation=None):
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    depth = depth or int(rng.integers(1, 4))
    widths = [int(width) for width in rng.integers(2, 7, depth + 1)] + [3]
    activation = activation or [nn.ReLU, nn.Tanh][int(rng.integers(2))]
    layers = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        linear, norm = (
            nn.Linear(inputs, outputs, dtype=torch.float64),
            nn.BatchNorm1d(outputs, eps=eps, dtype=torch.float64),
        )
        layers += [linear, norm, activation()]
    layers.append(nn.Linear(widths[-2], widths[-1], dtype=torch.float64))
    randomize(layers, rng, generator)
    rows = int(rng.integers(16, 64))
    return Net(
        nn.Sequential(*layers),
        torch.from_numpy(correlated(rng, rows, widths[0])),
        torch.from_numpy(rng.integers(0, 3, rows)),
        LOSSES[loss],
    )


def settle_directions(w, others, objective, tolerance):
    """Settle raw weights, rows of `w`, that the objective sees up to their length; return the gradient left at length 1.

    The length drifts unseen and the gradient goes with its inverse, so that a long row only looks at rest.
    """
    for _ in range(10):
        w.data /= w.data.norm(dim=-1, keepdim=True)
        left = settle([w, *others], objective) * float(w.data.norm(dim=-1).max())
        if left < tolerance:
            break
    return left
