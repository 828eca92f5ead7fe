"""Flatten trees for the routing kernels, and route rows through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import leaf_id_dtype
from treeinf.ensemble.arrays import Missing
from treeinf.ensemble.input_rules import InputRules
from treeinf.kernels.cpu import routing as kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import FlatTrees
from treeinf.kernels.ranked_trees import RankedTrees

__all__ = ["flatten_trees", "route_rows"]

_FEWEST_MASKED_ROWS = 16
_MOST_MASKED_LEAVES = 1024


def flatten_trees(arrays: Mapping[str, NDArray[Any]], rules: InputRules) -> FlatTrees:
    """Flatten trees for the routing kernels.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays of a `TreeEnsemble` whose trees share no leaf ids.
    rules : InputRules
        How rows are read.

    Returns
    -------
    FlatTrees
    """
    is_categorical, default_left = arrays["is_categorical"], arrays["default_left"]
    zero_by_threshold = arrays["threshold"] >= 0.0
    nan_as_zero = (arrays["missing"] == Missing.NONE) & ~is_categorical
    zero_is_missing = arrays["missing"] == Missing.ZERO
    return FlatTrees(
        node_offset=arrays["node_offset"],
        leaf_offset=arrays["leaf_offset"],
        feature=arrays["feature"],
        threshold=arrays["threshold"],
        left=arrays["left"],
        right=arrays["right"],
        nan_left=np.where(nan_as_zero, zero_by_threshold, default_left),
        zero_left=np.where(zero_is_missing, default_left, zero_by_threshold),
        is_plain=~is_categorical & ~zero_is_missing,
        is_categorical=is_categorical,
        category_offset=arrays["category_offset"],
        category_bits=arrays["category_bits"],
        zero_threshold=float(rules.zero_threshold),
        category_floor=float(rules.category_floor),
        round_to_single=rules.round_to_single,
    )


def route_rows(
    trees: FlatTrees,
    ranked_trees: Callable[[], RankedTrees],
    values: NDArray[np.float64],
    device: Device = CPU,
) -> NDArray[np.unsignedinteger[Any]]:
    """Find the leaf of each row in each tree.

    Parameters
    ----------
    trees : FlatTrees
        The trees.
    ranked_trees : callable
        Returns the same trees for routing by masks; called only if needed.
    values : ndarray of float64, shape (n_rows, n_features)
        Rows, from `InputRules.read`.
    device : Device, default=CPU
        Device to route on, in batches that fit its memory.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (n_trees, n_rows)
        Leaf within each tree, in the smallest type that fits.

    Notes
    -----
    Masks visit every node of a tree for each 256 rows; where rows are few or trees
    have very many leaves, each row is walked down instead.
    """
    n_rows, n_trees = len(values), len(trees.node_offset) - 1
    most_leaves = int(np.diff(trees.leaf_offset).max(initial=1))
    leaf = np.empty((n_trees, n_rows), dtype=leaf_id_dtype(most_leaves))
    if not device.is_cpu:
        device_trees = device.put(trees)
        row_bytes = values.shape[1] * 8 + n_trees * leaf.itemsize
        size = device.rows_at_once(max(n_rows, 1), row_bytes)
        for begin in range(0, n_rows, size):
            batch = slice(begin, min(begin + size, n_rows))
            batch_leaf = device.empty((n_trees, batch.stop - begin), leaf.dtype)
            device.routing.route_walk(
                device.put(values[batch]), device_trees, batch_leaf
            )
            leaf[:, batch] = device.get(batch_leaf)
    elif n_rows >= _FEWEST_MASKED_ROWS and most_leaves <= _MOST_MASKED_LEAVES:
        kernels.route_masks(values, trees, ranked_trees(), leaf)
    else:
        kernels.route_walk(values, trees, leaf)
    return leaf
