"""The trees of an XGBoost file, checked, renumbered and concatenated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.files import fail, read_integer, read_numbers
from treeinf.dtypes import BITS, FLAG, NODE, OFFSET, REAL
from treeinf.errors import ModelFormatError

__all__ = ["XGBoostTrees", "read_trees"]

_NO_CHILD = -1
_MAX_WORDS = 2**24
"""Words of category sets in all: a few digits can ask for gigabytes."""


@dataclasses.dataclass(frozen=True)
class XGBoostTrees:
    """The trees of an XGBoost file, concatenated.

    Inner nodes and leaves keep the file's order and are numbered without gaps; what no
    root leads to (the remains of pruning) is left out.

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
        If they are not trees.
    """
    size = np.array(
        [read_integer(_parameter(tree, "num_nodes"), "num_nodes", 1) for tree in trees],
        OFFSET,
    )
    left = _per_node(trees, size, "left_children", NODE)
    right = _per_node(trees, size, "right_children", NODE)
    start = np.concatenate([[0], np.cumsum(size)])
    first = np.repeat(start[:-1], size)
    is_inner = left != _NO_CHILD
    is_kept = _find_reachable(left, right, is_inner, start, first)
    is_node, is_leaf = is_kept & is_inner, is_kept & ~is_inner
    node, leaf = np.flatnonzero(is_node), np.flatnonzero(is_leaf)
    node_offset = np.concatenate([[0], np.cumsum(is_node)])[start]
    leaf_offset = np.concatenate([[0], np.cumsum(is_leaf)])[start]
    tree = np.repeat(np.arange(len(trees)), size)
    number = np.where(
        is_inner,
        np.cumsum(is_node) - 1 - node_offset[tree],
        ~(np.cumsum(is_leaf) - 1 - leaf_offset[tree]),
    )
    children = [number[first[node] + child[node]] for child in (left, right)]
    feature = _per_node(trees, size, "split_indices", OFFSET)[node]
    if np.any(feature < 0) or np.any(feature >= n_features):
        fail(f"a node tests a feature outside the {n_features} there are")
    is_categorical = _read_split_types(trees, size)[node]
    condition = _per_node(trees, size, "split_conditions", np.float32)
    if np.isnan(condition[node][~is_categorical]).any():
        fail("a threshold is not a number")
    offset, bits = _read_category_sets(trees, start, node, is_categorical)
    leaf_value = _read_leaf_values(trees, size, n_outputs, right, leaf, condition)
    hessian = weight = None
    if leaf_value.shape[1] == 1 and all("sum_hessian" in tree for tree in trees):
        hessian = _per_node(trees, size, "sum_hessian", np.float32).astype(REAL)
        if not np.isfinite(hessian[is_kept]).all():
            hessian = None
        if all("base_weights" in tree for tree in trees):
            weight = _per_node(trees, size, "base_weights", np.float32)[node].astype(
                REAL
            )
    return XGBoostTrees(
        node_offset=node_offset.astype(OFFSET),
        leaf_offset=leaf_offset.astype(OFFSET),
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
        leaf_node=(leaf - first[leaf]).astype(NODE),
    )


def _parameter(tree: Mapping[str, Any], name: str) -> Any:
    parameters = tree.get("tree_param")
    return parameters.get(name) if isinstance(parameters, Mapping) else None


def _per_node(
    trees: Sequence[Mapping[str, Any]], size: NDArray[np.int64], name: str, dtype: Any
) -> NDArray[Any]:
    """Concatenate an entry that has one number for each node."""
    parts = []
    for tree, expected in zip(trees, size.tolist(), strict=True):
        part = read_numbers(tree.get(name), name, dtype)
        # vector leaves: nothing is written for the last nodes, which are leaves
        if len(part) != expected:
            fail(f"{name} has {len(part)} numbers for {expected} nodes")
        parts.append(part)
    return np.concatenate(parts)


def _find_reachable(
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    is_inner: NDArray[np.bool_],
    start: NDArray[np.int64],
    first: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Mark the nodes that their root leads to, and refuse what is not a tree.

    Jumping from each node to its ancestor's ancestor doubles the way in each step, so
    that deep trees take no longer than broad ones.
    """
    n_nodes = len(left)
    size = np.repeat(np.diff(start), np.diff(start))
    parent = np.arange(n_nodes)
    n_parents = np.zeros(n_nodes, OFFSET)
    inner = np.flatnonzero(is_inner)
    for child in (left, right):
        # the root is nobody's child
        if np.any(child[inner] < 1) or np.any(child[inner] >= size[inner]):
            fail("a child lies outside its tree")
        place = first[inner] + child[inner]
        parent[place] = inner
        n_parents += np.bincount(place, minlength=n_nodes)
    if np.any(n_parents > 1):
        fail("a node has two parents")
    for _ in range(n_nodes.bit_length()):
        further = parent[parent]
        if np.array_equal(further, parent):
            break
        parent = further
    is_kept = parent == first
    if np.any(is_inner & ~is_kept):
        fail("the children of a tree go round in a cycle, or no root leads to them")
    return is_kept


