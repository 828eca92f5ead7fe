"""What every explainer promises, whatever it computes."""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import treeinf as ti
from tests import models
from treeinf.errors import SelfExplanationWarning

pd = pytest.importorskip("pandas")

MODEL = {
    "BoostIn": lambda **kw: ti.BoostIn(**kw),
    "LeafInfluence": lambda **kw: ti.LeafInfluence(**kw),
    "LeafInfluence, single point": lambda **kw: ti.LeafInfluence(
        propagation="single_point", **kw
    ),
    "LeafRefit": lambda **kw: ti.LeafRefit(**kw),
    "TreeSim": lambda **kw: ti.TreeSim(**kw),
    "Trex": lambda **kw: ti.Trex(**kw),
}
ROWS = {
    "InputSim": lambda **kw: ti.InputSim(**kw),
    "KNNShapley": lambda **kw: ti.KNNShapley(**kw),
    "Random": lambda **kw: ti.Random(**kw),
    "LOO": lambda **kw: ti.LOO(**kw),
    "SubSample": lambda **kw: ti.SubSample(n_models=40, share=0.5, **kw),
    "DataShapley": lambda **kw: ti.DataShapley(n_permutations=2, **kw),
}
EVERY = MODEL | ROWS
N_TRAIN, N_TEST = 60, 12


@functools.cache
def fit_model(recipe):
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = models.make_rows(recipe)
    classifier = recipe != "regression"
    kind = lightgbm.LGBMClassifier if classifier else lightgbm.LGBMRegressor
    model = kind(
        n_estimators=5, num_leaves=4, min_child_samples=5, verbose=-1, n_jobs=1
    )
    train, test = slice(0, N_TRAIN), slice(N_TRAIN, N_TRAIN + N_TEST)
    return model.fit(X[train], y[train]), X[train], y[train], X[test], y[test]


def make(name, **parameters):
    explainer = EVERY[name]()
    known = explainer.get_params()
    return explainer.set_params(
        **{key: value for key, value in parameters.items() if key in known}
    )


@functools.cache
def explain(name, recipe, n_jobs=1, batch_size=1024):
    model, X, y, X_test, y_test = fit_model(recipe)
    explainer = make(name, n_jobs=n_jobs, batch_size=batch_size).fit(model, X, y)
    return explainer, explainer.explain(X_test, y_test).values


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", EVERY)
def test_influence_has_a_number_for_every_two_rows(name, recipe):
    _, values = explain(name, recipe)
    assert values.shape == (N_TRAIN, N_TEST)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert values.std() > 0.0


