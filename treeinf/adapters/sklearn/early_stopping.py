"""Rows that scikit-learn's boosting holds out to stop early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import StagedTrees
from treeinf.adapters.sklearn.twister import step_back

__all__ = [
    "count_kept",
    "describe_hold_out",
    "describe_split",
    "list_orders",
    "search_splits",
]

_MOST_ROWS = 100_000
"""Rows up to which a split without a seed is searched: O(n_rows ** 1.5) time."""

_SPREAD, _MARGIN = 6.0, 32
"""Standard deviations, and further words, searched to each side of the mean."""


def describe_hold_out(model: Any) -> str | None:
    """Describe the setting that held rows out; None if none were held out."""
    if not _holds_rows_out(model):
        return None
    words = "early stopping on rows held out, "
    words += f"validation_fraction={model.validation_fraction:g}"
    if describe_split(model)["split_seed"] is None:
        words += "; an integer random_state always tells which"
    return words


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
    fraction = model.validation_fraction
    return {
        "validation_fraction": int(fraction)
        if _is_integer(fraction)
        else float(fraction),
        "split_seed": None if seed is None else int(seed),
        "is_stratified": is_classifier(model),
    }


def _holds_rows_out(model: Any) -> bool:
    if hasattr(model, "_predictors"):
        return model.do_early_stopping_ and model.validation_fraction is not None
    return getattr(model, "n_iter_no_change", None) is not None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


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
    split = _split(settings, trees.n_rows, trees, settings["split_seed"])
    if split is not None:
        yield split
    fraction = settings["validation_fraction"]
    if settings["is_stratified"]:
        return
    is_share = isinstance(fraction, float)
    near = int(trees.n_rows / (1.0 - fraction)) if is_share else trees.n_rows + fraction
    for n_rows in range(max(near - 1, trees.n_rows + 1), near + 3):
        split = _split(settings, n_rows, trees, settings["split_seed"])
        if split is not None and len(split) == trees.n_rows:
            yield np.argsort(np.argsort(split))


def _split(
    settings: dict[str, Any],
    n_rows: int,
    trees: StagedTrees,
    generator: int | np.random.RandomState,
) -> NDArray[np.int64] | None:
    """Return the rows that were not held out of a number; None if too few are left."""
    from sklearn.model_selection import train_test_split

    target = trees.y if settings["is_stratified"] else None
    try:
        kept: NDArray[np.int64] = train_test_split(
            np.arange(n_rows),
            test_size=settings["validation_fraction"],
            stratify=target,
            random_state=generator,
        )[0]
    except ValueError:  # no row, or not one of each class, would be left on a side
        return None
    return kept


def count_kept(fraction: float, n_rows: int) -> int:
    """Return how many of some rows a split leaves for training."""
    is_share = isinstance(fraction, float)
    return n_rows - int(np.ceil(fraction * n_rows) if is_share else fraction)


def search_splits(
    settings: dict[str, Any], trees: StagedTrees, after: np.random.RandomState
) -> Iterator[NDArray[np.int64]]:
    """Yield the splits after which a generator is in a state, without its seed.

    A split draws a number of words that varies, since draws above a row's number are
    repeated. Starts are tried from the mean outwards; several end where they must.

    Parameters
    ----------
    settings : dict
        From `describe_split`.
    trees : StagedTrees
        All rows that were passed to the training.
    after : RandomState
        The generator after the split.

    Yields
    ------
    ndarray of int64, shape (n_fitted,)
        Rows that were not held out, in the order of the split.
    """
    n_rows = trees.n_rows
    n_kept = count_kept(settings["validation_fraction"], n_rows)
    if n_rows > _MOST_ROWS or not 0 < n_kept < n_rows:
        return
    shuffled = [n_rows]
    if settings["is_stratified"]:
        classes = np.unique(trees.y, return_counts=True)[1].tolist()
        shuffled = [*classes, n_kept, n_rows - n_kept]
    mean, variance = map(sum, zip(*map(_measure_shuffle, shuffled), strict=True))
    reach = int(_SPREAD * np.sqrt(variance)) + _MARGIN
    _, state, position, *_ = after.get_state()
    words = np.asarray(state, np.uint32)
    desired = after.randint(0, 2**32, size=4, dtype=np.uint32)
    for step in range(2 * reach + 1):
        side = (step + 1) // 2 if step % 2 else -(step // 2)
        n_words = round(mean) + side
        if n_words < 0:
            continue
        generator = step_back(words.copy(), int(position), n_words)
        split = _split(settings, n_rows, trees, generator)
        ahead = generator.randint(0, 2**32, size=4, dtype=np.uint32)
        if split is not None and (ahead == desired).all():
            yield split


def _measure_shuffle(n: int) -> tuple[float, float]:
    """Return mean and variance of the number of words that a shuffle draws."""
    number = np.arange(1, n)
    limit = 2.0 ** np.ceil(np.log2(number + 1.0))
    share = (number + 1.0) / limit
    return float((1.0 / share).sum()), float(((1.0 - share) / share**2).sum())
