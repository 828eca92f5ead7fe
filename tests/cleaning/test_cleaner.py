"""What the cleaner finds, what it does about it, and how it behaves as an estimator."""

import warnings

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from treeinf.cleaning import Amount, InfluenceCleaner
from treeinf.errors import (
    SubsampledTrainingWarning,
    TrainingDataWarning,
    UnsupportedModelError,
)

from .conftest import classifier, noisy_cancer, noisy_diabetes, regressor


def quick(estimator=None, **settings):
    """Give a cleaner that trains few copies."""
    defaults = {"validation": 3, "amount": 0.1, "random_state": 0}
    estimator = classifier() if estimator is None else estimator
    return InfluenceCleaner(estimator, **{**defaults, **settings})


def n_trained_on(cleaner):
    """Count the rows that the final LightGBM model was trained on."""
    trees = cleaner.estimator_.booster_.dump_model()["tree_info"]
    return trees[0]["tree_structure"]["internal_count"]


def changed_rows(cleaner):
    """Return the rows dropped, or left with less than half of their weight."""
    changed = ~cleaner.kept_
    return changed if cleaner.weights_ is None else changed | (cleaner.weights_ < 0.5)


# what it finds


def test_planted_noise_is_found_and_its_removal_helps(cancer, cleaned):
    found = average_precision_score(cancer.is_bad, cleaned.scores_)
    assert found > 0.8  # a random order has 0.2
    assert cleaned.report_.verdict == "helped"
    assert cancer.is_bad[changed_rows(cleaned)].mean() > 0.8
    before = clone(cleaned.estimator).fit(cancer.X, cancer.y)
    assert cleaned.score(cancer.X_test, cancer.y_test) > before.score(
        cancer.X_test, cancer.y_test
    )


