"""LeafInfluence: the published recursion, finite differences of a refit, properties."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel, derivatives
from tests.naive.leaf_influence import leaf_influence
from treeinf.ensemble.routing import find_leaves
from treeinf.errors import SelfExplanationWarning, UnsupportedModelError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

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


@pytest.mark.parametrize("recipe", SMOOTH)
def test_the_sweep_equals_the_published_forward_recursion(recipe):
    model, X, y, weight, X_test, y_test = models.fit(
        recipe, weighted=True, n_estimators=4
    )
    explainer = ti.LeafInfluence(cross_class=False, through_base_score=False)
    explainer.fit(model, X, y, sample_weight=weight)
    ensemble, rows = explainer.ensemble_, explainer.trace_.rows
    few = slice(0, 6)
    desired = leaf_influence(
        NaiveModel(ensemble),
        ensemble.apply(X).tolist(),
        rows.target.tolist(),
        rows.weight.tolist(),
        ensemble.apply(X_test[few]).tolist(),
        y_test[few].astype(np.float32).astype(np.float64).tolist(),
        derivatives,
    )
    actual = explainer.explain(X_test[few], y_test[few]).values
    assert_allclose(actual, desired, rtol=0, atol=1e-12 * np.abs(desired).max())


def refit_scores(trace, weight, leaf_test, base_score):
    """Scores of test rows after a refit of every leaf value with other weights."""
    ensemble, rows = trace.ensemble, trace.rows
    train = np.tile(base_score, (rows.n_rows, 1))
    test = np.tile(base_score, (leaf_test.shape[1], 1))
    rule = ensemble.leaf_rule
    for iteration in np.unique(ensemble.iteration):
        gradient, hessian = ensemble.loss.derivatives(rows.target, train)
        train, test = train.copy(), test.copy()
        for t in np.flatnonzero(ensemble.iteration == iteration):
            k = ensemble.output[t]
            first, last = ensemble.leaf_offset[t : t + 2]
            if last - first == 1:
                continue
            leaf, n = rows.leaf[t], last - first
            G = np.bincount(leaf, weight * gradient[:, k], minlength=n)
            H = np.bincount(leaf, weight * hessian[:, k], minlength=n)
            step = -np.sign(G) * np.maximum(np.abs(G) - rule.l1_leaf, 0.0)
            step /= H + ensemble.leaf_l2[first:last]
            if rule.max_leaf_value:
                step = np.clip(step, -rule.max_leaf_value, rule.max_leaf_value)
            step *= ensemble.shrinkage[t]
            train[:, k] += step[leaf]
            test[:, k] += step[leaf_test[t]]
    return test


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
                base = ensemble.loss.initial_score(trace.rows.target, plain * factor)
            scores.append(refit_scores(trace, w * factor, leaf_test, base))
        change = (scores[0] - scores[1]) / (2 * eps)
        # eps**2, and the float32 gradients of the library
        assert_allclose(
            actual[i], -(change * gradient).sum(axis=1), rtol=0, atol=1e-6 * scale
        )


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
def test_total_and_self_influence_are_sums_and_the_diagonal(recipe):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=True)
    explainer = ti.LeafInfluence(batch_size=50).fit(model, X, y, sample_weight=weight)
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


def test_any_number_of_threads_and_any_batch_gives_the_same_bits():
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    results = []
    for n_jobs, batch_size in ((1, 1024), (2, 7), (4, 33)):
        explainer = ti.LeafInfluence(n_jobs=n_jobs, batch_size=batch_size)
        explainer.fit(model, X, y)
        results.append(
            (explainer.explain(X_test, y_test).values, explainer.total(X_test, y_test))
        )
    for dense, total in results[1:]:
        assert (dense == results[0][0]).all()
        assert (np.asarray(total) == np.asarray(results[0][1])).all()


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
    explainer = ti.LeafInfluence(cross_class=False, through_base_score=False)
    explainer.fit(GOLDEN / f"{name}.model.txt", golden["X_train"], golden["y_train"])
    desired = golden["inf_LeafInfluence"]
    actual = explainer.explain(golden["X_test"], golden["y_test"])
    # the reference replays leaf values that it recomputes in double precision; those of
    # the model are made of float32 gradients
    assert_allclose(actual, desired, rtol=0, atol=5e-8 * np.abs(desired).max())


@pytest.mark.parametrize(
    "parameters",
    [{"leaf_estimation_iterations": 3}, {"loss_function": "MultiClass"}],
    ids=str,
)
def test_models_of_several_steps_or_full_matrices_are_refused_by_name(parameters):
    catboost = pytest.importorskip("catboost")
    X, y, _ = models.make_rows(
        "multiclass" if "loss_function" in parameters else "binary"
    )
    model = catboost.CatBoostClassifier(
        iterations=3,
        depth=3,
        verbose=False,
        thread_count=1,
        allow_writing_files=False,
        **parameters,
    ).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="BoostIn explains this model"):
        ti.LeafInfluence().fit(model, X, y)
    assert ti.BoostIn().fit(model, X, y).reproduction_.verdict == "exact"


@pytest.mark.parametrize("family", ["XGBoost", "CatBoost", "scikit-learn"])
def test_influence_is_the_derivative_of_a_refit_in_other_libraries(family):
    X, y, _ = models.make_rows("binary")
    if family == "XGBoost":
        xgboost = pytest.importorskip("xgboost")
        model = xgboost.XGBClassifier(
            n_estimators=8, max_depth=3, base_score=0.5, n_jobs=1
        )
    elif family == "CatBoost":
        catboost = pytest.importorskip("catboost")
        model = catboost.CatBoostClassifier(
            iterations=8,
            depth=3,
            leaf_estimation_iterations=1,
            boost_from_average=False,
            bootstrap_type="No",
            verbose=False,
            thread_count=1,
            allow_writing_files=False,
        )
    else:
        ensemble = pytest.importorskip("sklearn.ensemble")
        model = ensemble.HistGradientBoostingClassifier(
            max_iter=8, max_leaf_nodes=6, early_stopping=False
        )
    X, y, X_test, y_test = X[:240], y[:240], X[240:], y[240:]
    explainer = ti.LeafInfluence(through_base_score=False).fit(model.fit(X, y), X, y)
    assert explainer.reproduction_.verdict == "exact"
    trace, ensemble = explainer.trace_, explainer.ensemble_
    leaf_test = find_leaves(ensemble, X_test)
    gradient, _ = ensemble.loss.derivatives(
        y_test.astype(np.float64), ensemble.raw_score(X_test)
    )
    actual = explainer.explain(X_test, y_test).values
    for i in range(0, 240, 40):
        scores = []
        for sign in (1, -1):
            weight = np.ones(240)
            weight[i] += sign * 1e-4
            scores.append(refit_scores(trace, weight, leaf_test, ensemble.base_score))
        change = (scores[0] - scores[1]) / 2e-4
        # float32 leaf values of the library stand against a refit in double precision
        assert_allclose(
            actual[i],
            -(change * gradient).sum(axis=1),
            rtol=0,
            atol=2e-6 * np.abs(actual).max(),
        )
