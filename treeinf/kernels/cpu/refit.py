"""Leaf values fitted again without some train rows, the trees' structure fixed.

Several sets of rows are left out side by side, each in a *lane* of its own: a row has
one leaf in all of them, so that every gather, sum and scatter moves `LANES`
neighbouring numbers at once. Arrays with lanes have them last; sets are numbered part
by part.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel
from treeinf.kernels.cpu.derivatives import SOFTMAX, loss_derivatives
from treeinf.kernels.flat import FlatLoss

__all__ = [
    "LANES",
    "RefitRule",
    "TreeShape",
    "refit_boosting",
    "score_own",
    "score_rows",
]

SOFTMAX_LOSS = FlatLoss(SOFTMAX, 1.0)

LANES = 8
"""Sets of rows that are left out side by side."""

ROW_BLOCK = 64
"""Rows handled together, in all lanes: their derivatives stay in the first cache."""

RefitRule = namedtuple(
    "RefitRule",
    "l1_leaf max_leaf_value path_smooth lightest is_full n_steps "
    "leaf_l2 shrinkage step_length is_fitted leaf_rows",
)
RefitRule.__doc__ = """How sums of derivatives become leaf values.

Parameters
----------
l1_leaf, max_leaf_value, path_smooth : float64
    See `LeafRule`.
lightest : float64
    A leaf whose hessians sum to less has the value 0.
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
    Train rows in each leaf; read under path smoothing alone.
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
    rows : FlatRows
        Train rows.
    leaves : FlatLeaves
        The ensemble's leaves; values of trees that are not fitted are read.
    loss : FlatLoss
        The loss.
    shape : TreeShape
        Read under path smoothing alone.
    rule : RefitRule
        How sums become leaf values.
    base_score : ndarray of float64, shape (n_parts, n_outputs, LANES)
        Raw score before the first tree, for each set.
    l2_factor : ndarray of float64, shape (n_parts, LANES)
        Factor on the l2 penalties, for each set.
    removed_start : ndarray of int64, shape (n_parts * LANES + 1,)
        Where each set begins in `removed_row`.
    removed_row : ndarray of int64, shape (n_removed,)
        Rows of each set, rising.
    leaf_value : ndarray of float64, shape (n_parts, n_leaves, leaf_width, LANES)
        Output, overwritten: leaf values, shrinkage included.

    Notes
    -----
    O(n_rows n_trees) time a set; ``LANES * n_rows * n_outputs`` numbers of memory a
    thread. Scores are replayed under the new values, never the stored ones.
    """
    for part in prange(leaf_value.shape[0]):
        _refit_lanes(
            rows,
            leaves,
            loss,
            shape,
            rule,
            base_score[part],
            l2_factor[part],
            removed_start[part * LANES : (part + 1) * LANES + 1],
            removed_row,
            leaf_value[part],
        )


@kernel
def _refit_lanes(
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
    """Fit all leaf values again in every lane of one part; see `refit_boosting`."""
    leaf, weight, offset = rows.leaf, rows.weight, rows.offset
    n_rows = leaf.shape[1]
    n_outputs = base_score.shape[0]
    leaf_width = leaf_value.shape[1]
    n_blocks = (n_rows + ROW_BLOCK - 1) // ROW_BLOCK
    starts = leaves.iteration_start
    most = 0
    for iteration in range(starts.size - 1):
        first = leaves.leaf_offset[starts[iteration]]
        most = max(most, leaves.leaf_offset[starts[iteration + 1]] - first)
    n_sums = leaf_width * (leaf_width + 1) // 2 if rule.is_full else leaf_width
    leaf_gradient = np.empty((most, leaf_width, LANES))
    leaf_hessian = np.empty((most, n_sums, LANES))
    score = np.empty((n_blocks, n_outputs, ROW_BLOCK * LANES))
    gradient = np.empty((n_outputs, ROW_BLOCK * LANES))
    hessian = np.empty((n_sums if rule.is_full else n_outputs, ROW_BLOCK * LANES))
    y = np.empty(ROW_BLOCK * LANES)
    place = np.empty(LANES, np.int64)
    for block in range(n_blocks):
        for i in range(min(ROW_BLOCK, n_rows - block * ROW_BLOCK)):
            for k in range(n_outputs):
                own = offset[block * ROW_BLOCK + i, k] if offset.shape[0] > 0 else 0.0
                for r in range(LANES):
                    score[block, k, i * LANES + r] = base_score[k, r] + own
    for iteration in range(starts.size - 1):
        begin_tree, end_tree = starts[iteration], starts[iteration + 1]
        first_leaf = leaves.leaf_offset[begin_tree]
        leaf_gradient[: leaves.leaf_offset[end_tree] - first_leaf] = 0.0
        leaf_hessian[: leaves.leaf_offset[end_tree] - first_leaf] = 0.0
        for r in range(LANES):
            place[r] = removed_start[r]
        for block in range(n_blocks):
            begin = block * ROW_BLOCK
            n = min(ROW_BLOCK, n_rows - begin)
            if iteration > 0:
                for tree in range(starts[iteration - 1], begin_tree):
                    _add_values(
                        leaf[leaves.leaf_row[tree]],
                        begin,
                        n,
                        leaves.leaf_offset[tree],
                        leaves.output[tree],
                        leaf_value,
                        score[block],
                    )
            for i in range(n):
                for r in range(LANES):
                    y[i * LANES + r] = rows.y[begin + i]
            if rule.is_full:
                _softmax_matrix(n * LANES, y, score[block], gradient, hessian)
            else:
                loss_derivatives(loss, n * LANES, y, score[block], gradient, hessian)
            if weight.size > 0:
                _multiply(weight, begin, n, gradient)
                _multiply(weight, begin, n, hessian)
            for r in range(LANES):
                while (
                    place[r] < removed_start[r + 1]
                    and removed_row[place[r]] < begin + n
                ):
                    i = removed_row[place[r]] - begin
                    gradient[:, i * LANES + r] = 0.0
                    hessian[:, i * LANES + r] = 0.0
                    place[r] += 1
            for tree in range(begin_tree, end_tree):
                local = leaves.leaf_offset[tree] - first_leaf
                tree_leaf = leaf[leaves.leaf_row[tree]]
                output = leaves.output[tree] if leaf_width == 1 else 0
                _add_sums(tree_leaf, begin, n, local, output, gradient, leaf_gradient)
                _add_sums(tree_leaf, begin, n, local, output, hessian, leaf_hessian)
        for tree in range(begin_tree, end_tree):
            _set_values(
                tree,
                iteration % rule.n_steps,
                end_tree - begin_tree,
                first_leaf,
                leaf[leaves.leaf_row[tree]],
                leaves,
                shape,
                rule,
                l2_factor,
                removed_start,
                removed_row,
                leaf_gradient,
                leaf_hessian,
                leaf_value,
            )


@kernel
def _add_values(tree_leaf, begin, n, first, output, leaf_value, score):
    """Add one tree's values to the scores of a block of rows, in all lanes."""
    for column in range(leaf_value.shape[1]):
        k = output if leaf_value.shape[1] == 1 else column
        for i in range(n):
            number = first + tree_leaf[begin + i]
            for r in range(LANES):
                score[k, i * LANES + r] += leaf_value[number, column, r]


