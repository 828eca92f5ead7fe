"""Copies of an estimator trained on some of the rows, several at a time."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from treeinf.dtypes import REAL
from treeinf.kernels.threads import check_n_jobs
from treeinf.training.encoding import Task
from treeinf.validation import check_weights, count_rows, take_rows, to_pandas

__all__ = [
    "Learner",
    "Results",
    "check_random_state",
    "copy_estimator",
    "derive_seed",
    "readable_rows",
    "run_tasks",
]

_BOOSTERS = ("catboost", "lightgbm", "xgboost")
_THREADS = ("n_jobs", "thread_count", "nthread", "num_threads")
_SEEDS = ("random_state", "random_seed")
_STOPPING = ("early_stopping_rounds", "early_stopping_round")
_LARGEST_CHUNK = 16


class Results(Protocol):
    """Where results of tasks are kept, by number."""

    def __contains__(self, number: object) -> bool: ...

    def read(self, number: int) -> NDArray[np.float64]:
        """Give a result that is there."""

    def append(self, number: int, result: NDArray[np.float64]) -> None:
        """Keep a result."""


def derive_seed(*key: int) -> int:
    """Make a seed for one purpose out of the numbers that name it.

    Returns
    -------
    int
        In [0, 2**31).
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)


def check_random_state(random_state: Any) -> int:
    """Turn `random_state` into a seed; None draws one.

    Raises
    ------
    TypeError, ValueError
        If it is neither None nor an integer of at least 0.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, bool) or not isinstance(random_state, numbers.Integral):
        raise TypeError(
            f"Got random_state={random_state!r}; expected None or an integer."
        )
    if random_state < 0:
        raise ValueError(
            f"Got random_state={random_state!r}; expected an integer of at least 0."
        )
    return int(random_state)


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Trains copies of one estimator on some of the train rows, and predicts.

    Make it with `read`. Each copy has one thread whatever the estimator says, since
    libraries add up in another order with another number of threads: the copies are
    what runs in parallel, and their predictions have the same bits for any number of
    processes.

    Parameters
    ----------
    estimator : estimator
        What to copy; never fitted itself.
    X : array-like, sparse matrix or frame, shape (n_train, n_features)
        Train rows, see `readable_rows`.
    target : ndarray of float64, shape (n_train,)
        Class numbers or values.
    task : Task
        The classes, or regression.
    weight : ndarray of float64, shape (n_train,), or None
        Weights; None for 1.
    by : {"drop", "weight"}
        Leave rows out of the table, or give them weight 0.
    """

    estimator: Any
    X: Any
    target: NDArray[np.float64]
    task: Task
    weight: NDArray[np.float64] | None
    by: str

    @classmethod
    def read(
        cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None, by: str = "drop"
    ) -> Learner:
        """Check that the estimator can be trained again, on these rows.

        Raises
        ------
        TypeError
            If it is not an estimator, or cannot do what is needed.
        ValueError
            If rows, targets, weights or `by` do not fit.
        """
        if by not in ("drop", "weight"):
            raise ValueError(f"Got by={by!r}; expected 'drop' or 'weight'.")
        estimator = _check_estimator(estimator)
        n_train = count_rows(X)
        if n_train < 2:
            raise ValueError(f"X has {n_train} rows; at least 2 are needed.")
        task = Task.read(estimator, y)
        if task.classes is not None and not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"{type(estimator).__name__} has no predict_proba, which the log loss "
                "needs; use a classifier that predicts probabilities."
            )
        weight = check_weights(sample_weight, n_train)
        if _weight_keyword(estimator) is None and (weight is not None or by != "drop"):
            what = "by='weight'" if weight is None else "sample_weight"
            raise TypeError(
                f"{type(estimator).__name__}.fit takes no sample_weight, which {what} "
                "needs."
            )
        target = task.encode(y, n_train)
        return cls(estimator, readable_rows(estimator, X), target, task, weight, by)

    @property
    def n_train(self) -> int:
        """Number of train rows."""
        return len(self.target)

    def predict_nothing(self, n_rows: int) -> NDArray[np.float64]:
        """Give the prediction of a copy without any rows: the train rows' base rate.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            The weighted mean of all train targets, or the shares of the classes.
        """
        if self.task.classes is None:
            mean = np.average(self.target, weights=self.weight)
            return np.full(n_rows, mean)
        codes = self.target.astype(np.intp)
        shares = np.bincount(codes, self.weight, minlength=self.task.n_classes)
        return np.tile(shares / shares.sum(), (n_rows, 1))

    def fit_predict(
        self, is_in: NDArray[np.bool_], seed: int, X: Any
    ) -> NDArray[np.float64]:
        """Train a copy on some of the rows and predict others.

        Parameters
        ----------
        is_in : ndarray of bool, shape (n_train,)
            The rows to train on.
        seed : int
            For the estimator's seeds that are not set.
        X : array-like or frame, shape (n_rows, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            Values, or probabilities of all classes of the train rows; 0 for classes
            that the copy has not met. Rows of one class alone, and a single row, are
            not handed to the estimator, since most refuse them: their class has
            probability 1, their target is the prediction. No rows predict the base
            rate.
        """
        n_rows = count_rows(X)
        X = readable_rows(self.estimator, X)
        seen = is_in if self.weight is None else is_in & (self.weight > 0.0)
        target = self.target[seen]
        if not target.size:
            return self.predict_nothing(n_rows)
        if self.task.classes is None:
            if len(target) == 1:
                return np.full(n_rows, target[0])
            model = self._fit(is_in, seed, self.target)
            values = np.asarray(model.predict(X), dtype=REAL).reshape(-1)
            return self._check_shape(values, (n_rows,))
        result = np.zeros((n_rows, self.task.n_classes))
        codes = self.target.astype(np.intp)
        if (target == target[0]).all():
            result[:, int(target[0])] = 1.0
            return result
        met = np.arange(self.task.n_classes)
        if self.by == "drop":
            met = np.unique(codes[is_in])
        labels = self.task.classes[codes]
        if _package(_last_step(self.estimator)) == "xgboost":
            # it wants numbers from 0 without a gap
            labels = np.searchsorted(met, codes)
        model = self._fit(is_in, seed, labels)
        values = np.asarray(model.predict_proba(X), dtype=REAL)
        result[:, met] = self._check_shape(values, (n_rows, len(met)))
        return result

    def _fit(self, is_in: NDArray[np.bool_], seed: int, y: NDArray[Any]) -> Any:
        estimator = copy_estimator(self.estimator, seed)
        weight = self.weight
        X = self.X
        if self.by == "weight":
            weight = is_in.astype(REAL) if weight is None else weight * is_in
        elif not is_in.all():
            X, y = take_rows(X, is_in), y[is_in]
            weight = None if weight is None else weight[is_in]
        arguments: dict[str, Any] = {}
        if weight is not None:
            keyword = _weight_keyword(estimator)
            assert keyword is not None
            arguments[keyword] = weight
        if _package(_last_step(estimator)) in _BOOSTERS:
            return estimator.fit(X, y, **arguments)
        # scikit-learn's boosting has no parameter for threads
        with threadpool_limits(1, user_api="openmp"):
            return estimator.fit(X, y, **arguments)

    def _check_shape(
        self, values: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        if values.shape != shape:
            raise ValueError(
                f"{type(self.estimator).__name__} predicted an array of shape "
                f"{values.shape}; expected {shape}."
            )
        return values


def copy_estimator(estimator: Any, seed: int, *, replace_seeds: bool = False) -> Any:
    """Give an unfitted, quiet copy of one thread, its open seeds set.

    Parameters
    ----------
    estimator : estimator
        Fitted or not; its parameters are copied.
    seed : int
        For seeds that are not set, but those of LightGBM, XGBoost and CatBoost, which
        have a fixed one of their own.
    replace_seeds : bool, default=False
        Set all seeds, those that are set and those of the three libraries too.

    Returns
    -------
    estimator
    """
    estimator = _clone(estimator)
    parameters = estimator.get_params(deep=True)
    wanted: dict[str, Any] = {}
    for name, value in parameters.items():
        prefix, _, last = name.rpartition("__")
        owner = parameters[prefix] if prefix else estimator
        package = _package(owner)
        if last in _THREADS:
            wanted[name] = 1
        # without a seed, the boosting libraries have one of their own
        elif last in _SEEDS and (
            replace_seeds or (value is None and package not in _BOOSTERS)
        ):
            wanted[name] = seed
    last_step = _last_step(estimator)
    if _package(last_step) == "catboost":
        given = last_step.get_params()
        quiet: dict[str, Any] = {"thread_count": 1}
        if not {"verbose", "silent", "logging_level", "verbose_eval"} & set(given):
            quiet["verbose"] = False
        # copies would all write to the same folder
        quiet["allow_writing_files"] = False
        # it lists only the parameters that it was given
        if replace_seeds and not set(_SEEDS) & set(given):
            quiet["random_seed"] = seed
        last_step.set_params(**quiet)
    return estimator.set_params(**wanted)


def readable_rows(estimator: Any, X: Any) -> Any:
    """Give rows in a form that the estimator's library can read.

    Parameters
    ----------
    estimator : estimator
        Who is to be trained on them, or to predict them. What the first step of a
        pipeline reads is known to the caller alone.
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
    return to_pandas(X) if _package(estimator) in ("catboost", "lightgbm") else X


def _check_estimator(estimator: Any) -> Any:
    if isinstance(estimator, type) or not all(
        hasattr(estimator, name) for name in ("fit", "predict", "get_params")
    ):
        raise TypeError(
            f"Got {estimator!r:.200} of type {type(estimator).__name__}; training "
            "again needs an estimator with fit, predict and get_params, fitted or not, "
            "such as LGBMClassifier or a pipeline. Boosters, files and TreeEnsembles "
            "cannot be trained again."
        )
    last = _last_step(estimator)
    if _package(last) in ("lightgbm", "xgboost"):
        given = last.get_params()
        found = [name for name in _STOPPING if given.get(name)]
        if found:
            raise ValueError(
                f"{type(last).__name__} has {found[0]}={given[found[0]]!r}, which "
                "needs rows to stop by; refits have none. Set it to None and "
                "n_estimators to the number of iterations wanted."
            )
    return _clone(estimator)


def _clone(estimator: Any) -> Any:
    """Give an unfitted copy."""
    if _package(estimator) == "catboost":
        # CatBoost copies lists it is given, which clone takes for a fault
        return type(estimator)(**copy.deepcopy(estimator.get_params()))
    return clone(estimator)


def _last_step(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _package(estimator: Any) -> str:
    for parent in type(estimator).__mro__:
        package = parent.__module__.partition(".")[0]
        if package in _BOOSTERS:
            return package
    return type(estimator).__module__.partition(".")[0]


def _weight_keyword(estimator: Any) -> str | None:
    """Name the argument of fit that carries the row weights."""
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        inner = _weight_keyword(last)
        return None if inner is None else f"{name}__{inner}"
    if "sample_weight" in inspect.signature(estimator.fit).parameters:
        return "sample_weight"
    return None


def run_tasks(
    task: Callable[[int], NDArray[np.float64]],
    wanted: Sequence[int],
    *,
    results: Results | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
    what: str = "",
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Run numbered tasks, a few at a time, and give their results in order.

    Parameters
    ----------
    task : callable
        Gives the result of a number; pickled where there are several processes.
    wanted : sequence of int
        Numbers.
    results : Results, optional
        Where results are looked up first and kept as they come.
    n_jobs : int or None
        Processes; None or -1 for all.
    verbose : bool
        Show a progress bar.
    what : str
        Its name.

    Yields
    ------
    number : int
        In the order of `wanted`.
    result : ndarray of float64
        Its result, the same for any number of processes.

    Notes
    -----
    Another backend of joblib can be chosen with `joblib.parallel_config`.
    """
    missing = [n for n in wanted if results is None or n not in results]
    workers = min(check_n_jobs(n_jobs), len(missing))
    fresh: Iterator[NDArray[np.float64]]
    if workers <= 1:
        fresh = (task(number) for number in missing)
    else:
        # the rows travel with every chunk, so that few are better than many
        size = min(_LARGEST_CHUNK, max(1, len(missing) // (4 * workers)))
        chunks = [missing[i : i + size] for i in range(0, len(missing), size)]
        parallel = Parallel(n_jobs=workers, prefer="processes", return_as="generator")
        fresh = itertools.chain.from_iterable(
            parallel(delayed(_run_chunk)(task, chunk) for chunk in chunks)
        )
    to_do = set(missing)
    for number in tqdm(wanted, desc=what, unit="fit", disable=not verbose):
        if number not in to_do:
            assert results is not None
            yield number, results.read(number)
            continue
        result = next(fresh)
        if results is not None:
            results.append(number, result)
        yield number, result


def _run_chunk(
    task: Callable[[int], NDArray[np.float64]], chunk: Sequence[int]
) -> list[NDArray[np.float64]]:
    return [task(number) for number in chunk]
