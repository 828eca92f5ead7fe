"""Row factors times leaf factors, on CUDA; see ``kernels/cpu/products.py``."""

from __future__ import annotations

from numba import cuda

from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.rules import merge_query

__all__ = [
    "add_product",
    "contract_dense",
    "contract_sparse",
    "merge_top",
]


def contract_dense(
    leaf, leaves, first_row, factor, tiles, n_queries, first_query, influence
):
    """Multiply row factors by a factor for every leaf and query.

    Parameters
    ----------
    leaf, leaves, first_row, factor, tiles, n_queries, first_query, influence
        See the CPU's; arrays on the device. With `factor` and `tiles` of float32,
        products are rounded to it, and added up in float64.
    """
    n_lines = influence.shape[0]
    if n_lines * n_queries:
        _contract_dense[count_blocks(n_lines * n_queries), THREADS](
            *(leaf, leaves.device, first_row, factor, tiles),
            *(n_queries, first_query, influence),
        )


@cuda.jit
def _contract_dense(
    leaf, leaves, first_row, factor, tiles, n_queries, first_query, influence
):
    leaf_width = leaves.leaf_value.shape[1]
    tile_width = tiles.shape[2]
    n_numbers = influence.shape[0] * n_queries
    for entry in range(cuda.grid(1), n_numbers, cuda.gridsize(1)):
        line, t = entry // n_queries, entry % n_queries
        tile, t_of_tile = t // tile_width, t % tile_width
        total = 0.0
        for tree in range(leaves.leaf_row.size):
            number = (
                leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
            )
            for column in range(leaf_width):
                total += (
                    factor[line, tree * leaf_width + column]
                    * tiles[tile, number * leaf_width + column, t_of_tile]
                )
        influence[line, first_query + t] = total


def contract_sparse(
    leaf,
    leaves,
    first_row,
    factor,
    group_start,
    group_query,
    group_factor,
    n_queries,
    first_query,
    influence,
):
    """Multiply row factors by the factors of the queries that share a leaf.

    Parameters
    ----------
    leaf, leaves, first_row, factor, group_start, group_query, group_factor, \
n_queries, first_query, influence
        See the CPU's; arrays on the device.

    Notes
    -----
    Each block computes a line; its threads share the queries of each leaf of the line.
    """
    if len(influence):
        _contract_sparse[len(influence), THREADS](
            leaf,
            leaves.device,
            first_row,
            factor,
            group_start,
            group_query,
            group_factor,
            n_queries,
            first_query,
            influence,
        )


@cuda.jit
def _contract_sparse(
    leaf,
    leaves,
    first_row,
    factor,
    group_start,
    group_query,
    group_factor,
    n_queries,
    first_query,
    influence,
):
    line, thread, n_threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    leaf_width = leaves.leaf_value.shape[1]
    for t in range(thread, n_queries, n_threads):
        influence[line, first_query + t] = 0.0
    cuda.syncthreads()
    for tree in range(leaves.leaf_row.size):
        number = (
            leaves.leaf_offset[tree] + leaf[leaves.leaf_row[tree], first_row + line]
        )
        for entry in range(
            group_start[number] + thread, group_start[number + 1], n_threads
        ):
            query = first_query + group_query[entry]
            for column in range(leaf_width):
                influence[line, query] += (
                    factor[line, tree * leaf_width + column]
                    * group_factor[entry, column]
                )
        cuda.syncthreads()


def add_product(change, factor, first_query, influence):
    """Add a product of two matrices to columns of an influence matrix.

    Parameters
    ----------
    change, factor, first_query, influence
        See the CPU's; arrays on the device.
    """
    _add_product[count_blocks(change.shape[0] * factor.shape[1]), THREADS](
        change, factor, first_query, influence
    )


@cuda.jit
def _add_product(change, factor, first_query, influence):
    n_outputs, n_queries = factor.shape
    for entry in range(cuda.grid(1), change.shape[0] * n_queries, cuda.gridsize(1)):
        line, t = entry // n_queries, entry % n_queries
        total = 0.0
        for k in range(n_outputs):
            total += change[line, k] * factor[k, t]
        influence[line, first_query + t] += total


def merge_top(influence, first_row, sign, best_row, best_value):
    """Merge a batch of rows into each query's list of top rows.

    Parameters
    ----------
    influence, first_row, sign, best_row, best_value
        See the CPU's; arrays on the device.
    """
    _merge_top[count_blocks(influence.shape[1]), THREADS](
        influence, first_row, sign, best_row, best_value
    )


_merge_query = on_device(merge_query)


@cuda.jit
def _merge_top(influence, first_row, sign, best_row, best_value):
    for query in range(cuda.grid(1), influence.shape[1], cuda.gridsize(1)):
        _merge_query(influence, first_row, sign, query, best_row, best_value)
