"""The factors of a tile of rows in the bag of a tree, and sums with them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from treeinf.ensemble.bags import Bags
from treeinf.kernels.cpu import replay
from treeinf.kernels.flat import ALL_ROWS, FlatLeaves, FlatLoss, FlatRows
from treeinf.kernels.formulas.bags import bag_factor, write_bag
from treeinf.kernels.formulas.derivatives import LOGISTIC

N = 2500


def make(kind, rng):
    rows = rng.random((2, N)) < 0.6
    bags = rows if kind == "bits" else rng.integers(0, 3, (2, N)).astype(np.float32)
    return Bags.from_rows(N, list(bags), [1, -1, 0])


@pytest.mark.parametrize("kind", ["bits", "factor"])
@pytest.mark.parametrize(("begin", "n"), [(0, 1), (3, 64), (63, 130), (2047, 453)])
def test_a_tile_has_the_factors_of_its_rows(kind, begin, n, rng):
    bags = make(kind, rng)
    for tree in range(3):
        factor = np.full(n + 1, -1.0)
        is_bagged = write_bag(bags.flat, tree, begin, n, factor)
        desired = bags.row_factors(tree)
        assert is_bagged == (desired is not None)
        assert factor[n] == -1.0
        if is_bagged:
            assert_array_equal(factor[:n], desired[begin : begin + n])
            assert bag_factor(bags.flat, tree, begin) == desired[begin]
        else:
            assert bag_factor(bags.flat, tree, begin) == 1.0
    assert not write_bag(ALL_ROWS, 0, begin, n, factor)
    assert bag_factor(ALL_ROWS, 0, begin) == 1.0


@pytest.mark.parametrize("kind", ["bits", "factor"])
def test_sums_over_leaves_take_each_row_times_its_factor(kind, rng):
    bags = make(kind, rng)
    leaf = rng.integers(0, 4, (3, N)).astype(np.uint8)
    value = rng.normal(size=(12, 1))
    leaves = FlatLeaves(
        np.array([0, 4, 8, 12]),
        value,
        np.zeros(3, np.int32),
        np.array([0, 1, 2, 3]),
        False,
        np.arange(3, dtype=np.int32),
        np.zeros(1),
    )
    y, weight = rng.integers(0, 2, N).astype(float), rng.uniform(size=N)
    score, sums = np.empty((N, 1)), np.zeros((2, 2, 12, 1))
    rows = FlatRows(leaf, y, weight, np.empty((0, 1)), *bags.flat)
    replay.replay(rows, leaves, FlatLoss(LOGISTIC, 1.0), score, *sums)
    count, total = np.zeros(12, np.int64), np.zeros(12)
    offset, line = leaves.leaf_offset, leaves.leaf_row
    replay.count_leaf_rows(leaf, offset, line, bags.flat, count)
    replay.sum_leaf_weights(leaf, offset, line, bags.flat, weight, total)
    raw = np.zeros(N)
    for tree in range(3):
        factor, p = bags.row_factors(tree), 1 / (1 + np.exp(-raw))
        factor = np.ones(N) if factor is None else factor.astype(float)
        own = slice(4 * tree, 4 * tree + 4)
        assert_array_equal(count[own], np.bincount(leaf[tree], factor > 0))
        assert_allclose(total[own], np.bincount(leaf[tree], factor * weight))
        for actual, part in zip(sums, (p - y, p * (1 - p)), strict=True):
            desired = np.bincount(leaf[tree], factor * weight * part)
            assert_allclose(actual.sum(axis=0)[own, 0], desired, rtol=1e-12, atol=1e-12)
        raw += value[own, 0][leaf[tree]]
    assert_allclose(score[:, 0], raw)
