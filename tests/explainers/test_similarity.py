"""TreeSim: dense one-hot features in plain loops, published values, properties."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import treeinf as ti
from tests import models
from tests.naive.similarity import agreement, dense_features, similarity
from treeinf.errors import SelfExplanationWarning, UnsupportedModelError
from treeinf.explainers.tree_kernel.features import TREE_KERNELS, LeafFeatures
from treeinf.explainers.tree_kernel.row_features import RowFeatures
from treeinf.explainers.tree_kernel.tree_sim import TreeSim
from treeinf.kernels.cpu import leaf_features as leaf_feature_kernels

GOLDEN_NAMES = [
    "catboost_binary_breast_cancer",
    "catboost_multiclass_wine",
    "catboost_regression_diabetes",
    "lightgbm_binary_breast_cancer",
    "lightgbm_multiclass_iris_l2",
    "lightgbm_multiclass_wine",
    "lightgbm_regression_diabetes",
    "sk_gb_binary_breast_cancer",
    "sk_gb_multiclass_wine",
    "sk_gb_regression_diabetes",
    "sk_hgb_binary_breast_cancer",
    "sk_hgb_multiclass_wine",
    "sk_hgb_regression_diabetes",
    "xgboost_binary_breast_cancer",
    "xgboost_binary_breast_cancer_l2",
    "xgboost_multiclass_wine",
    "xgboost_regression_diabetes",
]


def fit_forest(kind, **parameters):
    """Fit a small forest; gives (model, X_train, y_train, X_test, y_test)."""
    from sklearn import ensemble

    recipe = {"Classifier": "multiclass", "Regressor": "regression"}
    recipe = parameters.pop("recipe", recipe[kind.removeprefix("RandomForest")])
    X, y, _ = models.make_rows(recipe)
    model = getattr(ensemble, kind)(
        n_estimators=5, max_depth=4, random_state=0, n_jobs=1, **parameters
    )
    return model.fit(X[:240], y[:240]), X[:240], y[:240], X[240:], y[240:]


def fit_case(case):
    """Fit a model by name; gives (model, X_train, y_train, X_test, y_test)."""
    if case == "forest":
        return fit_forest("RandomForestClassifier")
    if case == "forest of two classes":
        return fit_forest("RandomForestClassifier", recipe="binary")
    if case == "catboost":
        catboost = pytest.importorskip("catboost")
        X, y, _ = models.make_rows("multiclass")
        model = catboost.CatBoostClassifier(
            iterations=3,
            depth=3,
            verbose=False,
            thread_count=1,
            allow_writing_files=False,
        )
        return model.fit(X[:240], y[:240]), X[:240], y[:240], X[240:], y[240:]
    model, X, y, _, X_test, y_test = models.fit(case, n_estimators=4)
    return model, X, y, X_test, y_test


@pytest.mark.parametrize("kernel", TREE_KERNELS)
@pytest.mark.parametrize(
    "case", ["regression", "multiclass", "forest", "forest of two classes", "catboost"]
)
def test_influence_equals_the_slow_twin(case, kernel):
    model, X, y, X_test, y_test = fit_case(case)
    few = slice(0, 5)
    explainer = TreeSim(kernel=kernel).fit(model, X, y)
    ensemble = explainer.ensemble_
    leaves = ensemble.apply(X).tolist()
    leaves_test = ensemble.apply(X_test[few]).tolist()
    # one call, so that both tables have the same columns
    both = dense_features(ensemble, kernel, leaves, leaves[:40] + leaves_test)
    train, test = both[:40], both[40:]
    predictions = [None] * 5
    if case == "regression":
        predictions = ensemble.predict(X_test[few]).tolist()
    for measure in ("dot", "cosine", "euclidean"):
        explainer = TreeSim(kernel=kernel, measure=measure).fit(model, X, y)
        actual = explainer.explain(X_test[few], y_test[few]).values[:40]
        plain = [[similarity(a, b, measure) for b in test] for a in train]
        signs = [
            [agreement(y[i], y_test[j], predictions[j]) for j in range(5)]
            for i in range(40)
        ]
        scale = np.abs(plain).max()
        assert_allclose(actual, np.multiply(plain, signs), rtol=0, atol=1e-12 * scale)
        bare = explainer.similarity(X_test[few]).values[:40]
        assert_allclose(bare, plain, rtol=0, atol=1e-12 * scale)


def test_the_twin_by_hand():
    # one tree: the root sends rows to leaf 0 or node 1, which has the leaves 1 and 2
    class Tree:
        node_offset, leaf_offset = np.array([0, 2]), np.array([0, 3])
        left, right = np.array([~0, ~1]), np.array([1, ~2])
        leaf_value, is_averaged = np.array([[2.0], [3.0], [5.0]]), False

    leaves = [[0], [1], [1], [2]]
    assert dense_features(Tree, "leaf_path", leaves, [[1]]) == [[0.0, 1.0, 0.0]]
    assert dense_features(Tree, "tree_output", leaves, leaves) == [
        [2.0],
        [3.0],
        [3.0],
        [5.0],
    ]
    # columns by number: leaf 2 is ~2 = -3, leaf 1, leaf 0, root, node 1
    assert dense_features(Tree, "weighted_feature_path", leaves, [[1], [0]]) == [
        [0.0, 1 / 2, 0.0, 1 / 4, 1 / 3],
        [0.0, 0.0, 1.0, 1 / 4, 0.0],
    ]
    assert similarity([3.0, 0.0], [3.0, 4.0], "cosine") == pytest.approx(0.6)
    assert similarity([3.0, 0.0], [3.0, 4.0], "euclidean") == pytest.approx(0.2)
    assert agreement(1.0, 2.0, 1.5) == -1.0


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_default_gives_the_published_values(name):
    model, golden = models.load_golden(name)
    explainer = TreeSim().fit(model, golden["X_train"], golden["y_train"])
    actual = explainer.explain(golden["X_test"], golden["y_test"]).values
    desired = golden["inf_TreeSim"]
    known = np.isfinite(desired)
    # the reference runs XGBoost in float32
    tolerance = 1e-6 if name.startswith("xgboost") else 1e-14
    scale = np.abs(desired[known]).max()
    assert_allclose(actual[known], desired[known], rtol=0, atol=tolerance * scale)
    # where it divides by the count of a leaf without train rows, ours adds nothing
    assert np.isfinite(actual).all()
    assert known.all() or name.startswith("catboost")
    for column in np.flatnonzero(~known.all(axis=0)):
        leaf = explainer.ensemble_.apply(golden["X_test"][[column]])[0]
        counts = (explainer.ensemble_.apply(golden["X_train"]) == leaf).sum(axis=0)
        assert (counts == 0).any()
        assert (actual[:, column] != 0.0).any()


@pytest.mark.parametrize("measure", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("recipe", ["regression", "multiclass"])
def test_total_self_influence_and_top_k_are_those_of_the_matrix(recipe, measure):
    model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=True)
    explainer = TreeSim(measure=measure, batch_size=17)
    explainer.fit(model, X, y, sample_weight=weight)
    dense = explainer.explain(X_test, y_test).values
    scale = np.abs(dense).max()
    w = np.linspace(0.2, 2.0, len(y_test))
    assert_allclose(
        explainer.total(X_test, y_test, sample_weight=w), dense @ w, atol=1e-11 * scale
    )
    assert_allclose(
        explainer.explain(X_test, y_test, sample_weight=w), dense * w, rtol=1e-14
    )
    with pytest.warns(SelfExplanationWarning):
        square = explainer.explain(X, y).values
    assert_allclose(explainer.self_influence(), np.diag(square), rtol=1e-12)
    np.fill_diagonal(square, 0.0)
    assert_allclose(
        explainer.total(X, y, exclude_self=True),
        square.sum(axis=1),
        atol=1e-10 * np.abs(square).max(),
    )
    top = explainer.top_k(X_test, y_test, k=5, order="helpful")
    assert_array_equal(top.values, -np.sort(-dense, axis=0)[:5].T)


@pytest.mark.parametrize("kernel", ["weighted_leaf_path", "feature_path"])
@pytest.mark.parametrize("measure", ["dot", "cosine", "euclidean"])
def test_similar_gives_the_nearest_rows_of_the_whole_matrix(kernel, measure):
    model, X, y, _, X_test, _ = models.fit("binary")
    explainer = TreeSim(kernel=kernel, measure=measure, batch_size=32).fit(model, X, y)
    dense = explainer.similarity(X_test).values
    found = explainer.similar(X_test, 7)
    order = np.argsort(-dense, axis=0, kind="stable")[:7].T
    assert_array_equal(found.positions, order)
    assert_array_equal(found.values, np.take_along_axis(dense.T, order, axis=1))
    # with itself among the rows, a row has no nearer one where lengths do not count
    own = explainer.similar(X, 1)
    if measure != "dot":
        assert_allclose(own.values, 1.0, rtol=1e-12)
    others = explainer.similar(X, 3, exclude_self=True)
    assert (others.positions != np.arange(len(X))[:, np.newaxis]).all()
    with pytest.raises(ValueError, match="the train rows themselves"):
        explainer.similar(X[::-1], 3, exclude_self=True)


def test_similar_keeps_the_labels_and_needs_no_targets():
    pandas = pytest.importorskip("pandas")
    model, X, _, _, X_test, y_test = models.fit("regression")
    names = [f"c{k}" for k in range(X.shape[1])]
    train = pandas.DataFrame(X, columns=names, index=[f"r{i}" for i in range(len(X))])
    test = pandas.DataFrame(X_test, columns=names, index=np.arange(1000, 1040))
    explainer = TreeSim().fit(model, train)
    found = explainer.similar(test, 3)
    assert found.labels[0, 0] == f"r{found.positions[0, 0]}"
    assert found.to_frame()["test_row"].tolist()[::3] == list(range(1000, 1040))
    assert explainer.similarity(test).to_frame().index.tolist() == train.index.tolist()
    with pytest.raises(ValueError, match="Pass y to fit"):
        explainer.explain(test, y_test)
    with pytest.raises(ValueError, match="estimated from y"):
        TreeSim(kernel="leaf_output").fit(model, train)


def test_twins_are_nearest_and_ties_keep_the_order_of_rows():
    model, X, y, *_ = models.fit("multiclass")
    explainer = TreeSim(measure="euclidean").fit(model, X, y)
    leaf = explainer.ensemble_.apply(X)
    found = explainer.similar(X, 240)
    assert_array_equal(np.sort(found.positions[0]), np.arange(240))
    same = (leaf == leaf[0]).all(axis=1)
    assert_array_equal(found.positions[0, : same.sum()], np.flatnonzero(same))
    assert (found.values[0, : same.sum()] == 1.0).all()
    assert (found.values[0, same.sum() :] < 1.0).all()


@pytest.mark.parametrize("kernel", ["weighted_leaf_path", "tree_output"])
@pytest.mark.parametrize("measure", ["dot", "cosine", "euclidean"])
def test_any_number_of_threads_and_any_batch_gives_the_same_bits(kernel, measure):
    model, X, y, _, X_test, y_test = models.fit("multiclass")
    results = []
    for n_jobs, batch_size in ((1, 1024), (2, 7), (4, 33)):
        explainer = TreeSim(
            kernel=kernel, measure=measure, n_jobs=n_jobs, batch_size=batch_size
        ).fit(model, X, y)
        results.append(
            (
                explainer.explain(X_test, y_test).values,
                explainer.similar(X_test, 9).positions,
            )
        )
    for dense, positions in results[1:]:
        assert_array_equal(dense, results[0][0])
        assert_array_equal(positions, results[0][1])


@pytest.mark.parametrize("objective", ["regression_l1", "quantile"])
def test_models_of_medians_and_quantiles_are_explained(objective):
    model, X, y, _, X_test, y_test = models.fit("regression", objective=objective)
    explainer = TreeSim().fit(model, X, y)
    values = explainer.explain(X_test, y_test).values
    upper = y[:, np.newaxis] >= model.predict(X_test)
    agrees = upper == (y_test >= model.predict(X_test))
    assert ((values >= 0.0) | ~agrees).all()
    assert ((values <= 0.0) | agrees).all()
    with pytest.raises(UnsupportedModelError, match="boost_from_average=False"):
        TreeSim(kernel="leaf_output").fit(model, X, y)


def test_the_initial_score_is_no_part_of_the_first_trees_values():
    model, X, y, *_ = models.fit("regression")
    near = TreeSim(kernel="tree_output").fit(model, X, y)
    shifted = clone(model).set_params(boost_from_average=False).fit(X, y - y.mean())
    far = TreeSim(kernel="tree_output").fit(shifted, X, y - y.mean())
    # LightGBM's float32 labels move the mean and the gradients a little
    assert_allclose(
        near.similarity(X).values,
        far.similarity(X).values,
        rtol=0,
        atol=1e-5 * np.abs(far.similarity(X).values).max(),
    )


def test_a_custom_objective_is_explained():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = models.make_rows("regression")
    model = lightgbm.LGBMRegressor(
        n_estimators=3,
        num_leaves=5,
        verbose=-1,
        n_jobs=1,
        objective=lambda target, score: (score - target, np.ones_like(target)),
    ).fit(X[:240], y[:240])
    explainer = TreeSim().fit(model, X[:240], y[:240])
    prediction = model.predict(X[240:])
    values = explainer.explain(X[240:], y[240:]).values
    agrees = (y[:240, np.newaxis] >= prediction) == (y[240:] >= prediction)
    assert_array_equal(
        values, explainer.similarity(X[240:]).values * np.where(agrees, 1.0, -1.0)
    )
    with pytest.raises(ValueError, match="pass y"):
        explainer.explain(X[240:])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "lpw"}, "Got kernel='lpw'; expected one of leaf_path"),
        ({"measure": "dot_prod"}, "Got measure='dot_prod'"),
        ({"batch_size": 0}, "Got batch_size=0"),
    ],
)
def test_bad_parameters_are_refused_in_fit(parameters, message):
    model, X, y, *_ = models.fit("regression")
    with pytest.raises(ValueError, match=message):
        TreeSim(**parameters).fit(model, X, y)


def test_parameters_are_stored_and_cloned():
    explainer = TreeSim(kernel="leaf_path", measure="cosine", n_jobs=2)
    assert clone(explainer).get_params() == explainer.get_params()


def test_only_the_loss_has_a_sign():
    model, X, y, _, X_test, y_test = models.fit("regression")
    explainer = TreeSim().fit(model, X, y)
    with pytest.raises(ValueError, match="does not explain output='raw_score'"):
        explainer.explain(X_test, y_test, output="raw_score")


def test_products_with_the_features_are_those_of_the_dense_matrix(rng):
    model, X, *_ = models.fit("multiclass", n_estimators=3)
    ensemble = ti.read_model(model)
    leaf = np.ascontiguousarray(ensemble.apply(X).T)
    coefficient, value = rng.normal(size=(2000, 2)), rng.normal(size=(len(X), 2))
    for kernel in TREE_KERNELS:
        features = LeafFeatures.build(ensemble, kernel, leaf)
        n = features.n_features
        dense = np.asarray(features.vectors.todense())
        rows = sum(
            dense[ensemble.leaf_offset[t] + leaf[t]] for t in range(ensemble.n_trees)
        )
        tight = {"rtol": 1e-11, "atol": 1e-13}
        assert_allclose(
            features.multiply(leaf, coefficient[:n]), rows @ coefficient[:n], **tight
        )
        assert_allclose(
            features.multiply_transposed(leaf, value), rows.T @ value, **tight
        )
        # nine trees of 6 leaves: apart, in pairs, in threes, in fours
        for most_leaves, n_groups in ((6, 9), (36, 5), (256, 3), (1296, 3)):
            products = RowFeatures.build(features, leaf, most_leaves)
            assert len(products.first_tree) == n_groups + 1
            for columns in (slice(0, 2), slice(0, 1)):
                w, v = coefficient[:n, columns], value[:, columns]
                assert_allclose(products.multiply(w), rows @ w, **tight)
                assert_allclose(products.multiply_transposed(v), rows.T @ v, **tight)
                assert_allclose(products.add_squares(v), (rows**2).T @ v, **tight)
        assert_allclose(features.square_norm(leaf), (rows**2).sum(axis=1), **tight)


def test_each_kernel_was_compiled_for_few_types():
    for module in (leaf_feature_kernels, leaf_feature_kernels):
        for name in module.__all__:
            function = getattr(module, name)
            if hasattr(function, "signatures"):
                # leaves of one byte or two, in trees that are read-only
                assert len(function.signatures) <= 4, (name, function.signatures)
