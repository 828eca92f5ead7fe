"""Pictures as SVG inside a page."""

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("matplotlib")

from treeinf.plots import COLORS
from treeinf.reports.pictures import draw_svg


def draw(ax):
    ax.bar([1, 2], [3, 4], color=COLORS["helpful"])
    ax.set_title("a < b & c")


def test_svg_is_well_formed_and_describes_itself():
    text = draw_svg(draw, name="bars", description='Two "bars" & more')
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'Two "bars" & more'
    assert "width" not in root.attrib
    assert any("a < b & c" in (part.text or "") for part in root.iter())
    assert "var(--helpful)" in text


def test_the_same_picture_has_the_same_bytes_and_its_own_ids():
    first, again, other = (
        draw_svg(draw, name=name, description="") for name in ("one", "one", "two")
    )
    assert first == again
    ids = [
        {part.attrib["id"] for part in ElementTree.fromstring(text).iter()
         if "id" in part.attrib}
        for text in (first, other)
    ]  # fmt: skip
    assert not ids[0] & ids[1]


def test_settings_of_the_caller_are_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_svg(draw, name="bars", description="")
    assert dict(matplotlib.rcParams) == before
