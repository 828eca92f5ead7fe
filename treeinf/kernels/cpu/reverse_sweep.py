"""Full LeafInfluence, back-propagated from the last iteration to the first.

There is one adjoint for each train row, output and query. One pass over the rows sums
the derivatives of the queries with respect to an iteration's leaf values, and takes the
adjoint one iteration back. See ``docs/methods.md`` for the derivation. Scores are
replayed: subtracting trees from later scores would lose digits where those are larger.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel
from treeinf.kernels.cpu.replay import count_accumulators
from treeinf.kernels.formulas.adjoint import (
    apply_leaf_response,
    apply_softmax_jacobian,
    back_propagate_full_newton,
    back_propagate_tree,
)
from treeinf.kernels.formulas.bags import write_bag
from treeinf.kernels.formulas.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    all_derivatives,
)
from treeinf.kernels.formulas.row_factors import CROSS_CLASS, FULL_NEWTON
from treeinf.kernels.formulas.scores import apply_weights

__all__ = ["SWEEP_ROWS", "sweep_segment"]

SWEEP_ROWS = 256
"""Rows of a tile."""


@linear_kernel
def sweep_segment(
    rows, leaves, loss, rule, first_iteration, staged, n_batches, leaf_factor, state
):
    """Back-propagate through a segment of iterations, and add their influence.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`.
    rule : SweepRule
        How the row factors follow from scores.
    first_iteration : int64
        First iteration of the segment, the last that is back-propagated. Where trees
        take several steps, an iteration is one step.
    staged : ndarray of float64, shape (n_iterations, n_rows, n_outputs)
        Raw scores before each of its iterations.
    n_batches : int64
        Batches of the rows whose sums are formed separately.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        Changed in place, from derivatives with respect to leaf values to those with
        respect to gradient sums. On entry, leaves of the segment hold all but what the
        segment itself propagates to them; on return, so do those of the iteration
        before, which hold all of it.
    state : SweepState
        Changed in place from after the segment to before it. The adjoint changes with
        the first step of each tree.

    Notes
    -----
    O(n_rows n_trees_of_segment n_queries) time. A batch is added up by one thread in
    the order of its rows: bitwise the same for any number of threads.
    """
    n_rows = state.adjoint.shape[0]
    leaf_width, n_queries = leaf_factor.shape[1:]
    batch_rows = (n_rows + n_batches - 1) // n_batches
    n_iterations = staged.shape[0]
    for stage in range(n_iterations - 1, -1, -1):
        iteration = first_iteration + stage
        first = leaves.leaf_offset[leaves.iteration_start[iteration]]
        last = leaves.leaf_offset[leaves.iteration_start[iteration + 1]]
        previous = leaves.leaf_offset[leaves.iteration_start[max(iteration - 1, 0)]]
        apply_leaf_response(rule, first, last, leaf_factor)
        batch_sum = np.empty((n_batches, first - previous, leaf_width, n_queries))
        for batch in prange(n_batches):
            _sweep_rows(
                batch * batch_rows,
                min(n_rows, (batch + 1) * batch_rows),
                *(rows, leaves, loss, rule, iteration, staged[stage]),
                *(leaf_factor, state, batch_sum[batch]),
            )
        total = np.empty((first - previous, leaf_width, n_queries))
        _add_copies(batch_sum, total)
        leaf_factor[previous:first] += total


@kernel
def _sweep_rows(
    start,
    stop,
    rows,
    leaves,
    loss,
    rule,
    iteration,
    raw_score,
    leaf_factor,
    state,
    total,
):
    """Take one iteration back for a batch of rows.

    Not inside the loop over batches, which Numba compiles in several versions.

    Parameters
    ----------
    start, stop : int64
        First row of the batch, and the first behind it.
    rows, leaves, loss, rule, leaf_factor, state
        See `sweep_segment`.
    iteration : int64
        The iteration.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores before it.
    total : ndarray of float64, shape (n_previous, leaf_width, n_queries)
        Output, overwritten: sums of the new adjoints, inner ones included, over the
        leaves of the previous iteration. `n_previous` is the leaves of all its trees, 0
        for the first.
    """
    leaf, weight, theta = rows.leaf, rows.weight, rule.theta
    inner = state.inner
    n_outputs, n_queries = state.adjoint.shape[1:]
    leaf_width = theta.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    is_full = (rule.kind & FULL_NEWTON) != 0
    is_cross_class = (rule.kind & CROSS_CLASS) != 0
    is_softmax = loss.code == SOFTMAX or loss.code == SOFTMAX + UNIT_HESSIAN
    has_inner = inner.shape[0] > 0
    is_first_step = iteration % rule.n_steps == 0
    shrinkage = rule.shrinkage[first_tree]
    # as published, the library's hessian stands for the slope of each output alone
    softmax_slope = 1.0 if is_cross_class else loss.parameter
    is_direct = not (is_softmax or is_full or has_inner)
    previous = leaves.iteration_start[max(iteration - 1, 0)]
    n_previous = total.shape[0]
    n_accumulators = count_accumulators(n_previous * leaf_width * n_queries)
    score = np.empty((n_outputs, SWEEP_ROWS))
    gradient = np.empty((n_outputs, SWEEP_ROWS))
    hessian = np.empty((n_outputs, SWEEP_ROWS))
    slope = np.empty((n_outputs, SWEEP_ROWS))
    third = np.empty((n_outputs, SWEEP_ROWS))
    probability = np.empty((n_outputs, SWEEP_ROWS))
    factor = np.empty(SWEEP_ROWS)
    in_bag = np.empty((4, SWEEP_ROWS))
    buffer = np.empty((SWEEP_ROWS, n_outputs, n_queries))
    mean = np.empty(n_queries)
    mean_factor = np.empty(n_queries)
    sums = np.zeros((n_accumulators, n_previous, leaf_width, n_queries))
    for begin in range(start, stop, SWEEP_ROWS):
        n = min(SWEEP_ROWS, stop - begin)
        y = rows.y[begin : begin + n]
        adjoint = state.adjoint[begin : begin + n]
        influence = state.influence[begin : begin + n]
        for k in range(n_outputs):
            for i in range(n):
                score[k, i] = raw_score[begin + i, k]
        all_derivatives(loss, n, y, score, gradient, hessian, slope, third)
        if is_softmax:
            for k in range(n_outputs):
                for i in range(n):
                    probability[k, i] = slope[k, i]
                    slope[k, i] = softmax_slope
        apply_weights(weight, begin, n, slope)
        apply_weights(weight, begin, n, third)
        # update[k] = sum over the iteration's trees of output k of
        # u (dg_k/dF_k + theta dh_k/dF_k), up to the derivatives of the softmax
        update = adjoint if is_direct else buffer
        if not is_direct:
            _clear(n, update)
        if is_full:
            back_propagate_full_newton(
                *(leaf[leaves.leaf_row[first_tree]], leaves.leaf_offset[first_tree]),
                *(begin, n, rows, first_tree, theta, leaf_factor),
                *(gradient, probability),
                *(mean_factor, mean, update, state.influence),
            )
        for tree in range(first_tree, first_tree if is_full else last_tree):
            first = leaves.leaf_offset[tree]
            is_bagged = write_bag(rows, tree, begin, n, factor)
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                g, h, dg, dh = gradient[k], hessian[k], slope[k], third[k]
                if is_bagged:
                    for i in range(n):
                        in_bag[0, i] = factor[i] * g[i]
                        in_bag[1, i] = factor[i] * h[i]
                        in_bag[2, i] = factor[i] * dg[i]
                        in_bag[3, i] = factor[i] * dh[i]
                    g, h, dg, dh = in_bag[0], in_bag[1], in_bag[2], in_bag[3]
                back_propagate_tree(
                    leaf[leaves.leaf_row[tree], begin : begin + n],
                    *(theta[first:], leaf_factor[first:], column),
                    *(g, h, dg, dh, k, update, influence),
                )
        if is_softmax and not is_full:
            apply_softmax_jacobian(probability, is_cross_class, n, mean, update)
        if has_inner:
            through_steps = inner[begin : begin + n]
            for i in range(n):
                for k in range(n_outputs):
                    for t in range(n_queries):
                        if is_first_step:
                            update[i, k, t] += shrinkage * through_steps[i, k, t]
                            through_steps[i, k, t] = 0.0
                        else:
                            through_steps[i, k, t] += update[i, k, t] / shrinkage
        if not is_direct and (is_first_step or not has_inner):
            for i in range(n):
                for k in range(n_outputs):
                    for t in range(n_queries):
                        adjoint[i, k, t] += update[i, k, t]
        if n_previous > 0:
            base = leaves.leaf_offset[previous]
            for tree in range(previous, first_tree):
                tree_leaf = leaf[leaves.leaf_row[tree], begin : begin + n]
                first = leaves.leaf_offset[tree] - base
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    _add_adjoints(tree_leaf, first, column, k, adjoint, sums)
                    if has_inner:
                        _add_adjoints(tree_leaf, first, column, k, through_steps, sums)
    _add_copies(sums, total)


@kernel
def _clear(n, update):
    """Set the updates of a tile of n rows to 0."""
    update[:n] = 0.0


@kernel
def _add_copies(sums, total):
    """Add up the copies of sums, one after the other; `total` is overwritten."""
    cells, copies = total.reshape(total.size), sums.reshape(sums.shape[0], total.size)
    for cell in range(cells.size):
        cells[cell] = 0.0
        for copy in range(copies.shape[0]):
            cells[cell] += copies[copy, cell]


@kernel
def _add_adjoints(tree_leaf, first, column, k, adjoint, sums):
    """Add up a tile's adjoints in the leaves of a tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the tile within the tree.
    first : int64
        The tree's first leaf in `sums`.
    column, k : int64
        Column of the leaf values, and the output it belongs to.
    adjoint : ndarray of float64, shape (n, n_outputs, n_queries)
        The adjoints.
    sums : ndarray of float64, shape (n_accumulators, n_leaves, leaf_width, n_queries)
        Added to in place, an accumulator for each row in turn.
    """
    n_queries = sums.shape[3]
    last = np.uint64(sums.shape[0] - 1)
    if n_queries == 1:
        cells = sums[:, first:, column, 0]
        for i in range(tree_leaf.size):
            cells[np.uint64(i) & last, tree_leaf[i]] += adjoint[i, k, 0]
        return
    for i in range(tree_leaf.size):
        copy, number = np.uint64(i) & last, first + tree_leaf[i]
        for t in range(n_queries):
            sums[copy, number, column, t] += adjoint[i, k, t]
