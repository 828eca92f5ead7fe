"""Row factors: what a train row contributes to the leaf it is in.

The factor of row i in a leaf is ``scale * (g_i + theta * h_i)`` with the row's gradient
and hessian before the leaf's tree, times the row's weight; the explainer chooses the
`scale` and `theta` of each leaf. Three kinds of rules replace g and h:
*propagated* ones are those after the row's own removal has changed its own score
(LeafInfluence, single point), those of *full Newton* leaves use the matrix of second
derivatives of a softmax (CatBoost's MultiClass), and those *by target* are derivatives
with respect to the row's target.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from treeinf.kernels.compilation import kernel
from treeinf.kernels.formulas.bags import apply_bag
from treeinf.kernels.formulas.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    differentiate_in_target,
    differentiate_twice,
)
from treeinf.kernels.formulas.scores import apply_weights

__all__ = [
    "BY_TARGET",
    "CROSS_CLASS",
    "FULL_NEWTON",
    "PROPAGATED",
    "FactorRule",
    "adjust_derivatives",
    "is_adjusting",
    "propagate_score_change",
    "seed_score_change",
    "tree_factors",
    "unadjusted_factors",
]

PROPAGATED = 1
"""Bit of `FactorRule.kind`: changes of a row's own score reach its later factors."""
CROSS_CLASS = 2
"""Bit: gradients of a softmax depend on the scores of all outputs."""
FULL_NEWTON = 4
"""Bit: leaf values come from the matrix of second derivatives of a softmax."""
BY_TARGET = 8
"""Bit: derivatives of g and h with respect to the row's target replace them."""

FactorRule = namedtuple(
    "FactorRule",
    "kind n_steps scale theta inverse_hessian base_score_gradient shrinkage",
)
FactorRule.__doc__ = """What a row contributes to its leaf.

Parameters
----------
kind : int64
    Bits `PROPAGATED`, `CROSS_CLASS` (read where propagated), `FULL_NEWTON` and
    `BY_TARGET`.
n_steps : int64
    Iterations that are steps of one tree; read where propagated.
scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
    The factor is ``scale * (g + theta * h)``.
inverse_hessian : ndarray of float64, shape (n_leaves, leaf_width, leaf_width) or \
(0, ...)
    Multiplied by the factors of a leaf's outputs; empty for none.
base_score_gradient : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
    Derivative of the base score with respect to the logarithm of each row's weight;
    empty for none.
shrinkage : ndarray of float64, shape (n_trees,)
    Read where trees take several steps.
"""


def is_adjusting(rule):
    """Return whether a rule replaces gradients and hessians."""
    return (rule.kind & (PROPAGATED | FULL_NEWTON | BY_TARGET)) != 0


@kernel
def seed_score_change(rule, begin, n, change):
    """Set the derivatives of a tile's scores by the logarithms of its rows' weights.

    Parameters
    ----------
    rule, begin, n
        See `tree_factors`.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        Output, overwritten: minus the derivative of the score at which gradients are
        next computed; of that before the current tree; what the current iteration adds
        to it.
    """
    change[:] = 0.0
    if (rule.kind & PROPAGATED) != 0 and rule.base_score_gradient.shape[0] > 0:
        for k in range(change.shape[1]):
            for i in range(n):
                change[0, k, i] = -rule.base_score_gradient[begin + i, k]
                change[1, k, i] = change[0, k, i]


@kernel
def adjust_derivatives(
    loss, rule, n, y, score, change, gradient, hessian, slope, third
):
    """Replace a tile's derivatives by those that the rule is about.

    Parameters
    ----------
    loss, n, y, score
        See `loss_derivatives`.
    rule : FactorRule
        An adjusting one.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        See `seed_score_change`, for its sign too.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        Changed in place. Propagated ones follow the change of the scores. Under full
        Newton the gradient stays and the hessian becomes the probability, for
        `tree_factors`. By target, they are derivatives with respect to it.
    slope, third : ndarray of float64, shape (n_outputs, >= n)
        Overwritten.
    """
    n_outputs = score.shape[0]
    if (rule.kind & BY_TARGET) != 0:
        differentiate_in_target(loss, n, y, score, gradient, hessian)
        return
    if (rule.kind & FULL_NEWTON) != 0:
        for k in range(n_outputs):
            for i in range(n):
                hessian[k, i] = gradient[k, i] + (1.0 if y[i] == k else 0.0)
        return
    differentiate_twice(loss, n, y, score, slope, third)
    if loss.code != SOFTMAX and loss.code != SOFTMAX + UNIT_HESSIAN:
        for k in range(n_outputs):
            for i in range(n):
                gradient[k, i] -= slope[k, i] * change[0, k, i]
                hessian[k, i] -= third[k, i] * change[0, k, i]
        return
    is_cross_class = (rule.kind & CROSS_CLASS) != 0
    for i in range(n):
        mean = 0.0
        for k in range(n_outputs):
            mean += slope[k, i] * change[0, k, i]
        for k in range(n_outputs):
            p = slope[k, i]
            if is_cross_class:
                moved = p * (change[0, k, i] - mean)
                gradient[k, i] -= moved
            else:
                moved = p * (1.0 - p) * change[0, k, i]
                gradient[k, i] -= loss.parameter * moved
            hessian[k, i] -= third[k, i] * moved


