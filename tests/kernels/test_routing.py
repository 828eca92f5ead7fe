"""Routing kernels: both paths against the slow twin, over hard values."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.naive.routing import find_leaves
from treeinf.ensemble import InputRules, Missing, TreeEnsemble
from treeinf.kernels.cpu import routing as kernels
from treeinf.kernels.threads import limit_threads

THREE_FEATURES = InputRules(3)


def grow_ensemble(rng, n_trees=4, most_leaves=12, rules=THREE_FEATURES, **more):
    """Random trees of any shape, with every kind of node."""
    left, right, node_offset, leaf_offset = [], [], [0], [0]
    for _ in range(n_trees):
        n_leaves = int(rng.integers(1, most_leaves + 1))
        tree = [[None, None]] if n_leaves > 1 else []
        open_children = [(0, 0), (0, 1)] if n_leaves > 1 else []
        while len(open_children) < n_leaves and n_leaves > 1:
            node, side = open_children.pop(int(rng.integers(len(open_children))))
            tree[node][side] = len(tree)
            open_children += [(len(tree), 0), (len(tree), 1)]
            tree.append([None, None])
        order = rng.permutation(len(open_children))
        for leaf, (node, side) in zip(order, open_children, strict=True):
            tree[node][side] = ~int(leaf)
        left += [children[0] for children in tree]
        right += [children[1] for children in tree]
        node_offset.append(len(left))
        leaf_offset.append(leaf_offset[-1] + n_leaves)
    n = len(left)
    is_categorical = rng.random(n) < 0.3
    words = np.where(is_categorical, rng.integers(0, 3, n), 0)
    missing = np.where(is_categorical, Missing.NAN, rng.integers(0, 3, n))
    arrays = {
        "node_offset": node_offset,
        "leaf_offset": leaf_offset,
        "iteration": np.arange(n_trees),
        "output": np.zeros(n_trees, int),
        "shrinkage": np.ones(n_trees),
        "feature": rng.integers(0, rules.n_features, n),
        "threshold": np.where(
            is_categorical, 0.0, rng.choice([-1.0, -0.0, 0.0, 0.5, 1e-35, 3.0], n)
        ),
        "left": np.array(left, int),
        "right": np.array(right, int),
        "default_left": rng.random(n) < 0.5,
        "missing": missing.astype(np.uint8),
        "is_categorical": is_categorical,
        "category_offset": np.concatenate([[0], np.cumsum(words)]),
        "category_bits": rng.integers(0, 2**32, int(words.sum()), dtype=np.uint32),
        "leaf_value": rng.normal(size=(leaf_offset[-1], 1)),
        "base_score": np.zeros(1),
        "base_score_folded": np.zeros(1, bool),
        "input_rules": rules,
    }
    return TreeEnsemble(**{**arrays, **more})


HARD = [
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, 1.1e-35, 0.5,
    np.nextafter(0.5, 1), np.nextafter(0.5, 0), 3.0, -1.0, -0.5, 31.0, 32.9, 63.0, 64.0,
    1e9, 2147483647.0, 2147483648.0, 1e300,
]  # fmt: skip


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    most_leaves=st.sampled_from([2, 9, 32, 33, 64]),
    zero=st.sampled_from([0.0, 1e-35]),
    single=st.booleans(),
    floor=st.sampled_from([-1.0, -5e-324]),
)
def test_both_paths_equal_the_slow_twin(seed, most_leaves, zero, single, floor):
    rng = np.random.default_rng(seed)
    ensemble = grow_ensemble(
        rng,
        most_leaves=most_leaves,
        rules=InputRules(
            3, zero_threshold=zero, round_to_single=single, category_floor=floor
        ),
    )
    X = rng.choice(HARD, size=(40, 3))
    with np.errstate(over="ignore"):
        desired = find_leaves(ensemble, X)
    trees = ensemble.flat_trees
    walked = np.empty((ensemble.n_trees, 40), np.uint8)
    kernels.route_walk(X, trees, walked)
    assert_array_equal(walked.T, desired)
    masked = np.empty((ensemble.n_trees, 40), np.uint8)
    kernels.route_masks(X, trees, ensemble.ranked_trees, masked)
    assert_array_equal(masked.T, desired)
    assert_array_equal(ensemble.apply(X), desired)


@pytest.mark.parametrize("most_leaves", [3, 32, 33, 64, 65, 300])
def test_every_size_of_tree_is_routed_in_the_smallest_type(most_leaves, rng):
    ensemble = grow_ensemble(rng, n_trees=3, most_leaves=1)
    while ensemble.most_leaves != most_leaves:
        ensemble = grow_ensemble(rng, n_trees=2, most_leaves=most_leaves)
    X = rng.choice(HARD, size=(300, 3))
    leaf = ensemble.apply(X)
    assert leaf.dtype == (np.uint8 if most_leaves <= 256 else np.uint16)
    with np.errstate(over="ignore"):
        assert_array_equal(leaf, find_leaves(ensemble, X))


@pytest.mark.parametrize(("n_thresholds", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_ranks_are_of_the_smallest_type(n_thresholds, dtype, rng):
    ensemble = grow_ensemble(rng, n_trees=40, most_leaves=40, rules=InputRules(1))
    n = ensemble.n_nodes
    assert n > n_thresholds
    ensemble = dataclasses.replace(
        ensemble,
        threshold=np.arange(n) % n_thresholds - n_thresholds // 2 + 0.5,
        is_categorical=np.zeros(n, bool),
        category_offset=np.zeros(n + 1, int),
        category_bits=np.empty(0, np.uint32),
    )
    assert ensemble.ranked_trees.nan_rank.dtype == dtype
    values = np.concatenate([np.unique(ensemble.threshold), HARD])
    X = np.concatenate([values, np.nextafter(values, np.inf)])[:, np.newaxis]
    assert_array_equal(ensemble.apply(X), find_leaves(ensemble, X))


def test_large_trees_and_few_rows_are_walked(rng, monkeypatch):
    ensemble = grow_ensemble(rng, n_trees=2, most_leaves=20)
    large = grow_ensemble(rng, n_trees=8, most_leaves=1500)
    assert large.most_leaves > 1024
    X = rng.choice(HARD, size=(40, 3))
    desired = find_leaves(ensemble, X[:5])
    monkeypatch.setattr(kernels, "route_masks", None)
    with np.errstate(over="ignore"):
        assert_array_equal(ensemble.apply(X[:5]), desired)
        assert_array_equal(large.apply(X), find_leaves(large, X))


@pytest.mark.parametrize("n_rows", [0, 1, 255, 256, 257, 1000])
def test_any_number_of_rows_and_threads_gives_the_same_leaves(n_rows, rng):
    ensemble = grow_ensemble(rng)
    X = rng.choice(HARD, size=(n_rows, 3))
    results = []
    for n_jobs in (1, 2, 4):
        with limit_threads(n_jobs):
            results.append(ensemble.apply(X))
    assert results[0].shape == (n_rows, ensemble.n_trees)
    for result in results[1:]:
        assert_array_equal(result, results[0])


def test_trees_of_one_leaf_only(rng):
    ensemble = grow_ensemble(rng, most_leaves=1)
    assert (ensemble.apply(rng.normal(size=(5, 3))) == 0).all()


def test_a_wide_ensemble_copies_read_only_arrays(rng):
    ensemble = grow_ensemble(rng)
    for field in dataclasses.fields(ensemble):
        value = getattr(ensemble, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable
            assert value.flags.c_contiguous


def test_fingerprints_tell_rows_apart(rng):
    X = rng.normal(size=(500, 4))
    X[1] = X[0]
    X[2], X[3] = 0.0, -0.0
    X[4:6] = np.nan
    X[5] = -X[4]
    y = np.zeros(500)
    prints = np.empty(500, np.uint64)
    kernels.fingerprint_rows(X, y, prints)
    assert prints[0] == prints[1]
    assert prints[2] == prints[3]
    assert prints[4] == prints[5]
    assert len(np.unique(prints)) == 497
    y[1] = 1.0
    kernels.fingerprint_rows(X, y, prints)
    assert prints[0] != prints[1]


def test_fingerprints_of_small_whole_numbers_do_not_meet():
    """Most of their bits are 0, and the same values come in every order."""
    cells = np.array(np.meshgrid(*[np.arange(8.0)] * 4)).reshape(4, -1).T.copy()
    prints = np.empty(len(cells), np.uint64)
    kernels.fingerprint_rows(cells, np.zeros(len(cells)), prints)
    assert len(np.unique(prints)) == len(cells)
