"""Split tables into features, labels or values, and weights."""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.column_notes import describe_features
from treeinf.cli.exits import CommandError
from treeinf.cli.number_columns import describe_numbers, list_names
from treeinf.cli.tables import Table
from treeinf.frames import read_columns

__all__ = [
    "TASKS",
    "TrainingData",
    "number_labels",
    "read_test_rows",
    "read_training_data",
    "with_safe_names",
]

TASKS = ("auto", "classification", "regression")
MOST_CLASSES = 20
"""Integer targets with more distinct values than this are regression by default."""

MOST_LABELS = 50
"""Text targets with more distinct values than this are no classes by default."""

_MOST_SHOWN = 5
_NUMBERS = (numbers.Real, Decimal, np.bool_)
# LightGBM or XGBoost refuse these in feature names.
_UNSAFE = re.compile(r'[\s,:\[\]{}"<]')


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Rows ready for a model.

    Parameters
    ----------
    X : pandas.DataFrame, shape (n_rows, n_features)
        Numbers and categoricals, rows numbered from 0, columns named as in the file;
        see `with_safe_names`.
    y : ndarray, shape (n_rows,)
        Labels or values.
    weight : ndarray of float64, shape (n_rows,), or None
        Row weights.
    task : {"classification", "regression"}
        Kind of model.
    target : str
        Column to predict.
    columns : tuple of str
        Names of the features in the file.
    classes : tuple
        Labels in sorted order; empty for regression.
    notes : tuple of str
        Decisions made while reading, one sentence each.
    """

    X: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None
    task: str
    target: str
    columns: tuple[str, ...]
    classes: tuple[Any, ...]
    notes: tuple[str, ...]

    @property
    def codes(self) -> NDArray[Any]:
        """Class numbers of the sorted labels, as model files use them; or values."""
        if self.task == "regression":
            return self.y
        return np.searchsorted(np.array(self.classes), self.y)


def read_training_data(
    table: Table,
    target: str,
    *,
    weight: str | None = None,
    task: str = "auto",
    drop_columns: Sequence[str] = (),
) -> TrainingData:
    """Split a table into features, targets and weights, and check them.

    Parameters
    ----------
    table : Table
        The train rows.
    target : str
        Column to predict.
    weight : str, optional
        Column of row weights.
    task : {"auto", "classification", "regression"}, default="auto"
        Kind of model. "auto" infers it from the target: text, booleans and integers of
        at most 20 distinct values are classes.
    drop_columns : sequence of str
        Columns that are not features.

    Returns
    -------
    TrainingData

    Raises
    ------
    CommandError
        If a column is missing, or its type or values do not fit.
    """
    notes: list[str] = []
    frame = table.frame
    _need_columns(table, [target], "--target")
    _need_columns(table, [weight] if weight else [], "--weight")
    _need_columns(table, drop_columns, "--drop-columns")
    if target == weight or target in drop_columns:
        raise CommandError(
            f"Column {target!r} is the target; it cannot also be the weight or dropped."
        )
    notes += describe_numbers(table.numbers)
    y, kind = _read_target(table, target, task, notes)
    others = {target, weight, *drop_columns}
    columns = [name for name in frame.columns if name not in others]
    if not columns:
        raise CommandError(f"{table.path} has no feature column left.")
    X = _read_features(table, columns)
    notes += describe_features(table, X)
    classes: tuple[Any, ...] = ()
    if kind == "classification":
        classes = tuple(np.unique(y).tolist())
        if len(classes) == 1:
            raise CommandError(
                f"The target {target!r} of {table.path} is {classes[0]!r} in every "
                "row; a classifier needs two classes."
            )
    return TrainingData(
        X,
        y,
        None if weight is None else _read_weight(table, weight),
        kind,
        target,
        tuple(columns),
        classes,
        tuple(notes),
    )


def number_labels(data: TrainingData) -> list[str]:
    """Describe the class numbers of a model file, unless labels are numbers from 0.

    Parameters
    ----------
    data : TrainingData
        Train rows.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    if not data.classes or data.classes == tuple(range(len(data.classes))):
        return []
    pairs = [f"{label!r} is {number}" for number, label in enumerate(data.classes[:10])]
    more = ", ..." if len(data.classes) > 10 else ""
    return [
        "A model file stores classes as numbers; labels are numbered in sorted order, "
        "as "
        f"LGBMClassifier does: {', '.join(pairs)}{more}."
    ]


