"""Replay boosting over the train rows and check it against the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import RecoveredBags, RowSampler, find_sampler
from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.errors import UnsupportedModelError
from treeinf.kernels.device import CPU, Device
from treeinf.trace.alternatives import alternatives
from treeinf.trace.bag_report import BagReport
from treeinf.trace.bags import recover_bags
from treeinf.trace.base_score import BaseEstimate, find_base_estimate
from treeinf.trace.leaf_rule import apply_leaf_rule
from treeinf.trace.leaf_steps import expand_leaf_steps, take_leaf_steps
from treeinf.trace.reproduction import (
    ReproductionReport,
    compare_with_model,
    report_mismatch,
)
from treeinf.trace.row_weights import label_weights, weigh_rows
from treeinf.trace.rows import StagedRows, count_rows, sum_derivatives
from treeinf.trace.staged_trees import ReplayedTrees
from treeinf.trace.stretches import StretchSampler, check_stretches
from treeinf.trace.tree_fit import (
    RoundingBound,
    TreeFit,
    compare_counts,
    compare_hessians,
    compare_values,
    compare_weights,
    sum_weights,
)

__all__ = ["TrainingTrace", "as_trained"]

_NO_ROWS = np.empty(0, np.bool_)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingTrace:
    """The replay of boosting over the rows that a model was trained on.

    Create it with `build`.

    Parameters
    ----------
    source : TreeEnsemble
        The model as it was read, or with what it does not store.
    ensemble : TreeEnsemble
        The model with the base score taken out of the first tree, penalties in the
        units of the sums, and one tree per Newton step.
    rows : StagedRows
        Train rows; their weights are those of the gradients.
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Weighted sums of the staged derivatives over each leaf's train rows.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        Train rows in each leaf.
    leaf_step : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage; where trees take several steps, the step.
    leaf_response : ndarray of float64, shape (n_leaves, leaf_width)
        Minus the derivative of a leaf value before shrinkage with respect to its
        gradient sum: 1 / (H + l2); 0 where the l1 penalty or the bound holds the value
        fixed; times count / (count + path_smooth) under path smoothing. Under "full
        newton", the gradient of one output is subtracted evenly from the others.
    inverse_leaf_hessian : ndarray of float64 or None, \
shape (n_leaves, leaf_width, leaf_width)
        Under "full newton", minus the derivative of each value of a leaf with respect
        to each gradient sum: the inverse of the matrix of second derivatives.
    n_steps : int
        Iterations of `ensemble` that are steps of one tree.
    base_estimate : BaseEstimate
        The base score and its derivatives with respect to the train rows.
    sample_weight : ndarray of float64, shape (n_train,) or (0,)
        Weights that the caller passed; empty for 1.
    label_weight : ndarray of float64, shape (n_tables, 2, n_labels)
        Factor of each label on the weights of its rows, and a second factor on the
        weights of their gradients alone; see `label_weights`.
    report : ReproductionReport
        How well the stored leaf values were reproduced.
    fit : TreeFit
        Which trees of `source` were.
    recovered : RecoveredBags or None
        The rows that each tree of `source` saw, where the training sampled them and
        some trees' were found; `is_found` are the trees that they reproduce.
    """

    source: TreeEnsemble
    ensemble: TreeEnsemble
    rows: StagedRows
    leaf_gradient: NDArray[np.float64]
    leaf_hessian: NDArray[np.float64]
    leaf_rows: NDArray[np.int64]
    leaf_step: NDArray[np.float64]
    leaf_response: NDArray[np.float64]
    inverse_leaf_hessian: NDArray[np.float64] | None
    n_steps: int
    base_estimate: BaseEstimate
    sample_weight: NDArray[np.float64]
    label_weight: NDArray[np.float64]
    report: ReproductionReport
    fit: TreeFit
    recovered: RecoveredBags | None

    @property
    def bags(self) -> Bags:
        """The rows that each tree of `ensemble` was fitted on."""
        return self.rows.bags

    @property
    def raw_score(self) -> NDArray[np.float64]:
        """Raw scores after the last tree, shape (n_train, n_outputs)."""
        offset = self.rows.offset if self.rows.offset.size else None
        return self.ensemble.add_leaf_values(self.rows.leaf, offset=offset)

    @property
    def base_score_gradient(self) -> NDArray[np.float64]:
        """Derivative of the base score with respect to the logarithm of each weight.

        Shape (n_train, n_outputs), or (0, n_outputs) where it is not estimated.
        """
        return self.base_estimate.weight_gradient()

    def relabel(
        self, target: NDArray[np.float64]
    ) -> tuple[StagedRows, NDArray[np.float64]]:
        """Return the rows with other targets.

        Parameters
        ----------
        target : ndarray of float64, shape (n_train,)
            The other targets, as `Loss.transform_target` returns them.

        Returns
        -------
        rows : StagedRows
            Their weights are those of the new labels; the factors of the labels are
            held fixed where they follow from counts.
        base_score_gradient : ndarray of float64, shape (n_train, n_outputs) or \
