"""What LightGBM's ``dump_model`` returns, or a JSON file of it, into checked arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm_files import (
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
from treeinf.ensemble.structure import Missing
from treeinf.errors import ModelFormatError

__all__ = ["parse_json"]

_NUMERIC_TYPE = "<="
_CATEGORY_TYPE = "=="
_MISSING = {"None": Missing.NONE, "Zero": Missing.ZERO, "NaN": Missing.NAN}
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
    nodes: list[tuple[Any, ...]] = []
    leaves: list[tuple[Any, ...]] = []
    seen: set[int] = set()
    for number, info in enumerate(tree_infos):
        if not isinstance(info, Mapping):
            fail(f"tree {number} is {shorten(info)}")
        tree_nodes, tree_leaves = _read_tree(info.get("tree_structure"), number, seen)
        if info.get("num_leaves") != len(tree_leaves):
            fail(f"tree {number} does not have as many leaves as it claims")
        n_leaves.append(len(tree_leaves))
        shrinkage.append(info.get("shrinkage", 1.0))
        nodes += tree_nodes
        leaves += tree_leaves
    feature, threshold, default_left, missing, left, right, sets = (
        zip(*nodes, strict=True) if nodes else ((),) * 7
    )
    value, weight, count = zip(*leaves, strict=True) if leaves else ((),) * 3
    offset, bits = _read_category_sets(sets)
    known = [math.nan if number is None else number for number in weight]
    weights = read_array(known, "leaf_weight", REAL)
    counts = None if None in count else read_array(count, "leaf_count", COUNT)
    return LightGBMTrees(
        n_leaves=read_array(n_leaves, "num_leaves", OFFSET),
        shrinkage=read_array(shrinkage, "shrinkage", REAL),
        feature=read_array(feature, "split_feature", NODE),
        left=read_array(left, "left_child", NODE),
        right=read_array(right, "right_child", NODE),
        threshold=read_array(threshold, "threshold", REAL),
        default_left=np.array(default_left, FLAG),
        is_categorical=np.array([found is not None for found in sets], FLAG),
        missing=read_array(missing, "missing_type", np.uint8),
        category_offset=offset,
        category_bits=bits,
        leaf_value=read_array(value, "leaf_value", REAL),
        leaf_weight=None if np.isnan(weights).all() else weights,
        leaf_count=counts,
    )


def _read_tree(
    root: Any, number: int, seen: set[int]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Walk one tree without recursion; number nodes and leaves as they say."""
    nodes: dict[int, tuple[Any, ...]] = {}
    leaves: dict[int, tuple[Any, ...]] = {}
    where = f"tree {number}"

    def identify(node: Any) -> tuple[Mapping[str, Any], int]:
        """Give a node and its number, negative for a leaf."""
        if not isinstance(node, Mapping) or id(node) in seen:
            fail(f"a node of {where} is missing or belongs to two parents")
        seen.add(id(node))
        if "split_index" in node:
            return node, read_integer(node["split_index"], f"split_index of {where}", 0)
        return node, ~read_integer(
            node.get("leaf_index", 0), f"leaf_index of {where}", 0
        )

    stack = [identify(root)]
    while stack:
        node, index = stack.pop()
        if index < 0:
            value = node.get("leaf_value")
            if node.get("leaf_features") or node.get("leaf_const", value) != value:
                raise LinearTreesError
            if ~index in leaves:
                fail(f"leaf {~index} of {where} is there twice")
            leaves[~index] = (
                node.get("leaf_value"),
                node.get("leaf_weight"),
                node.get("leaf_count"),
            )
            continue
        if index in nodes:
            fail(f"node {index} of {where} is there twice")
        left = identify(node.get("left_child"))
        right = identify(node.get("right_child"))
        stack += [left, right]
        nodes[index] = _read_node(node, left[1], right[1], where)
    if set(nodes) != set(range(len(nodes))) or set(leaves) != set(range(len(leaves))):
        fail(f"nodes or leaves of {where} are not numbered without gaps")
    return [nodes[k] for k in sorted(nodes)], [leaves[k] for k in sorted(leaves)]


def _read_node(
    node: Mapping[str, Any], left: int, right: int, where: str
) -> tuple[Any, ...]:
    decision, threshold = node.get("decision_type"), node.get("threshold")
    missing = node.get("missing_type")
    default_left = node.get("default_left")
    categories: list[int] | None = None
    if (
        decision not in (_NUMERIC_TYPE, _CATEGORY_TYPE)
        or not isinstance(missing, str)
        or missing not in _MISSING
        or not isinstance(default_left, bool)
    ):
        fail(f"a node of {where} has an unknown decision_type or missing_type")
    if decision == _CATEGORY_TYPE:
        tokens = [token for token in str(threshold).split("||") if token]
        categories = [
            read_integer(token, f"a category of {where}", 0) for token in tokens
        ]
        threshold = 0.0
    return (
        node.get("split_feature"),
        threshold,
        default_left,
        _MISSING[missing],
        left,
        right,
        categories,
    )


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
