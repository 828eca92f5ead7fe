"""The arrays that kernels receive of an ensemble."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE
from treeinf.kernels.compilation import scalar_rule

__all__ = ["MOST_BIT_LEAVES", "FlatLeaves", "FlatTrees", "plan_bit_vectors"]

MOST_BIT_LEAVES = 64
"""Largest tree that is routed by one word of bits a row."""


class FlatTrees(NamedTuple):
    """What routing reads; node and leaf numbers are local to their tree.

    Attributes
    ----------
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree's nodes and leaves begin.
    feature : ndarray of int32, shape (n_nodes,)
        Feature tested.
    threshold : ndarray of float64, shape (n_nodes,)
        Left if ``x <= threshold``.
    left, right : ndarray of int32, shape (n_nodes,)
        Children; ``~leaf`` for a leaf.
    nan_left, zero_left : ndarray of bool, shape (n_nodes,)
        Where NaN and where 0.0 go.
    is_plain : ndarray of bool, shape (n_nodes,)
        Numeric nodes in which 0.0 obeys the comparison.
    is_categorical : ndarray of bool, shape (n_nodes,)
        Left if the value is in the node's set.
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's set begins in `category_bits`.
    category_bits : ndarray of uint32, shape (n_words,)
        The sets.
    left_leaves : ndarray of uint64, shape (n_nodes,) or (0,)
        Bit p is on if the p-th leaf of the tree, from left to right, is below the left
        child. Empty where a tree has more than `MOST_BIT_LEAVES` leaves.
    leaf_at : ndarray of int32, shape (n_leaves,) or (0,)
        Leaf at each place from left to right, tree by tree.
    zero_threshold : float
        Values of at most this size are read as 0.0.
    category_floor : float
        Values of at most this are in no category set.
    round_to_single : bool
        Values are rounded to float32 before they are compared.
    """

    node_offset: NDArray[np.int64]
    leaf_offset: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    nan_left: NDArray[np.bool_]
    zero_left: NDArray[np.bool_]
    is_plain: NDArray[np.bool_]
    is_categorical: NDArray[np.bool_]
    category_offset: NDArray[np.int64]
    category_bits: NDArray[np.uint32]
    left_leaves: NDArray[np.uint64]
    leaf_at: NDArray[np.int32]
    zero_threshold: float
    category_floor: float
    round_to_single: bool


class FlatLeaves(NamedTuple):
    """What replay and contraction read; leaves are numbered over all trees.

    Attributes
    ----------
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_value : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values, shrinkage included.
    output : ndarray of int32, shape (n_trees,)
        Raw-score column of each tree; not read where `leaf_width` is not 1.
    iteration_start : ndarray of int64, shape (n_iterations + 1,)
        First tree of each iteration: its trees share one set of gradients.
    is_averaged : bool
        Gradients are taken at the base score in every iteration.
    leaf_row : ndarray of int32, shape (n_trees,)
        Row of each tree in the leaf ids: trees that share structure share it.
    """

    leaf_offset: NDArray[np.int64]
    leaf_value: NDArray[np.float64]
    output: NDArray[np.int32]
    iteration_start: NDArray[np.int64]
    is_averaged: bool
    leaf_row: NDArray[np.int32]


def plan_bit_vectors(
    node_offset: NDArray[np.int64],
    leaf_offset: NDArray[np.int64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Lay out the leaves of each tree from left to right as bits of one word.

    Parameters
    ----------
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree's nodes and leaves begin.
    left, right : ndarray of int32, shape (n_nodes,)
        Children.

    Returns
    -------
    left_leaves : ndarray of uint64, shape (n_nodes,)
        Leaves below each node's left child; empty if a tree has too many.
    leaf_at : ndarray of int32, shape (n_leaves,)
        Leaf at each place; empty likewise.

    Notes
    -----
    The idea is QuickScorer's: a row that goes right at a node loses the leaves below
    the left child, and the lowest leaf that is left in the end is the row's.

    References
    ----------
    Lucchese et al., "QuickScorer: a Fast Algorithm to Rank Documents with Additive
    Ensembles of Regression Trees", SIGIR 2015.
    """
    if np.diff(leaf_offset).max(initial=0) > MOST_BIT_LEAVES:
        return np.empty(0, np.uint64), np.empty(0, NODE)
    left_leaves = np.zeros(left.size, np.uint64)
    leaf_at = np.zeros(int(leaf_offset[-1]), NODE)
    _lay_out_leaves(node_offset, leaf_offset, left, right, left_leaves, leaf_at)
    return left_leaves, leaf_at


@scalar_rule
def _lay_out_leaves(node_offset, leaf_offset, left, right, left_leaves, leaf_at):
    """Walk each tree in order; every subtree is a run of places."""
    for tree in range(node_offset.size - 1):
        first = node_offset[tree]
        n_nodes = node_offset[tree + 1] - first
        place = 0
        if n_nodes == 0:
            leaf_at[leaf_offset[tree]] = 0
            continue
        stack = np.empty(n_nodes, np.int64)
        begin = np.empty(n_nodes, np.int64)
        state = np.zeros(n_nodes, np.int64)
        stack[0] = 0
        height = 1
        while height > 0:
            node = stack[height - 1]
            if state[node] == 0:
                begin[node] = place
                child = left[first + node]
            elif state[node] == 1:
                mask = np.uint64(0)
                for bit in range(begin[node], place):
                    mask |= np.uint64(1) << np.uint64(bit)
                left_leaves[first + node] = mask
                child = right[first + node]
            else:
                height -= 1
                continue
            state[node] += 1
            if child < 0:
                leaf_at[leaf_offset[tree] + place] = ~child
                place += 1
            else:
                stack[height] = child
                height += 1
