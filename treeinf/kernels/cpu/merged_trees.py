"""Groups of trees read as one: a leaf of each, taken together, is one merged leaf.

Rows then have fewer leaf ids to look up. A merged leaf is numbered within its group as
digits are: the leaf of the group's last tree counts ones.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel

__all__ = ["fold_leaves", "merge_leaves", "spread_leaves"]


@parallel_kernel
def merge_leaves(leaf, leaf_offset, leaf_row, first_tree, merged):
    """Find the merged leaf of each row in each group.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `gather_leaves`.
    first_tree : ndarray of int64, shape (n_groups + 1,)
        First tree of each group.
    merged : ndarray of unsigned integer, shape (n_groups, n_rows)
        Output, overwritten.

    Notes
    -----
    O(n_rows n_trees) time. Each thread owns groups.
    """
    n_rows = merged.shape[1]
    for group in prange(merged.shape[0]):
        line = merged[group]
        begin = first_tree[group]
        own = leaf[leaf_row[begin]]
        for row in range(n_rows):
            line[row] = own[row]
        for tree in range(begin + 1, first_tree[group + 1]):
            size = np.uint32(leaf_offset[tree + 1] - leaf_offset[tree])
            other = leaf[leaf_row[tree]]
            for row in range(n_rows):
                line[row] = line[row] * size + other[row]


@kernel
def spread_leaves(table, leaf_offset, first_tree, merged_offset, merged):
    """Add up numbers of the leaves that a merged leaf is made of.

    Parameters
    ----------
    table : ndarray of float64, shape (n_leaves, n_columns)
        Numbers of each leaf.
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    first_tree : ndarray of int64, shape (n_groups + 1,)
        First tree of each group.
    merged_offset : ndarray of int64, shape (n_groups + 1,)
        Number of each group's first merged leaf.
    merged : ndarray of float64, shape (n_merged, n_columns)
        Output, overwritten.

    Notes
    -----
    O(n_merged n_columns) time, in the room of the output: from its end, so that what is
    written lies behind what is still to be read.
    """
    n_columns = table.shape[1]
    for group in range(first_tree.size - 1):
        part = merged[merged_offset[group] : merged_offset[group + 1]]
        for column in range(n_columns):
            part[0, column] = 0.0
        n = 1
        for tree in range(first_tree[group], first_tree[group + 1]):
            first = leaf_offset[tree]
            size = leaf_offset[tree + 1] - first
            for number in range(n - 1, -1, -1):
                behind = part[number * size : (number + 1) * size]
                for column in range(n_columns):
                    before = part[number, column]
                    for leaf in range(size):
                        behind[leaf, column] = before + table[first + leaf, column]
            n *= size


@kernel
def fold_leaves(merged, leaf_offset, first_tree, merged_offset, total):
    """Add up numbers of merged leaves for each leaf that they are made of.

    Parameters
    ----------
    merged : ndarray of float64, shape (n_merged, n_columns)
        Numbers of each merged leaf; overwritten.
    leaf_offset, first_tree, merged_offset
        See `spread_leaves`.
    total : ndarray of float64, shape (n_leaves, n_columns)
        Output, overwritten.

    Notes
    -----
    O(n_merged n_columns) time: a group's trees are summed over one by one, the last
    first.
    """
    n_columns = total.shape[1]
    total[:] = 0.0
    for group in range(first_tree.size - 1):
        part = merged[merged_offset[group] : merged_offset[group + 1]]
        n = part.shape[0]
        for tree in range(first_tree[group + 1] - 1, first_tree[group] - 1, -1):
            first = leaf_offset[tree]
            size = leaf_offset[tree + 1] - first
            n //= size
            for number in range(n):
                for column in range(n_columns):
                    whole = 0.0
                    for leaf in range(size):
                        entry = part[number * size + leaf, column]
                        total[first + leaf, column] += entry
                        whole += entry
                    part[number, column] = whole
