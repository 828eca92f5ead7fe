"""Rows that scikit-learn's boosting holds out to stop early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import StagedTrees

__all__ = ["describe_hold_out", "describe_split", "list_orders"]


def describe_hold_out(model: Any) -> str | None:
    """Describe the setting that held rows out; None if none were held out."""
    if not _holds_rows_out(model):
        return None
    fraction = f"validation_fraction={model.validation_fraction:g}"
    return f"early stopping on rows held out, {fraction}"


def describe_split(model: Any) -> dict[str, Any]:
    """Return what `list_orders` needs to know of a model; empty for no split.

    The seed is None where the model does not store it.
    """
    from sklearn.base import is_classifier

    if not _holds_rows_out(model):
        return {}
    seed = getattr(model, "_random_seed", None)  # of histogram-based boosting
    if seed is None and _is_integer(model.random_state):
        seed = model.random_state
    return {
        "validation_fraction": model.validation_fraction,
        "split_seed": None if seed is None else int(seed),
        "is_stratified": is_classifier(model),
    }


def _holds_rows_out(model: Any) -> bool:
    if hasattr(model, "_predictors"):
        return model.do_early_stopping_ and model.validation_fraction is not None
    return getattr(model, "n_iter_no_change", None) is not None


def _is_integer(seed: Any) -> bool:
    return isinstance(seed, int | np.integer) and not isinstance(seed, bool)


def list_orders(
    settings: dict[str, Any], trees: StagedTrees
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows that trees may have been fitted on, as they were numbered then.

    Parameters
    ----------
    settings : dict
        From `describe_split`.
    trees : StagedTrees
        The rows that were passed: all, or those that were not held out.

    Yields
    ------
    ndarray of int64, shape (n_fitted,)
        Positions among the rows that were passed. First all of them in their order,
        then without those held out, then all as they come from the split if they were
        sorted since.
    """
    yield np.arange(trees.n_rows)
    if settings.get("split_seed") is None:
        return
    split = _split(settings, trees.n_rows, trees)
    if split is not None:
        yield split
    fraction = settings["validation_fraction"]
    if settings["is_stratified"]:
        return
    is_share = isinstance(fraction, float)
    near = int(trees.n_rows / (1.0 - fraction)) if is_share else trees.n_rows + fraction
    for n_rows in range(max(near - 1, trees.n_rows + 1), near + 3):
        split = _split(settings, n_rows, trees)
        if split is not None and len(split) == trees.n_rows:
            yield np.argsort(np.argsort(split))


def _split(
    settings: dict[str, Any], n_rows: int, trees: StagedTrees
) -> NDArray[np.int64] | None:
    """Return the rows that were not held out of a number; None if too few are left."""
    from sklearn.model_selection import train_test_split

    target = trees.y if settings["is_stratified"] else None
    try:
        kept: NDArray[np.int64] = train_test_split(
            np.arange(n_rows),
            test_size=settings["validation_fraction"],
            stratify=target,
            random_state=settings["split_seed"],
        )[0]
    except ValueError:  # no row, or not one of each class, would be left on a side
        return None
    return kept
