"""What every explainer does alike: explain, total, self influence, top k."""

from __future__ import annotations

import abc
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from treeinf.adapters import init_score as find_init_score
from treeinf.adapters import read_model, unwrap_pipeline
from treeinf.adapters.parity import check_parity
from treeinf.dtypes import OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.influence import (
    Influence,
    RankedRows,
    check_ranking,
    frame_library,
)
from treeinf.explainers.queries import OUTPUTS, EnsembleQueries, Output, Queries
from treeinf.frames import row_labels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.validation import check_count, check_out

__all__ = ["Columns", "Explainer", "TreeExplainer"]

_SAME_ROWS = 0.5


class Columns(abc.ABC):
    """The influence on some targets, ready to be written out block by block."""

    @property
    def device(self) -> Device:
        """Where blocks may stay: `fill` takes the device's arrays too."""
        return CPU

    @abc.abstractmethod
    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of a run of train rows.

        Parameters
        ----------
        first_row : int
            Train row of the first line of `influence`.
        first_query : int
            Column of `influence` for target 0.
        influence : ndarray of float64, shape (n_lines, >= first_query + n_queries)
            Output; the targets' columns are overwritten. An array on `device` will do.
        """


class Explainer(BaseEstimator, abc.ABC):
    """Base of all explainers.

    A subclass reads what it explains (`fit`, `_read_queries`) and says how influence on
    a batch of targets is computed (`_columns`); it may know quicker ways to the sum
    over the targets (`_total`) and to each row's own (`_own`).

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
        """Learn the train rows; must call `_store_rows`."""

    @abc.abstractmethod
    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> Queries:
        """Check the rows to explain."""

    @abc.abstractmethod
    def _columns(self, queries: Any) -> Columns:
        """Prepare the influence on a batch of targets."""

    @property
    @abc.abstractmethod
    def _train_queries(self) -> Any:
        """Give the train rows as targets of weight 1, on their own loss."""

    def _total(self, queries: Any) -> NDArray[np.float64]:
        """Compute the influence on the sum over targets, shape (n_train,)."""
        total = np.zeros(self._n_train, dtype=REAL)
        for batch in self._batches(queries.n_rows, self._query_batch_size, "total"):
            columns = self._columns(queries.take(batch))
            for rows in self._blocks(batch.stop - batch.start):
                block = np.empty((rows.stop - rows.start, batch.stop - batch.start))
                columns.fill(rows.start, 0, block)
                total[rows] += block.sum(axis=1)
        return total

    def _self_influence(self) -> NDArray[np.float64]:
        """Compute the influence of each train row on its own loss, of weight 1."""
        values = np.empty(self._n_train, dtype=REAL)
        queries = self._train_queries
        for batch in self._batches(
            self._n_train, self._query_batch_size, "self_influence"
        ):
            block = np.empty((batch.stop - batch.start,) * 2, dtype=REAL)
            self._columns(queries.take(batch)).fill(batch.start, 0, block)
            values[batch] = np.diagonal(block)
        return values

    @property
    def _query_batch_size(self) -> int:
        """Test rows in a batch."""
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
            Their targets. None will do for raw scores and predictions of models of one
            output or two classes (then of the second), and for derivatives.
        output : {"loss", "raw_score", "prediction"} or array, optional
            What is explained of each row: its training loss; its raw score, of its own
            class where there is one for each; its prediction, for classifiers the
            probability of its own class; or, given the derivatives of any quantity in
            the raw scores, shape (n_test,) or (n_test, n_outputs), that quantity. Some
            methods know the loss alone. By default the loss, and in
            `TargetInfluence` the prediction.
        sample_weight : array-like, shape (n_test,), optional
            Factors on what is explained.
        init_score : array-like, shape (n_test,) or (n_test, n_outputs), optional
            Their own initial scores, if the model was trained with such.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave out each row's influence on
            itself.
        out : ndarray or memmap of float64, shape (n_train, n_test), optional
            Array to fill.

        Returns
        -------
        Influence
            Shape (n_train, n_test): (output without the train row) minus (with it).

        Raises
        ------
        ValueError, TypeError
            If the rows, targets or `out` do not fit.
        """
        queries = self._open_queries(
            X, y, output, sample_weight, init_score, exclude_self
        )
        values = check_out(out, (self._n_train, queries.n_rows))
        with limit_threads(self.n_jobs):
            for batch in self._batches(
                queries.n_rows, self._query_batch_size, "explain"
            ):
                self._columns(queries.take(batch)).fill(0, batch.start, values)
        if exclude_self:
            np.fill_diagonal(values, 0.0)
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
        queries = self._open_queries(
            X, y, output, sample_weight, init_score, exclude_self
        )
        with limit_threads(self.n_jobs):
            values = self._total(queries)
            if exclude_self:
                values -= self._diagonal(queries)
        return self._wrap(values, None)

    def self_influence(self) -> Influence:
        """Compute the influence of every train row on its own loss, of weight 1.

        Returns
        -------
        Influence
            Shape (n_train,). Large values mark rows that the model fits only because
            they are there: noise, outliers and rare cases.
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
            Train rows for each, at most all.
        order : {"magnitude", "helpful", "harmful"}, default="magnitude"
            Largest size first, most helpful or most harmful; the last two give only
            rows that help or harm.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave each row itself out.

        Returns
        -------
        RankedRows
            Positions and values of shape (n_test, k), ties in the order of the rows.

        Notes
        -----
        Train rows are handled in blocks of `batch_size`: memory is
        O(batch_size n_test), never n_train x n_test. With ``device="cuda"`` the blocks
        of `BoostIn` and `LeafInfluence` stay there and only the lists come back.
        """
        check_is_fitted(self)
        n_train = self._n_train
        k, sign = check_ranking(k, order, n_train - int(exclude_self))
        queries = self._open_queries(X, y, output, None, init_score, exclude_self)
        with limit_threads(self.n_jobs):
            positions, values = self._rank_rows(
                queries.n_rows,
                lambda tests: self._columns(queries.take(tests)),
                k,
                sign,
                "top_k",
                exclude_self=exclude_self,
            )
        return RankedRows.select(
            positions,
            values,
            sign,
            train_labels=self._train_labels,
            test_labels=row_labels(X),
            library=self._library,
        )

    def _rank_rows(
        self,
        n_queries: int,
        columns_of: Callable[[slice], Columns],
        k: int,
        sign: int,
        what: str,
        *,
        exclude_self: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the best train rows for each target; see `merge_top`.

        `columns_of` prepares a batch of targets. With `exclude_self` they are the train
        rows in order: one place more holds the row itself, which is taken out.
        """
        n_places = k + int(exclude_self)
        positions = np.full((n_queries, n_places), -1, dtype=OFFSET)
        values = np.full((n_queries, n_places), np.nan, dtype=REAL)
        for tests in self._batches(n_queries, self._query_batch_size, what):
            columns = columns_of(tests)
            device = columns.device
            best = device.put(positions[tests]), device.put(values[tests])
            n_lines = min(self.batch_size, self._n_train)
            room = device.empty((n_lines, tests.stop - tests.start))
            for rows in self._batches(self._n_train, self.batch_size, what):
                block = room[: rows.stop - rows.start]
                columns.fill(rows.start, 0, block)
                device.products.merge_top(block, rows.start, sign, *best)
            positions[tests], values[tests] = map(device.get, best)
        if exclude_self:
            is_other = positions != np.arange(n_queries)[:, np.newaxis]
            is_other[is_other.all(axis=1), -1] = False
            positions, values = (
                each[is_other].reshape(n_queries, k) for each in (positions, values)
            )
        return positions, values

    def _check_parameters(self) -> None:
        check_n_jobs(self.n_jobs)
        check_count("batch_size", self.batch_size)

    def _store_rows(self, X: Any, fingerprint: NDArray[np.uint64]) -> None:
        """Keep whose rows these are; `fingerprint` is equal for equal rows."""
        self._n_train = len(fingerprint)
        self._train_labels = row_labels(X)
        self._library = frame_library(X)
        self._fingerprint = fingerprint
        self._sorted: NDArray[np.uint64] | None = None

    def _open_queries(
        self,
        X: Any,
        y: Any,
        output: Output | None,
        sample_weight: Any,
        init_score: Any,
        exclude_self: bool,
    ) -> Any:
        """Read the targets, and see whether the train rows are among them."""
        check_is_fitted(self)
        output = self._default_output if output is None else output
        name = output if isinstance(output, str) else "derivative"
        if name in OUTPUTS and name not in self._outputs:
            what = repr(output) if isinstance(output, str) else "derivatives"
            raise ValueError(
                f"{type(self).__name__} does not explain output={what}; it explains "
                f"{' and '.join(self._outputs)}. LeafInfluence explains them all."
            )
        queries = self._read_queries(X, y, output, sample_weight, init_score)
        known, given = self._fingerprint, queries.fingerprint
        is_train = np.array_equal(given, known)
        if exclude_self:
            if not is_train:
                raise ValueError(
                    "exclude_self=True needs the train rows themselves, in order; got "
                    f"{queries.n_rows:,} other rows for {self._n_train:,} train rows."
                )
        elif is_train:
            warnings.warn(
                "The explained rows are the train rows: each row vouches for itself, a "
                "mislabelled one too. Pass exclude_self=True to leave the own term "
                "out, or explain rows that the model has not seen.",
                SelfExplanationWarning,
                stacklevel=3,
            )
        else:
            if self._sorted is None:
                self._sorted = np.sort(known)
            place = np.searchsorted(self._sorted, given)
            place = np.minimum(place, len(known) - 1)
            share = float((self._sorted[place] == given).mean())
            if share > _SAME_ROWS and queries.n_rows > 1:
                warnings.warn(
                    f"{share:.0%} of the explained rows are among the train rows: they "
                    "vouch for themselves, mislabelled ones too. Explain rows that the "
                    "model has not seen.",
                    SelfExplanationWarning,
                    stacklevel=3,
                )
        return queries

    def _diagonal(self, queries: Any) -> NDArray[np.float64]:
        """Compute the influence of each train row on itself among the targets."""
        values = np.empty(self._n_train, dtype=REAL)
        for batch in self._batches(self._n_train, self._query_batch_size, "total"):
            block = np.empty((batch.stop - batch.start,) * 2, dtype=REAL)
            self._columns(queries.take(batch)).fill(batch.start, 0, block)
            values[batch] = np.diagonal(block)
        return values

    def _blocks(self, n_queries: int) -> Iterator[slice]:
        """Give runs of the train rows that make blocks of bounded size."""
        size = max(1, min(self._n_train, 2**22 // max(n_queries, 1)))
        for start in range(0, self._n_train, size):
            yield slice(start, min(start + size, self._n_train))

    def _batches(self, n: int, size: int, what: str) -> Iterator[slice]:
        """Give runs of at most `size` of `n`, with a progress bar over several."""
        runs = [slice(i, min(i + size, n)) for i in range(0, n, size)]
        yield from tqdm(
            runs,
            desc=f"{type(self).__name__}.{what}",
            unit="batch",
            leave=False,
            disable=not self.verbose or len(runs) < 2,
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


class TreeExplainer(Explainer):
    """Base of explainers that look into a fitted tree ensemble.

    Parameters
    ----------
    parity : {"sample", "all"}, default="sample"
        Train rows on which raw scores are compared with the library's own.
    batch_size, n_jobs, verbose
        See `Explainer`.

    Attributes
    ----------
    ensemble_ : TreeEnsemble
        The model.
    n_features_in_ : int
        Columns of the rows.
    """

    def __init__(
        self,
        *,
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, n_jobs=n_jobs, verbose=verbose)
        self.parity = parity

    @abc.abstractmethod
    def _learn(
        self,
        model: Any,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        sample_weight: Any,
        init_score: Any,
    ) -> NDArray[np.uint64]:
        """Take in the train rows and set `ensemble_`; gives their fingerprints.

        `model` is the caller's own, without the steps of a pipeline.
        """

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Self:
        """Take in the model and its train rows.

        Parameters
        ----------
        model : fitted estimator, pipeline, booster, path to a file, or TreeEnsemble
            The model to explain. Rows go through the steps of a pipeline first, here
            and later.
        X : array-like or frame, shape (n_train, n_features)
            The rows it was trained on.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with.
        init_score : array-like, shape (n_train,) or (n_train, n_outputs), optional
            The initial scores it was trained with.

        Returns
        -------
        self

        Raises
        ------
        UnsupportedModelError
            If the model cannot be represented, or this method cannot explain it.
        ModelParityError
            If raw scores differ from the library's own.
        TrainingDataMismatchError
            If these are not the training rows, labels or weights, as far as the method
            can tell.
        """
        self._check_parameters()
        source = X
        model, transform = unwrap_pipeline(model)
        ensemble = read_model(model)
        X = transform(X)
        is_live = not isinstance(model, TreeEnsemble | Mapping | str | os.PathLike)
        own_start = functools.partial(find_init_score, model) if is_live else None
        if init_score is None and own_start is not None:
            init_score = own_start(X)
        with limit_threads(self.n_jobs):
            rows = ensemble.read_rows(X)
            if is_live:
                check_parity(ensemble, model, rows, rows=self.parity)
            fingerprint = self._learn(
                model, ensemble, rows, y, sample_weight, init_score
            )
        self._store_rows(source, fingerprint)
        self.n_features_in_ = ensemble.n_features
        self._transform = transform
        self._model_init_score = own_start
        self._needs_init_score = init_score is not None
        return self

    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> EnsembleQueries:
        """Check the rows to explain and route them."""
        X = self._transform(X)
        if init_score is None and self._model_init_score is not None:
            init_score = self._model_init_score(X)
        if init_score is None and self._needs_init_score:
            raise ValueError(
                "The model was trained with an init_score; pass init_score= for these "
                "rows too."
            )
        with limit_threads(self.n_jobs):
            return EnsembleQueries.read(
                self.ensemble_,
                X,
                y,
                output=output,
                sample_weight=sample_weight,
                init_score=init_score,
            )
