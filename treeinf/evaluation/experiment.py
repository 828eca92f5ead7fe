"""Train an estimator on a split, and copies of it on other rows or targets."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score

from treeinf.explainers.baselines.row_score import RowScore
from treeinf.explainers.retraining.base import RetrainingExplainer, score_prediction
from treeinf.frames import count_rows, row_labels, take_rows
from treeinf.training.checkpoint import describe_estimator
from treeinf.training.learner import copy_estimator
from treeinf.training.parallel import run_numbered
from treeinf.training.row_groups import read_groups
from treeinf.training.seeds import check_random_state, derive_seed
from treeinf.training.subsets import SubsetLearner
from treeinf.validation import open_rows

__all__ = [
    "Experiment",
    "Spent",
    "Training",
    "check_shares",
    "count_share",
    "fit_method",
    "import_pandas",
    "sort_down",
    "start_clock",
]

_MOST_CACHED, _MOST_BYTES = 8, 2**24
_cache: dict[str, tuple[NDArray[np.float64], Spent]] = {}
"""Latest results of retraining explainers, by a hash of all that they depend on.

Successive measures on the same rows reuse them.
"""


class Spent(NamedTuple):
    """Time that something took.

    Parameters
    ----------
    seconds : float
        Wall time.
    cpu_seconds : float
        CPU time of all threads of this process, without other processes; it depends
        little on the load of the machine.
    """

    seconds: float
    cpu_seconds: float


def start_clock() -> Callable[[], Spent]:
    """Start a clock; the function returned measures the time since."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: Spent(time.perf_counter() - wall, time.process_time() - cpu)


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """Rows and targets that a copy of the estimator is trained on.

    Parameters
    ----------
    kept : ndarray of bool, shape (n_train,), or None
        The rows; None for all.
    target : ndarray of float64, shape (n_train,), or None
        Class numbers or values instead of the true ones; None for the true ones.
    """

    kept: NDArray[np.bool_] | None = None
    target: NDArray[np.float64] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """An estimator, its train rows, and the test rows that evaluate it.

    Created by `read`. What is removed, corrupted or held out at a time is a unit: a
    train row, or a group of them where groups are passed.

    Parameters
    ----------
    learner : SubsetLearner
        Trains copies.
    X_train, X_test : array-like or frame
        Rows.
    y_train, y_test : ndarray
        Their targets as passed by the caller.
    target_test : ndarray of float64, shape (n_test,)
        Class numbers or values of the test rows.
    weight : ndarray of float64, shape (n_train,), or None
        Weights of the train rows.
    group : ndarray of int64, shape (n_train,), or None
        Group of each train row, from 0 in the order of their first rows.
    seed : int
        Seed of all random draws.
    n_jobs : int or None
        Copies trained at a time.
    verbose : bool
        Whether to show progress bars.
    """

    learner: SubsetLearner
    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    target_test: NDArray[np.float64]
    weight: NDArray[np.float64] | None
    group: NDArray[np.int64] | None
    seed: int
    n_jobs: int | None
    verbose: bool

    @classmethod
    def read(
        cls,
        estimator: Any,
        X_train: Any,
        y_train: Any,
        X_test: Any,
        y_test: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> Experiment:
        """Validate the estimator, rows and targets.

        Raises
        ------
        TypeError, ValueError
            If the estimator cannot be retrained, or rows and targets do not fit.
        """
        for X, y, kind in ((X_train, y_train, "train"), (X_test, y_test, "test")):
            if count_rows(X) != count_rows(y):
                raise ValueError(
                    f"X_{kind} has {count_rows(X):,} rows, y_{kind} "
                    f"{count_rows(y):,}; expected equal lengths."
                )
        if not count_rows(X_test):
            raise ValueError("X_test has no rows.")
        X_train = open_rows(
            X_train, y_train=y_train, sample_weight=sample_weight, groups=groups
        )
        X_test = open_rows(X_test, y_test=y_test)
        learner = SubsetLearner.read(estimator, X_train, y_train, sample_weight)
        return cls(
            learner,
            X_train,
            np.asarray(y_train),
            X_test,
            np.asarray(y_test),
            learner.task.encode(y_test, count_rows(X_test)),
            learner.weight,
            None if groups is None else read_groups(groups, learner.n_train)[0],
            check_random_state(random_state),
            n_jobs,
            verbose,
        )

    @property
    def n_train(self) -> int:
        """Number of train rows."""
        return self.learner.n_train

    @property
    def n_units(self) -> int:
        """Number of groups, or of train rows where there are none."""
        return self.n_train if self.group is None else int(self.group.max()) + 1

    def find_rows(self, units: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return a mask of the train rows of some units."""
        is_chosen = np.zeros(self.n_units, dtype=np.bool_)
        is_chosen[units] = True
        return is_chosen if self.group is None else is_chosen[self.group]

    @property
    def n_test(self) -> int:
        """Number of test rows."""
        return len(self.target_test)

    @property
    def classifies(self) -> bool:
        """Whether the targets are classes."""
        return self.learner.task.classes is not None

    @property
    def test_labels(self) -> NDArray[Any]:
        """Labels of the test rows: the index of a pandas frame, or positions."""
        labels = row_labels(self.X_test)
        return np.arange(self.n_test) if labels is None else labels

    @property
    def weights(self) -> dict[str, Any]:
        """Keyword arguments of fit: the weights, if there are any."""
        return {} if self.weight is None else {"sample_weight": self.weight}

    def fit_arguments(self, method: Any) -> dict[str, Any]:
        """Return keyword arguments of a method's fit: weights, and groups it takes."""
        takes_groups = "groups" in inspect.signature(method.fit).parameters
        if isinstance(method, RowScore):
            takes_groups = method.leaves_groups_out
        if self.group is None or not takes_groups:
            return self.weights
        return {**self.weights, "groups": self.group}

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return an independent random generator for one purpose."""
        return np.random.default_rng([self.seed, *purpose])

    @functools.cached_property
    def model(self) -> Any:
        """Model fitted on all train rows, as `predict_with` trains ``Training()``."""
        model = copy_estimator(self.learner.estimator, derive_seed(self.seed))
        if self.learner.weight is None:
            return model.fit(self.X_train, self.y_train)
        return model.fit(self.X_train, self.y_train, sample_weight=self.weight)

    def influence(
        self, name: str, method: Any, ask: Callable[[Any], Any]
    ) -> tuple[NDArray[np.float64], Spent]:
        """Fit an explainer on `model` and query it; see `fit_method`."""
        arguments = self.fit_arguments(method)
        return fit_method(
            name, method, self.model, self.X_train, self.y_train, arguments, ask
        )

    def ask_units(
        self, fitted: Any, X: Any, y: Any, *, together: bool
    ) -> NDArray[np.float64]:
        """Query a fitted explainer for the influence of each unit on the loss of rows.

        The influence of a group is that of its removal as a whole where the explainer
        has `group_influence`, else the sum over its rows.

        Parameters
        ----------
        fitted : Explainer
            Fitted on the train rows.
        X, y
            Rows to explain, and their targets.
        together : bool
            Add up the rows.

        Returns
        -------
        ndarray of float64, shape (n_units, n_rows) or (n_units,)
        """
        if self.group is not None and hasattr(fitted, "group_influence"):
            influence = fitted.group_influence(self.group, X, y, output="loss").values
            return influence.sum(axis=1) if together else influence
        ask = fitted.total if together else fitted.explain
        influence = ask(X, y, output="loss").values
        if self.group is None:
            return influence
        summed = np.zeros((self.n_units, *influence.shape[1:]))
        np.add.at(summed, self.group, influence)
        return summed

    def explain(self, name: str, method: Any) -> tuple[NDArray[np.float64], Spent]:
        """Compute the influence of each unit on the loss of each test row.

        Parameters
        ----------
        name : str
            Of the method.
        method : Explainer
            To be fitted.

        Returns
        -------
        ndarray of float64, shape (n_units, n_test)
            Influence.
        Spent
            Time of fitting and explaining; that of the first call where a cached result
            of a retraining explainer is returned.
        """

        def ask(fitted: Any) -> Any:
            return self.ask_units(fitted, self.X_test, self.y_test, together=False)

        if not isinstance(method, RetrainingExplainer):
            return self.influence(name, method, ask)
        key = self._key(method)
        if key not in _cache:
            values, spent = self.influence(name, method, ask)
            if values.nbytes > _MOST_BYTES:
                return values, spent
            while len(_cache) >= _MOST_CACHED:
                _cache.pop(next(iter(_cache)))
            _cache[key] = values, spent
        values, spent = _cache[key]
        return values.copy(), spent

    def total(self, name: str, method: Any) -> tuple[NDArray[np.float64], Spent]:
        """Compute the influence of each unit on the summed loss of the test rows.

        Parameters
        ----------
        name, method
            See `explain`.

        Returns
        -------
        ndarray of float64, shape (n_units,)
            Influence.
        Spent
            Time of fitting and querying; see `explain`.
        """
        if isinstance(method, RetrainingExplainer):
            # summing saves no retraining
            values, spent = self.explain(name, method)
            return values.sum(axis=1), spent
        return self.influence(
            name,
            method,
            lambda fitted: self.ask_units(
                fitted, self.X_test, self.y_test, together=True
            ),
        )

    def _key(self, method: Any) -> str:
        """Return a hash of all that the results of a method depend on."""
        learner = self.learner
        content = (
            (type(method).__module__, type(method).__qualname__),
            sorted(method.get_params().items()),
            describe_estimator(learner.estimator),
            (learner.by, self.seed, self.weight, self.group),
            (self.X_train, self.y_train, self.X_test, self.y_test),
        )
        return str(joblib.hash(content))

    def labels_of(self, target: NDArray[np.float64]) -> NDArray[Any]:
        """Convert class numbers to the caller's labels; values stay the same."""
        classes = self.learner.task.classes
        return target if classes is None else classes[target.astype(np.intp)]

    def with_targets(self, target: NDArray[np.float64]) -> Experiment:
        """Return the same experiment with other train targets."""
        return dataclasses.replace(
            self,
            learner=dataclasses.replace(self.learner, target=target),
            y_train=self.labels_of(target),
        )

    def take_train(self, rows: NDArray[np.intp]) -> Experiment:
        """Return the same experiment on some of the train rows."""
        X = take_rows(self.X_train, rows)
        weight = None if self.weight is None else self.weight[rows]
        learner = dataclasses.replace(
            self.learner, X=X, target=self.learner.target[rows], weight=weight
        )
        group = None if self.group is None else read_groups(self.group[rows], len(rows))
        return dataclasses.replace(
            self,
            learner=learner,
            X_train=X,
            y_train=self.y_train[rows],
            weight=weight,
            group=None if group is None else group[0],
        )

    def predict_with(
        self, trainings: Sequence[Training], X: Any = None, *, what: str = "retraining"
    ) -> list[NDArray[np.float64]]:
        """Train a copy for each training, and predict rows.

        Parameters
        ----------
        trainings : sequence of Training
            What they are trained on.
        X : array-like or frame, optional
            Rows to predict; None for the test rows.
        what : str
            Name of the progress bar.

        Returns
        -------
        list of ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            Bitwise reproducible for any number of processes.
        """
        task = functools.partial(
            _predict,
            self.learner,
            trainings,
            derive_seed(self.seed),
            self.X_test if X is None else X,
        )
        results = run_numbered(
            task,
            range(len(trainings)),
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            label=what,
        )
        return [prediction for _, prediction in results]

    def test_row(self, row: int) -> tuple[Any, NDArray[Any]]:
        """Return one test row, as a table, and its target."""
        rows = np.array([row])
        return take_rows(self.X_test, rows), self.y_test[rows]

    def loss(
        self, prediction: NDArray[np.float64], rows: Any = slice(None)
    ) -> NDArray[np.float64]:
        """Compute the loss of test rows: log loss, or half the squared error."""
        target = self.target_test[rows]
        return score_prediction(self.learner.task, "loss", target, prediction)

    def score(self, prediction: NDArray[np.float64]) -> float:
        """Score predictions of all test rows: accuracy, or R2 (NaN for one row)."""
        if self.classifies:
            return float(accuracy_score(self.target_test, prediction.argmax(axis=1)))
        if self.n_test < 2:
            return float("nan")
        return float(r2_score(self.target_test, prediction))

    def flips(
        self, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return where the predicted class differs; NaN in regression."""
        if not self.classifies:
            return np.full(len(before), np.nan)
        changed = before.argmax(axis=1) != after.argmax(axis=1)
        return changed.astype(np.float64)


def _predict(
    learner: SubsetLearner,
    trainings: Sequence[Training],
    seed: int,
    X: Any,
    number: int,
) -> NDArray[np.float64]:
    training = trainings[number]
    if training.target is not None:
        learner = dataclasses.replace(learner, target=training.target)
    kept = training.kept
    is_in = np.ones(learner.n_train, dtype=np.bool_) if kept is None else kept
    return learner.fit_predict(is_in, seed, X)


def fit_method(
    name: str,
    method: Any,
    model: Any,
    X: Any,
    y: Any,
    arguments: dict[str, Any],
    ask: Callable[[Any], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], Spent]:
    """Fit an explainer and query it; errors name the method.

    Parameters
    ----------
    name : str
        Name of the method.
    method : Explainer or RowScore
        Unfitted explainer.
    model : estimator
        Fitted on `X` and `y`.
    X, y : array-like
        Train rows and targets.
    arguments : dict
        Further arguments of fit: weights, groups.
    ask : callable
        Computes influence with the fitted explainer.

    Returns
    -------
    ndarray of float64
        Result of `ask`.
    Spent
        Time of fitting and querying.
    """
    spent = start_clock()
    try:
        values = ask(method.fit(model, X, y, **arguments))
    except Exception as error:
        error.add_note(f"This came from the method {name!r}.")
        raise
    return np.asarray(values, dtype=np.float64), spent()


def sort_down(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return positions by decreasing value: ties in order, NaN last."""
    order: NDArray[np.intp] = np.argsort(-values, kind="stable")
    return order


def check_shares(
    name: str, shares: Iterable[float], *, with_zero: bool = False, with_one: bool
) -> tuple[float, ...]:
    """Check shares of the train rows.

    Raises
    ------
    ValueError
        If there are none, or one is not between 0 and 1.
    """
    values = tuple(float(share) for share in shares)
    low = "[0" if with_zero else "(0"
    high = "1]" if with_one else "1)"
    for share in values:
        fits = (0.0 < share < 1.0) or (with_zero and share == 0.0)
        if not (fits or (with_one and share == 1.0)):
            raise ValueError(
                f"Got {share!r} in {name}; expected shares in {low}, {high}."
            )
    if not values:
        raise ValueError(f"{name} is empty; expected at least one share.")
    return values


def count_share(share: float, n_rows: int) -> int:
    """Count the rows in a share: at least one, unless the share is 0."""
    return 0 if share == 0.0 else max(1, round(share * n_rows))


def import_pandas() -> Any:
    """Import pandas, which all measures need for their result."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "treeinf.evaluation needs pandas; install it with `pip install pandas`."
        ) from error
    return pandas
