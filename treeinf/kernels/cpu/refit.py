"""Leaf values fitted again without some train rows, the trees' structure fixed.

Several sets of rows are left out side by side, a *removal batch*: a row has one leaf in
all of them, so that every gather, sum and scatter moves `REMOVAL_BATCH` neighbouring
numbers at once, one in each SIMD lane. Arrays of a batch have its sets last.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel
from treeinf.kernels.cpu.leaf_rule import smooth_tree
from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas.bags import bag_factor, write_bag
from treeinf.kernels.formulas.derivatives import SOFTMAX, loss_derivatives
from treeinf.kernels.rules import newton_step

__all__ = [
    "REMOVAL_BATCH",
    "RefitRule",
    "TreeShape",
    "refit_boosting",
    "score_removed",
    "score_rows",
    "solve_leaf",
]

REMOVAL_BATCH = 8
"""Sets of rows that are left out together."""

TILE_ROWS = 64
"""Rows of a tile: their derivatives, for all sets of a batch, stay in the L1 cache."""

SOFTMAX_LOSS = FlatLoss(SOFTMAX, 1.0)

RefitRule = namedtuple(
    "RefitRule",
    "l1_leaf max_leaf_value path_smooth min_hessian is_full n_steps "
    "leaf_l2 shrinkage step_length is_fitted leaf_rows",
)
RefitRule.__doc__ = """How sums of derivatives become leaf values.

Parameters
----------
l1_leaf, max_leaf_value, path_smooth : float64
    See `LeafRule`.
min_hessian : float64
    The value is 0 where the sum of hessians is smaller.
is_full : bool
    The outputs are solved for together, with the matrix of second derivatives of a
    softmax.
n_steps : int64
    Iterations that are steps of one tree; the values of the last take the sum of all
    steps to the shrinkage.
leaf_l2 : ndarray of float64, shape (n_leaves,)
    L2 penalties.
shrinkage, step_length : ndarray of float64, shape (n_trees,)
    Shrinkage, and the share of its Newton step that each tree takes.
is_fitted : ndarray of bool, shape (n_trees,)
    The others keep the values they have.
leaf_rows : ndarray of int64, shape (n_leaves,)
    Train rows in each leaf, of the tree's bag; read under path smoothing alone.
"""

TreeShape = namedtuple(
    "TreeShape", "node_offset leaf_offset left right node_parent leaf_parent"
)
TreeShape.__doc__ = """Nodes and leaves of the trees, numbered within each.

Parameters
----------
node_offset, leaf_offset : ndarray of int64, shape (n_trees + 1,)
    Where each tree's nodes and leaves begin.
left, right : ndarray of int32, shape (n_nodes,)
    Children; ``~leaf`` for a leaf.
node_parent : ndarray of int32, shape (n_nodes,)
    Parent of each node; -1 for a root.
leaf_parent : ndarray of int32, shape (n_leaves,)
    Parent of each leaf; -1 where it is the whole tree.
