"""Groups of rows that stay together: read, merge, append and deal them into folds."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from treeinf.validation import read_vector

__all__ = [
    "concatenate_groups",
    "deal_groups",
    "draw_one_of_each",
    "merge_groups",
    "number_groups",
    "read_groups",
]


def read_groups(
    groups: Any, n_rows: int, name: str = "groups"
) -> tuple[NDArray[np.int64], list[Any]]:
    """Read the groups passed by the user.

    Parameters
    ----------
    groups : array-like of labels, shape (n_rows,)
        Label of the group of each row: numbers, text or dates.
    n_rows : int
        Expected length.
    name : str, default="groups"
        Name of the argument, for errors.

    Returns
    -------
    group : ndarray of int64, shape (n_rows,)
        Group of each row, from 0 without gaps, in the order of their first rows.
    labels : list
        Label of each group.

    Raises
    ------
    ValueError
        If there is not one for each row, one is missing, or all are the same.
    """
    values = read_vector(groups, name, n_rows).tolist()
    numbers = {label: number for number, label in enumerate(dict.fromkeys(values))}
    if len(numbers) < 2:
        raise ValueError(
            f"{name} has one value in all rows; rows of a group are left out together, "
            "so at least two groups are needed."
        )
    return np.array([numbers[label] for label in values], np.int64), list(numbers)


def number_groups(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups numbered from 0 without gaps."""
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)


def merge_groups(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Merge groups of two kinds that have a row in common, directly or by others.

    Parameters
    ----------
    first, second : ndarray of int64, shape (n_rows,)
        Group of each row, from 0.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Merged group of each row, from 0 without gaps.
    """
    offset = int(first.max()) + 1
    n_nodes = offset + int(second.max()) + 1
    edges = np.ones(len(first), dtype=np.int8), (first, second + offset)
    component = connected_components(
        coo_array(edges, shape=(n_nodes, n_nodes)), directed=False
    )[1]
    return number_groups(component[first])


def concatenate_groups(
    first: NDArray[np.int64] | None,
    second: NDArray[np.int64] | None,
    n_first: int,
    n_second: int,
) -> NDArray[np.int64] | None:
    """Append the groups of other rows, none of them in common.

    Rows without groups are a group each; None if neither part has groups.
    """
    if first is None and second is None:
        return None
    first = np.arange(n_first) if first is None else first
    second = np.arange(n_second) if second is None else second
    return np.concatenate([first, second + 1 + first.max(initial=-1)])


def draw_one_of_each(
    twin: NDArray[np.int64], rng: np.random.Generator | np.random.RandomState
) -> NDArray[np.bool_]:
    """Draw one row of each set of equal rows, numbered from 0; return their mask."""
    order = rng.permutation(len(twin))
    drawn = np.empty(int(twin.max()) + 1, dtype=np.int64)
    drawn[twin[order]] = order
    is_drawn = np.zeros(len(twin), dtype=np.bool_)
    is_drawn[drawn] = True
    return is_drawn


def deal_groups(
    group: NDArray[np.int64],
    code: NDArray[np.int64] | None,
    shares: Sequence[float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Deal whole groups into folds at random, of each class in proportion.

    Parameters
    ----------
    group : ndarray of int64, shape (n_rows,)
        Group of each row.
    code : ndarray of int64, shape (n_rows,), or None
        Class numbers; None for regression.
    shares : sequence of float
        Share of the rows for each fold.
    rng : numpy Generator
        Random generator.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Fold of each row.

    Notes
    -----
    Class by class, where a group's class is that of most of its rows, each group goes
    to the fold that has the fewest rows of the class for its share. Large groups go
    first: by the power of two of their size, at random within it.
    """
    numbers, index, size = np.unique(group, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    major = np.zeros(len(numbers), dtype=np.int64)
    if code is not None:
        n_classes = int(code.max()) + 1
        pairs, count = np.unique(index * n_classes + code, return_counts=True)
        order = np.lexsort((-count, pairs // n_classes))
        first = np.unique(pairs[order] // n_classes, return_index=True)[1]
        major = pairs[order][first] % n_classes
    magnitude = np.frexp(size.astype(np.float64))[1]
    order = np.lexsort((rng.random(len(numbers)), -magnitude, major))
    ties = rng.random((len(numbers), len(shares)))
    fold_of = np.empty(len(numbers), dtype=np.int64)
    total = np.zeros(len(shares))
    heap: list[tuple[float, float, float, float, int]] = []
    last = -1
    for number in order.tolist():
        if major[number] != last:
            last = int(major[number])
            heap = [
                (0.0, total[fold] / share, -share, float(ties[number, fold]), fold)
                for fold, share in enumerate(shares)
            ]
            heapq.heapify(heap)
        load, _, _, _, fold = heap[0]
        fold_of[number] = fold
        total[fold] += size[number]
        load += size[number] / shares[fold]
        tie = float(ties[number, fold])
        heapq.heapreplace(
            heap, (load, total[fold] / shares[fold], -shares[fold], tie, fold)
        )
    return fold_of[index]
