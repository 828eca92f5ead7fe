"""Leaf coupling: how each leaf's gradient sum depends on every earlier leaf value.

With these derivatives summed over the train rows once, queries are back-propagated from
leaf to leaf, without another pass over the rows. See ``docs/methods.md``.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel
from treeinf.kernels.cpu.replay import TILE_ROWS
from treeinf.kernels.formulas.bags import write_bag
from treeinf.kernels.formulas.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    differentiate_twice,
)
from treeinf.kernels.formulas.row_factors import CROSS_CLASS, FULL_NEWTON
from treeinf.kernels.formulas.scores import add_iteration
from treeinf.kernels.simd import (
    LINE_WIDTHS,
    SUMS_AT_ONCE,
    add_shared_lines,
    aligned_buffer,
    copy_line,
)

__all__ = ["add_products", "couple_leaves", "find_coefficients"]

PRODUCT_LINES = 64
"""Lines of a product that a thread computes at a time."""

PRODUCT_QUERIES = 512
"""Queries that a thread handles at a time."""


@parallel_kernel
def find_coefficients(
    rows, leaves, loss, rule, iteration, begin, raw_score, coefficient
):
    """Differentiate row factors with respect to scores, and advance an iteration.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`.
    rule : SweepRule
        How the row factors follow from scores.
    iteration : int64
        The iteration.
    begin : int64
        First row of the batch.
    raw_score : ndarray of float64, shape (n_outputs, n_batch_rows)
        Scores of the batch before the iteration; changed in place to those after it.
    coefficient : ndarray of float64, shape (n_columns, n_outputs, n_batch_rows)
        Output, overwritten: derivative of the row factor of each column of the
        iteration's leaves (tree by tree) with respect to each output's score before the
        iteration, times the row's weight.
    """
    leaf, weight, theta = rows.leaf, rows.weight, rule.theta
    n_outputs, n_batch_rows = raw_score.shape
    leaf_width = theta.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    is_softmax = loss.code == SOFTMAX or loss.code == SOFTMAX + UNIT_HESSIAN
    is_full = (rule.kind & FULL_NEWTON) != 0
    is_cross_class = (rule.kind & CROSS_CLASS) != 0
    for tile in prange((n_batch_rows + TILE_ROWS - 1) // TILE_ROWS):
        start = tile * TILE_ROWS
        n = min(TILE_ROWS, n_batch_rows - start)
        score = raw_score[:, start : start + n].copy()
        slope = np.empty((n_outputs, n))
        third = np.empty((n_outputs, n))
        factor = np.empty(n)
        y = rows.y[begin + start : begin + start + n]
        differentiate_twice(loss, n, y, score, slope, third)
        for tree in range(first_tree, last_tree):
            first = leaves.leaf_offset[tree]
            tree_leaf = leaf[leaves.leaf_row[tree]]
            is_bagged = write_bag(rows, tree, begin + start, n, factor)
            for i in range(n):
                row = begin + start + i
                number = first + tree_leaf[row]
                w = weight[row] if weight.size > 0 else 1.0
                if is_bagged:
                    w *= factor[i]
                mean = 0.0
                if is_full:
                    for k in range(n_outputs):
                        mean += slope[k, i] * theta[number, k]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    value = theta[number, column]
                    to = (tree - first_tree) * leaf_width + column
                    for c in range(n_outputs):
                        is_same = 1.0 if c == k else 0.0
                        if is_full:
                            p, q = slope[k, i], slope[c, i]
                            derivative = p * (is_same - q) * (1.0 + value - mean)
                            derivative -= p * q * (theta[number, c] - mean)
                        elif is_softmax and is_cross_class:
                            derivative = slope[k, i] * (is_same - slope[c, i])
                            derivative *= 1.0 + value * third[k, i]
                        elif is_softmax:
                            derivative = is_same * slope[k, i] * (1.0 - slope[k, i])
                            derivative *= loss.parameter + value * third[k, i]
                        else:
                            derivative = is_same * (slope[k, i] + value * third[k, i])
                        coefficient[to, c, start + i] = w * derivative
        add_iteration(leaf, leaves, iteration, begin + start, n, score)
        raw_score[:, start : start + n] = score


@parallel_kernel
def couple_leaves(
    leaf, leaves, iteration, kind, begin, coefficient, product, first_column
):
    """Add up coefficients over the rows in each earlier leaf and each of an iteration.

    Parameters
    ----------
    leaf, leaves
        See `treeinf.kernels.flat`.
    iteration : int64
        The later iteration.
    kind : int64
        Bits `CROSS_CLASS` and `FULL_NEWTON`: gradients of an output depend on the
        scores of the others.
    begin : int64
        First row of the batch.
    coefficient : ndarray of float64, shape (n_columns, n_outputs, n_batch_rows)
        From `find_coefficients`.
    product : ndarray of float64, shape (>= n_outputs + n_earlier, >= n_values)
        Added to: one line for each output's base score, then one for each value of the
        leaves of earlier iterations; one column for each value of this iteration's.
    first_column : int64
        The first of these columns.

    Notes
    -----
    O(n_batch_rows n_trees) time. Each thread owns earlier trees: bitwise the same for
    any number of threads.
    """
    n_outputs, n_batch_rows = coefficient.shape[1:]
    leaf_width = leaves.leaf_value.shape[1]
    first_tree = leaves.iteration_start[iteration]
    last_tree = leaves.iteration_start[iteration + 1]
    base = leaves.leaf_offset[first_tree]
    is_cross_class = (kind & (CROSS_CLASS | FULL_NEWTON)) != 0 and n_outputs > 1
    for item in prange(first_tree + 1):
        earlier = item - 1
        lines = n_outputs if earlier < 0 or leaf_width > 1 else 1
        for tree in range(first_tree, last_tree):
            tree_leaf = leaf[leaves.leaf_row[tree]]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                source = (tree - first_tree) * leaf_width + column
                shift = (leaves.leaf_offset[tree] - base) * leaf_width + column
                shift += first_column
                for line in range(lines):
                    c = leaves.output[max(earlier, 0)] if lines == 1 else line
                    if earlier < 0:
                        c = line
                    if c != k and not is_cross_class:
                        continue
                    value = coefficient[source, c]
                    if earlier < 0:
                        for i in range(n_batch_rows):
                            later_value = shift + tree_leaf[begin + i] * leaf_width
                            product[c, later_value] += value[i]
                        continue
                    earlier_leaf = leaf[leaves.leaf_row[earlier]]
                    first = n_outputs + leaves.leaf_offset[earlier] * leaf_width
                    first += line if leaf_width > 1 else 0
                    for i in range(n_batch_rows):
                        later_value = shift + tree_leaf[begin + i] * leaf_width
                        earlier_value = first + earlier_leaf[begin + i] * leaf_width
                        product[earlier_value, later_value] += value[i]


@parallel_kernel
def add_products(product, first_line, first_column, factor, total):
    """Multiply a matrix by the factors of several queries, and add the products.

    Parameters
    ----------
    product : ndarray of float64, shape (n_lines, >= first_column + n_columns)
        The matrix.
    first_line, first_column : int64
        Line and column of `product` for line 0 of `total` and of `factor`.
    factor : ndarray of float64, shape (n_columns, n_queries)
        Factors.
    total : ndarray of float64, shape (<= n_lines - first_line, n_queries)
        Added to.

    Notes
    -----
    Sums run in the order of the columns for every query, whichever others are with it.
    Columns that are 0 in lines that are added together are left out: those of outputs
    that do not depend on one another's scores.
    """
    n_columns, n_queries = factor.shape
    n_lines = total.shape[0]
    width = LINE_WIDTHS[1]
    n_batches = (n_lines + PRODUCT_LINES - 1) // PRODUCT_LINES
    n_query_batches = (n_queries + PRODUCT_QUERIES - 1) // PRODUCT_QUERIES
    for task in prange(n_batches * n_query_batches):
        begin = task // n_query_batches * PRODUCT_LINES
        end = min(begin + PRODUCT_LINES, n_lines)
        n_groups = (end - begin + SUMS_AT_ONCE - 1) // SUMS_AT_ONCE
        n_terms = np.empty(n_groups, np.int64)
        where = np.empty(n_groups * n_columns, np.uint32)
        scale = np.empty(n_groups * n_columns * SUMS_AT_ONCE)
        for group in range(n_groups):
            line = begin + group * SUMS_AT_ONCE
            n_terms[group] = _select_columns(
                *(product, first_line + line, min(SUMS_AT_ONCE, end - line)),
                *(first_column, n_columns, width, group * n_columns, where, scale),
            )
        lines = aligned_buffer(n_columns * width)
        sums = aligned_buffer(SUMS_AT_ONCE * width)
        first_query = task % n_query_batches * PRODUCT_QUERIES
        last_query = min(first_query + PRODUCT_QUERIES, n_queries)
        for query in range(first_query, last_query, width):
            n = min(width, last_query - query)
            after = query + n
            lines[:] = 0.0
            for column in range(n_columns):
                copy_line(factor[column, query:after], lines[column * width :])
            for group in range(n_groups):
                line = begin + group * SUMS_AT_ONCE
                last = min(line + SUMS_AT_ONCE, end)
                for k in range(line, last):
                    copy_line(total[k, query:after], sums[(k - line) * width :])
                first = group * n_columns
                add_shared_lines(
                    *(lines, where[first:], scale[first * SUMS_AT_ONCE :]),
                    *(n_terms[group], sums),
                )
                for k in range(line, last):
                    of_line = sums[(k - line) * width : (k - line) * width + n]
                    copy_line(of_line, total[k, query:after])


@kernel
def _select_columns(
    product, line, n_lines, first_column, n_columns, width, first, where, scale
):
    """List the columns that are not 0 in all of a few lines.

    Parameters
    ----------
    product : ndarray of float64, shape (>= line + n_lines, >= first_column + n_columns)
        The matrix.
    line, n_lines : int64
        The lines, at most `SUMS_AT_ONCE`.
    first_column, n_columns : int64
        The columns.
    width : int64
        Width of a line of factors.
    first : int64
        Where to write, in terms.
    where, scale : ndarray of uint32 and float64
        Overwritten from there on, see `add_shared_lines`; 0 for missing lines.

    Returns
    -------
    int64
        Number of columns listed.
    """
    n = 0
    for column in range(n_columns):
        is_zero = True
        at = (first + n) * SUMS_AT_ONCE
        for k in range(SUMS_AT_ONCE):
            value = product[line + k, first_column + column] if k < n_lines else 0.0
            is_zero = is_zero and value == 0.0
            scale[at + k] = value
        if not is_zero:
            where[first + n] = column * width
            n += 1
    return n
