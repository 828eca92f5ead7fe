"""Scores of suspicion for train rows, higher for rows that look more harmful."""

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
    weigh_suggestions,
)
from treeinf.cleaning.scores.stacking import pool_views
from treeinf.cleaning.trial.splits import split_in_halves
from treeinf.errors import UnsupportedModelError
from treeinf.training.learner import Learner, is_constant
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
        Number of the class, or the value, that copies without the row predict; -1 or
        NaN where there is none. None without copies.
    prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes), or None
        What these copies predict, NaN where none can. None without copies.
    of_clean : ndarray of float64, shape (n_clean,) or (n_clean, n_classes), or None
        What as many copies predict of clean rows. None without such.
    gains : LabelGains or None
        What the suggestions would bring; None where not asked for.
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    suggestion: NDArray[Any] | None
    prediction: NDArray[np.float64] | None = None
    of_clean: NDArray[np.float64] | None = None
    gains: LabelGains | None = None

    def order(self) -> NDArray[np.int64]:
        """Give the positions of the rows, most suspicious first, ties in row order."""
        return np.argsort(-self.score, kind="stable")


def check_readable(estimator: Any) -> None:
    """Refuse estimators whose fitted models cannot be explained, before long work.

    Raises
    ------
    UnsupportedModelError
        If no adapter reads models of this class.
    """
    find_adapter(unwrap_pipeline(estimator)[0])


def is_readable(estimator: Any) -> bool:
    """Tell whether an adapter reads models of this class."""
    try:
        check_readable(estimator)
    except UnsupportedModelError:
        return False
    return True


def score_rows(
    method: Method,
    trainer: Learner,
    rows: LabelledRows,
    *,
    n_repeats: int,
    seed: int,
    costs: Costs,
    target: LabelledRows | None = None,
    clean: LabelledRows | None = None,
    weighs_labels: bool = False,
) -> RowScores:
    """Score rows by copies of the estimator, each trained on a random half of them.

    Parameters
    ----------
    method : Method
        How.
    trainer : Learner
        Trains the copies.
    rows : LabelledRows
        Rows to score.
    n_repeats : int
        Times the rows are split in halves; each time two copies are trained, so that
        every row is in bag and out of bag `n_repeats` times.
    seed : int
        Seed of the splits, the copies and the method.
    costs : Costs
        Added to: "train" and "influence".
    target : LabelledRows, optional
        Rows that measures of others look at; by default those out of bag.
    clean : LabelledRows, optional
        Clean rows, only to compare predictions of them with those of `rows`.
    weighs_labels : bool, default=False
        Ask what the suggested labels would do to the target rows. All copies are held
        until all rows have their suggestion.

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
        splits += [(first, second), (second, first)]
    tasks = [
        trainer.fit_task(rows.take(in_bag), int(rng.integers(2**31)))
        for in_bag, _ in splits
    ]
    shape = (
        rows.n_rows if trainer.classes is None else (rows.n_rows, len(trainer.classes))
    )
    total, votes = np.zeros(shape), np.zeros(shape)
    measured = {name: np.zeros(rows.n_rows) for name in method.measures}
    on_clean, held = [], []
    models = trainer.run(tasks, "scoring rows")
    for number, (in_bag, out_of_bag) in enumerate(splits):
        unseen = rows.take(out_of_bag)
        with costs.timed("train"):
            model = next(models)
            prediction = trainer.predict(model, unseen.X)
            # of each two copies one has not seen a row, so one is asked here, too
            if clean is not None and number % 2 == 0:
                on_clean.append(np.nan_to_num(trainer.predict(model, clean.X)))
        if weighs_labels:
            if not number and not method.measures:
                check_explained(model, rows.take(in_bag))
            held.append(model)
        votes[out_of_bag] += np.isfinite(prediction)
        total[out_of_bag] += np.nan_to_num(prediction)
        if method.measures and not is_constant(model):
            seen = rows.take(in_bag)
            with costs.timed("influence"):
                for name, values in measured.items():
                    values[in_bag] += MEASURES[name].compute(
                        model, seen, target or unseen
                    )
    costs.n_fits += len(splits)
    with np.errstate(invalid="ignore"):
        mean = total / votes
    judged = mean
    if method.views:
        with costs.timed("views"):
            judged = _ask_views(method.views, trainer, rows, target, mean, seed)
    error, loss, suggestion = _judge_labels(rows, judged)
    doubt = (
        doubt_labels(judged, rows.code)
        if method.views and rows.code is not None
        else None
    )
    means = {name: values / n_repeats for name, values in measured.items()}
    score = method.formula(Evidence(error, loss, means, rng, doubt))
    if rows.weight is not None:
        score = np.where(rows.weight > 0.0, score, 0.0)
    of_clean = np.mean(on_clean, axis=0) if on_clean else None
    gains = None
    if weighs_labels:
        with costs.timed("influence"):
            gains = weigh_suggestions(
                held, splits, rows, suggestion, trainer.classes, target
            )
    return RowScores(score, error, suggestion, mean, of_clean, gains)


def _ask_views(
    names: tuple[str, ...],
    trainer: Learner,
    rows: LabelledRows,
    target: LabelledRows | None,
    own: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """Pool the copies with models of other kinds, which learn from target rows, too."""
    known = rows if target is None else join_rows(rows, target)
    nothing = np.full((known.n_rows - rows.n_rows, *own.shape[1:]), np.nan)
    pool = pool_views(
        known,
        0 if trainer.classes is None else len(trainer.classes),
        own=np.concatenate([own, nothing]),
        names=names,
        is_trusted=np.arange(known.n_rows) >= rows.n_rows,
        seed=seed,
        n_jobs=trainer.n_workers,
    )
    return pool.prediction[: rows.n_rows]


def _judge_labels(
    rows: LabelledRows, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Compare labels with the mean out-of-bag prediction: error, loss, suggestion."""
    if rows.code is None:
        residual = np.nan_to_num(rows.y - mean)
        return np.abs(residual), residual**2, mean
    known = np.isfinite(mean)
    own = np.where(
        known[np.arange(rows.n_rows), rows.code],
        mean[np.arange(rows.n_rows), rows.code],
        1.0,
    )
    own = np.clip(own, 0.0, 1.0)
    loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny))
    best = np.where(known, mean, -1.0).argmax(axis=1)
    return 1.0 - own, loss, np.where(known.any(axis=1), best, -1)
