"""Find, verify and download the raw files of a data home."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import io
import json
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

from treeinf.datasets.manifest import (
    DataFile,
    Entry,
    data_home,
    describe,
    read_json,
)
from treeinf.files import write_whole

__all__ = [
    "Fetched",
    "FileState",
    "check_file",
    "fetch",
    "fetch_entry",
    "find_file",
    "how_to_get",
    "is_available",
]

RECORD = "fetched.json"
"""For each file downloaded its sha256, origin and date; kept in the data home."""

_TIMEOUT = 60


def find_file(file: DataFile, home: Path) -> Path | None:
    """Return the path of a raw file in a data home, perhaps with .gz, or None."""
    for path in (home / file.path, home / f"{file.path}.gz"):
        if path.is_file():
            return path
    return None


def is_available(entry: Entry, home: Path) -> bool:
    """Whether a set can be loaded offline."""
    if entry.sklearn is not None:
        return True
    return bool(entry.tables) and all(find_file(file, home) for file in entry.tables)


@dataclasses.dataclass(frozen=True)
class FileState:
    """A raw file of a data home, compared with its description.

    Parameters
    ----------
    file : DataFile
        The description.
    path : pathlib.Path or None
        Path of the file; None if it is missing.
    content : bytes
        Content, decompressed.
    sha256 : str
        Hash of the bytes compared.
    verdict : {"missing", "verified", "recorded", "unknown", "changed"}
        "missing"; "verified": it has the manifest's sha256; "recorded": it has the
        sha256 of its download; "unknown": there is no sha256 to compare with;
        "changed": it has another sha256.
    """

    file: DataFile
    path: Path | None = None
    content: bytes = b""
    sha256: str = ""
    verdict: str = "missing"


def check_file(file: DataFile, home: Path) -> FileState:
    """Read a raw file and compare its sha256.

    Parameters
    ----------
    file : DataFile
        Its description.
    home : pathlib.Path
        The data home.

    Returns
    -------
    FileState

    Raises
    ------
    ValueError
        If it is compressed and cannot be decompressed.
    """
    path = find_file(file, home)
    if path is None:
        return FileState(file)
    packed = content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a complete gzip file: {error}") from error
    # an index.json has the sha256 of the packed file
    sha256 = _sha256(content if file.packed_sha256 is None else packed)
    expected = file.packed_sha256 or file.sha256
    recorded = read_json(home / RECORD).get(file.path, {}).get("sha256")
    if sha256 == expected:
        verdict = "verified"
    elif sha256 == recorded:
        verdict = "recorded"
    else:
        verdict = "changed" if expected or recorded else "unknown"
    return FileState(file, path, content, sha256, verdict)


def how_to_get(entry: Entry, home: Path) -> str:
    """Describe in one paragraph which files of a set are missing, and how to get them.

    Parameters
    ----------
    entry : Entry
        The set.
    home : pathlib.Path
        The data home.
    """
    if not entry.files:
        return f"{entry.name} cannot be read. {entry.remarks} {entry.obtain}"
    missing = [file for file in entry.tables if find_file(file, home) is None]
    fetched = [file for file in missing if file.can_fetch]
    sentences = [
        f"{entry.name} needs {' and '.join(file.path for file in missing)} (or the "
        f"same with .gz) in the data home {home}, which TREEINF_DATA names."
    ]
    if fetched:
        origins = " and ".join(dict.fromkeys(file.origin for file in fetched))
        sentences.append(
            f"To download: treeinf data fetch {entry.name}, which downloads it from "
            f"{origins}."
        )
    if len(fetched) < len(missing):
        sentences.append(entry.obtain)
    if entry.source:
        sentences.append(f"Web page: {entry.source}.")
    return " ".join(filter(None, sentences))


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A raw file that was downloaded.

    Parameters
    ----------
    path : pathlib.Path
        Where it is stored.
    origin : str
        Address it was downloaded from.
    sha256 : str
        Hash of its content.
    is_verified : bool
        Whether its sha256 was compared with that of the manifest.
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
        Refuse a file whose sha256 is not that of the manifest.
    overwrite : bool, default=False
        Download again files that exist.
    verbose : bool, default=False
        Show progress.

    Returns
    -------
    list of Fetched
        Files downloaded; empty if all exist, or if the set ships with scikit-learn.

    Raises
    ------
    ValueError
        If there is no such set, or a download is not as expected; it is then discarded.
    ConnectionError
        If a file cannot be downloaded.
    FileNotFoundError
        If a missing file needs an account; the others have been downloaded.
    ImportError
        If pooch or a reader of workbooks is not installed.

    Warns
    -----
    UserWarning
        If the manifest has no sha256 to compare with. That of the download is stored
        in ``fetched.json`` of the data home, and compared from then on.

    Notes
    -----
    Archives and text are downloaded by pooch (the extra ``data``), tables of OpenML by
    :func:`sklearn.datasets.fetch_openml`, which compares their checksum itself. Excel
    workbooks need the extra ``excel``.
    """
    return fetch_entry(
        describe(name),
        data_home() if home is None else home,
        verify=verify,
        overwrite=overwrite,
        verbose=verbose,
    )


