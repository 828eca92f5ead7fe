"""Which rows are scored, which choose the amount, and which judge the result."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from treeinf.training.rows import LabelledRows

__all__ = [
    "Judges",
    "Round",
    "check_validation",
    "deal_folds",
    "plan_rounds",
    "split_in_halves",
]

_FEWEST_FOLDS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """Rows that choose or judge, and which of all such rows they are.

    Parameters
    ----------
    rows : LabelledRows
        The rows.
    place : ndarray of int64, shape (n_rows,)
        Their positions in the table they are from.
    """

    rows: LabelledRows
    place: NDArray[np.int64]

    @classmethod
    def of(cls, table: LabelledRows, place: NDArray[np.int64]) -> Judges:
        """Take rows of a table."""
        return cls(table.take(place), place)


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """One rehearsal of the cleaning, on three sets of rows without any in common.

    Parameters
    ----------
    train : ndarray of int64, shape (n_scored,)
        Positions of the rows that are scored, cleaned and trained on.
    first, second : Judges
        What the first choose, the second judge: neither scores nor choice have seen
        those. Then the other way round.
    one_way : bool
        The scores have looked at the first, so that only the second can judge.
    """

    train: NDArray[np.int64]
    first: Judges
    second: Judges
    one_way: bool = False


def check_validation(validation: Any) -> str:
    """Tell which kind of `validation` was given.

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
        f"{_FEWEST_FOLDS}, a scikit-learn splitter, or rows (X_val, y_val)"
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
        if len(validation) != 2:
            raise ValueError(
                f"Got validation with {len(validation)} parts; {expected}."
            )
        return "rows"
    if hasattr(validation, "split") and not isinstance(validation, str):
        return "splitter"
    raise TypeError(f"Got validation of type {type(validation).__name__}; {expected}.")


def split_in_halves(
    rows: LabelledRows, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random into two halves, each class too."""
    fold = deal_folds(rows, 2, rng)
    return np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)


def deal_folds(
    rows: LabelledRows, n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deal rows out to folds as evenly as can be, class by class, at random.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Fold of each row, in [0, n_folds).
    """
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
    """Give each row a random place in [0, 1), evenly spread within each class."""
    place = np.empty(rows.n_rows)
    # steps of the golden ratio fill the interval evenly however many there are
    steps = np.arange(rows.n_rows) * ((np.sqrt(5.0) - 1.0) / 2.0)
    place[_shuffle_by_class(rows, rng)] = (steps + rng.random()) % 1.0
    return place


def plan_rounds(
    validation: Any,
    rows: LabelledRows,
    given: LabelledRows | None,
    rng: np.random.Generator,
    *,
    scores_look: bool = False,
) -> tuple[list[Round], NDArray[np.int64]]:
    """Lay out the rounds.

    Parameters
    ----------
    validation : float, int, splitter or tuple
        As the user gave it, checked.
    rows : LabelledRows
        All rows.
    given : LabelledRows or None
        The user's own validation rows.
    rng : numpy Generator
        Source of the splits.
    scores_look : bool, default=False
        Scores are made with a look at the rows given.

    Returns
    -------
    rounds : list of Round
        One; two, if scores look at the rows given. With folds, one for each fold: this
        and the next judge each other's choice, the others are trained on. So every row
        judges twice, and its two losses are averaged.
    scored : ndarray of int64
        Positions of the rows that the final cleaning scores: all but those held out.

    Raises
    ------
    ValueError
        If a round would be without rows of a kind.
    """
    rounds, scored = _lay_out(validation, rows, given, rng, scores_look)
    for one in rounds:
        sizes = len(one.train), one.first.rows.n_rows, one.second.rows.n_rows
        if sizes[0] < 2 or 0 in sizes:
            raise ValueError(
                f"Got n_samples = {rows.n_rows} rows: too few to score some, choose by "
                f"others and judge by yet others with this validation (one of "
                f"{len(rounds)} rounds has {sizes[0]}, {sizes[1]} and {sizes[2]})."
            )
    return rounds, scored


def _lay_out(
    validation: Any,
    rows: LabelledRows,
    given: LabelledRows | None,
    rng: np.random.Generator,
    scores_look: bool,
) -> tuple[list[Round], NDArray[np.int64]]:
    everything = np.arange(rows.n_rows)
    kind = check_validation(validation)
    if kind == "rows":
        assert given is not None
        first, second = (Judges.of(given, half) for half in split_in_halves(given, rng))
        if not scores_look:
            return [Round(everything, first, second)], everything
        return [
            Round(everything, first, second, one_way=True),
            Round(everything, second, first, one_way=True),
        ], everything
    if kind == "share":
        place = _spread_out(rows, rng)
        first = Judges.of(rows, np.flatnonzero(place < validation / 2.0))
        second = Judges.of(
            rows, np.flatnonzero((place >= validation / 2.0) & (place < validation))
        )
        train = np.flatnonzero(place >= validation)
        return [Round(train, first, second)], train
    if kind == "folds":
        fold = deal_folds(rows, int(validation), rng)
        parts = [
            (np.flatnonzero(fold != k), np.flatnonzero(fold == k))
            for k in range(int(validation))
        ]
    else:
        splitter = check_cv(validation, rows.y, classifier=rows.code is not None)
        parts = list(splitter.split(np.zeros((rows.n_rows, 1)), rows.y))
        if len(parts) < _FEWEST_FOLDS:
            raise ValueError(
                f"validation={validation!r} makes {len(parts)} splits; expected at "
                f"least {_FEWEST_FOLDS}."
            )
    rounds = []
    for k, (train, held_out) in enumerate(parts):
        following = np.setdiff1d(parts[(k + 1) % len(parts)][1], held_out)
        train = np.setdiff1d(train, np.union1d(held_out, following))
        rounds.append(
            Round(train, Judges.of(rows, following), Judges.of(rows, held_out))
        )
    return rounds, everything
