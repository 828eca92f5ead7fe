"""Cleaning rows that belong together."""

import dataclasses
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn import config_context
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.cleaning.conftest import classifier, noisy_cancer
from treeinf.cleaning import InfluenceCleaner, InfluenceSelector
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.report import flagged_rows
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.scoring import RowScorer
from treeinf.cleaning.trial.splits import RowSet
from treeinf.errors import SelfExplanationWarning
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

FAST = {"amount": 0.1, "baselines": False, "random_state": 0}


@pytest.fixture(scope="module")
def noisy():
    return noisy_cancer(0.2)


def repeat(noisy, n_rows=120):
    X, y = noisy.X.iloc[:n_rows], np.asarray(noisy.y)[:n_rows]
    return pd.concat([X, X], ignore_index=True), np.tile(y, 2)


def test_repeated_rows_are_scored_alike_and_join_by_default(noisy):
    X, y = repeat(noisy)
    cleaner = InfluenceCleaner(classifier(), guard=False, **FAST).fit(X, y)
    np.testing.assert_array_equal(cleaner.groups_[:120], cleaner.groups_[120:])
    np.testing.assert_allclose(cleaner.scores_[:120], cleaner.scores_[120:], atol=1e-9)
    report = cleaner.report_
    assert (report.n_groups, report.n_joined, report.n_contradicting) == (120, 240, 0)
    assert any("240 rows (100.0%) are equal to others" in note for note in report.notes)
    # twins are left out together, so that most wrong labels are among the highest
    wrong = np.tile(np.asarray(noisy.is_bad)[:120], 2)
    highest = np.argsort(-cleaner.scores_)[: int(wrong.sum())]
    assert wrong[highest].mean() > 0.7


def test_joining_is_switched_off(noisy):
    X, y = repeat(noisy)
    cleaner = InfluenceCleaner(
        classifier(), guard=False, join_equal_rows=False, **FAST
    ).fit(X, y)
    assert cleaner.groups_ is None
    assert cleaner.report_.n_joined == 0


def test_groups_of_single_rows_change_no_result_of_data_without_repeats(noisy):
    X, y = noisy.X.iloc[:150], np.asarray(noisy.y)[:150]
    on, off = (
        InfluenceCleaner(classifier(), guard=False, join_equal_rows=joins, **FAST).fit(
            X, y
        )
        for joins in (True, False)
    )
    np.testing.assert_array_equal(on.scores_, off.scores_)
    assert on.report_.notes == off.report_.notes


def test_rows_that_contradict_each_other_are_listed(noisy):
    X, y = repeat(noisy)
    y[[3, 120]] = 1 - y[[3, 120]]
    cleaner = InfluenceCleaner(classifier(), guard=False, **FAST).fit(X, y)
    found = cleaner.contradictions_
    assert sorted(found["position"]) == [0, 3, 120, 123]
    assert found["set"].nunique() == 2
    assert "4 rows equal others in all columns" in cleaner.report_.headline


@pytest.mark.parametrize("validation", [3, 0.4, GroupKFold(3)])
@pytest.mark.parametrize("kind", [InfluenceCleaner, InfluenceSelector])
def test_groups_are_passed_to_fit(kind, validation, noisy):
    X, y = noisy.X.iloc[:120], np.asarray(noisy.y)[:120]
    groups = np.repeat([f"patient {number}" for number in range(30)], 4)
    settings = {"shares": (0.5,), "n_random": 1} if kind is InfluenceSelector else FAST
    model = kind(classifier(), validation=validation, **{**settings})
    model.fit(X, y, groups=groups)
    assert model.report_.n_groups == 30
    assert any("30 groups were passed" in note for note in model.report_.notes)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(120), "one value in all rows"),
        (np.arange(7), "groups has 7 values, X has 120 rows"),
        ([np.nan] * 120, "groups is missing .* in 120 of 120 rows"),
    ],
)
def test_groups_that_cannot_be_used_are_refused(groups, message, noisy):
    X, y = noisy.X.iloc[:120], np.asarray(noisy.y)[:120]
    with pytest.raises(ValueError, match=message):
        InfluenceCleaner(classifier(), **FAST).fit(X, y, groups=groups)


