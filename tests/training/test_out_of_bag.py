"""Out-of-bag predictions have the bits of scikit-learn's forests."""

import numpy as np
import pytest
import sklearn
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeRegressor
from sklearn.utils.fixes import parse_version

from treeinf.training.out_of_bag import _draw_counts, predict_out_of_bag

draws_by_weight = parse_version(sklearn.__version__).release >= (1, 9)


@pytest.mark.parametrize("weighted", [False, True])
def test_classification_trees_predict_as_the_forest_of_scikit_learn(weighted, rng):
    X = rng.normal(size=(150, 4)).astype(np.float32)
    code = np.digitize(X[:, 0] + 0.5 * rng.normal(size=150), [-0.5, 0.5])
    weight = rng.uniform(0.2, 2.0, 150) if weighted else None
    forest = RandomForestClassifier(40, oob_score=True, random_state=3)
    tree = DecisionTreeClassifier(max_features="sqrt")
    actual = [
        predict_out_of_bag(
            tree, X, code.astype(float), weight, n_trees=40, seed=3, n_jobs=n_jobs
        )
        for n_jobs in (1, 3)
    ]
    np.testing.assert_array_equal(actual[1], actual[0])
    if draws_by_weight or not weighted:
        forest.fit(X, code, sample_weight=weight)
        np.testing.assert_array_equal(actual[0], forest.oob_decision_function_)


def test_values_are_predicted_for_every_output(rng):
    X = rng.normal(size=(80, 3)).astype(np.float32)
    target = np.column_stack([X[:, 0], X[:, 1] ** 2])
    forest = ExtraTreesRegressor(30, bootstrap=True, oob_score=True, random_state=1)
    tree = ExtraTreeRegressor(max_features=1.0)
    actual = predict_out_of_bag(tree, X, target, None, n_trees=30, seed=1)
    np.testing.assert_array_equal(actual, forest.fit(X, target).oob_prediction_)


def test_rows_that_every_tree_has_seen_have_no_prediction(rng):
    X = rng.normal(size=(30, 2))
    tree = ExtraTreeRegressor()
    values = predict_out_of_bag(tree, X, X[:, 0], None, n_trees=1, seed=0)
    count = _draw_counts(np.random.RandomState(_first_seed(0)), 30, None)
    np.testing.assert_array_equal(np.isnan(values[:, 0]), count > 0)
    assert 0 < (count > 0).sum() < 30


def _first_seed(seed):
    return np.random.RandomState(seed).randint(np.iinfo(np.int32).max)


@pytest.mark.parametrize("weight", [np.ones(40), np.arange(40.0), None])
def test_draws_as_numpy_does(weight):
    chance = None if weight is None else weight / weight.sum()
    limit = None
    if chance is not None:
        limit = chance.cumsum()
        limit /= limit[-1]
    for seed in range(20):
        drawn = np.random.RandomState(seed).choice(40, 40, p=chance)
        actual = _draw_counts(np.random.RandomState(seed), 40, limit)
        np.testing.assert_array_equal(actual, np.bincount(drawn, minlength=40))
