"""LeafRefit gives the leaf values of the libraries' own refits and rules."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import models
from tests.explainers.refit.twin import naive_scores
from treeinf.adapters import read_model
from treeinf.explainers.refit.leaf_refit import LeafRefit


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("removed", [[3], [0, 5, 17, 100, 101, 102]])
def test_lightgbm_refits_to_the_same_values(kind, removed):
    model, X, y, weight, X_test, _ = models.fit(
        kind, weighted=True, boost_from_average=False, reg_lambda=1.0
    )
    explainer = LeafRefit().fit(model, X, y, sample_weight=weight)
    kept = np.delete(np.arange(len(y)), removed)
    own = model.booster_.refit(X[kept], y[kept], decay_rate=0.0, weight=weight[kept])
    desired = own.predict(X_test, raw_score=True).reshape(len(X_test), -1)
    without = explainer.refit_without(removed).raw_score(X_test)
    everything = explainer.refit_without([]).raw_score(X_test)
    moved = np.abs(everything - desired).max()
    assert_allclose(without, desired, rtol=0, atol=2e-4 * moved)
    groups = explainer.group_influence([removed], X_test, output=one_output(without))
    assert_allclose(groups.values[0], (without - everything)[:, 0], rtol=0, atol=1e-12)


def one_output(raw_score):
    """The derivative that picks the first raw score."""
    pick = np.zeros_like(raw_score)
    pick[:, 0] = 1.0
    return pick


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "binary:logistic", "lambda": 1.0},
        {"objective": "binary:logistic", "lambda": 0.5, "alpha": 0.3},
        {"objective": "reg:squarederror", "min_child_weight": 6.0},
        {"objective": "count:poisson", "max_delta_step": 0.7},
    ],
    ids=lambda given: given["objective"],
)
@pytest.mark.parametrize("removed", [[7], [0, 7, 30, 31, 32, 33, 200]])
def test_xgboost_refreshes_to_the_same_values(parameters, removed):
    xgboost = pytest.importorskip("xgboost")
    recipe = {"binary:logistic": "binary", "count:poisson": "poisson"}
    X, y, weight = models.make_rows(recipe.get(parameters["objective"], "regression"))
    X, y, weight, X_test = X[:240], y[:240], weight[:240], X[240:]
    settings = {"max_depth": 3, "eta": 0.2, "base_score": 0.5, "nthread": 1}
    settings |= parameters
    booster = xgboost.train(settings, xgboost.DMatrix(X, y, weight=weight), 12)
    explainer = LeafRefit().fit(booster, X, y, sample_weight=weight)
    kept = np.delete(np.arange(len(y)), removed)
    copy = xgboost.Booster(model_file=booster.save_raw("json"))
    refresh = {
        "process_type": "update",
        "updater": "refresh",
        "refresh_leaf": True,
        "verbosity": 0,
    }
    own = xgboost.train(
        settings | refresh,
        xgboost.DMatrix(X[kept], y[kept], weight=weight[kept]),
        12,
        xgb_model=copy,
    )
    desired = own.predict(xgboost.DMatrix(X_test), output_margin=True)
    actual = explainer.refit_without(removed).raw_score(X_test)[:, 0]
    before = explainer.refit_without([]).raw_score(X_test)[:, 0]
    assert_allclose(actual, desired, rtol=0, atol=3e-3 * np.abs(before - desired).max())


def test_xgboost_leaf_that_becomes_too_light():
    """It is 0 under XGBoost before 3.4, and fitted as any other from then on."""
    xgboost = pytest.importorskip("xgboost")
    X = np.repeat([0.0, 1.0], [5, 4])[:, np.newaxis]
    y = np.array([1.0, 2, 3, 4, 5, 9, 9, 9, 8])
    settings = {"max_depth": 1, "min_child_weight": 4.0, "base_score": 0.0, "eta": 1.0}
    booster = xgboost.train(settings, xgboost.DMatrix(X, y), 1)
    for version, light in (("3.3.0", 0.0), ("3.4.0", 27.0 / 4.0)):
        ensemble = read_model(booster, parameters={"version": version})
        refitted = LeafRefit().fit(ensemble, X, y).refit_without([8])
        assert_allclose(refitted.raw_score([[1.0]])[0, 0], light, rtol=1e-6)
        assert_allclose(refitted.raw_score([[0.0]])[0, 0], 15.0 / 6.0)
    # by default as the version at hand does it, which refreshes its own leaves
    own = xgboost.train(
        settings | {"process_type": "update", "updater": "refresh"},
        xgboost.DMatrix(X[:8], y[:8]),
        1,
        xgb_model=xgboost.Booster(model_file=booster.save_raw("json")),
    )
    refitted = LeafRefit().fit(booster, X, y).refit_without([8])
    desired = own.inplace_predict(X, predict_type="margin")
    assert_allclose(refitted.raw_score(X)[:, 0], desired, rtol=1e-6)


@pytest.mark.parametrize("family", ["gradient", "hist"])
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_scikit_learn_models_equal_the_slow_twin(family, kind):
    from sklearn import ensemble as sk

    X, y, weight = models.make_rows(kind)
    X, y, w, X_test, y_test = X[:240], y[:240], weight[:240], X[240:248], y[240:248]
    is_class = kind != "regression"
    if family == "gradient":
        make = sk.GradientBoostingClassifier if is_class else None
        make = make or sk.GradientBoostingRegressor
        model = make(n_estimators=6, max_depth=3, random_state=0)
    else:
        make = sk.HistGradientBoostingClassifier if is_class else None
        make = make or sk.HistGradientBoostingRegressor
        model = make(
            max_iter=6, max_leaf_nodes=6, early_stopping=False, l2_regularization=0.5
        )
    model.fit(X, y, sample_weight=w)
    explainer = LeafRefit(through_base_score=False).fit(model, X, y, sample_weight=w)
    ensemble = explainer.ensemble_
    actual = explainer.explain(X_test, y_test).values
    single = family == "gradient"

    def losses(removed):
        found = naive_scores(explainer, X_test, removed, None, fits_single_leaf=single)
        return ensemble.loss.loss(y_test.astype(float), found)

    before = losses([])
    desired = np.array([losses([i]) - before for i in (0, 50, 239)])
    assert_allclose(
        actual[[0, 50, 239]], desired, rtol=0, atol=1e-11 * np.abs(actual).max()
    )
    library = model._raw_predict(X_test.astype(np.float32 if single else float))
    assert_allclose(
        explainer.refit_without([]).raw_score(X_test),
        library.reshape(len(X_test), -1),
        rtol=0,
        atol=1e-5 * np.abs(library).max(),
    )


@pytest.mark.parametrize("family", ["gradient", "hist"])
def test_the_base_score_is_estimated_again(family):
    from sklearn import ensemble as sk

    X, y, _ = models.make_rows("binary")
    kinds = {
        "gradient": sk.GradientBoostingClassifier(n_estimators=3),
        "hist": sk.HistGradientBoostingClassifier(max_iter=3, early_stopping=False),
    }
    model = kinds[family].fit(X[:240], y[:240])
    explainer = LeafRefit().fit(model, X[:240], y[:240])
    kept = np.arange(10, 240)
    share = y[kept].mean()
    base = explainer.refit_without(range(10)).base_score
    assert_allclose(base, np.log(share / (1.0 - share)), rtol=1e-9)
    fixed = LeafRefit(through_base_score=False).fit(model, X[:240], y[:240])
    assert_array_equal(
        fixed.refit_without(range(10)).base_score, fixed.ensemble_.base_score
    )


def catboost_steps(ensemble, rows, removed, base, X_test, lengths):
    """CatBoost's leaf steps by NumPy, tree by tree; gives raw scores of test rows."""
    kept = np.delete(np.arange(rows.n_rows), removed)
    weight = rows.weight if rows.weight.size else np.ones(rows.n_rows)
    weight, target, leaf = weight[kept], rows.y[kept], rows.leaf[:, kept]
    l2 = ensemble.leaf_l2[0] * weight.mean()
    rule, loss = ensemble.leaf_rule, ensemble.loss
    scores, test = np.tile(base, (len(kept), 1)), np.tile(base, (len(X_test), 1))
    test_leaf = ensemble.apply(X_test)
    width = ensemble.leaf_width
    for tree in range(ensemble.n_trees):
        n_leaves = int(np.diff(ensemble.leaf_offset)[tree])
        total = np.zeros((n_leaves, width))
        current = scores.copy()
        for step in range(rule.n_steps):
            gradient, hessian = loss.derivatives(target, current)
            move = np.zeros((n_leaves, width))
            for own in range(n_leaves):
                inside = leaf[tree] == own
                G = weight[inside] @ gradient[inside]
                if rule.kind == "full newton":
                    p = loss.link(current[inside])
                    H = np.diag(weight[inside] @ p) - (p.T * weight[inside]) @ p
                    ridge = max(np.float32(l2), 2.0**-23 * np.diag(H).max())
                    move[own] = -np.linalg.solve(H + ridge * np.eye(width), G)
                elif rule.kind == "gradient":
                    move[own] = -G / (weight[inside].sum() + l2)
                else:
                    move[own] = -G / (weight[inside] @ hessian[inside] + l2)
            move *= lengths[tree, step]
            total += move
            current = current + move[leaf[tree]]
        total *= ensemble.shrinkage[tree]
        scores += total[leaf[tree]]
        test += total[test_leaf[:, tree]]
    return test


