"""TargetInfluence: derivatives of predictions in the targets of the train rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.base import Columns
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.explainers.gradient.adjoint import Adjoint
from treeinf.explainers.gradient.factors import DenseLeafFactors, RowFactors
from treeinf.explainers.gradient.forest_weights import ForestColumns, ForestRows
from treeinf.explainers.queries import EnsembleQueries
from treeinf.kernels.formulas.derivatives import moves_with_target
from treeinf.trace import TrainingTrace

__all__ = ["TargetInfluence"]


class TargetInfluence(AdditiveExplainer):
    """Derivative of a model's predictions in the targets it was trained on.

    With the tree structures fixed, leaf values are smooth functions of the train
    targets. For squared error they are linear in them, and predictions are exactly
    ``weights.T @ y_train``: the AXIL weights. Other losses have derivatives at the
    targets as they are; for two classes, in the label as a number from 0 to 1. Forests
    are weighted means of their targets, and the weights are exact.

    Parameters
    ----------
    through_base_score : bool, default=True
        Include the change of the base score where the library estimates it from the
        targets. Without it the weights of squared error do not add up to predictions.
    on_mismatch, device, precision, parity, batch_size, n_jobs, verbose
        See `AdditiveExplainer`.

    Attributes
    ----------
    trace_, ensemble_, reproduction_, n_features_in_, device_
        See `AdditiveExplainer`; forests have no `trace_`.
    forest_ : ForestRows
        The rows of each tree; forests, bagging and single trees only.

    Notes
    -----
    `explain`, `total` and `top_k` return ``values[i, j]``, the derivative of the
    prediction (or another `output`) of test row j in the target of train row i. Where
    the base score is the mean of the targets, the weights of squared error without
    penalties add up to 1 for each prediction. `self_influence` is the derivative of
    each train row's own prediction in its target, its leverage. The same backward pass
    as `LeafInfluence`, at the same cost. Models of several outputs are refused: their
    targets are classes, and `LeafInfluence.relabel` computes the effect of another.

    References
    ----------
    P. Geertsema, H. Lu, "AXIL: Exact Instance Attribution for Gradient Boosting", arXiv
    2301.01864v2 (squared error).
    """

    def __init__(
        self,
        *,
        through_base_score: bool = True,
        on_mismatch: str = "raise",
        device: str = "cpu",
        precision: str = "float64",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            on_mismatch=on_mismatch,
            device=device,
            precision=precision,
            parity=parity,
            batch_size=batch_size,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.through_base_score = through_base_score

    _default_output = "prediction"

    def _learn(
        self,
        model: Any,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        sample_weight: Any,
        init_score: Any,
    ) -> NDArray[np.uint64]:
        if ensemble.is_averaged:
            return self._learn_forest(ensemble, X, y, sample_weight)
        loss = ensemble.loss
        if loss is not None and loss.is_differentiable:
            assert loss.kernel_code is not None
            is_scaled = getattr(loss, "sqrt_target", False)
            if is_scaled or not moves_with_target(loss.kernel_code):
                raise UnsupportedModelError(
                    f"TargetInfluence needs a loss that is smooth in one target; got "
                    f"{ensemble.loss_name!r} of {ensemble.n_outputs} outputs. "
                    "LeafInfluence.relabel computes the effect of another class."
                )
        return super()._learn(model, ensemble, X, y, sample_weight, init_score)

    def _learn_forest(
        self, ensemble: TreeEnsemble, X: Any, y: Any, sample_weight: Any
    ) -> NDArray[np.uint64]:
        if ensemble.n_outputs > 2:
            raise UnsupportedModelError(
                f"TargetInfluence needs targets that are numbers, or two classes; got "
                f"{ensemble.n_outputs} classes. LeafRefit explains this forest."
            )
        self.forest_ = ForestRows.read(
            ensemble,
            X,
            y,
            sample_weight=sample_weight,
            on_mismatch=self.on_mismatch,
        )
        self.ensemble_ = ensemble
        self.reproduction_ = self.forest_.report
        return self.forest_.rows.fingerprint

    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        self._adjoint = Adjoint(trace, cross_class=False, device=self._device)
        gradient = trace.base_estimate.target_gradient()
        return RowFactors(
            trace.ensemble,
            trace.rows,
            -np.ones_like(trace.leaf_step),
            trace.leaf_step,
            base_score_gradient=-gradient
            if self.through_base_score and len(gradient)
            else None,
            by_target=True,
        )

    @property
    def _query_batch_size(self) -> int:
        if self.ensemble_.is_averaged:
            return self.batch_size
        return self._adjoint.limit_queries(self.batch_size)

    @property
    def _train_queries(self) -> EnsembleQueries:
        if not self.ensemble_.is_averaged:
            return super()._train_queries
        return EnsembleQueries.from_train_rows(
            self.ensemble_, self.forest_.rows, self._default_output
        )

    def _columns(self, queries: EnsembleQueries) -> Columns:
        if not self.ensemble_.is_averaged:
            return super()._columns(queries)
        return ForestColumns(self.forest_, queries.rows.leaf, _mean_gradient(queries))

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        if not self.ensemble_.is_averaged:
            return super()._total(queries)
        return self.forest_.sum_weights(queries.rows.leaf, _mean_gradient(queries))

    def _leaf_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        return DenseLeafFactors(
            self._rows,
            *self._adjoint.back_propagate(
                queries.rows, -queries.gradient(), queries.n_total
            ),
        )

    def _sum_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        factor, base_factor, _ = self._adjoint.back_propagate_sum(
            queries.rows, -queries.gradient(), with_influence=False
        )
        return DenseLeafFactors(self._rows, factor, base_factor)


def _mean_gradient(queries: EnsembleQueries) -> NDArray[np.float64]:
    """Differentiate what is explained with respect to the forest's mean.

    Of two classes, with respect to that of the second.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
    """
    gradient = queries.gradient()
    return gradient[:, -1] - (gradient[:, 0] if gradient.shape[1] == 2 else 0.0)
