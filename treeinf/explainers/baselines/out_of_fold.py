"""Cross-validated loss of each train row."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.explainers.baselines.row_score import RowScore
from treeinf.explainers.retraining.base import score_prediction
from treeinf.frames import take_rows
from treeinf.training.parallel import run_numbered
from treeinf.training.row_groups import deal_groups
from treeinf.training.seeds import check_random_state, derive_seed
from treeinf.training.subsets import SubsetLearner
from treeinf.validation import check_count

__all__ = ["OutOfFoldLoss"]


class OutOfFoldLoss(RowScore):
    """Loss of each row by copies of the estimator trained without its fold.

    Parameters
    ----------
    n_folds : int, default=5
        Random folds, stratified for classifiers; of whole groups where there are any.
    n_repeats : int, default=1
        Times the rows are split into folds; predictions are averaged.
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

    leaves_groups_out: ClassVar[bool] = True

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
        self,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        group: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        learner = SubsetLearner.read(model, X, y, sample_weight)
        seed = check_random_state(self.random_state)
        folds: list[NDArray[np.int64]] = []
        for repeat in range(self.n_repeats):
            folds += self._split(learner, group, derive_seed(seed, repeat))
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

    def _split(
        self, learner: SubsetLearner, group: NDArray[np.int64] | None, seed: int
    ) -> list[NDArray[np.int64]]:
        """Return the rows of each fold."""
        from sklearn.model_selection import KFold, StratifiedKFold

        n_folds, is_class = self.n_folds, learner.task.classes is not None
        if group is None:
            kind = StratifiedKFold if is_class else KFold
            splitter = kind(n_folds, shuffle=True, random_state=seed)
            zeros = np.zeros((learner.n_train, 1))
            return [held_out for _, held_out in splitter.split(zeros, learner.target)]
        n_groups = int(group.max()) + 1
        if n_groups < n_folds:
            raise ValueError(
                f"groups has {n_groups} values; expected at least n_folds={n_folds}."
            )
        code = learner.target.astype(np.int64) if is_class else None
        rng = np.random.default_rng(seed)
        fold = deal_groups(group, code, [1.0] * n_folds, rng)
        return [np.flatnonzero(fold == number) for number in range(n_folds)]


def _predict_fold(
    learner: SubsetLearner, folds: Sequence[NDArray[np.int64]], seed: int, number: int
) -> NDArray[np.float64]:
    """Predict the rows of a fold by a copy trained on the others."""
    is_in = np.ones(learner.n_train, dtype=np.bool_)
    is_in[folds[number]] = False
    return learner.fit_predict(is_in, seed, take_rows(learner.X, folds[number]))
