"""Boosting replayed over the train rows gives back scikit-learn's leaf values."""

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble as sk
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

import treeinf as ti
from tests.adapters.sklearn.models import assert_same_model, make_rows, make_targets
from tests.models import load_golden
from tests.naive.weighted_refit import differentiate_losses
from treeinf.adapters import init_score, read_model
from treeinf.adapters.parity import check_parity
from treeinf.adapters.sklearn.reader import raw_score
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.errors import SubsampledTrainingWarning, UnsupportedModelError
from treeinf.trace import TrainingTrace

HIST = {"max_iter": 15, "min_samples_leaf": 5, "max_leaf_nodes": 10}
GRADIENT = {"n_estimators": 15, "random_state": 0}

# scikit-learn keeps the gradients of histograms in float32 (6e-8); differences are
# relative to the largest leaf of the tree, and leaves of late trees are small
# differences of large sums.
SINGLE, DOUBLE = 2e-6, 1e-12


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small models are fitted fastest by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture
def weight(rng):
    return rng.uniform(0.2, 3.0, 300)


def report(model, X, y, sample_weight=None, **kwargs):
    built = TrainingTrace.build(
        read_model(model), X, y, sample_weight=sample_weight, **kwargs
    )
    return built.report


def hist(task, **params):
    if task in ("binary", "multiclass"):
        return sk.HistGradientBoostingClassifier(**{**HIST, **params})
    return sk.HistGradientBoostingRegressor(loss=task, **{**HIST, **params})


def gradient(task, **params):
    if task in ("binary", "multiclass", "exponential"):
        loss = "exponential" if task == "exponential" else "log_loss"
        return sk.GradientBoostingClassifier(loss=loss, **{**GRADIENT, **params})
    return sk.GradientBoostingRegressor(loss=task, **{**GRADIENT, **params})


# Leaf values.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 3.0])
@pytest.mark.parametrize(
    "task", ["squared_error", "poisson", "gamma", "binary", "multiclass"]
)
def test_histogram_leaf_values(task, l2, weighted, weight):
    X = make_rows(missing=0.1)
    y, w = make_targets(X, task), weight if weighted else None
    model = hist(task, l2_regularization=l2).fit(X, y, sample_weight=w)
    found = report(model, X, y, w)
    assert found.verdict == "exact"
    assert found.largest_difference < SINGLE
    assert found.wrong_counts == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("start", [None, "zero"])
@pytest.mark.parametrize(
    "task", ["squared_error", "binary", "multiclass", "exponential"]
)
def test_gradient_boosting_leaf_values(task, start, weighted, weight):
    X = make_rows()
    y = make_targets(X, "binary" if task == "exponential" else task)
    w = weight if weighted else None
    model = gradient(task, init=start).fit(X, y, sample_weight=w)
    found = report(model, X, y, w)
    assert found.verdict == "exact"
    assert found.largest_difference < DOUBLE
    if task == "squared_error":
        assert found.largest_hessian_difference < DOUBLE


def test_losses_are_those_of_scikit_learn():
    X = make_rows()
    expected = {
        "squared_error": losses.SquaredError(),
        "binary": losses.Logistic(),
        "multiclass": losses.Softmax(3, 1.5),
        "exponential": losses.Exponential(),
        "absolute_error": losses.AbsoluteError(),
        "quantile": losses.Quantile(0.9),
    }
    for task, loss in expected.items():
        y = make_targets(X, "binary" if task == "exponential" else task)
        assert read_model(gradient(task, n_estimators=2).fit(X, y)).loss == loss
    huber = gradient("huber", n_estimators=2).fit(X, make_targets(X, ""))
    assert read_model(huber).loss == losses.Huber(huber._loss.closs.delta)
    expected = {
        "poisson": losses.Poisson(),
        "gamma": losses.Gamma(),
        "multiclass": losses.Softmax(3),
        "absolute_error": losses.AbsoluteError(),
    }
    for task, loss in expected.items():
        model = hist(task, max_iter=2).fit(X, make_targets(X, task))
        assert read_model(model).loss == loss
    model = hist("quantile", quantile=0.3, max_iter=2).fit(X, make_targets(X, ""))
    assert read_model(model).loss == losses.Quantile(0.3)


