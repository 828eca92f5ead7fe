"""Base class of baselines that score train rows without test rows."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from treeinf.explainers.influence import Influence, frame_library
from treeinf.frames import count_rows, row_labels
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.training.row_groups import read_groups
from treeinf.validation import open_rows

__all__ = ["RowScore"]


class RowScore(BaseEstimator, abc.ABC):
    """Base of scores of train rows that need no test rows.

    They have the `fit` and `self_influence` of explainers, and large scores mean the
    same: label noise, outliers and rare cases.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Threads or processes; None or -1 for all. Results have the same bits for any
        number.

    Attributes
    ----------
    scores_ : ndarray of float64, shape (n_train,)
        Scores, large for rows likely to be wrong, atypical or hard.
    """

    leaves_groups_out: ClassVar[bool] = False
    """Whether rows are scored by models that have not seen them, nor their group."""

    def __init__(self, *, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    @abc.abstractmethod
    def _score(
        self,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        group: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        """Compute the scores; rows of a group, numbered from 0, are left out at once.

        `group` is None if each row stands for itself, and always where
        `leaves_groups_out` is False.
        """

    def _check_parameters(self) -> None:
        check_n_jobs(self.n_jobs)

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> Self:
        """Score the train rows.

        Parameters
        ----------
        model : estimator, pipeline, booster, path to a file or TreeEnsemble
            The fitted model; for some classes, any estimator.
        X : array-like or frame, shape (n_train, n_features)
            The rows it was trained on; not checked against the model's leaves.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with. Each row's own score is that of a row of
            weight 1.
        groups : array-like of labels, shape (n_train,), optional
            Rows that belong together, such as those of a patient or a machine: each is
            scored by models, or trees, that have seen no row of its group. Not for
            scores by models that have seen the row itself.

        Returns
        -------
        self

        Raises
        ------
        UnsupportedModelError
            If the score is not defined for this kind of model.
        ValueError, TypeError
            If parameters, rows or groups do not fit, or nothing is left out.
        """
        self._check_parameters()
        X = open_rows(X, y=y, sample_weight=sample_weight, groups=groups)
        group = None
        if groups is not None:
            if not self.leaves_groups_out:
                raise ValueError(
                    f"{type(self).__name__} scores rows by a model that has seen them, "
                    "so it cannot leave groups out; omit groups, or use OutOfFoldLoss."
                )
            group, _ = read_groups(groups, count_rows(X))
        with limit_threads(self.n_jobs):
            scores = self._score(model, X, y, sample_weight, group)
        self.scores_ = scores
        self._train_labels = row_labels(X)
        self._library = frame_library(X)
        return self

    def self_influence(self) -> Influence:
        """Return the scores.

        Returns
        -------
        Influence
            Shape (n_train,), with the row labels of `X`.
        """
        check_is_fitted(self)
        return Influence(
            self.scores_,
            train_labels=self._train_labels,
            method=type(self).__name__,
            library=self._library,
        )
