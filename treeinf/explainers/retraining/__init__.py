"""Influence by training again: without a row, on subsets, along permutations."""

from treeinf.explainers.retraining.base import RetrainingExplainer
from treeinf.explainers.retraining.data_shapley import DataShapley
from treeinf.explainers.retraining.loo import LOO
from treeinf.explainers.retraining.subsample import SubSample

__all__ = ["LOO", "DataShapley", "RetrainingExplainer", "SubSample"]
