"""LightGBM's bagging and GOSS: the sample of rows of each iteration, in turn."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.kernels.cpu import random_draws as kernels

__all__ = [
    "N_DRAWS",
    "Bagging",
    "BaggingDraws",
    "Goss",
    "GossDraws",
    "Units",
    "batch_rows",
    "gradient_sizes",
    "pack_rows",
    "to_limit",
    "unpack_rows",
]

N_DRAWS = 2**15
"""Values that a draw can have; a fraction counts in steps of one of them."""

_WORD = 64
_NONE = np.empty(0, np.uint64)


def pack_rows(rows: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return one bit a row, 64 in a word."""
    words = np.zeros(-(-len(rows) // _WORD), np.uint64)
    packed = np.packbits(rows, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def unpack_rows(words: NDArray[np.uint64], n_rows: int) -> NDArray[np.bool_]:
    """Return the rows whose bit is set, shape (n_rows,)."""
    bits = np.unpackbits(words.view(np.uint8), bitorder="little", count=n_rows)
    return bits.view(np.bool_)


def start_generators(seed: int, n_units: int) -> NDArray[np.uint64]:
    """Return the states of the generators at the start of a training."""
    runs = np.arange(-(-n_units // kernels.RUN_ROWS), dtype=np.uint64)
    return runs + np.uint64(seed % 2**32) & np.uint64(2**32 - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """What is drawn: rows, or queries with all of their rows.

    Parameters
    ----------
    n_rows : int
        Train rows.
    n_units : int
        Rows, or queries.
    of_row : ndarray of int64, shape (n_rows,), or None
        Query of each row; None where rows are drawn.
    positive : ndarray of uint64, shape (n_words,) or (0,)
        A bit for each row with a positive label, where these have a fraction of their
        own.
    """

    n_rows: int
    n_units: int
    of_row: NDArray[np.int64] | None = None
    positive: NDArray[np.uint64] = dataclasses.field(default_factory=_NONE.copy)


def to_limit(fraction: float) -> int:
    """Return the limit of draws that a fraction is."""
    return min(max(math.ceil(fraction * N_DRAWS), 0), N_DRAWS)


@dataclasses.dataclass(frozen=True)
class Bagging:
    """Bagging with known parameters.

    Parameters
    ----------
    seed : int
        The bagging seed.
    limit, positive_limit : int
        In the bag if the draw is below it, for all rows or for negative and positive
        ones; see `to_limit`.
    freq : int
        Iterations that share a bag.
    """

    seed: int
    limit: int
    positive_limit: int
    freq: int

    def start(self, units: Units) -> BaggingDraws:
        """Return the draws of one call of training."""
        return BaggingDraws(self, units)


class BaggingDraws:
    """The bags of one call of training, one after the other.

    Parameters
    ----------
    settings : Bagging
        The parameters.
    units : Units
        What is drawn.

    Attributes
    ----------
    number : int
        Iteration of this call of training; the caller counts.
    bag : ndarray of uint64, shape (n_words,), or None
        Bag of the last iteration, one bit a row; None before the first.
    """

    def __init__(self, settings: Bagging, units: Units) -> None:
        self.settings, self._units = settings, units
        self.number = 0
        self.bag: NDArray[np.uint64] | None = None
        self._states = start_generators(settings.seed, units.n_units)

    def copy(self) -> Self:
        """Return draws that go on from here by themselves."""
        other = copy.copy(self)
        other._states = self._states.copy()
        return other

    @property
    def is_due(self) -> bool:
        """Whether a bag is drawn in this iteration.

        None is drawn any more once a bag had all rows.
        """
        if self.bag is None:
            return True
        is_full = int(np.bitwise_count(self.bag).sum()) == self._units.n_rows
        return self.number % self.settings.freq == 0 and not is_full

    def draw(self, n_bags: int = 1) -> NDArray[np.uint64]:
        """Draw the next bags, shape (n_bags, n_words), and keep the last."""
        units, settings = self._units, self.settings
        bits = np.empty((n_bags, -(-units.n_units // _WORD)), np.uint64)
        kernels.draw_lightgbm_bags(
            *(self._states, units.n_units, settings.limit, units.positive),
            *(settings.positive_limit, bits),
        )
        if units.of_row is not None:
            bits = np.stack(
                [
                    pack_rows(unpack_rows(of_queries, units.n_units)[units.of_row])
                    for of_queries in bits
                ]
            )
        self.bag = bits[-1]
        return bits


def batch_rows(n_rows: int, n_threads: int) -> int:
    """Return how many rows GOSS ranks together.

    Training with T threads cuts the rows into at most T batches of equal whole runs.
    """
    n_batches = min(n_threads, -(-n_rows // kernels.RUN_ROWS))
    if n_batches <= 1:
        return n_rows
    n_rows_each = -(-n_rows // n_batches)
    return -(-n_rows_each // kernels.RUN_ROWS) * kernels.RUN_ROWS


@dataclasses.dataclass(frozen=True)
class Goss:
    """GOSS with known parameters.

    Parameters
    ----------
    seed : int
        The bagging seed.
    top_rate, other_rate : float
        Shares of the rows that are in for their size, and drawn of the others.
    n_threads : int
        Threads of the training.
    n_warm_up : int
        Iterations before the first that draws.
    """

    seed: int
    top_rate: float
    other_rate: float
    n_threads: int
    n_warm_up: int

    def start(self, units: Units) -> GossDraws:
        """Return the draws of one call of training."""
        return GossDraws(self, units)


class GossDraws:
    """The samples of one call of training, one after the other.

    Parameters
    ----------
    settings : Goss
        The parameters.
    units : Units
        The rows.

    Attributes
    ----------
    number : int
        Iteration of this call of training; the caller counts.
    """

    def __init__(self, settings: Goss, units: Units) -> None:
        self.settings = settings
        self.number = 0
        self._n_rows = units.n_rows
        self._states = start_generators(settings.seed, units.n_rows)
        self._batch = batch_rows(units.n_rows, settings.n_threads)
        bounds = [*range(0, units.n_rows, self._batch), units.n_rows]
        sizes = np.diff(bounds)
        self._n_top = np.maximum((sizes * settings.top_rate).astype(np.int64), 1)
        self._n_other = (sizes * settings.other_rate).astype(np.int64)

    def copy(self) -> Self:
        """Return draws that go on from here by themselves."""
        other = copy.copy(self)
        other._states = self._states.copy()
        return other

    @property
    def is_due(self) -> bool:
        """Whether rows are drawn in this iteration."""
        return self.number >= self.settings.n_warm_up

    def draw(self, size: NDArray[np.float32]) -> NDArray[np.float32]:
        """Draw a sample by the size of the gradients.

        Returns
        -------
        ndarray of float32, shape (n_rows,)
            Factor of each row, 0 for those that are out.
        """
        factor = np.empty(self._n_rows, np.float32)
        kernels.draw_lightgbm_goss(self._states, *self._ranked(size), factor)
        return factor

    def screen(
        self,
        size: NDArray[np.float32],
        leaf: NDArray[np.int64],
        leaf_count: NDArray[np.int64],
        n_seeds: int,
    ) -> NDArray[np.int64]:
        """Return the seeds whose first sample has the counts of a tree's leaves."""
        passes = np.empty(n_seeds, np.bool_)
        kernels.screen_lightgbm_goss_seeds(
            *self._ranked(size), leaf, leaf_count, passes
        )
        return np.flatnonzero(passes)

    def _ranked(self, size: NDArray[np.float32]) -> tuple[Any, ...]:
        """Return the sizes with what each batch draws by them."""
        threshold = np.empty(len(self._n_top), np.float32)
        for number, n_top in enumerate(self._n_top):
            begin = number * self._batch
            batch = size[begin : begin + self._batch]
            threshold[number] = np.partition(batch, len(batch) - n_top)[-n_top]
        return size, self._batch, self._n_top, self._n_other, threshold


def gradient_sizes(
    gradient: NDArray[np.float64], hessian: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return what GOSS ranks rows by, in the precision of LightGBM.

    Parameters
    ----------
    gradient, hessian : ndarray of float64, shape (n_outputs, n_rows)
        Weighted derivatives before the iteration.
    """
    size = np.zeros(gradient.shape[1], np.float32)
    for of_output, curvature in zip(gradient, hessian, strict=True):
        size += np.abs(of_output.astype(np.float32) * curvature.astype(np.float32))
    return size
