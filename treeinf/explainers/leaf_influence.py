"""LeafInfluence: what each train row gives to every later tree, pushed backwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.additive import AdditiveExplainer
from treeinf.explainers.factors import DenseLeafFactors, RowFactors
from treeinf.explainers.targets import Targets
from treeinf.kernels.cpu import reverse_sweep as kernels
from treeinf.trace import StagedRows, TrainingTrace

__all__ = ["LeafInfluence"]

_MOST_PARTS = 64
_MOST_SWEPT = 16
_ADJOINT_BYTES = 256 * 2**20
_FACTOR_BYTES = 256 * 2**20


class LeafInfluence(AdditiveExplainer):
    """LeafInfluence: the exact derivative of a refit with the tree structures fixed.

    Removing a train row changes the leaves it is in, these change the scores of the
    rows they hold, and these the leaves of every later tree. The published algorithm
    pushes each removal forward through all rows, in O(n_train^2 n_trees) time. Here
    each target is pushed backward instead, in O(n_train n_trees) for one target or for
    the sum of a whole test set; the result is the same.

    Parameters
    ----------
    cross_class : bool, default=True
        Softmax losses: let an output's gradient answer to the other outputs' scores, as
        it does. False handles each output on its own, with the library's hessian in the
        place of its slope, as published.
    through_base_score : bool, default=True
        Let the initial score answer to the rows where LightGBM or CatBoost estimates it
        from them. False holds it fixed, as published. XGBoost's and scikit-learn's is
        held fixed in either case.
    on_mismatch, parity, batch_size, n_jobs, verbose
        See `AdditiveExplainer`.

    Attributes
    ----------
    trace_, ensemble_, reproduction_, n_features_in_
        See `AdditiveExplainer`.

    Notes
    -----
    Positive influence helps the test row, negative harms it, in units of the training
    loss: minus the derivative of its loss in the logarithm of the train row's weight.
    Models whose trees take several steps, or solve for all outputs together (CatBoost's
    MultiClass), are refused. Rows on a kink (Huber at its width, a leaf on its l1 or
    size bound) have the one-sided derivative that the current side gives.

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
        cross_class: bool = True,
        through_base_score: bool = True,
        on_mismatch: str = "raise",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            on_mismatch=on_mismatch,
            parity=parity,
            batch_size=batch_size,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.cross_class = cross_class
        self.through_base_score = through_base_score

    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        is_full = trace.ensemble.leaf_rule.kind == "full newton"
        if is_full or trace.ensemble.leaf_row is not None:
            what = "several steps a tree"
            if is_full:
                what = "leaf values from the full matrix of second derivatives"
            raise UnsupportedModelError(
                f"LeafInfluence does not follow {what} (met in "
                f"{trace.ensemble.library}, {trace.ensemble.loss_name}); BoostIn "
                "explains this model, and CatBoost trains with one step under "
                "leaf_estimation_iterations=1."
            )
        return RowFactors(
            trace.ensemble,
            trace.rows,
            np.ones_like(trace.leaf_step),
            np.ascontiguousarray(trace.leaf_step),
        )

    @property
    def _targets_at_once(self) -> int:
        """Test rows in a batch, so that their leaf factors stay within bounds."""
        return int(
            np.clip(
                _FACTOR_BYTES // (8 * self.trace_.leaf_step.size), 1, self.batch_size
            )
        )

    def _leaf_factors(self, targets: Targets) -> DenseLeafFactors:
        ensemble = self.ensemble_
        factor = np.zeros((*self.trace_.leaf_step.shape, targets.n_rows), dtype=REAL)
        base_factor = np.empty((ensemble.n_outputs, targets.n_rows), dtype=REAL)
        rows = self.trace_.rows.n_rows
        n_swept = int(
            np.clip(_ADJOINT_BYTES // (8 * rows * ensemble.n_outputs), 1, _MOST_SWEPT)
        )
        for begin in range(0, targets.n_rows, n_swept):
            part = targets.take(slice(begin, min(begin + n_swept, targets.n_rows)))
            columns = slice(begin, begin + part.n_rows)
            pull = -part.slope(part.raw_score())
            seed = np.zeros((*self.trace_.leaf_step.shape, part.n_rows), dtype=REAL)
            _seed_leaves(ensemble, part.rows, pull, seed)
            adjoint, _ = self._sweep(seed, with_influence=False)
            factor[:, :, columns] = seed
            base_factor[:, columns] = adjoint.sum(axis=0) + pull.T
        return DenseLeafFactors(factor, base_factor, self._base_change)

    @property
    def _base_change(self) -> NDArray[np.float64]:
        """How the base score answers to the rows; no rows where it is held fixed."""
        change = self.trace_.base_change
        return change if self.through_base_score else change[:0]

    def _total(self, targets: Targets) -> NDArray[np.float64]:
        ensemble = self.ensemble_
        pull = -targets.slope(targets.raw_score())
        seed = np.zeros((*self.trace_.leaf_step.shape, 1), dtype=REAL)
        _seed_leaves(ensemble, targets.rows, pull, seed)
        adjoint, influence = self._sweep(seed, with_influence=True)
        total = influence[:, 0]
        if len(self._base_change):
            base_factor = adjoint.sum(axis=0)[:, 0] + pull.sum(axis=0)
            total += self._base_change @ base_factor
        return total

    def _sweep(
        self, leaf_factor: NDArray[np.float64], *, with_influence: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Push targets from the last iteration to the first.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
            What each leaf value does to the targets' own scores; changed in place to
            what a unit more of each leaf's gradient sum does to the targets in the end.
        with_influence : bool
            Add up the rows' influence on the way.

        Returns
        -------
        adjoint : ndarray of float64, shape (n_train, n_outputs, n_targets)
            What a unit more of each train row's initial score does to each target.
        influence : ndarray of float64, shape (n_train, n_targets) or (0, n_targets)
        """
        trace, ensemble, rows = self.trace_, self.ensemble_, self.trace_.rows
        leaves = ensemble.flat_leaves
        n_targets = leaf_factor.shape[2]
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        response = (-shrinkage * trace.leaf_response)[:, :, np.newaxis]
        raw_score = trace.raw_score.copy()
        adjoint = np.zeros((rows.n_rows, ensemble.n_outputs, n_targets), dtype=REAL)
        influence = np.zeros((rows.n_rows * with_influence, n_targets), dtype=REAL)
        first_leaf = ensemble.leaf_offset[leaves.iteration_start]
        most_parts = -(-rows.n_rows // kernels.SWEEP_BLOCK)
        part_sum = np.zeros((1, 0, ensemble.leaf_width, n_targets), dtype=REAL)
        for iteration in reversed(range(ensemble.n_iterations)):
            own = slice(first_leaf[iteration], first_leaf[iteration + 1])
            if iteration < ensemble.n_iterations - 1:
                leaf_factor[own] += part_sum.sum(axis=0)
            leaf_factor[own] *= response[own]
            before = first_leaf[iteration] - first_leaf[max(iteration - 1, 0)]
            part_sum = np.empty(
                (
                    min(most_parts, _MOST_PARTS),
                    before,
                    ensemble.leaf_width,
                    n_targets,
                ),
                dtype=REAL,
            )
            kernels.sweep_iteration(
                rows.leaf,
                leaves,
                rows.target,
                rows.weight,
                *ensemble.loss_kernel,
                trace.leaf_step,
                iteration,
                self.cross_class,
                leaf_factor,
                raw_score,
                adjoint,
                influence,
                part_sum,
            )
        return adjoint, influence


def _seed_leaves(
    ensemble: TreeEnsemble,
    targets: StagedRows,
    pull: NDArray[np.float64],
    seed: NDArray[np.float64],
) -> None:
    """Add each target's pull to the leaves it is in.

    `seed`, shape (n_leaves, leaf_width, n_targets or 1), has one column a target, or
    one for their sum.
    """
    column = np.arange(targets.n_rows) * (seed.shape[2] > 1)
    for tree in range(ensemble.n_trees):
        number = ensemble.leaf_offset[tree] + targets.leaf[ensemble.row_of_tree[tree]]
        if ensemble.leaf_width == 1:
            output = 0 if ensemble.n_outputs == 1 else ensemble.output[tree]
            np.add.at(seed[:, 0], (number, column), pull[:, output])
        else:
            for output in range(ensemble.leaf_width):
                np.add.at(seed[:, output], (number, column), pull[:, output])
