"""Split rows forward in time: what is learned from rows is used for later ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit

from treeinf.times import read_order
from treeinf.training.rows import LabelledRows
from treeinf.validation import read_vector

__all__ = [
    "Fold",
    "check_forward",
    "cut_folds",
    "follows_positions",
    "halve_forward",
    "outside_groups",
    "rank_times",
    "restrict",
    "sort_folds",
]

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Positions of rows to learn from, and of later rows."""


def rank_times(time: Any, n_rows: int) -> NDArray[np.int64]:
    """Read the times passed by the user.

    Parameters
    ----------
    time : array-like, shape (n_rows,)
        Numbers, dates, moments, or texts of them.
    n_rows : int
        Expected length.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Rank of each row's time from 0; rows of the same time have the same rank.

    Raises
    ------
    ValueError, TypeError
        If there is not one for each row, one is missing or no time, or all are the
        same.
    """
    order = read_order(read_vector(time, "time", n_rows), "time")
    rank = np.unique(order, return_inverse=True)[1].reshape(-1).astype(np.int64)
    if not rank.any():
        raise ValueError(
            "time is the same in all rows; models are evaluated on later rows than "
            "they were trained on, so at least two times are needed."
        )
    return rank


def follows_positions(validation: Any) -> bool:
    """Return whether splits imply that rows stand in the order of time.

    That is so for `TimeSeriesSplit`, and for lists of splits that hold out later rows
    alone.
    """
    if isinstance(validation, TimeSeriesSplit):
        return True
    return isinstance(validation, list) and all(
        len(train) and len(test) and np.max(train) < np.min(test)
        for train, test in validation
    )


def cut_folds(
    rows: LabelledRows, positions: NDArray[np.int64], n_folds: int
) -> list[Fold]:
    """Cut rows into one block more than folds; each fold is a block and all before it.

    Parameters
    ----------
    rows : LabelledRows
        The table, with times.
    positions : ndarray of int64
        Rows to cut.
    n_folds : int
        Number of folds; fewer where many rows have the same time, which are in one
        block.
    """
    time = _times(rows)[positions]
    ordered = np.sort(time)
    cuts = np.arange(1, n_folds + 1) * len(time) // (n_folds + 1)
    second = np.unique(ordered)[:2][-1]
    starts = np.unique(np.maximum(ordered[cuts], second))
    ends = np.append(starts[1:], ordered[-1] + 1)
    return [
        (positions[time < start], positions[(time >= start) & (time < end)])
        for start, end in zip(starts, ends, strict=True)
    ]


def sort_folds(splitter: Any, rows: LabelledRows, *, by_time: bool) -> list[Fold]:
    """List the splits of a splitter, over the rows in the order of time if asked."""
    order = np.arange(rows.n_rows)
    if by_time:
        order = np.argsort(_times(rows), kind="stable")
    group = None if rows.group is None else rows.group[order]
    splits = splitter.split(np.zeros((rows.n_rows, 1)), rows.y[order], group)
    return [(order[train], order[test]) for train, test in splits]


def check_forward(
    rows: LabelledRows, folds: Sequence[Fold], validation: Any
) -> list[Fold]:
    """Refuse splits that train on later rows than they hold out.

    Returns
    -------
    list of Fold
        Without train rows of the time of rows held out.

    Raises
    ------
    ValueError
        If one does.
    """
    time, checked = _times(rows), []
    for train, held_out in folds:
        first = time[held_out].min()
        if (time[train] > first).any():
            raise ValueError(
                f"Got time= and validation={validation!r}, which trains on later rows "
                "than it holds out; pass a share, a number of folds, or a "
                "TimeSeriesSplit."
            )
        checked.append((train[time[train] < first], held_out))
    return checked


def halve_forward(rows: LabelledRows, held_out: NDArray[np.int64]) -> Fold:
    """Split rows into an earlier and a later half, with no group in both.

    Groups that are in both are left out of the earlier half.
    """
    time = _times(rows)[held_out]
    start = np.sort(time)[len(time) // 2]
    if start == time.min():  # more than half of the rows are of the first time
        later = np.unique(time)[1:]
        start = later[0] if len(later) else start
    first, second = held_out[time < start], held_out[time >= start]
    return outside_groups(rows, first, second), second


def outside_groups(
    rows: LabelledRows, positions: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Leave out the rows of groups that other rows are in, too."""
    if rows.group is None:
        return positions
    return positions[~np.isin(rows.group[positions], rows.group[others])]


def restrict(
    rows: LabelledRows, folds: Sequence[Fold], positions: NDArray[np.int64]
) -> list[Fold]:
    """Restrict folds to some of the rows, and separate groups.

    Parameters
    ----------
    rows : LabelledRows
        The table.
    folds : sequence of Fold
        Folds of the table.
    positions : ndarray of int64
        Rows that may be used.

    Returns
    -------
    list of Fold
        Those with rows on both sides: the train rows are of no group of the others.
    """
    inside = np.zeros(rows.n_rows, dtype=np.bool_)
    inside[positions] = True
    pairs = []
    for train, later in folds:
        scored = np.sort(later[inside[later]])
        usable = outside_groups(rows, np.sort(train[inside[train]]), scored)
        if len(usable) > 1 and len(scored):
            pairs.append((usable, scored))
    return pairs


def _times(rows: LabelledRows) -> NDArray[np.int64]:
    assert rows.time is not None
    return rows.time
