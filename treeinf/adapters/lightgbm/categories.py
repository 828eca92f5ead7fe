"""Assign the category labels in a LightGBM file to columns."""

from __future__ import annotations

from typing import Any

from treeinf.adapters.lightgbm.files import LightGBMFile
from treeinf.adapters.lightgbm.parameters import LightGBMParameters

__all__ = ["label_columns"]

_MAX_LABEL_WORK = 4_000_000
"""Limit on label lists times columns for searching their columns."""


def label_columns(
    file: LightGBMFile, parameters: LightGBMParameters
) -> tuple[tuple[Any, ...] | None, ...] | None:
    """Return the labels that each column had in the training frame.

    Parameters
    ----------
    file : LightGBMFile
        The file.
    parameters : LightGBMParameters
        Training parameters.

    Returns
    -------
    tuple or None
        For each feature its labels in code order, or None; None instead of the tuple if
        the file has no labels, or their columns are ambiguous.

    Notes
    -----
    The file lists the labels of the frame's categorical columns in order, but not which
    columns these are: ordered categoricals are listed too, although LightGBM treats
    them as numeric. Columns are inferred if exactly one assignment agrees with the
    categories, ranges and parameters in the file; else the labels are dropped.
    """
    if file.pandas_categorical is None:
        return None
    columns = _find_columns(file, parameters, file.pandas_categorical)
    if columns is None:
        return None
    categories: list[tuple[Any, ...] | None] = [None] * file.n_features
    for column, labels in zip(columns, file.pandas_categorical, strict=True):
        categories[column] = tuple(labels)
    return tuple(categories)


def _find_columns(
    file: LightGBMFile, parameters: LightGBMParameters, all_labels: list[list[Any]]
) -> list[int] | None:
    if len(all_labels) * file.n_features > _MAX_LABEL_WORK:
        return None
    bins = file.category_bins or {}
    named = parameters.integers("categorical_feature")
    categorical = set(bins) if named is None else named & set(range(file.n_features))

    def fits(column: int, labels: list[Any]) -> bool:
        if column in bins:
            return max(bins[column]) < len(labels)
        if column in file.value_range:
            low, high = file.value_range[column]
            return low >= 0 and high < len(labels) and low % 1 == 0 and high % 1 == 0
        return True

    def matches(columns: list[int]) -> bool:
        return len(columns) == len(all_labels) and all(
            fits(column, labels)
            for column, labels in zip(columns, all_labels, strict=True)
        )

    if matches(sorted(categorical)):
        return sorted(categorical)
    # Dynamic programming over assignments of the lists to columns in order, preferring
    # those that use the most categorical columns: best[k] is (columns used, number of
    # such assignments, columns) for the first k lists.
    best: list[tuple[int, int, list[int]] | None] = [(0, 1, [])]
    best += [None] * len(all_labels)
    for column in range(file.n_features):
        for k in range(len(all_labels), 0, -1):
            before = best[k - 1]
            if before is None or not fits(column, all_labels[k - 1]):
                continue
            used = before[0] + (column in categorical)
            now = best[k]
            if now is None or used > now[0]:
                best[k] = (used, before[1], [*before[2], column])
            elif used == now[0]:
                best[k] = (used, now[1] + before[1], now[2])
    layout = best[len(all_labels)]
    return layout[2] if layout is not None and layout[1] == 1 else None
