"""Plot the most influential rows of a query, or a heat map of many queries."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.plots.axes import COLORS, as_text, as_vector, finish, open_axes
from treeinf.validation import check_count

__all__ = ["plot_heat_map", "plot_influence"]

_MOST_LETTERS = 24


def plot_influence(
    influence: Any, test_row: int | None = None, k: int = 10, ax: Any = None
) -> Any:
    """Draw the most helpful and most harmful train rows as bars.

    Parameters
    ----------
    influence : Influence or array-like, shape (n_train, n_test) or (n_train,)
        Influence of train rows on the loss; positive helps.
    test_row : int, optional
        Position of one query; None for the sum over all.
    k : int, default=10
        Maximum number of rows on each side.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there is no such query or `k` is not positive.
    TypeError
        If `k` is not an integer.
    """
    check_count("k", k)
    values = np.asarray(influence, dtype=np.float64)
    title = "all test rows"
    if values.ndim == 2:
        if test_row is None:
            title = f"the sum over {values.shape[1]:,} test rows"
            values = values.sum(axis=1)
        else:
            if isinstance(test_row, bool) or not isinstance(test_row, Integral):
                raise TypeError(f"Got test_row={test_row!r}; expected an integer.")
            if not -values.shape[1] <= test_row < values.shape[1]:
                raise ValueError(
                    f"Got test_row={test_row!r}; there are {values.shape[1]} queries."
                )
            tests = getattr(influence, "test_labels", None)
            title = (
                f"test row {test_row if tests is None else as_text(tests[test_row])}"
            )
            values = values[:, test_row]
    elif test_row is not None:
        raise ValueError(
            "This influence is summed over all queries; leave test_row out."
        )
    values = as_vector(values, "influence")
    labels = getattr(influence, "train_labels", None)
    labels = np.arange(len(values)) if labels is None else np.asarray(labels)
    order = np.argsort(values, kind="stable")
    harmful = order[:k][values[order[:k]] < 0]
    helpful = order[::-1][:k][values[order[::-1][:k]] > 0]
    shown = np.concatenate([helpful, harmful[::-1]])
    ax = open_axes(ax, (6.0, 1.2 + 0.24 * max(len(shown), 2)))
    colors = [COLORS["helpful" if values[row] > 0 else "harmful"] for row in shown]
    height = np.arange(len(shown))
    ax.barh(height, values[shown], color=colors, height=0.75)
    ax.set_yticks(height, [as_text(labels[row], _MOST_LETTERS) for row in shown])
    ax.invert_yaxis()
    ax.axvline(0.0, color=COLORS["neutral"], linewidth=0.8)
    ax.set_ylabel("train row")
    ax.set_xlabel("influence (harms < 0 < helps), in units of the loss")
    ax.set_title(f"Rows with most influence on {title}")
    return finish(ax)


def plot_heat_map(
    influence: Any, n_train: int = 30, n_test: int = 30, ax: Any = None
) -> Any:
    """Draw the influence of some train rows on some test rows as a heat map.

    Parameters
    ----------
    influence : Influence or array-like, shape (n_train, n_test)
        Influence of train rows on each test row; positive helps.
    n_train, n_test : int, default=30
        Most rows of either kind: those with the largest sums of sizes, in the order of
        their sums, helpful train rows above.
    ax : matplotlib Axes, optional
        Axes to draw on. White is no influence; the colours are cut at the 99th
        percentile of the sizes shown, so that one large value does not hide the others.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the influence is not on several queries, or a number is not positive.
    TypeError
        If a number is not an integer.
    """
    for name, number in (("n_train", n_train), ("n_test", n_test)):
        check_count(name, number)
    values = np.asarray(influence, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"influence has shape {values.shape}; expected (n_train, n_test)."
        )
    rows, columns = (
        _most_sizeable(values.sum(axis=axis), np.abs(values).sum(axis=axis), most)
        for axis, most in ((1, n_train), (0, n_test))
    )
    shown = values[np.ix_(rows, columns)]
    size = float(np.percentile(np.abs(shown), 99)) or 1.0
    ax = open_axes(ax, (7.0, 5.5))
    picture = ax.imshow(shown, cmap="RdBu", vmin=-size, vmax=size, aspect="auto")
    for axis, labels, places, name in (
        (ax.yaxis, getattr(influence, "train_labels", None), rows, "train row"),
        (ax.xaxis, getattr(influence, "test_labels", None), columns, "test row"),
    ):
        names = places if labels is None else np.asarray(labels)[places]
        axis.set_ticks(
            np.arange(len(places)), [as_text(label, _MOST_LETTERS) for label in names]
        )
        axis.set_label_text(name)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(labelsize=7)
    ax.figure.colorbar(picture, ax=ax, label="influence (harms < 0 < helps)")
    return ax


def _most_sizeable(
    total: NDArray[np.float64], size: NDArray[np.float64], most: int
) -> NDArray[np.int64]:
    """Return the rows of largest magnitude, by decreasing sum."""
    largest = np.argsort(-size, kind="stable")[:most]
    return largest[np.argsort(-total[largest], kind="stable")]
