"""Which train rows each tree was fitted on, and with which factor."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.dtypes import NODE
from treeinf.kernels.flat import FlatBags

__all__ = ["Bags"]

_WORD = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Bags:
    """The bag of each tree: a factor of every train row on its gradient and hessian.

    Trees may share bags. The factors of all bags are 0 or 1, kept in one bit each, or
    any numbers, kept in float32.

    Parameters
    ----------
    n_rows : int
        Train rows.
    bits : ndarray of uint64, shape (n_bags, ceil(n_rows / 64)) or (0, 0)
        Row i is in a bag if bit ``i % 64`` of word ``i // 64`` is set.
    factor : ndarray of float32, shape (n_bags, n_rows) or (0, 0)
        Where sampling weighs rows or draws them several times; `bits` is empty then.
    of_tree : ndarray of int32, shape (n_trees,) or (0,)
        Bag of each tree; -1 for all rows with factor 1. Empty if that is all trees.
    """

    n_rows: int
    bits: NDArray[np.uint64]
    factor: NDArray[np.float32]
    of_tree: NDArray[np.int32]

    @classmethod
    def all_rows(cls, n_rows: int) -> Bags:
        """Return the bags of a training that did not sample rows."""
        return cls.from_rows(n_rows, [], [])

    @classmethod
    def from_rows(
        cls, n_rows: int, bags: Sequence[NDArray], of_tree: ArrayLike
    ) -> Bags:
        """Collect bags that are given row by row.

        Parameters
        ----------
        n_rows : int
            Train rows.
        bags : sequence of ndarray of bool or float32, shape (n_rows,)
            Whether each row is in the bag, or its factor; one kind for all bags.
        of_tree : array-like of int, shape (n_trees,) or (0,)
            Position in `bags` of each tree's bag; -1 for all rows.
        """
        bits = np.empty((0, 0), np.uint64)
        factor = np.empty((0, 0), np.float32)
        if len(bags) and bags[0].dtype == np.bool_:
            bits = np.zeros((len(bags), -(-n_rows // _WORD)), np.uint64)
            for words, bag in zip(bits.view(np.uint8), bags, strict=True):
                packed = np.packbits(bag, bitorder="little")
                words[: len(packed)] = packed
        elif len(bags):
            factor = np.stack(bags).astype(np.float32)
        return cls(n_rows, bits, factor, np.asarray(of_tree, NODE))

    @property
    def flat(self) -> FlatBags:
        """The arrays that kernels read."""
        return FlatBags(self.bits, self.factor, self.of_tree)

    def take(self, batch: slice) -> Bags:
        """Return the bags of a range of the rows."""
        if not self.of_tree.size or batch == slice(0, self.n_rows):
            return self
        n = batch.stop - batch.start
        if len(self.factor):
            factor = np.ascontiguousarray(self.factor[:, batch])
            return dataclasses.replace(self, n_rows=n, factor=factor)
        first, shift = divmod(batch.start, _WORD)
        n_words = -(-n // _WORD)
        # one word more than there is, so that every word has a neighbour
        words = np.zeros((len(self.bits), n_words + 1), np.uint64)
        present = self.bits[:, first : first + n_words + 1]
        words[:, : present.shape[1]] = present
        bits = words[:, :-1]
        if shift:
            after = words[:, 1:] << np.uint64(_WORD - shift)
            bits = (bits >> np.uint64(shift)) | after
        return dataclasses.replace(self, n_rows=n, bits=np.ascontiguousarray(bits))

    def take_trees(self, trees: NDArray[np.integer]) -> Bags:
        """Return the bags of other trees, each given by the tree it has the bag of."""
        if not self.of_tree.size:
            return self
        return dataclasses.replace(self, of_tree=self.of_tree[trees])

    def keep(self, rows: NDArray[np.bool_], n_trees: int) -> Bags:
        """Return the bags without some rows.

        Parameters
        ----------
        rows : ndarray of bool, shape (n_rows,)
            The rows that stay.
        n_trees : int
            Number of trees.
        """
        kept = Bags.from_rows(len(rows), [rows], np.zeros(n_trees, NODE))
        if not self.of_tree.size:
            return kept
        of_tree = self.of_tree
        if len(self.factor):
            factor, bits = np.vstack([self.factor * rows, rows]), self.bits
            of_tree = np.where(of_tree < 0, len(self.factor), of_tree)
            factor = np.asarray(factor, np.float32)
        else:
            factor, bits = self.factor, np.vstack([self.bits & kept.bits, kept.bits])
            of_tree = np.where(of_tree < 0, len(self.bits), of_tree)
        return Bags(self.n_rows, bits, factor, np.asarray(of_tree, NODE))

    def row_factors(self, tree: int) -> NDArray[np.bool_] | NDArray[np.float32] | None:
        """Return each row's factor in a tree, shape (n_rows,); None for all rows."""
        number = -1 if not self.of_tree.size else int(self.of_tree[tree])
        if number < 0:
            return None
        if len(self.factor):
            return self.factor[number]
        words = self.bits[number].view(np.uint8)
        unpacked = np.unpackbits(words, bitorder="little", count=self.n_rows)
        return unpacked.astype(np.bool_)

    def table(self, n_trees: int) -> NDArray[np.bool_] | NDArray[np.float32]:
        """Return each row's factor in each tree.

        Parameters
        ----------
        n_trees : int
            Trees of the model.

        Returns
        -------
        ndarray of bool or float32, shape (n_rows, n_trees)
            float32 where bags weigh rows; a view, with each tree's rows contiguous.
        """
        factors: NDArray[Any] = np.ones(
            (n_trees, self.n_rows), np.float32 if self.factor.size else np.bool_
        )
        for tree in range(n_trees):
            factor = self.row_factors(tree)
            if factor is not None:
                factors[tree] = factor
        return factors.T

    def mean_share(self) -> float:
        """Return the share of the rows that the average tree was fitted on."""
        if not self.of_tree.size:
            return 1.0
        shares = np.ones(len(self.of_tree))
        of_bag: dict[int, float] = {}
        for tree, number in enumerate(self.of_tree.tolist()):
            factor = None if number in of_bag else self.row_factors(tree)
            if factor is not None:
                of_bag[number] = np.count_nonzero(factor) / self.n_rows
            shares[tree] = of_bag.get(number, 1.0)
        return float(shares.mean())
