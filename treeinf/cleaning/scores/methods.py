"""Methods that score rows: their inputs and formulas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.explainers import BoostIn, OutOfBagLoss
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.training.rows import LabelledRows

__all__ = [
    "MEASURES",
    "METHODS",
    "Evidence",
    "Measure",
    "Method",
    "explain_model",
    "keep_known_classes",
]


def explain_model(
    model: Any,
    rows: LabelledRows,
    kind: type[AdditiveExplainer] = BoostIn,
    **parameters: Any,
) -> AdditiveExplainer:
    """Fit an explainer to a copy and the rows it was trained on."""
    # these are the training rows, so a mismatch is due to the estimator (early stopping
    # may hold rows out); warn
    explainer = kind(on_mismatch="warn", **parameters)
    return explainer.fit(model, rows.X, rows.y, sample_weight=rows.weight)


def keep_known_classes(model: Any, rows: LabelledRows) -> LabelledRows:
    """Drop rows of classes that a copy was not trained on."""
    if rows.code is None:
        return rows
    return rows.take(np.flatnonzero(np.isin(rows.y, model.classes_)))


@dataclasses.dataclass(frozen=True)
class Measure:
    """Influence of the rows of one copy, one number a row.

    Parameters
    ----------
    compute : callable
        Takes the copy, its train rows and the query rows; returns float64, shape
        (n_rows,).
    uses_queries : bool
        Whether it reads the query rows: those out of the copy's bag, or validation rows
        of the user.
    """

    compute: Callable[[Any, LabelledRows, LabelledRows], NDArray[np.float64]]
    uses_queries: bool = False


def _self_influence(count_power: float) -> Measure:
    """Measure the influence of each row on its own loss."""

    def compute(
        model: Any, rows: LabelledRows, queries: LabelledRows
    ) -> NDArray[np.float64]:
        return np.asarray(
            explain_model(model, rows, count_power=count_power).self_influence()
        )

    return Measure(compute)


def _total_influence(
    model: Any, rows: LabelledRows, queries: LabelledRows
) -> NDArray[np.float64]:
    """Compute the influence of each row on the mean loss of the query rows."""
    queries = keep_known_classes(model, queries)
    explainer = explain_model(model, rows)
    total = explainer.total(queries.X, queries.y, sample_weight=queries.weight)
    return np.asarray(total) / queries.n_rows


def _out_of_bag(kind: str) -> Measure:
    """Score each row by the trees of the copy that saw no row of its group."""

    def compute(
        model: Any, rows: LabelledRows, queries: LabelledRows
    ) -> NDArray[np.float64]:
        scorer = OutOfBagLoss(kind=kind)
        scorer.fit(model, rows.X, rows.y, sample_weight=rows.weight, groups=rows.group)
        return scorer.scores_

    return Measure(compute)


MEASURES: dict[str, Measure] = {
    "self": _self_influence(0.0),
    "self_per_row": _self_influence(-1.0),
    "total": Measure(_total_influence, uses_queries=True),
    "out_of_bag_sum": _out_of_bag("sum"),
    "out_of_bag_step": _out_of_bag("step"),
}
"""Measures of each copy, by name; `Evidence` holds their averages over copies.

"self" is BoostIn's self influence; "self_per_row" the same with the term of each leaf
multiplied by the leaf's train rows; "total" the BoostIn influence on the loss of rows
that the copy has not seen; the last two are `OutOfBagLoss`, for estimators that sample
rows.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Errors and influence of each row, averaged over copies.

    Parameters
    ----------
    error : ndarray of float64, shape (n_rows,)
        Out of bag: 1 minus the probability of the row's label, or the absolute
        residual. 0 where no copy without the row was trained on its class.
    loss : ndarray of float64, shape (n_rows,)
        Out of bag: log loss or squared error.
    measured : dict of str to ndarray of float64, shape (n_rows,)
        In bag: the measures of the method; influence is positive for helpful.
    rng : numpy Generator
        For random scores.
    doubt : ndarray of float64, shape (n_rows,), or None
        Probability that the label is wrong, see `doubt_labels`; for classification by
        methods with base models.
    """

    error: NDArray[np.float64]
    loss: NDArray[np.float64]
    measured: Mapping[str, NDArray[np.float64]]
    rng: np.random.Generator
    doubt: NDArray[np.float64] | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """How rows are scored.

    Parameters
    ----------
    formula : callable
        Computes scores from `Evidence`, higher for more harmful. A row whose score is
        not above 0 is never cleaned.
    reason : str
        Meaning of a high score, for the report.
    measures : tuple of str, default=()
        Names in `MEASURES` that the formula reads from ``evidence.measured``; with any,
        the estimator must be one that `treeinf.read_model` reads.
    needs_copies : bool, default=True
        Whether copies must be trained at all.
    base_models : tuple of str, default=()
        Names in `stacking.BASE_MODELS`: other kinds of model, whose predictions are
        pooled with those of the copies. They are trained on validation rows of the
        user, too.
    """

    formula: Callable[[Evidence], NDArray[np.float64]]
    reason: str
    measures: tuple[str, ...] = ()
    needs_copies: bool = True
    base_models: tuple[str, ...] = ()

    @property
    def uses_queries(self) -> bool:
        """Whether scores depend on validation rows of the user."""
        measures = (MEASURES[name].uses_queries for name in self.measures)
        return bool(self.base_models) or any(measures)


METHODS: dict[str, Method] = {
    "boostin": Method(
        lambda row: np.sqrt(np.maximum(row.measured["self_per_row"], 0.0)) * row.error,
        "models without this row contradict its label, and models with it change only "
        "to fit this row",
        measures=("self_per_row",),
    ),
    "boostin_self": Method(
        lambda row: row.measured["self"],
        "models change much to fit this row alone",
        measures=("self",),
    ),
    "boostin_total": Method(
        lambda row: -row.measured["total"],
        "models with this row predict unseen rows worse",
        measures=("total",),
    ),
    "stacking": Method(
        lambda row: row.error if row.doubt is None else row.doubt,
        "models of several kinds, which have not seen this row, contradict its label",
        base_models=("forest", "kernel"),
    ),
    "loss": Method(
        lambda row: row.loss,
        "models without this row contradict its label",
    ),
    "out_of_bag_sum": Method(
        lambda row: row.measured["out_of_bag_sum"],
        "the trees that did not see this row contradict its label",
        measures=("out_of_bag_sum",),
    ),
    "out_of_bag_step": Method(
        lambda row: row.measured["out_of_bag_step"],
        "trees that did not see this row push it away from its label",
        measures=("out_of_bag_step",),
    ),
    "random": Method(
        lambda row: row.rng.random(len(row.error)),
        "drawn at random",
        needs_copies=False,
    ),
}
"""Methods by name.

"boostin" multiplies two measures that fail differently: the out-of-bag error of the
row, and the influence of the row on itself in copies that have seen it. The latter is
quadratic in the residual, so its root is taken; and each leaf's term is multiplied by
the leaf's rows, because any row of a small leaf has a large influence on itself,
whether its label is right or wrong.
"""
