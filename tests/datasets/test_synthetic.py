"""Made-up data: what is said of its influences is so."""

import itertools
import math

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from treeinf.datasets import (
    make_additive_game,
    make_duplicated_rows,
    make_flipped_labels,
    make_group_means,
)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_copies_are_copies(task):
    X, y, original = make_duplicated_rows(20, 3, task=task, random_state=1)
    assert X.shape == (60, 5)
    assert np.bincount(original).tolist() == [3] * 20
    for row in range(20):
        (of_row,) = np.nonzero(original == row)
        assert (X[of_row] == X[of_row[0]]).all()
        assert (y[of_row] == y[of_row[0]]).all()
    assert len(np.unique(X[:, 0])) == 20
    if task == "binary":
        assert set(y) == {0, 1}


def test_flipped_labels_are_the_only_ones_in_doubt():
    X, y, is_flipped = make_flipped_labels(300, 0.2, margin=0.3, random_state=4)
    assert is_flipped.sum() == 60
    np.testing.assert_array_equal((X[:, 0] > 0) != y, is_flipped)
    assert np.abs(X[:, 0]).min() >= 0.3


def test_effects_on_group_means_are_those_of_a_refit():
    X, y, X_test, influence = make_group_means(4, 5, random_state=2)

    def predict(keep):
        tree = DecisionTreeRegressor(max_leaf_nodes=4, random_state=0)
        return tree.fit(X[keep], y[keep]).predict(X_test)

    everything = np.ones(len(y), dtype=bool)
    before = predict(everything)
    refitted = np.empty_like(influence)
    for row in range(len(y)):
        keep = everything.copy()
        keep[row] = False
        refitted[row] = predict(keep) - before
    # targets reach 31 and are added up in another order
    np.testing.assert_allclose(refitted, influence, rtol=0, atol=1e-12)
    assert (influence != 0).sum() == len(y)


def test_weights_are_the_shapley_values():
    play, weights = make_additive_game(6, random_state=3)
    assert play([]) == 0.0
    assert play(np.ones(6, dtype=bool)) == pytest.approx(weights.sum())
    shapley = np.zeros(6)
    for order in itertools.permutations(range(6)):
        for place, player in enumerate(order):
            before = list(order[:place])
            shapley[player] += play([*before, player]) - play(before)
    shapley /= math.factorial(6)
    np.testing.assert_allclose(shapley, weights, rtol=0, atol=1e-12)


def test_the_game_keeps_its_weights():
    play, weights = make_additive_game(3)
    whole = play([0, 1, 2])
    weights[:] = 0
    assert play([0, 1, 2]) == whole


@pytest.mark.parametrize("make", [make_duplicated_rows, make_flipped_labels])
def test_the_seed_decides(make):
    first, again, other = (make(random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_duplicated_rows(0), "n_rows=0"),
        (lambda: make_duplicated_rows(n_copies=1.5), r"n_copies=1\.5"),
        (lambda: make_duplicated_rows(task="ranking"), "task='ranking'"),
        (lambda: make_flipped_labels(margin=-1), "margin=-1"),
        (lambda: make_group_means(n_per_group=2), "n_per_group=2"),
        (lambda: make_additive_game(0), "n_players=0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
