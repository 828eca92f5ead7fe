"""Find the rows that each tree saw, and accept them where they reproduce the tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from treeinf.adapters.row_sampling import RecoveredBags, RowSampler
from treeinf.dtypes import NODE
from treeinf.ensemble import TreeEnsemble
from treeinf.trace.staged_trees import ReplayedTrees
from treeinf.trace.tree_fit import TreeFit

__all__ = ["recover_bags"]


class _Replay(Protocol):
    """What is read of a `TrainingTrace`."""

    @property
    def fit(self) -> TreeFit: ...


_Trace = TypeVar("_Trace", bound=_Replay)


def recover_bags(
    sampler: RowSampler,
    trees: ReplayedTrees,
    replay: Callable[[RecoveredBags | None], _Trace],
) -> _Trace:
    """Replay the training with the bags that reproduce most trees.

    Bags that are drawn by the nominal schedule are compared with all trees at once, in
    the replay itself. Trees are searched one by one only if some do not fit, and not
    where all rows reproduce the model, or the bags are right and the labels or weights
    are not.

    Parameters
    ----------
    sampler : RowSampler
        The library's generator.
    trees : ReplayedTrees
        The trees with their rows.
    replay : callable
        Replays the training over the bags; None for all rows.

    Returns
    -------
    TrainingTrace
        Of all rows if no tree's bag was found.
    """
    ensemble = trees.ensemble
    if not trees.compares_values and ensemble.leaf_count is None:
        # values do not tell; the search compares sums of hessians, where they are known
        by_hessians = sampler.search(trees)
        return replay(by_hessians if by_hessians.is_found.any() else None)
    drawn = sampler.draw(trees)
    if drawn is not None:
        first = replay(drawn)
        if first.fit.fits.all() or first.fit.rows_fit(ensemble):
            return first
    plain = replay(None)
    if plain.fit.fits.all():
        return plain
    searched = sampler.search(trees)
    candidates = [searched] if searched.is_found.any() else []
    if drawn is not None and (first.fit.fits > plain.fit.fits).any():
        candidates.append(_without_misfits(drawn, first.fit, ensemble))
    best, n_best = plain, 0
    for candidate in candidates:
        trace = replay(candidate)
        if (candidate.is_found & ~trace.fit.fits).any():
            trace = replay(_without_misfits(candidate, trace.fit, ensemble))
        n_fit = int((trace.fit.fits & ~plain.fit.fits).sum())
        if n_fit > n_best:
            best, n_best = trace, n_fit
    return best


def _without_misfits(
    recovered: RecoveredBags, fit: TreeFit, ensemble: TreeEnsemble
) -> RecoveredBags:
    """Return the bags of the trees that they reproduce; others saw all rows."""
    is_found = recovered.is_found & fit.fits
    of_tree = recovered.bags.of_tree
    if not of_tree.size:
        of_tree = np.full(ensemble.n_trees, -1, NODE)
    of_tree = np.where(is_found, of_tree, -1).astype(NODE)
    bags = dataclasses.replace(recovered.bags, of_tree=of_tree)
    return dataclasses.replace(recovered, bags=bags, is_found=is_found)
