"""Look up category labels of rows among those that a model was trained on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.errors import TreeinfWarning
from treeinf.frames import as_plain, is_missing
from treeinf.kernels.label_hash import look_up_hashes

__all__ = ["find_codes", "find_hashes", "split_labels"]


def split_labels(values: Any) -> tuple[list[Any], NDArray[np.intp]]:
    """Split values into the distinct ones and the position of each among these.

    Parameters
    ----------
    values : ndarray or list, shape (n_rows,)
        Values of any types. True and 1 are two labels; missing values are one.

    Returns
    -------
    labels : list
        The distinct values, as Python objects.
    position : ndarray of intp, shape (n_rows,)
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        distinct, position = np.unique(values, return_inverse=True)
        return distinct.tolist(), position
    labels: list[Any] = []
    number_of: dict[Any, int] = {}
    position = np.empty(len(values), np.intp)
    for row, value in enumerate(values):
        label = as_plain(value)
        if label is not None and is_missing(label):
            label = np.nan
        key = type(label) is bool, label
        if key not in number_of:
            number_of[key] = len(labels)
            labels.append(label)
        position[row] = number_of[key]
    return labels, position


def find_codes(
    labels: list[Any],
    categories: tuple[Any, ...],
    column: str,
    *,
    policy: str,
    is_categorical: bool = True,
) -> NDArray[np.float64]:
    """Find the number of each label among a model's categories.

    Parameters
    ----------
    labels : list
        Distinct labels of a column.
    categories : tuple
        The model's, in code order.
    column : str
        The column in words, for messages.
    policy : {"missing", "equal", "refused"}
        What the library does with other labels: "missing" reads them as missing values,
        and True is another label than 1; "equal" does so too, but reads numbers that
        are equal as the same label, and no numbers in place of text; "refused" takes
        neither other labels nor numbers of another type.
    is_categorical : bool, default=True
        Whether the column is of a type that LightGBM takes for categories.

    Returns
    -------
    ndarray of float64, shape (n_labels,)
        Numbers; NaN for other labels.

    Raises
    ------
    TypeError, ValueError
        If the library refuses such labels.

    Warns
    -----
    TreeinfWarning
        If the library reads the whole column as missing, since its labels are of
        another kind than the model's.
    """

    def key(label: Any) -> Any:
        if policy == "equal":
            return label
        return type(label) if policy == "refused" else type(label) is bool, label

    code_of = {key(as_plain(name)): float(i) for i, name in enumerate(categories)}
    codes = np.array([code_of.get(key(label), np.nan) for label in labels], dtype=REAL)
    present = [not is_missing(label) for label in labels]
    unknown = [
        label
        for label, code, is_present in zip(labels, codes, present, strict=True)
        if is_present and np.isnan(code)
    ]
    if not unknown:
        return codes
    kinds = {_kind(label) for label in categories}
    first = ", ".join(map(repr, categories[:5])) + (", ..." if categories[5:] else "")
    kind = type(categories[0]).__name__ if categories else "no labels"
    cause = f"{column} has the label {unknown[0]!r} ({type(unknown[0]).__name__})"
    expected = f"the model was trained on {first} ({kind})"
    if policy == "refused":
        raise ValueError(
            f"{cause}; {expected}, and its library refuses other labels. Convert the "
            "column to these labels and their type, or set others to missing."
        )
    is_known = len(unknown) < sum(present)
    is_other_kind = not kinds & set(map(_kind, unknown))
    is_refused = is_other_kind and kinds == {"text"}
    if policy == "missing":
        is_refused = not is_categorical
    if is_refused and not is_known:
        raise TypeError(
            f"{cause}; {expected}, and its library refuses such a column. Convert it "
            "to these labels and their type."
        )
    if is_known or not is_other_kind:
        return codes
    warnings.warn(
        f"{cause}; {expected}. The model reads every value of the column as missing; "
        "convert it to these labels and their type.",
        TreeinfWarning,
        stacklevel=2,
    )
    return codes


def _kind(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return "bool"
    return "text" if isinstance(label, str | bytes) else "number"


def find_hashes(
    values: Any, hashes: tuple[Any, ...], column: str
) -> NDArray[np.float64]:
    """Encode the labels of a CatBoost model by their hashes; see `look_up_hashes`.

    Raises
    ------
    TypeError
        If a label is missing, or neither an integer nor text.
    """
    labels, position = split_labels(values)
    distinct = np.empty(len(labels), object)
    distinct[:] = labels
    try:
        return look_up_hashes(distinct, hashes)[position]
    except TypeError as error:
        raise TypeError(f"{column}: {error}") from None
