"""Products with the features that a row's leaves make, without building them.

A row's features are a sum over trees of a vector of its leaf. A product with all rows
is then a gather of numbers of the leaves, and a product with their transpose a sum of
rows over leaves; what a leaf's vector is, these kernels need not know.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel

__all__ = [
    "add_shared_leaves",
    "compare_leaves",
    "gather_leaves",
    "sum_rows_by_leaf",
]

_BLOCK_NUMBERS = 4096
_TOGETHER = 4


@kernel
def _gather_column(leaf, leaf_offset, leaf_row, table, begin, sums):
    """Add up one number a leaf over a run of rows, four trees in a pass.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `gather_leaves`.
    table : ndarray of float64, shape (n_leaves,)
        Number of each leaf.
    begin : int64
        First row.
    sums : ndarray of float64, shape (n,)
        Changed in place.

    Notes
    -----
    The sums of a row stay in a register over the four trees, which is worth a factor of
    2.9; they are added in the order of the trees all the same.
    """
    n, n_trees = sums.size, leaf_row.size
    n_whole = n_trees - n_trees % _TOGETHER
    for tree in range(0, n_whole, _TOGETHER):
        first = leaf[leaf_row[tree], begin : begin + n]
        second = leaf[leaf_row[tree + 1], begin : begin + n]
        third = leaf[leaf_row[tree + 2], begin : begin + n]
        fourth = leaf[leaf_row[tree + 3], begin : begin + n]
        a = table[leaf_offset[tree] : leaf_offset[tree + 1]]
        b = table[leaf_offset[tree + 1] : leaf_offset[tree + 2]]
        c = table[leaf_offset[tree + 2] : leaf_offset[tree + 3]]
        d = table[leaf_offset[tree + 3] : leaf_offset[tree + 4]]
        for i in range(n):
            sums[i] = (((sums[i] + a[first[i]]) + b[second[i]]) + c[third[i]]) + d[
                fourth[i]
            ]
    for tree in range(n_whole, n_trees):
        base = leaf_offset[tree]
        tree_leaf = leaf[leaf_row[tree], begin : begin + n]
        for i in range(n):
            sums[i] += table[base + tree_leaf[i]]


@parallel_kernel
def gather_leaves(leaf, leaf_offset, leaf_row, table, first_row, first_column, total):
    """Add up numbers of the leaves that each row is in.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Line of `leaf` that each tree reads.
    table : ndarray of float64, shape (n_leaves, n_columns)
        Numbers of each leaf.
    first_row : int64
        Row of the first line of `total`.
    first_column : int64
        Column of `total` for column 0 of `table`.
    total : ndarray of float64, shape (n_lines, >= first_column + n_columns)
        Output; the columns are overwritten.

    Notes
    -----
    O(n_lines n_trees n_columns) time. Each thread owns blocks of rows, and adds in the
    order of the trees.
    """
    n_lines, n_columns = total.shape[0], table.shape[1]
    flat = table.reshape(table.size)
    block_rows = max(1, min(1024, _BLOCK_NUMBERS // max(n_columns, 1)))
    for block in prange((n_lines + block_rows - 1) // block_rows):
        line = block * block_rows
        n = min(block_rows, n_lines - line)
        begin = first_row + line
        if n_columns == 1:
            sums = np.zeros(n)
            _gather_column(leaf, leaf_offset, leaf_row, flat, begin, sums)
            for i in range(n):
                total[line + i, first_column] = sums[i]
            continue
        for i in range(n):
            for column in range(n_columns):
                total[line + i, first_column + column] = 0.0
        for tree in range(leaf_row.size):
            first = leaf_offset[tree]
            tree_leaf = leaf[leaf_row[tree]]
            for i in range(n):
                number = first + tree_leaf[begin + i]
                for column in range(n_columns):
                    total[line + i, first_column + column] += table[number, column]


@parallel_kernel
def sum_rows_by_leaf(leaf, leaf_offset, leaf_row, value, total):
    """Add up numbers of the rows in each leaf.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `gather_leaves`.
    value : ndarray of float64, shape (n_rows, n_columns)
        Numbers of each row.
    total : ndarray of float64, shape (n_leaves, n_columns)
        Output, overwritten.

    Notes
    -----
    O(n_rows n_trees n_columns) time. Each thread owns trees, and adds in the order of
    the rows. Of one column, four trees are summed in a pass: rows that follow one
    another into the same leaf wait for each other less, a factor of 2.
    """
    n_rows, n_columns = value.shape
    n_trees = leaf_row.size
    flat, flat_value = total.reshape(total.size), value.reshape(value.size)
    n_together = _TOGETHER if n_columns == 1 else 1
    for group in prange((n_trees + n_together - 1) // n_together):
        begin = group * n_together
        end = min(n_trees, begin + n_together)
        for number in range(leaf_offset[begin], leaf_offset[end]):
            for column in range(n_columns):
                total[number, column] = 0.0
        if end - begin == _TOGETHER:
            first, second = leaf[leaf_row[begin]], leaf[leaf_row[begin + 1]]
            third, fourth = leaf[leaf_row[begin + 2]], leaf[leaf_row[begin + 3]]
            a = flat[leaf_offset[begin] : leaf_offset[begin + 1]]
            b = flat[leaf_offset[begin + 1] : leaf_offset[begin + 2]]
            c = flat[leaf_offset[begin + 2] : leaf_offset[begin + 3]]
            d = flat[leaf_offset[begin + 3] : leaf_offset[begin + 4]]
            for row in range(n_rows):
                number = flat_value[row]
                a[first[row]] += number
                b[second[row]] += number
                c[third[row]] += number
                d[fourth[row]] += number
            continue
        for tree in range(begin, end):
            base = leaf_offset[tree]
            tree_leaf = leaf[leaf_row[tree]]
            for row in range(n_rows):
                for column in range(n_columns):
                    total[base + tree_leaf[row], column] += value[row, column]


@parallel_kernel
def add_shared_leaves(
    leaf,
    leaf_offset,
    leaf_row,
    group_start,
    group_target,
    square,
    first_row,
    first_target,
    n_targets,
    product,
):
    """Add up a number of each leaf that a row and a target are both in.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `gather_leaves`.
    group_start, group_target : ndarray of int64 and int32
        Targets of each leaf, see `group_rows_by_leaf`.
    square : ndarray of float64, shape (n_leaves,)
        What sharing the leaf adds.
    first_row : int64
        Row of the first line of `product`.
    first_target : int64
        Column of `product` for target 0.
    n_targets : int64
        Targets in the group.
    product : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the targets' columns are overwritten.

    Notes
    -----
    O(n_lines n_trees (1 + targets that share a leaf)) time. Each thread owns lines, and
    adds in the order of the trees.
    """
    for line in prange(product.shape[0]):
        for target in range(n_targets):
            product[line, first_target + target] = 0.0
        for tree in range(leaf_row.size):
            number = leaf_offset[tree] + leaf[leaf_row[tree], first_row + line]
            for entry in range(group_start[number], group_start[number + 1]):
                product[line, first_target + group_target[entry]] += square[number]


@parallel_kernel
def compare_leaves(
    start, feature, value, leaf_offset, leaf_row, target_leaf, is_distance, table
):
    """Compare the vector of every leaf with that of each target's leaf in the tree.

    Parameters
    ----------
    start : ndarray of int64, shape (n_leaves + 1,)
        Where the vector of each leaf begins in `feature` and `value`.
    feature : ndarray of int32, shape (n_entries,)
        Features in which a vector is not 0, rising.
    value : ndarray of float64, shape (n_entries,)
        Its entries there.
    leaf_offset, leaf_row
        See `gather_leaves`.
    target_leaf : ndarray of unsigned integer, shape (n_structures, n_targets)
        Leaf of each target within each tree.
    is_distance : bool
        Give squared distances, else products.
    table : ndarray of float64, shape (n_leaves, n_targets)
        Output, overwritten. Features belong to one tree each, so that gathering these
        numbers over a row's leaves compares the row with the target.

    Notes
    -----
    O(n_leaves n_targets x entries of a vector) time. Each thread owns trees. Squared
    distances are sums of squares, so that they are 0 between equal vectors and nowhere
    the small difference of large numbers.
    """
    n_targets = table.shape[1]
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        line = target_leaf[leaf_row[tree]]
        for number in range(first, leaf_offset[tree + 1]):
            for target in range(n_targets):
                here, there = start[number], start[first + line[target]]
                here_end, there_end = start[number + 1], start[first + line[target] + 1]
                total = 0.0
                while here < here_end and there < there_end:
                    if feature[here] == feature[there]:
                        if is_distance:
                            total += (value[here] - value[there]) ** 2
                        else:
                            total += value[here] * value[there]
                        here += 1
                        there += 1
                    elif feature[here] < feature[there]:
                        if is_distance:
                            total += value[here] ** 2
                        here += 1
                    else:
                        if is_distance:
                            total += value[there] ** 2
                        there += 1
                if is_distance:
                    for entry in range(here, here_end):
                        total += value[entry] ** 2
                    for entry in range(there, there_end):
                        total += value[entry] ** 2
                table[number, target] = total
