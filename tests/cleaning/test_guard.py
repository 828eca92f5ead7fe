"""What the guard lets through, and what stands beside the cleaning."""

import numpy as np
import pytest

from treeinf.cleaning import METHODS, InfluenceCleaner, Method
from treeinf.cleaning.scores import methods as methods_module

from .conftest import classifier


def quick(**settings):
    defaults = {"validation": 3, "amount": 0.15, "random_state": 0}
    return InfluenceCleaner(classifier(), **{**defaults, **settings})


def test_random_removals_stand_beside_the_cleaning(cancer, cleaned):
    found = {other.key: other for other in cleaned.report_.alternatives}
    assert list(found) == ["all", "cleaned", "random"]
    assert found["all"].guard.gain == 0.0
    assert found["cleaned"].guard.gain > found["random"].guard.gain
    assert found["cleaned"].primary.score_after > found["random"].primary.score_after
    for one in found.values():
        assert one.guard.n_rows == cleaned.report_.guard.n_rows
        assert one.primary.metric == "AUC"
        assert one.guard.loss_before == found["all"].guard.loss_before
    tried = [line for line in cleaned.history_ if line["random_gain"] is not None]
    assert tried == [line for line in cleaned.history_ if line["chosen"]]
    for line in tried:
        assert line["random_gain_low"] < line["random_gain"] < line["gain"]
    before = next(line for line in cleaned.history_ if line["share"] == 0.0)
    assert before["primary"] == pytest.approx(
        cleaned.report_.primary.score_before, rel=1e-12
    )


@pytest.mark.parametrize("method", ["boostin", "boostin_total"])
@pytest.mark.parametrize("guard", [True, False])
def test_appending_the_trusted_rows_stands_beside_whenever_they_are_given(
    cancer, method, guard
):
    given = (cancer.X_test, cancer.y_test)
    cleaner = quick(validation=given, method=method, guard=guard)
    report = cleaner.fit(cancer.X, cancer.y).report_
    found = {one.key: one for one in report.alternatives}
    assert list(found) == ["all", "cleaned", "random", "appended", "both"]
    (n_rows,) = {one.guard.n_rows for one in found.values()}
    assert n_rows in (85, 86, len(cancer.y_test))
    # 85 clean rows beside 398 of which a fifth is wrong
    assert found["appended"].primary.gain > 0
    assert "trusted rows appended" in str(report)


def test_trusted_rows_do_not_say_how_many_train_rows_are_wrong(cancer):
    given = (cancer.X_test, cancer.y_test)
    settings = {"validation": given}
    report = quick(**settings).fit(cancer.X, cancer.y).report_
    # a fifth of the train rows is wrong, none of those that judge
    assert 0.05 < report.noise_rate_low < report.noise_rate_high < 0.35
    without = quick(validation=given, method="random").fit(cancer.X, cancer.y)
    assert without.report_.noise_rate is None
    assert without.report_.noise_rate_text == ""


def test_appended_rows_are_those_that_do_not_judge(cancer, monkeypatch):
    from treeinf.training.learner import Learner

    sizes = []
    fit = Learner.fit

    def spy(self, rows, seed):
        sizes.append(rows.n_rows)
        return fit(self, rows, seed)

    monkeypatch.setattr(Learner, "fit", spy)
    quick(validation=(cancer.X_test, cancer.y_test), method="loss").fit(
        cancer.X, cancer.y
    )
    n_train, n_given = len(cancer.y), len(cancer.y_test)
    n_cleaned = n_train - round(0.15 * n_train)
    for half in (n_given // 2, n_given - n_given // 2):
        assert n_train + half in sizes
        assert n_cleaned + half in sizes
    assert n_train + n_given not in sizes


def test_without_baselines_nothing_more_is_trained_and_all_else_is_the_same(cancer):
    with_them = quick().fit(cancer.X, cancer.y)
    without = quick(baselines=False).fit(cancer.X, cancer.y)
    assert without.report_.alternatives == ()
    np.testing.assert_array_equal(with_them.scores_, without.scores_)
    assert with_them.report_.guard == without.report_.guard
    # one random removal for each fold tried, as both of its halves choose the same
    n_more = with_them.report_.n_fits - without.report_.n_fits
    assert 1 <= n_more <= 3


def test_a_score_is_one_more_entry(cancer, monkeypatch):
    ranks = Method(
        lambda row: row.error.argsort().argsort() + row.measured["self"].argsort(),
        "two signs agree",
        measures=("self",),
    )
    monkeypatch.setitem(METHODS, "agreement", ranks)
    cleaner = quick(method="agreement", guard=False).fit(cancer.X, cancer.y)
    assert cleaner.removed_["reason"].str.startswith("Two signs agree").all()
    assert "agreement" in methods_module.METHODS
