"""Save and load an ensemble as one npz file with a JSON header, without pickle."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble.arrays import ARRAY_TYPES, check_shapes
from treeinf.ensemble.input_rules import InputRules
from treeinf.ensemble.losses import loss_from_dict
from treeinf.ensemble.training_facts import LeafRule, TrainingFacts
from treeinf.errors import ModelFormatError
from treeinf.files import write_whole

__all__ = ["FORMAT", "load", "save"]

FORMAT = "treeinf-ensemble"
_VERSION = 1
_HEADER = "header"
_MOST_UNPACKED = 1032
"""Bytes that deflate can make of one."""
_SMALL_MEMBER = 4096
T = TypeVar("T")
_RECORDS: dict[str, Any] = {
    "input_rules": InputRules,
    "leaf_rule": LeafRule,
    "training": TrainingFacts,
}


def save(
    fields: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write the fields of an ensemble to one npz file, atomically.

    Parameters
    ----------
    fields : mapping of str to Any
        Fields of a `TreeEnsemble`.
    path : path-like
        File to write.
    overwrite : bool, default=False
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is false.
    TypeError
        If a class label or category is of a type that JSON cannot hold.
    """
    path = os.fspath(path)
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    arrays: dict[str, NDArray[Any]] = {}
    header: dict[str, Any] = {"format": FORMAT, "version": _VERSION}
    for name, value in fields.items():
        if name == "leaf_source":
            continue
        if name == "classes":
            header[name] = None if value is None else _describe_labels(value)
        elif name == "loss":
            header[name] = None if value is None else value.to_dict()
        elif name in _RECORDS:
            header[name] = dataclasses.asdict(value)
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            header[name] = value
    text = json.dumps(header, default=_to_python)
    arrays[_HEADER] = np.frombuffer(text.encode(), dtype=np.uint8)
    with write_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str], build: Callable[..., T]) -> T:
    """Read an ensemble from a file that `save` wrote.

    Parameters
    ----------
    path : path-like
        File to read. Nothing in it is executed.
    build : callable
        Called with the fields as keyword arguments.

    Returns
    -------
    TreeEnsemble
        Whatever `build` returns.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFormatError
        If the file is of another kind, or truncated.
    """
    try:
        fields = _read_arrays(path)
        header = json.loads(fields.pop(_HEADER).tobytes().decode())
        if header.pop("format") != FORMAT:
            raise ModelFormatError(
                f"{path} is an npz file, but not a treeinf ensemble."
            )
        if header.pop("version") != _VERSION:
            raise ModelFormatError(f"{path} was written by a newer treeinf; update it.")
        loss = header.pop("loss")
        header["loss"] = None if loss is None else loss_from_dict(loss)
        for name, record in _RECORDS.items():
            header[name] = record(**_to_tuples(header[name]))
        header["classes"] = _read_labels(header["classes"])
        return build(**fields, **header)
    except (FileNotFoundError, ModelFormatError):
        raise
    except Exception as error:  # whatever the readers of zip, npy and JSON raise
        raise ModelFormatError(
            f"{path} is not a whole treeinf ensemble file: {error}"
        ) from error


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file, whose sizes are checked before any is unpacked."""
    expected = {f"{name}.npy": name for name in (*ARRAY_TYPES, _HEADER)}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = {member.filename for member in members}
        if len(names) < len(members) or not names <= set(expected):
            unknown = sorted(names - set(expected))[:3]
            raise ValueError(f"it has members twice, or unknown ones: {unknown}")
        if sum(member.compress_size for member in members) > os.path.getsize(path):
            raise ValueError("its members overlap")
        shapes = {}
        for member in members:
            name = expected[member.filename]
            shapes[name] = _read_shape(archive, member)
        if len(shapes.pop(_HEADER, ())) != 1:
            raise ValueError("it has no header")
        check_shapes(shapes)
        arrays = {}
        for member in members:
            with archive.open(member) as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
            arrays[expected[member.filename]] = array
    return arrays


def _read_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return the shape that an array claims, if the file can hold so much."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in another way than deflate")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"{member.filename} is of format {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        n_bytes = math.prod(shape) * dtype.itemsize + stream.tell()
    if dtype.kind not in "biuf":
        raise ValueError(f"{member.filename} has dtype {dtype}")
    most = _MOST_UNPACKED * member.compress_size + _SMALL_MEMBER
    if n_bytes != member.file_size or n_bytes > most:
        raise ValueError(
            f"{member.filename} claims {n_bytes:,} bytes, which are not there"
        )
    return tuple(shape)


def _describe_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Return class labels with their type, ready for JSON."""
    if labels.dtype.kind not in "biufUO":
        raise TypeError(
            f"Class labels of dtype {labels.dtype} cannot be stored; expected numbers "
            "or strings."
        )
    return {"kind": labels.dtype.kind, "labels": labels.tolist()}


def _read_labels(description: dict[str, Any] | None) -> NDArray[Any] | None:
    """Return the class labels that `_describe_labels` described."""
    if description is None:
        return None
    dtype = object if description["kind"] == "O" else None
    return np.array(description["labels"], dtype=dtype)


def _to_python(value: Any) -> Any:
    """Convert NumPy scalars to Python ones."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be stored.")


def _to_tuples(value: Any) -> Any:
    """Convert the lists of JSON to tuples, at any depth."""
    if isinstance(value, list):
        return tuple(_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return value
