"""`Moments.from_data` and `noise_path` against the bare linear algebra, and against refitting at every level."""

import numpy as np
from sklearn.linear_model import Ridge

from benchmarks.timing import fastest
from bnlib import data
from bnlib.moments import Moments
from bnlib.theory import noise_path

LEVELS = np.linspace(0.03, 3, 100)
REFITS = 3  # of scikit-learn, out of the 100; the time is taken as proportional


def rows():
    """60,000 digits: those of MNIST where they are, else the 5,000 embedded ones over and over."""
    try:
        digits = data.load("mnist")
        parts = [digits.train, digits.validation]
    except FileNotFoundError:
        digits = data.load("mnist-5k")
        parts = [digits.train, digits.validation, digits.test] * 12
    images = np.concatenate([part.images for part in parts]).astype(np.float64)
    return images, np.concatenate([part.labels for part in parts]) == 3.0, digits.title


def measure():
    """(what, seconds, against what, seconds, ratio, wanted) for each comparison."""
    X, target, title = rows()
    t = target.astype(np.float64)
    moments = Moments.from_data(X, t)
    cov, cross, identity = moments.cov, moments.cross, np.eye(X.shape[1])

    def path():
        fresh = Moments(moments.mean, cov, cross, moments.target_var)  # whose eigendecomposition nobody has kept
        return noise_path(fresh, 0.5, LEVELS)

    def solve():
        return [np.linalg.solve(cov + std**2 * identity, cross) for std in LEVELS]

    def refit():
        for std in np.linspace(0.5, 3, REFITS):
            Ridge(alpha=len(X) * std**2).fit(X, t)

    from_data, product = fastest(lambda: Moments.from_data(X, t), 3), fastest(lambda: X.T @ X, 3)
    whole, bare, solved = fastest(path), fastest(lambda: np.linalg.eigh(cov)), fastest(solve, 1)
    refitted = fastest(refit, 1) / REFITS * len(LEVELS)
    name = f"noise_path, {len(LEVELS)} levels"
    return [
        (f"Moments.from_data, {X.shape[0]:,} x {X.shape[1]}", from_data, "X.T @ X", product, "at most", 1.5),
        (name, whole, "one numpy.linalg.eigh", bare, "at most", 1.5),
        (name, whole, "numpy.linalg.solve at each", solved, "faster", 15),
        (name, whole, f"Ridge refitted at each ({REFITS} measured)", refitted, "faster", 500),
    ], title
