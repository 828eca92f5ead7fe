"""Data that ships inside scikit-learn: no file to find, nothing to download."""

from __future__ import annotations

from typing import Any

import numpy as np

from treeinf.datasets.tables import Dataset

__all__ = ["OFFLINE", "load_offline"]

# Name, scikit-learn's loader and task. "sklearn_wine" and "sklearn_diabetes" are other
# tables than the wine and diabetes of the data home.
OFFLINE: dict[str, tuple[str, str]] = {
    "breast_cancer": ("load_breast_cancer", "binary"),
    "digits": ("load_digits", "multiclass"),
    "digits_parity": ("load_digits", "binary"),
    "iris": ("load_iris", "multiclass"),
    "sklearn_wine": ("load_wine", "multiclass"),
    "sklearn_diabetes": ("load_diabetes", "regression"),
}


def load_offline(name: str) -> Dataset:
    """Load a table that ships with scikit-learn; needs pandas.

    Parameters
    ----------
    name : str
        One of `OFFLINE`. "digits_parity" asks of each digit whether it is odd.

    Returns
    -------
    Dataset
    """
    import pandas as pd
    from sklearn import datasets

    loader, task = OFFLINE[name]
    bunch: Any = getattr(datasets, loader)()
    y = np.asarray(bunch.target)
    classes = tuple(str(label) for label in getattr(bunch, "target_names", ()))
    if name == "digits_parity":
        y, classes = y % 2, ("even", "odd")
    if task == "regression":
        classes = ()
    columns = [str(column) for column in bunch.feature_names]
    return Dataset(
        name,
        task,
        pd.DataFrame(np.asarray(bunch.data), columns=columns),
        y,
        classes=classes,
        source=f"sklearn.datasets.{loader}",
    )
