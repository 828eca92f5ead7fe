"""BoostIn: TracIn carried over to boosting, leaf by leaf."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.explainers.gradient.factors import (
    DenseLeafFactors,
    LeafFactors,
    RowFactors,
    SparseLeafFactors,
)
from treeinf.explainers.queries import EnsembleQueries
from treeinf.trace import TrainingTrace, sum_derivatives

__all__ = ["BoostIn"]


class BoostIn(AdditiveExplainer):
    """BoostIn influence: TracIn carried over to boosting, leaf by leaf.

    In each tree, the removal of train row i changes the leaf value by
    ``(g_i + theta h_i) / (H + l2)`` times the shrinkage, to first order and with the
    scores before the tree held fixed; the derivative of a test row's loss with respect
    to the value of the same leaf is its gradient before the tree. Influence is the sum
    of the products over trees.

    Parameters
    ----------
    theta : {"exact", "published"}, default="exact"
        Leaf value in the formula above. "exact" is the value before shrinkage, which
        makes the term the derivative; "published" keeps the shrinkage in it, as the
        authors' code does. The two rank rows differently, and neither wins everywhere.
    count_power : float, default=0.0
        Divide each leaf's term by its number of train rows to this power. 1 and 2 are
        the published variants BoostInW1 and BoostInW2, which favour rows in small
        leaves; negative numbers favour rows in large ones.
    on_mismatch, device, precision, parity, batch_size, n_jobs, verbose
        See `AdditiveExplainer`.

    Attributes
    ----------
    trace_, ensemble_, reproduction_, n_features_in_, device_
        See `AdditiveExplainer`.

    Notes
    -----
    Positive influence helps the test row, negative harms it, in units of the training
    loss. Softmax outputs are handled each on its own, as published. Sample weights are
    in g, h and H: removing a row removes all of its weight.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023), section 4.2.
    G. Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent",
    NeurIPS 2020.
    """

    _outputs = ("loss",)

    def __init__(
        self,
        *,
        theta: str = "exact",
        count_power: float = 0.0,
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
        self.theta = theta
        self.count_power = count_power

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.theta not in ("exact", "published"):
            raise ValueError(
                f"Got theta={self.theta!r}; expected 'exact' or 'published'."
            )
        if (
            isinstance(self.count_power, bool)
            or not isinstance(self.count_power, int | float)
            or not np.isfinite(self.count_power)
        ):
            raise ValueError(
                f"Got count_power={self.count_power!r}; expected a finite number."
            )

    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        ensemble, inverse = trace.ensemble, trace.inverse_leaf_hessian
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        scale = shrinkage * (trace.leaf_response if inverse is None else 1.0)
        scale = np.broadcast_to(scale, trace.leaf_step.shape)
        if self.count_power:
            counts = np.maximum(trace.leaf_rows, 1).astype(np.float64)
            scale = scale / counts[:, np.newaxis] ** self.count_power
        theta = trace.leaf_step
        if self.theta == "published":
            theta = shrinkage * theta
        return RowFactors(ensemble, trace.rows, scale, theta, inverse)

    def _leaf_factors(self, queries: EnsembleQueries) -> LeafFactors:
        return SparseLeafFactors.stage(self._rows, queries.rows)

    def _sum_factors(self, queries: EnsembleQueries) -> DenseLeafFactors:
        leaf_gradient, _, _ = sum_derivatives(
            self.ensemble_, queries.rows, self._device
        )
        base_factor = np.zeros((self.ensemble_.n_outputs, 1), REAL)
        return DenseLeafFactors(
            self._rows, leaf_gradient[:, :, np.newaxis], base_factor
        )

    def _self_influence(self) -> NDArray[np.float64]:
        return self._rows.contract_self()

    def _diagonal(self, queries: EnsembleQueries) -> NDArray[np.float64]:
        weight = queries.rows.weight
        values = self._self_influence()
        return values * weight if weight.size else values
