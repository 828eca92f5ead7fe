"""Replay the row sampling of LightGBM."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.adapters.lightgbm.bag_search import BagSearch
from treeinf.adapters.lightgbm.goss_search import (
    list_rates,
    list_threads,
    starts_with_all_rows,
)
from treeinf.adapters.lightgbm.row_draws import (
    Bagging,
    Goss,
    Units,
    pack_rows,
    to_limit,
    unpack_rows,
)
from treeinf.adapters.lightgbm.seed_search import root_counts, round_fraction
from treeinf.adapters.row_sampling import RecoveredBags, RowSampler, StagedTrees
from treeinf.dtypes import NODE
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags

__all__ = ["LightGBMSampler", "find_sampler"]

_DEFAULT_SEED = 3
_MOST_NAMED = 4


def find_sampler(
    ensemble: TreeEnsemble,
    *,
    is_wide: bool = False,
    group: ArrayLike | None = None,
) -> RowSampler | None:
    """Return what replays the row sampling of a model, if anything does.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as it was read.
    is_wide : bool, default=False
        Try all bagging seeds where none that follows from ``seed`` fits.
    group : array-like of int, shape (n_queries,), optional
        Rows of each query, as they were passed to the training.
    """
    if ensemble.training.row_sampling is None:
        return None
    settings = dict(ensemble.training.row_sampling)
    if settings["kind"] in ("none", "unknown"):
        # leaf counts may know better: of trees of an earlier call of training, or where
        # the file does not list the parameters
        if ensemble.leaf_count is None:
            return None
        counts = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
        counts = counts[np.diff(ensemble.leaf_offset) > 1]
        is_unknown = settings["kind"] == "unknown"
        if not len(counts) or (not is_unknown and (counts == counts[0]).all()):
            return None
    return LightGBMSampler(settings, is_wide, group)


class LightGBMSampler:
    """Bagging and GOSS with the parameters of one model.

    Parameters
    ----------
    settings : dict
        See `row_settings.sampling_settings`.
    is_wide : bool
        Try all bagging seeds where none that follows from ``seed`` fits.
    group : array-like of int, shape (n_queries,), or None
        Rows of each query.
    """

    def __init__(
        self, settings: dict[str, Any], is_wide: bool, group: ArrayLike | None
    ) -> None:
        self._settings = settings
        self._is_wide = is_wide
        self._group = group

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags; see `RowSampler`."""
        settings = self._settings
        if settings["kind"] != "bagging" or settings["seed"] is None:
            return None
        units = self._units(trees)
        if units is None:
            return None
        ensemble = trees.ensemble
        bagging = self._baggings()[0]
        draws = bagging.start(units)
        number = np.arange(ensemble.n_iterations)
        has_split = np.diff(ensemble.leaf_offset) > 1
        if not has_split[ensemble.iteration == 0].any() and not ensemble.is_averaged:
            # the first iteration without a split is kept, and its number used again
            number = np.maximum(number - 1, 0)
        bag = np.cumsum(number % bagging.freq == 0) - 1
        bits = draws.draw(int(bag[-1]) + 1)
        # once a bag has all rows, none is drawn any more
        is_full = np.bitwise_count(bits).sum(axis=1, dtype=np.int64) == units.n_rows
        last = int(np.argmax(is_full)) if is_full.any() else len(bits)
        bag[bag >= last] = -1
        bags = Bags(
            n_rows=units.n_rows,
            bits=bits[:last],
            factor=np.empty((0, 0), np.float32),
            of_tree=bag[ensemble.iteration].astype(NODE),
        )
        return RecoveredBags(bags, np.ones(ensemble.n_trees, np.bool_), _name(bagging))

    def search(self, trees: StagedTrees) -> RecoveredBags:
        """Find the bags tree by tree; see `RowSampler`."""
        ensemble, settings = trees.ensemble, self._settings
        n_trees = ensemble.n_trees
        units = self._units(trees)
        if units is None:
            return RecoveredBags(
                Bags.all_rows(trees.n_rows),
                np.zeros(n_trees, np.bool_),
                "LightGBM bagging by query (pass group= to find the bags)",
            )
        starts = self._starts(trees)
        seeds = dict.fromkeys((settings["seed"], _DEFAULT_SEED))
        walk = BagSearch(
            *(trees, units, starts),
            tuple(seed for seed in seeds if seed is not None),
            is_wide=self._is_wide,
            has_seed=settings["seed"] is not None,
        )
        walk.run()
        return RecoveredBags(
            bags=_collect(walk, units.n_rows, ensemble.iteration),
            is_found=walk.is_found[ensemble.iteration],
            source=self._describe(walk),
            parameters=self._parameters(walk, starts),
        )

    def _units(self, trees: StagedTrees) -> Units | None:
        """Return what is drawn; None where the queries are not known."""
        n_rows = trees.n_rows
        if self._settings["by_query"] and self._settings["kind"] == "bagging":
            if self._group is None:
                return None
            group = np.asarray(self._group)
            if group.ndim != 1 or group.dtype.kind not in "iu" or (group < 0).any():
                raise ValueError(
                    f"Got group of dtype {group.dtype} and shape {group.shape}; "
                    "expected the number of rows of each query."
                )
            if group.sum() != n_rows:
                raise ValueError(
                    f"The queries in group have {group.sum():,} rows, X has {n_rows:,}."
                )
            query = np.repeat(np.arange(len(group)), group)
            return Units(n_rows, len(group), query)
        if self._settings["positive_fraction"] is not None:
            return Units(n_rows, n_rows, positive=pack_rows(trees.y > 0.0))
        return Units(n_rows, n_rows)

    @property
    def _seed(self) -> int:
        """The bagging seed, or LightGBM's default."""
        seed = self._settings["seed"]
        return _DEFAULT_SEED if seed is None else int(seed)

    def _starts(self, trees: StagedTrees) -> list[Bagging | Goss]:
        """List the parameters that training may have been called with."""
        settings, n_rows = self._settings, trees.n_rows
        if settings["kind"] == "bagging":
            return [*self._baggings()]
        rates, n_warm_up = [], 0
        if settings["kind"] == "goss":
            rates = [(settings["top_rate"], settings["other_rate"])]
            n_warm_up = settings["n_warm_up"]
        elif settings["kind"] == "unknown":
            roots = root_counts(trees)
            if roots is not None and starts_with_all_rows(roots, n_rows):
                rates = list_rates(roots, n_rows)
                n_warm_up = int(np.argmax(roots < n_rows))
        return [
            Goss(self._seed, *pair, n_threads, n_warm_up)
            for pair in rates
            for n_threads in list_threads(n_rows, settings["n_threads"])
        ]

    def _baggings(self) -> list[Bagging]:
        """List the parameters that are stored with six digits, the likeliest first."""
        settings = self._settings
        freq = max(1, settings["freq"])
        if settings["positive_fraction"] is None:
            limits = _unround_limits(settings["fraction"])
            return [Bagging(self._seed, limit, limit, freq) for limit in limits]
        choices = itertools.product(
            _unround_limits(settings["negative_fraction"]),
            _unround_limits(settings["positive_fraction"]),
        )
        return [Bagging(self._seed, *limits, freq) for limits in choices]

    def _describe(self, walk: BagSearch) -> str:
        """Describe the calls of training that were found, for a sentence."""
        names = [
            (stretch.first_iteration, _name(stretch.settings, stretch.is_found))
            for stretch in walk.stretches
            if stretch.settings is not None
        ]
        if not names:
            return "LightGBM"
        sentences = [names[0][1]]
        sentences += [f"from iteration {first + 1} {name}" for first, name in names[1:]]
        if len(sentences) > _MOST_NAMED:
            n_more = len(sentences) - _MOST_NAMED
            sentences = [*sentences[:_MOST_NAMED], f"{n_more} more such changes"]
        return "; ".join(sentences)

    def _parameters(
        self, walk: BagSearch, starts: list[Bagging | Goss]
    ) -> dict[str, Any]:
        """Return what was not stored and can be passed next time."""
        stretches = [
            stretch for stretch in walk.stretches if stretch.settings is not None
        ]
        if len(stretches) != 1:
            return {}
        settings, stored = stretches[0].settings, self._settings
        if isinstance(settings, Goss):
            parameters: dict[str, Any] = {"num_threads": settings.n_threads}
            if stored["seed"] is None:
                parameters["bagging_seed"] = settings.seed
            if stored["kind"] == "unknown":
                parameters["data_sample_strategy"] = "goss"
                parameters["top_rate"] = settings.top_rate
                parameters["other_rate"] = settings.other_rate
            is_stored = stored["n_threads"] == settings.n_threads
            return {} if is_stored and stored["seed"] is not None else parameters
        if settings is None or (settings in starts and stored["seed"] is not None):
            return {}
        parameters = {"bagging_freq": settings.freq, "bagging_seed": settings.seed}
        if settings.limit == settings.positive_limit:
            fraction = round_fraction(settings.limit, settings.limit)
            parameters["bagging_fraction"] = fraction
        return parameters


