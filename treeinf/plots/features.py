"""Plot how removed rows differ from kept rows in their features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf.frames import column_names, read_columns
from treeinf.plots.axes import COLORS, as_text, finish, open_axes
from treeinf.validation import check_count

__all__ = ["plot_features"]

_BINS = 30
_MOST_LETTERS = 24
_MOST_CATEGORIES = 20


def plot_features(
    X: Any,
    removed: ArrayLike,
    feature: Any = None,
    *,
    k: int = 10,
    ax: Any = None,
) -> Any:
    """Draw how removed rows differ from kept rows in their features.

    Parameters
    ----------
    X : frame or array-like, shape (n_train, n_features)
        Train rows.
    removed : array-like of bool, shape (n_train,)
        Whether each row was removed.
    feature : str or int, optional
        One feature, by name or position: its values in both kinds of rows, as shares of
        each. By default an overview of numeric features: where the removed rows lie
        among the kept ones (median, middle half, middle four fifths).
    k : int, default=10
        Features in the overview: those whose distributions are furthest apart (largest
        difference of the cumulative shares).
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If rows of one of the two kinds are missing, there is no such feature, `k` is
        not positive, or the overview finds no numeric one.
    TypeError
        If `k` is no integer.
    """
    prefix = "feature " if column_names(X) is None else ""
    columns = {f"{prefix}{name}": values for name, values in read_columns(X)}
    mark = np.asarray(removed, dtype=bool)
    n_rows = len(next(iter(columns.values()))) if columns else 0
    if mark.shape != (n_rows,):
        raise ValueError(f"removed has shape {mark.shape}; X has {n_rows} rows.")
    if mark.all() or not mark.any():
        raise ValueError("removed marks all rows or none; expected some of each.")
    check_count("k", k)
    if feature is None:
        return _draw_overview(columns, mark, int(k), ax)
    names = list(columns)
    if str(feature) in columns:
        name = str(feature)
    elif isinstance(feature, int | np.integer) and -len(names) <= feature < len(names):
        name = names[feature]
    else:
        raise ValueError(f"Got feature={feature!r}; X has {names[:10]!r}.")
    return _draw_one(name, columns[name], mark, ax)


def _as_numbers(column: NDArray[Any]) -> NDArray[np.float64] | None:
    if column.dtype.kind not in "biuf":
        return None
    return column.astype(np.float64)


def _draw_overview(
    columns: dict[Any, NDArray[Any]], mark: NDArray[np.bool_], k: int, ax: Any
) -> Any:
    differences = []
    for name, column in columns.items():
        values = _as_numbers(column)
        if values is None:
            continue
        is_known = np.isfinite(values)
        kept = np.sort(values[is_known & ~mark])
        gone = np.sort(values[is_known & mark])
        if not len(kept) or not len(gone):
            continue
        at = np.concatenate([kept, gone])
        apart = np.abs(_share_up_to(kept, at) - _share_up_to(gone, at)).max()
        # midranks for ties
        percentile = 50.0 * (
            np.searchsorted(kept, gone, "left") + np.searchsorted(kept, gone, "right")
        )
        differences.append((float(apart), name, percentile / len(kept)))
    if not differences:
        raise ValueError("X has no numeric column with values in both kinds of rows.")
    differences.sort(key=lambda entry: -entry[0])
    differences = differences[:k]
    ax = open_axes(ax, (6.0, 1.2 + 0.3 * len(differences)))
    ax.axvspan(25, 75, color=COLORS["helpful"], alpha=0.15, linewidth=0)
    ax.axvline(50, color=COLORS["helpful"], linewidth=1.0)
    for line, (_, _, percentile) in enumerate(differences):
        low, first, middle, third, high = np.percentile(
            percentile, [10, 25, 50, 75, 90]
        )
        ax.plot([low, high], [line, line], color=COLORS["harmful"], linewidth=1.2)
        ax.plot([first, third], [line, line], color=COLORS["harmful"], linewidth=4.5)
        ax.plot([middle], [line], "o", color=COLORS["harmful"], markersize=6)
    ax.set_yticks(
        np.arange(len(differences)),
        [
            f"{as_text(name, _MOST_LETTERS)} ({apart:.2f})"
            for apart, name, _ in differences
        ],
    )
    ax.invert_yaxis()
    ax.set_xlim(-2, 102)
    ax.set_xlabel("cleaned rows: quantile among the kept, %")
    return finish(ax)


def _share_up_to(
    ordered: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.searchsorted(ordered, at, "right") / len(ordered)
    return shares


def _draw_one(name: Any, column: NDArray[Any], mark: NDArray[np.bool_], ax: Any) -> Any:
    ax = open_axes(ax, (6.0, 3.2))
    values = _as_numbers(column)
    sides = (
        ("kept", ~mark, COLORS["helpful"], -0.2),
        ("cleaned", mark, COLORS["harmful"], 0.2),
    )
    if values is not None:
        is_known = np.isfinite(values)
        edges = np.histogram_bin_edges(values[is_known], bins=_BINS)
        for kind, side, color, _ in sides:
            in_side = values[is_known & side]
            ax.hist(
                in_side,
                bins=edges,
                weights=np.full(len(in_side), 100.0 / max(len(in_side), 1)),
                color=color,
                alpha=0.55,
                label=f"{kind} ({int(side.sum()):,})",
            )
    else:
        texts = np.array(["missing" if v is None or v != v else str(v) for v in column])
        labels, count = np.unique(texts, return_counts=True)
        labels = labels[np.argsort(-count, kind="stable")][:_MOST_CATEGORIES]
        for kind, side, color, shift in sides:
            share = [100.0 * (texts[side] == label).mean() for label in labels]
            ax.bar(
                np.arange(len(labels)) + shift,
                share,
                width=0.4,
                color=color,
                label=f"{kind} ({int(side.sum()):,})",
            )
        ax.set_xticks(
            np.arange(len(labels)),
            [as_text(label, _MOST_LETTERS) for label in labels],
            rotation=30,
        )
    ax.set_xlabel(as_text(name))
    ax.set_ylabel("% of the rows of each kind")
    ax.legend(frameon=False)
    return finish(ax)
