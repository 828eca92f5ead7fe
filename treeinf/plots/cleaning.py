"""Plots of a cleaning: scores, amounts, detection and removal curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from treeinf.plots.axes import (
    COLORS,
    as_text,
    as_vector,
    cycle_colors,
    finish,
    open_axes,
)

__all__ = [
    "plot_amount_curve",
    "plot_detection_curve",
    "plot_removal_curve",
    "plot_score_distribution",
]


def plot_score_distribution(
    scores: ArrayLike,
    removed: ArrayLike | None = None,
    *,
    bins: int = 50,
    label: str = "score (larger: more harmful)",
    ax: Any = None,
) -> Any:
    """Draw a histogram of the scores of the train rows, with removed rows marked.

    Parameters
    ----------
    scores : array-like, shape (n_train,)
        Score of each row; NaN is left out.
    removed : array-like of bool, shape (n_train,), optional
        Rows that were removed.
    bins : int, default=50
        Number of bins.
    label : str
        Axis label.
    ax : matplotlib Axes, optional
        Axes to draw on. The counts are on a logarithmic axis.

    Returns
    -------
    matplotlib Axes
    """
    values = as_vector(scores, "scores")
    mark = (
        np.zeros(len(values), dtype=bool)
        if removed is None
        else np.asarray(removed, dtype=bool)
    )
    if mark.shape != values.shape:
        raise ValueError(
            f"removed has shape {mark.shape}, scores have shape {values.shape}."
        )
    is_scored = np.isfinite(values)
    kept, gone = values[is_scored & ~mark], values[is_scored & mark]
    ax = open_axes(ax, (6.0, 3.2))
    if is_scored.any():
        edges = np.histogram_bin_edges(values[is_scored], bins=bins)
        ax.hist(
            [kept, gone] if len(gone) else [kept],
            bins=edges,
            stacked=True,
            color=[COLORS["helpful"], COLORS["harmful"]][: 1 + bool(len(gone))],
            label=[f"kept ({len(kept):,})", f"cleaned ({len(gone):,})"][
                : 1 + bool(len(gone))
            ],
        )
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.7)
        ax.legend(frameon=False)
    ax.set_xlabel(label)
    ax.set_ylabel("train rows")
    return finish(ax)


def plot_amount_curve(
    amounts: ArrayLike,
    gains: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    chosen: float | None = None,
    label: str = "gain (larger is better)",
    others: Mapping[str, ArrayLike] | None = None,
    levels: Mapping[str, float] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the gain of each candidate amount, with intervals.

    Parameters
    ----------
    amounts : array-like, shape (n_candidates,)
        Share of rows cleaned, in [0, 1].
    gains : array-like, shape (n_candidates,)
        Gain over no cleaning.
    low, high : array-like, shape (n_candidates,), optional
        Ends of the intervals.
    chosen : float, optional
        Chosen amount, marked by a line.
    label : str
        Axis label.
    others : dict of str to array-like, optional
        Further curves over the same amounts, such as a random choice of rows; left out
        where they are NaN.
    levels : dict of str to float, optional
        What was gained in ways that have no amount, such as by appending clean rows; as
        level lines.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes
    """
    x = as_vector(amounts, "amounts")
    y = as_vector(gains, "gains")
    if x.shape != y.shape:
        raise ValueError(f"amounts has {len(x)} values, gains has {len(y)}.")
    order = np.argsort(x, kind="stable")
    x, y = 100.0 * x[order], y[order]
    ax = open_axes(ax, (6.0, 3.2))
    ax.axhline(0.0, color=COLORS["neutral"], linewidth=0.8)
    if low is not None and high is not None:
        bottom, top = as_vector(low, "low")[order], as_vector(high, "high")[order]
        ax.fill_between(x, bottom, top, color=COLORS["helpful"], alpha=0.2, linewidth=0)
    ax.plot(x, y, color=COLORS["helpful"], marker="o", markersize=4, label="by score")
    for name, values in (others or {}).items():
        curve = as_vector(values, name)[order]
        is_known = np.isfinite(curve)
        ax.plot(
            x[is_known],
            curve[is_known],
            color=COLORS["neutral"],
            linestyle="--",
            marker="s",
            markersize=3,
            label=as_text(name),
        )
    for name, gain in (levels or {}).items():
        ax.axhline(
            gain,
            color=COLORS["neutral"],
            linestyle="-.",
            linewidth=1.2,
            label=as_text(name),
        )
    if chosen is not None:
        ax.axvline(
            100.0 * chosen,
            color=COLORS["harmful"],
            linewidth=1.2,
            linestyle=":",
            label=f"chosen: {chosen:.1%}",
        )
    if others or levels or chosen is not None:
        # above the axes, which are filled by curves and bands
        ax.legend(
            frameon=False,
            fontsize="small",
            ncols=2,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=0.2,
        )
    ax.set_xlabel("rows cleaned, % of the scored train rows")
    ax.set_ylabel(label)
    return finish(ax)


