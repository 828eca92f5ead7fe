"""Full LeafInfluence from the last iteration to the first: targets pushed backwards.

With one adjoint for each train row, output and target (how much the target's loss falls
as the row's score before the current iteration rises), one pass over the rows of an
iteration adds up what its leaves do to the target, and takes the adjoint one iteration
back. See ``docs/methods.md`` for the derivation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from treeinf.kernels.compilation import kernel, linear_kernel
from treeinf.kernels.cpu.contraction import CROSSED, FULL
from treeinf.kernels.cpu.derivatives import SOFTMAX, UNIT_HESSIAN, all_derivatives
from treeinf.kernels.cpu.replay import count_lanes

__all__ = ["SWEEP_BLOCK", "SweepRule", "SweepState", "sweep_iteration"]

SWEEP_BLOCK = 256
"""Rows handled together."""


class SweepRule(NamedTuple):
    """How row factors of full LeafInfluence follow from scores.

    Attributes
    ----------
    kind : int
        Bits `CROSSED` and `FULL` of the contraction's `FactorRule`.
    n_steps : int
        Iterations that are steps of one tree.
    theta : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage.
    shrinkage : ndarray of float64, shape (n_trees,)
        Read where trees take several steps.
    """

    kind: int
    n_steps: int
    theta: NDArray[np.float64]
    shrinkage: NDArray[np.float64]


class SweepState(NamedTuple):
    """What the sweep changes of each row, iteration by iteration.

    Attributes
    ----------
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores after the iteration that is taken back next.
    adjoint : ndarray of float64, shape (n_rows, n_outputs, n_targets)
        Minus the derivative of each target in the row's score, by way of later trees.
    inner : ndarray of float64, shape (n_rows, n_outputs, n_targets) or (0, ...)
        By way of later steps of the same tree, divided by the shrinkage. Empty where
        trees take one step.
    influence : ndarray of float64, shape (n_rows, n_targets) or (0, n_targets)
        Added to in place; left alone if it has no rows.
    """

    raw_score: NDArray[np.float64]
    adjoint: NDArray[np.float64]
    inner: NDArray[np.float64]
    influence: NDArray[np.float64]


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
    pull : ndarray of float64, shape (>= n, n_outputs, n_targets)
        Output, overwritten.
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
                pull[i, k, t] = w * p * ((u - mean_u[t]) * (1.0 + a) - both[t])
                if influence.shape[0] > 0:
                    influence[begin + i, t] += u * (gradient[k, i] + w * p * a)


@linear_kernel
def sweep_iteration(rows, leaves, loss, rule, iteration, leaf_factor, state, part_sum):
    """Take one iteration back: its rows' influence, and the adjoint before it.

    Parameters
    ----------
    rows, leaves, loss
        Train rows, ensemble and loss, see `replay`.
    rule : SweepRule
        How the row factors follow from scores.
    iteration : int64
        Iteration to take back: a step of a tree, where trees take several.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a unit more of gradient sum in a leaf of this iteration does to each
        target. Read for this iteration's leaves only.
    state : SweepState
        Changed in place from after the iteration to before it.
    part_sum : ndarray of float64, shape (n_parts, n_previous, leaf_width, n_targets)
        Output, overwritten: sums of the new adjoints, inner ones included, over the
        leaves of the previous iteration, for each part of the rows. `n_previous` is the
        leaves of all trees of that iteration, 0 for the first.

    Notes
    -----
    O(n_rows n_trees_of_iteration n_targets) time. A part is added up by one thread in
    the order of its rows, so that any number of threads gives the same bits.
    """
    n_rows, n_parts = state.adjoint.shape[0], part_sum.shape[0]
    part_rows = (n_rows + n_parts - 1) // n_parts
    for part in prange(n_parts):
        _sweep_rows(
            part * part_rows,
            min(n_rows, (part + 1) * part_rows),
            rows,
            leaves,
            loss,
            rule,
            iteration,
            leaf_factor,
            state,
            part_sum[part],
        )


@kernel
def _sweep_rows(
    start, stop, rows, leaves, loss, rule, iteration, leaf_factor, state, total
):
    """Take one iteration back for a run of rows.

    Parameters
    ----------
    start, stop : int64
        First row of the run, and the first behind it.
    rows, leaves, loss, rule, iteration, leaf_factor, state
        See `sweep_iteration`.
    total : ndarray of float64, shape (n_previous, leaf_width, n_targets)
        Output, overwritten: the run's line of `part_sum`.

    Notes
    -----
    Apart from the loop over runs, since that is compiled in several versions.
    """
    leaf, weight, theta = rows.leaf, rows.weight, rule.theta
    raw_score, adjoint = state.raw_score, state.adjoint
    inner, influence = state.inner, state.influence
    n_outputs, n_targets = adjoint.shape[1:]
    leaf_width = theta.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    is_full = (rule.kind & FULL) != 0
    is_crossed = (rule.kind & CROSSED) != 0
    is_softmax = loss.code == SOFTMAX or loss.code == SOFTMAX + UNIT_HESSIAN
    has_inner = inner.shape[0] > 0
    is_first_step = iteration % rule.n_steps == 0
    shrinkage = rule.shrinkage[first_tree]
    # as published, the library's hessian stands for the slope of each output on its own
    own_slope = 1.0 if is_crossed else loss.parameter
    is_direct = not (is_softmax or is_full or has_inner)
    previous = leaves.iteration_start[max(iteration - 1, 0)]
    n_previous = total.shape[0]
    n_lanes = count_lanes(n_previous * leaf_width * n_targets)
    score = np.empty((n_outputs, SWEEP_BLOCK))
    gradient = np.empty((n_outputs, SWEEP_BLOCK))
    hessian = np.empty((n_outputs, SWEEP_BLOCK))
    slope = np.empty((n_outputs, SWEEP_BLOCK))
    bend = np.empty((n_outputs, SWEEP_BLOCK))
    probability = np.empty((n_outputs, SWEEP_BLOCK))
    buffer = np.empty((SWEEP_BLOCK, n_outputs, n_targets))
    both = np.empty(n_targets)
    mean_u = np.empty(n_targets)
    sums = np.zeros((n_lanes, n_previous, leaf_width, n_targets))
    for begin in range(start, stop, SWEEP_BLOCK):
        n = min(SWEEP_BLOCK, stop - begin)
        y = rows.y[begin : begin + n]
        own_adjoint = adjoint[begin : begin + n]
        own_influence = influence[begin : begin + n]
        for k in range(n_outputs):
            for i in range(n):
                score[k, i] = raw_score[begin + i, k]
        for tree in range(first_tree, last_tree):
            tree_leaf = leaf[leaves.leaf_row[tree], begin : begin + n]
            value = leaves.leaf_value[leaves.leaf_offset[tree] :]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                for i in range(n):
                    score[k, i] -= value[tree_leaf[i], column]
        for k in range(n_outputs):
            for i in range(n):
                raw_score[begin + i, k] = score[k, i]
        all_derivatives(loss, n, y, score, gradient, hessian, slope, bend)
        if is_softmax:
            for k in range(n_outputs):
                for i in range(n):
                    probability[k, i] = slope[k, i]
                    slope[k, i] = own_slope
        if weight.size > 0:
            for k in range(n_outputs):
                for i in range(n):
                    gradient[k, i] *= weight[begin + i]
                    hessian[k, i] *= weight[begin + i]
                    slope[k, i] *= weight[begin + i]
                    bend[k, i] *= weight[begin + i]
        # pull[k] = sum over the iteration's trees of output k of
        # u (dg_k/dF_k + theta dh_k/dF_k), up to the softmax's own terms
        pull = own_adjoint if is_direct else buffer
        if not is_direct:
            _clear(n, pull)
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
                probability,
                mean_u,
                both,
                pull,
                influence,
            )
        for tree in range(first_tree, first_tree if is_full else last_tree):
            first = leaves.leaf_offset[tree]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                _pull_alone(
                    leaf[leaves.leaf_row[tree], begin : begin + n],
                    theta[first:],
                    leaf_factor[first:],
                    column,
                    gradient[k],
                    hessian[k],
                    slope[k],
                    bend[k],
                    k,
                    pull,
                    own_influence,
                )
        if is_softmax and not is_full:
            _couple_outputs(probability, is_crossed, n, both, pull)
        if has_inner:
            own_inner = inner[begin : begin + n]
            for i in range(n):
                for k in range(n_outputs):
                    for t in range(n_targets):
                        if is_first_step:
                            pull[i, k, t] += shrinkage * own_inner[i, k, t]
                            own_inner[i, k, t] = 0.0
                        else:
                            own_inner[i, k, t] += pull[i, k, t] / shrinkage
        if not is_direct and (is_first_step or not has_inner):
            for i in range(n):
                for k in range(n_outputs):
                    for t in range(n_targets):
                        own_adjoint[i, k, t] += pull[i, k, t]
        if n_previous > 0:
            base = leaves.leaf_offset[previous]
            for tree in range(previous, first_tree):
                tree_leaf = leaf[leaves.leaf_row[tree], begin : begin + n]
                first = leaves.leaf_offset[tree] - base
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    _add_adjoints(tree_leaf, first, column, k, own_adjoint, sums)
                    if has_inner:
                        _add_adjoints(tree_leaf, first, column, k, own_inner, sums)
    _add_lanes(sums, total)


@kernel
def _clear(n, pull):
    """Set the pulls of a block of n rows to 0."""
    pull[:n] = 0.0


@kernel
def _add_lanes(sums, total):
    """Add up the sums that rows took turns with; `total` is overwritten."""
    cells, lanes = total.reshape(total.size), sums.reshape(sums.shape[0], total.size)
    for cell in range(cells.size):
        cells[cell] = 0.0
        for lane in range(lanes.shape[0]):
            cells[cell] += lanes[lane, cell]


@kernel
def _pull_alone(
    tree_leaf,
    theta,
    leaf_factor,
    column,
    gradient,
    hessian,
    slope,
    bend,
    k,
    pull,
    influence,
):
    """Add what a unit more of a block's scores does by way of one tree's output.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the block within the tree.
    theta : ndarray of float64, shape (>= leaves of the tree, leaf_width)
        Leaf values before shrinkage, from the tree's first leaf on.
    leaf_factor : ndarray of float64, shape (>= leaves of the tree, leaf_width, \
n_targets)
        See `sweep_iteration`, from the tree's first leaf on.
    column : int64
        Column of the leaf values.
    gradient, hessian, slope, bend : ndarray of float64, shape (>= n,)
        Derivatives of the output's, with weights.
    k : int64
        The output.
    pull : ndarray of float64, shape (>= n, n_outputs, n_targets)
        Added to in place.
    influence : ndarray of float64, shape (n, n_targets) or (0, n_targets)
        Added to in place; left alone if it has no rows.

    Notes
    -----
    One target is a loop over rows, several are a loop over targets in each row.
    """
    n_targets = pull.shape[2]
    has_influence = influence.shape[0] > 0
    if n_targets == 1:
        for i in range(tree_leaf.size):
            u = leaf_factor[tree_leaf[i], column, 0]
            value = theta[tree_leaf[i], column]
            pull[i, k, 0] += u * (slope[i] + value * bend[i])
            if has_influence:
                influence[i, 0] += u * (gradient[i] + value * hessian[i])
        return
    for i in range(tree_leaf.size):
        number = tree_leaf[i]
        change = slope[i] + theta[number, column] * bend[i]
        for t in range(n_targets):
            pull[i, k, t] += leaf_factor[number, column, t] * change
        if has_influence:
            own = gradient[i] + theta[number, column] * hessian[i]
            for t in range(n_targets):
                influence[i, t] += leaf_factor[number, column, t] * own


@kernel
def _couple_outputs(probability, is_crossed, n, both, pull):
    """Multiply a block's pulls with the derivatives of a softmax.

    Parameters
    ----------
    probability : ndarray of float64, shape (n_outputs, >= n)
        Of the softmax.
    is_crossed : bool
        Outputs answer to one another's scores.
    n : int64
        Rows.
    both : ndarray of float64, shape (n_targets,)
        Overwritten.
    pull : ndarray of float64, shape (>= n, n_outputs, n_targets)
        Changed in place.
    """
    n_outputs, n_targets = pull.shape[1:]
    for i in range(n):
        both[:] = 0.0
        if is_crossed:
            for k in range(n_outputs):
                for t in range(n_targets):
                    both[t] += probability[k, i] * pull[i, k, t]
        for k in range(n_outputs):
            p = probability[k, i]
            for t in range(n_targets):
                others = both[t] if is_crossed else p * pull[i, k, t]
                pull[i, k, t] = p * (pull[i, k, t] - others)


@kernel
def _add_adjoints(tree_leaf, first, column, k, adjoint, sums):
    """Add up a block's adjoints in the leaves of a tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the block within the tree.
    first : int64
        The tree's first leaf in `sums`.
    column, k : int64
        Column of the leaf values, and the output it belongs to.
    adjoint : ndarray of float64, shape (n, n_outputs, n_targets)
        The adjoints.
    sums : ndarray of float64, shape (n_lanes, n_leaves, leaf_width, n_targets)
        Added to in place: rows take turns.
    """
    n_targets = sums.shape[3]
    last_lane = np.uint64(sums.shape[0] - 1)
    if n_targets == 1:
        cells = sums[:, first:, column, 0]
        for i in range(tree_leaf.size):
            cells[np.uint64(i) & last_lane, tree_leaf[i]] += adjoint[i, k, 0]
        return
    for i in range(tree_leaf.size):
        lane, number = np.uint64(i) & last_lane, first + tree_leaf[i]
        for t in range(n_targets):
            sums[lane, number, column, t] += adjoint[i, k, t]
