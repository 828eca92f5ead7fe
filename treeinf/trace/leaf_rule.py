"""Leaf values from sums of gradients, by the library's own rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble

__all__ = ["apply_leaf_rule", "has_fit", "is_fitted_leaf"]

_ROUNDING = 1e-5
"""Share by which a sum of hessians in single precision may miss a bound."""


def apply_leaf_rule(
    ensemble: TreeEnsemble,
    leaf_gradient: NDArray[np.float64],
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute leaf values before shrinkage from gradient sums, and their response."""
    rule = ensemble.leaf_rule
    assert ensemble.leaf_l2 is not None
    denominator = leaf_hessian + ensemble.leaf_l2[:, np.newaxis]
    is_free = (denominator > 0.0) & (np.abs(leaf_gradient) > rule.l1_leaf)
    if rule.l1_leaf == 0.0:
        is_free = denominator > 0.0
    shrunk = leaf_gradient - np.sign(leaf_gradient) * rule.l1_leaf
    step = np.where(is_free, -shrunk / np.where(is_free, denominator, 1.0), 0.0)
    response = np.where(is_free, 1.0 / np.where(is_free, denominator, 1.0), 0.0)
    if rule.max_leaf_value > 0.0:
        response[np.abs(step) > rule.max_leaf_value] = 0.0
        step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
    is_light = leaf_hessian < rule.min_leaf_hessian * (1.0 - _ROUNDING)
    step[is_light] = 0.0
    response[is_light] = 0.0
    if rule.path_smooth > 0.0:
        share = leaf_rows / (leaf_rows + rule.path_smooth)
        response *= share[:, np.newaxis]
        step = _smooth_paths(ensemble, leaf_gradient, leaf_hessian, leaf_rows, step)
    is_constant = ~is_fitted_leaf(ensemble)
    step[is_constant] = 0.0
    response[is_constant] = 0.0
    return step, response


def has_fit(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Tell which trees hold fitted values.

    In most libraries a tree of one leaf does not: nothing could be split, and what is
    stored there is the initial score alone.
    """
    has_splits = np.diff(ensemble.leaf_offset) > 1
    return has_splits | ensemble.leaf_rule.fits_single_leaf


def is_fitted_leaf(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Tell which leaves belong to such trees."""
    return np.repeat(has_fit(ensemble), np.diff(ensemble.leaf_offset))


def _smooth_paths(
    ensemble: TreeEnsemble,
    leaf_gradient: NDArray[np.float64],
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
    leaf_step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Pull each node's value towards its parent's, from the root to the leaves.

    A node of n rows keeps n / (n + path_smooth) of its own value. The l2 of an inner
    node is taken to be the smallest of the tree's leaves.
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
        l2 = ensemble.leaf_l2[first : first + len(left) + 1].min()
        gradient = sums[:, 0] - np.sign(sums[:, 0]) * np.minimum(
            np.abs(sums[:, 0]), rule.l1_leaf
        )
        value = -gradient / np.maximum(sums[:, 1] + l2, np.finfo(REAL).tiny)
        if rule.max_leaf_value > 0.0:
            value = np.clip(value, -rule.max_leaf_value, rule.max_leaf_value)
        share = (counts / (counts + rule.path_smooth))[:, np.newaxis]
        value *= share
        for node in order:
            for child in (left[node], right[node]):
                if child >= 0:
                    value[child] += (1.0 - share[child]) * value[node]
                else:
                    rows = leaf_rows[first + ~child]
                    own = rows / (rows + rule.path_smooth)
                    smoothed[first + ~child] = (
                        own * leaf_step[first + ~child] + (1.0 - own) * value[node]
                    )
    return smoothed
