"""Store results on disk one by one, so that an interrupted run can resume."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from treeinf.files import UNFINISHED, write_whole

__all__ = [
    "ResultFolder",
    "describe_estimator",
    "hash_arrays",
    "open_checkpoint",
]

_FORMAT = "treeinf checkpoint 2"
_NAME = "checkpoint"
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
        Suffix of the files: ".npz" stores arrays, any other JSON. Nothing is pickled.
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
        """Store an array or a JSON value."""
        with self.writing(name) as file:
            if self.suffix == ".npz":
                with file.open("wb") as stream:
                    np.savez(stream, result=result)
            else:
                file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def read(self, name: str) -> Any:
        """Read what `write` stored.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        path = self.path(name)
        try:
            if self.suffix == ".npz":
                with path.open("rb") as stream:
                    return np.load(stream)["result"]
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it.") from error

    def sweep(self) -> None:
        """Remove the incomplete files of killed runs."""
        for path in self.folder.glob(f".*{UNFINISHED}"):
            path.unlink(missing_ok=True)


def open_checkpoint(path: str | os.PathLike[str], identity: Mapping[str, str]) -> Path:
    """Open a folder of results that all depend on the same things, or create it.

    Parameters
    ----------
    path : path-like
        A folder that does not exist yet, is empty, or is such a checkpoint.
    identity : dict of str to str
        Descriptions of all that the results depend on, by name; stored in the folder.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If the folder has other files, or its results are of another model, other rows
        or other parameters.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"Got checkpoint={str(path)!r}, which is a file; expected a folder."
        )
    records = ResultFolder(folder)
    label = records.path(_NAME)
    if _NAME not in records:
        others = sorted(
            entry.name
            for entry in (folder.iterdir() if folder.exists() else ())
            if not entry.name.endswith(UNFINISHED)
        )
        if others:
            raise ValueError(
                f"Got checkpoint={str(path)!r}, a folder with other files "
                f"({', '.join(others[:3])}) and no {label.name}; pass a new folder."
            )
        records.write(_NAME, {"format": _FORMAT, **identity})
    stored = records.read(_NAME)
    if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
        raise ValueError(f"{label} is not a {_FORMAT!r}; pass another folder.")
    differing = [
        name
        for name in sorted(set(stored) | set(identity))
        if stored.get(name) != identity.get(name)
    ]
    if differing:
        raise ValueError(
            f"The checkpoint in {str(path)!r} is of another run; different are: "
            f"{', '.join(differing)}. Pass another folder, or delete this one."
        )
    return folder
