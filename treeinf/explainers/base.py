"""What every explainer does alike: fit, explain, total, self influence, top k."""

from __future__ import annotations

import abc
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.influence import (
    Influence,
    RankedRows,
    check_ranking,
    frame_library,
)
from treeinf.kernels.cpu import contraction as kernels
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.trace import StagedRows, TrainingTrace, sum_derivatives
from treeinf.validation import check_out, row_labels

__all__ = ["AdditiveExplainer"]

_FACTOR_BYTES = 2**20
_SAME_ROWS = 0.5


class AdditiveExplainer(BaseEstimator, abc.ABC):
    """Base of explainers whose influence is a row factor times a leaf factor.

    A subclass says what the row factor is (`_row_factor`); everything else is here.

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
    def _row_factor(
        self, trace: TrainingTrace
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give `scale` and `theta` of each leaf, shape (n_leaves, leaf_width).

        The factor of train row i in a leaf is ``scale * (g_i + theta * h_i)``.
        """

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
        model : fitted estimator, booster, path to a model file, or TreeEnsemble
            The model to explain.
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
        ensemble = read_model(model)
        with limit_threads(self.n_jobs):
            if not isinstance(model, TreeEnsemble | Mapping | str | os.PathLike):
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
        self._scale, self._theta = self._row_factor(trace)
        self._train_labels = row_labels(X)
        self._library = frame_library(X)
        return self

    def explain(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
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
        targets = self._read_targets(X, y, sample_weight, exclude_self)
        values = check_out(out, (self.trace_.rows.n_rows, targets.n_rows))
        with limit_threads(self.n_jobs):
            for begin in self._batches(targets.n_rows, "explain"):
                stop = min(begin + self.batch_size, targets.n_rows)
                group = self._group(targets, begin, stop)
                self._contract(group, stop - begin, 0, begin, values)
        if exclude_self:
            np.fill_diagonal(values, 0.0)
        return self._wrap(values, row_labels(X))

    def total(
        self, X: Any, y: Any, *, sample_weight: Any = None, exclude_self: bool = False
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
        targets = self._read_targets(X, y, sample_weight, exclude_self)
        with limit_threads(self.n_jobs):
            leaf_factor, _, _ = sum_derivatives(self.ensemble_, targets)
            values = self._contract_rows(leaf_factor)
            if exclude_self:
                own = self._contract_rows(None)
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
            values = self._contract_rows(None)
        return self._wrap(values, None)

    def top_k(
        self,
        X: Any,
        y: Any,
        k: int = 10,
        *,
        order: str = "magnitude",
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
        targets = self._read_targets(X, y, None, exclude_self)
        n_test = targets.n_rows
        positions = np.full((n_test, k), -1, dtype=OFFSET)
        values = np.full((n_test, k), np.nan, dtype=REAL)
        with limit_threads(self.n_jobs):
            for first_test in range(0, n_test, self.batch_size):
                tests = slice(first_test, min(first_test + self.batch_size, n_test))
                group = self._group(targets, tests.start, tests.stop)
                for begin in self._batches(n_train, "top_k"):
                    stop = min(begin + self.batch_size, n_train)
                    block = np.empty(
                        (stop - begin, tests.stop - tests.start), dtype=REAL
                    )
                    self._contract(group, block.shape[1], begin, 0, block)
                    if exclude_self:
                        own = np.arange(
                            max(begin, tests.start), min(stop, tests.stop), dtype=OFFSET
                        )
                        block[own - begin, own - tests.start] = np.nan
                    kernels.merge_top(
                        block, begin, sign, positions[tests], values[tests]
                    )
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
        self, X: Any, y: Any, sample_weight: Any, exclude_self: bool
    ) -> StagedRows:
        """Check the rows to explain and route them."""
        check_is_fitted(self)
        with limit_threads(self.n_jobs):
            targets = StagedRows.read(self.ensemble_, X, y, sample_weight=sample_weight)
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

    def _batches(self, n: int, what: str) -> Any:
        """Give the first row of each batch, with a progress bar over several."""
        return tqdm(
            range(0, n, self.batch_size),
            desc=f"{type(self).__name__}.{what}",
            unit="batch",
            disable=not self.verbose or n <= self.batch_size,
        )

    def _row_arguments(self) -> tuple[Any, ...]:
        """Give the arguments that all contraction kernels begin with."""
        rows, ensemble = self.trace_.rows, self.ensemble_
        return (*_kernel_arguments(ensemble, rows), self._scale, self._theta)

    def _contract_rows(
        self, leaf_factor: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Contract with one factor a leaf, or with each row's own gradients."""
        values = np.empty(self.trace_.rows.n_rows, dtype=REAL)
        kernels.contract_rows(
            *self._row_arguments(),
            self._scale if leaf_factor is None else leaf_factor,
            leaf_factor is None,
            values,
        )
        return values

    def _group(
        self, targets: StagedRows, begin: int, stop: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """List test rows and their staged gradients leaf by leaf."""
        ensemble = self.ensemble_
        part = targets.take(slice(begin, stop))
        width = ensemble.leaf_width
        gradient = np.empty((ensemble.n_trees * width, part.n_rows), dtype=REAL)
        ones, zeros = np.ones_like(self._scale), np.zeros_like(self._scale)
        kernels.stage_factors(*_kernel_arguments(ensemble, part), ones, zeros, gradient)
        start = np.empty(ensemble.n_leaves + 1, dtype=OFFSET)
        row = np.empty(ensemble.n_trees * part.n_rows, dtype=NODE)
        kernels.group_rows_by_leaf(part.leaf, ensemble.leaf_offset, start, row)
        tree = np.repeat(np.arange(ensemble.n_trees), part.n_rows)
        by_output = gradient.reshape(ensemble.n_trees, width, part.n_rows)
        return start, row, np.ascontiguousarray(by_output[tree, :, row])

    def _contract(
        self,
        group: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]],
        n_targets: int,
        first_row: int,
        first_target: int,
        values: NDArray[np.float64],
    ) -> None:
        """Fill the influence of a run of train rows on a group of test rows.

        The first line of `values` is train row `first_row`; the group's columns begin
        at `first_target`.
        """
        row_bytes = self._scale.itemsize * self.ensemble_.n_trees * self._scale.shape[1]
        block_rows = int(np.clip(_FACTOR_BYTES // row_bytes, 8, 256))
        kernels.contract_dense(
            *self._row_arguments(),
            first_row,
            block_rows,
            *group,
            n_targets,
            first_target,
            values,
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


def _kernel_arguments(ensemble: TreeEnsemble, rows: StagedRows) -> tuple[Any, ...]:
    """Give rows and ensemble as the kernels take them."""
    return (
        rows.leaf,
        ensemble.flat_leaves,
        ensemble.base_score,
        rows.offset,
        rows.target,
        rows.weight,
        *ensemble.loss_kernel,
    )
