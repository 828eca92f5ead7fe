"""Trees of several steps: one tree a step, and the same scores in the end."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.naive.boosting import derivatives
from treeinf.ensemble import LeafRule, TrainingFacts
from treeinf.errors import ModelFormatError


def boost(structure, X, y, weight, rule):
    """Give a model of one loss the leaf values that a rule makes of the rows.

    Plain loops over trees, steps, rows and leaves, with the shrinkage applied to the
    sum of a tree's steps.
    """
    leaves = structure.apply(X).tolist()
    values = np.zeros_like(structure.leaf_value)
    steps = np.zeros((rule.n_steps, len(values)))
    score = [list(structure.base_score) for _ in y]
    name, parameter = structure.loss.name, structure.loss.parameter
    for tree in range(structure.n_trees):
        first, stop = structure.leaf_offset[tree : tree + 2].tolist()
        current = [row.copy() for row in score]
        for step in range(rule.n_steps):
            G, H = [0.0] * (stop - first), [0.0] * (stop - first)
            for i, own in enumerate(leaves):
                g, h = derivatives(name, parameter, y[i], current[i])
                G[own[tree]] += weight[i] * g[0]
                H[own[tree]] += weight[i] * (1.0 if rule.kind == "gradient" else h[0])
            for leaf in range(stop - first):
                l2 = structure.leaf_l2[first + leaf]
                steps[step, first + leaf] = -G[leaf] / (H[leaf] + l2)
            for i, own in enumerate(leaves):
                current[i][0] += steps[step, first + own[tree]]
        values[first:stop, 0] = structure.shrinkage[tree] * steps[:, first:stop].sum(0)
        for i, own in enumerate(leaves):
            score[i][0] += values[first + own[tree], 0]
    boosted = dataclasses.replace(
        structure, leaf_value=values, leaf_rule=rule, leaf_hessian=None
    )
    return boosted, steps


@pytest.fixture(scope="module")
def structure():
    model, X, y, *_ = models.fit("binary", n_estimators=4)
    ensemble = ti.TrainingTrace.build(ti.read_model(model), X, y).ensemble
    penalty = np.full(ensemble.n_leaves, 2.5)
    exact = dataclasses.replace(ensemble, leaf_l2=penalty, training=TrainingFacts())
    return exact, X, y


RULES = [
    LeafRule("newton", n_steps=3),
    LeafRule("gradient", n_steps=3),
    LeafRule("gradient"),
    LeafRule("newton", n_steps=2, backtracks=True),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_steps_are_those_of_the_slow_twin(structure, rule, rng):
    weight = rng.uniform(0.5, 2.0, len(structure[2]))
    model, steps = boost(*structure, weight, rule)
    _, X, y = structure
    trace = ti.TrainingTrace.build(model, X, y, sample_weight=weight)
    assert trace.report.verdict == "exact"
    assert trace.report.largest_difference < 1e-12
    assert_allclose(trace.ensemble.raw_score(X), model.raw_score(X), rtol=1e-12)
    n_steps = rule.n_steps
    assert trace.ensemble.n_trees == n_steps * model.n_trees
    assert len(trace.rows.leaf) == model.n_trees
    assert_array_equal(
        trace.ensemble.apply(X), np.repeat(model.apply(X), n_steps, axis=1)
    )
    offset = trace.ensemble.leaf_offset
    for tree in range(trace.ensemble.n_trees):
        first, stop = model.leaf_offset[tree // n_steps : tree // n_steps + 2]
        own = slice(offset[tree], offset[tree + 1])
        desired = steps[tree % n_steps, first:stop]
        assert_allclose(trace.leaf_step[own, 0], desired, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", RULES[:3], ids=str)
def test_influence_over_steps_is_that_of_the_slow_twin(structure, rule, rng):
    """Each step counts as a tree, its gradients taken where the step was."""
    weight = rng.uniform(0.5, 2.0, len(structure[2]))
    model, steps = boost(*structure, weight, rule)
    _, X, y = structure
    tests = slice(0, 6)
    explainer = ti.BoostIn().fit(model, X, y, sample_weight=weight)
    values = explainer.explain(X[tests] + 0.01, y[tests]).values
    desired = np.zeros_like(values)
    X_all, y_all = np.vstack([X, X[tests] + 0.01]), np.concatenate([y, y[tests]])
    leaves = model.apply(X_all).astype(int)
    score = np.repeat(model.base_score, len(y_all))
    n = len(y)
    for tree in range(model.n_trees):
        first = model.leaf_offset[tree]
        current = score.copy()
        for step in steps:
            p = 1.0 / (1.0 + np.exp(-current))
            g = p - y_all
            h = np.ones_like(p) if rule.kind == "gradient" else p * (1.0 - p)
            for leaf in np.unique(leaves[:n, tree]):
                rows = np.flatnonzero(leaves[:n, tree] == leaf)
                others = np.flatnonzero(leaves[n:, tree] == leaf)
                H = (weight[rows] * h[rows]).sum() + model.leaf_l2[first + leaf]
                change = g[rows] + step[first + leaf] * h[rows]
                change *= weight[rows] / H * model.shrinkage[tree]
                desired[np.ix_(rows, others)] += np.outer(change, g[n + others])
            current += step[first + leaves[:, tree]]
        score += model.leaf_value[first + leaves[:, tree], 0]
    assert_allclose(values, desired, rtol=1e-9, atol=1e-12)
    own = explainer.self_influence().values
    assert np.isfinite(own).all()


def test_taken_trees_route_as_they_did(rng):
    model, X, *_ = models.fit("multiclass")
    ensemble = ti.read_model(model)
    trees = np.array([0, 0, 2, 5, 5, 5, 8])
    taken = ensemble.take_trees(trees)
    assert_array_equal(taken.apply(X), ensemble.apply(X)[:, trees])
    assert_array_equal(taken.leaf_count.sum(), 240 * len(trees))
    shared = dataclasses.replace(taken, leaf_row=[0, 0, 1, 2, 2, 2, 3])
    assert_array_equal(shared.apply(X), taken.apply(X))
    assert_array_equal(shared.raw_score(X), taken.raw_score(X))
    for staged, desired in zip(
        shared.staged_raw_score(X), taken.staged_raw_score(X), strict=True
    ):
        assert_array_equal(staged, desired)


@pytest.mark.parametrize("row", [[0, 1], [1] * 12, [0, 2] * 6, [0] * 11 + [-1]])
def test_shared_leaves_that_do_not_fit_are_refused(row):
    ensemble = ti.read_model(models.fit("regression")[0])
    with pytest.raises(ModelFormatError, match="leaf_row"):
        dataclasses.replace(ensemble, leaf_row=row)
