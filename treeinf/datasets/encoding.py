"""Tables of numbers and categories, made arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_rows"]

ENCODINGS = ("one_hot", "ordinal")


def encode_rows(
    X_train: Any, X_test: Any, *, encoding: str, impute: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Make arrays of two frames; what is learnt is from the first; needs pandas.

    Parameters
    ----------
    X_train, X_test : pandas.DataFrame
        Rows with the same columns: numbers, booleans, and categories or text.
    encoding : {"one_hot", "ordinal"}
        One column a category, named ``column=category``; or the category's number.
    impute : bool
        Replace missing values by the median or the most frequent category.

    Returns
    -------
    train, test : ndarray of float64, shape (n_train, n_encoded) and (n_test, n_encoded)
        Numeric columns first, then those of the categories, in the order of the frame.
    names : tuple of str
        Names of their columns.

    Raises
    ------
    ValueError
        If the encoding is none of those.
    TypeError
        If the rows are no frame.

    References
    ----------
    Brophy, Hammoudeh and Lowd (2023), Adapting and Evaluating Influence-Estimation
    Methods for Gradient-Boosted Decision Trees, JMLR 24(154), section 5 (the
    preprocessing, with ``encoding="one_hot"`` and ``impute=True``).
    """
    if encoding not in ENCODINGS:
        raise ValueError(
            f"Got encoding={encoding!r}; expected one of {', '.join(ENCODINGS)}."
        )
    if not hasattr(X_train, "select_dtypes"):
        raise TypeError(
            f"X is a {type(X_train).__name__}, expected a pandas frame; an encoded set "
            "is not encoded again."
        )
    numbers = list(X_train.select_dtypes(["number", "bool"]).columns)
    categories = [column for column in X_train.columns if column not in numbers]
    blocks = [_encode_numbers(X_train[numbers], X_test[numbers], impute=impute)]
    names = [str(column) for column in numbers]
    for column in categories:
        labels, codes = _number_categories(
            X_train[column], X_test[column], impute=impute
        )
        if encoding == "ordinal":
            train, test = (np.where(code < 0, np.nan, code) for code in codes)
            names.append(str(column))
        else:
            places = np.arange(len(labels))
            train, test = ((code == places).astype(np.float64) for code in codes)
            names += [f"{column}={label}" for label in labels]
        blocks.append((train, test))
    return (
        np.ascontiguousarray(np.hstack([train for train, _ in blocks])),
        np.ascontiguousarray(np.hstack([test for _, test in blocks])),
        tuple(names),
    )


def _encode_numbers(
    train: Any, test: Any, *, impute: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if impute:
        # a column without a value has no median and stays missing
        medians = train.median()
        train, test = train.fillna(medians), test.fillna(medians)
    return train.to_numpy(dtype=np.float64), test.to_numpy(dtype=np.float64)


def _number_categories(
    train: Any, test: Any, *, impute: bool
) -> tuple[list[Any], list[NDArray[np.float64]]]:
    """Give the labels of the train rows, and columns of their numbers, -1 for none."""
    import pandas as pd

    train, test = train.astype(object), test.astype(object)
    labels = sorted(train.dropna().unique(), key=str)
    if impute and labels:
        counts = train.value_counts()
        # of equally frequent ones the first in sorted order
        frequent = max(labels, key=lambda label: counts[label])
        train, test = (
            column.where(column.notna(), frequent) for column in (train, test)
        )
    known = pd.Index(labels)
    return labels, [
        known.get_indexer(column).astype(np.float64)[:, None]
        for column in (train, test)
    ]
