"""Estimates of influence, one class a method."""

from treeinf.explainers.base import AdditiveExplainer
from treeinf.explainers.boostin import BoostIn
from treeinf.explainers.influence import Influence, RankedRows
from treeinf.explainers.leaf_influence import LeafInfluence

__all__ = ["AdditiveExplainer", "BoostIn", "Influence", "LeafInfluence", "RankedRows"]
