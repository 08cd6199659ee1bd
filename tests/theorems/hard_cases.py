"""Data that floating point finds hard, and everything that the closed forms make of it exactly."""

from dataclasses import dataclass, field
from fractions import Fraction

import mpmath
import numpy as np
from instances import moments_of, solve

from bnlib.moments import Moments

EPSILON, DIGITS = np.finfo(float).eps, 50
UNCORRELATED = (
    "R sigma_t = 0: the target is uncorrelated with every input, so all directions are equally good; "
    "cross must have a nonzero part where cov is nonzero"
)
NO_DIRECTION = "v = 0 has no direction to be shrunk along; its rows must be nonzero"
NO_VARIANCE = (
    "w'Sigma w + eps = 0 is not above rounding; the pre-activation must vary over the data, or eps be positive"
)


def exact(array):
    return np.array([Fraction(float(x)) for x in np.ravel(array)], dtype=object).reshape(np.shape(array))


def high(number):
    """A rational number with fifty digits."""
    return mpmath.mpf(number.numerator) / number.denominator


def relative(found, reference, scale=None):
    """The largest difference, in units of `scale` (default: the largest entry), at fifty digits."""
    pairs = zip(np.ravel(found), np.ravel(np.asarray(reference, dtype=object)), strict=True)
    entries = [
        (mpmath.mpf(float(a)), high(Fraction(b)) if isinstance(b, (int, Fraction)) else mpmath.mpf(b)) for a, b in pairs
    ]
    scale = max(abs(b) for _, b in entries) if scale is None else scale
    gap = max(abs(a - b) for a, b in entries)
    return float(gap / scale) if scale else float("inf" if gap else 0)


@dataclass
class Case:
    """Data, everything the closed forms make of it exactly, and the errors that are documented for it.

    `constant` names the inputs whose variance is below d epsilon of the largest: they count as constant (`bnlib.moments`).
    """

    X: np.ndarray
    t: np.ndarray
    raises: dict = field(default_factory=dict)
    constant: tuple = ()

    def __post_init__(self):
        self.n, self.d = self.X.shape
        self.mean, self.cov, self.cross, self.target_var = moments_of(exact(self.X), exact(self.t))
        with mpmath.workdps(DIGITS):
            s = mpmath.eigsy(mpmath.matrix([[high(x) for x in row] for row in self.cov]), eigvals_only=True)
            self.s = sorted(s, key=float)
        self.varying = self._independent()
        # what is singular is so exactly, and fifty digits leave 1e-48 of it
        self.condition = float(self.s[-1] / self.s[-len(self.varying)]) if self.varying else 1.0
        self.solution = self._pseudo_inverse()
        self.explained = self.cross @ self.solution

    @property
    def moments(self):
        return Moments.from_data(self.X, self.t, chunk_rows=5)

    def _independent(self):
        """Inputs that are not linear combinations of those before them."""
        kept = []
        for i in range(self.d):
            if i in self.constant:
                continue
            block = self.cov[np.ix_([*kept, i], [*kept, i])]
            rest = block[:-1, -1] @ solve(block[:-1, :-1], block[:-1, -1]) if kept else 0
            if block[-1, -1] > rest:
                kept.append(i)
        return kept

    def _pseudo_inverse(self):
        """Sigma^+ c, the solution within the range of Sigma, which is spanned by the columns of `varying`."""
        cov = self.cov.copy()
        cov[list(self.constant)] = cov[:, list(self.constant)] = Fraction(0)
        V = cov[:, self.varying]
        return V @ solve(V.T @ cov @ V, V.T @ self.cross) if self.varying else self.cross * 0

    def bound(self, noise_var=0.0):
        """Of whatever is solved with Sigma + noise_var I."""
        condition = self.condition
        if noise_var:
            condition = float((self.s[-1] + noise_var) / (max(self.s[0], 0) + noise_var))
        return (self.n + self.d) * EPSILON * condition


def shaped(seed, scales, n=12, turned=True):
    """Rows whose covariance has about the spectrum scales^2, and a target that every direction explains alike."""
    rng = np.random.default_rng(seed)
    d = len(scales)
    Z = rng.standard_normal((n, d))
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0] if turned else np.eye(d)
    return (Z * scales) @ Q, Z.sum(axis=1) + rng.standard_normal(n)


def whole(seed, n, d):
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 10, (n, d)).astype(float), rng.integers(-9, 10, n).astype(float)


def cases():
    X, t = whole(0, 12, 4)
    dependent = np.column_stack([X[:, :3], X[:, 0] + 2 * X[:, 1]])
    few = whole(1, 5, 8)
    no_fit = {name: UNCORRELATED for name in ("least squares, eps = 0", "least squares, eps > 0", "noise path")}
    return {
        "well-conditioned": Case(X, t),
        "condition number 1e8": Case(*shaped(2, np.geomspace(1e-4, 1, 4))),
        "condition number 1e12": Case(*shaped(3, np.geomspace(1e-6, 1, 4))),
        "an input that others add up to": Case(dependent, t),
        "rank 2 of 4, turned": Case(X[:, :2] @ whole(4, 2, 4)[0], t),
        "more inputs than rows": Case(*few),
        "one input": Case(X[:, :1], t),
        "a constant input": Case(np.column_stack([X, np.full(12, 0.1)]), t),
        "inputs times 1e-6": Case(1e-6 * X, t),
        "inputs times 1e6": Case(1e6 * X, t),
        "condition 1e8, times 1e-6": Case(1e-6 * shaped(2, np.geomspace(1e-4, 1, 4))[0], t),
        "inputs of 1, 1e3 and 1e6": Case(*shaped(5, [1, 1e3, 1e6], turned=False)),
        "inputs of 1e-6, 1 and 1e6": Case(*shaped(5, [1e-6, 1, 1e6], turned=False), constant=(0,)),
        "means a million deviations": Case(X + 4e6, t - 3e6),
        "constant inputs": Case(
            np.full((12, 3), 0.1),
            t,
            no_fit | {"effective weights, eps = 0": NO_VARIANCE, "L2-equivalent rate": NO_DIRECTION},
        ),
        "a constant target": Case(X, np.full(12, 0.1), no_fit | {"L2-equivalent rate": NO_DIRECTION}),
    }
