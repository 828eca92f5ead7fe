"""Each objective and boosting mode: scores, loss, and the leaf values that follow."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.adapters.lightgbm.models import (
    assert_same_model,
    hard_rows,
    mixed_rows,
    mixed_score,
    own_raw_score,
    train,
)
from treeinf.adapters import read_model
from treeinf.adapters.lightgbm import reader as adapter
from treeinf.ensemble import losses
from treeinf.errors import UnsupportedModelError

lightgbm = pytest.importorskip("lightgbm")

DIFFERENTIABLE = {
    "regression": ({}, losses.SquaredError()),
    "reg_sqrt": (
        {"objective": "regression", "reg_sqrt": True},
        losses.SquaredError(sqrt_target=True),
    ),
    "huber": ({"alpha": 0.7}, losses.Huber(0.7)),
    "fair": ({"fair_c": 0.6}, losses.Fair(0.6)),
    "poisson": ({"poisson_max_delta_step": 0.4}, losses.Poisson(0.4)),
    "gamma": ({}, losses.Gamma()),
    "tweedie": ({"tweedie_variance_power": 1.23456789}, losses.Tweedie(1.23456789)),
    "binary": ({"sigmoid": 1.7}, losses.Logistic(1.7)),
    "cross_entropy": ({}, losses.CrossEntropy()),
    "multiclass": ({"num_class": 3}, losses.Softmax(3, 1.5)),
    "multiclassova": (
        {"num_class": 3, "sigmoid": 1.3},
        losses.OneVsAll(3, scale=1.3),
    ),
}

QUANTILE = {
    "regression_l1": ({}, losses.AbsoluteError()),
    "quantile": ({"alpha": 0.3}, losses.Quantile(0.3)),
    "mape": ({}, losses.AbsolutePercentageError()),
}

RULES = {
    "plain": {},
    "penalised": {
        "boost_from_average": False,
        "lambda_l2": 1.23456789,
        "lambda_l1": 0.3,
        "learning_rate": 0.123456789,
    },
    "bounded": {"max_delta_step": 0.4, "learning_rate": 1.0},
}


def targets(objective, X, rng):
    score = mixed_score(X)
    noise = rng.normal(size=len(X))
    if objective == "binary":
        return (score + noise > 0.5) * 1.0
    if objective.startswith("multiclass"):
        return np.digitize(score, [0.0, 1.0]) * 1.0
    if objective == "cross_entropy":
        return 1 / (1 + np.exp(-score - noise))
    if objective in ("poisson", "tweedie"):
        return rng.poisson(np.exp(score / 3)) * 1.0
    return np.exp(score / 3 + 0.1 * noise)


def largest_leaf_error(ensemble, X, y, weight, positive_weight=1.0):
    """Boost again in plain NumPy with the structure given; compare leaf values."""
    loss = ensemble.loss
    y = loss.transform_target(y.astype(np.float32).astype(float))
    weight = weight.astype(np.float32).astype(float)
    ensemble = ensemble.separate_base_score(loss.base_score(y, weight))
    score = np.tile(ensemble.base_score, (len(y), 1))
    leaves = ensemble.apply(X)
    largest = 0.0
    for tree in range(ensemble.n_trees):
        output = ensemble.output[tree]
        if output == 0:
            gradient, hessian = loss.derivatives(y, score)
            score = score.copy()
        positive = 1.0 if ensemble.n_outputs == 1 else output
        row_weight = weight * np.where(y == positive, positive_weight, 1.0)
        own = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
        n_leaves = own.stop - own.start
        G = np.bincount(leaves[:, tree], gradient[:, output] * row_weight, n_leaves)
        H = np.bincount(leaves[:, tree], hessian[:, output] * row_weight, n_leaves)
        G = np.sign(G) * np.maximum(np.abs(G) - ensemble.leaf_rule.l1_leaf, 0.0)
        value = -G / (H + ensemble.leaf_l2[own])
        bound = ensemble.leaf_rule.max_leaf_value or np.inf
        value = np.clip(value, -bound, bound) * ensemble.shrinkage[tree]
        stored = ensemble.leaf_value[own, 0]
        if n_leaves > 1:
            error = np.abs(value - stored).max() / np.abs(stored).max()
            largest = max(largest, error)
        score[:, output] += stored[leaves[:, tree]]
    return largest


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("objective", DIFFERENTIABLE)
def test_objective(rng, objective, rule):
    params, loss = DIFFERENTIABLE[objective]
    X = mixed_rows(rng)
    y = targets(objective, X, rng)
    weight = rng.uniform(0.5, 2.0, len(X))
    params = {"objective": objective, **params, **RULES[rule]}
    booster = train(
        lightgbm, X, y, categorical=[1, 2], dataset={"weight": weight}, **params
    )
    ensemble = read_model(booster)
    assert ensemble.loss == loss
    assert ensemble.loss_name == params["objective"]
    assert ensemble.base_score_folded.all() == (rule != "penalised")
    assert ensemble.base_score.tolist() == [0.0] * loss.n_outputs
    assert ensemble.leaf_rule.kind == "newton"
    assert ensemble.training.single_precision
    assert ensemble.training.approximations == ()
    assert_same_model(ensemble, booster, hard_rows(ensemble, X, 1, 5))
    # LightGBM rounds gradients to float32.
    assert largest_leaf_error(ensemble, X, y, weight) < 1e-6


@pytest.mark.parametrize("objective", QUANTILE)
def test_objective_of_order_statistics(rng, objective):
    params, loss = QUANTILE[objective]
    X = mixed_rows(rng)
    booster = train(
        lightgbm, X, targets(objective, X, rng), objective=objective, **params
    )
    ensemble = read_model(booster)
    assert ensemble.loss == loss
    assert ensemble.leaf_rule.kind == "quantile"
    assert ensemble.leaf_l2 is None
    assert ensemble.base_score_folded.all()
    assert_same_model(ensemble, booster, hard_rows(ensemble, X, 1, 5))


@pytest.mark.parametrize("objective", ["binary", "multiclassova"])
@pytest.mark.parametrize("setting", ["scale_pos_weight", "is_unbalance"])
def test_positive_weight(rng, objective, setting):
    X = mixed_rows(rng)
    y = targets(objective, X, rng)
    params = {"num_class": 3} if objective == "multiclassova" else {}
    value = 3.456789123 if setting == "scale_pos_weight" else True
    booster = train(lightgbm, X, y, objective=objective, **{setting: value}, **params)
    ensemble = read_model(booster)
    if setting == "is_unbalance":
        assert ensemble.training.positive_weight == "unbalanced"
    else:
        assert ensemble.training.positive_weight == value
        assert largest_leaf_error(ensemble, X, y, np.ones(len(X)), value) < 1e-6


def test_positive_weight_of_softmax_is_unused(rng):
    X = mixed_rows(rng)
    y = targets("multiclass", X, rng)
    booster = train(
        lightgbm, X, y, objective="multiclass", num_class=3, scale_pos_weight=3.0
    )
    ensemble = read_model(booster)
    assert ensemble.training.positive_weight is None
    assert largest_leaf_error(ensemble, X, y, np.ones(len(X))) < 1e-6


@pytest.mark.parametrize("onehot", [3, 4, 5])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_penalty_of_categorical_splits(rng, onehot, missing):
    """`cat_l2` counts from where the bins, that for missing included, outnumber it."""
    X = rng.integers(0, 4, (500, 1)).astype(float)
    y = rng.normal(size=4)[X[:, 0].astype(int)] + 0.1 * rng.normal(size=500)
    X[rng.random(500) < missing, 0] = np.nan
    booster = train(
        lightgbm,
        X,
        y,
        categorical=[0],
        max_cat_to_onehot=onehot,
        lambda_l2=2.0,
        cat_l2=7.0,
        min_data_per_group=1,
        objective="regression",
    )
    ensemble = read_model(booster)
    assert set(ensemble.leaf_l2) == {2.0 if onehot == 5 else 9.0}
    assert largest_leaf_error(ensemble, X, y, np.ones(500)) < 1e-6


def test_ranking_is_structure_only(rng):
    X = mixed_rows(rng)
    y = np.digitize(mixed_score(X), [0.0, 1.0])
    model = lightgbm.LGBMRanker(n_estimators=4, n_jobs=1, verbose=-1)
    model.fit(X, y, group=[100] * 4)
    ensemble = read_model(model)
    assert ensemble.loss is None
    assert ensemble.loss_name == "lambdarank"
    assert not ensemble.base_score_folded.any()
    assert ensemble.shrinkage.tolist() == [0.1] * 4
    assert_same_model(ensemble, model.booster_, X)


@pytest.mark.parametrize("objective", ["cross_entropy_lambda", "rank_xendcg"])
def test_unknown_loss_is_structure_only(rng, objective):
    X = mixed_rows(rng)
    y = (mixed_score(X) > 0.3) * 1
    booster = train(lightgbm, X, y, objective=objective, dataset={"group": [200, 200]})
    ensemble = read_model(booster)
    assert (ensemble.loss, ensemble.loss_name) == (None, objective)
    assert ensemble.base_score_folded.all() == (objective == "cross_entropy_lambda")
    assert_same_model(ensemble, booster, X)


def test_custom_objective(rng):
    X = mixed_rows(rng)
    y = mixed_score(X)

    def objective(score, data):
        return score - data.get_label(), np.ones(len(score))

    booster = train(lightgbm, X, y, objective=objective)
    ensemble = read_model(booster)
    assert (ensemble.loss, ensemble.loss_name) == (None, "custom")
    assert not ensemble.base_score_folded.any()
    assert ensemble.shrinkage.tolist() == [0.1] * 4
    assert_same_model(ensemble, booster, X)


def test_dart(rng):
    X = mixed_rows(rng)
    booster = train(
        lightgbm,
        X,
        mixed_score(X),
        objective="regression",
        boosting="dart",
        drop_rate=0.6,
        skip_drop=0.0,
        learning_rate=0.3,
        iterations=8,
    )
    ensemble = read_model(booster)
    assert_same_model(ensemble, booster, hard_rows(ensemble, X, 1, 5))
    (note,) = ensemble.training.approximations
    assert note.startswith("boosting=dart")
    assert (ensemble.shrinkage <= 0.3).all()
    assert len(set(ensemble.shrinkage)) > 1


@pytest.mark.parametrize("objective", ["regression", "binary", "multiclass"])
def test_random_forest(rng, objective):
    """Raw scores are means here; LightGBM's raw_score=True leaves them summed."""
    X = mixed_rows(rng)
    y = targets(objective, X, rng)
    params = {"num_class": 3} if objective == "multiclass" else {}
    booster = train(
        lightgbm,
        X,
        y,
        objective=objective,
        boosting="rf",
        bagging_freq=1,
        bagging_fraction=0.6,
        **params,
    )
    ensemble = read_model(booster)
    assert ensemble.is_averaged
    assert_allclose(ensemble.shrinkage, 0.25)
    assert not ensemble.base_score_folded.any()
    assert ensemble.training.subsample == "bagging_fraction=0.6, bagging_freq=1"
    scores = ensemble.raw_score(X)
    assert_allclose(scores, own_raw_score(booster, X) / 4, rtol=1e-12)
    assert_allclose(scores, adapter.raw_score(booster, X), rtol=1e-12)
    predicted = booster.predict(X)
    if objective == "binary":
        predicted = np.column_stack([1 - predicted, predicted])
    assert_allclose(ensemble.predict(X), predicted, rtol=1e-10)
    cut = read_model(booster, iterations=3)
    assert_allclose(
        cut.raw_score(X), adapter.raw_score(booster, X, iterations=3), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"bagging_freq": 2, "bagging_fraction": 0.5}, "bagging_fraction=0.5, bagging"),
        ({"boosting": "goss"}, "data_sample_strategy=goss, top_rate=0.2"),
        (
            {"data_sample_strategy": "goss", "top_rate": 0.3},
            "data_sample_strategy=goss",
        ),
        ({"bagging_freq": 1, "pos_bagging_fraction": 0.5}, "pos_bagging_fraction=0.5"),
        ({"bagging_fraction": 0.5}, None),
        ({"bagging_freq": 1}, None),
    ],
)
def test_row_sampling(rng, params, words):
    X = mixed_rows(rng)
    y = targets("binary", X, rng)
    booster = train(lightgbm, X, y, objective="binary", **params)
    ensemble = read_model(booster)
    if words is None:
        assert ensemble.training.subsample is None
    else:
        assert ensemble.training.subsample.startswith(words)
    assert_same_model(ensemble, booster, X)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"monotone_constraints": [1, 0, 0, 0, -1]}, "monotone_constraints"),
        ({"use_quantized_grad": True}, "use_quantized_grad"),
    ],
)
def test_stated_approximations(rng, params, word):
    X = mixed_rows(rng)
    booster = train(lightgbm, X, mixed_score(X), objective="regression", **params)
    ensemble = read_model(booster)
    (note,) = ensemble.training.approximations
    assert note.startswith(word)
    assert_same_model(ensemble, booster, X)


