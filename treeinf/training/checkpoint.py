"""Results kept on disk as they come, so that an interrupted run can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.files import write_whole

__all__ = ["Checkpoint", "RecordFile", "describe_estimator", "hash_arrays"]

_FORMAT = "treeinf checkpoint 1"
_NAME = "checkpoint.json"
_IRRELEVANT = ("n_jobs", "thread_count", "verbose")


def hash_arrays(*arrays: NDArray[Any]) -> str:
    """Give a short hash of the bytes of arrays."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(str((array.dtype, array.shape)).encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()[:24]


def describe_estimator(estimator: Any) -> str:
    """Say in text what an unfitted estimator is: classes, parameters, versions.

    The number of threads is left out: copies have one.

    Notes
    -----
    Equal texts mean equal estimators as far as parameters tell; values that are
    neither plain nor estimators stand as the hash of their pickle.
    """
    package = type(estimator).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "")
    parts = [
        f"{name}={_describe_value(value)}"
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name not in _IRRELEVANT
    ]
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    return f"{kind}({', '.join(parts)}) {package} {version}".strip()


def _describe_value(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return describe_estimator(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_describe_value, value))}]"
    if isinstance(value, Mapping):
        items = [f"{k!r}: {_describe_value(v)}" for k, v in value.items()]
        return f"{{{', '.join(sorted(items))}}}"
    if hasattr(value, "__qualname__"):
        code = getattr(getattr(value, "__code__", None), "co_code", b"")
        return f"{value.__module__}.{value.__qualname__} {joblib.hash(code)}"
    return str(joblib.hash(value))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder with the results of refits of one model on one table.

    Make it with `open`. It holds `checkpoint.json`, which says what it belongs to, and
    one file of records for each set of explained rows. Nothing in it is pickled.

    Parameters
    ----------
    folder : Path
        The folder.
    """

    folder: Path

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], identity: Mapping[str, str]
    ) -> Checkpoint:
        """Open a folder, or make it.

        Parameters
        ----------
        path : path-like
            A folder that is not there yet, is empty, or is such a checkpoint.
        identity : dict of str to str
            What the results depend on, by name.

        Raises
        ------
        ValueError
            If the folder has other files, or its results are of another model, other
            rows or other parameters.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"Got checkpoint={str(path)!r}, which is a file; expected a folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        label = folder / _NAME
        if not label.exists():
            others = sorted(entry.name for entry in folder.iterdir())
            if others:
                raise ValueError(
                    f"Got checkpoint={str(path)!r}, a folder with other files "
                    f"({', '.join(others[:3])}) and no {_NAME}; give a new folder."
                )
            with write_whole(label) as file:
                file.write_text(json.dumps({"format": _FORMAT, **identity}, indent=1))
        try:
            found = json.loads(label.read_text())
        except ValueError as error:
            raise ValueError(
                f"{label} is damaged ({error}); delete the folder."
            ) from error
        if not isinstance(found, dict) or found.pop("format", None) != _FORMAT:
            raise ValueError(f"{label} is not a {_FORMAT!r}; give another folder.")
        other = [
            name
            for name in sorted(set(found) | set(identity))
            if found.get(name) != identity.get(name)
        ]
        if other:
            raise ValueError(
                f"The checkpoint in {str(path)!r} is of another run; different are: "
                f"{', '.join(other)}. Give another folder, or delete this one."
            )
        return cls(folder)

    def results(self, name: str, shape: tuple[int, ...]) -> RecordFile:
        """Open the records of one set of explained rows.

        Parameters
        ----------
        name : str
            Names the set.
        shape : tuple of int
            Shape of each result.
        """
        return RecordFile(self.folder / f"{name}.records", shape)


class RecordFile:
    """Numbered arrays of one shape, appended to a file as they come.

    A record is its number (int64), the CRC-32 of number and values, and the values in
    float64, all little-endian. What a killed run left of a last record is cut off.

    Parameters
    ----------
    path : Path
        The file; made by the first record.
    shape : tuple of int
        Shape of each array.

    Raises
    ------
    ValueError
        If the file is damaged or has records of another size.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.shape = shape
        self._header = f"{_FORMAT} {'x'.join(map(str, shape))}\n".encode()
        self._size = 12 + 8 * int(np.prod(shape))
        self._place: dict[int, int] = {}
        self._end = 0
        if path.exists():
            self._scan()

    def __contains__(self, number: object) -> bool:
        return number in self._place

    def read(self, number: int) -> NDArray[np.float64]:
        """Give the array of a number."""
        with self.path.open("rb") as file:
            file.seek(self._place[number])
            record = file.read(self._size)
        values = np.frombuffer(record, dtype="<f8", offset=12)
        return values.astype(REAL).reshape(self.shape)

    def append(self, number: int, result: NDArray[np.float64]) -> None:
        """Write the array of a number."""
        if result.shape != self.shape:
            raise ValueError(
                f"Got a result of shape {result.shape}; expected {self.shape}."
            )
        head = int(number).to_bytes(8, "little")
        values = np.ascontiguousarray(result, dtype="<f8").tobytes()
        check = zlib.crc32(head + values).to_bytes(4, "little")
        with self.path.open("r+b" if self._end else "wb") as file:
            if not self._end:
                file.write(self._header)
                self._end = len(self._header)
            file.seek(self._end)
            file.write(head + check + values)
            file.truncate()
        self._place[number] = self._end
        self._end += self._size

    def _scan(self) -> None:
        """Find the records that are whole."""
        length = self.path.stat().st_size
        with self.path.open("rb") as file:
            header = file.read(len(self._header))
            if header != self._header:
                if self._header.startswith(header):
                    return  # killed while it wrote the first line
                raise ValueError(
                    f"{self.path} has records of another shape or is damaged; "
                    "delete it."
                )
            place = len(header)
            while place + self._size <= length:
                record = file.read(self._size)
                is_whole = (
                    zlib.crc32(record[:8] + record[12:]).to_bytes(4, "little")
                    == record[8:12]
                )
                if not is_whole:
                    if place + 2 * self._size <= length:
                        raise ValueError(
                            f"{self.path} is damaged at byte {place}; delete it."
                        )
                    break
                self._place[int.from_bytes(record[:8], "little")] = place
                place += self._size
        self._end = place