(0, n_outputs)
            Derivative of the base score along the change from the old target to the
            new.
        """
        plain, weight = weigh_rows(
            self.ensemble,
            self.sample_weight,
            self.label_weight,
            self.rows.table_start,
            target,
            _held_out(self.recovered),
        )
        if self.base_estimate.has_gradient_weights and weight.size:
            plain = weight
        change = self.base_estimate.label_gradient(target, plain)
        return dataclasses.replace(self.rows, y=target, weight=weight), change

    @classmethod
    def build(
        cls,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        on_mismatch: str = "raise",
        device: Device = CPU,
        search_seed: bool = False,
    ) -> TrainingTrace:
        """Replay boosting and compare the leaf values with the model's.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        X : array-like, frame or InputRows, shape (n_train, n_features)
            The rows it was trained on.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with; class weights that the model stores are
            multiplied in.
        init_score : array-like, shape (n_train,) or (n_train, n_outputs), optional
            The initial scores it was trained with.
        on_mismatch : {"raise", "warn", "ignore"}, default="raise"
            What to do if the rows, labels or weights are not the training ones.
        device : Device, default=CPU
            Where rows are routed and replayed.
        search_seed : bool, default=False
            Where rows were sampled and the seed is not stored, search through many
            seeds, which can take minutes.

        Returns
        -------
        TrainingTrace

        Raises
        ------
        UnsupportedModelError
            If the leaf values are not sums of gradients.
        TrainingDataMismatchError
            If these are not the training rows, labels or weights, and `on_mismatch` is
            "raise".
        """
        choices = ("raise", "warn", "ignore")
        if on_mismatch not in choices:
            raise ValueError(
                f"Got on_mismatch={on_mismatch!r}; expected one of {choices}."
            )
        _refuse_unexplainable(ensemble)
        rows = StagedRows.read(
            ensemble,
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            device=device,
        )
        trace = cls._replay_bags(ensemble, rows, device, search_seed)
        if trace.report.is_mismatch or trace._lacks_bags:
            trace = trace._with_what_is_not_stored(rows, device)
        if rows.table_start.size:
            report = check_stretches(trace.report, trace.recovered, rows.table_start)
            trace = dataclasses.replace(trace, report=report)
        if on_mismatch != "ignore":
            report_mismatch(trace.report, on_mismatch)
        return trace

    def _with_what_is_not_stored(
        self, rows: StagedRows, device: Device
    ) -> TrainingTrace:
        """Return the replay with weights or a loss that reproduce the model, if any."""
        for ensemble, words in alternatives(self.source):
            other = self._replay_bags(ensemble, rows, device, False)
            if other.report.verdict == "exact":
                text = f"{other.report.explanation} It was trained with {words}."
                report = dataclasses.replace(other.report, explanation=text)
                return dataclasses.replace(other, report=report)
        return self

    @property
    def _lacks_bags(self) -> bool:
        """Whether rows were sampled by a generator that is known, and none was found.

        Draws that follow gradients need the weights, so that these may be the cause.
        """
        was_tried = self.source.training.row_sampling is not None
        is_sampled = self.report.verdict == "subsampled"
        return was_tried and is_sampled and self.recovered is None

    @classmethod
    def _replay_bags(
        cls, source: TreeEnsemble, rows: StagedRows, device: Device, search_seed: bool
    ) -> TrainingTrace:
        """Replay boosting over the rows that each tree saw, if these are found."""
        sampler: RowSampler | None
        if rows.table_start.size:
            trained, trained_rows, _ = as_trained(source, rows)
            sampler = StretchSampler(trained, trained_rows, search_seed)
        else:
            sampler = find_sampler(source, is_wide=search_seed)
            if sampler is None:
                return cls._replay(source, rows, device)
            trained, trained_rows, _ = as_trained(source, rows)
        return recover_bags(
            sampler,
            ReplayedTrees(trained, trained_rows),
            lambda recovered: cls._replay(source, rows, device, recovered),
        )

    @classmethod
    def _replay(
        cls,
        source: TreeEnsemble,
        rows: StagedRows,
        device: Device,
        recovered: RecoveredBags | None = None,
    ) -> TrainingTrace:
        """Replay boosting over rows with the weights that the caller passed."""
        ensemble = source
        own_weight, label_weight = (
            rows.weight,
            label_weights(ensemble, rows.y, rows.table_start),
        )
        if recovered is not None:
            rows = dataclasses.replace(rows, bags=recovered.bags)
        ensemble, rows, base_estimate = as_trained(ensemble, rows, _held_out(recovered))
        leaf_gradient, leaf_hessian, raw_score = sum_derivatives(ensemble, rows, device)
        leaf_rows = count_rows(ensemble, rows)
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        leaf_step = ensemble.leaf_value / np.where(shrinkage == 0.0, 1.0, shrinkage)
        rule = ensemble.leaf_rule
        inverse_leaf_hessian = None
        if rule.n_steps > 1 or rule.kind == "full newton":
            taken = take_leaf_steps(
                ensemble, rows.leaf, rows.y, rows.weight, rows.offset, rows.bags
            )
            expected, leaf_response = taken.total, taken.response[0]
            inverse_leaf_hessian = (
                None if taken.inverse_hessian is None else taken.inverse_hessian[0]
            )
        else:
            expected, leaf_response = apply_leaf_rule(
                ensemble, leaf_gradient, leaf_hessian, leaf_rows
            )
        rounding = RoundingBound.measure(ensemble, rows, raw_score)
        leaf_weight = sum_weights(ensemble, rows, leaf_rows)
        difference = compare_values(
            ensemble,
            leaf_step,
            expected,
            rounding.of_leaves(ensemble, leaf_rows, leaf_hessian, leaf_response),
        )
        fit = TreeFit.of_leaves(
            ensemble,
            compare_counts(ensemble, leaf_rows),
            compare_weights(ensemble, leaf_weight),
            compare_hessians(ensemble, leaf_rows, leaf_hessian, rounding),
            difference,
        )
        bag_report = None
        if recovered is not None:
            is_found = fit.fits | fit.rows_fit(ensemble)
            if ensemble.training.approximations and ensemble.leaf_count is None:
                is_found = recovered.is_found  # nothing was compared
            recovered = dataclasses.replace(recovered, is_found=is_found)
            bag_report = BagReport.of_trees(ensemble, recovered)
        report = compare_with_model(
            ensemble,
            rows,
            leaf_hessian,
            leaf_rows,
            leaf_weight,
            difference,
            bag_report,
        )
        if rule.n_steps > 1:
            ensemble, tree, leaf_step, leaf_response, inverse_leaf_hessian = (
                expand_leaf_steps(ensemble, taken)
            )
            rows = dataclasses.replace(rows, bags=rows.bags.take_trees(tree))
            leaf_gradient, leaf_hessian, _ = sum_derivatives(ensemble, rows, device)
            leaf_rows = count_rows(ensemble, rows)
        return cls(
            source=source,
            ensemble=ensemble,
            rows=rows,
            leaf_gradient=leaf_gradient,
            leaf_hessian=leaf_hessian,
            leaf_rows=leaf_rows,
            leaf_step=leaf_step,
            leaf_response=leaf_response,
            inverse_leaf_hessian=inverse_leaf_hessian,
            n_steps=rule.n_steps,
            base_estimate=base_estimate,
            sample_weight=own_weight,
            label_weight=label_weight,
            report=report,
            fit=fit,
            recovered=recovered,
        )


def _refuse_unexplainable(ensemble: TreeEnsemble) -> None:
    """Raise for models whose leaf values do not follow from gradients."""
    way_out = "TreeSim, Trex and LOO explain it; reading, routing and predicting work."
    if ensemble.is_averaged:
        by_target = "" if ensemble.n_outputs > 2 else "TargetInfluence, "
        way_out = f"LeafRefit, {by_target}TreeSim, Trex and LOO explain it."
    elif ensemble.loss is None and ensemble.n_outputs > 1:
        way_out = "Fit one model for each of its outputs, and explain these."
    elif ensemble.loss is None:
        way_out = "TreeSim explains it, and Trex its output='raw_score'."
    if ensemble.is_averaged and ensemble.n_trees == 1:
        what, reason = "a single tree", "there is no boosting to replay"
    elif ensemble.is_averaged:
        what, reason = "an averaged forest", "its trees are fitted independently"
    elif ensemble.loss is None:
        what = f"the objective {ensemble.loss_name!r}"
        reason = (
            "its gradients are not known to treeinf (if those of a built-in objective "
            "are the same, pass read_model(..., parameters={'objective': ...}))"
        )
    elif ensemble.leaf_rule.kind == "quantile":
        what = f"the objective {ensemble.loss_name!r}"
        reason = "its leaf values are order statistics of residuals"
    elif not ensemble.loss.is_differentiable:
        what = f"the objective {ensemble.loss_name!r}"
        reason = "its leaf values are steps on another, smooth loss, not known here"
    elif (
        ensemble.leaf_rule.kind not in ("newton", "full newton", "gradient")
        or ensemble.leaf_l2 is None
    ):
        what = "a model without its training parameters"
        assumed = ensemble.training.assumed
        reason = assumed or "the penalties in its leaf values are unknown"
        reason += (
            "; pass the estimator, the booster or read_model(..., parameters={...}) "
            "with those of the training"
        )
    else:
        return
    raise UnsupportedModelError(
        f"Gradient-based influence cannot explain {what}: {reason}. {way_out}"
    )


def _held_out(recovered: RecoveredBags | None) -> NDArray[np.bool_]:
    """Return the rows that no part of the training saw; empty for none."""
    return _NO_ROWS if recovered is None else recovered.held_out


def as_trained(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    held_out: NDArray[np.bool_] = _NO_ROWS,
) -> tuple[TreeEnsemble, StagedRows, BaseEstimate]:
    """Apply the weights and the base score that the library trained with.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as it was read; its loss must be known.
    rows : StagedRows
        Train rows with the weights that the caller passed.
    held_out : ndarray of bool, shape (n_rows,) or (0,)
        Rows without a part in the base score; empty for those after the first table.

    Returns
    -------
    ensemble : TreeEnsemble
        With the base score taken out of the first tree and penalties in the units of
        the sums.
    rows : StagedRows
        With the weights of the gradients: class weights and the weight of positive rows
        are multiplied in.
    base_estimate : BaseEstimate
        The base score and its derivatives with respect to the rows.
    """
    facts, loss = ensemble.training, ensemble.loss
    assert loss is not None
    if not held_out.size:
        held_out = rows.after_first_table
    plain, weight = weigh_rows(
        ensemble,
        rows.weight,
        label_weights(ensemble, rows.y, rows.table_start),
        rows.table_start,
        rows.y,
        held_out,
    )
    if facts.single_inputs:
        offset = rows.offset.astype(np.float32).astype(REAL)
        rows = dataclasses.replace(rows, offset=offset)
    if facts.l2_per_weight and ensemble.leaf_l2 is not None:
        leaf_l2 = ensemble.leaf_l2 * plain.mean()
        if ensemble.leaf_width > 1 and ensemble.leaf_rule.kind != "gradient":
            leaf_l2 = leaf_l2.astype(np.float32)
        ensemble = dataclasses.replace(ensemble, leaf_l2=leaf_l2)
    share = ensemble.base_score_folded
    estimate = BaseEstimate("fixed", loss, rows.y, plain, share.astype(REAL))
    if share.any():
        base_score = np.zeros(ensemble.n_outputs)
        if not rows.offset.size:
            estimate = dataclasses.replace(estimate, kind="initial")
            base_score = estimate.score()
        ensemble = ensemble.separate_base_score(base_score)
    elif facts.estimates_base_score and not rows.offset.size:
        full = weight if weight.size else plain
        if held_out.size:
            full = np.where(held_out, 0.0, full)
        estimate = find_base_estimate(ensemble, rows.y, (plain, full))
    rows = dataclasses.replace(rows, weight=weight)
    return ensemble, rows, estimate
