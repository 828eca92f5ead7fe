"""Score train rows by copies of the estimator: higher for more harmful."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters import find_adapter, unwrap_pipeline
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.rows import join_rows
from treeinf.cleaning.scores.label_confusion import doubt_labels
from treeinf.cleaning.scores.methods import MEASURES, Evidence, Method
from treeinf.cleaning.scores.relabelling import (
    LabelGains,
    check_explained,
    estimate_label_gains,
)
from treeinf.cleaning.scores.stacking import stack_base_models
from treeinf.cleaning.trial.splits import split_in_halves
from treeinf.errors import UnsupportedModelError
from treeinf.training.learner import Learner, is_constant
from treeinf.training.row_groups import draw_one_of_each, number_groups
from treeinf.training.rows import LabelledRows

__all__ = ["RowScores", "check_readable", "is_readable", "score_rows"]


@dataclasses.dataclass(frozen=True, eq=False)
class RowScores:
    """Scores of some train rows.

    Parameters
    ----------
    score : ndarray of float64, shape (n_rows,)
        Higher for more harmful.
    error : ndarray of float64, shape (n_rows,)
        Out-of-bag error, see `Evidence`; zeros without copies.
    suggestion : ndarray, shape (n_rows,), or None
        Out-of-bag class number or value; -1 or NaN where there is none. None without
        copies.
    prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes), or None
        Out-of-bag predictions, NaN where there are none. None without copies.
    clean_prediction : ndarray of float64, shape (n_clean,) or (n_clean, n_classes), or
    None
        Predictions of clean rows, averaged over half of the copies; None without them.
    gains : LabelGains or None
        Estimated effect of the suggestions; None unless requested.
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    suggestion: NDArray[Any] | None
    prediction: NDArray[np.float64] | None = None
    clean_prediction: NDArray[np.float64] | None = None
    gains: LabelGains | None = None

    def order(self) -> NDArray[np.int64]:
        """Return the positions of the rows, most harmful first, ties in row order."""
        return np.argsort(-self.score, kind="stable")


def check_readable(estimator: Any) -> None:
    """Refuse estimators whose fitted models cannot be explained.

    Raises
    ------
    UnsupportedModelError
        If no adapter reads models of this class.
    """
    find_adapter(unwrap_pipeline(estimator)[0])


def is_readable(estimator: Any) -> bool:
    """Return whether an adapter reads models of this class."""
    try:
        check_readable(estimator)
    except UnsupportedModelError:
        return False
    return True


