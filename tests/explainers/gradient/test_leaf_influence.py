"""LeafInfluence: the published recursion, finite differences of a refit, properties."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel, derivatives
from tests.naive.leaf_influence import leaf_influence
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.gradient.adjoint import Adjoint

SMOOTH = [
    "regression",
    "binary",
    "binary_weighted",
    "binary_positive",
    "multiclass",
    "multiclassova",
    "poisson",
    "gamma",
    "tweedie",
    "fair",
    "cross_entropy",
]


@pytest.mark.parametrize("propagation", ["full", "single_point"])
@pytest.mark.parametrize("recipe", SMOOTH)
def test_influence_equals_the_published_forward_recursion(recipe, propagation):
    model, X, y, weight, X_test, y_test = models.fit(
        recipe, weighted=True, n_estimators=4
    )
    explainer = ti.LeafInfluence(
        propagation=propagation, cross_class=False, through_base_score=False
    )
    explainer.fit(model, X, y, sample_weight=weight)
    ensemble, rows = explainer.ensemble_, explainer.trace_.rows
    few = slice(0, 6)
    desired = leaf_influence(
        NaiveModel(ensemble),
        ensemble.apply(X).tolist(),
        rows.y.tolist(),
        rows.weight.tolist(),
        ensemble.apply(X_test[few]).tolist(),
        y_test[few].astype(np.float32).astype(np.float64).tolist(),
        derivatives,
        propagation == "single_point",
    )
    actual = explainer.explain(X_test[few], y_test[few]).values
    assert_allclose(actual, desired, rtol=0, atol=1e-12 * np.abs(desired).max())


def refit_scores(trace, weight, leaf_test, base_score):
    """Scores of test rows after a refit of every leaf value with other weights."""
    ensemble, rows = trace.ensemble, trace.rows
    train = np.tile(base_score, (rows.n_rows, 1))
    test = np.tile(base_score, (leaf_test.shape[1], 1))
    if rows.offset.size:
        train += rows.offset
    for tree in np.split(
        np.arange(ensemble.n_iterations), ensemble.n_iterations // trace.n_steps
    ):
        before, inner, inner_test = train, train.copy(), np.zeros_like(test)
        for iteration in tree:
            gradient, hessian = ensemble.loss.derivatives(rows.y, inner)
            probability = ensemble.loss.link(inner)
            inner = inner.copy()
            for t in np.flatnonzero(ensemble.iteration == iteration):
                first, last = ensemble.leaf_offset[t : t + 2]
                if last - first == 1 and not ensemble.leaf_rule.fits_single_leaf:
                    continue
                leaf = rows.leaf[ensemble.row_of_tree[t]]
                k = slice(None) if ensemble.leaf_width > 1 else [ensemble.output[t]]
                if ensemble.leaf_rule.kind == "full newton":
                    l2 = ensemble.leaf_l2[first]
                    step = full_steps(
                        leaf, weight, gradient, probability, l2, last - first
                    )
                else:
                    step = newton_steps(trace, t, weight, gradient[:, k], hessian[:, k])
                inner[:, k] += step[leaf]
                inner_test[:, k] += step[leaf_test[ensemble.row_of_tree[t]]]
        shrinkage = ensemble.shrinkage[ensemble.iteration == tree[0]][0]
        train = before + shrinkage * (inner - before)
        test = test + shrinkage * inner_test
    return test


def newton_steps(trace, t, weight, gradient, hessian):
    ensemble, rule = trace.ensemble, trace.ensemble.leaf_rule
    first, last = ensemble.leaf_offset[t : t + 2]
    leaf = trace.rows.leaf[ensemble.row_of_tree[t]]
    sums = np.zeros((2, last - first, gradient.shape[1]))
    np.add.at(sums[0], leaf, weight[:, np.newaxis] * gradient)
    np.add.at(sums[1], leaf, weight[:, np.newaxis] * hessian)
    step = -np.sign(sums[0]) * np.maximum(np.abs(sums[0]) - rule.l1_leaf, 0.0)
    step /= sums[1] + ensemble.leaf_l2[first:last, np.newaxis]
    if rule.max_leaf_value:
        step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
    return step


def full_steps(leaf, weight, gradient, probability, l2, n_leaves):
    steps = np.zeros((n_leaves, gradient.shape[1]))
    for number in range(len(steps)):
        own = leaf == number
        w, p = weight[own], probability[own]
        G = w @ gradient[own]
        H = np.diag(w @ p) - (p * w[:, np.newaxis]).T @ p
        steps[number] = -np.linalg.solve(H + l2 * np.eye(len(G)), G)
    return steps


@pytest.mark.parametrize("through_base_score", [False, True])
@pytest.mark.parametrize("recipe", [*SMOOTH, "regression_l1_l2", "regression_clipped"])
def test_influence_is_minus_the_derivative_of_a_refit(recipe, through_base_score):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=True)
    explainer = ti.LeafInfluence(through_base_score=through_base_score)
    explainer.fit(model, X, y, sample_weight=weight)
    trace, ensemble = explainer.trace_, explainer.ensemble_
    leaf_test = find_leaves(ensemble, X_test)
    target = y_test.astype(np.float32).astype(np.float64)
    final = ensemble.raw_score(X_test)
    gradient, _ = ensemble.loss.derivatives(target, final)
    actual = explainer.explain(X_test, y_test).values
    scale = np.abs(actual).max()
    w = trace.rows.weight
    assert_allclose(
        refit_scores(trace, w, leaf_test, ensemble.base_score), final, atol=1e-5
    )
    plain = weight.astype(np.float32).astype(np.float64)
    if recipe == "binary_weighted":
        plain = w  # class weights are in both; those of positives in gradients alone
    eps = 1e-4
    for i in np.random.default_rng(0).choice(len(y), 12, replace=False):
        scores = []
        for sign in (1, -1):
            factor = np.ones(len(y))
            factor[i] += sign * eps
            base = ensemble.base_score
            if through_base_score:
                base = ensemble.loss.base_score(trace.rows.y, plain * factor)
            scores.append(refit_scores(trace, w * factor, leaf_test, base))
        change = (scores[0] - scores[1]) / (2 * eps)
        # eps**2, and the float32 gradients of the library
        assert_allclose(
            actual[i], -(change * gradient).sum(axis=1), rtol=0, atol=1e-6 * scale
        )


@pytest.mark.parametrize("propagation", ["full", "single_point"])
@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
def test_total_and_self_influence_are_sums_and_the_diagonal(recipe, propagation):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=True)
    explainer = ti.LeafInfluence(batch_size=50, propagation=propagation)
    explainer.fit(model, X, y, sample_weight=weight)
    dense = explainer.explain(X_test, y_test).values
    scale = np.abs(dense).max()
    assert_allclose(
        explainer.total(X_test, y_test), dense.sum(axis=1), atol=1e-11 * scale
    )
    w = np.linspace(0.2, 2.0, len(y_test))
    assert_allclose(
        explainer.total(X_test, y_test, sample_weight=w), dense @ w, atol=1e-11 * scale
    )
    with pytest.warns(SelfExplanationWarning):
        square = explainer.explain(X, y).values
    assert_allclose(
        explainer.self_influence(), np.diag(square), atol=1e-12 * np.abs(square).max()
    )
    top = explainer.top_k(X_test, y_test, k=5, order="harmful")
    assert_allclose(top.values, np.sort(dense, axis=0)[:5].T, atol=1e-12 * scale)


@pytest.mark.parametrize("propagation", ["full", "single_point"])
def test_any_number_of_threads_and_any_batch_gives_the_same_bits(propagation):
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    results = []
    for n_jobs, batch_size in ((1, 1024), (2, 7), (4, 33)):
        explainer = ti.LeafInfluence(
            n_jobs=n_jobs, batch_size=batch_size, propagation=propagation
        )
        explainer.fit(model, X, y)
        results.append(
            (explainer.explain(X_test, y_test).values, explainer.total(X_test, y_test))
        )
    for dense, total in results[1:]:
        assert (dense == results[0][0]).all()
        assert (np.asarray(total) == np.asarray(results[0][1])).all()


GOLDEN_MODELS = [
    ("lightgbm_binary_breast_cancer", 5e-8),
    ("lightgbm_regression_diabetes", 5e-8),
    ("lightgbm_multiclass_wine", 5e-8),
    ("lightgbm_multiclass_iris_l2", 5e-8),
    ("xgboost_binary_breast_cancer", 1e-5),
    ("xgboost_binary_breast_cancer_l2", 1e-5),
    ("xgboost_multiclass_wine", 1e-5),
    ("xgboost_regression_diabetes", 1e-5),
    ("catboost_binary_breast_cancer", 1e-9),
    ("catboost_regression_diabetes", 1e-9),
    ("sk_hgb_binary_breast_cancer", 5e-8),
    ("sk_hgb_multiclass_wine", 5e-8),
    ("sk_hgb_regression_diabetes", 5e-8),
    ("sk_gb_binary_breast_cancer", 1e-9),
    ("sk_gb_multiclass_wine", 1e-9),
    ("sk_gb_regression_diabetes", 1e-9),
]


@pytest.mark.parametrize(("name", "tolerance"), GOLDEN_MODELS)
@pytest.mark.parametrize("propagation", ["full", "single_point"])
def test_published_settings_give_the_published_values(name, tolerance, propagation):
    # the reference replays leaf values that it recomputes in double precision, and
    # XGBoost's in single; those of the models are made of float32 gradients
    model, golden = models.load_golden(name)
    explainer = ti.LeafInfluence(
        propagation=propagation, cross_class=False, through_base_score=False
    )
    explainer.fit(model, golden["X_train"], golden["y_train"])
    suffix = "" if propagation == "full" else "SP"
    desired = golden[f"inf_LeafInfluence{suffix}"]
    actual = explainer.explain(golden["X_test"], golden["y_test"])
    assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


def fit_catboost(recipe, **parameters):
    catboost = pytest.importorskip("catboost")
    is_class = recipe.startswith(("binary", "multi"))
    kind = catboost.CatBoostClassifier if is_class else catboost.CatBoostRegressor
    X, y, weight = models.make_rows(recipe)
    model = kind(
        iterations=6,
        depth=3,
        learning_rate=0.3,
        l2_leaf_reg=3.0,
        bootstrap_type="No",
        verbose=False,
        thread_count=1,
        allow_writing_files=False,
        **parameters,
    )
    return model, X, y, weight


def fit_family(family, task):
    """A model of each library and task, fitted on weighted rows."""
    X, y, weight = models.make_rows(task)
    is_class = task.startswith(("binary", "multi"))
    if family == "XGBoost":
        xgboost = pytest.importorskip("xgboost")
        kind = xgboost.XGBClassifier if is_class else xgboost.XGBRegressor
        loss = {"objective": "count:poisson"} if task == "poisson" else {}
        model = kind(n_estimators=6, max_depth=3, n_jobs=1, reg_alpha=0.3, **loss)
    elif family == "CatBoost":
        loss = {"loss_function": "Poisson"} if task == "poisson" else {}
        steps = {} if task == "multiclass" else {"leaf_estimation_iterations": 3}
        if task in ("binary", "poisson"):
            steps["leaf_estimation_backtracking"] = "No"
        model, X, y, weight = fit_catboost(task, **loss, **steps)
    elif family == "HistGradientBoosting":
        ensemble = pytest.importorskip("sklearn.ensemble")
        name = "Classifier" if is_class else "Regressor"
        kind = getattr(ensemble, f"HistGradientBoosting{name}")
        loss = {"loss": "poisson"} if task == "poisson" else {}
        model = kind(
            max_iter=6,
            max_leaf_nodes=6,
            l2_regularization=1.0,
            early_stopping=False,
            **loss,
        )
    else:
        ensemble = pytest.importorskip("sklearn.ensemble")
        name = "Classifier" if is_class else "Regressor"
        model = getattr(ensemble, f"GradientBoosting{name}")(n_estimators=6)
    fitted = model.fit(X[:240], y[:240], sample_weight=weight[:240])
    return fitted, X[:240], y[:240], weight[:240], X[240:], y[240:]


@pytest.mark.parametrize("cross_class", [True, False])
@pytest.mark.parametrize(
    "case",
    ["regression", "multiclass", "multiclassova", "poisson", "steps", "full", "vector"],
)
def test_the_leaf_coupling_equals_the_sweep(case, cross_class, monkeypatch):
    if case in ("steps", "full"):
        task = "binary" if case == "steps" else "multiclass"
        steps = {"leaf_estimation_iterations": 3, "leaf_estimation_backtracking": "No"}
        model, X, y, weight = fit_catboost(task, **steps)
        model.fit(X[:240], y[:240], sample_weight=weight[:240])
        parts = (X[:240], y[:240], weight[:240], X[240:], y[240:])
    elif case == "vector":
        xgboost = pytest.importorskip("xgboost")
        X, y, weight = models.make_rows("multiclass")
        model = xgboost.XGBClassifier(
            n_estimators=5, max_depth=3, multi_strategy="multi_output_tree", n_jobs=1
        ).fit(X[:240], y[:240], sample_weight=weight[:240])
        parts = (X[:240], y[:240], weight[:240], X[240:], y[240:])
    else:
        model, *parts = models.fit(case, weighted=True)
    X, y, weight, X_test, y_test = parts
    explainer = ti.LeafInfluence(cross_class=cross_class)
    explainer.fit(model, X, y, sample_weight=weight)
    results = []
    for is_preferred in (False, True):
        monkeypatch.setattr(
            Adjoint, "prefers_coupling", lambda *_, is_so=is_preferred: is_so
        )
        results.append(explainer.explain(X_test, y_test).values)
    assert_allclose(
        results[1], results[0], rtol=0, atol=1e-13 * np.abs(results[0]).max()
    )


def test_the_quicker_form_is_chosen_by_operations():
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = ti.LeafInfluence().fit(model, X, y)
    adjoint = explainer._adjoint
    enough = next(n for n in range(1, 10_000) if adjoint.prefers_coupling(n))
    assert enough > 4
    few = X_test[:2], y_test[:2]
    first = explainer.explain(*few).values
    assert adjoint.n_swept == 2
    # what calls have swept counts, and then the coupling is there for few
    for n_swept in range(4, 2 * enough, 2):
        assert not adjoint.prefers_coupling(enough - adjoint.n_swept - 1)
        again = explainer.explain(*few).values
        if adjoint.n_swept < n_swept:
            break
    assert enough - 3 <= adjoint.n_swept <= enough
    assert adjoint.prefers_coupling(2)
    assert_allclose(again, first, rtol=0, atol=1e-13 * np.abs(first).max())


def test_several_steps_and_a_full_matrix_at_once():
    model, X, y, weight = fit_catboost("multiclass", leaf_estimation_iterations=3)
    model.fit(X[:240], y[:240], sample_weight=weight[:240])
    explainer = ti.LeafInfluence().fit(
        model, X[:240], y[:240], sample_weight=weight[:240]
    )
    assert explainer.trace_.n_steps == 3
    check_derivative(explainer, X[240:], y[240:])


TASKS = ["regression", "binary", "multiclass", "poisson"]
FAMILIES = ["XGBoost", "CatBoost", "HistGradientBoosting", "GradientBoosting"]


@pytest.mark.parametrize(
    ("family", "task"),
    [
        *((family, task) for family in FAMILIES[:-1] for task in TASKS),
        *((FAMILIES[-1], task) for task in TASKS[:-1]),  # it has no Poisson loss
    ],
)
def test_influence_is_the_derivative_of_a_refit_in_other_libraries(family, task):
    model, X, y, weight, X_test, y_test = fit_family(family, task)
    explainer = ti.LeafInfluence()
    explainer.fit(model, X, y, sample_weight=weight)
    assert explainer.reproduction_.verdict == "exact"
    check_derivative(explainer, X_test, y_test)


def check_derivative(explainer, X_test, y_test, n_checked=6, tolerance=2e-6):
    """Compare with central differences of a refit, rounding of the library apart."""
    trace, ensemble = explainer.trace_, explainer.ensemble_
    leaf_test = find_leaves(ensemble, X_test)
    target = explainer._read_queries(X_test, y_test, "loss", None, None).rows.y
    w = trace.rows.weight if trace.rows.weight.size else np.ones(trace.rows.n_rows)
    final = ensemble.raw_score(X_test)
    plain = refit_scores(trace, w, leaf_test, ensemble.base_score)
    assert_allclose(plain, final, atol=10 * tolerance * np.abs(final).max())
    gradient, _ = ensemble.loss.derivatives(target, final)
    actual = explainer.explain(X_test, y_test).values
    eps = 1e-4
    for i in range(0, trace.rows.n_rows, trace.rows.n_rows // n_checked):
        scores = []
        for sign in (1, -1):
            factor = np.ones(trace.rows.n_rows)
            factor[i] += sign * eps
            base = ensemble.base_score
            if len(trace.base_score_gradient):
                base = ensemble.loss.base_score(trace.rows.y, w * factor)
            scores.append(refit_scores(trace, w * factor, leaf_test, base))
        change = (scores[0] - scores[1]) / (2 * eps)
        # float32 leaf values of the library stand against a refit in double precision
        assert_allclose(
            actual[i],
            -(change * gradient).sum(axis=1),
            rtol=0,
            atol=tolerance * np.abs(actual).max(),
        )


def object_importance(model, pools, method):
    """CatBoost's own: minus the influence, as (n_train, n_test)."""
    train, test = pools
    rows, values = model.get_object_importance(
        test, train, type="PerObject", update_method=method, thread_count=1
    )
    importance = np.empty((train.num_row(), test.num_row()))
    for t, (own, value) in enumerate(zip(rows, values, strict=True)):
        importance[np.asarray(own, int), t] = value
    return importance


