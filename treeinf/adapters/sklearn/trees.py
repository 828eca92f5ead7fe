"""Trees as scikit-learn stores them, laid out the way an ensemble stores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET

__all__ = ["Layout", "join_trees", "lay_out"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the inner nodes and the leaves of concatenated trees are.

    Parameters
    ----------
    inner, leaf : ndarray of int64
        Places of inner nodes and of leaves among the nodes of all trees.
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree's inner nodes and leaves begin among these.
    left, right : ndarray of int32, shape (n_inner,)
        Children, as `TreeEnsemble` numbers them.
    leaf_node : ndarray of int64, shape (n_leaves,)
        The library's number of each leaf among the nodes of its tree.
    """

    inner: NDArray[np.int64]
    leaf: NDArray[np.int64]
    node_offset: NDArray[np.int64]
    leaf_offset: NDArray[np.int64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf_node: NDArray[np.int64]


def lay_out(
    n_nodes: Sequence[int],
    is_leaf: NDArray[np.bool_],
    left: NDArray[np.integer[Any]],
    right: NDArray[np.integer[Any]],
) -> Layout:
    """Give inner nodes and leaves of each tree numbers of their own, in their order.

    Parameters
    ----------
    n_nodes : sequence of int
        Nodes of each tree, leaves among them.
    is_leaf : ndarray of bool, shape (n_all_nodes,)
        Which nodes are leaves, tree by tree.
    left, right : ndarray of integer, shape (n_all_nodes,)
        Children by their number in the tree; not read in leaves.

    Returns
    -------
    Layout
    """
    sizes = np.asarray(n_nodes, OFFSET)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(OFFSET)
    leaves_before = np.concatenate([[0], np.cumsum(is_leaf)]).astype(OFFSET)
    leaf_offset = leaves_before[start]
    node_offset = start - leaf_offset
    place = np.arange(len(is_leaf), dtype=OFFSET)
    first = np.repeat(start[:-1], sizes)
    leaf_number = leaves_before[:-1] - np.repeat(leaf_offset[:-1], sizes)
    number = np.where(is_leaf, ~leaf_number, place - first - leaf_number)
    inner, leaf = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    return Layout(
        inner=inner,
        leaf=leaf,
        node_offset=node_offset,
        leaf_offset=leaf_offset,
        left=number[first[inner] + left[inner].astype(OFFSET)].astype(NODE),
        right=number[first[inner] + right[inner].astype(OFFSET)].astype(NODE),
        leaf_node=(place - first)[leaf],
    )


def join_trees(trees: Sequence[Any]) -> tuple[Layout, dict[str, NDArray[Any]]]:
    """Concatenate the trees of decision tree estimators.

    Parameters
    ----------
    trees : sequence of sklearn.tree._tree.Tree
        The ``tree_`` of each estimator.

    Returns
    -------
    layout : Layout
        Nodes and leaves.
    arrays : dict of str to ndarray
        Of the inner nodes ``feature``, ``threshold`` and ``default_left``; of the
        leaves ``count``, ``weight`` (sum of the rows' weights).

    Notes
    -----
    A leaf's children are -1 in scikit-learn. Values of the leaves are not joined, since
    their meaning depends on the estimator; ``layout.leaf_node`` says where they are.
    """
    left = np.concatenate([tree.children_left for tree in trees])
    layout = lay_out(
        [tree.node_count for tree in trees],
        left < 0,
        left,
        np.concatenate([tree.children_right for tree in trees]),
    )
    joined = {
        name: np.concatenate([getattr(tree, attribute) for tree in trees])
        for name, attribute in (
            ("feature", "feature"),
            ("threshold", "threshold"),
            ("default_left", "missing_go_to_left"),
            ("count", "n_node_samples"),
            ("weight", "weighted_n_node_samples"),
        )
    }
    arrays = {
        name: joined[name][layout.inner]
        for name in ("feature", "threshold", "default_left")
    }
    arrays["default_left"] = arrays["default_left"].astype(bool)
    arrays |= {name: joined[name][layout.leaf] for name in ("count", "weight")}
    return layout, arrays
