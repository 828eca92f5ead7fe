"""The data home: raw files, and an index.json that says how to read them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.datasets.tables import Dataset

__all__ = ["data_home", "load_from_home", "read_index"]


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
        For each set its files, target and columns; empty where there is no data home.

    Raises
    ------
    ValueError
        If index.json is not a JSON object.
    """
    path = (data_home() if home is None else home) / "index.json"
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not whole JSON: {error}") from error
    if not isinstance(index, dict):
        raise ValueError(f"{path} holds a {type(index).__name__}; expected an object.")
    return index


def load_from_home(
    name: str, facts: dict[str, Any], home: Path, *, verify: bool = True
) -> Dataset:
    """Load a data set of the data home; needs pandas.

    Parameters
    ----------
    name : str
        Its name in index.json.
    facts : dict
        Its entry there.
    home : pathlib.Path
        The folder.
    verify : bool, default=True
        Compare each file with the sha256 of the index.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not the one that the index describes.
    """
    entries = [entry for entry in facts["files"] if entry["read_csv"] is not None]
    parts = [_read_file(home, entry, verify=verify) for entry in entries]
    n_test = 0
    if name == "adult":
        # the files are the split
        n_test = len(parts[1])
        frame, target = _stack(parts), facts["target"]
    elif name == "german_credit":
        # the second file is the original, which alone has the label; same row order
        frame, target = parts[0], "risk"
        frame[target] = parts[1][20].to_numpy()
    elif name == "vaccine":
        frame = parts[0].merge(
            parts[1], on="respondent_id", validate="one_to_one", suffixes=("", "_label")
        )
        frame = frame.drop(
            columns=["respondent_id", "h1n1_vaccine_label"], errors="ignore"
        )
        target = facts["target"]
    else:
        frame, target = _stack(parts), facts["target"]
    frame = frame.drop(columns=facts["drop"], errors="ignore")
    if facts["task"] == "regression":
        # a few sets have rows without a target
        frame = frame[frame[target].notna()].reset_index(drop=True)
    y, classes = _read_target(frame.pop(target), facts)
    return Dataset(
        name,
        facts["task"],
        _type_columns(frame, facts["numeric"]),
        y,
        n_test=n_test,
        classes=classes,
        licence=facts.get("licence", ""),
        source=", ".join(entry["file"] for entry in entries),
    )


def _stack(parts: list[Any]) -> Any:
    import pandas as pd

    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _read_file(home: Path, entry: dict[str, Any], *, verify: bool) -> Any:
    import pandas as pd

    path = home / entry["file"]
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}, which {home / 'index.json'} lists."
        )
    if verify and "sha256" in entry:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry["sha256"]:
            raise ValueError(
                f"{path} has sha256 {found[:16]}..., expected "
                f"{entry['sha256'][:16]}...: it is damaged or another release. Pass "
                "verify=False to read it as it is."
            )
    frame = pd.read_csv(path, low_memory=False, **entry["read_csv"])
    if len(frame) != entry["rows"]:
        raise ValueError(f"{path} has {len(frame):,} rows, expected {entry['rows']:,}.")
    return frame


def _type_columns(frame: Any, numeric: list[Any]) -> Any:
    """Make the listed columns numbers and all others categories."""
    import pandas as pd

    known = set(numeric)
    columns = {}
    for column in frame.columns:
        values = frame[column]
        if column in known:
            columns[str(column)] = pd.to_numeric(values)
        else:
            labels = values.astype(str).where(values.notna())
            columns[str(column)] = labels.astype("category")
    return pd.DataFrame(columns, index=frame.index)


def _read_target(
    values: Any, facts: dict[str, Any]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if facts["task"] == "regression":
        return values.to_numpy(dtype=np.float64), ()
    if facts["task"] == "multiclass":
        labels, codes = np.unique(values.to_numpy(dtype=str), return_inverse=True)
        return codes, tuple(labels.tolist())
    is_positive = values.isin(facts["positive"]).to_numpy()
    sides = (values[~is_positive], values[is_positive])
    # adult writes the labels of its test file with a dot
    names = tuple(
        " or ".join(sorted({str(label).rstrip(".") for label in side.unique()}))
        for side in sides
    )
    return is_positive.astype(np.int64), names
