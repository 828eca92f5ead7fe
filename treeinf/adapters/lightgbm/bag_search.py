"""Find LightGBM's bags tree by tree, each by what the model stores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.goss_search import find_goss_seed
from treeinf.adapters.lightgbm.row_draws import (
    Bagging,
    BaggingDraws,
    Goss,
    GossDraws,
    Units,
    gradient_sizes,
    unpack_rows,
)
from treeinf.adapters.lightgbm.seed_search import (
    find_bagging,
    root_counts,
)
from treeinf.adapters.row_sampling import StagedTrees

__all__ = ["BagSearch", "Stretch"]

Draws = BaggingDraws | GossDraws

_MOST_SKIPPED = 1024
"""Bags without a tree between two trees."""
_AT_ONCE = 64
_MOST_DRAWS = 2**34
"""Draws of one row each that a search may spend on bags that do not fit."""
_MOST_SEARCHES, _MOST_IN_VAIN = 32, 2
"""Searches for a seed in one model, and in one without any bag found before."""
_VALUE_BITS = 6.0
"""Evidence of a leaf value that fits, in bits; values of other bags are within the
tolerance with a chance of about 1 %."""
_FIRST, _SKIPPED, _STARTED = 8.0, 10.0, 20.0
"""Evidence in bits that is asked for where the first bag of a stored seed, a later bag
than the next one, or a start in the middle is accepted."""
_CERTAIN = 24.0


@dataclasses.dataclass
class Stretch:
    """Iterations of one call of training.

    Parameters
    ----------
    first_iteration : int
        Where it begins.
    settings : Bagging, Goss or None
        How rows were drawn; None for a stretch with all rows.
    is_found : bool
        Whether a search found the seed or the fraction.
    """

    first_iteration: int
    settings: Bagging | Goss | None
    is_found: bool = False


class BagSearch:
    """A walk through the iterations of a model.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    units : Units
        What is drawn.
    starts : list of Bagging or Goss
        Parameters with which training may have been called, the likeliest first.
    seeds : tuple of int
        Seeds to try first where no start fits.
    is_wide : bool
        Try all seeds where none that LightGBM derives fits.
    has_seed : bool
        Whether the seed is stored: GOSS, whose draws depend on gradients too, is then
        not searched for another.

    Attributes
    ----------
    bags : list
        Bag of each iteration: bits of rows, factors, or None for all rows or where it
        was not found.
    is_found : ndarray of bool, shape (n_iterations,)
        Whether it is known.
    stretches : list of Stretch
        The calls of training that were found.
    """

    def __init__(
        self,
        trees: StagedTrees,
        units: Units,
        starts: list[Bagging | Goss],
        seeds: tuple[int, ...],
        is_wide: bool,
        has_seed: bool,
    ) -> None:
        self._trees, self._units = trees, units
        self._searches_goss = not has_seed
        self._starts, self._seeds, self._is_wide = starts, seeds, is_wide
        self._n_iterations = trees.ensemble.n_iterations
        self._roots = root_counts(trees)
        self._compares_values = trees.compares_values
        has_split = np.diff(trees.ensemble.leaf_offset) > 1
        self._fitted: list[list[int]] = [[] for _ in range(self._n_iterations)]
        for tree in np.flatnonzero(has_split).tolist():
            self._fitted[int(trees.ensemble.iteration[tree])].append(tree)
        # an iteration without a split is kept where it is the first: its bag was drawn,
        # and the next iteration has its number
        self._has_empty_start = not self._fitted[0] and not trees.ensemble.is_averaged
        self._n_spent = self._n_searches = 0
        self._size: tuple[int, NDArray[np.float32]] | None = None
        self.bags: list[Any] = []
        self.is_found = np.zeros(self._n_iterations, np.bool_)
        self.stretches: list[Stretch] = []

    def run(self) -> None:
        """Find the bag of each iteration."""
        draws: Draws | None = None
        is_lost = True
        for iteration in range(self._n_iterations):
            if not self._fitted[iteration]:
                self.bags.append(None)
                self.is_found[iteration] = True
                if draws is not None:
                    draws.number += 1
                continue
            outcome = self._find(iteration, draws, is_lost)
            is_lost = outcome is None
            if outcome is None:
                self.bags.append(None)
                if draws is not None:
                    draws = self._go_on(draws, iteration)[0]
            else:
                draws, bag, is_found = outcome
                self.bags.append(bag if is_found else None)
                self.is_found[iteration] = is_found
            if draws is not None:
                draws.number += 1

    def _find(
        self, iteration: int, draws: Draws | None, is_lost: bool
    ) -> tuple[Draws | None, Any, bool] | None:
        """Return the draws after an iteration, its bag and whether that is found.

        A bag that has all counts without a doubt, but not the values, is not found: the
        rows are right, labels or weights are not. None if nothing fits.
        """
        if draws is not None:
            after, bag = self._go_on(draws, iteration)
            if self._accepts(iteration, after, bag, _STARTED if is_lost else 0.0):
                return after, bag, True
            if self._has_its_counts(iteration, bag):
                return after, bag, False
        has_all = not self._is_sampled(iteration)
        if has_all and self._accepts(iteration, None, None, 0.0):
            self._begin(iteration, None)
            return None, None, True
        for settings in self._starts:
            started = self._start(settings, iteration)
            after, bag = self._go_on(started, iteration, is_forced=True)
            is_expected = not self.stretches or self._ends_warm_up(settings, iteration)
            needed = _FIRST if is_expected else _STARTED
            if self._accepts(iteration, after, bag, needed):
                self._begin(iteration, settings)
                return after, bag, True
            if self._has_its_counts(iteration, bag):
                self._begin(iteration, settings)
                return after, bag, False
        fresh = [self._start(start, iteration) for start in self._starts[:1]]
        for first in (draws, *fresh):
            is_next = not is_lost if first is draws else self._is_second(iteration)
            needed = _SKIPPED if is_next else _STARTED
            for n_tried, (after, bag) in self._later(iteration, first):
                if self._accepts(iteration, after, bag, needed + math.log2(n_tried)):
                    if first is not draws:
                        self._begin(iteration, after.settings)
                    return after, bag, True
        return self._search(iteration)

    def _ends_warm_up(self, settings: Bagging | Goss, iteration: int) -> bool:
        """Return whether GOSS draws its first bag here, after the trees of all rows."""
        if not isinstance(settings, Goss) or iteration != settings.n_warm_up:
            return False
        return all(stretch.settings is None for stretch in self.stretches)

    def _begin(
        self, iteration: int, settings: Bagging | Goss | None, is_found: bool = False
    ) -> None:
        if settings is not None and not is_found:
            self._starts.sort(key=lambda start: start != settings)
        last = self.stretches[-1].settings if self.stretches else None
        if not self.stretches or last != settings:
            self.stretches.append(Stretch(iteration, settings, is_found))

    def _start(self, settings: Bagging | Goss, iteration: int) -> Draws:
        draws = settings.start(self._units)
        if self._is_second(iteration) and isinstance(draws, BaggingDraws):
            draws.draw()
        return draws

    def _is_second(self, iteration: int) -> bool:
        """Return whether an iteration has the number of an empty one before it."""
        return iteration == 1 and self._has_empty_start

    def _go_on(
        self, draws: Draws, iteration: int, *, is_forced: bool = False
    ) -> tuple[Draws, Any]:
        """Return the draws after the next iteration, and its bag."""
        after = draws.copy()
        if isinstance(after, BaggingDraws):
            if after.is_due:
                self._n_spent += self._units.n_rows
                after.draw()
            return after, after.bag
        if is_forced and self._is_sampled(iteration):
            after.number = max(after.number, after.settings.n_warm_up)
        if not after.is_due:
            return after, None
        self._n_spent += _AT_ONCE * self._units.n_rows
        return after, after.draw(self._sizes(iteration))

    def _is_sampled(self, iteration: int) -> bool:
        return self._roots is None or self._roots[iteration] < self._units.n_rows

    def _sizes(self, iteration: int) -> NDArray[np.float32]:
        if self._size is None or self._size[0] != iteration:
            gradient, hessian = self._trees.derivatives(iteration)
            self._size = iteration, gradient_sizes(gradient, hessian)
        return self._size[1]

    def _later(
        self, iteration: int, draws: Draws | None
    ) -> Iterator[tuple[int, tuple[Draws, Any]]]:
        """Yield later bags of a generator with as many rows as the iteration had.

        Iterations that found no split left no tree, but drew a bag.
        """
        if draws is None or not self._is_sampled(iteration):
            return
        n_rows = self._units.n_rows
        if isinstance(draws, GossDraws):
            after, _ = self._go_on(draws, iteration, is_forced=True)
            for n_tried in range(1, _AT_ONCE):
                if self._n_spent > _MOST_DRAWS:
                    return
                after, bag = self._go_on(after, iteration, is_forced=True)
                yield n_tried, (after, bag)
            return
        ahead = draws.copy()
        for begin in range(0, _MOST_SKIPPED, _AT_ONCE):
            if self._n_spent > _MOST_DRAWS:
                return
            self._n_spent += _AT_ONCE * n_rows
            before = ahead.copy()
            bits = ahead.draw(_AT_ONCE)
            fits = np.ones(_AT_ONCE, np.bool_)
            if self._roots is not None:
                sizes = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
                fits = sizes == self._roots[iteration]
            for number in np.flatnonzero(fits).tolist():
                after = before.copy()
                after.draw(number + 1)
                after.number -= after.number % after.settings.freq
                yield begin + number + 1, (after, after.bag)

    def _rows(self, bag: Any) -> NDArray[Any] | None:
        if bag is None or bag.dtype != np.uint64:
            return bag
        return unpack_rows(bag, self._units.n_rows)

    def _accepts(
        self, iteration: int, after: Draws | None, bag: Any, needed: float
    ) -> bool:
        """Return whether a bag fits, and not by chance."""
        rows, fitted = self._rows(bag), self._fitted[iteration]
        if not all(self._trees.fits(tree, rows) for tree in fitted):
            return False
        evidence = self._evidence(iteration, is_by_values=self._compares_values)
        if evidence >= needed:
            return True
        return isinstance(after, BaggingDraws) and self._goes_on_fitting(
            iteration, after, needed - evidence
        )

    def _goes_on_fitting(
        self, iteration: int, after: BaggingDraws, needed: float
    ) -> bool:
        """Return whether the next trees have the counts of the next bags."""
        ahead = after.copy()
        for later in range(iteration + 1, self._n_iterations):
            ahead.number += 1
            if ahead.is_due:
                ahead.draw()
            rows = self._rows(ahead.bag)
            if not all(self._trees.counts_fit(t, rows) for t in self._fitted[later]):
                return False
            needed -= self._evidence(later, is_by_values=False)
            if needed <= 0.0:
                return True
        return False

    def _has_its_counts(self, iteration: int, bag: Any) -> bool:
        if self._evidence(iteration, is_by_values=False) < _CERTAIN:
            return False
        rows = self._rows(bag)
        return all(self._trees.counts_fit(t, rows) for t in self._fitted[iteration])

    def _evidence(self, iteration: int, *, is_by_values: bool) -> float:
        """Return how improbable it is that another bag fits, in bits.

        The rows of a leaf in another bag are spread with a standard deviation of about
        ``sqrt(count (1 - share))``.
        """
        ensemble, bits = self._trees.ensemble, 0.0
        for tree in self._fitted[iteration]:
            leaves = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
            if is_by_values:
                bits += _VALUE_BITS * (leaves.stop - leaves.start)
            if ensemble.leaf_count is None:
                continue
            count = ensemble.leaf_count[leaves]
            share = min(1.0, count.sum() / self._units.n_rows)
            chances = np.sqrt(2.0 * np.pi * count * (1.0 - share))
            bits += float(np.log2(np.maximum(chances, 1.0)).sum())
        return bits

    def _search(self, iteration: int) -> tuple[Draws, Any, bool] | None:
        """Find a start with another seed or fraction, by the counts."""
        has_drawn = any(stretch.settings is not None for stretch in self.stretches)
        most = _MOST_SEARCHES if has_drawn else _MOST_IN_VAIN
        is_over = self._n_searches >= most or not self._is_sampled(iteration)
        if self._roots is None or is_over:
            return None
        self._n_searches += 1
        for settings, n_tried in self._candidates(iteration):
            started = self._start(settings, iteration)
            after, bag = self._go_on(started, iteration, is_forced=True)
            if self._accepts(iteration, after, bag, _FIRST + math.log2(n_tried)):
                self._begin(iteration, settings, is_found=True)
                return after, bag, True
        return None

    def _candidates(self, iteration: int) -> Iterator[tuple[Bagging | Goss, float]]:
        assert self._roots is not None
        is_wide = self._is_wide and self._n_searches == 1
        of_goss = [start for start in self._starts if isinstance(start, Goss)]
        if of_goss and self._searches_goss and self._n_searches == 1:
            yield from find_goss_seed(
                *(self._trees, self._units, self._sizes(iteration)),
                *(self._fitted[iteration], of_goss),
                is_wide=is_wide,
            )
        yield from find_bagging(
            *(self._trees, self._units, iteration, self._fitted, self._roots),
            stored=[start for start in self._starts if isinstance(start, Bagging)],
            seeds=self._seeds,
            is_wide=is_wide,
        )
