"""Arrays that are to be trees, frozen and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import BITS, COUNT, FLAG, NODE, OFFSET, REAL
from treeinf.ensemble.facts import EVERY_OUTPUT, Missing
from treeinf.errors import ModelFormatError

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

__all__ = [
    "ARRAYS",
    "OPTIONAL",
    "OPTIONAL_OF_LEAVES",
    "check_leaves",
    "check_nodes",
    "check_trees",
    "freeze",
]

ARRAYS: dict[str, Any] = {
    "node_offset": OFFSET,
    "leaf_offset": OFFSET,
    "iteration": NODE,
    "output": NODE,
    "shrinkage": REAL,
    "feature": NODE,
    "threshold": REAL,
    "left": NODE,
    "right": NODE,
    "default_left": FLAG,
    "missing": np.uint8,
    "is_categorical": FLAG,
    "category_offset": OFFSET,
    "category_bits": BITS,
    "leaf_value": REAL,
    "base_score": REAL,
    "base_score_folded": REAL,
    "leaf_count": COUNT,
    "leaf_hessian": REAL,
    "leaf_weight": REAL,
    "leaf_l2": REAL,
    "leaf_row": NODE,
}
"""Every array of an ensemble, with its dtype."""

OPTIONAL_OF_LEAVES = ("leaf_count", "leaf_hessian", "leaf_weight", "leaf_l2")
OPTIONAL = (*OPTIONAL_OF_LEAVES, "leaf_row")


def freeze(name: str, array: Any, dtype: Any) -> NDArray[Any]:
    """Copy to a contiguous, read-only array of the named dtype."""
    given = np.asarray(array)
    if given.dtype.kind not in "biuf" or not np.can_cast(
        given.dtype, dtype, "same_kind"
    ):
        raise ModelFormatError(
            f"{name} has dtype {given.dtype}; expected {np.dtype(dtype)}."
        )
    if given.dtype.kind in "iu" and np.dtype(dtype).kind in "iu" and given.size:
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise ModelFormatError(f"{name} has values that do not fit {limits.dtype}.")
    frozen = np.array(given, dtype=dtype, order="C")
    frozen.setflags(write=False)
    return frozen


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise ModelFormatError(message)


def check_trees(ensemble: TreeEnsemble) -> None:
    """Refuse offsets and per-tree arrays that do not fit together."""
    n_trees = len(ensemble.iteration)
    _require(n_trees > 0, "The model has no trees.")
    for name in ("output", "shrinkage"):
        _require(
            getattr(ensemble, name).shape == (n_trees,),
            f"{name} has shape {getattr(ensemble, name).shape}; expected ({n_trees},).",
        )
    for name, length in (
        ("node_offset", len(ensemble.feature)),
        ("leaf_offset", len(ensemble.leaf_value)),
    ):
        offset = getattr(ensemble, name)
        _require(
            offset.shape == (n_trees + 1,)
            and offset[0] == 0
            and offset[-1] == length
            and (np.diff(offset) >= 0).all(),
            f"{name} must rise from 0 to {length} in {n_trees} steps.",
        )
    _require(
        (np.diff(ensemble.leaf_offset) == np.diff(ensemble.node_offset) + 1).all(),
        "A tree must have one leaf more than it has nodes.",
    )
    _require(
        ensemble.iteration[0] >= 0 and (np.diff(ensemble.iteration) >= 0).all(),
        "Trees must be ordered by iteration.",
    )
    n_outputs = len(ensemble.base_score)
    _require(
        ensemble.base_score.shape == (n_outputs,) and n_outputs > 0,
        "base_score must have one value an output.",
    )
    _require(
        ensemble.base_score_folded.shape == (n_outputs,),
        f"base_score_folded must have {n_outputs} values.",
    )
    if ensemble.leaf_value.ndim == 2 and ensemble.leaf_value.shape[1] > 1:
        _require(
            (ensemble.output == EVERY_OUTPUT).all()
            and ensemble.leaf_value.shape[1] == n_outputs,
            "Leaves with several values must hold one for each output.",
        )
    else:
        _require(
            (ensemble.output >= (EVERY_OUTPUT if n_outputs == 1 else 0)).all()
            and (ensemble.output < n_outputs).all(),
            f"output must be in [0, {n_outputs}).",
        )
    _require(np.isfinite(ensemble.base_score).all(), "base_score must be finite.")
    _require(
        np.isfinite(ensemble.base_score_folded).all(),
        "base_score_folded must be finite.",
    )
    _require(np.isfinite(ensemble.shrinkage).all(), "shrinkage must be finite.")
    if ensemble.leaf_row is not None:
        row = ensemble.leaf_row
        _require(row.shape == (n_trees,), f"leaf_row must have {n_trees} numbers.")
        newest = np.maximum.accumulate(row)
        _require(
            row[0] == 0 and (np.diff(newest) <= 1).all() and (row >= 0).all(),
            "leaf_row must rise by 1 from 0 where its numbers are new.",
        )
        firsts = np.unique(row, return_index=True)[1]
        _require(
            (
                np.diff(ensemble.leaf_offset)
                == np.diff(ensemble.leaf_offset)[firsts][row]
            ).all(),
            "Trees of one leaf_row must have the same leaves.",
        )
    if ensemble.loss is not None:
        _require(
            ensemble.loss.n_outputs == n_outputs,
            f"{ensemble.loss!r} has {ensemble.loss.n_outputs} outputs; the model has "
            f"{n_outputs}.",
        )


def check_nodes(ensemble: TreeEnsemble) -> None:
    """Refuse nodes that do not make trees."""
    n_nodes = len(ensemble.feature)
    for name in (
        "threshold",
        "left",
        "right",
        "default_left",
        "missing",
        "is_categorical",
    ):
        _require(
            getattr(ensemble, name).shape == (n_nodes,),
            f"{name} has shape {getattr(ensemble, name).shape}; expected ({n_nodes},).",
        )
    offset = ensemble.category_offset
    _require(
        offset.shape == (n_nodes + 1,)
        and offset[0] == 0
        and offset[-1] == len(ensemble.category_bits)
        and (np.diff(offset) >= 0).all(),
        "category_offset must rise from 0 to the number of words in category_bits.",
    )
    _require(
        ((ensemble.feature >= 0) & (ensemble.feature < ensemble.n_features)).all(),
        f"feature must be in [0, {ensemble.n_features}).",
    )
    _require(not np.isnan(ensemble.threshold).any(), "threshold must not be NaN.")
    _require((ensemble.missing <= max(Missing)).all(), "missing must be 0, 1 or 2.")
    tree = np.repeat(np.arange(len(ensemble.iteration)), np.diff(ensemble.node_offset))
    is_node_child = np.zeros(n_nodes, np.int64)
    is_leaf_child = np.zeros(len(ensemble.leaf_value), np.int64)
    parent = np.full(n_nodes, -1, np.int64)
    for child in (ensemble.left, ensemble.right):
        is_node = child >= 0
        first, count = ensemble.node_offset[tree], np.diff(ensemble.node_offset)[tree]
        node = np.where(is_node, first + child, 0)
        leaf_first, leaf_count = ensemble.leaf_offset[tree], count + 1
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
    roots = ensemble.node_offset[:-1][np.diff(ensemble.node_offset) > 0]
    expected = np.ones(n_nodes, np.int64)
    expected[roots] = 0
    _require((is_node_child == expected).all(), "A node must have exactly one parent.")
    has_nodes = np.repeat(
        np.diff(ensemble.node_offset) > 0, np.diff(ensemble.leaf_offset)
    )
    _require((is_leaf_child == has_nodes).all(), "A leaf must have exactly one parent.")
    # With one parent each, nodes that do not lead up to a root go round in a cycle;
    # jumping to the parent's parent doubles the way in each step.
    ancestor = parent
    for _ in range(max(n_nodes, 1).bit_length()):
        inside = ancestor >= 0
        ancestor = np.where(inside, ancestor[np.where(inside, ancestor, 0)], -1)
    _require((ancestor < 0).all(), "The children of a tree go round in a cycle.")


def check_leaves(ensemble: TreeEnsemble) -> None:
    """Refuse leaf arrays that do not fit together."""
    values = ensemble.leaf_value
    _require(
        values.ndim == 2 and values.shape[1] > 0,
        f"leaf_value has shape {values.shape}; expected (n_leaves, leaf_width).",
    )
    _require(np.isfinite(values).all(), "leaf_value must be finite.")
    for name in OPTIONAL_OF_LEAVES:
        array = getattr(ensemble, name)
        if array is None:
            continue
        _require(
            array.shape == (len(values),),
            f"{name} has shape {array.shape}; expected ({len(values)},).",
        )
        _require(
            np.isfinite(array).all() and (array >= 0).all(),
            f"{name} must be finite and at least 0.",
        )
