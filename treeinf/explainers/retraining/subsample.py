"""Subsampled influence: random subsets with and without each row."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.explainers.base import Columns
from treeinf.explainers.retraining.base import RetrainingExplainer, RetrainingQueries
from treeinf.training.seeds import derive_seed
from treeinf.validation import check_count

__all__ = ["SubSample"]


class SubSample(RetrainingExplainer):
    """Subsampled influence: mean over random subsets without a row, minus with it.

    Copies are trained on random subsets of the rows. ``influence[i, j]`` is the mean
    loss (or prediction) of test row j by the copies trained without train row i, minus
    the mean by those trained with it. One set of copies serves all rows.

    Parameters
    ----------
    n_models : int, default=200
        Subsets, at least 2. The standard error falls with the square root.
    share : float, default=0.7
        Share of the rows in each subset, in (0, 1); at least one row is in and one out.
    by, random_state, checkpoint, batch_size, n_jobs, verbose
        See `RetrainingExplainer`. Each copy has a different seed; a checkpoint can be
        continued with more models.

    Attributes
    ----------
    is_in_ : ndarray of bool, shape (n_models, n_train)
        The rows of each subset.
    estimator_, classes_
        See `RetrainingExplainer`.

    Notes
    -----
    Every call trains `n_models` copies, unless a checkpoint has their predictions of
    the same rows. Time after that O(n_models n_train n_test); memory one number for
    each copy and test row. Self influence is the memorisation score of the paper, with
    the loss in place of the probability and the other sign. Loss and vanishing classes
    are those of `LOO`.

    References
    ----------
    V. Feldman, C. Zhang, "What Neural Networks Memorize and Why: Discovering the Long
    Tail via Influence Estimation", NeurIPS 2020 (sign turned, so that rows that lower
    the loss are positive).
    """

    def __init__(
        self,
        *,
        n_models: int = 200,
        share: float = 0.7,
        by: str = "drop",
        random_state: int | None = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        batch_size: int = 1024,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            by=by,
            random_state=random_state,
            checkpoint=checkpoint,
            batch_size=batch_size,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.n_models = n_models
        self.share = share

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_models", self.n_models, 2)
        if not isinstance(self.share, float) or not 0.0 < self.share < 1.0:
            raise ValueError(f"Got share={self.share!r}; expected a float in (0, 1).")

    @property
    def _drawn(self) -> dict[str, Any]:
        return {"share": self.share}

    def _prepare(self) -> None:
        self._refuse_overlap()
        n_sets = self._n_sets
        size = min(max(1, round(self.share * n_sets)), n_sets - 1)
        is_in = np.zeros((self.n_models, n_sets), dtype=np.bool_)
        for number in range(self.n_models):
            rng = np.random.default_rng([self._seed, number])
            is_in[number, rng.permutation(n_sets)[:size]] = True
        n_in = is_in.sum(axis=0)
        undecided = int(((n_in == 0) | (n_in == self.n_models)).sum())
        if undecided:
            what = "rows" if self._sets is None else "groups"
            raise ValueError(
                f"{undecided:,} of {n_sets:,} {what} are in all or none of the "
                f"{self.n_models} subsets; raise n_models or bring share nearer to 0.5."
            )
        self.is_in_ = is_in
        self._n_in = n_in

    def _mask(self, number: int) -> NDArray[np.bool_]:
        if self._sets is None:
            return self.is_in_[number]
        mask = np.zeros(self._learner.n_train, dtype=np.bool_)
        for drawn in np.flatnonzero(self.is_in_[number]):
            mask[self._sets[drawn]] = True
        return mask

    def _refit_seed(self, number: int) -> int:
        return derive_seed(self._seed, number)

    def _coefficient(self, number: int) -> NDArray[np.float64]:
        """Return the factor of a copy's values in the influence of each row."""
        n_out = len(self.is_in_) - self._n_in
        return np.where(self.is_in_[number], -1.0 / self._n_in, 1.0 / n_out)

    def _columns(self, queries: RetrainingQueries) -> _Contrast:
        values = np.empty((len(self.is_in_), queries.n_rows), dtype=REAL)
        for number, value in self._values(range(len(self.is_in_)), queries):
            values[number] = value
        return _Contrast(self, values)

    def _total(self, queries: RetrainingQueries) -> NDArray[np.float64]:
        total = np.zeros(self._n_train, dtype=REAL)
        diagonal = np.zeros(self._n_train, dtype=REAL)
        for number, value in self._values(range(len(self.is_in_)), queries):
            coefficient = self._coefficient(number)
            total += coefficient * value.sum()
            if queries.n_rows == self._n_train:
                diagonal += coefficient * value
        queries.diagonal = diagonal
        return total

    def _self_influence(self) -> NDArray[np.float64]:
        queries = self._train_queries
        self._total(queries)
        return self._diagonal(queries)


class _Contrast(Columns):
    """Mean of values over the copies without a row, minus the mean with it.

    Parameters
    ----------
    explainer : SubSample
        Provides the subsets.
    values : ndarray of float64, shape (n_models, n_queries)
        Explained output by each copy.
    """

    def __init__(self, explainer: SubSample, values: NDArray[np.float64]) -> None:
        self.explainer = explainer
        self.values = values

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        rows = slice(first_row, first_row + len(influence))
        output = influence[:, first_query : first_query + self.values.shape[1]]
        output[:] = 0.0
        # model by model, so that any batch of rows has the same bits
        for number, value in enumerate(self.values):
            output += np.multiply.outer(
                self.explainer._coefficient(number)[rows], value
            )
