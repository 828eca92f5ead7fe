"""Average over data sets and seeds with bootstrap intervals, and rank methods."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from treeinf.dtypes import REAL
from treeinf.validation import check_count

__all__ = ["Averages", "average_cells", "rank_methods"]


@dataclasses.dataclass(frozen=True, eq=False)
class Averages:
    """Column means and their confidence intervals.

    Parameters
    ----------
    mean, low, high : ndarray of float64, shape (n_columns,)
        In the unit of the values.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def average_cells(
    values: Any,
    groups: Any,
    *,
    level: float = 0.95,
    n_draws: int = 10_000,
    random_state: int = 0,
) -> Averages:
    """Average over groups of cells, with bootstrap intervals.

    Parameters
    ----------
    values : array-like, shape (n_cells,) or (n_cells, n_columns)
        One row per cell of an experiment, one column per method.
    groups : array-like, shape (n_cells,)
        Group of each cell, such as its data set. Groups have equal weight, however many
        cells they have.
    level : float, default=0.95
        Nominal coverage, in (0, 1).
    n_draws : int, default=10_000
        Bootstrap draws.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    Averages

    Raises
    ------
    ValueError
        If values are not finite, shapes do not fit or a parameter is out of bounds.
    TypeError
        If `n_draws` is not an integer.

    Notes
    -----
    Hierarchical bootstrap: each draw resamples groups, then cells within each group.
    Cells of one data set are correlated, and intervals that treated them as independent
    would be too narrow. All columns share the draws. Percentile intervals of few groups
    (five, say) still cover less than their nominal level.

    References
    ----------
    A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", Cambridge
    University Press 1997, section 3.8 (hierarchical data).
    """
    table = np.asarray(values, dtype=REAL)
    table = table[:, np.newaxis] if table.ndim == 1 else table
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if table.ndim != 2 or len(table) != len(group) or not len(table):
        raise ValueError(
            f"Got values of shape {np.shape(values)} and groups of shape "
            f"{np.shape(groups)}; expected one row per cell, and at least one."
        )
    if not np.isfinite(table).all():
        raise ValueError(
            f"{int((~np.isfinite(table)).sum())} of {table.size} values are not "
            "finite; decide what they mean before averaging."
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"Got level={level!r}; expected a number in (0, 1).")
    check_count("n_draws", n_draws)
    size = np.bincount(group)
    n_groups, most = len(size), int(size.max())
    members = np.argsort(group, kind="stable")
    start = np.cumsum(size) - size
    mean = (table / (size[group] * n_groups)[:, np.newaxis]).sum(axis=0)
    rng = np.random.default_rng(random_state)
    drawn = rng.integers(n_groups, size=(n_draws, n_groups))[:, :, np.newaxis]
    size_of_group = size[drawn]
    member = (rng.random((n_draws, n_groups, most)) * size_of_group).astype(np.intp)
    cell = members[start[drawn] + member]
    share = np.where(
        np.arange(most) < size_of_group, 1.0 / (size_of_group * n_groups), 0.0
    )
    weight = np.zeros((n_draws, len(table)), dtype=REAL)
    np.add.at(weight, (np.arange(n_draws)[:, np.newaxis, np.newaxis], cell), share)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(weight @ table, [tail, 100.0 - tail], axis=0)
    return Averages(mean, low, high)


def rank_methods(values: Any) -> NDArray[np.float64]:
    """Rank the methods within each cell, the largest value first.

    Parameters
    ----------
    values : array-like, shape (n_cells, n_methods)
        Performance of each method.

    Returns
    -------
    ndarray of float64, shape (n_cells, n_methods)
        Ranks from 1; ties share their mean rank.

    Raises
    ------
    ValueError
        If values are NaN: a method without a value has no rank.
    """
    table = np.asarray(values, dtype=REAL)
    if table.ndim != 2:
        raise ValueError(
            f"Got values of shape {table.shape}; expected (n_cells, n_methods)."
        )
    if np.isnan(table).any():
        raise ValueError(
            f"{int(np.isnan(table).sum())} of {table.size} values are NaN; a method "
            "without a value has no rank."
        )
    return np.asarray(rankdata(-table, axis=1), dtype=REAL)
