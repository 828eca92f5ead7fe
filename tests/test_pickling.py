"""What is fitted or computed can be pickled and copied, and gives the same bits."""

import concurrent.futures
import copy
import functools
import multiprocessing
import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import ensemble as sk
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import treeinf as ti

N_TRAIN, N_TEST = 120, 6


@functools.cache
def make_rows(task="binary"):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N_TRAIN + N_TEST, 5)).round(2)
    signal = X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * rng.normal(size=len(X))
    return X, (signal > 0) * 1 if task == "binary" else signal


def fit_lightgbm(X, y):
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"num_leaves": 5, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
    return lightgbm.LGBMClassifier(n_estimators=5, **settings).fit(X, y)


def fit_xgboost(X, y):
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(X, y)


def fit_catboost(X, y, **given):
    catboost = pytest.importorskip("catboost")
    settings = {"iterations": 5, "depth": 3, "thread_count": 1, "verbose": False}
    settings |= {"allow_writing_files": False, **given}
    return catboost.CatBoostClassifier(**settings).fit(X, y)


def fit_catboost_on_labels(X, y):
    """Fit a model whose splits only CatBoost can evaluate."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    frame["group"] = [f"g{value:.0f}" for value in X[:, 4] * 4]
    return fit_catboost(frame, y, cat_features=["group"], one_hot_max_size=2)


def fit_init(X, y):
    return sk.GradientBoostingRegressor(n_estimators=5, init=LinearRegression()).fit(
        X, y
    )


FITTERS = {
    "LightGBM": fit_lightgbm,
    "XGBoost": fit_xgboost,
    "CatBoost": fit_catboost,
    "CatBoost, its own splits": fit_catboost_on_labels,
    "HistGradientBoosting": lambda X, y: sk.HistGradientBoostingClassifier(
        max_iter=5, max_leaf_nodes=5
    ).fit(X, y),
    "GradientBoosting": lambda X, y: sk.GradientBoostingClassifier(n_estimators=5).fit(
        X, y
    ),
    "GradientBoosting from another model": fit_init,
    "RandomForest": lambda X, y: sk.RandomForestClassifier(
        n_estimators=5, max_depth=3, random_state=0
    ).fit(X, y),
}
OF_FORESTS = ("LeafRefit", "TargetInfluence", "TreeSim", "Trex")
OF_MODELS = ("BoostIn", "LeafInfluence", *OF_FORESTS)
OF_ROWS = {
    "InputSim": {},
    "KNNShapley": {},
    "Random": {},
    "LOO": {"n_jobs": 1},
    "SubSample": {"n_models": 30, "n_jobs": 1},
    "DataShapley": {"n_permutations": 2, "n_jobs": 1},
}
SCORES = {
    "GradientNorm": {},
    "GradientVariance": {},
    "Loss": {},
    "OutOfBagProbability": {"n_jobs": 1},
    "OutOfFoldLoss": {"n_jobs": 1},
    "TrainingDynamics": {},
}


@functools.cache
def fit_model(name, in_pipeline=False):
    """Fit a model; gives (model, X, y, X_test, y_test)."""
    X, y = make_rows("regression" if name.endswith("another model") else "binary")
    train, test = slice(N_TRAIN), slice(N_TRAIN, None)
    rows = X
    if name == "CatBoost, its own splits":
        rows = pytest.importorskip("pandas").DataFrame(X, columns=list("abcde"))
        rows["group"] = [f"g{value:.0f}" for value in X[:, 4] * 4]
    model = FITTERS[name](X[train], y[train])
    if in_pipeline:
        steps = make_pipeline(StandardScaler(), FunctionTransformer()).fit(X[train])
        last = FITTERS[name](steps.transform(X[train]), y[train])
        model = make_pipeline(*(step for _, step in steps.steps), last)
    return model, rows[train], y[train], rows[test], y[test]


def fit(method, name="LightGBM", in_pipeline=False, **given):
    model, X, y, _, _ = fit_model(name, in_pipeline)
    return getattr(ti, method)(**given).fit(model, X, y)


def numbers(fitted, name="LightGBM"):
    """Compute what a fitted explainer or score gives."""
    if not hasattr(fitted, "total"):
        return (fitted.self_influence().values,)
    _, _, _, X_test, y_test = fit_model(name)
    return fitted.total(X_test, y_test).values, fitted.self_influence().values


def assert_same(fitted, again, name="LightGBM"):
    for value, expected in zip(
        numbers(again, name), numbers(fitted, name), strict=True
    ):
        assert_array_equal(value, expected)


@pytest.mark.parametrize(
    ("method", "name", "in_pipeline"),
    [
        (method, name, in_pipeline)
        for method in OF_MODELS
        for name in FITTERS
        for in_pipeline in (False, True)
        if method in OF_FORESTS or name != "RandomForest"
        if not (in_pipeline and name == "CatBoost, its own splits")  # it takes a frame
    ],
)
def test_an_explainer_of_any_model_pickles(method, name, in_pipeline):
    explainer = fit(method, name, in_pipeline)
    pickled = pickle.dumps(explainer)
    again = pickle.loads(pickled)
    assert_same(explainer, again, name)
    # what was computed along the way is not in the next pickle
    assert len(pickle.dumps(again)) <= 1.05 * len(pickled)


@pytest.mark.parametrize(("method", "given"), (OF_ROWS | SCORES).items())
def test_an_explainer_of_rows_pickles(method, given):
    name = "RandomForest" if method == "OutOfBagProbability" else "LightGBM"
    model, X, y, _, _ = fit_model(name)
    few = slice(N_TRAIN if method in SCORES else 30)  # some train a copy a row
    explainer = getattr(ti, method)(**given).fit(model, X[few], y[few])
    assert_same(explainer, pickle.loads(pickle.dumps(explainer)))


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda fitted: pickle.loads(
        pytest.importorskip("cloudpickle").dumps(fitted)
    ),
    "protocol 2": lambda fitted: pickle.loads(pickle.dumps(fitted, 2)),
}


@pytest.mark.parametrize("way", WAYS)
def test_any_way_to_copy_gives_the_same(way):
    explainer = fit("LeafInfluence")
    assert_same(explainer, WAYS[way](explainer))


def test_joblib_keeps_an_explainer_in_a_file(tmp_path):
    explainer = fit("LeafInfluence")
    joblib.dump(explainer, tmp_path / "explainer.joblib")
    assert_same(explainer, joblib.load(tmp_path / "explainer.joblib"))


def test_a_spawned_process_gets_an_explainer():
    explainer = fit("LeafInfluence", in_pipeline=True)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        values = pool.submit(numbers, explainer).result(timeout=300)
    for value, expected in zip(values, numbers(explainer), strict=True):
        assert_array_equal(value, expected)


def test_a_pickled_ensemble_is_frozen_as_before():
    ensemble = ti.read_model(fit_model("LightGBM")[0])
    again = pickle.loads(pickle.dumps(ensemble))
    for name, value in vars(ensemble).items():
        if isinstance(value, np.ndarray):
            found = getattr(again, name)
            assert not found.flags.writeable
            assert_array_equal(found, value)


def test_an_explainer_keeps_neither_the_rows_nor_the_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 300))
    model = fit_lightgbm(X, X[:, 0] > 0)
    for method in OF_MODELS:
        explainer = getattr(ti, method)().fit(model, X, X[:, 0] > 0)
        assert len(pickle.dumps(explainer)) < X.nbytes / 8


def test_a_fitted_cleaner_and_selector_pickle_with_their_reports():
    lightgbm = pytest.importorskip("lightgbm")
    X, y = make_rows()
    estimator = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    cleaner = ti.InfluenceCleaner(estimator, validation=3, random_state=0)
    selector = ti.InfluenceSelector(estimator, random_state=0)
    for unfitted in (cleaner, selector):
        assert repr(pickle.loads(pickle.dumps(unfitted))) == repr(unfitted)
        fitted = unfitted.fit(X, y)
        again = pickle.loads(pickle.dumps(copy.deepcopy(fitted)))
        assert_array_equal(again.kept_, fitted.kept_)
        assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        assert str(again.report_) == str(fitted.report_)


def test_results_pickle():
    explainer = fit("BoostIn")
    _, _, _, X_test, y_test = fit_model("LightGBM")
    influence = explainer.explain(X_test, y_test)
    assert_array_equal(pickle.loads(pickle.dumps(influence)).values, influence.values)
    ranked = explainer.top_k(X_test, y_test, k=3)
    assert_array_equal(pickle.loads(pickle.dumps(ranked)).values, ranked.values)
    trace = pickle.loads(pickle.dumps(explainer.trace_))
    assert str(trace.report) == str(explainer.reproduction_)
