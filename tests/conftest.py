"""Settings and fixtures of the whole suite."""

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _share_cores() -> int:
    """Keep the workers of one run from using more threads than there are cores.

    Returns the number of threads a library may use by default in this process. A
    smaller number that the caller has set already stays.
    """
    n_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    n_threads = max(1, (os.cpu_count() or 1) // n_workers)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        current = os.environ.get(name, "")
        wanted = min(n_threads, int(current)) if current.isdecimal() else n_threads
        os.environ[name] = str(wanted)
    # The most that set_num_threads may ask for: tests compare thread counts up to 4
    # even on a small machine. Outside those tests `_numba_threads` holds it down.
    os.environ.setdefault("NUMBA_NUM_THREADS", "4")
    return n_threads


def _kernel_cache_dir() -> Path:
    """Name a Numba cache that only this state of the kernels has written to.

    Numba watches just the file a kernel stands in: after an edit to a function it calls
    from another file, the old machine code would be used. Its index does not know its
    settings (NUMBA_BOUNDSCHECK and the like) either, so they are part of the name.
    """
    state = hashlib.sha256()
    package = ROOT / "treeinf"
    for path in sorted([package / "dtypes.py", *(package / "kernels").rglob("*.py")]):
        if path.is_file():
            state.update(path.relative_to(package).as_posix().encode())
            state.update(path.read_bytes())
    unrelated = {"NUMBA_CACHE_DIR", "NUMBA_ENABLE_CUDASIM", "NUMBA_NUM_THREADS"}
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name not in unrelated:
            state.update(f"{name}={os.environ[name]}".encode())
    return ROOT / ".pytest_cache" / "numba" / state.hexdigest()[:16]


# All of this must stand in the environment before NumPy and Numba are imported.
N_THREADS = _share_cores()
os.environ["NUMBA_CACHE_DIR"] = str(_kernel_cache_dir())
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# No deadlines: the first example of a property may compile a kernel, and the machine
# may be shared. On CI the examples are the same in every run.
hypothesis.settings.register_profile(
    "treeinf",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("treeinf")


def pytest_configure(config):
    """Let plain Python run the kernels: NumPy scalars warn where machine code wraps."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        for words in ("overflow", "invalid value", "divide by zero"):
            config.addinivalue_line(
                "filterwarnings", f"ignore:{words} encountered:RuntimeWarning"
            )


def pytest_collection_modifyitems(items):
    """Skip what is marked `cuda` where there is no device and none is simulated."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    from numba import config, cuda

    if not (config.ENABLE_CUDASIM or cuda.is_available()):
        skip = pytest.mark.skip(
            reason="no CUDA device; NUMBA_ENABLE_CUDASIM=1 simulates"
        )
        for item in marked:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _numba_threads():
    """Let Numba use this worker's share of the cores unless a test asks for more."""
    import numba

    numba.set_num_threads(min(N_THREADS, numba.config.NUMBA_NUM_THREADS))


@pytest.fixture(scope="session", autouse=True)
def _quick_turns():
    """Let the simulator's threads take turns sooner: a barrier takes one for each."""
    from numba import config

    before = sys.getswitchinterval()
    if config.ENABLE_CUDASIM:
        sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def rng() -> np.random.Generator:
    """Give a generator that starts from the same seed in every test."""
    return np.random.default_rng(20240229)
