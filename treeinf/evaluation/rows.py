"""Split a data set, draw rows and encode them for a cell of a suite."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import resample

from treeinf.datasets import Dataset
from treeinf.datasets.tables import Split
from treeinf.frames import take_rows

__all__ = ["draw_rows"]


def draw_rows(
    dataset: Dataset,
    n_train: int | None,
    n_test: int | None,
    seed: int,
    split: str = "published",
) -> Split:
    """Split a data set, draw rows of it, and encode them as numbers; needs pandas.

    Parameters
    ----------
    dataset : Dataset
        The table.
    n_train, n_test : int or None
        Rows to draw from each side, stratified by class; None, or more than there are,
        for all.
    seed : int
        Seed of the split and of the draws.
    split : str, default="published"
        Kind of the split; see `Dataset.split`.

    Returns
    -------
    Split
        Rows as float64 arrays: one column a category, missing values replaced as
        `Split.encode` does. Classes are numbered as they occur among the train rows;
        test rows of others are left out.
    """
    cut = dataset.split(seed=seed, kind=split)
    is_labelled = dataset.task != "regression"
    train = _draw(cut.y_train, n_train, seed, is_labelled)
    test = _draw(cut.y_test, n_test, seed, is_labelled)
    y_train, y_test = cut.y_train[train], cut.y_test[test]
    if is_labelled:
        classes = np.unique(y_train)
        is_train_class = np.isin(y_test, classes)
        test, y_test = (
            test[is_train_class],
            np.searchsorted(classes, y_test[is_train_class]),
        )
        y_train = np.searchsorted(classes, y_train)
    drawn = dataclasses.replace(
        cut,
        X_train=take_rows(cut.X_train, train),
        y_train=y_train,
        X_test=take_rows(cut.X_test, test),
        y_test=y_test,
        train_rows=None if cut.train_rows is None else cut.train_rows[train],
        test_rows=None if cut.test_rows is None else cut.test_rows[test],
    )
    return drawn.encode() if hasattr(drawn.X_train, "select_dtypes") else drawn


def _draw(
    y: NDArray[Any], n_rows: int | None, seed: int, is_labelled: bool
) -> NDArray[np.intp]:
    rows = np.arange(len(y))
    if n_rows is None or n_rows >= len(y):
        return rows
    drawn: NDArray[np.intp] = resample(
        rows,
        replace=False,
        n_samples=n_rows,
        random_state=seed,
        stratify=y if is_labelled else None,
    )
    return np.sort(drawn)
