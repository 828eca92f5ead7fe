"""Infer how XGBoost computed leaf values: learning rates, penalties, version."""

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
"""Since this version `min_child_weight` constrains splits only.

Before, leaves below it had the value 0, for vector leaves output by output.
"""
SMOOTHS_QUANTILES = (3, 4)
"""Since this version the quantile objectives take Newton steps on a smooth loss.

Its width depends on all rows. Before, leaf values were order statistics of residuals.
"""

_AGREEMENT = 1e-4
"""Relative difference up to which a tree agrees with its learning rate."""
_CONTRADICTION = 1e-3
"""Unexplained share of a node's gradients that contradicts the penalties."""
_WITNESS = 1e-2
"""Smallest share of a tree's gradients that determines its learning rate."""


def leaf_rule(
    objective: str,
    parameters: XGBoostParameters,
    rates_agree: bool,
    trained_by: tuple[int, ...],
) -> LeafRule:
    """Return how XGBoost of version `trained_by` turned gradients into leaf values.

    The rule is "unknown" if the trees contradict the penalties (`rates_agree` is
    False).
    """
    if objective in QUANTILE_OBJECTIVES:
        is_smooth = trained_by >= SMOOTHS_QUANTILES
        return LeafRule("unknown" if is_smooth else "quantile")
    if not rates_agree:
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
    file: XGBoostFile,
    parameters: XGBoostParameters,
    trees: XGBoostTrees,
    is_inferred: bool,
) -> str | None:
    """Describe what else may have set leaf values, as far as no file tells.

    Parameters
    ----------
    file : XGBoostFile
        Content of the file.
    parameters : XGBoostParameters
        Training parameters.
    trees : XGBoostTrees
        The trees.
    is_inferred : bool
        Whether parameters were inferred from the trees, since none are stored.

    Returns
    -------
    str or None
    """
    rules = []
    if is_inferred and parameters.may_have_sampled:
        rules.append(
            "a sample of the rows for each tree, by a seed that was not found: pass "
            "read_model(..., parameters={'subsample': 0.8, 'seed': 7}) with those of "
            "the training"
        )
    if parameters.objective is None:
        rules.append(
            "a custom objective (obj=), which XGBoost does not store: if a built-in "
            "one has the same gradients, pass read_model(..., parameters={'objective': "
            "'binary:logistic'}) or its name; else TreeSim, Trex and LOO explain it"
        )
    trained_by = parameters.version(file.version_numbers)
    # leaves of allowed splits are not below min_child_weight
    can_be_light = (
        trees.leaf_value.shape[1] > 1 or (np.diff(trees.leaf_offset) < 2).any()
    )
    is_fitted = trained_by >= _FITS_LIGHT_LEAVES
    if is_fitted and can_be_light and parameters.number("min_child_weight") > 0.0:
        rules.append(
            "an XGBoost before 3.4 trained the model, which a later one wrote: then "
            "pass read_model(..., parameters={'version': '3.2'})"
        )
    return ", or ".join(rules) or None


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
        else the inferred rate (from a schedule or continued training). None if the
        penalties cannot be those of training: a booster loaded from a file has
        XGBoost's defaults, whatever it was trained with.

    Notes
    -----
    The file stores the unshrunk value w of a node above two leaves. Its gradient sum,
    ``w (H + l2) + sign(w) l1``, is the sum of those of its two leaves, which are known
    up to the learning rate. If several leaves of a tree share the largest value, it is
    the bound times the learning rate.
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
