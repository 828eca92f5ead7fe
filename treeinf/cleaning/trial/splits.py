"""Split rows into those scored, those that choose and those that evaluate."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from treeinf.cleaning.trial.forward import (
    Fold,
    check_forward,
    cut_folds,
    halve_forward,
    outside_groups,
    restrict,
    sort_folds,
)
from treeinf.training.row_groups import deal_groups
from treeinf.training.rows import LabelledRows

__all__ = [
    "RowSet",
    "Split",
    "assign_folds",
    "check_validation",
    "list_score_folds",
    "plan_splits",
    "split_in_halves",
]

_FEWEST_FOLDS = 3
_N_SCORE_FOLDS = 9
_FEW_PERIODS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class RowSet:
    """Rows of a table, by their positions; taken from it when they are first needed.

    Parameters
    ----------
    table : LabelledRows
        The table.
    positions : ndarray of int64, shape (n_rows,)
        Positions of the rows.
    """

    table: LabelledRows
    positions: NDArray[np.int64]

    @functools.cached_property
    def rows(self) -> LabelledRows:
        """The rows; the table itself if they are all of it."""
        if np.array_equal(self.positions, np.arange(self.table.n_rows)):
            return self.table
        return self.table.take(self.positions)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Rows to train on and two sets to predict, without any row in common.

    Parameters
    ----------
    train : RowSet
        Rows that are scored, cleaned and trained on.
    sets : tuple of RowSet
        The first chooses, the second evaluates: neither scores nor choice have seen its
        rows; then vice versa.
    one_way : bool, default=False
        Whether the scores use the first set, so that only the second can evaluate.
    forward : bool, default=False
        Whether the second set is later than the first, so that only it can evaluate.
    """

    train: RowSet
    sets: tuple[RowSet, ...]
    one_way: bool = False
    forward: bool = False

    @property
    def roles(self) -> list[tuple[int, int]]:
        """Numbers of the selection set and of the guard set, for each turn."""
        is_single = self.one_way or self.forward
        return [(0, 1)] if is_single else [(0, 1), (1, 0)]


def check_validation(validation: Any) -> str:
    """Return the kind of `validation`.

    Returns
    -------
    {"share", "folds", "rows", "splitter"}

    Raises
    ------
    ValueError, TypeError
        If it is none of them.
    """
    expected = (
        "expected a share of the rows in (0, 1), a number of folds of at least "
        f"{_FEWEST_FOLDS}, a scikit-learn splitter, a list of splits, or rows "
        "(X_val, y_val) or (X_val, y_val, groups_val)"
    )
    if isinstance(validation, bool) or validation is None:
        raise TypeError(f"Got validation={validation!r}; {expected}.")
    if isinstance(validation, numbers.Integral):
        if validation < _FEWEST_FOLDS:
            raise ValueError(f"Got validation={validation!r}; {expected}.")
        return "folds"
    if isinstance(validation, float | np.floating):
        if not 0.0 < validation < 1.0:
            raise ValueError(f"Got validation={validation!r}; {expected}.")
        return "share"
    if isinstance(validation, tuple):
        if len(validation) not in (2, 3):
            raise ValueError(
                f"Got validation with {len(validation)} parts; {expected}."
            )
        return "rows"
    if isinstance(validation, list) or (
        hasattr(validation, "split") and not isinstance(validation, str)
    ):
        return "splitter"
    raise TypeError(f"Got validation of type {type(validation).__name__}; {expected}.")


