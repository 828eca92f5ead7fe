"""Whether the rows of a tree's bag give the counts, sums and values that it stores."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.kernels.cpu import replay as kernels
from treeinf.trace.leaf_rule import is_fitted_leaf
from treeinf.trace.rows import StagedRows

__all__ = [
    "RoundingBound",
    "TreeFit",
    "compare_counts",
    "compare_hessians",
    "compare_values",
    "compare_weights",
    "sum_weights",
    "tolerance",
]

_MEAN_ROWS = 2**16
_TINY = float(np.finfo(REAL).tiny)
_SINGLE = 1e-5
"""Relative difference of sums of float32 numbers that are added up in double."""
_TELLING_COUNTS = 3
"""Leaf counts, beside those that follow from the others, that fit by no chance."""


def tolerance(ensemble: TreeEnsemble) -> float:
    """Return the relative difference up to which leaf values count as equal."""
    return 1e-3 if _is_single(ensemble) else 1e-6


def _is_single(ensemble: TreeEnsemble) -> bool:
    facts = ensemble.training
    return facts.single_precision or facts.single_gradients


@dataclasses.dataclass(frozen=True)
class RoundingBound:
    """Bound on the rounding errors of recomputed leaf values.

    Late trees, and leaves of rows that are predicted with near certainty, can have
    values no larger than this. The error of a gradient is taken to be that of the first
    iteration, plus its hessian times the error of the score; where scores too are added
    up in single precision, each tree adds an error, and terms that are too small are
    lost. Means are over about 2**16 rows, evenly spread.

    Parameters
    ----------
    gradient, hessian : float
        Mean sizes of the derivatives before the first iteration.
    link : float
        Mean size of the predictions there.
    score : float
        Largest size of a raw score.
    weight : float
        Mean weight, times the largest factor of a bag.
    """

    gradient: float
    hessian: float
    link: float
    score: float
    weight: float

    @classmethod
    def measure(
        cls, ensemble: TreeEnsemble, rows: StagedRows, raw_score: NDArray[np.float64]
    ) -> RoundingBound:
        """Measure the sizes on train rows.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model with its base score kept apart.
        rows : StagedRows
            Train rows.
        raw_score : ndarray of float64, shape (n_rows, n_outputs)
            Their raw scores after the last tree.
        """
        assert ensemble.loss is not None
        target = rows.y[:: -(-rows.n_rows // _MEAN_ROWS)]
        first = np.tile(ensemble.base_score, (len(target), 1))
        if rows.offset.size:
            first += rows.offset[:: -(-rows.n_rows // _MEAN_ROWS)]
        gradient, hessian = ensemble.loss.derivatives(target, first)
        weight = float(rows.weight.mean()) if rows.weight.size else 1.0
        return cls(
            gradient=float(np.abs(gradient).mean()),
            hessian=float(hessian.mean()),
            link=float(np.abs(ensemble.loss.link(first)).mean()),
            score=float(max(raw_score.max(), -raw_score.min())),
            weight=weight * float(rows.bags.factor.max(initial=1.0)),
        )

    def of_leaves(
        self,
        ensemble: TreeEnsemble,
        leaf_rows: NDArray[np.int64],
        leaf_hessian: NDArray[np.float64],
        leaf_response: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Bound the rounding error of each leaf value.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model, or some of its trees.
        leaf_rows : ndarray of int64, shape (n_leaves,)
            Train rows in each leaf.
        leaf_hessian, leaf_response : ndarray of float64, shape (n_leaves, leaf_width)
            Sums of hessians, and responses of the leaf values.

        Returns
        -------
        ndarray of float64, shape (n_leaves, leaf_width)
            Infinite where the hessians are no larger than their own error.
        """
        is_single = _is_single(ensemble)
        n_roundings = np.ones(ensemble.n_leaves)
        if is_single and ensemble.input_rules.round_to_single:
            n_roundings += 0.5 * ensemble.iteration[ensemble.leaf_tree]
        unit = self.gradient + self.hessian * (n_roundings * self.score)
        # a probability near 1 is rounded as 1 is, however little it differs from the
        # label
        unit += 0.25 * self.link
        unit *= self.weight
        # in double precision the exponentials are rounded as much as the gradients
        precision = np.finfo(np.float32).eps if is_single else 8 * np.finfo(REAL).eps
        # between a score and a gradient lie an exponential, a sum and a quotient
        unit *= 4.0 * float(precision) * leaf_rows
        # the same bound for the hessian sums, in their own unit
        lightest = 4.0 * float(precision) * self.hessian * leaf_rows * self.weight
        assert ensemble.leaf_l2 is not None
        if ensemble.leaf_rule.kind == "full newton":
            # equal changes of all outputs are damped by the penalty alone
            smallest = np.finfo(np.float32).eps * leaf_hessian.max(axis=1)
            penalty = np.maximum(np.maximum(ensemble.leaf_l2, smallest), _TINY)
            leaf_response = np.maximum(leaf_response, 1.0 / penalty[:, np.newaxis])
        hessian = leaf_hessian + ensemble.leaf_l2[:, np.newaxis]
        is_lost = hessian <= lightest[:, np.newaxis]
        return np.where(is_lost, np.inf, unit[:, np.newaxis] * leaf_response)