@pytest.mark.parametrize("name", EVERY)
def test_any_batch_and_number_of_jobs_gives_the_same_bits(name):
    _, expected = explain(name, "binary")
    _, values = explain(name, "binary", 2, 5)
    assert (values == expected).all()


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
@pytest.mark.parametrize("name", EVERY)
def test_total_adds_up_the_test_rows(name, recipe):
    explainer, values = explain(name, recipe)
    _, _, _, X_test, y_test = fit_model(recipe)
    total = explainer.total(X_test, y_test).values
    scale = np.abs(values).sum(axis=1).max()
    assert_allclose(total, values.sum(axis=1), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("order", ["magnitude", "helpful", "harmful"])
@pytest.mark.parametrize("name", EVERY)
def test_the_top_rows_are_those_of_the_matrix(name, order):
    explainer, _ = explain(name, "binary", 1, 7)
    _, _, _, X_test, y_test = fit_model("binary")
    values = explainer.explain(X_test, y_test)
    ranked = explainer.top_k(X_test, y_test, k=4, order=order)
    expected = values.top(4, order)
    assert_allclose(ranked.values, expected.values, rtol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_constructors_only_store(name):
    explainer = EVERY[name]()
    for key, value in explainer.get_params().items():
        assert getattr(explainer, key) is value
    copy = clone(explainer)
    assert copy.get_params() == explainer.get_params()
    signature = inspect.signature(type(explainer).__init__)
    kinds = {p.kind for key, p in signature.parameters.items() if key != "self"}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    _, _, _, X_test, y_test = fit_model("binary")
    with pytest.raises(NotFittedError):
        copy.explain(X_test, y_test)
    with pytest.raises(NotFittedError):
        copy.self_influence()


@pytest.mark.parametrize("name", EVERY)
def test_wrong_parameters_are_named_before_any_work(name):
    model, X, y, *_ = fit_model("binary")
    with pytest.raises((ValueError, TypeError), match="n_jobs"):
        make(name, n_jobs=0).fit(model, X, y)


@pytest.mark.parametrize("name", EVERY)
def test_labels_of_rows_are_kept(name):
    model, X, y, X_test, y_test = fit_model("binary")
    labels = [f"train {i}" for i in range(N_TRAIN)]
    names = [f"test {i}" for i in range(N_TEST)]
    train = pd.DataFrame(X, index=labels)
    train.columns = [f"Column_{k}" for k in range(X.shape[1])]
    test = pd.DataFrame(X_test, index=names, columns=train.columns)
    explainer = make(name).fit(model, train, pd.Series(y, index=labels))
    influence = explainer.explain(test, pd.Series(y_test, index=names))
    _, expected = explain(name, "binary")
    if name not in ROWS:  # estimators are fitted on frames then, to the same end
        assert_allclose(influence.values, expected, rtol=1e-12)
    frame = influence.to_frame()
    assert frame.index.tolist() == labels
    assert frame.columns.tolist() == names


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
@pytest.mark.parametrize("name", MODEL)
def test_permuted_train_rows_permute_the_result(name, recipe):
    _, expected = explain(name, recipe)
    model, X, y, X_test, y_test = fit_model(recipe)
    order = np.random.default_rng(0).permutation(N_TRAIN)
    ensemble = ti.read_model(model)  # the order is not that of the training
    explainer = make(name, on_mismatch="ignore").fit(ensemble, X[order], y[order])
    actual = explainer.explain(X_test, y_test).values
    assert_allclose(actual, expected[order], rtol=0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("name", [n for n in MODEL if n != "LeafRefit"])
def test_twin_rows_have_equal_influence(name):
    lightgbm = pytest.importorskip("lightgbm")
    _, X, y, X_test, y_test = fit_model("binary")
    X, y = np.concatenate([X, X[:10]]), np.concatenate([y, y[:10]])
    model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=4, verbose=-1, n_jobs=1)
    values = make(name).fit(model.fit(X, y), X, y).explain(X_test, y_test).values
    assert_allclose(values[:10], values[-10:], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["BoostIn", "LeafInfluence", "LeafRefit", "Trex"])
def test_rows_among_the_targets_are_left_out_on_request(name):
    model, X, y, *_ = fit_model("binary")
    explainer = make(name).fit(model, X, y)
    with pytest.warns(SelfExplanationWarning):
        square = explainer.explain(X, y).values
    alone = square.copy()
    np.fill_diagonal(alone, 0.0)
    others = explainer.explain(X, y, exclude_self=True).values
    assert_allclose(others, alone, rtol=0, atol=1e-13)
    scale = np.abs(square).sum(axis=1).max()
    total = explainer.total(X, y, exclude_self=True).values
    assert_allclose(total, alone.sum(axis=1), rtol=0, atol=1e-11 * scale)
    assert_allclose(
        explainer.self_influence().values, np.diag(square), rtol=0, atol=1e-12
    )
    top = explainer.top_k(X, y, k=3, exclude_self=True)
    assert (top.positions != np.arange(N_TRAIN)[:, np.newaxis]).all()


@pytest.mark.parametrize("target", ["raw_score", "prediction"])
@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", ["LeafInfluence", "LeafRefit"])
def test_small_removals_of_both_kinds_agree(name, recipe, target):
    # where removals are small, the derivative and the refit see the same model
    explainer, _ = explain(name, recipe)
    other = "LeafRefit" if name == "LeafInfluence" else "LeafInfluence"
    _, _, _, X_test, y_test = fit_model(recipe)
    own = explainer.explain(X_test, y_test, target=target).values
    judge = explain(other, recipe)[0].explain(X_test, y_test, target=target).values
    assert np.corrcoef(own.ravel(), judge.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("frame", ["polars", "pyarrow"])
def test_other_frames_give_their_own_kind(frame):
    library = pytest.importorskip(frame)
    model, X, y, X_test, y_test = fit_model("binary")
    columns = {f"Column_{k}": X[:, k] for k in range(X.shape[1])}
    tests = {f"Column_{k}": X_test[:, k] for k in range(X.shape[1])}
    make_frame = library.DataFrame if frame == "polars" else library.table
    explainer = ti.LeafInfluence().fit(model, make_frame(columns), y)
    found = explainer.explain(make_frame(tests), y_test)
    assert_allclose(found.values, explain("LeafInfluence", "binary")[1], rtol=1e-12)
    assert type(found.to_frame()).__module__.startswith(frame)
