"""Ways to score rows, by name: what each needs to know of a row, and its formula."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.errors import SelfExplanationWarning
from treeinf.explainers import BoostIn
from treeinf.training.rows import LabelledRows

__all__ = [
    "MEASURES",
    "METHODS",
    "Evidence",
    "Measure",
    "Method",
    "explain_model",
    "take_met",
]


def explain_model(model: Any, rows: LabelledRows, count_power: float = 0.0) -> BoostIn:
    """Fit an explainer to a copy and the rows it was trained on."""
    # the rows are known to be the training rows, so a mismatch says something about
    # the estimator (it holds rows out, for instance), of which to warn
    explainer = BoostIn(count_power=count_power, on_mismatch="warn")
    explainer.fit(model, rows.X, rows.y, sample_weight=rows.weight)
    return explainer


def take_met(model: Any, rows: LabelledRows) -> LabelledRows:
    """Leave out rows of classes that a copy has never met: they have no probability."""
    if rows.code is None:
        return rows
    return rows.take(np.flatnonzero(np.isin(rows.y, model.classes_)))


@dataclasses.dataclass(frozen=True)
class Measure:
    """What one copy says of each row that it was trained on.

    Parameters
    ----------
    compute : callable
        Takes the copy, its train rows and the target rows; gives float64, shape
        (n_rows,).
    looks_at_others : bool
        Whether it looks at the target rows: those out of the copy's bag, or the
        validation rows given.
    """

    compute: Callable[[Any, LabelledRows, LabelledRows], NDArray[np.float64]]
    looks_at_others: bool = False


def _own_influence(count_power: float) -> Measure:
    """Influence of each row on its own loss."""

    def compute(
        model: Any, rows: LabelledRows, target: LabelledRows
    ) -> NDArray[np.float64]:
        return np.asarray(explain_model(model, rows, count_power).self_influence())

    return Measure(compute)


def _influence_on_others(
    model: Any, rows: LabelledRows, target: LabelledRows
) -> NDArray[np.float64]:
    """Influence of each row on the mean loss of the target rows."""
    target = take_met(model, target)
    with warnings.catch_warnings():
        # twins of train rows among the unseen ones are the data's own
        warnings.simplefilter("ignore", SelfExplanationWarning)
        explainer = explain_model(model, rows)
        total = explainer.total(target.X, target.y, sample_weight=target.weight)
    return np.asarray(total) / target.n_rows


MEASURES: dict[str, Measure] = {
    "self": _own_influence(0.0),
    "self_per_row": _own_influence(-1.0),
    "total": Measure(_influence_on_others, looks_at_others=True),
}
"""What can be asked of each copy, by name; averages over copies are in `Evidence`.

"self" is BoostIn's self influence; "self_per_row" the same with the term of each leaf
multiplied by the leaf's train rows; "total" the BoostIn influence on the loss of rows
that the copy has not seen.
"""


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
    doubt : ndarray of float64, shape (n_rows,)
        The same error where it says how labels are confused with one another, see
        `doubt_labels`; of methods with views.
    measured : dict of str to ndarray of float64, shape (n_rows,)
        In bag: the measures that the method asks for; influence is positive for
        helpful.
    rng : numpy Generator
        For methods that draw.
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
        Makes scores of `Evidence`, higher for more harmful. A row whose score is not
        above 0 is never cleaned.
    reason : str
        What a high score says, in plain words.
    measures : tuple of str, default=()
        Names in `MEASURES` that the formula reads from ``evidence.measured``; with any,
        the estimator must be one that `treeinf.read_model` reads.
    needs_copies : bool, default=True
        Whether copies must be trained at all.
    views : tuple of str, default=()
        Names in `stacking.BASE_MODELS`: models of other kinds, whose predictions are pooled
        with those of the copies. They learn from validation rows given, too.
    """

    formula: Callable[[Evidence], NDArray[np.float64]]
    reason: str
    measures: tuple[str, ...] = ()
    needs_copies: bool = True
    views: tuple[str, ...] = ()

    @property
    def looks_at_others(self) -> bool:
        """Whether scores look at validation rows, where such are given."""
        measures = (MEASURES[name].looks_at_others for name in self.measures)
        return bool(self.views) or any(measures)


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
        views=("forest", "kernel"),
    ),
    "loss": Method(
        lambda row: row.loss,
        "models without this row contradict its label",
    ),
    "random": Method(
        lambda row: row.rng.random(len(row.error)),
        "drawn at random",
        needs_copies=False,
    ),
}
"""Ways to score rows, by name; a further one is one more entry.

"boostin" multiplies two views that fail differently: how wrong copies that have not
seen the row find it, and how far copies that have seen it bend to fit it alone. The
latter grows with the square of the residual, so its root is taken; and each leaf's term
is multiplied by the leaf's rows, because a row in a small leaf has much influence on
itself whether it is right or wrong.
"""
