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

from treeinf.kernels.compilation import (
    kernel,
    linear_kernel,
    parallel_kernel,
    scalar_rule,
)
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
    "CACHE_LINE",
    "CARRIED",
    "CROSSED",
    "FULL",
    "TILE_WIDTH",
    "FactorRule",
    "contract_dense",
    "contract_rows",
    "contract_sparse",
    "group_rows_by_leaf",
    "merge_top",
    "stage_factors",
    "tile_factors",
]


STAGE_BLOCK = 256
"""Rows whose factors are written together."""

LINE_BLOCK = 128
"""Lines of a dense product that one thread takes at a time."""

TILE_WIDTH = 200
"""Most targets of a tile of leaf factors: those of 100 trees of 31 leaves take 5 MB,
those of four trees, which are added at a time, 0.2 MB."""

CACHE_LINE = 8
"""Numbers of double precision in a line of the cache."""

CARRIED = 1
"""Bit of `FactorRule.kind`: a row's change of its own score is carried forward."""
CROSSED = 2
"""Bit: the outputs of a softmax answer to one another's scores."""
FULL = 4
"""Bit: leaf values come from the matrix of second derivatives of a softmax."""
BY_TARGET = 8
"""Bit: derivatives of g and h in the row's target stand for them."""

FactorRule = namedtuple(
    "FactorRule", "kind n_steps scale theta matrix start_change shrinkage"
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
start_change : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
    How each row's base score falls for a unit more of the logarithm of its weight;
    empty for not at all.
shrinkage : ndarray of float64, shape (n_trees,)
    Read where trees take several steps.
"""


def contract_rows(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    rule,
    leaf_factor,
    is_own,
    influence,
):
    """Multiply each row's factors by one factor a leaf and add over trees.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
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
    contract(
        leaf,
        leaves,
        base_score,
        offset,
        target,
        weight,
        loss_code,
        loss_parameter,
        rule,
        leaf_factor,
        is_own,
        influence,
    )


@linear_kernel
def _contract_plain(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    rule,
    leaf_factor,
    is_own,
    influence,
):
    """Add up factors of a rule that bends no derivative; see `contract_rows`."""
    n_rows = leaf.shape[1]
    n_outputs = base_score.size
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
        y = target[begin : begin + n]
        start_scores(base_score, offset, begin, n, score)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(
                    loss_code, loss_parameter, n, y, score, gradient, hessian
                )
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
def _start_change(rule, begin, n, change):
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
    if (rule.kind & CARRIED) != 0 and rule.start_change.shape[0] > 0:
        for k in range(change.shape[1]):
            for i in range(n):
                change[0, k, i] = rule.start_change[begin + i, k]
                change[1, k, i] = change[0, k, i]


@kernel
def _bend_derivatives(
    loss_code,
    loss_parameter,
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
    loss_code, loss_parameter, n, y, score
        See `loss_derivatives`.
    rule : FactorRule
        The row factors.
    change : ndarray of float64, shape (3, n_outputs, >= n)
        See `_start_change`; the fall of the score, so what is added is subtracted.
    gradient, hessian : ndarray of float64, shape (n_outputs, >= n)
        Changed in place. If carried, they answer to the change of the scores; if full,
        the gradient is left alone and the hessian becomes the probability, for
        `_tree_factors`; if by target, they are differentiated in it.
    slope, bend : ndarray of float64, shape (n_outputs, >= n)
        Overwritten.
    """
    n_outputs = score.shape[0]
    if (rule.kind & BY_TARGET) != 0:
        differentiate_in_target(
            loss_code, loss_parameter, n, y, score, gradient, hessian
        )
        return
    if (rule.kind & FULL) != 0:
        for k in range(n_outputs):
            for i in range(n):
                hessian[k, i] = gradient[k, i] + (1.0 if y[i] == k else 0.0)
        return
    differentiate_twice(loss_code, loss_parameter, n, y, score, slope, bend)
    if loss_code != SOFTMAX and loss_code != SOFTMAX + UNIT_HESSIAN:
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
                gradient[k, i] -= loss_parameter * moved
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
        See `_start_change`; the iteration's part is added to.
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


def stage_factors(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    rule,
    first_row,
    factor,
):
    """Write the row factors of a run of rows in all trees.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
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
    _stage_factors(
        leaf,
        leaves,
        base_score,
        offset,
        target,
        weight,
        loss_code,
        loss_parameter,
        rule,
        True if rule.kind & (CARRIED | FULL | BY_TARGET) else None,
        first_row,
        factor,
    )


@linear_kernel
def _stage_factors(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    rule,
    bends,
    first_row,
    factor,
):
    """Write row factors, see `stage_factors`.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter, rule, \
first_row, factor
        See `stage_factors`.
    bends : bool or None
        None where the rule bends no derivative: what would is then left out when the
        kernel is compiled, since a branch on None is decided by its type.
    """
    n_run = factor.shape[0]
    n_outputs = base_score.size
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
        y = target[begin : begin + n]
        start_scores(base_score, offset, begin, n, score)
        if bends is not None:
            _start_change(rule, begin, n, change)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(
                    loss_code, loss_parameter, n, y, score, gradient, hessian
                )
                if bends is not None:
                    _bend_derivatives(
                        loss_code,
                        loss_parameter,
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
def _contract_bent(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    rule,
    leaf_factor,
    is_own,
    influence,
):
    """Add up factors of a rule that bends derivatives; see `contract_rows`."""
    n_rows = leaf.shape[1]
    n_outputs = base_score.size
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
        y = target[begin : begin + n]
        start_scores(base_score, offset, begin, n, score)
        _start_change(rule, begin, n, change)
        for iteration in range(leaves.iteration_start.size - 1):
            if iteration == 0 or not leaves.is_averaged:
                loss_derivatives(
                    loss_code, loss_parameter, n, y, score, gradient, hessian
                )
                _bend_derivatives(
                    loss_code,
                    loss_parameter,
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
            loss_derivatives(loss_code, loss_parameter, n, y, score, gradient, hessian)
            for k in range(n_outputs):
                for i in range(n):
                    sums[i] += change[1, k, i] * gradient[k, i]
        for i in range(n):
            influence[begin + i] = sums[i]


@linear_kernel
def group_rows_by_leaf(leaf, leaf_offset, leaf_row, start, row):
    """List the rows of each leaf, leaf by leaf.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Line of `leaf` that each tree reads.
    start : ndarray of int64, shape (n_leaves + 1,)
        Output, overwritten: the rows of leaf l are ``row[start[l] : start[l + 1]]``.
    row : ndarray of int32, shape (n_trees * n_rows,)
        Output, overwritten: rows in rising order within each leaf.
    """
    n_trees, n_rows = leaf_row.size, leaf.shape[1]
    for tree in prange(n_trees):
        first = leaf_offset[tree]
        tree_leaf = leaf[leaf_row[tree]]
        n_leaves = leaf_offset[tree + 1] - first
        position = np.zeros(n_leaves + 1, np.int64)
        for i in range(n_rows):
            position[tree_leaf[i] + 1] += 1
        position[0] = tree * n_rows
        for number in range(n_leaves):
            position[number + 1] += position[number]
            start[first + number] = position[number]
        for i in range(n_rows):
            row[position[tree_leaf[i]]] = i
            position[tree_leaf[i]] += 1
    start[start.size - 1] = n_trees * n_rows


@linear_kernel
def contract_sparse(
    leaf,
    leaves,
    first_row,
    factor,
    group_start,
    group_target,
    group_factor,
    n_targets,
    first_target,
    influence,
):
    """Multiply row factors by the factors of the targets that share a leaf.

    Parameters
    ----------
    leaf, leaves
        Rows and ensemble, see `replay`.
    first_row : int64
        Row of the first line of `factor` and `influence`.
    factor : ndarray of float64, shape (n_lines, n_trees * leaf_width)
        From `stage_factors`.
    group_start, group_target : ndarray of int64 and int32
        Targets of each leaf, see `group_rows_by_leaf`.
    group_factor : ndarray of float64, shape (n_trees * n_targets, leaf_width)
        Factor of each entry of `group_target`.
    n_targets : int64
        Targets in the group.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the group's columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees (1 + targets that share a leaf)). Each thread owns lines of
    the output and adds in the order of the trees.
    """
    n_trees = leaves.leaf_row.size
    leaf_width = leaves.leaf_value.shape[1]
    for line in prange(influence.shape[0]):
        sums = influence[line, first_target : first_target + n_targets]
        sums[:] = 0.0
        for tree in range(n_trees):
            number = (
                leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
            )
            for column in range(leaf_width):
                value = factor[line, tree * leaf_width + column]
                for entry in range(group_start[number], group_start[number + 1]):
                    sums[group_target[entry]] += value * group_factor[entry, column]


@parallel_kernel
def tile_factors(leaf_factor, tiles):
    """Lay leaf factors out as `contract_dense` reads them.

    Parameters
    ----------
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a change of each leaf does to each target.
    tiles : ndarray of float64, shape (n_tiles, n_leaves * leaf_width, tile_width)
        Output, overwritten: a tile for each run of `tile_width` targets; 0 behind the
        last target.
    """
    leaf_width, n_targets = leaf_factor.shape[1:]
    n_tiles, n_lines, tile_width = tiles.shape
    for task in prange(n_tiles * n_lines):
        tile, line = task // n_lines, task % n_lines
        own = leaf_factor[line // leaf_width, line % leaf_width]
        begin = tile * tile_width
        n = min(tile_width, n_targets - begin)
        tiles[tile, line, :n] = own[begin : begin + n]
        tiles[tile, line, n:] = 0.0


@parallel_kernel
def contract_dense(
    leaf, leaves, first_row, factor, tiles, n_targets, first_target, influence
):
    """Multiply row factors by a factor for every leaf and target.

    Parameters
    ----------
    leaf, leaves, first_row, factor
        See `contract_sparse`.
    tiles : ndarray of float64, shape (n_tiles, n_leaves * leaf_width, tile_width)
        What a change of each leaf does to each target, see `tile_factors`.
    n_targets : int64
        Number of targets.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the targets' columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees n_targets). Each thread owns parts of the output: as many
    lines and targets as stay in the cache with their sums. Four trees are added at a
    time, so that a sum is read and written for four products and not for each. Sums
    and tiles begin where a line of the cache does: a vector across two of them is
    loaded twice.
    """
    leaf_width = leaves.leaf_value.shape[1]
    tile_width = tiles.shape[2]
    n_lines, n_terms = factor.shape
    place, leaf_row = np.empty(n_terms, np.int64), np.empty(n_terms, np.int64)
    for term in range(n_terms):
        tree, column = term // leaf_width, term % leaf_width
        place[term] = leaves.leaf_offset[tree] * leaf_width + column
        leaf_row[term] = leaves.leaf_row[tree]
    n_blocks = (n_lines + LINE_BLOCK - 1) // LINE_BLOCK
    for task in prange(tiles.shape[0] * n_blocks):
        tile = tiles[task // n_blocks]
        first_line = task % n_blocks * LINE_BLOCK
        n_own = min(LINE_BLOCK, n_lines - first_line)
        room = np.zeros(LINE_BLOCK * tile_width + CACHE_LINE)
        skip = -(room.ctypes.data // 8) % CACHE_LINE
        sums = room[skip : skip + n_own * tile_width].reshape((n_own, tile_width))
        for k in range(0, n_terms, 4):
            # the last four may be fewer, and then repeat the last one, times 0
            n, last = n_terms - k, n_terms - 1
            zero = np.float32(0.0)  # that a product with it keeps its type
            k1, k2, k3 = min(k + 1, last), min(k + 2, last), min(k + 3, last)
            for line in range(n_own):
                i = first_row + first_line + line
                own = factor[first_line + line]
                v0 = own[k]
                v1 = own[k1] if n > 1 else own[k] * zero
                v2 = own[k2] if n > 2 else own[k] * zero
                v3 = own[k3] if n > 3 else own[k] * zero
                t0 = tile[place[k] + leaf[leaf_row[k], i] * leaf_width]
                t1 = tile[place[k1] + leaf[leaf_row[k1], i] * leaf_width]
                t2 = tile[place[k2] + leaf[leaf_row[k2], i] * leaf_width]
                t3 = tile[place[k3] + leaf[leaf_row[k3], i] * leaf_width]
                to = sums[line]
                for t in range(tile_width):
                    value = to[t] + v0 * t0[t]
                    value += v1 * t1[t]
                    value += v2 * t2[t]
                    to[t] = value + v3 * t3[t]
        begin = task // n_blocks * tile_width
        n = min(tile_width, n_targets - begin)
        begin += first_target
        for line in range(n_own):
            influence[first_line + line, begin : begin + n] = sums[line, :n]


@scalar_rule
def _rank_key(value, sign):
    """Give the number that rows are ranked by, the largest first."""
    return abs(value) if sign == 0 else sign * value


@linear_kernel
def merge_top(influence, first_row, sign, best_row, best_value):
    """Merge a block of rows into each target's list of best rows.

    Parameters
    ----------
    influence : ndarray of float64, shape (n_lines, n_targets)
        Influence of rows ``first_row + line``. NaN is left out of the lists.
    first_row : int64
        Row of the first line.
    sign : int64
        1 ranks the largest first, -1 the smallest, 0 the largest size.
    best_row : ndarray of int64, shape (n_targets, k)
        Changed in place: rows from best to worst.
    best_value : ndarray of float64, shape (n_targets, k)
        Changed in place: their influence; NaN where there is none yet.

    Notes
    -----
    A sorted list by insertion: rows come in rising order and only a strictly better one
    moves another down, so that ties keep the lower row. Each thread owns targets.
    """
    for target in prange(influence.shape[1]):
        _merge_target(influence, first_row, sign, target, best_row, best_value)


@scalar_rule
def _merge_target(influence, first_row, sign, target, best_row, best_value):
    """Merge a block of rows into one target's list of best rows; see `merge_top`."""
    k = best_row.shape[1]
    for line in range(influence.shape[0]):
        value = influence[line, target]
        key = _rank_key(value, sign)
        if np.isnan(value) or _rank_key(best_value[target, k - 1], sign) >= key:
            continue
        place = k - 1
        while place > 0 and not _rank_key(best_value[target, place - 1], sign) >= key:
            best_value[target, place] = best_value[target, place - 1]
            best_row[target, place] = best_row[target, place - 1]
            place -= 1
        best_value[target, place] = value
        best_row[target, place] = first_row + line
