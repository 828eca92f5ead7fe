"""Rows, targets and weights, checked and coerced; the only place that does so."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.stable.v2.dependencies import is_pandas_index
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import REAL
from treeinf.kernels.label_hash import look_up_hashes

if TYPE_CHECKING:
    from treeinf.ensemble.losses import Loss

__all__ = [
    "check_count",
    "check_offset",
    "check_out",
    "check_rows",
    "check_targets",
    "check_weights",
    "column_names",
    "count_rows",
    "encode_labels",
    "fill_absent",
    "mark_missing",
    "row_labels",
    "take_rows",
    "to_pandas",
]


def _as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Wrap a frame of any kind; None if it is not one."""
    if isinstance(X, np.ndarray):  # asking costs as much as a small explanation
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
        If it has no rows.
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
    """Select rows by position, keeping the caller's own type.

    Parameters
    ----------
    X : array-like, sparse matrix, frame or series, shape (n_rows, ...)
        Rows; None is given back.
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
    """Make a frame of polars or pyarrow one of pandas; anything else is given back.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows. Missing numbers become NaN, truth values among which some are missing
        the numbers 0 and 1; categorical columns stay so.

    Returns
    -------
    pandas.DataFrame, or the type of `X`

    Raises
    ------
    ImportError
        If there is a frame to turn, and pandas is not installed.
    """
    frame = None if hasattr(X, "iloc") else _as_frame(X)
    if frame is None:
        return X
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"Got a {type(X).__module__}.{type(X).__name__}, which LightGBM and "
            "CatBoost are given as a frame of pandas: pip install pandas, or pass an "
            "array of numbers."
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
    """Give the caller's own row labels: a pandas index, or None."""
    index = getattr(X, "index", None)
    if index is None or not is_pandas_index(index):
        return None
    if index.nlevels > 1:
        labels = np.empty(len(index), dtype=object)
        labels[:] = list(index)
        return labels
    return index.to_numpy()


def column_names(X: Any) -> list[str] | None:
    """Give the column names of a frame; None for arrays."""
    frame = _as_frame(X)
    if frame is None:
        return None
    return [str(name) for name in frame.columns]


def check_rows(
    X: Any,
    *,
    n_features: int | None = None,
    feature_names: Sequence[str] | None = None,
    categories: Sequence[tuple[Any, ...] | None] | None = None,
    numbers_are_labels: bool = False,
    labels_are_hashes: bool = False,
) -> NDArray[np.float64]:
    """Bring rows to a C-contiguous float64 array.

    Parameters
    ----------
    X : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
        Rows. Frames of pandas, polars and pyarrow are read column by column;
        categorical columns are numbered by `categories`, values that are not among
        them become NaN, as the libraries do.
    n_features : int, optional
        Columns expected.
    feature_names : sequence of str, optional
        Names expected of a frame's columns, in order, unless they are automatic.
    categories : sequence, optional
        For each column the tuple of category labels, or None.
    numbers_are_labels : bool, default=False
        Look up numbers in such columns, those of arrays too, among the labels; else
        they are codes already.
    labels_are_hashes : bool, default=False
        `categories` holds hashes of labels, see `look_up_hashes`; numbers are labels.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_features)

    Raises
    ------
    TypeError
        If a column is neither numeric nor a known category.
    ValueError
        If the shape or the names are not those expected.
    """
    frame = _as_frame(X)
    if frame is not None:
        _check_columns(frame, n_features, feature_names)
        return _read_frame(frame, categories, numbers_are_labels, labels_are_hashes)
    if sparse.issparse(X):
        X = sparse.csr_array(X).toarray()
    values = np.asarray(X)
    if values.ndim != 2:
        hint = "; reshape one row to (1, n_features)" if values.ndim == 1 else ""
        raise ValueError(
            f"Got rows of shape {values.shape}; expected (n_rows, n_features){hint}."
        )
    has_labels = categories is not None and (numbers_are_labels or labels_are_hashes)
    if values.dtype.kind not in "biuf" and not has_labels:
        values = _parse_objects(values)
    if n_features is not None and values.shape[1] != n_features:
        raise ValueError(
            f"X has {values.shape[1]} columns, the ensemble was fitted on {n_features}."
        )
    if has_labels:
        look_up = look_up_hashes if labels_are_hashes else _look_up
        return _read_columns(values, categories or (), look_up)
    return np.ascontiguousarray(values, dtype=REAL)


