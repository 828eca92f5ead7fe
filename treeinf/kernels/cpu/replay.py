"""Boosting replayed over rows: staged derivatives, added up leaf by leaf."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel
from treeinf.kernels.cpu.derivatives import loss_derivatives

__all__ = [
    "BLOCK",
    "add_tree",
    "count_lanes",
    "count_leaf_rows",
    "replay",
    "start_scores",
    "sum_leaf_values",
    "sum_leaf_weights",
]

BLOCK = 1024
"""Rows handled together: scores and derivatives of a block stay in the first cache."""

_LANES = 4
_MOST_LANE_CELLS = 8192


@kernel
def count_lanes(n_cells):
    """Give the number of sums that rows take turns to be added to; a power of two.

    Parameters
    ----------
    n_cells : int64
        Numbers in one sum of all leaves.

    Returns
    -------
    int64
        Neighbouring rows are often in one leaf: with one sum, each waits for the sum
        before it. 1 where several would not stay in the cache.
    """
    return _LANES if n_cells <= _MOST_LANE_CELLS else 1


@kernel
def start_scores(base_score, offset, begin, n, raw_score):
    """Set a block's raw scores to those before the first tree.

    Parameters
    ----------
    base_score : ndarray of float64, shape (n_outputs,)
        The ensemble's own.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Each row's own initial score, on top; empty for none.
    begin, n : int64
        First row and number of rows of the block.
    raw_score : ndarray of float64, shape (n_outputs, BLOCK)
        Output, overwritten.
    """
    for k in range(base_score.size):
        for i in range(n):
            raw_score[k, i] = base_score[k]
    if offset.shape[0] > 0:
        for i in range(n):
            for k in range(base_score.size):
                raw_score[k, i] += offset[begin + i, k]


@kernel
def add_tree(tree_leaf, begin, n, first, output, leaf_value, raw_score):
    """Add one tree's leaf values to a block's raw scores.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n_rows,)
        Leaf of every row within the tree.
    begin, n : int64
        First row and number of rows of the block.
    first : int64
        Number of the tree's first leaf.
    output : int64
        Column the tree adds to; not read where the leaves hold all outputs.
    leaf_value : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values.
    raw_score : ndarray of float64, shape (n_outputs, BLOCK)
        Changed in place.
    """
    # an index that is unsigned needs no check whether it counts from the end
    value = leaf_value[first:]
    for column in range(leaf_value.shape[1]):
        k = output if leaf_value.shape[1] == 1 else column
        for i in range(n):
            raw_score[k, i] += value[tree_leaf[begin + i], column]


@linear_kernel
def sum_leaf_values(leaf, leaves, offset, n_trees, raw_score):
    """Compute raw scores after the first `n_trees` trees.

    Parameters
    ----------
    leaf, offset : ndarray
        Leaf ids and initial scores, see `FlatRows`.
    leaves : FlatLeaves
        The ensemble's leaves.
    n_trees : int64
        Trees to add.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Output, overwritten.
    """
    n_rows, n_outputs = leaf.shape[1], leaves.base_score.size
    for block in prange((n_rows + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, n_rows - begin)
        score = np.empty((n_outputs, BLOCK))
        start_scores(leaves.base_score, offset, begin, n, score)
        for tree in range(n_trees):
            add_tree(
                leaf[leaves.leaf_row[tree]],
                begin,
                n,
                leaves.leaf_offset[tree],
                leaves.output[tree],
                leaves.leaf_value,
                score,
            )
        for i in range(n):
            for k in range(n_outputs):
                raw_score[begin + i, k] = score[k, i]


@linear_kernel
def replay(rows, leaves, loss, raw_score, part_gradient, part_hessian):
    """Replay boosting over rows and add up each leaf's staged derivatives.

    Parameters
    ----------
    rows : FlatRows
        The rows.
    leaves : FlatLeaves
        The ensemble's leaves.
    loss : FlatLoss
        The loss.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Output, overwritten: raw scores after the last tree.
    part_gradient, part_hessian : ndarray of float64, \