@kernel
def _add_sums(tree_leaf, begin, n, first, output, values, total):
    """Add a block's numbers, from line `output` on, to its rows' leaves."""
    for column in range(total.shape[1]):
        line = values[output + column]
        for i in range(n):
            own = total[first + tree_leaf[begin + i], column]
            for r in range(LANES):
                own[r] += line[i * LANES + r]


@kernel
def _multiply(weight, begin, n, values):
    """Multiply a block's numbers with its rows' weights, in all lanes."""
    for k in range(values.shape[0]):
        for i in range(n):
            for r in range(LANES):
                values[k, i * LANES + r] *= weight[begin + i]


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
            own = 1.0 if k == m else 0.0
            for i in range(n):
                matrix[line, i] = gradient[k, i] * (own - gradient[m, i])
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
    tree_leaf,
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
    """Turn the sums of one tree into its leaf values, in all lanes."""
    begin, end = leaves.leaf_offset[tree], leaves.leaf_offset[tree + 1]
    leaf_width = leaf_value.shape[1]
    if not rule.is_fitted[tree]:
        for number in range(begin, end):
            for column in range(leaf_width):
                leaf_value[number, column, :] = leaves.leaf_value[number, column]
        return
    for number in range(begin, end):
        own = number - first_leaf
        if rule.is_full:
            _solve_leaf(
                leaf_gradient[own],
                leaf_hessian[own],
                rule.leaf_l2[number],
                l2_factor,
                leaf_value[number],
            )
            continue
        for column in range(leaf_width):
            for r in range(LANES):
                leaf_value[number, column, r] = _newton_step(
                    leaf_gradient[own, column, r],
                    leaf_hessian[own, column, r],
                    rule.leaf_l2[number] * l2_factor[r],
                    rule.lightest,
                    rule,
                )
    if rule.path_smooth > 0.0:
        _smooth_paths(
            tree,
            tree_leaf,
            shape,
            rule,
            removed_start,
            removed_row,
            leaf_gradient[begin - first_leaf : end - first_leaf],
            leaf_hessian[begin - first_leaf : end - first_leaf],
            leaf_value[begin:end],
        )
    is_last = step_number == rule.n_steps - 1
    for number in range(begin, end):
        for column in range(leaf_width):
            for r in range(LANES):
                value = rule.step_length[tree] * leaf_value[number, column, r]
                if is_last:
                    before = 0.0
                    for back in range(1, rule.n_steps):
                        earlier = leaves.leaf_offset[tree - back * n_trees]
                        before += leaf_value[earlier + number - begin, column, r]
                    value = rule.shrinkage[tree] * (before + value) - before
                leaf_value[number, column, r] = value


