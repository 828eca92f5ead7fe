"""What replays a library's row sampling: the generator of each tree's bag."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags

__all__ = ["RecoveredBags", "RowSampler", "StagedTrees", "find_sampler"]

_SAMPLERS = {
    "lightgbm": "treeinf.adapters.lightgbm.row_sampling",
    "scikit-learn": "treeinf.adapters.sklearn.row_sampling",
    "xgboost": "treeinf.adapters.xgboost.row_sampling",
}
"""Values of `TreeEnsemble.library`, and the module whose `find_sampler` reads them."""


class StagedTrees(Protocol):
    """The trees of a model and the rows that they were trained on, tree by tree."""

    @property
    def ensemble(self) -> TreeEnsemble:
        """The model, its base score apart, penalties in the units of the sums."""

    @property
    def n_rows(self) -> int:
        """Train rows."""

    @property
    def y(self) -> NDArray[np.float64]:
        """Targets as the loss reads them, shape (n_rows,); an error if not passed."""

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weights of the gradients, shape (n_rows,); empty for 1."""

    @property
    def compares_values(self) -> bool:
        """Whether `fits` compares leaf values.

        Else it compares counts alone, and several bags may fit a small tree.
        """

    def leaf(self, tree: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the leaf of each row within a tree, shape (n_rows,)."""

    def derivatives(
        self, iteration: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute gradients and hessians before an iteration, weights included.

        Scores are those of the stored leaf values, whatever bags were found. Ask in
        increasing order of iterations: each is replayed from the one before.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_outputs, n_rows)
        """

    def counts_fit(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag gives the stored leaf counts, or else leaf weights.

        `factor` is bool or float32, shape (n_rows,), or None for all rows. True where
        the model stores neither.
        """

    def fits(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag gives the stored counts, hessian sums and leaf values.

        To the library's precision. Cheap checks come first.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class RecoveredBags:
    """What a sampler drew, or found.

    Parameters
    ----------
    bags : Bags
        All trees' bags; -1 for trees that saw all rows or were not found.
    is_found : ndarray of bool, shape (n_trees,)
        Trees whose bag is known.
    source : str
        How they were drawn, for a sentence: "LightGBM bagging, seed 3".
    parameters : mapping
        Parameters that were not stored and were found by search, as they can be passed
        to ``read_model(..., parameters=...)`` next time; empty for none.
    held_out : ndarray of bool, shape (n_rows,) or (0,)
        Rows that no part of the training saw, the base score included; they are in no
        bag either. Empty for none.
    """

    bags: Bags
    is_found: NDArray[np.bool_]
    source: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    held_out: NDArray[np.bool_] = dataclasses.field(
        default_factory=lambda: np.empty(0, np.bool_)
    )


class RowSampler(Protocol):
    """A library's row sampling with the parameters of one model."""

    def draw(self, trees: StagedTrees) -> RecoveredBags | None:
        """Draw all bags as the library would, without looking at the trees.

        The fast path: the caller compares all trees with the model at once, in its
        replay. None where draws depend on gradients, or on what the trees do not say.
        """

    def search(self, trees: StagedTrees) -> RecoveredBags:
        """Find the bags tree by tree, each accepted where it fits the model.

        Called if `draw` returned None or some of its trees do not fit.
        """


@functools.cache
def _load(module: str) -> Any:
    return importlib.import_module(module)


def find_sampler(
    ensemble: TreeEnsemble, *, is_wide: bool = False, group: ArrayLike | None = None
) -> RowSampler | None:
    """Return what replays the row sampling of a model.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as it was read.
    is_wide : bool, default=False
        Search through many seeds where the seed is not stored, which takes minutes.
    group : array-like of int, shape (n_queries,), optional
        Rows of each query, as they were passed to the training, where whole queries
        were drawn (LightGBM's ``bagging_by_query``).

    Returns
    -------
    RowSampler or None
        None where the training is known to have used all rows, or where the library's
        draws cannot be replayed.
    """
    module = _SAMPLERS.get(ensemble.library)
    if module is None:
        return None
    options: dict[str, Any] = {"is_wide": is_wide}
    if group is not None and ensemble.library != "lightgbm":
        raise ValueError(
            f"Got group for a model of {ensemble.library}, which draws rows; pass it "
            "for LightGBM's bagging_by_query alone."
        )
    if group is not None:
        options["group"] = group
    sampler: RowSampler | None = _load(module).find_sampler(ensemble, **options)
    return sampler
