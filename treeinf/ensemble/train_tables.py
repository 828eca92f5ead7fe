"""Train rows in one table, or in several where training was continued on others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import OFFSET
from treeinf.ensemble.input_rules import InputRows
from treeinf.frames import (
    check_columns,
    column_names,
    count_rows,
    is_table_list,
    row_labels,
)
from treeinf.validation import check_weights, open_rows, read_vector

__all__ = ["TrainTable", "join_rows", "split_tables"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainTable:
    """Rows with what belongs to them, as the caller passed them.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows, opened; see `open_rows`.
    y : array-like, shape (n_rows,), or None
        Their targets.
    sample_weight, init_score : array-like, shape (n_rows, ...), or None
        Their weights and initial scores.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    init_score: Any = None

    @classmethod
    def open(cls, X: Any, y: Any, sample_weight: Any, init_score: Any) -> TrainTable:
        """Compare the pandas indexes and open the rows."""
        X = open_rows(X, y=y, sample_weight=sample_weight, init_score=init_score)
        return cls(X, y, sample_weight, init_score)


def split_tables(
    X: Any, y: Any, sample_weight: Any, init_score: Any
) -> list[TrainTable]:
    """Return the tables that were passed: one, or those of a list.

    Parameters
    ----------
    X : array-like or frame, or list of them
        Rows. A list whose items are frames, matrices or arrays of two dimensions is a
        list of tables.
    y, sample_weight, init_score : array-like or None, or list of them
        Lists of the same length where X is a list of tables; None for none at all.

    Returns
    -------
    list of TrainTable

    Raises
    ------
    ValueError
        If a list does not fit that of the tables, or their columns differ.
    """
    if not is_table_list(X):
        return [TrainTable.open(X, y, sample_weight, init_score)]
    columns = []
    of_rows = {"y": y, "sample_weight": sample_weight, "init_score": init_score}
    for name, values in of_rows.items():
        if values is None:
            columns.append([None] * len(X))
        elif isinstance(values, list | tuple) and len(values) == len(X):
            columns.append(list(values))
        else:
            raise ValueError(
                f"X is a list of {len(X)} tables, so {name} must be a list of as many "
                f"arrays, one for each table; got {_describe(values)}."
            )
    scores = columns[2]
    if any(score is None for score in scores) and init_score is not None:
        raise ValueError(
            "Got init_score for some tables; pass that of each, or none at all."
        )
    pairs = zip(list(X), *columns, strict=True)
    tables = [TrainTable.open(*fields) for fields in pairs]
    expected = column_names(tables[0].X)
    for table in tables[1:]:
        names = column_names(table.X)
        if expected is not None and names is not None:
            check_columns(names, expected)
    return tables


def _describe(values: Any) -> str:
    if isinstance(values, list | tuple):
        return f"a list of {len(values)}"
    return f"a {type(values).__name__}"


def join_rows(
    tables: list[TrainTable], rows: list[InputRows], init_scores: list[Any]
) -> tuple[InputRows, Any, Any, Any, NDArray[Any] | None]:
    """Put the rows of tables one after the other.

    Parameters
    ----------
    tables : list of TrainTable
        The tables.
    rows : list of InputRows
        Their rows, as the model reads them.
    init_scores : list of array-like or None
        Their initial scores.

    Returns
    -------
    rows : InputRows
        All rows; of several tables with the number of the first row of each.
    y, sample_weight, init_score : array-like or None
        What belongs to them; a weight of 1 for tables without.
    labels : ndarray, shape (n_rows,), or None
        The rows' labels; where tables share some, pairs of the table's number and the
        label.
    """
    if len(tables) == 1:
        (table,) = tables
        values = table.y, table.sample_weight, init_scores[0]
        return rows[0], *values, row_labels(table.X)
    sizes = [len(table_rows) for table_rows in rows]
    joined = InputRows(
        np.concatenate([table_rows.values for table_rows in rows]),
        None,
        np.concatenate([[0], np.cumsum(sizes)]).astype(OFFSET),
    )
    y = weight = init_score = None
    if any(table.y is not None for table in tables):
        y = np.concatenate(
            [
                read_vector(table.y, f"y of table {k}", size)
                for k, (table, size) in enumerate(zip(tables, sizes, strict=True))
            ]
        )
    if any(table.sample_weight is not None for table in tables):
        weights = [
            check_weights(table.sample_weight, size, f"sample_weight of table {k}")
            for k, (table, size) in enumerate(zip(tables, sizes, strict=True))
        ]
        weight = np.concatenate(
            [
                np.ones(size) if values is None else values
                for values, size in zip(weights, sizes, strict=True)
            ]
        )
    if init_scores[0] is not None:
        init_score = np.concatenate(
            [
                _stand(np.asarray(score), size)
                for score, size in zip(init_scores, sizes, strict=True)
            ]
        )
    return joined, y, weight, init_score, _join_labels(tables)


def _stand(score: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return scores with a line a row; flat ones come output by output."""
    return score.reshape(-1, n_rows).T if score.ndim == 1 else score


def _join_labels(tables: list[TrainTable]) -> NDArray[Any] | None:
    """Return the labels of all rows; None if they are numbered in every table."""
    indexes = [row_labels(table.X) for table in tables]
    if all(labels is None for labels in indexes):
        return None
    filled = [
        (np.arange(count_rows(table.X)) if labels is None else labels).tolist()
        for table, labels in zip(tables, indexes, strict=True)
    ]
    names = [label for labels in filled for label in labels]
    if len(set(names)) < len(names):
        names = [(k, label) for k, labels in enumerate(filled) for label in labels]
    joined = np.empty(len(names), object)
    joined[:] = names
    dtypes = {None if labels is None else labels.dtype for labels in indexes}
    is_alike = len(dtypes) == 1 and not isinstance(names[0], tuple)
    return joined.astype(dtypes.pop()) if is_alike else joined
