"""The CUDA tests run in the simulator, or on a device; elsewhere they are skipped."""

import sys

import pytest
from numba import config, cuda


def pytest_collection_modifyitems(items):
    if config.ENABLE_CUDASIM or cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device; NUMBA_ENABLE_CUDASIM=1 simulates")
    for item in items:
        needs_device = item.path.stem != "test_cuda_compilation"
        if "cuda" in item.path.parts and needs_device:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _quick_turns():
    """Let the simulator's threads take turns sooner: a barrier takes one for each."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)
