"""Content of a CatBoost model file as validated arrays.

Both parsers, of ``.cbm`` and of JSON files, return a `CatBoostFile`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import FieldChecks
from treeinf.dtypes import FLAG, NODE, OFFSET, REAL

__all__ = [
    "FIELDS",
    "CatBoostFeatures",
    "CatBoostFile",
    "CatBoostSplits",
    "CatBoostTrees",
    "SplitKind",
    "check_columns",
    "expand_symmetric",
    "parse_remark",
]

FIELDS = FieldChecks("CatBoost", "model.save_model(path)")

_DEEPEST = 30


class SplitKind(enum.IntEnum):
    """What a split tests."""

    FLOAT = 0
    """A number against a border."""
    ONE_HOT = 1
    """A category against one label."""
    NATIVE = 2
    """A statistic of categories, text or embeddings that only CatBoost computes."""


@dataclasses.dataclass(frozen=True)
class CatBoostFeatures:
    """Input columns of a model.

    Parameters
    ----------
    n_features : int
        Columns of the rows.
    names : tuple of str, or None
        Column names; None where the file has none.
    hashes : dict of int to tuple of int
        For each categorical or text column, the label hashes that splits test.
    kinds : tuple of str
        Kinds of column present, of "float", "categorical", "text", "embedding".
    """

    n_features: int
    names: tuple[str, ...] | None
    hashes: dict[int, tuple[int, ...]]
    kinds: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CatBoostSplits:
    """The splits that nodes refer to.

    Parameters
    ----------
    kind : ndarray of uint8, shape (n_splits,)
        See `SplitKind`.
    column : ndarray of int32, shape (n_splits,)
        Column tested; 0 for native splits.
    border : ndarray of float64, shape (n_splits,)
        A number above it goes right; 0.0 in other splits.
    default_left : ndarray of bool, shape (n_splits,)
        Where NaN goes.
    category : ndarray of int64, shape (n_splits,)
        Position of the label's hash among those of the column; it goes right.
    """

    kind: NDArray[np.uint8]
    column: NDArray[np.int32]
    border: NDArray[np.float64]
    default_left: NDArray[np.bool_]
    category: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: list[tuple[int, int, float, bool, int]]) -> CatBoostSplits:
        """Build the arrays from one tuple per split, in the order of the fields."""
        kind, column, border, default_left, category = (
            zip(*rows, strict=True) if rows else ((), (), (), (), ())
        )
        splits = cls(
            kind=np.array(kind, np.uint8),
            column=np.array(column, NODE),
            border=np.array(border, REAL),
            default_left=np.array(default_left, FLAG),
            category=np.array(category, OFFSET),
        )
        if np.isnan(splits.border).any():
            FIELDS.fail("a border is not a number")
        return splits


@dataclasses.dataclass(frozen=True)
class CatBoostTrees:
    """The trees of a model, concatenated.

    Parameters
    ----------
    n_leaves : ndarray of int64, shape (n_trees,)
        Leaves of each tree; a tree has one node less.
    split, left, right : ndarray of int32, shape (n_nodes,)
        Split of each node and its children; ``c < 0`` is leaf ``~c`` of the tree.
    leaf_value : ndarray of float64, shape (n_leaves, n_outputs)
        Leaf values.
    leaf_weight : ndarray of float64, shape (n_leaves,), or None
        Sum of the train rows' weights.
    """

    n_leaves: NDArray[np.int64]
    split: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf_value: NDArray[np.float64]
    leaf_weight: NDArray[np.float64] | None

    def first(self, n_trees: int) -> CatBoostTrees:
        """Return the first trees."""
        n_leaves = self.n_leaves[:n_trees]
        leaves, nodes = int(n_leaves.sum()), int((n_leaves - 1).sum())
        weight = self.leaf_weight
        return CatBoostTrees(
            n_leaves=n_leaves,
            split=self.split[:nodes],
            left=self.left[:nodes],
            right=self.right[:nodes],
            leaf_value=self.leaf_value[:leaves],
            leaf_weight=None if weight is None else weight[:leaves],
        )


@dataclasses.dataclass(frozen=True)
class CatBoostFile:
    """Validated content of a CatBoost file.

    Parameters
    ----------
    remarks : dict of str to str or dict
        The model's metadata: training parameters, classes, the library's version.
    features : CatBoostFeatures
    splits : CatBoostSplits
    trees : CatBoostTrees
    scale : float
        Factor on the sum over trees.
    bias : ndarray of float64, shape (n_outputs,)
        Added to the scaled sum.
    """

    remarks: dict[str, Any]
    features: CatBoostFeatures
    splits: CatBoostSplits
    trees: CatBoostTrees
    scale: float
    bias: NDArray[np.float64]


def parse_remark(remarks: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a remark of the file that is a JSON object or the text of one, or {}."""
    remark = remarks.get(name, {})
    if isinstance(remark, str):
        remark = FIELDS.json_value(remark, f"the remark {name}")
    return FIELDS.instance(remark, f"the remark {name}", dict)


