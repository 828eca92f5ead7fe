"""How far estimates of influence can be trusted, measured."""

from treeinf.evaluation.agreement import agreement, mean_agreement
from treeinf.evaluation.averages import Averages, average_cells, rank_methods
from treeinf.evaluation.cost import cost
from treeinf.evaluation.detection import detection
from treeinf.evaluation.faithfulness import faithfulness
from treeinf.evaluation.fixing import fixing
from treeinf.evaluation.flipping import rows_to_flip
from treeinf.evaluation.label_edit import label_edit
from treeinf.evaluation.measures import MEASURES, Measure
from treeinf.evaluation.poisoning import poisoning
from treeinf.evaluation.pruning import pruning
from treeinf.evaluation.ranking import (
    Ranking,
    critical_difference,
    rank_run,
    rank_table,
)
from treeinf.evaluation.removal import removal
from treeinf.evaluation.runner import read_outcomes, read_results, run_suite
from treeinf.evaluation.stability import stability
from treeinf.evaluation.suite import Suite, read_suite

__all__ = [
    "MEASURES",
    "Averages",
    "Measure",
    "Ranking",
    "Suite",
    "agreement",
    "average_cells",
    "cost",
    "critical_difference",
    "detection",
    "faithfulness",
    "fixing",
    "label_edit",
    "mean_agreement",
    "poisoning",
    "pruning",
    "rank_methods",
    "rank_run",
    "rank_table",
    "read_outcomes",
    "read_results",
    "read_suite",
    "removal",
    "rows_to_flip",
    "run_suite",
    "stability",
]