def test_monotone_constraints_are_seen_in_json(rng):
    X = mixed_rows(rng)
    booster = train(
        lightgbm, X, mixed_score(X), monotone_constraints=[0, 0, 0, 0, 1], iterations=1
    )
    notes = read_model(booster.dump_model()).training.approximations
    assert any(note.startswith("monotone_constraints") for note in notes)
    free = train(lightgbm, X, mixed_score(X), monotone_constraints=[0] * 5)
    assert read_model(free).training.approximations == ()


def test_linear_leaves_are_refused(rng):
    X = rng.normal(size=(200, 2))
    booster = train(lightgbm, X, X[:, 0], linear_tree=True, objective="regression")
    for given in (booster, booster.model_to_string(), booster.dump_model()):
        with pytest.raises(UnsupportedModelError, match="linear_tree=False"):
            read_model(given)


def test_linear_trees_of_constants_are_read(rng):
    """The first tree of linear boosting has constant leaves."""
    X = rng.normal(size=(200, 2))
    booster = train(
        lightgbm, X, X[:, 0], linear_tree=True, objective="regression", iterations=1
    )
    assert_same_model(read_model(booster), booster, X)


def test_settings_that_bend_leaf_values(rng):
    X = mixed_rows(rng)
    booster = train(
        lightgbm,
        X,
        mixed_score(X),
        objective="regression",
        path_smooth=2.0,
        lambda_l1=0.5,
        max_delta_step=0.7,
    )
    rule = read_model(booster).leaf_rule
    assert (rule.path_smooth, rule.l1_leaf, rule.max_leaf_value) == (2.0, 0.5, 0.7)
