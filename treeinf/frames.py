"""Read tables of NumPy, SciPy, pandas, polars and pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
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
    "check_columns",
    "column_names",
    "count_rows",
    "fill_masked",
    "is_missing",
    "is_table_list",
    "open_table",
    "read_columns",
    "read_numbers",
    "row_labels",
    "take_rows",
    "to_pandas",
]


def open_table(X: Any) -> Any:
    """Return rows in a type that keeps all it holds when it is read as an array.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows. Masked values become NaN. Of CatBoost's Pool, XGBoost's DMatrix and
        LightGBM's Dataset the table is taken, without labels and weights, where they
        still hold it as it was.

    Returns
    -------
    Array, frame, or the type of `X`

    Raises
    ------
    TypeError
        If a library's data set has no such table, `X` is a structured array, or it is
        a list of tables.
    """
    if isinstance(X, np.ndarray):
        if isinstance(X, np.ma.MaskedArray):
            return fill_masked(X)
        if X.dtype.names:
            raise TypeError(
                "Got a structured array, which the libraries do not take either; pass "
                "pandas.DataFrame(X)."
            )
        return X
    for kind in type(X).__mro__:
        unwrap = _DATA_SETS.get((kind.__module__.partition(".")[0], kind.__name__))
        if unwrap is not None:
            table = unwrap(X)
            if table is None:
                raise TypeError(
                    f"Got a {type(X).__module__}.{type(X).__name__} that does not hold "
                    "the numbers it was made from; pass the frame or array that you "
                    "made it of, and its labels and weights as y and sample_weight."
                )
            return table
    if is_table_list(X):
        raise TypeError(
            f"Got a list of {len(X)} tables; expected one. A list is taken by the fit "
            "of explainers, for a model whose training was continued on other rows."
        )
    return X


def is_table_list(X: Any) -> bool:
    """Return whether `X` is a list of frames, matrices or arrays of two dimensions."""
    return isinstance(X, list | tuple) and bool(X) and all(map(_is_table, X))


def _is_table(value: Any) -> bool:
    if isinstance(value, np.ndarray) or sparse.issparse(value):
        return bool(value.ndim == 2)
    return hasattr(value, "shape") and as_frame(value) is not None


def fill_masked(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Return the array without its mask: NaN where it was masked."""
    if not np.ma.is_masked(values):
        return np.ma.getdata(values)
    dtype: Any = values.dtype
    if dtype.kind not in "fO":
        dtype = REAL if dtype.kind in "biu" else object
    filled = np.ma.getdata(values).astype(dtype)
    filled[np.ma.getmaskarray(values)] = np.nan
    return filled


def _unwrap_pool(pool: Any) -> Any:
    if pool.is_quantized() or not pool.num_row():
        return None
    others = ("cat", "text", "embedding")
    if any(len(getattr(pool, f"get_{kind}_feature_indices")()) for kind in others):
        return None
    return _name_columns(pool.get_features(), pool.get_feature_names())


def _unwrap_matrix(matrix: Any) -> Any:
    if type(matrix).__name__ != "DMatrix" or "c" in (matrix.feature_types or ()):
        return None
    present = matrix.get_data().tocoo()  # absent entries are missing
    values = np.full(present.shape, np.nan)
    values[present.row, present.col] = present.data
    return _name_columns(values, matrix.feature_names)


def _unwrap_data_set(data_set: Any) -> Any:
    table = data_set.data
    return table if hasattr(table, "shape") or as_frame(table) is not None else None


def _name_columns(values: NDArray[Any], names: Sequence[str] | None) -> Any:
    """Return a frame, so that the names are compared with the model's."""
    if not any(names or ()):  # a Pool of an array has names without a letter
        return values
    try:
        import pandas as pd
    except ImportError:
        return None
    return pd.DataFrame(values, columns=names)


_DATA_SETS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("catboost", "Pool"): _unwrap_pool,
    ("lightgbm", "Dataset"): _unwrap_data_set,
    ("xgboost", "DMatrix"): _unwrap_matrix,
}
"""Packages and classes of the libraries' data sets, and the function to the table."""


def as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Wrap a frame of pandas, polars or pyarrow; return None for other rows.

    Sparse columns of pandas become dense ones.
    """
    if isinstance(X, np.ndarray):  # Narwhals costs as much as a small explanation
        return None
    if hasattr(X, "iloc") and hasattr(X, "dtypes"):
        types = X.dtypes.to_dict() if X.columns.is_unique else {}
        dense = {
            name: dtype.subtype
            for name, dtype in types.items()
            if type(dtype).__name__ == "SparseDtype"
        }
        X = X.astype(dense) if dense else X
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


def check_columns(names: Iterable[Any], expected: Sequence[str]) -> None:
    """Check the names of a frame's columns, and their order.

    Parameters
    ----------
    names : iterable of str, or tuples where there are several levels
        The names.
    expected : sequence of str
        The model's. Blanks may stand as underscores (LightGBM), and levels as one name
        with blanks between them (XGBoost).

    Raises
    ------
    ValueError
        If the names or their order differ.
    """
    plain_expected = [name.replace(" ", "_") for name in expected]
    plain_names = [str(name) for name in names]
    for candidates in (plain_names, [_join_levels(name) for name in names]):
        plain = [name.replace(" ", "_") for name in candidates]
        if plain == plain_expected:
            return
        if sorted(plain) == sorted(plain_expected):
            raise ValueError(
                "The columns are in another order than the model was fitted on; pass "
                f"X[{list(expected[:3])!r} + ...] in the order of its feature names."
            )
    missing = _leave_out(expected, candidates)
    extra = _leave_out(candidates, expected)
    raise ValueError(
        f"The columns are not the model's: missing {missing[:5]!r}"
        f"{' and more' if len(missing) > 5 else ''}, "
        f"unexpected {extra[:5]!r}{' and more' if len(extra) > 5 else ''}."
    )


def _leave_out(names: Sequence[str], others: Sequence[str]) -> list[str]:
    plain = {name.replace(" ", "_") for name in others}
    return [name for name in names if name.replace(" ", "_") not in plain]


def _join_levels(name: Any) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


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
                yield str(column.name), _numbers_or_labels(column.to_list())
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
        yield str(number), _numbers_or_labels(values[:, number].tolist())


def _numbers_or_labels(values: list[Any]) -> NDArray[Any]:
    """Return float64 if there are numbers alone, else objects; None where missing."""
    labels = np.empty(len(values), dtype=object)
    labels[:] = [None if is_missing(value) else value for value in values]
    present = [value for value in labels if value is not None]
    if present and all(isinstance(value, int | float | Decimal) for value in present):
        return labels.astype(REAL)
    return labels


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # bool(pandas.NA) raises
        return True
    except ValueError:  # an array has no single truth value
        return False


def read_numbers(column: Any) -> NDArray[np.float64]:
    """Read a numeric column, missing values as NaN."""
    if column.dtype == nw.Boolean and column.null_count() == 0:
        return column.to_numpy().astype(REAL)
    return column.cast(nw.Float64).to_numpy().astype(REAL, copy=False)


def as_plain(label: Any) -> Any:
    """Convert a NumPy scalar to a Python one, so that equal labels are equal keys."""
    return label.item() if isinstance(label, np.generic) else label
