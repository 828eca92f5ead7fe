"""Estimators that train on another target than the user's, or weigh rows by label."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier

from tests.cleaning.conftest import classifier, regressor
from treeinf.cleaning import InfluenceCleaner
from treeinf.cleaning.scores.relabelling import estimate_label_gains
from treeinf.errors import UnsupportedModelError
from treeinf.evaluation import label_edit
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows

QUICK = {
    "action": "relabel",
    "method": "loss",
    "amount": 0.1,
    "validation": 0.3,
    "baselines": False,
    "guard": False,
    "random_state": 0,
}
NAMES = np.array(["a", "b", "c"])


def xgboost_classifier(**parameters):
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=8, n_jobs=1, **parameters)


def catboost_classifier(**parameters):
    catboost = pytest.importorskip("catboost")
    return catboost.CatBoostClassifier(
        iterations=8,
        depth=2,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
        **parameters,
    )


def draw(n_rows=150):
    """Draw rows and labels of three classes, a seventh of them wrong."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    y = (X[:, 0] > 0.0).astype(int) + (X[:, 1] > 0.3)
    is_wrong = rng.random(n_rows) < 0.15
    return X, np.where(is_wrong, (y + 1) % 3, y)


def draw_values(n_rows=200):
    """Draw rows, positive targets, and the targets with some of them far off."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_rows, 3))
    y = 5.0 * np.exp(X[:, 0]) + rng.random(n_rows)
    is_wrong = rng.random(n_rows) < 0.15
    return X, y, np.where(is_wrong, 16.0 * y + 50.0, y), is_wrong


LINKS = {
    "dict": lambda: classifier(class_weight={"a": 1.0, "b": 2.0, "c": 0.5}),
    "balanced": lambda: classifier(class_weight="balanced"),
    "scale_pos_weight": lambda: classifier(scale_pos_weight=3.0),
    "is_unbalance": lambda: classifier(is_unbalance=True),
    "xgboost": lambda: xgboost_classifier(scale_pos_weight=3.0),
    "catboost": lambda: catboost_classifier(auto_class_weights="Balanced"),
    "catboost dict": lambda: catboost_classifier(class_weights={"a": 2.0, "b": 1.0}),
    "sklearn": lambda: HistGradientBoostingClassifier(
        max_iter=8, class_weight="balanced", early_stopping=False
    ),
}


@pytest.mark.parametrize("link", LINKS)
def test_rows_are_relabelled_with_labels_of_the_user(link):
    X, y = draw()
    labels = np.minimum(y, 1) if link in ("xgboost", "scale_pos_weight") else NAMES[y]
    if link in ("is_unbalance", "catboost dict"):
        labels = NAMES[np.minimum(y, 1)]
    cleaner = InfluenceCleaner(LINKS[link](), **QUICK).fit(X, labels)
    assert cleaner.labels_.dtype == labels.dtype
    assert set(cleaner.labels_) <= set(labels)
    is_changed = cleaner.labels_ != labels
    listed = cleaner.removed_
    is_relabelled = (listed["action"] == "relabel").to_numpy()
    assert set(np.flatnonzero(is_changed)) == set(listed["position"][is_relabelled])
    gain = listed["relabel_gain"].to_numpy()
    assert (gain[is_relabelled] > 0.0).all()


def test_the_true_target_helps_where_roots_are_boosted():
    X, y, noisy, is_wrong = draw_values()
    rows = LabelledRows(X, noisy)
    model = Learner(regressor(reg_sqrt=True), None).fit(rows, 0)
    every = np.arange(len(y))
    unseen = LabelledRows(X + 0.01, y)
    gains = estimate_label_gains([model], [(every, every)], rows, y, None, unseen)
    assert (gains.relabel[~is_wrong] == 0.0).all()
    assert (gains.relabel[is_wrong] > 0.0).mean() > 0.9


def test_edits_of_targets_move_the_loss_where_roots_are_boosted():
    X, y, _, _ = draw_values()
    frame = label_edit(
        regressor(reg_sqrt=True),
        ["LeafInfluence", "BoostIn"],
        *(X[:120], y[:120], X[120:126], y[120:126]),
        shares=[0.05],
        n_jobs=1,
    )
    increase = frame.groupby("method")["loss_increase"].mean()
    assert increase["LeafInfluence"] > 2.0 * increase["Random"]
    assert increase["BoostIn"] > increase["Random"]


def test_a_transformed_target_is_relabelled_by_suggestion_alone():
    X, y, noisy, _ = draw_values()
    estimator = TransformedTargetRegressor(
        regressor(), func=np.log1p, inverse_func=np.expm1
    )
    with pytest.raises(UnsupportedModelError, match="relabel_by='suggestion' does not"):
        InfluenceCleaner(estimator, **QUICK).fit(X, noisy)
    cleaner = InfluenceCleaner(estimator, relabel_by="suggestion", **QUICK)
    cleaner.fit(X, noisy)
    listed = cleaner.removed_
    # suggestions are in the units of the user's targets
    assert (listed["suggestion"] < listed["label"]).mean() > 0.9
    assert np.median(listed["suggestion"]) < 3.0 * np.median(y)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (lambda y: NAMES[y], "'a'"),
        (lambda y: y + 1, "needs class numbers from 0 without a gap"),
        (lambda y: np.where(np.arange(len(y)) < 2, 1, 2 * (y > 0)), "so few rows"),
    ],
)
def test_labels_that_xgboost_cannot_take_are_named(labels, match):
    X, y = draw()
    cleaner = InfluenceCleaner(
        xgboost_classifier(), **{**QUICK, "action": "drop", "validation": 3}
    )
    with pytest.raises(ValueError, match=match):
        cleaner.set_params(guard=True).fit(X, labels(y))
