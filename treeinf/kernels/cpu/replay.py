"""Boosting replayed over rows: staged derivatives, summed by leaf or iteration."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel, parallel_kernel
from treeinf.kernels.formulas.bags import write_bag
from treeinf.kernels.formulas.derivatives import (
    EXPONENTIAL,
    SOFTMAX,
    UNIT_HESSIAN,
    loss_derivatives,
)
from treeinf.kernels.formulas.scores import (
    add_iteration,
    add_tree,
    apply_weights,
    start_scores,
)

__all__ = [
    "TILE_ROWS",
    "count_accumulators",
    "count_leaf_rows",
    "replay",
    "stage_scores",
    "sum_leaf_values",
    "sum_leaf_weights",
    "trace_gradients",
    "trace_probabilities",
]

TILE_ROWS = 1024
"""Rows of a tile: their scores and derivatives stay in the L1 cache."""

_ACCUMULATORS = 4
_MOST_CELLS = 8192


@kernel
def count_accumulators(n_cells):
    """Return the number of accumulators of a leaf sum, a power of 2.

    Rows are added to them in turn. Neighbouring rows are often in one leaf: with one
    accumulator, each addition would wait for the one before.

    Parameters
    ----------
    n_cells : int64
        Size of one copy of all sums.

    Returns
    -------
    int64
        1 where several copies would not stay in the cache.
    """
    return _ACCUMULATORS if n_cells <= _MOST_CELLS else 1


@linear_kernel
def sum_leaf_values(leaf, leaves, offset, n_trees, raw_score):
    """Compute raw scores after the first `n_trees` trees.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Initial score of each row, on top of the base score.
    n_trees : int64
        Trees to add.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Output, overwritten.
    """
    n_rows, n_outputs = leaf.shape[1], leaves.base_score.size
    for tile in prange((n_rows + TILE_ROWS - 1) // TILE_ROWS):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS))
        start_scores(leaves.base_score, offset, begin, n, score)
        for tree in range(n_trees):
            add_tree(leaf, leaves, tree, begin, n, score)
        for i in range(n):
            for k in range(n_outputs):
                raw_score[begin + i, k] = score[k, i]


@linear_kernel
def stage_scores(leaf, leaves, first_iteration, step, start, staged):
    """Compute raw scores before every `step`-th iteration.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`.
    first_iteration, step : int64
        Iteration of the first stage, and iterations between two stages.
    start : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores before the first stage's iteration.
    staged : ndarray of float64, shape (n_stages, n_rows, n_outputs)
        Output, overwritten.
    """
    n_stages, n_rows, n_outputs = staged.shape
    for tile in prange((n_rows + TILE_ROWS - 1) // TILE_ROWS):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS))
        for i in range(n):
            for k in range(n_outputs):
                score[k, i] = start[begin + i, k]
        for stage in range(n_stages):
            if stage > 0:
                after = first_iteration + stage * step
                for iteration in range(after - step, after):
                    add_iteration(leaf, leaves, iteration, begin, n, score)
            for i in range(n):
                for k in range(n_outputs):
                    staged[stage, begin + i, k] = score[k, i]


@linear_kernel
def replay(rows, leaves, loss, raw_score, batch_gradient, batch_hessian):
    """Replay boosting over rows and add up each leaf's staged derivatives.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Output, overwritten: raw scores after the last tree.
    batch_gradient, batch_hessian : ndarray of float64, \
shape (n_batches, n_leaves, leaf_width)
        Outputs, 0 on entry: sums over each batch of the rows, for the caller to add up.
        The batches are consecutive rows, of equal length but for the last.

    Notes
    -----
    One pass, O(n_rows n_trees) time, no array of size n_rows x n_trees. A batch is
    added up by one thread in the order of its rows: the sums are bitwise the same for
    any number of threads.
    """
    leaf = rows.leaf
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    n_batches = batch_gradient.shape[0]
    leaf_width = leaves.leaf_value.shape[1]
    batch_rows = (n_rows + n_batches - 1) // n_batches
    n_leaves = leaves.leaf_value.shape[0]
    n_accumulators = count_accumulators(2 * n_leaves * leaf_width)
    for batch in prange(n_batches):
        score = np.empty((n_outputs, TILE_ROWS))
        gradient = np.empty((n_outputs, TILE_ROWS))
        hessian = np.empty((n_outputs, TILE_ROWS))
        y = np.empty(TILE_ROWS)
        factor = np.empty(TILE_ROWS)
        sums = np.zeros((leaf_width, n_accumulators, n_leaves, 2))
        stop = min(n_rows, (batch + 1) * batch_rows)
        for begin in range(batch * batch_rows, stop, TILE_ROWS):
            n = min(TILE_ROWS, stop - begin)
            for i in range(n):
                y[i] = rows.y[begin + i]
            start_scores(leaves.base_score, rows.offset, begin, n, score)
            for iteration in range(leaves.iteration_start.size - 1):
                if iteration == 0 or not leaves.is_averaged:
                    loss_derivatives(loss, n, y, score, gradient, hessian)
                    apply_weights(rows.weight, begin, n, gradient)
                    apply_weights(rows.weight, begin, n, hessian)
                for tree in range(
                    leaves.iteration_start[iteration],
                    leaves.iteration_start[iteration + 1],
                ):
                    first = leaves.leaf_offset[tree]
                    tree_leaf = leaf[leaves.leaf_row[tree], begin : begin + n]
                    is_bagged = write_bag(rows, tree, begin, n, factor)
                    for column in range(leaf_width):
                        k = leaves.output[tree] if leaf_width == 1 else column
                        of_leaf = sums[column, :, first:]
                        if is_bagged:
                            _add_bagged(
                                tree_leaf, factor, gradient[k], hessian[k], of_leaf
                            )
                        else:
                            _add_derivatives(
                                tree_leaf, gradient[k], hessian[k], of_leaf
                            )
                    add_tree(leaf, leaves, tree, begin, n, score)
            for i in range(n):
                for k in range(n_outputs):
                    raw_score[begin + i, k] = score[k, i]
        for column in range(leaf_width):
            for copy in range(n_accumulators):
                for number in range(n_leaves):
                    batch_gradient[batch, number, column] += sums[
                        column, copy, number, 0
                    ]
                    batch_hessian[batch, number, column] += sums[
                        column, copy, number, 1
                    ]


@kernel
def _add_derivatives(tree_leaf, gradient, hessian, sums):
    """Add up a tile's derivatives in the leaves of a tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the tile within the tree.
    gradient, hessian : ndarray of float64, shape (>= n,)
        Derivatives.
    sums : ndarray of float64, shape (n_accumulators, >= leaves of the tree, 2)
        Added to in place, an accumulator for each row in turn.
    """
    last = np.uint64(sums.shape[0] - 1)
    for i in range(tree_leaf.size):
        copy = np.uint64(i) & last
        sums[copy, tree_leaf[i], 0] += gradient[i]
        sums[copy, tree_leaf[i], 1] += hessian[i]


@kernel
def _add_bagged(tree_leaf, factor, gradient, hessian, sums):
    """Add up a tile's derivatives times the factors of a tree's bag.

    Parameters
    ----------
    tree_leaf, gradient, hessian, sums
        See `_add_derivatives`.
    factor : ndarray of float64, shape (>= n,)
        From `write_bag`.
    """
    last = np.uint64(sums.shape[0] - 1)
    for i in range(tree_leaf.size):
        copy = np.uint64(i) & last
        sums[copy, tree_leaf[i], 0] += factor[i] * gradient[i]
        sums[copy, tree_leaf[i], 1] += factor[i] * hessian[i]


@linear_kernel
def count_leaf_rows(leaf, leaf_offset, leaf_row, bags, count):
    """Count the rows of a tree's bag in each of its leaves.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, bags
        See `treeinf.kernels.flat`. Rows with a factor of 0 do not count.
    count : ndarray of int64, shape (n_leaves,)
        Output, 0 on entry. Each thread owns trees.
    """
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        n_leaves = leaf_offset[tree + 1] - first
        tree_leaf = leaf[leaf_row[tree]]
        counts = np.zeros((count_accumulators(n_leaves), n_leaves), np.int64)
        last = np.uint64(counts.shape[0] - 1)
        factor = np.empty(TILE_ROWS)
        for begin in range(0, tree_leaf.size, TILE_ROWS):
            n = min(TILE_ROWS, tree_leaf.size - begin)
            if write_bag(bags, tree, begin, n, factor):
                for i in range(n):
                    copy = np.uint64(i) & last
                    counts[copy, tree_leaf[begin + i]] += 1 if factor[i] != 0.0 else 0
            else:
                for i in range(n):
                    counts[np.uint64(i) & last, tree_leaf[begin + i]] += 1
        for copy in range(counts.shape[0]):
            for number in range(n_leaves):
                count[first + number] += counts[copy, number]


@linear_kernel
def sum_leaf_weights(leaf, leaf_offset, leaf_row, bags, weight, total):
    """Add up the weights of the rows in each leaf, times their factors in the bag.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, bags
        See `treeinf.kernels.flat`.
    weight : ndarray of float64, shape (n_rows,)
        Row weights.
    total : ndarray of float64, shape (n_leaves,)
        Output, 0 on entry. Each thread owns trees.
    """
    for tree in prange(leaf_row.size):
        first = leaf_offset[tree]
        tree_leaf = leaf[leaf_row[tree]]
        factor = np.empty(TILE_ROWS)
        for begin in range(0, tree_leaf.size, TILE_ROWS):
            n = min(TILE_ROWS, tree_leaf.size - begin)
            if write_bag(bags, tree, begin, n, factor):
                for i in range(n):
                    row = begin + i
                    total[first + tree_leaf[row]] += factor[i] * weight[row]
            else:
                for row in range(begin, begin + n):
                    total[first + tree_leaf[row]] += weight[row]


@parallel_kernel
def trace_gradients(rows, leaves, loss, n_iterations, size, variance):
    """Average each row's staged gradients, of weight 1, over the first iterations.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`.
    n_iterations : int64
        Iterations to follow, at least 1; each counts with the gradient before it.
    size : ndarray of float64, shape (n_rows,)
        Output, overwritten: mean Euclidean norm, over outputs, of the gradient.
    variance : ndarray of float64, shape (n_rows,)
        Output, overwritten: variance of the gradient over iterations (divided by their
        number), added up over outputs.

    Notes
    -----
    One pass, running means (B. P. Welford, Technometrics 4, 1962); each thread owns
    tiles of rows.
    """
    leaf = rows.leaf
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    for tile in prange((n_rows + TILE_ROWS - 1) // TILE_ROWS):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS))
        gradient = np.empty((n_outputs, TILE_ROWS))
        hessian = np.empty((n_outputs, TILE_ROWS))
        mean = np.zeros((n_outputs, TILE_ROWS))
        y = rows.y[begin : begin + n]
        for i in range(begin, begin + n):
            size[i] = 0.0
            variance[i] = 0.0
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        for iteration in range(n_iterations):
            loss_derivatives(loss, n, y, score, gradient, hessian)
            for i in range(n):
                squares = 0.0
                for k in range(n_outputs):
                    value = gradient[k, i]
                    squares += value * value
                    change = value - mean[k, i]
                    mean[k, i] += change / (iteration + 1)
                    variance[begin + i] += change * (value - mean[k, i])
                size[begin + i] += np.sqrt(squares)
            add_iteration(leaf, leaves, iteration, begin, n, score)
        for i in range(begin, begin + n):
            size[i] /= n_iterations
            variance[i] /= n_iterations


@parallel_kernel
def trace_probabilities(rows, leaves, loss, n_iterations, mean, deviation, correct):
    """Average the probability of each row's own class over the first iterations.

    Parameters
    ----------
    rows, leaves, loss
        Of a classifier, see `treeinf.kernels.flat`.
    n_iterations : int64
        Iterations to follow, at least 1; each counts with the scores after it.
    mean, deviation : ndarray of float64, shape (n_rows,)
        Outputs, overwritten: mean and standard deviation (divided by the number of
        iterations) of the probability.
    correct : ndarray of float64, shape (n_rows,)
        Output, overwritten: share of the iterations in which the own class has the
        largest score, the first of equal ones.

    Notes
    -----
    The probability follows from the gradient: for a logistic of scale s it is
    ``1 - |g| / s``, for a softmax ``1 + g`` of the own output, for the exponential loss
    ``1 / (1 + g^2)``. One pass; each thread owns tiles of rows.
    """
    leaf = rows.leaf
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    code = loss.code - UNIT_HESSIAN if loss.code >= UNIT_HESSIAN else loss.code
    scale = 1.0 if code in (SOFTMAX, EXPONENTIAL) else loss.parameter
    for tile in prange((n_rows + TILE_ROWS - 1) // TILE_ROWS):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS))
        gradient = np.empty((n_outputs, TILE_ROWS))
        hessian = np.empty((n_outputs, TILE_ROWS))
        squares = np.zeros(TILE_ROWS)
        y = rows.y[begin : begin + n]
        for i in range(begin, begin + n):
            mean[i] = 0.0
            correct[i] = 0.0
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        for iteration in range(n_iterations):
            add_iteration(leaf, leaves, iteration, begin, n, score)
            loss_derivatives(loss, n, y, score, gradient, hessian)
            for i in range(n):
                label = int(y[i])
                step = abs(gradient[label if n_outputs > 1 else 0, i]) / scale
                if code == EXPONENTIAL:
                    value = 1.0 / (1.0 + step * step)
                else:
                    value = 1.0 - step
                change = value - mean[begin + i]
                mean[begin + i] += change / (iteration + 1)
                squares[i] += change * (value - mean[begin + i])
                if n_outputs == 1:
                    best = 1 if score[0, i] > 0.0 else 0
                else:
                    best = 0
                    for k in range(1, n_outputs):
                        if score[k, i] > score[best, i]:
                            best = k
                if best == label:
                    correct[begin + i] += 1.0
        for i in range(n):
            deviation[begin + i] = np.sqrt(squares[i] / n_iterations)
            correct[begin + i] /= n_iterations
