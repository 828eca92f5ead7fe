"""Find the seed and the fraction of LightGBM's bagging from leaf counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from treeinf.adapters.lightgbm.row_draws import (
    N_DRAWS,
    Bagging,
    Units,
    to_limit,
    unpack_rows,
)
from treeinf.adapters.lightgbm.row_settings import DERIVED_SEEDS
from treeinf.adapters.row_sampling import StagedTrees
from treeinf.kernels.cpu import random_draws as kernels

__all__ = ["find_bagging", "root_counts", "round_fraction"]

_LOW_32 = np.uint64(2**32 - 1)
_SPREAD = 6.0
"""Standard deviations by which a share of rows may differ from its fraction."""
_ALL_SEEDS = 2**31
"""Seeds with different draws: the highest bit of a state is in none."""
_SEEDS_AT_ONCE = 2**22
_MOST_SURVIVORS = 2000
_MOST_ROUND = 40
_BAGS_NARROWED = 16


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of draws that fractions can be: all from `low` to `high`.

    Those of positive rows are apart where these have a fraction of their own.
    """

    low: int
    high: int
    positive_low: int
    positive_high: int

    @classmethod
    def between(cls, low: int, high: int) -> Limits:
        """Return limits that are the same for all rows."""
        return cls(low, high, low, high)

    @classmethod
    def of(cls, settings: Bagging) -> Limits:
        """Return the limits of known parameters."""
        limit, positive = settings.limit, settings.positive_limit
        return cls(limit, limit, positive, positive)

    def settings(self, seed: int, freq: int) -> Bagging:
        """Return parameters with these limits, of the roundest fraction."""
        if self.are_known:
            return Bagging(seed, self.low, self.positive_low, freq)
        limit = to_limit(round_fraction(self.low, self.high))
        return Bagging(seed, limit, limit, freq)

    @property
    def n_choices(self) -> int:
        """Number of pairs of limits."""
        n_limits = self.high - self.low + 1
        n_positive = self.positive_high - self.positive_low + 1
        return n_limits if self.low == self.positive_low else n_limits * n_positive

    @property
    def are_known(self) -> bool:
        """Whether each is one number."""
        return self.low == self.high and self.positive_low == self.positive_high


def root_counts(trees: StagedTrees) -> NDArray[np.int64] | None:
    """Return how many rows each iteration was fitted on, by its leaf counts.

    0 where no tree of the iteration has a split; None where the model stores no counts.
    """
    ensemble = trees.ensemble
    if ensemble.leaf_count is None:
        return None
    counts = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
    counts[np.diff(ensemble.leaf_offset) == 1] = 0
    of_iteration = np.zeros(ensemble.n_iterations, np.int64)
    np.maximum.at(of_iteration, ensemble.iteration, counts)
    return of_iteration


def find_freq(roots: NDArray[np.int64]) -> int:
    """Return after how many iterations bags change, by how many rows they have."""
    changes = 1 + np.flatnonzero(np.diff(roots))[:16]
    return int(np.gcd.reduce(changes)) if changes.size else len(roots)


def bound_limits(roots: NDArray[np.int64], units: Units, freq: int) -> tuple[int, int]:
    """Return the limits of draws that bags of these sizes allow.

    Parameters
    ----------
    roots : ndarray of int64, shape (n_iterations,)
        Rows of each iteration.
    units : Units
        What is drawn.
    freq : int
        Iterations that share a bag.
    """
    sizes = np.ones(units.n_units)
    if units.of_row is not None:
        sizes = np.bincount(units.of_row, minlength=units.n_units).astype(float)
    share = roots[::freq] / units.n_rows
    deviation = math.sqrt(max(share[0] * (1.0 - share[0]), 1e-6) * (sizes**2).sum())
    deviation = _SPREAD * deviation / units.n_rows
    # up to a change of the fraction
    is_other = np.abs(share - share[0]) > 2.0 * deviation
    share = share[: np.argmax(is_other)] if is_other.any() else share
    deviation /= math.sqrt(len(share))
    low = math.floor((share.mean() - deviation) * N_DRAWS)
    high = math.ceil((share.mean() + deviation) * N_DRAWS)
    return max(low, 0), min(high, N_DRAWS)


