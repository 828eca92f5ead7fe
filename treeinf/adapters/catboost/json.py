"""Parse CatBoost's JSON file, which ``save_model(path, format="json")`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from treeinf.adapters.catboost.files import (
    FIELDS,
    CatBoostFeatures,
    CatBoostFile,
    CatBoostSplits,
    CatBoostTrees,
    SplitKind,
    check_columns,
    expand_symmetric,
)
from treeinf.dtypes import NODE, OFFSET, REAL

__all__ = ["parse"]

_NATIVE_SPLITS = ("OnlineCtr", "EstimatedFeature")


def parse(model: Mapping[str, Any]) -> CatBoostFile:
    """Parse the object of a JSON file; see `formats.parse`."""
    features = _Features(FIELDS.entry(model, "features_info", dict))
    if "oblivious_trees" in model:
        trees = _read_symmetric(FIELDS.entry(model, "oblivious_trees", list), features)
    else:
        trees = _read_trees(FIELDS.entry(model, "trees", list), features)
    n_outputs = trees.leaf_value.shape[1]
    scale, bias = 1.0, [0.0] * n_outputs
    if "scale_and_bias" in model:
        pair = FIELDS.entry(model, "scale_and_bias", list)
        if len(pair) != 2:
            FIELDS.fail("scale_and_bias is not a pair")
        scale = FIELDS.number(pair[0], "the scale")
        bias = pair[1] if isinstance(pair[1], list) else [pair[1]]
    if len(bias) != n_outputs:
        FIELDS.fail("the number of biases is not that of outputs")
    return CatBoostFile(
        remarks=dict(FIELDS.instance(model.get("model_info", {}), "model_info", dict)),
        features=features.describe(),
        splits=CatBoostSplits.of_rows(features.splits),
        trees=trees,
        scale=scale,
        bias=FIELDS.array(bias, "the bias", REAL),
    )


class _Features:
    """The columns of a model, and its distinct splits in the order of the trees."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.splits: list[tuple[int, int, float, bool, int]] = []
        self._number: dict[Any, int] = {}
        self._columns: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._floats: dict[int, tuple[int, bool]] = {}
        self._labelled: dict[int, int] = {}
        self._positions: dict[int, dict[int, int]] = {}
        for kind in ("float", "categorical", "text", "embedding"):
            name = f"{kind}_features"
            for entry in FIELDS.instance(info.get(name, []), name, list):
                self._add_column(kind, FIELDS.instance(entry, "a feature", dict))

    def _add_column(self, kind: str, entry: dict[str, Any]) -> None:
        column = FIELDS.integer(entry.get("flat_feature_index"), "flat_feature_index")
        index = FIELDS.integer(entry.get("feature_index"), "feature_index")
        self._columns[column] = kind
        name = entry.get("feature_name") or entry.get("feature_id") or ""
        self._names[column] = str(name)
        if kind == "float":
            treatment = entry.get("nan_value_treatment", "AsIs")
            if treatment not in ("AsIs", "AsFalse", "AsTrue"):
                FIELDS.fail("a feature's nan_value_treatment is unknown")
            self._floats[index] = column, treatment != "AsTrue"
        elif kind == "categorical":
            self._labelled[index] = column
        if kind in ("categorical", "text"):
            self._positions[column] = {}

    def describe(self) -> CatBoostFeatures:
        """Return the columns, once all splits have been added."""
        n_features, names = check_columns(self._columns, self._names)
        return CatBoostFeatures(
            n_features=n_features,
            names=names,
            hashes={
                column: tuple(labels) for column, labels in self._positions.items()
            },
            kinds=tuple(sorted(set(self._columns.values()))),
        )

    def split(self, entry: Any) -> int:
        """Return the number of a split; add the split if it is new."""
        kind = FIELDS.instance(entry, "a split", dict).get("split_type")
        key: Any
        if kind == "FloatFeature":
            key = kind, entry.get("float_feature_index"), entry.get("border")
        elif kind == "OneHotFeature":
            key = kind, entry.get("cat_feature_index"), entry.get("value")
        elif kind in _NATIVE_SPLITS:
            key = "native"
        else:
            FIELDS.fail("a split's split_type is unknown")
        try:
            number = self._number.get(key)
        except TypeError as error:
            FIELDS.fail("a split holds a value that is not a number", error)
        if number is None:
            number = self._number[key] = len(self.splits)
            self.splits.append(self._read_split(key))
        return number

    def _read_split(self, key: Any) -> tuple[int, int, float, bool, int]:
        if key == "native":
            return SplitKind.NATIVE, 0, 0.0, False, 0
        kind, index, value = key
        index = FIELDS.integer(index, "a feature's number")
        if kind == "FloatFeature":
            if index not in self._floats:
                FIELDS.fail("a split tests a column that does not exist")
            column, nan_is_left = self._floats[index]
            border = float(FIELDS.array([value], "a border", np.float32)[0])
            return SplitKind.FLOAT, column, border, nan_is_left, 0
        if index not in self._labelled:
            FIELDS.fail("a split tests a category of a column that does not exist")
        column = self._labelled[index]
        labels = self._positions[column]
        label = FIELDS.integer(value, "a hash", -(2**31), 2**32 - 1) & 0xFFFFFFFF
        position = labels.setdefault(label, len(labels))
        return SplitKind.ONE_HOT, column, 0.0, False, position


def _read_symmetric(entries: list[Any], features: _Features) -> CatBoostTrees:
    """Read oblivious trees."""
    depth: list[int] = []
    split: list[int] = []
    values: list[Any] = []
    weights: list[Any] = []
    widths: set[int] = set()
    for entry in entries:
        tree = FIELDS.instance(entry, "a tree", dict)
        levels = FIELDS.instance(tree.get("splits") or [], "splits", list)
        of_tree = FIELDS.entry(tree, "leaf_values", list)
        split += [features.split(level) for level in levels]
        depth.append(len(levels))
        if len(levels) > 30 or not of_tree or len(of_tree) % 2 ** len(levels):
            FIELDS.fail("the number of leaf values does not match the splits")
        widths.add(len(of_tree) // 2 ** len(levels))
        values += of_tree
        weights += FIELDS.instance(tree.get("leaf_weights") or [], "leaf_weights", list)
    if len(widths) > 1:
        FIELDS.fail("trees have leaves of different lengths")
    width = widths.pop() if widths else 1
    value = FIELDS.array(values, "leaf_values", REAL).reshape(-1, width)
    weight = None
    if len(weights) == len(value):
        weight = FIELDS.array(weights, "leaf_weights", REAL)
    return expand_symmetric(
        np.array(depth, OFFSET), np.array(split, OFFSET), value, weight
    )


def _read_trees(entries: list[Any], features: _Features) -> CatBoostTrees:
    """Read trees of nodes without recursion; leaves are numbered left to right."""
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
            node = FIELDS.instance(entry, "a node", dict)
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
            FIELDS.fail("leaves have different lengths")
        values = [number for value in values for number in value]
    return CatBoostTrees(
        n_leaves=np.array(n_leaves, OFFSET),
        split=np.array(split, NODE),
        left=np.array(left, NODE),
        right=np.array(right, NODE),
        leaf_value=FIELDS.array(values, "a leaf value", REAL).reshape(-1, width),
        leaf_weight=None
        if None in weights
        else FIELDS.array(weights, "a leaf weight", REAL),
    )
