"""Compare recomputed leaf values with the stored ones, and name the cause."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.errors import (
    SubsampledTrainingWarning,
    TrainingDataMismatchError,
    TrainingDataWarning,
)
from treeinf.trace.bag_report import BagReport
from treeinf.trace.leaf_rule import has_fitted_values, is_fitted_leaf
from treeinf.trace.rows import StagedRows
from treeinf.trace.tree_fit import tolerance

__all__ = [
    "ReproductionReport",
    "compare_with_model",
    "report_mismatch",
]

_SAMPLED = (
    "influence is computed as if they had seen all: rankings of wrong labels, and of "
    "the rows whose removal LeafInfluence predicts, hardly suffer; single figures are "
    "approximate."
)
_NOT_STORED = f"Which rows the trees saw is not stored, and {_SAMPLED}"
_NOT_FOUND = (
    f"Which rows the trees saw was not found, and {_SAMPLED} The commonest cause is "
    "another order of the rows than in training: pass them as they were fitted, with "
    "the labels and weights of the training."
)
_PARTLY = f"fitted on rows that were not found, and {_SAMPLED}"


@dataclasses.dataclass(frozen=True)
class ReproductionReport:
    """How well the leaf values follow from the rows, targets and weights passed.

    Parameters
    ----------
    verdict : {"exact", "approximate", "subsampled", "other rows", "other labels", \
"other weights", "other objective", "unchecked"}
        Outcome of the comparison.
    explanation : str
        The verdict in words, with figures and the way out.
    n_rows : int
        Number of rows passed.
    share_seen : float
        Average share of the rows that a tree was fitted on, by the stored leaf counts
        or sums of weights; NaN where the library stores neither.
    wrong_counts : int
        Leaves whose stored count, or sum of weights, differs from that of the rows
        routed to them.
    largest_difference, median_difference : float
        Of recomputed and stored leaf values before shrinkage, each relative to the
        largest value of its tree; NaN where the leaf rule is unknown.
    largest_hessian_difference : float
        Of recomputed and stored sums of hessians, relative to the leaf's; NaN where the
        library stores none.
    bags : BagReport or None
        Which rows each tree saw, where the training sampled them and some were found.
    """

    verdict: str
    explanation: str
    n_rows: int
    share_seen: float
    wrong_counts: int
    largest_difference: float
    median_difference: float
    largest_hessian_difference: float
    bags: BagReport | None = None

    @property
    def is_mismatch(self) -> bool:
        """Whether these rows, labels and weights do not reproduce the model."""
        return self.verdict.startswith("other")

    def __str__(self) -> str:
        lines = [
            ("train rows", f"{self.n_rows:,}"),
            ("verdict", self.verdict),
            ("explanation", self.explanation),
        ]
        if not np.isnan(self.largest_difference):
            text = (
                f"largest difference {self.largest_difference:.2g}, median "
                f"{self.median_difference:.2g} (relative to the tree's largest)"
            )
            lines.append(("leaf values", text))
        largest = self.largest_hessian_difference
        if not np.isnan(largest):
            lines.append(("leaf hessians", f"largest difference {largest:.2g}"))
        if not np.isnan(self.share_seen):
            share = f"{self.share_seen:.1%} of the rows in the average tree"
            lines.append(("leaf counts", f"{self.wrong_counts:,} leaves differ"))
            lines.append(("rows seen", share))
        if self.bags is not None:
            lines.append(("bags", str(self.bags)))
        return "\n".join(f"{name:<14}{text}" for name, text in lines)


def compare_with_model(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_hessian: NDArray[np.float64],
    leaf_rows: NDArray[np.int64],
    leaf_weight: NDArray[np.float64],
    difference: NDArray[np.float64],
    bags: BagReport | None,
) -> ReproductionReport:
    """Compare what was recomputed with what the model stores, and name the cause.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model with its base score kept apart.
    rows : StagedRows
        Train rows.
    leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Sums over the rows of the bags, as all that follow.
    leaf_rows, leaf_weight : ndarray of int64 and float64, shape (n_leaves,)
        From `count_rows` and `sum_weights`.
    difference : ndarray of float64, shape (n_leaves,)
        Of the leaf values, from `compare_values`.
    bags : BagReport or None
        Where the rows have bags: which were found.
    """
    has_splits = has_fitted_values(ensemble)
    compared = is_fitted_leaf(ensemble)
    difference = difference[compared]
    figures: dict[str, Any] = {
        "n_rows": rows.n_rows,
        "share_seen": np.nan,
        "wrong_counts": 0,
        "largest_difference": float(difference.max(initial=0.0)),
        "median_difference": float(np.median(difference)) if difference.size else 0.0,
        "largest_hessian_difference": np.nan,
        "bags": bags,
    }
    if not has_splits.any():
        return ReproductionReport(
            "unchecked",
            "No tree has a split, so no leaf values are compared.",
            **figures,
        )
    if ensemble.leaf_hessian is not None and ensemble.leaf_width == 1:
        gap = np.abs(leaf_hessian[:, 0] - ensemble.leaf_hessian)[compared]
        scale = np.maximum(ensemble.leaf_hessian[compared], np.finfo(REAL).tiny)
        figures["largest_hessian_difference"] = float((gap / scale).max())
    verdict = None
    if bags is not None and bags.missing_trees:
        were = "was" if len(bags.missing_trees) == 1 else "were"
        verdict = (
            "subsampled",
            (f"Rows of the trees: {bags}. {bags.missing} {were} {_PARTLY}"),
        )
    if ensemble.leaf_count is not None:
        stored = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
        stored = stored[has_splits]
        wrong = (leaf_rows != ensemble.leaf_count) & compared
        figures["wrong_counts"] = int(wrong.sum())
        figures["share_seen"] = float(stored.mean() / rows.n_rows)
        verdict = verdict or _check_counts(
            ensemble, rows, leaf_rows, stored, wrong, compared
        )
    if ensemble.leaf_weight is not None and verdict is None:
        weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
        size = np.maximum(leaf_weight, ensemble.leaf_weight)
        wrong = (np.abs(leaf_weight - ensemble.leaf_weight) > 1e-5 * size) & compared
        totals = np.add.reduceat(ensemble.leaf_weight, ensemble.leaf_offset[:-1])
        figures["wrong_counts"] = int(wrong.sum())
        figures["share_seen"] = float(totals.mean() / weight.sum())
        verdict = _check_weights(ensemble, weight, totals, wrong, compared, bags)
    if verdict is None:
        verdict = _check_values(ensemble, rows, leaf_hessian, difference, bags)
    return ReproductionReport(*verdict, **figures)


def _check_weights(
    ensemble: TreeEnsemble,
    weight: NDArray[np.float64],
    totals: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    compared: NDArray[np.bool_],
    bags: BagReport | None,
) -> tuple[str, str] | None:
    """Compare the weight of the rows in each leaf; return None if it matches."""
    if not wrong.any():
        return None
    if bags is not None:
        return "other weights", (
            f"The trees were fitted on these rows ({bags}), but {wrong.sum():,} of "
            f"{compared.sum():,} leaves hold rows of a different total weight than in "
            "training: pass its sample weights."
        )
    stored, total = float(totals.max()), float(weight.sum())
    if abs(stored - total) <= 1e-5 * stored:
        if ensemble.is_native:
            return None
        return "other rows", (
            f"{wrong.sum():,} of {compared.sum():,} leaves hold rows of a different "
            "total weight than in training: the values in X are not those the model "
            "was trained on, or the weights belong to other rows."
        )
    if (weight == 1.0).all() and stored == round(stored):
        return "other rows", (
            f"The model was trained on {stored:,.0f} rows; got {len(weight):,}. Pass "
            "exactly the rows of its training, without those held out."
        )
    return "other weights", (
        f"The weights of the training rows add up to {stored:.6g}; those given, with "
        f"the weights of their classes, to {total:.6g}. Pass the rows, labels and "
        "sample weights of the training."
    )


def _check_counts(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_rows: NDArray[np.int64],
    stored: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    compared: NDArray[np.bool_],
) -> tuple[str, str] | None:
    """Compare the number of rows in each leaf; return None if it matches."""
    if not wrong.any():
        return None
    assert ensemble.leaf_count is not None
    n_rows = rows.n_rows
    if stored.max() > n_rows or (ensemble.training.subsample is None):
        if stored.max() != n_rows:
            return "other rows", (
                f"The model was trained on {stored.max():,} rows; got {n_rows:,}. Pass "
                "exactly the rows of its training, without those held out."
                + _assumed(ensemble)
            )
        return "other rows", (
            f"{wrong.sum():,} of {compared.sum():,} leaves hold a different number of "
            "rows than in training: the values in X are not those the model was "
            "trained on."
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
        f"average. {_not_known(ensemble)}"
    )


def _not_known(ensemble: TreeEnsemble) -> str:
    """Return what it means that no bags are known."""
    return _NOT_STORED if ensemble.training.row_sampling is None else _NOT_FOUND


def _check_values(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    leaf_hessian: NDArray[np.float64],
    difference: NDArray[np.float64],
    bags: BagReport | None,
) -> tuple[str, str]:
    """Compare the leaf values, once the rows in each leaf match."""
    facts = ensemble.training
    allowed = tolerance(ensemble)
    largest = float(difference.max(initial=0.0))
    if largest <= allowed:
        return "exact", (
            "Recomputed leaf values equal the stored ones to the library's precision"
            + ("." if bags is None else f" ({bags}).")
            + (f" {facts.assumed}." if facts.assumed else "")
        )
    share = float((difference > allowed).mean())
    figures = (
        f"{share:.1%} of the leaf values differ by more than {allowed:g} of their "
        f"tree's largest, at most by {largest:.2g}"
    )
    if bags is not None:
        figures = f"The rows are those of the training ({bags}), but {figures}"
    elif facts.subsample is not None:
        return "subsampled", (
            f"Each tree was fitted on a sample of the rows ({facts.subsample}): "
            f"{figures}. {_not_known(ensemble)}"
        )
    if facts.approximations:
        return "approximate", f"{' '.join(facts.approximations)} {figures}."
    other = "another init_score, or leaf values changed after training"
    if ensemble.loss is not None and ensemble.loss.n_classes:
        other = f"{other}, or class weights other than balanced ones"
    if facts.other_rule is not None:
        other = f"{other}, or {facts.other_rule}"
    assumed = _assumed(ensemble)
    if ensemble.leaf_hessian is None:
        return "other labels", (
            f"{figures}. The labels or weights are not those of training, or {other}."
            f"{assumed}"
        )
    if type(ensemble.loss) is losses.SquaredError and bags is None:
        total = np.add.reduceat(ensemble.leaf_hessian, ensemble.leaf_offset[:-1])
        total = total[has_fitted_values(ensemble)]
        if np.ptp(total) > 1e-4 * total.max():
            return "other objective", (
                f"{figures}, and the sums of hessians change from tree to tree, which "
                f"they cannot under {ensemble.loss_name}: each tree was fitted on a "
                f"sample of the rows, or it used {other}.{assumed}"
            )
    first = np.isin(ensemble.iteration[ensemble.leaf_tree], ensemble.iteration[:1])
    first &= is_fitted_leaf(ensemble)
    stored = ensemble.leaf_hessian[first]
    ratio = leaf_hessian[first, 0] / np.maximum(stored, np.finfo(REAL).tiny)
    if ratio.size and np.ptp(ratio) > 1e-4 * np.abs(ratio).max():
        n_trained = None
        if bags is None:
            n_trained = _count_from_hessians(ensemble, rows, first)
        if n_trained is not None and n_trained != rows.n_rows:
            return "other rows", (
                f"The model was trained on {n_trained:,} rows, by the sums of hessians "
                f"in its first tree; got {rows.n_rows:,}. Pass exactly the rows of "
                f"its training, without those held out. (Or it used {other}.){assumed}"
            )
        if n_trained is not None:
            return "other rows", (
                f"{figures}, and leaves of the first tree hold a different number of "
                "rows than in training, by their sums of hessians: the values in X are "
                "not those the model was trained on."
            )
        return "other weights", (
            f"{figures}, and the sums of hessians in the first iteration differ by "
            "leaf: the sample weights are not those of training (or it used "
            f"{other}).{assumed}"
        )
    if ratio.size and abs(ratio.mean() - 1.0) > 1e-4:
        return "other labels", (
            f"{figures}, and the sums of hessians in the first iteration are "
            f"{ratio.mean():.4g} times those stored in every leaf: the share of the "
            "classes, or the mean of the targets, is not that of training (or all "
            f"weights differ by one factor, or it used {other}).{assumed}"
        )
    return "other labels", (
        f"{figures}, while the rows and the hessians of the first iteration match: "
        "the labels belong to other rows (another order?), or some were changed (or it "
        f"used {other}).{assumed}"
    )


def _assumed(ensemble: TreeEnsemble) -> str:
    """Return the parameters that were assumed, and how to pass those of training."""
    assumed = ensemble.training.assumed
    if assumed is None:
        return ""
    return (
        f" {assumed}; pass those of the training: read_model(..., parameters={{...}})."
    )


def _count_from_hessians(
    ensemble: TreeEnsemble, rows: StagedRows, first: NDArray[np.bool_]
) -> int | None:
    """Infer the number of rows from the hessian sums of the first tree.

    Under squared and logistic loss and most others, all rows have the same hessian at
    the base score, whatever their targets, so each stored sum is an integer multiple of
    it. None where it is not, where the model stores counts, or where rows have weights.
    """
    assert ensemble.loss is not None
    assert ensemble.leaf_hessian is not None
    if ensemble.leaf_count is not None or rows.weight.size or rows.offset.size:
        return None
    start = np.tile(ensemble.base_score, (rows.n_rows, 1))
    _, hessian = ensemble.loss.derivatives(rows.y, start)
    hessian = hessian[:, max(int(ensemble.output[0]), 0)]
    if hessian[0] <= 0.0 or np.ptp(hessian) > 1e-6 * hessian[0]:
        return None
    is_first_tree = first & (ensemble.leaf_tree == 0)
    counts = ensemble.leaf_hessian[is_first_tree] / hessian[0]
    whole = np.round(counts)
    if np.any(whole < 1.0) or np.any(np.abs(counts - whole) > 1e-4 * whole + 1e-3):
        return None
    return int(whole.sum())


def report_mismatch(report: ReproductionReport, on_mismatch: str) -> None:
    """Raise or warn according to the verdict."""
    if report.is_mismatch:
        message = (
            f"These are not the training data ({report.verdict}). {report.explanation} "
            "Pass on_mismatch='warn' to continue nevertheless."
        )
        if on_mismatch == "raise":
            raise TrainingDataMismatchError(message)
        warnings.warn(message, TrainingDataWarning, stacklevel=4)
    elif report.verdict == "subsampled":
        warnings.warn(report.explanation, SubsampledTrainingWarning, stacklevel=4)
    elif report.verdict == "approximate":
        warnings.warn(report.explanation, TrainingDataWarning, stacklevel=4)
