"""Replay the row sampling of scikit-learn.

GradientBoosting draws from one Mersenne twister: in each iteration a double a row, then
an integer for each of its trees. From an integer seed it is run forwards; otherwise the
model keeps the generator as training left it, and it is stepped back.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import RecoveredBags, RowSampler, StagedTrees
from treeinf.adapters.sklearn.bootstrap import draw_counts, find_chance
from treeinf.adapters.sklearn.early_stopping import (
    count_kept,
    describe_split,
    list_orders,
    search_splits,
)
from treeinf.adapters.sklearn.twister import step_back
from treeinf.dtypes import NODE
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.kernels.cpu import random_draws

__all__ = ["describe_sampling", "find_sampler"]

_WORDS_PER_DOUBLE, _WORD_BYTES = 2, 4


def describe_sampling(model: Any) -> tuple[tuple[str, Any], ...] | None:
    """Return what a boosted model's sampler needs to know; None if nothing is drawn."""
    settings = describe_split(model)
    is_histogram = hasattr(model, "_predictors")
    if not is_histogram and model.subsample < 1.0:
        settings["subsample"] = float(model.subsample)
    if not settings:
        return None
    if not is_histogram:
        settings["n_iterations"], settings["n_outputs"] = model.estimators_.shape
        if isinstance(model.random_state, int | np.integer):
            settings["seed"] = int(model.random_state)
        else:
            _, words, position, *_ = model._rng.get_state()
            settings |= {"words": tuple(words.tolist()), "position": int(position)}
    return ("kind", "boosting"), *settings.items()


def find_sampler(ensemble: TreeEnsemble, *, is_wide: bool = False) -> RowSampler | None:
    """Return what replays the row sampling of a model, if anything does."""
    facts = ensemble.training
    if facts.subsample is None or facts.row_sampling is None:
        return None
    settings = dict(facts.row_sampling)
    if settings["kind"] != "boosting":
        return ForestSampler(ensemble, settings)
    return BoostingSampler(ensemble, settings)


