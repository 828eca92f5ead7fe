"""Plan which rows copies are trained on, so that each row is scored without itself."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.trial.forward import Fold, restrict
from treeinf.cleaning.trial.splits import RowSet, Split, assign_folds
from treeinf.training.row_groups import draw_one_of_each, number_groups
from treeinf.training.rows import LabelledRows

__all__ = ["CopyRows", "plan_copies"]

_N_FOLDS = 5
_ALL_SETS_BELOW = 5_000
"""Train rows below which all sets of folds have a copy, not only sets of neighbours."""


@dataclasses.dataclass(frozen=True, eq=False)
class CopyRows:
    """Rows that one copy is trained on, and rows that it predicts.

    Parameters
    ----------
    train : ndarray of int64, shape (n_train,)
        Positions in the table, ascending. Of rows that are as good as equal, one.
    scored : ndarray of int64, shape (n_scored,)
        Positions of rows of other groups, ascending.
    """

    train: NDArray[np.int64]
    scored: NDArray[np.int64]


def plan_copies(
    rows: LabelledRows,
    splits: Sequence[Split],
    scored: RowSet,
    rng: np.random.Generator,
    *,
    n_looks: int | None = None,
    folds: Sequence[Fold] | None = None,
    n_repeats: int = 1,
) -> list[CopyRows]:
    """Plan copies that serve all splits of a trial, and the final scores.

    A copy serves a split if all of its rows are train rows of the split. So copies are
    trained on some of the folds that the splits hold out one by one, and predict the
    others.

    Parameters
    ----------
    rows : LabelledRows
        The table.
    splits : sequence of Split
        Splits of the trial; may be empty.
    scored : RowSet
        Rows that are scored in the end.
    rng : numpy Generator
        Random generator.
    n_looks : int, optional
        Leave out copies that serve none of the first splits, up to this one.
    folds : sequence of Fold, optional
        Which rows may be used to score which, where time matters; the copies are
        trained on these.
    n_repeats : int, default=1
        Copies for each set of folds; further ones are trained on a random four fifths
        of its rows.

    Returns
    -------
    list of CopyRows
        Each set of half of the folds (rounded down); of neighbours among them where
        there are many folds or rows. Splits that do not hold out folds one by one, as
        those of `ShuffleSplit`, have copies of their own. Every train row of every
        split is predicted by a copy that serves the split.
    """
    plan = _plan_once(rows, splits, scored, rng, n_looks, folds)
    repeated = list(plan)
    for _ in range(n_repeats - 1):
        for copy in plan:
            is_in = assign_folds(rows.take(copy.train), _N_FOLDS, rng) > 0
            repeated.append(CopyRows(copy.train[is_in], copy.scored))
    return repeated


def _plan_once(
    rows: LabelledRows,
    splits: Sequence[Split],
    scored: RowSet,
    rng: np.random.Generator,
    n_looks: int | None,
    folds: Sequence[Fold] | None,
) -> list[CopyRows]:
    """Plan one copy for each set of rows that serves a split."""
    if folds is not None:
        usable = [split.train.positions for split in splits[:n_looks]]
        return _plan_forward(rows, folds, [*usable, scored.positions], rng)
    trains = _distinct([split.train.positions for split in splits])
    if not trains:
        trains = [scored.positions]
    fold = _held_out_fold(trains, rows.n_rows)
    if fold is not None:
        inside = np.isin(np.arange(rows.n_rows), scored.positions)
        plan = _plan_on_folds(rows, np.flatnonzero(inside), fold, rng)
        return [copy for copy in plan if _serves(copy, trains[:n_looks])]
    plan = []
    for train in trains[:n_looks]:
        fold = np.full(rows.n_rows, -1)
        fold[train] = assign_folds(rows.take(train), _N_FOLDS, rng)
        plan += _plan_on_folds(rows, scored.positions, fold, rng)
    return plan


def _plan_forward(
    rows: LabelledRows,
    folds: Sequence[Fold],
    sets: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[CopyRows]:
    """Plan the copies that score each of several sets of rows from within itself."""
    pairs = [pair for positions in sets for pair in restrict(rows, folds, positions)]
    keys = {
        (train.tobytes(), later.tobytes()): (train, later) for train, later in pairs
    }
    return [
        CopyRows(_draw_twins(rows, train, rng), later) for train, later in keys.values()
    ]


def _distinct(sets: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return list({positions.tobytes(): positions for positions in sets}.values())


def _serves(copy: CopyRows, trains: Sequence[NDArray[np.int64]]) -> bool:
    return any(bool(np.isin(copy.train, train).all()) for train in trains)


def _held_out_fold(
    trains: Sequence[NDArray[np.int64]], n_rows: int
) -> NDArray[np.int64] | None:
    """Return which of the splits holds each row out; None if not exactly one does."""
    if len(trains) < 3:
        return None
    is_held_out = np.ones((len(trains), n_rows), dtype=np.bool_)
    for line, train in zip(is_held_out, trains, strict=True):
        line[train] = False
    if (is_held_out.sum(axis=0) != 1).any():
        return None
    return is_held_out.argmax(axis=0)


def _plan_on_folds(
    rows: LabelledRows,
    positions: NDArray[np.int64],
    fold: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[CopyRows]:
    """Plan copies on sets of folds; rows of no fold, marked -1, are only predicted."""
    n_folds = int(fold.max()) + 1
    plan = []
    for folds in _list_sets(n_folds, int((fold >= 0).sum())):
        is_train = np.isin(fold[positions], folds)
        train = _draw_twins(rows, positions[is_train], rng)
        plan.append(CopyRows(train, positions[~is_train]))
    return plan


def _list_sets(n_folds: int, n_rows: int) -> list[tuple[int, ...]]:
    """List sets of folds such that for any two folds some set has neither."""
    if n_folds <= _N_FOLDS and n_rows < _ALL_SETS_BELOW:
        return list(itertools.combinations(range(n_folds), n_folds // 2))
    # any two folds leave an arc of the circle of at least this length
    length = max(1, (n_folds - 1) // 2)
    return [
        tuple((first + step) % n_folds for step in range(length))
        for first in range(n_folds)
    ]


def _draw_twins(
    rows: LabelledRows, positions: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Keep a random one of each set of rows that are as good as equal."""
    if rows.twin is None:
        return positions
    return positions[draw_one_of_each(number_groups(rows.twin[positions]), rng)]
