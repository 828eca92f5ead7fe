"""Relabelling where influence says that it helps."""

import json
import re

import numpy as np
import pytest
import sklearn.ensemble
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.cleaning.conftest import classifier, noisy_diabetes, regressor
from treeinf import BoostIn
from treeinf.cleaning import InfluenceCleaner
from treeinf.cleaning.actions import Treatment
from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.report.flagged_rows import describe_action
from treeinf.cleaning.report.sentences import write_headline
from treeinf.cleaning.scores.relabelling import LabelGains, estimate_label_gains
from treeinf.cleaning.scores.scoring import RowScores
from treeinf.cleaning.trial.splits import split_in_halves
from treeinf.errors import UnsupportedModelError
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows


def quick(estimator=None, **settings):
    """Give a cleaner that relabels a given number of rows, unguarded."""
    defaults = {
        "action": "relabel",
        "validation": 3,
        "amount": 0.2,
        "guard": False,
        "random_state": 0,
    }
    estimator = classifier() if estimator is None else estimator
    return InfluenceCleaner(estimator, **{**defaults, **settings})


def train_copies(rows, estimator, classes, n_repeats=2):
    """Train copies on halves of the rows."""
    rng = np.random.default_rng(0)
    splits = []
    for _ in range(n_repeats):
        first, second = split_in_halves(rows, rng)
        splits += [(first, second), (second, first)]
    trainer = Learner(estimator, classes)
    return [trainer.fit(rows.take(seen), 0) for seen, _ in splits], splits


def relabelled(cleaner):
    """Give the positions of the rows that have another label now."""
    listed = cleaner.removed_
    return np.asarray(listed["position"][listed["action"] == "relabel"])


def of_cancer(cancer, weight=None):
    code = cancer.y.to_numpy()
    return LabelledRows(cancer.X, code, code.astype(np.int64), weight)


# the gains