"""


@parallel_kernel
def refit_boosting(
    rows,
    leaves,
    loss,
    shape,
    rule,
    base_score,
    l2_factor,
    removed_start,
    removed_row,
    leaf_value,
):
    """Fit all leaf values again, once for each set of rows that is left out.

    Parameters
    ----------
    rows, leaves, loss
        See `treeinf.kernels.flat`; values of trees that are not fitted are read.
    shape : TreeShape
        Read under path smoothing alone.
    rule : RefitRule
        How sums become leaf values.
    base_score : ndarray of float64, shape (n_batches, n_outputs, REMOVAL_BATCH)
        Raw score before the first tree, for each set.
    l2_factor : ndarray of float64, shape (n_batches, REMOVAL_BATCH)
        Factor on the l2 penalties, for each set.
    removed_start : ndarray of int64, shape (n_batches * REMOVAL_BATCH + 1,)
        Where each set begins in `removed_row`.
    removed_row : ndarray of int64, shape (n_removed,)
        Rows of each set, rising.
    leaf_value : ndarray of float64, shape (n_batches, n_leaves, leaf_width, \
REMOVAL_BATCH)
        Output, overwritten: leaf values, shrinkage included.

    Notes
    -----
    O(n_rows n_trees) time a set; ``REMOVAL_BATCH * n_rows * n_outputs`` numbers of
    memory a thread. Scores are replayed under the new values, never the stored ones.
    """
    for batch in prange(leaf_value.shape[0]):
        first = batch * REMOVAL_BATCH
        _refit_batch(
            *(rows, leaves, loss, shape, rule, base_score[batch], l2_factor[batch]),
            *(removed_start[first : first + REMOVAL_BATCH + 1], removed_row),
            leaf_value[batch],
        )


@kernel
def _refit_batch(
    rows,
    leaves,
    loss,
    shape,
    rule,
    base_score,
    l2_factor,
    removed_start,
    removed_row,
    leaf_value,
):
    """Fit all leaf values again for one removal batch; see `refit_boosting`."""
    leaf, weight = rows.leaf, rows.weight
    n_rows = leaf.shape[1]
    n_outputs = base_score.shape[0]
    leaf_width = leaf_value.shape[1]
    n_tiles = (n_rows + TILE_ROWS - 1) // TILE_ROWS
    starts = leaves.iteration_start
    most = 0
    for iteration in range(starts.size - 1):
        first = leaves.leaf_offset[starts[iteration]]
        most = max(most, leaves.leaf_offset[starts[iteration + 1]] - first)
    n_sums = leaf_width * (leaf_width + 1) // 2 if rule.is_full else leaf_width
    leaf_gradient = np.empty((most, leaf_width, REMOVAL_BATCH))
    leaf_hessian = np.empty((most, n_sums, REMOVAL_BATCH))
    width = TILE_ROWS * REMOVAL_BATCH
    score = np.empty((n_tiles, n_outputs, width))
    gradient = np.empty((n_outputs, width))
    hessian = np.empty((n_sums if rule.is_full else n_outputs, width))
    y = np.empty(width)
    next_removed = np.empty(REMOVAL_BATCH, np.int64)
    factor = np.empty(TILE_ROWS)
    for tile in range(n_tiles):
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        _start_scores(base_score, rows.offset, begin, n, score[tile])
    for iteration in range(starts.size - 1):
        begin_tree, end_tree = starts[iteration], starts[iteration + 1]
        first_leaf = leaves.leaf_offset[begin_tree]
        leaf_gradient[: leaves.leaf_offset[end_tree] - first_leaf] = 0.0
        leaf_hessian[: leaves.leaf_offset[end_tree] - first_leaf] = 0.0
        for r in range(REMOVAL_BATCH):
            next_removed[r] = removed_start[r]
        for tile in range(n_tiles):
            begin = tile * TILE_ROWS
            n = min(TILE_ROWS, n_rows - begin)
            if iteration > 0:
                for tree in range(starts[iteration - 1], begin_tree):
                    _add_tree(leaf, leaves, tree, begin, n, leaf_value, score[tile])
            for i in range(n):
                for r in range(REMOVAL_BATCH):
                    y[i * REMOVAL_BATCH + r] = rows.y[begin + i]
            if rule.is_full:
                _softmax_matrix(n * REMOVAL_BATCH, y, score[tile], gradient, hessian)
            else:
                loss_derivatives(
                    loss, n * REMOVAL_BATCH, y, score[tile], gradient, hessian
                )
            if weight.size > 0:
                _apply_weights(weight, begin, n, gradient)
                _apply_weights(weight, begin, n, hessian)
            for r in range(REMOVAL_BATCH):
                while (
                    next_removed[r] < removed_start[r + 1]
                    and removed_row[next_removed[r]] < begin + n
                ):
                    i = removed_row[next_removed[r]] - begin
                    gradient[:, i * REMOVAL_BATCH + r] = 0.0
                    hessian[:, i * REMOVAL_BATCH + r] = 0.0
                    next_removed[r] += 1
            for tree in range(begin_tree, end_tree):
                local = leaves.leaf_offset[tree] - first_leaf
                tree_leaf = leaf[leaves.leaf_row[tree]]
                output = leaves.output[tree] if leaf_width == 1 else 0
                if write_bag(rows, tree, begin, n, factor):
                    _add_bag_sums(
                        *(tree_leaf, begin, n, local, output, factor),
                        *(gradient, leaf_gradient),
                    )
                    _add_bag_sums(
                        *(tree_leaf, begin, n, local, output, factor),
                        *(hessian, leaf_hessian),
                    )
                    continue
                _add_sums(tree_leaf, begin, n, local, output, gradient, leaf_gradient)
                _add_sums(tree_leaf, begin, n, local, output, hessian, leaf_hessian)
        for tree in range(begin_tree, end_tree):
            _set_values(
                *(tree, iteration % rule.n_steps, end_tree - begin_tree, first_leaf),
                *(rows, leaves, shape, rule, l2_factor),
                *(removed_start, removed_row, leaf_gradient, leaf_hessian, leaf_value),
            )


@kernel
def _start_scores(base_score, offset, begin, n, score):
    """Set the scores of a tile to those before the first tree, in all sets."""
    for i in range(n):
        for k in range(base_score.shape[0]):
            initial = offset[begin + i, k] if offset.shape[0] > 0 else 0.0
            for r in range(REMOVAL_BATCH):
                score[k, i * REMOVAL_BATCH + r] = base_score[k, r] + initial


@kernel
def _add_tree(leaf, leaves, tree, begin, n, leaf_value, score):
    """Add one tree's values to the scores of a tile, in all sets."""
    tree_leaf, first = leaf[leaves.leaf_row[tree]], leaves.leaf_offset[tree]
    for column in range(leaf_value.shape[1]):
        k = leaves.output[tree] if leaf_value.shape[1] == 1 else column
        for i in range(n):
            number = first + tree_leaf[begin + i]
            for r in range(REMOVAL_BATCH):
                score[k, i * REMOVAL_BATCH + r] += leaf_value[number, column, r]


