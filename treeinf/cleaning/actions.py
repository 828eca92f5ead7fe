"""What is done with suspect rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.scores.scoring import RowScores
from treeinf.training.rows import LabelledRows

__all__ = ["ACTIONS", "Handling", "Repair", "pick_suspects", "repair_rows"]

_LEAST_SHARE_OF_CLASS = 0.1
_LEAST_ROWS_OF_CLASS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Repair:
    """Rows after an action.

    Parameters
    ----------
    rows : LabelledRows
        What remains to be trained on.
    touched : ndarray of int64, shape (n_touched,)
        Positions of the rows that were dropped or changed, most suspicious first.
    kept : ndarray of bool, shape (n_rows,)
        Rows that remain.
    n_left : int, default=0
        Suspects that were left as they are.
    """

    rows: LabelledRows
    touched: NDArray[np.int64]
    kept: NDArray[np.bool_]
    n_left: int = 0

    @property
    def n_dropped(self) -> int:
        """Rows that do not remain."""
        return int((~self.kept).sum())


def pick_suspects(
    rows: LabelledRows,
    scores: RowScores,
    *,
    count: int | None = None,
    threshold: float | None = None,
) -> NDArray[np.int64]:
    """Pick the most suspicious rows, but never nearly all of a class.

    Parameters
    ----------
    rows : LabelledRows
        Train rows.
    scores : RowScores
        Their scores.
    count : int, optional
        Rows to pick.
    threshold : float, optional
        Pick the rows whose score is at least this, in place of a count.

    Returns
    -------
    ndarray of int64
        Positions, most suspicious first. Of each class a tenth of its rows stays, and
        two at least, so that no class is cleaned away; and a row whose score is not
        above 0 is never a suspect.
    """
    order = scores.order()
    order = order[scores.score[order] > 0.0]
    if threshold is not None:
        count = int((scores.score >= threshold).sum())
    assert count is not None
    if rows.code is None:
        return order[: min(count, max(rows.n_rows - 2, 0))]
    code = rows.code[order]
    n_class = np.bincount(rows.code)
    stays = np.maximum(np.ceil(_LEAST_SHARE_OF_CLASS * n_class), _LEAST_ROWS_OF_CLASS)
    # how many rows of the same class stand before each row in the order
    by_class = np.argsort(code, kind="stable")
    n_suspect = np.bincount(code, minlength=len(n_class))
    first = np.cumsum(n_suspect) - n_suspect
    before = np.empty(len(code), dtype=np.int64)
    before[by_class] = np.arange(len(code)) - first[code[by_class]]
    picked: NDArray[np.int64] = order[before < (n_class - stays)[code]][:count]
    return picked


@dataclasses.dataclass(frozen=True)
class Handling:
    """How the actions act, where they leave a choice.

    Parameters
    ----------
    factor : float, default=0.0
        What "downweight" multiplies the weights of suspects by.
    relabel_by : str, default="suggestion"
        Of "relabel", one of `RELABEL_RULES`.
    """

    factor: float = 0.0
    relabel_by: str = "suggestion"


def _drop(
    rows: LabelledRows,
    suspects: NDArray[np.int64],
    scores: RowScores,
    handling: Handling,
) -> Repair:
    kept = np.ones(rows.n_rows, dtype=bool)
    kept[suspects] = False
    return Repair(rows.take(np.flatnonzero(kept)), suspects, kept)


def _relabel(
    rows: LabelledRows,
    suspects: NDArray[np.int64],
    scores: RowScores,
    handling: Handling,
) -> Repair:
    assert scores.suggestion is not None
    suggestion = scores.suggestion[suspects]
    if rows.code is None:
        is_other = np.isfinite(suggestion)
    else:
        is_other = (suggestion >= 0) & (suggestion != rows.code[suspects])
    if handling.relabel_by != "suggestion":
        assert scores.gains is not None
        is_other &= scores.gains.helps[suspects]
    changed, others = suspects[is_other], suspects[~is_other]
    y = rows.y.copy()
    if rows.code is None:
        y[changed] = scores.suggestion[changed]
        repaired = dataclasses.replace(rows, y=y)
    else:
        code = rows.code.copy()
        code[changed] = scores.suggestion[changed]
        classes = np.empty(code.max() + 1, dtype=rows.y.dtype)
        classes[rows.code] = rows.y
        y[changed] = classes[code[changed]]
        repaired = dataclasses.replace(rows, y=y, code=code)
    kept = np.ones(rows.n_rows, dtype=bool)
    if handling.relabel_by != "influence":
        return Repair(repaired, changed, kept, n_left=len(others))
    kept[others] = False
    return Repair(repaired.take(np.flatnonzero(kept)), suspects, kept)


def _downweight(
    rows: LabelledRows,
    suspects: NDArray[np.int64],
    scores: RowScores,
    handling: Handling,
) -> Repair:
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight.copy()
    weight[suspects] *= handling.factor
    kept = np.ones(rows.n_rows, dtype=bool)
    return Repair(dataclasses.replace(rows, weight=weight), suspects, kept)


ACTIONS: dict[
    str,
    Callable[[LabelledRows, NDArray[np.int64], RowScores, Handling], Repair],
] = {"drop": _drop, "relabel": _relabel, "downweight": _downweight}
"""What can be done with suspect rows, by name.

"relabel" gives a row the label that copies without it predict, if that is another one
and as `RELABEL_RULES` say.
"""


def repair_rows(
    action: str,
    rows: LabelledRows,
    scores: RowScores,
    *,
    count: int | None = None,
    threshold: float | None = None,
    handling: Handling | None = None,
) -> Repair:
    """Pick suspects and act on them; see `pick_suspects`, `ACTIONS` and `Handling`."""
    suspects = pick_suspects(rows, scores, count=count, threshold=threshold)
    return ACTIONS[action](rows, suspects, scores, handling or Handling())
