"""Row factor times leaf factor, on CUDA; see ``kernels/cpu/contraction.py``."""

from __future__ import annotations

import functools

from numba import cuda, float64

from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas import row_factors
from treeinf.kernels.formulas.derivatives import loss_derivatives
from treeinf.kernels.formulas.row_factors import BY_TARGET, FULL_NEWTON, PROPAGATED
from treeinf.kernels.formulas.scores import add_tree, start_scores

__all__ = ["contract_rows", "stage_factors"]


def contract_rows(rows, leaves, loss, rule, leaf_factor, is_own, influence):
    """Multiply each row's factors by those of its leaves, and sum over trees.

    Parameters
    ----------
    rows, leaves, loss, leaf_factor, is_own, influence
        See the CPU's; arrays on the device.
    rule : FactorRule
        The row factors, of any kind; if `is_own`, of kind 0.
    """
    use = "own" if is_own else "summed"
    kernel = _walk_rows(
        int(loss.code), leaves.n_outputs, leaves.leaf_width, int(rule.kind), use
    )
    kernel[count_blocks(rows.leaf.shape[1]), THREADS](
        *(rows, leaves.device, float(loss.parameter), rule, 0, leaf_factor),
        influence.reshape(influence.size, 1),
    )


def stage_factors(rows, leaves, loss, rule, first_row, factor):
    """Write the row factors of a batch of rows in all trees.

    Parameters
    ----------
    rows, leaves, loss, rule, first_row, factor
        See the CPU's; arrays on the device.
    """
    kernel = _walk_rows(
        int(loss.code), leaves.n_outputs, leaves.leaf_width, int(rule.kind), "staged"
    )
    kernel[count_blocks(factor.shape[0]), THREADS](
        *(rows, leaves.device, float(loss.parameter), rule, first_row, rule.scale),
        factor,
    )


@functools.cache
def _walk_rows(loss_code, n_outputs, leaf_width, kind, use):
    differentiate = on_device(loss_derivatives, n_outputs)
    start = on_device(start_scores, n_outputs)
    add = on_device(add_tree, n_outputs)
    seed_change = on_device(row_factors.seed_score_change, n_outputs)
    adjust = on_device(row_factors.adjust_derivatives, n_outputs)
    tree_factors = on_device(row_factors.tree_factors, n_outputs)
    propagate = on_device(row_factors.propagate_score_change, n_outputs)
    adjusts = (kind & (PROPAGATED | FULL_NEWTON | BY_TARGET)) != 0
    is_propagated = (kind & PROPAGATED) != 0
    is_staged, is_own = use == "staged", use == "own"

    @cuda.jit
    def walk_rows(rows, leaves, loss_parameter, rule, first_row, leaf_factor, result):
        loss = FlatLoss(loss_code, loss_parameter)
        score = cuda.local.array((n_outputs, 1), float64)
        gradient = cuda.local.array((n_outputs, 1), float64)
        hessian = cuda.local.array((n_outputs, 1), float64)
        slope = cuda.local.array((n_outputs, 1), float64)
        third = cuda.local.array((n_outputs, 1), float64)
        change = cuda.local.array((3, n_outputs, 1), float64)
        factor = cuda.local.array((leaf_width, 1), float64)
        for line in range(cuda.grid(1), result.shape[0], cuda.gridsize(1)):
            row = first_row + line
            y = rows.y[row : row + 1]
            total = 0.0
            start(leaves.base_score, rows.offset, row, 1, score)
            seed_change(rule, row, 1, change)
            for iteration in range(leaves.iteration_start.size - 1):
                if iteration == 0 or not leaves.is_averaged:
                    differentiate(loss, 1, y, score, gradient, hessian)
                    if adjusts:
                        adjust(
                            *(loss, rule, 1, y, score, change),
                            *(gradient, hessian, slope, third),
                        )
                for tree in range(
                    leaves.iteration_start[iteration],
                    leaves.iteration_start[iteration + 1],
                ):
                    tree_leaf = rows.leaf[leaves.leaf_row[tree]]
                    tree_factors(
                        *(leaves, tree, tree_leaf, rows, rule, row, 1),
                        *(gradient, hessian, change, factor),
                    )
                    number = leaves.leaf_offset[tree] + tree_leaf[row]
                    for column in range(leaf_width):
                        if is_staged:
                            result[line, tree * leaf_width + column] = factor[column, 0]
                        elif is_own:
                            k = leaves.output[tree] if leaf_width == 1 else column
                            total += factor[column, 0] * gradient[k, 0]
                        else:
                            total += factor[column, 0] * leaf_factor[number, column]
                    add(rows.leaf, leaves, tree, row, 1, score)
                if is_propagated:
                    propagate(leaves, rule, iteration, 1, change)
            if not is_staged:
                result[line, 0] = total

    return walk_rows
