"""Encode rows and targets without a model: as hashes, numbers or class numbers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.multiclass import type_of_target

from treeinf.adapters import read_model
from treeinf.dtypes import REAL
from treeinf.ensemble.losses import Softmax
from treeinf.frames import count_rows, read_columns
from treeinf.kernels.cpu.routing import fingerprint_rows
from treeinf.times import is_time, read_days
from treeinf.validation import check_targets

__all__ = ["TableEncoder", "Task", "fingerprint_table"]

_LARGEST = np.finfo(np.float32).max


def fingerprint_table(X: Any, target: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Hash each row and its target, to find equal rows.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows of any types.
    target : ndarray of float64, shape (n_rows,)
        Targets.

    Returns
    -------
    ndarray of uint64, shape (n_rows,)
        Equal for rows of equal values and target; the same in every run.
    """
    columns = [
        values if values.dtype == REAL else _hash_labels(values)
        for _, values in read_columns(X)
    ]
    fingerprint = np.empty(len(target), np.uint64)
    fingerprint_rows(np.column_stack(columns), target, fingerprint)
    return fingerprint


def _hash_labels(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Map labels to numbers that are equal for equal labels, in every run."""
    hashes: dict[str, float] = {}
    numbers = np.full(len(labels), np.nan)
    for i, label in enumerate(labels):
        if label is None:
            continue
        text = str(label)
        if text not in hashes:
            # 48 bits, which a float64 holds exactly
            digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
            hashes[text] = float(int.from_bytes(digest, "big"))
        numbers[i] = hashes[text]
    return numbers


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Classification with its classes, or regression.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,), or None
        Sorted labels of the train rows; None for regression.
    """

    classes: NDArray[Any] | None

    @classmethod
    def read(cls, model: Any, y: Any) -> Task:
        """Decide between classification and regression.

        Parameters
        ----------
        model : estimator, booster, path to a file, TreeEnsemble or None
            Model of the targets, fitted or not. With None the targets decide: numbers
            with decimals mean regression, as in scikit-learn.
        y : array-like, shape (n_train,)
            Train targets.

        Raises
        ------
        ValueError
            If labels are missing or cannot be put in order.
        """
        values = np.asarray(y)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if model is None:
            learns_labels = not type_of_target(values).startswith("continuous")
        elif hasattr(model, "get_params") and hasattr(model, "fit"):
            learns_labels = not is_regressor(model) and (
                is_classifier(model) or hasattr(model, "predict_proba")
            )
        else:
            loss = read_model(model).loss
            learns_labels = loss is not None and loss.n_classes > 0
        if not learns_labels:
            return cls(None)
        try:
            classes = np.unique(values)
        except TypeError as error:
            raise ValueError(
                f"y has labels that cannot be put in order ({error}); are some missing?"
            ) from error
        return cls(classes)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return 0 if self.classes is None else len(self.classes)

    def encode(self, y: Any, n_rows: int) -> NDArray[np.float64]:
        """Convert targets to class numbers, or to float64.

        Raises
        ------
        ValueError, TypeError
            If they do not fit the rows or are not among the classes.
        """
        loss = None if self.classes is None else Softmax(self.n_classes)
        return check_targets(y, n_rows, loss=loss, classes=self.classes)


@dataclasses.dataclass(frozen=True, eq=False)
class _Column:
    """Encoding of one column.

    Parameters
    ----------
    name : str
        Its name, for errors.
    labels : tuple or None
        The categories of the train rows; None for numbers.
    centre, scale : float
        Mean and standard deviation of the numbers that are not missing.
    """

    name: str
    labels: tuple[Any, ...] | None
    centre: float
    scale: float

    @classmethod
    def fit(cls, name: str, values: NDArray[Any]) -> _Column:
        if values.dtype != REAL:
            labels = {label for label in values if label is not None}
            return cls(name, tuple(sorted(labels, key=str)), 0.0, 1.0)
        if np.isinf(values).any():
            raise ValueError(
                f"Column {name!r} has infinite values; replace them by missing or "
                "large numbers."
            )
        present = values[~np.isnan(values)]
        if not present.size:
            return cls(name, None, 0.0, 1.0)
        spread = float(present.std())
        return cls(name, None, float(present.mean()), spread if spread > 0.0 else 1.0)

    def check(self, values: NDArray[Any]) -> None:
        is_number = values.dtype == REAL
        is_empty = not is_number and all(value is None for value in values)
        if is_number != (self.labels is None) and not is_empty:
            train, here = "labels", "numbers"
            if self.labels is None:
                train, here = here, train
            raise TypeError(
                f"Column {self.name!r} has {train} in the train rows and {here} here."
            )

    def codes(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the number of each label; -1 for unknown, NaN for missing ones."""
        code_of = {label: float(code) for code, label in enumerate(self.labels or ())}
        return np.array(
            [np.nan if v is None else code_of.get(v, -1.0) for v in values], dtype=REAL
        )


def _read(X: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Iterate over the columns of a table, dates and times as days."""
    for name, values in read_columns(X):
        if values.dtype != REAL:
            present = [value for value in values if value is not None]
            if present and all(is_time(value) for value in present):
                values = read_days(values)
        yield name, values


@dataclasses.dataclass(frozen=True, eq=False)
class TableEncoder:
    """Encode rows as numbers, with means and categories of the train rows.

    Dates and times are days since 1970-01-01, durations days.

    Parameters
    ----------
    columns : tuple
        How each column is encoded.
    """

    columns: tuple[_Column, ...]

    @classmethod
    def fit(cls, X: Any) -> TableEncoder:
        """Learn the columns' means, spreads and categories from the train rows.

        Raises
        ------
        ValueError, TypeError
            If a column has infinite values.
        """
        return cls(tuple(_Column.fit(name, values) for name, values in _read(X)))

    def standardise(self, X: Any) -> NDArray[np.float64]:
        """Encode rows for distances.

        Numbers are standardised, missing ones take the mean; each category of a column
        is an indicator times the square root of 1/2, so that two categories have
        distance 1; missing and unknown categories have none.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_encoded)
        """
        columns = []
        for column, values in self._match(X):
            if column.labels is None:
                scaled = (values - column.centre) / column.scale
                columns.append(np.nan_to_num(scaled, nan=0.0)[:, np.newaxis])
            else:
                is_label = column.codes(values)[:, np.newaxis] == np.arange(
                    len(column.labels)
                )
                columns.append(is_label * np.sqrt(0.5))
        return np.ascontiguousarray(np.hstack(columns), dtype=REAL)

    def number(self, X: Any) -> NDArray[np.float32]:
        """Encode rows for trees: numbers unchanged, categories as codes in order.

        Returns
        -------
        ndarray of float32, shape (n_rows, n_features)
            NaN for missing values; numbers beyond float32 become its largest.
        """
        table = np.empty((count_rows(X), len(self.columns)), dtype=np.float32)
        for target, (column, values) in zip(table.T, self._match(X), strict=True):
            numbers = values if column.labels is None else column.codes(values)
            target[:] = np.clip(numbers, -_LARGEST, _LARGEST)
        return table

    @property
    def n_labels(self) -> list[int]:
        """Number of categories of each column; 0 for numbers."""
        return [len(column.labels or ()) for column in self.columns]

    def _match(self, X: Any) -> Iterator[tuple[_Column, NDArray[Any]]]:
        read = list(_read(X))
        if len(read) != len(self.columns):
            raise ValueError(
                f"X has {len(read)} columns, the train rows have {len(self.columns)}."
            )
        n_rows = count_rows(X)
        for column, (name, values) in zip(self.columns, read, strict=True):
            if name != column.name:
                raise ValueError(
                    f"Got column {name!r} where the train rows have {column.name!r}."
                )
            column.check(values)
            if values.dtype == REAL and np.isinf(values).any():
                raise ValueError(f"Column {name!r} has infinite values.")
            missing = np.full(n_rows, np.nan)
            is_empty = values.dtype != REAL and column.labels is None
            yield column, missing if is_empty else values