def fetch_entry(
    entry: Entry,
    home: Path,
    *,
    verify: bool = True,
    overwrite: bool = False,
    verbose: bool = False,
) -> list[Fetched]:
    """Download the files of a data set that a data home lacks; see `fetch`."""
    if entry.sklearn is not None:
        return []
    fetched = []
    for file in entry.tables:
        if file.can_fetch and (overwrite or find_file(file, home) is None):
            content = _download(entry, file, home, verify=verify, verbose=verbose)
            item = _store(file, content, home, verify=verify)
            fetched.append(item)
            if not item.is_verified:
                why = (
                    "does not have the sha256 of the manifest"
                    if _has_known_content(file)
                    else "has no known sha256 to compare with"
                )
                warnings.warn(
                    f"{entry.name}: {item.path.name} {why} and was stored as "
                    "downloaded; "
                    f"its sha256 is in {home / RECORD} and compared from now on.",
                    stacklevel=3,
                )
    if not is_available(entry, home):
        raise FileNotFoundError(how_to_get(entry, home))
    return fetched


def _download(
    entry: Entry, file: DataFile, home: Path, *, verify: bool, verbose: bool
) -> bytes:
    """Download a file and convert it to what is stored."""
    try:
        if file.openml is not None:
            return _read_openml(file, verify=verify)
        data = _read_url(str(file.url), verbose=verbose)
    except OSError as error:  # all errors of requests and urllib, timeouts included
        # an HTTP error keeps its connection open
        response = getattr(error, "response", error)
        if hasattr(response, "close"):
            response.close()
        raise ConnectionError(
            f"{file.origin} could not be downloaded: {error}. Put {file.path} into "
            f"{home} manually; the page of {entry.name} is {entry.source}."
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
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloads need pooch, which is not installed; pip install 'treeinf[data]'."
        ) from error
    download = pooch.HTTPDownloader(
        progressbar=verbose, timeout=_TIMEOUT, headers={"User-Agent": "treeinf"}
    )
    buffer = io.BytesIO()
    download(url, buffer, None)
    return buffer.getvalue()


def _read_openml(file: DataFile, *, verify: bool) -> bytes:
    from sklearn.datasets import fetch_openml

    bunch = fetch_openml(
        data_id=file.openml, as_frame=True, cache=False, n_retries=1, parser="auto"
    )
    return _write_csv(bunch.frame, file, verify=verify)


def _unzip(file: DataFile, data: bytes) -> bytes:
    """Extract a member by its path, or by its file name if folders have changed."""
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
        raise ValueError(
            f"{file.url} is not a complete zip archive: {error}"
        ) from error


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
            "install 'treeinf[excel]', or save its first sheet as CSV "
            f"({error})."
        ) from error
    # some workbooks have empty rows and columns around the table
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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _compare(origin: str, data: bytes, expected: str, *, verify: bool) -> bool:
    sha256 = _sha256(data)
    if verify and sha256 != expected:
        raise ValueError(
            f"{origin} has sha256 {sha256}, expected {expected}: it is damaged or "
            "another release; nothing was stored. Pass verify=False (--no-verify) to "
            "store it regardless."
        )
    return sha256 == expected


def _has_known_content(file: DataFile) -> bool:
    """Whether the sha256 of the stored file is known; not so for converted tables."""
    return file.sha256 is not None and file.openml is None and file.format == "text"


def _store(file: DataFile, content: bytes, home: Path, *, verify: bool) -> Fetched:
    """Verify the content, write it as .gz, and record its origin."""
    if _has_known_content(file):
        is_verified = _compare(file.origin, content, str(file.sha256), verify=verify)
    else:
        # the archive that holds it may have been compared
        is_verified = verify and file.download_sha256 is not None
    path = home / f"{file.path}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0))
    # an uncompressed copy would be read in its place
    (home / file.path).unlink(missing_ok=True)
    sha256 = _sha256(content)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {
        **read_json(home / RECORD),
        file.path: {"sha256": sha256, "origin": file.origin, "date": today},
    }
    with write_whole(home / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True))
    return Fetched(path, file.origin, sha256, is_verified)
