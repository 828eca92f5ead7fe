"""Memory by the kernel's own accounting: how far the resident set grew at its peak."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["grow_of_peak"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


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


def _read(field: str) -> float:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024.0
