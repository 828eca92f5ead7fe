"""Descriptions of data sets, from manifest.toml and a data home's index.json."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = [
    "DataFile",
    "Entry",
    "data_home",
    "describe",
    "find_entry",
    "read_all_entries",
    "read_entries",
    "read_index",
    "read_json",
    "read_manifest",
]

TASKS = ("binary", "multiclass", "regression")
COMBINATIONS = ("stack", "train_test", "target_last", "join")
FORMATS = ("text", "arff", "excel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFile:
    """One raw file of a data set.

    Parameters
    ----------
    path : str
        Path in the data home, where it may also be compressed, with .gz appended.
    rows : int, optional
        Rows, without the header.
    is_table : bool, default=True
        Whether it is read; False for a file that documents the others.
    sha256 : str, optional
        Hash of its content, decompressed; None if unknown.
    packed_sha256 : str, optional
        Hash of the file as stored, for a data home with its own index.json.
    read_csv : mapping, default={}
        Arguments for :func:`pandas.read_csv`; ``header=False`` where there is none.
    url : str, optional
        Address to download it from without an account.
    download_sha256 : str, optional
        Hash of the archive at `url`.
    member : str, optional
        Its name in that archive, a zip file.
    format : {"text", "arff", "excel"}, default="text"
        Format of the download; the last two are converted to CSV.
    openml : int, optional
        Number of the data set at OpenML, instead of `url`.
    columns : tuple of str, default=()
        New names of that data set's columns.
    crlf : bool, default=False
        Whether the download ends its lines with CR LF, which is stored as LF.
    """

    path: str
    rows: int | None = None
    is_table: bool = True
    sha256: str | None = None
    packed_sha256: str | None = None
    read_csv: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    url: str | None = None
    download_sha256: str | None = None
    member: str | None = None
    format: str = "text"
    openml: int | None = None
    columns: tuple[str, ...] = ()
    crlf: bool = False

    @property
    def can_fetch(self) -> bool:
        """Whether it can be downloaded without an account."""
        return self.url is not None or self.openml is not None

    @property
    def origin(self) -> str:
        """Address of the download."""
        if self.openml is not None:
            return f"https://www.openml.org/d/{self.openml}"
        return str(self.url)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """Description of a data set.

    Parameters
    ----------
    name, title : str
        Short name, and full name.
    in_paper : bool, default=False
        Whether it is one of the 22 sets of Brophy et al. (2023).
    task : {"binary", "multiclass", "regression"}
        Kind of target.
    target : str or int
        Column that is predicted; a position where the file has no header.
    positive : tuple, default=()
        Values of the target that are class 1 of a binary task.
    drop : tuple of str, default=()
        Columns that are not features.
    categorical : tuple of str, optional
        Columns that are categories; all others are numbers.
    numeric : tuple of str, optional
        Columns that are numbers; all others are categories. Instead of `categorical`.
    rows, features : int, optional
        Expected number of rows with a target, and of features.
    files : tuple of DataFile, default=()
        Raw files.
    sklearn : str, optional
        Loader of :mod:`sklearn.datasets` that loads the set, instead of files.
    combine : {"stack", "train_test", "target_last", "join"}, default="stack"
        How to combine the files: stack their rows; the same, the last file being the
        test rows; take features from the first file and the target from the last, in
        the same row order; or join them on a column.
    join_on : str, optional
        That column.
    group, time : str, optional
        Columns of group labels and of times.
    in_time_order : bool, default=False
        Whether the rows are in order of time, without a column of times.
    source, licence, citation : str
        Web page, terms and citation.
    redistribute : bool, default=True
        Whether the terms allow redistribution of the files.
    obtain, remarks : str
        How to get files that cannot be downloaded; further remarks.
    """

    name: str
    task: str
    target: str | int
    title: str = ""
    in_paper: bool = False
    positive: tuple[Any, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] | None = None
    numeric: tuple[str, ...] | None = None
    rows: int | None = None
    features: int | None = None
    files: tuple[DataFile, ...] = ()
    sklearn: str | None = None
    combine: str = "stack"
    join_on: str | None = None
    group: str | None = None
    time: str | None = None
    in_time_order: bool = False
    source: str = ""
    licence: str = ""
    citation: str = ""
    redistribute: bool = True
    obtain: str = ""
    remarks: str = ""

    @property
    def tables(self) -> tuple[DataFile, ...]:
        """The files that are read."""
        return tuple(file for file in self.files if file.is_table)

    @property
    def split_kinds(self) -> tuple[str, ...]:
        """The ways to split it into train and test rows."""
        kinds = ["published", "random"]
        if self.group is not None:
            kinds.append("grouped")
        if self.time is not None or self.in_time_order:
            kinds.append("time")
        return tuple(kinds)

    def is_numeric(self, column: str) -> bool:
        """Whether a feature is a number; if not, it is a category."""
        if self.numeric is not None:
            return column in self.numeric
        return column not in (self.categorical or ())


def read_entries(text: str, origin: str) -> dict[str, Entry]:
    """Read a manifest.

    Parameters
    ----------
    text : str
        TOML: one table a set, with the fields of `Entry` and, as ``files``, of
        `DataFile`.
    origin : str
        Name of the source, for messages.

    Returns
    -------
    dict of str to Entry

    Raises
    ------
    ValueError
        If it is not TOML, a key is unknown or missing, or a value is not allowed.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{origin} is not valid TOML: {error}") from error
    entries = {}
    for name, table in tables.items():
        try:
            entries[name] = _read_entry(name, dict(table))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{origin}, [{name}]: {error}") from error
    return entries


