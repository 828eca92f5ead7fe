"""Flag rows by their scores, and drop, relabel or down-weight them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.training.rows import LabelledRows

__all__ = [
    "ACTIONS",
    "Cleaning",
    "Treatment",
    "drop_rows",
    "flag_rows",
    "keep_all",
    "list_treatments",
]

_LEAST_SHARE_OF_CLASS = 0.1
_LEAST_ROWS_OF_CLASS = 2
_LEAST_WEIGHT = 0.02


@dataclasses.dataclass(frozen=True, eq=False)
class Cleaning:
    """Which rows are dropped, and which labels and weights the others get.

    Parameters
    ----------
    kept : ndarray of bool, shape (n_rows,)
        Rows that remain.
    changed : ndarray of int64, shape (n_changed,)
        Positions of the rows dropped, relabelled or reweighted, the highest score
        first.
    values : dict of str to ndarray, shape (n_rows,)
        Fields of `LabelledRows` that are replaced: "y", "code" or "weight".
    n_left : int, default=0
        Flagged rows that were left as they are.
    """

    kept: NDArray[np.bool_]
    changed: NDArray[np.int64]
    values: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    n_left: int = 0

    @property
    def n_dropped(self) -> int:
        """Rows that do not remain."""
        return int((~self.kept).sum())

    def apply(self, rows: LabelledRows) -> LabelledRows:
        """Return the rows to train on."""
        rows = dataclasses.replace(rows, **self.values)
        return rows if self.kept.all() else rows.take(np.flatnonzero(self.kept))


def flag_rows(
    score: NDArray[np.float64],
    code: NDArray[np.int64] | None,
    *,
    count: int | None = None,
    threshold: float | None = None,
) -> NDArray[np.int64]:
    """Flag the rows of the highest scores, except the last rows of each class.

    Parameters
    ----------
    score : ndarray of float64, shape (n_rows,)
        Scores.
    code : ndarray of int64, shape (n_rows,), or None
        Class numbers; None for regression.
    count : int, optional
        Rows to flag.
    threshold : float, optional
        Flag the rows whose score is at least this, in place of a count.

    Returns
    -------
    ndarray of int64
        Positions, the highest score first, ties in row order. At least a tenth of each
        class, and two rows of it, are not flagged, nor are rows whose score is not
        above 0.
    """
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > 0.0]
    if threshold is not None:
        count = int((score >= threshold).sum())
    assert count is not None
    if code is None:
        return order[: min(count, max(len(score) - 2, 0))]
    n_class = np.bincount(code)
    stays = np.maximum(np.ceil(_LEAST_SHARE_OF_CLASS * n_class), _LEAST_ROWS_OF_CLASS)
    # how many rows of the same class are before each row in the order
    code = code[order]
    by_class = np.argsort(code, kind="stable")
    n_positive = np.bincount(code, minlength=len(n_class))
    first = np.cumsum(n_positive) - n_positive
    before = np.empty(len(code), dtype=np.int64)
    before[by_class] = np.arange(len(code)) - first[code[by_class]]
    flagged: NDArray[np.int64] = order[before < (n_class - stays)[code]][:count]
    return flagged


def drop_rows(n_rows: int, dropped: NDArray[np.int64]) -> Cleaning:
    """Return the cleaning that drops these rows, and does nothing else."""
    kept = np.ones(n_rows, dtype=bool)
    kept[dropped] = False
    return Cleaning(kept, dropped)


def keep_all(n_rows: int) -> Cleaning:
    """Return the cleaning that leaves all rows as they are."""
    return drop_rows(n_rows, np.empty(0, dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What is done with train rows, given their scores.

    Parameters
    ----------
    action : str
        Name in `ACTIONS`.
    amount : Amount
        Rows to flag: a share, or a lowest score or probability of being wrong.
    factor : float, default=0.0
        Factor for the weights of flagged rows, for "downweight".
    relabel_by : str, default="suggestion"
        One of `RELABEL_RULES`, for "relabel".
    """

    action: str
    amount: Amount
    factor: float = 0.0
    relabel_by: str = "suggestion"

    def apply(self, rows: LabelledRows, scores: RowScores) -> Cleaning:
        """Flag rows by their scores, and act on them."""
        value = self.amount.value
        assert value is not None
        if self.amount.kind == "threshold":
            flagged = flag_rows(scores.score, rows.code, threshold=value)
        elif self.amount.kind == "doubt":
            assert scores.doubt is not None
            flagged = flag_rows(scores.doubt, rows.code, threshold=value)
        else:
            count = round(value * rows.n_rows)
            flagged = flag_rows(scores.score, rows.code, count=count)
        return ACTIONS[self.action](self, rows, flagged, scores)


