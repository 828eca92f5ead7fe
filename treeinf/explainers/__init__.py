"""Estimates of influence, one class a method."""

from treeinf.explainers.additive import AdditiveExplainer
from treeinf.explainers.base import Explainer
from treeinf.explainers.boostin import BoostIn
from treeinf.explainers.influence import Influence, RankedRows
from treeinf.explainers.leaf_influence import LeafInfluence

__all__ = [
    "AdditiveExplainer",
    "BoostIn",
    "Explainer",
    "Influence",
    "LeafInfluence",
    "RankedRows",
]
