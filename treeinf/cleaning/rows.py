"""Check the user's table, labels and weights before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import InputTags, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from treeinf.errors import SelfExplanationWarning
from treeinf.frames import (
    as_frame,
    as_plain,
    check_columns,
    column_names,
    count_rows,
    fill_masked,
    is_missing,
    read_columns,
    row_labels,
)
from treeinf.times import is_time
from treeinf.training.row_groups import concatenate_groups
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_weights, open_rows

__all__ = [
    "check_table",
    "join_rows",
    "label_rows",
    "read_classes",
    "read_labels",
    "read_rows",
    "read_trusted",
    "refuse_overlap",
    "refuse_repeated_labels",
    "refuse_times",
    "replace_labels",
]


def read_rows(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    classify: Callable[[NDArray[Any]], bool],
    tags: InputTags,
    owner: str,
) -> tuple[LabelledRows, NDArray[Any] | None]:
    """Check train rows and bring their labels to an array.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.
    y : array-like or series, shape (n_rows,)
        Labels or values.
    sample_weight : array-like, shape (n_rows,), optional
        Weights.
    classify : callable
        Returns whether labels are those of a classification.
    tags : sklearn.utils.InputTags
        Input tags of the estimator.
    owner : str
        Name of the estimator, for errors.

    Returns
    -------
    rows : LabelledRows
        The rows, frames left as they are.
    classes : ndarray or None
        Labels in order; None for regression.

    Raises
    ------
    ValueError, TypeError
        If rows, labels or weights cannot be used.
    """
    X = open_rows(X, y=y, sample_weight=sample_weight)
    X = check_table(X, "X", tags=tags, owner=owner)
    refuse_repeated_labels(X)
    labels = read_labels(y, count_rows(X), "y")
    classes = read_classes(labels) if classify(labels) else None
    return label_rows(X, labels, classes, sample_weight), classes


def read_trusted(
    X: Any,
    y: Any,
    rows: LabelledRows,
    classes: NDArray[Any] | None,
    *,
    tags: InputTags,
    owner: str,
) -> LabelledRows:
    """Check validation rows passed by the user; see `read_rows`."""
    X = open_rows(X, y_val=y)
    X = check_table(X, "X_val", tags=tags, owner=owner)
    names, train_names = column_names(X), column_names(rows.X)
    if names is not None and train_names is not None:
        check_columns(names, train_names)
    if X.shape[1] != rows.X.shape[1]:
        raise ValueError(f"X_val has {X.shape[1]} columns, X has {rows.X.shape[1]}.")
    labels = read_labels(y, count_rows(X), "y_val")
    trusted = label_rows(X, labels, classes, name="y_val")
    refuse_overlap(rows, trusted)
    return trusted


def check_table(X: Any, name: str, *, tags: InputTags, owner: str) -> Any:
    """Check rows, leaving frames as they are.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows. What is in a frame's columns is left to the estimator.
    name : str
        Name of the rows in errors.
    tags, owner
        See `read_rows`.

    Raises
    ------
    ValueError, TypeError
        If the shape or an array's type or values are not right.
    """
    if as_frame(X) is not None:
        if 0 in X.shape:
            raise ValueError(
                f"{name} has {X.shape[0]} rows and {X.shape[1]} columns; expected at "
                "least one of both."
            )
        return X
    return check_array(
        X,
        accept_sparse=("csr", "csc") if tags.sparse else False,
        dtype=None,
        ensure_all_finite=not tags.allow_nan,
        ensure_min_samples=2,
        input_name=name,
        estimator=owner,
    )


def read_labels(y: Any, n_rows: int, name: str) -> NDArray[Any]:
    """Bring labels or values to an array.

    Raises
    ------
    ValueError
        If there is not one for each row, or one is missing or infinite.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None."
        )
    values = y.to_numpy() if hasattr(y, "to_numpy") else y
    if isinstance(values, np.ma.MaskedArray):
        values = fill_masked(values)
    values = column_or_1d(values, warn=True)
    if len(values) != n_rows:
        raise ValueError(
            f"Found inconsistent numbers of samples: {name} has {len(values)} values "
            f"for {n_rows} rows."
        )
    if values.dtype.kind == "O":
        missing = np.array([is_missing(value) for value in values])
    elif values.dtype.kind == "f":
        missing = ~np.isfinite(values)
    else:
        missing = np.zeros(len(values), dtype=bool)
    if missing.any():
        raise ValueError(
            f"{name} has {missing.sum():,} missing or infinite values (NaN, None, "
            f"inf), the first at position {int(missing.argmax())}; drop these rows."
        )
    return values


