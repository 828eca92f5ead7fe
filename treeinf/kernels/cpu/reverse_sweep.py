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
from treeinf.kernels.cpu import derivatives as losses
from treeinf.kernels.cpu.derivatives import loss_derivatives
from treeinf.kernels.rules import exponential

__all__ = ["SWEEP_BLOCK", "differentiate_twice", "sweep_iteration"]

SWEEP_BLOCK = 512
"""Rows handled together."""

_SQUARED_ERROR = losses.SQUARED_ERROR
_LOGISTIC = losses.LOGISTIC
_SOFTMAX = losses.SOFTMAX
_ONE_VS_ALL = losses.ONE_VS_ALL
_POISSON = losses.POISSON
_GAMMA = losses.GAMMA
_TWEEDIE = losses.TWEEDIE
_HUBER = losses.HUBER
_HUBER_EXACT = losses.HUBER_EXACT
_FAIR = losses.FAIR
_EXPONENTIAL = losses.EXPONENTIAL
_PSEUDO_HUBER = losses.PSEUDO_HUBER
_SQUARED_LOG_ERROR = losses.SQUARED_LOG_ERROR
_LOWEST_SCORE = losses.LOWEST_SCORE
_LOWEST_HESSIAN = losses.LOWEST_HESSIAN
_UNIT_HESSIAN = losses.UNIT_HESSIAN


