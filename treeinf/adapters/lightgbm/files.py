"""Content of a LightGBM model file as validated arrays.

Both parsers, of model text and of dumped JSON, return a `LightGBMFile`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import FieldChecks
from treeinf.errors import UnsupportedModelError

__all__ = [
    "FIELDS",
    "LightGBMFile",
    "LightGBMTrees",
    "check_labels",
    "check_trees",
    "refuse_linear_trees",
]

FIELDS = FieldChecks("LightGBM")


_OF_NODES = (
    *("feature", "left", "right", "threshold"),
    *("default_left", "is_categorical", "missing"),
)
_OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")


@dataclasses.dataclass(frozen=True)
class LightGBMTrees:
    """The trees of a LightGBM file, concatenated.

    Parameters
    ----------
    n_leaves : ndarray of int64, shape (n_trees,)
        Leaves of each tree; a tree has one node less.
    shrinkage : ndarray of float64, shape (n_trees,)
        As written: six digits, and 1 where an initial score was added.
    feature, left, right : ndarray of int32, shape (n_nodes,)
        Feature tested and the two children, of which ``c < 0`` is leaf ``~c``.
    threshold : ndarray of float64, shape (n_nodes,)
        0.0 in categorical nodes.
    default_left, is_categorical : ndarray of bool, shape (n_nodes,)
        Flags of each node.
    missing : ndarray of uint8, shape (n_nodes,)
        Missing type as `Missing` numbers it.
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's words begin in `category_bits`.
    category_bits : ndarray of uint32, shape (n_words,)
        Sets of categories that go left.
    leaf_value : ndarray of float64, shape (n_leaves,)
        Leaf values as written.
    leaf_weight : ndarray of float64, shape (n_leaves,), or None
        Sum of hessians; NaN in trees that have none.
    leaf_count : ndarray of int64, shape (n_leaves,), or None
        Train rows; None unless every tree with a split has them. A tree of one leaf
        has 0 where none are stored.
    """

    n_leaves: NDArray[np.int64]
    shrinkage: NDArray[np.float64]
    feature: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    threshold: NDArray[np.float64]
    default_left: NDArray[np.bool_]
    is_categorical: NDArray[np.bool_]
    missing: NDArray[np.uint8]
    category_offset: NDArray[np.int64]
    category_bits: NDArray[np.uint32]
    leaf_value: NDArray[np.float64]
    leaf_weight: NDArray[np.float64] | None
    leaf_count: NDArray[np.int64] | None

    def first(self, n_trees: int) -> LightGBMTrees:
        """Return the first trees."""
        n_leaves = self.n_leaves[:n_trees]
        leaves = slice(int(n_leaves.sum()))
        nodes = slice(int((n_leaves - 1).sum()))
        cuts: dict[str, slice] = dict.fromkeys(_OF_NODES, nodes)
        cuts |= dict.fromkeys(_OF_LEAVES, leaves)
        cuts |= dict.fromkeys(("n_leaves", "shrinkage"), slice(n_trees))
        cuts["category_offset"] = slice(nodes.stop + 1)
        cuts["category_bits"] = slice(self.category_offset[nodes.stop])
        kept: dict[str, Any] = {}
        for name, cut in cuts.items():
            array = getattr(self, name)
            kept[name] = None if array is None else array[cut]
        return LightGBMTrees(**kept)


@dataclasses.dataclass(frozen=True)
class LightGBMFile:
    """Validated content of a LightGBM file.

    Parameters
    ----------
    version : str
        Version of the format, such as "v4"; not of the library.
    n_outputs : int
        Trees per iteration.
    n_features : int
        Columns of the rows.
    objective : str
        Objective with its options, such as "binary sigmoid:1"; empty if custom.
    feature_names : tuple of str
        Names, blanks replaced by underscores.
    category_bins : dict of int to tuple of int, or None
        For each categorical feature that varied in training, the categories of its
        bins, the first being -1 for missing and rare ones; None if it lists none.
    value_range : dict of int to tuple of float
        Smallest and largest train value of each numeric feature that varied.
    average_output : bool
        The trees are averaged (random forest mode).
    is_monotone : bool
        Monotone constraints were in force.
    parameters : dict of str to str, or None
        Training parameters in LightGBM's names; None where the file has none.
    pandas_categorical : list of list, or None
        Labels of each categorical column of the training frame, in column order.
    trees : LightGBMTrees
    """

    version: str
    n_outputs: int
    n_features: int
    objective: str
    feature_names: tuple[str, ...]
    category_bins: dict[int, tuple[int, ...]] | None
    value_range: dict[int, tuple[float, float]]
    average_output: bool
    is_monotone: bool
    parameters: dict[str, str] | None
    pandas_categorical: list[list[Any]] | None
    trees: LightGBMTrees


def refuse_linear_trees() -> NoReturn:
    """Raise the error for leaves that hold linear models."""
    raise UnsupportedModelError(
        "This LightGBM model was trained with linear_tree=True: its leaves hold "
        "linear models. Only constant leaves are supported: train with "
        "linear_tree=False to explain the model."
    )


def check_trees(trees: LightGBMTrees, n_outputs: int, n_features: int) -> None:
    """Refuse indices out of range and numbers that are not finite."""
    n_leaves = np.repeat(trees.n_leaves, trees.n_leaves - 1)
    for name, child in (("left_child", trees.left), ("right_child", trees.right)):
        if np.any(child >= n_leaves - 1) or np.any(child < -n_leaves):
            FIELDS.fail(f"{name} points outside its tree")
    if np.any(trees.feature < 0) or np.any(trees.feature >= n_features):
        FIELDS.fail(f"a node tests a feature outside [0, {n_features})")
    if not np.isfinite(trees.leaf_value).all():
        FIELDS.fail("a leaf value is not finite")
    if np.isnan(trees.threshold).any():
        FIELDS.fail("a threshold is not a number")
    if not np.isfinite(trees.shrinkage).all():
        FIELDS.fail("a tree's shrinkage is not finite")
    if trees.leaf_count is not None and np.any(trees.leaf_count < 0):
        FIELDS.fail("a leaf count is negative")
    n_trees = len(trees.n_leaves)
    if n_trees % n_outputs or (n_trees == 0 and n_outputs > 1_000_000):
        FIELDS.fail(f"{n_trees} trees do not make whole iterations of {n_outputs}")


def check_labels(labels: Any) -> list[list[Any]] | None:
    """Refuse category labels that are not lists of plain values."""
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(
        isinstance(column, list)
        and all(isinstance(label, (str, int, float, bool)) for label in column)
        for column in labels
    ):
        FIELDS.fail("pandas_categorical is not a list of lists of labels")
    return labels or None