def plot_detection_curve(
    scores: ArrayLike | Mapping[str, ArrayLike],
    is_noisy: ArrayLike,
    *,
    n_checked: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw the share of known wrong rows found against the share of rows checked.

    Parameters
    ----------
    scores : array-like, shape (n_train,), or dict of such
        Score of each row, larger for more harmful rows; several by name. Rows without a
        score (NaN) are checked last.
    is_noisy : array-like of bool, shape (n_train,)
        Which rows are wrong.
    n_checked : int, optional
        Number of rows that a cleaning removed, marked by a line.
    ax : matplotlib Axes, optional
        Axes to draw on. Dashed: rows checked in a random order, and in the best one.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If no row is wrong, or the lengths differ.
    """
    truth = np.asarray(is_noisy, dtype=bool)
    if not truth.any():
        raise ValueError("is_noisy marks no row; expected at least one.")
    named: Mapping[str, ArrayLike] = (
        scores if isinstance(scores, Mapping) else {"": scores}
    )
    ax = open_axes(ax, (5.0, 4.0))
    n_rows, n_noisy = len(truth), int(truth.sum())
    checked = 100.0 * np.arange(n_rows + 1) / n_rows
    best = 100.0 * np.minimum(np.arange(n_rows + 1) / n_noisy, 1.0)
    ax.plot(
        checked, best, color=COLORS["neutral"], linestyle=":", label="best possible"
    )
    ax.plot(
        [0, 100],
        [0, 100],
        color=COLORS["neutral"],
        linestyle="--",
        label="random order",
    )
    for (name, curve_scores), color in zip(
        named.items(), cycle_colors(len(named)), strict=True
    ):
        values = as_vector(curve_scores, name or "scores")
        if values.shape != truth.shape:
            raise ValueError(f"scores have {len(values)} rows, is_noisy has {n_rows}.")
        keys = np.where(np.isnan(values), np.inf, -values)
        n_found = np.cumsum(truth[np.argsort(keys, kind="stable")])
        share = 100.0 * np.concatenate([[0.0], n_found / n_noisy])
        ax.plot(checked, share, color=color, label=as_text(name) or "by score")
    if n_checked:
        ax.axvline(
            100.0 * n_checked / n_rows,
            color=COLORS["harmful"],
            linewidth=1.2,
            linestyle=":",
            label=f"cleaned: {n_checked:,} rows",
        )
    ax.set_xlabel("train rows checked, %")
    ax.set_ylabel("wrong rows found, %")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 102)
    ax.legend(frameon=False, loc="lower right")
    return finish(ax)


def plot_removal_curve(
    removed: ArrayLike,
    scores: Mapping[str, ArrayLike],
    *,
    label: str = "score of the retrained model",
    ax: Any = None,
) -> Any:
    """Draw the score of a retrained model as rows are removed in several orders.

    Parameters
    ----------
    removed : array-like, shape (n_points,)
        Share of the train rows removed before each retraining, in [0, 1].
    scores : dict of str to array-like, shape (n_points,) or (n_repeats, n_points)
        For each order its scores; of several repeats the mean is drawn, and a band of
        one standard error to either side.
    label : str
        Axis label.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there are no scores, or their lengths do not match `removed`.
    """
    x = as_vector(removed, "removed")
    if not scores:
        raise ValueError("scores is empty; expected at least one order of removal.")
    order = np.argsort(x, kind="stable")
    ax = open_axes(ax, (6.0, 3.6))
    for (name, curve_scores), color in zip(
        scores.items(), cycle_colors(len(scores)), strict=True
    ):
        lines = np.atleast_2d(np.asarray(curve_scores, dtype=np.float64))
        if lines.ndim != 2 or lines.shape[1] != len(x):
            raise ValueError(
                f"scores[{name!r}] has shape {np.shape(curve_scores)}; expected "
                f"({len(x)},) or (n_repeats, {len(x)})."
            )
        mean = lines.mean(axis=0)[order]
        if len(lines) > 1:
            error = lines.std(axis=0, ddof=1)[order] / np.sqrt(len(lines))
            ax.fill_between(
                100.0 * x[order],
                mean - error,
                mean + error,
                color=color,
                alpha=0.2,
                linewidth=0,
            )
        ax.plot(
            100.0 * x[order],
            mean,
            color=color,
            marker="o",
            markersize=3.5,
            label=as_text(name),
        )
    ax.set_xlabel("train rows removed, %")
    ax.set_ylabel(label)
    ax.legend(frameon=False)
    return finish(ax)
