"""The rows of each tree, for the installed versions; `make test-versions` tries others.

Each model says by itself which rows its trees saw, or its library is listened to, so
that nothing here depends on how treeinf draws.
"""

import numpy as np
import pytest
from sklearn import ensemble as sk
from sklearn.ensemble import _gb
from sklearn.ensemble._hist_gradient_boosting import gradient_boosting as hist

import treeinf
from treeinf.adapters.lightgbm.row_draws import BaggingDraws, GossDraws
from treeinf.adapters.sklearn.row_sampling import BoostingSampler
from treeinf.adapters.train_rows import read_with_rows
from treeinf.adapters.xgboost.row_draws import ExactDraws, UniformDraws
from treeinf.errors import BagsNotFoundError
from treeinf.trace import TrainingTrace

N_ROWS, N_TREES, RATE = 120, 4, 0.5


def make_table(seed=0):
    """Return one column that tells all rows apart, and targets that do too."""
    X = np.arange(N_ROWS, dtype=float)[:, np.newaxis]
    return X, np.random.default_rng(seed).normal(size=N_ROWS)


def read_off(predict, y, tolerance):
    """Return which rows each tree saw, shape (n_rows, n_trees).

    The trees have a leaf for each row that they saw, so that their step takes these
    rows, and no others, to their targets.
    """
    seen = np.empty((len(y), N_TREES), bool)
    before = np.zeros(len(y))
    for tree in range(N_TREES):
        after = predict(tree + 1)
        seen[:, tree] = np.abs(after - before - RATE * (y - before)) < tolerance
        before = after
    assert 0.1 < seen.mean() < 1.0
    return seen


def replay(model, X, y):
    ensemble, rows, init_score = read_with_rows(model, X)
    return TrainingTrace.build(
        ensemble, rows, y, init_score=init_score, on_mismatch="ignore"
    )


def assert_exact(model, X, y, seen=None):
    """Check that the bags of all trees are found, and that they are the true ones."""
    trace = replay(model, X, y)
    n = trace.ensemble.n_iterations
    assert trace.report.verdict == "exact", trace.report.explanation
    assert str(trace.report.bags).startswith(f"bags of {n} of {n} iterations found")
    if seen is not None:
        assert ((treeinf.in_bag(model, X, y) > 0) == seen).all()


def assert_not_found(model, X, y):
    """Check that bags which differ in one row are noticed, and none is believed."""
    trace = replay(model, X, y)
    assert trace.report.verdict == "subsampled"
    assert trace.report.explanation.startswith("Each tree was fitted on a sample of")
    bags = trace.rows.bags
    assert not bags.of_tree.size or (bags.of_tree == -1).all()
    with pytest.raises(BagsNotFoundError, match="was not found"):
        treeinf.in_bag(model, X, y)


# LightGBM.

LIGHTGBM = {
    "bagging": {"bagging_fraction": 0.7, "bagging_freq": 1},
    "a seed": {"bagging_fraction": 0.5, "bagging_freq": 2, "seed": 9},
}
LIGHTGBM_BY_VALUES = {
    "classes": {"bagging_fraction": 0.6, "bagging_freq": 1, "objective": "multiclass"},
    "by class": {
        **{"pos_bagging_fraction": 0.9, "neg_bagging_fraction": 0.4},
        **{"bagging_freq": 1, "objective": "binary"},
    },
    "goss": {"boosting": "goss"},
    "goss of two classes": {"boosting": "goss", "objective": "binary"},
    "columns": {"bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.5},
}


def train_lightgbm(X, y, n=N_TREES, **params):
    lightgbm = pytest.importorskip("lightgbm")
    params = {"objective": "regression", "learning_rate": RATE, **params}
    params |= {"num_threads": 1, "verbose": -1}
    return lightgbm.train(params, lightgbm.Dataset(X, y, params=params), n)


def memorize_lightgbm(X, y, **params):
    """Train trees with a leaf for each row."""
    leaves = {"num_leaves": N_ROWS, "min_data_in_leaf": 1, "min_data_in_bin": 1}
    leaves |= {"min_sum_hessian_in_leaf": 0.0, "boost_from_average": False}
    return train_lightgbm(X, y, **leaves, **params)


@pytest.mark.parametrize("setting", LIGHTGBM)
def test_lightgbm(setting):
    X, y = make_table()
    booster = memorize_lightgbm(X, y, **LIGHTGBM[setting])
    seen = read_off(lambda n: booster.predict(X, num_iteration=n), y, 1e-5)
    assert_exact(booster, X, y, seen)


def draw_scores(n_rows=400):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_rows, 4)).astype(np.float32)
    return X, X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=n_rows)


