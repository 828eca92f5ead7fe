"""LOO and SubSample: explicit refits, closed forms, tables of every kind, refusals."""

import math
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from tests.explainers.retraining.games import (
    EXPLAINERS,
    FITS,
    MeanRegressor,
    ShareClassifier,
    leave_one_out,
    log_loss,
    table,
)
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.retraining import LOO, DataShapley, SubSample


def test_loo_equals_explicit_refits_of_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, X_test, y_test = table(30, 6, classes=["b", "a", "c"])
    estimator = lightgbm.LGBMClassifier(
        n_estimators=4, num_leaves=4, min_child_samples=3, verbose=-1, n_jobs=1
    )
    desired = leave_one_out(estimator, X, y, X_test, y_test, log_loss)
    explainer = LOO(n_jobs=1).fit(estimator, X, y)
    assert explainer.classes_.tolist() == ["a", "b", "c"]
    assert_array_equal(explainer.explain(X_test, y_test), desired)
    # a model that is fitted already is copied, not used
    fitted = clone(estimator).set_params(n_jobs=2).fit(X[:20], y[:20])
    assert_array_equal(LOO(n_jobs=1).fit(fitted, X, y).explain(X_test, y_test), desired)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=5, random_state=7),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=1)),
    ],
    ids=["forest", "pipeline"],
)
def test_loo_equals_explicit_refits_of_scikit_learn(estimator):
    X, y, X_test, y_test = table(classes=[3, 8])
    desired = leave_one_out(estimator, X, y, X_test, y_test, log_loss)
    explainer = LOO(n_jobs=1).fit(estimator, X, y)
    influence = explainer.explain(X_test, y_test)
    assert_array_equal(influence, desired)
    weight = np.linspace(0.0, 2.0, len(y_test))
    assert_array_equal(explainer.total(X_test, y_test), influence.values.sum(axis=1))
    assert_allclose(
        explainer.explain(X_test, y_test, sample_weight=weight),
        desired * weight,
        rtol=1e-12,
        atol=1e-15,
    )
    top = explainer.top_k(X_test, y_test, k=3)
    assert_array_equal(top.positions, influence.top(3).positions)


@pytest.mark.parametrize("library", ["xgboost", "catboost", "lightgbm"])
def test_boosters_meet_a_class_that_vanishes(library):
    pytest.importorskip(library)
    X, _, X_test, _ = table(20, 3)
    y = np.array([0, 1] * 9 + [2, 1])
    y[18], y_test = 1, np.array([0, 1, 1])
    y[4] = 1
    y[5] = 2  # the only row of class 2
    if library == "xgboost":
        from xgboost import XGBClassifier

        estimator = XGBClassifier(n_estimators=2, max_depth=2)
    elif library == "catboost":
        from catboost import CatBoostClassifier

        estimator = CatBoostClassifier(iterations=2, depth=2)
    else:
        from lightgbm import LGBMClassifier

        estimator = LGBMClassifier(n_estimators=2, min_child_samples=2, verbose=-1)
    explainer = LOO(n_jobs=1).fit(estimator, X, y)
    influence = explainer.explain(X_test, y_test)
    assert np.isfinite(influence.values).all()
    # without its only row, the class has no probability, so that the others gain
    own = explainer.self_influence().values
    assert own[5] > -math.log(1e-15) - 10
    assert np.argmax(own) == 5
    rows = np.arange(20) != 5
    model = quiet(estimator)
    two = np.where(y[rows] == 2, 1, y[rows])
    model.fit(X[rows], two)
    assert_allclose(
        influence[5] + log_loss_of_all(estimator, X, y, X_test, y_test),
        log_loss(model, X_test, y_test),
        rtol=1e-6,
    )


def log_loss_of_all(estimator, X, y, X_test, y_test):
    return log_loss(quiet(estimator).fit(X, y), X_test, y_test)


def quiet(estimator):
    model = clone(estimator)
    if type(model).__module__.startswith("catboost"):
        model.set_params(verbose=False, allow_writing_files=False)
    return model


class CountingRegressor(HistGradientBoostingRegressor):
    """Notes how many OpenMP threads its fits may take."""

    threads: ClassVar[set[int]] = set()

    def fit(self, X, y, sample_weight=None):
        pools = threadpool_info()
        found = {pool["num_threads"] for pool in pools if pool["user_api"] == "openmp"}
        self.threads.update(found)
        return super().fit(X, y, sample_weight)


