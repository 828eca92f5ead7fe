"""LOO, SubSample and DataShapley: explicit refits, closed-form games, checkpoints."""

import itertools
import math
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from tests.naive.shapley import enumerate_shapley
from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.retraining import LOO, DataShapley, SubSample
from treeinf.training.checkpoint import RecordFile

FITS = []
"""Row counts of the fits of `MeanRegressor` in this process."""


class Stopped(Exception):
    """Stands for a run that is killed."""


class MeanRegressor(RegressorMixin, BaseEstimator):
    """Predicts the weighted mean of its targets; can stop a run."""

    def __init__(self, shift=0.0, stop_at=None):
        self.shift = shift
        self.stop_at = stop_at

    def fit(self, X, y, sample_weight=None):
        if self.stop_at is not None and len(FITS) >= self.stop_at:
            raise Stopped
        FITS.append(len(y))
        self.mean_ = np.average(y, weights=sample_weight) + self.shift
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class SumRegressor(RegressorMixin, BaseEstimator):
    """Predicts the sum of its targets: an additive game."""

    def fit(self, X, y):
        self.sum_ = np.sum(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.sum_)


class ShareClassifier(ClassifierMixin, BaseEstimator):
    """Predicts the shares of the classes it has met."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.share_ = counts / counts.sum()
        return self

    def predict_proba(self, X):
        return np.tile(self.share_, (len(X), 1))

    def predict(self, X):
        return np.full(len(X), self.classes_[np.argmax(self.share_)])


@pytest.fixture(autouse=True)
def _count_from_zero():
    FITS.clear()


def table(n=24, n_test=7, classes=None, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + n_test, 3))
    y = X[:, 0] + 0.5 * rng.normal(size=n + n_test)
    if classes is not None:
        codes = np.digitize(y, np.linspace(-0.6, 0.6, len(classes) - 1))
        y = np.asarray(classes)[codes]
    return X[:n], y[:n], X[n:], y[n:]


def log_loss(model, X, y):
    columns = {label: k for k, label in enumerate(model.classes_)}
    probability = model.predict_proba(X)
    return np.array(
        [
            -math.log(max(row[columns[label]] if label in columns else 0.0, 1e-15))
            for row, label in zip(probability, y, strict=True)
        ]
    )


def leave_one_out(estimator, X, y, X_test, y_test, loss):
    base = loss(clone(estimator).fit(X, y), X_test, y_test)
    lines = []
    for i in range(len(y)):
        rows = np.arange(len(y)) != i
        lines.append(loss(clone(estimator).fit(X[rows], y[rows]), X_test, y_test))
    return np.array(lines) - base


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


def test_shapley_of_an_additive_game_is_each_rows_own_part():
    X, y, X_test, _ = table(6, 2)
    explainer = DataShapley(n_permutations=3, truncation=0, n_jobs=1)
    explainer.fit(SumRegressor(), X, y)
    added = explainer.explain(X_test, output="prediction").values
    # the first to come is measured against the base rate, the mean
    first = [
        np.random.default_rng([0, number]).permutation(6)[0] for number in range(3)
    ]
    desired = -y - np.array([(-y.mean()) * (first.count(i) / 3) for i in range(6)])
    assert_allclose(added, np.tile(desired[:, np.newaxis], 2), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("task", ["regression", "classes"])
def test_shapley_goes_to_the_value_by_enumeration(task):
    if task == "regression":
        X, y, X_test, y_test = table(5, 3)
        estimator, loss = MeanRegressor(), lambda m, X, y: (m.predict(X) - y) ** 2 / 2
        nothing = (y.mean() - y_test) ** 2 / 2
    else:
        X, y, X_test, y_test = table(5, 3, classes=["u", "v"])
        assert len(set(y)) == 2
        estimator, loss = ShareClassifier(), log_loss
        share = {label: np.mean(y == label) for label in y}
        nothing = np.array([-math.log(share[label]) for label in y_test])

    def game(rows):
        rows = sorted(rows)
        if not rows:
            return nothing
        return loss(clone(estimator).fit(X[rows], y[rows]), X_test, y_test)

    desired = -np.array(enumerate_shapley(game, 5))
    explainer = DataShapley(n_permutations=4000, truncation=0, n_jobs=1)
    influence = explainer.fit(estimator, X, y).explain(X_test, y_test)
    # efficiency holds exactly, the values up to six standard errors
    assert_allclose(influence.sum(axis=0), nothing - game(range(5)), atol=1e-11)
    error = explainer.standard_error_
    assert (error > 0).all()
    assert (np.abs(influence.values.sum(1) - desired.sum(1)) < 6 * error).all()
    assert_allclose(explainer.total(X_test, y_test), influence.sum(), rtol=1e-9)


def test_shapley_truncates_and_stops():
    X, y, X_test, y_test = table(40, 5)
    full = DataShapley(n_permutations=20, truncation=0, n_jobs=1)
    full.fit(MeanRegressor(shift=4.0), X, y).total(X_test, y_test)
    n_full = len(FITS)
    FITS.clear()
    cut = DataShapley(n_permutations=20, truncation=0.5, n_jobs=1)
    cut.fit(MeanRegressor(shift=4.0), X, y).total(X_test, y_test)
    assert len(FITS) < 0.8 * n_full
    # a single row is not handed to the estimator; all rows once, to compare with
    assert n_full == 20 * 39 + 1
    soon = DataShapley(n_permutations=500, truncation=0, convergence=0.5, n_jobs=1)
    soon.fit(MeanRegressor(), X, y).total(X_test, y_test)
    assert soon.n_permutations_ < 500
    assert soon.n_permutations_ % 10 == 0
    mean = np.abs(soon.total(X_test, y_test).values).mean()
    assert soon.standard_error_.mean() <= 0.5 * mean


EXPLAINERS = [
    LOO(n_jobs=1),
    SubSample(n_models=12, share=0.5, n_jobs=1),
    DataShapley(n_permutations=3, truncation=0, n_jobs=1),
]


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_an_interrupted_run_goes_on_and_computes_nothing_twice(explainer, tmp_path):
    X, y, X_test, y_test = table(10, 4)
    desired = clone(explainer).fit(MeanRegressor(), X, y).explain(X_test, y_test)
    n_fits = len(FITS)
    FITS.clear()
    kept = clone(explainer).set_params(checkpoint=tmp_path / "kept")
    kept.fit(MeanRegressor(), X, y)
    # the run is killed in its n-th fit; the parameter is not part of what is kept
    kept._learner.estimator.stop_at = n_fits // 2
    with pytest.raises(Stopped):
        kept.explain(X_test, y_test)
    done = len(FITS)
    assert done == n_fits // 2
    resumed = clone(kept).fit(MeanRegressor(), X, y)
    influence = resumed.explain(X_test, y_test)
    assert_array_equal(influence, desired)
    if not isinstance(explainer, DataShapley):  # whole orders are kept
        assert len(FITS) == n_fits
    assert len(FITS) < n_fits + done
    FITS.clear()
    assert_array_equal(resumed.explain(X_test, y_test), desired)
    assert FITS == []
    again = clone(kept).fit(MeanRegressor(), X, y)
    if isinstance(explainer, DataShapley):
        again.total(X_test, y_test)
        FITS.clear()
    assert_allclose(again.total(X_test, y_test), desired.sum(), rtol=1e-12, atol=1e-14)
    own = again.self_influence()
    n_own = len(FITS)
    assert n_own > 0
    assert_array_equal(again.self_influence(), own)
    assert len(FITS) == n_own
    if not isinstance(explainer, DataShapley):
        again.explain(X_test, y_test, output="prediction")
        assert len(FITS) == n_own  # the predictions are there


def test_a_checkpoint_is_gone_on_with_by_more_models(tmp_path):
    X, y, X_test, y_test = table(8, 2)
    for more, less in (
        (SubSample(n_models=20, n_jobs=1), {"n_models": 12}),
        (DataShapley(n_permutations=8, truncation=0, n_jobs=1), {"n_permutations": 5}),
    ):
        desired = clone(more).fit(MeanRegressor(), X, y).explain(X_test, y_test)
        kept = clone(more).set_params(checkpoint=tmp_path / type(more).__name__, **less)
        kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
        n_fits = len(FITS)
        kept = clone(more).set_params(checkpoint=tmp_path / type(more).__name__)
        influence = kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
        assert_array_equal(influence, desired)
        assert 0 < len(FITS) - n_fits < n_fits


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    X, y, X_test, y_test = table(8, 2)
    kept = LOO(n_jobs=1, checkpoint=tmp_path / "kept")
    kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
    files = {path: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    other = X.copy()
    other[3, 1] += 1e-9
    weight = np.linspace(1, 2, 8)
    for what, explainer, arguments in (
        ("estimator", kept, (MeanRegressor(shift=1.0), X, y)),
        ("train rows", kept, (MeanRegressor(), other, y)),
        ("train rows", kept, (MeanRegressor(), X, y + 1e-9)),
        ("parameters", clone(kept).set_params(by="weight"), (MeanRegressor(), X, y)),
        ("parameters", clone(kept).set_params(random_state=1), (MeanRegressor(), X, y)),
        (
            "method",
            SubSample(n_models=20, checkpoint=tmp_path / "kept"),
            (MeanRegressor(), X, y),
        ),
    ):
        with pytest.raises(ValueError, match=rf"another run; different are: .*{what}"):
            clone(explainer).fit(*arguments)
    with pytest.raises(ValueError, match="different are: sample_weight"):
        clone(kept).fit(MeanRegressor(), X, y, sample_weight=weight)
    assert files == {path: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for path, words in (
        (tmp_path / "mine", "other files .notes.txt."),
        (tmp_path / "mine" / "notes.txt", "is a file"),
    ):
        with pytest.raises(ValueError, match=words):
            clone(kept).set_params(checkpoint=path).fit(MeanRegressor(), X, y)
    with pytest.raises(ValueError, match="needs an integer seed"):
        clone(kept).set_params(random_state=None).fit(MeanRegressor(), X, y)


def test_records_outlive_a_torn_end_and_refuse_damage(tmp_path):
    path = tmp_path / "a.records"
    values = np.arange(24.0).reshape(4, 3, 2)
    records = RecordFile(path, (3, 2))
    for number in (5, 2, 9):
        records.append(number, values[number % 4])
    whole = path.read_bytes()
    assert_array_equal(RecordFile(path, (3, 2)).read(2), values[2])
    for lost in range(1, len(whole)):
        path.write_bytes(whole[:-lost])
        torn = RecordFile(path, (3, 2))
        assert 9 not in torn
        if 2 in torn:
            assert_array_equal(torn.read(2), values[2])
        torn.append(7, values[3])
        assert_array_equal(RecordFile(path, (3, 2)).read(7), values[3])
    damaged = bytearray(whole)
    damaged[40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        RecordFile(path, (3, 2))
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="another shape"):
        RecordFile(path, (6, 1))


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_any_number_of_processes_gives_the_same_bits(explainer, tmp_path):
    X, y, X_test, y_test = table(12, 3, classes=["u", "v"])
    forest = RandomForestClassifier(n_estimators=3)
    results = []
    for n_jobs in (1, 2):
        one = clone(explainer).set_params(n_jobs=n_jobs, random_state=5)
        one.set_params(checkpoint=tmp_path / str(n_jobs)).fit(forest, X, y)
        results.append(one.explain(X_test, y_test).values)
    assert_array_equal(*results)
    assert np.abs(results[0]).max() > 0
    other = clone(explainer).set_params(random_state=6).fit(forest, X, y)
    assert (other.explain(X_test, y_test).values != results[0]).any()


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


def test_catboost_keeps_its_categories(tmp_path):
    catboost = pytest.importorskip("catboost")
    pandas = pytest.importorskip("pandas")
    X, y, X_test, y_test = table(16, 3)
    frame = pandas.DataFrame({"a": X[:, 0], "kind": np.where(X[:, 1] > 0, "p", "q")})
    test = pandas.DataFrame({"a": X_test[:, 0], "kind": ["p", "q", "p"]})
    estimator = catboost.CatBoostRegressor(
        iterations=3, depth=2, cat_features=["kind"], random_seed=1
    )
    explainer = LOO(n_jobs=1, checkpoint=tmp_path / "kept").fit(estimator, frame, y)
    influence = explainer.explain(test, y_test)
    assert np.abs(influence.values).max() > 0
    again = LOO(n_jobs=1, checkpoint=tmp_path / "kept").fit(estimator, frame, y)
    assert_array_equal(again.explain(test, y_test), influence)


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


def test_the_slow_twin_knows_a_game_by_hand():
    # two gloves: left, left, right; a pair is worth 1
    def game(rows):
        return float(2 in rows and (0 in rows or 1 in rows))

    assert_allclose(enumerate_shapley(game, 3), [1 / 6, 1 / 6, 4 / 6], rtol=1e-15)
    assert len(list(itertools.permutations(range(3)))) == 6
