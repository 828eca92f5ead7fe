"""Baselines without a model: similarity of the features, and kNN-Shapley."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.base import Columns, Explainer
from treeinf.explainers.queries import Output
from treeinf.frames import count_rows
from treeinf.kernels.cpu import neighbours as kernels
from treeinf.training.encoding import TableEncoder, Task, fingerprint_table
from treeinf.training.row_groups import read_groups
from treeinf.validation import check_count, check_weights, open_rows

__all__ = ["EncodedRows", "InputSim", "KNNShapley", "TableExplainer"]

_MEASURES = {
    "cosine": kernels.COSINE,
    "dot": kernels.DOT,
    "euclidean": kernels.EUCLIDEAN,
}
_BATCH_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedRows:
    """Standardised features of rows, with their targets and weights.

    Parameters
    ----------
    features : ndarray of float64, shape (n_rows, n_encoded)
        Standardised features, see `TableEncoder`.
    y : ndarray of float64, shape (n_rows,)
        Class numbers, or values minus the mean of the train rows.
    weight : ndarray of float64, shape (n_rows,)
        Weights of the explained loss.
    number : ndarray of int64, shape (n_rows,)
        Position of each row among all explained rows.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for equal rows.
    group : ndarray of int64, shape (n_rows,), or None
        Group of each row, whose train rows are left out for it; None if none are.
    """

    features: NDArray[np.float64]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    number: NDArray[np.int64]
    fingerprint: NDArray[np.uint64]
    group: NDArray[np.int64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def take(self, rows: slice) -> EncodedRows:
        """Return a contiguous selection of the rows."""
        return EncodedRows(
            self.features[rows],
            self.y[rows],
            self.weight[rows],
            self.number[rows],
            self.fingerprint[rows],
            None if self.group is None else self.group[rows],
        )


class TableExplainer(Explainer[EncodedRows]):
    """Base of explainers that use the rows and labels alone.

    Parameters
    ----------
    batch_size, n_jobs, verbose
        See `Explainer`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,), or None
        Labels of the train rows in order; None for regression.
    """

    _outputs = ("loss",)

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        groups: Any = None,
    ) -> Self:
        """Encode the train rows.

        Parameters
        ----------
        model : estimator, booster, path to a file, TreeEnsemble or None
            Used to tell classification from regression; None infers it from `y`.
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows. Text and categorical columns are categories.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            Checked and not used.
        init_score : None
            Not used.
        groups : array-like of labels, shape (n_train,), optional
            Rows that belong together, such as those of a patient or a machine: where
            train rows are explained, by `self_influence` or with ``exclude_self=True``,
            the other rows of their group are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit one another, or a column cannot be read.
        """
        self._check_parameters()
        X = open_rows(X, y=y, sample_weight=sample_weight, groups=groups)
        n_train = count_rows(X)
        if n_train == 0:
            raise ValueError("X has no rows.")
        check_weights(sample_weight, n_train)
        self._group = None if groups is None else read_groups(groups, n_train)[0]
        self._task = Task.read(model, y)
        target = self._task.encode(y, n_train)
        self._encoder = TableEncoder.fit(X)
        is_class = self._task.classes is not None
        self._shift = 0.0 if is_class else float(target.mean())
        fingerprint = fingerprint_table(X, target)
        self._train = EncodedRows(
            self._encoder.standardise(X),
            target - self._shift,
            np.ones(n_train),
            np.arange(n_train),
            fingerprint,
        )
        self.classes_ = self._task.classes
        self._store_rows(X, fingerprint)
        return self

    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> EncodedRows:
        if not isinstance(output, str) or output not in self._outputs:
            raise ValueError(
                f"Got output={output!r}; {type(self).__name__} explains 'loss'."
            )
        n_rows = count_rows(X)
        if n_rows == 0:
            raise ValueError("X has no rows.")
        values = self._task.encode(y, n_rows)
        weight = check_weights(sample_weight, n_rows)
        return EncodedRows(
            self._encoder.standardise(X),
            values - self._shift,
            np.ones(n_rows) if weight is None else weight,
            np.arange(n_rows),
            fingerprint_table(X, values),
        )

    @property
    def _train_queries(self) -> EncodedRows:
        return self._train

    def _leave_out_groups(self, queries: EncodedRows) -> EncodedRows:
        return dataclasses.replace(queries, group=self._group)


class InputSim(TableExplainer):
    """Input similarity: similar rows help where their targets agree, else harm.

    ``influence[i, j]`` is the similarity of the features of rows i and j; for
    classifiers with a minus sign where their labels differ. For regressors the sign is
    that of the product of both targets' deviations from the train mean.

    Parameters
    ----------
    measure : {"cosine", "dot", "euclidean"}, default="cosine"
        The cosine or dot product of the features, or 1 / (1 + distance).
    batch_size, n_jobs, verbose
        See `Explainer`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,), or None
        Labels of the train rows in order; None for regression.

    Notes
    -----
    A baseline that does not use the model. Numeric columns are standardised
    by the train rows' mean and standard deviation, and missing numbers take the mean;
    categories become indicators times the root of 1/2, so that two of them are 1 apart;
    missing and unknown ones have none. Unit: similarity, not loss. O(n_train n_test)
    time.

    References
    ----------
    J. Brophy, Z. Hammoudeh, D. Lowd, "Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees", JMLR 24 (2023), the baseline
    InputSim; the sign for regression is ours.
    """

    def __init__(
        self,
        *,
        measure: str = "cosine",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, n_jobs=n_jobs, verbose=verbose)
        self.measure = measure

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.measure not in _MEASURES:
            raise ValueError(
                f"Got measure={self.measure!r}; expected one of {tuple(_MEASURES)}."
            )

    def _columns(self, queries: EncodedRows) -> Columns:
        return _Similarity(
            self._train, queries, _MEASURES[self.measure], self.classes_ is not None
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Similarity(Columns):
    """Similarity of train rows and queries, negative where their targets disagree.

    Parameters
    ----------
    train, queries : EncodedRows
        Rows.
    measure : int
        Constant of the kernels.
    is_class : bool
        Whether targets are classes.
    """

    train: EncodedRows
    queries: EncodedRows
    measure: int
    is_class: bool

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        rows = self.train.take(slice(first_row, first_row + len(influence)))
        queries = self.queries
        similarity = np.empty((rows.n_rows, queries.n_rows), dtype=REAL)
        kernels.compare_rows(rows.features, queries.features, self.measure, similarity)
        if self.is_class:
            agrees = np.equal.outer(rows.y, queries.y)
            sign = np.where(agrees, 1.0, -1.0)
        else:
            sign = np.multiply.outer(np.sign(rows.y), np.sign(queries.y))
        columns = slice(first_query, first_query + queries.n_rows)
        influence[:, columns] = similarity * sign * queries.weight


class KNNShapley(TableExplainer):
    """Exact Shapley values of the train rows for a nearest-neighbour model.

    A proxy for the model: the average contribution of each row, over all orders in
    which rows may be added, to a k-nearest-neighbour prediction of the test row. For
    classifiers the utility of a set of rows is the share of the row's own class among
    its k nearest, missing neighbours counted as wrong; for regressors minus half the
    squared error of the mean of its k nearest, missing neighbours counted as the mean
    of all train targets.

    Parameters
    ----------
    n_neighbors : int, default=5
        k; may exceed the number of rows.
    batch_size, n_jobs, verbose
        See `Explainer`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,), or None
        Labels of the train rows in order; None for regression.

    Notes
    -----
    The values of all rows sum to the utility of all of them minus that of none. Rows at
    the same distance keep their order. A row's self influence with groups is its value
    among itself and the rows of other groups. Features are prepared, and missing ones
    handled, as `InputSim` does. O(n_train (n_features + log n_train)) time for a test
    row; no more than 256 MiB besides the result.

    References
    ----------
    R. Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor
    Algorithms", PVLDB 12 (2019), theorem 1; their game for regression in a closed
    form of ours, with half the squared error and centred targets.
    """

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, n_jobs=n_jobs, verbose=verbose)
        self.n_neighbors = n_neighbors

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_neighbors", self.n_neighbors)

    @property
    def _query_batch_size(self) -> int:
        most = _BATCH_BYTES // (8 * self._n_train)
        return max(1, min(self.batch_size, most))

    def _columns(self, queries: EncodedRows) -> Columns:
        if queries.group is None:
            value = self._play(slice(None), queries, slice(None))
        else:
            value = np.zeros((queries.n_rows, self._n_train), dtype=REAL)
            for number in np.unique(queries.group):
                asked = np.flatnonzero(queries.group == number)
                players = np.flatnonzero(self._group != number)
                value[np.ix_(asked, players)] = self._play(players, queries, asked)
        value *= queries.weight[:, np.newaxis]
        return _Transposed(value)

    def _self_influence(self) -> NDArray[np.float64]:
        if self._group is None:
            return super()._self_influence()
        value = np.empty(self._n_train, dtype=REAL)
        for row in range(self._n_train):
            is_player = self._group != self._group[row]
            is_player[row] = True
            players = np.flatnonzero(is_player)
            (played,) = self._play(players, self._train, np.array([row]))
            value[row] = played[np.searchsorted(players, row)]
        return value

    def _play(
        self,
        players: NDArray[np.int64] | slice,
        queries: EncodedRows,
        asked: NDArray[np.int64] | slice,
    ) -> NDArray[np.float64]:
        """Compute Shapley values of some of the train rows for some of the queries."""
        features, y = self._train.features[players], self._train.y[players]
        value = np.empty((len(queries.y[asked]), len(y)), dtype=REAL)
        kernels.neighbour_shapley_values(
            features,
            y,
            queries.features[asked],
            queries.y[asked],
            int(self.n_neighbors),
            self.classes_ is not None,
            value,
        )
        return value


@dataclasses.dataclass(frozen=True, eq=False)
class _Transposed(Columns):
    """Influence that has been computed, one line a query.

    Parameters
    ----------
    value : ndarray of float64, shape (n_queries, n_train)
        Influence.
    """

    value: NDArray[np.float64]

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Copy the influence of consecutive train rows; see `Columns`."""
        rows = slice(first_row, first_row + len(influence))
        columns = slice(first_query, first_query + len(self.value))
        influence[:, columns] = self.value[:, rows].T