def read_test_rows(table: Table, train: TrainingData) -> TrainingData:
    """Read rows to test on, in the columns and categories of the train rows.

    Parameters
    ----------
    table : Table
        The test rows.
    train : TrainingData
        The train rows.

    Returns
    -------
    TrainingData
        Columns that the train rows do not have are left out.

    Raises
    ------
    CommandError
        If a column is missing or has another type, or a label is unknown.
    """
    _need_columns(table, [train.target], "--target")
    missing = [name for name in train.columns if name not in table.frame.columns]
    if missing:
        raise CommandError(
            f"{table.path} lacks the column{_s(missing)} {list_names(missing)}."
        )
    notes: list[str] = []
    y, _ = _read_target(table, train.target, train.task, notes)
    if train.classes:
        try:
            unknown = sorted(set(y.tolist()) - set(train.classes))
        except TypeError:
            unknown = []
        if unknown:
            raise CommandError(
                f"{table.path} has the label {unknown[0]!r}, which no train row has; "
                f"expected one of {list_names(train.classes)}."
            )
    X = _read_features(table, train.columns)
    for name in train.columns:
        dtype, column = train.X[name].dtype, X[name]
        if dtype == "category":
            if column.dtype != "category":
                column = column.astype(str).where(column.notna())
            X[name] = column.astype(dtype)
        elif column.dtype == "category":
            raise CommandError(
                f"Column {name!r} holds numbers in the train rows and text in "
                f"{table.path}, such as {column.cat.categories[0]!r}."
            )
    return dataclasses.replace(train, X=X, y=y, weight=None, notes=tuple(notes))


def with_safe_names(data: TrainingData) -> TrainingData:
    """Rename the features to distinct names that LightGBM and XGBoost accept."""
    safe: list[str] = []
    for name in data.X.columns:
        plain = _UNSAFE.sub("_", name) or "_"
        while plain in safe:
            plain += "_"
        safe.append(plain)
    return dataclasses.replace(data, X=data.X.set_axis(safe, axis=1))


def _need_columns(table: Table, names: Sequence[str | None], option: str) -> None:
    columns = list(table.frame.columns)
    for name in names:
        if name not in columns:
            raise CommandError(
                f"{option}: {table.path} has no column {name!r}; it has "
                f"{list_names(columns)}."
            )


def _s(names: Sequence[Any]) -> str:
    return "" if len(names) == 1 else "s"


def _read_features(table: Table, names: Sequence[str]) -> Any:
    """Return the columns as numbers and categories."""
    import pandas as pd

    frame = table.frame[list(names)]
    features = {}
    for name, values in read_columns(frame):
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            labels = [str(label) for label in column.cat.categories]
            features[name] = column.cat.rename_categories(labels).astype("category")
            continue
        kinds = {type(value) for value in values if value is not None}
        if values.dtype == object and kinds == {str}:
            features[name] = pd.Series(values).astype("category")
        elif all(issubclass(kind, _NUMBERS) for kind in kinds):
            features[name] = pd.Series(values.astype(np.float64))
        else:
            kind = next(kind for kind in kinds if not issubclass(kind, _NUMBERS))
            raise CommandError(
                f"Column {name!r} of {table.path} holds {kind.__name__} values "
                f"({column.dtype}); expected numbers, booleans or text. Replace it by "
                f"such columns, or exclude it: --drop-columns {name!r}."
            )
    return pd.DataFrame(features)


def _read_target(
    table: Table, target: str, task: str, notes: list[str]
) -> tuple[NDArray[Any], str]:
    """Read the target, and decide whether it holds classes or values."""
    import pandas as pd

    column = table.frame[target]
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
    if not all(issubclass(kind, _NUMBERS) for kind in kinds):
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
    labels = (
        f" {list_names(words)} count{'s' if len(words) == 1 else ''} as missing; if "
        'that is a label, pass --na-values "".'
        if words
        else ""
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


def _read_weight(table: Table, name: str) -> NDArray[np.float64]:
    import pandas as pd

    column = table.frame[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise CommandError(
            f"--weight: column {name!r} of {table.path} has dtype {column.dtype}; "
            "expected numbers."
        )
    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise CommandError(
            f"--weight: {name!r} is {values[first]:g} in {table.locate(first)}; "
            "expected finite numbers of at least 0."
        )
    if not values.any():
        raise CommandError(f"--weight: {name!r} is 0 in every row of {table.path}.")
    return values
