"""Find groups that nobody gave: rows that are equal, or as good as equal.

A model that has seen a row remembers it, and with it the label of an equal row. So
equal rows are left out together. In a table of few coarse columns, though, different
subjects have equal rows by chance, and nothing is remembered; and in any table some row
is near another. Both are told from repeats by counts:

- Equal rows. Let D_j be the pairs of rows that differ in column j alone, and B_jk those
  that differ in both j and k: if the two were independent given all others, there would
  be ``D_j D_k / B_jk`` pairs of equal rows by chance. Rows are joined where there are
  more than three times as many as any two columns explain (and 30 rows or more
  differ: fewer groups could not be split), or where equal rows come in
  sets of far more even size than by chance: a table in which every row stands twice.
- Near rows. Around a row, distances grow like ``rank ** (1 / dimension)``. A row has
  near rows where the distance to the next one beyond them is so many times larger that
  one row in a hundred would have such a gap by chance, and at least three times; and
  two rows are joined where each is among the near ones of the other. That is done only
  where two rows in five have such a partner, and in tables of up to 50,000 distinct
  rows and 1,000 columns, each category counted as one.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import brentq
from sklearn.neighbors import NearestNeighbors

from treeinf.frames import count_rows, read_columns
from treeinf.training.encoding import TableEncoder, fingerprint_table
from treeinf.training.row_groups import merge_groups, number_groups

__all__ = ["Twins", "find_twins", "number_equal_rows"]

_TIMES_CHANCE = 3.0
_MOST_COLUMNS = 6
_EVEN_SIZE = 1.2
_FEWEST_SETS = 20
_SHARE_OF_SPREAD = 0.5
_N_NEIGHBOURS = 12
_SMALLEST_GAP = 3.0
_CHANCE_OF_GAP = 0.01
_SHARE_OF_NEAR = 0.4
_PROBED_ROWS = 500
_FEWEST_ROWS = 30
_MOST_ROWS = 50_000
_MOST_WIDE = 1_000
_SEED = 0x7477


@dataclasses.dataclass(frozen=True, eq=False)
class Twins:
    """Rows that are equal, or as good as equal.

    Parameters
    ----------
    equal : ndarray of int64, shape (n_rows,)
        Number of each row's values; the same for equal rows.
    joined : ndarray of int64, shape (n_rows,), or None
        Set of each row; None if no rows are joined.
    """

    equal: NDArray[np.int64]
    joined: NDArray[np.int64] | None

    @property
    def n_joined(self) -> int:
        """Number of rows joined with another."""
        if self.joined is None:
            return 0
        return int((np.bincount(self.joined)[self.joined] > 1).sum())


def number_equal_rows(X: Any) -> NDArray[np.int64]:
    """Return a number for each row, from 0, the same for equal rows."""
    if sparse.issparse(X):
        hashes = _hash_sparse_rows(X)
    else:
        hashes = fingerprint_table(X, np.zeros(count_rows(X)))
    return number_groups(hashes.view(np.int64))


def _hash_sparse_rows(X: Any) -> NDArray[np.uint64]:
    """Hash the values of each row that are not zero."""
    table = sparse.csr_array(X, copy=True)
    table.sum_duplicates()
    table.eliminate_zeros()
    rng = np.random.default_rng(_SEED)
    column = rng.integers(2**64, size=table.shape[1], dtype=np.uint64)
    value = np.unique(table.data, return_inverse=True)[1].reshape(-1)
    keys = rng.integers(2**64, size=int(value.max(initial=0)) + 1, dtype=np.uint64)
    mixed = column[table.indices] * (keys[value] | np.uint64(1))
    ends = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    hashes: NDArray[np.uint64] = np.diff(ends[table.indptr])
    return hashes


def find_twins(X: Any) -> Twins:
    """Find rows that belong together by their values, see the module.

    Parameters
    ----------
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.
    """
    equal = number_equal_rows(X)
    first = np.unique(equal, return_index=True)[1]
    if len(first) < _FEWEST_ROWS:
        return Twins(equal, None)
    joined = None
    if len(first) < len(equal):
        if not sparse.issparse(X) and _is_chance(X, equal):
            return Twins(equal, None)
        joined = equal
    near = None if sparse.issparse(X) else _join_near(X, first)
    if near is not None:
        # of distinct rows, of which the equal ones are copies
        near = near[equal]
        joined = near if joined is None else merge_groups(joined, near)
    return Twins(equal, joined)


def _is_chance(X: Any, equal: NDArray[np.int64]) -> bool:
    """Return whether rows of these columns may well be equal by chance."""
    rng = np.random.default_rng(_SEED)
    size = np.bincount(equal).astype(np.float64)
    if _is_even(size):
        return False
    n_equal = float((size * (size - 1.0)).sum())
    codes = []
    for _, values in read_columns(X):
        column = values if values.dtype.kind in "biuf" else values.astype(str)
        code = np.unique(column, return_inverse=True)[1].reshape(-1)
        codes.append(code)
    if len(codes) < 2:
        return True
    keys = [
        rng.integers(2**64, size=int(code.max()) + 1, dtype=np.uint64)[code]
        for code in codes
    ]
    total = np.zeros(len(equal), dtype=np.uint64)
    for key in keys:
        total += key

    def count_pairs(columns: list[int]) -> float:
        """Count unequal pairs that agree in all columns but these."""
        rest = total.copy()
        for column in columns:
            rest -= keys[column]
        n_alike = np.unique(rest, return_counts=True)[1].astype(np.float64)
        return float((n_alike * (n_alike - 1.0)).sum()) - n_equal

    apart = np.array([count_pairs([column]) for column in range(len(keys))])
    widest = np.argsort(-apart, kind="stable")[:_MOST_COLUMNS].tolist()
    explained = 0.0
    for column, partner in itertools.combinations(widest, 2):
        both = count_pairs([column, partner]) - apart[column] - apart[partner]
        expected = apart[column] * apart[partner] / max(both, 1.0)
        explained = max(explained, expected)
    return n_equal <= _TIMES_CHANCE * explained


def _is_even(size: NDArray[np.float64]) -> bool:
    """Return whether sets of equal rows vary far less in size than at random."""
    mean = float(size.mean())
    if mean < _EVEN_SIZE or len(size) < _FEWEST_SETS:
        return False
    # of a Poisson distribution without zeros
    rate = brentq(lambda rate: rate / -np.expm1(-rate) - mean, 1e-9, mean)
    return float(size.var()) < _SHARE_OF_SPREAD * mean * (1.0 + rate - mean)


def _join_near(X: Any, first: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Join distinct rows that are as good as equal; None where few are."""
    if not _FEWEST_ROWS <= len(first) <= _MOST_ROWS:
        return None
    try:
        encoder = TableEncoder.fit(X)
    except (TypeError, ValueError):
        return None  # infinite values, which the estimator may take
    if sum(len(column.labels or (0,)) for column in encoder.columns) > _MOST_WIDE:
        return None
    points = encoder.standardise(X)[first]
    n_neighbours = min(_N_NEIGHBOURS, len(points) - 1)
    index = NearestNeighbors(n_neighbors=n_neighbours + 1).fit(points)
    rng = np.random.default_rng(_SEED)
    probed = rng.permutation(len(points))[:_PROBED_ROWS]
    n_near, _ = _find_gaps(index, points[probed])
    if (n_near > 0).mean() < _SHARE_OF_NEAR:
        return None
    n_near, neighbour = _find_gaps(index, points)
    is_near = np.arange(n_neighbours) < n_near[:, np.newaxis]
    row = np.repeat(np.arange(len(points)), n_near)
    pair = row * len(points) + neighbour[is_near]
    back = neighbour[is_near] * len(points) + row
    is_mutual = np.isin(pair, back)
    if len(np.unique(row[is_mutual])) < _SHARE_OF_NEAR * len(points):
        return None
    row, partner = row[is_mutual], neighbour[is_near][is_mutual]
    joined = np.arange(len(points))
    # a row and its partners get the smallest number among them until none changes
    while True:
        lowest = joined.copy()
        np.minimum.at(lowest, row, joined[partner])
        if (lowest == joined).all():
            return number_groups(joined)
        joined = lowest


def _find_gaps(
    index: NearestNeighbors, points: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows are near to each, and its neighbours, itself left out."""
    distance, neighbour = index.kneighbors(points)
    distance, neighbour = distance[:, 1:], neighbour[:, 1:]
    last = distance[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(last / distance[:, :-1])
    logs = logs[np.isfinite(logs)]
    # Levina and Bickel's estimate, by the median, which repeats move little
    dimension = 1.0 / max(float(np.median(logs)), 1e-3) if len(logs) else 1.0
    needed = max(_SMALLEST_GAP, _CHANCE_OF_GAP ** (-1.0 / dimension))
    gap = distance[:, 1:] / np.maximum(distance[:, :-1], 1e-12)
    is_gap = gap >= needed
    n_near = np.where(is_gap.any(axis=1), is_gap.argmax(axis=1) + 1, 0)
    return n_near.astype(np.int64), neighbour.astype(np.int64)
