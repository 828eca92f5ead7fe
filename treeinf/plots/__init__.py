"""Plots of influence and of a cleaning on Matplotlib axes; needs matplotlib."""

from treeinf.plots.axes import COLORS
from treeinf.plots.cleaning import (
    plot_amount_curve,
    plot_detection_curve,
    plot_removal_curve,
    plot_score_distribution,
)
from treeinf.plots.features import plot_features
from treeinf.plots.influence import plot_heat_map, plot_influence

__all__ = [
    "COLORS",
    "plot_amount_curve",
    "plot_detection_curve",
    "plot_features",
    "plot_heat_map",
    "plot_influence",
    "plot_removal_curve",
    "plot_score_distribution",
]
