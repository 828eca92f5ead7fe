"""LeafRefit of models whose trees were fitted on bags of the rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.explainers.bagged import BAGGING, CASES, fit_bagged, fit_lightgbm
from tests.explainers.refit.twin import naive_scores
from treeinf.explainers.refit.leaf_refit import LeafRefit


@pytest.fixture(params=CASES)
def case(request):
    model, X, y, weight, X_test, y_test = fit_bagged(request.param)
    explainer = LeafRefit(through_base_score=False)
    explainer.fit(model, X, y, sample_weight=weight)
    assert explainer.reproduction_.verdict == "exact"
    assert explainer.trace_.rows.bags.of_tree.size
    return explainer, X_test, y_test


def test_a_refit_with_all_rows_is_the_model(case):
    explainer, X_test, _ = case
    desired = explainer.ensemble_.raw_score(X_test)
    again = explainer.refit_without([]).raw_score(X_test)
    assert_allclose(again, desired, rtol=0, atol=1e-5 * np.abs(desired).max())


def test_influence_equals_the_slow_twin(case):
    explainer, X_test, y_test = case
    few, chosen = slice(0, 6), [0, 7, 100, 239]
    actual = explainer.explain(X_test[few], y_test[few]).values
    ensemble = explainer.ensemble_
    rows = explainer.trace_.rows
    step = ensemble.leaf_rule
    target = np.asarray(y_test[few], np.float32).astype(float)
    base = ensemble.base_score.tolist()
    bounds = {"lightest": step.min_leaf_hessian, "most": step.max_leaf_value}

    def losses(removed):
        found = naive_scores(explainer, X_test[few], removed, base, **bounds)
        return ensemble.loss.loss(target, found)

    before = losses([])
    desired = np.array([losses([i]) - before for i in chosen])
    scale = np.abs(actual).max()
    assert_allclose(actual[chosen], desired, rtol=0, atol=1e-11 * scale)
    never_seen = ~(rows.bags.table(ensemble.n_trees) != 0).any(axis=1)
    assert_array_equal(actual[never_seen], 0.0)


def test_counts_of_a_refitted_model_are_those_of_the_bags(case):
    explainer, *_ = case
    ensemble, rows = explainer.ensemble_, explainer.trace_.rows
    if ensemble.leaf_count is None:
        pytest.skip("this library stores no counts")
    removed = [2, 3, 30]
    refitted = explainer.refit_without(removed)
    factor = rows.bags.table(ensemble.n_trees) != 0
    factor[removed] = False
    desired = np.zeros(ensemble.n_leaves, int)
    for tree in range(ensemble.n_trees):
        leaf = rows.leaf[tree] + ensemble.leaf_offset[tree]
        np.add.at(desired, leaf, factor[:, tree])
    assert_array_equal(refitted.leaf_count, desired)


def test_path_smoothing_counts_the_rows_of_the_bag():
    model, X, y, _, X_test, _ = models.fit("regression", path_smooth=5.0, **BAGGING)
    explainer = LeafRefit().fit(model, X, y)
    stored = model.predict(X_test)
    again = explainer.refit_without([]).raw_score(X_test)[:, 0]
    assert_allclose(again, stored, rtol=0, atol=1e-7 * np.abs(stored).max())
    refitted = explainer.refit_without([2, 3])
    rows, ensemble = explainer.trace_.rows, explainer.ensemble_
    factor = rows.bags.table(ensemble.n_trees).astype(float)
    factor[[2, 3]] = 0.0
    counts = [
        np.bincount(rows.leaf[tree], factor[:, tree])
        for tree in range(ensemble.n_trees)
    ]
    assert_array_equal(refitted.leaf_count, np.concatenate(counts))


def test_a_group_is_removed_from_every_bag():
    model, X, y, weight, X_test, y_test = fit_lightgbm("binary", **BAGGING)
    explainer = ti.LeafRefit().fit(model, X, y, sample_weight=weight)
    groups = np.arange(len(y)) // 30
    actual = explainer.group_influence(groups, X_test, y_test)
    refitted = explainer.refit_without(groups == 2)
    loss = explainer.ensemble_.loss
    change = [
        loss.loss(y_test.astype(float), ensemble.raw_score(X_test)).sum()
        for ensemble in (explainer.refit_without([]), refitted)
    ]
    total = np.asarray(actual.values)[2].sum()
    assert_allclose(total, change[1] - change[0], rtol=1e-9)
