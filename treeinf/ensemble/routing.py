"""Rows to leaves, and leaves to raw scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL, leaf_id_dtype
from treeinf.ensemble.input_rules import InputRows
from treeinf.errors import ModelParityError, UnsupportedModelError
from treeinf.kernels.cpu import replay as replay_kernels
from treeinf.kernels.cpu import routing as routing_kernels
from treeinf.kernels.device import CPU, Device
from treeinf.validation import check_offset

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

_NATIVE = (
    "This {library} model has splits that only {library} itself can follow. Load it "
    "with {library} and pass the live model in place of the file."
)

_FEWEST_MASKED_ROWS = 16
_MOST_MASKED_LEAVES = 1024

__all__ = [
    "add_leaf_values",
    "check_initial_scores",
    "find_leaves",
    "read_rows",
    "route_rows",
]


def read_rows(ensemble: TreeEnsemble, X: Any) -> InputRows:
    """Read rows for an ensemble; see `TreeEnsemble.read_rows`."""
    if isinstance(X, InputRows):
        return X
    return InputRows(ensemble.input_rules.read(X), X)


def check_initial_scores(
    ensemble: TreeEnsemble, init_score: Any, n_rows: int
) -> NDArray[np.float64] | None:
    """Bring each row's own initial score to an array; see `check_offset`.

    Raises
    ------
    ValueError
        If the shape is another, or a model gives initial scores and they are missing.
    """
    if init_score is None and ensemble.initial_model is not None:
        raise ValueError(
            f"Each row starts from a score that {ensemble.initial_model} gives it, "
            "which the ensemble does not hold; pass "
            "init_score=treeinf.adapters.init_score(model, X)."
        )
    return check_offset(init_score, n_rows, ensemble.n_outputs)


def find_leaves(
    ensemble: TreeEnsemble, X: Any, device: Device = CPU
) -> NDArray[np.unsignedinteger[Any]]:
    """Find the leaf of each row in each tree.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    X : array-like, frame or InputRows, shape (n_rows, n_features)
        Rows.
    device : Device, default=CPU
        Where they are routed.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (n_trees, n_rows)
        Leaf within each tree, in the smallest type that fits; one line for each number
        in `TreeEnsemble.leaf_row`, where trees share their leaf ids.

    Raises
    ------
    UnsupportedModelError
        If the leaves are the library's own to find and it is not at hand.
    """
    if ensemble.is_native and ensemble.leaf_source is not None:
        source = X.source if isinstance(X, InputRows) else X
        found = np.asarray(ensemble.leaf_source(source))
        leaf = np.ascontiguousarray(found.T, leaf_id_dtype(ensemble.most_leaves))
        n_leaves = np.diff(ensemble.leaf_offset)
        if ensemble.leaf_row is not None:
            n_leaves = n_leaves[np.unique(ensemble.leaf_row, return_index=True)[1]]
        if len(leaf) != len(n_leaves) or (found >= n_leaves).any():
            raise ModelParityError(
                f"{ensemble.library} gives leaves that are not those of the model read."
            )
        return leaf
    return route_rows(ensemble, read_rows(ensemble, X).values, device)


def route_rows(
    ensemble: TreeEnsemble, rows: NDArray[np.float64], device: Device = CPU
) -> NDArray[np.unsignedinteger[Any]]:
    """Find the leaf of each row in each tree, for rows that have been checked.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    rows : ndarray of float64, shape (n_rows, n_features)
        Values that `read_rows` returns.
    device : Device, default=CPU
        Where they are routed, in blocks that fit there.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (n_trees, n_rows)
        Leaf within each tree, in the smallest type that fits.

    Notes
    -----
    Masks visit every node of a tree for each 256 rows; where rows are few or trees
    have very many leaves, each row walks its own way down.
    """
    if ensemble.is_native:
        raise UnsupportedModelError(_NATIVE.format(library=ensemble.library))
    trees = ensemble.flat_trees
    n_rows_of_ids = len(trees.node_offset) - 1
    leaf = np.empty(
        (n_rows_of_ids, len(rows)), dtype=leaf_id_dtype(ensemble.most_leaves)
    )
    if not device.is_cpu:
        moved = device.put(trees)
        row_bytes = rows.shape[1] * 8 + n_rows_of_ids * leaf.itemsize
        step = device.rows_at_once(max(len(rows), 1), row_bytes)
        for begin in range(0, len(rows), step):
            block = slice(begin, min(begin + step, len(rows)))
            found = device.empty((n_rows_of_ids, block.stop - begin), leaf.dtype)
            device.routing.route_walk(device.put(rows[block]), moved, found)
            leaf[:, block] = device.get(found)
    elif (
        len(rows) >= _FEWEST_MASKED_ROWS and ensemble.most_leaves <= _MOST_MASKED_LEAVES
    ):
        routing_kernels.route_masks(rows, trees, ensemble.ranked_trees, leaf)
    else:
        routing_kernels.route_walk(rows, trees, leaf)
    return leaf


def add_leaf_values(
    ensemble: TreeEnsemble,
    leaf: NDArray[np.unsignedinteger[Any]],
    *,
    offset: NDArray[np.float64] | None = None,
    n_trees: int | None = None,
) -> NDArray[np.float64]:
    """Compute raw scores of rows whose leaves are known.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaf of each row within each tree.
    offset : ndarray of float64, shape (n_rows, n_outputs), or None
        Each row's own initial score, on top.
    n_trees : int or None
        First trees to add; None for all.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
    """
    raw_score = np.empty((leaf.shape[1], ensemble.n_outputs), dtype=REAL)
    if offset is None:
        offset = np.empty((0, ensemble.n_outputs), dtype=REAL)
    replay_kernels.sum_leaf_values(
        leaf,
        ensemble.flat_leaves,
        offset,
        ensemble.n_trees if n_trees is None else n_trees,
        raw_score,
    )
    return raw_score
