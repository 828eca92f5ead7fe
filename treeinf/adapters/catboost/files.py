"""What a CatBoost file says, as checked arrays; both parsers fill it.

Nothing here interprets a model. Every fault in a file ends in a `ModelFormatError`, and
nothing is allocated by a number that a file merely claims.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET
from treeinf.errors import ModelFormatError

__all__ = [
    "CatBoostFeatures",
    "CatBoostFile",
    "CatBoostSplits",
    "CatBoostTrees",
    "SplitKind",
    "check_columns",
    "expand_symmetric",
    "fail",
    "parse_info",
]

_DEEPEST = 30


class SplitKind(enum.IntEnum):
    """What a split tests."""

    FLOAT = 0
    """A number against a border."""
    ONE_HOT = 1
    """A category against one label."""
    NATIVE = 2
    """Something that CatBoost computes: a statistic of categories, text, embeddings."""


@dataclasses.dataclass(frozen=True)
class CatBoostFeatures:
    """The columns of a model.

    Parameters
    ----------
    n_features : int
        Columns of the rows.
    names : tuple of str, or None
        Column names; None where the file has none.
    hashes : dict of int to tuple of int
        For each column of labels, the hashes of those that splits test.
    kinds : tuple of str
        Kinds of column there are: "float", "categorical", "text", "embedding".
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
        Place of the label's hash among those of the column; it goes right.
    """

    kind: NDArray[np.uint8]
    column: NDArray[np.int32]
    border: NDArray[np.float64]
    default_left: NDArray[np.bool_]
    category: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: list[tuple[int, int, float, bool, int]]) -> CatBoostSplits:
        """Make the arrays of one tuple a split, in the order of the fields."""
        kind, column, border, default_left, category = (
            zip(*rows, strict=True) if rows else ((), (), (), (), ())
        )
        splits = cls(
            kind=np.array(kind, np.uint8),
            column=np.array(column, NODE),
            border=np.array(border, np.float64),
            default_left=np.array(default_left, np.bool_),
            category=np.array(category, OFFSET),
        )
        if np.isnan(splits.border).any():
            fail("a border is not a number")
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
        """Keep the first trees."""
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
    """What a CatBoost file says, uninterpreted.

    Parameters
    ----------
    info : dict of str to str or dict
        Its remarks: training parameters, classes, the library's version.
    features : CatBoostFeatures
    splits : CatBoostSplits
    trees : CatBoostTrees
    scale : float
        Factor of the sum over trees.
    bias : ndarray of float64, shape (n_outputs,)
        Added to it.
    """

    info: dict[str, Any]
    features: CatBoostFeatures
    splits: CatBoostSplits
    trees: CatBoostTrees
    scale: float
    bias: NDArray[np.float64]


def fail(problem: str, cause: Exception | None = None) -> NoReturn:
    """Raise the one error that all faults of a file end in."""
    raise ModelFormatError(
        f"This is not a whole CatBoost model: {problem}. Save it again with "
        "model.save_model(path)."
    ) from cause


def parse_info(info: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read a remark that is a JSON object, or holds the text of one.

    Parameters
    ----------
    info : dict
        All remarks.
    name : str
        Name of the remark.

    Returns
    -------
    dict
        Empty if there is none.
    """
    found = info.get(name, {})
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            fail(f"the remark {name} is not whole JSON", error)
    if not isinstance(found, dict):
        fail(f"the remark {name} is not a JSON object")
    return found


def check_columns(columns: dict[int, str], names: dict[int, str]) -> tuple[int, Any]:
    """Check column numbers; give how many columns there are, and their names."""
    if not columns:
        fail("it has no features")
    n_features = len(columns)
    if min(columns) < 0 or max(columns) >= n_features:
        fail("the features' columns are not numbered without gaps")
    if not any(names.values()):
        return n_features, None
    return n_features, tuple(names.get(k) or str(k) for k in range(n_features))


def expand_symmetric(
    depth: NDArray[np.int64],
    split: NDArray[np.int64],
    leaf_value: NDArray[np.float64],
    leaf_weight: NDArray[np.float64] | None,
) -> CatBoostTrees:
    """Write trees that test one split a level out as trees of nodes.

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
        fail("a tree's depth is out of range")
    n_leaves = np.left_shift(1, depth)
    if n_leaves.sum() != len(leaf_value):
        fail("the leaf values are not as many as the trees' depths ask for")
    if depth.sum() != len(split):
        fail("the splits are not as many as the trees' depths ask for")
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
        place = node_first[trees, np.newaxis] + number
        tested[place] = split[split_first[trees, np.newaxis] + (levels - 1 - level)]
        left[place] = np.where(is_last, ~leaf, child)
        right[place] = np.where(is_last, ~(leaf + 1), child + 1)
    return CatBoostTrees(n_leaves, tested, left, right, leaf_value, leaf_weight)
