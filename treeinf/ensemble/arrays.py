"""Check the arrays of an ensemble, and select trees."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.errors import ModelFormatError

__all__ = [
    "ARRAY_TYPES",
    "EVERY_OUTPUT",
    "Missing",
    "check_arrays",
    "check_shapes",
    "freeze_arrays",
    "take_trees",
]

EVERY_OUTPUT = -1
"""Value of `TreeEnsemble.output` for a tree whose leaves hold all outputs."""


class Missing(enum.IntEnum):
    """Which values a node sends to its default child (LightGBM's three types)."""

    NONE = 0
    """No value: NaN is read as 0.0 and compared."""
    ZERO = 1
    """NaN and every value within the ensemble's zero threshold."""
    NAN = 2
    """NaN."""


Arrays = Mapping[str, NDArray[Any]]

_TREE_ARRAYS = {"iteration": NODE, "output": NODE, "shrinkage": REAL}
_NODE_ARRAYS = {
    "feature": NODE,
    "threshold": REAL,
    "left": NODE,
    "right": NODE,
    "default_left": FLAG,
    "missing": np.uint8,
    "is_categorical": FLAG,
}
_OUTPUT_ARRAYS = {"base_score": REAL, "base_score_folded": REAL}
_OPTIONAL_LEAF_ARRAYS = {
    "leaf_count": COUNT,
    "leaf_hessian": REAL,
    "leaf_weight": REAL,
    "leaf_l2": REAL,
}
_OPTIONAL_TREE_ARRAYS = {"leaf_row": NODE}
_OPTIONAL = _OPTIONAL_LEAF_ARRAYS | _OPTIONAL_TREE_ARRAYS
_OTHER_ARRAYS = {
    "node_offset": OFFSET,
    "leaf_offset": OFFSET,
    "category_offset": OFFSET,
    "category_bits": BITS,
    "leaf_value": REAL,
}
ARRAY_TYPES: dict[str, Any] = {
    **_OTHER_ARRAYS,
    **_TREE_ARRAYS,
    **_NODE_ARRAYS,
    **_OUTPUT_ARRAYS,
    **_OPTIONAL,
}
"""The type of every array of an ensemble, by name."""


def freeze_arrays(fields: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Copy the arrays among an ensemble's fields to read-only ones of their dtypes.

    Parameters
    ----------
    fields : mapping of str to Any
        Fields of a `TreeEnsemble`, in which optional arrays may be None.

    Returns
    -------
    dict of str to ndarray
        C-contiguous; without the arrays that are None.

    Raises
    ------
    ModelFormatError
        If a value cannot be an array of its dtype.
    """
    return {
        name: _freeze(name, fields[name], dtype)
        for name, dtype in ARRAY_TYPES.items()
        if fields[name] is not None or name not in _OPTIONAL
    }


def _freeze(name: str, array: Any, dtype: Any) -> NDArray[Any]:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf" or not np.can_cast(
        values.dtype, dtype, "same_kind"
    ):
        raise ModelFormatError(
            f"{name} has dtype {values.dtype}; expected {np.dtype(dtype)}."
        )
    if values.dtype.kind in "iu" and np.dtype(dtype).kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ModelFormatError(f"{name} has values that do not fit {limits.dtype}.")
    frozen = np.array(values, dtype=dtype, order="C")
    frozen.setflags(write=False)
    return frozen


def check_arrays(arrays: Arrays, n_features: int) -> None:
    """Check that arrays describe trees.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays of an ensemble, from `freeze_arrays`.
    n_features : int
        Columns of the rows.

    Raises
    ------
    ModelFormatError
        If shapes do not fit together, children are out of range, a node has no or two
        parents, or values are not finite.
    """
    check_shapes({name: array.shape for name, array in arrays.items()})
    for name in ("leaf_value", "shrinkage", *_OUTPUT_ARRAYS, *_OPTIONAL_LEAF_ARRAYS):
        _require(np.isfinite(arrays.get(name, 0.0)).all(), f"{name} must be finite.")
    for name in _OPTIONAL_LEAF_ARRAYS:
        _require(np.all(arrays.get(name, 0.0) >= 0.0), f"{name} must be at least 0.")
    _check_trees(arrays)
    _check_leaf_rows(arrays)
    _check_nodes(arrays, n_features)


def check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that the shapes of arrays fit together, whatever is in them.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of the arrays of an ensemble.

    Raises
    ------
    ModelFormatError
        If they do not.
    """
    for name in ARRAY_TYPES:
        _require(name in shapes or name in _OPTIONAL, f"{name} is missing.")
        n_dimensions = 2 if name == "leaf_value" else 1
        shape = shapes.get(name)
        _require(
            shape is None or len(shape) == n_dimensions,
            f"{name} has shape {shape}; expected {n_dimensions} dimension(s).",
        )
    n_trees, n_nodes = shapes["iteration"][0], shapes["feature"][0]
    n_leaves, leaf_width = shapes["leaf_value"]
    _require(n_trees > 0, "The model has no trees.")
    _require(leaf_width > 0, "leaf_value has no columns.")
    _require(
        n_leaves == n_nodes + n_trees,
        "A tree must have one leaf more than it has nodes.",
    )
    for names, length in (
        (_TREE_ARRAYS | _OPTIONAL_TREE_ARRAYS, n_trees),
        (("node_offset", "leaf_offset"), n_trees + 1),
        (_NODE_ARRAYS, n_nodes),
        (("category_offset",), n_nodes + 1),
        (_OUTPUT_ARRAYS, shapes["base_score"][0]),
        (_OPTIONAL_LEAF_ARRAYS, n_leaves),
    ):
        for name in filter(shapes.__contains__, names):
            _require(
                shapes[name] == (length,),
                f"{name} has shape {shapes[name]}; expected ({length},).",
            )


def take_trees(arrays: Arrays, trees: NDArray[np.int64]) -> dict[str, Any]:
    """Select trees, which then share no leaf ids.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays of an ensemble; optional ones may be None.
    trees : ndarray of int64, shape (n_taken,)
        Tree numbers, ordered by iteration; repeats are allowed.

    Returns
    -------
    dict of str to ndarray or None
        The fields that change.
    """
    nodes, node_offset = _gather(arrays["node_offset"], trees)
    leaves, leaf_offset = _gather(arrays["leaf_offset"], trees)
    words, category_offset = _gather(arrays["category_offset"], nodes)
    taken: dict[str, Any] = {
        "node_offset": node_offset,
        "leaf_offset": leaf_offset,
        "category_offset": category_offset,
        "category_bits": arrays["category_bits"][words],
        "leaf_row": None,
    }
    for names, entries in (
        (_TREE_ARRAYS, trees),
        (_NODE_ARRAYS, nodes),
        (("leaf_value", *_OPTIONAL_LEAF_ARRAYS), leaves),
    ):
        taken |= {
            name: arrays[name][entries]
            for name in names
            if arrays.get(name) is not None
        }
    return taken


def _gather(
    offset: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the entries of some groups, and their new offsets."""
    count = np.diff(offset)[groups]
    new_offset = np.concatenate([[0], np.cumsum(count)])
    first = np.repeat(offset[groups] - new_offset[:-1], count)
    return np.arange(new_offset[-1]) + first, new_offset


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise ModelFormatError(message)


def _check_trees(arrays: Arrays) -> None:
    """Check that offsets and per-tree arrays fit together."""
    n_trees = len(arrays["iteration"])
    for name, length in (
        ("node_offset", len(arrays["feature"])),
        ("leaf_offset", len(arrays["leaf_value"])),
    ):
        offset = arrays[name]
        _require(
            offset.shape == (n_trees + 1,)
            and offset[0] == 0
            and offset[-1] == length
            and (np.diff(offset) >= 0).all(),
            f"{name} must be non-decreasing from 0 to {length}, with {n_trees + 1} "
            "entries.",
        )
    _require(
        (np.diff(arrays["leaf_offset"]) == np.diff(arrays["node_offset"]) + 1).all(),
        "A tree must have one leaf more than it has nodes.",
    )
    _require(
        arrays["iteration"][0] >= 0 and (np.diff(arrays["iteration"]) >= 0).all(),
        "Trees must be ordered by iteration.",
    )
    n_outputs = len(arrays["base_score"])
    _require(n_outputs > 0, "base_score must have one value per output.")
    if arrays["leaf_value"].shape[1] > 1:
        _require(
            (arrays["output"] == EVERY_OUTPUT).all()
            and arrays["leaf_value"].shape[1] == n_outputs,
            "Leaves with several values must hold one for each output.",
        )
    else:
        _require(
            (arrays["output"] >= (EVERY_OUTPUT if n_outputs == 1 else 0)).all()
            and (arrays["output"] < n_outputs).all(),
            f"output must be in [0, {n_outputs}).",
        )


def _check_leaf_rows(arrays: Arrays) -> None:
    """Check that trees can share the leaf ids that `leaf_row` assigns."""
    row = arrays.get("leaf_row")
    if row is None:
        return
    newest = np.maximum.accumulate(row)
    _require(
        row[0] == 0 and (np.diff(newest) <= 1).all() and (row >= 0).all(),
        "leaf_row must use new numbers in the order 0, 1, 2, ...",
    )
    firsts = np.unique(row, return_index=True)[1]
    _require(
        (
            np.diff(arrays["leaf_offset"])
            == np.diff(arrays["leaf_offset"])[firsts][row]
        ).all(),
        "Trees with the same leaf_row must have the same number of leaves.",
    )


def _check_nodes(arrays: Arrays, n_features: int) -> None:
    """Check that nodes form trees."""
    n_nodes = len(arrays["feature"])
    offset = arrays["category_offset"]
    _require(
        offset.shape == (n_nodes + 1,)
        and offset[0] == 0
        and offset[-1] == len(arrays["category_bits"])
        and (np.diff(offset) >= 0).all(),
        "category_offset must be non-decreasing from 0 to the length of category_bits.",
    )
    _require(
        ((arrays["feature"] >= 0) & (arrays["feature"] < n_features)).all(),
        f"feature must be in [0, {n_features}).",
    )
    _require(not np.isnan(arrays["threshold"]).any(), "threshold must not be NaN.")
    _require((arrays["missing"] <= max(Missing)).all(), "missing must be 0, 1 or 2.")
    tree = np.repeat(
        np.arange(len(arrays["iteration"])), np.diff(arrays["node_offset"])
    )
    is_node_child = np.zeros(n_nodes, np.int64)
    is_leaf_child = np.zeros(len(arrays["leaf_value"]), np.int64)
    parent = np.full(n_nodes, -1, np.int64)
    for child in (arrays["left"], arrays["right"]):
        is_node = child >= 0
        first, count = arrays["node_offset"][tree], np.diff(arrays["node_offset"])[tree]
        node = np.where(is_node, first + child, 0)
        leaf_first, leaf_count = arrays["leaf_offset"][tree], count + 1
        leaf = np.where(is_node, 0, leaf_first + ~child.astype(np.int64))
        _require(
            np.where(
                is_node, child < count, ~child.astype(np.int64) < leaf_count
            ).all(),
            "A child lies outside its tree.",
        )
        is_node_child += np.bincount(node[is_node], minlength=n_nodes)
        is_leaf_child += np.bincount(leaf[~is_node], minlength=len(is_leaf_child))
        parent[node[is_node]] = np.flatnonzero(is_node)
    roots = arrays["node_offset"][:-1][np.diff(arrays["node_offset"]) > 0]
    expected = np.ones(n_nodes, np.int64)
    expected[roots] = 0
    _require((is_node_child == expected).all(), "A node must have exactly one parent.")
    has_nodes = np.repeat(
        np.diff(arrays["node_offset"]) > 0, np.diff(arrays["leaf_offset"])
    )
    _require((is_leaf_child == has_nodes).all(), "A leaf must have exactly one parent.")
    # Every node has one parent, so nodes that do not reach a root are in a cycle;
    # pointer jumping doubles the distance climbed in each step.
    ancestor = parent
    for _ in range(max(n_nodes, 1).bit_length()):
        inside = ancestor >= 0
        ancestor = np.where(inside, ancestor[np.where(inside, ancestor, 0)], -1)
    _require((ancestor < 0).all(), "The children of a tree form a cycle.")
