"""What the estimators of this room do alike: read the caller's rows, wrap a model."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    is_classifier,
    is_regressor,
)
from sklearn.metrics import get_scorer
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from treeinf.cleaning.rows import (
    check_index,
    check_table,
    read_classes,
    read_labels,
    read_rows,
    refuse_overlap,
)
from treeinf.cleaning.trial.splits import check_validation
from treeinf.errors import TreeinfWarning
from treeinf.frames import count_rows
from treeinf.training.learner import Learner, readable_rows
from treeinf.training.parallel import Progress
from treeinf.training.rows import LabelledRows

__all__ = ["RowMetaEstimator"]


def _estimator_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        estimator = getattr(self, "estimator_", self.estimator)
        return estimator is None or getattr(estimator, name, None) is not None

    return check


class RowMetaEstimator(MetaEstimatorMixin, BaseEstimator):
    """Base of estimators that train another one on a part of its rows.

    A subclass has the parameters `estimator`, `validation`, `scoring`, `n_jobs` and
    `verbose`, and does its work between `_check_parameters` and `_work`, which sets
    `estimator_` and gives the report.
    """

    _doing = ""
    report_: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Do the work, and train the final model.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows, of any type that the estimator takes.
        y : array-like, shape (n_train,)
            Labels or targets.
        sample_weight : array-like, shape (n_train,), optional
            Weights, for training and for judging.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data cannot be used; before any training.
        UnsupportedModelError
            If influence is needed and no adapter reads the estimator.
        """
        begin = time.perf_counter()
        self._check_kind()
        rows = self._read_train(X, y, sample_weight)
        given = self._read_validation(rows)
        estimator = self._resolve_estimator(rows)
        self._check_parameters(estimator, rows)
        self._scorer()
        progress = Progress(self._doing, is_shown=self.verbose)
        trainer = Learner(
            estimator, getattr(self, "classes_", None), self.n_jobs, progress
        )
        with contextlib.closing(progress), _once_each():
            report = self._work(rows, given, trainer)
        seconds = {**report.seconds, "total": time.perf_counter() - begin}
        self.report_ = dataclasses.replace(report, seconds=seconds)
        return self

    def _check_parameters(self, estimator: Any, rows: LabelledRows) -> None:
        """Refuse parameters that cannot be used with these rows, before long work."""
        raise NotImplementedError

    def _work(
        self, rows: LabelledRows, given: LabelledRows | None, trainer: Learner
    ) -> Any:
        """Do the work, set the fitted attributes, and give the report."""
        raise NotImplementedError

    # checks, before long work

    def _check_kind(self) -> None:
        """Refuse what is neither classifier nor regressor."""
        one = self.estimator
        if one is not None and not (
            hasattr(one, "get_params") and (is_classifier(one) or is_regressor(one))
        ):
            raise TypeError(
                f"Got estimator={one!r}; expected a scikit-learn classifier or "
                "regressor, such as LGBMClassifier()."
            )

    def _read_train(self, X: Any, y: Any, sample_weight: Any) -> LabelledRows:
        X = self._check_table(X, "X")
        validate_data(self, X, skip_check_array=True)
        check_index(X, y)
        n_rows = count_rows(X)
        labels = read_labels(y, n_rows, "y", as_numbers=False)
        if self._is_classification(labels):
            self.classes_ = read_classes(labels)
            return read_rows(X, labels, self.classes_, sample_weight=sample_weight)
        if hasattr(self, "classes_"):
            del self.classes_
        labels = read_labels(y, n_rows, "y", as_numbers=True)
        return read_rows(X, labels, None, sample_weight=sample_weight)

    def _check_table(self, X: Any, name: str) -> Any:
        tags = get_tags(self).input_tags
        return check_table(
            X,
            name,
            estimator=type(self).__name__,
            sparse_too=tags.sparse,
            nan_too=tags.allow_nan,
        )

    def _is_classification(self, y: NDArray[Any]) -> bool:
        if self.estimator is None:
            return not type_of_target(y).startswith("continuous")
        return bool(is_classifier(self.estimator))

    def _read_validation(self, rows: LabelledRows) -> LabelledRows | None:
        """Check the kind of validation, and the rows given."""
        if check_validation(self.validation) != "rows":
            return None
        X_val, y_val = self.validation
        X_val = self._check_table(X_val, "X_val")
        if X_val.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X_val has {X_val.shape[1]} columns, X has {self.n_features_in_}."
            )
        is_regression = rows.code is None
        y_val = read_labels(y_val, count_rows(X_val), "y_val", as_numbers=is_regression)
        classes = None if is_regression else self.classes_
        given = read_rows(X_val, y_val, classes, name="y_val")
        refuse_overlap(rows, given)
        return given

    def _resolve_estimator(self, rows: LabelledRows) -> Any:
        if self.estimator is not None:
            return self.estimator
        try:
            import lightgbm
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__}() without an estimator uses LightGBM's, which "
                "is not installed: pip install 'treeinf[lightgbm]', or pass an "
                "estimator."
            ) from error
        if rows.code is None:
            return lightgbm.LGBMRegressor(verbose=-1)
        return lightgbm.LGBMClassifier(verbose=-1)

    def _scorer(self) -> tuple[str, Callable[..., float]]:
        """Give the name of the reported score and what computes it."""
        scoring = self.scoring
        if scoring is None:
            scoring = "accuracy" if hasattr(self, "classes_") else "r2"
        if callable(scoring):
            return getattr(scoring, "__name__", repr(scoring)), scoring
        return str(scoring), get_scorer(scoring)

    @property
    def _n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(getattr(self, "classes_", ()))

    @property
    def _task(self) -> str:
        """Name the kind of target."""
        if not self._n_classes:
            return "regression"
        return "binary" if self._n_classes == 2 else "multiclass"

    # the estimator inside

    @available_if(_estimator_has("predict"))
    def predict(self, X: Any) -> NDArray[Any]:
        """Predict with the final model."""
        return self._ask("predict", X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probabilities of the classes with the final model."""
        return self._ask("predict_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute the final model's decision function."""
        return self._ask("decision_function", X)

    @available_if(_estimator_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score the final model, by its own score."""
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        X = readable_rows(self.estimator_, X)
        return float(self.estimator_.score(X, y, **weights))

    def _ask(self, name: str, X: Any) -> Any:
        check_is_fitted(self)
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, skip_check_array=True, reset=False)
        return getattr(self.estimator_, name)(readable_rows(self.estimator_, X))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if hasattr(self.estimator, "__sklearn_tags__"):
            inner = get_tags(self.estimator)
            tags.estimator_type = inner.estimator_type
            tags.classifier_tags = inner.classifier_tags
            tags.regressor_tags = inner.regressor_tags
            tags.input_tags.sparse = inner.input_tags.sparse
            tags.input_tags.allow_nan = inner.input_tags.allow_nan
            tags.input_tags.categorical = inner.input_tags.categorical
        return tags


@contextlib.contextmanager
def _once_each() -> Iterator[None]:
    """Hold back warnings and give each once: of treeinf's own one of each kind."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        seen = set()
        for one in caught:
            is_own = issubclass(one.category, TreeinfWarning)
            key = (one.category, "" if is_own else str(one.message))
            if key not in seen:
                seen.add(key)
                warnings.warn_explicit(
                    one.message, one.category, one.filename, one.lineno
                )
