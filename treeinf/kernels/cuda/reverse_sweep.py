"""LeafInfluence pushed backwards, on CUDA; see ``kernels/cpu/reverse_sweep.py``."""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda, float64

from treeinf.kernels.cpu import reverse_sweep as cpu
from treeinf.kernels.cpu.contraction import CROSSED, FULL
from treeinf.kernels.cpu.derivatives import SOFTMAX, UNIT_HESSIAN, all_derivatives
from treeinf.kernels.cuda import leaf_sums, memory
from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.cuda.leaf_sums import count_parts, sum_columns
from treeinf.kernels.flat import FlatLoss

__all__ = ["count_parts", "respond_leaves", "sum_columns", "sweep_iteration"]


def sweep_iteration(rows, leaves, loss, rule, iteration, leaf_factor, state, part_sum):
    """Take one iteration back: its rows' influence, and the adjoint before it.

    Parameters
    ----------
    rows, leaves, loss, rule, iteration, leaf_factor, state, part_sum
        See the CPU's; arrays on the device.

    Notes
    -----
    Two launches: a thread for each row, then the sums over the leaves before. The
    kernel is compiled anew for each loss, number of outputs and number of targets.
    """
    adjoint, inner = state.adjoint, state.inner
    n_rows, n_outputs, n_targets = adjoint.shape
    flat, width, trees = leaves.device, leaves.leaf_width, leaves.trees(iteration)
    has_inner = inner.shape[0] > 0
    kernel = _sweep_rows(
        int(loss.code), n_outputs, width, int(rule.kind), n_targets, has_inner
    )
    kernel[count_blocks(n_rows), THREADS](
        rows,
        flat,
        float(loss.parameter),
        rule,
        trees.start,
        trees.stop,
        iteration % rule.n_steps == 0,
        leaf_factor,
        state,
    )
    if iteration == 0:
        return
    before = leaves.trees(iteration - 1)
    leaf_sums.sum_trees(
        rows.leaf,
        flat.leaf_offset,
        flat.leaf_row,
        memory.nothing(0, np.int32) if width > 1 else flat.output,
        before,
        leaves.most_leaves(before),
        adjoint.reshape(n_rows, -1),
        inner.reshape(n_rows, -1)
        if has_inner
        else memory.nothing(n_outputs * n_targets),
        width * n_targets,
        0,
        part_sum.reshape(part_sum.shape[0], -1),
    )


