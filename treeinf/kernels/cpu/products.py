"""Products of row factors with leaf factors: the influence matrix, and its top rows.

Row factors are those of ``contraction.py``, a batch of rows at a time.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel, parallel_kernel
from treeinf.kernels.rules import merge_query
from treeinf.kernels.simd import (
    TERMS_AT_ONCE,
    add_lines,
    aligned_buffer,
    copy_line,
    prefetch,
)

__all__ = [
    "add_product",
    "contract_dense",
    "contract_sparse",
    "group_rows_by_leaf",
    "merge_top",
    "tile_factors",
]

LINE_BATCH = 512
"""Lines of a dense product that a thread computes at a time."""

TILE_BATCH = 8
"""Tiles that a thread reads at a time: 6 MB with 100 trees of 31 leaves."""

PRODUCT_LINES = 64
"""Lines of the product with base scores that a thread computes at a time."""

PREFETCH_LINES = 16
"""Lines of a dense product between two prefetches of factors of the next trees."""

MOST_PREFETCHED = 64
"""Most factors of the next trees to prefetch a line: more would hardly be used."""


@linear_kernel
def group_rows_by_leaf(leaf, leaf_offset, leaf_row, start, row):
    """List the rows of each leaf, leaf by leaf.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row
        See `treeinf.kernels.flat`.
    start : ndarray of int64, shape (n_leaves + 1,)
        Output, overwritten: the rows of leaf l are ``row[start[l] : start[l + 1]]``.
    row : ndarray of int32, shape (n_trees * n_rows,)
        Output, overwritten: rows in rising order within each leaf.
    """
    n_trees, n_rows = leaf_row.size, leaf.shape[1]
    for tree in prange(n_trees):
        first = leaf_offset[tree]
        tree_leaf = leaf[leaf_row[tree]]
        n_leaves = leaf_offset[tree + 1] - first
        position = np.zeros(n_leaves + 1, np.int64)
        for i in range(n_rows):
            position[tree_leaf[i] + 1] += 1
        position[0] = tree * n_rows
        for number in range(n_leaves):
            position[number + 1] += position[number]
            start[first + number] = position[number]
        for i in range(n_rows):
            row[position[tree_leaf[i]]] = i
            position[tree_leaf[i]] += 1
    start[start.size - 1] = n_trees * n_rows


@linear_kernel
def contract_sparse(
    leaf,
    leaves,
    first_row,
    factor,
    group_start,
    group_query,
    group_factor,
    n_queries,
    first_query,
    influence,
):
    """Multiply row factors by the factors of the queries that share a leaf.

    Parameters
    ----------
    leaf, leaves, first_row, group_start, group_query, n_queries, first_query
        See `treeinf.kernels.flat`.
    factor : ndarray of float64 or float32, shape (n_lines, n_trees * leaf_width)
        From `stage_factors`.
    group_factor : ndarray of float64 or float32, \
