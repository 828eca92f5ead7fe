"""Base of the cleaner and the selector: read rows, check parameters, wrap a model."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
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

from treeinf.cleaning.grouping import (
    Grouping,
    join_twins,
    list_contradictions,
    read_validation_groups,
)
from treeinf.cleaning.rows import read_rows, read_trusted, refuse_times
from treeinf.cleaning.scores.scoring import is_readable
from treeinf.cleaning.trial.forward import follows_positions, rank_times
from treeinf.cleaning.trial.splits import check_validation
from treeinf.errors import SelfExplanationWarning, TreeinfWarning
from treeinf.frames import check_columns, column_names
from treeinf.training.cloning import rebuild
from treeinf.training.early_stopping import (
    describe_stopping,
    has_eval_set,
    refuse_hidden_stopping,
)
from treeinf.training.learner import Learner, readable_rows
from treeinf.training.parallel import Progress
from treeinf.training.row_groups import read_groups
from treeinf.training.rows import LabelledRows
from treeinf.validation import open_rows

__all__ = ["RowMetaEstimator", "check_name", "check_number"]


def check_name(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Refuse a value that is not among the names accepted.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    accepted = tuple(accepted)
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"Got {name}={value!r}; expected one of {accepted}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> None:
    """Refuse a value that is not a number in a range, open or closed at its ends.

    Raises
    ------
    TypeError, ValueError
        If it has another type, or is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Got {name}={value!r}; expected a number.")
    number = float(value)
    if not (above < number < below and lowest <= number <= highest):
        low, high = max(above, lowest), min(below, highest)
        ends = "[]" if lowest > above else "()"
        raise ValueError(
            f"Got {name}={value!r}; expected a number in "
            f"{ends[0]}{low:g}, {high:g}{ends[1]}."
        )


_OF_ROWS = ("init_score", "base_margin", "baseline", "group", "qid", "sample_weight")
"""Arguments of fit that have one value a row."""


def check_fit_params(estimator: Any, fit_params: dict[str, Any]) -> None:
    """Refuse arguments of fit that copies cannot be trained with.

    Raises
    ------
    TypeError
        If fit has no such argument, or one has a value for each row.
    ValueError
        See `refuse_hidden_stopping`.
    """
    accepted = inspect.signature(estimator.fit).parameters
    is_open = any(kind.kind is kind.VAR_KEYWORD for kind in accepted.values())
    for name in fit_params:
        if not is_open and name not in accepted:
            raise TypeError(
                f"{type(estimator).__name__}.fit takes no {name}; it takes "
                f"{', '.join(accepted)}."
            )
        if name.rpartition("__")[2] in _OF_ROWS:
            raise TypeError(
                f"Got {name}=, which has a value for each row; copies are trained on "
                "parts of the rows, so only sample_weight= can be passed with them."
            )
    if not has_eval_set(fit_params):
        refuse_hidden_stopping(estimator)


def _estimator_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        estimator = getattr(self, "estimator_", self.estimator)
        return estimator is None or getattr(estimator, name, None) is not None

    return check


