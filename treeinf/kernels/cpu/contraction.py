"""Row factor times leaf factor, added over trees: every additive influence.

The row factor of row i in a leaf is ``scale * (g_i + theta * h_i)`` with the row's
weighted gradient and hessian before the leaf's tree; `scale` and `theta` are numbers of
the leaf, chosen by the explainer. The kernels replay the row's scores as they go, so
that nothing of size n_rows x n_trees is stored.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel, scalar_rule
from treeinf.kernels.cpu.derivatives import loss_derivatives
from treeinf.kernels.cpu.replay import BLOCK, add_tree, start_scores

__all__ = [
    "contract_dense",
    "contract_rows",
    "contract_staged",
    "group_rows_by_leaf",
    "merge_top",
    "stage_factors",
]


@parallel_kernel
def contract_rows(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    scale,
    theta,
    leaf_factor,
    is_own,
    influence,
):
    """Multiply each row's factors by one factor a leaf and add over trees.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        The row factor in each leaf.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width)
        What a change of the leaf does, for instance to the loss of all test rows; not
        read if `is_own`.
    is_own : bool
        The factor is the row's own staged gradient, of weight 1: self influence.
    influence : ndarray of float64, shape (n_rows,)
        Output, overwritten.

    Notes
    -----
    One pass, O(n_rows n_trees) time. Each thread owns blocks of rows.
    """
    n_rows = leaf.shape[1]
    n_outputs = base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    if is_own:
        on_gradient = scale
    else:
        on_gradient = scale * leaf_factor
    on_hessian = on_gradient * theta
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
                tree_leaf = leaf[leaves.leaf_row[tree]]
                for column in range(leaf_width):
                    k = leaves.output[tree] if leaf_width == 1 else column
                    for i in range(n):
                        number = first + tree_leaf[begin + i]
                        term = (
                            on_gradient[number, column] * gradient[k, i]
                            + on_hessian[number, column] * hessian[k, i]
                        )
                        sums[i] += term * gradient[k, i] if is_own else term
                add_tree(
                    tree_leaf,
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
def _stage_block(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    scale,
    theta,
    begin,
    n,
    factor,
):
    """Write the row factors of one block of rows in all trees.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        The row factor in each leaf.
    begin, n : int64
        First row and number of rows, at most `BLOCK`.
    factor : ndarray of float64, shape (n_trees * leaf_width, >= n)
        Output, overwritten.
    """
    n_outputs = base_score.size
    leaf_width = leaves.leaf_value.shape[1]
    score = np.empty((n_outputs, n))
    gradient = np.empty((n_outputs, n))
    hessian = np.empty((n_outputs, n))
    y = target[begin : begin + n]
    start_scores(base_score, offset, begin, n, score)
    for iteration in range(leaves.iteration_start.size - 1):
        if iteration == 0 or not leaves.is_averaged:
            loss_derivatives(loss_code, loss_parameter, n, y, score, gradient, hessian)
        for tree in range(
            leaves.iteration_start[iteration], leaves.iteration_start[iteration + 1]
        ):
            first = leaves.leaf_offset[tree]
            tree_leaf = leaf[leaves.leaf_row[tree]]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                for i in range(n):
                    number = first + tree_leaf[begin + i]
                    value = scale[number, column] * (
                        gradient[k, i] + theta[number, column] * hessian[k, i]
                    )
                    if weight.size > 0:
                        value *= weight[begin + i]
                    factor[tree * leaf_width + column, i] = value
            add_tree(
                tree_leaf,
                begin,
                n,
                first,
                leaves.output[tree],
                leaves.leaf_value,
                score,
            )


@parallel_kernel
def stage_factors(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    scale,
    theta,
    factor,
):
    """Write the row factors of all rows in all trees.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        The row factor in each leaf; 1 and 0 give the staged gradients.
    factor : ndarray of float64, shape (n_trees * leaf_width, n_rows)
        Output, overwritten. For the few rows that are explained, never for all train
        rows at once.
    """
    n_rows = leaf.shape[1]
    for block in prange((n_rows + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, n_rows - begin)
        _stage_block(
            leaf,
            leaves,
            base_score,
            offset,
            target,
            weight,
            loss_code,
            loss_parameter,
            scale,
            theta,
            begin,
            n,
            factor[:, begin : begin + n],
        )


@parallel_kernel
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


@parallel_kernel
def contract_staged(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    scale,
    theta,
    first_row,
    block_rows,
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
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        The row factor in each leaf.
    first_row : int64
        Row of the first line of `influence`.
    block_rows : int64
        Rows whose factors are held at once, at most `BLOCK`.
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
    Time O(n_lines n_trees (1 + targets that share a leaf)); memory block_rows x n_trees
    a thread. Each thread owns lines of the output and adds in the order of the trees.
    """
    n_lines = influence.shape[0]
    n_trees = leaves.leaf_row.size
    leaf_width = leaves.leaf_value.shape[1]
    for block in prange((n_lines + block_rows - 1) // block_rows):
        line = block * block_rows
        n = min(block_rows, n_lines - line)
        begin = first_row + line
        factor = np.empty((n_trees * leaf_width, n))
        _stage_block(
            leaf,
            leaves,
            base_score,
            offset,
            target,
            weight,
            loss_code,
            loss_parameter,
            scale,
            theta,
            begin,
            n,
            factor,
        )
        for i in range(n):
            sums = influence[line + i, first_target : first_target + n_targets]
            sums[:] = 0.0
            for tree in range(n_trees):
                number = (
                    leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], begin + i]
                )
                for column in range(leaf_width):
                    value = factor[tree * leaf_width + column, i]
                    for entry in range(group_start[number], group_start[number + 1]):
                        sums[group_target[entry]] += value * group_factor[entry, column]


