"""Each objective: scores, loss, and the leaf values that follow from its gradients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.adapters.xgboost.models import (
    assert_same_model,
    dropping_trees,
    hard_rows,
    mixed_rows,
    mixed_score,
    train,
    version_of,
)
from treeinf.adapters import read_model
from treeinf.ensemble import losses
from treeinf.errors import TrainingDataMismatchError, UnsupportedModelError
from treeinf.trace import TrainingTrace

xgboost = pytest.importorskip("xgboost")

DIFFERENTIABLE = {
    "reg:squarederror": ({}, losses.SquaredError()),
    "reg:squaredlogerror": ({}, losses.SquaredLogError()),
    "reg:logistic": ({}, losses.CrossEntropy()),
    "binary:logistic": ({}, losses.Logistic()),
    "binary:logitraw": ({}, losses.Logistic()),
    "count:poisson": ({}, losses.Poisson(0.699999988)),
    "reg:gamma": ({}, losses.Gamma()),
    "reg:tweedie": ({"tweedie_variance_power": 1.3}, losses.Tweedie(1.29999995)),
    "reg:pseudohubererror": ({"huber_slope": 0.7}, losses.PseudoHuber(0.699999988)),
    "multi:softmax": ({"num_class": 3}, losses.Softmax(3, 2.0)),
    "multi:softprob": ({"num_class": 3}, losses.Softmax(3, 2.0)),
}

# from 3.4 on Newton steps on a smooth loss whose width follows from all rows
OF_QUANTILES = "quantile" if version_of(xgboost) < (3, 4) else "unknown"
STRUCTURE_ONLY = {
    "reg:absoluteerror": ({}, losses.AbsoluteError(), OF_QUANTILES),
    "reg:quantileerror": ({"quantile_alpha": 0.3}, losses.Quantile(0.3), OF_QUANTILES),
    "binary:hinge": ({}, None, "newton"),
    "rank:ndcg": ({}, None, "newton"),
    "rank:pairwise": ({}, None, "newton"),
}
if version_of(xgboost) >= (3, 3):
    STRUCTURE_ONLY["reg:expectileerror"] = ({"expectile_alpha": 0.3}, None, "newton")

RULES = {
    "plain": {},
    "penalised": {"lambda": 0.5, "alpha": 2.0, "eta": 0.123, "base_score": 0.3},
    "bounded": {"max_delta_step": 0.2, "lambda": 0.0, "min_child_weight": 0.0},
    "parallel": {"num_parallel_tree": 3},
    "exact": {"tree_method": "exact", "gamma": 0.5},
    "approx": {"tree_method": "approx", "grow_policy": "lossguide", "max_leaves": 9},
}


def targets(objective, X, rng):
    score = mixed_score(X)
    noise = rng.normal(size=len(X))
    if objective.startswith("binary") or objective == "rank:map":
        return (score + noise > 0.5) * 1.0
    if objective.startswith(("multi", "rank")):
        return np.digitize(score, [0.0, 1.0]) * 1.0
    if objective == "reg:logistic":
        return 1 / (1 + np.exp(-score - noise))
    if objective in ("count:poisson", "reg:tweedie"):
        return rng.poisson(np.exp(score / 3)) * 1.0
    return np.exp(score / 3 + 0.1 * noise)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("objective", DIFFERENTIABLE)
def test_leaf_values_follow_from_the_gradients(rng, objective, rule):
    params, loss = DIFFERENTIABLE[objective]
    X = mixed_rows(rng, n_rows=250)
    y = targets(objective, X, rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    params = {"objective": objective, **params, **RULES[rule]}
    categorical = () if rule == "exact" else (1, 2)
    booster = train(
        xgboost,
        X,
        y,
        iterations=6,
        categorical=categorical,
        data={"weight": weight},
        **params,
    )
    ensemble = read_model(booster)
    if objective == "count:poisson" and rule == "bounded":
        loss = losses.Poisson(0.200000003)  # one parameter for both in XGBoost
    assert ensemble.loss == loss
    assert ensemble.loss_name == objective
    assert not ensemble.base_score_folded.any()
    assert ensemble.training.approximations == ()
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 4))
    report = TrainingTrace.build(ensemble, X, y, sample_weight=weight).report
    assert report.verdict == "exact"
    # float32: single roundings are 6e-8; small sums of large gradients are worse
    assert report.largest_difference < (1e-4 if rule == "exact" else 5e-6)
    assert report.median_difference < 2e-6
    assert report.largest_hessian_difference < 5e-6


@pytest.mark.parametrize("objective", STRUCTURE_ONLY)
def test_objectives_without_gradients_to_explain(rng, objective):
    params, loss, kind = STRUCTURE_ONLY[objective]
    X = mixed_rows(rng)
    y = targets(objective, X, rng)
    data = {"group": [100] * 4} if objective.startswith("rank") else {}
    booster = train(xgboost, X, y, data=data, objective=objective, **params)
    ensemble = read_model(booster)
    assert (ensemble.loss, ensemble.loss_name) == (loss, objective)
    assert ensemble.leaf_rule.kind == kind
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 4))
    assert_allclose(ensemble.shrinkage, np.float32(0.3))
    reason = {"quantile": "order statistics", "unknown": "another, smooth loss"}
    expected = f"{objective}.*{reason.get(kind, 'not known to treeinf')}"
    with pytest.raises(UnsupportedModelError, match=expected):
        TrainingTrace.build(ensemble, X, y)


def test_several_quantiles(rng):
    X = mixed_rows(rng)
    booster = train(
        xgboost,
        X,
        mixed_score(X),
        objective="reg:quantileerror",
        quantile_alpha=[0.2, 0.5, 0.9],
    )
    ensemble = read_model(booster)
    assert (ensemble.n_outputs, ensemble.n_trees) == (3, 12)
    assert ensemble.loss is None
    assert_same_model(xgboost, ensemble, booster, X)


@pytest.mark.parametrize("objective", ["survival:cox", "survival:aft"])
def test_survival_is_refused_by_name(rng, objective):
    X = mixed_rows(rng)
    y = np.exp(mixed_score(X))
    bounds = {"label_lower_bound": y, "label_upper_bound": y}
    data = bounds if objective == "survival:aft" else {}
    booster = train(xgboost, X, y, data=data, objective=objective)
    with pytest.raises(UnsupportedModelError, match=objective):
        read_model(booster)


@pytest.mark.filterwarnings("ignore")
def test_linear_booster_is_refused_by_name(rng):
    X = rng.normal(size=(50, 2))
    booster = xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(X, X[:, 0]), 2)
    with pytest.raises(UnsupportedModelError, match=r"gblinear.*gbtree"):
        read_model(booster)


# Base scores.


@pytest.mark.parametrize("base_score", [None, 0.3])
@pytest.mark.parametrize("objective", [*DIFFERENTIABLE, *STRUCTURE_ONLY])
def test_base_score_goes_through_the_link(rng, objective, base_score):
    """Rows of a tree without splits show the base score that XGBoost itself adds."""
    params = {**DIFFERENTIABLE, **STRUCTURE_ONLY}[objective][0]
    X = mixed_rows(rng)
    data = {"group": [100] * 4} if objective.startswith("rank") else {}
    if base_score is not None:
        params = {**params, "base_score": base_score}
    booster = train(
        xgboost,
        X,
        targets(objective, X, rng),
        iterations=1,
        data=data,
        objective=objective,
        **{**params, "eta": 0.0},
    )
    ensemble = read_model(booster)
    scores = booster.predict(xgboost.DMatrix(X[:1]), output_margin=True)
    assert_allclose(ensemble.base_score, scores.ravel(), rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_base_score_of_one_class(rng, label):
    X = mixed_rows(rng)
    y = np.full(len(X), label)
    try:
        booster = train(xgboost, X, y, objective="binary:logistic", iterations=2)
    except xgboost.core.XGBoostError:  # 3.0 refuses to train
        return
    assert_same_model(xgboost, read_model(booster), booster, X)


def test_base_score_that_is_not_finite(rng):
    X = mixed_rows(rng)
    y = rng.poisson(1.0, len(X))
    booster = train(
        xgboost, X, y, objective="count:poisson", base_score=0.0, iterations=1
    )
    with pytest.raises(UnsupportedModelError, match="raw scores that are not finite"):
        read_model(booster)


def test_base_score_of_each_output(rng):
    X = mixed_rows(rng)
    Y = np.column_stack([mixed_score(X), X[:, 0] > 5, np.full(len(X), 7.0)])
    booster = train(xgboost, X, Y)
    ensemble = read_model(booster)
    assert ensemble.n_outputs == 3
    if version_of(xgboost) >= (3, 1):
        assert_allclose(ensemble.base_score, Y.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert_same_model(xgboost, ensemble, booster, X)


# Weights of labels.


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:squarederror"])
def test_scale_pos_weight(rng, objective):
    """It weighs rows whose label is 1, whatever the other labels are."""
    X = mixed_rows(rng)
    y = (mixed_score(X) > 0.3) * 1.0
    if objective.startswith("reg"):
        y = np.digitize(mixed_score(X), [-0.5, 0.0, 0.5]) * 1.0
    booster = train(xgboost, X, y, objective=objective, scale_pos_weight=3.3)
    ensemble = read_model(booster)
    assert ensemble.training.positive_weight == pytest.approx(3.3)
    report = TrainingTrace.build(ensemble, X, y).report
    assert (report.verdict, report.largest_difference < 5e-6) == ("exact", True)


# Several targets and vector leaves.


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets_are_structure_only(rng, strategy):
    X = mixed_rows(rng)
    Y = np.column_stack([mixed_score(X), X[:, 0] > 0.3])
    booster = train(xgboost, X, Y, multi_strategy=strategy, tree_method="hist")
    ensemble = read_model(booster)
    is_vector = strategy == "multi_output_tree"
    assert ensemble.leaf_width == (2 if is_vector else 1)
    assert ensemble.n_trees == (4 if is_vector else 8)
    assert (ensemble.loss, ensemble.loss_name) == (
        None,
        "reg:squarederror of 2 targets",
    )
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 4))


def test_several_labels(rng):
    X = mixed_rows(rng)
    Y = np.column_stack([mixed_score(X) > 0.2, X[:, 0] > 0.3]) * 1
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, Y)
    ensemble = read_model(model)
    assert (ensemble.n_outputs, ensemble.loss, ensemble.classes) == (2, None, None)
    assert_same_model(xgboost, ensemble, model.get_booster(), X)


@pytest.mark.parametrize(
    "params",
    [{}, {"min_child_weight": 5.0}, {"max_delta_step": 0.3}, {"alpha": 0.5}],
    ids=str,
)
def test_vector_leaves_follow_from_the_gradients(rng, params):
    """Before 3.4 `min_child_weight` holds for each output on its own there."""
    X = mixed_rows(rng)
    y = targets("multi:softprob", X, rng)
    booster = train(
        xgboost,
        X,
        y,
        objective="multi:softprob",
        num_class=3,
        multi_strategy="multi_output_tree",
        tree_method="hist",
        **params,
    )
    ensemble = read_model(booster)
    assert ensemble.leaf_width == 3
    assert ensemble.leaf_hessian is None
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 4))
    if "alpha" in params and version_of(xgboost) < (3, 1):
        return
    report = TrainingTrace.build(ensemble, X, y).report
    assert (report.verdict, report.largest_difference < 5e-6) == ("exact", True)


# Trees of one leaf, and what rounding leaves open.


@pytest.mark.parametrize("min_child_weight", [0.0, 1e4])
def test_trees_of_one_leaf_are_fitted(rng, min_child_weight):
    X = mixed_rows(rng)
    y = mixed_score(X)
    booster = train(
        xgboost,
        X,
        y,
        gamma=1e9,
        base_score=0.0,
        min_child_weight=min_child_weight,
    )
    ensemble = read_model(booster)
    assert ensemble.most_leaves == 1
    # from 3.4 on min_child_weight bounds splits alone
    is_fitted = min_child_weight == 0.0 or version_of(xgboost) >= (3, 4)
    assert ensemble.leaf_value.any() == is_fitted
    trace = TrainingTrace.build(ensemble, X, y)
    assert trace.report.verdict == "exact"
    assert (trace.leaf_response > 0).all() == is_fitted


@pytest.mark.parametrize("is_vector", [False, True])
def test_the_version_that_trained_decides(rng, is_vector):
    """A later version that writes the model again leaves the leaf values as they are.

    It puts its own number into the file. Then the replay misses, and says what to pass.
    """
    X = mixed_rows(rng)
    y = np.digitize(mixed_score(X), [0.0, 1.0]) * 1.0
    params = {"gamma": 1e9, "min_child_weight": 1e4, "base_score": 0.0}
    if is_vector:
        params = {
            "objective": "multi:softprob",
            "num_class": 3,
            "multi_strategy": "multi_output_tree",
            "tree_method": "hist",
            "min_child_weight": 5.0,
        }
    booster = train(xgboost, X, y, **params)
    right, wrong = "3.3", "3.4.1"
    if version_of(xgboost) >= (3, 4):
        right, wrong = wrong, right
    ensemble = read_model(booster, parameters={"version": right})
    assert ensemble.leaf_rule == read_model(booster).leaf_rule
    assert TrainingTrace.build(ensemble, X, y).report.verdict == "exact"
    ensemble = read_model(booster, parameters={"version": wrong})
    expected = r"{'version': '3.2'}" if wrong > right else "not the training data"
    with pytest.raises(TrainingDataMismatchError, match=expected):
        TrainingTrace.build(ensemble, X, y)


@pytest.mark.parametrize("version", ["new", 3, "3.x", ["a"]])
def test_what_is_no_version(rng, version):
    X = mixed_rows(rng)
    booster = train(xgboost, X, mixed_score(X), iterations=1)
    with pytest.raises(ValueError, match=r"expected that of the XGBoost that trained"):
        read_model(booster, parameters={"version": version})


@pytest.mark.parametrize(
    ("params", "n_iterations"),
    [
        ({"objective": "binary:logistic", "lambda": 0, "min_child_weight": 0}, 60),
        ({"objective": "reg:squarederror"}, 200),
        ({"objective": "reg:squarederror", "gamma": 1e9}, 3),
    ],
    ids=str,
)
def test_rounding_is_not_taken_for_other_labels(rng, params, n_iterations):
    """Late trees of a model that fits everything hold nothing but rounding."""
    X = rng.normal(size=(150, 3))
    y = (X[:, 0] > 0) * 1.0
    if params["objective"].startswith("reg"):
        y = X[:, 0] + 100.0
    booster = train(xgboost, X, y, iterations=n_iterations, **params)
    ensemble = read_model(booster)
    assert TrainingTrace.build(ensemble, X, y).report.verdict == "exact"
    changed = y.copy()
    changed[:3] = y[:3][::-1] + 1.0 - 2.0 * (y.max() == 1.0) * y[:3]
    with pytest.raises(TrainingDataMismatchError):
        TrainingTrace.build(ensemble, X, np.clip(changed, 0, None))


def test_rounding_of_probabilities_near_1():
    """All rows but one are rounded alike, by more than is left of their gradients."""
    y = np.ones(240)
    y[0] = 0.0
    params = {"objective": "reg:logistic", "gamma": 1e9, "min_child_weight": 0.0}
    ensemble = read_model(train(xgboost, y[:, np.newaxis], y, **params))
    assert TrainingTrace.build(ensemble, y[:, np.newaxis], y).report.verdict == "exact"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_changed_labels_are_found_at_any_scale(rng, scale):
    """What rounding excuses is measured in the targets' own unit."""
    X = mixed_rows(rng)
    y = scale * (1.0 + mixed_score(X))
    ensemble = read_model(train(xgboost, X, y, iterations=20))
    assert TrainingTrace.build(ensemble, X, y).report.verdict == "exact"
    changed = y.copy()
    changed[:2] = y[[1, 0]] + 0.1 * scale
    with pytest.raises(TrainingDataMismatchError, match="other labels"):
        TrainingTrace.build(ensemble, X, changed)


