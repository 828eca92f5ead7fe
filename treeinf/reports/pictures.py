"""Embed matplotlib figures in a page as SVG, in the colours of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from treeinf.plots import COLORS

__all__ = ["draw_svg"]

# Drawn in these colours and then replaced by the page's variables, which differ in
# light and dark.
_INK, _FAINT = "#010203", "#040506"
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--line)",
    COLORS["helpful"]: "var(--helpful)",
    COLORS["harmful"]: "var(--harmful)",
    COLORS["neutral"]: "var(--faint)",
}
_FONT = re.compile(r"font-family:[^;\"]*;?|(?<=font: )([0-9.]+px)[^;\"]*")


def draw_svg(
    draw: Callable[[Any], Any],
    *,
    name: str,
    description: str,
    size: tuple[float, float] = (5.2, 3.3),
) -> str:
    """Draw a picture as an SVG element.

    Parameters
    ----------
    draw : callable
        Draws on the axes passed to it.
    name : str
        Unique among the pictures of the page, so that their ids differ.
    description : str
        Alternative text for screen readers.
    size : tuple of float
        Width and height in inches; the page scales the width.

    Returns
    -------
    str
        An svg element: text stays text, colours follow the page, and the same data give
        the same bytes.
    """
    import html

    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "axes.edgecolor": _FAINT,
        "axes.facecolor": "none",
        "axes.labelcolor": _INK,
        "axes.titlecolor": _INK,
        "axes.titlesize": 10,
        "figure.facecolor": "none",
        "font.size": 9.5,
        "legend.labelcolor": _INK,
        "svg.fonttype": "none",
        "svg.hashsalt": f"treeinf-{name}",
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    # the pictures of one page would share these ids
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _FONT.sub(lambda match: f"{match[1]} sans-serif" if match[1] else "", text)
    width, height = size
    head, body = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    box = re.search(r'viewBox="[^"]*"', head)
    frame = box[0] if box else f'viewBox="0 0 {72 * width:g} {72 * height:g}"'
    label = html.escape(description, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" {frame} role="img" '
        f'aria-label="{label}">{body}'
    )