@kernel
def differentiate_twice(loss_code, parameter, n, target, raw_score, slope, bend):
    """Differentiate gradient and hessian of the loss in the row's own output.

    Parameters
    ----------
    loss_code, parameter, n, target, raw_score
        See `loss_derivatives`.
    slope : ndarray of float64, shape (n_outputs, >= n)
        Output, overwritten: derivative of the gradient. This is the second derivative
        of the loss, without the factors that a library puts into its hessian. For
        `SOFTMAX` it is the probability p; the derivative of g_k in F_c is
        ``p_k ((k = c) - p_c)``.
    bend : ndarray of float64, shape (n_outputs, >= n)
        Output, overwritten: derivative of the library's hessian. For `SOFTMAX` it is
        ``parameter (1 - 2 p)``, by which the derivative of h_k in F_c is that of g_k.
    """
    n_outputs = raw_score.shape[0]
    has_unit_hessian = loss_code >= _UNIT_HESSIAN
    if has_unit_hessian:
        loss_code -= _UNIT_HESSIAN
    if loss_code == _SQUARED_ERROR:
        for i in range(n):
            slope[0, i] = 1.0
            bend[0, i] = 0.0
    elif loss_code in (_LOGISTIC, _ONE_VS_ALL):
        for k in range(n_outputs):
            for i in range(n):
                probability = 1.0 / (1.0 + exponential(-parameter * raw_score[k, i]))
                second = parameter * parameter * probability * (1.0 - probability)
                slope[k, i] = second
                bend[k, i] = parameter * second * (1.0 - 2.0 * probability)
    elif loss_code == _SOFTMAX:
        for i in range(n):
            largest = raw_score[0, i]
            for k in range(1, n_outputs):
                largest = max(largest, raw_score[k, i])
            total = 0.0
            for k in range(n_outputs):
                slope[k, i] = exponential(raw_score[k, i] - largest)
                total += slope[k, i]
            for k in range(n_outputs):
                slope[k, i] /= total
                bend[k, i] = parameter * (1.0 - 2.0 * slope[k, i])
    elif loss_code == _POISSON:
        enlarged = exponential(parameter)
        for i in range(n):
            slope[0, i] = exponential(raw_score[0, i])
            bend[0, i] = slope[0, i] * enlarged
    elif loss_code == _GAMMA:
        for i in range(n):
            slope[0, i] = target[i] * exponential(-raw_score[0, i])
            bend[0, i] = -slope[0, i]
    elif loss_code == _TWEEDIE:
        a, b = 1.0 - parameter, 2.0 - parameter
        for i in range(n):
            first = target[i] * exponential(a * raw_score[0, i])
            second = exponential(b * raw_score[0, i])
            slope[0, i] = b * second - a * first
            bend[0, i] = b * b * second - a * a * first
    elif loss_code in (_HUBER, _HUBER_EXACT):
        for i in range(n):
            is_inside = abs(raw_score[0, i] - target[i]) < parameter
            slope[0, i] = 1.0 if is_inside else 0.0
            bend[0, i] = 0.0
    elif loss_code == _FAIR:
        for i in range(n):
            residual = raw_score[0, i] - target[i]
            size = abs(residual) + parameter
            slope[0, i] = parameter * parameter / (size * size)
            sign = 1.0 if residual > 0.0 else (-1.0 if residual < 0.0 else 0.0)
            bend[0, i] = -2.0 * sign * slope[0, i] / size
    elif loss_code == _EXPONENTIAL:
        for i in range(n):
            sign = 1.0 - 2.0 * target[i]
            slope[0, i] = exponential(sign * raw_score[0, i])
            bend[0, i] = sign * slope[0, i]
    elif loss_code == _PSEUDO_HUBER:
        for i in range(n):
            ratio = (raw_score[0, i] - target[i]) / parameter
            size = 1.0 + ratio * ratio
            slope[0, i] = 1.0 / (size * np.sqrt(size))
            bend[0, i] = -3.0 * ratio / (parameter * size) * slope[0, i]
    elif loss_code == _SQUARED_LOG_ERROR:
        for i in range(n):
            one_more = max(raw_score[0, i], _LOWEST_SCORE) + 1.0
            difference = np.log(one_more) - np.log1p(target[i])
            curvature = (1.0 - difference) / (one_more * one_more)
            is_free = raw_score[0, i] > _LOWEST_SCORE
            slope[0, i] = curvature if is_free else 0.0
            third = (2.0 * difference - 3.0) / (one_more * one_more * one_more)
            bend[0, i] = third if is_free and curvature > _LOWEST_HESSIAN else 0.0
    if has_unit_hessian:
        for k in range(n_outputs):
            for i in range(n):
                bend[k, i] = 0.0


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
    is_crossed,
    leaf_factor,
    raw_score,
    adjoint,
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
        Iteration to take back.
    is_crossed : bool
        Whether an output's gradient answers to the other outputs' scores (softmax).
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a unit more of gradient sum in a leaf of this iteration does to each
        target. Read for this iteration's leaves only.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Scores after the iteration; changed in place to those before it.
    adjoint : ndarray of float64, shape (n_rows, n_outputs, n_targets)
        Minus the derivative of each target in the row's score after the iteration, by
        way of later iterations; changed in place to that before it.
    influence : ndarray of float64, shape (n_rows, n_targets) or (0, n_targets)
        Added to in place; left alone if it has no rows.
    part_sum : ndarray of float64, shape (n_parts, n_previous, leaf_width, n_targets)
        Output, overwritten: sums of the new adjoint over the leaves of the previous
        iteration, for each part of the rows. `n_previous` is the leaves of all trees of
        that iteration, 0 for the first.

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
    is_softmax = loss_code == _SOFTMAX or loss_code == _SOFTMAX + _UNIT_HESSIAN
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
            for tree in range(first_tree, last_tree):
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
                if not is_softmax:
                    for k in range(n_outputs):
                        for t in range(n_targets):
                            adjoint[row, k, t] += w * pull[k, i, t]
                    continue
                both[:] = 0.0
                if is_crossed:
                    for k in range(n_outputs):
                        for t in range(n_targets):
                            both[t] += slope[k, i] * pull[k, i, t]
                for k in range(n_outputs):
                    p = slope[k, i]
                    for t in range(n_targets):
                        others = both[t] if is_crossed else p * pull[k, i, t]
                        adjoint[row, k, t] += w * p * (pull[k, i, t] - others)
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
