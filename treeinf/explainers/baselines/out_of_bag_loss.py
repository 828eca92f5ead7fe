"""Loss of each train row by the trees of the model that did not see it."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import COUNT, REAL
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.baselines.row_score import RowScore
from treeinf.explainers.row_sampling.recovery import SampledTraining, recover_training
from treeinf.explainers.row_sampling.unseen_trees import (
    check_unseen,
    find_unseen,
    leaf_values,
    sum_unseen,
    tree_outputs,
)

__all__ = ["OutOfBagLoss"]

_KINDS = ("sum", "step")


class OutOfBagLoss(RowScore):
    """Loss of each row by those trees of the model itself that did not see it.

    The model must have sampled rows (bagging, ``subsample``, GOSS, bootstrap); nothing
    is trained.

    Parameters
    ----------
    kind : {"sum", "step"}, default="sum"
        "sum": the loss at the base score plus the leaf values of the trees that did not
        see the row. "step": the mean over those trees of the row's gradient before the
        tree times the tree's leaf value there, by how much a tree that never saw the
        row raises its loss; positive if it contradicts the label.
    n_jobs : int or None, default=None
        See `RowScore`.

    Attributes
    ----------
    n_trees_ : ndarray of int64, shape (n_train,)
        Trees that did not see each row, nor another of its group. Where there is none,
        "sum" is the loss at the base score and "step" is 0.
    scores_
        See `RowScore`.

    Notes
    -----
    The scores rank rows and do not validate the model. A row's sum holds a part of the
    trees (30 % under a bagging fraction of .7), so its loss is not the model's; and
    other rows' scores, to which the unseen trees answer, were moved by trees that saw
    the row. Forests have no such leak: "sum" is the loss of their out-of-bag
    prediction, and there is no "step". O(n_train n_trees) time.

    References
    ----------
    L. Breiman, "Random Forests", Machine Learning 45 (2001), section 3.1, for forests.
    """

    leaves_groups_out: ClassVar[bool] = True

    def __init__(self, *, kind: str = "sum", n_jobs: int | None = None) -> None:
        super().__init__(n_jobs=n_jobs)
        self.kind = kind

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.kind not in _KINDS:
            raise ValueError(f"Got kind={self.kind!r}; expected one of {_KINDS}.")

    def _score(
        self,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        group: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        training = recover_training(model, X, y, sample_weight=sample_weight)
        check_unseen(training)
        ensemble, of_tree = training.ensemble, training.bags.of_tree
        if not ensemble.is_averaged and (of_tree == of_tree[0]).all():
            raise UnsupportedModelError(
                "This model did not sample rows: it held the same rows out of all "
                "trees. Train it with row sampling, such as subsample=0.7."
            )
        if ensemble.is_averaged and self.kind == "step":
            raise UnsupportedModelError(
                "kind='step' needs a boosted model; the trees of a forest do not build "
                "on one another. Use kind='sum'."
            )
        loss = ensemble.loss
        if loss is None or (self.kind == "step" and not loss.is_differentiable):
            raise UnsupportedModelError(
                f"The objective {ensemble.loss_name!r} has no "
                f"{'loss' if loss is None else 'gradients'} in treeinf; use "
                f"{'OutOfFoldLoss' if loss is None else 'kind=' + repr('sum')}."
            )
        if self.kind == "step":
            scores, self.n_trees_ = _mean_unseen_steps(training, group)
            return scores
        raw_score, self.n_trees_ = sum_unseen(training, group)
        if np.isnan(raw_score).any():
            raise ValueError(
                f"Every tree of the forest saw some row"
                f"{'' if group is None else ', or another of its group'}; its "
                f"{ensemble.n_trees} trees are too few: raise n_estimators."
            )
        return loss.loss(training.rows.y, raw_score)


def _mean_unseen_steps(
    training: SampledTraining, group: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Average the gradient before each unseen tree times its leaf value.

    Returns
    -------
    mean : ndarray of float64, shape (n_rows,)
        For rows of weight 1; 0 for rows that all trees saw.
    n_trees : ndarray of int64, shape (n_rows,)
        Trees that did not see each row.
    """
    ensemble, rows = training.ensemble, training.rows
    assert ensemble.loss is not None
    score = np.tile(ensemble.base_score, (rows.n_rows, 1)).astype(REAL)
    if rows.offset.size:
        score += rows.offset
    total, n_trees = np.zeros(rows.n_rows, REAL), np.zeros(rows.n_rows, COUNT)
    start = ensemble.flat_leaves.iteration_start.tolist()
    for first, stop in itertools.pairwise(start):
        gradient = ensemble.loss.derivatives(rows.y, score)[0]
        for tree in range(first, stop):
            outputs, value = tree_outputs(ensemble, tree), leaf_values(training, tree)
            unseen = find_unseen(training, tree, group)
            total[unseen] += (gradient[unseen, outputs] * value[unseen]).sum(axis=1)
            n_trees[unseen] += 1
            score[:, outputs] += value
    return total / np.maximum(n_trees, 1), n_trees
