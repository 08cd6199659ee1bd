"""Rational moments and noise for theorem noise."""

from instances import Rational, identity, solve

from bnlib.moments import Moments


class NoisyCase:
    """Sigma = A A', N = B B' or sigma^2 I; gamma^2 = h^2 kappa^2 with h = gamma/kappa rational, so all but gamma is."""

    def __init__(self, seed):
        source = Rational(seed)
        A, B = source.invertible(), source.matrix()
        self.cov, self.noise_cov = A @ A.T, B @ B.T
        self.cross, self.h, self.noise_var = A @ source.vector(), source.positive(), source.positive()
        self.white = self.noise_var * identity(source.d)
        clean = solve(self.cov, self.cross)
        self.target_var = self.cross @ clean + source.positive()
        self.moments = Moments([0.0] * source.d, self.cov, self.cross, self.target_var)

    def kappa_squared(self, noise_var):
        return self.cross @ solve(self.cov + identity(len(self.cross)) * noise_var, self.cross)

    def clean_loss(self, v):
        return (self.target_var - 2 * (self.cross @ v) + v @ self.cov @ v) / 2
