"""TargetInfluence: exact weights for squared error, finite differences for the rest."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from tests.explainers.gradient.test_leaf_influence import (
    TASKS,
    fit_family,
    newton_steps,
)
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import UnsupportedModelError


def fit_regression(family, **sampling):
    """Squared error without penalties on leaves, weighted."""
    X, y, weight = models.make_rows("regression")
    if family == "LightGBM":
        model = pytest.importorskip("lightgbm").LGBMRegressor(
            n_estimators=20, num_leaves=7, verbose=-1, n_jobs=1, **sampling
        )
    elif family == "XGBoost":
        model = pytest.importorskip("xgboost").XGBRegressor(
            n_estimators=20, max_depth=3, reg_lambda=0.0, n_jobs=1, **sampling
        )
    elif family == "CatBoost":
        model = pytest.importorskip("catboost").CatBoostRegressor(
            iterations=20,
            depth=3,
            l2_leaf_reg=0.0,
            bootstrap_type="No",
            verbose=False,
            thread_count=1,
            allow_writing_files=False,
        )
    else:
        ensemble = pytest.importorskip("sklearn.ensemble")
        model = getattr(ensemble, f"{family}Regressor")(**sampling)
    train = slice(0, 240)
    model.fit(X[train], y[train], sample_weight=weight[train])
    return model, X[train], y[train], weight[train], X[240:]


@pytest.mark.parametrize(
    ("family", "sampling"),
    [
        ("LightGBM", {}),
        ("LightGBM", {"subsample": 0.6, "subsample_freq": 2}),
        ("XGBoost", {}),
        ("XGBoost", {"subsample": 0.6}),
        ("CatBoost", {}),
        ("HistGradientBoosting", {}),
        ("HistGradientBoosting", {"early_stopping": True}),
        ("GradientBoosting", {}),
        ("GradientBoosting", {"subsample": 0.6, "n_iter_no_change": 5}),
    ],
    ids=str,
)
def test_weights_of_squared_error_make_the_predictions(family, sampling):
    model, X, y, weight, X_test = fit_regression(family, **sampling)
    explainer = ti.TargetInfluence().fit(model, X, y, sample_weight=weight)
    weights = explainer.explain(X_test).values
    predicted = np.asarray(model.predict(X_test), np.float64)
    # the libraries add up gradients in single precision; XGBoost keeps all in it
    precision = 2e-5 if family == "XGBoost" else 1e-6
    scale = np.abs(predicted).max()
    assert_allclose(weights.T @ y, predicted, rtol=0, atol=precision * scale)
    assert_allclose(weights.sum(axis=0), 1.0, rtol=0, atol=1e-9)


def test_weights_need_the_initial_score():
    model, X, y, weight, X_test = fit_regression("LightGBM")
    explainer = ti.TargetInfluence(through_base_score=False)
    weights = explainer.fit(model, X, y, sample_weight=weight).explain(X_test).values
    assert np.abs(weights.sum(axis=0) - 1.0).max() > 1e-3


def refit_scores(trace, target, base_score, leaf_test):
    """Scores of test rows after a refit of every leaf value with other targets."""
    ensemble, rows = trace.ensemble, trace.rows
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    train = np.tile(base_score, (rows.n_rows, 1))
    test = np.tile(base_score, (leaf_test.shape[1], 1))
    for tree in range(0, ensemble.n_trees, trace.n_steps):
        inner, inner_test = train.copy(), np.zeros_like(test)
        for t in range(tree, tree + trace.n_steps):
            if np.diff(ensemble.leaf_offset[t : t + 2])[0] == 1:
                continue
            gradient, hessian = ensemble.loss.derivatives(target, inner)
            step = newton_steps(trace, t, weight, gradient, hessian)
            inner = inner + step[rows.leaf[ensemble.row_of_tree[t]]]
            inner_test += step[leaf_test[ensemble.row_of_tree[t]]]
        train = train + ensemble.shrinkage[tree] * (inner - train)
        test = test + ensemble.shrinkage[tree] * inner_test
    return test


def check_derivative(explainer, X_test):
    trace, ensemble = explainer.trace_, explainer.ensemble_
    leaf_test = find_leaves(ensemble, X_test)
    actual = explainer.explain(X_test, output="raw_score").values
    eps = 1e-5
    for i in range(0, trace.rows.n_rows, 40):
        scores = []
        for sign in (1, -1):
            target = trace.rows.y.copy()
            target[i] += sign * eps
            base = ensemble.base_score
            if trace.base_estimate.kind == "initial":
                weight = trace.base_estimate.weight
                base = ensemble.loss.base_score(target, weight)
            scores.append(refit_scores(trace, target, base, leaf_test))
        change = (scores[0] - scores[1])[:, 0] / (2 * eps)
        assert_allclose(actual[i], change, rtol=0, atol=2e-6 * np.abs(actual).max())


@pytest.mark.parametrize(
    "recipe",
    [
        "regression",
        "regression_l1_l2",
        "binary",
        "binary_positive",
        "poisson",
        "gamma",
        "tweedie",
        "huber",
        "fair",
        "cross_entropy",
    ],
)
def test_values_are_derivatives_of_a_refit(recipe):
    model, X, y, weight, X_test, _ = models.fit(recipe, weighted=True)
    if recipe == "gamma":
        y = np.maximum(y, 1e-3)
    explainer = ti.TargetInfluence().fit(model, X, y, sample_weight=weight)
    check_derivative(explainer, X_test)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "multiclass"])
@pytest.mark.parametrize("family", ["XGBoost", "CatBoost", "HistGradientBoosting"])
def test_values_are_derivatives_of_a_refit_in_other_libraries(family, task):
    model, X, y, weight, X_test, _ = fit_family(family, task)
    explainer = ti.TargetInfluence().fit(model, X, y, sample_weight=weight)
    check_derivative(explainer, X_test)


@pytest.mark.parametrize("parameters", [{}, {"objective": "reg:pseudohubererror"}])
def test_initial_scores_of_xgboost_are_followed(parameters):
    xgboost = pytest.importorskip("xgboost")
    X, y, weight = models.make_rows("regression")
    model = xgboost.XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1, **parameters)
    model.fit(X[:240], y[:240], sample_weight=weight[:240])
    explainer = ti.TargetInfluence().fit(
        model, X[:240], y[:240], sample_weight=weight[:240]
    )
    estimate = explainer.trace_.base_estimate
    assert estimate.kind == ("step" if parameters else "initial")
    change = estimate.target_gradient()[:, 0]
    # squared error is linear in the targets; so is a Newton step only nearly
    moved = explainer.trace_.rows.y.copy()
    moved[3] += 1e-6
    other = type(estimate)(
        estimate.kind, estimate.loss, moved, estimate.weight, estimate.share
    )
    slope = (other.score() - estimate.score())[0] / 1e-6
    assert_allclose(change[3], slope, rtol=1e-4)


def test_self_influence_is_the_leverage():
    model, X, y, _, _, _ = models.fit("regression")
    explainer = ti.TargetInfluence().fit(model, X, y)
    square = explainer.explain(X).values
    assert_allclose(explainer.self_influence(), np.diag(square), atol=1e-12)
    assert_allclose(explainer.total(X), square.sum(axis=1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("recipe", ["multiclass", "multiclassova"])
def test_classes_are_refused_by_name(recipe):
    model, X, y, *_ = models.fit(recipe)
    with pytest.raises(UnsupportedModelError, match="relabel computes the effect"):
        ti.TargetInfluence().fit(model, X, y)


@pytest.mark.parametrize("kind", ["RandomForest", "ExtraTrees"])
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_weights_of_a_forest_make_its_predictions(kind, task):
    ensemble = pytest.importorskip("sklearn.ensemble")
    X, y, weight = models.make_rows(task)
    name = "Regressor" if task == "regression" else "Classifier"
    model = getattr(ensemble, kind + name)(n_estimators=20, random_state=0)
    model.fit(X[:240], y[:240], sample_weight=weight[:240])
    explainer = ti.TargetInfluence()
    explainer.fit(model, X[:240], y[:240], sample_weight=weight[:240])
    weights = explainer.explain(X[240:]).values
    if task == "regression":
        predicted = model.predict(X[240:])
    else:
        predicted = model.predict_proba(X[240:])[:, 1]
    assert_allclose(weights.T @ y[:240], predicted, rtol=0, atol=1e-10)
    assert_allclose(weights.sum(axis=0), 1.0, rtol=0, atol=1e-12)
    assert_allclose(explainer.total(X[240:]), weights.sum(axis=1), rtol=0, atol=1e-12)
    own = explainer.self_influence()
    if task == "regression":
        assert_allclose(own, np.diag(explainer.explain(X[:240])), atol=1e-12)
    else:
        # of the own class: more of the label, more or less of its probability
        assert (np.sign(own) * (2 * y[:240] - 1) >= 0).all()


def test_forests_of_many_classes_are_refused_by_name():
    ensemble = pytest.importorskip("sklearn.ensemble")
    X, y, _ = models.make_rows("multiclass")
    model = ensemble.RandomForestClassifier(n_estimators=3).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="LeafRefit explains"):
        ti.TargetInfluence().fit(model, X, y)
