"""Instances of theorem cross-entropy: a rational one with a polynomial loss, and a batch that is elliptical to rounding."""

import math
from fractions import Fraction

import numpy as np
import torch
from instances import Rational, ellipsoid
from scipy.special import expit
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from bnlib.moments import Moments

MOMENT = [1, 0, 1, 0, 3, 0, 15]  # of a standard Gaussian


class Canonical:
    """A of degree 4, convex; Sigma, c and kappa rational (`ellipsoid`), so that v and every expectation is."""

    def __init__(self, seed):
        self.case, source = ellipsoid(seed), Rational(seed + 700)
        self.cov, self.cross, self.kappa = self.case.cov, self.case.cross, self.case.explained_std
        self.gamma, self.beta = self.case.gamma, source.number()
        half, cubic = source.positive(), source.number()
        # A'' = a + 2 b y + c y^2 is positive for c a > b^2
        self.coefficients = [0, source.number(), half / 2, cubic / 3, (cubic**2 / half + source.positive()) / 12]

    def derivative(self, order):
        """Coefficients of the polynomial's derivative."""
        found = list(self.coefficients)
        for _ in range(order):
            found = [power * value for power, value in enumerate(found)][1:]
        return found

    def mean(self, order, beta, gamma, times=0):
        """E A^(order)(beta + gamma z) z^times over a standard Gaussian z, by the binomial theorem."""
        total = Fraction(0)
        for power, value in enumerate(self.derivative(order)):
            for k in range(power + 1):
                term = value * MOMENT[k + times]
                for factor in [beta] * (power - k) + [gamma] * k:
                    term = factor * term
                total = total + term * math.comb(power, k)
        return total

    def loss(self, v):
        """E A(beta + v'x) - c'v from the law of v'x alone; the part in E t is a constant at fixed beta.

        `v'x` is Gaussian with variance v'Sigma v: only even powers of its deviation enter, so no root is taken.
        """
        variance = v @ self.cov @ v
        total = Fraction(0)
        for power, value in enumerate(self.coefficients):
            for k in range(0, power + 1, 2):
                total += value * math.comb(power, k) * self.beta ** (power - k) * MOMENT[k] * variance ** (k // 2)
        return total - self.cross @ v

    def gradient(self, v):
        """E A'(beta + v'x) x - c, by Stein's identity in each coordinate: E f(v'x) x = Sigma v E f'(v'x)."""
        variance, curvature = v @ self.cov @ v, Fraction(0)
        for power, value in enumerate(self.derivative(2)):
            for k in range(0, power + 1, 2):
                curvature += value * math.comb(power, k) * self.beta ** (power - k) * MOMENT[k] * variance ** (k // 2)
        return curvature * (self.cov @ v) - self.cross


class Rings:
    """A batch in the plane on rings of evenly spaced points, mapped by a matrix: every v'x has one law up to scale.

    A smooth function is averaged over evenly spaced points of a circle to rounding, so the batch is as good as
    elliptical, whatever its labels are.
    """

    def __init__(self, seed, points=192):
        rng = np.random.default_rng(seed)
        radii = rng.uniform(0.3, 2.0, 3)
        angles = np.arange(points) * 2 * np.pi / points
        circle = np.column_stack([np.cos(angles), np.sin(angles)])
        self.X = np.concatenate([r * circle for r in radii]) @ rng.uniform(-1, 1, (2, 2)) + rng.standard_normal(2)
        logit = (self.X - self.X.mean(axis=0)) @ rng.standard_normal(2) + np.sin(5 * self.X[:, 0]) + rng.uniform(-1, 1)
        self.t = (rng.random(len(self.X)) < expit(logit)).astype(float)
        self.moments = Moments.from_data(self.X, self.t)
        nodes = np.concatenate([r * circle[:, 0] for r in radii])
        self.component = nodes / np.sqrt(np.mean(nodes**2)), np.full(len(nodes), 1 / len(nodes))
        self.inputs, self.target = torch.from_numpy(self.X), torch.from_numpy(self.t)

    def unit(self, gamma, beta):
        norm = torch.nn.BatchNorm1d(1, eps=1e-30).double()
        norm.weight.data.fill_(gamma)
        norm.bias.data.fill_(beta)
        return norm

    def loss(self, norm, w):
        return cross_entropy(norm((self.inputs @ w)[:, None])[:, 0], self.target)
