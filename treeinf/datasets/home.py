"""The data home: raw files by the manifest's names, or by an index.json there."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.datasets.manifest import DataFile, Entry, read_manifest
from treeinf.datasets.tables import Dataset

__all__ = [
    "FETCHED",
    "FileState",
    "check_file",
    "data_home",
    "find_file",
    "load_from_home",
    "own_entries",
    "read_fetched",
    "read_index",
    "say_how_to_get",
]

# What was downloaded, from where and with which sha256, kept in the data home.
FETCHED = "fetched.json"


def data_home() -> Path:
    """Name the folder that data sets are read from.

    Returns
    -------
    pathlib.Path
        ``TREEINF_DATA`` where that is set, else ``treeinf`` in the user's cache folder.
    """
    given = os.environ.get("TREEINF_DATA")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "treeinf"


def read_index(home: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read what the data home says of its data sets.

    Parameters
    ----------
    home : pathlib.Path, optional
        The folder; None for `data_home`.

    Returns
    -------
    dict
        For each set its files, target and columns; empty where there is no index.json.

    Raises
    ------
    ValueError
        If index.json is not a JSON object.
    """
    return _read_json((data_home() if home is None else home) / "index.json")


def read_fetched(home: Path) -> dict[str, dict[str, str]]:
    """Read what was downloaded into a data home.

    Parameters
    ----------
    home : pathlib.Path
        The folder.

    Returns
    -------
    dict
        For each path below it ``sha256`` of the content, ``origin`` and ``date``.
    """
    return _read_json(home / FETCHED)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not whole JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected an object."
        )
    return content


def own_entries(home: Path) -> dict[str, Entry]:
    """Describe the sets that only a data home's own index.json knows.

    Parameters
    ----------
    home : pathlib.Path
        The folder.

    Returns
    -------
    dict of str to Entry
        Without those of the manifest, whose names always mean the manifest's tables.
    """
    entries = {}
    for name, facts in sorted(read_index(home).items()):
        if name in read_manifest():
            continue
        files = tuple(
            DataFile(
                path=file["file"],
                rows=file["rows"],
                is_table=file["read_csv"] is not None,
                packed_sha256=file.get("sha256"),
                read_csv=file["read_csv"] or {},
            )
            for file in facts["files"]
        )
        entries[name] = Entry(
            name=name,
            task=facts["task"],
            target=facts["target"],
            positive=tuple(facts.get("positive") or ()),
            drop=tuple(facts.get("drop", ())),
            numeric=tuple(str(column) for column in facts["numeric"]),
            files=files,
            licence=facts.get("licence", ""),
        )
    return entries


def find_file(file: DataFile, home: Path) -> Path | None:
    """Find a raw file in a data home, packed or not; None where it is not there.

    Parameters
    ----------
    file : DataFile
        The file.
    home : pathlib.Path
        The folder.

    Returns
    -------
    pathlib.Path or None
    """
    for path in (home / file.path, home / f"{file.path}.gz"):
        if path.is_file():
            return path
    return None


@dataclasses.dataclass(frozen=True)
class FileState:
    """How a raw file of a data home compares with what is known of it.

    Parameters
    ----------
    file : DataFile
        What is known.
    path : pathlib.Path or None
        Where it was found.
    content : bytes
        What it holds, unpacked; empty where it is missing.
    sha256 : str
        Found, of what is compared; empty where it is missing.
    verdict : {"missing", "verified", "recorded", "unknown", "changed"}
        Not there; as the manifest says; not the manifest's, but as it was downloaded;
        there is nothing to compare with; or none of what was expected.
    """

    file: DataFile
    path: Path | None
    content: bytes
    sha256: str
    verdict: str


def check_file(file: DataFile, home: Path) -> FileState:
    """Read a raw file and compare it with what is known of it.

    Parameters
    ----------
    file : DataFile
        The file.
    home : pathlib.Path
        The folder.

    Returns
    -------
    FileState

    Raises
    ------
    ValueError
        If it is packed and cannot be unpacked.
    """
    path = find_file(file, home)
    if path is None:
        return FileState(file, None, b"", "", "missing")
    packed = path.read_bytes()
    content = packed
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not whole gzip: {error}") from error
    # an index.json gives the sha256 of the file as it lies
    hashed = content if file.packed_sha256 is None else packed
    found = hashlib.sha256(hashed).hexdigest()
    expected = file.packed_sha256 or file.sha256
    recorded = read_fetched(home).get(file.path, {}).get("sha256")
    if found == expected:
        verdict = "verified"
    elif found == recorded:
        verdict = "recorded"
    elif expected is None and recorded is None:
        verdict = "unknown"
    else:
        verdict = "changed"
    return FileState(file, path, content, found, verdict)


