"""Find train rows that harm a model, clean them, and prove that it helped."""

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.cleaner import InfluenceCleaner
from treeinf.cleaning.report.report import Alternative, CleaningReport, Comparison
from treeinf.cleaning.scores.methods import METHODS, Method
from treeinf.cleaning.selector import InfluenceSelector, SelectionReport

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
