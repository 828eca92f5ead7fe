"""Data that ships inside scikit-learn: no file to find, nothing to download."""

from __future__ import annotations

from typing import Any

import numpy as np

from treeinf.datasets.manifest import Entry
from treeinf.datasets.tables import Dataset

__all__ = ["load_offline"]


def load_offline(entry: Entry) -> Dataset:
    """Load a table that ships with scikit-learn; needs pandas.

    Parameters
    ----------
    entry : Entry
        A set whose `sklearn` names a loader. "digits_parity" asks of each digit whether
        it is odd.

    Returns
    -------
    Dataset
    """
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