@pytest.mark.parametrize("setting", LIGHTGBM_BY_VALUES)
def test_lightgbm_of_other_losses(setting):
    params = {"num_leaves": 8, **LIGHTGBM_BY_VALUES[setting]}
    X, y = draw_scores()
    if params.get("objective") == "multiclass":
        y, params["num_class"] = np.digitize(y, [-1.0, 1.0]), 3
    elif params.get("objective") == "binary":
        y = (y > 0.4) * 1
    assert_exact(train_lightgbm(X, y, 8, **params), X, y)


def test_lightgbm_forest():
    """Each tree takes the rows that it saw from the mean to their targets."""
    X, y = make_table()
    params = {"num_leaves": N_ROWS, "min_data_in_leaf": 1, "min_data_in_bin": 1}
    params |= {"min_sum_hessian_in_leaf": 0.0, "boosting": "rf"}
    booster = train_lightgbm(X, y, bagging_fraction=0.6, bagging_freq=1, **params)
    values = [booster.predict(X, start_iteration=k, num_iteration=1) for k in range(4)]
    seen = np.abs(np.array(values).T - y[:, np.newaxis]) < 1e-5
    assert 0.4 < seen.mean() < 0.8
    assert (treeinf.in_bag(booster, X, y) == seen).all()


# XGBoost.

XGBOOST = {
    "hist": {"subsample": 0.7, "seed": 5},
    "exact": {"subsample": 0.6, "tree_method": "exact"},
    "gradients": {"subsample": 0.5, "sampling_method": "gradient_based"},
}
XGBOOST_BY_VALUES = {
    "approx": {"subsample": 0.5, "tree_method": "approx"},
    "parallel trees": {"subsample": 0.7, "num_parallel_tree": 2},
    "classes": {"subsample": 0.6, "objective": "multi:softprob", "num_class": 3},
    "columns": {"subsample": 0.6, "colsample_bynode": 0.5},
}


def train_xgboost(X, y, n=N_TREES, **params):
    xgboost = pytest.importorskip("xgboost")
    params = {"eta": RATE, "nthread": 1, **params}
    return xgboost.train(params, xgboost.DMatrix(X, y, nthread=1), n)


def memorize_xgboost(X, y, **params):
    """Train trees with a leaf for each row."""
    leaves = {"max_depth": 40, "min_child_weight": 0.0, "lambda": 0.0, "base_score": 0}
    return train_xgboost(X, y, **leaves, **params)


@pytest.mark.parametrize("setting", XGBOOST)
def test_xgboost(setting):
    xgboost = pytest.importorskip("xgboost")
    X, y = make_table()
    booster = memorize_xgboost(X, y, **XGBOOST[setting])
    rows = xgboost.DMatrix(X)
    seen = read_off(
        lambda n: booster.predict(rows, iteration_range=(0, n)).astype(float), y, 1e-5
    )
    assert_exact(booster, X, y, seen)


@pytest.mark.parametrize("setting", XGBOOST_BY_VALUES)
def test_xgboost_of_other_kinds(setting):
    X, y = draw_scores()
    params = XGBOOST_BY_VALUES[setting]
    if setting == "classes":
        y = np.digitize(y, [-1.0, 1.0])
    assert_exact(train_xgboost(X, y, 6, max_depth=3, **params), X, y)


