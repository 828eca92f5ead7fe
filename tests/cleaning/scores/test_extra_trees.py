"""Forests that predict rows that they have not seen."""

import numpy as np
import pytest
from sklearn.tree import ExtraTreeRegressor

from treeinf.cleaning.scores import extra_trees
from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.cleaning.scores.extra_trees import predict_by_trees
from treeinf.training.rows import LabelledRows

PLAN = [
    CopyRows(np.arange(40), np.arange(40, 60)),
    CopyRows(np.arange(20, 60), np.arange(20)),
]


def small_rows(rng, *, weighted=False):
    X = rng.normal(size=(60, 4))
    code = (X[:, 0] + 0.5 * rng.normal(size=60) > 0).astype(np.int64)
    weight = rng.uniform(0.2, 2.0, 60) if weighted else None
    return LabelledRows(X, code, code, weight)


def predict(rows, target, seed=5, n_jobs=1):
    table = EncodedTable.read(rows.X)
    return predict_by_trees(rows, table, target, PLAN, seed, n_jobs)


@pytest.mark.parametrize("kind", ["classes", "numbers", "weights", "missing"])
def test_forests_are_averages_of_trees_on_bootstrap_samples(kind, rng):
    rows = small_rows(rng, weighted=kind == "weights")
    target = np.eye(2)[rows.code]
    if kind == "missing":
        rows.X[rng.random(rows.X.shape) < 0.2] = np.nan
    elif kind == "numbers":
        rows = LabelledRows(rows.X, rows.X[:, 0])
        target = rows.y[:, np.newaxis]
    X = rows.X.astype(np.float32)
    seeds = np.random.default_rng(5).integers(2**31, size=2)
    for copy, copy_seed, found in zip(PLAN, seeds, predict(rows, target), strict=True):
        rng = np.random.default_rng(int(copy_seed))
        p = None if rows.weight is None else rows.weight[copy.train]
        p = None if p is None else p / p.sum()
        samples = [rng.choice(copy.train, 40, p=p) for _ in range(150)]
        desired = np.zeros((20, target.shape[1]))
        for sample in samples:
            drawn, count = np.unique(sample, return_counts=True)
            tree = ExtraTreeRegressor(
                min_samples_leaf=3,
                max_features=1.0 if rows.code is None else "sqrt",
                random_state=int(rng.integers(2**31)),
            ).fit(X[drawn], target[drawn], sample_weight=count)
            desired += tree.predict(X[copy.scored]).reshape(20, -1) / 150
        np.testing.assert_allclose(found, desired, rtol=1e-5, atol=1e-6)


def test_chunks_and_threads_change_no_bit(rng, monkeypatch):
    rows = small_rows(rng, weighted=True)
    target = np.eye(2)[rows.code]
    desired = predict(rows, target)
    monkeypatch.setattr(extra_trees, "_CHUNK_ROWS", 7)
    for one, other in zip(predict(rows, target, n_jobs=3), desired, strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_that_a_forest_has_not_seen_do_not_move_it(rng):
    rows = small_rows(rng)
    target = np.eye(2)[rows.code]
    changed = target.copy()
    changed[7] = 1.0 - changed[7]
    before, after = predict(rows, target), predict(rows, changed)
    np.testing.assert_array_equal(before[1], after[1])
    assert (before[0] != after[0]).any()


def test_numbers_too_large_for_trees_keep_their_order(rng):
    rows = small_rows(rng)
    rows.X[:, 3] = np.where(rows.code == 1, 1e100, -1e100)
    for copy, found in zip(PLAN, predict(rows, np.eye(2)[rows.code]), strict=True):
        assert (found.argmax(axis=1) == rows.code[copy.scored]).all()
