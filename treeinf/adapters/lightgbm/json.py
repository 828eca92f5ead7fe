"""Parse the dictionary that LightGBM's ``dump_model`` returns, or a JSON file of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.category_sets import pack_category_sets
from treeinf.adapters.lightgbm.files import (
    FIELDS,
    LightGBMFile,
    LightGBMTrees,
    check_labels,
    check_trees,
    refuse_linear_trees,
)
from treeinf.adapters.parameters import has_constraint
from treeinf.adapters.records import shorten
from treeinf.dtypes import COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import Missing

__all__ = ["parse"]

_NUMERIC_TYPE = "<="
_CATEGORY_TYPE = "=="
_MISSING = {"None": Missing.NONE, "Zero": Missing.ZERO, "NaN": Missing.NAN}
_WRITTEN_INFINITY = 1e300
"""What a dump holds in place of infinity and of larger numbers."""


def parse(model: Mapping[str, Any]) -> LightGBMFile:
    """Parse a dumped model; see `formats.parse`."""
    names = FIELDS.entry(model, "feature_names", list)
    for name in names:
        FIELDS.instance(name, "an entry of feature_names", str)
    infos = model.get("feature_infos")
    if infos is not None:
        FIELDS.instance(infos, "feature_infos")
    n_features = FIELDS.integer(model.get("max_feature_idx"), "max_feature_idx", 0) + 1
    if len(names) != n_features:
        FIELDS.fail(f"feature_names has {len(names)} names for {n_features} features")
    n_outputs = FIELDS.integer(
        model.get("num_tree_per_iteration"), "num_tree_per_iteration", 1
    )
    monotone = model.get("monotone_constraints")
    bins, ranges = _read_feature_infos(infos, names)
    trees = _read_trees(FIELDS.entry(model, "tree_info", list))
    check_trees(trees, n_outputs, n_features)
    return LightGBMFile(
        version=str(model.get("version", "unknown")),
        n_outputs=n_outputs,
        n_features=n_features,
        objective=str(model.get("objective") or "").strip(),
        feature_names=tuple(names),
        category_bins=bins,
        value_range=ranges,
        average_output=bool(model.get("average_output", False)),
        is_monotone=isinstance(monotone, list) and has_constraint(monotone),
        parameters=None,
        pandas_categorical=check_labels(model.get("pandas_categorical")),
        trees=trees,
    )


def _read_feature_infos(
    infos: Mapping[str, Any] | None, names: list[str]
) -> tuple[dict[int, tuple[int, ...]] | None, dict[int, tuple[float, float]]]:
    ranges: dict[int, tuple[float, float]] = {}
    if infos is None:
        return None, ranges
    bins: dict[int, tuple[int, ...]] = {}
    for feature, name in enumerate(names):
        info = infos.get(name)
        if info is None:
            continue
        try:
            if info["values"]:
                bins[feature] = tuple(map(int, info["values"]))
            else:
                ranges[feature] = (float(info["min_value"]), float(info["max_value"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            FIELDS.fail(f"feature_infos of {shorten(name)} is invalid", error)
    return bins, ranges


def _read_trees(tree_infos: list[Any]) -> LightGBMTrees:
    n_leaves: list[int] = []
    shrinkage: list[float] = []
    nodes: list[dict[str, Any]] = []
    leaves: list[dict[str, Any]] = []
    left: list[int] = []
    right: list[int] = []
    seen: set[int] = set()
    for number, info in enumerate(tree_infos):
        FIELDS.instance(info, f"tree {number}", dict)
        tree = _read_tree(info.get("tree_structure"), number, seen)
        if info.get("num_leaves") != len(tree.leaves):
            FIELDS.fail(f"tree {number} does not have num_leaves leaves")
        n_leaves.append(len(tree.leaves))
        shrinkage.append(info.get("shrinkage", 1.0))
        order = range(len(tree.nodes))
        nodes += [tree.nodes[k] for k in order]
        left += [tree.left[k] for k in order]
        right += [tree.right[k] for k in order]
        leaves += [tree.leaves[k] for k in range(len(tree.leaves))]
    sets = [_read_categories(node) for node in nodes]
    set_sizes = [len(categories or ()) for categories in sets]
    offset, bits = pack_category_sets(
        np.repeat(np.arange(len(nodes)), set_sizes),
        np.array(
            [category for categories in sets for category in categories or ()], OFFSET
        ),
        len(nodes),
        library="LightGBM",
        way_out=", or read the model text that save_model writes",
    )
    threshold = [
        node.get("threshold") if categories is None else 0.0
        for node, categories in zip(nodes, sets, strict=True)
    ]

    def read_missing_type(node: dict[str, Any]) -> Missing:
        kind = node.get("missing_type")
        if not isinstance(kind, str) or kind not in _MISSING:
            FIELDS.fail(f"a node's missing_type is {shorten(kind)}")
        return _MISSING[kind]

    def of_nodes(name: str, dtype: Any) -> NDArray[Any]:
        return FIELDS.array([node.get(name) for node in nodes], name, dtype)

    default_left = [node.get("default_left") for node in nodes]
    if not all(isinstance(flag, bool) for flag in default_left):
        FIELDS.fail("a node's default_left is not true or false")
    values = [leaf.get("leaf_value") for leaf in leaves]
    weights = [leaf.get("leaf_weight", math.nan) for leaf in leaves]
    weight = FIELDS.array(weights, "leaf_weight", REAL)
    # trees of one leaf have no count in dumps of LightGBM before 4.6
    is_alone = np.repeat(np.equal(n_leaves, 1), n_leaves)
    counts = [
        leaf.get("leaf_count", 0 if alone else None)
        for leaf, alone in zip(leaves, is_alone, strict=True)
    ]
    return LightGBMTrees(
        n_leaves=np.array(n_leaves, OFFSET),
        shrinkage=FIELDS.array(shrinkage, "shrinkage", REAL),
        feature=of_nodes("split_feature", NODE),
        left=np.array(left, NODE),
        right=np.array(right, NODE),
        threshold=_restore_infinity(FIELDS.array(threshold, "threshold", REAL)),
        default_left=np.array(default_left, FLAG),
        is_categorical=np.array([categories is not None for categories in sets], FLAG),
        missing=np.array([read_missing_type(node) for node in nodes], np.uint8),
        category_offset=offset,
        category_bits=bits,
        leaf_value=FIELDS.array(values, "leaf_value", REAL),
        leaf_weight=None if np.isnan(weight).all() else weight,
        leaf_count=None
        if None in counts
        else FIELDS.array(counts, "leaf_count", COUNT),
    )


def _restore_infinity(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    is_infinite = np.abs(threshold) >= _WRITTEN_INFINITY
    return np.where(is_infinite, np.copysign(np.inf, threshold), threshold)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """One tree: the entries of nodes and leaves by number, and the nodes' children."""

    nodes: dict[int, dict[str, Any]]
    left: dict[int, int]
    right: dict[int, int]
    leaves: dict[int, dict[str, Any]]


