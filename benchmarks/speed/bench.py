"""What all groups of the speed table share: sizes, threads, models to time."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.rows import Curve, Row
from treeinf.dtypes import leaf_id_dtype
from treeinf.ensemble import TreeEnsemble
from treeinf.validation import check_count

__all__ = [
    "FULL_ROWS",
    "Bench",
    "Case",
    "Group",
    "Measured",
    "count_leaf_ids",
    "is_installed",
    "make_rows",
]

FULL_ROWS = 500_000
"""Train rows from which on sizes are those that targets are set for."""

N_FEATURES = 20
N_TREES = 100
N_LEAVES = 31


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A model, the rows it learnt, and rows to explain.

    Parameters
    ----------
    model : estimator
        Fitted.
    X, X_test : ndarray of float64, shape (n_rows, n_features)
        Train and test rows.
    y, y_test : ndarray of int64, shape (n_rows,)
        Their labels.
    """

    model: Any
    X: NDArray[np.float64]
    y: NDArray[np.int64]
    X_test: NDArray[np.float64]
    y_test: NDArray[np.int64]

    @property
    def rows(self) -> str:
        """Size of the train rows, in words."""
        return "{:,} x {:,} rows".format(*self.X.shape)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a group found.

    Parameters
    ----------
    rows : sequence of Row
        Lines of the table.
    curves : sequence of Curve
        Growth, to be drawn.
    """

    rows: Sequence[Row]
    curves: Sequence[Curve] = ()


@dataclasses.dataclass(frozen=True)
class Group:
    """Lines of the table that are measured together.

    Parameters
    ----------
    name : str
        As ``--only`` takes it.
    title : str
        What is measured.
    measure : callable
        Takes the `Bench`, gives `Measured`.
    needs : sequence of str
        Packages without which there is nothing to measure.
    weight : float
        Seconds it takes in full on two cores, for the time left.
    """

    name: str
    title: str
    measure: Callable[[Bench], Measured]
    needs: Sequence[str]
    weight: float


@dataclasses.dataclass(frozen=True)
class Bench:
    """Sizes, threads, and what groups have in common.

    Parameters
    ----------
    n_rows : int, default=500000
        Train rows of the large cases. Fewer than the default make all other sizes
        smaller in proportion, and figures are then compared with no target.
    repeats : int, default=5
        Times that each operation is timed.
    n_jobs : int, default=2
        Threads of treeinf and of every peer.
    """

    n_rows: int = FULL_ROWS
    repeats: int = 5
    n_jobs: int = 2

    def __post_init__(self) -> None:
        for name in ("n_rows", "repeats", "n_jobs"):
            check_count(name, getattr(self, name))

    @property
    def is_full(self) -> bool:
        """Whether sizes are those that targets are set for."""
        return self.n_rows >= FULL_ROWS

    def size(self, full: int, least: int) -> int:
        """Give a size in proportion to the rows: at most `full`, at least `least`."""
        return min(full, max(least, round(full * self.n_rows / FULL_ROWS)))

    @functools.cached_property
    def main(self) -> Case:
        """100 trees of 31 leaves on all rows, and 10,000 test rows; LightGBM."""
        return self.fit(self.n_rows, self.size(10_000, 200))

    def fit(
        self,
        n_rows: int,
        n_test: int,
        *,
        n_features: int = N_FEATURES,
        n_classes: int = 2,
        **parameters: Any,
    ) -> Case:
        """Make rows and fit LightGBM to them.

        Parameters
        ----------
        n_rows, n_test, n_features, n_classes : int
            Sizes.
        **parameters
            Of LGBMClassifier; by default 100 trees of 31 leaves.

        Returns
        -------
        Case
        """
        import lightgbm

        X, y = make_rows(n_rows + n_test, n_features, n_classes)
        settings = {
            "n_estimators": N_TREES,
            "num_leaves": N_LEAVES,
            "verbose": -1,
            "n_jobs": self.n_jobs,
            **parameters,
        }
        model = lightgbm.LGBMClassifier(**settings).fit(X[:n_rows], y[:n_rows])
        return Case(model, X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:])


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def count_leaf_ids(ensemble: TreeEnsemble, n_rows: int) -> int:
    """Count the bytes that the leaf ids of rows take."""
    size = np.dtype(leaf_id_dtype(ensemble.most_leaves)).itemsize
    return n_rows * ensemble.n_trees * size


def make_rows(
    n_rows: int, n_features: int, n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw rows in clusters, a tenth of the labels at random.

    Parameters
    ----------
    n_rows, n_features, n_classes : int
        Sizes.

    Returns
    -------
    X : ndarray of float64, shape (n_rows, n_features)
    y : ndarray of int64, shape (n_rows,)
    """
    from sklearn.datasets import make_classification

    with warnings.catch_warnings():
        # few rows may leave a cluster empty
        warnings.simplefilter("ignore")
        X, y = make_classification(
            n_rows,
            n_features,
            n_informative=min(10, n_features // 2),
            n_classes=n_classes,
            flip_y=0.1,
            random_state=0,
        )
    return np.ascontiguousarray(X), y.astype(np.int64)