class RowMetaEstimator(MetaEstimatorMixin, BaseEstimator):
    """Base class of meta-estimators that train an estimator on part of the rows.

    A subclass has the parameters `estimator`, `validation`, `scoring`,
    `join_equal_rows`, `n_jobs` and `verbose`, checks them in `_check_parameters`, and
    chooses rows in `_fit_rows`, which sets `estimator_` and returns the report.
    """

    _label = ""
    report_: Any
    groups_: NDArray[np.int64] | None
    contradictions_: Any

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        time: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Choose the rows, and train the final model.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows, of any type that the estimator takes.
        y : array-like, shape (n_train,)
            Labels or targets.
        sample_weight : array-like, shape (n_train,), optional
            Weights, for training and evaluation.
        groups : array-like, shape (n_train,), optional
            Groups of rows that belong together, such as those of a patient or a
            machine: no row is scored, chosen by or evaluated with models that have seen
            its group. Rows that are equal are joined anyway, see `join_equal_rows`.
        time : array-like, shape (n_train,), optional
            Time of each row, where it matters that rows are not scored by later ones:
            numbers, dates, moments, or texts of dates. Rows are then scored, chosen and
            evaluated by models of earlier rows alone; rows of the same time stay
            together. The first rows have none to be scored by, and are kept. With
            `TimeSeriesSplit` as `validation`, rows are in the order of time anyway.
        **fit_params
            Further arguments of the estimator's fit, passed to every copy and to the
            final model as they are: an `eval_set` to stop early on, callbacks.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are invalid; raised before any training.
        UnsupportedModelError
            If influence is needed and no adapter reads the estimator.

        Notes
        -----
        An estimator that stops early (`early_stopping_rounds`) and is passed no
        `eval_set` holds out a fifth of each copy's own rows to find its number of
        iterations, and is then trained on all of them. The report says so.
        """
        begin = perf_counter()
        self._check_kind()
        kind = check_validation(self.validation)
        reading: dict[str, Any] = {
            "tags": get_tags(self).input_tags,
            "owner": type(self).__name__,
        }
        rows, classes = read_rows(
            X, y, sample_weight, classify=self._is_classification, **reading
        )
        rows = self._join_rows(rows, groups)
        if time is not None:
            rows = dataclasses.replace(rows, time=rank_times(time, rows.n_rows))
        elif follows_positions(self.validation):
            rows = dataclasses.replace(rows, time=np.arange(rows.n_rows))
        if rows.time is not None:
            self._check_time()
        validate_data(self, rows.X, skip_check_array=True)
        self._column_names = column_names(rows.X)
        if classes is not None:
            self.classes_ = classes
        elif hasattr(self, "classes_"):
            del self.classes_
        trusted = None
        if kind == "rows":
            X_val, y_val, *more = self.validation
            trusted = read_trusted(X_val, y_val, rows, classes, **reading)
            number = read_validation_groups(
                more[0] if more else None, groups, trusted.n_rows, rows.n_rows
            )
            trusted = join_twins(trusted, number, self.join_equal_rows)[0]
        estimator = self._resolve_estimator()
        check_fit_params(estimator, fit_params)
        if not hasattr(estimator, "steps") and is_readable(estimator):
            refuse_times(rows.X)
        self._check_parameters(estimator, rows.n_rows, rows.weight is not None)
        self._scorer()
        progress = Progress(self._label, is_shown=self.verbose)
        learner = Learner(
            estimator, classes, self.n_jobs, progress, fit_params=fit_params
        )
        with contextlib.closing(progress), _once_each():
            report = self._fit_rows(rows, trusted, learner)
        seconds = {**report.seconds, "total": perf_counter() - begin}
        stopped = describe_stopping(estimator, fit_params, self.estimator_)
        notes = (*report.notes, *self._grouping.notes)
        if rows.time is not None:
            notes = (*notes, *self._describe_time())
        notes = (*notes, stopped) if stopped else notes
        self.report_ = dataclasses.replace(
            report,
            headline=report.headline + self._grouping.headline,
            seconds=seconds,
            notes=notes,
            n_groups=self._grouping.n_groups,
            n_joined=self._grouping.n_joined,
            n_contradicting=self._grouping.n_contradicting,
        )
        return self

    def _join_rows(self, rows: LabelledRows, groups: Any) -> LabelledRows:
        """Set the groups of rows, and what is reported of them."""
        if self.join_equal_rows not in (True, False):
            raise ValueError(
                f"Got join_equal_rows={self.join_equal_rows!r}; expected True or False."
            )
        group = None if groups is None else read_groups(groups, rows.n_rows)[0]
        rows, twins = join_twins(rows, group, self.join_equal_rows)
        self.groups_ = None if rows.group is None else rows.group.copy()
        self.contradictions_ = list_contradictions(rows, twins.equal)
        self._grouping = Grouping.describe(rows, group, twins)
        return rows

    def _check_parameters(self, estimator: Any, n_rows: int, is_weighted: bool) -> None:
        """Refuse parameters that are invalid for these rows."""
        raise NotImplementedError

    def _check_time(self) -> None:
        """Refuse parameters that would use later rows."""
        raise NotImplementedError

    def _describe_time(self) -> list[str]:
        """Return remarks on scores that use earlier rows alone."""
        raise NotImplementedError

    def _fit_rows(
        self, rows: LabelledRows, trusted: LabelledRows | None, learner: Learner
    ) -> Any:
        """Choose rows, set the fitted attributes, and return the report."""
        raise NotImplementedError

    def _check_kind(self) -> None:
        """Refuse what is neither classifier nor regressor."""
        estimator = self.estimator
        if estimator is not None and not (
            hasattr(estimator, "get_params")
            and (is_classifier(estimator) or is_regressor(estimator))
        ):
            raise TypeError(
                f"Got estimator={estimator!r}; expected a scikit-learn classifier or "
                "regressor, such as LGBMClassifier()."
            )

    def _is_classification(self, y: NDArray[Any]) -> bool:
        if self.estimator is None:
            return not type_of_target(y).startswith("continuous")
        return bool(is_classifier(self.estimator))

    def _resolve_estimator(self) -> Any:
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
        if not self._n_classes:
            return lightgbm.LGBMRegressor(verbose=-1)
        return lightgbm.LGBMClassifier(verbose=-1)

    def _scorer(self) -> tuple[str, Callable[..., float] | None]:
        """Return the name of the reported score and its scorer; None by default."""
        scoring = self.scoring
        if scoring is None:
            return "accuracy" if hasattr(self, "classes_") else "r2", None
        if callable(scoring):
            return getattr(scoring, "__name__", repr(scoring)), scoring
        return str(scoring), get_scorer(scoring)

    @property
    def _n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(getattr(self, "classes_", ()))

    @property
    def _task(self) -> str:
        """Kind of target."""
        if not self._n_classes:
            return "regression"
        return "binary" if self._n_classes == 2 else "multiclass"

    @available_if(_estimator_has("predict"))
    def predict(self, X: Any) -> NDArray[Any]:
        """Predict with the final model."""
        return self._call("predict", X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probabilities of the classes with the final model."""
        return self._call("predict_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute the final model's decision function."""
        return self._call("decision_function", X)

    @available_if(_estimator_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score the final model with its `score` method."""
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        X = self._open_rows(X, y=y, sample_weight=sample_weight)
        return float(self.estimator_.score(X, y, **weights))

    def _call(self, name: str, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(self._open_rows(X))

    def _open_rows(self, X: Any, **values: Any) -> Any:
        """Check rows to predict against the train rows, for the estimator's library."""
        X = open_rows(X, **values)
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, skip_check_array=True, reset=False)
        names = column_names(X)
        if names is not None and self._column_names is not None:
            check_columns(names, self._column_names)
        return readable_rows(self.estimator_, X)

    def __sklearn_clone__(self) -> Self:
        # scikit-learn cannot clone every estimator inside
        copied: Self = rebuild(self)
        return copied

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
    """Defer warnings and issue each once; of treeinf's, one per category.

    Tables may have duplicates, so that unseen rows equal train rows: no warning. The
    filter is applied here, because filters are not safe in the threads of copies.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        seen = set()
        for warning in caught:
            if issubclass(warning.category, SelfExplanationWarning):
                continue
            is_ours = issubclass(warning.category, TreeinfWarning)
            key = (warning.category, "" if is_ours else str(warning.message))
            if key not in seen:
                seen.add(key)
                warnings.warn_explicit(
                    warning.message,
                    warning.category,
                    warning.filename,
                    warning.lineno,
                )
