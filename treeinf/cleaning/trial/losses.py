"""Losses of models per row, to choose among models and to test a gain.

The rows on which models are compared are as noisy as the rows to clean, which rules out
log loss: a model trained on clean rows is sure of itself,
and each wrong label among those rows costs it dearly, so the uncleaned model wins
however harmful the rows are. Two losses stand in for it.

- The *selection loss* chooses an amount: the error 1 - p(label). Under uniform label
  noise it is the noise-free error times a constant, plus a constant, so it ranks models
  as clean labels would. It rewards sharpness for its own sake, so it cannot tell
  whether to act at all, and chooses only among amounts that the next loss cannot tell
  apart.
- The *guard loss* decides whether to act: log loss after recalibration. Each model's
  probabilities are softened by a temperature and mixed with a share of noise, both
  fitted on other rows. What remains is whether the model is better informed.

For regression both are the absolute error, capped so that a wild value of y is not
counted more than twice the usual spread.

Neither may improve at the expense of the *primary score*, by which such models are
usually compared: an earlier default lowered the log loss, but also the AUC by .004. A
cleaning that makes the AUC (of two classes), the accuracy (of more) or R2 worse beyond
noise is neither chosen nor accepted; one that makes R2 worse at all is not accepted.
Each score is spread over the rows as losses whose mean is 1 minus the score, so that
two models can be compared row by row.

References
----------
A. Ghosh, H. Kumar, P. S. Sastry, "Robust Loss Functions under Label Noise for Deep
Neural Networks", AAAI 2017, theorem 1. G. Patrini et al., "Making Deep Neural Networks
Robust to Label Noise: a Loss Correction Approach", CVPR 2017, section 3. E. R. DeLong,
D. M. DeLong, D. L. Clarke-Pearson, "Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves: A Nonparametric Approach", Biometrics 44
(1988), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RowLosses",
    "auc_losses",
    "calibrated_losses",
    "class_losses",
    "error_losses",
    "fit_calibration",
    "label_probability",
    "primary_metric",
    "square_losses",
    "value_losses",
]

_CAP = 2.0
_NORMAL_MAD = 1.4826
_TINY = 1e-6
_CALIBRATION_ROWS = 10_000
_EXPONENTS = np.array([0.25, 0.35, 0.5, 0.7, 0.85, 1.0])
_NOISE = np.linspace(0.0, 0.9, 46)


@dataclasses.dataclass(frozen=True, eq=False)
class RowLosses:
    """Losses of several models on the same rows; the first model is the uncleaned one.

    Parameters
    ----------
    selection_loss : ndarray of float64, shape (n_models, n_rows)
        Loss that amounts are chosen by.
    guard_loss : ndarray of float64, shape (n_models, n_rows)
        Loss that the guard decides by.
    primary_loss : ndarray of float64, shape (n_models, n_rows)
        Its mean is 1 minus the score that must not get worse beyond noise.
    """

    selection_loss: NDArray[np.float64]
    guard_loss: NDArray[np.float64]
    primary_loss: NDArray[np.float64]

    def map(
        self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> RowLosses:
        """Apply a function to each of the three arrays."""
        return RowLosses(
            *map(function, (self.selection_loss, self.guard_loss, self.primary_loss))
        )

    @classmethod
    def average(
        cls,
        sets: Sequence[RowLosses],
        positions: Sequence[NDArray[np.int64]],
        groups: Sequence[NDArray[np.int64] | None] = (),
    ) -> RowLosses:
        """Join losses of the same models, averaging those of rows that occur twice.

        Parameters
        ----------
        sets : sequence of RowLosses
            Losses of the same models.
        positions : sequence of ndarray of int64
            The rows of each, by position.
        groups : sequence of ndarray of int64, optional
            Groups of the rows of each, see `of_row_groups`.
        """
        _, first, row = np.unique(
            np.concatenate(positions), return_index=True, return_inverse=True
        )
        passed = [group for group in groups if group is not None]
        group = np.concatenate(passed)[first] if passed else None
        count = np.bincount(row)

        def mean(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
            lines = np.concatenate(arrays, axis=1)
            return np.array([np.bincount(row, line) / count for line in lines])

        joined = cls(
            mean([losses.selection_loss for losses in sets]),
            mean([losses.guard_loss for losses in sets]),
            mean([losses.primary_loss for losses in sets]),
        )
        return joined.of_row_groups(group)

    def weighted(self, weight: NDArray[np.float64]) -> RowLosses:
        """Scale each row's losses by its weight, relative to the mean weight."""
        relative = weight / (weight.mean() or 1.0)
        return self.map(lambda losses: losses * relative)

    def of_row_groups(self, group: NDArray[np.int64] | None) -> RowLosses:
        """Add up the losses of each group's rows, scaled so that means stay the same.

        Standard errors then count groups, not rows, which are alike within a group.

        Parameters
        ----------
        group : ndarray of int64, shape (n_rows,), or None
            Group of each row; None if each row is one.
        """
        if group is None:
            return self
        index = np.unique(group, return_inverse=True)[1].reshape(-1)
        scale = (index.max() + 1) / len(index)
        return self.map(
            lambda losses: scale * np.array([np.bincount(index, x) for x in losses])
        )

    def of_models(self, models: Sequence[int]) -> RowLosses:
        """Return some of the models, in the order passed."""
        index = list(models)
        return self.map(lambda losses: losses[index])

    def of_groups(self, groups: NDArray[np.int64]) -> RowLosses:
        """Average the models of each group, row by row; groups count from 0."""

        def mean(losses: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.array(
                [losses[groups == k].mean(axis=0) for k in range(groups.max() + 1)]
            )

        return self.map(mean)


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
    """Return the exponent and the share of noise of least log loss, on a grid.

    At most 10,000 rows, spread over all of them, decide.
    """
    step = -(-len(code) // _CALIBRATION_ROWS)
    code, probability = code[::step], probability[::step]
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


# all three of several models


def value_losses(
    y: NDArray[np.float64],
    prediction: NDArray[np.float64],
    other_y: NDArray[np.float64],
    other_prediction: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> RowLosses:
    """Return the losses of regression models.

    Parameters
    ----------
    y : ndarray of float64, shape (n_rows,)
        Values.
    prediction : ndarray of float64, shape (n_models, n_rows)
        Predictions, the uncleaned model's first.
    other_y, other_prediction : ndarray of float64
        The same for other rows, which set the cap.
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights, for the variance of y; losses are not scaled by them.
    """
    spread = _NORMAL_MAD * np.median(np.abs(other_prediction[0] - other_y))
    residual = np.abs(prediction - y)
    capped = np.minimum(residual, _CAP * spread if spread > 0.0 else np.inf)
    primary = np.array([square_losses(y, line, weight) for line in prediction])
    return RowLosses(capped, capped, primary)


def class_losses(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    other_code: NDArray[np.int64],
    other_probability: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> RowLosses:
    """Return the losses of classifiers.

    Parameters
    ----------
    code : ndarray of int64, shape (n_rows,)
        Class numbers.
    probability : ndarray of float64, shape (n_models, n_rows, n_classes)
        Probabilities, the uncleaned model's first; NaN for classes a model never met.
    other_code, other_probability : ndarray
        The same for other rows, on which calibrations are fitted.
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights, for the AUC; losses are not scaled by them.
    """
    selection, guard, primary = [], [], []
    for model, other in zip(
        np.nan_to_num(probability), np.nan_to_num(other_probability), strict=True
    ):
        calibration = fit_calibration(other_code, other)
        selection.append(1.0 - label_probability(model, code))
        guard.append(calibrated_losses(code, model, *calibration))
        if model.shape[1] == 2:
            primary.append(auc_losses(code == 1, model[:, 1], weight))
        else:
            primary.append(error_losses(code, model))
    return RowLosses(np.array(selection), np.array(guard), np.array(primary))
