"""Evaluate estimates of influence by retraining."""

from treeinf.evaluation.averages import Averages, average_cells, rank_methods
from treeinf.evaluation.measures.agreement import agreement, mean_agreement
from treeinf.evaluation.measures.cost import cost
from treeinf.evaluation.measures.detection import detection
from treeinf.evaluation.measures.faithfulness import faithfulness
from treeinf.evaluation.measures.fixing import fixing
from treeinf.evaluation.measures.flipping import rows_to_flip
from treeinf.evaluation.measures.label_edit import label_edit
from treeinf.evaluation.measures.poisoning import poisoning
from treeinf.evaluation.measures.pruning import pruning
from treeinf.evaluation.measures.registry import MEASURES, Measure
from treeinf.evaluation.measures.removal import removal
from treeinf.evaluation.measures.stability import stability
from treeinf.evaluation.model_bench import ModelBench, QuestionCost, bench_model
from treeinf.evaluation.ranking import (
    Ranking,
    critical_difference,
    rank_run,
    rank_table,
)
from treeinf.evaluation.run import read_outcomes, read_results, run_suite
from treeinf.evaluation.suite import Suite, read_suite

__all__ = [
    "MEASURES",
    "Averages",
    "Measure",
    "ModelBench",
    "QuestionCost",
    "Ranking",
    "Suite",
    "agreement",
    "average_cells",
    "bench_model",
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