@pytest.mark.parametrize("is_weighted", [False, True])
def test_gains_are_means_over_copies_of_what_boostin_says(cancer, is_weighted):
    weight = np.linspace(0.5, 2.0, len(cancer.y)) if is_weighted else None
    rows = of_cancer(cancer, weight)
    models, splits = train_copies(rows, classifier(n_estimators=5), np.array([0, 1]))
    suggestion = 1 - rows.code
    suggestion[:10] = rows.code[:10]
    suggestion[10:20] = -1
    gains = estimate_label_gains(models, splits, rows, suggestion, np.array([0, 1]))
    relabel, drop = np.zeros(rows.n_rows), np.zeros(rows.n_rows)
    for model, (seen, unseen) in zip(models, splits, strict=True):
        own, others = rows.take(seen), rows.take(unseen)
        explainer = BoostIn().fit(model, own.X, own.y, sample_weight=own.weight)
        table = np.asarray(
            explainer.relabel(others.X, others.y, sample_weight=others.weight)
        )
        total = explainer.total(others.X, others.y, sample_weight=others.weight)
        for line, row in enumerate(seen):
            if suggestion[row] < 0:
                continue
            relabel[row] -= table[line, suggestion[row]] / len(unseen) / 2
            drop[row] -= total[line] / len(unseen) / 2
    # sums of the same terms in another order
    np.testing.assert_allclose(gains.relabel, relabel, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(gains.drop, drop, rtol=1e-9, atol=1e-15)
    assert (gains.relabel[:20] == 0.0).all()
    assert not gains.helps[:20].any()


def test_the_true_label_helps_and_a_wrong_one_does_not(cancer):
    """Every row is offered the other label; it is the true one of the flipped rows."""
    rows = of_cancer(cancer)
    models, splits = train_copies(rows, classifier(), np.array([0, 1]))
    gains = estimate_label_gains(models, splits, rows, 1 - rows.code, np.array([0, 1]))
    assert roc_auc_score(cancer.is_bad, gains.relabel) > 0.9
    assert gains.helps[cancer.is_bad].mean() > 0.8
    assert gains.helps[~cancer.is_bad].mean() < 0.25


def test_a_class_that_a_copy_has_never_met_is_not_spoken_of(cancer):
    names = np.array(["a", "b", "c"])
    code = cancer.y.to_numpy().astype(np.int64)
    code[:3] = 2
    rows = LabelledRows(cancer.X, names[code], code)
    everything = np.arange(rows.n_rows)
    split = (everything[3::2], np.r_[0, 1, 2, everything[4::2]])
    model = Learner(classifier(n_estimators=5), names).fit(rows.take(split[0]), 0)
    assert list(model.classes_) == ["a", "b"]
    gains = estimate_label_gains([model], [split], rows, np.full(rows.n_rows, 2), names)
    assert (gains.relabel == 0.0).all()
    gains = estimate_label_gains([model], [split], rows, code % 2, names)
    assert (gains.relabel == 0.0).all()
    assert (gains.drop[split[0]] != 0.0).mean() > 0.9
    assert (gains.drop[split[1]] == 0.0).all()


def test_a_constant_copy_says_nothing(cancer):
    rows = of_cancer(cancer)
    ones = np.flatnonzero(rows.code == 1)
    model = Learner(classifier(), np.array([0, 1])).fit(rows.take(ones), 0)
    gains = estimate_label_gains(
        [model], [(ones, ones)], rows, 1 - rows.code, np.array([0, 1])
    )
    assert (gains.relabel == 0.0).all()


def test_a_suggestion_must_help_and_more_than_a_removal():
    gains = LabelGains(
        np.array([2.0, 2.0, 0.0, -1.0, 1.0]), np.array([1, 3, -1, -2, 1])
    )
    np.testing.assert_array_equal(gains.helps, [True, False, False, False, False])


# what is done


@pytest.fixture
def flagged():
    """Rows that are helped, better dropped, harmed, without another label or any."""
    code = np.array([0] * 10 + [1] * 10)
    rows = LabelledRows(np.arange(20)[:, None], np.array(["a", "b"])[code], code)
    score = np.zeros(20)
    score[[3, 12, 5, 6, 15]] = [5, 4, 3, 2, 1]
    suggestion = code.copy()
    suggestion[[3, 12, 5, 15]] = [1, 0, 1, -1]
    relabel, drop = np.zeros(20), np.zeros(20)
    relabel[[3, 12, 5]] = [2.0, 1.0, -1.0]
    drop[[3, 12, 5]] = [1.0, 2.0, -2.0]
    scores = RowScores(score, np.zeros(20), suggestion, gains=LabelGains(relabel, drop))
    return rows, scores


@pytest.mark.parametrize(
    ("relabel_by", "changed", "relabelled", "dropped", "n_left"),
    [
        ("influence_or_leave", [3], [3], [], 4),
        ("influence", [3, 12, 5, 6, 15], [3], [5, 6, 12, 15], 0),
        ("suggestion", [3, 12, 5], [3, 5, 12], [], 2),
    ],
)
def test_each_rule_touches_its_rows(
    flagged, relabel_by, changed, relabelled, dropped, n_left
):
    rows, scores = flagged
    share = 5 / rows.n_rows
    cleaning = Treatment("relabel", Amount.share(share), relabel_by=relabel_by).apply(
        rows, scores
    )
    np.testing.assert_array_equal(cleaning.changed, changed)
    np.testing.assert_array_equal(np.flatnonzero(~cleaning.kept), dropped)
    assert (cleaning.n_left, cleaning.n_dropped) == (n_left, len(dropped))
    kept, cleaned = np.flatnonzero(cleaning.kept), cleaning.apply(rows)
    np.testing.assert_array_equal(cleaned.X[:, 0], kept)
    np.testing.assert_array_equal(kept[cleaned.y != rows.y[kept]], relabelled)
    np.testing.assert_array_equal(cleaned.y, np.array(["a", "b"])[cleaned.code])


def test_only_rows_that_are_helped_are_relabelled(cancer):
    cleaner = quick(relabel_by="influence_or_leave").fit(cancer.X, cancer.y)
    listed = cleaner.removed_
    n_flagged = round(0.2 * len(cancer.y))
    n_left = n_flagged - len(listed)
    assert 0 < n_left < n_flagged / 2
    assert any(
        note.startswith(f"{n_left} further flagged rows")
        for note in cleaner.report_.notes
    )
    assert cleaner.kept_.all()
    assert set(listed["action"]) == {"relabel"}
    assert (listed["relabel_gain"] > 0.0).all()
    assert (listed["relabel_gain"] > listed["drop_gain"]).all()
    assert listed["reason"].str.contains("Relabelled, because that helps").all()
    np.testing.assert_array_equal(
        cleaner.labels_[listed["position"]], listed["suggestion"]
    )
    every = cleaner.score_frame()
    np.testing.assert_array_equal(
        every["relabel_gain"].to_numpy()[listed["position"]], listed["relabel_gain"]
    )
    truth = cancer.y.where(~cancer.is_bad, 1 - cancer.y)
    assert (cleaner.labels_ == truth).mean() > (cancer.y == truth).mean() + 0.1


def test_others_are_dropped_and_each_line_says_which_and_why(cancer):
    left = quick(relabel_by="influence_or_leave").fit(cancer.X, cancer.y)
    cleaner = quick()
    X, y, kept = cleaner.clean(cancer.X, cancer.y)
    n_flagged = round(0.2 * len(cancer.y))
    assert cleaner.report_.n_removed == len(cleaner.removed_) == n_flagged
    listed = cleaner.removed_
    is_dropped = (listed["action"] == "drop").to_numpy()
    position = listed["position"].to_numpy()
    np.testing.assert_array_equal(np.sort(position[is_dropped]), np.flatnonzero(~kept))
    np.testing.assert_array_equal(position[~is_dropped], left.removed_["position"])
    assert listed["reason"][~is_dropped].str.contains(" Relabelled, ").all()
    assert listed["reason"][is_dropped].str.contains(" Removed[:,] ").all()
    assert len(X) == len(y) == kept.sum()
    np.testing.assert_array_equal(y, cleaner.labels_[kept])
    counts = f"{(~is_dropped).sum()} and removed {is_dropped.sum()} of"
    assert cleaner.report_.headline.startswith(f"Relabelled {counts}")
    assert any(
        "were removed, which is estimated to help more" in n
        for n in cleaner.report_.notes
    )


def test_the_copies_alone_are_asked_where_wanted(cancer):
    cleaner = quick(relabel_by="suggestion").fit(cancer.X, cancer.y)
    assert "relabel_gain" not in cleaner.removed_
    assert "relabel_gain" not in cleaner.score_frame()
    assert len(relabelled(cleaner)) > len(relabelled(quick().fit(cancer.X, cancer.y)))
    assert not cleaner.removed_["reason"].str.contains("other rows").any()


def test_validation_rows_given_are_those_that_must_be_helped(cancer):
    """Rows of the opposite labels: what helps them is what is wrong."""
    given = quick(validation=(cancer.X_test, cancer.y_test))
    opposite = quick(validation=(cancer.X_test, 1 - cancer.y_test))
    n_helped = len(relabelled(given.fit(cancer.X, cancer.y)))
    assert n_helped > 40
    assert len(relabelled(opposite.fit(cancer.X, cancer.y))) < n_helped / 4


def test_given_rows_that_were_looked_at_do_not_judge(cancer):
    """Two rounds, each judged by the half that scores have not seen."""
    clean = cancer.X_test, cancer.y_test
    settings = {"method": "boostin", "validation": clean, "guard": True}
    looks = quick(**settings).fit(cancer.X, cancer.y).report_
    blind = quick(relabel_by="suggestion", **settings).fit(cancer.X, cancer.y).report_
    assert blind.guard.n_rows == len(cancer.y_test)
    assert looks.guard.n_rows in (85, 86, len(cancer.y_test))


def test_classes_with_names_are_relabelled():
    X, digit = load_digits(n_class=4, return_X_y=True)
    names = np.array(["zero", "one", "two", "three"], dtype=object)
    rng = np.random.default_rng(0)
    is_bad = rng.random(len(digit)) < 0.2
    y = names[np.where(is_bad, (digit + rng.integers(1, 4, len(digit))) % 4, digit)]
    cleaner = quick(classifier(n_estimators=8)).fit(X, y)
    changed = relabelled(cleaner)
    assert len(changed) > 0.5 * is_bad.sum()
    assert (cleaner.labels_[changed] == names[digit[changed]]).mean() > 0.9


def test_values_are_replaced_where_that_helps():
    noisy = noisy_diabetes(0.2)
    cleaner = quick(regressor()).fit(noisy.X, noisy.y)
    changed = relabelled(cleaner)
    assert 0 < len(changed) < len(cleaner.removed_)
    np.testing.assert_array_equal(
        cleaner.labels_[changed], cleaner.suggestions_[changed]
    )
    np.testing.assert_array_equal(
        np.flatnonzero(cleaner.labels_ != noisy.y), np.sort(changed)
    )
    before = regressor().fit(noisy.X, noisy.y).score(noisy.X_test, noisy.y_test)
    assert cleaner.score(noisy.X_test, noisy.y_test) > before + 0.1


def test_weights_and_threads_change_nothing_but_what_they_should(cancer):
    weight = np.linspace(1.0, 2.0, len(cancer.y))
    one = quick().fit(cancer.X, cancer.y, sample_weight=weight)
    two = quick(n_jobs=2).fit(cancer.X, cancer.y, sample_weight=weight)
    np.testing.assert_array_equal(one.labels_, two.labels_)
    bare = quick().fit(cancer.X, cancer.y)
    assert (
        np.asarray(one.removed_["relabel_gain"])[:5]
        != np.asarray(bare.removed_["relabel_gain"])[:5]
    ).any()
    json.dumps(one.report_.to_dict())


# what is refused, and what is said


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), RandomForestClassifier(2)],
    ids=["line", "forest"],
)
def test_estimators_without_influence_are_refused_with_the_way_out(cancer, estimator):
    with pytest.raises(UnsupportedModelError, match="relabel_by='suggestion' does not"):
        quick(estimator, method="loss").fit(cancer.X, cancer.y)


