"""Rows that scikit-learn's boosting holds out to stop early."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["held_out_rows", "training_rows"]


def held_out_rows(model: Any) -> str | None:
    """Describe the setting that held rows out; None if none were held out."""
    if not _holds_rows_out(model):
        return None
    return (
        "early stopping on rows held out, validation_fraction="
        f"{model.validation_fraction:g}; "
        f"{__name__}.training_rows(model, y) finds the others"
    )


def _holds_rows_out(model: Any) -> bool:
    if _is_histogram(model):
        return model.do_early_stopping_ and model.validation_fraction is not None
    return getattr(model, "n_iter_no_change", None) is not None


def _is_histogram(model: Any) -> bool:
    return hasattr(model, "_predictors")


def training_rows(model: Any, y: Any) -> NDArray[np.int64]:
    """Find the rows that early stopping did not hold out.

    Parameters
    ----------
    model : estimator
        The fitted model.
    y : array-like, shape (n_rows,)
        All targets that were passed to its ``fit``.

    Returns
    -------
    ndarray of int64, shape (n_training,)
        Positions of the rows that the trees were fitted on, in increasing order.

    Raises
    ------
    ValueError
        If the rows were split by a random state that the model does not store.
    """
    from sklearn.base import is_classifier
    from sklearn.model_selection import train_test_split

    y = np.asarray(y)
    every_row = np.arange(len(y))
    if not _holds_rows_out(model):
        return every_row
    if _is_histogram(model):
        # with X_val passed to fit, all rows were used for training
        if model._predictors[0][0].nodes["count"][0] == len(y):
            return every_row
        seed = model._random_seed
    else:
        seed = model.random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise ValueError(
                f"The model was fitted with random_state={seed!r}: which rows early "
                "stopping held out is not known. Fit it with an integer."
            )
    kept, _ = train_test_split(
        every_row,
        test_size=model.validation_fraction,
        stratify=y if is_classifier(model) else None,
        random_state=seed,
    )
    return np.sort(kept)
