"""Boosting replayed over rows, on CUDA; see ``kernels/cpu/replay.py``."""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda, float64

from treeinf.kernels.cuda import leaf_sums, memory
from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas.derivatives import loss_derivatives
from treeinf.kernels.formulas.scores import add_iteration, add_tree, start_scores

__all__ = ["count_leaf_rows", "replay", "stage_scores", "sum_leaf_values"]

_start_scores = on_device(start_scores)
_add_tree = on_device(add_tree)
_add_iteration = on_device(add_iteration)


def sum_leaf_values(leaf, leaves, offset, n_trees, raw_score):
    """Compute raw scores after the first `n_trees` trees.

    Parameters
    ----------
    leaf, leaves, offset, n_trees, raw_score
        See the CPU's; arrays on the device.
    """
    kernel = _sum_leaf_values(raw_score.shape[1])
    kernel[count_blocks(raw_score.shape[0]), THREADS](
        leaf, leaves.device, offset, n_trees, raw_score
    )


@functools.cache
def _sum_leaf_values(n_outputs):
    @cuda.jit
    def sum_rows(leaf, leaves, offset, n_trees, raw_score):
        score = cuda.local.array((n_outputs, 1), float64)
        for row in range(cuda.grid(1), raw_score.shape[0], cuda.gridsize(1)):
            _start_scores(leaves.base_score, offset, row, 1, score)
            for tree in range(n_trees):
                _add_tree(leaf, leaves, tree, row, 1, score)
            for k in range(n_outputs):
                raw_score[row, k] = score[k, 0]

    return sum_rows


def stage_scores(leaf, leaves, first_iteration, step, start, staged):
    """Compute raw scores before every `step`-th iteration.

    Parameters
    ----------
    leaf, leaves, first_iteration, step, start, staged
        See the CPU's; arrays on the device.
    """
    kernel = _stage_scores(start.shape[1])
    kernel[count_blocks(start.shape[0]), THREADS](
        leaf, leaves.device, first_iteration, step, start, staged
    )


@functools.cache
def _stage_scores(n_outputs):
    @cuda.jit
    def stage_rows(leaf, leaves, first_iteration, step, start, staged):
        score = cuda.local.array((n_outputs, 1), float64)
        for row in range(cuda.grid(1), start.shape[0], cuda.gridsize(1)):
            for k in range(n_outputs):
                score[k, 0] = start[row, k]
            for stage in range(staged.shape[0]):
                if stage > 0:
                    after = first_iteration + stage * step
                    for iteration in range(after - step, after):
                        _add_iteration(leaf, leaves, iteration, row, 1, score)
                for k in range(n_outputs):
                    staged[stage, row, k] = score[k, 0]

    return stage_rows


def replay(rows, leaves, loss, raw_score, batch_gradient, batch_hessian):
    """Replay boosting over rows and add up each leaf's staged derivatives.

    Parameters
    ----------
    rows, leaves, loss
        See the CPU's; arrays on the device.
    raw_score, batch_gradient, batch_hessian
        Outputs, overwritten; see the CPU's.

    Notes
    -----
    An iteration at a time: a kernel stores the rows' derivatives and advances their
    scores, then the derivatives are added up leaf by leaf.
    """
    n_rows, n_outputs = raw_score.shape
    flat, width = leaves.device, leaves.leaf_width
    sum_leaf_values(rows.leaf, leaves, rows.offset, 0, raw_score)
    gradient = memory.empty((n_rows, n_outputs))
    hessian = memory.empty((n_rows, n_outputs))
    none = memory.nothing(n_outputs)
    output = memory.nothing(0, np.int32) if width > 1 else flat.output
    step = _replay_iteration(int(loss.code), n_outputs)
    for iteration in range(leaves.n_iterations):
        trees = leaves.trees(iteration)
        step[count_blocks(n_rows), THREADS](
            *(rows, flat, trees.start, trees.stop),
            iteration == 0 or not flat.is_averaged,
            *(float(loss.parameter), raw_score, gradient, hessian),
        )
        first = int(leaves.host.leaf_offset[trees.start]) * width
        for value, sums in (gradient, batch_gradient), (hessian, batch_hessian):
            leaf_sums.sum_trees(
                *(rows.leaf, flat.leaf_offset, flat.leaf_row, output, rows),
                *(trees, leaves.most_leaves(trees), value, none, width, first),
                sums.reshape(len(sums), -1),
            )


@functools.cache
def _replay_iteration(loss_code, n_outputs):
    differentiate = on_device(loss_derivatives, n_outputs)

    @cuda.jit
    def replay_iteration(
        rows,
        leaves,
        first_tree,
        last_tree,
        is_new,
        loss_parameter,
        raw_score,
        gradient,
        hessian,
    ):
        loss, weight = FlatLoss(loss_code, loss_parameter), rows.weight
        score = cuda.local.array((n_outputs, 1), float64)
        g = cuda.local.array((n_outputs, 1), float64)
        h = cuda.local.array((n_outputs, 1), float64)
        for row in range(cuda.grid(1), raw_score.shape[0], cuda.gridsize(1)):
            for k in range(n_outputs):
                score[k, 0] = raw_score[row, k]
            if is_new:
                y = rows.y[row : row + 1]
                differentiate(loss, 1, y, score, g, h)
                w = 1.0
                if weight.size > 0:
                    w = weight[row]
                for k in range(n_outputs):
                    gradient[row, k] = w * g[k, 0]
                    hessian[row, k] = w * h[k, 0]
            for tree in range(first_tree, last_tree):
                _add_tree(rows.leaf, leaves, tree, row, 1, score)
            for k in range(n_outputs):
                raw_score[row, k] = score[k, 0]

    return replay_iteration


def count_leaf_rows(leaf, leaf_offset, leaf_row, bags, count):
    """Count the rows of a tree's bag in each of its leaves.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, bags
        See the CPU's; arrays on the device.
    count : device array of int64, shape (n_leaves,)
        Output, overwritten.
    """
    total = memory.empty((count.size, 1))
    none = memory.nothing(1)
    leaf_sums.sum_all_trees(leaf, leaf_offset, leaf_row, bags, none, total)
    _round[count_blocks(count.size), THREADS](total, count)


@cuda.jit
def _round(total, count):
    for number in range(cuda.grid(1), count.size, cuda.gridsize(1)):
        count[number] = int(total[number, 0])