@pytest.mark.parametrize("task", ["binary", "multiclass", "exponential"])
def test_probabilities(task):
    X = make_rows()
    y = make_targets(X, "binary" if task == "exponential" else task)
    models = [gradient(task).fit(X, y)]
    if task != "exponential":
        models.append(hist(task).fit(X, y))
    for model in models:
        ensemble = read_model(model)
        assert_array_equal(ensemble.classes, np.unique(y))
        assert_allclose(ensemble.predict(X), model.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("kind", [hist, gradient])
@pytest.mark.parametrize("task", ["absolute_error", "quantile", "huber"])
def test_leaves_of_order_statistics_are_read_and_not_explained(kind, task):
    if kind is hist and task == "huber":
        return
    X = make_rows()
    y = make_targets(X, task)
    params = {"quantile": 0.7} if (kind, task) == (hist, "quantile") else {}
    model = kind(task, **params).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.leaf_rule.kind == "quantile"
    assert_same_model(ensemble, model, X)
    with pytest.raises(UnsupportedModelError, match="order statistics"):
        report(model, X, y)


@pytest.mark.parametrize("given", ["balanced", {0: 3.0, 1: 0.5, 2: 1.0}, {1: 4.0}])
def test_class_weight(given, weight):
    """scikit-learn takes the keys for numbers of the classes in their order."""
    X = make_rows()
    y = 10 * np.digitize(make_targets(X, ""), [-1.0, 1.0])
    model = hist("multiclass", class_weight=given).fit(X, y, sample_weight=weight)
    assert report(model, X, y, weight).verdict == "exact"
    assert report(model, X, y, weight, on_mismatch="ignore").largest_difference < SINGLE
    other = sk.HistGradientBoostingClassifier(**HIST).fit(X, y, sample_weight=weight)
    assert np.abs(raw_score(other, X) - raw_score(model, X)).max() > 1e-3


@pytest.mark.parametrize("kind", [hist, gradient])
def test_rows_of_weight_zero(kind, weight):
    """GradientBoosting leaves them out of its leaf counts, the histograms do not."""
    weight[::3] = 0.0
    X = make_rows()
    y = make_targets(X, "binary")
    model = kind("binary").fit(X, y, sample_weight=weight)
    assert report(model, X, y, weight).verdict == "exact"


def test_categories_and_missing_values(rng):
    X = make_rows(missing=0.1)
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["colour"] = pd.Categorical(rng.choice(["red", "green", "blue"], 300))
    y = make_targets(X, "") + (frame["colour"] == "red")
    model = hist("squared_error").fit(frame, y)
    assert read_model(model).is_categorical.any()
    found = report(model, frame, y)
    assert (found.verdict, found.wrong_counts) == ("exact", 0)
    numeric = X.copy()
    numeric[:, 2] = rng.choice([2.0, 3.5, 40.0], 300)
    y += numeric[:, 2] == 40.0
    model = hist("squared_error", categorical_features=[2]).fit(numeric, y)
    found = report(model, numeric, y)
    assert (found.verdict, found.wrong_counts) == ("exact", 0)
    explainer = ti.BoostIn().fit(model, numeric, y)
    assert np.isfinite(explainer.explain(make_rows(5, seed=9), y[:5]).values).all()


def test_large_regression_targets():
    """Labels are not rounded to float32: they may be far from 0."""
    X = make_rows()
    y = 1e7 + make_targets(X, "")
    assert report(hist("squared_error").fit(X, y), X, y).largest_difference < SINGLE
    assert report(gradient("squared_error").fit(X, y), X, y).verdict == "exact"


@pytest.mark.parametrize("task", ["binary", "exponential"])
def test_rows_that_are_all_but_certain(task):
    """scikit-learn computes p (1 - p) from a rounded p: leaves there are noise."""
    X = make_rows(120)
    y = make_targets(X, "binary")
    model = gradient(task, n_estimators=300, learning_rate=0.9, max_depth=2).fit(X, y)
    assert np.abs(read_model(model).raw_score(X)).max() > 30.0  # p is 1 - 1e-13
    found = report(model, X, y)
    assert found.verdict == "exact"
    wrong = y.copy()
    wrong[3] = "yes" if y[3] == "no" else "no"
    assert report(model, X, wrong, on_mismatch="ignore").verdict == "other labels"


def test_trees_of_one_leaf():
    """GradientBoosting fits their value, the histograms do not."""
    X = make_rows()
    y = make_targets(X, "binary")
    model = gradient("binary", init="zero", min_impurity_decrease=1e9).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.n_nodes == 0
    assert (ensemble.leaf_value != 0.0).all()
    assert_same_model(ensemble, model, X)
    found = report(model, X, y)
    assert (found.verdict, found.largest_difference < DOUBLE) == ("exact", True)
    stumps = hist("binary", min_samples_leaf=200).fit(X, y)
    assert (read_model(stumps).leaf_value == 0.0).all()
    assert report(stumps, X, y).verdict == "unchecked"


def test_other_labels_and_rows_are_noticed():
    X = make_rows()
    y = make_targets(X, "binary")
    for kind in (hist, gradient):
        model = kind("binary").fit(X, y)
        wrong = y.copy()
        wrong[:5] = np.where(wrong[:5] == "no", "yes", "no")
        found = report(model, X, wrong, on_mismatch="ignore")
        assert found.verdict == "other labels"
        found = report(model, X + 0.5, y, on_mismatch="ignore")
        assert found.verdict == "other rows"


def test_monotone_constraints_are_approximate():
    X = make_rows()
    y = make_targets(X, "")
    model = hist("squared_error", monotonic_cst=[-1, 0, 0, 1, 0]).fit(X, y)
    ensemble = read_model(model)
    assert "monotonic_cst" in ensemble.training.approximations[0]
    assert_same_model(ensemble, model, X)
    found = report(model, X, y, on_mismatch="ignore")
    assert found.verdict == "approximate"
    free = hist("squared_error", monotonic_cst=[0] * 5).fit(X, y)
    assert read_model(free).training.approximations == ()


@pytest.mark.parametrize(
    "params",
    [
        {"interaction_cst": [{0, 1}, {2, 3, 4}]},
        {"max_features": 0.4, "random_state": 1},
        {"max_bins": 7},
        {"max_depth": 2, "learning_rate": 1.0},
    ],
)
def test_settings_that_change_no_rule(params):
    X = make_rows(missing=0.05)
    y = make_targets(X, "binary")
    model = hist("binary", **params).fit(X, y)
    assert report(model, X, y).verdict == "exact"


@pytest.mark.parametrize(
    "params",
    [
        {"max_features": 2},
        {"ccp_alpha": 0.01},
        {"max_leaf_nodes": 5},
        {"min_weight_fraction_leaf": 0.1},
        {"learning_rate": 1.0},
    ],
)
@pytest.mark.parametrize("task", ["squared_error", "multiclass"])
def test_settings_of_gradient_boosting_that_change_no_rule(task, params):
    X = make_rows()
    y = make_targets(X, task)
    model = gradient(task, **params).fit(X, y)
    assert_same_model(read_model(model), model, X)
    assert report(model, X, y).verdict == "exact"


@pytest.mark.parametrize("kind", [hist, gradient])
def test_warm_start(kind):
    X = make_rows()
    y = make_targets(X, "")
    more = {"max_iter": 25} if kind is hist else {"n_estimators": 25}
    model = kind("squared_error", warm_start=True).fit(X, y)
    model.set_params(**more).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.n_iterations == 25
    assert_same_model(ensemble, model, X)
    assert report(model, X, y).verdict == "exact"
    model.set_params(learning_rate=0.3, **{next(iter(more)): 30}).fit(X, y)
    assert_same_model(read_model(model), model, X)
    assert report(model, X, y, on_mismatch="ignore").verdict == "approximate"


# Rows that the trees did not see.


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("task", ["squared_error", "binary", "multiclass"])
def test_rows_held_out_of_histograms_are_found(task, class_weight, weight):
    X = make_rows()
    y = make_targets(X, task)
    model = hist(task, early_stopping=True, max_iter=20, validation_fraction=0.2)
    if class_weight is not None:
        if task == "squared_error":
            pytest.skip("regressors know no classes")
        model.set_params(class_weight=class_weight)
    model.fit(X, y, sample_weight=weight)
    ensemble = read_model(model)
    assert ensemble.n_iterations == model.n_iter_
    assert_same_model(ensemble, model, X)
    explainer = ti.LeafInfluence().fit(model, X, y, sample_weight=weight)
    report_of_all = explainer.reproduction_
    assert report_of_all.verdict == "exact"
    assert "held out: 60 rows" in report_of_all.explanation
    assert report_of_all.largest_difference < SINGLE
    base = explainer.trace_.base_estimate
    assert base.kind != "fixed"
    is_kept = explainer.trace_.rows.bags.row_factors(0)
    assert is_kept.sum() == 240
    influence = explainer.explain(X[:3] + 0.01, y[:3]).values
    assert (influence[~is_kept] == 0.0).all()
    assert (influence[is_kept] != 0.0).any()
    if class_weight is None:  # balanced weights count the rows held out too
        found = report(model, X[is_kept], y[is_kept], weight[is_kept])
        assert found.verdict == "exact"


def test_histogram_early_stopping_without_rows_held_out():
    X = make_rows()
    y = make_targets(X, "")
    own = hist("squared_error", early_stopping=True).fit(
        X[:200], y[:200], X_val=X[200:], y_val=y[200:]
    )
    assert report(own, X[:200], y[:200]).verdict == "exact"
    none = hist("squared_error", early_stopping=True, validation_fraction=None)
    none.fit(X, y)
    assert read_model(none).training.subsample is None
    assert report(none, X, y).verdict == "exact"


@pytest.mark.parametrize("subsample", [1.0, 0.5])
@pytest.mark.parametrize("task", ["squared_error", "binary", "multiclass"])
def test_rows_held_out_of_gradient_boosting_are_found(task, subsample):
    X = make_rows()
    y = make_targets(X, task)
    model = gradient(task, n_iter_no_change=3, subsample=subsample).fit(X, y)
    assert read_model(model).n_iterations == model.n_estimators_
    found = report(model, X, y)
    assert found.verdict == "exact"
    assert found.largest_difference < DOUBLE
    assert "held out: 30 rows" in found.explanation


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("task", ["squared_error", "binary", "exponential"])
def test_influence_is_the_derivative_of_the_refit_with_the_same_bags(task, seed):
    X = make_rows()
    y = make_targets(X, "binary" if task == "exponential" else task)
    params = {"subsample": 0.5, "n_estimators": 6, "random_state": seed}
    model = gradient(task, **params).fit(X, y)
    explainer = ti.LeafInfluence().fit(model, X, y)
    assert explainer.reproduction_.verdict == "exact"
    X_test, y_test = X[:5] + 0.01, y[:5]
    influence = explainer.explain(X_test, y_test).values
    rows = (0, 100, 299)
    codes = y_test
    if explainer.ensemble_.classes is not None:
        codes = np.searchsorted(explainer.ensemble_.classes, y_test).astype(float)
    desired = differentiate_losses(explainer.trace_, rows, X_test, codes)
    size = np.abs(influence).max()
    assert_allclose(influence[list(rows)], -desired, rtol=0, atol=1e-7 * size)


def test_rows_in_another_order_are_sampled():
    X = make_rows()
    y = make_targets(X, "binary")
    model = gradient("binary", subsample=0.5).fit(X, y)
    assert_same_model(read_model(model), model, X)
    with pytest.warns(SubsampledTrainingWarning, match=r"subsample=0\.5"):
        found = report(model, X[::-1], y[::-1])
    assert found.verdict == "subsampled"


# Where rows start from.


@pytest.mark.parametrize(
    ("task", "start"),
    [
        ("squared_error", DummyRegressor(strategy="constant", constant=2.5)),
        ("squared_error", DummyRegressor(strategy="median")),
        ("binary", DummyClassifier(strategy="uniform")),
        ("multiclass", DummyClassifier(strategy="prior")),
    ],
)
def test_init_that_is_constant(task, start):
    X = make_rows()
    y = make_targets(X, task)
    model = gradient(task, init=start).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.initial_model is None
    assert init_score(model, X) is None
    assert_same_model(ensemble, model, X)
    assert report(model, X, y).verdict == "exact"


@pytest.mark.parametrize(
    ("task", "start"),
    [
        ("squared_error", LinearRegression()),
        ("binary", LogisticRegression(max_iter=1000)),
        ("multiclass", sk.RandomForestClassifier(5, max_depth=2, random_state=0)),
    ],
)
def test_init_that_depends_on_the_rows(task, start, tmp_path):
    X = make_rows()
    y = make_targets(X, task)
    model = gradient(task, init=start).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.initial_model == type(start).__name__
    assert f"starts from  {type(start).__name__}" in ensemble.describe()
    assert check_parity(ensemble, model, X, rows="all") < 1e-12
    with pytest.raises(ValueError, match=f"{type(start).__name__}, which"):
        ensemble.raw_score(X)
    with pytest.raises(ValueError, match="init_score"):
        report(model, X, y)
    scores = init_score(model, X)
    assert_same_model(ensemble, model, X)
    found = report(model, X, y, init_score=scores)
    assert (found.verdict, found.largest_difference < DOUBLE) == ("exact", True)
    staged = list(ensemble.staged_raw_score(X, init_score=scores))
    assert_allclose(staged[-1], raw_score(model, X), atol=1e-12)
    own = model.predict_proba(X) if task != "squared_error" else model.predict(X)
    assert_allclose(ensemble.predict(X, init_score=scores), own, atol=1e-12)
    ensemble.save(tmp_path / "model.npz")
    loaded = TreeEnsemble.load(tmp_path / "model.npz")
    assert loaded.initial_model == ensemble.initial_model


# Influence.


@pytest.mark.parametrize(
    "name",
    [
        f"sk_{kind}_{data}"
        for kind in ("gb", "hgb")
        for data in ("binary_breast_cancer", "regression_diabetes", "multiclass_wine")
    ],
)
def test_published_settings_give_the_published_values(name):
    model, golden = load_golden(name)
    X, y = golden["X_train"], golden["y_train"]
    for power, method in ((0, "BoostIn"), (1, "BoostInW1"), (2, "BoostInW2")):
        explainer = ti.BoostIn(theta="published", count_power=power).fit(model, X, y)
        assert explainer.reproduction_.verdict == "exact"
        desired = golden[f"inf_{method}"]
        actual = explainer.explain(golden["X_test"], golden["y_test"])
        assert_allclose(actual, desired, rtol=0, atol=1e-9 * np.abs(desired).max())
        if power == 0:
            own = golden["self_inf_BoostIn"]
            assert_allclose(
                explainer.self_influence(), own, rtol=0, atol=1e-9 * np.abs(own).max()
            )
