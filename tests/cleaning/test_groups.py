"""Cleaning rows that belong together."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.cleaning.conftest import classifier, noisy_cancer
from treeinf.cleaning import InfluenceCleaner, InfluenceSelector

FAST = {"amount": 0.1, "n_repeats": 1, "baselines": False, "random_state": 0}


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
    assert wrong[highest].mean() > 0.8


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
    model = kind(classifier(), validation=validation, **{**settings, "n_repeats": 1})
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
