"""Validate targets, weights, initial scores and parameters."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.frames import as_plain

if TYPE_CHECKING:
    from treeinf.ensemble.losses import Loss

__all__ = [
    "check_count",
    "check_offset",
    "check_out",
    "check_targets",
    "check_weights",
    "encode_labels",
]


def _as_vector(values: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Convert to a one-dimensional array with one value per row."""
    if not isinstance(values, np.ndarray):
        values = nw.from_native(values, series_only=True, pass_through=True)
    array = values.to_numpy() if isinstance(values, nw.Series) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected ({n_rows},).")
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} values, X has {n_rows} rows.")
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
    values = _as_vector(y, name, n_rows)
    if values.dtype.kind == "O":
        is_missing = np.array([value is None or value != value for value in values])
    else:
        is_missing = np.isnan(values) if values.dtype.kind == "f" else np.array([False])
    if is_missing.any():
        raise ValueError(
            f"{name} is missing (NaN or None) in {int(is_missing.sum())} of {n_rows} "
            f"rows, first in row {int(np.argmax(is_missing))}; drop these rows."
        )
    n_classes = 0 if loss is None else loss.n_classes
    if classes is not None and n_classes:
        return encode_labels(values, classes)
    if values.dtype.kind not in "biuf":
        try:
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
    values = _as_vector(sample_weight, name, n_rows)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {values.dtype}; expected numbers.")
    values = values.astype(REAL)
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
    init_score: Any, n_rows: int, n_outputs: int
) -> NDArray[np.float64] | None:
    """Validate initial scores; convert to float64, shape (n_rows, n_outputs).

    Raises
    ------
    ValueError
        If the shape does not fit or a value is not finite.
    """
    if init_score is None:
        return None
    values = np.asarray(init_score, dtype=REAL)
    if values.ndim == 1 and values.size == n_rows * n_outputs:
        # LightGBM's order: all rows of the first output, then the second
        values = values.reshape(n_outputs, n_rows).T
    if values.shape != (n_rows, n_outputs):
        raise ValueError(
            f"init_score has shape {values.shape}; expected ({n_rows}, {n_outputs})."
        )
    if not np.isfinite(values).all():
        raise ValueError("init_score must be finite.")
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