def fill_absent(X: Any) -> Any:
    """Put NaN where a sparse matrix holds no entry; anything else is given back.

    Parameters
    ----------
    X : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
        Rows. Zeros that a sparse matrix stores stay zeros.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_features), or the type of `X`
    """
    if not sparse.issparse(X):
        return X
    entries = sparse.csr_array(X, copy=True)
    entries.sum_duplicates()
    entries = entries.tocoo()
    filled = np.full(entries.shape, np.nan, dtype=REAL)
    filled[entries.coords] = entries.data
    return filled


def mark_missing(
    values: NDArray[np.float64], missing_value: float, single_precision: bool
) -> NDArray[np.float64]:
    """Give the rows with NaN in place of a value that stands for a missing one.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows, n_features)
        Rows.
    missing_value : float
        The value.
    single_precision : bool
        Values that equal it in float32 stand for it.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_features)
        `values` itself where nothing is missing.
    """
    compared = values
    if single_precision:
        with np.errstate(over="ignore"):
            compared = values.astype(np.float32)
        missing_value = float(np.float32(missing_value))
    is_missing: NDArray[np.bool_] = compared == missing_value
    return np.where(is_missing, np.nan, values) if is_missing.any() else values


def _read_columns(
    values: NDArray[Any],
    categories: Sequence[tuple[Any, ...] | None],
    look_up: Callable[[NDArray[Any], tuple[Any, ...]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Read an array some columns of which hold labels."""
    rows = np.empty(values.shape, dtype=REAL)
    for number, known in enumerate(categories):
        column = values[:, number]
        if known is not None:
            rows[:, number] = look_up(column, known)
        else:
            is_number = column.dtype.kind in "biuf"
            rows[:, number] = column if is_number else _parse_objects(column)
    return rows


def _parse_objects(values: NDArray[Any]) -> NDArray[np.float64]:
    """Read an object array whose entries are all numbers."""
    if values.dtype.kind == "c":
        raise TypeError("Got complex rows; expected real numbers.")
    try:
        if values.dtype.kind in "US":
            raise ValueError("strings")
        return values.astype(REAL)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got rows of dtype {values.dtype} that are not all numbers ({error}); "
            "encode strings as numbers or as categorical columns of a frame, the way "
            "the model was trained."
        ) from error


def _is_automatic(names: Sequence[str]) -> bool:
    """Tell whether names were made up by a library: ``Column_0``, ``f0``, ``0``."""
    return all(
        name in (f"Column_{i}", f"f{i}", f"x{i}", str(i))
        for i, name in enumerate(names)
    )


def _check_columns(
    frame: nw.DataFrame[Any],
    n_features: int | None,
    feature_names: Sequence[str] | None,
) -> None:
    """Refuse a frame whose columns are not those of the model, by name or number."""
    names = [str(name) for name in frame.columns]
    expected = None if feature_names is None else list(feature_names)
    if expected is not None and not _is_automatic(expected):
        plain = [name.replace(" ", "_") for name in names]
        if plain == [name.replace(" ", "_") for name in expected]:
            return
        missing = [name for name in expected if name.replace(" ", "_") not in plain]
        extra = [
            name
            for name in names
            if name.replace(" ", "_") not in [e.replace(" ", "_") for e in expected]
        ]
        if not missing and not extra:
            raise ValueError(
                "The columns are in another order than the model was fitted on; pass "
                f"X[{expected[:3]!r} + ...] in the order of its feature names."
            )
        raise ValueError(
            f"The columns are not the model's: missing {missing[:5]!r}"
            f"{' and more' if len(missing) > 5 else ''}, "
            f"not known to it {extra[:5]!r}{' and more' if len(extra) > 5 else ''}."
        )
    if n_features is not None and len(names) != n_features:
        raise ValueError(
            f"X has {len(names)} columns, the ensemble was fitted on {n_features}."
        )


def _read_frame(
    frame: nw.DataFrame[Any],
    categories: Sequence[tuple[Any, ...] | None] | None,
    numbers_are_labels: bool,
    labels_are_hashes: bool,
) -> NDArray[np.float64]:
    """Read a frame column by column."""
    values = np.empty(frame.shape, dtype=REAL)
    for number, column in enumerate(frame.iter_columns()):
        known = None if categories is None else categories[number]
        is_numeric = column.dtype.is_numeric()
        if known is not None and labels_are_hashes:
            labels = np.empty(len(column), dtype=object)
            labels[:] = column.to_list()
            values[:, number] = look_up_hashes(labels, known)
            continue
        if known is not None and is_numeric and not numbers_are_labels:
            raise TypeError(
                f"Column {column.name!r} has dtype {column.dtype}; the model was "
                f"trained on categories ({', '.join(map(repr, known[:5]))}, ...). Make "
                "it a categorical column again, or pass an array of category codes."
            )
        if known is not None and is_numeric:
            values[:, number] = _look_up(_read_numbers(column), known)
        elif known is not None:
            values[:, number] = _encode_categories(column, known)
        elif is_numeric or column.dtype == nw.Boolean:
            values[:, number] = _read_numbers(column)
        else:
            raise TypeError(
                f"Column {column.name!r} has dtype {column.dtype}; expected numbers, "
                "booleans or, where the model was trained on categories, a categorical "
                "column."
            )
    return values


def _read_numbers(column: Any) -> NDArray[np.float64]:
    """Read a numeric column, missing values as NaN."""
    if column.dtype == nw.Boolean and column.null_count() == 0:
        return column.to_numpy().astype(REAL)
    return column.cast(nw.Float64).to_numpy().astype(REAL, copy=False)


def _encode_categories(column: Any, known: tuple[Any, ...]) -> NDArray[np.float64]:
    """Turn a column into the numbers of known categories, others into NaN."""
    native = column.to_native()
    if hasattr(native, "cat") and hasattr(native.cat, "codes"):
        labels, codes = list(native.cat.categories), np.asarray(native.cat.codes)
    else:
        return _look_up(np.asarray(column.to_list(), dtype=object), known)
    code_of = {_hashable(label): float(code) for code, label in enumerate(known)}
    table = np.array(
        [code_of.get(_hashable(label), np.nan) for label in labels] + [np.nan]
    )
    return table[codes]


def _look_up(values: NDArray[Any], known: tuple[Any, ...]) -> NDArray[np.float64]:
    """Turn values into the numbers of known labels, others into NaN."""
    code_of = {_hashable(label): float(code) for code, label in enumerate(known)}
    if values.dtype.kind in "biuf":
        labels, places = np.unique(values, return_inverse=True)
        codes = [code_of.get(label, np.nan) for label in labels.tolist()]
        return np.array(codes, dtype=REAL)[places]
    return np.array(
        [code_of.get(_hashable(value), np.nan) for value in values], dtype=REAL
    )


def _hashable(label: Any) -> Any:
    """Bring NumPy scalars to Python's own, so that equal labels are found equal."""
    return label.item() if isinstance(label, np.generic) else label


def _as_vector(values: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Read one value a row."""
    if not isinstance(values, np.ndarray):
        values = nw.from_native(values, series_only=True, pass_through=True)
    array = values.to_numpy() if isinstance(values, nw.Series) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected ({n_rows},).")
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} values, X has {n_rows} rows.")
    return array


def encode_labels(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Turn labels into their places among the model's classes.

    Raises
    ------
    ValueError
        If a label is not among them.
    """
    if y.dtype.kind in "biuf" and classes.dtype.kind in "biuf":
        order = np.argsort(classes)
        place = np.searchsorted(classes, y, sorter=order)
        nearest = order[np.minimum(place, len(classes) - 1)]
        if (classes[nearest] == y).all():
            return nearest.astype(REAL)
    number = {_hashable(label): code for code, label in enumerate(classes)}
    try:
        codes = [number[_hashable(label)] for label in y.tolist()]
    except KeyError as error:
        known = ", ".join(repr(_hashable(label)) for label in classes[:10])
        raise ValueError(
            f"Got label {error.args[0]!r}; the model knows {known}"
            f"{' and more' if len(classes) > 10 else ''}."
        ) from None
    return np.array(codes, dtype=REAL)


def check_targets(
    y: Any,
    n_rows: int,
    *,
    loss: Loss | None,
    classes: NDArray[Any] | None = None,
    single_precision: bool = False,
    name: str = "y",
) -> NDArray[np.float64]:
    """Bring targets to float64: class numbers, or values as the loss compares them.

    Parameters
    ----------
    y : array-like or series, shape (n_rows,)
        Targets: labels among `classes`, class numbers, or values.
    n_rows : int
        Rows they belong to.
    loss : Loss or None
        Training loss; None leaves values as they are.
    classes : ndarray, optional
        Labels in the order of the model's classes.
    single_precision : bool, default=False
        Round to float32 first, as the library does.
    name : str, default="y"
        What to call them in errors.

    Returns
    -------
    ndarray of float64, shape (n_rows,)

    Raises
    ------
    ValueError
        If they are missing, not finite, not among the classes, or outside the loss's
        range.
    TypeError
        If they are not numbers and the model knows no classes.
    """
    if y is None:
        raise ValueError(f"{name} is None; targets are needed.")
    values = _as_vector(y, name, n_rows)
    if values.dtype.kind == "O":
        is_missing = np.array([value is None or value != value for value in values])
    else:
        is_missing = np.isnan(values) if values.dtype.kind == "f" else np.array([False])
    if is_missing.any():
        raise ValueError(
            f"{name} is missing (NaN or None) in {int(is_missing.sum())} of {n_rows} "
            f"rows, first in row {int(np.argmax(is_missing))}; drop these rows."
        )
    n_classes = 0 if loss is None else loss.n_classes
    if classes is not None and n_classes:
        return encode_labels(values, classes)
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(REAL)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} has dtype {values.dtype}; expected numbers. A model file does "
                "not keep string labels: pass the fitted classifier itself, or class "
                "numbers."
            ) from error
    values = values.astype(REAL)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise ValueError(
            f"{name} is {values[row]} in row {row}; expected finite numbers."
        )
    if n_classes:
        wrong = (values != np.floor(values)) | (values < 0) | (values >= n_classes)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name} is {values[row]:g} in row {row}; expected class numbers 0 to "
                f"{n_classes - 1}."
            )
        return values
    if single_precision:
        values = values.astype(np.float32).astype(REAL)
    problem = None if loss is None else loss.target_problem(values)
    if problem:
        raise ValueError(f"{name} does not fit {loss!r}: {problem}.")
    return values if loss is None else loss.transform_target(values)


