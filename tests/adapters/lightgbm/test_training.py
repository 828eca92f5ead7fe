"""What else is read: shrinkage, initial scores, iterations, parameters, categories."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from tests.adapters.lightgbm.models import (
    assert_same_model,
    mixed_rows,
    mixed_score,
    own_raw_score,
    train,
)
from treeinf.adapters import read_model
from treeinf.adapters.lightgbm import reader as adapter
from treeinf.adapters.lightgbm.parameters import ALIASES, DEFAULTS
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import losses
from treeinf.errors import TrainingDataMismatchError, UnsupportedModelError
from treeinf.trace import TrainingTrace

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture
def rows(rng):
    X = mixed_rows(rng)
    return X, mixed_score(X)


# Estimators.


def test_string_labels(rows):
    X, score = rows
    y = np.array(["no", "maybe", "yes"])[np.digitize(score, [0.0, 1.0])]
    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.classes.tolist() == ["maybe", "no", "yes"]
    assert ensemble.loss == losses.Softmax(3, 1.5)
    assert_allclose(ensemble.predict(X), model.predict_proba(X), rtol=1e-12)
    assert read_model(model.booster_).classes is None


def test_renumbered_labels(rows):
    X, score = rows
    y = np.where(score > 0.3, 7, -2)
    model = lightgbm.LGBMClassifier(
        n_estimators=3,
        n_jobs=1,
        verbose=-1,
        class_weight={7: 2.5, -2: 1},
        reg_lambda=1.23456789,
    ).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.classes.tolist() == [-2, 7]
    assert ensemble.training.class_weight == ((7, 2.5), (-2, 1.0))
    assert set(ensemble.leaf_l2) == {1.23456789}
    assert ensemble.library == "lightgbm"
    assert ensemble.library_version == lightgbm.__version__
    assert_same_model(ensemble, model.booster_, X)


def test_balanced_class_weight(rows):
    X, score = rows
    model = lightgbm.LGBMClassifier(
        n_estimators=2, n_jobs=1, verbose=-1, class_weight="balanced"
    ).fit(X, score > 0.3)
    ensemble = read_model(model)
    assert ensemble.training.class_weight == "balanced"
    assert ensemble.classes.tolist() == [False, True]


def test_subclass_of_an_estimator(rows):
    class Mine(lightgbm.LGBMRegressor):
        pass

    X, score = rows
    model = Mine(n_estimators=2, n_jobs=1, verbose=-1).fit(X, score)
    assert_same_model(read_model(model), model.booster_, X)


def test_unfitted_estimator():
    with pytest.raises(NotFittedError, match="LGBMClassifier is not fitted"):
        read_model(lightgbm.LGBMClassifier())


# Iterations.


def early_stopped(X, y, **kwargs):
    data = lightgbm.Dataset(X[::2], y[::2])
    return lightgbm.train(
        {"verbose": -1, "num_threads": 1, "learning_rate": 0.8},
        data,
        60,
        valid_sets=[lightgbm.Dataset(X[1::2], y[1::2], reference=data)],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
        **kwargs,
    )


@pytest.mark.parametrize("keep", [False, True])
def test_early_stopping(rng, keep):
    X = mixed_rows(rng)
    y = mixed_score(X) + rng.normal(size=len(X))
    booster = early_stopped(X, y, keep_training_booster=keep)
    assert 0 < booster.best_iteration < 57
    ensemble = read_model(booster)
    assert ensemble.n_iterations == booster.best_iteration
    assert_allclose(ensemble.raw_score(X), own_raw_score(booster, X), rtol=1e-12)
    longer = read_model(booster, iterations=booster.best_iteration + 2)
    expected = booster.best_iteration + (2 if keep else 0)
    assert longer.n_iterations == expected


def test_first_iterations_only(rows):
    X, score = rows
    y = np.digitize(score, [0.0, 1.0])
    booster = train(lightgbm, X, y, objective="multiclass", num_class=3, iterations=5)
    expected = own_raw_score(booster, X, num_iteration=2)
    for given in (booster, booster.model_to_string(), booster.dump_model()):
        ensemble = read_model(given, iterations=2)
        assert (ensemble.n_trees, ensemble.n_iterations) == (6, 2)
        assert_allclose(ensemble.raw_score(X), expected, rtol=1e-12)
    assert_allclose(adapter.raw_score(booster, X, iterations=2), expected)
    check_parity(ensemble, booster, X, iterations=2)


@pytest.mark.parametrize("iterations", [0, -1, True, 1.5])
def test_bad_iterations(rows, iterations):
    booster = train(lightgbm, *rows)
    is_count = isinstance(iterations, int) and not isinstance(iterations, bool)
    with pytest.raises(ValueError if is_count else TypeError, match="iterations"):
        read_model(booster, iterations=iterations)


# Shrinkage and initial scores.


def test_shrinkage_has_all_its_digits(rows):
    """Files keep six digits; a live booster or the caller knows the others."""
    rate = 0.123456789
    booster = train(lightgbm, *rows, learning_rate=rate, objective="regression")
    assert read_model(booster).shrinkage.tolist() == [rate] * 4
    text = booster.model_to_string()
    assert read_model(text).shrinkage.tolist() == [0.123457] * 4
    told = read_model(text, parameters={"eta": rate})
    assert told.shrinkage.tolist() == [rate] * 4


def test_shrinkage_of_a_single_iteration(rows):
    booster = train(
        lightgbm, *rows, learning_rate=0.03, iterations=1, objective="regression"
    )
    assert read_model(booster).shrinkage.tolist() == [0.03]
    dumped = read_model(booster.dump_model())
    assert dumped.shrinkage.tolist() == [0.1]
    assert "learning_rate=0.1 and no bagging are assumed" in dumped.training.assumed
    told = read_model(booster.dump_model(), parameters={"learning_rate": 0.03})
    assert told.shrinkage.tolist() == [0.03]
    assert told.training.assumed is None


def test_learning_rate_schedule(rows):
    X, score = rows
    booster = lightgbm.train(
        {"verbose": -1, "num_threads": 1, "objective": "regression"},
        lightgbm.Dataset(X, score),
        4,
        callbacks=[lightgbm.reset_parameter(learning_rate=[0.4, 0.2, 0.1, 0.05])],
    )
    ensemble = read_model(booster)
    assert ensemble.shrinkage.tolist() == [0.2, 0.2, 0.1, 0.05]
    assert "Learning rates change" in ensemble.training.approximations[0]
    assert_same_model(ensemble, booster, X)


def test_continued_training(rows):
    X, score = rows
    first = train(lightgbm, X, score, learning_rate=0.3, objective="regression")
    booster = lightgbm.train(
        {"verbose": -1, "num_threads": 1, "learning_rate": 0.1},
        lightgbm.Dataset(X, score),
        3,
        init_model=first,
    )
    ensemble = read_model(booster)
    assert ensemble.shrinkage.tolist() == [0.3] * 4 + [0.1] * 3
    assert ensemble.base_score_folded.tolist() == [True]
    assert_same_model(ensemble, booster, X)


def test_refit_and_changed_leaves(rows):
    X, score = rows
    booster = train(lightgbm, X, score, objective="regression").refit(X, score + 1.0)
    assert_same_model(read_model(booster), booster, X)
    booster.set_leaf_output(0, 1, 12.5)
    ensemble = read_model(booster)
    assert ensemble.leaf_value[1] == 12.5
    assert_same_model(ensemble, booster, X)


@pytest.mark.parametrize("min_data_in_leaf", [5, 1000], ids=["trees", "one leaf"])
def test_initial_scores_given_in_training(rows, min_data_in_leaf):
    """Nothing is folded when the rows had initial scores of their own."""
    X, score = rows
    booster = train(
        lightgbm,
        X,
        score,
        min_data_in_leaf=min_data_in_leaf,
        objective="regression",
        dataset={"init_score": np.full(len(X), 0.5)},
    )
    ensemble = read_model(booster)
    assert ensemble.base_score_folded.tolist() == [False]
    assert_same_model(ensemble, booster, X)


@pytest.mark.parametrize("boost_from_average", [False, True])
def test_one_leaf_first_tree_holds_the_initial_score(rows, boost_from_average):
    X, score = rows
    booster = train(
        lightgbm,
        X,
        score,
        min_data_in_leaf=1000,
        boost_from_average=boost_from_average,
        objective="regression",
    )
    ensemble = read_model(booster)
    assert ensemble.base_score_folded.tolist() == [True]
    assert_allclose(ensemble.raw_score(X[:1]), score.mean(), rtol=1e-6)


# Parameters.


def test_dumped_json_does_not_say_how_leaves_were_made(rows):
    X, score = rows
    booster = train(
        lightgbm,
        X,
        score,
        categorical=[1, 2],
        objective="huber",
        alpha=0.6,
        lambda_l2=2,
    )
    ensemble = read_model(booster.dump_model())
    assert ensemble.leaf_rule.kind == "newton"
    assert ensemble.loss == losses.Huber(0.9)
    assert "lambda_l2=0, " in ensemble.training.assumed
    assert "alpha=0.9" in ensemble.training.assumed
    with pytest.raises(TrainingDataMismatchError, match=r"alpha=0\.9 .* parameters="):
        TrainingTrace.build(ensemble, X, score)
    assert ensemble.library_version == "(model format v4)"

    told = read_model(booster.dump_model(), parameters={"alpha": 0.6, "reg_lambda": 2})
    live = read_model(booster)
    assert told.leaf_rule == live.leaf_rule
    assert told.loss == live.loss
    assert_array_equal(told.leaf_l2, live.leaf_l2)
    # the parameters of row sampling are not among those told
    assert dict(told.training.row_sampling)["kind"] == "unknown"
    facts = [
        dataclasses.replace(ensemble.training, row_sampling=None)
        for ensemble in (told, live)
    ]
    assert facts[0] == facts[1]


def test_text_without_parameters(rows):
    booster = train(lightgbm, *rows, objective="regression", lambda_l2=2.0)
    text = booster.model_to_string().partition("\nparameters:")[0]
    with pytest.raises(TrainingDataMismatchError, match=r"lambda_l2=0, .* parameters="):
        TrainingTrace.build(read_model(text), *rows)
    told = read_model(text, parameters={"lambda": 2.0, "metric": None})
    assert TrainingTrace.build(told, *rows).report.verdict == "exact"


def test_text_without_objective(rows):
    """LightGBM before 2.2 dumped none; a custom one is not stored either."""
    booster = train(lightgbm, *rows, objective="regression")
    model = booster.dump_model()
    del model["objective"]
    with pytest.raises(UnsupportedModelError, match=r"parameters=\{'objective'"):
        TrainingTrace.build(read_model(model), *rows)
    told = read_model(model, parameters={"objective": "regression"})
    assert TrainingTrace.build(told, *rows).report.verdict == "exact"


def test_defaults_are_the_librarys(rows):
    text = train(lightgbm, *rows, num_threads=0).model_to_string()
    section = text.partition("parameters:")[2]
    for name, value in DEFAULTS.items():
        assert f"[{name}: {value}]" in section


def test_aliases_are_the_librarys():
    for name in DEFAULTS:
        expected = lightgbm.basic._ConfigAliases.get(name)
        assert {name, *ALIASES.get(name, ())} == expected


def test_leaf_counts_and_hessians(rows):
    X, score = rows
    y = (score > 0.3) * 1
    booster = train(lightgbm, X, y, objective="binary", bagging_fraction=0.5)
    ensemble = read_model(booster)
    leaves = ensemble.apply(X)
    for tree in range(ensemble.n_trees):
        own = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
        counts = np.bincount(leaves[:, tree], minlength=own.stop - own.start)
        assert_array_equal(ensemble.leaf_count[own], counts)
    assert (ensemble.leaf_hessian > 0).all()
    dumped = read_model(booster.dump_model())
    assert_array_equal(dumped.leaf_count, ensemble.leaf_count)
    assert_allclose(dumped.leaf_hessian, ensemble.leaf_hessian)


# Categories of pandas frames.


def label_frame(rng, n_rows=300):
    choose = rng.choice
    return pd.DataFrame(
        {
            "number": rng.normal(size=n_rows),
            "colour": pd.Categorical(choose(["x", "y", "z"], n_rows)),
            "size": pd.Categorical(
                choose(["s", "m", "l"], n_rows), ["s", "m", "l"], ordered=True
            ),
            "code": pd.Categorical(choose([3, 5, 9], n_rows)),
            "half": pd.Categorical(choose([3.5, 5.25], n_rows)),
            "only": pd.Categorical(["only"] * n_rows),
            "flag": pd.Categorical(choose([True, False], n_rows)),
            "count": rng.integers(0, 3, n_rows),
        }
    )


LABELS = (
    None,
    ("x", "y", "z"),
    ("s", "m", "l"),
    (3, 5, 9),
    (3.5, 5.25),
    ("only",),
    (False, True),
    None,
)


@pytest.mark.parametrize("categorical", ["auto", ["colour", "count"]])
def test_columns_of_labels(rng, categorical):
    """Ordered columns and columns left out are labelled too, and numeric."""
    frame = label_frame(rng)
    y = frame["number"] + (frame["colour"] == "y") + (frame["size"] == "m")
    model = lightgbm.LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1)
    model.fit(frame, y, categorical_feature=categorical)
    ensemble = read_model(model)
    assert ensemble.input_rules.categories == LABELS
    assert_array_equal(ensemble.apply(frame), model.predict(frame, pred_leaf=True))
    assert read_model(model.booster_.model_to_string()).input_rules.categories == LABELS
    assert check_parity(ensemble, model, frame) < 1e-12


def test_columns_of_labels_that_cannot_be_told_apart(rng):
    """Two columns could carry the one list of labels; none is made up."""
    frame = pd.DataFrame(
        {
            "a": rng.integers(0, 3, 200),
            "b": pd.Categorical(rng.choice(["x", "y", "z"], 200), ordered=True),
            "c": rng.integers(0, 3, 200),
        }
    )
    model = lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1)
    model.fit(frame, frame["a"] + frame["c"])
    assert read_model(model).input_rules.categories is None


def test_features_are_named(rng):
    X = rng.normal(size=(100, 2))
    unnamed = train(lightgbm, X, X[:, 0])
    assert read_model(unnamed).input_rules.feature_names == ("Column_0", "Column_1")
    names = ["body mass", "h\u00f6he=\u2028m"]
    named = train(lightgbm, X, X[:, 0], dataset={"feature_name": names})
    expected = ("body_mass", "h\u00f6he=\u2028m")
    assert read_model(named).input_rules.feature_names == expected
    assert (
        read_model(json.loads(json.dumps(named.dump_model()))).input_rules.feature_names
        == expected
    )


def test_raw_scores_are_computed_with_the_models_own_threads(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1)
    model.fit(X, X[:, 0])
    seen = {}
    predict = lightgbm.Booster.predict

    def listen(self, *args, **kwargs):
        seen.update(kwargs)
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(lightgbm.Booster, "predict", listen)
    adapter.raw_score(model, X)
    assert seen["num_threads"] == 1
