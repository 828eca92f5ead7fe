"""Sums over the rows of each leaf, bitwise the same in every run.

Each thread adds up its rows in shared memory of its own; then the sums of the threads
of a block, and those of the blocks, are added in a fixed order: no atomics.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float64, int64

from treeinf.kernels.cuda import memory
from treeinf.kernels.cuda.compilation import SIMULATED, THREADS, on_device
from treeinf.kernels.flat import FlatBags
from treeinf.kernels.formulas.bags import bag_factor

__all__ = [
    "MOST_BATCHES",
    "add_batches",
    "count_batches",
    "sum_all_trees",
    "sum_columns",
    "sum_trees",
]

MOST_BATCHES = 2 if SIMULATED else 528
"""Most batches of rows that are summed separately: four blocks for each of 132 SMs."""

_BATCH_ROWS = 8 if SIMULATED else 4096
_SLOTS = 64 if SIMULATED else 6144
_WARP = 2 if SIMULATED else 32
_MOST_COLUMNS = 8
_MOST_BYTES = 256 * 2**20
_bag_factor = on_device(bag_factor)


def count_batches(n_rows: int, n_trees: int, n_entries: int) -> int:
    """Return the number of batches of rows that are summed separately.

    Parameters
    ----------
    n_rows, n_trees, n_entries : int
        Rows and trees that are summed, and number of sums.

    Returns
    -------
    int
        `MOST_BATCHES` blocks in all, as long as each has some thousand rows and their
        sums fit in 256 MiB. Depends on the arguments alone.
    """
    most = min(-(-n_rows // _BATCH_ROWS), -(-MOST_BATCHES // n_trees))
    return max(1, min(most, _MOST_BYTES // (8 * max(n_entries, 1))))


def sum_trees(
    leaf,
    leaf_offset,
    leaf_row,
    output,
    bags,
    trees,
    most_leaves,
    value,
    also,
    n_columns,
    first,
    batch_sum,
):
    """Add up values of the rows in each leaf of some trees, batch by batch.

    Parameters
    ----------
    leaf : device array of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    leaf_offset : device array of int64, shape (n_all_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : device array of int32, shape (n_all_trees,)
        Line of `leaf` that each tree reads.
    output : device array of int32, shape (n_all_trees,) or (0,)
        A tree adds up the columns from ``output * n_columns`` on; empty for 0.
    bags : FlatBags or FlatRows
        Values are multiplied by the factors of the rows in a tree's bag; on the device.
    trees : range
        The trees.
    most_leaves : int
        Leaves of the largest of them.
    value : device array of float64, shape (n_rows, n_all) or (0, n_all)
        Values of each row. Empty to count the rows of each bag.
    also : device array of float64, shape (n_rows, n_all) or (0, n_all)
        Added to them; empty for none.
    n_columns : int
        Columns that a tree adds up.
    first : int
        Entry of `batch_sum` for the first leaf of the first tree.
    batch_sum : device array of float64, shape (n_batches, n_entries)
        Output; ``n_leaves_of_trees * n_columns`` entries are overwritten. The batches
        are consecutive rows, of equal length but for the last.

    Notes
    -----
    A block holds as many leaves at once as its shared memory takes, for each of its
    threads: 48 for 128 threads, 192 for 32. More leaves take more passes.
    """
    for column in range(0, n_columns, _MOST_COLUMNS):
        width = min(_MOST_COLUMNS, n_columns - column)
        threads = THREADS
        while threads > _WARP and most_leaves * width * threads > _SLOTS:
            threads //= 2
        capacity = _SLOTS // (width * threads)
        for low in range(0, most_leaves, capacity):
            n_slots = min(most_leaves - low, capacity) * width
            _sum_trees[
                (batch_sum.shape[0], len(trees)), threads, 0, 8 * n_slots * threads
            ](
                *(leaf, leaf_offset, leaf_row, output, bags.bag_bits),
                *(bags.bag_factor, bags.tree_bag, trees.start, low, capacity),
                *(value, also, n_columns, column, width, first, batch_sum),
            )


@cuda.jit
def _sum_trees(
    leaf,
    leaf_offset,
    leaf_row,
    output,
    bag_bits,
    bag_weight,
    tree_bag,
    first_tree,
    low,
    capacity,
    value,
    also,
    n_columns,
    column,
    width,
    first,
    batch_sum,
):
    sums = cuda.shared.array(0, float64)
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    tree = first_tree + cuda.blockIdx.y
    line = leaf_row[tree]
    first_leaf = leaf_offset[tree]
    n_leaves = min(leaf_offset[tree + 1] - first_leaf - low, capacity)
    n_slots = n_leaves * width
    for slot in range(n_slots):
        sums[slot * n_threads + thread] = 0.0
    start = column
    if output.size > 0:
        start += output[tree] * n_columns
    is_bagged = tree_bag.size > 0 and tree_bag[tree] >= 0
    bags = FlatBags(bag_bits, bag_weight, tree_bag)
    n_rows = leaf.shape[1]
    batch_rows = (n_rows + batch_sum.shape[0] - 1) // batch_sum.shape[0]
    begin = cuda.blockIdx.x * batch_rows
    end = min(n_rows, begin + batch_rows)
    for row in range(begin + thread, end, n_threads):
        number = int64(leaf[line, row]) - low
        factor = 1.0
        if is_bagged:
            factor = _bag_factor(bags, tree, row)
        if factor != 0.0 and number >= 0 and number < n_leaves:
            for c in range(width):
                add = 1.0
                if value.shape[0] > 0:
                    add = factor * value[row, start + c]
                if also.shape[0] > 0:
                    add += factor * also[row, start + c]
                sums[(number * width + c) * n_threads + thread] += add
    cuda.syncthreads()
    entry = first + column
    entry += (first_leaf - leaf_offset[first_tree] + low) * n_columns
    for slot in range(thread, n_slots, n_threads):
        total = 0.0
        for i in range(n_threads):
            # threads start at different slots, which avoids bank conflicts
            total += sums[slot * n_threads + (i + thread) % n_threads]
        number, c = slot // width, slot % width
        batch_sum[cuda.blockIdx.x, entry + number * n_columns + c] = total


def sum_all_trees(leaf, leaf_offset, leaf_row, bags, value, total):
    """Add up values of the rows in each leaf of every tree.

    Parameters
    ----------
    leaf, leaf_offset, leaf_row, bags, value
        See `sum_trees`.
    total : device array of float64, shape (n_leaves, n_columns)
        Output, overwritten.
    """
    n_trees = leaf_row.size
    most_leaves = int(np.diff(memory.get(leaf_offset)).max())
    n_batches = count_batches(leaf.shape[1], n_trees, total.size)
    batch_sum = memory.empty((n_batches, total.size))
    sum_trees(
        *(leaf, leaf_offset, leaf_row, memory.nothing(0, np.int32), bags),
        *(range(n_trees), most_leaves, value, memory.nothing(total.shape[1])),
        *(total.shape[1], 0, batch_sum),
    )
    memory.fill(total, 0.0)
    add_batches(batch_sum, 0, memory.nothing(0), total.reshape(total.size))


def sum_columns(value):
    """Add up the rows of an array.

    Parameters
    ----------
    value : device array of float64, shape (n_rows, n_columns)
        Values of each row.

    Returns
    -------
    ndarray of float64, shape (n_columns,)
    """
    leaf = memory.empty((1, value.shape[0]), np.uint8)
    memory.fill(leaf, 0)
    total = memory.empty((1, value.shape[1]))
    leaf_offset, leaf_row = np.array([0, 1]), np.zeros(1, np.int32)
    sum_all_trees(
        *(leaf, cuda.to_device(leaf_offset), cuda.to_device(leaf_row)),
        *(memory.all_rows(), value, total),
    )
    return memory.get(total)[0]


def add_batches(batch_sum, first, scale, total):
    """Add up the results of `sum_trees`, in the order of the batches, and scale them.

    Parameters
    ----------
    batch_sum : device array of float64, shape (n_batches, n_entries)
        Sums of each batch; there may be none.
    first : int
        Entry of `total` for the first entry of `batch_sum`.
    scale : device array of float64, shape (>= first + n_entries,) or (0,)
        Factor on each entry of the result; empty for 1.
    total : device array of float64, shape (>= first + n_entries,)
        Added to in place, then scaled.
    """
    if batch_sum.shape[1]:
        _add_batches[batch_sum.shape[1], THREADS, 0, 8 * THREADS](
            batch_sum, first, scale, total
        )


@cuda.jit
def _add_batches(batch_sum, first, scale, total):
    sums = cuda.shared.array(0, float64)
    thread, n_threads, entry = cuda.threadIdx.x, cuda.blockDim.x, cuda.blockIdx.x
    value = 0.0
    for batch in range(thread, batch_sum.shape[0], n_threads):
        value += batch_sum[batch, entry]
    sums[thread] = value
    cuda.syncthreads()
    half = n_threads // 2
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    if thread == 0:
        value = total[first + entry] + sums[0]
        if scale.size > 0:
            value *= scale[first + entry]
        total[first + entry] = value