@kernel
def _add_sums(tree_leaf, begin, n, first, output, values, total):
    """Add a tile's values, from line `output` on, to its rows' leaves."""
    for column in range(total.shape[1]):
        line = values[output + column]
        for i in range(n):
            cell = total[first + tree_leaf[begin + i], column]
            for r in range(REMOVAL_BATCH):
                cell[r] += line[i * REMOVAL_BATCH + r]


@kernel
def _add_bag_sums(tree_leaf, begin, n, first, output, factor, values, total):
    """Add a tile's values times the factors of its rows; see `_add_sums`."""
    for column in range(total.shape[1]):
        line = values[output + column]
        for i in range(n):
            if factor[i] != 0.0:
                cell = total[first + tree_leaf[begin + i], column]
                for r in range(REMOVAL_BATCH):
                    cell[r] += factor[i] * line[i * REMOVAL_BATCH + r]


@kernel
def _apply_weights(weight, begin, n, values):
    """Multiply a tile's values by its rows' weights, in all sets."""
    for k in range(values.shape[0]):
        for i in range(n):
            for r in range(REMOVAL_BATCH):
                values[k, i * REMOVAL_BATCH + r] *= weight[begin + i]


@kernel
def _softmax_matrix(n, y, score, gradient, matrix):
    """Differentiate the softmax loss: gradients, and the lower half of the matrix."""
    loss_derivatives(SOFTMAX_LOSS, n, y, score, gradient, matrix[: score.shape[0]])
    for k in range(score.shape[0]):
        for i in range(n):
            gradient[k, i] += 1.0 if y[i] == k else 0.0
    line = 0
    for k in range(score.shape[0]):
        for m in range(k + 1):
            diagonal = 1.0 if k == m else 0.0
            for i in range(n):
                matrix[line, i] = gradient[k, i] * (diagonal - gradient[m, i])
            line += 1
    for k in range(score.shape[0]):
        for i in range(n):
            gradient[k, i] -= 1.0 if y[i] == k else 0.0