def test_other_rows_are_told_by_the_hessians(rng):
    X = mixed_rows(rng)
    y = (mixed_score(X) > 0.3) * 1
    ensemble = read_model(train(xgboost, X, y, objective="binary:logistic"))
    with pytest.raises(
        TrainingDataMismatchError, match=r"trained on 400 rows.*got 300"
    ):
        TrainingTrace.build(ensemble, X[:300], y[:300])
    other = X.copy()
    other[:, 0] = rng.permutation(other[:, 0])
    with pytest.raises(TrainingDataMismatchError, match="values in X are not those"):
        TrainingTrace.build(ensemble, other, y)
    weight = rng.uniform(0.5, 2.0, len(y))
    with pytest.raises(TrainingDataMismatchError, match="other weights"):
        TrainingTrace.build(ensemble, X, y, sample_weight=weight)


def test_dart_is_approximate(rng):
    X = mixed_rows(rng)
    y = mixed_score(X)
    booster = train(xgboost, X, y, iterations=8, **dropping_trees(xgboost))
    ensemble = read_model(booster)
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 4))
    assert len(set(ensemble.shrinkage)) > 1
    (note,) = ensemble.training.approximations
    assert note.startswith("booster=dart")
    report = TrainingTrace.build(ensemble, X, y, on_mismatch="ignore").report
    assert report.verdict == "approximate"
    step = ensemble.leaf_value[:, 0] / ensemble.shrinkage[ensemble.leaf_tree]
    first = slice(0, ensemble.leaf_offset[1])
    scores = np.full(len(y), ensemble.base_score[0])
    leaf = ensemble.apply(X)[:, 0]
    total = np.bincount(leaf, y - scores) / (np.bincount(leaf) + 1.0)
    assert_allclose(step[first], total, rtol=1e-4, atol=1e-6)


