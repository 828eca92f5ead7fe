"""Row factor times leaf factor, added over trees: every additive influence.

The row factor of row i in a leaf is ``scale * (g_i + theta * h_i)`` with the row's
weighted gradient and hessian before the leaf's tree; `scale` and `theta` are numbers of
the leaf, chosen by the explainer. Factors are made by replaying the row's scores, for
one pass over all rows or for a run of them at a time, so that nothing of size n_rows x
n_trees is stored.

Two variants bend the derivatives first: *carried* ones are those after the row's own
removal has changed its own score (LeafInfluence, single point), *full* ones use the
matrix of second derivatives of a softmax (CatBoost's MultiClass).
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, linear_kernel
from treeinf.kernels.cpu.derivatives import (
    SOFTMAX,
    UNIT_HESSIAN,
    differentiate_in_target,
    differentiate_twice,
    loss_derivatives,
)
from treeinf.kernels.cpu.replay import BLOCK, add_tree, start_scores

__all__ = [
    "BY_TARGET",
    "CARRIED",
    "CROSSED",
    "FULL",
    "FactorRule",
    "contract_rows",
    "stage_factors",
]


STAGE_BLOCK = 256
"""Rows whose factors are written together."""

CARRIED = 1
"""Bit of `FactorRule.kind`: a row's change of its own score is carried forward."""
CROSSED = 2
"""Bit: the outputs of a softmax answer to one another's scores."""
FULL = 4
"""Bit: leaf values come from the matrix of second derivatives of a softmax."""
BY_TARGET = 8
"""Bit: derivatives of g and h in the row's target stand for them."""

FactorRule = namedtuple(
    "FactorRule", "kind n_steps scale theta matrix base_score_gradient shrinkage"
)
FactorRule.__doc__ = """What a row contributes to its leaf.

Parameters
----------
kind : int64
    Bits `CARRIED`, `CROSSED` (read where carried), `FULL` and `BY_TARGET`.
n_steps : int64
    Iterations that are steps of one tree; read where carried.
scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
    The factor is ``scale * (g + theta * h)``.
matrix : ndarray of float64, shape (n_leaves, leaf_width, leaf_width) or (0, ...)
    Multiplied with the factors of a leaf's outputs; empty for none.
base_score_gradient : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
    Derivative of the base score with respect to the logarithm of each row's weight;
    empty for none.
shrinkage : ndarray of float64, shape (n_trees,)
    Read where trees take several steps.
"""


