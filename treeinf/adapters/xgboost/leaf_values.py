"""How XGBoost's leaf values came about: learning rates, penalties, version's rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.files import XGBoostFile
from treeinf.adapters.xgboost.objectives import QUANTILE_OBJECTIVES
from treeinf.adapters.xgboost.parameters import XGBoostParameters
from treeinf.adapters.xgboost.trees import XGBoostTrees
from treeinf.dtypes import REAL
from treeinf.ensemble import LeafRule

__all__ = ["SMOOTHS_QUANTILES", "leaf_rule", "other_rule", "recover_rates"]

_FITS_LIGHT_LEAVES = (3, 4)
"""From here on `min_child_weight` bounds splits alone, and leaves below it are fitted.

Before, they were 0, in vector leaves output by output.
"""
SMOOTHS_QUANTILES = (3, 4)
"""From here on the quantile objectives take Newton steps on a smooth loss.

Its width follows from all rows. Before, leaf values were order statistics of residuals.
"""

_AGREEMENT = 1e-4
"""Relative difference up to which a tree agrees with its learning rate."""
_CONTRADICTION = 1e-3
"""Share of a node's gradients that the penalties must not leave unexplained."""
_WITNESS = 1e-2
"""Share of a tree's gradients from which on it determines its learning rate."""


def leaf_rule(
    objective: str,
    parameters: XGBoostParameters,
    is_witnessed: bool,
    trained_by: tuple[int, ...],
) -> LeafRule:
    """Return how XGBoost of version `trained_by` turned gradients into leaf values.

    Where the trees contradict the penalties (`is_witnessed` is False), nothing is
    known of the rule.
    """
    if objective in QUANTILE_OBJECTIVES:
        is_smooth = trained_by >= SMOOTHS_QUANTILES
        return LeafRule("unknown" if is_smooth else "quantile")
    if not is_witnessed:
        return LeafRule("unknown")
    lightest = 0.0
    if trained_by < _FITS_LIGHT_LEAVES:
        lightest = max(parameters.number("min_child_weight"), 0.0)
    return LeafRule(
        "newton",
        l1_leaf=parameters.number("alpha"),
        max_leaf_value=max(parameters.number("max_delta_step"), 0.0),
        min_leaf_hessian=lightest,
        fits_single_leaf=True,
    )


def other_rule(
    file: XGBoostFile, parameters: XGBoostParameters, trees: XGBoostTrees
) -> str | None:
    """Name another rule that leaf values may follow, where some would differ by it."""
    trained_by = parameters.version(file.version_numbers)
    if trained_by < _FITS_LIGHT_LEAVES or parameters.number("min_child_weight") <= 0.0:
        return None
    has_splits = np.diff(trees.leaf_offset) > 1
    if trees.leaf_value.shape[1] == 1 and has_splits.all():
        return None  # only a root can be as light, where a split was allowed
    return (
        "an XGBoost before 3.4 trained the model, which a later one wrote: then pass "
        "read_model(..., parameters={'version': '3.2'})"
    )


def recover_rates(
    trees: XGBoostTrees, parameters: XGBoostParameters, rates: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Check learning rates and penalties against the leaf values and node weights.

    Parameters
    ----------
    trees : XGBoostTrees
        The trees.
    parameters : XGBoostParameters
        Training parameters.
    rates : ndarray of float64, shape (n_trees,)
        Shrinkage of each tree by the parameters.

    Returns
    -------
    ndarray of float64, shape (n_trees,), or None
        Shrinkage of each tree: `rates` where the tree agrees or is too small to tell,
        else what it was trained with (a schedule, training continued). None if the
        penalties cannot be those of training: a booster that was loaded from a file
        has XGBoost's defaults, whatever it was trained with.

    Notes
    -----
    A node above two leaves keeps its own value w without shrinkage. The gradients of
    its rows, ``w (H + l2) + sign(w) l1``, are the sum of those of its two leaves, which
    are known up to the learning rate. Where several leaves of a tree share the largest
    value, it is the bound times the learning rate.
    """
    if trees.node_hessian is None or trees.leaf_hessian is None:
        return rates
    if trees.node_weight is None:
        return rates
    node = np.flatnonzero((trees.left < 0) & (trees.right < 0))
    if not len(node):
        return rates
    tree = np.searchsorted(trees.node_offset, node, side="right") - 1
    l1, l2 = parameters.number("alpha"), parameters.number("lambda")
    bound = parameters.number("max_delta_step")
    weight = trees.node_weight[node]
    above = weight * (trees.node_hessian[node] + l2) + np.sign(weight) * l1
    below = np.zeros(len(node))
    size = np.zeros(len(node))
    is_free = np.isfinite(above)
    lightest = parameters.number("min_child_weight") * (1.0 - _AGREEMENT)
    # leaves at the bound are the largest of their tree
    largest = np.maximum.reduceat(
        np.abs(trees.leaf_value[:, 0]), trees.leaf_offset[:-1]
    )
    if l1 > 0.0:
        is_free &= weight != 0.0
    if bound > 0.0:
        is_free &= np.abs(weight) < bound * (1.0 - _AGREEMENT)
    for child in (trees.left, trees.right):
        leaf = trees.leaf_offset[tree] + ~child[node].astype(np.int64)
        value = trees.leaf_value[leaf, 0]
        gradient = value * (trees.leaf_hessian[leaf] + l2)
        below += gradient
        size += np.abs(gradient)
        above -= np.sign(value) * l1
        if l1 > 0.0:
            is_free &= value != 0.0
        if bound > 0.0:
            is_free &= np.abs(value) < largest[tree] * (1.0 - _AGREEMENT)
        is_free &= trees.leaf_hessian[leaf] >= lightest
    chosen = np.flatnonzero(is_free)
    tree, above, below, size = tree[chosen], above[chosen], below[chosen], size[chosen]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(tree, values, len(rates)).astype(REAL)

    squares = total(above**2)
    is_witness = squares * rates**2 > _WITNESS**2 * total(size**2)
    ratio = total(above * below) / np.where(is_witness, squares, 1.0)
    fitted = np.where(is_witness, ratio, rates)
    if bound > 0.0:
        size_of_leaf = np.abs(trees.leaf_value[:, 0])
        at_bound = size_of_leaf == np.repeat(largest, np.diff(trees.leaf_offset))
        n_at_bound = np.add.reduceat(at_bound.astype(np.int64), trees.leaf_offset[:-1])
        fitted = np.where(~is_witness & (n_at_bound > 1), largest / bound, fitted)
    fitted = np.where(np.abs(fitted - rates) <= _AGREEMENT * rates, rates, fitted)
    gap = np.abs(below - fitted[tree] * above)
    if np.any(gap > _CONTRADICTION * size) or np.any(fitted <= 0.0):
        return None
    return fitted
