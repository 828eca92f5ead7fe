"""Products of row factors with leaf factors: the matrix of influence, and its best.

Row factors are those of ``contraction.py``, a run of rows at a time.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import (
    kernel,
    linear_kernel,
    parallel_kernel,
    scalar_rule,
)
from treeinf.kernels.simd import (
    TERMS_AT_ONCE,
    add_lines,
    copy_line,
    fetch_ahead,
    make_room,
)

__all__ = [
    "add_product",
    "contract_dense",
    "contract_sparse",
    "group_rows_by_leaf",
    "merge_top",
    "tile_factors",
]

LINE_BLOCK = 512
"""Lines of a dense product that one thread takes at a time."""

TILE_RUN = 8
"""Tiles that one thread takes at a time: 6 MB with 100 trees of 31 leaves."""

PRODUCT_LINES = 64
"""Lines of the product of the base scores that one thread takes at a time."""

FETCH_LINES = 16
"""Lines of a dense product between two askings for numbers of the next trees."""

FETCHED_AHEAD = 64
"""Most numbers of the next trees that are asked for by a line: more than that would
hardly be used."""


@linear_kernel
def group_rows_by_leaf(leaf, leaf_offset, leaf_row, start, row):
    """List the rows of each leaf, leaf by leaf.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Line of `leaf` that each tree reads.
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
    group_target,
    group_factor,
    n_targets,
    first_target,
    influence,
):
    """Multiply row factors by the factors of the targets that share a leaf.

    Parameters
    ----------
    leaf, leaves
        Rows and ensemble, see `replay`.
    first_row : int64
        Row of the first line of `factor` and `influence`.
    factor : ndarray of float64, shape (n_lines, n_trees * leaf_width)
        From `stage_factors`.
    group_start, group_target : ndarray of int64 and int32
        Targets of each leaf, see `group_rows_by_leaf`.
    group_factor : ndarray of float64, shape (n_trees * n_targets, leaf_width)
        Factor of each entry of `group_target`.
    n_targets : int64
        Targets in the group.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the group's columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees (1 + targets that share a leaf)). Each thread owns lines of
    the output and adds in the order of the trees.
    """
    n_trees = leaves.leaf_row.size
    leaf_width = leaves.leaf_value.shape[1]
    for line in prange(influence.shape[0]):
        sums = influence[line, first_target : first_target + n_targets]
        sums[:] = 0.0
        for tree in range(n_trees):
            number = (
                leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
            )
            for column in range(leaf_width):
                value = np.float64(factor[line, tree * leaf_width + column])
                for entry in range(group_start[number], group_start[number + 1]):
                    sums[group_target[entry]] += value * group_factor[entry, column]


