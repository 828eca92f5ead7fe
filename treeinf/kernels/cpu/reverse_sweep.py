"""Full LeafInfluence from the last iteration to the first: targets pushed backwards.

With one adjoint for each train row, output and target (how much the target's loss falls
as the row's score before the current iteration rises), one pass over the rows of an
iteration adds up what its leaves do to the target, and takes the adjoint one iteration
back. See ``docs/methods.md`` for the derivation.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel
from treeinf.kernels.cpu.contraction import CROSSED, FULL
from treeinf.kernels.cpu.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    differentiate_twice,
    loss_derivatives,
)

__all__ = ["SWEEP_BLOCK", "sweep_iteration"]

SWEEP_BLOCK = 512
"""Rows handled together."""


@kernel
def _pull_together(
    tree_leaf,
    first,
    begin,
    n,
    weight,
    theta,
    leaf_factor,
    gradient,
    probability,
    mean_u,
    both,
    pull,
    influence,
):
    """Compute what a unit more of a block's scores does by way of full leaf values.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n_rows,)
        Leaf of every row within the tree.
    first : int64
        Number of the tree's first leaf.
    begin, n : int64
        First row and number of rows of the block.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights.
    theta, leaf_factor
        See `sweep_iteration`.
    gradient : ndarray of float64, shape (n_outputs, >= n)
        With weights.
    probability : ndarray of float64, shape (n_outputs, >= n)
        Of the softmax.
    mean_u, both : ndarray of float64, shape (n_targets,)
        Overwritten.
    pull : ndarray of float64, shape (n_outputs, >= n, n_targets)
        Output, overwritten; without weights.
    influence : ndarray of float64, shape (n_rows, n_targets) or (0, n_targets)
        Added to in place; left alone if it has no rows.

    Notes
    -----
    With means over the classes by their probabilities p, the derivative of
    ``u' (g + H theta)`` in the score of class c is
    ``p_c ((u_c - mean(u)) (1 + theta_c - mean(theta)) - cov(u, theta))``.
    """
    n_outputs, n_targets = gradient.shape[0], mean_u.size
    for i in range(n):
        number = first + tree_leaf[begin + i]
        w = weight[begin + i] if weight.size > 0 else 1.0
        mean_theta = 0.0
        for k in range(n_outputs):
            mean_theta += probability[k, i] * theta[number, k]
        mean_u[:] = 0.0
        both[:] = 0.0
        for k in range(n_outputs):
            p, a = probability[k, i], theta[number, k] - mean_theta
            for t in range(n_targets):
                u = leaf_factor[number, k, t]
                mean_u[t] += p * u
                both[t] += p * a * u
        for k in range(n_outputs):
            p, a = probability[k, i], theta[number, k] - mean_theta
            for t in range(n_targets):
                u = leaf_factor[number, k, t]
                pull[k, i, t] = p * ((u - mean_u[t]) * (1.0 + a) - both[t])
                if influence.shape[0] > 0:
                    influence[begin + i, t] += u * (gradient[k, i] + w * p * a)


@parallel_kernel
def sweep_iteration(
    leaf,
    leaves,
    target,
    weight,
    loss_code,
    loss_parameter,
    theta,
    iteration,
    n_steps,
    shrinkage,
    kind,
    leaf_factor,
    raw_score,
    adjoint,
    inner,
    influence,
    part_sum,
):
    """Take one iteration back: its rows' influence, and the adjoint before it.

    Parameters
    ----------
    leaf, leaves, target, weight, loss_code, loss_parameter
        Train rows and ensemble, see `replay`.
    theta : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage.
    iteration : int64
        Iteration to take back: a step of a tree, where trees take several.
    n_steps : int64
        Steps a tree.
    shrinkage : float64
        Of the tree; read where it takes several steps.
    kind : int64
        Bits `CROSSED` and `FULL` of the contraction's `FactorRule`.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a unit more of gradient sum in a leaf of this iteration does to each
        target. Read for this iteration's leaves only.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Scores after the iteration; changed in place to those before it.
    adjoint : ndarray of float64, shape (n_rows, n_outputs, n_targets)
        Minus the derivative of each target in the row's score after the iteration, by
        way of later trees; changed in place to that before it, once the first step of
        the tree is taken back.
    inner : ndarray of float64, shape (n_rows, n_outputs, n_targets) or (0, ...)
        By way of later steps of the same tree, divided by the shrinkage; changed in
        place. Empty where trees take one step.
    influence : ndarray of float64, shape (n_rows, n_targets) or (0, n_targets)
        Added to in place; left alone if it has no rows.
    part_sum : ndarray of float64, shape (n_parts, n_previous, leaf_width, n_targets)
        Output, overwritten: sums of the new adjoints, inner ones included, over the
        leaves of the previous iteration, for each part of the rows. `n_previous` is the
        leaves of all trees of that iteration, 0 for the first.

    Notes
    -----
    O(n_rows n_trees_of_iteration n_targets) time. A part is added up by one thread in
    the order of its rows, so that any number of threads gives the same bits.
    """
    n_rows, n_outputs, n_targets = adjoint.shape
    n_parts = part_sum.shape[0]
    leaf_width = theta.shape[1]
    part_rows = (n_rows + n_parts - 1) // n_parts
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    is_full = (kind & FULL) != 0
    is_crossed = (kind & CROSSED) != 0
    is_softmax = loss_code == SOFTMAX or loss_code == SOFTMAX + UNIT_HESSIAN
    has_inner = inner.shape[0] > 0
    is_first_step = iteration % n_steps == 0
    # as published, the library's hessian stands for the slope of each output on its own
    own_slope = 1.0 if is_crossed else loss_parameter
    has_influence = influence.shape[0] > 0
    for part in prange(n_parts):
        score = np.empty((n_outputs, SWEEP_BLOCK))
        gradient = np.empty((n_outputs, SWEEP_BLOCK))
        hessian = np.empty((n_outputs, SWEEP_BLOCK))
        slope = np.empty((n_outputs, SWEEP_BLOCK))
        bend = np.empty((n_outputs, SWEEP_BLOCK))
        pull = np.empty((n_outputs, SWEEP_BLOCK, n_targets))
        both = np.empty(n_targets)
        mean_u = np.empty(n_targets)
        sums = part_sum[part]
        sums[:] = 0.0
        stop = min(n_rows, (part + 1) * part_rows)
        for begin in range(part * part_rows, stop, SWEEP_BLOCK):
            n = min(SWEEP_BLOCK, stop - begin)
            y = target[begin : begin + n]
            for tree in range(first_tree, last_tree):
                first = leaves.leaf_offset[tree]
                tree_leaf = leaf[leaves.leaf_row[tree]]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    for i in range(n):
                        raw_score[begin + i, k] -= leaves.leaf_value[
                            first + tree_leaf[begin + i], column
                        ]
            for k in range(n_outputs):
                for i in range(n):
                    score[k, i] = raw_score[begin + i, k]
            loss_derivatives(loss_code, loss_parameter, n, y, score, gradient, hessian)
            differentiate_twice(loss_code, loss_parameter, n, y, score, slope, bend)
            if weight.size > 0:
                for k in range(n_outputs):
                    for i in range(n):
                        gradient[k, i] *= weight[begin + i]
                        hessian[k, i] *= weight[begin + i]
            # pull[k] = sum over the iteration's trees of output k of
            # u (dg_k/dF_k + theta dh_k/dF_k), up to weights and the softmax's own terms
            pull[:, :n] = 0.0
            if is_full:
                _pull_together(
                    leaf[leaves.leaf_row[first_tree]],
                    leaves.leaf_offset[first_tree],
                    begin,
                    n,
                    weight,
                    theta,
                    leaf_factor,
                    gradient,
                    slope,
                    mean_u,
                    both,
                    pull,
                    influence,
                )
            for tree in range(first_tree, first_tree if is_full else last_tree):
                first = leaves.leaf_offset[tree]
                tree_leaf = leaf[leaves.leaf_row[tree]]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    for i in range(n):
                        number = first + tree_leaf[begin + i]
                        value = theta[number, column]
                        own = gradient[k, i] + value * hessian[k, i]
                        if is_softmax:
                            change = own_slope + value * bend[k, i]
                        else:
                            change = slope[k, i] + value * bend[k, i]
                        for t in range(n_targets):
                            u = leaf_factor[number, column, t]
                            pull[k, i, t] += u * change
                            if has_influence:
                                influence[begin + i, t] += u * own
            for i in range(n):
                row = begin + i
                w = weight[row] if weight.size > 0 else 1.0
                if is_softmax and not is_full:
                    both[:] = 0.0
                    if is_crossed:
                        for k in range(n_outputs):
                            for t in range(n_targets):
                                both[t] += slope[k, i] * pull[k, i, t]
                    for k in range(n_outputs):
                        p = slope[k, i]
                        for t in range(n_targets):
                            others = both[t] if is_crossed else p * pull[k, i, t]
                            pull[k, i, t] = p * (pull[k, i, t] - others)
                if not has_inner:
                    for k in range(n_outputs):
                        for t in range(n_targets):
                            adjoint[row, k, t] += w * pull[k, i, t]
                elif is_first_step:
                    for k in range(n_outputs):
                        for t in range(n_targets):
                            adjoint[row, k, t] += (
                                w * pull[k, i, t] + shrinkage * inner[row, k, t]
                            )
                            inner[row, k, t] = 0.0
                else:
                    for k in range(n_outputs):
                        for t in range(n_targets):
                            inner[row, k, t] += w * pull[k, i, t] / shrinkage
            if sums.shape[0] > 0:
                previous = leaves.iteration_start[iteration - 1]
                base = leaves.leaf_offset[previous]
                for tree in range(previous, first_tree):
                    offset = leaves.leaf_offset[tree] - base
                    tree_leaf = leaf[leaves.leaf_row[tree]]
                    for column in range(leaf_width):
                        k = leaves.output[tree] if leaf_width == 1 else column
                        for i in range(n):
                            number = offset + tree_leaf[begin + i]
                            for t in range(n_targets):
                                sums[number, column, t] += adjoint[begin + i, k, t]
                            if has_inner:
                                for t in range(n_targets):
                                    sums[number, column, t] += inner[begin + i, k, t]
