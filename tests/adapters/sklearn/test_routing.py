"""Rows reach scikit-learn's own leaves, whatever is in them."""

import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
import threadpoolctl
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import ensemble as sk
from sklearn import tree as sk_tree
from sklearn.base import clone
from sklearn.utils.fixes import parse_version

from tests.adapters.sklearn.models import (
    assert_same_model,
    hard_rows,
    make_rows,
    make_score,
    make_targets,
    own_leaves,
)
from tests.naive import routing as naive
from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.adapters.sklearn.reader import raw_score

OLD_SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9)
SMALL = {"max_iter": 6, "min_samples_leaf": 5, "max_leaf_nodes": 12}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small models are fitted fastest by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


TREES = (
    sk.RandomForestClassifier(6, random_state=0),
    sk.RandomForestRegressor(6, random_state=0),
    sk.ExtraTreesClassifier(6, random_state=0),
    sk.ExtraTreesRegressor(6, random_state=0),
    sk.BaggingClassifier(n_estimators=6, random_state=0),
    sk.BaggingRegressor(n_estimators=6, max_features=0.6, random_state=0),
    sk_tree.DecisionTreeClassifier(random_state=0),
    sk_tree.DecisionTreeRegressor(random_state=0, max_leaf_nodes=9),
    sk_tree.ExtraTreeClassifier(random_state=0),
    sk_tree.ExtraTreeRegressor(random_state=0),
)


def task_of(model):
    return "multiclass" if hasattr(model, "predict_proba") else "regression"


# Histogram-based gradient boosting.


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_histogram_hard_rows(task, missing):
    X = make_rows(missing=missing)
    kind = sk.HistGradientBoostingClassifier
    if task == "regression":
        kind = sk.HistGradientBoostingRegressor
    model = kind(**SMALL).fit(X, make_targets(X, task))
    ensemble = read_model(model)
    assert ensemble.n_outputs == (3 if task == "multiclass" else 1)
    assert not ensemble.input_rules.round_to_single
    assert_same_model(ensemble, model, hard_rows(ensemble, X, huge=True))


def test_histogram_split_on_missing_alone(rng):
    """What is missing goes right, all else left, infinity too."""
    X = rng.normal(size=(200, 1))
    X[::3] = np.nan
    model = sk.HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=2).fit(
        X, np.isnan(X[:, 0]) * 1.0
    )
    ensemble = read_model(model)
    assert np.isposinf(ensemble.threshold).all()
    assert_same_model(ensemble, model, np.array([[np.inf], [-np.inf], [np.nan], [0]]))


def test_histogram_infinite_training_values(rng):
    X = rng.choice([-np.inf, -1.0, 2.0, np.inf], (300, 2))
    y = np.isposinf(X[:, 0]) + 0.5 * np.isneginf(X[:, 1])
    model = sk.HistGradientBoostingRegressor(**SMALL)
    with np.errstate(invalid="ignore"):
        model.fit(X, y)
    ensemble = read_model(model)
    assert_same_model(ensemble, model, hard_rows(ensemble, X, huge=True))


LABELS = {
    "codes": [0.0, 1.0, 2.0, 3.0],
    "numbers": [-3.0, 0.1, 7.0, 1e9],
    "many": np.arange(200.0) * 3,
}


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("labels", sorted(LABELS))
def test_histogram_numeric_categories(rng, labels, missing):
    """Columns keep their places, and numbers are looked up among the labels."""
    n_rows = 4000 if labels == "many" else 400
    X = make_rows(n_rows)
    X[:, 2] = rng.choice(LABELS[labels], n_rows)
    X[rng.random(X.shape) < missing] = np.nan
    effect = np.nan_to_num(X[:, 2]) % 4 + np.nan_to_num(X[:, 1]) % 3
    model = sk.HistGradientBoostingRegressor(
        **(SMALL | {"categorical_features": [2, 1]})
    ).fit(X, effect + np.nan_to_num(X[:, 0]))
    ensemble = read_model(model)
    assert ensemble.is_categorical.any()
    assert (~ensemble.is_categorical).any()
    assert set(ensemble.feature[ensemble.is_categorical]) == {1, 2}
    assert ensemble.input_rules.categories[0] is None
    assert set(ensemble.input_rules.categories[2]) == set(LABELS[labels])
    rows = np.repeat(X[:4], 12, axis=0)
    rows[:, 2] = np.tile(
        [*LABELS[labels][:4], 2.5, -1, np.nan, 1e300, -1e9, 5, 3, 8], 4
    )
    assert_same_model(ensemble, model, np.concatenate([X[:200], rows]), is_naive=False)
    # the slow twin takes the codes
    codes = model._preprocess_X(rows, reset=False)
    own = np.argsort([1, 2, 0, 3, 4])
    twin_rows = codes[:, own]
    assert_array_equal(naive.find_leaves(ensemble, twin_rows), ensemble.apply(rows))


