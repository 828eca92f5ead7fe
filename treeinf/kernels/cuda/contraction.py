"""Row factor times leaf factor, on CUDA; see ``kernels/cpu/contraction.py``."""

from __future__ import annotations

import functools

from numba import cuda, float64

from treeinf.kernels.cpu import contraction as cpu
from treeinf.kernels.cpu.contraction import BY_TARGET, CARRIED, FULL
from treeinf.kernels.cpu.derivatives import loss_derivatives
from treeinf.kernels.cpu.replay import add_tree, start_scores
from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device

__all__ = [
    "add_product",
    "contract_dense",
    "contract_rows",
    "contract_sparse",
    "merge_top",
    "stage_factors",
]


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
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter, \
leaf_factor, is_own, influence
        See the CPU's; arrays on the device.
    rule : FactorRule
        The row factors, of any kind; if `is_own`, of kind 0.
    """
    use = "own" if is_own else "summed"
    kernel = _walk_rows(
        int(loss_code), base_score.size, leaves.leaf_width, int(rule.kind), use
    )
    kernel[count_blocks(leaf.shape[1]), THREADS](
        leaf,
        leaves.device,
        base_score,
        offset,
        target,
        weight,
        loss_parameter,
        rule,
        0,
        leaf_factor,
        influence.reshape(influence.size, 1),
    )


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
    leaf, leaves, base_score, offset, target, weight, loss_code, loss_parameter, rule, \
first_row, factor
        See the CPU's; arrays on the device.
    """
    kernel = _walk_rows(
        int(loss_code), base_score.size, leaves.leaf_width, int(rule.kind), "staged"
    )
    kernel[count_blocks(factor.shape[0]), THREADS](
        leaf,
        leaves.device,
        base_score,
        offset,
        target,
        weight,
        loss_parameter,
        rule,
        first_row,
        rule.scale,
        factor,
    )