def test_copies_of_scikit_learns_boosting_have_one_thread():
    X, y, X_test, y_test = table(12, 2)
    with threadpool_limits(2, user_api="openmp"):
        LOO(n_jobs=1).fit(CountingRegressor(max_iter=1), X, y).explain(X_test, y_test)
    assert CountingRegressor.threads == {1}


def test_rows_of_one_class_and_no_rows_are_not_handed_to_the_estimator():
    X, _, X_test, _ = table(3, 2)
    y = np.array(["u", "v", "v"])
    explainer = LOO(n_jobs=1).fit(ShareClassifier(), X, y)
    prediction = explainer.explain(X_test, np.array(["u", "v"]), output="prediction")
    assert_allclose(prediction[0], [0.0 - 1 / 3, 1.0 - 2 / 3], rtol=1e-12)
    assert_allclose(prediction[1], [1 / 2 - 1 / 3, 1 / 2 - 2 / 3], rtol=1e-12)
    loss = explainer.explain(X_test, np.array(["u", "v"]))
    assert_allclose(loss[0, 0], -math.log(1e-15) - math.log(3), rtol=1e-12)


def test_self_influence_is_the_diagonal():
    X, y, *_ = table()
    for explainer in (
        LOO(n_jobs=1),
        SubSample(n_models=20, n_jobs=1),
        DataShapley(n_permutations=3, truncation=0, n_jobs=1),
    ):
        explainer.fit(LinearRegression(), X, y)
        with pytest.warns(SelfExplanationWarning):
            influence = explainer.explain(X, y).values
        own = explainer.self_influence()
        assert_allclose(own, np.diagonal(influence), rtol=1e-9, atol=1e-12)
        hollow = influence - np.diag(np.diagonal(influence))
        assert_allclose(
            explainer.total(X, y, exclude_self=True),
            hollow.sum(axis=1),
            rtol=1e-9,
            atol=1e-10,
        )
        assert_array_equal(explainer.explain(X, y, exclude_self=True), hollow)


def test_loo_by_weight_keeps_the_table():
    X, y, X_test, y_test = table()
    weight = np.linspace(0.5, 2.0, len(y))
    mean = np.average(y, weights=weight)
    desired = []
    for i in range(len(y)):
        without = weight.copy()
        without[i] = 0.0
        new = np.average(y, weights=without)
        desired.append((new - y_test) ** 2 / 2 - (mean - y_test) ** 2 / 2)
    for by, n_rows in (("drop", len(y) - 1), ("weight", len(y))):
        FITS.clear()
        explainer = LOO(by=by, n_jobs=1).fit(
            MeanRegressor(), X, y, sample_weight=weight
        )
        influence = explainer.explain(X_test, y_test)
        assert_allclose(influence, desired, rtol=1e-9, atol=1e-14)
        assert [len(y)] + [n_rows] * len(y) == FITS


def test_subsample_of_means_is_the_difference_of_means():
    X, y, X_test, y_test = table()
    explainer = SubSample(n_models=30, share=0.5, n_jobs=1, random_state=4)
    explainer.fit(MeanRegressor(), X, y)
    is_in = explainer.is_in_
    assert (is_in.sum(axis=1) == 12).all()
    influence = explainer.explain(X_test, y_test)
    means = np.array([y[rows].mean() for rows in is_in])
    losses = 0.5 * (means[:, np.newaxis] - y_test) ** 2
    desired = [
        losses[~is_in[:, i]].mean(axis=0) - losses[is_in[:, i]].mean(axis=0)
        for i in range(len(y))
    ]
    assert_allclose(influence, desired, rtol=1e-9, atol=1e-13)
    assert_allclose(
        explainer.total(X_test, y_test), np.sum(desired, axis=1), rtol=1e-9, atol=1e-12
    )
    # in expectation, a mean of 12 moves by (y - mean of the others) / 12; the errors of
    # 4000 means, half of them with the row, stay below five standard errors
    error = 5 * means.std() * 2 / 4000**0.5
    many = SubSample(n_models=4000, share=0.5, n_jobs=1).fit(MeanRegressor(), X, y)
    moved = many.explain(X_test[:1], output="prediction")[:, 0]
    assert_allclose(moved, -(y - y.mean()) * 2 / 23, atol=error)


