"""Raw files fetched from where they are published, checked, and kept."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import io
import json
import os
import tempfile
import urllib.error
import urllib.request
import warnings
import zipfile
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from treeinf.datasets.home import (
    FETCHED,
    data_home,
    find_file,
    read_fetched,
    say_how_to_get,
)
from treeinf.datasets.manifest import DataFile, Entry, describe

__all__ = ["Fetched", "fetch", "fetch_entry"]

TIMEOUT = 60
CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A raw file that was downloaded.

    Parameters
    ----------
    path : pathlib.Path
        Where it lies now.
    origin : str
        Where it is from.
    sha256 : str
        Of its content.
    is_verified : bool
        Whether it was compared with a sha256 that the manifest knows.
    """

    path: Path
    origin: str
    sha256: str
    is_verified: bool


def fetch(
    name: str,
    *,
    home: Path | None = None,
    verify: bool = True,
    overwrite: bool = False,
    verbose: bool = False,
) -> list[Fetched]:
    """Download the files of a data set into the data home.

    Parameters
    ----------
    name : str
        A name of the manifest.
    home : pathlib.Path, optional
        The folder; None for `data_home`.
    verify : bool, default=True
        Refuse a file whose content is not the one of the manifest.
    overwrite : bool, default=False
        Download files that are there already, too.
    verbose : bool, default=False
        Show progress.

    Returns
    -------
    list of Fetched
        What was downloaded; nothing where all files are there, or where the set ships
        with scikit-learn.

    Raises
    ------
    ValueError
        If there is no such set, or a download is not what was expected; then nothing of
        it is kept.
    ConnectionError
        If a file cannot be downloaded.
    FileNotFoundError
        If a file is missing that nobody can download without an account; the others are
        there then.

    Warns
    -----
    UserWarning
        If there is no sha256 to compare a download with. Its own is kept in
        ``fetched.json`` of the data home, and compared from then on.

    Notes
    -----
    With the standard library and scikit-learn alone: archives and text by their
    address, tables of OpenML by :func:`sklearn.datasets.fetch_openml`, which compares
    their checksum itself. Excel workbooks want the extra ``excel``.
    """
    return fetch_entry(
        describe(name),
        data_home() if home is None else home,
        verify=verify,
        overwrite=overwrite,
        verbose=verbose,
    )


def fetch_entry(
    entry: Entry, home: Path, *, verify: bool, overwrite: bool, verbose: bool
) -> list[Fetched]:
    """Download the files of a data set that a data home lacks.

    Parameters
    ----------
    entry : Entry
        The set.
    home : pathlib.Path
        The folder.
    verify, overwrite, verbose : bool
        See `fetch`.

    Returns
    -------
    list of Fetched
    """
    if entry.sklearn is not None:
        return []
    fetched = []
    for file in entry.tables:
        if file.can_fetch and (overwrite or find_file(file, home) is None):
            content = _download(entry, file, home, verify=verify, verbose=verbose)
            item = _keep(file, content, home, verify=verify)
            fetched.append(item)
            if not item.is_verified:
                why = (
                    "has not the sha256 of the manifest"
                    if _has_known_content(file)
                    else "has no known sha256 to compare with"
                )
                warnings.warn(
                    f"{entry.name}: {item.path.name} {why} and was taken as it came; "
                    f"its own is in {home / FETCHED} and is compared from now on.",
                    stacklevel=3,
                )
    if not entry.files or any(find_file(file, home) is None for file in entry.tables):
        raise FileNotFoundError(say_how_to_get(entry, home))
    return fetched


def _download(
    entry: Entry, file: DataFile, home: Path, *, verify: bool, verbose: bool
) -> bytes:
    try:
        if file.openml is not None:
            return _read_openml(file, verify=verify)
        data = _read_url(str(file.url), verbose=verbose)
    except (OSError, EOFError) as error:
        # URLError and HTTPError are OSErrors, and so is a timeout
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ConnectionError(
            f"{file.origin} could not be downloaded: {error}. Put {file.path} into "
            f"{home} by hand; the page of {entry.name} is {entry.source}."
        ) from error
    if file.download_sha256 is not None:
        _compare(file.origin, data, file.download_sha256, verify=verify)
    if file.member is not None:
        data = _unzip(file, data)
    if file.format == "arff":
        return _write_csv(_read_arff(data), file, verify=verify)
    if file.format == "excel":
        return _write_csv(_read_excel(data), file, verify=verify)
    return data.replace(b"\r\n", b"\n") if file.crlf else data


