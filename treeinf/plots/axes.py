"""Axes, colours and labels shared by all plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["COLORS", "as_text", "as_vector", "cycle_colors", "finish", "open_axes"]

COLORS = {"helpful": "#2a78b5", "harmful": "#c8553d", "neutral": "#8a8a8a"}
"""Colours of the three kinds of rows, distinguishable for the colour-blind."""


def open_axes(ax: Any, size: tuple[float, float]) -> Any:
    """Return the caller's axes, or new ones."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib; pip install 'treeinf[plot]'."
        ) from error
    _, ax = pyplot.subplots(figsize=size, layout="constrained")
    return ax


def finish(ax: Any) -> Any:
    """Remove the top and right spines."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def as_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return values as a vector; raise for any other shape."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"{name} has shape {vector.shape}; expected (n_rows,).")
    return vector


def as_text(label: Any, most: int | None = None) -> str:
    """Convert a label to text, with dollar signs (math mode) escaped.

    Labels longer than `most` characters are truncated.
    """
    text = str(label)
    if most is not None and len(text) > most:
        text = f"{text[: most - 3].rstrip()}..."
    return text.replace("$", r"\$")


def cycle_colors(n_curves: int) -> Sequence[Any]:
    """Return the colours of curves: treeinf's first, then matplotlib's."""
    return [COLORS["helpful"], *(f"C{number}" for number in range(1, n_curves))]
