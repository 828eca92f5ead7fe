"""Content of an XGBoost model file as validated fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.records import FieldChecks

__all__ = ["FIELDS", "XGBoostFile"]

FIELDS = FieldChecks("XGBoost")


@dataclasses.dataclass(frozen=True)
class XGBoostFile:
    """Validated content of an XGBoost file; trees as parsed entries.

    Parameters
    ----------
    version : str
        Version of the library that wrote the file.
    booster : str
        "gbtree" or "dart".
    objective : str
        Name of the objective.
    objective_parameters : dict of str to str
        Its parameters.
    n_features, n_outputs : int
        Columns of the rows and of the raw scores.
    n_target_columns : int
        Columns of the training targets.
    n_parallel : int
        Trees for each iteration and output.
    base_score : ndarray of float64, shape (1,) or (n_outputs,)
        As written: on the scale of predictions, not of raw scores.
    estimates_base_score : bool
        Whether it was estimated from the train rows.
    iteration, output : ndarray of int32, shape (n_trees,)
        Of each tree; `output` is ignored where leaves hold all outputs.
    tree_weight : ndarray of float64, shape (n_trees,)
        Factor on each tree's leaf values; 1 except for dart.
    feature_names : tuple of str, or None
        Names, where the training rows had any.
    labels : tuple, or None
        For each feature the tuple of its category labels, or None (3.1 and later).
    best_iteration : int or None
        Set if training was stopped early.
    is_estimator : bool
        Whether an estimator wrote the file, not a booster.
    trees : list of dict
        Parsed entries of each tree.
    """

    version: str
    booster: str
    objective: str
    objective_parameters: dict[str, str]
    n_features: int
    n_outputs: int
    n_target_columns: int
    n_parallel: int
    base_score: NDArray[np.float64]
    estimates_base_score: bool
    iteration: NDArray[np.int32]
    output: NDArray[np.int32]
    tree_weight: NDArray[np.float64]
    feature_names: tuple[str, ...] | None
    labels: tuple[tuple[Any, ...] | None, ...] | None
    best_iteration: int | None
    is_estimator: bool
    trees: list[Mapping[str, Any]]

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version as numbers, to compare with others."""
        return tuple(map(int, self.version.split(".")))

    def first(self, iterations: int) -> XGBoostFile:
        """Return the file with the trees of the first iterations alone."""
        n_trees = int(np.searchsorted(self.iteration, iterations))
        return dataclasses.replace(
            self,
            trees=self.trees[:n_trees],
            iteration=self.iteration[:n_trees],
            output=self.output[:n_trees],
            tree_weight=self.tree_weight[:n_trees],
        )
