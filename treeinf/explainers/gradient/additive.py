"""Explainers whose influence is a row factor times a leaf factor, summed over trees."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.base import Columns, ComputedColumns
from treeinf.explainers.fitting import TreeExplainer
from treeinf.explainers.gradient.factors import (
    DenseLeafFactors,
    LeafFactors,
    RowFactors,
)
from treeinf.explainers.influence import Influence
from treeinf.explainers.queries import EnsembleQueries, Output
from treeinf.explainers.row_sampling.explained_rows import HasBags
from treeinf.kernels.device import resolve_device
from treeinf.kernels.threads import limit_threads
from treeinf.trace import TrainingTrace
from treeinf.validation import check_row_labels, check_targets

__all__ = ["AdditiveExplainer"]


class AdditiveExplainer(HasBags, TreeExplainer):
    """Base of explainers whose influence is a row factor times a leaf factor.

    A subclass computes the factors: `_row_factors`, `_leaf_factors` and, for the sum of
    all queries, `_sum_factors`.

    Parameters
    ----------
    on_mismatch : {"raise", "warn", "ignore"}, default="raise"
        What to do if the rows, labels or weights are not those of the training.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where the work over the train rows is done; "auto" takes CUDA where it can be
        used. Results agree to rounding.
    precision : {"float64", "float32"}, default="float64"
        Of the factors that are multiplied for every two rows, in `explain` and `top_k`
        and where self influence needs them too. In float32 each product has a relative
        error of at most 1.8e-7 (three roundings), and sums are still float64: the error
        of an influence is at most that times the sum of its terms' sizes. `total` is
        always float64, except for the rows' influence on themselves that
        `exclude_self` subtracts.
    parity, batch_size, n_jobs, verbose
        See `TreeExplainer`.

    Attributes
    ----------
    trace_ : TrainingTrace
        The replay of the training.
    ensemble_ : TreeEnsemble
        The model, its base score kept apart.
    reproduction_ : ReproductionReport
        How well the model's leaf values follow from the train rows.
    n_features_in_ : int
        Columns of the rows.
    device_ : {"cpu", "cuda"}
        Where the work is done.
    """

    def __init__(
        self,
        *,
        on_mismatch: str = "raise",
        device: str = "cpu",
        precision: str = "float64",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            parity=parity, batch_size=batch_size, n_jobs=n_jobs, verbose=verbose
        )
        self.on_mismatch = on_mismatch
        self.device = device
        self.precision = precision

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.precision not in ("float64", "float32"):
            raise ValueError(
                f"Got precision={self.precision!r}; expected 'float64' or 'float32'."
            )
        self._device = resolve_device(self.device)
        self.device_ = self._device.name

    @abc.abstractmethod
    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        """Return the factors of the train rows."""

    @abc.abstractmethod
    def _leaf_factors(self, queries: EnsembleQueries) -> LeafFactors:
        """Return the leaf factors of a batch of queries."""

    @abc.abstractmethod
    def _sum_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        """Return the leaf factors of the sum of the queries."""

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
            device=self._device,
        )
        self.trace_ = trace
        self.ensemble_ = trace.ensemble
        self.reproduction_ = trace.report
        self._rows = dataclasses.replace(
            self._row_factors(trace), device=self._device, precision=self.precision
        )
        return trace.rows.fingerprint

    def _columns(self, queries: EnsembleQueries) -> Columns:
        if queries.n_total == 1:  # one pass over the rows, no factor is stored
            return ComputedColumns(self._total(queries)[:, np.newaxis])
        return self._leaf_factors(queries)

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        return self._sum_factors(queries).contract()

    @property
    def _train_queries(self) -> EnsembleQueries:
        return EnsembleQueries.from_train_rows(
            self.ensemble_, self.trace_.rows, self._default_output
        )

    def relabel(
        self,
        X: Any,
        y: Any = None,
        *,
        labels: Any = None,
        output: Output | None = None,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Influence:
        """Compute what other labels of the train rows would do to the test rows.

        Parameters
        ----------
        X, y, output, sample_weight, init_score
            Rows to explain; see `explain`.
        labels : array-like, shape (n_labels,) or (n_train, n_labels), optional
            Labels (values) that every train row is given, one after the other; or each
            row's own alternatives. By default all classes.

        Returns
        -------
        Influence
            Shape (n_train, n_labels): (sum over the test rows, were the row relabelled)
            minus (that sum), to first order. For the loss, negative where the other
            label would be better than the present one, which has 0.

        Raises
        ------
        ValueError
            If labels are needed and not passed, or are not the model's.

        Notes
        -----
        A removal takes ``g + theta h`` out of the sums of a row's leaves; another label
        puts those of the label in, with the weight of that label (``class_weight``,
        ``scale_pos_weight`` and the like). Weights that the library made of counts
        ("balanced", ``is_unbalance``) are held fixed: the row changes its weight, the
        other rows keep theirs. One backward pass for all labels and one pass over the
        rows for each.
        """
        rows, output = self._open_rows(X, y, output, sample_weight, init_score)
        queries = self._read_queries(rows, y, output, sample_weight, init_score)
        self._self_explanation.check(queries, exclude_self=False, stacklevel=3)
        if np.ndim(labels) == 2:
            check_row_labels(self._train_labels, labels=labels)
        trace, rows = self.trace_, self._rows
        names, values = _read_labels(labels, trace.ensemble, trace.rows.n_rows)
        influence = np.empty(values.shape, dtype=REAL)
        with limit_threads(self.n_jobs):
            factors = self._sum_factors(queries)
            leaf_factor = np.ascontiguousarray(factors.factor[:, :, 0])
            present = rows.contract(leaf_factor)
            for k in self._batches(values.shape[1], 1, "relabel"):
                relabelled, base_score_change = trace.relabel(
                    np.ascontiguousarray(values[:, k.start])
                )
                other = dataclasses.replace(rows, rows=relabelled)
                influence[:, k.start] = present - other.contract(leaf_factor)
                if rows.base_score_gradient is not None:
                    influence[:, k.start] -= (
                        base_score_change @ factors.base_factor[:, 0]
                    )
        influence[values == trace.rows.y[:, np.newaxis]] = 0.0
        return self._wrap(influence, names, "label")


def _read_labels(
    labels: Any, ensemble: TreeEnsemble, n_train: int
) -> tuple[NDArray[Any] | None, NDArray[np.float64]]:
    """Return the labels' names, if all rows get the same, and each row's as targets."""
    loss = ensemble.loss
    assert loss is not None
    if labels is None:
        if not loss.n_classes:
            raise ValueError(
                "labels is None; for targets that are numbers, pass the values to give "
                "the train rows: shape (n_labels,), or (n_train, n_labels)."
            )
        labels = ensemble.classes
        if labels is None:
            labels = np.arange(loss.n_classes)
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and len(labels) != n_train):
        raise ValueError(
            f"labels has shape {labels.shape}; expected (n_labels,), or one line for "
            f"each of the {n_train:,} train rows."
        )
    values = check_targets(
        labels.ravel(),
        labels.size,
        loss=loss,
        classes=ensemble.classes,
        single_precision=ensemble.training.single_precision
        or ensemble.training.single_inputs,
        name="labels",
    ).reshape(labels.shape)
    if labels.ndim == 1:
        return labels, np.tile(values, (n_train, 1))
    return None, values
