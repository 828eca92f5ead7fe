"""Pack the category sets of splits into the bits of a `TreeEnsemble`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import count_offsets
from treeinf.dtypes import BITS, OFFSET
from treeinf.errors import ModelFormatError

__all__ = ["pack_category_sets"]

_MAX_WORDS = 2**24
"""Limit on 32-bit words in all: a large category number could demand gigabytes."""


def pack_category_sets(
    node: NDArray[np.integer[Any]],
    category: NDArray[np.integer[Any]],
    n_nodes: int,
    *,
    library: str,
    way_out: str = "",
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Pack the categories of each node's set into words of 32 bits.

    Parameters
    ----------
    node, category : ndarray of integer, shape (n_categories,)
        Each category in a set, at least 0, and the node that the set belongs to.
    n_nodes : int
        Nodes of all trees.
    library, way_out : str
        For the error message: the library, and an alternative to renumbering.

    Returns
    -------
    category_offset : ndarray of int64, shape (n_nodes + 1,)
        Where each node's words begin.
    category_bits : ndarray of uint32, shape (n_words,)
        The words: bit ``c % 32`` of a node's word ``c // 32`` is on for category ``c``.

    Raises
    ------
    ModelFormatError
        If the categories are numbered so high that the words would not fit in memory.
    """
    n_words = np.zeros(n_nodes, OFFSET)
    np.maximum.at(n_words, node, category // 32 + 1)
    offset = count_offsets(n_words)
    if offset[-1] > _MAX_WORDS:
        raise ModelFormatError(
            f"The categories in this {library} model are numbered too high to be read "
            f"({_MAX_WORDS * 32:,} in all its splits are). Renumber them from 0 before "
            f"training{way_out}."
        )
    bits = np.zeros(int(offset[-1]), BITS)
    bit = np.left_shift(BITS(1), (category % 32).astype(BITS))
    np.bitwise_or.at(bits, offset[node] + category // 32, bit)
    return offset, bits