def contract_rows(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Multiply each row's factors by one factor a leaf and add over trees.

    Parameters
    ----------
    rows, leaves, loss
        Rows, ensemble and loss, see `replay`.
    rule : FactorRule
        The row factors, of any kind; if `is_own`, carried or not bent at all.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width)
        What a change of the leaf does, for instance to the loss of all test rows; not
        read if `is_own`.
    is_own : bool
        The factor is the row's own gradient, of weight 1: self influence. The staged
        one; or, where the change of the row's own scores is carried forward, its final
        one.
    influence : ndarray of float64, shape (n_rows,)
        Output, overwritten.

    Notes
    -----
    One pass, O(n_rows n_trees) time. Each thread owns blocks of rows.
    """
    bends = rule.kind & (CARRIED | FULL | BY_TARGET)
    contract = _contract_bent if bends else _contract_plain
    contract(rows, leaves, loss, rule, leaf_factor, is_own, influence)


@linear_kernel
def _contract_plain(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Add up factors of a rule that bends no derivative; see `contract_rows`."""
    leaf, weight = rows.leaf, rows.weight
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    n_leaves = leaf_factor.shape[0]
    on_gradient = np.empty((leaf_width, n_leaves))
    on_hessian = np.empty((leaf_width, n_leaves))
    for number in range(n_leaves):
        for column in range(leaf_width):
            value = rule.scale[number, column]
            if not is_own:
                value *= leaf_factor[number, column]
            on_gradient[column, number] = value
            on_hessian[column, number] = value * rule.theta[number, column]
    for block in prange((n_rows + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, n_rows - begin)
        score = np.empty((n_outputs, BLOCK))
        gradient = np.empty((n_outputs, BLOCK))
        hessian = np.empty((n_outputs, BLOCK))
        sums = np.zeros(BLOCK)
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
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    _add_products(
                        leaf[leaves.leaf_row[tree], begin : begin + n],
                        on_gradient[column, first:],
                        on_hessian[column, first:],
                        gradient[k],
                        hessian[k],
                        is_own,
                        sums,
                    )
                add_tree(
                    leaf[leaves.leaf_row[tree]],
                    begin,
                    n,
                    first,
                    leaves.output[tree],
                    leaves.leaf_value,
                    score,
                )
        for i in range(n):
            influence[begin + i] = sums[i]
            if weight.size > 0:
                influence[begin + i] *= weight[begin + i]


@kernel
def _add_products(tree_leaf, on_gradient, on_hessian, gradient, hessian, is_own, sums):
    """Add what a block's rows get in one tree.

    Parameters
    ----------
    tree_leaf : ndarray of unsigned integer, shape (n,)
        Leaf of each row of the block within the tree.
    on_gradient, on_hessian : ndarray of float64, shape (>= leaves of the tree,)
        Factors of the leaves.
    gradient, hessian : ndarray of float64, shape (>= n,)
        Derivatives.
    is_own : bool
        Multiply with the gradient once more.
    sums : ndarray of float64, shape (>= n,)
        Added to in place.
    """
    for i in range(tree_leaf.size):
        number = tree_leaf[i]
        term = on_gradient[number] * gradient[i] + on_hessian[number] * hessian[i]
        sums[i] += term * gradient[i] if is_own else term


@kernel
def _seed_score_change(rule, begin, n, change):
    """Set how a block's scores fall for a unit more of their rows' log weights.

    Parameters
    ----------
    rule : FactorRule
        The row factors.
    begin, n : int64
        First row and number of rows.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        Output, overwritten: the fall of the score that the next derivatives are taken
        at; that before the current tree; what the current iteration adds.
    """
    change[:] = 0.0
    if (rule.kind & CARRIED) != 0 and rule.base_score_gradient.shape[0] > 0:
        for k in range(change.shape[1]):
            for i in range(n):
                change[0, k, i] = -rule.base_score_gradient[begin + i, k]
                change[1, k, i] = change[0, k, i]


@kernel
def _bend_derivatives(
    loss,
    rule,
    n,
    y,
    score,
    change,
    gradient,
    hessian,
    slope,
    bend,
):
    """Put in place of a block's derivatives what the rule asks for.

    Parameters
    ----------
    loss, n, y, score
        See `loss_derivatives`.
    rule : FactorRule
        The row factors.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        See `_seed_score_change`; the fall of the score, so what is added is subtracted.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        Changed in place. If carried, they answer to the change of the scores; if full,
        the gradient is left alone and the hessian becomes the probability, for
        `_tree_factors`; if by target, they are differentiated in it.
    slope, bend : ndarray of float64, shape (n_outputs, >= n)
        Overwritten.
    """
    n_outputs = score.shape[0]
    if (rule.kind & BY_TARGET) != 0:
        differentiate_in_target(loss, n, y, score, gradient, hessian)
        return
    if (rule.kind & FULL) != 0:
        for k in range(n_outputs):
            for i in range(n):
                hessian[k, i] = gradient[k, i] + (1.0 if y[i] == k else 0.0)
        return
    differentiate_twice(loss, n, y, score, slope, bend)
    if loss.code != SOFTMAX and loss.code != SOFTMAX + UNIT_HESSIAN:
        for k in range(n_outputs):
            for i in range(n):
                gradient[k, i] -= slope[k, i] * change[0, k, i]
                hessian[k, i] -= bend[k, i] * change[0, k, i]
        return
    is_crossed = (rule.kind & CROSSED) != 0
    for i in range(n):
        mean = 0.0
        for k in range(n_outputs):
            mean += slope[k, i] * change[0, k, i]
        for k in range(n_outputs):
            p = slope[k, i]
            if is_crossed:
                moved = p * (change[0, k, i] - mean)
                gradient[k, i] -= moved
            else:
                moved = p * (1.0 - p) * change[0, k, i]
                gradient[k, i] -= loss.parameter * moved
            hessian[k, i] -= bend[k, i] * moved


@kernel
def _plain_factors(leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor):
    """Write a block's factors in one tree by a rule that is not full, without weights.

    Parameters
    ----------
    leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor
        See `_tree_factors`.
    """
    leaf_width = factor.shape[0]
    first = leaves.leaf_offset[tree]
    for column in range(leaf_width):
        k = leaves.output[tree] if leaf_width == 1 else column
        for i in range(n):
            number = first + tree_leaf[begin + i]
            factor[column, i] = rule.scale[number, column] * (
                gradient[k, i] + rule.theta[number, column] * hessian[k, i]
            )


@kernel
def _weigh_factors(weight, begin, n, factor):
    """Multiply a block's factors in one tree with the rows' weights, in place."""
    if weight.size > 0:
        for column in range(factor.shape[0]):
            for i in range(n):
                factor[column, i] *= weight[begin + i]


@kernel
def _tree_factors(
    leaves,
    tree,
    tree_leaf,
    weight,
    rule,
    begin,
    n,
    gradient,
    hessian,
    change,
    factor,
):
    """Write a block's factors in one tree, weights included.

    Parameters
    ----------
    leaves : FlatLeaves
        The ensemble's leaves.
    tree : int64
        The tree.
    tree_leaf : ndarray of unsigned integer, shape (n_rows,)
        Leaf of every row within the tree.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights.
    rule : FactorRule
        The row factors.
    begin, n : int64
        First row and number of rows.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        From `_bend_derivatives`, unless the rule is neither carried nor full.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        See `_seed_score_change`; the iteration's part is added to.
    factor : ndarray of float64, shape (leaf_width, >= n)
        Output, overwritten.

    Notes
    -----
    The full rule follows the matrix of second derivatives ``p_k ((k = m) - p_m)`` and,
    where carried, its own derivative; see ``docs/methods.md``.
    """
    leaf_width = factor.shape[0]
    first = leaves.leaf_offset[tree]
    is_carried = (rule.kind & CARRIED) != 0
    if (rule.kind & FULL) == 0:
        _plain_factors(
            leaves, tree, tree_leaf, rule, begin, n, gradient, hessian, factor
        )
    else:
        own = np.empty(leaf_width)
        for i in range(n):
            number = first + tree_leaf[begin + i]
            mean_theta, mean_change, both = 0.0, 0.0, 0.0
            for k in range(leaf_width):
                mean_theta += hessian[k, i] * rule.theta[number, k]
                mean_change += hessian[k, i] * change[0, k, i]
            for k in range(leaf_width):
                both += (
                    hessian[k, i]
                    * (rule.theta[number, k] - mean_theta)
                    * (change[0, k, i] - mean_change)
                )
            for k in range(leaf_width):
                a = rule.theta[number, k] - mean_theta
                b = change[0, k, i] - mean_change
                own[k] = gradient[k, i] + hessian[k, i] * (a - b - a * b + both)
            for k in range(leaf_width):
                value = own[k]
                if rule.matrix.shape[0] > 0:
                    value = 0.0
                    for m in range(leaf_width):
                        value += rule.matrix[number, k, m] * own[m]
                factor[k, i] = rule.scale[number, k] * value
    _weigh_factors(weight, begin, n, factor)
    if is_carried:
        for column in range(leaf_width):
            k = leaves.output[tree] if leaf_width == 1 else column
            for i in range(n):
                change[2, k, i] += factor[column, i]


@kernel
def _carry_change(leaves, rule, iteration, n, change):
    """Take the change of a block's scores past an iteration.

    Parameters
    ----------
    leaves : FlatLeaves
        The ensemble's leaves.
    rule : FactorRule
        The row factors.
    iteration : int64
        The iteration, which is one step of a tree where trees take several.
    n : int64
        Number of rows.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        Changed in place.

    Notes
    -----
    Inside a tree of several steps scores move by whole steps, and behind it by the
    shrunken sum of all.
    """
    is_last = (iteration + 1) % rule.n_steps == 0
    for k in range(change.shape[1]):
        for i in range(n):
            change[1, k, i] += change[2, k, i]
            if is_last:
                change[0, k, i] = change[1, k, i]
            else:
                shrinkage = rule.shrinkage[leaves.iteration_start[iteration]]
                change[0, k, i] += change[2, k, i] / shrinkage
            change[2, k, i] = 0.0


def stage_factors(rows, leaves, loss, rule, first_row, factor):
    """Write the row factors of a run of rows in all trees.

    Parameters
    ----------
    rows, leaves, loss
        Rows, ensemble and loss, see `replay`.
    rule : FactorRule
        The row factors; a scale of 1 and a theta of 0 give the staged gradients.
    first_row : int64
        Row of the first line of `factor`.
    factor : ndarray of float64, shape (n_run, n_trees * leaf_width)
        Output, overwritten. For runs of rows, never for all train rows at once.

    Notes
    -----
    Rules that bend no derivative have a version of their own, which compiles in a
    third of the time.
    """
    bends = True if rule.kind & (CARRIED | FULL | BY_TARGET) else None
    _stage_factors(rows, leaves, loss, rule, bends, first_row, factor)


@linear_kernel
def _stage_factors(rows, leaves, loss, rule, bends, first_row, factor):
    """Write row factors, see `stage_factors`.

    Parameters
    ----------
    rows, leaves, loss, rule, first_row, factor
        See `stage_factors`.
    bends : bool or None
        None where the rule bends no derivative: what would is then left out when the
        kernel is compiled, since a branch on None is decided by its type.
    """
    leaf, weight = rows.leaf, rows.weight
    n_run = factor.shape[0]
    n_outputs = leaves.base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    for block in prange((n_run + STAGE_BLOCK - 1) // STAGE_BLOCK):
        line = block * STAGE_BLOCK
        n = min(STAGE_BLOCK, n_run - line)
        begin = first_row + line
        score = np.empty((n_outputs, STAGE_BLOCK))
        gradient = np.empty((n_outputs, STAGE_BLOCK))
        hessian = np.empty((n_outputs, STAGE_BLOCK))
        slope = np.empty((n_outputs, STAGE_BLOCK))
        bend = np.empty((n_outputs, STAGE_BLOCK))
        change = np.empty((3, n_outputs, STAGE_BLOCK))
        own = np.empty((leaf_width, STAGE_BLOCK))
        y = rows.y[begin : begin + n]
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        if bends is not None:
            _seed_score_change(rule, begin, n, change)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(loss, n, y, score, gradient, hessian)
                if bends is not None:
                    _bend_derivatives(
                        loss,
                        rule,
                        n,
                        y,
                        score,
                        change,
                        gradient,
                        hessian,
                        slope,
                        bend,
                    )
            for tree in range(
                leaves.iteration_start[iteration],
                leaves.iteration_start[iteration + 1],
            ):
                tree_leaf = leaf[leaves.leaf_row[tree]]
                if bends is not None:
                    _tree_factors(
                        leaves,
                        tree,
                        tree_leaf,
                        weight,
                        rule,
                        begin,
                        n,
                        gradient,
                        hessian,
                        change,
                        own,
                    )
                else:
                    _plain_factors(
                        leaves,
                        tree,
                        tree_leaf,
                        rule,
                        begin,
                        n,
                        gradient,
                        hessian,
                        own,
                    )
                    _weigh_factors(weight, begin, n, own)
                for column in range(leaf_width):
                    for i in range(n):
                        factor[line + i, tree * leaf_width + column] = own[column, i]
                add_tree(
                    tree_leaf,
                    begin,
                    n,
                    leaves.leaf_offset[tree],
                    leaves.output[tree],
                    leaves.leaf_value,
                    score,
                )
            if bends is not None and (rule.kind & CARRIED) != 0:
                _carry_change(leaves, rule, iteration, n, change)


@linear_kernel
def _contract_bent(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Add up factors of a rule that bends derivatives; see `contract_rows`."""
    leaf, weight = rows.leaf, rows.weight
    n_rows = leaf.shape[1]
    n_outputs = leaves.base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    is_carried = (rule.kind & CARRIED) != 0
    for block in prange((n_rows + STAGE_BLOCK - 1) // STAGE_BLOCK):
        begin = block * STAGE_BLOCK
        n = min(STAGE_BLOCK, n_rows - begin)
        score = np.empty((n_outputs, STAGE_BLOCK))
        gradient = np.empty((n_outputs, STAGE_BLOCK))
        hessian = np.empty((n_outputs, STAGE_BLOCK))
        slope = np.empty((n_outputs, STAGE_BLOCK))
        bend = np.empty((n_outputs, STAGE_BLOCK))
        change = np.empty((3, n_outputs, STAGE_BLOCK))
        own = np.empty((leaf_width, STAGE_BLOCK))
        sums = np.zeros(STAGE_BLOCK)
        y = rows.y[begin : begin + n]
        start_scores(leaves.base_score, rows.offset, begin, n, score)
        _seed_score_change(rule, begin, n, change)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(loss, n, y, score, gradient, hessian)
                _bend_derivatives(
                    loss,
                    rule,
                    n,
                    y,
                    score,
                    change,
                    gradient,
                    hessian,
                    slope,
                    bend,
                )
            for tree in range(
                leaves.iteration_start[iteration],
                leaves.iteration_start[iteration + 1],
            ):
                tree_leaf = leaf[leaves.leaf_row[tree]]
                first = leaves.leaf_offset[tree]
                _tree_factors(
                    leaves,
                    tree,
                    tree_leaf,
                    weight,
                    rule,
                    begin,
                    n,
                    gradient,
                    hessian,
                    change,
                    own,
                )
                if not is_own:
                    factor = leaf_factor[first:]
                    for column in range(leaf_width):
                        for i in range(n):
                            sums[i] += (
                                factor[tree_leaf[begin + i], column] * own[column, i]
                            )
                add_tree(
                    tree_leaf,
                    begin,
                    n,
                    first,
                    leaves.output[tree],
                    leaves.leaf_value,
                    score,
                )
            if is_carried:
                _carry_change(leaves, rule, iteration, n, change)
        if is_own:
            loss_derivatives(loss, n, y, score, gradient, hessian)
            for k in range(n_outputs):
                for i in range(n):
                    sums[i] += change[1, k, i] * gradient[k, i]
        for i in range(n):
            influence[begin + i] = sums[i]
