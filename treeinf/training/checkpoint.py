"""Store results on disk one by one, so that an interrupted run can resume."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.files import UNFINISHED, write_whole

__all__ = [
    "Checkpoint",
    "RecordFile",
    "ResultFolder",
    "describe_estimator",
    "hash_arrays",
]

_FORMAT = "treeinf checkpoint 1"
_NAME = "checkpoint.json"
_IRRELEVANT = ("n_jobs", "thread_count", "verbose")


def hash_arrays(*arrays: NDArray[Any]) -> str:
    """Return a short hash of the bytes of arrays."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(str((array.dtype, array.shape)).encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()[:24]


def describe_estimator(estimator: Any) -> str:
    """Describe an unfitted estimator in text: classes, parameters, versions.

    The number of threads is left out: copies have one.

    Notes
    -----
    Estimators of equal classes and parameters have equal texts; values that are neither
    plain nor estimators are described by the hash of their pickle.
    """
    package = type(estimator).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "")
    parameters = [
        f"{name}={_describe_value(value)}"
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name not in _IRRELEVANT
    ]
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    return f"{kind}({', '.join(parameters)}) {package} {version}".strip()


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


class ResultFolder:
    """Named results, one file each, complete or absent.

    A run that was killed resumes by computing the names that are not in it.

    Parameters
    ----------
    folder : path-like
        Folder of the files, created by the first result.
    suffix : str, default=".json"
        Suffix of the files.
    """

    def __init__(self, folder: str | os.PathLike[str], suffix: str = ".json") -> None:
        self.folder = Path(folder)
        self.suffix = suffix

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        """Return the names of the stored results, sorted."""
        return sorted(
            path.name.removesuffix(self.suffix)
            for path in self.folder.glob(f"[!.]*{self.suffix}")
        )

    def path(self, name: str) -> Path:
        """Return the file of a result."""
        return self.folder / f"{name}{self.suffix}"

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary file to write, stored as the result at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with write_whole(self.path(name)) as file:
            yield file

    def write(self, name: str, result: Any) -> None:
        """Store a result as JSON."""
        with self.writing(name) as file:
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def read(self, name: str) -> Any:
        """Read a result stored as JSON."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def sweep(self) -> None:
        """Remove the incomplete files of killed runs."""
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder with the results of refits of one model on one table.

    Make it with `open`. It holds `checkpoint.json`, which describes the run it belongs
    to, and one file of records for each set of explained rows. Nothing is pickled.

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
        """Open a folder, or create it.

        Parameters
        ----------
        path : path-like
            A folder that does not exist yet, is empty, or is such a checkpoint.
        identity : dict of str to str
            Descriptions of all that the results depend on, by name.

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
            stored = json.loads(label.read_text())
        except ValueError as error:
            raise ValueError(
                f"{label} is damaged ({error}); delete the folder."
            ) from error
        if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
            raise ValueError(f"{label} is not a {_FORMAT!r}; give another folder.")
        other = [
            name
            for name in sorted(set(stored) | set(identity))
            if stored.get(name) != identity.get(name)
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
    """Numbered arrays of one shape, appended to a file.

    A record is its number (int64), the CRC-32 of number and values, and the values in
    float64, all little-endian. An incomplete last record of a killed run is dropped.

    Parameters
    ----------
    path : Path
        The file, created by the first record.
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
        self._offset: dict[int, int] = {}
        self._end = 0
        if path.exists():
            self._scan()

    def __contains__(self, number: object) -> bool:
        return number in self._offset

    def read(self, number: int) -> NDArray[np.float64]:
        """Read the array stored under a number."""
        with self.path.open("rb") as file:
            file.seek(self._offset[number])
            record = file.read(self._size)
        values = np.frombuffer(record, dtype="<f8", offset=12)
        return values.astype(REAL).reshape(self.shape)

    def append(self, number: int, result: NDArray[np.float64]) -> None:
        """Append an array under a number."""
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
        self._offset[number] = self._end
        self._end += self._size

    def _scan(self) -> None:
        """Find the complete records."""
        length = self.path.stat().st_size
        with self.path.open("rb") as file:
            header = file.read(len(self._header))
            if header != self._header:
                if self._header.startswith(header):
                    return  # killed while writing the first line
                raise ValueError(
                    f"{self.path} has records of another shape or is damaged; "
                    "delete it."
                )
            offset = len(header)
            while offset + self._size <= length:
                record = file.read(self._size)
                is_whole = (
                    zlib.crc32(record[:8] + record[12:]).to_bytes(4, "little")
                    == record[8:12]
                )
                if not is_whole:
                    if offset + 2 * self._size <= length:
                        raise ValueError(
                            f"{self.path} is damaged at byte {offset}; delete it."
                        )
                    break
                self._offset[int.from_bytes(record[:8], "little")] = offset
                offset += self._size
        self._end = offset
