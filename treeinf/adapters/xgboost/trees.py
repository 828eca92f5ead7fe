"""Check the trees of an XGBoost file, and renumber and concatenate their nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.category_sets import pack_category_sets
from treeinf.adapters.records import count_offsets
from treeinf.adapters.xgboost.files import FIELDS
from treeinf.dtypes import FLAG, NODE, OFFSET, REAL

__all__ = ["XGBoostTrees", "read_trees"]

_NO_CHILD = -1


@dataclasses.dataclass(frozen=True)
class XGBoostTrees:
    """The trees of an XGBoost file, concatenated.

    Inner nodes and leaves keep the file's order and are numbered without gaps; nodes
    not reachable from a root (left over from pruning) are dropped.

    Parameters
    ----------
    node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Where each tree's nodes and leaves begin.
    feature, left, right : ndarray of int32, shape (n_nodes,)
        Feature tested and the two children, of which ``c < 0`` is leaf ``~c``.
    threshold : ndarray of float32, shape (n_nodes,)
        Rows with smaller values go left; meaningless in categorical nodes.
    default_left, is_categorical : ndarray of bool, shape (n_nodes,)
        Flags of each node.
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's words begin in `category_bits`.
    category_bits : ndarray of uint32, shape (n_words,)
        Sets of categories that go right.
    leaf_value : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values as written.
    node_hessian, leaf_hessian : ndarray of float64, or None
        Sums of hessians; None where the file has none for each output.
    node_weight : ndarray of float64, shape (n_nodes,), or None
        Value that each node would have as a leaf, before shrinkage.
    node_gain : ndarray of float64, shape (n_nodes,), or None
        Gain of each split.
    leaf_node : ndarray of int32, shape (n_leaves,)
        Number that each leaf has in the file, and in XGBoost's predicted leaves.
    """

    node_offset: NDArray[np.int64]
    leaf_offset: NDArray[np.int64]
    feature: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    threshold: NDArray[np.float32]
    default_left: NDArray[np.bool_]
    is_categorical: NDArray[np.bool_]
    category_offset: NDArray[np.int64]
    category_bits: NDArray[np.uint32]
    leaf_value: NDArray[np.float64]
    node_hessian: NDArray[np.float64] | None
    leaf_hessian: NDArray[np.float64] | None
    node_weight: NDArray[np.float64] | None
    node_gain: NDArray[np.float64] | None
    leaf_node: NDArray[np.int32]


def read_trees(
    trees: Sequence[Mapping[str, Any]], n_outputs: int, n_features: int
) -> XGBoostTrees:
    """Read the trees' entries into arrays.

    Parameters
    ----------
    trees : sequence of dict
        Entries of each tree.
    n_outputs, n_features : int
        Columns of the raw scores and of the rows.

    Returns
    -------
    XGBoostTrees

    Raises
    ------
    ModelFormatError
        If the entries do not form trees.
    """
    size = np.array([_parameter(tree, "num_nodes", 1) for tree in trees], OFFSET)
    left = _per_node(trees, size, "left_children", NODE)
    right = _per_node(trees, size, "right_children", NODE)
    start = count_offsets(size)
    first = np.repeat(start[:-1], size)
    is_inner = left != _NO_CHILD
    is_kept = _find_reachable(left, right, is_inner, start, first)
    is_node, is_leaf = is_kept & is_inner, is_kept & ~is_inner
    node, leaf = np.flatnonzero(is_node), np.flatnonzero(is_leaf)
    node_offset = count_offsets(is_node)[start]
    leaf_offset = count_offsets(is_leaf)[start]
    tree = np.repeat(np.arange(len(trees)), size)
    number = np.where(
        is_inner,
        np.cumsum(is_node) - 1 - node_offset[tree],
        ~(np.cumsum(is_leaf) - 1 - leaf_offset[tree]),
    )
    children = [number[first[node] + child[node]] for child in (left, right)]
    feature = _per_node(trees, size, "split_indices", OFFSET)[node]
    if np.any(feature < 0) or np.any(feature >= n_features):
        FIELDS.fail(f"a node tests a feature outside [0, {n_features})")
    is_categorical = _read_split_types(trees, size)[node]
    condition = _per_node(trees, size, "split_conditions", np.float32)
    if np.isnan(condition[node][~is_categorical]).any():
        FIELDS.fail("a threshold is not a number")
    offset, bits = _read_category_sets(trees, start, node, is_categorical)
    leaf_value = _read_leaf_values(trees, size, n_outputs, right, leaf, condition)
    hessian = weight = gain = None
    if leaf_value.shape[1] == 1 and all("sum_hessian" in tree for tree in trees):
        hessian = _per_node(trees, size, "sum_hessian", np.float32).astype(REAL)
        if not np.isfinite(hessian[is_kept]).all():
            hessian = None
        if all("base_weights" in tree for tree in trees):
            weights = _per_node(trees, size, "base_weights", np.float32)
            weight = weights[node].astype(REAL)
        if all("loss_changes" in tree for tree in trees):
            gains = _per_node(trees, size, "loss_changes", np.float32)
            gain = gains[node].astype(REAL)
    return XGBoostTrees(
        node_offset=node_offset,
        leaf_offset=leaf_offset,
        feature=feature.astype(NODE),
        left=children[0].astype(NODE),
        right=children[1].astype(NODE),
        threshold=condition[node],
        default_left=_per_node(trees, size, "default_left", FLAG)[node],
        is_categorical=is_categorical,
        category_offset=offset,
        category_bits=bits,
        leaf_value=leaf_value,
        node_hessian=None if hessian is None else np.maximum(hessian[node], 0.0),
        leaf_hessian=None if hessian is None else np.maximum(hessian[leaf], 0.0),
        node_weight=weight,
        node_gain=gain,
        leaf_node=(leaf - first[leaf]).astype(NODE),
    )


def _parameter(
    tree: Mapping[str, Any], name: str, low: int, default: int | None = None
) -> int:
    parameters = FIELDS.entry(tree, "tree_param")
    return FIELDS.integer(parameters.get(name, default), name, low)


def _per_node(
    trees: Sequence[Mapping[str, Any]], size: NDArray[np.int64], name: str, dtype: Any
) -> NDArray[Any]:
    """Concatenate an entry that has one number for each node."""
    arrays = [FIELDS.array(tree.get(name), name, dtype) for tree in trees]
    for values, n_nodes in zip(arrays, size.tolist(), strict=True):
        if len(values) != n_nodes:
            FIELDS.fail(f"{name} has {len(values)} numbers for {n_nodes} nodes")
    return np.concatenate(arrays)


def _find_reachable(
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    is_inner: NDArray[np.bool_],
    start: NDArray[np.int64],
    first: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Mark the nodes reachable from their root, and check that they form trees.

    Pointer jumping doubles the distance climbed in each step, so that deep trees take
    no longer than shallow ones.
    """
    n_nodes = len(left)
    size = np.repeat(np.diff(start), np.diff(start))
    parent = np.arange(n_nodes)
    n_parents = np.zeros(n_nodes, OFFSET)
    inner = np.flatnonzero(is_inner)
    for child in (left, right):
        # the root has no parent
        if np.any(child[inner] < 1) or np.any(child[inner] >= size[inner]):
            FIELDS.fail("a child lies outside its tree")
        position = first[inner] + child[inner]
        parent[position] = inner
        n_parents += np.bincount(position, minlength=n_nodes)
    if np.any(n_parents > 1):
        FIELDS.fail("a node has two parents")
    for _ in range(n_nodes.bit_length()):
        further = parent[parent]
        if np.array_equal(further, parent):
            break
        parent = further
    is_kept = parent == first
    if np.any(is_inner & ~is_kept):
        FIELDS.fail("nodes of a tree form a cycle, or are not reachable from a root")
    return is_kept


