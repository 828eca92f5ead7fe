"""Losses of candidates row by row, from their predictions and the rows' labels.

Rows to compare models on are as noisy as the rows to clean, and that decides what can
be measured on them. Log loss cannot: a model trained on clean rows is sure of itself,
and each wrong label among those rows costs it dearly, so the uncleaned model wins
however harmful the rows are. Two losses stand in for it.

- The *selection loss* chooses an amount: the error 1 - p(label). Under uniform label
  noise it is the noise-free error times a constant, plus a constant, so it ranks models
  as clean labels would. It rewards sharpness for its own sake, so it cannot tell
  whether to act at all, and chooses only among amounts that the next loss cannot tell
  apart.
- The *guard loss* decides whether to act: log loss after recalibration. Each model's
  probabilities are softened by a temperature and mixed with a share of noise, both
  fitted on other rows. What remains is whether the model knows more.

For regression both are the absolute error, capped so that a wild value of y is not
counted more than twice the usual spread.

Neither may be bought with the primary score, see `treeinf.cleaning.trial.losses`: a
cleaning that makes the AUC (of two classes), the accuracy (of more) or R2 worse beyond
noise is neither chosen nor let through; one that makes R2 worse at all is not let
through.

References
----------
A. Ghosh, H. Kumar, P. S. Sastry, "Robust Loss Functions under Label Noise for Deep
Neural Networks", AAAI 2017, theorem 1. G. Patrini et al., "Making Deep Neural Networks
Robust to Label Noise: a Loss Correction Approach", CVPR 2017, section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.trial.comparison import Comparison, compare
from treeinf.cleaning.trial.losses import (
    auc_losses,
    calibrated_losses,
    error_losses,
    fit_calibration,
    label_probability,
    primary_metric,
    square_losses,
)

__all__ = [
    "Evaluation",
    "Outcome",
    "Predictions",
    "RowLosses",
    "average_evaluations",
    "class_losses",
    "judge_trial",
    "losses_within",
    "row_losses",
    "value_losses",
]

_CAP = 2.0
_NORMAL_MAD = 1.4826


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What the models of a split's candidates predict of a set of rows.

    Parameters
    ----------
    values : ndarray of float64, shape (n_models, n_rows[, n_classes])
        Predictions, the uncleaned model's first; NaN for classes a model never met.
    score : ndarray of float64, shape (n_models,)
        The reported score on these rows; NaN where it is undefined.
    label : ndarray of int64 or float64, shape (n_rows,)
        Class numbers, or values.
    weight : ndarray of float64, shape (n_rows,), or None
        Row weights; None for 1.
    positions : ndarray of int64, shape (n_rows,)
        Positions of the rows in their table.
    """

    values: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.int64] | NDArray[np.float64]
    weight: NDArray[np.float64] | None
    positions: NDArray[np.int64]

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return self.values.shape[2] if self.values.ndim == 3 else 0

    def join(self, models: Sequence[int], others: Predictions) -> Predictions:
        """Return some of the models, and after them those of other predictions."""
        return dataclasses.replace(
            self,
            values=np.array([*self.values[list(models)], *others.values]),
            score=np.array([*self.score[list(models)], *others.score]),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class RowLosses:
    """Losses of several models on the same rows; the first model is the uncleaned one.

    Parameters
    ----------
    selection : ndarray of float64, shape (n_models, n_rows)
        Loss that amounts are chosen by.
    guard : ndarray of float64, shape (n_models, n_rows)
        Loss that the guard decides by.
    primary : ndarray of float64, shape (n_models, n_rows)
        Its mean is 1 minus the score that must not get worse beyond noise.
    """

    selection: NDArray[np.float64]
    guard: NDArray[np.float64]
    primary: NDArray[np.float64]

    def map(
        self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> RowLosses:
        """Apply a function to each of the three arrays."""
        return RowLosses(*map(function, (self.selection, self.guard, self.primary)))

    @classmethod
    def average(
        cls, parts: Sequence[RowLosses], positions: Sequence[NDArray[np.int64]]
    ) -> RowLosses:
        """Join losses of the same models, averaging those of rows that occur twice.

        Parameters
        ----------
        parts : sequence of RowLosses
            Losses of the same models.
        positions : sequence of ndarray of int64
            The rows of each, by position.
        """
        _, row = np.unique(np.concatenate(positions), return_inverse=True)
        count = np.bincount(row)

        def mean(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
            lines = np.concatenate(arrays, axis=1)
            return np.array([np.bincount(row, line) / count for line in lines])

        return cls(
            mean([part.selection for part in parts]),
            mean([part.guard for part in parts]),
            mean([part.primary for part in parts]),
        )

    def weighted(self, weight: NDArray[np.float64]) -> RowLosses:
        """Scale each row's losses by its weight, relative to the mean weight."""
        relative = weight / (weight.mean() or 1.0)
        return self.map(lambda losses: losses * relative)

    def of_models(self, models: Sequence[int]) -> RowLosses:
        """Return some of the models, in the order asked for."""
        index = list(models)
        return self.map(lambda losses: losses[index])

    def of_groups(self, groups: NDArray[np.int64]) -> RowLosses:
        """Average the models of each group, row by row; groups count from 0."""

        def mean(losses: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.array(
                [losses[groups == k].mean(axis=0) for k in range(groups.max() + 1)]
            )

        return self.map(mean)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Losses and scores of models, on rows that none of them was trained on.

    Parameters
    ----------
    losses : RowLosses, shape (n_models, n_rows)
        Losses, the uncleaned model's first.
    score : ndarray of float64, shape (n_models,)
        The reported score, averaged over sets where it is defined.
    n_classes : int
        0 for regression.
    """

    losses: RowLosses
    score: NDArray[np.float64]
    n_classes: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.losses.guard.shape[1]

    def compare_selection(
        self, before: int, after: int, confidence: float, metric: str
    ) -> Comparison:
        """Compare two models by the loss that amounts are chosen by."""
        loss = "probability of other labels" if self.n_classes else _CAPPED
        return self._compare(
            self.losses.selection, before, after, loss, confidence, metric
        )

    def compare_guard(
        self, before: int, after: int, confidence: float, metric: str
    ) -> Comparison:
        """Compare two models by the loss that the guard decides by."""
        loss = "recalibrated log loss" if self.n_classes else _CAPPED
        return self._compare(self.losses.guard, before, after, loss, confidence, metric)

    def compare_primary(self, before: int, after: int, confidence: float) -> Comparison:
        """Compare two models by the score that must not fall."""
        metric = primary_metric(self.n_classes)
        losses = self.losses.primary
        return compare(
            losses[before],
            losses[after],
            loss=f"1 - {metric}",
            confidence=confidence,
            metric=metric,
            scores=(
                1.0 - float(losses[before].mean()),
                1.0 - float(losses[after].mean()),
            ),
        )

    def _compare(
        self,
        losses: NDArray[np.float64],
        before: int,
        after: int,
        loss: str,
        confidence: float,
        metric: str,
    ) -> Comparison:
        return compare(
            losses[before],
            losses[after],
            loss=loss,
            confidence=confidence,
            metric=metric,
            scores=(float(self.score[before]), float(self.score[after])),
        )


_CAPPED = "capped absolute error"


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Evaluations of all candidates of a trial, and of those that were chosen.

    Parameters
    ----------
    candidates : Evaluation
        All candidates on all guard sets.
    chosen : Evaluation
        What each selection set chose, on the guard set that had no say in it: the
        uncleaned model, the chosen one, and whatever else it named.
    choices : list of list of int
        What each selection set named, by number among the candidates.
    """

    candidates: Evaluation
    chosen: Evaluation
    choices: list[list[int]]


def row_losses(predictions: Predictions, calibration: Predictions) -> RowLosses:
    """Return the losses of models on some rows; other rows set their calibration.

    Parameters
    ----------
    predictions : Predictions
        Of the rows; where they have weights, losses are scaled by them.
    calibration : Predictions
        Of the rows that calibrations and the cap are fitted on, by the same models.
    """
    compute = class_losses if predictions.n_classes else value_losses
    losses = compute(
        predictions.label,  # type: ignore[arg-type]
        predictions.values,
        calibration.label,  # type: ignore[arg-type]
        calibration.values,
        predictions.weight,
    )
    weight = predictions.weight
    return losses if weight is None else losses.weighted(weight)


def losses_within(predictions: Predictions) -> RowLosses:
    """Return the losses of models on some rows, each half calibrated on the other.

    For models that have learned from all other rows, so that none is left for that.
    """
    label, values, weight = predictions.label, predictions.values, predictions.weight
    order = np.arange(len(label))
    if predictions.n_classes:
        order = np.argsort(label, kind="stable")
    halves = np.sort(order[::2]), np.sort(order[1::2])
    if len(label) < 2:
        halves = order, order
    # the primary score is of the order of all rows together
    whole = row_losses(predictions, predictions)
    selection, guard = np.empty_like(whole.selection), np.empty_like(whole.guard)

    def half_of(rows: NDArray[np.int64]) -> Predictions:
        return dataclasses.replace(
            predictions, values=values[:, rows], label=label[rows], weight=None
        )

    for rows, others in (halves, halves[::-1]):
        half = row_losses(half_of(rows), half_of(others))
        selection[:, rows], guard[:, rows] = half.selection, half.guard
    losses = RowLosses(selection, guard, whole.primary)
    if weight is None:
        return losses
    return dataclasses.replace(losses.weighted(weight), primary=whole.primary)


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


def judge_trial(
    pairs: Sequence[tuple[Predictions, Predictions]],
    choose: Callable[[RowLosses], list[int]],
    *,
    groups: NDArray[np.int64],
    halves: bool = False,
) -> Outcome:
    """Let each selection set choose, and evaluate on the guard set beside it.

    Parameters
    ----------
    pairs : sequence of tuple of Predictions
        Of the rows of each selection set, and of its guard set.
    choose : callable
        Returns the numbers of the candidates to be looked at on the guard set, from
        their losses on the selection set.
    groups : ndarray of int64, shape (n_models,)
        Candidate that each model belongs to, from 0; the losses of several models of a
        candidate are averaged.
    halves : bool, default=False
        Calibrate within each set, see `losses_within`; else on the selection set.
    """
    losses, scores, chosen, chosen_scores, choices = [], [], [], [], []
    for selection, guard in pairs:
        if halves:
            seen, unseen = losses_within(selection), losses_within(guard)
        else:
            seen, unseen = (
                row_losses(selection, selection),
                row_losses(guard, selection),
            )
        seen, unseen = seen.of_groups(groups), unseen.of_groups(groups)
        score = np.array(
            [_mean_of_finite(guard.score[groups == k]) for k in range(groups.max() + 1)]
        )
        choice = choose(seen)
        choices.append(choice)
        losses.append(unseen)
        chosen.append(unseen.of_models(choice))
        scores.append(score)
        chosen_scores.append(score[choice])
    positions = [guard.positions for _, guard in pairs]
    n_classes = pairs[0][1].n_classes
    return Outcome(
        average_evaluations(losses, scores, positions, n_classes),
        average_evaluations(chosen, chosen_scores, positions, n_classes),
        choices,
    )


def average_evaluations(
    losses: Sequence[RowLosses],
    scores: Sequence[NDArray[np.float64]],
    positions: Sequence[NDArray[np.int64]],
    n_classes: int,
) -> Evaluation:
    """Join the evaluations of several sets of rows; see `RowLosses.average`."""
    return Evaluation(
        RowLosses.average(losses, positions),
        np.array([_mean_of_finite(values) for values in np.transpose(scores)]),
        n_classes,
    )


def _mean_of_finite(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
