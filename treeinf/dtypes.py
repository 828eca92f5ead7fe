"""Dtypes of all arrays, with fixed width on every platform."""

import numpy as np

__all__ = [
    "BITS",
    "COUNT",
    "FLAG",
    "LEAF_IDS",
    "NODE",
    "OFFSET",
    "REAL",
    "leaf_id_dtype",
]

REAL = np.float64
"""Scores, derivatives, leaf values, thresholds, influence."""
OFFSET = np.int64
"""Positions in concatenated arrays and counts of rows."""
NODE = np.int32
"""Node, leaf, feature, iteration and output numbers."""
COUNT = np.int64
"""Numbers of rows."""
BITS = np.uint32
"""Words of a category set."""
FLAG = np.bool_
"""Yes or no, one byte."""

LEAF_IDS = (np.uint8, np.uint16, np.uint32)
"""Types of a leaf id within its tree; the smallest that fits is used."""


def leaf_id_dtype(n_leaves: int) -> type[np.unsignedinteger]:
    """Return the smallest unsigned type that numbers `n_leaves` leaves of one tree.

    Parameters
    ----------
    n_leaves : int
        Leaves of the largest tree, at least 1.

    Returns
    -------
    type
        ``numpy.uint8``, ``numpy.uint16`` or ``numpy.uint32``.
    """
    for dtype in LEAF_IDS:
        if n_leaves - 1 <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(f"A tree has {n_leaves} leaves; at most {2**32} can be numbered.")
