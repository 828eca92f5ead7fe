"""Train copies of an estimator on subsets of its train rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.frames import count_rows
from treeinf.training.early_stopping import settle_iterations
from treeinf.training.encoding import Task
from treeinf.training.learner import (
    Learner,
    accepts_weights,
    check_trainable,
    find_library,
    readable_rows,
)
from treeinf.training.rows import LabelledRows
from treeinf.validation import check_weights

__all__ = ["SubsetLearner"]


@dataclasses.dataclass(frozen=True, eq=False)
class SubsetLearner:
    """Train copies of one estimator on subsets of one table, and predict.

    Create it with `read`. Each copy has one thread, so that predictions are bitwise
    reproducible for any number of processes.

    Parameters
    ----------
    estimator : estimator
        Estimator to copy; it is never fitted itself. Where it was passed with early
        stopping, all copies have the same number of iterations, see
        `settle_iterations`.
    X : array-like, sparse matrix or frame, shape (n_train, n_features)
        Train rows, see `readable_rows`.
    target : ndarray of float64, shape (n_train,)
        Class numbers or values.
    task : Task
        The classes, or regression.
    weight : ndarray of float64, shape (n_train,), or None
        Weights; None for 1.
    by : {"drop", "weight"}
        Leave rows out of the table, or set their weight to 0.
    """

    estimator: Any
    X: Any
    target: NDArray[np.float64]
    task: Task
    weight: NDArray[np.float64] | None
    by: str

    @classmethod
    def read(
        cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None, by: str = "drop"
    ) -> SubsetLearner:
        """Check that the estimator can be retrained on these rows.

        Raises
        ------
        TypeError
            If it is not an estimator, or lacks probabilities or weights.
        ValueError
            If rows, targets, weights or `by` do not fit.
        """
        if by not in ("drop", "weight"):
            raise ValueError(f"Got by={by!r}; expected 'drop' or 'weight'.")
        check_trainable(estimator)
        n_train = count_rows(X)
        if n_train < 2:
            raise ValueError(f"X has {n_train} rows; at least 2 are needed.")
        task = Task.read(estimator, y)
        if task.classes is not None and not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"{type(estimator).__name__} has no predict_proba, which the log loss "
                "needs; use a classifier that predicts probabilities."
            )
        weight = check_weights(sample_weight, n_train)
        if not accepts_weights(estimator) and (weight is not None or by != "drop"):
            parameter = "by='weight'" if weight is None else "sample_weight"
            raise TypeError(
                f"{type(estimator).__name__}.fit takes no sample_weight, which "
                f"{parameter} needs."
            )
        X, target = readable_rows(estimator, X), task.encode(y, n_train)
        labels = LabelledRows(X, target, None, weight)
        if task.classes is not None:
            code = target.astype(np.int64)
            labels = dataclasses.replace(labels, y=task.classes[code], code=code)
        estimator = settle_iterations(estimator, labels)
        return cls(estimator, X, target, task, weight, by)

    @property
    def n_train(self) -> int:
        """Number of train rows."""
        return len(self.target)

    def predict_nothing(self, n_rows: int) -> NDArray[np.float64]:
        """Return the prediction of a copy without any rows: the train rows' base rate.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            The weighted mean of all train targets, or the shares of the classes.
        """
        if self.task.classes is None:
            mean = np.average(self.target, weights=self.weight)
            return np.full(n_rows, mean)
        codes = self.target.astype(np.intp)
        shares = np.bincount(codes, self.weight, minlength=self.task.n_classes)
        return np.tile(shares / shares.sum(), (n_rows, 1))

    def fit_predict(
        self, is_in: NDArray[np.bool_], seed: int, X: Any
    ) -> NDArray[np.float64]:
        """Train a copy on some of the rows and predict others.

        Parameters
        ----------
        is_in : ndarray of bool, shape (n_train,)
            The rows to train on.
        seed : int
            For the estimator's seeds that are not set.
        X : array-like or frame, shape (n_rows, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            Values, or probabilities of all classes of the train rows; 0 for classes
            that the copy was not trained on. A constant is predicted, without the
            estimator, if the rows to train on are of one class or a single row (their
            target), or none (the base rate).
        """
        has_weight = is_in if self.weight is None else is_in & (self.weight > 0.0)
        if not has_weight.any():
            return self.predict_nothing(count_rows(X))
        learner = Learner(self.estimator, self.task.classes, isolated=True)
        rows = self._select(is_in, has_weight)
        if rows.code is None:
            return learner.predict(learner.fit(rows, seed), X)
        met = np.arange(self.task.n_classes)
        if rows.n_rows < self.n_train:
            met = np.unique(rows.code)
        if find_library(self.estimator) == "xgboost":
            # XGBoost requires class numbers from 0 without gaps
            rows = dataclasses.replace(rows, y=np.searchsorted(met, rows.code))
        result = learner.predict(learner.fit(rows, seed), X, met)
        result[:, np.setdiff1d(np.arange(self.task.n_classes), met)] = 0.0
        return result

    def _select(
        self, is_in: NDArray[np.bool_], has_weight: NDArray[np.bool_]
    ) -> LabelledRows:
        """Return the rows to train on; a single one where all predict the same."""
        if self.task.classes is None:
            rows = LabelledRows(self.X, self.target, None, self.weight)
            is_constant = has_weight.sum() == 1
        else:
            codes = self.target.astype(np.int64)
            rows = LabelledRows(self.X, self.task.classes[codes], codes, self.weight)
            seen = codes[has_weight]
            is_constant = (seen == seen[0]).all()
        if is_constant:
            return rows.take(np.flatnonzero(has_weight)[:1])
        if self.by == "weight":
            weight = is_in.astype(REAL) if rows.weight is None else rows.weight * is_in
            return dataclasses.replace(rows, weight=weight)
        return rows if is_in.all() else rows.take(is_in)