def test_histogram_categories_of_objects(rng):
    """Arrays of objects: texts and numbers mixed, None and NaN."""
    colour = rng.choice(["red", "green", "blue"], 300).astype(object)
    X = np.empty((300, 3), dtype=object)
    X[:, 0] = rng.normal(size=300)
    X[:, 1] = colour
    X[:, 2] = rng.integers(0, 5, 300)
    y = (colour == "red") + 0.2 * X[:, 2].astype(float)
    model = sk.HistGradientBoostingRegressor(**SMALL, categorical_features=[1]).fit(
        X, y
    )
    ensemble = read_model(model)
    assert ensemble.input_rules.categories == (None, ("blue", "green", "red"), None)
    rows = X[:20].copy()
    rows[:5, 1] = ["mauve", "red", np.nan, "", "blue"]
    assert_same_model(ensemble, model, rows, is_naive=False)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_histogram_frames(rng, kind):
    """Categorical columns of frames; labels unseen, missing and in another order."""
    if kind is pl.DataFrame and OLD_SKLEARN and not hasattr(kind, "__dataframe__"):
        pytest.skip("scikit-learn 1.8 reads Polars by a protocol that Polars dropped")
    n_rows = 300
    colour = rng.choice(["red", "green", "blue", "grey"], n_rows)
    number = rng.normal(size=n_rows)

    def frame(colour, code):
        plain = pd.DataFrame(
            {
                "size in m": number[: len(colour)],
                "colour": pd.Categorical(colour),
                "code": code,
                "place": pd.Categorical(np.asarray(code).astype(str)),
            }
        )
        if kind is pd.DataFrame:
            return plain
        table = pl.from_pandas(plain)
        return table if kind is pl.DataFrame else table.to_arrow()

    code = rng.choice([7.0, 3.0, 11.0], n_rows)
    X = frame(colour, code)
    reads_narwhals = parse_version(sklearn.__version__) >= parse_version("1.9")
    if not (reads_narwhals or hasattr(X, "__dataframe__")):
        # scikit-learn 1.8 finds categories by this protocol, which Polars 2 has dropped
        pytest.skip("scikit-learn 1.8 cannot fit the categories of this frame")
    y = (colour == "grey") + number * (code == 7)
    model = sk.HistGradientBoostingRegressor(**SMALL).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.input_rules.feature_names == (
        "size in m",
        "colour",
        "code",
        "place",
    )
    assert ensemble.input_rules.categories[1] == ("blue", "green", "grey", "red")
    assert ensemble.input_rules.categories[3] == ("11.0", "3.0", "7.0")
    assert ensemble.is_categorical.any()
    assert check_parity(ensemble, model, X, rows="all") < 1e-15
    other = frame(np.array(["mauve", "red", "grey", "blue"] * 9), code[:36] + 4)
    assert check_parity(ensemble, model, other) < 1e-15
    assert_allclose(ensemble.raw_score(other), raw_score(model, other), rtol=1e-12)


def test_histogram_missing_labels_of_a_frame(rng):
    colour = pd.Categorical(rng.choice(["red", "green", "blue"], 300))
    colour[::7] = np.nan
    X = pd.DataFrame({"colour": colour, "x": rng.normal(size=300)})
    y = np.asarray(colour.codes == -1) * 2.0 + (colour == "red")
    model = sk.HistGradientBoostingRegressor(**SMALL).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.input_rules.categories == (("blue", "green", "red"), None)
    assert check_parity(ensemble, model, X, rows="all") < 1e-15


def test_histogram_numeric_category_columns_of_a_frame(rng):
    """Columns chosen by name may hold numbers, which are labels then."""
    X = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice([7, 3, 11], 300)})
    model = sk.HistGradientBoostingRegressor(**SMALL, categorical_features=["c"])
    model.fit(X, (X["c"] == 7) + 0.1 * X["x"])
    ensemble = read_model(model)
    assert ensemble.input_rules.categories == (None, (3, 7, 11))
    other = X[:20].assign(c=np.arange(20))
    assert check_parity(ensemble, model, pd.concat([X, other]), rows="all") < 1e-15


def test_histogram_column_of_one_label(rng):
    """There scikit-learn predicts otherwise than it trained; predictions are read."""
    X = rng.normal(size=(300, 2))
    X[:, 1] = np.where(rng.random(300) < 0.4, np.nan, 5.0)
    model = sk.HistGradientBoostingRegressor(**SMALL, categorical_features=[1])
    model.fit(X, np.isnan(X[:, 1]) * 4.0 + 0.1 * X[:, 0])
    ensemble = read_model(model)
    assert "one label" in " ".join(ensemble.training.approximations)
    assert_same_model(ensemble, model, X, is_naive=False)


def test_histogram_single_leaves():
    X = np.arange(30.0)[:, np.newaxis]
    model = sk.HistGradientBoostingRegressor(max_iter=3).fit(X, X[:, 0])
    ensemble = read_model(model)
    assert (ensemble.n_trees, ensemble.n_nodes) == (3, 0)
    assert_same_model(ensemble, model, X)


