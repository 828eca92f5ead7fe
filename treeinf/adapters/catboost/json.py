"""CatBoost's JSON file into checked arrays."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.catboost.files import (
    CatBoostFeatures,
    CatBoostFile,
    CatBoostSplits,
    CatBoostTrees,
    SplitKind,
    check_columns,
    expand_symmetric,
    fail,
)
from treeinf.dtypes import NODE, OFFSET, REAL

__all__ = ["is_catboost_json", "parse_json"]

_NATIVE_SPLITS = ("OnlineCtr", "EstimatedFeature")


def is_catboost_json(dumped: Mapping[str, Any]) -> bool:
    """Tell a CatBoost model from other JSON objects."""
    return "oblivious_trees" in dumped or (
        "features_info" in dumped and "trees" in dumped
    )


def parse_json(dumped: Mapping[str, Any]) -> CatBoostFile:
    """Read what ``save_model(path, format="json")`` writes.

    Parameters
    ----------
    dumped : dict
        The file's object.

    Returns
    -------
    CatBoostFile

    Raises
    ------
    ModelFormatError
        If the dictionary is not such a model.
    """
    features = _Features(_dict(dumped.get("features_info"), "features_info"))
    if "oblivious_trees" in dumped:
        trees = _read_symmetric(_list(dumped["oblivious_trees"], "trees"), features)
    else:
        trees = _read_trees(_list(dumped.get("trees"), "trees"), features)
    n_outputs = trees.leaf_value.shape[1]
    scale, bias = 1.0, [0.0] * n_outputs
    if "scale_and_bias" in dumped:
        pair = _list(dumped["scale_and_bias"], "scale_and_bias")
        if len(pair) != 2:
            fail("scale_and_bias is not a pair")
        scale = _number(pair[0], "the scale")
        bias = pair[1] if isinstance(pair[1], list) else [pair[1]]
    if len(bias) != n_outputs:
        fail("there is not one bias an output")
    return CatBoostFile(
        info=dict(_dict(dumped.get("model_info", {}), "model_info")),
        features=features.describe(),
        splits=CatBoostSplits.of_rows(features.splits),
        trees=trees,
        scale=scale,
        bias=_numbers(bias, "the bias"),
    )


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        fail(f"{what} is not a JSON object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        fail(f"{what} is not a list")
    return value


def _integer(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**53:
        fail(f"{what} is not an integer of its size")
    return operator.index(value)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(f"{what} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        fail(f"{what} is out of range", error)


def _numbers(values: list[Any], what: str) -> NDArray[np.float64]:
    """Make an array of JSON numbers."""
    if not set(map(type, values)) <= {int, float}:
        fail(f"{what} holds something that is not a number")
    try:
        return np.array(values, REAL)
    except OverflowError as error:
        fail(f"{what} holds a number out of range", error)


class _Features:
    """The columns, and the splits that have been met, each once."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.splits: list[tuple[int, int, float, bool, int]] = []
        self._number: dict[Any, int] = {}
        self._columns: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._floats: dict[int, tuple[int, bool]] = {}
        self._labelled: dict[int, int] = {}
        self._places: dict[int, dict[int, int]] = {}
        for kind in ("float", "categorical", "text", "embedding"):
            for entry in _list(info.get(f"{kind}_features", []), "a list of features"):
                self._note(kind, _dict(entry, "a feature"))

    def _note(self, kind: str, entry: dict[str, Any]) -> None:
        """Note one column."""
        column = _integer(entry.get("flat_feature_index"), "flat_feature_index")
        index = _integer(entry.get("feature_index"), "feature_index")
        self._columns[column] = kind
        name = entry.get("feature_name") or entry.get("feature_id") or ""
        self._names[column] = str(name)
        if kind == "float":
            treatment = entry.get("nan_value_treatment", "AsIs")
            if treatment not in ("AsIs", "AsFalse", "AsTrue"):
                fail("a feature's nan_value_treatment is unknown")
            self._floats[index] = column, treatment != "AsTrue"
        elif kind == "categorical":
            self._labelled[index] = column
        if kind in ("categorical", "text"):
            self._places[column] = {}

    def describe(self) -> CatBoostFeatures:
        """Give the columns."""
        n_features, names = check_columns(self._columns, self._names)
        return CatBoostFeatures(
            n_features=n_features,
            names=names,
            hashes={column: tuple(found) for column, found in self._places.items()},
            kinds=tuple(sorted(set(self._columns.values()))),
        )

    def split(self, entry: Any) -> int:
        """Give the number of a split."""
        kind = _dict(entry, "a split").get("split_type")
        key: Any
        if kind == "FloatFeature":
            key = kind, entry.get("float_feature_index"), entry.get("border")
        elif kind == "OneHotFeature":
            key = kind, entry.get("cat_feature_index"), entry.get("value")
        elif kind in _NATIVE_SPLITS:
            key = "native"
        else:
            fail("a split's split_type is unknown")
        try:
            found = self._number.get(key)
        except TypeError as error:
            fail("a split is not made of numbers", error)
        if found is None:
            found = self._number[key] = len(self.splits)
            self.splits.append(self._read_split(key))
        return found

    def _read_split(self, key: Any) -> tuple[int, int, float, bool, int]:
        if key == "native":
            return SplitKind.NATIVE, 0, 0.0, False, 0
        kind, index, value = key
        index = _integer(index, "a feature's number")
        if kind == "FloatFeature":
            if index not in self._floats:
                fail("a split tests a column that is not there")
            column, nan_is_left = self._floats[index]
            with np.errstate(over="ignore"):
                border = float(np.float32(_number(value, "a border")))
            return SplitKind.FLOAT, column, border, nan_is_left, 0
        if index not in self._labelled:
            fail("a split tests a category of a column that is not there")
        column = self._labelled[index]
        places = self._places[column]
        place = places.setdefault(_integer(value, "a hash") & 0xFFFFFFFF, len(places))
        return SplitKind.ONE_HOT, column, 0.0, False, place