@kernel
def _set_values(
    tree,
    step_number,
    n_trees,
    first_leaf,
    rows,
    leaves,
    shape,
    rule,
    l2_factor,
    removed_start,
    removed_row,
    leaf_gradient,
    leaf_hessian,
    leaf_value,
):
    """Turn the sums of one tree into its leaf values, in all sets."""
    begin, end = leaves.leaf_offset[tree], leaves.leaf_offset[tree + 1]
    leaf_width = leaf_value.shape[1]
    if not rule.is_fitted[tree]:
        for number in range(begin, end):
            for column in range(leaf_width):
                leaf_value[number, column, :] = leaves.leaf_value[number, column]
        return
    for number in range(begin, end):
        local = number - first_leaf
        if rule.is_full:
            solve_leaf(
                leaf_gradient[local],
                leaf_hessian[local],
                rule.leaf_l2[number],
                l2_factor,
                leaf_value[number],
            )
            continue
        for column in range(leaf_width):
            for r in range(REMOVAL_BATCH):
                step, _ = newton_step(
                    leaf_gradient[local, column, r],
                    leaf_hessian[local, column, r],
                    rule.leaf_l2[number] * l2_factor[r],
                    *(rule.l1_leaf, rule.max_leaf_value, rule.min_hessian),
                )
                leaf_value[number, column, r] = step
    if rule.path_smooth > 0.0:
        _smooth_paths(
            *(tree, rows, leaves, shape, rule, removed_start, removed_row),
            leaf_gradient[begin - first_leaf : end - first_leaf],
            leaf_hessian[begin - first_leaf : end - first_leaf],
            leaf_value[begin:end],
        )
    is_last = step_number == rule.n_steps - 1
    for number in range(begin, end):
        for column in range(leaf_width):
            for r in range(REMOVAL_BATCH):
                value = rule.step_length[tree] * leaf_value[number, column, r]
                if is_last:
                    before = 0.0
                    for back in range(1, rule.n_steps):
                        earlier = leaves.leaf_offset[tree - back * n_trees]
                        before += leaf_value[earlier + number - begin, column, r]
                    value = rule.shrinkage[tree] * (before + value) - before
                leaf_value[number, column, r] = value