@functools.cache
def _sweep_rows(loss_code, n_outputs, leaf_width, kind, n_targets, has_inner):
    differentiate = on_device(all_derivatives, n_outputs)
    pull_together = on_device(cpu._pull_together, n_outputs)
    pull_alone = on_device(cpu._pull_alone, n_outputs)
    couple_outputs = on_device(cpu._couple_outputs, n_outputs)
    is_full = (kind & FULL) != 0
    is_crossed = (kind & CROSSED) != 0
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
        leaf_factor,
        state,
    ):
        loss = FlatLoss(loss_code, loss_parameter)
        leaf, weight, theta = rows.leaf, rows.weight, rule.theta
        raw_score, adjoint = state.raw_score, state.adjoint
        inner, influence = state.inner, state.influence
        shrinkage = rule.shrinkage[first_tree]
        score = cuda.local.array((n_outputs, 1), float64)
        gradient = cuda.local.array((n_outputs, 1), float64)
        hessian = cuda.local.array((n_outputs, 1), float64)
        slope = cuda.local.array((n_outputs, 1), float64)
        bend = cuda.local.array((n_outputs, 1), float64)
        probability = cuda.local.array((n_outputs, 1), float64)
        pull = cuda.local.array((1, n_outputs, n_targets), float64)
        mean_u = cuda.local.array(n_targets, float64)
        both = cuda.local.array(n_targets, float64)
        for row in range(cuda.grid(1), raw_score.shape[0], cuda.gridsize(1)):
            own_influence = influence[row : row + 1]
            for k in range(n_outputs):
                score[k, 0] = raw_score[row, k]
            for tree in range(first_tree, last_tree):
                number = leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], row]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    score[k, 0] -= leaves.leaf_value[number, column]
            for k in range(n_outputs):
                raw_score[row, k] = score[k, 0]
            y = rows.y[row : row + 1]
            differentiate(loss, 1, y, score, gradient, hessian, slope, bend)
            if is_softmax:
                for k in range(n_outputs):
                    probability[k, 0] = slope[k, 0]
                    # as published, the library's hessian is each output's own slope
                    slope[k, 0] = 1.0 if is_crossed else loss_parameter
            if weight.size > 0:
                for k in range(n_outputs):
                    gradient[k, 0] *= weight[row]
                    hessian[k, 0] *= weight[row]
                    slope[k, 0] *= weight[row]
                    bend[k, 0] *= weight[row]
            for k in range(n_outputs):
                for t in range(n_targets):
                    pull[0, k, t] = 0.0
            if is_full:
                pull_together(
                    leaf[leaves.leaf_row[first_tree]],
                    leaves.leaf_offset[first_tree],
                    row,
                    1,
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
            else:
                for tree in range(first_tree, last_tree):
                    first = leaves.leaf_offset[tree]
                    for column in range(leaf_width):
                        k = leaves.output[tree] if leaf_width == 1 else column
                        pull_alone(
                            leaf[leaves.leaf_row[tree], row : row + 1],
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
                if is_softmax:
                    couple_outputs(probability, is_crossed, 1, both, pull)
            for k in range(n_outputs):
                for t in range(n_targets):
                    value = pull[0, k, t]
                    if has_inner and is_first_step:
                        value += shrinkage * inner[row, k, t]
                        inner[row, k, t] = 0.0
                    elif has_inner:
                        inner[row, k, t] += value / shrinkage
                        value = 0.0
                    adjoint[row, k, t] += value

    return sweep_rows


def respond_leaves(leaves, iteration, part_sums, response, matrix, leaf_factor):
    """Turn what an iteration's leaf values do to targets into what their sums do.

    Parameters
    ----------
    leaves : DeviceLeaves
        The ensemble's leaves.
    iteration : int
        The iteration.
    part_sums : list of device array of float64, \
shape (n_parts, n_own, leaf_width, n_targets)
        What `sweep_iteration` gave of the iteration after, for each block of rows; all
        of it is added first.
    response : device array of float64, shape (n_leaves * leaf_width * n_targets,)
        How far a leaf value moves for a unit more of gradient sum, shrinkage included;
        with a matrix, minus the shrinkage.
    matrix : device array of float64, shape (n_leaves, leaf_width, leaf_width), \
or (0, ...)
        Multiplied with it.
    leaf_factor : device array of float64, shape (n_leaves, leaf_width, n_targets)
        Changed in place, for the leaves of the iteration.
    """
    trees = leaves.trees(iteration)
    width, n_targets = leaf_factor.shape[1:]
    first, last = (
        int(leaves.host.leaf_offset[tree]) for tree in (trees.start, trees.stop)
    )
    flat = leaf_factor.reshape(leaf_factor.size)
    n_entries = (last - first) * width * n_targets
    parts = [part.reshape(part.shape[0], -1) for part in part_sums]
    parts = parts or [memory.nothing(n_entries)]
    for place, part in enumerate(parts, 1):
        scale = response if place == len(parts) else memory.nothing(0)
        leaf_sums.add_parts(part, first * width * n_targets, scale, flat)
    if matrix.shape[0]:
        _multiply_leaves(width)[count_blocks((last - first) * n_targets), THREADS](
            first, last, matrix, leaf_factor
        )


@functools.cache
def _multiply_leaves(leaf_width):
    @cuda.jit
    def multiply_leaves(first, last, matrix, leaf_factor):
        own = cuda.local.array(leaf_width, float64)
        n_targets = leaf_factor.shape[2]
        for i in range(cuda.grid(1), (last - first) * n_targets, cuda.gridsize(1)):
            number, t = first + i // n_targets, i % n_targets
            for k in range(leaf_width):
                own[k] = leaf_factor[number, k, t]
            for k in range(leaf_width):
                value = 0.0
                for m in range(leaf_width):
                    value += matrix[number, k, m] * own[m]
                leaf_factor[number, k, t] = value

    return multiply_leaves
