"""A table's features as numbers, encoded once for all base models."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.training.encoding import TableEncoder

__all__ = ["EncodedTable"]


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedTable:
    """Features of all rows as float32.

    Parameters
    ----------
    values : ndarray of float32, shape (n_rows, n_features)
        Numbers, and categories numbered in order; NaN where missing.
    n_labels : list of int, length n_features
        Number of categories; 0 for numbers.
    """

    values: NDArray[np.float32]
    n_labels: list[int]

    @classmethod
    def read(cls, X: Any) -> Self:
        """Encode a table.

        Raises
        ------
        ValueError, TypeError
            If a column has infinite values, or dates.
        """
        encoder = TableEncoder.fit(X)
        return cls(encoder.number(X), encoder.n_labels)
