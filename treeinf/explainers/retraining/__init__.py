"""Influence by retraining: leave one out, random subsets, Data Shapley."""

from treeinf.explainers.retraining.base import RetrainingExplainer
from treeinf.explainers.retraining.data_shapley import DataShapley
from treeinf.explainers.retraining.loo import LOO
from treeinf.explainers.retraining.subsample import SubSample

__all__ = ["LOO", "DataShapley", "RetrainingExplainer", "SubSample"]