def _read_tree(root: Any, number: int, seen: set[int]) -> _Tree:
    """Walk one tree without recursion; nodes and leaves keep LightGBM's numbers."""
    tree = _Tree({}, {}, {}, {})
    where = f"tree {number}"

    def enter(node: Any) -> int:
        """Add a node or leaf; return its number, ``~number`` for a leaf."""
        if not isinstance(node, dict) or id(node) in seen:
            FIELDS.fail(f"a node of {where} is missing or belongs to two parents")
        seen.add(id(node))
        is_leaf = "split_index" not in node
        index = node.get("leaf_index", 0) if is_leaf else node["split_index"]
        entries = tree.leaves if is_leaf else tree.nodes
        if type(index) is not int or index < 0 or index in entries:
            FIELDS.fail(
                f"the number {shorten(index)} in {where} is invalid or duplicate"
            )
        entries[index] = node
        if not is_leaf:
            return index
        value = node.get("leaf_value")
        if node.get("leaf_features") or node.get("leaf_const", value) != value:
            refuse_linear_trees()
        return ~index

    stack = [enter(root)]
    while stack:
        index = stack.pop()
        if index >= 0:
            node = tree.nodes[index]
            tree.left[index] = enter(node.get("left_child"))
            tree.right[index] = enter(node.get("right_child"))
            stack += [tree.left[index], tree.right[index]]
    for entries in (tree.nodes, tree.leaves):
        if entries and max(entries) != len(entries) - 1:
            FIELDS.fail(f"nodes or leaves of {where} are not numbered without gaps")
    return tree


def _read_categories(node: dict[str, Any]) -> list[int] | None:
    """Return the categories that a node sends left; None for a numeric node."""
    decision = node.get("decision_type")
    if decision == _NUMERIC_TYPE:
        return None
    if decision != _CATEGORY_TYPE:
        FIELDS.fail(f"a node's decision_type is {shorten(decision)}")
    tokens = str(node.get("threshold")).split("||")
    return [FIELDS.integer(token, "a category", 0) for token in tokens if token]
