"""What a model is here: flat arrays of trees, the same for every library."""

from treeinf.ensemble.facts import EVERY_OUTPUT, LeafRule, Missing, TrainingFacts
from treeinf.ensemble.input_rules import InputRows, InputRules
from treeinf.ensemble.structure import TreeEnsemble

__all__ = [
    "EVERY_OUTPUT",
    "InputRows",
    "InputRules",
    "LeafRule",
    "Missing",
    "TrainingFacts",
    "TreeEnsemble",
]