def say_how_to_get(entry: Entry, home: Path) -> str:
    """Say which files of a set are missing, and how to get them.

    Parameters
    ----------
    entry : Entry
        The set.
    home : pathlib.Path
        The folder that they belong into.

    Returns
    -------
    str
        One paragraph.
    """
    if not entry.files:
        return f"{entry.name} cannot be read. {entry.remarks} {entry.obtain}"
    missing = [file for file in entry.tables if find_file(file, home) is None]
    parts = [
        f"{entry.name} needs {_join(file.path for file in missing)} (or the same with "
        f".gz) in the data home {home}, which TREEINF_DATA names."
    ]
    fetched = [file for file in missing if file.can_fetch]
    if fetched:
        origins = _join(dict.fromkeys(file.origin for file in fetched))
        parts.append(
            f"With a network: treeinf data fetch {entry.name}, which takes it from "
            f"{origins}."
        )
    if len(fetched) < len(missing):
        parts.append(entry.obtain)
    if entry.source:
        parts.append(f"Its page: {entry.source}.")
    return " ".join(part for part in parts if part)


def _join(texts: Any) -> str:
    return " and ".join(texts)


def load_from_home(entry: Entry, home: Path, *, verify: bool = True) -> Dataset:
    """Load a data set of the data home; needs pandas.

    Parameters
    ----------
    entry : Entry
        What is known of it.
    home : pathlib.Path
        The folder.
    verify : bool, default=True
        Compare each file with its sha256, and the rows and columns with those expected.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not the one that is described.
    """
    states = [check_file(file, home) for file in entry.tables]
    if not states or any(state.verdict == "missing" for state in states):
        raise FileNotFoundError(say_how_to_get(entry, home))
    parts = [_read_table(state, verify=verify) for state in states]
    frame = _combine(entry, parts)
    if entry.task == "regression":
        # a few sets have rows without a target
        frame = frame[frame[entry.target].notna()].reset_index(drop=True)
    y, classes = _read_target(frame[entry.target], entry)
    X = _type_columns(
        frame.drop(columns=[entry.target, *entry.drop], errors="ignore"), entry
    )
    if verify:
        _check_shape(entry, X)
    times = None
    if entry.time is not None:
        times = _read_times(frame[entry.time])
    elif entry.in_time_order:
        times = np.arange(len(y), dtype=np.float64)
    return Dataset(
        entry.name,
        entry.task,
        X,
        y,
        n_test=len(parts[-1]) if entry.combine == "train_test" else 0,
        classes=classes,
        licence=entry.licence,
        source=", ".join(
            state.path.relative_to(home).as_posix() for state in states if state.path
        ),
        groups=None if entry.group is None else frame[entry.group].to_numpy(),
        times=times,
    )


def _read_table(state: FileState, *, verify: bool) -> Any:
    import pandas as pd

    file, path = state.file, state.path
    if verify and state.verdict == "changed":
        expected = file.packed_sha256 or file.sha256
        wanted = f"{expected[:16]}..." if expected else "that of its download"
        raise ValueError(
            f"{path} has sha256 {state.sha256[:16]}..., expected {wanted}: it is "
            "damaged or another release. Pass verify=False to read it as it is."
        )
    arguments = dict(file.read_csv)
    if arguments.get("header") is False:
        # TOML has no null
        arguments["header"] = None
    if isinstance(arguments.get("names"), tuple):
        arguments["names"] = list(arguments["names"])
    frame = pd.read_csv(io.BytesIO(state.content), low_memory=False, **arguments)
    if verify and file.rows is not None and len(frame) != file.rows:
        raise ValueError(f"{path} has {len(frame):,} rows, expected {file.rows:,}.")
    return frame


def _combine(entry: Entry, parts: list[Any]) -> Any:
    import pandas as pd

    if entry.combine == "target_last":
        frame = parts[0].copy()
        frame[entry.target] = parts[-1][entry.target].to_numpy()
        return frame
    if entry.combine == "join":
        return parts[0].merge(
            parts[1], on=entry.join_on, validate="one_to_one", suffixes=("", "_label")
        )
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _check_shape(entry: Entry, X: Any) -> None:
    for what, found, expected in (
        ("rows", len(X), entry.rows),
        ("features", X.shape[1], entry.features),
    ):
        if expected is not None and found != expected:
            raise ValueError(
                f"{entry.name} has {found:,} {what}, expected {expected:,}: its files "
                "are another release. Pass verify=False to read them as they are."
            )


def _type_columns(frame: Any, entry: Entry) -> Any:
    """Make numbers of the numeric columns and categories of all others."""
    import pandas as pd

    columns = {}
    for column in frame.columns:
        values = frame[column]
        if entry.is_numeric(str(column)):
            columns[str(column)] = pd.to_numeric(values)
        else:
            labels = values.astype(str).where(values.notna())
            columns[str(column)] = labels.astype("category")
    return pd.DataFrame(columns, index=frame.index)


def _read_times(values: Any) -> NDArray[Any]:
    """Make numbers of numbers, and dates of all else."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64)
    dates = pd.to_datetime(values, utc=True)
    return dates.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")


def _read_target(values: Any, entry: Entry) -> tuple[NDArray[Any], tuple[str, ...]]:
    if entry.task == "regression":
        return values.to_numpy(dtype=np.float64), ()
    if entry.task == "multiclass":
        labels, codes = np.unique(values.to_numpy(dtype=str), return_inverse=True)
        return codes, tuple(labels.tolist())
    is_positive = values.isin(entry.positive).to_numpy()
    sides = (values[~is_positive], values[is_positive])
    # adult writes the labels of its test file with a dot
    names = tuple(
        " or ".join(sorted({str(label).rstrip(".") for label in side.unique()}))
        for side in sides
    )
    return is_positive.astype(np.int64), names