@parallel_kernel
def tile_factors(leaf_factor, tiles):
    """Lay leaf factors out as `contract_dense` reads them.

    Parameters
    ----------
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a change of each leaf does to each target.
    tiles : ndarray of float64, shape (n_tiles, n_leaves * leaf_width, tile_width)
        Output, overwritten: a tile for each run of `tile_width` targets; 0 behind the
        last target.
    """
    leaf_width, n_targets = leaf_factor.shape[1:]
    n_tiles, n_lines, tile_width = tiles.shape
    for task in prange(n_tiles * n_lines):
        tile, line = task // n_lines, task % n_lines
        own = leaf_factor[line // leaf_width, line % leaf_width]
        begin = tile * tile_width
        n = min(tile_width, n_targets - begin)
        tiles[tile, line, :n] = own[begin : begin + n]
        tiles[tile, line, n:] = 0.0


@parallel_kernel
def contract_dense(
    leaf, leaves, first_row, factor, tiles, n_targets, first_target, influence
):
    """Multiply row factors by a factor for every leaf and target.

    Parameters
    ----------
    leaf, leaves, first_row, factor
        See `contract_sparse`; of single precision where `tiles` are.
    tiles : ndarray of float64, shape (n_tiles, n_leaves * leaf_width, tile_width)
        What a change of each leaf does to each target, see `tile_factors`; or of
        float32. `tile_width` is one of `LINE_WIDTHS`.
    n_targets : int64
        Number of targets.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the targets' columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees n_targets). Each thread owns blocks of lines by runs of
    tiles, which stay in the last cache for all blocks. A tile is read a few trees at a
    time, whose factors mostly stay in the first cache while all lines of the block
    pass; meanwhile those of the next trees are fetched. Products and sums are in double
    precision.
    """
    tile_width = tiles.shape[2]
    n_lines, n_terms = factor.shape
    n_blocks = (n_lines + LINE_BLOCK - 1) // LINE_BLOCK
    block_size = (n_lines + n_blocks - 1) // max(n_blocks, 1)
    n_runs = (tiles.shape[0] + TILE_RUN - 1) // TILE_RUN
    for task in prange(n_runs * n_blocks):
        first_line = task % n_blocks * block_size
        n_own = min(block_size, n_lines - first_line)
        own = factor[first_line : first_line + n_own].reshape(n_own * n_terms)
        where = np.empty(n_terms * n_own, np.uint32)
        _place_lines(leaf, leaves, first_row + first_line, n_own, tile_width, where)
        sums = make_room(n_own * tile_width)
        first_tile = task // n_blocks * TILE_RUN
        for number in range(first_tile, min(first_tile + TILE_RUN, tiles.shape[0])):
            _add_trees(leaves, where, own, tiles[number], n_own, sums)
            begin = number * tile_width
            n = min(tile_width, n_targets - begin)
            begin += first_target
            for line in range(n_own):
                given = sums[line * tile_width : line * tile_width + n]
                copy_line(given, influence[first_line + line, begin : begin + n])


@kernel
def _add_trees(leaves, where, factor, tile, n_lines, sums):
    """Add the products of lines with a tile over all trees.

    Parameters
    ----------
    leaves : FlatLeaves
        The ensemble's leaves.
    where : ndarray of uint32, shape (n_trees * leaf_width * n_lines,)
        See `_place_lines`.
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
    # those of 8 trees of 31 leaves are 63 kB, which mostly stay in the first cache
    n_together = max(1, TERMS_AT_ONCE // leaf_width)
    numbers = tile.reshape(tile.size)
    sums[:] = 0.0
    for first in range(0, n_trees, n_together):
        after = min(first + n_together, n_trees)
        last = min(after + n_together, n_trees)
        begin = leaves.leaf_offset[after] * leaf_width * tile_width
        end = leaves.leaf_offset[last] * leaf_width * tile_width
        ahead = min((end - begin) // n_lines + 1, FETCHED_AHEAD) * FETCH_LINES
        place, n = first * leaf_width, (after - first) * leaf_width
        for line in range(0, n_lines, FETCH_LINES):
            fetch_ahead(numbers, begin, min(begin + ahead, end))
            begin += ahead
            add_lines(
                *(tile_width, numbers, where[place * n_lines + line :], n_lines),
                *(factor[line * n_terms + place :], n_terms, n),
                *(sums[line * tile_width :], min(FETCH_LINES, n_lines - line)),
            )


@kernel
def _place_lines(leaf, leaves, first_row, n_rows, tile_width, where):
    """Write where in a tile the lines of rows' leaves begin, tree by tree.

    Parameters
    ----------
    leaf, leaves
        Rows and ensemble, see `replay`.
    first_row, n_rows : int64
        The rows.
    tile_width : int64
        Numbers of a line.
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
def add_product(change, factor, first_target, influence):
    """Add a product of two matrices to columns of a block.

    Parameters
    ----------
    change : ndarray of float64, shape (n_lines, n_outputs)
        Numbers of the lines.
    factor : ndarray of float64, shape (n_outputs, n_targets)
        Numbers of the targets.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Changed in place, in the targets' columns: a line's products are summed up
        before they are added.
    """
    n_outputs, n_targets = factor.shape
    n_lines = change.shape[0]
    for block in prange((n_lines + PRODUCT_LINES - 1) // PRODUCT_LINES):
        total = np.empty(n_targets)
        begin = block * PRODUCT_LINES
        for line in range(begin, min(begin + PRODUCT_LINES, n_lines)):
            total[:] = 0.0
            for k in range(n_outputs):
                value = change[line, k]
                for t in range(n_targets):
                    total[t] += value * factor[k, t]
            sums = influence[line, first_target : first_target + n_targets]
            for t in range(n_targets):
                sums[t] += total[t]


@scalar_rule
def _rank_key(value, sign):
    """Give the number that rows are ranked by, the largest first."""
    return abs(value) if sign == 0 else sign * value


@linear_kernel
def merge_top(influence, first_row, sign, best_row, best_value):
    """Merge a block of rows into each target's list of best rows.

    Parameters
    ----------
    influence : ndarray of float64, shape (n_lines, n_targets)
        Influence of rows ``first_row + line``. NaN is left out of the lists.
    first_row : int64
        Row of the first line.
    sign : int64
        1 ranks the largest first, -1 the smallest, 0 the largest size.
    best_row : ndarray of int64, shape (n_targets, k)
        Changed in place: rows from best to worst.
    best_value : ndarray of float64, shape (n_targets, k)
        Changed in place: their influence; NaN where there is none yet.

    Notes
    -----
    A sorted list by insertion: rows come in rising order and only a strictly better one
    moves another down, so that ties keep the lower row. Each thread owns targets.
    """
    for target in prange(influence.shape[1]):
        _merge_target(influence, first_row, sign, target, best_row, best_value)


@scalar_rule
def _merge_target(influence, first_row, sign, target, best_row, best_value):
    """Merge a block of rows into one target's list of best rows; see `merge_top`."""
    k = best_row.shape[1]
    for line in range(influence.shape[0]):
        value = influence[line, target]
        key = _rank_key(value, sign)
        if np.isnan(value) or _rank_key(best_value[target, k - 1], sign) >= key:
            continue
        place = k - 1
        while place > 0 and not _rank_key(best_value[target, place - 1], sign) >= key:
            best_value[target, place] = best_value[target, place - 1]
            best_row[target, place] = best_row[target, place - 1]
            place -= 1
        best_value[target, place] = value
        best_row[target, place] = first_row + line
