"""Validate targets, weights, initial scores and parameters."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.frames import as_plain, fill_masked, is_missing, open_table, row_labels

if TYPE_CHECKING:
    from treeinf.ensemble.losses import Loss

__all__ = [
    "check_count",
    "check_offset",
    "check_out",
    "check_row_labels",
    "check_targets",
    "check_weights",
    "encode_labels",
    "open_rows",
    "read_vector",
]


def open_rows(X: Any, /, **values: Any) -> Any:
    """Return the table of rows, after a comparison of pandas indexes.

    Parameters
    ----------
    X : array-like, sparse matrix, frame or a library's data set
        Rows; see `open_table`.
    **values : array-like, shape (n_rows, ...), or None
        What belongs to them, by name; see `check_row_labels`.
    """
    X = open_table(X)
    check_row_labels(row_labels(X), **values)
    return X


def check_row_labels(labels: NDArray[Any] | None, /, **values: Any) -> None:
    """Check that what belongs to rows has their pandas index, where it has any.

    Parameters
    ----------
    labels : ndarray, shape (n_rows,), or None
        Labels of the rows, see `row_labels`; None if they have none. Then the first of
        `values` that has an index sets the order.
    **values : array-like, shape (n_rows, ...), or None
        Targets, weights, initial scores or groups, by name.

    Raises
    ------
    ValueError
        If an index holds the same labels in another order, or other labels. An index
        that merely numbers the rows from 0 is not compared with other labels: then the
        order is that of the rows.
    """
    owner = "X"
    for name, value in values.items():
        index = row_labels(value)
        if labels is None:
            labels, owner = index, name
            continue
        if index is None or len(index) != len(labels) or _are_equal(index, labels):
            continue
        is_reordered = set(index.tolist()) == set(labels.tolist())
        if is_reordered or not (_are_positions(index) or _are_positions(labels)):
            what = "the same index in another order" if is_reordered else "other labels"
            raise ValueError(
                f"{name} has {what} in its pandas index: {index[:3].tolist()!r} ..., "
                f"{owner} has {labels[:3].tolist()!r} .... Rows are matched by "
                f"position: pass {name}.loc[{owner}.index] if the labels are right, or "
                f"{name}.to_numpy() if the order is."
            )


def _are_equal(index: NDArray[Any], labels: NDArray[Any]) -> bool:
    if index.dtype.kind in "iuf" and labels.dtype.kind in "iuf":
        return np.array_equal(index, labels, equal_nan=True)
    return bool(index.tolist() == labels.tolist())


def _are_positions(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "iu" and bool((labels == np.arange(len(labels))).all())


def read_vector(values: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Convert to a one-dimensional array with one value per row, none missing.

    Parameters
    ----------
    values : array-like or series, shape (n_rows,) or (n_rows, 1)
        Targets or weights.
    name : str
        Their name, for messages.
    n_rows : int
        Expected length.

    Raises
    ------
    ValueError
        If the shape does not fit, or a value is missing.
    TypeError
        If the values are complex.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = fill_masked(values)
    if not isinstance(values, np.ndarray):
        values = nw.from_native(values, series_only=True, pass_through=True)
    array = values.to_numpy() if isinstance(values, nw.Series) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected ({n_rows},).")
    if array.dtype.kind == "c":
        raise TypeError(f"{name} holds complex numbers; expected real ones.")
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} values, X has {n_rows} rows.")
    is_absent = np.zeros(n_rows, bool)
    if array.dtype.kind == "O":
        is_absent = np.array([is_missing(value) for value in array], bool)
    elif array.dtype.kind in "fMm":
        is_absent = np.isnan(array)
    if is_absent.any():
        raise ValueError(
            f"{name} is missing (NaN or None) in {int(is_absent.sum())} of {n_rows} "
            f"rows, first in row {int(np.argmax(is_absent))}; drop these rows."
        )
    return array


def encode_labels(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Encode labels as class numbers.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    if y.dtype.kind in "biuf" and classes.dtype.kind in "biuf":
        order = np.argsort(classes)
        position = np.searchsorted(classes, y, sorter=order)
        nearest = order[np.minimum(position, len(classes) - 1)]
        if (classes[nearest] == y).all():
            return nearest.astype(REAL)
    number = {as_plain(label): code for code, label in enumerate(classes)}
    try:
        codes = [number[as_plain(label)] for label in y.tolist()]
    except KeyError as error:
        names = ", ".join(repr(as_plain(label)) for label in classes[:10])
        raise ValueError(
            f"Got label {error.args[0]!r}; the model's classes are {names}"
            f"{', ...' if len(classes) > 10 else ''}."
        ) from None
    return np.array(codes, dtype=REAL)


def check_targets(
    y: Any,
    n_rows: int,
    *,
    loss: Loss | None,
    classes: NDArray[Any] | None = None,
    single_precision: bool = False,
    name: str = "y",
) -> NDArray[np.float64]:
    """Validate targets and convert them to class numbers or transformed values.

    Parameters
    ----------
    y : array-like or series, shape (n_rows,)
        Targets: labels among `classes`, class numbers, or values.
    n_rows : int
        Expected length.
    loss : Loss or None
        Training loss; None if unknown: only type and finiteness are checked.
    classes : ndarray, optional
        Labels in the order of the model's classes.
    single_precision : bool, default=False
        Round to float32 first, as the library does.
    name : str, default="y"
        Name for error messages.

    Returns
    -------
    ndarray of float64, shape (n_rows,)

    Raises
    ------
    ValueError
        If targets are missing, not finite, not among the classes, or outside the range
        of the loss.
    TypeError
        If they are not numbers and `classes` is None.
    """
    if y is None:
        raise ValueError(f"{name} is None; targets are needed.")
    values = read_vector(y, name, n_rows)
    n_classes = 0 if loss is None else loss.n_classes
    if classes is not None and n_classes:
        return encode_labels(values, classes)
    if values.dtype.kind not in "biuf":
        try:
            if values.dtype.kind in "Mm":
                raise TypeError("times")
            values = values.astype(REAL)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} has dtype {values.dtype}; expected numbers. A model file does "
                "not keep string labels: pass the fitted classifier itself, or class "
                "numbers."
            ) from error
    values = values.astype(REAL)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise ValueError(
            f"{name} is {values[row]} in row {row}; expected finite numbers."
        )
    if n_classes:
        wrong = (values != np.floor(values)) | (values < 0) | (values >= n_classes)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name} is {values[row]:g} in row {row}; expected class numbers 0 to "
                f"{n_classes - 1}."
            )
        return values
    if single_precision:
        values = values.astype(np.float32).astype(REAL)
    problem = None if loss is None else loss.target_problem(values)
    if problem:
        raise ValueError(f"{name} does not fit {loss!r}: {problem}.")
    return values if loss is None else loss.transform_target(values)


def check_weights(
    sample_weight: Any, n_rows: int, name: str = "sample_weight"
) -> NDArray[np.float64] | None:
    """Validate row weights and convert them to float64; None stays None.

    Raises
    ------
    ValueError
        If the length is not `n_rows`, a weight is negative or not finite, or all are 0.
    TypeError
        If the weights are not numbers.
    """
    if sample_weight is None:
        return None
    values = read_vector(sample_weight, name, n_rows)
    try:
        if values.dtype.kind not in "biufO":
            raise TypeError
        if values.dtype.kind == "O":
            values = np.array([value + 0 for value in values])  # no text
        values = values.astype(REAL)
    except (TypeError, ValueError):
        raise TypeError(f"{name} has dtype {values.dtype}; expected numbers.") from None
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} is {values[row]:g} in row {row}; expected finite numbers of at "
            "least 0."
        )
    if n_rows and not values.any():
        raise ValueError(f"{name} is 0 in every row.")
    return values


def check_offset(
    init_score: Any,
    n_rows: int,
    n_outputs: int,
    replaced: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Validate initial scores; convert to float64, shape (n_rows, n_outputs).

    Those of several outputs may be flat, all rows of the first output and then the
    second, as in LightGBM. XGBoost's are of single precision, take the place of the
    base score, which is `replaced`, and are never flat; the difference is returned.

    Raises
    ------
    ValueError
        If the shape does not fit or a value is not finite.
    """
    if init_score is None:
        return None
    if isinstance(init_score, np.ma.MaskedArray):
        init_score = fill_masked(init_score)
    try:
        values = np.asarray(init_score, dtype=REAL)
    except (TypeError, ValueError) as error:  # pandas.NA is no number
        raise ValueError(f"init_score must be finite numbers: {error}.") from error
    is_flat = values.ndim == 1 and (n_outputs == 1 or replaced is None)
    if is_flat and values.size == n_rows * n_outputs:
        values = values.reshape(n_outputs, n_rows).T
    if values.shape != (n_rows, n_outputs):
        raise ValueError(
            f"init_score has shape {values.shape}; expected ({n_rows}, {n_outputs})."
        )
    if not np.isfinite(values).all():
        raise ValueError("init_score must be finite.")
    if replaced is not None:
        values = values.astype(np.float32) - replaced
    return np.ascontiguousarray(values)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Check that a parameter is an integer of at least `least`.

    Parameters
    ----------
    name : str
        Name of the parameter, for error messages.
    value : Any
        Its value.
    least : int, default=1
        Smallest value accepted.

    Raises
    ------
    TypeError
        If the value is not an integer.
    ValueError
        If it is smaller than `least`.
    """
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    message = f"Got {name}={value!r}; expected {expected}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(message)
    if int(value) < least:
        raise ValueError(message)


def check_out(out: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Validate an `out` array, or allocate one if it is None.

    Raises
    ------
    TypeError
        If it is not an ndarray.
    ValueError
        If its shape, dtype or memory order does not fit, or it is read-only.
    """
    if out is None:
        return np.empty(shape, dtype=REAL)
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"Got out of type {type(out).__name__}; expected a NumPy array."
        )
    if (
        out.shape != shape
        or out.dtype != REAL
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise ValueError(
            f"Got out of shape {out.shape}, {out.dtype}; expected a writable, "
            f"C-contiguous float64 array of shape {shape}."
        )
    return out
