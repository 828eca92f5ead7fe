"""Leave one out: retrain without each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.base import ComputedColumns
from treeinf.explainers.retraining.base import (
    PredictRows,
    RetrainingExplainer,
    RetrainingQueries,
)
from treeinf.training.seeds import derive_seed

__all__ = ["LOO"]


class LOO(RetrainingExplainer):
    """Leave-one-out influence: the estimator is retrained without each row.

    ``influence[i, j]`` is the loss (or prediction) of test row j by a copy trained
    without train row i, minus that by a copy trained on all. This is the effect that
    other methods estimate, for one row at a time; for randomised estimators it includes
    the noise of training.

    Parameters
    ----------
    by, random_state, checkpoint, batch_size, n_jobs, verbose
        See `RetrainingExplainer`. All copies have the same seed.

    Attributes
    ----------
    estimator_, classes_
        See `RetrainingExplainer`.

    Notes
    -----
    Every call of `explain`, `total`, `top_k` and `self_influence` trains n_train + 1
    copies, unless a checkpoint holds their predictions of the same rows: then another
    output, such as ``output="prediction"``, costs nothing. `self_influence` predicts
    each left-out row by its own copy. Memory: one number for each copy and test row;
    `total` keeps one for each copy.

    The loss is the log loss of ``predict_proba``, probabilities raised to 1e-15, or
    half the squared error of ``predict``, whatever the estimator minimises. A class
    whose last row is left out has probability 0; if all remaining rows have one class,
    nothing is trained and that class has probability 1.

    References
    ----------
    R. D. Cook, S. Weisberg, "Residuals and Influence in Regression", 1982, chapter 3.
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023).
    """

    def _mask(self, number: int) -> NDArray[np.bool_]:
        mask = np.ones(self._learner.n_train, dtype=np.bool_)
        if number:
            mask[self._rows_of_set(number - 1)] = False
        return mask

    def _refit_seed(self, number: int) -> int:
        return derive_seed(self._seed)

    def _columns(self, queries: RetrainingQueries) -> ComputedColumns:
        values = np.empty((self._n_sets, queries.n_rows), dtype=REAL)
        for number, value in self._values(range(self._n_sets + 1), queries):
            if number == 0:
                base = value
            else:
                values[number - 1] = value - base
        return ComputedColumns(values)

    def _total(self, queries: RetrainingQueries) -> NDArray[np.float64]:
        total = np.empty(self._n_train, dtype=REAL)
        diagonal = np.empty(self._n_train, dtype=REAL)
        for number, value in self._values(range(self._n_train + 1), queries):
            if number == 0:
                base = value
            else:
                total[number - 1] = (value - base).sum()
                if queries.n_rows == self._n_train:
                    diagonal[number - 1] = value[number - 1] - base[number - 1]
        queries.diagonal = diagonal
        return total

    def _self_influence(self) -> NDArray[np.float64]:
        queries = self._train_queries
        width = self._learner.task.n_classes or 1
        ((_, base),) = self._values([0], queries)
        diagonal = np.empty((self._n_train, width), dtype=REAL)
        task = PredictRows(self, queries.X, left_out_only=True)
        records = self._results("own")
        for number, prediction in self._run(task, range(1, self._n_train + 1), records):
            diagonal[number - 1] = prediction[0]
        return queries.value(self._squeeze(diagonal)) - base