# scikit-learn.


def listen(monkeypatch, module, name):
    """Keep what a function of the library returns."""
    heard, function = [], getattr(module, name)

    def tell(*args, **kwargs):
        heard.append(function(*args, **kwargs))
        return heard[-1]

    monkeypatch.setattr(module, name, tell)
    return heard


@pytest.mark.parametrize("seed", [3, None])
def test_sklearn_gradient_boosting(monkeypatch, seed):
    X, y = draw_scores()
    masks = listen(monkeypatch, _gb, "_random_sample_mask")
    model = sk.GradientBoostingRegressor(
        n_estimators=5, subsample=0.6, random_state=seed
    ).fit(X, y)
    assert len(masks) == 5
    assert_exact(model, X, y, np.array(masks).T)


@pytest.mark.parametrize("library", [_gb, hist])
def test_sklearn_early_stopping(monkeypatch, library):
    X, y = draw_scores()
    splits = listen(monkeypatch, library, "train_test_split")
    if library is _gb:
        model = sk.GradientBoostingRegressor(
            n_estimators=5, n_iter_no_change=3, random_state=1
        )
    else:
        model = sk.HistGradientBoostingRegressor(
            max_iter=5, early_stopping=True, random_state=1
        )
    model.fit(X, y)
    kept = np.isin(X[:, 0], np.asarray(splits[0][0])[:, 0].astype(np.float32))
    assert 300 < kept.sum() < 400
    seen = treeinf.in_bag(model, X, y)
    assert_exact(model, X, y, np.repeat(kept[:, np.newaxis], seen.shape[1], axis=1))


@pytest.mark.parametrize("kind", ["RandomForest", "ExtraTrees"])
def test_sklearn_forests(kind):
    X, y = draw_scores()
    model = getattr(sk, f"{kind}Regressor")(
        n_estimators=4, bootstrap=True, max_samples=0.7, random_state=2
    ).fit(X, y)
    drawn = [np.bincount(rows, minlength=len(y)) for rows in model.estimators_samples_]
    assert (treeinf.in_bag(model, X, y) == np.array(drawn).T).all()


# A generator that draws one row otherwise.


def turn_bits(bits):
    """Swap two rows of each bag, or draw them both otherwise."""
    bits[..., 0] ^= np.uint64(0b1100000)
    return bits


def turn_rows(bag):
    bag[5:7] = bag[5:7] == 0
    return bag


CHANGED = {
    "lightgbm bagging": (BaggingDraws, "draw"),
    "lightgbm goss": (GossDraws, "draw"),
    "xgboost hist": (UniformDraws, "draw_words"),
    "xgboost exact": (ExactDraws, "draw"),
    "sklearn": (BoostingSampler, "_draw_bags"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_generator_is_noticed(name, monkeypatch):
    X, y = make_table()
    match name.split():
        case ["lightgbm", "goss"]:
            X, y = draw_scores()
            model = train_lightgbm(X, y, 8, boosting="goss", num_leaves=8)
        case ["lightgbm", setting]:
            model = memorize_lightgbm(X, y, **LIGHTGBM[setting])
        case ["xgboost", setting]:
            model = memorize_xgboost(X, y, **XGBOOST[setting])
        case _:
            model = sk.GradientBoostingRegressor(
                n_estimators=4, subsample=0.6, random_state=3, max_depth=9
            ).fit(X, y)
    owner, method = CHANGED[name]
    draw = getattr(owner, method)

    def draw_otherwise(self, *args, **kwargs):
        drawn = draw(self, *args, **kwargs)
        drawn = turn_bits(drawn) if drawn.dtype == np.uint64 else turn_rows(drawn)
        if hasattr(self, "bag"):
            self.bag = drawn[-1]
        return drawn

    assert_exact(model, X, y)
    monkeypatch.setattr(owner, method, draw_otherwise)
    assert_not_found(model, X, y)