def label_rows(
    X: Any,
    y: NDArray[Any],
    classes: NDArray[Any] | None,
    sample_weight: Any = None,
    *,
    name: str = "y",
) -> LabelledRows:
    """Put checked rows and labels together.

    Parameters
    ----------
    X, y
        From `check_table` and `read_labels`.
    classes : ndarray or None
        Labels in order; None for regression.
    sample_weight : array-like, shape (n_rows,), optional
        Weights.
    name : str, default="y"
        Name of `y` in errors.

    Raises
    ------
    ValueError, TypeError
        If weights are invalid, a label is not among the classes, or targets of a
        regressor are not numbers.
    """
    if sample_weight is not None and not np.any(np.asarray(sample_weight) != 0):
        raise ValueError("sample_weight is zero in every row.")
    code = None
    if classes is not None:
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"{name} has labels that y has not: {unknown[:5].tolist()!r}."
            )
        code = np.searchsorted(classes, y).astype(np.int64)
    elif y.dtype.kind not in "biufO":
        raise ValueError(
            f"Unknown label type: {name} has dtype {y.dtype}; a regressor needs "
            "numbers."
        )
    else:
        y = y.astype(np.float64)
    return LabelledRows(X, y, code, check_weights(sample_weight, len(y)))


def read_classes(y: NDArray[Any]) -> NDArray[Any]:
    """Return the labels in order.

    Raises
    ------
    ValueError
        If they are not those of a classification, or there is only one.
    """
    check_classification_targets(y)
    classes: NDArray[Any] = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {as_plain(classes[0])!r}; a classifier needs rows "
            "of at least two."
        )
    return classes


def refuse_times(X: Any) -> None:
    """Refuse columns of dates and times, for estimators that take none.

    Raises
    ------
    TypeError
        If there is one.
    """
    frame = as_frame(X)
    if sparse.issparse(X):
        return
    if frame is None:
        first = np.asarray(X)[0]
        names = [str(i) for i in range(len(first)) if is_time(first[i])]
    else:
        names = [column.name for column in frame.iter_columns() if _holds_times(column)]
    if names:
        raise TypeError(
            f"Column {names[0]!r} of X holds dates or times, which the estimator does "
            "not take; replace it by numbers, such as "
            f"(X[{names[0]!r}] - X[{names[0]!r}].min()).dt.days, year and weekday, or "
            "convert it in a Pipeline. (fit(time=) is for the order of the rows.)"
        )


def _holds_times(column: Any) -> bool:
    if column.dtype in (nw.Date, nw.Datetime, nw.Duration, nw.Time):
        return True
    if column.dtype != nw.Object:
        return False
    first = next((v for v in column.to_list() if not is_missing(v)), None)
    return is_time(first)


def refuse_repeated_labels(X: Any) -> None:
    """Refuse a pandas index with duplicates.

    Raises
    ------
    ValueError
        If a label occurs twice.
    """
    if row_labels(X) is None:
        return
    index = X.index
    if not index.is_unique:
        twice = index[index.duplicated()][:3].tolist()
        raise ValueError(
            f"The index of X has labels more than once (such as {twice!r}), so the "
            "report cannot name rows; pass X.reset_index(drop=True), and y likewise."
        )


def refuse_overlap(rows: LabelledRows, trusted: LabelledRows) -> None:
    """Refuse validation rows that are among the train rows.

    Raises
    ------
    ValueError
        If a validation row equals a train row in all its features and its label, unless
        equal rows are about as common within the train rows.

    Warns
    -----
    SelfExplanationWarning
        If it equals train rows in its features alone.
    """
    features, labelled = _row_keys(rows, trusted)
    is_shared = _are_shared(*labelled)
    if is_shared.any():
        raise ValueError(
            f"{is_shared.sum():,} of {trusted.n_rows:,} validation rows are among the "
            f"train rows (the first: {_name_first(trusted, is_shared)}). A cleaning "
            "cannot be evaluated on rows that it cleans; remove them from X, or pass "
            "validation as a share or a number of folds."
        )
    is_shared = _are_shared(*features)
    if is_shared.any():
        warnings.warn(
            f"{is_shared.sum():,} of {trusted.n_rows:,} validation rows equal train "
            "rows but for their label (the first: "
            f"{_name_first(trusted, is_shared)}). They favour a cleaning of just these "
            "rows; remove them from X or from the validation rows.",
            SelfExplanationWarning,
            stacklevel=5,
        )