@kernel
def _newton_step(gradient, hessian, l2, lightest, rule):
    """Compute one leaf value before shrinkage; 0 where there is nothing to divide by.

    Parameters
    ----------
    gradient, hessian : float64
        Sums over the leaf's rows.
    l2 : float64
        Penalty.
    lightest : float64
        Less hessian than this gives 0.
    rule : RefitRule
        The l1 penalty and the bound.

    Returns
    -------
    float64
    """
    denominator = hessian + l2
    if not denominator > 0.0 or hessian < lightest:
        return 0.0
    if rule.l1_leaf > 0.0:
        size = abs(gradient) - rule.l1_leaf
        if size <= 0.0:
            return 0.0
        gradient = size if gradient > 0.0 else -size
    step = -gradient / denominator
    if rule.max_leaf_value > 0.0:
        step = min(max(step, -rule.max_leaf_value), rule.max_leaf_value)
    return step


@kernel
def _solve_leaf(gradient, lower, l2, l2_factor, value):
    """Solve for the values of all outputs of one leaf, by Cholesky, in all lanes.

    Parameters
    ----------
    gradient : ndarray of float64, shape (n_outputs, LANES)
        Sums.
    lower : ndarray of float64, shape (n_outputs * (n_outputs + 1) / 2, LANES)
        Sums of the matrix, its lower half line by line.
    l2 : float64
        Penalty.
    l2_factor : ndarray of float64, shape (LANES,)
        Factor on it.
    value : ndarray of float64, shape (n_outputs, LANES)
        Output: values before shrinkage; 0 for a leaf without rows.
    """
    n_outputs = gradient.shape[0]
    factor = np.empty((n_outputs, n_outputs))
    for r in range(LANES):
        largest = 0.0
        for k in range(n_outputs):
            largest = max(largest, lower[k * (k + 1) // 2 + k, r])
        # CatBoost's own guard, in single precision
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
    tree_leaf,
    shape,
    rule,
    removed_start,
    removed_row,
    leaf_gradient,
    leaf_hessian,
    leaf_value,
):
    """Pull each value of one tree towards its parent's, from the root to the leaves.

    The same as ``trace.leaf_rule``: a node of n rows keeps n / (n + path_smooth) of its
    own value; the l2 of an inner node is the smallest of the tree's leaves.
    """
    first_node, first_leaf = shape.node_offset[tree], shape.leaf_offset[tree]
    n_nodes = shape.node_offset[tree + 1] - first_node
    n_leaves = shape.leaf_offset[tree + 1] - first_leaf
    if n_nodes == 0:
        return
    l2 = rule.leaf_l2[first_leaf]
    for i in range(1, n_leaves):
        l2 = min(l2, rule.leaf_l2[first_leaf + i])
    order = np.empty(n_nodes, np.int64)
    order[0] = 0
    n_found = 1
    for i in range(n_nodes):
        for child in (
            shape.left[first_node + order[i]],
            shape.right[first_node + order[i]],
        ):
            if child >= 0:
                order[n_found] = child
                n_found += 1
    count = np.empty(n_leaves)
    node_sum = np.empty((n_nodes, 3))
    node_value = np.empty(n_nodes)
    for column in range(leaf_value.shape[1]):
        for r in range(LANES):
            for i in range(n_leaves):
                count[i] = rule.leaf_rows[first_leaf + i]
            for place in range(removed_start[r], removed_start[r + 1]):
                count[tree_leaf[removed_row[place]]] -= 1.0
            node_sum[:] = 0.0
            for i in range(n_nodes - 1, -1, -1):
                node = order[i]
                for child in (
                    shape.left[first_node + node],
                    shape.right[first_node + node],
                ):
                    if child >= 0:
                        node_sum[node] += node_sum[child]
                    else:
                        node_sum[node, 0] += leaf_gradient[~child, column, r]
                        node_sum[node, 1] += leaf_hessian[~child, column, r]
                        node_sum[node, 2] += count[~child]
            for i in range(n_nodes):
                node = order[i]
                share = node_sum[node, 2] / (node_sum[node, 2] + rule.path_smooth)
                own = _newton_step(node_sum[node, 0], node_sum[node, 1], l2, 0.0, rule)
                parent = shape.node_parent[first_node + node]
                node_value[node] = share * own
                if parent >= 0:
                    node_value[node] += (1.0 - share) * node_value[parent]
            for i in range(n_leaves):
                share = count[i] / (count[i] + rule.path_smooth)
                above = node_value[shape.leaf_parent[first_leaf + i]]
                leaf_value[i, column, r] = (
                    share * leaf_value[i, column, r] + (1.0 - share) * above
                )


@parallel_kernel
def score_rows(rows, leaves, base_score, leaf_value, raw_score):
    """Compute raw scores of rows under every refit.

    Parameters
    ----------
    rows : FlatRows
        The rows.
    leaves : FlatLeaves
        The ensemble's leaves; their values are not read.
    base_score : ndarray of float64, shape (n_parts, n_outputs, LANES)
        Raw score before the first tree.
    leaf_value : ndarray of float64, shape (n_parts, n_leaves, leaf_width, LANES)
        Leaf values of each refit.
    raw_score : ndarray of float64, shape (n_parts * LANES, n_rows, n_outputs)
        Output, overwritten. Each thread owns a block of rows in one part.
    """
    leaf, offset = rows.leaf, rows.offset
    n_rows = leaf.shape[1]
    n_outputs = base_score.shape[1]
    n_blocks = (n_rows + ROW_BLOCK - 1) // ROW_BLOCK
    for task in prange(leaf_value.shape[0] * n_blocks):
        part, block = task // n_blocks, task % n_blocks
        begin = block * ROW_BLOCK
        n = min(ROW_BLOCK, n_rows - begin)
        score = np.empty((n_outputs, ROW_BLOCK * LANES))
        for i in range(n):
            for k in range(n_outputs):
                own = offset[begin + i, k] if offset.shape[0] > 0 else 0.0
                for r in range(LANES):
                    score[k, i * LANES + r] = base_score[part, k, r] + own
        for tree in range(leaves.leaf_row.size):
            _add_values(
                leaf[leaves.leaf_row[tree]],
                begin,
                n,
                leaves.leaf_offset[tree],
                leaves.output[tree],
                leaf_value[part],
                score,
            )
        for r in range(LANES):
            for i in range(n):
                for k in range(n_outputs):
                    raw_score[part * LANES + r, begin + i, k] = score[k, i * LANES + r]


@parallel_kernel
def score_own(rows, leaves, base_score, leaf_value, row, raw_score):
    """Compute the raw scores of one row under each refit.

    Parameters
    ----------
    rows, leaves, base_score, leaf_value
        See `score_rows`.
    row : ndarray of int64, shape (n_sets,)
        The row whose scores are wanted under each refit.
    raw_score : ndarray of float64, shape (n_sets, n_outputs)
        Output, overwritten.
    """
    leaf, offset = rows.leaf, rows.offset
    leaf_width = leaf_value.shape[2]
    for number in prange(row.size):
        part, r = number // LANES, number % LANES
        for k in range(base_score.shape[1]):
            own = offset[row[number], k] if offset.shape[0] > 0 else 0.0
            raw_score[number, k] = base_score[part, k, r] + own
        for tree in range(leaves.leaf_row.size):
            place = leaf[leaves.leaf_row[tree], row[number]]
            place = leaves.leaf_offset[tree] + np.int64(place)
            for column in range(leaf_width):
                k = leaves.output[tree] if leaf_width == 1 else column
                raw_score[number, k] += leaf_value[part, place, column, r]