def score_rows(
    method: Method,
    learner: Learner,
    rows: LabelledRows,
    *,
    n_repeats: int,
    seed: int,
    costs: Costs,
    queries: LabelledRows | None = None,
    clean: LabelledRows | None = None,
    with_gains: bool = False,
) -> RowScores:
    """Score rows by copies of the estimator, each trained on a random half of them.

    Parameters
    ----------
    method : Method
        How rows are scored.
    learner : Learner
        Trains the copies.
    rows : LabelledRows
        Rows to score.
    n_repeats : int
        Times the rows are split in halves. Each split trains two copies, so that every
        row, or one of those equal to it, is in bag and out of bag `n_repeats` times.
    seed : int
        Seed of the splits, the copies and the method.
    costs : Costs
        Updated: "train", "influence" and "stacking".
    queries : LabelledRows, optional
        Rows whose loss is explained, and on which base models are trained, too; by
        default the rows out of each copy's bag, and none.
    clean : LabelledRows, optional
        Clean rows to predict, for comparison with predictions of `rows`.
    with_gains : bool, default=False
        Estimate the effect of the suggested labels on the query rows. All copies are
        kept in memory until all rows have a suggestion.

    Returns
    -------
    RowScores
    """
    rng = np.random.default_rng(seed)
    if not method.needs_copies:
        none = np.zeros(rows.n_rows)
        score = method.formula(Evidence(none, none, {}, rng))
        return RowScores(score, none, None)
    splits = []
    for _ in range(n_repeats):
        first, second = split_in_halves(rows, rng)
        splits += [
            (_draw_twins(rows, in_bag, rng), out_of_bag)
            for in_bag, out_of_bag in ((first, second), (second, first))
        ]
    tasks = [
        learner.fit_task(rows.take(in_bag), int(rng.integers(2**31)))
        for in_bag, _ in splits
    ]
    shape = (
        rows.n_rows if learner.classes is None else (rows.n_rows, len(learner.classes))
    )
    total, votes = np.zeros(shape), np.zeros(shape)
    measured = {name: np.zeros(rows.n_rows) for name in method.measures}
    n_measured = np.zeros(rows.n_rows)
    on_clean, held = [], []
    models = learner.run(tasks, "scoring rows")
    for number, (in_bag, out_of_bag) in enumerate(splits):
        unseen = rows.take(out_of_bag)
        with costs.timed("train"):
            model = next(models)
            prediction = learner.predict(model, unseen.X)
            # of two copies one predicts each row; treat clean rows alike
            if clean is not None and number % 2 == 0:
                on_clean.append(np.nan_to_num(learner.predict(model, clean.X)))
        if with_gains:
            if not number and not method.measures:
                check_explained(model, rows.take(in_bag))
            held.append(model)
        votes[out_of_bag] += np.isfinite(prediction)
        total[out_of_bag] += np.nan_to_num(prediction)
        if method.measures and not is_constant(model):
            seen = rows.take(in_bag)
            n_measured[in_bag] += 1.0
            with costs.timed("influence"):
                for name, values in measured.items():
                    values[in_bag] += MEASURES[name].compute(
                        model, seen, queries or unseen
                    )
    costs.n_fits += len(splits)
    with np.errstate(invalid="ignore"):
        mean = total / votes
    pooled, doubt = mean, None
    if method.base_models:
        with costs.timed("stacking"):
            pooled = _pool(method.base_models, learner, rows, queries, mean, seed)
        if rows.code is not None:
            doubt = doubt_labels(pooled, rows.code)
    error, loss, suggestion = _compare_labels(rows, pooled)
    if rows.twin is None:
        means = {name: values / n_repeats for name, values in measured.items()}
    else:
        means = {
            name: rows.average_twins(values, n_measured)
            for name, values in measured.items()
        }
    score = method.formula(Evidence(error, loss, means, rng, doubt))
    if rows.weight is not None:
        score = np.where(rows.weight > 0.0, score, 0.0)
    clean_prediction = np.mean(on_clean, axis=0) if on_clean else None
    gains = None
    if with_gains:
        with costs.timed("influence"):
            gains = estimate_label_gains(
                held, splits, rows, suggestion, learner.classes, queries
            )
    return RowScores(score, error, suggestion, mean, clean_prediction, gains)


def _draw_twins(
    rows: LabelledRows, in_bag: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Keep a random one of each set of equal rows, as if the row stood once."""
    if rows.twin is None:
        return in_bag
    return in_bag[draw_one_of_each(number_groups(rows.twin[in_bag]), rng)]


def _pool(
    names: tuple[str, ...],
    learner: Learner,
    rows: LabelledRows,
    queries: LabelledRows | None,
    by_copies: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """Pool the copies with other base models, which are trained on queries, too."""
    trained_on = rows if queries is None else join_rows(rows, queries)
    n_others = trained_on.n_rows - rows.n_rows
    unknown = np.full((n_others, *by_copies.shape[1:]), np.nan)
    stack = stack_base_models(
        trained_on,
        0 if learner.classes is None else len(learner.classes),
        copies=np.concatenate([by_copies, unknown]),
        names=names,
        is_trusted=np.arange(trained_on.n_rows) >= rows.n_rows,
        seed=seed,
        n_jobs=learner.n_workers,
    )
    return stack.prediction[: rows.n_rows]


def _compare_labels(
    rows: LabelledRows, prediction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Compare labels with out-of-bag predictions: error, loss and suggested labels."""
    if rows.code is None:
        residual = np.nan_to_num(rows.y - prediction)
        return np.abs(residual), residual**2, prediction
    has_value = np.isfinite(prediction)
    labels = np.arange(rows.n_rows), rows.code
    probability = np.where(has_value[labels], prediction[labels], 1.0)
    probability = np.clip(probability, 0.0, 1.0)
    loss = -np.log(np.maximum(probability, np.finfo(np.float64).tiny))
    best = np.where(has_value, prediction, -1.0).argmax(axis=1)
    return 1.0 - probability, loss, np.where(has_value.any(axis=1), best, -1)
