"""Split tables into features, labels or values, and weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables import Table

__all__ = [
    "TASKS",
    "TrainingData",
    "number_labels",
    "read_test_rows",
    "read_training_data",
    "text_columns",
]

TASKS = ("auto", "classification", "regression")
MOST_CLASSES = 20
"""Integer targets with more distinct values than this are regression by default."""

_MANY_CATEGORIES = 100
# LightGBM refuses these in feature names.
_UNSAFE = re.compile(r'[\s,:\[\]{}"]')


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Rows ready for a model.

    Parameters
    ----------
    X : pandas.DataFrame, shape (n_rows, n_features)
        Numbers and categoricals, rows numbered from 0, columns named as models allow.
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


def text_columns(table: Table) -> list[str]:
    """Return the names of the columns that hold text."""
    import pandas as pd

    return [
        str(name)
        for name, column in table.frame.items()
        if pd.api.types.infer_dtype(column, skipna=True) == "string"
    ]


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
    y, kind = _read_target(table, target, task, notes)
    others = {target, weight, *drop_columns}
    columns = [name for name in frame.columns if name not in others]
    if not columns:
        raise CommandError(f"{table.path} has no feature column left.")
    features = {name: _as_feature(table, name, notes) for name in columns}
    X = _make_frame(features)
    categorical = [name for name in columns if features[name].dtype == "category"]
    if categorical:
        notes.append(
            f"Text columns used as categorical features: {_listed(categorical)} (of "
            f"{len(columns)} features)."
        )
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
            f"{table.path} lacks the column{_s(missing)} {_listed(missing)}."
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
                f"expected one of {_listed(train.classes)}."
            )
    features = {}
    for name, safe in zip(train.columns, train.X.columns, strict=True):
        column = _as_feature(table, name, [])
        dtype = train.X[safe].dtype
        if dtype == "category":
            if column.dtype != "category":
                column = column.astype(str).where(column.notna())
            column = column.astype(dtype)
        elif column.dtype == "category":
            raise CommandError(
                f"Column {name!r} holds numbers in the train rows and text in "
                f"{table.path}."
            )
        features[name] = column
    X = _make_frame(features)
    return dataclasses.replace(train, X=X, y=y, weight=None, notes=tuple(notes))


def _need_columns(table: Table, names: Sequence[str | None], option: str) -> None:
    columns = list(table.frame.columns)
    for name in names:
        if name not in columns:
            raise CommandError(
                f"{option}: {table.path} has no column {name!r}; it has "
                f"{_listed(columns)}."
            )


def _listed(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _s(names: Sequence[Any]) -> str:
    return "" if len(names) == 1 else "s"


def _make_frame(features: dict[str, Any]) -> Any:
    """Combine columns under distinct names that LightGBM accepts."""
    import pandas as pd

    safe: list[str] = []
    for name in features:
        plain = _UNSAFE.sub("_", name) or "_"
        while plain in safe:
            plain += "_"
        safe.append(plain)
    frame = pd.concat(list(features.values()), axis=1)
    frame.columns = safe
    return frame


def _as_feature(table: Table, name: str, notes: list[str]) -> Any:
    """Convert a column to numbers or to categories."""
    import pandas as pd

    column = table.frame[name]
    kind = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories(
            [str(label) for label in column.cat.categories]
        ).astype("category")
    if column.isna().all():
        notes.append(f"Column {name!r} is empty.")
        return pd.Series(np.full(len(column), np.nan), index=column.index, name=name)
    if kind.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(bool)
    if kind.is_numeric_dtype(column.dtype) or kind.is_bool_dtype(column.dtype):
        if kind.is_complex_dtype(column.dtype):
            raise _refusal(table, name, "complex numbers")
        return column.astype(column.dtype if column.dtype.kind in "iuf" else float)
    inferred = kind.infer_dtype(column, skipna=True)
    if inferred == "boolean":
        return column.map({True: 1.0, False: 0.0})
    if inferred == "decimal":
        return column.astype(float)
    if inferred != "string":
        raise _refusal(table, name, inferred)
    labels = column.astype(object).where(column.notna(), None)
    n_distinct = column.nunique()
    if n_distinct > max(_MANY_CATEGORIES, len(column) // 2):
        notes.append(
            f"Column {name!r} has {n_distinct:,} distinct texts in {len(column):,} "
            "rows; if it is an identifier, exclude it with --drop-columns."
        )
    return labels.astype("category")


def _refusal(table: Table, name: str, what: str) -> CommandError:
    return CommandError(
        f"Column {name!r} of {table.path} holds {what} ({table.frame[name].dtype}); "
        "expected numbers, booleans or text. Exclude it with --drop-columns "
        f"{name!r}."
    )


def _read_target(
    table: Table, target: str, task: str, notes: list[str]
) -> tuple[NDArray[Any], str]:
    """Read the target, and decide whether it holds classes or values."""
    import pandas as pd

    column = table.frame[target]
    is_missing = column.isna().to_numpy()
    if is_missing.all():
        raise CommandError(
            f"The target {target!r} of {table.path} is missing in all rows."
        )
    if is_missing.any():
        first = int(np.argmax(is_missing))
        raise CommandError(
            f"The target {target!r} is missing in {int(is_missing.sum()):,} of "
            f"{len(column):,} rows, first in {table.locate(first)}; fill or drop them."
        )
    kind = pd.api.types
    is_text = kind.infer_dtype(column, skipna=True) in ("string", "categorical")
    is_number = kind.is_numeric_dtype(column.dtype) and not kind.is_bool_dtype(
        column.dtype
    )
    if not is_text and not is_number and not kind.is_bool_dtype(column.dtype):
        raise CommandError(
            f"The target {target!r} of {table.path} has dtype {column.dtype}; expected "
            "numbers, booleans or text."
        )
    if is_number:
        values = column.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            first = int(np.argmin(np.isfinite(values)))
            raise CommandError(
                f"The target {target!r} is {values[first]} in {table.locate(first)}; "
                "expected finite numbers."
            )
        is_whole = bool((values == np.floor(values)).all())
    if task == "regression":
        if not is_number:
            raise CommandError(
                f"The target {target!r} of {table.path} is not numeric; --task "
                "regression needs numbers."
            )
        return values, "regression"
    n_distinct = int(column.nunique())
    if is_number and task == "auto":
        is_integer = kind.is_integer_dtype(column.dtype)
        as_classes = is_whole and n_distinct <= (MOST_CLASSES if is_integer else 2)
        other = "regression" if as_classes else "classification"
        task = "classification" if as_classes else "regression"
        kinds = "integers" if is_whole else "numbers with fractions"
        notes.append(
            f"Task {task}: the target {target!r} holds {kinds} with {n_distinct:,} "
            f"distinct value{'' if n_distinct == 1 else 's'} (override with --task "
            f"{other})."
        )
        if task == "regression":
            return values, "regression"
    if is_number:
        if not is_whole:
            raise CommandError(
                f"The target {target!r} of {table.path} holds numbers with fractions; "
                "--task classification needs labels."
            )
        return values.astype(np.int64), "classification"
    if is_text:
        return column.astype(str).to_numpy(dtype=str), "classification"
    return column.to_numpy(dtype=bool), "classification"


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
