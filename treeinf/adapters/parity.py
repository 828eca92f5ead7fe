"""Compare an ensemble's raw scores with the library's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from treeinf.adapters import find_adapter, init_score
from treeinf.ensemble import InputRows, TreeEnsemble
from treeinf.errors import ModelParityError
from treeinf.frames import count_rows, take_rows

__all__ = ["N_SAMPLED", "check_parity"]

N_SAMPLED = 1_000
"""Rows that are compared by default."""

_TOLERANCE = 1e-10
_SINGLE_PRECISION_TOLERANCE = 1e-6


def check_parity(
    ensemble: TreeEnsemble,
    model: Any,
    X: Any,
    *,
    rows: str = "sample",
    iterations: int | None = None,
) -> float:
    """Compare an ensemble's raw scores with the library's own.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model as `read_model` returned it.
    model : estimator or booster
        The live model.
    X : array-like, frame or InputRows, shape (n_rows, n_features)
        Rows for the library, or the result of ``ensemble.read_rows``.
    rows : {"sample", "all"}, default="sample"
        Compare 1,000 rows, spread evenly over X, or all of them.
    iterations : int or None
        As passed to `read_model`.

    Returns
    -------
    float
        Largest difference, relative to the largest absolute raw score.

    Raises
    ------
    ModelParityError
        If it is above 1e-10; for libraries that sum in single precision, above the
        larger of 1e-6 and 2^-24 times the trees per output, one rounding per addition.
        The message names the row and both values.
    """
    if rows not in ("sample", "all"):
        raise ValueError(f"Got rows={rows!r}; expected 'sample' or 'all'.")
    adapter, inner = find_adapter(model)
    n_rows = count_rows(X)
    if n_rows == 0:
        return 0.0
    compared = np.arange(n_rows)
    if rows == "sample" and n_rows > N_SAMPLED:
        compared = np.linspace(0, n_rows - 1, N_SAMPLED).astype(np.intp)
        X = X.take(compared) if isinstance(X, InputRows) else take_rows(X, compared)
    source = X.source if isinstance(X, InputRows) else X
    theirs = adapter.raw_score(inner, source, iterations=iterations)
    offset = init_score(inner, source) if ensemble.initial_model else None
    ours = ensemble.raw_score(X, init_score=offset)
    if ours.shape != theirs.shape:
        raise ModelParityError(
            f"treeinf computes {ours.shape[1]} raw scores per row, {ensemble.library} "
            f"{theirs.shape[1]}; please report it with the model file."
        )
    difference = np.abs(ours - theirs)
    scale = max(float(np.abs(theirs).max()), np.finfo(np.float64).tiny)
    tolerance = _TOLERANCE
    if ensemble.input_rules.round_to_single:
        n_added = ensemble.n_trees * ensemble.leaf_width / ensemble.n_outputs
        tolerance = max(_SINGLE_PRECISION_TOLERANCE, 2.0**-24 * n_added)
    largest = float(difference.max()) / scale
    if not largest <= tolerance:
        row, output = np.unravel_index(np.argmax(difference), difference.shape)
        raise ModelParityError(
            f"Raw scores differ from those of {ensemble.library} by up to "
            f"{largest:.3g} of the largest ({tolerance:.3g} is allowed): row "
            f"{compared[row]}, output {output} is {ours[row, output]!r} here and "
            f"{theirs[row, output]!r} there. Influence would be that of "
            "another model; please report it with the model file."
        )
    return largest
