"""Read tables of NumPy, SciPy, pandas, polars and pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.stable.v2.dependencies import is_pandas_index
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import REAL

__all__ = [
    "as_frame",
    "as_plain",
    "column_names",
    "count_rows",
    "read_columns",
    "read_numbers",
    "row_labels",
    "take_rows",
    "to_pandas",
]


def as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Wrap a frame of pandas, polars or pyarrow; return None for other rows."""
    if isinstance(X, np.ndarray):  # Narwhals costs as much as a small explanation
        return None
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return frame
    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TypeError(
            f"Got a lazy frame ({type(X).__module__}.{type(X).__name__}); collect it "
            "first."
        )
    return None


def count_rows(X: Any) -> int:
    """Count the rows of an array, sparse matrix or frame.

    Raises
    ------
    TypeError
        If `X` has neither a shape nor a length.
    """
    if hasattr(X, "shape"):
        return int(X.shape[0])
    try:
        return len(X)
    except TypeError:
        raise TypeError(
            f"Got rows of type {type(X).__name__}; expected an array or a frame."
        ) from None


def take_rows(X: Any, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Any:
    """Select rows by position, keeping the type of the table.

    Parameters
    ----------
    X : array-like, sparse matrix, frame or series, shape (n_rows, ...)
        Rows; None returns None.
    rows : ndarray of integer, or of bool, shape (n_rows,)
        Positions, or a mask.

    Returns
    -------
    Same type as `X`
    """
    if X is None:
        return None
    rows = np.asarray(rows)
    if rows.dtype.kind == "b":
        rows = np.flatnonzero(rows)
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    wrapped = nw.from_native(X, eager_only=True, allow_series=True, pass_through=True)
    if isinstance(wrapped, nw.DataFrame | nw.Series):
        return wrapped[rows.tolist()].to_native()
    if sparse.issparse(X):
        return sparse.csr_array(X)[rows]
    return np.asarray(X)[rows]


def to_pandas(X: Any) -> Any:
    """Convert a frame of polars or pyarrow to pandas; return other rows as they are.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows. Missing numbers become NaN; booleans with missing values become 0 and 1;
        categorical columns stay categorical.

    Returns
    -------
    pandas.DataFrame, or the type of `X`

    Raises
    ------
    ImportError
        If `X` is such a frame and pandas is not installed.
    """
    frame = None if hasattr(X, "iloc") else as_frame(X)
    if frame is None:
        return X
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"Got a {type(X).__module__}.{type(X).__name__}; LightGBM and CatBoost "
            "need it converted to pandas: pip install pandas, or pass a numeric array."
        ) from error

    columns: dict[str, Any] = {}
    for column in frame.iter_columns():
        if column.dtype == nw.Boolean and column.null_count():
            column = column.cast(nw.Float64)
        if column.dtype.is_numeric():
            columns[column.name] = column.to_numpy()
        elif column.dtype in (nw.Categorical, nw.Enum):
            columns[column.name] = pd.Categorical(column.to_list())
        else:
            columns[column.name] = column.to_list()
    return pd.DataFrame(columns)


def row_labels(X: Any) -> NDArray[Any] | None:
    """Return the index of a pandas frame; None for other rows."""
    index = getattr(X, "index", None)
    if index is None or not is_pandas_index(index):
        return None
    if index.nlevels > 1:
        labels = np.empty(len(index), dtype=object)
        labels[:] = list(index)
        return labels
    return index.to_numpy()


def column_names(X: Any) -> list[str] | None:
    """Return the column names of a frame; None for arrays."""
    frame = as_frame(X)
    if frame is None:
        return None
    return [str(name) for name in frame.columns]


def read_columns(X: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Iterate over the columns of any table.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.

    Yields
    ------
    name : str
        The column's name, or its number.
    values : ndarray, shape (n_rows,)
        float64 with NaN for missing values; object with None for missing values where
        not all are numbers.

    Raises
    ------
    ValueError
        If an array is not two-dimensional.
    """
    frame = as_frame(X)
    if frame is not None:
        for column in frame.iter_columns():
            if column.dtype.is_numeric() or column.dtype == nw.Boolean:
                yield str(column.name), read_numbers(column)
            else:
                yield str(column.name), _as_labels(column.to_list())
        return
    if sparse.issparse(X):
        columns = sparse.csc_array(X)
        for number in range(columns.shape[1]):
            yield str(number), columns[:, [number]].toarray()[:, 0].astype(REAL)
        return
    values = np.asarray(X)
    if values.ndim != 2:
        raise ValueError(
            f"Got rows of shape {values.shape}; expected (n_rows, n_features)."
        )
    for number in range(values.shape[1]):
        if values.dtype.kind in "biuf":
            yield str(number), values[:, number].astype(REAL)
            continue
        labels = _as_labels(values[:, number].tolist())
        is_numeric = all(v is None or isinstance(v, int | float) for v in labels)
        yield str(number), labels.astype(REAL) if is_numeric else labels


def _as_labels(values: list[Any]) -> NDArray[Any]:
    labels = np.empty(len(values), dtype=object)
    labels[:] = [None if _is_missing(value) else value for value in values]
    return labels


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # bool(pandas.NA) raises
        return True


def read_numbers(column: Any) -> NDArray[np.float64]:
    """Read a numeric column, missing values as NaN."""
    if column.dtype == nw.Boolean and column.null_count() == 0:
        return column.to_numpy().astype(REAL)
    return column.cast(nw.Float64).to_numpy().astype(REAL, copy=False)


def as_plain(label: Any) -> Any:
    """Convert a NumPy scalar to a Python one, so that equal labels are equal keys."""
    return label.item() if isinstance(label, np.generic) else label
