"""What happens to each row as boosting goes on: moments over iterations."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel
from treeinf.kernels.cpu.derivatives import (
    EXPONENTIAL,
    SOFTMAX,
    UNIT_HESSIAN,
    loss_derivatives,
)
from treeinf.kernels.cpu.replay import BLOCK, add_tree, start_scores

__all__ = ["follow_gradients", "follow_probabilities"]


@kernel
def _add_iteration(leaf, leaves, iteration, begin, n, score):
    """Add the trees of one iteration to a block's raw scores."""
    for tree in range(
        leaves.iteration_start[iteration], leaves.iteration_start[iteration + 1]
    ):
        add_tree(
            leaf[leaves.leaf_row[tree]],
            begin,
            n,
            leaves.leaf_offset[tree],
            leaves.output[tree],
            leaves.leaf_value,
            score,
        )


@parallel_kernel
def follow_gradients(rows, leaves, loss, n_iterations, size, variance):
    """Average each row's staged gradients over the first iterations.

    Parameters
    ----------
    rows, leaves, loss
        Rows, ensemble and loss, see `replay`; without weights.
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
    blocks of rows.
    """
    leaf = rows.leaf
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    for block in prange((n_rows + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, n_rows - begin)
        score = np.empty((n_outputs, BLOCK))
        gradient = np.empty((n_outputs, BLOCK))
        hessian = np.empty((n_outputs, BLOCK))
        mean = np.zeros((n_outputs, BLOCK))
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
            _add_iteration(leaf, leaves, iteration, begin, n, score)
        for i in range(begin, begin + n):
            size[i] /= n_iterations
            variance[i] /= n_iterations


@parallel_kernel
def follow_probabilities(rows, leaves, loss, n_iterations, mean, deviation, correct):
    """Average the probability of each row's own class over the first iterations.

    Parameters
    ----------
    rows, leaves, loss
        Rows, ensemble and loss of a classifier, see `replay`; without weights.
    n_iterations : int64
        Iterations to follow, at least 1; each counts with the scores after it.
    mean, deviation : ndarray of float64, shape (n_rows,)
        Outputs, overwritten: mean and standard deviation (divided by the number of
        iterations) of the probability.
    correct : ndarray of float64, shape (n_rows,)
        Output, overwritten: share of the iterations in which the own class has the
        largest score; among equals the first has.

    Notes
    -----
    The probability is read off the gradient: for a logistic of scale s it is
    ``1 - |g| / s``, for a softmax ``1 + g`` of the own output, for the exponential loss
    ``1 / (1 + g^2)``. One pass; each thread owns blocks of rows.
    """
    leaf = rows.leaf
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    code = loss.code - UNIT_HESSIAN if loss.code >= UNIT_HESSIAN else loss.code
    scale = 1.0 if code in (SOFTMAX, EXPONENTIAL) else loss.parameter
    for block in prange((n_rows + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, n_rows - begin)
        score = np.empty((n_outputs, BLOCK))
        gradient = np.empty((n_outputs, BLOCK))
        hessian = np.empty((n_outputs, BLOCK))
        squares = np.zeros(BLOCK)
        y = rows.y[begin : begin + n]
        for i in range(begin, begin + n):
            mean[i] = 0.0
            correct[i] = 0.0
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        for iteration in range(n_iterations):
            _add_iteration(leaf, leaves, iteration, begin, n, score)
            loss_derivatives(loss, n, y, score, gradient, hessian)
            for i in range(n):
                label = int(y[i])
                own = label if n_outputs > 1 else 0
                step = abs(gradient[own, i]) / scale
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
