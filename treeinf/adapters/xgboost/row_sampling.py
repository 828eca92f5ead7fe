"""Replay the row sampling of XGBoost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import RecoveredBags, RowSampler, StagedTrees
from treeinf.adapters.xgboost.bag_search import BagSearch, Origin
from treeinf.adapters.xgboost.gradient_draws import GradientDraws
from treeinf.adapters.xgboost.leaf_sums import bound_share
from treeinf.adapters.xgboost.parameters import ONE_DRAW_A_ROW
from treeinf.adapters.xgboost.row_draws import (
    Draws,
    ExactDraws,
    UniformDraws,
    list_round_shares,
)
from treeinf.dtypes import NODE
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.ensemble.bags import Bags

__all__ = ["XGBoostSampler", "find_sampler"]

_DRAWS_BY_COLUMNS = (3, 3)
"""Since this version each choice of columns takes an output of the generator.

Before, the first tree took one for all of them, sampled or not.
"""
_MOST_THREADS = 128


def find_sampler(ensemble: TreeEnsemble, *, is_wide: bool = False) -> RowSampler | None:
    """Return what replays the row sampling of a model, if anything does.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as it was read.
    is_wide : bool, default=False
        Try all seeds below 2**31 where no small one fits.
    """
    settings = ensemble.training.row_sampling
    return None if settings is None else XGBoostSampler(dict(settings), is_wide)


class XGBoostSampler:
    """Row sampling with the parameters of one model.

    Parameters
    ----------
    settings : dict
        See `XGBoostParameters.row_sampling`.
    is_wide : bool
        Try all seeds below 2**31 where no small one fits.
    """

    def __init__(self, settings: dict[str, Any], is_wide: bool) -> None:
        self._settings = settings
        self._is_wide = is_wide
        self._version = tuple(settings["version"])
        self._is_by_gradient = settings["sampling_method"] == "gradient_based"

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags; see `RowSampler`."""
        settings = self._settings
        subsample = settings["subsample"]
        if subsample is None or self._is_by_gradient or self._schedule is None:
            return None
        if trees.ensemble.training.approximations:
            return None  # values would not be compared; the search asks for more
        ensemble, n_rows = trees.ensemble, trees.n_rows
        number = np.arange(ensemble.n_trees)
        if settings["method"] == "approx":
            is_new = np.ones(ensemble.n_trees, np.bool_)
            is_new[1:] = np.diff(ensemble.iteration) != 0
            if ensemble.leaf_width == 1:
                is_new[1:] |= np.diff(ensemble.output) != 0
            number = np.cumsum(is_new) - 1
        _, first = np.unique(number, return_index=True)
        iterations = ensemble.iteration[first].tolist()
        if settings["method"] == "exact":
            exact = ExactDraws(n_rows, subsample)
            bags = [
                exact.draw(outputs)
                for outputs in self._outputs(iterations, exact.outputs_per_bag)
            ]
            recovered = Bags.from_rows(n_rows, bags, number)
        else:
            starts = np.concatenate(list(self._outputs(iterations, 1)))
            draws = UniformDraws.between(n_rows, subsample, subsample)
            bits = draws.draw_words(starts)
            factor = np.empty((0, 0), np.float32)
            recovered = Bags(n_rows, bits, factor, number.astype(NODE))
        is_found = np.ones(ensemble.n_trees, np.bool_)
        source = self._describe([subsample], [self._origin])
        return RecoveredBags(recovered, is_found, source)

    def search(self, trees: StagedTrees) -> RecoveredBags:
        """Find the bags tree by tree; see `RowSampler`."""
        ensemble, n_rows = trees.ensemble, trees.n_rows
        drops_trees = self._settings["drops_trees"]
        is_known = not drops_trees or type(ensemble.loss) is losses.SquaredError
        choices = self._choices(trees) if is_known else []
        bags: list[NDArray[Any] | None] = [None] * ensemble.n_trees
        if not choices:
            return self._collect(n_rows, bags, "XGBoost subsample", {})
        search = BagSearch(
            *(trees, choices, self._origin),
            schedule=self._schedule,
            shares_bags=self._settings["method"] in ("approx", None),
            is_wide=self._is_wide,
            earlier=self._settings.get("earlier", ()),
        )
        search.run()
        source = "XGBoost subsample"
        if search.origins:
            source = self._describe(search.shares, search.origins)
        elif self._settings["subsample"] is not None:
            source = self._describe([self._settings["subsample"]], [self._origin])
        return self._collect(n_rows, search.bags, source, self._parameters(search))

    @property
    def _origin(self) -> Origin:
        settings = self._settings
        return Origin(settings["seed"], 0, bool(settings["seed_per_iteration"]))

    @property
    def _schedule(self) -> tuple[int, int] | None:
        """Output that the first bag begins with, and outputs between two bags.

        None where they vary.
        """
        if self._settings["drops_trees"]:
            return None
        if self._version < _DRAWS_BY_COLUMNS:
            return (0, 1) if self._settings["method"] == "exact" else (1, 0)
        return None if self._settings["samples_columns"] else (0, 0)

    def _outputs(
        self, iterations: Sequence[int], size: int
    ) -> Iterator[NDArray[np.uint64]]:
        """Yield the outputs of each bag, by the iterations of the bags."""
        assert self._schedule is not None
        position, gap = self._schedule
        origin, twister = self._origin, self._origin.twister(0)
        for before, iteration in zip([0, *iterations], iterations, strict=False):
            if origin.is_per_iteration and iteration > before:
                twister, position = origin.twister(iteration), 0
            yield twister.take(position, size)
            position += size + gap

    def _choices(self, trees: StagedTrees) -> list[Draws]:
        """List the ways in which bags may have been drawn, the likeliest first."""
        settings, n_rows = self._settings, trees.n_rows
        subsample, method = settings["subsample"], settings["method"]
        choices: list[Draws] = []
        if self._is_by_gradient:
            if subsample is None or settings["drops_trees"]:
                return []
            counts: list[int | None] = [settings["n_threads"] or 1]
            counts += [n for n in range(1, _MOST_THREADS + 1) if n not in counts]
            first = 0 if self._version >= ONE_DRAW_A_ROW else 1
            counts.insert(first, None)
            for n_threads in counts:
                choices.append(GradientDraws(n_rows, subsample, n_threads))
            return choices
        if subsample is not None:
            if method != "exact":
                choices.append(UniformDraws.between(n_rows, subsample, subsample))
            if method in ("exact", None):
                choices.append(ExactDraws(n_rows, subsample))
            return choices
        if type(trees.ensemble.loss) is losses.SquaredError:
            hessian = trees.weight if trees.weight.size else np.ones(n_rows)
        else:
            hessian = trees.derivatives(0)[1][max(int(trees.ensemble.output[0]), 0)]
        share = bound_share(trees, 0, hessian)
        if share is None:
            return []
        if method != "exact":
            choices.append(UniformDraws.between(n_rows, *share))
        if method in ("exact", None):
            choices += [
                ExactDraws(n_rows, number) for number in list_round_shares(*share)
            ]
        return choices

    def _describe(self, shares: Sequence[float], origins: Sequence[Origin]) -> str:
        """Describe how bags were drawn, for a sentence."""
        numbers = dict.fromkeys(f"{share:g}" for share in shares)
        words = [f"XGBoost subsample={' and '.join(numbers)}"]
        if self._is_by_gradient:
            words.append("sampling_method=gradient_based")
        seeds = list(dict.fromkeys(str(origin.seed) for origin in origins))
        words.append(f"seed{'s' * (len(seeds) > 1)} {' and '.join(seeds)}")
        restarts = [str(o.first_iteration) for o in origins if o.first_iteration > 0]
        if restarts:
            words.append(f"trained on from iteration {' and '.join(restarts)}")
        return ", ".join(words)

    def _parameters(self, search: BagSearch) -> dict[str, Any]:
        """Return the parameters that were found and not stored."""
        settings = self._settings
        if not search.origins:
            return {}
        parameters: dict[str, Any] = {}
        shares = [np.float32(share) for share in search.shares]
        if settings["subsample"] not in shares:
            parameters["subsample"] = search.shares[-1]
        origin = search.origins[0]
        if origin.seed != settings["seed"] or not settings["is_seed_known"]:
            parameters["seed"] = origin.seed
        if origin.is_per_iteration and not settings["seed_per_iteration"]:
            parameters["seed_per_iteration"] = True
        if isinstance(search.draws, ExactDraws) and settings["method"] is None:
            parameters["tree_method"] = "exact"
        if isinstance(search.draws, GradientDraws):
            n_threads = search.draws.n_threads
            if n_threads is not None and n_threads != settings["n_threads"]:
                parameters["nthread"] = n_threads
        return parameters

    def _collect(
        self,
        n_rows: int,
        bags: Sequence[NDArray[Any] | None],
        source: str,
        parameters: dict[str, Any],
    ) -> RecoveredBags:
        """Collect the bags of all trees; equal neighbours are one."""
        kept: list[NDArray[Any]] = []
        of_tree = np.full(len(bags), -1, NODE)
        for tree, bag in enumerate(bags):
            if bag is None:
                continue
            if not kept or bag is not kept[-1]:
                kept.append(bag)
            of_tree[tree] = len(kept) - 1
        bits, factor = np.empty((0, 0), np.uint64), np.empty((0, 0), np.float32)
        if kept and kept[0].dtype == np.uint8:
            bits = np.zeros((len(kept), -(-n_rows // 64)), np.uint64)
            bits.view(np.uint8)[:, : len(kept[0])] = kept
        elif kept:
            factor = np.stack(kept)
        is_found = of_tree >= 0
        if not kept:
            of_tree = of_tree[:0]
        recovered = Bags(n_rows, bits, factor, of_tree)
        return RecoveredBags(recovered, is_found, source, parameters)
