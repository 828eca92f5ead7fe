"""What every explainer promises, whatever it computes, on every device."""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
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
ON_CUDA = [name for name in EVERY if "device" in EVERY[name]().get_params()]

# Train rows, test rows and iterations: the simulator takes a Python thread a row.
SIZE = {"cpu": (60, 12, 5), "cuda": (20, 5, 2)}


def over(names):
    """Run a test for each explainer, on each device that it knows."""
    cases = [(name, "cpu", ()) for name in names]
    cases += [(name, "cuda", pytest.mark.cuda) for name in names if name in ON_CUDA]
    return pytest.mark.parametrize(
        ("name", "device"),
        [
            pytest.param(name, device, marks=marks, id=f"{name}-{device}")
            for name, device, marks in cases
        ],
    )


@functools.cache
def fit_model(recipe, device="cpu", twins=0):
    """Fit a small model; gives (model, X, y, X_test, y_test).

    The first `twins` train rows come once more at the end.
    """
    lightgbm = pytest.importorskip("lightgbm")
    n_train, n_test, n_iterations = SIZE[device]
    X, y, _ = models.make_rows(recipe)
    kind = lightgbm.LGBMRegressor if recipe == "regression" else lightgbm.LGBMClassifier
    model = kind(
        n_estimators=n_iterations,
        num_leaves=4,
        min_child_samples=5,
        verbose=-1,
        n_jobs=1,
    )
    train = np.append(np.arange(n_train), np.arange(twins))
    test = slice(n_train, n_train + n_test)
    return model.fit(X[train], y[train]), X[train], y[train], X[test], y[test]


def make(name, **parameters):
    explainer = EVERY[name]()
    known = explainer.get_params()
    return explainer.set_params(
        **{key: value for key, value in parameters.items() if key in known}
    )


@functools.cache
def explain(name, recipe, device="cpu", n_jobs=1, batch_size=1024):
    model, X, y, X_test, y_test = fit_model(recipe, device)
    explainer = make(name, device=device, n_jobs=n_jobs, batch_size=batch_size)
    explainer.fit(model, X, y)
    return explainer, explainer.explain(X_test, y_test).values


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
@over(EVERY)
def test_influence_has_a_number_for_every_two_rows(name, device, recipe):
    explainer, values = explain(name, recipe, device)
    assert getattr(explainer, "device_", "cpu") == device
    assert values.shape == SIZE[device][:2]
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert values.std() > 0.0


