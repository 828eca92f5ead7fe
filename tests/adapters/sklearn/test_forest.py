"""Forests, bagged and single trees: leaf statistics and bootstrap weights."""

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble as sk
from sklearn import tree as sk_tree

from tests.adapters.sklearn.models import assert_same_model, make_rows, make_targets
from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.adapters.sklearn.bootstrap import draw_counts, find_tree_weights
from treeinf.adapters.sklearn.reader import raw_score
from treeinf.ensemble import losses
from treeinf.errors import UnsupportedModelError
from treeinf.trace import TrainingTrace

FOREST = {"n_estimators": 5, "random_state": 0, "min_samples_leaf": 3}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small models are fitted fastest by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


def classifiers():
    forest, extra, bagging = (
        sk.RandomForestClassifier,
        sk.ExtraTreesClassifier,
        sk.BaggingClassifier,
    )
    tree = sk_tree.DecisionTreeClassifier(min_samples_leaf=3)
    heavy = sk_tree.DecisionTreeClassifier(class_weight={0: 5.0, 1: 1.0, 2: 2.0})
    drawn = {"n_estimators": 5, "random_state": 0}
    return {
        "forest": forest(**FOREST),
        "max_samples": forest(**FOREST, max_samples=0.3),
        "entropy": forest(**FOREST, criterion="entropy"),
        "no bootstrap": forest(**FOREST, bootstrap=False),
        "balanced": forest(**FOREST, class_weight="balanced"),
        "each balanced": forest(**FOREST, class_weight="balanced_subsample"),
        "all balanced": forest(
            **FOREST, class_weight="balanced_subsample", bootstrap=False
        ),
        "given": forest(**FOREST, class_weight={"a": 3.0, "b": 1.0, "c": 0.5}),
        "extra": extra(**FOREST),
        "extra balanced": extra(**FOREST, class_weight="balanced"),
        "extra given": extra(**FOREST, class_weight={"a": 3.0, "b": 1.0, "c": 0.5}),
        "bagging": bagging(tree, **drawn),
        "pasting": bagging(tree, **drawn, bootstrap=False, max_samples=0.5),
        "patches": bagging(tree, **drawn, max_features=2, bootstrap_features=True),
        "heavy": bagging(heavy, **drawn),
        "balanced bagging": bagging(
            sk_tree.DecisionTreeClassifier(class_weight="balanced"), **drawn
        ),
        "tree": tree,
        "balanced tree": sk_tree.DecisionTreeClassifier(class_weight="balanced"),
        "extra tree": sk_tree.ExtraTreeClassifier(max_depth=4),
    }


def regressors():
    drawn = {"n_estimators": 5, "random_state": 0}
    return {
        "forest": sk.RandomForestRegressor(**FOREST),
        "poisson": sk.RandomForestRegressor(**FOREST, criterion="poisson"),
        "extra": sk.ExtraTreesRegressor(**FOREST, bootstrap=True, max_samples=50),
        "bagging": sk.BaggingRegressor(**drawn, max_features=0.5),
        "tree": sk_tree.DecisionTreeRegressor(max_leaf_nodes=10),
        "extra tree": sk_tree.ExtraTreeRegressor(max_depth=4),
    }


