"""Forests: sums over leaves, the weights of train rows, and means without some rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import parallel_kernel
from treeinf.kernels.cpu.refit import REMOVAL_BATCH

__all__ = ["fill_weights", "refit_means", "sum_leaf_totals"]


@parallel_kernel
def sum_leaf_totals(leaf, leaves, tree_weight, value, total):
    """Add up rows, weights and weighted values leaf by leaf.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`; each tree has a line of `leaf`.
    tree_weight : ndarray of float64, shape (n_trees, n_rows)
        Weight of each row in each tree.
    value : ndarray of float64, shape (n_rows, leaf_width)
        Values.
    total : ndarray of float64, shape (n_leaves, 2 + leaf_width)
        Output, 0 on entry: number of rows of non-zero weight, sum of weights, weighted
        sums of the values. Each thread owns trees.
    """
    for tree in prange(leaf.shape[0]):
        first = leaves.leaf_offset[tree]
        for row in range(leaf.shape[1]):
            weight = tree_weight[tree, row]
            if weight != 0.0:
                sums = total[first + leaf[tree, row]]
                sums[0] += 1.0
                sums[1] += weight
                for column in range(value.shape[1]):
                    sums[2 + column] += weight * value[row, column]


@parallel_kernel
def fill_weights(leaf_train, leaf_test, row_share, first_row, weights):
    """Add up, over trees, the share of each train row in the leaf of each test row.

    Parameters
    ----------
    leaf_train : ndarray of unsigned integer, shape (n_trees, n_train)
        Leaf of each train row within each tree.
    leaf_test : ndarray of unsigned integer, shape (n_trees, n_test)
        Leaf of each test row within each tree.
    row_share : ndarray of float64, shape (n_trees, n_train)
        Share of each train row in the value of its leaf.
    first_row : int64
        Train row of the first line of `weights`.
    weights : ndarray of float64, shape (n_lines, n_test)
        Output, overwritten. Each thread owns lines.
    """
    for line in prange(weights.shape[0]):
        row = first_row + line
        of_row = weights[line]
        of_row[:] = 0.0
        for tree in range(leaf_train.shape[0]):
            share = row_share[tree, row]
            if share != 0.0:
                row_leaf = leaf_train[tree, row]
                test_leaf = leaf_test[tree]
                for test in range(of_row.size):
                    if test_leaf[test] == row_leaf:
                        of_row[test] += share


@parallel_kernel
def refit_means(
    leaf,
    leaves,
    shape,
    value,
    tree_weight,
    leaf_total,
    node_total,
    removed_start,
    removed_row,
    leaf_value,
):
    """Average each leaf's targets again, once for each set of rows that is left out.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`; the leaf values of `leaves` are those with all rows.
    shape : TreeShape
        Nodes and leaves.
    value : ndarray of float64, shape (n_rows, leaf_width)
        What a leaf averages: the target, or its one-hot encoding.
    tree_weight : ndarray of float64, shape (n_trees, n_rows)
        Weight of each row in each tree; 0 where it was not drawn.
    leaf_total : ndarray of float64, shape (n_leaves, 2 + leaf_width)
        Number of rows of non-zero weight in each leaf, and sums of their weights and
        weighted targets.
    node_total : ndarray of float64, shape (n_nodes, 2 + leaf_width)
        The same of all leaves below each node.
    removed_start, removed_row
        See `refit_boosting`.
    leaf_value : ndarray of float64, shape (n_batches, n_leaves, leaf_width, \
REMOVAL_BATCH)
        Output, overwritten: leaf values, divided by the number of trees. A leaf that
        has no rows left takes the value of the nearest node above that has.

    Notes
    -----
    O(n_removed n_trees depth) time a set, and a copy of the leaf values.
    """
    n_trees = leaves.leaf_row.size
    leaf_width = leaf_value.shape[2]
    n_sums = leaf_total.shape[1]
    most_nodes = 0
    most_leaves = 0
    for tree in range(n_trees):
        most_nodes = max(
            most_nodes, shape.node_offset[tree + 1] - shape.node_offset[tree]
        )
        most_leaves = max(
            most_leaves, shape.leaf_offset[tree + 1] - shape.leaf_offset[tree]
        )
    for batch in prange(leaf_value.shape[0]):
        removed_leaf = np.zeros((most_leaves, n_sums))
        removed_node = np.zeros((most_nodes, n_sums))
        row_sum = np.empty(n_sums)
        for number in range(leaf_value.shape[1]):
            for column in range(leaf_width):
                leaf_value[batch, number, column, :] = leaves.leaf_value[number, column]
        for r in range(REMOVAL_BATCH):
            begin = removed_start[batch * REMOVAL_BATCH + r]
            end = removed_start[batch * REMOVAL_BATCH + r + 1]
            for tree in range(n_trees):
                tree_leaf = leaf[leaves.leaf_row[tree]]
                first_leaf = shape.leaf_offset[tree]
                first_node = shape.node_offset[tree]
                for entry in range(begin, end):
                    row = removed_row[entry]
                    if tree_weight[tree, row] == 0.0:
                        continue
                    row_sum[0] = 1.0
                    row_sum[1] = tree_weight[tree, row]
                    for column in range(leaf_width):
                        row_sum[2 + column] = row_sum[1] * value[row, column]
                    removed_leaf[tree_leaf[row]] += row_sum
                    node = shape.leaf_parent[first_leaf + tree_leaf[row]]
                    while node >= 0:
                        removed_node[node] += row_sum
                        node = shape.node_parent[first_node + node]
                for entry in range(begin, end):
                    local = tree_leaf[removed_row[entry]]
                    if removed_leaf[local, 0] == 0.0:
                        continue
                    total = leaf_total[first_leaf + local]
                    removed = removed_leaf[local]
                    node = shape.leaf_parent[first_leaf + local]
                    while total[0] <= removed[0] and node >= 0:
                        total = node_total[first_node + node]
                        removed = removed_node[node]
                        node = shape.node_parent[first_node + node]
                    for column in range(leaf_width):
                        # the mean, and how it moves: exact where little is removed
                        mean = total[2 + column] / total[1]
                        excess = removed[2 + column] - removed[1] * mean
                        moved = mean - excess / (total[1] - removed[1])
                        leaf_value[batch, first_leaf + local, column, r] = (
                            moved / n_trees
                        )
                for entry in range(begin, end):
                    local = tree_leaf[removed_row[entry]]
                    removed_leaf[local] = 0.0
                    node = shape.leaf_parent[first_leaf + local]
                    while node >= 0 and removed_node[node, 0] > 0.0:
                        removed_node[node] = 0.0
                        node = shape.node_parent[first_node + node]
