"""LeafInfluence: exact derivative of a refit with the tree structures fixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.explainers.gradient.adjoint import Adjoint, add_to_leaves
from treeinf.explainers.gradient.factors import (
    DenseLeafFactors,
    LeafFactors,
    RowFactors,
    SparseLeafFactors,
)
from treeinf.explainers.queries import EnsembleQueries
from treeinf.trace import TrainingTrace

__all__ = ["LeafInfluence"]


class LeafInfluence(AdditiveExplainer):
    """LeafInfluence: the exact derivative of a refit with the tree structures fixed.

    Removing a train row changes the leaves it is in, these change the scores of the
    rows they hold, and these the leaves of every later tree. The published algorithm
    pushes each removal forward through all rows, in O(n_train^2 n_trees) time. Here
    each query is back-propagated instead, in O(n_train n_trees) for one query or for
    the sum of a whole test set; the result is the same.

    Parameters
    ----------
    propagation : {"full", "single_point"}, default="full"
        "full": a removal's change of one tree changes the gradients of all rows in the
        next. "single_point": only those of the removed row itself, as in the published
        fast variant.
    cross_class : bool, default=True
        Softmax losses: include the derivatives of an output's gradient with respect to
        the scores of the other outputs. False handles each output on its own, with the
        library's hessian in place of the gradient's derivative, as published.
        CatBoost's MultiClass solves for all classes together, and always has the terms.
    through_base_score : bool, default=True
        Include the change of the base score where the library estimates it from the
        rows. False holds it fixed, as published.
    on_mismatch, device, precision, parity, batch_size, n_jobs, verbose
        See `AdditiveExplainer`.

    Attributes
    ----------
    trace_, ensemble_, reproduction_, n_features_in_, device_
        See `AdditiveExplainer`.

    Notes
    -----
    Positive influence helps the test row, negative harms it, in units of the training
    loss: minus the derivative of its loss in the logarithm of the train row's weight.
    Raw scores, predictions and other quantities of known derivative can be explained
    in its place.

    `explain`, `top_k` and `self_influence` back-propagate queries in one of two ways,
    equal up to rounding: by sweeps over the train rows, a batch of queries at a time,
    or by the leaf coupling, which takes one pass over the rows for each tree. The
    coupling takes fewer operations if n_train n_trees n_queries exceeds 1.1 n_train
    n_trees^2 (times n_outputs under cross-class terms) plus n_leaves^2 n_queries / 80,
    and must fit in 1 GiB. It is kept for later calls, which then take it for few
    queries too; so queries of earlier calls count.

    Trees of several steps and values from the full hessian (CatBoost) are followed step
    by step. Penalties are held fixed, also where CatBoost
    multiplies them by the mean weight. Rows on a kink (Huber at its width, a leaf on
    its l1 or size bound) have the one-sided derivative that the current side gives.

    References
    ----------
    B. Sharchilev et al., "Finding Influential Training Samples for Gradient Boosted
    Decision Trees", ICML 2018, algorithm 2 (forward form).
    P. Geertsema, H. Lu, "AXIL: Exact Instance Attribution for Gradient Boosting", arXiv
    2301.01864v2 (backward form for squared error).
    """

    def __init__(
        self,
        *,
        propagation: str = "full",
        cross_class: bool = True,
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
        self.propagation = propagation
        self.cross_class = cross_class
        self.through_base_score = through_base_score

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.propagation not in ("full", "single_point"):
            raise ValueError(
                f"Got propagation={self.propagation!r}; expected 'full' or "
                "'single_point'."
            )

    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        self._adjoint = Adjoint(trace, self.cross_class, self._device)
        ensemble, inverse = trace.ensemble, trace.inverse_leaf_hessian
        gradient: NDArray[np.float64] | None = trace.base_score_gradient
        if not (self.through_base_score and len(trace.base_score_gradient)):
            gradient = None
        if self.propagation == "full":
            return RowFactors(
                ensemble,
                trace.rows,
                np.ones_like(trace.leaf_step),
                trace.leaf_step,
                base_score_gradient=gradient,
            )
        scale = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis] * (
            trace.leaf_response if inverse is None else 1.0
        )
        return RowFactors(
            ensemble,
            trace.rows,
            np.broadcast_to(scale, trace.leaf_step.shape),
            trace.leaf_step,
            inverse,
            is_propagated=True,
            is_cross_class=self.cross_class,
            base_score_gradient=gradient,
            n_steps=trace.n_steps,
        )

    @property
    def _query_batch_size(self) -> int:
        return self._adjoint.limit_queries(self.batch_size)

    def _leaf_factors(self, queries: EnsembleQueries) -> LeafFactors:
        gradient = queries.gradient()
        if self.propagation == "single_point":
            return SparseLeafFactors.spread(self._rows, queries.rows, gradient)
        return DenseLeafFactors(
            self._rows,
            *self._adjoint.back_propagate(queries.rows, -gradient, queries.n_total),
        )

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        gradient = queries.gradient()
        if self.propagation == "full":
            _, base_factor, total = self._adjoint.back_propagate_sum(
                queries.rows, -gradient, with_influence=True
            )
            if self._rows.base_score_gradient is not None:
                total += self._rows.base_score_gradient @ base_factor[:, 0]
            return total
        leaf_factor = np.zeros((*self.trace_.leaf_step.shape, 1), dtype=REAL)
        add_to_leaves(self.ensemble_, queries.rows, gradient, leaf_factor)
        total = self._rows.contract(leaf_factor[:, :, 0])
        if self._rows.base_score_gradient is not None:
            total -= self._rows.base_score_gradient @ gradient.sum(axis=0)
        return total

    def _sum_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        if self.propagation == "single_point":
            raise ValueError(
                "relabel follows changes through all rows; got "
                "propagation='single_point', expected 'full'."
            )
        factor, base_factor, _ = self._adjoint.back_propagate_sum(
            queries.rows, -queries.gradient(), with_influence=False
        )
        return DenseLeafFactors(self._rows, factor, base_factor)

    def _self_influence(self) -> NDArray[np.float64]:
        if self.propagation == "single_point":
            return self._rows.contract_self()
        return super()._self_influence()
