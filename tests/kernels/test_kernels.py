"""Replay and contraction: slow twins, vector leaves, threads, compiled versions."""

import contextlib
import dataclasses
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel
from treeinf.kernels.cpu import contraction, leaf_coupling, products, replay
from treeinf.kernels.flat import ALL_ROWS, FlatLeaves, FlatLoss, FlatRows
from treeinf.kernels.formulas.derivatives import SQUARED_ERROR
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.trace import sum_derivatives


@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass", "tweedie"])
def test_leaf_sums_equal_the_slow_twin(recipe):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True)
    trace = ti.TrainingTrace.build(ti.read_model(model), X, y, sample_weight=weight)
    naive = NaiveModel(trace.ensemble)
    gradient, hessian = naive.leaf_sums(
        trace.ensemble.apply(X).tolist(),
        trace.rows.y.tolist(),
        trace.rows.weight.tolist(),
    )
    desired = np.array([value for tree in gradient for value in tree])
    scale = np.abs(trace.rows.weight).sum()
    assert_allclose(trace.leaf_gradient[:, 0], desired, rtol=0, atol=1e-13 * scale)
    desired = np.array([value for tree in hessian for value in tree])
    assert_allclose(trace.leaf_hessian[:, 0], desired, rtol=1e-12)
    raw_score = sum_derivatives(trace.ensemble, trace.rows)[2]
    assert_allclose(raw_score, trace.ensemble.raw_score(X), rtol=1e-12, atol=1e-12)
    assert trace.leaf_rows.sum() == len(X) * trace.ensemble.n_trees


def many_rows(n=5000):
    """A model on few rows, and many rows to replay it over."""
    model, *_ = models.fit("multiclass")
    rng = np.random.default_rng(0)
    return ti.read_model(model), rng.normal(size=(n, 6)), rng.integers(0, 3, n)


def test_any_number_of_threads_gives_the_same_bits():
    ensemble, X, y = many_rows()
    results = []
    for n_jobs in (1, 2, 3, 4):
        explainer = ti.BoostIn(on_mismatch="ignore", n_jobs=n_jobs, batch_size=700)
        explainer.fit(ensemble, X, y)
        top = explainer.top_k(X[:50] + 1, y[:50], k=7)
        results.append(
            [
                explainer.trace_.leaf_gradient,
                explainer.trace_.leaf_hessian,
                sum_derivatives(explainer.ensemble_, explainer.trace_.rows)[2],
                explainer.explain(X[:50] + 1, y[:50]).values,
                explainer.total(X[:50] + 1, y[:50]).values,
                explainer.self_influence().values,
                top.positions,
                top.values,
            ]
        )
    for result in results[1:]:
        for actual, desired in zip(result, results[0], strict=True):
            assert_array_equal(actual, desired)


@pytest.mark.parametrize(
    "explainer",
    [
        ti.BoostIn(on_mismatch="ignore"),
        ti.LeafInfluence(on_mismatch="ignore"),
        ti.LeafInfluence(propagation="single_point", on_mismatch="ignore"),
    ],
)
def test_a_row_alone_has_the_influence_it_has_among_others(explainer):
    """One row goes another way than several do: a sum of one target."""
    ensemble, X, y = many_rows(1500)
    explainer.fit(ensemble, X, y)
    desired = explainer.explain(X[:3] + 1, y[:3]).values
    for t in range(3):
        own = X[t : t + 1] + 1, y[t : t + 1]
        tolerance = {"rtol": 1e-10, "atol": 1e-12 * np.abs(desired[:, t]).max()}
        assert_allclose(
            explainer.explain(*own).values[:, 0], desired[:, t], **tolerance
        )
        top = explainer.top_k(*own, k=5, order="harmful")
        assert_allclose(top.values[0], np.sort(desired[:, t])[:5], **tolerance)


def test_any_batch_size_gives_the_same_bits():
    ensemble, X, y = many_rows(1500)
    desired = None
    for batch_size in (1, 7, 64, 1024, 5000):
        explainer = ti.BoostIn(on_mismatch="ignore", batch_size=batch_size)
        explainer.fit(ensemble, X, y)
        values = explainer.explain(X[:30] + 1, y[:30]).values
        if desired is None:
            desired = values
        assert_array_equal(values, desired)
        top = explainer.top_k(X[:30] + 1, y[:30], k=5, order="harmful")
        assert_array_equal(
            top.positions, np.argsort(desired, axis=0, kind="stable")[:5].T
        )


