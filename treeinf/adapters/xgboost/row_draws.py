"""Bags as XGBoost draws them from the outputs of a Mersenne twister."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.leaf_sums import LeafSums
from treeinf.kernels.cpu import random_draws as kernels

__all__ = [
    "Draws",
    "ExactDraws",
    "Twister",
    "UniformDraws",
    "list_round_shares",
    "row_powers",
    "to_limit",
]

_OUTPUTS_AT_ONCE = 4096
_WORD = 64
_MODULUS = 2**63
_MOST_OUTPUTS = 2**26
_MOST_SHARES = 12


def to_limit(subsample: float) -> int:
    """Return the limit of the integers that are below a share of 2**63 as floats."""
    bound = float(np.float32(subsample)) * float(_MODULUS)
    near = int(bound)
    first = max(near - 2048, 0)
    integers = range(first, min(near + 2048, _MODULUS))
    return first + bisect.bisect_left(integers, bound, key=float)


class Twister:
    """The outputs of a Mersenne twister (MT19937) by position.

    Parameters
    ----------
    seed : int
        Seed, of which the last 32 bits count.
    first : ndarray of uint32 or None
        Its first outputs, where they are known.
    """

    def __init__(self, seed: int, first: NDArray[np.uint32] | None = None) -> None:
        self.seed = seed
        self._outputs = np.empty(0, np.uint32) if first is None else first

    @functools.cached_property
    def _generator(self) -> np.random.RandomState:
        generator = np.random.RandomState(self.seed % 2**32)
        n_skipped = len(self._outputs)
        generator.randint(0, 2**32, n_skipped, dtype=np.uint32)
        return generator

    def take(self, begin: int, count: int) -> NDArray[np.uint64]:
        """Return outputs, shape (count,)."""
        n_missing = begin + count - len(self._outputs)
        if n_missing > 0:
            n_drawn = max(n_missing, _OUTPUTS_AT_ONCE, len(self._outputs))
            drawn = self._generator.randint(0, 2**32, n_drawn, dtype=np.uint32)
            self._outputs = np.concatenate([self._outputs, drawn])
        return self._outputs[begin : begin + count].astype(np.uint64)


class Draws(Protocol):
    """One way to draw bags.

    Attributes
    ----------
    outputs_per_bag : int
        Outputs of the twister that a bag takes.
    needs_gradients : bool
        Whether bags depend on the gradients.
    most_seeds : int
        Seeds that are tried where none is known.
    """

    outputs_per_bag: int
    needs_gradients: bool
    most_seeds: int

    @property
    def subsample(self) -> float:
        """Share of the rows."""

    def stage(
        self, gradient: NDArray[np.float64], hessian: NDArray[np.float64]
    ) -> None:
        """Read the derivatives of the trees to come, each of shape (n_rows, width)."""

    def screen(self, outputs: NDArray[np.uint64], sums: LeafSums) -> NDArray[np.bool_]:
        """Return which positions may be where the bag of a tree begins.

        Parameters
        ----------
        outputs : ndarray of uint64, shape (n_positions + outputs_per_bag - 1,)
            Outputs from the first position on.
        sums : LeafSums
            Covers of some leaves of the tree, and their rows.

        Returns
        -------
        ndarray of bool, shape (n_positions,)
        """

    def draw(self, outputs: NDArray[np.uint64]) -> NDArray[Any]:
        """Draw a bag from its outputs: bool or float32, shape (n_rows,)."""


@dataclasses.dataclass
class UniformDraws:
    """Rows drawn alike by the methods hist and approx: one output starts them all.

    Parameters
    ----------
    n_rows : int
        Train rows.
    low, high : int
        Smallest and largest limit that `subsample` may stand for; equal if it is known.
    """

    n_rows: int
    low: int
    high: int
    outputs_per_bag = 1
    needs_gradients = False
    most_seeds = 2**16

    def stage(
        self, gradient: NDArray[np.float64], hessian: NDArray[np.float64]
    ) -> None:
        """See `Draws`; nothing depends on the derivatives."""

    def limits(self, starts: NDArray[np.uint64], sums: LeafSums) -> NDArray[np.uint64]:
        """Return the limits at which each start has the leaves' covers.

        Returns
        -------
        ndarray of uint64, shape (n_starts, 2)
            Smallest and largest; (1, 0) where no limit has.
        """
        limits = np.empty((len(starts), 2), np.uint64)
        limits[:] = self.low, self.high
        kernels.screen_xgboost_starts(
            *(np.ascontiguousarray(starts), row_powers(sums.row), sums.hessian),
            *(sums.offset, sums.low, sums.high, limits),
        )
        return limits

    def screen(self, outputs: NDArray[np.uint64], sums: LeafSums) -> NDArray[np.bool_]:
        """See `Draws`."""
        limits = self.limits(outputs, sums)
        return np.asarray(limits[:, 0] <= limits[:, 1])

    @classmethod
    def between(cls, n_rows: int, low: float, high: float) -> UniformDraws:
        """Return draws of a `subsample` that is known up to a range."""
        return cls(n_rows, to_limit(low), to_limit(high))

    def of_round_shares(self) -> list[UniformDraws]:
        """Return draws of each round number that `subsample` may be."""
        shares = list_round_shares(self.low / _MODULUS, self.high / _MODULUS)
        return [self.between(self.n_rows, share, share) for share in shares]

    def narrowed(
        self, start: NDArray[np.uint64], sums: LeafSums
    ) -> UniformDraws | None:
        """Return the draws with the limits that give a tree's covers, if any do."""
        low, high = self.limits(start, sums)[0].tolist()
        return None if low > high else dataclasses.replace(self, low=low, high=high)

    def draw_words(self, starts: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Draw the bags of several starts, as `Bags` packs them."""
        n_words = -(-self.n_rows // _WORD)
        bits = np.empty((len(starts), n_words), np.uint64)
        powers = _word_powers(n_words)
        limit = np.uint64(self.low)
        starts = np.ascontiguousarray(starts)
        kernels.draw_xgboost_bags(starts, powers, self.n_rows, limit, bits)
        return bits

    def draw(self, outputs: NDArray[np.uint64]) -> NDArray[Any]:
        """See `Draws`."""
        words = self.draw_words(outputs)[0].view(np.uint8)
        bag = np.unpackbits(words, bitorder="little", count=self.n_rows)
        return bag.view(np.bool_)

    @property
    def is_known(self) -> bool:
        """Whether the limit is known."""
        return self.low == self.high

    @property
    def subsample(self) -> float:
        """The shortest decimal number within the limits."""
        low, high = self.low / _MODULUS, self.high / _MODULUS
        for digits in range(1, 10):
            number = round((low + high) / 2, digits)
            if self.low <= to_limit(number) <= self.high:
                return number
        return low


def list_round_shares(low: float, high: float) -> list[float]:
    """List numbers of few digits in a range, the roundest and most central first."""
    middle = (low + high) / 2
    numbers: dict[float, None] = {}
    for digits in (1, 2):
        inside = np.arange(np.ceil(low * 10**digits), np.floor(high * 10**digits) + 1)
        inside = inside / 10**digits
        order = np.argsort(np.abs(inside - middle))
        numbers |= dict.fromkeys(np.round(inside[order], digits).tolist())
    return [number for number in numbers if 0.0 < number < 1.0][:_MOST_SHARES]


@functools.lru_cache(1)
def _word_powers(n_words: int) -> NDArray[np.uint64]:
    """Return the power that takes a start to the row before each word."""
    return kernels.list_xgboost_powers(0, _WORD, n_words)


def row_powers(row: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the power of the multiplier that takes a start to each row."""
    if not len(row):
        return np.empty(0, np.uint64)
    return kernels.list_xgboost_powers(1, 1, int(row.max()) + 1)[row]


@dataclasses.dataclass
class ExactDraws:
    """Rows drawn alike by the method exact: two outputs each.

    Parameters
    ----------
    n_rows : int
        Train rows.
    subsample : float
        Share of the rows.
    """

    n_rows: int
    subsample: float
    needs_gradients = False

    def __post_init__(self) -> None:
        self._bound = float(np.float32(self.subsample))
        self.outputs_per_bag = 2 * self.n_rows
        self.most_seeds = min(128, _MOST_OUTPUTS // self.outputs_per_bag)

    def stage(
        self, gradient: NDArray[np.float64], hessian: NDArray[np.float64]
    ) -> None:
        """See `Draws`; nothing depends on the derivatives."""

    def screen(self, outputs: NDArray[np.uint64], sums: LeafSums) -> NDArray[np.bool_]:
        """See `Draws`."""
        n_positions = len(outputs) - self.outputs_per_bag + 1
        first = np.arange(n_positions)[:, np.newaxis] + 2 * sums.row
        is_in = self._is_in(outputs[first], outputs[first + 1])
        return sums.fit(is_in.astype(np.float64))

    def draw(self, outputs: NDArray[np.uint64]) -> NDArray[Any]:
        """See `Draws`."""
        return self._is_in(outputs[::2], outputs[1::2])

    def _is_in(
        self, low: NDArray[np.uint64], high: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        draws = (low.astype(np.float64) + high.astype(np.float64) * 2.0**32) / 2.0**64
        return np.asarray(draws < self._bound)
