"""Rows that are hard to route, and scikit-learn's own leaves and raw scores of them."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from tests.naive import routing as naive
from treeinf.adapters.sklearn.reader import init_score, leaf_nodes, raw_score

SPECIAL = (
    *(0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-46, -1e-46, 1e-40, 1e-35, -1e-35, 0.1),
    *(1.0, -1.0, 1.0 + 1e-9, 16777217.0, 1e30, -1e30, 3.4e38, -3.4e38),
)

BEYOND_SINGLE = (np.inf, -np.inf, 1e39, -1e39, 1e300, -1e300, 1.7e308)


def make_rows(n_rows=300, missing=0.0, seed=3):
    """Draw rows of five columns: normal, rounded, few values, zeros, tiny numbers."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 5))
    X[:, 1] = X[:, 1].round()
    X[:, 2] = rng.choice([-2.5, 0.1, 7.0], n_rows)
    X[rng.random(n_rows) < 0.5, 3] = 0.0
    X[:, 4] *= 1e-30
    X[rng.random(X.shape) < missing] = np.nan
    return X


def make_score(X, seed=4):
    """Draw a number for each row that depends on all columns of `make_rows`."""
    rng = np.random.default_rng(seed)
    known = np.nan_to_num(X, nan=0.3)
    return (
        2.0 * known[:, 0]
        + np.sin(3.0 * known[:, 1])
        + (known[:, 2] > 0) * known[:, 3]
        + 1e30 * np.nan_to_num(X[:, 4])
        + np.isnan(X[:, 0])
        + 0.5 * rng.normal(size=len(X))
    )


def make_targets(X, task):
    """Draw targets for a task or a loss."""
    score = make_score(X)
    if task == "binary":
        return np.where(score > 0.3, "no", "yes")
    if task == "multiclass":
        return np.array(["b", "c", "a"])[np.digitize(score, [-1.0, 1.0])]
    if task == "poisson":
        return np.exp(score / 3).round()
    if task == "gamma":
        return np.exp(score / 3)
    return score


def hard_rows(ensemble, X, *, n_base=2, n_thresholds=20, missing=True, huge=False):
    """Put special values, thresholds and their neighbours into each column in turn."""
    special = SPECIAL + ((np.nan,) if missing else ()) + (BEYOND_SINGLE if huge else ())
    found = [X[:30]]
    whole = X[~np.isnan(X).any(axis=1)][:n_base]
    for feature in range(X.shape[1]):
        tested = (ensemble.feature == feature) & ~ensemble.is_categorical
        thresholds = np.unique(ensemble.threshold[tested])
        thresholds = thresholds[np.isfinite(thresholds)][:n_thresholds]
        values = [np.array(special), thresholds]
        with np.errstate(over="ignore", under="ignore"):
            single = thresholds.astype(np.float32)
            values.append(single.astype(float))
            for side in (np.inf, -np.inf):
                values.append(np.nextafter(thresholds, side))
                values.append(np.nextafter(single, np.float32(side)).astype(float))
        values = np.concatenate(values)
        for base in whole:
            rows = np.repeat(base[np.newaxis], len(values), axis=0)
            rows[:, feature] = values
            found.append(rows)
    return np.concatenate(found)


# scikit-learn adds up all values to see whether they are finite; huge ones overflow
@np.errstate(invalid="ignore", over="ignore")
def own_leaves(model, X):
    """scikit-learn's node of each row in each tree, shape (n_rows, n_trees)."""
    if hasattr(model, "_predictors"):
        return _histogram_leaves(model, X)
    if hasattr(model, "estimators_features_"):
        rows = np.asarray(X)
        pairs = zip(model.estimators_, model.estimators_features_, strict=True)
        return np.column_stack([tree.apply(rows[:, own]) for tree, own in pairs])
    return np.asarray(model.apply(X)).reshape(len(X), -1).astype(int)


def _histogram_leaves(model, X):
    """Let each tree predict the number of the leaf in place of its value."""
    rows = model._preprocess_X(X, reset=False)
    bitsets, places = model._bin_mapper.make_known_categories_bitsets()
    found = []
    for predictor in (tree for trees in model._predictors for tree in trees):
        nodes = predictor.nodes.copy()
        nodes["value"] = np.arange(len(nodes))
        numbered = type(predictor)(
            nodes, predictor.binned_left_cat_bitsets, predictor.raw_left_cat_bitsets
        )
        found.append(numbered.predict(rows, bitsets, places, 1))
    return np.column_stack(found).astype(int)


@np.errstate(invalid="ignore", over="ignore")
def assert_same_model(ensemble, model, X, *, is_naive=True, rtol=1e-10):
    """Leaves are scikit-learn's, exactly, and raw scores to 1e-10 of the largest."""
    leaves = own_leaves(model, X)
    ours = ensemble.apply(X)
    nodes = leaf_nodes(model)[ensemble.leaf_offset[:-1] + ours.astype(int)]
    assert_array_equal(nodes, leaves)
    scores = raw_score(model, X)
    atol = rtol * max(np.abs(scores).max(), 1e-300)
    start = init_score(model, X)
    actual = ensemble.raw_score(X, init_score=start)
    assert_allclose(actual, scores, rtol=0, atol=atol)
    if is_naive:
        some = np.linspace(0, len(X) - 1, 60).astype(int)
        assert_array_equal(naive.find_leaves(ensemble, X[some]), ours[some])
        naive_scores = naive.raw_scores(ensemble, X[some])
        if start is not None:
            naive_scores = naive_scores + start[some]
        assert_allclose(naive_scores, scores[some], rtol=0, atol=atol)
