"""Baselines: random influence, and scores that tell suspicious train rows."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from treeinf.adapters import init_score as find_init_score
from treeinf.adapters import read_model, unwrap_pipeline
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.base import Columns, Explainer
from treeinf.explainers.influence import Influence, frame_library
from treeinf.explainers.queries import EnsembleQueries, Output
from treeinf.explainers.retraining.base import score_prediction
from treeinf.frames import count_rows, row_labels, take_rows
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.training.encoding import TableEncoder, Task, fingerprint_table
from treeinf.training.parallel import run_numbered
from treeinf.training.seeds import check_random_state, derive_seed
from treeinf.training.subsets import SubsetLearner
from treeinf.validation import check_count, check_weights

__all__ = [
    "Loss",
    "OutOfBagProbability",
    "OutOfFoldLoss",
    "Random",
    "RowScore",
]

_FORESTS = {"random_forest": "RandomForest", "extra_trees": "ExtraTrees"}


class Random(Explainer["_Draws"]):
    """Random influence: what any method must beat.

    Every train row and test row get a number of their own from the standard normal
    distribution.

    Parameters
    ----------
    random_state : int or None, default=0
        Seed; None draws one in `fit`.
    batch_size, n_jobs, verbose
        See `Explainer`.

    Attributes
    ----------
    seed_ : int
        The seed in use.

    Notes
    -----
    The numbers of a test row depend on the seed and its position alone. Self influence
    has numbers of its own.
    """

    def __init__(
        self,
        *,
        random_state: int | None = 0,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, n_jobs=n_jobs, verbose=verbose)
        self.random_state = random_state

    def fit(
        self,
        model: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
    ) -> Self:
        """Take in the train rows; only their number and their labels matter.

        Parameters
        ----------
        model, y, sample_weight, init_score
            Not used.
        X : array-like, sparse matrix or frame, shape (n_train, n_features)
            Train rows.

        Returns
        -------
        self
        """
        self._check_parameters()
        self.seed_ = check_random_state(self.random_state)
        self._store_rows(X, fingerprint_table(X, np.zeros(count_rows(X))))
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_random_state(self.random_state)

    def _read_queries(
        self, X: Any, y: Any, output: Output, sample_weight: Any, init_score: Any
    ) -> _Draws:
        n_rows = count_rows(X)
        weight = check_weights(sample_weight, n_rows)
        return _Draws(
            self.seed_,
            self._n_train,
            np.arange(n_rows),
            np.ones(n_rows) if weight is None else weight,
            fingerprint_table(X, np.zeros(n_rows)),
        )

    @property
    def _train_queries(self) -> _Draws:
        n_train = self._n_train
        numbers_ = np.arange(n_train)
        return _Draws(
            self.seed_, n_train, numbers_, np.ones(n_train), self._fingerprint
        )

    def _columns(self, queries: _Draws) -> Columns:
        return queries

    def _self_influence(self) -> NDArray[np.float64]:
        rng = np.random.default_rng(derive_seed(self.seed_))
        return rng.standard_normal(self._n_train)


@dataclasses.dataclass(frozen=True, eq=False)
class _Draws(Columns):
    """Test rows by position, and their random influence.

    Parameters
    ----------
    seed : int
        Seed.
    n_train : int
        Train rows.
    number : ndarray of int64, shape (n_rows,)
        Position of each test row.
    weight : ndarray of float64, shape (n_rows,)
        Factors.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for equal rows.
    """

    seed: int
    n_train: int
    number: NDArray[np.int64]
    weight: NDArray[np.float64]
    fingerprint: NDArray[np.uint64]

    @property
    def n_rows(self) -> int:
        """Number of test rows."""
        return len(self.number)

    def take(self, part: slice) -> _Draws:
        """Give a run of the test rows."""
        return _Draws(
            self.seed,
            self.n_train,
            self.number[part],
            self.weight[part],
            self.fingerprint[part],
        )

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of a run of train rows; see `Columns`."""
        for j, number in enumerate(self.number):
            column = np.random.default_rng([self.seed, number])
            drawn = column.standard_normal(self.n_train)
            run = drawn[first_row : first_row + len(influence)]
            influence[:, first_query + j] = run * self.weight[j]