def test_vector_leaves_give_what_one_tree_an_output_gives():
    """The same model, with the trees of an iteration merged into vector leaves."""
    model, X, y, *_ = models.fit("multiclass", max_depth=1)
    ensemble = ti.TrainingTrace.build(ti.read_model(model), X, y).ensemble
    merged = _merge_outputs(ensemble, X)
    rows = ti.TrainingTrace.build(ensemble, X, y).rows
    cells = merged.leaf[:, : len(X)]
    single = sum_derivatives(ensemble, rows)
    vector = sum_derivatives(
        merged.ensemble, dataclasses.replace(rows, leaf=np.ascontiguousarray(cells))
    )
    assert_allclose(vector[2], single[2], rtol=1e-12, atol=1e-12)
    for k in range(3):
        for t in range(len(cells)):
            tree = 3 * t + k
            first, last = ensemble.leaf_offset[tree : tree + 2]
            for which in (0, 1):
                one = np.zeros(last - first)
                rows_of = merged.members[t]
                width = merged.ensemble.leaf_offset
                part = vector[which][width[t] : width[t + 1], k]
                np.add.at(one, rows_of[:, k], part)
                assert_allclose(one, single[which][first:last, 0], atol=1e-10)


def _merge_outputs(ensemble, X):
    """Turn each iteration's K stumps into one tree-shaped set of vector leaves."""
    leaf = ensemble.apply(X).T
    n_outputs = ensemble.n_outputs
    result = types.SimpleNamespace(members=[])
    ids, values, offset = [], [], [0]
    for t in range(ensemble.n_trees // n_outputs):
        of_tree = leaf[n_outputs * t : n_outputs * (t + 1)].astype(int).T
        members, inverse = np.unique(of_tree, axis=0, return_inverse=True)
        result.members.append(members)
        ids.append(inverse.ravel())
        first = ensemble.leaf_offset[n_outputs * t : n_outputs * (t + 1)]
        values.append(ensemble.leaf_value[first + members, 0])
        offset.append(offset[-1] + len(members))
    n_trees = len(values)
    # a chain of nodes is a valid tree with the right number of leaves; rows are not
    # routed through it here, their leaves are given
    left, right, node_offset = [], [], [0]
    for value in values:
        n = len(value)
        left += [~i for i in range(n - 1)]
        right += [i + 1 if i < n - 2 else ~(n - 1) for i in range(n - 1)]
        node_offset.append(len(left))
    n_nodes = len(left)
    result.leaf = np.array(ids, dtype=np.uint8)
    result.ensemble = dataclasses.replace(
        ensemble,
        node_offset=node_offset,
        leaf_offset=offset,
        iteration=np.arange(n_trees),
        output=np.full(n_trees, -1),
        shrinkage=np.full(n_trees, 0.1),
        feature=np.zeros(n_nodes, int),
        threshold=np.zeros(n_nodes),
        left=np.array(left, int),
        right=np.array(right, int),
        default_left=np.zeros(n_nodes, bool),
        missing=np.zeros(n_nodes, np.uint8),
        is_categorical=np.zeros(n_nodes, bool),
        category_offset=np.zeros(n_nodes + 1, int),
        category_bits=np.zeros(0, np.uint32),
        leaf_value=np.vstack(values),
        leaf_count=None,
        leaf_hessian=None,
        leaf_l2=np.zeros(offset[-1]),
    )
    return result


def test_group_rows_by_leaf_lists_every_row_once(rng):
    leaf = rng.integers(0, 5, size=(3, 200)).astype(np.uint8)
    offset = np.array([0, 5, 10, 15])
    start = np.empty(16, np.int64)
    row = np.empty(600, np.int32)
    own = np.arange(3, dtype=np.int32)
    products.group_rows_by_leaf(leaf, offset, own, start, row)
    for tree in range(3):
        for number in range(5):
            begin, end = start[5 * tree + number : 5 * tree + number + 2]
            assert_array_equal(row[begin:end], np.flatnonzero(leaf[tree] == number))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("n_trees", "leaf_width", "n_lines", "n_targets", "tile_width"),
    [
        (9, 1, 530, 37, 32),
        (17, 1, 20, 64, 32),
        (5, 1, 7, 8, 8),
        (3, 3, 129, 17, 8),
        (1, 1, 5, 1, 8),
        (2, 2, 3, 1030, 32),
        (2, 10, 30, 32, 32),
    ],
)
def test_dense_products_equal_plain_loops(
    n_trees, leaf_width, n_lines, n_targets, tile_width, dtype, rng
):
    """Rows and targets that fill the last block and tile, and that do not."""
    n_leaves, first_row, first_target = 5, 3, 2
    leaf = rng.integers(0, n_leaves, size=(n_trees, n_lines + 4)).astype(np.uint8)
    leaf_row = rng.permutation(n_trees).astype(np.int32)
    offset = np.arange(n_trees + 1) * n_leaves
    leaf_value = np.zeros((n_trees * n_leaves, leaf_width))
    for array in (offset, leaf_value):  # as an ensemble has them
        array.setflags(write=False)
    leaves = FlatLeaves(
        *(offset, leaf_value, np.zeros(n_trees, np.int32), np.arange(n_trees + 1)),
        *(False, leaf_row, np.zeros(1)),
    )
    factor = rng.normal(size=(n_lines, n_trees * leaf_width)).astype(dtype)
    leaf_factor = rng.normal(size=(n_trees * n_leaves, leaf_width, n_targets))
    leaf_factor = leaf_factor.astype(dtype).astype(np.float64)
    desired = np.full((n_lines, n_targets + 3), 7.0)
    for line in range(n_lines):
        for t in range(n_targets):
            total = 0.0
            for tree in range(n_trees):
                number = tree * n_leaves + leaf[leaf_row[tree], first_row + line]
                for column in range(leaf_width):
                    own = factor[line, tree * leaf_width + column]
                    total += float(own) * leaf_factor[number, column, t]
            desired[line, first_target + t] = total
    shape = -(-n_targets // tile_width), n_trees * n_leaves * leaf_width, tile_width
    tiles = np.empty(shape)
    products.tile_factors(leaf_factor, tiles)
    actual = np.full_like(desired, 7.0)
    products.contract_dense(
        *(leaf, leaves, first_row, factor, tiles.astype(dtype)),
        *(n_targets, first_target, actual),
    )
    # products of numbers of single precision are not rounded to it
    assert_allclose(actual, desired, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("n_lines", "n_targets"), [(1, 1), (4, 8), (66, 9), (131, 70), (3, 600)]
)
def test_leaf_coupling_products_equal_plain_loops(n_lines, n_targets, rng):
    """Lines and targets that fill the last block, and that do not; columns of 0."""
    n_own, first_line, first_column = 11, 2, 3
    product = rng.normal(size=(n_lines + 5, n_own + 4))
    product[:, first_column + 4] = 0.0
    product[first_line : first_line + 6, first_column + 7] = 0.0
    product[first_line + 1, first_column + 1] = 0.0
    factor = rng.normal(size=(n_own, n_targets))
    total = rng.normal(size=(n_lines, n_targets))
    desired = total.copy()
    for line in range(n_lines):
        for t in range(n_targets):
            for own in range(n_own):
                value = product[first_line + line, first_column + own]
                desired[line, t] += value * factor[own, t]
    alone = total[:, :1].copy()
    leaf_coupling.add_products(product, first_line, first_column, factor, total)
    assert_allclose(total, desired, rtol=0, atol=1e-13)
    own = np.ascontiguousarray(factor[:, :1])
    leaf_coupling.add_products(product, first_line, first_column, own, alone)
    assert_array_equal(total[:, :1], alone)  # whichever targets are with it


def test_products_of_the_base_score_are_added(rng):
    change, factor = rng.normal(size=(9, 3)), rng.normal(size=(3, 4))
    block = rng.normal(size=(9, 6))
    desired = block.copy()
    for line in range(9):
        for t in range(4):
            for k in range(3):
                desired[line, 1 + t] += change[line, k] * factor[k, t]
    products.add_product(change, factor, 1, block)
    assert_allclose(block, desired, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_merge_top_keeps_the_best_and_the_earlier_of_equals(sign, rng):
    values = rng.integers(-4, 5, size=(300, 6)).astype(float)
    values[rng.random(values.shape) < 0.1] = np.nan
    best_row = np.full((6, 10), -1)
    best_value = np.full((6, 10), np.nan)
    for begin in range(0, 300, 64):
        block = np.ascontiguousarray(values[begin : begin + 64])
        products.merge_top(block, begin, sign, best_row, best_value)
    key = -np.abs(values) if sign == 0 else -sign * values
    desired = np.argsort(np.where(np.isnan(key), np.inf, key), axis=0, kind="stable")
    assert_array_equal(best_row, desired[:10].T)
    assert_array_equal(best_value, np.take_along_axis(values, desired[:10], 0).T)


def test_each_kernel_was_compiled_for_few_types():
    """A read-only, strided or float32 twin of an argument compiles one more version."""
    for module, most in ((replay, 4), (contraction, 4), (products, 4)):
        for name in module.__all__:
            function = getattr(module, name)
            if hasattr(function, "signatures"):
                # uint8 and uint16 leaves, and masks of writable or read-only weights
                assert len(function.signatures) <= most, (name, function.signatures)


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "two", True])
def test_bad_n_jobs_is_refused(n_jobs):
    with pytest.raises(
        (TypeError, ValueError), match="expected None, -1 or a positive"
    ):
        check_n_jobs(n_jobs)


