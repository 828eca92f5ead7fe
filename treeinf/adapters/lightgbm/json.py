"""What LightGBM's ``dump_model`` returns, or a JSON file of it, into checked arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.files import (
    LightGBMFile,
    LightGBMTrees,
    LinearTreesError,
    any_nonzero,
    check_labels,
    check_trees,
    fail,
    read_array,
    read_integer,
    shorten,
)
from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble import Missing
from treeinf.errors import ModelFormatError

__all__ = ["parse_json"]

_NUMERIC_TYPE = "<="
_CATEGORY_TYPE = "=="
_MISSING = {"None": Missing.NONE, "Zero": Missing.ZERO, "NaN": Missing.NAN}
_WRITTEN_INFINITY = 1e300
"""What a dump holds in place of infinity (and of all that is larger than this)."""
_MAX_WORDS = 2**24
"""Words of category sets in all: a few digits of JSON can ask for gigabytes."""


def parse_json(dumped: Mapping[str, Any]) -> LightGBMFile:
    """Read what LightGBM's ``dump_model`` returns.

    Parameters
    ----------
    dumped : dict
        The dumped model, as returned or as read back from a JSON file.

    Returns
    -------
    LightGBMFile

    Raises
    ------
    ModelFormatError
        If the dictionary is not such a model.
    """
    names = dumped.get("feature_names")
    infos = dumped.get("feature_infos")
    tree_infos = dumped.get("tree_info")
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not isinstance(infos, Mapping | None)
        or not isinstance(tree_infos, list)
    ):
        fail("feature_names, feature_infos or tree_info are not what is dumped")
    n_features = read_integer(dumped.get("max_feature_idx"), "max_feature_idx", 0) + 1
    if len(names) != n_features:
        fail(f"feature_names has {len(names)} names for {n_features} features")
    n_outputs = read_integer(
        dumped.get("num_tree_per_iteration"), "num_tree_per_iteration", 1
    )
    monotone = dumped.get("monotone_constraints")
    bins, ranges = _read_feature_infos(infos, names)
    trees = _read_trees(tree_infos)
    check_trees(trees, n_outputs, n_features)
    return LightGBMFile(
        version=str(dumped.get("version", "unknown")),
        n_outputs=n_outputs,
        n_features=n_features,
        objective=str(dumped.get("objective") or "").strip(),
        feature_names=tuple(names),
        category_bins=bins,
        value_range=ranges,
        average_output=bool(dumped.get("average_output", False)),
        is_monotone=isinstance(monotone, list) and any_nonzero(monotone),
        parameters=None,
        pandas_categorical=check_labels(dumped.get("pandas_categorical")),
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
            fail(f"feature_infos of {shorten(name)} is not what is dumped", error)
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
        if not isinstance(info, dict):
            fail(f"tree {number} is {shorten(info)}")
        tree = _read_tree(info.get("tree_structure"), number, seen)
        if info.get("num_leaves") != len(tree.leaves):
            fail(f"tree {number} does not have as many leaves as it claims")
        n_leaves.append(len(tree.leaves))
        shrinkage.append(info.get("shrinkage", 1.0))
        order = range(len(tree.nodes))
        nodes += [tree.nodes[k] for k in order]
        left += [tree.left[k] for k in order]
        right += [tree.right[k] for k in order]
        leaves += [tree.leaves[k] for k in range(len(tree.leaves))]
    sets = [_read_categories(node) for node in nodes]
    offset, bits = _read_category_sets(sets)
    threshold = [
        node.get("threshold") if found is None else 0.0
        for node, found in zip(nodes, sets, strict=True)
    ]
    written = [node.get("missing_type") for node in nodes]
    missing = [
        _MISSING.get(kind) if isinstance(kind, str) else None for kind in written
    ]
    default_left = [node.get("default_left") for node in nodes]
    if None in missing or not all(isinstance(flag, bool) for flag in default_left):
        fail("a node has an unknown missing_type or default_left")
    weights = [leaf.get("leaf_weight", math.nan) for leaf in leaves]
    weight = read_array(weights, "leaf_weight", REAL)
    counts = [leaf.get("leaf_count") for leaf in leaves]
    return LightGBMTrees(
        n_leaves=read_array(n_leaves, "num_leaves", OFFSET),
        shrinkage=read_array(shrinkage, "shrinkage", REAL),
        feature=read_array(
            [node.get("split_feature") for node in nodes], "split_feature", NODE
        ),
        left=read_array(left, "left_child", NODE),
        right=read_array(right, "right_child", NODE),
        threshold=_restore_infinity(read_array(threshold, "threshold", REAL)),
        default_left=np.array(default_left, FLAG),
        is_categorical=np.array([found is not None for found in sets], FLAG),
        missing=read_array(missing, "missing_type", np.uint8),
        category_offset=offset,
        category_bits=bits,
        leaf_value=read_array(
            [leaf.get("leaf_value") for leaf in leaves], "leaf_value", REAL
        ),
        leaf_weight=None if np.isnan(weight).all() else weight,
        leaf_count=None if None in counts else read_array(counts, "leaf_count", COUNT),
    )


def _restore_infinity(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    is_infinite = np.abs(threshold) >= _WRITTEN_INFINITY
    return np.where(is_infinite, np.copysign(np.inf, threshold), threshold)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """One tree: what stands at each node and leaf, and the nodes' children."""

    nodes: dict[int, dict[str, Any]]
    left: dict[int, int]
    right: dict[int, int]
    leaves: dict[int, dict[str, Any]]


