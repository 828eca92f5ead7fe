"""Convert rows to the numbers that the nodes of a model compare."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any, NoReturn

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import REAL
from treeinf.ensemble.category_codes import find_codes, find_hashes, split_labels
from treeinf.errors import ModelFormatError
from treeinf.frames import (
    as_frame,
    as_plain,
    check_columns,
    is_missing,
    open_table,
    read_numbers,
    take_rows,
)

__all__ = ["InputRows", "InputRules"]

_FLAGS = (
    *("numbers_are_labels", "labels_are_hashes", "refuses_unknown"),
    *("absent_is_missing", "round_to_single"),
)


@dataclasses.dataclass(frozen=True)
class InputRules:
    """How a model reads rows: columns, categories and missing values.

    Parameters
    ----------
    n_features : int
        Columns of the rows.
    feature_names : tuple of str, or None
        Column names.
    categories : tuple, or None
        For each feature, the tuple of category labels in code order, or None where the
        feature is numeric; None if no feature has any.
    numbers_are_labels : bool, default=False
        A number in a column of `categories` is a label to be looked up among them; else
        it is a code already. Labels in other columns of frames are always looked up.
    labels_are_hashes : bool, default=False
        `categories` holds hashes of labels, see `look_up_hashes`, not the labels;
        numbers are labels.
    refuses_unknown : bool, default=False
        Labels in frames that are not among `categories`, or are numbers of another
        type, are an error; else they are missing.
    missing_value : float or None, default=None
        Value treated as missing, besides NaN.
    absent_is_missing : bool, default=False
        Implicit entries of a sparse matrix are missing, not 0.0.
    zero_threshold : float, default=0.0
        Values of at most this magnitude are read as 0.0.
    category_floor : float, default=-1.0
        Values up to this are not a category; others are truncated towards 0.
    round_to_single : bool, default=False
        Rows are rounded to float32 before they are compared.

    Raises
    ------
    ModelFormatError
        If a value has another type or is out of range.
    """

    n_features: int
    feature_names: tuple[str, ...] | None = None
    categories: tuple[tuple[Any, ...] | None, ...] | None = None
    numbers_are_labels: bool = False
    labels_are_hashes: bool = False
    refuses_unknown: bool = False
    missing_value: float | None = None
    absent_is_missing: bool = False
    zero_threshold: float = 0.0
    category_floor: float = -1.0
    round_to_single: bool = False

    def __post_init__(self) -> None:
        if not _is_number(self.n_features, numbers.Integral) or self.n_features < 1:
            _refuse("n_features", self.n_features, "an integer of at least 1")
        for name in ("feature_names", "categories"):
            entries = getattr(self, name)
            if entries is not None and not isinstance(entries, tuple):
                _refuse(name, entries, "a tuple or None")
            if entries is not None and len(entries) != self.n_features:
                raise ModelFormatError(
                    f"{name} has {len(entries)} entries; expected one for each of "
                    f"{self.n_features} features."
                )
        for label in self.feature_names or ():
            if not isinstance(label, str):
                _refuse("feature_names", label, "strings")
        for labels in self.categories or ():
            if labels is not None and not isinstance(labels, tuple):
                _refuse("categories", labels, "tuples and None")
            try:
                hash(labels)
            except TypeError:
                _refuse("categories", labels, "labels that can be looked up")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                _refuse(name, getattr(self, name), "True or False")
        if self.missing_value is not None and not _is_number(self.missing_value):
            _refuse("missing_value", self.missing_value, "a number or None")
        zero, floor = self.zero_threshold, self.category_floor
        if not _is_number(zero) or not math.isfinite(zero) or zero < 0.0:
            _refuse("zero_threshold", zero, "a finite number of at least 0")
        if not _is_number(floor) or not -1.0 <= floor < 0.0:
            _refuse("category_floor", floor, "a number in [-1, 0)")

    @property
    def label_policy(self) -> str:
        """What other labels than the categories are; see `find_codes`."""
        if self.refuses_unknown:
            return "refused"
        return "equal" if self.numbers_are_labels else "missing"

    def read(self, X: Any) -> NDArray[np.float64]:
        """Convert rows to the numbers that nodes compare.

        Parameters
        ----------
        X : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
            Rows. Frames of pandas, polars and pyarrow are read column by column;
            labels that are not among the categories become NaN, as in the libraries.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_features)
            C-contiguous; `X` itself if it needs no conversion.

        Raises
        ------
        TypeError
            If a column holds neither numbers nor categories of the model.
        ValueError
            If the columns are not the model's, by number or name.
        """
        X = open_table(X)
        frame = as_frame(X)
        if frame is not None:
            _check_columns(frame, self)
            values = _read_frame(frame, self)
        else:
            values = _read_array(X, self)
        if self.missing_value is None:
            return values
        compared, missing_value = values, self.missing_value
        if self.round_to_single:
            with np.errstate(over="ignore"):
                compared = values.astype(np.float32)
            missing_value = float(np.float32(missing_value))
        is_missing: NDArray[np.bool_] = compared == missing_value
        return np.where(is_missing, np.nan, values) if is_missing.any() else values


@dataclasses.dataclass(frozen=True, eq=False)
class InputRows:
    """Rows that `TreeEnsemble.read_rows` has converted, with the caller's rows.

    Methods that accept `X` accept these too, and skip the conversion.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows, n_features)
        What nodes compare.
    source : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
        The caller's rows, for the model's library.
    table_start : ndarray of int64, shape (n_tables + 1,) or (0,)
        First row of each table, where these are the rows of several.
    """

    values: NDArray[np.float64]
    source: Any
    table_start: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.empty(0, np.int64)
    )

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.integer[Any]]) -> InputRows:
        """Select rows by position."""
        return InputRows(self.values[rows], take_rows(self.source, rows))


def _is_number(value: Any, kind: type = numbers.Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _refuse(name: str, value: Any, expected: str) -> None:
    raise ModelFormatError(f"Got {name}={value!r}; expected {expected}.")


def _check_columns(frame: nw.DataFrame[Any], rules: InputRules) -> None:
    """Check a frame's columns against the model's, by name or number."""
    names, n_features = rules.feature_names, rules.n_features
    if names is not None and names != _automatic_names("Column_", n_features):
        check_columns(frame.columns, names)
        return
    if len(frame.columns) != n_features:
        _refuse_width(len(frame.columns), rules)
    # the model was trained without names: only a frame that numbers its own columns
    # can show that they are in another order
    for prefix in ("", "f", "x", "Column_", "column_"):
        expected = _automatic_names(prefix, n_features)
        if set(map(str, frame.columns)) == set(expected):
            check_columns(frame.columns, expected)


def _automatic_names(prefix: str, n_features: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{i}" for i in range(n_features))


def _refuse_width(n_columns: int, rules: InputRules) -> NoReturn:
    raise ValueError(
        f"X has {n_columns} columns, the ensemble was fitted on {rules.n_features}."
    )


def _read_frame(frame: nw.DataFrame[Any], rules: InputRules) -> NDArray[np.float64]:
    """Read a frame column by column."""
    values = np.empty(frame.shape, dtype=REAL)
    all_categories = rules.categories or (None,) * rules.n_features
    columns = frame.iter_columns()
    for number, (column, categories) in enumerate(
        zip(columns, all_categories, strict=True)
    ):
        is_numeric = column.dtype.is_numeric()
        name = f"Column {column.name!r}"
        if categories is None:
            values[:, number] = _read_number_column(column)
        elif rules.labels_are_hashes:
            values[:, number] = find_hashes(column.to_list(), categories, name)
        elif not is_numeric or rules.numbers_are_labels:
            values[:, number] = _encode_column(column, categories, name, rules)
        else:
            raise TypeError(
                f"{name} has dtype {column.dtype}; the model was "
                f"trained on categories ({', '.join(map(repr, categories[:5]))}, ...). "
                "Convert it to a categorical column, or pass an array of category "
                "codes."
            )
    return values


def _read_number_column(column: Any) -> NDArray[np.float64]:
    """Read a column of a numeric feature, numbers in columns of objects too."""
    if column.dtype.is_numeric() or column.dtype == nw.Boolean:
        return read_numbers(column)
    try:
        if column.dtype not in (nw.Object, nw.String):
            raise TypeError
        values = [np.nan if is_missing(v) else v for v in column.to_list()]
        return np.array([float(value) for value in values], dtype=REAL)
    except (TypeError, ValueError):
        raise TypeError(
            f"Column {column.name!r} has dtype {column.dtype}; expected numbers, "
            "booleans or, where the model was trained on categories and stores their "
            "labels, a categorical column; else the codes that it was trained on."
        ) from None


def _encode_column(
    column: Any, categories: tuple[Any, ...], name: str, rules: InputRules
) -> NDArray[np.float64]:
    """Return the category number of each entry of a column, NaN for other labels."""
    native = column.to_native()
    is_categorical = column.dtype in (nw.Categorical, nw.Enum)
    if hasattr(native, "cat") and hasattr(native.cat, "codes"):
        position = np.asarray(native.cat.codes)
        used = np.unique(position[position >= 0])
        labels = [as_plain(label) for label in native.cat.categories[used]]
        position = np.where(position < 0, len(used), np.searchsorted(used, position))
        labels.append(None)
    else:
        is_numeric = column.dtype.is_numeric()
        labels, position = split_labels(
            read_numbers(column) if is_numeric else column.to_list()
        )
    codes = find_codes(
        labels,
        categories,
        name,
        policy=rules.label_policy,
        is_categorical=is_categorical,
    )
    return codes[position]


def _read_array(X: Any, rules: InputRules) -> NDArray[np.float64]:
    """Read an array or a sparse matrix."""
    if sparse.issparse(X):
        X = (
            _fill_absent(X)
            if rules.absent_is_missing
            else sparse.csr_array(X).toarray()
        )
    values = np.asarray(X)
    if values.ndim != 2:
        hint = "; reshape one row to (1, n_features)" if values.ndim == 1 else ""
        raise ValueError(
            f"Got rows of shape {values.shape}; expected (n_rows, n_features){hint}."
        )
    has_labels = rules.categories is not None and (
        rules.numbers_are_labels or rules.labels_are_hashes
    )
    if not has_labels:
        values = _parse_numbers(values)
    if values.shape[1] != rules.n_features:
        _refuse_width(values.shape[1], rules)
    if not has_labels:
        return np.ascontiguousarray(values, dtype=REAL)
    result = np.empty(values.shape, dtype=REAL)
    for number, categories in enumerate(rules.categories or ()):
        column = values[:, number]
        name = f"Column {number}"
        if rules.feature_names is not None:
            name += f" ({rules.feature_names[number]!r})"
        if categories is None:
            result[:, number] = _parse_numbers(column)
        elif rules.labels_are_hashes:
            result[:, number] = find_hashes(column, categories, name)
        else:
            labels, position = split_labels(column)
            codes = find_codes(labels, categories, name, policy=rules.label_policy)
            result[:, number] = codes[position]
    return result


def _fill_absent(X: Any) -> NDArray[np.float64]:
    """Convert a sparse matrix to a dense array, implicit entries to NaN."""
    entries = sparse.csr_array(X, copy=True)
    entries.sum_duplicates()
    entries = entries.tocoo()
    filled = np.full(entries.shape, np.nan, dtype=REAL)
    filled[entries.coords] = entries.data
    return filled


def _parse_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Convert an object array of numbers to float64; return numeric arrays as is."""
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind == "c":
        raise TypeError("Got complex rows; expected real numbers.")
    try:
        if values.dtype.kind not in "O":
            raise ValueError("strings or times")
        if values.dtype.kind == "O":
            is_absent = np.frompyfunc(is_missing, 1, 1)(values).astype(bool)
            values = np.where(is_absent, np.nan, values)
        return values.astype(REAL)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got rows of dtype {values.dtype} that are not all numbers ({error}); "
            "encode strings as numbers or as categorical columns of a frame, the way "
            "the model was trained."
        ) from error
