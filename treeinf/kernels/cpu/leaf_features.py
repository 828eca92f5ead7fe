"""Products with the matrix of leaf features, which is never built.

A row's features are a sum over trees of a vector of its leaf. A product with the matrix
of all rows is then a gather of values of the leaves, and a product with its transpose a
sum of rows by leaf.

Groups of trees can be read as one tree, so that rows have fewer leaf ids to look up: a
*merged leaf* is a combination of one leaf of each. The leaves are the digits of its
number within the group, that of the group's last tree the lowest.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel

__all__ = [
    "add_shared_leaves",
    "compare_leaves",
    "fold_leaves",
    "gather_leaves",
    "merge_leaves",
    "spread_leaves",
    "sum_rows_by_leaf",
]

_TILE_VALUES = 4096
_TREES_AT_ONCE = 4


@kernel
def _gather_column(leaf, leaf_offset, leaf_row, table, begin, sums):
    """Add up a value of each row's leaves for a tile of rows, four trees in a pass.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, begin
        See `treeinf.kernels.flat`.
    table : ndarray of float64, shape (n_leaves,)
        Value of each leaf.
    sums : ndarray of float64, shape (n,)
        Changed in place.

    Notes
    -----
    The sums of a row stay in a register over the four trees, which is worth a factor of
    2.9; they are added in the order of the trees all the same.
    """
    n, n_trees = sums.size, leaf_row.size
    n_whole = n_trees - n_trees % _TREES_AT_ONCE
    for tree in range(0, n_whole, _TREES_AT_ONCE):
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
    """Add up values of the leaves that each row is in.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, first_row
        See `treeinf.kernels.flat`.
    table : ndarray of float64, shape (n_leaves, n_columns)
        Values of each leaf.
    first_column : int64
        Column of `total` for column 0 of `table`.
    total : ndarray of float64, shape (n_lines, >= first_column + n_columns)
        Output; the columns are overwritten.

    Notes
    -----
    O(n_lines n_trees n_columns) time. Each thread owns tiles of rows, and adds in the
    order of the trees.
    """
    n_lines, n_columns = total.shape[0], table.shape[1]
    flat = table.reshape(table.size)
    tile_rows = max(1, min(1024, _TILE_VALUES // max(n_columns, 1)))
    for tile in prange((n_lines + tile_rows - 1) // tile_rows):
        line = tile * tile_rows
        n = min(tile_rows, n_lines - line)
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
    """Add up values of the rows in each leaf.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `treeinf.kernels.flat`.
    value : ndarray of float64, shape (n_rows, n_columns)
        Values of each row.
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
    n_at_once = _TREES_AT_ONCE if n_columns == 1 else 1
    for group in prange((n_trees + n_at_once - 1) // n_at_once):
        begin = group * n_at_once
        end = min(n_trees, begin + n_at_once)
        for number in range(leaf_offset[begin], leaf_offset[end]):
            for column in range(n_columns):
                total[number, column] = 0.0
        if end - begin == _TREES_AT_ONCE:
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
    group_query,
    square,
    first_row,
    first_query,
    n_queries,
    product,
):
    """Add up a value of each leaf that a row and a query share.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, group_start, group_query, first_row, first_query, \
n_queries
        See `treeinf.kernels.flat`.
    square : ndarray of float64, shape (n_leaves,)
        Value of each leaf.
    product : ndarray of float64, shape (n_lines, >= first_query + n_queries)
        Output; the queries' columns are overwritten.

    Notes
    -----
    O(n_lines n_trees (1 + queries that share a leaf)) time. Each thread owns lines, and
    adds in the order of the trees.
    """
    for line in prange(product.shape[0]):
        for query in range(n_queries):
            product[line, first_query + query] = 0.0
        for tree in range(leaf_row.size):
            number = leaf_offset[tree] + leaf[leaf_row[tree], first_row + line]
            for entry in range(group_start[number], group_start[number + 1]):
                product[line, first_query + group_query[entry]] += square[number]


