"""Route rows to leaves, on CUDA; see ``kernels/cpu/routing.py``."""

from __future__ import annotations

import math

from numba import cuda

from treeinf.kernels.cuda.compilation import THREADS, count_blocks, on_device
from treeinf.kernels.rules import in_category_set, read_value

__all__ = ["route_walk"]

_read_value = on_device(read_value)
_in_set = on_device(in_category_set)


def route_walk(X, trees, leaf):
    """Walk each row from the root of each tree to its leaf.

    Parameters
    ----------
    X, trees, leaf
        See the CPU's; arrays on the device.

    Notes
    -----
    A thread routes a row through all trees, so that the row's values stay cached; the
    leaves of neighbouring rows are written side by side.
    """
    _route_walk[count_blocks(X.shape[0]), THREADS](X, trees, leaf)


@cuda.jit
def _route_walk(X, trees, leaf):
    for row in range(cuda.grid(1), X.shape[0], cuda.gridsize(1)):
        for tree in range(trees.node_offset.size - 1):
            first = trees.node_offset[tree]
            child = -1
            if trees.node_offset[tree + 1] > first:
                child = 0
            while child >= 0:
                node = first + child
                value = _read_value(
                    X[row, trees.feature[node]],
                    trees.zero_threshold,
                    trees.round_to_single,
                )
                if math.isnan(value):
                    goes_left = trees.nan_left[node]
                elif trees.is_categorical[node]:
                    goes_left = _in_set(
                        value,
                        trees.category_floor,
                        trees.category_bits,
                        trees.category_offset[node],
                        trees.category_offset[node + 1],
                    )
                elif value == 0.0:
                    goes_left = trees.zero_left[node]
                else:
                    goes_left = value <= trees.threshold[node]
                if goes_left:
                    child = trees.left[node]
                else:
                    child = trees.right[node]
            leaf[tree, row] = ~child