@kernel
def solve_leaf(gradient, lower, l2, l2_factor, value):
    """Solve for the values of all outputs of one leaf, by Cholesky, in all sets.

    Parameters
    ----------
    gradient : ndarray of float64, shape (n_outputs, REMOVAL_BATCH)
        Sums.
    lower : ndarray of float64, shape (n_outputs * (n_outputs + 1) / 2, REMOVAL_BATCH)
        Sums of the matrix, its lower half line by line.
    l2 : float64
        Penalty.
    l2_factor : ndarray of float64, shape (REMOVAL_BATCH,)
        Factor on it.
    value : ndarray of float64, shape (n_outputs, REMOVAL_BATCH)
        Output: values before shrinkage; 0 for a leaf without rows.
    """
    n_outputs = gradient.shape[0]
    factor = np.empty((n_outputs, n_outputs))
    for r in range(REMOVAL_BATCH):
        largest = 0.0
        for k in range(n_outputs):
            largest = max(largest, lower[k * (k + 1) // 2 + k, r])
        # CatBoost's lower bound on the ridge, in single precision
        ridge = max(l2 * l2_factor[r], 1.1920928955078125e-07 * largest)
        if largest + ridge <= 0.0:
            value[:, r] = 0.0
            continue
        for k in range(n_outputs):
            for m in range(k + 1):
                total = lower[k * (k + 1) // 2 + m, r]
                if k == m:
                    total += ridge
                for j in range(m):
                    total -= factor[k, j] * factor[m, j]
                factor[k, m] = np.sqrt(total) if k == m else total / factor[m, m]
        for k in range(n_outputs):
            total = -gradient[k, r]
            for j in range(k):
                total -= factor[k, j] * value[j, r]
            value[k, r] = total / factor[k, k]
        for k in range(n_outputs - 1, -1, -1):
            total = value[k, r]
            for j in range(k + 1, n_outputs):
                total -= factor[j, k] * value[j, r]
            value[k, r] = total / factor[k, k]


@kernel
def _smooth_paths(
    tree,
    rows,
    leaves,
    shape,
    rule,
    removed_start,
    removed_row,
    leaf_gradient,
    leaf_hessian,
    leaf_value,
):
    """Apply `smooth_tree` to every output of one tree, in all sets."""
    nodes = slice(shape.node_offset[tree], shape.node_offset[tree + 1])
    first, last = shape.leaf_offset[tree], shape.leaf_offset[tree + 1]
    tree_leaf = rows.leaf[leaves.leaf_row[tree]]
    count = np.empty(last - first)
    for r in range(REMOVAL_BATCH):
        for i in range(last - first):
            count[i] = rule.leaf_rows[first + i]
        for entry in range(removed_start[r], removed_start[r + 1]):
            row = removed_row[entry]
            if bag_factor(rows, tree, row) > 0.0:
                count[tree_leaf[row]] -= 1.0
        for column in range(leaf_value.shape[1]):
            smooth_tree(
                *(shape.left[nodes], shape.right[nodes], rule.leaf_l2[first:last]),
                *(rule.l1_leaf, rule.max_leaf_value, rule.path_smooth),
                *(leaf_gradient[:, column, r], leaf_hessian[:, column, r]),
                *(count, leaf_value[:, column, r]),
            )


@parallel_kernel
def score_rows(rows, leaves, base_score, leaf_value, raw_score):
    """Compute raw scores of rows under every refit.

    Parameters
    ----------
    rows, leaves
        See `treeinf.kernels.flat`; the leaf values of `leaves` are not read.
    base_score : ndarray of float64, shape (n_batches, n_outputs, REMOVAL_BATCH)
        Raw score before the first tree.
    leaf_value : ndarray of float64, shape (n_batches, n_leaves, leaf_width, \
REMOVAL_BATCH)
        Leaf values of each refit.
    raw_score : ndarray of float64, shape (n_batches * REMOVAL_BATCH, n_rows, n_outputs)
        Output, overwritten. Each thread owns a tile of rows in one batch.
    """
    n_rows = rows.leaf.shape[1]
    n_outputs = base_score.shape[1]
    n_tiles = (n_rows + TILE_ROWS - 1) // TILE_ROWS
    for task in prange(leaf_value.shape[0] * n_tiles):
        batch, tile = task // n_tiles, task % n_tiles
        begin = tile * TILE_ROWS
        n = min(TILE_ROWS, n_rows - begin)
        score = np.empty((n_outputs, TILE_ROWS * REMOVAL_BATCH))
        _start_scores(base_score[batch], rows.offset, begin, n, score)
        for tree in range(leaves.leaf_row.size):
            _add_tree(rows.leaf, leaves, tree, begin, n, leaf_value[batch], score)
        for r in range(REMOVAL_BATCH):
            number = batch * REMOVAL_BATCH + r
            for i in range(n):
                for k in range(n_outputs):
                    raw_score[number, begin + i, k] = score[k, i * REMOVAL_BATCH + r]


@parallel_kernel
def score_removed(rows, leaves, base_score, leaf_value, row, raw_score):
    """Compute the raw scores of one row under each refit.

    Parameters
    ----------
    rows, leaves, base_score, leaf_value
        See `score_rows`.
    row : ndarray of int64, shape (n_sets,)
        The row that is scored under each refit.
    raw_score : ndarray of float64, shape (n_sets, n_outputs)
        Output, overwritten.
    """
    leaf, offset = rows.leaf, rows.offset
    leaf_width = leaf_value.shape[2]
    for number in prange(row.size):
        batch, r = number // REMOVAL_BATCH, number % REMOVAL_BATCH
        for k in range(base_score.shape[1]):
            initial = offset[row[number], k] if offset.shape[0] > 0 else 0.0
            raw_score[number, k] = base_score[batch, k, r] + initial
        for tree in range(leaves.leaf_row.size):
            leaf_number = np.int64(leaf[leaves.leaf_row[tree], row[number]])
            leaf_number += leaves.leaf_offset[tree]
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                raw_score[number, k] += leaf_value[batch, leaf_number, column, r]
