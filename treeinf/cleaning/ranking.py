"""Scores of suspicion for train rows, higher for rows that look more harmful."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters import find_adapter, unwrap_pipeline
from treeinf.cleaning.rounds import split_in_halves
from treeinf.cleaning.training import CopyTrainer, Costs, LabelledRows, is_constant
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers import BoostIn

__all__ = [
    "METHODS",
    "Evidence",
    "Method",
    "RowScores",
    "check_readable",
    "explain_model",
    "score_rows",
]


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What the copies say about each row, averaged over copies.

    Parameters
    ----------
    error : ndarray of float64, shape (n_rows,)
        Out of bag: 1 minus the probability of the row's label, or the absolute
        residual. 0 where no copy without the row knows its label.
    loss : ndarray of float64, shape (n_rows,)
        Out of bag: log loss or squared error.
    influence : ndarray of float64, shape (n_rows,)
        In bag: what the method asks for, positive for helpful; zeros otherwise.
    rng : numpy Generator
        For methods that draw.
    """

    error: NDArray[np.float64]
    loss: NDArray[np.float64]
    influence: NDArray[np.float64]
    rng: np.random.Generator


@dataclasses.dataclass(frozen=True)
class Method:
    """How rows are scored.

    Parameters
    ----------
    formula : callable
        Makes scores of `Evidence`, higher for more harmful.
    reason : str
        What a high score says, in plain words.
    influence : {"self", "total"} or None
        Influence it needs: of each in-bag row on its own loss, or on the loss of rows
        the copy has not seen.
    count_power : float
        `BoostIn`'s: -1 multiplies the term of each leaf by its train rows.
    needs_copies : bool
        Whether copies must be trained at all.
    """

    formula: Callable[[Evidence], NDArray[np.float64]]
    reason: str
    influence: str | None = None
    count_power: float = 0.0
    needs_copies: bool = True


METHODS = {
    "boostin": Method(
        lambda evidence: np.sqrt(np.maximum(evidence.influence, 0.0)) * evidence.error,
        "models without this row contradict its label, and models with it change only "
        "to fit this row",
        influence="self",
        count_power=-1.0,
    ),
    "boostin_self": Method(
        lambda evidence: evidence.influence,
        "models change much to fit this row alone",
        influence="self",
    ),
    "boostin_total": Method(
        lambda evidence: -evidence.influence,
        "models with this row predict unseen rows worse",
        influence="total",
    ),
    "loss": Method(
        lambda evidence: evidence.loss,
        "models without this row contradict its label",
    ),
    "random": Method(
        lambda evidence: evidence.rng.random(len(evidence.error)),
        "drawn at random",
        needs_copies=False,
    ),
}
"""Ways to score rows, by name.

"boostin" multiplies two views that fail differently: how wrong copies that have not
seen the row find it, and how far copies that have seen it bend to fit it alone. The
latter grows with the square of the residual, so its root is taken; and each leaf's term
is multiplied by the leaf's rows, because a row in a small leaf has much influence on
itself whether it is right or wrong.
"""


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
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    suggestion: NDArray[Any] | None

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


def score_rows(
    method: Method,
    trainer: CopyTrainer,
    rows: LabelledRows,
    *,
    n_repeats: int,
    seed: int,
    costs: Costs,
    target: LabelledRows | None = None,
) -> RowScores:
    """Score rows by copies of the estimator, each trained on a random half of them.

    Parameters
    ----------
    method : Method
        How.
    trainer : CopyTrainer
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
        Rows whose loss "total" influence looks at; by default those out of bag.

    Returns
    -------
    RowScores
    """
    rng = np.random.default_rng(seed)
    if not method.needs_copies:
        none = np.zeros(rows.n_rows)
        score = method.formula(Evidence(none, none, none, rng))
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
    influence = np.zeros(rows.n_rows)
    models = trainer.run(tasks, "scoring rows")
    for in_bag, out_of_bag in splits:
        unseen = rows.take(out_of_bag)
        with costs.timed("train"):
            model = next(models)
            prediction = trainer.predict(model, unseen)
        votes[out_of_bag] += np.isfinite(prediction)
        total[out_of_bag] += np.nan_to_num(prediction)
        if method.influence is not None:
            with costs.timed("influence"):
                influence[in_bag] += _measure_influence(
                    method, model, rows.take(in_bag), target or unseen
                )
    costs.n_fits += len(splits)
    with np.errstate(invalid="ignore"):
        mean = total / votes
    error, loss, suggestion = _judge_labels(rows, mean)
    score = method.formula(Evidence(error, loss, influence / n_repeats, rng))
    return RowScores(score, error, suggestion)


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


def explain_model(model: Any, rows: LabelledRows, count_power: float = 0.0) -> BoostIn:
    """Fit an explainer to a copy and the rows it was trained on."""
    # the rows are known to be the training rows, so a mismatch says something about
    # the estimator (it holds rows out, for instance), of which to warn
    explainer = BoostIn(count_power=count_power, on_mismatch="warn")
    explainer.fit(model, rows.X, rows.y, sample_weight=rows.weight)
    return explainer


def _measure_influence(
    method: Method, model: Any, rows: LabelledRows, target: LabelledRows
) -> NDArray[np.float64]:
    """Give each train row's influence on its own loss or on the mean loss of others."""
    if is_constant(model):
        return np.zeros(rows.n_rows)
    explainer = explain_model(model, rows, method.count_power)
    if method.influence == "self":
        return np.asarray(explainer.self_influence())
    if target.code is not None:
        # a class that this copy has never met has no probability to lose
        met = np.isin(target.y, model.classes_)
        target = target.take(np.flatnonzero(met))
    with warnings.catch_warnings():
        # twins of train rows among the unseen ones are the data's own
        warnings.simplefilter("ignore", SelfExplanationWarning)
        total = explainer.total(target.X, target.y, sample_weight=target.weight)
    return np.asarray(total) / target.n_rows
