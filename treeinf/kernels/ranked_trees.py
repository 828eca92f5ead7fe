"""Trees whose nodes compare ranks of values, which are small integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import FLAG, NODE, OFFSET, leaf_id_dtype
from treeinf.kernels.compilation import scalar_rule
from treeinf.kernels.flat import FlatTrees

__all__ = ["CATEGORICAL", "MASK_ROWS", "MASK_WORDS", "RankedTrees", "rank_trees"]

MASK_WORDS = 4
"""Words of a mask of a tile: a word has one bit for each of 64 rows."""
MASK_ROWS = 64 * MASK_WORDS
"""Rows of a tile."""
CATEGORICAL = 2**32 - 1
"""Stands for the column in nodes that test whether a value is in a set."""


class RankedTrees(NamedTuple):
    """Trees as routing by masks reads them, beside the `FlatTrees` they come from.

    The rank of a value is the number of its feature's thresholds below it, so that
    ``x <= threshold`` is ``rank(x) <= rank(threshold)``. Nodes may differ in where NaN
    and 0.0 go: a feature has a column of ranks for each combination that occurs, in
    which NaN and 0.0 have the rank that sends them there.

    Attributes
    ----------
    feature : ndarray of int32, shape (n_used,)
        Features that nodes compare with a threshold.
    threshold_offset : ndarray of int64, shape (n_used + 1,)
        Where each of them begins in `threshold`.
    threshold : ndarray of float64, shape (n_thresholds,)
        Thresholds of each, strictly increasing.
    column_offset : ndarray of int64, shape (n_used + 1,)
        Where each of them begins in the columns.
    zero_rank, nan_rank : ndarray of unsigned integer, shape (n_columns,)
        Ranks of 0.0 and of NaN; in the smallest type that holds all ranks.
    node : ndarray of uint32, shape (n_nodes, 4)
        The nodes of each tree, parents before children: where the column begins in the
        ranks of a tile, or `CATEGORICAL`; the threshold's rank, or the number of the
        categorical node; the positions of the left and the right child among the masks
        of the tree's nodes and leaves.
    n_masks : int
        Masks of the largest tree.
    """

    feature: NDArray[np.int32]
    threshold_offset: NDArray[np.int64]
    threshold: NDArray[np.float64]
    column_offset: NDArray[np.int64]
    zero_rank: NDArray[np.unsignedinteger]
    nan_rank: NDArray[np.unsignedinteger]
    node: NDArray[np.uint32]
    n_masks: int


def rank_trees(trees: FlatTrees) -> RankedTrees:
    """Rank the thresholds of each feature, and put each tree's nodes in order.

    Parameters
    ----------
    trees : FlatTrees
        The ensemble.

    Returns
    -------
    RankedTrees

    Notes
    -----
    O(n_nodes log n_nodes) time, once for an ensemble.
    """
    ranked = np.flatnonzero(~trees.is_categorical)
    ranked = ranked[np.lexsort((trees.threshold[ranked], trees.feature[ranked]))]
    feature, threshold = trees.feature[ranked], trees.threshold[ranked]
    is_first = np.ones(len(ranked), FLAG)
    is_first[1:] = (feature[1:] != feature[:-1]) | (threshold[1:] != threshold[:-1])
    firsts = np.flatnonzero(is_first)
    used, offset = np.unique(feature[firsts], return_index=True)
    position = np.searchsorted(used, feature)
    rank = np.cumsum(is_first) - 1 - offset[position]
    threshold_offset = np.append(offset, len(firsts))
    # no threshold has the highest rank: its values go right everywhere, of rank 0 left
    highest = np.diff(threshold_offset)[position]
    below_zero = np.bincount(position[firsts], threshold[firsts] < 0.0, len(used))
    plain_rank = below_zero.astype(OFFSET)[position]
    is_plain = trees.is_plain[ranked]
    nan_left, zero_left = trees.nan_left[ranked], trees.zero_left[ranked]
    nan_differs = np.bincount(position, ~is_plain | (nan_left != zero_left), len(used))
    zero_rank = np.where(is_plain, plain_rank, np.where(zero_left, 0, highest))
    nan_rank = np.where(
        nan_differs[position] > 0, np.where(nan_left, 0, highest), plain_rank
    )
    # three numbers in one, since sorting rows of a matrix is slow
    size = int(highest.max(initial=0)) + 1
    columns, column = np.unique(
        (position * size + zero_rank) * size + nan_rank, return_inverse=True
    )
    dtype = leaf_id_dtype(size)
    n_nodes = len(trees.feature)
    categorical = np.flatnonzero(trees.is_categorical)
    node = np.empty((n_nodes, 4), np.uint32)
    node[ranked, 0], node[ranked, 1] = column * MASK_ROWS, rank
    node[categorical, 0], node[categorical, 1] = CATEGORICAL, categorical
    order = np.empty(n_nodes, OFFSET)
    _order_nodes(trees.node_offset, trees.left, trees.right, order, node)
    return RankedTrees(
        feature=used.astype(NODE),
        threshold_offset=threshold_offset.astype(OFFSET),
        threshold=threshold[firsts],
        column_offset=np.searchsorted(columns, np.arange(len(used) + 1) * size * size),
        zero_rank=(columns // size % size).astype(dtype),
        nan_rank=(columns % size).astype(dtype),
        node=node[order],
        n_masks=2 * int(np.diff(trees.leaf_offset).max(initial=1)) - 1,
    )


@scalar_rule
def _order_nodes(node_offset, left, right, order, node):
    """Order each tree's nodes, parents before children, and number children by it."""
    for tree in range(node_offset.size - 1):
        first = node_offset[tree]
        n_nodes = node_offset[tree + 1] - first
        if n_nodes == 0:
            continue
        order[first] = first
        n_ordered = 1
        for position in range(n_nodes):
            parent = order[first + position]
            for side in range(2):
                child = left[parent] if side == 0 else right[parent]
                if child < 0:
                    node[parent, 2 + side] = n_nodes + ~child
                else:
                    node[parent, 2 + side] = n_ordered
                    order[first + n_ordered] = first + child
                    n_ordered += 1
