"""Weights, losses and settings that a model was trained with and does not store."""

import json

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.testing import assert_allclose
from sklearn.utils.class_weight import compute_sample_weight

import treeinf as ti
from treeinf.errors import TrainingDataMismatchError
from treeinf.trace import TrainingTrace


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    return X, X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=300)


def classes(score, n_classes):
    return np.digitize(score, [0.7, 1.4][: n_classes - 1])


def lightgbm_model(X, y, **params):
    settings = {"n_estimators": 8, "num_leaves": 6, "verbose": -1, "n_jobs": 1}
    return lightgbm.LGBMClassifier(**settings, **params).fit(X, y)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", ["text", "dump"])
def test_balanced_class_weights_are_tried_and_named(rows, n_classes, form):
    X, score = rows
    y = classes(score, n_classes)
    model = lightgbm_model(X, y, class_weight="balanced")
    file = model.booster_.model_to_string()
    if form == "dump":
        file = model.booster_.dump_model()
    weight = compute_sample_weight("balanced", y)
    for method in (ti.LeafInfluence, ti.LeafRefit):
        found = method().fit(file, X, y)
        assert found.reproduction_.verdict == "exact"
        assert "class_weight='balanced'" in found.reproduction_.explanation
        weighted = method().fit(file, X, y, sample_weight=weight)
        live = method().fit(model, X, y)
        actual = found.total(X[:5] + 0.1, y[:5])
        assert_allclose(
            actual, weighted.total(X[:5] + 0.1, y[:5]), rtol=1e-5, atol=1e-9
        )
        assert_allclose(actual, live.total(X[:5] + 0.1, y[:5]), rtol=1e-5, atol=1e-9)


def test_unbalanced_positives_are_tried_and_named(rows):
    """The text lists is_unbalance, the dump does not."""
    X, score = rows
    y = classes(score, 2)
    booster = lightgbm_model(X, y, is_unbalance=True).booster_
    for file, words in (
        (booster.model_to_string(), "precision."),
        (booster.dump_model(), "is_unbalance=True"),
    ):
        report = TrainingTrace.build(ti.read_model(file), X, y).report
        assert report.verdict == "exact"
        assert words in report.explanation


def test_other_class_weights_are_named_among_the_causes(rows):
    X, score = rows
    y = classes(score, 2)
    model = lightgbm_model(X, y, class_weight={0: 1.0, 1: 9.0})
    file = model.booster_.model_to_string()
    with pytest.raises(TrainingDataMismatchError, match="class weights other than"):
        ti.BoostIn().fit(file, X, y)
    weight = np.where(y == 1, 9.0, 1.0)
    told = ti.BoostIn().fit(file, X, y, sample_weight=weight)
    assert told.reproduction_.verdict == "exact"


def test_balanced_weights_of_xgboost_are_tried(rows):
    X, score = rows
    y = classes(score, 3)
    weight = compute_sample_weight("balanced", y)
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1)
    model.fit(X, y, sample_weight=weight)
    report = ti.BoostIn().fit(model, X, y).reproduction_
    assert report.verdict == "exact"
    assert "class_weight='balanced'" in report.explanation


def logistic(score, rows):
    p = 1.0 / (1.0 + np.exp(-score))
    return p - rows.get_label(), p * (1.0 - p)


@pytest.mark.parametrize("params", [{}, {"max_depth": 1}, {"base_score": 0.5}])
@pytest.mark.parametrize("form", ["live", "file"])
def test_a_custom_objective_is_named_with_the_way_out(rows, params, form):
    X, score = rows
    y = classes(score, 2)
    settings = {"max_depth": 3, "nthread": 1, **params}
    model = xgboost.train(settings, xgboost.DMatrix(X, y), 5, obj=logistic)
    if form == "file":
        model = json.loads(model.save_raw("json"))
    with pytest.raises(TrainingDataMismatchError, match=r"custom objective \(obj=\)"):
        ti.BoostIn().fit(model, X, y)
    told = ti.read_model(model, parameters={"objective": "binary:logistic"})
    assert ti.BoostIn().fit(told, X, y).reproduction_.verdict == "exact"


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic"])
def test_sampling_that_a_file_does_not_store_is_found_and_named(rows, objective):
    X, score = rows
    y = classes(score, 2)
    settings = {"subsample": 0.6, "seed": 5, "nthread": 1, "objective": objective}
    booster = xgboost.train(settings, xgboost.DMatrix(X, y), 5)
    file = json.loads(booster.save_raw("json"))
    report = ti.BoostIn().fit(file, X, y).reproduction_
    assert report.verdict == "exact"
    assert "not stored, but found: subsample=0.6, seed=5" in report.explanation
    told = ti.read_model(file, parameters={"subsample": 0.6, "seed": 5})
    assert ti.BoostIn().fit(told, X, y).reproduction_.verdict == "exact"


def test_a_report_leaves_out_what_the_library_does_not_store(rows):
    X, score = rows
    model = xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(X, score)
    text = str(ti.BoostIn().fit(model, X, score).reproduction_)
    assert "nan" not in text
    assert "rows seen" not in text
