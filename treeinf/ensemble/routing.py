"""Flatten trees for the routing kernels, and route rows through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import leaf_id_dtype
from treeinf.ensemble.arrays import Missing
from treeinf.ensemble.input_rules import InputRows, InputRules
from treeinf.errors import ModelParityError, UnsupportedModelError
from treeinf.kernels.cpu import routing as kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import FlatTrees

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

__all__ = ["find_leaves", "flatten_trees"]

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


def find_leaves(
    ensemble: TreeEnsemble, X: Any, device: Device = CPU
) -> NDArray[np.unsignedinteger[Any]]:
    """Find the leaf of each row in each tree, in the layout that kernels read.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The trees.
    X : array-like, frame or InputRows, shape (n_rows, n_features)
        Rows.
    device : Device, default=CPU
        Where they are routed, in batches that fit its memory.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (n_structures, n_rows)
        Leaf within each tree, in the smallest type that fits; one row for each number
        in `leaf_row`, where trees share leaf ids.

    Raises
    ------
    UnsupportedModelError
        If only the library can find the leaves, and the model came from a file.

    Notes
    -----
    Masks visit every node of a tree for each 256 rows; where rows are few or trees
    have very many leaves, each row is walked down instead.
    """
    if ensemble.is_native:
        return _ask_library(ensemble, X)
    values, trees = ensemble.read_rows(X).values, ensemble.flat_trees
    n_rows, n_trees = len(values), len(trees.node_offset) - 1
    most_leaves = ensemble.most_leaves
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
        kernels.route_masks(values, trees, ensemble.ranked_trees, leaf)
    else:
        kernels.route_walk(values, trees, leaf)
    return leaf


def _ask_library(ensemble: TreeEnsemble, X: Any) -> NDArray[np.unsignedinteger[Any]]:
    """Return the leaves of rows that the library finds."""
    library = ensemble.library
    if ensemble.leaf_source is None:
        raise UnsupportedModelError(
            f"This {library} model has splits that only {library} can evaluate. Load "
            f"it with {library} and pass the live model instead of the file."
        )
    source = X.source if isinstance(X, InputRows) else X
    leaf = np.asarray(ensemble.leaf_source(source)).T
    n_leaves = np.diff(ensemble.leaf_offset)
    if ensemble.leaf_row is not None:
        n_leaves = n_leaves[np.unique(ensemble.leaf_row, return_index=True)[1]]
    if len(leaf) != len(n_leaves) or (leaf >= n_leaves[:, np.newaxis]).any():
        raise ModelParityError(
            f"{library} returned leaf ids that the model read does not have."
        )
    return np.ascontiguousarray(leaf, leaf_id_dtype(ensemble.most_leaves))