@parallel_kernel
def contract_dense(
    leaf,
    leaves,
    base_score,
    offset,
    target,
    weight,
    loss_code,
    loss_parameter,
    scale,
    theta,
    first_row,
    block_rows,
    leaf_factor,
    first_target,
    influence,
):
    """Multiply row factors by a factor for every leaf and target.

    Parameters
    ----------
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter
        Rows and ensemble, see `replay`.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        The row factor in each leaf.
    first_row, block_rows : int64
        See `contract_staged`.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a change of each leaf does to each target.
    first_target : int64
        Column of `influence` for target 0.
    influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
        Output; the targets' columns are overwritten.

    Notes
    -----
    Time O(n_lines n_trees n_targets); memory block_rows x n_trees a thread. Each thread
    owns lines of the output and adds in the order of the trees.
    """
    n_lines = influence.shape[0]
    n_trees = leaves.leaf_row.size
    leaf_width, n_targets = leaf_factor.shape[1:]
    for block in prange((n_lines + block_rows - 1) // block_rows):
        line = block * block_rows
        n = min(block_rows, n_lines - line)
        begin = first_row + line
        factor = np.empty((n_trees * leaf_width, n))
        _stage_block(
            leaf,
            leaves,
            base_score,
            offset,
            target,
            weight,
            loss_code,
            loss_parameter,
            scale,
            theta,
            begin,
            n,
            factor,
        )
        for i in range(n):
            sums = influence[line + i, first_target : first_target + n_targets]
            sums[:] = 0.0
            for tree in range(n_trees):
                number = (
                    leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], begin + i]
                )
                for column in range(leaf_width):
                    value = factor[tree * leaf_width + column, i]
                    for t in range(n_targets):
                        sums[t] += value * leaf_factor[number, column, t]


@scalar_rule
def _rank_key(value, sign):
    """Give the number that rows are ranked by, the largest first."""
    return abs(value) if sign == 0 else sign * value


@parallel_kernel
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
    n_lines, n_targets = influence.shape
    k = best_row.shape[1]
    for target in prange(n_targets):
        for line in range(n_lines):
            value = influence[line, target]
            key = _rank_key(value, sign)
            if np.isnan(value) or _rank_key(best_value[target, k - 1], sign) >= key:
                continue
            place = k - 1
            while place > 0 and not (
                _rank_key(best_value[target, place - 1], sign) >= key
            ):
                best_value[target, place] = best_value[target, place - 1]
                best_row[target, place] = best_row[target, place - 1]
                place -= 1
            best_value[target, place] = value
            best_row[target, place] = first_row + line
