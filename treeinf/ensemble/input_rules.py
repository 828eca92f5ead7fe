"""How a model reads the rows it is given: columns, categories, missing values."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.errors import ModelFormatError
from treeinf.validation import take_rows

__all__ = ["InputRows", "InputRules"]

_FLAGS = (
    *("numbers_are_labels", "labels_are_hashes"),
    *("absent_is_missing", "round_to_single"),
)


@dataclasses.dataclass(frozen=True)
class InputRules:
    """How a model reads the rows it is given.

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
        A value that stands for a missing one, as NaN does.
    absent_is_missing : bool, default=False
        Entries that a sparse matrix leaves out are missing, not 0.0.
    zero_threshold : float, default=0.0
        Values of at most this size are read as 0.0.
    category_floor : float, default=-1.0
        Values of at most this are no category; others are cut to an integer, towards 0.
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


@dataclasses.dataclass(frozen=True, eq=False)
class InputRows:
    """Rows as a model reads them, read once, beside the caller's own.

    `TreeEnsemble.read_rows` makes them. What takes rows to be read takes them too, and
    does not read them again.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows, n_features)
        What the nodes of the trees test.
    source : array-like, SciPy sparse matrix or frame, shape (n_rows, n_features)
        The caller's rows, as the model's library takes them.
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
