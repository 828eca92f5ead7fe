"""Flat arrays that kernels read: trees, leaves, rows and the loss.

Arguments of these names mean the same in all kernels, and are described here alone.

rows, leaves, loss : FlatRows, FlatLeaves, FlatLoss
    The rows, the ensemble's leaves, and the loss.
leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
    Leaf of each row within each tree; tree t reads line ``leaf_row[t]``.
leaf_offset : ndarray of int64, shape (n_trees + 1,)
    Number of each tree's first leaf, over all trees.
leaf_row : ndarray of int32, shape (n_trees,)
    Line of `leaf` that each tree reads.
bags : FlatBags or FlatRows
    Rows that each tree was fitted on; see ``formulas/bags.py``.
tree_leaf : ndarray of unsigned integer, shape (n_rows,)
    Leaf of every row within one tree: a line of `leaf`.
begin, n : int64
    First row of a tile, and its number of rows: few enough for their scores and
    derivatives to stay in the L1 cache.
score, gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
    Raw scores of a tile, and the derivatives of the loss there.
first_row : int64
    Row of the first line of the output, or of the row factors.
n_queries, first_query : int64
    Number of queries, and the column of the output for the first of them.
group_start, group_query : ndarray of int64, shape (n_leaves + 1,), and int32, shape \
(n_trees * n_queries,)
    Queries of each leaf, leaf by leaf; see `group_rows_by_leaf`.
leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
    Derivative of each query with respect to the gradient sum of each leaf.

So do local variables: ``number`` is a leaf's number over all trees (``first``, the
tree's first leaf, plus the leaf within the tree), ``i`` a row within its tile, ``k`` an
output, ``column`` a column of the leaf values and ``t`` a query. The rows of a matrix
whose rows are not rows of a table are called lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALL_ROWS",
    "FlatBags",
    "FlatLeaves",
    "FlatLoss",
    "FlatRows",
    "FlatTrees",
]


class FlatTrees(NamedTuple):
    """Nodes as routing reads them, numbered within their tree, and so are leaves.

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
        Whether NaN and 0.0 go left.
    is_plain : ndarray of bool, shape (n_nodes,)
        Numeric nodes in which 0.0 obeys the comparison.
    is_categorical : ndarray of bool, shape (n_nodes,)
        Left if the value is in the node's set.
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's set begins in `category_bits`.
    category_bits : ndarray of uint32, shape (n_words,)
        The sets.
    zero_threshold : float
        Values of at most this absolute value are read as 0.0.
    category_floor : float
        Values up to this one are in no category set.
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
    zero_threshold: float
    category_floor: float
    round_to_single: bool


class FlatLeaves(NamedTuple):
    """Leaves as replay and contraction read them, numbered over all trees.

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
        Line of `leaf` that each tree reads: trees of one structure share a line.
    base_score : ndarray of float64, shape (n_outputs,)
        Raw score before the first tree.
    """

    leaf_offset: NDArray[np.int64]
    leaf_value: NDArray[np.float64]
    output: NDArray[np.int32]
    iteration_start: NDArray[np.int64]
    is_averaged: bool
    leaf_row: NDArray[np.int32]
    base_score: NDArray[np.float64]


class FlatBags(NamedTuple):
    """The rows that each tree was fitted on; see `treeinf.ensemble.bags.Bags`.

    Attributes
    ----------
    bag_bits : ndarray of uint64, shape (n_bags, n_words) or (0, 0)
        Row i is in a bag if bit ``i % 64`` of word ``i // 64`` is set.
    bag_factor : ndarray of float32, shape (n_bags, n_rows) or (0, 0)
        Factor of each row on its gradient and hessian, where it is not 0 or 1.
    tree_bag : ndarray of int32, shape (n_trees,) or (0,)
        Bag of each tree, -1 for all rows; empty if all trees saw all rows.
    """

    bag_bits: NDArray[np.uint64]
    bag_factor: NDArray[np.float32]
    tree_bag: NDArray[np.int32]


ALL_ROWS = FlatBags(
    np.empty((0, 0), np.uint64), np.empty((0, 0), np.float32), np.empty(0, np.int32)
)
"""The bags of a training that did not sample rows."""


class FlatRows(NamedTuple):
    """Rows as replay and contraction read them: routed, with their targets.

    Attributes
    ----------
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree; tree t reads line ``leaf_row[t]``.
    y : ndarray of float64, shape (n_rows,)
        Targets; class numbers for classifiers.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights; empty for weights of 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Initial score of each row, on top of the base score; empty for 0.
    bag_bits, bag_factor, tree_bag : ndarray
        Rows that each tree was fitted on; see `FlatBags`. They stand here one by one,
        since Numba passes no tuples of tuples to threads.
    """

    leaf: NDArray[np.unsignedinteger[Any]]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    bag_bits: NDArray[np.uint64] = ALL_ROWS.bag_bits
    bag_factor: NDArray[np.float32] = ALL_ROWS.bag_factor
    tree_bag: NDArray[np.int32] = ALL_ROWS.tree_bag


class FlatLoss(NamedTuple):
    """The loss whose derivatives kernels compute; see `loss_derivatives`.

    Attributes
    ----------
    code : int
        Which loss, a constant of ``kernels/formulas/derivatives.py``.
    parameter : float
        Its one parameter.
    """

    code: int
    parameter: float
