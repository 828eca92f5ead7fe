"""The score that no cleaning may lower: AUC, accuracy or R2, as one loss a row.

A cleaning can lower the log loss and order the rows worse: an earlier default once did,
by .004 of AUC. So the guard also looks at the score by which such models are usually
compared. Each is brought to losses of rows whose mean is 1 minus the score, so that two
models can be compared row by row.

References
----------
E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the Areas under Two or More
Correlated Receiver Operating Characteristic Curves: A Nonparametric Approach",
Biometrics 44 (1988), section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["auc_losses", "error_losses", "primary_metric", "square_losses"]


def primary_metric(n_classes: int) -> str:
    """Name the score: of two classes, of more, or (0) of regression."""
    if n_classes == 0:
        return "R2"
    return "AUC" if n_classes == 2 else "accuracy"


def auc_losses(
    is_positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Spread 1 - AUC over the rows.

    Parameters
    ----------
    is_positive : ndarray of bool, shape (n_rows,)
        Rows that should stand above the others.
    score : ndarray of float64, shape (n_rows,)
        What they are ordered by.
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        Their (weighted) mean is 1 - AUC, and the variance of their mean DeLong's: for a
        positive row, the share of negative rows that stand above it, counted from the
        mean and divided by the share of positive rows; for a negative row the other way
        round. All 0.5 where one of the two kinds is missing.
    """
    w = np.ones(len(score)) if weight is None else weight
    sides = is_positive, ~is_positive
    mass = [w[side].sum() for side in sides]
    if not all(mass):
        return np.full(len(score), 0.5)
    losses = np.empty(len(score))
    wrong = 0.0
    for sign, own, other in ((1.0, 0, 1), (-1.0, 1, 0)):
        above = _share_above(
            sign * score[sides[own]], sign * score[sides[other]], w[sides[other]]
        )
        wrong = float(np.average(above, weights=w[sides[own]]))
        losses[sides[own]] = wrong + (above - wrong) * (mass[0] + mass[1]) / mass[own]
    return losses


def _share_above(
    score: NDArray[np.float64],
    other: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weigh, for each score, the others that are greater; equal ones by half."""
    order = np.argsort(other, kind="stable")
    ordered = other[order]
    below = np.concatenate([[0.0], np.cumsum(weight[order])])
    left = below[np.searchsorted(ordered, score, side="left")]
    right = below[np.searchsorted(ordered, score, side="right")]
    shares: NDArray[np.float64] = 1.0 - 0.5 * (left + right) / below[-1]
    return shares


def error_losses(
    code: NDArray[np.int64], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give 1 where another class is most probable; the mean is 1 - accuracy."""
    losses: NDArray[np.float64] = (probability.argmax(axis=1) != code).astype(float)
    return losses


def square_losses(
    target: NDArray[np.float64],
    prediction: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Divide squared residuals by the variance of the targets; the mean is 1 - R2.

    Targets without any variance give the squared residuals themselves.
    """
    mean = np.average(target, weights=weight)
    spread = float(np.average((target - mean) ** 2, weights=weight))
    losses: NDArray[np.float64] = (target - prediction) ** 2 / (spread or 1.0)
    return losses