def compare_values(
    ensemble: TreeEnsemble,
    leaf_step: NDArray[np.float64],
    expected: NDArray[np.float64],
    rounding: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compare leaf values, relative to the largest of their tree.

    The scale is raised where rounding alone could exceed the tolerance.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, or some of its trees.
    leaf_step, expected, rounding : ndarray of float64, shape (n_leaves, leaf_width)
        Leaf values before shrinkage as stored and as recomputed, and the bound of
        their rounding errors.

    Returns
    -------
    ndarray of float64, shape (n_leaves,)
        The largest relative difference of each leaf.
    """
    size = np.maximum(np.abs(leaf_step), np.abs(expected)).max(axis=1)
    largest = np.maximum.reduceat(size, ensemble.leaf_offset[:-1])
    scale = np.repeat(largest, np.diff(ensemble.leaf_offset))[:, np.newaxis]
    scale = np.maximum(scale, rounding / tolerance(ensemble))
    difference = np.abs(leaf_step - expected)
    relative: NDArray[np.float64] = difference / np.where(scale > 0.0, scale, 1.0)
    return relative.max(axis=1)


def compare_counts(
    ensemble: TreeEnsemble, leaf_rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the leaves whose stored count is another, shape (n_leaves,).

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, or some of its trees.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        From `count_rows`.
    """
    if ensemble.leaf_count is None:
        return np.zeros(ensemble.n_leaves, np.bool_)
    return (leaf_rows != ensemble.leaf_count) & is_fitted_leaf(ensemble)


def compare_weights(
    ensemble: TreeEnsemble, leaf_weight: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the leaves whose stored sum of weights is another, shape (n_leaves,).

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, or some of its trees.
    leaf_weight : ndarray of float64, shape (n_leaves,)
        From `sum_weights`.
    """
    if ensemble.leaf_weight is None:
        return np.zeros(ensemble.n_leaves, np.bool_)
    size = np.maximum(leaf_weight, ensemble.leaf_weight)
    wrong = np.abs(leaf_weight - ensemble.leaf_weight) > _SINGLE * size
    return wrong & is_fitted_leaf(ensemble)


def compare_hessians(
    ensemble: TreeEnsemble,
    leaf_rows: NDArray[np.int64],
    leaf_hessian: NDArray[np.float64],
    rounding: RoundingBound,
) -> NDArray[np.bool_]:
    """Return the leaves whose stored sum of hessians is another, shape (n_leaves,).

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, or some of its trees.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        Rows in each leaf.
    leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Recomputed sums.
    rounding : RoundingBound
        Sizes that errors are relative to.
    """
    if ensemble.leaf_hessian is None or ensemble.leaf_width > 1:
        return np.zeros(ensemble.n_leaves, np.bool_)
    precision = _SINGLE if _is_single(ensemble) else 0.1 * tolerance(ensemble)
    allowed = precision * ensemble.leaf_hessian
    allowed += 0.1 * precision * rounding.weight * leaf_rows
    wrong = np.abs(leaf_hessian[:, 0] - ensemble.leaf_hessian) > allowed
    return np.asarray(wrong & is_fitted_leaf(ensemble))


def sum_weights(
    ensemble: TreeEnsemble, rows: StagedRows, leaf_rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum the weights of the rows in each leaf, times their factors in the bag.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    rows : StagedRows
        Train rows.
    leaf_rows : ndarray of int64, shape (n_leaves,)
        Their number in each leaf.

    Returns
    -------
    ndarray of float64, shape (n_leaves,)
        The numbers of rows where the model stores no weights, or none are needed.
    """
    if ensemble.leaf_weight is None:
        return leaf_rows.astype(REAL)
    if not rows.weight.size and not rows.bags.factor.size:
        return leaf_rows.astype(REAL)
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    total = np.zeros(ensemble.n_leaves, REAL)
    kernels.sum_leaf_weights(
        rows.leaf,
        ensemble.leaf_offset,
        ensemble.row_of_tree,
        rows.bags.flat,
        weight,
        total,
    )
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class TreeFit:
    """Which trees the rows reproduce.

    Parameters
    ----------
    counts, weights : ndarray of bool, shape (n_trees,)
        Trees whose counts, and sums of weights, of leaves fit; all where none are
        stored.
    hessians, values : ndarray of bool, shape (n_trees,)
        Trees whose sums of hessians and leaf values fit.
    """

    counts: NDArray[np.bool_]
    weights: NDArray[np.bool_]
    hessians: NDArray[np.bool_]
    values: NDArray[np.bool_]

    @classmethod
    def of_leaves(
        cls,
        ensemble: TreeEnsemble,
        wrong_counts: NDArray[np.bool_],
        wrong_weights: NDArray[np.bool_],
        wrong_hessians: NDArray[np.bool_],
        difference: NDArray[np.float64],
    ) -> TreeFit:
        """Judge trees by their leaves.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model. Where it was trained with an approximation that no replay
            follows, hessians and values are not compared.
        wrong_counts, wrong_weights, wrong_hessians : ndarray of bool
            From `compare_counts`, `compare_weights` and `compare_hessians`, each of
            shape (n_leaves,).
        difference : ndarray of float64, shape (n_leaves,)
            From `compare_values`.
        """
        compared = is_fitted_leaf(ensemble)
        if ensemble.training.approximations:
            compared = np.zeros_like(compared)
        wrong_values = (difference > tolerance(ensemble)) & compared
        start = ensemble.leaf_offset[:-1]
        return cls(
            ~np.logical_or.reduceat(wrong_counts, start),
            ~np.logical_or.reduceat(wrong_weights, start),
            ~np.logical_or.reduceat(wrong_hessians & compared, start),
            ~np.logical_or.reduceat(wrong_values, start),
        )

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Trees that fit in all respects, shape (n_trees,)."""
        return np.asarray(self.counts & self.weights & self.hessians & self.values)

    def rows_fit(self, ensemble: TreeEnsemble) -> bool:
        """Return whether the rows of the trees are right, and labels or weights wrong.

        They are where the counts of all trees fit, and those of trees whose values do
        not fit are too many to do so by chance. Under squared error, hessians are
        counts. Else, where no counts are stored, sums of hessians before the first
        iteration stand for them, if values of its trees do not fit.
        """
        is_wrong = ~(self.weights & self.hessians & self.values)
        if ensemble.leaf_count is not None:
            return bool(self.counts.all() and _are_telling(ensemble, is_wrong))
        if not self.weights.all():
            return False
        is_wrong = ~self.values
        if ensemble.leaf_weight is None and not (
            type(ensemble.loss) is losses.SquaredError and self.hessians.all()
        ):
            is_first = ensemble.iteration == ensemble.iteration[0]
            if not self.hessians[is_first].all():
                return False
            has_split = np.diff(ensemble.leaf_offset) > 1
            if self.values[is_first & has_split].any() or self.values.mean() >= 0.5:
                return False
            is_wrong &= is_first
        return _are_telling(ensemble, is_wrong)


def _are_telling(ensemble: TreeEnsemble, trees: NDArray[np.bool_]) -> bool:
    """Return whether hardly any wrong bags give the counts of all these trees."""
    n_leaves = np.diff(ensemble.leaf_offset)[trees]
    return int(np.maximum(n_leaves - 1, 0).sum()) >= _TELLING_COUNTS
