"""Sets of train rows that are removed together, as users pass them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import OFFSET
from treeinf.frames import fill_masked, is_missing

__all__ = ["read_group_sets", "read_positions"]


def read_group_sets(
    groups: Any, n_train: int
) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
    """Return the labels of groups of train rows, and the rows of each.

    Parameters
    ----------
    groups : array-like of labels, shape (n_train,), or list or dict of positions
        The group of each row (a missing label is no group), or the positions of each
        group's rows: a list of arrays, or a dict of arrays by label. Those may overlap.
    n_train : int
        Train rows.

    Returns
    -------
    labels : ndarray, shape (n_groups,)
        In order of first appearance, or of the list or dict.
    sets : list of ndarray of int64
        Positions of the rows of each group.

    Raises
    ------
    ValueError, TypeError
        If the groups do not fit the train rows.
    """
    if isinstance(groups, Mapping):
        names, members = list(groups), list(groups.values())
    elif _is_list_of_arrays(groups):
        names, members = list(range(len(groups))), list(groups)
    else:
        return _split_by_label(groups, n_train)
    if not names:
        raise ValueError("Got no groups.")
    sets = [
        read_positions(rows, n_train, f"groups[{name!r}]")
        for name, rows in zip(names, members, strict=True)
    ]
    labels = np.empty(len(names), object)
    labels[:] = names
    return labels if isinstance(groups, Mapping) else np.arange(len(names)), sets


def _is_list_of_arrays(groups: Any) -> bool:
    return isinstance(groups, list | tuple) and all(
        hasattr(rows, "__len__") and not isinstance(rows, str | bytes)
        for rows in groups
    )


def _split_by_label(
    groups: Any, n_train: int
) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
    if isinstance(groups, np.ma.MaskedArray):
        groups = fill_masked(groups)
    labels = np.asarray(groups)
    if labels.shape != (n_train,):
        raise ValueError(
            f"groups has shape {labels.shape}; expected one label for each of the "
            f"{n_train:,} train rows, or a list or dict of arrays of positions."
        )
    members: dict[Any, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        if not is_missing(label):
            members.setdefault(label, []).append(row)
    if not members:
        raise ValueError("All labels of groups are missing.")
    names = np.empty(len(members), object)
    names[:] = list(members)
    if labels.dtype.kind != "O":
        names = names.astype(labels.dtype)
    return names, [np.array(rows, OFFSET) for rows in members.values()]


def read_positions(rows: Any, n_train: int, name: str) -> NDArray[np.int64]:
    """Return positions of train rows, given as positions or as a mask."""
    positions = np.asarray(rows)
    if positions.ndim == 1 and positions.dtype.kind == "b":
        if len(positions) != n_train:
            raise ValueError(
                f"{name} is a mask of {len(positions):,} rows; the model was trained "
                f"on {n_train:,}."
            )
        return np.flatnonzero(positions).astype(OFFSET)
    if positions.size == 0:
        return np.empty(0, OFFSET)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise TypeError(
            f"{name} has dtype {positions.dtype} and shape {positions.shape}; expected "
            "positions of train rows, or a mask."
        )
    if positions.min() < 0 or positions.max() >= n_train:
        outside = positions.min() if positions.min() < 0 else positions.max()
        raise ValueError(
            f"{name} has position {int(outside)}; the train rows are 0 to "
            f"{n_train - 1}."
        )
    return positions.astype(OFFSET)