def test_report_removed_and_history_agree(cancer, cleaned):
    report, removed = cleaned.report_, cleaned.removed_
    assert report.acted
    assert report.n_removed == len(removed) == changed_rows(cleaned).sum()
    assert report.guard.is_beyond_noise
    assert report.guard.n_rows == report.choice.n_rows <= len(cancer.X)
    assert 0.05 < report.noise_rate_low <= report.noise_rate
    assert report.noise_rate <= report.noise_rate_high < 0.35
    assert report.noise_rate_low < report.noise_rate_high
    # copies; candidates and random removals of each fold tried; the final models
    assert 6 + 4 + 1 + 2 <= report.n_fits <= 10 + 5 * (4 + 2) + 2
    assert [line["action"] for line in cleaned.history_] == [
        None,
        "weight",
        "drop",
        "drop",
    ]
    assert [line["amount"] for line in cleaned.history_][2:] == [
        "doubt>=0.8",
        "doubt>=0.5",
    ]
    chosen = [line for line in cleaned.history_ if line["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["action"] == report.action
    # the final scores are of more rows
    assert chosen[0]["n_removed"] == pytest.approx(report.n_removed, rel=0.3)

    position = removed["position"].to_numpy()
    np.testing.assert_array_equal(cancer.X.index[position], removed["row"])
    np.testing.assert_array_equal(cancer.y.iloc[position], removed["label"])
    np.testing.assert_array_equal(cleaned.scores_[position], removed["score"])
    np.testing.assert_array_equal(
        np.sort(position), np.flatnonzero(changed_rows(cleaned))
    )
    assert (np.diff(removed["score"]) <= 0).all()
    assert (np.diff(removed["rank"]) > 0).all()
    assert removed["percentile"].max() == 100.0


def test_opponents_are_other_rows_that_mostly_have_another_label(cancer, cleaned):
    removed = cleaned.removed_.iloc[:50]
    assert cleaned.removed_["opponent_1"].iloc[50:].isna().all()
    opponents = removed["opponent_1"].astype(int)
    assert (opponents != removed["row"]).all()
    assert (cancer.y.loc[opponents].to_numpy() != removed["label"]).mean() > 0.9
    helpers = removed["helper_1"].dropna().astype(int)
    assert (helpers != removed["row"].loc[helpers.index]).all()
    labels = removed["label"].loc[helpers.index]
    assert (cancer.y.loc[helpers].to_numpy() == labels).mean() > 0.9


def test_reasons_name_label_and_suggestion(cleaned):
    line = cleaned.removed_.iloc[0]
    assert line["suggestion"] != line["label"]
    assert f"they predict {line['suggestion']}" in line["reason"]
    assert f"its label {line['label']}" in line["reason"]


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_clean_rows_are_kept(seed):
    clean = noisy_cancer(0.0, seed)
    cleaner = InfluenceCleaner(classifier(), random_state=seed)
    cleaner.fit(clean.X, clean.y)
    assert cleaner.kept_.all()
    assert not cleaner.report_.acted
    assert "Kept all 398 rows" in cleaner.report_.headline
    assert len(cleaner.removed_) == 0
    same = classifier(random_state=0, n_jobs=1).fit(clean.X, clean.y)
    np.testing.assert_array_equal(
        cleaner.predict_proba(clean.X_test), same.predict_proba(clean.X_test)
    )


@pytest.mark.parametrize("method", ["boostin", "boostin_self", "boostin_total", "loss"])
def test_every_method_finds_more_than_chance(cancer, method):
    cleaner = quick(method=method, guard=False)
    cleaner.fit(cancer.X, cancer.y)
    found = average_precision_score(cancer.is_bad, cleaner.scores_)
    assert found > 0.6  # a random order has 0.2


def test_random_finds_nothing_and_trains_no_copies(cancer):
    cleaner = quick(method="random", guard=False).fit(cancer.X, cancer.y)
    assert average_precision_score(cancer.is_bad, cleaner.scores_) < 0.35
    assert cleaner.report_.n_fits == 1
    assert cleaner.suggestions_ is None


def test_regression_finds_outlying_targets_and_cleans():
    noisy = noisy_diabetes(0.2)
    estimator = regressor(n_estimators=60)
    cleaner = InfluenceCleaner(estimator, random_state=0)
    cleaner.fit(noisy.X, noisy.y)
    assert average_precision_score(noisy.is_bad, cleaner.scores_) > 0.7
    assert cleaner.report_.verdict in ("helped", "noise is certain")
    assert cleaner.report_.task == "regression"
    before = estimator.fit(noisy.X, noisy.y).score(noisy.X_test, noisy.y_test)
    assert cleaner.score(noisy.X_test, noisy.y_test) > before + 0.1
    reason = cleaner.removed_["reason"].iloc[0]
    assert "its target is" in reason


def test_multiclass_strings_are_cleaned():
    X, digit = load_digits(n_class=4, return_X_y=True)
    names = np.array(["zero", "one", "two", "three"], dtype=object)
    rng = np.random.default_rng(0)
    is_bad = rng.random(len(digit)) < 0.2
    y = names[np.where(is_bad, (digit + rng.integers(1, 4, len(digit))) % 4, digit)]
    cleaner = quick(classifier(n_estimators=8), amount="auto").fit(X, y)
    assert cleaner.report_.task == "multiclass"
    assert list(cleaner.classes_) == sorted(names)
    assert average_precision_score(is_bad, cleaner.scores_) > 0.9
    assert cleaner.report_.verdict == "helped"
    right = (
        cleaner.removed_["suggestion"]
        == names[digit[~cleaner.kept_]][
            np.argsort(np.argsort(cleaner.removed_["position"]))
        ]
    )
    assert right.mean() > 0.8
    assert set(cleaner.predict(X)) <= set(names)


# amounts and actions


@pytest.mark.parametrize(("amount", "n_removed"), [(0.1, 40), (25, 25), (1, 1)])
def test_a_given_amount_is_what_is_removed(cancer, amount, n_removed):
    cleaner = quick(amount=amount, guard=False).fit(cancer.X, cancer.y)
    assert (~cleaner.kept_).sum() == n_removed
    assert cleaner.report_.verdict == "unguarded"
    worst = np.argsort(-cleaner.scores_, kind="stable")[:n_removed]
    np.testing.assert_array_equal(cleaner.removed_["position"], worst)


def test_a_threshold_is_a_score(cancer):
    scores = quick(guard=False).fit(cancer.X, cancer.y).scores_
    threshold = float(np.sort(scores)[-30])
    cleaner = quick(amount=Amount.threshold(threshold), guard=False)
    cleaner.fit(cancer.X, cancer.y)
    np.testing.assert_array_equal(cleaner.kept_, scores < threshold)


def test_guard_refuses_to_remove_good_rows(cancer):
    cleaner = quick(method="random", amount=0.4).fit(cancer.X, cancer.y)
    assert cleaner.report_.verdict == "not beyond noise"
    assert cleaner.kept_.all()
    assert cleaner.report_.chosen_share == pytest.approx(0.4, abs=0.01)


def test_clean_gives_the_rows_that_remain(cancer):
    X, y, kept = quick(guard=False).clean(cancer.X, cancer.y)
    pd.testing.assert_frame_equal(X, cancer.X[kept])
    pd.testing.assert_series_equal(y, cancer.y[kept])


def test_relabel_corrects_labels(cancer):
    cleaner = quick(
        action="relabel",
        relabel_by="suggestion",
        amount=0.15,
        guard=False,
    )
    X, y, kept = cleaner.clean(cancer.X, cancer.y)
    assert kept.all()
    assert len(X) == len(cancer.X)
    truth = cancer.y.where(~cancer.is_bad, 1 - cancer.y)
    assert (y == truth).mean() > (cancer.y == truth).mean() + 0.08
    assert y.index.equals(cancer.y.index)
    np.testing.assert_array_equal(y, cleaner.labels_)
    changed = np.flatnonzero(y.to_numpy() != cancer.y.to_numpy())
    np.testing.assert_array_equal(np.sort(cleaner.removed_["position"]), changed)
    assert cleaner.report_.headline.startswith("Relabelled")


def test_downweight_scales_the_weights_of_flagged_rows(cancer):
    cleaner = quick(action="downweight", flagged_weight=0.25, guard=False)
    weight = np.linspace(1.0, 2.0, len(cancer.y))
    cleaner.fit(cancer.X, cancer.y, sample_weight=weight)
    flagged = cleaner.removed_["position"].to_numpy()
    expected = weight.copy()
    expected[flagged] *= 0.25
    np.testing.assert_array_equal(cleaner.weights_, expected)
    same = classifier(random_state=0, n_jobs=1)
    same.fit(cancer.X, cancer.y, sample_weight=expected)
    np.testing.assert_array_equal(
        cleaner.predict_proba(cancer.X_test), same.predict_proba(cancer.X_test)
    )


# validation


def test_held_out_rows_are_never_cleaned(cancer):
    cleaner = quick(validation=0.3, guard=False, amount=0.2).fit(cancer.X, cancer.y)
    held_out = np.isnan(cleaner.scores_)
    assert held_out.mean() == pytest.approx(0.3, abs=0.02)
    assert cleaner.kept_[held_out].all()
    assert cleaner.report_.n_scored == (~held_out).sum()
    left_out = clone(cleaner).set_params(refit_on_validation=False)
    left_out.fit(cancer.X, cancer.y)
    assert n_trained_on(cleaner) == cleaner.kept_.sum()
    assert n_trained_on(left_out) == (cleaner.kept_ & ~held_out).sum()


def test_given_rows_judge_and_are_trained_on_only_when_asked(cancer):
    given = (cancer.X_test, cancer.y_test)
    cleaner = quick(validation=given, method="boostin_total", amount="auto")
    cleaner.fit(cancer.X, cancer.y)
    report = cleaner.report_
    # one half that scores have not seen may be enough
    assert report.guard.n_rows in (85, 86, 171)
    assert n_trained_on(cleaner) == cleaner.kept_.sum()
    asked = clone(cleaner).set_params(refit_on_validation=True)
    asked.fit(cancer.X, cancer.y)
    n_both = asked.kept_.sum() + len(cancer.y_test)
    assert n_trained_on(asked) == n_both


@pytest.mark.parametrize("splitter", [StratifiedKFold(3), KFold(4, shuffle=True)])
def test_a_splitter_lays_out_the_rounds(cancer, splitter):
    cleaner = quick(validation=splitter).fit(cancer.X, cancer.y)
    # folds are held out one by one until the gain is decided
    n_folds = splitter.get_n_splits()
    n_rows = cleaner.report_.guard.n_rows
    n_looks = round(n_folds * n_rows / len(cancer.y))
    assert 1 <= n_looks <= n_folds
    assert n_rows == pytest.approx(n_looks * len(cancer.y) / n_folds, abs=2)


# weights, containers, other estimators


def test_rows_without_weight_are_not_flagged(cancer):
    weight = (np.arange(len(cancer.y)) % 2).astype(float)
    cleaner = quick(guard=False, amount=0.3)
    cleaner.fit(cancer.X, cancer.y, sample_weight=weight)
    assert (cleaner.scores_[weight == 0] == 0).all()
    assert cleaner.kept_[weight == 0].all()


def test_containers_of_any_kind_give_the_same_rows(cancer):
    polars = pytest.importorskip("polars")
    array = quick(guard=False).fit(cancer.X.to_numpy(), cancer.y.to_numpy())
    frame = quick(guard=False).fit(cancer.X, cancer.y)
    other = quick(guard=False)
    X = polars.DataFrame({name: cancer.X[name].to_numpy() for name in cancer.X})
    kept_X, kept_y, kept = other.clean(X, polars.Series("y", cancer.y.to_numpy()))
    np.testing.assert_array_equal(array.kept_, frame.kept_)
    np.testing.assert_array_equal(array.kept_, kept)
    assert isinstance(kept_X, polars.DataFrame)
    assert len(kept_X) == len(kept_y) == kept.sum()
    assert isinstance(other.removed_, polars.DataFrame)
    assert list(frame.feature_names_in_) == list(cancer.X.columns)
    assert not hasattr(array, "feature_names_in_")


def test_categorical_columns_and_missing_values_are_left_to_the_estimator(rng):
    X = pd.DataFrame(
        {
            "a": rng.normal(size=200),
            "b": pd.Categorical(rng.choice(["red", "green", "blue"], 200)),
        }
    )
    X.loc[::7, "a"] = np.nan
    y = np.where((X["b"] == "red") ^ (rng.random(200) < 0.1), "yes", "no")
    cleaner = quick(guard=False, validation=0.3).fit(X, y)
    assert set(cleaner.removed_["label"]) <= {"yes", "no"}


@pytest.mark.parametrize("method", ["loss", "random"])
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["forest", "pipeline"],
)
def test_baselines_work_for_any_estimator(cancer, method, estimator):
    cleaner = quick(estimator, method=method, guard=False).fit(cancer.X, cancer.y)
    assert (~cleaner.kept_).sum() == 40
    assert "opponent_1" not in cleaner.removed_


def test_influence_of_what_cannot_be_read_is_refused_at_once(cancer):
    with pytest.raises(UnsupportedModelError, match="LogisticRegression"):
        quick(LogisticRegression(), method="boostin").fit(cancer.X, cancer.y)


def test_opponents_are_left_out_where_no_influence_can_be_asked(cancer):
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    cleaner = quick(pipe, guard=False).fit(cancer.X, cancer.y)
    assert (~cleaner.kept_).sum() == 40
    assert "opponent_1" not in cleaner.removed_


def test_a_pipeline_is_explained_through_its_steps(cancer):
    alone = quick(guard=False).fit(cancer.X.to_numpy(), cancer.y)
    inside = quick(make_pipeline(StandardScaler(), classifier()), guard=False)
    inside.fit(cancer.X.to_numpy(), cancer.y)
    # scaling rounds some values together, so that a few splits differ
    assert np.corrcoef(alone.scores_, inside.scores_)[0, 1] > 0.95
    assert "opponent_1" in inside.removed_


def test_bagging_whose_rows_are_found_is_not_warned_of(cancer):
    estimator = classifier(bagging_fraction=0.7, bagging_freq=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SubsampledTrainingWarning)
        quick(estimator, method="boostin").fit(cancer.X, cancer.y)


def test_dart_is_warned_of_once(cancer):
    estimator = classifier(boosting_type="dart")
    with pytest.warns(TrainingDataWarning) as caught:
        quick(estimator, method="boostin").fit(cancer.X, cancer.y)
    assert len(caught) == 1


def test_the_default_estimator_follows_the_targets(cancer):
    cleaner = InfluenceCleaner(validation=3, amount=0.1)
    cleaner.fit(cancer.X, cancer.y)
    assert isinstance(cleaner.estimator_, LGBMClassifier)


def test_a_class_too_rare_to_judge_is_left_alone(rng):
    X = rng.normal(size=(120, 3))
    y = (X[:, 0] > 0).astype(int)
    y[:2] = 2
    cleaner = quick(guard=False, amount=0.4).fit(X, y)
    assert cleaner.kept_[:2].all()
    assert set(cleaner.estimator_.classes_) == {0, 1, 2}


# manners


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_random_state_gives_the_same_rows_for_any_n_jobs(cancer, n_jobs):
    one = quick(amount="auto").fit(cancer.X, cancer.y)
    other = quick(amount="auto", n_jobs=n_jobs).fit(cancer.X, cancer.y)
    np.testing.assert_array_equal(one.scores_, other.scores_)
    np.testing.assert_array_equal(one.kept_, other.kept_)
    assert one.history_ == other.history_
    np.testing.assert_array_equal(
        one.predict_proba(cancer.X_test), other.predict_proba(cancer.X_test)
    )


def test_another_seed_gives_other_scores(cancer):
    one = quick().fit(cancer.X, cancer.y)
    other = quick(random_state=1).fit(cancer.X, cancer.y)
    assert (one.scores_ != other.scores_).any()


def test_the_estimator_given_stays_unfitted_and_its_settings_are_kept(cancer):
    estimator = classifier(n_estimators=7)
    cleaner = quick(estimator).fit(cancer.X, cancer.y)
    assert not hasattr(estimator, "classes_")
    assert cleaner.estimator is estimator
    assert cleaner.estimator_.n_estimators == 7
    assert clone(cleaner).get_params()["estimator__n_estimators"] == 7


def test_it_is_what_its_estimator_is():
    assert is_classifier(InfluenceCleaner(classifier()))
    assert is_regressor(InfluenceCleaner(regressor()))
    assert not hasattr(InfluenceCleaner(regressor()), "predict_proba")
    assert hasattr(InfluenceCleaner(classifier()), "predict_proba")
    assert not hasattr(InfluenceCleaner(RandomForestClassifier()), "decision_function")
    assert hasattr(InfluenceCleaner(LogisticRegression()), "decision_function")


def test_inside_a_pipeline_a_search_and_cross_validation():
    X, y = make_classification(150, 6, random_state=0)
    cleaner = quick(classifier(n_estimators=5))
    scores = cross_val_score(make_pipeline(StandardScaler(), cleaner), X, y, cv=3)
    assert (scores > 0.6).all()
    search = GridSearchCV(
        cleaner, {"amount": [0.05, 0.2], "estimator__num_leaves": [4]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.estimator_.num_leaves == 4


def test_custom_scoring_is_reported(cancer):
    named = quick(scoring="roc_auc").fit(cancer.X, cancer.y).report_
    assert named.metric == "roc_auc"
    assert 0.5 < named.score_before < 1.0

    def share_of_ones(model, X, y):
        return float(model.predict(X).mean())

    called = quick(scoring=share_of_ones).fit(cancer.X, cancer.y).report_
    assert called.metric == "share_of_ones"
    assert called.guard.gain == named.guard.gain


def test_held_out_split_judges_with_fewer_rows_and_says_so():
    X, y = make_classification(400, 6, flip_y=0.2, random_state=0)
    X, _, y, _ = train_test_split(X, y, random_state=0)
    report = quick(validation=0.2).fit(X, y).report_
    assert abs(report.guard.n_rows - 60) <= 2
    assert any(
        f"Only {report.guard.n_rows} rows evaluated" in note for note in report.notes
    )
    assert any("held out" in note for note in report.notes)