@pytest.mark.parametrize("library", ["xgboost", "catboost", "sklearn"])
@pytest.mark.parametrize("is_regression", [False, True])
def test_models_of_any_library_tell_what_helps(cancer, library, is_regression):
    noisy = noisy_diabetes(0.2) if is_regression else cancer
    kind = "Regressor" if is_regression else "Classifier"
    if library == "sklearn":
        name, settings = f"HistGradientBoosting{kind}", {"max_iter": 8}
        estimator = getattr(sklearn.ensemble, name)(early_stopping=False, **settings)
    else:
        module = pytest.importorskip(library)
        name = {"xgboost": "XGB", "catboost": "CatBoost"}[library] + kind
        settings = {"n_estimators": 8}
        if library == "catboost":
            settings |= {"depth": 3, "verbose": False, "allow_writing_files": False}
        estimator = getattr(module, name)(**settings)
    cleaner = quick(estimator).fit(noisy.X, noisy.y)
    assert len(relabelled(cleaner)) > 0
    assert np.asarray(noisy.is_bad)[relabelled(cleaner)].mean() > 0.4


def test_estimators_without_influence_may_be_relabelled_by_suggestion(cancer):
    cleaner = quick(
        LogisticRegression(solver="liblinear"), method="loss", relabel_by="suggestion"
    )
    cleaner.fit(cancer.X, cancer.y)
    assert (cleaner.labels_ != cancer.y).any()


@pytest.mark.parametrize(
    ("action", "suggestion", "gains", "said"),
    [
        ("relabel", "b", (0.002, 0.001), "changes by -0.002 with b, by -0.001 without"),
        ("drop", "b", (-0.5, 1.0), "Removed, because b would not help other rows"),
        ("drop", 1.23456, (0.5, 1.0), "at least as much: .* by -0.5 with 1.235"),
        ("drop", "a", (0.0, 0.0), "Removed: no other label is suggested"),
        ("drop", None, (0.0, 0.0), "Removed: no other label is suggested"),
    ],
)
def test_reasons_in_plain_words(action, suggestion, gains, said):
    assert re.search(said, describe_action(action, "a", suggestion, *gains))


def test_the_headline_counts_both():
    text = write_headline("unguarded", "relabel", 30, 100, None, None, n_dropped=12)
    assert text.startswith("Relabelled 18 and removed 12 of 100 rows (30.0%)")
