"""Rows to leaves, and leaves to raw scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL, leaf_id_dtype
from treeinf.kernels.cpu import replay as replay_kernels
from treeinf.kernels.cpu import routing as routing_kernels
from treeinf.validation import check_rows

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

__all__ = ["add_leaf_values", "check_ensemble_rows", "find_leaves"]


def check_ensemble_rows(ensemble: TreeEnsemble, X: Any) -> NDArray[np.float64]:
    """Bring rows to the array that an ensemble's nodes test; see `check_rows`."""
    return check_rows(
        X,
        n_features=ensemble.n_features,
        feature_names=ensemble.feature_names,
        categories=ensemble.categories,
    )


def find_leaves(ensemble: TreeEnsemble, X: Any) -> NDArray[np.unsignedinteger[Any]]:
    """Find the leaf of each row in each tree.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    X : array-like or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (n_trees, n_rows)
        Leaf within each tree, in the smallest type that fits.

    Notes
    -----
    Trees of up to 64 leaves are routed by bit vectors, larger ones by walking.
    """
    rows = check_ensemble_rows(ensemble, X)
    leaf = np.empty(
        (ensemble.n_trees, len(rows)), dtype=leaf_id_dtype(ensemble.most_leaves)
    )
    trees = ensemble.flat_trees
    if trees.leaf_at.size:
        routing_kernels.route_bit_vectors(rows, trees, trees.left_leaves, leaf)
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
        ensemble.base_score,
        offset,
        ensemble.n_trees if n_trees is None else n_trees,
        raw_score,
    )
    return raw_score