class RowScore(BaseEstimator, abc.ABC):
    """Base of scores of suspicion: one number for each train row, no test rows.

    They are asked as explainers are, by `fit` and `self_influence`, and large numbers
    mean what they mean there: noise, outliers and rare cases.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Threads or processes; None or -1 for all. Results have the same bits for any
        number.

    Attributes
    ----------
    scores_ : ndarray of float64, shape (n_train,)
        The scores, large for suspicious rows.
    """

    def __init__(self, *, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    @abc.abstractmethod
    def _score(
        self, model: Any, X: Any, y: Any, sample_weight: Any
    ) -> NDArray[np.float64]:
        """Compute the scores."""

    def _check_parameters(self) -> None:
        check_n_jobs(self.n_jobs)

    def fit(self, model: Any, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        """Score the train rows.

        Parameters
        ----------
        model : estimator, pipeline, booster, path to a file or TreeEnsemble
            The fitted model, or the estimator that the class asks for.
        X : array-like or frame, shape (n_train, n_features)
            The rows it was trained on; not checked against the model's leaves.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with. Each row's own score is that of a row of
            weight 1.

        Returns
        -------
        self

        Raises
        ------
        UnsupportedModelError
            If there is no such score for this kind of model.
        ValueError, TypeError
            If parameters or rows do not fit.
        """
        self._check_parameters()
        with limit_threads(self.n_jobs):
            scores = self._score(model, X, y, sample_weight)
        self.scores_ = scores
        self._train_labels = row_labels(X)
        self._library = frame_library(X)
        return self

    def _read_ensemble(self, model: Any, X: Any) -> tuple[TreeEnsemble, Any, Any]:
        """Read a model; gives it, the rows it takes and their own initial scores."""
        model, transform = unwrap_pipeline(model)
        ensemble = read_model(model)
        X = transform(X)
        rows = ensemble.read_rows(X)
        if isinstance(model, TreeEnsemble | Mapping | str | os.PathLike):
            return ensemble, rows, None
        check_parity(ensemble, model, rows)
        return ensemble, rows, find_init_score(model, X)

    def self_influence(self) -> Influence:
        """Give the scores of suspicion.

        Returns
        -------
        Influence
            Shape (n_train,), large for suspicious rows, with the caller's row labels.
        """
        check_is_fitted(self)
        return Influence(
            self.scores_,
            train_labels=self._train_labels,
            method=type(self).__name__,
            library=self._library,
        )


class Loss(RowScore):
    """Training loss of each row by the model that was trained on it.

    Parameters
    ----------
    n_jobs : int or None, default=None
        See `RowScore`.

    Attributes
    ----------
    scores_
        See `RowScore`.

    Notes
    -----
    In units of the objective. A model with many trees fits wrong labels too, so that
    their loss tells little; see `OutOfFoldLoss`.
    """

    def _score(
        self, model: Any, X: Any, y: Any, sample_weight: Any
    ) -> NDArray[np.float64]:
        ensemble, X, init_score = self._read_ensemble(model, X)
        if ensemble.loss is None:
            raise UnsupportedModelError(
                f"The objective {ensemble.loss_name!r} has no loss that treeinf knows; "
                "use OutOfFoldLoss."
            )
        queries = EnsembleQueries.read(ensemble, X, y, init_score=init_score)
        return queries.value(queries.raw_score())


class OutOfFoldLoss(RowScore):
    """Loss of each row by copies of the estimator that were trained without its fold.

    Parameters
    ----------
    n_folds : int, default=5
        Folds, stratified for classifiers, dealt at random.
    n_repeats : int, default=1
        Times the folds are dealt; predictions are averaged.
    random_state : int or None, default=0
        Seed of the folds, and of seeds of the estimator that are not set.
    n_jobs : int or None, default=None
        Copies trained at a time, in processes, each of one thread.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    scores_
        See `RowScore`.

    Notes
    -----
    `fit` takes any estimator with scikit-learn's interface, fitted or not. The loss is
    the log loss, probabilities raised to 1e-15, or half the squared error.

    References
    ----------
    C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating Uncertainty
    in Dataset Labels", JAIR 70 (2021): the self-confidence of out-of-fold predictions.
    """

    def __init__(
        self,
        *,
        n_folds: int = 5,
        n_repeats: int = 1,
        random_state: int | None = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(n_jobs=n_jobs)
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_random_state(self.random_state)
        for name, least in (("n_folds", 2), ("n_repeats", 1)):
            check_count(name, getattr(self, name), least)

    def _score(
        self, model: Any, X: Any, y: Any, sample_weight: Any
    ) -> NDArray[np.float64]:
        from sklearn.model_selection import KFold, StratifiedKFold

        learner = SubsetLearner.read(model, X, y, sample_weight)
        seed = check_random_state(self.random_state)
        kind = KFold if learner.task.classes is None else StratifiedKFold
        folds: list[NDArray[np.int64]] = []
        for repeat in range(self.n_repeats):
            dealer = kind(
                self.n_folds, shuffle=True, random_state=derive_seed(seed, repeat)
            )
            zeros = np.zeros((learner.n_train, 1))
            folds += [held_out for _, held_out in dealer.split(zeros, learner.target)]
        width = () if learner.task.classes is None else (learner.task.n_classes,)
        total = np.zeros((learner.n_train, *width))
        results = run_numbered(
            functools.partial(_predict_fold, learner, folds, derive_seed(seed)),
            range(len(folds)),
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            label=type(self).__name__,
        )
        for number, prediction in results:
            total[folds[number]] += prediction
        mean = total / self.n_repeats
        return score_prediction(learner.task, "loss", learner.target, mean)


def _predict_fold(
    learner: SubsetLearner, folds: Sequence[NDArray[np.int64]], seed: int, number: int
) -> NDArray[np.float64]:
    """Predict the rows of a fold by a copy trained on the others."""
    is_in = np.ones(learner.n_train, dtype=np.bool_)
    is_in[folds[number]] = False
    return learner.fit_predict(is_in, seed, take_rows(learner.X, folds[number]))


class OutOfBagProbability(RowScore):
    """How little the trees of a forest that have not seen a row believe its label.

    Parameters
    ----------
    forest : {"random_forest", "extra_trees"}, default="random_forest"
        Which; extra trees draw their thresholds, and bootstrap too.
    n_estimators : int, default=500
        Trees.
    random_state : int or None, default=0
        Seed of the forest.
    n_jobs : int or None, default=None
        Threads.

    Attributes
    ----------
    forest_ : estimator
        The fitted forest of scikit-learn.
    scores_
        1 minus the out-of-bag probability of the own label; of regressors, the
        absolute out-of-bag residual.

    Notes
    -----
    `model` in `fit` is only asked whether it is a classifier; None leaves that to the
    targets. Columns of text or categories are numbered in order, missing values stay
    missing.

    References
    ----------
    L. Breiman, "Random Forests", Machine Learning 45 (2001), section 3.1.
    """

    def __init__(
        self,
        *,
        forest: str = "random_forest",
        n_estimators: int = 500,
        random_state: int | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(n_jobs=n_jobs)
        self.forest = forest
        self.n_estimators = n_estimators
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_random_state(self.random_state)
        check_count("n_estimators", self.n_estimators, 1)
        if self.forest not in _FORESTS:
            raise ValueError(
                f"Got forest={self.forest!r}; expected one of {tuple(_FORESTS)}."
            )

    def _score(
        self, model: Any, X: Any, y: Any, sample_weight: Any
    ) -> NDArray[np.float64]:
        n_train = count_rows(X)
        weight = check_weights(sample_weight, n_train)
        task = Task.read(model, y)
        target = task.encode(y, n_train)
        import sklearn.ensemble

        kind = "Regressor" if task.classes is None else "Classifier"
        forest = getattr(sklearn.ensemble, _FORESTS[self.forest] + kind)(
            n_estimators=self.n_estimators,
            bootstrap=True,
            oob_score=True,
            random_state=check_random_state(self.random_state) % 2**32,
            n_jobs=check_n_jobs(self.n_jobs),
        )
        place = TableEncoder.fit(X).number(X)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Some inputs do not have OOB scores")
                forest.fit(place, target, sample_weight=weight)
        except UserWarning as error:
            raise ValueError(
                f"n_estimators={self.n_estimators} leaves rows that every tree has "
                "seen; raise it."
            ) from error
        self.forest_ = forest
        if task.classes is None:
            return np.abs(forest.oob_prediction_ - target)
        own = forest.oob_decision_function_[np.arange(n_train), target.astype(np.intp)]
        return 1.0 - own
