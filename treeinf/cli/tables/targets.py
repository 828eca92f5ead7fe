"""Read the column to predict: labels or values."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.files import Table
from treeinf.cli.tables.number_columns import list_names
from treeinf.frames import read_columns

__all__ = ["NUMBERS", "read_target", "refuse_nested"]

MOST_CLASSES = 20
"""Integer targets with more distinct values than this are regression by default."""

MOST_LABELS = 50
"""Text targets with more distinct values than this are no classes by default."""

NUMBERS = (numbers.Real, Decimal, np.bool_)
"""Types of values that are numbers."""

_MOST_SHOWN = 5


def read_target(
    table: Table, target: str, task: str, notes: list[str]
) -> tuple[NDArray[Any], str]:
    """Read the target, and decide whether it holds classes or values.

    Parameters
    ----------
    table : Table
        The rows.
    target : str
        Column to predict.
    task : {"auto", "classification", "regression"}
        Kind of model, if known.
    notes : list of str
        Takes a sentence on the decision.

    Returns
    -------
    y : ndarray, shape (n_rows,)
        Labels or values.
    task : {"classification", "regression"}
        Kind of model.

    Raises
    ------
    CommandError
        If the target is missing in a row, does not fit the task, or is text that is
        hardly a label.
    """
    import pandas as pd

    column = table.frame[target]
    refuse_nested(table, target)
    _, values = next(read_columns(table.frame[[target]]))
    is_missing = pd.isna(values)
    if is_missing.any():
        raise CommandError(_describe_missing(table, target, is_missing))
    kinds = {type(value) for value in values.tolist()}
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    is_bool = pd.api.types.is_bool_dtype(column.dtype) or kinds == {bool}
    if kinds == {str} or is_category:
        if task == "regression":
            raise CommandError(
                f"The target {target!r} of {table.path} is not numeric; --task "
                "regression needs numbers."
            )
        if task == "auto":
            _check_labels(table, target)
        return np.array([str(value) for value in column]), "classification"
    if not all(issubclass(kind, NUMBERS) for kind in kinds):
        raise CommandError(
            f"The target {target!r} of {table.path} holds "
            f"{list_names(sorted(kind.__name__ for kind in kinds))} values "
            f"({column.dtype}); expected numbers, booleans or text."
        )
    values_ = values.astype(np.float64)
    if is_bool and task != "regression":
        return values_.astype(bool), "classification"
    if not np.isfinite(values_).all():
        first = int(np.argmin(np.isfinite(values_)))
        raise CommandError(
            f"The target {target!r} is {values_[first]} in {table.locate(first)}; "
            "expected finite numbers."
        )
    is_whole = bool((values_ == np.floor(values_)).all())
    if task == "auto":
        n_distinct = len(np.unique(values_))
        most = MOST_CLASSES if pd.api.types.is_integer_dtype(column.dtype) else 2
        as_classes = is_whole and n_distinct <= most
        other = "regression" if as_classes else "classification"
        task = "classification" if as_classes else "regression"
        content = "integers" if is_whole else "numbers with fractions"
        notes.append(
            f"Task {task}: the target {target!r} holds {content} with {n_distinct:,} "
            f"distinct value{'' if n_distinct == 1 else 's'} (override with --task "
            f"{other})."
        )
    if task == "regression":
        return values_, task
    if not is_whole:
        raise CommandError(
            f"The target {target!r} of {table.path} holds numbers with fractions; "
            "--task classification needs labels."
        )
    return values_.astype(np.int64), task


def _describe_missing(table: Table, target: str, is_missing: NDArray[np.bool_]) -> str:
    """Return where the target is missing, and which texts mean so."""
    if is_missing.all() and not table.missing_words(target):
        return f"The target {target!r} of {table.path} is missing in all rows."
    first = int(np.argmax(is_missing))
    words = table.missing_words(target)
    labels = ""
    if words and target in table.numbers:
        labels = f" No numbers are {list_names(words)}."
    elif words:
        labels = (
            f" {list_names(words)} count{'s' if len(words) == 1 else ''} as missing; "
            'if that is a label, pass --na-values "".'
        )
    return (
        f"The target {target!r} is missing in {int(is_missing.sum()):,} of "
        f"{len(is_missing):,} rows, first in {table.locate(first)}; fill or drop them."
        f"{labels}"
    )


def _check_labels(table: Table, target: str) -> None:
    """Refuse texts that are numbers but for a few rows, or too many to be labels."""
    column, values_ = table.frame[target], table.numbers.get(target)
    advice = "; if these are classes, pass --task classification."
    if values_ is not None:
        rows = np.flatnonzero(column.isin(values_.words))
        shown = ", ".join(
            f"{column[row]!r} in {table.locate(row)}" for row in rows[:_MOST_SHOWN]
        )
        raise CommandError(
            f"The target {target!r} holds numbers in all but {len(rows):,} of "
            f"{len(column):,} rows: {shown}. Correct or drop these rows, or if they "
            f"mean missing, fill them{advice}"
        )
    labels = column.value_counts()
    if len(labels) > MOST_LABELS:
        rarest = list(labels.index[: -_MOST_SHOWN - 1 : -1])
        shown = ", ".join(
            f"{label!r} in {table.locate(int((column == label).to_numpy().argmax()))}"
            for label in rarest
        )
        raise CommandError(
            f"The target {target!r} holds {len(labels):,} different texts in "
            f"{len(column):,} rows, such as {shown}. If they are numbers, see "
            f"--decimal, --thousands and --na-values{advice}"
        )


def refuse_nested(table: Table, name: str) -> None:
    """Refuse a column of lists or of records."""
    column = table.frame[name]
    if column.dtype == object and column.map(np.ndim).any():
        raise CommandError(
            f"Column {name!r} of {table.path} holds lists; expected numbers, booleans "
            "or text. Replace it by a column for each entry, or exclude it: "
            f"--drop-columns {name!r}."
        )
