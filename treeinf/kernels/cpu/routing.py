"""Rows to leaves."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import parallel_kernel, scalar_rule
from treeinf.kernels.rules import bits_of, in_category_set, lowest_bit

__all__ = ["fingerprint_rows", "route_bit_vectors", "route_walk"]

_BLOCK = 256


@scalar_rule
def _read(value, zero_threshold, round_to_single):
    """Read a value as the library does before it compares."""
    if round_to_single:
        value = np.float64(np.float32(value))
    if abs(value) <= zero_threshold:
        value = 0.0
    return value


@parallel_kernel
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
    O(n_rows n_trees depth) time; for trees of any size. Each thread owns blocks of
    rows.
    """
    n_rows = X.shape[0]
    n_trees = trees.node_offset.size - 1
    for block in prange((n_rows + _BLOCK - 1) // _BLOCK):
        begin = block * _BLOCK
        end = min(n_rows, begin + _BLOCK)
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
                    value = _read(
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


@parallel_kernel
def route_bit_vectors(X, trees, left_leaves, leaf):
    """Strike out, node by node, the leaves that a block of rows cannot reach.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows.
    trees : FlatTrees
        The ensemble; no tree has more leaves than `left_leaves` has bits.
    left_leaves : ndarray of uint32 or uint64, shape (n_nodes,)
        Leaves below each node's left child, from left to right. The narrower type
        handles twice the rows in one instruction.
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Output, overwritten: leaf of each row within each tree.

    Notes
    -----
    O(n_rows n_nodes) time without a branch that depends on a row, so that LLVM
    vectorises over rows. Each thread owns blocks of rows. See `plan_bit_vectors`.
    """
    n_rows, n_features = X.shape
    n_trees = trees.node_offset.size - 1
    everything = ~left_leaves.dtype.type(0)
    for block in prange((n_rows + _BLOCK - 1) // _BLOCK):
        begin = block * _BLOCK
        end = min(n_rows, begin + _BLOCK)
        n = end - begin
        values = np.zeros((n_features, _BLOCK))
        has_nan = np.zeros(n_features, np.bool_)
        for row in range(begin, end):
            for feature in range(n_features):
                value = _read(
                    X[row, feature], trees.zero_threshold, trees.round_to_single
                )
                values[feature, row - begin] = value
                if np.isnan(value):
                    has_nan[feature] = True
        reachable = np.empty(_BLOCK, left_leaves.dtype)
        for tree in range(n_trees):
            reachable[:] = everything
            for node in range(trees.node_offset[tree], trees.node_offset[tree + 1]):
                feature = trees.feature[node]
                threshold = trees.threshold[node]
                if_right = ~left_leaves[node]
                if trees.is_plain[node] and not has_nan[feature]:
                    for i in range(_BLOCK):
                        reachable[i] &= (
                            if_right if values[feature, i] > threshold else everything
                        )
                elif trees.is_categorical[node]:
                    start = trees.category_offset[node]
                    stop = trees.category_offset[node + 1]
                    for i in range(n):
                        value = values[feature, i]
                        if np.isnan(value):
                            goes_left = trees.nan_left[node]
                        else:
                            goes_left = in_category_set(
                                value,
                                trees.category_floor,
                                trees.category_bits,
                                start,
                                stop,
                            )
                        if not goes_left:
                            reachable[i] &= if_right
                else:
                    if_nan = everything if trees.nan_left[node] else if_right
                    if_zero = everything if trees.zero_left[node] else if_right
                    for i in range(_BLOCK):
                        value = values[feature, i]
                        kept = if_right if value > threshold else everything
                        kept = if_zero if value == 0.0 else kept
                        kept = if_nan if value != value else kept
                        reachable[i] &= kept
            first = trees.leaf_offset[tree]
            for i in range(n):
                leaf[tree, begin + i] = trees.leaf_at[first + lowest_bit(reachable[i])]


@parallel_kernel
def fingerprint_rows(X, target, fingerprint):
    """Hash each row and its target, so that equal rows can be found.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_features)
        Rows; -0.0 and 0.0 are the same, and so are all NaN.
    target : ndarray of float64, shape (n_rows,)
        Targets.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Output, overwritten.

    Notes
    -----
    The sum over the columns of what splitmix64 (G. L. Steele et al., OOPSLA 2014) makes
    of the value's bits and the number of the column, which LLVM vectorises; two
    different rows share a fingerprint once in 2**64 pairs.
    """
    n_features = X.shape[1]
    for row in prange(X.shape[0]):
        total = _mix(target[row], n_features)
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