def check_columns(columns: dict[int, str], names: dict[int, str]) -> tuple[int, Any]:
    """Check column numbers; return the number of columns, and their names."""
    if not columns:
        FIELDS.fail("it has no features")
    n_features = len(columns)
    if min(columns) < 0 or max(columns) >= n_features:
        FIELDS.fail("the features' columns are not numbered without gaps")
    if not any(names.values()):
        return n_features, None
    return n_features, tuple(names.get(k) or str(k) for k in range(n_features))


def expand_symmetric(
    depth: NDArray[np.int64],
    split: NDArray[np.int64],
    leaf_value: NDArray[np.float64],
    leaf_weight: NDArray[np.float64] | None,
) -> CatBoostTrees:
    """Convert oblivious trees, which test one split per level, to trees of nodes.

    Parameters
    ----------
    depth : ndarray of int64, shape (n_trees,)
        Levels of each tree.
    split : ndarray of int64, shape (sum of depths,)
        Split of each level; the first decides the lowest bit of the leaf's number.
    leaf_value : ndarray of float64, shape (n_leaves, n_outputs)
        Leaf values.
    leaf_weight : ndarray of float64, shape (n_leaves,), or None
        Leaf weights.

    Returns
    -------
    CatBoostTrees
        Leaves keep CatBoost's numbers: the root tests the last level.
    """
    if depth.size and (depth.min() < 0 or depth.max() > _DEEPEST):
        FIELDS.fail("a tree's depth is out of range")
    n_leaves = np.left_shift(1, depth)
    if n_leaves.sum() != len(leaf_value):
        FIELDS.fail("the number of leaf values does not match the trees' depths")
    if depth.sum() != len(split):
        FIELDS.fail("the number of splits does not match the trees' depths")
    n_nodes = n_leaves - 1
    node_first = np.cumsum(n_nodes) - n_nodes
    split_first = np.cumsum(depth) - depth
    tested, left, right = (np.empty(int(n_nodes.sum()), NODE) for _ in range(3))
    for levels in np.unique(depth).tolist():
        if levels == 0:
            continue
        trees = np.flatnonzero(depth == levels)
        number = np.arange(2**levels - 1)
        level = np.repeat(np.arange(levels), 2 ** np.arange(levels))
        child = 2 * number + 1
        is_last = level == levels - 1
        leaf = child - len(number)
        position = node_first[trees, np.newaxis] + number
        tested[position] = split[split_first[trees, np.newaxis] + (levels - 1 - level)]
        left[position] = np.where(is_last, ~leaf, child)
        right[position] = np.where(is_last, ~(leaf + 1), child + 1)
    return CatBoostTrees(n_leaves, tested, left, right, leaf_value, leaf_weight)
