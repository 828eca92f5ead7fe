"""Bags of trees: their factors, ranges of their rows, and rows left out."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from treeinf.ensemble.bags import Bags

N = 300


def make(kind, rng):
    rows = rng.random((2, N)) < 0.6
    bags = rows if kind == "bits" else rng.integers(0, 3, (2, N)).astype(np.float32)
    return Bags.from_rows(N, list(bags), [1, -1, 0, 1])


def factors(bags, n=N):
    """Factors of all rows, one line a tree."""
    of_trees = [bags.row_factors(tree) for tree in range(4)]
    return np.array([np.ones(n) if f is None else f for f in of_trees])


@pytest.mark.parametrize("kind", ["bits", "factor"])
@pytest.mark.parametrize(
    "batch",
    [
        slice(0, N),
        slice(0, 64),
        slice(64, 192),
        slice(5, 70),
        slice(37, N),
        slice(9, 9),
    ],
    ids=str,
)
def test_a_range_of_the_rows_keeps_their_factors(kind, batch, rng):
    bags = make(kind, rng)
    part = bags.take(batch)
    n = batch.stop - batch.start
    assert part.n_rows == n
    assert_array_equal(factors(part, n), factors(bags)[:, batch])
    assert part.bits.flags.c_contiguous


@pytest.mark.parametrize("kind", ["bits", "factor"])
def test_rows_left_out_have_the_factor_0_in_every_tree(kind, rng):
    bags, kept = make(kind, rng), rng.random(N) < 0.8
    assert_array_equal(factors(bags.keep(kept, 4)), factors(bags) * kept)
    assert_array_equal(factors(Bags.all_rows(N).keep(kept, 4)), np.tile(kept, (4, 1)))


def test_other_trees_share_the_bags(rng):
    bags = make("bits", rng)
    assert_array_equal(
        factors(bags.take_trees(np.array([0, 0, 1, 3]))), factors(bags)[[0, 0, 1, 3]]
    )
    assert Bags.all_rows(N).take_trees(np.array([0, 1])).of_tree.size == 0
