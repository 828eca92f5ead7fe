"""Find train rows that harm a model, clean them, and prove that it helped."""

from treeinf.cleaning.cleaner import InfluenceCleaner
from treeinf.cleaning.report import CleaningReport, Comparison

__all__ = ["CleaningReport", "Comparison", "InfluenceCleaner"]
