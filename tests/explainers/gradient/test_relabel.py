"""Relabelling: finite differences of a refit on the way from one label to another."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from tests.explainers.gradient.test_leaf_influence import fit_catboost, newton_steps
from treeinf.ensemble.routing import find_leaves


def refit_two(trace, other, share, i, base, leaf_test):
    """Refit with row i split: a share of it under the other target and weight."""
    ensemble, rows = trace.ensemble, trace.rows
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    new = other.weight if other.weight.size else np.ones(rows.n_rows)
    leaf = np.concatenate([rows.leaf, rows.leaf[:, [i]]], axis=1)
    target = np.append(rows.y, other.y[i])
    weight = np.append(weight, share * new[i])
    weight[i] *= 1.0 - share
    both = dataclasses.replace(
        trace, rows=dataclasses.replace(rows, leaf=leaf, y=target, weight=weight)
    )
    train = np.tile(base, (len(target), 1))
    test = np.tile(base, (leaf_test.shape[1], 1))
    for iteration in range(ensemble.n_iterations):
        gradient, hessian = ensemble.loss.derivatives(target, train)
        train = train.copy()
        for t in np.flatnonzero(ensemble.iteration == iteration):
            if np.diff(ensemble.leaf_offset[t : t + 2])[0] == 1:
                continue
            k = [ensemble.output[t]]
            step = newton_steps(both, t, weight, gradient[:, k], hessian[:, k])
            train[:, k] += ensemble.shrinkage[t] * step[leaf[t]]
            test[:, k] += ensemble.shrinkage[t] * step[leaf_test[t]]
    return test


@pytest.mark.parametrize(
    "recipe",
    [
        "regression",
        "binary",
        "binary_positive",
        "binary_weighted",
        "multiclass",
        "multiclassova",
        "poisson",
    ],
)
def test_influence_is_the_derivative_on_the_way_to_the_label(recipe):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=True)
    explainer = ti.LeafInfluence().fit(model, X, y, sample_weight=weight)
    trace, ensemble = explainer.trace_, explainer.ensemble_
    labels = np.array([0.5, 3.0]) if ensemble.loss.n_classes == 0 else None
    actual = explainer.relabel(X_test, y_test, labels=labels)
    names = labels if labels is not None else model.classes_
    assert (actual.test_labels == names).all()
    leaf_test = find_leaves(ensemble, X_test)
    gradient, _ = ensemble.loss.derivatives(
        y_test.astype(np.float32).astype(np.float64), ensemble.raw_score(X_test)
    )
    estimate = trace.base_estimate
    eps = 1e-4
    for k, label in enumerate(names):
        other, _ = trace.relabel(np.full(len(y), float(np.float32(label))))
        for i in (0, 57, 121, 230):
            if other.y[i] == trace.rows.y[i]:
                assert actual[i, k] == 0.0
                continue
            scores = []
            for share in (0.0, eps):
                ratio = 1.0
                if trace.label_weight.size:
                    old, new = int(trace.rows.y[i]), int(other.y[i])
                    factor = trace.label_weight[0, 0]
                    ratio = factor[new] / factor[old]
                target = np.append(estimate.target, other.y[i])
                w = np.append(estimate.weight, share * ratio * estimate.weight[i])
                w[i] *= 1.0 - share
                base = ensemble.loss.base_score(target, w)
                scores.append(refit_two(trace, other, share, i, base, leaf_test))
            change = (scores[1] - scores[0]) / eps
            desired = (change * gradient).sum()
            # a one-sided difference: the error is that of the step
            assert_allclose(actual[i, k], desired, atol=2e-3 * np.abs(actual).max())


def test_a_label_of_each_row_is_one_of_the_columns():
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    explainer = ti.LeafInfluence().fit(model, X, y)
    every = explainer.relabel(X_test, y_test).values
    other = ((y + 1) % 3)[:, np.newaxis]
    own = explainer.relabel(X_test, y_test, labels=other)
    assert own.shape == (240, 1)
    assert_allclose(own.values, np.take_along_axis(every, other, axis=1), rtol=1e-12)


def test_boostin_relabels_with_the_same_row_factors():
    model, X, y, _, X_test, y_test = models.fit("binary")
    explainer = ti.BoostIn().fit(model, X, y)
    actual = explainer.relabel(X_test, y_test).values
    now = explainer.total(X_test, y_test).values
    ensemble = explainer.ensemble_
    flipped = ti.BoostIn(on_mismatch="ignore")
    flipped.fit(ensemble, X, 1 - y)  # g and h at the same scores, of the other class
    scale = explainer.trace_.leaf_response / flipped.trace_.leaf_response
    assert_allclose(scale, 1.0)  # the hessian knows no labels
    other = flipped.total(X_test, y_test).values
    column = (1 - y)[:, np.newaxis]
    moved = np.take_along_axis(actual, column, axis=1)[:, 0]
    assert_allclose(moved, now - other, rtol=0, atol=1e-6 * np.abs(now).max())


def test_flipped_labels_would_be_better_flipped_back():
    model, X, y, _, _, _ = models.fit("binary", n_estimators=30)
    wrong = y.copy()
    flips = np.random.default_rng(0).choice(120, 12, replace=False)
    wrong[flips] = 1 - wrong[flips]
    model = type(model)(**model.get_params()).fit(X[:120], wrong[:120])
    explainer = ti.LeafInfluence().fit(model, X[:120], wrong[:120])
    gain = explainer.relabel(X[120:], y[120:]).values.min(axis=1)
    rank = np.argsort(np.argsort(gain))
    assert rank[flips].mean() < 0.6 * rank.mean()


def test_string_labels_and_full_matrices():
    names = np.array(["low", "middle", "high"])
    model, X, y, _ = fit_catboost("multiclass")
    model.fit(X[:240], names[y[:240]])
    explainer = ti.LeafInfluence().fit(model, X[:240], names[y[:240]])
    influence = explainer.relabel(X[240:], names[y[240:]])
    assert influence.to_frame().columns.tolist() == sorted(names)
    drop = explainer.total(X[240:], names[y[240:]]).values
    assert not np.allclose(influence.values[:, 0], drop)


def test_errors_say_what_was_expected():
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.LeafInfluence().fit(model, X, y)
    with pytest.raises(ValueError, match="pass the values"):
        explainer.relabel(X_test, y_test)
    with pytest.raises(ValueError, match=r"expected \(n_labels,\)"):
        explainer.relabel(X_test, y_test, labels=np.zeros((7, 2)))
    single = ti.LeafInfluence(propagation="single_point").fit(model, X, y)
    with pytest.raises(ValueError, match="expected 'full'"):
        single.relabel(X_test, y_test, labels=[0.0])


def test_the_result_says_what_its_columns_are():
    pytest.importorskip("pandas")
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    influence = ti.LeafInfluence().fit(model, X, y).relabel(X_test, y_test)
    assert "240 train rows by 3 labels" in repr(influence)
    assert influence.to_frame().columns.name == "label"
    refit = ti.LeafRefit().fit(model, X, y)
    groups = refit.group_influence(np.arange(240) % 4, X_test, y_test)
    assert "4 groups on 40 test rows" in repr(groups)
