"""Memory: growth of the peak resident set, and how fast main memory streams."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from treeinf.evaluation.timing import time_call

__all__ = ["grow_of_peak", "measure_bandwidth"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_BANDWIDTH_BYTES = 2**28


def grow_of_peak(call: Callable[[], Any]) -> float:
    """Run a call and give the growth of the peak resident set.

    Parameters
    ----------
    call : callable
        Ran once before, so that what it compiles and keeps is there.

    Returns
    -------
    float
        MiB, its result included; NaN where there is no Linux to ask.

    Notes
    -----
    What the allocator has kept from earlier calls is given back to the kernel first:
    used again, it would not count.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RESET.write_text(_RESET_PEAK)
        before = _read("VmRSS")
    except (OSError, AttributeError, TypeError):
        return math.nan
    result = call()
    after = _read("VmHWM")
    del result
    return after - before


def measure_bandwidth(n_jobs: int, repeats: int = 5) -> float:
    """Measure how fast memory streams: a copy, each thread its own share.

    Parameters
    ----------
    n_jobs : int
        Threads.
    repeats : int, default=5
        Copies timed, after one that is not; the best counts.

    Returns
    -------
    float
        Bytes a second, those read and those written.
    """
    source = np.ones(_BANDWIDTH_BYTES // 8)
    target = np.zeros_like(source)
    shares = list(
        zip(np.array_split(source, n_jobs), np.array_split(target, n_jobs), strict=True)
    )

    def copy(share: tuple[Any, Any]) -> None:
        np.copyto(share[1], share[0])

    with ThreadPoolExecutor(n_jobs) as pool:
        list(pool.map(copy, shares))
        best = min(
            time_call(lambda: list(pool.map(copy, shares)))[0] for _ in range(repeats)
        )
    return 2.0 * source.nbytes / best


def _read(field: str) -> float:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024.0
