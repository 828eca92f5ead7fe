"""What all explainers do alike: explain, total, self_influence and top_k."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from treeinf.dtypes import OFFSET, REAL
from treeinf.explainers.influence import (
    Influence,
    RankedRows,
    check_ranking,
    frame_library,
)
from treeinf.explainers.queries import OUTPUTS, Output, Queries
from treeinf.explainers.self_explanation import SelfExplanation
from treeinf.frames import column_names, row_labels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.validation import check_count, check_out, open_rows

__all__ = ["Columns", "ComputedColumns", "Explainer"]

_TILE_NUMBERS = 2**22

QueriesT = TypeVar("QueriesT", bound=Queries)


class Columns(abc.ABC):
    """Influence on a batch of queries, written tile by tile of train rows."""

    @property
    def device(self) -> Device:
        """Where tiles may stay: `fill` also writes to the device's arrays."""
        return CPU

    @abc.abstractmethod
    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows.

        Parameters
        ----------
        first_row : int
            Train row of the first line of `influence`.
        first_query : int
            Column of `influence` for query 0.
        influence : ndarray of float64, shape (n_lines, >= first_query + n_queries)
            Output, on the host or on `device`; the queries' columns are overwritten.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class ComputedColumns(Columns):
    """Influence that was computed beforehand.

    Parameters
    ----------
    values : ndarray of float64, shape (n_train, n_queries)
        The influence.
    """

    values: NDArray[np.float64]

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Copy the influence of a batch of train rows; see `Columns`."""
        columns = slice(first_query, first_query + self.values.shape[1])
        influence[:, columns] = self.values[first_row : first_row + len(influence)]


class Explainer(BaseEstimator, abc.ABC, Generic[QueriesT]):
    """Base of all explainers, of queries of one type.

    A subclass reads train rows (`fit`, `_train_queries`) and queries (`_read_queries`),
    and computes the influence on a batch of queries (`_columns`). It may have faster
    ways to the sum over queries (`_total`) and to the influence of each train row on
    itself (`_diagonal`, `_self_influence`).

    Parameters
    ----------
    batch_size : int, default=1024
        Test rows handled together by `explain`, and train rows by `top_k`.
    n_jobs : int or None, default=None
        Threads or processes; None or -1 for all. Results have the same bits for any
        number.
    verbose : bool, default=False
        Show a progress bar on work of several batches.
    """

    _outputs: ClassVar[tuple[str, ...]] = OUTPUTS
    _default_output: ClassVar[str] = "loss"
    _group: NDArray[np.int64] | None = None
    """Group of each train row, from 0, where `fit` takes them: see `exclude_self`."""

    def __init__(
        self,
        *,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.verbose = verbose

    @abc.abstractmethod
    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Self:
        """Read the train rows; must call `_store_rows`."""

    @abc.abstractmethod
    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> QueriesT:
        """Check the rows to explain."""

    @property
    @abc.abstractmethod
    def _train_queries(self) -> QueriesT:
        """The train rows as queries of weight 1, on their own loss."""

    @abc.abstractmethod
    def _columns(self, queries: QueriesT) -> Columns:
        """Prepare the influence on a batch of queries."""

    def _total(self, queries: QueriesT) -> NDArray[np.float64]:
        """Compute the influence on the sum over queries, shape (n_train,)."""
        total = np.zeros(self._n_train, dtype=REAL)
        for batch in self._batches(queries.n_rows, self._query_batch_size, "total"):
            n = batch.stop - batch.start
            columns = self._columns(queries.take(batch))
            size = max(1, min(self._n_train, _TILE_NUMBERS // n))
            for first in range(0, self._n_train, size):
                tile = np.empty((min(size, self._n_train - first), n))
                columns.fill(first, 0, tile)
                total[first : first + size] += tile.sum(axis=1)
        return total

    def _diagonal(self, queries: QueriesT) -> NDArray[np.float64]:
        """Compute the influence of each train row on itself among the queries."""
        values = np.empty(self._n_train, dtype=REAL)
        for batch in self._batches(
            self._n_train, self._query_batch_size, "self_influence"
        ):
            square = np.empty((batch.stop - batch.start,) * 2, dtype=REAL)
            self._columns(queries.take(batch)).fill(batch.start, 0, square)
            values[batch] = np.diagonal(square)
        return values

    def _total_of_own_group(self, queries: QueriesT) -> NDArray[np.float64]:
        """Compute the influence of each train row on all of its group, itself included.

        The queries are the train rows in order.
        """
        group = self._group
        if group is None:
            return self._diagonal(queries)
        total = np.zeros(self._n_train, dtype=REAL)
        for batch in self._batches(queries.n_rows, self._query_batch_size, "total"):
            columns = self._columns(queries.take(batch))
            for rows in self._batches(self._n_train, self.batch_size, "total"):
                shape = rows.stop - rows.start, batch.stop - batch.start
                tile = np.empty(shape, dtype=REAL)
                columns.fill(rows.start, 0, tile)
                is_own = np.equal.outer(group[rows], group[batch])
                total[rows] += np.where(is_own, tile, 0.0).sum(axis=1)
        return total

    def _leave_out_groups(self, queries: QueriesT) -> QueriesT:
        """Return queries that are the train rows, to be explained without their groups.

        For methods whose other values depend on the rows left out.
        """
        return queries

    def _self_influence(self) -> NDArray[np.float64]:
        """Compute the influence of each train row on its own loss, of weight 1."""
        return self._diagonal(self._train_queries)

    @property
    def _query_batch_size(self) -> int:
        """Queries that are handled together."""
        return self.batch_size

    def explain(
        self,
        X: Any,
        y: Any = None,
        *,
        output: Output | None = None,
        sample_weight: Any = None,
        init_score: Any = None,
        exclude_self: bool = False,
        out: NDArray[np.float64] | None = None,
    ) -> Influence:
        """Compute the influence of every train row on every test row.

        Parameters
        ----------
        X : array-like or frame, shape (n_test, n_features)
            Rows to explain.
        y : array-like, shape (n_test,)
            Their targets. Not needed for raw scores and predictions of models of one
            output or two classes (then of the second), and for derivatives.
        output : {"loss", "raw_score", "prediction"} or array, optional
            What is explained of each row: its training loss; its raw score, of its own
            class where there is one for each; its prediction, for classifiers the
            probability of its own class; or any quantity, by its derivatives with
            respect to the raw scores, shape (n_test,) or (n_test, n_outputs). Some
            methods explain the loss alone. By default the loss, and in
            `TargetInfluence` the prediction.
        sample_weight : array-like, shape (n_test,), optional
            Factors of what is explained.
        init_score : array-like, shape (n_test,) or (n_test, n_outputs), optional
            Their own initial scores, if the model was trained with such.
        exclude_self : bool, default=False
            The rows are the train rows, in order; set each row's influence on itself to
            0, and on the other rows of its group where `fit` was passed groups.
        out : ndarray or memmap of float64, shape (n_train, n_test), optional
            Array to fill.

        Returns
        -------
        Influence
            Shape (n_train, n_test): (output without the train row) minus (with it).

        Raises
        ------
        ValueError, TypeError
            If the rows, their targets or `out` do not fit.
        """
        rows, output = self._open_rows(X, y, output, sample_weight, init_score)
        queries = self._read_queries(rows, y, output, sample_weight, init_score)
        self._self_explanation.check(queries, exclude_self=exclude_self, stacklevel=3)
        if exclude_self:
            queries = self._leave_out_groups(queries)
        values = check_out(out, (self._n_train, queries.n_rows))
        with limit_threads(self.n_jobs):
            for batch in self._batches(
                queries.n_rows, self._query_batch_size, "explain"
            ):
                self._columns(queries.take(batch)).fill(0, batch.start, values)
        if exclude_self:
            group = self._group
            if group is None:
                np.fill_diagonal(values, 0.0)
            else:
                for line, number in zip(values, group, strict=True):
                    line[group == number] = 0.0
        return self._wrap(values, row_labels(X))

    def total(
        self,
        X: Any,
        y: Any = None,
        *,
        output: Output | None = None,
        sample_weight: Any = None,
        init_score: Any = None,
        exclude_self: bool = False,
    ) -> Influence:
        """Compute the influence of every train row on the sum over test rows.

        Parameters
        ----------
        X, y, output, sample_weight, init_score, exclude_self
            See `explain`.

        Returns
        -------
        Influence
            Shape (n_train,).

        Notes
        -----
        Additive methods take O((n_train + n_test) n_trees) time; none builds an array
        of n_train x n_test numbers.
        """
        rows, output = self._open_rows(X, y, output, sample_weight, init_score)
        queries = self._read_queries(rows, y, output, sample_weight, init_score)
        self._self_explanation.check(queries, exclude_self=exclude_self, stacklevel=3)
        if exclude_self:
            queries = self._leave_out_groups(queries)
        with limit_threads(self.n_jobs):
            with np.errstate(over="ignore", invalid="ignore"):
                values = self._total(queries)
            if not np.isfinite(values).all():
                # some gradients overflow in their sum over the queries alone
                values = Explainer._total(self, queries)
            if exclude_self:
                values -= self._total_of_own_group(queries)
        return self._wrap(values, None)

    def self_influence(self) -> Influence:
        """Compute the influence of every train row on its own loss, of weight 1.

        Returns
        -------
        Influence
            Shape (n_train,). Large values mark rows that the model fits only because it
            was trained on them: noise, outliers and rare cases.
        """
        check_is_fitted(self)
        with limit_threads(self.n_jobs):
            values = self._self_influence()
        return self._wrap(values, None)

    def top_k(
        self,
        X: Any,
        y: Any = None,
        k: int = 10,
        *,
        order: str = "magnitude",
        output: Output | None = None,
        init_score: Any = None,
        exclude_self: bool = False,
    ) -> RankedRows:
        """Find the train rows with most influence on each test row.

        Parameters
        ----------
        X, y, output, init_score
            See `explain`.
        k : int, default=10
            Train rows for each test row.
        order : {"magnitude", "helpful", "harmful"}, default="magnitude"
            Largest size first, most helpful or most harmful; the last two return only
            rows that help or harm.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave each row itself out, and the
            other rows of its group where `fit` was passed groups.

        Returns
        -------
        RankedRows
            Positions and values of shape (n_test, k), ties in the order of the rows.

        Notes
        -----
        Train rows are handled in batches of `batch_size`: memory is
        O(batch_size n_test), never n_train x n_test. With ``device="cuda"`` the tiles
        of `BoostIn` and `LeafInfluence` stay there and only the lists come back.
        """
        check_is_fitted(self)
        n_train = self._n_train
        k, sign = check_ranking(k, order, n_train - int(exclude_self))
        rows, output = self._open_rows(X, y, output, None, init_score)
        queries = self._read_queries(rows, y, output, None, init_score)
        self._self_explanation.check(queries, exclude_self=exclude_self, stacklevel=3)
        if exclude_self:
            queries = self._leave_out_groups(queries)
        with limit_threads(self.n_jobs):
            positions, values = self._rank_rows(
                lambda batch: self._columns(queries.take(batch)),
                queries.n_rows,
                k,
                sign,
                "top_k",
                exclude_self=exclude_self,
            )
        return self._wrap_ranking(positions, values, sign, row_labels(X))

    def _rank_rows(
        self,
        columns_of: Callable[[slice], Columns],
        n_queries: int,
        k: int,
        sign: int,
        what: str,
        *,
        exclude_self: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the first train rows for each query; see `merge_top`.

        `columns_of` prepares a batch of queries. With `exclude_self` they are the train
        rows in order: those of the query's own group are not ranked. Without groups one
        row more is ranked, and the query itself is taken out.
        """
        group = self._group if exclude_self else None
        takes_out = exclude_self and group is None
        n_ranked = k + int(takes_out)
        positions = np.full((n_queries, n_ranked), -1, dtype=OFFSET)
        values = np.full((n_queries, n_ranked), np.nan, dtype=REAL)
        for batch in self._batches(n_queries, self._query_batch_size, what):
            columns = columns_of(batch)
            device = columns.device
            best = device.put(positions[batch]), device.put(values[batch])
            n_lines = min(self.batch_size, self._n_train)
            buffer = device.empty((n_lines, batch.stop - batch.start))
            for rows in self._batches(self._n_train, self.batch_size, what):
                tile = buffer[: rows.stop - rows.start]
                columns.fill(rows.start, 0, tile)
                if group is not None:
                    others = device.get(tile)
                    others[np.equal.outer(group[rows], group[batch])] = np.nan
                    tile = device.put(others)
                device.products.merge_top(tile, rows.start, sign, *best)
            positions[batch], values[batch] = map(device.get, best)
        if takes_out:
            is_other = positions != np.arange(n_queries)[:, np.newaxis]
            is_other[is_other.all(axis=1), -1] = False
            positions = positions[is_other].reshape(n_queries, k)
            values = values[is_other].reshape(n_queries, k)
        return positions, values

    def _check_parameters(self) -> None:
        check_n_jobs(self.n_jobs)
        check_count("batch_size", self.batch_size)

    def _store_rows(self, X: Any, fingerprint: NDArray[np.uint64]) -> None:
        """Store the train rows' labels, frame library and fingerprints."""
        self._n_train = len(fingerprint)
        self._train_labels = row_labels(X)
        self._train_columns = column_names(X)
        self._library = frame_library(X)
        self._fingerprint = fingerprint
        self._self_explanation = SelfExplanation(fingerprint)

    def _open_rows(
        self,
        X: Any,
        y: Any,
        output: Output | None,
        sample_weight: Any,
        init_score: Any,
    ) -> tuple[Any, Output]:
        """Return the rows to explain, opened, and what of them.

        Raises
        ------
        NotFittedError
            If the explainer is not fitted.
        ValueError
            If it does not explain this output, or targets are of other rows.
        """
        check_is_fitted(self)
        output = self._default_output if output is None else output
        name = output if isinstance(output, str) else "derivative"
        if name in OUTPUTS and name not in self._outputs:
            what = repr(output) if isinstance(output, str) else "derivatives"
            raise ValueError(
                f"{type(self).__name__} does not explain output={what}; it explains "
                f"{' and '.join(self._outputs)}. LeafInfluence explains them all."
            )
        rows = open_rows(
            X,
            y=y,
            sample_weight=sample_weight,
            init_score=init_score,
            output=None if isinstance(output, str) else output,
        )
        return rows, output

    def _batches(self, n: int, size: int, what: str) -> Iterator[slice]:
        """Yield batches of at most `size` of `n`, with a progress bar over several."""
        batches = [slice(i, min(i + size, n)) for i in range(0, n, size)]
        yield from tqdm(
            batches,
            desc=f"{type(self).__name__}.{what}",
            unit="batch",
            leave=False,
            disable=not self.verbose or len(batches) < 2,
        )

    def _wrap(
        self,
        values: NDArray[np.float64],
        test_labels: NDArray[Any] | None,
        column: str = "test row",
    ) -> Influence:
        return Influence(
            values,
            train_labels=self._train_labels,
            test_labels=test_labels,
            method=type(self).__name__,
            library=self._library,
            kinds=("train row", column),
        )

    def _wrap_ranking(
        self,
        positions: NDArray[np.int64],
        values: NDArray[np.float64],
        sign: int,
        test_labels: NDArray[Any] | None,
    ) -> RankedRows:
        return RankedRows.select(
            positions,
            values,
            sign,
            train_labels=self._train_labels,
            test_labels=test_labels,
            library=self._library,
        )
