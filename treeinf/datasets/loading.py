"""One door to all data sets, wherever they lie."""

from __future__ import annotations

from treeinf.datasets.home import data_home, load_from_home, read_index
from treeinf.datasets.offline import OFFLINE, load_offline
from treeinf.datasets.tables import Dataset

__all__ = ["available", "load"]


def available() -> list[str]:
    """List the data sets that `load` finds.

    Returns
    -------
    list of str
        Names: first those that ship with scikit-learn, then those of the data home.
    """
    return [*OFFLINE, *(name for name in sorted(read_index()) if name not in OFFLINE)]


def load(name: str, *, verify: bool = True) -> Dataset:
    """Load a data set by name; needs pandas.

    Parameters
    ----------
    name : str
        One of `available`. Sets of the data home are read from the folder that the
        environment variable TREEINF_DATA names.
    verify : bool, default=True
        Compare files of the data home with their sha256.

    Returns
    -------
    Dataset
        Rows `X`, targets `y`, and the split where the set comes with one.

    Raises
    ------
    ValueError
        If there is no such set, or a file is not the one described.
    FileNotFoundError
        If a file of the data home is missing.
    """
    if name in OFFLINE:
        return load_offline(name)
    home = data_home()
    index = read_index(home)
    if name not in index:
        where = (
            f"the data home {home}"
            if index
            else f"a data home (no index.json in {home}; TREEINF_DATA names its folder)"
        )
        raise ValueError(
            f"There is no data set {name!r}. Known are {', '.join(available())}, from "
            f"scikit-learn and {where}."
        )
    return load_from_home(name, index[name], home, verify=verify)
