"""Whether a row would do the others good with the label suggested for it.

Copies that have not seen a row say what its label should be. Whether that label helps
is another question, and one for influence: copies that have seen the row say, to first
order, what the loss of rows that they have not seen would be with the suggested label
in place of its own, and what it would be without the row.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.scores.methods import explain_model, take_met
from treeinf.errors import SelfExplanationWarning, UnsupportedModelError
from treeinf.training.learner import is_constant
from treeinf.training.rows import LabelledRows

__all__ = ["RELABEL_RULES", "LabelGains", "check_explained", "weigh_suggestions"]

RELABEL_RULES = ("influence", "influence_or_leave", "suggestion")
"""Which suspects action "relabel" gives their suggestion, and what becomes of others.

"influence": those whose suggestion helps, and more than their removal; the others are
dropped. "influence_or_leave": the same, and the others are left. "suggestion": all
whose suggestion is another label, without asking influence; the others are left.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelGains:
    """By how much the mean loss of unseen rows falls, averaged over copies.

    Parameters
    ----------
    relabel : ndarray of float64, shape (n_rows,)
        With the suggested label in place of the row's own; 0 where that is the same,
        or where no copy can tell.
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
    """Refuse to relabel by influence where a copy has none, and say what to do.

    Raises
    ------
    UnsupportedModelError
        If no influence can be had of such models.
    """
    if is_constant(model):
        return
    try:
        explain_model(model, rows)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"{error} Relabelling by influence asks for it; relabel_by='suggestion' "
            "does not."
        ) from None


def weigh_suggestions(
    models: Sequence[Any],
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    rows: LabelledRows,
    suggestion: NDArray[Any],
    classes: NDArray[Any] | None,
    target: LabelledRows | None = None,
) -> LabelGains:
    """Ask each copy what its rows' suggested labels would do to unseen rows.

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
    target : LabelledRows, optional
        Unseen rows; by default those out of each copy's bag.

    Returns
    -------
    LabelGains

    Notes
    -----
    BoostIn's influence, see `treeinf.BoostIn.relabel` and `total`: a reading of the
    trees and two passes over the rows of each copy. A copy does not speak of a class
    that it has never met.
    """
    relabel, drop = np.zeros(rows.n_rows), np.zeros(rows.n_rows)
    n_said = np.zeros(rows.n_rows)
    for model, (in_bag, out_of_bag) in zip(models, splits, strict=True):
        if is_constant(model):
            continue
        seen = rows.take(in_bag)
        others = take_met(model, rows.take(out_of_bag) if target is None else target)
        if not others.n_rows:
            continue
        is_known, labels = _name_suggestions(model, seen, suggestion[in_bag], classes)
        with warnings.catch_warnings():
            # twins of train rows among the unseen ones are the data's own
            warnings.simplefilter("ignore", SelfExplanationWarning)
            explainer = explain_model(model, seen)
            change = explainer.relabel(
                others.X,
                others.y,
                labels=labels[:, np.newaxis],
                sample_weight=others.weight,
            )
            without = explainer.total(others.X, others.y, sample_weight=others.weight)
        place = in_bag[is_known]
        relabel[place] -= np.asarray(change)[is_known, 0] / others.n_rows
        drop[place] -= np.asarray(without)[is_known] / others.n_rows
        n_said[place] += 1.0
    n_said = np.maximum(n_said, 1.0)
    return LabelGains(relabel / n_said, drop / n_said)


def _name_suggestions(
    model: Any,
    seen: LabelledRows,
    suggestion: NDArray[Any],
    classes: NDArray[Any] | None,
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Say which suggestions a copy knows, and name them; others keep their label."""
    if classes is None:
        is_known = np.isfinite(suggestion)
        return is_known, np.where(is_known, suggestion, seen.y)
    labels = seen.y.copy()
    is_known = suggestion >= 0
    labels[is_known] = classes[suggestion[is_known]]
    is_met = np.isin(labels, model.classes_)
    labels[~is_met] = seen.y[~is_met]
    return is_known & is_met, labels
