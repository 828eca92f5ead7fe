"""Data Shapley: the mean marginal contribution of a row over random orders."""

from __future__ import annotations

import dataclasses
import os
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.base import ComputedColumns
from treeinf.explainers.retraining.base import (
    RetrainingExplainer,
    RetrainingQueries,
)
from treeinf.training.checkpoint import hash_arrays
from treeinf.training.seeds import derive_seed
from treeinf.training.subsets import SubsetLearner
from treeinf.validation import check_count

__all__ = ["DataShapley"]

_CHECK_EVERY = 10
_PATIENCE = 5


class DataShapley(RetrainingExplainer):
    """Data Shapley by truncated Monte Carlo.

    Rows are added in a random order, one at a time, and the estimator is trained after
    each. ``influence[i, j]`` is the mean, over orders, of the loss (or prediction) of
    test row j before train row i is added minus after it. The values of all rows add up
    to the loss without any row minus the loss with all.

    Parameters
    ----------
    n_permutations : int, default=100
        Number of random orders, at least 2; each takes at most n_train refits.
    truncation : float, default=0.01
        An order ends, and its remaining rows get 0, once the sum over the test rows
        has been within this share of its value with all rows five times in a row;
        relative to the difference between no rows and all. 0 never truncates.
    convergence : float or None, default=None
        Stop when the mean standard error of the rows' totals is at most this share of
        their mean magnitude, checked every 10 orders. None runs all orders.
    by, random_state, checkpoint, batch_size, n_jobs, verbose
        See `RetrainingExplainer`. A checkpoint can be continued with more orders.

    Attributes
    ----------
    n_permutations_ : int
        Orders averaged in the last result.
    standard_error_ : ndarray of float64, shape (n_train,) or (n_groups,)
        Standard error of each row's influence on the sum over the test rows, or of each
        group's after `group_influence`.
    estimator_, classes_
        See `RetrainingExplainer`.

    Notes
    -----
    Without any row, the prediction is the base rate: the weighted mean of
    all train targets, or the shares of their classes. Loss and vanishing classes are
    those of `LOO`. The seed is the same within an order. A checkpoint stores whole
    orders for one set of rows and one output, separately for `explain` and `total`, as
    the former needs n_train x n_test numbers an order. Five times in a row is the rule
    of the authors' code.

    References
    ----------
    A. Ghorbani, J. Zou, "Data Shapley: Equitable Valuation of Data for Machine
    Learning", ICML 2019, algorithm 1.
    """

    _set_by_explaining: ClassVar[tuple[str, ...]] = (
        "n_permutations_",
        "standard_error_",
    )

    def __init__(
        self,
        *,
        n_permutations: int = 100,
        truncation: float = 0.01,
        convergence: float | None = None,
        by: str = "drop",
        random_state: int | None = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            by=by,
            random_state=random_state,
            checkpoint=checkpoint,
            batch_size=batch_size,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.n_permutations = n_permutations
        self.truncation = truncation
        self.convergence = convergence

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_permutations", self.n_permutations, 2)
        if not _is_number(self.truncation) or not 0.0 <= self.truncation < 1.0:
            raise ValueError(
                f"Got truncation={self.truncation!r}; expected a number in [0, 1)."
            )
        if self.convergence is not None and (
            not _is_number(self.convergence) or not self.convergence > 0.0
        ):
            raise ValueError(
                f"Got convergence={self.convergence!r}; expected None or a positive "
                "number."
            )

    @property
    def _drawn(self) -> dict[str, object]:
        return {"truncation": float(self.truncation)}

    def _prepare(self) -> None:
        self._refuse_overlap()

    def _mask(self, number: int) -> NDArray[np.bool_]:
        """Train on all rows: the reference of the truncation."""
        return np.ones(self._learner.n_train, dtype=np.bool_)

    def _refit_seed(self, number: int) -> int:
        return derive_seed(self._seed)

    def _columns(self, queries: RetrainingQueries) -> ComputedColumns:
        return ComputedColumns(self._average(queries, by_query=True))

    def _total(self, queries: RetrainingQueries) -> NDArray[np.float64]:
        values = self._average(queries, by_query=False)
        if queries.n_rows == self._n_train:
            queries.diagonal = values[:, 1].copy()
        return values[:, 0].copy()

    def _self_influence(self) -> NDArray[np.float64]:
        queries = self._train_queries
        self._total(queries)
        return self._diagonal(queries)

    def _average(
        self, queries: RetrainingQueries, *, by_query: bool
    ) -> NDArray[np.float64]:
        """Average marginal contributions over orders; see `_Order` for the columns."""
        ((_, everything),) = self._values([0], queries)
        has_diagonal = queries.n_rows == self._n_train
        width = queries.n_rows if by_query else 1 + has_diagonal
        order_task = _Order(
            self._learner,
            [self._rows_of_set(number) for number in range(self._n_sets)],
            queries,
            float(everything.sum()),
            self.truncation,
            self._seed,
            width,
            by_query,
        )
        weight = np.empty(0) if queries.weight is None else queries.weight
        key = hash_arrays(queries.fingerprint, weight)
        kind = "each" if by_query else "sum"
        results = self._results(f"{kind}-{queries.output}-{key}")
        total = np.zeros((self._n_sets, width), dtype=REAL)
        mean = np.zeros(self._n_sets, dtype=REAL)
        squares = np.zeros(self._n_sets, dtype=REAL)
        done = 0
        while done < self.n_permutations:
            stop = self.n_permutations
            if self.convergence is not None:
                stop = min(done + _CHECK_EVERY, stop)
            for number, added in self._run(order_task, range(done, stop), results):
                total += added
                sums = added.sum(axis=1) if by_query else added[:, 0]
                change = sums - mean
                mean += change / (number + 1)
                squares += change * (sums - mean)
            done = stop
            error = np.sqrt(squares / (done * (done - 1)))
            if (
                self.convergence is not None
                and error.mean() <= self.convergence * np.abs(mean).mean()
            ):
                break
        self.n_permutations_ = done
        self.standard_error_ = error
        return total / done


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True, eq=False)
class _Order:
    """Task that adds the rows, or sets of them, in a numbered random order.

    Parameters
    ----------
    learner : SubsetLearner
        Trains the copies.
    sets : list of ndarray of int64
        Rows that are added together.
    queries : RetrainingQueries
        Rows and output to explain.
    everything : float
        Sum of the output by a copy trained on all rows.
    truncation : float
        See `DataShapley`.
    seed : int
        Seed of the orders.
    width : int
        Columns of the result.
    by_query : bool
        The columns are the queries; else the first is their sum, and the second, if
        present, the contribution of each row to the query of the same number.
    """

    learner: SubsetLearner
    sets: list[NDArray[np.int64]]
    queries: RetrainingQueries
    everything: float
    truncation: float
    seed: int
    width: int
    by_query: bool

    def __call__(self, number: int) -> NDArray[np.float64]:
        learner, queries = self.learner, self.queries
        n_sets = len(self.sets)
        order = np.random.default_rng([self.seed, number]).permutation(n_sets)
        seed = derive_seed(self.seed, number)
        added = np.zeros((n_sets, self.width), dtype=REAL)
        is_added = np.zeros(learner.n_train, dtype=np.bool_)
        before = queries.value(learner.predict_nothing(queries.n_rows))
        near = self.truncation * abs(self.everything - before.sum())
        n_near = 0
        for row in order:
            if n_near == _PATIENCE:
                break
            is_added[self.sets[row]] = True
            after = queries.value(learner.fit_predict(is_added, seed, queries.X))
            if self.by_query:
                added[row] = before - after
            else:
                added[row, 0] = before.sum() - after.sum()
                if self.width == 2:
                    added[row, 1] = before[row] - after[row]
            before = after
            is_near = self.truncation and abs(self.everything - after.sum()) <= near
            n_near = n_near + 1 if is_near else 0
        return added
