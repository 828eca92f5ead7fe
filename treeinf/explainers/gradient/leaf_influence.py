"""LeafInfluence: what each train row gives to every later tree, pushed backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.explainers.gradient.adjoint import BackwardPass, seed_leaves
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
    each target is pushed backward instead, in O(n_train n_trees) for one target or for
    the sum of a whole test set; the result is the same.

    Parameters
    ----------
    propagation : {"full", "single_point"}, default="full"
        "full": what a removal changes in one tree changes the gradients of all rows in
        the next. "single_point": only those of the removed row itself, as published for
        the quick variant.
    cross_class : bool, default=True
        Softmax losses: let an output's gradient answer to the other outputs' scores, as
        it does. False handles each output on its own, with the library's hessian in the
        place of its slope, as published. CatBoost's MultiClass solves for all classes
        together, and always has the terms.
    through_base_score : bool, default=True
        Let the initial score answer to the rows where the library estimates it from
        them. False holds it fixed, as published.
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
    Raw scores, predictions and given derivatives can be explained in its place.

    `explain`, `top_k` and `self_influence` push targets backwards one by one, a block
    at a time, or by way of a matrix from leaf to leaf, which takes one pass over the
    rows for each tree, whichever takes fewer operations: the matrix if n_train n_trees
    n_queries exceeds 1.1 n_train n_trees^2 (times n_outputs, if these answer to one
    another) plus n_leaves^2 n_queries / 80, and it fits in 1 GiB. The matrix is kept
    for later calls, which then take it for few targets too; so targets of earlier calls
    count. Both ways give the same up to rounding.

    Trees of several steps and values from the full matrix of second derivatives
    (CatBoost) are followed step by step. Penalties are held fixed, also where CatBoost
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

    def _learn(self, *arguments: Any) -> NDArray[np.uint64]:
        fingerprint = super()._learn(*arguments)
        change = self.trace_.base_score_gradient
        self._backward = BackwardPass(
            self.trace_,
            cross_class=self.cross_class,
            base_score_gradient=change if self.through_base_score else change[:0],
            device=self._device,
        )
        return fingerprint

    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        if self.propagation == "full":
            ones = np.ones_like(trace.leaf_step)
            return RowFactors(trace.ensemble, trace.rows, ones, trace.leaf_step)
        ensemble = trace.ensemble
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        start = trace.base_score_gradient
        response = (
            1.0 if trace.inverse_leaf_hessian is not None else trace.leaf_response
        )
        return RowFactors(
            ensemble,
            trace.rows,
            np.broadcast_to(shrinkage * response, trace.leaf_step.shape),
            trace.leaf_step,
            trace.inverse_leaf_hessian,
            is_carried=True,
            is_crossed=self.cross_class,
            base_score_gradient=start
            if self.through_base_score and len(start)
            else None,
            n_steps=trace.n_steps,
        )

    @property
    def _query_batch_size(self) -> int:
        """Test rows in a batch, so that their leaf factors stay within bounds."""
        return self._backward.limit_queries(self.batch_size)

    def _leaf_factors(self, queries: EnsembleQueries) -> LeafFactors:
        if self.propagation == "full":
            return self._backward.push(queries)
        return SparseLeafFactors.spread(
            self.ensemble_,
            queries.rows,
            queries.gradient(queries.raw_score()),
            self._backward.base_score_gradient,
        )

    def _total(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        if self.propagation == "full":
            return self._backward.push_sum(queries, with_influence=True)[1]
        slope = queries.gradient(queries.raw_score())
        leaf_factor = np.zeros((*self.trace_.leaf_step.shape, 1), dtype=REAL)
        seed_leaves(self.ensemble_, queries.rows, slope, leaf_factor)
        total = self._rows.contract(np.ascontiguousarray(leaf_factor[:, :, 0]))
        if len(self._backward.base_score_gradient):
            total -= self._backward.base_score_gradient @ slope.sum(axis=0)
        return total

    def _sum_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        if self.propagation == "single_point":
            raise ValueError(
                "Relabelling is followed through all rows; got "
                "propagation='single_point', expected 'full'."
            )
        return self._backward.push_sum(queries)[0]

    def _self_influence(self) -> NDArray[np.float64]:
        return (
            super()._self_influence()
            if self.propagation == "full"
            else self._rows.contract_own()
        )
