"""How kernels are compiled: one policy for all."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.caching import NullCache
from numba.extending import intrinsic
from numpy.typing import NDArray

from treeinf.kernels.flat import FlatRows

__all__ = [
    "CONTRACT",
    "SMALL_CALL",
    "jit_disabled",
    "kernel",
    "linear_kernel",
    "parallel_kernel",
    "scalar_rule",
]

CONTRACT = {"contract"}
"""The only fast-math flag in use: multiply and add may round once instead of twice.

NaN and inf keep their meaning and sums keep their order. Measured on the replay of
500,000 rows x 100 trees: contraction alone is worth 6 %, reassociation nothing more.
"""

SMALL_CALL = 2**19
"""Numbers in the arrays of a call of a `linear_kernel` that takes one thread: a few
milliseconds."""

jit_disabled: bool = bool(numba.config.DISABLE_JIT)
"""True under ``NUMBA_DISABLE_JIT=1``: kernels run as plain Python."""


def _hash_sources() -> str:
    """Return a hash of the source of all kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_SOURCES = _hash_sources()


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    """Compile with IEEE 754's division, and cache the machine code on disk.

    Numba takes cached code for fresh if the kernel's own file is unchanged. Inlined
    code of other files is in it too: after an update of treeinf it could mix two
    versions, and write past the end of an array. So cached code is fresh only if no
    kernel's file has changed.
    """
    compiled = numba.njit(error_model="numpy", **options)(function)
    if jit_disabled:
        return compiled
    compiled.enable_caching()
    try:
        cache = compiled._cache._cache_file
        cache._source_stamp = cache._source_stamp, _SOURCES
    except AttributeError:  # no cache directory, or a Numba that caches otherwise
        compiled._cache = NullCache()
    return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a sequential kernel that keeps NaN, inf and the order of sums.

    Division by zero follows IEEE 754 instead of raising.
    """
    return _compile(function, fastmath=CONTRACT)


def parallel_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel whose ``prange`` iterations each own what they write.

    Results are bitwise the same for any number of threads, since no iteration reads or
    adds to what another writes.
    """
    options = {"fastmath": CONTRACT, "parallel": True, "nogil": True}
    return _compile(function, **options)


class _SizedKernel:
    """A kernel compiled for several threads and for one; a call's size selects.

    Parameters
    ----------
    function : function
        The kernel.
    """

    def __init__(self, function: FunctionType) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self._threaded: Any = parallel_kernel(function)
        twin = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        # the cache on disk goes by this name, whatever the options
        twin.__qualname__ = f"{function.__qualname__}_alone"
        self._alone: Any = _compile(twin, fastmath=CONTRACT, nogil=True)

    def __call__(self, *arguments: Any) -> Any:
        size = sum(array.size for array in _list_arrays(arguments))
        return (self._alone if size <= SMALL_CALL else self._threaded)(*arguments)

    @property
    def signatures(self) -> list[Any]:
        """Types it was compiled for, in either version."""
        return list({*self._alone.signatures, *self._threaded.signatures})


def _list_arrays(arguments: tuple[Any, ...]) -> list[NDArray[Any]]:
    """List the arrays among arguments, those of rows included."""
    arrays: list[NDArray[Any]] = []
    for argument in arguments:
        if isinstance(argument, FlatRows):
            arrays += argument
        elif isinstance(argument, np.ndarray):
            arrays.append(argument)
    return arrays


def linear_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a parallel kernel whose time grows with the size of its arrays.

    A call with at most `SMALL_CALL` numbers in its arrays and those of its `FlatRows`
    takes a version without threads, which compiles in less than half the time: with
    small data, compiling is what one waits for. The choice does not depend on the
    number of threads, which changes no bit of a result.
    """
    return function if jit_disabled else _SizedKernel(function)  # type: ignore[arg-type]


def scalar_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar rule that kernels call; no fast-math, exact comparisons."""
    return _compile(function)


@intrinsic
def float_from_bits(typing_context, bits):
    """Read the 64 bits of an int64 as a float64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@intrinsic
def bits_from_float(typing_context, value):
    """Read the 64 bits of a float64 as an int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate
