"""LeafInfluence back-propagated, on CUDA; see ``kernels/cpu/reverse_sweep.py``."""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda, float64

from treeinf.kernels.cuda import leaf_sums, memory
from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.cuda.leaf_sums import count_batches, sum_columns
from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas import adjoint as formulas
from treeinf.kernels.formulas.bags import bag_factor
from treeinf.kernels.formulas.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    all_derivatives,
)
from treeinf.kernels.formulas.row_factors import CROSS_CLASS, FULL_NEWTON
from treeinf.kernels.formulas.scores import apply_weights

__all__ = ["apply_leaf_response", "count_batches", "sum_columns", "sweep_iteration"]

_bag_factor = on_device(bag_factor)


def sweep_iteration(
    rows, leaves, loss, rule, iteration, raw_score, leaf_factor, state, batch_sum
):
    """Back-propagate through one iteration, and add its influence.

    Parameters
    ----------
    rows, leaves, loss, rule, state
        See the CPU's `sweep_segment`; arrays on the device.
    iteration : int
        The iteration.
    raw_score : device array of float64, shape (n_rows, n_outputs)
        Raw scores before it.
    leaf_factor : device array of float64, shape (n_leaves, leaf_width, n_queries)
        Derivatives of the queries with respect to the gradient sums of its leaves.
    batch_sum : device array of float64, \
shape (n_batches, n_previous, leaf_width, n_queries)
        Output, overwritten: sums of the new adjoints, inner ones included, over the
        leaves of the previous iteration, for each batch of the rows.

    Notes
    -----
    Two launches: a thread for each row, then the sums over the previous leaves. The
    kernel is compiled for each loss, number of outputs and number of queries.
    """
    adjoint, inner = state.adjoint, state.inner
    n_rows, n_outputs, n_queries = adjoint.shape
    flat, width, trees = leaves.device, leaves.leaf_width, leaves.trees(iteration)
    has_inner = inner.shape[0] > 0
    kernel = _sweep_rows(
        int(loss.code), n_outputs, width, int(rule.kind), n_queries, has_inner
    )
    kernel[count_blocks(n_rows), THREADS](
        *(rows, flat, float(loss.parameter), rule, trees.start, trees.stop),
        *(iteration % rule.n_steps == 0, raw_score, leaf_factor, state),
    )
    if iteration == 0:
        return
    before = leaves.trees(iteration - 1)
    leaf_sums.sum_trees(
        *(rows.leaf, flat.leaf_offset, flat.leaf_row),
        memory.nothing(0, np.int32) if width > 1 else flat.output,
        memory.all_rows(),
        *(before, leaves.most_leaves(before), adjoint.reshape(n_rows, -1)),
        inner.reshape(n_rows, -1)
        if has_inner
        else memory.nothing(n_outputs * n_queries),
        *(width * n_queries, 0, batch_sum.reshape(batch_sum.shape[0], -1)),
    )


@functools.cache
def _sweep_rows(loss_code, n_outputs, leaf_width, kind, n_queries, has_inner):
    differentiate = on_device(all_derivatives, n_outputs)
    apply_weight = on_device(apply_weights, n_outputs)
    back_propagate_full_newton = on_device(
        formulas.back_propagate_full_newton, n_outputs
    )
    back_propagate_tree = on_device(formulas.back_propagate_tree, n_outputs)
    apply_softmax_jacobian = on_device(formulas.apply_softmax_jacobian, n_outputs)
    is_full = (kind & FULL_NEWTON) != 0
    is_cross_class = (kind & CROSS_CLASS) != 0
    is_softmax = loss_code in (SOFTMAX, SOFTMAX + UNIT_HESSIAN)

    @cuda.jit
    def sweep_rows(
        rows,
        leaves,
        loss_parameter,
        rule,
        first_tree,
        last_tree,
        is_first_step,
        raw_score,
        leaf_factor,
        state,
    ):
        loss = FlatLoss(loss_code, loss_parameter)
        leaf, weight, theta = rows.leaf, rows.weight, rule.theta
        adjoint, inner, influence = state.adjoint, state.inner, state.influence
        shrinkage = rule.shrinkage[first_tree]
        score = cuda.local.array((n_outputs, 1), float64)
        gradient = cuda.local.array((n_outputs, 1), float64)
        hessian = cuda.local.array((n_outputs, 1), float64)
        slope = cuda.local.array((n_outputs, 1), float64)
        third = cuda.local.array((n_outputs, 1), float64)
        probability = cuda.local.array((n_outputs, 1), float64)
        in_bag = cuda.local.array((4, 1), float64)
        update = cuda.local.array((1, n_outputs, n_queries), float64)
        mean_factor = cuda.local.array(n_queries, float64)
        mean = cuda.local.array(n_queries, float64)
        for row in range(cuda.grid(1), raw_score.shape[0], cuda.gridsize(1)):
            row_influence = influence[row : row + 1]
            for k in range(n_outputs):
                score[k, 0] = raw_score[row, k]
            y = rows.y[row : row + 1]
            differentiate(loss, 1, y, score, gradient, hessian, slope, third)
            if is_softmax:
                for k in range(n_outputs):
                    probability[k, 0] = slope[k, 0]
                    # as published, the library's hessian is the slope of each output
                    slope[k, 0] = 1.0 if is_cross_class else loss_parameter
            apply_weight(weight, row, 1, slope)
            apply_weight(weight, row, 1, third)
            for k in range(n_outputs):
                for t in range(n_queries):
                    update[0, k, t] = 0.0
            if is_full:
                back_propagate_full_newton(
                    leaf[leaves.leaf_row[first_tree]],
                    *(leaves.leaf_offset[first_tree], row, 1, rows, first_tree, theta),
                    *(leaf_factor, gradient, probability, mean_factor, mean),
                    *(update, influence),
                )
            else:
                for tree in range(first_tree, last_tree):
                    first = leaves.leaf_offset[tree]
                    factor = _bag_factor(rows, tree, row)
                    for column in range(leaf_width):
                        k = leaves.output[tree] if leaf_width == 1 else column
                        in_bag[0, 0] = factor * gradient[k, 0]
                        in_bag[1, 0] = factor * hessian[k, 0]
                        in_bag[2, 0] = factor * slope[k, 0]
                        in_bag[3, 0] = factor * third[k, 0]
                        back_propagate_tree(
                            leaf[leaves.leaf_row[tree], row : row + 1],
                            *(theta[first:], leaf_factor[first:], column),
                            *(in_bag[0], in_bag[1], in_bag[2], in_bag[3]),
                            *(k, update, row_influence),
                        )
                if is_softmax:
                    apply_softmax_jacobian(probability, is_cross_class, 1, mean, update)
            for k in range(n_outputs):
                for t in range(n_queries):
                    value = update[0, k, t]
                    if has_inner and is_first_step:
                        value += shrinkage * inner[row, k, t]
                        inner[row, k, t] = 0.0
                    elif has_inner:
                        inner[row, k, t] += value / shrinkage
                        value = 0.0
                    adjoint[row, k, t] += value

    return sweep_rows


def apply_leaf_response(
    leaves, iteration, batch_sums, response, inverse_hessian, leaf_factor
):
    """Turn derivatives with respect to leaf values into those for gradient sums.

    Parameters
    ----------
    leaves : DeviceLeaves
        The ensemble's leaves.
    iteration : int
        The iteration.
    batch_sums : list of device array of float64, \
shape (n_batches, n_leaves_of_iteration, leaf_width, n_queries)
        Results of `sweep_iteration` for the next iteration, one for each batch of
        rows that fits on the device; they are added first.
    response : device array of float64, shape (n_leaves * leaf_width * n_queries,)
        Derivative of each leaf value with respect to its gradient sum, shrinkage
        included; with `inverse_hessian`, minus the shrinkage.
    inverse_hessian : device array of float64, \
shape (n_leaves, leaf_width, leaf_width) or (0, ...)
        Multiplied by it.
    leaf_factor : device array of float64, shape (n_leaves, leaf_width, n_queries)
        Changed in place, for the leaves of the iteration.
    """
    trees = leaves.trees(iteration)
    width, n_queries = leaf_factor.shape[1:]
    first, last = (
        int(leaves.host.leaf_offset[tree]) for tree in (trees.start, trees.stop)
    )
    flat = leaf_factor.reshape(leaf_factor.size)
    n_entries = (last - first) * width * n_queries
    sums = [batches.reshape(batches.shape[0], -1) for batches in batch_sums]
    sums = sums or [memory.nothing(n_entries)]
    for number, batches in enumerate(sums, 1):
        scale = response if number == len(sums) else memory.nothing(0)
        leaf_sums.add_batches(batches, first * width * n_queries, scale, flat)
    if inverse_hessian.shape[0]:
        _multiply_leaves(width)[count_blocks((last - first) * n_queries), THREADS](
            first, last, inverse_hessian, leaf_factor
        )


@functools.cache
def _multiply_leaves(leaf_width):
    @cuda.jit
    def multiply_leaves(first, last, inverse_hessian, leaf_factor):
        factor = cuda.local.array(leaf_width, float64)
        n_queries = leaf_factor.shape[2]
        for i in range(cuda.grid(1), (last - first) * n_queries, cuda.gridsize(1)):
            number, t = first + i // n_queries, i % n_queries
            for k in range(leaf_width):
                factor[k] = leaf_factor[number, k, t]
            for k in range(leaf_width):
                value = 0.0
                for m in range(leaf_width):
                    value += inverse_hessian[number, k, m] * factor[m]
                leaf_factor[number, k, t] = value

    return multiply_leaves
