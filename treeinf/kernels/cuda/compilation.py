"""How kernels are compiled for CUDA: shared formulas, for tiles of one row."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, cuda, float64
from numba.core.dispatcher import Dispatcher

from treeinf.kernels import rules

__all__ = ["SIMULATED", "THREADS", "count_blocks", "on_device"]

SIMULATED: bool = bool(config.ENABLE_CUDASIM)
"""True under ``NUMBA_ENABLE_CUDASIM=1``: kernels run as Python threads."""

THREADS = 4 if SIMULATED else 128
"""Threads of a block; the simulator starts a Python thread for each."""

_MOST_BLOCKS = 2 if SIMULATED else 4096


def count_blocks(n: int) -> int:
    """Return the number of blocks for a grid-stride loop over `n`."""
    return max(1, min(_MOST_BLOCKS, -(-n // THREADS)))


def on_device(function: Callable[..., Any], n_outputs: int = 1) -> Callable[..., Any]:
    """Compile the source of a shared formula as a function that CUDA kernels call.

    Parameters
    ----------
    function : callable
        A `kernel` or `scalar_rule` of the CPU. What it calls is compiled with it.
    n_outputs : int, default=1
        Length of the arrays it allocates; for tiles of one row, none is longer.

    Returns
    -------
    callable

    Notes
    -----
    There is one source for each formula. Its ``np`` is replaced by the few functions
    that CUDA knows under other names, and the exponential by the device's own.
    """
    return _on_device(getattr(function, "py_func", function), n_outputs)


@functools.cache
def _on_device(function: Callable[..., Any], n_outputs: int) -> Callable[..., Any]:
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if value is rules.exponential:
            names[name] = exponential
        elif value is np and not SIMULATED:
            names[name] = _device_numpy(n_outputs)
        elif isinstance(value, Dispatcher) and value.py_func is not function:
            # the name of the function itself here is that of an attribute
            names[name] = on_device(value, n_outputs)
    rebuilt = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__
    )
    return rebuilt if SIMULATED else cuda.jit(device=True)(rebuilt)


def _exponential(x):
    """Compute e**x, x clipped to the range of `rules.exponential`."""
    return math.exp(max(min(x, 708.0), -708.0))


exponential = _exponential if SIMULATED else cuda.jit(device=True)(_exponential)


@functools.cache
def _device_numpy(n_outputs: int) -> types.ModuleType:
    """Return a module with the functions of NumPy that formulas use."""

    @cuda.jit(device=True, inline="always")
    def empty(n):
        return cuda.local.array(n_outputs, float64)

    @cuda.jit(device=True, inline="always")
    def zeros(n):
        array = cuda.local.array(n_outputs, float64)
        for i in range(n_outputs):
            array[i] = 0.0
        return array

    module = types.ModuleType("device_numpy")
    for name in ("sqrt", "log", "log1p", "isnan"):
        setattr(module, name, getattr(math, name))
    for name in ("float32", "float64", "int32", "uint64"):
        setattr(module, name, getattr(np, name))
    module.empty, module.zeros = empty, zeros  # type: ignore[attr-defined]
    return module