shape (n_parts, n_leaves, leaf_width)
        Outputs, which must come zeroed: sums over each part of the rows, for the caller
        to add up. Part p is the p-th of n_parts runs of rows of equal length.

    Notes
    -----
    One pass, O(n_rows n_trees) time, no array of n_rows x n_trees numbers. A part is
    added up by one thread in the order of its rows, so that the sums have the same bits
    for any number of threads.
    """
    leaf, weight = rows.leaf, rows.weight
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    n_parts = part_gradient.shape[0]
    leaf_width = leaves.leaf_value.shape[1]
    part_rows = (n_rows + n_parts - 1) // n_parts
    n_leaves = leaves.leaf_value.shape[0]
    n_lanes = count_lanes(2 * n_leaves * leaf_width)
    for part in prange(n_parts):
        score = np.empty((n_outputs, BLOCK))
        gradient = np.empty((n_outputs, BLOCK))
        hessian = np.empty((n_outputs, BLOCK))
        y = np.empty(BLOCK)
        sums = np.zeros((leaf_width, n_lanes, n_leaves, 2))
        for begin in range(
            part * part_rows, min(n_rows, (part + 1) * part_rows), BLOCK
        ):
            n = min(BLOCK, min(n_rows, (part + 1) * part_rows) - begin)
            for i in range(n):
                y[i] = rows.y[begin + i]
            start_scores(leaves.base_score, rows.offset, begin, n, score)
            for iteration in range(leaves.iteration_start.size - 1):
                if iteration == 0 or not leaves.is_averaged:
                    loss_derivatives(loss, n, y, score, gradient, hessian)
                    if weight.size > 0:
                        for k in range(n_outputs):
                            for i in range(n):
                                gradient[k, i] *= weight[begin + i]
                                hessian[k, i] *= weight[begin + i]
                for tree in range(
                    leaves.iteration_start[iteration],
                    leaves.iteration_start[iteration + 1],
                ):
                    first = leaves.leaf_offset[tree]
                    for column in range(leaf_width):
                        k = leaves.output[tree] if leaf_width == 1 else column
                        _add_derivatives(
                            leaf[leaves.leaf_row[tree], begin : begin + n],
                            gradient[k],
                            hessian[k],
                            sums[column, :, first:],
                        )
                    add_tree(
                        leaf[leaves.leaf_row[tree]],
                        begin,
                        n,
                        first,
                        leaves.output[tree],
                        leaves.leaf_value,
                        score,
                    )
            for i in range(n):
                for k in range(n_outputs):
                    raw_score[begin + i, k] = score[k, i]
        for column in range(leaf_width):
            for lane in range(n_lanes):
                for number in range(n_leaves):
                    part_gradient[part, number, column] += sums[column, lane, number, 0]
                    part_hessian[part, number, column] += sums[column, lane, number, 1]


@kernel
def _add_derivatives(tree_leaf, gradient, hessian, sums):
    """Add up a block's derivatives in the leaves of a tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the block within the tree.
    gradient, hessian : ndarray of float64, shape (>= n,)
        Derivatives.
    sums : ndarray of float64, shape (n_lanes, >= leaves of the tree, 2)
        Added to in place: rows take turns.
    """
    last_lane = np.uint64(sums.shape[0] - 1)
    for i in range(tree_leaf.size):
        lane = np.uint64(i) & last_lane
        sums[lane, tree_leaf[i], 0] += gradient[i]
        sums[lane, tree_leaf[i], 1] += hessian[i]


@linear_kernel
def count_leaf_rows(leaf, leaf_offset, leaf_row, count):
    """Count the rows in each leaf.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Line of `leaf` that each tree reads.
    count : ndarray of int64, shape (n_leaves,)
        Output, which must come zeroed. Each thread owns trees.
    """
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        n_leaves = leaf_offset[tree + 1] - first
        tree_leaf = leaf[leaf_row[tree]]
        lanes = np.zeros((count_lanes(n_leaves), n_leaves), np.int64)
        last_lane = np.uint64(lanes.shape[0] - 1)
        for row in range(tree_leaf.size):
            lanes[np.uint64(row) & last_lane, tree_leaf[row]] += 1
        for lane in range(lanes.shape[0]):
            for number in range(n_leaves):
                count[first + number] += lanes[lane, number]


@linear_kernel
def sum_leaf_weights(leaf, leaf_offset, leaf_row, weight, total):
    """Add up the weights of the rows in each leaf.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `count_leaf_rows`.
    weight : ndarray of float64, shape (n_rows,)
        Row weights.
    total : ndarray of float64, shape (n_leaves,)
        Output, which must come zeroed. Each thread owns trees.
    """
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        tree_leaf = leaf[leaf_row[tree]]
        for row in range(leaf.shape[1]):
            total[first + tree_leaf[row]] += weight[row]
