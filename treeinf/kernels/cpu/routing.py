"""Route rows to leaves."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel, scalar_rule
from treeinf.kernels.ranked_trees import CATEGORICAL, MASK_ROWS, MASK_WORDS
from treeinf.kernels.rules import bits_of, in_category_set, read_value
from treeinf.kernels.simd import at_most, number_masks

__all__ = ["fingerprint_rows", "route_masks", "route_walk"]

_TILE_ROWS = 256
_TILE_FEATURES = 16


@linear_kernel
def route_walk(X, trees, leaf):
    """Walk each row from the root of each tree to its leaf.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows.
    trees : FlatTrees
        The ensemble.
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Output, overwritten: leaf of each row within each tree.

    Notes
    -----
    O(n_rows n_trees depth) time; for trees of any size. Each thread owns tiles of rows.
    """
    n_rows = X.shape[0]
    n_trees = trees.node_offset.size - 1
    for tile in prange((n_rows + _TILE_ROWS - 1) // _TILE_ROWS):
        begin = tile * _TILE_ROWS
        end = min(n_rows, begin + _TILE_ROWS)
        for tree in range(n_trees):
            first = trees.node_offset[tree]
            if trees.node_offset[tree + 1] == first:
                for row in range(begin, end):
                    leaf[tree, row] = 0
                continue
            for row in range(begin, end):
                child = 0
                while child >= 0:
                    node = first + child
                    value = read_value(
                        X[row, trees.feature[node]],
                        trees.zero_threshold,
                        trees.round_to_single,
                    )
                    if np.isnan(value):
                        goes_left = trees.nan_left[node]
                    elif trees.is_categorical[node]:
                        goes_left = in_category_set(
                            value,
                            trees.category_floor,
                            trees.category_bits,
                            trees.category_offset[node],
                            trees.category_offset[node + 1],
                        )
                    elif value == 0.0:
                        goes_left = trees.zero_left[node]
                    else:
                        goes_left = value <= trees.threshold[node]
                    child = trees.left[node] if goes_left else trees.right[node]
                leaf[tree, row] = ~child


@linear_kernel
def route_masks(X, trees, ranked, leaf):
    """Send tiles of rows down every branch of every tree, as masks of bits.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows.
    trees : FlatTrees
        The ensemble.
    ranked : RankedTrees
        The same, ranked.
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Output, overwritten: leaf of each row within each tree.

    Notes
    -----
    O(n_rows n_nodes) time, but only a few instructions for a node and 64 rows, and no
    branch that depends on a row: a node splits the mask of the rows that reach it by
    comparing 64 ranks. O(n_rows n_features log n_thresholds) for the ranks. Each thread
    owns tiles of rows.

    Ranks and bit vectors are QuickScorer's, transposed: each leaf has a bit for every
    row, in place of a bit for every leaf in each row.

    References
    ----------
    Lucchese et al., "QuickScorer: a Fast Algorithm to Rank Documents with Additive
    Ensembles of Regression Trees", SIGIR 2015.
    """
    n_rows = X.shape[0]
    for tile in prange((n_rows + MASK_ROWS - 1) // MASK_ROWS):
        begin = tile * MASK_ROWS
        n = min(MASK_ROWS, n_rows - begin)
        rows = X[begin : begin + n]
        ranks = np.zeros(ranked.nan_rank.size * MASK_ROWS, ranked.nan_rank.dtype)
        _rank_values(rows, trees, ranked, ranks)
        masks = np.empty(ranked.n_masks * MASK_WORDS, np.uint64)
        numbers = np.empty(MASK_ROWS, leaf.dtype)
        for tree in range(trees.node_offset.size - 1):
            first = trees.node_offset[tree]
            n_nodes = trees.node_offset[tree + 1] - first
            _split_masks(rows, trees, ranked, first, n_nodes, ranks, masks)
            for word in range(MASK_WORDS):
                number_masks(
                    *(masks, n_nodes * MASK_WORDS + word, MASK_WORDS, n_nodes + 1),
                    *(numbers, 64 * word),
                )
            tree_leaf = leaf[tree, begin : begin + n]
            for i in range(n):
                tree_leaf[i] = numbers[i]


@kernel
def _rank_values(rows, trees, ranked, ranks):
    """Rank the values of a tile of rows, column by column.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, n_features)
        The tile, at most `MASK_ROWS` rows.
    trees, ranked
        See `route_masks`.
    ranks : ndarray of unsigned integer, shape (n_columns * MASK_ROWS,)
        Output; the first n entries of each column are overwritten.
    """
    n = rows.shape[0]
    values = np.empty((_TILE_FEATURES, MASK_ROWS))
    rank = np.empty(MASK_ROWS, np.int64)
    for start in range(0, ranked.feature.size, _TILE_FEATURES):
        width = min(_TILE_FEATURES, ranked.feature.size - start)
        for i in range(n):
            for j in range(width):
                values[j, i] = read_value(
                    rows[i, np.uint64(ranked.feature[start + j])],
                    trees.zero_threshold,
                    trees.round_to_single,
                )
        for j in range(width):
            used = start + j
            first, last = (
                ranked.threshold_offset[used],
                ranked.threshold_offset[used + 1],
            )
            _count_below(values[j, :n], ranked.threshold[first:last], rank)
            for column in range(
                ranked.column_offset[used], ranked.column_offset[used + 1]
            ):
                zero_rank = np.int64(ranked.zero_rank[column])
                nan_rank = np.int64(ranked.nan_rank[column])
                of_column = ranks[column * MASK_ROWS : column * MASK_ROWS + n]
                for i in range(n):
                    value = values[j, i]
                    number = zero_rank if value == 0.0 else rank[i]
                    of_column[i] = nan_rank if value != value else number


@kernel
def _count_below(values, thresholds, rank):
    """Count the thresholds below each value, by a binary search in step for all.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Values.
    thresholds : ndarray of float64, shape (n_thresholds,)
        Rising; at least one.
    rank : ndarray of int64, shape (>= n,)
        Output; 0 for NaN.
    """
    for i in range(values.size):
        rank[i] = 0
    n_left = thresholds.size
    while n_left > 1:
        half = n_left >> 1
        for i in range(values.size):
            below = rank[i] + half
            is_below = thresholds[np.uint64(below - 1)] < values[i]
            rank[i] = below if is_below else rank[i]
        n_left -= half
    for i in range(values.size):
        rank[i] += np.int64(thresholds[np.uint64(rank[i])] < values[i])


@kernel
def _split_masks(rows, trees, ranked, first, n_nodes, ranks, masks):
    """Find which rows of a tile reach each node and leaf of a tree.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, n_features)
        The tile.
    trees, ranked
        See `route_masks`.
    first, n_nodes : int64
        The tree's nodes.
    ranks : ndarray of unsigned integer, shape (n_columns * MASK_ROWS,)
        Ranks of the tile.
    masks : ndarray of uint64, shape (>= n_masks * MASK_WORDS,)
        Output: `MASK_WORDS` words for each node, then for each leaf.
    """
    words = np.uint64(MASK_WORDS)
    for word in range(MASK_WORDS):
        masks[word] = ~np.uint64(0)
    for number in range(n_nodes):
        # LLVM does not check unsigned indices for counting from the end
        node = np.uint64(first + number)
        at = np.uint64(number) * words
        begin, rank = ranked.node[node, 0], ranked.node[node, 1]
        left = np.uint64(ranked.node[node, 2]) * words
        right = np.uint64(ranked.node[node, 3]) * words
        for word in range(MASK_WORDS):
            w = np.uint64(word)
            reached = masks[at + w]
            if begin == CATEGORICAL:
                goes_left = _test_set(rows[64 * word :], reached, trees, np.int64(rank))
            else:
                goes_left = at_most(
                    ranks,
                    np.uint64(begin) + np.uint64(64) * w,
                    ranked.nan_rank.dtype.type(rank),
                )
            masks[left + w] = reached & goes_left
            masks[right + w] = reached & ~goes_left


@kernel
def _test_set(rows, reached, trees, node):
    """Return which of up to 64 rows go left at a categorical node.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, n_features)
        The first 64 are tested; there may be fewer, or none.
    reached : uint64
        Mask of those that reach the node.
    trees : FlatTrees
        The ensemble.
    node : int64
        The node.

    Returns
    -------
    uint64
    """
    goes_left = np.uint64(0)
    for i in range(min(rows.shape[0], 64)):
        bit = np.uint64(1) << np.uint64(i)
        if reached & bit:
            value = read_value(
                rows[i, trees.feature[node]],
                trees.zero_threshold,
                trees.round_to_single,
            )
            if np.isnan(value):
                is_left = trees.nan_left[node]
            else:
                is_left = in_category_set(
                    value,
                    trees.category_floor,
                    trees.category_bits,
                    trees.category_offset[node],
                    trees.category_offset[node + 1],
                )
            if is_left:
                goes_left |= bit
    return goes_left


@linear_kernel
def fingerprint_rows(X, y, fingerprint):
    """Hash each row and its target, so that equal rows can be found.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows; -0.0 and 0.0 are the same, and so are all NaN.
    y : ndarray of float64, shape (n_rows,)
        Targets.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Output, overwritten.

    Notes
    -----
    The sum over the columns of the splitmix64 hash (G. L. Steele et al., OOPSLA 2014)
    of the value's bits and the number of the column, which LLVM vectorises; two
    different rows share a fingerprint once in 2**64 pairs.
    """
    n_features = X.shape[1]
    for row in prange(X.shape[0]):
        total = _mix(y[row], n_features)
        for feature in range(n_features):
            total += _mix(X[row, feature], feature)
        fingerprint[row] = total


@scalar_rule
def _mix(value, column):
    """Hash a value and the number of its column."""
    bits = np.uint64(1) if np.isnan(value) else bits_of(value + 0.0)
    state = bits + np.uint64(column + 1) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
