"""Kernels compile for a GPU where there is none: numba-cuda and its toolkit will do."""

import importlib.util
import types

import pytest
from numba import config
from numba import types as nb

from treeinf.kernels.flat import FlatLeaves, FlatRows, FlatTrees
from treeinf.kernels.formulas import derivatives
from treeinf.kernels.formulas.adjoint import SweepRule, SweepState
from treeinf.kernels.formulas.row_factors import (
    CROSS_CLASS,
    FULL_NEWTON,
    PROPAGATED,
    FactorRule,
)

pytestmark = pytest.mark.skipif(
    bool(config.ENABLE_CUDASIM) or importlib.util.find_spec("numba_cuda") is None,
    reason="needs numba-cuda, and no simulator",
)

HOPPER = (9, 0)
F8, I8, I4, YES = nb.float64, nb.int64, nb.int32, nb.boolean


def array(dtype, n_dimensions=1):
    return nb.Array(dtype, n_dimensions, "C")


F1, F2, F3 = (array(F8, n) for n in (1, 2, 3))
LEAF = array(nb.uint8, 2)
I1, N1, B1, W1 = array(I8), array(I4), array(YES), array(nb.uint32)
TREES = nb.NamedTuple(
    [*(I1, I1, N1, F1, N1, N1, B1, B1, B1, B1, I1, W1), F8, F8, YES], FlatTrees
)
LEAVES = nb.NamedTuple([I1, F2, N1, I1, YES, N1, F1], FlatLeaves)
BAGS = array(nb.uint64, 2), array(nb.float32, 2), N1
ROWS = nb.NamedTuple([LEAF, F1, F1, F2, *BAGS], FlatRows)
RULE = nb.NamedTuple([I8, I8, F2, F2, F3, F2, F1], FactorRule)
SWEEP = nb.NamedTuple([I8, I8, F2, F2, F3, F1], SweepRule)
STATE = nb.NamedTuple([F3, F3, F2], SweepState)


@pytest.fixture(scope="module")
def compile_kernel():
    cuda = pytest.importorskip("numba.cuda")
    dispatcher = pytest.importorskip("numba.cuda.dispatcher")
    patch = pytest.MonkeyPatch()
    device = types.SimpleNamespace(compute_capability=HOPPER)
    patch.setattr(dispatcher, "get_current_device", lambda: device)

    def run(kernel, *signature):
        ptx, _ = cuda.compile(
            kernel.py_func, signature, cc=HOPPER, device=False, abi="numba"
        )
        assert ".visible .entry" in (ptx if isinstance(ptx, str) else ptx.decode())

    yield run
    patch.undo()


def test_routing_and_sums(compile_kernel):
    from treeinf.kernels.cuda import leaf_features, leaf_sums, routing

    compile_kernel(routing._route_walk, F2, TREES, LEAF)
    numbers = [I8, I8, I8, F2, F2, I8, I8, I8, I8, F2]
    compile_kernel(leaf_sums._sum_trees, LEAF, I1, N1, N1, *BAGS, *numbers)
    compile_kernel(leaf_sums._add_batches, F2, I8, F1, F1)
    compile_kernel(leaf_features._gather_leaves, LEAF, I1, N1, F2, I8, I8, F2)


@pytest.mark.parametrize(
    ("code", "n_outputs", "width", "kind"),
    [
        (derivatives.LOGISTIC, 1, 1, 0),
        (derivatives.SOFTMAX, 3, 1, CROSS_CLASS),
        (derivatives.SOFTMAX, 3, 3, CROSS_CLASS | FULL_NEWTON),
        (derivatives.SQUARED_LOG_ERROR, 1, 1, 0),
    ],
)
def test_sweep_and_row_factors(compile_kernel, code, n_outputs, width, kind):
    from treeinf.kernels.cuda import contraction, replay, reverse_sweep

    sweep = reverse_sweep._sweep_rows(code, n_outputs, width, kind, 1, False)
    compile_kernel(sweep, ROWS, LEAVES, F8, SWEEP, I8, I8, YES, F2, F3, STATE)
    stage = replay._stage_scores(n_outputs)
    compile_kernel(stage, LEAF, LEAVES, I8, I8, F2, F3)
    step = replay._replay_iteration(code, n_outputs)
    compile_kernel(step, ROWS, LEAVES, I8, I8, YES, F8, F2, F2, F2)
    walk = contraction._walk_rows(code, n_outputs, width, kind | PROPAGATED, "staged")
    compile_kernel(walk, ROWS, LEAVES, F8, RULE, I8, F2, F2)


def test_products_and_ranking(compile_kernel):
    from treeinf.kernels.cuda import products

    for dtype in (F8, nb.float32):
        factors = array(dtype, 2), array(dtype, 3)
        rest = *factors, I8, I8, F2
        compile_kernel(products._contract_dense, LEAF, LEAVES, I8, *rest)
    groups = F2, I1, N1, F2, I8, I8, F2
    compile_kernel(products._contract_sparse, LEAF, LEAVES, I8, *groups)
    compile_kernel(products._add_product, F2, F2, I8, F2)
    compile_kernel(products._merge_top, F2, I8, I8, array(I8, 2), F2)