def test_the_number_of_threads_is_put_back():
    import numba

    before = numba.get_num_threads()
    with contextlib.suppress(RuntimeError), limit_threads(1):
        assert numba.get_num_threads() == 1
        raise RuntimeError
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("n_leaves", [3, 20_000])
def test_sums_are_those_of_the_rows_in_one_lane_and_in_several(n_leaves, rng):
    n = 3 * replay.TILE_ROWS + 17
    leaf = rng.integers(0, n_leaves, size=(1, n)).astype(np.uint16)
    value = rng.normal(size=(n_leaves, 1))
    leaves = FlatLeaves(
        np.array([0, n_leaves]),
        value,
        np.zeros(1, np.int32),
        np.array([0, 1]),
        False,
        np.zeros(1, np.int32),
        np.zeros(1),
    )
    target, weight = rng.normal(size=n), rng.uniform(size=n)
    raw_score, parts = np.empty((n, 1)), np.zeros((2, 2, n_leaves, 1))
    replay.replay(
        FlatRows(leaf, target, weight, np.empty((0, 1))),
        leaves,
        FlatLoss(SQUARED_ERROR, 0.0),
        raw_score,
        *parts,
    )
    count = np.zeros(n_leaves, np.int64)
    replay.count_leaf_rows(leaf, leaves.leaf_offset, leaves.leaf_row, ALL_ROWS, count)
    assert (replay.count_accumulators(n_leaves) > 1) == (n_leaves == 3)
    assert_array_equal(count, np.bincount(leaf[0], minlength=n_leaves))
    for part, each in zip(parts, (-weight * target, weight), strict=True):
        desired = np.bincount(leaf[0], each, minlength=n_leaves)
        assert_allclose(part.sum(axis=0)[:, 0], desired, rtol=0, atol=1e-11)
    assert_array_equal(raw_score[:, 0], value[leaf[0], 0])


def test_sums_of_weights_and_counts_in_shared_leaves(rng):
    leaf = rng.integers(0, 5, size=(2, 200)).astype(np.uint8)
    offset, row = np.array([0, 5, 10, 15]), np.array([0, 1, 1], np.int32)
    weight = rng.uniform(size=200)
    total, count = np.zeros(15), np.zeros(15, np.int64)
    replay.sum_leaf_weights(leaf, offset, row, ALL_ROWS, weight, total)
    replay.count_leaf_rows(leaf, offset, row, ALL_ROWS, count)
    for tree in range(3):
        for number in range(5):
            inside = leaf[row[tree]] == number
            assert count[5 * tree + number] == inside.sum()
            assert_allclose(total[5 * tree + number], weight[inside].sum(), rtol=1e-13)