def _read_split_types(
    trees: Sequence[Mapping[str, Any]], size: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which nodes are categorical; before 1.5 there were none."""
    if not any("split_type" in tree for tree in trees):
        return np.zeros(int(size.sum()), FLAG)
    return _per_node(trees, size, "split_type", FLAG)


def _read_category_sets(
    trees: Sequence[Mapping[str, Any]],
    start: NDArray[np.int64],
    node: NDArray[np.int64],
    is_categorical: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the sets of categories of all nodes as words of bits."""
    categories = [np.empty(0, OFFSET)]
    owners = [np.empty(0, OFFSET)]
    for number, tree in enumerate(trees):
        of_tree = np.arange(*np.searchsorted(node, start[number : number + 2]))
        of_tree = of_tree[is_categorical[of_tree]]
        if not len(of_tree):
            continue
        nodes, begin, count, values = (
            FIELDS.array(tree.get(name), name, OFFSET)
            for name in (
                *("categories_nodes", "categories_segments"),
                *("categories_sizes", "categories"),
            )
        )
        order = np.argsort(nodes)
        number_in_tree = node[of_tree] - start[number]
        index = np.searchsorted(nodes, number_in_tree, sorter=order)
        if (
            not len(nodes) == len(begin) == len(count)
            or np.any(index >= len(nodes))
            or np.any(nodes[order[index]] != number_in_tree)
            or len(np.unique(nodes)) != len(nodes)
            or np.any(begin < 0)
            or np.any(count < 0)
            or np.any(begin > len(values))
            or np.any(count > len(values) - begin)
            or count.sum() > len(values)
            or np.any(values < 0)
            or np.any(values > np.iinfo(NODE).max)
        ):
            FIELDS.fail(f"the category sets of tree {number} contradict each other")
        for entry in order[index].tolist():
            categories.append(values[begin[entry] : begin[entry] + count[entry]])
        owners.append(np.repeat(of_tree, count[order[index]]))
    return pack_category_sets(
        np.concatenate(owners), np.concatenate(categories), len(node), library="XGBoost"
    )


def _read_leaf_values(
    trees: Sequence[Mapping[str, Any]],
    size: NDArray[np.int64],
    n_outputs: int,
    right: NDArray[np.int32],
    leaf: NDArray[np.int64],
    condition: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the leaf values, one per leaf or one for each output.

    Vector leaves are in `base_weights`, by node, or (3.1 and later) in `leaf_weights`,
    at the position stored as the leaf's right child.
    """
    widths = {max(_parameter(tree, "size_leaf_vector", 0, 1), 1) for tree in trees}
    if widths == {1}:
        if n_outputs > len(trees):
            FIELDS.fail(f"{len(trees)} trees are too few for {n_outputs:,} outputs")
        value = condition[leaf].astype(REAL)[:, np.newaxis]
    elif widths != {n_outputs}:
        FIELDS.fail(f"leaves hold {sorted(widths)[:3]} values for {n_outputs} outputs")
    else:
        value = _read_vector_leaves(trees, size, n_outputs, right, leaf)
    if not np.isfinite(value).all():
        FIELDS.fail("a leaf value is not finite")
    return value


def _read_vector_leaves(
    trees: Sequence[Mapping[str, Any]],
    size: NDArray[np.int64],
    width: int,
    right: NDArray[np.int32],
    leaf: NDArray[np.int64],
) -> NDArray[np.float64]:
    start = count_offsets(size)
    leaf_values = []
    for number, tree in enumerate(trees):
        of_tree = leaf[slice(*np.searchsorted(leaf, start[number : number + 2]))]
        if "leaf_weights" in tree:
            name, entry = "leaf_weights", right[of_tree].astype(OFFSET)
        else:
            name, entry = "base_weights", of_tree - start[number]
        values = FIELDS.array(tree.get(name), name, np.float32).astype(REAL)
        if len(values) % width or np.any(entry < 0):
            FIELDS.fail(f"{name} does not hold {width} values per leaf")
        values = values.reshape(-1, width)
        if np.any(entry >= len(values)):
            FIELDS.fail(f"{name} has no values for some leaves")
        leaf_values.append(values[entry])
    return np.concatenate(leaf_values)
