"""Rows compared by their features: similarity, and Shapley values of neighbours."""

from __future__ import annotations

import numpy as np
from numba import prange

from treeinf.kernels.compilation import kernel, parallel_kernel

__all__ = ["COSINE", "DOT", "EUCLIDEAN", "compare_rows", "neighbour_shapley_values"]

DOT = 0
COSINE = 1
EUCLIDEAN = 2


@kernel
def _compare(a, b, measure):
    """Compute the similarity of two rows; see `compare_rows`."""
    total = 0.0
    if measure == EUCLIDEAN:
        for k in range(a.size):
            difference = a[k] - b[k]
            total += difference * difference
        return 1.0 / (1.0 + np.sqrt(total))
    size_a, size_b = 0.0, 0.0
    for k in range(a.size):
        total += a[k] * b[k]
        size_a += a[k] * a[k]
        size_b += b[k] * b[k]
    if measure == COSINE:
        size = np.sqrt(size_a * size_b)
        return total / size if size > 0.0 else 0.0
    return total


@parallel_kernel
def compare_rows(train, test, measure, similarity):
    """Compute the similarity of rows.

    Parameters
    ----------
    train : ndarray of float64, shape (n_rows, n_features)
        Rows.
    test : ndarray of float64, shape (n_queries, n_features)
        Rows.
    measure : int64
        `DOT`; `COSINE`, 0 for a row of zeros; `EUCLIDEAN`, 1 / (1 + distance).
    similarity : ndarray of float64, shape (n_rows, n_queries)
        Output, overwritten. Each thread owns lines.
    """
    for i in prange(train.shape[0]):
        for j in range(test.shape[0]):
            similarity[i, j] = _compare(train[i], test[j], measure)


@kernel
def _match_values(order, is_match, k, value):
    """Write Shapley values of the matches among the k nearest rows."""
    n = order.size
    last = order[n - 1]
    value[last] = is_match[last] * min(k, n) / (k * n)
    for position in range(n - 1, 0, -1):
        row, further = order[position - 1], order[position]
        step = (is_match[row] - is_match[further]) / k * min(k, position) / position
        value[row] = value[further] + step


@kernel
def _error_values(order, y, test_y, k, value):
    """Write Shapley values of minus half the squared error of the k nearest rows."""
    n = order.size
    # sums over the rows nearer and further than the pair: of their contributions to the
    # mean, and of these times the share of sets in which they are among the k nearest
    nearer = 0.0
    beyond = 0.0
    for position in range(n - 1):
        nearer += y[order[position]] / k
    last = order[n - 1]
    m = min(k, n)
    share = y[last] / k
    value[last] = -0.5 * share * (share - 2.0 * test_y) * m / n
    if n > 1:
        value[last] -= share * nearer * m * (m - 1) / (2.0 * n * (n - 1))
    for position in range(n - 1, 0, -1):
        row, further = order[position - 1], order[position]
        a, b = y[row] / k, y[further] / k
        nearer -= a
        m = min(k, position)
        correction = beyond
        if position > 1:
            correction += nearer * m * (m - 1) / (2.0 * position * (position - 1))
        step = 0.5 * (a + b - 2.0 * test_y) * m / position + correction
        value[row] = value[further] - (a - b) * step
        # `further` is further than the next pair
        if position > 1:
            q = min(k - 1, position - 1)
            beyond += b * q * (q + 1) / (2.0 * position * (position - 1))


@parallel_kernel
def neighbour_shapley_values(train, train_y, test, test_y, k, is_class, value):
    """Compute the Shapley value of each train row for each test row's k neighbours.

    Parameters
    ----------
    train : ndarray of float64, shape (n_rows, n_features)
        Train rows.
    train_y : ndarray of float64, shape (n_rows,)
        Class numbers, or values.
    test : ndarray of float64, shape (n_queries, n_features)
        Test rows.
    test_y : ndarray of float64, shape (n_queries,)
        Their targets.
    k : int64
        Neighbours, at least 1.
    is_class : bool
        The targets are classes.
    value : ndarray of float64, shape (n_queries, n_rows)
        Output, overwritten. The utility of a set of rows is, for its k nearest or all
        if it has fewer: the number of them of the test row's class, over k; or minus
        half the squared difference of the sum of their targets over k from the test
        row's.

    Notes
    -----
    O(n_rows (n_features + log n_rows)) time for a test row, which one thread owns. Rows
    at the same distance keep their order.

    The value of the furthest row follows from the definition, and the differences of
    rows next to one another in the order of distance from the lemma of Jia et al.:
    ``s_i - s_j`` is the sum, over sets S of the other rows, of
    ``weight(S) (utility(S + i) - utility(S + j))``. The weights are those of drawing
    each row with the same probability, itself uniform in [0, 1], from which the sums of
    the squared error come in closed form. With m = min(k, i), rows before i are among
    the k nearest of sets with i in a share m (m - 1) / (2 i (i - 1)), and row l after
    i + 1 in a share q (q + 1) / (2 (l - 1) (l - 2)), q = min(k - 1, l - 2).

    References
    ----------
    R. Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor
    Algorithms", PVLDB 12 (2019), lemma 1 and theorem 1.
    """
    n_rows = train.shape[0]
    for j in prange(test.shape[0]):
        distance = np.empty(n_rows)
        for i in range(n_rows):
            total = 0.0
            for f in range(train.shape[1]):
                difference = train[i, f] - test[j, f]
                total += difference * difference
            distance[i] = total
        order = np.argsort(distance, kind="mergesort")
        if is_class:
            is_match = np.empty(n_rows)
            for i in range(n_rows):
                is_match[i] = 1.0 if train_y[i] == test_y[j] else 0.0
            _match_values(order, is_match, k, value[j])
        else:
            _error_values(order, train_y, test_y[j], k, value[j])
