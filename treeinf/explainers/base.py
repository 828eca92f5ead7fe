"""What every explainer does alike: fit, explain, total, self influence, top k."""

from __future__ import annotations

import abc
import functools
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

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
from treeinf.explainers.factors import LeafFactors, RowFactors
from treeinf.explainers.influence import (
    Influence,
    RankedRows,
    check_ranking,
    frame_library,
)
from treeinf.kernels.cpu.contraction import merge_top
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.trace import StagedRows, TrainingTrace
from treeinf.validation import check_out, row_labels

__all__ = ["AdditiveExplainer"]

_SAME_ROWS = 0.5


class AdditiveExplainer(BaseEstimator, abc.ABC):
    """Base of explainers whose influence is a row factor times a leaf factor.

    A subclass says what the factors are (`_row_factors`, `_leaf_factors`) and how their
    sums are formed (`_total`, `_own`); everything else is here.

    Parameters
    ----------
    on_mismatch : {"raise", "warn", "ignore"}, default="raise"
        What to do if the rows, labels or weights are not those of the training.
    parity : {"sample", "all"}, default="sample"
        Train rows on which raw scores are compared with the library's own.
    batch_size : int, default=1024
        Test rows handled together by `explain`, and train rows by `top_k`.
    n_jobs : int or None, default=None
        Threads; None or -1 for all. Results have the same bits for any number.
    verbose : bool, default=False
        Show a progress bar on work of several batches.

    Attributes
    ----------
    trace_ : TrainingTrace
        The replay of the training.
    ensemble_ : TreeEnsemble
        The model, its initial score kept apart.
    reproduction_ : ReproductionReport
        How well the model's leaf values follow from the train rows.
    n_features_in_ : int
        Columns of the rows.
    """

    def __init__(
        self,
        *,
        on_mismatch: str = "raise",
        parity: str = "sample",
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.on_mismatch = on_mismatch
        self.parity = parity
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.verbose = verbose

    @abc.abstractmethod
    def _row_factors(self, trace: TrainingTrace) -> RowFactors:
        """Give the factors of the train rows."""

    @abc.abstractmethod
    def _leaf_factors(self, targets: StagedRows) -> LeafFactors:
        """Give the leaf factors of a batch of test rows."""

    @abc.abstractmethod
    def _total(self, targets: StagedRows) -> NDArray[np.float64]:
        """Compute the influence on the summed loss of test rows, shape (n_train,)."""

    @abc.abstractmethod
    def _own(self) -> NDArray[np.float64]:
        """Compute the influence of each train row on its own loss, of weight 1."""

    @property
    def _targets_at_once(self) -> int:
        """Test rows in a batch."""
        return self.batch_size

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> AdditiveExplainer:
        """Replay the model's training on its train rows.

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
            If these are not the training rows, labels or weights.
        """
        self._check_parameters()
        labels, library = row_labels(X), frame_library(X)
        model, transform = unwrap_pipeline(model)
        ensemble = read_model(model)
        X = transform(X)
        is_live = not isinstance(model, TreeEnsemble | Mapping | str | os.PathLike)
        own_start = functools.partial(find_init_score, model) if is_live else None
        if init_score is None and own_start is not None:
            init_score = own_start(X)
        with limit_threads(self.n_jobs):
            if is_live:
                check_parity(ensemble, model, X, rows=self.parity)
            trace = TrainingTrace.build(
                ensemble,
                X,
                y,
                sample_weight=sample_weight,
                init_score=init_score,
                on_mismatch=self.on_mismatch,
            )
        self.trace_ = trace
        self.ensemble_ = trace.ensemble
        self.reproduction_ = trace.report
        self.n_features_in_ = ensemble.n_features
        self._rows = self._row_factors(trace)
        self._transform = transform
        self._own_start = own_start
        self._train_labels = labels
        self._library = library
        return self

    def explain(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        exclude_self: bool = False,
        out: NDArray[np.float64] | None = None,
    ) -> Influence:
        """Compute the influence of every train row on the loss of every test row.

        Parameters
        ----------
        X : array-like or frame, shape (n_test, n_features)
            Rows to explain.
        y : array-like, shape (n_test,)
            Their targets.
        sample_weight : array-like, shape (n_test,), optional
            Factors on their losses.
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
            Shape (n_train, n_test).

        Raises
        ------
        ValueError, TypeError
            If the rows, targets or `out` do not fit.
        """
        targets = self._read_targets(X, y, sample_weight, init_score, exclude_self)
        values = check_out(out, (self.trace_.rows.n_rows, targets.n_rows))
        with limit_threads(self.n_jobs):
            for batch in self._batches(
                targets.n_rows, self._targets_at_once, "explain"
            ):
                factors = self._leaf_factors(targets.take(batch))
                factors.contract(self._rows, 0, batch.start, values)
        if exclude_self:
            np.fill_diagonal(values, 0.0)
        return self._wrap(values, row_labels(X))

    def total(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        exclude_self: bool = False,
    ) -> Influence:
        """Compute the influence of every train row on the summed loss of test rows.

        Parameters
        ----------
        X : array-like or frame, shape (n_test, n_features)
            Rows to explain.
        y : array-like, shape (n_test,)
            Their targets.
        sample_weight : array-like, shape (n_test,), optional
            Factors on their losses.
        init_score : array-like, shape (n_test,) or (n_test, n_outputs), optional
            Their own initial scores, if the model was trained with such.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave out each row's influence on
            itself.

        Returns
        -------
        Influence
            Shape (n_train,).

        Notes
        -----
        O((n_train + n_test) n_trees) time; no array of n_train x n_test numbers.
        """
        targets = self._read_targets(X, y, sample_weight, init_score, exclude_self)
        with limit_threads(self.n_jobs):
            values = self._total(targets)
            if exclude_self:
                own = self._own()
                values -= own if not targets.weight.size else own * targets.weight
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
            values = self._own()
        return self._wrap(values, None)

    def top_k(
        self,
        X: Any,
        y: Any,
        k: int = 10,
        *,
        order: str = "magnitude",
        init_score: Any = None,
        exclude_self: bool = False,
    ) -> RankedRows:
        """Find the train rows with most influence on each test row.

        Parameters
        ----------
        X : array-like or frame, shape (n_test, n_features)
            Rows to explain.
        y : array-like, shape (n_test,)
            Their targets.
        k : int, default=10
            Train rows for each, at most all.
        order : {"magnitude", "helpful", "harmful"}, default="magnitude"
            Largest size first, most helpful or most harmful; the last two give only
            rows that help or harm.
        init_score : array-like, shape (n_test,) or (n_test, n_outputs), optional
            Their own initial scores, if the model was trained with such.
        exclude_self : bool, default=False
            The rows are the train rows, in order; leave each row itself out.

        Returns
        -------
        RankedRows
            Positions and values of shape (n_test, k), ties in the order of the rows.

        Notes
        -----
        Train rows are handled in blocks of `batch_size`: memory is
        O(batch_size n_test), never n_train x n_test.
        """
        check_is_fitted(self)
        n_train = self.trace_.rows.n_rows
        k, sign = check_ranking(k, order, n_train - int(exclude_self))
        targets = self._read_targets(X, y, None, init_score, exclude_self)
        n_test = targets.n_rows
        positions = np.full((n_test, k), -1, dtype=OFFSET)
        values = np.full((n_test, k), np.nan, dtype=REAL)
        with limit_threads(self.n_jobs):
            for tests in self._batches(n_test, self._targets_at_once, "top_k"):
                factors = self._leaf_factors(targets.take(tests))
                for rows in self._batches(n_train, self.batch_size, "top_k"):
                    shape = (rows.stop - rows.start, tests.stop - tests.start)
                    block = np.empty(shape, dtype=REAL)
                    factors.contract(self._rows, rows.start, 0, block)
                    if exclude_self:
                        own = np.arange(
                            max(rows.start, tests.start), min(rows.stop, tests.stop)
                        )
                        block[own - rows.start, own - tests.start] = np.nan
                    merge_top(block, rows.start, sign, positions[tests], values[tests])
        return RankedRows.pick(
            positions,
            values,
            sign,
            train_labels=self._train_labels,
            test_labels=row_labels(X),
            library=self._library,
        )

    def _check_parameters(self) -> None:
        check_n_jobs(self.n_jobs)
        if (
            isinstance(self.batch_size, bool)
            or not isinstance(self.batch_size, int)
            or self.batch_size < 1
        ):
            raise ValueError(
                f"Got batch_size={self.batch_size!r}; expected a positive integer."
            )

    def _read_targets(
        self, X: Any, y: Any, sample_weight: Any, init_score: Any, exclude_self: bool
    ) -> StagedRows:
        """Check the rows to explain and route them."""
        check_is_fitted(self)
        X = self._transform(X)
        if init_score is None and self._own_start is not None:
            init_score = self._own_start(X)
        if init_score is None and self.trace_.rows.offset.size:
            raise ValueError(
                "The model was trained with an init_score; pass init_score= for these "
                "rows too."
            )
        with limit_threads(self.n_jobs):
            targets = StagedRows.read(
                self.ensemble_,
                X,
                y,
                sample_weight=sample_weight,
                init_score=init_score,
            )
        n_train = self.trace_.rows.n_rows
        known = self.trace_.rows
        is_train = np.array_equal(targets.fingerprint, known.fingerprint)
        if exclude_self:
            if not is_train:
                raise ValueError(
                    "exclude_self=True needs the train rows themselves, in order; got "
                    f"{targets.n_rows:,} other rows for {n_train:,} train rows."
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
            share = targets.share_among(known)
            if share > _SAME_ROWS and targets.n_rows > 1:
                warnings.warn(
                    f"{share:.0%} of the explained rows are among the train rows: they "
                    "vouch for themselves, mislabelled ones too. Explain rows that the "
                    "model has not seen.",
                    SelfExplanationWarning,
                    stacklevel=3,
                )
        return targets

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
        self, values: NDArray[np.float64], test_labels: NDArray[Any] | None
    ) -> Influence:
        return Influence(
            values,
            train_labels=self._train_labels,
            test_labels=test_labels,
            method=type(self).__name__,
            library=self._library,
        )
