"""Base of explainers that retrain copies of an estimator."""

from __future__ import annotations

import abc
import copy
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from treeinf.dtypes import REAL
from treeinf.explainers.base import Explainer
from treeinf.explainers.group_sets import read_group_sets
from treeinf.explainers.influence import Influence
from treeinf.explainers.queries import Output
from treeinf.frames import (
    as_plain,
    check_columns,
    column_names,
    count_rows,
    row_labels,
    take_rows,
)
from treeinf.kernels.threads import check_n_jobs
from treeinf.training.checkpoint import (
    ResultFolder,
    describe_estimator,
    hash_arrays,
    open_checkpoint,
)
from treeinf.training.encoding import Task, fingerprint_table
from treeinf.training.parallel import run_numbered
from treeinf.training.seeds import check_random_state
from treeinf.training.subsets import SubsetLearner
from treeinf.validation import check_row_labels, check_weights, open_rows

__all__ = [
    "LOWEST_PROBABILITY",
    "PredictRows",
    "RetrainingExplainer",
    "RetrainingQueries",
    "score_prediction",
]

LOWEST_PROBABILITY = 1e-15
"""Probabilities are raised to this before their logarithm is taken."""


def score_prediction(
    task: Task, output: str, target: NDArray[np.float64], prediction: NDArray[Any]
) -> NDArray[np.float64]:
    """Compute what is explained of each row from predictions.

    Parameters
    ----------
    task : Task
        The classes, or regression.
    output : {"loss", "prediction"}
        The log loss of probabilities of at least 1e-15, or half the squared error; or
        the probability of the row's class, or the value.
    target : ndarray of float64, shape (n_rows,)
        Class numbers or values.
    prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes)

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    if task.classes is None:
        if output == "prediction":
            return prediction
        return 0.5 * (prediction - target) ** 2
    probability = prediction[np.arange(len(target)), target.astype(np.intp)]
    if output == "prediction":
        return probability
    return -np.log(np.maximum(probability, LOWEST_PROBABILITY))


@dataclasses.dataclass(eq=False)
class RetrainingQueries:
    """Rows to explain, and the output that is explained.

    Parameters
    ----------
    X : array-like or frame, shape (n_rows, n_features)
        Rows.
    target : ndarray of float64, shape (n_rows,)
        Class numbers or values.
    task : Task
        The classes, or regression.
    output : {"loss", "prediction"}
        Explained output; see `score_prediction`.
    weight : ndarray of float64, shape (n_rows,), or None
        Factors on the output.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for equal rows.
    diagonal : ndarray of float64, shape (n_rows,), or None
        Influence of train row i on query i, set by the computation of totals if there
        are as many queries as train rows.
    """

    X: Any
    target: NDArray[np.float64]
    task: Task
    output: str
    weight: NDArray[np.float64] | None
    fingerprint: NDArray[np.uint64]
    diagonal: NDArray[np.float64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.target)

    def take(self, rows: slice) -> RetrainingQueries:
        """Return consecutive rows."""
        if rows.start == 0 and rows.stop >= self.n_rows:
            return self
        return dataclasses.replace(
            self,
            X=take_rows(self.X, np.arange(rows.start, rows.stop)),
            target=self.target[rows],
            weight=None if self.weight is None else self.weight[rows],
            fingerprint=self.fingerprint[rows],
            diagonal=None,
        )

    def value(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the explained output of each row from predictions, weighted.

        Parameters
        ----------
        prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes)

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        value = score_prediction(self.task, self.output, self.target, prediction)
        return value if self.weight is None else value * self.weight


class RetrainingExplainer(Explainer[RetrainingQueries]):
    """Base of explainers that train copies of an estimator on subsets of the rows.

    Parameters
    ----------
    by : {"drop", "weight"}, default="drop"
        How a row is left out: dropped from the table, or given weight 0, which
        preserves what depends on the table alone, such as histogram bins.
    random_state : int or None, default=0
        Seed of all random draws, and of seeds of the estimator that are not set. None
        draws one in `fit`, and excludes a checkpoint.
    checkpoint : path-like, optional
        Folder for the results of refits, one file each; a later run with the same
        estimator, rows and parameters resumes from it.
    batch_size : int, default=1024
        Train rows handled together by `top_k`.
    n_jobs : int or None, default=None
        Refits in parallel processes; None or -1 for one per core. Each has one thread.
        Results have the same bits for any number.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    estimator_ : estimator
        The unfitted estimator that is copied.
    classes_ : ndarray, shape (n_classes,), or None
        Labels of the train rows in order; None for regression.
    """

    _outputs = ("loss", "prediction")
    _set_by_explaining: ClassVar[tuple[str, ...]] = ()
    """Attributes that each call of `explain` sets."""
    _sets: list[NDArray[np.int64]] | None = None
    """Rows that are left out, or drawn, together; None if each row is by itself."""

    def __init__(
        self,
        *,
        by: str = "drop",
        random_state: int | None = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, n_jobs=n_jobs, verbose=verbose)
        self.by = by
        self.random_state = random_state
        self.checkpoint = checkpoint

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Self:
        """Store the estimator and its train rows; nothing is trained yet.

        Parameters
        ----------
        model : estimator
            With scikit-learn's interface, pipelines included; fitted or not, it is
            copied and never changed. Further arguments of its fit, such as eval_set,
            are not supported.
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            Their weights.
        init_score : None
            Not supported.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the estimator cannot be retrained, parameters or shapes are invalid, or
            the checkpoint belongs to another run.
        """
        self._check_parameters()
        _refuse_init_score(init_score)
        X = open_rows(X, y=y, sample_weight=sample_weight)
        learner = SubsetLearner.read(model, X, y, sample_weight, self.by)
        fingerprint = fingerprint_table(X, learner.target)
        self._learner = learner
        self._seed = check_random_state(self.random_state)
        self._n_sets = learner.n_train
        self._prepare()
        self._folder = None
        if self.checkpoint is not None:
            identity = self._identity(fingerprint)
            self._folder = open_checkpoint(self.checkpoint, identity)
        self.estimator_ = learner.estimator
        self.classes_ = learner.task.classes
        self._store_rows(X, fingerprint)
        return self

    def group_influence(
        self,
        groups: Any,
        X: Any,
        y: Any = None,
        *,
        output: str = "loss",
        sample_weight: Any = None,
    ) -> Influence:
        """Compute the influence of groups of train rows, such as those of a patient.

        A group takes the place of a row: `LOO` leaves out whole groups, `SubSample`
        draws subsets of groups, `DataShapley` adds group after group.

        Parameters
        ----------
        groups : array-like of labels, shape (n_train,), or list or dict of positions
            The group of each train row (a column of a frame, say), or the positions of
            each group's rows: a list of arrays, or a dict of arrays by label. In `LOO`
            groups may overlap, and rows may be in none; the others draw among them, and
            need each row in exactly one.
        X, y, output, sample_weight
            See `explain`.

        Returns
        -------
        Influence
            Shape (n_groups, n_test), labelled by the groups: in order of first
            appearance, or of the list or dict. A positive number means that the group
            as a whole helps. ``.sum()`` adds up the test rows.

        Raises
        ------
        ValueError, TypeError
            If the groups do not fit the train rows, or one holds all of them.

        Notes
        -----
        As many copies are trained as `explain` trains for that many rows. Of rows that
        are much alike each alone has little influence, since the others take its place;
        the group has not. Checkpoints keep the results of different groups apart.
        """
        check_is_fitted(self)
        check_row_labels(self._train_labels, groups=groups)
        labels, sets = read_group_sets(groups, self._n_train)
        for label, rows in zip(labels, sets, strict=True):
            if len(np.unique(rows)) == self._n_train:
                raise ValueError(
                    f"Leaving out group {as_plain(label)!r} leaves no train row to fit."
                )
        by_set = copy.copy(self)
        by_set._sets, by_set._n_sets = sets, len(sets)
        by_set._prepare()
        opened, checked = self._open_rows(X, y, output, sample_weight, None)
        queries = self._read_queries(opened, y, checked, sample_weight, None)
        self._self_explanation.check(queries, exclude_self=False, stacklevel=3)
        values = np.empty((len(sets), queries.n_rows), dtype=REAL)
        by_set._columns(queries).fill(0, 0, values)
        for name in self._set_by_explaining:
            setattr(self, name, getattr(by_set, name))
        return Influence(
            values,
            train_labels=labels,
            test_labels=row_labels(X),
            method=type(self).__name__,
            library=self._library,
            kinds=("group", "test row"),
        )

    def _prepare(self) -> None:
        """Draw subsets or orders once the rows, or sets of them, are known."""

    def _rows_of_set(self, number: int) -> NDArray[np.int64]:
        """Return the train rows of a set, or the row of this number."""
        return np.array([number]) if self._sets is None else self._sets[number]

    def _refuse_overlap(self) -> None:
        """Refuse sets that do not hold each row exactly once."""
        if self._sets is None:
            return
        n_train = self._learner.n_train
        count = np.bincount(np.concatenate(self._sets), minlength=n_train)
        if (count != 1).any():
            row = int(np.argmax(count != 1))
            raise ValueError(
                f"{type(self).__name__} draws groups, and needs each train row in "
                f"exactly one; row {row} is in {count[row]}. LOO takes any groups."
            )

    @property
    def _drawn(self) -> dict[str, Any]:
        """Parameters of the subclass that the results of refits depend on."""
        return {}

    @abc.abstractmethod
    def _mask(self, number: int) -> NDArray[np.bool_]:
        """Return the rows that a numbered refit trains on."""

    @abc.abstractmethod
    def _refit_seed(self, number: int) -> int:
        """Return the seed of a numbered refit."""

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_random_state(self.random_state)
        if self.checkpoint is not None and self.random_state is None:
            raise ValueError(
                "Got random_state=None; a checkpoint needs an integer seed to resume "
                "a run."
            )

    def _identity(self, fingerprint: NDArray[np.uint64]) -> dict[str, str]:
        """Describe everything that the results of refits depend on."""
        learner = self._learner
        drawn = {"by": self.by, "random_state": self._seed, **self._drawn}
        weight = learner.weight
        return {
            "method": type(self).__name__,
            "estimator": describe_estimator(learner.estimator),
            "train rows": hash_arrays(fingerprint),
            "sample_weight": "" if weight is None else hash_arrays(weight),
            "parameters": repr(sorted(drawn.items())),
        }

    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> RetrainingQueries:
        """Check the rows to explain."""
        _refuse_init_score(init_score)
        if not isinstance(output, str) or output not in self._outputs:
            raise ValueError(f"Got output={output!r}; expected one of {self._outputs}.")
        task = self._learner.task
        names = column_names(X)
        # the steps of a pipeline may pick their columns by name
        if not (names is None or self._train_columns is None) and not hasattr(
            self._learner.estimator, "steps"
        ):
            check_columns(names, self._train_columns)
        n_rows = count_rows(X)
        if n_rows == 0:
            raise ValueError("X has no rows.")
        weight = check_weights(sample_weight, n_rows)
        if y is None and output == "prediction" and task.n_classes <= 2:
            codes = np.full(n_rows, max(task.n_classes - 1, 0), dtype=REAL)
        else:
            codes = task.encode(y, n_rows)
        fingerprint = fingerprint_table(X, codes)
        return RetrainingQueries(X, codes, task, output, weight, fingerprint)

    @property
    def _train_queries(self) -> RetrainingQueries:
        learner = self._learner
        return RetrainingQueries(
            learner.X, learner.target, learner.task, "loss", None, self._fingerprint
        )

    @property
    def _query_batch_size(self) -> int:
        """All: each refit predicts every query."""
        return sys.maxsize

    def _diagonal(self, queries: RetrainingQueries) -> NDArray[np.float64]:
        assert queries.diagonal is not None
        return queries.diagonal

    def _values(
        self, numbers: Sequence[int], queries: RetrainingQueries
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Train numbered copies and yield the explained output of each, in order."""
        task = PredictRows(self, queries.X)
        zeros = np.zeros(queries.n_rows)
        results = self._results(
            f"predictions-{hash_arrays(fingerprint_table(queries.X, zeros))}"
        )
        for number, prediction in self._run(task, numbers, results):
            yield number, queries.value(self._squeeze(prediction))

    def _run(
        self, task: Any, numbers: Sequence[int], results: ResultFolder | None
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Run a task in processes, with results stored in the checkpoint."""
        return run_numbered(
            task,
            numbers,
            store=results,
            n_jobs=check_n_jobs(self.n_jobs),
            verbose=self.verbose,
            label=type(self).__name__,
        )

    def _results(self, name: str) -> ResultFolder | None:
        """Open the checkpoint's results of one kind."""
        folder = self._folder
        if folder is None:
            return None
        if self._sets is not None:
            sizes = np.array([len(rows) for rows in self._sets])
            name = f"groups-{hash_arrays(sizes, *self._sets)}-{name}"
        return ResultFolder(folder / name, ".npz")

    def _squeeze(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reshape a stored result to predictions."""
        return prediction[:, 0] if self._learner.task.classes is None else prediction


@dataclasses.dataclass(frozen=True, eq=False)
class PredictRows:
    """Task that trains a numbered copy and predicts rows.

    Parameters
    ----------
    explainer : RetrainingExplainer
        Provides the learner, and the rows and seed of each number.
    X : array-like or frame, shape (n_rows, n_features)
        Rows to predict.
    left_out_only : bool, default=False
        Predict only the train row that the number leaves out.
    """

    explainer: RetrainingExplainer
    X: Any
    left_out_only: bool = False

    def __call__(self, number: int) -> NDArray[np.float64]:
        """Return predictions, shape (n_rows, n_classes) or (n_rows, 1)."""
        explainer = self.explainer
        mask = explainer._mask(number)
        X = take_rows(self.X, ~mask) if self.left_out_only else self.X
        prediction = explainer._learner.fit_predict(
            mask, explainer._refit_seed(number), X
        )
        return prediction.reshape(len(prediction), -1)


def _refuse_init_score(init_score: Any) -> None:
    if init_score is not None:
        raise ValueError("Retraining does not support init_score.")
