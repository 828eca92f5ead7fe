"""Find the parameters of LightGBM's GOSS from leaf counts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from treeinf.adapters.lightgbm.row_draws import Goss, Units, batch_rows
from treeinf.adapters.lightgbm.row_settings import DERIVED_SEEDS
from treeinf.adapters.row_sampling import StagedTrees

__all__ = ["find_goss_seed", "list_rates", "list_threads", "starts_with_all_rows"]

_MOST_THREADS = 512
_STEP = 20
"""Rates that are not stored are multiples of one in so many."""
_MOST_DRAWS = 2**32
"""Draws of one row each that a search for a seed may spend without being asked to."""
_WORTH_A_BAR = 2**31


def list_threads(n_rows: int, stored: int) -> list[int]:
    """List numbers of threads that make a difference, the stored one first.

    Parameters
    ----------
    n_rows : int
        Train rows.
    stored : int
        Threads of the training; 0 if it used what the machine had.
    """
    of_batch: dict[int, int] = {}
    for n_threads in (stored, *range(1, _MOST_THREADS)):
        if n_threads > 0:
            of_batch.setdefault(batch_rows(n_rows, n_threads), n_threads)
    return list(of_batch.values())


def starts_with_all_rows(roots: NDArray[np.int64], n_rows: int) -> bool:
    """Return whether the first iterations had all rows and later ones equally few.

    That is GOSS, up to rows of equal gradients; bagging starts with the first
    iteration, and its bags differ in size.
    """
    sampled = np.flatnonzero((roots > 0) & (roots < n_rows))
    if not sampled.size or sampled[0] == 0 or (roots[: sampled[0]] != n_rows).any():
        return False
    later = roots[sampled[0] :]
    is_fewest = later == later.min()
    return bool(is_fewest.all() or is_fewest.sum() > 1)


def list_rates(roots: NDArray[np.int64], n_rows: int) -> list[tuple[float, float]]:
    """List top and other rates whose samples have as many rows, the default first."""
    n_drawn = int(roots[roots > 0].min())
    grid = [number / _STEP for number in range(1, _STEP)]
    pairs = [(0.2, 0.1)]
    pairs += [pair for pair in itertools.product(grid, grid) if sum(pair) < 1.0]
    batches = {batch_rows(n_rows, n_threads) for n_threads in list_threads(n_rows, 1)}

    def fits(pair: tuple[float, float]) -> bool:
        return any(
            sum(
                max(1, int(size * pair[0])) + int(size * pair[1])
                for size in np.diff([*range(0, n_rows, batch), n_rows]).tolist()
            )
            == n_drawn
            for batch in batches
        )

    return [pair for pair in dict.fromkeys(pairs) if fits(pair)]


def find_goss_seed(
    trees: StagedTrees,
    units: Units,
    size: NDArray[np.float32],
    fitted: list[int],
    starts: Sequence[Goss],
    *,
    is_wide: bool,
) -> Iterator[tuple[Goss, int]]:
    """Search the seed with which the first sample has the counts of its trees.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    units : Units
        The rows.
    size : ndarray of float32, shape (n_rows,)
        Size of the gradients before the first iteration that drew.
    fitted : list of int
        Trees with splits of that iteration.
    starts : sequence of Goss
        Parameters of which the seed may be another.
    is_wide : bool
        Search even if it takes minutes.

    Yields
    ------
    settings : Goss
        Parameters that give the counts.
    n_tried : int
        Among how many they were found.
    """
    n_tried = DERIVED_SEEDS * len(starts)
    if n_tried * units.n_rows > _MOST_DRAWS and not is_wide:
        return
    ensemble = trees.ensemble
    assert ensemble.leaf_count is not None
    tree = fitted[0]
    leaf = trees.leaf(tree).astype(np.int64)
    bounds = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
    leaf_count = np.asarray(ensemble.leaf_count[bounds], np.int64)
    is_slow = n_tried * units.n_rows > _WORTH_A_BAR
    for start in tqdm(
        starts,
        desc="LightGBM seeds",
        unit="setting",
        leave=False,
        disable=None if is_slow else True,
    ):
        draws = start.start(units)
        for seed in draws.screen(size, leaf, leaf_count, DERIVED_SEEDS).tolist():
            yield dataclasses.replace(start, seed=seed), n_tried