@over(EVERY)
def test_any_batch_and_number_of_jobs_gives_the_same_bits(name, device):
    _, expected = explain(name, "binary", device)
    _, values = explain(name, "binary", device, 2, 3)
    assert (values == expected).all()


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
@over(EVERY)
def test_total_adds_up_the_test_rows(name, device, recipe):
    explainer, values = explain(name, recipe, device)
    _, _, _, X_test, y_test = fit_model(recipe, device)
    total = explainer.total(X_test, y_test).values
    scale = np.abs(values).sum(axis=1).max()
    assert_allclose(total, values.sum(axis=1), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("order", ["magnitude", "helpful", "harmful"])
@over(EVERY)
def test_the_top_rows_are_those_of_the_matrix(name, device, order):
    explainer, _ = explain(name, "binary", device, 1, 7)
    _, _, _, X_test, y_test = fit_model("binary", device)
    values = explainer.explain(X_test, y_test)
    ranked = explainer.top_k(X_test, y_test, k=4, order=order)
    expected = values.top(4, order)
    assert_allclose(ranked.values, expected.values, rtol=1e-12)


@over(EVERY)
def test_constructors_only_store(name, device):
    explainer = make(name, device=device)
    for key, value in explainer.get_params().items():
        assert getattr(explainer, key) is value
    copy = clone(explainer)
    assert copy.get_params() == explainer.get_params()
    signature = inspect.signature(type(explainer).__init__)
    kinds = {p.kind for key, p in signature.parameters.items() if key != "self"}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    _, _, _, X_test, y_test = fit_model("binary", device)
    with pytest.raises(NotFittedError):
        copy.explain(X_test, y_test)
    with pytest.raises(NotFittedError):
        copy.self_influence()


@over(EVERY)
def test_wrong_parameters_are_named_before_any_work(name, device):
    model, X, y, *_ = fit_model("binary", device)
    with pytest.raises((ValueError, TypeError), match="n_jobs"):
        make(name, device=device, n_jobs=0).fit(model, X, y)
    with pytest.raises(ValueError, match="batch_size=0"):
        make(name, device=device, batch_size=0).fit(model, X, y)
    with pytest.raises(TypeError, match=r"batch_size=1\.5"):
        make(name, device=device, batch_size=1.5).fit(model, X, y)


@over(EVERY)
def test_labels_of_rows_are_kept(name, device):
    model, X, y, X_test, y_test = fit_model("binary", device)
    labels = [f"train {i}" for i in range(len(X))]
    names = [f"test {i}" for i in range(len(X_test))]
    train = pd.DataFrame(X, index=labels)
    train.columns = [f"Column_{k}" for k in range(X.shape[1])]
    test = pd.DataFrame(X_test, index=names, columns=train.columns)
    explainer = make(name, device=device)
    explainer.fit(model, train, pd.Series(y, index=labels))
    influence = explainer.explain(test, pd.Series(y_test, index=names))
    _, expected = explain(name, "binary", device)
    if name not in ROWS:  # estimators are fitted on frames then, to the same end
        assert_allclose(influence.values, expected, rtol=1e-12)
    frame = influence.to_frame()
    assert frame.index.tolist() == labels
    assert frame.columns.tolist() == names


@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
@over(MODEL)
def test_permuted_train_rows_permute_the_result(name, device, recipe):
    _, expected = explain(name, recipe, device)
    model, X, y, X_test, y_test = fit_model(recipe, device)
    order = np.random.default_rng(0).permutation(len(X))
    ensemble = ti.read_model(model)  # the order is not that of the training
    explainer = make(name, device=device, on_mismatch="ignore")
    explainer.fit(ensemble, X[order], y[order])
    actual = explainer.explain(X_test, y_test).values
    assert_allclose(actual, expected[order], rtol=0, atol=1e-8 * np.abs(expected).max())


@over([name for name in MODEL if name != "LeafRefit"])
def test_twin_rows_have_equal_influence(name, device):
    model, X, y, X_test, y_test = fit_model("binary", device, twins=10)
    explainer = make(name, device=device).fit(model, X, y)
    values = explainer.explain(X_test, y_test).values
    assert_allclose(values[:10], values[-10:], rtol=0, atol=1e-14)


@over(["BoostIn", "LeafInfluence", "LeafRefit", "Trex"])
def test_rows_among_the_targets_are_left_out_on_request(name, device):
    model, X, y, *_ = fit_model("binary", device)
    explainer = make(name, device=device, batch_size=11).fit(model, X, y)
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
    np.fill_diagonal(alone, np.nan)
    top = explainer.top_k(X, y, k=3, exclude_self=True)
    expected = np.argsort(-np.abs(alone), axis=0, kind="stable")[:3].T
    assert_array_equal(
        np.abs(np.take_along_axis(alone.T, expected, 1)), np.abs(top.values)
    )
    assert (top.positions != np.arange(len(X))[:, np.newaxis]).all()


@over(["BoostIn", "LeafInfluence", "LeafRefit", "TreeSim"])
def test_groups_among_the_targets_are_left_out_on_request(name, device):
    model, X, y, *_ = fit_model("binary", device)
    names = np.array([f"machine {row % 7}" for row in range(len(X))])
    is_own = np.equal.outer(names, names)
    explainer = make(name, device=device, batch_size=11)
    with pytest.warns(SelfExplanationWarning):
        square = explainer.fit(model, X, y).explain(X, y).values
    explainer.fit(model, X, y, groups=names)
    others = explainer.explain(X, y, exclude_self=True).values
    assert_allclose(others, np.where(is_own, 0.0, square), rtol=0, atol=1e-13)
    scale = np.abs(square).sum(axis=1).max()
    total = explainer.total(X, y, exclude_self=True).values
    assert_allclose(total, others.sum(axis=1), rtol=0, atol=1e-11 * scale)
    top = explainer.top_k(X, y, k=3, exclude_self=True)
    expected = np.argsort(-np.abs(np.where(is_own, np.nan, square)), axis=0)[:3].T
    assert_allclose(
        np.abs(top.values), np.abs(np.take_along_axis(square.T, expected, 1))
    )
    assert not is_own[np.arange(len(X))[:, np.newaxis], top.positions].any()


@pytest.mark.parametrize("output", ["raw_score", "prediction"])
@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", ["LeafInfluence", "LeafRefit"])
def test_small_removals_of_both_kinds_agree(name, recipe, output):
    # where removals are small, the derivative and the refit see the same model
    explainer, _ = explain(name, recipe)
    other = "LeafRefit" if name == "LeafInfluence" else "LeafInfluence"
    _, _, _, X_test, y_test = fit_model(recipe)
    own = explainer.explain(X_test, y_test, output=output).values
    judge = explain(other, recipe)[0].explain(X_test, y_test, output=output).values
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
