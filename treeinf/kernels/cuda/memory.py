"""Arrays on the device, and an ensemble's leaves on both sides."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from treeinf.errors import DeviceMemoryError
from treeinf.kernels.cuda.compilation import SIMULATED, THREADS, count_blocks
from treeinf.kernels.flat import ALL_ROWS, FlatBags, FlatLeaves

__all__ = [
    "DeviceLeaves",
    "all_rows",
    "count_bytes",
    "describe_device",
    "empty",
    "fill",
    "get",
    "nothing",
    "put",
    "zeros",
]


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceLeaves:
    """An ensemble's leaves on the device, for kernels, and on the host, for launches.

    Parameters
    ----------
    device, host : FlatLeaves
        The leaves.
    """

    device: FlatLeaves
    host: FlatLeaves

    @property
    def leaf_width(self) -> int:
        """Number of values a leaf holds."""
        return self.host.leaf_value.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of raw-score columns."""
        return self.host.base_score.size

    @property
    def n_iterations(self) -> int:
        """Number of boosting iterations."""
        return len(self.host.iteration_start) - 1

    def trees(self, iteration: int) -> range:
        """Return the trees of an iteration."""
        start = self.host.iteration_start
        return range(int(start[iteration]), int(start[iteration + 1]))

    def with_rows(self, leaf_row: NDArray[np.int32]) -> DeviceLeaves:
        """Return the same leaves, their trees reading other lines of the leaf ids."""
        return DeviceLeaves(
            self.device._replace(leaf_row=put(leaf_row)),
            self.host._replace(leaf_row=leaf_row),
        )

    def most_leaves(self, trees: range) -> int:
        """Return the number of leaves of the largest of some trees."""
        offset = self.host.leaf_offset[trees.start : trees.stop + 1]
        return int((offset[1:] - offset[:-1]).max())


def put(value: Any) -> Any:
    """Copy an array, or the arrays of a named tuple, to the device.

    Arrays on the device, and numbers, stay as they are; `FlatLeaves` become
    `DeviceLeaves`.

    Raises
    ------
    DeviceMemoryError
        If the memory does not suffice.
    """
    if isinstance(value, np.ndarray):
        with _explain_memory_errors(value.nbytes):
            return cuda.to_device(np.ascontiguousarray(value))
    if isinstance(value, FlatLeaves):
        return DeviceLeaves(FlatLeaves(*map(put, value)), value)
    if isinstance(value, tuple):
        return type(value)(*map(put, value))
    return value


def get(array: Any) -> Any:
    """Copy an array back; NumPy arrays are returned as they are."""
    return array if isinstance(array, np.ndarray) else array.copy_to_host()


@functools.cache
def all_rows() -> FlatBags:
    """Return the bags of a training that did not sample rows."""
    return FlatBags(*map(put, ALL_ROWS))


@functools.cache
def nothing(n_columns: int, dtype: Any = np.float64) -> Any:
    """Return an array without rows, for an argument that a kernel does not read."""
    shape = (0, n_columns) if n_columns else (0,)
    return cuda.device_array(shape, dtype)


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """Allocate an array on the device.

    Raises
    ------
    DeviceMemoryError
        If the memory does not suffice.
    """
    with _explain_memory_errors(int(np.prod(shape)) * np.dtype(dtype).itemsize):
        return cuda.device_array(shape, dtype)


def zeros(shape: Any) -> Any:
    """Allocate an array of 0.0 on the device."""
    array = empty(shape)
    fill(array, 0.0)
    return array


def count_bytes() -> tuple[int, int] | None:
    """Return free and total bytes; None in the simulator."""
    if SIMULATED:
        return None
    free, total = cuda.current_context().get_memory_info()
    return int(free), int(total)


def describe_device() -> str:
    """Return the name of the device."""
    if SIMULATED:
        return "the CUDA simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


@contextlib.contextmanager
def _explain_memory_errors(n_bytes: int) -> Iterator[None]:
    """Turn the driver's out-of-memory error into one that names a way out."""
    try:
        yield
    except Exception as error:
        if "OUT_OF_MEMORY" not in str(error).upper().replace(" ", "_"):
            raise
        free, total = count_bytes() or (0, 0)
        raise DeviceMemoryError(
            f"CUDA has no memory for {n_bytes / 2**20:,.0f} MiB more: "
            f"{free / 2**20:,.0f} of {total / 2**20:,.0f} MiB are free. Lower "
            "batch_size, explain fewer rows at once, free memory on the device, or use "
            "device='cpu'."
        ) from error


def fill(array: Any, value: float) -> None:
    """Set every entry of an array."""
    if array.size:
        flat = array.reshape(array.size)
        _fill[count_blocks(array.size), THREADS](flat, value)


@cuda.jit
def _fill(array, value):
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        array[i] = value
