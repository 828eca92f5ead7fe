"""Train copies of an estimator: seeds, threads, weights, and their predictions."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.dummy import DummyClassifier, DummyRegressor
from threadpoolctl import ThreadpoolController

from treeinf.dtypes import REAL
from treeinf.frames import count_rows, to_pandas
from treeinf.kernels.threads import check_n_jobs
from treeinf.training.cloning import (
    BOOSTERS,
    clone_estimator,
    find_package,
    last_step,
)
from treeinf.training.early_stopping import (
    find_iterations,
    find_stopping,
    has_eval_set,
)
from treeinf.training.parallel import Progress, run_tasks
from treeinf.training.rows import LabelledRows

__all__ = [
    "Learner",
    "accepts_weights",
    "check_trainable",
    "copy_estimator",
    "find_library",
    "is_constant",
    "readable_rows",
]

_THREADS = ("n_jobs", "thread_count", "nthread", "num_threads")
_SEEDS = ("random_state", "random_seed")
_VERBOSITY = {"verbose", "silent", "logging_level", "verbose_eval"}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Train unfitted copies of one estimator, several at a time, and predict.

    Copies differ in their rows and seeds alone, so that the worker that trains one
    changes nothing.

    Parameters
    ----------
    estimator : estimator
        Estimator to copy; it is never fitted itself.
    classes : ndarray or None
        Labels in order; None for regression.
    n_jobs : int or None
        Copies that `run` trains in parallel; None or -1 for one per core, see
        `check_n_jobs`.
    progress : Progress or None
        Advanced by every copy that `run` trains.
    isolated : bool, default=False
        How seeds and threads are set, see `copy_estimator`.
    fit_params : mapping of str to Any, default={}
        Further arguments of fit, the same for every copy.
    """

    estimator: Any
    classes: NDArray[Any] | None
    n_jobs: int | None = None
    progress: Progress | None = None
    isolated: bool = False
    fit_params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def n_workers(self) -> int:
        """Copies trained in parallel."""
        return check_n_jobs(self.n_jobs)

    def copy(self, seed: int) -> Any:
        """Return an unfitted copy; see `copy_estimator`."""
        return copy_estimator(self.estimator, seed, isolated=self.isolated)

    def fit(self, rows: LabelledRows, seed: int) -> Any:
        """Train a copy.

        Most estimators reject single rows and rows of a single class, for which a
        constant model is returned, see `is_constant`. One that stops early on an
        eval_set, and is passed none, finds its number of iterations on some of these
        rows first, see `find_iterations`.
        """
        estimator = self.copy(seed)
        if rows.code is None and rows.n_rows == 1:
            return DummyRegressor().fit(np.zeros((1, 1)), rows.y)
        if rows.code is not None and (rows.code == rows.code[0]).all():
            return DummyClassifier().fit(np.zeros((rows.n_rows, 1)), rows.y)
        if rows.code is not None and find_library(estimator) == "xgboost":
            _check_class_numbers(rows.y)
        rows = dataclasses.replace(rows, X=readable_rows(estimator, rows.X))
        arguments = {
            # callbacks have state
            name: copy.deepcopy(value) if name.endswith("callbacks") else value
            for name, value in self.fit_params.items()
        }
        with self.limit_threads():
            if find_stopping(estimator, arguments) and not has_eval_set(arguments):
                estimator, arguments = find_iterations(estimator, rows, arguments, seed)
            if rows.weight is not None:
                keyword = _weight_keyword(estimator)
                assert keyword is not None
                arguments[keyword] = rows.weight
                _route_weights(estimator)
            return estimator.fit(rows.X, rows.y, **arguments)

    def limit_threads(self) -> contextlib.AbstractContextManager[Any]:
        """Let a copy use one thread where its library has no parameter for them.

        So has scikit-learn's histogram boosting.
        """
        if find_library(self.estimator) not in BOOSTERS:
            return _find_thread_pools(len(sys.modules)).limit(
                limits=1, user_api="openmp"
            )
        return contextlib.nullcontext()

    def predict(
        self, model: Any, X: Any, met: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Predict values, or the probabilities of all classes.

        Parameters
        ----------
        model : estimator
            Returned by `fit`.
        X : array-like, sparse matrix or frame, shape (n_rows, n_features)
            Rows.
        met : ndarray of integer, optional
            Sorted numbers of the classes that the copy was trained on; by default from
            its ``classes_``.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            NaN in the columns of classes that the copy was not trained on.

        Raises
        ------
        ValueError
            If the predictions have an unexpected shape.
        """
        n_rows = count_rows(X)
        X = readable_rows(model, X)
        if self.classes is None:
            with self.limit_threads():
                values = np.asarray(model.predict(X), dtype=REAL).reshape(-1)
            return self._check_shape(values, (n_rows,))
        if met is None:
            met = np.searchsorted(self.classes, model.classes_)
        result = np.full((n_rows, len(self.classes)), np.nan)
        if hasattr(model, "predict_proba"):
            with self.limit_threads():
                values = np.asarray(model.predict_proba(X), dtype=REAL)
            result[:, met] = self._check_shape(values, (n_rows, len(met)))
        else:
            result[:, met] = 0.0
            codes = np.searchsorted(self.classes, model.predict(X))
            result[np.arange(n_rows), codes] = 1.0
        return result

    def _check_shape(
        self, values: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        if values.shape != shape:
            raise ValueError(
                f"{type(self.estimator).__name__} predicted an array of shape "
                f"{values.shape}; expected {shape}."
            )
        return values

    def fit_task(self, rows: LabelledRows, seed: int) -> Callable[[], Any]:
        """Return a task for `run` that trains one copy."""
        return functools.partial(self.fit, rows, seed)

    def run(self, tasks: Sequence[Callable[[], T]], stage: str) -> Iterator[T]:
        """Run tasks that train copies, and yield their results in order.

        Parameters
        ----------
        tasks : sequence of callable
            Each trains one copy.
        stage : str
            Name of the stage, for the progress bar.

        Notes
        -----
        Threads, because the libraries release the GIL while they train; processes can
        be chosen with `joblib.parallel_config`.
        """
        for result in run_tasks(tasks, self.n_workers):
            if self.progress is not None:
                self.progress.step(stage)
            yield result


@functools.lru_cache(maxsize=1)
def _find_thread_pools(n_modules: int) -> ThreadpoolController:
    """Find the loaded thread pools; a search takes longer than many a fit.

    The number of imported modules tells whether there can be others than last time.
    """
    return ThreadpoolController()


def _check_class_numbers(y: NDArray[Any]) -> None:
    """Refuse labels that XGBoost's classifier cannot be trained on."""
    labels, counts = np.unique(y, return_counts=True)
    if labels.dtype.kind in "biuf" and (labels == np.arange(len(labels))).all():
        return
    listed = ", ".join(
        f"{label!r} ({count:,} rows)"
        for label, count in zip(labels[:6].tolist(), counts.tolist(), strict=False)
    )
    raise ValueError(
        "XGBClassifier needs class numbers from 0 without a gap; the rows of this copy "
        f"have the labels {listed}. Number them with sklearn's LabelEncoder, and drop "
        "or merge classes of so few rows that parts of the table have none."
    )


def is_constant(model: Any) -> bool:
    """Return whether a copy is a constant model; see `Learner.fit`."""
    return isinstance(model, DummyClassifier | DummyRegressor)


def copy_estimator(
    estimator: Any, seed: int, *, isolated: bool = True, replace_seeds: bool = False
) -> Any:
    """Return an unfitted copy with its seeds and threads set.

    Parameters
    ----------
    estimator : estimator
        Fitted or not; its parameters are copied.
    seed : int
        Seed for the copy.
    isolated : bool, default=True
        True, for explainers and experiments that retrain: one thread, since sums depend
        on the number of threads; `seed` replaces seeds that are None, except those of
        LightGBM, XGBoost and CatBoost, which have a fixed default; CatBoost is silent
        and writes no files. False, for cleaning and selection: the estimator keeps its
        parameters; `seed` replaces every seed that is None, and boosting libraries get
        one thread if the number is None. Results differ between the two.
    replace_seeds : bool, default=False
        Set all seeds, also those that are not None and those of the three libraries.

    Returns
    -------
    estimator
    """
    estimator = clone_estimator(estimator)
    parameters = estimator.get_params(deep=True)
    changes: dict[str, Any] = {}
    for name, value in parameters.items():
        prefix, _, last = name.rpartition("__")
        library = find_package(parameters[prefix] if prefix else estimator)
        if last in _THREADS:
            # None is one thread in scikit-learn, and every core elsewhere
            if isolated or (value is None and library != "sklearn"):
                changes[name] = 1
        elif last in _SEEDS:
            has_default = isolated and library in BOOSTERS
            if replace_seeds or (value is None and not has_default):
                changes[name] = seed
    last = last_step(estimator)
    if isolated and find_package(last) == "catboost":
        _isolate_catboost(last, seed if replace_seeds else None)
    return estimator.set_params(**changes)


def _isolate_catboost(estimator: Any, seed: int | None) -> None:
    """Set parameters that CatBoost's get_params omits unless they were passed."""
    passed = set(estimator.get_params())
    # copies would all write to the same folder
    changes: dict[str, Any] = {"thread_count": 1, "allow_writing_files": False}
    if not _VERBOSITY & passed:
        changes["verbose"] = False
    if seed is not None and not passed & set(_SEEDS):
        changes["random_seed"] = seed
    estimator.set_params(**changes)


def readable_rows(estimator: Any, X: Any) -> Any:
    """Convert rows to a type that the estimator's library can read.

    Parameters
    ----------
    estimator : estimator
        Estimator that is trained on the rows or predicts them. Pipelines get the rows
        as they are: only the caller knows what their first step reads.
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    pandas.DataFrame, or the type of `X`

    Notes
    -----
    LightGBM 4.6 trains on no frames but those of pandas. LightGBM 4.7 and CatBoost 1.2
    read numbers from frames of polars, and end the whole process where one has a
    categorical column; CatBoost does not take those of pyarrow.
    """
    return to_pandas(X) if find_package(estimator) in ("catboost", "lightgbm") else X


def check_trainable(estimator: Any) -> None:
    """Refuse what cannot be trained again.

    Raises
    ------
    TypeError
        If it has no fit, predict and get_params.
    """
    if isinstance(estimator, type) or not all(
        hasattr(estimator, name) for name in ("fit", "predict", "get_params")
    ):
        raise TypeError(
            f"Got {estimator!r:.200} of type {type(estimator).__name__}; retraining "
            "needs an estimator with fit, predict and get_params, fitted or not, such "
            "as LGBMClassifier or a pipeline. Boosters, files and TreeEnsembles cannot "
            "be retrained."
        )


def accepts_weights(estimator: Any) -> bool:
    """Return whether the estimator, or a pipeline's last step, takes row weights."""
    return _weight_keyword(estimator) is not None


def find_library(estimator: Any) -> str:
    """Return the package of the estimator, or of a pipeline's last step."""
    return find_package(last_step(estimator))


def _weight_keyword(estimator: Any) -> str | None:
    """Name the argument of fit that carries the row weights."""
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        inner = _weight_keyword(last)
        if inner is None or get_config()["enable_metadata_routing"]:
            # each step has said whether it takes them, see `_route_weights`
            return inner
        return f"{name}__{inner}"
    if "sample_weight" in inspect.signature(estimator.fit).parameters:
        return "sample_weight"
    return None


def _route_weights(estimator: Any) -> None:
    """Route the weights to the last step of a pipeline, where no step requests them.

    With scikit-learn's metadata routing a pipeline asks its steps which of them take
    weights. Without routing only the last step gets them; the same is set up here.
    """
    if not hasattr(estimator, "steps") or not get_config()["enable_metadata_routing"]:
        return
    *before, last = (step for _, step in estimator.steps)
    for step, is_requested in [*((step, False) for step in before), (last, True)]:
        if hasattr(step, "steps"):
            _route_weights(step)
        elif hasattr(step, "set_fit_request") and (
            "sample_weight" in inspect.signature(step.fit).parameters
            and step.get_metadata_routing().fit.requests.get("sample_weight") is None
        ):
            step.set_fit_request(sample_weight=is_requested)
