"""Row factor times leaf factor, summed over trees: every additive influence.

Row factors (``formulas/row_factors.py``) are computed by replaying the rows' scores, in
one pass over all rows or for a batch of them at a time, so that nothing of size n_rows
x n_trees is stored.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel
from treeinf.kernels.cpu.replay import TILE_ROWS
from treeinf.kernels.formulas.bags import apply_bag, write_bag
from treeinf.kernels.formulas.derivatives import loss_derivatives
from treeinf.kernels.formulas.row_factors import (
    PROPAGATED,
    adjust_derivatives,
    is_adjusting,
    propagate_score_change,
    seed_score_change,
    tree_factors,
    unadjusted_factors,
)
from treeinf.kernels.formulas.scores import add_tree, apply_weights, start_scores

__all__ = ["contract_rows", "stage_factors"]

STAGED_ROWS = 256
"""Rows whose factors are computed together."""


def contract_rows(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Multiply each row's factors by those of its leaves, and sum over trees.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`.
    rule : FactorRule
        The row factors, of any kind; if `is_own`, one that is propagated or adjusts no
        derivatives.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width)
        Derivative of the query, for instance the loss of all test rows, with respect to
        the gradient sum of each leaf; not read if `is_own`.
    is_own : bool
        The leaf factor is the row's own gradient, of weight 1: self influence. That is
        the staged gradient or, where changes of the row's score are propagated, the
        final one.
    influence : ndarray of float64, shape (n_rows,)
        Output, overwritten.

    Notes
    -----
    One pass, O(n_rows n_trees) time. Each thread owns tiles of rows.
    """
    if is_adjusting(rule):
        _walk_rows(
            *(rows, leaves, loss, rule, True, 0, influence.shape[0]),
            *(None, leaf_factor, is_own, influence),
        )
    else:
        _contract_unadjusted(rows, leaves, loss, rule, leaf_factor, is_own, influence)


def stage_factors(rows, leaves, loss, rule, first_row, factor):
    """Write the row factors of a batch of rows in all trees.

    Parameters
    ----------
    rows, leaves, loss, first_row
        See `treeinf.kernels.flat`.
    rule : FactorRule
        The row factors; with a scale of 1 and a theta of 0, the staged gradients.
    factor : ndarray of float64 or float32, shape (n_lines, n_trees * leaf_width)
        Output, overwritten. For batches of rows, never for all train rows at once.
    """
    adjusts = True if is_adjusting(rule) else None
    _walk_rows(
        *(rows, leaves, loss, rule, adjusts, first_row, factor.shape[0]),
        *(factor, None, None, None),
    )