shape (n_trees * n_queries, leaf_width)
        Factor of each entry of `group_query`.
    influence : ndarray of float64, shape (n_lines, >= first_query + n_queries)
        Output; the queries' columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees (1 + queries that share a leaf)). Each thread owns lines of
    the output and adds in the order of the trees.
    """
    n_trees = leaves.leaf_row.size
    leaf_width = leaves.leaf_value.shape[1]
    for line in prange(influence.shape[0]):
        sums = influence[line, first_query : first_query + n_queries]
        sums[:] = 0.0
        for tree in range(n_trees):
            number = (
                leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
            )
            for column in range(leaf_width):
                value = np.float64(factor[line, tree * leaf_width + column])
                for entry in range(group_start[number], group_start[number + 1]):
                    sums[group_query[entry]] += value * group_factor[entry, column]


@parallel_kernel
def tile_factors(leaf_factor, tiles):
    """Lay leaf factors out as `contract_dense` reads them.

    Parameters
    ----------
    leaf_factor
        See `treeinf.kernels.flat`.
    tiles : ndarray of float64, shape (n_tiles, n_leaves * leaf_width, tile_width)
        Output, overwritten: a tile for each `tile_width` queries; 0 behind the last
        query.
    """
    leaf_width, n_queries = leaf_factor.shape[1:]
    n_tiles, n_lines, tile_width = tiles.shape
    for task in prange(n_tiles * n_lines):
        tile, line = task // n_lines, task % n_lines
        of_queries = leaf_factor[line // leaf_width, line % leaf_width]
        begin = tile * tile_width
        n = min(tile_width, n_queries - begin)
        tiles[tile, line, :n] = of_queries[begin : begin + n]
        tiles[tile, line, n:] = 0.0


@parallel_kernel
def contract_dense(
    leaf, leaves, first_row, factor, tiles, n_queries, first_query, influence
):
    """Multiply row factors by a factor for every leaf and query.

    Parameters
    ----------
    leaf, leaves, first_row, factor, n_queries, first_query, influence
        See `contract_sparse`; `factor` is of single precision where `tiles` are.
    tiles : ndarray of float64 or float32, \
