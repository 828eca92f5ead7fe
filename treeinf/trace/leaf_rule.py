"""The rule by which a library turns sums of gradients into leaf values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import LeafRule, TreeEnsemble

__all__ = ["apply_leaf_rule", "has_fitted_values", "is_fitted_leaf", "newton_step"]

Array = NDArray[np.float64]

_ROUNDING = 1e-5
"""Relative error that a sum of hessians in single precision may have at a bound."""


def newton_step(
    gradient: Array, hessian: Array, l2: Array | float, rule: LeafRule
) -> tuple[Array, Array]:
    """Compute leaf values before shrinkage from sums, without path smoothing.

    Parameters
    ----------
    gradient, hessian : ndarray of float64
        Sums over the rows of each leaf or node.
    l2 : float64, or ndarray that broadcasts with the sums
        Penalty.
    rule : LeafRule
        L1 penalty, bound and smallest hessian.

    Returns
    -------
    step, response : ndarray of float64
        The values, and minus their derivatives with respect to the gradient sums.
    """
    denominator = hessian + l2
    is_free = denominator > 0.0
    if rule.l1_leaf > 0.0:
        is_free &= np.abs(gradient) > rule.l1_leaf
        gradient = gradient - np.sign(gradient) * rule.l1_leaf
    is_free &= hessian >= rule.min_leaf_hessian * (1.0 - _ROUNDING)
    denominator = np.where(is_free, denominator, 1.0)
    step = np.where(is_free, -gradient / denominator, 0.0)
    response = np.where(is_free, 1.0 / denominator, 0.0)
    if rule.max_leaf_value > 0.0:
        response[np.abs(step) > rule.max_leaf_value] = 0.0
        step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
    return step, response


def apply_leaf_rule(
    ensemble: TreeEnsemble,
    leaf_gradient: Array,
    leaf_hessian: Array,
    leaf_rows: NDArray[np.int64],
) -> tuple[Array, Array]:
    """Compute the leaf values of all trees before shrinkage, and their response.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its penalties in the units of the sums; trees of one step.
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Sums over the rows of each leaf.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        Rows in each leaf.

    Returns
    -------
    step, response : ndarray of float64, shape (n_leaves, leaf_width)
        See `newton_step`; 0 in trees that hold no fitted values.
    """
    rule = ensemble.leaf_rule
    assert ensemble.leaf_l2 is not None
    step, response = newton_step(
        leaf_gradient, leaf_hessian, ensemble.leaf_l2[:, np.newaxis], rule
    )
    if rule.path_smooth > 0.0:
        share = leaf_rows / (leaf_rows + rule.path_smooth)
        response *= share[:, np.newaxis]
        step = _smooth_paths(ensemble, leaf_gradient, leaf_hessian, leaf_rows, step)
    is_constant = ~is_fitted_leaf(ensemble)
    step[is_constant] = 0.0
    response[is_constant] = 0.0
    return step, response


def has_fitted_values(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Return whether each tree holds fitted values, shape (n_trees,).

    In most libraries a tree of one leaf does not: nothing could be split, and its value
    is the base score alone.
    """
    has_splits = np.diff(ensemble.leaf_offset) > 1
    return has_splits | ensemble.leaf_rule.fits_single_leaf


def is_fitted_leaf(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Return whether each leaf is one of such a tree, shape (n_leaves,)."""
    return np.repeat(has_fitted_values(ensemble), np.diff(ensemble.leaf_offset))


def _smooth_paths(
    ensemble: TreeEnsemble,
    leaf_gradient: Array,
    leaf_hessian: Array,
    leaf_rows: NDArray[np.int64],
    leaf_step: Array,
) -> Array:
    """Pull each node's value towards its parent's, from the root to the leaves.

    A node of n rows keeps n / (n + path_smooth) of its value. The l2 of an inner node
    is taken to be the smallest of the tree's leaves.
    """
    rule = ensemble.leaf_rule
    assert ensemble.leaf_l2 is not None
    smoothed = leaf_step.copy()
    for tree in range(ensemble.n_trees):
        nodes = slice(ensemble.node_offset[tree], ensemble.node_offset[tree + 1])
        first = int(ensemble.leaf_offset[tree])
        left, right = ensemble.left[nodes], ensemble.right[nodes]
        if not len(left):
            continue
        order = [0]
        for node in order:
            order += [int(child) for child in (left[node], right[node]) if child >= 0]
        sums = np.zeros((len(left), 2, ensemble.leaf_width))
        counts = np.zeros(len(left))
        for node in reversed(order):
            for child in (left[node], right[node]):
                if child >= 0:
                    sums[node] += sums[child]
                    counts[node] += counts[child]
                else:
                    sums[node, 0] += leaf_gradient[first + ~child]
                    sums[node, 1] += leaf_hessian[first + ~child]
                    counts[node] += leaf_rows[first + ~child]
        l2 = float(ensemble.leaf_l2[first : first + len(left) + 1].min())
        value, _ = newton_step(sums[:, 0], sums[:, 1], l2, rule)
        share = (counts / (counts + rule.path_smooth))[:, np.newaxis]
        value *= share
        for node in order:
            for child in (left[node], right[node]):
                if child >= 0:
                    value[child] += (1.0 - share[child]) * value[node]
                else:
                    leaf = first + ~child
                    kept = leaf_rows[leaf] / (leaf_rows[leaf] + rule.path_smooth)
                    smoothed[leaf] = kept * leaf_step[leaf] + (1.0 - kept) * value[node]
    return smoothed
