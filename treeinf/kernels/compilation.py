"""How kernels are compiled: one policy for all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import event
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps
from numba.extending import intrinsic
from numpy.typing import NDArray

from treeinf.kernels.flat import FlatBags, FlatRows
from treeinf.kernels.threads import uses_openmp

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
"""Most entries of the arrays of a `linear_kernel` call that uses one thread: a few
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


class _Announcement(event.Listener):
    """Log the first compilation of a kernel, which the caller waits for."""

    is_due = True

    def on_start(self, event: Any) -> None:
        function = getattr(event.data.get("dispatcher"), "py_func", None)
        if self.is_due and getattr(function, "__module__", "").startswith("treeinf."):
            self.is_due = False
            logging.getLogger(__name__).info(
                "Compiling kernels, once per machine; this may take minutes ..."
            )

    def on_end(self, event: Any) -> None:
        pass


_ANNOUNCEMENT = _Announcement()
event.register("numba:compile", _ANNOUNCEMENT)


class _CheckedCode(CompileResultCacheImpl):
    """Machine code on disk with a checksum, since damaged code can crash a process."""

    def reduce(self, result: Any) -> tuple[bytes, bytes]:
        content = dumps(super().reduce(result))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, payload: tuple[bytes, bytes]) -> Any:
        digest, content = payload
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("The machine code is damaged.")
        return super().rebuild(target_context, pickle.loads(content))


class _KernelCache(FunctionCache):
    """Machine code on disk; where it cannot be read or written, kernels are compiled.

    Numba takes cached code for fresh if the kernel's own file is unchanged. Inlined
    code of other files is in it too: after an update of treeinf it could mix two
    versions, and write past the end of an array. So cached code is fresh only if no
    kernel's file has changed.
    """

    _impl_class = _CheckedCode

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        files = self._cache_file
        files._source_stamp = files._source_stamp, _SOURCES

    def load_overload(self, arguments: Any, target_context: Any) -> Any:
        try:
            result = super().load_overload(arguments, target_context)
        except Exception:  # whatever damaged content raises when it is unpickled
            return None
        # a damaged index may name another version
        is_other = result is not None and result.signature.args != arguments
        return None if is_other else result

    def save_overload(self, arguments: Any, result: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk, a folder of another user
            try:
                super().save_overload(arguments, result)
            except Exception:  # perhaps a damaged index
                self.flush()
                super().save_overload(arguments, result)


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    """Compile with IEEE 754's division, and cache the machine code on disk."""
    compiled = numba.njit(error_model="numpy", **options)(function)
    if not jit_disabled:
        # without a folder to write to, or with another cache in Numba: not on disk
        with contextlib.suppress(RuntimeError, OSError, AttributeError):
            compiled._cache = _KernelCache(function)
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
    return function if jit_disabled else _ThreadedKernel(function)  # type: ignore[arg-type]


class _ThreadedKernel:
    """A kernel compiled for several threads, and for one where threads cannot be used.

    Parameters
    ----------
    function : function
        The kernel.
    """

    def __init__(self, function: FunctionType) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self._compiled: Any = _compile(
            function, fastmath=CONTRACT, parallel=True, nogil=True
        )
        self._threaded: Any = self._start
        _KERNELS.append(self)

    def __call__(self, *arguments: Any) -> Any:
        return self._threaded(*arguments)

    def _start(self, *arguments: Any) -> Any:
        """Call it for the first time, and decide how later calls are made."""
        numba.get_num_threads()  # launches the threads
        self._threaded = self._compiled
        if numba.threading_layer() == "workqueue":
            self._threaded = self._take_turns
        return self._threaded(*arguments)

    def _take_turns(self, *arguments: Any) -> Any:
        """Call it while no other thread does: the workqueue would end the process."""
        with _TURN:
            return self._compiled(*arguments)

    @functools.cached_property
    def _alone(self) -> Any:
        """The version for one thread."""
        function = self.py_func
        twin = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        # the cache on disk is keyed by this name, whatever the options
        twin.__qualname__ = f"{function.__qualname__}_alone"
        return _compile(twin, fastmath=CONTRACT, nogil=True)

    @property
    def signatures(self) -> list[Any]:
        """Types it was compiled for, in either version."""
        alone = vars(self).get("_alone")
        return list({*self._compiled.signatures, *(alone.signatures if alone else ())})

    def work_alone(self) -> None:
        """Use one thread from now on."""
        self._threaded = lambda *arguments: self._alone(*arguments)


class _SizedKernel(_ThreadedKernel):
    """A kernel whose threads only calls of a certain size use."""

    def __call__(self, *arguments: Any) -> Any:
        size = sum(array.size for array in _list_arrays(arguments))
        return (self._alone if size <= SMALL_CALL else self._threaded)(*arguments)


_KERNELS: list[_ThreadedKernel] = []
_TURN = threading.RLock()


def _adapt_to_fork() -> None:
    """Let a forked process do without the threads that its parent had.

    The threads of GNU's OpenMP are not in the child, and a kernel that called for them
    would end it. Numba's other layers start new threads.
    """
    global _TURN
    _TURN = threading.RLock()  # another thread may have held it
    if uses_openmp():
        for threaded in _KERNELS:
            threaded.work_alone()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_adapt_to_fork)


def _list_arrays(arguments: tuple[Any, ...]) -> list[NDArray[Any]]:
    """List the arrays among arguments, those of rows included."""
    arrays: list[NDArray[Any]] = []
    for argument in arguments:
        if isinstance(argument, FlatRows | FlatBags):
            arrays += argument
        elif isinstance(argument, np.ndarray):
            arrays.append(argument)
    return arrays


def linear_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a parallel kernel whose time grows with the size of its arrays.

    A call with at most `SMALL_CALL` entries in its arrays and those of its `FlatRows`
    uses a version without threads, which compiles in less than half the time: with
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
