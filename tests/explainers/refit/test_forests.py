"""LeafRefit of forests: brute force over the paths of every tree."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.naive.leaf_refit import forest_scores
from treeinf.adapters.sklearn.bootstrap import find_tree_weights
from treeinf.errors import (
    TrainingDataMismatchError,
    UnsupportedModelError,
)
from treeinf.explainers.refit.leaf_refit import LeafRefit

FORESTS = {
    "forest": ("RandomForest", {"max_depth": 4}),
    "deep forest": ("RandomForest", {}),
    "extra trees": ("ExtraTrees", {"max_depth": 3}),
    "weighted classes": ("RandomForest", {"class_weight": "balanced_subsample"}),
    "tree": ("DecisionTree", {"max_depth": 4}),
    "bagging": ("Bagging", {}),
}


def fit_forest(name, kind, *, weighted=False):
    from sklearn import ensemble as sk
    from sklearn import tree

    start, parameters = FORESTS[name]
    X, y, weight = models.make_rows(kind)
    end = "Regressor" if kind == "regression" else "Classifier"
    if start == "DecisionTree":
        model = getattr(tree, start + end)(random_state=0, **parameters)
    else:
        model = getattr(sk, start + end)(n_estimators=5, random_state=0, **parameters)
    w = weight[:80] if weighted else None
    model.fit(X[:80], y[:80], sample_weight=w)
    return model, X[:80], y[:80], w, X[240:260], y[240:260]


def paths_to_root(ensemble):
    """For each tree and leaf, the leaves below every node from the leaf upwards."""
    result = []
    for t in range(ensemble.n_trees):
        nodes = slice(*ensemble.node_offset[t : t + 2])
        left, right = ensemble.left[nodes].tolist(), ensemble.right[nodes].tolist()

        def below(child, left=left, right=right):
            if child < 0:
                return {~child}
            return below(left[child]) | below(right[child])

        n_leaves = int(np.diff(ensemble.leaf_offset)[t])
        sets = [{leaf} for leaf in range(n_leaves)]
        sets += [below(node) for node in range(len(left))]
        result.append(
            [
                sorted((s for s in sets if leaf in s), key=len)
                for leaf in range(n_leaves)
            ]
        )
    return result


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize("name", FORESTS)
def test_forests_equal_brute_force(name, kind):
    if name == "weighted classes" and kind == "regression":
        pytest.skip("regressors know no classes")
    model, X, y, w, X_test, y_test = fit_forest(name, kind, weighted=name == "forest")
    explainer = LeafRefit().fit(model, X, y, sample_weight=w)
    ensemble = explainer.ensemble_
    weights = find_tree_weights(ensemble, y, np.empty(0) if w is None else w)
    value = y[:, np.newaxis].astype(float)
    if kind == "multiclass":
        value = (value == np.arange(3)).astype(float)
    actual = explainer.explain(X_test, y_test).values
    train, test = ensemble.apply(X).tolist(), ensemble.apply(X_test).tolist()
    paths = paths_to_root(ensemble)

    def losses(removed):
        found = [
            forest_scores(paths, train, value.tolist(), weights.tolist(), row, removed)
            for row in test
        ]
        return ensemble.loss.loss(y_test.astype(float), np.array(found))

    before = losses(set())
    stored = ensemble.loss.loss(y_test.astype(float), ensemble.raw_score(X_test))
    assert_allclose(before, stored, rtol=1e-10, atol=1e-12)
    scale = np.abs(actual).max()
    for row in (0, 41):
        desired = losses({row}) - before
        assert_allclose(actual[row], desired, rtol=0, atol=1e-12 * scale)
    group = [0, 1, 2, 3, 30, 31, 79]
    joint = explainer.group_influence([group, []], X_test, y_test).values
    assert_allclose(joint[0], losses(set(group)) - before, rtol=0, atol=1e-11 * scale)
    assert_array_equal(joint[1], 0.0)
    assert_allclose(
        explainer.total(X_test, y_test), actual.sum(axis=1), atol=1e-11 * scale
    )
    refitted = explainer.refit_without(group)
    desired = ensemble.loss.loss(y_test.astype(float), refitted.raw_score(X_test))
    assert_allclose(desired - before, joint[0], rtol=0, atol=1e-11 * scale)
    assert refitted.leaf_count.sum() < ensemble.leaf_count.sum()


@pytest.mark.parametrize("name", [*FORESTS])
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_forest_weights_give_the_predictions(name, kind):
    if name == "weighted classes" and kind == "regression":
        pytest.skip("regressors know no classes")
    model, X, y, w, X_test, _ = fit_forest(name, kind, weighted=True)
    forest = LeafRefit().fit(model, X, y, sample_weight=w).forest_
    leaf_test = np.ascontiguousarray(forest.ensemble.apply(X_test).T)
    weights = np.empty((len(y), len(X_test)))
    forest.fill_weights(leaf_test, weights)
    desired = model.predict(X_test) if kind == "regression" else None
    if kind == "multiclass":
        desired = model.predict_proba(X_test)
    actual = weights.T @ (y if kind == "regression" else forest.value)
    assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)
    assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-12)
    part = np.empty((5, len(X_test)))
    forest.fill_weights(leaf_test, part, first_row=20)
    assert_array_equal(part, weights[20:25])
    factor = np.linspace(-1.0, 2.0, len(X_test))
    assert_allclose(forest.sum_weights(leaf_test, factor), weights @ factor, atol=1e-12)


@pytest.mark.parametrize("name", FORESTS)
def test_a_forest_read_back_from_its_file_is_explained_alike(name, tmp_path):
    model, X, y, w, X_test, y_test = fit_forest(name, "multiclass", weighted=True)
    live = LeafRefit().fit(model, X, y, sample_weight=w)
    ti.read_model(model).save(tmp_path / "forest.npz")
    again = LeafRefit().fit(tmp_path / "forest.npz", X, y, sample_weight=w)
    assert again.reproduction_.verdict == "exact"
    desired = live.explain(X_test, y_test).values
    assert_array_equal(again.explain(X_test, y_test).values, desired)


def test_a_forest_of_an_older_file_is_refused():
    model, X, y, *_ = fit_forest("forest", "regression")
    ensemble = ti.read_model(model)
    facts = dataclasses.replace(ensemble.training, row_sampling=None)
    with pytest.raises(UnsupportedModelError, match="read and save it again"):
        LeafRefit().fit(dataclasses.replace(ensemble, training=facts), X, y)


def test_other_rows_of_a_forest_are_told():
    model, X, y, _, *_ = fit_forest("forest", "regression")
    with pytest.raises(ValueError, match="omit it"):
        LeafRefit().fit(model, X, y, init_score=y)
    with pytest.raises(TrainingDataMismatchError, match="mean of the rows"):
        LeafRefit().fit(model, X, y[::-1])
