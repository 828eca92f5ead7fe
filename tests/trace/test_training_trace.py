"""The replay of training, and how other data than the training's are found out."""

import dataclasses
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from treeinf.errors import (
    SubsampledTrainingWarning,
    TrainingDataMismatchError,
    TrainingDataWarning,
    UnsupportedModelError,
)

lightgbm = pytest.importorskip("lightgbm")


def build(model, X, y, **more):
    return ti.TrainingTrace.build(ti.read_model(model), X, y, **more)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("recipe", models.RECIPES)
def test_leaf_values_follow_from_the_rows(recipe, weighted):
    model, X, y, weight, *_ = models.fit(recipe, weighted=weighted)
    report = build(model, X, y, sample_weight=weight).report
    assert report.verdict == "exact"
    # LightGBM keeps gradients in float32
    assert report.largest_difference < 1e-5
    assert report.median_difference < 1e-6
    assert report.largest_hessian_difference < 1e-5
    assert report.wrong_counts == 0
    assert report.share_seen == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {"boost_from_average": False},
        {"learning_rate": 0.37},
        {"path_smooth": 5.0},
        {"path_smooth": 5.0, "reg_alpha": 2.0, "reg_lambda": 1.0},
        {"max_delta_step": 2.0, "reg_alpha": 1.0},
        {"reg_sqrt": True},
        {"extra_trees": True},
    ],
    ids=str,
)
def test_settings_are_followed_exactly(settings):
    model, X, y, *_ = models.fit("regression", **settings)
    report = build(model, X, y).report
    assert (report.verdict, report.wrong_counts) == ("exact", 0)
    assert report.largest_difference < 2e-5


def test_smoothing_by_estimated_counts_is_no_error_of_the_caller():
    model, X, y, weight, *_ = models.fit("regression", weighted=True, path_smooth=5.0)
    with pytest.warns(TrainingDataWarning, match="estimates from hessians"):
        report = build(model, X, y, sample_weight=weight).report
    assert report.verdict == "approximate"


def test_unbalanced_classes_are_weighted_as_lightgbm_does():
    model, X, y, *_ = models.fit("binary", is_unbalance=True)
    assert build(model, X, y).report.verdict == "exact"


def test_init_score_must_be_given_again():
    _, X, y, *_ = models.fit("regression")
    offset = np.linspace(-3, 3, len(y))
    parameters = {"objective": "regression", "verbose": -1, "num_leaves": 5}
    data = lightgbm.Dataset(X, y, init_score=offset, free_raw_data=False)
    model = lightgbm.train(parameters, data, 5)
    report = build(model, X, y, init_score=offset).report
    assert (report.verdict, report.largest_difference < 1e-5) == ("exact", True)
    with pytest.raises(TrainingDataMismatchError, match="init_score"):
        build(model, X, y)


def test_the_initial_score_is_taken_out_of_the_first_tree():
    model, X, y, *_ = models.fit("binary")
    ensemble = ti.read_model(model)
    assert ensemble.base_score_folded.all()
    trace = build(model, X, y)
    share = y.mean()
    assert_allclose(trace.ensemble.base_score, np.log(share / (1 - share)), rtol=1e-12)
    assert not trace.ensemble.base_score_folded.any()
    assert_allclose(trace.ensemble.raw_score(X), ensemble.raw_score(X), rtol=1e-12)


def shuffled_labels(X, y):
    return X, np.random.default_rng(0).permutation(y), None


def flipped_labels(X, y):
    other = y.copy()
    other[:10] = 1 - other[:10]
    return X, other, None


def one_flipped_label(X, y):
    other = y.copy()
    other[3] = 1 - other[3]
    return X, other, None


def other_table(X, y):
    return np.random.default_rng(0).normal(size=X.shape), y, None


def fewer_rows(X, y):
    return X[:200], y[:200], None


def more_rows(X, y):
    return np.vstack([X, X[:20]]), np.concatenate([y, y[:20]]), None


def one_changed_row(X, y):
    other = X.copy()
    other[0] = -other[0] * 10
    return other, y, None


def invented_weights(X, y):
    return X, y, np.random.default_rng(0).uniform(1, 2, len(y))


