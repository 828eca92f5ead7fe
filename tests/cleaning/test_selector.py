"""Which subset of the rows is enough."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from treeinf.cleaning import Amount, InfluenceSelector
from treeinf.errors import UnsupportedModelError

from .conftest import classifier, noisy_diabetes, regressor


def quick(estimator=None, **settings):
    defaults = {
        "keep": 0.5,
        "shares": (0.3,),
        "n_random": 1,
        "n_clusters": 5,
        "random_state": 0,
    }
    estimator = classifier() if estimator is None else estimator
    return InfluenceSelector(estimator, **{**defaults, **settings})


@pytest.mark.parametrize("strategy", ["auto", "influence", "diverse", "random"])
def test_keeps_what_was_asked_for(cancer, strategy):
    selector = quick(strategy=strategy)
    X, y, kept = selector.select(cancer.X, cancer.y)
    pd.testing.assert_frame_equal(X, cancer.X[kept])
    pd.testing.assert_series_equal(y, cancer.y[kept])
    report = selector.report_
    is_scored = np.isfinite(selector.influence_)
    assert is_scored.mean() == pytest.approx(0.7, abs=0.02)
    assert not kept[~is_scored].any()
    assert kept.sum() == report.n_kept == round(0.5 * is_scored.sum())
    assert (selector.clusters_ >= 0).tolist() == is_scored.tolist()
    assert strategy in ("auto", report.strategy)
    trees = selector.estimator_.booster_.dump_model()["tree_info"]
    assert trees[0]["tree_structure"]["internal_count"] == kept.sum()


def test_helpful_rows_beat_random_ones_where_labels_are_wrong(cancer):
    given = (cancer.X_test, cancer.y_test)
    selector = quick(validation=given, strategy="diverse", n_random=3)
    selector.fit(cancer.X, cancer.y)
    kept = selector.kept_
    assert cancer.is_bad[kept].mean() < 0.5 * cancer.is_bad.mean()
    report = selector.report_
    assert report.against_random.gain_low > 0
    assert report.primary_against_random.gain > 0
    assert report.against_all.n_rows == len(cancer.y_test)


def test_auto_says_what_is_enough_on_many_easy_rows():
    X, y = make_classification(
        1500, 6, n_informative=4, class_sep=2.0, flip_y=0.0, random_state=0
    )
    selector = quick(keep="auto", shares=(0.05, 0.5), tolerance=0.5).fit(X, y)
    assert selector.report_.share == pytest.approx(0.5, abs=0.01)
    assert "Kept 525 of 1,050 rows (50%)" in selector.report_.headline
    strict = quick(
        keep="auto", strategy="influence", shares=(0.05,), tolerance=0.0
    ).fit(X, y)
    assert strict.report_.strategy == "all"
    assert strict.kept_.sum() == 1050
    assert strict.report_.headline.startswith("Kept all 1,050 rows: no smaller subset")


def test_history_and_report_are_plain(cancer):
    selector = quick().fit(cancer.X, cancer.y)
    report = json.loads(json.dumps(selector.report_.to_dict(), allow_nan=False))
    assert report["settings"]["keep"] == 0.5
    # two splits of all rows and six subsets; copies; the final ranking and model
    assert report["n_fits"] == 2 * (1 + 2 * 3) + 10 + 1 + 1
    json.dumps(selector.history_, allow_nan=False)
    assert [(line["strategy"], line["share"]) for line in selector.history_] == [
        ("all", 1.0),
        *(
            (name, share)
            for name in ("influence", "diverse", "random")
            for share in (0.3, 0.5)
        ),
    ]
    assert selector.history_[0]["gain"] == 0.0
    for line in selector.history_[1:]:
        assert line["gain_low"] <= line["gain"] <= line["gain_high"]
        assert line["primary_gain_low"] <= line["primary_gain"]
    lines = str(selector.report_).splitlines()
    assert lines[0] == selector.report_.headline
    assert any(line.startswith("against random") for line in lines)


def test_folds_rank_every_row(cancer):
    selector = quick(validation=3, keep=100).fit(cancer.X, cancer.y)
    assert np.isfinite(selector.influence_).all()
    assert selector.kept_.sum() == 100
    # the other half of each fold is what influence is measured on
    assert selector.report_.against_all.n_rows == pytest.approx(
        len(cancer.y) / 2, abs=3
    )


def test_regression_and_the_switch_for_validation_rows():
    noisy = noisy_diabetes(0.2)
    selector = quick(regressor(), refit_on_validation=True)
    selector.fit(noisy.X, noisy.y)
    assert selector.report_.task == "regression"
    assert selector.report_.primary_against_all.metric == "R2"
    trees = selector.estimator_.booster_.dump_model()["tree_info"]
    n_held_out = np.isnan(selector.influence_).sum()
    n_trained = trees[0]["tree_structure"]["internal_count"]
    assert n_trained == selector.kept_.sum() + n_held_out


def test_the_same_rows_for_any_n_jobs(cancer):
    one = quick(keep="auto").fit(cancer.X, cancer.y)
    other = quick(keep="auto", n_jobs=2).fit(cancer.X, cancer.y)
    np.testing.assert_array_equal(one.kept_, other.kept_)
    np.testing.assert_array_equal(one.influence_, other.influence_)
    assert one.history_ == other.history_


def test_in_pipeline_search_cross_validation_and_with_routed_weights(cancer):
    X, y = cancer.X.to_numpy(), cancer.y.to_numpy()
    tiny = quick(classifier(n_estimators=4))
    assert is_classifier(tiny)
    assert (cross_val_score(make_pipeline(StandardScaler(), tiny), X, y) > 0.5).all()
    search = GridSearchCV(tiny, {"keep": [0.3, 0.6], "strategy": ["diverse"]}, cv=2)
    assert search.fit(X, y).best_estimator_.report_.strategy == "diverse"
    weight = np.linspace(0.5, 2.0, len(y))
    with config_context(enable_metadata_routing=True):
        asked = clone(tiny).set_fit_request(sample_weight=True)
        model = make_pipeline(asked).fit(X, y, sample_weight=weight)
    alone = clone(tiny).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(model[-1].influence_, alone.influence_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"keep": 1.5}, "keep=1.5"),
        ({"keep": Amount.threshold(1.0)}, "expected 'auto', a share"),
        ({"strategy": "best"}, "strategy='best'"),
        ({"shares": ()}, "shares="),
        ({"shares": (0.5, 2.0)}, "shares=2.0"),
        ({"tolerance": -1.0}, "tolerance=-1.0"),
        ({"confidence": 0.0}, "confidence=0.0"),
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"n_random": 0}, "n_random=0"),
    ],
)
def test_bad_parameters_are_refused_by_name(cancer, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(cancer.X, cancer.y)


def test_what_cannot_be_read_is_refused_at_once(cancer):
    with pytest.raises(UnsupportedModelError, match="LogisticRegression"):
        quick(LogisticRegression()).fit(cancer.X, cancer.y)


def test_train_rows_may_not_judge(cancer):
    with pytest.raises(ValueError, match="validation rows are among the train rows"):
        quick(validation=(cancer.X[:50], cancer.y[:50])).fit(cancer.X, cancer.y)


FAIL_FOR_A_REASON = {
    f"check_sample_weight_equivalence_on_{kind}_data": "weights are not copies of rows"
    for kind in ("dense", "sparse")
}
SMALL = {"n_estimators": 10, "learning_rate": 0.3, "min_child_samples": 2}


@pytest.mark.filterwarnings("ignore:Converting data to scipy sparse matrix")
@parametrize_with_checks(
    [quick(kind(num_leaves=6, **SMALL), keep=0.7) for kind in (classifier, regressor)],
    expected_failed_checks=lambda estimator: FAIL_FOR_A_REASON,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
