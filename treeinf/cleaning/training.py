"""Rows with their labels, and copies of the user's estimator trained on them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from tqdm.auto import tqdm

from treeinf.kernels.threads import check_n_jobs
from treeinf.training.learner import readable_rows
from treeinf.validation import take_rows

__all__ = [
    "CopyTrainer",
    "Costs",
    "LabelledRows",
    "Progress",
    "accepts_weights",
    "is_constant",
]

_THREAD_PARAMETERS = ("n_jobs", "thread_count")
_SEED_PARAMETERS = ("random_state", "random_seed")


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows of the caller's own type with labels and weights.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Features.
    y : ndarray, shape (n_rows,)
        The caller's labels, or float64 targets.
    code : ndarray of int64, shape (n_rows,), or None
        Number of each label among the classes; None for regression.
    weight : ndarray of float64, shape (n_rows,), or None
        Weights; None for 1.
    """

    X: Any
    y: NDArray[Any]
    code: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def take(self, rows: NDArray[np.integer[Any]]) -> LabelledRows:
        """Give some of the rows, by position."""
        return LabelledRows(
            take_rows(self.X, rows),
            self.y[rows],
            None if self.code is None else self.code[rows],
            None if self.weight is None else self.weight[rows],
        )


@dataclasses.dataclass(eq=False)
class Costs:
    """Time taken and copies trained, added up as the work goes on.

    Parameters
    ----------
    seconds : dict of str to float
        Wall time by what it was spent on.
    n_fits : int
        Copies trained.
    """

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    n_fits: int = 0

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time inside the ``with`` block to an entry of `seconds`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = (
                self.seconds.get(name, 0.0) + time.perf_counter() - begin
            )


def accepts_weights(estimator: Any) -> bool:
    """Tell whether the estimator, or the last step of a pipeline, takes row weights."""
    return _weight_keyword(estimator) is not None


def _weight_keyword(estimator: Any) -> str | None:
    """Name the argument of fit that carries the row weights."""
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        inner = _weight_keyword(last)
        if inner is None or get_config()["enable_metadata_routing"]:
            # each step has said whether it wants them, see `_route_weights`
            return inner
        return f"{name}__{inner}"
    if "sample_weight" in inspect.signature(estimator.fit).parameters:
        return "sample_weight"
    return None


def _route_weights(estimator: Any) -> None:
    """Let the last step of a pipeline have the weights, where nobody has said so.

    With scikit-learn's metadata routing a pipeline asks its steps who wants them. The
    cleaner's caller has given it weights for its copies; that the steps before the last
    do without them is what pipelines do without routing, too.
    """
    if not hasattr(estimator, "steps") or not get_config()["enable_metadata_routing"]:
        return
    *before, last = (step for _, step in estimator.steps)
    for step, wants in [*((step, False) for step in before), (last, True)]:
        if hasattr(step, "steps"):
            _route_weights(step)
        elif hasattr(step, "set_fit_request") and (
            "sample_weight" in inspect.signature(step.fit).parameters
            and step.get_metadata_routing().fit.requests.get("sample_weight") is None
        ):
            step.set_fit_request(sample_weight=wants)


