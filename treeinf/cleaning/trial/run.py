"""Train every candidate of every split, and predict the rows it was not trained on."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.costs import Costs
from treeinf.cleaning.trial.candidates import Candidate
from treeinf.cleaning.trial.judging import Predictions
from treeinf.cleaning.trial.splits import RowSet, Split
from treeinf.training.learner import Learner, readable_rows
from treeinf.training.rows import LabelledRows

__all__ = ["run"]


def run(
    candidates: Sequence[Sequence[Candidate]],
    splits: Sequence[Split],
    learner: Learner,
    *,
    seed: int,
    scorer: Callable[..., float] | None,
    costs: Costs,
    stage: str,
    announce: bool = False,
) -> list[list[Predictions]]:
    """Train all candidates, and predict and score the sets of their split.

    Parameters
    ----------
    candidates : sequence of sequence of Candidate
        What to train on, for each split.
    splits : sequence of Split
        Rows to train on and to predict.
    learner : Learner
        Trains the models.
    seed : int
        Seed of every model, so that models differ by their rows alone.
    scorer : callable or None
        Returns the reported score of a model, rows and labels; None for accuracy or R2.
    costs : Costs
        Updated with the number of fits.
    stage : str
        Name of this stage, for the progress bar.
    announce : bool, default=False
        Add the fits to the total of the progress bar.

    Returns
    -------
    list of list of Predictions
        For each split, of each of its sets.
    """
    pairs = [
        (split, candidate)
        for split, several in zip(splits, candidates, strict=True)
        for candidate in several
    ]
    tasks = [functools.partial(_try, learner, *pair, seed, scorer) for pair in pairs]
    is_new = [candidate.model is None for _, candidate in pairs]
    costs.n_fits += sum(is_new)
    if announce and learner.progress is not None:
        learner.progress.expect(sum(is_new))
    trained = learner.run(list(itertools.compress(tasks, is_new)), stage)
    tried = [
        next(trained) if new else task()
        for task, new in zip(tasks, is_new, strict=True)
    ]
    results = iter(tried)
    return [
        _join(split.sets, list(itertools.islice(results, len(several))))
        for split, several in zip(splits, candidates, strict=True)
    ]


def _join(
    sets: Sequence[RowSet], tried: Sequence[Sequence[tuple[NDArray[np.float64], float]]]
) -> list[Predictions]:
    """Put the predictions of a split's candidates together, set by set."""
    return [
        Predictions(
            np.array([of_sets[k][0] for of_sets in tried]),
            np.array([of_sets[k][1] for of_sets in tried]),
            row_set.rows.label,
            row_set.rows.weight,
            row_set.positions,
            row_set.rows.group,
        )
        for k, row_set in enumerate(sets)
    ]


def _try(
    learner: Learner,
    split: Split,
    candidate: Candidate,
    seed: int,
    scorer: Callable[..., float] | None,
) -> list[tuple[NDArray[np.float64], float]]:
    """Train a candidate where needed; return its predictions and score of each set."""
    model = candidate.model
    if model is None:
        model = learner.fit(candidate.apply(split.train.rows), seed)
    results = []
    for row_set in split.sets:
        rows = row_set.rows
        prediction = learner.predict(model, rows.X)
        if scorer is None:
            score = _default_score(prediction, rows)
        else:
            score = _score(scorer, model, rows, learner)
        results.append((prediction, score))
    return results


def _default_score(prediction: NDArray[np.float64], rows: LabelledRows) -> float:
    """Return the accuracy, or R2; NaN where that is not defined."""
    if rows.code is None:
        spread = float(((rows.y - rows.y.mean()) ** 2).sum())
        unexplained = float(((rows.y - prediction) ** 2).sum())
        return 1.0 - unexplained / spread if spread > 0.0 else np.nan
    values = np.nan_to_num(prediction, nan=-1.0)
    return float((values.argmax(axis=1) == rows.code).mean())


def _score(
    scorer: Callable[..., float], model: Any, rows: LabelledRows, learner: Learner
) -> float:
    """Score a model on rows; NaN where the score is not defined on them."""
    try:
        with learner.limit_threads():
            return float(scorer(model, readable_rows(model, rows.X), rows.y))
    except ValueError:
        return np.nan