@kernel
def unadjusted_factors(
    leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor
):
    """Write a tile's factors in one tree, one output at a time; no weights, no bags.

    Parameters
    ----------
    leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor
        See `tree_factors`.
    """
    leaf_width = factor.shape[0]
    first = leaves.leaf_offset[tree]
    for column in range(leaf_width):
        k = leaves.output[tree] if leaf_width == 1 else column
        for i in range(n):
            number = first + tree_leaf[begin + i]
            factor[column, i] = rule.scale[number, column] * (
                gradient[k, i] + rule.theta[number, column] * hessian[k, i]
            )


@kernel
def tree_factors(
    leaves, tree, tree_leaf, rows, rule, begin, n, gradient, hessian, change, factor
):
    """Write a tile's factors in one tree, weights and the tree's bag included.

    Parameters
    ----------
    leaves, tree_leaf, rows, begin, n
        See `treeinf.kernels.flat`.
    tree : int64
        The tree.
    rule : FactorRule
        The row factors.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        After `adjust_derivatives`, where the rule is an adjusting one.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        See `seed_score_change`; what the iteration adds is added to.
    factor : ndarray of float64, shape (leaf_width, >= n)
        Output, overwritten.

    Notes
    -----
    Full Newton follows the matrix of second derivatives ``p_k ((k = m) - p_m)`` and,
    where propagated, its derivative; see ``docs/methods.md``.
    """
    leaf_width = factor.shape[0]
    first = leaves.leaf_offset[tree]
    if (rule.kind & FULL_NEWTON) == 0:
        unadjusted_factors(
            leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor
        )
    else:
        bracket = np.empty(leaf_width)
        for i in range(n):
            number = first + tree_leaf[begin + i]
            mean_theta, mean_change, covariance = 0.0, 0.0, 0.0
            for k in range(leaf_width):
                mean_theta += hessian[k, i] * rule.theta[number, k]
                mean_change += hessian[k, i] * change[0, k, i]
            for k in range(leaf_width):
                covariance += (
                    hessian[k, i]
                    * (rule.theta[number, k] - mean_theta)
                    * (change[0, k, i] - mean_change)
                )
            for k in range(leaf_width):
                a = rule.theta[number, k] - mean_theta
                b = change[0, k, i] - mean_change
                bracket[k] = gradient[k, i] + hessian[k, i] * (
                    a - b - a * b + covariance
                )
            for k in range(leaf_width):
                value = bracket[k]
                if rule.inverse_hessian.shape[0] > 0:
                    value = 0.0
                    for m in range(leaf_width):
                        value += rule.inverse_hessian[number, k, m] * bracket[m]
                factor[k, i] = rule.scale[number, k] * value
    apply_weights(rows.weight, begin, n, factor)
    apply_bag(rows, tree, begin, n, factor)
    if (rule.kind & PROPAGATED) != 0:
        for column in range(leaf_width):
            k = leaves.output[tree] if leaf_width == 1 else column
            for i in range(n):
                change[2, k, i] += factor[column, i]


@kernel
def propagate_score_change(leaves, rule, iteration, n, change):
    """Advance the changes of a tile's scores past an iteration.

    Parameters
    ----------
    leaves, rule, n
        See `tree_factors`.
    iteration : int64
        The iteration, which is one step of a tree where trees take several.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        Changed in place.

    Notes
    -----
    Within a tree of several steps scores change by whole steps, and after it by the
    shrunken sum of all.
    """
    is_last = (iteration + 1) % rule.n_steps == 0
    for k in range(change.shape[1]):
        for i in range(n):
            change[1, k, i] += change[2, k, i]
            if is_last:
                change[0, k, i] = change[1, k, i]
            else:
                shrinkage = rule.shrinkage[leaves.iteration_start[iteration]]
                change[0, k, i] += change[2, k, i] / shrinkage
            change[2, k, i] = 0.0
