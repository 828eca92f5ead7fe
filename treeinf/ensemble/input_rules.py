"""Convert rows to the numbers that the nodes of a model compare."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any, NoReturn

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import REAL
from treeinf.errors import ModelFormatError
from treeinf.frames import as_frame, as_plain, read_numbers, take_rows
from treeinf.kernels.label_hash import look_up_hashes

__all__ = ["InputRows", "InputRules"]

_FLAGS = (
    *("numbers_are_labels", "labels_are_hashes"),
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
    """

    values: NDArray[np.float64]
    source: Any

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
    names = [str(name) for name in frame.columns]
    expected = list(rules.feature_names or ())
    if not expected or _is_automatic(expected):
        if len(names) != rules.n_features:
            _refuse_width(len(names), rules)
        return
    # LightGBM puts underscores in place of blanks
    plain = [name.replace(" ", "_") for name in names]
    plain_expected = [name.replace(" ", "_") for name in expected]
    if plain == plain_expected:
        return
    missing = [
        name
        for name, text in zip(expected, plain_expected, strict=True)
        if text not in plain
    ]
    extra = [
        name
        for name, text in zip(names, plain, strict=True)
        if text not in plain_expected
    ]
    if not missing and not extra:
        raise ValueError(
            "The columns are in another order than the model was fitted on; pass "
            f"X[{expected[:3]!r} + ...] in the order of its feature names."
        )
    raise ValueError(
        f"The columns are not the model's: missing {missing[:5]!r}"
        f"{' and more' if len(missing) > 5 else ''}, "
        f"unexpected {extra[:5]!r}{' and more' if len(extra) > 5 else ''}."
    )


def _is_automatic(names: Sequence[str]) -> bool:
    """Return whether the names are defaults: ``Column_0``, ``f0``, ``x0``, ``0``."""
    return all(
        name in (f"Column_{i}", f"f{i}", f"x{i}", str(i))
        for i, name in enumerate(names)
    )


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
        if categories is None:
            if not is_numeric and column.dtype != nw.Boolean:
                raise TypeError(
                    f"Column {column.name!r} has dtype {column.dtype}; expected "
                    "numbers, booleans or, where the model was trained on categories, "
                    "a categorical column."
                )
            values[:, number] = read_numbers(column)
        elif rules.labels_are_hashes:
            labels = np.empty(len(column), dtype=object)
            labels[:] = column.to_list()
            values[:, number] = look_up_hashes(labels, categories)
        elif not is_numeric:
            values[:, number] = _encode_categories(column, categories)
        elif rules.numbers_are_labels:
            values[:, number] = _look_up(read_numbers(column), categories)
        else:
            raise TypeError(
                f"Column {column.name!r} has dtype {column.dtype}; the model was "
                f"trained on categories ({', '.join(map(repr, categories[:5]))}, ...). "
                "Convert it to a categorical column, or pass an array of category "
                "codes."
            )
    return values


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
    look_up = look_up_hashes if rules.labels_are_hashes else _look_up
    result = np.empty(values.shape, dtype=REAL)
    for number, categories in enumerate(rules.categories or ()):
        column = values[:, number]
        result[:, number] = (
            _parse_numbers(column)
            if categories is None
            else look_up(column, categories)
        )
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
        if values.dtype.kind in "US":
            raise ValueError("strings")
        return values.astype(REAL)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got rows of dtype {values.dtype} that are not all numbers ({error}); "
            "encode strings as numbers or as categorical columns of a frame, the way "
            "the model was trained."
        ) from error


def _encode_categories(column: Any, categories: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return the category number of each entry of a column, NaN for other labels."""
    native = column.to_native()
    if not (hasattr(native, "cat") and hasattr(native.cat, "codes")):
        return _look_up(np.asarray(column.to_list(), dtype=object), categories)
    code_of_label = _look_up(native.cat.categories.to_numpy(dtype=object), categories)
    return np.append(code_of_label, np.nan)[np.asarray(native.cat.codes)]


def _look_up(values: NDArray[Any], categories: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return the category number of each value, NaN for other values."""
    code_of = {as_plain(label): float(code) for code, label in enumerate(categories)}
    if values.dtype.kind in "biuf":
        labels, inverse = np.unique(values, return_inverse=True)
        codes = [code_of.get(label, np.nan) for label in labels.tolist()]
        return np.array(codes, dtype=REAL)[inverse]
    return np.array(
        [code_of.get(as_plain(value), np.nan) for value in values], dtype=REAL
    )
