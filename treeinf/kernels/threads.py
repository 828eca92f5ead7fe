"""Number of threads that a kernel call may use."""

from __future__ import annotations

import contextlib
import ctypes
import numbers
import os
import threading
from collections.abc import Iterator

import numba
from threadpoolctl import threadpool_limits

__all__ = [
    "check_n_jobs",
    "limit_threads",
    "one_blas_thread",
    "threads_for",
    "uses_openmp",
]

_WORK_PER_THREAD = 4096


def check_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads that `n_jobs` stands for.

    Parameters
    ----------
    n_jobs : int or None
        None or -1 for all threads that Numba has.

    Raises
    ------
    TypeError, ValueError
        If it is anything else but a positive integer.
    """
    if n_jobs is None or n_jobs == -1:
        return int(numba.config.NUMBA_NUM_THREADS)
    problem = f"Got n_jobs={n_jobs!r}; expected None, -1 or a positive integer."
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral):
        raise TypeError(problem)
    if n_jobs < 1:
        raise ValueError(problem)
    return min(int(n_jobs), int(numba.config.NUMBA_NUM_THREADS))


@contextlib.contextmanager
def limit_threads(n_jobs: int | None) -> Iterator[None]:
    """Let kernels use at most `n_jobs` threads inside the ``with`` block.

    Parameters
    ----------
    n_jobs : int or None
        None or -1 for all.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(check_n_jobs(n_jobs))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextlib.contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Let kernels use no more threads than pay off inside the ``with`` block.

    Parameters
    ----------
    work : int
        Rows times queries of one call. Waking a thread and waiting for it pays off from
        a few thousand on; where another program has the core, the wait is long.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(before, work // _WORK_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrix products and decompositions use one thread inside the ``with`` block.

    With more, BLAS adds in another order and results differ in the last bits, and its
    threads spin while they wait for a busy core. The limit holds for the whole process:
    enter it before work is distributed to Python's threads.
    """
    with _ONE_BLAS_THREAD:
        yield


class _BlasLimit:
    """A limit that holds from the first thread that enters to the last that leaves."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew, with no thread inside."""
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._limit = threadpool_limits(1, user_api="blas")
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._limit.restore_original_limits()


def uses_openmp() -> bool:
    """Return whether kernels have run on the threads of OpenMP."""
    try:
        return bool(numba.threading_layer() == "omp")
    except ValueError:  # nothing has run in parallel yet
        return False


def _dismiss_openmp_threads() -> None:
    """Let the idle threads of GNU's OpenMP end; the next parallel loop starts others.

    A forked child has none of them, but would wait for them for ever: in a kernel, and
    where LightGBM or scikit-learn predicts.
    """
    if not uses_openmp():
        return
    with contextlib.suppress(OSError), open("/proc/self/maps") as file:
        paths = {line.split()[-1] for line in file if "libgomp" in line}
        for path in paths:
            library = ctypes.CDLL(path, os.RTLD_NOLOAD | os.RTLD_LAZY)
            with contextlib.suppress(AttributeError):  # before GCC 9
                library.omp_pause_resource_all(_HARD_PAUSE)


_HARD_PAUSE = 2
_ONE_BLAS_THREAD = _BlasLimit()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_dismiss_openmp_threads,
        # threads that are inside do not come along
        after_in_child=_ONE_BLAS_THREAD.reset,
    )