def _read_split_types(
    trees: Sequence[Mapping[str, Any]], size: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell categorical nodes; before 1.5 there were none."""
    if not any("split_type" in tree for tree in trees):
        return np.zeros(int(size.sum()), FLAG)
    return _per_node(trees, size, "split_type", FLAG)


def _read_category_sets(
    trees: Sequence[Mapping[str, Any]],
    start: NDArray[np.int64],
    node: NDArray[np.int64],
    is_categorical: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Turn each categorical node's listing of categories into a set of bits."""
    n_words = np.zeros(len(node), OFFSET)
    categories: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    for number, tree in enumerate(trees):
        own = np.arange(*np.searchsorted(node, start[number : number + 2]))
        own = own[is_categorical[own]]
        if not len(own):
            continue
        nodes, begin, count, listed = (
            read_numbers(tree.get(name), name, OFFSET)
            for name in (
                *("categories_nodes", "categories_segments"),
                *("categories_sizes", "categories"),
            )
        )
        order = np.argsort(nodes)
        place = np.searchsorted(nodes, node[own] - start[number], sorter=order)
        if (
            not len(nodes) == len(begin) == len(count)
            or np.any(place >= len(nodes))
            or np.any(nodes[order[place]] != node[own] - start[number])
            or len(np.unique(nodes)) != len(nodes)
            or np.any(begin < 0)
            or np.any(count < 0)
            or np.any(begin > len(listed))
            or np.any(count > len(listed) - begin)
            or count.sum() > len(listed)
            or np.any(listed < 0)
            or np.any(listed > np.iinfo(NODE).max)
        ):
            fail(f"the category sets of tree {number} contradict each other")
        chosen = order[place]
        for k, entry in zip(own.tolist(), chosen.tolist(), strict=True):
            part = listed[begin[entry] : begin[entry] + count[entry]]
            n_words[k] = part.max(initial=-1) // 32 + 1
            categories.append(part)
            owners.append(np.full(len(part), k, OFFSET))
    offset = np.concatenate([[0], np.cumsum(n_words)]).astype(OFFSET)
    if offset[-1] > _MAX_WORDS:
        raise ModelFormatError(
            "The categories in this XGBoost model are numbered too high to be read "
            f"({_MAX_WORDS * 32:,} in all its splits are). Renumber them from 0 before "
            "training."
        )
    bits = np.zeros(int(offset[-1]), BITS)
    if categories:
        category, owner = np.concatenate(categories), np.concatenate(owners)
        one = np.left_shift(BITS(1), (category % 32).astype(BITS))
        np.bitwise_or.at(bits, offset[owner] + category // 32, one)
    return offset, bits


def _read_leaf_values(
    trees: Sequence[Mapping[str, Any]],
    size: NDArray[np.int64],
    n_outputs: int,
    right: NDArray[np.int32],
    leaf: NDArray[np.int64],
    condition: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Read one value a leaf, or one for each output.

    Vector leaves stand in `base_weights`, node by node, or (3.1 and later) in
    `leaf_weights`, in the order that the leaves' right children give.
    """
    widths = {
        read_integer(_parameter(tree, "size_leaf_vector") or 1, "size_leaf_vector", 0)
        for tree in trees
    }
    widths = {max(width, 1) for width in widths}
    if widths == {1}:
        if n_outputs > len(trees):
            fail(f"{len(trees)} trees do not make {n_outputs:,} outputs")
        value = condition[leaf].astype(REAL)[:, np.newaxis]
    elif widths != {n_outputs}:
        fail(f"leaves hold {sorted(widths)[:3]} values for {n_outputs} outputs")
    else:
        value = _read_vector_leaves(trees, size, n_outputs, right, leaf)
    if not np.isfinite(value).all():
        fail("a leaf value is not finite")
    return value


def _read_vector_leaves(
    trees: Sequence[Mapping[str, Any]],
    size: NDArray[np.int64],
    width: int,
    right: NDArray[np.int32],
    leaf: NDArray[np.int64],
) -> NDArray[np.float64]:
    start = np.concatenate([[0], np.cumsum(size)])
    found = []
    for number, tree in enumerate(trees):
        own = leaf[slice(*np.searchsorted(leaf, start[number : number + 2]))]
        if "leaf_weights" in tree:
            name, entry = "leaf_weights", right[own].astype(OFFSET)
        else:
            name, entry = "base_weights", own - start[number]
        values = read_numbers(tree.get(name), name, np.float32).astype(REAL)
        if len(values) % width or np.any(entry < 0):
            fail(f"{name} does not hold {width} values a leaf")
        values = values.reshape(-1, width)
        if np.any(entry >= len(values)):
            fail(f"{name} has no values for some leaves")
        found.append(values[entry])
    return np.concatenate(found)
