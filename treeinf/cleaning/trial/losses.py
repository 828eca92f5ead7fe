"""Losses of single rows: recalibrated log loss, and 1 minus AUC, accuracy or R2.

A cleaning can lower the log loss and order the rows worse: an earlier default once did,
by .004 of AUC. So the guard also looks at the primary score, by which such models are
usually compared. Each is spread over the rows as losses whose mean is 1 minus the
score, so that two models can be compared row by row.

References
----------
G. Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach", CVPR 2017, section 3 (recalibration). E. R. DeLong, D. M. DeLong, D. L.
Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
Characteristic Curves: A Nonparametric Approach", Biometrics 44 (1988), section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "auc_losses",
    "calibrated_losses",
    "error_losses",
    "fit_calibration",
    "label_probability",
    "primary_metric",
    "square_losses",
]

_TINY = 1e-6
_EXPONENTS = np.array([0.25, 0.35, 0.5, 0.7, 0.85, 1.0])
_NOISE = np.linspace(0.0, 0.9, 46)


def label_probability(
    probability: NDArray[np.float64], code: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each row's probability of its own label."""
    values: NDArray[np.float64] = probability[np.arange(len(code)), code]
    return values


# recalibration by a temperature and a share of labels drawn at random


def _temper(probability: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Soften probabilities by a power below 1."""
    powered = np.maximum(probability, _TINY) ** exponent
    tempered: NDArray[np.float64] = powered / powered.sum(axis=1, keepdims=True)
    return tempered


def _noisy_log_loss(
    probability: NDArray[np.float64],
    noise: float | NDArray[np.float64],
    n_classes: int,
) -> NDArray[np.float64]:
    """Return the log loss where the label may also be drawn at random."""
    mixed = (1.0 - noise) * probability + noise / n_classes
    losses: NDArray[np.float64] = -np.log(np.maximum(mixed, _TINY))
    return losses


def fit_calibration(
    code: NDArray[np.int64], probability: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the exponent and the share of noise of least log loss, on a grid."""
    best = (np.inf, 1.0, 0.0)
    for exponent in _EXPONENTS:
        tempered = label_probability(_temper(probability, exponent), code)
        losses = _noisy_log_loss(tempered, _NOISE[:, np.newaxis], probability.shape[1])
        means = losses.mean(axis=1)
        index = int(means.argmin())
        if means[index] < best[0]:
            best = (float(means[index]), float(exponent), float(_NOISE[index]))
    return best[1], best[2]


def calibrated_losses(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    exponent: float,
    noise: float,
) -> NDArray[np.float64]:
    """Return each row's log loss after recalibration."""
    tempered = label_probability(_temper(probability, exponent), code)
    return _noisy_log_loss(tempered, noise, probability.shape[1])


# the primary score


def primary_metric(n_classes: int) -> str:
    """Return the name of the primary score; 0 classes for regression."""
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
        Rows that should be ordered above the others.
    score : ndarray of float64, shape (n_rows,)
        What they are ordered by.
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        Their (weighted) mean is 1 - AUC, and the variance of their mean DeLong's: for a
        positive row, the share of negative rows that are above it, counted from the
        mean and divided by the share of positive rows; for a negative row the other way
        round. All 0.5 where one of the two kinds is missing.
    """
    w = np.ones(len(score)) if weight is None else weight
    sides = is_positive, ~is_positive
    mass = [w[side].sum() for side in sides]
    if not all(mass):
        return np.full(len(score), 0.5)
    losses = np.empty(len(score))
    for sign, side, other in ((1.0, 0, 1), (-1.0, 1, 0)):
        above = _share_above(
            sign * score[sides[side]], sign * score[sides[other]], w[sides[other]]
        )
        wrong = float(np.average(above, weights=w[sides[side]]))
        losses[sides[side]] = wrong + (above - wrong) * (mass[0] + mass[1]) / mass[side]
    return losses


def _share_above(
    score: NDArray[np.float64],
    other: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return, for each score, the weight of greater others; equal ones count half."""
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
    """Return 1 where another class is most probable; the mean is 1 - accuracy."""
    losses: NDArray[np.float64] = (probability.argmax(axis=1) != code).astype(float)
    return losses


def square_losses(
    y: NDArray[np.float64],
    prediction: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Divide squared residuals by the variance of y; the mean is 1 - R2.

    Values without any variance give the squared residuals themselves.
    """
    mean = np.average(y, weights=weight)
    spread = float(np.average((y - mean) ** 2, weights=weight))
    losses: NDArray[np.float64] = (y - prediction) ** 2 / (spread or 1.0)
    return losses
