"""Fit explainers to a tree ensemble and its train rows."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters import init_score as find_init_score
from treeinf.adapters import read_model, unwrap_pipeline
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.train_tables import join_rows, split_tables
from treeinf.explainers.base import Explainer
from treeinf.explainers.queries import EnsembleQueries, Output
from treeinf.frames import check_columns, column_names, count_rows, row_labels
from treeinf.kernels.threads import limit_threads
from treeinf.training.row_groups import read_groups
from treeinf.validation import check_row_labels

__all__ = ["TreeExplainer"]


class TreeExplainer(Explainer[EnsembleQueries]):
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.parity not in ("sample", "all"):
            raise ValueError(f"Got parity={self.parity!r}; expected 'sample' or 'all'.")

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
        """Read the train rows, set `ensemble_` and return the rows' fingerprints.

        `model` is the caller's, without the steps of a pipeline before it.
        """

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
        """Read the model and its train rows.

        Parameters
        ----------
        model : fitted estimator, pipeline, booster, path to a file, or TreeEnsemble
            The model to explain. Rows go through the steps of a pipeline first, here
            and later.
        X : array-like or frame, shape (n_train, n_features), or list of them
            The rows it was trained on. Where training was continued on other rows
            (LightGBM's ``init_model``, XGBoost's ``xgb_model``, ``warm_start``), a list
            of the tables in the order of training: which trees each was used for is
            found. Rows are then numbered through all tables.
        y : array-like, shape (n_train,), or list of them
            Their targets; of several tables a list, as of all that follows. Rows are
            matched by position; a pandas index that has the labels of X in another
            order, or other labels, is refused, here and for weights and initial scores,
            unless one of both just numbers the rows from 0.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with.
        init_score : array-like, shape (n_train,) or (n_train, n_outputs), optional
            The initial scores it was trained with; XGBoost's ``base_margin``, in place
            of its base score.
        groups : array-like of labels, shape (n_train,), optional
            Rows that belong together, such as those of a patient or a machine: where
            train rows are explained, ``exclude_self=True`` leaves out the other rows of
            their group, too.

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
        tables = split_tables(X, y, sample_weight, init_score)
        if groups is not None:
            if len(tables) > 1:
                groups = np.concatenate([np.asarray(labels) for labels in groups])
            check_row_labels(row_labels(tables[0].X), groups=groups)
            n_rows = sum(count_rows(table.X) for table in tables)
            groups, _ = read_groups(groups, n_rows)
        self._group = groups
        model, transform = unwrap_pipeline(model)
        ensemble = read_model(model)
        is_live = not isinstance(model, TreeEnsemble | Mapping | str | os.PathLike)
        model_init_score = (
            functools.partial(find_init_score, model) if is_live else None
        )
        rows_of_table, init_scores = [], [table.init_score for table in tables]
        with limit_threads(self.n_jobs):
            for number, table in enumerate(tables):
                X = transform(table.X)
                rows_of_table.append(
                    ensemble.read_rows(X)
                )  # names columns that do not fit
                if model_init_score is not None:
                    own_init_score = model_init_score(X)
                    if own_init_score is None:  # the live model need not be kept
                        model_init_score = None
                    elif init_scores[number] is None:
                        init_scores[number] = own_init_score
                if is_live:
                    check_parity(ensemble, model, rows_of_table[-1], rows=self.parity)
            rows, y, sample_weight, init_score, labels = join_rows(
                tables, rows_of_table, init_scores
            )
            fingerprint = self._learn(
                model, ensemble, rows, y, sample_weight, init_score
            )
        self._store_rows(tables[0].X, fingerprint)
        self._train_labels = labels
        self.n_features_in_ = ensemble.n_features
        self._transform = transform
        self._model_init_score = model_init_score
        self._needs_init_score = init_score is not None
        return self

    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> EnsembleQueries:
        """Check the rows to explain and route them."""
        source, X = X, self._transform(X)
        if X is source:
            self._check_order(X)
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

    def _check_order(self, X: Any) -> None:
        """Refuse the columns of the train rows in another order."""
        train, names = self._train_columns, column_names(X)
        if train is not None and names is not None and set(train) == set(names):
            check_columns(names, train)