shape (n_tiles, n_leaves * leaf_width, tile_width)
        Leaf factors, see `tile_factors`; `tile_width` is one of `LINE_WIDTHS`.

    Notes
    -----
    Time O(n_lines n_trees n_queries). Each thread owns batches of lines by batches of
    tiles, which stay in the L3 cache for all lines. A tile is read a few trees at a
    time, whose factors mostly stay in L1 while all lines of the batch pass; meanwhile
    those of the next trees are prefetched. Products and sums are in double precision.
    """
    tile_width = tiles.shape[2]
    n_lines, n_terms = factor.shape
    n_batches = (n_lines + LINE_BATCH - 1) // LINE_BATCH
    batch_lines = (n_lines + n_batches - 1) // max(n_batches, 1)
    n_tile_batches = (tiles.shape[0] + TILE_BATCH - 1) // TILE_BATCH
    for task in prange(n_tile_batches * n_batches):
        first_line = task % n_batches * batch_lines
        n_batch = min(batch_lines, n_lines - first_line)
        last_line = first_line + n_batch
        batch_factor = factor[first_line:last_line].reshape(n_batch * n_terms)
        where = np.empty(n_terms * n_batch, np.uint32)
        _locate_lines(leaf, leaves, first_row + first_line, n_batch, tile_width, where)
        sums = aligned_buffer(n_batch * tile_width)
        first_tile = task // n_batches * TILE_BATCH
        for number in range(first_tile, min(first_tile + TILE_BATCH, tiles.shape[0])):
            _add_trees(leaves, where, batch_factor, tiles[number], n_batch, sums)
            begin = number * tile_width
            n = min(tile_width, n_queries - begin)
            begin += first_query
            for line in range(n_batch):
                of_line = sums[line * tile_width : line * tile_width + n]
                copy_line(of_line, influence[first_line + line, begin : begin + n])


@kernel
def _add_trees(leaves, where, factor, tile, n_lines, sums):
    """Add the products of lines with a tile over all trees.

    Parameters
    ----------
    leaves
        See `treeinf.kernels.flat`.
    where : ndarray of uint32, shape (n_trees * leaf_width * n_lines,)
        See `_locate_lines`.
    factor : ndarray of float64 or float32, shape (n_lines * n_trees * leaf_width,)
        Row factors, line by line.
    tile : ndarray of float64 or float32, shape (n_leaves * leaf_width, tile_width)
        Leaf factors.
    n_lines : int64
        Number of lines.
    sums : ndarray of float64, shape (n_lines * tile_width,)
        Output, overwritten.
    """
    leaf_width = leaves.leaf_value.shape[1]
    n_trees, tile_width = leaves.leaf_row.size, tile.shape[1]
    n_terms = n_trees * leaf_width
    # factors of 8 trees of 31 leaves are 63 kB, which mostly stay in L1
    n_together = max(1, TERMS_AT_ONCE // leaf_width)
    numbers = tile.reshape(tile.size)
    sums[:] = 0.0
    for first in range(0, n_trees, n_together):
        after = min(first + n_together, n_trees)
        last = min(after + n_together, n_trees)
        begin = leaves.leaf_offset[after] * leaf_width * tile_width
        end = leaves.leaf_offset[last] * leaf_width * tile_width
        ahead = min((end - begin) // n_lines + 1, MOST_PREFETCHED) * PREFETCH_LINES
        term, n = first * leaf_width, (after - first) * leaf_width
        for line in range(0, n_lines, PREFETCH_LINES):
            prefetch(numbers, begin, min(begin + ahead, end))
            begin += ahead
            add_lines(
                *(tile_width, numbers, where[term * n_lines + line :], n_lines),
                *(factor[line * n_terms + term :], n_terms, n),
                *(sums[line * tile_width :], min(PREFETCH_LINES, n_lines - line)),
            )


@kernel
def _locate_lines(leaf, leaves, first_row, n_rows, tile_width, where):
    """Write where in a tile the lines of rows' leaves begin, tree by tree.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`.
    first_row, n_rows : int64
        The rows.
    tile_width : int64
        Width of a tile.
    where : ndarray of uint32, shape (n_trees * leaf_width * n_rows,)
        Output, overwritten, tree by tree.
    """
    leaf_width = leaves.leaf_value.shape[1]
    for tree in range(leaves.leaf_row.size):
        tree_leaf = leaf[leaves.leaf_row[tree], first_row : first_row + n_rows]
        for column in range(leaf_width):
            begin = leaves.leaf_offset[tree] * leaf_width + column
            to = where[(tree * leaf_width + column) * n_rows :]
            for i in range(n_rows):
                to[i] = (begin + np.int64(tree_leaf[i]) * leaf_width) * tile_width


@parallel_kernel
def add_product(change, factor, first_query, influence):
    """Add a product of two matrices to columns of an influence matrix.

    Parameters
    ----------
    change : ndarray of float64, shape (n_lines, n_outputs)
        Left matrix.
    factor : ndarray of float64, shape (n_outputs, n_queries)
        Right matrix.
    first_query : int64
        See `treeinf.kernels.flat`.
    influence : ndarray of float64, shape (n_lines, >= first_query + n_queries)
        Changed in place, in the queries' columns: products of a line are summed before
        they are added.
    """
    n_outputs, n_queries = factor.shape
    n_lines = change.shape[0]
    for batch in prange((n_lines + PRODUCT_LINES - 1) // PRODUCT_LINES):
        total = np.empty(n_queries)
        begin = batch * PRODUCT_LINES
        for line in range(begin, min(begin + PRODUCT_LINES, n_lines)):
            total[:] = 0.0
            for k in range(n_outputs):
                value = change[line, k]
                for t in range(n_queries):
                    total[t] += value * factor[k, t]
            sums = influence[line, first_query : first_query + n_queries]
            for t in range(n_queries):
                sums[t] += total[t]


@linear_kernel
def merge_top(influence, first_row, sign, best_row, best_value):
    """Merge a batch of rows into each query's list of top rows.

    Parameters
    ----------
    influence : ndarray of float64, shape (n_lines, n_queries)
        Influence of rows ``first_row + line``. NaN is left out of the lists.
    first_row : int64
        Row of the first line.
    sign : int64
        1 ranks the largest first, -1 the smallest, 0 the largest absolute value.
    best_row : ndarray of int64, shape (n_queries, k)
        Changed in place: rows from best to worst.
    best_value : ndarray of float64, shape (n_queries, k)
        Changed in place: their influence; NaN where there is none yet.

    Notes
    -----
    An insertion sort: rows come in rising order and only a strictly better one moves
    another down, so that the lower of two equal rows stays first. Each thread owns
    queries.
    """
    for query in prange(influence.shape[1]):
        merge_query(influence, first_row, sign, query, best_row, best_value)
