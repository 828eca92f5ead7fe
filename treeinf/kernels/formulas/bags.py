"""The factors of a tile of rows in the bag of one tree.

Kernels in which speed matters ask `write_bag` once for a tile and tree, and multiply
only if it returns True; others let `apply_bag` multiply what a tree's sums are made of.
Trees that saw all rows cost one comparison.

The factor belongs on all sums over the rows of a leaf: of gradients and hessians, of
what is multiplied by their derivatives, and on what the row itself adds to its leaf.
Trees of one iteration may have different bags, so gradients that they share must stay
without factors. Kernels that handle one row at a time read `bag_factor`; all three are
compiled for devices too, with tiles of one row (``n = 1``).
"""

from __future__ import annotations

import numpy as np

from treeinf.kernels.compilation import kernel

__all__ = ["apply_bag", "bag_factor", "write_bag"]


@kernel
def write_bag(bags, tree, begin, n, factor):
    """Write the factors of a tile's rows in the bag of a tree.

    Parameters
    ----------
    bags, begin, n
        See `treeinf.kernels.flat`.
    tree : int64
        The tree.
    factor : ndarray of float64, shape (>= n,)
        Output, overwritten if the tree has a bag.

    Returns
    -------
    bool
        False where all factors are 1: then nothing is written.
    """
    if bags.tree_bag.size == 0 or bags.tree_bag[tree] < 0:
        return False
    number = bags.tree_bag[tree]
    if bags.bag_factor.size > 0:
        for i in range(n):
            factor[i] = bags.bag_factor[number, begin + i]
        return True
    i = 0
    while i < n:
        shift = (begin + i) & 63
        bits = bags.bag_bits[number, (begin + i) >> 6] >> np.uint64(shift)
        stop = min(n, i + 64 - shift)
        for k in range(stop - i):
            factor[i + k] = np.int32((bits >> np.uint64(k)) & np.uint64(1))
        i = stop
    return True


@kernel
def bag_factor(bags, tree, row):
    """Return the factor of one row in the bag of a tree.

    Parameters
    ----------
    bags
        See `treeinf.kernels.flat`.
    tree, row : int64
        The tree and the row.

    Returns
    -------
    float64
        1 where the tree saw all rows.
    """
    if bags.tree_bag.size == 0 or bags.tree_bag[tree] < 0:
        return 1.0
    number = bags.tree_bag[tree]
    if bags.bag_factor.size > 0:
        return np.float64(bags.bag_factor[number, row])
    bits = bags.bag_bits[number, row >> 6] >> np.uint64(row & 63)
    return np.float64(np.int32(bits & np.uint64(1)))


@kernel
def apply_bag(bags, tree, begin, n, values):
    """Multiply values of a tile by the factors of its rows in the bag of a tree.

    Parameters
    ----------
    bags, begin, n
        See `treeinf.kernels.flat`.
    tree : int64
        The tree.
    values : ndarray of float64, shape (n_lines, >= n)
        Changed in place.
    """
    if bags.tree_bag.size > 0 and bags.tree_bag[tree] >= 0:
        for i in range(n):
            factor = bag_factor(bags, tree, begin + i)
            for k in range(values.shape[0]):
                values[k, i] *= factor
