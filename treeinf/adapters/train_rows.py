"""Read a model together with rows for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from treeinf.adapters import init_score as find_init_score
from treeinf.adapters import read_model, unwrap_pipeline
from treeinf.adapters.parity import check_parity
from treeinf.ensemble import InputRows, TreeEnsemble

__all__ = ["read_with_rows"]


def read_with_rows(model: Any, X: Any) -> tuple[TreeEnsemble, InputRows, Any]:
    """Read a model and rows, which go through the steps of a pipeline first.

    Parameters
    ----------
    model : estimator, pipeline, booster, path to a file or TreeEnsemble
        The fitted model; raw scores of a live one are compared with its own.
    X : array-like or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ensemble : TreeEnsemble
        The model.
    rows : InputRows
        The rows as it reads them.
    init_score : ndarray or None
        Initial scores that a live model predicts for them; None if it has none.
    """
    model, transform = unwrap_pipeline(model)
    ensemble = read_model(model)
    X = transform(X)
    rows = ensemble.read_rows(X)
    if isinstance(model, TreeEnsemble | Mapping | str | os.PathLike):
        return ensemble, rows, None
    check_parity(ensemble, model, rows)
    return ensemble, rows, find_init_score(model, X)
