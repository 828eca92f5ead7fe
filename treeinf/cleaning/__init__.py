"""Find train rows that harm a model, clean them, and measure the gain."""

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.cleaner import InfluenceCleaner
from treeinf.cleaning.report.report import CleaningReport
from treeinf.cleaning.report.selection import SelectionReport
from treeinf.cleaning.scores.methods import METHODS, Method
from treeinf.cleaning.selector import InfluenceSelector
from treeinf.cleaning.trial.comparison import Alternative, Comparison

__all__ = [
    "METHODS",
    "Alternative",
    "Amount",
    "CleaningReport",
    "Comparison",
    "InfluenceCleaner",
    "InfluenceSelector",
    "Method",
    "SelectionReport",
]