def check_weights(
    sample_weight: Any, n_rows: int, name: str = "sample_weight"
) -> NDArray[np.float64] | None:
    """Bring row weights to float64; None stays None.

    Raises
    ------
    ValueError
        If there are not as many as rows, one is negative or not finite, or all are 0.
    """
    if sample_weight is None:
        return None
    values = _as_vector(sample_weight, name, n_rows)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {values.dtype}; expected numbers.")
    values = values.astype(REAL)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} is {values[row]:g} in row {row}; expected finite numbers of at "
            "least 0."
        )
    if n_rows and not values.any():
        raise ValueError(f"{name} is 0 in every row.")
    return values


def check_offset(
    init_score: Any, n_rows: int, n_outputs: int
) -> NDArray[np.float64] | None:
    """Bring each row's own initial score to float64, shape (n_rows, n_outputs).

    Raises
    ------
    ValueError
        If the shape is another or a value is not finite.
    """
    if init_score is None:
        return None
    values = np.asarray(init_score, dtype=REAL)
    if values.ndim == 1 and values.size == n_rows * n_outputs:
        # LightGBM's own order: all rows of the first output, then the second
        values = values.reshape(n_outputs, n_rows).T
    if values.shape != (n_rows, n_outputs):
        raise ValueError(
            f"init_score has shape {values.shape}; expected ({n_rows}, {n_outputs})."
        )
    if not np.isfinite(values).all():
        raise ValueError("init_score must be finite.")
    return np.ascontiguousarray(values)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse a parameter that is no count.

    Parameters
    ----------
    name : str
        Of the parameter, for the error.
    value : Any
        What was given.
    least : int, default=1
        The smallest count accepted.

    Raises
    ------
    TypeError, ValueError
        By kind, by value.
    """
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    message = f"Got {name}={value!r}; expected {expected}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(message)
    if int(value) < least:
        raise ValueError(message)


def check_out(out: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Check an array that the caller wants filled; make one if there is none.

    Raises
    ------
    ValueError
        If its shape, type or order is another, or it cannot be written.
    """
    if out is None:
        return np.empty(shape, dtype=REAL)
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"Got out of type {type(out).__name__}; expected a NumPy array."
        )
    if (
        out.shape != shape
        or out.dtype != REAL
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise ValueError(
            f"Got out of shape {out.shape}, {out.dtype}; expected a writable, "
            f"C-contiguous float64 array of shape {shape}."
        )
    return out
