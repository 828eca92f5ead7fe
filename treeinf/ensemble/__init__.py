"""Tree ensembles as flat arrays, the same for every library."""

from treeinf.ensemble.arrays import EVERY_OUTPUT, Missing
from treeinf.ensemble.input_rules import InputRows, InputRules
from treeinf.ensemble.structure import TreeEnsemble
from treeinf.ensemble.training_facts import LeafRule, TrainingFacts

__all__ = [
    "EVERY_OUTPUT",
    "InputRows",
    "InputRules",
    "LeafRule",
    "Missing",
    "TrainingFacts",
    "TreeEnsemble",
]