CATBOOST = {
    "RMSE": ("regression", {}),
    "Logloss": ("binary", {"leaf_estimation_iterations": 1}),
    "three steps": (
        "binary",
        {"leaf_estimation_iterations": 3, "leaf_estimation_backtracking": "No"},
    ),
    "default": ("binary", {}),
    "gradient": (
        "binary",
        {"leaf_estimation_method": "Gradient", "leaf_estimation_iterations": 1},
    ),
    "MultiClass": ("multiclass", {"leaf_estimation_iterations": 1}),
    "two steps of MultiClass": (
        "multiclass",
        {"leaf_estimation_iterations": 2, "leaf_estimation_backtracking": "No"},
    ),
    "default MultiClass": ("multiclass", {"leaf_estimation_iterations": 4}),
}


@pytest.mark.parametrize("name", CATBOOST)
def test_catboost_equals_its_own_rule(name):
    catboost = pytest.importorskip("catboost")
    recipe, parameters = CATBOOST[name]
    X, y, weight = models.make_rows(recipe)
    X, y, w, X_test = X[:240], y[:240], weight[:240], X[240:]
    kind = catboost.CatBoostClassifier
    kind = catboost.CatBoostRegressor if recipe == "regression" else kind
    settings = {
        "iterations": 6,
        "depth": 3,
        "learning_rate": 0.3,
        "l2_leaf_reg": 2.0,
        "bootstrap_type": "No",
        "thread_count": 1,
        "allow_writing_files": False,
        "verbose": False,
    }
    model = kind(**settings, **parameters).fit(X, y, sample_weight=w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        explainer = LeafRefit(through_base_score=False).fit(
            model, X, y, sample_weight=w
        )
    ensemble, rows = explainer._refit.source, explainer.trace_.rows
    lengths = explainer._refit._rule.step_length
    lengths = lengths.reshape(ensemble.n_trees, -1)
    assert np.isin(lengths, [0.0, *2.0 ** -np.arange(12)]).all()
    for removed in ([], [3], list(range(0, 60, 2))):
        desired = catboost_steps(
            ensemble, rows, removed, ensemble.base_score, X_test, lengths
        )
        actual = explainer.refit_without(removed).raw_score(X_test)
        # the penalty of several outputs is in single precision
        assert_allclose(actual, desired, rtol=0, atol=1e-7 * np.abs(desired).max())
    before = explainer.refit_without([]).raw_score(X_test)
    stored = ensemble.raw_score(X_test)
    assert_allclose(before, stored, rtol=0, atol=1e-6 * np.abs(stored).max())
