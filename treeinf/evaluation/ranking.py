"""Rank the methods of a run, with intervals and critical differences."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, studentized_range

from treeinf.evaluation.averages import average_cells, rank_methods
from treeinf.evaluation.experiment import import_pandas
from treeinf.evaluation.measures.registry import MEASURES
from treeinf.evaluation.run import read_outcomes, read_results

__all__ = [
    "Ranking",
    "critical_difference",
    "list_figures",
    "rank_run",
    "rank_table",
    "read_complete",
]

_CELL = ["data", "library", "seed"]
_BASELINE = "Random"


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """How methods rank by one measure.

    Parameters
    ----------
    lines : pandas.DataFrame
        One line a method, the best first: ``method``, ``rank``, ``rank_low``,
        ``rank_high`` (mean over data sets and its bootstrap interval), ``behind``,
        ``behind_low``, ``behind_high`` (the same of its rank less that of the best
        method), ``figure`` (median over the cells), ``beats_random`` (share of the
        cells in which it does better than the random baseline, ties a half; NaN for the
        baseline itself), and ``cpu_seconds`` (median over the cells; NaN where it was
        not measured).
    n_cells, n_data : int
        Cells and data sets that they are ranked over.
    critical : float
        Critical difference of the average ranks; NaN where there are too few.
    p_value : float
        Of Friedman's test of equal methods; NaN if there are too few.
    left_out : dict of str to int
        Unranked methods, and the number of cells in which they lack a figure.
    """

    lines: Any
    n_cells: int
    n_data: int
    critical: float
    p_value: float
    left_out: dict[str, int]


def read_complete(out: str | os.PathLike[str], measure: str) -> Any:
    """Read the results of a measure where all methods have run.

    Parameters
    ----------
    out : path-like
        Folder of the run.
    measure : str
        Its name.

    Returns
    -------
    pandas.DataFrame
        What `read_results` gives, without data sets, libraries and seeds of which some
        methods are still to run, since that says nothing against these.
    """
    frame = read_results(out, measure)
    if not len(frame):
        return frame
    outcomes = read_outcomes(out, measure)
    waiting = outcomes.loc[outcomes["status"] == "missing", _CELL].drop_duplicates()
    marked = frame[_CELL].merge(waiting, how="left", on=_CELL, indicator="side")
    return frame[(marked["side"] == "left_only").to_numpy()].reset_index(drop=True)


def list_figures(frame: Any, measure: str, *, at: float | None = None) -> Any:
    """List the number that each method is ranked by, cell by cell.

    Parameters
    ----------
    frame : pandas.DataFrame
        Result of `read_complete`.
    measure : str
        Its name.
    at : float, optional
        Take the lines of this share only, in a measure that is a curve.

    Returns
    -------
    pandas.DataFrame
        Columns ``data``, ``library``, ``seed``, ``method``, ``figure`` and, where it
        was measured, ``cpu_seconds``.
    """
    pd = import_pandas()
    how = MEASURES[measure]
    if at is not None and len(frame):
        frame = frame[frame[how.curve] == at]
    tables = []
    for key, cell in frame.groupby(_CELL, sort=False) if len(frame) else ():
        columns = {"figure": how.figures(cell)}
        if "cpu_seconds" in cell:
            times = cell.groupby(how.names(cell), sort=False)["cpu_seconds"]
            columns["cpu_seconds"] = times.first()
        table = pd.DataFrame(columns).rename_axis("method").reset_index()
        for name, value in zip(reversed(_CELL), reversed(key), strict=True):
            table.insert(0, name, value)
        tables.append(table)
    empty = pd.DataFrame(columns=[*_CELL, "method", "figure"])
    return pd.concat(tables, ignore_index=True) if tables else empty


def rank_run(
    out: str | os.PathLike[str], measure: str, library: str | None = None
) -> Ranking | None:
    """Rank the methods of a run by one measure.

    Parameters
    ----------
    out : path-like
        Folder of the run.
    measure : str
        Its name.
    library : str, optional
        Rank over its cells only.

    Returns
    -------
    Ranking or None
        None where there are fewer than two methods to rank.
    """
    figures = list_figures(read_complete(out, measure), measure)
    if library is not None:
        figures = figures[figures["library"] == library]
    return rank_table(figures, higher_is_better=MEASURES[measure].higher_is_better)


def rank_table(figures: Any, *, higher_is_better: bool = True) -> Ranking | None:
    """Rank methods within each cell, and average the ranks over data sets.

    Parameters
    ----------
    figures : pandas.DataFrame
        Result of `list_figures`.
    higher_is_better : bool, default=True
        Whether the largest figure has rank 1.

    Returns
    -------
    Ranking or None
        None where there are fewer than two methods to rank.

    Notes
    -----
    Methods without a figure in some cell are left out, since averages over other cells
    do not compare. Ranks of one data set are averaged first: its libraries and seeds
    are no independent trials. The critical difference is that of Nemenyi's test over
    data sets, and Friedman's test takes their averages. It is wide, since it guards
    all pairs; the interval of one method's distance to the best is of a single pair,
    and does not count that the best was picked.

    References
    ----------
    J. Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7
    (2006), section 3.2.
    """
    pd = import_pandas()
    if not len(figures):
        return None
    table = figures.pivot_table(
        index=_CELL, columns="method", values="figure", sort=False, dropna=False
    )
    table = table.reindex(columns=figures["method"].drop_duplicates()).dropna(how="all")
    missing = table.isna().sum()
    left_out = {str(name): int(n) for name, n in missing[missing > 0].items()}
    table = table[missing.index[missing == 0]]
    if table.shape[1] < 2 or not len(table):
        return None
    values = table.to_numpy(dtype=np.float64) * (1.0 if higher_is_better else -1.0)
    ranks = rank_methods(values)
    groups = table.index.get_level_values("data").to_numpy()
    averages = average_cells(ranks, groups)
    best = int(np.argmin(averages.mean))
    behind = average_cells(ranks - ranks[:, [best]], groups)
    by_data = pd.DataFrame(ranks).groupby(groups, sort=False).mean().to_numpy()
    lines = pd.DataFrame(
        {
            "method": table.columns,
            "rank": averages.mean,
            "rank_low": averages.low,
            "rank_high": averages.high,
            "behind": behind.mean,
            "behind_low": behind.low,
            "behind_high": behind.high,
            "figure": table.median().to_numpy(),
            "beats_random": _beat(values, list(table.columns)),
            "cpu_seconds": _median_times(figures, table.columns),
        }
    )
    return Ranking(
        lines.sort_values("rank", kind="stable", ignore_index=True),
        len(table),
        len(by_data),
        critical_difference(values.shape[1], len(by_data)),
        _friedman(by_data),
        left_out,
    )


def critical_difference(n_methods: int, n_data: int, level: float = 0.05) -> float:
    """Compute Nemenyi's critical difference between two average ranks.

    Parameters
    ----------
    n_methods, n_data : int
        Methods, and data sets they are ranked on.
    level : float, default=0.05
        Chance of a difference by chance alone among all pairs.

    Returns
    -------
    float
        ``q * sqrt(n_methods (n_methods + 1) / (6 n_data))``, where ``q sqrt(2)`` is the
        quantile of the studentized range; NaN for fewer than two of either.
    """
    if n_methods < 2 or n_data < 2:
        return math.nan
    q = studentized_range.ppf(1.0 - level, n_methods, math.inf) / math.sqrt(2.0)
    return float(q * math.sqrt(n_methods * (n_methods + 1) / (6.0 * n_data)))


def _median_times(figures: Any, methods: Any) -> NDArray[np.float64]:
    if "cpu_seconds" not in figures:
        return np.full(len(methods), np.nan)
    times = figures.groupby("method")["cpu_seconds"].median()
    return np.asarray(times.reindex(methods), dtype=np.float64)


def _friedman(by_data: NDArray[np.float64]) -> float:
    n_data, n_methods = by_data.shape
    # undefined if all methods tie everywhere
    if n_methods < 3 or n_data < 2 or (by_data == by_data[:, :1]).all():
        return math.nan
    return float(friedmanchisquare(*by_data.T).pvalue)


def _beat(values: NDArray[np.float64], names: list[str]) -> NDArray[np.float64]:
    """Compute the share of cells in which each method beats the random baseline.

    A measure may rank a method under several names, "BoostIn, self"; each is compared
    with the baseline of the same kind.
    """
    shares = np.full(len(names), np.nan)
    for number, name in enumerate(names):
        _, comma, kind = name.rpartition(", ")
        baseline = _BASELINE + (comma + kind if comma else "")
        if baseline not in names:
            baseline = _BASELINE
        if baseline not in names or name == baseline:
            continue
        other = values[:, names.index(baseline)]
        scores = values[:, number]
        shares[number] = ((scores > other) + 0.5 * (scores == other)).mean()
    return shares
