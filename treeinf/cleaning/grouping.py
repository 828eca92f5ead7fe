"""Which rows belong together: groups passed by the user, and rows that are equal."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.twins import Twins, find_twins, number_equal_rows
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.influence import frame_library, make_frame
from treeinf.frames import as_plain, row_labels
from treeinf.training.row_groups import merge_groups, number_groups, read_groups
from treeinf.training.rows import LabelledRows

__all__ = [
    "Grouping",
    "find_contradictions",
    "join_twins",
    "list_contradictions",
    "read_validation_groups",
]


def read_validation_groups(
    groups_val: Any, groups: Any, n_validation: int, n_train: int
) -> NDArray[np.int64] | None:
    """Read the groups of validation rows passed by the user; None if there are none.

    Raises
    ------
    ValueError
        If they do not fit, or a train row is in one of them.

    Warns
    -----
    SelfExplanationWarning
        If train rows have groups and validation rows have none.
    """
    if groups_val is None:
        if groups is not None:
            warnings.warn(
                "groups were passed for the train rows and not for the validation "
                "rows, so it is not known whether both have rows of the same group; "
                "pass validation=(X_val, y_val, groups_val).",
                SelfExplanationWarning,
                stacklevel=4,
            )
        return None
    number, labels = read_groups(groups_val, n_validation, "groups_val")
    if groups is None:
        raise ValueError(
            "Got groups_val in validation=(X_val, y_val, groups_val) without groups of "
            "the train rows; pass groups= to fit, too."
        )
    train = set(read_groups(groups, n_train)[1])
    shared = [label for label in labels if label in train]
    if shared:
        names = ", ".join(repr(as_plain(label)) for label in shared[:3])
        raise ValueError(
            f"{len(shared):,} of {len(labels):,} groups of the validation rows are "
            f"groups of train rows, too (the first: {names}). A cleaning cannot be "
            "evaluated on groups that it cleans; remove them from X, or pass "
            "validation as a share or a number of folds."
        )
    return number


def join_twins(
    rows: LabelledRows, group: NDArray[np.int64] | None, join_equal_rows: bool
) -> tuple[LabelledRows, Twins]:
    """Set the groups of rows: those passed, merged with those of equal rows."""
    if join_equal_rows:
        twins = find_twins(rows.X)
    else:
        twins = Twins(number_equal_rows(rows.X), None)
    if twins.joined is not None:
        group = twins.joined if group is None else merge_groups(group, twins.joined)
    return dataclasses.replace(rows, group=group, twin=twins.joined), twins


def find_contradictions(
    equal: NDArray[np.int64], label: NDArray[Any]
) -> NDArray[np.int64]:
    """Return the rows that equal others and differ from them in their label.

    Parameters
    ----------
    equal : ndarray of int64, shape (n_rows,)
        The same for equal rows, from 0 without gaps.
    label : ndarray, shape (n_rows,)
        Class numbers, or targets.

    Returns
    -------
    ndarray of int64
        Positions, equal rows one after another.
    """
    order = np.lexsort((np.arange(len(equal)), equal))
    differs = np.zeros(int(equal.max()) + 1, dtype=np.bool_)
    same, labels = equal[order], label[order]
    step = (same[1:] == same[:-1]) & (labels[1:] != labels[:-1])
    differs[same[1:][step]] = True
    positions: NDArray[np.int64] = order[differs[same]]
    return positions


def list_contradictions(rows: LabelledRows, equal: NDArray[np.int64]) -> Any:
    """Return the table of equal rows with different labels; see `InfluenceCleaner`."""
    positions = find_contradictions(equal, rows.label)
    names = row_labels(rows.X)
    columns = {
        "row": positions if names is None else names[positions],
        "position": positions,
        "set": number_groups(equal[positions]),
        "label": rows.y[positions],
    }
    try:
        return make_frame(columns, frame_library(rows.X))
    except ImportError:
        return {name: list(values) for name, values in columns.items()}


@dataclasses.dataclass(frozen=True)
class Grouping:
    """What is reported of the rows that belong together.

    Parameters
    ----------
    n_groups, n_joined, n_contradicting
        See `CleaningReport`.
    notes : tuple of str
        Remarks, one sentence each.
    headline : str
        Sentence added to the headline, after a space; empty if nothing is to be said.
    """

    n_groups: int | None
    n_joined: int
    n_contradicting: int
    notes: tuple[str, ...]
    headline: str

    @classmethod
    def describe(
        cls, rows: LabelledRows, group: NDArray[np.int64] | None, twins: Twins
    ) -> Grouping:
        """Describe groups passed, rows joined, and contradicting labels."""
        notes = []
        if group is not None:
            n_passed = int(group.max()) + 1
            notes.append(
                f"{n_passed:,} groups were passed: no row was scored or judged by "
                "models that have seen its group."
            )
        n_joined = twins.n_joined
        if n_joined:
            notes.append(
                f"{n_joined:,} rows ({n_joined / rows.n_rows:.1%}) are equal to "
                "others, or as good as equal, and were treated as groups; "
                "join_equal_rows=False treats each row by itself."
            )
        n_contradicting = len(find_contradictions(twins.equal, rows.label))
        what = "targets" if rows.code is None else "labels"
        sentence = (
            f"{n_contradicting:,} rows equal others in all columns and have other "
            f"{what}; contradictions_ lists them."
        )
        headline = ""
        if n_contradicting and twins.joined is not None:
            headline = " " + sentence
        elif n_contradicting:
            notes.append(sentence)
        n_groups = None if rows.group is None else len(np.unique(rows.group))
        return cls(n_groups, n_joined, n_contradicting, tuple(notes), headline)