def test_labels_of_frames_are_kept():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    X, y, X_test, y_test = table(12, 3)
    desired = LOO(n_jobs=1).fit(DecisionTreeRegressor(random_state=0), X, y)
    desired = desired.explain(X_test, y_test)
    names = [f"row {i}" for i in range(12)]
    frame = pandas.DataFrame(X, index=names, columns=list("abc"))
    series = pandas.Series(y, index=names)
    test = pandas.DataFrame(X_test, columns=list("abc"))
    explainer = LOO(n_jobs=1).fit(DecisionTreeRegressor(random_state=0), frame, series)
    influence = explainer.explain(test, y_test)
    assert influence.to_frame().index.tolist() == names
    assert_array_equal(influence, desired)
    explainer.fit(
        DecisionTreeRegressor(random_state=0),
        polars.DataFrame(X, schema=list("abc")),
        polars.Series(y),
    )
    influence = explainer.explain(polars.DataFrame(X_test, schema=list("abc")), y_test)
    assert_array_equal(influence, desired)


def test_text_columns_go_to_the_pipeline():
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    X, y, X_test, _ = table(14, 3)
    frame = pandas.DataFrame({"a": X[:, 0], "kind": np.where(X[:, 1] > 0, "p", "q")})
    test = pandas.DataFrame({"a": X_test[:, 0], "kind": ["p", "q", "never seen"]})
    encoder = OneHotEncoder(handle_unknown="ignore")
    estimator = make_pipeline(
        make_column_transformer((encoder, ["kind"]), remainder="passthrough"),
        DecisionTreeRegressor(random_state=0),
    )
    explainer = LOO(n_jobs=1).fit(estimator, frame, y)
    base = clone(estimator).fit(frame, y).predict(test)
    kept = np.arange(14) != 6
    moved = clone(estimator).fit(frame[kept], y[kept]).predict(test)
    assert_allclose(
        explainer.explain(test, output="prediction")[6], moved - base, atol=1e-14
    )


def test_errors_come_before_long_work():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, X_test, y_test = table(classes=["u", "v"])
    mean, share = MeanRegressor(), ShareClassifier()
    with pytest.raises(NotFittedError):
        LOO().explain(X_test, y_test)
    with pytest.raises(ValueError, match="by='remove'"):
        LOO(by="remove").fit(share, X, y)
    with pytest.raises(TypeError, match="takes no sample_weight, which by='weight'"):
        LOO(by="weight").fit(share, X, y)
    with pytest.raises(TypeError, match="takes no sample_weight, which sample_weight"):
        LOO().fit(share, X, y, sample_weight=np.ones(24))
    with pytest.raises(TypeError, match="predict_proba"):
        LOO().fit(LinearSVC(), X, y)
    booster = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(X, y).booster_
    for wrong in (booster, MeanRegressor, "model.txt"):
        with pytest.raises(TypeError, match="retraining needs an estimator"):
            LOO().fit(wrong, X, y)
    with pytest.raises(ValueError, match="init_score"):
        LOO().fit(share, X, y, init_score=np.zeros(24))
    for wrong in ({"n_models": 1}, {"share": 1.0}, {"share": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SubSample(**wrong).fit(share, X, y)
    with pytest.raises(ValueError, match="rows are in all or none of the 3 subsets"):
        SubSample(n_models=3).fit(share, X, y)
    for wrong in ({"n_permutations": 0}, {"truncation": -1.0}, {"convergence": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DataShapley(**wrong).fit(share, X, y)
    with pytest.raises(TypeError, match="random_state"):
        LOO(random_state=1.5).fit(share, X, y)
    explainer = LOO(n_jobs=1).fit(share, X, y)
    with pytest.raises(ValueError, match="does not explain output='raw_score'"):
        explainer.explain(X_test, y_test, output="raw_score")
    with pytest.raises(ValueError, match="Got label 'w'"):
        explainer.explain(X_test, np.full(len(y_test), "w"))
    with pytest.raises(ValueError, match="y is None"):
        explainer.explain(X_test)
    assert FITS == []
    assert mean.get_params() == {"shift": 0.0, "stop_at": None}


def test_parameters_are_kept_as_given():
    for explainer in EXPLAINERS:
        assert clone(explainer).get_params() == explainer.get_params()
