"""The cleaner inside scikit-learn: pipelines, searches, weights that are routed."""

import contextlib
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from treeinf.cleaning import InfluenceCleaner, InfluenceSelector

from .conftest import classifier, noisy_diabetes, regressor


def quick(estimator=None, **settings):
    defaults = {"validation": 3, "amount": 0.1, "random_state": 0}
    estimator = classifier(n_estimators=5) if estimator is None else estimator
    return InfluenceCleaner(estimator, **{**defaults, **settings})


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(150, 6, flip_y=0.1, random_state=0)
    return X, y, np.random.default_rng(0).uniform(0.1, 3.0, 150)


@contextlib.contextmanager
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def test_in_a_pipeline(table):
    X, y, _ = table
    model = make_pipeline(StandardScaler(), quick(guard=False)).fit(X, y)
    cleaner = model[-1]
    assert (~cleaner.kept_).sum() == 15
    scaled = model[0].transform(X)
    np.testing.assert_array_equal(model.predict(X), cleaner.predict(scaled))
    alone = quick(guard=False).fit(scaled, y)
    np.testing.assert_array_equal(alone.kept_, cleaner.kept_)


def test_in_cross_validation(table):
    X, y, _ = table
    found = cross_validate(
        quick(), X, y, cv=3, scoring=["accuracy", "roc_auc"], return_estimator=True
    )
    assert (found["test_accuracy"] > 0.6).all()
    assert (found["test_roc_auc"] > 0.6).all()
    # each fold is cleaned on its own rows alone
    assert [len(one.kept_) for one in found["estimator"]] == [100] * 3


def test_regression_in_cross_validation():
    noisy = noisy_diabetes(0.1)
    scores = cross_val_score(quick(regressor()), noisy.X[:200], noisy.y[:200], cv=3)
    assert np.isfinite(scores).all()


def test_in_a_search_over_its_own_and_the_estimators_parameters(table):
    X, y, _ = table
    grid = {
        "amount": [0.05, 20],
        "action": ["drop", "relabel"],
        "estimator__num_leaves": [4],
    }
    search = GridSearchCV(quick(guard=False), grid, cv=2).fit(X, y)
    best = search.best_estimator_
    assert best.estimator_.num_leaves == 4
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(X).shape == (150,)


def test_weights_are_routed_through_a_pipeline(table):
    X, y, weight = table
    alone = quick(guard=False).fit(X, y, sample_weight=weight)
    with routing():
        cleaner = quick(guard=False).set_fit_request(sample_weight=True)
        model = Pipeline([("cleaner", cleaner)]).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(alone.scores_, model[-1].scores_)
    assert (alone.scores_ != quick(guard=False).fit(X, y).scores_).any()


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_weights_are_routed_in_cross_validation_and_search(table, is_asked_for):
    X, y, weight = table
    with routing():
        cleaner = quick().set_fit_request(sample_weight=is_asked_for)
        cleaner.set_score_request(sample_weight=is_asked_for)
        settings = {"cv": 2, "return_estimator": True}
        if not is_asked_for:
            # somebody must ask for them
            cleaner.set_score_request(sample_weight=True)
        found = cross_validate(
            cleaner, X, y, params={"sample_weight": weight}, **settings
        )
        weighted = [one.weights_ is not None for one in found["estimator"]]
        search = GridSearchCV(cleaner, {"amount": [0.1]}, cv=2)
        search.fit(X, y, sample_weight=weight)
    assert weighted == [is_asked_for] * 2
    assert (search.best_estimator_.weights_ is not None) == is_asked_for


def test_weights_that_nobody_asked_for_are_an_error_of_scikit_learns(table):
    X, y, weight = table
    with routing(), pytest.raises(ValueError, match="sample_weight"):
        cross_val_score(quick(), X, y, cv=2, params={"sample_weight": weight})


def test_the_weights_reach_a_pipeline_inside_with_routing_and_without(table):
    X, y, weight = table
    inner = make_pipeline(StandardScaler(), classifier(n_estimators=5))
    plain = quick(inner, guard=False).fit(X, y, sample_weight=weight)
    with routing(), warnings.catch_warnings():
        warnings.simplefilter("error")
        # of LightGBM 4.6, see pyproject.toml
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        routed = quick(clone(inner), guard=False).fit(X, y, sample_weight=weight)
        # what the steps themselves say is left alone
        inner[0].set_fit_request(sample_weight=True)
        asked = quick(inner, guard=False).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(plain.scores_, routed.scores_)
    assert (plain.scores_ != asked.scores_).any()
    assert not hasattr(inner[-1], "classes_")