def test_groups_are_routed_through_a_pipeline(noisy):
    X, y = noisy.X.iloc[:120], np.asarray(noisy.y)[:120]
    with config_context(enable_metadata_routing=True):
        cleaner = InfluenceCleaner(classifier(), **FAST).set_fit_request(groups=True)
        pipeline = make_pipeline(StandardScaler(), cleaner)
        pipeline.fit(X, y, groups=np.arange(120) // 4)
    assert pipeline[-1].report_.n_groups == 30


class Recording(KNeighborsClassifier):
    """Notes the rows that it is trained on."""

    trained: ClassVar[list] = []

    def fit(self, X, y):
        self.trained.append(np.asarray(X))
        return super().fit(X, y)


def test_copies_draw_one_row_of_each_set_of_twins(noisy):
    X, y = noisy.X.to_numpy()[:60], np.asarray(noisy.y)[:60]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rows = LabelledRows(np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(y, 3))
    twin = np.repeat(np.arange(60), 3)
    rows = dataclasses.replace(rows, group=twin, twin=twin)
    Recording.trained.clear()
    learner = Learner(Recording(), np.array([0, 1]), 1)
    positions = np.arange(180)
    plan = plan_copies(rows, [], RowSet(rows, positions), np.random.default_rng(0))
    scorer = RowScorer(METHODS["loss"], learner, rows, plan, seed=0, costs=Costs())
    scores = scorer.score(positions)
    assert [len(seen) for seen in Recording.trained] == [24] * 10
    assert all(len(np.unique(seen, axis=0)) == 24 for seen in Recording.trained)
    np.testing.assert_array_equal(scores.score[::3], scores.score[1::3])


@pytest.mark.parametrize("method", ["boostin", "out_of_bag_sum", "out_of_bag_step"])
def test_influence_of_twins_is_that_of_one_row(method, noisy):
    X, y = repeat(noisy, 200)
    estimator = classifier().set_params(subsample=0.6, subsample_freq=1)
    cleaner = InfluenceCleaner(estimator, method=method, guard=False, **FAST)
    twice = cleaner.fit(X, y).scores_
    np.testing.assert_allclose(twice[:200], twice[200:], rtol=1e-9)
    once = cleaner.fit(X[:200], y[:200]).scores_
    assert spearmanr(once, twice[:200]).statistic > 0.7


def test_opponents_and_helpers_are_of_other_groups(noisy):
    X, y = repeat(noisy)
    cleaner = InfluenceCleaner(classifier(), guard=False, **FAST).fit(X, y)
    listed = cleaner.removed_
    assert len(listed)
    columns = [name for name in listed if name.startswith(("opponent", "helper"))]
    assert columns
    for line in listed.to_dict("records"):
        own = cleaner.groups_[line["position"]]
        others = [line[name] for name in columns if line[name] is not None]
        assert all(cleaner.groups_[int(row)] != own for row in others if row == row)


def test_long_lists_of_the_own_group_are_passed_over(noisy, monkeypatch):
    X, y = noisy.X.iloc[:90], np.asarray(noisy.y)[:90]
    group = np.arange(90) // 30
    rows = LabelledRows(X, y, y, group=group)
    scored = RowSet(rows, np.arange(90))
    model = classifier().fit(X, y)
    changed = np.array([3, 40, 80])
    whole = flagged_rows.find_influential_rows(lambda rows: model, scored, changed, 0)
    monkeypatch.setattr(flagged_rows, "_MOST_OWN", 0)
    found = flagged_rows.find_influential_rows(lambda rows: model, scored, changed, 0)
    for kind in ("opponent", "helper"):
        np.testing.assert_array_equal(found[kind], whole[kind])
        for row, others in zip(changed, found[kind], strict=True):
            assert (group[others[others >= 0]] != group[row]).all()
    assert (found["opponent"] >= 0).any()


def test_validation_rows_have_groups_of_their_own(noisy):
    X, y = noisy.X.iloc[:160].reset_index(drop=True), np.asarray(noisy.y)[:160]
    group = np.arange(160) // 4
    val = X[120:], y[120:], group[120:]
    cleaner = InfluenceCleaner(classifier(), validation=val, **FAST)
    cleaner.fit(X[:120], y[:120], groups=group[:120])
    assert cleaner.report_.guard is not None or not cleaner.report_.acted
    assert "(X_val, y_val, groups_val) of 40 rows" in str(cleaner.report_.settings)
    cleaner.set_params(validation=(*val[:2], group[:40]))
    with pytest.raises(ValueError, match="10 of 10 groups of the validation rows are"):
        cleaner.fit(X[:120], y[:120], groups=group[:120])
    with pytest.raises(ValueError, match="without groups of the train rows"):
        cleaner.fit(X[:120], y[:120])
    cleaner.set_params(validation=val[:2])
    with pytest.warns(SelfExplanationWarning, match="not for the validation rows"):
        cleaner.fit(X[:120], y[:120], groups=group[:120])
    with pytest.raises(ValueError, match="Got validation with 4 parts"):
        cleaner.set_params(validation=(*val, 1)).fit(X[:120], y[:120])


def test_validation_rows_that_contradict_train_rows_are_named(noisy):
    X, y = noisy.X.iloc[:120].reset_index(drop=True), np.asarray(noisy.y)[:120]
    val = pd.concat([X[:5], X[100:]]), np.concatenate([1 - y[:5], y[100:]])
    cleaner = InfluenceCleaner(classifier(), validation=val, **FAST)
    with pytest.warns(SelfExplanationWarning, match="5 of 25 validation rows equal tr"):
        cleaner.fit(X[:100], y[:100])