def _unround_limits(fraction: float) -> list[int]:
    """Return the limits of the fractions that six digits may stand for."""
    limits = [to_limit(fraction)]
    if float(f"{fraction:g}") == fraction and fraction < 1.0:
        half = 0.5 * 10.0 ** (math.floor(math.log10(max(fraction, 1e-9))) - 5)
        limits += [to_limit(fraction - half), to_limit(fraction + half)]
    return list(dict.fromkeys(limits))


def _name(settings: Bagging | Goss, is_found: bool = False) -> str:
    if isinstance(settings, Goss):
        threads = (
            "1 thread" if settings.n_threads == 1 else f"{settings.n_threads} threads"
        )
        return f"LightGBM GOSS, seed {settings.seed}, {threads}"
    name = f"LightGBM bagging, seed {settings.seed}"
    if is_found and settings.limit == settings.positive_limit:
        fraction = round_fraction(settings.limit, settings.limit)
        name += f", bagging_fraction={fraction:g}, bagging_freq={settings.freq}"
    return name


def _collect(walk: BagSearch, n_rows: int, iteration: NDArray[np.int32]) -> Bags:
    """Collect the bags of all iterations, each once."""
    bags: list[NDArray[Any]] = []
    number = np.full(len(walk.bags), -1)
    is_weighted = any(bag is not None and bag.dtype != np.uint64 for bag in walk.bags)
    last = None
    for step, bag in enumerate(walk.bags):
        if bag is not None and bag is not last:
            last = bag
            if is_weighted and bag.dtype == np.uint64:
                bag = unpack_rows(bag, n_rows).astype(np.float32)
            bags.append(bag)
        number[step] = -1 if bag is None else len(bags) - 1
    if not bags:
        return Bags.all_rows(n_rows)
    none = np.empty((0, 0))
    return Bags(
        n_rows=n_rows,
        bits=none.astype(np.uint64) if is_weighted else np.stack(bags),
        factor=np.stack(bags) if is_weighted else none.astype(np.float32),
        of_tree=number[iteration].astype(NODE),
    )
