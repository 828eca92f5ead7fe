"""What each leaf does to every earlier one by way of the train rows in both.

With the rows summed up in these numbers once, targets are pushed backwards from leaf to
leaf, without another look at the rows. See ``docs/methods.md``.
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
)
from treeinf.kernels.cpu.replay import BLOCK, add_tree
from treeinf.kernels.simd import (
    LINE_WIDTHS,
    TOGETHER,
    add_shared_lines,
    copy_line,
    make_room,
)

__all__ = ["add_products", "find_coefficients", "join_leaves"]

PRODUCT_BLOCK = 64
"""Lines of a product that one thread takes at a time."""

TARGET_RUN = 512
"""Targets that one thread takes at a time."""


@parallel_kernel
def find_coefficients(
    rows, leaves, loss, rule, iteration, begin, raw_score, coefficient
):
    """Compute how row factors answer to scores before an iteration, and pass it.

    Parameters
    ----------
    rows, leaves, loss
        Train rows, ensemble and loss, see `replay`.
    rule : SweepRule
        How the row factors follow from scores.
    iteration : int64
        The iteration.
    begin : int64
        First row of the run.
    raw_score : ndarray of float64, shape (n_outputs, n_run)
        Scores of the run before the iteration; changed in place to those after it.
    coefficient : ndarray of float64, shape (n_columns, n_outputs, n_run)
        Output, overwritten: derivative of the row factor of each column of the
        iteration's leaves (tree by tree) in each output's score, with weights.
    """
    leaf, weight, theta = rows.leaf, rows.weight, rule.theta
    n_outputs, n_run = raw_score.shape
    leaf_width = theta.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    is_softmax = loss.code == SOFTMAX or loss.code == SOFTMAX + UNIT_HESSIAN
    is_full = (rule.kind & FULL) != 0
    is_crossed = (rule.kind & CROSSED) != 0
    for block in prange((n_run + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        n = min(BLOCK, n_run - start)
        score = raw_score[:, start : start + n].copy()
        slope = np.empty((n_outputs, n))
        bend = np.empty((n_outputs, n))
        y = rows.y[begin + start : begin + start + n]
        differentiate_twice(loss, n, y, score, slope, bend)
        for tree in range(first_tree, last_tree):
            first = leaves.leaf_offset[tree]
            tree_leaf = leaf[leaves.leaf_row[tree]]
            for i in range(n):
                row = begin + start + i
                number = first + tree_leaf[row]
                w = weight[row] if weight.size > 0 else 1.0
                mean = 0.0
                if is_full:
                    for k in range(n_outputs):
                        mean += slope[k, i] * theta[number, k]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    value = theta[number, column]
                    place = (tree - first_tree) * leaf_width + column
                    for c in range(n_outputs):
                        is_own = 1.0 if c == k else 0.0
                        if is_full:
                            p, q = slope[k, i], slope[c, i]
                            found = p * (is_own - q) * (1.0 + value - mean)
                            found -= p * q * (theta[number, c] - mean)
                        elif is_softmax and is_crossed:
                            found = slope[k, i] * (is_own - slope[c, i])
                            found *= 1.0 + value * bend[k, i]
                        elif is_softmax:
                            found = is_own * slope[k, i] * (1.0 - slope[k, i])
                            found *= loss.parameter + value * bend[k, i]
                        else:
                            found = is_own * (slope[k, i] + value * bend[k, i])
                        coefficient[place, c, start + i] = w * found
        for tree in range(first_tree, last_tree):
            add_tree(
                leaf[leaves.leaf_row[tree]],
                begin + start,
                n,
                leaves.leaf_offset[tree],
                leaves.output[tree],
                leaves.leaf_value,
                score,
            )
        raw_score[:, start : start + n] = score


@parallel_kernel
def join_leaves(
    leaf, leaves, iteration, kind, begin, coefficient, product, first_column
):
    """Add up coefficients over the rows in each earlier leaf and each of an iteration.

    Parameters
    ----------
    leaf, leaves
        Train rows and ensemble, see `replay`.
    iteration : int64
        The later iteration.
    kind : int64
        Bits `CROSSED` and `FULL`: outputs answer to one another.
    begin : int64
        First row of the run.
    coefficient : ndarray of float64, shape (n_columns, n_outputs, n_run)
        From `find_coefficients`.
    product : ndarray of float64, shape (>= n_outputs + n_earlier, >= n_own)
        Added to: one line for each output's base score, then one for each value of the
        leaves of earlier iterations; one column for each value of this iteration's.
    first_column : int64
        The first of these columns.

    Notes
    -----
    O(n_run n_trees) time. Each thread owns earlier trees, so that the sums have the
    same bits for any number of threads.
    """
    n_outputs, n_run = coefficient.shape[1:]
    leaf_width = leaves.leaf_value.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    base = leaves.leaf_offset[first_tree]
    is_crossed = (kind & (CROSSED | FULL)) != 0 and n_outputs > 1
    for item in prange(first_tree + 1):
        earlier = item - 1
        lines = n_outputs if earlier < 0 or leaf_width > 1 else 1
        for tree in range(first_tree, last_tree):
            tree_leaf = leaf[leaves.leaf_row[tree]]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                place = (tree - first_tree) * leaf_width + column
                shift = (leaves.leaf_offset[tree] - base) * leaf_width + column
                shift += first_column
                for line in range(lines):
                    c = leaves.output[max(earlier, 0)] if lines == 1 else line
                    if earlier < 0:
                        c = line
                    if c != k and not is_crossed:
                        continue
                    value = coefficient[place, c]
                    if earlier < 0:
                        for i in range(n_run):
                            own = shift + tree_leaf[begin + i] * leaf_width
                            product[c, own] += value[i]
                        continue
                    earlier_leaf = leaf[leaves.leaf_row[earlier]]
                    first = n_outputs + leaves.leaf_offset[earlier] * leaf_width
                    first += line if leaf_width > 1 else 0
                    for i in range(n_run):
                        own = shift + tree_leaf[begin + i] * leaf_width
                        other = first + earlier_leaf[begin + i] * leaf_width
                        product[other, own] += value[i]


@parallel_kernel
def add_products(product, first_line, first_column, factor, total):
    """Multiply a matrix with the factors of several targets and add.

    Parameters
    ----------
    product : ndarray of float64, shape (n_lines, >= first_column + n_own)
        The matrix.
    first_line, first_column : int64
        Place in `product` for line 0 of `total` and of `factor`.
    factor : ndarray of float64, shape (n_own, n_targets)
        Factors.
    total : ndarray of float64, shape (<= n_lines - first_line, n_targets)
        Added to.

    Notes
    -----
    Sums run in the order of the columns for every target, whichever others are with it.
    Columns that are 0 in lines that are added together are left out: those of outputs
    that do not answer to one another.
    """
    n_own, n_targets = factor.shape
    n_lines = total.shape[0]
    width = LINE_WIDTHS[1]
    n_blocks = (n_lines + PRODUCT_BLOCK - 1) // PRODUCT_BLOCK
    n_runs = (n_targets + TARGET_RUN - 1) // TARGET_RUN
    for task in prange(n_blocks * n_runs):
        begin = task // n_runs * PRODUCT_BLOCK
        end = min(begin + PRODUCT_BLOCK, n_lines)
        n_groups = (end - begin + TOGETHER - 1) // TOGETHER
        n_terms = np.empty(n_groups, np.int64)
        where = np.empty(n_groups * n_own, np.uint32)
        scale = np.empty(n_groups * n_own * TOGETHER)
        for group in range(n_groups):
            line = begin + group * TOGETHER
            n_given = min(TOGETHER, end - line)
            n_terms[group] = _pick_columns(
                *(product, first_line + line, n_given, first_column, n_own),
                *(width, group * n_own, where, scale),
            )
        lines = make_room(n_own * width)
        sums = make_room(TOGETHER * width)
        first_target = task % n_runs * TARGET_RUN
        last_target = min(first_target + TARGET_RUN, n_targets)
        for target in range(first_target, last_target, width):
            n = min(width, last_target - target)
            after = target + n
            lines[:] = 0.0
            for own in range(n_own):
                copy_line(factor[own, target:after], lines[own * width :])
            for group in range(n_groups):
                line = begin + group * TOGETHER
                last = min(line + TOGETHER, end)
                for k in range(line, last):
                    copy_line(total[k, target:after], sums[(k - line) * width :])
                first = group * n_own
                add_shared_lines(
                    *(lines, where[first:], scale[first * TOGETHER :]),
                    *(n_terms[group], sums),
                )
                for k in range(line, last):
                    given = sums[(k - line) * width : (k - line) * width + n]
                    copy_line(given, total[k, target:after])


@kernel
def _pick_columns(
    product, line, n_lines, first_column, n_columns, width, first, where, scale
):
    """List the columns that are not 0 in all of a few lines.

    Parameters
    ----------
    product : ndarray of float64, shape (>= line + n_lines, >= first_column + n_columns)
        The matrix.
    line, n_lines : int64
        The lines, at most `TOGETHER`.
    first_column, n_columns : int64
        The columns.
    width : int64
        Numbers of a line of factors.
    first : int64
        Where to write, in terms.
    where, scale : ndarray of uint32 and float64
        Overwritten from there on, see `add_shared_lines`; 0 for lines that lack.

    Returns
    -------
    int64
        Number of columns found.
    """
    n = 0
    for column in range(n_columns):
        is_zero = True
        at = (first + n) * TOGETHER
        for k in range(TOGETHER):
            value = product[line + k, first_column + column] if k < n_lines else 0.0
            is_zero = is_zero and value == 0.0
            scale[at + k] = value
        if not is_zero:
            where[first + n] = column * width
            n += 1
    return n
