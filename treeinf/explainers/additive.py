"""Explainers whose influence is a row factor times a leaf factor, added over trees."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.base import Columns, TreeExplainer
from treeinf.explainers.factors import LeafFactors, RowFactors
from treeinf.explainers.targets import Targets
from treeinf.trace import TrainingTrace

__all__ = ["AdditiveExplainer"]


class AdditiveExplainer(TreeExplainer):
    """Base of explainers that are a row factor times a leaf factor.

    A subclass says what the factors are (`_row_factors`, `_leaf_factors`) and how their
    sums are formed (`_total`, `_own`).

    Parameters
    ----------
    on_mismatch : {"raise", "warn", "ignore"}, default="raise"
        What to do if the rows, labels or weights are not those of the training.
    parity, batch_size, n_jobs, verbose
        See `TreeExplainer`.

    Attributes
    ----------
    trace_ : TrainingTrace
        The replay of the training.
    ensemble_ : TreeEnsemble
        The model, its initial score kept apart.
    reproduction_ : ReproductionReport
        How well the model's leaf values follow from the train rows.
    n_features_in_ : int
        Columns of the rows.
    """

    def __init__(
        self,
        *,
        on_mismatch: str = "raise",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            parity=parity, batch_size=batch_size, n_jobs=n_jobs, verbose=verbose
        )
        self.on_mismatch = on_mismatch

    @abc.abstractmethod
    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        """Give the factors of the train rows."""

    @abc.abstractmethod
    def _leaf_factors(self, targets: Targets) -> LeafFactors:
        """Give the leaf factors of a batch of test rows."""

    def _learn(
        self,
        model: Any,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        sample_weight: Any,
        init_score: Any,
    ) -> NDArray[np.uint64]:
        """Replay the model's training on its train rows."""
        trace = TrainingTrace.build(
            ensemble,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            on_mismatch=self.on_mismatch,
        )
        self.trace_ = trace
        self.ensemble_ = trace.ensemble
        self.reproduction_ = trace.report
        self._rows = self._row_factors(trace)
        return trace.rows.fingerprint

    @property
    def _own_targets(self) -> Targets:
        rows = dataclasses.replace(self.trace_.rows, weight=np.empty(0, REAL))
        none = np.empty((0, self.ensemble_.n_outputs), REAL)
        return Targets(self.ensemble_, rows, "loss", none, rows.n_rows)

    def _columns(self, targets: Targets) -> Columns:
        return _Product(self._rows, self._leaf_factors(targets))


@dataclasses.dataclass(frozen=True, eq=False)
class _Product:
    """Row factors and leaf factors, to be multiplied and added over trees."""

    rows: RowFactors
    leaves: LeafFactors

    def fill(
        self, first_row: int, first_target: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of a run of train rows; see `Columns`."""
        self.leaves.contract(self.rows, first_row, first_target, influence)
