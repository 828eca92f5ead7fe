"""Convert scikit-learn's trees to the node and leaf arrays of a `TreeEnsemble`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import count_offsets
from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET
from treeinf.ensemble import InputRules, Missing

__all__ = [
    "Layout",
    "feature_names",
    "join",
    "lay_out",
    "lay_out_trees",
    "numeric_trees",
]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Positions of the inner nodes and the leaves of concatenated trees.

    Parameters
    ----------
    inner, leaf : ndarray of int64
        Positions of inner nodes and of leaves among the nodes of all trees.
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree begins in `inner` and `leaf`.
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
    """Assign numbers to the inner nodes and the leaves of each tree, in order.

    Parameters
    ----------
    n_nodes : sequence of int
        Nodes of each tree, leaves among them.
    is_leaf : ndarray of bool, shape (n_all_nodes,)
        Which nodes are leaves, tree by tree.
    left, right : ndarray of integer, shape (n_all_nodes,)
        Children by their number in the tree; ignored in leaves.

    Returns
    -------
    Layout
    """
    sizes = np.asarray(n_nodes, OFFSET)
    start = count_offsets(sizes)
    leaves_before = count_offsets(is_leaf)
    leaf_offset = leaves_before[start]
    node_offset = start - leaf_offset
    position = np.arange(len(is_leaf), dtype=OFFSET)
    first = np.repeat(start[:-1], sizes)
    leaf_number = leaves_before[:-1] - np.repeat(leaf_offset[:-1], sizes)
    number = np.where(is_leaf, ~leaf_number, position - first - leaf_number)
    inner, leaf = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    return Layout(
        inner=inner,
        leaf=leaf,
        node_offset=node_offset,
        leaf_offset=leaf_offset,
        left=number[first[inner] + left[inner].astype(OFFSET)].astype(NODE),
        right=number[first[inner] + right[inner].astype(OFFSET)].astype(NODE),
        leaf_node=(position - first)[leaf],
    )


def lay_out_trees(trees: Sequence[Any]) -> Layout:
    """Lay out the trees of decision tree estimators, whose leaves have no children.

    Parameters
    ----------
    trees : sequence of sklearn.tree._tree.Tree
        The ``tree_`` of each estimator.

    Returns
    -------
    Layout
    """
    left, right = join(trees, "children_left"), join(trees, "children_right")
    return lay_out([tree.node_count for tree in trees], left < 0, left, right)


def join(trees: Sequence[Any], attribute: str) -> NDArray[Any]:
    """Concatenate an array of the nodes of all trees."""
    return np.concatenate([getattr(tree, attribute) for tree in trees])


def numeric_trees(model: Any, trees: Sequence[Any], layout: Layout) -> dict[str, Any]:
    """Return the fields of a `TreeEnsemble` that do not depend on the kind of model.

    Parameters
    ----------
    model : estimator
        The model.
    trees : sequence of sklearn.tree._tree.Tree
        The ``tree_`` of each of its decision trees, whose splits are all numeric.
    layout : Layout
        Their layout.

    Returns
    -------
    dict of str to Any
        Nodes, counts and weights of leaves, input rules, classes and versions.
    """
    import sklearn

    n_nodes = len(layout.inner)
    weight = join(trees, "weighted_n_node_samples")
    return {
        "node_offset": layout.node_offset,
        "leaf_offset": layout.leaf_offset,
        "feature": join(trees, "feature")[layout.inner].astype(NODE),
        "threshold": join(trees, "threshold")[layout.inner],
        "left": layout.left,
        "right": layout.right,
        "default_left": join(trees, "missing_go_to_left")[layout.inner].astype(FLAG),
        "missing": np.full(n_nodes, Missing.NAN, np.uint8),
        "is_categorical": np.zeros(n_nodes, FLAG),
        "category_offset": np.zeros(n_nodes + 1, OFFSET),
        "category_bits": np.empty(0, BITS),
        "leaf_count": join(trees, "n_node_samples")[layout.leaf].astype(COUNT),
        "leaf_weight": weight[layout.leaf],
        "input_rules": InputRules(
            n_features=model.n_features_in_,
            feature_names=feature_names(model),
            round_to_single=True,
        ),
        "library": "scikit-learn",
        "library_version": sklearn.__version__,
    }


def feature_names(model: Any) -> tuple[str, ...] | None:
    """Return the column names that an estimator was fitted with."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))
