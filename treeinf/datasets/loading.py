"""Load data sets by name, from scikit-learn or a data home."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.datasets.fetch import (
    FileState,
    check_file,
    fetch_entry,
    how_to_get,
    is_available,
)
from treeinf.datasets.manifest import (
    Entry,
    data_home,
    find_entry,
    read_all_entries,
    read_manifest,
)
from treeinf.datasets.tables import Dataset

__all__ = ["SetState", "available", "check", "load", "load_from_home"]


def available() -> list[str]:
    """List the data sets that `load` reads offline.

    Returns
    -------
    list of str
        Names: first those that ship with scikit-learn, then those of the data home.
    """
    home = data_home()
    entries = read_all_entries(home)
    shipped = [name for name, entry in entries.items() if entry.sklearn is not None]
    in_home = [
        name
        for name, entry in sorted(entries.items())
        if entry.sklearn is None
        and (name not in read_manifest() or is_available(entry, home))
    ]
    return [*shipped, *in_home]


def load(
    name: str,
    *,
    as_frame: bool = True,
    n_rows: int | None = None,
    random_state: int = 0,
    verify: bool = True,
    download: bool = True,
) -> Dataset:
    """Load a data set by name; needs pandas.

    Parameters
    ----------
    name : str
        A name of the manifest, or of an ``index.json`` in the data home. Files are
        looked for in the data home, the folder that the environment variable
        TREEINF_DATA names.
    as_frame : bool, default=True
        Return a frame with its categories; False for an array in which categories are
        numbers, see `Dataset.encode`.
    n_rows : int, optional
        Draw this many rows, see `Dataset.sample`; None for all.
    random_state : int, default=0
        Seed of that draw.
    verify : bool, default=True
        Compare files with their sha256, and rows and columns with those expected.
    download : bool, default=True
        Fetch files that are missing, where that needs no account.

    Returns
    -------
    Dataset
        Rows `X`, targets `y`, and the published split if there is one.

    Raises
    ------
    ValueError
        If there is no such set, or a file does not match its description.
    FileNotFoundError
        If a file is missing and could not be downloaded; the message explains how to
        get it.
    """
    home = data_home()
    origin = f"scikit-learn and the data home {home} (set by TREEINF_DATA)"
    entry = find_entry(name, read_all_entries(home), origin)
    if entry.sklearn is not None:
        data = _load_from_sklearn(entry)
    else:
        if download and not is_available(entry, home):
            try:
                fetch_entry(entry, home, verify=verify)
            except (ConnectionError, ImportError) as error:
                raise FileNotFoundError(
                    f"{how_to_get(entry, home)} The download failed: {error}"
                ) from error
        data = load_from_home(entry, home, verify=verify)
    if n_rows is not None:
        data = data.sample(n_rows, random_state=random_state)
    return data if as_frame else data.encode()


@dataclasses.dataclass(frozen=True)
class SetState:
    """State of a data set in the data home, compared with its description.

    Parameters
    ----------
    name : str
        Its name.
    verdict : {"verified", "recorded", "unknown", "missing", "changed"}
        "verified": all files have the sha256 of the manifest; "recorded": or of their
        download; "unknown": there is no sha256, but rows and columns are as expected;
        "missing": a file is missing; "changed": something is not as expected.
    rows, features : int or None
        Number of rows and columns; None if nothing was read.
    message : str
        What is wrong and what to do; empty if nothing is.
    """

    name: str
    verdict: str
    rows: int | None = None
    features: int | None = None
    message: str = ""


def check(name: str, *, home: Path | None = None) -> SetState:
    """Compare the files of a data set with their description; needs pandas.

    Parameters
    ----------
    name : str
        A name of the manifest, or of an ``index.json`` in the data home.
    home : pathlib.Path, optional
        The folder; None for `data_home`.

    Returns
    -------
    SetState

    Raises
    ------
    ValueError
        If there is no such set.
    """
    home = data_home() if home is None else home
    entry = find_entry(name, read_all_entries(home), f"treeinf and {home}")
    if not is_available(entry, home):
        return SetState(name, "missing", message=how_to_get(entry, home))
    try:
        if entry.sklearn is not None:
            verdicts = {"verified"}
            data = _load_from_sklearn(entry)
        else:
            # files that document the others may be missing, but not changed
            verdicts = {check_file(file, home).verdict for file in entry.files}
            data = load_from_home(entry, home)
    except ValueError as error:
        return SetState(name, "changed", message=str(error))
    for verdict in ("changed", "unknown", "recorded"):
        if verdict in verdicts:
            break
    else:
        verdict = "verified"
    message = ""
    if verdict == "changed":
        message = "A file that documents the others is not that of the manifest."
    elif verdict == "unknown":
        message = "No sha256 is known; its rows and columns are as expected."
    return SetState(name, verdict, data.n_rows, data.X.shape[1], message)


def _load_from_sklearn(entry: Entry) -> Dataset:
    """Load a table that ships with scikit-learn; digits_parity is odd against even."""
    import pandas as pd
    from sklearn import datasets

    bunch: Any = getattr(datasets, str(entry.sklearn))()
    y = np.asarray(bunch.target)
    classes = tuple(str(label) for label in getattr(bunch, "target_names", ()))
    if entry.name == "digits_parity":
        y, classes = y % 2, ("even", "odd")
    if entry.task == "regression":
        classes = ()
    columns = [str(column) for column in bunch.feature_names]
    return Dataset(
        entry.name,
        entry.task,
        pd.DataFrame(np.asarray(bunch.data), columns=columns),
        y,
        classes=classes,
        licence=entry.licence,
        source=f"sklearn.datasets.{entry.sklearn}",
    )


def load_from_home(entry: Entry, home: Path, *, verify: bool = True) -> Dataset:
    """Load a data set of a data home; needs pandas.

    Parameters
    ----------
    entry : Entry
        Its description.
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
        If a file does not match its description.
    """
    states = [check_file(file, home) for file in entry.tables]
    if not states or any(state.verdict == "missing" for state in states):
        raise FileNotFoundError(how_to_get(entry, home))
    frames = [_read_table(state, verify=verify) for state in states]
    frame = _combine(entry, frames)
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
        n_test=len(frames[-1]) if entry.combine == "train_test" else 0,
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
        digest = f"{expected[:16]}..." if expected else "that of its download"
        raise ValueError(
            f"{path} has sha256 {state.sha256[:16]}..., expected {digest}: it is "
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


def _combine(entry: Entry, frames: list[Any]) -> Any:
    import pandas as pd

    if entry.combine == "target_last":
        frame = frames[0].copy()
        frame[entry.target] = frames[-1][entry.target].to_numpy()
        return frame
    if entry.combine == "join":
        return frames[0].merge(
            frames[1], on=entry.join_on, validate="one_to_one", suffixes=("", "_label")
        )
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _check_shape(entry: Entry, X: Any) -> None:
    for what, count, expected in (
        ("rows", len(X), entry.rows),
        ("features", X.shape[1], entry.features),
    ):
        if expected is not None and count != expected:
            raise ValueError(
                f"{entry.name} has {count:,} {what}, expected {expected:,}: its files "
                "are another release. Pass verify=False to read them as they are."
            )


def _type_columns(frame: Any, entry: Entry) -> Any:
    """Convert numeric columns to numbers and all others to categories."""
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
    """Read times as numbers, or as dates if they are not."""
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
