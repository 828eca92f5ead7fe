"""Row factors times leaf factors, on CUDA; see ``kernels/cpu/products.py``."""

from __future__ import annotations

from numba import cuda

from treeinf.kernels.cpu import products as cpu
from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device

__all__ = [
    "add_product",
    "contract_dense",
    "contract_sparse",
    "merge_top",
]


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