def assert_statistics(model, X, y, sample_weight):
    """Counts, weights and averages of every leaf follow from the rows' weights."""
    ensemble = read_model(model)
    codes = y if ensemble.classes is None else np.searchsorted(ensemble.classes, y)
    own = np.empty(0) if sample_weight is None else sample_weight
    weights = find_tree_weights(ensemble, codes.astype(float), own)
    leaves = ensemble.apply(X)
    targets = (
        y[:, np.newaxis].astype(float)
        if ensemble.classes is None
        else (y[:, np.newaxis] == ensemble.classes).astype(float)
    )
    assert ensemble.is_averaged
    for tree in range(ensemble.n_trees):
        own = slice(*ensemble.leaf_offset[tree : tree + 2])
        n_leaves = own.stop - own.start
        leaf, weight = leaves[:, tree].astype(int), weights[tree]
        count = np.bincount(leaf, weight > 0, minlength=n_leaves)
        assert_array_equal(ensemble.leaf_count[own], count)
        total = np.bincount(leaf, weight, minlength=n_leaves)
        assert_allclose(ensemble.leaf_weight[own], total, rtol=1e-12)
        for column, target in enumerate(targets.T):
            sums = np.bincount(leaf, weight * target, minlength=n_leaves)
            value = ensemble.leaf_value[own, column] * ensemble.n_trees
            assert_allclose(value, sums / total, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", classifiers())
def test_statistics_of_classifiers(name, weighted, rng):
    X = make_rows(missing=0.05)
    y = make_targets(X, "multiclass")
    w = rng.uniform(0.2, 3.0, len(y)) if weighted else None
    model = classifiers()[name]
    if weighted and name == "pasting":
        with pytest.warns(UserWarning, match="bootstrap=True"):
            model.fit(X, y, sample_weight=w)
    else:
        model.fit(X, y, sample_weight=w)
    assert_statistics(model, X, y, w)
    ensemble = read_model(model)
    assert ensemble.loss == losses.Brier(3)
    assert_allclose(ensemble.predict(X), model.predict_proba(X), atol=1e-14)
    assert_same_model(ensemble, model, X)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", regressors())
def test_statistics_of_regressors(name, weighted, rng):
    X = make_rows()
    y = make_targets(X, "poisson")
    w = rng.uniform(0.2, 3.0, len(y)) if weighted else None
    model = regressors()[name].fit(X, y, sample_weight=w)
    assert_statistics(model, X, y, w)
    assert_same_model(read_model(model), model, X)


def test_leaves_of_medians():
    X = make_rows()
    y = make_targets(X, "")
    model = sk.RandomForestRegressor(**FOREST, criterion="absolute_error").fit(X, y)
    ensemble = read_model(model)
    assert ensemble.leaf_rule.kind == "quantile"
    assert ensemble.loss == losses.AbsoluteError()
    assert_same_model(ensemble, model, X)


def test_two_classes_and_one():
    X = make_rows()
    y = make_targets(X, "binary")
    model = sk.RandomForestClassifier(**FOREST).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.n_outputs == 2
    assert_same_model(ensemble, model, X)
    single = sk.RandomForestClassifier(**FOREST).fit(X, ["only"] * len(X))
    ensemble = read_model(single)
    assert (ensemble.n_outputs, ensemble.n_nodes) == (1, 0)
    assert_same_model(ensemble, single, X)


def test_subsample_is_told():
    X = make_rows()
    y = make_targets(X, "multiclass")
    told = {
        name: read_model(model.fit(X, y)).training.subsample
        for name, model in classifiers().items()
    }
    assert told["forest"] == "bootstrap=True"
    assert told["max_samples"] == "bootstrap=True, max_samples=0.3"
    assert told["pasting"] == "bootstrap=False, max_samples=0.5"
    for name in ("no bootstrap", "extra", "tree"):
        assert told[name] is None


def test_bootstrap_counts():
    X = make_rows()
    y = make_targets(X, "")
    model = sk.RandomForestRegressor(**FOREST).fit(X, y)
    counts = np.stack(list(draw_counts(read_model(model), len(X), None)))
    assert counts.shape == (5, 300)
    assert (counts.sum(axis=1) == 300).all()
    assert (counts == 0).any()
    for drawn, own in zip(counts, model.estimators_samples_, strict=True):
        assert_array_equal(drawn, np.bincount(own, minlength=300))
    with pytest.raises(ValueError, match="trained on 300 rows; got 299"):
        find_tree_weights(read_model(model), y[:299], np.empty(0))
    tree = sk_tree.DecisionTreeRegressor().fit(X, y)
    assert (find_tree_weights(read_model(tree), y, np.empty(0)) == 1.0).all()


@pytest.mark.parametrize("name", ["forest", "bagging", "patches"])
def test_first_trees_only(name):
    X = make_rows()
    model = classifiers()[name].fit(X, make_targets(X, "multiclass"))
    ensemble = read_model(model, iterations=3)
    assert ensemble.n_trees == 3
    assert check_parity(ensemble, model, X, iterations=3) < 1e-14
    assert np.abs(raw_score(model, X) - ensemble.raw_score(X)).max() > 1e-3
    assert len(model.estimators_) == 5


def test_gradient_methods_refuse_forests():
    X = make_rows()
    y = make_targets(X, "multiclass")
    for model, words in (
        (sk.RandomForestClassifier(2), "an averaged forest"),
        (sk_tree.DecisionTreeClassifier(), "a single tree"),
    ):
        with pytest.raises(UnsupportedModelError, match=words):
            TrainingTrace.build(read_model(model.fit(X, y)), X, y)


def test_several_targets_are_refused(rng):
    X = make_rows()
    Y = rng.normal(size=(300, 2))
    for model in (sk.RandomForestRegressor(2), sk_tree.DecisionTreeRegressor()):
        with pytest.raises(UnsupportedModelError, match="2 targets at once"):
            read_model(model.fit(X, Y))
    model = sk_tree.DecisionTreeClassifier().fit(X, Y > 0)
    with pytest.raises(UnsupportedModelError, match="2 targets at once"):
        read_model(model)