def _are_shared(train: NDArray[Any], validation: NDArray[Any]) -> NDArray[np.bool_]:
    """Find keys of validation rows among the train rows; none if by chance."""
    is_shared = np.isin(validation, train)
    _, count = np.unique(train, return_counts=True)
    share_of_twins = float(count[count > 1].sum() / len(train))
    is_chance = is_shared.mean() <= 2.0 * share_of_twins
    return np.zeros_like(is_shared) if is_chance else is_shared


def _name_first(rows: LabelledRows, is_shared: NDArray[np.bool_]) -> str:
    positions = np.flatnonzero(is_shared)[:3]
    labels = row_labels(rows.X)
    return ", ".join(map(str, positions if labels is None else labels[positions]))


def _row_keys(
    rows: LabelledRows, others: LabelledRows
) -> tuple[tuple[NDArray[Any], NDArray[Any]], ...]:
    """Return keys for the rows of two tables, equal for equal rows.

    The first pair is of features alone, the second of features and labels.
    """
    tables = [[v for _, v in read_columns(r.X)] + [r.y] for r in (rows, others)]
    columns = [*zip(*tables, strict=True)]
    codes = np.empty((rows.n_rows + others.n_rows, len(columns)), dtype=np.int64)
    for number, pair in enumerate(columns):
        values = np.concatenate(pair)
        if values.dtype.kind not in "biuf":
            values = values.astype(str)
        codes[:, number] = np.unique(values, return_inverse=True)[1].reshape(-1)
    features = np.unique(codes[:, :-1], axis=0, return_inverse=True)[1].reshape(-1)
    labelled = features * (int(codes[:, -1].max()) + 1) + codes[:, -1]
    n_rows = rows.n_rows
    return tuple((keys[:n_rows], keys[n_rows:]) for keys in (features, labelled))


def join_rows(rows: LabelledRows, others: LabelledRows) -> LabelledRows:
    """Append rows of the same type.

    Raises
    ------
    TypeError
        If one is a frame and the other is not.
    """
    frames = [frame for r in (rows, others) if (frame := as_frame(r.X)) is not None]
    if len(frames) == 2:
        X = nw.concat(frames, how="vertical").to_native()
    elif frames:
        raise TypeError(
            f"X is a {type(rows.X).__name__} and the validation rows are a "
            f"{type(others.X).__name__}; expected the same type of both."
        )
    elif sparse.issparse(rows.X) or sparse.issparse(others.X):
        X = sparse.vstack([rows.X, others.X]).tocsr()
    else:
        X = np.concatenate([np.asarray(rows.X), np.asarray(others.X)])
    weight = code = None
    if rows.weight is not None or others.weight is not None:
        weight = np.concatenate(
            [
                np.ones(r.n_rows) if r.weight is None else r.weight
                for r in (rows, others)
            ]
        )
    if rows.code is not None and others.code is not None:
        code = np.concatenate([rows.code, others.code])
    group, twin = (
        concatenate_groups(first, second, rows.n_rows, others.n_rows)
        for first, second in ((rows.group, others.group), (rows.twin, others.twin))
    )
    y = np.concatenate([rows.y, others.y])
    return LabelledRows(X, y, code, weight, group, twin)


def replace_labels(y: Any, labels: NDArray[Any]) -> Any:
    """Replace labels, keeping the type of `y`."""
    if hasattr(y, "iloc"):
        y = y.copy()
        y.iloc[:] = labels if y.ndim == 1 else labels[:, np.newaxis]
        return y
    series = nw.from_native(y, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return nw.new_series(
            series.name, labels.tolist(), series.dtype, backend=series.implementation
        ).to_native()
    return labels.copy()
