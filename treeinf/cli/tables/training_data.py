"""Split tables into features, labels or values, and weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.files import Table
from treeinf.cli.tables.identifiers import find_identifiers
from treeinf.cli.tables.notes import describe_features, describe_identifiers
from treeinf.cli.tables.number_columns import describe_numbers, list_names
from treeinf.cli.tables.targets import NUMBERS, read_target, refuse_nested
from treeinf.cli.tables.time_columns import (
    TimeColumn,
    describe_times,
    find_times,
    holds_times,
    read_times,
)
from treeinf.frames import read_columns

__all__ = [
    "TASKS",
    "TrainingData",
    "read_test_rows",
    "read_training_data",
    "safe_name",
    "with_safe_names",
]

TASKS = ("auto", "classification", "regression")
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
        Names of the features: of columns in the file, and those made of their dates.
    classes : tuple
        Labels in sorted order; empty for regression.
    notes : tuple of str
        Decisions made while reading, one sentence each.
    groups : ndarray of str, shape (n_rows,), or None
        Group of each row.
    time : ndarray of float64, shape (n_rows,), or None
        Time of each row.
    model_y : ndarray, shape (n_rows,)
        `y` in the labels of a model file; empty until `as_model_reads` finds them.
    sources : tuple of str
        Columns of the file that the features come from.
    times : dict of str to TimeColumn
        Those of dates and times, and how they become features.
    """

    X: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None
    task: str
    target: str
    columns: tuple[str, ...]
    classes: tuple[Any, ...]
    notes: tuple[str, ...]
    groups: NDArray[Any] | None = None
    time: NDArray[np.float64] | None = None
    model_y: NDArray[Any] = dataclasses.field(default_factory=lambda: np.empty(0))
    sources: tuple[str, ...] = ()
    times: Mapping[str, TimeColumn] = dataclasses.field(default_factory=dict)

    @property
    def codes(self) -> NDArray[Any]:
        """Class numbers of the sorted labels; or values."""
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
    learn_columns: Sequence[str] = (),
    groups: str | None = None,
    learn_groups: bool = False,
    time: str | None = None,
    needs: Callable[[str], bool] | None = None,
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
    learn_columns : sequence of str
        Columns that are features though they look like identifiers.
    groups : str, optional
        Column of groups; not a feature.
    learn_groups : bool, default=False
        Whether it is a feature, too.
    time : str, optional
        Column of times; not a feature, unless `learn_columns` names it.
    needs : callable, optional
        Whether a model file uses a column of this name. Columns then stay as they are;
        by default identifiers are left out, and dates become numbers.

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
    _need_columns(table, [groups] if groups else [], "--groups")
    _need_columns(table, [time] if time else [], "--time")
    _need_columns(table, drop_columns, "--drop-columns")
    _need_columns(table, learn_columns, "--learn-columns")
    if groups is not None and groups in (target, weight):
        raise CommandError(
            f"Column {groups!r} is the {'target' if groups == target else 'weight'}; "
            "it cannot also be the groups."
        )
    if time is not None and time in (target, weight):
        raise CommandError(
            f"Column {time!r} is the {'target' if time == target else 'weight'}; it "
            "cannot also be the time."
        )
    if target == weight or target in (*drop_columns, *learn_columns):
        raise CommandError(
            f"Column {target!r} is the target; it cannot also be the weight, dropped "
            "or learnt from."
        )
    both = [name for name in learn_columns if name in drop_columns]
    if both:
        raise CommandError(
            f"Column {both[0]!r} is named in --drop-columns and in --learn-columns."
        )
    notes += describe_numbers(table.numbers)
    y, kind = read_target(table, target, task, notes)
    others = {target, weight, *drop_columns}
    if groups is not None and not learn_groups:
        others.add(groups)
    if time is not None and time not in learn_columns:
        others.add(time)
    columns = [name for name in frame.columns if name not in others]
    times: dict[str, TimeColumn] = {}
    if needs is not None:
        columns, unused = _without_times(table, columns, needs)
        notes += unused
    else:
        times = find_times(table, columns, table.date_order)
        identifiers = find_identifiers(table, columns, times=tuple(times))
        kept = {*learn_columns, groups if learn_groups else None}
        left = {name for name in identifiers.left_out if name not in kept}
        if len(left) < len(columns):
            columns = [name for name in columns if name not in left]
        else:  # nothing else to learn from
            left = set()
        notes += describe_identifiers(identifiers, left, table)
        notes += describe_times(times)
    if not columns:
        raise CommandError(f"{table.path} has no feature column left.")
    X = _read_features(table, columns, times)
    used = [name for name in X.columns if needs is None or needs(name)]
    notes += describe_features(table, X[used])
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
        tuple(X.columns),
        classes,
        tuple(notes),
        None if groups is None else _read_groups(table, groups),
        time=None if time is None else read_times(table, time),
        sources=tuple(columns),
        times=times,
    )


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
    missing = [name for name in train.sources if name not in table.frame.columns]
    if missing:
        raise CommandError(
            f"{table.path} lacks the column{_s(missing)} {list_names(missing)}."
        )
    notes: list[str] = []
    y, _ = read_target(table, train.target, train.task, notes)
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
    X = _read_features(table, train.sources, train.times)
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
    return dataclasses.replace(
        train, X=X, y=y, weight=None, notes=tuple(notes), groups=None, time=None
    )


