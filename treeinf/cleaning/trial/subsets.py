"""Rank rows, cluster them in leaf space, and select subsets of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD

from treeinf.adapters import read_model, unwrap_pipeline
from treeinf.training.learner import is_constant
from treeinf.training.rows import LabelledRows

__all__ = ["STRATEGIES", "Ranking", "find_leaf_clusters", "select_subset"]

_LEAST_ROWS_OF_CLASS = 2
_N_COMPONENTS = 16
_N_STARTS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """Influence and clusters of the rows to select from.

    Parameters
    ----------
    influence : ndarray of float64, shape (n_rows,)
        Total influence on validation rows, positive for helpful.
    cluster : ndarray of int64, shape (n_rows,)
        Cluster of each row in the leaf space of the model, from 0.
    code : ndarray of int64, shape (n_rows,), or None
        Class numbers; None for regression.
    """

    influence: NDArray[np.float64]
    cluster: NDArray[np.int64]
    code: NDArray[np.int64] | None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.influence)


def find_leaf_clusters(
    model: Any, rows: LabelledRows, n_clusters: int, seed: int
) -> NDArray[np.int64]:
    """Group rows that fall into the same leaves of a model.

    Parameters
    ----------
    model : estimator
        Fitted; of a class that `treeinf.read_model` reads, or a pipeline of such.
    rows : LabelledRows
        Rows.
    n_clusters : int
        Maximum number of clusters.
    seed : int
        Seed of the clustering.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Numbers from 0, without gaps.

    Notes
    -----
    Two rows are as similar as the share of trees in which they share a leaf. The
    leaf indicators are brought to 16 components, centred and of the largest variance
    but for sparsity, and these are clustered by k-means: O(n_rows n_trees) time and
    memory.
    """
    if is_constant(model) or rows.n_rows < 3:
        return np.zeros(rows.n_rows, dtype=np.int64)
    inner, transform = unwrap_pipeline(model)
    leaf = np.asarray(read_model(inner).apply(transform(rows.X)))
    n_rows, n_trees = leaf.shape
    offset = np.concatenate([[0], np.cumsum(leaf.max(axis=0).astype(np.int64) + 1)])
    indicator = sparse.csr_matrix(
        (
            np.full(n_rows * n_trees, 1.0 / np.sqrt(n_trees)),
            (leaf.astype(np.int64) + offset[:-1]).ravel(),
            np.arange(0, n_rows * n_trees + 1, n_trees),
        ),
        shape=(n_rows, int(offset[-1])),
    )
    n_components = min(_N_COMPONENTS, n_rows - 1, indicator.shape[1] - 1)
    if n_components < 1:
        return np.zeros(n_rows, dtype=np.int64)
    coordinates = TruncatedSVD(n_components, random_state=seed).fit_transform(indicator)
    n_distinct = len(np.unique(coordinates.round(12), axis=0))
    means = KMeans(min(n_clusters, n_distinct), n_init=_N_STARTS, random_state=seed)
    cluster = np.unique(means.fit_predict(coordinates), return_inverse=True)[1]
    return cluster.reshape(-1).astype(np.int64)


def _most_helpful(ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
    """Order rows by influence."""
    return np.argsort(-ranking.influence, kind="stable")


def _spread_out(ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
    """Order rows so that the first ones are a share of each cluster, best first."""
    order = np.argsort(-ranking.influence, kind="stable")
    cluster = ranking.cluster[order]
    by_cluster = np.argsort(cluster, kind="stable")
    size = np.bincount(cluster)
    start = np.cumsum(size) - size
    rank = np.empty(ranking.n_rows)
    rank[by_cluster] = np.arange(ranking.n_rows) - start[cluster[by_cluster]]
    # a row's quantile in its own cluster; ties by influence
    return order[np.argsort((rank + 0.5) / size[cluster], kind="stable")]


def _at_random(ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
    """Order rows at random."""
    return rng.permutation(ranking.n_rows)


STRATEGIES: dict[str, Callable[[Ranking, np.random.Generator], NDArray[np.int64]]] = {
    "influence": _most_helpful,
    "diverse": _spread_out,
    "random": _at_random,
}
"""Orders in which rows are selected, by name.

"influence" takes the most helpful; "diverse" the most helpful of each cluster, the same
share of each; "random" any.
"""


def select_subset(
    strategy: str, ranking: Ranking, n_kept: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Select rows.

    Parameters
    ----------
    strategy : str
        Name in `STRATEGIES`.
    ranking : Ranking
        The rows.
    n_kept : int
        How many.
    rng : numpy Generator
        For "random".

    Returns
    -------
    ndarray of int64, shape (n_kept,)
        Positions in ascending order. The first two rows of every class in the order of
        the strategy are always among them, so that no class is lost.
    """
    order = STRATEGIES[strategy](ranking, rng)
    if ranking.code is None:
        return np.sort(order[:n_kept])
    first = [
        order[ranking.code[order] == label][:_LEAST_ROWS_OF_CLASS]
        for label in np.unique(ranking.code)
    ]
    must = np.concatenate(first)[:n_kept]
    others = order[~np.isin(order, must)]
    return np.sort(np.concatenate([must, others[: n_kept - len(must)]]))