def _read_symmetric(entries: list[Any], features: _Features) -> CatBoostTrees:
    """Read trees that test one split a level."""
    depth: list[int] = []
    split: list[int] = []
    values: list[Any] = []
    weights: list[Any] = []
    widths: set[int] = set()
    for entry in entries:
        own = _dict(entry, "a tree")
        levels = own.get("splits") or []
        found = _list(own.get("leaf_values"), "leaf_values")
        split += [features.split(level) for level in _list(levels, "splits")]
        depth.append(len(levels))
        if len(levels) > 30 or not found or len(found) % 2 ** len(levels):
            fail("the leaf values are not as many as the splits ask for")
        widths.add(len(found) // 2 ** len(levels))
        values += found
        weights += _list(own.get("leaf_weights") or [], "leaf_weights")
    if len(widths) > 1:
        fail("trees have leaves of different lengths")
    width = widths.pop() if widths else 1
    value = _numbers(values, "leaf_values").reshape(-1, width)
    weight = _numbers(weights, "leaf_weights") if len(weights) == len(value) else None
    return expand_symmetric(
        np.array(depth, OFFSET), np.array(split, OFFSET), value, weight
    )


def _read_trees(entries: list[Any], features: _Features) -> CatBoostTrees:
    """Walk trees of nodes without recursion; leaves count from left to right."""
    n_leaves: list[int] = []
    split: list[int] = []
    left: list[int] = []
    right: list[int] = []
    values: list[Any] = []
    weights: list[Any] = []
    for root in entries:
        first, first_leaf = len(split), len(values)
        stack: list[tuple[Any, list[int] | None, int]] = [(root, None, 0)]
        while stack:
            entry, siblings, parent = stack.pop()
            node = _dict(entry, "a node")
            if "split" in node:
                number = len(split) - first
                split.append(features.split(node["split"]))
                left.append(0)
                right.append(0)
                stack.append((node.get("right"), right, first + number))
                stack.append((node.get("left"), left, first + number))
            else:
                number = ~(len(values) - first_leaf)
                values.append(node.get("value"))
                weights.append(node.get("weight"))
            if siblings is not None:
                siblings[parent] = number
        n_leaves.append(len(values) - first_leaf)
    is_vector = bool(values) and isinstance(values[0], list)
    width = len(values[0]) if is_vector else 1
    if is_vector:
        if (
            not all(isinstance(v, list) and len(v) == width for v in values)
            or not width
        ):
            fail("leaves have different lengths")
        values = [number for value in values for number in value]
    return CatBoostTrees(
        n_leaves=np.array(n_leaves, OFFSET),
        split=np.array(split, NODE),
        left=np.array(left, NODE),
        right=np.array(right, NODE),
        leaf_value=_numbers(values, "a leaf value").reshape(-1, width),
        leaf_weight=None if None in weights else _numbers(weights, "a leaf weight"),
    )
