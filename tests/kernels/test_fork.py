"""A process that has run kernels in parallel may fork, and its children compute."""

import os
import subprocess
import sys

import pytest

from treeinf.kernels import compilation

pytestmark = [
    pytest.mark.skipif(compilation.jit_disabled, reason="nothing is compiled"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork"),
]

PROGRAM = """
import concurrent.futures, multiprocessing, os, threading
import numba, numpy as np
from treeinf.kernels import compilation
from treeinf.kernels.cpu.products import merge_top
from treeinf.kernels.cpu.replay import count_leaf_rows
from treeinf.kernels.flat import ALL_ROWS

compilation.SMALL_CALL = 0  # threads take part in every call

def compute(_=None):
    leaf = (np.arange(3000) % 2).astype(np.uint8).reshape(3, 1000)
    offset, line = np.array([0, 2, 4, 6]), np.array([2, 1, 0], np.int32)
    offset.flags.writeable = False
    counted = np.zeros(6, np.int64)
    count_leaf_rows(leaf, offset, line, ALL_ROWS, counted)
    best = np.full((4, 2), -1), np.full((4, 2), np.nan)
    merge_top(np.arange(20.0).reshape(5, 4), 0, 1, *best)
    return counted.tolist() + best[0].tolist()

expected = compute()
assert numba.threading_layer() == LAYER
fork = multiprocessing.get_context("fork")
with fork.Pool(2) as pool:
    assert pool.map_async(compute, range(3)).get(timeout=200) == [expected] * 3
with concurrent.futures.ProcessPoolExecutor(2, fork) as pool:
    assert list(pool.map(compute, range(3), timeout=200)) == [expected] * 3
child = os.fork()
if not child:
    os._exit(compute() != expected)
assert os.waitpid(child, 0)[1] == 0
with concurrent.futures.ThreadPoolExecutor(10) as pool:
    assert list(pool.map(compute, range(40), timeout=200)) == [expected] * 40
if MODEL:
    import lightgbm
    X = np.random.default_rng(0).normal(size=(5000, 3))
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1, n_jobs=2)
    model.fit(X, X[:, 0])
    with fork.Pool(1) as pool:
        pool.apply_async(model.predict, [X]).get(timeout=200)
print("done")
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_forked_children_and_threads_compute_the_same(layer):
    pytest.importorskip("lightgbm")
    if layer == "omp" and not sys.platform.startswith("linux"):
        pytest.skip("OpenMP is only sure to be there on Linux")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"LAYER, MODEL = {layer!r}, {layer == 'omp'}\n{PROGRAM}",
        ],
        env={**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "done\n", done.stderr
