"""Write files atomically, and convert values to JSON types."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["UNFINISHED", "to_plain", "write_together", "write_whole"]

UNFINISHED = ".part"
"""Suffix of temporary files; a killed process leaves them behind."""


@contextlib.contextmanager
def write_together(paths: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Write files under temporary names and rename all of them at the end.

    Parameters
    ----------
    paths : dict of str to pathlib.Path
        Files to write; their folders must exist.

    Yields
    ------
    dict of str to pathlib.Path
        Temporary file to write for each key, in the same folder. If the block raises,
        KeyboardInterrupt included, all are removed and none is renamed.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    """
    for path in paths.values():
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"{path} cannot be written: there is no folder {path.parent}; create "
                "it first."
            )
    temporary: dict[str, Path] = {}
    try:
        for key, path in paths.items():
            # unique names, since two processes may write the same file
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent
            )
            os.close(handle)
            temporary[key] = Path(name)
        yield dict(temporary)
        for key, path in temporary.items():
            path.chmod(_usual_mode(paths[key]))
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        for key in list(temporary):
            os.replace(temporary[key], paths[key])
            del temporary[key]
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write one file under a temporary name, and rename it at the end.

    Parameters
    ----------
    path : path-like
        File to write; its folder must exist.

    Yields
    ------
    pathlib.Path
        Temporary file to write; see `write_together`.
    """
    with write_together({"file": Path(path)}) as temporary:
        yield temporary["file"]


def _usual_mode(path: Path) -> int:
    """Return the mode of a file, or the one that `open` would create it with."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def to_plain(value: Any) -> Any:
    """Convert a value to types that `json.dumps` accepts.

    Parameters
    ----------
    value : object
        Mappings, sequences, sets, arrays and NumPy scalars at any depth.

    Returns
    -------
    dict, list, str, int, float, bool or None
        None for numbers that are not finite; the text of any other object.
    """
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
