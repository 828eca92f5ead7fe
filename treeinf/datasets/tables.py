"""What a data set is here: rows, targets, and the split that comes with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.validation import take_rows

__all__ = ["Dataset", "Split"]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Train and test rows of a data set.

    Parameters
    ----------
    X_train, X_test : pandas.DataFrame
        Rows.
    y_train, y_test : ndarray, shape (n_train,) and (n_test,)
        Their targets.
    """

    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A table of real data.

    Parameters
    ----------
    name : str
        Its name.
    task : {"binary", "multiclass", "regression"}
        What the target asks for.
    X : pandas.DataFrame, shape (n_rows, n_features)
        Rows; categories are pandas categoricals, missing values NaN.
    y : ndarray, shape (n_rows,)
        Targets: 0 and 1, labels, or values.
    n_test : int, default=0
        How many rows at the end are the test rows that the set comes with; 0 where it
        comes without a split.
    classes : tuple of str, default=()
        What the numbers in `y` mean, where it holds class numbers.
    licence, source : str
        Where it is from and what may be done with it.
    """

    name: str
    task: str
    X: Any
    y: NDArray[Any]
    n_test: int = 0
    classes: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def split(self, *, test_size: float = 0.2, seed: int = 1) -> Split:
        """Cut into train and test rows.

        Parameters
        ----------
        test_size : float, default=0.2
            Share of the rows to test on, where the set comes without a split.
        seed : int, default=1
            Seed of the shuffle. The defaults are those of Brophy et al. (2023).

        Returns
        -------
        Split
            The set's own split where it has one, else a random one, stratified by the
            label.
        """
        from sklearn.model_selection import train_test_split

        positions = np.arange(self.n_rows)
        if self.n_test:
            train, test = positions[: -self.n_test], positions[-self.n_test :]
        else:
            train, test = train_test_split(
                positions,
                test_size=test_size,
                random_state=seed,
                stratify=None if self.task == "regression" else self.y,
            )
        return Split(
            take_rows(self.X, train),
            self.y[train],
            take_rows(self.X, test),
            self.y[test],
        )

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name}: {self.task}, {self.n_rows:,} rows, "
            f"{self.X.shape[1]:,} columns>"
        )
