"""Plots of an evaluation: average ranks, and curves over shares of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from treeinf.plots.axes import COLORS, as_text, as_vector, finish, open_axes

__all__ = ["plot_measure_curves", "plot_ranks"]

_MARKERS = "os^Dv<>pP*Xh"
_WIDE = 10.0


def plot_ranks(
    methods: Sequence[str],
    rank: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    critical: float = math.nan,
    ax: Any = None,
) -> Any:
    """Draw average ranks with their intervals, the best on top.

    Parameters
    ----------
    methods : sequence of str
        Names, the best first.
    rank, low, high : array-like, shape (n_methods,)
        Average ranks, and the ends of their intervals.
    critical : float, default=NaN
        Critical difference, shaded from the best rank.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    ranks, ends = (
        as_vector(rank, "rank"),
        (as_vector(low, "low"), as_vector(high, "high")),
    )
    if not len(methods) == len(ranks) == len(ends[0]) == len(ends[1]):
        raise ValueError(
            f"Got {len(methods)} methods, {len(ranks)} ranks and intervals of "
            f"{len(ends[0])} and {len(ends[1])}; expected equal lengths."
        )
    ax = open_axes(ax, (5.2, 0.9 + 0.28 * len(methods)))
    height = np.arange(len(methods))
    if math.isfinite(critical):
        reach = min(float(ranks.min()) + critical, len(methods) + 0.5)
        ax.axvspan(float(ranks.min()), reach, color=COLORS["neutral"], alpha=0.15, lw=0)
    ax.hlines(height, *ends, color=COLORS["neutral"], lw=2)
    ax.plot(ranks, height, "o", color=COLORS["helpful"], markersize=6)
    ax.set_yticks(height, [as_text(name) for name in methods])
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(0.5, len(methods) + 0.5)
    ax.set_xlabel("average rank, 1 is best")
    return finish(ax)


def plot_measure_curves(
    shares: Mapping[str, ArrayLike],
    values: Mapping[str, ArrayLike],
    *,
    x_label: str,
    y_label: str,
    baselines: Sequence[str] = (),
    ax: Any = None,
) -> Any:
    """Draw one curve for each method.

    Parameters
    ----------
    shares, values : dict of str to array-like, shape (n_shares,)
        For each method its shares of the rows, and what was measured there. Shares that
        span a factor of 10 are drawn on a logarithmic axis.
    x_label, y_label : str
        Axis labels.
    baselines : sequence of str
        Methods drawn dashed and grey.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes
    """
    import matplotlib

    ax = open_axes(ax, (5.6, 3.6))
    n_coloured = sum(name not in baselines for name in values)
    palette = matplotlib.colormaps["tab10" if n_coloured <= 10 else "tab20"]
    number = 0
    for name in values:
        style: dict[str, Any] = {"color": COLORS["neutral"], "linestyle": "--"}
        if name not in baselines:
            marker = _MARKERS[number % len(_MARKERS)]
            color = palette(number % palette.N)
            style = {"color": color, "marker": marker, "markersize": 4}
            number += 1
        ax.plot(
            as_vector(shares[name], "shares"),
            as_vector(values[name], "values"),
            label=as_text(name),
            lw=1.5,
            **style,
        )
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    lines = [as_vector(line, "shares") for line in shares.values()]
    ticks = sorted({float(share) for line in lines for share in line})
    if ticks and ticks[0] > 0.0 and ticks[-1] >= _WIDE * ticks[0]:
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{share:g}" for share in ticks])
        ax.set_xticks([], minor=True)
    if values:
        # below the axes, since curves may be anywhere in them
        ax.legend(
            fontsize="small",
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=4 if len(values) <= 8 else 3,
        )
    return finish(ax)