@pytest.mark.parametrize("boost_from_average", [False, True])
@pytest.mark.parametrize("loss", ["Logloss", "RMSE"])
@pytest.mark.parametrize(
    ("method", "propagation"), [("SinglePoint", "single_point"), ("AllPoints", "full")]
)
def test_one_step_models_have_catboosts_own_object_importance(
    loss, method, propagation, boost_from_average
):
    catboost = pytest.importorskip("catboost")
    X, y, _ = models.make_rows("binary" if loss == "Logloss" else "regression")
    X, y = X.astype(np.float32), y.astype(np.float32)
    if loss == "Logloss":
        y[:20] = 1.0  # classes of unequal size
    model = catboost.CatBoost(
        {
            "loss_function": loss,
            "iterations": 15,
            "depth": 3,
            "leaf_estimation_iterations": 1,
            "boost_from_average": boost_from_average,
            "bootstrap_type": "No",
            "verbose": False,
            "thread_count": 1,
            "allow_writing_files": False,
        }
    ).fit(X[:240], y[:240])
    pools = catboost.Pool(X[:240], y[:240]), catboost.Pool(X[240:], y[240:])
    importance = object_importance(model, pools, method)
    explainer = ti.LeafInfluence(propagation=propagation, through_base_score=False)
    actual = explainer.fit(model, X[:240], y[:240]).explain(X[240:], y[240:]).values
    scale = np.abs(actual).max()
    if not boost_from_average:
        assert_allclose(actual, -importance, rtol=0, atol=1e-12 * scale)
        return
    # CatBoost loses the initial score on the way: its values come within 3 % of those
    # with the test rows' gradients at scores without it. Ours are the derivative
    assert np.abs(actual + importance).max() > 1e-3 * scale
    explainer = ti.LeafInfluence().fit(model, X[:240], y[:240])
    check_derivative(explainer, X[240:], y[240:])