@linear_kernel
def _contract_unadjusted(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Add up factors of a rule that adjusts no derivatives; see `contract_rows`.

    Scale and leaf factor are multiplied leaf by leaf beforehand, which is worth a
    kernel beside `_walk_rows`. The bracket ``g + theta h`` is not expanded: where it
    cancels to almost 0, both kernels must round it in the same way.
    """
    leaf, weight = rows.leaf, rows.weight
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    n_leaves = leaf_factor.shape[0]
    scale = np.empty((leaf_width, n_leaves))
    theta = np.empty((leaf_width, n_leaves))
    for number in range(n_leaves):
        for column in range(leaf_width):
            scale[column, number] = rule.scale[number, column]
            if not is_own:
                scale[column, number] *= leaf_factor[number, column]
            theta[column, number] = rule.theta[number, column]
    for tile in prange((n_rows + TILE_ROWS - 1) // TILE_ROWS):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS))
        gradient = np.empty((n_outputs, TILE_ROWS))
        hessian = np.empty((n_outputs, TILE_ROWS))
        bag = np.empty(TILE_ROWS)
        sums = np.zeros(TILE_ROWS)
        y = rows.y[begin : begin + n]
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(loss, n, y, score, gradient, hessian)
            for tree in range(
                leaves.iteration_start[iteration],
                leaves.iteration_start[iteration + 1],
            ):
                first = leaves.leaf_offset[tree]
                tree_leaf = leaf[leaves.leaf_row[tree], begin : begin + n]
                is_bagged = write_bag(rows, tree, begin, n, bag)
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    if is_bagged:
                        _add_bagged(
                            *(tree_leaf, scale[column, first:], theta[column, first:]),
                            *(gradient[k], hessian[k], bag, is_own, sums),
                        )
                    else:
                        _add_products(
                            *(tree_leaf, scale[column, first:], theta[column, first:]),
                            *(gradient[k], hessian[k], is_own, sums),
                        )
                add_tree(leaf, leaves, tree, begin, n, score)
        for i in range(n):
            influence[begin + i] = sums[i]
            if weight.size > 0:
                influence[begin + i] *= weight[begin + i]


@kernel
def _add_products(tree_leaf, scale, theta, gradient, hessian, is_own, sums):
    """Add the products of a tile's rows in one tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the tile within the tree.
    scale, theta : ndarray of float64, shape (>= leaves of the tree,)
        Values of the leaves: a product is ``scale * (g + theta * h)``.
    gradient, hessian : ndarray of float64, shape (>= n,)
        Derivatives.
    is_own : bool
        Multiply by the gradient once more.
    sums : ndarray of float64, shape (>= n,)
        Added to in place.
    """
    for i in range(tree_leaf.size):
        number = tree_leaf[i]
        term = scale[number] * (gradient[i] + theta[number] * hessian[i])
        sums[i] += term * gradient[i] if is_own else term


@kernel
def _add_bagged(tree_leaf, scale, theta, gradient, hessian, bag, is_own, sums):
    """Add the products of a tile's rows in one tree, times their factors in its bag.

    Parameters
    ----------
    tree_leaf, scale, theta, gradient, hessian, is_own, sums
        See `_add_products`.
    bag : ndarray of float64, shape (>= n,)
        From `write_bag`.
    """
    for i in range(tree_leaf.size):
        number = tree_leaf[i]
        term = scale[number] * (gradient[i] + theta[number] * hessian[i])
        sums[i] += bag[i] * (term * gradient[i] if is_own else term)


@linear_kernel
def _walk_rows(
    rows,
    leaves,
    loss,
    rule,
    adjusts,
    first_row,
    n_lines,
    factor,
    leaf_factor,
    is_own,
    influence,
):
    """Compute the row factors of a batch of rows, and write or contract them.

    Parameters
    ----------
    rows, leaves, loss, rule, first_row, factor, leaf_factor, is_own, influence
        See `stage_factors` and `contract_rows`. None in place of `factor` to contract,
        and in place of the last three to write.
    adjusts : bool or None
        None where the rule adjusts no derivatives.
    n_lines : int64
        Rows of the batch.

    Notes
    -----
    Numba prunes the code under ``if argument is not None`` where the kernel is compiled
    for None: without derivatives to adjust, that takes half the time. It prunes nothing
    for arguments of other types, so that each branch needs one that may be None.
    """
    leaf = rows.leaf
    n_outputs = leaves.base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    for tile in prange((n_lines + STAGED_ROWS - 1) // STAGED_ROWS):
        line = tile * STAGED_ROWS
        n = min(STAGED_ROWS, n_lines - line)
        begin = first_row + line
        score = np.empty((n_outputs, STAGED_ROWS))
        gradient = np.empty((n_outputs, STAGED_ROWS))
        hessian = np.empty((n_outputs, STAGED_ROWS))
        slope = np.empty((n_outputs, STAGED_ROWS))
        third = np.empty((n_outputs, STAGED_ROWS))
        change = np.empty((3, n_outputs, STAGED_ROWS))
        tree_factor = np.empty((leaf_width, STAGED_ROWS))
        sums = np.zeros(STAGED_ROWS)
        y = rows.y[begin : begin + n]
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        if adjusts is not None:
            seed_score_change(rule, begin, n, change)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(loss, n, y, score, gradient, hessian)
                if adjusts is not None:
                    adjust_derivatives(
                        *(loss, rule, n, y, score, change),
                        *(gradient, hessian, slope, third),
                    )
            for tree in range(
                leaves.iteration_start[iteration],
                leaves.iteration_start[iteration + 1],
            ):
                tree_leaf = leaf[leaves.leaf_row[tree]]
                if adjusts is not None:
                    tree_factors(
                        *(leaves, tree, tree_leaf, rows, rule, begin, n),
                        *(gradient, hessian, change, tree_factor),
                    )
                else:
                    unadjusted_factors(
                        *(leaves, tree, tree_leaf, rule, begin, n),
                        *(gradient, hessian, tree_factor),
                    )
                    apply_weights(rows.weight, begin, n, tree_factor)
                    apply_bag(rows, tree, begin, n, tree_factor)
                if factor is not None:
                    for column in range(leaf_width):
                        for i in range(n):
                            factor[line + i, tree * leaf_width + column] = tree_factor[
                                column, i
                            ]
                if influence is not None and not is_own:
                    of_leaf = leaf_factor[leaves.leaf_offset[tree] :]
                    for column in range(leaf_width):
                        for i in range(n):
                            sums[i] += (
                                of_leaf[tree_leaf[begin + i], column]
                                * tree_factor[column, i]
                            )
                add_tree(leaf, leaves, tree, begin, n, score)
            if adjusts is not None and (rule.kind & PROPAGATED) != 0:
                propagate_score_change(leaves, rule, iteration, n, change)
        if influence is not None:
            if is_own:
                loss_derivatives(loss, n, y, score, gradient, hessian)
                for k in range(n_outputs):
                    for i in range(n):
                        sums[i] += change[1, k, i] * gradient[k, i]
            for i in range(n):
                influence[begin + i] = sums[i]