def round_fraction(low: int, high: int) -> float:
    """Return the fraction with the fewest digits whose limit is in a range."""
    above, most = (low - 1) / N_DRAWS, high / N_DRAWS
    for digits in range(1, 7):
        fraction = (math.floor(above * 10**digits + 1e-9) + 1) / 10**digits
        if fraction <= most:
            return fraction
    return most


class BagCounts:
    """What the trees that were fitted on one bag say about its seed and fraction.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    units : Units
        What is drawn.
    fitted : sequence of int
        Trees that were fitted on the bag.
    number : int, default=0
        Bags drawn before it.
    """

    def __init__(
        self,
        trees: StagedTrees,
        units: Units,
        fitted: Sequence[int],
        number: int = 0,
    ) -> None:
        ensemble = trees.ensemble
        assert ensemble.leaf_count is not None
        self._units = units
        factor, shift = kernels.list_lightgbm_steps(kernels.RUN_ROWS)
        rows = np.arange(units.n_rows) if units.of_row is None else units.of_row
        self._run = (rows // kernels.RUN_ROWS).astype(np.uint64)
        step = rows % kernels.RUN_ROWS
        self._factor = factor[step].astype(np.uint64)
        self._shift = shift[step].astype(np.uint64)
        if number:
            self._skip(number, factor.astype(np.uint64), shift.astype(np.uint64))
        self._positive = np.zeros(units.n_rows, np.bool_)
        if units.positive.size:
            self._positive = unpack_rows(units.positive, units.n_rows)
        self._counts = []
        self._leaves = []
        for tree in fitted:
            bounds = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
            self._counts.append(np.asarray(ensemble.leaf_count[bounds], np.int64))
            self._leaves.append(trees.leaf(tree))
        # the tree with the smallest leaf refuses most seeds at once
        self._first = int(np.argmin([counts.min() for counts in self._counts]))

    def _skip(
        self, n_bags: int, factor: NDArray[np.uint64], shift: NDArray[np.uint64]
    ) -> None:
        """Let the steps of each row begin after earlier bags."""
        whole = kernels.RUN_ROWS
        n_runs = -(-self._units.n_units // whole)
        length = np.full(n_runs, whole)
        length[-1] = self._units.n_units - (n_runs - 1) * whole
        of_bag = factor[length - 1], shift[length - 1]
        skipped, added = np.ones(n_runs, np.uint64), np.zeros(n_runs, np.uint64)
        for _ in range(n_bags):
            skipped = of_bag[0] * skipped & _LOW_32
            added = of_bag[0] * added + of_bag[1] & _LOW_32
        run = self._run.astype(np.intp)
        self._shift = self._factor * added[run] + self._shift & _LOW_32
        self._factor = self._factor * skipped[run] & _LOW_32

    def screen(self, seeds: range, limits: Limits) -> Iterator[int]:
        """Yield the seeds that may have given the counts of one tree."""
        counts, leaf = self._counts[self._first], self._leaves[self._first]
        sizes = np.bincount(leaf, minlength=len(counts))
        by_size = np.argsort(counts, kind="stable")
        rank = np.empty(len(counts), np.int64)
        rank[by_size] = np.arange(len(counts))
        rows = np.argsort(rank[leaf], kind="stable")
        offset = np.concatenate([[0], np.cumsum(sizes[by_size])])
        low, high = (
            np.where(self._positive[rows], of_positive, of_others).astype(np.uint64)
            for of_others, of_positive in (
                (limits.low, limits.positive_low),
                (limits.high, limits.positive_high),
            )
        )
        arrays = (self._run[rows], self._factor[rows], self._shift[rows])
        with tqdm(
            total=len(seeds),
            desc="LightGBM seeds",
            unit="seed",
            unit_scale=True,
            leave=False,
            disable=None if len(seeds) > _SEEDS_AT_ONCE else True,
        ) as bar:
            for begin in range(seeds.start, seeds.stop, _SEEDS_AT_ONCE):
                passes = np.empty(min(_SEEDS_AT_ONCE, seeds.stop - begin), np.bool_)
                kernels.screen_lightgbm_seeds(
                    *(begin, *arrays, offset, counts[by_size], low, high, passes)
                )
                bar.update(len(passes))
                for number in np.flatnonzero(passes)[:_MOST_SURVIVORS].tolist():
                    yield begin + number

    def narrow(self, seed: int, limits: Limits) -> Limits | None:
        """Return the limits at which a seed gives all counts; None if there are none.

        Where positive rows have a fraction of their own, both must be known.
        """
        state = np.uint64(seed % 2**32) + self._run & _LOW_32
        draws = self._factor * state + self._shift >> np.uint64(16)
        draws = (draws & np.uint64(N_DRAWS - 1)).astype(np.int64)
        if limits.are_known:
            bag = draws < np.where(self._positive, limits.positive_low, limits.low)
            for leaf, counts in zip(self._leaves, self._counts, strict=True):
                if np.any(np.bincount(leaf[bag], minlength=len(counts)) != counts):
                    return None
            return limits
        low, high = limits.low, limits.high
        for leaf, counts in zip(self._leaves, self._counts, strict=True):
            order = np.lexsort((draws, leaf))
            sizes = np.bincount(leaf, minlength=len(counts))
            if np.any(counts > sizes):
                return None
            begin = np.cumsum(sizes) - sizes
            drawn = draws[order]
            # the limit is above the draw of the last row in, and at most that of the
            # first row out
            is_in, is_out = counts > 0, counts < sizes
            last_in = drawn[(begin + counts - 1)[is_in]]
            first_out = drawn[(begin + counts)[is_out]]
            low = max(low, int(last_in.max(initial=-1)) + 1)
            high = min(high, int(first_out.min(initial=N_DRAWS)))
            if low > high:
                return None
        return Limits.between(low, high)


def find_bagging(
    trees: StagedTrees,
    units: Units,
    iteration: int,
    fitted: Sequence[list[int]],
    roots: NDArray[np.int64],
    *,
    stored: Sequence[Bagging],
    seeds: Sequence[int],
    is_wide: bool,
) -> Iterator[tuple[Bagging, float]]:
    """Search seeds and fractions with which the bag of an iteration has its counts.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    units : Units
        What is drawn.
    iteration : int
        The iteration, of a training that began with it.
    fitted : sequence of list of int
        Trees with splits of each iteration.
    roots : ndarray of int64, shape (n_iterations,)
        Rows of each iteration.
    stored : sequence of Bagging
        Parameters of which the seed may be another.
    seeds : sequence of int
        Seeds to try with any fraction.
    is_wide : bool
        Try all seeds at last.

    Yields
    ------
    settings : Bagging
        Parameters that give the counts.
    n_tried : float
        Among how many they were found.
    """
    later = roots[iteration:]
    later = later[later > 0]
    freq = find_freq(later)
    if stored and freq % stored[0].freq == 0:
        freq = stored[0].freq
    bounds = bound_limits(later, units, freq)
    searches: list[tuple[range, Limits]] = []
    choices = [Limits.of(settings) for settings in stored]
    if not units.positive.size:
        # a fraction may change with the iteration, while the seed is the same
        now = Limits.between(*bound_limits(later[:1], units, 1))
        searches = [(range(seed, seed + 1), now) for seed in seeds]
        unknown = Limits.between(*bounds)
        choices = [*choices, *_list_round(*bounds), unknown]
    searches += [(range(DERIVED_SEEDS), limits) for limits in choices]
    if is_wide:
        searches.append((range(_ALL_SEEDS), choices[0 if stored else -1]))
    first = BagCounts(trees, units, fitted[iteration])
    others: list[BagCounts] = []
    for candidates, limits in searches:
        is_one = len(candidates) == 1
        for seed in candidates if is_one else first.screen(candidates, limits):
            narrow = first.narrow(seed, limits)
            if narrow is None:
                continue
            for number in range(1, _BAGS_NARROWED):
                at = iteration + number * freq
                if at >= len(fitted) or narrow.are_known:
                    break
                if len(others) < number:
                    others.append(BagCounts(trees, units, fitted[at], number))
                narrower = others[number - 1].narrow(seed, narrow)
                if narrower is None:  # a bag without a tree, or another call
                    break
                narrow = narrower
            yield narrow.settings(seed, freq), float(len(candidates) * limits.n_choices)


def _list_round(low: int, high: int) -> list[Limits]:
    """List the limits of fractions of two digits."""
    first = math.floor((low - 1) / N_DRAWS * 100.0) + 1
    limits = [to_limit(number / 100.0) for number in range(first, 100)]
    limits = [limit for limit in limits if low <= limit <= high][:_MOST_ROUND]
    return [Limits.between(limit, limit) for limit in limits]