def test_histogram_many_leaves(rng):
    X = rng.normal(size=(2000, 3))
    model = sk.HistGradientBoostingRegressor(
        max_iter=2, max_leaf_nodes=None, min_samples_leaf=1
    ).fit(X, X[:, 0] * X[:, 1])
    ensemble = read_model(model)
    assert ensemble.most_leaves > 256
    assert_same_model(ensemble, model, hard_rows(ensemble, X, huge=True))


# Trees that compare in single precision.


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_gradient_boosting_hard_rows(task):
    X = make_rows()
    kind = sk.GradientBoostingClassifier
    if task == "regression":
        kind = sk.GradientBoostingRegressor
    model = kind(n_estimators=8, random_state=0).fit(X, make_targets(X, task))
    ensemble = read_model(model)
    assert ensemble.input_rules.round_to_single
    assert_same_model(ensemble, model, hard_rows(ensemble, X, missing=False))


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("model", TREES, ids=lambda model: type(model).__name__)
def test_forest_hard_rows(model, missing):
    X = make_rows(missing=missing)
    model.fit(X, make_targets(X, task_of(model)))
    ensemble = read_model(model)
    assert ensemble.is_averaged
    rows = hard_rows(ensemble, X, missing=missing > 0, n_thresholds=10)
    assert_same_model(ensemble, model, rows)


def test_threshold_between_two_single_precision_numbers():
    """A row is rounded to float32 before it is compared with a float64 threshold."""
    low = np.float32(2.0**20)
    high = np.nextafter(low, np.float32(2.0**21))
    X = np.repeat([low, high], 20)[:, np.newaxis].astype(float)
    model = sk_tree.DecisionTreeRegressor().fit(X, X[:, 0] > low)
    ensemble = read_model(model)
    rows = np.linspace(float(low), float(high), 9)[:, np.newaxis]
    assert_same_model(ensemble, model, rows)
    assert len(np.unique(ensemble.apply(rows))) == 2


@pytest.mark.parametrize(
    "kind",
    [np.float32, np.asfortranarray, pd.DataFrame, pl.DataFrame, sparse.csr_array],
)
def test_rows_of_any_kind(kind):
    X = np.nan_to_num(make_rows())
    for model in (
        sk.GradientBoostingRegressor(n_estimators=3),
        sk.HistGradientBoostingRegressor(**SMALL),
        sk.RandomForestRegressor(3),
    ):
        model.fit(X, make_score(X))
        assert check_parity(read_model(model), model, kind(X), rows="all") < 1e-14


def test_names_of_columns_are_checked():
    X = pd.DataFrame(make_rows(), columns=list("abcde"))
    model = sk.RandomForestRegressor(2).fit(X, make_score(X.to_numpy()))
    ensemble = read_model(model)
    assert ensemble.input_rules.feature_names == tuple("abcde")
    assert check_parity(ensemble, model, X.to_numpy()) < 1e-14
    with pytest.raises(ValueError, match="another order"):
        ensemble.apply(X[list("bacde")])


# Whatever the settings.

SETTINGS = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(
            ["squared_error", "absolute_error", "quantile", "poisson", "gamma"]
        ),
        "max_leaf_nodes": st.sampled_from([2, 7, 31, None]),
        "min_samples_leaf": st.integers(1, 40),
        "max_depth": st.sampled_from([None, 1, 3]),
        "learning_rate": st.sampled_from([1.0, 0.1, 1 / 3]),
        "l2_regularization": st.sampled_from([0.0, 2.0]),
        "max_bins": st.sampled_from([3, 20, 255]),
        "max_features": st.sampled_from([0.5, 1.0]),
        "random_state": st.integers(0, 100),
    }
)


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    params=SETTINGS,
    missing=st.sampled_from([0.0, 0.2]),
    is_categorical=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_histogram_model(params, missing, is_categorical, seed):
    X = make_rows(120, missing, seed)
    y = np.exp(make_score(X, seed) / 4)
    given = {"categorical_features": [1, 2] if is_categorical else None}
    if params["loss"] == "quantile":
        given["quantile"] = 0.3
    if params["max_bins"] == 3:
        given["categorical_features"] = [2] if is_categorical else None
    model = sk.HistGradientBoostingRegressor(max_iter=3, **params, **given).fit(X, y)
    ensemble = read_model(model)
    rows = hard_rows(ensemble, X, n_base=1, n_thresholds=6, huge=not is_categorical)
    assert_same_model(ensemble, model, rows, is_naive=not is_categorical)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    number=st.integers(0, len(TREES) - 1),
    missing=st.sampled_from([0.0, 0.2]),
    depth=st.sampled_from([None, 1, 4]),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_forest(number, missing, depth, seed):
    model = clone(TREES[number]).set_params(random_state=seed)
    if "max_depth" in model.get_params():
        model.set_params(max_depth=depth)
    X = make_rows(100, missing, seed)
    model.fit(X, make_targets(X, task_of(model)))
    ensemble = read_model(model)
    rows = hard_rows(ensemble, X, n_base=1, n_thresholds=5, missing=missing > 0)
    assert_same_model(ensemble, model, rows, is_naive=False)
    assert own_leaves(model, rows).shape == (len(rows), ensemble.n_trees)
