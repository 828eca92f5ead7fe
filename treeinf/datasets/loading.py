"""One door to all data sets, wherever they lie."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from treeinf.datasets.fetch import fetch_entry
from treeinf.datasets.home import (
    check_file,
    data_home,
    find_file,
    load_from_home,
    own_entries,
    say_how_to_get,
)
from treeinf.datasets.manifest import Entry, read_manifest, unknown_name
from treeinf.datasets.offline import load_offline
from treeinf.datasets.tables import Dataset

__all__ = ["SetState", "available", "check", "known_entries", "load"]


def known_entries(home: Path | None = None) -> dict[str, Entry]:
    """Describe all sets: those of the manifest, and those of the data home alone.

    Parameters
    ----------
    home : pathlib.Path, optional
        The folder; None for `data_home`.

    Returns
    -------
    dict of str to Entry
    """
    return {**read_manifest(), **own_entries(data_home() if home is None else home)}


def is_at_hand(entry: Entry, home: Path) -> bool:
    """Say whether a set can be loaded without a network."""
    if entry.sklearn is not None:
        return True
    files = entry.tables
    return bool(files) and all(find_file(file, home) is not None for file in files)


def available() -> list[str]:
    """List the data sets that `load` finds without a network.

    Returns
    -------
    list of str
        Names: first those that ship with scikit-learn, then those of the data home.
    """
    home = data_home()
    entries = known_entries(home)
    shipped = [name for name, entry in entries.items() if entry.sklearn is not None]
    own = own_entries(home)
    found = [
        name
        for name, entry in sorted(entries.items())
        if entry.sklearn is None and (name in own or is_at_hand(entry, home))
    ]
    return [*shipped, *found]


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
        Give a frame with its categories; False for an array in which categories are
        numbers, see `Dataset.encode`.
    n_rows : int, optional
        Draw so many rows, see `Dataset.sample`; None for all.
    random_state : int, default=0
        Seed of that draw.
    verify : bool, default=True
        Compare files with their sha256, and rows and columns with those expected.
    download : bool, default=True
        Fetch files that are missing, where that needs no account.

    Returns
    -------
    Dataset
        Rows `X`, targets `y`, and the split where the set comes with one.

    Raises
    ------
    ValueError
        If there is no such set, or a file is not the one described.
    FileNotFoundError
        If a file is missing and could not be downloaded; the message says how to get
        it.
    """
    home = data_home()
    entries = known_entries(home)
    if name not in entries:
        where = f"scikit-learn and the data home {home} (TREEINF_DATA names it)"
        raise ValueError(unknown_name(name, list(entries), where))
    entry = entries[name]
    if entry.sklearn is not None:
        data = load_offline(entry)
    else:
        if download and not is_at_hand(entry, home):
            try:
                fetch_entry(entry, home, verify=verify, overwrite=False, verbose=False)
            except ConnectionError as error:
                raise FileNotFoundError(
                    f"{say_how_to_get(entry, home)} It was tried now: {error}"
                ) from error
        data = load_from_home(entry, home, verify=verify)
    if n_rows is not None:
        data = data.sample(n_rows, random_state=random_state)
    return data if as_frame else data.encode()


@dataclasses.dataclass(frozen=True)
class SetState:
    """Whether a data set is there and is what it should be.

    Parameters
    ----------
    name : str
        Its name.
    verdict : {"verified", "recorded", "unknown", "missing", "changed"}
        Each file is that of the manifest; or of its download; or there is no sha256 to
        compare with, and the rows and columns are as expected; a file is not there; or
        something is not as it should be.
    rows, features : int or None
        What was found; None where nothing was read.
    message : str
        What is wrong and what to do, empty where all is well.
    """

    name: str
    verdict: str
    rows: int | None = None
    features: int | None = None
    message: str = ""


def check(name: str, *, home: Path | None = None) -> SetState:
    """Compare the files of a data set with what is known of them; needs pandas.

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
    entries = known_entries(home)
    if name not in entries:
        raise ValueError(unknown_name(name, list(entries), f"treeinf and {home}"))
    entry = entries[name]
    if not is_at_hand(entry, home):
        return SetState(name, "missing", message=say_how_to_get(entry, home))
    try:
        if entry.sklearn is not None:
            verdicts = {"verified"}
            data = load_offline(entry)
        else:
            # files that only explain the others may be missing, but not wrong
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
        message = "A file that explains the others is not that of the manifest."
    elif verdict == "unknown":
        message = "No sha256 is known; its rows and columns are as expected."
    return SetState(name, verdict, data.n_rows, data.X.shape[1], message)