@parallel_kernel
def compare_leaves(
    start, feature, value, leaf_offset, leaf_row, query_leaf, is_distance, table
):
    """Compare the vector of every leaf with that of each query's leaf in the tree.

    Parameters
    ----------
    start : ndarray of int64, shape (n_leaves + 1,)
        Where the vector of each leaf begins in `feature` and `value`.
    feature : ndarray of int32, shape (n_entries,)
        Features in which a vector is not 0, in rising order.
    value : ndarray of float64, shape (n_entries,)
        Its entries there.
    leaf_offset, leaf_row
        See `treeinf.kernels.flat`.
    query_leaf : ndarray of unsigned integer, shape (n_structures, n_queries)
        Leaf of each query within each tree.
    is_distance : bool
        Compute squared distances, else products.
    table : ndarray of float64, shape (n_leaves, n_queries)
        Output, overwritten. Each feature belongs to one tree, so that gathering these
        values over a row's leaves compares the row with the query.

    Notes
    -----
    O(n_leaves n_queries x entries of a vector) time. Each thread owns trees. Squared
    distances are sums of squares, so that they are 0 between equal vectors and nowhere
    the small difference of large numbers.
    """
    n_queries = table.shape[1]
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        line = query_leaf[leaf_row[tree]]
        for number in range(first, leaf_offset[tree + 1]):
            for query in range(n_queries):
                other = first + line[query]
                entry, other_entry = start[number], start[other]
                stop, other_stop = start[number + 1], start[other + 1]
                total = 0.0
                while entry < stop and other_entry < other_stop:
                    if feature[entry] == feature[other_entry]:
                        if is_distance:
                            total += (value[entry] - value[other_entry]) ** 2
                        else:
                            total += value[entry] * value[other_entry]
                        entry += 1
                        other_entry += 1
                    elif feature[entry] < feature[other_entry]:
                        if is_distance:
                            total += value[entry] ** 2
                        entry += 1
                    else:
                        if is_distance:
                            total += value[other_entry] ** 2
                        other_entry += 1
                if is_distance:
                    for rest in range(entry, stop):
                        total += value[rest] ** 2
                    for rest in range(other_entry, other_stop):
                        total += value[rest] ** 2
                table[number, query] = total


@parallel_kernel
def merge_leaves(leaf, leaf_offset, leaf_row, first_tree, merged):
    """Find the merged leaf of each row in each group.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `treeinf.kernels.flat`.
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
        tree_leaf = leaf[leaf_row[begin]]
        for row in range(n_rows):
            line[row] = tree_leaf[row]
        for tree in range(begin + 1, first_tree[group + 1]):
            size = np.uint32(leaf_offset[tree + 1] - leaf_offset[tree])
            tree_leaf = leaf[leaf_row[tree]]
            for row in range(n_rows):
                line[row] = line[row] * size + tree_leaf[row]


@kernel
def spread_leaves(table, leaf_offset, first_tree, merged_offset, merged):
    """Add up values of the leaves that a merged leaf combines.

    Parameters
    ----------
    table : ndarray of float64, shape (n_leaves, n_columns)
        Values of each leaf.
    leaf_offset
        See `treeinf.kernels.flat`.
    first_tree : ndarray of int64, shape (n_groups + 1,)
        First tree of each group.
    merged_offset : ndarray of int64, shape (n_groups + 1,)
        Number of each group's first merged leaf.
    merged : ndarray of float64, shape (n_merged, n_columns)
        Output, overwritten.

    Notes
    -----
    O(n_merged n_columns) time, inside the output: from its end, so that what is written
    lies behind what is still to be read.
    """
    n_columns = table.shape[1]
    for group in range(first_tree.size - 1):
        of_group = merged[merged_offset[group] : merged_offset[group + 1]]
        for column in range(n_columns):
            of_group[0, column] = 0.0
        n = 1
        for tree in range(first_tree[group], first_tree[group + 1]):
            first = leaf_offset[tree]
            size = leaf_offset[tree + 1] - first
            for number in range(n - 1, -1, -1):
                children = of_group[number * size : (number + 1) * size]
                for column in range(n_columns):
                    parent = of_group[number, column]
                    for leaf in range(size):
                        children[leaf, column] = parent + table[first + leaf, column]
            n *= size


@kernel
def fold_leaves(merged, leaf_offset, first_tree, merged_offset, total):
    """Add up values of merged leaves for each leaf that they combine.

    Parameters
    ----------
    merged : ndarray of float64, shape (n_merged, n_columns)
        Values of each merged leaf; overwritten.
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
        of_group = merged[merged_offset[group] : merged_offset[group + 1]]
        n = of_group.shape[0]
        for tree in range(first_tree[group + 1] - 1, first_tree[group] - 1, -1):
            first = leaf_offset[tree]
            size = leaf_offset[tree + 1] - first
            n //= size
            for number in range(n):
                for column in range(n_columns):
                    whole = 0.0
                    for leaf in range(size):
                        entry = of_group[number * size + leaf, column]
                        total[first + leaf, column] += entry
                        whole += entry
                    of_group[number, column] = whole