@dataclasses.dataclass(frozen=True, eq=False)
class _Sampler:
    """Replay of the row sampling of one model.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    settings : dict
        Its `TrainingFacts.row_sampling`.
    """

    ensemble: TreeEnsemble
    settings: dict[str, Any]

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags; see `RowSampler`."""
        raise NotImplementedError

    def search(self, trees: StagedTrees) -> RecoveredBags:
        """Accept the bags that fit, tree by tree; see `RowSampler`."""
        n_trees = self.ensemble.n_trees
        drawn = self.draw(trees)
        if drawn is None:
            is_found = np.zeros(n_trees, np.bool_)
            return RecoveredBags(Bags.all_rows(trees.n_rows), is_found, "")
        is_found = drawn.is_found.copy()
        for tree in np.flatnonzero(is_found):
            is_found[tree] = trees.fits(int(tree), drawn.bags.row_factors(int(tree)))
        bags = drawn.bags
        if bags.of_tree.size:
            of_tree = np.where(is_found, bags.of_tree, -1).astype(NODE)
            bags = dataclasses.replace(bags, of_tree=of_tree)
        return dataclasses.replace(drawn, bags=bags, is_found=is_found)


class BoostingSampler(_Sampler):
    """Replay of `subsample` and of the split for early stopping."""

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags; see `RowSampler`.

        Of the rows that may have been fitted on, those are taken that give the counts
        of the first tree with a bag. A split that was searched differs little from
        others, so it must reproduce all trees.
        """
        # a continued model may have trees from before rows were held out
        saw_fewer = self._count_rows() != trees.n_rows
        first = 0 if "subsample" in self.settings else int(np.argmax(saw_fewer))
        for order in list_orders(self.settings, trees):
            if "subsample" in self.settings:
                bits = self._draw_bags(order, trees.n_rows, 1)
                bag = _collect(trees.n_rows, bits, np.zeros(1)).row_factors(0)
            else:
                bag = np.zeros(trees.n_rows, np.bool_)
                bag[order] = True
            if trees.counts_fit(first, bag):
                return self._draw_of(order, trees.n_rows)
        if "words" not in self.settings or "validation_fraction" not in self.settings:
            return None
        n_fitted = count_kept(self.settings["validation_fraction"], trees.n_rows)
        for order in search_splits(self.settings, trees, self._start(n_fitted)):
            recovered = self._draw_of(order, trees.n_rows)
            if all(
                trees.fits(tree, recovered.bags.row_factors(tree))
                for tree in range(self.ensemble.n_trees)
            ):
                return recovered
        return None

    def _draw_of(self, order: NDArray[np.int64], n_rows: int) -> RecoveredBags:
        """Draw the bags of rows that are numbered in an order."""
        is_held_out = np.ones(n_rows, np.bool_)
        is_held_out[order] = False
        saw_fewer = self._count_rows() != n_rows
        if "subsample" in self.settings:
            bits = self._draw_bags(order, n_rows, self.ensemble.n_iterations)
            bags = _collect(n_rows, bits, self.ensemble.iteration)
        elif len(order) == n_rows:
            bags = Bags.all_rows(n_rows)
        else:
            bags = Bags.from_rows(n_rows, [~is_held_out], np.where(saw_fewer, 0, -1))
        recovered = RecoveredBags(
            bags,
            np.ones(self.ensemble.n_trees, np.bool_),
            self._describe(n_rows - len(order)),
        )
        # the first tree decides whether they had a part in the base score
        if is_held_out.any() and saw_fewer[0]:
            recovered = dataclasses.replace(recovered, held_out=is_held_out)
        return recovered

    def _draw_bags(
        self, order: NDArray[np.int64], n_rows: int, n_iterations: int
    ) -> NDArray[np.uint64]:
        """Draw the bags of the first iterations, a bit for each row."""
        settings, n_fitted = self.settings, len(order)
        n_wanted = max(1, int(settings["subsample"] * n_fitted))
        generator = self._start(n_fitted)
        bits = np.zeros((n_iterations, -(-n_rows // 64)), np.uint64)
        is_plain = n_fitted == n_rows and bool((order == np.arange(n_rows)).all())
        for line in bits:
            draws = generator.uniform(size=n_fitted)
            generator.randint(0, 2**31 - 1, size=settings["n_outputs"])
            if is_plain:
                random_draws.select_rows(draws, n_wanted, line)
                continue
            words = np.zeros(-(-n_fitted // 64), np.uint64)
            random_draws.select_rows(draws, n_wanted, words)
            inside = np.unpackbits(
                words.view(np.uint8), count=n_fitted, bitorder="little"
            )
            bag = np.zeros(n_rows, np.uint8)
            bag[order] = inside
            packed = np.packbits(bag, bitorder="little")
            line.view(np.uint8)[: len(packed)] = packed
        return bits

    def _start(self, n_fitted: int) -> np.random.RandomState:
        """Return the generator before the first iteration."""
        settings = self.settings
        n_draws = n_fitted if "subsample" in settings else 0
        if "seed" in settings:
            generator = np.random.RandomState(settings["seed"])
            for n_rows, n_iterations, _ in settings.get("earlier", ()):
                n_words = _WORDS_PER_DOUBLE * n_rows + settings["n_outputs"]
                generator.bytes(_WORD_BYTES * n_iterations * n_words)
            return generator
        n_words = _WORDS_PER_DOUBLE * n_draws + settings["n_outputs"]
        words = np.array(settings["words"], np.uint32)
        n_back = settings["n_iterations"] * n_words
        return step_back(words, settings["position"], n_back)

    def _count_rows(self) -> NDArray[np.int64]:
        """Return the number of rows of each tree, zeros where it is not stored."""
        count = self.ensemble.leaf_count
        if count is None:
            return np.zeros(self.ensemble.n_trees, np.int64)
        return np.add.reduceat(count, self.ensemble.leaf_offset[:-1])

    def _describe(self, n_held_out: int) -> str:
        settings, words = self.settings, ["scikit-learn"]
        if "subsample" in settings:
            generator = "from the generator that the model keeps"
            if "seed" in settings:
                generator = f"seed {settings['seed']}"
            words.append(f"subsample {settings['subsample']:g}, {generator}")
        if n_held_out:
            words.append(f"held out: {n_held_out:,} rows")
        return f"{words[0]} {', '.join(words[1:])}"


def _collect(n_rows: int, bits: NDArray[np.uint64], of_tree: NDArray[Any]) -> Bags:
    return Bags(n_rows, bits, np.empty((0, 0), np.float32), of_tree.astype(NODE))


class ForestSampler(_Sampler):
    """Replay of the samples of forests and bagged trees."""

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags: how often each row was drawn; see `RowSampler`."""
        settings, n_rows = self.settings, trees.n_rows
        if settings["n_rows"] != n_rows or "seeds" not in settings:
            return None
        chance = None
        if settings["by_weight"] and settings["has_weight"]:
            # targets, which may not be known, matter where classes have weights
            has_classes = self.ensemble.training.class_weight is not None
            target = trees.y if has_classes else np.empty(0)
            chance = find_chance(self.ensemble, target, trees.weight)
        counts = list(draw_counts(self.ensemble, n_rows, chance))
        is_found = np.array([drawn is not None for drawn in counts])
        bags = [drawn for drawn in counts if drawn is not None]
        if not settings["bootstrap"]:
            bags = [drawn.astype(np.bool_) for drawn in bags]
        of_tree = np.where(is_found, np.cumsum(is_found) - 1, -1)
        what = "bootstrap" if settings["bootstrap"] else "sample"
        source = f"scikit-learn {what} of each tree's own seed"
        return RecoveredBags(Bags.from_rows(n_rows, bags, of_tree), is_found, source)
