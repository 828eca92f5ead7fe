"""The caller's table and labels, checked before long work and brought to one form."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from treeinf.frames import row_labels
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_weights

__all__ = [
    "check_index",
    "check_table",
    "join_rows",
    "read_classes",
    "read_labels",
    "read_rows",
    "refuse_overlap",
    "replace_labels",
]


def check_table(
    X: Any, name: str, *, estimator: str, sparse_too: bool, nan_too: bool
) -> Any:
    """Check rows, leaving frames as they are.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows. What is in a frame's columns is left to the estimator.
    name : str
        What to call them in errors.
    estimator : str
        Who asks for them.
    sparse_too, nan_too : bool
        Whether the estimator takes sparse matrices, and missing or infinite values.

    Raises
    ------
    ValueError, TypeError
        If the shape or an array's type or values are not right.
    """
    if _is_frame(X):
        if 0 in X.shape:
            raise ValueError(
                f"{name} has {X.shape[0]} rows and {X.shape[1]} columns; expected at "
                "least one of both."
            )
        return X
    return check_array(
        X,
        accept_sparse=("csr", "csc") if sparse_too else False,
        dtype=None,
        ensure_all_finite=not nan_too,
        ensure_min_samples=2,
        input_name=name,
        estimator=estimator,
    )


def read_labels(y: Any, n_rows: int, name: str, *, as_numbers: bool) -> NDArray[Any]:
    """Bring labels, or target values, to an array.

    Parameters
    ----------
    y : array-like or series, shape (n_rows,)
        Labels, kept as they are, or values.
    n_rows : int
        Rows they belong to.
    name : str
        What to call them in errors.
    as_numbers : bool
        They are target values; give float64.

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
    values = column_or_1d(values, warn=True)
    if len(values) != n_rows:
        raise ValueError(
            f"Found inconsistent numbers of samples: {name} has {len(values)} values "
            f"for {n_rows} rows."
        )
    if values.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in values])
    elif values.dtype.kind == "f":
        missing = ~np.isfinite(values)
    else:
        missing = np.zeros(len(values), dtype=bool)
    if missing.any():
        raise ValueError(
            f"{name} has {missing.sum():,} missing or infinite values (NaN, None, "
            f"inf), the first at position {int(missing.argmax())}; drop these rows."
        )
    if not as_numbers:
        return values
    if values.dtype.kind not in "biufO":
        raise ValueError(
            f"Unknown label type: {name} has dtype {values.dtype}; a regressor needs "
            "numbers."
        )
    return values.astype(np.float64)


def read_rows(
    X: Any,
    y: NDArray[Any],
    classes: NDArray[Any] | None,
    *,
    sample_weight: Any = None,
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
        What to call `y` in errors.

    Raises
    ------
    ValueError, TypeError
        If weights are not usable, or a label is not among the classes.
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
    return LabelledRows(X, y, code, check_weights(sample_weight, len(y)))


def read_classes(y: NDArray[Any]) -> NDArray[Any]:
    """Give the labels in order.

    Raises
    ------
    ValueError
        If they are not those of a classification, or there is only one.
    """
    check_classification_targets(y)
    classes: NDArray[Any] = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {classes[0]!r}; a classifier needs rows of at "
            "least two."
        )
    return classes


def check_index(X: Any, y: Any) -> None:
    """Refuse an index that does not tell rows apart, or is not that of y.

    Raises
    ------
    ValueError
        If a label stands twice, or y has the same labels in another order.
    """
    if row_labels(X) is None:
        return
    index = X.index
    if not index.is_unique:
        twice = index[index.duplicated()][:3].tolist()
        raise ValueError(
            f"The index of X has labels more than once (such as {twice!r}), so that "
            "the report could not name rows; pass X.reset_index(drop=True), y alike."
        )
    if row_labels(y) is None or len(y) != len(X) or index.equals(y.index):
        return
    if index.sort_values().equals(y.index.sort_values()):
        raise ValueError(
            "X and y have the same index in different orders; rows are matched by "
            "position, so pass y.loc[X.index]."
        )


def refuse_overlap(rows: LabelledRows, given: LabelledRows) -> None:
    """Refuse validation rows that are among the train rows.

    Raises
    ------
    ValueError
        If a validation row equals a train row in all its features and its label, unless
        equal rows are about as common within the train rows.
    """
    own, other = _row_keys(rows, given)
    is_shared = np.isin(other, own)
    _, count = np.unique(own, return_counts=True)
    share_of_twins = float(count[count > 1].sum() / len(own))
    if is_shared.any() and is_shared.mean() > 2.0 * share_of_twins:
        places = np.flatnonzero(is_shared)
        labels = row_labels(given.X)
        first = places[:3] if labels is None else labels[places[:3]]
        raise ValueError(
            f"{is_shared.sum():,} of {given.n_rows:,} validation rows are among the "
            f"train rows (the first: {', '.join(map(str, first))}). They could not "
            "judge a cleaning of themselves; take them out of X, or pass validation as "
            "a share or a number of folds and let them be held out."
        )


def _row_keys(
    rows: LabelledRows, given: LabelledRows
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give a key for each row of two tables, equal where the rows are equal."""
    columns = [
        *zip(_columns(rows.X), _columns(given.X), strict=True),
        (rows.y, given.y),
    ]
    codes = np.empty((rows.n_rows + given.n_rows, len(columns)), dtype=np.int64)
    for number, (one, two) in enumerate(columns):
        both = np.concatenate([one, two])
        if both.dtype.kind not in "biuf":
            both = both.astype(str)
        codes[:, number] = np.unique(both, return_inverse=True)[1].reshape(-1)
    keys = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    return keys[: rows.n_rows], keys[rows.n_rows :]


def _is_frame(X: Any) -> bool:
    wrapped = nw.from_native(X, eager_only=True, pass_through=True)
    return isinstance(wrapped, nw.DataFrame)


def _columns(X: Any) -> list[NDArray[Any]]:
    if _is_frame(X):
        frame = nw.from_native(X, eager_only=True)
        return [np.asarray(column.to_numpy()) for column in frame.iter_columns()]
    values = X.toarray() if sparse.issparse(X) else np.asarray(X)
    return list(values.T)


def join_rows(one: LabelledRows, two: LabelledRows) -> LabelledRows:
    """Put rows of the same type one below the other.

    Raises
    ------
    TypeError
        If one is a frame and the other is not.
    """
    if _is_frame(one.X) and _is_frame(two.X):
        frames = [nw.from_native(rows.X, eager_only=True) for rows in (one, two)]
        X = nw.concat(frames, how="vertical").to_native()
    elif _is_frame(one.X) or _is_frame(two.X):
        raise TypeError(
            f"X is a {type(one.X).__name__} and the validation rows are a "
            f"{type(two.X).__name__}; expected the same type of both."
        )
    elif sparse.issparse(one.X) or sparse.issparse(two.X):
        X = sparse.vstack([one.X, two.X]).tocsr()
    else:
        X = np.concatenate([np.asarray(one.X), np.asarray(two.X)])
    weight = None
    if one.weight is not None or two.weight is not None:
        weight = np.concatenate(
            [np.ones(r.n_rows) if r.weight is None else r.weight for r in (one, two)]
        )
    code = None
    if one.code is not None and two.code is not None:
        code = np.concatenate([one.code, two.code])
    return LabelledRows(X, np.concatenate([one.y, two.y]), code, weight)


def replace_labels(y: Any, labels: NDArray[Any]) -> Any:
    """Put labels in place of others, keeping the caller's type of series."""
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
