"""The device that kernels run on; the only importer of ``kernels/cuda``."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.errors import DeviceMemoryError, DeviceUnavailableError
from treeinf.kernels.cpu import (
    contraction,
    leaf_features,
    products,
    replay,
    reverse_sweep,
    routing,
)

__all__ = ["CPU", "DEVICES", "Device", "check_device", "resolve_device"]

DEVICES = ("cpu", "cuda", "auto")
"""Values of the parameter `device`."""

_USED_SHARE = 0.9
"""Share of the free memory that rows may take; the rest is for smaller arrays."""


_HELD: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()
"""Copies on the device, by owner and array id; the array is kept alive beside them."""


def _identity(value: Any) -> Any:
    return value


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
    """Kernels of one device, and transfers of arrays.

    Parameters
    ----------
    name : {"cpu", "cuda"}
        The device.
    routing, replay, contraction, products, reverse_sweep, leaf_features : module
        Its kernels. Those of CUDA have the names and parameters of the CPU's and take
        arrays on the device; its reverse sweep goes by iterations, between which rows
        that do not fit change places.
    put : callable
        Copies an array, or the arrays of a named tuple, to the device.
    get : callable
        Copies an array back.
    empty : callable
        Allocates an array of a shape and a dtype, by default float64.
    zeros : callable
        Allocates an array of 0.0 of a shape.
    most_batches : int, default=64
        Largest number of batches of rows whose sums are formed separately.
    batch_bytes : int, default=2**24
        Size of a batch of row factors: what fits in the cache.
    memory : callable
        Returns free and total bytes, or None where the operating system manages them.
    """

    name: str
    routing: ModuleType = routing
    replay: ModuleType = replay
    contraction: ModuleType = contraction
    products: ModuleType = products
    reverse_sweep: ModuleType = reverse_sweep
    leaf_features: ModuleType = leaf_features
    put: Callable[..., Any] = _identity
    get: Callable[..., Any] = _identity
    empty: Callable[..., Any] = np.empty
    zeros: Callable[..., Any] = np.zeros
    most_batches: int = 64
    batch_bytes: int = 2**24
    memory: Callable[[], tuple[int, int] | None] = lambda: None

    def __reduce__(self) -> tuple[Callable[[str], Device], tuple[str]]:
        return resolve_device, (self.name,)

    @property
    def is_cpu(self) -> bool:
        """Whether this is the CPU, so that arrays are not moved."""
        return self.name == "cpu"

    def hold(self, owner: Any, value: Any) -> Any:
        """Copy an array of an owner to the device once, for as long as the owner lives.

        Parameters
        ----------
        owner : object
            An object that does not change and compares by identity.
        value : ndarray or named tuple
            One of its arrays, the same object in every call.

        Returns
        -------
        array or named tuple
            What `put` returns. On the CPU, `value` itself.
        """
        if self.is_cpu:
            return value
        held = _HELD.setdefault(owner, {})
        if id(value) not in held:
            held[id(value)] = value, self.put(value)
        return held[id(value)][1]

    def holds(self, owner: Any, value: Any) -> bool:
        """Return whether an owner's array is held on the device."""
        return not self.is_cpu and id(value) in _HELD.get(owner, {})

    def write_columns(
        self,
        block: NDArray[np.float64],
        first: int,
        n_columns: int,
        write: Callable[[Any, int], None],
    ) -> None:
        """Let a kernel write columns of an array on the device or the host.

        Parameters
        ----------
        block : array of float64, shape (n_lines, >= first + n_columns)
            The columns are overwritten.
        first, n_columns : int
            Which columns.
        write : callable
            Called with the array to write to and its first column.
        """
        if self.is_cpu or not isinstance(block, np.ndarray):
            write(block, first)
        else:
            buffer = self.empty((len(block), n_columns))
            write(buffer, 0)
            block[:, first : first + n_columns] = self.get(buffer)

    def rows_at_once(self, n_rows: int, row_bytes: int, fixed_bytes: int = 0) -> int:
        """Return how many rows fit in the free memory.

        Parameters
        ----------
        n_rows : int
            Number of rows.
        row_bytes : int
            Memory for each row.
        fixed_bytes : int, default=0
            Memory for any number of rows.

        Returns
        -------
        int
            In [1, n_rows].

        Raises
        ------
        DeviceMemoryError
            If not even a thousand rows fit.
        """
        memory = self.memory()
        if memory is None:
            return n_rows
        free, total = memory
        available = int(_USED_SHARE * free) - fixed_bytes
        if available < row_bytes * min(n_rows, 1000):
            raise DeviceMemoryError(
                f"CUDA has {_in_mebibytes(free)} free of "
                f"{_in_mebibytes(total)}; needed are {_in_mebibytes(fixed_bytes)}, "
                f"and {row_bytes:,} bytes for each row of a block. Free memory on the "
                "device, lower batch_size, or use device='cpu'."
            )
        return min(n_rows, available // max(row_bytes, 1))


CPU = Device("cpu")


def check_device(device: str) -> None:
    """Check the name of a device.

    Raises
    ------
    ValueError
        If it is not one of `DEVICES`.
    """
    if device not in DEVICES:
        raise ValueError(f"Got device={device!r}; expected one of {DEVICES}.")


def resolve_device(device: str) -> Device:
    """Return the kernels of a device.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        "auto" takes CUDA where it can be used, and the CPU elsewhere.

    Returns
    -------
    Device

    Raises
    ------
    ValueError
        If it is not one of these.
    DeviceUnavailableError
        If "cuda" is asked for and cannot be used; the message says why.
    """
    check_device(device)
    if device == "cpu":
        return CPU
    try:
        return _open_cuda()
    except DeviceUnavailableError:
        if device == "cuda":
            raise
        return CPU


@functools.cache
def _open_cuda() -> Device:
    """Import the CUDA kernels, and run one of them as a test."""
    from numba import config

    if not config.ENABLE_CUDASIM and importlib.util.find_spec("numba_cuda") is None:
        raise DeviceUnavailableError(
            "device='cuda' needs numba-cuda, which is not installed: pip install "
            "'treeinf[cuda]'. device='auto' takes the CPU where there is no CUDA."
        )
    from numba import cuda

    try:
        cuda.current_context()
    except Exception as error:
        raise DeviceUnavailableError(
            f"device='cuda': no CUDA device can be used: {_first_words(error)} Check "
            "nvidia-smi, or use device='auto' or 'cpu'."
        ) from error
    from treeinf.kernels.cuda import (
        contraction,
        leaf_features,
        leaf_sums,
        memory,
        products,
        replay,
        reverse_sweep,
        routing,
    )

    try:
        memory.get(memory.zeros((1,)))
    except Exception as error:
        raise DeviceUnavailableError(
            f"device='cuda': {memory.describe_device()} does not run kernels: "
            f"{_first_words(error)} The driver may be older than the CUDA toolkit that "
            "is installed: update it, or install numba-cuda[cu12] for a driver of CUDA "
            "12."
        ) from error
    return Device(
        name="cuda",
        routing=routing,
        replay=replay,
        contraction=contraction,
        products=products,
        reverse_sweep=reverse_sweep,
        leaf_features=leaf_features,
        put=memory.put,
        get=memory.get,
        empty=memory.empty,
        zeros=memory.zeros,
        most_batches=leaf_sums.MOST_BATCHES,
        batch_bytes=2**28,
        memory=memory.count_bytes,
    )


def _first_words(error: Exception) -> str:
    """Return the message of an error in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300].rstrip(".:") + "."


def _in_mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
