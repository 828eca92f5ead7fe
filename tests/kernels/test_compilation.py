"""Which version of a kernel a call takes."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import NullCache
from numpy.testing import assert_array_equal

from treeinf.kernels import compilation
from treeinf.kernels.cpu import replay
from treeinf.kernels.flat import ALL_ROWS

pytestmark = pytest.mark.skipif(compilation.jit_disabled, reason="nothing is compiled")


class Spy:
    """Stand in for a version, and note the calls."""

    def __init__(self, version):
        self.version, self.calls = version, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.version(*arguments)


@pytest.fixture
def versions(monkeypatch):
    """Give the versions of a kernel: for one thread, and for several."""
    found = []
    for name in ("_alone", "_threaded"):
        found.append(Spy(getattr(replay.count_leaf_rows, name)))
        monkeypatch.setattr(replay.count_leaf_rows, name, found[-1])
    return found


def count(n_rows):
    leaf = (np.arange(3 * n_rows) % 2).astype(np.uint8).reshape(3, n_rows)
    counted = np.zeros(6, np.int64)
    offset, line = np.array([0, 2, 4, 6]), np.array([2, 1, 0], np.int32)
    offset.flags.writeable = False
    replay.count_leaf_rows(leaf, offset, line, ALL_ROWS, counted)
    return counted


def test_the_size_of_a_call_decides_whether_threads_take_part(versions, monkeypatch):
    # leaves, offsets, lines and counts
    n_rows = 100
    size = 3 * n_rows + 4 + 3 + 6
    results = []
    for limit, expected in ((size, [1, 0]), (size - 1, [1, 1])):
        monkeypatch.setattr(compilation, "SMALL_CALL", limit)
        results.append(count(n_rows))
        assert [one.calls for one in versions] == expected
    assert_array_equal(results[0], [50] * 6)
    assert_array_equal(results[1], results[0])


def test_numba_keeps_the_versions_apart_on_disk():
    own = replay.replay
    names = {one.py_func.__qualname__ for one in (own._alone, own._compiled)}
    assert len(names) == 2


def test_a_kernel_looks_like_its_function():
    kernel = replay.replay
    assert kernel.__name__ == "replay"
    assert "Replay boosting" in kernel.__doc__
    assert list(inspect.signature(kernel).parameters)[:2] == ["rows", "leaves"]


def test_code_on_disk_is_of_one_state_of_all_kernels(tmp_path):
    """What a kernel calls in another file is in its code, which Numba overlooks."""
    package = Path(compilation.__file__).parents[1]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tmp_path / "treeinf", ignore=ignored)
    program = (
        "from treeinf.kernels.rules import _rank_key as rule; rule(1.0, 1); "
        "print(sum(rule.stats.cache_hits.values()), rule.__code__.co_filename)"
    )

    def count_hits():
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        environment.pop("NUMBA_CACHE_DIR", None)
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        hits, path = done.stdout.split()
        assert Path(path).is_relative_to(tmp_path)
        return int(hits)

    assert [count_hits(), count_hits()] == [0, 1]
    with (tmp_path / "treeinf" / "kernels" / "lanes.py").open("a") as file:
        file.write("# another state\n")
    assert [count_hits(), count_hits()] == [0, 1]


def test_the_first_compilation_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(compilation._ANNOUNCEMENT, "is_due", True)

    def add(number):
        return number + 1

    add.__module__ = "treeinf.kernels"
    with caplog.at_level("INFO", "treeinf"):
        for argument in (1, 1.0):
            compiled = compilation.kernel(add)
            compiled._cache = NullCache()
            assert compiled(argument) == argument + 1
    assert [record.getMessage() for record in caplog.records] == [
        "Compiling kernels, once per machine; this may take minutes ..."
    ]