def _drop(
    treatment: Treatment,
    rows: LabelledRows,
    flagged: NDArray[np.int64],
    scores: RowScores,
) -> Cleaning:
    return drop_rows(rows.n_rows, flagged)


def _relabel(
    treatment: Treatment,
    rows: LabelledRows,
    flagged: NDArray[np.int64],
    scores: RowScores,
) -> Cleaning:
    assert scores.suggestion is not None
    suggestion = scores.suggestion[flagged]
    if rows.code is None:
        has_other = np.isfinite(suggestion)
    else:
        has_other = (suggestion >= 0) & (suggestion != rows.code[flagged])
    if treatment.relabel_by != "suggestion":
        assert scores.gains is not None
        has_other &= scores.gains.helps[flagged]
    relabelled, others = flagged[has_other], flagged[~has_other]
    y = rows.y.copy()
    values: dict[str, NDArray[Any]] = {"y": y}
    if rows.code is None:
        y[relabelled] = scores.suggestion[relabelled]
    else:
        values["code"] = code = rows.code.copy()
        code[relabelled] = scores.suggestion[relabelled]
        classes = np.empty(code.max() + 1, dtype=rows.y.dtype)
        classes[rows.code] = rows.y
        y[relabelled] = classes[code[relabelled]]
    kept = np.ones(rows.n_rows, dtype=bool)
    if treatment.relabel_by != "influence":
        return Cleaning(kept, relabelled, values, n_left=len(others))
    kept[others] = False
    return Cleaning(kept, flagged, values)


def _downweight(
    treatment: Treatment,
    rows: LabelledRows,
    flagged: NDArray[np.int64],
    scores: RowScores,
) -> Cleaning:
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight.copy()
    weight[flagged] *= treatment.factor
    return Cleaning(np.ones(rows.n_rows, dtype=bool), flagged, {"weight": weight})


def _weight(
    treatment: Treatment,
    rows: LabelledRows,
    flagged: NDArray[np.int64],
    scores: RowScores,
) -> Cleaning:
    assert scores.doubt is not None
    right = np.clip(1.0 - scores.doubt, _LEAST_WEIGHT, 1.0)
    weight = right if rows.weight is None else rows.weight * right
    return Cleaning(np.ones(rows.n_rows, dtype=bool), flagged, {"weight": weight})


ACTIONS: dict[
    str,
    Callable[[Treatment, LabelledRows, NDArray[np.int64], RowScores], Cleaning],
] = {
    "drop": _drop,
    "relabel": _relabel,
    "downweight": _downweight,
    "weight": _weight,
}
"""Actions on flagged rows, by name; "weight" weights all rows.

"relabel" gives a row the label that copies trained without it predict, if that is
another one and the rule of `RELABEL_RULES` allows it. "weight" multiplies the weight of
every row by the probability that its label is right.
"""


def list_treatments(
    action: str,
    amounts: Sequence[Amount],
    *,
    can_weight: bool,
    factor: float,
    relabel_by: str,
) -> list[Treatment]:
    """List what a trial tries, from the mildest to the strongest.

    Parameters
    ----------
    action : str
        Name in `ACTIONS`, or "auto".
    amounts : sequence of Amount
        Amounts to try, from the smallest up; "weight" changes all rows.
    can_weight : bool
        Whether "auto" tries to weight all rows, before it drops some.
    factor, relabel_by
        See `Treatment`.
    """
    # listed as changed are the rows that keep less than half of their weight
    weighting = Treatment("weight", Amount.doubt(0.5))
    if action == "weight":
        return [weighting]
    is_auto = action == "auto"
    treatments = [
        Treatment("drop" if is_auto else action, amount, factor, relabel_by)
        for amount in amounts
    ]
    return [weighting, *treatments] if is_auto and can_weight else treatments