class Progress:
    """One bar for all models that are to be trained, with the time left.

    Parameters
    ----------
    what : str
        What is done, before the bar.
    is_shown : bool
        Whether to show it.
    """

    def __init__(self, what: str, *, is_shown: bool) -> None:
        self._bar = tqdm(desc=what, total=0, unit="model", disable=not is_shown)

    def expect(self, n_models: int) -> None:
        """Announce models; the time left is estimated from those announced."""
        self._bar.total += n_models
        self._bar.refresh()

    def step(self, stage: str) -> None:
        """Count one model as trained."""
        self._bar.set_postfix_str(stage, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def is_constant(model: Any) -> bool:
    """Tell whether a copy is the constant that stands in where none can be trained."""
    return isinstance(model, DummyClassifier | DummyRegressor)


@dataclasses.dataclass(frozen=True, eq=False)
class CopyTrainer:
    """Trains unfitted copies of one estimator, several at a time.

    Copies differ in their rows and seeds alone, so which thread trains one changes
    nothing. Unless the estimator says how many threads it wants, each copy has one:
    the copies are what runs in parallel.

    Parameters
    ----------
    estimator : estimator
        What to copy; it is never fitted itself.
    classes : ndarray or None
        Labels in order; None for regression.
    n_jobs : int or None
        Copies trained at a time; None for 1, -1 for one a core.
    progress : Progress or None
        Told of every copy trained by `run`.
    """

    estimator: Any
    classes: NDArray[Any] | None
    n_jobs: int | None = None
    progress: Progress | None = None

    @property
    def n_workers(self) -> int:
        """Copies trained at a time."""
        return 1 if self.n_jobs is None else check_n_jobs(self.n_jobs)

    def copy(self, seed: int) -> Any:
        """Give an unfitted copy; its seeds are set where the estimator has none."""
        estimator = clone(self.estimator)
        parameters = estimator.get_params(deep=True)
        wanted: dict[str, int] = {}
        for name, value in parameters.items():
            prefix, _, last = name.rpartition("__")
            owner = parameters[prefix] if prefix else estimator
            if value is None and last in _SEED_PARAMETERS:
                wanted[name] = seed
            # None is one thread in scikit-learn, and every core elsewhere
            elif (
                value is None and last in _THREAD_PARAMETERS and not _is_sklearn(owner)
            ):
                wanted[name] = 1
        return estimator.set_params(**wanted)

    def fit(self, rows: LabelledRows, seed: int) -> Any:
        """Train a copy; a single row, or rows of one class, give a constant model."""
        estimator = self.copy(seed)
        if rows.code is None and rows.n_rows == 1:
            return DummyRegressor().fit(np.zeros((1, 1)), rows.y)
        if rows.code is not None and (rows.code == rows.code[0]).all():
            return DummyClassifier().fit(np.zeros((rows.n_rows, 1)), rows.y)
        arguments: dict[str, Any] = {}
        if rows.weight is not None:
            keyword = _weight_keyword(estimator)
            assert keyword is not None
            arguments[keyword] = rows.weight
            _route_weights(estimator)
        return estimator.fit(readable_rows(estimator, rows.X), rows.y, **arguments)

    def predict(self, model: Any, rows: LabelledRows) -> NDArray[np.float64]:
        """Predict values, or the probabilities of all classes.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            NaN in the columns of classes that the copy has never met.
        """
        X = readable_rows(model, rows.X)
        if self.classes is None:
            return np.asarray(model.predict(X), dtype=np.float64).reshape(-1)
        result = np.full((rows.n_rows, len(self.classes)), np.nan)
        columns = np.searchsorted(self.classes, model.classes_)
        if hasattr(model, "predict_proba"):
            result[:, columns] = model.predict_proba(X)
        else:
            result[:, columns] = 0.0
            codes = np.searchsorted(self.classes, model.predict(X))
            result[np.arange(rows.n_rows), codes] = 1.0
        return result

    def run(self, tasks: Sequence[Callable[[], Any]], stage: str) -> Iterator[Any]:
        """Run tasks a few at a time and give their results in order as they come.

        Parameters
        ----------
        tasks : sequence of callable
            Each trains a copy.
        stage : str
            What is being done, for the progress bar.

        Notes
        -----
        Threads, because the libraries train outside Python's lock; a process pool can
        be chosen with `joblib.parallel_config`.
        """
        results: Iterator[Any]
        if self.n_workers == 1:
            results = (task() for task in tasks)
        else:
            results = Parallel(
                n_jobs=self.n_workers, prefer="threads", return_as="generator"
            )(delayed(_call)(task) for task in tasks)
        for result in results:
            if self.progress is not None:
                self.progress.step(stage)
            yield result

    def fit_task(self, rows: LabelledRows, seed: int) -> Callable[[], Any]:
        """Give a call that trains one copy."""
        return functools.partial(self.fit, rows, seed)


def _is_sklearn(estimator: Any) -> bool:
    return type(estimator).__module__.partition(".")[0] == "sklearn"


def _call(task: Callable[[], Any]) -> Any:
    return task()
