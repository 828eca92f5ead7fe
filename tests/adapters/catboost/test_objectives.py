"""Each loss and way to fit leaves: scores, and the leaf values that follow."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests.adapters.catboost.models import (
    GROW_POLICIES,
    LOSSES,
    QUIET,
    assert_same_model,
    hard_rows,
    make_rows,
    make_targets,
    read_files,
    train,
)
from treeinf.adapters import read_model
from treeinf.ensemble import losses
from treeinf.errors import (
    TrainingDataMismatchError,
    TrainingDataWarning,
    UnsupportedModelError,
)

catboost = pytest.importorskip("catboost")

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"

EXPECTED = {
    "RMSE": losses.SquaredError(),
    "Logloss": losses.Logistic(),
    "CrossEntropy": losses.CrossEntropy(),
    "Poisson": losses.Poisson(),
    "Tweedie:variance_power=1.4": losses.Tweedie(1.4),
    "Huber:delta=0.7": losses.HuberExact(0.7),
    "MultiClass": losses.Softmax(3),
    "MultiClassOneVsAll": losses.OneVsAll(3),
}


def reproduce(model, X, y, **more):
    return ti.TrainingTrace.build(read_model(model), X, y, **more).report


@pytest.mark.parametrize("policy", GROW_POLICIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_leaf_values_follow_from_the_rows(rng, loss, policy):
    X = make_rows(rng)
    y = make_targets(loss, X, rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    model = train(catboost, X, y, loss, weight=weight, grow_policy=policy)
    ensemble = read_model(model)
    assert ensemble.loss == EXPECTED[loss]
    assert ensemble.training.approximations == ()
    assert_same_model(ensemble, model, hard_rows(ensemble, X))
    report = reproduce(model, X, y, sample_weight=weight)
    assert (report.verdict, report.wrong_counts) == ("exact", 0)
    assert report.share_seen == pytest.approx(1.0)
    # the rounding of the sums, and of the matrices solved for softmax
    assert report.largest_difference < 1e-13
    with pytest.raises(TrainingDataMismatchError, match="other weights"):
        reproduce(model, X, y)


@pytest.mark.parametrize(
    "settings",
    [
        {"boosting_type": "Ordered"},
        {"bootstrap_type": "Bernoulli", "subsample": 0.5},
        {"bootstrap_type": "Bayesian", "bagging_temperature": 2.0},
        {"bootstrap_type": "No", "random_strength": 3.0, "rsm": 0.5},
        {"bootstrap_type": "MVS", "subsample": 0.4},
        {"boost_from_average": True},
        {"boost_from_average": False},
        {"l2_leaf_reg": 0.0},
        {"l2_leaf_reg": 17.3, "learning_rate": 0.0123456789},
        {"leaf_estimation_method": "Gradient"},
        {"leaf_estimation_method": "Simple"},
        {"score_function": "L2", "min_data_in_leaf": 20, "grow_policy": "Depthwise"},
        {"nan_mode": "Max"},
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", ["RMSE", "Logloss"])
def test_settings_are_followed_exactly(rng, loss, settings):
    """Rows are sampled for the structure alone; leaf values are those of all rows."""
    X = make_rows(rng)
    y = make_targets(loss, X, rng)
    model = train(catboost, X, y, loss, **settings)
    ensemble = read_model(model)
    assert_same_model(ensemble, model, hard_rows(ensemble, X))
    report = reproduce(model, X, y)
    assert (report.verdict, report.wrong_counts) == ("exact", 0)
    assert report.largest_difference < 1e-13


@pytest.mark.parametrize("method", ["Newton", "Gradient"])
@pytest.mark.parametrize("n_steps", [2, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_several_steps_a_tree(rng, loss, n_steps, method):
    X = make_rows(rng)
    y = make_targets(loss, X, rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    model = train(
        catboost,
        X,
        y,
        loss,
        weight=weight,
        iterations=6,
        leaf_estimation_iterations=n_steps,
        leaf_estimation_method=method,
    )
    ensemble = read_model(model)
    assert ensemble.leaf_rule.n_steps == n_steps
    assert ensemble.leaf_rule.backtracks
    report = reproduce(model, X, y, sample_weight=weight)
    assert report.verdict == "exact"
    assert report.largest_difference < 1e-13


def test_steps_without_backtracking(rng):
    X = make_rows(rng)
    y = make_targets("Poisson", X, rng)
    model = train(
        catboost,
        X,
        y,
        "Poisson",
        leaf_estimation_iterations=10,
        leaf_estimation_backtracking="No",
    )
    assert read_model(model).training.approximations == ()
    assert reproduce(model, X, y).largest_difference < 1e-13


def test_many_steps_are_followed_nearly(rng):
    """CatBoost gives up where a step lowers the loss by less than it resolves."""
    X = make_rows(rng)
    y = make_targets("Logloss", X, rng)
    model = train(catboost, X, y, "Logloss", leaf_estimation_iterations=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingDataWarning)
        report = reproduce(model, X, y)
    assert report.verdict in ("exact", "approximate")
    assert report.largest_difference < 0.05
    assert report.median_difference < 1e-6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_shrink_rate": 0.1}, "model_shrink_rate=0.1"),
        ({"langevin": True}, "langevin"),
        ({"monotone_constraints": [1, 0, 0, 0, 0]}, "monotone_constraints"),
    ],
    ids=str,
)
def test_what_is_approximate_says_so(rng, settings, words):
    X = make_rows(rng)
    y = make_targets("RMSE", X, rng)
    model = train(catboost, X, y, **settings)
    assert_same_model(read_model(model), model, X)
    with pytest.warns(TrainingDataWarning, match=words):
        report = reproduce(model, X, y)
    assert report.verdict == "approximate"
    assert report.largest_difference > 1e-4


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("MAE", losses.AbsoluteError()),
        ("Quantile:alpha=0.3", losses.Quantile(0.3)),
        ("MAPE", losses.AbsolutePercentageError()),
        ("Expectile:alpha=0.3", None),
        ("Lq:q=2.5", None),
        ("LogCosh", None),
        ("RMSEWithUncertainty", None),
        ("MultiQuantile:alpha=0.2,0.8", None),
    ],
)
def test_losses_that_are_structure_alone(rng, loss, expected):
    X = make_rows(rng)
    y = make_targets("RMSE", X, rng) + 10.0
    model = train(catboost, X, y, loss)
    ensemble = read_model(model)
    assert ensemble.loss == expected
    assert ensemble.leaf_l2 is None
    assert ensemble.leaf_rule.kind == ("unknown" if expected is None else "quantile")
    assert_same_model(ensemble, model, hard_rows(ensemble, X))
    with pytest.raises(UnsupportedModelError, match="Gradient-based influence"):
        reproduce(model, X, y)


def test_ranking_is_structure_alone(rng):
    X = make_rows(rng)
    y = make_targets("MultiClass", X, rng)
    model = catboost.CatBoostRanker(**QUIET, loss_function="YetiRank")
    model.fit(X, y, group_id=np.repeat(np.arange(30), 10))
    ensemble = read_model(model)
    assert (ensemble.loss, ensemble.loss_name) == (None, "YetiRank")
    assert_same_model(ensemble, model, hard_rows(ensemble, X))


@pytest.mark.parametrize("loss", ["RMSE", "Logloss", "CrossEntropy"])
def test_the_base_score_answers_to_the_rows(rng, loss):
    X = make_rows(rng)
    y = make_targets(loss, X, rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    for estimated in (True, False):
        model = train(catboost, X, y, loss, weight=weight, boost_from_average=estimated)
        ensemble = read_model(model)
        trace = ti.TrainingTrace.build(ensemble, X, y, sample_weight=weight)
        assert ensemble.training.estimates_base_score == estimated
        assert len(trace.base_score_gradient) == (len(X) if estimated else 0)
        if estimated:
            desired = ensemble.loss.base_score(trace.rows.y, weight)
            assert_allclose(ensemble.base_score, desired, rtol=1e-5)


def test_initial_scores_are_given_again(rng):
    X = make_rows(rng)
    y = make_targets("Logloss", X, rng)
    baseline = rng.normal(size=len(X))
    model = catboost.CatBoost({**QUIET, "loss_function": "Logloss"})
    model.fit(catboost.Pool(X, y, baseline=baseline))
    report = reproduce(model, X, y, init_score=baseline)
    assert report.verdict == "exact"
    assert report.largest_difference < 1e-13
    with pytest.raises(TrainingDataMismatchError, match="init_score"):
        reproduce(model, X, y)


# Classes.


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weights": [1.0, 3.3]},
        {"class_weights": {"no": 2.0, "yes": 0.7}},
        {"auto_class_weights": "Balanced"},
        {"auto_class_weights": "SqrtBalanced"},
        {"scale_pos_weight": 2.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights(rng, settings, weighted, tmp_path):
    X = make_rows(rng)
    y = np.where(make_targets("RMSE", X, rng) > 0.7, "yes", "no")
    weight = rng.uniform(0.5, 2.0, len(X)) if weighted else None
    model = catboost.CatBoostClassifier(**QUIET, **settings)
    model.fit(X, y, sample_weight=weight)
    for ensemble in (read_model(model), *read_files(model, tmp_path)):
        assert ensemble.classes.tolist() == ["no", "yes"]
        report = ti.TrainingTrace.build(ensemble, X, y, sample_weight=weight).report
        assert report.verdict == "exact"
        # class weights and row weights are multiplied in float32
        assert report.largest_difference < 1e-7
    assert_allclose(read_model(model).predict(X), model.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "c"],
        [7, -2, 3],
        [0.5, 2.0, 1.25],
    ],
    ids=str,
)
def test_labels_of_classes(rng, labels, tmp_path):
    X = make_rows(rng)
    y = np.array(labels)[make_targets("MultiClass", X, rng)]
    model = catboost.CatBoostClassifier(**QUIET, auto_class_weights="Balanced")
    model.fit(X, y)
    for ensemble in (read_model(model), *read_files(model, tmp_path)):
        assert_array_equal(ensemble.classes, model.classes_)
        report = ti.TrainingTrace.build(ensemble, X, y).report
        assert (report.verdict, report.largest_difference < 1e-7) == ("exact", True)
        assert_allclose(ensemble.predict(X), model.predict_proba(X), rtol=1e-12)


def test_labels_that_are_booleans(rng):
    X = make_rows(rng)
    y = make_targets("Logloss", X, rng) == 1
    model = catboost.CatBoostClassifier(**QUIET).fit(X, y)
    assert read_model(model).classes.tolist() == [False, True]
    assert reproduce(model, X, y).verdict == "exact"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda X, y: (X[:-20], y[:-20]), "trained on 300 rows; got 280"),
        (lambda X, y: (X + 0.3, y), "different total weight than"),
        (lambda X, y: (X[::-1], y), "labels or weights are not those"),
        (lambda X, y: (X, y[::-1]), "labels or weights are not those"),
        (lambda X, y: (X, np.where(np.arange(300) == 7, 1 - y, y)), "labels"),
    ],
)
def test_other_data_are_named(rng, spoil, words):
    X = make_rows(rng)
    y = make_targets("Logloss", X, rng)
    model = train(catboost, X, y, "Logloss")
    with pytest.raises(TrainingDataMismatchError, match=words):
        reproduce(model, *spoil(X, y))


# Values from the published implementation.


@pytest.mark.parametrize("name", ["binary_breast_cancer", "regression_diabetes"])
def test_influence_is_the_published_one(name):
    path = GOLDEN / f"catboost_{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    known = np.load(path, allow_pickle=False)
    ensemble = read_model(path.with_suffix(".model.cbm"))
    for part in ("train", "test"):
        scores = known[f"pred_raw_{part}"][:, np.newaxis]
        assert_allclose(ensemble.raw_score(known[f"X_{part}"]), scores, rtol=1e-12)
        leaves = known[f"leaf_index_{part}"][:, :, 0]
        assert_array_equal(ensemble.apply(known[f"X_{part}"]), leaves)
    for power, method in ((0, "BoostIn"), (1, "BoostInW1"), (2, "BoostInW2")):
        explainer = ti.BoostIn(theta="published", count_power=power)
        explainer.fit(ensemble, known["X_train"], known["y_train"])
        values = explainer.explain(known["X_test"], known["y_test"]).values
        desired = known[f"inf_{method}"]
        atol = 1e-12 * np.abs(desired).max()
        assert_allclose(values, desired, rtol=0, atol=atol)


def test_published_multiclass_scores():
    path = GOLDEN / "catboost_multiclass_wine.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    known = np.load(path, allow_pickle=False)
    ensemble = read_model(path.with_suffix(".model.cbm"))
    scores = known["pred_raw_test"]
    assert_allclose(ensemble.raw_score(known["X_test"]), scores, rtol=1e-12)
    trace = ti.TrainingTrace.build(ensemble, known["X_train"], known["y_train"])
    assert trace.report.verdict == "exact"
