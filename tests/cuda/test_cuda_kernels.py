"""Every CUDA kernel gives what the CPU's gives, which is the judge."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.kernels.test_routing import HARD, grow_ensemble
from treeinf.ensemble import InputRules
from treeinf.ensemble.bags import Bags
from treeinf.kernels.cpu import contraction as cpu_contraction
from treeinf.kernels.cpu import leaf_features as cpu_features
from treeinf.kernels.cpu import products as cpu_products
from treeinf.kernels.cpu import replay as cpu_replay
from treeinf.kernels.cpu import reverse_sweep as cpu_sweep
from treeinf.kernels.cpu import routing as cpu_routing
from treeinf.kernels.device import resolve_device
from treeinf.kernels.flat import FlatLeaves, FlatLoss, FlatRows
from treeinf.kernels.formulas import derivatives
from treeinf.kernels.formulas.adjoint import SweepRule, SweepState
from treeinf.kernels.formulas.derivatives import UNIT_HESSIAN
from treeinf.kernels.formulas.row_factors import (
    BY_TARGET,
    CROSS_CLASS,
    FULL_NEWTON,
    PROPAGATED,
    FactorRule,
)

pytestmark = pytest.mark.cuda

N_ROWS = 30
CLOSE = dict(rtol=1e-11, atol=1e-12)

LOSSES = {
    name: getattr(derivatives, name)
    for name in (
        *("SQUARED_ERROR", "LOGISTIC", "POISSON", "GAMMA", "TWEEDIE", "HUBER"),
        *("HUBER_EXACT", "FAIR", "EXPONENTIAL", "PSEUDO_HUBER", "SQUARED_LOG_ERROR"),
    )
}
MODULES = {
    "routing": cpu_routing,
    "replay": cpu_replay,
    "contraction": cpu_contraction,
    "products": cpu_products,
    "leaf_features": cpu_features,
}


@pytest.fixture(scope="module")
def device():
    return resolve_device("cuda")


class Case:
    """Rows in the leaves of random trees, each of which holds `width` outputs."""

    def __init__(
        self, seed, *, n_outputs=1, width=1, weighted=True, offset=True, bags=None
    ):
        rng = np.random.default_rng(seed)
        n_iterations, per_iteration = 3, 1 if width > 1 else n_outputs
        n_trees = n_iterations * per_iteration
        n_leaves = rng.integers(2, 7, n_trees)
        n_leaves[0] = 1
        leaf_offset = np.concatenate([[0], np.cumsum(n_leaves)])
        self.shape = (int(leaf_offset[-1]), width)
        self.leaves = FlatLeaves(
            leaf_offset=leaf_offset,
            leaf_value=rng.normal(size=self.shape),
            output=np.tile(np.arange(per_iteration, dtype=np.int32), n_iterations),
            iteration_start=np.arange(n_iterations + 1) * per_iteration,
            is_averaged=False,
            leaf_row=np.arange(n_trees, dtype=np.int32),
            base_score=rng.normal(size=n_outputs),
        )
        self.leaf = np.array([rng.integers(0, n, N_ROWS) for n in n_leaves], np.uint8)
        self.n_outputs = n_outputs
        self.rows = FlatRows(
            leaf=self.leaf,
            y=rng.integers(0, max(n_outputs, 2), N_ROWS).astype(np.float64),
            weight=rng.uniform(0.5, 2.0, N_ROWS if weighted else 0),
            offset=rng.normal(size=(N_ROWS if offset else 0, n_outputs)),
        )
        if bags:
            self.rows = self.rows._replace(**draw_bags(bags, n_trees)._asdict())
        self.rng = rng

    def rule(self, kind, *, n_steps=1):
        width = self.shape[1]
        matrix = (
            (self.shape[0], width, width) if kind & FULL_NEWTON else (0, width, width)
        )
        return FactorRule(
            kind=kind,
            n_steps=n_steps,
            scale=self.rng.normal(size=self.shape),
            theta=self.rng.normal(size=self.shape),
            inverse_hessian=self.rng.normal(size=matrix),
            base_score_gradient=self.rng.normal(size=(N_ROWS, self.n_outputs)),
            shrinkage=self.rng.uniform(0.1, 0.5, len(self.leaves.output)),
        )


def draw_bags(kind, n_trees):
    """A bag for each tree but the second, which saw all rows."""
    rng = np.random.default_rng(n_trees)
    bags = rng.random((n_trees, N_ROWS)) < 0.6
    if kind == "factors":
        bags = bags * rng.uniform(1.0, 4.0, bags.shape).astype(np.float32)
    of_tree = np.arange(n_trees)
    of_tree[1] = -1
    return Bags.from_rows(N_ROWS, list(bags), of_tree).flat


every_bag = pytest.mark.parametrize("bags", [None, "bits", "factors"])


def run_both(device, module, name, arguments, outputs):
    """Run a kernel on both sides; gives pairs of what is in `outputs` afterwards.

    `outputs` are places among the arguments.
    """
    own = [_copy(a) for a in arguments]
    getattr(MODULES[module], name)(*own)
    moved = [device.put(a) for a in arguments]
    getattr(getattr(device, module), name)(*moved)
    return [(device.get(moved[i]), own[i]) for i in outputs]


def _copy(argument):
    return argument.copy() if isinstance(argument, np.ndarray) else argument


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("seed", range(3))
def test_routing_over_hard_values(device, seed):
    rng = np.random.default_rng(seed)
    ensemble = grow_ensemble(
        rng,
        rules=InputRules(
            3,
            zero_threshold=[0.0, 1e-35][seed % 2],
            round_to_single=seed == 2,
            category_floor=[-1.0, -5e-324][seed % 2],
        ),
    )
    X = rng.choice(HARD, size=(N_ROWS, 3))
    leaf = np.empty((ensemble.n_trees, N_ROWS), np.uint8)
    with np.errstate(over="ignore"):
        [(actual, desired)] = run_both(
            device, "routing", "route_walk", (X, ensemble.flat_trees, leaf), [2]
        )
    assert_array_equal(actual, desired)


LOSS_CASES = [
    *((name, LOSSES[name], 1, 1) for name in LOSSES),
    ("LOGISTIC, unit hessian", derivatives.LOGISTIC + UNIT_HESSIAN, 1, 1),
    ("SOFTMAX", derivatives.SOFTMAX, 3, 1),
    ("SOFTMAX, vector leaves", derivatives.SOFTMAX, 3, 3),
    ("ONE_VS_ALL", derivatives.ONE_VS_ALL, 3, 1),
]
every_loss = pytest.mark.parametrize(
    ("code", "n_outputs", "width"),
    [case[1:] for case in LOSS_CASES],
    ids=[case[0] for case in LOSS_CASES],
)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("bags", ["bits", "factors"])
def test_replay_over_the_rows_of_bags(device, bags, width):
    case = Case(9, n_outputs=3, width=width, bags=bags)
    parts = np.zeros((2, 2, *case.shape))
    scores = np.empty((N_ROWS, 3))
    loss = FlatLoss(derivatives.SOFTMAX, 1.3)
    arguments = (case.rows, case.leaves, loss, scores, parts[0], parts[1])
    for actual, desired in run_both(device, "replay", "replay", arguments, [3, 4, 5]):
        assert_allclose(actual, desired, **CLOSE)


@every_loss
def test_replay(device, code, n_outputs, width):
    case = Case(code, n_outputs=n_outputs, width=width)
    parts = np.zeros((2, 2, *case.shape))
    scores = np.empty((N_ROWS, n_outputs))
    loss = FlatLoss(code, 1.3)
    arguments = (case.rows, case.leaves, loss, scores, parts[0], parts[1])
    for actual, desired in run_both(device, "replay", "replay", arguments, [3, 4, 5]):
        assert_allclose(actual, desired, **CLOSE)


@pytest.mark.parametrize("weighted", [False, True])
def test_replay_of_averaged_trees_and_rows_without_offset(device, weighted):
    case = Case(4, weighted=weighted, offset=False)
    leaves = case.leaves._replace(is_averaged=True)
    parts = np.zeros((2, 1, *case.shape))
    scores = np.empty((N_ROWS, 1))
    loss = FlatLoss(derivatives.LOGISTIC, 1.0)
    arguments = (case.rows, leaves, loss, scores, parts[0], parts[1])
    for actual, desired in run_both(device, "replay", "replay", arguments, [3, 4, 5]):
        assert_allclose(actual, desired, **CLOSE)


@every_bag
def test_counts(device, bags):
    case = Case(5, n_outputs=3, bags=bags)
    places = case.leaf, case.leaves.leaf_offset, case.leaves.leaf_row
    count = np.zeros(case.shape[0], np.int64)
    [(actual, desired)] = run_both(
        device, "replay", "count_leaf_rows", (*places, case.rows, count), [4]
    )
    assert_array_equal(actual, desired)


def test_scores(device):
    case = Case(5, n_outputs=3)
    arguments = (case.leaf, case.leaves, case.rows.offset, 5, np.empty((N_ROWS, 3)))
    [(actual, desired)] = run_both(device, "replay", "sum_leaf_values", arguments, [4])
    assert_allclose(actual, desired, **CLOSE)
    start, staged = case.rng.normal(size=(N_ROWS, 3)), np.empty((2, N_ROWS, 3))
    for step in (1, 2):
        arguments = case.leaf, case.leaves, 1, step - 1, start, staged
        [(actual, desired)] = run_both(device, "replay", "stage_scores", arguments, [5])
        assert_array_equal(actual, desired)


FULL = CROSS_CLASS | FULL_NEWTON
SWEEPS = [
    *((case[0], *case[1:], 0, 1, 1, None) for case in LOSS_CASES),
    ("SOFTMAX, cross-class", derivatives.SOFTMAX, 3, 1, CROSS_CLASS, 1, 2, None),
    ("SOFTMAX, full", derivatives.SOFTMAX, 3, 3, FULL, 1, 2, None),
    ("SOFTMAX, full, bags", derivatives.SOFTMAX, 3, 3, FULL, 1, 2, "factors"),
    ("SOFTMAX, bags", derivatives.SOFTMAX, 3, 1, CROSS_CLASS, 1, 2, "bits"),
    ("LOGISTIC, bags", derivatives.LOGISTIC, 1, 1, 0, 1, 1, "factors"),
    ("LOGISTIC, several targets", derivatives.LOGISTIC, 1, 1, 0, 1, 3, None),
    ("LOGISTIC, several steps", derivatives.LOGISTIC, 1, 1, 0, 3, 2, None),
]


@pytest.mark.parametrize(
    ("code", "n_outputs", "width", "kind", "n_steps", "n_targets", "bags"),
    [case[1:] for case in SWEEPS],
    ids=[case[0] for case in SWEEPS],
)
@pytest.mark.parametrize("iteration", [0, 2])
def test_sweep(
    device, code, n_outputs, width, kind, n_steps, n_targets, bags, iteration
):
    case = Case(code + kind, n_outputs=n_outputs, width=width, bags=bags)
    leaves, rng, loss = case.leaves, case.rng, FlatLoss(code, 1.3)
    trees = leaves.iteration_start[max(iteration - 1, 0) : iteration + 2]
    previous, first = leaves.leaf_offset[trees[[0, -2]]]
    theta, response = rng.normal(size=(2, *case.shape))
    inverse = rng.normal(size=(case.shape[0] * (kind >= FULL_NEWTON), width, width))
    shrinkage = np.full(len(leaves.output), 0.3)
    rule = SweepRule(kind, n_steps, theta, response, inverse, shrinkage)
    raw_score = rng.normal(size=(N_ROWS, n_outputs))
    factor = rng.normal(size=(*case.shape, n_targets))
    shape = (N_ROWS, n_outputs, n_targets)
    state = SweepState(
        rng.normal(size=shape),
        rng.normal(size=shape if n_steps > 1 else (0, *shape[1:])),
        rng.normal(size=(N_ROWS, n_targets)),
    )
    sums = np.empty((2, first - previous, width, n_targets))
    repeated = np.repeat(response.ravel(), n_targets)
    put = device.put
    moved = put(case.rows), put(leaves), put(rule), put(raw_score), put(factor)
    rows, flat, moved_rule, moved_score, moved_factor = moved
    moved_state, moved_sums = put(state), put(sums)
    device.reverse_sweep.apply_leaf_response(
        flat, iteration, [], put(repeated), put(inverse), moved_factor
    )
    device.reverse_sweep.sweep_iteration(
        *(rows, flat, loss, moved_rule, iteration, moved_score),
        *(moved_factor, moved_state, moved_sums),
    )
    cpu_sweep.sweep_segment(
        *(case.rows, leaves, loss, rule, iteration, raw_score[np.newaxis], 2),
        *(factor, state),
    )
    actual = device.get(moved_factor)
    actual[previous:first] += device.get(moved_sums).sum(axis=0)
    assert_allclose(actual, factor, **CLOSE)
    for array, desired in zip(moved_state, state, strict=True):
        assert_allclose(device.get(array), desired, **CLOSE)


KINDS = [
    ("plain", derivatives.LOGISTIC, 1, 1, 0, 1),
    ("plain softmax", derivatives.SOFTMAX, 3, 1, CROSS_CLASS, 1),
    ("propagated", derivatives.LOGISTIC, 1, 1, PROPAGATED, 1),
    ("propagated in steps", derivatives.LOGISTIC, 1, 1, PROPAGATED, 3),
    ("propagated softmax", derivatives.SOFTMAX, 3, 1, PROPAGATED, 1),
    ("propagated cross-class", derivatives.SOFTMAX, 3, 1, PROPAGATED | CROSS_CLASS, 1),
    ("full", derivatives.SOFTMAX, 3, 3, FULL_NEWTON | CROSS_CLASS, 1),
    (
        "full propagated",
        derivatives.SOFTMAX,
        3,
        3,
        FULL_NEWTON | PROPAGATED | CROSS_CLASS,
        1,
    ),
    ("by target", derivatives.FAIR, 1, 1, BY_TARGET, 1),
]


@pytest.mark.parametrize(
    ("code", "n_outputs", "width", "kind", "n_steps"),
    [case[1:] for case in KINDS],
    ids=[case[0] for case in KINDS],
)
@pytest.mark.parametrize("bags", [None, "bits"])
def test_row_factors_and_their_sums(
    device, code, n_outputs, width, kind, n_steps, bags
):
    case = Case(kind, n_outputs=n_outputs, width=width, bags=bags)
    rule = case.rule(kind, n_steps=n_steps)
    factor = np.empty((20, len(case.leaves.output) * width))
    common = (case.rows, case.leaves, FlatLoss(code, 1.3), rule)
    [(actual, staged)] = run_both(
        device, "contraction", "stage_factors", (*common, 7, factor), [5]
    )
    assert_allclose(actual, staged, **CLOSE)
    leaf_factor = case.rng.normal(size=case.shape)
    moved = [device.put(a) for a in (*common, leaf_factor)]
    influence = device.empty((N_ROWS,))
    device.contraction.contract_rows(*moved, False, influence)
    number = case.leaves.leaf_offset[:-1, np.newaxis] + case.leaf[:, 7:27]
    of_leaf = leaf_factor[number].transpose(1, 0, 2).reshape(staged.shape)
    desired = (staged * of_leaf).sum(axis=1)
    assert_allclose(device.get(influence)[7:27], desired, rtol=1e-10, atol=1e-11)


@every_bag
@pytest.mark.parametrize("is_own", [False, True])
def test_contract_rows(device, is_own, bags):
    case = Case(3, n_outputs=3, bags=bags)
    arguments = (
        *(case.rows, case.leaves, FlatLoss(derivatives.SOFTMAX, 1.3)),
        *(case.rule(CROSS_CLASS), case.rng.normal(size=case.shape)),
        *(is_own, np.empty(N_ROWS)),
    )
    [(actual, desired)] = run_both(
        device, "contraction", "contract_rows", arguments, [6]
    )
    assert_allclose(actual, desired, **CLOSE)


@pytest.mark.parametrize("width", [1, 3])
def test_dense_and_sparse_products(device, width):
    case = Case(8, n_outputs=3, width=width)
    n_trees, n_targets = len(case.leaves.output), 11
    factor = case.rng.normal(size=(11, n_trees * width))
    out = np.full((11, 13), 9.0)
    tiles = case.rng.normal(size=(2, case.shape[0] * width, 8))
    arguments = (case.leaf, case.leaves, 4, factor, tiles, n_targets, 1, out)
    [(actual, desired)] = run_both(device, "products", "contract_dense", arguments, [7])
    assert_allclose(actual, desired, **CLOSE)
    single = (
        *(case.leaf, case.leaves, 4, factor.astype(np.float32)),
        *(tiles.astype(np.float32), n_targets, 1, device.put(out)),
    )
    moved = [device.put(a) for a in single]
    device.products.contract_dense(*moved)
    assert_allclose(device.get(moved[7]), desired, rtol=0, atol=2e-5)
    start = np.empty(case.shape[0] + 1, np.int64)
    target = np.empty(n_trees * n_targets, np.int32)
    cpu_products.group_rows_by_leaf(
        np.ascontiguousarray(case.leaf[:, :n_targets]),
        *(case.leaves.leaf_offset, case.leaves.leaf_row, start, target),
    )
    group_factor = case.rng.normal(size=(len(target), width))
    arguments = (
        *(case.leaf, case.leaves, 4, factor, start, target, group_factor),
        *(n_targets, 1, out),
    )
    [(actual, desired)] = run_both(
        device, "products", "contract_sparse", arguments, [9]
    )
    assert_allclose(actual, desired, **CLOSE)
    square = case.rng.normal(size=case.shape[0])
    arguments = (
        *(case.leaf, case.leaves.leaf_offset, case.leaves.leaf_row, start, target),
        *(square, 4, 1, n_targets, out),
    )
    [(actual, desired)] = run_both(
        device, "leaf_features", "add_shared_leaves", arguments, [9]
    )
    assert_allclose(actual, desired, **CLOSE)


@pytest.mark.parametrize("n_columns", [1, 3, 11])
def test_gathers_and_sums_by_leaf(device, n_columns):
    case = Case(2, n_outputs=2)
    places = case.leaf, case.leaves.leaf_offset, case.leaves.leaf_row
    table = case.rng.normal(size=(case.shape[0], n_columns))
    out = np.full((9, n_columns + 2), 9.0)
    [(actual, desired)] = run_both(
        device, "leaf_features", "gather_leaves", (*places, table, 5, 1, out), [6]
    )
    assert_allclose(actual, desired, **CLOSE)
    value = case.rng.normal(size=(N_ROWS, n_columns))
    total = np.empty((case.shape[0], n_columns))
    [(actual, desired)] = run_both(
        device, "leaf_features", "sum_rows_by_leaf", (*places, value, total), [4]
    )
    assert_allclose(actual, desired, **CLOSE)


def test_trees_of_more_leaves_than_fit_are_summed_in_passes(device):
    rng = np.random.default_rng(0)
    leaf = rng.integers(0, 30, (1, N_ROWS)).astype(np.uint16)
    leaf[0, :3] = [0, 15, 29]
    arguments = (
        *(leaf, np.array([0, 30]), np.zeros(1, np.int32)),
        *(rng.normal(size=(N_ROWS, 2)), np.empty((30, 2))),
    )
    [(actual, desired)] = run_both(
        device, "leaf_features", "sum_rows_by_leaf", arguments, [4]
    )
    assert_allclose(actual, desired, **CLOSE)


@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_best_rows(device, sign):
    rng = np.random.default_rng(1)
    influence = rng.normal(size=(10, 4)).round(1)
    influence[3, 2] = np.nan
    influence[:, 0] = [0.5, -0.5] * 5  # ties
    influence[:8, 1] = np.nan  # fewer rows than places
    arguments = (
        *(influence, 5, sign),
        *(np.full((4, 3), -1), np.full((4, 3), np.nan)),
    )
    for actual, desired in run_both(device, "products", "merge_top", arguments, [3, 4]):
        assert_array_equal(actual, desired)


def test_products_are_added(device):
    rng = np.random.default_rng(2)
    change, factor = rng.normal(size=(9, 3)), rng.normal(size=(3, 4))
    block = rng.normal(size=(9, 6))
    moved = device.put(block)
    device.products.add_product(device.put(change), device.put(factor), 1, moved)
    block[:, 1:5] += change @ factor
    assert_allclose(device.get(moved), block, **CLOSE)


def test_sums_have_the_same_bits_in_every_run(device):
    case = Case(6)
    places = case.leaf, case.leaves.leaf_offset, case.leaves.leaf_row
    value = case.rng.normal(size=(N_ROWS, 1)) * 10.0 ** case.rng.integers(
        -9, 9, (N_ROWS, 1)
    )
    results = []
    for _ in range(2):
        total = device.empty((case.shape[0], 1))
        device.leaf_features.sum_rows_by_leaf(*map(device.put, (*places, value)), total)
        results.append(device.get(total))
    assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("module", MODULES)
def test_both_sides_have_the_same_signatures(device, module):
    both = 0
    for name in getattr(device, module).__all__:
        other = getattr(MODULES[module], name, None)
        if other is None:
            continue
        both += 1
        own = inspect.signature(getattr(getattr(device, module), name))
        other = inspect.signature(getattr(other, "py_func", other))
        assert list(own.parameters) == list(other.parameters), name
    assert both
