"""Run lists of independent tasks in threads or processes, with progress."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn import config_context, get_config
from tqdm.auto import tqdm

from treeinf.kernels.threads import check_n_jobs
from treeinf.training.checkpoint import ResultFolder

__all__ = ["Progress", "run_numbered", "run_tasks"]

_LARGEST_CHUNK = 16
_CHUNKS_PER_WORKER = 4

T = TypeVar("T")


class Progress:
    """Progress bar over all fits of a job, with the time left.

    Parameters
    ----------
    label : str
        Text before the bar.
    is_shown : bool
        Whether to show it.
    unit : str, default="fit"
        What is counted.
    """

    def __init__(self, label: str, *, is_shown: bool, unit: str = "fit") -> None:
        # a log file gets a line a minute
        interval = 0.1 if sys.stderr.isatty() else 60.0
        self._bar = tqdm(
            desc=label, total=0, unit=unit, disable=not is_shown, mininterval=interval
        )

    def expect(self, n_fits: int) -> None:
        """Announce fits; the time left is estimated from those announced."""
        self._bar.total += n_fits
        self._bar.refresh()

    def step(self, stage: str = "") -> None:
        """Count one fit as done."""
        if stage:
            self._bar.set_postfix_str(stage, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Close the bar as it is."""
        self._bar.close()


def run_tasks(
    tasks: Sequence[Callable[[], T]],
    n_workers: int,
    *,
    workers: Literal["threads", "processes"] = "threads",
    shares_memory: bool = False,
    ordered: bool = True,
    chunk_size: int = 1,
) -> Iterator[T]:
    """Run tasks in parallel, and return their results as they come.

    Parameters
    ----------
    tasks : sequence of callable
        Independent of one another; pickled for processes.
    n_workers : int
        Parallel tasks; 1 runs them in the calling thread.
    workers : {"threads", "processes"}, default="threads"
        What runs them, unless `joblib.parallel_config` names another backend.
    shares_memory : bool, default=False
        Require threads, whatever backend is configured.
    ordered : bool, default=True
        Yield the results in the order of the tasks.
    chunk_size : int, default=1
        Tasks sent to a worker together.

    Returns
    -------
    iterator
        Results; several workers start at once, a single one computes lazily. Workers
        have scikit-learn's configuration of the calling thread, and its filters of
        warnings. Closed or dropped before its end, it cancels the tasks that have not
        begun.

    Notes
    -----
    scikit-learn's own `Parallel` sets the filters in every thread anew, which one
    thread must not do while others warn.
    """
    if n_workers <= 1 or len(tasks) <= 1:
        return (task() for task in tasks)
    chunks = [tasks[i : i + chunk_size] for i in range(0, len(tasks), chunk_size)]
    where = {"require": "sharedmem"} if shares_memory else {"prefer": workers}
    parallel = _SilentParallel(
        n_jobs=n_workers,
        return_as="generator" if ordered else "generator_unordered",
        **where,
    )
    run = functools.partial(
        _run_chunk,
        config=get_config(),
        filters=list(warnings.filters),
        caller=os.getpid(),
    )
    return itertools.chain.from_iterable(
        parallel(joblib.delayed(run)(chunk) for chunk in chunks)
    )


class _SilentParallel(joblib.Parallel):
    """Parallel whose results may be dropped before their end without a warning.

    An error or an interrupt of the caller ends the tasks, and is reported anyway.
    Filters of warnings would not do: they are changed in the threads of other tasks.
    """

    def _warn_exit_early(self) -> None:
        pass


def _run_chunk(
    tasks: Sequence[Callable[[], T]],
    config: dict[str, Any],
    filters: list[Any],
    caller: int,
) -> list[T]:
    """Run tasks under the configuration and the filters of the calling process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(config_context(**config))
        if os.getpid() != caller:  # threads of the caller share its filters
            stack.enter_context(warnings.catch_warnings())
            warnings.filters = filters
        return [task() for task in tasks]


def run_numbered(
    task: Callable[[int], NDArray[np.float64]],
    numbers: Sequence[int],
    *,
    store: ResultFolder | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
    label: str = "",
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Run one task for several numbers in processes, except for stored results.

    Parameters
    ----------
    task : callable
        Returns the result of a number; pickled for several processes.
    numbers : sequence of int
        Arguments of the task.
    store : ResultFolder, optional
        Where results are looked up first and stored as they come.
    n_jobs : int or None
        Processes; None or -1 for all.
    verbose : bool
        Show a progress bar.
    label : str
        Text before the bar.

    Yields
    ------
    number : int
        In the order of `numbers`.
    result : ndarray of float64
        The same for any number of processes.
    """
    missing = [n for n in numbers if store is None or str(n) not in store]
    n_workers = min(check_n_jobs(n_jobs), len(missing))
    # rows are pickled once per chunk, so a few large chunks are cheaper
    chunk_size = len(missing) // (_CHUNKS_PER_WORKER * max(n_workers, 1))
    fresh = run_tasks(
        [functools.partial(task, number) for number in missing],
        n_workers,
        workers="processes",
        chunk_size=min(_LARGEST_CHUNK, max(1, chunk_size)),
    )
    to_compute = set(missing)
    with contextlib.closing(Progress(label, is_shown=verbose)) as progress:
        progress.expect(len(numbers))
        for number in numbers:
            if number in to_compute:
                result = next(fresh)
                if store is not None:
                    store.write(str(number), result)
            else:
                assert store is not None
                result = store.read(str(number))
            progress.step()
            yield number, result
