"""Gradient descent of the published kind on the surrogate that `Trex` solves for.

Written from the description of the published solver: float32, coefficients drawn from
U(-1, 1), at most 3,000 steps, each along the gradient and halved from 10 until the
objective falls by half of the step times the squared gradient.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit

__all__ = ["Descent", "Logistic", "descend"]

_MOST_STEPS = 3_000
_LONGEST = np.float32(10.0)
_SHORTEST = 1e-10


class Logistic:
    """Mean log loss + l2 |w|^2 in the precision of the matrix.

    Parameters
    ----------
    X : ndarray or scipy.sparse array, shape (n_rows, n_columns)
        Features, float32 or float64.
    y : ndarray, shape (n_rows,)
        0 or 1.
    l2 : float
        Penalty.
    """

    def __init__(self, X: Any, y: np.ndarray, l2: float) -> None:
        self.X, self.y = X, y.astype(X.dtype)
        self.transposed = X.T.tocsr() if sparse.issparse(X) else X.T
        self.l2 = X.dtype.type(l2)

    def value(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute the objective, and the probabilities for the gradient."""
        score = self.X @ w
        loss = np.logaddexp(np.zeros_like(score), score) - self.y * score
        return loss.mean() + self.l2 * (w * w).sum(), expit(score)

    def gradient(self, w: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Compute the gradient."""
        slope = (p - self.y) / self.y.dtype.type(len(self.y))
        return np.asarray(self.transposed @ slope + 2 * self.l2 * w)

    def relative_gradient(self, w: np.ndarray) -> float:
        """Measure the gradient against that of the penalty alone, as `Trex` does."""
        w = w.astype(self.X.dtype)
        gradient = self.gradient(w, self.value(w)[1])
        penalty = 2.0 * float(self.l2) * float(np.linalg.norm(w))
        return float(np.linalg.norm(gradient)) / penalty


@dataclasses.dataclass(frozen=True, eq=False)
class Descent:
    """What a descent came to.

    Parameters
    ----------
    coefficients : ndarray of float32, shape (n_columns,)
        Those of the smallest gradient met.
    n_steps : int
        Steps taken.
    seconds : float
        Wall time.
    end : str
        How it ended.
    """

    coefficients: np.ndarray
    n_steps: int
    seconds: float
    end: str


def descend(objective: Logistic, most_steps: int = _MOST_STEPS) -> Descent:
    """Run gradient descent with a halving line search.

    Parameters
    ----------
    objective : Logistic
        In single precision.
    most_steps : int, default=3000
        Where it ends if it goes on that long.

    Returns
    -------
    Descent

    Notes
    -----
    It ends early where float32 sees no step lower the objective.
    """
    rng = np.random.default_rng(1)
    w = rng.uniform(-1, 1, objective.X.shape[1]).astype(np.float32)
    best, smallest = w, np.inf
    start = time.perf_counter()
    value, p = objective.value(w)
    end, n_steps = f"{most_steps:,} steps", most_steps
    for step in range(most_steps):
        gradient = objective.gradient(w, p)
        size = float(np.abs(gradient).mean())
        if size < smallest:
            best, smallest = w, size
        square = float((gradient.astype(np.float64) ** 2).sum())
        length = _LONGEST
        while length >= _SHORTEST:
            moved = w - length * gradient
            lower, p_moved = objective.value(moved)
            if lower - value + length * square / 2 < 0:
                break
            length /= 2
        else:
            end, n_steps = "no step lowers the objective in float32", step + 1
            break
        w, value, p = moved, lower, p_moved
    return Descent(best, n_steps, time.perf_counter() - start, end)
