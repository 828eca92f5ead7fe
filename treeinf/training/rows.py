"""Rows with their labels and weights, in the caller's own table type."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.frames import take_rows
from treeinf.training.row_groups import number_groups

__all__ = ["LabelledRows"]


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows of the caller's own type with labels and weights.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Features.
    y : ndarray, shape (n_rows,)
        The caller's labels, or float64 targets.
    code : ndarray of int64, shape (n_rows,), or None
        Number of each label among the classes; None for regression.
    weight : ndarray of float64, shape (n_rows,), or None
        Weights; None for 1.
    group : ndarray of int64, shape (n_rows,), or None
        Group of each row: what is learned from a row is not judged by, and does not
        judge, rows of its group. None if each row is a group.
    twin : ndarray of int64, shape (n_rows,), or None
        Set of (almost) equal rows that each row is in, within its group; copies and
        base models draw one of them at a time. None if each row is alone.
    time : ndarray of int64, shape (n_rows,), or None
        Rank of each row's time: what is learned from a row is used for later rows
        alone. None where time does not matter.
    """

    X: Any
    y: NDArray[Any]
    code: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    group: NDArray[np.int64] | None = None
    twin: NDArray[np.int64] | None = None
    time: NDArray[np.int64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def label(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """Class numbers, or values."""
        return self.y if self.code is None else self.code

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> LabelledRows:
        """Return some of the rows, by position or by mask."""
        return LabelledRows(
            take_rows(self.X, rows),
            self.y[rows],
            None if self.code is None else self.code[rows],
            None if self.weight is None else self.weight[rows],
            None if self.group is None else self.group[rows],
            None if self.twin is None else self.twin[rows],
            None if self.time is None else self.time[rows],
        )

    def average_twins(
        self, total: NDArray[np.float64], count: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Divide sums over copies by the copies that had each row, or a twin of it.

        Sums are pooled over the twins that have the row's label, or, where no copy had
        one of them, over all twins.
        """
        if self.twin is not None:
            twin = number_groups(self.twin)
            label = np.unique(self.label, return_inverse=True)[1].reshape(-1)
            alike = number_groups(twin * (int(label.max()) + 1) + label)
            is_known = np.bincount(alike, count)[alike] > 0.0
            total, count = (
                np.where(is_known, *(np.bincount(k, values)[k] for k in (alike, twin)))
                for values in (total, count)
            )
        return total / np.maximum(count, 1.0)