def safe_name(name: str) -> str:
    """Replace what LightGBM or XGBoost refuse in the name of a feature."""
    return _UNSAFE.sub("_", name) or "_"


def with_safe_names(data: TrainingData) -> TrainingData:
    """Rename the features to distinct names that LightGBM and XGBoost accept."""
    safe: list[str] = []
    for name in data.X.columns:
        plain = safe_name(name)
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


def _without_times(
    table: Table, columns: list[str], needs: Callable[[str], bool]
) -> tuple[list[str], list[str]]:
    """Leave out dates that a model does not use, and report which."""
    unused = [n for n in columns if not needs(n) and holds_times(table.frame[n])]
    if not unused:
        return columns, []
    note = f"Dates that the model does not use: {list_names(unused)}."
    return [name for name in columns if name not in unused], [note]


def _read_features(
    table: Table, names: Sequence[str], times: Mapping[str, TimeColumn]
) -> Any:
    """Return the columns as numbers and categories."""
    import pandas as pd

    frame = table.frame[list(names)]
    for name in names:
        refuse_nested(table, name)
    features: dict[str, Any] = {}
    for name, values in read_columns(frame):
        column = frame[name]
        if name in times:
            features |= {
                feature: pd.Series(numbers)
                for feature, numbers in times[name].encode(table).items()
            }
            continue
        if isinstance(column.dtype, pd.CategoricalDtype):
            labels = [str(label) for label in column.cat.categories]
            features[name] = column.cat.rename_categories(labels).astype("category")
            continue
        kinds = {type(value) for value in values if value is not None}
        if values.dtype == object and kinds == {str}:
            features[name] = pd.Series(values).astype("category")
        elif all(issubclass(kind, NUMBERS) for kind in kinds):
            features[name] = pd.Series(values.astype(np.float64))
        else:
            kind = next(kind for kind in kinds if not issubclass(kind, NUMBERS))
            raise CommandError(
                f"Column {name!r} of {table.path} holds {kind.__name__} values "
                f"({column.dtype}); expected numbers, booleans or text. Replace it by "
                f"such columns, or exclude it: --drop-columns {name!r}."
            )
    return pd.DataFrame(features)


def _read_groups(table: Table, name: str) -> NDArray[Any]:
    refuse_nested(table, name)
    column = table.frame[name]
    missing = column.isna().to_numpy()
    if missing.any():
        raise CommandError(
            f"--groups: {name!r} is missing in "
            f"{table.locate(int(np.argmax(missing)))}; give each such row a group "
            "of its own, or leave it out."
        )
    if column.nunique() < 2:
        raise CommandError(
            f"--groups: {name!r} is {column.iloc[0]!r} in every row of {table.path}; "
            "expected at least two groups."
        )
    return column.astype(str).to_numpy(dtype=object)


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
