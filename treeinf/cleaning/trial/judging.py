"""Evaluate candidates from their predictions and the rows' labels alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.trial.comparison import Comparison, compare
from treeinf.cleaning.trial.losses import (
    RowLosses,
    class_losses,
    primary_metric,
    value_losses,
)

__all__ = [
    "Evaluation",
    "Outcome",
    "Predictions",
    "average_evaluations",
    "evaluate_trial",
    "losses_within",
    "row_losses",
]


_CAPPED = "capped absolute error"


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a split's candidate models for a set of rows.

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
    group : ndarray of int64, shape (n_rows,), or None
        Groups of the rows, see `LabelledRows`.
    """

    values: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.int64] | NDArray[np.float64]
    weight: NDArray[np.float64] | None
    positions: NDArray[np.int64]
    group: NDArray[np.int64] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return self.values.shape[2] if self.values.ndim == 3 else 0

    def of_models(self, models: Sequence[int]) -> Predictions:
        """Return some of the models, in the order passed."""
        index = list(models)
        return dataclasses.replace(
            self, values=self.values[index], score=self.score[index]
        )

    @classmethod
    def concatenate(cls, sets: Sequence[Predictions]) -> Predictions:
        """Join predictions of several sets of rows by as many models of each."""
        groups = [rows.group for rows in sets if rows.group is not None]
        weights = [rows.weight for rows in sets if rows.weight is not None]
        scores = np.transpose([rows.score for rows in sets])
        return cls(
            np.concatenate([rows.values for rows in sets], axis=1),
            np.array([_mean_of_finite(line) for line in scores]),
            np.concatenate([rows.label for rows in sets]),
            np.concatenate(weights) if weights else None,
            np.concatenate([rows.positions for rows in sets]),
            np.concatenate(groups) if groups else None,
        )

    def append(self, others: Predictions) -> Predictions:
        """Return these models, and after them those of other predictions."""
        return dataclasses.replace(
            self,
            values=np.concatenate([self.values, others.values]),
            score=np.concatenate([self.score, others.score]),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Losses and scores of models, on rows that none of them was trained on.

    Parameters
    ----------
    losses : RowLosses, shape (n_models, n_groups)
        Losses, the uncleaned model's first; of rows, or of groups of rows, see
        `RowLosses.of_row_groups`.
    score : ndarray of float64, shape (n_models,)
        The reported score, averaged over sets where it is defined.
    n_classes : int
        0 for regression.
    n_rows : int
        Number of rows.
    """

    losses: RowLosses
    score: NDArray[np.float64]
    n_classes: int
    n_rows: int

    def compare_selection(
        self, before: int, after: int, confidence: float, metric: str
    ) -> Comparison:
        """Compare two models by the loss that amounts are chosen by."""
        loss = "probability of other labels" if self.n_classes else _CAPPED
        return self._compare(
            self.losses.selection_loss, before, after, loss, confidence, metric
        )

    def compare_guard(
        self, before: int, after: int, confidence: float, metric: str
    ) -> Comparison:
        """Compare two models by the loss that the guard decides by."""
        loss = "recalibrated log loss" if self.n_classes else _CAPPED
        return self._compare(
            self.losses.guard_loss, before, after, loss, confidence, metric
        )

    def compare_primary(self, before: int, after: int, confidence: float) -> Comparison:
        """Compare two models by the score that must not fall."""
        metric = primary_metric(self.n_classes)
        losses = self.losses.primary_loss
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
            n_rows=self.n_rows,
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
            n_rows=self.n_rows,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Evaluations of all candidates of a trial, and of those that were chosen.

    Parameters
    ----------
    candidates : Evaluation
        All candidates on all guard sets.
    chosen : Evaluation
        Models that each selection set chose, on its guard set: the uncleaned one, the
        chosen one, and any further ones.
    choices : list of list of int
        Candidates that each selection set chose, by number.
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

    For models trained on all other rows, which leaves none to calibrate on.
    """
    label, values, weight = predictions.label, predictions.values, predictions.weight
    order = np.arange(len(label))
    if predictions.n_classes:
        order = np.argsort(label, kind="stable")
    halves = np.sort(order[::2]), np.sort(order[1::2])
    if len(label) < 2:
        halves = order, order
    # the primary score may rank all rows together
    whole = row_losses(predictions, predictions)
    shape = whole.selection_loss.shape
    selection, guard = np.empty(shape), np.empty(shape)

    def half_of(rows: NDArray[np.int64]) -> Predictions:
        return dataclasses.replace(
            predictions, values=values[:, rows], label=label[rows], weight=None
        )

    for rows, others in (halves, halves[::-1]):
        half = row_losses(half_of(rows), half_of(others))
        selection[:, rows], guard[:, rows] = half.selection_loss, half.guard_loss
    losses = RowLosses(selection, guard, whole.primary_loss)
    if weight is None:
        return losses
    return dataclasses.replace(losses.weighted(weight), primary_loss=whole.primary_loss)


def evaluate_trial(
    pairs: Sequence[tuple[Predictions, Predictions]],
    choose: Callable[[RowLosses], list[int]],
    *,
    groups: NDArray[np.int64],
    halves: bool = False,
) -> Outcome:
    """Let each selection set choose, and evaluate on its guard set.

    Parameters
    ----------
    pairs : sequence of tuple of Predictions
        Of the rows of each selection set, and of its guard set.
    choose : callable
        Maps the losses on the selection set to the numbers of the candidates to
        evaluate on the guard set.
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
        choice = choose(seen.of_row_groups(selection.group))
        choices.append(choice)
        losses.append(unseen)
        chosen.append(unseen.of_models(choice))
        scores.append(score)
        chosen_scores.append(score[choice])
    guards = [guard for _, guard in pairs]
    return Outcome(
        average_evaluations(losses, scores, guards),
        average_evaluations(chosen, chosen_scores, guards),
        choices,
    )


def average_evaluations(
    losses: Sequence[RowLosses],
    scores: Sequence[NDArray[np.float64]],
    guards: Sequence[Predictions],
) -> Evaluation:
    """Join the evaluations of several sets of rows; see `RowLosses.average`."""
    positions = [guard.positions for guard in guards]
    return Evaluation(
        RowLosses.average(losses, positions, [guard.group for guard in guards]),
        np.array([_mean_of_finite(values) for values in np.transpose(scores)]),
        guards[0].n_classes,
        len(np.unique(np.concatenate(positions))),
    )


def _mean_of_finite(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
