"""Rows ranked, clustered and selected."""

import numpy as np
import pytest

from treeinf.cleaning.trial.subsets import Ranking, find_leaf_clusters, select_subset
from treeinf.training.rows import LabelledRows

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture
def ranking():
    influence = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.5, -1.0, -2.0])
    cluster = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    return Ranking(influence, cluster, None)


def test_the_most_helpful_are_picked(ranking, rng):
    np.testing.assert_array_equal(
        select_subset("influence", ranking, 3, rng), [0, 1, 2]
    )


def test_of_each_cluster_the_same_share(ranking, rng):
    # of six rows in one cluster three, of two in the other one
    np.testing.assert_array_equal(
        select_subset("diverse", ranking, 4, rng), [0, 1, 2, 4]
    )


def test_random_subsets_differ_and_have_their_size(ranking, rng):
    subsets = [tuple(select_subset("random", ranking, 4, rng)) for _ in range(20)]
    assert {len(set(subset)) for subset in subsets} == {4}
    assert len(set(subsets)) > 5


@pytest.mark.parametrize("strategy", ["influence", "diverse", "random"])
def test_no_class_is_lost(strategy, rng):
    code = np.array([0] * 20 + [1] * 3)
    influence = np.r_[np.ones(20), -np.arange(3.0)]
    ranking = Ranking(influence, np.zeros(23, int), code)
    selected = select_subset(strategy, ranking, 8, rng)
    assert len(selected) == len(set(selected)) == 8
    assert (code[selected] == 1).sum() >= 2


def test_clusters_are_the_leaves_of_a_single_tree():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (400, 1)).astype(float)
    y = np.array([0.0, 5.0, 1.0, 9.0])[X[:, 0].astype(int)]
    model = lightgbm.LGBMRegressor(n_estimators=1, num_leaves=4, verbose=-1).fit(X, y)
    cluster = find_leaf_clusters(model, LabelledRows(X, y), 20, 0)
    pairs = set(zip(X[:, 0].tolist(), cluster.tolist(), strict=True))
    assert len(pairs) == 4
    assert set(cluster.tolist()) == {0, 1, 2, 3}
    fewer = find_leaf_clusters(model, LabelledRows(X, y), 2, 0)
    assert set(fewer.tolist()) == {0, 1}