def _read_entry(name: str, table: dict[str, Any]) -> Entry:
    files = tuple(_read_file(dict(file)) for file in table.pop("files", []))
    entry = Entry(name=name, files=files, **_as_tuples(table))
    _check_choice("task", entry.task, TASKS)
    _check_choice("combine", entry.combine, COMBINATIONS)
    if (entry.task == "binary") != bool(entry.positive):
        raise ValueError(
            "positive is required for a binary task, and allowed for no other."
        )
    if (entry.combine == "join") != (entry.join_on is not None):
        raise ValueError(
            "join_on is required for combine='join', and allowed for no other."
        )
    if entry.sklearn is not None and entry.files:
        raise ValueError("a set is from scikit-learn or from files, not from both.")
    return entry


def _read_file(table: dict[str, Any]) -> DataFile:
    file = DataFile(**_as_tuples(table))
    _check_choice("format", file.format, FORMATS)
    if file.url is not None and file.openml is not None:
        raise ValueError(f"{file.path} has a url and an openml number; expected one.")
    for digest in (file.sha256, file.download_sha256):
        if digest is not None and not (
            len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        ):
            raise ValueError(f"{file.path} has sha256={digest!r}; expected 64 digits.")
    return file


def _as_tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
    }


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key}={value!r}; expected one of {', '.join(allowed)}.")


@functools.cache
def read_manifest() -> Mapping[str, Entry]:
    """Read the manifest that comes with treeinf.

    Returns
    -------
    mapping of str to Entry
        All sets by name: those of files, then those that ship with scikit-learn.
    """
    path = resources.files("treeinf.datasets") / "manifest.toml"
    entries = read_entries(path.read_text(encoding="utf-8"), "manifest.toml")
    return MappingProxyType(entries)


def describe(name: str) -> Entry:
    """Describe a data set; nothing is read or downloaded.

    Parameters
    ----------
    name : str
        A name of the manifest.

    Returns
    -------
    Entry
        Task, target, columns, files, source, licence and citation.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    return find_entry(name, read_manifest(), "the manifest of treeinf")


def find_entry(name: str, entries: Mapping[str, Entry], origin: str) -> Entry:
    """Return the entry of a name.

    Raises
    ------
    ValueError
        If there is none; the message lists similar and available names.
    """
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"There is no data set {name!r}. {hint}Available: {', '.join(entries)}, "
            f"from {origin}."
        )
    return entries[name]


# the data home


def data_home() -> Path:
    """Return the folder that data sets are read from.

    Returns
    -------
    pathlib.Path
        ``TREEINF_DATA`` where that is set, else ``treeinf`` in the user's cache folder.
    """
    folder = os.environ.get("TREEINF_DATA")
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "treeinf"


def read_index(home: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read the data home's own descriptions of data sets.

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
    return read_json((data_home() if home is None else home) / "index.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is no such file.

    Raises
    ------
    ValueError
        If the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected an object."
        )
    return content


def read_all_entries(home: Path) -> dict[str, Entry]:
    """Describe all data sets: the manifest's, and those of a data home's index.json.

    Parameters
    ----------
    home : pathlib.Path
        The data home.

    Returns
    -------
    dict of str to Entry
        The manifest takes precedence where both have a name.
    """
    manifest = read_manifest()
    index = sorted(read_index(home).items())
    return {
        **manifest,
        **{
            name: _read_index_entry(name, facts)
            for name, facts in index
            if name not in manifest
        },
    }


def _read_index_entry(name: str, facts: Mapping[str, Any]) -> Entry:
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
    return Entry(
        name=name,
        task=facts["task"],
        target=facts["target"],
        positive=tuple(facts.get("positive") or ()),
        drop=tuple(facts.get("drop", ())),
        numeric=tuple(str(column) for column in facts["numeric"]),
        files=files,
        licence=facts.get("licence", ""),
    )
