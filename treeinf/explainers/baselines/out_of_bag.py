"""Out-of-bag error of each train row in a forest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.explainers.baselines.row_score import RowScore
from treeinf.frames import count_rows
from treeinf.kernels.threads import check_n_jobs
from treeinf.training.encoding import Task
from treeinf.training.out_of_bag import predict_out_of_bag
from treeinf.training.seeds import check_random_state
from treeinf.validation import check_count, check_weights

__all__ = ["OutOfBagProbability"]

_TREES = {"random_forest": "DecisionTree", "extra_trees": "ExtraTree"}


class OutOfBagProbability(RowScore):
    """Out-of-bag error of a forest: 1 minus the probability of the row's label.

    Parameters
    ----------
    forest : {"random_forest", "extra_trees"}, default="random_forest"
        Kind of trees; extra trees draw their thresholds. Both are bootstrapped.
    n_estimators : int, default=500
        Trees.
    random_state : int or None, default=0
        Seed of the forest.
    n_jobs : int or None, default=None
        Threads.

    Attributes
    ----------
    scores_
        1 minus the out-of-bag probability of the row's label; for regressors, the
        absolute out-of-bag residual.

    Notes
    -----
    `model` in `fit` only decides between classification and regression; with None the
    targets decide. Columns of text or categories are numbered in order, missing values
    stay missing. The scores are those of scikit-learn's forests, see
    `predict_out_of_bag`. With groups, bootstrap samples are of whole groups, and a tree
    has all rows of the groups drawn.

    References
    ----------
    L. Breiman, "Random Forests", Machine Learning 45 (2001), section 3.1.
    """

    leaves_groups_out: ClassVar[bool] = True

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
        if self.forest not in _TREES:
            raise ValueError(
                f"Got forest={self.forest!r}; expected one of {tuple(_TREES)}."
            )

    def _score(
        self,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        group: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        import sklearn.tree  # a third of a second that other explainers do not need

        n_train = count_rows(X)
        weight = check_weights(sample_weight, n_train)
        task = Task.read(model, y)
        target = task.encode(y, n_train)
        kind = "Regressor" if task.classes is None else "Classifier"
        tree = getattr(sklearn.tree, _TREES[self.forest] + kind)(
            max_features=1.0 if task.classes is None else "sqrt"
        )
        prediction = predict_out_of_bag(
            tree,
            X,
            target,
            weight,
            n_trees=self.n_estimators,
            seed=check_random_state(self.random_state) % 2**32,
            n_jobs=check_n_jobs(self.n_jobs),
            group=group,
        )
        if np.isnan(prediction).any():
            seen = "seen" if group is None else "seen, or another of their group"
            raise ValueError(
                f"n_estimators={self.n_estimators} leaves rows that every tree has "
                f"{seen}; raise it."
            )
        if task.classes is None:
            return np.abs(prediction[:, 0] - target)
        return 1.0 - prediction[np.arange(n_train), target.astype(np.intp)]