@functools.cache
def _walk_rows(loss_code, n_outputs, leaf_width, kind, use):
    differentiate = on_device(loss_derivatives, n_outputs)
    start = on_device(start_scores, n_outputs)
    add = on_device(add_tree, n_outputs)
    start_change = on_device(cpu._start_change, n_outputs)
    bend_derivatives = on_device(cpu._bend_derivatives, n_outputs)
    tree_factors = on_device(cpu._tree_factors, n_outputs)
    carry_change = on_device(cpu._carry_change, n_outputs)
    is_plain = (kind & (CARRIED | FULL | BY_TARGET)) == 0
    is_carried = (kind & CARRIED) != 0
    is_staged, is_own = use == "staged", use == "own"

    @cuda.jit
    def walk_rows(
        leaf,
        leaves,
        base_score,
        offset,
        target,
        weight,
        loss_parameter,
        rule,
        first_row,
        leaf_factor,
        result,
    ):
        score = cuda.local.array((n_outputs, 1), float64)
        gradient = cuda.local.array((n_outputs, 1), float64)
        hessian = cuda.local.array((n_outputs, 1), float64)
        slope = cuda.local.array((n_outputs, 1), float64)
        bend = cuda.local.array((n_outputs, 1), float64)
        change = cuda.local.array((3, n_outputs, 1), float64)
        factor = cuda.local.array((leaf_width, 1), float64)
        for line in range(cuda.grid(1), result.shape[0], cuda.gridsize(1)):
            row = first_row + line
            y = target[row : row + 1]
            total = 0.0
            start(base_score, offset, row, 1, score)
            start_change(rule, row, 1, change)
            for iteration in range(leaves.iteration_start.size - 1):
                if iteration == 0 or not leaves.is_averaged:
                    differentiate(
                        loss_code, loss_parameter, 1, y, score, gradient, hessian
                    )
                    if not is_plain:
                        bend_derivatives(
                            loss_code,
                            loss_parameter,
                            rule,
                            1,
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
                    tree_factors(
                        leaves,
                        tree,
                        tree_leaf,
                        weight,
                        rule,
                        row,
                        1,
                        gradient,
                        hessian,
                        change,
                        factor,
                    )
                    number = leaves.leaf_offset[tree] + tree_leaf[row]
                    for column in range(leaf_width):
                        if is_staged:
                            place = tree * leaf_width + column
                            result[line, place] = factor[column, 0]
                        elif is_own:
                            k = leaves.output[tree] if leaf_width == 1 else column
                            total += factor[column, 0] * gradient[k, 0]
                        else:
                            total += factor[column, 0] * leaf_factor[number, column]
                    add(
                        tree_leaf,
                        row,
                        1,
                        leaves.leaf_offset[tree],
                        leaves.output[tree],
                        leaves.leaf_value,
                        score,
                    )
                if is_carried:
                    carry_change(leaves, rule, iteration, 1, change)
            if not is_staged:
                result[line, 0] = total

    return walk_rows


def contract_dense(
    leaf, leaves, first_row, factor, tiles, n_targets, first_target, influence
):
    """Multiply row factors by a factor for every leaf and target.

    Parameters
    ----------
    leaf, leaves, first_row, factor, tiles, n_targets, first_target, influence
        See the CPU's; arrays on the device. With `factor` and `tiles` of float32,
        products are rounded to it, and added up in float64.
    """
    n_lines = influence.shape[0]
    if n_lines * n_targets:
        _contract_dense[count_blocks(n_lines * n_targets), THREADS](
            *(leaf, leaves.device, first_row, factor, tiles),
            *(n_targets, first_target, influence),
        )


@cuda.jit
def _contract_dense(
    leaf, leaves, first_row, factor, tiles, n_targets, first_target, influence
):
    leaf_width = leaves.leaf_value.shape[1]
    tile_width = tiles.shape[2]
    n_numbers = influence.shape[0] * n_targets
    for place in range(cuda.grid(1), n_numbers, cuda.gridsize(1)):
        line, t = place // n_targets, place % n_targets
        tile, t_own = t // tile_width, t % tile_width
        total = 0.0
        for tree in range(leaves.leaf_row.size):
            number = (
                leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
            )
            for column in range(leaf_width):
                total += (
                    factor[line, tree * leaf_width + column]
                    * tiles[tile, number * leaf_width + column, t_own]
                )
        influence[line, first_target + t] = total


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
    leaf, leaves, first_row, factor, group_start, group_target, group_factor, \
n_targets, first_target, influence
        See the CPU's; arrays on the device.

    Notes
    -----
    A block takes a line, and its threads the targets of each of the line's leaves.
    """
    if len(influence):
        _contract_sparse[len(influence), THREADS](
            leaf,
            leaves.device,
            first_row,
            factor,
            group_start,
            group_target,
            group_factor,
            n_targets,
            first_target,
            influence,
        )


@cuda.jit
def _contract_sparse(
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
    line, lane, n_lanes = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    leaf_width = leaves.leaf_value.shape[1]
    for t in range(lane, n_targets, n_lanes):
        influence[line, first_target + t] = 0.0
    cuda.syncthreads()
    for tree in range(leaves.leaf_row.size):
        number = (
            leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
        )
        for entry in range(
            group_start[number] + lane, group_start[number + 1], n_lanes
        ):
            place = first_target + group_target[entry]
            for column in range(leaf_width):
                influence[line, place] += (
                    factor[line, tree * leaf_width + column]
                    * group_factor[entry, column]
                )
        cuda.syncthreads()


def add_product(change, factor, first_target, influence):
    """Add a product of two matrices to columns of a block.

    Parameters
    ----------
    change : device array of float64, shape (n_lines, n_outputs)
        Numbers of the lines.
    factor : device array of float64, shape (n_outputs, n_targets)
        Numbers of the targets.
    first_target : int64
        Column of `influence` for target 0.
    influence : device array of float64, shape (n_lines, >= first_target + n_targets)
        Changed in place, in the targets' columns.
    """
    _add_product[count_blocks(change.shape[0] * factor.shape[1]), THREADS](
        change, factor, first_target, influence
    )


@cuda.jit
def _add_product(change, factor, first_target, influence):
    n_outputs, n_targets = factor.shape
    for place in range(cuda.grid(1), change.shape[0] * n_targets, cuda.gridsize(1)):
        line, t = place // n_targets, place % n_targets
        total = 0.0
        for k in range(n_outputs):
            total += change[line, k] * factor[k, t]
        influence[line, first_target + t] += total


def merge_top(influence, first_row, sign, best_row, best_value):
    """Merge a block of rows into each target's list of best rows.

    Parameters
    ----------
    influence, first_row, sign, best_row, best_value
        See the CPU's; arrays on the device.
    """
    _merge_top[count_blocks(influence.shape[1]), THREADS](
        influence, first_row, sign, best_row, best_value
    )


_merge_target = on_device(cpu._merge_target)


@cuda.jit
def _merge_top(influence, first_row, sign, best_row, best_value):
    for target in range(cuda.grid(1), influence.shape[1], cuda.gridsize(1)):
        _merge_target(influence, first_row, sign, target, best_row, best_value)
