"""Random influence, the floor for any method."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from treeinf.explainers.base import Columns, Explainer
from treeinf.explainers.queries import Output
from treeinf.frames import count_rows
from treeinf.training.encoding import fingerprint_table
from treeinf.training.seeds import check_random_state, derive_seed
from treeinf.validation import check_weights, open_rows

__all__ = ["Random"]


class Random(Explainer["_Draws"]):
    """Random influence, the floor for any method.

    Every train row and test row get an independent number from the standard normal
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
    is drawn separately.
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
        """Store the number and the labels of the train rows.

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
        X = open_rows(X, y=y, sample_weight=sample_weight)
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

    def take(self, rows: slice) -> _Draws:
        """Return consecutive test rows."""
        return _Draws(
            self.seed,
            self.n_train,
            self.number[rows],
            self.weight[rows],
            self.fingerprint[rows],
        )

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of consecutive train rows; see `Columns`."""
        for j, number in enumerate(self.number):
            column = np.random.default_rng([self.seed, number])
            values = column.standard_normal(self.n_train)
            rows = slice(first_row, first_row + len(influence))
            influence[:, first_query + j] = values[rows] * self.weight[j]
