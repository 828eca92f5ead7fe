"""What the guard lets through, and what stands beside the cleaning."""

import types

import numpy as np
import pytest

from treeinf.cleaning import METHODS, InfluenceCleaner, Method
from treeinf.cleaning.report.report import write_headline
from treeinf.cleaning.scores import methods as methods_module
from treeinf.cleaning.trial.controls import remove_at_random
from treeinf.cleaning.trial.judging import RowLosses
from treeinf.cleaning.trial.run import Rehearsal, random_places
from treeinf.training.rows import LabelledRows

from .conftest import classifier


def quick(**settings):
    defaults = {"validation": 3, "n_repeats": 1, "amount": 0.15, "random_state": 0}
    return InfluenceCleaner(classifier(), **{**defaults, **settings})


def rehearsed(rng, proper, primary, n_rows=400, n_classes=2):
    """Give a rehearsal whose picked cleaning gains this much, standard error 0.05."""
    noise = rng.normal(size=n_rows)
    noise = (noise - noise.mean()) / noise.std()
    zero = np.zeros(n_rows)
    picked = RowLosses(
        np.array([zero, noise]),
        np.array([zero, noise - proper]),
        np.array([zero, noise - primary]),
    )
    return Rehearsal(
        shares=[0.0, 0.1], is_free=False, n_classes=n_classes, losses=picked,
        picked=picked, score=np.zeros(2), score_of_picked=0.0, random={},
        alternatives=None, first_scores=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("proper", "primary", "n_classes", "verdict"),
    [
        (0.2, 0.1, 2, "helped"),
        (0.2, -0.04, 2, "helped"),  # a fall of less than the noise
        (0.2, -0.1, 2, "vetoed"),
        (0.05, 0.5, 2, "not beyond noise"),
        (-0.2, 0.5, 2, "not beyond noise"),
        (0.2, -0.04, 3, "helped"),
        (0.2, 0.01, 0, "helped"),
        (0.2, -0.01, 0, "vetoed"),  # R2 must not fall at all
    ],
)
def test_a_gain_in_loss_is_not_bought_with_the_primary_score(
    rng, proper, primary, n_classes, verdict
):
    repair = types.SimpleNamespace(touched=np.arange(3))
    rehearsal = rehearsed(rng, proper, primary, n_classes=n_classes)
    assert quick()._decide(rehearsal, repair) == verdict
    assert quick(guard=False)._decide(rehearsal, repair) == "unguarded"


def test_the_headline_of_a_veto_names_the_score(rng):
    rehearsal = rehearsed(rng, 0.2, -0.1)
    text = write_headline(
        "vetoed",
        "drop",
        5,
        400,
        rehearsal.compare_choice(0.9, "accuracy"),
        rehearsal.compare_guard(0.9, "accuracy"),
        rehearsal.compare_primary(0.9),
    )
    assert text.startswith(
        "Kept all 400 rows: removing 5 of them made the AUC worse beyond noise on"
    )
    few = rehearsed(rng, 0.2, -0.01, n_classes=0).compare_primary(0.9)
    text = write_headline("vetoed", "drop", 5, 400, None, None, few)
    assert "made the R2 worse on" in text


def test_random_removals_are_of_the_same_size_and_keep_the_classes(rng):
    code = np.array([0] * 30 + [1] * 4)
    rows = LabelledRows(np.arange(34)[:, None], code, code)
    repair = remove_at_random(rows, 20, rng)
    assert len(repair.touched) == 20
    assert (code[repair.kept] == 1).sum() >= 2
    assert len(remove_at_random(rows, 0, rng).touched) == 0


@pytest.mark.parametrize(
    ("n_shares", "places"), [(0, []), (1, [1]), (2, [1, 2]), (10, [5, 10])]
)
def test_random_removals_are_tried_at_two_amounts(n_shares, places):
    assert random_places(n_shares) == places


def test_random_removals_stand_beside_the_cleaning(cancer, cleaned):
    found = {one.key: one for one in cleaned.report_.alternatives}
    assert list(found) == ["all", "cleaned", "random"]
    assert found["all"].guard.gain == 0.0
    assert found["cleaned"].guard.gain > found["random"].guard.gain
    assert found["cleaned"].primary.score_after > found["random"].primary.score_after
    for one in found.values():
        assert one.guard.n_rows == len(cancer.X)
        assert one.primary.metric == "AUC"
        assert one.guard.loss_before == found["all"].guard.loss_before
    tried = [line for line in cleaned.history_ if line["random_gain"] is not None]
    assert [line["share"] for line in tried] == [0.12, 0.4]
    for line in tried:
        assert line["random_gain_low"] < line["random_gain"] < line["gain"]
    before = next(line for line in cleaned.history_ if line["share"] == 0.0)
    assert before["primary"] == pytest.approx(
        cleaned.report_.primary.score_before, rel=1e-12
    )


@pytest.mark.parametrize("method", ["boostin", "boostin_total"])
@pytest.mark.parametrize("guard", [True, False])
def test_appending_the_clean_rows_stands_beside_whenever_they_are_given(
    cancer, method, guard
):
    given = (cancer.X_test, cancer.y_test)
    cleaner = quick(validation=given, method=method, guard=guard)
    report = cleaner.fit(cancer.X, cancer.y).report_
    found = {one.key: one for one in report.alternatives}
    assert list(found) == ["all", "cleaned", "random", "appended", "both"]
    assert {one.guard.n_rows for one in found.values()} == {len(cancer.y_test)}
    # 85 clean rows beside 398 of which a fifth is wrong
    assert found["appended"].primary.gain > 0
    assert "clean rows appended" in str(report)


def test_clean_rows_do_not_say_how_many_train_rows_are_wrong(cancer):
    given = (cancer.X_test, cancer.y_test)
    settings = {"validation": given, "n_repeats": 3}
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
    # one random removal for the curve, one for each of the two parts that judge
    assert with_them.report_.n_fits == without.report_.n_fits + 3 * (1 + 2)


def test_a_score_is_one_more_entry(cancer, monkeypatch):
    ranks = Method(
        lambda row: row.error.argsort().argsort() + row.measured["self"].argsort(),
        "two views agree",
        measures=("self",),
    )
    monkeypatch.setitem(METHODS, "agreement", ranks)
    cleaner = quick(method="agreement", guard=False).fit(cancer.X, cancer.y)
    assert cleaner.removed_["reason"].str.startswith("Two views agree").all()
    assert "agreement" in methods_module.METHODS
