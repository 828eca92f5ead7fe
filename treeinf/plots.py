"""Pictures of influence and of a cleaning: axes in, axes out; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "COLORS",
    "plot_amount_curve",
    "plot_detection_curve",
    "plot_influence",
    "plot_score_distribution",
]

COLORS = {"helpful": "#2a78b5", "harmful": "#c8553d", "neutral": "#8a8a8a"}
"""Colours of the three kinds of rows, apart also for the colour-blind."""


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    """Give the caller's axes, or new ones."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib; pip install 'treeinf[plot]'."
        ) from error
    _, ax = pyplot.subplots(figsize=size, layout="constrained")
    return ax


def _finish(ax: Any) -> Any:
    """Take away what carries no data."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _as_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"{name} has shape {vector.shape}; expected (n_rows,).")
    return vector


def plot_influence(
    influence: Any, test_row: int | None = None, k: int = 10, ax: Any = None
) -> Any:
    """Draw the train rows that help and harm most, as bars.

    Parameters
    ----------
    influence : Influence or array-like, shape (n_train, n_test) or (n_train,)
        Influence of train rows on the loss; positive helps.
    test_row : int, optional
        Position of one target; None for the sum over all.
    k : int, default=10
        Most rows on each side.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there is no such target or `k` is not positive.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"Got k={k!r}; expected a positive integer.")
    values = np.asarray(influence, dtype=np.float64)
    title = "all test rows"
    if values.ndim == 2:
        if test_row is None:
            title = f"the sum over {values.shape[1]:,} test rows"
            values = values.sum(axis=1)
        else:
            if not -values.shape[1] <= test_row < values.shape[1]:
                raise ValueError(
                    f"Got test_row={test_row!r}; there are {values.shape[1]} targets."
                )
            tests = getattr(influence, "test_labels", None)
            title = (
                f"test row {test_row if tests is None else _as_text(tests[test_row])}"
            )
            values = values[:, test_row]
    elif test_row is not None:
        raise ValueError(
            "This influence is on all targets together; leave test_row out."
        )
    values = _as_vector(values, "influence")
    labels = getattr(influence, "train_labels", None)
    labels = np.arange(len(values)) if labels is None else np.asarray(labels)
    order = np.argsort(values, kind="stable")
    harmful = order[:k][values[order[:k]] < 0]
    helpful = order[::-1][:k][values[order[::-1][:k]] > 0]
    shown = np.concatenate([helpful, harmful[::-1]])
    ax = _axes(ax, (6.0, 1.2 + 0.24 * max(len(shown), 2)))
    colors = [COLORS["helpful" if values[row] > 0 else "harmful"] for row in shown]
    place = np.arange(len(shown))
    ax.barh(place, values[shown], color=colors, height=0.75)
    ax.set_yticks(place, [_as_text(labels[row]) for row in shown])
    ax.invert_yaxis()
    ax.axvline(0.0, color=COLORS["neutral"], linewidth=0.8)
    ax.set_ylabel("train row")
    ax.set_xlabel("influence (harms < 0 < helps), in units of the loss")
    ax.set_title(f"Rows with most influence on {title}")
    return _finish(ax)


def plot_score_distribution(
    scores: ArrayLike,
    removed: ArrayLike | None = None,
    *,
    bins: int = 50,
    label: str = "score (larger: more suspect)",
    ax: Any = None,
) -> Any:
    """Draw how the scores of the train rows are spread, and where the removed rows lie.

    Parameters
    ----------
    scores : array-like, shape (n_train,)
        Score of each row; rows that have none (NaN) are left out.
    removed : array-like of bool, shape (n_train,), optional
        Rows that were removed.
    bins : int, default=50
        Bars.
    label : str
        What the score is.
    ax : matplotlib Axes, optional
        Where to draw. The counts are on a logarithmic axis.

    Returns
    -------
    matplotlib Axes
    """
    values = _as_vector(scores, "scores")
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
    ax = _axes(ax, (6.0, 3.2))
    if is_scored.any():
        edges = np.histogram_bin_edges(values[is_scored], bins=bins)
        ax.hist(
            [kept, gone] if len(gone) else [kept],
            bins=edges,
            stacked=True,
            color=[COLORS["helpful"], COLORS["harmful"]][: 1 + bool(len(gone))],
            label=[f"kept ({len(kept):,})", f"removed ({len(gone):,})"][
                : 1 + bool(len(gone))
            ],
        )
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.7)
        ax.legend(frameon=False)
    ax.set_xlabel(label)
    ax.set_ylabel("train rows")
    return _finish(ax)


