"""Products with leaf features, on CUDA; see ``kernels/cpu/leaf_features.py``."""

from __future__ import annotations

from numba import cuda

from treeinf.kernels.cuda import leaf_sums, memory
from treeinf.kernels.cuda.compilation import THREADS, count_blocks

__all__ = ["add_shared_leaves", "gather_leaves", "sum_rows_by_leaf"]


def gather_leaves(leaf, leaf_offset, leaf_row, table, first_row, first_column, total):
    """Add up values of the leaves that each row is in.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, table, first_row, first_column, total
        See the CPU's; arrays on the device.
    """
    n = total.shape[0] * table.shape[1]
    if n:
        _gather_leaves[count_blocks(n), THREADS](
            leaf, leaf_offset, leaf_row, table, first_row, first_column, total
        )


@cuda.jit
def _gather_leaves(leaf, leaf_offset, leaf_row, table, first_row, first_column, total):
    n_columns = table.shape[1]
    for entry in range(cuda.grid(1), total.shape[0] * n_columns, cuda.gridsize(1)):
        line, column = entry // n_columns, entry % n_columns
        row, value = first_row + line, 0.0
        for tree in range(leaf_row.size):
            value += table[leaf_offset[tree] + leaf[leaf_row[tree], row], column]
        total[line, first_column + column] = value


def sum_rows_by_leaf(leaf, leaf_offset, leaf_row, value, total):
    """Add up values of the rows in each leaf.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, value, total
        See the CPU's; arrays on the device.
    """
    leaf_sums.sum_all_trees(
        leaf, leaf_offset, leaf_row, memory.all_rows(), value, total
    )


def add_shared_leaves(
    leaf,
    leaf_offset,
    leaf_row,
    group_start,
    group_query,
    square,
    first_row,
    first_query,
    n_queries,
    product,
):
    """Add up a value of each leaf that a row and a query share.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, group_start, group_query, square, first_row, \
first_query, n_queries, product
        See the CPU's; arrays on the device.

    Notes
    -----
    Each block computes a line; its threads share the queries of each leaf of the line.
    """
    if len(product):
        _add_shared_leaves[len(product), THREADS](
            leaf,
            leaf_offset,
            leaf_row,
            group_start,
            group_query,
            square,
            first_row,
            first_query,
            n_queries,
            product,
        )


@cuda.jit
def _add_shared_leaves(
    leaf,
    leaf_offset,
    leaf_row,
    group_start,
    group_query,
    square,
    first_row,
    first_query,
    n_queries,
    product,
):
    line, thread, n_threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    for t in range(thread, n_queries, n_threads):
        product[line, first_query + t] = 0.0
    cuda.syncthreads()
    for tree in range(leaf_row.size):
        number = leaf_offset[tree] + leaf[leaf_row[tree], first_row + line]
        for entry in range(
            group_start[number] + thread, group_start[number + 1], n_threads
        ):
            product[line, first_query + group_query[entry]] += square[number]
        cuda.syncthreads()