# XGBoost 3.4 deprecates these estimators, and still has them
@pytest.mark.filterwarnings("ignore:`XGBRF:FutureWarning")
@pytest.mark.parametrize("is_classifier", [False, True])
def test_random_forest(rng, is_classifier):
    """Its trees share one set of gradients, and the learning rate."""
    X = mixed_rows(rng)
    y = targets("multi:softprob" if is_classifier else "reg", X, rng)
    kind = xgboost.XGBRFClassifier if is_classifier else xgboost.XGBRFRegressor
    model = kind(n_estimators=5, max_depth=4, n_jobs=1).fit(X, y)
    ensemble = read_model(model)
    assert (ensemble.n_iterations, ensemble.n_trees) == (1, 15 if is_classifier else 5)
    assert_allclose(ensemble.shrinkage, 0.2)
    assert ensemble.training.subsample == "subsample=0.8"
    assert_same_model(xgboost, ensemble, model.get_booster(), X)
    model = kind(n_estimators=5, max_depth=4, n_jobs=1, subsample=1).fit(X, y)
    report = TrainingTrace.build(read_model(model), X, y).report
    assert (report.verdict, report.largest_difference < 5e-6) == ("exact", True)


def test_custom_objective(rng):
    X = mixed_rows(rng)
    y = mixed_score(X)

    def squared(label, score):
        return score - label, np.ones(len(label))

    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1, objective=squared)
    ensemble = read_model(model.fit(X, y))
    assert (ensemble.loss, ensemble.loss_name) == (None, "custom")
    assert_same_model(xgboost, ensemble, model.get_booster(), X)
    booster = model.get_booster()
    # the booster itself says the default objective, and the replay finds it out
    assert read_model(booster).loss == losses.SquaredError()
    for objective in (squared, "custom"):
        told = read_model(booster, parameters={"objective": objective})
        assert (told.loss, told.loss_name) == (None, "custom")
    assert_array_equal(told.leaf_value, ensemble.leaf_value)