def plot_amount_curve(
    amounts: ArrayLike,
    gains: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    chosen: float | None = None,
    label: str = "gain (larger is better)",
    others: Mapping[str, ArrayLike] | None = None,
    ax: Any = None,
) -> Any:
    """Draw what each candidate amount brought, with intervals.

    Parameters
    ----------
    amounts : array-like, shape (n_candidates,)
        Share of rows cleaned, in [0, 1].
    gains : array-like, shape (n_candidates,)
        What the model gained, compared with no cleaning.
    low, high : array-like, shape (n_candidates,), optional
        Ends of the intervals.
    chosen : float, optional
        The amount that was chosen; marked by a line.
    label : str
        What the gain is.
    others : dict of str to array-like, optional
        Further curves over the same amounts, such as a random choice of rows.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
    """
    x = _as_vector(amounts, "amounts")
    y = _as_vector(gains, "gains")
    if x.shape != y.shape:
        raise ValueError(f"amounts has {len(x)} values, gains has {len(y)}.")
    order = np.argsort(x, kind="stable")
    x, y = 100.0 * x[order], y[order]
    ax = _axes(ax, (6.0, 3.2))
    ax.axhline(0.0, color=COLORS["neutral"], linewidth=0.8)
    if low is not None and high is not None:
        bottom, top = _as_vector(low, "low")[order], _as_vector(high, "high")[order]
        ax.fill_between(x, bottom, top, color=COLORS["helpful"], alpha=0.2, linewidth=0)
    ax.plot(x, y, color=COLORS["helpful"], marker="o", markersize=4, label="by score")
    for name, values in (others or {}).items():
        ax.plot(
            x,
            _as_vector(values, name)[order],
            color=COLORS["neutral"],
            linestyle="--",
            marker="s",
            markersize=3,
            label=_as_text(name),
        )
    if chosen is not None:
        ax.axvline(
            100.0 * chosen,
            color=COLORS["harmful"],
            linewidth=1.2,
            linestyle=":",
            label=f"chosen: {chosen:.1%}",
        )
    if others or chosen is not None:
        ax.legend(frameon=False)
    ax.set_xlabel("rows cleaned, % of the scored train rows")
    ax.set_ylabel(label)
    return _finish(ax)


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
        Score of each row, the most suspect largest; several under their names. Rows
        without a score (NaN) are checked last.
    is_noisy : array-like of bool, shape (n_train,)
        Which rows are wrong.
    n_checked : int, optional
        How many rows a cleaning removed; marked by a line.
    ax : matplotlib Axes, optional
        Where to draw. Dashed: rows checked in a random order, and in the best one.

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
        raise ValueError("is_noisy marks no row; there is nothing to detect.")
    named: Mapping[str, ArrayLike] = (
        scores if isinstance(scores, Mapping) else {"": scores}
    )
    ax = _axes(ax, (5.0, 4.0))
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
    for (name, given), color in zip(named.items(), _cycle(len(named)), strict=True):
        values = _as_vector(given, name or "scores")
        if values.shape != truth.shape:
            raise ValueError(f"scores have {len(values)} rows, is_noisy has {n_rows}.")
        keys = np.where(np.isnan(values), np.inf, -values)
        found = np.cumsum(truth[np.argsort(keys, kind="stable")])
        share = 100.0 * np.concatenate([[0.0], found / n_noisy])
        ax.plot(checked, share, color=color, label=_as_text(name) or "by score")
    if n_checked:
        ax.axvline(
            100.0 * n_checked / n_rows,
            color=COLORS["harmful"],
            linewidth=1.2,
            linestyle=":",
            label=f"removed: {n_checked:,} rows",
        )
    ax.set_xlabel("train rows checked, %")
    ax.set_ylabel("wrong rows found, %")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 102)
    ax.legend(frameon=False, loc="lower right")
    return _finish(ax)


def _as_text(label: Any) -> str:
    """Write a label of the caller's; a dollar sign would begin a formula."""
    return str(label).replace("$", r"\$")


def _cycle(n_curves: int) -> Sequence[Any]:
    """Give the colour of the first curve, then matplotlib's own."""
    return [COLORS["helpful"], *(f"C{number}" for number in range(1, n_curves))]
