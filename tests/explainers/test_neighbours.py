"""InputSim and KNNShapley: enumeration, definitions, frames."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError

from tests.naive.knn_shapley import worth
from tests.naive.shapley import enumerate_shapley
from treeinf.explainers.baselines.neighbours import InputSim, KNNShapley


def table(n, n_test, classes=None, seed=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + n_test, 3)) * [1.0, 10.0, 0.1]
    y = X[:, 0] + 0.1 * X[:, 1] + 3.0
    if classes is not None:
        y = np.asarray(classes)[np.digitize(y, [2.5, 3.5]) % len(classes)]
    return X[:n], y[:n], X[n:], y[n:]


def standardised(X, X_test):
    return (
        ((X - X.mean(axis=0)) / X.std(axis=0)).tolist(),
        ((X_test - X.mean(axis=0)) / X.std(axis=0)).tolist(),
    )


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("classes", [None, ["u", "v", "w"]])
def test_knn_shapley_equals_enumeration(n, k, classes):
    X, y, X_test, y_test = table(n, 3, classes)
    if n == 1:
        X = np.zeros_like(X)
        y_test = np.where([True, True, False], y[0], y_test)
    if classes is not None:
        y_test = np.where(np.isin(y_test, y), y_test, y[0])
    explainer = KNNShapley(n_neighbors=k)
    model = None if classes is None else RandomForestClassifier()
    if classes is None and n == 1:
        model = DecisionTree()
    influence = explainer.fit(model, X, y).explain(X_test, y_test)
    spread = X.std(axis=0)
    spread[spread == 0] = 1.0
    place = ((X - X.mean(axis=0)) / spread).tolist()
    test = ((X_test - X.mean(axis=0)) / spread).tolist()
    shift = 0 if classes else y.mean()
    for j in range(3):
        own = y_test[j] if classes else y_test[j] - shift
        target = y if classes else y - shift
        game = worth(place, target, test[j], own, k, classes is not None)
        desired = enumerate_shapley(game, n)
        assert_allclose(influence[:, j], desired, rtol=1e-10, atol=1e-13)


def DecisionTree():
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor()


@pytest.mark.parametrize("classes", [None, ["u", "v"]])
def test_knn_shapley_values_add_up(classes):
    X, y, X_test, y_test = table(500, 20, classes)
    explainer = KNNShapley(n_neighbors=7).fit(None, X, y)
    influence = explainer.explain(X_test, y_test)
    place, test = (np.array(part) for part in standardised(X, X_test))
    distance = ((place[:, np.newaxis] - test) ** 2).sum(axis=2)
    near = np.argsort(distance, axis=0, kind="stable")[:7]
    if classes is None:
        everything = -0.5 * (y[near].mean(axis=0) - y_test) ** 2
        nothing = -0.5 * (y.mean() - y_test) ** 2
    else:
        everything, nothing = (y[near] == y_test).mean(axis=0), 0.0
    assert_allclose(influence.sum(axis=0), everything - nothing, atol=1e-11)
    assert_allclose(
        explainer.total(X_test, y_test), influence.values.sum(axis=1), atol=1e-13
    )
    top = explainer.top_k(X_test, y_test, k=4)
    assert_array_equal(top.positions, influence.top(4).positions)
    weight = np.linspace(0, 2, 20)
    assert_allclose(
        explainer.explain(X_test, y_test, sample_weight=weight),
        influence.values * weight,
        rtol=1e-14,
    )


def test_mislabelled_rows_have_low_knn_shapley_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = (X[:, 0] > 0).astype(int)
    wrong = rng.choice(300, 30, replace=False)
    noisy = y.copy()
    noisy[wrong] = 1 - noisy[wrong]
    explainer = KNNShapley().fit(None, X[:300], noisy[:300])
    total = explainer.total(X[300:], y[300:]).values
    assert np.isin(np.argsort(total)[:30], wrong).mean() > 0.7


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean"])
def test_input_similarity_by_its_definition(measure):
    X, y, X_test, y_test = table(20, 6, ["u", "v"])
    explainer = InputSim(measure=measure).fit(None, X, y)
    influence = explainer.explain(X_test, y_test)
    place, test = standardised(X, X_test)
    for i in range(20):
        for j in range(6):
            a, b = np.array(place[i]), np.array(test[j])
            desired = {
                "dot": a @ b,
                "cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b),
                "euclidean": 1 / (1 + np.linalg.norm(a - b)),
            }[measure]
            desired *= 1 if y[i] == y_test[j] else -1
            assert_allclose(influence[i, j], desired, rtol=1e-11, atol=1e-14)
    own = explainer.self_influence().values
    norm = np.square(place).sum(axis=1)
    assert_allclose(own, norm if measure == "dot" else np.ones(20), rtol=1e-12)


def test_input_similarity_of_regression_has_the_sign_of_both_sides_of_the_mean():
    X, y, X_test, y_test = table(20, 6)
    influence = InputSim(measure="euclidean").fit(None, X, y).explain(X_test, y_test)
    sign = np.sign(np.outer(y - y.mean(), y_test - y.mean()))
    assert_array_equal(np.sign(influence), sign)


@pytest.mark.parametrize("explainer", [InputSim(), KNNShapley()])
def test_any_batches_and_threads_give_the_same_bits(explainer):
    X, y, X_test, y_test = table(300, 40, ["u", "v", "w"])
    desired = clone(explainer).set_params(n_jobs=1).fit(None, X, y)
    desired = desired.explain(X_test, y_test)
    for batch_size, n_jobs in ((1, 2), (7, 3), (64, 4)):
        one = clone(explainer).set_params(batch_size=batch_size, n_jobs=n_jobs)
        assert_array_equal(one.fit(None, X, y).explain(X_test, y_test), desired)


def test_categories_and_missing_values():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    columns = {
        "a": [0.0, 2.0, np.nan, 4.0],
        "kind": ["p", "q", None, "p"],
        "flat": [5, 5, 5, 5],
    }
    test = {"a": [2.0, np.nan], "kind": ["p", "new"], "flat": [5, 5]}
    y = ["u", "v", "u", "v"]
    root = np.sqrt(8 / 3)  # the standard deviation of 0, 2 and 4
    half = 0.5**0.5
    place = [[-2 / root, half, 0], [0, 0, half], [0, 0, 0], [2 / root, half, 0]]
    own = [[0, half, 0], [0, 0, 0]]
    distance = np.linalg.norm(np.array(place)[:, np.newaxis] - np.array(own), axis=2)
    sign = np.array([[1, -1], [-1, 1], [1, -1], [-1, 1]])
    desired = sign / (1 + distance)
    frame = pandas.DataFrame(columns, index=list("wxyz"))
    frame["kind"] = frame["kind"].astype("category")
    for rows, rows_test in (
        (frame, pandas.DataFrame(test)),
        (polars.DataFrame(columns), polars.DataFrame(test)),
    ):
        explainer = InputSim(measure="euclidean").fit(None, rows, y)
        influence = explainer.explain(rows_test, ["u", "v"])
        assert_allclose(influence, desired, rtol=1e-12)
    labels = InputSim().fit(None, frame, y).self_influence().to_frame().index
    assert labels.tolist() == list("wxyz")


def test_errors():
    X, y, X_test, y_test = table(20, 3)
    with pytest.raises(NotFittedError):
        InputSim().explain(X_test, y_test)
    with pytest.raises(ValueError, match="measure='near'"):
        InputSim(measure="near").fit(None, X, y)
    for wrong, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n_neighbors"):
            KNNShapley(n_neighbors=wrong).fit(None, X, y)
    explainer = KNNShapley().fit(None, X, y)
    with pytest.raises(ValueError, match="explain output='prediction'"):
        explainer.explain(X_test, y_test, output="prediction")
    with pytest.raises(ValueError, match="X has 2 columns, the train rows have 3"):
        explainer.explain(X_test[:, :2], y_test)
    infinite = X.copy()
    infinite[0, 1] = np.inf
    with pytest.raises(ValueError, match="Column '1' has infinite values"):
        explainer.fit(None, infinite, y)
    assert clone(explainer).get_params() == explainer.get_params()
