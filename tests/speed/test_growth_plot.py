"""The picture of growth."""

import pytest

pytest.importorskip("matplotlib")

from treeinf.plots.growth import plot_growth


def test_both_axes_are_logarithms_and_slopes_are_told():
    ax = plot_growth(
        {"total": [10, 100], "peer": [10, 100]},
        {"total": [1.0, 10.0], "peer": [2.0, 3.0]},
        x_label="train rows",
        slopes={"total": 1.0},
        peers=["peer"],
    )
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "total (1.00)",
        "peer",
    ]
    assert ax.lines[1].get_linestyle() == "--"


def test_sizes_and_times_must_be_as_many():
    with pytest.raises(ValueError, match="got 1 sizes and 2 times"):
        plot_growth({"a": [1]}, {"a": [1.0, 2.0]}, x_label="rows")
