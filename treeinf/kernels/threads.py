"""Number of threads that a kernel call may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numba
from threadpoolctl import threadpool_limits

__all__ = ["check_n_jobs", "limit_threads", "one_blas_thread", "threads_for"]

_WORTH_A_THREAD = 4096


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
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int):
        raise TypeError(
            f"Got n_jobs={n_jobs!r}; expected None, -1 or a positive integer."
        )
    if n_jobs < 1:
        raise ValueError(
            f"Got n_jobs={n_jobs!r}; expected None, -1 or a positive integer."
        )
    return min(n_jobs, int(numba.config.NUMBA_NUM_THREADS))


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
    """Let kernels use only as many threads as pay, inside the ``with`` block.

    Parameters
    ----------
    work : int
        Rows times queries of one call. Waking a thread and waiting for it pays from a
        few thousand on; where another program has the core, the wait is long.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(before, work // _WORTH_A_THREAD)))
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
    with threadpool_limits(1, user_api="blas"):
        yield