def test_weights_count_for_the_primary_score_too(table):
    X, y, weight = table
    plain = quick().fit(X, y).report_.primary
    weighted = quick().fit(X, y, sample_weight=weight).report_.primary
    assert 0.5 < weighted.score_before < 1.0
    assert plain.score_before != weighted.score_before


def test_the_score_table_has_every_row_under_the_callers_label(cancer):
    cleaner = quick(guard=False, validation=0.3).fit(cancer.X, cancer.y)
    frame = cleaner.score_frame()
    assert len(frame) == len(cancer.X)
    np.testing.assert_array_equal(frame["row"], cancer.X.index)
    np.testing.assert_array_equal(frame["score"], cleaner.scores_)
    np.testing.assert_array_equal(frame["label"], cancer.y)
    assert frame["rank"].isna().sum() == np.isnan(cleaner.scores_).sum() > 0
    changed = frame[frame["is_changed"]].sort_values("rank")
    np.testing.assert_array_equal(changed["row"], cleaner.removed_["row"])
    np.testing.assert_array_equal(changed["rank"], cleaner.removed_["rank"])
    np.testing.assert_allclose(
        changed["percentile"], cleaner.removed_["percentile"], rtol=1e-12
    )


def test_the_score_table_is_of_the_callers_library(cancer):
    polars = pytest.importorskip("polars")
    X = polars.DataFrame(cancer.X.to_numpy()[:, :5], orient="row")
    cleaner = quick(guard=False, method="loss", validation=0.3)
    frame = cleaner.fit(X, polars.Series("y", cancer.y.to_numpy())).score_frame()
    assert isinstance(frame, polars.DataFrame)
    assert frame["suggestion"].null_count() == np.isnan(cleaner.scores_).sum()


@pytest.mark.parametrize("action", ["drop", "relabel", "downweight"])
def test_clean_returns_what_to_train_on_for_every_action(cancer, action):
    cleaner = quick(guard=False, action=action, amount=0.2)
    X, y, kept = cleaner.clean(cancer.X, cancer.y)
    assert len(X) == len(y) == kept.sum()
    changed = np.asarray(cleaner.removed_["position"])
    # flagged rows that no other label helps are dropped by "relabel" too
    done = {action, "drop"} if action == "relabel" else {action}
    assert set(cleaner.removed_["action"]) == done
    assert (action == "downweight") == (len(X) == len(cancer.X))
    if action == "downweight":
        np.testing.assert_allclose(cleaner.weights_[changed], 0.1)
        assert (np.delete(cleaner.weights_, changed) == 1.0).all()


def test_progress_counts_every_model_and_shows_the_time_left(cancer, capsys):
    quick(verbose=True).fit(cancer.X, cancer.y)
    said = capsys.readouterr().err
    assert "cleaning" in said
    assert "100%" in said
    quick().fit(cancer.X, cancer.y)
    assert capsys.readouterr().err == ""


def estimator_of(library):
    if library == "sklearn":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=8, early_stopping=False)
    module = pytest.importorskip(library)
    if library == "xgboost":
        return module.XGBClassifier(n_estimators=8)
    return module.CatBoostClassifier(
        iterations=8, depth=3, verbose=False, allow_writing_files=False
    )


@pytest.mark.parametrize("library", ["xgboost", "catboost", "sklearn"])
@pytest.mark.parametrize("kind", [InfluenceCleaner, InfluenceSelector])
def test_any_library_may_be_the_estimator(cancer, library, kind):
    settings = {"shares": (0.5,), "keep": 0.5} if kind is InfluenceSelector else {}
    settings |= {"amount": 0.1, "guard": False} if not settings else {}
    one = kind(
        estimator_of(library),
        validation=(cancer.X_test, cancer.y_test),
        random_state=0,
        **settings,
    ).fit(cancer.X, cancer.y)
    assert 0.4 < one.kept_.mean() < 0.95
    assert one.score(cancer.X_test, cancer.y_test) > 0.7
    left = cancer.is_bad[~one.kept_].mean()
    assert left > cancer.is_bad[one.kept_].mean()