def test_catboosts_own_object_importance_of_several_steps_is_no_derivative():
    catboost = pytest.importorskip("catboost")
    model, X, y, _ = fit_catboost(
        "binary",
        leaf_estimation_iterations=3,
        leaf_estimation_backtracking="No",
        boost_from_average=False,
    )
    y = y.astype(np.float64)
    model.fit(X[:240], y[:240])
    pools = catboost.Pool(X[:240], y[:240]), catboost.Pool(X[240:], y[240:])
    importance = object_importance(model, pools, "AllPoints")
    explainer = ti.LeafInfluence().fit(model, X[:240], y[:240])
    actual = explainer.explain(X[240:], y[240:]).values
    assert np.abs(actual + importance).max() > 0.01 * np.abs(actual).max()
    check_derivative(explainer, X[240:], y[240:])


@pytest.mark.parametrize(
    ("family", "task"),
    [
        *(("LightGBM", task) for task in [*TASKS, "regression_l1_l2"]),
        *((family, task) for family in FAMILIES[:-1] for task in TASKS),
        *((FAMILIES[-1], task) for task in TASKS[:-1]),
    ],
)
def test_without_the_libraries_rounding_seven_digits_agree(family, task):
    # leaf values fitted again in double precision, so that finite differences of a
    # refit start from the very model that is explained
    if family == "LightGBM":
        model, X, y, weight, X_test, y_test = models.fit(task, weighted=True)
    else:
        model, X, y, weight, X_test, y_test = fit_family(family, task)
    refit = ti.LeafRefit().fit(model, X, y, sample_weight=weight)
    exact = refit.refit_without([])
    explainer = ti.LeafInfluence().fit(exact, X, y, sample_weight=weight)
    assert explainer.reproduction_.largest_difference < 1e-12
    check_derivative(explainer, X_test, y_test, tolerance=1e-7)