def _read_tree(root: Any, number: int, seen: set[int]) -> _Tree:
    """Walk one tree without recursion; number nodes and leaves as they say."""
    tree = _Tree({}, {}, {}, {})
    where = f"tree {number}"

    def enter(node: Any) -> int:
        """Note a node or leaf; give its number, ``~number`` for a leaf."""
        if not isinstance(node, dict) or id(node) in seen:
            fail(f"a node of {where} is missing or belongs to two parents")
        seen.add(id(node))
        is_leaf = "split_index" not in node
        index = node.get("leaf_index", 0) if is_leaf else node["split_index"]
        found = tree.leaves if is_leaf else tree.nodes
        if type(index) is not int or index < 0 or index in found:
            fail(f"the number {shorten(index)} in {where} is wrong or there twice")
        found[index] = node
        if not is_leaf:
            return index
        value = node.get("leaf_value")
        if node.get("leaf_features") or node.get("leaf_const", value) != value:
            raise LinearTreesError
        return ~index

    stack = [enter(root)]
    while stack:
        index = stack.pop()
        if index >= 0:
            node = tree.nodes[index]
            tree.left[index] = enter(node.get("left_child"))
            tree.right[index] = enter(node.get("right_child"))
            stack += [tree.left[index], tree.right[index]]
    for found in (tree.nodes, tree.leaves):
        if found and max(found) != len(found) - 1:
            fail(f"nodes or leaves of {where} are not numbered without gaps")
    return tree


def _read_categories(node: dict[str, Any]) -> list[int] | None:
    """Read the categories that a node sends left; None for a numeric node."""
    decision = node.get("decision_type")
    if decision == _NUMERIC_TYPE:
        return None
    if decision != _CATEGORY_TYPE:
        fail(f"a node's decision_type is {shorten(decision)}")
    tokens = str(node.get("threshold")).split("||")
    return [read_integer(token, "a category", 0) for token in tokens if token]


def _read_category_sets(
    sets: Iterable[list[int] | None],
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    offset = [0]
    words: list[NDArray[np.uint32]] = []
    for categories in sets:
        n_words = max(categories) // 32 + 1 if categories else 0
        offset.append(offset[-1] + n_words)
        if offset[-1] > _MAX_WORDS:
            raise ModelFormatError(
                "The categories in this JSON are numbered too high to be read from it "
                f"({_MAX_WORDS * 32:,} in all its splits are). Renumber them from "
                "0 before training, or read the model text that save_model writes."
            )
        if categories:
            bits = np.zeros(n_words, BITS)
            category = np.array(categories, OFFSET)
            one = np.left_shift(BITS(1), (category % 32).astype(BITS))
            np.bitwise_or.at(bits, category // 32, one)
            words.append(bits)
    return np.array(offset, OFFSET), np.concatenate([np.zeros(0, BITS), *words])
