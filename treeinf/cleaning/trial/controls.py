"""What a cleaning must be better than: random removals, and clean rows put to use.

A gain over the uncleaned model says that something was gained, not that the scores
gained it. As many rows removed at random tell whether any removal would do. And where
clean rows are at hand, the honest rival is to append them to the train rows and do
nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.actions import Repair, repair_rows
from treeinf.cleaning.report.report import Alternative
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial import judging
from treeinf.cleaning.trial.losses import primary_metric
from treeinf.cleaning.trial.splits import Judges
from treeinf.training.learner import Learner, readable_rows
from treeinf.training.rows import LabelledRows

__all__ = [
    "NAMES",
    "Alternatives",
    "AlternativesOfRound",
    "measure",
    "remove_at_random",
]

NAMES = {
    "all": "all rows, uncleaned",
    "cleaned": "cleaned",
    "random": "as many rows removed at random",
    "appended": "clean rows appended, nothing else",
    "both": "cleaned, and clean rows appended",
}
"""What is compared, by key; the last two only where clean rows are given."""


def remove_at_random(
    rows: LabelledRows, n_removed: int, rng: np.random.Generator
) -> Repair:
    """Remove rows at random, under the rules for suspects."""
    drawn = RowScores(1.0 - rng.random(rows.n_rows), np.zeros(rows.n_rows), None)
    return repair_rows("drop", rows, drawn, count=n_removed)


def measure(scorer: Callable[..., float], model: Any, rows: LabelledRows) -> float:
    """Score a model on rows; NaN where the score is not defined on them."""
    try:
        return float(scorer(model, readable_rows(model, rows.X), rows.y))
    except ValueError:
        return np.nan


@dataclasses.dataclass(eq=False)
class AlternativesOfRound:
    """Trains and judges the alternatives, judging rows by judging rows.

    Parameters
    ----------
    trainer : Learner
        Trains the models.
    scorer : callable
        Gives the reported score of a model, rows and labels.
    seed : int
        Of the models, the same as for all others they are compared with.
    has_clean_rows : bool
        The rows that choose are clean rows given by the user, to be appended.

    Attributes
    ----------
    losses : list of RowLosses
        Of the alternatives in the order of `names`, for each part of the rows.
    places : list of ndarray of int64
        Which rows each part is of.
    scores : list of list of float
        The reported scores.
    """

    trainer: Learner
    scorer: Callable[..., float]
    seed: int
    has_clean_rows: bool

    def __post_init__(self) -> None:
        self.losses: list[judging.RowLosses] = []
        self.places: list[NDArray[np.int64]] = []
        self.scores: list[list[float]] = []

    @property
    def names(self) -> list[str]:
        """Keys of `NAMES` that are compared."""
        return list(NAMES) if self.has_clean_rows else list(NAMES)[:3]

    def add(
        self,
        train: LabelledRows,
        cleaned: Repair,
        chooser: Judges,
        judge: Judges,
        says: NDArray[np.float64],
        scores: tuple[float, float],
        rng: np.random.Generator,
    ) -> int:
        """Train the alternatives on some rows and judge them by others.

        Parameters
        ----------
        train : LabelledRows
            Rows as they are.
        cleaned : Repair
            What was made of them.
        chooser, judge : Judges
            Rows that chose the amount, and rows that judge it.
        says : ndarray of float64, shape (2, n_rows[, n_classes])
            What the models of the rows as they are and of the cleaned rows predict of
            the rows that judge.
        scores : tuple of float
            Their scores on these.
        rng : numpy Generator
            For the random removal.

        Returns
        -------
        int
            Models trained.
        """
        random = remove_at_random(train, len(cleaned.touched), rng).rows
        trained = [random] if len(cleaned.touched) else []
        if self.has_clean_rows:
            trained += [join_rows(one, chooser.rows) for one in (train, cleaned.rows)]
        if self.trainer.progress is not None:
            self.trainer.progress.expect(len(trained))
        results = self.trainer.run(
            [functools.partial(self._try, one, judge.rows) for one in trained],
            "baselines",
        )
        found = [(one, score) for one, score in zip(says, scores, strict=True)]
        if not len(cleaned.touched):
            found.append(found[0])
        found += list(results)
        predictions = np.array([prediction for prediction, _ in found])
        self.losses.append(judging.judge_within(judge.rows, predictions))
        self.places.append(judge.place)
        self.scores.append([score for _, score in found])
        return len(trained)

    def _try(
        self, rows: LabelledRows, judge: LabelledRows
    ) -> tuple[NDArray[np.float64], float]:
        model = self.trainer.fit(rows, self.seed)
        return self.trainer.predict(model, judge.X), measure(self.scorer, model, judge)

    def finish(self) -> Alternatives:
        """Put all parts together."""
        scores = np.array(self.scores)
        known = np.isfinite(scores)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, scores, 0.0).sum(axis=0) / known.sum(axis=0)
        return Alternatives(
            self.names, judging.RowLosses.average(self.losses, self.places), mean
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Alternatives:
    """All alternatives on all rows that judge.

    Parameters
    ----------
    names : list of str
        Keys of `NAMES`.
    losses : RowLosses, shape (n_names, n_rows)
        Their losses.
    score : ndarray of float64, shape (n_names,)
        The reported score.
    """

    names: list[str]
    losses: judging.RowLosses
    score: NDArray[np.float64]

    def compare(
        self, confidence: float, metric: str, n_classes: int
    ) -> tuple[Alternative, ...]:
        """Compare each with the rows as they are.

        Parameters
        ----------
        confidence : float
            Of the intervals.
        metric : str
            Name of the reported score.
        n_classes : int
            0 for regression.
        """
        is_regression = n_classes == 0
        found = []
        for place, name in enumerate(self.names):
            pair = self.losses.of_models([0, place])
            scores = float(self.score[0]), float(self.score[place])
            settings: dict[str, Any] = {"confidence": confidence}
            found.append(
                Alternative(
                    key=name,
                    name=NAMES[name],
                    choice=judging.compare(
                        pair.robust,
                        loss=judging.choice_loss(is_regression),
                        metric=metric,
                        scores=scores,
                        **settings,
                    ),
                    guard=judging.compare(
                        pair.proper,
                        loss=judging.guard_loss(is_regression),
                        metric=metric,
                        scores=scores,
                        **settings,
                    ),
                    primary=judging.compare_primary(
                        pair.primary, metric=primary_metric(n_classes), **settings
                    ),
                )
            )
        return tuple(found)
