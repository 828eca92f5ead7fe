"""Plot of run time against size, on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from treeinf.plots.axes import COLORS, as_text, as_vector, finish, open_axes

__all__ = ["plot_growth"]

_MARKERS = "os^Dv<>pP*Xh"


def plot_growth(
    sizes: Mapping[str, ArrayLike],
    seconds: Mapping[str, ArrayLike],
    *,
    x_label: str,
    slopes: Mapping[str, float] | None = None,
    peers: Sequence[str] = (),
    ax: Any = None,
) -> Any:
    """Draw time against size on logarithmic axes; slopes are exponents.

    Parameters
    ----------
    sizes, seconds : dict of str to array-like, shape (n_sizes,)
        Sizes and times of each operation.
    x_label : str
        Label of the x axis.
    slopes : dict of str to float, optional
        Fitted exponents, shown in the legend.
    peers : sequence of str
        Operations drawn dashed and grey.
    ax : matplotlib Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If an operation has different numbers of sizes and times.
    """
    ax = open_axes(ax, (4.8, 4.0))
    for number, name in enumerate(seconds):
        x, y = as_vector(sizes[name], "sizes"), as_vector(seconds[name], "seconds")
        if len(x) != len(y):
            raise ValueError(
                f"{name}: got {len(x)} sizes and {len(y)} times; expected equal "
                "lengths."
            )
        style: dict[str, Any] = {"color": f"C{number % 10}"}
        if name in peers:
            style = {"color": COLORS["neutral"], "linestyle": "--"}
        slope = math.nan if slopes is None else slopes.get(name, math.nan)
        exponent = "" if math.isnan(slope) else f" ({slope:.2f})"
        marker = _MARKERS[number % len(_MARKERS)]
        label = as_text(name) + exponent
        ax.loglog(x, y, marker=marker, markersize=4, lw=1.5, label=label, **style)
    for axis in (ax.xaxis, ax.yaxis):
        # between powers of ten labels would overlap
        axis.set_minor_formatter("")
    ax.set_xlabel(x_label)
    ax.set_ylabel("seconds")
    if seconds:
        # below the axes, since lines may be anywhere in them
        ax.legend(
            fontsize="small",
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
        )
    return finish(ax)
