"""Estimate by influence how suggested labels would change the loss.

Copies that have not seen a row suggest a label. Whether that label helps is estimated
by copies that have seen the row: to first order, the change of the loss of unseen rows
if the row had the suggested label, and if it were removed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.scores.methods import (
    explain_model,
    keep_known_classes,
)
from treeinf.errors import UnsupportedModelError
from treeinf.training.learner import is_constant
from treeinf.training.rows import LabelledRows

__all__ = ["RELABEL_RULES", "LabelGains", "check_explained", "estimate_label_gains"]

RELABEL_RULES = ("influence", "influence_or_leave", "suggestion")
"""Which flagged rows action "relabel" relabels, and what happens to the others.

"influence": those whose suggestion helps, and more than their removal; the others are
dropped. "influence_or_leave": the same, and the others are left. "suggestion": all
whose suggestion is another label, whatever its influence; the others are left.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelGains:
    """Decrease of the mean loss of unseen rows, averaged over copies.

    Parameters
    ----------
    relabel : ndarray of float64, shape (n_rows,)
        With the suggested label in place of the row's label; 0 where that is the same
        or no copy was trained on its class.
    drop : ndarray of float64, shape (n_rows,)
        Without the row.
    """

    relabel: NDArray[np.float64]
    drop: NDArray[np.float64]

    @property
    def helps(self) -> NDArray[np.bool_]:
        """Whether the suggestion helps, and more than the row's removal."""
        return (self.relabel > 0.0) & (self.relabel > self.drop)


def check_explained(model: Any, rows: LabelledRows) -> None:
    """Refuse to relabel by influence where copies cannot be explained.

    Raises
    ------
    UnsupportedModelError
        If influence is not defined for such models.
    """
    if is_constant(model):
        return
    try:
        explain_model(model, rows)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"{error} Relabelling by influence needs it; relabel_by='suggestion' does "
            "not."
        ) from None


def estimate_label_gains(
    models: Sequence[Any],
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    rows: LabelledRows,
    suggestion: NDArray[Any],
    classes: NDArray[Any] | None,
    queries: LabelledRows | None = None,
) -> LabelGains:
    """Estimate how suggested labels and removals would change the loss of unseen rows.

    Parameters
    ----------
    models : sequence of estimator
        The copies.
    splits : sequence of (ndarray of int64, ndarray of int64)
        For each copy, the positions of the rows in its bag and of those out of it.
    rows : LabelledRows
        All rows.
    suggestion : ndarray, shape (n_rows,)
        Class number or value; -1 or NaN for none.
    classes : ndarray or None
        Labels in order; None for regression.
    queries : LabelledRows, optional
        Unseen rows; by default those out of each copy's bag.

    Returns
    -------
    LabelGains

    Notes
    -----
    BoostIn's influence, see `treeinf.BoostIn.relabel` and `total`: for each copy its
    trees are read once, and its rows twice. Copies skip suggestions of classes that
    they were not trained on.
    """
    relabel, drop = np.zeros(rows.n_rows), np.zeros(rows.n_rows)
    n_copies = np.zeros(rows.n_rows)
    for model, (in_bag, out_of_bag) in zip(models, splits, strict=True):
        if is_constant(model):
            continue
        seen = rows.take(in_bag)
        unseen = keep_known_classes(
            model, rows.take(out_of_bag) if queries is None else queries
        )
        if not unseen.n_rows:
            continue
        is_met, labels = _name_suggestions(model, seen, suggestion[in_bag], classes)
        explainer = explain_model(model, seen)
        change = explainer.relabel(
            unseen.X,
            unseen.y,
            labels=labels[:, np.newaxis],
            sample_weight=unseen.weight,
        )
        removal = explainer.total(unseen.X, unseen.y, sample_weight=unseen.weight)
        positions = in_bag[is_met]
        relabel[positions] -= np.asarray(change)[is_met, 0] / unseen.n_rows
        drop[positions] -= np.asarray(removal)[is_met] / unseen.n_rows
        n_copies[positions] += 1.0
    return LabelGains(
        rows.average_twins(relabel, n_copies), rows.average_twins(drop, n_copies)
    )


def _name_suggestions(
    model: Any,
    seen: LabelledRows,
    suggestion: NDArray[Any],
    classes: NDArray[Any] | None,
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return which suggestions a copy has seen, and labels: suggested, or the row's."""
    if classes is None:
        is_met = np.isfinite(suggestion)
        return is_met, np.where(is_met, suggestion, seen.y)
    labels = seen.y.copy()
    is_suggested = suggestion >= 0
    labels[is_suggested] = classes[suggestion[is_suggested]]
    is_met = np.isin(labels, model.classes_)
    labels[~is_met] = seen.y[~is_met]
    return is_suggested & is_met, labels