def _read_url(url: str, *, verbose: bool) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "treeinf"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        with tqdm(
            total=total,
            unit="B",
            unit_scale=True,
            desc=url.rpartition("/")[2],
            disable=not verbose,
            leave=False,
        ) as bar:
            parts = []
            while part := response.read(CHUNK):
                parts.append(part)
                bar.update(len(part))
    data = b"".join(parts)
    if total is not None and len(data) != total:
        raise EOFError(f"{len(data):,} of {total:,} bytes came")
    return data


def _read_openml(file: DataFile, *, verify: bool) -> bytes:
    from sklearn.datasets import fetch_openml

    bunch = fetch_openml(
        data_id=file.openml, as_frame=True, cache=False, n_retries=1, parser="auto"
    )
    return _write_csv(bunch.frame, file, verify=verify)


def _unzip(file: DataFile, data: bytes) -> bytes:
    """Take a member by its path, or by its name where the folders have changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            base = str(file.member).rpartition("/")[2]
            same = [name for name in names if name.rpartition("/")[2] == base]
            if file.member not in names and len(same) != 1:
                raise ValueError(
                    f"{file.url} has no {file.member}; it has {', '.join(names[:10])}."
                )
            return archive.read(file.member if file.member in names else same[0])
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file.url} is not a whole zip archive: {error}") from error


def _read_arff(data: bytes) -> Any:
    import pandas as pd
    from scipy.io import arff

    table, _ = arff.loadarff(io.StringIO(data.decode()))
    frame = pd.DataFrame(table)
    for column in frame.columns:
        if frame[column].dtype.kind == "O":
            frame[column] = [value.decode() for value in frame[column]]
    return frame


def _read_excel(data: bytes) -> Any:
    import pandas as pd

    try:
        frame = pd.read_excel(io.BytesIO(data))
    except ImportError as error:
        raise ImportError(
            "This data set is an Excel workbook, which pandas reads with openpyxl; pip "
            "install 'treeinf[excel]', or save its first sheet as CSV by hand "
            f"({error})."
        ) from error
    # some workbooks have empty rows and columns beside the table
    return frame.dropna(axis=0, how="all").dropna(axis=1, how="all")


def _write_csv(frame: Any, file: DataFile, *, verify: bool) -> bytes:
    if file.columns:
        if frame.shape[1] != len(file.columns):
            raise ValueError(
                f"{file.origin} has {frame.shape[1]} columns, expected "
                f"{len(file.columns)}."
            )
        frame = frame.set_axis(list(file.columns), axis=1)
    if verify and file.rows is not None and len(frame) != file.rows:
        raise ValueError(
            f"{file.origin} has {len(frame):,} rows, expected {file.rows:,}."
        )
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _compare(what: str, data: bytes, expected: str, *, verify: bool) -> bool:
    found = hashlib.sha256(data).hexdigest()
    if verify and found != expected:
        raise ValueError(
            f"{what} has sha256 {found}, expected {expected}: it is damaged or another "
            "release; nothing was kept. Pass verify=False (--no-verify) to keep it as "
            "it is."
        )
    return found == expected


def _has_known_content(file: DataFile) -> bool:
    """Whether the sha256 is of what is stored; nobody knows it of what is converted."""
    return file.sha256 is not None and file.openml is None and file.format == "text"


def _keep(file: DataFile, content: bytes, home: Path, *, verify: bool) -> Fetched:
    """Check the content, write it as .gz, and note where it is from."""
    if _has_known_content(file):
        is_verified = _compare(file.origin, content, str(file.sha256), verify=verify)
    else:
        # what it was made of may have been compared
        is_verified = verify and file.download_sha256 is not None
    path = home / f"{file.path}.gz"
    _write_whole(path, gzip.compress(content, mtime=0))
    # an older copy beside it would be found first
    (home / file.path).unlink(missing_ok=True)
    sha256 = hashlib.sha256(content).hexdigest()
    note = {
        "sha256": sha256,
        "origin": file.origin,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    notes = {**read_fetched(home), file.path: note}
    _write_whole(home / FETCHED, json.dumps(notes, indent=1, sort_keys=True).encode())
    return Fetched(path, file.origin, sha256, is_verified)


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file, or leave what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
