"""Gradient-based influence of models whose trees were fitted on bags of the rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests.explainers.bagged import CASES, fit_bagged
from tests.naive.boosting import NaiveModel, derivatives
from tests.naive.leaf_influence import leaf_influence
from tests.naive.weighted_refit import differentiate_losses


@pytest.fixture(scope="module", params=CASES)
def case(request):
    model, X, y, weight, X_test, y_test = fit_bagged(request.param)
    explainer = ti.LeafInfluence()
    explainer.fit(model, X, y, sample_weight=weight)
    assert explainer.reproduction_.verdict == "exact"
    bags = explainer.trace_.rows.bags
    assert bags.of_tree.size
    n_trees = explainer.ensemble_.n_trees
    return explainer, model, (X, y, weight), (X_test, y_test), bags.table(n_trees)


def test_influence_is_the_derivative_of_the_refit_with_the_same_bags(case):
    explainer, _, _, (X_test, y_test), _ = case
    values = explainer.explain(X_test[:5], y_test[:5]).values
    chosen = (0, 7, 100, 239)
    target = np.asarray(y_test[:5], np.float32).astype(float)
    slope = differentiate_losses(explainer.trace_, chosen, X_test[:5], target)
    size = np.abs(values).max()
    assert_allclose(values[list(chosen)], -slope, rtol=0, atol=1e-7 * size)


@pytest.mark.parametrize("kind", [ti.LeafInfluence, ti.LeafRefit])
def test_rows_that_no_tree_saw_have_no_influence_but_by_the_base_score(case, kind):
    _, model, (X, y, weight), (X_test, y_test), factor = case
    explainer = kind(through_base_score=False).fit(model, X, y, sample_weight=weight)
    values = explainer.explain(X_test[:5], y_test[:5]).values
    assert_array_equal(values[~(factor != 0).any(axis=1)], 0.0)


def test_ways_to_the_same_numbers_agree(case):
    explainer, _, (X, y, _), (X_test, y_test), _ = case
    dense = explainer.explain(X_test, y_test).values
    size = np.abs(dense).max()
    total = explainer.total(X_test, y_test)
    assert_allclose(total, dense.sum(axis=1), rtol=0, atol=1e-11 * size * len(y_test))
    one = explainer.explain(X_test[:1], y_test[:1]).values
    assert_allclose(one, dense[:, :1], rtol=0, atol=1e-11 * size)
    own = explainer.self_influence()
    with pytest.warns(ti.errors.SelfExplanationWarning):
        diagonal = np.diagonal(explainer.explain(X, y).values)
    assert_allclose(own, diagonal, rtol=0, atol=1e-10 * np.abs(own).max())


def test_the_coupling_equals_the_sweep(case, monkeypatch):
    from treeinf.explainers.gradient.adjoint import Adjoint

    explainer, _, _, (X_test, y_test), _ = case
    results = []
    for is_coupled in (False, True):
        monkeypatch.setattr(Adjoint, "prefers_coupling", lambda *_, c=is_coupled: c)
        results.append(explainer.explain(X_test, y_test).values)
    size = np.abs(results[0]).max()
    assert_allclose(results[1], results[0], rtol=0, atol=1e-11 * size)


def test_boostin_multiplies_what_a_row_adds_by_its_factor(case):
    _, model, (X, y, weight), (X_test, y_test), factor = case
    explainer = ti.BoostIn().fit(model, X, y, sample_weight=weight)
    actual = explainer.explain(X_test[:6], y_test[:6]).values
    trace, ensemble = explainer.trace_, explainer.ensemble_
    rows, loss = trace.rows, ensemble.loss
    test_leaf = ensemble.apply(X_test[:6])
    target = np.asarray(y_test[:6], np.float32).astype(float)
    score = np.tile(ensemble.base_score, (rows.n_rows, 1))
    test_score = np.tile(ensemble.base_score, (6, 1))
    w = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    desired = np.zeros_like(actual)
    for iteration in range(ensemble.n_iterations):
        g, h = loss.derivatives(rows.y, score)
        test_g, _ = loss.derivatives(target, test_score)
        trees = np.flatnonzero(ensemble.iteration == iteration)
        for tree in trees:
            first, last = ensemble.leaf_offset[tree : tree + 2]
            k, leaf = max(ensemble.output[tree], 0), rows.leaf[tree].astype(int)
            used = w * factor[:, tree]
            hessian = np.bincount(leaf, used * h[:, k], last - first)
            hessian += ensemble.leaf_l2[first:last]
            shrinkage = ensemble.shrinkage[tree]
            theta = ensemble.leaf_value[first:last, 0] / shrinkage
            push = used * (g[:, k] + theta[leaf] * h[:, k]) / hessian[leaf]
            same = leaf[:, np.newaxis] == test_leaf[:, tree]
            if last - first > 1:
                desired += shrinkage * same * push[:, np.newaxis] * test_g[:, k]
        for tree in trees:
            k, values = max(ensemble.output[tree], 0), ensemble.leaf_value[:, 0]
            first = ensemble.leaf_offset[tree]
            score[:, k] += values[first + rows.leaf[tree].astype(int)]
            test_score[:, k] += values[first + test_leaf[:, tree]]
    assert_allclose(actual, desired, rtol=0, atol=1e-10 * np.abs(desired).max())
    total = explainer.total(X_test[:6], y_test[:6])
    assert_allclose(total, desired.sum(axis=1), rtol=0, atol=1e-9 * np.abs(total).max())


@pytest.mark.parametrize("propagation", ["full", "single_point"])
def test_influence_equals_the_published_forward_recursion_over_bags(propagation, case):
    _, model, (X, y, weight), (X_test, y_test), factor = case
    explainer = ti.LeafInfluence(
        propagation=propagation, cross_class=False, through_base_score=False
    )
    explainer.fit(model, X, y, sample_weight=weight)
    ensemble, rows = explainer.ensemble_, explainer.trace_.rows
    if (np.diff(ensemble.iteration) == 0).any() and ensemble.n_outputs == 1:
        pytest.skip("the recursion takes one tree after the other")
    used = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    chosen = np.r_[0:60] if propagation == "full" else np.r_[0 : rows.n_rows]
    desired = leaf_influence(
        NaiveModel(ensemble),
        ensemble.apply(X).tolist(),
        rows.y.tolist(),
        used.tolist(),
        ensemble.apply(X_test[:4]).tolist(),
        np.asarray(y_test[:4], np.float32).astype(float).tolist(),
        derivatives,
        propagation == "single_point",
        factor.tolist(),
        chosen.tolist(),
    )
    actual = explainer.explain(X_test[:4], y_test[:4]).values[chosen]
    assert_allclose(actual, desired, rtol=0, atol=1e-11 * np.abs(desired).max())


def test_single_point_total_is_the_sum_of_the_rows(case):
    _, model, (X, y, weight), (X_test, y_test), factor = case
    explainer = ti.LeafInfluence(propagation="single_point", through_base_score=False)
    explainer.fit(model, X, y, sample_weight=weight)
    dense = explainer.explain(X_test, y_test).values
    total = explainer.total(X_test, y_test)
    size = np.abs(dense).max() * len(y_test)
    assert_allclose(total, dense.sum(axis=1), rtol=0, atol=1e-10 * size)
    assert_array_equal(dense[~(factor != 0).any(axis=1)], 0.0)
