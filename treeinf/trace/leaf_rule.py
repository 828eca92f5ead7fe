"""The rule by which a library turns sums of gradients into leaf values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import LeafRule, TreeEnsemble
from treeinf.kernels.cpu import leaf_rule as kernels

__all__ = ["apply_leaf_rule", "has_fitted_values", "is_fitted_leaf", "newton_step"]

Array = NDArray[np.float64]

_ROUNDING = 1e-5
"""Relative error that a sum of hessians in single precision may have at a bound."""


def newton_step(
    gradient: Array, hessian: Array, l2: Array | float, rule: LeafRule
) -> tuple[Array, Array]:
    """Compute leaf values before shrinkage and path smoothing from sums.

    The rule is that of `treeinf.kernels.rules.newton_step`, which refits apply too.

    Parameters
    ----------
    gradient, hessian : ndarray of float64, shape (n_leaves, leaf_width) or (n_leaves,)
        Sums over the rows of each leaf.
    l2 : float64, or ndarray of float64, shape (n_leaves, 1) or (n_leaves,)
        Penalties.
    rule : LeafRule
        L1 penalty, bound and smallest hessian.

    Returns
    -------
    step, response : ndarray of float64
        The values, and minus their derivatives with respect to the gradient sums.
    """
    shape = len(gradient), -1
    step, response = np.empty(gradient.shape), np.empty(gradient.shape)
    penalty = np.array(np.broadcast_to(l2, gradient.shape)).reshape(shape)[:, 0]
    kernels.fit_leaves(
        np.ascontiguousarray(gradient, REAL).reshape(shape),
        np.ascontiguousarray(hessian, REAL).reshape(shape),
        *(penalty.copy(), float(rule.l1_leaf), float(rule.max_leaf_value)),
        float(rule.min_leaf_hessian) * (1.0 - _ROUNDING),
        *(step.reshape(shape), response.reshape(shape)),
    )
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
        The model with penalties in the units of the sums, and one step per tree.
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
        kernels.smooth_trees(
            *(ensemble.node_offset, ensemble.leaf_offset, ensemble.left),
            *(ensemble.right, ensemble.leaf_l2, float(rule.l1_leaf)),
            *(float(rule.max_leaf_value), float(rule.path_smooth)),
            *(leaf_gradient, leaf_hessian, leaf_rows.astype(REAL), step),
        )
    is_constant = ~is_fitted_leaf(ensemble)
    step[is_constant] = 0.0
    response[is_constant] = 0.0
    return step, response


def has_fitted_values(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Return whether each tree holds fitted values, shape (n_trees,).

    In most libraries a tree of one leaf does not: its value is only the base score.
    """
    has_splits = np.diff(ensemble.leaf_offset) > 1
    return has_splits | ensemble.leaf_rule.fits_single_leaf


def is_fitted_leaf(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Return whether each leaf is in a tree with fitted values, shape (n_leaves,)."""
    return np.repeat(has_fitted_values(ensemble), np.diff(ensemble.leaf_offset))
