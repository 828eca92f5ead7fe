"""Boosting replayed over the train rows, and checked against the model."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import COUNT, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.leaf_steps import expand_leaf_steps, take_leaf_steps
from treeinf.ensemble.routing import (
    check_ensemble_rows,
    check_initial_scores,
    find_leaves,
    route_rows,
)
from treeinf.errors import (
    SubsampledTrainingWarning,
    TrainingDataMismatchError,
    TrainingDataWarning,
    UnsupportedModelError,
)
from treeinf.kernels.cpu import replay as kernels
from treeinf.kernels.cpu import routing as routing_kernels
from treeinf.validation import check_targets, check_weights

__all__ = ["ReproductionReport", "StagedRows", "TrainingTrace", "sum_derivatives"]

_PART_BYTES = 256 * 2**20
_MOST_PARTS = 64
_TINY = float(np.finfo(REAL).tiny)
_ROUNDING = 1e-5
"""Share by which a sum of hessians in single precision may miss a bound."""


@dataclasses.dataclass(frozen=True, eq=False)
class StagedRows:
    """Rows in an ensemble's own terms, ready for the kernels.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaf of each row within each tree; one line for each number in the ensemble's
        `leaf_row`, where trees share their leaf ids.
    target : ndarray of float64, shape (n_rows,)
        Targets as the loss compares them.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Weight of each row's loss; empty for 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Each row's own initial score, on top of the base score; empty for 0.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for rows of equal values and target.
    """

    leaf: NDArray[np.unsignedinteger[Any]]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    fingerprint: NDArray[np.uint64]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.leaf.shape[1]

    @classmethod
    def read(
        cls,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> StagedRows:
        """Check rows, targets and weights against an ensemble and route the rows.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        X : array-like or frame, shape (n_rows, n_features)
            Rows.
        y : array-like, shape (n_rows,)
            Targets, as the model was trained on.
        sample_weight : array-like, shape (n_rows,), optional
            Weights.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Each row's own initial score.

        Raises
        ------
        ValueError, TypeError
            If they do not fit the ensemble.
        """
        values = check_ensemble_rows(ensemble, X)
        n_rows = len(values)
        if n_rows == 0:
            raise ValueError("X has no rows.")
        target = check_targets(
            y,
            n_rows,
            loss=ensemble.loss,
            classes=ensemble.classes,
            single_precision=ensemble.training.single_precision
            or ensemble.training.single_inputs,
        )
        weight = check_weights(sample_weight, n_rows)
        offset = check_initial_scores(ensemble, init_score, n_rows)
        fingerprint = np.empty(n_rows, np.uint64)
        routing_kernels.fingerprint_rows(values, target, fingerprint)
        return cls(
            leaf=find_leaves(ensemble, X)
            if ensemble.is_native
            else route_rows(ensemble, values),
            target=target,
            weight=np.empty(0, REAL) if weight is None else weight,
            offset=np.empty((0, ensemble.n_outputs), REAL)
            if offset is None
            else offset,
            fingerprint=fingerprint,
        )

    @functools.cached_property
    def known_fingerprints(self) -> NDArray[np.uint64]:
        """The fingerprints in rising order, for `share_among`."""
        return np.sort(self.fingerprint)

    def share_among(self, others: StagedRows) -> float:
        """Give the share of these rows that are found among other rows."""
        known = others.known_fingerprints
        place = np.minimum(np.searchsorted(known, self.fingerprint), len(known) - 1)
        return float((known[place] == self.fingerprint).mean())

    def take(self, part: slice) -> StagedRows:
        """Give a run of the rows."""
        return StagedRows(
            leaf=np.ascontiguousarray(self.leaf[:, part]),
            target=self.target[part],
            weight=self.weight[part] if self.weight.size else self.weight,
            offset=self.offset[part] if self.offset.size else self.offset,
            fingerprint=self.fingerprint[part],
        )


def sum_derivatives(
    ensemble: TreeEnsemble, rows: StagedRows
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Replay boosting over rows and add up each leaf's staged derivatives.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, with a differentiable loss.
    rows : StagedRows
        Rows.

    Returns
    -------
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Weighted sums over the rows in each leaf.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores after the last tree.

    Notes
    -----
    The rows are cut into a number of parts that depends on the sizes alone, so that the
    sums have the same bits for any number of threads.
    """
    sums = ensemble.leaf_value.size * 2 * np.dtype(REAL).itemsize
    n_parts = min(_MOST_PARTS, -(-rows.n_rows // kernels.BLOCK), _PART_BYTES // sums)
    parts = np.zeros((2, max(n_parts, 1), *ensemble.leaf_value.shape), REAL)
    raw_score = np.empty((rows.n_rows, ensemble.n_outputs), REAL)
    kernels.replay(
        rows.leaf,
        ensemble.flat_leaves,
        ensemble.base_score,
        rows.offset,
        rows.target,
        rows.weight,
        *ensemble.loss_kernel,
        raw_score,
        parts[0],
        parts[1],
    )
    return parts[0].sum(axis=0), parts[1].sum(axis=0), raw_score


@dataclasses.dataclass(frozen=True)
class ReproductionReport:
    """How well the leaf values follow from the rows, targets and weights given.

    Parameters
    ----------
    verdict : {"exact", "approximate", "subsampled", "other rows", "other labels", \
"other weights", "unchecked"}
        What the comparison looks like.
    explanation : str
        The verdict in words, with figures and the way out.
    n_rows : int
        Train rows given.
    share_seen : float
        Average share of them that a tree was fitted on, by the stored leaf counts or
        sums of weights; NaN where the library stores neither.
    wrong_counts : int
        Leaves whose stored count, or sum of weights, is not that of the rows given that
        reach them.
    largest_difference, median_difference : float
        Of recomputed and stored leaf values before shrinkage, each relative to the
        largest value of its tree; NaN where the leaf rule is unknown.
    largest_hessian_difference : float
        Of recomputed and stored sums of hessians, relative to the leaf's; NaN where the
        library stores none.
    """

    verdict: str
    explanation: str
    n_rows: int
    share_seen: float
    wrong_counts: int
    largest_difference: float
    median_difference: float
    largest_hessian_difference: float

    @property
    def is_mismatch(self) -> bool:
        """Whether these are not the training rows, labels or weights."""
        return self.verdict.startswith("other")

    def __str__(self) -> str:
        lines = [
            ("train rows", f"{self.n_rows:,}"),
            ("verdict", self.verdict),
            ("explanation", self.explanation),
            (
                "leaf values",
                f"largest difference {self.largest_difference:.2g}, "
                f"median {self.median_difference:.2g} (relative to the tree's largest)",
            ),
            (
                "leaf hessians",
                f"largest difference {self.largest_hessian_difference:.2g}",
            ),
            ("leaf counts", f"{self.wrong_counts:,} leaves differ"),
            ("rows seen", f"{self.share_seen:.1%} of the rows in the average tree"),
        ]
        return "\n".join(f"{name:<14}{text}" for name, text in lines)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingTrace:
    """The replay of boosting over the rows that a model was trained on.

    Make it with `build`.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, with its initial score kept apart from the first tree, its penalties
        in the units of the sums, and one tree for each step of trees of several.
    rows : StagedRows
        Train rows; their weights are those of the gradients.
    raw_score : ndarray of float64, shape (n_train, n_outputs)
        Raw scores after the last tree.
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Weighted sums of the staged derivatives over each leaf's train rows.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        Train rows in each leaf.
    leaf_step : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage; where trees take several steps, the step.
    leaf_response : ndarray of float64, shape (n_leaves, leaf_width)
        How much a leaf value before shrinkage falls for a unit more of gradient sum:
        1 / (H + l2); 0 where the l1 penalty or the bound holds the value fixed; times
        count / (count + path_smooth) under path smoothing. Under "full newton", how
        much the value falls for a unit more of its output's gradient and as much,
        spread evenly, less of the others'.
    base_change : ndarray of float64, shape (n_train, n_outputs) or (0, n_outputs)
        Derivative of the base score in the logarithm of each row's weight; empty where
        the library does not estimate it from the rows.
    report : ReproductionReport
        How well the stored leaf values were reproduced.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    raw_score: NDArray[np.float64]
    leaf_gradient: NDArray[np.float64]
    leaf_hessian: NDArray[np.float64]
    leaf_rows: NDArray[np.int64]
    leaf_step: NDArray[np.float64]
    leaf_response: NDArray[np.float64]
    base_change: NDArray[np.float64]
    report: ReproductionReport

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
    ) -> TrainingTrace:
        """Replay boosting and check that it gives back the model's leaf values.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        X : array-like or frame, shape (n_train, n_features)
            The rows it was trained on.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with. Class weights and the weight of the
            positive class that the model remembers are multiplied in.
        init_score : array-like, shape (n_train,) or (n_train, n_outputs), optional
            The initial scores it was trained with.
        on_mismatch : {"raise", "warn", "ignore"}, default="raise"
            What to do if the rows, labels or weights are not the training ones.

        Returns
        -------
        TrainingTrace

        Raises
        ------
        UnsupportedModelError
            If the leaf values are not made of gradients.
        TrainingDataMismatchError
            If these are not the training rows, labels or weights.
        """
        choices = ("raise", "warn", "ignore")
        if on_mismatch not in choices:
            raise ValueError(
                f"Got on_mismatch={on_mismatch!r}; expected one of {choices}."
            )
        _refuse_unexplainable(ensemble)
        rows = StagedRows.read(
            ensemble, X, y, sample_weight=sample_weight, init_score=init_score
        )
        ensemble, rows, base_change = _as_trained(ensemble, rows)
        leaf_gradient, leaf_hessian, raw_score = sum_derivatives(ensemble, rows)
        leaf_rows = np.zeros(ensemble.n_leaves, COUNT)
        counted = rows.leaf
        if rows.weight.size and not ensemble.training.counts_zero_weights:
            counted = np.ascontiguousarray(rows.leaf[:, rows.weight > 0.0])
        kernels.count_leaf_rows(
            counted, ensemble.leaf_offset, ensemble.row_of_tree, leaf_rows
        )
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        leaf_step = ensemble.leaf_value / np.where(shrinkage == 0.0, 1.0, shrinkage)
        rule = ensemble.leaf_rule
        if rule.n_steps > 1 or rule.kind == "full newton":
            taken = take_leaf_steps(
                ensemble, rows.leaf, rows.target, rows.weight, rows.offset
            )
            expected, leaf_response = taken.total, taken.response[0]
        else:
            expected, leaf_response = _apply_leaf_rule(
                ensemble, leaf_gradient, leaf_hessian, leaf_rows
            )
        rounding = _bound_rounding(
            ensemble, rows, raw_score, leaf_rows, leaf_hessian, leaf_response
        )
        report = _compare(
            ensemble, rows, leaf_hessian, leaf_rows, leaf_step, expected, rounding
        )
        if rule.n_steps > 1:
            ensemble, leaf_step, leaf_response = expand_leaf_steps(ensemble, taken)
            leaf_gradient, leaf_hessian, raw_score = sum_derivatives(ensemble, rows)
            leaf_rows = np.zeros(ensemble.n_leaves, COUNT)
            kernels.count_leaf_rows(
                counted, ensemble.leaf_offset, ensemble.row_of_tree, leaf_rows
            )
        if on_mismatch != "ignore":
            _speak_up(report, on_mismatch)
        return cls(
            ensemble=ensemble,
            rows=rows,
            raw_score=raw_score,
            leaf_gradient=leaf_gradient,
            leaf_hessian=leaf_hessian,
            leaf_rows=leaf_rows,
            leaf_step=leaf_step,
            leaf_response=leaf_response,
            base_change=base_change,
            report=report,
        )


def _refuse_unexplainable(ensemble: TreeEnsemble) -> None:
    """Refuse models whose leaf values gradients do not make, by name."""
    if ensemble.is_averaged and ensemble.n_trees == 1:
        what, reason = "a single tree", "there is no boosting to replay"
    elif ensemble.is_averaged:
        what, reason = "an averaged forest", "its trees do not build on one another"
    elif ensemble.loss is None:
        what = f"the objective {ensemble.loss_name!r}"
        reason = "its gradients are not known to treeinf"
    elif not ensemble.loss.is_differentiable or ensemble.leaf_rule.kind == "quantile":
        what = f"the objective {ensemble.loss_name!r}"
        reason = "its leaf values are order statistics of residuals"
    elif (
        ensemble.leaf_rule.kind not in ("newton", "full newton", "gradient")
        or ensemble.leaf_l2 is None
    ):
        what = "a model without its training parameters"
        reason = (
            "the penalties in its leaf values are unknown; pass the estimator, the "
            "booster or the model's text file, or read_model(..., parameters=...)"
        )
    else:
        return
    raise UnsupportedModelError(
        f"Gradient-based influence cannot explain {what}: {reason}. Reading, routing "
        "and predicting work."
    )


def _as_trained(
    ensemble: TreeEnsemble, rows: StagedRows
) -> tuple[TreeEnsemble, StagedRows, NDArray[np.float64]]:
    """Put the weights and the initial score in place that the library used.

    Also gives how the initial score answers to the rows' weights, empty for not at all.
    """
    facts, loss = ensemble.training, ensemble.loss
    assert loss is not None
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    if facts.class_weight is not None:
        weight = weight * _class_weights(ensemble, rows.target)
    if facts.single_precision or facts.single_inputs:
        weight = weight.astype(np.float32).astype(REAL)
    if facts.single_inputs:
        offset = rows.offset.astype(np.float32).astype(REAL)
        rows = dataclasses.replace(rows, offset=offset)
    if facts.l2_per_weight and ensemble.leaf_l2 is not None:
        leaf_l2 = ensemble.leaf_l2 * weight.mean()
        if ensemble.leaf_width > 1 and ensemble.leaf_rule.kind != "gradient":
            leaf_l2 = leaf_l2.astype(np.float32)
        ensemble = dataclasses.replace(ensemble, leaf_l2=leaf_l2)
    base_score = np.zeros(ensemble.n_outputs)
    base_change = np.empty((0, ensemble.n_outputs), REAL)
    if ensemble.base_score_folded.any() and not rows.offset.size:
        base_score = loss.initial_score(rows.target, weight)
        base_change = loss.initial_score_change(rows.target, weight)
        base_change *= ensemble.base_score_folded
    elif facts.estimates_base_score and not rows.offset.size:
        base_change = loss.initial_score_change(rows.target, weight)
    if ensemble.base_score_folded.any():
        ensemble = ensemble.separate_base_score(base_score)
    if facts.positive_weight is not None:
        # a target that is a number weighs more where it is 1, which XGBoost allows
        is_positive = rows.target > 0 if loss.n_classes else rows.target == 1.0
        weight = weight * _positive_weights(facts.positive_weight, is_positive)
    if (weight == 1.0).all():
        weight = np.empty(0, REAL)
    rows = dataclasses.replace(rows, weight=np.ascontiguousarray(weight))
    return ensemble, rows, base_change


def _class_weights(
    ensemble: TreeEnsemble, target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give each row the weight of its class."""
    assert ensemble.loss is not None
    n_classes = ensemble.loss.n_classes
    weights = np.ones(n_classes)
    given = ensemble.training.class_weight
    if isinstance(given, str):
        counts = np.bincount(target.astype(np.intp), minlength=n_classes)
        present = counts > 0
        weights[present] = len(target) / (present.sum() * counts[present])
    else:
        labels = range(n_classes) if ensemble.classes is None else ensemble.classes
        known = dict(given or ())
        weights[:] = [known.get(label, 1.0) for label in labels]
    return weights[target.astype(np.intp)]


def _positive_weights(
    positive_weight: float | str, positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give each row of two classes its weight in the gradients."""
    if positive_weight != "unbalanced":
        return np.where(positive, float(positive_weight), 1.0)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.ones(len(positive))
    if n_positive > n_negative:
        return np.where(positive, 1.0, n_positive / n_negative)
    return np.where(positive, n_negative / n_positive, 1.0)


def _apply_leaf_rule(
    ensemble: TreeEnsemble,
    leaf_gradient: NDArray[np.float64],
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute leaf values before shrinkage from gradient sums, and their response."""
    rule = ensemble.leaf_rule
    assert ensemble.leaf_l2 is not None
    denominator = leaf_hessian + ensemble.leaf_l2[:, np.newaxis]
    is_free = (denominator > 0.0) & (np.abs(leaf_gradient) > rule.l1_leaf)
    if rule.l1_leaf == 0.0:
        is_free = denominator > 0.0
    shrunk = leaf_gradient - np.sign(leaf_gradient) * rule.l1_leaf
    step = np.where(is_free, -shrunk / np.where(is_free, denominator, 1.0), 0.0)
    response = np.where(is_free, 1.0 / np.where(is_free, denominator, 1.0), 0.0)
    if rule.max_leaf_value > 0.0:
        response[np.abs(step) > rule.max_leaf_value] = 0.0
        step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
    is_light = leaf_hessian < rule.min_leaf_hessian * (1.0 - _ROUNDING)
    step[is_light] = 0.0
    response[is_light] = 0.0
    if rule.path_smooth > 0.0:
        share = leaf_rows / (leaf_rows + rule.path_smooth)
        response *= share[:, np.newaxis]
        step = _smooth_paths(ensemble, leaf_gradient, leaf_hessian, leaf_rows, step)
    is_constant = ~_is_fitted_leaf(ensemble)
    step[is_constant] = 0.0
    response[is_constant] = 0.0
    return step, response


def _has_fit(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Tell which trees hold fitted values.

    In most libraries a tree of one leaf does not: nothing could be split, and what is
    stored there is the initial score alone.
    """
    has_splits = np.diff(ensemble.leaf_offset) > 1
    return has_splits | ensemble.leaf_rule.fits_single_leaf


def _is_fitted_leaf(ensemble: TreeEnsemble) -> NDArray[np.bool_]:
    """Tell which leaves belong to such trees."""
    return np.repeat(_has_fit(ensemble), np.diff(ensemble.leaf_offset))


def _smooth_paths(
    ensemble: TreeEnsemble,
    leaf_gradient: NDArray[np.float64],
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
    leaf_step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Pull each node's value towards its parent's, from the root to the leaves.

    A node of n rows keeps n / (n + path_smooth) of its own value. The l2 of an inner
    node is taken to be the smallest of the tree's leaves.
    """
    rule = ensemble.leaf_rule
    assert ensemble.leaf_l2 is not None
    smoothed = leaf_step.copy()
    for tree in range(ensemble.n_trees):
        nodes = slice(ensemble.node_offset[tree], ensemble.node_offset[tree + 1])
        first = int(ensemble.leaf_offset[tree])
        left, right = ensemble.left[nodes], ensemble.right[nodes]
        if not len(left):
            continue
        order = [0]
        for node in order:
            order += [int(child) for child in (left[node], right[node]) if child >= 0]
        sums = np.zeros((len(left), 2, ensemble.leaf_width))
        counts = np.zeros(len(left))
        for node in reversed(order):
            for child in (left[node], right[node]):
                if child >= 0:
                    sums[node] += sums[child]
                    counts[node] += counts[child]
                else:
                    sums[node, 0] += leaf_gradient[first + ~child]
                    sums[node, 1] += leaf_hessian[first + ~child]
                    counts[node] += leaf_rows[first + ~child]
        l2 = ensemble.leaf_l2[first : first + len(left) + 1].min()
        gradient = sums[:, 0] - np.sign(sums[:, 0]) * np.minimum(
            np.abs(sums[:, 0]), rule.l1_leaf
        )
        value = -gradient / np.maximum(sums[:, 1] + l2, np.finfo(REAL).tiny)
        if rule.max_leaf_value > 0.0:
            value = np.clip(value, -rule.max_leaf_value, rule.max_leaf_value)
        share = (counts / (counts + rule.path_smooth))[:, np.newaxis]
        value *= share
        for node in order:
            for child in (left[node], right[node]):
                if child >= 0:
                    value[child] += (1.0 - share[child]) * value[node]
                else:
                    rows = leaf_rows[first + ~child]
                    own = rows / (rows + rule.path_smooth)
                    smoothed[first + ~child] = (
                        own * leaf_step[first + ~child] + (1.0 - own) * value[node]
                    )
    return smoothed


def _bound_rounding(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    raw_score: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
    leaf_hessian: NDArray[np.float64],
    leaf_response: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Bound what the precision of gradients leaves open in each leaf value.

    Late trees, and leaves of rows that are all but certain, can have values no larger
    than this. A gradient is taken to be rounded as one of the first iteration is, and
    as it answers to a rounded score; where scores too are added up in single precision,
    each tree adds a rounding, and what is too small is lost. The bound is infinite
    where the hessians themselves are no larger than a rounding.
    """
    facts = ensemble.training
    is_single = facts.single_precision or facts.single_gradients
    assert ensemble.loss is not None
    first = np.tile(ensemble.base_score, (rows.n_rows, 1))
    if rows.offset.size:
        first += rows.offset
    gradient, hessian = ensemble.loss.derivatives(rows.target, first)
    n_roundings = np.ones(ensemble.n_leaves)
    if is_single and ensemble.is_single_precision:
        n_roundings += 0.5 * ensemble.iteration[ensemble.leaf_tree]
    score_unit = n_roundings * np.abs(raw_score).max()
    unit = np.abs(gradient).mean() + hessian.mean() * score_unit
    if rows.weight.size:
        unit *= rows.weight.mean()
    # in double precision the exponentials are rounded as much as the gradients
    precision = np.finfo(np.float32).eps if is_single else 8 * np.finfo(REAL).eps
    # between a score and a gradient lie an exponential, a sum and a quotient
    unit *= 4.0 * float(precision) * leaf_rows
    # of the hessian, whose unit is another
    lightest = 4.0 * float(precision) * hessian.mean() * leaf_rows
    if rows.weight.size:
        lightest *= rows.weight.mean()
    assert ensemble.leaf_l2 is not None
    if ensemble.leaf_rule.kind == "full newton":
        # along a change of all outputs alike the penalty alone is divided by
        smallest = np.finfo(np.float32).eps * leaf_hessian.max(axis=1)
        penalty = np.maximum(np.maximum(ensemble.leaf_l2, smallest), _TINY)
        leaf_response = np.maximum(leaf_response, 1.0 / penalty[:, np.newaxis])
    is_lost = leaf_hessian + ensemble.leaf_l2[:, np.newaxis] <= lightest[:, np.newaxis]
    return np.where(is_lost, np.inf, unit[:, np.newaxis] * leaf_response)


def _relative_differences(
    ensemble: TreeEnsemble,
    leaf_step: NDArray[np.float64],
    expected: NDArray[np.float64],
    rounding: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compare leaf values, relative to the largest of their tree.

    Where rounding alone can make more than the tolerance of it, relative to so much
    that this comes to the tolerance.
    """
    size = np.maximum(np.abs(leaf_step), np.abs(expected)).max(axis=1)
    largest = np.maximum.reduceat(size, ensemble.leaf_offset[:-1])
    scale = np.repeat(largest, np.diff(ensemble.leaf_offset))[:, np.newaxis]
    scale = np.maximum(scale, rounding / _tolerance(ensemble))
    difference = np.abs(leaf_step - expected)
    return (difference / np.where(scale > 0.0, scale, 1.0)).max(axis=1)


def _tolerance(ensemble: TreeEnsemble) -> float:
    """Give the relative difference up to which leaf values are the same."""
    facts = ensemble.training
    return 1e-3 if facts.single_precision or facts.single_gradients else 1e-6


def _compare(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
    leaf_step: NDArray[np.float64],
    expected: NDArray[np.float64],
    rounding: NDArray[np.float64],
) -> ReproductionReport:
    """Compare what was recomputed with what the model stores, and name the cause."""
    has_splits = _has_fit(ensemble)
    compared = _is_fitted_leaf(ensemble)
    difference = _relative_differences(ensemble, leaf_step, expected, rounding)
    difference = difference[compared]
    figures: dict[str, Any] = {
        "n_rows": rows.n_rows,
        "share_seen": np.nan,
        "wrong_counts": 0,
        "largest_difference": float(difference.max(initial=0.0)),
        "median_difference": float(np.median(difference)) if difference.size else 0.0,
        "largest_hessian_difference": np.nan,
    }
    if not has_splits.any():
        return ReproductionReport(
            "unchecked", "No tree has a split: there is nothing to compare.", **figures
        )
    if ensemble.leaf_hessian is not None and ensemble.leaf_width == 1:
        gap = np.abs(leaf_hessian[:, 0] - ensemble.leaf_hessian)[compared]
        scale = np.maximum(ensemble.leaf_hessian[compared], np.finfo(REAL).tiny)
        figures["largest_hessian_difference"] = float((gap / scale).max())
    if ensemble.leaf_count is not None:
        stored = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
        stored = stored[has_splits]
        wrong = (leaf_rows != ensemble.leaf_count) & compared
        figures["wrong_counts"] = int(wrong.sum())
        figures["share_seen"] = float(stored.mean() / rows.n_rows)
        verdict = _judge_counts(ensemble, rows, leaf_rows, stored, wrong, compared)
        if verdict is not None:
            return ReproductionReport(*verdict, **figures)
    if ensemble.leaf_weight is not None:
        weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
        given = np.zeros(ensemble.n_leaves, REAL)
        kernels.sum_leaf_weights(
            rows.leaf, ensemble.leaf_offset, ensemble.row_of_tree, weight, given
        )
        size = np.maximum(given, ensemble.leaf_weight)
        wrong = (np.abs(given - ensemble.leaf_weight) > 1e-5 * size) & compared
        totals = np.add.reduceat(ensemble.leaf_weight, ensemble.leaf_offset[:-1])
        figures["wrong_counts"] = int(wrong.sum())
        figures["share_seen"] = float(totals.mean() / weight.sum())
        verdict = _judge_weights(ensemble, weight, totals, wrong, compared)
        if verdict is not None:
            return ReproductionReport(*verdict, **figures)
    verdict = _judge_values(ensemble, rows, leaf_hessian, difference)
    return ReproductionReport(*verdict, **figures)


def _judge_weights(
    ensemble: TreeEnsemble,
    weight: NDArray[np.float64],
    totals: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    compared: NDArray[np.bool_],
) -> tuple[str, str] | None:
    """Judge by the weight of the rows in each leaf; None if it is as stored."""
    if not wrong.any():
        return None
    stored, given = float(totals.max()), float(weight.sum())
    if abs(stored - given) <= 1e-5 * stored:
        if ensemble.is_native:
            return None
        return "other rows", (
            f"{wrong.sum():,} of {compared.sum():,} leaves hold rows of another weight "
            "than in training: the values in X are not those the model was trained on, "
            "or the weights belong to other rows."
        )
    if (weight == 1.0).all() and stored == round(stored):
        return "other rows", (
            f"The model was trained on {stored:,.0f} rows; got {len(weight):,}. Pass "
            "the rows of its own training, without those held out."
        )
    return "other weights", (
        f"The weights of the training rows add up to {stored:.6g}; those given, with "
        f"the weights of their classes, to {given:.6g}. Pass the rows, labels and "
        "sample weights of the training."
    )


def _judge_counts(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_rows: NDArray[np.int64],
    stored: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    compared: NDArray[np.bool_],
) -> tuple[str, str] | None:
    """Judge by the rows in each leaf; None if they are as stored."""
    if not wrong.any():
        return None
    assert ensemble.leaf_count is not None
    n_rows = rows.n_rows
    if stored.max() > n_rows or (ensemble.training.subsample is None):
        if stored.max() != n_rows:
            return "other rows", (
                f"The model was trained on {stored.max():,} rows; got {n_rows:,}. Pass "
                "the rows of its own training, without those held out."
            )
        return "other rows", (
            f"{wrong.sum():,} of {compared.sum():,} leaves hold another number of rows "
            "than in training: the values in X are not those the model was trained on."
        )
    overfull = (ensemble.leaf_count > leaf_rows) & compared
    if overfull.any():
        return "other rows", (
            f"{overfull.sum():,} of {compared.sum():,} leaves held more rows in "
            "training than reach them now: the values in X are not those the model was "
            "trained on."
        )
    return "subsampled", (
        "Each tree was fitted on a sample of the rows "
        f"({ensemble.training.subsample}): {stored.mean() / n_rows:.1%} of them on "
        "average. Which rows is not stored, so influence is computed as if each tree "
        "had seen all rows; leaf values differ by the figures given."
    )


def _judge_values(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_hessian: NDArray[np.float64],
    difference: NDArray[np.float64],
) -> tuple[str, str]:
    """Judge by the leaf values, given that the rows in each leaf are right."""
    facts = ensemble.training
    tolerance = _tolerance(ensemble)
    largest = float(difference.max(initial=0.0))
    if largest <= tolerance:
        return "exact", (
            "Recomputed leaf values equal the stored ones to the library's precision."
        )
    share = float((difference > tolerance).mean())
    figures = (
        f"{share:.1%} of the leaf values differ by more than {tolerance:g} of their "
        f"tree's largest, at most by {largest:.2g}"
    )
    if facts.subsample is not None:
        return "subsampled", (
            f"Each tree was fitted on a sample of the rows ({facts.subsample}), and "
            f"which rows is not stored: {figures}."
        )
    if facts.approximations:
        return "approximate", f"{' '.join(facts.approximations)} {figures}."
    other = "another init_score, or leaf values changed after training"
    if ensemble.leaf_hessian is None:
        return "other labels", (
            f"{figures}. The labels or weights are not those of training, or {other}."
        )
    first = np.isin(ensemble.iteration[ensemble.leaf_tree], ensemble.iteration[:1])
    first &= _is_fitted_leaf(ensemble)
    stored = ensemble.leaf_hessian[first]
    ratio = leaf_hessian[first, 0] / np.maximum(stored, np.finfo(REAL).tiny)
    if ratio.size and np.ptp(ratio) > 1e-4 * np.abs(ratio).max():
        n_trained = _count_from_hessians(ensemble, rows, first)
        if n_trained is not None and n_trained != rows.n_rows:
            return "other rows", (
                f"The model was trained on {n_trained:,} rows, by the sums of hessians "
                f"in its first tree; got {rows.n_rows:,}. Pass the rows of its own "
                "training, without those held out."
            )
        if n_trained is not None:
            return "other rows", (
                f"{figures}, and leaves of the first tree hold another number of rows "
                "than in training, by their sums of hessians: the values in X are not "
                "those the model was trained on."
            )
        return "other weights", (
            f"{figures}, and the sums of hessians in the first iteration differ by "
            "leaf: the sample weights are not those of training (or it used "
            f"{other})."
        )
    if ratio.size and abs(ratio.mean() - 1.0) > 1e-4:
        return "other labels", (
            f"{figures}, and the sums of hessians in the first iteration are "
            f"{ratio.mean():.4g} times those stored in every leaf: the share of the "
            "classes, or the mean of the targets, is not that of training (or all "
            f"weights differ by one factor, or it used {other})."
        )
    return "other labels", (
        f"{figures}, while the rows and the hessians of the first iteration are right: "
        "the labels belong to other rows (another order?), or some were changed (or it "
        f"used {other})."
    )


def _count_from_hessians(
    ensemble: TreeEnsemble, rows: StagedRows, first: NDArray[np.bool_]
) -> int | None:
    """Count the rows of the first tree by its hessians, where the model has no counts.

    All rows have one hessian at the base score, whatever their targets, under squared
    and logistic loss and most others; each stored sum is then a whole number of them.
    None where it is not, or where there were weights.
    """
    assert ensemble.loss is not None
    assert ensemble.leaf_hessian is not None
    if ensemble.leaf_count is not None or rows.weight.size or rows.offset.size:
        return None
    start = np.tile(ensemble.base_score, (rows.n_rows, 1))
    _, hessian = ensemble.loss.derivatives(rows.target, start)
    hessian = hessian[:, max(int(ensemble.output[0]), 0)]
    if hessian[0] <= 0.0 or np.ptp(hessian) > 1e-6 * hessian[0]:
        return None
    own = first & (ensemble.leaf_tree == 0)
    counts = ensemble.leaf_hessian[own] / hessian[0]
    whole = np.round(counts)
    if np.any(whole < 1.0) or np.any(np.abs(counts - whole) > 1e-4 * whole + 1e-3):
        return None
    return int(whole.sum())


def _speak_up(report: ReproductionReport, on_mismatch: str) -> None:
    """Raise or warn as the report asks for."""
    if report.is_mismatch:
        message = (
            f"These are not the training data ({report.verdict}). {report.explanation} "
            "Pass on_mismatch='warn' to go on all the same."
        )
        if on_mismatch == "raise":
            raise TrainingDataMismatchError(message)
        warnings.warn(message, TrainingDataWarning, stacklevel=4)
    elif report.verdict == "subsampled":
        warnings.warn(report.explanation, SubsampledTrainingWarning, stacklevel=4)
    elif report.verdict == "approximate":
        warnings.warn(report.explanation, TrainingDataWarning, stacklevel=4)