@pytest.mark.parametrize(
    ("spoil", "verdict", "words"),
    [
        (shuffled_labels, "other labels", "another order"),
        (flipped_labels, "other labels", "share of the classes"),
        (one_flipped_label, "other labels", "share of the classes"),
        (other_table, "other rows", "the values in X are not those"),
        (fewer_rows, "other rows", "trained on 240 rows; got 200"),
        (more_rows, "other rows", "trained on 240 rows; got 260"),
        (one_changed_row, "other rows", "the values in X are not those"),
        (invented_weights, "other weights", "the sample weights are not those"),
    ],
)
def test_other_data_than_the_trainings_are_named(spoil, verdict, words):
    model, X, y, *_ = models.fit("binary")
    rows, labels, weight = spoil(X, y)
    with pytest.raises(TrainingDataMismatchError, match=words):
        build(model, rows, labels, sample_weight=weight)
    with pytest.warns(TrainingDataWarning, match=words):
        report = build(
            model, rows, labels, sample_weight=weight, on_mismatch="warn"
        ).report
    assert report.verdict == verdict
    assert report.is_mismatch
    assert verdict in str(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(model, rows, labels, sample_weight=weight, on_mismatch="ignore")


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
def test_forgotten_weights_are_named(recipe):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True)
    with pytest.raises(TrainingDataMismatchError, match="other weights"):
        build(model, X, y)
    assert build(model, X, y, sample_weight=weight).report.verdict == "exact"


def test_forgotten_class_weights_are_no_mistake():
    """The estimator remembers them; the caller need not."""
    model, X, y, *_ = models.fit("binary_weighted")
    assert build(model, X, y).report.verdict == "exact"


@pytest.mark.parametrize(
    "settings",
    [
        {"subsample": 0.7, "subsample_freq": 1},
        {"data_sample_strategy": "goss", "learning_rate": 0.5},
    ],
    ids=str,
)
def test_sampled_rows_in_another_order_are_a_warning_with_figures(settings):
    model, X, y, *_ = models.fit("binary", **settings)
    assert build(model, X, y).report.verdict == "exact"
    with pytest.warns(SubsampledTrainingWarning, match="% of them on average"):
        report = build(model, X[::-1], y[::-1]).report
    assert report.verdict == "subsampled"
    assert 0.1 < report.share_seen < 1.0
    with pytest.raises(TrainingDataMismatchError, match="other rows"):
        build(model, np.random.default_rng(1).normal(size=X.shape), y)


def test_dart_is_approximate_and_says_so():
    model, X, y, *_ = models.fit("regression", boosting_type="dart", n_estimators=30)
    with pytest.warns(
        TrainingDataWarning, match="boosting=dart: .* 0.001 of their tree's largest"
    ):
        report = build(model, X, y).report
    assert report.verdict == "approximate"
    assert report.largest_difference > 0.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "l1"}, "order statistics"),
        ({"objective": "quantile", "alpha": 0.3}, "order statistics"),
        (
            {"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1},
            "averaged forest",
        ),
    ],
    ids=str,
)
def test_what_gradients_do_not_make_is_refused_by_name(settings, words):
    model, X, y, *_ = models.fit("regression", **settings)
    with pytest.raises(UnsupportedModelError, match=words):
        build(model, X, y)


def test_a_model_without_its_training_parameters_is_replayed_with_the_defaults():
    model, X, y, *_ = models.fit("regression")
    report = build(model.booster_.dump_model(), X, y).report
    assert report.verdict == "exact"
    assert "lambda_l2=0" in report.explanation
    model, X, y, *_ = models.fit("regression", reg_lambda=3.0)
    with pytest.raises(TrainingDataMismatchError, match="parameters="):
        build(model.booster_.dump_model(), X, y)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": lambda y: y[:-1]}, ValueError, "y has 239 values, X has 240 rows"),
        ({"y": lambda y: y + 5}, ValueError, "the model's classes are 0, 1"),
        ({"y": lambda y: np.where(y > 0, np.nan, 0)}, ValueError, "missing"),
        ({"X": lambda X: X[:, :4]}, ValueError, "X has 4 columns, .* fitted on 6"),
        ({"X": lambda X: X[:0], "y": lambda y: y[:0]}, ValueError, "X has no rows"),
        ({"X": lambda X: X[0]}, ValueError, "reshape one row"),
        ({"X": lambda X: X.astype(str)}, TypeError, "not all numbers"),
        ({"sample_weight": lambda w: -w}, ValueError, "sample_weight is -"),
        ({"sample_weight": lambda w: w * 0}, ValueError, "0 in every row"),
        ({"sample_weight": lambda w: w[1:]}, ValueError, "sample_weight has 239"),
        ({"init_score": lambda w: w[1:]}, ValueError, "init_score has shape"),
        ({"on_mismatch": lambda w: "shout"}, ValueError, "Got on_mismatch='shout'"),
    ],
)
def test_bad_input_is_one_clear_error(change, error, words):
    model, X, y, *_ = models.fit("binary")
    given = {"X": X, "y": y}
    for name, spoil in change.items():
        given[name] = spoil(given.get(name, np.ones(len(y))))
    with pytest.raises(error, match=words):
        ti.TrainingTrace.build(ti.read_model(model), **given)


def test_a_report_is_frozen_and_prints():
    model, X, y, *_ = models.fit("binary")
    report = build(model, X, y).report
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "other"
    assert "verdict       exact" in str(report)
