"""One file for an ensemble: npz arrays and a JSON header, no pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble.facts import LeafRule, TrainingFacts
from treeinf.ensemble.input_rules import InputRules
from treeinf.ensemble.losses import loss_from_dict
from treeinf.errors import ModelFormatError
from treeinf.files import write_whole

if TYPE_CHECKING:
    from os import PathLike

    from treeinf.ensemble.structure import TreeEnsemble

__all__ = ["FORMAT", "load", "save"]

FORMAT = "treeinf-ensemble"
_VERSION = 1
_HEADER = "header"


def save(
    ensemble: TreeEnsemble, path: str | PathLike[str], *, overwrite: bool = False
) -> None:
    """Write an ensemble to one npz file, whole or not at all.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    path : path-like
        File to write.
    overwrite : bool, default=False
        Replace a file that is there.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is false.
    TypeError
        If a class label or category is of a type that JSON cannot hold.
    """
    path = os.fspath(path)
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    arrays: dict[str, NDArray[Any]] = {}
    header: dict[str, Any] = {"format": FORMAT, "version": _VERSION}
    for field in dataclasses.fields(ensemble):
        value = getattr(ensemble, field.name)
        if field.name == "leaf_source":
            continue
        if field.name == "classes":
            header["classes"] = None if value is None else _describe_labels(value)
        elif field.name == "loss":
            header["loss"] = None if value is None else value.to_dict()
        elif field.name in ("input_rules", "leaf_rule", "training"):
            header[field.name] = dataclasses.asdict(value)
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
        else:
            header[field.name] = value
    text = json.dumps(header, default=_plain)
    arrays[_HEADER] = np.frombuffer(text.encode(), dtype=np.uint8)
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: str | PathLike[str]) -> TreeEnsemble:
    """Read an ensemble that `save` wrote.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFormatError
        If it is not such a file, or not a whole one. Nothing in it is executed.
    """
    from treeinf.ensemble.structure import TreeEnsemble

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        header = json.loads(content.pop(_HEADER).tobytes().decode())
        if header.pop("format") != FORMAT:
            raise ModelFormatError(f"{path} is an npz file of another kind.")
        if header.pop("version") != _VERSION:
            raise ModelFormatError(f"{path} was written by a newer treeinf; update it.")
        loss = header.pop("loss")
        header["loss"] = None if loss is None else loss_from_dict(loss)
        header["leaf_rule"] = LeafRule(**header["leaf_rule"])
        header["training"] = TrainingFacts(**_to_tuples(header["training"]))
        header["classes"] = _read_labels(header["classes"])
        header["input_rules"] = InputRules(**_to_tuples(header["input_rules"]))
        return TreeEnsemble(**content, **header)
    except (FileNotFoundError, ModelFormatError):
        raise
    except Exception as error:  # whatever the readers of zip, npy and JSON raise
        raise ModelFormatError(
            f"{path} is not a whole treeinf ensemble file: {error}"
        ) from error


def _describe_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Give class labels with their type, ready for JSON."""
    if labels.dtype.kind not in "biufUO":
        raise TypeError(
            f"Class labels of dtype {labels.dtype} cannot be stored; expected numbers "
            "or strings."
        )
    return {"kind": labels.dtype.kind, "labels": labels.tolist()}


def _read_labels(description: dict[str, Any] | None) -> NDArray[Any] | None:
    """Make class labels of what `_describe_labels` gave."""
    if description is None:
        return None
    labels = description["labels"]
    return (
        np.array(labels, dtype=object)
        if description["kind"] == "O"
        else np.array(labels)
    )


def _plain(value: Any) -> Any:
    """Turn NumPy scalars into Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be stored.")


def _to_tuples(value: Any) -> Any:
    """Turn the lists that JSON gives back into tuples, at any depth."""
    if isinstance(value, list):
        return tuple(_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return value
