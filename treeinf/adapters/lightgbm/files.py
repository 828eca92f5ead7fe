"""What a LightGBM file says, as checked arrays; the text and the JSON parser fill it.

Nothing here interprets a model. Every fault in a file ends in a `ModelFormatError`, and
nothing is allocated by a number that a file merely claims: sizes follow from what is
there.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.errors import ModelFormatError

__all__ = [
    "LightGBMFile",
    "LightGBMTrees",
    "LinearTreesError",
    "any_nonzero",
    "check_labels",
    "check_trees",
    "fail",
    "read_array",
    "read_integer",
    "shorten",
]

_MAX_NUMBER = np.iinfo(NODE).max


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
        Sum of hessians; NaN in trees that do not say.
    leaf_count : ndarray of int64, shape (n_leaves,), or None
        Train rows; None unless every tree says.
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
        """Keep the first trees.

        Parameters
        ----------
        n_trees : int
            Trees to keep.

        Returns
        -------
        LightGBMTrees
        """
        n_leaves = self.n_leaves[:n_trees]
        leaves = slice(int(n_leaves.sum()))
        nodes = slice(int((n_leaves - 1).sum()))
        offset = self.category_offset[: nodes.stop + 1]
        return LightGBMTrees(
            n_leaves=n_leaves,
            shrinkage=self.shrinkage[:n_trees],
            feature=self.feature[nodes],
            left=self.left[nodes],
            right=self.right[nodes],
            threshold=self.threshold[nodes],
            default_left=self.default_left[nodes],
            is_categorical=self.is_categorical[nodes],
            missing=self.missing[nodes],
            category_offset=offset,
            category_bits=self.category_bits[: offset[-1]],
            leaf_value=self.leaf_value[leaves],
            leaf_weight=None if self.leaf_weight is None else self.leaf_weight[leaves],
            leaf_count=None if self.leaf_count is None else self.leaf_count[leaves],
        )


@dataclasses.dataclass(frozen=True)
class LightGBMFile:
    """What a LightGBM file says, uninterpreted.

    Parameters
    ----------
    version : str
        Version of the format, such as "v4"; not of the library.
    n_outputs : int
        Trees in an iteration.
    n_features : int
        Columns of the rows.
    objective : str
        Objective with its options, such as "binary sigmoid:1"; empty if custom.
    feature_names : tuple of str
        Names, blanks replaced by underscores.
    category_bins : dict of int to tuple of int, or None
        For each categorical feature that varied in training, the categories of its
        bins, the first being -1 for missing and rare ones; None if the file is silent.
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


class LinearTreesError(Exception):
    """Leaves hold linear models; the adapter words the refusal."""


def fail(problem: str, cause: Exception | None = None) -> NoReturn:
    """Raise the one error that all faults of a file end in."""
    raise ModelFormatError(
        f"This is not a whole LightGBM model: {problem}. Save it again with "
        "booster.save_model(path)."
    ) from cause


def read_integer(value: Any, what: str, low: int, high: int = _MAX_NUMBER) -> int:
    """Read one integer in [low, high], from a token or a JSON number."""
    try:
        number = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError, OverflowError) as error:
        fail(f"{what} is {shorten(value)}, not an integer", error)
    if not low <= number <= high or isinstance(value, bool):
        fail(f"{what} is {shorten(value)}, expected {low} to {high}")
    return number


def shorten(value: Any) -> str:
    """Show what was found in an error message."""
    text = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def read_array(values: Sequence[Any], what: str, dtype: Any) -> NDArray[Any]:
    """Turn tokens or JSON numbers into an array, refusing what does not fit."""
    convert: Callable[[Any], Any] = float
    if dtype is not REAL:
        convert = int if values and isinstance(values[0], str) else operator.index
    try:
        wide = np.array(list(map(convert, values)), REAL if dtype is REAL else OFFSET)
    except (TypeError, ValueError, OverflowError) as error:
        fail(f"{what} holds something that is not a number of its kind", error)
    if dtype in (REAL, OFFSET):
        return wide
    limits = np.iinfo(dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        fail(f"{what} holds a number out of range")
    return wide.astype(dtype)


def check_trees(trees: LightGBMTrees, n_outputs: int, n_features: int) -> None:
    """Refuse indices that would make the reader itself step out of its arrays."""
    n_leaves = np.repeat(trees.n_leaves, trees.n_leaves - 1)
    for name, child in (("left_child", trees.left), ("right_child", trees.right)):
        if np.any(child >= n_leaves - 1) or np.any(child < -n_leaves):
            fail(f"{name} points out of its tree")
    if np.any(trees.feature < 0) or np.any(trees.feature >= n_features):
        fail(f"a node tests a feature outside the {n_features} there are")
    if not np.isfinite(trees.leaf_value).all():
        fail("a leaf value is not finite")
    if np.isnan(trees.threshold).any():
        fail("a threshold is not a number")
    if not np.isfinite(trees.shrinkage).all():
        fail("a tree's shrinkage is not finite")
    if trees.leaf_count is not None and np.any(trees.leaf_count < 0):
        fail("a leaf count is negative")
    n_trees = len(trees.n_leaves)
    if n_trees % n_outputs or (n_trees == 0 and n_outputs > 1_000_000):
        fail(f"{n_trees} trees do not make whole iterations of {n_outputs}")


def any_nonzero(values: Iterable[Any]) -> bool:
    """Tell whether a listing has an entry that is not 0."""
    return any(str(value) not in ("0", "0.0") for value in values)


def check_labels(labels: Any) -> list[list[Any]] | None:
    """Refuse category labels that are not lists of plain values."""
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(
        isinstance(column, list)
        and all(isinstance(label, (str, int, float, bool)) for label in column)
        for column in labels
    ):
        fail("pandas_categorical is not a list of lists of labels")
    return labels or None
