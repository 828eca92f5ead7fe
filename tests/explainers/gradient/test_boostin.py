"""BoostIn: slow twin, finite differences, published values, properties."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel, boostin
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.gradient import factors

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"


def effective_weights(recipe, y, weight):
    """Weights as LightGBM multiplies them, by its documentation."""
    w = np.ones(len(y)) if weight is None else weight.copy()
    if recipe == "binary_weighted":
        w *= np.where(y == 1, len(y) / (2 * y.sum()), len(y) / (2 * (1 - y).sum()))
    w = w.astype(np.float32).astype(np.float64)
    if recipe == "binary_positive":
        w *= np.where(y == 1, 3.0, 1.0)
    return w


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("recipe", models.RECIPES)
def test_boostin_equals_the_slow_twin(recipe, weighted):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=weighted)
    for theta, power in (("exact", 0), ("published", 1), ("exact", 2)):
        explainer = ti.BoostIn(theta=theta, count_power=power)
        explainer.fit(model, X, y, sample_weight=weight)
        assert explainer.reproduction_.verdict == "exact"
        ensemble = explainer.ensemble_
        naive = NaiveModel(ensemble)
        if recipe == "regression_clipped":
            steps = np.abs(explainer.trace_.leaf_step)
            assert (steps >= 4.0 - 1e-6).any()
            continue  # the twin knows no bound; see the finite differences
        y32 = y.astype(np.float32).astype(np.float64)
        test32 = y_test.astype(np.float32).astype(np.float64)
        desired = boostin(
            naive,
            ensemble.apply(X).tolist(),
            y32.tolist(),
            effective_weights(recipe, y, weight).tolist(),
            ensemble.apply(X_test).tolist(),
            test32.tolist(),
            theta=theta,
            count_power=power,
        )
        actual = explainer.explain(X_test, y_test)
        scale = np.abs(desired).max()
        assert scale > 0
        assert_allclose(actual, desired, rtol=0, atol=1e-12 * scale)
        assert_allclose(
            explainer.total(X_test, y_test),
            np.sum(desired, axis=1),
            rtol=0,
            atol=1e-12 * scale * len(y_test),
        )


def refit_tree(explainer, tree, weight):
    """Leaf values of one tree under row weights, scores before it held fixed."""
    trace, ensemble = explainer.trace_, explainer.ensemble_
    before = np.tile(ensemble.base_score, (trace.rows.n_rows, 1))
    for t in range(ensemble.n_trees):
        if ensemble.iteration[t] == ensemble.iteration[tree]:
            break
        first = ensemble.leaf_offset[t]
        before[:, ensemble.output[t]] += ensemble.leaf_value[
            first + trace.rows.leaf[t], 0
        ]
    gradient, hessian = ensemble.loss.derivatives(trace.rows.y, before)
    k = ensemble.output[tree]
    first, last = ensemble.leaf_offset[tree : tree + 2]
    rule = ensemble.leaf_rule
    leaf = trace.rows.leaf[tree]
    G = np.bincount(leaf, weight * gradient[:, k], minlength=last - first)
    H = np.bincount(leaf, weight * hessian[:, k], minlength=last - first)
    step = -np.sign(G) * np.maximum(np.abs(G) - rule.l1_leaf, 0.0)
    step /= H + ensemble.leaf_l2[first:last]
    if rule.max_leaf_value:
        step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
    return step * ensemble.shrinkage[tree]


@pytest.mark.parametrize(
    "recipe",
    [
        "regression",
        "regression_l1_l2",
        "regression_clipped",
        "binary",
        "binary_positive",
        "multiclass",
        "multiclassova",
        "poisson",
        "gamma",
        "tweedie",
        "fair",
        "cross_entropy",
    ],
)
def test_boostin_is_minus_the_derivative_of_a_one_iteration_reweighting(recipe):
    model, X, y, weight, X_test, y_test = models.fit(
        recipe, weighted=True, n_estimators=4
    )
    explainer = ti.BoostIn().fit(model, X, y, sample_weight=weight)
    ensemble, trace = explainer.ensemble_, explainer.trace_
    w = trace.rows.weight
    leaf_test = ensemble.apply(X_test).T
    staged = []
    score = np.tile(ensemble.base_score, (len(y_test), 1))
    target = y_test.astype(np.float32).astype(np.float64)
    for t in range(ensemble.n_trees):
        if t == 0 or ensemble.iteration[t] != ensemble.iteration[t - 1]:
            gradient, _ = ensemble.loss.derivatives(target, score)
        staged.append(gradient[:, ensemble.output[t]])
        first = ensemble.leaf_offset[t]
        score[:, ensemble.output[t]] += ensemble.leaf_value[first + leaf_test[t], 0]
    actual = explainer.explain(X_test, y_test).values
    eps = 1e-4
    rows = np.random.default_rng(0).choice(len(y), 25, replace=False)
    for i in rows:
        derivative = np.zeros(len(y_test))
        for t in range(ensemble.n_trees):
            if ensemble.leaf_offset[t + 1] - ensemble.leaf_offset[t] == 1:
                continue
            up, down = w.copy(), w.copy()
            up[i] *= 1 + eps
            down[i] *= 1 - eps
            change = refit_tree(explainer, t, up) - refit_tree(explainer, t, down)
            derivative += change[leaf_test[t]] / (2 * eps) * staged[t]
        # Removing the row takes its whole weight away: minus the derivative in the
        # logarithm of the weight. eps**2 and the library's float32 gradients remain.
        scale = np.abs(actual).max()
        assert_allclose(actual[i], -derivative, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("steps", [1, 3])
def test_full_matrices_are_followed(steps):
    catboost = pytest.importorskip("catboost")
    X, y, weight = models.make_rows("multiclass")
    model = catboost.CatBoostClassifier(
        iterations=4,
        depth=3,
        leaf_estimation_iterations=steps,
        bootstrap_type="No",
        verbose=False,
        thread_count=1,
        allow_writing_files=False,
    ).fit(X[:240], y[:240], sample_weight=weight[:240])
    explainer = ti.BoostIn().fit(model, X[:240], y[:240], sample_weight=weight[:240])
    trace, ensemble = explainer.trace_, explainer.ensemble_
    leaf, w = trace.rows.leaf, trace.rows.weight
    leaf_test = find_leaves(ensemble, X[240:])
    target = y[240:].astype(np.float64)
    desired = np.zeros((240, len(target)))
    own = np.zeros(240)
    score = np.tile(ensemble.base_score, (240, 1))
    score_test = np.tile(ensemble.base_score, (len(target), 1))
    for t in range(ensemble.n_trees):
        line = ensemble.row_of_tree[t]
        gradient, _ = ensemble.loss.derivatives(trace.rows.y, score)
        staged, _ = ensemble.loss.derivatives(target, score_test)
        p = ensemble.loss.link(score)
        for number in range(*ensemble.leaf_offset[t : t + 2]):
            rows = np.flatnonzero(leaf[line] == number - ensemble.leaf_offset[t])
            tests = leaf_test[line] == number - ensemble.leaf_offset[t]
            hessian = [np.diag(p[i]) - np.outer(p[i], p[i]) for i in rows]
            H = sum(w[i] * h for i, h in zip(rows, hessian, strict=True))
            H = H + ensemble.leaf_l2[number] * np.eye(3)
            for i, h in zip(rows, hessian, strict=True):
                pull = w[i] * (gradient[i] + h @ trace.leaf_step[number])
                move = ensemble.shrinkage[t] * np.linalg.solve(H, pull)
                desired[i, tests] += staged[tests] @ move
                own[i] += gradient[i] @ move
        values = ensemble.leaf_value[ensemble.leaf_offset[t] :]
        score += values[leaf[line]]
        score_test += values[leaf_test[line]]
    scale = np.abs(desired).max()
    actual = explainer.explain(X[240:], y[240:])
    assert_allclose(actual, desired, rtol=0, atol=1e-6 * scale)
    total = explainer.total(X[240:], y[240:])
    assert_allclose(total, actual.sum(), rtol=0, atol=1e-10 * scale)
    assert_allclose(explainer.self_influence(), own, rtol=0, atol=1e-6 * own.max())


@pytest.mark.parametrize(
    "name",
    [
        "lightgbm_binary_breast_cancer",
        "lightgbm_regression_diabetes",
        "lightgbm_multiclass_wine",
        "lightgbm_multiclass_iris_l2",
    ],
)
def test_published_settings_give_the_published_values(name):
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the reference values are not at {path}")
    golden = np.load(path, allow_pickle=False)
    assert json.loads(str(golden["meta"]))
    X, y = golden["X_train"], golden["y_train"]
    for power, method in ((0, "BoostIn"), (1, "BoostInW1"), (2, "BoostInW2")):
        explainer = ti.BoostIn(theta="published", count_power=power)
        explainer.fit(GOLDEN / f"{name}.model.txt", X, y)
        desired = golden[f"inf_{method}"]
        actual = explainer.explain(golden["X_test"], golden["y_test"])
        assert_allclose(actual, desired, rtol=0, atol=1e-9 * np.abs(desired).max())
        if power == 0:
            own = golden["self_inf_BoostIn"]
            assert_allclose(
                explainer.self_influence(), own, rtol=0, atol=1e-9 * np.abs(own).max()
            )


def test_exact_and_published_theta_rank_rows_differently():
    model, X, y, _, X_test, y_test = models.fit("regression")
    totals = [
        np.argsort(ti.BoostIn(theta=theta).fit(model, X, y).total(X_test, y_test))
        for theta in ("exact", "published")
    ]
    assert (totals[0] != totals[1]).any()


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
def test_self_influence_is_the_diagonal(recipe):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True)
    explainer = ti.BoostIn().fit(model, X, y, sample_weight=weight)
    with pytest.warns(SelfExplanationWarning, match="scored by a model that has seen"):
        dense = explainer.explain(X, y).values
    assert_allclose(explainer.self_influence(), np.diag(dense), rtol=1e-10, atol=1e-14)
    with pytest.warns(SelfExplanationWarning):
        total = explainer.total(X, y).values
    assert_allclose(total, dense.sum(axis=1), rtol=1e-9, atol=1e-12)
    without = explainer.total(X, y, exclude_self=True).values
    np.fill_diagonal(dense, 0.0)
    assert_allclose(without, dense.sum(axis=1), rtol=1e-9, atol=1e-12)
    assert_array_equal(explainer.explain(X, y, exclude_self=True).values, dense)
    weighted = explainer.total(X, y, sample_weight=weight, exclude_self=True).values
    assert_allclose(weighted, dense @ weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("recipe", ["binary", "multiclass"])
def test_products_for_all_pairs_equal_those_for_shared_leaves(
    recipe, precision, monkeypatch
):
    model, X, y, _, X_test, y_test = models.fit(recipe)
    explainer = ti.BoostIn(precision=precision).fit(model, X, y)
    found = []
    for share in (0.0, 2.0):
        monkeypatch.setattr(factors, "_TILE_SHARE", share)
        found.append(explainer.explain(X_test, y_test).values)
    scale = np.abs(found[1]).max()
    assert_allclose(found[0], found[1], rtol=0, atol=1e-15 * scale)


@pytest.mark.parametrize(("n_leaves", "expected"), [(4, True), (40, False)])
def test_products_for_all_pairs_are_for_crowded_leaves(n_leaves, expected):
    start = np.arange(n_leaves + 1) * 3  # one tree, three queries in each leaf
    n = 3 * n_leaves
    leaves = factors.SparseLeafFactors(
        None, start, np.arange(n, dtype=np.int32), np.ones((n, 1)), np.zeros((1, n))
    )
    assert leaves.prefers_tiles is expected


def test_a_row_that_shares_no_leaf_has_no_influence():
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.BoostIn().fit(model, X, y)
    values = explainer.explain(X_test, y_test).values
    leaf, leaf_test = explainer.ensemble_.apply(X), explainer.ensemble_.apply(X_test)
    shares = (leaf[:, np.newaxis] == leaf_test[np.newaxis]).any(axis=2)
    assert not shares.all()
    assert (values[~shares] == 0.0).all()
    assert (values[shares] != 0.0).any()


def test_twin_rows_have_equal_influence_and_order_does_not_matter():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = models.make_rows("binary")
    X, y = np.vstack([X[:200], X[:40]]), np.concatenate([y[:200], y[:40]])
    model = lightgbm.LGBMClassifier(
        n_estimators=10, num_leaves=5, verbose=-1, n_jobs=1
    ).fit(X, y)
    X_test, y_test = (
        models.make_rows("binary")[0][240:],
        models.make_rows("binary")[1][240:],
    )
    values = ti.BoostIn().fit(model, X, y).explain(X_test, y_test).values
    assert_array_equal(values[:40], values[200:])
    order = np.random.default_rng(1).permutation(len(X))
    shuffled = (
        ti.BoostIn().fit(model, X[order], y[order]).explain(X_test, y_test).values
    )
    # leaf sums are added in another order
    assert_allclose(shuffled, values[order], rtol=1e-10, atol=1e-13)


def test_removing_harmful_rows_and_retraining_lowers_the_test_loss():
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1500, 5))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    train, test = slice(0, 1000), slice(1000, 1500)
    flipped = rng.choice(1000, 200, replace=False)
    noisy = y[train].copy()
    noisy[flipped] = 1 - noisy[flipped]
    make = lightgbm.LGBMClassifier
    model = make(n_estimators=50, verbose=-1, n_jobs=1).fit(X[train], noisy)
    explainer = ti.BoostIn().fit(model, X[train], noisy)
    harmful = explainer.total(X[test], y[test]).harmful(150).positions
    assert np.isin(harmful, flipped).mean() > 0.6  # a random order gives 0.2
    kept = np.setdiff1d(np.arange(1000), harmful)
    again = make(n_estimators=50, verbose=-1, n_jobs=1).fit(X[train][kept], noisy[kept])
    from sklearn.metrics import log_loss

    before = log_loss(y[test], model.predict_proba(X[test]))
    assert log_loss(y[test], again.predict_proba(X[test])) < before


def test_boostin_on_a_continuation_of_no_split_is_zero():
    lightgbm = pytest.importorskip("lightgbm")
    X = np.zeros((30, 2))
    y = np.arange(30.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1).fit(X, y)
    explainer = ti.BoostIn().fit(model, X, y)
    assert explainer.reproduction_.verdict == "unchecked"
    assert (explainer.explain(np.ones((4, 2)), np.zeros(4)).values == 0.0).all()