def split_in_halves(
    rows: LabelledRows, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random into two halves, each class too."""
    fold = assign_folds(rows, 2, rng)
    return np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)


def assign_folds(
    rows: LabelledRows, n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Assign rows to folds at random, stratified by class, whole groups to one fold.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Fold of each row, in [0, n_folds).
    """
    if rows.group is not None:
        return deal_groups(rows.group, rows.code, [1.0] * n_folds, rng)
    fold = np.empty(rows.n_rows, dtype=np.int64)
    fold[_shuffle_by_class(rows, rng)] = np.arange(rows.n_rows) % n_folds
    return fold


def _shuffle_by_class(
    rows: LabelledRows, rng: np.random.Generator
) -> NDArray[np.int64]:
    order = rng.permutation(rows.n_rows)
    if rows.code is not None:
        order = order[np.argsort(rows.code[order], kind="stable")]
    return order


def _spread_out(rows: LabelledRows, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a number in [0, 1) for each row, evenly spread within each class."""
    quantile = np.empty(rows.n_rows)
    # steps of the golden ratio fill the interval evenly however many there are
    steps = np.arange(rows.n_rows) * ((np.sqrt(5.0) - 1.0) / 2.0)
    quantile[_shuffle_by_class(rows, rng)] = (steps + rng.random()) % 1.0
    return quantile


def plan_splits(
    validation: Any,
    rows: LabelledRows,
    trusted: LabelledRows | None,
    rng: np.random.Generator,
    *,
    scores_use_trusted: bool = False,
) -> tuple[list[Split], RowSet]:
    """Lay out the splits of a trial.

    Parameters
    ----------
    validation : float, int, splitter or tuple
        Checked by `check_validation`.
    rows : LabelledRows
        All rows.
    trusted : LabelledRows or None
        The user's own validation rows.
    rng : numpy Generator
        Random generator of the splits.
    scores_use_trusted : bool, default=False
        Whether scores use the trusted rows.

    Returns
    -------
    splits : list of Split
        No two of a split's sets have a row of the same group. One split; two, if scores
        use the trusted rows. With folds, one for each: its halves are selection and
        guard set of one another, the other folds are trained on.
    scored : RowSet
        Rows that the final cleaning scores: all but those held out.

    Where rows have times, train rows are earlier than the selection set, and that is
    earlier than the guard set. Of folds, the latest comes first; one without train rows
    that have a score is left out.

    Raises
    ------
    ValueError
        If a split has no rows to train on, to choose by or to evaluate on.
    """
    kind = check_validation(validation)
    scored = RowSet(rows, np.arange(rows.n_rows))
    if rows.time is not None and kind != "rows":
        splits, scored = _split_forward(validation, kind, rows)
    elif kind == "rows":
        assert trusted is not None
        first, second = (RowSet(trusted, h) for h in split_in_halves(trusted, rng))
        splits = [Split(scored, (first, second), scores_use_trusted)]
        if scores_use_trusted:
            splits.append(Split(scored, (second, first), scores_use_trusted))
    elif kind == "share":
        if rows.group is None:
            quantile = _spread_out(rows, rng)
            is_first, is_train = quantile < validation / 2.0, quantile >= validation
        else:
            half = validation / 2.0
            shares = (1.0 - validation, half, half)
            fold = deal_groups(rows.group, rows.code, shares, rng)
            is_first, is_train = fold == 1, fold == 0
        first, second, scored = (
            RowSet(rows, np.flatnonzero(mask))
            for mask in (is_first, ~is_first & ~is_train, is_train)
        )
        splits = [Split(scored, (first, second))]
    else:
        splits = []
        for train, held_out in _list_folds(validation, kind, rows, rng):
            held_out = np.setdiff1d(held_out, train)
            train = outside_groups(rows, train, held_out)
            halves = split_in_halves(rows.take(held_out), rng)
            sets = tuple(RowSet(rows, held_out[half]) for half in halves)
            splits.append(Split(RowSet(rows, train), sets))
    for split in splits:
        sizes = [len(r.positions) for r in (split.train, *split.sets)]
        if sizes[0] < 2 or 0 in sizes:
            raise ValueError(
                f"Got n_samples = {rows.n_rows} rows: too few to score some, choose by "
                f"others and evaluate on yet others with this validation (one of "
                f"{len(splits)} splits has {sizes[0]}, {sizes[1]} and {sizes[2]})."
            )
    return splits, scored


def list_score_folds(
    validation: Any, rows: LabelledRows, scored: RowSet
) -> list[Fold] | None:
    """List which rows may be used to score which; None where time does not matter.

    Parameters
    ----------
    validation : float, int, splitter or tuple
        Checked by `check_validation`.
    rows : LabelledRows
        All rows.
    scored : RowSet
        Rows to score.

    Returns
    -------
    list of Fold, or None
        The folds of a splitter; else folds of the rows to score, finer than those of
        the trial.
    """
    if rows.time is None:
        return None
    kind = check_validation(validation)
    if kind == "splitter":
        return _list_forward(validation, kind, rows)
    n_folds = _N_SCORE_FOLDS
    if kind == "folds":
        # each block of the trial in two, so that the first rows, without a score, are
        # few
        n_periods = int(validation) + 1
        n_folds = (2 * n_periods if n_periods <= _FEW_PERIODS else n_periods) - 1
    return cut_folds(rows, scored.positions, n_folds)


def _list_forward(validation: Any, kind: str, rows: LabelledRows) -> list[Fold]:
    if kind == "folds":
        return cut_folds(rows, np.arange(rows.n_rows), int(validation))
    splitter = check_cv(validation, rows.y, classifier=rows.code is not None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        # positions in a list are those of the table
        by_time = not isinstance(validation, list)
        folds = sort_folds(splitter, rows, by_time=by_time)
    _refuse_few(folds, validation)
    return check_forward(rows, folds, validation)


def _split_forward(
    validation: Any, kind: str, rows: LabelledRows
) -> tuple[list[Split], RowSet]:
    """Lay out splits with sets later than their train rows; see `plan_splits`."""
    everything = np.arange(rows.n_rows)
    if kind == "share":
        time = rows.time
        assert time is not None
        start = np.sort(time)[round((1.0 - validation) * (rows.n_rows - 1))]
        folds = [(everything[time < start], everything[time >= start])]
        scored = RowSet(rows, folds[0][0])
    else:
        folds = _list_forward(validation, kind, rows)
        scored = RowSet(rows, everything)
    usable = list_score_folds(validation, rows, scored) or []
    splits = []
    for train, held_out in folds[::-1]:
        train = outside_groups(rows, train, held_out)
        if restrict(rows, usable, train):
            sets = tuple(RowSet(rows, half) for half in halve_forward(rows, held_out))
            splits.append(Split(RowSet(rows, train), sets, forward=True))
    if not splits:
        raise ValueError(
            "No row can be scored by earlier rows and evaluated on later ones with "
            "this time, validation and these groups; pass fewer groups, or more folds."
        )
    return splits, scored


def _list_folds(
    validation: Any, kind: str, rows: LabelledRows, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows outside and inside of each fold."""
    if kind == "folds":
        fold = assign_folds(rows, int(validation), rng)
        return [
            (np.flatnonzero(fold != k), np.flatnonzero(fold == k))
            for k in range(int(validation))
        ]
    splitter = check_cv(validation, rows.y, classifier=rows.code is not None)
    with warnings.catch_warnings():
        # not every splitter uses them; `plan_splits` keeps groups whole in any case
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros((rows.n_rows, 1)), rows.y, rows.group))
    _refuse_few(folds, validation)
    return folds


def _refuse_few(folds: Sequence[Fold], validation: Any) -> None:
    if len(folds) < _FEWEST_FOLDS:
        raise ValueError(
            f"validation={validation!r} makes {len(folds)} splits; expected at least "
            f"{_FEWEST_FOLDS}."
        )
